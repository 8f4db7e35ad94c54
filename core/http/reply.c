/* What an answer looks like on the wire: the head, and the one envelope of all errors.
 *
 * Lines that every answer shares are made once a second per loop (they hold the Date). The envelope
 * is the union of the published ones (contract gateway.md 8), so each consumer finds its keys.
 */
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/version.h"
#include "http/http_priv.h"
#include "lib/json.h"

#define DOCS_URL HTTP_DOCS_URL "/docs/reference/errors/"
enum { OUR_NUMBERS = 900 }; /* x900 and up are no numbers of the published catalogue: no page */

static const struct {
    int status;
    const char *words;
} status_line[] = {
    { 200, "HTTP/1.1 200 OK\r\n" },
    { 201, "HTTP/1.1 201 Created\r\n" },
    { 202, "HTTP/1.1 202 Accepted\r\n" },
    { 204, "HTTP/1.1 204 No Content\r\n" },
    { 206, "HTTP/1.1 206 Partial Content\r\n" },
    { 301, "HTTP/1.1 301 Moved Permanently\r\n" },
    { 302, "HTTP/1.1 302 Found\r\n" },
    { 303, "HTTP/1.1 303 See Other\r\n" },
    { 304, "HTTP/1.1 304 Not Modified\r\n" },
    { 307, "HTTP/1.1 307 Temporary Redirect\r\n" },
    { 308, "HTTP/1.1 308 Permanent Redirect\r\n" },
    { 400, "HTTP/1.1 400 Bad Request\r\n" },
    { 401, "HTTP/1.1 401 Unauthorized\r\n" },
    { 403, "HTTP/1.1 403 Forbidden\r\n" },
    { 404, "HTTP/1.1 404 Not Found\r\n" },
    { 405, "HTTP/1.1 405 Method Not Allowed\r\n" },
    { 406, "HTTP/1.1 406 Not Acceptable\r\n" },
    { 408, "HTTP/1.1 408 Request Timeout\r\n" },
    { 409, "HTTP/1.1 409 Conflict\r\n" },
    { 410, "HTTP/1.1 410 Gone\r\n" },
    { 412, "HTTP/1.1 412 Precondition Failed\r\n" },
    { 413, "HTTP/1.1 413 Payload Too Large\r\n" },
    { 415, "HTTP/1.1 415 Unsupported Media Type\r\n" },
    { 416, "HTTP/1.1 416 Range Not Satisfiable\r\n" },
    { 417, "HTTP/1.1 417 Expectation Failed\r\n" },
    { 422, "HTTP/1.1 422 Unprocessable Entity\r\n" },
    { 423, "HTTP/1.1 423 Locked\r\n" },
    { 429, "HTTP/1.1 429 Too Many Requests\r\n" },
    { 431, "HTTP/1.1 431 Request Header Fields Too Large\r\n" },
    { 500, "HTTP/1.1 500 Internal Server Error\r\n" },
    { 501, "HTTP/1.1 501 Not Implemented\r\n" },
    { 502, "HTTP/1.1 502 Bad Gateway\r\n" },
    { 503, "HTTP/1.1 503 Service Unavailable\r\n" },
    { 504, "HTTP/1.1 504 Gateway Timeout\r\n" },
};

static const char *status_words(int status)
{
    for (size_t i = 0; i < ATH_COUNT(status_line); i++)
        if (status_line[i].status == status)
            return status_line[i].words;
    return NULL;
}

static void put_status(struct buf *b, int status)
{
    const char *words = status_words(status);

    if (words) {
        buf_z(b, words);
        return;
    }
    buf_lit(b, "HTTP/1.1 ");
    buf_u64(b, (uint64_t)status);
    buf_lit(b, " Status\r\n");
}

static inline void put_line(struct buf *b, const char *name, ath_str value)
{
    ath_str z = str_of(name);
    char *at = str_put(buf_room(b, z.n + value.n + 4), z);

    at = str_put(str_put(at, ATH_S(": ")), value);
    buf_end(b, str_put(at, ATH_S("\r\n")));
}

static inline void put_number(struct buf *b, ath_str name, uint64_t v)
{
    char room[STR_U64_ROOM], *at = str_put(buf_room(b, name.n + STR_U64_ROOM + 2), name);

    at = str_put(at, str_from_u64(v, room));
    buf_end(b, str_put(at, ATH_S("\r\n")));
}

