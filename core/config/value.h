/* core/config/value.h - one value of a field: from text, by type and range, into its struct.
 *
 * The unit of a bare number is in the name of its place: `keep_alive_secs: 15` and `keep_alive: 15s`
 * fill the same kind of field (durations are milliseconds in the struct). Numbers are held as long
 * double here, which keeps every 64-bit integer exact.
 */
#ifndef CORE_CONFIG_VALUE_H
#define CORE_CONFIG_VALUE_H

#include "lib/buf.h"

struct value_range {
    long double min, max;        /* in the unit of the struct */
    bool stated;
};

enum value_fault { VALUE_OK = 0, VALUE_PARSE, VALUE_BELOW, VALUE_ABOVE, VALUE_CHOICE };

/* What a field of this type is, for messages: "a whole number", "true or false". */
const char *value_wanted(uint32_t type);

/* Milliseconds in the unit that a place's name ends with; 1 when it names none. */
uint64_t value_unit(ath_str place);

bool value_number(uint32_t type, ath_str place, ath_str text, long double *ret);

/* "1..500", "10ms..10m", "1.."; false: not a range of this type. NULL gives the type's own. */
bool value_range(uint32_t type, ath_str place, const char *text, struct value_range *ret);

/* Is `text` one of "text|json"? With `fold` in any case; *ret is the word as the table has it. */
bool value_choice(const char *choices, ath_str text, bool fold, ath_str *ret);

/* Stores a number by type: whole ones rounded towards zero. */
void value_store(uint32_t type, long double v, void *at);

/* A number as a user would write it in a place of that name: "15", "5s", "2m". */
void value_format(struct buf *b, uint32_t type, ath_str place, long double v);

#endif
