/* The text line. Room for the longest possible line is made once, then bytes are stored without
 * looking at the bounds again. */
#include "logline/logline.h"
#include "logline/logline_priv.h"

#define BOLD  "\x1b[1m"
#define DIM   "\x1b[2m"
#define RESET "\x1b[0m"

static const char hex[] = "0123456789abcdef";

typedef unsigned char bytes16 __attribute__((vector_size(16)));
enum { AHEAD = 2 * sizeof(bytes16) };

static bool any(bytes16 v)
{
    uint64_t half[2];

    memcpy(half, &v, sizeof(half));
    return (half[0] | half[1]) != 0;
}

/* Nothing below a blank and no 0x7f in [p, p + n)? Reads up to 31 bytes more. */
static bool is_clean(const char *p, size_t n)
{
    bytes16 bad = { 0 }, v, w;

    for (size_t i = 0; i < n; i += AHEAD) {
        memcpy(&v, p + i, sizeof(v));
        memcpy(&w, p + i + sizeof(v), sizeof(w));
        bad |= ((v - 0x20) | (v + 1)) & ~v; /* the highest bit: below a blank, or 0x7f */
        bad |= ((w - 0x20) | (w + 1)) & ~w;
    }
    return !any(bad & 0x80);
}

/* Reads, and writes zeros, up to 15 bytes behind the text. */
static bool needs_quoting(char *p, size_t n)
{
    bytes16 found = { 0 }, v;

    memset(p + n, 0, sizeof(v));
    for (size_t i = 0; i < n; i += sizeof(v)) {
        memcpy(&v, p + i, sizeof(v));
        found |= (bytes16)(v == '"') | (bytes16)(v == '\\');
    }
    return any(found);
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

/* What was put from `at` to `end`, behind an opening quote. */
static char *quoted(char *at, char *end, ath_str s)
{
    if (needs_quoting(at, s.n))
        end = put_escaped(at, s, true);
    *end++ = '"';
    return end;
}

/* What is copied whole, and what stands around values, source and message. */
static size_t room_around(const ath_event *e)
{
    return 256 + PIECE_MOST + RUN_MOST + 16 * (size_t)e->fact_count;
}

/* A byte becomes 4 at most, and a span's status stands twice. */
static size_t room_for(const ath_event *e)
{
    const ath_fact *f = e->fact, *end = f + e->fact_count;
    size_t keys = 0, values = e->source.n + e->message.n;

    for (; f < end; f++) {
        keys += f->key.n;
        values += f->value.n;
    }
    return room_around(e) + 2 * keys + 8 * values;
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

static bool is_message(ath_str key)
{
    return key.n == 7 && key.p[0] == 'm' && memcmp(key.p, "message", 7) == 0;
}

enum { QUOTED = 1, TWICE = 2 };

/* What stands in front of a value. The published server writes the status of a span twice, and
 * dashboards' patterns expect it. */
static char *put_key(char *at, const ath_fact *f, unsigned *ret_how)
{
    bool message = is_message(f->key), span = is_span(f);

    *ret_how = (f->form == ATH_V_TEXT && !message && !span ? QUOTED : 0) |
               (str_eq(f->key, ATH_S("span.http_status_code")) ? TWICE : 0);
    *at++ = ' ';
    if (message)
        return at;
    at = str_put(at, span ? str_after(f->key, SPAN_N) : f->key);
    *at++ = '=';
    if (*ret_how & QUOTED)
        *at++ = '"';
    return at;
}

/* Behind the key: the value, from `value` to `at`, and what follows from how it is shown. */
static char *put_end(char *from, char *value, char *at, const ath_fact *f, unsigned how)
{
    if (how & QUOTED)
        return quoted(value, at, f->value);
    return how & TWICE ? str_put(at, str_from(from, (size_t)(at - from))) : at;
}

static char *put_fact(char *at, const ath_fact *f, bool careful)
{
    char *from = at, *value;
    unsigned how;

    at = value = put_key(at, f, &how);
    if (careful && (how & QUOTED)) {
        at = put_escaped(at, f->value, true);
        *at++ = '"';
        return at;
    }
    at = put_value(at, f->value, careful);
    return put_end(from, value, at, f, how);
}

/* What is too long stays without a key, and so is never found. */
static bool piece_make(struct logline_piece *p, const ath_fact *f)
{
    unsigned how;

    p->key = NULL;
    if (f->key.n + sizeof(" =\"") > sizeof(p->text))
        return false;
    p->n = (uint16_t)(put_key(p->text, f, &how) - p->text);
    p->how = (uint16_t)how;
    p->form = f->form;
    p->key = f->key.p;
    return true;
}

/* What does not fit, or stands alone, is no run. */
static struct logline_run *run_make(struct logline *l, const ath_fact *f, const ath_fact *end)
{
    size_t room = 32, n = 0; /* looking for quotes writes behind a text */
    struct logline_run *run;
    char *at;

    if (l->runs == RUNS)
        return NULL;
    run = &l->run[l->runs];
    at = run->text;
    for (; f + n < end && n < RUN_FACTS && f[n].pad == ATH_FACT_SAME && !is_span(f + n); n++) {
        room += 4 + f[n].key.n + 2 * f[n].value.n;
        if (room > sizeof(run->text))
            break;
        run->fact[n] = f[n];
        at = put_fact(at, f + n, false);
    }
    if (n < 2)
        return NULL;
    run->facts = (uint32_t)n;
    run->n = (uint32_t)(at - run->text);
    l->runs++;
    return run;
}

/* How many facts stand at *ret_at now: those of the run that begins at this piece, or none. */
static size_t put_run(struct logline *l, struct logline_piece *p, char **ret_at, const ath_fact *f,
                      const ath_fact *end)
{
    struct logline_run *run = p->run;

    if (!run && f->pad == ATH_FACT_SAME && !p->key)
        run = p->run = run_make(l, f, end);
    if (!run || run->facts > (size_t)(end - f) ||
        memcmp(run->fact, f, run->facts * sizeof(*f)) != 0)
        return 0;
    memcpy(*ret_at, run->text, sizeof(run->text));
    *ret_at += run->n;
    return run->facts;
}

/* A piece is copied whole: what is too much of it is overwritten by what comes next. */
static char *put_known(struct logline *l, struct logline_piece *p, char *at, const ath_fact *f,
                       const ath_fact *end)
{
    for (; f < end; f++, p++) {
        char *from = at, *value;
        if (p->key != f->key.p || p->form != f->form) {
            size_t n = put_run(l, p, &at, f, end);
            if (n) {
                f += n - 1;
                p += n - 1;
                continue;
            }
            if (p->run || !piece_make(p, f)) {
                at = put_fact(at, f, false);
                continue;
            }
        }
        memcpy(at, p->text, sizeof(p->text));
        value = at + p->n;
        at = str_put(value, f->value);
        if (p->how)
            at = put_end(from, value, at, f, p->how);
    }
    return at;
}

static char *put_facts(struct logline *l, char *at, const ath_event *e, const ath_fact *f,
                       const ath_fact *end, bool careful)
{
    if (!careful && (e->flags & ATH_EV_KEYS) && e->fact_count <= PIECES)
        return put_known(l, l->piece[e->fact_count % PIECE_LISTS] + (f - e->fact), at, f, end);
    for (; f < end; f++)
        at = put_fact(at, f, careful);
    return at;
}

static char *put_line(struct logline *l, char *at, const ath_event *e, unsigned flags, bool careful)
{
    const ath_fact *f = e->fact, *end = f + e->fact_count;

    while (f < end && is_span(f))
        f++;
    at = put_head(l, at, e, flags);
    if ((flags & LOGLINE_SPAN) && f > e->fact) {
        char *from;
        at = flags & LOGLINE_COLOR ? PUT(at, BOLD "http.request" RESET) : PUT(at, "http.request");
        from = at;
        at = put_facts(l, at, e, e->fact, f, careful);
        *from = '{'; /* in place of the first fact's blank */
        at = PUT(at, "}: ");
    }
    if (flags & LOGLINE_COLOR)
        at = PUT(at, DIM);
    at = put_value(at, e->source, careful);
    *at++ = ':';
    if (flags & LOGLINE_COLOR)
        at = PUT(at, RESET);
    *at++ = ' ';
    at = put_value(at, e->message, careful);
    return put_facts(l, at, e, f, end, careful);
}

/* Nearly no line needs an escape: it is written as it is, looked through once, and written again
 * with care when something was there. The colours' own escapes make every coloured line such a one.
 * Of an event whose texts are known to be short the room is not added up for the first try. */
void logline_text(struct logline *l, struct buf *b, const ath_event *e, unsigned flags)
{
    char *from, *end;

    /* in a first try a byte becomes two at most, and nothing but a status stands twice */
    buf_grow(b, e->flags & ATH_EV_KEYS ? room_around(e) + 2 * ATH_EV_KEYS_TEXT : room_for(e));
    from = b->p + b->n;
    end = put_line(l, from, e, flags, false);
    memset(end, ' ', AHEAD);
    if (!is_clean(from, (size_t)(end - from))) {
        buf_grow(b, room_for(e));
        from = b->p + b->n;
        end = put_line(l, from, e, flags, true);
    }
    *end++ = '\n';
    *end = 0;
    b->n = (size_t)(end - b->p);
}
