/* Sessions over a real PostgreSQL: transactions with decisions in between, and every way to leave
 * one. A flow is a task that runs statements one after the other in one session. */
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "lib/text.h"
#include "support/check_main.h"
#include "support/dblab.h"
#include "support/postgres.h"

enum { STEPS = 24 };

static struct postgres *pg;
static struct lab *lab;

static void cluster_up(void)
{
    pg = postgres_start(NULL);
    postgres_sql(pg, "CREATE TABLE kept (a int PRIMARY KEY)");
}

static void cluster_down(void)
{
    postgres_free(pg);
}

static void lab_with(struct db_options o)
{
    ath_err e;

    o.control_client = "acme";
    lab = lab_start(&o, 1);
    ck_assert_msg(db_client_put("acme", postgres_uri(pg), "config", &e) == 0, "%s", e.message);
    postgres_sql(pg, "TRUNCATE kept");
}

static void lab_of(uint64_t pool_max)
{
    struct db_options o = lab_options();

    o.pool_max = pool_max;
    lab_with(o);
}

/* A step is SQL, or one of
 *     !close        gives the session back (the flow goes on)
 *     !stay         waits until somebody ends the task
 *     !twice SQL    starts a second query beside it, which must be refused */
struct flow {
    struct ask *ask;
    ath_session *session;
    const char *step[STEPS];
    size_t at;
    uint32_t flags, timeout_ms; /* of each query */
    const char *client;         /* named by each query; NULL: none */
    char got[STEPS][80];        /* first cell, or "!code" */
};

static int flow_next(ath_task *t, struct flow *f, ath_err *e);

static void note(struct flow *f, const ath_done *d, const ath_err *e)
{
    ath_str cell = d->rc == ATH_E_BUG ? ATH_S("BUG")
                   : d->rc < 0        ? err_get(e, "code")
                                      : db_rows_text(d->rows, 0, 0);

    snprintf(f->got[f->at++], sizeof(f->got[0]), "%s%.*s", d->rc < 0 ? "!" : "", STR_ARG(cell));
}

static int flow_done(ath_task *t, const ath_done *d, ath_err *e)
{
    struct flow *f = d->arg;

    note(f, d, e);
    if (d->session)
        f->session = d->session;
    return flow_next(t, f, e);
}

static int ignored(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t, (void)d, (void)e;
    return 0;
}

static int flow_query(ath_task *t, struct flow *f, const char *sql, ath_err *e)
{
    ath_stmt stmt = { .sql = sql };
    ath_query q = { .size = sizeof(q),
                    .client = str_of(f->client ? f->client : ""),
                    .flags = f->flags,
                    .session = f->session,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1,
                    .timeout_ms = f->timeout_ms };
    int rc = db_query(t, &q, flow_done, f, e);

    if (rc < 0) {
        note(f, &(ath_done){ .rc = rc }, e);
        return flow_next(t, f, e);
    }
    return 0;
}

static int flow_twice(ath_task *t, struct flow *f, const char *sql, ath_err *e)
{
    ath_stmt stmt = { .sql = sql };
    ath_query q = { .size = sizeof(q),
                    .session = f->session,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };
    int rc = db_query(t, &q, flow_done, f, e);

    ck_assert_int_eq(rc, 0);
    ck_assert_int_eq(db_query(t, &q, ignored, f, e), ATH_E_BUG);
    return 0;
}

static int flow_next(ath_task *t, struct flow *f, ath_err *e)
{
    const char *step = f->step[f->at];

    err_reset(e);
    if (!step) {
        ask_end(f->ask);
        return 0;
    }
    if (strcmp(step, "!close") == 0) {
        db_close(f->session);
        f->at++;
        return flow_next(t, f, e);
    }
    if (strcmp(step, "!stay") == 0)
        return task_after(t, 60000, ignored, NULL, e);
    if (str_starts(str_of(step), "!twice "))
        return flow_twice(t, f, step + 7, e);
    return flow_query(t, f, step, e);
}

