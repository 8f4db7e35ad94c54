/* A request's way through the phase table, its body, and its end.
 *
 * exchange_enter() gives a request its names (id, trace) and puts it in line; when its turn comes
 * the phases run one after the other. A phase that waits is gone on with by req_resume(). The last
 * one runs the handler as the code of the task; from there on the task says how it ends, and
 * request_ended() is the one place where an error becomes an answer.
 *
 * A body is not read before the phases have come to it (an unknown key learns nothing and costs
 * nothing): until then its bytes stay in the socket.
 */
#include <string.h>

#include "base/clock.h"
#include "http/coding.h"
#include "http/http_priv.h"
#include "lib/json.h"

/* ---- entering ---- */

/* A UUID without its dashes. */
static void put_plain(char ret[33], const char id[UUID_TEXT])
{
    memcpy(ret, id, 8);
    memcpy(ret + 8, id + 9, 4);
    memcpy(ret + 12, id + 14, 4);
    memcpy(ret + 16, id + 19, 4);
    memcpy(ret + 20, id + 24, 12);
    ret[32] = 0;
}

/* The trace: the caller's, or one of the request's own whose id is the request id. */
static inline void ids_make(struct exchange *x)
{
    struct req *r = &x->req;

    rand_uuid(r->id);
    *str_put_hex(r->span_id, rand_u64()) = 0;
    if (r->trace_id.n == 0) {
        put_plain(x->trace_id, r->id);
        r->trace_id = str_from(x->trace_id, 32);
        x->trace_flags = 1;
    }
}

void request_from(struct exchange *x, const struct peer *peer)
{
    x->peer = *peer;
    x->req.peer = str_from(x->peer.text, x->peer.n);
    x->req.peer_address = x->peer.known ? x->peer.address : NULL;
}

void request_ids(struct exchange *x)
{
    ids_make(x);
}

void exchange_enter(struct exchange *x)
{
    struct conn *c = x->req.conn;

    x->head_done = true;
    x->req.mark[MARK_HEAD] = c->hl->now_ns;
    x->req.http = c->hl->http;
    request_from(x, &c->peer);
    ids_make(x);
    list_push(&c->queue, &x->req.node);
    c->queued++;
    atomic_fetch_add_explicit(&c->hl->http->in_flight, 1, memory_order_relaxed);
    conn_start_some(c);
}

void request_run(struct req *r)
{
    const struct http *h = r->http;

    r->waits = false;
    while (!r->task.ended && !r->task.gone && r->phase < h->phase_count) {
        int rc = h->phase[r->phase++].run(r, &r->err);
        if (rc == PHASE_NEXT)
            continue;
        r->waits = rc == PHASE_WAIT;
        if (rc < 0)
            task_end(&r->task, rc, &r->err, NULL);
        return;
    }
}

/* Answers leave in order; what only reads may run at the same time as what is before it (RFC 9112,
 * 9.3.2), the rest waits until everything before it is answered. */
void conn_start_some(struct conn *c)
{
    bool first = true, safe = true;

    list_each (node, next, &c->queue) {
        struct exchange *x = exchange_at(node);
        safe = safe && x->safe;
        if (!x->started && !first && !safe)
            return;
        first = false;
        if (!x->started) {
            x->started = true;
            request_run(&x->req);
        }
    }
}

void req_resume(struct req *r, int rc, const ath_err *e)
{
    if (!r->waits || r->task.ended || r->task.gone)
        return;
    if (rc < 0) {
        task_end(&r->task, rc, e, NULL);
        return;
    }
    if (r->task.busy) /* it is gone on with by an operation, and may come to wait for its body */
        r->task.held = 1;
    request_run(r);
}

/* ---- the phases that are http's own ---- */

static int no_route(struct req *r, ath_err *e)
{
    if (!r->match.allow[0] || !r->http->strict_methods)
        return err_raise(e, "not_found", "The requested resource was not found");
    req_set(&r->task, "allow", str_of(r->match.allow));
    return err_raise(e, "method_not_allowed", "the path does not take %.*s", STR_ARG(r->method));
}

/* A caller who waits for less than the server would work says so: the statement's time is then cut
 * to what is left. It never gets more time than the server gives. */
static int set_deadline(struct req *r, uint64_t began_ms, ath_err *e)
{
    uint64_t ms = r->http->limits.request_ms, asked;
    ath_str said = str_trim(req_find(r, ATH_S("x-athena-timeout")));

    if (said.n) {
        if (!str_msec(said, &asked) || asked == 0)
            return err_raise(e, "VALIDATION_FAILED",
                             "header X-Athena-Timeout is \"%.*s\", expected a duration such as "
                             "250ms or 2s",
                             STR_ARG(said));
        if (ms == 0 || asked < ms)
            ms = asked;
    }
    if (ms && (!r->task.deadline.at_ms || began_ms + ms < r->task.deadline.at_ms))
        task_deadline(&r->task, began_ms + ms);
    return PHASE_NEXT;
}

