/* Connections of one loop: sockets, limits, beginning and end.
 *
 * A connection is one struct and one poll handle; it reads into the loop's buffer and writes from
 * the loop's buffer, so an idle one owns no other memory. Exchanges are made at the first byte of a
 * request and used again.
 *
 * What ends a connection: the client (conn_eof, a broken socket), a limit (deadline), the last
 * answer (conn_linger: our side ends, the client gets a moment to read and to end its own, so that
 * the last answer is not lost to a reset), or us (drain, cut).
 *
 * The end of the client's side alone does not say whether it left or only has nothing more to ask:
 * it gets a short grace for its answers, which begins again as long as bytes come or leave. Then
 * its requests are left and their work is stopped. While nothing is read (a body that is not wanted
 * yet, too many requests in line) the kernel says that the side was ended.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "http/coding.h"
#include "http/http_priv.h"

/* ---- exchanges ---- */

static struct exchange *exchange_take(struct http_loop *hl)
{
    struct list *node = list_pop(&hl->spare);
    struct exchange *x;

    if (!node)
        return MEM_NEW(struct exchange);
    hl->spares--;
    x = list_entry(node, struct exchange, spare);
    memset(&x->req.conn, 0, offsetof(struct req, err) - offsetof(struct req, conn));
    memset(&x->spare, 0, offsetof(struct exchange, peer) - offsetof(struct exchange, spare));
    return x;
}

static void exchange_release(struct exchange *x)
{
    buf_free(&x->head);
    buf_free(&x->body);
    free(x->span);
    free(x->pair);
    free(x);
}

void exchange_free(struct exchange *x)
{
    struct http_loop *hl = x->req.task.loop->slot[LOOP_SLOT_HTTP];

    if (!hl || hl->spares >= SPARE_MOST || x->head.cap > SPARE_ROOM || x->span_room > 128) {
        exchange_release(x);
        return;
    }
    if (x->body.cap > SPARE_ROOM)
        buf_free(&x->body);
    buf_reset(&x->head);
    buf_reset(&x->body);
    list_push_front(&hl->spare, &x->spare);
    hl->spares++;
}

struct exchange *exchange_new(struct conn *c)
{
    struct http_loop *hl = c->hl;
    struct exchange *x = exchange_take(hl);
    struct req *r = &x->req;

    task_init(&r->task, &request_type, hl->loop, NULL, NULL);
    err_reset(&r->err);
    r->match.route = NULL;
    list_init(&r->node);
    r->conn = c;
    r->mark[MARK_FIRST_BYTE] = hl->now_ns;
    x->began_ms = loop_now_ms(hl->loop);
    return x;
}

static void account(struct exchange *x)
{
    struct req *r = &x->req;
    struct http *h = r->conn->hl->http;

    if (!x->head_done)
        return;
    r->mark[MARK_END] = r->conn->hl->now_ns;
    atomic_fetch_sub_explicit(&h->in_flight, 1, memory_order_relaxed);
    if (h->account)
        h->account(r);
}

/* A body that would end with the connection must not look as if this was its end: the connection is
 * reset instead. Else the head or the chunks have said what is missing. */
static void answer_cut(struct exchange *x)
{
    struct conn *c = x->req.conn;
    struct linger reset = { .l_onoff = 1 };

    atomic_fetch_add_explicit(&c->hl->http->cut, 1, memory_order_relaxed);
    if (x->head_written && x->req.sending && !x->framed && !(x->set & SET_LENGTH) && c->fd >= 0)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
}

void exchange_done(struct exchange *x, enum req_ending ending)
{
    struct req *r = &x->req;
    struct conn *c = r->conn;

    list_unlink(&r->node);
    c->idle_ms = loop_now_ms(c->hl->loop);
    if (c->reading == x)
        c->reading = NULL;
    if (r->sending)
        stream_consume(r->sending, NULL, NULL);
    if (x->mode == BODY_STREAM)
        stream_produce(r->from, NULL, NULL);
    if (r->ending == 0 || (!r->sent && r->ending != REQ_CUT))
        r->ending = ending;
    if (unlikely(r->ending == REQ_CUT))
        answer_cut(x);
    account(x);
    r->conn = NULL;
    task_leave(&r->task);
    task_unref(&r->task);
}

/* ---- the end ---- */

