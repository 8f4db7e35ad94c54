/* Streams: back-pressure in both directions, ends, readers and writers that go. */
#include <stdlib.h>

#include "io/stream.h"
#include "lib/text.h"
#include "support/check_main.h"

enum { LIMIT = 1000, PIECE = 400, TOTAL = 400000 };

static ath_loop *l;
static unsigned open_tasks;
static int end_rc[4];

struct probe {
    ath_task task;
    int which;
};

static void probe_end(ath_task *t, int rc, const ath_err *e, const ath_done *result)
{
    (void)e, (void)result;
    end_rc[list_entry(t, struct probe, task)->which] = rc;
    task_unref(t);
}

static void probe_destroy(ath_task *t)
{
    (void)t;
    if (--open_tasks == 0)
        loop_stop(l);
}

static const struct task_type probe_type = { .name = "probe", .end = probe_end, .destroy = probe_destroy };

static void setup(void)
{
    ath_err e;

    err_reset(&e);
    ck_assert_int_eq(loop_new(LOOP_WORK, 0, "work-0", &l, &e), 0);
    open_tasks = 0;
}

static void finish(void)
{
    loop_run(l);
    ck_assert_uint_eq(task_alive(), 0);
    loop_free(l);
}

static void start(struct probe *p, int which, ath_run *run, void *arg)
{
    p->which = which;
    end_rc[which] = 1;
    open_tasks++;
    task_init(&p->task, &probe_type, l, NULL, NULL);
    task_run(&p->task, run, arg);
}

/* ---- plugin writes, plugin reads; whichever is slower sets the pace ---- */

static struct {
    ath_stream *s;
    uint64_t written, read, most;
    unsigned read_pause_ms, write_pause_ms;
    char piece[PIECE];
} pipe_;

static int write_next(ath_task *t, const ath_done *d, ath_err *e);
static int read_next(ath_task *t, const ath_done *d, ath_err *e);

static void note_most(void)
{
    if (pipe_.written - pipe_.read > pipe_.most)
        pipe_.most = pipe_.written - pipe_.read;
}

static int write_one(ath_task *t, ath_err *e)
{
    for (size_t i = 0; i < PIECE; i++)
        pipe_.piece[i] = (char)((pipe_.written + i) % 251);
    pipe_.written += PIECE;
    note_most();
    return stream_write(t, pipe_.s, str_from(pipe_.piece, PIECE), write_next, NULL, e);
}

static int write_paused(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : write_one(t, e);
}

static int write_next(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc < 0)
        return d->rc;
    if (pipe_.written == TOTAL) {
        stream_close(pipe_.s, 0);
        task_done(t, NULL);
        return 0;
    }
    if (pipe_.write_pause_ms && pipe_.written % 40000 == 0)
        return task_after(t, pipe_.write_pause_ms, write_paused, NULL, e);
    return write_one(t, e);
}

static int read_paused(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : stream_read(t, pipe_.s, read_next, NULL, e);
}

static int read_next(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc < 0)
        return d->rc;
    if (d->bytes.n == 0) {
        task_done(t, NULL);
        return 0;
    }
    for (size_t i = 0; i < d->bytes.n; i++)
        if (d->bytes.p[i] != (char)((pipe_.read + i) % 251))
            ck_abort_msg("byte %zu is another one", (size_t)pipe_.read + i);
    pipe_.read += d->bytes.n;
    ck_assert_uint_eq(d->count, pipe_.read);
    if (pipe_.read_pause_ms && pipe_.read % 40000 < PIECE)
        return task_after(t, pipe_.read_pause_ms, read_paused, NULL, e);
    return stream_read(t, pipe_.s, read_next, NULL, e);
}

static int run_writer(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    return write_one(t, e);
}

static int run_reader(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    return stream_read(t, pipe_.s, read_next, NULL, e);
}

static int writer_over(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t, (void)e;
    return d->rc;
}

static int reader_over(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    if (d->rc == 0)
        task_done(t, NULL);
    return d->rc;
}

static int run_both(ath_task *t, void *arg, ath_err *e)
{
    ath_fork w = { .size = sizeof(w), .run = run_writer },
             r = { .size = sizeof(r), .run = run_reader };

    (void)arg;
    pipe_.s = stream_open(t, LIMIT);
    ck_assert_int_eq(task_fork(t, &w, writer_over, NULL, e), 0);
    return task_fork(t, &r, reader_over, NULL, e);
}

