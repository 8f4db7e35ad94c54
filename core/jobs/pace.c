/* Back-off, jitter. */
#include "jobs/pace.h"

#include "base/rand.h"

uint64_t pace_backoff(uint64_t first_ms, uint64_t most_ms, uint32_t attempt, uint64_t random)
{
    uint64_t ms = first_ms;

    for (uint32_t i = 1; i < attempt && ms < most_ms; i++)
        ms *= 2;
    if (ms > most_ms)
        ms = most_ms;
    return ms - (ms >= 10 ? random % (ms / 10 + 1) : 0);
}

uint64_t pace_jitter(uint64_t ms)
{
    return ms - ms / 20 + rand_u64() % (ms / 10 + 1);
}
