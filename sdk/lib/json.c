/* Writing JSON. */
#include "lib/json.h"

/* What a JSON string holds only escaped. */
static const bool special[256] = { [0 ... 31] = true, ['"'] = true, ['\\'] = true };

/* One byte that may not stand in a JSON string as it is. */
static void escaped(struct buf *b, unsigned char c)
{
    static const char hex[] = "0123456789abcdef", from[] = "\"\\\b\f\n\r\t", into[] = "\"\\bfnrt";
    const char *known = memchr(from, c, sizeof(from) - 1);
    char six[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };

    if (known) {
        six[1] = into[known - from];
        buf_mem(b, six, 2);
    } else {
        buf_mem(b, six, 6);
    }
}

/* Copies eight bytes at a time up to the word that holds a special one, or to less than a word. A
 * lane's top bit in `hit`: below a blank, a quote, a backslash; a lane above a hit may be wrong. */
static const char *copy_words(char **to, const char *p, const char *end)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;

    for (; end - p >= 8; p += 8, *to += 8) {
        uint64_t w, quote, slash, hit;
        memcpy(&w, p, 8);
        quote = w ^ ones * '"';
        slash = w ^ ones * '\\';
        hit = ((w - ones * ' ') & ~w) | ((quote - ones) & ~quote) | ((slash - ones) & ~slash);
        if (hit & high)
            break;
        memcpy(*to, &w, 8);
    }
    return p;
}

void buf_json(struct buf *b, ath_str text)
{
    const char *p = text.n ? text.p : "", *end = p + text.n;
    char *to;

    buf_char(b, '"');
    for (;;) {
        if (b->cap < b->n + (size_t)(end - p) + 2)
            buf_grow(b, (size_t)(end - p) + 1);
        to = b->p + b->n;
        for (p = copy_words(&to, p, end); p < end && !special[(unsigned char)*p]; p++)
            *to++ = *p;
        b->n = (size_t)(to - b->p);
        if (p == end)
            break;
        escaped(b, (unsigned char)*p++);
    }
    buf_char(b, '"');
}

void buf_json_key(struct buf *b, const char *key)
{
    if (b->n && b->p[b->n - 1] != '{' && b->p[b->n - 1] != '[')
        buf_char(b, ',');
    buf_json(b, str_of(key));
    buf_char(b, ':');
}

void buf_json_str(struct buf *b, const char *key, ath_str text)
{
    buf_json_key(b, key);
    buf_json(b, text);
}

void buf_json_int(struct buf *b, const char *key, int64_t v)
{
    buf_json_key(b, key);
    buf_i64(b, v);
}

void buf_json_bool(struct buf *b, const char *key, bool v)
{
    buf_json_key(b, key);
    buf_z(b, v ? "true" : "false");
}
