/* A real server on loopback: order, framing, limits, clients that are slow or leave, draining. */
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/un.h>

#include "lab.h"

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;

    while ((text = strstr(text, what))) {
        n++;
        text++;
    }
    return n;
}

/* ---- answers ---- */

START_TEST(keep_alive_and_close)
{
    struct buf b = BUF_HEAP;
    int fd;

    lab_open(lab_limits);
    fd = dial();
    for (int i = 0; i < 3; i++) {
        buf_reset(&b);
        say(fd, "GET /ping HTTP/1.1\r\n" HOST "\r\n");
        hear(fd, &b, "\r\n\r\npong");
        ck_assert(str_starts(buf_view(&b), "HTTP/1.1 200 OK\r\n"));
        ck_assert(!strstr(b.p, "connection:"));
    }
    buf_reset(&b);
    say(fd, "GET /ping HTTP/1.1\r\n" HOST CLOSE "\r\nGET /ping HTTP/1.1\r\n" HOST "\r\n");
    ck_assert(hear_all(fd, &b));
    ck_assert_uint_eq(count(b.p, "HTTP/1.1 "),
                      1); /* what follows Connection: close is no request */
    ck_assert(strstr(b.p, "connection: close\r\n"));
    close(fd);
    buf_free(&b);
    wait_for(&lab.accounts, 4);
    lab_close();
    ck_assert_uint_eq(atomic_load(&lab.accounts), 4);
    ck_assert_int_eq(lab.account[0].ending, REQ_ANSWERED);
}
END_TEST

