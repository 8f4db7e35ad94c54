/* core/cache/memory.h - answers in memory, one store for all loops.
 *
 * Bounded by number and by bytes; what was not used for longest goes first. Entries never change and
 * are counted: whoever holds one may read its bytes without a lock, whatever becomes of the store.
 * Any thread.
 */
#ifndef CORE_CACHE_MEMORY_H
#define CORE_CACHE_MEMORY_H

#include <stdatomic.h>

#include "base/list.h"
#include "cache/key.h"

struct entry {
    atomic_uint refs;
    struct cache_key key;
    struct entry *next;          /* of its bucket */
    struct list used;
    uint64_t dies_ms;            /* by clock_ms() */
    size_t n;
    char bytes[];
};

struct memory_limits {
    uint64_t entries, bytes, entry_bytes; /* entries or bytes 0: nothing is kept */
};

struct memory_stats {
    uint64_t entries, bytes, evicted;
};

void memory_start(const struct memory_limits *l);
void memory_stop(void);          /* entries that somebody holds stay his */

/* NULL: memory is out. Referenced once; in no store yet. */
struct entry *entry_new(const struct cache_key *key, ath_str bytes);
struct entry *entry_ref(struct entry *e);
void entry_unref(void *e);       /* accepts NULL; of this shape for arena_own() */

struct entry *memory_get(const struct cache_key *key); /* referenced; NULL: not there */

/* Keeps it for that long, if it is not too large, in place of one with the same key. The reference
 * stays the caller's. */
void memory_put(struct entry *e, uint64_t life_ms);

void memory_read_stats(struct memory_stats *ret);

#endif
