/* A task per worker (its keeper) that pauses and then runs a tick below itself, again and again.
 *
 *     due      -> gate shut, or the lock is another process's: looks again shortly
 *              -> the tick is a child; when it has ended its outcome is noted (ran)
 *     ran      -> pauses until the next one is due
 *
 * Everything happens on one loop. What other threads want to see of it stands in `seen`, under a
 * lock of its own. A worker whose lock is lost while it runs is cancelled: by then another process
 * may have begun.
 */
#include "jobs/ticks.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "jobs/jobs_priv.h"
#include "jobs/locks.h"
#include "jobs/schedule.h"
#include "lib/json.h"
#include "log/log.h"
#include "log/metric.h"

enum {
    PERIOD_MS = 60000, /* of a worker that does not say */
    PERIOD_LEAST_MS = 100,
    FIRST_MS = 250, /* the first tick comes within this time */
    LOOK_MS = 200,  /* how often a gate and a lock are looked at */
    RETRY_FIRST_MS = 1000,
    RETRY_MOST_MS = 30000, /* or the period, when that is longer */
    SAY_EVERY_MS = 60000,
    SETTLE = 3, /* failures by a table that is missing or locked that are not said: it may just be
                   being made */
    ERROR_BYTES = 400
};

enum outcome { OUT_NONE, OUT_OK, OUT_FAILED, OUT_CANCELED, OUTCOMES };

static const char *const outcome_name[] = { NULL, "ok", "failed", "canceled" };

struct seen { /* of one worker; wall clock in ns, 0: never */
    uint64_t count[OUTCOMES];
    uint64_t last_run_ns, last_ok_ns, next_ns, took_ms, period_ms;
    enum outcome last;
    bool running, runner;
    char error[ERROR_BYTES]; /* of the last failure, until one works again */
};

struct tick {
    struct tick_worker w;
    struct schedule *schedule;  /* NULL: run is the plugin's */
    struct lock *lock;          /* NULL: it runs in every process */
    ath_task *keeper, *running; /* NULL: not begun or over; nothing runs */
    uint64_t begun_ms, said_ms; /* said: 0, never */
    uint32_t failures;          /* in a row */
    bool said;                  /* of these, something */
    struct seen seen;
};

static struct {
    struct tick *tick;
    struct lock *lock;
    size_t n, locks, alive; /* alive: keepers */
    ath_loop *home;
    bool stopping, metrics, control;
    pthread_mutex_t seen;
} ticks = { .seen = PTHREAD_MUTEX_INITIALIZER };

/* ---- when ---- */

static uint64_t period_of(struct tick *k)
{
    ath_pace p = { .size = sizeof(p), .concurrency = 1, .poll_ms = PERIOD_MS };

    if (k->w.worker->pace)
        k->w.worker->pace(k->w.config(k->w.self), &p);
    return p.poll_ms < PERIOD_LEAST_MS ? PERIOD_LEAST_MS : p.poll_ms;
}

/* Up to a twentieth of it more or less, so that many processes do not come at the same moment. */
static uint64_t jitter(uint64_t ms)
{
    return ms - ms / 20 + rand_u64() % (ms / 10 + 1);
}

static uint64_t pause_of(struct tick *k, uint64_t period)
{
    uint64_t most = period > RETRY_MOST_MS ? period : RETRY_MOST_MS, ms = RETRY_FIRST_MS;
    uint64_t took = loop_now_ms(ticks.home) - k->begun_ms;

    if (k->failures == 0)
        return took < period ? jitter(period - took) : jitter(PERIOD_LEAST_MS);
    for (uint32_t i = 1; i < k->failures && ms < most; i++)
        ms *= 2;
    return jitter(ms < most ? ms : most);
}

/* ---- what is seen ---- */

static void see_running(struct tick *k)
{
    pthread_mutex_lock(&ticks.seen);
    k->seen.running = true;
    k->seen.last_run_ns = clock_wall_ns();
    k->seen.next_ns = 0;
    pthread_mutex_unlock(&ticks.seen);
}

