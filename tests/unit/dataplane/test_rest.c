/* The REST shim's words: rest.cases says what statement and values each query string becomes, or why it
 * is refused: "table?query". Then Prefer, Range and Content-Range.
 */
#include "base/arena.h"
#include "base/err.h"
#include "dataplane/rest.h"
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
                        .snapshot = fake_catalog_recorded(&arena), .code = "invalid_fetch_condition",
                        .select_code = "undefined_column", .table_code = "invalid_schema_table_selector" };
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

static void outcome(ath_str line, struct buf *b)
{
    struct dp dp = dp_new_one();
    struct dp_fetch f = { .root = { .limit = -1, .offset = -1 } };
    size_t end = str_find(line, '?');
    ath_pair pair[16];
    struct dp_query q;
    ath_str target;
    int rc = dp_read_table(&dp, str_from(line.p, end), &f.root.schema, &f.root.table);

    if (rc == 0)
        rc = dp_read_rest_query(&dp, pair, split(str_after(line, end + 1), pair), DP_REST_ROWS, &f.root,
                                &target);
    if (rc == 0 && !f.root.item)
        rc = dp_read_items(&dp, ATH_S("id"), &f.root);
    if (rc < 0 || dp_bind(&dp, &f.root) < 0 || dp_fetch_sql(&dp, &f, &q) < 0) {
        buf_printf(b, "  ! %s: %s\n", err_entry(&error)->code, error.message);
        return;
    }
    buf_printf(b, "  = %s\n", q.stmt[0].sql);
    for (uint32_t i = 0; i < q.sql.count; i++)
        buf_printf(b, "  $%u %u %.*s\n", i + 1, q.sql.type[i], STR_ARG(q.sql.param[i]));
}

START_TEST(query_strings_become_the_statements_of_the_case_file)
{
    static char line[65536], path[4096];
    struct buf expected = BUF_HEAP, got = BUF_HEAP;
    ath_str here = str_of(__FILE__);
    unsigned n = 0;
    FILE *f;

    while (here.n && here.p[here.n - 1] != '/')
        here.n--;
    snprintf(path, sizeof(path), "%.*srest.cases", STR_ARG(here));
    f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
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
        outcome(str_trim(str_of(line)), &got);
        n++;
    }
    ck_assert_str_eq(buf_view(&got).p, buf_view(&expected).p);
    ck_assert_uint_gt(n, 50);
    fclose(f);
    buf_free(&got);
    buf_free(&expected);
    reset();
}
END_TEST

START_TEST(what_a_write_takes_is_told_apart)
{
    static const struct {
        unsigned takes;
        const char *query, *refused;
    } cases[] = {
        { DP_REST_TARGET, "on_conflict=id,name&select=id", NULL },
        { DP_REST_TARGET, "id=eq.1", "parameter \"id\" has no meaning here" },
        { DP_REST_TARGET, "limit=1", "parameter \"limit\" has no meaning here" },
        { DP_REST_TARGET, "on_conflict=", "on_conflict names no column" },
        { DP_REST_ROWS, "id=eq.1&on_conflict=id", "parameter \"on_conflict\" has no meaning here" },
    };

    for (size_t i = 0; i < ATH_COUNT(cases); i++) {
        struct dp dp = dp_new_one();
        struct dp_node node = { .limit = -1, .offset = -1 };
        ath_pair pair[16];
        ath_str target;
        int rc = dp_read_rest_query(&dp, pair, split(str_of(cases[i].query), pair), cases[i].takes, &node,
                                    &target);
        ck_assert_msg((rc == 0) == !cases[i].refused, "%s", cases[i].query);
        if (rc < 0)
            ck_assert_str_eq(error.message, cases[i].refused);
        else
            ck_assert(str_is(target, "id,name"));
        reset();
    }
}
END_TEST

