/* The body of an insert, an update or a delete through JSON, names, the catalogue and the builder;
 * then the answer from rows that come out of the same bytes. The first byte says which of the
 * three.
 *
 * Besides what holds of every statement: an update or a delete has a condition.
 */
#include "base/arena.h"
#include "base/err.h"
#include "dataplane/write.h"
#include "support/fakecatalog.h"
#include "support/statement.h"
#include "support/testhost.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(struct dp *dp, const struct dp_write *w, const struct dp_change *c,
                   const char *z)
{
    static const char *cell[8];
    ath_column column[4] = { 0 };
    struct fake_rows rows = { column, 4, 2, cell, NULL };
    struct dp_changed changed;
    struct buf b = dp_buf(dp);

    for (size_t i = 0; i < ATH_COUNT(column); i++)
        column[i] = (ath_column){ ATH_S("c"), i % 2 ? 25 : 3802, 0, 0, 0 };
    for (size_t i = 0; i < ATH_COUNT(cell); i++)
        cell[i] = i % 3 == 2 ? NULL : i % 2 ? z : "1";
    if (c->returns && c->stmt_count == 1)
        dp_change_rows(dp, w, c, fake_rows(&rows), &changed, &b);
}

static void check_change(const struct dp_write *w, const struct dp_change *c)
{
    statement_must(c->stmt_count > 0 && c->stmt_count <= DP_CHANGES,
                   "as many statements as there may be");
    for (uint32_t i = 0; i < c->stmt_count; i++) {
        const ath_stmt *s = &c->stmt[i];
        statement_check(s->sql, s->param_count);
        if (w->kind != DP_INSERT)
            statement_must(strstr(s->sql, " WHERE ") != NULL, s->sql);
    }
}

static void write_body(ath_str text, const char *z, unsigned kind)
{
    struct json_error why;
    struct dp_write w;
    struct dp_change c;
    const ath_right *right;
    const struct json *body;
    ath_arena a;
    ath_err e;
    int rc;

    arena_init(&a);
    err_reset(&e);
    struct dp dp = { .arena = &a,
                     .e = &e,
                     .catalog = &fake_catalog_api,
                     .fold = kind & 4,
                     .snapshot = fake_catalog_recorded(&a) };
    if ((body = json_read(text, JSON_ARENA(&a), 10000, &why))) {
        rc = kind % 3 == 0   ? dp_read_insert(&dp, body, &w)
             : kind % 3 == 1 ? dp_read_update(&dp, body, &w)
                             : dp_read_delete(&dp, body, &w);
        if (rc == 0) {
            rc = dp_bind_write(&dp, &w);
            statement_must(dp_write_rights(&dp, &w, &right) == 1, "one right");
        }
        if (rc == 0 && dp_write_sql(&dp, &w, &c) == 0) {
            check_change(&w, &c);
            answer(&dp, &w, &c, z);
        }
    }
    arena_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *z = malloc(size + 1);

    if (size)
        memcpy(z, data, size);
    z[size] = 0;
    if (size)
        write_body(str_from(z + 1, size - 1), z + 1, data[0]);
    free(z);
    return 0;
}