/* A preflight goes on whatever its path is. */
int phase_route(struct req *r, ath_err *e)
{
    struct exchange *x = exchange_of(r);
    const struct route *route;

    if (unlikely(r->led || r->call)) /* the server chose it */
        router_find_led(r->http->router, r->method, r->path, &r->task.arena, &r->match);
    else
        router_find(r->http->router, r->method, r->path, &r->task.arena, &r->match);
    route = r->match.route;
    if (is_preflight(x))
        return PHASE_NEXT;
    if (!route)
        return r->http->routed_later ? PHASE_NEXT : no_route(r, e);
    r->task.label = route->label;
    return route->def.flags & ATH_RT_LONG ? PHASE_NEXT : set_deadline(r, x->began_ms, e);
}

int phase_routed(struct req *r, ath_err *e)
{
    return likely(r->match.route != NULL) ? PHASE_NEXT : no_route(r, e);
}

#define EVERY_METHOD "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE, CONNECT"

static bool is_method(ath_str word)
{
    ath_str rest = ATH_S(EVERY_METHOD), one;

    while (str_next(&rest, ',', &one))
        if (str_eq(str_trim(one), word))
            return true;
    return false;
}

static void preflight_allow(struct exchange *x)
{
    struct req *r = &x->req;
    char room[STR_U64_ROOM];

    req_set(&r->task, "access-control-allow-methods", ATH_S(EVERY_METHOD));
    if (x->asked_headers.n)
        req_set(&r->task, "access-control-allow-headers", x->asked_headers);
    if (r->http->cors.max_age_s)
        req_set(&r->task, "access-control-max-age", str_from_u64(r->http->cors.max_age_s, room));
}

int phase_cors(struct req *r, ath_err *e)
{
    struct exchange *x = exchange_of(r);

    (void)e;
    if (!is_preflight(x))
        return PHASE_NEXT;
    if (!is_method(x->asked_method)) {
        req_reply(&r->task, 400, "text/plain; charset=utf-8",
                  ATH_S("Requested method is not allowed"));
        return PHASE_DONE;
    }
    if (reply_origin(x))
        preflight_allow(x);
    req_reply(&r->task, 200, NULL, ATH_S(""));
    return PHASE_DONE;
}

static int handler_run(ath_task *t, void *handle, ath_err *e)
{
    (void)handle;
    return req_of(t)->match.route->def.handle(t, e);
}

int phase_handler(struct req *r, ath_err *e)
{
    (void)e;
    r->mark[MARK_HANDLER] = r->conn ? r->conn->hl->now_ns : clock_ns();
    r->task.self = r->match.route->self;
    r->task.held = 0; /* see req_resume() */
    task_run(&r->task, handler_run, NULL);
    return PHASE_DONE;
}

/* ---- bodies ---- */

static int too_large(ath_err *e, uint64_t most)
{
    return err_raise(e, "payload_too_large", "the request body is over the limit of %llu bytes",
                     (unsigned long long)most);
}

static void kick(struct req *r)
{
    if (r->conn)
        loop_defer(r->task.loop, &r->conn->flush);
    else if (r->call)
        call_wants_body(r);
}

static void from_room(ath_stream *s, void *impl)
{
    struct exchange *x = exchange_of(impl);

    (void)s;
    if (x->unpack)
        unpack_room(x);
    kick(impl);
}

static void from_drop(ath_stream *s, void *impl)
{
    (void)s;
    exchange_of(impl)->mode = BODY_DROP;
    kick(impl);
}

static void body_stream(struct exchange *x)
{
    static const struct stream_producer producer = { .room = from_room, .drop = from_drop };
    struct req *r = &x->req;

    r->from = stream_open(&r->task, 0);
    if (x->has_body) {
        x->mode = BODY_STREAM;
        stream_produce(r->from, &producer, r);
    } else {
        stream_end(r->from, 0);
    }
}

/* One piece when the length is known; the kernel gives its pages when they are written to. */
static void body_keep(struct exchange *x)
{
    x->mode = BODY_KEEP;
    if (x->length && !x->unpack)
        buf_grow(&x->body, x->length);
}

/* Packing may add a little to what cannot be made shorter. */
static uint64_t packed_most(uint64_t most)
{
    return most ? most + most / 64 + 1024 : 0;
}

