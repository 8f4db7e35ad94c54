/* Making statements out of a description's words. */
#include "jobs/queue.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/mem.h"
#include "db/query.h"
#include "jobs/queue_priv.h"

enum { SWEEP_MOST = 500, RETAIN_MOST = 1000, CLIENTS_MOST = 1000 };

const char queue_columns_sql[] =
    "SELECT a.attname, pg_catalog.format_type(a.atttypid, NULL), a.attnotnull "
    "FROM pg_catalog.pg_attribute a WHERE a.attrelid = "
    "pg_catalog.to_regclass(pg_catalog.quote_ident($1)) AND a.attnum > 0 AND NOT a.attisdropped";

const char *queue_state_again(const ath_queue *q)
{
    return q->again ? q->again : q->waiting;
}

const char *queue_state_canceled(const ath_queue *q)
{
    return q->canceled ? q->canceled : q->dead;
}

/* ---- the order ---- */

static void order_by(struct buf *b, const ath_queue *q)
{
    buf_lit(b, " ORDER BY ");
    if (q->priority) {
        sql_col(b, q->priority);
        buf_lit(b, " DESC, ");
    }
    if (sql_place_of(q)) {
        sql_col(b, sql_place_of(q));
        buf_lit(b, ", ");
    }
    sql_col(b, q->key);
}

static void micros(struct buf *b, const char *column)
{
    buf_lit(b, "(extract(epoch FROM ");
    sql_col(b, column);
    buf_lit(b, ") * 1000000)::bigint");
}

static void above_floor(struct buf *b, const ath_queue *q, bool floor)
{
    if (!floor || !sql_place_of(q))
        return;
    buf_lit(b, " AND ");
    sql_col(b, sql_place_of(q));
    buf_lit(b, " >= timestamptz 'epoch' + $4 * interval '1 microsecond'");
}

static void is_due(struct buf *b, const ath_queue *q)
{
    if (!q->due)
        return;
    buf_lit(b, " AND (");
    sql_col(b, q->due);
    buf_lit(b, " IS NULL OR ");
    sql_col(b, q->due);
    buf_lit(b, " <= statement_timestamp())");
}

/* What may be claimed by this process, beyond its state and its time. */
static void is_ours(struct buf *b, const struct maker *m)
{
    const ath_queue *q = m->q;

    if (q->pin) {
        buf_lit(b, " AND (");
        sql_col(b, q->pin);
        buf_lit(b, " IS NULL OR ");
        sql_col(b, q->pin);
        buf_lit(b, " = '' OR ");
        sql_col(b, q->pin);
        buf_lit(b, " = ANY ($5))");
    }
    if (q->cancel) {
        buf_lit(b, " AND ");
        sql_cancel_asked(b, m, false);
    }
    if (q->where)
        buf_printf(b, " AND (%s)", q->where);
}

/* ---- claim ---- */

static void picked_in_order(struct buf *b, const struct maker *m, bool floor)
{
    buf_lit(b, "WITH picked AS MATERIALIZED (SELECT ");
    sql_col(b, m->q->key);
    buf_lit(b, " AS key");
    sql_from_table(b, m->q);
    sql_is_waiting(b, m->q);
    is_due(b, m->q);
    is_ours(b, m);
    above_floor(b, m->q, floor);
    order_by(b, m->q);
    buf_lit(b, " LIMIT $1 FOR UPDATE SKIP LOCKED)");
}

/* A client as it is told apart; rows without one are one client. An index on the same expression
 * (then the order's columns) makes each step of the line a look into it. */
static void client_of(struct buf *b, const ath_queue *q)
{
    buf_lit(b, "('.' || coalesce(");
    sql_col(b, q->client);
    buf_lit(b, ", ''))");
}

/* The next client behind `behind` of whom something waits. */
static void next_client(struct buf *b, const ath_queue *q, const char *behind, bool floor)
{
    buf_lit(b, "(SELECT ");
    client_of(b, q);
    sql_from_table(b, q);
    sql_is_waiting(b, q);
    above_floor(b, q, floor);
    buf_lit(b, " AND ");
    client_of(b, q);
    buf_printf(b, " > %s ORDER BY 1 LIMIT 1)", behind);
}

