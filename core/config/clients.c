/* Clients and their URIs. A URI is a secret: only names and reasons are ever said. */
#include "config/clients.h"

#include <ctype.h>

#define FAILURES_SHOWN 4

static ath_arena *arena_of(const struct config *c)
{
    return (ath_arena *)(uintptr_t)&c->arena;
}

static const char *scheme_fault(ath_str uri)
{
    static const char *const schemes[] = { "athena://", "postgres://", "postgresql://" };

    for (size_t i = 0; i < ATH_COUNT(schemes); i++)
        if (str_starts(uri, schemes[i]))
            return NULL;
    return "expected athena://, postgres://, or postgresql:// after resolving env references (see "
           "config.yaml)";
}

const char *config_uri(const struct config *c, ath_str text, ath_str *ret_uri)
{
    struct env_reference ref;
    const char *fault;
    ath_str uri;

    if (!config_resolve(c, text, &uri)) {
        env_reference(text, &ref);
        return arena_printf(arena_of(c), "environment variable `%.*s` is not set",
                            STR_ARG(ref.name))
            .p;
    }
    uri = str_trim(uri);
    if (uri.n == 0)
        return "connection string is empty";
    if ((fault = scheme_fault(uri)))
        return fault;
    *ret_uri = arena_str(arena_of(c), uri);
    return NULL;
}

const char *config_uri_variable(const struct config *c, ath_str name, ath_str *ret_uri)
{
    const char *fault;
    ath_str uri;

    if (!env_get(&c->env, name, &uri) || str_trim(uri).n == 0)
        return arena_printf(arena_of(c),
                            "environment variable `%.*s` is unset, empty, or only "
                            "whitespace",
                            STR_ARG(name))
            .p;
    uri = str_trim(uri);
    if ((fault = scheme_fault(uri)))
        return fault;
    *ret_uri = arena_str(arena_of(c), uri);
    return NULL;
}

static ath_str fold(ath_arena *a, ath_str name)
{
    ath_str copy = arena_str(a, str_trim(name));
    char *p = (char *)(uintptr_t)copy.p;

    for (size_t i = 0; i < copy.n; i++)
        p[i] = (char)tolower((unsigned char)p[i]);
    return copy;
}

static struct config_client *find(struct config_clients *list, ath_str name)
{
    for (size_t i = 0; i < list->n; i++)
        if (str_eq(list->client[i].name, name))
            return &list->client[i];
    return NULL;
}

/* gateway.logging_pg_uri, then the variable that gateway.logging_pg_uri_env_var names; what cannot
 * be used is passed over in silence. */
static bool override_uri(const struct config *c, const struct core_config *cc, ath_str *ret)
{
    return (cc->gateway.logging_pg_uri.n && !config_uri(c, cc->gateway.logging_pg_uri, ret)) ||
           (cc->gateway.logging_pg_uri_env_var.n &&
            !config_uri_variable(c, cc->gateway.logging_pg_uri_env_var, ret));
}

static void add_override(const struct config *c, const struct core_config *cc,
                         struct config_clients *list)
{
    ath_str name = fold(arena_of(c), cc->gateway.logging_client), uri = { "", 0 };
    struct config_client *client = find(list, name);

    if (name.n == 0 || !override_uri(c, cc, &uri))
        return;
    if (!client) {
        client = &list->client[list->n++];
        *client = (struct config_client){ .name = name,
                                          .shown = cc->gateway.logging_client,
                                          .text = { "", 0 },
                                          .variable = { "", 0 },
                                          .at = { .name = "gateway.logging_pg_uri" } };
    }
    client->uri = uri;
    client->problem = NULL;
    client->logging_override = true;
}

static void add_client(const struct config *c, const struct config_key *k,
                       struct config_clients *list, struct config_report *rep)
{
    struct config_client *client = &list->client[list->n];
    struct env_reference ref;

    *client = (struct config_client){ .name = fold(arena_of(c), k->name),
                                      .shown = k->name,
                                      .at = k->at,
                                      .uri = { "", 0 },
                                      .text = k->value->text,
                                      .variable = { "", 0 } };
    if (client->name.n == 0) {
        config_warn(rep, &k->at, "a client without a name is ignored");
        return;
    }
    if (strstr(k->name.p, "://")) { /* the name would show a password */
        config_warn(rep, &k->at,
                    "a connection URI stands where a client's name should; it is ignored");
        config_hint(rep, "Write it as `- name: URI`.");
        return;
    }
    if (find(list, client->name)) {
        config_warn(rep, &k->at,
                    "client \"%.*s\" is named twice when its case is ignored; the first "
                    "one counts",
                    STR_ARG(k->name));
        return;
    }
    if (env_reference(k->value->text, &ref))
        client->variable = arena_str(arena_of(c), ref.name);
    client->problem = config_uri(c, k->value->text, &client->uri);
    list->n++;
}

int config_clients(const struct config *c, const struct core_config *cc, struct config_clients *ret,
                   struct config_report *rep)
{
    const struct config_section *s = config_section(c, ATH_S("postgres_clients"));
    size_t most = 1;

    for (const struct config_key *k = s ? s->first : NULL; k; k = k->next)
        most++;
    if (most > 10001) {
        config_error(rep, &s->at, "postgres_clients names more than 10000 clients");
        return ATH_E_CONFIG;
    }
    *ret =
        (struct config_clients){ .client = arena_alloc(arena_of(c), most * sizeof(*ret->client)) };
    for (const struct config_key *k = s ? s->first : NULL; k; k = k->next)
        add_client(c, k, ret, rep);
    add_override(c, cc, ret);
    for (size_t i = 0; i < ret->n; i++) {
        if (ret->client[i].problem)
            config_warn(rep, &ret->client[i].at, "client \"%.*s\" cannot be used: %s",
                        STR_ARG(ret->client[i].shown), ret->client[i].problem);
        else
            ret->usable++;
    }
    return 0;
}

/* "a: Athena client `a`: reason; b: ... and 2 more failed client(s)" */
static void put_failures(const struct config_clients *clients, struct buf *b)
{
    size_t shown = 0, failed = clients->n - clients->usable;

    buf_lit(b, "client bootstrap failures: ");
    for (size_t i = 0; i < clients->n && shown < FAILURES_SHOWN; i++) {
        const struct config_client *c = &clients->client[i];
        if (!c->problem)
            continue;
        buf_printf(b, "%s%.*s: Athena client `%.*s`: %s", shown++ ? "; " : "", STR_ARG(c->shown),
                   STR_ARG(c->shown), c->problem);
    }
    if (failed > shown)
        buf_printf(b, "; ... and %zu more failed client(s)", failed - shown);
}

int config_boot_policy(const struct core_config *cc, const struct config_clients *clients,
                       struct buf *ret_text)
{
    if (clients->usable)
        return 0;
    if (cc->server.allow_start_without_postgres) {
        buf_lit(ret_text, "No Postgres clients connected; continuing only because "
                          "ATHENA_ALLOW_START_WITHOUT_POSTGRES=true.");
        return 0;
    }
    buf_lit(ret_text, "No Postgres clients connected; refusing to start. ");
    if (clients->n == 0)
        buf_lit(ret_text, "no `postgres_clients` entries were configured");
    else
        put_failures(clients, ret_text);
    buf_lit(ret_text, ". Set the missing POSTGRES_* env vars referenced in config.yaml or fix the "
                      "configured postgres_clients URIs. Only set "
                      "ATHENA_ALLOW_START_WITHOUT_POSTGRES=true when you intentionally want a "
                      "Postgres-free process.");
    return ATH_E_CONFIG;
}
