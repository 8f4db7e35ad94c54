/* Inserts, updates and deletes: write.cases says what statements and values each body becomes, or why
 * it is refused.
 */
#include "base/arena.h"
#include "base/err.h"
#include "dataplane/write.h"
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

static const ath_snapshot *tables(void)
{
    static const struct fake_table list[] = {
        { .name = "public.items", .columns = "id int4 pk, name text uq, note text, price numeric, qty int4, "
                                             "active bool, kind_id int4 -> kinds.id, made_at timestamptz" },
        { .name = "public.kinds", .columns = "id int4 pk, title text" },
        { .name = "public.all_types",
          .columns = "id int4 pk, c_mood mood, c_pair pair, c_json json, c_jsonb jsonb, c_int_arr int4[], "
                     "c_text_arr text[], c_bytea bytea, c_uuid uuid, c_bool bool, c_jsonb_arr jsonb[]" },
        { .name = "public.Mixed", .columns = "Id int4 pk, fullName text, order int4" },
        { .name = "public.pairs", .columns = "a int4 pk, b int4 pk, n int4" },
        { .name = "public.logs", .columns = "line text, at timestamptz" },
        { .name = "matview public.seen", .columns = "id int4, line text" },
        { .name = "private.items", .columns = "id int4 pk, secret text" },
    };

    return fake_catalog(&arena, list, ATH_COUNT(list));
}

static int read_one(struct dp *dp, ath_str line, struct dp_write *w)
{
    size_t blank = str_find(line, ' ');
    struct json_error why;
    const struct json *doc = json_read(str_after(line, blank), JSON_ARENA(&arena), DP_VALUES, &why);

    ck_assert_msg(doc != NULL, "%.*s", STR_ARG(line));
    if (line.p[0] == 'i')
        return dp_read_insert(dp, doc, w);
    return line.p[0] == 'u' ? dp_read_update(dp, doc, w) : dp_read_delete(dp, doc, w);
}

static int make(ath_str line, struct dp *dp, struct dp_write *w, struct dp_change *c)
{
    int rc;

    *dp = (struct dp){ .arena = &arena, .e = &error, .catalog = &fake_catalog_api, .snapshot = tables() };
    if ((rc = read_one(dp, line, w)) < 0 || (rc = dp_bind_write(dp, w)) < 0)
        return rc;
    return dp_write_sql(dp, w, c);
}

static void outcome(ath_str line, struct buf *b)
{
    struct dp_change c;
    struct dp_write w;
    struct dp dp;

    if (make(line, &dp, &w, &c) < 0) {
        buf_printf(b, "  ! %s: %s\n", err_entry(&error)->code, error.message);
        return;
    }
    for (uint32_t i = 0; i < c.stmt_count; i++) {
        buf_printf(b, "  = %s\n", c.stmt[i].sql);
        for (uint32_t j = 0; j < c.stmt[i].param_count; j++) {
            buf_printf(b, "  $%u %u ", j + 1, c.stmt[i].type[j]);
            if (c.stmt[i].param[j].p)
                buf_printf(b, "%.*s\n", STR_ARG(c.stmt[i].param[j]));
            else
                buf_lit(b, "(null)\n");
        }
    }
}

static FILE *cases(void)
{
    static char path[4096];
    ath_str here = str_of(__FILE__);
    size_t slash = here.n;
    FILE *f;

    while (slash && here.p[slash - 1] != '/')
        slash--;
    snprintf(path, sizeof(path), "%.*swrite.cases", (int)slash, here.p);
    f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    return f;
}