static void loop_share_free(struct http_loop *hl);

static void on_closed(uv_handle_t *h)
{
    struct conn *c = CHECKED(h->data, struct conn, CONN_MAGIC);
    struct http_loop *hl = c->hl;

    c->magic = 0;
    free(c);
    hl->handles--;
    loop_share_free(hl);
}

static void conn_close(struct conn *c)
{
    if (c->closed)
        return;
    c->closed = true;
    deadline_clear(&c->limit);
    deadline_clear(&c->write_limit);
    deferred_cancel(&c->flush);
    buf_free(&c->rest);
    buf_free(&c->held);
    list_unlink(&c->node);
    c->hl->open--;
    atomic_fetch_sub_explicit(&c->hl->http->open, 1, memory_order_relaxed);
    if (c->fd < 0)
        return;
    uv_close((uv_handle_t *)&c->poll, on_closed);
    close(c->fd); /* after the loop has let go of it: its number may be taken at once */
}

static void drop_all(struct list *l, enum req_ending ending)
{
    while (!list_empty(l))
        exchange_done(exchange_at(list_first(l)), ending);
}

void conn_lost(struct conn *c, enum req_ending ending)
{
    if (c->closed)
        return;
    c->hl->now_ns = clock_ns();
    c->deaf = true;
    drop_all(&c->leaving, ending);
    drop_all(&c->queue, ending);
    c->queued = 0;
    if (c->reading)
        exchange_done(c->reading, ending);
    conn_close(c);
}

void conn_linger(struct conn *c)
{
    drop_all(&c->queue, REQ_CUT);
    c->queued = 0;
    if (c->reading)
        exchange_done(c->reading, REQ_CUT);
    if (c->eof || c->fd < 0) {
        conn_close(c);
        return;
    }
    c->lingering = c->deaf = true;
    shutdown(c->fd, SHUT_WR);
    c->until_ms = loop_now_ms(c->hl->loop) + LINGER_MS;
    conn_update(c);
}

/* ---- limits ---- */

static bool is_idle(struct conn *c)
{
    return !c->reading && list_empty(&c->queue) && list_empty(&c->leaving) && c->rest.n == 0;
}

static uint64_t after(uint64_t from, uint64_t ms)
{
    return ms ? from + ms : 0;
}

/* When the connection's present state has lasted too long; 0: it may last. */
static uint64_t due_ms(struct conn *c)
{
    const struct http_limits *l = conn_limits(c);
    const struct exchange *x = c->reading;

    if (c->lingering || c->eof || c->hup)
        return c->until_ms;
    if (x && !x->head_done)
        return after(x->began_ms, l->head_ms);
    if (x && (c->events & UV_READABLE) && (x->mode == BODY_KEEP || x->mode == BODY_STREAM))
        return after(c->read_ms, l->body_ms);
    return is_idle(c) ? after(c->idle_ms, l->idle_ms) : 0;
}

/* A deadline that is set too early is set anew when it fires: most states end before. */
static void limit_arm(struct conn *c)
{
    uint64_t due = due_ms(c);

    if (due && (c->limit.at_ms == 0 || c->limit.at_ms > due))
        deadline_set(c->hl->loop, &c->limit, due);
}

static void body_late(struct conn *c)
{
    struct ath_err e;

    c->deaf = true;
    err_raise(&e, "request_timeout", "the request body did not arrive in time");
    body_broken(c->reading, e.rc, &e);
    conn_update(c);
}

static void grace_begin(struct conn *c)
{
    c->until_ms = loop_now_ms(c->hl->loop) + GRACE_MS;
}

/* Its client ended its side: what has begun to leave goes on, the rest is for nobody. */
static void grace_over(struct conn *c)
{
    struct list *first = list_first(&c->queue);
    uint64_t moved_ms = c->write_ms > c->read_ms ? c->write_ms : c->read_ms;
    bool moves = moved_ms + GRACE_MS > c->until_ms; /* since the grace began */

    if (moves || !list_empty(&c->leaving) || (first && exchange_at(first)->head_written)) {
        grace_begin(c);
        limit_arm(c);
        return;
    }
    conn_lost(c, REQ_CLIENT_LEFT);
}

