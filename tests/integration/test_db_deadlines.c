/* Time limits: what the server is told of them, and the line that tells newcomers at once. */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "lib/text.h"
#include "support/check_main.h"
#include "support/dblab.h"
#include "support/postgres.h"

static struct postgres *pg;
static struct lab *lab;

static void cluster_up(void)
{
    pg = postgres_start(NULL);
    postgres_sql(pg, "CREATE TABLE done (a int)");
}

static void cluster_down(void)
{
    postgres_free(pg);
}

static void lab_of(uint64_t pool_max, uint64_t query_timeout_ms)
{
    struct db_options o = lab_options();
    ath_err e;

    o.pool_max = pool_max;
    o.query_timeout_ms = query_timeout_ms;
    lab = lab_start(&o, 1);
    ck_assert_msg(db_client_put("acme", postgres_uri(pg), "config", &e) == 0, "%s", e.message);
    postgres_sql(pg, "TRUNCATE done");
}

static struct ask *run(struct ask *a)
{
    lab_send(lab, 0, &a, 1);
    ck_assert_msg(ask_wait(a, 20000), "hangs: %s", a->stmt[0].sql);
    return a;
}

static void is(uint32_t flags, const char *sql, const char *expected)
{
    char got[256];

    lab_get(lab, "acme", flags, sql, got, sizeof(got));
    ck_assert_msg(strcmp(got, expected) == 0, "%s: \"%s\", expected \"%s\"", sql, got, expected);
}

START_TEST(a_write_over_its_time_was_not_done)
{
    struct ask *a;
    char pid[32];
    uint64_t from;

    for (uint64_t usual = 0; usual <= 30000; usual += 30000) {
        lab_of(1, usual);
        lab_get(lab, "acme", 0, "SELECT pg_backend_pid()", pid, sizeof(pid));
        a = ask_new("acme", 0, "INSERT INTO done SELECT 1 FROM pg_sleep(30)");
        a->q.timeout_ms = 400;
        from = clock_ms();
        run(a);
        ck_assert(str_is(err_get(&a->err, "code"), "query_timeout"));
        ck_assert_str_eq(a->err.sqlstate, "57014"); /* the server's own word */
        ck_assert_uint_lt(clock_ms() - from, 400 + 100);
        ask_free(a);
        is(0, "SELECT count(*) FROM done", "0");
        is(ATH_PG_READ, "SELECT pg_backend_pid()", pid); /* its connection lives */
        is(0, "SHOW statement_timeout", usual ? "30s" : "0");
        lab_stop(lab);
    }
}
END_TEST

START_TEST(each_statement_alone_has_its_limit_and_settings)
{
    struct ask *a;

    lab_of(1, 30000);
    a = ask_new("acme", ATH_PG_EACH, "SELECT current_setting('my.user')");
    ask_set(a, "my.user", "somebody");
    ask_stmt(a, "SELECT current_setting('my.user')");
    ask_stmt(a, "SELECT current_setting('statement_timeout')");
    ask_stmt(a, "INSERT INTO done SELECT 1 FROM pg_sleep(30)");
    a->q.timeout_ms = 400;
    run(a);
    ck_assert_str_eq(a->err.sqlstate, "57014");
    ask_free(a);
    a = ask_new("acme", ATH_PG_EACH, "SELECT current_setting('my.user')");
    ask_set(a, "my.user", "somebody");
    ask_stmt(a, "SELECT current_setting('my.user')");
    ask_stmt(a, "SELECT current_setting('statement_timeout')");
    a->q.timeout_ms = 400;
    run(a);
    ck_assert_msg(a->rc == 0, "%s", a->err.message);
    ck_assert_str_eq(a->cells[0], "somebody");
    ck_assert_str_eq(a->cells[1], "somebody");
    ck_assert_int_le(atoi(a->cells[2]), 400);
    ask_free(a);
    lab_stop(lab);
}
END_TEST

START_TEST(reads_are_told_nothing)
{
    struct ask *a;

    lab_of(1, 30000);
    a = ask_new("acme", ATH_PG_READ, "SHOW statement_timeout");
    a->q.timeout_ms = 400;
    run(a);
    ck_assert_str_eq(a->cell, "30s");
    ask_free(a);
    a = ask_new("acme", ATH_PG_READ | ATH_PG_ROWS, "SHOW statement_timeout");
    run(a);
    ck_assert_str_eq(a->cell, "0"); /* as long as their reader */
    ask_free(a);
    is(ATH_PG_READ, "SHOW statement_timeout", "30s");
    lab_stop(lab);
}
END_TEST

