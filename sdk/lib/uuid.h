/* sdk/lib/uuid.h - random UUIDs (RFC 9562, version 4) as text. */
#ifndef SDK_LIB_UUID_H
#define SDK_LIB_UUID_H

#include <stdint.h>

enum { UUID_TEXT = 37 };         /* with its NUL */

/* Of 128 random bits, of which six become version and variant. */
void uuid_put(uint64_t high, uint64_t low, char ret[UUID_TEXT]);

/* Of the kernel's random bytes; ends the process when there are none. */
void uuid_make(char ret[UUID_TEXT]);

#endif
