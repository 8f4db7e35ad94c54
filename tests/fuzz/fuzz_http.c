/* Bytes through a connection without a socket: parser, checks, phases, handlers, answers.
 *
 * The first byte says in how many pieces the rest arrives, and whether the client then ends its
 * side; between the pieces the loop gets a turn. What comes out must be nothing but whole answers.
 */
#include <stdlib.h>

#include "http/http_priv.h"
#include "lib/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct http http;
static ath_loop *loop;

static int on_echo(ath_req *r, ath_err *e)
{
    const ath_pair *pair;
    uint32_t n = req_pairs(r, "query", &pair);

    (void)e;
    for (uint32_t i = 0; i < n; i++)
        req_set(r, "x-arg", pair[i].value);
    req_set(r, "x-name", req_param(r, "name"));
    return req_reply(r, 200, "text/plain", req_body(r));
}

static int on_fail(ath_req *r, ath_err *e)
{
    err_raise(e, "bad_request", "%.*s", STR_ARG(req_info(r, "path")));
    err_detail_str(e, "title", req_header(r, "user-agent"));
    return e->rc;
}

static int later(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    return d->rc < 0 ? d->rc : req_reply(t, 204, NULL, ATH_S(""));
}

static int on_later(ath_req *r, ath_err *e)
{
    return task_after(r, 0, later, NULL, e);
}

static int read_on(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc < 0 || d->bytes.n == 0)
        return d->rc < 0 ? d->rc : req_reply(t, 201, "a/b", ATH_S("read"));
    return stream_read(t, req_from(t), read_on, NULL, e);
}

static int on_read(ath_req *r, ath_err *e)
{
    return stream_read(r, req_from(r), read_on, NULL, e);
}

static int on_send(ath_req *r, ath_err *e)
{
    ath_stream *s = stream_open(r, 0);

    (void)e;
    stream_push(s, ATH_S("some bytes"));
    stream_end(s, 0);
    if (req_param(r, "length").n)
        req_set(r, "content-length", req_param(r, "length"));
    return req_send(r, 200, "text/plain", s);
}

static const ath_route routes[] = {
    { .method = "GET", .path = "/", .handle = on_echo },
    { .method = "POST", .path = "/e/{name}", .handle = on_echo, .max_body = 1000 },
    { .method = "GET", .path = "/f/{rest...}", .handle = on_fail, .operation = "fetch" },
    { .method = "GET", .path = "/l", .handle = on_later },
    { .method = "POST", .path = "/r", .handle = on_read, .flags = ATH_RT_BODY },
    { .method = "GET", .path = "/s", .handle = on_send },
};

static const struct phase phases[] = {
    { "route", phase_route },
    { "cors", phase_cors },
    { "body", phase_body },
    { "handler", phase_handler },
};

static void set_up(void)
{
    struct ath_err e;

    http = (struct http){ .router = router_new(),
                          .phase = phases,
                          .phase_count = ATH_COUNT(phases),
                          .strict_methods = true,
                          .limits = { .head_bytes = 4096,
                                      .head_fields = 32,
                                      .target_bytes = 1024,
                                      .body_bytes = 65536,
                                      .pipeline = 4,
                                      .pack_min = 8,
                                      .pack_level = 1 } };
    for (size_t i = 0; i < ATH_COUNT(routes); i++)
        if (router_add(http.router, &(struct route){ .def = routes[i], .plugin = "fuzz" }, &e) < 0)
            abort();
    if (loop_new(LOOP_HTTP, 0, "fuzz", &loop, &e) < 0 || http_loop_init(loop, &http, &e) < 0)
        abort();
}

static void turns(int n)
{
    for (int i = 0; i < n; i++)
        uv_run(&loop->uv, UV_RUN_NOWAIT);
}

/* Each answer begins where the one before has ended, as far as lengths say. */
static void check_output(const struct buf *out)
{
    if (out->n && !str_starts(buf_view(out), "HTTP/1.1 "))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf out = BUF_HEAP;
    struct conn *c;
    size_t piece;

    if (!loop)
        set_up();
    if (size == 0)
        return 0;
    c = conn_open_captured(loop->slot[LOOP_SLOT_HTTP], &out);
    piece = size / ((data[0] & 15) + 1u) + 1;
    for (size_t at = 1; at < size && !c->closed; at += piece) {
        conn_feed(c, (const char *)data + at, piece < size - at ? piece : size - at);
        turns(2);
    }
    if (!c->closed && data[0] & 16)
        conn_eof(c);
    turns(3);
    check_output(&out);
    conn_close_captured(c);
    turns(1);
    if (atomic_load(&http.in_flight) != 0 || atomic_load(&http.open) != 0 || task_alive() != 0)
        abort();
    buf_free(&out);
    return 0;
}
