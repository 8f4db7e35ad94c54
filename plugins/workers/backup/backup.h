/* plugins/workers/backup/backup.h - backups, restores, proofs and drills: what the files of the plugin
 * share.
 *
 *     plugin.c     configuration, the worker, which code runs a kind of job
 *     tools.h      pg_dump and pg_restore: which, of which version, how one is run
 *     target.h     a database: its URI, and how tools sign in without a secret in sight
 *     workdir.h    the private folder of a run, gone when the run is
 *     journal.h    what a run says: lines of backup_job_logs, progress
 *     create.c     job_type backup; dump.c, upload.c: its two halves
 *     repair.c     owners that are no roles any more
 *     schedule.c   schedules of backups
 *     sweep.c      objects that belong to no job
 */
#ifndef WORKERS_BACKUP_H
#define WORKERS_BACKUP_H

#include <athena/plugin.h>
#include <athena/service/cache.h>
#include <athena/service/clients.h>
#include <athena/service/s3.h>
#include <athena/service/secrets.h>

#include "backup/payload.h"
#include "backup/queue.h"

struct backup_config {
    int32_t enabled;
    uint64_t poll_ms, lease_ms, grace_ms, retry_ms, retry_most_ms, sweep_ms, sweep_again_ms, schedule_poll_ms;
    int64_t attempts, concurrency;
    ath_str work_dir;            /* empty: $TMPDIR, else /tmp */
    ath_str tools_dir, pg_dump, pg_restore;
    int64_t jobs;                /* of one tool; 0: as many as processors, at most 4 */
    int64_t gzip_level;
    int32_t prove_after_upload;
    int32_t sslmode_dedup;
    ath_str encryption_keys;     /* empty: archives lie there as they are */
    uint64_t keep_replaced_ms, upkeep_ms;
    ath_str drill_uri;           /* empty: drills go to the server that the backup is of */
    uint64_t drill_every_ms, stale_ms; /* 0: off */
    uint64_t retain_age_ms;      /* 0, like those below: no such rule */
    int64_t retain_count, retain_daily, retain_weekly, retain_monthly;
    int32_t retain_dry_run;
};

struct backup_services {         /* of other plugins and of the host; s3 may be NULL */
    const ath_s3 *s3;
    const ath_secrets *secrets;
    const ath_clients *clients;
    const ath_cache *cache;      /* may be NULL */
};
extern struct backup_services backup_services;

/* One job of each kind, on its loop; `p` lives as long as the job. They end it: by `done`, or by the
 * code that they or a continuation return (ath_worker.run). */
typedef int backup_kind_run(ath_job *j, const struct backup_payload *p, ath_err *e);
backup_kind_run backup_create, backup_restore, backup_prove, backup_drill;

int backup_sweep(ath_job *j, ath_err *e); /* the tick `backup_sweeper` */
int backup_upkeep(ath_job *j, ath_err *e); /* the tick `backup_upkeep_worker` */
int backup_stale(ath_task *t, void *arg, ath_err *e); /* the check `backup.proven` */

enum { M_PROVEN, M_CREATED, M_AGE, M_BYTES, M_SECONDS, M_STORED, M_JOBS, M_KEPT, M_REMOVED, METRICS };

extern const ath_worker backup_scheduler; /* backup_schedule_worker */

#endif
