/* plugins/workers/backup/journal.h - what a run says: lines for backup_job_logs and the job's events, and
 * how far it is.
 *
 * Lines wait in memory, a bounded number of them, until journal_write() puts all of them into the tables,
 * as long as the lease is held; a run does so at each step and every two seconds while it waits.
 */
#ifndef WORKERS_BACKUP_JOURNAL_H
#define WORKERS_BACKUP_JOURNAL_H

#include <athena/plugin.h>

#include "lib/buf.h"

enum { JOURNAL_WAITING = 200, JOURNAL_LINES = 2000, JOURNAL_LINE_BYTES = 2000 };

struct journal_line {
    const char *level;
    ath_str text;
    uint64_t said_ms;            /* by the job's loop */
};

struct journal {                 /* of one job; zeroed at first */
    ath_task *job;
    struct journal_line waiting[JOURNAL_WAITING];
    uint32_t n, lines, dropped;
    uint32_t writing;            /* of those that wait: they are on their way */
};

void journal_begin(struct journal *j, ath_job *job);

/* level: "info", "warn", "error". Longer lines keep their end, cut between characters (D-48). */
ATH_PRINTF(3, 4) void journal_say(struct journal *j, const char *level, const char *fmt, ...);

/* An operation on the job's loop; without lines it ends at once, too. Only one at a time. */
int journal_write(ath_task *t, struct journal *j, ath_then *then, void *arg, ath_err *e);

/* Stage and percent of the row, and `bytes` beside them unless 0. < 0: the lease was lost. */
int journal_stage(struct journal *j, const char *stage, int percent, uint64_t bytes);

/* The last `most` bytes of a text, from the beginning of a character on. */
ath_str journal_tail(ath_str text, size_t most);

#endif
