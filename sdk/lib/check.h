/* sdk/lib/check.h - checksums of what lies in files. They tell torn from whole, and are no defence
 * against anybody.
 */
#ifndef SDK_LIB_CHECK_H
#define SDK_LIB_CHECK_H

#include <stddef.h>
#include <stdint.h>

/* Of these bytes behind those that `h` is of; 1 at first. */
uint64_t check_of(uint64_t h, const void *from, size_t n);

#endif
