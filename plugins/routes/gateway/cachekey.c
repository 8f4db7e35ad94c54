/* The public key of an answer: 64 hex digits that two requests share when they ask the same of the
 * same client. A label for callers and logs, not a secret and not what a cache is looked up by: so
 * 256 well mixed bits are enough, and no cryptographic digest is paid for.
 */
#include "gateway.h"

#include <endian.h>

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

/* Eight digits at once: a nibble into each byte, then 10..15 moved on to the letters. */
static char *hex_put8(char *to, uint32_t v)
{
    uint64_t x = v, letters;

    x = (x & 0xffff0000u) >> 16 | (x & 0xffffu) << 32;
    x = (x & 0x0000ff000000ff00u) >> 8 | (x & 0x000000ff000000ffu) << 16;
    x = (x & 0x00f000f000f000f0u) >> 4 | (x & 0x000f000f000f000fu) << 8;
    letters = (x + 0x0606060606060606u) >> 4 & 0x0101010101010101u;
    x = htole64(x + 0x3030303030303030u + letters * ('a' - '0' - 10));
    memcpy(to, &x, 8);
    return to + 8;
}

static char *hex_put(char *to, uint64_t v)
{
    return hex_put8(hex_put8(to, (uint32_t)(v >> 32)), (uint32_t)v);
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
