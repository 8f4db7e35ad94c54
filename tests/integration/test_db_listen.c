/* Notifications: what arrives, what is kept between two calls, what an outage says. */
#include <stdlib.h>
#include <unistd.h>

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
}

static void cluster_down(void)
{
    postgres_free(pg);
}

static void lab_up(void)
{
    struct db_options o = lab_options();
    ath_err e;

    lab = lab_start(&o, 1);
    ck_assert_msg(db_client_put("acme", postgres_uri(pg), "config", &e) == 0, "%s", e.message);
}

/* Listens until it has heard `last`; what it heard is joined by blanks. */
struct hearer {
    struct ask *ask;
    const char *channel, *last;
    uint64_t pause_ms; /* between two calls */
    char heard[4096];
    char code[40];
    atomic_int calls;
};

static int hear(ath_task *t, struct hearer *h, ath_err *e);

static int hear_again(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : hear(t, d->arg, e);
}

static int heard(ath_task *t, const ath_done *d, ath_err *e)
{
    struct hearer *h = d->arg;
    size_t n = strlen(h->heard);

    h->calls++;
    if (d->rc < 0) {
        snprintf(h->code, sizeof(h->code), "%.*s", STR_ARG(err_get(e, "code")));
        ask_end(h->ask);
        return 0;
    }
    if (d->bytes.n < 200)
        snprintf(h->heard + n, sizeof(h->heard) - n, "%s%.*s", n ? " " : "", STR_ARG(d->bytes));
    if (strstr(h->heard, h->last)) {
        ask_end(h->ask);
        return 0;
    }
    return h->pause_ms ? task_after(t, h->pause_ms, hear_again, h, e) : hear(t, h, e);
}

static int hear(ath_task *t, struct hearer *h, ath_err *e)
{
    ath_stmt channel = { .sql = h->channel };
    ath_query q = { .size = sizeof(q),
                    .client = ATH_S("acme"),
                    .stmt = &channel,
                    .stmt_size = sizeof(channel),
                    .stmt_count = 1 };

    return db_listen(t, &q, heard, h, e);
}

static int hear_run(ath_task *t, void *arg, ath_err *e)
{
    struct ask *a = arg;

    return hear(t, a->arg, e);
}

static struct hearer *hearer_start(const char *channel, const char *last, uint64_t pause_ms)
{
    struct hearer *h = MEM_NEW(struct hearer);

    h->ask = ask_new("acme", 0, NULL);
    h->ask->instead = hear_run;
    h->ask->arg = h;
    h->channel = channel;
    h->last = last;
    h->pause_ms = pause_ms;
    lab_send(lab, 0, &h->ask, 1);
    return h;
}

static void hearer_end(struct hearer *h, const char *expected)
{
    ck_assert_msg(ask_wait(h->ask, 20000), "hangs, heard: %s", h->heard);
    ck_assert_str_eq(h->heard, expected);
    ask_free(h->ask);
    free(h);
}

static void wait_calls(struct hearer *h, int n)
{
    for (int i = 0; i < 500 && h->calls < n; i++)
        usleep(10000);
    ck_assert_int_ge(h->calls, n);
}

#define OURS                                                                                       \
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'athena' AND pid <> "          \
    "pg_backend_pid()"

static void wait_connections(long expected)
{
    long n = -1;

    for (int i = 0; i < 250 && (n = postgres_number(pg, OURS)) != expected; i++)
        usleep(20000);
    ck_assert_int_eq(n, expected);
}

