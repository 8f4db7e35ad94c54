/* A sink's thread: takes batches from its queue, writes them, and lives through failures.
 *
 * It sleeps until there is something (idle) or, after a batch, flush_ms (resting), so that events
 * that come one by one leave together and cost their producers no system call. A producer wakes an
 * idle sink; a resting one only for an error or when the queue has reached a half. Going to sleep
 * and looking at the queue, publishing an event and looking at the sink's sleep, are in one total
 * order (seq_cst), so of the two sides at least one sees the other.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "lib/text.h"
#include "log/ring.h"
#include "log/sinks_priv.h"

enum { AWAKE, RESTING, IDLE };
enum { BACKOFF_FIRST_MS = 100, BACKOFF_MOST_MS = 5000 };

struct log_sink {
    char *name;
    const ath_sink *sink;
    void *state;
    bool every; /* events "*" */
    size_t batch;
    uint64_t flush_ms, bytes_most;
    struct ring ring;
    atomic_uint_fast64_t bytes; /* that its events hold, in the queue or in the batch */
    atomic_int sleep;
    atomic_bool stop, reopen, paused;
    atomic_uint_fast64_t written, dropped, failed;
    pthread_t thread;
    pthread_mutex_t lock; /* of `woken` */
    pthread_cond_t cond;
    bool woken;
    /* the thread's own */
    bool is_open, healed;
    uint64_t lost_before;  /* what had been dropped or given up when it paused */
    struct event **events; /* the batch in hand */
    const ath_event **view;
    size_t n;
};

static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- producers ---- */

static bool name_listed(const char *list, ath_str name)
{
    ath_str rest = str_of(list), piece;

    while (name.n && str_next(&rest, ' ', &piece))
        if (str_eq(piece, name))
            return true;
    return false;
}

bool log_sink_takes_all(const struct log_sink *s)
{
    return s->every;
}

bool log_sink_takes(const struct log_sink *s, bool wanted, ath_str name)
{
    return s->every ? wanted : name_listed(s->sink->events, name);
}

static void wake(struct log_sink *s)
{
    pthread_mutex_lock(&s->lock);
    s->woken = true;
    pthread_cond_signal(&s->cond);
    pthread_mutex_unlock(&s->lock);
}

/* Is this event worth ending a rest? When the queue is half full, looked at once per half ring and
 * when the bytes pass it; and for errors. */
static bool urgent(const struct log_sink *s, bool error, size_t at, uint64_t before, uint64_t bytes)
{
    size_t half = ring_capacity(&s->ring) / 2;
    uint64_t half_bytes = s->bytes_most / 2;

    return error || (before < half_bytes && before + bytes >= half_bytes) ||
           ((at & (half - 1)) == 0 && at && ring_waiting(&s->ring) >= half);
}

static bool queue_put(struct log_sink *s, struct event *ev, size_t *ret_at, uint64_t *ret_before)
{
    uint64_t bytes = ev->bytes;

    *ret_before = atomic_fetch_add_explicit(&s->bytes, bytes, memory_order_relaxed);
    if (*ret_before + bytes <= s->bytes_most && ring_push(&s->ring, ev, ret_at))
        return true;
    atomic_fetch_sub_explicit(&s->bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->dropped, 1, memory_order_relaxed);
    return false;
}

bool log_sink_push(struct log_sink *s, struct event *ev)
{
    bool error = ev->e.level == ATH_ERROR; /* once it is pushed it may be gone */
    uint64_t before, bytes = ev->bytes;
    size_t at;
    int sleep;

    if (!queue_put(s, ev, &at, &before))
        return false;
    sleep = atomic_load(&s->sleep);
    if ((sleep == IDLE || (sleep == RESTING && urgent(s, error, at, before, bytes))) &&
        atomic_exchange(&s->sleep, AWAKE) != AWAKE)
        wake(s);
    return true;
}

/* ---- the thread ---- */

static struct timespec in_ms(uint64_t ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    ms += (uint64_t)t.tv_nsec / 1000000u;
    t.tv_nsec = t.tv_nsec % 1000000 + (long)(ms % 1000u) * 1000000;
    t.tv_sec += (time_t)(ms / 1000u);
    return t;
}

/* Until woken, or `ms` have passed; 0: for ever. */
static void wait_woken(struct log_sink *s, uint64_t ms)
{
    struct timespec until = in_ms(ms);

    pthread_mutex_lock(&s->lock);
    while (!s->woken) {
        if (ms == 0)
            pthread_cond_wait(&s->cond, &s->lock);
        else if (pthread_cond_timedwait(&s->cond, &s->lock, &until) == ETIMEDOUT)
            break;
    }
    s->woken = false;
    pthread_mutex_unlock(&s->lock);
}

static bool called(struct log_sink *s)
{
    return atomic_load(&s->stop) || atomic_load(&s->reopen);
}

