/* The thread that sends what lies in a sink's spool, oldest first, a few records as one batch.
 *
 * It gives way to requests. Between batches it looks at how much of the time the HTTP loops had to
 * wait for a processor: up to EASY nothing is held back, as there are processors for both. Beyond
 * it the thread rests, so long that from HARD on FLOOR events a second are sent and no more. While
 * it rests it looks again, so what it caused itself holds it back for a moment only. When the spool
 * is half full it begins to rest less, and from nine tenths on not at all: then requests share the
 * machine with their rows, as they would without a spool.
 *
 * While others have to wait, a sink that adds up beside its events gets an empty batch each second,
 * so that figures are not as late as rows.
 */
#include <sys/prctl.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "log/sinks_priv.h"

enum { SLICE_MS = 100, SAMPLE_MS = 50, FIGURES_MS = 1000, ADOPT_MS = 60000, STOP_MS = 5000 };
enum { EASY = 30, HARD = 120, FLOOR = 1000 }; /* of a thousand; events a second */
enum { BATCH = 8192, BATCH_UNDER = 1024 };    /* events of a batch; of one under pressure */
enum { KEPT = 32768 };                        /* facts: room that is kept for the next batch */

struct drain {
    struct log_sink *s;
    pthread_t thread;
    struct nap nap;
    atomic_bool stop, idle;
    struct spool_hand hand;
    ath_piece piece[ATH_PIECES_MOST]; /* of it */
    struct log_unpacked events;
    uint64_t waited_ns, sampled_ns;           /* at the last look at the loops */
    uint64_t waits;                           /* of a thousand, since the look before */
    uint64_t figures_ms, adopted_ms, stop_ms; /* figures: when they were last written */
};

static uint64_t (*waited)(void *arg, uint32_t *ret_loops);
static void *waited_arg;

void log_pressure(uint64_t (*fn)(void *arg, uint32_t *ret_loops), void *arg)
{
    waited = fn;
    waited_arg = arg;
}

/* ---- how long to rest ---- */

static void sample(struct drain *d)
{
    uint64_t now = clock_ns(), ns, past = now - d->sampled_ns;
    uint32_t loops = 0;

    if (!waited || past < SAMPLE_MS * 1000000u)
        return;
    ns = waited(waited_arg, &loops);
    d->waits = loops && d->sampled_ns ? (ns - d->waited_ns) * 1000 / (past * loops) : 0;
    d->waited_ns = ns;
    d->sampled_ns = now;
}

/* Behind a batch of so many events, in ns, as things are now. */
static uint64_t rest_behind(struct drain *d, size_t events)
{
    uint64_t most = events * (1000000000u / FLOOR), waits, filled;
    struct spool_stats st;

    sample(d);
    waits = d->waits < HARD ? d->waits : HARD;
    most = waits < EASY ? 0 : most / (HARD - EASY) * (waits - EASY);
    spool_stats(d->s->spool, &st);
    filled = st.bytes * 1000 / st.most;
    return filled < 500 ? most : filled < 900 ? most / 400 * (900 - filled) : 0;
}

/* Large ones cost least, small ones are soon over. */
static uint64_t batch_of(struct drain *d)
{
    uint64_t most = rest_behind(d, 1) ? BATCH_UNDER : BATCH;

    return most < d->s->batch ? most : d->s->batch;
}

/* ---- one batch ---- */

static bool stopped(struct drain *d)
{
    return atomic_load(&d->stop);
}

static int deliver(struct drain *d, size_t n)
{
    int how = sink_deliver(d->s, &d->nap, d->events.view, n);

    if (n == 0 || !d->hand.again)
        d->figures_ms = clock_ms();
    sink_say_healed(d->s);
    return how;
}

static void give_up(struct drain *d)
{
    struct log_sink *s = d->s;

    atomic_fetch_add(&s->failed, d->events.n);
    for (size_t i = 0; i < d->events.n; i++)
        sink_count_lost(s, d->events.event[i].name, 1);
}

static void tell_begin(struct drain *d, uint32_t pieces)
{
    ath_batch b = { .size = sizeof(b),
                    .flags = d->hand.again ? ATH_BATCH_AGAIN : 0u,
                    .writer = str_of(d->hand.writer),
                    .piece = d->piece,
                    .piece_count = pieces };

    if (d->s->sink->begin)
        d->s->sink->begin(d->s->state, &b);
}

/* The events of what is in hand; how many pieces they are. */
static uint32_t hand_unpack(struct drain *d)
{
    uint32_t pieces = 0;

    log_unpack_begin(&d->events);
    for (uint32_t i = 0; i < d->hand.count; i++) {
        const struct spool_record *r = &d->hand.record[i];
        if (log_unpack(&d->events, r->body, r->kinds, r->events)) {
            d->piece[pieces++] = (ath_piece){ .number = r->number, .events = r->events };
            continue;
        }
        log_write(ATH_ERROR, "athena::log",
                  "spool of sink \"%s\": a record of %u events cannot be read", d->s->name,
                  r->events);
        atomic_fetch_add(&d->s->failed, r->events);
    }
    log_unpack_end(&d->events);
    return pieces;
}

