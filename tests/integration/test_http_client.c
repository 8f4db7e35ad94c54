/* Requests of ours to real servers (tests/support/upstream.py): answers whole and streamed, bodies
 * of both kinds, limits, redirects, addresses that may not be reached, TLS, and ends of every sort.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "http/call.h"
#include "http/client.h"
#include "io/stream.h"
#include "lib/buf.h"
#include "support/check_main.h"

/* ---- the servers ---- */

static struct {
    pid_t pid;
    int in;
    unsigned port, tls_port;
    char folder[64], ca[128], plain[64], secure[64];
} up;

static void upstream_up(void)
{
    char script[512], line[256] = "";
    int to[2], from[2];
    FILE *said;

    snprintf(up.folder, sizeof(up.folder), "/tmp/athena-upstream-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(up.folder));
    snprintf(script, sizeof(script), "%.*ssupport/upstream.py",
             (int)(strstr(__FILE__, "integration/") - __FILE__), __FILE__);
    ck_assert_int_eq(pipe(to), 0);
    ck_assert_int_eq(pipe(from), 0);
    up.pid = fork();
    if (up.pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        close(to[1]);
        close(from[0]);
        unsetenv("LD_PRELOAD");
        execlp("python3", "python3", script, up.folder, NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    up.in = to[1];
    said = fdopen(from[0], "r");
    ck_assert_ptr_nonnull(fgets(line, sizeof(line), said));
    fclose(said);
    ck_assert_int_eq(sscanf(line, "%u %u %127s", &up.port, &up.tls_port, up.ca), 3);
    snprintf(up.plain, sizeof(up.plain), "http://127.0.0.1:%u", up.port);
    snprintf(up.secure, sizeof(up.secure), "https://localhost:%u", up.tls_port);
}

static void upstream_down(void)
{
    char command[128];

    close(up.in);
    waitpid(up.pid, NULL, 0);
    snprintf(command, sizeof(command), "rm -rf '%s'", up.folder);
    ck_assert_int_eq(system(command), 0);
}

/* ---- one task that asks one thing after the other ---- */

struct ask {
    const char *url; /* a path of the plain server, or a whole URL */
    ath_fetch f;
    ath_pair header[8];
    unsigned read_pause_ms, write_pause_ms;
    uint64_t read_most;   /* then it drops the stream */
    uint64_t write_total; /* a streamed body */
    bool write_fails, is_call, cancel;
    /* filled */
    int rc, status, stream_rc;
    bool told, refused;
    char words[1024], head[4096], text[8192];
    uint64_t bytes, longest_wait_ms;
};

static struct probe {
    ath_task task;
    struct ask *ask;
    size_t n, at;
    uint64_t read, written;
    ath_stream *in, *out;
    char piece[4000];
    int rc;
} probe;

static ath_loop *l;
static struct client_options options;

static int next(ath_task *t, ath_err *e);

static struct ask *now(void)
{
    return &probe.ask[probe.at];
}

static int go_on(ath_task *t, ath_err *e)
{
    probe.at++;
    return next(t, e);
}

static void keep_words(struct ask *a, const ath_err *e)
{
    snprintf(a->words, sizeof(a->words), "%.*s", (int)e->message_n, e->message);
}

static int on_piece(ath_task *t, const ath_done *d, ath_err *e);

static int read_more(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)d;
    return stream_read(t, probe.in, on_piece, NULL, e);
}

static int on_piece(ath_task *t, const ath_done *d, ath_err *e)
{
    struct ask *a = now();

    if (d->rc < 0 || d->bytes.n == 0) {
        a->stream_rc = d->rc;
        return go_on(t, e);
    }
    for (size_t i = 0; i < d->bytes.n; i++)
        if (d->bytes.p[i] != (char)(97 + (a->bytes + i) % 1000 % 26))
            ck_abort_msg("byte %llu is not what was sent", (unsigned long long)(a->bytes + i));
    a->bytes += d->bytes.n;
    if (a->read_most && a->bytes >= a->read_most) {
        stream_close(probe.in, 0);
        return go_on(t, e);
    }
    return a->read_pause_ms ? task_after(t, a->read_pause_ms, read_more, NULL, e)
                            : stream_read(t, probe.in, on_piece, NULL, e);
}

static void keep_answer(struct ask *a, const ath_done *d)
{
    struct buf b = BUF_HEAP;

    for (uint32_t i = 0; i < d->header_count; i++) {
        ck_assert_uint_eq(strlen(d->header[i].name.p), d->header[i].name.n);
        ck_assert_uint_eq(strlen(d->header[i].value.p), d->header[i].value.n);
        buf_str(&b, d->header[i].name);
        buf_lit(&b, "=");
        buf_str(&b, d->header[i].value);
        buf_lit(&b, "\n");
    }
    snprintf(a->head, sizeof(a->head), "%s", buf_view(&b).p);
    buf_free(&b);
    a->status = d->status;
    a->bytes = d->bytes.n;
    snprintf(a->text, sizeof(a->text), "%.*s", STR_ARG(d->bytes));
}

static int on_answer(ath_task *t, const ath_done *d, ath_err *e)
{
    struct ask *a = now();

    a->told = true;
    a->rc = d->rc;
    if (d->rc < 0) {
        keep_words(a, e);
        return go_on(t, e);
    }
    keep_answer(a, d);
    if (!d->stream)
        return go_on(t, e);
    probe.in = d->stream;
    return stream_read(t, d->stream, on_piece, NULL, e);
}

/* ---- a streamed body ---- */

static int on_written(ath_task *t, const ath_done *d, ath_err *e);

static int write_piece(ath_task *t, ath_err *e)
{
    struct ask *a = now();
    size_t n = sizeof(probe.piece);

    if (probe.written + n > a->write_total)
        n = a->write_total - probe.written;
    if (n == 0) {
        stream_end(probe.out, a->write_fails ? ATH_E_UPSTREAM : 0);
        return 0;
    }
    memset(probe.piece, 'b', sizeof(probe.piece));
    probe.written += n;
    return stream_write(t, probe.out, str_from(probe.piece, n), on_written, NULL, e);
}

static int on_pause(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)d;
    return write_piece(t, e);
}

static int on_written(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc < 0)
        return 0; /* nobody reads on; the answer says why */
    return now()->write_pause_ms ? task_after(t, now()->write_pause_ms, on_pause, NULL, e)
                                 : write_piece(t, e);
}

