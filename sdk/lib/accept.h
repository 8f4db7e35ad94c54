/* sdk/lib/accept.h - lists of preferences in header fields (RFC 9110, 12.5): Accept, Accept-Encoding.
 *
 *     while (accept_next(&list, &name, &weight))     "gzip;q=0.8, *;q=0" gives gzip 800, * 0
 */
#ifndef SDK_LIB_ACCEPT_H
#define SDK_LIB_ACCEPT_H

#include "lib/text.h"

/* Cuts the next item off *rest; its weight is in thousandths, 1000 when none can be read. False: nothing
 * is left. */
bool accept_next(ath_str *rest, ath_str *ret_name, unsigned *ret_weight);

#endif
