/* JSON values as parameter texts. The parameter's type, the column's own, decides what a text
 * means; PostgreSQL refuses what does not fit (data_exception), nothing is guessed here.
 */
#include "dataplane/dataplane.h"

#include "lib/json.h"

enum { OID_JSON = 114, OID_JSONB = 3802 };

static int no_nul(struct dp *dp, const struct json *v)
{
    if (!v->nul)
        return 0;
    return ath_raise(dp->e, "invalid_text_encoding",
                     "a value holds U+0000, which cannot be stored");
}

/* An element in quotes, with the two characters escaped that end or escape it. */
void dp_element(struct buf *b, ath_str s)
{
    buf_char(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\')
            buf_char(b, '\\');
        buf_char(b, s.p[i]);
    }
    buf_char(b, '"');
}

static int elements(struct dp *dp, struct buf *b, const struct json *list, struct typed t,
                    bool nulls);

/* An element of a json array is a document of its own, also when it is a list. */
static int element(struct dp *dp, struct buf *b, const struct json *v, struct typed t, bool nulls)
{
    ath_str text = v->raw;
    int rc = 0;

    if (v->type == JSON_NULL)
        buf_lit(b, "NULL");
    else if (v->type == JSON_ARRAY && t.form != TYPED_JSON)
        return elements(dp, b, v, t, nulls);
    else if (t.form == TYPED_JSON || v->type == JSON_STRING || v->type == JSON_OBJECT) {
        if ((rc = dp_value(dp, v, t.form == TYPED_JSON ? OID_JSONB : 0, false, &text)) == 0)
            dp_element(b, text);
    } else {
        buf_str(b, text);
    }
    return rc;
}

static int elements(struct dp *dp, struct buf *b, const struct json *list, struct typed t,
                    bool nulls)
{
    int rc = 0;

    buf_char(b, '{');
    json_each(v, list)
    {
        if (v->type == JSON_NULL && !nulls)
            continue;
        if (b->p[b->n - 1] != '{')
            buf_char(b, t.delimiter);
        if ((rc = element(dp, b, v, t, nulls)) < 0)
            return rc;
    }
    buf_char(b, '}');
    return 0;
}

/* For `in`: a null never matches, so it is left out (NOT IN would match nothing with it). */
int dp_array_text(struct dp *dp, const struct json *list, uint32_t type, ath_str *ret)
{
    struct buf b = dp_buf(dp);
    int rc = elements(dp, &b, list, typed_of(type), false);

    *ret = buf_view(&b);
    return rc;
}

/* A text for a json column: JSON when it is some, else a JSON string, as the body has it where it
 * comes from one. */
static ath_str json_of_text(const struct dp *dp, const struct json *v)
{
    ath_str text = v->text;
    struct json_error why;
    struct buf b;

    if (json_read(text, JSON_ARENA(dp->arena), DP_VALUES, &why))
        return text;
    if (v->raw.p != text.p)
        return v->raw;
    b = dp_buf(dp);
    buf_json(&b, text);
    return buf_view(&b);
}

int dp_value(struct dp *dp, const struct json *v, uint32_t type, bool array, ath_str *ret)
{
    struct buf b;
    int rc;

    if (type == OID_JSON || type == OID_JSONB) {
        dp->fixed = true;
        *ret = v->type == JSON_STRING ? json_of_text(dp, v) : v->raw;
        return no_nul(dp, v);
    }
    if (v->type == JSON_STRING) {
        *ret = v->text;
        return no_nul(dp, v);
    }
    if (v->type == JSON_ARRAY && array) {
        b = dp_buf(dp);
        rc = elements(dp, &b, v, typed_of(type), true);
        *ret = buf_view(&b);
        return rc;
    }
    *ret = v->raw;
    return 0;
}