START_TEST(what_is_said_is_heard_by_all_who_listen)
{
    struct hearer *a, *b, *c;

    lab_up();
    a = hearer_start("news", "end", 0);
    b = hearer_start("news", "end", 0);
    c = hearer_start("Odd \"name\"", "odd", 0);
    wait_calls(a, 1);
    wait_calls(b, 1);
    wait_calls(c, 1);
    wait_connections(1); /* for all of them */
    postgres_sql(pg, "NOTIFY news, 'first'; NOTIFY other, 'not for them'");
    wait_calls(a, 2);
    wait_calls(b, 2);
    postgres_sql(pg, "NOTIFY \"Odd \"\"name\"\"\", 'odd \"one\"'");
    postgres_sql(pg, "NOTIFY news, 'end'");
    hearer_end(a, "[] [\"first\"] [\"end\"]");
    hearer_end(b, "[] [\"first\"] [\"end\"]");
    hearer_end(c, "[] [\"odd \\\"one\\\"\"]");
    wait_connections(0); /* nobody listens any more */
    lab_stop(lab);
}
END_TEST

START_TEST(what_comes_between_two_calls_is_kept)
{
    struct hearer *h;

    lab_up();
    h = hearer_start("kept", "three", 700);
    wait_calls(h, 1);
    postgres_sql(pg, "NOTIFY kept, 'one'; NOTIFY kept, 'two'");
    postgres_sql(pg, "NOTIFY kept, 'three'");
    hearer_end(h, "[] [\"one\",\"two\",\"three\"]");
    lab_stop(lab);
}
END_TEST

START_TEST(too_much_between_two_calls_is_some_missed)
{
    struct hearer *h;

    lab_up();
    h = hearer_start("flood", "after", 1500);
    wait_calls(h, 1);
    postgres_sql(pg,
                 "SELECT pg_notify('flood', g || repeat('x', 7000)) FROM generate_series(1, 60) "
                 "g");
    wait_calls(h, 2);
    postgres_sql(pg, "NOTIFY flood, 'after'");
    hearer_end(h, "[] [] [\"after\"]");
    lab_stop(lab);
}
END_TEST

START_TEST(an_outage_is_some_missed)
{
    struct hearer *h;

    lab_up();
    h = hearer_start("through", "after", 0);
    wait_calls(h, 1);
    postgres_down(pg, "immediate");
    usleep(500000);
    postgres_up(pg);
    wait_calls(h, 2);
    postgres_sql(pg, "NOTIFY through, 'after'");
    hearer_end(h, "[] [] [\"after\"]");
    lab_stop(lab);
}
END_TEST

START_TEST(who_leaves_listens_no_more)
{
    struct hearer *stays, *leaves;

    lab_up();
    stays = hearer_start("one", "end", 0);
    leaves = hearer_start("two", "end", 0);
    wait_calls(stays, 1);
    wait_calls(leaves, 1);
    ask_leave(leaves->ask);
    hearer_end(leaves, "[]");
    leaves = hearer_start("two", "end", 0);
    wait_calls(leaves, 1);
    postgres_sql(pg, "NOTIFY two, 'end'");
    hearer_end(leaves, "[] [\"end\"]");
    postgres_sql(pg, "NOTIFY one, 'end'");
    hearer_end(stays, "[] [\"end\"]");
    wait_connections(0);
    lab_stop(lab);
}
END_TEST

START_TEST(stopping_tells_those_who_listen)
{
    struct hearer *h;

    lab_up();
    h = hearer_start("quiet", "end", 0);
    wait_calls(h, 1);
    lab_stop(lab);
    ck_assert(ask_wait(h->ask, 2000));
    ck_assert_str_eq(h->code, "server_draining");
    hearer_end(h, "[]");
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        what_is_said_is_heard_by_all_who_listen,
        what_comes_between_two_calls_is_kept,
        too_much_between_two_calls_is_some_missed,
        an_outage_is_some_missed,
        who_leaves_listens_no_more,
        stopping_tells_those_who_listen,
    };
    Suite *s = suite_create("db listen");
    TCase *c = tcase_create("listen");

    tcase_set_timeout(c, 120);
    tcase_add_unchecked_fixture(c, cluster_up, cluster_down);
    for (size_t i = 0; i < ATH_COUNT(tests); i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return s;
}