static void line_of_clients(struct buf *b, const ath_queue *q, bool floor)
{
    buf_lit(b, "WITH RECURSIVE line(client, n) AS (SELECT ");
    next_client(b, q, "$6", floor);
    buf_lit(b, ", 1 UNION ALL SELECT ");
    next_client(b, q, "line.client", floor);
    buf_printf(b, ", line.n + 1 FROM line WHERE line.client IS NOT NULL AND line.n < %d), ",
               CLIENTS_MOST);
    buf_lit(b, "busy AS MATERIALIZED (SELECT ");
    client_of(b, q);
    buf_lit(b, " AS client, count(*) AS n");
    sql_from_table(b, q);
    sql_is_held(b, q);
    buf_lit(b, " GROUP BY 1), ");
}

/* The first jobs of each client in turn, as many as it may still have. One that is not due holds up
 * those behind it: their order is the client's. */
static void picked_by_turns(struct buf *b, const struct maker *m, bool floor)
{
    const ath_queue *q = m->q;

    line_of_clients(b, q, floor);
    buf_lit(b, "heads AS MATERIALIZED (SELECT h.key FROM line LEFT JOIN busy ON busy.client = "
               "line.client CROSS JOIN LATERAL (SELECT ");
    sql_col(b, q->key);
    buf_lit(b, " AS key");
    sql_from_table(b, q);
    sql_is_waiting(b, q);
    buf_lit(b, " AND ");
    client_of(b, q);
    buf_lit(b, " = line.client");
    is_ours(b, m);
    above_floor(b, q, floor);
    order_by(b, q);
    buf_lit(b, " LIMIT greatest($7 - coalesce(busy.n, 0), 0)) h JOIN ");
    sql_id(b, q->table);
    buf_lit(b, " q ON ");
    sql_col(b, q->key);
    buf_lit(b, " = h.key WHERE line.client IS NOT NULL");
    is_due(b, q);
    buf_lit(b, " ORDER BY line.n LIMIT $1), picked AS MATERIALIZED (SELECT ");
    sql_col(b, q->key);
    buf_lit(b, " AS key");
    sql_from_table(b, q);
    sql_col(b, q->key);
    buf_lit(b, " IN (SELECT key FROM heads) AND ");
    sql_is_waiting(b, q);
    buf_lit(b, " FOR UPDATE SKIP LOCKED)");
}

static void taken(struct buf *b, const struct maker *m)
{
    const ath_queue *q = m->q;

    buf_lit(b, ", taken AS (");
    sql_update_table(b, q);
    sql_word(b, q->claimed);
    if (q->attempts) {
        buf_lit(b, ", ");
        sql_id(b, q->attempts);
        buf_lit(b, " = ");
        sql_col(b, q->attempts);
        buf_lit(b, " + 1");
    }
    sql_set(b, q->token,
            arena_printf(m->arena, "pg_catalog.gen_random_uuid()::%s", sql_type_of(m, q->token)).p);
    sql_set(b, q->until, "clock_timestamp() + $2 * interval '1 millisecond'");
    sql_set(b, q->owner, "$3");
    sql_set_or_keep(b, m, q->error, "NULL");
    sql_set(b, q->touched, "clock_timestamp()");
    if (q->started) {
        buf_lit(b, ", ");
        sql_id(b, q->started);
        buf_lit(b, " = coalesce(");
        sql_col(b, q->started);
        buf_lit(b, ", clock_timestamp())");
    }
    buf_lit(b, " FROM picked WHERE ");
    sql_col(b, q->key);
    buf_lit(b, " = picked.key RETURNING ");
}

static void or_null(struct buf *b, const char *column, const char *as)
{
    buf_lit(b, ", ");
    if (column)
        sql_col(b, column);
    else
        buf_lit(b, "NULL");
    buf_printf(b, "::text AS %s", as);
}

/* The place of the oldest that is not finished. */
static void oldest(struct buf *b, const ath_queue *q)
{
    if (!sql_place_of(q)) {
        buf_lit(b, "NULL::bigint");
        return;
    }
    buf_lit(b, "(SELECT (extract(epoch FROM min(");
    sql_col(b, sql_place_of(q));
    buf_lit(b, ")) * 1000000)::bigint");
    sql_from_table(b, q);
    sql_is_waiting(b, q);
    buf_lit(b, " OR ");
    sql_is_held(b, q);
    buf_char(b, ')');
}

