/* Results as answers: envelope, keys, null keys, counts, and the buckets of a page. */
#include "base/arena.h"
#include "base/err.h"
#include "dataplane/writer.h"
#include "support/check_main.h"
#include "support/fakecatalog.h"
#include "support/testhost.h"

#define KEY "8ee0670c165677705d37ec9ae87288db86341a43682cfa4c23aea755dbb4ad04"

static ath_arena arena;
static ath_err error;

static void expect(const char *body, bool strip, const struct fake_rows *rows, const char *want)
{
    struct dp dp = { .arena = &arena, .e = &error, .catalog = &fake_catalog_api };
    struct dp_answer a = { .cache_key = ATH_S(KEY), .strip_nulls = strip };
    struct dp_limits limits = { 0 };
    struct json_error why;
    struct dp_fetch f;
    struct dp_query q;
    struct buf b = { .alloc = arena_raw, .arena = &arena }, whole = BUF_HEAP;

    err_reset(&error);
    dp.snapshot = fake_catalog_recorded(&arena);
    ck_assert_int_eq(dp_read_fetch(&dp, json_read(str_of(body), JSON_ARENA(&arena), 1000, &why), &limits, &f), 0);
    ck_assert(dp_bind(&dp, &f.root) == 0 && dp_fetch_sql(&dp, &f, &q) == 0);
    if (dp_fetch_rows(&dp, &f, &q, fake_rows(rows), &a, &b) < 0) {
        ck_assert_str_eq(error.message, want);
    } else {
        buf_printf(&whole, "{\"cache_key\":\"" KEY "\",%s,\"status\":\"success\"}", want);
        ck_assert_str_eq(b.p, whole.p);
        ck_assert(b.p[a.data_from] == '[' && b.p[a.data_to - 1] == ']');
        ck_assert(json_read(buf_view(&b), JSON_ARENA(&arena), DP_VALUES, &why));
    }
    buf_free(&whole);
    arena_free(&arena);
}

START_TEST(rows_have_the_requested_keys)
{
    const ath_column c[] = { { ATH_S("id"), 23, 0, 0, 0 }, { ATH_S("name"), 25, 0, 0, 0 } };
    const char *const cell[] = { "1", "Ann \"A\"", "2", NULL };
    const struct fake_rows rows = { c, 2, 2, cell, NULL }, none = { c, 2, 0, NULL, NULL };

    expect("{\"table_name\":\"owners\",\"columns\":[\"ID\",\"name\"]}", false, &rows,
           "\"data\":[{\"ID\":1,\"name\":\"Ann \\\"A\\\"\"},{\"ID\":2,\"name\":null}],\"message\":\"Fetched 2 rows\"");
    expect("{\"table_name\":\"owners\",\"columns\":[\"x:id\",\"name\"]}", true, &rows,
           "\"data\":[{\"x\":1,\"name\":\"Ann \\\"A\\\"\"},{\"x\":2}],\"message\":\"Fetched 2 rows\"");
    expect("{\"table_name\":\"owners\",\"columns\":[\"id\",\"name\"]}", true, &none,
           "\"data\":[],\"message\":\"Fetched 0 rows\"");
}
END_TEST

START_TEST(a_star_takes_its_keys_from_the_result)
{
    const ath_column c[] = { { ATH_S("id"), 23, 0, 0, 0 }, { ATH_S("new\"col"), 25, 0, 0, 0 } };
    const char *const cell[] = { NULL, NULL };
    const struct fake_rows rows = { c, 2, 1, cell, NULL };

    expect("{\"table_name\":\"owners\"}", false, &rows,
           "\"data\":[{\"id\":null,\"new\\\"col\":null}],\"message\":\"Fetched 1 rows\"");
    expect("{\"table_name\":\"owners\"}", true, &rows, "\"data\":[{}],\"message\":\"Fetched 1 rows\"");
}
END_TEST

