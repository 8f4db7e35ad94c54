/* COPY FROM STDIN over a real PostgreSQL: with what stands before it or not at all, in bounded
 * memory, however it is broken off. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "io/stream.h"
#include "lib/text.h"
#include "support/check_main.h"
#include "support/dblab.h"
#include "support/postgres.h"

enum { PIECE = 60000 };

#ifdef __SANITIZE_ADDRESS__
/* What was freed is kept by the sanitizer for a while: less of it, since memory is measured here.
 */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=2";
}
#endif

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

static void lab_uri(struct db_options o, const char *uri)
{
    ath_err e;

    postgres_sql(pg, "DROP TABLE IF EXISTS t; CREATE TABLE t (n int, s text)");
    lab = lab_start(&o, 1);
    ck_assert_msg(db_client_put("acme", uri, "config", &e) == 0, "%s", e.message);
}

static const char *tls_uri(void)
{
    static char uri[300];

    snprintf(uri, sizeof(uri), "postgres://postgres@localhost:%d/postgres?sslmode=require",
             postgres_port(pg));
    return uri;
}

static void lab_of(struct db_options o)
{
    lab_uri(o, postgres_uri(pg));
}

/* A task that copies `total` bytes of rows into t, after `before`. */
struct copier {
    struct ask *ask;
    ath_session *session;
    const char *begin;  /* with a session: runs first, in it */
    const char *commit; /* with a session: runs behind it */
    const char *text;   /* instead of rows: these bytes by stream_of() */
    ath_stream *stream;
    size_t total, sent;
    size_t bad_at;   /* a row that is refused; 0: none */
    size_t fails_at; /* the writer breaks off; 0: it does not */
    size_t stays_at; /* the writer waits for ever; 0: it does not */
    char *piece;
    size_t piece_rows, piece_n;
    atomic_int writer_rc; /* 1: it still writes */
    bool writing, over;   /* a write is under way; the copy has ended */
    /* how it ended */
    int rc;
    uint64_t count, rows;
    char code[40], sqlstate[8], line[16], outcome[16], message[300];
};

static int written(ath_task *t, const ath_done *d, ath_err *e);

static int write_next(ath_task *t, struct copier *c, ath_err *e)
{
    size_t at = c->sent;

    if (c->stays_at && at >= c->stays_at)
        return 0;
    if (c->fails_at && at >= c->fails_at) {
        stream_end(c->stream, ATH_E_LIMIT);
        return 0;
    }
    if (at >= c->total) {
        stream_end(c->stream, 0);
        c->writer_rc = 0;
        return 0;
    }
    c->sent += c->piece_n;
    c->writing = true;
    if (c->bad_at && at >= c->bad_at) {
        c->bad_at = 0;
        return stream_write(t, c->stream, ATH_S("7\tgood\nbad\tbad\n"), written, c, e);
    }
    return stream_write(t, c->stream, str_from(c->piece, c->piece_n), written, c, e);
}

static int written(ath_task *t, const ath_done *d, ath_err *e)
{
    struct copier *c = d->arg;

    c->writing = false;
    if (d->rc < 0)
        c->writer_rc = d->rc;
    if (c->over)
        ask_end(c->ask);
    return d->rc < 0 || c->over ? 0 : write_next(t, c, e);
}

static int ended(ath_task *t, const ath_done *d, ath_err *e)
{
    struct copier *c = d->arg;

    (void)t, (void)e;
    c->rows = d->rc < 0 ? 0 : d->count;
    ask_end(c->ask);
    return 0;
}

static void note(struct copier *c, const ath_done *d, const ath_err *e)
{
    c->rc = d->rc;
    c->count = d->count;
    if (d->rc == 0)
        return;
    snprintf(c->code, sizeof(c->code), "%.*s", STR_ARG(err_get(e, "code")));
    snprintf(c->sqlstate, sizeof(c->sqlstate), "%.*s", STR_ARG(err_get(e, "sqlstate")));
    snprintf(c->line, sizeof(c->line), "%.*s", STR_ARG(err_get(e, "line")));
    snprintf(c->outcome, sizeof(c->outcome), "%.*s", STR_ARG(err_get(e, "outcome")));
    snprintf(c->message, sizeof(c->message), "%.*s", STR_ARG(err_get(e, "message")));
}

static int copied(ath_task *t, const ath_done *d, ath_err *e)
{
    struct copier *c = d->arg;
    ath_stmt s = { .sql = c->commit };
    ath_query q = { .size = sizeof(q), .stmt = &s, .stmt_size = sizeof(s), .stmt_count = 1 };

    note(c, d, e);
    q.session = c->session;
    if (c->session && c->commit)
        return db_query(t, &q, ended, c, e);
    c->over = true;
    if (!c->writing)
        ask_end(c->ask);
    return 0;
}

