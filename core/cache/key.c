/* SipHash over the two texts in one pass, or SHA-256. */
#include "cache/key.h"

#include <string.h>

#include "base/rand.h"
#include "base/siphash.h"
#include "io/crypto.h"
#include "lib/text.h"

static uint64_t secret[2];
static bool all_processes;

void cache_key_start(bool shared)
{
    all_processes = shared;
    rand_secret(secret, sizeof(secret));
}

struct cache_key cache_key_of(ath_str question, ath_str moment)
{
    uint8_t both[2][SHA256_BYTES], sum[SHA256_BYTES];
    struct cache_key k;

    if (!all_processes) {
        siphash(secret, question, moment, k.w);
        return k;
    }
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
