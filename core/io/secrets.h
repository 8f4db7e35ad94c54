/* core/io/secrets.h - the key ring of ATHENA_SECRETS_KEY, and secrets that lie in tables.
 *
 * The variable holds one key or several, between commas: each 32 bytes, as 64 hexadecimal digits or
 * as base64 (openssl rand -base64 32). The first one seals, all of them open: to rotate, put the new
 * key in front, restart every process, and drop the old one when nothing is sealed by it any more.
 *
 *     enc:v1:KEY:BASE64     KEY: the first 8 digits of the SHA-256 of the key; then nonce, text, tag
 *
 * Without a key texts are stored as they are. Both forms are read. Any thread, once it is started.
 */
#ifndef CORE_IO_SECRETS_H
#define CORE_IO_SECRETS_H

#include <stdbool.h>

#include <athena/service/secrets.h>

#include "lib/buf.h"

enum { SECRETS_KEYS = 16 };

/* ATH_E_CONFIG: no such key. The first call that works counts; later ones only check. */
int secrets_start(ath_str keys, ath_err *e);
void secrets_stop(void);
bool secrets_on(void);

void secrets_seal(struct buf *b, ath_str text);
int secrets_open(struct buf *b, ath_str stored, ath_err *e);

/* What is stored is as it would be stored now: plain without a key, else sealed by the first one. */
bool secrets_is_current(ath_str stored);

extern const ath_secrets secrets_service;

#endif
