/* plugins/shared/logline: the published lines, to the byte, and JSON. */
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "logline/logline.h"
#include "support/check_main.h"

/* 2026-11-22 16:31:06.966 UTC */
enum { MS = 966 };
static const uint64_t WHEN = 1795365066u * 1000000000ull + MS * 1000000ull;

#define PLAIN(k, v) { ATH_S(k), ATH_S(v), ATH_V_PLAIN, 0 }
#define TEXT(k, v) { ATH_S(k), ATH_S(v), ATH_V_TEXT, 0 }
#define NUMBER(k, v) { ATH_S(k), ATH_S(v), ATH_V_NUMBER, 0 }

static void utc(void)
{
    setenv("TZ", "UTC0", 1);
    tzset();
}

static void expect(const ath_event *e, unsigned flags, const char *line)
{
    struct logline l = { 0 };
    struct buf b = BUF_HEAP;

    logline_text(&l, &b, e, flags);
    ck_assert_str_eq(b.p, line);
    buf_free(&b);
    logline_free(&l);
}

START_TEST(the_request_line_is_the_published_one)
{
    static const ath_fact facts[] = {
        PLAIN("span.http_method", "GET"), PLAIN("span.http_route", "/ping"),
        PLAIN("span.net_peer_addr", "127.0.0.1"), NUMBER("span.http_status_code", "200"),
        PLAIN("http_method", "GET"), PLAIN("http_route", "/ping"), NUMBER("http_status_code", "200"),
    };
    ath_event e = { .size = sizeof(e), .level = ATH_INFO, .time_ns = WHEN,
                    .source = ATH_S("athena::http"), .message = ATH_S("request completed"),
                    .fact = facts, .fact_count = ATH_COUNT(facts) };

    utc();
    expect(&e, LOGLINE_SPAN,
           "16:31:06.966  INFO http.request{http_method=GET http_route=/ping "
           "net_peer_addr=127.0.0.1 http_status_code=200 http_status_code=200}: athena::http: "
           "request completed http_method=GET http_route=/ping http_status_code=200\n");
    e.level = ATH_ERROR;
    expect(&e, 0,
           "16:31:06.966 ERROR athena::http: request completed http_method=GET http_route=/ping "
           "http_status_code=200\n");
    e.level = ATH_WARN;
    e.fact_count = 3;
    expect(&e, LOGLINE_SPAN | LOGLINE_DATE,
           "2026-11-22T16:31:06.966+00:00  WARN http.request{http_method=GET http_route=/ping "
           "net_peer_addr=127.0.0.1}: athena::http: request completed\n");
}
END_TEST

START_TEST(the_trace_line_is_the_published_one)
{
    static const ath_fact facts[] = {
        PLAIN("span.http_method", "POST"), PLAIN("span.http_route", "/gateway/fetch"),
        PLAIN("span.net_peer_addr", "127.0.0.1"), TEXT("event", "gateway_operation"),
        TEXT("athena_version", "3.27.1"), PLAIN("request_id", "f9121f50"), PLAIN("client", "shop"),
        PLAIN("backend", ""), TEXT("table_name", ""), TEXT("outcome", "client_error"),
        NUMBER("duration_ms", "44"), { ATH_S("cached"), ATH_S("false"), ATH_V_BOOL, 0 },
        PLAIN("detail_keys", "a,b"), PLAIN("message", "The table 'nope' was not found."),
    };
    ath_event e = { .size = sizeof(e), .level = ATH_INFO, .time_ns = WHEN,
                    .source = ATH_S("athena_rs::gateway_trace"), .name = ATH_S("operation"),
                    .message = ATH_S("gateway operation completed"), .fact = facts,
                    .fact_count = ATH_COUNT(facts) };

    utc();
    expect(&e, LOGLINE_SPAN,
           "16:31:06.966  INFO http.request{http_method=POST http_route=/gateway/fetch "
           "net_peer_addr=127.0.0.1}: athena_rs::gateway_trace: gateway operation completed "
           "event=\"gateway_operation\" athena_version=\"3.27.1\" request_id=f9121f50 client=shop "
           "backend= table_name=\"\" outcome=\"client_error\" duration_ms=44 cached=false "
           "detail_keys=a,b The table 'nope' was not found.\n");
}
END_TEST