/* With ATHENA_PRINT_CASES the outcomes are printed instead of compared: for reading, then keeping. */
START_TEST(bodies_become_the_statements_of_the_case_file)
{
    static char line[65536];
    struct buf expected = BUF_HEAP, got = BUF_HEAP;
    bool print = getenv("ATHENA_PRINT_CASES") != NULL;
    FILE *f = cases();
    unsigned n = 0;

    while (fgets(line, sizeof(line), f)) {
        if (line[0] == '#')
            continue;
        if (line[0] == ' ') {
            buf_z(&expected, line);
            continue;
        }
        if (!print)
            ck_assert_str_eq(buf_view(&got).p, buf_view(&expected).p);
        reset();
        buf_reset(&got);
        buf_reset(&expected);
        buf_z(&got, line);
        buf_z(&expected, line);
        outcome(str_trim(str_of(line)), &got);
        if (print)
            fputs(got.p, stdout);
        n++;
    }
    if (!print)
        ck_assert_str_eq(got.p, expected.p);
    ck_assert_uint_gt(n, 60);
    fclose(f);
    buf_free(&got);
    buf_free(&expected);
    reset();
}
END_TEST

/* G-10: names that are not there, and conditions that say nothing, never make a write wider. */
START_TEST(G_10_what_is_not_understood_is_refused)
{
    static const char *const lines[][2] = {
        { "insert {\"table_name\":\"items\",\"insert_body\":{\"nope\":1}}", "undefined_column" },
        { "insert {\"table_name\":\"items\",\"insert_body\":{\"1; drop\":1}}", "undefined_column" },
        { "update {\"table_name\":\"items\",\"set\":{\"nope\":1},\"conditions\":[{\"eq_column\":\"id\",\"eq_value\":1}]}",
          "undefined_column" },
        { "update {\"table_name\":\"items\",\"set\":{\"name\":1},\"conditions\":[{\"eq_column\":\"nope\",\"eq_value\":1}]}",
          "undefined_column" },
        { "update {\"table_name\":\"items\",\"set\":{\"name\":1},\"conditions\":[{\"eq_column\":\"id\"}]}",
          "invalid_condition_value" },
        { "update {\"table_name\":\"items\",\"set\":{\"name\":1},\"conditions\":[]}", "missing_conditions" },
        { "update {\"table_name\":\"items\",\"set\":{\"name\":1},\"where\":{}}", "missing_conditions" },
        { "update {\"table_name\":\"items\",\"set\":{\"name\":1},\"where\":{\"and\":[{}]}}", "invalid_condition_value" },
        { "update {\"table_name\":\"items\",\"set\":{\"name\":1},\"where\":{\"or\":[{},{\"id\":1}]}}",
          "invalid_condition_value" },
        { "update {\"table_name\":\"items\",\"set\":{\"name\":1},\"where\":{\"or\":[]}}", "invalid_condition_value" },
        { "delete {\"table_name\":\"items\"}", "missing_conditions" },
        { "delete {\"table_name\":\"items\",\"where\":{}}", "missing_conditions" },
        { "delete {\"table_name\":\"items\",\"conditions\":[{\"operator\":\"or\",\"value\":\"()\"}]}",
          "invalid_condition_value" },
        { "delete {\"table_name\":\"items\",\"resource_id\":\"1\",\"conditions\":[{\"column\":\"id\",\"operator\":"
          "\"zap\",\"value\":1}]}",
          "invalid_condition_value" },
    };

    for (size_t i = 0; i < ATH_COUNT(lines); i++) {
        struct dp_change c;
        struct dp_write w;
        struct dp dp;
        ck_assert_msg(make(str_of(lines[i][0]), &dp, &w, &c) < 0, "%s", lines[i][0]);
        ck_assert_msg(strcmp(err_entry(&error)->code, lines[i][1]) == 0, "%s: %s", lines[i][0],
                      err_entry(&error)->code);
        reset();
    }
}
END_TEST

