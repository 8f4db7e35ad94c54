/* Checks in the background: what they say is kept, however they end; none waits for another. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/err.h"
#include "control/probe.h"
#include "io/task.h"
#include "support/check_main.h"

static atomic_int runs, at_once, most_at_once;
static atomic_bool healed;

static int good(ath_task *t, void *arg, ath_err *e)
{
    ath_done d = { .size = sizeof(d), .bytes = ATH_S("3 of \"3\" there") };

    (void)e;
    ck_assert_ptr_null(arg);
    atomic_fetch_add(&runs, 1);
    task_done(t, &d);
    return 0;
}

static int bad(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    if (!atomic_load(&healed))
        return err_fail(e, ATH_E_UPSTREAM, "bucket \"b\" is not there");
    task_done(t, NULL);
    return 0;
}

static int end(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    atomic_fetch_sub(&at_once, 1);
    if (d->rc < 0)
        return d->rc;
    task_done(t, NULL);
    return 0;
}

/* Slower than its own pace. */
static int slow(ath_task *t, void *arg, ath_err *e)
{
    int now = atomic_fetch_add(&at_once, 1) + 1;

    (void)arg;
    if (now > atomic_load(&most_at_once))
        atomic_store(&most_at_once, now);
    return task_after(t, 400, end, NULL, e);
}

static int forgetful(ath_task *t, void *arg, ath_err *e) /* neither ends nor waits */
{
    (void)t, (void)arg, (void)e;
    return 0;
}

static const ath_check checks[] = {
    { ATH_CAP(ath_check, ATH_CAP_CHECK, "good"), .summary = "Is good.", .run = good, .every_ms = 100 },
    { ATH_CAP(ath_check, ATH_CAP_CHECK, "bad"), .summary = "Is bad.", .run = bad, .every_ms = 100 },
    { ATH_CAP(ath_check, ATH_CAP_CHECK, "slow"), .summary = "Is slow.", .run = slow, .every_ms = 100 },
    { ATH_CAP(ath_check, ATH_CAP_CHECK, "forgetful"), .run = forgetful, .every_ms = 60000 },
};

static ath_loop *l;

static void start(size_t first, size_t n)
{
    struct probe_check list[ATH_COUNT(checks)];
    ath_err e;

    err_reset(&e);
    for (size_t i = 0; i < n; i++)
        list[i] = (struct probe_check){ &checks[first + i], NULL, "routes-x" };
    ck_assert_int_eq(loop_new(LOOP_WORK, 0, "work-0", &l, &e), 0);
    ck_assert_int_eq(loop_start(l, &e), 0);
    probe_start(&(struct probe_options){ .home = l, .check = list, .checks = n });
}

static void stop(void)
{
    probe_drain();
    for (int i = 0; i < 500 && task_alive(); i++)
        usleep(10000);
    ck_assert_uint_eq(task_alive(), 0);
    loop_stop(l);
    loop_join(l);
    loop_free(l);
    probe_stop();
}

static bool says(const char *piece, void (*put)(struct buf *b))
{
    struct buf b = BUF_HEAP;
    bool yes;

    put(&b);
    yes = strstr(b.p, piece) != NULL;
    buf_free(&b);
    return yes;
}

static void wait_until_says(const char *piece)
{
    for (int i = 0; i < 500; i++) {
        if (says(piece, probe_checks_json))
            return;
        usleep(10000);
    }
    ck_abort_msg("never: %s", piece);
}

START_TEST(what_they_said_last_is_kept)
{
    atomic_store(&healed, false);
    start(0, 2);
    wait_until_says("\"name\":\"good\",\"plugin\":\"routes-x\",\"summary\":\"Is good.\",\"ok\":true,"
                    "\"message\":\"3 of \\\"3\\\" there\",\"took_ms\":");
    wait_until_says("\"ok\":false,\"message\":\"bucket \\\"b\\\" is not there\"");
    ck_assert(says("{\"total\":2,\"ok\":1,\"failing\":1,\"unknown\":0}", probe_checks_summary));
    atomic_store(&healed, true);
    wait_until_says("\"name\":\"bad\",\"plugin\":\"routes-x\",\"summary\":\"Is bad.\",\"ok\":true");
    ck_assert(says("{\"total\":2,\"ok\":2,\"failing\":0,\"unknown\":0}", probe_checks_summary));
    stop();
}
END_TEST

START_TEST(a_slow_one_never_runs_twice_at_once_and_delays_nobody)
{
    int before;

    atomic_store(&runs, 0);
    start(0, 3);
    for (int i = 0; i < 500 && !atomic_load(&at_once); i++)
        usleep(10000);
    before = atomic_load(&runs);
    wait_until_says("\"name\":\"slow\",\"plugin\":\"routes-x\",\"summary\":\"Is slow.\",\"ok\":true");
    ck_assert_int_gt(atomic_load(&runs), before + 1);
    ck_assert_int_eq(atomic_load(&most_at_once), 1);
    stop();
}
END_TEST

START_TEST(one_that_never_ends_is_said_to_be_broken)
{
    start(3, 1);
    wait_until_says("\"ok\":false,\"message\":\"plugin \\\"core\\\" neither answered nor started anything");
    stop();
}
END_TEST

START_TEST(a_drain_is_no_failure)
{
    start(2, 1);
    for (int i = 0; i < 500 && !atomic_load(&at_once); i++)
        usleep(10000);
    probe_drain();
    for (int i = 0; i < 500 && task_alive(); i++)
        usleep(10000);
    ck_assert(says("\"ok\":null", probe_checks_json));
    stop();
}
END_TEST

SUITE("checks", what_they_said_last_is_kept, a_slow_one_never_runs_twice_at_once_and_delays_nobody,
      one_that_never_ends_is_said_to_be_broken, a_drain_is_no_failure)
