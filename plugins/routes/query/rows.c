/* Rows as JSON: what the wire says of their columns and typed text, no wrapping of the statement
 * (G-16, G-17).
 */
#include "query.h"

#include "lib/json.h"

/* An object has each key once: of columns with the same name the last one counts. */
static bool comes_again(const ath_column *c, uint32_t i, uint32_t n)
{
    for (uint32_t j = i + 1; j < n; j++)
        if (str_same(c[i].name, c[j].name))
            return true;
    return false;
}

static uint32_t columns_of(ath_req *r, const ath_column *c, uint32_t n, struct rows_column *to)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < n; i++) {
        struct buf b = BUF_ARENA(ath_arena_of(r));
        if (comes_again(c, i, n))
            continue;
        buf_char(&b, ',');
        buf_json(&b, c[i].name);
        buf_char(&b, ':');
        to[kept++] = (struct rows_column){ i, buf_view(&b), typed_of(c[i].type) };
    }
    return kept;
}

static uint64_t most_bytes(ath_req *r)
{
    const struct query_config *cfg = ath_config_of(r);

    return cfg->max_result_bytes ? cfg->max_result_bytes : UINT64_MAX;
}

static int too_large(uint64_t most, ath_err *e)
{
    return ath_raise(e, "query_result_too_large", "the rows are over %llu bytes",
                     (unsigned long long)most);
}

void rows_begin(ath_req *r, const ath_rows *rows, struct rows_writer *w, struct buf *b)
{
    const ath_column *of;
    uint32_t n = ath_host_->pg->columns(rows, &of);

    *w = (struct rows_writer){ .column = ath_new(ath_arena_of(r), n * sizeof(*w->column)),
                               .most = most_bytes(r) };
    w->columns = columns_of(r, of, n, w->column);
    buf_char(b, '[');
}

static void row(const struct rows_writer *w, const ath_rows *rows, uint32_t i, struct buf *b)
{
    for (uint32_t j = 0; j < w->columns; j++) {
        const struct rows_column *c = &w->column[j];
        buf_mem(b, c->prefix.p + (j == 0), c->prefix.n - (j == 0));
        buf_typed(b, c->type, ath_cell(rows, i, c->at));
    }
}

int rows_add(struct rows_writer *w, const ath_rows *rows, struct buf *b, ath_err *e)
{
    uint32_t count = ath_host_->pg->count(rows);

    for (uint32_t i = 0; i < count; i++) {
        if (w->count++)
            buf_char(b, ',');
        buf_char(b, '{');
        row(w, rows, i, b);
        buf_char(b, '}');
        if (b->n > w->most)
            return too_large(w->most, e);
    }
    return 0;
}

int rows_end(struct buf *b, ath_err *e)
{
    buf_char(b, ']');
    if (!str_utf8(buf_view(b))) /* the script has chosen another client_encoding */
        return ath_raise(e, "invalid_text_encoding", "the rows are not UTF-8");
    return 0;
}

/* The body of a fetch has its rows behind ,"data": and more behind them; the comma becomes the
 * bracket that ours begins with. A buffer of an arena may begin anywhere in its memory. */
int rows_fetched(ath_req *r, const struct dp_fetch *f, const struct dp_query *q,
                 const ath_rows *rows, struct buf *ret, ath_err *e)
{
    struct dp dp = { .arena = ath_arena_of(r), .e = e };
    struct dp_answer a = { .cache_key = { "", 0 } };
    struct buf b = BUF_ARENA(dp.arena);
    size_t from;
    int rc = dp_fetch_rows(&dp, f, q, rows, &a, &b);

    if (rc < 0)
        return rc;
    if (a.data_to - a.data_from > most_bytes(r))
        return too_large(most_bytes(r), e);
    from = a.data_from - (sizeof(",\"data\":") - 1);
    b.p[from] = '{';
    *ret = (struct buf){ .p = b.p + from,
                         .n = a.data_to - from,
                         .cap = b.cap - from,
                         .alloc = b.alloc,
                         .arena = b.arena };
    return 0;
}
