/* By libcrypto. Digests and sealing can only fail when it is broken or out of memory: nothing is
 * made up then. */
#include "io/crypto.h"

#define OPENSSL_SUPPRESS_DEPRECATED /* see crypto_sha256() */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "lib/text.h"

/* Most digests here are of a line or two, and by EVP one of those costs less than its context: that
 * is allocated, twice, for each. The plain functions have theirs on the stack, and wipe what they
 * held of the data. */
void crypto_sha256(ath_str data, uint8_t ret[SHA256_BYTES])
{
    SHA256_CTX c;

    if (SHA256_Init(&c) != 1 || SHA256_Update(&c, data.p, data.n) != 1 ||
        SHA256_Final(ret, &c) != 1)
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
    char *at = ret;

    for (size_t i = 0; i < SHA256_BYTES; i += 8) {
        uint64_t eight;
        memcpy(&eight, in + i, 8);
        at = str_put_hex(at, be64toh(eight));
    }
    *at = 0;
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

/* ---- sealing ---- */

static void begin(EVP_CIPHER_CTX *c, const uint8_t *key, const uint8_t *nonce, int sealing,
                  ath_str context)
{
    int n;

    if (!c || EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce, sealing) != 1 ||
        EVP_CipherUpdate(c, NULL, &n, (const uint8_t *)context.p, (int)context.n) != 1)
        abort();
}

void crypto_seal(const uint8_t key[SEAL_KEY], ath_str context, ath_str text, uint8_t *ret)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    uint8_t *body = ret + SEAL_NONCE;
    int n = 0, rest = 0;

    rand_secret(ret, SEAL_NONCE);
    begin(c, key, ret, 1, context);
    if ((text.n && EVP_EncryptUpdate(c, body, &n, (const uint8_t *)text.p, (int)text.n) != 1) ||
        EVP_EncryptFinal_ex(c, body + n, &rest) != 1 ||
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, SEAL_TAG, body + text.n) != 1)
        abort();
    EVP_CIPHER_CTX_free(c);
}

bool crypto_open(const uint8_t key[SEAL_KEY], ath_str context, ath_str sealed, uint8_t *ret)
{
    const uint8_t *nonce = (const uint8_t *)sealed.p, *body = nonce + SEAL_NONCE;
    uint8_t tag[SEAL_TAG];
    EVP_CIPHER_CTX *c;
    int n = 0, rest = 0, text;
    bool ok;

    if (sealed.n < SEAL_MORE)
        return false;
    text = (int)(sealed.n - SEAL_MORE);
    memcpy(tag, body + text, SEAL_TAG);
    c = EVP_CIPHER_CTX_new();
    begin(c, key, nonce, 0, context);
    ok = (!text || EVP_DecryptUpdate(c, ret, &n, body, text) == 1) &&
         EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, SEAL_TAG, tag) == 1 &&
         EVP_DecryptFinal_ex(c, ret + n, &rest) == 1;
    EVP_CIPHER_CTX_free(c);
    return ok;
}

/* ---- base64 ---- */

size_t crypto_base64(ath_str data, char *ret)
{
    return (size_t)EVP_EncodeBlock((uint8_t *)ret, (const uint8_t *)data.p, (int)data.n);
}

/* OpenSSL takes blanks around it and padding anywhere in the last four; we do not. */
bool crypto_unbase64(ath_str text, uint8_t *ret, size_t *ret_n)
{
    size_t padding = 0;
    int n;

    while (padding < 2 && padding < text.n && text.p[text.n - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i + padding < text.n; i++)
        if (text.p[i] == '=' || text.p[i] <= ' ')
            return false;
    if (text.n == 0 || text.n % 4)
        return false;
    n = EVP_DecodeBlock(ret, (const uint8_t *)text.p, (int)text.n);
    if (n < 0)
        return false;
    *ret_n = (size_t)n - padding;
    return true;
}
