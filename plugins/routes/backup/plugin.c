/* routes-backup: /admin/backups and `athena backup`. */
#include "backup.h"

#include "command.h"

#define T struct backups_config

/* clang-format off */
static const ath_field fields[] = {
    ATH_BOOL(T, enabled, "enabled", "true", "Whether the routes of backups are there.", .alias = "$ATHENA_ENABLE_ADMIN_BACKUP_ROUTES"),
    ATH_BOOL(T, allow_any_key, "allow_any_key", "false",
             "Let routes and restores use objects outside the prefix of backups, as the published server does.",
             .alias = "backup.allow_any_key", .flags = ATH_CF_RELOAD),
    ATH_INT(T, max_attempts, "max_attempts", "3", "1..10", "How often a job is tried before it is given up.",
            .alias = "backup.worker_max_attempts", .flags = ATH_CF_RELOAD),
    ATH_STR(T, tools_dir, "tools_dir", "", NULL, "Folder of PostgreSQL's tools, MAJOR/bin below it: what a request may name.",
            .alias = "$ATHENA_PG_TOOLS_DIR"),
    ATH_STR(T, pg_dump, "pg_dump", "", NULL, "The pg_dump that a request may name beside those.", .alias = "$ATHENA_PG_DUMP_PATH"),
    ATH_STR(T, pg_restore, "pg_restore", "", NULL, "The pg_restore that a request may name beside those.",
            .alias = "$ATHENA_PG_RESTORE_PATH"),
    ATH_MSEC(T, retain_age_ms, "retain_age", "0", "0..3650d", "As the worker's: what would be removed is shown by it.",
             .alias = "backup.retain_age", .flags = ATH_CF_RELOAD),
    ATH_INT(T, retain_count, "retain_count", "0", "0..100000", "Likewise.", .alias = "backup.retain_count", .flags = ATH_CF_RELOAD),
    ATH_INT(T, retain_daily, "retain_daily", "0", "0..10000", "Likewise.", .alias = "backup.retain_daily", .flags = ATH_CF_RELOAD),
    ATH_INT(T, retain_weekly, "retain_weekly", "0", "0..10000", "Likewise.", .alias = "backup.retain_weekly", .flags = ATH_CF_RELOAD),
    ATH_INT(T, retain_monthly, "retain_monthly", "0", "0..10000", "Likewise.", .alias = "backup.retain_monthly", .flags = ATH_CF_RELOAD),
};

static const ath_error errors[] = {
    { .code = "backup_request_invalid", .message = "Invalid backup request", .rc = ATH_E_INPUT, .status = 400 },
    { .code = "backup_not_found", .message = "Backup not found", .rc = ATH_E_MISSING, .status = 404 },
    { .code = "backup_job_not_found", .message = "Backup job not found", .rc = ATH_E_MISSING, .status = 404 },
    { .code = "backup_schedule_not_found", .message = "Schedule not found", .rc = ATH_E_MISSING, .status = 404 },
    { .code = "backup_job_not_active", .message = "Job not active", .rc = ATH_E_CONFLICT, .status = 400 },
    { .code = "backup_job_still_running", .message = "Backup job still running", .rc = ATH_E_CONFLICT, .status = 400 },
    { .code = "backup_storage_failed", .message = "Backup storage failed", .rc = ATH_E_UPSTREAM, .status = 500 },
    { .code = "backup_range_not_satisfiable", .message = "Range not satisfiable", .rc = ATH_E_INPUT, .status = 416 },
};

#define ADMIN(method_, path_, handle_, summary_, ...) \
    { .method = (method_), .path = (path_), .handle = (handle_), .summary = (summary_), .auth = ATH_AUTH_ADMIN, \
      .limit = "backup_admin", __VA_ARGS__ }
#define B "/admin/backups"

