/* The public key of an answer: 64 hex digits that two requests share when they ask the same of the
 * same client. A label for callers and logs, not a secret and not what a cache is looked up by: so
 * 256 well mixed bits are enough, and no cryptographic digest is paid for.
 */
#include "gateway.h"


/* The finalizer of splitmix64 (https://prng.di.unimi.it/splitmix64.c). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Client names are matched without regard to case; so is the key. */
static uint64_t client_hash(ath_str name)
{
    uint64_t h = name.n;

    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];
        h = h * 31 + (c >= 'A' && c <= 'Z' ? c | 32u : c);
    }
    return h;
}

void gateway_cache_key(const struct gateway_question *what, char ret[CACHE_KEY_TEXT + 1])
{
    uint64_t table = (uint64_t)str_hash(what->schema) << 32 | str_hash(what->table);
    uint64_t form = (uint64_t)what->format << 62 | what->strip;
    uint64_t where = mix(table ^ mix(client_hash(what->client) * 2 + form));
    const uint64_t *h = what->digest;
    char *at = ret;

    at = str_put_hex(at, mix(h[0] ^ where));
    at = str_put_hex(at, mix(h[1] + where));
    at = str_put_hex(at, mix(h[0] + 3 * h[1] + where));
    at = str_put_hex(at, mix(h[1] ^ (3 * h[0] - where)));
    *at = 0;
}