static int copy(ath_task *t, struct copier *c, ath_err *e)
{
    ath_query q = c->ask->q;
    int rc;

    c->stream = c->text ? stream_of(t, str_of(c->text)) : stream_open(t, 0);
    q.from = c->stream;
    q.session = c->session;
    if ((rc = db_query(t, &q, copied, c, e)) < 0) {
        c->rc = rc;
        return rc;
    }
    return c->text ? 0 : write_next(t, c, e);
}

static int begun(ath_task *t, const ath_done *d, ath_err *e)
{
    struct copier *c = d->arg;

    return d->rc < 0 ? d->rc : copy(t, c, e);
}

static int opened(ath_task *t, const ath_done *d, ath_err *e)
{
    struct copier *c = d->arg;
    ath_stmt s = { .sql = c->begin };
    ath_query q = { .size = sizeof(q), .stmt = &s, .stmt_size = sizeof(s), .stmt_count = 1 };

    if (d->rc < 0)
        return d->rc;
    c->session = q.session = d->session;
    return *c->begin ? db_query(t, &q, begun, c, e) : copy(t, c, e);
}

static int copier_run(ath_task *t, void *arg, ath_err *e)
{
    struct copier *c = ((struct ask *)arg)->arg;
    ath_query q = { .size = sizeof(q), .client = ATH_S("acme") };

    return c->begin ? db_open(t, &q, opened, c, e) : copy(t, c, e);
}

static struct copier *copier_new(const char *before, size_t total)
{
    struct copier *c = MEM_NEW(struct copier);

    c->ask = ask_new("acme", 0, before ? before : "COPY t FROM STDIN");
    if (before)
        ask_stmt(c->ask, "COPY t FROM STDIN");
    c->ask->q.flags = ATH_PG_COPY;
    c->ask->instead = copier_run;
    c->ask->arg = c;
    c->total = total;
    c->writer_rc = 1;
    c->piece = mem_new(PIECE + 256);
    while (c->piece_n < PIECE) {
        c->piece_n += (size_t)snprintf(c->piece + c->piece_n, 32, "%zu\t", c->piece_rows++);
        memset(c->piece + c->piece_n, 'x', 200);
        c->piece_n += 200;
        c->piece[c->piece_n++] = '\n';
    }
    return c;
}

static void copier_free(struct copier *c)
{
    ask_free(c->ask);
    free(c->piece);
    free(c);
}

static void copier_send(struct copier *c)
{
    lab_send(lab, 0, &c->ask, 1);
}

static void copier_wait(struct copier *c)
{
    copier_send(c);
    ck_assert_msg(ask_wait(c->ask, 120000), "hangs after %zu bytes", c->sent);
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

    for (int i = 0; i < 500 && (n = postgres_number(pg, sql)) != expected; i++)
        usleep(20000);
    ck_assert_msg(n == expected, "%s: %ld, expected %ld", sql, n, expected);
}

#define COPYING                                                                                    \
    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY t%' AND state = 'active'"

static void rows_are(long expected)
{
    long n = postgres_number(pg, "SELECT count(*) FROM t");

    ck_assert_msg(n == expected, "%ld rows, expected %ld", n, expected);
}

/* The pool's connections still work, and none of them is in a transaction or held. */
static void all_is_well(void)
{
    struct db_client *c = db_client_find(ATH_S("acme"));
    char got[32];

    for (int i = 0; i < 4; i++) {
        lab_get(lab, "acme", 0, "SELECT 'fine'", got, sizeof(got));
        ck_assert_str_eq(got, "fine");
    }
    for (int i = 0; i < 250 && atomic_load(&c->held); i++)
        usleep(10000);
    ck_assert_uint_eq(atomic_load(&c->held), 0);
    wait_for("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in trans%'", 0);
}

static void copies_much(const char *uri, size_t total)
{
    struct db_options o = lab_options();
    struct copier *c;
    long before;
    uint64_t from;

    o.pool_max = 2;
    lab_uri(o, uri);
    for (int round = 0; round < 2; round++) {
        c = copier_new("DELETE FROM t", round ? total : total / 10);
        before = rss_kib();
        from = clock_ms();
        copier_wait(c);
        printf("%zu bytes: %llu ms, %+ld KiB\n", c->sent, (unsigned long long)(clock_ms() - from),
               rss_kib() - before);
        ck_assert_msg(c->rc == 0, "%s", c->message);
        ck_assert_uint_eq(c->count, c->sent / c->piece_n * c->piece_rows);
        ck_assert_int_eq(c->writer_rc, 0);
        if (round)
            ck_assert_int_le(rss_kib() - before, 8192);
        rows_are((long)c->count);
        copier_free(c);
    }
    all_is_well();
    lab_stop(lab);
}