START_TEST(no_byte_breaks_a_line)
{
    ath_fact facts[] = {
        TEXT("quoted", "a \"b\" \\ c\nd\te\x01"), PLAIN("plain", "one\ntwo \"three\" \x1b[31m"),
        TEXT("utf8", "gr\xc3\xbc\xc3\x9f" "e, und noch viel mehr"), { ATH_S("none"), { NULL, 0 }, ATH_V_TEXT, 0 },
    };
    ath_event e = { .size = sizeof(e), .level = ATH_DEBUG, .time_ns = WHEN, .source = ATH_S("x"),
                    .message = ATH_S("red \x1b[31mtext\x7f\n"), .fact = facts,
                    .fact_count = ATH_COUNT(facts) };
    char every[256 * 9 + 1];

    utc();
    expect(&e, LOGLINE_SPAN,
           "16:31:06.966 DEBUG x: red \\x1b[31mtext\\x7f\\x0a quoted=\"a \\\"b\\\" \\\\ c\\nd\\te\\x01\" "
           "plain=one\\x0atwo \"three\" \\x1b[31m utf8=\"gr\xc3\xbc\xc3\x9f" "e, und noch viel mehr\" none=\"\"\n");
    for (size_t i = 0; i < sizeof(every); i++)
        every[i] = (char)(i / 9);
    for (size_t n = 0; n < sizeof(every); n++) {
        struct logline l = { 0 };
        struct buf b = BUF_HEAP;
        facts[0].value = str_from(every + sizeof(every) - n, n);
        facts[1].value = str_from(every, n);
        logline_text(&l, &b, &e, 0);
        size_t at = 0; /* one assertion a line: millions of them would take a minute */
        while (at + 1 < b.n && (unsigned char)b.p[at] >= 0x20)
            at++;
        ck_assert_uint_eq(at + 1, b.n);
        buf_free(&b);
    }
}
END_TEST

#define SAME(k, v, form) { ATH_S(k), ATH_S(v), form, ATH_FACT_SAME }

/* The first line makes the pieces and runs, the others are put together from them. */
START_TEST(values_that_never_change_are_the_same_line)
{
    ath_fact facts[] = {
        SAME("event", "a \"b\"", ATH_V_TEXT), SAME("version", "1", ATH_V_TEXT), PLAIN("id", "x"),
        SAME("backend", "", ATH_V_PLAIN), SAME("engine", "postgres", ATH_V_PLAIN),
        SAME("error_code", "", ATH_V_PLAIN), SAME("message", "said", ATH_V_PLAIN),
        SAME("fifth", "5", ATH_V_NUMBER), PLAIN("z", "y"), SAME("alone", "1", ATH_V_NUMBER),
    };
    ath_event e = { .size = sizeof(e), .level = ATH_INFO, .time_ns = WHEN, .flags = ATH_EV_KEYS,
                    .source = ATH_S("x"), .message = ATH_S("m"), .fact = facts,
                    .fact_count = ATH_COUNT(facts) };
    static const char head[] = "16:31:06.966  INFO x: m event=\"a \\\"b\\\"\" version=\"1\" id=";
    struct logline l = { 0 };
    struct buf b = BUF_HEAP, want = BUF_HEAP;

    utc();
    for (int i = 0; i < 5; i++) {
        char own[2] = { (char)('0' + i), 0 };
        bool noted = i == 1 || i == 3;
        facts[2].value = str_of(own);
        facts[4].value = noted ? str_of(own) : ATH_S("postgres");
        facts[4].pad = noted ? 0 : ATH_FACT_SAME;
        buf_reset(&b);
        buf_reset(&want);
        logline_text(&l, &b, &e, LOGLINE_SPAN);
        buf_printf(&want, "%s%s backend= engine=%s error_code= said fifth=5 z=y alone=1\n", head, own,
                   noted ? own : "postgres");
        ck_assert_str_eq(b.p, want.p);
    }
    buf_free(&b);
    buf_free(&want);
    logline_free(&l);
}
END_TEST

