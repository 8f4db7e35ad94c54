/* The phases that know keys and databases, and the table that puts them among http's own.
 *
 * Authentication comes before the body is read: a wrong key with a broken body is 401 and learns
 * nothing else. A client is looked at only after that.
 */
#include "server/phases.h"

#include "db/direct.h"
#include "lib/text.h"
#include "server/account.h"

static const struct keys *keys;

void phases_init(const struct keys *k)
{
    keys = k;
}

static ath_str direct_uri(const struct req *r)
{
    const ath_str name[] = { ATH_S("x-pg-uri"), ATH_S("x-athena-jdbc-url"), ATH_S("x-jdbc-url") };
    ath_str uri = { "", 0 };

    for (size_t i = 0; i < ATH_COUNT(name) && uri.n == 0; i++)
        uri = str_trim(req_find(r, name[i]));
    return uri;
}

/* A database that the request brings along: rights, caches and the account go by its token from
 * here on, never by a client that is named beside it (G-05). What is no such URI is refused later,
 * for those who may ask at all. */
static void take_direct(struct req *r)
{
    char token[DIRECT_TOKEN];

    r->direct_uri = direct_uri(r);
    if (unlikely(r->direct_uri.n) && db_direct_token(r->direct_uri, token))
        r->client_name = arena_str(&r->task.arena, str_of(token));
}

static int phase_auth(struct req *r, ath_err *e)
{
    int rc;

    if (r->match.route->def.flags & ATH_RT_DIRECT)
        take_direct(r);
    rc = keys_check(keys, r, e);

    if (rc == 0 && r->refusal) { /* of a hook: for those who may know what there is */
        err_copy(e, r->refusal);
        rc = e->rc;
    }
    return rc;
}

/* The contract's words for a missing client (gateway.md 4.2). */
static int client_missing(ath_err *e)
{
    err_raise(e, "missing_client_header",
              "X-Athena-Client header or x-pg-uri is required and cannot be empty");
    err_detail_str(e, "missing_header", str_of("X-Athena-Client or x-pg-uri"));
    return e->rc;
}

static int client_unknown(ath_str name, ath_err *e)
{
    struct buf title = BUF_HEAP;

    err_raise(e, "client_unknown", "Postgres client '%.*s' is not configured", STR_ARG(name));
    buf_printf(&title, "Client '%.*s' is not available in the registry", STR_ARG(name));
    err_detail_str(e, "title", buf_view(&title));
    buf_free(&title);
    return e->rc;
}

/* Nothing but rubbish in the header, and no client either: none was named (gateway.md 4.3). */
static int direct_ready(struct req *r, ath_err *e)
{
    if (r->client_name.n == 0)
        return client_missing(e);
    return db_direct_client(&r->task, r->direct_uri, &r->task.client, e);
}

static int phase_ready(struct req *r, ath_err *e)
{
    struct db_client *client;

    if (!(r->match.route->def.flags & ATH_RT_CLIENT))
        return 0;
    if (unlikely(r->direct_uri.n))
        return direct_ready(r, e);
    if (r->client_name.n == 0)
        return client_missing(e);
    client = db_client_find(r->client_name);
    if (!client)
        return client_unknown(r->client_name, e);
    r->task.client = client;
    return db_client_usable(client, e);
}

const struct phase server_phases[] = {
    { "before", phase_before }, { "route", phase_route },     { "account", phase_account },
    { "cors", phase_cors },     { "auth", phase_auth },       { "body", phase_body },
    { "ready", phase_ready },   { "handler", phase_handler },
};

const uint32_t server_phase_count = ATH_COUNT(server_phases);
