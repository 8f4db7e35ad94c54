/* A backup: one attempt and what is left of it. */
#include "create.h"

/* ---- the row ---- */

/* The size of the newest finished one is the measure of this one (D-57). */
static const char ask_sql[] =
    "select j.secrets, (select b.size_bytes from backup_jobs b where b.client_name = j.client_name"
    " and b.status = 'completed' and b.job_type = 'backup' and b.size_bytes > 0"
    " order by b.completed_at desc, b.id desc limit 1) from backup_jobs j where j.id = $1::int8";

static int control(ath_task *t, const char *sql, const ath_str *param, uint32_t n, ath_then *then,
                   void *arg, ath_err *e)
{
    ath_stmt stmt = { .sql = sql, .param = param, .param_count = n };
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_FENCED,
                    .client = ATH_S("@control"),
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    return ath_host_->pg->query(t, &q, then, arg, e);
}

static int ask_row(ath_task *t, struct flow *f, ath_err *e)
{
    struct create *c = (struct create *)f;
    ath_str *key = ath_new(ath_arena_of(t), sizeof(*key));

    *key = ath_host_->job->key(c->job);
    return control(t, ask_sql, key, 1, flow_then, f, e);
}

static int took_row(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct create *c = (struct create *)f;
    uint64_t before = 0;

    (void)t;
    if (d->rc < 0)
        return d->rc;
    if (str_u64(ath_cell(d->rows, 0, 1), &before) && before)
        journal_say(&c->journal, "info",
                    "Using latest S3 backup size (%llu bytes) as pg_dump progress baseline",
                    (unsigned long long)before);
    else
        journal_say(&c->journal, "info",
                    "No prior S3 backup size baseline found; using fallback pg_dump estimator");
    c->before = before;
    return target_of(ath_arena_of(c->job), c->p, ath_cell(d->rows, 0, 0), &c->target, e);
}

/* ---- what it is done with ---- */

static int make_dir(ath_task *t, struct flow *f, ath_err *e)
{
    struct create *c = (struct create *)f;

    (void)t; /* the folder is the job's, which removes it last */
    return workdir_make(t, "backup", &c->dir, flow_then, f, e);
}

static int made_dir(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct create *c = (struct create *)f;

    (void)t;
    if (d->rc < 0)
        return d->rc;
    return target_sign_in(ath_arena_of(c->job), &c->target, c->dir.path, &c->files, e);
}

static int ask_server(ath_task *t, struct flow *f, ath_err *e)
{
    struct create *c = (struct create *)f;
    ath_stmt stmt = { .sql = "select current_setting('server_version_num')::int4 / 10000" };
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_READ | ATH_PG_OPERATOR,
                    .uri = c->target.uri,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    return ath_host_->pg->query(t, &q, flow_then, f, e);
}

/* One that cannot be asked is left to pg_dump, which says in its own words why. */
static int took_server(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct create *c = (struct create *)f;
    uint64_t major = 0;

    (void)t, (void)e;
    if (d->rc == ATH_E_CANCELED || d->rc == ATH_E_LEASE)
        return d->rc;
    if (d->rc == 0)
        str_u64(ath_cell(d->rows, 0, 0), &major);
    c->major = (uint32_t)major;
    return 0;
}

static int find_tool(ath_task *t, struct flow *f, ath_err *e)
{
    struct create *c = (struct create *)f;
    struct tool_want w = { .kind = TOOL_DUMP,
                           .major = c->major,
                           .because = "the server",
                           .override = c->p->pg_dump_override };

    return tool_find(t, &w, &c->tool, flow_then, f, e);
}

static int found_tool(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct create *c = (struct create *)f;

    (void)t, (void)e;
    if (d->rc == 0 && c->major)
        journal_say(&c->journal, "info", "pg_dump %.*s of %.*s for a server of version %u",
                    STR_ARG(c->tool.version), STR_ARG(c->tool.path), c->major);
    return d->rc;
}

/* ---- the halves, each with the time of an attempt ---- */

static int part(ath_task *t, struct create *c, ath_run *run, ath_err *e)
{
    ath_fork fork = {
        .size = sizeof(fork), .timeout_ms = c->p->timeout_seconds * 1000, .run = run, .arg = c
    };

    return ath_host_->task->fork(t, &fork, flow_then, &c->flow, e);
}

static int late(struct create *c, const ath_done *d, const char *what, ath_err *e)
{
    if (d->rc != ATH_E_TIMEOUT)
        return d->rc;
    journal_say(&c->journal, "error", "%s timed out after %us", what, c->p->timeout_seconds);
    return ath_fail(e, ATH_E_RETRY, "%s timed out after %us", what, c->p->timeout_seconds);
}

static int dump(ath_task *t, struct flow *f, ath_err *e)
{
    return part(t, (struct create *)f, dump_run, e);
}

static int dumped(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    (void)t;
    return late((struct create *)f, d, "pg_dump", e);
}

static int store(ath_task *t, struct flow *f, ath_err *e)
{
    return part(t, (struct create *)f, store_run, e);
}

static int stored(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct create *c = (struct create *)f;

    (void)t;
    if (d->rc == 0)
        journal_stage(&c->journal, "uploaded", c->percent = 94, c->size);
    return late(c, d, "backup upload", e);
}

static int prove(ath_task *t, struct flow *f, ath_err *e)
{
    struct create *c = (struct create *)f;

    return c->cfg->prove_after_upload ? part(t, c, prove_run, e) : FLOW_NEXT;
}

static int proven(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct create *c = (struct create *)f;

    (void)t;
    if (d->rc == 0)
        journal_say(&c->journal, "info", "what lies in the store was read back and decoded");
    return late(c, d, "the proof of the backup", e);
}

