/* GET .../local/databases: what lies on the server of a client, and which of it are clients.
 *
 * Clients are those that this process knows: they follow the catalogue, so nothing is asked for
 * them. Two lie on one server when the same user of the same hosts is asked for them.
 */
#include "provision.h"

#include <stdlib.h>

enum { VALUES = 1000000 };

static const char databases_sql[] =
    "select datname from pg_database where not datistemplate order by lower(datname), datname";

struct listing { /* in the request's arena */
    ath_str client;
};

struct managed {
    ath_str client, database;
    const struct json *record; /* of ath_clients.runtime */
};

static int unavailable(ath_str client, ath_err *e)
{
    return admin_fail(e, "client_unavailable", "Client unavailable",
                      "Postgres client '%.*s' is not connected.", STR_ARG(client));
}

/* ---- clients of the same server ---- */

/* False: it has no URI that could be compared; `e` is then of no account. */
static bool place_of(ath_task *t, ath_str client, struct database_place *ret, ath_err *e)
{
    const struct provision_state *s = ath_state_of(t);
    ath_str uri;

    return s->clients->uri(ath_arena_of(t), client, &uri, e) == 0 &&
           database_place(ath_arena_of(t), uri, ret);
}

static int by_database(const void *a, const void *b)
{
    const struct managed *x = a, *y = b;
    size_t n = x->database.n < y->database.n ? x->database.n : y->database.n;
    int rc = n ? memcmp(x->database.p, y->database.p, n) : 0;

    if (rc == 0)
        rc = (x->database.n > y->database.n) - (x->database.n < y->database.n);
    return rc ? rc : (x->record > y->record) - (x->record < y->record);
}

static size_t find_managed(ath_task *t, ath_str client, struct managed **ret, ath_err *e)
{
    const struct provision_state *s = ath_state_of(t);
    ath_arena *a = ath_arena_of(t);
    struct database_place home, place;
    struct json_error why;
    const struct json *all =
        json_read(s->clients->runtime(a, ATH_S(""), 0), JSON_ARENA(a), VALUES, &why);
    size_t n = 0;

    *ret = ath_new(a, ((all ? all->count : 0) + 1) * sizeof(**ret));
    if (!all || !place_of(t, client, &home, e))
        return 0;
    json_each(record, all)
    {
        ath_str name = json_text(json_get(record, "client_name"));
        if (place_of(t, name, &place, e) && str_eq(place.server, home.server))
            (*ret)[n++] = (struct managed){ name, place.database, record };
    }
    qsort(*ret, n, sizeof(**ret), by_database);
    return n;
}

static void put_managed(struct buf *b, const struct managed *m)
{
    buf_char(b, '{');
    buf_json_str(b, "client_name", m->client);
    buf_json_str(b, "database_name", m->database);
    buf_json_str(b, "source", json_text(json_get(m->record, "source")));
    buf_json_key(b, "is_active");
    buf_str(b, json_get(m->record, "is_active")->raw);
    buf_json_key(b, "is_frozen");
    buf_str(b, json_get(m->record, "is_frozen")->raw);
    buf_char(b, '}');
}

/* ---- the answer ---- */

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct listing *x = d->arg;
    struct managed *managed;
    struct buf b;
    size_t n;

    if (d->rc < 0)
        return d->rc == ATH_E_CANCELED ? d->rc : unavailable(x->client, e);
    n = find_managed(t, x->client, &managed, e);
    b = admin_answer(t, "Listed local cluster databases");
    buf_json_str(&b, "client_name", x->client);
    buf_json_key(&b, "all_databases");
    buf_char(&b, '[');
    for (uint32_t i = 0; i < ath_host_->pg->count(d->rows); i++) {
        if (i)
            buf_char(&b, ',');
        buf_json(&b, ath_cell(d->rows, i, 0));
    }
    buf_char(&b, ']');
    buf_json_key(&b, "athena_managed_databases");
    buf_char(&b, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_char(&b, ',');
        put_managed(&b, &managed[i]);
    }
    buf_char(&b, ']');
    return admin_reply(t, 200, &b);
}

static int list(ath_req *r, ath_str client, ath_err *e)
{
    static const ath_stmt stmt = { .sql = databases_sql };
    struct listing *x = ath_new(ath_arena_of(r), sizeof(*x));
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_READ,
                    .client = client,
                    .timeout_ms = ANSWER_MS,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    x->client = client;
    if (!client.n)
        return unavailable(client, e);
    return ath_host_->pg->query(r, &q, listed, x, e) < 0 ? unavailable(client, e) : 0;
}

/* One that is empty is a client that is not there. */
static bool names_client(ath_req *r)
{
    const ath_pair *pair;
    uint32_t n = ath_host_->req->pairs(r, "query", &pair);

    for (uint32_t i = 0; i < n; i++)
        if (str_is(pair[i].name, "client_name"))
            return true;
    return false;
}

int local_list(ath_req *r, ath_err *e)
{
    if (!names_client(r))
        return admin_fail(e, "VALIDATION_FAILED", "Missing required field",
                          "Provide 'client_name' in the query.");
    return list(r, str_trim(ath_param(r, "client_name")), e);
}

int local_list_own(ath_req *r, ath_err *e)
{
    return list(r, ath_host_->req->info(r, "client"), e);
}
