/* Objects that an attempt noted before it stored them, and that no job has: its process was killed,
 * its lease was lost, or the store did not answer when it wanted to take them back.
 *
 * An object is somebody's as long as its attempt holds the lease of its job; the completion of the
 * job removes the note in the same statement. So what is left is nobody's: unfinished uploads are
 * aborted, object and manifest removed. An upload that was completed by a process that did not know
 * yet that it had lost its lease is found by a second look (sweep_again); then the note goes,
 * too.
 */
#include "backup.h"

#include "backup/manifest.h"
#include "backup/record.h"
#include "flow.h"
#include "lib/json.h"

struct sweep {
    struct flow flow;
    const ath_rows *rows; /* bucket, key, job, swept before, recorded as created */
    uint32_t at;
    const struct json *upload; /* the next to abort */
};

static const char look_sql[] =
    "select u.bucket, u.key, u.job_id, u.swept_at is not null, exists (select from"
    " public.athena_backup_records r where r.key = u.key and r.kind = 'created')"
    " from public.athena_backup_uploads u where not exists (select from backup_jobs j where"
    " j.id = u.job_id and j.status = 'running' and j.lease_token = u.lease_token)"
    " and (u.swept_at is null or u.swept_at < now() - $1::float8 * interval '1 ms')"
    " order by u.at limit 50";

static const char forget_sql[] =
    "with done as (delete from public.athena_backup_uploads where bucket = $1 and key = $2"
    " and swept_at is not null) update public.athena_backup_uploads set swept_at = now()"
    " where bucket = $1 and key = $2 and swept_at is null";

static int control(ath_task *t, const char *sql, const ath_str *param, uint32_t n, ath_then *then,
                   void *arg, ath_err *e)
{
    ath_stmt stmt = { .sql = sql, .param = param, .param_count = n };
    ath_query q = { .size = sizeof(q),
                    .client = ATH_S("@control"),
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    return ath_host_->pg->query(t, &q, then, arg, e);
}

static ath_str cell(const struct sweep *s, uint32_t col)
{
    return ath_cell(s->rows, s->at, col);
}

/* ---- one of them ---- */

static int ask_uploads(ath_task *t, struct flow *f, ath_err *e)
{
    struct sweep *s = (struct sweep *)f;
    ath_s3_list l = { .size = sizeof(l), .bucket = cell(s, 0), .prefix = cell(s, 1) };

    return backup_services.s3->uploads(t, &l, flow_then, f, e);
}

static int took_uploads(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct sweep *s = (struct sweep *)f;
    struct buf b = BUF_ARENA(ath_arena_of(t));
    struct json_error why;
    const struct json *all;

    (void)e;
    if (d->rc < 0)
        return d->rc;
    buf_str(&b, d->bytes);
    all = json_read(buf_view(&b), JSON_ARENA(ath_arena_of(t)), 1 << 20, &why);
    s->upload = all && all->type == JSON_ARRAY ? all->first : NULL;
    return 0;
}

static int abort_upload(ath_task *t, struct flow *f, ath_err *e)
{
    struct sweep *s = (struct sweep *)f;
    ath_s3_object o = { .size = sizeof(o), .bucket = cell(s, 0) };

    if (!s->upload)
        return FLOW_NEXT;
    o.key = json_text(json_get(s->upload, "key"));
    return backup_services.s3->abort(t, &o, json_text(json_get(s->upload, "upload_id")), flow_then,
                                     f, e);
}

static int aborted(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct sweep *s = (struct sweep *)f;

    (void)t, (void)e;
    if (d->rc < 0)
        return d->rc;
    s->upload = s->upload->next;
    return FLOW_AGAIN;
}

static int remove_key(ath_task *t, struct sweep *s, const char *suffix, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));
    ath_s3_object o = { .size = sizeof(o), .bucket = cell(s, 0) };

    buf_str(&b, cell(s, 1));
    buf_z(&b, suffix);
    o.key = buf_view(&b);
    return backup_services.s3->remove(t, &o, flow_then, &s->flow, e);
}

static int remove_object(ath_task *t, struct flow *f, ath_err *e)
{
    return remove_key(t, (struct sweep *)f, "", e);
}

static int remove_manifest(ath_task *t, struct flow *f, ath_err *e)
{
    return remove_key(t, (struct sweep *)f, MANIFEST_SUFFIX, e);
}

/* Its attempt had come as far as to record it. */
static int record_deleted(ath_task *t, struct flow *f, ath_err *e)
{
    struct sweep *s = (struct sweep *)f;
    ath_str key = cell(s, 1), id = key;
    struct record r = { .kind = "deleted",
                        .key = key,
                        .job_id = cell(s, 2),
                        .facts = ATH_S("{\"reason\":\"its job did not complete\"}") };

    if (!str_is(cell(s, 4), "t") || str_is(cell(s, 3), "t"))
        return FLOW_NEXT;
    for (size_t i = 0; i < key.n; i++)
        if (key.p[i] == '/')
            id = str_after(key, i + 1);
    id.n = str_find(id, '.');
    r.backup_id = id;
    return record_append(t, backup_services.secrets, &r, flow_then, f, e);
}

static int forget(ath_task *t, struct flow *f, ath_err *e)
{
    struct sweep *s = (struct sweep *)f;
    ath_str *param = ath_new(ath_arena_of(t), 2 * sizeof(*param));

    param[0] = cell(s, 0);
    param[1] = cell(s, 1);
    return control(t, forget_sql, param, 2, flow_then, f, e);
}

static const struct flow_step one[] = {
    { ask_uploads, took_uploads },
    { abort_upload, aborted },
    { remove_object, NULL },
    { remove_manifest, NULL },
    { record_deleted, NULL },
    { forget, NULL },
    { NULL, NULL },
};

/* ---- all of them: one that cannot be swept holds up no other ---- */

static int sweep_one(ath_task *t, void *arg, ath_err *e)
{
    struct sweep *s = arg;

    s->flow.step = one;
    return flow_run(t, &s->flow, e);
}

static int next(ath_task *t, struct sweep *s, ath_err *e);

static int swept(ath_task *t, const ath_done *d, ath_err *e)
{
    struct sweep *s = d->arg;

    if (d->rc == ATH_E_CANCELED)
        return d->rc;
    s->at++;
    return next(t, s, e);
}

static int next(ath_task *t, struct sweep *s, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = sweep_one, .arg = s };

    if (!s->rows || s->at >= ath_host_->pg->count(s->rows)) {
        ath_host_->task->done(t, NULL);
        return 0;
    }
    return ath_host_->task->fork(t, &f, swept, s, e);
}

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct sweep *s = d->arg;

    if (d->rc < 0)
        return d->rc;
    if (!ath_host_->pg->count(d->rows)) {
        ath_host_->task->done(t, NULL);
        return 0;
    }
    s->rows = ath_host_->pg->keep(t, d->rows);
    return next(t, s, e);
}

int backup_sweep(ath_job *j, ath_err *e)
{
    const struct backup_config *cfg = ath_config_of(j);
    struct sweep *s = ath_new(ath_arena_of(j), sizeof(*s));
    ath_str *param = ath_new(ath_arena_of(j), sizeof(*param));
    struct buf again = BUF_ARENA(ath_arena_of(j));
    ath_s3_config s3 = { .size = sizeof(s3) };

    if (backup_services.s3)
        backup_services.s3->config(&s3);
    if (!s3.on) {
        ath_host_->task->done(j, NULL);
        return 0;
    }
    buf_u64(&again, cfg->sweep_again_ms);
    *param = buf_view(&again);
    return control(j, look_sql, param, 1, listed, s, e);
}
