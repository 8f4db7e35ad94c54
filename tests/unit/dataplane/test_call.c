/* Calls of functions: call.cases says what statement and values each request becomes, or why it is
 * refused. "POST name {body}" is POST /rpc/name, "RPC {body}" POST /gateway/rpc, "GET name?query" a
 * query string. Then what becomes of results.
 */
#include "base/arena.h"
#include "base/err.h"
#include "dataplane/call.h"
#include "dataplane/writer.h"
#include "support/check_main.h"
#include "support/fakecatalog.h"
#include "support/testhost.h"

static ath_arena arena;
static ath_err error;

static void reset(void)
{
    arena_free(&arena);
    err_reset(&error);
}

static struct dp dp_new_one(void)
{
    return (struct dp){ .arena = &arena, .e = &error, .catalog = &fake_catalog_api,
                        .snapshot = fake_catalog_recorded(&arena) };
}

/* The host decodes the query string; here nothing is encoded. */
static uint32_t split(ath_str query, ath_pair *to)
{
    ath_str piece;
    uint32_t n = 0;

    while (query.n && str_next(&query, '&', &piece)) {
        size_t eq = str_find(piece, '=');
        to[n++] = (ath_pair){ str_from(piece.p, eq), str_after(piece, eq + 1) };
    }
    return n;
}

static int read_line(struct dp *dp, ath_str line, const struct dp_limits *limits, struct dp_call *c)
{
    ath_str how = str_from(line.p, str_find(line, ' ')), rest = str_after(line, how.n + 1);
    struct json_error why;
    ath_pair pair[16];
    size_t end;

    if (str_is(how, "GET")) {
        end = str_find(rest, '?');
        return dp_read_call_query(dp, str_from(rest.p, end), pair, split(str_after(rest, end + 1), pair),
                                  limits, c);
    }
    end = str_is(how, "POST") ? str_find(rest, ' ') : 0;
    return dp_read_call(dp, str_from(rest.p, end),
                        json_read(str_after(rest, end), JSON_ARENA(&arena), 1000, &why), limits, c);
}

static void outcome(ath_str line, const struct dp_limits *limits, struct buf *b)
{
    struct dp dp = dp_new_one();
    struct dp_call c;

    if (read_line(&dp, line, limits, &c) < 0 || dp_bind_call(&dp, &c) < 0 || dp_call_sql(&dp, &c) < 0) {
        buf_printf(b, "  ! %s: %s\n", err_entry(&error)->code, error.message);
        return;
    }
    buf_printf(b, "  %s %s\n", c.bare ? "-" : "=", c.q.stmt[0].sql);
    for (uint32_t i = 0; i < c.q.sql.count; i++)
        buf_printf(b, "  $%u %u %.*s\n", i + 1, c.q.sql.type[i],
                   STR_ARG(c.q.sql.param[i].p ? c.q.sql.param[i] : ATH_S("NULL")));
}

static FILE *cases_open(void)
{
    static char path[4096];
    ath_str here = str_of(__FILE__);
    FILE *f;

    while (here.n && here.p[here.n - 1] != '/')
        here.n--;
    snprintf(path, sizeof(path), "%.*scall.cases", STR_ARG(here));
    f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    return f;
}

START_TEST(requests_become_the_statements_of_the_case_file)
{
    static char line[65536];
    const struct dp_limits limits = { 0 };
    struct buf expected = BUF_HEAP, got = BUF_HEAP;
    FILE *f = cases_open();
    unsigned n = 0;

    while (fgets(line, sizeof(line), f)) {
        if (line[0] == '#')
            continue;
        if (line[0] == ' ') {
            buf_z(&expected, line);
            continue;
        }
        ck_assert_str_eq(buf_view(&got).p, buf_view(&expected).p);
        reset();
        buf_reset(&got);
        buf_reset(&expected);
        buf_z(&got, line);
        buf_z(&expected, line);
        outcome(str_trim(str_of(line)), &limits, &got);
        n++;
    }
    ck_assert_str_eq(buf_view(&got).p, buf_view(&expected).p);
    ck_assert_uint_gt(n, 60);
    fclose(f);
    buf_free(&got);
    buf_free(&expected);
    reset();
}
END_TEST

