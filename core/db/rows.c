/* Reading an answer without copying: text is borrowed from it. Columns are described once per
 * prepared statement, else when somebody asks.
 */
#include "db/rows.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "base/mem.h"
#include "db/query.h"
#include "lib/text.h"

/* ---- shapes ---- */

/* The names lie behind the columns. */
struct shape *shape_new(const PGresult *res)
{
    int n = PQnfields(res);
    size_t room = sizeof(struct shape) + (size_t)n * sizeof(ath_column);
    struct shape *s;
    char *at;

    for (int i = 0; i < n; i++)
        room += strlen(PQfname(res, i)) + 1;
    s = mem_new(room);
    s->refs = 1;
    s->columns = (uint32_t)n;
    at = (char *)(s->column + n);
    for (int i = 0; i < n; i++) {
        size_t len = strlen(PQfname(res, i));
        memcpy(at, PQfname(res, i), len + 1);
        s->column[i] = (ath_column){ .name = { at, len },
                                     .type = PQftype(res, i),
                                     .relation = PQftable(res, i),
                                     .typmod = PQfmod(res, i),
                                     .attnum = PQftablecol(res, i) };
        at += len + 1;
    }
    return s;
}

struct shape *shape_ref(struct shape *s)
{
    if (s)
        s->refs++;
    return s;
}

void shape_unref(struct shape *s)
{
    if (s && --s->refs == 0)
        free(s);
}

/* ---- rows as they came ---- */

/* What most answers need, in a size that malloc() keeps at hand. */
enum { TUPLES_MIN = 1024 - sizeof(struct tuples) };

struct tuples *tuples_new(uint32_t columns)
{
    struct tuples *t = mem_resize(NULL, sizeof(*t) + TUPLES_MIN);

    *t = (struct tuples){ .cap = TUPLES_MIN, .columns = columns };
    return t;
}

static void tuples_grow(struct tuples **t, size_t n)
{
    size_t cap = (*t)->cap;

    if ((*t)->n + n <= cap)
        return;
    while (cap < (*t)->n + n)
        cap *= 2;
    *t = mem_resize(*t, sizeof(**t) + cap);
    (*t)->cap = cap;
}

static uint32_t get32(const char *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return ntohl(v);
}

bool tuples_add(struct tuples **t, const char *p, size_t n)
{
    const char *at = p, *end = p + n;

    for (uint32_t i = 0; i < (*t)->columns; i++) {
        uint32_t len;
        if (end - at < 4)
            return false;
        len = get32(at);
        at += 4;
        if (len == UINT32_MAX)
            continue;
        if (len > (size_t)(end - at))
            return false;
        at += len;
    }
    if (at != end)
        return false;
    tuples_grow(t, n);
    memcpy((*t)->data + (*t)->n, p, n);
    (*t)->n += n;
    (*t)->rows++;
    return true;
}

static void put32(char *p, uint32_t v)
{
    v = htonl(v);
    memcpy(p, &v, sizeof(v));
}

static void add_value(struct tuples **t, const PGresult *res, int row, int col)
{
    bool null = PQgetisnull(res, row, col);
    size_t n = null ? 0 : (size_t)PQgetlength(res, row, col);
    char *at;

    tuples_grow(t, 4 + n);
    at = (*t)->data + (*t)->n;
    put32(at, null ? UINT32_MAX : (uint32_t)n);
    memcpy(at + 4, PQgetvalue(res, row, col), n);
    (*t)->n += 4 + n;
}

void tuples_add_result(struct tuples **t, const PGresult *res)
{
    int rows = PQntuples(res), columns = PQnfields(res);

    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < columns; j++)
            add_value(t, res, i, j);
        (*t)->rows++;
    }
}

/* The NUL goes where the next length began, which has been read by then. */
void tuples_close(struct tuples **tuples)
{
    size_t cells = (size_t)(*tuples)->rows * (*tuples)->columns, from;
    struct tuples *t;
    char *at, nothing, *last = &nothing;

    tuples_grow(tuples, 1 + _Alignof(ath_str) + cells * sizeof(ath_str));
    t = *tuples;
    from = (t->n + 1 + _Alignof(ath_str) - 1) & ~(_Alignof(ath_str) - 1);
    t->cell = (ath_str *)(void *)(t->data + from);
    at = t->data;
    for (size_t i = 0; i < cells; i++) {
        uint32_t len = get32(at);
        *last = 0;
        at += 4;
        t->cell[i] = len == UINT32_MAX ? (ath_str){ NULL, 0 } : (ath_str){ at, len };
        at += t->cell[i].n;
        last = at;
    }
    *last = 0;
}

/* ---- results ---- */

void rows_fill(ath_rows *rows, PGresult *res, struct shape *s)
{
    *rows = (ath_rows){ .res = res,
                        .shape = shape_ref(s),
                        .rows = (uint32_t)PQntuples(res),
                        .columns = (uint32_t)PQnfields(res),
                        .affected = strtoull(PQcmdTuples(res), NULL, 10) };
}

void rows_fill_tuples(ath_rows *rows, struct tuples *t, struct shape *s, uint64_t affected)
{
    *rows = (ath_rows){ .tuples = t,
                        .cell = t->cell,
                        .shape = shape_ref(s),
                        .rows = t->rows,
                        .columns = t->columns,
                        .affected = affected };
}

void rows_clear(ath_rows *rows)
{
    for (; rows; rows = rows->next) {
        PQclear(rows->res);
        free(rows->tuples);
        shape_unref(rows->shape);
        rows->res = NULL;
        rows->tuples = NULL;
        rows->cell = NULL;
        rows->shape = NULL;
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
        from->tuples = NULL;
        from->shape = shape_ref(from->shape);
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

uint32_t db_rows_columns(const ath_rows *rows, const ath_column **ret)
{
    ath_rows *r = (ath_rows *)(uintptr_t)rows;

    if (!r || r->columns == 0)
        return 0;
    if (!r->shape)
        r->shape = shape_new(r->res);
    *ret = r->shape->column;
    return r->columns;
}

ath_str db_rows_text(const ath_rows *rows, uint32_t row, uint32_t col)
{
    int i = (int)row, j = (int)col, n;

    if (!rows || row >= rows->rows || col >= rows->columns)
        return (ath_str){ NULL, 0 };
    if (rows->cell)
        return rows->cell[(size_t)row * rows->columns + col];
    n = PQgetlength(rows->res, i, j);
    if (n == 0 && PQgetisnull(rows->res, i, j))
        return (ath_str){ NULL, 0 };
    return (ath_str){ PQgetvalue(rows->res, i, j), (size_t)n };
}

uint64_t db_rows_affected(const ath_rows *rows)
{
    return rows ? rows->affected : 0;
}

uint64_t db_rows_took_us(const ath_rows *rows)
{
    return rows ? rows->took_us : 0;
}
