/* core/config/published.h - the sections, keys and ranges of the published config.yaml.
 *
 * What stands in these places is read as the published server reads it (contract: config.md 2 to 6),
 * leniently: a wrong value is a warning and the default, one out of range is clamped.
 */
#ifndef CORE_CONFIG_PUBLISHED_H
#define CORE_CONFIG_PUBLISHED_H

#include "lib/text.h"

enum { PUB_REQUIRED = 1,         /* a published file must have it */
       PUB_NAMES = 2,            /* its keys are names that the operator chooses */
       PUB_DEEP = 4,             /* its values are maps of strings */
       PUB_RANGES = 8 };         /* validation_ranges: a map with a shape of its own */

struct published_section {
    const char *name;
    const char *keys;            /* with a blank between them */
    unsigned flags;
};

/* NULL: not one of them. */
const struct published_section *published_section(ath_str name);
const struct published_section *published_at(size_t i); /* NULL: past the end */

/* Is `key` one of the section's own? */
bool published_key(const struct published_section *s, ath_str key);

/* The section that a key written under `section` really belongs to, or NULL: it is at home. */
const char *published_home(ath_str section, ath_str key);

/* The range of a place, "gateway.admission_window_secs" or a variable's name, in the unit of the
 * place ("1..3600"); NULL: none. */
const char *published_range(ath_str place);

#endif