START_TEST(counts_come_with_the_rows_or_without_any)
{
    const ath_column c[] = { { ATH_S("n"), 20, 0, 0, 0 }, { ATH_S("bool"), 16, 0, 0, 0 }, { ATH_S("id"), 23, 0, 0, 0 } };
    const char *const some[] = { "7", "t", "1", "7", "t", "2" }, *const no[] = { "7", NULL, NULL };
    const struct fake_rows rows = { c, 3, 2, some, NULL }, none = { c, 3, 1, no, NULL };
    const struct fake_rows only = { c, 1, 1, some, NULL };

    expect("{\"table_name\":\"owners\",\"columns\":[\"id\"],\"count\":\"exact\"}", false, &rows,
           "\"count\":7,\"data\":[{\"id\":1},{\"id\":2}],\"message\":\"Fetched 2 rows\"");
    expect("{\"table_name\":\"owners\",\"columns\":[\"id\"],\"count\":\"exact\",\"offset\":9}", false, &none,
           "\"count\":7,\"data\":[],\"message\":\"Fetched 0 rows\"");
    expect("{\"table_name\":\"owners\",\"columns\":[\"id\"],\"count\":\"exact\",\"head\":true}", false, &only,
           "\"count\":7,\"data\":[],\"message\":\"Fetched 0 rows\"");
}
END_TEST

START_TEST(planned_counts_are_the_plans_and_estimated_ones_no_less_than_seen)
{
    const ath_column c[] = { { ATH_S("id"), 23, 0, 0, 0 } }, p[] = { { ATH_S("QUERY PLAN"), 114, 0, 0, 0 } };
    const char *const cell[] = { "1", "2" }, *const plan[] = { "[\n {\"Plan\": {\"Plan Rows\": 1250, \"x\": 1}}]" };
    const struct fake_rows planned = { p, 1, 1, plan, NULL }, rows = { c, 1, 2, cell, &planned };

    expect("{\"table_name\":\"owners\",\"columns\":[\"id\"],\"count\":\"planned\"}", false, &rows,
           "\"count\":1250,\"data\":[{\"id\":1},{\"id\":2}],\"message\":\"Fetched 2 rows\"");
    expect("{\"table_name\":\"owners\",\"columns\":[\"id\"],\"count\":\"estimated\"}", false, &rows,
           "\"count\":2,\"data\":[{\"id\":1},{\"id\":2}],\"message\":\"Fetched 2 rows\"");
    expect("{\"table_name\":\"owners\",\"columns\":[\"id\"],\"count\":\"estimated\",\"limit\":2}", false, &rows,
           "\"count\":1250,\"data\":[{\"id\":1},{\"id\":2}],\"message\":\"Fetched 2 rows\"");
}
END_TEST

#define EVENTS "\"data\":[{\"id\":1,\"amount\":10.5},{\"id\":2,\"amount\":20.25},{\"id\":1,\"amount\":10.50}," \
               "{\"id\":null,\"amount\":null}],\"message\":\"Fetched 4 rows\",\"post_processing\":{\"grouped\":["

START_TEST(pages_are_grouped_and_summed_exactly)
{
    const ath_column c[] = { { ATH_S("id"), 23, 0, 0, 0 }, { ATH_S("amount"), 1700, 0, 0, 0 } };
    const char *const cell[] = { "1", "10.5", "2", "20.25", "1", "10.50", NULL, NULL };
    const struct fake_rows rows = { c, 2, 4, cell, NULL };

    expect("{\"table_name\":\"owners\",\"columns\":[\"id\",\"amount:name\"],\"group_by\":\"id\",\"aggregation_column\":\"amount\"}",
           false, &rows,
           EVENTS "{\"aggregation\":\"21.00\",\"label\":\"1\",\"rows\":[{\"id\":1,\"amount\":10.5},{\"id\":1,\"amount\":10.50}]},"
                  "{\"aggregation\":\"20.25\",\"label\":\"2\",\"rows\":[{\"id\":2,\"amount\":20.25}]},"
                  "{\"aggregation\":\"0\",\"label\":\"null\",\"rows\":[{\"id\":null,\"amount\":null}]}]}");
    expect("{\"table_name\":\"owners\",\"columns\":[\"id\",\"amount:name\"],\"group_by\":\"id\",\"aggregation_column\":\"amount\","
           "\"aggregation_strategy\":\"cumulative_sum\",\"aggregation_dedup\":true}",
           false, &rows,
           EVENTS "{\"aggregation\":\"10.5\",\"label\":\"1\",\"rows\":[{\"id\":1,\"amount\":10.5},{\"id\":1,\"amount\":10.50}]},"
                  "{\"aggregation\":\"30.75\",\"label\":\"2\",\"rows\":[{\"id\":2,\"amount\":20.25}]},"
                  "{\"aggregation\":\"30.75\",\"label\":\"null\",\"rows\":[{\"id\":null,\"amount\":null}]}]}");
    expect("{\"table_name\":\"owners\",\"columns\":[\"id\",\"amount:name\"],\"group_by\":\"id\"}", false, &rows,
           EVENTS "{\"aggregation\":null,\"label\":\"1\",\"rows\":[{\"id\":1,\"amount\":10.5},{\"id\":1,\"amount\":10.50}]},"
                  "{\"aggregation\":null,\"label\":\"2\",\"rows\":[{\"id\":2,\"amount\":20.25}]},"
                  "{\"aggregation\":null,\"label\":\"null\",\"rows\":[{\"id\":null,\"amount\":null}]}]}");
}
END_TEST

