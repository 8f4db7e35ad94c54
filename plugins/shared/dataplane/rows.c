/* The answer of a fetch: rows as JSON between the envelope's members, in the byte order of their
 * keys; or rows alone, as NDJSON or CSV.
 *
 * Cells are typed text; each column's form and its key with quotes and colon are made once. When
 * the first row is written its size tells how much room all of them will take.
 */
#include "dataplane/writer.h"

#include "lib/accept.h"
#include "lib/json.h"

/* ---- formats ---- */

enum dp_format dp_format_of(ath_str accept)
{
    static const struct {
        const char *name;
        enum dp_format format;
        bool named;
    } known[] = { { "application/json", DP_JSON, true },
                  { "application/x-ndjson", DP_NDJSON, true },
                  { "text/csv", DP_CSV, true },
                  { "application/*", DP_JSON, false },
                  { "*/*", DP_JSON, false } };
    enum dp_format best = DP_JSON;
    unsigned most = 1, weight; /* weights are doubled: a name counts a little more than a star */
    ath_str name;

    while (accept_next(&accept, &name, &weight))
        for (size_t i = 0; i < ATH_COUNT(known); i++)
            if (str_ieq(name, str_of(known[i].name)) && 2 * weight + known[i].named > most) {
                most = 2 * weight + known[i].named;
                best = known[i].format;
            }
    return best;
}

const char *dp_format_type(enum dp_format format)
{
    return format == DP_JSON     ? "application/json"
           : format == DP_NDJSON ? "application/x-ndjson"
                                 : "text/csv; charset=utf-8; header=present";
}

/* ---- columns ---- */

static void columns_named(const struct dp *dp, const struct dp_fetch *f, const ath_column *of,
                          uint32_t n, struct dp_column *to)
{
    const struct dp_item *i = f->root.item;
    bool star = i && i->star;
    struct buf b = dp_buf(dp);

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

static inline __attribute__((always_inline)) void columns_of(const struct dp *dp,
                                                             const struct dp_fetch *f,
                                                             const ath_column *of, uint32_t n,
                                                             struct dp_column *to)
{
    if (!f->keys || f->keys->n != n) {
        columns_named(dp, f, of, n, to);
        return;
    }
    for (uint32_t c = 0; c < n; c++)
        to[c] = (struct dp_column){ .prefix = f->keys->prefix[c], .type = typed_of(of[c].type) };
}

/* A plan keeps keys as they are written in JSON only: back to what they are. */
static ath_str plain_key(const struct dp *dp, const struct dp_column *c)
{
    ath_str quoted = str_from(c->prefix.p + 1, c->prefix.n - 2);
    struct json_error why;
    const struct json *v;

    if (c->key.p)
        return c->key;
    v = json_read(quoted, (struct json_memory){ ath_host_->mem->alloc, dp->arena }, 1, &why);
    return v ? v->text : ATH_S("");
}

/* ---- rows ---- */

static void row_write(struct buf *b, const ath_rows *rows, uint32_t row, uint32_t skip,
                      const struct dp_column *c, uint32_t n, bool strip)
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

/* A value of type json keeps its line breaks, which then stand between its tokens: no string holds
 * one as it is. */
static void one_line(struct buf *b, size_t from)
{
    for (size_t i = from; i < b->n; i++)
        if (b->p[i] == '\n' || b->p[i] == '\r')
            b->p[i] = ' ';
    buf_char(b, '\n');
}

static bool needs_quotes(ath_str text)
{
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] == '"' || text.p[i] == ',' || text.p[i] == '\n' || text.p[i] == '\r')
            return true;
    return text.n == 0;
}

static void csv_quoted(struct buf *b, ath_str text)
{
    char *at = buf_room(b, 2 * text.n + 2);

    *at++ = '"';
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '"')
            *at++ = '"';
        *at++ = text.p[i];
    }
    *at++ = '"';
    buf_end(b, at);
}

/* Null is nothing, an empty text is "". */
static void csv_cell(struct buf *b, ath_str text)
{
    if (!text.p)
        return;
    if (needs_quotes(text))
        csv_quoted(b, text);
    else
        buf_str(b, text);
}

