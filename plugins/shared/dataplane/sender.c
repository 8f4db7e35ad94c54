#include "dataplane/sender.h"

/* ---- how many rows there can be ---- */

/* Of the rows in which these conditions hold, how many values can this column have? 0: any number.
 */
static int64_t values_of(const struct dp_pred *where, uint32_t number)
{
    for (const struct dp_pred *p = where; p; p = p->next) {
        bool plain = p->logic == DP_TERM && p->ref.column && !p->ref.path && !p->column_cast &&
                     p->ref.column->number == number && p->value;
        if (plain && p->op == DP_EQ && p->value->type != JSON_NULL)
            return 1;
        if (plain && p->op == DP_IN && p->value->type == JSON_ARRAY)
            return p->value->count + 1;
    }
    return 0;
}

static int64_t rows_of_key(const struct dp_fetch *f, const ath_key *key)
{
    int64_t rows = 1;

    for (uint32_t i = 0; i < key->number_count && rows > 0 && rows <= DP_VALUES; i++)
        rows *= values_of(f->root.where, key->number[i]);
    return rows;
}

bool dp_may_exceed(const struct dp_fetch *f, int64_t rows)
{
    const ath_relation *r = f->root.relation;

    if (f->head || f->group.by.n || (f->root.limit >= 0 && f->root.limit <= rows))
        return false;
    for (uint32_t i = 0; i < r->key_count; i++) {
        const ath_key *key = (const void *)((const char *)r->key + (size_t)i * r->key_size);
        int64_t n = key->number_count ? rows_of_key(f, key) : 0;
        if (n > 0 && n <= rows)
            return false;
    }
    return true;
}

/* ---- piece by piece ---- */

static int written(ath_task *t, const ath_done *d, ath_err *e);

static void text_free(void *text)
{
    buf_free(text);
}

/* What stands in s->text goes out; then it is asked for more. */
static int write_text(ath_task *t, struct dp_sender *s, ath_err *e)
{
    return ath_host_->stream->write(t, s->to, buf_view(&s->text), written, s, e);
}

static int finish(ath_task *t, struct dp_sender *s)
{
    char room[STR_U64_ROOM];

    ath_host_->req->note(
        t, &(ath_fact){ ATH_S("row_count"), str_from_u64(s->w.rows, room), ATH_V_NUMBER, 0 });
    ath_host_->stream->end(s->to, 0);
    return 0;
}

static int ended(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    return d->rc < 0 ? d->rc : finish(t, d->arg);
}

static int piece(ath_task *t, const ath_done *d, ath_err *e)
{
    struct dp_sender *s = d->arg;

    if (d->rc < 0)
        return d->rc;
    buf_reset(&s->text);
    if (ath_host_->pg->count(d->rows)) {
        dp_writer_rows(&s->w, d->rows, &s->text);
        return write_text(t, s, e);
    }
    dp_writer_end(&s->w, &s->text);
    if (s->text.n == 0)
        return finish(t, s);
    return ath_host_->stream->write(t, s->to, buf_view(&s->text), ended, s, e);
}

static int written(ath_task *t, const ath_done *d, ath_err *e)
{
    struct dp_sender *s = d->arg;

    return d->rc < 0 ? d->rc : ath_host_->pg->more(t, s->first, piece, s, e);
}

/* There is more than one piece: from here on it is a stream. */
static int begin(ath_task *t, struct dp_sender *s, const ath_rows *second, ath_err *e)
{
    struct dp dp = { .arena = ath_arena_of(t), .e = e, .fold = s->fold };
    int rc;

    ath_host_->mem->own(dp.arena, &s->text, text_free);
    dp_writer_begin(&s->w, &dp, s->f, s->q, s->first, &s->a, &s->text);
    s->head(t, s->arg, &s->a);
    dp_writer_rows(&s->w, s->first, &s->text);
    dp_writer_rows(&s->w, second, &s->text);
    s->to = ath_host_->stream->open(t, 0);
    rc = ath_host_->req->send(t, 200, dp_format_type(s->a.format), s->to);
    return rc < 0 ? rc : write_text(t, s, e);
}

static int second(ath_task *t, const ath_done *d, ath_err *e)
{
    struct dp_sender *s = d->arg;

    if (d->rc < 0)
        return d->rc;
    if (ath_host_->pg->count(d->rows) == 0)
        return s->whole(t, s->arg, s->first, e);
    return begin(t, s, d->rows, e);
}

void dp_sender_ask(struct dp_sender *s, ath_query *query)
{
    uint32_t n = s->q->stmt_count;

    for (uint32_t i = 0; i < n; i++)
        s->stmt[i] = s->q->stmt[n - 1 - i];
    s->stmt[n - 1].flags |= ATH_PG_ROWS;
    query->stmt = s->stmt;
}

int dp_sender_start(ath_req *r, struct dp_sender *s, const ath_rows *rows, ath_err *e)
{
    if (s->q->stmt_count > 1) {
        s->a.planned = dp_planned_rows(rows);
        rows = ath_host_->pg->next(rows);
    }
    s->first = ath_host_->pg->keep(r, rows);
    return ath_host_->pg->more(r, s->first, second, s, e);
}
