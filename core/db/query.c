/* From an ath_query to a trip, and from a trip's end to the operation's.
 *
 * Everything is copied that may be gone when the call returns: structs, arrays, and the values too,
 * because libpq wants texts that end in a NUL. So a value with a NUL inside is refused here, where
 * PostgreSQL would see only its beginning.
 */
#include "db/query.h"

#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "db/direct.h"
#include "db/listen.h"
#include "db/pgpool.h"
#include "db/pieces.h"
#include "db/session.h"
#include "io/stream.h"
#include "lib/buf.h"

enum { STMTS_MAX = 1000, PARAMS_MAX = 65535, SETTINGS_MAX = 100 };

/* ---- how a trip ends ---- */

/* What waits for this trip in the end; NULL when that lives on another thread. */
static ath_task *root_of(const struct trip *t)
{
    ath_task *root = task_root(t->op->task);

    return root->loop == t->op->task->loop ? root : NULL;
}

void trip_sent(struct trip *t)
{
    ath_task *root = root_of(t);

    if (!t->plain)
        t->sent_to = t->session ? session_client(t->session) : pgpool_client(t->pool);
    if (root && !root->db_sent_ns)
        root->db_sent_ns = clock_ns();
}

void trip_finish(struct trip *t, int rc)
{
    struct op *o = t->op;
    ath_task *root;

    deadline_clear(&t->limit);
    if (unlikely(t->session != NULL))
        session_finished(t, rc);
    if (unlikely(t->pieces != NULL)) {
        pieces_finish(t, rc);
        return;
    }
    root = root_of(t);
    if (root && root->db_sent_ns)
        root->db_done_ns = clock_ns();
    if (rc == 0) {
        o->done.rows = &t->first;
        o->done.count = db_rows_affected(t->last);
    } else {
        o->done.count = t->answered;
    }
    op_finish(o, rc);
}

void trip_restart(struct trip *t)
{
    rows_clear(&t->first);
    t->first.next = NULL;
    t->last = NULL;
    t->answered = 0;
    t->failed = t->redo = false;
    if (unlikely(t->pieces != NULL))
        pieces_restart(t);
}

ath_rows *trip_answer(struct trip *t)
{
    ath_rows *rows = t->last ? ARENA_NEW(&t->op->task->arena, ath_rows) : &t->first;

    if (t->last)
        t->last->next = rows;
    t->last = rows;
    t->answered++;
    return rows;
}

void trip_leave(struct trip *t, const char *why)
{
    if (t->session)
        session_leave(t, why);
    else
        pgpool_leave(t);
}

uint64_t trip_left_ms(struct trip *t)
{
    uint64_t left = task_left_ms(t->op->task), now = loop_now_ms(t->op->task->loop);
    uint64_t own = t->limit.at_ms > now ? t->limit.at_ms - now : 0;

    return t->limit.at_ms && own < left ? own : left;
}

ath_err *trip_err(struct trip *t)
{
    return t->op ? op_err(t->op) : pieces_err(t);
}

static void trip_stop(struct op *o)
{
    struct trip *t = o->impl;

    if (o->finished)
        return;
    t->unsure = t->conn && !t->undone;
    trip_leave(t, "a query of it was stopped");
    trip_finish(t, ATH_E_CANCELED);
}

/* What may have written, and nobody heard how it ended. */
static bool is_unheard(const struct op *o, const struct trip *t)
{
    return t->sent_to && !(t->flags & (ATH_PG_READ | ATH_PG_READ_ONLY)) && (t->unsure || !o->told);
}

static void trip_release(struct op *o)
{
    struct trip *t = o->impl;

    rows_clear(&t->first);
    if (unlikely(is_unheard(o, t)))
        client_unheard(t->sent_to, o->task->loop);
}

/* Whoever writes the stream learns that nobody reads on. */
static void copy_release(struct op *o)
{
    struct trip *t = o->impl;

    stream_drop(t->from);
    trip_release(o);
}

void trip_outcome(const struct trip *t, ath_err *e)
{
    if (t->from)
        err_detail_str(e, "outcome", str_of(t->unsure ? "unknown" : "none"));
}

