/* SipHash-1-3 with 128 bits of result (https://www.aumasson.jp/siphash/siphash.pdf, section 2, and
 * the reference implementation), over two texts in one pass, and SHA-256.
 */
#include "cache/key.h"

#include <string.h>

#include "base/rand.h"
#include "io/crypto.h"
#include "lib/text.h"

static uint64_t secret[2];
static bool all_processes;

void cache_key_start(bool shared)
{
    all_processes = shared;
    rand_secret(secret, sizeof(secret));
}

static inline uint64_t turn(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static inline void rounds(uint64_t v[4], int n)
{
    while (n-- > 0) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = turn(v[1], 13) ^ v[0];
        v[3] = turn(v[3], 16) ^ v[2];
        v[0] = turn(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = turn(v[1], 17) ^ v[2];
        v[3] = turn(v[3], 21) ^ v[0];
        v[2] = turn(v[2], 32);
    }
}

static inline void word(uint64_t v[4], uint64_t w)
{
    v[3] ^= w;
    rounds(v, 1);
    v[0] ^= w;
}

/* Its length in front, so that no two pairs of texts are the same words. */
static void text(uint64_t v[4], ath_str s)
{
    size_t n = s.n;
    uint64_t w;

    word(v, n);
    for (; n >= 8; n -= 8, s.p += 8) {
        memcpy(&w, s.p, 8);
        word(v, w);
    }
    w = 0;
    if (n)
        memcpy(&w, s.p, n);
    word(v, w);
}

static struct cache_key siphash(ath_str a, ath_str b)
{
    uint64_t v[4] = { secret[0] ^ 0x736f6d6570736575u, secret[1] ^ 0x646f72616e646f6du ^ 0xee,
                      secret[0] ^ 0x6c7967656e657261u, secret[1] ^ 0x7465646279746573u };
    struct cache_key k;

    text(v, a);
    text(v, b);
    v[2] ^= 0xee;
    rounds(v, 3);
    k.w[0] = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    rounds(v, 3);
    k.w[1] = v[0] ^ v[1] ^ v[2] ^ v[3];
    return k;
}

struct cache_key cache_key_of(ath_str question, ath_str moment)
{
    uint8_t both[2][SHA256_BYTES], sum[SHA256_BYTES];
    struct cache_key k;

    if (!all_processes)
        return siphash(question, moment);
    crypto_sha256(question, both[0]);
    crypto_sha256(moment, both[1]);
    crypto_sha256(str_from((const char *)both, sizeof(both)), sum);
    memcpy(&k, sum, sizeof(k));
    return k;
}

void cache_key_text(const struct cache_key *k, char ret[CACHE_KEY_HEX])
{
    *str_put_hex(str_put_hex(ret, k->w[0]), k->w[1]) = 0;
}
