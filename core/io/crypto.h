/* core/io/crypto.h - digests. The only room that knows OpenSSL. Any thread. */
#ifndef CORE_IO_CRYPTO_H
#define CORE_IO_CRYPTO_H

#include <athena/plugin.h>

enum { SHA256_BYTES = 32, SHA256_HEX = 65 };

void crypto_sha256(ath_str data, uint8_t ret[SHA256_BYTES]);
void crypto_hmac_sha256(ath_str key, ath_str data, uint8_t ret[SHA256_BYTES]);

/* In lower case, with a NUL behind. */
void crypto_sha256_hex(ath_str data, char ret[SHA256_HEX]);
void crypto_hmac_sha256_hex(ath_str key, ath_str data, char ret[SHA256_HEX]);

#endif