static int on_cancel(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)d, (void)e;
    task_cancel(t);
    return 0;
}

static int next(ath_task *t, ath_err *e)
{
    static char url[4096];
    struct ask *a = now();
    int rc;

    if (probe.at == probe.n) {
        task_done(t, NULL);
        return 0;
    }
    if (a->url)
        snprintf(url, sizeof(url), "%s%s", a->url[0] == '/' && !a->is_call ? up.plain : "", a->url);
    a->f.size = sizeof(a->f);
    if (!a->f.url.p)
        a->f.url = str_of(url);
    a->f.header = a->header;
    while (a->header[a->f.header_count].name.n)
        a->f.header_count++;
    probe.written = 0;
    if (a->write_total) {
        probe.out = stream_open(t, 0);
        a->f.from = probe.out;
    }
    rc = (a->is_call ? call_start : client_fetch)(t, &a->f, on_answer, NULL, e);
    if (rc < 0) {
        a->rc = rc;
        a->refused = true;
        keep_words(a, e);
        err_reset(e);
        return go_on(t, e);
    }
    if (a->cancel && (rc = task_after(t, 100, on_cancel, NULL, e)) < 0)
        return rc;
    return a->write_total ? write_piece(t, e) : 0;
}

static int first(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    return next(t, e);
}

static void probe_end(ath_task *t, int rc, const ath_err *e, const ath_done *result)
{
    (void)e, (void)result;
    probe.rc = rc;
    task_unref(t);
}

