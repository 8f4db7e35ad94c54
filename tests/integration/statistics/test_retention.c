/* What retention deletes is subtracted from what the fold has counted: then it is as if these rows
 * had never been there. The statements are run as they are, beside a real log. */
#include "statistics/statistics.h"

#include "lib/buf.h"
#include "support/check_main.h"
#include "support/postgres.h"

static struct postgres *pg;

static const char *const log_of[STATISTICS_KINDS] = { "gateway_request_log",
                                                      "gateway_operation_log" };

#define COMMON                                                                                     \
    "id bigint not null default nextval('ids'), created_at timestamptz not null default now(), "   \
    "client text, status_code integer, cached boolean, duration_ms bigint, "                       \
    "cache_lookup_outcome text, table_name text, operation text, error boolean"

static const char plain[] = "create table gateway_request_log (" COMMON ", primary key (id));"
                            "create table gateway_operation_log (" COMMON ", primary key (id));";
#define PARTED(log)                                                                                \
    "create table " log " (" COMMON ", primary key (id, created_at)) "                             \
    "partition by range (created_at);"                                                             \
    "create table " log "_p20260102 partition of " log                                             \
    " for values from ('2026-01-02') to ('2026-01-03');"                                           \
    "create table " log "_default partition of " log " default;"
static const char parted[] = PARTED("gateway_request_log") PARTED("gateway_operation_log");

static void setup(const char *logs)
{
    postgres_sql(pg, "drop schema public cascade; create schema public; set timezone = 'UTC'");
    postgres_sql(pg, "create sequence ids; create table client_statistics (client_name text); "
                     "create table client_table_statistics (client_name text)");
    postgres_sql(pg, logs);
    for (uint32_t i = 0; i < statistics_schema.step_count; i++)
        postgres_sql(pg, statistics_schema.step[i].sql);
}

/* Random rows of six days, with nulls and names that are not counted. */
static void fill(uint32_t n)
{
    for (int kind = 0; kind < STATISTICS_KINDS; kind++) {
        struct buf b = BUF_HEAP;

        buf_printf(
            &b,
            "insert into %s (created_at, client, status_code, cached, duration_ms, "
            "table_name, operation, error) select timestamptz '2026-01-01Z' + random() * 6 * "
            "interval '1 day', (array['a', 'A', 'b', '', null])[1 + floor(5 * random())], "
            "(array[200, 404, null])[1 + floor(3 * random())], "
            "(array[true, false, null])[1 + floor(3 * random())], "
            "case when random() < 0.9 then floor(20 * random()) end, "
            "(array['t', 'u', null])[1 + floor(3 * random())], "
            "(array['fetch', null])[1 + floor(2 * random())], "
            "(array[true, false, null])[1 + floor(3 * random())] "
            "from generate_series(1, %u)",
            log_of[kind], n);
        postgres_sql(pg, b.p);
        buf_free(&b);
    }
}

/* `sql`, prepared and run with `args` in one transaction behind the lock. */
static void run(const char *sql, const char *types, const char *args, const char *more)
{
    struct buf b = BUF_HEAP;

    buf_printf(&b, "prepare p%s as %s; begin; %s; execute p%s; %s; commit", types, sql,
               statistics_lock_sql, args, more);
    postgres_sql(pg, b.p);
    buf_free(&b);
}

static void fold(void)
{
    for (int kind = 0; kind < STATISTICS_KINDS; kind++)
        run(statistics_slice_sql[kind], "(bigint)", "(1000000000)", "select 1");
}

static void sweep(void)
{
    postgres_sql(pg, "update athena_log_keys set stale = false");
    for (int i = 0; i < STATISTICS_SWEEPS; i++)
        postgres_sql(pg, statistics_sweep_sql[i]);
}

static void same(const char *what, const char *counts, const char *recount)
{
    struct buf b = BUF_HEAP;

    buf_printf(
        &b,
        "select (select count(*) from (%s except %s) x) + (select count(*) from (%s except %s) x)",
        counts, recount, recount, counts);
    ck_assert_msg(postgres_number(pg, b.p) == 0, "%s differ from what the log holds", what);
    buf_free(&b);
}

#define FAILED "(error is true or coalesce(status_code, 0) >= 400)"
#define FROM_LOG(columns, where, log)                                                              \
    "(select client, coalesce(table_name, ''), coalesce(operation, ''), " columns " from " log     \
    " where client <> '' " where " and id <= (select upto from athena_log_folds where kind = "     \
    "'operation') group by 1, 2, 3"