/* The first step is an open's: what `ask` says. */
static int flow_run(ath_task *t, void *arg, ath_err *e)
{
    struct ask *a = arg;
    struct flow *f = a->arg;

    return db_open(t, &a->q, flow_done, f, e);
}

static struct flow *flow_new(uint32_t flags, const char *const *step)
{
    struct flow *f = MEM_NEW(struct flow);

    f->ask = ask_new("acme", flags, NULL);
    f->ask->instead = flow_run;
    f->ask->arg = f;
    for (size_t i = 0; step[i]; i++)
        f->step[i] = step[i];
    return f;
}

static void flow_free(struct flow *f)
{
    ask_free(f->ask);
    free(f);
}

static void flow_send(struct flow *f)
{
    lab_send(lab, 0, &f->ask, 1);
}

static void flow_wait(struct flow *f)
{
    ck_assert_msg(ask_wait(f->ask, 20000), "hangs in step %zu", f->at);
    ck_assert_msg(f->ask->rc == 0, "%s", f->ask->err.message);
}

static struct flow *flow_through(uint32_t flags, const char *const *step)
{
    struct flow *f = flow_new(flags, step);

    flow_send(f);
    flow_wait(f);
    return f;
}

#define STEPS_OF(...) ((const char *const[]){ "(open)", __VA_ARGS__, NULL })

static void wait_for(const char *sql, long expected)
{
    long n = -1;

    for (int i = 0; i < 150 && (n = postgres_number(pg, sql)) != expected; i++)
        usleep(20000);
    ck_assert_msg(n == expected, "%s: %ld, expected %ld", sql, n, expected);
}

static void is(const char *sql, const char *expected)
{
    char got[256];

    lab_get(lab, "acme", ATH_PG_READ, sql, got, sizeof(got));
    ck_assert_msg(strcmp(got, expected) == 0, "%s: \"%s\", expected \"%s\"", sql, got, expected);
}

static void nothing_held(void)
{
    struct db_client *c = db_client_find(ATH_S("acme"));

    for (int i = 0; i < 150 && atomic_load(&c->held); i++)
        usleep(10000);
    ck_assert_uint_eq(atomic_load(&c->held), 0);
    ck_assert_int_eq(postgres_number(pg, "SELECT count(*) FROM pg_stat_activity WHERE state LIKE "
                                         "'idle in transaction%'"),
                     0);
}

START_TEST(a_transaction_with_decisions_in_between)
{
    struct flow *f;

    lab_of(3);
    f = flow_through(0, STEPS_OF("BEGIN", "INSERT INTO kept VALUES (1) RETURNING a",
                                 "SELECT count(*) FROM kept", "COMMIT",
                                 "SELECT (pg_current_xact_id_if_assigned() IS NULL)::text", "BEGIN",
                                 "INSERT INTO kept VALUES (2)", "ROLLBACK", "!close"));
    ck_assert_str_eq(f->got[2], "1");
    ck_assert_str_eq(f->got[3], "1");
    ck_assert_str_eq(f->got[5], "true");
    flow_free(f);
    is("SELECT string_agg(a::text, ',') FROM kept", "1");
    nothing_held();
    lab_stop(lab);
}
END_TEST

START_TEST(an_error_fails_the_transaction_and_not_the_session)
{
    struct flow *f;

    lab_of(3);
    f = flow_through(
        0, STEPS_OF("BEGIN", "INSERT INTO kept VALUES (1)", "INSERT INTO kept VALUES (1)",
                    "SELECT 1", "ROLLBACK", "SELECT 'fine'", "BEGIN", "SAVEPOINT s", "SELECT 1/0",
                    "ROLLBACK TO s", "INSERT INTO kept VALUES (3)", "COMMIT", "!close"));
    ck_assert_str_eq(f->got[3], "!unique_violation");
    ck_assert_int_eq(f->got[4][0], '!'); /* 25P02: nothing runs in a failed transaction */
    ck_assert_str_eq(f->got[6], "fine");
    ck_assert_str_eq(f->got[9], "!data_exception");
    ck_assert_str_eq(f->got[12], "");
    flow_free(f);
    is("SELECT string_agg(a::text, ',') FROM kept", "3");
    nothing_held();
    lab_stop(lab);
}
END_TEST

