/* Requests of our own, and what hooks do to requests before they are routed. */
#include "http/call.h"
#include "lab.h"

/* ---- handlers that call ---- */

static int put_answer(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = ARENA_BUF(&t->arena);

    if (d->rc < 0)
        return d->rc;
    (void)e;
    if (d->stream)
        return req_send(t, d->status, "text/plain", d->stream);
    buf_printf(&b, "%d|", d->status);
    for (uint32_t i = 0; i < d->header_count; i++)
        buf_printf(&b, "%.*s=%.*s;", STR_ARG(d->header[i].name), STR_ARG(d->header[i].value));
    buf_char(&b, '|');
    buf_str(&b, d->bytes);
    return req_reply(t, 200, "text/plain", buf_view(&b));
}

/* The very bytes of the answer, which must outlive the called request. */
static int pass_answer(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    return d->rc < 0 ? d->rc : req_reply(t, d->status, "text/plain", d->bytes);
}

/* /call?url=&method=&stream=1&ms=&most=&pass=1; its body goes along. */
static int on_call(ath_req *r, ath_err *e)
{
    ath_fetch f = { .size = sizeof(f), .url = req_param(r, "url"), .body = req_body(r) };
    uint64_t ms = 0;

    f.method = req_param(r, "method").n ? req_param(r, "method").p : "GET";
    f.flags = req_param(r, "stream").n ? ATH_HTTP_STREAM : 0;
    str_u64(req_param(r, "ms"), &ms);
    str_u64(req_param(r, "most"), &f.max_body);
    f.timeout_ms = (uint32_t)ms;
    return call_start(r, &f, req_param(r, "pass").n ? pass_answer : put_answer, NULL, e);
}

/* What came goes on as it comes. */
static int on_relay(ath_req *r, ath_err *e)
{
    ath_fetch f = {
        .size = sizeof(f), .method = "POST", .url = ATH_S("/upload"), .from = req_from(r)
    };

    return call_start(r, &f, put_answer, NULL, e);
}

static int on_deep(ath_req *r, ath_err *e)
{
    ath_fetch f = { .size = sizeof(f), .url = ATH_S("/deep") };

    return call_start(r, &f, put_answer, NULL, e);
}

static int on_as(ath_req *r, ath_err *e)
{
    ath_fetch f = { .size = sizeof(f), .url = ATH_S("/as-whom"), .as = ATH_S("some-key") };

    if (req_param(r, "self").n)
        f.flags = ATH_HTTP_SELF;
    if (req_param(r, "below").n)
        f.url = ATH_S("/call?url=/as-whom");
    return call_start(r, &f, put_answer, NULL, e);
}

static int on_as_whom(ath_req *r, ath_err *e)
{
    const struct call_as *as = call_as(req_of(r));

    (void)e;
    return req_reply(r, as->self ? 500 : 200, "text/plain", as->key);
}

static int on_who(ath_req *r, ath_err *e)
{
    struct buf b = ARENA_BUF(&r->arena);
    static const char *const what[] = { "client", "given_id", "peer", "host", "target" };

    (void)e;
    for (size_t i = 0; i < ATH_COUNT(what); i++)
        buf_printf(&b, "%.*s,", STR_ARG(req_info(r, what[i])));
    buf_printf(&b, "%.*s,%.*s", STR_ARG(req_header(r, "x-athena-key")),
               STR_ARG(req_header(r, "x-other")));
    req_set(r, "x-id", req_info(r, "id"));
    req_set(r, "x-trace", req_info(r, "trace_id"));
    return req_reply(r, 200, "text/plain", buf_view(&b));
}

static int on_both(ath_req *r, ath_err *e)
{
    const ath_pair header[] = { { ATH_S("X-Athena-Client"), ATH_S("other") },
                                { ATH_S("X-Other"), ATH_S("given") },
                                { ATH_S("Connection"), ATH_S("close") } };
    ath_fetch f = { .size = sizeof(f), .url = ATH_S("/who") };

    req_set(r, "x-outer-id", req_info(r, "id"));
    if (req_param(r, "given").n) {
        f.header = header;
        f.header_count = ATH_COUNT(header);
    }
    return call_start(r, &f, put_answer, NULL, e);
}

