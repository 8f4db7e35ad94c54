/* The body of a fetch through JSON, names, the catalogue and the builder; then the answer from rows
 * that come out of the same bytes; and the texts of REST filters and of SELECTs.
 *
 * A plan that was kept for the body must, with one byte of the body changed, match only when
 * reading the changed body gives the same statement with the same values.
 */
#include "base/arena.h"
#include "base/err.h"
#include "dataplane/dataplane.h"
#include "support/fakecatalog.h"
#include "support/statement.h"
#include "support/testhost.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(struct dp *dp, const struct dp_fetch *f, const struct dp_query *q,
                   const char *text)
{
    static const uint32_t types[] = { 23, 25, 1700, 1184, 114, 1009, 16, 3807 };
    ath_column column[DP_ITEMS + 2];
    const char *cell[2 * (DP_ITEMS + 2)];
    struct fake_rows rows = { column, 0, 2, cell, NULL };
    struct dp_answer a = { .cache_key = ATH_S("0123"), .strip_nulls = true };
    struct buf b = dp_buf(dp);

    rows.columns = q->counted ? 2 : 0;
    if (q->counted)
        column[0] = column[1] = (ath_column){ ATH_S("n"), 20, 0, 0, 0 };
    for (const struct dp_item *i = f->root.item; i && rows.columns < DP_ITEMS;
         i = i->next, rows.columns++)
        column[rows.columns] =
            (ath_column){ i->key, types[rows.columns % ATH_COUNT(types)], 0, 0, 0 };
    for (uint32_t i = 0; i < 2 * rows.columns; i++)
        cell[i] = i % 5 == 4 ? NULL : i < 2 && q->counted ? "1" : text;
    if (!q->rows)
        rows.count = 1;
    dp_fetch_rows(dp, f, q, fake_rows(&rows), &a, &b);
}

static void fetch(ath_str text, const char *z, bool fold)
{
    struct json_error why;
    struct dp_limits limits = { .max_rows = fold ? 50 : 0 };
    struct dp_fetch f;
    struct dp_query q;
    const ath_right *right;
    const struct json *body;
    ath_arena a;
    ath_err e;
    uint64_t h[2];

    arena_init(&a);
    err_reset(&e);
    body = json_read(text, JSON_ARENA(&a), 10000, &why);
    struct dp dp = { .arena = &a,
                     .e = &e,
                     .catalog = &fake_catalog_api,
                     .fold = fold,
                     .snapshot = fake_catalog_recorded(&a) };
    if (body && dp_read_fetch(&dp, body, &limits, &f) == 0) {
        int rc = dp_bind(&dp, &f.root);
        dp_rights(&dp, &f.root, "read", &right);
        if (rc == 0 && dp_fetch_sql(&dp, &f, &q) == 0) {
            for (uint32_t i = 0; i < q.stmt_count; i++)
                statement_check(q.stmt[i].sql, i ? UINT32_MAX : q.sql.count);
            dp_digest_shape(&q, &f, h);
            dp_digest_values(&q, h);
            answer(&dp, &f, &q, z);
        }
    }
    arena_free(&a);
}

static bool build(struct dp *dp, ath_str text, struct dp_fetch *f, struct dp_query *q)
{
    const struct dp_limits limits = { 0 };
    struct json_error why;
    const struct json *body = json_read(text, JSON_ARENA(dp->arena), 10000, &why);

    return body && dp_read_fetch(dp, body, &limits, f) == 0 && dp_bind(dp, &f->root) == 0 &&
           dp_fetch_sql(dp, f, q) == 0;
}

static void same(const struct dp_plan *plan, const ath_str *hole, const struct dp_query *read)
{
    struct dp_fetch f;
    struct dp_query q;

    dp_plan_use(plan, hole, &f, &q);
    statement_must(strcmp(q.stmt[0].sql, read->stmt[0].sql) == 0 && q.sql.count == read->sql.count,
                   plan->sql);
    for (uint32_t i = 0; i < q.sql.count; i++)
        statement_must(str_eq(q.sql.param[i], read->sql.param[i]) &&
                           q.sql.type[i] == read->sql.type[i],
                       plan->sql);
}