/* ---- the end of an attempt ---- */

static int settle(ath_task *t, struct flow *f, ath_err *e)
{
    static const char sql[] = "update backup_jobs set s3_bucket = $2, s3_key = $3, size_bytes ="
                              " $4::int8, updated_at = now() where id = $1::int8";
    struct create *c = (struct create *)f;
    ath_str *param = ath_new(ath_arena_of(t), 4 * sizeof(*param));
    struct buf size = BUF_ARENA(ath_arena_of(t));

    buf_u64(&size, c->size);
    param[0] = ath_host_->job->key(c->job);
    param[1] = c->bucket;
    param[2] = c->key;
    param[3] = buf_view(&size);
    return control(t, sql, param, 4, flow_then, f, e);
}

static int append(ath_task *t, struct create *c, const char *kind, ath_err *e)
{
    struct buf facts = BUF_ARENA(ath_arena_of(t));
    struct record r = { .kind = kind,
                        .backup_id = str_of(c->backup_id),
                        .key = c->key,
                        .job_id = ath_host_->job->key(c->job),
                        .flags = ATH_PG_FENCED };

    manifest_facts(&facts, &c->pack.manifest);
    r.facts = buf_view(&facts);
    return record_append(t, backup_services.secrets, &r, flow_then, &c->flow, e);
}

static int record_created(ath_task *t, struct flow *f, ath_err *e)
{
    return append(t, (struct create *)f, "created", e);
}

static int record_decoded(ath_task *t, struct flow *f, ath_err *e)
{
    struct create *c = (struct create *)f;

    return c->cfg->prove_after_upload ? append(t, c, "decoded", e) : FLOW_NEXT;
}

static int say_done(ath_task *t, struct flow *f, ath_err *e)
{
    struct create *c = (struct create *)f;

    journal_say(&c->journal, "info", "Backup completed successfully; uploaded key='%.*s'",
                STR_ARG(c->key));
    return journal_write(t, &c->journal, flow_then, f, e);
}

static const struct flow_step steps[] = {
    { ask_row, took_row },     { make_dir, made_dir }, { ask_server, took_server },
    { find_tool, found_tool }, { dump, dumped },       { store, stored },
    { prove, proven },         { settle, NULL },       { record_created, NULL },
    { record_decoded, NULL },  { say_done, NULL },     { NULL, NULL },
};

static int attempt(ath_task *t, void *arg, ath_err *e)
{
    struct create *c = arg;

    c->flow.step = steps;
    return flow_run(t, &c->flow, e);
}

/* ---- the job ---- */

ath_str create_words(struct create *c, const ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(c->job));

    buf_str(&b, ath_host_->err->get(e, "message"));
    return buf_view(&b);
}

static int over(ath_task *t, struct create *c, ath_err *e)
{
    if (c->result < 0)
        return ath_fail(e, c->result, "%.*s", STR_ARG(c->result_words));
    ath_host_->task->done(t, NULL);
    return 0;
}

static int written(ath_task *t, const ath_done *d, ath_err *e)
{
    return over(t, d->arg, e);
}

static int removed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct create *c = d->arg;

    if (journal_write(t, &c->journal, written, c, e) < 0)
        return over(t, c, e);
    return 0;
}

static int remove_dir(ath_task *t, struct create *c, ath_err *e)
{
    return workdir_remove(t, &c->dir, removed, c, e);
}

static int taken_back(ath_task *t, const ath_done *d, ath_err *e)
{
    return remove_dir(t, d->arg, e);
}

/* What is not the job's own doing: the control plane, a client that is not known here yet. */
static bool may_work_later(int rc)
{
    return rc == ATH_E_UPSTREAM || rc == ATH_E_TIMEOUT || rc == ATH_E_MISSING ||
           rc == ATH_E_CONFLICT;
}

static int ended(ath_task *t, const ath_done *d, ath_err *e)
{
    struct create *c = d->arg;

    c->result = may_work_later(d->rc) ? ATH_E_RETRY : d->rc;
    if (d->rc < 0)
        c->result_words = create_words(c, e);
    if (d->rc < 0 && c->noted && store_take_back(t, c, taken_back, c, e) == 0)
        return 0;
    return remove_dir(t, c, e);
}

static void forget(void *arg)
{
    struct create *c = arg;

    manifest_free(&c->pack.manifest);
    seal_ring_wipe(&c->ring);
}

static int check(struct create *c, ath_err *e)
{
    ath_s3_config s3 = { .size = sizeof(s3) };

    if (backup_services.s3)
        backup_services.s3->config(&s3);
    if (!s3.on)
        return ath_fail(e, ATH_E_RETRY, "S3 not configured for queued backup jobs.");
    if (!c->cfg->encryption_keys.n)
        return 0;
    return seal_ring_read(&c->ring, backup_services.secrets, c->cfg->encryption_keys,
                          "backup.encryption_keys", e);
}

int backup_create(ath_job *j, const struct backup_payload *p, ath_err *e)
{
    struct create *c = ath_new(ath_arena_of(j), sizeof(*c));
    ath_fork f = { .size = sizeof(f), .run = attempt, .arg = c };
    int rc;

    c->job = j;
    c->p = p;
    c->cfg = ath_config_of(j);
    c->dir = (struct workdir){ .arena = ath_arena_of(j), .lock = -1 };
    journal_begin(&c->journal, j);
    ath_host_->mem->own(ath_arena_of(j), c, forget);
    rc = check(c, e);
    return rc < 0 ? rc : ath_host_->task->fork(j, &f, ended, c, e);
}
