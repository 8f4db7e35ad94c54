/* Trips over a real PostgreSQL: answers never mix, errors stay with their cause, sessions stay
 * clean. */
#include <stdlib.h>

#include "base/mem.h"
#include "lib/text.h"
#include "support/check_main.h"
#include "support/dblab.h"
#include "support/postgres.h"

enum { INT4 = 23, TEXT = 25, BOOL = 16 };

static struct postgres *pg;
static struct lab *lab;

static void cluster_up(void)
{
    pg = postgres_start(NULL);
    postgres_sql(
        pg, "CREATE ROLE odd SUPERUSER LOGIN;"
            "ALTER ROLE odd SET DateStyle = 'German'; ALTER ROLE odd SET TimeZone = 'Asia/Tokyo'");
}

static void cluster_down(void)
{
    postgres_free(pg);
}

static void lab_with(struct db_options o)
{
    ath_err e;

    lab = lab_start(&o, 1);
    ck_assert_msg(db_client_put("Acme", postgres_uri(pg), "config", &e) == 0, "%s", e.message);
}

static void lab_one_connection(void)
{
    struct db_options o = lab_options();

    o.pool_max = 1;
    o.prepared_max = 20;
    lab_with(o);
}

static void wait_all(struct ask **a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(ask_wait(a[i], 20000), "ask %zu hangs", i);
}

static void free_all(struct ask **a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ask_free(a[i]);
}

static struct ask *run(struct ask *a)
{
    lab_send(lab, 0, &a, 1);
    ck_assert_msg(ask_wait(a, 20000), "hangs: %s", a->stmt[0].sql);
    return a;
}

static void run_ok(struct ask *a)
{
    run(a);
    ck_assert_msg(a->rc == 0, "%s: %s", a->stmt[0].sql, a->err.message);
    ask_free(a);
}

/* Code and SQLSTATE of what must fail. */
static void run_fails(struct ask *a, const char *code)
{
    run(a);
    ck_assert_msg(a->rc < 0, "%s: did not fail", a->stmt[0].sql);
    ck_assert_msg(str_is(err_get(&a->err, "code"), code), "%s: %s, expected %s", a->stmt[0].sql,
                  err_get(&a->err, "code").p, code);
    ask_free(a);
}

static void is(const char *client, uint32_t flags, const char *sql, const char *expected)
{
    char got[256];

    lab_get(lab, client, flags, sql, got, sizeof(got));
    ck_assert_msg(strcmp(got, expected) == 0, "%s: \"%s\", expected \"%s\"", sql, got, expected);
}

START_TEST(parallel_trips_never_mix)
{
    enum { N = 64 };
    struct ask *a[N];
    char value[N][16];

    lab_with(lab_options());
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < N; i++) {
            snprintf(value[i], sizeof(value[i]), "%d", round * N + i);
            a[i] = ask_new("acme", i % 5 ? ATH_PG_READ : 0,
                           i % 3 ? "SELECT $1::int" : "SELECT $1::text, repeat('x', 3000)");
            ask_param(a[i], value[i]);
            if (i % 7 == 0)
                ask_set(a[i], "work_mem", "1MB");
        }
        lab_send(lab, 0, a, N);
        wait_all(a, N);
        for (int i = 0; i < N; i++) {
            ck_assert_msg(a[i]->rc == 0, "%s", a[i]->err.message);
            ck_assert_str_eq(a[i]->cell, value[i]);
        }
        free_all(a, N);
    }
    lab_stop(lab);
}
END_TEST

START_TEST(types_belong_to_the_use_not_to_the_text)
{
    static const struct {
        uint32_t type;
        const char *value, *shows;
    } use[] = {
        { INT4, "007", "integer 7" },
        { TEXT, "007", "text 007" },
        { BOOL, "yes", "boolean true" },
        { 2950, "A0EEBC999C0B4EF8BB6D6BB9BD380A11", "uuid a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" },
        { TEXT, "A0EEBC999C0B4EF8BB6D6BB9BD380A11", "text A0EEBC999C0B4EF8BB6D6BB9BD380A11" },
    };

    lab_one_connection();
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < ATH_COUNT(use); i++) {
            struct ask *a = ask_new("acme", ATH_PG_READ, "SELECT pg_typeof($1) || ' ' || $1::text");
            ask_param(a, use[i].value);
            ask_type(a, use[i].type);
            run(a);
            ck_assert_msg(a->rc == 0, "%s", a->err.message);
            ck_assert_str_eq(a->cell, use[i].shows);
            ask_free(a);
        }
    lab_stop(lab);
}
END_TEST

