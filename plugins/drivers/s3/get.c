/* An object, or a range of it, as a stream.
 *
 *     head answered    the caller has its answer; its stream is ours, filled from the store's
 *     piece, written   one after the other, so the caller's reader sets the pace
 *     broken           the rest is asked for, as a range and only of the same object; the stream
 * goes on
 *
 * A connection that breaks again and again without a byte in between has failed; one that brings
 * some each time goes on for as long as it takes. What has come is counted against what was
 * promised: a stream never ends well with less.
 */
#include <stdlib.h>

#include "driver.h"

struct get {
    struct call call;
    uint64_t from, length; /* asked for; length UINT64_MAX: to the end */
    uint64_t promised, moved;
    uint64_t broke_at; /* `moved` when the connection broke last */
    uint32_t dry;      /* so often in a row without a byte in between */
    struct buf etag, range, match;
    ath_then *then;
    void *arg;
    ath_stream *in, *out; /* out NULL: not promised yet */
    bool head, more;      /* more: the rest is being asked for */
};

static int read_piece(ath_task *t, struct get *g, ath_err *e);

static void get_free(void *p)
{
    struct get *g = p;

    call_free(&g->call);
    buf_free(&g->etag);
    buf_free(&g->range);
    buf_free(&g->match);
    free(g);
}

/* ---- asking ---- */

static void set_headers(struct get *g)
{
    uint64_t from = g->from + g->moved;

    g->call.header_count = 0;
    if (from || g->length != UINT64_MAX || g->more) {
        buf_reset(&g->range);
        buf_printf(&g->range, "bytes=%llu-", (unsigned long long)from);
        if (g->length != UINT64_MAX)
            buf_u64(&g->range, g->from + g->length - 1);
        call_header(&g->call, "range", buf_view(&g->range));
    }
    buf_reset(&g->match);
    if (g->etag.n) {
        bool bare = g->etag.p[0] != '"';
        buf_z(&g->match, bare ? "\"" : "");
        buf_str(&g->match, buf_view(&g->etag));
        buf_z(&g->match, bare ? "\"" : "");
        call_header(&g->call, "if-match", buf_view(&g->match));
    }
}

/* ---- the stream ---- */

/* The stream ends, for good or bad; its reader hears of it. */
static int end(struct get *g, int rc)
{
    if (g->in)
        ath_host_->stream->end(g->in, 0);
    g->in = NULL;
    ath_host_->stream->end(g->out, rc);
    return 0;
}

static int ask_again(ath_task *t, const ath_done *d, ath_err *e)
{
    struct get *g = d->arg;
    int rc = d->rc;

    g->more = true;
    set_headers(g);
    if (rc == 0)
        rc = call_start(t, &g->call, e);
    return rc < 0 ? end(g, rc) : 0;
}

static int broken(ath_task *t, struct get *g, ath_err *e)
{
    int rc;

    ath_host_->stream->end(g->in, 0);
    g->in = NULL;
    g->dry = g->moved == g->broke_at ? g->dry + 1 : 0;
    g->broke_at = g->moved;
    if (g->dry >= (uint32_t)s3.cfg->tries)
        return end(g, ATH_E_UPSTREAM);
    rc = ath_host_->task->after(t, call_delay(g->dry), ask_again, g, e);
    return rc < 0 ? end(g, rc) : 0;
}

static int written(ath_task *t, const ath_done *d, ath_err *e)
{
    struct get *g = d->arg;

    if (d->rc < 0)
        return end(g, d->rc);
    g->moved += d->count;
    if (g->moved == g->promised)
        return end(g, 0);
    return read_piece(t, g, e);
}

static int piece(ath_task *t, const ath_done *d, ath_err *e)
{
    static const ath_str label = { "received", 8 };
    struct get *g = d->arg;
    ath_str b = d->bytes;
    int rc;

    if (d->rc == ATH_E_CANCELED)
        return end(g, d->rc);
    if (d->rc < 0 || b.n == 0)
        return broken(t, g, e);
    if (b.n > g->promised - g->moved)
        return end(g, ATH_E_UPSTREAM);
    ath_host_->log->put(ath_self_, S3_BYTES, &label, (double)b.n);
    rc = ath_host_->stream->write(t, g->out, b, written, g, e);
    return rc < 0 ? end(g, rc) : 0;
}

static int read_piece(ath_task *t, struct get *g, ath_err *e)
{
    int rc = ath_host_->stream->read(t, g->in, piece, g, e);

    return rc < 0 ? end(g, rc) : 0;
}

/* ---- answers ---- */

