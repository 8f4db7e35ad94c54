/* plugins/shared/backup/stored.h - the backups that lie in the store as the control plane knows them, and
 * what is decided of them: the worker removes by it, and a route shows it beforehand.
 */
#ifndef PLUGINS_SHARED_BACKUP_STORED_H
#define PLUGINS_SHARED_BACKUP_STORED_H

#include "backup/keep.h"
#include "lib/buf.h"

/* Somebody works with the archive of the job `j`. */
#define STORED_BUSY_SQL                                                                            \
    "exists (select from backup_jobs w where w.status in ('pending', 'running')"                   \
    " and w.queue_payload->>'key' = j.s3_key)"

/* All of them, the clients by name, with these columns. */
extern const char stored_sql[];
enum {
    STORED_ID,
    STORED_CLIENT,
    STORED_KEY,
    STORED_BUCKET,
    STORED_MADE,                 /* seconds since 1970 */
    STORED_SCHEDULE,
    STORED_COUNT,
    STORED_PROVEN,
    STORED_BUSY,
    STORED_NOW
};

struct stored {
    uint32_t row;
    enum keep_why why;
};

/* Of each row why it stays; in the arena, as many as there are rows. Client by client in the order of the
 * rows, of each the newest first. `now_s`: of this process's clock. */
struct stored *stored_decide(ath_arena *a, const ath_rows *rows, const struct keep_rules *rules,
                             int64_t now_s);

#endif