static void csv_row(struct buf *b, const struct dp_writer *w, const ath_rows *rows, uint32_t row)
{
    for (uint32_t i = 0; i < w->columns; i++) {
        if (i)
            buf_char(b, ',');
        csv_cell(b, ath_cell(rows, row, w->skip + i));
    }
    buf_lit(b, "\r\n");
}

static void csv_keys(struct buf *b, const struct dp *dp, const struct dp_writer *w)
{
    for (uint32_t i = 0; i < w->columns; i++) {
        if (i)
            buf_char(b, ',');
        csv_cell(b, plain_key(dp, &w->column[i]));
    }
    buf_lit(b, "\r\n");
}

/* ---- counts ---- */

int64_t dp_planned_rows(const ath_rows *plan)
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

static int64_t estimate(const struct dp_fetch *f, int64_t planned, uint64_t n)
{
    int64_t seen = (f->root.offset > 0 ? f->root.offset : 0) + (int64_t)n;

    if ((f->root.limit < 0 || (int64_t)n < f->root.limit) && (n || f->root.offset <= 0))
        return seen; /* the last page was read: no need to guess */
    return planned > seen ? planned : seen;
}

static int64_t count_of(const struct dp_fetch *f, const struct dp_query *q,
                        const struct dp_answer *a, const ath_rows *rows, uint32_t n)
{
    int64_t planned, exact = 0;

    if (f->count == DP_COUNT_NONE)
        return -1;
    if (f->count == DP_COUNT_EXACT) {
        str_i64(ath_cell(rows, 0, 0), &exact);
        return exact;
    }
    planned = f->in_pieces ? a->planned : dp_planned_rows(ath_host_->pg->next(rows));
    if (f->count == DP_COUNT_PLANNED || f->head || !q->rows)
        return planned;
    return estimate(f, planned, n);
}

/* ---- at once ---- */

static void room_for_all(struct buf *b, size_t from, uint32_t left)
{
    size_t one = b->n - from;

    if (left && b->cap - b->n < (one + one / 8) * left + 256)
        buf_grow(b, (one + one / 8) * left + 256);
}

static void data_write(struct buf *b, const struct dp_table *t, const struct dp_column *c,
                       bool strip, size_t *at)
{
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
}

static int grouped(struct dp *dp, const struct dp_fetch *f, struct dp_table *t,
                   const struct dp_column *c, const struct dp_answer *a, struct buf *b)
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

static inline __attribute__((always_inline)) void head_write(struct buf *b,
                                                             const struct dp_answer *a)
{
    buf_lit(b, "{\"cache_key\":\"");
    buf_str(b, a->cache_key);
    buf_char(b, '"');
    if (a->count >= 0)
        buf_json_int(b, "count", a->count);
    buf_lit(b, ",\"data\":[");
}

static inline __attribute__((always_inline)) void message_write(struct buf *b, uint64_t rows)
{
    buf_lit(b, ",\"message\":\"Fetched ");
    buf_u64(b, rows);
    buf_lit(b, " rows\"");
}

/* Rows alone: what has no place for anything beside them cannot be grouped. */
static int rows_alone(struct dp *dp, const struct dp_fetch *f, const struct dp_table *t,
                      struct dp_column *c, const struct dp_answer *a, struct buf *b)
{
    struct dp_writer w = { .f = f,
                           .column = c,
                           .columns = t->columns,
                           .skip = t->column,
                           .format = a->format,
                           .strip = a->strip_nulls };

    if (w.format == DP_CSV)
        csv_keys(b, dp, &w);
    if (t->count)
        dp_writer_rows(&w, t->rows, b);
    return 0;
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
    struct dp_column *c = dp_new(dp, (t.columns + 1) * sizeof(*c));
    size_t *at = NULL;
    int rc;

    if (q->counted && t.count && !ath_cell(rows, 0, 1).p)
        t.count = 0; /* the count alone: no row joined it */
    columns_of(dp, f, of + skip, t.columns, c);
    a->row_count = t.count;
    a->count = count_of(f, q, a, rows, t.count);
    buf_grow(b, 511);
    if (a->format != DP_JSON)
        return rows_alone(dp, f, &t, c, a, b);
    head_write(b, a);
    a->data_from = b->n - 1;
    if (f->group.by.n)
        t.at = at = dp_new(dp, (t.count + 1) * sizeof(*at));
    data_write(b, &t, c, a->strip_nulls, at);
    buf_char(b, ']');
    a->data_to = b->n;
    message_write(b, t.count);
    if (f->group.by.n && (rc = grouped(dp, f, &t, c, a, b)) < 0)
        return rc;
    buf_lit(b, ",\"status\":\"success\"}");
    return 0;
}