static void expect(const char *line, int64_t max_rows, const char *text)
{
    const struct dp_limits limits = { .max_rows = max_rows };
    struct buf b = BUF_HEAP;

    outcome(str_of(line), &limits, &b);
    ck_assert_str_eq(b.p, text);
    buf_free(&b);
    reset();
}

START_TEST(G_14_a_row_cap_holds_for_functions)
{
    expect("RPC {\"function\":\"between\",\"args\":{\"low\":1,\"high\":2},\"limit\":11}", 10,
           "  ! invalid_rpc_request: limit 11 is over the 10 rows allowed\n");
    expect("GET list?v=1", 10,
           "  - WITH f AS (SELECT * FROM \"public\".\"list\"(VARIADIC \"v\" => $1) AS t(\"list\") WHERE "
           "t.\"list\" IS NOT NULL) SELECT t0.* FROM f AS t0 LIMIT $2\n  $1 1007 {\"1\"}\n  $2 20 10\n");
}
END_TEST

START_TEST(values_nested_too_deep_are_refused)
{
    struct buf b = BUF_HEAP, got = BUF_HEAP;
    const struct dp_limits limits = { 0 };

    buf_lit(&b, "RPC {\"function\":\"one\",\"args\":{\"v\":");
    for (int i = 0; i < 60; i++)
        buf_char(&b, '[');
    for (int i = 0; i < 60; i++)
        buf_char(&b, ']');
    buf_lit(&b, "}}");
    outcome(buf_view(&b), &limits, &got);
    ck_assert_str_eq(got.p, "  ! invalid_rpc_request: an argument is nested more than 32 levels\n");
    buf_free(&b);
    buf_free(&got);
    reset();
}
END_TEST

START_TEST(only_embedded_relations_need_rights_beside_the_call)
{
    const struct dp_limits limits = { 0 };
    struct dp dp = dp_new_one();
    const ath_right *right;
    struct dp_call c;

    ck_assert_int_eq(read_line(&dp,
                               ATH_S("RPC {\"function\":\"between\",\"args\":{\"low\":1,\"high\":2},"
                                     "\"select\":\"id,tasks(title)\"}"),
                               &limits, &c), 0);
    ck_assert_int_eq(dp_bind_call(&dp, &c), 0);
    ck_assert_uint_eq(dp_call_rights(&dp, &c, &right), 1);
    ck_assert(str_is(right[0].table, "tasks") && str_is(right[0].action, "read"));
    reset();
}
END_TEST

/* What a function gives is seen by who may call it; the same table, embedded, is read. */
START_TEST(D_7_a_result_does_not_cover_its_table_where_that_is_embedded)
{
    const struct dp_limits limits = { 0 };
    struct dp dp = dp_new_one();
    const ath_right *right;
    struct dp_call c;

    ck_assert_int_eq(read_line(&dp,
                               ATH_S("RPC {\"function\":\"between\",\"args\":{\"low\":1,\"high\":2},"
                                     "\"select\":\"id,tasks(title,projects(id))\"}"),
                               &limits, &c), 0);
    ck_assert_int_eq(dp_bind_call(&dp, &c), 0);
    ck_assert_uint_eq(dp_call_rights(&dp, &c, &right), 2);
    ck_assert(str_is(right[0].table, "tasks") && str_is(right[1].table, "projects"));
    reset();
}
END_TEST

START_TEST(a_name_that_is_not_there_may_be_new)
{
    static const struct {
        const char *line;
        bool unknown;
    } cases[] = {
        { "RPC {\"function\":\"nope\"}", true },
        { "RPC {\"function\":\"add\",\"args\":{\"z\":1}}", true },
        { "RPC {\"function\":\"nums\",\"select\":\"zzz\"}", true },
        { "RPC {\"function\":\"nums\",\"limit\":-1}", false },
        { "RPC {\"function\":\"a.b.c\"}", false },
    };
    const struct dp_limits limits = { 0 };

    for (size_t i = 0; i < ATH_COUNT(cases); i++) {
        struct dp dp = dp_new_one();
        struct dp_call c;
        ck_assert(read_line(&dp, str_of(cases[i].line), &limits, &c) < 0 || dp_bind_call(&dp, &c) < 0);
        ck_assert_msg(dp.unknown == cases[i].unknown, "%s", cases[i].line);
        reset();
    }
}
END_TEST

