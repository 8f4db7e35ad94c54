/* Digests, by libcrypto. It can only fail when it is broken or out of memory: no digest is made up
 * then. */
#include "io/crypto.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>

void crypto_sha256(ath_str data, uint8_t ret[SHA256_BYTES])
{
    if (EVP_Digest(data.p, data.n, ret, NULL, EVP_sha256(), NULL) != 1)
        abort();
}

void crypto_hmac_sha256(ath_str key, ath_str data, uint8_t ret[SHA256_BYTES])
{
    const void *k = key.n ? key.p : ""; /* a NULL key would mean "the one before" */

    if (!HMAC(EVP_sha256(), k, (int)key.n, (const uint8_t *)data.p, data.n, ret, NULL))
        abort();
}

static void hex(const uint8_t *in, char ret[SHA256_HEX])
{
    static const char digit[] = "0123456789abcdef";

    for (size_t i = 0; i < SHA256_BYTES; i++) {
        ret[2 * i] = digit[in[i] >> 4];
        ret[2 * i + 1] = digit[in[i] & 15];
    }
    ret[SHA256_HEX - 1] = 0;
}

void crypto_sha256_hex(ath_str data, char ret[SHA256_HEX])
{
    uint8_t bytes[SHA256_BYTES];

    crypto_sha256(data, bytes);
    hex(bytes, ret);
}

void crypto_hmac_sha256_hex(ath_str key, ath_str data, char ret[SHA256_HEX])
{
    uint8_t bytes[SHA256_BYTES];

    crypto_hmac_sha256(key, data, bytes);
    hex(bytes, ret);
}
