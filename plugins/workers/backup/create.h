/* plugins/workers/backup/create.h - what the halves of a backup share.
 *
 *     ask       the row and the last size, the server's version, the tool
 *     dump      pg_dump into the work folder               dump.c
 *     store     packed straight into the store, manifest   store.c
 *     prove     read back and decoded                      store.c
 *     settle    the row's key and size, signed records
 *
 * All of it is one attempt, a task below the job. The job itself waits for it and cleans up, whatever
 * became of it: so a tool is gone before the row says so.
 */
#ifndef WORKERS_BACKUP_CREATE_H
#define WORKERS_BACKUP_CREATE_H

#include "backup/dumpsaid.h"
#include "flow.h"
#include "lib/uuid.h"
#include "restore.h"

enum { SAMPLE_MS = 2000, UPLOAD_TRIES = 3 };

struct create {
    struct flow flow;            /* of the attempt */
    ath_job *job;
    const struct backup_payload *p;
    const struct backup_config *cfg;
    struct journal journal;
    struct workdir dir;
    struct target target;
    struct target_files files;
    struct tool tool;
    uint32_t major;              /* of the server */
    uint64_t before;             /* size of the newest finished backup; 0: none */

    /* dump.c */
    struct dumpsaid said;
    struct tool_run run;
    const char *sslmode;         /* of the second try */
    ath_str folder;              /* of the dump, in the work folder */
    uint64_t dumped;             /* its bytes when last looked at */
    int tries;
    bool repaired;
    bool over, resting, sampling; /* pg_dump has ended; a sample is waited for; it is under way */
    int rc;                      /* of a pg_dump that has ended */

    /* store.c */
    struct seal_ring ring;
    struct archive_pack pack;
    struct fetch fetch;
    char backup_id[UUID_TEXT];
    ath_str bucket, key, manifest_key, manifest_json;
    bool noted;                  /* something may lie under `key` */
    int uploads;                 /* tries */
    uint32_t pending;            /* operations under way that belong together */
    int failed;                  /* the first of them that failed; its words */
    ath_str words;
    uint64_t size;               /* of the object */
    int percent;                 /* last told */
    uint64_t told_ms;

    int result;                  /* of the attempt, and its words */
    ath_str result_words;
};

/* Each the first step of a fork with the attempt's time (the payload's timeout_seconds, of each by
 * itself). They end with done, or with what failed; ATH_E_RETRY: may work next time. */
ath_run dump_run, store_run, prove_run;

/* dump.c -> repair.c: gives what the OID owns to the current role; ends the same way. An operation. */
int repair_roles(ath_task *t, struct create *c, ath_then *then, ath_err *e);

/* Removes what may lie under the key. An operation that does not fail: the sweeper does it again. */
int store_take_back(ath_task *t, struct create *c, ath_then *then, void *arg, ath_err *e);

/* The words of `e`, in the job's arena, as they outlive what follows. */
ath_str create_words(struct create *c, const ath_err *e);

#endif
