/* Content codings: bodies that come packed, answers that go out packed. */
#include "lab.h"

#include <zlib.h>

#include "http/coding.h"

enum { GZIP = 15 + 16, FRAMED = 15, BARE = -15, MANY = 1 << 20 };

/* ---- the other side ---- */

static struct buf packed(int window, const char *p, size_t n)
{
    struct buf b = BUF_HEAP;
    z_stream z = { 0 };

    ck_assert_int_eq(deflateInit2(&z, 6, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY), Z_OK);
    buf_grow(&b, deflateBound(&z, n));
    z.next_in = (unsigned char *)(uintptr_t)p;
    z.avail_in = (unsigned)n;
    z.next_out = (unsigned char *)b.p;
    z.avail_out = (unsigned)b.cap;
    ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    b.n = z.total_out;
    deflateEnd(&z);
    return b;
}

/* As much as can be read of gzip's data; whole: all of it is there. */
static struct buf unpacked(ath_str s, bool *ret_whole)
{
    struct buf b = BUF_HEAP;
    z_stream z = { .next_in = (unsigned char *)(uintptr_t)s.p, .avail_in = (unsigned)s.n };
    char room[4096];
    int rc;

    ck_assert_int_eq(inflateInit2(&z, GZIP), Z_OK);
    do {
        z.next_out = (unsigned char *)room;
        z.avail_out = sizeof(room);
        rc = inflate(&z, Z_NO_FLUSH);
        ck_assert(rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR);
        buf_mem(&b, room, sizeof(room) - z.avail_out);
    } while (rc == Z_OK && (z.avail_in || z.avail_out == 0));
    *ret_whole = rc == Z_STREAM_END && z.avail_in == 0;
    inflateEnd(&z);
    return b;
}

struct answer {
    struct buf text, body; /* body: without chunks */
    size_t head_n;
    bool ended; /* by its last chunk */
};

static bool has(const struct answer *a, const char *line)
{
    return a->text.n && memmem(a->text.p, a->head_n, line, strlen(line)) != NULL;
}

static void cut_chunks(struct answer *a)
{
    const char *p = a->text.p + a->head_n, *end = a->text.p + a->text.n;

    while (p < end) {
        char *behind;
        size_t n = strtoul(p, &behind, 16);
        if (behind + 2 > end || behind[0] != '\r')
            return;
        a->ended = n == 0;
        p = behind + 2;
        if (n == 0 || n > (size_t)(end - p))
            return;
        buf_mem(&a->body, p, n);
        p += n + 2;
    }
}

static struct answer ask_n(const char *p, size_t n)
{
    struct answer a = { 0 };
    int fd = dial();
    const char *end;

    say_n(fd, p, n);
    ck_assert(hear_all(fd, &a.text));
    close(fd);
    end = a.text.n ? memmem(a.text.p, a.text.n, "\r\n\r\n", 4) : NULL;
    ck_assert_msg(end != NULL, "no answer");
    a.head_n = (size_t)(end - a.text.p) + 4;
    if (has(&a, "transfer-encoding: chunked"))
        cut_chunks(&a);
    else
        buf_mem(&a.body, a.text.p + a.head_n, a.text.n - a.head_n);
    return a;
}

static struct answer get(const char *method, const char *target, const char *fields)
{
    struct buf b = BUF_HEAP;
    struct answer a;

    buf_printf(&b, "%s %s HTTP/1.1\r\n" HOST CLOSE "%s\r\n", method, target, fields);
    a = ask_n(b.p, b.n);
    buf_free(&b);
    return a;
}

static struct answer post(const char *path, const char *coding, ath_str body, bool chunked)
{
    struct buf b = BUF_HEAP;
    struct answer a;

    buf_printf(&b, "POST %s HTTP/1.1\r\n" HOST CLOSE "Content-Encoding: %s\r\n", path, coding);
    if (chunked)
        buf_printf(&b, "Transfer-Encoding: chunked\r\n\r\n%zx\r\n", body.n);
    else
        buf_printf(&b, "Content-Length: %zu\r\n\r\n", body.n);
    buf_str(&b, body);
    if (chunked)
        buf_lit(&b, "\r\n0\r\n\r\n");
    a = ask_n(b.p, b.n);
    buf_free(&b);
    return a;
}

static void answer_free(struct answer *a)
{
    buf_free(&a->text);
    buf_free(&a->body);
}

static char *many(size_t n)
{
    char *p = malloc(n);

    for (size_t i = 0; i < n; i++)
        p[i] = (char)('a' + (i * 2654435761u >> 13) % 17);
    return p;
}

/* ---- bodies ---- */

