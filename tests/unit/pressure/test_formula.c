/* plugins/shared/pressure: formula v1 against numbers worked out by hand, each of its clamps, and
 * which statements may be planned (21.35, D-39). */
#include "pressure/formula.h"
#include "pressure/sample.h"
#include "support/check_main.h"

/* 20 requests of 100, 200 ... 2000 ms: the example of the contract. */
static const struct pressure_hour busy = { .requests = 20,
                                           .failed = 5,
                                           .missed = 10,
                                           .p50_ms = 1050,
                                           .p95_ms = 1905,
                                           .median = 5,
                                           .before = 5 };

#define near(a, b) ck_assert_double_eq_tol((a), (b), 1e-12)

START_TEST(ratios_of_the_example)
{
    struct pressure_ratios r = pressure_ratios(&busy);

    near(r.error, 0.25);
    near(r.miss, 0.5);
    near(r.tail, 1.8142857142857143);
    near(r.burst, 4);
    near(r.request_shock, 3);
    near(r.error_shock, 25);
    near(pressure_share(12000, 21000), 0.5714285714285714);
}
END_TEST

START_TEST(scores_of_the_example)
{
    struct pressure_ratios r = pressure_ratios(&busy);
    struct pressure_hour table = {
        .requests = 15, .failed = 3, .missed = 15, .p50_ms = 800, .p95_ms = 1430
    };
    struct pressure_ratios of_table = pressure_ratios(&table);
    double score = pressure_of_client(&busy, &r, 0.4, 12000.0 / 21000);

    near(score, 92.56659663865547);
    near(pressure_volatility(&r), 80.87500000000001);
    ck_assert_str_eq(pressure_band(score), "red");
    ck_assert_str_eq(pressure_hint(score, 12000.0 / 21000), "split_hot_table");
    near(of_table.burst, 15);
    near(pressure_of_table(&table, &of_table, 12000.0 / 21000), 77.875);
}
END_TEST

/* Nothing is divided by nothing. */
START_TEST(ratios_without_a_past)
{
    struct pressure_hour h = { .requests = 3, .failed = 1, .p50_ms = 0.5, .p95_ms = 3 };
    struct pressure_ratios r = pressure_ratios(&h);

    near(r.tail, 3); /* as if the usual one took a millisecond */
    near(r.burst, 3);
    near(r.request_shock, 2); /* as if there had been one */
    near(r.error_shock, 1.0 / 3 / 0.01);
    near(pressure_share(5, 0), 0);
    r = pressure_ratios(&(struct pressure_hour){ .before = 4, .before_failed = 2 });
    near(r.error, 0);
    near(r.miss, 0);
    near(r.tail, 0);
    near(r.burst, 0);
    near(r.request_shock, 1);
    near(r.error_shock, 1);
}
END_TEST

/* Each part of each score alone: nothing at 0, half of its weight half way, its weight at the end
 * and beyond. The table gives what makes it half. */
START_TEST(clamps_of_a_client)
{
    static const double weight[] = { 30, 20, 10, 15, 10, 15 };

    for (int part = 0; part < 6; part++)
        for (int half = 0; half <= 4; half++) {
            double x = half / 2.0, want = weight[part] * (half < 2 ? x : 1);
            struct pressure_hour h = { .p95_ms = part == 0 ? 2000 * x : 0 };
            struct pressure_ratios r = { .error = part == 1 ? 0.05 * x : 0,
                                         .miss = part == 2 ? 0.50 * x : 0,
                                         .burst = part == 3 ? 4 * x : 0 };
            near(pressure_of_client(&h, &r, part == 4 ? 0.85 * x : 0, part == 5 ? 0.60 * x : 0),
                 want);
        }
}
END_TEST

START_TEST(clamps_of_a_table)
{
    static const double weight[] = { 35, 25, 20, 10, 10 };

    for (int part = 0; part < 5; part++)
        for (int half = 0; half <= 4; half++) {
            double x = half / 2.0, want = weight[part] * (half < 2 ? x : 1);
            struct pressure_hour h = { .p95_ms = part == 1 ? 2000 * x : 0 };
            struct pressure_ratios r = { .error = part == 2 ? 0.05 * x : 0,
                                         .miss = part == 3 ? 0.50 * x : 0,
                                         .burst = part == 4 ? 4 * x : 0 };
            near(pressure_of_table(&h, &r, part == 0 ? x : 0), want);
        }
}
END_TEST

