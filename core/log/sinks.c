/* A sink's queue and the thread that takes batches from it: it writes them itself (deliver.c), or,
 * with a spool, puts them there for another thread (drain.c).
 *
 * It sleeps until there is something (idle) or, after a batch, flush_ms (resting), so that events
 * that come one by one leave together and cost their producers no system call. A producer wakes an
 * idle sink; a resting one only for an error or when the queue has reached a half. Going to sleep
 * and looking at the queue, publishing an event and looking at the sink's sleep, are in one total
 * order (seq_cst), so of the two sides at least one sees the other.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "base/err.h"
#include "base/mem.h"
#include "lib/text.h"
#include "log/sinks_priv.h"

enum { AWAKE, RESTING, IDLE };

static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- producers ---- */

atomic_uint log_sinks_named;

bool log_sink_names(const struct log_sink *s, ath_str name)
{
    for (uint32_t i = 0; name.n && i < s->names; i++)
        if (str_same(s->name_of[i], name))
            return true;
    return false;
}

bool log_sink_takes_all(const struct log_sink *s)
{
    return s->every;
}

bool log_sink_takes(const struct log_sink *s, bool wanted, ath_str name)
{
    return s->every ? wanted : log_sink_names(s, name);
}

/* Is this event worth ending a rest? When `wake` events wait, looked at once in as many; when the
 * bytes pass a half; and for errors. */
static bool urgent(const struct log_sink *s, bool error, size_t at, uint64_t before, uint64_t bytes)
{
    uint64_t half_bytes = s->bytes_most / 2;

    return error || (before < half_bytes && before + bytes >= half_bytes) ||
           ((at & (s->wake - 1)) == 0 && at && ring_waiting(&s->ring) >= s->wake);
}

static bool queue_put(struct log_sink *s, struct event *ev, size_t *ret_at, uint64_t *ret_before)
{
    uint64_t bytes = ev->bytes;

    *ret_before = atomic_fetch_add_explicit(&s->bytes, bytes, memory_order_relaxed);
    if (*ret_before + bytes <= s->bytes_most && ring_push(&s->ring, ev, ret_at))
        return true;
    atomic_fetch_sub_explicit(&s->bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->dropped, 1, memory_order_relaxed);
    sink_count_lost(s, ev->e.name, 1);
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
        nap_end(&s->nap);
    return true;
}

/* ---- the thread ---- */

static bool called(struct log_sink *s)
{
    return atomic_load(&s->stop) || atomic_load(&s->reopen);
}

