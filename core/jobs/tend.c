/* What a queue needs now and then: leases that have passed, rows that are old, how much waits. */
#include "base/err.h"
#include "jobs/jobs_priv.h"

enum {
    SWEEP_MOST_MS = 5000, /* or a sixth of the lease, when that is less */
    SWEEP_LEAST_MS = 100,
    RETAIN_MS = 60000,
    RETAIN_FULL = 1000, /* as many as one statement deletes: there are more */
    DEPTH_MS = 10000
};

static int over(struct runner *r, const ath_done *d, ath_err *e)
{
    r->tending = false;
    if (d->rc < 0)
        runner_failed(r, "the queue cannot be tended", e);
    runner_pump(r);
    return 0;
}

static ath_str millis(ath_task *t, uint64_t ms)
{
    return arena_printf(&t->arena, "%llu", (unsigned long long)ms);
}

/* ---- what lost its lease ---- */

static int swept(ath_task *t, const ath_done *d, ath_err *e)
{
    struct runner *r = d->arg;
    const ath_queue *q = r->family->queue;

    (void)e;
    if (d->rc < 0)
        return d->rc;
    for (uint32_t i = 0; i < db_rows_count(d->rows); i++) {
        ath_str state = db_rows_text(d->rows, i, 1);
        struct job *j =
            job_new(r, db_rows_text(d->rows, i, 0), (ath_str){ 0 }, (ath_str){ 0 }, (ath_str){ 0 });
        event_put(r, j, "warn",
                  str_is(state, q->waiting) ? "lease expired, waits again"
                  : str_is(state, q->dead)  ? "lease expired"
                                            : "canceled",
                  ATH_S(""));
        job_unref(j);
        r->more |= str_is(state, q->waiting);
    }
    if (r->more)
        r->full_at_ms = 0; /* they lie below the floor */
    task_done(t, NULL);
    return 0;
}

static int sweep(ath_task *t, void *arg, ath_err *e)
{
    static const uint32_t type[] = { 20 };
    struct runner *r = arg;

    return jobs_ask(t, atomic_load(&r->family->sql)->sweep,
                    (ath_str[]){ millis(t, r->pace.max_attempts) }, type, 1, swept, r, e);
}

static int sweep_over(ath_task *t, const ath_done *d, ath_err *e)
{
    struct runner *r = d->arg;
    uint64_t ms = r->pace.lease_ms / 6;

    (void)t;
    ms = ms > SWEEP_MOST_MS ? SWEEP_MOST_MS : ms < SWEEP_LEAST_MS ? SWEEP_LEAST_MS : ms;
    r->sweep_at_ms = runner_now(r) + pace_jitter(ms);
    return over(r, d, e);
}

int sweep_begin(struct runner *r, ath_err *e)
{
    return task_fork(r->root, &(ath_fork){ .size = sizeof(ath_fork), .run = sweep, .arg = r },
                     sweep_over, r, e);
}

/* ---- what is old ---- */

static int retained(ath_task *t, const ath_done *d, ath_err *e)
{
    struct runner *r = d->arg;

    (void)e;
    if (d->rc < 0)
        return d->rc;
    r->retain_at_ms = runner_now(r) + (d->count < RETAIN_FULL ? pace_jitter(RETAIN_MS) : 100);
    task_done(t, NULL);
    return 0;
}

static int retain(ath_task *t, void *arg, ath_err *e)
{
    static const uint32_t type[] = { 20 };
    struct runner *r = arg;

    return jobs_ask(t, atomic_load(&r->family->sql)->retain,
                    (ath_str[]){ millis(t, r->pace.retain_ms) }, type, 1, retained, r, e);
}

static int retain_over(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t;
    return over(d->arg, d, e);
}

int retain_begin(struct runner *r, ath_err *e)
{
    r->retain_at_ms = runner_now(r) + pace_jitter(RETAIN_MS);
    return task_fork(r->root, &(ath_fork){ .size = sizeof(ath_fork), .run = retain, .arg = r },
                     retain_over, r, e);
}

/* ---- how much waits ---- */

static void take_depth(struct runner *r, const ath_rows *rows)
{
    uint32_t n = db_rows_count(rows);

    pthread_mutex_lock(&r->lock);
    r->depth_n = n < DEPTH_ROWS ? n : DEPTH_ROWS;
    for (uint32_t i = 0; i < r->depth_n; i++) {
        struct depth_row *d = &r->depth[i];
        *d = (struct depth_row){ 0 };
        snprintf(d->state, sizeof(d->state), "%s", db_rows_text(rows, i, 0).p);
        str_i64(db_rows_text(rows, i, 1), &d->count);
        str_i64(db_rows_text(rows, i, 2), &d->ready);
        str_double(db_rows_text(rows, i, 3), &d->oldest_s);
    }
    pthread_mutex_unlock(&r->lock);
}

static int counted(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    if (d->rc < 0)
        return d->rc;
    take_depth(d->arg, d->rows);
    task_done(t, NULL);
    return 0;
}

static int count(ath_task *t, void *arg, ath_err *e)
{
    struct runner *r = arg;

    return jobs_ask(t, atomic_load(&r->family->sql)->depth, NULL, NULL, 0, counted, r, e);
}

static int count_over(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t;
    return over(d->arg, d, e);
}

int depth_begin(struct runner *r, ath_err *e)
{
    r->depth_at_ms = runner_now(r) + DEPTH_MS;
    atomic_store(&r->depth_wanted, false);
    return task_fork(r->root, &(ath_fork){ .size = sizeof(ath_fork), .run = count, .arg = r },
                     count_over, r, e);
}