static void on_limit(struct deadline *d)
{
    struct conn *c = container_of(d, struct conn, limit);
    uint64_t due = due_ms(c);

    c->hl->now_ns = clock_ns();
    if (due == 0 || due > loop_now_ms(c->hl->loop))
        limit_arm(c);
    else if (c->lingering)
        conn_close(c);
    else if (c->eof || c->hup)
        grace_over(c);
    else if (c->reading && !c->reading->head_done)
        parse_refuse(c, 408);
    else if (c->reading)
        body_late(c);
    else
        conn_close(c);
}

static void on_write_limit(struct deadline *d)
{
    struct conn *c = container_of(d, struct conn, write_limit);
    uint64_t due = c->write_ms + conn_limits(c)->write_ms;

    if (!c->blocked)
        return;
    if (due > loop_now_ms(c->hl->loop))
        deadline_set(c->hl->loop, d, due);
    else
        conn_lost(c, REQ_CUT);
}

static void write_arm(struct conn *c)
{
    uint64_t ms = conn_limits(c)->write_ms;

    if (c->blocked && ms && c->write_limit.at_ms == 0) {
        c->write_ms = loop_now_ms(c->hl->loop);
        deadline_set(c->hl->loop, &c->write_limit, c->write_ms + ms);
    }
}

/* ---- reading ---- */

static void on_poll(uv_poll_t *h, int status, int events);

static int wanted(const struct conn *c)
{
    int events = c->blocked ? UV_WRITABLE : 0;

    if (!c->eof && (c->deaf || (c->rest.n == 0 && parse_may(c))))
        events |= UV_READABLE;
    else if (!c->eof && !c->hup)
        events |= UV_DISCONNECT;
    return events;
}

void conn_update(struct conn *c)
{
    int events;

    if (c->closed)
        return;
    if (is_idle(c) && (c->hl->draining || c->eof)) {
        conn_close(c);
        return;
    }
    events = wanted(c);
    if (events != c->events && c->fd >= 0) {
        if (events)
            uv_poll_start(&c->poll, events, on_poll);
        else
            uv_poll_stop(&c->poll);
    }
    c->events = events;
    limit_arm(c);
    write_arm(c);
}

void conn_feed(struct conn *c, const char *p, size_t n)
{
    size_t used;

    c->hl->now_ns = clock_ns();
    c->read_ms = loop_now_ms(c->hl->loop);
    if (c->deaf)
        return;
    if (c->rest.n) { /* behind what may not be parsed yet */
        buf_mem(&c->rest, p, n);
        return;
    }
    used = parse_bytes(c, p, n);
    if (used < n && !c->deaf)
        buf_mem(&c->rest, p + used, n - used);
    conn_update(c);
}

void conn_eof(struct conn *c)
{
    c->eof = c->deaf = true;
    c->hl->now_ns = clock_ns();
    if (c->reading)
        exchange_done(c->reading, REQ_CLIENT_LEFT);
    if (c->lingering || is_idle(c)) {
        conn_close(c);
        return;
    }
    grace_begin(c);
    conn_update(c);
}

/* Level-triggered, so it is asked for no more. */
static void conn_hup(struct conn *c)
{
    c->hup = true;
    grace_begin(c);
    conn_update(c);
}

static void conn_read(struct conn *c)
{
    ssize_t n = recv(c->fd, c->hl->room, READ_ROOM, 0);

    if (n > 0)
        conn_feed(c, c->hl->room, (size_t)n);
    else if (n == 0)
        conn_eof(c);
    else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
        conn_lost(c, REQ_CLIENT_LEFT);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
    struct conn *c = CHECKED(h->data, struct conn, CONN_MAGIC);

    if (status < 0) {
        conn_lost(c, REQ_CLIENT_LEFT);
        return;
    }
    if (events & UV_WRITABLE) {
        c->blocked = false;
        deadline_clear(&c->write_limit);
        conn_flush(c);
    }
    if (!c->closed && (events & UV_READABLE))
        conn_read(c);
    else if (!c->closed && (events & UV_DISCONNECT) && !c->hup)
        conn_hup(c);
}

/* ---- the beginning ---- */

static struct conn *conn_new(struct http_loop *hl, int fd)
{
    struct conn *c = MEM_NEW(struct conn);

