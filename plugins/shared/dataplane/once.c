/* Once, as three trips on one connection, or as many more as `run` takes; see once.h.
 *
 * A refusal is kept as its code, words and details, and said anew: the answer then has the ids of
 * the request that asks, not of the first one.
 */
#include "dataplane/once.h"

#include "dataplane/refusal.h"
#include "lib/text.h"

enum { CLIENT, KEY_ID, ROUTE, KEY, REQUEST, STATUS, BODY }; /* of param */
enum { OID_TEXT = 25, OID_INT2 = 21 };

#define TABLE "athena.idempotency_keys"
#define WHICH "client = $1 AND key_id = $2 AND route = $3 AND key = $4"
#define DIGEST(n)                                                                                  \
    "pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(" n ", 'UTF8')), 'hex')"
#define FRESH "pg_catalog.now() - interval '24 hours'"

static const char lock_sql[] =
    "SELECT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended("
    "pg_catalog.concat_ws(pg_catalog.chr(10), $1, $2, $3, $4), 0))";
static const char look_sql[] =
    "SELECT status, body, request = " DIGEST("$5") " FROM " TABLE " WHERE " WHICH
                                                   " AND created_at > " FRESH;
static const char keep_sql[] =
    "INSERT INTO " TABLE " (client, key_id, route, key, request, status, body) VALUES "
    "($1, $2, $3, $4, " DIGEST(
        "$5") ", $6, $7) ON CONFLICT (client, key_id, route, key) DO UPDATE "
              "SET request = EXCLUDED.request, status = EXCLUDED.status, body = EXCLUDED.body, "
              "created_at = pg_catalog.now()";
static const char old_sql[] =
    "DELETE FROM " TABLE " WHERE ctid = ANY (ARRAY(SELECT ctid FROM " TABLE
    " WHERE created_at < " FRESH " ORDER BY created_at LIMIT 100 FOR UPDATE SKIP LOCKED))";

static const uint32_t types[] = { OID_TEXT, OID_TEXT, OID_TEXT, OID_TEXT,
                                  OID_TEXT, OID_INT2, OID_TEXT };

/* ---- the key ---- */

int dp_once_key(ath_req *r, ath_str in_body, ath_str *ret, ath_err *e)
{
    ath_str header = ath_header(r, "idempotency-key");

    *ret = in_body.n ? in_body : header;
    if (header.n && in_body.n && !str_eq(header, in_body))
        return ath_raise(e, "invalid_idempotency_key",
                         "the header Idempotency-Key and idempotency_key are not the same");
    if (ret->n > DP_ONCE_KEY)
        return ath_raise(e, "invalid_idempotency_key", "an idempotency key has at most %d bytes",
                         DP_ONCE_KEY);
    for (size_t i = 0; i < ret->n; i++)
        if (ret->p[i] < ' ' || ret->p[i] > '~')
            return ath_raise(e, "invalid_idempotency_key",
                             "an idempotency key has printable ASCII characters only");
    return 0;
}

int dp_once_installed(const ath_catalog *catalog, const ath_snapshot *s, bool *ret_unknown,
                      ath_err *e)
{
    if (catalog->relation(s, ATH_S("athena"), ATH_S("idempotency_keys")))
        return 0;
    *ret_unknown = true;
    return ath_raise(e, "idempotency_not_installed",
                     "the client's database has no table " TABLE " to keep answers in");
}

static ath_str lower(ath_arena *a, ath_str s)
{
    char *p = ath_new(a, s.n + 1);

    for (size_t i = 0; i < s.n; i++)
        p[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] | 32) : s.p[i];
    return str_from(p, s.n);
}

/* A text that is not there is empty here: null is equal to nothing. */
static ath_str present(ath_str s)
{
    return s.p ? s : ATH_S("");
}

static void scope(ath_req *r, struct dp_once *o)
{
    ath_who who = { .size = sizeof(who) };

    ath_host_->req->who(r, &who);
    o->param[CLIENT] = lower(ath_arena_of(r), ath_host_->req->info(r, "client"));
    o->param[KEY_ID] = present(who.key_id);
    o->param[ROUTE] = present(ath_host_->req->info(r, "route"));
    o->param[KEY] = o->key;
    o->param[REQUEST] = present(o->request);
}