START_TEST(what_is_open_at_the_close_is_rolled_back)
{
    struct flow *f;
    char pid[32];

    lab_of(1);
    lab_get(lab, "acme", 0, "SELECT pg_backend_pid()", pid, sizeof(pid));
    f = flow_through(0, STEPS_OF("BEGIN", "INSERT INTO kept VALUES (1)", "!close"));
    flow_free(f);
    is("SELECT count(*) FROM kept", "0");
    f = flow_through(0, STEPS_OF("BEGIN", "INSERT INTO kept VALUES (2)")); /* never closed */
    flow_free(f);
    is("SELECT count(*) FROM kept", "0");
    is("SELECT pg_backend_pid()", pid); /* and its connection was used again */
    nothing_held();
    lab_stop(lab);
}
END_TEST

START_TEST(settings_begin_a_transaction_that_they_hold_for)
{
    struct flow *f = flow_new(ATH_PG_SERIALIZABLE,
                              STEPS_OF("SELECT current_setting('my.user')",
                                       "SHOW transaction_isolation", "INSERT INTO kept VALUES (1)",
                                       "COMMIT", "SELECT current_setting('my.user', true)",
                                       "SHOW transaction_isolation", "!close"));

    lab_of(1);
    ask_set(f->ask, "my.user", "somebody");
    ask_stmt(f->ask, "SELECT 'first'");
    flow_send(f);
    flow_wait(f);
    ck_assert_str_eq(f->got[0], "first");
    ck_assert_str_eq(f->got[1], "somebody");
    ck_assert_str_eq(f->got[2], "serializable");
    ck_assert_str_eq(f->got[5], "");
    ck_assert_str_eq(f->got[6], "read committed");
    flow_free(f);
    is("SELECT count(*) FROM kept", "1");
    lab_stop(lab);
}
END_TEST

START_TEST(an_open_that_fails_opens_nothing)
{
    struct flow *f = flow_new(0, (const char *const[]){ "(open)", NULL });

    lab_of(1);
    ask_set(f->ask, "my.user", "somebody");
    ask_stmt(f->ask, "SELECT 1/0");
    flow_send(f);
    flow_wait(f);
    ck_assert_str_eq(f->got[0], "!data_exception");
    ck_assert_ptr_null(f->session);
    flow_free(f);
    is("SELECT 'fine'", "fine");
    nothing_held();
    lab_stop(lab);
}
END_TEST

START_TEST(a_task_that_goes_commits_nothing)
{
    struct flow *f;
    struct db_client *c;

    lab_of(4);
    c = db_client_find(ATH_S("acme"));
    f = flow_new(0, STEPS_OF("BEGIN", "INSERT INTO kept VALUES (1)", "!stay"));
    flow_send(f);
    wait_for("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'", 1);
    ask_leave(f->ask);
    ck_assert(ask_wait(f->ask, 5000));
    wait_for("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'", 0);
    ck_assert_uint_eq(atomic_load(&c->connections), 1); /* given back, not closed */
    flow_free(f);
    f = flow_new(0, STEPS_OF("BEGIN", "INSERT INTO kept VALUES (1)", "SELECT pg_sleep(60)"));
    flow_send(f);
    wait_for("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE "
             "'%pg_sleep%' AND pid <> pg_backend_pid()",
             1);
    ask_leave(f->ask);
    ck_assert(ask_wait(f->ask, 5000));
    wait_for("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> "
             "pg_backend_pid()",
             0);
    flow_free(f);
    is("SELECT count(*) FROM kept", "0");
    nothing_held();
    lab_stop(lab);
}
END_TEST

