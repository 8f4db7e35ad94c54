/* The fold, trip by trip: look at the ends of the logs, wait for those who write, count slice by
 * slice, show what changed, sweep. It can be stopped between any two trips: the next one goes on
 * from the marks.
 */
#include "statistics/statistics.h"

#include "lib/buf.h"

enum {
    TRIP_MS = 120000,
    STATEMENTS = 1 + STATISTICS_CLEARS,
    WAIT_MS = 5000, /* for writers, all in all */
    PAUSE_MS = 10   /* the first one; each is twice as long as the one before */
};

struct fold {
    ath_then *then;
    void *arg;
    enum statistics_kind kind; /* that is being counted, then shown */
    ath_str upto[STATISTICS_KINDS];
    ath_str writers; /* a text[] */
    uint64_t counted, waited_ms, pause_ms;
    ath_stmt stmt[STATEMENTS];
    ath_query query;
};

static int end(ath_task *t, struct fold *f, int rc, ath_err *e)
{
    ath_done d = { .size = sizeof(d), .rc = rc, .arg = f->arg, .count = f->counted };

    return f->then(t, &d, e);
}

/* How many rows a CTE will have is guessed, and a wrong guess makes a loop in a loop. What is meant
 * to be one is written so (lateral) and stays one, but then looks as if compiling it were worth
 * while. Durations are wanted in the order of their index, which a bitmap loses. */
static const ath_pair settings[] = { { ATH_S("enable_nestloop"), ATH_S("off") },
                                     { ATH_S("enable_bitmapscan"), ATH_S("off") },
                                     { ATH_S("jit"), ATH_S("off") } };

/* Runs f->stmt; `next` is called when that worked, else it is the end. */
static int trip(ath_task *t, struct fold *f, uint32_t statements, ath_then *next, ath_err *e)
{
    f->query = (ath_query){ .size = sizeof(f->query),
                            .client = ATH_S("@control"),
                            .timeout_ms = TRIP_MS,
                            .stmt = f->stmt,
                            .stmt_size = sizeof(f->stmt[0]),
                            .stmt_count = statements,
                            .set = settings,
                            .set_count = ATH_COUNT(settings) };
    return ath_host_->pg->query(t, &f->query, next, f, e);
}

/* Statement `i` of the next trip; `param`, or NULL. */
static void say(struct fold *f, uint32_t i, const char *sql, const ath_str *param)
{
    f->stmt[i] = (ath_stmt){ .sql = sql, .param = param, .param_count = param ? 1 : 0 };
}

/* Statements that change something run behind the lock. */
static int change(ath_task *t, struct fold *f, const char *const *sql, uint32_t n, ath_then *next,
                  ath_err *e)
{
    say(f, 0, statistics_lock_sql, NULL);
    for (uint32_t i = 0; i < n; i++)
        say(f, i + 1, sql[i], NULL);
    return trip(t, f, n + 1, next, e);
}

static ath_str copy(ath_task *t, ath_str s)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_str(&b, s);
    return buf_view(&b);
}

/* A step that could not even begin ends the fold, like one that failed. */
static int go_on(ath_task *t, struct fold *f, int rc, ath_err *e)
{
    return rc < 0 ? end(t, f, rc, e) : rc;
}

/* ---- showing ---- */

static int swept(ath_task *t, const ath_done *d, ath_err *e)
{
    return end(t, d->arg, d->rc, e);
}

static int show(ath_task *t, struct fold *f, ath_err *e);

/* Each table in a transaction of its own: who writes the live deltas may take them in any order. */
static int shown(ath_task *t, const ath_done *d, ath_err *e)
{
    struct fold *f = d->arg;

    if (d->rc < 0)
        return end(t, f, d->rc, e);
    if (f->kind == STATISTICS_REQUEST)
        return go_on(t, f, change(t, f, statistics_sweep_sql, STATISTICS_SWEEPS, swept, e), e);
    f->kind = STATISTICS_REQUEST;
    return show(t, f, e);
}

