/* sdk/lib/json.h - writing JSON (RFC 8259). */
#ifndef SDK_LIB_JSON_H
#define SDK_LIB_JSON_H

#include "lib/buf.h"

/* Appends "text" with what JSON demands escaped; the bytes are otherwise kept, so UTF-8 stays UTF-8.
 * The escapes are those of PostgreSQL's JSON functions: what either of us writes is the same. */
void buf_json(struct buf *b, ath_str text);

/* Appends "key": after a comma when the last byte is not an opening bracket: for objects written
 * member by member. */
void buf_json_key(struct buf *b, const char *key);

/* A member each: "key":"text", "key":1, "key":true. */
void buf_json_str(struct buf *b, const char *key, ath_str text);
void buf_json_int(struct buf *b, const char *key, int64_t v);
void buf_json_bool(struct buf *b, const char *key, bool v);

#endif
