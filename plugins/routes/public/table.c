/* The rows of both tables, sorted, with their texts in one block. */
#include "public.h"

#include <stdlib.h>

static const char *const op_words[] = {
    [OP_QUERY] = "query",   [OP_FETCH] = "fetch",   [OP_INSERT] = "insert",
    [OP_UPDATE] = "update", [OP_DELETE] = "delete",
};

enum op op_of(ath_str word)
{
    for (int op = OP_QUERY; op <= OP_DELETE; op++)
        if (str_ieq(word, str_of(op_words[op])))
            return (enum op)op;
    return 0;
}

const char *op_word(enum op op)
{
    return op_words[op];
}

/* ---- filling ---- */

/* Cells are put one after the other; what points at them is set when the block no longer moves. */
static void put_cells(struct buf *b, const ath_rows *rows)
{
    uint32_t columns = rows ? ath_host_->pg->columns(rows, &(const ath_column *){ NULL }) : 0;
    uint32_t n = rows ? ath_host_->pg->count(rows) : 0;

    buf_printf(b, "%s %u", rows ? "there" : "none", n);
    buf_char(b, 0);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < columns; k++) {
            buf_str(b, ath_cell(rows, i, k));
            buf_char(b, 0);
        }
}

static ath_str next_cell(const char **at)
{
    ath_str cell = str_of(*at);

    *at += cell.n + 1;
    return cell;
}

static bool is_true(ath_str cell)
{
    return str_is(cell, "t") || str_is(cell, "true");
}

static uint32_t ops_read(ath_str words)
{
    uint32_t ops = 0;
    ath_str word;

    while (str_next(&words, ' ', &word))
        if (op_of(word))
            ops |= 1u << op_of(word);
    return ops;
}

static struct route_row route_read(const char **at)
{
    struct route_row row = { .key = next_cell(at) };

    row.client = str_trim(next_cell(at));
    row.target_url = str_trim(next_cell(at));
    row.ops = ops_read(next_cell(at));
    row.active = is_true(next_cell(at));
    row.ops_on_host = is_true(next_cell(at));
    row.trusted = is_true(next_cell(at));
    return row;
}

static struct service_row service_read(const char **at)
{
    struct service_row row = { .key = next_cell(at) };
    bool local;

    row.service = next_cell(at);
    local = str_is(next_cell(at), "local_path");
    row.prefix = str_trim(next_cell(at));
    row.target_url = str_trim(next_cell(at));
    if (local)
        row.target_url = (ath_str){ "", 0 };
    else
        row.prefix = (ath_str){ NULL, 0 };
    row.active = is_true(next_cell(at));
    row.trusted = is_true(next_cell(at));
    return row;
}

static int by_route(const void *a, const void *b)
{
    return str_cmp(((const struct route_row *)a)->key, ((const struct route_row *)b)->key);
}

static int by_service(const void *a, const void *b)
{
    const struct service_row *x = a, *y = b;
    int c = str_cmp(x->key, y->key);

    return c ? c : str_cmp(x->service, y->service);
}

static uint32_t count_of(const ath_rows *rows)
{
    return rows ? ath_host_->pg->count(rows) : 0;
}

/* calloc() and malloc() may give NULL for nothing. */
static void *room(uint32_t n, size_t size)
{
    void *p = calloc(n + 1u, size);

    if (!p)
        abort(); /* as everywhere here: the numbers are bounded */
    return p;
}

struct table *table_new(const ath_rows *routes, const ath_rows *services, ath_err *e)
{
    uint32_t n = count_of(routes), m = count_of(services);
    struct table *t;
    const char *at;

    if (n > ROWS_MOST || m > ROWS_MOST) {
        ath_fail(e, ATH_E_LIMIT, "more than %d public or service routes", ROWS_MOST);
        return NULL;
    }
    t = room(1, sizeof(*t));
    atomic_init(&t->refs, 1);
    put_cells(&t->text, routes);
    put_cells(&t->text, services);
    at = t->text.p;
    t->routes_there = routes != NULL;
    t->services_there = services != NULL;
    t->route_count = n;
    t->service_count = m;
    t->route = room(n, sizeof(*t->route));
    t->service = room(m, sizeof(*t->service));
    next_cell(&at);
    for (uint32_t i = 0; i < n; i++)
        t->route[i] = route_read(&at);
    next_cell(&at);
    for (uint32_t i = 0; i < m; i++)
        t->service[i] = service_read(&at);
    qsort(t->route, n, sizeof(*t->route), by_route);
    qsort(t->service, m, sizeof(*t->service), by_service);
    return t;
}

void table_unref(struct table *t)
{
    if (!t || atomic_fetch_sub(&t->refs, 1) > 1)
        return;
    buf_free(&t->text);
    free(t->route);
    free(t->service);
    free(t);
}

/* ---- finding ---- */

const struct route_row *table_route(const struct table *t, ath_str key)
{
    struct route_row like = { .key = key };

    if (!t || key.n == 0)
        return NULL;
    return bsearch(&like, t->route, t->route_count, sizeof(like), by_route);
}

const struct service_row *table_service(const struct table *t, ath_str key, enum service service)
{
    struct service_row like = { .key = key, .service = str_of(service_word(service)) };

    if (!t || key.n == 0)
        return NULL;
    return bsearch(&like, t->service, t->service_count, sizeof(like), by_service);
}
