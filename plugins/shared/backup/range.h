/* plugins/shared/backup/range.h - which bytes of an object a caller asks for, and whether it has them
 * already (RFC 9110, 13 and 14).
 */
#ifndef PLUGINS_SHARED_BACKUP_RANGE_H
#define PLUGINS_SHARED_BACKUP_RANGE_H

#include "lib/text.h"

enum range_kind {
    RANGE_WHOLE, /* none was asked for, or one that may be ignored: several, or nonsense */
    RANGE_PART,
    RANGE_NONE   /* it lies behind the end: 416 */
};

struct range {
    enum range_kind kind;
    uint64_t from, length;       /* of WHOLE: all of it */
};

/* Of an object of `size` bytes: what the header Range says. */
struct range range_of(ath_str header, uint64_t size);

/* If-Range: only while the object is this one. A date is never exact enough here. */
bool range_if(ath_str header, ath_str etag);

/* If-None-Match: is the object one of these? */
bool range_matches(ath_str header, ath_str etag);

#endif