START_TEST(a_query_over_its_time_ends_the_session)
{
    struct flow *f = flow_new(
        0, STEPS_OF("INSERT INTO kept VALUES (1) RETURNING pg_sleep(30)", "SELECT 1", "!close"));

    lab_of(2);
    f->timeout_ms = 200;
    flow_send(f);
    flow_wait(f);
    ck_assert_str_eq(f->got[1], "!query_timeout");
    ck_assert_str_eq(f->got[2], "!connection_error");
    flow_free(f);
    nothing_held();
    is("SELECT count(*) FROM kept", "0");
    lab_stop(lab);
}
END_TEST

START_TEST(wrong_use_is_told)
{
    struct flow *f;

    lab_of(3);
    f = flow_through(0, STEPS_OF("!twice SELECT 7", "BEGIN", "!close", "SELECT 1"));
    ck_assert_str_eq(f->got[1], "7");
    ck_assert_str_eq(f->got[4], "!BUG");
    flow_free(f);
    f = flow_new(0, STEPS_OF("BEGIN", "SELECT 1", "ROLLBACK"));
    f->flags = ATH_PG_SERIALIZABLE;
    flow_send(f);
    flow_wait(f);
    ck_assert_str_eq(f->got[1], ""); /* a transaction in itself, with a warning */
    flow_free(f);
    nothing_held();
    lab_stop(lab);
}
END_TEST

START_TEST(a_query_may_name_its_sessions_client_and_no_other)
{
    static const char *const names[] = { "ACME", "@control", "other" };
    ath_err e;

    lab_of(3);
    ck_assert_int_eq(db_client_put("other", postgres_uri(pg), "config", &e), 0);
    for (size_t i = 0; i < ATH_COUNT(names); i++) {
        struct flow *f = flow_new(0, STEPS_OF("SELECT 1", "!close"));
        f->client = names[i];
        flow_send(f);
        flow_wait(f);
        ck_assert_str_eq(f->got[1], i < 2 ? "1" : "!BUG");
        flow_free(f);
    }
    nothing_held();
    lab_stop(lab);
}
END_TEST

START_TEST(a_query_with_an_isolation_is_refused_while_a_transaction_is_open)
{
    struct flow *f = flow_new(0, STEPS_OF("SELECT 1", "!close"));

    lab_of(3);
    ask_stmt(f->ask, "BEGIN");
    f->flags = ATH_PG_READ_ONLY;
    flow_send(f);
    flow_wait(f);
    ck_assert_str_eq(f->got[1], "!BUG");
    flow_free(f);
    f = flow_new(0, STEPS_OF("SELECT 1/0", "SHOW transaction_read_only", "!close"));
    f->flags = ATH_PG_READ_ONLY;
    flow_send(f);
    flow_wait(f);
    ck_assert_str_eq(f->got[1], "!data_exception");
    ck_assert_str_eq(f->got[2], "on"); /* its own transaction was rolled back behind it */
    flow_free(f);
    nothing_held();
    lab_stop(lab);
}
END_TEST