/* After a batch: rest, then sleep if nothing came meanwhile. */
static void rest(struct log_sink *s, bool worked)
{
    atomic_store(&s->sleep, worked ? RESTING : IDLE);
    if (!called(s) && (worked || ring_waiting(&s->ring) == 0))
        wait_woken(s, worked ? s->flush_ms : 0);
    atomic_store(&s->sleep, AWAKE);
}

/* What the operator must know is in the other sinks, and in this one once it works again; when
 * there is no other one, on standard error. */
static void say(const ath_event *e)
{
    struct log_sink_stats stats[2];

    log_event(e);
    if (log_sink_stats(stats, 2) < 2)
        log_stderr(e);
}

static uint64_t lost(const struct log_sink *s)
{
    return atomic_load(&s->dropped) + atomic_load(&s->failed);
}

static void pause_set(struct log_sink *s, const ath_err *err)
{
    char text[1400];
    ath_event e = { .size = sizeof(e), .level = ATH_ERROR, .source = ATH_S("athena::log") };

    if (atomic_exchange(&s->paused, true))
        return;
    s->lost_before = lost(s);
    snprintf(text, sizeof(text), "log sink \"%s\" is paused: %.*s", s->name,
             STR_ARG(err_get(err, "message")));
    e.message = str_of(text);
    say(&e);
}

/* Said when the next batch is out of the queue, so that there is room for it in this sink, too. */
static void say_healed(struct log_sink *s)
{
    char text[256];
    ath_event e = { .size = sizeof(e), .level = ATH_WARN, .source = ATH_S("athena::log") };

    s->healed = false;
    snprintf(text, sizeof(text), "log sink \"%s\" writes again, %llu events were lost meanwhile",
             s->name, (unsigned long long)(lost(s) - s->lost_before));
    e.message = str_of(text);
    say(&e);
}

static int sink_open(struct log_sink *s, ath_err *e)
{
    int rc = s->is_open || !s->sink->open ? 0 : s->sink->open(s->state, e);

    s->is_open = rc >= 0;
    return rc;
}

static void sink_close(struct log_sink *s)
{
    if (s->is_open && s->sink->close)
        s->sink->close(s->state);
    s->is_open = false;
}

static int try_write(struct log_sink *s, ath_err *e)
{
    err_reset(e);
    if (atomic_exchange(&s->reopen, false))
        sink_close(s);
    if (sink_open(s, e) < 0)
        return ATH_E_RETRY;
    return s->n ? s->sink->write(s->state, s->view, s->n, e) : 0;
}

static void batch_release(struct log_sink *s)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < s->n; i++) {
        bytes += s->events[i]->bytes;
        block_release(s->events[i]->block);
    }
    atomic_fetch_sub_explicit(&s->bytes, bytes, memory_order_relaxed);
    s->n = 0;
}

/* Writes the batch in hand; comes back when it is written, given up, or the sink is stopped. */
static void deliver(struct log_sink *s)
{
    uint64_t backoff = BACKOFF_FIRST_MS;
    ath_err e;
    int rc;

    while ((rc = try_write(s, &e)) == ATH_E_RETRY && !atomic_load(&s->stop)) {
        pause_set(s, &e);
        wait_woken(s, backoff);
        backoff = backoff * 2 < BACKOFF_MOST_MS ? backoff * 2 : BACKOFF_MOST_MS;
    }
    if (rc < 0) {
        pause_set(s, &e);
        atomic_fetch_add(&s->failed, s->n);
    } else {
        atomic_fetch_add(&s->written, s->n);
        s->healed |= atomic_exchange(&s->paused, false);
    }
    batch_release(s);
}

static void take(struct log_sink *s)
{
    s->n = ring_pop(&s->ring, (void **)s->events, s->batch);
    for (size_t i = 0; i < s->n; i++)
        s->view[i] = &s->events[i]->e;
}

static void *sink_run(void *arg)
{
    struct log_sink *s = arg;
    bool stop, more;

    prctl(PR_SET_NAME, s->name);
    do {
        stop = atomic_load(&s->stop); /* before the take: what was pushed before it is written */
        take(s);
        if (s->healed)
            say_healed(s);
        more = s->n > 0;
        if (s->n || atomic_load(&s->reopen))
            deliver(s);
        if (!stop)
            rest(s, more);
    } while (!stop || more);
    sink_close(s);
    return NULL;
}

/* ---- starting, stopping, looking ---- */

static void sink_free(struct log_sink *s)
{
    void *left;

    while (ring_pop(&s->ring, &left, 1))
        block_release(((struct event *)left)->block);
    ring_fini(&s->ring);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->cond);
    free(s->events);
    free(s->view);
    free(s->name);
    free(s);
}

