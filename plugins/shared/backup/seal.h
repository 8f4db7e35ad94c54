/* plugins/shared/backup/seal.h - archives that only holders of a key can read: AES-256-GCM in chunks.
 *
 *     header   "ATHSEAL1", the key's id (8 hexadecimal digits), 32 random bytes
 *     chunks   64 KiB of text each, the last one shorter or as long; behind each its tag
 *
 * A key of the ring never seals by itself: each archive has its own, made of the ring's key and the
 * header's random bytes (HKDF with SHA-256). A chunk's nonce is its number and whether it is the last
 * one, and the header is bound to each, so a chunk that is changed, missing, repeated, out of place
 * or of another archive is found, and so is an end that is missing.
 *
 * The ring is read from text like ATHENA_SECRETS_KEY: keys between commas, 32 bytes each in
 * hexadecimal digits or base64; the first one seals, all of them open.
 *
 * Nothing here blocks or waits: bytes in, bytes out, on any thread.
 */
#ifndef PLUGINS_SHARED_BACKUP_SEAL_H
#define PLUGINS_SHARED_BACKUP_SEAL_H

#include <athena/service/secrets.h>

#include "lib/buf.h"

enum {
    SEAL_RING = 16,
    SEAL_KEY_BYTES = 32,
    SEAL_ID = 8,
    SEAL_CHUNK = 65536,
    SEAL_TAG_BYTES = 16,
    SEAL_HEAD = 8 + SEAL_ID + 32
};

struct seal_ring {
    uint32_t n;                  /* 0: nothing is sealed, and nothing sealed can be opened */
    char id[SEAL_RING][SEAL_ID + 1];
    uint8_t key[SEAL_RING][SEAL_KEY_BYTES];
};

/* ATH_E_CONFIG: no such keys; `what` names the setting in the message. */
int seal_ring_read(struct seal_ring *ret, const ath_secrets *secrets, ath_str text,
                   const char *what, ath_err *e);
void seal_ring_wipe(struct seal_ring *r);

/* The first bytes are those of a sealed archive (at least 8 of them are needed to say so). */
bool seal_is(ath_str head);

struct seal;

/* Both are given back, and their keys wiped, with seal_free(). */
struct seal *seal_begin(const struct seal_ring *r);             /* seals by the first key */
struct seal *seal_open_begin(const struct seal_ring *r);
void seal_free(struct seal *s);

/* Appends what became of these bytes. `last`: there are no more, and this is called no more.
 * ATH_E_CONFIG: sealed by a key that is not in the ring; ATH_E_INPUT: not what was sealed. Bytes
 * that were appended are authentic up to where they go; that they are all is known after `last`. */
int seal_feed(struct seal *s, ath_str bytes, bool last, struct buf *out, ath_err *e);

/* Of the key that seals or sealed it; empty before the header was read. */
const char *seal_id(const struct seal *s);

#endif