/* After a batch: rest, then sleep if nothing came meanwhile. */
static void rest(struct log_sink *s, bool worked)
{
    atomic_store(&s->sleep, worked ? RESTING : IDLE);
    if (!called(s) && (worked || ring_waiting(&s->ring) == 0))
        nap_take(&s->nap, worked ? s->flush_ms : 0);
    atomic_store(&s->sleep, AWAKE);
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

static void take(struct log_sink *s)
{
    s->n = ring_pop(&s->ring, (void **)s->events, s->batch);
    for (size_t i = 0; i < s->n; i++)
        s->view[i] = &s->events[i]->e;
}

/* The events that were taken last, `n` of them, as a batch. */
static ath_batch batch_of(const struct log_sink *s, ath_piece *piece, size_t n)
{
    *piece = (ath_piece){ .number = s->number, .events = (uint32_t)n };
    return (ath_batch){ .size = sizeof(ath_batch),
                        .writer = str_of(s->spool ? spool_writer(s->spool) : s->writer),
                        .piece = piece,
                        .piece_count = 1 };
}

static void tell_taken(struct log_sink *s, const ath_event **view, size_t n)
{
    ath_piece piece;
    ath_batch b = batch_of(s, &piece, n);

    if (s->sink->taken)
        s->sink->taken(s->state, &b, view, n);
}

/* ---- with a spool ---- */

/* Events were written on other processors: what is read soon is asked for now. */
static void fetch_ahead(const struct log_sink *s, size_t at)
{
    enum { LINE = 64, FAR = 12, NEAR = 6, TEXTS = 768 };
    const ath_event *ev;

    if (at + FAR < s->n) {
        __builtin_prefetch(s->view[at + FAR]);
        __builtin_prefetch((const char *)s->view[at + FAR] + LINE);
    }
    if (at + NEAR >= s->n)
        return;
    ev = s->view[at + NEAR];
    for (size_t off = 0; off < ev->fact_count * sizeof(*ev->fact); off += LINE)
        __builtin_prefetch((const char *)ev->fact + off);
    for (size_t off = 0; ev->request_id.p && off < TEXTS; off += LINE)
        __builtin_prefetch(ev->request_id.p + off);
}

/* One record, from event `from` on; where the next one begins. */
static size_t record_put(struct log_sink *s, size_t from)
{
    struct log_pack *p = &s->pack;
    size_t to = from;

    s->number++;
    log_pack_begin(p);
    while (to < s->n && log_pack_add(p, s->view[to]))
        fetch_ahead(s, to++);
    log_pack_end(p);
    tell_taken(s, s->view + from, to - from);
    spool_put(s->spool, s->number, p->events, buf_view(&p->body), buf_view(&p->kinds));
    drain_wake(s->drain);
    return to;
}

static void to_spool(struct log_sink *s)
{
    for (size_t at = 0; at < s->n;)
        at = record_put(s, at);
    if (atomic_load(&s->reopen))
        drain_wake(s->drain);
}

static void spool_end(struct log_sink *s)
{
    if (s->drain)
        drain_stop(s->drain);
    sink_say_ended(s);
    spool_close(s->spool);
    s->spool = NULL;
    s->drain = NULL;
}

/* Without it events wait in the queue alone, as they do in a server that has no place for one. */
static void spool_begin(struct log_sink *s, const struct log_queue_options *o)
{
    ath_err e;

    err_reset(&e);
    if (o && o->spill_folder && o->spill_bytes && drain_start(s, o, &e) < 0)
        log_write(ATH_WARN, "athena::log",
                  "sink \"%s\" has no spool, what its queue cannot hold is lost: %.*s", s->name,
                  STR_ARG(err_get(&e, "message")));
}

/* ---- without one ---- */

static void tell_begin(struct log_sink *s)
{
    ath_piece piece;
    ath_batch b = batch_of(s, &piece, s->n);

    if (s->sink->begin)
        s->sink->begin(s->state, &b);
}

static void to_sink(struct log_sink *s)
{
    if (s->n) {
        s->number++;
        tell_taken(s, s->view, s->n);
        tell_begin(s);
    }
    if (sink_deliver(s, &s->nap, s->view, s->n) != DELIVERED) {
        atomic_fetch_add(&s->failed, s->n);
        for (size_t i = 0; i < s->n; i++)
            sink_count_lost(s, s->view[i]->name, 1);
    }
}

static void *sink_run(void *arg)
{
    struct log_sink *s = arg;
    bool stop, more;

    prctl(PR_SET_NAME, s->name);
    do {
        stop = atomic_load(&s->stop); /* before the take: what was pushed before it is written */
        take(s);
        more = s->n > 0;
        if (!s->spool)
            sink_say_healed(s); /* there is room for it in this sink's queue, too */
        if (s->spool)
            to_spool(s);
        else if (s->n || atomic_load(&s->reopen))
            to_sink(s);
        batch_release(s);
        if (!stop)
            rest(s, more);
    } while (!stop || more);
    spool_end(s);
    sink_tell_lost(s);
    sink_close(s);
    atomic_store(&s->ended, true);
    return NULL;
}

/* ---- starting, stopping, looking ---- */

static void sink_free(struct log_sink *s)
{
    void *left;

    while (ring_pop(&s->ring, &left, 1))
        block_release(((struct event *)left)->block);
    ring_fini(&s->ring);
    nap_fini(&s->nap);
    log_pack_free(&s->pack);
    free(s->events);
    free(s->view);
    free(s->name);
    free(s);
}

static void names_cut(struct log_sink *s)
{
    ath_str rest = str_of(s->sink->events), piece;

    while (s->names < SINK_NAMES && str_next(&rest, ' ', &piece))
        if (piece.n)
            s->name_of[s->names++] = piece;
}

static struct log_sink *sink_new(const char *name, const ath_sink *sink, void *state,
                                 const struct log_queue_options *o)
{
    struct log_sink *s = MEM_NEW(struct log_sink);

    s->name = mem_dup_z(name);
    s->sink = sink;
    s->state = state;
    s->every = !sink->events || str_is(str_of(sink->events), "*");
    if (!s->every)
        names_cut(s);
    s->batch = o && o->batch ? o->batch : 1024;
    s->flush_ms = o && o->flush_ms ? o->flush_ms : 50;
    s->bytes_most = o && o->queue_bytes ? o->queue_bytes : 64u << 20;
    ring_init(&s->ring, o && o->queue_events ? o->queue_events : 128000);
    s->wake = ring_capacity(&s->ring) / 2;
    while (o && o->wake_events && s->wake > 2 && s->wake >= o->wake_events * 2)
        s->wake /= 2;
    s->events = mem_new(s->batch * sizeof(struct event *));
    s->view = mem_new(s->batch * sizeof(const ath_event *));
    uuid_make(s->writer);
    nap_init(&s->nap);
    return s;
}

/* Signals are the main thread's; a broken pipe is an error of write(). */
int log_thread_start(pthread_t *ret, void *(*run)(void *arg), void *arg)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(ret, NULL, run, arg);
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
        atomic_fetch_add(&log_sinks_named, s->every ? 0 : 1);
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
        if (atomic_load(&log_sinks[i]) == s) {
            atomic_store(&log_sinks[i], NULL);
            atomic_fetch_sub(&log_sinks_named, s->every ? 0 : 1);
        }
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
    spool_begin(s, o);
    if (!slot_take(s))
        rc = err_fail(e, ATH_E_LIMIT, "more than %d sinks", SINKS_MOST);
    else if (log_thread_start(&s->thread, sink_run, s) != 0)
        rc = err_fail(e, ATH_E_LIMIT, "could not start the thread of sink \"%s\"", name);
    else
        *ret = s;
    if (rc < 0) {
        slot_leave(s);
        spool_end(s);
        sink_close(s);
        sink_free(s);
    }
    return rc;
}

