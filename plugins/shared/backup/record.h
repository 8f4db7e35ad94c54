/* plugins/shared/backup/record.h - what was done with backups, signed and chained
 * (athena_backup_records of the control plane).
 *
 * Each record holds the digest of the one before it, and an Ed25519 signature over its own. So a
 * record that is changed, missing or put in between is found; that the newest ones are missing is
 * not, unless somebody remembers the digest of the last one.
 *
 * The key pair is made at the first use. Its secret half lies in athena_backup_signers, sealed by
 * ATHENA_SECRETS_KEY; without that key whoever can write the tables can sign, and record_verify()
 * says so. What is signed:
 *
 *     "athena backup record 1" LF seq LF at LF then each of kind, backup_id, job_id, key, facts,
 *     previous, signer as LENGTH ":" BYTES LF          at: 2026-01-31T12:00:00.000000Z; job_id: may
 *                                                      be empty
 *
 * digest: SHA-256 of it, in hexadecimal digits; signature: Ed25519 of those 64 digits, in hexadecimal
 * digits. The first record's `previous` is 64 zeros.
 */
#ifndef PLUGINS_SHARED_BACKUP_RECORD_H
#define PLUGINS_SHARED_BACKUP_RECORD_H

#include <athena/service/secrets.h>

#include "lib/buf.h"

enum { RECORD_HEX = 64, RECORD_SIGNATURE_HEX = 128 };

struct record {
    const char *kind;            /* created, decoded, drilled, restored, deleted */
    ath_str backup_id, key;
    ath_str job_id;              /* empty: none */
    ath_str facts;               /* a JSON object */
    uint32_t flags;              /* ATH_PG_FENCED: only while the job's lease is held; or 0 */
};

/* Appends one. Texts live until `then`: d->count its seq, d->bytes its digest. One statement, that
 * finds its place again when others were faster. */
int record_append(ath_task *t, const ath_secrets *secrets, const struct record *r, ath_then *then,
                  void *arg, ath_err *e);

/* The id of the backup whose archive has this key: "0f6c..." of "backups/shop/0f6c....tar.gz". */
ath_str record_backup_id(ath_str key);

struct record_verdict {
    uint64_t records;            /* looked at */
    uint64_t broken;             /* seq of the first that does not hold; 0: all do */
    char why[200];               /* "record 7 is not what was signed" */
    char head[RECORD_HEX + 1];   /* digest of the last that was looked at */
    uint32_t unsealed;           /* signers whose secret half lies in the table as it is */
};

/* Looks at the whole chain, or at the records of one backup alone (`backup_id` not empty). `then` with
 * rc 0 also when something is broken: the verdict says it. *ret lives until then. */
int record_verify(ath_task *t, const ath_secrets *secrets, ath_str backup_id,
                  struct record_verdict *ret, ath_then *then, void *arg, ath_err *e);

#endif