static int show(ath_task *t, struct fold *f, ath_err *e)
{
    return go_on(t, f, change(t, f, &statistics_publish_sql[f->kind], 1, shown, e), e);
}

/* ---- counting ---- */

static int count(ath_task *t, struct fold *f, ath_err *e);

static int counted(ath_task *t, const ath_done *d, ath_err *e)
{
    struct fold *f = d->arg;
    const ath_rows *rows = d->rc < 0 ? NULL : ath_host_->pg->next(d->rows);
    uint64_t mark = 0, end_id = 0, seen = 0;

    if (d->rc < 0)
        return end(t, f, d->rc, e);
    str_u64(ath_cell(rows, 0, 0), &mark);
    str_u64(ath_cell(rows, 0, 1), &seen);
    str_u64(f->upto[f->kind], &end_id);
    f->counted += seen;
    if (mark < end_id && seen)
        return count(t, f, e);
    if (f->kind == STATISTICS_OPERATION)
        return show(t, f, e);
    f->kind = STATISTICS_OPERATION;
    return count(t, f, e);
}

static int count(ath_task *t, struct fold *f, ath_err *e)
{
    say(f, 0, statistics_lock_sql, NULL);
    say(f, 1, statistics_slice_sql[f->kind], &f->upto[f->kind]);
    return go_on(t, f, trip(t, f, 2, counted, e), e);
}

/* ---- waiting for who writes ---- */

static int left(ath_task *t, const ath_done *d, ath_err *e);

static int paused(ath_task *t, const ath_done *d, ath_err *e)
{
    struct fold *f = d->arg;

    if (d->rc < 0)
        return end(t, f, d->rc, e);
    say(f, 0, statistics_left_sql, &f->writers);
    return go_on(t, f, trip(t, f, 1, left, e), e);
}

static int wait(ath_task *t, struct fold *f, ath_err *e)
{
    if (str_is(f->writers, "{}"))
        return count(t, f, e);
    if (f->waited_ms >= WAIT_MS)
        return end(t, f,
                   ath_fail(e, ATH_E_RETRY,
                            "somebody has been writing to the logs in one transaction for more "
                            "than %d seconds",
                            WAIT_MS / 1000),
                   e);
    f->pause_ms = f->pause_ms ? 2 * f->pause_ms : PAUSE_MS;
    f->waited_ms += f->pause_ms;
    return go_on(t, f, ath_host_->task->after(t, f->pause_ms, paused, f, e), e);
}

static int left(ath_task *t, const ath_done *d, ath_err *e)
{
    struct fold *f = d->arg;

    if (d->rc < 0)
        return end(t, f, d->rc, e);
    f->writers = copy(t, ath_cell(d->rows, 0, 0));
    return wait(t, f, e);
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct fold *f = d->arg;

    if (d->rc < 0)
        return end(t, f, d->rc, e);
    for (uint32_t i = 0; i < STATISTICS_KINDS; i++)
        f->upto[i] = copy(t, ath_cell(d->rows, 0, i));
    f->writers = copy(t, ath_cell(ath_host_->pg->next(d->rows), 0, 0));
    return wait(t, f, e);
}

static int look(ath_task *t, struct fold *f, ath_err *e)
{
    say(f, 0, statistics_ends_sql, NULL);
    say(f, 1, statistics_writers_sql, NULL);
    return trip(t, f, 2, looked, e);
}

static int cleared(ath_task *t, const ath_done *d, ath_err *e)
{
    struct fold *f = d->arg;

    if (d->rc < 0)
        return end(t, f, d->rc, e);
    return go_on(t, f, look(t, f, e), e);
}

int statistics_fold(ath_task *t, bool rebuild, ath_then *then, void *arg, ath_err *e)
{
    struct fold *f = ath_new(ath_arena_of(t), sizeof(*f));

    f->then = then;
    f->arg = arg;
    return rebuild ? change(t, f, statistics_clear_sql, STATISTICS_CLEARS, cleared, e)
                   : look(t, f, e);
}
