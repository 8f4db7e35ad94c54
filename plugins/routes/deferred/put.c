/* Putting a request into the queue: one trip, which also looks whether there is room.
 *
 * The bounds are exact. Far below them many put at once, under a lock that they share; who comes
 * near one waits until those are committed and puts alone.
 *
 * The row has the published columns as published, so that who reads them finds what he knows, and
 * in request_text and context what carries the request out as it came (0008_deferred.sql). Headers
 * that say how bytes travel or who asks are no part of it.
 */
#include "deferred.h"

#include <time.h>

enum {
    HEADER_MOST = 4096,
    TOGETHER_MOST = 200 /* that put at once: more than a control plane has connections for us */
};

enum {
    P_ID,
    P_METHOD,
    P_ROUTE,
    P_CLIENT,
    P_BYTES,
    P_PAYLOAD,
    P_REASON,
    P_TEXT,
    P_CONTEXT,
    P_MOST,
    P_MOST_CLIENT,
    PARAMS
};

#define PUT_LOCK "(pg_catalog.hashtextextended('athena.deferred.put', 0))"

static const char together_sql[] = "select pg_catalog.pg_advisory_xact_lock_shared" PUT_LOCK;
static const char alone_sql[] = "select pg_catalog.pg_advisory_xact_lock" PUT_LOCK;
static const char put_sql[] =
    "with room as (select (select count(*) from (select from " DEFERRED_TABLE
    " where status = 'queued' limit $10::int8) a) < $10::int8 as all_ok,"
    " (select count(*) from (select from " DEFERRED_TABLE
    " where status = 'queued' and '.' || coalesce(client_name, '') = '.' || coalesce($4, '')"
    " limit $11::int8) b) < $11::int8 as client_ok),"
    " put as (insert into " DEFERRED_TABLE
    " (request_id, method, route, client_name, request_bytes, payload, deferred_reason,"
    " request_text, context) select $1, $2, $3, $4, $5::int8, $6::jsonb, $7, $8, $9::jsonb"
    " from room where all_ok and client_ok on conflict (request_id) do update set"
    " payload = excluded.payload, deferred_reason = excluded.deferred_reason,"
    " request_bytes = excluded.request_bytes, request_text = excluded.request_text,"
    " context = excluded.context, updated_at = now())"
    " select all_ok, client_ok from room";

struct put {
    const char *kind;
    bool alone;
    ath_str param[PARAMS];
    ath_str unchecked; /* the key that came and could not be checked; empty: none */
    ath_then *then;
    void *arg;
};

/* ---- what is stored ---- */

/* Those that change what a route does. A window is not waited for twice. */
static const char *const kept[] = {
    "idempotency-key",   "x-athena-deadpool-enable", "x-athena-sdk",  "x-company-id",
    "x-organization-id", "x-publish-event",          "x-strip-nulls", "x-user-id",
};

static void put_headers(ath_req *r, struct buf *b)
{
    buf_json_key(b, "headers");
    buf_char(b, '{');
    for (size_t i = 0; i < ATH_COUNT(kept); i++) {
        ath_str v = ath_header(r, kept[i]);
        if (v.n && v.n <= HEADER_MOST)
            buf_json_str(b, kept[i], v);
    }
    buf_char(b, '}');
}

static ath_str public_id(ath_str key)
{
    ath_str rest = str_starts(key, "ath_") ? str_after(key, 4) : ATH_S("");
    size_t dot = str_find(rest, '.');

    return dot < rest.n ? str_from(rest.p, dot) : ATH_S("");
}

/* Why the caller could not be checked; empty: it was. Of who was checked something is known. */
static ath_str unchecked(ath_req *r)
{
    ath_who who = { .size = sizeof(who) };

    ath_host_->req->who(r, &who);
    return who.flags ? ATH_S("") : ath_header(r, "x-athena-unchecked");
}

