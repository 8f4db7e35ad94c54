/* plugins/routes/backup/backup.h - backups for operators: asking for them, what became of them, the
 * archives themselves, schedules.
 *
 * A route only writes a row or asks the store; what takes long is a job, which worker-backup carries
 * out, in this process or in another. So nothing here waits for a database of a client.
 */
#ifndef ROUTES_BACKUP_H
#define ROUTES_BACKUP_H

#include <athena/service/clients.h>
#include <athena/service/s3.h>
#include <athena/service/secrets.h>

#include "admin/admin.h"
#include "backup/calendar.h"
#include "backup/enqueue.h"
#include "backup/queue.h"

struct backups_config {
    int32_t enabled, allow_any_key;
    int64_t max_attempts;
    ath_str tools_dir, pg_dump, pg_restore;
    uint64_t retain_age_ms;
    int64_t retain_count, retain_daily, retain_weekly, retain_monthly;
};

struct backups_state {
    const ath_clients *clients;
    const ath_secrets *secrets;
    const ath_s3 *s3;            /* NULL: no driver is loaded */
};

/* ---- check.c: what a request must be, in the order in which it is looked at ---- */

int backups_client_name(ath_str name, ath_err *e);
int backups_label(ath_str label, ath_err *e);
int backups_pg_uri(ath_str uri, ath_err *e);
/* ?name= of a list: p NULL when it is absent. */
int backups_filter(ath_req *r, const char *name, ath_str *ret, ath_err *e);
/* ?limit=, which is `otherwise` when it is no number between 1 and `most`. */
int64_t backups_limit(ath_req *r, int64_t otherwise, int64_t most);
/* {key}; whether it is one of ours is backups_own_key()'s to say. */
int backups_key(ath_req *r, ath_str *ret, ath_err *e);
int backups_own_key(ath_req *r, ath_str key, ath_err *e); /* D-43 */
/* {id}: what is no number is no route. */
int backups_id(ath_req *r, const char *name, int64_t *ret, ath_err *e);
/* The control plane can be asked, and, with `storage`, a store is configured. */
int backups_ready(ath_req *r, bool storage, ath_err *e);
/* The store alone. */
int backups_storage(ath_req *r, ath_s3_config *ret, ath_err *e);
/* The client is registered and has a database. */
int backups_known_client(ath_req *r, ath_str name, ath_err *e);
/* X-Athena-Pg-Dump-Path and X-Athena-Pg-Restore-Path (D-42). */
int backups_tools(ath_req *r, struct backup_payload *p, ath_err *e);
/* A body that may be absent: NULL then. */
int backups_body(ath_req *r, const struct json **ret, ath_err *e);
/* A whole number of the body; `otherwise` when it is absent or null. */
int backups_number(const struct json *body, const char *name, int64_t otherwise, int64_t *ret,
                   ath_err *e);


/* A number as text, in the arena. */
ath_str backups_text(ath_task *t, int64_t v);

/* ---- ask.c: the control plane, and what its failures mean here ---- */

enum { BACKUPS_STATEMENTS = 2 };

/* One trip of one statement, or of two that are one transaction; as admin_read() but for its words.
 * d->rows: of the first; kept. */
int backups_ask(ath_task *t, const char *failed, const ath_stmt *stmt, uint32_t n, ath_then *then,
                void *arg, ath_err *e);
int backups_read(ath_task *t, const char *failed, const char *sql, const ath_str *param,
                 uint32_t params, ath_then *then, void *arg, ath_err *e);
int backups_refuse(ath_task *t, const char *failed, ath_err *e);

/* The store refused, or did not answer; rewrites `e`. object.c */
int backups_store_failed(ath_task *t, const char *title, ath_err *e);

/* ---- order.c ---- */

/* Puts a job and answers 202: {"job_id", "key", "client_name", "status"}, the key where it has one. */
int backups_put(ath_req *r, const struct backup_order *o, const char *said, const char *word,
                ath_err *e);
int backups_timeout(const struct json *body, struct backup_payload *p, ath_err *e);

extern const char openapi_yaml[];

ath_handler backups_list, backups_show_config;                 /* list.c */
ath_handler backups_create, backups_restore;                   /* order.c */
ath_handler backups_prove, backups_drill, backups_undo;        /* proof.c */
ath_handler backups_kept, backups_records, backups_verify;  /* proof.c */
ath_handler backups_retention;                                 /* retention.c */
ath_handler backups_jobs, backups_job, backups_cancel, backups_delete_job, backups_open; /* jobs.c */
ath_handler backups_download, backups_delete;                  /* object.c */
ath_handler backups_schedules, backups_schedule_create, backups_schedule_change,
    backups_schedule_delete;                                   /* schedules.c */

#endif
