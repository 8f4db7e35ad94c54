/* worker-backup: runs the jobs of the backup queue with PostgreSQL's own tools and a store of
 * objects. */
#include "backup.h"
#include "workdir.h"

#define T struct backup_config

/* clang-format off */
static const ath_field fields[] = {
    ATH_BOOL(T, enabled, "enabled", "true", "Whether backups and restores are run here.",
             .alias = "backup.worker_enabled", .flags = ATH_CF_RELOAD),
    ATH_MSEC(T, poll_ms, "poll", "1500", "250ms..1h", "How often it looks for jobs that it was not woken for.",
             .alias = "backup.execution_worker_poll_ms", .flags = ATH_CF_RELOAD),
    ATH_MSEC(T, schedule_poll_ms, "schedule_poll", "30s", "1s..1h", "How often it looks for schedules that are due.",
             .alias = "backup.schedule_worker_poll_ms", .flags = ATH_CF_RELOAD),
    ATH_INT(T, attempts, "max_attempts", "3", "1..10", "How often a job is tried whose row does not say.",
            .alias = "backup.worker_max_attempts", .flags = ATH_CF_RELOAD),
    ATH_INT(T, concurrency, "concurrency", "1", "1..16", "Jobs at once in this process.", .flags = ATH_CF_RELOAD),
    ATH_MSEC(T, lease_ms, "lease", "30s", "1s..2h", "How long a job is held without a word of its process; it is renewed at a third."),
    ATH_MSEC(T, grace_ms, "grace", "20s", "1s..5m", "How long a job that is cancelled may take to clean up."),
    ATH_MSEC(T, retry_ms, "retry", "30s", "10ms..1h", "The wait before the second attempt; it doubles.", .flags = ATH_CF_RELOAD),
    ATH_MSEC(T, retry_most_ms, "retry_most", "10m", "10ms..1d", "The longest wait between two attempts.", .flags = ATH_CF_RELOAD),
    ATH_STR(T, work_dir, "work_dir", "", NULL, "Folder for dumps while they are made; empty: $TMPDIR, else /tmp.",
            .alias = "backup.work_dir $TMPDIR"),
    ATH_STR(T, tools_dir, "tools_dir", "", NULL, "Folder of <major>/bin/{pg_dump,pg_restore}, chosen by the version of the server.",
            .alias = "$ATHENA_PG_TOOLS_DIR"),
    ATH_STR(T, pg_dump, "pg_dump", "", NULL, "This pg_dump where tools_dir has none; empty: PATH and /usr/lib/postgresql/*/bin.",
            .alias = "$ATHENA_PG_DUMP_PATH"),
    ATH_STR(T, pg_restore, "pg_restore", "", NULL, "Likewise; empty: the one beside pg_dump.",
            .alias = "$ATHENA_PG_RESTORE_PATH"),
    ATH_INT(T, jobs, "jobs", "0", "0..64", "Connections of one tool; 0: as many as processors, at most 4.", .flags = ATH_CF_RELOAD),
    ATH_INT(T, gzip_level, "gzip_level", "1", "0..9", "Of what is not compressed already in an archive.", .flags = ATH_CF_RELOAD),
    ATH_BOOL(T, prove_after_upload, "prove_after_upload", "true", "Whether what lies in the store is read back and decoded before a backup counts.",
             .alias = "backup.prove_after_upload", .flags = ATH_CF_RELOAD),
    ATH_BOOL(T, sslmode_dedup, "sslmode_dedup", "false", "Whether hosts that once asked for TLS are asked with sslmode=require at once.",
             .alias = "$ATHENA_PG_SSLMODE_DEDUP"),
    ATH_MSEC(T, sweep_ms, "sweep_every", "1m", "1s..1d", "How often objects of attempts that are over are looked for.", .flags = ATH_CF_RELOAD),
    ATH_MSEC(T, sweep_again_ms, "sweep_again", "10m", "100ms..1d", "How long after that they are looked for once more: what was on its way may have arrived.", .flags = ATH_CF_RELOAD),
    ATH_STR(T, encryption_keys, "encryption_keys", "", NULL, "Keys for archives, between commas: the first encrypts, all decrypt; empty: not encrypted.",
            .alias = "$ATHENA_BACKUP_ENCRYPTION_KEY backup.encryption_keys", .flags = ATH_CF_SECRET),
    ATH_MSEC(T, keep_replaced_ms, "keep_replaced", "1d", "0..366d", "How long a database that a restore has replaced is kept beside the restored one.",
             .alias = "backup.keep_replaced", .flags = ATH_CF_RELOAD),
    ATH_MSEC(T, upkeep_ms, "upkeep_every", "1m", "100ms..1d", "How often it looks for databases to drop, backups to drill and backups to remove.", .flags = ATH_CF_RELOAD),
    ATH_STR(T, drill_uri, "drill_uri", "", NULL, "Where restore drills make their scratch database; empty: on the server that the backup is of.",
            .alias = "backup.drill_uri", .flags = ATH_CF_SECRET | ATH_CF_RELOAD),
    ATH_MSEC(T, drill_every_ms, "drill_every", "7d", "0..366d", "How often each client's newest backup is restored into a scratch database and compared; 0: never.",
             .alias = "backup.drill_every", .flags = ATH_CF_RELOAD),
    ATH_MSEC(T, stale_ms, "warn_after", "2d", "0..366d", "The doctor warns of a client with backups whose newest proven one is older; 0: it does not.",
             .alias = "backup.warn_after", .flags = ATH_CF_RELOAD),
    ATH_MSEC(T, retain_age_ms, "retain_age", "0", "0..3650d", "Backups are kept that are at most so much older than the newest proven one; 0: no such rule. Without any rule all are kept.",
             .alias = "backup.retain_age", .flags = ATH_CF_RELOAD),
    ATH_INT(T, retain_count, "retain_count", "0", "0..100000", "So many of each client's newest proven backups are kept; 0: no such rule.",
            .alias = "backup.retain_count", .flags = ATH_CF_RELOAD),
    ATH_INT(T, retain_daily, "retain_daily", "0", "0..10000", "The newest proven backup of each of the last so many days that have one is kept.",
            .alias = "backup.retain_daily", .flags = ATH_CF_RELOAD),
    ATH_INT(T, retain_weekly, "retain_weekly", "0", "0..10000", "Likewise of weeks.", .alias = "backup.retain_weekly", .flags = ATH_CF_RELOAD),
    ATH_INT(T, retain_monthly, "retain_monthly", "0", "0..10000", "Likewise of months.", .alias = "backup.retain_monthly", .flags = ATH_CF_RELOAD),
    ATH_BOOL(T, retain_dry_run, "retain_dry_run", "false", "Says what these rules would remove, and removes nothing.",
             .alias = "backup.retain_dry_run", .flags = ATH_CF_RELOAD),
};

