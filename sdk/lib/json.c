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

void buf_json(struct buf *b, ath_str text)
{
    const char *p = text.n ? text.p : "", *end = p + text.n;
    char *to;

    buf_char(b, '"');
    for (;;) {
        if (b->cap < b->n + (size_t)(end - p) + 2)
            buf_grow(b, (size_t)(end - p) + 1);
        for (to = b->p + b->n; p < end && !special[(unsigned char)*p]; p++)
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