START_TEST(sums_keep_sign_and_digits)
{
    const ath_column c[] = { { ATH_S("id"), 23, 0, 0, 0 }, { ATH_S("name"), 701, 0, 0, 0 } };
    const char *const cell[] = { "1", "-0.001", "1", "99999999999999999999", "1", "1e+22", "1", "-100000000000000000000", "2", "1", "2", "-3.25" };
    const struct fake_rows rows = { c, 2, 6, cell, NULL };

    expect("{\"table_name\":\"owners\",\"columns\":[\"id\",\"name\"],\"group_by\":\"id\",\"aggregation_column\":\"name\"}", false, &rows,
           "\"data\":[{\"id\":1,\"name\":-0.001},{\"id\":1,\"name\":99999999999999999999},{\"id\":1,\"name\":1e+22},"
           "{\"id\":1,\"name\":-100000000000000000000},{\"id\":2,\"name\":1},{\"id\":2,\"name\":-3.25}],\"message\":\"Fetched 6 rows\","
           "\"post_processing\":{\"grouped\":[{\"aggregation\":\"9999999999999999999998.999\",\"label\":\"1\",\"rows\":["
           "{\"id\":1,\"name\":-0.001},{\"id\":1,\"name\":99999999999999999999},{\"id\":1,\"name\":1e+22},{\"id\":1,\"name\":-100000000000000000000}]},"
           "{\"aggregation\":\"-2.25\",\"label\":\"2\",\"rows\":[{\"id\":2,\"name\":1},{\"id\":2,\"name\":-3.25}]}]}");
}
END_TEST

START_TEST(times_fall_into_days_hours_and_minutes)
{
    static const struct {
        uint32_t type;
        const char *text, *json, *day, *minute;
    } cases[] = {
        { 1184, "2024-01-01 23:30:15+00", "\"2024-01-01T23:30:15+00:00\"", "2024-01-01", "2024-01-01 23:30" },
        { 1184, "2024-03-01 01:30:00+02", "\"2024-03-01T01:30:00+02:00\"", "2024-02-29", "2024-02-29 23:30" },
        { 1114, "2024-01-01 10:00:00.5", "\"2024-01-01T10:00:00.5\"", "2024-01-01", "2024-01-01 10:00" },
        { 1082, "1969-12-31", "\"1969-12-31\"", "1969-12-31", "1969-12-31 00:00" },
        { 23, "0", "0", "1970-01-01", "1970-01-01 00:00" },
        { 20, "-1", "-1", "1969-12-31", "1969-12-31 23:59" },
        { 25, "2000-02-29 12:34:56", "\"2000-02-29 12:34:56\"", "2000-02-29", "2000-02-29 12:34" },
    };

    for (size_t i = 0; i < ATH_COUNT(cases); i++) {
        const ath_column c[] = { { ATH_S("name"), cases[i].type, 0, 0, 0 } };
        const char *const cell[] = { cases[i].text };
        const struct fake_rows rows = { c, 1, 1, cell, NULL };
        char want[512];
        for (int day = 0; day < 2; day++) {
            char body[256];
            snprintf(body, sizeof(body), "{\"table_name\":\"owners\",\"columns\":[\"name\"],\"group_by\":\"name\",\"time_granularity\":\"%s\"}",
                     day ? "day" : "minute");
            snprintf(want, sizeof(want), "\"data\":[{\"name\":%s}],\"message\":\"Fetched 1 rows\",\"post_processing\":{\"grouped\":[{\"aggregation\":null,\"label\":\"%s\",\"rows\":[{\"name\":%s}]}]}",
                     cases[i].json, day ? cases[i].day : cases[i].minute, cases[i].json);
            expect(body, false, &rows, want);
        }
    }
}
END_TEST

