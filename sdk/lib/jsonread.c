/* Reading JSON: one pass over the bytes, recursive by value, bounded in depth and in values.
 *
 * Values are cut from pieces of memory that double in size, so a small document costs one
 * allocation. It fails at the first byte that no document could go on with.
 */
#include "lib/jsonread.h"

#include <endian.h>

enum { FIRST_PIECE = 24, LAST_PIECE = 512, FEW_MEMBERS = 16 };

struct reader {
    const char *at, *end, *start;
    struct json_memory mem;
    struct json *piece;     /* unused values */
    uint32_t left, piece_n; /* of the piece; size of the next one */
    uint32_t most, depth;
    const char *why;
};

static const struct json *value(struct reader *r);

static void *failed(struct reader *r, const char *why)
{
    if (!r->why)
        r->why = why;
    return NULL;
}

static struct json *node(struct reader *r, enum json_type type)
{
    struct json *v;

    if (r->most-- == 0) {
        r->most = 0;
        return failed(r, "too many values");
    }
    if (r->left == 0) {
        r->piece = r->mem.alloc(r->mem.arena, r->piece_n * sizeof(*r->piece));
        r->left = r->piece_n;
        r->piece_n = r->piece_n * 2 < LAST_PIECE ? r->piece_n * 2 : LAST_PIECE;
    }
    v = r->piece++;
    r->left--;
    *v = (struct json){ .type = (uint8_t)type };
    return v;
}

static inline void blanks(struct reader *r)
{
    if (r->at < r->end && (unsigned char)*r->at > ' ')
        return; /* nearly always */
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r'))
        r->at++;
}

static int hex4(const char *p, const char *end)
{
    int v = 0;

    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        if (c >= '0' && c <= '9')
            v = v * 16 + (c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            v = v * 16 + ((c | 32) - 'a' + 10);
        else
            return -1;
    }
    return v;
}