START_TEST(bodies_are_unpacked)
{
    static const struct {
        const char *name;
        int window;
    } coding[] = { { "gzip", GZIP },
                   { "GZip", GZIP },
                   { "x-gzip", GZIP },
                   { "deflate", FRAMED },
                   { "deflate", BARE } };
    char *text = many(MANY);

    lab_open(lab_limits);
    for (size_t i = 0; i < ATH_COUNT(coding); i++)
        for (int chunked = 0; chunked < 2; chunked++) {
            struct buf b = packed(coding[i].window, text, MANY);
            struct answer a = post("/echo", coding[i].name, buf_view(&b), chunked);
            ck_assert_msg(has(&a, "200 OK") && a.body.n == MANY &&
                              memcmp(a.body.p, text, MANY) == 0,
                          "%s, chunked %d: %s", coding[i].name, chunked, a.text.p);
            answer_free(&a);
            a = post("/upload", coding[i].name, buf_view(&b), chunked); /* as a stream */
            ck_assert_str_eq(a.body.p, "1048576");
            answer_free(&a);
            buf_free(&b);
        }
    lab_close();
    free(text);
}
END_TEST

START_TEST(members_of_gzip_follow_one_another)
{
    struct buf b = packed(GZIP, "one ", 4), more = packed(GZIP, "two", 3);
    struct answer a;

    lab_open(lab_limits);
    buf_mem(&b, more.p, more.n);
    a = post("/echo", "gzip", buf_view(&b), false);
    ck_assert_str_eq(a.body.p, "one two");
    answer_free(&a);
    buf_free(&b);
    buf_free(&more);
    lab_close();
}
END_TEST

START_TEST(broken_bodies_are_refused)
{
    struct buf good = packed(GZIP, "some text that is packed", 24);
    static const char *const paths[] = { "/echo", "/upload" };
    struct answer a;

    lab_open(lab_limits);
    for (size_t i = 0; i < ATH_COUNT(paths); i++) {
        a = post(paths[i], "gzip", ATH_S("hello, this is no gzip"), false);
        ck_assert_msg(i || has(&a, "400 Bad Request"), "%s", a.text.p);
        ck_assert(!has(&a, "200 OK"));
        answer_free(&a);
        a = post(paths[i], "gzip", str_from(good.p, good.n - 3), true); /* cut */
        ck_assert(!has(&a, "200 OK") && memmem(a.text.p, a.text.n, "\"error\"", 7));
        answer_free(&a);
    }
    buf_lit(&good, "and more");
    a = post("/echo", "gzip", buf_view(&good), false);
    ck_assert(has(&a, "400 Bad Request") && strstr(a.body.p, "malformed"));
    answer_free(&a);
    a = post("/echo", "gzip, gzip", ATH_S("x"), false);
    ck_assert(has(&a, "415 Unsupported Media Type") && strstr(a.body.p, "gzip, gzip"));
    answer_free(&a);
    buf_free(&good);
    lab_close();
}
END_TEST

/* 200 MiB of zeros are 200 KiB when packed. */
START_TEST(a_bomb_is_refused_early)
{
    size_t n = 200u << 20;
    char *zeros = calloc(1, n);
    struct buf bomb = packed(GZIP, zeros, n), ten = packed(GZIP, "0123456789", 10),
               eleven = packed(GZIP, "0123456789a", 11);
    uint64_t began;
    struct answer a;

    lab_open(lab_limits);
    began = clock_ns();
    a = post("/echo", "gzip", buf_view(&bomb), false);
    ck_assert_msg(has(&a, "413 Payload Too Large"), "%s", a.text.p);
    ck_assert_uint_lt(clock_ns() - began, 3000000000u);
    answer_free(&a);
    a = post("/small", "gzip", buf_view(&ten), false); /* more than 10 bytes when packed */
    ck_assert_str_eq(a.body.p, "0123456789");
    answer_free(&a);
    a = post("/small", "gzip", buf_view(&eleven), true);
    ck_assert(has(&a, "413 Payload Too Large"));
    answer_free(&a);
    free(zeros);
    buf_free(&bomb);
    buf_free(&ten);
    buf_free(&eleven);
    lab_close();
}
END_TEST

/* What the reader of a stream has not taken yet is not unpacked either. */
START_TEST(unpacking_waits_for_the_reader)
{
    size_t n = 90u << 20;
    char *zeros = calloc(1, n);
    struct buf b = packed(GZIP, zeros, n);
    struct answer a;

    lab_open(lab_limits);
    a = post("/upload", "gzip", buf_view(&b), false);
    ck_assert_str_eq(a.body.p, "94371840");
    answer_free(&a);
    a = post("/hasty", "gzip", buf_view(&b), false);
    ck_assert_str_eq(a.body.p, "enough");
    answer_free(&a);
    free(zeros);
    buf_free(&b);
    lab_close();
}
END_TEST