static void probe_destroy(ath_task *t)
{
    (void)t;
    client_loop_fini(l);
    loop_stop(l);
}

static const struct task_type probe_type = { .name = "probe",
                                             .end = probe_end,
                                             .destroy = probe_destroy };

static void begin_loop(void)
{
    ath_err e;

    err_reset(&e);
    ck_assert_int_eq(client_start(&options, &e), 0);
    ck_assert_int_eq(loop_new(LOOP_WORK, 0, "work-0", &l, &e), 0);
    memset(&probe, 0, sizeof(probe));
    task_init(&probe.task, &probe_type, l, NULL, NULL);
}

static void end_loop(void)
{
    loop_run(l);
    ck_assert_uint_eq(task_alive(), 0);
    loop_free(l);
    client_stop();
}

/* All of them on one loop, so that connections are used again. */
static void run_within(struct ask *ask, size_t n, uint64_t ms)
{
    begin_loop();
    probe.ask = ask;
    probe.n = n;
    if (ms)
        task_deadline(&probe.task, loop_now_ms(l) + ms);
    task_run(&probe.task, first, NULL);
    end_loop();
}

static void run(struct ask *ask, size_t n)
{
    run_within(ask, n, 0);
}

#define RUN(...)                                                                                   \
    struct ask a[] = { __VA_ARGS__ };                                                              \
    run(a, ATH_COUNT(a))

static void check_has(const char *text, const char *piece)
{
    ck_assert_msg(strstr(text, piece) != NULL, "\"%s\" is not in \"%s\"", piece, text);
}

static void check_has_not(const char *text, const char *piece)
{
    ck_assert_msg(strstr(text, piece) == NULL, "\"%s\" is in \"%s\"", piece, text);
}

/* ---- answers ---- */

START_TEST(an_answer_comes_whole_and_its_connection_is_used_again)
{
    RUN({ .url = "/echo/a?b=c",
          .header = { { ATH_S("X-Colour"), ATH_S(" red ") }, { ATH_S("x-empty"), ATH_S("") } } },
        { .url = "/status/404" }, { .url = "/echo", .f.method = "DELETE" }, { .url = "/interim" },
        { .url = "/hello", .f.method = "HEAD" });

    ck_assert_int_eq(a[0].rc, 0);
    ck_assert_int_eq(a[0].status, 200);
    check_has(a[0].head, "content-type=application/json\nx-shown=as Sent\n");
    check_has(a[0].text, "\"path\": \"/echo/a?b=c\"");
    check_has(a[0].text, "\"x-colour\": \"red\"");
    check_has(a[0].text, "\"x-empty\": \"\"");
    check_has(a[0].text, "\"user-agent\": \"athena\"");
    ck_assert_int_eq(a[1].status, 404); /* no failure */
    ck_assert_int_eq(a[1].rc, 0);
    check_has(a[2].text, "\"method\": \"DELETE\"");
    ck_assert_int_eq(atoi(strstr(a[2].text, "\"connection\": ") + 14),
                     atoi(strstr(a[0].text, "\"connection\": ") + 14));
    ck_assert_int_eq(a[3].status, 200);
    ck_assert_str_eq(a[3].text, "final");
    check_has_not(a[3].head, "link=");
    ck_assert_int_eq(a[4].status, 200);
    ck_assert_uint_eq(a[4].bytes, 0);
    check_has(a[4].head, "content-length=5\n");
}
END_TEST

START_TEST(bodies_go_as_text_and_as_streams)
{
    RUN({ .url = "/echo", .f = { .method = "POST", .body = ATH_S("hello body") } },
        { .url = "/echo", .f.method = "POST" },
        { .url = "/echo", .f.method = "PUT", .write_total = 3000000 },
        { .url = "/echo",
          .f = { .method = "PUT", .from_length = 3000000 },
          .write_total = 3000000 },
        { .url = "/echo", .f.method = "POST", .write_total = 12000, .write_pause_ms = 30 });

    check_has(a[0].text, "\"length\": 10, ");
    check_has(a[0].text, "\"text\": \"hello body\"");
    check_has(a[0].text, "\"content-length\": \"10\"");
    check_has(a[1].text, "\"content-length\": \"0\"");
    check_has(a[2].text, "\"length\": 3000000, ");
    check_has(a[2].text, "\"transfer-encoding\": \"chunked\"");
    check_has(a[3].text, "\"content-length\": \"3000000\"");
    check_has(a[3].text, "\"length\": 3000000, ");
    check_has(a[4].text, "\"length\": 12000, ");
}
END_TEST

