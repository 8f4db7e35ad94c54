#include "dataplane/sender.h"

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

    ath_host_->req->note(t, &(ath_fact){ ATH_S("row_count"), str_from_u64(s->w.rows, room),
                                         ATH_V_NUMBER, 0 });
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
    dp_writer_begin(&s->w, &dp, s->f, s->q, s->first, s->planned, &s->a, &s->text);
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

int dp_sender_start(ath_req *r, struct dp_sender *s, const ath_rows *piece, ath_err *e)
{
    s->first = ath_host_->pg->keep(r, piece);
    return ath_host_->pg->more(r, s->first, second, s, e);
}
