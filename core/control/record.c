/* What the catalogue's columns mean. */
#include "control/record.h"

#include <string.h>

#include "lib/jsonread.h"

enum { METADATA_VALUES = 10000 };

static bool is_blank(ath_str s)
{
    return str_trim(s).n == 0;
}

/* ---- where it leads ---- */

static const char *variable_value(const struct config_env *env, ath_str name, ath_str fallback,
                                  bool has_fallback, ath_arena *a, ath_str *ret)
{
    if (env_get(env, name, ret) && !(has_fallback && is_blank(*ret)))
        return NULL;
    *ret = fallback;
    if (has_fallback)
        return NULL;
    return arena_printf(a, "environment variable `%.*s` is not set", STR_ARG(name)).p;
}

static const char *resolve(ath_str text, const struct config_env *env, ath_arena *a, ath_str *ret)
{
    struct env_reference ref;
    const char *why = NULL;

    *ret = text;
    if (env_reference(text, &ref))
        why = variable_value(env, ref.name, ref.fallback, ref.has_fallback, a, ret);
    *ret = str_trim(*ret);
    if (!why && ret->n == 0)
        why = "connection string is empty";
    if (!why && !str_starts(*ret, "athena://") && !str_starts(*ret, "postgres://") &&
        !str_starts(*ret, "postgresql://"))
        why = "expected athena://, postgres://, or postgresql:// after resolving env references "
              "(see config.yaml)";
    return why;
}

static const char *stated_uri(const struct record *r, const struct config_env *env, ath_arena *a,
                              ath_str *ret)
{
    struct buf b = ARENA_BUF(a);

    if (!is_blank(r->uri))
        return resolve(r->uri, env, a, ret);
    if (!is_blank(r->variable)) {
        buf_printf(&b, "${%.*s}", STR_ARG(str_trim(r->variable)));
        return resolve(buf_view(&b), env, a, ret);
    }
    *ret = (ath_str){ "", 0 };
    return is_blank(r->template) ? "connection string is empty" : resolve(r->template, env, a, ret);
}

bool record_is_loopback(ath_str uri)
{
    size_t at = 0, end;
    ath_str host;

    for (size_t i = 0; i + 3 <= uri.n && !at; i++)
        if (memcmp(uri.p + i, "://", 3) == 0)
            at = i + 3;
    for (end = at; end < uri.n && uri.p[end] != '/' && uri.p[end] != '?'; end++)
        if (uri.p[end] == '@')
            at = end + 1;
    host = str_from(uri.p + at, end - at);
    if (str_starts(host, "[::1]"))
        return true;
    host.n = str_find(host, ':');
    host.n = str_find(host, ',');
    return str_ieq(host, ATH_S("localhost")) || str_starts(host, "127.");
}

static ath_str binding_uri(const struct json *binding, const char *key)
{
    return str_trim(json_text(json_get(binding, key)));
}

/* `key` of the first route binding that has it. */
static ath_str bound_uri(const struct json *metadata, const char *key)
{
    static const char *const preferred[] = { "primary", "default", "public" };
    const struct json *all = json_get(json_get(metadata, "network"), "pg_route_bindings");
    const struct json *first = NULL;
    ath_str uri = { "", 0 };

    for (size_t i = 0; i < ATH_COUNT(preferred) && uri.n == 0; i++)
        uri = binding_uri(json_get(all, preferred[i]), key);
    if (uri.n || !all || all->type != JSON_OBJECT)
        return uri;
    json_each(v, all)
        if (binding_uri(v, key).n && (!first || str_cmp(v->key, first->key) < 0))
            first = v;
    return binding_uri(first, key);
}

static const struct json *read_metadata(const struct record *r, ath_arena *a)
{
    struct json_error why;

    return json_read(r->metadata, (struct json_memory){ arena_alloc, a }, METADATA_VALUES, &why);
}

const char *record_uri(const struct record *r, const struct config_env *env, ath_arena *a,
                       ath_str *ret_uri)
{
    const char *why = stated_uri(r, env, a, ret_uri);
    bool absent = is_blank(r->uri) && is_blank(r->variable) && is_blank(r->template);
    ath_str binding;

    if (!absent && (why || !record_is_loopback(*ret_uri)))
        return why;
    binding = bound_uri(read_metadata(r, a), "public_pg_uri");
    return binding.n ? resolve(binding, env, a, ret_uri) : why;
}

const char *record_tool_uri(const struct record *r, const struct config_env *env, ath_arena *a,
                            ath_str *ret_uri)
{
    const struct json *metadata = read_metadata(r, a);
    ath_str private = binding_uri(json_get(metadata, "network"), "private_pg_uri");

    if (!private.n)
        private = bound_uri(metadata, "source_pg_uri");
    if (private.n)
        return resolve(private, env, a, ret_uri);
    if (!is_blank(r->template) && !resolve(r->template, env, a, ret_uri))
        return NULL;
    return record_uri(r, env, a, ret_uri);
}

bool record_drains(const struct record *r)
{
    const struct json *v;
    ath_arena a;
    bool drains;

    if (!r->frozen || !r->metadata.n)
        return false;
    arena_init(&a);
    v = json_get(read_metadata(r, &a), "draining");
    drains = v && v->type == JSON_TRUE;
    arena_free(&a);
    return drains;
}

/* ---- what a start writes ---- */

static bool is_reference(ath_str text)
{
    struct env_reference ref;

    return env_reference(text, &ref);
}

/* Null and empty are not the same. */
static bool same(ath_str a, ath_str b)
{
    return (a.p == NULL) == (b.p == NULL) && str_eq(a, b);
}

static bool set(ath_str *to, ath_str value)
{
    bool changed = !same(*to, value);

    *to = value;
    return changed;
}

static ath_str literal_of(const struct record_config *c)
{
    return c->variable.n ? (ath_str){ NULL, 0 } : c->text;
}

static ath_str variable_of(const struct record_config *c)
{
    return c->variable.n ? c->variable : (ath_str){ NULL, 0 };
}

struct record record_of_config(const struct record_config *c)
{
    return (struct record){ .name = c->name,
                            .uri = literal_of(c),
                            .variable = variable_of(c),
                            .template = c->text,
                            .source = ATH_S("config"),
                            .metadata = ATH_S("{\"seeded_from\":\"config.yaml\"}"),
                            .active = true };
}

bool record_merge(struct record *r, const struct record_config *c, bool overwrite)
{
    struct record config = record_of_config(c);
    bool synced =
        !r->uri.p || (r->template.p && !is_reference(r->template) && str_eq(r->uri, r->template));
    bool changed = r->outdated || overwrite; /* metadata, too */

    if (overwrite || synced)
        changed |= set(&r->uri, config.uri);
    changed |= set(&r->variable, config.variable);
    changed |= set(&r->template, config.template);
    if (!str_is(r->source, "config"))
        changed |= set(&r->source, ATH_S("merged"));
    if (overwrite) {
        r->description = (ath_str){ NULL, 0 };
        r->metadata = config.metadata;
        r->active = true;
    }
    return changed;
}