START_TEST(a_raw_session_leaves_nothing)
{
    struct flow *f;
    char pid[32];

    lab_of(1);
    lab_get(lab, "acme", 0, "SELECT pg_backend_pid()", pid, sizeof(pid));
    f = flow_new(ATH_PG_RAW, STEPS_OF("SET work_mem = '7MB'", "CREATE TEMP TABLE mine (a int)",
                                      "SELECT pg_advisory_lock(4711)", "LISTEN gossip",
                                      "SHOW work_mem", "BEGIN"));
    f->flags = ATH_PG_RAW;
    flow_send(f);
    flow_wait(f);
    ck_assert_str_eq(f->got[5], "7MB");
    flow_free(f);
    is("SHOW work_mem", "4MB");
    is("SELECT coalesce(to_regclass('mine')::text, 'none')", "none");
    is("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "0");
    is("SELECT count(*) FROM pg_listening_channels()", "0");
    is("SELECT pg_backend_pid()", pid);
    nothing_held();
    lab_stop(lab);
}
END_TEST

START_TEST(one_of_its_own_stands_beside_the_pool)
{
    const char *const own = "SELECT count(*) FROM pg_stat_activity WHERE application_name = "
                            "'athena' AND pid <> pg_backend_pid()";
    struct flow *f;

    lab_of(1);
    f = flow_new(ATH_PG_OWN, STEPS_OF("SET work_mem = '9MB'", "BEGIN",
                                      "INSERT INTO kept VALUES (5)", "COMMIT", "!stay"));
    flow_send(f);
    wait_for("SELECT count(*) FROM kept", 1);
    is("SHOW work_mem", "4MB"); /* the pool's only connection is free */
    ck_assert_int_eq(postgres_number(pg, own), 2);
    ask_leave(f->ask);
    ck_assert(ask_wait(f->ask, 5000));
    wait_for(own, 1);
    flow_free(f);
    lab_stop(lab);
}
END_TEST

START_TEST(a_killed_server_is_told_once)
{
    struct flow *f;

    lab_of(2);
    f = flow_through(0, STEPS_OF("BEGIN", "INSERT INTO kept VALUES (1)",
                                 "SELECT pg_terminate_backend(pg_backend_pid())", "SELECT 1",
                                 "!close"));
    ck_assert_str_eq(f->got[3], "!connection_error");
    ck_assert_str_eq(f->got[4], "!connection_error");
    flow_free(f);
    f = flow_new(ATH_PG_OWN, STEPS_OF("BEGIN", "SELECT pg_terminate_backend(pg_backend_pid())",
                                      "SELECT 1", "!close"));
    flow_send(f);
    flow_wait(f);
    ck_assert_str_eq(f->got[2], "!connection_error");
    ck_assert_str_eq(f->got[3], "!connection_error");
    flow_free(f);
    is("SELECT count(*) FROM kept", "0");
    nothing_held();
    lab_stop(lab);
}
END_TEST

START_TEST(sessions_never_take_all_connections)
{
    enum { N = 12 };
    struct flow *f[N];
    struct db_client *c;

    lab_of(8);
    c = db_client_find(ATH_S("acme"));
    for (int i = 0; i < N; i++) {
        f[i] = flow_new(0, STEPS_OF("BEGIN", "!stay"));
        flow_send(f[i]);
    }
    wait_for("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'", 6);
    ck_assert_uint_eq(atomic_load(&c->held), 6);
    is("SELECT 'quick'", "quick");
    for (int i = 0; i < N; i++) {
        ask_leave(f[i]->ask);
        ck_assert(ask_wait(f[i]->ask, 5000));
        flow_free(f[i]);
    }
    nothing_held();
    lab_stop(lab);
}
END_TEST

START_TEST(a_session_waits_its_time_and_no_longer)
{
    struct flow *first = flow_new(0, STEPS_OF("BEGIN", "!stay"));
    struct flow *second = flow_new(0, STEPS_OF("SELECT 1"));
    struct db_options o = lab_options();

    o.pool_max = 1;
    o.acquire_timeout_ms = 200;
    lab_with(o);
    flow_send(first);
    wait_for("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'", 1);
    flow_send(second);
    ck_assert(ask_wait(second->ask, 3000));
    ck_assert_str_eq(second->got[0], "!pool_timeout");
    ask_leave(first->ask);
    ck_assert(ask_wait(first->ask, 3000));
    flow_free(first);
    flow_free(second);
    lab_stop(lab);
}
END_TEST

START_TEST(prepared_statements_work_inside_as_outside)
{
    struct flow *f;

    postgres_sql(pg, "DROP TABLE IF EXISTS changing; CREATE TABLE changing (a int);"
                     "INSERT INTO changing VALUES (1)");
    lab_of(1);
    is("SELECT * FROM changing", "1");
    postgres_sql(pg, "ALTER TABLE changing ADD b int");
    f = flow_through(0, STEPS_OF("SELECT * FROM changing", "SELECT * FROM changing", "!close"));
    ck_assert_str_eq(f->got[1], "1"); /* prepared anew, unseen */
    flow_free(f);
    postgres_sql(pg, "ALTER TABLE changing ADD c int");
    f = flow_through(0, STEPS_OF("BEGIN", "SELECT * FROM changing", "ROLLBACK", "BEGIN",
                                 "SELECT * FROM changing", "COMMIT", "!close"));
    ck_assert_str_eq(f->got[2], "!serialization_failure"); /* the transaction may be repeated */
    ck_assert_str_eq(f->got[5], "1");
    flow_free(f);
    nothing_held();
    lab_stop(lab);
}
END_TEST

START_TEST(stopping_ends_sessions)
{
    struct flow *f = flow_new(0, STEPS_OF("BEGIN", "SELECT pg_sleep(60)", "SELECT 1"));
    struct flow *own = flow_new(ATH_PG_OWN, STEPS_OF("SELECT pg_sleep(60)", "SELECT 1"));
    struct flow *idle = flow_new(0, STEPS_OF("BEGIN", "!stay"));

    lab_of(8);
    flow_send(f);
    flow_send(own);
    flow_send(idle);
    wait_for("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND state = "
             "'active' AND pid <> pg_backend_pid()",
             2);
    wait_for("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'", 1);
    ask_leave(idle->ask);
    lab_stop(lab);
    ck_assert(ask_wait(f->ask, 1000) && ask_wait(own->ask, 1000) && ask_wait(idle->ask, 1000));
    ck_assert_str_eq(f->got[2], "!server_draining");
    ck_assert_str_eq(own->got[1], "!connection_error");
    flow_free(f);
    flow_free(own);
    flow_free(idle);
}
END_TEST

START_TEST(parts_name_their_clients)
{
    struct ask *a;

    lab_of(2);
    a = ask_new("@control", ATH_PG_READ, "SELECT 'control'");
    lab_send(lab, 0, &a, 1);
    ck_assert(ask_wait(a, 5000));
    ck_assert_str_eq(a->cell, "control");
    ask_free(a);
    a = ask_new("@auth", ATH_PG_READ, "SELECT 1");
    lab_send(lab, 0, &a, 1);
    ck_assert(ask_wait(a, 5000));
    ck_assert(str_is(err_get(&a->err, "code"), "feature_unavailable"));
    ck_assert_ptr_nonnull(strstr(a->err.message, "gateway.auth_client"));
    ask_free(a);
    lab_stop(lab);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        a_transaction_with_decisions_in_between,
        an_error_fails_the_transaction_and_not_the_session,
        what_is_open_at_the_close_is_rolled_back,
        settings_begin_a_transaction_that_they_hold_for,
        an_open_that_fails_opens_nothing,
        a_task_that_goes_commits_nothing,
        a_query_over_its_time_ends_the_session,
        wrong_use_is_told,
        a_query_may_name_its_sessions_client_and_no_other,
        a_query_with_an_isolation_is_refused_while_a_transaction_is_open,
        a_raw_session_leaves_nothing,
        one_of_its_own_stands_beside_the_pool,
        a_killed_server_is_told_once,
        sessions_never_take_all_connections,
        a_session_waits_its_time_and_no_longer,
        prepared_statements_work_inside_as_outside,
        stopping_ends_sessions,
        parts_name_their_clients,
    };
    Suite *s = suite_create("db sessions");
    TCase *c = tcase_create("sessions");

    tcase_set_timeout(c, 120);
    tcase_add_unchecked_fixture(c, cluster_up, cluster_down);
    for (size_t i = 0; i < ATH_COUNT(tests); i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return s;
}
