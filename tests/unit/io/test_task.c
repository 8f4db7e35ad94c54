/* Tasks and operations: exactly once, later; the end, leaving, canceling; forks and background
 * work. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/stream.h"
#include "lib/text.h"
#include "support/check_main.h"

/* ---- a task of the test's own, whose end is noted ---- */

struct probe {
    ath_task task;
    int ended, rc, destroyed;
    ath_err err;
    uint64_t count;
    char bytes[64];
};

static ath_loop *l;
static unsigned open_probes;

static void maybe_stop(void)
{
    if (open_probes == 0)
        loop_stop(l);
}

static void probe_end(ath_task *t, int rc, const ath_err *e, const ath_done *result)
{
    struct probe *p = list_entry(t, struct probe, task);

    p->ended++;
    p->rc = rc;
    if (e)
        err_copy(&p->err, e);
    if (result) {
        p->count = result->count;
        snprintf(p->bytes, sizeof(p->bytes), "%.*s", STR_ARG(result->bytes));
    }
    task_unref(t);
}

static void probe_destroy(ath_task *t)
{
    struct probe *p = list_entry(t, struct probe, task);

    p->destroyed++;
    open_probes--;
    maybe_stop();
}

static const struct task_type probe_type = { .name = "probe", .end = probe_end, .destroy = probe_destroy };

static void setup(void)
{
    ath_err e;

    err_reset(&e);
    ck_assert_int_eq(loop_new(LOOP_WORK, 0, "work-0", &l, &e), 0);
    open_probes = 0;
}

static void probe_init(struct probe *p)
{
    *p = (struct probe){ 0 };
    task_init(&p->task, &probe_type, l, NULL, NULL);
    open_probes++;
}

static void finish(void)
{
    loop_run(l);
    ck_assert_uint_eq(task_alive(), 0);
    loop_free(l);
}

static void run_one(struct probe *p, ath_run *run, void *arg)
{
    setup();
    probe_init(p);
    task_run(&p->task, run, arg);
    finish();
    ck_assert_int_eq(p->destroyed, 1);
}

/* ---- exactly once, later ---- */

static unsigned calls;
static bool inside;

static int count_then(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    ck_assert(!inside);
    ck_assert_int_eq(d->rc, 0);
    ck_assert_ptr_eq(d->arg, &calls);
    if (++calls == 3)
        task_done(t, &(ath_done){ .size = sizeof(ath_done), .count = 42, .bytes = ATH_S("ok") });
    return 0;
}

static int three_at_once(ath_task *t, void *arg, ath_err *e)
{
    (void)arg, (void)e;
    inside = true;
    for (int i = 0; i < 3; i++)
        op_finish(op_new(t, count_then, &calls), 0); /* finished inside the call that starts it */
    inside = false;
    return 0;
}

START_TEST(a_continuation_runs_once_and_later)
{
    struct probe p;

    calls = 0;
    run_one(&p, three_at_once, NULL);
    ck_assert_uint_eq(calls, 3);
    ck_assert_int_eq(p.ended, 1);
    ck_assert_int_eq(p.rc, 0);
    ck_assert_uint_eq(p.count, 42);
    ck_assert_str_eq(p.bytes, "ok");
}
END_TEST

static int chain_then(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    if (++calls == 100000) {
        task_done(t, NULL);
        return 0;
    }
    op_finish(op_new(t, chain_then, d->arg), 0);
    return 0;
}

static int chain(ath_task *t, void *arg, ath_err *e)
{
    (void)e;
    op_finish(op_new(t, chain_then, arg), 0);
    return 0;
}

static size_t arena_used_at_end;
static void note_arena(void *arg)
{
    arena_used_at_end = ((ath_arena *)arg)->used;
}

static int chain_noting(ath_task *t, void *arg, ath_err *e)
{
    arena_own(&t->arena, &t->arena, note_arena);
    return chain(t, arg, e);
}

START_TEST(a_long_task_does_not_grow)
{
    struct probe p;

    calls = 0;
    run_one(&p, chain_noting, NULL);
    ck_assert_uint_eq(calls, 100000);
    ck_assert_uint_le(arena_used_at_end, 2048);
}
END_TEST

/* ---- failures ---- */

static int fails(ath_task *t, void *arg, ath_err *e)
{
    (void)t, (void)arg;
    return err_fail(e, ATH_E_INPUT, "no such thing \"%s\"", "x");
}

static int wordless(ath_task *t, void *arg, ath_err *e)
{
    (void)t, (void)arg, (void)e;
    return ATH_E_MISSING;
}