static const char *make_claim(const struct maker *m, bool fair, bool floor)
{
    struct buf b = ARENA_BUF(m->arena);
    const ath_queue *q = m->q;

    if (fair)
        picked_by_turns(&b, m, floor);
    else
        picked_in_order(&b, m, floor);
    taken(&b, m);
    sql_col(&b, q->key);
    buf_lit(&b, "::text AS key");
    or_null(&b, q->token, "token");
    or_null(&b, q->attempts, "attempt");
    or_null(&b, q->max_attempts, "most");
    or_null(&b, q->args, "args");
    or_null(&b, q->client, "client");
    buf_lit(&b, ", ");
    if (sql_place_of(q))
        micros(&b, sql_place_of(q));
    else
        buf_lit(&b, "NULL::bigint");
    buf_lit(&b,
            " AS place) SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint, ");
    if (fair && !floor)
        oldest(&b, q);
    else
        buf_lit(&b, "NULL::bigint");
    buf_lit(&b, ", taken.* FROM (VALUES (1)) always LEFT JOIN taken ON true ORDER BY ");
    buf_z(&b, fair ? "'.' || coalesce(taken.client, ''), taken.place" : "taken.place");
    return b.p;
}

/* ---- while it runs ---- */

/* Of the row f names, as long as the lease is held. */
static void where_held(struct buf *b, const ath_queue *q)
{
    buf_lit(b, " WHERE ");
    sql_col(b, q->key);
    buf_lit(b, " = f.key AND ");
    sql_col(b, q->token);
    buf_lit(b, " = f.token AND ");
    sql_col(b, q->until);
    buf_lit(b, " > clock_timestamp()");
}

static const char *make_renew(const struct maker *m)
{
    struct buf b = ARENA_BUF(m->arena);
    const ath_queue *q = m->q;

    buf_lit(&b, "UPDATE ");
    sql_id(&b, q->table);
    buf_lit(&b, " q SET ");
    sql_id(&b, q->until);
    buf_lit(&b, " = clock_timestamp() + $1 * interval '1 millisecond'");
    sql_set(&b, q->touched, "clock_timestamp()");
    buf_printf(&b, " FROM unnest($2::%s[], $3::%s[]) f(key, token)", sql_type_of(m, q->key),
               sql_type_of(m, q->token));
    where_held(&b, q);
    buf_lit(&b, " RETURNING ");
    sql_col(&b, q->key);
    buf_lit(&b, "::text, ");
    if (q->cancel)
        sql_cancel_asked(&b, m, true);
    else
        buf_lit(&b, "false");
    return b.p;
}

static const char *make_progress(const struct maker *m)
{
    struct buf b = ARENA_BUF(m->arena);
    const ath_queue *q = m->q;

    if (!q->progress)
        return NULL;
    buf_lit(&b, "UPDATE ");
    sql_id(&b, q->table);
    buf_lit(&b, " q SET ");
    sql_id(&b, q->progress);
    buf_printf(&b, " = f.progress::%s", sql_type_of(m, q->progress));
    sql_set(&b, q->touched, "clock_timestamp()");
    buf_printf(&b, " FROM unnest($1::%s[], $2::%s[], $3::text[]) f(key, token, progress)",
               sql_type_of(m, q->key), sql_type_of(m, q->token));
    where_held(&b, q);
    return b.p;
}

static const char *make_fence(const struct maker *m)
{
    struct buf b = ARENA_BUF(m->arena);
    const ath_queue *q = m->q;

    buf_lit(&b, "SELECT pg_catalog.set_config(CASE WHEN EXISTS (SELECT");
    sql_from_table(&b, q);
    sql_col(&b, q->key);
    buf_lit(&b, " = $1 AND ");
    sql_col(&b, q->token);
    buf_lit(&b, " = $2 AND ");
    sql_col(&b, q->until);
    buf_lit(&b, " > clock_timestamp() FOR KEY SHARE) THEN 'athena.lease' ELSE "
                "'" DB_LEASE_LOST "' END, 'held', true)");
    return b.p;
}

/* ---- the end ---- */

