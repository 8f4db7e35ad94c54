/* Trips that end early: their client leaves, their time is up, they are slow and others are not. */
#include <stdlib.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "base/clock.h"
#include "lib/text.h"
#include "support/check_main.h"
#include "support/dblab.h"
#include "support/postgres.h"

static struct postgres *pg;
static struct lab *lab;

static void cluster_up(void)
{
    pg = postgres_start(&(struct postgres_options){ .tls = true });
}

static void cluster_down(void)
{
    postgres_free(pg);
}

static void lab_with(struct db_options o, const char *uri)
{
    ath_err e;

    lab = lab_start(&o, 1);
    ck_assert_msg(db_client_put("acme", uri, "config", &e) == 0, "%s", e.message);
}

static long running(const char *what)
{
    char sql[300];

    snprintf(sql, sizeof(sql),
             "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND "
             "query LIKE '%%%s%%' AND pid <> pg_backend_pid()",
             what);
    return postgres_number(pg, sql);
}

static void wait_until(const char *what, long expected)
{
    long n = -1;

    for (int i = 0; i < 100 && (n = running(what)) != expected; i++)
        usleep(20000);
    ck_assert_msg(n == expected, "%ld of \"%s\" run, expected %ld", n, what, expected);
}

static void leaving_frees_the_server(const char *uri)
{
    struct ask *a = ask_new("acme", ATH_PG_READ, "SELECT pg_sleep(60) -- left");
    struct ask *w = ask_new("acme", 0, "SELECT pg_sleep(61) -- left");
    char got[32];

    lab_with(lab_options(), uri);
    lab_send(lab, 0, &a, 1);
    lab_send(lab, 0, &w, 1);
    wait_until("left", 2);
    ask_leave(a);
    ask_leave(w);
    ck_assert(ask_wait(a, 2000) && ask_wait(w, 2000));
    wait_until("left", 0);
    lab_get(lab, "acme", ATH_PG_READ, "SELECT 'fine'", got, sizeof(got));
    ck_assert_str_eq(got, "fine");
    ask_free(a);
    ask_free(w);
    lab_stop(lab);
}

START_TEST(a_query_of_a_client_that_left_is_cancelled)
{
    leaving_frees_the_server(postgres_uri(pg));
}
END_TEST

START_TEST(over_tls_too)
{
    char uri[300];

    if (!postgres_tls(pg))
        return;
    snprintf(uri, sizeof(uri), "postgres://postgres@localhost:%d/postgres?sslmode=require",
             postgres_port(pg));
    leaving_frees_the_server(uri);
}
END_TEST

START_TEST(a_query_has_its_own_time)
{
    struct ask *a = ask_new("acme", ATH_PG_READ, "SELECT pg_sleep(60) -- late");
    struct db_options o = lab_options();
    uint64_t from;

    o.pool_max = 1;
    lab_with(o, postgres_uri(pg));
    a->q.timeout_ms = 200;
    from = clock_ms();
    lab_send(lab, 0, &a, 1);
    ck_assert(ask_wait(a, 5000));
    ck_assert(str_is(err_get(&a->err, "code"), "query_timeout"));
    ck_assert_uint_ge(clock_ms() - from, 200);
    ck_assert_uint_le(clock_ms() - from, 1500);
    wait_until("late", 0);
    ask_free(a);
    a = ask_new("acme", ATH_PG_READ, "SELECT 1"); /* the only connection was given back */
    lab_send(lab, 0, &a, 1);
    ck_assert(ask_wait(a, 5000) && a->rc == 0);
    ask_free(a);
    lab_stop(lab);
}
END_TEST

START_TEST(the_server_itself_ends_what_takes_too_long)
{
    struct ask *a = ask_new("acme", ATH_PG_READ, "SELECT pg_sleep(60)");
    struct db_options o = lab_options();

    o.query_timeout_ms = 150;
    lab_with(o, postgres_uri(pg));
    lab_send(lab, 0, &a, 1);
    ck_assert(ask_wait(a, 5000));
    ck_assert(str_is(err_get(&a->err, "code"), "query_timeout"));
    ck_assert_str_eq(a->err.sqlstate, "57014");
    ask_free(a);
    lab_stop(lab);
}
END_TEST

START_TEST(a_slow_read_does_not_hold_up_those_behind_it)
{
    enum { N = 40 };
    struct ask *a[N];
    uint64_t from;

    lab_with(lab_options(), postgres_uri(pg));
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++)
            a[i] = ask_new("acme", ATH_PG_READ, i == 3 ? "SELECT pg_sleep(1.5)" : "SELECT 'quick'");
        from = clock_ns();
        lab_send(lab, 0, a, N);
        for (int i = 0; i < N; i++) {
            ck_assert(ask_wait(a[i], 5000));
            ck_assert_msg(a[i]->rc == 0, "%s", a[i]->err.message);
            ck_assert_msg(i == 3 || a[i]->done_ns - from < 800000000u, "%d took %llu ms", i,
                          (unsigned long long)(a[i]->done_ns - from) / 1000000);
        }
        for (int i = 0; i < N; i++)
            ask_free(a[i]);
    }
    lab_stop(lab);
}
END_TEST

