/* core/plugin: sinks whose batches are tasks on a work loop. */
#include <unistd.h>

#include "base/clock.h"
#include "io/task.h"
#include "log/log.h"
#include "plugin/sender.h"
#include "support/check_main.h"

enum mode { KEEPS, RETRIES, FAILS, HANGS, FORGETS };

/* A sink that writes down what it got, each batch by a task that waits a little. */
struct box {
    atomic_int mode, batches, running, opened, closed;
    atomic_uint events, most;
    char last[64];
};

static struct box box;
static ath_loop *loop;
static ath_self self = { .name = "sink-box" };
static struct sender *sender;
static struct log_sink *sink;

static int sent(ath_task *t, const ath_done *d, ath_err *e)
{
    int mode = box.mode;

    atomic_fetch_sub(&box.running, 1);
    if (d->rc < 0)
        return d->rc;
    if (mode != KEEPS)
        return err_fail(e, mode == RETRIES ? ATH_E_RETRY : ATH_E_UPSTREAM, "the box is shut");
    task_done(t, NULL);
    return 0;
}

static int box_send(ath_task *t, const ath_event *const *batch, size_t n, ath_err *e)
{
    int running = atomic_fetch_add(&box.running, 1);

    ck_assert_int_eq(running, 0); /* one after the other */
    ck_assert_ptr_eq(loop_current(), loop);
    atomic_fetch_add(&box.batches, 1);
    if (box.mode == KEEPS) {
        atomic_fetch_add(&box.events, (unsigned)n);
        snprintf(box.last, sizeof(box.last), "%.*s", STR_ARG(batch[n - 1]->message));
    }
    if (box.mode == FORGETS) {
        atomic_fetch_sub(&box.running, 1);
        return 0;
    }
    return task_after(t, box.mode == HANGS ? 3600000 : 5, sent, NULL, e);
}

static int box_open(void *state, ath_err *e)
{
    (void)e;
    ck_assert_ptr_eq(state, &box);
    atomic_fetch_add(&box.opened, 1);
    return 0;
}

static void box_close(void *state)
{
    (void)state;
    atomic_fetch_add(&box.closed, 1);
}

static const ath_sink boxed = {
    .events = "*", .open = box_open, .close = box_close, .send = box_send
};

static void up(enum mode mode)
{
    struct log_queue_options o = { .queue_events = 1024, .batch = 10, .flush_ms = 1 };
    ath_err e;

    box = (struct box){ .mode = mode };
    ck_assert_int_eq(loop_new(LOOP_WORK, 0, "work", &loop, &e), 0);
    ck_assert_int_eq(loop_start(loop, &e), 0);
    task_loops(&loop, 1);
    sender = sender_new(&self, &boxed, &box);
    ck_assert_int_eq(log_sink_start("box", sender_sink(sender), sender, &o, &sink, &e), 0);
}

static void down(void)
{
    log_sink_stop(sink);
    sender_free(sender);
    ck_assert_int_eq(box.opened, 1);
    ck_assert_int_eq(box.closed, 1);
    ck_assert_uint_eq(senders_alive(), 0);
    loop_stop(loop);
    loop_join(loop);
    loop_free(loop);
}

static void say(int n)
{
    for (int i = 0; i < n; i++)
        log_write(ATH_INFO, "athena::test", "event %d", i);
}

static struct log_sink_stats stats(void)
{
    struct log_sink_stats st = { 0 };

    ck_assert_uint_eq(log_sink_stats(&st, 1), 1);
    return st;
}

/* Until what `field` counts is `n`. */
#define UNTIL(field, n)                                                                            \
    do {                                                                                           \
        for (int i_ = 0; i_ < 500 && stats().field != (n); i_++)                                   \
            usleep(10000);                                                                         \
        ck_assert_uint_eq(stats().field, (n));                                                     \
    } while (0)

START_TEST(batches_are_tasks_one_after_the_other)
{
    up(KEEPS);
    say(200);
    UNTIL(written, 200);
    ck_assert_int_ge(box.batches, 20);
    ck_assert_str_eq(box.last, "event 199");
    down();
}
END_TEST

START_TEST(the_same_batch_comes_again)
{
    up(RETRIES);
    say(5);
    for (int i = 0; i < 500 && box.batches < 3; i++)
        usleep(10000);
    ck_assert_int_ge(box.batches, 3);
    ck_assert(stats().paused);
    ck_assert_uint_eq(stats().written, 0);
    box.mode = KEEPS;
    for (int i = 0; i < 500 && stats().written < 6; i++)
        usleep(10000);
    ck_assert_uint_ge(stats().written, 6); /* that it was paused, too; and that it writes again */
    ck_assert_uint_eq(stats().failed, 0);
    down();
}
END_TEST

START_TEST(what_fails_or_never_answers_is_lost_and_counted)
{
    up(FAILS);
    say(5);
    UNTIL(failed, 6); /* and that it was paused */
    box.mode = FORGETS;
    say(1);
    UNTIL(failed, 7);
    ck_assert_uint_eq(stats().written, 0);
    down();
}
END_TEST

START_TEST(a_stop_sends_what_waits)
{
    up(KEEPS);
    say(300);
    log_sink_finish(sink);
    say(5); /* comes too late */
    for (int i = 0; i < 500 && !log_sink_finished(sink); i++)
        usleep(10000);
    ck_assert(log_sink_finished(sink));
    ck_assert_uint_eq(box.events, 300);
    down();
}
END_TEST

/* The database is gone, and the task waits for it: the stop does not. */
START_TEST(a_task_that_hangs_does_not_hang_the_stop)
{
    uint64_t from;

    up(HANGS);
    say(300);
    for (int i = 0; i < 500 && !box.running; i++)
        usleep(10000);
    log_sink_finish(sink);
    usleep(50000);
    ck_assert(!log_sink_finished(sink));
    task_cancel_all(loop); /* which is not meant for it */
    usleep(50000);
    ck_assert(!log_sink_finished(sink));
    from = clock_ms();
    sender_cut(sender);
    for (int i = 0; i < 500 && !log_sink_finished(sink); i++)
        usleep(10000);
    ck_assert_uint_lt(clock_ms() - from, 1000);
    ck_assert_int_eq(box.batches, 1);
    down();
}
END_TEST

SUITE("plugin sender", batches_are_tasks_one_after_the_other, the_same_batch_comes_again,
      what_fails_or_never_answers_is_lost_and_counted, a_stop_sends_what_waits,
      a_task_that_hangs_does_not_hang_the_stop)
