/* core/control/partition.h - athena migrate partition-logs: a request or operation log that is one
 * table becomes the first partition of one that is partitioned by day.
 *
 *     look -> lock -> index, concurrently -> check, not valid -> validate -> convert -> next log
 *
 * Until the last statement the log is as it was, and can be converted later. It is written to all the
 * while: only the last statement wants it for itself, for an instant, and is tried again when it
 * cannot have it within two seconds.
 */
#ifndef CORE_CONTROL_PARTITION_H
#define CORE_CONTROL_PARTITION_H

#include "base/err.h"
#include "io/task.h"

enum partition_state {
    PARTITION_MISSING,           /* there is no such table */
    PARTITION_DONE,              /* it is partitioned, or was made so */
    PARTITION_POSSIBLE,
    PARTITION_REFUSED            /* something hangs on it that would be lost: `reason` */
};

struct partition_log {
    const char *table;
    enum partition_state state;
    ath_str reason;
    uint64_t bytes, rows;        /* with its indexes; by the planner's estimate */
    bool converted;              /* by this run */
};

enum { PARTITION_LOGS = 2 };

struct partitioning {
    bool apply;                  /* from the caller; else it is only looked at */
    ath_arena *arena;            /* from the caller: of the result */
    struct partition_log log[PARTITION_LOGS];
};

/* A task's code (ath_run), `arg` is the struct partitioning. */
int partition_run(ath_task *t, void *arg, ath_err *e);

/* What is done to one log, for the dry run: the n-th statement's meaning; NULL behind the last. */
const char *partition_step(size_t n);

#endif