START_TEST(colours_are_for_terminals)
{
    ath_event e = { .size = sizeof(e), .level = ATH_ERROR, .time_ns = WHEN, .source = ATH_S("x"),
                    .message = ATH_S("m") };

    utc();
    expect(&e, LOGLINE_COLOR,
           "\x1b[2m16:31:06.966\x1b[0m \x1b[31mERROR\x1b[0m \x1b[2mx:\x1b[0m m\n");
}
END_TEST

START_TEST(local_time_is_the_zones)
{
    ath_event e = { .size = sizeof(e), .level = ATH_INFO, .time_ns = WHEN, .source = ATH_S("x"),
                    .message = ATH_S("m") };

    setenv("TZ", "XYZ-5:30", 1);
    tzset();
    expect(&e, LOGLINE_DATE, "2026-11-22T22:01:06.966+05:30  INFO x: m\n");
    expect(&e, 0, "22:01:06.966  INFO x: m\n");
    utc();
}
END_TEST

START_TEST(json_is_one_object_a_line)
{
    static const ath_fact facts[] = {
        PLAIN("span.http_method", "GET"), NUMBER("span.http_status_code", "200"),
        NUMBER("count", "3"), { ATH_S("ok"), ATH_S("true"), ATH_V_BOOL, 0 },
        { ATH_S("raw"), ATH_S("{\"a\":[1]}"), ATH_V_JSON, 0 }, TEXT("text", "a\"b\n"),
        NUMBER("absent", ""), PLAIN("bad", "a\xff"),
    };
    ath_event e = { .size = sizeof(e), .level = ATH_WARN, .time_ns = WHEN, .source = ATH_S("x"),
                    .name = ATH_S("request"), .message = ATH_S("m"), .request_id = ATH_S("r1"),
                    .trace_id = ATH_S("t1"), .fact = facts, .fact_count = ATH_COUNT(facts) };
    struct logline l = { 0 };
    struct buf b = BUF_HEAP;

    logline_json(&l, &b, &e);
    ck_assert_str_eq(b.p,
                     "{\"time\":\"2026-11-22T16:31:06.966000Z\",\"level\":\"WARN\",\"target\":\"x\","
                     "\"name\":\"request\",\"message\":\"m\",\"request_id\":\"r1\",\"trace_id\":\"t1\","
                     "\"span\":{\"http_method\":\"GET\",\"http_status_code\":200},\"fields\":{\"count\":3,"
                     "\"ok\":true,\"raw\":{\"a\":[1]},\"text\":\"a\\\"b\\n\",\"absent\":\"\",\"bad\":\"a?\"}}\n");
    buf_free(&b);
    logline_free(&l);
}
END_TEST

START_TEST(what_did_not_go_out_waits)
{
    struct logout o = { .fd = open("/dev/full", O_WRONLY) };
    int pipes[2];
    char text[8] = "";

    buf_z(&o.text, "line\n");
    ck_assert_int_eq(logout_flush(&o), -28); /* ENOSPC */
    ck_assert_uint_eq(o.text.n - o.done, 5);
    close(o.fd);
    ck_assert_int_eq(pipe(pipes), 0);
    o.fd = pipes[1];
    ck_assert_int_eq(logout_flush(&o), 0);
    ck_assert_int_eq(read(pipes[0], text, sizeof(text)), 5);
    ck_assert_str_eq(text, "line\n");
    ck_assert_uint_eq(o.text.n, 0);
    close(pipes[0]);
    close(pipes[1]);
    logout_free(&o);
}
END_TEST

SUITE("logline", the_request_line_is_the_published_one, the_trace_line_is_the_published_one,
      no_byte_breaks_a_line, values_that_never_change_are_the_same_line, colours_are_for_terminals, local_time_is_the_zones,
      json_is_one_object_a_line, what_did_not_go_out_waits)