/* ---- answers ---- */

START_TEST(who_asks_for_gzip)
{
    static const char *const yes[] = { "gzip",
                                       "GZIP",
                                       "x-gzip",
                                       "deflate, gzip",
                                       "*",
                                       "gzip;q=0.5",
                                       "br;q=1.0, gzip;q=0.8, *;q=0.1",
                                       "gzip; q=0.001",
                                       "identity;q=0.5, gzip",
                                       "gzip;q=1.000, identity;q=1",
                                       "*;q=0.5, deflate;q=0" };
    static const char *const no[] = { "",
                                      "identity",
                                      "deflate",
                                      "br, zstd",
                                      "gzip;q=0",
                                      "gzip;q=0.0",
                                      "gzip;q=0, *",
                                      "*;q=0",
                                      "gzipped",
                                      "gzip;q=0.2, identity;q=0.8",
                                      "*;q=0.3, identity" };

    for (size_t i = 0; i < ATH_COUNT(yes); i++)
        ck_assert_msg(coding_accepts_gzip(str_of(yes[i])), "%s", yes[i]);
    for (size_t i = 0; i < ATH_COUNT(no); i++)
        ck_assert_msg(!coding_accepts_gzip(str_of(no[i])), "%s", no[i]);
}
END_TEST

#define GZ "Accept-Encoding: gzip\r\n"

static void check_packed(const struct answer *a, const struct answer *plain)
{
    bool whole;
    struct buf b = unpacked(buf_view(&a->body), &whole);

    ck_assert(has(a, "content-encoding: gzip\r\n") && has(a, "-Headers, Accept-Encoding\r\n"));
    ck_assert(whole && b.n == plain->body.n && memcmp(b.p, plain->body.p, b.n) == 0);
    ck_assert(a->body.n < plain->body.n);
    buf_free(&b);
}

START_TEST(answers_are_packed)
{
    static const struct {
        const char *target;
        bool chunked;
    } one[] = { { "/answer?n=1024", false },
                { "/answer?n=100000", false },
                { "/answer?n=2000000", true },
                { "/answer?n=9000&status=404", false },
                { "/stream?n=3000000", true },
                { "/stream?n=3000000&length=3000000", true },
                { "/drip", true } };

    lab_open(lab_limits);
    for (size_t i = 0; i < ATH_COUNT(one); i++) {
        struct answer plain = get("GET", one[i].target, ""), a = get("GET", one[i].target, GZ),
                      head = get("HEAD", one[i].target, GZ);
        ck_assert(!has(&plain, "content-encoding") && !has(&plain, "Accept-Encoding"));
        if (strcmp(one[i].target, "/drip") != 0)
            check_packed(&a, &plain);
        ck_assert_int_eq(has(&a, "transfer-encoding: chunked"), one[i].chunked);
        ck_assert_int_eq(has(&a, "content-length: "), !one[i].chunked);
        ck_assert_int_eq(a.ended, one[i].chunked);
        ck_assert(has(&head, "content-encoding: gzip") && head.text.n == head.head_n);
        ck_assert_int_eq(has(&head, "content-length: "), !one[i].chunked);
        answer_free(&plain);
        answer_free(&a);
        answer_free(&head);
    }
    lab_close();
}
END_TEST

START_TEST(answers_that_are_not_packed)
{
    static const struct {
        const char *target, *fields;
        bool vary; /* another client would get it packed */
    } one[] = { { "/answer?n=1023", GZ, false },
                { "/answer?n=5000&type=image/png", GZ, false },
                { "/answer?n=5000&type=application/octet-stream", GZ, false },
                { "/answer?n=5000&coded=br", GZ, false },
                { "/answer?n=5000&status=206", GZ, false },
                { "/answer?n=0&status=204", GZ, false },
                { "/answer?n=0&status=304", GZ, false },
                { "/answer?n=5000", "Accept-Encoding: br, gzip;q=0\r\n", true },
                { "/answer?n=5000", "", false } };

    lab_open(lab_limits);
    for (size_t i = 0; i < ATH_COUNT(one); i++) {
        struct answer a = get("GET", one[i].target, one[i].fields);
        ck_assert_msg(!has(&a, "content-encoding: gzip"), "%s", one[i].target);
        ck_assert_msg(has(&a, ", Accept-Encoding\r\n") == one[i].vary, "%s", one[i].target);
        answer_free(&a);
    }
    lab_close();
}
END_TEST

