/* core/jobs: ticks that work, fail, take long, are shut off, are drained; keys of locks. A loop in a
 * thread, workers of the test's own. */
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "jobs/locks.h"
#include "jobs/ticks.h"
#include "lib/buf.h"
#include "lib/jsonread.h"
#include "log/metric.h"
#include "support/check_main.h"

static atomic_int ran, running, overlaps, reject, canceled;
static int32_t open_gate = 1, shut_gate;
static uint64_t period = 100, takes;
static ath_loop *loop;

static int over(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    atomic_fetch_sub(&running, 1);
    if (d->rc == ATH_E_CANCELED)
        atomic_fetch_add(&canceled, 1);
    if (d->rc < 0)
        return d->rc;
    task_done(t, NULL);
    return 0;
}

static int tick(ath_job *t, ath_err *e)
{
    atomic_fetch_add(&ran, 1);
    if (atomic_load(&reject))
        return err_fail(e, ATH_E_UPSTREAM, "the \"database\" is away");
    if (atomic_fetch_add(&running, 1) > 0)
        atomic_fetch_add(&overlaps, 1);
    return task_after(t, takes, over, NULL, e);
}

static void pace(const void *config, ath_pace *p)
{
    ck_assert_ptr_null(config);
    p->poll_ms = period;
}

static const void *no_config(const ath_self *self)
{
    (void)self;
    return NULL;
}

static const ath_worker plain = { ATH_CAP(ath_worker, ATH_CAP_WORKER, "plain"), .family = "test",
                                  .pace = pace, .run = tick };
static const ath_worker single = { ATH_CAP(ath_worker, ATH_CAP_WORKER, "single"), .family = "test",
                                   .pace = pace, .run = tick, .flags = ATH_WK_SINGLE };

static void begin(const ath_worker *worker, const int32_t *open)
{
    struct tick_worker w = { .worker = worker, .plugin = "worker-test", .open = open,
                             .config = no_config };
    ath_err e;

    atomic_store(&ran, 0);
    atomic_store(&overlaps, 0);
    atomic_store(&canceled, 0);
    err_reset(&e);
    ck_assert_int_eq(loop_new(LOOP_WORK, 0, "work-0", &loop, &e), 0);
    ck_assert_int_eq(loop_start(loop, &e), 0);
    ticks_start(loop, &w, 1, false);
}

static void wait_until(atomic_int *what, int least)
{
    for (int i = 0; i < 500 && atomic_load(what) < least; i++)
        usleep(10000);
    ck_assert_int_ge(atomic_load(what), least);
}

/* The only worker's member, as text. */
static void member(const char *key, char *ret, size_t n)
{
    struct buf b = BUF_HEAP;
    struct json_error why;
    const struct json *list;
    ath_arena a;

    arena_init(&a);
    ticks_json(&b);
    list = json_read(buf_view(&b), (struct json_memory){ arena_alloc, &a }, 1000, &why);
    ck_assert_ptr_nonnull(list);
    ck_assert_uint_eq(list->count, 1);
    ck_assert_ptr_nonnull(json_get(list->first, key));
    snprintf(ret, n, "%.*s", STR_ARG(json_get(list->first, key)->raw));
    arena_free(&a);
    buf_free(&b);
}

#define IS(key, text) \
    do { \
        char got_[500]; \
        member(key, got_, sizeof(got_)); \
        ck_assert_str_eq(got_, text); \
    } while (0)

static void end(void)
{
    ticks_drain();
    for (int i = 0; i < 300 && task_alive(); i++)
        usleep(10000);
    ck_assert_uint_eq(task_alive(), 0);
    loop_stop(loop);
    loop_join(loop);
    loop_free(loop);
    ticks_stop();
}

START_TEST(ticks_come_again_and_never_overlap)
{
    takes = 180; /* more than the period: the next one waits for its end */
    begin(&plain, &open_gate);
    wait_until(&ran, 5);
    ck_assert_int_eq(atomic_load(&overlaps), 0);
    IS("worker", "\"plain\"");
    IS("plugin", "\"worker-test\"");
    IS("single", "false");
    IS("runner", "true");
    IS("period_ms", "100");
    IS("last_outcome", "\"ok\"");
    IS("last_error", "null");
    end();
}
END_TEST

START_TEST(failures_are_kept_and_back_off)
{
    takes = 1;
    atomic_store(&reject, 1);
    begin(&plain, &open_gate);
    wait_until(&ran, 2);
    usleep(700000); /* the second pause is of two seconds: no third one yet */
    ck_assert_int_eq(atomic_load(&ran), 2);
    IS("last_outcome", "\"failed\"");
    IS("last_error", "\"the \\\"database\\\" is away\"");
    IS("failures", "2");
    IS("last_success_at", "null");
    atomic_store(&reject, 0);
    wait_until(&ran, 6);
    IS("last_outcome", "\"ok\"");
    IS("last_error", "null");
    end();
}
END_TEST

START_TEST(gates_and_locks_keep_ticks_back)
{
    takes = 1;
    begin(&plain, &shut_gate);
    usleep(700000);
    ck_assert_int_eq(atomic_load(&ran), 0);
    IS("open", "false");
    end();
    begin(&single, &open_gate); /* without a control plane nobody gives it a lock */
    usleep(700000);
    ck_assert_int_eq(atomic_load(&ran), 0);
    IS("single", "true");
    IS("runner", "false");
    end();
}
END_TEST

START_TEST(a_drain_cancels_what_runs)
{
    takes = 60000;
    begin(&plain, &open_gate);
    wait_until(&ran, 1);
    end();
    ck_assert_int_eq(atomic_load(&canceled), 1);
    ck_assert_int_eq(atomic_load(&ran), 1);
}
END_TEST

START_TEST(metrics_tell)
{
    struct buf b = BUF_HEAP;

    takes = 1;
    begin(&plain, &open_gate);
    wait_until(&ran, 2);
    metric_render(&b);
    ck_assert_ptr_nonnull(strstr(b.p, "athena_worker_ticks_total{worker=\"plain\",outcome=\"ok\"} "));
    ck_assert_ptr_nonnull(strstr(b.p, "athena_worker_ticks_total{worker=\"plain\",outcome=\"failed\"} 0\n"));
    ck_assert_ptr_nonnull(strstr(b.p, "athena_worker_last_tick_timestamp_seconds{worker=\"plain\"} 1"));
    ck_assert_ptr_nonnull(strstr(b.p, "athena_worker_runner{worker=\"plain\"} 1\n"));
    buf_free(&b);
    end();
}
END_TEST

START_TEST(keys_of_locks)
{
    const char *const hashed[] = { "partition_worker", "statistics_worker", "x", "another" };

    ck_assert_int_eq(lock_key("retention_worker"), 2);
    ck_assert_int_eq(lock_key("client_pressure_worker"), 4);
    ck_assert_int_eq(lock_key("vacuum_health_collector"), 5);
    ck_assert_int_eq(lock_key("lease_reaper"), 6);
    for (size_t i = 0; i < ATH_COUNT(hashed); i++) {
        ck_assert_int_ge(lock_key(hashed[i]), 1000);
        for (size_t k = 0; k < i; k++)
            ck_assert_int_ne(lock_key(hashed[i]), lock_key(hashed[k]));
    }
}
END_TEST

SUITE("ticks", ticks_come_again_and_never_overlap, failures_are_kept_and_back_off,
      gates_and_locks_keep_ticks_back, a_drain_cancels_what_runs, metrics_tell, keys_of_locks)