START_TEST(clamps_of_the_volatility)
{
    static const double weight[] = { 45, 35, 20 };

    for (int part = 0; part < 3; part++)
        for (int half = 0; half <= 4; half++) {
            double x = half / 2.0, want = weight[part] * (half < 2 ? x : 1);
            struct pressure_ratios r = { .request_shock = part == 0 ? x : 0,
                                         .tail = part == 1 ? 4 * x : 0,
                                         .error_shock = part == 2 ? x : 0 };
            near(pressure_volatility(&r), want);
        }
}
END_TEST

/* What is no number counts as nothing. */
START_TEST(numbers_that_are_none)
{
    struct pressure_hour h = { .p95_ms = (double)INFINITY };
    struct pressure_ratios r = { .error = (double)NAN, .miss = -1, .burst = (double)-INFINITY };

    near(pressure_of_client(&h, &r, (double)NAN, -0.5), 0);
}
END_TEST

START_TEST(plans)
{
    near(pressure_of_plan(0), 0);
    near(pressure_of_plan(-3), 0);
    near(pressure_of_plan(9), 20);
    near(pressure_of_plan(99999), 100);
    near(pressure_of_plan(1e9), 100);
    near(pressure_with_plan(40, 100), 49);
    ck_assert(pressure_is_idle(0.49999));
    ck_assert(!pressure_is_idle(0.5));
}
END_TEST

START_TEST(words)
{
    ck_assert_str_eq(pressure_band(34.999), "green");
    ck_assert_str_eq(pressure_band(35), "yellow");
    ck_assert_str_eq(pressure_band(69.999), "yellow");
    ck_assert_str_eq(pressure_band(70), "red");
    ck_assert_str_eq(pressure_hint(34.999, 1), "healthy");
    ck_assert_str_eq(pressure_hint(35, 1), "watch");
    ck_assert_str_eq(pressure_hint(69.999, 1), "watch");
    ck_assert_str_eq(pressure_hint(70, 0.4999), "move_client");
    ck_assert_str_eq(pressure_hint(70, 0.5), "split_hot_table");
}
END_TEST

static const struct {
    const char *sql;
    bool safe;
} samples[] = {
    { "select 1", true },
    { " SELECT\n* from orders where name = 'x'", true },
    { "with x as (select 1) select * from x", true },
    { "-- why\nselect 1", true },
    { "", false },
    { "select", true }, /* PostgreSQL says so, too */
    { "selected", false },
    { "select 1;", false },
    { "select 1; drop table orders", false },
    { "select ';'", false },
    { "select 'a", false },
    { "select $1", false },
    { "delete from orders", false },
    { "with x as (select 1) delete from orders", false },
    { "explain select 1", false },
    { "(select 1)", false },
    { "values (1)", false },
};

START_TEST(statements_that_may_be_planned)
{
    ck_assert_msg(sample_is_safe(str_of(samples[_i].sql)) == samples[_i].safe, "%s",
                  samples[_i].sql);
}
END_TEST

START_TEST(a_long_statement_is_left_alone)
{
    size_t n = SAMPLE_BYTES + 1;
    char *text = malloc(n);

    memset(text, ' ', n);
    memcpy(text, "select 1", 8);
    ck_assert(sample_is_safe(str_from(text, n - 1)));
    ck_assert(!sample_is_safe(str_from(text, n)));
    free(text);
}
END_TEST

Suite *test_suite(void)
{
    Suite *s = suite_create("pressure");
    TCase *c = tcase_create("formula");

    tcase_add_test(c, ratios_of_the_example);
    tcase_add_test(c, scores_of_the_example);
    tcase_add_test(c, ratios_without_a_past);
    tcase_add_test(c, clamps_of_a_client);
    tcase_add_test(c, clamps_of_a_table);
    tcase_add_test(c, clamps_of_the_volatility);
    tcase_add_test(c, numbers_that_are_none);
    tcase_add_test(c, plans);
    tcase_add_test(c, words);
    tcase_add_loop_test(c, statements_that_may_be_planned, 0, ATH_COUNT(samples));
    tcase_add_test(c, a_long_statement_is_left_alone);
    suite_add_tcase(s, c);
    return s;
}
