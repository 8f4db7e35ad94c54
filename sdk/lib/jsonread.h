/* sdk/lib/jsonread.h - reading JSON (RFC 8259) into a tree.
 *
 * The tree lives in an arena and borrows from the source text, which must stay as it is for as long
 * as the tree is used: keys, strings without escapes and numbers are views of it. Numbers are never
 * converted, so no digit is lost. Every value also has its own source bytes (`raw`): a part of a
 * document is passed on by splicing those.
 *
 *   - duplicate keys: the last one wins, at its own place; the others are not in the tree
 *   - invalid UTF-8, lone surrogates, control characters in strings: malformed
 *   - depth and number of values are bounded; bytes are bounded by whoever read the text
 *
 *     struct json_error why;
 *     const struct json *doc = json_read(body, JSON_ARENA(arena), 100000, &why);
 */
#ifndef SDK_LIB_JSONREAD_H
#define SDK_LIB_JSONREAD_H

#include "lib/buf.h"

enum json_type { JSON_NULL = 1, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY,
                 JSON_OBJECT };

enum { JSON_DEPTH = 128 };

struct json {
    uint8_t type;                /* enum json_type */
    bool nul;                    /* a string that holds U+0000, which PostgreSQL cannot store */
    bool replaced;               /* only while reading: a later member has the same key */
    uint32_t count;              /* items or members */
    ath_str key;                 /* of a member; decoded */
    ath_str raw;                 /* the value's bytes in the source */
    union {
        ath_str text;            /* a string, decoded; a number, true, false, null: as written */
        struct {
            const struct json *first, *last;
        };
    };
    const struct json *next;     /* its next sibling */
};

struct json_error {
    size_t offset;               /* bytes from the start */
    uint32_t line, column;       /* from 1; columns in bytes */
    const char *why;             /* "expected a value" */
};

struct json_memory {
    buf_alloc_fn *alloc;
    ath_arena *arena;
};

#define JSON_ARENA(a) ((struct json_memory){ ath_host_->mem->alloc, (a) })

/* NULL: malformed, and *ret_error says where. `most`: values that the document may hold. */
const struct json *json_read(ath_str text, struct json_memory mem, uint32_t most,
                             struct json_error *ret_error);

/* Member `key` of an object; NULL: `o` is NULL or no object, or has none. */
const struct json *json_get(const struct json *o, const char *key);

/* The same, and NULL for a member that is null. */
const struct json *json_given(const struct json *o, const char *key);

/* The text of a string; empty when `v` is anything else. */
static inline ath_str json_text(const struct json *v)
{
    return v && v->type == JSON_STRING ? v->text : (ath_str){ "", 0 };
}

/* True when `v` is a number without fraction and exponent that fits. */
bool json_i64(const struct json *v, int64_t *ret);

#define json_each(v, of) \
    for (const struct json *v = (of)->first; v; v = v->next)

#endif
