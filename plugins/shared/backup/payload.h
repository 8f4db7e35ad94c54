/* plugins/shared/backup/payload.h - what a job of the backup queue is asked to do: its queue_payload,
 * written by whoever enqueues, read by the worker.
 *
 * The members of the published system keep their names, so that its rows run here. Those of ours are
 * left out while they say nothing. A URI with a password never stands here: writers put the masked
 * one into pg_uri (whoever queued a job with the published server left a whole one, which is used).
 *
 * Reading is strict: a member that nobody knows, or one of a wrong type, is a failure that names it,
 * as it might have narrowed what the job may do.
 */
#ifndef PLUGINS_SHARED_BACKUP_PAYLOAD_H
#define PLUGINS_SHARED_BACKUP_PAYLOAD_H

#include <stdbool.h>

#include "lib/json.h"

enum payload_kind {
    PAYLOAD_BACKUP = 1,          /* dump, upload, prove */
    PAYLOAD_RESTORE,             /* an object into a database; or, with undo_of, back again */
    PAYLOAD_PROVE,               /* read and check the whole stored object */
    PAYLOAD_DRILL                /* restore it into a scratch database, compare, drop that */
};

enum {
    PAYLOAD_TIMEOUT = 3600,      /* seconds, of one attempt */
    PAYLOAD_TIMEOUT_LEAST = 60,
    PAYLOAD_TIMEOUT_MOST = 86400,
    PAYLOAD_KEEP_MOST = 24 * 366 /* hours */
};

struct backup_payload {
    enum payload_kind kind;
    bool repair_roles;           /* recovery_strategy: repair_missing_role_oids, schema_heal */
    bool in_place;               /* restore: "mode":"in_place": pg_restore --clean into the live one */
    bool single_transaction;     /* restore: all of pg_restore or nothing */
    bool allow_control_plane;    /* restore: into the logging or auth database, too */
    bool keep_given;
    uint32_t keep_hours;         /* restore: of the replaced database; when keep_given */
    uint32_t timeout_seconds;    /* within the bounds above */
    int64_t undo_of;             /* restore: the job whose swap is taken back; 0: none */
    ath_str client_name;         /* never empty: "custom" where only a URI was given */
    ath_str pg_uri;              /* empty: the client's */
    ath_str label;               /* backup */
    ath_str key;                 /* of the object: restore, prove, drill */
    ath_str execution_daemon_id; /* pin; empty: any */
    ath_str pg_dump_override, pg_restore_override;
};

/* "backup", "restore", "prove", "drill": the job_type of the row, too. */
const char *payload_kind_name(enum payload_kind kind);

/* Reads the object, which may hold null for what is not given; texts are views of it or in the arena.
 * ATH_E_INPUT: "Invalid queued backup job payload: ...". */
int payload_read(ath_arena *a, ath_str json, struct backup_payload *ret, ath_err *e);

/* Appends the object. What payload_read() would refuse is the caller's to check before. */
void payload_write(struct buf *b, const struct backup_payload *p);

#endif