static void trip_late(struct deadline *d)
{
    struct trip *t = container_of(d, struct trip, limit);
    ath_err *e = op_err(t->op);
    bool unsure = t->conn && !t->undone && !(t->flags & ATH_PG_READ);

    t->unsure = unsure;
    trip_leave(t, "a query of it did not end in time");
    err_raise(e, "query_timeout", "the query did not end within its time%s",
              unsure ? "; whether it took effect is not known" : "");
    trip_outcome(t, e);
    trip_finish(t, e->rc);
}

/* ---- making one ---- */

static const ath_stmt *stmt_at(const ath_query *q, uint32_t i)
{
    return (const ath_stmt *)(const void *)((const char *)q->stmt + (size_t)i * q->stmt_size);
}

/* Room for all values of a statement, in one block, each with its NUL. */
static int copy_values(ath_arena *a, const ath_str *param, uint32_t n, struct trip_stmt *to,
                       ath_err *e)
{
    const char **value;
    size_t bytes = 0;
    char *at;

    for (uint32_t i = 0; i < n; i++)
        bytes += param[i].n + 1;
    value = arena_raw(a, n * sizeof(*value) + bytes);
    at = (char *)(value + n);
    for (uint32_t i = 0; i < n; i++) {
        value[i] = param[i].p ? at : NULL;
        if (!param[i].p)
            continue;
        if (unlikely(memchr(param[i].p, 0, param[i].n)))
            return err_raise(e, "invalid_text_encoding", "value $%u holds a NUL character", i + 1);
        memcpy(at, param[i].p, param[i].n);
        at += param[i].n;
        *at++ = 0;
    }
    to->value = value;
    to->n = n;
    return 0;
}

static int copy_stmt(ath_arena *a, const ath_stmt *from, uint64_t seed, struct trip_stmt *to,
                     ath_err *e)
{
    if (!from->sql)
        return err_fail(e, ATH_E_BUG, "a statement has no text");
    if (from->param_count > PARAMS_MAX)
        return err_raise(e, "query_syntax", "a statement has %u values, at most %d are possible",
                         from->param_count, PARAMS_MAX);
    to->sql = from->sql;
    to->sql_n = strlen(from->sql);
    if (copy_values(a, from->param, from->param_count, to, e) < 0)
        return e->rc;
    if (from->type) {
        uint32_t *type = arena_raw(a, from->param_count * sizeof(*type));
        if (from->param_count)
            memcpy(type, from->type, from->param_count * sizeof(*type));
        to->type = type;
    }
    to->hash = prep_hash(to, seed);
    return 0;
}

/* All settings by one statement. What it does ends with the transaction. */
static int copy_settings(ath_arena *a, const ath_query *q, struct trip_stmt *to, uint64_t *ret_seed,
                         ath_err *e)
{
    struct buf sql = ARENA_BUF(a);
    ath_str *param = arena_raw(a, 2 * q->set_count * sizeof(*param));

    if (q->set_count > SETTINGS_MAX)
        return err_fail(e, ATH_E_BUG, "a query has %u settings, at most %d are possible",
                        q->set_count, SETTINGS_MAX);
    for (uint32_t i = 0; i < q->set_count; i++) {
        buf_printf(&sql, "%s pg_catalog.set_config($%u, $%u, true)", i ? "," : "SELECT", 2 * i + 1,
                   2 * i + 2);
        param[2 * i] = q->set[i].name;
        param[2 * i + 1] = q->set[i].value;
        if (str_ieq(q->set[i].name, ATH_S("search_path"))) {
            struct trip_stmt path = { .sql = q->set[i].value.p, .sql_n = q->set[i].value.n };
            *ret_seed = prep_hash(&path, 1); /* the same text means something else under it */
        }
    }
    to->sql = sql.p;
    to->sql_n = sql.n;
    if (copy_values(a, param, 2 * q->set_count, to, e) < 0)
        return e->rc;
    to->hash = prep_hash(to, 0);
    return 0;
}