/* ---- what all answers share ---- */

static void put_date(struct buf *b, time_t now)
{
    char text[40];
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(text, sizeof(text), "date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
    buf_z(b, text);
}

void reply_common(struct http_loop *hl)
{
    uint64_t now_ms = loop_now_ms(hl->loop), wall_ms;

    if (now_ms < hl->common_until_ms)
        return;
    wall_ms = clock_wall_ns() / 1000000u;
    hl->common_until_ms = now_ms + 1000 - wall_ms % 1000;
    buf_reset(&hl->common);
    put_date(&hl->common, (time_t)(wall_ms / 1000));
    buf_lit(&hl->common, "server: athena\r\nx-athena-version: ");
    buf_z(&hl->common, athena_version);
    buf_lit(&hl->common, "\r\nvary: Origin, Access-Control-Request-Method, "
                         "Access-Control-Request-Headers\r\n");
}

/* ---- the head ---- */

static bool bodiless(int status)
{
    return status < 200 || status == 204 || status == 304;
}

static void put_length(struct buf *b, struct exchange *x)
{
    const struct req *r = &x->req;
    bool said = false;

    if (bodiless(r->status))
        return;
    if (x->set & SET_STREAM || (r->head && (x->set & SET_LENGTH))) {
        said = (x->set & SET_LENGTH) && !(x->set & SET_GZIP);
        x->framed = !said && r->minor == 1;
        if (x->framed)
            buf_lit(b, "transfer-encoding: chunked\r\n");
        if (!said)
            return;
    }
    put_number(b, ATH_S("content-length: "), said ? x->declared : r->reply.n);
}

/* What else the answer depends on: `b` ends with the Vary that all answers have. */
static void put_vary(struct buf *b, const struct exchange *x)
{
    b->n -= 2;
    buf_str(b, x->vary);
    if (x->set & SET_VARY)
        buf_lit(b, ", Accept-Encoding");
    buf_lit(b, "\r\n");
}

static void put_span(struct buf *b, const char *name, uint64_t from, uint64_t to)
{
    uint64_t us = to > from ? (to - from) / 1000 : 0;

    buf_printf(b, "%s;dur=%llu.%03llu", name, (unsigned long long)us / 1000,
               (unsigned long long)us % 1000);
}

/* `total` is up to this head; `queue` is what the handler did and waited for before its first
 * statement left, `db` is until the last one's answer. A stream's goes on behind its head. */
static void put_timing(struct buf *b, const struct exchange *x)
{
    const struct req *r = &x->req;
    uint64_t now = clock_ns(), sent = r->task.db_sent_ns, done = r->task.db_done_ns;

    if (r->http->timing == TIMING_NEVER || !r->match.route ||
        !(r->match.route->def.flags & ATH_RT_CLIENT))
        return;
    buf_lit(b, "server-timing: ");
    put_span(b, "total", r->mark[MARK_FIRST_BYTE], now);
    if (sent) {
        put_span(b, ", queue", r->mark[MARK_HANDLER], sent);
        put_span(b, ", db", sent, done ? done : now);
    }
    buf_lit(b, "\r\n");
    if (x->origin.n && reply_origin(x)) /* else a browser shows them to nobody */
        put_line(b, "timing-allow-origin", x->origin);
}

/* What few answers have; right behind the lines that all have. */
static void put_asked(struct buf *b, const struct exchange *x, uint32_t asked)
{
    if (asked & (SET_VARY | SET_VARY_BY))
        put_vary(b, x);
    if (asked & SET_GZIP)
        buf_lit(b, "content-encoding: gzip\r\n");
    if (asked & SET_TIMED)
        put_timing(b, x);
    if (asked & SET_HEAD)
        x->req.http->head((struct req *)(uintptr_t)&x->req, b);
}

/* Both traces and the request's id: 36 and 32 and 16 characters. */
static void put_ids(struct buf *b, const struct exchange *x)
{
    static const char hex[] = "0123456789abcdef";
    const struct req *r = &x->req;
    ath_str id = str_from(r->id, UUID_TEXT - 1);
    char *at = buf_room(b, 256 + r->trace_id.n);

    at = str_put(str_put(at, ATH_S("x-athena-request-id: ")), id);
    if (!(x->set & SET_TRACE_ID))
        at = str_put(str_put(at, ATH_S("\r\nx-athena-trace-id: ")), id);
    at = str_put(str_put(at, ATH_S("\r\ntraceparent: 00-")), r->trace_id);
    *at++ = '-';
    at = str_put(at, str_from(r->span_id, 16));
    *at++ = '-';
    *at++ = hex[x->trace_flags >> 4];
    *at++ = hex[x->trace_flags & 15];
    buf_end(b, str_put(at, ATH_S("\r\n")));
    if (r->given_id.n)
        put_line(b, "x-request-id", r->given_id);
    if (r->client_name.n)
        put_line(b, "x-athena-client", r->client_name);
}

static void put_cache(struct buf *b, const struct exchange *x)
{
    if (!(x->set & SET_CACHED))
        buf_lit(b, "x-athena-cached: false\r\n");
    if (x->set & SET_CACHE_ID && !(x->set & SET_CACHE_KEY))
        put_line(b, "x-athena-cache-key", x->cache_id);
    if (x->set & SET_CACHE_KEY && !(x->set & SET_CACHE_ID))
        put_line(b, "x-athena-cache-id", x->cache_key);
}

bool reply_origin(const struct exchange *x)
{
    const struct http_cors *cors = &x->req.http->cors;
    ath_str rest = cors->origins, one;

    if (!cors->enforce)
        return true;
    while (str_next(&rest, ',', &one))
        if (str_ieq(str_trim(one), x->origin))
            return true;
    return false;
}

static void put_cors(struct buf *b, const struct exchange *x)
{
    if (x->origin.n == 0 || !reply_origin(x))
        return;
    put_line(b, "access-control-allow-origin", x->origin);
    if (x->asked_method.n == 0)
        buf_lit(b, "access-control-expose-headers: X-Athena-Request-Id, X-Athena-Trace-Id, "
                   "X-Athena-Time, X-Athena-Client, X-Athena-Version, X-Athena-Cached, "
                   "X-Athena-Cache-Id, X-Athena-Cache-Key, X-Athena-Cache-Outcome, "
                   "X-Athena-Cache-Source, X-Athena-Count, X-Request-Id, Content-Range, "
                   "Retry-After, Server-Timing, X-Athena-Cost, "
                   "traceparent\r\n");
}

enum { SET_ASKED = SET_VARY | SET_VARY_BY | SET_GZIP | SET_TIMED | SET_HEAD };

void reply_head(struct buf *b, struct exchange *x, bool keep)
{
    struct req *r = &x->req;
    struct http_loop *hl = r->conn->hl;
    uint32_t asked = (x->set | hl->always) & SET_ASKED;

    put_status(b, r->status);
    buf_mem(b, hl->common.p, hl->common.n);
    if (asked)
        put_asked(b, x, asked);
    if (r->type.n)
        put_line(b, "content-type", r->type);
    put_length(b, x);
    put_number(b, ATH_S("x-athena-time: "), (hl->now_ns - r->mark[MARK_FIRST_BYTE]) / 1000000u);
    put_ids(b, x);
    put_cache(b, x);
    put_cors(b, x);
    buf_mem(b, r->extra.p, r->extra.n);
    if (!keep)
        buf_lit(b, "connection: close\r\n");
    else if (r->minor == 0)
        buf_lit(b, "connection: keep-alive\r\n");
    buf_lit(b, "\r\n");
}

/* The parser's own answer: nothing is known about the request (contract gateway.md 2.1). */
void reply_refused(struct buf *b, struct exchange *x)
{
    put_status(b, x->refused);
    put_date(b, (time_t)(clock_wall_ns() / 1000000000u));
    buf_lit(b, "content-length: 0\r\nconnection: close\r\n\r\n");
}

/* ---- the envelope ---- */

/* The members of `details` one by one; values hold balanced brackets and quotes. */
static bool member_next(ath_str *rest, ath_str *ret_key, ath_str *ret_member)
{
    size_t depth = 0, i = 0;
    bool quoted = false;

    if (rest->n < 2)
        return false;
    for (; i < rest->n; i++) {
        char c = rest->p[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '{' || c == '['))
            depth++;
        else if (!quoted && (c == '}' || c == ']'))
            depth--;
        else if (!quoted && c == ',' && depth == 0)
            break;
    }
    *ret_member = str_from(rest->p, i < rest->n ? i : rest->n);
    *ret_key = str_from(rest->p + 1, str_find(str_after(*rest, 1), '"'));
    *rest = str_after(*rest, i + 1);
    return true;
}

