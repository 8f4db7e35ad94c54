/* One claim: as many jobs as there is room for, by one statement.
 *
 * The floor. A table whose old rows cannot be cleaned (somebody holds a snapshot: a dump) makes
 * each claim wade through all that were ever done. So a claim begins where the last one ended, a
 * second earlier for what was committed late. What is below (put back, committed later still) is
 * found by a claim without floor: now and then, as often as its own cost allows, half a minute
 * apart at most.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/rand.h"
#include "jobs/jobs_priv.h"

enum {
    FLOOR_BEHIND_US = 1000 * 1000,
    ALL_LEAST_MS = 500, /* between claims without floor; at most 1 % of the time goes into them */
    ALL_SHARE = 100,
    ALL_MOST_MS = 30000,
    CLAIM_MOST = 1000
};

static uint32_t room(const struct runner *r)
{
    uint32_t n = r->pace.concurrency > r->running_n ? r->pace.concurrency - r->running_n : 0;

    return n < CLAIM_MOST ? n : CLAIM_MOST;
}

static ath_str cell(const ath_rows *rows, uint32_t row, uint32_t col)
{
    return db_rows_text(rows, row, col);
}

static int64_t number(const ath_rows *rows, uint32_t row, uint32_t col, int64_t otherwise)
{
    int64_t v;

    return str_i64(cell(rows, row, col), &v) ? v : otherwise;
}

static void take_job(struct runner *r, const ath_rows *rows, uint32_t row)
{
    struct job *j =
        job_new(r, cell(rows, row, 2), cell(rows, row, 3), cell(rows, row, 6), cell(rows, row, 7));

    j->attempt = (uint32_t)number(rows, row, 4, 1);
    j->most = (uint32_t)number(rows, row, 5, r->pace.max_attempts);
    atomic_store(&j->until_ns, r->asked_ns + r->hold_ms * 1000000u);
    list_push(&r->running, &j->node);
    r->running_n++;
    if (!(r->family->queue->flags & ATH_QUEUE_QUIET))
        event_put(r, j, "info", "claimed", ATH_S(""));
    job_begin(j);
}

/* Of a queue in one order: up to what was claimed last; with priorities older ones may still wait
 * below that, so the floor rises only when nothing that may run was left. */
static void raise_floor(struct runner *r, const ath_rows *rows, uint32_t n, bool drained)
{
    int64_t to = 0;

    if (drained)
        to = number(rows, 0, 0, 0);
    else if (n && !r->family->queue->priority)
        to = number(rows, n - 1, 8, 0);
    to -= FLOOR_BEHIND_US;
    if (to > r->floor_us)
        r->floor_us = to;
}

/* By turns: all that waits or runs stays above it, or a client's first could be overtaken while it
 * is put back. */
static void move_floor(struct runner *r, const ath_rows *rows)
{
    if (r->claims_all)
        r->floor_us = number(rows, 0, 1, number(rows, 0, 0, 0)) - FLOOR_BEHIND_US;
}

static void next_full(struct runner *r)
{
    uint64_t took = (clock_ns() - r->asked_ns) / 1000000u * ALL_SHARE;

    took = took < ALL_LEAST_MS ? ALL_LEAST_MS : took > ALL_MOST_MS ? ALL_MOST_MS : took;
    r->full_at_ms = runner_now(r) + pace_jitter(took);
}

static void take_rows(struct runner *r, const ath_rows *rows, uint32_t wanted)
{
    uint32_t n = 0, count = db_rows_count(rows);
    bool fair = r->pace.per_client && r->family->queue->client;
    bool turned = r->cursor[0];

    for (; n < count && cell(rows, n, 2).p; n++)
        take_job(r, rows, n);
    if (r->claims_all)
        next_full(r);
    if (fair)
        move_floor(r, rows);
    else
        raise_floor(r, rows, n, n < wanted);
    r->cursor[0] = 0;
    if (n && fair)
        snprintf(r->cursor, sizeof(r->cursor), ".%.*s", (int)cell(rows, n - 1, 7).n,
                 cell(rows, n - 1, 7).n ? cell(rows, n - 1, 7).p : "");
    r->more = n == wanted || turned;
    pthread_mutex_lock(&r->lock);
    r->seen.claims++;
    r->seen.claimed += n;
    r->seen.running = r->running_n;
    r->seen.concurrency = r->pace.concurrency;
    if (n)
        r->seen.last_claim_ns = clock_wall_ns();
    pthread_mutex_unlock(&r->lock);
}

static int claimed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct runner *r = d->arg;

    (void)e;
    if (d->rc < 0)
        return d->rc;
    FAULT("jobs.claimed");
    take_rows(r, d->rows, r->wanted);
    task_done(t, NULL);
    return 0;
}

static const char *statement(struct runner *r, const struct queue_sql *sql)
{
    bool fair = r->pace.per_client && sql->claim_fair;

    r->claims_all = !jobs.floor || r->floor_us <= 0 || runner_now(r) >= r->full_at_ms;
    if (fair)
        return r->claims_all ? sql->claim_all_fair : sql->claim_fair;
    return r->claims_all ? sql->claim_all : sql->claim;
}

static int claim(ath_task *t, void *arg, ath_err *e)
{
    static const uint32_t type[] = { 20, 20, 25, 20, 1009, 25, 20 };
    struct runner *r = arg;
    ath_str param[] = {
        arena_printf(&t->arena, "%u", r->wanted = room(r)),
        arena_printf(&t->arena, "%llu", (unsigned long long)r->pace.lease_ms),
        str_of(jobs.id),
        arena_printf(&t->arena, "%lld", (long long)r->floor_us),
        jobs.pins,
        arena_str(&t->arena, str_of(r->cursor)),
        arena_printf(&t->arena, "%u", r->pace.per_client),
    };
    const char *sql = statement(r, atomic_load(&r->family->sql));

    r->hold_ms = r->pace.lease_ms;
    r->asked_ns = clock_ns();
    FAULT("jobs.claim");
    return jobs_ask(t, sql, param, type, ATH_COUNT(param), claimed, r, e);
}

static int claim_over(ath_task *t, const ath_done *d, ath_err *e)
{
    struct runner *r = d->arg;

    (void)t;
    r->claiming = false;
    r->renew_now |= r->renew_then;
    r->renew_then = false;
    if (d->rc < 0)
        runner_failed(r, "jobs cannot be claimed", e);
    else
        runner_works(r);
    runner_pump(r);
    return 0;
}

int claim_begin(struct runner *r, ath_err *e)
{
    return task_fork(r->root, &(ath_fork){ .size = sizeof(ath_fork), .run = claim, .arg = r },
                     claim_over, r, e);
}