/* What a statement says of itself must be sayable of its trip. */
static int stmt_flags(struct trip *t, uint32_t flags, bool last, ath_err *e)
{
    uint32_t known = ATH_PG_READ | ATH_PG_RAW | ATH_PG_ROWS | ATH_PG_COPY;

    if (flags & ~known)
        return err_fail(e, ATH_E_BUG, "flags %u of a statement are those of a query",
                        flags & ~known);
    if ((flags & (ATH_PG_ROWS | ATH_PG_COPY)) && !last)
        return err_fail(e, ATH_E_BUG, "only the last statement can copy or give rows in pieces");
    t->flags |= flags & (ATH_PG_RAW | ATH_PG_ROWS | ATH_PG_COPY);
    t->plain = t->plain && !(t->flags & (ATH_PG_RAW | ATH_PG_ROWS | ATH_PG_COPY));
    return 0;
}

/* Keeps its connection at the pace of whoever writes the stream. */
static int copy_begin(struct trip *t, ath_task *task, const ath_query *q, ath_err *e)
{
    uint32_t never = ATH_PG_READ | ATH_PG_READ_ONLY | ATH_PG_ROWS | ATH_PG_EACH | ATH_PG_ALONE;

    if (!q->from)
        return err_raise(e, "feature_unavailable", "COPY TO is not available in this version");
    if (!stream_may_consume(q->from, task))
        return err_fail(e, ATH_E_BUG, "the stream to copy is not of this task, or has a reader");
    if (t->flags & never)
        return err_fail(e, ATH_E_BUG,
                        "a COPY is no read, and one transaction with what is before it");
    if (t->stmt[t->count - 1].n)
        return err_fail(e, ATH_E_BUG, "a COPY takes no values");
    t->from = q->from;
    t->holds = t->undone = true;
    return 0;
}

/* ---- fenced by a job's lease ---- */

static bool (*lease_of)(ath_task *t, struct db_lease *ret);

void db_leases(bool (*of)(ath_task *t, struct db_lease *ret))
{
    lease_of = of;
}

static int lease_lost(ath_err *e)
{
    return err_raise(e, "lease_lost", "the lease of the job is not held any more");
}

static int fence_lease(ath_task *task, struct db_lease *ret, ath_err *e)
{
    if (!lease_of || !lease_of(task, ret))
        return err_fail(e, ATH_E_BUG, "a query is fenced by a lease, but its task is no job's");
    return clock_ns() < ret->until_ns ? 0 : lease_lost(e);
}

static int client_of(ath_task *t, const ath_query *q, struct db_client **ret, ath_err *e);

/* On the control plane the lease's own row is asked, and kept, in the query's transaction. */
static int fence_make(struct trip *t, ath_task *task, const ath_query *q, ath_err *e)
{
    struct db_client *client = q->session ? session_client(q->session) : NULL;
    const char *control = db_process.options.control_client;
    ath_stmt fence = { .param_count = 2 };
    struct db_lease lease;

    if (t->flags & (ATH_PG_ALONE | ATH_PG_READ_ONLY))
        return err_fail(e, ATH_E_BUG, "what runs alone or only reads cannot be fenced by a lease");
    if (fence_lease(task, &lease, e) < 0 || (!client && client_of(task, q, &client, e) < 0))
        return e->rc;
    if (!control || !*control || client != db_client_find(str_of(control)))
        return 0;
    fence.sql = lease.sql;
    fence.param = lease.param;
    t->fence = ARENA_NEW(&task->arena, struct trip_stmt);
    return copy_stmt(&task->arena, &fence, 0, t->fence, e);
}

/* Elsewhere it ends, on the server too, before the lease may be over. */
static uint32_t fence_time(ath_task *task, uint32_t timeout_ms)
{
    struct db_lease lease;
    uint64_t now = clock_ns(), left;

    if (!lease_of(task, &lease) || lease.until_ns <= now)
        return 1;
    left = (lease.until_ns - now) / 1000000u + 1;
    return timeout_ms && timeout_ms < left ? timeout_ms : (uint32_t)left;
}