START_TEST(a_body_that_breaks_is_never_sent_as_whole)
{
    RUN({ .url = "/echo", .f.method = "POST", .write_total = 50000, .write_fails = true },
        { .url = "/echo", .f = { .method = "POST", .from_length = 60000 }, .write_total = 50000 });

    ck_assert_int_eq(a[0].rc, ATH_E_UPSTREAM);
    ck_assert_str_eq(a[0].words, "the body ended early");
    ck_assert_int_eq(a[1].rc, ATH_E_BUG);
    ck_assert_str_eq(a[1].words, "the body ended after 50000 of 60000 bytes");
}
END_TEST

START_TEST(a_stream_comes_in_order_and_the_reader_sets_its_pace)
{
    RUN({ .url = "/chunked/5000000", .f.flags = ATH_HTTP_STREAM },
        { .url = "/chunked/90000000",
          .f.flags = ATH_HTTP_STREAM,
          .read_pause_ms = 100,
          .read_most = 400000 },
        { .url = "/counters" });
    long sent;

    ck_assert_int_eq(a[0].rc, 0);
    ck_assert_int_eq(a[0].stream_rc, 0);
    ck_assert_uint_eq(a[0].bytes, 5000000);
    ck_assert_uint_ge(a[1].bytes, 400000);
    sent = atol(strstr(a[2].text, "\"sent\": ") + 8);
    ck_assert_msg(sent < 30000000, "%ld bytes were taken for a reader of 400,000", sent);
}
END_TEST

START_TEST(an_answer_before_the_end_of_its_request_is_whole_too)
{
    static char body[200000];

    memset(body, 'x', sizeof(body));
    RUN({ .url = "/early", .f = { .method = "POST", .body = { body, sizeof(body) } } });
    ck_assert_int_eq(a[0].rc, 0);
    ck_assert_str_eq(a[0].text, "12345    0");
}
END_TEST

/* ---- limits ---- */

START_TEST(what_a_peer_sizes_is_bounded)
{
    RUN({ .url = "/chunked/1048576" }, { .url = "/chunked/1048577" },
        { .url = "/chunked/101", .f.max_body = 100 }, { .url = "/chunked/100", .f.max_body = 100 },
        { .url = "/heads/50" }, { .url = "/heads/90" });

    ck_assert_int_eq(a[0].rc, 0);
    ck_assert_uint_eq(a[0].bytes, 1048576);
    ck_assert_int_eq(a[1].rc, ATH_E_TOO_LARGE);
    check_has(a[1].words, "is over the limit of 1048576 bytes");
    ck_assert_int_eq(a[2].rc, ATH_E_TOO_LARGE);
    ck_assert_uint_eq(a[3].bytes, 100);
    ck_assert_int_eq(a[4].rc, 0);
    ck_assert_int_eq(a[5].rc, ATH_E_TOO_LARGE);
    check_has(a[5].words, "the header of the answer");
}
END_TEST

START_TEST(time_is_the_least_of_both)
{
    struct ask own[] = { { .url = "/silent", .f.timeout_ms = 200 },
                         { .url = "/slow", .f.timeout_ms = 200 },
                         { .url = "/slow", .f = { .timeout_ms = 300, .flags = ATH_HTTP_STREAM } } };
    struct ask task = { .url = "/silent", .f.timeout_ms = 60000 };
    uint64_t began = clock_ns();

    own[2].read_most = UINT64_MAX;
    run(own, 2);
    ck_assert_int_eq(own[0].rc, ATH_E_TIMEOUT);
    check_has(own[0].words, "within 200 ms");
    ck_assert_int_eq(own[1].rc, ATH_E_TIMEOUT);
    run_within(&task, 1, 300);
    ck_assert(!task.told || task.rc == ATH_E_TIMEOUT);
    ck_assert_uint_lt(clock_ns() - began, 10000000000u);
}
END_TEST

