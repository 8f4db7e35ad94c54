/* Every operator of every dialect, selections, joins, order, pages and counts: fetch.cases says what
 * statement and values each body becomes, or why it is refused.
 */
#include "base/arena.h"
#include "base/err.h"
#include "dataplane/dataplane.h"
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
                        .snapshot = fake_catalog_recorded(&arena), .code = "invalid_fetch_condition" };
}

static void query_text(const struct dp_query *q, struct buf *b)
{
    buf_printf(b, "  = %s\n", q->stmt[0].sql);
    if (q->stmt_count > 1)
        buf_printf(b, "  + %s\n", q->stmt[1].sql);
    for (uint32_t i = 0; i < q->sql.count; i++)
        buf_printf(b, "  $%u %u %.*s\n", i + 1, q->sql.type[i], STR_ARG(q->sql.param[i]));
}

static void outcome(ath_str body, const struct dp_limits *limits, bool fold, struct buf *b)
{
    struct json_error why;
    const struct json *doc = json_read(body, JSON_ARENA(&arena), DP_VALUES, &why);
    struct dp dp = dp_new_one();
    struct dp_fetch f;
    struct dp_query q;

    dp.fold = fold;
    ck_assert_ptr_nonnull(doc);
    if (dp_read_fetch(&dp, doc, limits, &f) < 0 || dp_bind(&dp, &f.root) < 0 ||
        dp_fetch_sql(&dp, &f, &q) < 0)
        buf_printf(b, "  ! %s: %s\n", err_entry(&error)->code, error.message);
    else
        query_text(&q, b);
}

static void cases_path(char *to, size_t n)
{
    ath_str here = str_of(__FILE__);
    size_t slash = here.n;

    while (slash && here.p[slash - 1] != '/')
        slash--;
    snprintf(to, n, "%.*sfetch.cases", (int)slash, here.p);
}

START_TEST(bodies_become_the_statements_of_the_case_file)
{
    static char line[65536], path[4096];
    const struct dp_limits limits = { 0 };
    struct buf expected = BUF_HEAP, got = BUF_HEAP;
    unsigned n = 0;
    FILE *f;

    cases_path(path, sizeof(path));
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
        outcome(str_trim(str_of(line)), &limits, false, &got);
        n++;
    }
    ck_assert_str_eq(got.p, expected.p);
    ck_assert_uint_gt(n, 100);
    fclose(f);
    buf_free(&got);
    buf_free(&expected);
    reset();
}
END_TEST

static void expect(const char *body, int64_t max_rows, bool fold, const char *text)
{
    const struct dp_limits limits = { .max_rows = max_rows };
    struct buf b = BUF_HEAP;

    reset();
    outcome(str_of(body), &limits, fold, &b);
    ck_assert_str_eq(b.p, text);
    buf_free(&b);
    reset();
}

START_TEST(a_row_cap_refuses_larger_limits_and_lowers_the_default)
{
    expect("{\"table_name\":\"owners\",\"limit\":11}", 10, false,
           "  ! invalid_fetch_condition: limit 11 is over the 10 rows allowed\n");
    expect("{\"table_name\":\"owners\"}", 10, false,
           "  = SELECT t0.* FROM \"public\".\"owners\" AS t0 LIMIT $1\n  $1 20 10\n");
    expect("{\"table_name\":\"owners\",\"select\":\"id\"}", 10, false,
           "  = SELECT t0.\"id\" FROM \"public\".\"owners\" AS t0 LIMIT $1\n  $1 20 10\n");
}
END_TEST

START_TEST(camel_case_is_folded_when_asked_for)
{
    expect("{\"table_name\":\"projects\",\"columns\":[\"ownerId\"],\"conditions\":[{\"eq_column\":"
           "\"OwnerID\",\"eq_value\":1}],\"sort_by\":{\"field\":\"ownerId\"},\"limit\":1}",
           0, true,
           "  = SELECT t0.\"owner_id\" FROM \"public\".\"projects\" AS t0 WHERE t0.\"owner_id\" = $1"
           " ORDER BY t0.\"owner_id\" ASC LIMIT $2\n  $1 23 1\n  $2 20 1\n");
}
END_TEST