START_TEST(what_cannot_be_grouped_is_refused_as_published)
{
    const ath_column c[] = { { ATH_S("id"), 23, 0, 0, 0 }, { ATH_S("name"), 25, 0, 0, 0 } };
    const char *const cell[] = { "1", "x", "2", NULL };
    const struct fake_rows rows = { c, 2, 2, cell, NULL };

#define REFUSED(options, words) \
    expect("{\"table_name\":\"owners\",\"columns\":[\"id\",\"name\"]," options "}", false, &rows, \
           "Post-processing failure: " words " (cache_key=" KEY ")")
    REFUSED("\"group_by\":\"who\"", "Missing group_by column 'who'");
    REFUSED("\"group_by\":\"id\",\"aggregation_column\":\"who\"", "Missing aggregation column 'who'");
    REFUSED("\"group_by\":\"id\",\"aggregation_column\":\"name\"", "Aggregation column 'name' contains non-numeric data");
    REFUSED("\"group_by\":\"id\",\"aggregation_strategy\":\"cumulative_sum\"", "aggregation_strategy requires aggregation_column");
    REFUSED("\"group_by\":\"name\",\"time_granularity\":\"day\"", "Failed to parse datetime string: 'x'");
#undef REFUSED
}
END_TEST

/* ---- formats, and pieces ---- */

struct asked {
    struct dp dp;
    struct dp_fetch f;
    struct dp_query q;
    struct dp_answer a;
};

static void prepare(struct asked *x, const char *body, enum dp_format format)
{
    struct dp_limits limits = { 0 };
    struct json_error why;

    *x = (struct asked){ .dp = { .arena = &arena, .e = &error, .catalog = &fake_catalog_api },
                         .a = { .cache_key = ATH_S(KEY), .format = format } };
    err_reset(&error);
    x->dp.snapshot = fake_catalog_recorded(&arena);
    ck_assert_int_eq(dp_read_fetch(&x->dp, json_read(str_of(body), JSON_ARENA(&arena), 1000, &why), &limits, &x->f), 0);
    ck_assert(dp_bind(&x->dp, &x->f.root) == 0 && dp_fetch_sql(&x->dp, &x->f, &x->q) == 0);
}

static void expect_text(const char *body, enum dp_format format, const struct fake_rows *rows, const char *want)
{
    struct buf b = BUF_HEAP;
    struct asked x;

    prepare(&x, body, format);
    ck_assert_int_eq(dp_fetch_rows(&x.dp, &x.f, &x.q, fake_rows(rows), &x.a, &b), 0);
    ck_assert_str_eq(buf_view(&b).p, want);
    buf_free(&b);
    arena_free(&arena);
}

START_TEST(csv_is_rfc_4180_with_postgresqls_text)
{
    const ath_column c[] = { { ATH_S("id"), 23, 0, 0, 0 }, { ATH_S("name"), 25, 0, 0, 0 } };
    const char *const cell[] = { "1",  "plain", "2",  NULL,     "3",   "",           "4",       "a,b",
                                 NULL, "\"",    "-5", "l\r\nm", "t\t", "\xc3\xa9 ;", "{\"a\"}", " x " };
    const struct fake_rows rows = { c, 2, 8, cell, NULL }, none = { c, 2, 0, NULL, NULL };

    expect_text("{\"table_name\":\"owners\",\"select\":[{\"kind\":\"column\",\"name\":\"id\"},{\"kind\":\"column\",\"name\":\"name\",\"alias\":\"na\\\"m, e\"}]}", DP_CSV, &rows,
                "id,\"na\"\"m, e\"\r\n1,plain\r\n2,\r\n3,\"\"\r\n4,\"a,b\"\r\n,\"\"\"\"\r\n-5,\"l\r\nm\"\r\n"
                "t\t,\xc3\xa9 ;\r\n\"{\"\"a\"\"}\", x \r\n");
    expect_text("{\"table_name\":\"owners\",\"columns\":[\"id\",\"name\"]}", DP_CSV, &none, "id,name\r\n");
    expect_text("{\"table_name\":\"owners\"}", DP_CSV, &none, "id,name\r\n");
}
END_TEST

