/* Rows in pieces over a real PostgreSQL: all of them, in bounded memory, at the reader's pace. */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "lib/text.h"
#include "support/check_main.h"
#include "support/dblab.h"
#include "support/postgres.h"

#ifdef __SANITIZE_ADDRESS__
enum { MANY = 1000000, SANITIZED = 1 };

/* What was freed is kept by the sanitizer for a while: less of it, since memory is measured here.
 */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=2";
}
#else
enum { MANY = 1000000, SANITIZED = 0 };
#endif

static struct postgres *pg;
static struct lab *lab;

static void cluster_up(void)
{
    pg = postgres_start(&(struct postgres_options){ .tls = true, .conf = "max_connections = 250" });
}

static void cluster_down(void)
{
    postgres_free(pg);
}

static void lab_uri(struct db_options o, const char *uri)
{
    ath_err e;

    lab = lab_start(&o, 1);
    ck_assert_msg(db_client_put("acme", uri, "config", &e) == 0, "%s", e.message);
}

static void lab_of(uint64_t pool_max)
{
    struct db_options o = lab_options();

    o.pool_max = pool_max;
    o.budget = 240;
    lab_uri(o, postgres_uri(pg));
}

/* A task that reads all pieces, or so many and then waits to be left. */
struct reader {
    struct ask *ask;
    ath_session *session; /* of its own, when `in_session` */
    bool in_session;
    int most;   /* pieces; 0: all */
    bool stays; /* afterwards */
    atomic_int pieces;
    uint64_t rows, bytes, sum, count;
    size_t largest;
    uint32_t columns;
    char first[64]; /* of the first statement */
    char code[40];
    bool ended;
};

static int on_piece(ath_task *t, const ath_done *d, ath_err *e);

static void take(struct reader *r, const ath_rows *rows)
{
    const ath_column *column;
    size_t bytes = 0;

    if (r->pieces == 0)
        snprintf(r->first, sizeof(r->first), "%.*s", STR_ARG(db_rows_text(rows, 0, 0)));
    for (const ath_rows *next; r->pieces == 0 && (next = db_rows_next(rows)); rows = next)
        ;
    r->columns = db_rows_columns(rows, &column);
    for (uint32_t i = 0; i < db_rows_count(rows); i++) {
        int64_t n = 0;
        str_i64(db_rows_text(rows, i, 0), &n);
        r->sum += (uint64_t)n;
        for (uint32_t j = 0; j < r->columns; j++)
            bytes += db_rows_text(rows, i, j).n;
    }
    r->rows += db_rows_count(rows);
    r->bytes += bytes;
    r->largest = bytes > r->largest ? bytes : r->largest;
    r->pieces++;
}

static int stay(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t, (void)d, (void)e;
    return 0;
}

static int end_reader(ath_task *t, struct reader *r, ath_err *e)
{
    if (r->stays)
        return task_after(t, 60000, stay, NULL, e);
    ask_end(r->ask);
    return 0;
}

static int on_piece(ath_task *t, const ath_done *d, ath_err *e)
{
    struct reader *r = d->arg;

    if (d->rc < 0) {
        snprintf(r->code, sizeof(r->code), "%.*s", STR_ARG(err_get(e, "code")));
        return end_reader(t, r, e);
    }
    r->count += d->count;
    if (r->pieces && db_rows_count(d->rows) == 0) {
        r->ended = true;
        return end_reader(t, r, e);
    }
    take(r, d->rows);
    if (r->pieces == r->most)
        return end_reader(t, r, e);
    return db_more(t, d->rows, on_piece, r, e);
}

static int opened(ath_task *t, const ath_done *d, ath_err *e)
{
    struct reader *r = d->arg;
    ath_query q = r->ask->q;

    if (d->rc < 0)
        return d->rc;
    q.session = r->session = d->session;
    return db_query(t, &q, on_piece, r, e);
}

static int reader_run(ath_task *t, void *arg, ath_err *e)
{
    struct ask *a = arg;
    struct reader *r = a->arg;
    ath_query q = { .size = sizeof(q), .client = a->q.client };

    return r->in_session ? db_open(t, &q, opened, r, e) : db_query(t, &a->q, on_piece, r, e);
}

