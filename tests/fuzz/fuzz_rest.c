/* The REST shim: the bytes as a query string, as each of its parameters, as Prefer and as Range,
 * and as the values and columns of a write, up to the statement.
 *
 * What must hold of every statement is said in support/statement.h; besides, no update or delete
 * comes out without a condition.
 */
#include "base/arena.h"
#include "base/err.h"
#include "dataplane/rest.h"
#include "dataplane/write.h"
#include "support/fakecatalog.h"
#include "support/statement.h"
#include "support/testhost.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Made once: it takes longer than what is tried with it. */
static const ath_snapshot *snapshot(void)
{
    static const ath_snapshot *s;
    static ath_arena a;

    if (!s) {
        arena_init(&a);
        s = fake_catalog_recorded(&a);
    }
    return s;
}

static uint32_t pairs(ath_str text, ath_pair *to, uint32_t most)
{
    ath_str piece;
    uint32_t n = 0;

    while (n < most && str_next(&text, '&', &piece)) {
        size_t eq = str_find(piece, '=');
        to[n++] = (ath_pair){ str_from(piece.p, eq), str_after(piece, eq + 1) };
    }
    return n;
}

static void fetch(struct dp *dp, const ath_pair *pair, uint32_t n)
{
    struct dp_fetch f = { .root = { .limit = -1, .offset = -1, .table = ATH_S("items") } };
    struct dp_query q;
    const ath_right *right;
    ath_str target;
    int rc;

    if (dp_read_rest_query(dp, pair, n, DP_REST_ROWS, &f.root, &target) < 0)
        return;
    if (!f.root.item && dp_item_add(dp, &f.root))
        f.root.item->star = true;
    rc = dp_bind(dp, &f.root);
    dp_rights(dp, &f.root, "read", &right);
    if (rc == 0 && dp_fetch_sql(dp, &f, &q) == 0)
        statement_check(q.stmt[0].sql, q.sql.count);
}

static void change(struct dp *dp, enum dp_kind kind, const ath_pair *pair, uint32_t n,
                   const struct json *body)
{
    struct dp_change c;
    struct dp_write w;
    ath_str target;

    dp_write_begin(dp, kind, &w);
    w.root.table = ATH_S("items");
    if (dp_read_rest_query(dp, pair, n, kind == DP_INSERT ? DP_REST_TARGET : DP_REST_ROWS, &w.root,
                           &target) < 0)
        return;
    if (kind == DP_INSERT && target.n) {
        w.conflict = DP_CONFLICT_MERGES;
        if (dp_write_target(dp, target, &w) < 0)
            return;
    }
    if (kind == DP_INSERT ? dp_write_rows(dp, body, &w) < 0
                          : kind == DP_UPDATE && dp_write_set(dp, body, &w) < 0)
        return;
    if (dp_write_whole(dp, &w) < 0 || dp_bind_write(dp, &w) < 0 || dp_write_sql(dp, &w, &c) < 0)
        return;
    for (uint32_t i = 0; i < c.stmt_count; i++) {
        statement_check(c.stmt[i].sql, c.stmt[i].param_count);
        statement_must(kind == DP_INSERT || strstr(c.stmt[i].sql, " WHERE "), c.stmt[i].sql);
    }
}

static void words(struct dp *dp, ath_str text)
{
    struct dp_prefer prefer = { 0 };
    int64_t limit = -1, offset = -1;
    struct buf b = dp_buf(dp);

    dp_read_prefer(dp, text, &prefer);
    if (dp_read_range(dp, text, &limit, &offset) > 0)
        statement_must(offset >= 0 && (limit == -1 || limit > 0), "a range");
    dp_content_range(&b, offset, (uint64_t)(limit > 0), limit);
}

static void all(ath_str text, ath_arena *a)
{
    static const char *const names[] = { "id",    "or",          "and",    "not.or",
                                         "order", "on_conflict", "select", "limit",
                                         "name",  "name.like",   "made_at" };
    static const char body[] = "[{\"id\":1,\"name\":\"x\"},{\"id\":2}]", set[] = "{\"qty\":1}";
    struct json_error why;
    ath_pair pair[64];
    ath_err e;

    err_reset(&e);
    for (size_t i = 0; i <= ATH_COUNT(names); i++) {
        struct dp dp = { .arena = a,
                         .e = &e,
                         .code = "invalid_fetch_condition",
                         .select_code = "undefined_column",
                         .table_code = "invalid_schema_table_selector",
                         .catalog = &fake_catalog_api,
                         .snapshot = snapshot() };
        uint32_t n = 1;
        if (i < ATH_COUNT(names))
            pair[0] = (ath_pair){ str_of(names[i]), text };
        else
            n = pairs(text, pair, ATH_COUNT(pair));
        fetch(&dp, pair, n);
        change(&dp, DP_INSERT, pair, n, json_read(str_of(body), JSON_ARENA(a), 100, &why));
        change(&dp, DP_UPDATE, pair, n, json_read(str_of(set), JSON_ARENA(a), 100, &why));
        change(&dp, DP_DELETE, pair, n, NULL);
        words(&dp, text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *z = malloc(size + 1);
    ath_arena a;

    if (size)
        memcpy(z, data, size);
    z[size] = 0;
    arena_init(&a);
    all((ath_str){ z, size }, &a);
    arena_free(&a);
    free(z);
    return 0;
}