static int silent(ath_task *t, void *arg, ath_err *e)
{
    (void)t, (void)arg, (void)e;
    return 0;
}

START_TEST(a_negative_return_ends_the_task)
{
    struct probe p;

    run_one(&p, fails, NULL);
    ck_assert_int_eq(p.rc, ATH_E_INPUT);
    ck_assert_str_eq(err_get(&p.err, "message").p, "no such thing \"x\"");
    run_one(&p, wordless, NULL);
    ck_assert_int_eq(p.rc, ATH_E_MISSING);
    ck_assert_uint_gt(p.err.message_n, 0);
}
END_TEST

START_TEST(a_handler_that_never_answers_is_ended)
{
    struct probe p;

    run_one(&p, silent, NULL);
    ck_assert_int_eq(p.rc, ATH_E_BUG);
    ck_assert_ptr_nonnull(p.err.error);
    ck_assert_str_eq(p.err.error->code, "plugin_unanswered");
}
END_TEST

static int fail_op_then(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t;
    ck_assert_int_eq(d->rc, ATH_E_CONFLICT);
    ck_assert_str_eq(err_get(e, "message").p, "taken");
    return d->rc; /* the words are there already */
}

static int fail_op(ath_task *t, void *arg, ath_err *e)
{
    struct op *o = op_new(t, fail_op_then, NULL);

    (void)arg, (void)e;
    op_finish(o, err_fail(op_err(o), ATH_E_CONFLICT, "taken"));
    return 0;
}

START_TEST(an_operation_brings_its_error)
{
    struct probe p;

    run_one(&p, fail_op, NULL);
    ck_assert_int_eq(p.rc, ATH_E_CONFLICT);
    ck_assert_str_eq(err_get(&p.err, "message").p, "taken");
}
END_TEST

/* Ending twice, and an answer while others still run: they answer nobody. */
static int never_then(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t, (void)d, (void)e;
    ck_abort_msg("nobody waits for this");
    return 0;
}

static int answer_early(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    ck_assert_int_eq(task_after(t, 60000, never_then, NULL, e), 0);
    op_finish(op_new(t, never_then, NULL), 0);
    task_done(t, &(ath_done){ .size = sizeof(ath_done), .count = 1 });
    task_done(t, &(ath_done){ .size = sizeof(ath_done), .count = 2 });
    ck_assert_int_eq(task_after(t, 1, never_then, NULL, e), ATH_E_CANCELED);
    return ATH_E_BUG; /* too late */
}

START_TEST(a_task_ends_once)
{
    struct probe p;

    run_one(&p, answer_early, NULL);
    ck_assert_int_eq(p.ended, 1);
    ck_assert_int_eq(p.rc, 0);
    ck_assert_uint_eq(p.count, 1);
}
END_TEST

/* ---- leaving, canceling, deadlines ---- */

static int wait_long(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    return task_after(t, 60000, never_then, NULL, e);
}

static int fork_then_never(ath_task *t, void *arg, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = wait_long };

    (void)arg;
    ck_assert_int_eq(task_after(t, 60000, never_then, NULL, e), 0);
    return task_fork(t, &f, never_then, NULL, e);
}

static void leave_it(struct deadline *d);
static struct {
    struct deadline d;
    ath_task *t;
} leaver;

static void leave_it(struct deadline *d)
{
    (void)d;
    task_leave(leaver.t);
    task_unref(leaver.t);
}

START_TEST(leaving_stops_everything_below_and_calls_nobody)
{
    struct probe p;

    setup();
    probe_init(&p);
    leaver.t = &p.task;
    deadline_init(&leaver.d, leave_it);
    deadline_set(l, &leaver.d, loop_now_ms(l) + 30);
    task_run(&p.task, fork_then_never, NULL);
    finish();
    ck_assert_int_eq(p.ended, 0);
    ck_assert_int_eq(p.destroyed, 1);
}
END_TEST

static int canceled_then(ath_task *t, const ath_done *d, ath_err *e)
{
    ck_assert_int_eq(d->rc, ATH_E_CANCELED);
    ck_assert_uint_gt(err_get(e, "message").n, 0);
    calls++;
    if (d->arg == NULL) /* cleaning up has the grace time */
        return task_after(t, 20, count_then, &calls, e);
    return 0;
}

static void cancel_it(struct deadline *d)
{
    (void)d;
    task_cancel_all(l);
}

static int wait_and_clean(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    ck_assert_int_eq(task_after(t, 60000, canceled_then, NULL, e), 0);
    return task_after(t, 60000, canceled_then, &calls, e);
}

