/* A real server in this process, and a client that says exactly what it is told to.
 *
 * One control loop with the acceptor and one HTTP loop, each on its thread, on a port of loopback.
 * The handlers below are what a plugin would bring.
 */
#ifndef TESTS_UNIT_HTTP_LAB_H
#define TESTS_UNIT_HTTP_LAB_H

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "http/http.h"
#include "lib/buf.h"
#include "lib/json.h"
#include "support/check_main.h"

enum { ACCOUNTS = 512, PIECE = 10000 };

struct account {
    enum req_ending ending;
    int status;
    char target[64];
    uint64_t sent_bytes, body_bytes;
};

static struct lab {
    struct http http;
    ath_loop *control, *loop;
    struct acceptor *acceptor;
    struct account account[ACCOUNTS];
    atomic_uint accounts, stopped; /* stopped: operations of /never that were ended early */
    atomic_uint left;              /* streams whose reader went */
} lab;

/* ---- handlers ---- */

static int on_ping(ath_req *r, ath_err *e)
{
    (void)e;
    return req_reply(r, 200, "text/plain; charset=utf-8", ATH_S("pong"));
}

static int on_echo(ath_req *r, ath_err *e)
{
    (void)e;
    req_set(r, "x-length", req_header(r, "content-length"));
    return req_reply(r, 200, "application/octet-stream", req_body(r));
}

static int slow_done(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    if (d->rc < 0)
        return d->rc;
    return req_reply(t, 200, "text/plain", req_param(t, "ms"));
}

static int on_slow(ath_req *r, ath_err *e)
{
    uint64_t ms = 50;

    str_u64(req_param(r, "ms"), &ms);
    return task_after(r, ms, slow_done, NULL, e);
}

static void never_stop(struct op *o)
{
    atomic_fetch_add(&lab.stopped, 1);
    op_finish(o, ATH_E_CANCELED);
}

static int never_done(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t, (void)e;
    return d->rc;
}

static int on_never(ath_req *r, ath_err *e)
{
    struct op *o = op_new(r, never_done, NULL);

    (void)e;
    o->stop = never_stop;
    return 0;
}

static int on_unanswered(ath_req *r, ath_err *e)
{
    (void)r, (void)e;
    return 0;
}

static int on_fail(ath_req *r, ath_err *e)
{
    req_set(r, "x-kept", ATH_S("yes"));
    err_raise(e, "unique_violation", "duplicate key value violates unique constraint \"k\"");
    err_detail_str(e, "constraint", str_of("k"));
    err_detail_str(e, "detail", str_of("Key (id)=(7) already exists."));
    err_detail_str(e, "reason", str_of("could not connect to 10.0.0.1"));
    err_detail_str(e, "retry_after", str_of("3"));
    return e->rc;
}

static int on_inside(ath_req *r, ath_err *e)
{
    (void)r;
    return err_fail(e, ATH_E_BUG, "secret path /etc/x");
}

static int on_big(ath_req *r, ath_err *e)
{
    uint64_t n = 0;
    char *p;

    (void)e;
    str_u64(req_param(r, "n"), &n);
    p = arena_raw(&r->arena, n);
    for (uint64_t i = 0; i < n; i++)
        p[i] = (char)('a' + i % 23);
    return req_reply(r, 200, "text/plain", (ath_str){ p, n });
}

/* /stream?n=: that many bytes in pieces; &length=1 says so before, &broken=1 fails half-way. */
struct source {
    ath_stream *to;
    uint64_t left;
    bool broken;
    char piece[PIECE];
};

static int source_more(ath_task *t, const ath_done *d, ath_err *e)
{
    struct source *s = d->arg;
    size_t n = s->left < PIECE ? s->left : PIECE;

    if (d->rc < 0) {
        atomic_fetch_add(&lab.left, 1);
        return d->rc;
    }
    if (n == 0) {
        stream_end(s->to, s->broken ? ATH_E_UPSTREAM : 0);
        return 0;
    }
    s->left -= n;
    return stream_write(t, s->to, (ath_str){ s->piece, n }, source_more, s, e);
}

