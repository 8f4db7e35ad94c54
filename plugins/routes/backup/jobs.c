/* Jobs: what waits, runs and is over; cancelling; forgetting; a link to the archive of one. */
#include "backup.h"

enum { PAGE = 50, PAGE_MOST = 500, LINK_S = 900 };

static const struct admin_member job[] = {
    { "id", ADMIN_INT },          { "job_type", ADMIN_TEXT },
    { "client_name", ADMIN_TEXT }, { "status", ADMIN_TEXT },
    { "progress_pct", ADMIN_INT }, { "progress_stage", ADMIN_TEXT },
    { "s3_bucket", ADMIN_TEXT },  { "s3_key", ADMIN_TEXT },
    { "label", ADMIN_TEXT },      { "size_bytes", ADMIN_INT },
    { "execution_daemon_id", ADMIN_TEXT }, { "error_message", ADMIN_TEXT },
    { "started_at", ADMIN_TIME }, { "updated_at", ADMIN_TIME },
    { "completed_at", ADMIN_TIME },
};

#define JOB_COLUMNS                                                                                \
    "id, job_type, client_name, status, progress_pct, progress_stage, s3_bucket, s3_key, label,"   \
    " size_bytes, execution_daemon_id, error_message, " ADMIN_UTC(started_at) ", " ADMIN_UTC(      \
        updated_at) ", " ADMIN_UTC(completed_at)

static int unknown(int64_t id, ath_err *e)
{
    return admin_fail(e, "backup_job_not_found", "Backup job not found",
                      "Backup job %lld not found", (long long)id);
}

/* ---- GET /admin/backups/jobs ---- */

static const char list_sql[] = "select " JOB_COLUMNS " from " BACKUP_TABLE
                               " where ($1::text is null or client_name = $1)"
                               " and ($2::text is null or status = $2)"
                               " and ($3::text is null or job_type = $3)"
                               " order by started_at desc, id desc limit $4::int8";
enum { P_CLIENT, P_STATUS, P_TYPE, P_LIMIT, PARAMS };

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = admin_answer(t, "Listed backup jobs");

    (void)e;
    buf_json_key(&b, "jobs");
    admin_objects(&b, d->rows, ADMIN_MEMBERS(job));
    return admin_reply(t, 200, &b);
}

int backups_jobs(ath_req *r, ath_err *e)
{
    ath_str *param = ath_new(ath_arena_of(r), PARAMS * sizeof(*param));
    int rc = backups_filter(r, "client_name", &param[P_CLIENT], e);

    if (rc < 0 || (rc = backups_filter(r, "status", &param[P_STATUS], e)) < 0 ||
        (rc = backups_filter(r, "job_type", &param[P_TYPE], e)) < 0 ||
        (rc = backups_ready(r, false, e)) < 0)
        return rc;
    param[P_LIMIT] = backups_text(r, backups_limit(r, PAGE, PAGE_MOST));
    return backups_read(r, "Failed to list backup jobs", list_sql, param, PARAMS, listed, NULL, e);
}

/* ---- one job ---- */

struct one {
    int64_t id;
    ath_str text;                /* the id, for statements */
    uint32_t looks;
};

static int which(ath_req *r, const char *name, struct one **ret, ath_err *e)
{
    struct one *x = ath_new(ath_arena_of(r), sizeof(*x));
    int rc = backups_id(r, name, &x->id, e);

    x->text = backups_text(r, x->id);
    *ret = x;
    return rc;
}

static const char job_sql[] = "select " JOB_COLUMNS " from " BACKUP_TABLE " where id = $1::int8";
static const char logs_sql[] =
    "select id, job_id, level, message, " ADMIN_UTC(created_at) " from backup_job_logs"
    " where job_id = $1::int8 order by created_at desc, id desc limit 100";

static const struct admin_member line[] = {
    { "id", ADMIN_INT },       { "job_id", ADMIN_INT },      { "level", ADMIN_TEXT },
    { "message", ADMIN_TEXT }, { "created_at", ADMIN_TIME },
};

