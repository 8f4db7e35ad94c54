/* What libcurl is told about a request, and what it calls back for: bytes of the body, lines of the
 * head, bytes of the answer, a socket. A callback keeps, pushes and pulls; what is wrong is noted
 * and libcurl stops by itself.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "http/client_priv.h"
#include "http/http_priv.h"
#include "io/stream.h"

/* By a callback: libcurl then stops, and this is why. */
ATH_PRINTF(3, 4)
static void why(struct fetch *f, int rc, const char *fmt, ...)
{
    va_list ap;

    if (!f->err)
        f->err = MEM_NEW(ath_err);
    err_reset(f->err);
    va_start(ap, fmt);
    f->rc = err_fail_v(f->err, rc, fmt, ap);
    va_end(ap);
}

static void moved(struct fetch *f)
{
    f->moved_ms = loop_now_ms(f->loop);
}

/* ---- the body ---- */

static void resume(struct fetch *f)
{
    moved(f);
    if (f->x.running)
        curl_easy_pause(f->x.easy,
                        (f->choked ? CURLPAUSE_RECV : 0) | (f->starved ? CURLPAUSE_SEND : 0));
}

void fetch_from_moved(ath_stream *s, void *impl)
{
    struct fetch *f = impl;

    (void)s;
    if (!f->starved)
        return;
    f->starved = false;
    resume(f);
}

static size_t piece_of(struct fetch *f, ath_str b, char *to, size_t room)
{
    size_t n = b.n < room ? b.n : room;

    if (n)
        memcpy(to, b.p, n);
    f->sent += n;
    moved(f);
    return n;
}

/* The stream's end: 0 bytes, unless it was too soon. */
static size_t end_of(struct fetch *f, int rc)
{
    if (rc == 0 && (f->chunked || f->sent >= f->length))
        return 0;
    if (rc < 0)
        why(f, rc, "the body ended early");
    else
        why(f, ATH_E_BUG, "the body ended after %llu of %llu bytes", (unsigned long long)f->sent,
            (unsigned long long)f->length);
    return CURL_READFUNC_ABORT;
}

static size_t on_send(char *to, size_t size, size_t room, void *arg)
{
    struct fetch *f = arg;
    size_t n;
    int rc;

    if (!f->from)
        return piece_of(f, str_after(f->body, f->sent), to, size * room);
    n = piece_of(f, stream_peek(f->from), to, size * room);
    if (n) {
        stream_take(f->from, n);
        return n;
    }
    if (stream_ended(f->from, &rc))
        return end_of(f, rc);
    f->starved = true;
    return CURL_READFUNC_PAUSE;
}

/* A connection that was kept too long is found dead with the first bytes; they are sent again. */
static int on_rewind(void *arg, curl_off_t at, int whence)
{
    struct fetch *f = arg;

    if (whence != SEEK_SET || (f->from && (uint64_t)at != f->sent) || (uint64_t)at > f->body.n)
        return CURL_SEEKFUNC_FAIL;
    f->sent = (uint64_t)at;
    return CURL_SEEKFUNC_OK;
}

/* The caller is told before all of its bytes were sent, and owes them no longer. */
static void keep_body(struct fetch *f)
{
    if (f->from || f->sent >= f->body.n)
        return;
    f->kept = mem_dup(f->body.p, f->body.n);
    f->body.p = f->kept;
}

/* ---- the answer ---- */

static void on_room(ath_stream *s, void *impl)
{
    struct fetch *f = impl;

    (void)s;
    if (!f->choked)
        return;
    f->choked = false;
    resume(f);
}

static void on_drop(ath_stream *s, void *impl)
{
    struct fetch *f = impl;

    (void)s;
    f->to = NULL;
    fetch_over(f, ATH_E_CANCELED, NULL);
}

static void open_stream(struct fetch *f)
{
    static const struct stream_producer producer = { .room = on_room, .drop = on_drop };

    f->to = stream_open(f->op->task, 0);
    stream_produce(f->to, &producer, f);
    keep_body(f);
    f->op->done.stream = f->to;
    fetch_tell(f, 0, NULL);
}

static bool is_redirect(const struct fetch *f)
{
    return f->status == 301 || f->status == 302 || f->status == 303 || f->status == 307 ||
           f->status == 308;
}

static bool has_header(const struct fetch *f, const char *name)
{
    ath_str rest = buf_view(&f->head), word, value;

    while (str_next(&rest, '\n', &word) && str_next(&rest, '\n', &value))
        if (str_is(word, name))
            return true;
    return false;
}

static void head_complete(struct fetch *f)
{
    curl_easy_getinfo(f->x.easy, CURLINFO_RESPONSE_CODE, &f->status);
    if (f->status < 200)
        return; /* another one follows */
    f->head_done = true;
    f->redirecting = f->flags & ATH_HTTP_FOLLOW && is_redirect(f) && has_header(f, "location");
    if (f->flags & ATH_HTTP_STREAM && !f->redirecting)
        open_stream(f);
}