static __attribute__((noinline)) int special_make(struct trip *t, ath_task *task,
                                                  const ath_query *q, ath_err *e)
{
    int rc = t->flags & ATH_PG_COPY ? copy_begin(t, task, q, e) : 0;

    return rc == 0 && (t->flags & ATH_PG_FENCED) ? fence_make(t, task, q, e) : rc;
}

static int trip_make(ath_task *task, const ath_query *q, struct trip **ret, ath_err *e)
{
    ath_arena *a = &task->arena;
    struct trip *t = arena_alloc(a, sizeof(*t) + q->stmt_count * sizeof(*t->stmt));
    uint64_t seed = 0;
    int rc = 0;

    t->stmt = (struct trip_stmt *)(t + 1);
    t->count = q->stmt_count;
    t->flags = q->flags;
    t->plain = q->flags == ATH_PG_READ && q->stmt_count == 1 && q->set_count == 0;
    if (q->set_count)
        rc = copy_settings(a, q, &t->set, &seed, e);
    for (uint32_t i = 0; rc == 0 && i < q->stmt_count; i++) {
        rc = copy_stmt(a, stmt_at(q, i), seed, &t->stmt[i], e);
        if (rc == 0 && unlikely(stmt_at(q, i)->flags & ~q->flags))
            rc = stmt_flags(t, stmt_at(q, i)->flags, i + 1 == q->stmt_count, e);
    }
    if (rc == 0 && unlikely(t->flags & (ATH_PG_COPY | ATH_PG_FENCED)))
        rc = special_make(t, task, q, e);
    list_init(&t->node);
    deadline_init(&t->limit, trip_late);
    *ret = t;
    return rc;
}

/* ---- the call ---- */

static int check(const ath_query *q, ath_err *e)
{
    if (q->stmt_count > STMTS_MAX || (q->stmt_count && q->stmt_size < sizeof(ath_stmt)))
        return err_fail(e, ATH_E_BUG, "a query has %u statements, expected 1 to %d", q->stmt_count,
                        STMTS_MAX);
    if ((q->flags & ATH_PG_ALONE) && (q->stmt_count > 1 || q->set_count))
        return err_fail(e, ATH_E_BUG,
                        "a statement that runs alone came with others or with settings");
    return 0;
}

static int check_query(const ath_query *q, ath_err *e)
{
    if (unlikely(q->stmt_count == 0))
        return err_fail(e, ATH_E_BUG, "a query has no statements, expected 1 to %d", STMTS_MAX);
    if (unlikely(q->flags & ATH_PG_OWN))
        return err_fail(e, ATH_E_BUG, "ATH_PG_OWN is said when a session is opened");
    return check(q, e);
}

/* A client by its part: "@control" and "@auth" are what the configuration names so; "@keys" are
 * connections beside those of "@auth". */
static int client_by_part(ath_str part, struct db_client **ret, ath_err *e)
{
    const struct db_options *o = &db_process.options;
    bool keys = str_is(part, "@keys"), auth = keys || str_is(part, "@auth");
    const char *name = auth ? o->auth_client : o->control_client;

    if (!auth && !str_is(part, "@control"))
        return client_unknown(part, e);
    *ret = name && *name ? db_client_find(str_of(name)) : NULL;
    if (*ret && keys)
        *ret = client_beside(*ret);
    if (*ret)
        return 0;
    if (name && *name)
        err_raise(e, "feature_unavailable", "client \"%s\" of gateway.%s is not configured", name,
                  auth ? "auth_client" : "logging_client");
    else
        err_raise(e, "feature_unavailable", "no database is named for this: gateway.%s is empty",
                  auth ? "auth_client" : "logging_client");
    err_hint(e, "Name a client of postgres_clients in gateway.%s.",
             auth ? "auth_client" : "logging_client");
    return e->rc;
}

static int client_of(ath_task *t, const ath_query *q, struct db_client **ret, ath_err *e)
{
    if (unlikely(q->uri.n))
        return db_direct_client(t, q->uri, q->flags & ATH_PG_OPERATOR, ret, e);
    if (unlikely(q->client.n && q->client.p[0] == '@'))
        return client_by_part(q->client, ret, e);
    *ret = q->client.n ? db_client_find(q->client) : t->client;
    if (likely(*ret != NULL))
        return 0;
    if (q->client.n == 0)
        return err_fail(e, ATH_E_BUG, "a query names no client, and its task has none");
    return client_unknown(q->client, e);
}