static const ath_route more[] = {
    { .method = "GET", .path = "/call", .handle = on_call },
    { .method = "POST", .path = "/call", .handle = on_call },
    { .method = "POST", .path = "/relay", .handle = on_relay, .flags = ATH_RT_BODY },
    { .method = "GET", .path = "/deep", .handle = on_deep },
    { .method = "GET", .path = "/as", .handle = on_as },
    { .method = "GET", .path = "/as-whom", .handle = on_as_whom },
    { .method = "GET", .path = "/who", .handle = on_who },
    { .method = "GET", .path = "/both", .handle = on_both },
};

static void open_lab(const struct http_hook *hook, uint32_t hooks)
{
    struct ath_err e;

    lab_open(lab_limits);
    for (size_t i = 0; i < ATH_COUNT(more); i++) {
        struct route r = { .def = more[i], .plugin = "lab", .label = more[i].path };
        ck_assert_int_eq(router_add(lab.http.router, &r, &e), 0);
    }
    lab.http.hook = hook;
    lab.http.hook_count = hooks;
    call_routes(&lab.http);
}

static void close_lab(void)
{
    lab_close();
    call_routes(NULL);
}

static void expect(const char *request, const char *status, const char *body)
{
    char *text = converse(request);

    ck_assert_msg(str_starts(str_after(str_of(text), 9), status) && strstr(text, body), "%s\n-> %s",
                  request, text);
    free(text);
}

#define GET(target) "GET " target " HTTP/1.1\r\n" HOST CLOSE "\r\n"

/* ---- calls ---- */

START_TEST(an_answer_comes_with_its_status_header_and_bytes)
{
    open_lab(NULL, 0);
    expect(GET("/call?url=/ping"), "200", "200|content-type=text/plain; charset=utf-8;|pong");
    expect(GET("/call?url=/ping&pass=1"), "200", "\r\n\r\npong");
    expect(GET("/call?url=/ping&pass=1&stream=1"), "200", "content-length: 4\r\n");
    expect(GET("/call?url=/ping&method=HEAD"), "200", "charset=utf-8;|");
    expect(GET("/call?url=/look/a%2520b%3Fx%3D1"), "200", "GET|/look/a%20b|/look/{name}|a b|");
    expect(GET("/call?url=/slow?ms%3D30"), "200", "|30");
    expect(GET("/call?url=/big?n%3D500000&pass=1"), "200", "content-length: 500000\r\n");
    wait_for(&lab.accounts, 14);
    close_lab();
    ck_assert_uint_eq(atomic_load(&lab.accounts), 14);
    ck_assert_str_eq(lab.account[0].target, "/ping"); /* the called one ends first */
    ck_assert_int_eq(lab.account[0].ending, REQ_ANSWERED);
}
END_TEST

START_TEST(errors_are_answers_and_refusals_are_errors)
{
    open_lab(NULL, 0);
    expect(GET("/call?url=/nowhere"), "200", "404|content-type=application/json;|{\"status\"");
    expect(GET("/call?url=/fail"), "200", "409|");
    expect(GET("/call?url=/fail"), "200", "x-kept=yes;retry-after=3;");
    expect(GET("/call?url=/unanswered"), "200", "500|");
    expect(GET("/call?url=/ping&method=POST"), "200", "405|");
    expect(GET("/call?url=ping"), "500", "INTERNAL_ERROR");
    expect(GET("/as"), "200", "|some-key");
    expect(GET("/as?below=1"), "200", "200|content-type=text/plain;|some-key");
    expect(GET("/as?self=1"), "500", "INTERNAL_ERROR"); /* who asks us is never ourselves */
    close_lab();
}
END_TEST

