/* What answers look like: header fields, CORS, trace context, the envelope of errors. */
#include "lab.h"

/* The value of a header of the (first) answer; empty: not there. */
static const char *field(const char *text, const char *name)
{
    static char value[1024];
    char line[128];
    const char *at, *end = strstr(text, "\r\n\r\n");

    snprintf(line, sizeof(line), "\r\n%s: ", name);
    value[0] = 0;
    if ((at = strstr(text, line)) && at < end) {
        at += strlen(line);
        snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\r"), at);
    }
    return value;
}

static const char *body(const char *text)
{
    return strstr(text, "\r\n\r\n") + 4;
}

static char *get(const char *path, const char *fields)
{
    struct buf b = BUF_HEAP;
    char *text;

    buf_printf(&b, "GET %s HTTP/1.1\r\n" HOST CLOSE "%s\r\n", path, fields);
    text = converse(b.p);
    buf_free(&b);
    return text;
}

static bool has(const char *text, const char *what)
{
    return strstr(text, what) != NULL;
}

START_TEST(every_answer_has_its_fields)
{
    static const char *const paths[] = { "/ping", "/nothing", "/fail" };
    char *text;

    lab_open(lab_limits);
    for (size_t i = 0; i < ATH_COUNT(paths); i++) {
        text = get(paths[i], "X-Athena-Client:  Shop \r\n");
        ck_assert_str_eq(field(text, "server"), "athena");
        ck_assert_str_eq(field(text, "vary"), "Origin, Access-Control-Request-Method, "
                                              "Access-Control-Request-Headers");
        ck_assert_uint_eq(strlen(field(text, "x-athena-request-id")), 36);
        ck_assert_uint_eq(strlen(field(text, "date")), 29);
        ck_assert_str_ne(field(text, "x-athena-version"), "");
        ck_assert_str_ne(field(text, "x-athena-time"), "");
        ck_assert_str_eq(field(text, "x-athena-cached"), "false");
        ck_assert_str_eq(field(text, "x-athena-client"), "Shop");
        ck_assert_str_eq(field(text, "access-control-allow-origin"), "");
        ck_assert_str_eq(field(text, "x-request-id"), "");
        free(text);
    }
    lab_close();
}
END_TEST

START_TEST(fields_of_a_handler)
{
    char *text;

    lab_open(lab_limits);
    text = get("/look/a%2Fb?q=1+2&r=%26&s", "");
    ck_assert_str_eq(body(text), "GET|/look/a%2Fb|/look/{name}|a/b|127.0.0.1|q=1 2;r=&;s=;");
    ck_assert_str_eq(field(text, "x-athena-cache-id"), "abc");
    ck_assert_str_eq(field(text, "x-athena-cache-key"), "abc"); /* each mirrors the other */
    ck_assert_str_eq(field(text, "vary"), "Origin, Access-Control-Request-Method, "
                                          "Access-Control-Request-Headers, Accept, X-Look");
    ck_assert_str_eq(field(text, "x-bad"), "ab: c"); /* no line of its own */
    ck_assert_str_eq(field(text, "connection"), "close");
    free(text);
    text = get("http://elsewhere/look/x?y=z", "");
    ck_assert(str_starts(str_of(body(text)), "GET|/look/x|"));
    free(text);
    text = get("/twice", "");
    ck_assert_str_eq(body(text), "first");
    free(text);
    lab_close();
}
END_TEST

