/* SELECTs as clients write them (contract 21.5, 21.6): sql.cases says which are fetches, what
 * statement and values those become, and which are left to PostgreSQL (G-17).
 */
#include "base/arena.h"
#include "base/err.h"
#include "dataplane/dataplane.h"
#include "support/check_main.h"
#include "support/fakecatalog.h"
#include "support/testhost.h"

static ath_arena arena;
static ath_err error;

static void outcome(ath_str sql, struct buf *b)
{
    struct dp dp = { .arena = &arena, .e = &error, .catalog = &fake_catalog_api,
                     .snapshot = fake_catalog_recorded(&arena) };
    struct dp_fetch f;
    struct dp_query q;
    int kind = dp_read_sql(&dp, sql, &f);

    if (kind == DP_SQL_ELSE) {
        buf_lit(b, "  -\n");
    } else if (kind < 0 || dp_bind(&dp, &f.root) < 0 || dp_fetch_sql(&dp, &f, &q) < 0) {
        buf_printf(b, "  ! %s: %s\n", err_entry(&error)->code, error.message);
    } else {
        buf_printf(b, "  %s %s\n", kind == DP_SQL_RELATIONS ? ":=" : "=", q.stmt[0].sql);
        for (uint32_t i = 0; i < q.sql.count; i++)
            buf_printf(b, "  $%u %u %.*s\n", i + 1, q.sql.type[i], STR_ARG(q.sql.param[i]));
    }
}

static void cases_path(char *to, size_t n)
{
    ath_str here = str_of(__FILE__);
    size_t slash = here.n;

    while (slash && here.p[slash - 1] != '/')
        slash--;
    snprintf(to, n, "%.*ssql.cases", (int)slash, here.p);
}

START_TEST(selects_are_fetches_or_left_to_postgresql_G_17)
{
    static char line[8192], path[4096];
    struct buf expected = BUF_HEAP, got = BUF_HEAP;
    unsigned n = 0;
    FILE *f;

    cases_path(path, sizeof(path));
    testhost_pg(NULL);
    f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof(line), f)) {
        if (line[0] == '#')
            continue;
        buf_z(&expected, line);
        if (line[0] == ' ')
            continue;
        arena_free(&arena);
        err_reset(&error);
        buf_z(&got, line);
        outcome(str_trim(str_of(line)), &got);
        n++;
    }
    fclose(f);
    if (getenv("ATHENA_TEST_SHOW"))
        fputs(buf_view(&got).p, stdout);
    ck_assert_str_eq(buf_view(&got).p, buf_view(&expected).p);
    ck_assert_uint_gt(n, 60);
    buf_free(&got);
    buf_free(&expected);
    arena_free(&arena);
}
END_TEST

SUITE("from sql", selects_are_fetches_or_left_to_postgresql_G_17)