/* Row values and names of columns are for callers who were found to hold a right on the data
 * (contract gateway.md 8); why a database cannot be reached names hosts: for administrators. */
static bool may_show(const struct req *r, ath_str key)
{
    if (str_is(key, "title") || str_is(key, "retry_after") || str_is(key, "body"))
        return false;
    if (str_is(key, "detail") || str_is(key, "available_columns"))
        return r->asked || (r->who.flags & ATH_WHO_ADMIN);
    if (str_is(key, "reason"))
        return r->who.flags & ATH_WHO_ADMIN;
    return true;
}

static void put_details(struct buf *b, const struct req *r, const ath_err *e)
{
    ath_str rest = { e->details, e->details_n }, key, member;
    bool traced = false;

    buf_char(b, '{');
    while (member_next(&rest, &key, &member)) {
        if (!may_show(r, key))
            continue;
        traced = traced || str_is(key, "trace_id");
        if (b->p[b->n - 1] != '{')
            buf_char(b, ',');
        buf_str(b, member);
    }
    if (!traced)
        buf_json_str(b, "trace_id", str_of(r->id));
    buf_char(b, '}');
}

/* The words of a failure inside are for our log, not for callers. */
static ath_str shown_message(const ath_err *e)
{
    if (!e->error && (e->rc == ATH_E_BUG || e->rc == ATH_E_MEMORY || e->rc == ATH_E_CONFIG ||
                      e->rc == ATH_E_ABI))
        return ATH_S("An unexpected error occurred");
    return str_from(e->message, e->message_n);
}