/* ---- in pieces ---- */

static void json_begin(const struct dp_writer *w, const struct dp_answer *a, struct buf *b)
{
    if (w->bare) {
        buf_char(b, '[');
        return;
    }
    if (w->body == DP_BODY_FETCH) {
        head_write(b, a);
        return;
    }
    buf_char(b, '{');
    if (w->body == DP_BODY_CALL && a->count >= 0)
        buf_json_int(b, "count", a->count);
    buf_json_key(b, "data");
    buf_char(b, '[');
}

void dp_writer_begin(struct dp_writer *w, struct dp *dp, const struct dp_fetch *f,
                     const struct dp_query *q, const ath_rows *first, struct dp_answer *a,
                     struct buf *b)
{
    const ath_column *of;
    uint32_t n = ath_host_->pg->columns(first, &of);

    *w = (struct dp_writer){ .f = f,
                             .skip = q->counted ? 2 : 0,
                             .format = a->format,
                             .strip = a->strip_nulls,
                             .bare = a->bare,
                             .body = a->body,
                             .values = a->values,
                             .planned = a->planned };
    w->columns = n > w->skip ? n - w->skip : 0;
    w->column = dp_new(dp, (w->columns + 1) * sizeof(*w->column));
    columns_of(dp, f, of + w->skip, w->columns, w->column);
    a->count = f->count == DP_COUNT_PLANNED ? a->planned : -1;
    if (f->count == DP_COUNT_EXACT)
        str_i64(ath_cell(first, 0, 0), &a->count);
    if (w->format == DP_JSON)
        json_begin(w, a, b);
    else if (w->format == DP_CSV)
        csv_keys(b, dp, w);
}

void dp_writer_rows(struct dp_writer *w, const ath_rows *rows, struct buf *b)
{
    uint32_t n = ath_host_->pg->count(rows);

    if (w->skip && n && !ath_cell(rows, 0, 1).p)
        n = 0; /* the count alone: no row joined it */
    for (uint32_t i = 0; i < n; i++, w->rows++) {
        size_t from = b->n + (w->format == DP_JSON && w->rows);
        if (w->format == DP_CSV) {
            csv_row(b, w, rows, i);
        } else {
            if (from > b->n)
                buf_char(b, ',');
            if (w->values)
                buf_typed(b, w->column->type, ath_cell(rows, i, w->skip));
            else
                row_write(b, rows, i, w->skip, w->column, w->columns, w->strip);
            if (w->format == DP_NDJSON)
                one_line(b, from);
        }
        if (i == 0)
            room_for_all(b, from, n - 1);
    }
}

void dp_writer_end(struct dp_writer *w, struct buf *b)
{
    if (w->format != DP_JSON)
        return;
    buf_char(b, ']');
    if (w->bare)
        return;
    if (w->body == DP_BODY_FETCH && w->f->count == DP_COUNT_ESTIMATED)
        buf_json_int(b, "count", estimate(w->f, w->planned, w->rows));
    if (w->body == DP_BODY_FETCH)
        message_write(b, w->rows);
    else if (w->body == DP_BODY_CALL)
        buf_printf(b, ",\"message\":\"Function returned %llu rows\"", (unsigned long long)w->rows);
    if (w->body != DP_BODY_DATA)
        buf_lit(b, ",\"status\":\"success\"");
    buf_char(b, '}');
}

void dp_rows_json(struct dp *dp, const struct dp_fetch *f, const struct dp_span *of, bool strip,
                  struct buf *b)
{
    const ath_column *column;
    uint32_t n = ath_host_->pg->columns(of->rows, &column);
    struct dp_column *c = dp_new(dp, (n + 1) * sizeof(*c));

    n = n > of->hidden ? n - of->hidden : 0;
    columns_of(dp, f, column, n, c);
    for (uint32_t i = 0; i < of->count; i++) {
        size_t from = b->n;
        if (b->n && b->p[b->n - 1] == '}')
            buf_char(b, ',');
        row_write(b, of->rows, of->first + i, 0, c, n, strip);
        if (i == 0)
            room_for_all(b, from, of->count - 1);
    }
}
