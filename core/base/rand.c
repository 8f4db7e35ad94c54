/* Random numbers. The fast generator is xoshiro256** 1.0 by Blackman and Vigna
 * (https://prng.di.unimi.it/xoshiro256starstar.c, public domain), written anew from its definition.
 */
#include "base/rand.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lib/text.h"

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
    uint64_t high = rand_u64();

    uuid_put(high, rand_u64(), ret);
}

/* One of another length is compared with itself, so that the time depends on `given` alone. */
bool rand_same(ath_str given, ath_str secret)
{
    const char *with = given.n == secret.n ? secret.p : given.p;
    uint64_t differs = given.n ^ secret.n, a, b;
    size_t i = 0;

    for (; i + 8 <= given.n; i += 8) {
        memcpy(&a, given.p + i, 8);
        memcpy(&b, with + i, 8);
        differs |= a ^ b;
    }
    for (; i < given.n; i++)
        differs |= (uint64_t)(unsigned char)(given.p[i] ^ with[i]);
    return differs == 0;
}
