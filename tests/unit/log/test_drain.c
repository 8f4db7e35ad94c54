/* core/log: a sink with a spool: what is taken, kept, sent, and when. */
#include <dirent.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "log/log.h"
#include "support/check_main.h"

static void moment(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

#define WAIT_FOR(what) \
    for (int tries_ = 0; !(what); tries_++) { \
        if (tries_ == 10000) \
            ck_abort_msg("never: %s", #what); \
        moment(); \
    }

/* A sink that keeps what it got by batch. It is away while `rc` is not 0. */
static struct {
    atomic_int rc;
    atomic_uint events, taken, empty, again, largest, begun, pieces, expected, tries, lost;
    atomic_uint_fast64_t number, taken_number; /* the last ones */
    char writer[40], first_writer[40];
} box;

static int box_write(void *state, const ath_event *const *batch, size_t n, ath_err *e)
{
    (void)state;
    atomic_fetch_add(&box.tries, 1);
    if (box.rc)
        return err_fail(e, box.rc, "the box is shut");
    atomic_fetch_add(&box.empty, n == 0);
    ck_assert(n == 0 || n == box.expected);
    for (size_t i = 0; i < n; i++)
        ck_assert(str_is(batch[i]->name, "row") && batch[i]->fact_count == 1 &&
                  batch[i]->fact[0].value.n == 3);
    atomic_fetch_add(&box.events, (unsigned)n);
    if (n > box.largest)
        box.largest = (unsigned)n;
    return 0;
}

static void box_begin(void *state, const ath_batch *b)
{
    (void)state;
    atomic_fetch_add(&box.begun, 1);
    atomic_fetch_add(&box.pieces, b->piece_count);
    box.expected = 0;
    for (uint32_t i = 0; i < b->piece_count; i++) {
        ck_assert(!str_is(b->writer, box.writer) || b->piece[i].number > box.number);
        box.number = b->piece[i].number;
        box.expected += b->piece[i].events;
    }
    atomic_fetch_add(&box.again, (b->flags & ATH_BATCH_AGAIN) != 0);
    snprintf(box.writer, sizeof(box.writer), "%.*s", STR_ARG(b->writer));
}

static void box_taken(void *state, const ath_batch *b, const ath_event *const *event, size_t n)
{
    (void)state;
    (void)event;
    ck_assert_uint_eq(b->piece_count, 1);
    ck_assert_uint_eq(b->piece->number, box.taken_number + 1);
    ck_assert_uint_eq(b->piece->events, n);
    box.taken_number = b->piece->number;
    snprintf(box.first_writer, sizeof(box.first_writer), "%.*s", STR_ARG(b->writer));
    atomic_fetch_add(&box.taken, (unsigned)n);
}

static void box_lost(void *state, ath_str name, uint64_t n)
{
    (void)state;
    ck_assert(str_is(name, "row"));
    atomic_fetch_add(&box.lost, (unsigned)n);
}

static const ath_sink boxed = {
    ATH_CAP(ath_sink, ATH_CAP_SINK, "box"),
    .events = "row", .write = box_write, .begin = box_begin, .taken = box_taken, .lost = box_lost,
};

static char folder[64];
static struct log_sink *sink;

static void folder_make(void)
{
    snprintf(folder, sizeof(folder), "/tmp/athena-drain-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static int folder_empty(bool clear)
{
    DIR *d = opendir(folder);
    const struct dirent *one;
    char path[512];
    int n = 0;

    while ((one = readdir(d)))
        if (one->d_name[0] != '.') {
            n++;
            snprintf(path, sizeof(path), "%s/%s", folder, one->d_name);
            if (clear)
                unlink(path);
        }
    closedir(d);
    return n;
}

static void folder_remove(void)
{
    folder_empty(true);
    ck_assert_int_eq(rmdir(folder), 0);
}

static void up_with(uint64_t batch, uint64_t flush_ms)
{
    struct log_queue_options o = { .queue_events = 4096, .batch = batch, .flush_ms = flush_ms,
                                   .spill_bytes = SPOOL_LEAST, .spill_folder = folder };
    ath_err e;

    memset(&box, 0, sizeof(box));
    err_reset(&e);
    ck_assert_int_eq(log_sink_start("box", &boxed, &box, &o, &sink, &e), 0);
}

static void up(void)
{
    up_with(100, 1);
}

static void say(int n)
{
    ath_fact fact = { ATH_S("key"), ATH_S("abc"), ATH_V_TEXT, 0 };
    ath_event ev = { .size = sizeof(ev), .level = ATH_INFO, .flags = ATH_EV_ROW,
                     .source = ATH_S("test"), .name = ATH_S("row"), .fact = &fact,
                     .fact_count = 1 };

    for (int i = 0; i < n; i++)
        ck_assert_int_eq(log_event(&ev), 0);
}

static struct log_sink_stats stats(void)
{
    struct log_sink_stats st = { 0 };

    ck_assert_uint_eq(log_sink_stats(&st, 1), 1);
    ck_assert(st.spools);
    return st;
}

START_TEST(what_is_taken_comes_as_named_batches)
{
    folder_make();
    up();
    say(1000);
    WAIT_FOR(box.events == 1000);
    WAIT_FOR(stats().spool.events == 0);
    ck_assert_uint_eq(box.taken, 1000);
    ck_assert_uint_le(box.largest, 100);
    ck_assert_uint_eq(box.number, box.taken_number);
    ck_assert_uint_eq(box.pieces, box.number);
    ck_assert_str_eq(box.writer, box.first_writer);
    ck_assert_uint_eq(strlen(box.writer), 36);
    ck_assert_uint_eq(stats().written, 1000);
    log_sink_stop(sink);
    ck_assert_int_eq(folder_empty(false), 0);
    folder_remove();
}
END_TEST

START_TEST(while_the_target_is_away_events_wait_and_none_is_lost)
{
    folder_make();
    up();
    box.rc = ATH_E_RETRY;
    for (int i = 0; i < 20; i++) { /* far more than the queue holds */
        say(1000);
        WAIT_FOR(stats().waiting == 0);
    }
    WAIT_FOR(stats().spool.events == 20000); /* the last batch is between the queue and there */
    WAIT_FOR(box.tries >= 2);
    ck_assert(stats().paused);
    ck_assert_uint_eq(box.begun, 1); /* however often that one is tried */
    box.rc = 0;
    WAIT_FOR(box.events == 20000);
    WAIT_FOR(!stats().paused);
    ck_assert_uint_eq(stats().dropped + stats().failed + box.lost, 0);
    log_sink_stop(sink);
    folder_remove();
}
END_TEST

START_TEST(what_is_left_at_a_stop_comes_in_the_next_run)
{
    char before[40];

    folder_make();
    up();
    box.rc = ATH_E_RETRY;
    say(250);
    WAIT_FOR(box.tries > 0);
    log_sink_stop(sink); /* it is tried, and does not hold the stop up */
    ck_assert_uint_eq(box.lost, 0);
    ck_assert_int_eq(folder_empty(false), 1);
    snprintf(before, sizeof(before), "%s", box.first_writer);
    up();
    WAIT_FOR(box.events == 250);
    ck_assert_uint_eq(box.again, box.begun);
    ck_assert_str_eq(box.writer, before);
    ck_assert_uint_eq(box.taken, 0); /* that was in the run before */
    say(10);
    WAIT_FOR(box.events == 260);
    ck_assert_uint_le(box.number, 10);
    ck_assert_str_eq(box.writer, box.first_writer);
    ck_assert_str_ne(box.writer, before);
    log_sink_stop(sink);
    ck_assert_int_eq(folder_empty(false), 0);
    folder_remove();
}
END_TEST

START_TEST(a_batch_that_is_given_up_is_counted_and_the_next_ones_go_on)
{
    folder_make();
    up();
    box.rc = ATH_E_UPSTREAM;
    say(50);
    WAIT_FOR(stats().failed == 50);
    box.rc = 0;
    say(50);
    WAIT_FOR(box.events == 50);
    log_sink_stop(sink);
    ck_assert_uint_eq(box.lost, 50);
    folder_remove();
}
END_TEST

START_TEST(what_took_too_long_is_tried_again)
{
    folder_make();
    up();
    box.rc = ATH_E_TIMEOUT;
    say(50);
    WAIT_FOR(box.tries >= 2);
    box.rc = 0;
    WAIT_FOR(box.events == 50);
    ck_assert_uint_eq(stats().failed, 0);
    log_sink_stop(sink);
    folder_remove();
}
END_TEST

/* The loops wait for a processor as much as `share` of a thousand says. */
static atomic_uint share;

static uint64_t pressure(void *arg, uint32_t *ret_loops)
{
    static uint64_t ns, seen;
    uint64_t now = clock_ns();

    ck_assert_ptr_eq(arg, &share);
    ns += seen ? (now - seen) * share * 2 / 1000 : 0;
    seen = now;
    *ret_loops = 2;
    return ns;
}

START_TEST(under_pressure_events_wait_but_figures_do_not)
{
    uint64_t began = clock_ms();

    folder_make();
    share = 500;
    log_pressure(pressure, &share);
    up_with(4096, 100);
    for (int i = 0; i < 3; i++) { /* a record each */
        say(3000);
        WAIT_FOR(box.taken == 3000u * (unsigned)(i + 1));
    }
    WAIT_FOR(box.empty >= 2); /* each second */
    ck_assert_uint_lt(box.events, 9000);
    ck_assert_uint_le(box.events, 6000 + (clock_ms() - began)); /* 1000 a second */
    share = 0;
    began = clock_ms();
    WAIT_FOR(box.events == 9000);
    ck_assert_uint_lt(clock_ms() - began, 2000);
    log_sink_stop(sink);
    log_pressure(NULL, NULL);
    folder_remove();
}
END_TEST

START_TEST(a_stop_does_not_rest)
{
    folder_make();
    share = 1000;
    log_pressure(pressure, &share);
    up();
    say(4000);
    WAIT_FOR(box.taken == 4000);
    log_sink_stop(sink);
    ck_assert_uint_eq(box.events, 4000);
    ck_assert_int_eq(folder_empty(false), 0);
    log_pressure(NULL, NULL);
    folder_remove();
}
END_TEST

START_TEST(nearly_full_it_does_not_rest)
{
    static uint64_t text[512]; /* 4 kB that do not pack */
    ath_fact fact = { ATH_S("key"), ATH_S("abc"), ATH_V_TEXT, 0 };
    ath_event ev = { .size = sizeof(ev), .level = ATH_INFO, .flags = ATH_EV_ROW,
                     .source = ATH_S("test"), .name = ATH_S("row"), .fact = &fact,
                     .fact_count = 1, .message = { (char *)text, sizeof(text) } };
    uint64_t began = clock_ms(), took;
    unsigned sent;

    folder_make();
    share = 1000;
    log_pressure(pressure, &share);
    up();
    for (uint64_t i = 0; i < 16000; i++) { /* 64 MB through 16 */
        for (uint64_t k = 0; k < ATH_COUNT(text); k++)
            text[k] = (i * 7919 + k) * 0x9e3779b97f4a7c15u;
        while (stats().waiting > 1000)
            moment();
        ck_assert_int_eq(log_event(&ev), 0);
    }
    WAIT_FOR(box.taken == 16000);
    sent = box.events;
    took = clock_ms() - began;
    if (took < 4000) /* else as many would have come at the pace of a spool with room */
        ck_assert_uint_gt(sent, took * 3 / 2);
    share = 0;
    WAIT_FOR(stats().spool.events == 0);
    ck_assert_uint_eq(stats().dropped, 0);
    log_sink_stop(sink);
    ck_assert_uint_eq(box.events + box.lost, 16000);
    log_pressure(NULL, NULL);
    folder_remove();
}
END_TEST

START_TEST(a_spool_that_cannot_be_made_is_a_queue)
{
    struct log_queue_options o = { .flush_ms = 1, .spill_bytes = SPOOL_LEAST,
                                   .spill_folder = "/proc/no/folder" };
    struct log_sink_stats st;
    ath_err e;

    memset(&box, 0, sizeof(box));
    err_reset(&e);
    ck_assert_int_eq(log_sink_start("box", &boxed, &box, &o, &sink, &e), 0);
    say(100);
    WAIT_FOR(box.events == 100);
    log_sink_stats(&st, 1);
    ck_assert(!st.spools);
    ck_assert_uint_eq(box.taken, 100);
    ck_assert_uint_eq(box.pieces, box.number);
    log_sink_stop(sink);
}
END_TEST

SUITE("drain", what_is_taken_comes_as_named_batches,
      while_the_target_is_away_events_wait_and_none_is_lost,
      what_is_left_at_a_stop_comes_in_the_next_run,
      a_batch_that_is_given_up_is_counted_and_the_next_ones_go_on,
      what_took_too_long_is_tried_again, under_pressure_events_wait_but_figures_do_not,
      a_stop_does_not_rest, nearly_full_it_does_not_rest, a_spool_that_cannot_be_made_is_a_queue)