static int on_stream(ath_req *r, ath_err *e)
{
    struct source *s = ARENA_NEW(&r->arena, struct source);
    ath_done first = { .arg = s };

    memset(s->piece, 'z', PIECE);
    str_u64(req_param(r, "n"), &s->left);
    s->broken = req_param(r, "broken").n;
    s->to = stream_open(r, 0);
    if (req_param(r, "length").n)
        req_set(r, "content-length", req_param(r, "length"));
    req_send(r, 200, "text/plain", s->to);
    return source_more(r, &first, e);
}

/* /drip: "first", and "last" when somebody has read it for ms=. */
static int drip_last(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_stream *s = d->arg;

    (void)t, (void)e;
    if (d->rc < 0)
        return d->rc;
    stream_push(s, ATH_S("last"));
    stream_end(s, 0);
    return 0;
}

static int on_drip(ath_req *r, ath_err *e)
{
    ath_stream *s = stream_open(r, 0);
    uint64_t ms = 50;

    str_u64(req_param(r, "ms"), &ms);
    stream_push(s, ATH_S("first"));
    req_send(r, 200, "application/x-ndjson", s);
    return task_after(r, ms, drip_last, s, e);
}

/* /answer?n=&status=&type=&coded=: a text of n bytes. */
static int on_answer(ath_req *r, ath_err *e)
{
    struct buf b = ARENA_BUF(&r->arena);
    uint64_t n = 0, status = 200;
    ath_str type = req_param(r, "type");

    (void)e;
    str_u64(req_param(r, "n"), &n);
    str_u64(req_param(r, "status"), &status);
    for (uint64_t i = 0; b.n < n; i++)
        buf_printf(&b, "line %llu of many\n", (unsigned long long)i);
    if (req_param(r, "coded").n)
        req_set(r, "content-encoding", req_param(r, "coded"));
    return req_reply(r, (int)status, type.n ? type.p : "application/json", str_from(b.p, n));
}

static int upload_more(ath_task *t, const ath_done *d, ath_err *e)
{
    uint64_t *n = d->arg;

    if (d->rc < 0)
        return d->rc;
    if (d->bytes.n == 0) {
        struct buf b = ARENA_BUF(&t->arena);
        buf_u64(&b, *n);
        return req_reply(t, 200, "text/plain", buf_view(&b));
    }
    *n += d->bytes.n;
    return stream_read(t, req_from(t), upload_more, n, e);
}

static int on_upload(ath_req *r, ath_err *e)
{
    return stream_read(r, req_from(r), upload_more, arena_alloc(&r->arena, sizeof(uint64_t)), e);
}

/* Answers without having read what it was sent. */
static int on_hasty(ath_req *r, ath_err *e)
{
    (void)e;
    return req_reply(r, 200, "text/plain", ATH_S("enough"));
}

static int on_look(ath_req *r, ath_err *e)
{
    struct buf b = ARENA_BUF(&r->arena);
    const ath_pair *pair;
    uint32_t n = req_pairs(r, "query", &pair);

    (void)e;
    buf_printf(&b, "%.*s|%.*s|%.*s|%.*s|%.*s|", STR_ARG(req_info(r, "method")),
               STR_ARG(req_info(r, "path")), STR_ARG(req_info(r, "route")),
               STR_ARG(req_param(r, "name")), STR_ARG(req_info(r, "peer")));
    for (uint32_t i = 0; i < n; i++)
        buf_printf(&b, "%.*s=%.*s;", STR_ARG(pair[i].name), STR_ARG(pair[i].value));
    req_set(r, "x-athena-cache-id", ATH_S("abc"));
    req_set(r, "x-bad", ATH_S("a\r\nb: c"));
    req_set(r, "vary", ATH_S("Accept"));
    req_set(r, "vary", ATH_S("X-Look"));
    req_set(r, "connection", ATH_S("upgrade"));
    return req_reply(r, 200, "text/plain", buf_view(&b));
}

static int on_twice(ath_req *r, ath_err *e)
{
    (void)e;
    ck_assert_int_eq(req_reply(r, 200, "text/plain", ATH_S("first")), 0);
    ck_assert_int_eq(req_reply(r, 500, "text/plain", ATH_S("second")), ATH_E_BUG);
    return 0;
}