START_TEST(a_body_goes_along_as_text_and_as_a_stream)
{
    struct buf b = BUF_HEAP;
    char *text;

    open_lab(NULL, 0);
    expect("POST /call?url=/echo&method=POST HTTP/1.1\r\n" HOST CLOSE
           "Content-Length: 5\r\n\r\nhello",
           "200", "|hello");
    expect("POST /call?url=/small&method=POST HTTP/1.1\r\n" HOST CLOSE
           "Content-Length: 11\r\n\r\nhello world",
           "200", "413|");
    expect("POST /call?url=/upload&method=POST HTTP/1.1\r\n" HOST CLOSE
           "Content-Length: 5\r\n\r\nhello",
           "200", "|5");
    expect("POST /call?url=/hasty&method=POST HTTP/1.1\r\n" HOST CLOSE
           "Content-Length: 5\r\n\r\nhello",
           "200", "|enough");
    buf_z(&b, "POST /relay HTTP/1.1\r\n" HOST CLOSE "Content-Length: 900000\r\n\r\n");
    for (int i = 0; i < 900000; i++)
        buf_char(&b, 'x');
    text = converse(b.p);
    ck_assert_msg(strstr(text, "200|content-type=text/plain;|900000"), "%s", text);
    free(text);
    buf_free(&b);
    close_lab();
}
END_TEST

START_TEST(a_streamed_answer_is_passed_on_or_collected)
{
    char *text;

    open_lab(NULL, 0);
    text = converse("GET /call?url=/stream?n%3D1000000&stream=1 HTTP/1.0\r\n\r\n");
    ck_assert_uint_eq(strlen(strstr(text, "\r\n\r\nzz")), 1000004);
    free(text);
    expect(GET("/call?url=/stream?n%3D100000&most=200000"), "200", "|zzzz");
    expect(GET("/call?url=/stream?n%3D300000&most=200000"), "413",
           "the answer of /stream?n=300000 is over the limit of 200000 bytes");
    text =
        converse("GET /call?url=/stream?n%3D50000%26broken%3D1&stream=1 HTTP/1.1\r\n" HOST "\r\n");
    ck_assert(!strstr(text, "\r\n0\r\n\r\n")); /* cut, not ended */
    free(text);
    expect(GET("/call?url=/stream?n%3D5000%26broken%3D1"), "200", "200|");
    close_lab();
}
END_TEST

START_TEST(a_chain_of_calls_is_bounded)
{
    open_lab(NULL, 0);
    expect(GET("/deep"), "200", "calls of routes by routes are 4 deep");
    close_lab();
    ck_assert_uint_eq(atomic_load(&lab.accounts), 1 + CALL_DEPTH);
}
END_TEST

START_TEST(time_and_leaving_are_the_caller_s)
{
    struct buf b = BUF_HEAP;
    int fd;

    open_lab(NULL, 0);
    expect(GET("/call?url=/never&ms=60"), "200", "504|");
    wait_for(&lab.stopped, 1);
    fd = dial();
    say(fd, GET("/call?url=/never"));
    usleep(50000);
    close(fd);
    wait_for(&lab.stopped, 2);
    fd = dial();
    say(fd, GET("/call?url=/stream?n%3D100000000&stream=1"));
    hear(fd, &b, "zzz");
    close(fd);
    wait_for(&lab.accounts, 6);
    buf_free(&b);
    close_lab();
    ck_assert_uint_eq(atomic_load(&lab.accounts), 6);
}
END_TEST

START_TEST(who_asks_goes_along)
{
    char *text, *id, *outer;

    open_lab(NULL, 0);
    text = converse("GET /both HTTP/1.1\r\nHost: here\r\n" CLOSE
                    "X-Athena-Client: app\r\nX-Athena-Key: k1\r\nX-Request-Id: mine\r\n"
                    "X-Other: not given\r\n\r\n");
    ck_assert_msg(strstr(text, "|app,mine,127.0.0.1,here,/who,k1,"), "%s", text);
    ck_assert(!strstr(text, "not given"));
    id = strstr(text, "x-id=") + 5;
    outer = strstr(text, "x-outer-id: ") + 12;
    ck_assert_int_eq(memcmp(id, outer, 36), 0);
    free(text);
    expect("GET /both?given=1 HTTP/1.1\r\nHost: here\r\n" CLOSE
           "X-Athena-Client: app\r\nX-Athena-Key: k1\r\n\r\n",
           "200", "|other,,127.0.0.1,here,/who,k1,given");
    close_lab();
}
END_TEST

/* ---- before routing ---- */