START_TEST(prepared_statements_are_bounded_and_used_again)
{
    char sql[200][64], got[64];

    lab_one_connection();
    for (int i = 0; i < 200; i++) {
        snprintf(sql[i], sizeof(sql[i]), "SELECT %d::text", i);
        snprintf(got, sizeof(got), "%d", i);
        is("acme", ATH_PG_READ, sql[i], got);
    }
    lab_get(lab, "acme", ATH_PG_READ, "SELECT count(*) FROM pg_prepared_statements", got,
            sizeof(got));
    ck_assert_int_le(atoi(got), 21);
    ck_assert_int_ge(atoi(got), 15);
    for (int i = 0; i < 5; i++)
        lab_get(lab, "acme", ATH_PG_READ,
                "SELECT generic_plans + custom_plans FROM pg_prepared_statements "
                "WHERE statement LIKE '%generic_plans%'",
                got, sizeof(got));
    ck_assert_str_eq(got, "5");
    lab_stop(lab);
}
END_TEST

START_TEST(an_error_in_a_shared_sync_hurts_only_its_cause)
{
    enum { N = 64 };
    struct ask *a[N];
    char value[N][16];

    lab_one_connection();
    for (int round = 0; round < 4; round++) {
        bool unknown = round % 2 == 0; /* without it all of them are prepared */
        for (int i = 0; i < N; i++) {
            bool bad = unknown && i == 40;
            snprintf(value[i], sizeof(value[i]), "%d", i - 20);
            a[i] = ask_new("acme", ATH_PG_READ,
                           bad ? "SELECT no_such_column" : "SELECT 100 / $1::int");
            if (!bad)
                ask_param(a[i], value[i]);
        }
        lab_send(lab, 0, a, N);
        wait_all(a, N);
        for (int i = 0; i < N; i++) {
            if (i == 20) {
                ck_assert_str_eq(a[i]->err.sqlstate, "22012");
            } else if (unknown && i == 40) {
                ck_assert_str_eq(a[i]->err.sqlstate, "42703");
            } else {
                ck_assert_msg(a[i]->rc == 0, "%d: %s", i, a[i]->err.message);
                ck_assert_int_eq(atoi(a[i]->cell), 100 / (i - 20));
            }
        }
        free_all(a, N);
    }
    lab_stop(lab);
}
END_TEST

START_TEST(a_changed_table_is_read_with_its_new_columns)
{
    struct ask *a;

    postgres_sql(pg, "CREATE TABLE changing (a int); INSERT INTO changing VALUES (1)");
    lab_one_connection();
    for (int i = 0; i < 3; i++)
        is("acme", ATH_PG_READ, "SELECT * FROM changing", "1");
    postgres_sql(
        pg, "ALTER TABLE changing DROP COLUMN a; ALTER TABLE changing ADD b text DEFAULT 'two'");
    is("acme", ATH_PG_READ, "SELECT * FROM changing", "two");
    is("acme", ATH_PG_READ | ATH_PG_READ_ONLY, "SELECT * FROM changing", "two");
    postgres_sql(pg, "ALTER TABLE changing ADD c text");
    is("acme", ATH_PG_READ | ATH_PG_READ_ONLY, "SELECT * FROM changing", "two");
    a = ask_new("acme", ATH_PG_RAW, "DEALLOCATE ALL");
    run_ok(a);
    is("acme", ATH_PG_READ, "SELECT * FROM changing", "two");
    lab_stop(lab);
}
END_TEST

/* Each of its statements was prepared before both tables changed. */
START_TEST(all_that_is_prepared_may_be_outdated_at_once)
{
    postgres_sql(pg, "CREATE TABLE old_a (a int); CREATE TABLE old_b (b int)");
    lab_one_connection();
    for (int i = 0; i < 3; i++) {
        struct ask *a = ask_new("acme", 0, "INSERT INTO old_a VALUES (1) RETURNING *");
        ask_stmt(a, "INSERT INTO old_b VALUES (1) RETURNING *");
        ask_stmt(a, "SELECT * FROM old_b LIMIT 1");
        if (i == 2)
            postgres_sql(pg, "ALTER TABLE old_a ADD c text; ALTER TABLE old_b ADD c text");
        run(a);
        ck_assert_msg(a->rc == 0, "%s", a->err.message);
        ask_free(a);
    }
    is("acme", ATH_PG_READ, "SELECT count(*) FROM old_a", "3");
    is("acme", ATH_PG_READ, "SELECT count(*) FROM old_b", "3");
    lab_stop(lab);
}
END_TEST

