/* Writing JSON. */
#include "lib/json.h"

#include <time.h>

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

/* With what has to be escaped; runs of the rest are copied whole. */
static __attribute__((noinline)) void put_escaped(struct buf *b, ath_str text)
{
    const char *p = text.p, *end = p + text.n;

    buf_char(b, '"');
    while (p < end) {
        const char *run = p;
        for (p = plain_skip(p, end, PLAIN_JSON); p < end && !special[(unsigned char)*p]; p++) {
        }
        buf_mem(b, run, (size_t)(p - run));
        if (p < end)
            escaped(b, (unsigned char)*p++);
    }
    buf_char(b, '"');
}

void buf_json(struct buf *b, ath_str text)
{
    if (!buf_json_plain(b, text))
        put_escaped(b, text);
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

void buf_json_time(struct buf *b, const char *key, uint64_t wall_ns)
{
    time_t s = (time_t)(wall_ns / 1000000000u);
    char text[40];
    struct tm tm;

    buf_json_key(b, key);
    if (wall_ns == 0) {
        buf_lit(b, "null");
        return;
    }
    gmtime_r(&s, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(b, "\"%s.%03uZ\"", text, (unsigned)(wall_ns / 1000000u % 1000u));
}
