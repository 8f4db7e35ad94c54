/* Clients that are frozen, drained, removed and put back while their databases are asked. */
#include <malloc.h>
#ifdef ATHENA_ASAN
size_t __sanitizer_get_current_allocated_bytes(void);
#endif
#include <stdlib.h>
#include <unistd.h>

#include "lib/text.h"
#include "support/check_main.h"
#include "support/dblab.h"
#include "support/postgres.h"

static struct postgres *pg;
static struct lab *lab;
static ath_err e;

static const struct db_stand open_ = { .active = true };
static const struct db_stand frozen = { .active = true, .frozen = true };
static const struct db_stand draining = { .active = true, .frozen = true, .draining = true };
static const struct db_stand inactive = { 0 };

static void cluster_up(void)
{
    pg = postgres_start(NULL);
    postgres_sql(pg, "CREATE DATABASE other");
}

static void cluster_down(void)
{
    postgres_free(pg);
}

static void lab_up(uint64_t pool)
{
    struct db_options o = lab_options();

    o.pool_max = pool;
    o.control_client = "main";
    lab = lab_start(&o, 1);
    ck_assert_int_eq(db_client_put("Acme", postgres_uri(pg), "config", &e), 0);
}

static struct db_client *acme(void)
{
    return db_client_find(ATH_S(" ACME "));
}

static struct ask *begun(const char *client, uint32_t flags, const char *sql)
{
    struct ask *a = ask_new(client, flags, sql);

    lab_send(lab, 0, &a, 1);
    return a;
}

static void ends(struct ask *a, const char *code)
{
    ck_assert_msg(ask_wait(a, 10000), "hangs: %s", a->stmt[0].sql);
    ck_assert_msg(code ? str_is(err_get(&a->err, "code"), code) : a->rc == 0, "%s: %s",
                  a->stmt[0].sql, a->err.message);
    ask_free(a);
}

static void asked(const char *client, const char *code)
{
    ends(begun(client, ATH_PG_READ, "SELECT 1"), code);
}

/* Until the loops have done what was posted. */
static void settle(void)
{
    for (int i = 0; i < 200 && atomic_load(&acme()->connections); i++)
        usleep(10000);
}

START_TEST(a_freeze_lets_what_runs_end_and_refuses_what_waits)
{
    struct ask *running, *waiting;

    lab_up(1);
    asked("acme", NULL);
    running = begun("acme", 0, "SELECT pg_sleep(0.4)");
    usleep(100000);
    waiting = begun("acme", 0, "SELECT 2");
    usleep(50000);
    db_client_stand(acme(), &frozen);
    ends(waiting, "client_frozen");
    asked("acme", "client_frozen");
    ck_assert_int_lt(db_client_usable(acme(), &e), 0);
    ck_assert(str_is(err_get(&e, "code"), "client_frozen"));
    ends(running, NULL);
    settle();
    ck_assert_uint_eq(atomic_load(&acme()->connections), 0);
    db_client_stand(acme(), &inactive);
    asked("acme", "client_inactive");
    db_client_stand(acme(), &open_);
    asked("acme", NULL);
    ck_assert_int_eq(db_client_usable(acme(), &e), 0);
    lab_stop(lab);
}
END_TEST

START_TEST(a_draining_client_still_serves_what_has_begun)
{
    lab_up(4);
    db_client_stand(acme(), &draining);
    ck_assert_int_lt(db_client_usable(acme(), &e), 0); /* nobody begins */
    ck_assert(str_is(err_get(&e, "code"), "client_frozen"));
    asked("acme", NULL);                               /* who has begun goes on */
    db_client_stand(acme(), &frozen);
    asked("acme", "client_frozen");
    lab_stop(lab);
}
END_TEST