START_TEST(a_trip_is_one_transaction)
{
    struct ask *a;

    postgres_sql(pg, "CREATE TABLE atomic (a int PRIMARY KEY);"
                     "CREATE TABLE late (a int REFERENCES atomic DEFERRABLE INITIALLY DEFERRED)");
    lab_one_connection();
    a = ask_new("acme", 0, "INSERT INTO atomic VALUES (1)");
    ask_stmt(a, "INSERT INTO atomic VALUES (1)");
    run_fails(a, "unique_violation");
    is("acme", ATH_PG_READ, "SELECT count(*) FROM atomic", "0");
    a = ask_new("acme", 0, "INSERT INTO atomic VALUES (1), (2)");
    ask_stmt(a, "SELECT count(*) FROM atomic");
    ask_stmt(a, "DELETE FROM atomic");
    run(a);
    ck_assert_msg(a->rc == 0, "%s", a->err.message);
    ck_assert_uint_eq(a->results, 3);
    ck_assert_uint_eq(a->affected[0], 2);
    ck_assert_str_eq(a->cells[1], "2");
    ck_assert_uint_eq(a->affected[2], 2);
    ask_free(a);
    run_fails(ask_new("acme", 0, "INSERT INTO late VALUES (7)"),
              "foreign_key_violation"); /* at commit */
    is("acme", ATH_PG_READ, "SELECT count(*) FROM late", "0");
    a = ask_new("acme", ATH_PG_EACH, "INSERT INTO atomic VALUES (1)");
    ask_stmt(a, "INSERT INTO atomic VALUES (1)");
    run_fails(a, "unique_violation");
    is("acme", ATH_PG_READ, "SELECT count(*) FROM atomic", "1");
    lab_stop(lab);
}
END_TEST

START_TEST(isolation_is_what_was_asked_for)
{
    lab_one_connection();
    is("acme", ATH_PG_READ | ATH_PG_SERIALIZABLE, "SHOW transaction_isolation", "serializable");
    is("acme", ATH_PG_REPEATABLE, "SHOW transaction_isolation", "repeatable read");
    is("acme", ATH_PG_READ | ATH_PG_READ_ONLY, "SHOW transaction_read_only", "on");
    run_fails(ask_new("acme", ATH_PG_READ_ONLY, "CREATE TABLE forbidden (a int)"), "read_only");
    run_fails(ask_new("acme", ATH_PG_SERIALIZABLE | ATH_PG_READ_ONLY, "SELECT 1/0"),
              "data_exception");
    is("acme", 0, "SHOW transaction_read_only", "off");
    is("acme", ATH_PG_READ, "SHOW transaction_isolation", "read committed");
    lab_stop(lab);
}
END_TEST

START_TEST(settings_end_with_their_trip)
{
    struct ask *a;

    postgres_sql(pg, "CREATE SCHEMA one; CREATE TABLE one.here AS SELECT 'one' AS x;"
                     "CREATE SCHEMA two; CREATE TABLE two.here AS SELECT 2 AS x");
    lab_one_connection();
    for (int i = 0; i < 3; i++) {
        a = ask_new("acme", ATH_PG_READ, "SELECT x FROM here");
        ask_set(a, "search_path", i % 2 ? "one" : "two");
        ask_set(a, "my.user", "somebody");
        ask_stmt(a, "SELECT current_setting('my.user')");
        run(a);
        ck_assert_msg(a->rc == 0, "%s", a->err.message);
        ck_assert_str_eq(a->cells[0], i % 2 ? "one" : "2");
        ck_assert_str_eq(a->cells[1], "somebody");
        ask_free(a);
        is("acme", ATH_PG_READ,
           "SELECT coalesce(nullif(current_setting('my.user', true), ''), 'nobody')", "nobody");
        is("acme", ATH_PG_READ, "SHOW search_path", "\"$user\", public");
    }
    a = ask_new("acme", 0, "SELECT 1/0");
    ask_set(a, "my.user", "somebody");
    run_fails(a, "data_exception");
    is("acme", ATH_PG_READ,
       "SELECT coalesce(nullif(current_setting('my.user', true), ''), 'nobody')", "nobody");
    lab_stop(lab);
}
END_TEST

