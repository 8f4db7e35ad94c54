/* Databases that go away, pools that are full, several hosts, TLS. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
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

static void put(const char *name, const char *uri)
{
    ath_err e;

    ck_assert_msg(db_client_put(name, uri, "config", &e) == 0, "%s", e.message);
}

static bool is_503(const struct ask *a)
{
    return err_entry(&a->err)->status == 503 && err_get(&a->err, "retry_after").n;
}

static void get(const char *client, const char *sql, const char *expected)
{
    char got[256];

    lab_get(lab, client, ATH_PG_READ, sql, got, sizeof(got));
    ck_assert_msg(strcmp(got, expected) == 0, "%s: \"%s\", expected \"%s\"", sql, got, expected);
}

/* Asks until it works; how long that took in ms. */
static uint64_t until_it_works(const char *client)
{
    uint64_t from = clock_ms();

    for (;;) {
        struct ask *a = ask_new(client, ATH_PG_READ, "SELECT 1");
        int rc;
        lab_send(lab, 0, &a, 1);
        ck_assert(ask_wait(a, 6000));
        rc = a->rc;
        ck_assert(rc == 0 || is_503(a));
        ask_free(a);
        if (rc == 0)
            return clock_ms() - from;
        ck_assert_uint_le(clock_ms() - from, 10000);
        usleep(20000);
    }
}

/* ---- load: workers that ask again and again, from the loop itself ---- */

struct load {
    atomic_bool stop;
    atomic_uint ok, refused, bad;
};

static struct load load;

static void *load_worker(void *arg)
{
    uint32_t loop = (uint32_t)(uintptr_t)arg;

    while (!atomic_load(&load.stop)) {
        struct ask *a[8];
        for (int i = 0; i < 8; i++)
            a[i] =
                ask_new("acme", i == 7 ? 0 : ATH_PG_READ,
                        i == 7 ? "INSERT INTO counted VALUES (1)" : "SELECT count(*) FROM counted");
        lab_send(lab, loop, a, 8);
        for (int i = 0; i < 8; i++) {
            if (!ask_wait(a[i], 10000))
                abort(); /* hangs: its memory cannot be freed either */
            if (a[i]->rc == 0)
                atomic_fetch_add(&load.ok, 1);
            else if (is_503(a[i]))
                atomic_fetch_add(&load.refused, 1);
            else if (atomic_fetch_add(&load.bad, 1) < 5)
                fprintf(stderr, "not a 503: %s %s\n", err_get(&a[i]->err, "code").p,
                        a[i]->err.message);
            ask_free(a[i]);
        }
        usleep(1000);
    }
    return NULL;
}

static void restart_under_load(void (*break_it)(struct postgres *p),
                               void (*mend_it)(struct postgres *p))
{
    pthread_t thread[4];
    struct db_options o = lab_options();
    unsigned ok;

    load = (struct load){ .bad = 0 };
    lab = lab_start(&o, 2);
    put("acme", postgres_uri(pg));
    postgres_sql(pg, "CREATE TABLE IF NOT EXISTS counted (a int)");
    for (int i = 0; i < 4; i++)
        pthread_create(&thread[i], NULL, load_worker, (void *)(uintptr_t)(i % 2));
    usleep(300000);
    ck_assert_uint_gt(atomic_load(&load.ok), 0);
    break_it(pg);
    usleep(300000);
    if (mend_it)
        mend_it(pg);
    usleep(300000);
    ok = atomic_load(&load.ok);
    for (int i = 0; i < 100 && atomic_load(&load.ok) < ok + 100; i++)
        usleep(50000);
    ck_assert_uint_ge(atomic_load(&load.ok), ok + 100); /* healed by itself */
    atomic_store(&load.stop, true);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    ck_assert_uint_eq(atomic_load(&load.bad), 0);
    lab_stop(lab);
}

static void stop_now(struct postgres *p)
{
    postgres_down(p, "immediate");
}

START_TEST(a_restart_under_load_gives_answers_or_503)
{
    restart_under_load(postgres_restart, NULL);
}
END_TEST

