/* The text line. Room for the longest possible line is made once, then bytes are stored without
 * looking at the bounds again. */
#include "logline/logline.h"
#include "logline/logline_priv.h"

#define BOLD "\x1b[1m"
#define DIM "\x1b[2m"
#define RESET "\x1b[0m"

static const char hex[] = "0123456789abcdef";

#define EACH(byte) (0x0101010101010101u * (byte))

/* Is a byte of `x` below `limit` (at most 0x80)? */
static uint64_t below(uint64_t x, uint64_t limit)
{
    return (x - EACH(limit)) & ~x & EACH(0x80u);
}

static bool word_plain(uint64_t x, bool quoted)
{
    uint64_t bad = below(x, 0x20) | below(x ^ EACH(0x7fu), 1);

    if (quoted)
        bad |= below(x ^ EACH((uint64_t)'"'), 1) | below(x ^ EACH((uint64_t)'\\'), 1);
    return bad == 0;
}

/* Nothing to escape? Eight bytes at a time: nearly every value is so. */
static bool plain_bytes(const char *p, size_t n, bool quoted)
{
    uint64_t x = EACH((uint64_t)' ');

    if (n < sizeof(x)) {
        for (size_t i = 0; i < n; i++)
            x = x << 8 | (unsigned char)p[i];
        return word_plain(x, quoted);
    }
    for (size_t i = 0; i + sizeof(x) <= n; i += sizeof(x)) {
        memcpy(&x, p + i, sizeof(x));
        if (!word_plain(x, quoted))
            return false;
    }
    memcpy(&x, p + n - sizeof(x), sizeof(x));
    return word_plain(x, quoted);
}

static char *put(char *at, const char *p, size_t n)
{
    memcpy(at, p, n);
    return at + n;
}

#define PUT(at, literal) put((at), "" literal, sizeof(literal) - 1)

/* A byte becomes 4 at most (\x1b): what room_for() counts with. */
static char *put_escaped(char *at, ath_str s, bool quoted)
{
    if (plain_bytes(s.p, s.n, quoted))
        return s.n ? put(at, s.p, s.n) : at;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (quoted && (c == '"' || c == '\\')) {
            *at++ = '\\';
            *at++ = (char)c;
        } else if (quoted && (c == '\n' || c == '\r' || c == '\t')) {
            *at++ = '\\';
            *at++ = c == '\n' ? 'n' : c == '\r' ? 'r' : 't';
        } else if (c < 0x20 || c == 0x7f) {
            at = PUT(at, "\\x");
            *at++ = hex[c >> 4];
            *at++ = hex[c & 15];
        } else {
            *at++ = (char)c;
        }
    }
    return at;
}

static size_t room_for(const ath_event *e)
{
    size_t n = 256 + 4 * (e->source.n + e->message.n);

    for (uint32_t i = 0; i < e->fact_count; i++)
        n += 16 + 2 * e->fact[i].key.n + 8 * e->fact[i].value.n;
    return n;
}

static char *put_time(struct logline *l, char *at, uint64_t ns, unsigned flags)
{
    unsigned ms = (unsigned)(ns / 1000000u % 1000u);

    logline_clock(l, ns / 1000000000u);
    at = flags & LOGLINE_DATE ? put(at, l->clock, 19) : put(at, l->clock + 11, 8);
    *at++ = '.';
    *at++ = (char)('0' + ms / 100);
    *at++ = (char)('0' + ms / 10 % 10);
    *at++ = (char)('0' + ms % 10);
    return flags & LOGLINE_DATE ? put(at, l->zone, 6) : at;
}

static char *put_head(struct logline *l, char *at, const ath_event *e, unsigned flags)
{
    static const char levels[][6] = { "TRACE", "ERROR", " WARN", " INFO", "DEBUG", "TRACE" };
    static const char colors[][6] = { "\x1b[35m", "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[34m", "\x1b[35m" };
    uint32_t level = e->level < 5 ? e->level : 5;

    if (flags & LOGLINE_COLOR)
        at = PUT(at, DIM);
    at = put_time(l, at, e->time_ns, flags);
    if (flags & LOGLINE_COLOR)
        at = PUT(at, RESET);
    *at++ = ' ';
    if (flags & LOGLINE_COLOR)
        at = put(at, colors[level], 5);
    at = put(at, levels[level], 5);
    if (flags & LOGLINE_COLOR)
        at = PUT(at, RESET);
    *at++ = ' ';
    return at;
}

static char *put_span_fact(char *at, const ath_fact *f)
{
    at = put(at, f->key.p + SPAN_N, f->key.n - SPAN_N);
    *at++ = '=';
    return put_escaped(at, f->value, false);
}

/* The published server writes the status twice, and dashboards' patterns expect it. */
static char *put_span(char *at, const ath_event *e, unsigned flags)
{
    const char *start = NULL;

    for (uint32_t i = 0; i < e->fact_count; i++) {
        const ath_fact *f = &e->fact[i];
        if (!is_span(f))
            continue;
        if (!start) {
            at = flags & LOGLINE_COLOR ? PUT(at, BOLD "http.request" RESET "{")
                                       : PUT(at, "http.request{");
            start = at;
        } else {
            *at++ = ' ';
        }
        at = put_span_fact(at, f);
        if (f->key.n == sizeof("span.http_status_code") - 1 && f->key.p[SPAN_N + 5] == 's') {
            *at++ = ' ';
            at = put_span_fact(at, f);
        }
    }
    return start ? PUT(at, "}: ") : at;
}

static bool is_message(const ath_fact *f)
{
    return f->key.n == 7 && memcmp(f->key.p, "message", 7) == 0;
}

static char *put_fact(char *at, const ath_fact *f)
{
    *at++ = ' ';
    if (is_message(f))
        return put_escaped(at, f->value, false);
    at = put(at, f->key.p, f->key.n);
    *at++ = '=';
    if (f->form == ATH_V_NUMBER || f->form == ATH_V_BOOL)
        return put(at, f->value.p, f->value.n);
    if (f->form != ATH_V_TEXT)
        return put_escaped(at, f->value, false);
    *at++ = '"';
    at = put_escaped(at, f->value, true);
    *at++ = '"';
    return at;
}

void logline_text(struct logline *l, struct buf *b, const ath_event *e, unsigned flags)
{
    char *at;

    buf_grow(b, room_for(e));
    at = put_head(l, b->p + b->n, e, flags);
    if (flags & LOGLINE_SPAN)
        at = put_span(at, e, flags);
    if (flags & LOGLINE_COLOR)
        at = PUT(at, DIM);
    at = put_escaped(at, e->source, false);
    *at++ = ':';
    if (flags & LOGLINE_COLOR)
        at = PUT(at, RESET);
    *at++ = ' ';
    at = put_escaped(at, e->message, false);
    for (const ath_fact *f = e->fact, *end = f + e->fact_count; f < end; f++)
        if (!is_span(f))
            at = put_fact(at, f);
    *at++ = '\n';
    *at = 0;
    b->n = (size_t)(at - b->p);
}
