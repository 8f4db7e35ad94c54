/* sdk/lib/typed.h - PostgreSQL's text of a value as JSON.
 *
 * The bytes are those of to_json() in a session with time zone UTC and DateStyle ISO, so rows built
 * here and rows built by the database look the same: numbers keep all their digits, NaN and the
 * infinities are strings, json and jsonb are spliced unchanged, timestamps are ISO 8601, arrays are
 * arrays. Types that are not known here are strings; a composite (or a type of an extension with a
 * cast to json) is therefore selected as to_json(column).
 *
 *     struct typed t = typed_of(column->type);       once per column
 *     buf_typed(&b, t, text);                        for each cell
 */
#ifndef SDK_LIB_TYPED_H
#define SDK_LIB_TYPED_H

#include "lib/buf.h"

enum typed_form { TYPED_TEXT, TYPED_PLAIN, TYPED_BARE, TYPED_NUMBER, TYPED_BOOL, TYPED_JSON,
                  TYPED_TIMESTAMP, TYPED_TIMESTAMPTZ };

struct typed {
    uint8_t form;                /* enum typed_form; of an array: its elements' */
    bool array;
    char delimiter;              /* of an array's text */
};

struct typed typed_of(uint32_t oid);

/* text.p NULL: null. */
void buf_typed(struct buf *b, struct typed t, ath_str text);

/* The OID of the array type over a built-in type; 0: none is known. */
uint32_t typed_array(uint32_t oid);

#endif