START_TEST(ndjson_is_an_object_a_line)
{
    const ath_column c[] = { { ATH_S("id"), 23, 0, 0, 0 }, { ATH_S("name"), 114, 0, 0, 0 } };
    const char *const cell[] = { "1", "{\n \"a\":\r\n \"x\\ny\"}", NULL, NULL };
    const struct fake_rows rows = { c, 2, 2, cell, NULL }, none = { c, 2, 0, NULL, NULL };

    expect_text("{\"table_name\":\"owners\",\"columns\":[\"id\",\"name\"]}", DP_NDJSON, &rows,
                "{\"id\":1,\"name\":{  \"a\":   \"x\\ny\"}}\n{\"id\":null,\"name\":null}\n");
    expect_text("{\"table_name\":\"owners\"}", DP_NDJSON, &none, "");
}
END_TEST

/* A plan knows keys as JSON has them. */
START_TEST(csv_of_a_plan_has_its_keys)
{
    const ath_column c[] = { { ATH_S("id"), 23, 0, 0, 0 } };
    const char *const cell[] = { "1" };
    const struct fake_rows rows = { c, 1, 1, cell, NULL };
    ath_str prefix = ATH_S(",\"a\\\"\\u00e9\":");
    struct dp_keys keys = { .n = 1, .prefix = &prefix };
    struct buf b = BUF_HEAP;
    struct asked x;

    prepare(&x, "{\"table_name\":\"owners\",\"columns\":[\"id\"]}", DP_CSV);
    x.f.keys = &keys;
    ck_assert_int_eq(dp_fetch_rows(&x.dp, &x.f, &x.q, fake_rows(&rows), &x.a, &b), 0);
    ck_assert_str_eq(b.p, "\"a\"\"\xc3\xa9\"\r\n1\r\n");
    buf_free(&b);
    arena_free(&arena);
}
END_TEST

START_TEST(pieces_are_the_whole)
{
    static const char *const bodies[] = { "{\"table_name\":\"owners\",\"columns\":[\"id\",\"name\"]}", "{\"table_name\":\"owners\"}",
                                          "{\"table_name\":\"owners\",\"count\":\"exact\",\"columns\":[\"id\",\"name\"]}" };
    const ath_column c[] = { { ATH_S("n"), 20, 0, 0, 0 }, { ATH_S("bool"), 16, 0, 0, 0 }, { ATH_S("id"), 23, 0, 0, 0 }, { ATH_S("name"), 25, 0, 0, 0 } };
    const char *const cell[] = { "5", "t", "1", "a", "5", "t", "2", NULL, "5", "t", "3", "c\"", "5", "t", "4", "", "5", "t", "5", "e" };
    const char *plain[10];

    for (int i = 0; i < 10; i++)
        plain[i] = cell[i / 2 * 4 + 2 + i % 2];
    for (size_t i = 0; i < ATH_COUNT(bodies); i++)
        for (enum dp_format format = DP_JSON; format <= DP_CSV; format++) {
            bool counted = i == 2;
            uint32_t n = counted ? 4 : 2;
            const ath_column *of = counted ? c : c + 2;
            const char *const *at = counted ? cell : plain;
            const struct fake_rows all = { of, n, 5, at, NULL }, first = { of, n, 2, at, NULL }, second = { of, n, 3, at + 2 * n, NULL };
            struct buf whole = BUF_HEAP, b = BUF_HEAP;
            struct dp_writer w;
            struct asked x;
            prepare(&x, bodies[i], format);
            ck_assert_int_eq(dp_fetch_rows(&x.dp, &x.f, &x.q, fake_rows(&all), &x.a, &whole), 0);
            dp_writer_begin(&w, &x.dp, &x.f, &x.q, fake_rows(&first), &x.a, &b);
            dp_writer_rows(&w, fake_rows(&first), &b);
            dp_writer_rows(&w, fake_rows(&second), &b);
            dp_writer_end(&w, &b);
            ck_assert_str_eq(b.p, whole.p);
            ck_assert_uint_eq(w.rows, 5);
            ck_assert_int_eq(x.a.count, counted ? 5 : -1);
            buf_free(&whole);
            buf_free(&b);
            arena_free(&arena);
        }
}
END_TEST