static void put_title(struct buf *b, const ath_err *e, const ath_error *entry)
{
    ath_str title = err_get(e, "title");

    buf_json_key(b, "message");
    if (title.p == entry->message) {
        buf_json(b, title);
        return;
    }
    buf_char(b, '"'); /* a detail's text comes with its escapes */
    buf_str(b, title);
    buf_char(b, '"');
}

static void put_data(struct buf *b, const struct req *r, ath_str details)
{
    const char *operation = r->match.route ? r->match.route->def.operation : NULL;

    if (!operation)
        return;
    buf_json_key(b, "data");
    buf_char(b, '{');
    buf_json_str(b, "operation", str_of(operation));
    buf_json_key(b, "details");
    buf_str(b, details);
    buf_char(b, '}');
    if (strcmp(operation, "insert") == 0 || strcmp(operation, "delete") == 0)
        buf_json_bool(b, "success", false);
}

static ath_str envelope(const struct req *r, const ath_err *e, const ath_error *entry)
{
    ath_arena *arena = (ath_arena *)(uintptr_t)&r->task.arena;
    struct buf b = ARENA_BUF(arena), details = ARENA_BUF(arena);

    put_details(&details, r, e);
    buf_lit(&b, "{\"status\":\"error\"");
    buf_json_str(&b, "code", str_of(entry->code));
    put_title(&b, e, entry);
    buf_json_str(&b, "error", shown_message(e));
    if (entry->number) {
        buf_json_int(&b, "error_number", entry->number);
        if (entry->number % 1000 < OUR_NUMBERS) {
            buf_lit(&b, ",\"docs_url\":\"" DOCS_URL);
            buf_u64(&b, entry->number);
            buf_char(&b, '"');
        }
    }
    if (e->hint_n)
        buf_json_str(&b, "hint", str_from(e->hint, e->hint_n));
    buf_json_int(&b, "status_code", entry->status);
    buf_json_key(&b, "details");
    buf_str(&b, buf_view(&details));
    buf_json_str(&b, "trace_id", str_of(r->id));
    put_data(&b, r, buf_view(&details));
    buf_char(&b, '}');
    utf8_mend(b.p, b.n); /* a header or path that is quoted may hold any bytes */
    return buf_view(&b);
}

void reply_error(struct req *r, const ath_err *e)
{
    const ath_error *entry = err_entry(e);
    ath_str retry = err_get(e, "retry_after"), body = err_get(e, "body");

    if (retry.n)
        req_set(&r->task, "retry-after", retry);
    r->status = (int)entry->status;
    r->type = ATH_S("application/json");
    r->reply = body.n ? arena_str(&r->task.arena, body) : envelope(r, e, entry);
    r->answered = true;
}