START_TEST(so_does_a_crash)
{
    restart_under_load(stop_now, postgres_up);
    ck_assert_uint_gt(atomic_load(&load.refused), 0);
}
END_TEST

START_TEST(and_a_killed_server)
{
    restart_under_load(postgres_kill, postgres_up);
}
END_TEST

START_TEST(a_database_that_is_down_refuses_at_once_and_heals)
{
    struct db_options o = lab_options();
    struct db_pool_stats stats;
    uint64_t from;
    ath_err e;

    lab = lab_start(&o, 1);
    put("acme", postgres_uri(pg));
    get("acme", "SELECT 1", "1");
    postgres_down(pg, "fast");
    usleep(200000);
    from = clock_ms();
    for (int i = 0; i < 20; i++) {
        struct ask *a = ask_new("acme", ATH_PG_READ, "SELECT 1");
        lab_send(lab, 0, &a, 1);
        ck_assert(ask_wait(a, 1000));
        ck_assert_msg(is_503(a), "%s: %s", err_get(&a->err, "code").p, a->err.message);
        ck_assert(str_is(err_get(&a->err, "code"), "client_unavailable"));
        ck_assert(str_is(err_get(&a->err, "title"),
                         "Client 'acme' is configured but currently unavailable"));
        ask_free(a);
    }
    ck_assert_uint_lt(clock_ms() - from, 500);
    db_client_stats(db_client_find(ATH_S("ACME ")), &stats);
    ck_assert(!stats.up && stats.idle == 0 && stats.waiting == 0);
    postgres_up(pg);
    ck_assert_uint_le(until_it_works("acme"), 4000);
    db_client_stats(db_client_find(ATH_S("acme")), &stats);
    ck_assert(stats.up && stats.size >= 1);
    ck_assert_int_eq(db_client_usable(db_client_find(ATH_S("acme")), &e), 0);
    lab_stop(lab);
}
END_TEST

START_TEST(a_dead_idle_connection_is_replaced_unseen)
{
    struct db_options o = lab_options();

    lab = lab_start(&o, 1);
    put("acme", postgres_uri(pg));
    for (int i = 0; i < 5; i++) {
        get("acme", "SELECT 'there'", "there");
        postgres_sql(pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                         "WHERE application_name = 'athena'");
    }
    get("acme", "SELECT 'there'", "there");
    lab_stop(lab);
}
END_TEST

START_TEST(a_write_on_a_lost_connection_is_not_repeated)
{
    struct ask *a = ask_new("acme", 0, "SELECT pg_sleep(30) -- victim");
    struct db_options o = lab_options();

    lab = lab_start(&o, 1);
    put("acme", postgres_uri(pg));
    lab_send(lab, 0, &a, 1);
    for (int i = 0;
         i < 100 &&
         postgres_number(
             pg, "SELECT count(pg_terminate_backend(pid)) FROM "
                 "pg_stat_activity WHERE query LIKE '%victim%' AND pid <> pg_backend_pid()") == 0;
         i++)
        usleep(10000);
    ck_assert(ask_wait(a, 5000));
    ck_assert(is_503(a) && str_is(err_get(&a->err, "code"), "connection_error"));
    ask_free(a);
    lab_stop(lab);
}
END_TEST

START_TEST(waiting_has_an_end_and_a_bound)
{
    struct db_options o = lab_options();
    struct ask *slow, *a[10];

    o.pool_max = 1;
    o.acquire_timeout_ms = 300;
    o.waiting_max = 8;
    lab = lab_start(&o, 1);
    put("acme", postgres_uri(pg));
    slow = ask_new("acme", 0, "SELECT pg_sleep(1.2)");
    lab_send(lab, 0, &slow, 1);
    usleep(200000);
    for (int i = 0; i < 10; i++)
        a[i] = ask_new("acme", i % 2 ? ATH_PG_READ : 0, "SELECT 1");
    lab_send(lab, 0, a, 10);
    for (int i = 0; i < 10; i++) {
        ck_assert(ask_wait(a[i], 1000));
        ck_assert(str_is(err_get(&a[i]->err, "code"), "pool_timeout") && is_503(a[i]));
        ck_assert_int_eq(a[i]->refused, i >= 8);
        ask_free(a[i]);
    }
    ck_assert(ask_wait(slow, 5000) && slow->rc == 0);
    ask_free(slow);
    lab_stop(lab);
}
END_TEST