START_TEST(canceling_ends_operations_and_leaves_time_to_clean_up)
{
    struct probe p;
    uint64_t from = clock_ms();

    setup();
    probe_init(&p);
    calls = 0;
    deadline_init(&leaver.d, cancel_it);
    deadline_set(l, &leaver.d, loop_now_ms(l) + 20);
    task_run(&p.task, wait_and_clean, NULL);
    finish();
    ck_assert_int_eq(p.ended, 1);
    ck_assert_int_eq(p.rc, 0);
    ck_assert_uint_eq(calls, 3);
    ck_assert_uint_lt(clock_ms() - from, 5000);
}
END_TEST

static int with_deadline(ath_task *t, void *arg, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = wait_long };

    (void)arg;
    task_deadline(t, loop_now_ms(l) + 50);
    ck_assert_uint_le(task_left_ms(t), 50);
    return task_fork(t, &f, never_then, NULL, e);
}

START_TEST(a_deadline_ends_the_task_and_its_children)
{
    struct probe p;
    uint64_t from = clock_ms();

    run_one(&p, with_deadline, NULL);
    ck_assert_int_eq(p.rc, ATH_E_TIMEOUT);
    ck_assert_uint_ge(clock_ms() - from, 49);
    ck_assert_uint_lt(clock_ms() - from, 5000);
}
END_TEST

/* ---- forks ---- */

static int child_done(ath_task *t, const ath_done *d, ath_err *e)
{
    char text[32];

    (void)d, (void)e;
    snprintf(text, sizeof(text), "from child");
    task_done(t, &(ath_done){ .size = sizeof(ath_done), .count = 7, .bytes = str_of(text) });
    return 0;
}

static int child_run(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    return task_after(t, 10, child_done, NULL, e);
}

static int fork_ended(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    ck_assert_int_eq(d->rc, 0);
    task_done(t, &(ath_done){ .size = sizeof(ath_done), .count = d->count, .bytes = d->bytes });
    return 0;
}

static int fork_failed(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t;
    ck_assert_int_eq(d->rc, ATH_E_INPUT);
    ck_assert_str_eq(err_get(e, "message").p, "no such thing \"x\"");
    task_done(t, &(ath_done){ .size = sizeof(ath_done), .count = 5 });
    return 0;
}

static int fork_one(ath_task *t, void *arg, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = child_run };

    (void)arg;
    return task_fork(t, &f, fork_ended, NULL, e);
}

static int fork_bad(ath_task *t, void *arg, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = fails };

    (void)arg;
    return task_fork(t, &f, fork_failed, NULL, e);
}

START_TEST(a_fork_reports_to_its_parent)
{
    struct probe p;

    run_one(&p, fork_one, NULL);
    ck_assert_int_eq(p.rc, 0);
    ck_assert_uint_eq(p.count, 7);
    ck_assert_str_eq(p.bytes, "from child");
    run_one(&p, fork_bad, NULL); /* a child's failure is not its parent's */
    ck_assert_int_eq(p.rc, 0);
    ck_assert_uint_eq(p.count, 5);
}
END_TEST

/* What a fork is done with outlives it: a stream, and whatever its arena holds. */
static unsigned freed;
static void note_freed(void *arg)
{
    (void)arg;
    freed++;
}

static int giving_child(ath_task *t, void *arg, ath_err *e)
{
    ath_done d = { .size = sizeof(d),
                   .rows = arena_alloc(&t->arena, 16),
                   .stream = stream_open(t, 0) };

    (void)arg, (void)e;
    arena_own(&t->arena, NULL, note_freed);
    stream_push(d.stream, ATH_S("still here"));
    task_done(t, &d);
    return 0;
}

static int gift_read(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    ck_assert_int_eq(d->rc, 0);
    ck_assert_uint_eq(freed, 0);
    task_done(t, &(ath_done){ .size = sizeof(ath_done), .bytes = d->bytes });
    return 0;
}

static int gift_taken(ath_task *t, const ath_done *d, ath_err *e)
{
    return stream_read(t, d->stream, gift_read, NULL, e);
}

static int fork_gift(ath_task *t, void *arg, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = giving_child };

    (void)arg;
    return task_fork(t, &f, gift_taken, NULL, e);
}

START_TEST(what_a_fork_is_done_with_moves_to_its_parent)
{
    struct probe p;

    freed = 0;
    run_one(&p, fork_gift, NULL);
    ck_assert_str_eq(p.bytes, "still here");
    ck_assert_uint_eq(freed, 1);
}
END_TEST

/* ---- another loop ---- */

static ath_loop *other;

static int far_run(ath_task *t, void *arg, ath_err *e)
{
    ck_assert_ptr_eq(loop_current(), other);
    ck_assert_ptr_eq(arg, &calls);
    return child_run(t, arg, e);
}