void trip_ask(struct trip *t, ath_task *task, ath_then *then, void *arg, uint32_t timeout_ms)
{
    t->op = op_new(task, then, arg);
    t->op->impl = t;
    t->op->stop = trip_stop;
    t->op->release = trip_release;
    if (timeout_ms)
        deadline_set(task->loop, &t->limit, loop_now_ms(task->loop) + timeout_ms);
}

/* The server's own limit is lifted from them: each piece has it instead. */
static void trip_begin_pieces(struct trip *t, ath_task *task, const ath_query *q, ath_then *then,
                              void *arg)
{
    uint64_t usual = db_process.options.query_timeout_ms;
    uint32_t ms = q->timeout_ms ? q->timeout_ms : usual < UINT32_MAX ? (uint32_t)usual : UINT32_MAX;

    pieces_new(t, task, ms);
    trip_ask(t, task, then, arg, ms);
}

static __attribute__((noinline)) void
trip_begin_special(struct trip *t, ath_task *task, const ath_query *q, ath_then *then, void *arg)
{
    if (t->flags & ATH_PG_ROWS)
        trip_begin_pieces(t, task, q, then, arg);
    else
        trip_ask(t, task, then, arg, t->fence ? q->timeout_ms : fence_time(task, q->timeout_ms));
}

static void trip_begin(struct trip *t, ath_task *task, const ath_query *q, ath_then *then,
                       void *arg)
{
    if (unlikely(t->flags & (ATH_PG_ROWS | ATH_PG_FENCED)))
        trip_begin_special(t, task, q, then, arg);
    else
        trip_ask(t, task, then, arg, q->timeout_ms);
    if (unlikely(t->from != NULL))
        t->op->release = copy_release;
}

static int query_session(ath_task *task, const ath_query *q, ath_then *then, void *arg, ath_err *e)
{
    struct db_client *named = NULL;
    struct trip *t;
    int rc;

    if ((rc = session_admit(q->session, task, q, e)) < 0)
        return rc;
    if ((q->client.n || q->uri.n) && (rc = client_of(task, q, &named, e)) < 0)
        return rc;
    if (named && named != session_client(q->session))
        return err_fail(e, ATH_E_BUG, "a query of a session names another database");
    if ((rc = trip_make(task, q, &t, e)) < 0)
        return rc;
    trip_begin(t, task, q, then, arg);
    session_run(q->session, t);
    return 0;
}

static int client_serves(ath_task *task, const struct db_client *client, ath_err *e)
{
    if (unlikely(!db_loop_of(task->loop)))
        return err_fail(e, ATH_E_CANCELED, "the loop serves no databases any more");
    if (unlikely(client->of != NULL))
        client = client->of;
    if (unlikely(atomic_load_explicit(&client->gate, memory_order_relaxed) == DB_SHUT))
        return client_shut(client, e);
    return 0;
}

/* The pool that serves it, when it may be asked now. */
static int pool_of(ath_task *task, const ath_query *q, struct pgpool **ret, ath_err *e)
{
    struct db_client *client;
    int rc = client_of(task, q, &client, e);

    if (rc < 0 || (rc = client_serves(task, client, e)) < 0)
        return rc;
    *ret = pgpool_of(client, task->loop);
    return pgpool_admit(*ret, task, q->timeout_ms, e);
}

/* Texts of it live as long as the process: it is set once, if at all. */
static _Atomic(const char *) control_path;

void db_control_path(ath_str path)
{
    const char *now = atomic_load(&control_path);

    if (!str_eq(str_of(now ? now : ""), path))
        atomic_store(&control_path, mem_dup_str(path));
}

