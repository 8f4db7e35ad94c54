/* The runner of a worker: one task that lives as long as the process serves, and a look (pump) at
 * what is to do whenever something has changed or a time has come.
 *
 *     its statements are not made      -> asks for the columns
 *     jobs have ended                  -> writes them
 *     a third of the lease has passed  -> renews
 *     leases may have passed elsewhere -> sweeps
 *     there is room, and a reason      -> claims
 *
 * Each of these is a fork of the root, one of a kind at a time, so that what ends while one is
 * under way becomes the next batch. A statement that fails is not repeated at once: everything
 * waits a growing while, and the first failure is said, then that it works again.
 *
 * A drain: nothing is claimed; what runs gets its grace time, is then stopped and handed back; the
 * root ends when all rows are written. A cut (task_cancel_all) ends what runs at once.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "jobs/jobs_priv.h"
#include "log/log.h"

enum {
    CONCURRENCY = 4, /* the host's defaults */
    ATTEMPTS = 3,
    POLL_MS = 1000,
    LEASE_MS = 30000,
    GRACE_MS = 30000,
    RETRY_MS = 1000,
    RETRY_MOST_MS = 300000,
    POLL_LEAST_MS = 20,
    LEASE_LEAST_MS = 500,
    CONCURRENCY_MOST = 4096,
    FAIL_FIRST_MS = 100,
    SETTLE_MS = 10000,
    FAIL_MOST_MS = 5000,
    LOOK_MS = 1000,      /* a gate, and leases that have passed */
    HAND_BACK_MS = 2000, /* of the drain's time, for writing */
    ANCHOR_MS = 3600 * 1000
};

struct jobs jobs;

uint64_t runner_now(const struct runner *r)
{
    (void)r;
    return loop_now_ms(jobs.o.home);
}