/* With whose rights it is carried out. What came with something that is no key is nobody's. */
static void put_who(ath_req *r, struct put *x, struct buf *b)
{
    const struct deferred_state *s = ath_state_of(r);
    ath_who who = { .size = sizeof(who) };
    ath_str key = unchecked(r).n ? ath_header(r, "x-athena-key") : ATH_S("");

    ath_host_->req->who(r, &who);
    if (who.flags & ATH_WHO_ADMIN) {
        buf_json_str(b, "who", ATH_S("admin"));
    } else if (who.flags & ATH_WHO_KEY) {
        buf_json_str(b, "who", ATH_S("key"));
        buf_json_str(b, "key", who.public_id);
    } else if (public_id(key).n) {
        ath_str digest = s->secrets->sha256(ath_arena_of(r), key);
        buf_json_str(b, "who", ATH_S("unchecked"));
        buf_json_str(b, "key", public_id(key));
        buf_json_str(b, "fingerprint", str_from(digest.p, 16));
        x->unchecked = key;
    } else {
        buf_json_str(b, "who", ATH_S("nobody"));
    }
}

static ath_str context_of(ath_req *r, struct put *x)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_char(&b, '{');
    put_who(r, x, &b);
    put_headers(r, &b);
    buf_char(&b, '}');
    return buf_view(&b);
}

static ath_str reason_of(ath_req *r, const ath_deferral *d)
{
    return d->reason.n ? d->reason : unchecked(r);
}

static ath_str payload_of(ath_req *r, const ath_deferral *d)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    buf_char(&b, '{');
    buf_json_str(&b, "kind", str_of(d->kind));
    buf_json_str(&b, "request_id", ath_host_->req->info(r, "id"));
    buf_json_str(&b, "client_name", ath_host_->req->info(r, "client"));
    buf_json_key(&b, "request_body");
    buf_str(&b, d->body.n ? d->body : ath_host_->req->body(r));
    if (reason_of(r, d).n)
        buf_json_str(&b, "reason", reason_of(r, d));
    buf_json_int(&b, "requested_at_unix_ms", (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
    buf_char(&b, '}');
    return buf_view(&b);
}

static ath_str number(ath_req *r, uint64_t v)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_u64(&b, v);
    return buf_view(&b);
}

static ath_str or_null(ath_str s)
{
    return s.n ? s : (ath_str){ NULL, 0 };
}

static void fill(ath_req *r, const ath_deferral *d, struct put *x)
{
    const struct deferred_config *cfg = ath_config_of(r);
    ath_str length = ath_header(r, "content-length"), body = ath_host_->req->body(r);
    uint64_t bytes;

    x->param[P_ID] = ath_host_->req->info(r, "id");
    x->param[P_METHOD] = str_of(d->method);
    x->param[P_ROUTE] = ath_host_->req->info(r, "route");
    x->param[P_CLIENT] = or_null(ath_host_->req->info(r, "client"));
    x->param[P_BYTES] = number(r, str_u64(length, &bytes) ? bytes : body.n);
    x->param[P_PAYLOAD] = payload_of(r, d);
    x->param[P_REASON] = or_null(reason_of(r, d));
    x->param[P_TEXT] = body;
    x->param[P_CONTEXT] = context_of(r, x);
    x->alone = cfg->most <= TOGETHER_MOST || cfg->most_per_client <= TOGETHER_MOST;
}

/* ---- how it ended ---- */

ath_str deferred_cause(ath_task *t, ath_err *e)
{
    ath_str code = ath_host_->err->get(e, "code"), name;
    struct buf b = BUF_ARENA(ath_arena_of(t));

    if (ath_host_->err->get(e, "sqlstate").n ||
        !(str_is(code, "feature_unavailable") || str_is(code, "client_unavailable") ||
          str_is(code, "connection_error") || str_is(code, "client_unknown"))) {
        buf_str(&b, ath_host_->err->get(e, "message"));
        return buf_view(&b);
    }
    name = ath_host_->inspect(t, "logging_client");
    if (!name.n)
        return ATH_S("logging client is not configured");
    buf_printf(&b, "logging client '%.*s' is not connected", STR_ARG(name));
    return buf_view(&b);
}

