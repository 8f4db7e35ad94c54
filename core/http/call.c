/* Requests of our own to our own routes.
 *
 * call_start() makes a request out of an ath_fetch and runs its phases. What a connection does for
 * a request is done here: the body is handed in when a phase asks for it (body_pump), the answer is
 * taken when it is there (call_answered). An answer that is whole goes to the caller where it lies,
 * once everything below the called request has ended (call_report); its memory then is the
 * caller's. An answer that is a stream is copied piece by piece into a stream of the caller, at the
 * pace of whoever reads that. Nothing of this needs a connection, so a task of a work loop calls as
 * a request does.
 */
#include "http/call.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "http/client.h"
#include "http/http_priv.h"

enum { PIECE = 16 * 1024 };

struct call {
    struct exchange x; /* first */
    struct op *op;     /* the caller's; NULL: it has been told */
    uint32_t flags, depth;
    uint64_t max_body;
    struct call_as as;
    ath_stream *from; /* the body comes from there; NULL: `left` is what is left of it */
    ath_str left;
    struct deferred pump;
    struct buf whole; /* of a streamed answer that is wanted whole */
    ath_stream *to;   /* the caller's end of a streamed answer */
    bool too_large, over;
};

static const struct http *routes;

void call_routes(const struct http *h)
{
    routes = h;
}

static struct call *call_of(struct req *r)
{
    return r->call;
}

const struct call_as *call_as(const struct req *r)
{
    return &r->call->as;
}

/* ---- the end ---- */

/* The caller's own times show what was done on its behalf. */
static void pass_times(const struct req *r)
{
    ath_task *top = r->task.parent ? task_root(r->task.parent) : NULL;

    if (!top || !r->task.db_sent_ns)
        return;
    if (!top->db_sent_ns)
        top->db_sent_ns = r->task.db_sent_ns;
    top->db_done_ns = r->task.db_done_ns;
}

/* Nothing more will come of it: the account, and its own reference. */
static void call_over(struct call *c, enum req_ending ending)
{
    struct req *r = &c->x.req;

    if (c->over)
        return;
    c->over = true;
    deferred_cancel(&c->pump);
    if (c->from) {
        stream_consume(c->from, NULL, NULL);
        stream_drop(c->from);
    }
    if (r->sending)
        stream_consume(r->sending, NULL, NULL);
    if (r->ending == 0)
        r->ending = ending;
    r->mark[MARK_END] = clock_ns();
    pass_times(r);
    if (r->http->account)
        r->http->account(r);
    task_leave(&r->task);
    task_unref(&r->task);
}

/* By the caller's task. Canceling reaches children by itself, so only leaving is left to do. */
static void call_stop(struct op *o)
{
    struct call *c = o->impl;

    if (c->x.req.task.gone)
        call_over(c, REQ_CLIENT_LEFT);
}

void call_free(struct req *r)
{
    free(call_of(r));
}

/* ---- the answer ---- */

/* The header lines that were set, and the type, as pairs. */
static void take_header(struct req *r, ath_done *d)
{
    ath_str rest = buf_view(&r->extra), line;
    ath_pair *pair;
    uint32_t most = 1, n = 0;

    for (size_t i = 0; i < rest.n; i++)
        most += rest.p[i] == '\n';
    pair = arena_raw(&r->task.arena, most * sizeof(*pair));
    if (r->type.n)
        pair[n++] = (ath_pair){ ATH_S("content-type"), r->type };
    while (str_next(&rest, '\n', &line)) {
        size_t colon = str_find(line, ':');
        if (colon == line.n)
            continue;
        pair[n].name = arena_str(&r->task.arena, str_from(line.p, colon));
        pair[n++].value = arena_str(&r->task.arena, str_trim(str_after(line, colon + 1)));
    }
    d->header = pair;
    d->header_count = n;
}

/* What the caller was given goes on with the caller. */
static void report_release(struct op *o)
{
    struct call *c = o->impl;

    arena_join(&o->task->arena, &c->x.req.task.arena);
    task_unref(&c->x.req.task);
}

static int report_rc(const struct call *c, ath_err *e)
{
    const struct req *r = &c->x.req;

    if (c->too_large)
        return err_fail(e, ATH_E_TOO_LARGE, "the answer of %.*s is over the limit of %llu bytes",
                        STR_ARG(r->target), (unsigned long long)c->max_body);
    if (r->task.canceled && r->err.rc == ATH_E_CANCELED)
        return ATH_E_CANCELED;
    return r->answered ? 0 : ATH_E_CANCELED;
}

