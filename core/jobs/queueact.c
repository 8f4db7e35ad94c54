/* Statements of what is done to a job from outside: cancel, retry, redrive, put. */
#include "base/arena.h"
#include "base/err.h"
#include "jobs/queue_priv.h"
#include "lib/sqlname.h"

/* A waiting one is over at once. One that runs is asked to end where the table can say so; else it
 * loses its lease, which its worker notices. */
const char *queue_make_cancel(const struct maker *m)
{
    struct buf b = ARENA_BUF(m->arena), over = ARENA_BUF(m->arena);
    const ath_queue *q = m->q;
    const char *asks = q->cancel ? sql_cancel_is_bool(m) ? "true" : "clock_timestamp()" : NULL;

    if (asks)
        sql_is_waiting(&over, q);
    else
        buf_lit(&over, "true");
    sql_update_table(&b, q);
    buf_printf(&b, "CASE WHEN %s THEN ", over.p);
    sql_word(&b, queue_state_canceled(q));
    buf_lit(&b, " ELSE ");
    if (q->canceling)
        sql_word(&b, q->canceling);
    else
        sql_col(&b, q->status);
    buf_lit(&b, " END");
    sql_set(&b, q->cancel, asks ? asks : "");
    sql_set(&b, q->touched, "clock_timestamp()");
    if (!asks) {
        sql_set(&b, q->token, "NULL");
        sql_set(&b, q->until, "NULL");
    }
    sql_set_due(&b, m, "NULL");
    if (q->finished)
        sql_set(&b, q->finished,
                arena_printf(m->arena, "CASE WHEN %s THEN clock_timestamp() END", over.p).p);
    if (q->error && !q->canceled)
        sql_set(&b, q->error,
                arena_printf(m->arena, "CASE WHEN %s THEN %s END", over.p,
                             sql_error_value(m, "'cancelled by operator'"))
                    .p);
    buf_lit(&b, " WHERE ");
    sql_col(&b, q->key);
    buf_lit(&b, " = $1 AND (");
    sql_is_waiting(&b, q);
    buf_lit(&b, " OR ");
    sql_is_held(&b, q);
    buf_lit(&b, ") RETURNING ");
    sql_col(&b, q->status);
    return b.p;
}

const char *queue_make_revive(const struct maker *m)
{
    struct buf b = ARENA_BUF(m->arena);
    const ath_queue *q = m->q;

    sql_update_table(&b, q);
    sql_word(&b, q->waiting);
    sql_set_free(&b, q);
    sql_set(&b, q->attempts, "0");
    sql_set(&b, q->owner, "NULL");
    sql_set_or_keep(&b, m, q->error, "NULL");
    sql_set_or_keep(&b, m, q->result, "NULL");
    sql_set_due(&b, m, "NULL");
    sql_set(&b, q->finished, "NULL");
    if (q->cancel)
        sql_set(&b, q->cancel, sql_cancel_is_bool(m) ? "false" : "NULL");
    if (q->revive)
        buf_printf(&b, ", %s", q->revive);
    return b.p;
}

/* One that is there already, waiting or running, keeps the row from waiting again. */
static void none_is_live(struct buf *b, const ath_queue *q)
{
    if (!q->unique)
        return;
    buf_lit(b, " AND NOT EXISTS (SELECT FROM ");
    sql_id(b, q->table);
    buf_lit(b, " o WHERE o.");
    sql_id(b, q->unique);
    buf_lit(b, " = ");
    sql_col(b, q->unique);
    buf_lit(b, " AND o.");
    sql_id(b, q->status);
    buf_lit(b, " IN (");
    sql_live_words(b, q);
    buf_lit(b, "))");
}

const char *queue_make_retry(const struct maker *m, const char *revive)
{
    struct buf b = ARENA_BUF(m->arena);
    const ath_queue *q = m->q;

    buf_printf(&b, "%s WHERE ", revive);
    sql_col(&b, q->key);
    buf_lit(&b, " = $1 AND ");
    sql_is_over(&b, q);
    none_is_live(&b, q);
    buf_lit(&b, " RETURNING ");
    sql_col(&b, q->status);
    return b.p;
}

/* ---- many at once ---- */

enum { REDRIVE = 1000, REDRIVE_MOST = 10000 };

static uint32_t value(struct redrive_sql *s, ath_str text)
{
    s->param[s->params++] = text;
    return s->params;
}

static int lacks(const ath_queue *q, const char *what, ath_err *e)
{
    return err_fail(e, ATH_E_INPUT, "jobs of \"%s\" have no %s to be found by", q->cap.name, what);
}

static void ended(struct buf *b, const ath_queue *q, const char *sign, uint32_t param)
{
    buf_lit(b, " AND ");
    sql_col(b, q->finished);
    buf_printf(b, " %s clock_timestamp() - $%u::int8 * interval '1 millisecond'", sign, param);
}