/* "bytes 5-9/10" begins where it was asked for. */
static bool begins_at(ath_str range, uint64_t from)
{
    uint64_t begin;

    if (!str_starts(range, "bytes "))
        return false;
    range = str_after(range, 6);
    return str_u64(str_from(range.p, str_find(range, '-')), &begin) && begin == from;
}

static int wrong(const struct call *c, const char *what, ath_err *e)
{
    return ath_fail(e, ATH_E_UPSTREAM, "could not %s \"%.*s\": the store's answer %s", c->doing,
                    STR_ARG(c->key), what);
}

/* A range that was not honoured would be the wrong bytes. */
static int judge(struct call *c, const ath_done *d, ath_err *e)
{
    struct get *g = c->arg;
    uint64_t length;
    bool ranged = g->from + g->moved || g->length != UINT64_MAX || g->more;

    if (!str_u64(call_answer_header(d, "content-length"), &length))
        return wrong(c, "has no length", e);
    if (g->head && !ranged)
        return 0;
    if (ranged && (d->status != 206 ||
                   !begins_at(call_answer_header(d, "content-range"), g->from + g->moved)))
        return wrong(c, "is not the range that was asked for", e);
    if (g->more && length != g->promised - g->moved)
        return wrong(c, "is not as long as what was left", e);
    return 0;
}

/* The first answer: the caller's. */
static int promise(ath_task *t, struct get *g, const ath_done *d, ath_err *e)
{
    ath_done done = *d;
    int rc;

    str_u64(call_answer_header(d, "content-length"), &g->promised);
    done.arg = g->arg;
    done.count = g->promised;
    done.bytes = ATH_S("");
    if (g->head)
        return g->then(t, &done, e);
    g->in = d->stream;
    if (g->etag.n == 0)
        buf_str(&g->etag, call_answer_header(d, "etag"));
    g->out = done.stream = ath_host_->stream->open(t, 0);
    rc = g->promised ? ath_host_->stream->read(t, g->in, piece, g, e) : 0;
    if (rc < 0) {
        done = (ath_done){ .size = sizeof(done), .rc = rc, .arg = g->arg };
        return g->then(t, &done, e);
    }
    if (g->promised == 0)
        end(g, 0);
    return g->then(t, &done, e);
}

static int answered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct get *g = d->arg;
    ath_done done = { .size = sizeof(done), .rc = d->rc, .arg = g->arg };

    if (g->out && d->rc < 0)
        return end(g, d->rc);
    if (g->out) {
        g->in = d->stream;
        return read_piece(t, g, e);
    }
    return d->rc < 0 ? g->then(t, &done, e) : promise(t, g, d, e);
}

static int begin(ath_task *t, const ath_s3_object *o, struct get *g, ath_then *then, void *arg,
                 ath_err *e)
{
    ath_host_->mem->own(ath_arena_of(t), g, get_free);
    call_of(&g->call, o);
    g->call.judge = judge;
    g->call.then = answered;
    g->call.arg = g;
    g->then = then;
    g->arg = arg;
    g->from = o->from;
    g->length = o->length ? o->length : UINT64_MAX;
    buf_str(&g->etag, o->etag);
    set_headers(g);
    return call_start(t, &g->call, e);
}

static int may_begin(const ath_s3_object *o, ath_err *e)
{
    int rc = s3_need_on(e);

    if (rc == 0 && o->key.n == 0)
        rc = ath_fail(e, ATH_E_INPUT, "an object has a key");
    if (rc == 0 && o->length && o->from + o->length - 1 < o->from)
        rc = ath_fail(e, ATH_E_INPUT, "the range is beyond all objects");
    return rc;
}

static struct get *get_new(void)
{
    return calloc(1, sizeof(struct get));
}

int s3_get(ath_task *t, const ath_s3_object *o, ath_then *then, void *arg, ath_err *e)
{
    struct get *g;
    int rc = may_begin(o, e);

    if (rc < 0)
        return rc;
    if (!(g = get_new()))
        return ath_fail(e, ATH_E_MEMORY, "no memory for a request");
    call_init(&g->call, "GetObject", "get object", "GET");
    g->call.flags = CALL_STREAM;
    return begin(t, o, g, then, arg, e);
}

int s3_head(ath_task *t, const ath_s3_object *o, ath_then *then, void *arg, ath_err *e)
{
    struct get *g;
    int rc = may_begin(o, e);

    if (rc < 0)
        return rc;
    if (!(g = get_new()))
        return ath_fail(e, ATH_E_MEMORY, "no memory for a request");
    call_init(&g->call, "HeadObject", "look at object", "HEAD");
    g->head = true;
    return begin(t, o, g, then, arg, e);
}