/* All that ran below the called request has ended. */
void call_report(ath_task *t)
{
    struct req *r = req_of(t);
    struct call *c = call_of(r);
    struct op *o = t->report;

    t->report = NULL;
    task_ref(t); /* the report's, until it was delivered */
    o->done.status = r->status;
    if (!r->head)
        o->done.bytes = c->whole.n ? buf_view(&c->whole) : r->reply;
    o->done.count = o->done.bytes.n;
    take_header(r, &o->done);
    o->stop = NULL;
    o->release = report_release;
    op_finish(o, report_rc(c, op_err(o)));
}

static void stream_release(struct op *o)
{
    struct call *c = o->impl;

    task_unref(&c->x.req.task);
}

static void pump_answer(struct call *c);

static void to_room(ath_stream *s, void *impl)
{
    (void)s;
    pump_answer(impl);
}

/* The caller does not read on, or has ended. */
static void to_drop(ath_stream *s, void *impl)
{
    struct call *c = impl;

    (void)s;
    c->to = NULL;
    call_over(c, REQ_CLIENT_LEFT);
}

/* The head of a streamed answer: the caller is told now. */
static void open_answer(struct call *c)
{
    static const struct stream_producer producer = { .room = to_room, .drop = to_drop };
    struct req *r = &c->x.req;
    struct op *o = c->op;

    c->op = NULL;
    r->task.report = NULL;
    task_ref(&r->task); /* until it was delivered */
    c->to = stream_open(o->task, 0);
    stream_produce(c->to, &producer, c);
    o->done.status = r->status;
    o->done.stream = c->to;
    take_header(r, &o->done);
    o->stop = NULL;
    o->release = stream_release;
    op_finish(o, 0);
}

/* The streamed answer has ended with `rc`. */
static void close_answer(struct call *c, int rc)
{
    struct req *r = &c->x.req;

    if (rc < 0)
        r->ending = REQ_CUT;
    if (c->to) {
        stream_produce(c->to, NULL, NULL);
        stream_end(c->to, rc);
        c->to = NULL;
    } else if (rc < 0 && !c->too_large && r->err.rc == 0) {
        err_fail(&r->err, rc, "the answer ended early");
    }
    call_over(c, REQ_ANSWERED);
}

/* One piece of a streamed answer goes on; false: there is no room. */
static bool take_piece(struct call *c, ath_str b)
{
    if (c->to) {
        if (stream_full(c->to))
            return false;
        stream_push(c->to, b);
    } else if (c->whole.n + b.n > c->max_body) {
        c->too_large = true;
    } else {
        buf_str(&c->whole, b);
    }
    return true;
}

static void pump_answer(struct call *c)
{
    struct req *r = &c->x.req;
    uint64_t before = r->sent_bytes, ms = r->http->limits.request_ms;
    ath_str b = { "", 0 };
    int rc;

    while (!c->over && !c->x.broken && !c->too_large && (b = stream_peek(r->sending)).n) {
        b.n = b.n < PIECE ? b.n : PIECE;
        if (!take_piece(c, b))
            break;
        r->sent_bytes += b.n;
        stream_take(r->sending, b.n);
    }
    if (c->over)
        return;
    if (r->sent_bytes != before && ms && r->task.deadline.at_ms)
        task_deadline(&r->task, loop_now_ms(r->task.loop) + ms);
    if (c->x.broken || c->too_large)
        close_answer(c, c->too_large ? ATH_E_TOO_LARGE : r->err.rc);
    else if (b.n == 0 && stream_ended(r->sending, &rc))
        close_answer(c, rc);
}

void call_answered(struct req *r)
{
    struct call *c = call_of(r);

    if (c->over)
        return;
    if (!r->sending) {
        r->sent_bytes = r->head ? 0 : r->reply.n;
        call_over(c, REQ_ANSWERED);
        return;
    }
    if (c->op && c->flags & ATH_HTTP_STREAM && !c->to)
        open_answer(c);
    pump_answer(c);
}

/* ---- the body ---- */

static void answer_done(struct call *c)
{
    c->x.req.mark[MARK_BODY] = clock_ns();
    c->x.req.body_complete = true;
    body_end(&c->x);
}

static bool wants_body(const struct call *c)
{
    const struct exchange *x = &c->x;

    return x->mode == BODY_KEEP || (x->mode == BODY_STREAM && !stream_full(x->req.from));
}