/* ---- the trips ---- */

static void finish(struct dp_once *o)
{
    if (o->session)
        ath_host_->pg->close(o->session);
    o->session = NULL;
}

static ath_query trip(const struct dp_once *o, const ath_stmt *stmt, uint32_t n)
{
    return (ath_query){ .size = sizeof(ath_query),
                        .session = o->session,
                        .stmt = stmt,
                        .stmt_size = sizeof(*stmt),
                        .stmt_count = n,
                        .timeout_ms = o->effect.timeout_ms };
}

static ath_stmt with_params(const struct dp_once *o, const char *sql, uint32_t n)
{
    return (ath_stmt){ .sql = sql, .param = o->param, .type = types, .param_count = n };
}

static int undone(ath_task *t, const ath_done *d, ath_err *e)
{
    struct dp_once *o = d->arg;

    finish(o);
    return dp_refuse_again(t, o->body, e);
}

/* Of what is told that it may try again the lock is gone before it does. */
static int undo(ath_task *t, struct dp_once *o, ath_err *e)
{
    static const ath_stmt rollback = { .sql = "ROLLBACK" };
    ath_query q = trip(o, &rollback, 1);

    q.flags = ATH_PG_RAW;
    o->body = dp_refusal(ath_arena_of(t), e);
    return ath_host_->pg->query(t, &q, undone, o, e);
}

static int kept(ath_task *t, const ath_done *d, ath_err *e)
{
    struct dp_once *o = d->arg;

    finish(o);
    if (d->rc < 0)
        return d->rc;
    return o->status < 400 ? o->committed(t, o, e) : dp_refuse_again(t, o->body, e);
}

int dp_once_fits(size_t n, ath_err *e)
{
    if (n <= DP_ONCE_ANSWER)
        return 0;
    return ath_raise(e, "idempotency_answer_too_large",
                     "the answer is over the %d bytes that are kept with an idempotency key",
                     DP_ONCE_ANSWER);
}

/* What the caller's own SQL has set may still hold: it would decide who writes, whether at all, and
 * how the bytes of the answer are read. */
static const char *const own_again[] = {
    "RELEASE SAVEPOINT effect", /* read only was the savepoint's alone */
    "RESET SESSION AUTHORIZATION",
    "RESET ROLE", /* which the one before does too, but not in every minor release */
    "SET LOCAL client_encoding = 'UTF8'",
};

/* Behind a refusal the effect is undone first. Other isolations than the usual one might fail over
 * somebody else's removal of old keys, so they leave that to others. */
static uint32_t keeping(const struct dp_once *o, ath_stmt *to)
{
    uint32_t n = 0;

    if (o->status >= 400)
        to[n++].sql = "ROLLBACK TO SAVEPOINT effect";
    else if (o->run)
        for (; n < ATH_COUNT(own_again); n++)
            to[n].sql = own_again[n];
    to[n++] = with_params(o, keep_sql, BODY + 1);
    if (str_is(str_of(o->begin), "BEGIN"))
        to[n++].sql = old_sql;
    to[n++].sql = "COMMIT";
    return n;
}

/* A caller's own SQL may have deallocated what is prepared, so there nothing is (ATH_PG_RAW). */
int dp_once_keep(ath_task *t, struct dp_once *o, ath_err *e)
{
    ath_stmt stmt[ATH_COUNT(own_again) + 3] = { 0 };
    char *status = ath_new(ath_arena_of(t), 8);
    ath_query q;

    if (dp_once_fits(o->body.n, e) < 0)
        return undo(t, o, e);
    (void)snprintf(status, 8, "%d", o->status);
    o->param[STATUS] = str_of(status);
    o->param[BODY] = o->body;
    q = trip(o, stmt, keeping(o, stmt));
    q.flags = o->run ? ATH_PG_RAW : 0;
    return ath_host_->pg->query(t, &q, kept, o, e);
}