/* "events": what the engine and the worker have said of it, where `athena jobs` looks, too. */
static int shown(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct one *x = d->arg;
    struct buf b = admin_answer(t, "Backup job");

    if (!ath_host_->pg->count(d->rows))
        return unknown(x->id, e);
    buf_json_key(&b, "job");
    admin_object(&b, d->rows, 0, ADMIN_MEMBERS(job));
    buf_json_key(&b, "logs");
    admin_objects(&b, ath_host_->pg->next(d->rows), ADMIN_MEMBERS(line));
    buf_json_key(&b, "events");
    buf_printf(&b, "\"/admin/jobs/" BACKUP_QUEUE "/%lld/events\"", (long long)x->id);
    return admin_reply(t, 200, &b);
}

int backups_job(ath_req *r, ath_err *e)
{
    struct one *x;
    ath_stmt stmt[2] = { { .sql = job_sql, .param_count = 1, .flags = ATH_PG_READ },
                         { .sql = logs_sql, .param_count = 1, .flags = ATH_PG_READ } };
    int rc = which(r, "id", &x, e);

    if (rc < 0 || (rc = backups_ready(r, false, e)) < 0)
        return rc;
    stmt[0].param = stmt[1].param = &x->text;
    return backups_ask(r, "Failed to load backup job", stmt, 2, shown, x, e);
}

/* ---- cancelling ----
 *
 * What waits is over at once. Of what runs its worker is told, which ends the tool first and writes
 * the row then (D-36, D-46); so the answer waits a moment for that, and says what the row says.
 */

enum { LOOK_EVERY_MS = 100, LOOKS = 50 };

static const char cancel_failed[] = "Failed to cancel backup job";
static const char status_sql[] = "select status from " BACKUP_TABLE " where id = $1::int8";
static const char noted_sql[] =
    "insert into backup_job_logs (job_id, level, message)"
    " select id, 'info', 'Cancellation requested' from " BACKUP_TABLE " where id = $1::int8";

static int look(ath_task *t, const ath_done *d, ath_err *e);

static int say(ath_task *t, const struct one *x, bool over)
{
    struct buf b =
        admin_answer(t, over ? "Backup job cancelled" : "Backup job cancellation requested");

    buf_json_int(&b, "job_id", x->id);
    buf_json_str(&b, "status", over ? ATH_S("cancelled") : ATH_S("running"));
    return admin_reply(t, 200, &b);
}

static int inactive(ath_err *e)
{
    return admin_fail(e, "backup_job_not_active", "Job not active",
                      "Only running or pending jobs can be cancelled.");
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct one *x = d->arg;
    ath_str status = ath_cell(d->rows, 0, 0);
    bool runs = str_is(status, "running") || str_is(status, "pending");

    if (runs && ++x->looks < LOOKS)
        return ath_host_->task->after(t, LOOK_EVERY_MS, look, x, e);
    if (!runs && !str_is(status, "cancelled")) /* it was done before its worker heard of it */
        return inactive(e);
    return say(t, x, !runs);
}

static int look(ath_task *t, const ath_done *d, ath_err *e)
{
    struct one *x = d->arg;

    if (d->rc < 0)
        return d->rc;
    return backups_read(t, cancel_failed, status_sql, &x->text, 1, looked, x, e);
}

static int canceled(ath_task *t, const ath_done *d, ath_err *e)
{
    struct one *x = d->arg;
    ath_stmt stmt = { .sql = noted_sql, .param = &x->text, .param_count = 1 };

    if (d->rc < 0)
        return backups_refuse(t, cancel_failed, e);
    if (!d->count)
        return inactive(e);
    admin_changed(t, "cancel_backup_job", x->text);
    return backups_ask(t, cancel_failed, &stmt, 1, look, x, e);
}

static int cancel(ath_task *t, const ath_done *d, ath_err *e)
{
    struct one *x = d->arg;
    ath_str status = ath_cell(d->rows, 0, 0);
    ath_act a = {
        .size = sizeof(a), .what = ATH_JOB_CANCEL, .queue = BACKUP_QUEUE, .key = x->text
    };

    if (!status.p)
        return unknown(x->id, e);
    if (!str_is(status, "pending") && !str_is(status, "running"))
        return inactive(e);
    return ath_host_->job->act(t, &a, canceled, x, e) < 0 ? backups_refuse(t, cancel_failed, e) : 0;
}