START_TEST(who_stands_still_is_left_and_who_waits_for_us_is_not)
{
    RUN({ .url = "/silent", .f.stall_ms = 200 },
        { .url = "/slow", .f = { .timeout_ms = 2000, .stall_ms = 1500 } },
        { .url = "/chunked/5000000",
          .f = { .flags = ATH_HTTP_STREAM, .stall_ms = 100 },
          .read_pause_ms = 300,
          .read_most = 200000 });

    ck_assert_int_eq(a[0].rc, ATH_E_TIMEOUT);
    check_has(a[0].words, "stood still for 200 ms");
    check_has(a[1].words, "within 2000 ms");
    ck_assert_int_eq(a[2].rc, 0);
    ck_assert_int_eq(a[2].stream_rc, 0);
    ck_assert_uint_ge(a[2].bytes, 200000);
}
END_TEST

START_TEST(a_path_is_sent_with_its_dots)
{
    RUN({ .url = "/echo/a/../b/./c" });

    check_has(a[0].text, "/echo/a/../b/./c");
}
END_TEST

START_TEST(who_does_not_answer_is_said_without_secrets)
{
    char away[128], user[160];

    snprintf(away, sizeof(away), "http://127.0.0.1:9/path?token=secret");
    snprintf(user, sizeof(user), "http://user:password@127.0.0.1:%u/reset?token=secret", up.port);
    RUN({ .url = away }, { .url = user }, { .url = "/short" }, { .url = "/garbage" },
        { .url = "http://no-such-host.invalid/secret" });

    for (size_t i = 0; i < ATH_COUNT(a); i++) {
        ck_assert_int_eq(a[i].rc, ATH_E_UPSTREAM);
        check_has_not(a[i].words, "secret");
        check_has_not(a[i].words, "password");
    }
    ck_assert_str_eq(a[0].words, "no answer from http://127.0.0.1:9: connection refused");
    check_has(a[4].words, "could not resolve host \"no-such-host.invalid\"");
}
END_TEST

START_TEST(a_canceled_task_is_told_and_nothing_stays)
{
    RUN({ .url = "/silent", .cancel = true });

    ck_assert(a[0].told);
    ck_assert_int_eq(a[0].rc, ATH_E_CANCELED);
}
END_TEST

/* ---- what may be asked ---- */

START_TEST(nothing_can_be_smuggled_into_a_request)
{
    RUN({ .url = "/hello", .header = { { ATH_S("x-a"), ATH_S("b\r\nx-evil: 1") } } },
        { .url = "/hello", .header = { { ATH_S("x-a: 1\r\nx-evil"), ATH_S("b") } } },
        { .url = "/hello", .header = { { ATH_S("x a"), ATH_S("b") } } },
        { .url = "/hello", .header = { { ATH_S("Transfer-Encoding"), ATH_S("chunked") } } },
        { .url = "/hello", .header = { { ATH_S("content-length"), ATH_S("5") } } },
        { .url = "/hello", .f.method = "GET /evil HTTP/1.1\r\nx" }, { .url = "/hel lo" },
        { .url = "/hello\r\nx-evil: 1" }, { .url = "file:///etc/passwd" },
        { .url = "ftp://127.0.0.1/x" }, { .url = "gopher://127.0.0.1/x" }, { .url = "hello" },
        { .url = "http://" }, { .url = "http://b\xc3\xbc.example/" },
        { .f.url = { "http://127.0.0.1/\0x", 19 } },
        { .url = "/hello", .f = { .method = "HEAD", .body = ATH_S("x") } });

    for (size_t i = 0; i < ATH_COUNT(a); i++) {
        ck_assert_msg(a[i].refused, "%zu was sent", i);
        ck_assert_int_eq(a[i].rc, ATH_E_INPUT);
    }
    ck_assert_str_eq(a[3].words, "\"Transfer-Encoding\" is no header that a request may set");
    ck_assert_str_eq(a[8].words, "\"file\" is neither http nor https");
}
END_TEST