START_TEST(rows_of_one_shape_are_one_statement_however_many)
{
    struct buf b = BUF_HEAP;
    struct dp_change c;
    struct dp_write w;
    struct dp dp;

    buf_lit(&b, "insert {\"table_name\":\"items\",\"insert_body\":[");
    for (int i = 0; i < 40000; i++)
        buf_printf(&b, "%s{\"id\":%d,\"qty\":1,\"name\":\"x\"}", i ? "," : "", i);
    buf_lit(&b, "]}");
    ck_assert_int_eq(make(buf_view(&b), &dp, &w, &c), 0);
    ck_assert_uint_eq(c.stmt_count, 1);
    ck_assert_uint_eq(c.stmt[0].param_count, 3);
    reset();
    buf_free(&b);
}
END_TEST

START_TEST(rows_that_differ_are_cut_where_the_parameters_are_full)
{
    struct buf b = BUF_HEAP;
    struct dp_change c;
    struct dp_write w;
    struct dp dp;
    uint32_t values = 0;

    buf_lit(&b, "insert {\"table_name\":\"items\",\"insert_body\":[{\"id\":1}");
    for (int i = 0; i < 50000; i++)
        buf_printf(&b, ",{\"id\":%d,\"qty\":1,\"name\":\"x\"}", i);
    buf_lit(&b, "]}");
    ck_assert_int_eq(make(buf_view(&b), &dp, &w, &c), 0);
    ck_assert_uint_eq(c.stmt_count, 3);
    for (uint32_t i = 0; i < c.stmt_count; i++) {
        ck_assert_uint_le(c.stmt[i].param_count, 65535);
        values += c.stmt[i].param_count;
    }
    ck_assert_uint_eq(values, 150001);
    reset();
    buf_free(&b);
}
END_TEST

/* Nobody can make us hold rows times columns of nothing. */
START_TEST(a_table_of_holes_is_refused)
{
    struct buf b = BUF_HEAP;
    struct dp_change c;
    struct dp_write w;
    struct dp dp;

    buf_lit(&b, "insert {\"table_name\":\"items\",\"insert_body\":[{\"id\":1,\"name\":1,\"note\":1,\"price\":1,\"qty\":1}");
    for (int i = 0; i < 500000; i++)
        buf_lit(&b, ",{}");
    buf_lit(&b, "]}");
    ck_assert_int_lt(make(buf_view(&b), &dp, &w, &c), 0);
    ck_assert_str_eq(err_entry(&error)->code, "invalid_payload");
    reset();
    buf_free(&b);
}
END_TEST

START_TEST(the_right_is_on_the_relation_that_is_meant)
{
    static const char *const lines[][2] = {
        { "insert {\"table_name\":\"items\",\"schema_name\":\"private\",\"insert_body\":{}}", "private.items.write" },
        { "update {\"table_name\":\"items\",\"set\":{\"nope\":1},\"where\":{\"id\":1}}", "public.items.write" },
        { "delete {\"table_name\":\"private.items\",\"resource_id\":1}", "private.items.delete" },
        { "delete {\"table_name\":\"nope\",\"resource_id\":1}", ".nope.delete" },
    };

    for (size_t i = 0; i < ATH_COUNT(lines); i++) {
        struct dp dp = { .arena = &arena, .e = &error, .catalog = &fake_catalog_api };
        const ath_right *right;
        struct dp_write w;
        char text[128];
        dp.snapshot = tables();
        ck_assert_int_eq(read_one(&dp, str_of(lines[i][0]), &w), 0);
        ck_assert_uint_eq(dp_write_rights(&dp, &w, &right), 1);
        snprintf(text, sizeof(text), "%.*s.%.*s.%.*s", STR_ARG(right->schema), STR_ARG(right->table),
                 STR_ARG(right->action));
        ck_assert_str_eq(text, lines[i][1]);
        reset();
    }
}
END_TEST

SUITE("dataplane writes", bodies_become_the_statements_of_the_case_file, G_10_what_is_not_understood_is_refused,
      rows_of_one_shape_are_one_statement_however_many, rows_that_differ_are_cut_where_the_parameters_are_full,
      a_table_of_holes_is_refused,
      the_right_is_on_the_relation_that_is_meant)
