/* The answer of a fetch: rows as JSON between the envelope's members, in the byte order of their
 * keys.
 *
 * Cells are typed text; each column's form and its key with quotes and colon are made once. When
 * the first row is written its size tells how much room all of them will take.
 */
#include "dataplane/dataplane.h"

#include "lib/json.h"

struct column {
    ath_str key;
    ath_str prefix; /* ,"key": */
    struct typed type;
};

static void columns_of(const struct dp *dp, const struct dp_fetch *f, const ath_column *of,
                       uint32_t n, struct column *to)
{
    const struct dp_item *i = f->root.item;
    bool star = i && i->star;
    struct buf b;

    if (f->keys && f->keys->n == n) {
        for (uint32_t c = 0; c < n; c++)
            to[c] = (struct column){ .prefix = f->keys->prefix[c], .type = typed_of(of[c].type) };
        return;
    }
    b = dp_buf(dp);
    for (uint32_t c = 0; c < n; c++) {
        size_t from = b.n;
        to[c].key = !star && i ? i->key : dp->fold ? dp_fold(dp, of[c].name) : of[c].name;
        to[c].type = typed_of(of[c].type);
        buf_char(&b, ',');
        buf_json(&b, to[c].key);
        buf_char(&b, ':');
        to[c].prefix.n = b.n - from;
        if (!star && i)
            i = i->next;
    }
    for (uint32_t c = 0, at = 0; c < n; at += (uint32_t)to[c++].prefix.n)
        to[c].prefix.p = b.p + at;
}

static void row_write(struct buf *b, const ath_rows *rows, uint32_t row, uint32_t skip,
                      const struct column *c, uint32_t n, bool strip)
{
    size_t from = b->n;

    for (uint32_t i = 0; i < n; i++) {
        ath_str text = ath_cell(rows, row, skip + i);
        if (!text.p && strip)
            continue;
        buf_str(b, c[i].prefix);
        buf_typed(b, c[i].type, text);
    }
    if (b->n == from)
        buf_char(b, '{');
    b->p[from] = '{'; /* where the first prefix has its comma */
    buf_char(b, '}');
}

/* "Plan Rows" of EXPLAIN's answer. */
static int64_t plan_rows(const ath_rows *plan)
{
    static const char word[] = "\"Plan Rows\":";
    ath_str text = plan && ath_host_->pg->count(plan) ? ath_cell(plan, 0, 0) : (ath_str){ "", 0 };
    const char *at = text.n ? memmem(text.p, text.n, word, sizeof(word) - 1) : NULL;
    int64_t v = 0;

    if (!at)
        return 0;
    for (at += sizeof(word) - 1; at < text.p + text.n; at++) {
        if (*at >= '0' && *at <= '9')
            v = v * 10 + (*at - '0');
        else if (*at != ' ')
            break;
    }
    return v;
}

static int64_t count_of(const struct dp_fetch *f, const struct dp_query *q, const ath_rows *rows,
                        uint32_t n)
{
    int64_t seen = (f->root.offset > 0 ? f->root.offset : 0) + n, planned, exact = 0;

    if (f->count == DP_COUNT_NONE)
        return -1;
    if (f->count == DP_COUNT_EXACT) {
        str_i64(ath_cell(rows, 0, 0), &exact);
        return exact;
    }
    planned = plan_rows(ath_host_->pg->next(rows));
    if (f->count == DP_COUNT_PLANNED || f->head || !q->rows)
        return planned;
    if ((f->root.limit < 0 || n < f->root.limit) && (n || f->root.offset <= 0))
        return seen; /* the last page was read: no need to guess */
    return planned > seen ? planned : seen;
}

static void room_for_all(struct buf *b, size_t from, uint32_t left)
{
    size_t one = b->n - from;

    if (left && b->cap - b->n < (one + one / 8) * left + 256)
        buf_grow(b, (one + one / 8) * left + 256);
}

static void data_write(struct buf *b, const struct dp_table *t, const struct column *c, bool strip,
                       size_t *at)
{
    buf_lit(b, ",\"data\":[");
    for (uint32_t i = 0; i < t->count; i++) {
        size_t from;
        if (i)
            buf_char(b, ',');
        from = b->n;
        if (at)
            at[i] = from;
        row_write(b, t->rows, t->first + i, t->column, c, t->columns, strip);
        if (i == 0)
            room_for_all(b, from, t->count - 1);
    }
    if (at)
        at[t->count] = b->n + 1; /* as if a comma followed */
    buf_char(b, ']');
}

static int grouped(struct dp *dp, const struct dp_fetch *f, struct dp_table *t,
                   const struct column *c, const struct dp_answer *a, struct buf *b)
{
    ath_str *key = dp_new(dp, (t->columns + 1) * sizeof(*key));
    struct typed *type = dp_new(dp, (t->columns + 1) * sizeof(*type));

    for (uint32_t i = 0; i < t->columns; i++) {
        key[i] = c[i].key;
        type[i] = c[i].type;
    }
    t->key = key;
    t->type = type;
    return dp_group_write(dp, &f->group, t, a->cache_key, b);
}

int dp_fetch_rows(struct dp *dp, const struct dp_fetch *f, const struct dp_query *q,
                  const ath_rows *rows, struct dp_answer *a, struct buf *b)
{
    const ath_column *of;
    uint32_t skip = q->counted ? 2 : 0, n = ath_host_->pg->columns(rows, &of);
    struct dp_table t = { .rows = rows,
                          .column = skip,
                          .columns = n > skip ? n - skip : 0,
                          .count = q->rows ? ath_host_->pg->count(rows) : 0 };
    struct column *c = dp_new(dp, (t.columns + 1) * sizeof(*c));
    size_t *at = NULL, data_from;
    int rc;

    if (q->counted && t.count && !ath_cell(rows, 0, 1).p)
        t.count = 0; /* the count alone: no row joined it */
    columns_of(dp, f, of + skip, t.columns, c);
    a->row_count = t.count;
    a->count = count_of(f, q, rows, t.count);
    buf_grow(b, 511);
    buf_lit(b, "{\"cache_key\":\"");
    buf_str(b, a->cache_key);
    buf_char(b, '"');
    if (a->count >= 0)
        buf_json_int(b, "count", a->count);
    data_from = b->n + sizeof(",\"data\":") - 1;
    if (f->group.by.n)
        t.at = at = dp_new(dp, (t.count + 1) * sizeof(*at));
    data_write(b, &t, c, a->strip_nulls, at);
    a->data_from = data_from;
    a->data_to = b->n;
    buf_lit(b, ",\"message\":\"Fetched ");
    buf_u64(b, t.count);
    buf_lit(b, " rows\"");
    if (f->group.by.n && (rc = grouped(dp, f, &t, c, a, b)) < 0)
        return rc;
    buf_lit(b, ",\"status\":\"success\"}");
    return 0;
}