START_TEST(nothing_of_a_callers_own_sql_stays)
{
    char first[64], last[64];

    lab_one_connection();
    lab_get(lab, "acme", ATH_PG_READ, "SELECT pg_backend_pid()", first, sizeof(first));
    run_ok(ask_new("acme", ATH_PG_RAW, "SET work_mem = '7MB'"));
    is("acme", ATH_PG_READ, "SHOW work_mem", "4MB");
    run_ok(ask_new("acme", ATH_PG_RAW, "SET DateStyle = 'German'"));
    is("acme", ATH_PG_READ, "SHOW DateStyle", "ISO, MDY");
    run_ok(ask_new("acme", ATH_PG_RAW, "CREATE TEMP TABLE mine AS SELECT 1"));
    is("acme", ATH_PG_READ, "SELECT coalesce(to_regclass('mine')::text, 'none')", "none");
    run_ok(ask_new("acme", ATH_PG_RAW, "SELECT pg_advisory_lock(4711)"));
    is("acme", ATH_PG_READ, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "0");
    run_ok(ask_new("acme", ATH_PG_RAW, "BEGIN"));
    is("acme", ATH_PG_READ, "SELECT (now() <> statement_timestamp() AND false)::text", "false");
    is("acme", 0, "SELECT pg_current_xact_id_if_assigned() IS NULL", "t");
    run_ok(ask_new("acme", ATH_PG_RAW, "LISTEN gossip"));
    is("acme", ATH_PG_READ, "SELECT count(*) FROM pg_listening_channels()", "0");
    lab_get(lab, "acme", ATH_PG_READ, "SELECT pg_backend_pid()", last, sizeof(last));
    ck_assert_str_eq(first, last);
    lab_stop(lab);
}
END_TEST

START_TEST(sessions_are_ours_whatever_the_role_says)
{
    char uri[300];
    ath_err e;

    lab_with(lab_options());
    snprintf(uri, sizeof(uri), "athena://odd@/postgres?host=%s", postgres_folder(pg));
    ck_assert_int_eq(db_client_put("odd", uri, "config", &e), 0);
    is("odd", ATH_PG_READ, "SELECT '2024-05-06 07:08:09+00'::timestamptz",
       "2024-05-06 07:08:09+00");
    is("odd", ATH_PG_READ, "SHOW client_encoding", "UTF8");
    is("odd", ATH_PG_READ,
       "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()", "athena");
    lab_stop(lab);
}
END_TEST

static void values_arrive(char *large)
{
    struct ask *a = ask_new("acme", ATH_PG_READ, "SELECT $1::text IS NULL, $2::text");
    char got[64];

    ask_param(a, NULL);
    ask_param(a, "");
    run(a);
    ck_assert_str_eq(a->cell, "t");
    ask_free(a);
    is("acme", ATH_PG_READ, "SELECT NULL::text", "<null>");
    is("acme", ATH_PG_READ, "SELECT '', NULL", "");
    a = ask_new("acme", ATH_PG_READ, "SELECT length($1), $1");
    ask_param(a, large);
    run(a);
    ck_assert_msg(a->rc == 0, "%s", a->err.message);
    snprintf(got, sizeof(got), "%zu", strlen(large));
    ck_assert_str_eq(a->cell, got);
    ask_free(a);
    a = ask_new("acme", ATH_PG_READ,
                "SELECT 'n', g, repeat('x', g) FROM generate_series(1, 2000) g");
    run(a);
    ck_assert_str_eq(a->cell, "n");
    ck_assert_uint_eq(a->rows, 2000);
    ck_assert_uint_eq(a->affected[0], 2000);
    ask_free(a);
    a = ask_new("acme", ATH_PG_READ, "SELECT 1 WHERE false");
    run(a);
    ck_assert_uint_eq(a->rows, 0);
    ask_free(a);
}

/* When they are asked for again they take another way, see db/wire.h. */
START_TEST(values_of_every_kind_arrive)
{
    size_t n = 5000000;
    char *large = mem_new(n + 1);
    struct ask *a;

    lab_one_connection();
    memset(large, 'x', n);
    for (int i = 0; i < 3; i++)
        values_arrive(large);
    a = ask_new("acme", ATH_PG_READ, "SELECT $1::text");
    a->param[0][0] = str_from("a\0b", 3);
    a->stmt[0].param_count = 1;
    run_fails(a, "invalid_text_encoding");
    free(large);
    lab_stop(lab);
}
END_TEST