static void pump_text(struct call *c)
{
    while (wants_body(c) && c->left.n) {
        ath_str b = str_from(c->left.p, c->left.n < PIECE ? c->left.n : PIECE);
        c->left = str_after(c->left, b.n);
        body_bytes(&c->x, b);
    }
    if (wants_body(c) && c->left.n == 0)
        answer_done(c);
}

static void pump_from(struct call *c)
{
    ath_str b = { "", 0 };
    int rc;

    while (wants_body(c) && (b = stream_peek(c->from)).n) {
        b.n = b.n < PIECE ? b.n : PIECE;
        body_bytes(&c->x, b);
        stream_take(c->from, b.n);
    }
    if (!wants_body(c) || b.n || !stream_ended(c->from, &rc))
        return;
    if (rc < 0) {
        struct ath_err e;
        err_fail(&e, rc, "the body ended early");
        body_broken(&c->x, rc, &e);
    } else {
        answer_done(c);
    }
}

static void body_pump(void *arg)
{
    struct call *c = arg;

    if (c->over)
        return;
    task_ref(&c->x.req.task);
    if (c->from)
        pump_from(c);
    else
        pump_text(c);
    task_unref(&c->x.req.task);
}

bool call_take_body(struct req *r)
{
    struct call *c = call_of(r);

    if (c->from)
        return false;
    r->body = c->left;
    r->body_bytes = r->body.n;
    r->body_complete = true;
    c->x.mode = BODY_DROP;
    return true;
}

static void on_from(ath_stream *s, void *impl)
{
    (void)s;
    body_pump(impl);
}

void call_wants_body(struct req *r)
{
    loop_defer(r->task.loop, &call_of(r)->pump);
}

/* ---- the beginning ---- */

/* What says who asks, from where, and about what; a header that is given goes before it. */
static const char *const inherited[] = {
    "x-athena-key",
    "x-api-key",
    "apikey",
    "authorization",
    "cookie",
    "x-forwarded-for",
    "x-real-ip",
    "x-forwarded-host",
    "x-forwarded-proto",
    "forwarded",
    "host",
    "user-agent",
    "x-request-id",
};

/* What says how a connection carries the bytes; there is none. */
static const char *const transport[] = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "content-length",
    "accept-encoding",
    "content-encoding",
    "proxy-connection",
};

static bool listed(ath_str name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_is(name, list[i]))
            return true;
    return false;
}

static bool has_header(const struct req *r, ath_str name)
{
    for (uint32_t i = 0; i < r->header_count; i++)
        if (str_eq(r->header[i].name, name))
            return true;
    return false;
}

static void add_header(struct req *r, ath_str name, ath_str value)
{
    ath_pair *at = &r->header[r->header_count++];

    at->name = arena_str(&r->task.arena, name);
    name_lower((char *)(uintptr_t)at->name.p, at->name.n);
    at->value = arena_str(&r->task.arena, value);
    r->header_bits |= name_bit(name);
    if (listed(at->name, transport, ATH_COUNT(transport)))
        r->header_count--;
}

static void take_given(struct req *r, const ath_fetch *f, const struct req *from)
{
    uint32_t room = f->header_count + (uint32_t)ATH_COUNT(inherited) + 1;
    ath_str value;

    r->header = arena_raw(&r->task.arena, room * sizeof(*r->header));
    for (uint32_t i = 0; i < f->header_count; i++)
        add_header(r, f->header[i].name, f->header[i].value);
    for (size_t i = 0; from && i < ATH_COUNT(inherited); i++)
        if (!has_header(r, str_of(inherited[i])) &&
            (value = req_find(from, str_of(inherited[i]))).n)
            add_header(r, str_of(inherited[i]), value);
    r->client_name = str_trim(req_find(r, ATH_S("x-athena-client")));
    if (from && from->client_name.n && !has_header(r, ATH_S("x-athena-client"))) {
        add_header(r, ATH_S("x-athena-client"), from->client_name);
        r->client_name = r->header[r->header_count - 1].value;
    }
}

/* One request to operators: the same id, and one trace. */
static void take_ids(struct exchange *x, const struct req *from)
{
    struct req *r = &x->req;

    if (!from) {
        request_ids(x);
        r->peer = ATH_S("");
        return;
    }
    memcpy(r->id, from->id, sizeof(r->id));
    *str_put_hex(r->span_id, rand_u64()) = 0;
    r->trace_id = arena_str(&r->task.arena, from->trace_id);
    r->parent_id = arena_str(&r->task.arena, str_of(from->span_id));
    x->trace_flags = exchange_of((struct req *)(uintptr_t)from)->trace_flags;
    r->given_id = arena_str(&r->task.arena, from->given_id);
    request_from(x, &exchange_of((struct req *)(uintptr_t)from)->peer);
}