int jobs_ask(ath_task *t, const char *sql, const ath_str *param, const uint32_t *type, uint32_t n,
             ath_then *then, void *arg, ath_err *e)
{
    ath_stmt stmt = { .sql = sql, .param = param, .type = type, .param_count = n };
    ath_query q = { .size = sizeof(q),
                    .client = ATH_S("@control"),
                    .timeout_ms = STATEMENT_MS,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    return db_query(t, &q, then, arg, e);
}

int jobs_done(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    if (d->rc == 0)
        task_done(t, NULL);
    return d->rc;
}

/* ---- how it goes ---- */

/* Once, until it works again. A table that is not there may just be being made; after that it is
 * said with the command that makes it. */
static void say_failure(struct runner *r, const char *what, const ath_err *e)
{
    uint64_t now = runner_now(r);
    bool missing = jobs_is_missing(e);

    if (!r->failures)
        r->failing_at_ms = now;
    if (r->said || e->rc == ATH_E_CANCELED)
        return;
    if (missing && (now - r->failing_at_ms < SETTLE_MS || !jobs_may_tell_missing(now)))
        return;
    r->said = true;
    log_write(ATH_WARN, "athena::jobs", "%s: worker=%s error=\"%.*s\"%s", what,
              r->w.worker->cap.name, (int)e->message_n, e->message,
              missing ? "; to add it: athena migrate up" : "");
}

void runner_failed(struct runner *r, const char *what, const ath_err *e)
{
    pthread_mutex_lock(&r->lock);
    snprintf(r->seen.error, sizeof(r->seen.error), "%.*s", (int)e->message_n, e->message);
    utf8_mend(r->seen.error, strlen(r->seen.error));
    pthread_mutex_unlock(&r->lock);
    say_failure(r, what, e);
    r->failures++;
    r->wait_until_ms = runner_now(r) + pace_jitter(pace_backoff(FAIL_FIRST_MS, FAIL_MOST_MS,
                                                                r->failures, rand_u64()));
}

void runner_works(struct runner *r)
{
    if (!r->failures)
        return;
    if (r->said)
        log_write(ATH_INFO, "athena::jobs", "worker \"%s\" reaches its queue again",
                  r->w.worker->cap.name);
    r->said = false;
    r->failures = 0;
    r->wait_until_ms = 0;
    pthread_mutex_lock(&r->lock);
    r->seen.error[0] = 0;
    pthread_mutex_unlock(&r->lock);
}

static void read_pace(struct runner *r)
{
    ath_pace *p = &r->pace;

    *p = (ath_pace){ .size = sizeof(*p),
                     .concurrency = CONCURRENCY,
                     .max_attempts = ATTEMPTS,
                     .poll_ms = POLL_MS,
                     .lease_ms = LEASE_MS,
                     .grace_ms = GRACE_MS,
                     .retry_ms = RETRY_MS,
                     .retry_most_ms = RETRY_MOST_MS };
    if (r->w.worker->pace)
        r->w.worker->pace(r->w.config(r->w.self), p);
    if (p->poll_ms < POLL_LEAST_MS)
        p->poll_ms = POLL_LEAST_MS;
    if (p->lease_ms < LEASE_LEAST_MS)
        p->lease_ms = LEASE_LEAST_MS;
    if (p->concurrency > CONCURRENCY_MOST)
        p->concurrency = CONCURRENCY_MOST;
}

/* ---- making the statements ---- */

static int made(ath_task *t, const ath_done *d, ath_err *e)
{
    struct runner *r = d->arg;

    (void)t;
    r->asking = false;
    if (d->rc < 0) {
        runner_failed(r, "a queue cannot be read", e);
    } else {
        r->ready = true;
        runner_works(r);
    }
    runner_pump(r);
    return 0;
}

/* ---- what is to do ---- */

typedef int begin_fn(struct runner *r, ath_err *e);

static void begin(struct runner *r, bool *under_way, begin_fn *fn)
{
    ath_err e;

    err_reset(&e);
    *under_way = fn(r, &e) == 0;
    if (!*under_way)
        runner_failed(r, "a statement cannot be begun", &e);
}

static bool gate_open(const struct runner *r)
{
    return __atomic_load_n(r->w.open, __ATOMIC_RELAXED) != 0;
}

static bool any_progress(struct runner *r)
{
    if (!atomic_load(&r->family->sql)->progress)
        return false;
    list_each (node, next, &r->running)
        if (list_entry(node, struct job, node)->progress)
            return true;
    return false;
}

static void write_ends(struct runner *r, uint64_t now)
{
    if (!r->finishing && r->ended_n)
        begin(r, &r->finishing, finish_begin);
    if (!r->progressing && now >= r->progress_at_ms && any_progress(r))
        begin(r, &r->progressing, progress_begin);
}

static void keep_leases(struct runner *r, uint64_t now)
{
    lease_look(r);
    if (!r->running_n && !r->ended_n) {
        r->renew_at_ms = now + r->pace.lease_ms / 3;
        r->renew_now = false;
        return;
    }
    if (r->renewing || (now < r->renew_at_ms && !r->renew_now))
        return;
    r->renew_now = false;
    r->renew_at_ms = now + r->pace.lease_ms / 3;
    begin(r, &r->renewing, renew_begin);
}

static void tend(struct runner *r, uint64_t now)
{
    if (r->tending || jobs.stopping)
        return;
    if (now >= r->sweep_at_ms)
        begin(r, &r->tending, sweep_begin);
    else if (r->pace.retain_ms && atomic_load(&r->family->sql)->retain && now >= r->retain_at_ms)
        begin(r, &r->tending, retain_begin);
    else if (atomic_load(&r->depth_wanted) && now >= r->depth_at_ms)
        begin(r, &r->tending, depth_begin);
}

static void claim_some(struct runner *r, uint64_t now)
{
    bool backlog = r->ended_n > 2 * r->pace.concurrency;

    if (jobs.stopping || r->claiming || backlog || r->running_n >= r->pace.concurrency)
        return;
    if (!r->more && now < r->claim_at_ms)
        return;
    read_pace(r);
    if (!gate_open(r) || r->running_n >= r->pace.concurrency) {
        r->more = false;
        r->claim_at_ms = now + LOOK_MS;
        return;
    }
    r->more = false;
    r->claim_at_ms = now + pace_jitter(r->pace.poll_ms);
    begin(r, &r->claiming, claim_begin);
}

/* ---- the end ---- */

static void stop_running(struct runner *r)
{
    list_each (node, next, &r->running)
        job_fate(list_entry(node, struct job, node), FATE_STOPPED);
}

static bool all_written(const struct runner *r)
{
    return !r->running_n && !r->ended_n && !r->finishing && !r->claiming;
}

static void end_root(struct runner *r)
{
    ath_task *t = r->root;

    r->root = NULL;
    task_done(t, NULL);
}

static void stop(struct runner *r, uint64_t now)
{
    if (!jobs.stopping)
        return;
    if (now >= r->stop_at_ms)
        stop_running(r);
    if (all_written(r) || (r->cut && r->failures > 1 && !r->running_n))
        end_root(r);
}

/* ---- the pump ---- */

/* What is due already waits for something that is under way, whose end looks again. */
static void set_timer(struct runner *r, uint64_t now)
{
    const uint64_t times[] = { r->wait_until_ms, r->claim_at_ms,    r->sweep_at_ms,
                               r->renew_at_ms,   r->progress_at_ms, r->stop_at_ms };
    uint64_t at = now + LOOK_MS;

    for (size_t i = 0; i < ATH_COUNT(times); i++)
        if (times[i] > now && times[i] < at)
            at = times[i];
    deadline_set(jobs.o.home, &r->timer, at);
}

static void look(struct runner *r)
{
    uint64_t now = runner_now(r);
    ath_err e;

    err_reset(&e);
    if (now < r->wait_until_ms) {
        lease_look(r);
    } else if (r->ready) {
        write_ends(r, now);
        keep_leases(r, now);
        claim_some(r, now);
        tend(r, now);
    } else if (!r->asking && !jobs.stopping) {
        r->asking = family_ready(r->root, r->family, made, r, &e) == 0;
        if (!r->asking)
            runner_failed(r, "a queue cannot be read", &e);
    }
    stop(r, now);
    if (r->root)
        set_timer(r, now);
}

static void pumped(void *arg)
{
    struct runner *r = arg;

    if (r->root)
        look(r);
}

static void timer_fired(struct deadline *d)
{
    pumped(container_of(d, struct runner, timer));
}

void runner_pump(struct runner *r)
{
    loop_defer(jobs.o.home, &r->pump);
}

void runner_wake(struct runner *r)
{
    r->more = true;
    runner_pump(r);
}

/* ---- life ---- */

static void root_gone(void *arg)
{
    struct runner *r = arg;

    r->root = NULL;
    deadline_clear(&r->timer);
    deferred_cancel(&r->pump);
    jobs_runner_over();
}

/* Only a cut ends it before its time. */
static int anchor(ath_task *t, const ath_done *d, ath_err *e)
{
    struct runner *r = d->arg;

    if (d->rc == 0)
        return task_after(t, ANCHOR_MS, anchor, r, e);
    r->cut = jobs.stopping = true;
    r->stop_at_ms = r->failures = 0;
    stop_running(r);
    runner_pump(r);
    return task_after(t, ANCHOR_MS, anchor, r, e);
}

static int root(ath_task *t, void *arg, ath_err *e)
{
    struct runner *r = arg;

    r->root = t;
    t->label = r->w.worker->cap.name;
    arena_own(&t->arena, r, root_gone);
    r->claim_at_ms = runner_now(r) + rand_u64() % POLL_LEAST_MS;
    r->sweep_at_ms = runner_now(r) + rand_u64() % LOOK_MS;
    runner_pump(r);
    return task_after(t, ANCHOR_MS, anchor, r, e);
}

void runner_start(struct runner *r)
{
    list_init(&r->running);
    list_init(&r->ended);
    list_init(&r->writing);
    deadline_init(&r->timer, timer_fired);
    deferred_init(&r->pump, pumped, r);
    pthread_mutex_init(&r->lock, NULL);
    read_pace(r);
    r->seen.concurrency = r->pace.concurrency;
    task_begin(NULL, jobs.o.home, &(ath_fork){ .size = sizeof(ath_fork), .run = root, .arg = r });
}

void runner_drain(struct runner *r)
{
    uint64_t most = jobs.o.drain_ms > HAND_BACK_MS ? jobs.o.drain_ms - HAND_BACK_MS : 0;

    r->stop_at_ms = runner_now(r) + (r->pace.grace_ms < most ? r->pace.grace_ms : most);
    if (r->root)
        runner_pump(r);
}
