/* plugins/shared/backup/sha.h - SHA-256 of what comes in pieces. libcrypto can only fail here when it
 * is broken or out of memory. */
#ifndef PLUGINS_SHARED_BACKUP_SHA_H
#define PLUGINS_SHARED_BACKUP_SHA_H

#include <openssl/evp.h>

#include "lib/buf.h"

static inline void sha_begin(EVP_MD_CTX **sha)
{
    if (!*sha)
        *sha = EVP_MD_CTX_new();
    if (!*sha || EVP_DigestInit_ex(*sha, EVP_sha256(), NULL) != 1)
        abort();
}

static inline void sha_more(EVP_MD_CTX *sha, ath_str bytes)
{
    if (EVP_DigestUpdate(sha, bytes.p, bytes.n) != 1)
        abort();
}

static inline void sha_end(EVP_MD_CTX *sha, uint8_t ret[32])
{
    if (EVP_DigestFinal_ex(sha, ret, NULL) != 1)
        abort();
}

static inline void sha_of(ath_str bytes, uint8_t ret[32])
{
    if (EVP_Digest(bytes.p, bytes.n, ret, NULL, EVP_sha256(), NULL) != 1)
        abort();
}

/* In lower case; n is a multiple of 8. */
static inline void buf_hex(struct buf *b, const uint8_t *in, size_t n)
{
    char *at = buf_room(b, 2 * n);

    for (size_t i = 0; i < n; i += 8) {
        uint64_t eight;
        memcpy(&eight, in + i, 8);
        at = str_put_hex(at, __builtin_bswap64(eight));
    }
    buf_end(b, at);
}

/* False: not exactly n bytes in lower-case digits. */
static inline bool hex_read(ath_str text, uint8_t *ret, size_t n)
{
    if (text.n != 2 * n)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (v < 0)
            return false;
        ret[i / 2] = (uint8_t)(i % 2 ? ret[i / 2] | v : v << 4);
    }
    return true;
}

#endif
