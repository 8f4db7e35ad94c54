/* Rows of the source as rows of the sink.
 *
 * Grouping is done by /gateway/fetch (contract 15); here each of its buckets becomes one row: the
 * column that is grouped by, and the sum. Then columns take the names that the sink knows them by.
 * Values are copied as they are written, so none loses a digit.
 */
#include "pipelines.h"

#define refuse(e, ...) ath_raise((e), "invalid_pipeline_definition", __VA_ARGS__)

/* ---- names: all rows have the columns of the first one, in its order ---- */

struct names {
    const struct json *row; /* the first one */
    ath_str *to;            /* by position, "name": as JSON has it */
};

static const struct json *cell(const struct json *row, ath_str column)
{
    json_each(v, row)
    {
        if (str_eq(v->key, column))
            return v;
    }
    return NULL;
}

static ath_str renamed(const struct definition *d, ath_str column)
{
    const struct json *to = d->aliases ? cell(d->aliases, column) : NULL;

    return to ? str_trim(to->text) : column;
}

/* A name that no column has would be a change that does not happen. */
static int check_aliases(const struct definition *d, const struct json *row, ath_err *e)
{
    if (!d->aliases)
        return 0;
    json_each(v, d->aliases)
    {
        if (!cell(row, v->key))
            return refuse(e,
                          "transform.column_aliases names a column \"%.*s\" that the rows do not "
                          "have",
                          STR_ARG(v->key));
    }
    return 0;
}

static int names_make(ath_req *r, const struct definition *d, const struct json *row,
                      struct names *n, ath_err *e)
{
    uint32_t i = 0;
    int rc = check_aliases(d, row, e);

    *n = (struct names){ row, ath_new(ath_arena_of(r), (row->count + 1) * sizeof(ath_str)) };
    for (const struct json *v = row->first; v && rc == 0; v = v->next, i++) {
        struct buf b = BUF_ARENA(ath_arena_of(r));
        buf_json(&b, renamed(d, v->key));
        n->to[i] = buf_view(&b);
        for (uint32_t j = 0; j < i && rc == 0; j++)
            if (str_eq(n->to[j], n->to[i]))
                rc = refuse(e, "transform.column_aliases makes %.*s of two columns",
                            STR_ARG(n->to[i]));
    }
    return rc;
}

static void put_row(struct buf *b, const struct names *n, const struct json *row)
{
    uint32_t i = 0;

    buf_char(b, '{');
    for (const struct json *v = row->first; v && i < n->row->count; v = v->next, i++) {
        if (i)
            buf_char(b, ',');
        buf_str(b, n->to[i]);
        buf_char(b, ':');
        buf_str(b, v->raw);
    }
    buf_char(b, '}');
}

/* ---- buckets ---- */

/* A time is a label; anything else is the value that all rows of the bucket share. */
static ath_str label_of(const struct definition *d, const struct json *bucket)
{
    const struct json *rows = json_get(bucket, "rows");
    const struct json *v = rows && rows->first ? cell(rows->first, d->group_by) : NULL;

    return !d->granularity.n && v ? v->raw : json_get(bucket, "label")->raw;
}

/* A bucket as the row that stands for it; the sum is a number, which comes in quotes. */
struct bucket {
    struct json row, by, sum;
};

static const struct json *bucket_row(struct bucket *k, const struct definition *d,
                                     const struct json *v)
{
    const struct json *sum = json_given(v, "aggregation");

    *k = (struct bucket){ .row = { .type = JSON_OBJECT, .count = d->sum_column.n ? 2 : 1 },
                          .by = { .key = d->group_by, .raw = label_of(d, v) },
                          .sum = { .key = d->sum_column,
                                   .raw = sum ? json_text(sum) : ATH_S("null") } };
    k->row.first = &k->by;
    k->by.next = d->sum_column.n ? &k->sum : NULL;
    return &k->row;
}

/* ---- together ---- */

static int put_rows(ath_req *r, const struct definition *d, const struct json *list, struct buf *b,
                    ath_err *e)
{
    struct bucket bucket;
    struct names names;
    int rc = 0;

    for (const struct json *v = list->first; v && rc == 0; v = v->next) {
        const struct json *row = d->group_by.n ? bucket_row(&bucket, d, v) : v;
        if (v == list->first)
            rc = names_make(r, d, row, &names, e);
        else
            buf_char(b, ',');
        if (rc == 0)
            put_row(b, &names, row);
    }
    return rc;
}

int transform(ath_req *r, const struct definition *d, const struct json *answer, struct rows *ret,
              ath_err *e)
{
    const struct json *list = d->group_by.n
                                  ? json_get(json_get(answer, "post_processing"), "grouped")
                                  : json_get(answer, "data");
    struct buf b = BUF_ARENA(ath_arena_of(r));
    int rc;

    if (!list || list->type != JSON_ARRAY)
        return ath_fail(e, ATH_E_BUG, "the answer of /gateway/fetch has no rows");
    *ret = (struct rows){ list->raw, list->count };
    if (!definition_changes(d))
        return 0;
    buf_char(&b, '[');
    rc = put_rows(r, d, list, &b, e);
    buf_char(&b, ']');
    ret->text = buf_view(&b);
    return rc;
}