/* With turns a quarter of the budget is for others. */
static void budget_is_kept(bool fair)
{
    enum { N = 40 };
    struct db_options o = lab_options();
    struct ask *a[N], *b[4];

    o.pool_max = 12;
    o.budget = 6;
    o.fair = fair;
    lab = lab_start(&o, 2);
    put("acme", postgres_uri(pg));
    for (int i = 0; i < N; i++)
        a[i] = ask_new("acme", 0, "SELECT pg_sleep(0.02)");
    lab_send(lab, 0, a, N); /* the first loop borrows all there are */
    for (int i = 0; i < N; i++) {
        struct db_pool_stats stats;
        ck_assert(ask_wait(a[i], 10000));
        ck_assert_msg(a[i]->rc == 0, "%s", a[i]->err.message);
        db_client_stats(db_client_find(ATH_S("acme")), &stats);
        ck_assert_uint_le(stats.size, 6);
        ask_free(a[i]);
    }
    ck_assert_int_eq(postgres_number(pg, "SELECT count(*) FROM pg_stat_activity "
                                         "WHERE application_name = 'athena'"),
                     fair ? 4 : 6);
    for (int i = 0; i < 4; i++)
        b[i] = ask_new("acme", 0, "SELECT 1");
    lab_send(lab, 1, b, 4); /* and gives back to the second */
    for (int i = 0; i < 4; i++) {
        ck_assert_msg(ask_wait(b[i], 3000), "the second loop starves");
        ck_assert_msg(b[i]->rc == 0, "%s", b[i]->err.message);
        ask_free(b[i]);
    }
    lab_stop(lab);
}

START_TEST(connections_stay_within_the_budget_and_move_between_loops)
{
    budget_is_kept(false);
    budget_is_kept(true);
}
END_TEST

START_TEST(idle_connections_close_down_to_the_minimum)
{
    struct db_options o = lab_options();
    struct ask *a[8];

    o.idle_timeout_ms = 300;
    lab = lab_start(&o, 1);
    put("acme", postgres_uri(pg));
    for (int i = 0; i < 8; i++)
        a[i] = ask_new("acme", 0, "SELECT pg_sleep(0.2)");
    lab_send(lab, 0, a, 8);
    for (int i = 0; i < 8; i++) {
        ck_assert(ask_wait(a[i], 5000) && a[i]->rc == 0);
        ask_free(a[i]);
    }
    for (int i = 0; i < 100 && postgres_number(pg, "SELECT count(*) FROM pg_stat_activity WHERE "
                                                   "application_name = 'athena'") > 0;
         i++)
        usleep(50000);
    ck_assert_int_eq(postgres_number(pg, "SELECT count(*) FROM pg_stat_activity WHERE "
                                         "application_name = 'athena'"),
                     0);
    lab_stop(lab);
}
END_TEST

START_TEST(of_several_hosts_one_that_answers_is_used)
{
    struct db_options o = lab_options();
    char uri[400];

    lab = lab_start(&o, 1);
    snprintf(uri, sizeof(uri),
             "postgres://postgres@127.0.0.1:1,localhost:%d,localhost:2/postgres"
             "?target_session_attrs=read-write",
             postgres_port(pg));
    put("acme", uri);
    get("acme", "SELECT 'there'", "there");
    snprintf(uri, sizeof(uri),
             "postgres://postgres@no-such-host.invalid,localhost/postgres?port=%d",
             postgres_port(pg));
    put("some", uri);
    get("some", "SELECT 'there'", "there");
    lab_stop(lab);
}
END_TEST