START_TEST(http_1_0)
{
    char *text;

    lab_open(lab_limits);
    text = converse("GET /ping HTTP/1.0\r\n\r\n");
    ck_assert(strstr(text, "connection: close\r\n") && str_ends(str_of(text), "pong"));
    free(text);
    text = converse("GET /stream?n=30000 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    ck_assert(!strstr(text, "transfer-encoding") && !strstr(text, "content-length"));
    ck_assert_uint_eq(strlen(strstr(text, "\r\n\r\n")), 30004);
    free(text);
    text = converse("GET /ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
                    "GET /ping HTTP/1.0\r\n\r\n");
    ck_assert_uint_eq(count(text, "connection: keep-alive\r\n"), 1);
    ck_assert_uint_eq(count(text, "pong"), 2);
    free(text);
    lab_close();
}
END_TEST

START_TEST(pipelined_answers_come_in_order)
{
    struct buf b = BUF_HEAP, all = BUF_HEAP;
    uint64_t before;
    const char *at;
    int fd;

    lab_open(lab_limits);
    fd = dial();
    before = clock_ms();
    say(fd,
        "GET /slow?ms=600 HTTP/1.1\r\n" HOST "\r\nGET /slow?ms=601 HTTP/1.1\r\n" HOST "\r\n"
        "GET /slow?ms=20 HTTP/1.1\r\n" HOST "\r\nGET /slow?ms=9 HTTP/1.1\r\n" HOST CLOSE "\r\n");
    ck_assert(hear_all(fd, &b));
    at = strstr(b.p, "\r\n\r\n600");
    ck_assert(at && (at = strstr(at, "\r\n\r\n601")) && (at = strstr(at, "\r\n\r\n20HTTP")) &&
              strstr(at, "\r\n\r\n9"));
    ck_assert_uint_lt(clock_ms() - before, 1190); /* reads run side by side */
    close(fd);
    fd = dial();
    for (int i = 0; i < 200; i++) /* many more than may wait */
        buf_lit(&all, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi");
    buf_lit(&all, "GET /ping HTTP/1.1\r\n" HOST CLOSE "\r\n");
    say_n(fd, all.p, all.n);
    buf_reset(&b);
    ck_assert(hear_all(fd, &b));
    ck_assert_uint_eq(count(b.p, "\r\n\r\nhi"), 200);
    ck_assert(str_ends(buf_view(&b), "\r\n\r\npong"));
    close(fd);
    buf_free(&b);
    buf_free(&all);
    lab_close();
}
END_TEST

START_TEST(writes_do_not_overtake)
{
    struct buf b = BUF_HEAP;
    uint64_t before;
    int fd;

    lab_open(lab_limits);
    fd = dial();
    before = clock_ms();
    say(fd, "POST /slow?ms=100 HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"
            "POST /slow?ms=101 HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"
            "GET /ping HTTP/1.1\r\n" HOST CLOSE "\r\n");
    ck_assert(hear_all(fd, &b));
    ck_assert_uint_ge(clock_ms() - before, 200);
    ck_assert_uint_eq(count(b.p, "HTTP/1.1 200"), 3);
    close(fd);
    buf_free(&b);
    lab_close();
}
END_TEST

START_TEST(bodies)
{
    static const char *const pieces[] = {
        "POST /ec",       "ho HTTP/1.1\r\nHo",  "st: x\r",
        "\nTransfer-Enc", "oding: chunked\r\n", "\r\n3\r",
        "\nabc\r\n",      "2;x=y\r\nde",        "\r\n0\r\nTrailer: x\r\n",
        "\r\n",
    };
    struct buf b = BUF_HEAP;
    char *text;
    int fd;

    lab_open(lab_limits);
    fd = dial();
    for (size_t i = 0; i < ATH_COUNT(pieces); i++) {
        say(fd, pieces[i]);
        usleep(3000);
    }
    hear(fd, &b, "\r\n\r\nabcde");
    close(fd);
    text = converse("POST /small HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\nhello world"
                    "GET /ping HTTP/1.1\r\n" HOST CLOSE "\r\n");
    ck_assert(strstr(text, "413 Payload Too Large") && strstr(text, "payload_too_large"));
    ck_assert(strstr(text, "pong")); /* the body had come with it: the connection is kept */
    free(text);
    text = converse("POST /small HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                    "8\r\n12345678\r\n8\r\n12345678\r\n");
    ck_assert(strstr(text, "413 Payload Too Large") && strstr(text, "connection: close"));
    free(text);
    text = converse("POST /echo HTTP/1.1\r\n" HOST CLOSE "Content-Encoding: zstd\r\n"
                    "Content-Length: 2\r\n\r\nhi");
    ck_assert(strstr(text, "415 Unsupported Media Type") && strstr(text, "unsupported_encoding"));
    ck_assert(strstr(text, "zstd") && strstr(text, "accept-encoding: gzip, deflate"));
    free(text);
    text = converse("POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n");
    ck_assert(strstr(text, "400 Bad Request") && strstr(text, "\"bad_request\""));
    free(text);
    buf_free(&b);
    lab_close();
}
END_TEST

START_TEST(expectations)
{
    struct buf b = BUF_HEAP;
    char *text;
    int fd;

    lab_open(lab_limits);
    fd = dial();
    say(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 2\r\nExpect: 100-Continue\r\n\r\n");
    hear(fd, &b, "HTTP/1.1 100 Continue\r\n\r\n");
    say(fd, "hi");
    hear(fd, &b, "\r\n\r\nhi");
    buf_reset(&b);
    say(fd, "POST /small HTTP/1.1\r\n" HOST "Content-Length: 20\r\nExpect: 100-continue\r\n\r\n");
    ck_assert(hear_all(fd, &b)); /* refused without having asked for it */
    ck_assert(str_starts(buf_view(&b), "HTTP/1.1 413 ") && strstr(b.p, "connection: close"));
    close(fd);
    text = converse("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 2\r\nExpect: cake\r\n\r\nhi");
    ck_assert(str_starts(str_of(text), "HTTP/1.1 417 "));
    free(text);
    buf_free(&b);
    lab_close();
}
END_TEST

START_TEST(head_has_no_body)
{
    char *text;

    lab_open(lab_limits);
    text = converse("HEAD /ping HTTP/1.1\r\n" HOST CLOSE "\r\n");
    ck_assert(strstr(text, "200 OK") && strstr(text, "content-length: 4\r\n"));
    ck_assert(str_ends(str_of(text), "\r\n\r\n"));
    free(text);
    text = converse("HEAD /stream?n=100000 HTTP/1.1\r\n" HOST CLOSE "\r\n");
    ck_assert(str_ends(str_of(text), "\r\n\r\n"));
    free(text);
    text = converse("HEAD /nothing HTTP/1.1\r\n" HOST CLOSE "\r\n");
    ck_assert(strstr(text, "404 Not Found") && str_ends(str_of(text), "\r\n\r\n"));
    free(text);
    lab_close();
}
END_TEST

/* ---- what is refused ---- */

static const char *const refused[] = {
    "GET /ping HTTP/1.1\r\n\r\n", /* no Host */
    "GET /ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "GET /ping HTTP/1.1\r\nHost: a b\r\n\r\n",
    "GET /ping HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "GET /ping HTTP/1.1\r\nHost : x\r\n\r\n", /* blank before : */
    "GET /ping HTTP/1.1\r\nHost: x\r\nX-A : b\r\n\r\n",
    "GET /ping HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n", /* folded */
    "GET /ping HTTP/1.1\r\nHost: x\r\nX-A:\r\n\tc\r\n\r\n",
    "GET /ping HTTP/1.1\r\nHost: x\r\nX-A: b\r\n \r\n\r\n",
    "GET /ping HTTP/1.1\r\nHost: x\r\nX-A:\r\n \r\nX-B: c\r\n\r\n",
    "GET /ping HTTP/1.1\r\nHost: x\r\nX-A: b \r\n\tc\r\nX-B: d\r\n\r\n",
    "GET /ping HTTP/1.1\r\n Host: x\r\n\r\n",
    "GET /ping HTTP/2.0\r\nHost: x\r\n\r\n",
    "GET /ping HTTP/0.9\r\nHost: x\r\n\r\n",
    "GET /ping HTTP/1.2\r\nHost: x\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "GET /ping\r\n\r\n",
    "GET ping HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /ping#a HTTP/1.1\r\nHost: x\r\n\r\n",
    "CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "WHAT /ping HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /ping HTTP/1.1\nHost: x\n\n", /* bare LF */
    "GET /ping HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n",
    "GET /ping HTTP/1.1\r\nHost: x\r\nX: a\x01z\r\n\r\n",
    "GET /ping HTTP/1.1\r\nHost: x\r\nX\x80: a\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
    "0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n"
    "0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\n\r\nhi",
    "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\nhi",
    "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -2\r\n\r\nhi",
    "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0x2\r\n\r\nhi",
    "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nhi",
    "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\x0b"
    "chunked\r\n\r\n0\r\n\r\n",
    "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhiXX0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    "fffffffffffffffff\r\nhi\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nhi\r\n0\r\n\r\n",
};

START_TEST(refusals)
{
    lab_open(lab_limits);
    for (size_t i = 0; i < ATH_COUNT(refused); i++) {
        struct buf whole = BUF_HEAP;
        char *text;
        buf_z(&whole, "GET /ping HTTP/1.1\r\n" HOST "\r\n"); /* an answer before is not lost */
        buf_z(&whole, refused[i]);
        buf_z(&whole, "GET /never HTTP/1.1\r\n" HOST "\r\n"); /* and nothing behind is a request */
        text = converse(whole.p);
        ck_assert_msg(strstr(text, "HTTP/1.1 400 ") && count(text, "HTTP/1.1 ") == 2, "%s: %s",
                      refused[i], text);
        ck_assert_msg(strstr(text, "connection: close"), "%s", refused[i]);
        ck_assert_msg(strstr(text, "pong"), "%s", refused[i]);
        free(text);
        buf_free(&whole);
    }
    ck_assert_uint_eq(atomic_load(&lab.stopped), 0);
    lab_close();
}
END_TEST

/* Names, values and the target, cut at every byte. */
START_TEST(a_head_comes_byte_by_byte)
{
    static const char text[] = "POST /echo HTTP/1.1\r\nX-Empty:\r\nHOST: \t x \t\r\nX-Blank:  \r\n"
                               "Content-Length: 2\r\nX-Athena-Client:a b \r\n\r\nhi";
    struct buf b = BUF_HEAP;
    int fd, one = 1;

    lab_open(lab_limits);
    fd = dial();
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        say_n(fd, text + i, 1);
        usleep(300);
    }
    hear(fd, &b, "\r\n\r\nhi");
    ck_assert(str_starts(buf_view(&b), "HTTP/1.1 200 OK\r\n"));
    ck_assert(strstr(b.p, "\r\nx-length: 2\r\n"));
    ck_assert(strstr(b.p, "\r\nx-athena-client: a b\r\n"));
    close(fd);
    buf_free(&b);
    wait_for(&lab.accounts, 1);
    lab_close();
    ck_assert_str_eq(lab.account[0].target, "/echo");
}
END_TEST

START_TEST(sizes_of_a_head)
{
    struct http_limits limits = lab_limits;
    struct buf b = BUF_HEAP;
    char *text;

    limits.head_bytes = 4000;
    limits.head_fields = 20;
    limits.target_bytes = 1000;
    lab_open(limits);
    buf_lit(&b, "GET /");
    for (int i = 0; i < 1000; i++)
        buf_char(&b, 'a');
    buf_lit(&b, " HTTP/1.1\r\n" HOST "\r\n");
    text = converse(b.p);
    ck_assert(str_starts(str_of(text), "HTTP/1.1 400 "));
    free(text);
    buf_reset(&b);
    buf_lit(&b, "GET /ping HTTP/1.1\r\n" HOST "X: ");
    for (int i = 0; i < 4000; i++)
        buf_char(&b, 'a');
    buf_lit(&b, "\r\n\r\n");
    text = converse(b.p);
    ck_assert(str_starts(str_of(text), "HTTP/1.1 431 "));
    free(text);
    buf_reset(&b);
    buf_lit(&b, "GET /ping HTTP/1.1\r\n" HOST);
    for (int i = 0; i < 20; i++)
        buf_lit(&b, "X:\r\n");
    buf_lit(&b, "\r\n");
    text = converse(b.p);
    ck_assert(str_starts(str_of(text), "HTTP/1.1 431 "));
    free(text);
    buf_free(&b);
    lab_close();
}
END_TEST

/* ---- limits of time ---- */

START_TEST(slow_heads_bodies_and_idle_ones_are_cut)
{
    struct http_limits limits = lab_limits;
    struct buf b = BUF_HEAP;
    char *text;

    limits.head_ms = 150;
    limits.body_ms = 150;
    limits.idle_ms = 150;
    lab_open(limits);
    text = converse("GET /ping HTTP/1.1\r\nHo");
    ck_assert(str_starts(str_of(text), "HTTP/1.1 408 "));
    free(text);
    text = converse("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nhi");
    ck_assert(str_starts(str_of(text), "HTTP/1.1 408 ") && strstr(text, "request_timeout"));
    ck_assert(strstr(text, "connection: close"));
    free(text);
    text = converse("\r\n\r\n");
    ck_assert_str_eq(text, "");
    free(text);
    text = converse("GET /ping HTTP/1.1\r\n" HOST "\r\n");
    ck_assert(str_ends(str_of(text), "pong"));
    free(text);
    text = converse("GET /slow?ms=400 HTTP/1.1\r\n" HOST "\r\n"); /* it is not idle meanwhile */
    ck_assert(str_ends(str_of(text), "400"));
    free(text);
    buf_free(&b);
    lab_close();
}
END_TEST

START_TEST(a_deadline_is_answered)
{
    struct http_limits limits = lab_limits;
    char *text;

    limits.request_ms = 150;
    lab_open(limits);
    text = converse("GET /never HTTP/1.1\r\n" HOST CLOSE "\r\n");
    ck_assert(str_starts(str_of(text), "HTTP/1.1 504 ") && strstr(text, "query_timeout"));
    free(text);
    wait_for(&lab.stopped, 1);
    lab_close();
    ck_assert_int_eq(lab.account[0].ending, REQ_TIMED_OUT);
}
END_TEST

START_TEST(a_caller_may_have_less_time_than_the_server_gives)
{
    struct http_limits limits = lab_limits;
    char *text;

    limits.request_ms = 300;
    lab_open(limits);
    text = converse("GET /never HTTP/1.1\r\nX-Athena-Timeout: 50ms\r\n" HOST CLOSE "\r\n");
    ck_assert(str_starts(str_of(text), "HTTP/1.1 504 "));
    free(text);
    text = converse("GET /never HTTP/1.1\r\nX-Athena-Timeout: 1h\r\n" HOST CLOSE "\r\n");
    ck_assert(str_starts(str_of(text), "HTTP/1.1 504 ")); /* not more */
    free(text);
    text = converse("GET /ping HTTP/1.1\r\nX-Athena-Timeout: soon\r\n" HOST CLOSE "\r\n");
    ck_assert(str_starts(str_of(text), "HTTP/1.1 400 ") && strstr(text, "X-Athena-Timeout"));
    free(text);
    lab_close();
}
END_TEST

/* ---- streams and slow readers ---- */

static uint64_t dechunk(const char *p, bool *ret_end)
{
    uint64_t all = 0;

    *ret_end = false;
    for (;;) {
        char *next;
        unsigned long n = strtoul(p, &next, 16);
        if (next == p || memcmp(next, "\r\n", 2) != 0)
            return all;
        all += n;
        if (n == 0) {
            *ret_end = strcmp(next, "\r\n\r\n") == 0;
            return all;
        }
        p = next + 2 + n + 2;
    }
}

START_TEST(streams)
{
    char *text, *body;
    bool end;

    lab_open(lab_limits);
    text = converse("GET /stream?n=300000 HTTP/1.1\r\n" HOST CLOSE "\r\n");
    ck_assert(strstr(text, "transfer-encoding: chunked\r\n"));
    ck_assert_uint_eq(dechunk(strstr(text, "\r\n\r\n") + 4, &end), 300000);
    ck_assert(end);
    free(text);
    text = converse("GET /stream?n=0 HTTP/1.1\r\n" HOST CLOSE "\r\n");
    ck_assert(str_ends(str_of(text), "\r\n\r\n0\r\n\r\n"));
    free(text);
    text = converse("GET /stream?n=50000&length=50000 HTTP/1.1\r\n" HOST CLOSE "\r\n");
    ck_assert(strstr(text, "content-length: 50000\r\n") && !strstr(text, "chunked"));
    body = strstr(text, "\r\n\r\n") + 4;
    ck_assert_uint_eq(strlen(body), 50000);
    free(text);
    text = converse("GET /stream?n=50000&broken=1 HTTP/1.1\r\n" HOST "\r\n");
    dechunk(strstr(text, "\r\n\r\n") + 4, &end);
    ck_assert(!end); /* cut, not complete */
    free(text);
    text = converse("GET /stream?n=50000&length=60000 HTTP/1.1\r\n" HOST "\r\n");
    ck_assert_uint_lt(strlen(strstr(text, "\r\n\r\n") + 4), 60000);
    free(text);
    text = converse("GET /stream?n=50000&length=40000 HTTP/1.1\r\n" HOST "\r\n");
    ck_assert_uint_le(strlen(strstr(text, "\r\n\r\n") + 4), 40000);
    free(text);
    lab_close();
    ck_assert_int_eq(lab.account[0].ending, REQ_ANSWERED);
    ck_assert_uint_eq(lab.account[0].sent_bytes, 300000);
    ck_assert_int_eq(lab.account[3].ending, REQ_CUT);
}
END_TEST

START_TEST(big_answers_come_whole)
{
    enum { BIG = 20000000 };
    struct buf b = BUF_HEAP;
    const char *body;
    int fd;

    lab_open(lab_limits);
    fd = dial();
    say(fd, "GET /big?n=20000000 HTTP/1.1\r\n" HOST "\r\nGET /ping HTTP/1.1\r\n" HOST CLOSE "\r\n");
    usleep(20000);
    ck_assert(hear_all(fd, &b));
    body = strstr(b.p, "\r\n\r\n") + 4;
    for (size_t i = 0; i < BIG; i++)
        if (body[i] != (char)('a' + i % 23))
            ck_abort_msg("byte %zu is wrong", i);
    ck_assert(str_starts(str_of(body + BIG), "HTTP/1.1 200 OK\r\n"));
    ck_assert(str_ends(buf_view(&b), "pong"));
    close(fd);
    buf_free(&b);
    lab_close();
}
END_TEST

START_TEST(a_slow_reader_disturbs_nobody_and_is_cut)
{
    struct http_limits limits = lab_limits;
    struct buf b = BUF_HEAP;
    int slow, stuck, small = 4096, fd;
    uint64_t before, sent = 0;
    unsigned cut = 0;

    limits.write_ms = 400;
    lab_open(limits);
    slow = dial();
    setsockopt(slow, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    say(slow, "GET /stream?n=1000000000 HTTP/1.1\r\n" HOST "\r\n");
    stuck = dial();
    setsockopt(stuck, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    say(stuck, "GET /big?n=30000000 HTTP/1.1\r\n" HOST "\r\n");
    fd = dial();
    before = clock_ms();
    for (int i = 0; i < 20; i++) {
        buf_reset(&b);
        say(fd, "GET /ping HTTP/1.1\r\n" HOST "\r\n");
        hear(fd, &b, "pong");
    }
    ck_assert_uint_lt(clock_ms() - before, 3000);
    wait_for(&lab.accounts, 22); /* both readers are gone by now */
    close(fd);
    close(slow);
    close(stuck);
    buf_free(&b);
    lab_close();
    for (int i = 0; i < 22; i++) {
        cut += lab.account[i].ending == REQ_CUT;
        sent += lab.account[i].sent_bytes;
    }
    ck_assert_uint_eq(cut, 2);
    ck_assert_uint_lt(sent, 20000000);
}
END_TEST

START_TEST(uploads_are_read_as_they_come)
{
    struct buf b = BUF_HEAP;
    static char piece[100000];
    int fd;

    lab_open(lab_limits);
    fd = dial();
    say(fd, "POST /upload HTTP/1.1\r\n" HOST "Content-Length: 5000000\r\n\r\n");
    for (int i = 0; i < 50; i++)
        say_n(fd, piece, sizeof(piece));
    hear(fd, &b, "\r\n\r\n5000000");
    buf_reset(&b);
    say(fd, "POST /upload HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n");
    hear(fd, &b, "\r\n\r\n0");
    buf_reset(&b);
    say(fd, "POST /upload HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    usleep(20000);
    say(fd, "3\r\nabc\r\n0\r\n\r\n");
    hear(fd, &b, "\r\n\r\n6");
    buf_reset(&b);
    say(fd, "POST /hasty HTTP/1.1\r\n" HOST "Content-Length: 2000000\r\n\r\n");
    for (int i = 0; i < 20; i++)
        say_n(fd, piece, sizeof(piece));
    ck_assert(hear_all(fd, &b)); /* not lost to a reset, though its body was not read */
    ck_assert(strstr(b.p, "connection: close") && str_ends(buf_view(&b), "enough"));
    close(fd);
    buf_free(&b);
    lab_close();
}
END_TEST

/* ---- clients that leave ---- */

START_TEST(a_client_that_leaves_stops_its_work)
{
    struct linger hard = { .l_onoff = 1 };
    int fd;

    lab_open(lab_limits);
    fd = dial();
    say(fd, "GET /never HTTP/1.1\r\n" HOST "\r\n");
    usleep(50000);
    close(fd);
    wait_for(&lab.stopped, 1);
    fd = dial();
    say(fd, "GET /never HTTP/1.1\r\n" HOST "\r\n");
    usleep(50000);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(fd); /* a reset */
    wait_for(&lab.stopped, 2);
    fd = dial();
    say(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100\r\n\r\nhalf");
    usleep(50000);
    close(fd);
    wait_for(&lab.accounts, 3);
    lab_close();
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(lab.account[i].ending, REQ_CLIENT_LEFT);
}
END_TEST

/* More requests than may wait: nothing is read, and still it is seen that the client has gone. */
START_TEST(a_client_leaves_while_nothing_is_read)
{
    int fd;

    lab_open(lab_limits);
    fd = dial();
    for (int i = 0; i < 40; i++)
        say(fd, "GET /never HTTP/1.1\r\n" HOST "\r\n");
    usleep(50000);
    close(fd);
    wait_for(&lab.stopped, 17); /* 16 behind the first one */
    wait_for(&lab.accounts, 17);
    lab_close();
    ck_assert_int_eq(lab.account[0].ending, REQ_CLIENT_LEFT);
    ck_assert_uint_eq(atomic_load(&lab.accounts), 17);
}
END_TEST

START_TEST(a_half_closed_client_is_served_while_it_goes_on)
{
    struct buf b = BUF_HEAP;
    int fd;

    lab_open(lab_limits);
    fd = dial();
    for (int i = 0; i < 25; i++) /* one after the other, each well within the grace */
        say(fd, "POST /slow?ms=60 HTTP/1.1\r\n" HOST "\r\n");
    shutdown(fd, SHUT_WR);
    ck_assert(hear_all(fd, &b));
    ck_assert_uint_eq(count(b.p, "HTTP/1.1 200 OK"), 25);
    close(fd);
    buf_free(&b);
    lab_close();
}
END_TEST

START_TEST(a_half_closed_client_gets_its_answers)
{
    struct buf b = BUF_HEAP;
    int fd;

    lab_open(lab_limits);
    fd = dial();
    say(fd, "GET /slow?ms=100 HTTP/1.1\r\n" HOST "\r\nGET /big?n=3000000 HTTP/1.1\r\n" HOST "\r\n");
    shutdown(fd, SHUT_WR);
    ck_assert(hear_all(fd, &b));
    ck_assert(strstr(b.p, "\r\n\r\n100HTTP/1.1 200"));
    ck_assert_uint_gt(b.n, 3000000);
    close(fd);
    buf_free(&b);
    lab_close();
}
END_TEST

START_TEST(draining)
{
    struct buf b = BUF_HEAP;
    int idle, busy, endless;

    lab_open(lab_limits);
    idle = dial();
    busy = dial();
    endless = dial();
    say(idle, "GET /ping HTTP/1.1\r\n" HOST "\r\n");
    hear(idle, &b, "pong");
    say(busy, "GET /slow?ms=200 HTTP/1.1\r\n" HOST "\r\n");
    say(endless, "GET /long HTTP/1.1\r\n" HOST "\r\n");
    usleep(50000);
    loop_call(lab.loop, lab_drain, NULL);
    buf_reset(&b);
    ck_assert(hear_all(idle, &b));
    ck_assert_uint_eq(b.n, 0);
    ck_assert(hear_all(busy, &b));
    ck_assert(strstr(b.p, "connection: close\r\n") && str_ends(buf_view(&b), "\r\n\r\n200"));
    wait_for(&lab.stopped, 1);
    close(idle);
    close(busy);
    close(endless);
    buf_free(&b);
    lab_close();
}
END_TEST

START_TEST(cutting)
{
    int fd;

    lab_open(lab_limits);
    fd = dial();
    say(fd, "GET /never HTTP/1.1\r\n" HOST "\r\n");
    usleep(50000);
    lab_close();
    close(fd);
    ck_assert_uint_eq(atomic_load(&lab.stopped), 1);
    ck_assert_int_eq(lab.account[0].ending, REQ_CUT);
}
END_TEST

START_TEST(too_many_connections)
{
    struct http_limits limits = lab_limits;
    struct buf b = BUF_HEAP;
    int fd[3];

    limits.connections = 2;
    lab_open(limits);
    for (int i = 0; i < 3; i++)
        fd[i] = dial();
    ck_assert(hear_all(fd[2], &b));
    ck_assert(str_starts(buf_view(&b), "HTTP/1.1 503 "));
    buf_reset(&b);
    say(fd[0], "GET /ping HTTP/1.1\r\n" HOST "\r\n");
    hear(fd[0], &b, "pong");
    for (int i = 0; i < 3; i++)
        close(fd[i]);
    buf_free(&b);
    lab_close();
}
END_TEST

START_TEST(a_unix_socket)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    struct buf b = BUF_HEAP;
    char folder[] = "/tmp/athena-http-XXXXXX";
    int fd;

    ck_assert(mkdtemp(folder));
    snprintf(to.sun_path, sizeof(to.sun_path), "%s/s", folder);
    for (int i = 0; i < 2; i++) {
        lab_open_at(lab_limits, (struct acceptor_options){ .unix_path = to.sun_path });
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
        say(fd, "GET /look/x HTTP/1.1\r\n" HOST "\r\n");
        hear(fd, &b, "GET|/look/x|/look/{name}|x||");
        close(fd);
        buf_reset(&b);
        lab_close();
        ck_assert_int_ne(access(to.sun_path, F_OK), 0);
        fd = socket(AF_UNIX, SOCK_STREAM, 0); /* left behind by somebody who was killed */
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0);
        close(fd);
    }
    unlink(to.sun_path);
    rmdir(folder);
    buf_free(&b);
}
END_TEST

START_TEST(sockets_that_were_handed_in)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int was = dup(3), fd = socket(AF_INET, SOCK_STREAM, 0);
    struct buf b = BUF_HEAP;
    char pid[16];

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    ck_assert_int_eq(listen(fd, 5), 0);
    if (fd != 3) {
        ck_assert_int_eq(dup2(fd, 3), 3);
        close(fd);
    }
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "1", 1);
    lab_open_at(lab_limits, (struct acceptor_options){ .inherited = true });
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    fd = dial();
    say(fd, "GET /ping HTTP/1.1\r\n" HOST "\r\n");
    hear(fd, &b, "pong");
    close(fd);
    lab_close();
    if (was >= 0) {
        dup2(was, 3);
        close(was);
    }
    buf_free(&b);
}
END_TEST

START_TEST(what_cannot_be_listened_on)
{
    struct acceptor_options wrong[] = {
        { .host = "127.0.0.1", .port = 0 },
        { .inherited = true },
        { .host = "256.1.1.1" },
        { .unix_path = "/nonexistent/athena/socket" },
        { .port = 1 },
    };
    static const char *const why[] = {
        "Address already in use",
        "no listening socket was handed in",
        "could not resolve",
        "could not listen on \"/nonexistent/athena/socket\"",
        "neither a host nor a socket path",
    };
    struct acceptor *a;
    struct ath_err e;

    lab_open(lab_limits);
    wrong[0].port = acceptor_port(lab.acceptor);
    for (size_t i = 0; i < ATH_COUNT(wrong); i++) {
        ck_assert_int_eq(acceptor_start(lab.control, &lab.loop, 1, &wrong[i], &a, &e),
                         ATH_E_CONFIG);
        ck_assert_msg(strstr(e.message, why[i]), "%s", e.message);
    }
    lab_close();
}
END_TEST

START_TEST(out_of_descriptors)
{
    struct rlimit all, few;
    struct buf b = BUF_HEAP;
    int fd[2], probe;

    lab_open(lab_limits);
    for (int i = 0; i < 2; i++)
        fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &all), 0);
    probe = dup(fd[0]); /* the lowest free one */
    close(probe);
    few = all;
    few.rlim_cur = (rlim_t)probe;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    dial_with(fd[0]);
    ck_assert(hear_all(fd[0], &b)); /* sent away, not left waiting */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &all), 0);
    dial_with(fd[1]);
    say(fd[1], "GET /ping HTTP/1.1\r\n" HOST "\r\n");
    hear(fd[1], &b, "pong");
    close(fd[0]);
    close(fd[1]);
    buf_free(&b);
    lab_close();
}
END_TEST