static void take_target(struct req *r, const ath_fetch *f)
{
    size_t at = str_find(f->url, '?');

    r->method = arena_str(&r->task.arena, str_of(f->method ? f->method : "GET"));
    r->target = arena_str(&r->task.arena, f->url);
    r->path = arena_str(&r->task.arena, str_from(f->url.p, at));
    r->query = str_after(r->target, at < r->target.n ? at + 1 : at);
    r->head = str_is(r->method, "HEAD");
    r->minor = 1;
}

static void take_body(struct call *c, const ath_fetch *f)
{
    struct exchange *x = &c->x;

    x->has_body = f->from || f->body.n;
    x->mode = x->has_body ? BODY_HOLD : BODY_DROP;
    x->length = f->from ? f->from_length : f->body.n;
    x->body = ARENA_BUF(&x->req.task.arena);
    x->req.body_complete = !x->has_body;
    c->from = f->from;
    c->left = f->body;
    if (c->from)
        stream_consume(c->from, on_from, c);
}

static int check(ath_task *t, const ath_fetch *f, const struct req *from, ath_err *e)
{
    int rc = task_may_start(t, e);

    if (rc < 0)
        return rc;
    if (!routes)
        return err_raise(e, "feature_unavailable", "this process serves no routes to call");
    if (f->flags & ATH_HTTP_SELF && (from || f->as.n))
        return err_fail(e, ATH_E_BUG, "\"%.*s\" is called by the process itself %s",
                        STR_ARG(f->url), from ? "below a request" : "and with a key");
    if (from && from->call && from->call->depth >= CALL_DEPTH)
        return err_raise(e, "call_too_deep", "calls of routes by routes are %d deep at \"%.*s\"",
                         CALL_DEPTH, STR_ARG(f->url));
    if (f->url.n == 0 || f->url.p[0] != '/' || !target_is_good(f->url, "#"))
        return err_fail(e, ATH_E_BUG, "\"%.*s\" is no path to call", STR_ARG(f->url));
    return 0;
}

/* What is called below a request asks as that one does, unless it is said otherwise. */
static void take_identity(struct call *c, const ath_fetch *f, const struct req *from)
{
    bool said = f->as.n || f->flags & ATH_HTTP_SELF || !from || !from->call;

    c->as.key = arena_str(&c->x.req.task.arena, said ? f->as : from->call->as.key);
    c->as.self = said ? (f->flags & ATH_HTTP_SELF) != 0 : from->call->as.self;
}

static struct call *call_new(ath_task *t, const ath_fetch *f, const struct req *from)
{
    struct call *c = MEM_NEW(struct call);
    struct req *r = &c->x.req;

    task_init(&r->task, &request_type, NULL, NULL, t);
    r->task.client = NULL; /* its own header says whose database it is about */
    err_reset(&r->err);
    list_init(&r->node);
    deferred_init(&c->pump, body_pump, c);
    r->call = c;
    r->http = routes;
    r->mark[MARK_FIRST_BYTE] = r->mark[MARK_HEAD] = clock_ns();
    c->x.began_ms = loop_now_ms(t->loop);
    c->x.head_done = c->x.started = true;
    c->depth = from && from->call ? from->call->depth + 1 : 1;
    c->flags = f->flags;
    c->max_body = f->max_body ? f->max_body : CALL_BODY;
    take_identity(c, f, from);
    c->whole = ARENA_BUF(&r->task.arena);
    return c;
}

int call_start(ath_task *t, const ath_fetch *f, ath_then *then, void *arg, ath_err *e)
{
    const struct req *from = req_is(t) ? req_of(t) : NULL;
    struct call *c;
    struct req *r;
    int rc;

    if (!routes && client_has_remote())
        return client_call(t, f, then, arg, e);
    if ((rc = check(t, f, from, e)) < 0)
        return rc;
    c = call_new(t, f, from);
    r = &c->x.req;
    take_target(r, f);
    take_ids(&c->x, from);
    take_given(r, f, from);
    take_body(c, f);
    req_note(&r->task, &(ath_fact){ ATH_S("internal"), ATH_S("true"), ATH_V_BOOL, 0 });
    c->op = op_new(t, then, arg);
    c->op->impl = c;
    c->op->stop = call_stop;
    r->task.report = c->op;
    if (f->timeout_ms)
        task_deadline(&r->task, c->x.began_ms + f->timeout_ms);
    task_ref(&r->task);
    request_run(r);
    task_unref(&r->task);
    return 0;
}