/* In one transaction: a query with little time, then one with the usual. */
struct pair {
    struct ask *ask;
    ath_session *session;
    char first[32], second[32];
};

static int pair_over(ath_task *t, const ath_done *d, ath_err *e)
{
    struct pair *p = d->arg;

    (void)t, (void)e;
    snprintf(p->second, sizeof(p->second), "%.*s", STR_ARG(db_rows_text(d->rows, 0, 0)));
    ask_end(p->ask);
    return d->rc;
}

static int pair_query(ath_task *t, struct pair *p, uint32_t ms, ath_then *then, ath_err *e)
{
    static const ath_stmt show = { .sql = "SHOW statement_timeout" };
    ath_query q = { .size = sizeof(q),
                    .session = p->session,
                    .stmt = &show,
                    .stmt_size = sizeof(show),
                    .stmt_count = 1,
                    .timeout_ms = ms };

    return db_query(t, &q, then, p, e);
}

static int pair_second(ath_task *t, const ath_done *d, ath_err *e)
{
    struct pair *p = d->arg;

    if (d->rc < 0)
        return d->rc;
    snprintf(p->first, sizeof(p->first), "%.*s", STR_ARG(db_rows_text(d->rows, 0, 0)));
    return pair_query(t, p, 0, pair_over, e);
}

static int pair_first(ath_task *t, const ath_done *d, ath_err *e)
{
    struct pair *p = d->arg;

    if (d->rc < 0)
        return d->rc;
    p->session = d->session;
    return pair_query(t, p, 400, pair_second, e);
}

static int pair_run(ath_task *t, void *arg, ath_err *e)
{
    struct ask *a = arg;

    return db_open(t, &a->q, pair_first, a->arg, e);
}

START_TEST(a_limit_ends_with_its_query_not_with_the_transaction)
{
    struct pair p = { .ask = ask_new("acme", 0, "BEGIN") };

    lab_of(1, 30000);
    p.ask->instead = pair_run;
    p.ask->arg = &p;
    run(p.ask);
    ck_assert_msg(p.ask->rc == 0, "%s", p.ask->err.message);
    ck_assert_int_le(atoi(p.first), 400);
    ck_assert_ptr_nonnull(strstr(p.first, "ms"));
    ck_assert_str_eq(p.second, "30s");
    ask_free(p.ask);
    lab_stop(lab);
}
END_TEST

START_TEST(who_cannot_make_it_is_told_at_once)
{
    enum { N = 40 };
    struct ask *a[N], *b;
    uint64_t from;

    lab_of(1, 0);
    for (int i = 0; i < N; i++)
        a[i] = ask_new("acme", 0, "SELECT pg_sleep(0.08)");
    lab_send(lab, 0, a, N);
    usleep(900000);
    b = ask_new("acme", ATH_PG_READ, "SELECT 'hopeless'");
    b->q.timeout_ms = 300;
    from = clock_ms();
    run(b);
    ck_assert_uint_lt(clock_ms() - from, 100);
    ck_assert(b->refused);
    ck_assert(str_is(err_get(&b->err, "code"), "pool_timeout"));
    ck_assert_int_ge(atoi(err_get(&b->err, "retry_after").p), 2);
    ck_assert_int_le(atoi(err_get(&b->err, "retry_after").p), 6);
    ask_free(b);
    b = run(ask_new("acme", ATH_PG_READ, "SELECT 'has time'"));
    ck_assert_msg(b->rc == 0, "%s", b->err.message);
    ask_free(b);
    for (int i = 0; i < N; i++) {
        ck_assert(ask_wait(a[i], 10000) && a[i]->rc == 0);
        ask_free(a[i]);
    }
    b = ask_new("acme", ATH_PG_READ, "SELECT 'short again'");
    b->q.timeout_ms = 300;
    run(b);
    ck_assert_msg(b->rc == 0, "%s", b->err.message);
    ask_free(b);
    lab_stop(lab);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        a_write_over_its_time_was_not_done,
        each_statement_alone_has_its_limit_and_settings,
        reads_are_told_nothing,
        a_limit_ends_with_its_query_not_with_the_transaction,
        who_cannot_make_it_is_told_at_once,
    };
    Suite *s = suite_create("db deadlines");
    TCase *c = tcase_create("deadlines");

    tcase_set_timeout(c, 120);
    tcase_add_unchecked_fixture(c, cluster_up, cluster_down);
    for (size_t i = 0; i < ATH_COUNT(tests); i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return s;
}