static int fork_far(ath_task *t, void *arg, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = far_run, .flags = ATH_FORK_SPREAD, .arg = &calls };

    (void)arg;
    return task_fork(t, &f, fork_ended, NULL, e);
}

static int fork_far_long(ath_task *t, void *arg, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = wait_long, .flags = ATH_FORK_SPREAD };

    (void)arg;
    return task_fork(t, &f, never_then, NULL, e);
}

static void start_other(void)
{
    ath_err e;

    err_reset(&e);
    ck_assert_int_eq(loop_new(LOOP_WORK, 1, "work-1", &other, &e), 0);
    ck_assert_int_eq(loop_start(other, &e), 0);
    task_loops(&other, 1);
}

static void stop_other(void)
{
    loop_stop(other);
    loop_join(other);
    loop_free(other);
    task_loops(NULL, 0);
}

START_TEST(a_fork_may_run_on_another_loop)
{
    struct probe p;

    start_other();
    run_one(&p, fork_far, NULL);
    ck_assert_uint_eq(p.count, 7);
    ck_assert_str_eq(p.bytes, "from child");

    setup();
    probe_init(&p);
    leaver.t = &p.task;
    deadline_init(&leaver.d, leave_it);
    deadline_set(l, &leaver.d, loop_now_ms(l) + 30);
    task_run(&p.task, fork_far_long, NULL);
    finish(); /* only once the far half has gone, too */
    ck_assert_int_eq(p.destroyed, 1);
    stop_other();
}
END_TEST

static atomic_uint begun;

static int begin_done(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)d, (void)e;
    atomic_fetch_add(&begun, 1);
    task_done(t, NULL);
    return 0;
}

static int begin_run(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    return task_after(t, 1, begin_done, NULL, e);
}

static void *beginner(void *arg)
{
    ath_fork f = { .size = sizeof(f), .run = begin_run };

    (void)arg;
    for (int i = 0; i < 100; i++)
        task_begin(NULL, NULL, &f);
    return NULL;
}

START_TEST(background_tasks_begin_from_any_thread)
{
    pthread_t thread[3];

    start_other();
    for (int i = 0; i < 3; i++)
        pthread_create(&thread[i], NULL, beginner, NULL);
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    ck_assert_uint_le(task_alive(), 300);
    for (int i = 0; task_alive() && i < 500; i++)
        uv_sleep(10);
    ck_assert_uint_eq(task_alive(), 0);
    ck_assert_uint_eq(begun, 300);
    stop_other();
}
END_TEST

/* ---- work, a private folder ---- */

static char work_dir[256];

static int blocking(ath_task *t, void *arg, ath_err *e)
{
    (void)t;
    ck_assert_ptr_null(loop_current());
    if (arg)
        return err_fail(e, ATH_E_MISSING, "could not find it");
    return 0;
}

static int second_work(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t, (void)e;
    ck_assert_int_eq(d->rc, ATH_E_MISSING);
    return d->rc;
}

static int first_work(ath_task *t, const ath_done *d, ath_err *e)
{
    ck_assert_int_eq(d->rc, 0);
    return task_work(t, blocking, second_work, work_dir, e);
}

static int do_work(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    snprintf(work_dir, sizeof(work_dir), "%s", task_dir(t).p);
    ck_assert_int_eq(access(work_dir, W_OK), 0);
    ck_assert_ptr_eq(task_dir(t).p, task_dir(t).p);
    return task_work(t, blocking, first_work, NULL, e);
}

START_TEST(work_runs_beside_the_loop_and_the_folder_goes_with_the_task)
{
    struct probe p;

    run_one(&p, do_work, NULL);
    ck_assert_int_eq(p.rc, ATH_E_MISSING);
    ck_assert_str_eq(err_get(&p.err, "message").p, "could not find it");
    ck_assert_int_ne(access(work_dir, F_OK), 0);
}
END_TEST

SUITE("task", a_continuation_runs_once_and_later, a_long_task_does_not_grow,
      a_negative_return_ends_the_task, a_handler_that_never_answers_is_ended,
      an_operation_brings_its_error, a_task_ends_once,
      leaving_stops_everything_below_and_calls_nobody,
      canceling_ends_operations_and_leaves_time_to_clean_up,
      a_deadline_ends_the_task_and_its_children, a_fork_reports_to_its_parent,
      what_a_fork_is_done_with_moves_to_its_parent, a_fork_may_run_on_another_loop,
      background_tasks_begin_from_any_thread,
      work_runs_beside_the_loop_and_the_folder_goes_with_the_task)