static const ath_route lab_routes[] = {
    { .method = "GET", .path = "/ping", .handle = on_ping },
    { .method = "POST", .path = "/echo", .handle = on_echo },
    { .method = "POST", .path = "/small", .handle = on_echo, .max_body = 10 },
    { .method = "GET", .path = "/slow", .handle = on_slow },
    { .method = "POST", .path = "/slow", .handle = on_slow },
    { .method = "GET", .path = "/never", .handle = on_never },
    { .method = "GET", .path = "/long", .handle = on_never, .flags = ATH_RT_LONG },
    { .method = "GET", .path = "/unanswered", .handle = on_unanswered },
    { .method = "GET", .path = "/fail", .handle = on_fail, .operation = "insert" },
    { .method = "GET", .path = "/inside", .handle = on_inside },
    { .method = "GET", .path = "/big", .handle = on_big },
    { .method = "GET", .path = "/stream", .handle = on_stream },
    { .method = "GET", .path = "/drip", .handle = on_drip },
    { .method = "GET", .path = "/answer", .handle = on_answer },
    { .method = "GET", .path = "/data", .handle = on_answer, .flags = ATH_RT_CLIENT },
    { .method = "POST",
      .path = "/upload",
      .handle = on_upload,
      .flags = ATH_RT_BODY,
      .max_body = 100000000 },
    { .method = "POST", .path = "/hasty", .handle = on_hasty, .flags = ATH_RT_BODY },
    { .method = "GET", .path = "/look/{name}", .handle = on_look },
    { .method = "GET", .path = "/twice", .handle = on_twice },
};

static const struct phase lab_phases[] = {
    { "before", phase_before },
    { "route", phase_route },
    { "cors", phase_cors },
    { "body", phase_body },
    { "handler", phase_handler },
};

/* ---- the server ---- */

static void lab_account(struct req *r)
{
    unsigned i = atomic_fetch_add(&lab.accounts, 1);
    struct account *a = &lab.account[i % ACCOUNTS];

    a->ending = r->ending;
    a->status = r->status;
    a->sent_bytes = r->sent_bytes;
    a->body_bytes = r->body_bytes;
    snprintf(a->target, sizeof(a->target), "%.*s", STR_ARG(r->target));
}

static void lab_loop_init(void *arg)
{
    struct ath_err e;

    (void)arg;
    ck_assert_int_eq(http_loop_init(lab.loop, &lab.http, &e), 0);
}

static void lab_routes_fill(void)
{
    struct ath_err e;

    lab.http.router = router_new();
    for (size_t i = 0; i < ATH_COUNT(lab_routes); i++) {
        struct route r = { .def = lab_routes[i], .plugin = "lab", .label = lab_routes[i].path };
        ck_assert_int_eq(router_add(lab.http.router, &r, &e), 0);
    }
}

/* Limits that a test does not say are long; the others can be waited for. */
static const struct http_limits lab_limits = {
    .head_bytes = 131072,
    .head_fields = 96,
    .target_bytes = 65536,
    .body_bytes = 2u << 20,
    .head_ms = 5000,
    .body_ms = 5000,
    .idle_ms = 5000,
    .write_ms = 5000,
    .request_ms = 5000,
    .connections = 100,
    .pipeline = 16,
    .buffered = 65536,
    .pack_min = 1024,
    .pack_level = 1,
};

struct lab_start {
    struct acceptor_options options;
    int rc;
    struct ath_err e;
};

static void lab_listen(void *arg)
{
    struct lab_start *s = arg;

    s->rc = acceptor_start(lab.control, &lab.loop, 1, &s->options, &lab.acceptor, &s->e);
}

static enum http_timing lab_timing;