static void through(unsigned read_pause_ms, unsigned write_pause_ms)
{
    struct probe p;

    memset(&pipe_, 0, sizeof(pipe_));
    pipe_.read_pause_ms = read_pause_ms;
    pipe_.write_pause_ms = write_pause_ms;
    setup();
    start(&p, 0, run_both, NULL);
    finish();
    ck_assert_int_eq(end_rc[0], 0);
    ck_assert_uint_eq(pipe_.read, TOTAL);
    ck_assert_uint_le(pipe_.most, LIMIT + 2 * PIECE);
}

START_TEST(the_slower_side_sets_the_pace)
{
    through(0, 0);
    through(5, 0);
    through(0, 5);
}
END_TEST

/* ---- both sides in the core ---- */

static struct {
    ath_stream *s;
    ath_task *t;
    uint64_t made, taken, most;
    unsigned rooms, drops;
    bool inside;
} core;

static void produce(void)
{
    char piece[PIECE];

    memset(piece, 'x', sizeof(piece));
    while (core.made < TOTAL && !stream_full(core.s)) {
        core.made += PIECE;
        stream_push(core.s, str_from(piece, PIECE));
        if (core.made - core.taken > core.most)
            core.most = core.made - core.taken;
    }
    if (core.made == TOTAL) {
        stream_produce(core.s, NULL, NULL);
        stream_end(core.s, 0);
    }
}

static void on_room(ath_stream *s, void *impl)
{
    ck_assert_ptr_eq(s, core.s);
    ck_assert_ptr_eq(impl, &core);
    ck_assert(!core.inside);
    core.inside = true;
    core.rooms++;
    produce();
    core.inside = false;
}

static void on_drop(ath_stream *s, void *impl)
{
    (void)s, (void)impl;
    core.drops++;
}

static void on_data(ath_stream *s, void *impl)
{
    ath_str b = stream_peek(s);
    int rc;

    ck_assert_ptr_null(impl);
    ck_assert(!core.inside);
    core.inside = true;
    if (b.n) {
        size_t n = b.n > 300 ? b.n - 150 : b.n; /* leaves some */
        core.taken += n;
        stream_take(s, n);
    }
    core.inside = false;
    if (stream_ended(s, &rc)) {
        ck_assert_int_eq(rc, 0);
        ck_assert_uint_eq(stream_moved(s), TOTAL);
        task_done(core.t, NULL);
    } else if (stream_peek(s).n) {
        stream_consume(s, on_data, NULL); /* asks again */
    }
}

static const struct stream_producer core_producer = { on_room, on_drop };

static int run_core(ath_task *t, void *arg, ath_err *e)
{
    (void)arg, (void)e;
    core.t = t;
    core.s = stream_open(t, LIMIT);
    t->held = 1;
    stream_produce(core.s, &core_producer, &core);
    stream_consume(core.s, on_data, NULL);
    produce();
    return 0;
}

START_TEST(two_hooked_sides_feed_each_other_without_recursion)
{
    struct probe p;

    memset(&core, 0, sizeof(core));
    setup();
    start(&p, 0, run_core, NULL);
    finish();
    ck_assert_int_eq(end_rc[0], 0);
    ck_assert_uint_eq(core.taken, TOTAL);
    ck_assert_uint_le(core.most, LIMIT + PIECE);
    ck_assert_uint_gt(core.rooms, 100);
    ck_assert_uint_eq(core.drops, 0);
}
END_TEST

/* ---- a side that goes ---- */

static int read_once(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    ck_assert_int_eq(d->rc, 0);
    ck_assert_uint_gt(d->bytes.n, 0);
    task_done(t, NULL); /* and never reads the rest */
    return 0;
}

static int run_short_reader(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    return stream_read(t, pipe_.s, read_once, NULL, e);
}

static int reader_left(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t, (void)e;
    return d->rc;
}

static int writer_canceled(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    ck_assert_int_eq(d->rc, ATH_E_CANCELED);
    ck_assert_uint_lt(pipe_.written, TOTAL);
    task_done(t, NULL);
    return 0;
}