/* What jsonb cannot hold could not be carried out as it came (D-11). */
static int refuse(ath_task *t, ath_err *e)
{
    ath_str state = ath_host_->err->get(e, "sqlstate");

    if (str_starts(state, "22"))
        return ath_raise(e, "invalid_text_encoding", "the body cannot be kept: %.*s",
                         STR_ARG(deferred_cause(t, e)));
    return ath_raise(e, "deferred_queue_unavailable", "%.*s", STR_ARG(deferred_cause(t, e)));
}

static bool has_room(const ath_rows *rows)
{
    return str_is(ath_cell(rows, 0, 0), "t") && str_is(ath_cell(rows, 0, 1), "t");
}

static int full(ath_task *t, bool of_client, ath_err *e)
{
    const struct deferred_config *cfg = ath_config_of(t);
    int rc;

    if (of_client)
        rc = ath_raise(e, "deferred_queue_full",
                       "%lld requests of this client wait in the queue already",
                       (long long)cfg->most_per_client);
    else
        rc = ath_raise(e, "deferred_queue_full", "%lld requests wait in the queue already",
                       (long long)cfg->most);
    ath_host_->err->detail(e, "retry_after", ATH_S("1"));
    return rc;
}

static int is_put(ath_task *t, struct put *x, const ath_rows *rows, ath_err *e)
{
    if (!has_room(rows))
        return full(t, str_is(ath_cell(rows, 0, 0), "t"), e);
    deferred_count(x->kind, "queued");
    if (x->unchecked.n)
        deferred_prove(t, x->param[P_ID], x->unchecked);
    else if (ATH_HAS(ath_host_, job))
        ath_host_->job->wake(DEFERRED_QUEUE);
    return 0;
}

static int ask(ath_task *t, struct put *x, ath_err *e);

static int stored(ath_task *t, const ath_done *d, ath_err *e)
{
    struct put *x = d->arg;
    ath_done mine = { .size = sizeof(mine), .arg = x->arg };
    const ath_rows *rows = d->rc < 0 ? NULL : ath_host_->pg->next(d->rows);

    if (rows && !x->alone && !has_room(rows)) {
        x->alone = true;
        if (ask(t, x, e) == 0)
            return 0;
        mine.rc = refuse(t, e);
    } else {
        mine.rc = rows ? is_put(t, x, rows, e) : refuse(t, e);
    }
    return x->then(t, &mine, e);
}

/* Together the bounds are lower, by as many as may be put beside this one. */
static int ask(ath_task *t, struct put *x, ath_err *e)
{
    const struct deferred_config *cfg = ath_config_of(t);
    int64_t spare = x->alone ? 0 : TOGETHER_MOST;
    ath_stmt stmt[] = { { .sql = x->alone ? alone_sql : together_sql },
                        { .sql = put_sql, .param = x->param, .param_count = PARAMS } };
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_COMMITTED,
                    .client = ATH_S("@control"),
                    ATH_ARRAY(stmt, stmt) };

    x->param[P_MOST] = number(t, (uint64_t)(cfg->most - spare));
    x->param[P_MOST_CLIENT] = number(t, (uint64_t)(cfg->most_per_client - spare));
    return ath_host_->pg->query(t, &q, stored, x, e);
}

static int put(ath_task *t, const ath_deferral *d, ath_then *then, void *arg, ath_err *e)
{
    struct put *x = ath_new(ath_arena_of(t), sizeof(*x));

    x->kind = d->kind;
    x->then = then;
    x->arg = arg;
    fill(t, d, x);
    return ask(t, x, e) < 0 ? refuse(t, e) : 0;
}

const ath_deferred deferred_service = {
    .size = sizeof(deferred_service),
    .put = put,
    .count = deferred_count,
};