/* "Name: value", or a line that goes on with the one before. */
static void keep_line(struct fetch *f, ath_str line)
{
    bool more = line.p[0] == ' ' || line.p[0] == '\t';
    size_t colon = str_find(line, ':'), at = f->head.n;

    if (more && f->head.n) {
        f->head.p[f->head.n - 1] = ' ';
    } else if (colon < line.n) {
        buf_str(&f->head, str_trim(str_from(line.p, colon)));
        name_lower(f->head.p + at, f->head.n - at);
        buf_char(&f->head, '\n');
        line = str_after(line, colon + 1);
    } else {
        return;
    }
    buf_str(&f->head, str_trim(line));
    buf_char(&f->head, '\n');
}

static size_t on_head(char *p, size_t size, size_t n, void *arg)
{
    struct fetch *f = arg;
    ath_str line = str_from(p, size * n);

    moved(f);
    if (f->head_done)
        return line.n; /* a trailer */
    if (str_starts(line, "HTTP/"))
        buf_reset(&f->head);
    else if (str_trim(line).n)
        keep_line(f, line);
    else
        head_complete(f);
    if (f->head.n <= CLIENT_HEAD)
        return line.n;
    why(f, ATH_E_TOO_LARGE, "the header of the answer from " ORIGIN " is over %d bytes",
        ORIGIN_ARGS(f), CLIENT_HEAD);
    return 0;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct fetch *f = arg;

    n *= size;
    moved(f);
    if (f->redirecting)
        return (f->skipped += n) > FETCH_SKIPPED ? 0 : n;
    if (f->flags & ATH_HTTP_STREAM) {
        if (!f->to)
            return 0;
        if (stream_full(f->to)) {
            f->choked = true;
            return CURL_WRITEFUNC_PAUSE;
        }
        stream_push(f->to, str_from(p, n));
        return n;
    }
    if (f->whole.n + n > f->max_body) {
        why(f, ATH_E_TOO_LARGE, "the answer from " ORIGIN " is over the limit of %llu bytes",
            ORIGIN_ARGS(f), (unsigned long long)f->max_body);
        return 0;
    }
    buf_mem(&f->whole, p, n);
    return n;
}

/* ---- libcurl is told ---- */

/* The last look at where a guarded request really goes. */
static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
    struct fetch *f = arg;
    union address a;

    (void)purpose;
    memcpy(&a, &to->addr, to->addrlen < sizeof(a) ? to->addrlen : sizeof(a));
    if (f->x.guarded && address_class(&a) != ADDRESS_PUBLIC) {
        f->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

static void set_limits(struct fetch *f)
{
    CURL *c = f->x.easy;
    uint64_t idle = client_settings.idle_ms ? client_settings.idle_ms : 90000;

    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)CLIENT_CONNECT_MS);
    curl_easy_setopt(c, CURLOPT_MAXAGE_CONN, (long)(idle < 1000 ? 1 : idle / 1000));
    curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L);
    if (client_settings.ca_file && client_settings.ca_file[0])
        curl_easy_setopt(c, CURLOPT_CAINFO, client_settings.ca_file);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, on_open);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, f);
}

static void set_body(struct fetch *f)
{
    CURL *c = f->x.easy;

    curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(c, CURLOPT_READFUNCTION, on_send);
    curl_easy_setopt(c, CURLOPT_READDATA, f);
    curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_rewind);
    curl_easy_setopt(c, CURLOPT_SEEKDATA, f);
    curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE,
                     f->chunked ? (curl_off_t)-1 : (curl_off_t)f->length);
    f->lines = curl_slist_append(f->lines, "Expect:"); /* no round trip before the body */
}

static void set_header(struct fetch *f)
{
    ath_str rest = buf_view(&f->given), line;

    while (str_next(&rest, 0, &line) && line.n)
        f->lines = curl_slist_append(f->lines, line.p);
    if (f->lines)
        curl_easy_setopt(f->x.easy, CURLOPT_HTTPHEADER, f->lines);
}

/* The addresses that were looked up; "+": libcurl forgets them like any other name's. */
static void set_addresses(struct fetch *f, const struct addresses *a)
{
    struct buf b = BUF_HEAP;
    char text[ADDRESS_TEXT];

    buf_printf(&b, "+%s:%s:", f->origin.host, f->origin.port);
    for (size_t i = 0; i < a->n; i++) {
        address_text(&a->at[i], text);
        buf_printf(&b, "%s%s", i ? "," : "", text);
    }
    f->addresses = curl_slist_append(NULL, b.p);
    curl_easy_setopt(f->x.easy, CURLOPT_RESOLVE, f->addresses);
    buf_free(&b);
}

int fetch_set_up(struct fetch *f, const struct addresses *a, ath_err *e)
{
    CURL *c = f->x.easy ? f->x.easy : (f->x.easy = curl_easy_init());

    if (!c)
        return err_fail(e, ATH_E_MEMORY, "could not begin a request of our own");
    curl_easy_reset(c);
    curl_easy_setopt(c, CURLOPT_PRIVATE, &f->x);
    curl_easy_setopt(c, CURLOPT_URL, f->url);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L); /* who signs a path signs its dots, too */
    curl_easy_setopt(c, CURLOPT_USERAGENT,
                     client_settings.agent ? client_settings.agent : "athena");
    set_limits(f);
    if (!f->origin.literal)
        set_addresses(f, a);
    if (f->head_only)
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    if (f->has_body)
        set_body(f);
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, f->method);
    set_header(f);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_head);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, f);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, f);
    return client_loop_run(&f->x, e);
}