START_TEST(a_public_request_reaches_no_address_of_ours)
{
    static const char *const hosts[] = {
        "127.0.0.1",  "localhost",        "[::1]",      "[::ffff:127.0.0.1]",
        "2130706433", "0x7f.1",           "0177.0.0.1", "127.1",
        "0.0.0.0",    "169.254.169.254",  "10.0.0.1",   "[fe80::1]",
        "[fd00::1]",  "[64:ff9b::7f00:1]"
    };
    struct ask a[ATH_COUNT(hosts)] = { 0 };
    char url[ATH_COUNT(hosts)][64];

    for (size_t i = 0; i < ATH_COUNT(hosts); i++) {
        snprintf(url[i], sizeof(url[i]), "http://%s:%u/hello", hosts[i], up.port);
        a[i].url = url[i];
        a[i].f.flags = ATH_HTTP_PUBLIC | ATH_HTTP_FOLLOW;
    }
    run(a, ATH_COUNT(a));
    for (size_t i = 0; i < ATH_COUNT(a); i++)
        ck_assert_msg(a[i].rc == ATH_E_DENIED, "%s: %d %s", hosts[i], a[i].rc, a[i].words);
    check_has(a[1].words, "host \"localhost\" has an address that is not public");
}
END_TEST

/* ---- redirects ---- */

START_TEST(redirects_are_followed_when_asked_for)
{
    RUN({ .url = "/times/10", .f.flags = ATH_HTTP_FOLLOW },
        { .url = "/times/11", .f.flags = ATH_HTTP_FOLLOW }, { .url = "/times/1" },
        { .url = "/redirect/302?to=/chunked/5000", .f.flags = ATH_HTTP_FOLLOW | ATH_HTTP_STREAM },
        { .url = "/redirect/302?to=/echo",
          .f = { .flags = ATH_HTTP_FOLLOW, .method = "POST", .body = ATH_S("body") } },
        { .url = "/redirect/307?to=/echo",
          .f = { .flags = ATH_HTTP_FOLLOW, .method = "POST", .body = ATH_S("body") } },
        { .url = "/redirect/303?to=/echo",
          .f = { .flags = ATH_HTTP_FOLLOW, .method = "PUT", .body = ATH_S("body") } },
        { .url = "/redirect/307?to=/echo",
          .f = { .flags = ATH_HTTP_FOLLOW, .method = "PUT" },
          .write_total = 5000 },
        { .url = "/redirect/302?to=file:///etc/passwd", .f.flags = ATH_HTTP_FOLLOW });

    ck_assert_int_eq(a[0].rc, 0);
    ck_assert_str_eq(a[0].text, "hello");
    ck_assert_int_eq(a[1].rc, ATH_E_UPSTREAM);
    check_has(a[1].words, "redirects more than 10 times");
    ck_assert_int_eq(a[2].status, 302);
    check_has(a[2].head, "location=/hello\n");
    ck_assert_int_eq(a[3].status, 200);
    ck_assert_uint_eq(a[3].bytes, 5000);
    check_has(a[4].text, "\"method\": \"GET\"");
    check_has(a[4].text, "\"length\": 0,");
    check_has(a[5].text, "\"method\": \"POST\"");
    check_has(a[5].text, "\"text\": \"body\"");
    check_has(a[6].text, "\"method\": \"GET\"");
    ck_assert_int_eq(a[7].rc, ATH_E_UPSTREAM);
    check_has(a[7].words, "redirects a body that cannot be sent twice");
    ck_assert_int_eq(a[8].rc, ATH_E_UPSTREAM);
    check_has(a[8].words, "redirects to what is no URL");
}
END_TEST

