/* core/base/clock.h - time, replaceable in tests. */
#ifndef CORE_BASE_CLOCK_H
#define CORE_BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_ns(void);      /* monotonic, nanoseconds */
uint64_t clock_wall_ns(void); /* since 1970, nanoseconds */

static inline uint64_t clock_ms(void)
{
    return clock_ns() / 1000000u;
}

/* Tests: both clocks from now on answer what `fn` says; NULL: the real ones again. */
void clock_fake(uint64_t (*fn)(void));

#endif
