/* core/jobs/pace.h - when something runs again: arithmetic without clocks, for tests and for all. */
#ifndef CORE_JOBS_PACE_H
#define CORE_JOBS_PACE_H

#include <stdint.h>

/* Before attempt + 1: first, twice that, four times ..., at most `most`; of that between nine and ten
 * tenths, by `random`, so that what failed together does not come back together. attempt from 1. */
uint64_t pace_backoff(uint64_t first_ms, uint64_t most_ms, uint32_t attempt, uint64_t random);

/* Up to a twentieth more or less. */
uint64_t pace_jitter(uint64_t ms);

#endif
