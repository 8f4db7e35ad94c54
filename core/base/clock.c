/* The system's clocks, or a test's. */
#include "base/clock.h"

#include <stddef.h>
#include <time.h>

static uint64_t (*fake)(void);

static uint64_t read_clock(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t clock_ns(void)
{
    return fake ? fake() : read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_wall_ns(void)
{
    return fake ? fake() : read_clock(CLOCK_REALTIME);
}

void clock_fake(uint64_t (*fn)(void))
{
    fake = fn;
}