static void see_ran(struct tick *k, enum outcome out, uint64_t took_ms, const ath_err *e)
{
    struct seen *s = &k->seen;

    pthread_mutex_lock(&ticks.seen);
    s->running = false;
    s->last = out;
    s->count[out]++;
    s->took_ms = took_ms;
    if (out == OUT_OK) {
        s->last_ok_ns = clock_wall_ns();
        s->error[0] = 0;
    } else if (out == OUT_FAILED) {
        snprintf(s->error, sizeof(s->error), "%.*s", (int)e->message_n, e->message);
        utf8_mend(s->error, strlen(s->error));
    }
    pthread_mutex_unlock(&ticks.seen);
}

static void see_pause(struct tick *k, uint64_t ms, uint64_t period)
{
    pthread_mutex_lock(&ticks.seen);
    k->seen.period_ms = period;
    k->seen.next_ns = clock_wall_ns() + ms * 1000000u;
    pthread_mutex_unlock(&ticks.seen);
}

static void see_runner(struct tick *k, bool runner)
{
    pthread_mutex_lock(&ticks.seen);
    k->seen.runner = runner;
    pthread_mutex_unlock(&ticks.seen);
}

/* ---- one tick ---- */

static int due(ath_task *t, const ath_done *d, ath_err *e);

static int pause_for(ath_task *t, struct tick *k, uint64_t ms, ath_err *e)
{
    return task_after(t, ms, due, k, e);
}

/* Somebody alters the table. */
static bool is_locked(const ath_err *e)
{
    return str_is(err_get(e, "sqlstate"), "55P03");
}

static void say_failure(struct tick *k, const ath_err *e)
{
    uint64_t now = loop_now_ms(ticks.home);
    bool missing = jobs_is_missing(e);

    if (++k->failures <= SETTLE && (missing || is_locked(e)))
        return;
    if (missing ? !jobs_may_tell_missing(now) : k->said_ms && now - k->said_ms < SAY_EVERY_MS)
        return;
    k->said_ms = now;
    k->said = true;
    log_write(ATH_WARN, "athena::workers", "worker_tick_failed worker=%s error=\"%.*s\"%s",
              k->w.worker->cap.name, (int)e->message_n, e->message,
              missing ? "; to add it: athena migrate up" : "");
}

static void note(struct tick *k, int rc, const ath_err *e)
{
    enum outcome out = rc == 0 ? OUT_OK : rc == ATH_E_CANCELED ? OUT_CANCELED : OUT_FAILED;

    if (out == OUT_OK && k->said)
        log_write(ATH_INFO, "athena::workers", "worker \"%s\" works again", k->w.worker->cap.name);
    if (out == OUT_FAILED)
        say_failure(k, e);
    else
        k->failures = 0;
    k->said &= out != OUT_OK;
    see_ran(k, out, loop_now_ms(ticks.home) - k->begun_ms, e);
}

static int ran(ath_task *t, const ath_done *d, ath_err *e)
{
    struct tick *k = d->arg;
    uint64_t period = period_of(k), ms;

    k->running = NULL;
    note(k, d->rc, e);
    if (ticks.stopping) {
        task_done(t, NULL);
        return 0;
    }
    ms = pause_of(k, period);
    see_pause(k, ms, period);
    return pause_for(t, k, ms, e);
}

static int run(ath_task *t, void *arg, ath_err *e)
{
    struct tick *k = arg;

    t->label = k->w.worker->cap.name;
    k->running = t;
    if (k->schedule)
        return schedule_look(t, k->schedule, period_of(k), e);
    return k->w.worker->run(t, e);
}

/* May it run now? What it may not run without is asked for meanwhile. */
static bool ready(struct tick *k)
{
    bool open = __atomic_load_n(k->w.open, __ATOMIC_RELAXED) != 0;

    if (!k->lock)
        return open && (ticks.control || !k->schedule);
    k->lock->wanted = open;
    see_runner(k, k->lock->held);
    return open && k->lock->held;
}