START_TEST(two_hundred_megabytes_in_bounded_memory)
{
    copies_much(postgres_uri(pg), 200u << 20);
}
END_TEST

START_TEST(over_tls_too)
{
    if (postgres_tls(pg))
        copies_much(tls_uri(), 30u << 20);
}
END_TEST

START_TEST(a_text_in_memory_is_a_stream)
{
    struct copier *c = copier_new("INSERT INTO t VALUES (1, 'first')", 0);
    char got[64];

    lab_of(lab_options());
    c->text = "2\tsecond\n3\t\\N\n";
    copier_wait(c);
    ck_assert_msg(c->rc == 0, "%s", c->message);
    ck_assert_uint_eq(c->count, 2);
    postgres_value(pg, "SELECT string_agg(n || coalesce(s, '-'), ' ' ORDER BY n) FROM t", got,
                   sizeof(got));
    ck_assert_str_eq(got, "1first 2second 3-");
    copier_free(c);
    c = copier_new(NULL, 0);
    c->text = "";
    ask_set(c->ask, "work_mem", "64MB");
    copier_wait(c);
    ck_assert_msg(c->rc == 0, "%s", c->message);
    ck_assert_uint_eq(c->count, 0);
    copier_free(c);
    all_is_well();
    lab_stop(lab);
}
END_TEST

START_TEST(a_refused_row_names_its_line_and_undoes_all)
{
    struct copier *c = copier_new("INSERT INTO t VALUES (1, 'first')", 0);

    lab_of(lab_options());
    c->text = "2\tsecond\nthree\tthird\n";
    copier_wait(c);
    ck_assert_int_eq(c->rc, ATH_E_INPUT);
    ck_assert_str_eq(c->code, "data_exception");
    ck_assert_str_eq(c->sqlstate, "22P02");
    ck_assert_str_eq(c->line, "2");
    rows_are(0);
    copier_free(c);
    all_is_well();
    lab_stop(lab);
}
END_TEST

/* Nobody sends gigabytes behind a row that was refused. */
START_TEST(a_refused_row_ends_an_endless_stream)
{
    for (int notices = 0; notices < 4; notices++) {
        struct copier *c = copier_new(NULL, SIZE_MAX / 2);

        lab_uri(lab_options(), notices & 2 && postgres_tls(pg) ? tls_uri() : postgres_uri(pg));
        if (notices & 1)
            postgres_sql(pg,
                         "CREATE OR REPLACE FUNCTION says() RETURNS trigger LANGUAGE plpgsql AS "
                         "'BEGIN IF NEW.n % 20 = 0 THEN RAISE NOTICE ''%'', NEW.s; END IF; "
                         "RETURN NEW; END'; CREATE TRIGGER says BEFORE INSERT ON t FOR EACH "
                         "ROW EXECUTE FUNCTION says()");
        c->bad_at = 3u << 20;
        copier_wait(c);
        ck_assert_str_eq(c->sqlstate, "22P02");
        ck_assert_int_eq(c->writer_rc, ATH_E_CANCELED);
        ck_assert_uint_lt(c->sent, 400u << 20);
        printf("heard after %zu of %d bytes\n", c->sent, 3 << 20);
        rows_are(0);
        copier_free(c);
        all_is_well();
        lab_stop(lab);
    }
}
END_TEST

START_TEST(notices_do_not_break_it_off)
{
    struct copier *c = copier_new(NULL, 2u << 20);

    lab_of(lab_options());
    postgres_sql(pg, "CREATE OR REPLACE FUNCTION says() RETURNS trigger LANGUAGE plpgsql AS "
                     "'BEGIN RAISE INFO ''%'', repeat(NEW.s, 40); RETURN NEW; END'; "
                     "CREATE TRIGGER says BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION says()");
    copier_wait(c);
    ck_assert_msg(c->rc == 0, "%s", c->message);
    rows_are((long)(c->sent / c->piece_n * c->piece_rows));
    copier_free(c);
    all_is_well();
    lab_stop(lab);
}
END_TEST

