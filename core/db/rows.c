/* Reading a PGresult without copying: text is borrowed from it, column descriptions are made once
 * when somebody asks.
 */
#include "db/rows.h"

#include <stdlib.h>

#include "base/mem.h"
#include "db/query.h"
#include "lib/text.h"

void rows_fill(ath_rows *rows, PGresult *res)
{
    *rows = (ath_rows){ .res = res,
                        .rows = (uint32_t)PQntuples(res),
                        .columns = (uint32_t)PQnfields(res) };
}

void rows_clear(ath_rows *rows)
{
    for (; rows; rows = rows->next) {
        PQclear(rows->res);
        free(rows->column);
        rows->res = NULL;
        rows->column = NULL;
        rows->rows = rows->columns = 0;
    }
}

static void clear_kept(void *rows)
{
    rows_clear(rows);
}

const ath_rows *db_rows_next(const ath_rows *rows)
{
    return rows ? rows->next : NULL;
}

/* The whole chain moves: it came with one trip and goes with one task. */
const ath_rows *db_rows_keep(ath_task *t, const ath_rows *rows)
{
    ath_rows *first = NULL, **link = &first;

    for (ath_rows *from = (ath_rows *)(uintptr_t)rows; from; from = from->next) {
        ath_rows *to = ARENA_NEW(&t->arena, ath_rows);
        *to = *from;
        from->res = NULL;
        from->column = NULL;
        to->next = NULL;
        *link = to;
        link = &to->next;
    }
    if (first)
        arena_own(&t->arena, first, clear_kept);
    return first;
}

uint32_t db_rows_count(const ath_rows *rows)
{
    return rows ? rows->rows : 0;
}

static ath_column *columns_read(const ath_rows *rows)
{
    ath_column *c = mem_resize(NULL, rows->columns * sizeof(*c));

    for (int i = 0; i < (int)rows->columns; i++)
        c[i] = (ath_column){ .name = str_of(PQfname(rows->res, i)),
                             .type = PQftype(rows->res, i),
                             .relation = PQftable(rows->res, i),
                             .typmod = PQfmod(rows->res, i),
                             .attnum = PQftablecol(rows->res, i) };
    return c;
}

uint32_t db_rows_columns(const ath_rows *rows, const ath_column **ret)
{
    ath_rows *r = (ath_rows *)(uintptr_t)rows;

    if (!r || r->columns == 0)
        return 0;
    if (!r->column)
        r->column = columns_read(r);
    *ret = r->column;
    return r->columns;
}

ath_str db_rows_text(const ath_rows *rows, uint32_t row, uint32_t col)
{
    int i = (int)row, j = (int)col, n;

    if (!rows || row >= rows->rows || col >= rows->columns)
        return (ath_str){ NULL, 0 };
    n = PQgetlength(rows->res, i, j);
    if (n == 0 && PQgetisnull(rows->res, i, j))
        return (ath_str){ NULL, 0 };
    return (ath_str){ PQgetvalue(rows->res, i, j), (size_t)n };
}

uint64_t db_rows_affected(const ath_rows *rows)
{
    return rows && rows->res ? strtoull(PQcmdTuples(rows->res), NULL, 10) : 0;
}