void log_sink_finish(struct log_sink *s)
{
    slot_leave(s);
    atomic_store(&s->stop, true);
    nap_end(&s->nap);
}

bool log_sink_finished(const struct log_sink *s)
{
    return atomic_load(&s->ended);
}

void log_sink_stop(struct log_sink *s)
{
    log_sink_finish(s);
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
            nap_end(&s->nap);
        }
    }
    log_leave();
}

static void stats_of(const struct log_sink *s, struct log_sink_stats *ret)
{
    *ret = (struct log_sink_stats){ .name = s->name,
                                    .written = atomic_load(&s->written),
                                    .dropped = atomic_load(&s->dropped),
                                    .failed = atomic_load(&s->failed),
                                    .waiting = ring_waiting(&s->ring),
                                    .paused = atomic_load(&s->paused),
                                    .spools = s->spool != NULL };
    if (s->spool)
        spool_stats(s->spool, &ret->spool);
}

size_t log_sink_stats(struct log_sink_stats *ret, size_t most)
{
    size_t n = 0;

    log_enter();
    for (unsigned i = 0; i < SINKS_MOST && n < most; i++) {
        const struct log_sink *s = atomic_load(&log_sinks[i]);
        if (s)
            stats_of(s, &ret[n++]);
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
        else if (strcmp(f->key, "wake_events") == 0)
            ret->wake_events = number_at(f, config);
        else if (strcmp(f->key, "spill_bytes") == 0)
            ret->spill_bytes = number_at(f, config);
    }
}
