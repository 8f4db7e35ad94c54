/* Bytes to requests.
 *
 * llhttp cuts the bytes. A head is kept as it came, piece by piece; llhttp's callbacks only note
 * where its target, names and values begin and end, and when it is complete they are made texts in
 * place: names in lower case, each ended by a NUL over the byte behind it. llhttp pauses at the end
 * of each head and of each message: at the first the request is checked and enters its phases, at
 * the second the next one may begin. Whatever stops the parser in between (a body that nobody wants
 * yet, too many requests in line) leaves the rest of the bytes with the connection.
 *
 * llhttp, in strict mode, refuses most of what smuggling is made of. It lets through, and this file
 * refuses: a request of HTTP/1.1 without exactly one Host, folded lines, versions other than 1.0
 * and 1.1, a Transfer-Encoding that is not just "chunked" or comes with HTTP/1.0. What is refused
 * gets a bare answer behind the answers before it, and the connection ends.
 */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "http/http_priv.h"

static int stop_with(struct conn *c, int status)
{
    c->refuse = status;
    return HPE_USER;
}

/* ---- llhttp's callbacks ---- */

static int on_message_begin(llhttp_t *p)
{
    struct conn *c = p->data;

    c->reading = exchange_new(c);
    c->head_n = 0;
    return 0;
}

/* Where a byte that llhttp looks at will stand in exchange.head. */
static uint32_t head_at(const struct conn *c, const char *at)
{
    return (uint32_t)(c->reading->head.n + (size_t)(at - c->piece));
}

static int on_url(llhttp_t *p, const char *at, size_t n)
{
    struct conn *c = p->data;
    struct exchange *x = c->reading;
    uint64_t most = conn_limits(c)->target_bytes;

    if (x->target_n == 0)
        x->target_at = head_at(c, at);
    x->target_n += (uint32_t)n;
    return most && x->target_n > most ? stop_with(c, 400) : 0;
}

static struct span *span_new(struct conn *c, struct exchange *x, uint32_t name)
{
    uint64_t most = conn_limits(c)->head_fields;

    if (most && x->spans >= most)
        return NULL;
    if (x->spans == x->span_room) {
        x->span_room = x->span_room ? x->span_room * 2 : 16;
        x->span = mem_resize(x->span, x->span_room * sizeof(*x->span));
    }
    x->span[x->spans] = (struct span){ .name = name };
    return &x->span[x->spans++];
}

/* Trailers are read over, within the limit of a head. */
static int trailer(struct conn *c, struct exchange *x, size_t n)
{
    uint64_t most = conn_limits(c)->head_bytes;

    x->trailer_n += (uint32_t)n;
    return most && x->trailer_n > most ? stop_with(c, 431) : 0;
}

/* A name may come in two pieces, the second right behind the first. */
static int on_header_field(llhttp_t *p, const char *at, size_t n)
{
    struct conn *c = p->data;
    struct exchange *x = c->reading;
    struct span *s = x->spans ? &x->span[x->spans - 1] : NULL;
    uint32_t from;

    if (x->head_done)
        return trailer(c, x, n);
    from = head_at(c, at);
    if ((!s || s->name + s->name_n != from) && !(s = span_new(c, x, from)))
        return stop_with(c, 431);
    s->name_n += (uint32_t)n;
    return 0;
}

/* So may a value; pieces apart from each other are a folded line. */
static int on_header_value(llhttp_t *p, const char *at, size_t n)
{
    struct conn *c = p->data;
    struct exchange *x = c->reading;
    struct span *s;
    uint32_t from;

    if (x->head_done)
        return trailer(c, x, n);
    s = &x->span[x->spans - 1];
    from = head_at(c, at);
    if (s->value_n == 0)
        s->value = from;
    else if (s->value + s->value_n != from)
        return stop_with(c, 400);
    s->value_n += (uint32_t)n;
    return 0;
}

