/* core/auth/meter.h - meters of callers: how fast they come, and what they have used. Bounded.
 *
 * A rate is kept by the moment at which all that was taken has been paid back (GCRA): one token comes
 * each 1/per_second, `burst` of them may be saved up, a new caller has all of them. What is used up
 * over time (a budget) is kept for this minute and the last one, of which the share counts that lies
 * within a minute from now.
 *
 * A table holds so many meters and no more: who was not seen for longest gives up his place, and
 * begins anew when he comes again. It is cut into shards that each have a lock.
 */
#ifndef CORE_AUTH_METER_H
#define CORE_AUTH_METER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rate {
    uint64_t token_ns;           /* between two tokens */
    uint64_t burst_ns;           /* until all are there */
};

struct rate rate_of(uint64_t per_second, uint64_t burst);

/* Takes one token. *full_ns is the caller's, 0 at first; false: *ret_wait_ns until there is one. */
bool rate_take(uint64_t *full_ns, const struct rate *r, uint64_t now_ns, uint64_t *ret_wait_ns);

enum { BUDGET_MS = 60000 };

struct spent {
    uint64_t minute;             /* its number */
    uint64_t now_us, before_us;  /* used in it; in the one before */
};

uint64_t spent_by_now(const struct spent *s, uint64_t now_ms);
void spent_add(struct spent *s, uint64_t now_ms, uint64_t us);

/* How long until less than `budget_us` is used; 0: it is. */
uint64_t spent_wait_ms(const struct spent *s, uint64_t now_ms, uint64_t budget_us);

/* ---- the table; any thread ---- */

struct meter_key {
    uint64_t high, low;
    uint32_t kind;               /* whose: a rate group, keys ... */
};

struct meters;

struct meters *meters_new(size_t most);
void meters_free(struct meters *m);

bool meters_rate(struct meters *m, const struct meter_key *k, const struct rate *r, uint64_t now_ns,
                 uint64_t *ret_wait_ns);

/* What was used; *ret_wait_ms as above, when it is not NULL. */
uint64_t meters_spent(struct meters *m, const struct meter_key *k, uint64_t now_ms,
                      uint64_t budget_us, uint64_t *ret_wait_ms);
void meters_spend(struct meters *m, const struct meter_key *k, uint64_t now_ms, uint64_t us);

/* Meters in use, and how many gave up their place so far. */
void meters_read(const struct meters *m, uint64_t *ret_used, uint64_t *ret_pushed_out);

#endif