static const ath_metric metrics[METRICS] = {
    [M_PROVEN] = { "athena_backup_proven_timestamp_seconds", "client", "When the client's newest proven backup was made, in seconds since 1970.", ATH_M_GAUGE, 0 },
    [M_CREATED] = { "athena_backup_created_timestamp_seconds", "client", "When its newest backup was made, proven or not.", ATH_M_GAUGE, 0 },
    [M_AGE] = { "athena_backup_proven_age_seconds", "client", "Seconds since its newest proven backup was made.", ATH_M_GAUGE, 0 },
    [M_BYTES] = { "athena_backup_size_bytes", "client", "Size of its newest backup.", ATH_M_GAUGE, 0 },
    [M_SECONDS] = { "athena_backup_drill_duration_seconds", "client", "How long its last restore drill took.", ATH_M_GAUGE, 0 },
    [M_STORED] = { "athena_backup_stored", "client", "Its backups in the store.", ATH_M_GAUGE, 0 },
    [M_JOBS] = { "athena_backup_jobs", "job_type,status", "Jobs of backups by type and state.", ATH_M_GAUGE, 0 },
    [M_KEPT] = { "athena_backup_replaced_databases", NULL, "Databases that restores have replaced and that are still there.", ATH_M_GAUGE, 0 },
    [M_REMOVED] = { "athena_backup_removed_total", NULL, "Backups that the rules for keeping them have removed.", ATH_M_COUNTER, 0 },
};
/* clang-format on */

