/* Answers to the socket, in the order of their requests.
 *
 * conn_flush() runs after everything that came in this turn has been worked on: what became ready
 * leaves in one write. Heads, small bodies and pieces of streams are gathered in the loop's
 * output buffer; a large body is written from where it lies, behind it. What the socket does not
 * take is kept with the connection (at most one buffer full), and nothing more is gathered and no
 * stream pulled until it has gone: a slow reader slows its own producer only.
 *
 * A write error is only noted here; the connection ends in conn_flush(), never below a handler.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "http/coding.h"
#include "http/http_priv.h"

enum {
    CONTINUES = 32,
    PACK_TURN = 256 * 1024,      /* bytes of one answer that are packed before others have a turn */
};

/* ---- bytes ---- */

/* How many of these bytes the socket takes now; an error counts as none, and is noted. */
static size_t wire(struct conn *c, struct iovec *iov, size_t count)
{
    struct msghdr m = { .msg_iov = iov, .msg_iovlen = count };
    ssize_t n;

    if (c->capture) {
        for (size_t i = 0; i < count; i++)
            buf_mem(c->capture, iov[i].iov_base, iov[i].iov_len);
        return iov[0].iov_len + (count > 1 ? iov[1].iov_len : 0);
    }
    do
        n = sendmsg(c->fd, &m, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
        c->dead = true;
    if (n > 0)
        c->write_ms = loop_now_ms(c->hl->loop);
    return n > 0 ? (size_t)n : 0;
}

/* Writes what was gathered, then `tail`; returns how much of the tail was taken. */
static size_t out_write(struct conn *c, ath_str tail)
{
    struct buf *out = &c->hl->out;
    struct iovec iov[2] = { { out->p, out->n }, { (void *)(uintptr_t)tail.p, tail.n } };
    size_t n = 0;

    if (!c->dead && out->n + tail.n)
        n = wire(c, iov, tail.n ? 2 : 1);
    c->out_sent += n;
    c->out_total += out->n;
    if (n < out->n + tail.n)
        c->blocked = true;
    if (n < out->n) {
        buf_mem(&c->held, out->p + n, out->n - n);
        n = out->n;
    }
    n -= out->n;
    c->out_total += n;
    buf_reset(out);
    return n;
}

/* What is held goes first; false: the socket does not take it all yet. */
static bool held_write(struct conn *c)
{
    struct iovec iov;
    size_t n;

    if (c->held.n == 0)
        return true;
    iov = (struct iovec){ c->held.p + c->held_at, c->held.n - c->held_at };
    n = wire(c, &iov, 1);
    c->out_sent += n;
    c->held_at += n;
    if (c->held_at < c->held.n) {
        c->blocked = true;
        return false;
    }
    buf_free(&c->held);
    c->held_at = 0;
    return true;
}

/* ---- one answer ---- */

static bool may_keep(const struct conn *c, const struct exchange *x)
{
    if (x->refused || !x->req.keep_alive || !x->req.body_complete || c->hl->draining)
        return false;
    if (x->req.sending && x->req.minor == 0 && !(x->set & SET_LENGTH))
        return false; /* its end is the connection's */
    return !c->eof || x->req.node.next != &c->queue;
}

static void put_head(struct conn *c, struct exchange *x, struct buf *out)
{
    bool keep = may_keep(c, x);

    x->head_written = true;
    if (x->set & SET_ACCEPTS)
        pack_begin(x);
    if (!keep)
        c->last = true;
    if (!keep && x->mode != BODY_STREAM) /* that body comes in while its answer goes out */
        c->deaf = true;
    if (x->refused)
        reply_refused(out, x);
    else
        reply_head(out, x, keep);
}

/* True when all of it is gathered or written. */
static bool put_reply(struct conn *c, struct exchange *x, struct buf *out)
{
    ath_str left = str_after(x->req.reply, x->reply_at);

    if (left.n > COPY_MOST) {
        x->reply_at += out_write(c, left);
        x->req.sent_bytes = x->reply_at;
        return x->reply_at == x->req.reply.n;
    }
    buf_str(out, left);
    x->reply_at += left.n;
    x->req.sent_bytes = x->reply_at;
    return true;
}

static void put_chunk(struct exchange *x, struct buf *out, ath_str b)
{
    char size[20];
    size_t at = sizeof(size);

    if (x->framed) {
        size[--at] = '\n';
        size[--at] = '\r';
        for (size_t n = b.n; n; n >>= 4)
            size[--at] = "0123456789abcdef"[n & 15];
        buf_mem(out, size + at, sizeof(size) - at);
    }
    buf_str(out, b);
    if (x->framed)
        buf_lit(out, "\r\n");
    x->req.sent_bytes += b.n;
}

/* A piece of a body whose length nobody knows, packed when that was asked for. */
static void put_piece(struct exchange *x, struct buf *out, ath_str b)
{
    if (x->pack)
        pack_piece(x, b, put_chunk, out);
    else
        put_chunk(x, out, b);
}

static void put_end(struct exchange *x, struct buf *out)
{
    if (x->pack)
        pack_finish(x, put_chunk, out);
    if (x->framed)
        buf_lit(out, "0\r\n\r\n");
}

/* A long answer that is packed as it goes. After a while others have their turn first: as if the
 * socket were full, it is asked whether it can be written to. True when all of it is gathered. */
static bool put_packed(struct conn *c, struct exchange *x, struct buf *out)
{
    size_t turn = x->reply_at + PACK_TURN;

    while (!c->blocked && x->reply_at < x->req.reply.n) {
        ath_str b = str_after(x->req.reply, x->reply_at);
        if (b.n > COPY_MOST)
            b.n = COPY_MOST;
        put_piece(x, out, b);
        x->reply_at += b.n;
        if (out->n > OUT_ROOM - COPY_MOST || x->reply_at >= turn)
            out_write(c, ATH_S(""));
        if (x->reply_at >= turn && c->fd >= 0)
            c->blocked = true;
    }
    if (c->blocked)
        return false;
    put_end(x, out);
    return true;
}

/* A stream's idle limit takes the place of the request's deadline. */
static void stream_moves(struct exchange *x)
{
    struct req *r = &x->req;
    uint64_t ms = r->http->limits.request_ms;

    if (ms && r->match.route && !(r->match.route->def.flags & ATH_RT_LONG))
        task_deadline(&r->task, loop_now_ms(r->task.loop) + ms);
}

/* The stream has no more: was that all? */
static bool stream_closes(struct exchange *x, struct buf *out, int rc)
{
    if (rc < 0 || (x->set & SET_LENGTH && x->taken != x->declared)) {
        x->broken = true;
        return false;
    }
    put_end(x, out);
    task_end(&x->req.task, 0, NULL, NULL);
    return true;
}

static bool put_stream(struct conn *c, struct exchange *x, struct buf *out)
{
    ath_stream *s = x->req.sending;
    uint64_t before = x->taken;

    while (!x->broken && !c->blocked) {
        ath_str b = stream_peek(s);
        int rc;
        if (b.n == 0) {
            if (stream_ended(s, &rc))
                return stream_closes(x, out, rc);
            if (x->pack)
                pack_flush(x, put_chunk, out);
            break;
        }
        if (b.n > COPY_MOST)
            b.n = COPY_MOST;
        if (x->set & SET_LENGTH && x->taken + b.n > x->declared) {
            x->broken = true;
            break;
        }
        put_piece(x, out, b);
        x->taken += b.n;
        stream_take(s, b.n);
        if (out->n > OUT_ROOM - COPY_MOST - CONTINUES)
            out_write(c, ATH_S(""));
    }
    if (x->taken != before)
        stream_moves(x);
    return false;
}

/* True when the whole answer is gathered or written. */
static bool put_answer(struct conn *c, struct exchange *x, struct buf *out)
{
    bool all = true;

    if (!x->head_written)
        put_head(c, x, out);
    if (x->refused || x->req.head)
        all = true;
    else if (x->req.sending)
        all = put_stream(c, x, out);
    else if (x->pack)
        all = put_packed(c, x, out);
    else
        all = put_reply(c, x, out);
    if (x->broken) {
        out_write(c, ATH_S(""));
        x->req.ending = REQ_CUT;
        c->dead = true;
    }
    x->out_end = c->out_total + out->n;
    return all;
}

/* ---- the line of answers ---- */

static void put_continue(struct exchange *x, struct buf *out)
{
    if (!x->wants_continue || x->mode == BODY_HOLD || x->req.answered)
        return;
    x->wants_continue = false;
    if (x->req.body_bytes == 0 && !x->req.body_complete)
        buf_lit(out, "HTTP/1.1 100 Continue\r\n\r\n");
}

static void put_answers(struct conn *c)
{
    struct buf *out = &c->hl->out;

    buf_reset(out);
    reply_common(c->hl);
    while (!c->said && !c->blocked && !c->dead && !list_empty(&c->queue)) {
        struct exchange *x = exchange_at(list_first(&c->queue));
        put_continue(x, out);
        if (!x->req.answered || !put_answer(c, x, out))
            break;
        list_unlink(&x->req.node);
        list_push(&c->leaving, &x->req.node);
        c->queued--;
        c->said = c->last;
        if (out->n > OUT_ROOM / 2)
            out_write(c, ATH_S(""));
        if (!c->said)
            conn_start_some(c);
    }
    if (out->n)
        out_write(c, ATH_S(""));
}

/* Those whose last byte the socket has taken. */
static void finish_sent(struct conn *c)
{
    list_each(node, next, &c->leaving) {
        struct exchange *x = exchange_at(node);
        if (x->out_end > c->out_sent)
            return;
        x->req.sent = true;
        exchange_done(x, REQ_ANSWERED);
    }
}

static void parse_rest(struct conn *c)
{
    if (c->deaf)
        buf_free(&c->rest);
    while (c->rest_at < c->rest.n && parse_may(c)) {
        c->rest_at += parse_bytes(c, c->rest.p + c->rest_at, c->rest.n - c->rest_at);
        if (c->deaf)
            c->rest_at = c->rest.n;
    }
    if (c->rest_at >= c->rest.n) {
        buf_free(&c->rest);
        c->rest_at = 0;
    }
}

void conn_flush(void *conn)
{
    struct conn *c = CHECKED(conn, struct conn, CONN_MAGIC);

    if (c->closed)
        return;
    c->hl->now_ns = clock_ns();
    if (!c->blocked && held_write(c))
        put_answers(c);
    finish_sent(c);
    if (c->dead) {
        conn_lost(c, REQ_CLIENT_LEFT);
        return;
    }
    if (c->said && !c->lingering && !c->blocked) {
        conn_linger(c);
        return;
    }
    parse_rest(c);
    conn_update(c);
}

void conn_answered(struct conn *c)
{
    loop_defer(c->hl->loop, &c->flush);
}