START_TEST(packing_can_be_off)
{
    struct http_limits limits = lab_limits;
    struct answer a;

    limits.pack_level = 0;
    lab_open(limits);
    a = get("GET", "/answer?n=5000", GZ);
    ck_assert(!has(&a, "content-encoding") && a.body.n == 5000);
    answer_free(&a);
    lab_close();
}
END_TEST

/* HTTP/1.0 knows no chunks: only what has a length or ends with the connection is packed. */
START_TEST(packed_for_http_1_0)
{
    static const struct {
        const char *target;
        bool packed;
    } one[] = { { "/answer?n=5000", true },
                { "/answer?n=2000000", false },
                { "/stream?n=90000", true },
                { "/stream?n=90000&length=90000", false } };

    lab_open(lab_limits);
    for (size_t i = 0; i < ATH_COUNT(one); i++) {
        struct answer plain = get("GET", one[i].target, ""), a;
        char text[256];
        snprintf(text, sizeof(text), "GET %s HTTP/1.0\r\n" GZ "\r\n", one[i].target);
        a = ask_n(text, strlen(text));
        ck_assert(!has(&a, "transfer-encoding"));
        ck_assert_int_eq(has(&a, "content-encoding: gzip"), one[i].packed);
        if (one[i].packed)
            check_packed(&a, &plain);
        else
            ck_assert(a.body.n == plain.body.n);
        answer_free(&plain);
        answer_free(&a);
    }
    lab_close();
}
END_TEST

/* What a stream has brought can be read before more of it comes. */
START_TEST(a_slow_stream_moves)
{
    struct answer a = { 0 };
    struct buf b;
    bool whole;
    int fd;

    lab_open(lab_limits);
    fd = dial();
    say(fd, "GET /drip?ms=1500 HTTP/1.1\r\n" HOST CLOSE GZ "\r\n");
    hear(fd, &a.text, "\r\n\r\n");
    while (hear_some(fd, &a.text, 500))
        continue;
    a.head_n = (size_t)(strstr(a.text.p, "\r\n\r\n") - a.text.p) + 4;
    cut_chunks(&a);
    b = unpacked(buf_view(&a.body), &whole);
    ck_assert_str_eq(b.p, "first");
    ck_assert(!whole && !a.ended);
    buf_free(&b);
    ck_assert(hear_all(fd, &a.text));
    buf_reset(&a.body);
    cut_chunks(&a);
    b = unpacked(buf_view(&a.body), &whole);
    ck_assert_str_eq(b.p, "firstlast");
    ck_assert(whole && a.ended);
    buf_free(&b);
    answer_free(&a);
    close(fd);
    lab_close();
}
END_TEST

START_TEST(a_broken_stream_has_no_end)
{
    struct answer a;
    struct buf b;
    bool whole;

    lab_open(lab_limits);
    a = get("GET", "/stream?n=300000&broken=1", GZ);
    b = unpacked(buf_view(&a.body), &whole);
    ck_assert(!whole && !a.ended);
    buf_free(&b);
    answer_free(&a);
    wait_for(&lab.accounts, 1);
    lab_close();
    ck_assert_int_eq(lab.account[0].ending, REQ_CUT);
}
END_TEST

/* While a long answer is packed, others are answered. */
START_TEST(a_long_answer_leaves_others_their_turn)
{
    struct answer a = { 0 }, ping;
    uint64_t began, pinged;
    int fd;

    lab_open(lab_limits);
    fd = dial();
    say(fd, "GET /answer?n=20000000 HTTP/1.1\r\n" HOST CLOSE GZ "\r\n");
    hear(fd, &a.text, "\r\n\r\n"); /* it was made, and is being packed */
    began = clock_ns();
    ping = get("GET", "/ping", "");
    pinged = clock_ns();
    ck_assert_str_eq(ping.body.p, "pong");
    hear(fd, &a.text, "\r\n0\r\n\r\n");
    ck_assert_uint_lt(2 * (pinged - began), clock_ns() - began);
    answer_free(&ping);
    answer_free(&a);
    close(fd);
    lab_close();
}
END_TEST

SUITE("coding", bodies_are_unpacked, members_of_gzip_follow_one_another, broken_bodies_are_refused,
      a_bomb_is_refused_early, unpacking_waits_for_the_reader, who_asks_for_gzip,
      answers_are_packed, answers_that_are_not_packed, packing_can_be_off, packed_for_http_1_0,
      a_slow_stream_moves, a_broken_stream_has_no_end, a_long_answer_leaves_others_their_turn)