static void plan(ath_str text, size_t size)
{
    struct dp_plan_key key = { .client = ATH_S("acme"), .version = 1 };
    struct dp_plans *plans = dp_plans_new();
    ath_str hole[DP_FEW], bent;
    struct dp_plan *found;
    struct dp_fetch f;
    struct dp_query q;
    ath_arena a;
    ath_err e;

    arena_init(&a);
    err_reset(&e);
    struct dp dp = { .arena = &a,
                     .e = &e,
                     .catalog = &fake_catalog_api,
                     .snapshot = fake_catalog_recorded(&a) },
              again = dp;
    if (build(&dp, text, &f, &q)) {
        dp_plan_keep(plans, &key, &dp, text, &f, &q);
        dp_plan_keep(plans, &key, &dp, text, &f, &q);
        bent = arena_str(&a, text);
        ((char *)(uintptr_t)bent.p)[size % bent.n] ^= (char)(1 << size / 7 % 8);
        found = dp_plan_find(plans, &key, bent, hole);
        if (found) {
            statement_must(build(&again, bent, &f, &q), found->sql);
            same(found, hole, &q);
        }
        dp_plan_drop(found);
    }
    dp_plans_free(plans);
    arena_free(&a);
}

/* The text as a SELECT: what is recognised becomes a statement of ours. */
static void from_sql(ath_str text)
{
    struct dp_fetch f;
    struct dp_query q;
    ath_arena a;
    ath_err e;

    arena_init(&a);
    err_reset(&e);
    struct dp dp = {
        .arena = &a, .e = &e, .catalog = &fake_catalog_api, .snapshot = fake_catalog_recorded(&a)
    };
    if (dp_read_sql(&dp, text, &f) > 0 && dp_bind(&dp, &f.root) == 0 &&
        dp_fetch_sql(&dp, &f, &q) == 0)
        statement_check(q.stmt[0].sql, q.sql.count);
    arena_free(&a);
}

static void rest(ath_str text)
{
    struct dp_pred *p;
    ath_arena a;
    ath_err e;

    arena_init(&a);
    err_reset(&e);
    struct dp dp = { .arena = &a, .e = &e, .code = "invalid_fetch_condition" };
    dp_read_rest(&dp, ATH_S("id"), text, &p);
    dp_read_rest(&dp, ATH_S("or"), text, &p);
    dp_read_logic(&dp, text, DP_AND, &p);
    arena_free(&a);
}

/* The grammars that may stand in many places, each by itself. */
static void parts(ath_str text)
{
    struct dp_node node = { .limit = -1, .offset = -1 };
    struct json_error why;
    const struct json *doc;
    ath_str schema, table;
    struct dp_ref ref;
    ath_arena a;
    ath_err e;

    arena_init(&a);
    err_reset(&e);
    struct dp dp = { .arena = &a,
                     .e = &e,
                     .code = "invalid_fetch_condition",
                     .select_code = "undefined_column",
                     .table_code = "invalid_schema_table_selector" };
    if (dp_read_table(&dp, text, &schema, &table) == 0)
        statement_must(table.n > 0 && str_find(table, 0) == table.n, "a table has a name");
    dp_read_ref(&dp, text, &ref);
    dp_read_items(&dp, text, &node);
    if ((doc = json_read(text, JSON_ARENA(&a), 10000, &why))) {
        dp_read_order(&dp, doc, &node);
        dp_read_where(&dp, doc, &node);
        dp_read_select(&dp, doc, &node);
    }
    arena_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *z = malloc(size + 1);
    ath_str text = { z, size };

    if (size)
        memcpy(z, data, size);
    z[size] = 0;
    fetch(text, z, size & 1);
    if (size)
        plan(text, size + data[size / 2]);
    rest(text);
    from_sql(text);
    parts(text);
    free(z);
    return 0;
}