START_TEST(ids_and_trace_context)
{
    static const char *const wrong[] = {
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        "00-0af7651916cd43dd8448eb211c80319cb7ad6b7169203331--01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
    };
    struct buf b = BUF_HEAP;
    char *text, *parent;

    lab_open(lab_limits);
    text = get("/ping", "X-Request-Id: abc-1\r\ntraceparent: "
                        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n");
    ck_assert_str_eq(field(text, "x-request-id"), "abc-1");
    parent = strdup(field(text, "traceparent"));
    ck_assert(str_starts(str_of(parent), "00-0af7651916cd43dd8448eb211c80319c-"));
    ck_assert(str_ends(str_of(parent), "-00") && !has(parent, "b7ad6b7169203331"));
    free(parent);
    parent = strdup(field(text, "x-athena-request-id"));
    ck_assert_str_eq(field(text, "x-athena-trace-id"), parent);
    free(parent);
    free(text);
    text =
        get("/ping", "traceparent: cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x\r\n");
    ck_assert(has(field(text, "traceparent"), "00-0af7651916cd43dd8448eb211c80319c-"));
    free(text);
    for (size_t i = 0; i < ATH_COUNT(wrong); i++) {
        buf_reset(&b);
        buf_printf(&b, "traceparent: %s\r\nX-Request-Id: a\xc3\xa9\r\n", wrong[i]);
        text = get("/ping", b.p);
        ck_assert_msg(!has(field(text, "traceparent"), "c80319c"), "%s", wrong[i]);
        ck_assert_uint_eq(strlen(field(text, "traceparent")), 55);
        ck_assert_str_eq(field(text, "x-request-id"), "");
        free(text);
    }
    buf_free(&b);
    lab_close();
}
END_TEST

START_TEST(cors)
{
    char *text;

    lab_open(lab_limits);
    text = get("/nothing", "Origin: http://a.test\r\n");
    ck_assert_str_eq(field(text, "access-control-allow-origin"), "http://a.test");
    ck_assert(has(field(text, "access-control-expose-headers"), "X-Athena-Request-Id"));
    ck_assert(has(field(text, "access-control-expose-headers"), "Content-Range"));
    free(text);
    text = converse("OPTIONS /nothing HTTP/1.1\r\n" HOST CLOSE "Origin: http://a.test\r\n"
                    "Access-Control-Request-Method: POST\r\n"
                    "Access-Control-Request-Headers: x-a, x-b\r\n\r\n");
    ck_assert(str_starts(str_of(text), "HTTP/1.1 200 OK\r\n"));
    ck_assert_str_eq(field(text, "content-length"), "0");
    ck_assert_str_eq(field(text, "access-control-allow-origin"), "http://a.test");
    ck_assert_str_eq(field(text, "access-control-allow-headers"), "x-a, x-b");
    ck_assert(has(field(text, "access-control-allow-methods"), "GET, HEAD, POST, PUT, PATCH"));
    ck_assert_str_eq(field(text, "access-control-max-age"), "600");
    free(text);
    text =
        converse("OPTIONS * HTTP/1.1\r\n" HOST CLOSE "Access-Control-Request-Method: GET\r\n\r\n");
    ck_assert(str_starts(str_of(text), "HTTP/1.1 200 OK\r\n"));
    ck_assert_str_eq(field(text, "access-control-allow-headers"), "");
    free(text);
    text = converse("OPTIONS /ping HTTP/1.1\r\n" HOST CLOSE
                    "Access-Control-Request-Method: WHAT\r\n\r\n");
    ck_assert(str_starts(str_of(text), "HTTP/1.1 400 "));
    ck_assert_str_eq(body(text), "Requested method is not allowed");
    free(text);
    text = converse("OPTIONS /ping HTTP/1.1\r\n" HOST CLOSE "\r\n");
    ck_assert(str_starts(str_of(text), "HTTP/1.1 405 "));
    free(text);
    lab_close();
}
END_TEST

START_TEST(cors_enforced)
{
    static const char preflight[] = "OPTIONS /ping HTTP/1.1\r\n" HOST CLOSE "Origin: %s\r\n"
                                    "Access-Control-Request-Method: POST\r\n\r\n";
    static const struct {
        const char *origin;
        bool may;
    } asked[] = {
        { "https://a.test", true }, { "https://B.test", true }, { "https://a.test.evil", false },
        { "https://a.tes", false }, { "http://a.test", false }, { "null", false },
    };

    lab_open(lab_limits);
    lab.http.cors.origins = ATH_S("https://a.test, https://b.test:8443,https://b.test");
    lab.http.cors.enforce = true;
    for (size_t i = 0; i < ATH_COUNT(asked); i++) {
        const char *seen = asked[i].may ? asked[i].origin : "";
        char line[256], *text;
        snprintf(line, sizeof(line), "Origin: %s\r\n", asked[i].origin);
        text = get("/ping", line);
        ck_assert_str_eq(body(text), "pong"); /* the browser withholds it, not the server */
        ck_assert_str_eq(field(text, "access-control-allow-origin"), seen);
        free(text);
        snprintf(line, sizeof(line), preflight, asked[i].origin);
        text = converse(line);
        ck_assert(str_starts(str_of(text), "HTTP/1.1 200 OK\r\n"));
        ck_assert_str_eq(field(text, "access-control-allow-origin"), seen);
        ck_assert_int_eq(has(field(text, "access-control-allow-methods"), "POST"), asked[i].may);
        free(text);
    }
    lab_close();
}
END_TEST

START_TEST(unknown_paths_and_methods)
{
    char *text;

    lab_open(lab_limits);
    text = get("/nothing", "");
    ck_assert(str_starts(str_of(text), "HTTP/1.1 404 Not Found\r\n"));
    ck_assert(
        has(text, "\"message\":\"Not Found\",\"error\":\"The requested resource was not found\""));
    free(text);
    text = converse("DELETE /ping HTTP/1.1\r\n" HOST CLOSE "\r\n");
    ck_assert(str_starts(str_of(text), "HTTP/1.1 405 Method Not Allowed\r\n"));
    ck_assert_str_eq(field(text, "allow"), "GET, HEAD");
    ck_assert(has(text, "\"code\":\"method_not_allowed\""));
    free(text);
    lab_close();
}
END_TEST

START_TEST(the_envelope)
{
    struct buf want = BUF_HEAP;
    char *text;
    char id[40];

    lab_open(lab_limits);
    text = get("/fail", "");
    snprintf(id, sizeof(id), "%s", field(text, "x-athena-request-id"));
    ck_assert(str_starts(str_of(text), "HTTP/1.1 409 Conflict\r\n"));
    ck_assert_str_eq(field(text, "content-type"), "application/json");
    ck_assert_str_eq(field(text, "retry-after"), "3");
    ck_assert_str_eq(field(text, "x-kept"), "yes");
    buf_printf(&want,
               "{\"status\":\"error\",\"code\":\"unique_violation\","
               "\"message\":\"A record with this value already exists\","
               "\"error\":\"duplicate key value violates unique constraint \\\"k\\\"\","
               "\"error_number\":1000,"
               "\"docs_url\":\"https://docs.athena-cluster.com/docs/reference/errors/1000\","
               "\"hint\":\"Use another value, or update the existing row.\",\"status_code\":409,"
               "\"details\":{\"constraint\":\"k\",\"trace_id\":\"%s\"},\"trace_id\":\"%s\","
               "\"data\":{\"operation\":\"insert\","
               "\"details\":{\"constraint\":\"k\",\"trace_id\":\"%s\"}},\"success\":false}",
               id, id, id);
    ck_assert_str_eq(body(text),
                     want.p); /* neither DETAIL nor the reason: nobody asked, or is admin */
    free(text);
    buf_free(&want);
    text = get("/inside", "");
    ck_assert(str_starts(str_of(text), "HTTP/1.1 500 "));
    ck_assert(has(text, "An unexpected error occurred") && !has(text, "secret"));
    free(text);
    text = get("/unanswered", "");
    ck_assert(str_starts(str_of(text), "HTTP/1.1 500 ") && has(text, "plugin_unanswered"));
    free(text);
    lab_close();
    ck_assert_int_eq(lab.account[0].ending, REQ_FAILED);
    ck_assert_int_eq(lab.account[0].status, 409);
}
END_TEST

static int on_special(ath_req *r, ath_err *e)
{
    (void)r;
    err_raise(e, "unauthorized", "no");
    err_detail_str(e, "title", str_of("Say \"please\""));
    err_detail(e, "list", str_of("[{\"a\":\"},\\\"\"},2]"));
    if (str_is(req_param(r, "body"), "1"))
        err_detail(e, "body", str_of("{\"error\":\"just this\"}"));
    return e->rc;
}

START_TEST(details_with_a_meaning)
{
    struct route route = { .def = { .method = "GET", .path = "/special", .handle = on_special } };
    struct ath_err e;
    char *text;

    lab_open(lab_limits);
    ck_assert_int_eq(router_add(lab.http.router, &route, &e), 0);
    text = get("/special", "");
    ck_assert(has(text, "\"message\":\"Say \\\"please\\\"\",\"error\":\"no\""));
    ck_assert(has(text, "\"details\":{\"list\":[{\"a\":\"},\\\"\"},2],\"trace_id\":"));
    ck_assert(!has(text, "\"data\"") && !has(text, "\"success\""));
    free(text);
    text = get("/special?body=1", "");
    ck_assert(str_starts(str_of(text), "HTTP/1.1 401 "));
    ck_assert_str_eq(body(text), "{\"error\":\"just this\"}");
    free(text);
    lab_close();
}
END_TEST

/* `total` alone where no database was asked. */
START_TEST(timing_for_those_who_ask)
{
    static const struct {
        enum http_timing timing;
        const char *path, *fields;
        bool shown;
    } one[] = { { TIMING_ASKED, "/data?n=5", "X-Athena-Timing: 1\r\n", true },
                { TIMING_ASKED, "/data?n=5", "", false },
                { TIMING_ASKED, "/answer?n=5", "X-Athena-Timing: 1\r\n", false },
                { TIMING_ALWAYS, "/data?n=5", "", true },
                { TIMING_ALWAYS, "/ping", "", false },
                { TIMING_ALWAYS, "/nothing", "", false },
                { TIMING_NEVER, "/data?n=5", "X-Athena-Timing: 1\r\n", false } };
    unsigned ms, us;
    char *text, end;

    for (size_t i = 0; i < ATH_COUNT(one); i++) {
        lab_timing = one[i].timing;
        lab_open(lab_limits);
        text = get(one[i].path, one[i].fields);
        ck_assert_msg((field(text, "server-timing")[0] != 0) == one[i].shown, "%zu: %s", i, text);
        if (one[i].shown)
            ck_assert_int_eq(
                sscanf(field(text, "server-timing"), "total;dur=%u.%3u%c", &ms, &us, &end), 2);
        ck_assert_str_eq(field(text, "timing-allow-origin"), "");
        free(text);
        if (one[i].shown) {
            text = get("/data", "X-Athena-Timing: 1\r\nOrigin: http://a.test\r\n");
            ck_assert_str_eq(field(text, "timing-allow-origin"), "http://a.test");
            free(text);
        }
        lab_close();
    }
    lab_timing = TIMING_ASKED;
}
END_TEST

SUITE("reply", every_answer_has_its_fields, fields_of_a_handler, ids_and_trace_context, cors,
      cors_enforced, unknown_paths_and_methods, the_envelope, details_with_a_meaning,
      timing_for_those_who_ask)
