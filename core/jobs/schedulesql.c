/* The statements of a schedule, and what is decided about a row of it. */
#include "base/arena.h"
#include "base/err.h"
#include "jobs/schedule.h"
#include "jobs/words.h"

/* ---- statements ---- */

static void text_or_null(struct buf *b, const char *column)
{
    buf_lit(b, ", ");
    if (column) {
        sql_col(b, column);
        buf_lit(b, "::text");
    } else {
        buf_lit(b, "NULL::text");
    }
}

/* Does the job that it put in last wait or run? */
static void is_busy(struct buf *b, const ath_schedule *s)
{
    const ath_queue *q = s->queue;

    if (!q || !s->last_job) {
        buf_lit(b, ", false");
        return;
    }
    buf_lit(b, ", EXISTS (SELECT FROM ");
    sql_id(b, q->table);
    buf_lit(b, " j WHERE j.");
    sql_id(b, q->key);
    buf_lit(b, " = ");
    sql_col(b, s->last_job);
    buf_lit(b, " AND j.");
    sql_id(b, q->status);
    buf_lit(b, " IN (");
    sql_live_words(b, q);
    buf_lit(b, "))");
}

static void is_due(struct buf *b, const ath_schedule *s)
{
    buf_lit(b, " WHERE (");
    sql_col(b, s->due);
    buf_lit(b, " IS NULL OR ");
    sql_col(b, s->due);
    buf_lit(b, " <= statement_timestamp())");
    if (s->enabled) {
        buf_lit(b, " AND ");
        sql_col(b, s->enabled);
    }
    if (s->pin) {
        buf_lit(b, " AND (coalesce(pg_catalog.btrim(");
        sql_col(b, s->pin);
        buf_lit(b, "), '') = '' OR pg_catalog.btrim(");
        sql_col(b, s->pin);
        buf_lit(b, ") = ANY ($1))");
    } else {
        buf_lit(b, " AND $1::text[] IS NOT NULL");
    }
    if (s->where)
        buf_printf(b, " AND (%s)", s->where);
}

static const char *make_pick(ath_arena *a, const ath_schedule *s)
{
    struct buf b = ARENA_BUF(a);

    buf_lit(&b, "SELECT ");
    if (s->columns)
        buf_printf(&b, "%s, ", s->columns);
    sql_col(&b, s->key);
    buf_lit(&b, "::text, (extract(epoch FROM ");
    sql_col(&b, s->due);
    buf_lit(&b, ") * 1000000)::bigint, (extract(epoch FROM statement_timestamp()) * "
                "1000000)::bigint");
    text_or_null(&b, s->missed);
    text_or_null(&b, s->overlap);
    is_busy(&b, s);
    buf_lit(&b, " FROM ");
    sql_id(&b, s->table);
    buf_lit(&b, " q");
    is_due(&b, s);
    buf_lit(&b, " AND ");
    sql_col(&b, s->key);
    buf_lit(&b, "::text <> ALL ($2) ORDER BY ");
    sql_col(&b, s->due);
    buf_lit(&b, " NULLS FIRST, ");
    sql_col(&b, s->key);
    buf_lit(&b, " LIMIT 1 FOR UPDATE OF q SKIP LOCKED");
    return b.p;
}

static const char *make_advance(ath_arena *a, const ath_schedule *s, bool fired)
{
    struct buf b = ARENA_BUF(a);

    buf_lit(&b, "UPDATE ");
    sql_id(&b, s->table);
    buf_lit(&b, " q SET ");
    sql_id(&b, s->due);
    buf_lit(&b, " = timestamptz 'epoch' + $2::int8 * interval '1 microsecond'");
    if (fired) {
        sql_set(&b, s->last_run, "statement_timestamp()");
        sql_set(&b, s->last_job, "$3");
    }
    buf_lit(&b, " WHERE ");
    sql_col(&b, s->key);
    buf_lit(&b, " = $1");
    return b.p;
}

struct schedule_sql schedule_make(ath_arena *a, const ath_schedule *s)
{
    return (struct schedule_sql){ .pick = make_pick(a, s),
                                  .moved = make_advance(a, s, false),
                                  .fired = make_advance(a, s, true) };
}

/* ---- what is decided ---- */

static int next_after(const ath_schedule *s, const ath_rows *row, int64_t after_us, int64_t *ret_us,
                      ath_err *e)
{
    int rc = s->next(row, after_us, ret_us, e);

    if (rc == 0 && *ret_us <= after_us)
        return err_fail(e, ATH_E_BUG, "its next run would not be later than the last one");
    return rc;
}

/* Its last run that is due: is it at most `late_us` behind? */
static int in_time(const ath_schedule *s, const struct schedule_row *r, bool *ret, ath_err *e)
{
    int64_t first;
    int rc = 0;

    *ret = r->due_us >= r->now_us - r->late_us;
    if (*ret)
        return 0;
    if ((rc = next_after(s, r->row, r->now_us - r->late_us - 1, &first, e)) == 0)
        *ret = first <= r->now_us;
    return rc;
}

int schedule_decide(const ath_schedule *s, const struct schedule_row *r, enum schedule_move *ret,
                    int64_t *ret_next_us, ath_err *e)
{
    bool all = str_is(r->missed, "all"), may = true;
    int rc = 0;

    if (!r->known)
        *ret = SCHEDULE_SET;
    else if (r->busy && !str_is(r->overlap, "allow"))
        *ret = all ? SCHEDULE_HOLD : SCHEDULE_SKIP;
    else if (str_is(r->missed, "skip") && (rc = in_time(s, r, &may, e)) < 0)
        return rc;
    else
        *ret = may ? SCHEDULE_FIRE : SCHEDULE_MISS;
    return next_after(s, r->row, all && r->known ? r->due_us : r->now_us, ret_next_us, e);
}