static size_t utf8_put(char *to, uint32_t c)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xC0 | c >> 6);
        to[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        to[0] = (char)(0xE0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 63));
        to[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    to[0] = (char)(0xF0 | c >> 18);
    to[1] = (char)(0x80 | (c >> 12 & 63));
    to[2] = (char)(0x80 | (c >> 6 & 63));
    to[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* Behind "\u": one code point, of one or two of them. False: not hexadecimal, or half a pair. */
static bool unicode(struct reader *r, uint32_t *ret)
{
    int high = hex4(r->at, r->end), low;

    if (high < 0 || (high >= 0xDC00 && high <= 0xDFFF))
        return false;
    r->at += 4;
    *ret = (uint32_t)high;
    if (high < 0xD800 || high > 0xDBFF)
        return true;
    if (r->end - r->at < 6 || r->at[0] != '\\' || r->at[1] != 'u')
        return false;
    low = hex4(r->at + 2, r->end);
    if (low < 0xDC00 || low > 0xDFFF)
        return false;
    r->at += 6;
    *ret = 0x10000 + ((uint32_t)(high - 0xD800) << 10) + (uint32_t)(low - 0xDC00);
    return true;
}

/* At a backslash: adds what the escape stands for. */
static bool escape(struct reader *r, char *to, size_t *n, bool *nul)
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    const char *known;
    uint32_t c;

    if (r->end - r->at < 2)
        return false;
    r->at += 2;
    if (r->at[-1] == 'u') {
        if (!unicode(r, &c))
            return false;
        *nul = *nul || c == 0;
        *n += utf8_put(to + *n, c);
        return true;
    }
    known = memchr(from, r->at[-1], sizeof(from) - 1);
    if (!known)
        return false;
    to[(*n)++] = into[known - from];
    return true;
}

/* The high bit of each byte of `w` that ends plain text: below 0x20, a quote or a backslash. A byte
 * behind such a one may be marked by mistake; the first mark is always right. */
static inline uint64_t marks(uint64_t w)
{
    const uint64_t ones = 0x0101010101010101ull, high = 0x8080808080808080ull;
    uint64_t quote = w ^ (ones * '"'), slash = w ^ (ones * '\\');

    return (((w - ones * 0x20) & ~w) | ((quote - ones) & ~quote) | ((slash - ones) & ~slash)) &
           high;
}

/* The bytes up to something that is not plain text, eight at a time; tells whether any was not
 * ASCII. */
static inline bool plain(struct reader *r)
{
    const char *p = r->at, *end = r->end;
    uint64_t w, stop, all8 = 0;
    unsigned char all = 0;

    for (; end - p >= 8; p += 8) {
        memcpy(&w, p, 8);
        stop = marks(le64toh(w));
        if (stop) { /* what stands before the first mark */
            unsigned n = (unsigned)__builtin_ctzll(stop) / 8;
            all8 |= le64toh(w) & ~(~0ull << n * 8);
            r->at = p + n;
            return (all8 & 0x8080808080808080ull) != 0;
        }
        all8 |= w;
    }
    all = (all8 & 0x8080808080808080ull) != 0 ? 0x80 : 0;
    while (p < end && (unsigned char)*p >= 0x20 && *p != '"' && *p != '\\')
        all |= (unsigned char)*p++;
    r->at = p;
    return all >= 0x80;
}

/* A string with escapes, from its first one on; `from` is its first byte. */
static bool decoded(struct reader *r, const char *from, bool wide, ath_str *ret, bool *nul)
{
    const char *close = r->at;
    char *to;
    size_t n = (size_t)(r->at - from);

    while (close < r->end && *close != '"')
        close += *close == '\\' ? 2 : 1;
    to = r->mem.alloc(r->mem.arena, (size_t)(close - from) + 1);
    memcpy(to, from, n);
    while (r->at < r->end && *r->at == '\\') {
        const char *run;
        if (!escape(r, to, &n, nul))
            return failed(r, "invalid escape"), false;
        run = r->at;
        wide = plain(r) || wide;
        memcpy(to + n, run, (size_t)(r->at - run));
        n += (size_t)(r->at - run);
    }
    *ret = (ath_str){ to, n };
    if (wide && !str_utf8(*ret))
        return failed(r, "invalid UTF-8"), false;
    return true;
}

/* At the opening quote; leaves `at` behind the closing one. */
static bool string(struct reader *r, ath_str *ret, bool *nul)
{
    const char *from = ++r->at;
    bool wide = plain(r);

    *nul = false;
    if (r->at < r->end && *r->at == '\\') {
        if (!decoded(r, from, wide, ret, nul))
            return false;
    } else {
        *ret = (ath_str){ from, (size_t)(r->at - from) };
        if (wide && !str_utf8(*ret)) {
            r->at = from;
            return failed(r, "invalid UTF-8"), false;
        }
    }
    if (r->at == r->end)
        return failed(r, "unended string"), false;
    if (*r->at != '"')
        return failed(r, "control character in a string"), false;
    r->at++;
    return true;
}

static bool digits(struct reader *r)
{
    const char *from = r->at;

    while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
        r->at++;
    return r->at > from;
}

static const struct json *number(struct reader *r)
{
    const char *from = r->at;
    struct json *v = node(r, JSON_NUMBER);

    if (!v)
        return NULL;
    if (*r->at == '-')
        r->at++;
    if (r->at < r->end && *r->at == '0')
        r->at++;
    else if (!digits(r))
        return failed(r, "expected a value");
    if (r->at < r->end && *r->at == '.') {
        r->at++;
        if (!digits(r))
            return failed(r, "expected a digit");
    }
    if (r->at < r->end && (*r->at | 32) == 'e') {
        r->at++;
        if (r->at < r->end && (*r->at == '+' || *r->at == '-'))
            r->at++;
        if (!digits(r))
            return failed(r, "expected a digit");
    }
    v->text = (ath_str){ from, (size_t)(r->at - from) };
    return v;
}

static const struct json *word(struct reader *r, enum json_type type, ath_str text)
{
    struct json *v;

    if ((size_t)(r->end - r->at) < text.n || memcmp(r->at, text.p, text.n) != 0)
        return failed(r, "expected a value");
    if ((v = node(r, type))) {
        v->text = (ath_str){ r->at, text.n };
        r->at += text.n;
    }
    return v;
}

static void append(struct json *to, struct json *v)
{
    if (to->last)
        ((struct json *)(uintptr_t)to->last)->next = v;
    else
        to->first = v;
    to->last = v;
    to->count++;
}

static const struct json *array(struct reader *r)
{
    struct json *a = node(r, JSON_ARRAY);

    if (!a)
        return NULL;
    r->at++;
    blanks(r);
    if (r->at < r->end && *r->at == ']') {
        r->at++;
        return a;
    }
    for (;;) {
        const struct json *v = value(r);
        if (!v)
            return NULL;
        append(a, (struct json *)(uintptr_t)v);
        blanks(r);
        if (r->at < r->end && *r->at == ',') {
            r->at++;
            continue;
        }
        if (r->at == r->end || *r->at != ']')
            return failed(r, "expected ',' or ']'");
        r->at++;
        return a;
    }
}

/* Marks members whose key comes again later. A few are compared with each other, many by a table.
 */
static bool mark_replaced(struct reader *r, struct json *o)
{
    uint32_t size = 1;
    struct json **slot;
    bool any = false;

    if (o->count <= FEW_MEMBERS) {
        json_each(v, o)
        {
            for (const struct json *w = v->next; w && !v->replaced; w = w->next) {
                ((struct json *)(uintptr_t)v)->replaced = str_eq(v->key, w->key);
                any = any || v->replaced;
            }
        }
        return any;
    }
    while (size < o->count * 2)
        size *= 2;
    slot = r->mem.alloc(r->mem.arena, size * sizeof(struct json *));
    memset(slot, 0, size * sizeof(struct json *));
    json_each(v, o)
    {
        uint32_t at = str_hash(v->key) & (size - 1);
        while (slot[at] && !str_eq(slot[at]->key, v->key))
            at = (at + 1) & (size - 1);
        if (slot[at])
            any = slot[at]->replaced = true;
        slot[at] = (struct json *)(uintptr_t)v;
    }
    return any;
}

static void drop_replaced(struct reader *r, struct json *o)
{
    const struct json *next = o->first;

    if (o->count < 2 || !mark_replaced(r, o))
        return;
    o->first = o->last = NULL;
    o->count = 0;
    for (const struct json *v = next; v; v = next) {
        next = v->next;
        if (v->replaced)
            continue;
        ((struct json *)(uintptr_t)v)->next = NULL;
        append(o, (struct json *)(uintptr_t)v);
    }
}

static struct json *member(struct reader *r)
{
    ath_str key;
    bool nul;
    struct json *v;

    blanks(r);
    if (r->at == r->end || *r->at != '"')
        return failed(r, "expected a key");
    if (!string(r, &key, &nul))
        return NULL;
    blanks(r);
    if (r->at == r->end || *r->at != ':')
        return failed(r, "expected ':'");
    r->at++;
    if ((v = (struct json *)(uintptr_t)value(r)))
        v->key = key;
    return v;
}

static const struct json *object(struct reader *r)
{
    struct json *o = node(r, JSON_OBJECT);

    if (!o)
        return NULL;
    r->at++;
    blanks(r);
    if (r->at < r->end && *r->at == '}') {
        r->at++;
        return o;
    }
    for (;;) {
        struct json *v = member(r);
        if (!v)
            return NULL;
        append(o, v);
        blanks(r);
        if (r->at < r->end && *r->at == ',') {
            r->at++;
            continue;
        }
        if (r->at == r->end || *r->at != '}')
            return failed(r, "expected ',' or '}'");
        r->at++;
        drop_replaced(r, o);
        return o;
    }
}

static const struct json *text_value(struct reader *r)
{
    struct json *v = node(r, JSON_STRING);

    return v && string(r, &v->text, &v->nul) ? v : NULL;
}

static const struct json *deeper(struct reader *r)
{
    const struct json *v;

    if (r->depth == JSON_DEPTH)
        return failed(r, "nested too deeply");
    r->depth++;
    v = *r->at == '{' ? object(r) : array(r);
    r->depth--;
    return v;
}

static const struct json *value(struct reader *r)
{
    const char *from;
    const struct json *v;

    blanks(r);
    from = r->at;
    if (from == r->end)
        return failed(r, "expected a value");
    switch (*from) {
    case '{':
    case '[':
        v = deeper(r);
        break;
    case '"':
        v = text_value(r);
        break;
    case 't':
        v = word(r, JSON_TRUE, ATH_S("true"));
        break;
    case 'f':
        v = word(r, JSON_FALSE, ATH_S("false"));
        break;
    case 'n':
        v = word(r, JSON_NULL, ATH_S("null"));
        break;
    default:
        v = number(r);
    }
    if (v)
        ((struct json *)(uintptr_t)v)->raw = (ath_str){ from, (size_t)(r->at - from) };
    return v;
}

static void explain(const struct reader *r, struct json_error *e)
{
    const char *line = r->start;

    *e = (struct json_error){ .offset = (size_t)(r->at - r->start), .line = 1, .why = r->why };
    for (const char *p = r->start; p < r->at; p++) {
        if (*p == '\n') {
            e->line++;
            line = p + 1;
        }
    }
    e->column = (uint32_t)(r->at - line) + 1;
}

const struct json *json_read(ath_str text, struct json_memory mem, uint32_t most,
                             struct json_error *ret_error)
{
    struct reader r = { .at = text.p,
                        .start = text.p,
                        .end = text.p + text.n,
                        .mem = mem,
                        .piece_n = FIRST_PIECE,
                        .most = most };
    const struct json *v;

    if (!text.n)
        r.at = r.start = r.end = "";
    v = value(&r);
    if (v)
        blanks(&r);
    if (v && r.at != r.end)
        v = failed(&r, "unexpected bytes behind the document");
    if (!v)
        explain(&r, ret_error);
    return v;
}

const struct json *json_get(const struct json *o, const char *key)
{
    size_t n = strlen(key);

    if (!o || o->type != JSON_OBJECT)
        return NULL;
    json_each(v, o) if (v->key.n == n && memcmp(v->key.p, key, n) == 0) return v;
    return NULL;
}

const struct json *json_given(const struct json *o, const char *key)
{
    const struct json *v = json_get(o, key);

    return v && v->type != JSON_NULL ? v : NULL;
}

bool json_i64(const struct json *v, int64_t *ret)
{
    return v && v->type == JSON_NUMBER && str_i64(v->text, ret);
}
