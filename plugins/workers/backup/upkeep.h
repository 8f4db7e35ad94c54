/* plugins/workers/backup/upkeep.h - what the files of the tick share (upkeep.c, retain.c). */
#ifndef WORKERS_BACKUP_UPKEEP_H
#define WORKERS_BACKUP_UPKEEP_H

#include "restore.h"

int upkeep_ask(ath_task *t, const ath_stmt *stmt, uint32_t n, ath_then *then, void *arg, ath_err *e);
ATH_PRINTF(3, 4) void upkeep_say(ath_task *t, int level, const char *fmt, ...);
int64_t upkeep_number(const ath_rows *rows, uint32_t row, uint32_t col);

/* Removes what the rules of the configuration and of schedules do not keep; FLOW_NEXT: there is nothing to
 * do. */
int retain_run(ath_task *t, const struct backup_config *cfg, ath_then *then, void *arg, ath_err *e);

#endif