static const ath_route routes[] = {
    ADMIN("GET", B, backups_list, "Completed backups, the newest first"),
    ADMIN("POST", B, backups_create, "Asks for a backup"),
    ADMIN("GET", B "/config", backups_show_config, "Where backups are stored, without secrets"),
    ADMIN("GET", B "/jobs", backups_jobs, "Jobs, the newest first, by client, status and type"),
    ADMIN("GET", B "/jobs/{id}", backups_job, "One job, with its log lines"),
    ADMIN("POST", B "/jobs/{id}/cancel", backups_cancel, "Cancels a job, waiting or running"),
    ADMIN("DELETE", B "/jobs/{id}", backups_delete_job, "Forgets a job that is over; its archive stays"),
    ADMIN("GET", B "/jobs/{job_id}/s3-open", backups_open, "A link to the archive of a job, for fifteen minutes"),
    ADMIN("GET", B "/schedules", backups_schedules, "Schedules"),
    ADMIN("POST", B "/schedules", backups_schedule_create, "Makes a schedule"),
    ADMIN("PATCH", B "/schedules/{id}", backups_schedule_change, "Changes a schedule"),
    ADMIN("DELETE", B "/schedules/{id}", backups_schedule_delete, "Ends a schedule; its jobs stay"),
    ADMIN("GET", B "/records", backups_records, "The signed record of what was done with backups"),
    ADMIN("GET", B "/records/verify", backups_verify, "Whether every record is what was signed, and none is missing"),
    ADMIN("GET", B "/retention", backups_retention, "What the rules of keeping would remove now"),
    ADMIN("GET", B "/kept", backups_kept, "Databases that restores have replaced and that are kept"),
    ADMIN("POST", B "/kept/{id}/undo", backups_undo, "Asks for a replaced database to be put back"),
    ADMIN("POST", B "/{key...}/restore", backups_restore, "Asks for a restore"),
    ADMIN("POST", B "/{key...}/prove", backups_prove, "Asks for the whole archive to be read and checked"),
    ADMIN("POST", B "/{key...}/drill", backups_drill, "Asks for a restore into a scratch database, compared row by row"),
    ADMIN("GET", B "/{key...}/download", backups_download, "The archive, or a range of it", .flags = ATH_RT_LONG),
    ADMIN("DELETE", B "/{key...}", backups_delete, "Deletes the archive"),
};
/* clang-format on */

static int init(ath_self *s, const void *config, void **state, ath_err *e)
{
    static struct backups_state backups;

    (void)config;
    backups.clients = ath_host_->service(s, "athena.clients", 1);
    backups.secrets = ath_host_->service(s, "athena.secrets", 1);
    backups.s3 = ath_host_->service(s, "storage.s3", 1);
    if (!backups.clients || !backups.secrets)
        return ath_fail(e, ATH_E_CONFIG,
                        "services \"athena.clients\" and \"athena.secrets\" are not there");
    *state = &backups;
    return 0;
}

static const ath_routes group = {
    ATH_CAP(ath_routes, ATH_CAP_ROUTES, "backup"),
    .gate = "enabled",
    .openapi = openapi_yaml,
    ATH_ARRAY(route, routes),
};
static const ath_queue queue = { BACKUP_QUEUE_MEMBERS };
static const ath_cap *const caps[] = {
    &group.cap,
    &queue.cap,
    &backup_create_command.cap,
    &backup_list_command.cap,
    &backup_show_command.cap,
    &backup_jobs_command.cap,
    &backup_cancel_command.cap,
    &backup_download_command.cap,
    &backup_delete_command.cap,
    &backup_prove_command.cap,
    &backup_drill_command.cap,
    &backup_records_command.cap,
    &backup_restore_command.cap,
    &backup_kept_command.cap,
    &backup_retention_command.cap,
    &backup_undo_command.cap,
    &backup_schedule_command.cap,
    &backup_schedules_command.cap,
    &backup_reschedule_command.cap,
    &backup_unschedule_command.cap,
    NULL,
};

ATH_PLUGIN("routes-backup", "1.0.0", "athena.clients@1 athena.secrets@1 ?storage.s3@1",
           "command.backup",
           .summary = "Backups: asked for, listed, fetched, restored, scheduled",
           ATH_ARRAY(field, fields), .config_size = sizeof(struct backups_config),
           ATH_ARRAY(error, errors), .cap = caps, .init = init);
