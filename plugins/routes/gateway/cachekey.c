/* The public key of an answer: 64 hex digits that two requests share when they ask the same of the
 * same client. A label for callers and logs, not a secret and not what a cache is looked up by: so
 * 256 well mixed bits are enough, and no cryptographic digest is paid for.
 */
#include "gateway.h"

/* Client names are matched without regard to case; so is the key. */
static uint64_t fold(uint64_t h, ath_str s, bool lower)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        h = (h ^ (lower && c >= 'A' && c <= 'Z' ? c | 32u : c)) * 0x100000001b3u;
    }
    return (h ^ s.n) * 0x100000001b3u;
}

/* The finalizer of splitmix64 (https://prng.di.unimi.it/splitmix64.c). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static char *hex_put(char *to, uint64_t v)
{
    static const char hex[] = "0123456789abcdef";

    for (int shift = 60; shift >= 0; shift -= 4)
        *to++ = hex[v >> shift & 15];
    return to;
}

void gateway_cache_key(const struct gateway_question *what, char ret[CACHE_KEY_TEXT + 1])
{
    uint64_t where = fold(0xcbf29ce484222325u, what->client, true);
    const uint64_t *h = what->digest;
    char *at = ret;

    where = fold(where, what->schema, false);
    where = mix(fold(where, what->table, false) + what->strip);
    at = hex_put(at, mix(h[0] ^ where));
    at = hex_put(at, mix(h[1] + where));
    at = hex_put(at, mix(h[0] + 3 * h[1] + where));
    at = hex_put(at, mix(h[1] ^ (3 * h[0] - where)));
    *at = 0;
}