START_TEST(preferences_are_read_and_said)
{
    static const struct {
        const char *header, *applied;
        int count, resolution, minimal, nulls;
    } cases[] = {
        { "count=exact", "count=exact", DP_COUNT_EXACT, 0, 0, 0 },
        { "return=minimal, COUNT=Planned", "return=minimal, COUNT=Planned", DP_COUNT_PLANNED, 0, 1, 0 },
        { "resolution=merge-duplicates,return=representation", "resolution=merge-duplicates, return=representation", 0, DP_RESOLVE_MERGE, 0, 0 },
        { "resolution=ignore-duplicates; x=y , missing=\"null\"", "resolution=ignore-duplicates, missing=null", 0, DP_RESOLVE_IGNORE, 0, 1 },
        { "respond-async, handling=lenient, , tx=commit", "", 0, 0, 0, 0 },
        { "missing=default, return=headers-only", "missing=default, return=headers-only", 0, 0, 1, 0 },
        { "count=most", NULL, 0, 0, 0, 0 }, { "resolution=x", NULL, 0, 0, 0, 0 },
        { "return", NULL, 0, 0, 0, 0 },     { "tx=rollback", NULL, 0, 0, 0, 0 },
    };

    for (size_t i = 0; i < ATH_COUNT(cases); i++) {
        struct dp dp = dp_new_one();
        struct dp_prefer p = { 0 };
        int rc = dp_read_prefer(&dp, str_of(cases[i].header), &p);
        ck_assert_msg((rc == 0) == (cases[i].applied != NULL), "%s", cases[i].header);
        if (rc == 0) {
            ck_assert_str_eq(buf_view(&p.applied).p, cases[i].applied);
            ck_assert_msg((int)p.count == cases[i].count && (int)p.resolution == cases[i].resolution &&
                              p.minimal == cases[i].minimal && p.nulls == cases[i].nulls,
                          "%s", cases[i].header);
        } else {
            ck_assert_str_eq(err_entry(&error)->code, "bad_request");
        }
        reset();
    }
}
END_TEST

START_TEST(ranges_are_read_and_said)
{
    static const struct {
        const char *header;
        int rc;
        int64_t limit, offset;
    } cases[] = {
        { "", 0, 7, 8 },          { "items=0-9", 1, 10, 0 }, { "5-5", 1, 1, 5 },      { "Items = 3-", 1, 7, 3 },
        { "bytes=0-5", 0, 7, 8 }, { "9-0", -1, 0, 0 },       { "items=a-b", -1, 0, 0 }, { "items=1-2,4-5", -1, 0, 0 },
        { "-5", -1, 0, 0 },       { "items=5", -1, 0, 0 },   { "0-9223372036854775807", 1, INT64_MAX, 0 },
    };
    struct buf b = BUF_HEAP;

    for (size_t i = 0; i < ATH_COUNT(cases); i++) {
        struct dp dp = dp_new_one();
        int64_t limit = 7, offset = 8;
        int rc = dp_read_range(&dp, str_of(cases[i].header), &limit, &offset);
        ck_assert_msg((rc < 0 ? -1 : rc) == cases[i].rc, "%s", cases[i].header);
        ck_assert_msg(rc < 0 || (limit == cases[i].limit && offset == cases[i].offset), "%s", cases[i].header);
        reset();
    }
    dp_content_range(&b, 0, 10, -1);
    buf_char(&b, ' ');
    dp_content_range(&b, 20, 1, 57);
    buf_char(&b, ' ');
    dp_content_range(&b, 5, 0, -1);
    buf_char(&b, ' ');
    dp_content_range(&b, 5, 0, 3);
    ck_assert_str_eq(b.p, "items 0-9/* items 20-20/57 */* */3");
    buf_free(&b);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        query_strings_become_the_statements_of_the_case_file, what_a_write_takes_is_told_apart,
        preferences_are_read_and_said, ranges_are_read_and_said,
    };
    Suite *s = suite_create("rest");
    TCase *c = tcase_create("rest");

    testhost_pg(NULL);
    for (size_t i = 0; i < ATH_COUNT(tests); i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return s;
}
