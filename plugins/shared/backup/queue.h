/* plugins/shared/backup/queue.h - the table of backups and restores as the job engine knows it: the
 * routes and schedules put jobs into it, worker-backup runs them.
 *
 * `progress` is what a run says while it goes on: {"stage","progress_pct", ...}. The columns
 * progress_stage and progress_pct follow it and the state by themselves (0009_backup.sql).
 */
#ifndef PLUGINS_SHARED_BACKUP_QUEUE_H
#define PLUGINS_SHARED_BACKUP_QUEUE_H

#include <athena/plugin.h>

#define BACKUP_TABLE "backup_jobs"
#define BACKUP_QUEUE "backup_execution_worker" /* cap.name of the queue and of its worker */

#define BACKUP_QUEUE_MEMBERS                                                                       \
    ATH_CAP(ath_queue, ATH_CAP_QUEUE, BACKUP_QUEUE), .table = BACKUP_TABLE, .key = "id",           \
        .args = "queue_payload", .status = "status", .waiting = "pending", .claimed = "running",   \
        .done = "completed", .dead = "failed", .canceled = "cancelled", .created = "started_at",   \
        .due = "next_attempt_at", .attempts = "attempt_count", .max_attempts = "max_attempts",     \
        .token = "lease_token", .until = "lease_expires_at", .owner = "worker_daemon_id",          \
        .pin = "execution_daemon_id", .client = "client_name", .cancel = "cancel_requested_at",    \
        .error = "error_message", .progress = "queue_checkpoint", .finished = "completed_at",      \
        .touched = "updated_at", .unique = "unique_key"

#endif
