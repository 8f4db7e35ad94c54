/* What a change gave back: rows of one or more results as JSON. */
#include "dataplane/write.h"

uint64_t dp_change_affected(const struct dp_change *c, const ath_rows *rows)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < c->stmt_count && rows; i++, rows = ath_host_->pg->next(rows))
        n += ath_host_->pg->affected(rows);
    return n;
}

const ath_rows *dp_change_rows(struct dp *dp, const struct dp_write *w, const struct dp_change *c,
                               const ath_rows *rows, struct dp_changed *ret, struct buf *b)
{
    const struct dp_fetch f = { .root = w->root };
    bool object = w->one && !w->head;
    const ath_column *column;
    size_t from;

    *ret = (struct dp_changed){ 0 };
    if (!object)
        buf_char(b, '[');
    from = b->n;
    for (uint32_t i = 0; i < c->stmt_count && rows; i++, rows = ath_host_->pg->next(rows)) {
        if (!c->returns)
            continue;
        if (!w->head)
            dp_rows_json(dp, &f, &(struct dp_span){ rows, 0, ath_host_->pg->count(rows), c->keyed },
                         w->strip_nulls, b);
        ret->returned += w->head ? 0 : ath_host_->pg->count(rows);
        if (c->keyed && ath_host_->pg->count(rows))
            ret->id = ath_cell(rows, 0, ath_host_->pg->columns(rows, &column) - 1);
    }
    if (!object)
        buf_char(b, ']');
    else if (b->n == from)
        buf_lit(b, "null");
    return rows;
}
