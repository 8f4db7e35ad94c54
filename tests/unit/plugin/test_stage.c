/* core/plugin: the stages of life on real loops, forwards, backwards and cut short. */
#include "fixtures/plugins/journal.h"

#include <pthread.h>

#include "plugin/stage.h"
#include "unit/plugin/fixtures.h"

enum { LOOPS = 2 };

static struct buf lines;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *fail_who, *fail_what;
static ath_loop *loop[LOOPS + 1];

static int note(const char *who, const char *what, ath_err *e)
{
    ath_loop *l = loop_current();

    pthread_mutex_lock(&lock);
    buf_printf(&lines, "%s %s%s%s\n", who, what, l ? " on " : "", l ? l->name : "");
    pthread_mutex_unlock(&lock);
    if (e && fail_who && strcmp(who, fail_who) == 0 && strcmp(what, fail_what) == 0)
        return err_fail(e, ATH_E_UPSTREAM, "no more");
    return 0;
}

static const struct journal journal = { .size = sizeof(journal), .note = note };

/* loop[0] stands for the main thread's own, the others run. */
static struct registry *begin(const char *names)
{
    struct registry *r = registry_new();
    ath_err e;

    for (uint32_t i = 0; i <= LOOPS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "loop-%u", i);
        ck_assert_int_eq(loop_new(i ? LOOP_HTTP : LOOP_CONTROL, i, name, &loop[i], &e), 0);
        if (i)
            ck_assert_int_eq(loop_start(loop[i], &e), 0);
    }
    fix_begin();
    fix_put("driver-counter", NULL);
    fix_put("sink-life", NULL);
    fix_put("sink-afterlife", NULL);
    registry_offer(r, "test.journal", 1, &journal);
    ck_assert_int_eq(fix_load(r, names, &e), 0);
    ck_assert_uint_eq(r->count, 3);
    buf_reset(&lines);
    return r;
}

static void end(struct registry *r)
{
    for (uint32_t i = 0; i <= LOOPS; i++) {
        ck_assert_ptr_null(loop[i]->local);
        loop_stop(loop[i]);
        if (i)
            loop_join(loop[i]);
        else
            loop_run(loop[i]);
        loop_free(loop[i]);
    }
    registry_free(r);
    buf_free(&lines);
    fix_end();
    fail_who = NULL;
}

#define ON_ALL(who, what)  who " " what "\n" who " " what " on loop-1\n" who " " what " on loop-2\n"
#define OFF_ALL(who, what) who " " what " on loop-2\n" who " " what " on loop-1\n" who " " what "\n"

START_TEST(stages_go_up_in_the_order_of_needs_and_down_in_reverse)
{
    struct registry *r = begin("sink-afterlife sink-life driver-counter");
    ath_err e;

    ck_assert_int_eq(stage_up(r, loop, LOOPS + 1, &e), 0);
    ck_assert_str_eq(
        lines.p,
        "driver-counter init\nsink-afterlife init\nsink-life init\n" ON_ALL(
            "driver-counter", "loop_init") ON_ALL("sink-afterlife", "loop_init")
            ON_ALL("sink-life",
                   "loop_init") "driver-counter start\nsink-afterlife start\nsink-life start\n");
    buf_reset(&lines);
    stage_drain(r);
    stage_drain(r);
    stage_down(r);
    stage_down(r);
    ck_assert_str_eq(
        lines.p,
        "sink-life drain\nsink-afterlife drain\ndriver-counter drain\n" OFF_ALL(
            "sink-life", "loop_fini") OFF_ALL("sink-afterlife", "loop_fini")
            OFF_ALL("driver-counter",
                    "loop_fini") "sink-life fini\nsink-afterlife fini\ndriver-counter fini\n");
    end(r);
}
END_TEST

START_TEST(a_failing_init_undoes_what_was_done)
{
    struct registry *r = begin("sink-afterlife sink-life driver-counter");
    ath_err e;

    fail_who = "sink-life";
    fail_what = "init";
    ck_assert_int_eq(stage_up(r, loop, LOOPS + 1, &e), ATH_E_UPSTREAM);
    ck_assert_str_eq(e.message, "plugin \"sink-life\" failed in init: no more");
    ck_assert_str_eq(lines.p, "driver-counter init\nsink-afterlife init\nsink-life init\n"
                              "sink-afterlife fini\ndriver-counter fini\n");
    end(r);
}
END_TEST

START_TEST(a_failing_loop_init_undoes_the_loops_that_had_it)
{
    struct registry *r = begin("sink-afterlife sink-life driver-counter");
    ath_err e;

    fail_who = "sink-afterlife";
    fail_what = "loop_init";
    ck_assert_int_eq(stage_up(r, loop, LOOPS + 1, &e), ATH_E_UPSTREAM);
    ck_assert_str_eq(e.message, "plugin \"sink-afterlife\" failed in loop_init: no more");
    ck_assert_str_eq(
        lines.p,
        "driver-counter init\nsink-afterlife init\nsink-life init\n" ON_ALL(
            "driver-counter",
            "loop_init") "sink-afterlife loop_init\n" OFF_ALL("driver-counter",
                                                              "loop_fini") "sink-life "
                                                                           "fini\nsink-afterlife "
                                                                           "fini\ndriver-counter "
                                                                           "fini\n");
    end(r);
}
END_TEST

START_TEST(an_optional_plugin_fails_alone)
{
    struct registry *r = begin("sink-life driver-counter ?sink-afterlife");
    ath_err e;

    fail_who = "sink-afterlife";
    fail_what = "start";
    ck_assert_int_eq(stage_up(r, loop, LOOPS + 1, &e), 0);
    ck_assert_str_eq(fix_refusals(r),
                     "optional: plugin \"sink-afterlife\" failed in start: no more\n");
    ck_assert_int_eq(registry_find(r, ATH_S("sink-afterlife"))->stage, STAGE_DOWN);
    ck_assert_int_eq(registry_find(r, ATH_S("sink-life"))->stage, STAGE_STARTED);
    ck_assert_ptr_nonnull(strstr(lines.p, "sink-afterlife fini\n"));
    buf_reset(&lines);
    stage_down(r);
    ck_assert_ptr_null(strstr(lines.p, "sink-afterlife"));
    end(r);
}
END_TEST

START_TEST(an_optional_plugin_that_others_use_is_not_optional)
{
    struct registry *r = begin("sink-life sink-afterlife ?driver-counter");
    ath_err e;

    fail_who = "driver-counter";
    fail_what = "start";
    ck_assert_int_eq(stage_up(r, loop, LOOPS + 1, &e), ATH_E_UPSTREAM);
    ck_assert_str_eq(e.message, "plugin \"driver-counter\" failed in start: no more");
    end(r);
}
END_TEST

SUITE("plugin stages", stages_go_up_in_the_order_of_needs_and_down_in_reverse,
      a_failing_init_undoes_what_was_done, a_failing_loop_init_undoes_the_loops_that_had_it,
      an_optional_plugin_fails_alone, an_optional_plugin_that_others_use_is_not_optional)