START_TEST(names_fold_as_published)
{
    static const char *const pairs[][2] = { { "CreatedAt", "created_at" },
                                            { "HTTPServer", "http_server" },
                                            { "userID2Name", "user_id2_name" },
                                            { "plain_name", "plain_name" } };

    for (size_t i = 0; i < ATH_COUNT(pairs); i++) {
        struct dp dp = dp_new_one();
        ath_str folded = dp_fold(&dp, str_of(pairs[i][0]));
        ck_assert_msg(str_is(folded, pairs[i][1]), "%s", pairs[i][0]);
        reset();
    }
}
END_TEST

START_TEST(rest_parameters_are_predicates)
{
    static const char *const cases[][3] = {
        { "id", "eq.5", "t0.\"id\" = $1" },
        { "name", "not.like.a*b", "NOT (t0.\"name\" LIKE $1)" },
        { "id", "in.(1,2)", "t0.\"id\" = ANY($1)" },
        { "note", "is.null", "t0.\"note\" IS NULL" },
        { "name", "eq.a,b", "t0.\"name\" = $1" },
        { "or", "(id.eq.1,name.eq.x)", "(t0.\"id\" = $1 OR t0.\"name\" = $2)" },
        { "not.and", "(id.eq.1,name.eq.x)", "NOT ((t0.\"id\" = $1 AND t0.\"name\" = $2))" },
        { "id", "5", NULL },
        { "id", "zap.5", NULL },
        { "or", "id.eq.1", NULL },
    };

    for (size_t i = 0; i < ATH_COUNT(cases); i++) {
        struct dp dp = dp_new_one();
        struct dp_fetch f = { .root = { .limit = -1, .offset = -1 } };
        struct dp_pred *p = NULL;
        struct dp_query q;
        int rc = dp_read_rest(&dp, str_of(cases[i][0]), str_of(cases[i][1]), &p);
        ck_assert_msg((rc == 0) == (cases[i][2] != NULL), "%s=%s", cases[i][0], cases[i][1]);
        if (rc == 0) {
            struct buf want = BUF_HEAP;
            f.root.table = ATH_S("items");
            dp_where_add(&f.root, p);
            ck_assert_int_eq(dp_read_items(&dp, ATH_S("id"), &f.root), 0);
            ck_assert_int_eq(dp_bind(&dp, &f.root), 0);
            ck_assert_int_eq(dp_fetch_sql(&dp, &f, &q), 0);
            buf_printf(&want, "SELECT t0.\"id\" FROM \"public\".\"items\" AS t0 WHERE %s", cases[i][2]);
            ck_assert_str_eq(q.stmt[0].sql, want.p);
            buf_free(&want);
        }
        reset();
    }
}
END_TEST

START_TEST(rights_cover_every_relation)
{
    const char *body = "{\"table_name\":\"projects\",\"select\":\"id,tasks(id,labels(word)),nope(id)\"}";
    struct json_error why;
    struct dp dp = dp_new_one();
    struct dp_limits limits = { 0 };
    struct buf b = BUF_HEAP;
    const ath_right *right;
    struct dp_fetch f;
    uint32_t n;

    ck_assert_int_eq(dp_read_fetch(&dp, json_read(str_of(body), JSON_ARENA(&arena), 1000, &why), &limits, &f), 0);
    ck_assert_int_lt(dp_bind(&dp, &f.root), 0);
    ck_assert(dp.unknown);
    n = dp_rights(&dp, &f.root, "read", &right);
    for (uint32_t i = 0; i < n; i++)
        buf_printf(&b, "%.*s.%.*s.%.*s ", STR_ARG(right[i].schema), STR_ARG(right[i].table),
                   STR_ARG(right[i].action));
    ck_assert_str_eq(b.p, "public.projects.read public.tasks.read public.labels.read "
                          "public.task_labels.read .nope.read ");
    buf_free(&b);
    reset();
}
END_TEST