START_TEST(a_removed_client_is_unknown_and_comes_back)
{
    struct ask *running;
    char got[64], uri[512];
    struct db_client *c;

    lab_up(2);
    c = acme();
    running = begun("acme", 0, "SELECT pg_sleep(0.3)");
    usleep(100000);
    db_client_remove(c);
    ck_assert_ptr_null(acme());
    asked("acme", "client_unknown");
    ends(running, NULL);
    snprintf(uri, sizeof(uri), "postgres://postgres@/other?host=%s", postgres_folder(pg));
    ck_assert_int_eq(db_client_put("acme", uri, "database", &e), 0);
    ck_assert_ptr_eq(acme(), c);
    lab_get(lab, "acme", ATH_PG_READ, "SELECT current_database()", got, sizeof(got));
    ck_assert_str_eq(got, "other");
    db_client_remove(c);
    db_client_remove(c);
    lab_stop(lab);
}
END_TEST

START_TEST(one_that_cannot_be_used_says_so_and_is_healed)
{
    lab_up(2);
    asked("acme", NULL);
    ck_assert_int_eq(db_client_put_unusable("acme", "database", "no such variable", &e), 0);
    asked("acme", "client_unavailable");
    db_client_stand(acme(), &frozen);
    asked("acme", "client_frozen");
    db_client_stand(acme(), &open_);
    ck_assert_int_eq(db_client_put("acme", postgres_uri(pg), "database", &e), 0);
    asked("acme", NULL);
    lab_stop(lab);
}
END_TEST

START_TEST(the_control_planes_client_always_serves_the_process)
{
    struct db_client *c;

    lab_up(2);
    ck_assert_int_eq(db_client_put("main", postgres_uri(pg), "config", &e), 0);
    c = db_client_find(ATH_S("main"));
    db_client_stand(c, &inactive);
    ck_assert_int_lt(db_client_usable(c, &e), 0);
    asked("@control", NULL);
    db_client_remove(c);
    asked("@control", NULL);
    lab_stop(lab);
}
END_TEST

START_TEST(the_uri_changes_under_queries)
{
    enum { N = 200 };
    char uri[512];
    struct ask *a[N];

    lab_up(3);
    snprintf(uri, sizeof(uri), "postgres://postgres@/other?host=%s", postgres_folder(pg));
    for (int i = 0; i < N; i++) {
        a[i] = begun("acme", i % 2 ? ATH_PG_READ : 0, "SELECT pg_sleep(0.001)");
        if (i % 10 == 0)
            ck_assert_int_eq(db_client_put("acme", i % 20 ? uri : postgres_uri(pg), "config", &e), 0);
        usleep(500);
    }
    for (int i = 0; i < N; i++)
        ends(a[i], NULL);
    lab_stop(lab);
}
END_TEST

static size_t allocated(void)
{
#ifdef ATHENA_ASAN
    return __sanitizer_get_current_allocated_bytes();
#else
    return mallinfo2().uordblks;
#endif
}

/* As many as a process may meet in its life, some of them connected. */
START_TEST(names_come_and_go_in_bounded_memory)
{
    enum { NAMES = 10000 };
    char name[32];
    size_t before, after;

    lab_up(2);
    for (int round = 0; round < 3; round++) {
        before = round ? allocated() : 0;
        for (int i = 0; i < NAMES; i++) {
            snprintf(name, sizeof(name), "n%d", i);
            ck_assert_int_eq(db_client_put(name, postgres_uri(pg), "database", &e), 0);
            if (i % 500 == 0)
                asked(name, NULL);
            db_client_remove(db_client_find(str_of(name)));
        }
        ck_assert_uint_eq(db_client_count(), NAMES + 1);
        asked("acme", NULL);
        asked("n77", "client_unknown");
        after = allocated();
        ck_assert_msg(!round || after < before + (4 << 20), "%zu bytes after %zu", after, before);
    }
    lab_stop(lab);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        a_freeze_lets_what_runs_end_and_refuses_what_waits,
        a_draining_client_still_serves_what_has_begun,
        a_removed_client_is_unknown_and_comes_back,
        one_that_cannot_be_used_says_so_and_is_healed,
        the_control_planes_client_always_serves_the_process,
        the_uri_changes_under_queries,
        names_come_and_go_in_bounded_memory,
    };
    Suite *s = suite_create("db clients");
    TCase *c = tcase_create("clients");

    tcase_set_timeout(c, 120);
    tcase_add_unchecked_fixture(c, cluster_up, cluster_down);
    for (size_t i = 0; i < ATH_COUNT(tests); i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return s;
}