START_TEST(an_estimate_of_pieces_stands_behind_them)
{
    const ath_column c[] = { { ATH_S("id"), 23, 0, 0, 0 } };
    const char *const cell[] = { "1", "2" };
    const struct fake_rows rows = { c, 1, 2, cell, NULL };
    static const struct {
        const char *options, *want;
    } one[] = { { "\"count\":\"estimated\"", "{\"cache_key\":\"" KEY "\",\"data\":[{\"id\":1},{\"id\":2}],\"count\":2,\"message\":\"Fetched 2 rows\",\"status\":\"success\"}" },
                { "\"count\":\"estimated\",\"limit\":2", "{\"cache_key\":\"" KEY "\",\"data\":[{\"id\":1},{\"id\":2}],\"count\":900,\"message\":\"Fetched 2 rows\",\"status\":\"success\"}" },
                { "\"count\":\"planned\"", "{\"cache_key\":\"" KEY "\",\"count\":900,\"data\":[{\"id\":1},{\"id\":2}],\"message\":\"Fetched 2 rows\",\"status\":\"success\"}" } };

    for (size_t i = 0; i < ATH_COUNT(one); i++) {
        struct buf b = BUF_HEAP;
        struct dp_writer w;
        struct asked x;
        char body[200];
        snprintf(body, sizeof(body), "{\"table_name\":\"owners\",\"columns\":[\"id\"],%s}", one[i].options);
        prepare(&x, body, DP_JSON);
        x.a.planned = 900;
        dp_writer_begin(&w, &x.dp, &x.f, &x.q, fake_rows(&rows), &x.a, &b);
        dp_writer_rows(&w, fake_rows(&rows), &b);
        dp_writer_end(&w, &b);
        ck_assert_str_eq(b.p, one[i].want);
        buf_free(&b);
        arena_free(&arena);
    }
}
END_TEST

START_TEST(formats_by_accept)
{
    static const struct {
        const char *accept;
        enum dp_format format;
    } one[] = { { "", DP_JSON },
                { "*/*", DP_JSON },
                { "application/json", DP_JSON },
                { "text/csv", DP_CSV },
                { "Text/CSV; header=present", DP_CSV },
                { "application/x-ndjson", DP_NDJSON },
                { "text/csv, */*", DP_CSV },
                { "*/*, text/csv", DP_CSV },
                { "text/csv;q=0.5, */*", DP_JSON },
                { "text/csv;q=0.5, application/json;q=0.4", DP_CSV },
                { "application/json, text/csv", DP_JSON },
                { "text/csv, application/json", DP_CSV },
                { "text/csv;q=0", DP_JSON },
                { "text/csv;q=0, application/x-ndjson;q=0.001", DP_NDJSON },
                { "application/json, text/plain, */*", DP_JSON },
                { "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", DP_JSON },
                { "text/html", DP_JSON },
                { "text/*", DP_JSON },
                { ",;,", DP_JSON } };

    for (size_t i = 0; i < ATH_COUNT(one); i++)
        ck_assert_msg(dp_format_of(str_of(one[i].accept)) == one[i].format, "%s", one[i].accept);
}
END_TEST

SUITE("rows", rows_have_the_requested_keys, a_star_takes_its_keys_from_the_result,
      counts_come_with_the_rows_or_without_any,
      planned_counts_are_the_plans_and_estimated_ones_no_less_than_seen,
      pages_are_grouped_and_summed_exactly, sums_keep_sign_and_digits,
      times_fall_into_days_hours_and_minutes, what_cannot_be_grouped_is_refused_as_published,
      csv_is_rfc_4180_with_postgresqls_text, ndjson_is_an_object_a_line, csv_of_a_plan_has_its_keys,
      pieces_are_the_whole, an_estimate_of_pieces_stands_behind_them, formats_by_accept)
