/* athena/service/cache.h - "athena.cache@1": answers that may be given again.
 *
 * An answer belongs to a question and to the relations that it was read from. It is given again until
 * its time is over or one of these relations changes: `changed` is called after each write that was
 * committed, before the writer is answered, so nobody who was told of a write is given what was true
 * before it. What was read before a write was committed is never kept after it.
 *
 *     found = look(t, ask, ...)     a hit: reply with its bytes
 *     query the database            a miss
 *     store(t, ticket, bytes)       for those who wait for the same question, and for later
 *
 * Questions are those of the task's client. The same question asked by many at the same time is asked
 * of the database once: the others wait in `look`. When the task that was to answer is over without
 * `store`, one of them takes its place at once.
 *
 * Callers name the relations that their statements name; the cache knows the rest: what views read,
 * what belongs to a partitioned table, where foreign keys cascade, where triggers make a write change
 * anything. It keeps nothing that was read from what it cannot follow (foreign tables, volatile or
 * stable functions in views, row policies that depend on settings, replicas). What it cannot see is
 * the statement: do not ask for one whose answer changes by itself (now(), random()).
 *
 * A write whose end nobody heard (its client left, its deadline passed, its connection broke) counts
 * as a change of anything without being called.
 */
#ifndef ATHENA_SERVICE_CACHE_H
#define ATHENA_SERVICE_CACHE_H

#include <athena/plugin.h>

typedef struct { ath_str schema, name; } ath_relation_name; /* frozen */

enum { ATH_CACHE_FRESH = 1 };    /* neither read nor wait; what is stored afterwards counts */

typedef struct {
    uint32_t size, flags;        /* ATH_CACHE_* */
    ath_str  question;           /* all that changes the answer, or a digest of it; bytes */
    const ath_relation_name *relation;       /* that are read, as the database has them */
    uint32_t relation_count, pad;
} ath_cache_ask;

enum {                           /* how `look` ended */
    ATH_CACHE_OFF = 1,           /* nothing is kept: by configuration, or not for this client */
    ATH_CACHE_HIT_LOCAL, ATH_CACHE_HIT_REDIS,
    ATH_CACHE_MISS,
    ATH_CACHE_MISS_REDIS_ERROR, ATH_CACHE_MISS_REDIS_TIMEOUT,
    ATH_CACHE_BYPASSED           /* asked FRESH */
};

typedef struct {
    uint32_t size, outcome;
    ath_str  bytes;              /* of a hit, as stored; live as long as the task */
    uint64_t ticket;             /* for `store`; 0: nothing would be kept */
} ath_cache_found;

typedef struct {
    uint32_t size, pad;
    /* Returns 1: `ret` is filled and `then` never runs; 0: `ret` is filled when `then` runs, which
     * is never with a failure of the cache's own; negative: as any operation. */
    int  (*look)(ath_task *t, const ath_cache_ask *ask, ath_cache_found *ret, ath_then *then,
                 void *arg, ath_err *e);
    /* The answer, copied. Kept only if no relation of the question has changed since `look`. p NULL:
     * there is none to keep (it is streamed), and who waits need not wait on. Once per ticket; 0 is
     * allowed and does nothing. */
    void (*store)(ath_task *t, uint64_t ticket, ath_str bytes);
    /* These relations of the task's client have changed; none: anything may have, the schema too.
     * Returns 1: done; 0: `then` runs when every process knows it, or when that could not be waited
     * for any longer: never with a failure of the cache's own. */
    int  (*changed)(ath_task *t, const ath_relation_name *relation, uint32_t n, ath_then *then,
                    void *arg, ath_err *e);
} ath_cache;

#endif