struct backup_services backup_services;

static const struct {
    enum payload_kind kind;
    backup_kind_run *run;
} kinds[] = {
    { PAYLOAD_BACKUP, backup_create },
    { PAYLOAD_RESTORE, backup_restore },
    { PAYLOAD_PROVE, backup_prove },
    { PAYLOAD_DRILL, backup_drill },
};

static int run(ath_job *j, ath_err *e)
{
    struct backup_payload *p = ath_new(ath_arena_of(j), sizeof(*p));
    int rc = payload_read(ath_arena_of(j), ath_host_->job->args(j), p, e);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < ATH_COUNT(kinds); i++)
        if (kinds[i].kind == p->kind)
            return kinds[i].run(j, p, e);
    return ath_fail(e, ATH_E_BUG, "no code runs a %s", payload_kind_name(p->kind));
}

static void run_pace(const void *config, ath_pace *p)
{
    const struct backup_config *cfg = config;

    p->concurrency = (uint32_t)cfg->concurrency;
    p->max_attempts = (uint32_t)cfg->attempts;
    p->poll_ms = cfg->poll_ms;
    p->lease_ms = cfg->lease_ms;
    p->grace_ms = cfg->grace_ms;
    p->retry_ms = cfg->retry_ms;
    p->retry_most_ms = cfg->retry_most_ms;
}

static void sweep_pace(const void *config, ath_pace *p)
{
    const struct backup_config *cfg = config;

    p->poll_ms = cfg->sweep_ms;
}

static void upkeep_pace(const void *config, ath_pace *p)
{
    const struct backup_config *cfg = config;

    p->poll_ms = cfg->upkeep_ms;
}

static const ath_queue queue = { BACKUP_QUEUE_MEMBERS };
static const ath_worker runner = {
    ATH_CAP(ath_worker, ATH_CAP_WORKER, BACKUP_QUEUE),
    .family = "backup",
    .gate = "enabled",
    .queue = &queue,
    .pace = run_pace,
    .run = run,
};
static const ath_worker sweeper = {
    ATH_CAP(ath_worker, ATH_CAP_WORKER, "backup_sweeper"),
    .family = "backup",
    .gate = "enabled",
    .pace = sweep_pace,
    .run = backup_sweep,
    .flags = ATH_WK_SINGLE,
};
static const ath_worker upkeeper = {
    ATH_CAP(ath_worker, ATH_CAP_WORKER, "backup_upkeep_worker"),
    .family = "backup",
    .gate = "enabled",
    .pace = upkeep_pace,
    .run = backup_upkeep,
    .flags = ATH_WK_SINGLE,
};
static const ath_check proven = {
    ATH_CAP(ath_check, ATH_CAP_CHECK, "backup.proven"),
    .summary = "Is each client's newest proven backup young enough?",
    .run = backup_stale,
};
static const ath_cap *const caps[] = { &runner.cap, &sweeper.cap, &upkeeper.cap,
                                      &backup_scheduler.cap, &proven.cap, NULL };

static ath_str work_dir;

static int init(ath_self *s, const void *config, void **state, ath_err *e)
{
    (void)e;
    work_dir = ((const struct backup_config *)config)->work_dir;
    backup_services.s3 = ath_host_->service(s, "storage.s3", 1);
    backup_services.secrets = ath_host_->service(s, "athena.secrets", 1);
    backup_services.clients = ath_host_->service(s, "athena.clients", 1);
    backup_services.cache = ath_host_->service(s, "athena.cache", 1);
    *state = &backup_services;
    return 0;
}

/* What a killed process left in the work folder goes before anything else is put there. */
static int start(void *state, ath_err *e)
{
    (void)state, (void)e;
    workdir_sweep(work_dir);
    return 0;
}

ATH_PLUGIN("worker-backup", "1.0.0", "?storage.s3@1 athena.secrets@1 athena.clients@1 ?athena.cache@1", "",
           .summary = "Backs up and restores databases", ATH_ARRAY(field, fields), ATH_ARRAY(metric, metrics),
           .config_size = sizeof(struct backup_config), .cap = caps, .init = init, .start = start);
