/* Random numbers. The fast generator is xoshiro256** 1.0 by Blackman and Vigna
 * (https://prng.di.unimi.it/xoshiro256starstar.c, public domain), written anew from its definition.
 */
#include "base/rand.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static _Thread_local uint64_t state[4];
static _Thread_local bool seeded;

void rand_secret(void *ret, size_t n)
{
    char *p = ret;

    while (n) {
        ssize_t got = getrandom(p, n, 0);
        if (got <= 0)
            abort();
        p += got;
        n -= (size_t)got;
    }
}

static uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

uint64_t rand_u64(void)
{
    uint64_t result, t;

    if (!seeded) {
        rand_secret(state, sizeof(state));
        seeded = true;
    }
    result = rotate(state[1] * 5, 7) * 9;
    t = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= t;
    state[3] = rotate(state[3], 45);
    return result;
}

void rand_uuid(char ret[UUID_TEXT])
{
    static const char hex[] = "0123456789abcdef";
    uint64_t word[2] = { rand_u64(), rand_u64() };
    unsigned char b[16];
    char *at = ret;

    memcpy(b, word, sizeof(b));
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        *at++ = hex[b[i] >> 4];
        *at++ = hex[b[i] & 15];
    }
    *at = 0;
}

bool rand_same(ath_str given, ath_str secret)
{
    size_t differs = given.n ^ secret.n;

    for (size_t i = 0; i < given.n; i++)
        differs |= (size_t)(unsigned char)given.p[i] ^
                   (size_t)(unsigned char)(secret.n ? secret.p[i % secret.n] : 1);
    return differs == 0;
}