START_TEST(refusals_say_what_the_envelope_needs)
{
    const char *body = "{\"table_name\":\"owners\",\"columns\":[\"zzz\"]}";
    struct json_error why;
    struct dp dp = dp_new_one();
    struct dp_limits limits = { 0 };
    struct dp_fetch f;

    ck_assert_int_eq(dp_read_fetch(&dp, json_read(str_of(body), JSON_ARENA(&arena), 1000, &why), &limits, &f), 0);
    ck_assert_int_lt(dp_bind(&dp, &f.root), 0);
    ck_assert(str_is(err_get(&error, "title"), "The specified column 'zzz' does not exist. Available "
                                               "columns: id, name, boss_id"));
    ck_assert(str_is(err_get(&error, "column"), "zzz"));
    ck_assert(str_is(err_get(&error, "table"), "owners"));
    ck_assert(str_is(err_get(&error, "available_columns"), "[\"id\",\"name\",\"boss_id\"]"));
    reset();
}
END_TEST

START_TEST(bounds_hold)
{
    struct dp_limits limits = { 0 };
    struct buf b = BUF_HEAP, got = BUF_HEAP;

    buf_lit(&b, "{\"table_name\":\"items\",\"where\":");
    for (int i = 0; i < 60; i++)
        buf_lit(&b, "{\"not\":");
    buf_lit(&b, "{\"id\":1}");
    for (int i = 0; i < 61; i++)
        buf_char(&b, '}');
    outcome(buf_view(&b), &limits, false, &got);
    ck_assert_str_eq(got.p, "  ! invalid_fetch_condition: filters are nested more than 32 levels\n");
    reset();
    buf_reset(&b);
    buf_reset(&got);
    buf_lit(&b, "{\"table_name\":\"folders\",\"select\":\"");
    for (int i = 0; i < 20; i++)
        buf_lit(&b, "x:parent_id(");
    buf_lit(&b, "id");
    for (int i = 0; i < 20; i++)
        buf_char(&b, ')');
    buf_lit(&b, "\"}");
    outcome(buf_view(&b), &limits, false, &got);
    ck_assert_str_eq(got.p, "  ! invalid_structured_select_request: more than 64 relations, or more than "
                            "8 inside each other\n");
    reset();
    buf_free(&b);
    buf_free(&got);
}
END_TEST

START_TEST(the_digest_tells_questions_apart)
{
    static const char *const bodies[] = {
        "{\"table_name\":\"owners\",\"columns\":[\"id\"]}",
        "{\"table_name\":\"owners\",\"columns\":[\"ID\"]}",
        "{\"table_name\":\"owners\",\"columns\":[\"id\"],\"offset\":1}",
        "{\"table_name\":\"owners\",\"columns\":[\"id\"],\"current_page\":2}",
        "{\"table_name\":\"owners\",\"columns\":[\"id\"],\"group_by\":\"id\"}",
        "{\"table_name\":\"owners\",\"columns\":[\"id\"],\"group_by\":\"id\",\"time_granularity\":\"day\"}",
        "{\"table_name\":\"owners\",\"columns\":[\"id\"],\"count\":\"exact\"}",
        "{\"table_name\":\"owners\",\"columns\":[\"id\"],\"head\":true}",
        "{\"table_name\":\"owners\",\"columns\":[\"id\"],\"conditions\":[{\"eq_column\":\"name\",\"eq_value\":\"a\"}]}",
        "{\"table_name\":\"owners\",\"columns\":[\"id\"],\"conditions\":[{\"eq_column\":\"name\",\"eq_value\":\"b\"}]}",
    };
    uint64_t seen[ATH_COUNT(bodies)][2];

    for (size_t i = 0; i < ATH_COUNT(bodies); i++) {
        struct json_error why;
        struct dp_limits limits = { 0 };
        struct dp dp = dp_new_one();
        struct dp_fetch f;
        struct dp_query q;
        ck_assert_int_eq(dp_read_fetch(&dp, json_read(str_of(bodies[i]), JSON_ARENA(&arena), 99, &why),
                                       &limits, &f), 0);
        ck_assert(dp_bind(&dp, &f.root) == 0 && dp_fetch_sql(&dp, &f, &q) == 0);
        dp_digest_shape(&q, &f, seen[i]);
        dp_digest_values(&q, seen[i]);
        for (size_t j = 0; j < i; j++)
            ck_assert_msg(seen[i][0] != seen[j][0] && seen[i][1] != seen[j][1], "%zu and %zu", i, j);
        reset();
    }
}
END_TEST

/* ---- plans ---- */

static struct dp_plans *plans;
static unsigned planned;

