/* core/cache/key.h - what an answer is found by: a digest of its question, of where it was asked and
 * of how often what it was read from had changed by then.
 *
 * A question holds what callers send, so two questions must not be made to share a key. Inside one
 * process SipHash with a secret of that process sees to it; keys that other processes find too are
 * SHA-256. 128 bits of either are used.
 */
#ifndef CORE_CACHE_KEY_H
#define CORE_CACHE_KEY_H

#include <stdbool.h>

#include <athena/plugin.h>

enum { CACHE_KEY_HEX = 33 };     /* with the NUL */

struct cache_key {
    uint64_t w[2];
};

/* `shared`: keys must be the same in every process. Once, before the first key. */
void cache_key_start(bool shared);
struct cache_key cache_key_of(ath_str question, ath_str moment);
void cache_key_text(const struct cache_key *k, char ret[CACHE_KEY_HEX]);

static inline bool cache_key_same(const struct cache_key *a, const struct cache_key *b)
{
    return a->w[0] == b->w[0] && a->w[1] == b->w[1];
}

#endif