/* False: the sink was stopped before they were sent. */
static bool send_hand(struct drain *d)
{
    uint32_t pieces = hand_unpack(d);

    if (pieces) {
        int how;
        tell_begin(d, pieces);
        how = deliver(d, d->events.n);
        if (how == NOT_YET)
            return false;
        if (how == GIVEN_UP)
            give_up(d);
    }
    spool_done(d->s->spool, &d->hand);
    return true;
}

/* ---- between batches ---- */

static void figures(struct drain *d)
{
    if (d->s->sink->taken && clock_ms() >= d->figures_ms + FIGURES_MS)
        deliver(d, 0);
}

static void rest(struct drain *d, size_t events)
{
    uint64_t rested = 0, want;

    while (!stopped(d) && rested < (want = rest_behind(d, events))) {
        uint64_t from = clock_ns(), ms = (want - rested) / 1000000u + 1;
        nap_take(&d->nap, ms < SLICE_MS ? ms : SLICE_MS);
        figures(d);
        rested += clock_ns() - from;
    }
}

static void adopt(struct drain *d)
{
    uint64_t now = clock_ms();

    if (d->adopted_ms && now < d->adopted_ms + ADOPT_MS)
        return;
    spool_adopt(d->s->spool);
    d->adopted_ms = now;
}

/* Until something is put, the sink is to be opened again, or it is time to look for what others
 * left. */
static void idle(struct drain *d)
{
    struct spool_stats st;

    atomic_store(&d->idle, true);
    spool_stats(d->s->spool, &st);
    if (d->events.fact_room > KEPT) {
        log_unpacked_free(&d->events);
        spool_hand_free(&d->hand);
    }
    if (!stopped(d) && st.events == 0)
        nap_take(&d->nap, ADOPT_MS);
    atomic_store(&d->idle, false);
    if (atomic_load(&d->s->reopen))
        deliver(d, 0);
}

static bool out_of_time(struct drain *d)
{
    if (stopped(d) && !d->stop_ms)
        d->stop_ms = clock_ms() + STOP_MS;
    return d->stop_ms && clock_ms() >= d->stop_ms;
}

static void *drain_run(void *arg)
{
    struct drain *d = arg;
    char name[16];
    bool stop;

    snprintf(name, sizeof(name), "%.11s-out", d->s->name);
    prctl(PR_SET_NAME, name);
    do {
        stop = stopped(d); /* before the look: what was put before it is sent */
        adopt(d);
        while (!out_of_time(d) && spool_next(d->s->spool, batch_of(d), &d->hand)) {
            if (!send_hand(d))
                return NULL;
            figures(d);
            rest(d, d->events.n);
        }
        if (!stop)
            idle(d);
    } while (!stop);
    if (d->s->sink->taken)
        deliver(d, 0); /* what belongs to batches that were sent */
    return NULL;
}

/* ---- life ---- */

static void count_one(void *arg, ath_str name, uint64_t n)
{
    struct log_sink *s = arg;

    atomic_fetch_add(&s->spooled_lost, n);
    sink_count_lost(s, name, n);
}

static void on_lost(void *arg, ath_str kinds)
{
    log_pack_count(kinds, count_one, arg);
}

static void drain_free(struct drain *d)
{
    spool_hand_free(&d->hand);
    log_unpacked_free(&d->events);
    nap_fini(&d->nap);
    free(d);
}

int drain_start(struct log_sink *s, const struct log_queue_options *o, ath_err *e)
{
    struct spool_options so = { .name = s->name,
                                .folder = o->spill_folder,
                                .bytes = o->spill_bytes,
                                .target = o->spill_target,
                                .lost = on_lost,
                                .arg = s };
    struct drain *d;
    int rc = spool_open(&so, &s->spool, e);

    if (rc < 0)
        return rc;
    d = MEM_NEW(struct drain);
    d->s = s;
    nap_init(&d->nap);
    if (log_thread_start(&d->thread, drain_run, d) != 0) {
        drain_free(d);
        spool_close(s->spool);
        s->spool = NULL;
        return err_fail(e, ATH_E_LIMIT, "could not start the thread of its spool");
    }
    s->drain = d;
    return 0;
}

void drain_wake(struct drain *d)
{
    if (atomic_exchange(&d->idle, false))
        nap_end(&d->nap);
}

void drain_stop(struct drain *d)
{
    atomic_store(&d->stop, true);
    nap_end(&d->nap);
    pthread_join(d->thread, NULL);
    drain_free(d);
}
