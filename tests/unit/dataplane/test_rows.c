/* Results as answers: envelope, keys, null keys, counts, and the buckets of a page. */
#include "base/arena.h"
#include "base/err.h"
#include "dataplane/dataplane.h"
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

SUITE("rows", rows_have_the_requested_keys, a_star_takes_its_keys_from_the_result,
      counts_come_with_the_rows_or_without_any,
      planned_counts_are_the_plans_and_estimated_ones_no_less_than_seen,
      pages_are_grouped_and_summed_exactly, sums_keep_sign_and_digits,
      times_fall_into_days_hours_and_minutes, what_cannot_be_grouped_is_refused_as_published)