/* Counts and a recount of the rows that are folded and still there. */
static void compare(void)
{
    same("durations of operations",
         "(select k.client, k.table_name, k.operation, d.duration_ms, d.n from "
         "athena_log_durations d join athena_log_keys k on k.id = d.key_id where k.kind = "
         "'operation')",
         FROM_LOG("duration_ms, count(*)", "and duration_ms is not null",
                  "gateway_operation_log") ", 4)");
    same("hours",
         "(select k.client, k.table_name, k.operation, h.hour, h.total, h.failed from "
         "athena_log_hours h join athena_log_keys k on k.id = h.key_id)",
         FROM_LOG("floor(extract(epoch from created_at) / 3600)::integer, count(*), "
                  "count(*) filter (where " FAILED ")",
                  "", "gateway_operation_log") ", 4)");
    same("totals of operations",
         "(select client, table_name, operation, total, failed, cached, timed, sum_ms from "
         "athena_log_keys "
         "where kind = 'operation')",
         FROM_LOG("count(*), count(*) filter (where " FAILED "), count(*) filter (where cached), "
                  "count(duration_ms), coalesce(sum(duration_ms), 0)",
                  "", "gateway_operation_log") ")");
    same("totals of requests",
         "(select client, total, succeeded, failed from athena_log_keys where kind = 'request')",
         "(select client, count(*), count(*) filter (where status_code = 200), "
         "count(*) filter (where status_code = 404) from gateway_request_log where client <> '' "
         "and id <= (select upto from athena_log_folds where kind = 'request') group by 1)");
    same("durations of requests",
         "(select k.client, d.duration_ms, d.n from athena_log_durations d "
         "join athena_log_keys k on k.id = d.key_id where k.kind = 'request')",
         "(select client, duration_ms, count(*) from gateway_request_log where client <> '' "
         "and duration_ms is not null and id <= (select upto from athena_log_folds where kind = "
         "'request') group by 1, 2)");
}

static const char *const layouts[] = { plain, parted };

START_TEST(what_is_purged_is_subtracted)
{
    setup(layouts[_i]);
    fill(3000);
    fold();
    compare();
    fill(1000); /* old rows that the fold has not seen go too, and are not subtracted */
    for (int turn = 0; turn < 4; turn++)
        for (int kind = 0; kind < STATISTICS_KINDS; kind++)
            run(statistics_purge_sql[kind], "(timestamptz, bigint)", "('2026-01-04Z', 500)",
                "select 1");
    sweep();
    compare();
    ck_assert_int_gt(postgres_number(pg, "select count(*) from athena_log_keys where total > 0"),
                     0);
    fold();
    compare();
}
END_TEST

START_TEST(what_goes_with_its_day_is_subtracted)
{
    setup(layouts[_i]);
    fill(3000);
    fold();
    fill(500);
    for (int kind = 0; kind < STATISTICS_KINDS; kind++) {
        struct buf drop = BUF_HEAP;

        if (_i)
            buf_printf(&drop, "drop table %s_p20260102", log_of[kind]);
        else
            buf_printf(
                &drop,
                "delete from %s where created_at >= '2026-01-02Z' and created_at < '2026-01-03Z'",
                log_of[kind]);
        run(statistics_forget_sql[kind], "(timestamptz, timestamptz)",
            "('2026-01-02Z', '2026-01-03Z')", drop.p);
        buf_free(&drop);
    }
    sweep();
    compare();
}
END_TEST

START_TEST(when_all_is_gone_nothing_is_counted)
{
    setup(layouts[_i]);
    fill(2000);
    fold();
    for (int kind = 0; kind < STATISTICS_KINDS; kind++)
        run(statistics_purge_sql[kind], "(timestamptz, bigint)", "('infinity', 100000)",
            "select 1");
    sweep();
    ck_assert_int_eq(postgres_number(pg, "select (select count(*) from athena_log_keys) + "
                                         "(select count(*) from athena_log_durations) + "
                                         "(select count(*) from athena_log_hours)"),
                     0);
}
END_TEST

static void start(void)
{
    pg = postgres_start(NULL);
}

static void stop(void)
{
    postgres_free(pg);
}

Suite *test_suite(void)
{
    Suite *s = suite_create("retention");
    TCase *c = tcase_create("subtracted");

    tcase_add_unchecked_fixture(c, start, stop);
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, what_is_purged_is_subtracted, 0, 2);
    tcase_add_loop_test(c, what_goes_with_its_day_is_subtracted, 0, 2);
    tcase_add_loop_test(c, when_all_is_gone_nothing_is_counted, 0, 2);
    suite_add_tcase(s, c);
    return s;
}
