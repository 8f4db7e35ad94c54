/* The text line. Room for the longest possible line is made once, then bytes are stored without
 * looking at the bounds again. */
#include "logline/logline.h"
#include "logline/logline_priv.h"

#define BOLD  "\x1b[1m"
#define DIM   "\x1b[2m"
#define RESET "\x1b[0m"

static const char hex[] = "0123456789abcdef";

typedef unsigned char bytes16 __attribute__((vector_size(16)));

/* Nothing below a blank and no 0x7f in [p, p + n)? Reads up to 15 bytes more. */
static bool is_clean(const char *p, size_t n)
{
    bytes16 bad = { 0 }, v;
    uint64_t half[2];

    for (size_t i = 0; i < n; i += sizeof(v)) {
        memcpy(&v, p + i, sizeof(v));
        bad |= (bytes16)(v < 0x20) | (bytes16)(v == 0x7f);
    }
    memcpy(half, &bad, sizeof(half));
    return (half[0] | half[1]) == 0;
}

static bool needs_quoting(ath_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '"' || s.p[i] == '\\')
            return true;
    return false;
}

#define PUT(at, literal) str_put((at), ATH_S(literal))

/* A byte becomes 4 at most (\x1b): what room_for() counts with. */
static char *put_escaped(char *at, ath_str s, bool quoted)
{
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

/* A value that is not quoted: as it is in a first try, escaped in a second one. */
static char *put_value(char *at, ath_str s, bool careful)
{
    return careful ? put_escaped(at, s, false) : str_put(at, s);
}

static char *put_quoted(char *at, ath_str s, bool careful)
{
    *at++ = '"';
    at = careful || needs_quoting(s) ? put_escaped(at, s, true) : str_put(at, s);
    *at++ = '"';
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
    at = flags & LOGLINE_DATE ? str_put(at, str_from(l->clock, 19))
                              : str_put(at, str_from(l->clock + 11, 8));
    *at++ = '.';
    *at++ = (char)('0' + ms / 100);
    *at++ = (char)('0' + ms / 10 % 10);
    *at++ = (char)('0' + ms % 10);
    return flags & LOGLINE_DATE ? str_put(at, str_from(l->zone, 6)) : at;
}

static char *put_head(struct logline *l, char *at, const ath_event *e, unsigned flags)
{
    static const char levels[][6] = { "TRACE", "ERROR", " WARN", " INFO", "DEBUG", "TRACE" };
    static const char colors[][6] = { "\x1b[35m", "\x1b[31m", "\x1b[33m",
                                      "\x1b[32m", "\x1b[34m", "\x1b[35m" };
    uint32_t level = e->level < 5 ? e->level : 5;

    if (flags & LOGLINE_COLOR)
        at = PUT(at, DIM);
    at = put_time(l, at, e->time_ns, flags);
    if (flags & LOGLINE_COLOR)
        at = PUT(at, RESET);
    *at++ = ' ';
    if (flags & LOGLINE_COLOR)
        at = str_put(at, str_from(colors[level], 5));
    at = str_put(at, str_from(levels[level], 5));
    if (flags & LOGLINE_COLOR)
        at = PUT(at, RESET);
    *at++ = ' ';
    return at;
}

static char *put_span_fact(char *at, const ath_fact *f, bool careful)
{
    at = str_put(at, str_after(f->key, SPAN_N));
    *at++ = '=';
    return put_value(at, f->value, careful);
}

/* The published server writes the status twice, and dashboards' patterns expect it. */
static char *put_span(char *at, const ath_fact *f, const ath_fact *end, unsigned flags,
                      bool careful)
{
    at = flags & LOGLINE_COLOR ? PUT(at, BOLD "http.request" RESET "{") : PUT(at, "http.request{");
    for (const ath_fact *first = f; f < end; f++) {
        if (f > first)
            *at++ = ' ';
        at = put_span_fact(at, f, careful);
        if (f->key.n != sizeof("span.http_status_code") - 1 || f->key.p[SPAN_N + 5] != 's')
            continue;
        *at++ = ' ';
        at = put_span_fact(at, f, careful);
    }
    return PUT(at, "}: ");
}

static bool is_message(const ath_fact *f)
{
    return f->key.n == 7 && f->key.p[0] == 'm' && memcmp(f->key.p, "message", 7) == 0;
}

static char *put_fact(char *at, const ath_fact *f, bool careful)
{
    *at++ = ' ';
    if (!is_message(f)) {
        at = str_put(at, f->key);
        *at++ = '=';
    }
    if (f->form == ATH_V_TEXT && !is_message(f))
        return put_quoted(at, f->value, careful);
    return put_value(at, f->value, careful);
}

static char *put_line(struct logline *l, char *at, const ath_event *e, unsigned flags, bool careful)
{
    const ath_fact *f = e->fact, *end = f + e->fact_count;

    while (f < end && is_span(f))
        f++;
    at = put_head(l, at, e, flags);
    if ((flags & LOGLINE_SPAN) && f > e->fact)
        at = put_span(at, e->fact, f, flags, careful);
    if (flags & LOGLINE_COLOR)
        at = PUT(at, DIM);
    at = put_value(at, e->source, careful);
    *at++ = ':';
    if (flags & LOGLINE_COLOR)
        at = PUT(at, RESET);
    *at++ = ' ';
    at = put_value(at, e->message, careful);
    for (; f < end; f++)
        at = put_fact(at, f, careful);
    return at;
}

/* Nearly no line needs an escape: it is written as it is, looked through once, and written again
 * with care when something was there. The colours' own escapes make every coloured line such a one.
 */
void logline_text(struct logline *l, struct buf *b, const ath_event *e, unsigned flags)
{
    char *from, *end;

    buf_grow(b, room_for(e));
    from = b->p + b->n;
    end = put_line(l, from, e, flags, false);
    memset(end, ' ', sizeof(bytes16));
    if (!is_clean(from, (size_t)(end - from)))
        end = put_line(l, from, e, flags, true);
    *end++ = '\n';
    *end = 0;
    b->n = (size_t)(end - b->p);
}
