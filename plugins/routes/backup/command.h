/* plugins/routes/backup/command.h - athena backup ... */
#ifndef ROUTES_BACKUP_COMMAND_H
#define ROUTES_BACKUP_COMMAND_H

#include "admin/admin.h"

/* "/admin/backups/KEY" and more. */
struct buf backups_key_path(ath_task *t, ath_str key, const char *more);

/* command.c */
extern const ath_command backup_create_command, backup_restore_command, backup_prove_command,
    backup_drill_command, backup_undo_command, backup_list_command, backup_jobs_command,
    backup_show_command, backup_kept_command, backup_records_command, backup_cancel_command,
    backup_delete_command, backup_schedule_command, backup_reschedule_command,
    backup_unschedule_command, backup_schedules_command, backup_retention_command;
extern const ath_command backup_download_command; /* download.c */

#endif