static void lab_open_at(struct http_limits limits, struct acceptor_options options)
{
    struct lab_start s = { .options = options };
    struct ath_err e;

    memset(&lab, 0, sizeof(lab));
    lab.http.limits = limits;
    lab.http.cors.max_age_s = 600;
    lab.http.strict_methods = true;
    lab.http.timing = lab_timing;
    lab.http.account = lab_account;
    lab.http.phase = lab_phases;
    lab.http.phase_count = ATH_COUNT(lab_phases);
    lab_routes_fill();
    ck_assert_int_eq(loop_new(LOOP_CONTROL, 0, "control", &lab.control, &e), 0);
    ck_assert_int_eq(loop_new(LOOP_HTTP, 1, "http-0", &lab.loop, &e), 0);
    ck_assert_int_eq(loop_start(lab.control, &e), 0);
    ck_assert_int_eq(loop_start(lab.loop, &e), 0);
    loop_call(lab.loop, lab_loop_init, NULL);
    loop_call(lab.control, lab_listen, &s);
    ck_assert_msg(s.rc == 0, "%s", s.e.message);
}

static void lab_open(struct http_limits limits)
{
    lab_open_at(limits, (struct acceptor_options){ .host = "127.0.0.1" });
}

static void lab_deaf(void *arg)
{
    (void)arg;
    acceptor_stop(lab.acceptor);
}

static void lab_fini(void *arg)
{
    (void)arg;
    http_loop_fini(lab.loop);
}

ATH_UNUSED static void lab_drain(void *arg)
{
    (void)arg;
    http_loop_drain(lab.loop);
}

static void lab_close(void)
{
    loop_call(lab.control, lab_deaf, NULL);
    loop_call(lab.loop, lab_fini, NULL);
    loop_stop(lab.control);
    loop_stop(lab.loop);
    loop_join(lab.control);
    loop_join(lab.loop);
    loop_free(lab.control);
    loop_free(lab.loop);
    ck_assert_uint_eq(task_alive(), 0);
    ck_assert_uint_eq(atomic_load(&lab.http.in_flight), 0);
    ck_assert_uint_eq(atomic_load(&lab.http.open), 0);
    router_free(lab.http.router);
}

/* ---- the client ---- */

static void dial_with(int fd)
{
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(acceptor_port(lab.acceptor)),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
}

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    dial_with(fd);
    return fd;
}

static void say_n(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0)
            return; /* the server may have closed: what it said tells */
        p += k;
        n -= (size_t)k;
    }
}

static void say(int fd, const char *text)
{
    say_n(fd, text, strlen(text));
}

static bool hear_some(int fd, struct buf *b, int ms)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    char room[65536];
    ssize_t n;

    if (poll(&p, 1, ms) <= 0)
        return false;
    n = recv(fd, room, sizeof(room), 0);
    if (n <= 0)
        return false;
    buf_mem(b, room, (size_t)n);
    return true;
}

/* Until `text` has come. */
ATH_UNUSED static void hear(int fd, struct buf *b, const char *text)
{
    while (!b->p || !memmem(b->p, b->n, text, strlen(text)))
        if (!hear_some(fd, b, 5000))
            ck_abort_msg("never heard \"%s\", but \"%s\"", text, b->p ? b->p : "");
}

/* Until the server ends its side; false: it does not. */
static bool hear_all(int fd, struct buf *b)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    char c;

    while (hear_some(fd, b, 3000))
        continue;
    return poll(&p, 1, 0) > 0 && recv(fd, &c, 1, MSG_PEEK) <= 0;
}

/* One conversation on its own connection, which the server is expected to end. */
ATH_UNUSED static char *converse(const char *text)
{
    struct buf b = BUF_HEAP;
    int fd = dial();

    say(fd, text);
    ck_assert_msg(hear_all(fd, &b), "not closed after \"%s\": \"%s\"", text, b.p ? b.p : "");
    close(fd);
    buf_char(&b, ' ');
    b.p[--b.n] = 0;
    return b.p;
}

ATH_UNUSED static void wait_for(atomic_uint *what, unsigned n)
{
    for (int i = 0; i < 300 && atomic_load(what) < n; i++)
        usleep(10000);
    ck_assert_uint_ge(atomic_load(what), n);
}

#define HOST  "Host: x\r\n"
#define CLOSE "Connection: close\r\n"

#endif
