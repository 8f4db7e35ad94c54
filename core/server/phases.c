/* The phases that know keys and databases, and the table that puts them among http's own.
 *
 * Authentication comes before the body is read: a wrong key with a broken body is 401 and learns
 * nothing else. A client is looked at only after that; one that nobody knows is looked up in the
 * catalogue while the request waits.
 */
#include "server/phases.h"

#include "auth/admit.h"
#include "auth/auth.h"
#include "auth/limit.h"
#include "auth/refusal.h"
#include "control/clients.h"
#include "db/direct.h"
#include "lib/text.h"
#include "server/account.h"

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
    rc = auth_check(r, e);

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

/* Nothing but rubbish in the header, and no client either: none was named (gateway.md 4.3). */
static int direct_ready(struct req *r, ath_err *e)
{
    if (r->client_name.n == 0)
        return client_missing(e);
    return db_direct_client(&r->task, r->direct_uri, false, &r->task.client, e);
}

static int looked_up(ath_task *t, const ath_done *d, ath_err *e)
{
    struct req *r = req_of(t);

    r->phase--; /* once more, by what is known now */
    r->looked = true;
    req_resume(r, d->rc, e);
    return 0;
}

/* What is to be queued needs no database now: that is asked for when it runs. */
static bool is_for_later(const struct req *r)
{
    return refusal_query_route(r) && refusal_defer_asked(r);
}

/* The client is not there, or is refused by what is known of it. */
static int not_ready(struct req *r, const struct db_client *c, ath_err *e)
{
    if (is_for_later(r))
        return 0;
    if (!r->looked && clients_unsettled(c, r->client_name)) {
        int rc = clients_look(&r->task, r->client_name, looked_up, NULL, e);
        return rc < 0 ? rc : PHASE_WAIT;
    }
    return c ? db_client_usable(c, e) : clients_refuse(r->client_name, e);
}

static int client_ready(struct req *r, ath_err *e)
{
    struct db_client *client;

    if (unlikely(r->direct_uri.n))
        return direct_ready(r, e);
    if (r->client_name.n == 0)
        return is_for_later(r) ? 0 : client_missing(e);
    client = db_client_find(r->client_name);
    if (unlikely(!client || atomic_load_explicit(&client->gate, memory_order_relaxed) != DB_OPEN)) {
        r->task.client = client;
        return not_ready(r, client, e);
    }
    r->task.client = client;
    return db_client_usable(client, e);
}

/* Its database may be away: a query says so when the handler asks one. */
static __attribute__((noinline)) int away_ready(struct req *r, ath_err *e)
{
    int rc = client_ready(r, e);

    if (rc == PHASE_WAIT || rc == 0 || !r->task.client ||
        atomic_load_explicit(&r->task.client->gate, memory_order_relaxed) != DB_OPEN)
        return rc;
    err_reset(e);
    return 0;
}

static int phase_ready(struct req *r, ath_err *e)
{
    uint32_t flags = r->match.route->def.flags;

    if (likely((flags & (ATH_RT_CLIENT | ATH_RT_AWAY)) == ATH_RT_CLIENT))
        return client_ready(r, e);
    return flags & ATH_RT_CLIENT ? away_ready(r, e) : 0;
}

static void charge_and_account(struct req *r)
{
    limit_over(r);
    account_request(r);
}

/* The phases that are left out when they have nothing to do. */
static bool is_needed(const struct phase *p)
{
    return ((p->run != admit_check && p->run != phase_routed) || admit_on()) &&
           (p->run != limit_check || limit_on());
}

static const struct phase phases[] = {
    { "before", phase_before }, { "route", phase_route },     { "account", phase_account },
    { "cors", phase_cors },     { "admit", admit_check },     { "routed", phase_routed },
    { "auth", phase_auth },     { "limit", limit_check },     { "body", phase_body },
    { "ready", phase_ready },   { "handler", phase_handler },
};

void phases_put(struct http *h)
{
    static struct phase needed[ATH_COUNT(phases)];
    uint32_t n = 0;

    for (size_t i = 0; i < ATH_COUNT(phases); i++)
        if (is_needed(&phases[i]))
            needed[n++] = phases[i];
    h->phase = needed;
    h->routed_later = admit_on(); /* what is no route is counted, too */
    h->phase_count = n;
    h->account = limit_charges() ? charge_and_account : account_request;
    h->head = limit_tells() ? limit_head : NULL;
}
