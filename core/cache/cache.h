/* core/cache/cache.h - the service athena.cache@1: who asks what, who waits, who is told.
 *
 * One memory for all loops, with counters of changes in it; with Redis the counters and a second tier
 * are there (remote.h), and what the memory holds is a copy of that.
 */
#ifndef CORE_CACHE_CACHE_H
#define CORE_CACHE_CACHE_H

#include <athena/service/cache.h>

#include "db/client.h"

struct cache_options {
    uint64_t entries, bytes, entry_bytes, ttl_ms, wait_ms;
    uint64_t query_ms;           /* how long a statement may run; 0: for ever */
    ath_str  redis_url;          /* empty: none */
    uint64_t redis_command_ms, redis_cooldown_ms;
    ath_loop *const *loops;
    uint32_t loop_count;
};

extern const ath_cache cache_service;

/* Once, before the loops serve; without it the service answers that it is off. A Redis URL that
 * cannot be used is warned about, and there is none. */
void cache_start(const struct cache_options *o);
void cache_drain(void);          /* what would go on for ever ends */
void cache_stop(void);           /* after the loops have stopped, before the databases' */
void cache_loop_init(ath_loop *l); /* on that loop's thread */
void cache_loop_fini(ath_loop *l);
void cache_warm(void);           /* reads what it needs of every client, in the background */

#endif