START_TEST(reads_of_medium_length_are_not_run_twice)
{
    enum { N = 60 };
    struct ask *a[N];
    char before[32], after[32];

    postgres_sql(pg, "CREATE SEQUENCE IF NOT EXISTS ran");
    lab_with(lab_options(), postgres_uri(pg));
    for (int round = 0; round < 3; round++) {
        lab_get(lab, "acme", 0, "SELECT last_value FROM ran", before, sizeof(before));
        for (int i = 0; i < N; i++)
            a[i] = ask_new("acme", ATH_PG_READ, "SELECT nextval('ran'), pg_sleep(0.004)");
        lab_send(lab, 0, a, N);
        for (int i = 0; i < N; i++) {
            ck_assert(ask_wait(a[i], 5000) && a[i]->rc == 0);
            ask_free(a[i]);
        }
    }
    lab_get(lab, "acme", 0, "SELECT last_value FROM ran", after, sizeof(after));
    ck_assert_int_le(atoi(after) - atoi(before), N + N / 10); /* the last round knows them */
    lab_stop(lab);
}
END_TEST

START_TEST(leaving_one_of_a_shared_sync_does_not_hurt_the_others)
{
    enum { N = 20 };
    struct ask *a[N];
    struct db_options o = lab_options();

    o.pool_max = 1;
    lab_with(o, postgres_uri(pg));
    for (int i = 0; i < N; i++)
        a[i] = ask_new("acme", ATH_PG_READ,
                       i == 0 ? "SELECT pg_sleep(60) -- shared" : "SELECT 'quick'");
    lab_send(lab, 0, a, N);
    wait_until("shared", 1);
    ask_leave(a[0]);
    for (int i = 0; i < N; i++) {
        ck_assert_msg(ask_wait(a[i], 5000), "%d hangs", i);
        ck_assert_msg(i == 0 || a[i]->rc == 0, "%s", a[i]->err.message);
        ask_free(a[i]);
    }
    wait_until("shared", 0);
    lab_stop(lab);
}
END_TEST

START_TEST(those_in_the_line_leave_without_a_trace)
{
    struct ask *slow = ask_new("acme", 0, "SELECT pg_sleep(0.4)");
    struct ask *left = ask_new("acme", 0, "CREATE TABLE must_not_exist (a int)");
    struct ask *late = ask_new("acme", 0, "CREATE TABLE must_not_exist (a int)");
    struct db_options o = lab_options();

    o.pool_max = 1;
    lab_with(o, postgres_uri(pg));
    late->q.timeout_ms = 100;
    lab_send(lab, 0, &slow, 1);
    lab_send(lab, 0, (struct ask *[]){ left, late }, 2);
    wait_until("pg_sleep", 1);
    ask_leave(left);
    ck_assert(ask_wait(left, 300) && ask_wait(late, 300));
    ck_assert(str_is(err_get(&late->err, "code"), "query_timeout"));
    ck_assert(ask_wait(slow, 5000) && slow->rc == 0);
    ck_assert_int_eq(
        postgres_number(pg, "SELECT count(*) FROM pg_class WHERE relname = 'must_not_exist'"), 0);
    ask_free(slow);
    ask_free(left);
    ask_free(late);
    lab_stop(lab);
}
END_TEST

START_TEST(stopping_answers_everybody)
{
    enum { N = 30 };
    struct ask *a[N];
    struct db_options o = lab_options();

    o.pool_max = 2;
    lab_with(o, postgres_uri(pg));
    for (int i = 0; i < N; i++)
        a[i] = ask_new("acme", i % 2 ? ATH_PG_READ : 0, "SELECT pg_sleep(60) -- stopped");
    lab_send(lab, 0, a, N);
    wait_until("stopped", 2);
    lab_stop(lab);
    for (int i = 0; i < N; i++) {
        ck_assert(ask_wait(a[i], 1000));
        ck_assert(str_is(err_get(&a[i]->err, "code"), "server_draining"));
        ask_free(a[i]);
    }
    wait_until("stopped", 0);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        a_query_of_a_client_that_left_is_cancelled,
        over_tls_too,
        a_query_has_its_own_time,
        the_server_itself_ends_what_takes_too_long,
        a_slow_read_does_not_hold_up_those_behind_it,
        reads_of_medium_length_are_not_run_twice,
        leaving_one_of_a_shared_sync_does_not_hurt_the_others,
        those_in_the_line_leave_without_a_trace,
        stopping_answers_everybody,
    };
    Suite *s = suite_create("db cancel");
    TCase *c = tcase_create("cancel");

    tcase_set_timeout(c, 120);
    tcase_add_unchecked_fixture(c, cluster_up, cluster_down);
    for (size_t i = 0; i < ATH_COUNT(tests); i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return s;
}
