/* core/io/crypto.h - digests, sealing, base64. The only room that knows OpenSSL. Any thread. */
#ifndef CORE_IO_CRYPTO_H
#define CORE_IO_CRYPTO_H

#include <stdbool.h>

#include <athena/plugin.h>

enum { SHA256_BYTES = 32, SHA256_HEX = 65 };

void crypto_sha256(ath_str data, uint8_t ret[SHA256_BYTES]);
void crypto_hmac_sha256(ath_str key, ath_str data, uint8_t ret[SHA256_BYTES]);

/* In lower case, with a NUL behind. */
void crypto_sha256_hex(ath_str data, char ret[SHA256_HEX]);
void crypto_hmac_sha256_hex(ath_str key, ath_str data, char ret[SHA256_HEX]);

/* AES-256-GCM. What is sealed is SEAL_MORE bytes longer than the text: a nonce, drawn anew for each
 * call, before it and a tag behind it. `context` is not part of it, but must be the same to open. */
enum { SEAL_KEY = 32, SEAL_NONCE = 12, SEAL_TAG = 16, SEAL_MORE = SEAL_NONCE + SEAL_TAG };

void crypto_seal(const uint8_t key[SEAL_KEY], ath_str context, ath_str text, uint8_t *ret);
/* False: another key, another context, or not as it was sealed; `ret` has no meaning then. */
bool crypto_open(const uint8_t key[SEAL_KEY], ath_str context, ath_str sealed, uint8_t *ret);

/* With padding; `ret` has room for CRYPTO_BASE64(n) bytes, the NUL counted. */
#define CRYPTO_BASE64(n) (((n) + 2) / 3 * 4 + 1)
size_t crypto_base64(ath_str data, char *ret);
/* `ret` has room for text.n bytes. False: it is no base64. */
bool crypto_unbase64(ath_str text, uint8_t *ret, size_t *ret_n);

#endif