START_TEST(a_refused_statement_before_it_ends_the_trip)
{
    struct copier *c = copier_new("INSERT INTO t VALUES ('x')", SIZE_MAX / 2);

    lab_of(lab_options());
    copier_wait(c);
    ck_assert_str_eq(c->sqlstate, "22P02");
    ck_assert_int_eq(c->writer_rc, ATH_E_CANCELED);
    copier_free(c);
    c = copier_new("DELETE FROM t", 1);
    c->ask->stmt[1].sql = "COPY missing FROM STDIN";
    copier_wait(c);
    ck_assert_str_eq(c->code, "undefined_table");
    copier_free(c);
    all_is_well();
    lab_stop(lab);
}
END_TEST

/* What is deferred to the commit is refused by the commit. */
START_TEST(a_refused_commit_is_a_refusal)
{
    struct copier *c = copier_new("DELETE FROM t", 0);

    lab_of(lab_options());
    postgres_sql(pg, "ALTER TABLE t ADD CONSTRAINT once UNIQUE (n) DEFERRABLE INITIALLY DEFERRED");
    c->text = "1\ta\n1\tb\n";
    copier_wait(c);
    ck_assert_str_eq(c->code, "unique_violation");
    ck_assert_str_eq(c->sqlstate, "23505");
    rows_are(0);
    copier_free(c);
    all_is_well();
    lab_stop(lab);
}
END_TEST

START_TEST(a_stream_that_breaks_off_undoes_all)
{
    struct copier *c = copier_new("INSERT INTO t VALUES (1)", SIZE_MAX / 2);

    lab_of(lab_options());
    c->fails_at = 5u << 20;
    copier_wait(c);
    ck_assert_int_eq(c->rc, ATH_E_LIMIT);
    ck_assert_str_eq(c->message, "what was to be copied ended early");
    rows_are(0);
    copier_free(c);
    all_is_well();
    lab_stop(lab);
}
END_TEST

START_TEST(whoever_leaves_undoes_all)
{
    struct copier *c = copier_new("INSERT INTO t VALUES (1)", SIZE_MAX / 2);

    lab_of(lab_options());
    c->stays_at = 1u << 20;
    copier_send(c);
    wait_for(COPYING, 1);
    ask_leave(c->ask);
    ck_assert(ask_wait(c->ask, 5000));
    wait_for(COPYING, 0);
    rows_are(0);
    copier_free(c);
    all_is_well();
    lab_stop(lab);
}
END_TEST

START_TEST(its_time_is_its_own)
{
    struct db_options o = lab_options();
    struct copier *c = copier_new("INSERT INTO t VALUES (1)", SIZE_MAX / 2);

    o.query_timeout_ms = 100; /* of other queries */
    lab_of(o);
    c->stays_at = 1u << 20;
    c->ask->q.timeout_ms = 700;
    copier_wait(c);
    ck_assert_int_eq(c->rc, ATH_E_TIMEOUT);
    ck_assert_str_eq(c->outcome, "none");
    rows_are(0);
    copier_free(c);
    all_is_well();
    lab_stop(lab);
}
END_TEST

/* The connection is lost before the commit: nothing has happened, and nobody is left in doubt. */
START_TEST(a_killed_backend_leaves_no_doubt)
{
    for (int by_signal = 0; by_signal < 2; by_signal++) {
        struct copier *c = copier_new("INSERT INTO t VALUES (1)", SIZE_MAX / 2);

        lab_of(lab_options());
        c->stays_at = by_signal ? 1u << 20 : 0;
        copier_send(c);
        wait_for(COPYING, 1);
        postgres_sql(pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE "
                         "'COPY t%'");
        ck_assert(ask_wait(c->ask, 5000));
        ck_assert_str_eq(c->code, "connection_error");
        ck_assert_str_eq(c->sqlstate, "");
        ck_assert_str_eq(c->outcome, "none");
        rows_are(0);
        copier_free(c);
        all_is_well();
        lab_stop(lab);
    }
}
END_TEST

/* A constraint that is checked by the commit takes its time, in which the connection is lost. */
START_TEST(a_connection_lost_in_the_commit_leaves_doubt)
{
    struct copier *c = copier_new("DELETE FROM t", 0);

    lab_of(lab_options());
    postgres_sql(pg, "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
                     "'BEGIN PERFORM pg_sleep(60); RETURN NULL; END'; CREATE CONSTRAINT TRIGGER d "
                     "AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE "
                     "FUNCTION dawdle()");
    c->text = "1\ta\n";
    copier_send(c);
    wait_for("SELECT count(*) FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active'",
             1);
    postgres_sql(pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = "
                     "'COMMIT' AND state = 'active'");
    ck_assert(ask_wait(c->ask, 5000));
    ck_assert_str_eq(c->code, "connection_error");
    ck_assert_str_eq(c->outcome, "unknown");
    copier_free(c);
    all_is_well();
    lab_stop(lab);
}
END_TEST