int phase_body(struct req *r, ath_err *e)
{
    struct exchange *x = exchange_of(r);
    uint64_t route_most = r->match.route->def.max_body;
    uint64_t most = route_most ? route_most : r->http->limits.body_bytes;
    ath_str encoding;

    if (!x->has_body && !(r->match.route->def.flags & ATH_RT_BODY))
        return PHASE_NEXT;
    encoding = req_header(&r->task, "content-encoding");
    x->body_most = most;
    if (encoding.n && !str_ieq(encoding, ATH_S("identity"))) {
        if (unpack_begin(x, encoding, most, e) < 0)
            return e->rc;
        x->body_most = packed_most(most);
    }
    if (most && x->length > x->body_most && (!r->call || route_most))
        return too_large(e, most); /* what peers may send is no limit of ours; what a route says is */
    if (r->match.route->def.flags & ATH_RT_BODY)
        body_stream(x);
    else if (r->call && call_take_body(r))
        return PHASE_NEXT;
    else
        body_keep(x);
    if (x->wants_continue || !r->conn || !r->conn->piece)
        kick(r); /* it is read on, and a client that waits to be asked is asked */
    return x->mode == BODY_KEEP ? PHASE_WAIT : PHASE_NEXT;
}

void body_over(struct exchange *x, uint64_t most)
{
    struct ath_err e;

    too_large(&e, most);
    body_broken(x, e.rc, &e);
}

bool body_waits(const struct exchange *x)
{
    return stream_full(x->req.from) || (x->unpack && unpack_waits(x));
}

void body_add(struct exchange *x, ath_str bytes)
{
    if (x->mode == BODY_KEEP)
        buf_mem(&x->body, bytes.p, bytes.n);
    else if (x->mode == BODY_STREAM)
        stream_push(x->req.from, bytes);
}

void body_bytes(struct exchange *x, ath_str bytes)
{
    struct req *r = &x->req;

    r->body_bytes += bytes.n;
    if (x->mode == BODY_DROP)
        return;
    if (x->body_most && r->body_bytes > x->body_most)
        body_over(x, x->body_most);
    else if (unlikely(x->unpack))
        unpack_bytes(x, bytes);
    else
        body_add(x, bytes);
}

void body_done(struct exchange *x)
{
    enum body_mode mode = x->mode;

    x->mode = BODY_DROP;
    if (mode == BODY_STREAM) {
        stream_produce(x->req.from, NULL, NULL);
        stream_end(x->req.from, 0);
    } else if (mode == BODY_KEEP) {
        x->req.body = buf_view(&x->body);
        req_resume(&x->req, 0, NULL);
    }
}

void body_end(struct exchange *x)
{
    if (unlikely(x->unpack))
        unpack_end(x);
    else
        body_done(x);
}

void body_broken(struct exchange *x, int rc, const ath_err *e)
{
    enum body_mode mode = x->mode;

    x->mode = BODY_DROP;
    if (mode == BODY_STREAM) {
        stream_produce(x->req.from, NULL, NULL);
        stream_end(x->req.from, rc);
    } else if (mode == BODY_KEEP) {
        req_resume(&x->req, rc, e);
    }
}

/* ---- the end ---- */

/* A deadline that passed says nothing but that: what was waited for gives it its name. */
static void timeout_words(struct req *r)
{
    if (!r->body_complete)
        err_raise(&r->err, "request_timeout", "the request body did not arrive in time");
    else if (r->task.db_sent_ns == 0)
        err_detail_str(&r->err, "title", str_of("Gateway Timeout"));
}

static void request_failed(struct req *r, int rc, const ath_err *e)
{
    if (!e)
        err_fail(&r->err, rc, "the request failed");
    else if (e != &r->err)
        err_copy(&r->err, e);
    if (r->err.rc == 0)
        r->err.rc = rc;
    r->ending = rc == ATH_E_TIMEOUT ? REQ_TIMED_OUT : REQ_FAILED;
    if (r->sending) {
        exchange_of(r)->broken = true;
        r->ending = REQ_CUT;
        return;
    }
    if (r->answered) /* reply() was called, then the handler failed: the answer stands */
        return;
    if (rc == ATH_E_TIMEOUT && !r->err.error)
        timeout_words(r);
    reply_error(r, &r->err);
}

/* Nobody reads the rest of it. */
static void body_let_go(struct exchange *x)
{
    if (x->mode == BODY_STREAM)
        stream_produce(x->req.from, NULL, NULL);
    x->mode = BODY_DROP;
}

static void request_ended(ath_task *t, int rc, const ath_err *e, const ath_done *result)
{
    struct req *r = req_of(t);

    (void)result;
    if (rc < 0)
        request_failed(r, rc, e);
    else if (!r->answered) {
        err_raise(&r->err, "plugin_unanswered", "the handler ended without an answer");
        r->ending = REQ_FAILED;
        reply_error(r, &r->err);
    }
    r->mark[MARK_REPLY] = clock_ns();
    body_let_go(exchange_of(r));
    if (r->conn)
        conn_answered(r->conn);
    else if (r->call)
        call_answered(r);
}

static void request_destroy(ath_task *t)
{
    struct req *r = req_of(t);

    if (r->call)
        call_free(r);
    else
        exchange_free(exchange_of(r));
}

const struct task_type request_type = {
    .name = "request",
    .end = request_ended,
    .destroy = request_destroy,
    .report = call_report,
    .top = true,
};