/* In a database whose path begins with a tenant's schema, names of ours may be somebody else's. */
static __attribute__((noinline)) const ath_query *
on_control_path(ath_task *task, const ath_query *q, const char *path)
{
    ath_query *with = ARENA_NEW(&task->arena, ath_query);
    ath_pair *set = arena_alloc(&task->arena, (q->set_count + 1) * sizeof(*set));

    for (uint32_t i = 0; i < q->set_count; i++) {
        if (str_ieq(q->set[i].name, ATH_S("search_path")))
            return q;
        set[i] = q->set[i];
    }
    set[q->set_count] = (ath_pair){ ATH_S("search_path"), str_of(path) };
    *with = *q;
    with->set = set;
    with->set_count = q->set_count + 1;
    return with;
}

static const ath_query *on_path(ath_task *task, const ath_query *q)
{
    const char *path = atomic_load_explicit(&control_path, memory_order_relaxed);

    if (likely(!path || !*path) || !str_is(q->client, "@control") || (q->flags & ATH_PG_ALONE))
        return q;
    return on_control_path(task, q, path);
}

int db_query(ath_task *task, const ath_query *q, ath_then *then, void *arg, ath_err *e)
{
    struct pgpool *pool;
    struct trip *t;
    int rc;

    if ((rc = task_may_start(task, e)) < 0 || (rc = check_query(q, e)) < 0)
        return rc;
    if (unlikely(q->session != NULL))
        return query_session(task, q, then, arg, e);
    q = on_path(task, q);
    if ((rc = pool_of(task, q, &pool, e)) < 0 || (rc = trip_make(task, q, &t, e)) < 0)
        return rc;
    trip_begin(t, task, q, then, arg);
    pgpool_submit(pool, t);
    return 0;
}

/* What an open runs answers with the session, at once. */
static int whole_rows(const struct trip *t, ath_err *e)
{
    if (t->flags & (ATH_PG_ROWS | ATH_PG_COPY))
        return err_fail(e, ATH_E_BUG, "an open cannot copy, nor give rows in pieces");
    return 0;
}

/* One of its own waits for nobody. */
int db_open(ath_task *task, const ath_query *q, ath_then *then, void *arg, ath_err *e)
{
    struct pgpool *pool;
    struct trip *t;
    int rc;

    if ((rc = task_may_start(task, e)) < 0 || (rc = check(q, e)) < 0)
        return rc;
    if (q->session)
        return err_fail(e, ATH_E_BUG, "a session cannot be opened in a session");
    if ((rc = pool_of(task, q, &pool, e)) < 0 || (rc = trip_make(task, q, &t, e)) < 0 ||
        (rc = whole_rows(t, e)) < 0 || (rc = session_open(pgpool_client(pool), t, task, e)) < 0)
        return rc;
    trip_begin(t, task, q, then, arg);
    if (!(q->flags & ATH_PG_OWN))
        pgpool_submit(pool, t);
    return 0;
}

int db_ask(ath_task *t, ath_session *s, const char *sql, uint32_t flags, ath_then *then, void *arg,
           ath_err *e)
{
    ath_stmt stmt = { .sql = sql };
    ath_query q = { .size = sizeof(q),
                    .flags = flags,
                    .session = s,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    return db_query(t, &q, then, arg, e);
}

int db_listen(ath_task *task, const ath_query *q, ath_then *then, void *arg, ath_err *e)
{
    struct db_client *client;
    int rc;

    if ((rc = task_may_start(task, e)) < 0)
        return rc;
    if (q->stmt_count != 1 || !stmt_at(q, 0)->sql || q->flags || q->set_count || q->session)
        return err_fail(e, ATH_E_BUG, "a listen names a client and a channel, nothing else");
    if ((rc = client_of(task, q, &client, e)) < 0 || (rc = client_serves(task, client, e)) < 0)
        return rc;
    if (client->direct)
        return err_raise(e, "feature_unavailable", "a direct URI cannot be listened to");
    return listen_start(client, task, str_of(stmt_at(q, 0)->sql), then, arg, e);
}

bool db_hears(ath_task *t, const char *client, const char *channel, ath_then *then)
{
    const ath_stmt stmt = { .sql = channel };
    ath_query q = { .size = sizeof(q),
                    .client = str_of(client),
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };
    ath_err e;

    err_reset(&e);
    return db_listen(t, &q, then, NULL, &e) == 0;
}