static int hook(ath_req *r, ath_err *e)
{
    ath_str what = req_param(r, "hook");

    if (str_is(what, "path")) {
        req_rewrite(r, "path", ATH_S("/look/new"));
        req_rewrite(r, "query", ATH_S("a=1&b=2"));
        req_rewrite(r, "client", ATH_S(" tenant "));
    } else if (str_is(what, "without")) {
        req_rewrite(r, "path", ATH_S("/who"));
        req_rewrite(r, "without", ATH_S("x-athena-key"));
    } else if (str_is(what, "reply")) {
        return req_reply(r, 418, "text/plain", ATH_S("from the hook"));
    } else if (str_is(what, "fail")) {
        return err_raise(e, "forbidden", "not here");
    } else if (str_is(what, "wait")) {
        return task_after(r, 10, slow_done, NULL, e);
    } else if (str_is(what, "bad")) {
        req_rewrite(r, "path", ATH_S("/a b"));
    } else if (str_is(what, "worse")) {
        req_rewrite(r, "method", ATH_S("PUT"));
    }
    return 0;
}

static int second(ath_req *r, ath_err *e)
{
    (void)e;
    req_set(r, "x-second", ATH_S("seen"));
    return 0;
}

static int32_t shut;
static const struct http_hook hooks[] = { { hook, NULL, NULL }, { second, NULL, NULL } };
static const struct http_hook closed[] = { { hook, NULL, &shut } };

START_TEST(hooks_rewrite_and_the_account_keeps_what_was_sent)
{
    open_lab(hooks, 2);
    expect(GET("/some/path?hook=path"), "200", "GET|/look/new|/look/{name}|new|127.0.0.1|a=1;b=2;");
    expect(GET("/some/path?hook=path"), "200", "x-athena-client: tenant\r\n");
    expect(GET("/some/path?hook=path"), "200", "x-second: seen\r\n");
    expect(GET("http://x/some/path?hook=path"), "200", "/look/new");
    expect("GET /a?hook=without HTTP/1.1\r\n" HOST CLOSE "X-Athena-Key: k\r\nX-Other: o\r\n\r\n",
           "200", "\r\n\r\n,,127.0.0.1,x,/a?hook=without,,o");
    expect(GET("/ping"), "200", "pong");
    close_lab();
    ck_assert_str_eq(lab.account[0].target, "/some/path?hook=path");
}
END_TEST

START_TEST(hooks_answer_refuse_and_may_not_wait)
{
    open_lab(hooks, 2);
    expect(GET("/ping?hook=reply"), "418", "from the hook");
    expect(GET("/ping?hook=fail"), "403", "not here");
    expect(GET("/ping?hook=wait"), "500", "INTERNAL_ERROR");
    expect(GET("/ping?hook=bad"), "500", "INTERNAL_ERROR");
    expect(GET("/ping?hook=worse"), "500", "INTERNAL_ERROR");
    expect("OPTIONS /ping?hook=reply HTTP/1.1\r\n" HOST CLOSE
           "Origin: http://a\r\nAccess-Control-Request-Method: GET\r\n\r\n",
           "200", "access-control-allow-methods");
    expect(GET("/call?url=/ping?hook%3Dreply"), "200", "200|"); /* calls are not shown to hooks */
    close_lab();
}
END_TEST

START_TEST(hooks_behind_a_closed_gate_do_not_run)
{
    open_lab(closed, 1);
    expect(GET("/ping?hook=reply"), "200", "pong");
    close_lab();
}
END_TEST

static void asked(const char *target, const char *path)
{
    struct req r = { .target = str_of(target), .path = ATH_S("/new"), .rewritten = true };

    ck_assert_msg(str_is(req_asked_path(&r), path), "%s -> %.*s", target,
                  STR_ARG(req_asked_path(&r)));
}

START_TEST(the_path_as_sent)
{
    asked("/a/b?c=/d", "/a/b");
    asked("/a/b", "/a/b");
    asked("http://host/a?b", "/a");
    asked("https://host:80/a", "/a");
}
END_TEST

SUITE("call", an_answer_comes_with_its_status_header_and_bytes,
      errors_are_answers_and_refusals_are_errors, a_body_goes_along_as_text_and_as_a_stream,
      a_streamed_answer_is_passed_on_or_collected, a_chain_of_calls_is_bounded,
      time_and_leaving_are_the_caller_s, who_asks_goes_along,
      hooks_rewrite_and_the_account_keeps_what_was_sent, hooks_answer_refuse_and_may_not_wait,
      hooks_behind_a_closed_gate_do_not_run, the_path_as_sent)
