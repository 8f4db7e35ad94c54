/* sdk/lib/json.h - writing JSON (RFC 8259). */
#ifndef SDK_LIB_JSON_H
#define SDK_LIB_JSON_H

#include "lib/buf.h"
#include "lib/plain.h"

/* Appends "text" with what JSON demands escaped; the bytes are otherwise kept, so UTF-8 stays UTF-8.
 * The escapes are those of PostgreSQL's JSON functions: what either of us writes is the same. */
void buf_json(struct buf *b, ath_str text);

/* The same for a text of which nothing has to be escaped; false: nothing was appended. */
static inline bool buf_json_plain(struct buf *b, ath_str text)
{
    char *at = buf_room(b, text.n + 2);

    if (!plain_put(at + 1, text, PLAIN_JSON))
        return false;
    at[0] = '"';
    at[text.n + 1] = '"';
    buf_end(b, at + text.n + 2);
    return true;
}

/* Appends "key": after a comma when the last byte is not an opening bracket: for objects written
 * member by member. */
void buf_json_key(struct buf *b, const char *key);

/* A member each: "key":"text", "key":1, "key":true. */
void buf_json_str(struct buf *b, const char *key, ath_str text);
void buf_json_int(struct buf *b, const char *key, int64_t v);
void buf_json_bool(struct buf *b, const char *key, bool v);
/* "key":"2026-01-31T12:00:00.500Z", of nanoseconds since 1970; 0: null. */
void buf_json_time(struct buf *b, const char *key, uint64_t wall_ns);

#endif