START_TEST(in_a_session_it_is_part_of_its_transaction)
{
    static const struct {
        const char *begin, *commit, *text;
        long rows;
        int rc;
    } cases[] = {
        { "BEGIN", "COMMIT", "1\ta\n2\tb\n", 2, 0 },
        { "BEGIN", "ROLLBACK", "1\ta\n2\tb\n", 0, 0 },
        { "BEGIN", "COMMIT", "x\ta\n", 0, ATH_E_INPUT },
        { "", "SELECT 1", "1\ta\n2\tb\n", 2, 0 },
        { "", "INSERT INTO t VALUES (9)", "x\ta\n", 1, ATH_E_INPUT },
    };

    for (size_t i = 0; i < ATH_COUNT(cases); i++) {
        struct copier *c = copier_new("SELECT 1", 0);
        lab_of(lab_options());
        c->begin = cases[i].begin;
        c->commit = cases[i].commit;
        c->text = cases[i].text;
        copier_wait(c);
        ck_assert_msg(c->rc == cases[i].rc, "case %zu: %s", i, c->message);
        rows_are(cases[i].rows);
        copier_free(c);
        all_is_well();
        lab_stop(lab);
    }
}
END_TEST

static void is_refused(uint32_t flags, const char *sql, const char *value, const char *words)
{
    struct copier *c = copier_new("SELECT 1", 0);

    c->ask->q.flags |= flags;
    c->ask->stmt[1].sql = sql;
    if (value)
        ask_param(c->ask, value);
    c->text = "1\ta\n";
    copier_wait(c);
    ck_assert_msg(strstr(c->rc ? c->message[0] ? c->message : c->ask->err.message : "", words),
                  "%s: %s %s", sql, c->message, c->ask->err.message);
    copier_free(c);
}

START_TEST(what_is_none_is_refused)
{
    lab_of(lab_options());
    is_refused(0, "INSERT INTO t VALUES (1)", NULL, "no COPY FROM STDIN");
    rows_are(0);
    is_refused(0, "COPY t TO STDOUT", NULL, "no COPY FROM STDIN");
    is_refused(0, "COPY t FROM STDIN; DELETE FROM t", NULL, "multiple commands");
    is_refused(0, "COPY t FROM STDIN", "1", "takes no values");
    is_refused(ATH_PG_READ, "COPY t FROM STDIN", NULL, "is no read");
    is_refused(ATH_PG_ROWS, "COPY t FROM STDIN", NULL, "is no read");
    all_is_well();
    lab_stop(lab);
}
END_TEST

/* A statement that was prepared before the table was altered is run again, and then the COPY. */
START_TEST(what_is_outdated_runs_again)
{
    struct db_options o = lab_options();
    struct copier *c;

    o.pool_max = 1;
    lab_of(o);
    for (int i = 0; i < 2; i++) {
        c = copier_new("SELECT * FROM t", 0);
        c->text = i ? "1\ta\t2\n" : "1\ta\n";
        copier_wait(c);
        ck_assert_msg(c->rc == 0, "%s", c->message);
        copier_free(c);
        postgres_sql(pg, "ALTER TABLE t ADD COLUMN IF NOT EXISTS more int");
    }
    rows_are(2);
    all_is_well();
    lab_stop(lab);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        two_hundred_megabytes_in_bounded_memory,
        over_tls_too,
        a_text_in_memory_is_a_stream,
        a_refused_row_names_its_line_and_undoes_all,
        a_refused_row_ends_an_endless_stream,
        notices_do_not_break_it_off,
        a_refused_statement_before_it_ends_the_trip,
        a_refused_commit_is_a_refusal,
        a_stream_that_breaks_off_undoes_all,
        whoever_leaves_undoes_all,
        its_time_is_its_own,
        a_killed_backend_leaves_no_doubt,
        a_connection_lost_in_the_commit_leaves_doubt,
        in_a_session_it_is_part_of_its_transaction,
        what_is_none_is_refused,
        what_is_outdated_runs_again,
    };
    Suite *s = suite_create("db copy");
    TCase *c = tcase_create("copy");

    tcase_set_timeout(c, 180);
    tcase_add_unchecked_fixture(c, cluster_up, cluster_down);
    for (size_t i = 0; i < ATH_COUNT(tests); i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return s;
}