static int on_headers_complete(llhttp_t *p)
{
    struct conn *c = p->data;

    p->upgrade = 0; /* we speak nothing else: an Upgrade is ignored */
    c->event_head = true;
    return HPE_PAUSED;
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
    struct conn *c = p->data;

    body_bytes(c->reading, str_from(at, n));
    return 0;
}

static int on_message_complete(llhttp_t *p)
{
    struct conn *c = p->data;

    c->event_end = true;
    return HPE_PAUSED;
}

const llhttp_settings_t parse_settings = {
    .on_message_begin = on_message_begin,
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* ---- checking a head ---- */

/* Nothing that would end the host where it stands in a URI. */
static int host_check(ath_str host)
{
    return host.n && host.p[strcspn(host.p, " \t/?#\\\"<>^`{|}")] ? 400 : 0;
}

static bool printable(ath_str s, size_t most)
{
    if (s.n == 0 || s.n > most)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 0x20 || s.p[i] > 0x7E)
            return false;
    return true;
}

static bool lower_hex(ath_str s)
{
    bool some = false;

    for (size_t i = 0; i < s.n; i++) {
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
            return false;
        some = some || s.p[i] != '0';
    }
    return some;
}

static int hex_digit(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* W3C Trace Context, 3.2.2: version "-" trace-id "-" parent-id "-" flags. */
bool parse_traceparent(ath_str t, struct exchange *x)
{
    ath_str trace, parent;
    bool known = t.n == 55 && t.p[0] == '0' && t.p[1] == '0';

    if (!known &&
        !(t.n > 55 && t.p[55] == '-' && lower_hex(str_from(t.p, 2)) && memcmp(t.p, "ff", 2) != 0))
        return false;
    trace = str_from(t.p + 3, 32);
    parent = str_from(t.p + 36, 16);
    if (t.p[2] != '-' || t.p[35] != '-' || t.p[52] != '-' || !lower_hex(trace) ||
        !lower_hex(parent) || !(lower_hex(str_from(t.p + 53, 2)) || memcmp(t.p + 53, "00", 2) == 0))
        return false;
    x->req.trace_id = arena_str(&x->req.task.arena, trace);
    x->req.parent_id = arena_str(&x->req.task.arena, parent);
    x->trace_flags = (uint8_t)(hex_digit(t.p[53]) << 4 | hex_digit(t.p[54]));
    return true;
}

static int expect_check(struct exchange *x, ath_str v)
{
    if (!str_ieq(v, ATH_S("100-continue")))
        return 417;
    x->wants_continue = x->req.minor == 1;
    return 0;
}

/* Counts of what may come once only. */
struct once {
    int host, encoding, traceparent;
};

static int encoding_check(struct exchange *x, ath_str v, struct once *once)
{
    if (once->encoding++ || x->req.minor == 0 || !str_ieq(v, ATH_S("chunked")))
        return 400;
    x->chunked = true;
    return 0;
}

/* The headers that this room itself reads. */
static int header_look(struct exchange *x, const ath_pair *h, struct once *once)
{
    switch (h->name.n) {
    case 4:
        if (memcmp(h->name.p, "host", 4) == 0)
            return once->host++ ? 400 : host_check(h->value);
        break;
    case 6:
        if (memcmp(h->name.p, "origin", 6) == 0)
            x->origin = h->value;
        else if (memcmp(h->name.p, "expect", 6) == 0)
            return expect_check(x, h->value);
        break;
    case 11:
        if (memcmp(h->name.p, "traceparent", 11) == 0 && once->traceparent++ == 0)
            parse_traceparent(h->value, x);
        break;
    case 12:
        if (memcmp(h->name.p, "x-request-id", 12) == 0 && printable(h->value, 128))
            x->req.given_id = h->value;
        break;
    case 15:
        if (memcmp(h->name.p, "x-athena-client", 15) == 0)
            x->req.client_name = x->req.client_name.n ? x->req.client_name : h->value;
        else if (memcmp(h->name.p, "accept-encoding", 15) == 0)
            x->set |= SET_ACCEPTS;
        else if (memcmp(h->name.p, "x-athena-timing", 15) == 0)
            x->set |= SET_TIMED;
        break;
    case 17:
        if (memcmp(h->name.p, "transfer-encoding", 17) == 0)
            return encoding_check(x, h->value, once);
        break;
    case 29:
        if (memcmp(h->name.p, "access-control-request-method", 29) == 0)
            x->asked_method = h->value;
        break;
    case 30:
        if (memcmp(h->name.p, "access-control-request-headers", 30) == 0)
            x->asked_headers = h->value;
        break;
    default:
        break;
    }
    return 0;
}

static char *blanks_over(char *p)
{
    while (*p == ' ' || *p == '\t')
        p++;
    return p;
}

/* Cuts name and value out of their line. False: the line is not "name: value" up to its end, so it
 * goes on with a folded one (RFC 9112, 5.2), or llhttp and we read it differently. */
static bool line_cut(struct exchange *x, const struct span *s, ath_pair *ret)
{
    char *name = x->head.p + s->name, *colon = name + s->name_n;
    char *value = blanks_over(colon + 1), *end = value + s->value_n, *lf;

    if (*colon != ':' || (s->value_n && value != x->head.p + s->value))
        return false;
    lf = blanks_over(end);
    lf += *lf == '\r';
    if (*lf != '\n' || lf[1] == ' ' || lf[1] == '\t')
        return false;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    name_lower(name, s->name_n);
    *colon = 0;
    *end = 0;
    *ret = (ath_pair){ { name, s->name_n }, { value, (size_t)(end - value) } };
    return true;
}

static int headers_take(struct exchange *x)
{
    struct req *r = &x->req;
    struct once once = { 0 };
    int status;

    if (x->pair_room < x->spans) {
        x->pair_room = x->span_room;
        x->pair = mem_resize(x->pair, x->pair_room * sizeof(*x->pair));
    }
    r->header = x->pair;
    r->header_count = x->spans;
    for (uint32_t i = 0; i < x->spans; i++) {
        if (!line_cut(x, &x->span[i], &r->header[i]))
            return 400;
        r->header_bits |= name_bit(r->header[i].name);
        if ((status = header_look(x, &r->header[i], &once)) != 0)
            return status;
    }
    if (once.traceparent > 1)
        r->trace_id = r->parent_id = str_from("", 0);
    return once.host == 0 && r->minor == 1 ? 400 : 0;
}

/* Of "http://host/path" the path; origin form stays as it is. */
static int target_path(struct req *r, ath_str *ret)
{
    ath_str t = r->target;

    if (t.n && t.p[0] == '/') {
        *ret = t;
        return 0;
    }
    if (str_is(t, "*") && str_is(r->method, "OPTIONS")) {
        *ret = t;
        return 0;
    }
    if (!str_starts(t, "http://") && !str_starts(t, "https://"))
        return 400;
    t = str_after(t, str_find(t, ':') + 3);
    t = str_after(t, strcspn(t.p, "/?"));
    *ret = t.n ? t : ATH_S("/");
    return t.n && t.p[0] == '?' ? 400 : 0;
}

static int target_take(struct exchange *x)
{
    struct req *r = &x->req;
    ath_str t;
    size_t n;
    int status;

    r->target = str_from(x->head.p + x->target_at, x->target_n);
    x->head.p[x->target_at + x->target_n] = 0;
    if (memchr(r->target.p, '#', r->target.n))
        return 400;
    if ((status = target_path(r, &t)) != 0)
        return status;
    n = str_find(t, '?');
    r->query = n < t.n ? str_after(t, n + 1) : str_from("", 0);
    r->path = n < t.n ? arena_str(&r->task.arena, str_from(t.p, n)) : t;
    return 0;
}

/* The head is complete: 0, or the status it is refused with. */
static int head_take(struct conn *c, struct exchange *x)
{
    struct req *r = &x->req;
    int status;

    if (c->parser.http_major != 1 || c->parser.http_minor > 1)
        return 400;
    r->minor = c->parser.http_minor;
    r->method = str_of(llhttp_method_name(c->parser.method));
    if ((status = headers_take(x)) != 0 || (status = target_take(x)) != 0)
        return status;
    r->client_name = str_trim(r->client_name);
    r->head = c->parser.method == HTTP_HEAD;
    x->safe = r->head || c->parser.method == HTTP_GET || c->parser.method == HTTP_OPTIONS;
    r->keep_alive = llhttp_should_keep_alive(&c->parser);
    x->length = c->parser.flags & F_CONTENT_LENGTH ? c->parser.content_length : 0;
    x->has_body = x->chunked || x->length > 0;
    x->mode = x->has_body ? BODY_HOLD : BODY_DROP;
    x->wants_continue = x->wants_continue && x->has_body;
    r->body_complete = !x->has_body;
    return 0;
}

/* A piece of a head: kept, within the limit. */
static int head_piece(struct conn *c, const char *from, const char *to)
{
    uint64_t most = conn_limits(c)->head_bytes;
    struct buf *head = &c->reading->head;

    c->head_n += (uint32_t)(to - from);
    if (most && c->head_n > most)
        return 431;
    buf_mem(head, from, (size_t)(to - from));
    return 0;
}

/* ---- driving it ---- */

bool parse_may(const struct conn *c)
{
    const struct exchange *x = c->reading;

    if (c->closed || c->deaf || c->lingering)
        return false;
    if (!x || !x->head_done)
        return x || c->queued <= conn_limits(c)->pipeline;
    return x->mode != BODY_HOLD && !(x->mode == BODY_STREAM && body_waits(x));
}

void parse_refuse(struct conn *c, int status)
{
    struct exchange *x = c->reading ? c->reading : exchange_new(c);
    struct ath_err e;

    c->deaf = true;
    if (x->head_done) { /* it is a request already: its body is broken */
        err_raise(&e, "bad_request", "the request body is malformed: %s",
                  llhttp_get_error_reason(&c->parser) ? llhttp_get_error_reason(&c->parser) : "");
        body_broken(x, e.rc, &e);
        return;
    }
    c->reading = NULL;
    x->refused = status;
    x->started = x->req.answered = true;
    list_push(&c->queue, &x->req.node);
    c->queued++;
    conn_answered(c);
}

static void head_end(struct conn *c)
{
    struct exchange *x = c->reading;
    int status = head_take(c, x);

    if (status != 0)
        parse_refuse(c, status);
    else
        exchange_enter(x);
}

static void message_end(struct conn *c)
{
    struct exchange *x = c->reading;

    c->reading = NULL;
    x->req.mark[MARK_BODY] = c->hl->now_ns;
    x->req.body_complete = true;
    if (!x->req.keep_alive || c->last)
        c->deaf = true; /* what follows is nobody's request */
    if (x->has_body)
        body_end(x);
}

/* What one call of llhttp has left behind; false: it ends here. */
static bool after_piece(struct conn *c, enum llhttp_errno rc, const char *from, const char *stop)
{
    int status = 0;

    if (c->reading && !c->reading->head_done)
        status = head_piece(c, from, stop);
    if (status == 0 && rc != HPE_OK && rc != HPE_PAUSED)
        status = c->refuse ? c->refuse : 400;
    if (status != 0) {
        parse_refuse(c, status);
        return false;
    }
    if (rc == HPE_OK)
        return false;
    llhttp_resume(&c->parser);
    if (c->event_head)
        head_end(c);
    else if (c->event_end)
        message_end(c);
    return true;
}

size_t parse_bytes(struct conn *c, const char *p, size_t n)
{
    const char *at = p, *end = p + n;
    bool pending = false; /* a request without body ends without another byte */

    while ((at < end || pending) && parse_may(c)) {
        enum llhttp_errno rc;
        const char *from = at;
        c->event_head = c->event_end = false;
        c->piece = at;
        rc = llhttp_execute(&c->parser, at, (size_t)(end - at));
        at = rc == HPE_OK ? end : llhttp_get_error_pos(&c->parser);
        if (!after_piece(c, rc, from, at))
            break;
        pending = c->event_head;
    }
    c->piece = NULL;
    return (size_t)(at - p);
}