static struct log_sink *sink_new(const char *name, const ath_sink *sink, void *state,
                                 const struct log_queue_options *o)
{
    struct log_sink *s = MEM_NEW(struct log_sink);
    pthread_condattr_t attr;

    s->name = mem_dup_z(name);
    s->sink = sink;
    s->state = state;
    s->every = !sink->events || str_is(str_of(sink->events), "*");
    s->batch = o && o->batch ? o->batch : 1024;
    s->flush_ms = o && o->flush_ms ? o->flush_ms : 50;
    s->bytes_most = o && o->queue_bytes ? o->queue_bytes : 64u << 20;
    ring_init(&s->ring, o && o->queue_events ? o->queue_events : 128000);
    s->events = mem_new(s->batch * sizeof(struct event *));
    s->view = mem_new(s->batch * sizeof(const ath_event *));
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->cond, &attr);
    pthread_condattr_destroy(&attr);
    return s;
}

/* Signals are the main thread's; a broken pipe is an error of write(). */
static int thread_start(struct log_sink *s)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&s->thread, NULL, sink_run, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static bool slot_take(struct log_sink *s)
{
    bool found = false;

    pthread_mutex_lock(&slots_lock);
    for (unsigned i = 0; i < SINKS_MOST && !found; i++) {
        if (atomic_load(&log_sinks[i]))
            continue;
        atomic_store(&log_sinks[i], s);
        if (atomic_load(&log_sinks_used) <= i)
            atomic_store(&log_sinks_used, i + 1);
        found = true;
    }
    pthread_mutex_unlock(&slots_lock);
    return found;
}

static void slot_leave(const struct log_sink *s)
{
    pthread_mutex_lock(&slots_lock);
    for (unsigned i = 0; i < SINKS_MOST; i++)
        if (atomic_load(&log_sinks[i]) == s)
            atomic_store(&log_sinks[i], NULL);
    pthread_mutex_unlock(&slots_lock);
    log_wait_readers();
}

int log_sink_start(const char *name, const ath_sink *sink, void *state,
                   const struct log_queue_options *o, struct log_sink **ret, ath_err *e)
{
    struct log_sink *s;
    int rc;

    if (!sink->write)
        return err_fail(e, ATH_E_CONFIG, "sink \"%s\" has no write function", name);
    s = sink_new(name, sink, state, o);
    if ((rc = sink_open(s, e)) < 0) {
        sink_free(s);
        return rc;
    }
    if (!slot_take(s))
        rc = err_fail(e, ATH_E_LIMIT, "more than %d sinks", SINKS_MOST);
    else if (thread_start(s) != 0)
        rc = err_fail(e, ATH_E_LIMIT, "could not start the thread of sink \"%s\"", name);
    else
        *ret = s;
    if (rc < 0) {
        slot_leave(s);
        sink_close(s);
        sink_free(s);
    }
    return rc;
}

void log_sink_stop(struct log_sink *s)
{
    slot_leave(s);
    atomic_store(&s->stop, true);
    wake(s);
    pthread_join(s->thread, NULL);
    sink_free(s);
}

void log_sinks_reopen(void)
{
    log_enter();
    for (unsigned i = 0; i < SINKS_MOST; i++) {
        struct log_sink *s = atomic_load(&log_sinks[i]);
        if (s) {
            atomic_store(&s->reopen, true);
            wake(s);
        }
    }
    log_leave();
}

size_t log_sink_stats(struct log_sink_stats *ret, size_t most)
{
    size_t n = 0;

    log_enter();
    for (unsigned i = 0; i < SINKS_MOST && n < most; i++) {
        const struct log_sink *s = atomic_load(&log_sinks[i]);
        if (s)
            ret[n++] = (struct log_sink_stats){ .name = s->name,
                                                .written = atomic_load(&s->written),
                                                .dropped = atomic_load(&s->dropped),
                                                .failed = atomic_load(&s->failed),
                                                .waiting = ring_waiting(&s->ring),
                                                .paused = atomic_load(&s->paused) };
    }
    log_leave();
    return n;
}

static uint64_t number_at(const ath_field *f, const void *config)
{
    const char *at = (const char *)config + f->off;
    uint64_t v;

    memcpy(&v, at, sizeof(v));
    return v;
}

void log_queue_options_of(const ath_field *field, size_t stride, size_t count, const void *config,
                          struct log_queue_options *ret)
{
    *ret = (struct log_queue_options){ 0 };
    for (size_t i = 0; i < count && config; i++) {
        const ath_field *f = (const ath_field *)((const char *)field + i * stride);
        if (f->type != ATH_T_INT && f->type != ATH_T_MSEC && f->type != ATH_T_BYTES)
            continue;
        if (strcmp(f->key, "queue_events") == 0)
            ret->queue_events = number_at(f, config);
        else if (strcmp(f->key, "queue_bytes") == 0)
            ret->queue_bytes = number_at(f, config);
        else if (strcmp(f->key, "batch") == 0)
            ret->batch = number_at(f, config);
        else if (strcmp(f->key, "flush_ms") == 0)
            ret->flush_ms = number_at(f, config);
    }
}
