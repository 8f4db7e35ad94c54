/* What is kept of an answer: the published members, a few rows, never more than SUMMARY_BYTES
 * (D-18).
 */
#include "deferred.h"

#include "lib/json.h"

enum { VALUES_MOST = 1 << 22 };

struct writer {
    struct buf b;
    const struct json *answer, *meta;
    bool cut;
};

static void number(struct writer *s, const char *key, const struct json *v, uint64_t otherwise)
{
    int64_t n;

    buf_json_int(&s->b, key, v && json_i64(v, &n) ? n : (int64_t)otherwise);
}

static void part(struct writer *s, const char *key, const struct json *v)
{
    buf_json_key(&s->b, key);
    buf_str(&s->b, v ? v->raw : ATH_S("null"));
}

/* Rows from the first on, as many as fit. */
static void preview(struct writer *s, const struct json *data)
{
    size_t begin, n = 0;

    buf_json_key(&s->b, "rows_preview");
    buf_char(&s->b, '[');
    begin = s->b.n;
    for (const struct json *row = data && data->type == JSON_ARRAY ? data->first : NULL;
         row && n < SUMMARY_ROWS; row = row->next, n++) {
        if (s->b.n - begin + row->raw.n > SUMMARY_ROW_BYTES) {
            s->cut = true;
            break;
        }
        if (n)
            buf_char(&s->b, ',');
        buf_str(&s->b, row->raw);
    }
    buf_char(&s->b, ']');
}

static uint64_t rows_of(const struct json *data)
{
    return data && data->type == JSON_ARRAY ? data->count : 0;
}

/* ---- by kind ---- */

/* The statements' texts may be long: they are left out before the rest is. */
static void query(struct writer *s, const struct json *data)
{
    const struct json *statements = json_get(s->answer, "statements");

    part(s, "execution_mode", json_get(s->answer, "execution_mode"));
    number(s, "statement_count", json_get(s->meta, "statement_count"), 1);
    number(s, "rows_affected", json_get(s->meta, "rows_affected"), 0);
    number(s, "returned_row_count", json_get(s->meta, "returned_row_count"), rows_of(data));
    preview(s, data);
    if (statements && s->b.n + statements->raw.n < SUMMARY_BYTES) {
        part(s, "statements", statements);
    } else {
        buf_lit(&s->b, ",\"statements\":[]");
        s->cut = true;
    }
    if (json_get(s->answer, "preprocess"))
        part(s, "preprocess", json_get(s->answer, "preprocess"));
}

static void table(struct writer *s, const struct work *w)
{
    const struct json *body = json_get(w->payload, "request_body");
    const struct json *name = json_given(body, "table_name");

    if (!name)
        name = json_given(body, "from");
    part(s, "table_name", name);
}

static void fetch(struct writer *s, const struct work *w, const struct json *data)
{
    table(s, w);
    number(s, "returned_row_count", NULL, rows_of(data));
    preview(s, data);
}

static void insert(struct writer *s, const struct work *w, const struct json *data)
{
    table(s, w);
    if (data && data->type == JSON_ARRAY) {
        number(s, "inserted_count", json_get(s->answer, "affected_rows"), data->count);
        preview(s, data);
    } else if (data && data->raw.n <= SUMMARY_ROW_BYTES) {
        part(s, "inserted_row", data);
    } else {
        part(s, "inserted_row", NULL);
        s->cut = data != NULL;
    }
}

static void update(struct writer *s, const struct work *w, const struct json *data)
{
    table(s, w);
    number(s, "updated_count", json_get(s->answer, "affected_rows"), rows_of(data));
    preview(s, data);
}

static void delete (struct writer *s, const struct work *w, const struct json *data)
{
    table(s, w);
    part(s, "column_name", json_get(s->answer, "column_name"));
    part(s, "resource_id", json_get(s->answer, "resource_id"));
    number(s, "deleted_count", json_get(s->answer, "affected_rows"), rows_of(data));
    preview(s, data);
}

static void by_kind(struct writer *s, const struct work *w, const struct json *data)
{
    if (str_is(str_of(w->kind->word), "query"))
        query(s, data);
    else if (str_is(str_of(w->kind->word), "fetch"))
        fetch(s, w, data);
    else if (str_is(str_of(w->kind->word), "insert"))
        insert(s, w, data);
    else if (str_is(str_of(w->kind->word), "update"))
        update(s, w, data);
    else
        delete (s, w, data);
}

/* ---- the whole ---- */

static void begin(struct writer *s, const struct work *w)
{
    buf_reset(&s->b);
    buf_char(&s->b, '{');
    buf_json_str(&s->b, "kind", str_of(w->kind->name));
    buf_json_str(&s->b, "client_name", w->client);
}

static void end(struct writer *s, const struct work *w)
{
    if (!w->kind->reads)
        buf_json_str(&s->b, "delivery", w->once ? ATH_S("exactly_once") : ATH_S("at_least_once"));
    if (s->cut)
        buf_json_bool(&s->b, "truncated", true);
    buf_char(&s->b, '}');
}

ath_str summary_of(ath_task *t, const struct work *w, ath_str answer)
{
    struct writer s = { .b = BUF_ARENA(ath_arena_of(t)) };
    struct json_error why;

    begin(&s, w);
    s.answer = json_read(answer, JSON_ARENA(ath_arena_of(t)), VALUES_MOST, &why);
    s.meta = json_get(s.answer, "meta");
    if (s.answer)
        by_kind(&s, w, json_get(s.answer, "data"));
    if (!s.answer || s.b.n > SUMMARY_BYTES) {
        begin(&s, w);
        s.cut = true;
    }
    end(&s, w);
    return buf_view(&s.b);
}