static int run_leaving_reader(ath_task *t, void *arg, ath_err *e)
{
    ath_fork w = { .size = sizeof(w), .run = run_writer };
    ath_fork r = { .size = sizeof(r), .run = run_short_reader };

    (void)arg;
    memset(&pipe_, 0, sizeof(pipe_));
    pipe_.s = stream_open(t, LIMIT);
    ck_assert_int_eq(task_fork(t, &w, writer_canceled, NULL, e), 0);
    return task_fork(t, &r, reader_left, NULL, e);
}

START_TEST(a_reader_that_goes_cancels_the_writer)
{
    struct probe p;

    setup();
    start(&p, 0, run_leaving_reader, NULL);
    finish();
    ck_assert_int_eq(end_rc[0], 0);
}
END_TEST

static int write_and_fail(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    pipe_.written = TOTAL - PIECE;
    (void)write_one(t, e);
    return err_fail(e, ATH_E_UPSTREAM, "the source broke");
}

static int expect_failure(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc == 0 && d->bytes.n)
        return stream_read(t, pipe_.s, expect_failure, NULL, e);
    ck_assert_int_eq(d->rc, ATH_E_UPSTREAM); /* a cut stream never looks complete */
    task_done(t, NULL);
    return 0;
}

static int writer_failed(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t, (void)e;
    ck_assert_int_eq(d->rc, ATH_E_UPSTREAM);
    return 0;
}

static int run_failing_writer(ath_task *t, void *arg, ath_err *e)
{
    ath_fork w = { .size = sizeof(w), .run = write_and_fail };

    (void)arg;
    memset(&pipe_, 0, sizeof(pipe_));
    pipe_.s = stream_open(t, LIMIT);
    ck_assert_int_eq(task_fork(t, &w, writer_failed, NULL, e), 0);
    return stream_read(t, pipe_.s, expect_failure, NULL, e);
}

START_TEST(a_writer_that_fails_ends_the_stream_with_its_code)
{
    struct probe p;

    setup();
    start(&p, 0, run_failing_writer, NULL);
    finish();
    ck_assert_int_eq(end_rc[0], 0);
}
END_TEST

/* The task that owns a stream ends: the core's producer learns that nobody reads on, and somebody
 * else who waits for it gets the failure. */
static int run_owner(ath_task *t, void *arg, ath_err *e)
{
    (void)arg, (void)e;
    memset(&core, 0, sizeof(core));
    core.s = pipe_.s = stream_open(t, LIMIT);
    stream_produce(core.s, &core_producer, &core);
    t->held = 1;
    return 0;
}

static int expect_cancel(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    ck_assert_int_eq(d->rc, ATH_E_CANCELED);
    task_done(t, NULL);
    return 0;
}

static int run_waiter(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    return stream_read(t, pipe_.s, expect_cancel, NULL, e);
}

static void end_owner(void *arg)
{
    task_end(arg, 0, NULL, NULL);
}

START_TEST(an_owner_that_ends_tells_both_sides)
{
    struct probe owner, waiter;

    setup();
    start(&owner, 0, run_owner, NULL);
    start(&waiter, 1, run_waiter, NULL);
    loop_post(l, end_owner, &owner.task);
    finish();
    ck_assert_int_eq(end_rc[1], 0);
    ck_assert_uint_eq(core.drops, 1);
}
END_TEST

static int read_drops(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    ck_assert_uint_gt(d->bytes.n, 0);
    stream_close(core.s, 0); /* by the reader, since the core produces */
    ck_assert_uint_eq(core.drops, 1);
    task_done(t, NULL);
    return 0;
}

static int run_closer(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    memset(&core, 0, sizeof(core));
    core.s = stream_open(t, LIMIT);
    stream_produce(core.s, &core_producer, &core);
    produce();
    ck_assert_int_eq(stream_write(t, core.s, ATH_S("x"), read_drops, NULL, e), ATH_E_BUG);
    return stream_read(t, core.s, read_drops, NULL, e);
}

START_TEST(a_reader_may_end_what_the_core_produces)
{
    struct probe p;

    setup();
    start(&p, 0, run_closer, NULL);
    finish();
    ck_assert_int_eq(end_rc[0], 0);
}
END_TEST

SUITE("stream", the_slower_side_sets_the_pace, two_hooked_sides_feed_each_other_without_recursion,
      a_reader_that_goes_cancels_the_writer, a_writer_that_fails_ends_the_stream_with_its_code,
      an_owner_that_ends_tells_both_sides, a_reader_may_end_what_the_core_produces)