int dp_once_refused(ath_task *t, struct dp_once *o, int rc, ath_err *e)
{
    if (!dp_is_definite(rc, e)) {
        if (rc == ATH_E_CONFLICT)
            return undo(t, o, e);
        finish(o);
        return rc;
    }
    o->status = 400;
    o->body = dp_refusal(ath_arena_of(t), e);
    return dp_once_keep(t, o, e);
}

static int refused(ath_task *t, struct dp_once *o, int rc, ath_err *e)
{
    if (o->failed && (rc = o->failed(t, o, rc, e)) == 0) {
        finish(o);
        return 0;
    }
    return dp_once_refused(t, o, rc, e);
}

static int effected(ath_task *t, const ath_done *d, ath_err *e)
{
    struct dp_once *o = d->arg;
    int rc;

    o->answered = d->count ? d->count - 1 : 0; /* without the savepoint */
    if (d->rc < 0)
        return refused(t, o, d->rc, e);
    rc = o->answer(t, o, ath_host_->pg->next(d->rows), e);
    if (rc < 0) {
        finish(o);
        return rc;
    }
    return dp_once_keep(t, o, e);
}

static int effect(ath_task *t, struct dp_once *o, ath_err *e)
{
    const ath_query *of = &o->effect;
    ath_stmt *stmt = ath_new(ath_arena_of(t), (of->stmt_count + 1) * sizeof(*stmt));
    ath_query q;

    stmt[0] = (ath_stmt){ .sql = DP_ONCE_SAVEPOINT };
    for (uint32_t i = 0; i < of->stmt_count; i++)
        stmt[i + 1] =
            *(const ath_stmt *)(const void *)((const char *)of->stmt + (size_t)i * of->stmt_size);
    q = trip(o, stmt, of->stmt_count + 1);
    return ath_host_->pg->query(t, &q, effected, o, e);
}

static int running(ath_err *e)
{
    int rc = ath_raise(e, "idempotency_key_running", "the request with this key still runs");

    ath_host_->err->detail(e, "retry_after", ATH_S("1"));
    return rc;
}

static int replay(ath_task *t, struct dp_once *o, const ath_rows *look, ath_err *e)
{
    int64_t status = 0;
    ath_str body;

    finish(o);
    if (!str_is(ath_cell(look, 0, 2), "t"))
        return ath_raise(e, "idempotency_key_reused", "the key came with another request before");
    look = ath_host_->pg->keep(t, look);
    str_i64(ath_cell(look, 0, 0), &status);
    body = ath_cell(look, 0, 1);
    ath_host_->req->set(t, "idempotency-replayed", ATH_S("true"));
    if (status >= 400)
        return dp_refuse_again(t, body, e);
    return ath_reply(t, (int)status, "application/json", body);
}

static int opened(ath_task *t, const ath_done *d, ath_err *e)
{
    struct dp_once *o = d->arg;
    const ath_rows *lock, *look;

    if (d->rc < 0) { /* the table may be gone */
        o->answered = UINT32_MAX;
        return o->failed ? o->failed(t, o, d->rc, e) : d->rc;
    }
    o->session = d->session;
    lock = ath_host_->pg->next(d->rows);
    look = ath_host_->pg->next(lock);
    if (ath_host_->pg->count(look)) /* whoever has the lock: it may be one who is being told */
        return replay(t, o, look, e);
    if (!str_is(ath_cell(lock, 0, 0), "t")) {
        finish(o);
        return running(e);
    }
    return o->run ? o->run(t, o, e) : effect(t, o, e);
}

int dp_once(ath_req *r, struct dp_once *o, ath_err *e)
{
    ath_query q;

    scope(r, o);
    o->stmt[0] = (ath_stmt){ .sql = o->begin };
    o->stmt[1] = with_params(o, lock_sql, KEY + 1);
    o->stmt[2] = with_params(o, look_sql, REQUEST + 1);
    o->session = NULL;
    o->status = 200;
    q = trip(o, o->stmt, 3);
    return ath_host_->pg->open(r, &q, opened, o, e);
}