static bool build(ath_str body, struct dp *dp, struct dp_fetch *f, struct dp_query *q)
{
    const struct dp_limits limits = { 0 };
    struct json_error why;
    const struct json *doc = json_read(body, JSON_ARENA(&arena), DP_VALUES, &why);

    *dp = dp_new_one();
    return doc && dp_read_fetch(dp, doc, &limits, f) == 0 && dp_bind(dp, &f->root) == 0 &&
           dp_fetch_sql(dp, f, q) == 0;
}

/* When a plan covers `body`, it must say what reading the body says. */
static bool same_as_read(const struct dp_plan_key *key, ath_str body)
{
    ath_str hole[DP_FEW];
    struct dp_plan *plan = dp_plan_find(plans, key, body, hole);
    struct dp_fetch f, pf;
    struct dp_query q, pq;
    struct dp dp;
    uint64_t h[2], ph[2];

    if (!plan)
        return false;
    ck_assert_msg(build(body, &dp, &f, &q), "planned, but refused: %.*s", STR_ARG(body));
    dp_plan_use(plan, hole, &pf, &pq);
    ck_assert_str_eq(pq.stmt[0].sql, q.stmt[0].sql);
    ck_assert_uint_eq(pq.sql.count, q.sql.count);
    for (uint32_t i = 0; i < q.sql.count; i++) {
        ck_assert_msg(str_eq(pq.sql.param[i], q.sql.param[i]), "%.*s", STR_ARG(body));
        ck_assert_uint_eq(pq.sql.type[i], q.sql.type[i]);
    }
    dp_digest_shape(&q, &f, h);
    memcpy(ph, plan->digest, sizeof(ph));
    dp_digest_values(&q, h);
    dp_digest_values(&pq, ph);
    ck_assert(h[0] == ph[0] && h[1] == ph[1]);
    ck_assert(str_eq(plan->schema, f.root.relation->schema) && str_eq(plan->table, f.root.relation->name));
    ck_assert(pq.rows == q.rows && pq.counted == q.counted && pf.head == f.head && pf.count == f.count &&
              pf.strip_nulls == f.strip_nulls);
    dp_plan_drop(plan);
    planned++;
    return true;
}

static void plan_and_bend(const char *line)
{
    static const char bends[] = "70x\"\\,:}]- .\x01\xff";
    struct dp_plan_key key = { .client = ATH_S("acme"), .version = 1 };
    ath_str body = str_trim(str_of(line));
    char bent[4096];
    struct dp_fetch f;
    struct dp_query q;
    struct dp dp;

    reset();
    for (int i = 0; i < 2; i++)
        if (build(body, &dp, &f, &q))
            dp_plan_keep(plans, &key, &dp, body, &f, &q);
    if (!same_as_read(&key, body) || body.n >= sizeof(bent))
        return;
    for (size_t at = 0; at < body.n; at++) {
        for (size_t i = 0; i < sizeof(bends) - 1; i++) { /* one byte changed, one put in */
            memcpy(bent, body.p, body.n);
            bent[at] = bends[i];
            same_as_read(&key, str_from(bent, body.n));
            memcpy(bent + at + 1, body.p + at, body.n - at);
            same_as_read(&key, str_from(bent, body.n + 1));
            reset();
        }
    }
    key.version = 2;
    ck_assert(!same_as_read(&key, body));
    key = (struct dp_plan_key){ .client = ATH_S("other"), .version = 1 };
    ck_assert(!same_as_read(&key, body));
}

START_TEST(plans_say_what_reading_says)
{
    static char line[65536], path[4096];
    FILE *f;

    cases_path(path, sizeof(path));
    f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    plans = dp_plans_new();
    while (fgets(line, sizeof(line), f))
        if (line[0] != ' ' && line[0] != '#')
            plan_and_bend(line);
    ck_assert_uint_gt(planned, 1000);
    fclose(f);
    dp_plans_free(plans);
    reset();
}
END_TEST

SUITE("dataplane", bodies_become_the_statements_of_the_case_file,
      a_row_cap_refuses_larger_limits_and_lowers_the_default, camel_case_is_folded_when_asked_for,
      names_fold_as_published, rest_parameters_are_predicates, rights_cover_every_relation,
      refusals_say_what_the_envelope_needs, bounds_hold, the_digest_tells_questions_apart,
      plans_say_what_reading_says)