    c->magic = CONN_MAGIC;
    c->fd = fd;
    c->hl = hl;
    list_init(&c->queue);
    list_init(&c->leaving);
    deadline_init(&c->limit, on_limit);
    deadline_init(&c->write_limit, on_write_limit);
    deferred_init(&c->flush, conn_flush, c);
    llhttp_init(&c->parser, HTTP_REQUEST, &parse_settings);
    c->parser.data = c;
    list_push(&hl->conns, &c->node);
    hl->open++;
    atomic_fetch_add_explicit(&hl->http->open, 1, memory_order_relaxed);
    c->idle_ms = loop_now_ms(hl->loop);
    return c;
}

static void refuse_full(int fd)
{
    static const char full[] = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n"
                               "retry-after: 1\r\nconnection: close\r\n\r\n";

    send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

/* No delay for small answers; no more unsent bytes in the kernel than may be buffered. */
static void socket_options(const struct http_limits *l, int fd)
{
    int one = 1, most = l->buffered && l->buffered < INT32_MAX ? (int)l->buffered : 0;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (most)
        setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &most, sizeof(most));
}

void conn_accept(struct http_loop *hl, int fd, const struct peer *peer)
{
    const struct http_limits *l = &hl->http->limits;
    struct conn *c;

    if (hl->draining || (l->connections && hl->open >= l->connections)) {
        refuse_full(fd);
        return;
    }
    c = conn_new(hl, fd);
    c->peer = *peer;
    if (uv_poll_init(&hl->loop->uv, &c->poll, fd) != 0) {
        c->fd = -1;
        conn_close(c);
        close(fd);
        free(c);
        return;
    }
    c->poll.data = c;
    hl->handles++;
    if (c->peer.known)
        socket_options(l, fd);
    conn_update(c);
}

struct conn *conn_open_captured(struct http_loop *hl, struct buf *capture)
{
    struct conn *c = conn_new(hl, -1);

    c->capture = capture;
    return c;
}

void conn_close_captured(struct conn *c)
{
    conn_lost(c, REQ_CLIENT_LEFT);
    free(c);
}

/* ---- the loop's share ---- */

int http_loop_init(ath_loop *l, struct http *h, ath_err *e)
{
    struct http_loop *hl = MEM_NEW(struct http_loop);

    (void)e;
    hl->loop = l;
    hl->http = h;
    hl->always = (h->timing == TIMING_ALWAYS ? SET_TIMED : 0u) | (h->head ? SET_HEAD : 0u);
    list_init(&hl->conns);
    list_init(&hl->spare);
    hl->room = mem_new(READ_ROOM);
    buf_grow(&hl->out, OUT_ROOM);
    l->slot[LOOP_SLOT_HTTP] = hl;
    return 0;
}

static void loop_share_free(struct http_loop *hl)
{
    struct list *node;

    if (hl->handles || !hl->closing)
        return;
    while ((node = list_pop(&hl->spare)))
        exchange_release(list_entry(node, struct exchange, spare));
    buf_free(&hl->out);
    buf_free(&hl->common);
    pack_loop_free(hl);
    free(hl->room);
    free(hl);
}

void http_loop_cut(ath_loop *l)
{
    struct http_loop *hl = l->slot[LOOP_SLOT_HTTP];

    hl->draining = true;
    while (!list_empty(&hl->conns))
        conn_lost(list_entry(list_first(&hl->conns), struct conn, node), REQ_CUT);
}

/* Routes without a deadline would never end by themselves. */
static void cancel_long(struct list *queue)
{
    list_each (node, next, queue) {
        struct req *r = list_entry(node, struct req, node);
        if (r->match.route && r->match.route->def.flags & ATH_RT_LONG)
            task_cancel(&r->task);
    }
}

void http_loop_drain(ath_loop *l)
{
    struct http_loop *hl = l->slot[LOOP_SLOT_HTTP];

    hl->draining = true;
    list_each (node, next, &hl->conns) {
        struct conn *c = list_entry(node, struct conn, node);
        cancel_long(&c->queue);
        if (is_idle(c))
            conn_close(c);
    }
}

void http_loop_fini(ath_loop *l)
{
    struct http_loop *hl = l->slot[LOOP_SLOT_HTTP];

    http_loop_cut(l);
    l->slot[LOOP_SLOT_HTTP] = NULL;
    hl->closing = true;
    loop_share_free(hl);
}