static const char *make_finish(const struct maker *m)
{
    struct buf b = ARENA_BUF(m->arena);
    const ath_queue *q = m->q;

    sql_update_table(&b, q);
    buf_lit(&b, "f.status");
    if (q->attempts) {
        buf_lit(&b, ", ");
        sql_id(&b, q->attempts);
        buf_lit(&b, " = ");
        sql_col(&b, q->attempts);
        buf_lit(&b, " - f.back");
    }
    sql_set(&b, q->token, "NULL");
    sql_set(&b, q->until, "NULL");
    if (q->owner) {
        buf_lit(&b, ", ");
        sql_id(&b, q->owner);
        buf_lit(&b, " = CASE WHEN f.final THEN ");
        sql_col(&b, q->owner);
        buf_lit(&b, " END");
    }
    sql_set_or_keep(&b, m, q->error, sql_error_value(m, "f.error"));
    if (q->result)
        sql_set_or_keep(&b, m, q->result,
                        arena_printf(m->arena, "f.result::%s", sql_type_of(m, q->result)).p);
    sql_set_due(&b, m, "clock_timestamp() + f.delay * interval '1 millisecond'");
    sql_set(&b, q->finished, "CASE WHEN f.final THEN clock_timestamp() END");
    sql_set(&b, q->touched, "clock_timestamp()");
    buf_printf(&b,
               " FROM unnest($1::%s[], $2::%s[], $3::text[], $4::text[], $5::text[], $6::int8[], "
               "$7::int4[], $8::bool[]) f(key, token, status, error, result, delay, back, final)",
               sql_type_of(m, q->key), sql_type_of(m, q->token));
    where_held(&b, q);
    buf_lit(&b, " RETURNING ");
    sql_col(&b, q->key);
    buf_lit(&b, "::text");
    return b.p;
}

/* ---- what others left ---- */

static void is_expired(struct buf *b, const ath_queue *q)
{
    sql_is_held(b, q);
    buf_lit(b, " AND coalesce(");
    sql_col(b, q->until);
    if (q->touched) { /* a published program, which knows no leases, has it */
        buf_lit(b, ", ");
        sql_col(b, q->touched);
        buf_lit(b, " + interval '1 hour'");
    }
    buf_lit(b, ") < clock_timestamp()");
}

static void spent(struct buf *b, const ath_queue *q)
{
    if (!q->attempts) {
        buf_lit(b, "false");
        return;
    }
    sql_col(b, q->attempts);
    buf_lit(b, " >= ");
    if (q->max_attempts) {
        buf_lit(b, "coalesce(");
        sql_col(b, q->max_attempts);
        buf_lit(b, ", $1)");
    } else {
        buf_lit(b, "$1");
    }
}

static const char *make_sweep(const struct maker *m)
{
    struct buf b = ARENA_BUF(m->arena);
    const ath_queue *q = m->q;

    buf_lit(&b, "WITH old AS MATERIALIZED (SELECT ");
    sql_col(&b, q->key);
    buf_lit(&b, " AS key, CASE WHEN ");
    if (q->cancel)
        sql_cancel_asked(&b, m, true);
    else
        buf_lit(&b, "false");
    buf_lit(&b, " THEN ");
    sql_word(&b, queue_state_canceled(q));
    buf_lit(&b, " WHEN ");
    spent(&b, q);
    buf_lit(&b, " THEN ");
    sql_word(&b, q->dead);
    buf_lit(&b, " ELSE ");
    sql_word(&b, q->waiting);
    buf_lit(&b, " END AS state");
    sql_from_table(&b, q);
    is_expired(&b, q);
    if (q->cancel) {
        buf_lit(&b, " OR ");
        sql_is_waiting(&b, q);
        buf_lit(&b, " AND ");
        sql_cancel_asked(&b, m, true);
    }
    buf_printf(&b, " LIMIT %d FOR UPDATE SKIP LOCKED) ", SWEEP_MOST);
    sql_update_table(&b, q);
    buf_lit(&b, "old.state");
    sql_set_free(&b, q);
    sql_set_due(&b, m, "NULL");
    if (q->error) {
        struct buf when = ARENA_BUF(m->arena);
        buf_lit(&when, "CASE WHEN old.state = ");
        sql_word(&when, q->dead);
        buf_printf(&when, " THEN %s END", sql_error_value(m, "'lease expired'"));
        sql_set_or_keep(&b, m, q->error, when.p);
    }
    if (q->finished) {
        struct buf when = ARENA_BUF(m->arena);
        buf_lit(&when, "CASE WHEN old.state <> ");
        sql_word(&when, q->waiting);
        buf_lit(&when, " THEN clock_timestamp() END");
        sql_set(&b, q->finished, when.p);
    }
    buf_lit(&b, " FROM old WHERE ");
    sql_col(&b, q->key);
    buf_lit(&b, " = old.key RETURNING ");
    sql_col(&b, q->key);
    buf_lit(&b, "::text, old.state");
    return b.p;
}