static size_t resident(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long all = 0, pages = 0;

    ck_assert(f && fscanf(f, "%lu %lu", &all, &pages) == 2);
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

START_TEST(idle_connections_cost_little)
{
    enum { IDLE = 400 }; /* both ends are ours: 1024 descriptors must do */
    struct http_limits limits = lab_limits;
    struct buf b = BUF_HEAP;
    static int fd[IDLE];
    size_t before, after;

    limits.connections = IDLE;
    lab_open(limits);
    before = resident();
    for (int i = 0; i < IDLE; i++) {
        fd[i] = dial();
        buf_reset(&b);
        say(fd[i], "GET /ping HTTP/1.1\r\n" HOST "\r\n");
        hear(fd[i], &b, "pong");
    }
    after = resident();
    ck_assert_uint_eq(atomic_load(&lab.http.open), IDLE);
#if !defined(ATHENA_ASAN) && !defined(__SANITIZE_THREAD__)
    ck_assert_msg((after - before) / IDLE < 2048, "%zu bytes each", (after - before) / IDLE);
#endif
    (void)before, (void)after;
    for (int i = 0; i < IDLE; i++)
        close(fd[i]);
    buf_free(&b);
    lab_close();
}
END_TEST

SUITE("conn", idle_connections_cost_little, sockets_that_were_handed_in, what_cannot_be_listened_on,
      out_of_descriptors, keep_alive_and_close, http_1_0, pipelined_answers_come_in_order,
      writes_do_not_overtake, bodies, expectations, head_has_no_body, refusals,
      a_head_comes_byte_by_byte, sizes_of_a_head, slow_heads_bodies_and_idle_ones_are_cut,
      a_deadline_is_answered, a_caller_may_have_less_time_than_the_server_gives, streams,
      big_answers_come_whole, a_slow_reader_disturbs_nobody_and_is_cut,
      uploads_are_read_as_they_come, a_client_that_leaves_stops_its_work,
      a_half_closed_client_gets_its_answers, a_client_leaves_while_nothing_is_read,
      a_half_closed_client_is_served_while_it_goes_on, draining, cutting, too_many_connections,
      a_unix_socket)