static struct reader *reader_new(uint32_t flags, const char *sql)
{
    struct reader *r = MEM_NEW(struct reader);

    r->ask = ask_new("acme", flags | ATH_PG_ROWS, sql);
    r->ask->instead = reader_run;
    r->ask->arg = r;
    return r;
}

static void reader_free(struct reader *r)
{
    ask_free(r->ask);
    free(r);
}

static void reader_send(struct reader *r)
{
    lab_send(lab, 0, &r->ask, 1);
}

static void reader_wait(struct reader *r)
{
    reader_send(r);
    ck_assert_msg(ask_wait(r->ask, 60000), "hangs after %d pieces", r->pieces);
    ck_assert_msg(r->ask->rc == 0, "%s", r->ask->err.message);
}

static long rss_kib(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    long size, pages = 0;

    ck_assert_int_eq(fscanf(f, "%ld %ld", &size, &pages), 2);
    fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void wait_for(const char *sql, long expected)
{
    long n = -1;

    for (int i = 0; i < 250 && (n = postgres_number(pg, sql)) != expected; i++)
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

    for (int i = 0; i < 250 && atomic_load(&c->held); i++)
        usleep(10000);
    ck_assert_uint_eq(atomic_load(&c->held), 0);
}

#define ROWS_OF_200 "SELECT g, repeat('x', 200) FROM generate_series(1, %d) g"
#define BLOCKED                                                                                    \
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite' AND state = 'active'"

static void read_many(uint32_t flags, int n)
{
    struct reader *r;
    char sql[200];
    long before;
    uint64_t from;

    snprintf(sql, sizeof(sql), ROWS_OF_200, n);
    for (int round = 0; round < 3; round++) {
        r = reader_new(flags, sql);
        before = rss_kib();
        from = clock_ms();
        reader_wait(r);
        printf("%d rows of 200 bytes: %llu ms, %d pieces, %+ld KiB\n", n,
               (unsigned long long)(clock_ms() - from), r->pieces, rss_kib() - before);
        ck_assert_str_eq(r->code, "");
        ck_assert(r->ended);
        ck_assert_uint_eq(r->rows, n);
        ck_assert_uint_eq(r->count, n);
        ck_assert_uint_eq(r->sum, (uint64_t)n * (n + 1) / 2);
        ck_assert_uint_eq(r->columns, 2);
        ck_assert_uint_le(r->largest, 80000);
        ck_assert_int_ge(r->pieces, (int)(r->bytes / 80000));
        if (round || !SANITIZED)
            ck_assert_int_le(rss_kib() - before, 16384);
        reader_free(r);
    }
}

START_TEST(a_million_rows_in_bounded_memory)
{
    lab_of(4);
    read_many(ATH_PG_READ, MANY);
    read_many(ATH_PG_RAW, MANY / 10);
    read_many(ATH_PG_READ | ATH_PG_READ_ONLY | ATH_PG_REPEATABLE, MANY / 10);
    is("SELECT 'fine'", "fine");
    nothing_held();
    lab_stop(lab);
}
END_TEST

START_TEST(over_tls_too)
{
    char uri[300];

    if (!postgres_tls(pg))
        return;
    snprintf(uri, sizeof(uri), "postgres://postgres@localhost:%d/postgres?sslmode=require",
             postgres_port(pg));
    lab_uri(lab_options(), uri);
    read_many(ATH_PG_READ, MANY / 10);
    lab_stop(lab);
}
END_TEST

static void small(uint32_t flags, const char *sql, uint64_t rows, uint64_t count, const char *code)
{
    for (int session = 0; session < 2; session++)
        for (int round = 0; round < 3; round++) {
            struct reader *r = reader_new(flags, sql);
            r->in_session = session;
            reader_wait(r);
            ck_assert_msg(strcmp(r->code, code) == 0, "%s: %s, expected \"%s\"", sql, r->code,
                          code);
            ck_assert_msg(*code || (r->ended && r->rows == rows && r->count == count),
                          "%s: %llu rows, count %llu", sql, (unsigned long long)r->rows,
                          (unsigned long long)r->count);
            reader_free(r);
        }
}

START_TEST(small_and_empty_and_failing_ones)
{
    struct reader *r;

    postgres_sql(pg, "CREATE TABLE IF NOT EXISTS written (a int)");
    lab_of(4);
    small(ATH_PG_READ, "SELECT 1, 'x'", 1, 1, "");
    small(ATH_PG_READ, "SELECT 1 WHERE false", 0, 0, "");
    small(ATH_PG_READ, "SELECT NULL::text, ''", 1, 1, "");
    small(ATH_PG_READ, "SELECT 1/0", 0, 0, "data_exception");
    small(ATH_PG_READ, "SELECT 100 / (50000 - g), repeat('y', 90) FROM generate_series(1, 90000) g",
          0, 0, "data_exception");
    small(0, "INSERT INTO written SELECT generate_series(1, 30000) RETURNING a", 30000, 30000, "");
    small(0, "INSERT INTO written SELECT generate_series(1, 5)", 0, 5, "");
    small(0,
          "INSERT INTO written SELECT g / (g - 29000) FROM generate_series(1, 30000) g RETURNING "
          "a, repeat('z', 50)",
          0, 0, "data_exception");
    is("SELECT count(*) FROM written", "180030");
    small(ATH_PG_READ, "SELECT repeat('w', 3000000)", 1, 1, "");
    r = reader_new(ATH_PG_READ, "SELECT 'first'");
    ask_stmt(r->ask, "SELECT g FROM generate_series(1, 50000) g");
    reader_wait(r);
    ck_assert_str_eq(r->first, "first");
    ck_assert_uint_eq(r->rows, 50000);
    reader_free(r);
    nothing_held();
    lab_stop(lab);
}
END_TEST

START_TEST(a_reader_that_stops_stops_the_server)
{
    struct reader *r;
    struct db_client *c;
    long before;

    lab_of(4);
    c = db_client_find(ATH_S("acme"));
    is("SELECT 'warm'", "warm");
    before = rss_kib();
    for (int session = 0; session < 2; session++) {
        r = reader_new(ATH_PG_READ,
                       "SELECT g, repeat('x', 200) FROM generate_series(1, 3000000) g");
        r->most = 2;
        r->stays = true;
        r->in_session = session;
        reader_send(r);
        wait_for(BLOCKED, 1);
        usleep(300000);
        ck_assert_int_eq(postgres_number(pg, BLOCKED), 1);
        ck_assert_int_le(rss_kib() - before, 16384);
        ck_assert_int_eq(r->pieces, 2);
        ck_assert_uint_eq(atomic_load(&c->held), 1);
        is("SELECT 'quick'", "quick");
        ask_leave(r->ask);
        ck_assert(ask_wait(r->ask, 5000));
        wait_for(BLOCKED, 0);
        nothing_held();
        reader_free(r);
    }
    lab_stop(lab);
}
END_TEST

START_TEST(a_reader_ends_before_its_rows)
{
    struct reader *r;

    lab_of(1);
    for (int i = 0; i < 3; i++) {
        r = reader_new(ATH_PG_READ, "SELECT g, repeat('x', 200) FROM generate_series(1, 300000) g");
        r->most = i + 1;
        reader_wait(r);
        reader_free(r);
        is("SELECT 'fine'", "fine");
    }
    nothing_held();
    lab_stop(lab);
}
END_TEST

START_TEST(a_killed_server_ends_the_rows)
{
    struct reader *r = reader_new(ATH_PG_READ, "SELECT g, CASE WHEN g = 200000 THEN "
                                               "pg_terminate_backend(pg_backend_pid())::text ELSE "
                                               "repeat('x', 200) END FROM "
                                               "generate_series(1, 300000) g");

    lab_of(2);
    reader_wait(r);
    ck_assert_str_eq(r->code, "connection_error");
    ck_assert_int_gt(r->pieces, 10); /* and it did not begin anew */
    ck_assert_uint_lt(r->rows, 200000);
    reader_free(r);
    is("SELECT 'fine'", "fine");
    nothing_held();
    lab_stop(lab);
}
END_TEST

START_TEST(a_piece_has_its_time)
{
    struct reader *r =
        reader_new(ATH_PG_READ, "SELECT g, repeat('x', 200), CASE WHEN g > 3000 THEN "
                                "pg_sleep(20) END FROM generate_series(1, 4000) g");

    lab_of(2);
    r->ask->q.timeout_ms = 1000;
    reader_wait(r);
    ck_assert_str_eq(r->code, "query_timeout");
    ck_assert_int_ge(r->pieces, 1);
    reader_free(r);
    nothing_held();
    lab_stop(lab);
}
END_TEST

/* The quickest of some rounds, in microseconds of a read: what else the machine does is not asked.
 */
static uint64_t point_reads_us(void)
{
    uint64_t best = UINT64_MAX;

    for (int round = 0; round < 20; round++) {
        uint64_t from = clock_ns(), us;
        for (int i = 0; i < 20; i++)
            is("SELECT 'point'", "point");
        us = (clock_ns() - from) / 20000;
        best = us < best ? us : best;
    }
    return best;
}

START_TEST(a_hundred_slow_readers_leave_point_reads_alone)
{
    enum { N = 100 };
    struct reader *r[N];
    uint64_t quiet, busy;

    lab_of(140);
    quiet = point_reads_us();
    for (int i = 0; i < N; i++) {
        r[i] = reader_new(ATH_PG_READ, "SELECT g, repeat('x', 200) FROM generate_series(1, 100000) "
                                       "g");
        r[i]->most = 1;
        r[i]->stays = true;
        reader_send(r[i]);
    }
    wait_for(BLOCKED, N);
    busy = point_reads_us();
    printf("a point read takes %llu us, beside %d readers %llu us\n", (unsigned long long)quiet, N,
           (unsigned long long)busy);
    ck_assert_uint_le(busy, quiet * 2 + 500);
    for (int i = 0; i < N; i++) {
        ask_leave(r[i]->ask);
        ck_assert(ask_wait(r[i]->ask, 10000));
        reader_free(r[i]);
    }
    wait_for(BLOCKED, 0);
    nothing_held();
    lab_stop(lab);
}
END_TEST

static int asked_twice(ath_task *t, const ath_done *d, ath_err *e)
{
    struct ask *a = container_of(t, struct ask, task);

    ck_assert_int_eq(d->rc, 0);
    ck_assert_int_eq(db_more(t, NULL, stay, NULL, e), ATH_E_BUG);
    ck_assert_int_eq(db_more(t, d->rows, stay, NULL, e), 0);
    ck_assert_int_eq(db_more(t, d->rows, stay, NULL, e), ATH_E_BUG);
    ask_end(a);
    return 0;
}

static int twice_run(ath_task *t, void *arg, ath_err *e)
{
    return db_query(t, &((struct ask *)arg)->q, asked_twice, NULL, e);
}

START_TEST(wrong_use_is_told)
{
    struct ask *a = ask_new("acme", ATH_PG_ROWS, "SELECT g FROM generate_series(1, 90000) g");

    lab_of(2);
    a->instead = twice_run;
    lab_send(lab, 0, &a, 1);
    ck_assert(ask_wait(a, 5000));
    ask_free(a);
    a = ask_new("acme", 0, "SELECT 1");
    ask_stmt(a, "SELECT 2");
    a->stmt[0].flags = ATH_PG_ROWS;
    lab_send(lab, 0, &a, 1);
    ck_assert(ask_wait(a, 5000));
    ck_assert_int_eq(a->rc, ATH_E_BUG);
    ask_free(a);
    nothing_held();
    lab_stop(lab);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        a_million_rows_in_bounded_memory,
        over_tls_too,
        small_and_empty_and_failing_ones,
        a_reader_that_stops_stops_the_server,
        a_reader_ends_before_its_rows,
        a_killed_server_ends_the_rows,
        a_piece_has_its_time,
        a_hundred_slow_readers_leave_point_reads_alone,
        wrong_use_is_told,
    };
    Suite *s = suite_create("db rows");
    TCase *c = tcase_create("rows");

    tcase_set_timeout(c, 200);
    tcase_add_unchecked_fixture(c, cluster_up, cluster_down);
    for (size_t i = 0; i < ATH_COUNT(tests); i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return s;
}