START_TEST(tls_is_what_the_uri_says)
{
    struct db_options o = lab_options();
    struct ask *a;
    char uri[400];

    if (!postgres_tls(pg))
        return;
    lab = lab_start(&o, 1);
    snprintf(uri, sizeof(uri),
             "postgres://postgres@localhost:%d/postgres?sslmode=verify-full"
             "&sslrootcert=%s/data/server.crt",
             postgres_port(pg), postgres_folder(pg));
    put("checked", uri);
    get("checked", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", "t");
    a = ask_new("checked", ATH_PG_READ,
                "SELECT repeat('x', 4000) || n FROM generate_series(1, 3000) n");
    lab_send(lab, 0, &a, 1);
    ck_assert_msg(ask_wait(a, 10000), "a large answer over TLS hangs");
    ck_assert_uint_eq(a->rows, 3000);
    ask_free(a);
    snprintf(uri, sizeof(uri),
             "postgres://postgres:hunter2@127.0.0.1:%d/postgres?sslmode=verify-full"
             "&sslrootcert=%s/data/server.crt",
             postgres_port(pg), postgres_folder(pg));
    put("wrong", uri); /* the certificate is for localhost */
    a = ask_new("wrong", ATH_PG_READ, "SELECT 1");
    lab_send(lab, 0, &a, 1);
    ck_assert(ask_wait(a, 5000));
    ck_assert(is_503(a));
    ck_assert_ptr_null(strstr(a->err.details, "hunter2"));
    ask_free(a);
    lab_stop(lab);
}
END_TEST

START_TEST(a_host_that_does_not_answer_is_given_up)
{
    struct db_options o = lab_options();
    struct ask *a = ask_new("hole", ATH_PG_READ, "SELECT 1");
    int fd = socket(AF_INET, SOCK_STREAM, 0); /* accepts, and never says a word */
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(at);
    char uri[200];

    ck_assert(bind(fd, (struct sockaddr *)&at, n) == 0 && listen(fd, 8) == 0);
    ck_assert(getsockname(fd, (struct sockaddr *)&at, &n) == 0);
    o.connect_timeout_ms = 300;
    lab = lab_start(&o, 1);
    snprintf(uri, sizeof(uri), "postgres://postgres@127.0.0.1:%d/postgres", ntohs(at.sin_port));
    put("hole", uri);
    lab_send(lab, 0, &a, 1);
    ck_assert(ask_wait(a, 2000));
    ck_assert(is_503(a) && str_is(err_get(&a->err, "reason"), "connecting took too long"));
    ask_free(a);
    lab_stop(lab);
    close(fd);
}
END_TEST

START_TEST(a_client_may_get_another_address)
{
    struct db_options o = lab_options();

    postgres_sql(pg, "DROP DATABASE IF EXISTS second");
    postgres_sql(pg, "CREATE DATABASE second");
    lab = lab_start(&o, 1);
    put("acme", postgres_uri(pg));
    get("acme", "SELECT current_database()", "postgres");
    for (int i = 0; i < 2; i++) {
        char uri[300];
        snprintf(uri, sizeof(uri), "postgres://postgres@/second?host=%s&port=%d",
                 postgres_folder(pg), postgres_port(pg));
        put("acme", uri);
        usleep(50000);
        get("acme", "SELECT current_database()", "second");
    }
    ck_assert_uint_eq(db_client_count(), 1);
    lab_stop(lab);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        a_database_that_is_down_refuses_at_once_and_heals,
        a_restart_under_load_gives_answers_or_503,
        so_does_a_crash,
        and_a_killed_server,
        a_dead_idle_connection_is_replaced_unseen,
        a_write_on_a_lost_connection_is_not_repeated,
        waiting_has_an_end_and_a_bound,
        connections_stay_within_the_budget_and_move_between_loops,
        idle_connections_close_down_to_the_minimum,
        of_several_hosts_one_that_answers_is_used,
        tls_is_what_the_uri_says,
        a_host_that_does_not_answer_is_given_up,
        a_client_may_get_another_address,
    };
    Suite *s = suite_create("db outage");
    TCase *c = tcase_create("outage");

    tcase_set_timeout(c, 120);
    tcase_add_unchecked_fixture(c, cluster_up, cluster_down);
    for (size_t i = 0; i < ATH_COUNT(tests); i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return s;
}
