/* core/auth/known.h - keys that a loop has just seen: found again without a lock, a map, a fold.
 *
 * A place holds what the store said of one credential and one client: which key that is, and whether
 * keys are asked for of that client. It counts as long as nothing in the store has changed since
 * (store_changes), so what is revoked is looked up again by the next request. Whether the key is
 * valid, for whom, from where and what it may is judged by each request anew.
 *
 * The secret is not kept, only the key's digest of it (auth_key_is_known). Bounded: KNOWN_MOST places a
 * loop, a new one takes the place of an old one.
 */
#ifndef CORE_AUTH_KNOWN_H
#define CORE_AUTH_KNOWN_H

#include "auth/store.h"
#include "lib/text.h"

enum { KNOWN_MOST = 256, KNOWN_TEXT = 96 }; /* a key's id and the client's name, together */

struct known {
    uint64_t changes;            /* store_changes when it was asked; 0: an empty place */
    const struct auth_key *key;  /* held */
    bool enforced;               /* store_enforced() of the client */
    uint32_t before_n, client_n;
    char text[KNOWN_TEXT];      /* "ath_<id>.", the client's name as it came */
};

/* How often what counts has changed: keys, switches, lists, whether the store holds. */
extern atomic_uint_fast64_t store_changes;

static inline uint64_t store_changes_now(void)
{
    return atomic_load_explicit(&store_changes, memory_order_acquire);
}

/* NULL: it has to be looked up. Not held for the caller. */
const struct known *known_find(ath_str given, ath_str client);

/* `changes`: as they were before the store was asked. Keeps only what has the usual form. */
void known_keep(uint64_t changes, ath_str given, ath_str client, const struct auth_key *k,
                 bool enforced);
void known_loop_fini(void);

#endif