static int due(ath_task *t, const ath_done *d, ath_err *e)
{
    struct tick *k = d->arg;
    ath_fork f = { .size = sizeof(f), .run = run, .arg = k };

    if (ticks.stopping || d->rc < 0) {
        task_done(t, NULL);
        return 0;
    }
    if (!ready(k))
        return pause_for(t, k, LOOK_MS, e);
    k->begun_ms = loop_now_ms(t->loop);
    t->configs = NULL; /* each tick sees the configuration as it is when it begins */
    see_running(k);
    return task_fork(t, &f, ran, k, e);
}

/* ---- keepers ---- */

static void locks_lost(void)
{
    for (size_t i = 0; i < ticks.n; i++) {
        struct tick *k = &ticks.tick[i];
        if (!k->lock)
            continue;
        see_runner(k, false);
        if (k->running)
            task_cancel(k->running);
    }
}

static void keeper_gone(void *arg)
{
    struct tick *k = arg;

    k->keeper = NULL;
    if (--ticks.alive == 0 && ticks.locks)
        locks_drain();
}

static int keep(ath_task *t, void *arg, ath_err *e)
{
    struct tick *k = arg;
    uint64_t period = period_of(k), ms = rand_u64() % FIRST_MS;

    k->keeper = t;
    t->label = k->w.worker->cap.name;
    arena_own(&t->arena, k, keeper_gone);
    see_pause(k, ms, period);
    return pause_for(t, k, ms, e);
}

/* ---- metrics ---- */

static const char *name_of(const struct tick *k)
{
    return k->w.worker->cap.name;
}

static void put_metrics(struct buf *b, void *arg)
{
    (void)arg;
    pthread_mutex_lock(&ticks.seen);
    metric_head(b, "athena_worker_last_tick_timestamp_seconds", "gauge",
                "When the worker's last tick ended well; 0: none has.");
    for (size_t i = 0; i < ticks.n; i++)
        buf_printf(b, "athena_worker_last_tick_timestamp_seconds{worker=\"%s\"} %.3f\n",
                   name_of(&ticks.tick[i]), (double)ticks.tick[i].seen.last_ok_ns / 1e9);
    metric_head(b, "athena_worker_ticks_total", "counter", "Ticks that have ended, by outcome.");
    for (size_t i = 0; i < ticks.n; i++)
        for (int out = OUT_OK; out < OUTCOMES; out++)
            buf_printf(b, "athena_worker_ticks_total{worker=\"%s\",outcome=\"%s\"} %llu\n",
                       name_of(&ticks.tick[i]), outcome_name[out],
                       (unsigned long long)ticks.tick[i].seen.count[out]);
    metric_head(b, "athena_worker_runner", "gauge",
                "Whether this process is the one that runs the worker.");
    for (size_t i = 0; i < ticks.n; i++)
        buf_printf(b, "athena_worker_runner{worker=\"%s\"} %d\n", name_of(&ticks.tick[i]),
                   !ticks.tick[i].lock || ticks.tick[i].seen.runner);
    for (int metric = 0; metric < SCHEDULE_METRICS; metric++) {
        schedule_metric_head(b, metric);
        for (size_t i = 0; i < ticks.n; i++)
            if (ticks.tick[i].schedule)
                schedule_metric(b, metric, ticks.tick[i].schedule);
    }
    pthread_mutex_unlock(&ticks.seen);
}

/* ---- the list ---- */

static void put_text(struct buf *b, const char *key, const char *text)
{
    buf_json_key(b, key);
    if (text && text[0])
        buf_json(b, str_of(text));
    else
        buf_lit(b, "null");
}

