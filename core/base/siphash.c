/* SipHash-1-3 with 128 bits of result (https://www.aumasson.jp/siphash/siphash.pdf, section 2, and
 * the reference implementation).
 */
#include "base/siphash.h"

#include <string.h>

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

void siphash(const uint64_t key[2], ath_str a, ath_str b, uint64_t ret[2])
{
    uint64_t v[4] = { key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du ^ 0xee,
                      key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u };

    text(v, a);
    text(v, b);
    v[2] ^= 0xee;
    rounds(v, 3);
    ret[0] = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    rounds(v, 3);
    ret[1] = v[0] ^ v[1] ^ v[2] ^ v[3];
}