/* The second one finds its connection gone and is run on another. */
START_TEST(a_prepared_read_survives_its_connection)
{
    char pid[64], end[128];

    lab_one_connection();
    for (int i = 0; i < 3; i++) {
        is("acme", ATH_PG_READ, "SELECT 'here'", "here");
        is("acme", ATH_PG_READ, "SELECT 'here'", "here");
        lab_get(lab, "acme", ATH_PG_READ, "SELECT pg_backend_pid()", pid, sizeof(pid));
        snprintf(end, sizeof(end), "SELECT pg_terminate_backend(%s)", pid);
        postgres_sql(pg, end);
        is("acme", ATH_PG_READ, "SELECT 'here'", "here");
    }
    lab_stop(lab);
}
END_TEST

START_TEST(what_has_no_place_in_a_pipeline_is_refused_or_runs_alone)
{
    lab_one_connection();
    postgres_sql(pg, "CREATE TABLE plain (a int)");
    run_ok(ask_new("acme", ATH_PG_ALONE, "CREATE INDEX CONCURRENTLY ON plain (a)"));
    run_ok(ask_new("acme", ATH_PG_ALONE, "VACUUM plain"));
    run_fails(ask_new("acme", ATH_PG_RAW, "COPY plain TO STDOUT"), "query_syntax");
    run_fails(ask_new("acme", ATH_PG_RAW, "COPY plain FROM STDIN"), "query_syntax");
    run_fails(ask_new("acme", ATH_PG_RAW, "SELECT 1; SELECT 2"), "syntax_error");
    run_fails(ask_new("acme", ATH_PG_COPY, "COPY plain TO STDOUT"), "feature_unavailable");

    run_fails(ask_new("nobody", ATH_PG_READ, "SELECT 1"), "client_unknown");
    run_ok(ask_new("acme", ATH_PG_READ, ""));
    is("acme", ATH_PG_READ, "SELECT 'fine'", "fine");
    lab_stop(lab);
}
END_TEST

START_TEST(errors_say_what_postgres_said)
{
    struct ask *a;

    postgres_sql(pg,
                 "CREATE TABLE strict (a int CONSTRAINT positive CHECK (a > 0), b text NOT NULL)");
    lab_one_connection();
    a = run(ask_new("acme", 0, "INSERT INTO strict VALUES (-1, 'x')"));
    ck_assert(str_is(err_get(&a->err, "constraint"), "positive"));
    ck_assert(str_is(err_get(&a->err, "table"), "strict"));
    ck_assert(str_starts(err_get(&a->err, "detail"), "Failing row contains"));
    ask_free(a);
    a = run(ask_new("acme", 0, "INSERT INTO strict (a) VALUES (1)"));
    ck_assert(str_is(err_get(&a->err, "code"), "not_null_violation"));
    ck_assert(str_is(err_get(&a->err, "column"), "b"));
    ask_free(a);
    a = run(ask_new("acme", ATH_PG_READ, "SELECT nmae FROM strict"));
    ck_assert(str_is(err_get(&a->err, "column"), "nmae"));
    ck_assert(str_is(err_get(&a->err, "position"), "8"));
    ask_free(a);
    lab_stop(lab);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        parallel_trips_never_mix,
        types_belong_to_the_use_not_to_the_text,
        prepared_statements_are_bounded_and_used_again,
        an_error_in_a_shared_sync_hurts_only_its_cause,
        a_changed_table_is_read_with_its_new_columns,
        all_that_is_prepared_may_be_outdated_at_once,
        a_trip_is_one_transaction,
        isolation_is_what_was_asked_for,
        settings_end_with_their_trip,
        nothing_of_a_callers_own_sql_stays,
        sessions_are_ours_whatever_the_role_says,
        values_of_every_kind_arrive,
        a_prepared_read_survives_its_connection,
        what_has_no_place_in_a_pipeline_is_refused_or_runs_alone,
        errors_say_what_postgres_said,
    };
    Suite *s = suite_create("db trips");
    TCase *c = tcase_create("trips");

    tcase_set_timeout(c, 120);
    tcase_add_unchecked_fixture(c, cluster_up, cluster_down);
    for (size_t i = 0; i < ATH_COUNT(tests); i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return s;
}