static const char *make_depth(const struct maker *m)
{
    struct buf b = ARENA_BUF(m->arena);
    const ath_queue *q = m->q;
    const char *const list[] = {
        q->waiting, q->again, q->claimed, q->active, q->canceling, q->dead
    };

    buf_lit(&b, "SELECT ");
    sql_col(&b, q->status);
    buf_lit(&b, ", count(*), count(*) FILTER (WHERE ");
    sql_is_waiting(&b, q);
    is_due(&b, q);
    buf_lit(&b, "), ");
    if (sql_place_of(q)) {
        buf_lit(&b, "extract(epoch FROM statement_timestamp() - min(");
        sql_col(&b, sql_place_of(q));
        buf_lit(&b, "))::float8");
    } else {
        buf_lit(&b, "0");
    }
    sql_from_table(&b, q);
    sql_status_in(&b, q, list, ATH_COUNT(list));
    buf_lit(&b, " GROUP BY 1");
    return b.p;
}

static const char *make_retain(const struct maker *m)
{
    struct buf b = ARENA_BUF(m->arena);
    const ath_queue *q = m->q;

    if (!q->finished)
        return NULL;
    buf_lit(&b, "DELETE FROM ");
    sql_id(&b, q->table);
    buf_lit(&b, " d WHERE d.");
    sql_id(&b, q->key);
    buf_lit(&b, " IN (SELECT ");
    sql_col(&b, q->key);
    sql_from_table(&b, q);
    sql_is_over(&b, q);
    buf_lit(&b, " AND ");
    sql_col(&b, q->finished);
    buf_printf(&b,
               " < statement_timestamp() - $1 * interval '1 millisecond' LIMIT %d "
               "FOR UPDATE SKIP LOCKED)",
               RETAIN_MOST);
    return b.p;
}

/* ---- together ---- */

static int check_words(const ath_queue *q, ath_err *e)
{
    if (q->waiting && q->claimed && q->done && q->dead && q->token && q->until)
        return 0;
    return err_fail(e, ATH_E_BUG,
                    "queue \"%s\" lacks one of waiting, claimed, done, dead, token, until",
                    q->cap.name);
}

static int check_columns(const struct maker *m, ath_err *e)
{
    const ath_queue *q = m->q;
    const char *const named[] = { q->key,      q->args,     q->status,       q->created, q->due,
                                  q->priority, q->attempts, q->max_attempts, q->token,   q->until,
                                  q->owner,    q->pin,      q->client,       q->cancel,  q->error,
                                  q->progress, q->result,   q->finished,     q->started, q->touched,
                                  q->unique };

    if (db_rows_count(m->columns) == 0)
        return err_fail(e, ATH_E_MISSING, "table \"%s\" of queue \"%s\" does not exist", q->table,
                        q->cap.name);
    for (size_t i = 0; i < ATH_COUNT(named); i++)
        if (named[i] && sql_column_row(m, named[i]) < 0)
            return err_fail(e, ATH_E_MISSING, "column \"%s\" of \"%s\" does not exist", named[i],
                            q->table);
    return 0;
}

int queue_make(const ath_queue *q, const ath_rows *columns, struct queue_sql **ret, ath_err *e)
{
    struct queue_sql *s;
    struct maker m = { .q = q, .columns = columns };

    if (check_words(q, e) < 0 || check_columns(&m, e) < 0)
        return e->rc;
    s = MEM_NEW(struct queue_sql);
    arena_init(&s->arena);
    m.arena = &s->arena;
    s->claim = make_claim(&m, false, true);
    s->claim_all = make_claim(&m, false, false);
    s->claim_fair = q->client ? make_claim(&m, true, true) : NULL;
    s->claim_all_fair = q->client ? make_claim(&m, true, false) : NULL;
    s->renew = make_renew(&m);
    s->finish = make_finish(&m);
    s->progress = make_progress(&m);
    s->sweep = make_sweep(&m);
    s->depth = make_depth(&m);
    s->retain = make_retain(&m);
    s->cancel = queue_make_cancel(&m);
    s->revive = queue_make_revive(&m);
    s->retry = queue_make_retry(&m, s->revive);
    s->fence = make_fence(&m);
    *ret = s;
    return 0;
}

void queue_free(struct queue_sql *s)
{
    if (!s)
        return;
    arena_free(&s->arena);
    free(s);
}

void array_add(struct buf *b, ath_str text)
{
    if (b->n > 1)
        buf_char(b, ',');
    if (!text.p) {
        buf_lit(b, "NULL");
        return;
    }
    buf_char(b, '"');
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '"' || text.p[i] == '\\')
            buf_char(b, '\\');
        buf_char(b, text.p[i]);
    }
    buf_char(b, '"');
}