/* ---- results ---- */

static void answer_as(enum dp_format format, const char *line, const struct fake_rows *rows,
                      const char *expected)
{
    const struct dp_limits limits = { 0 };
    struct dp dp = dp_new_one();
    struct buf b = BUF_HEAP;
    struct dp_answer a;
    struct dp_writer w;
    struct dp_call c;

    ck_assert_msg(read_line(&dp, str_of(line), &limits, &c) == 0 && dp_bind_call(&dp, &c) == 0 &&
                      dp_call_sql(&dp, &c) == 0, "%s: %s", line, error.message);
    a = dp_call_answer(&c, format);
    dp_writer_begin(&w, &dp, &c.f, &c.q, fake_rows(rows), &a, &b);
    if (c.q.rows)
        dp_writer_rows(&w, fake_rows(rows), &b);
    dp_writer_end(&w, &b);
    ck_assert_str_eq(b.p, expected);
    buf_free(&b);
    reset();
}

static void answer(const char *line, const struct fake_rows *rows, const char *expected)
{
    answer_as(DP_JSON, line, rows, expected);
}

START_TEST(values_are_bare_and_rows_are_objects)
{
    static const ath_column number = { { "list", 4 }, 23, 0, -1, 0 };
    static const ath_column row[] = { { { "a", 1 }, 23, 0, -1, 0 }, { { "b\"", 2 }, 25, 0, -1, 0 } };
    static const ath_column counted[] = { { { "n", 1 }, 20, 0, -1, 0 }, { { "bool", 4 }, 16, 0, -1, 0 },
                                          { { "nums", 4 }, 23, 0, -1, 0 } };
    const char *const numbers[] = { "1", "2" }, *const cells[] = { "7", NULL };
    const char *const two[] = { "5", "t", "1", "5", "t", "2" }, *const none[] = { "5", NULL, NULL };
    struct fake_rows r = { &number, 1, 2, numbers, NULL }, w = { row, 2, 1, cells, NULL };
    struct fake_rows c2 = { counted, 3, 2, two, NULL }, c0 = { counted, 3, 1, none, NULL };

    answer("GET list?v=1", &r,
           "{\"data\":[1,2],\"message\":\"Function returned 2 rows\",\"status\":\"success\"}");
    answer("RPC {\"function\":\"list\",\"args\":{\"v\":1},\"select\":\"n:list\"}", &r,
           "{\"data\":[{\"n\":1},{\"n\":2}],\"message\":\"Function returned 2 rows\",\"status\":\"success\"}");
    answer("POST we\"ird {\"my arg\":1}", &w,
           "{\"data\":[{\"a\":7,\"b\\\"\":null}],\"message\":\"Function returned 1 rows\",\"status\":\"success\"}");
    answer("GET nums?count=exact", &c2,
           "{\"count\":5,\"data\":[1,2],\"message\":\"Function returned 2 rows\",\"status\":\"success\"}");
    answer("GET nums?", &c0,
           "{\"data\":[],\"message\":\"Function returned 0 rows\",\"status\":\"success\"}");
    answer("GET nums?head=true&count=exact", &c2,
           "{\"count\":5,\"data\":[],\"message\":\"Function returned 0 rows\",\"status\":\"success\"}");
    answer_as(DP_NDJSON, "GET list?v=1", &r, "1\n2\n");
    answer_as(DP_CSV, "GET list?v=1", &r, "list\r\n1\r\n2\r\n");
    answer_as(DP_CSV, "GET nums?count=exact", &c2, "nums\r\n1\r\n2\r\n");
    answer_as(DP_NDJSON, "POST we\"ird {\"my arg\":1}", &w, "{\"a\":7,\"b\\\"\":null}\n");
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        requests_become_the_statements_of_the_case_file, G_14_a_row_cap_holds_for_functions,
        values_nested_too_deep_are_refused, only_embedded_relations_need_rights_beside_the_call,
        D_7_a_result_does_not_cover_its_table_where_that_is_embedded,
        a_name_that_is_not_there_may_be_new, values_are_bare_and_rows_are_objects,
    };
    Suite *s = suite_create("calls");
    TCase *c = tcase_create("calls");

    for (size_t i = 0; i < ATH_COUNT(tests); i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return s;
}
