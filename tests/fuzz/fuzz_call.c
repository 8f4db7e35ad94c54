/* Calls of functions: the bytes as the body of a request, as arguments alone, as a query string and
 * as the name in the path, through reading, choosing, the statement, and the answer.
 *
 * What must hold of every statement: its quotes are balanced, no byte stands outside of them that
 * names and keywords do not have, and its parameters are numbered from 1 without a gap.
 */
#include "base/arena.h"
#include "base/err.h"
#include "dataplane/call.h"
#include "dataplane/writer.h"
#include "support/fakecatalog.h"
#include "support/statement.h"
#include "support/testhost.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(struct dp *dp, const struct dp_call *c, const char *text)
{
    static const uint32_t types[] = { 23, 25, 1700, 1184, 114, 1009, 16, 3807 };
    ath_column column[DP_ITEMS + 2];
    const char *cell[2 * (DP_ITEMS + 2)];
    struct fake_rows rows = { column, c->q.counted ? 2 : 0, 2, cell, NULL };
    struct buf b = dp_buf(dp);
    struct dp_writer w;

    for (uint32_t i = 0; i < rows.columns; i++)
        column[i] = (ath_column){ ATH_S("n"), 20, 0, 0, 0 };
    for (const struct dp_item *i = c->f.root.item; i && rows.columns < DP_ITEMS;
         i = i->next, rows.columns++)
        column[rows.columns] =
            (ath_column){ i->key, types[rows.columns % ATH_COUNT(types)], 0, 0, 0 };
    for (uint32_t i = 0; i < 2 * rows.columns; i++)
        cell[i] = i % 5 == 4 ? NULL : i < 2 && c->q.counted ? "1" : text;
    for (enum dp_format format = DP_JSON; format <= DP_CSV; format++) {
        struct dp_answer a = dp_call_answer(c, format);
        dp_writer_begin(&w, dp, &c->f, &c->q, fake_rows(&rows), &a, &b);
        if (c->q.rows)
            dp_writer_rows(&w, fake_rows(&rows), &b);
        dp_writer_end(&w, &b);
    }
}

static void go(struct dp *dp, int rc, struct dp_call *c, const char *text)
{
    const ath_right *right;

    if (rc < 0)
        return;
    rc = dp_bind_call(dp, c);
    if (c->function)
        dp_call_rights(dp, c, &right);
    if (rc < 0 || dp_call_sql(dp, c) < 0)
        return;
    statement_check(c->q.stmt[0].sql, c->q.sql.count);
    answer(dp, c, text);
}

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

static void call(ath_str text, const char *z, unsigned how)
{
    static const char *const path[] = { "", "one", "over", "any", "doc" };
    const struct dp_limits limits = { .max_rows = how & 1 ? 50 : 0 };
    struct json_error why;
    struct dp_call c;
    ath_pair pair[64];
    ath_arena a;
    ath_err e;

    arena_init(&a);
    err_reset(&e);
    struct dp dp = { .arena = &a, .e = &e, .catalog = &fake_catalog_api, .snapshot = snapshot() };
    if (how < ATH_COUNT(path)) {
        const struct json *body = json_read(text, JSON_ARENA(&a), 10000, &why);
        if (body)
            go(&dp, dp_read_call(&dp, str_of(path[how]), body, &limits, &c), &c, z);
    } else if (how < 2 * ATH_COUNT(path)) {
        uint32_t n = pairs(text, pair, ATH_COUNT(pair));
        go(&dp, dp_read_call_query(&dp, str_of(path[how - ATH_COUNT(path)]), pair, n, &limits, &c),
           &c, z);
    } else {
        go(&dp, dp_read_call(&dp, text, NULL, &limits, &c), &c, z);
    }
    arena_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *z = malloc(size + 1);

    if (size)
        memcpy(z, data, size);
    z[size] = 0;
    for (unsigned how = 0; how <= 10; how++)
        call((ath_str){ z, size }, z, how);
    free(z);
    return 0;
}