int backups_cancel(ath_req *r, ath_err *e)
{
    struct one *x;
    int rc = which(r, "id", &x, e);

    if (rc < 0 || (rc = backups_ready(r, false, e)) < 0)
        return rc;
    return backups_read(r, cancel_failed, status_sql, &x->text, 1, cancel, x, e);
}

/* ---- forgetting: the row, its lines, and the schedule's memory of it; the archive stays ---- */

static const char forget_sql[] =
    "update backup_schedules s set last_job_id = null where last_job_id = $1::int8 and exists"
    " (select from " BACKUP_TABLE " j where j.id = s.last_job_id"
    " and j.status in ('completed', 'failed', 'cancelled'))";
static const char delete_sql[] =
    "with j as (select id, status from " BACKUP_TABLE " where id = $1::int8 for update),"
    " d as (delete from " BACKUP_TABLE " b using j where b.id = j.id"
    " and b.status in ('completed', 'failed', 'cancelled') returning b.id)"
    " select j.status, d.id is not null from j left join d on d.id = j.id";

static int deleted(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct one *x = d->arg;
    const ath_rows *rows = ath_host_->pg->next(d->rows);
    struct buf b;

    if (!ath_host_->pg->count(rows))
        return unknown(x->id, e);
    if (!str_is(ath_cell(rows, 0, 1), "t"))
        return admin_fail(e, "backup_job_still_running", "Backup job still running",
                          "Only completed, failed, or cancelled jobs can be deleted.");
    admin_changed(t, "delete_backup_job", x->text);
    b = admin_answer(t, "Backup job deleted");
    buf_json_int(&b, "job_id", x->id);
    return admin_reply(t, 200, &b);
}

int backups_delete_job(ath_req *r, ath_err *e)
{
    struct one *x;
    ath_stmt stmt[2] = { { .sql = forget_sql, .param_count = 1 },
                         { .sql = delete_sql, .param_count = 1 } };
    int rc = which(r, "id", &x, e);

    if (rc < 0 || (rc = backups_ready(r, false, e)) < 0)
        return rc;
    stmt[0].param = stmt[1].param = &x->text;
    return backups_ask(r, "Failed to delete backup job", stmt, 2, deleted, x, e);
}

/* ---- a link to the archive ---- */

static const char open_sql[] = "select s3_bucket, s3_key from " BACKUP_TABLE
                               " where id = $1::int8 and job_type = 'backup' and status ="
                               " 'completed' and s3_bucket is not null and s3_key is not null";

struct link {
    int64_t id;
    ath_s3_object object;
};

static int linked(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct link *x = d->arg;
    struct buf b;

    if (d->rc < 0)
        return backups_store_failed(t, "S3 open failed", e);
    b = admin_answer(t, "Generated S3 open URL");
    buf_json_int(&b, "job_id", x->id);
    buf_json_str(&b, "s3_bucket", x->object.bucket);
    buf_json_str(&b, "s3_key", x->object.key);
    buf_json_str(&b, "url", d->bytes);
    buf_json_int(&b, "expires_in", LINK_S);
    return admin_reply(t, 200, &b);
}

static int opened(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct backups_state *s = ath_state_of(t);
    const struct one *one = d->arg;
    struct link *x = ath_new(ath_arena_of(t), sizeof(*x));

    if (!ath_host_->pg->count(d->rows))
        return admin_fail(e, "backup_job_not_found", "Backup job not found",
                          "No completed backup job %lld with S3 output was found.",
                          (long long)one->id);
    *x = (struct link){ .id = one->id,
                        .object = { .size = sizeof(x->object),
                                    .bucket = ath_cell(d->rows, 0, 0),
                                    .key = ath_cell(d->rows, 0, 1) } };
    if (s->s3->presign(t, &x->object, LINK_S, linked, x, e) < 0)
        return backups_store_failed(t, "S3 open failed", e);
    return 0;
}

int backups_open(ath_req *r, ath_err *e)
{
    struct one *x;
    int rc = which(r, "job_id", &x, e);

    if (rc < 0 || (rc = backups_ready(r, true, e)) < 0)
        return rc;
    return backups_read(r, "Failed to load backup job", open_sql, &x->text, 1, opened, x, e);
}