/* Of those that are the same the last one. */
static void is_last(struct buf *b, const ath_queue *q)
{
    if (!q->unique)
        return;
    buf_lit(b, " AND NOT EXISTS (SELECT FROM ");
    sql_id(b, q->table);
    buf_lit(b, " n WHERE n.");
    sql_id(b, q->unique);
    buf_lit(b, " = ");
    sql_col(b, q->unique);
    buf_lit(b, " AND n.");
    sql_id(b, q->key);
    buf_lit(b, " > ");
    sql_col(b, q->key);
    buf_lit(b, " AND n.");
    sql_id(b, q->status);
    buf_lit(b, " = ");
    sql_word(b, q->dead);
    buf_char(b, ')');
}

static int filters(struct buf *b, const ath_queue *q, const ath_redrive *r, ath_arena *a,
                   struct redrive_sql *ret, ath_err *e)
{
    if (r->client.n && !q->client)
        return lacks(q, "client", e);
    if (r->error.n && !q->error)
        return lacks(q, "error", e);
    if ((r->ended_before_ms || r->ended_within_ms) && !q->finished)
        return lacks(q, "time of their end", e);
    if (r->client.n) {
        buf_lit(b, " AND ");
        sql_col(b, q->client);
        buf_printf(b, " = $%u", value(ret, r->client));
    }
    if (r->error.n) {
        buf_lit(b, " AND pg_catalog.strpos(");
        sql_col(b, q->error);
        buf_printf(b, "::text, $%u) > 0", value(ret, r->error));
    }
    if (r->ended_before_ms)
        ended(b, q,
              "<=", value(ret, arena_printf(a, "%llu", (unsigned long long)r->ended_before_ms)));
    if (r->ended_within_ms)
        ended(b, q,
              ">=", value(ret, arena_printf(a, "%llu", (unsigned long long)r->ended_within_ms)));
    return 0;
}

int redrive_make(struct buf *b, const ath_queue *q, const char *revive, const ath_redrive *r,
                 ath_arena *a, struct redrive_sql *ret, ath_err *e)
{
    bool look = (r->flags & ATH_REDRIVE_LOOK) != 0;
    uint32_t limit = r->limit ? r->limit : REDRIVE;

    ret->params = 0;
    buf_lit(b, "WITH found AS MATERIALIZED (SELECT ");
    sql_col(b, q->key);
    buf_lit(b, " AS key");
    sql_from_table(b, q);
    sql_status_in(b, q, (const char *const[]){ q->dead }, 1);
    if (filters(b, q, r, a, ret, e) < 0)
        return e->rc;
    none_is_live(b, q);
    is_last(b, q);
    buf_lit(b, " ORDER BY ");
    sql_col(b, sql_place_of(q) ? sql_place_of(q) : q->key);
    buf_lit(b, ", ");
    sql_col(b, q->key);
    buf_printf(b, " LIMIT %u%s) ", limit < REDRIVE_MOST ? limit : REDRIVE_MOST,
               look ? "" : " FOR UPDATE SKIP LOCKED");
    if (look) {
        buf_lit(b, "SELECT count(*) FROM found");
        return 0;
    }
    buf_printf(b, "%s FROM found WHERE ", revive);
    sql_col(b, q->key);
    buf_lit(b, " = found.key RETURNING ");
    sql_col(b, q->key);
    buf_lit(b, "::text");
    return 0;
}

/* ---- a new one ---- */

/* The row that is there already is locked by the conflict, so it is given back for certain. */
static void or_that_one(struct buf *b, const ath_queue *q)
{
    buf_lit(b, " ON CONFLICT (");
    sql_id(b, q->unique);
    buf_lit(b, ") WHERE ");
    sql_id(b, q->status);
    buf_lit(b, " IN (");
    sql_live_words(b, q);
    buf_lit(b, ") DO UPDATE SET ");
    sql_id(b, q->unique);
    buf_lit(b, " = excluded.");
    sql_id(b, q->unique);
}

void put_make(struct buf *b, const ath_queue *q, const ath_put *p)
{
    buf_lit(b, "INSERT INTO ");
    sql_id(b, q->table);
    buf_lit(b, " AS q (");
    sql_id(b, q->status);
    for (uint32_t i = 0; i < p->column_count; i++) {
        buf_lit(b, ", ");
        buf_ident(b, p->column[i].name);
    }
    buf_lit(b, ") VALUES (");
    sql_word(b, q->waiting);
    for (uint32_t i = 0; i < p->column_count; i++)
        buf_printf(b, ", $%u", i + 1);
    buf_char(b, ')');
    if (q->unique)
        or_that_one(b, q);
    buf_lit(b, " RETURNING ");
    sql_col(b, q->key);
    buf_lit(b, "::text, q.xmax = 0");
}
