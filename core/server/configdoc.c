/* When in doubt a value is masked: whoever needs it has the file. */
#include "server/configdoc.h"

#include "config/core_fields.h"
#include "config/published.h"
#include "lib/json.h"
#include "lib/uri.h"
#include "log/log.h"

static bool is_reference(ath_str text)
{
    struct env_reference ref;

    return env_reference(text, &ref);
}

/* The server's own keys say it themselves; of others the name decides. */
static bool is_secret(ath_str section, ath_str key)
{
    for (size_t i = 0; i < core_table_count(); i++) {
        const struct config_table *t = core_tables[i];
        for (uint32_t k = 0; str_is(section, t->section) && k < t->field_count; k++)
            if (str_is(key, t->field[k].key))
                return t->field[k].flags & ATH_CF_SECRET;
    }
    return str_is(section, "authenticator") || log_secret_name(key) || str_ends(key, "key");
}

static void put_text(struct buf *b, ath_str section, ath_str key, ath_str text)
{
    struct buf masked = BUF_HEAP;

    if (is_reference(text))
        buf_str(&masked, text);
    else if (text.n && is_secret(section, key) && str_find(text, ':') == text.n)
        buf_lit(&masked, "***");
    else
        buf_uri_masked(&masked, text);
    buf_json(b, buf_view(&masked));
    buf_free(&masked);
}

static void put_node(struct buf *b, ath_str section, ath_str key, const struct conf_node *n)
{
    if (n->kind == CONF_TEXT) {
        put_text(b, section, key, n->text);
        return;
    }
    buf_char(b, n->kind == CONF_MAP ? '{' : '[');
    for (const struct conf_link *l = n->first; l; l = l->next) {
        if (l != n->first)
            buf_char(b, ',');
        if (n->kind == CONF_MAP) {
            buf_json(b, l->key->text);
            buf_char(b, ':');
        }
        put_node(b, section, n->kind == CONF_MAP ? l->key->text : key, l->value);
    }
    buf_char(b, n->kind == CONF_MAP ? '}' : ']');
}

struct picked { /* of postgres_clients */
    ath_str control, client;
};

static bool is_wanted(ath_str section, const struct config_key *k, const struct picked *p)
{
    ath_str name = str_trim(k->name);

    return !str_is(section, "postgres_clients") || (p->client.n && str_ieq(name, p->client)) ||
           (p->control.n && str_ieq(name, p->control));
}

static void put_keys(struct buf *b, const struct config_section *s, const struct picked *p)
{
    bool first = true;

    buf_char(b, '[');
    for (const struct config_key *k = s ? s->first : NULL; k; k = k->next) {
        if (!is_wanted(s->name, k, p))
            continue;
        if (!first)
            buf_char(b, ',');
        first = false;
        buf_char(b, '{');
        buf_json(b, k->name);
        buf_char(b, ':');
        put_node(b, s->name, k->name, k->value);
        buf_char(b, '}');
    }
    buf_char(b, ']');
}

static void put_ranges(struct buf *b, const struct config *c)
{
    for (int env = 0; env < 2; env++) {
        bool first = true;
        buf_json_key(b, env ? "env" : "config");
        buf_char(b, '{');
        for (const struct config_range *r = c->ranges; r; r = r->next) {
            if ((str_find(r->place, '.') == r->place.n) != env)
                continue;
            if (!first)
                buf_char(b, ',');
            first = false;
            buf_json(b, r->place);
            buf_printf(b, ":{\"min\":%.17g,\"max\":%.17g}", r->min, r->max);
        }
        buf_char(b, '}');
    }
}

static void put_published(struct buf *b, const struct config *c, const struct picked *p)
{
    const struct published_section *s;

    for (size_t i = 0; (s = published_at(i)) != NULL; i++) {
        buf_json_key(b, s->name);
        if (strcmp(s->name, "validation_ranges") == 0) {
            buf_char(b, '{');
            put_ranges(b, c);
            buf_char(b, '}');
        } else {
            put_keys(b, config_section(c, str_of(s->name)), p);
        }
    }
}

void config_document(struct buf *b, const struct config *c, ath_str control, ath_str client,
                     bool own)
{
    struct picked p = { control, client };

    buf_char(b, '{');
    if (own) {
        p.control.n = 0;
        buf_json_key(b, "postgres_clients");
        put_keys(b, config_section(c, ATH_S("postgres_clients")), &p);
    } else {
        put_published(b, c, &p);
    }
    for (const struct config_section *s = own ? NULL : c->first; s; s = s->next) {
        if (s->published)
            continue;
        buf_char(b, ',');
        buf_json(b, s->name);
        buf_char(b, ':');
        put_keys(b, s, &p);
    }
    buf_char(b, '}');
}

void config_document_names(struct buf *b, const struct config *c, ath_str control)
{
    const struct config_section *s = config_section(c, ATH_S("postgres_clients"));
    bool first = true;

    buf_char(b, '[');
    for (const struct config_key *k = s ? s->first : NULL; k; k = k->next) {
        ath_str name = str_trim(k->name);
        if (!name.n || str_ieq(name, str_trim(control)))
            continue;
        if (!first)
            buf_char(b, ',');
        first = false;
        buf_json(b, name);
    }
    buf_char(b, ']');
}