START_TEST(no_key_is_handed_on_to_another_origin)
{
    char same[64], other[96];

    snprintf(same, sizeof(same), "/redirect/302?to=/echo");
    snprintf(other, sizeof(other), "/redirect/302?to=http://localhost:%u/echo", up.port);
    RUN({ .url = same,
          .f.flags = ATH_HTTP_FOLLOW,
          .header = { { ATH_S("X-Typesense-Api-Key"), ATH_S("secret") },
                      { ATH_S("Accept"), ATH_S("text/x") } } },
        { .url = other,
          .f.flags = ATH_HTTP_FOLLOW,
          .header = { { ATH_S("X-Typesense-Api-Key"), ATH_S("secret") },
                      { ATH_S("Authorization"), ATH_S("secret") },
                      { ATH_S("Cookie"), ATH_S("secret") },
                      { ATH_S("Accept"), ATH_S("text/x") } } });

    check_has(a[0].text, "\"x-typesense-api-key\": \"secret\"");
    ck_assert_int_eq(a[1].status, 200);
    check_has(a[1].text, "\"accept\": \"text/x\"");
    check_has_not(a[1].text, "secret");
}
END_TEST

/* ---- TLS ---- */

START_TEST(certificates_are_verified)
{
    char good[96], other_name[96], down[128];

    snprintf(good, sizeof(good), "%s/hello", up.secure);
    snprintf(other_name, sizeof(other_name), "https://127.0.0.1:%u/hello", up.tls_port);
    snprintf(down, sizeof(down), "%s/redirect/302?to=%s/hello", up.secure, up.plain);
    struct ask stranger = { .url = good };
    run(&stranger, 1);
    ck_assert_int_eq(stranger.rc, ATH_E_UPSTREAM);
    check_has(stranger.words, "its certificate is not trusted or is not for this host");

    options.ca_file = up.ca;
    RUN({ .url = good }, { .url = other_name }, { .url = down, .f.flags = ATH_HTTP_FOLLOW },
        { .url = down });
    options.ca_file = NULL;
    ck_assert_int_eq(a[0].rc, 0);
    ck_assert_str_eq(a[0].text, "hello");
    ck_assert_int_eq(a[1].rc, ATH_E_UPSTREAM);
    ck_assert_int_eq(a[2].rc, ATH_E_DENIED);
    check_has(a[2].words, "redirects to a connection without TLS");
    ck_assert_int_eq(a[3].status, 302);
}
END_TEST

/* ---- many at once ---- */

enum { MANY = 200 };

static struct {
    unsigned left, good, late, gone, dropped;
} many;

static int one_read(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    many.dropped += d->rc == 0;
    task_done(t, NULL); /* the rest of the stream is nobody's */
    return 0;
}

static int one_answered(ath_task *t, const ath_done *d, ath_err *e)
{
    many.good += d->rc == 0;
    many.late += d->rc == ATH_E_TIMEOUT;
    if (d->stream)
        return stream_read(t, d->stream, one_read, NULL, e);
    task_done(t, NULL);
    return 0;
}

static int one(ath_task *t, void *arg, ath_err *e)
{
    static const char *const path[] = { "/hello", "/silent", "/chunked/2000000", "/silent",
                                        "/times/3" };
    size_t kind = (uintptr_t)arg % ATH_COUNT(path);
    ath_fetch f = { .size = sizeof(f), .timeout_ms = kind == 1 ? 300 : 20000 };

    f.flags = kind == 2 ? ATH_HTTP_STREAM : ATH_HTTP_FOLLOW;
    f.url = arena_printf(&t->arena, "%s%s", up.plain, path[kind]);
    if (kind == 3) /* its own time is over in the middle */
        task_deadline(t, loop_now_ms(l) + 200);
    return client_fetch(t, &f, one_answered, NULL, e);
}

