/* core/jobs/schedule.h: what is decided about a row that is due; the statements. */
#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "jobs/schedule.h"
#include "support/check_main.h"

enum { HOUR = 3600 }; /* times in the tests are seconds */

static int64_t us(int64_t s)
{
    return s * 1000000;
}

/* Each whole hour. */
static int hourly(const ath_rows *row, int64_t after_us, int64_t *ret_us, ath_err *e)
{
    (void)row, (void)e;
    *ret_us = (after_us / us(HOUR) + 1) * us(HOUR);
    return 0;
}

static int still(const ath_rows *row, int64_t after_us, int64_t *ret_us, ath_err *e)
{
    (void)row, (void)e;
    *ret_us = after_us;
    return 0;
}

static int broken(const ath_rows *row, int64_t after_us, int64_t *ret_us, ath_err *e)
{
    (void)row, (void)after_us, (void)ret_us;
    return err_fail(e, ATH_E_INPUT, "no rule");
}

static struct schedule_row row_of(const char *missed, int64_t due_s, int64_t now_s)
{
    return (struct schedule_row){ .missed = str_of(missed),
                                  .overlap = ATH_S("skip"),
                                  .due_us = us(due_s),
                                  .now_us = us(now_s),
                                  .late_us = us(60),
                                  .known = true };
}

static void decides(const struct schedule_row *r, enum schedule_move move, int64_t next_s)
{
    const ath_schedule s = { .size = sizeof(s), .next = hourly };
    enum schedule_move got;
    int64_t next;
    ath_err e;

    err_reset(&e);
    ck_assert_int_eq(schedule_decide(&s, r, &got, &next, &e), 0);
    ck_assert_int_eq(got, move);
    ck_assert_int_eq(next, us(next_s));
}

START_TEST(missed_runs)
{
    struct schedule_row r = row_of("once", 10 * HOUR, 13 * HOUR + 600);

    decides(&r, SCHEDULE_FIRE, 14 * HOUR); /* one for all four */
    r = row_of("", 10 * HOUR, 13 * HOUR + 600);
    decides(&r, SCHEDULE_FIRE, 14 * HOUR);
    r = row_of("all", 10 * HOUR, 13 * HOUR + 600);
    decides(&r, SCHEDULE_FIRE, 11 * HOUR);
    r = row_of("skip", 10 * HOUR, 13 * HOUR + 600);
    decides(&r, SCHEDULE_MISS, 14 * HOUR);
    r = row_of("skip", 10 * HOUR, 13 * HOUR + 60); /* the last one is in time */
    decides(&r, SCHEDULE_FIRE, 14 * HOUR);
    r = row_of("skip", 10 * HOUR, 13 * HOUR + 61);
    decides(&r, SCHEDULE_MISS, 14 * HOUR);
    r = row_of("skip", 10 * HOUR + 7, 10 * HOUR + 60); /* off its rhythm, by hand */
    decides(&r, SCHEDULE_FIRE, 11 * HOUR);
    r = row_of("once", 10 * HOUR, 10 * HOUR);
    decides(&r, SCHEDULE_FIRE, 11 * HOUR);
}
END_TEST

START_TEST(d52_runs_that_would_overlap)
{
    struct schedule_row r = row_of("once", 10 * HOUR, 13 * HOUR + 600);

    r.busy = true;
    decides(&r, SCHEDULE_SKIP, 14 * HOUR);
    r.overlap = (ath_str){ 0 };
    decides(&r, SCHEDULE_SKIP, 14 * HOUR);
    r.overlap = ATH_S("allow");
    decides(&r, SCHEDULE_FIRE, 14 * HOUR);
    r = row_of("all", 10 * HOUR, 13 * HOUR + 600);
    r.busy = true;
    decides(&r, SCHEDULE_HOLD, 11 * HOUR);
}
END_TEST

START_TEST(one_without_a_time)
{
    struct schedule_row r = row_of("all", 0, 13 * HOUR + 600);

    r.known = false;
    r.busy = true;
    decides(&r, SCHEDULE_SET, 14 * HOUR);
}
END_TEST

START_TEST(a_rule_that_leads_nowhere_is_an_error)
{
    const ath_schedule s[] = { { .size = sizeof(*s), .next = still },
                               { .size = sizeof(*s), .next = broken } };
    struct schedule_row r = row_of("once", 10 * HOUR, 11 * HOUR);
    enum schedule_move got;
    int64_t next;
    ath_err e;

    for (size_t i = 0; i < ATH_COUNT(s); i++) {
        err_reset(&e);
        ck_assert_int_lt(schedule_decide(&s[i], &r, &got, &next, &e), 0);
    }
}
END_TEST

START_TEST(names_are_quoted)
{
    const ath_schedule s = {
        .size = sizeof(s), .table = "Odd\"Table", .key = "id", .due = "select", .columns = "a, b"
    };
    struct schedule_sql sql;
    ath_arena a;

    arena_init(&a);
    sql = schedule_make(&a, &s);
    ck_assert_ptr_nonnull(strstr(sql.pick, "FROM \"Odd\"\"Table\" q"));
    ck_assert_ptr_nonnull(strstr(sql.pick, "SELECT a, b, q."));
    ck_assert_ptr_nonnull(strstr(sql.moved, "\"select\" = timestamptz"));
    ck_assert_ptr_null(strstr(sql.fired, "$3")); /* it has no column for the job */
    arena_free(&a);
}
END_TEST

SUITE("schedule", missed_runs, d52_runs_that_would_overlap, one_without_a_time,
      a_rule_that_leads_nowhere_is_an_error, names_are_quoted)
