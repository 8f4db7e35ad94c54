/* plugins/shared/backup/sign.h - Ed25519 keys of signers, and what is signed of a record (record.h). */
#ifndef PLUGINS_SHARED_BACKUP_SIGN_H
#define PLUGINS_SHARED_BACKUP_SIGN_H

#include "backup/record.h"

enum { SIGN_KEY_HEX = 64, SIGN_ID = 16 };

struct record_row {              /* as it lies in the table */
    ath_str seq, at, kind, backup_id, job_id, key, facts, previous, digest, signer, signature;
};

/* A new pair, in hexadecimal digits; the id is made of the public half. */
void sign_make(char secret[SIGN_KEY_HEX + 1], char public_key[SIGN_KEY_HEX + 1],
               char id[SIGN_ID + 1]);

/* The public half of a secret one; false: it is no key. */
bool sign_public(ath_str secret, char ret[SIGN_KEY_HEX + 1]);

/* Of all but digest and signature. */
void sign_digest(const struct record_row *r, char ret[RECORD_HEX + 1]);

/* Of a digest's digits; false: no such key. */
bool sign(ath_str secret, ath_str digest, char ret[RECORD_SIGNATURE_HEX + 1]);
bool sign_holds(ath_str public_key, ath_str digest, ath_str signature);

#endif