static void put_worker(struct buf *b, const struct tick *k)
{
    const struct seen *s = &k->seen;

    buf_lit(b, "{");
    buf_json_str(b, "worker", str_of(name_of(k)));
    buf_json_str(b, "family", str_of(k->w.worker->family));
    buf_json_str(b, "plugin", str_of(k->w.plugin));
    buf_json_str(b, "kind", k->schedule ? ATH_S("schedule") : ATH_S("tick"));
    buf_json_bool(b, "single", k->lock != NULL);
    buf_json_bool(b, "runner", !k->lock || s->runner);
    buf_json_bool(b, "open", __atomic_load_n(k->w.open, __ATOMIC_RELAXED) != 0);
    buf_json_bool(b, "running", s->running);
    buf_json_int(b, "period_ms", (int64_t)s->period_ms);
    buf_json_int(b, "ticks", (int64_t)(s->count[OUT_OK] + s->count[OUT_FAILED]));
    buf_json_int(b, "failures", (int64_t)s->count[OUT_FAILED]);
    buf_json_time(b, "last_run_at", s->last_run_ns);
    buf_json_time(b, "last_success_at", s->last_ok_ns);
    buf_json_int(b, "last_duration_ms", (int64_t)s->took_ms);
    put_text(b, "last_outcome", outcome_name[s->last]);
    put_text(b, "last_error", s->error);
    buf_json_time(b, "next_run_at", s->next_ns);
    if (k->schedule)
        schedule_json(b, k->schedule);
    buf_lit(b, "}");
}

void ticks_json(struct buf *b)
{
    buf_lit(b, "[");
    pthread_mutex_lock(&ticks.seen);
    for (size_t i = 0; i < ticks.n; i++) {
        if (i)
            buf_lit(b, ",");
        put_worker(b, &ticks.tick[i]);
    }
    pthread_mutex_unlock(&ticks.seen);
    buf_lit(b, "]");
}

/* ---- life ---- */

static void take_workers(const struct tick_worker *w, size_t n)
{
    ticks.tick = mem_new((n + 1) * sizeof(*ticks.tick));
    ticks.lock = mem_new((n + 1) * sizeof(*ticks.lock));
    for (size_t i = 0; i < n; i++) {
        struct tick *k = &ticks.tick[i];
        k->w = w[i];
        if (w[i].worker->schedule)
            k->schedule = schedule_new(w[i].worker);
        if (!(w[i].worker->flags & ATH_WK_SINGLE))
            continue;
        k->lock = &ticks.lock[ticks.locks++];
        k->lock->key = lock_key(w[i].worker->cap.name);
    }
    pthread_mutex_lock(&ticks.seen);
    ticks.n = n;
    pthread_mutex_unlock(&ticks.seen);
}

void ticks_start(ath_loop *home, const struct tick_worker *w, size_t n, bool control)
{
    ticks.home = home;
    ticks.stopping = false;
    ticks.control = control;
    ticks.locks = 0;
    ticks.alive = n;
    take_workers(w, n);
    if (!ticks.metrics)
        metric_source(put_metrics, NULL);
    ticks.metrics = true;
    if (!control)
        ticks.locks = 0;
    else if (ticks.locks)
        locks_start(home, ticks.lock, ticks.locks, locks_lost);
    for (size_t i = 0; i < n; i++)
        task_begin(w[i].self, home,
                   &(ath_fork){ .size = sizeof(ath_fork), .run = keep, .arg = &ticks.tick[i] });
}

static void drain(void *arg)
{
    (void)arg;
    ticks.stopping = true;
    for (size_t i = 0; i < ticks.n; i++)
        if (ticks.tick[i].keeper)
            task_cancel(ticks.tick[i].keeper);
}

void ticks_drain(void)
{
    if (ticks.n)
        loop_post(ticks.home, drain, NULL);
}

void ticks_stop(void)
{
    size_t n = ticks.n;

    pthread_mutex_lock(&ticks.seen);
    ticks.n = 0;
    pthread_mutex_unlock(&ticks.seen);
    for (size_t i = 0; i < n; i++)
        schedule_free(ticks.tick[i].schedule);
    free(ticks.tick);
    free(ticks.lock);
    ticks.tick = NULL;
    ticks.lock = NULL;
}