static int one_over(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    many.gone += d->rc == ATH_E_TIMEOUT;
    if (--many.left == 0)
        task_done(t, NULL);
    return 0;
}

static int all_at_once(ath_task *t, void *arg, ath_err *e)
{
    (void)arg;
    for (uintptr_t i = 0; i < MANY; i++) {
        ath_fork f = { .size = sizeof(f), .run = one, .arg = (void *)i };
        int rc = task_fork(t, &f, one_over, NULL, e);
        if (rc < 0)
            return rc;
        many.left++;
    }
    return 0;
}

START_TEST(many_at_once_end_each_in_its_own_way)
{
    memset(&many, 0, sizeof(many));
    begin_loop();
    task_run(&probe.task, all_at_once, NULL);
    end_loop();
    ck_assert_int_eq(probe.rc, 0);
    ck_assert_uint_eq(many.good, 3 * MANY / 5);
    ck_assert_uint_eq(many.dropped, MANY / 5);
    ck_assert_uint_eq(many.late, MANY / 5);
    ck_assert_uint_eq(many.gone, MANY / 5);
}
END_TEST

/* ---- proxies, and commands ---- */

START_TEST(variables_of_the_environment_name_no_proxy)
{
    setenv("http_proxy", "http://127.0.0.1:9", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:9", 1);
    RUN({ .url = "/hello" });
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
    ck_assert_str_eq(a[0].text, "hello");
}
END_TEST

START_TEST(a_command_calls_the_routes_of_a_running_server)
{
    char base[80];

    snprintf(base, sizeof(base), "%s/", up.plain);
    client_remote(base, "the-admin-key");
    RUN({ .url = "/echo?x=1",
          .is_call = true,
          .header = { { ATH_S("content-length"), ATH_S("9") } } },
        { .url = "/echo",
          .is_call = true,
          .header = { { ATH_S("X-Athena-Key"), ATH_S("another") } } },
        { .url = "echo", .is_call = true }, { .url = "/times/1", .is_call = true });
    client_remote(NULL, NULL);
    check_has(a[0].text, "\"path\": \"/echo?x=1\"");
    check_has(a[0].text, "\"x-athena-key\": \"the-admin-key\"");
    check_has(a[1].text, "\"x-athena-key\": \"another\"");
    ck_assert_int_eq(a[2].rc, ATH_E_BUG);
    ck_assert_int_eq(a[3].status, 302);
}
END_TEST

START_TEST(without_a_server_and_without_routes_nothing_can_be_called)
{
    RUN({ .url = "/echo", .is_call = true });

    ck_assert(a[0].refused);
    check_has(a[0].words, "serves no routes to call");
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        an_answer_comes_whole_and_its_connection_is_used_again,
        bodies_go_as_text_and_as_streams,
        a_body_that_breaks_is_never_sent_as_whole,
        a_stream_comes_in_order_and_the_reader_sets_its_pace,
        an_answer_before_the_end_of_its_request_is_whole_too,
        what_a_peer_sizes_is_bounded,
        time_is_the_least_of_both,
        who_stands_still_is_left_and_who_waits_for_us_is_not,
        a_path_is_sent_with_its_dots,
        who_does_not_answer_is_said_without_secrets,
        a_canceled_task_is_told_and_nothing_stays,
        nothing_can_be_smuggled_into_a_request,
        a_public_request_reaches_no_address_of_ours,
        redirects_are_followed_when_asked_for,
        no_key_is_handed_on_to_another_origin,
        certificates_are_verified,
        many_at_once_end_each_in_its_own_way,
        variables_of_the_environment_name_no_proxy,
        a_command_calls_the_routes_of_a_running_server,
        without_a_server_and_without_routes_nothing_can_be_called,
    };
    Suite *s = suite_create("http client");
    TCase *c = tcase_create("client");

    tcase_set_timeout(c, 120);
    tcase_add_unchecked_fixture(c, upstream_up, upstream_down);
    for (size_t i = 0; i < ATH_COUNT(tests); i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return s;
}
