/* athena backup ...: what the routes do, from a terminal. What is a job is waited for with --wait: its
 * events are lines, how far it is a bar, and whether it ended well is the exit status. */
#include "backup.h"

#include "command.h"

/* ---- paths and bodies ---- */

static struct buf path_of(ath_task *t, const char *more)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_lit(&b, "/admin/backups");
    buf_z(&b, more);
    return b;
}

struct buf backups_key_path(ath_task *t, ath_str key, const char *more)
{
    struct buf b = path_of(t, "/");

    admin_segment(&b, key);
    buf_z(&b, more);
    return b;
}

static struct buf id_path(ath_task *t, const char *folder, int64_t id, const char *more)
{
    struct buf b = path_of(t, folder);

    buf_i64(&b, id);
    buf_z(&b, more);
    return b;
}

static void put_filter(struct buf *path, const char *name, ath_str value)
{
    if (!value.n)
        return;
    buf_printf(path, "%s%s=", str_find(buf_view(path), '?') < path->n ? "&" : "?", name);
    admin_segment(path, value);
}

static struct buf object(ath_task *t)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_char(&b, '{');
    return b;
}

static void put_text(struct buf *b, const char *name, ath_str value)
{
    if (value.n)
        buf_json_str(b, name, value);
}

static int get(ath_task *t, struct buf *path, ath_err *e)
{
    return admin_remote(t, "GET", buf_view(path), (ath_str){ 0 }, e);
}

/* ---- asking for a job, and waiting for it ---- */

static int queued(ath_task *t, const ath_done *d, ath_err *e)
{
    struct json_error why;
    const struct json *doc, *id;

    if (d->rc < 0)
        return d->rc;
    if (d->status != 202)
        return ath_fail(e, ATH_E_UPSTREAM, "the server refused (%d): %.*s", d->status,
                        STR_ARG(d->bytes));
    doc = json_read(d->bytes, JSON_ARENA(ath_arena_of(t)), 1000, &why);
    id = json_get(json_get(doc, "data"), "job_id");
    if (!id || id->type != JSON_NUMBER)
        return ath_fail(e, ATH_E_UPSTREAM, "the server's answer has no job: %.*s",
                        STR_ARG(d->bytes));
    return admin_follow(t, ATH_S(BACKUP_QUEUE), id->text, e);
}

static int order(ath_task *t, struct buf *path, struct buf *body, bool wait, ath_err *e)
{
    static const ath_pair json = { { "content-type", 12 }, { "application/json", 16 } };
    ath_fetch f = { .size = sizeof(f), .method = "POST", .header = &json, .header_count = 1 };

    buf_char(body, '}');
    f.url = buf_view(path);
    f.body = buf_view(body);
    if (!wait)
        return admin_remote(t, "POST", f.url, f.body, e);
    return ath_host_->req->call(t, &f, queued, NULL, e);
}

/* ---- create, restore, prove, drill, undo ---- */

struct created {
    ath_str client, uri, label;
    int64_t timeout;
    int32_t repair, wait;
};

static int create_run(ath_task *t, const void *options, ath_err *e)
{
    const struct created *o = options;
    struct buf path = path_of(t, ""), body = object(t);

    put_text(&body, "client_name", o->client);
    put_text(&body, "pg_uri", o->uri);
    put_text(&body, "label", o->label);
    buf_json_int(&body, "timeout_seconds", o->timeout);
    if (o->repair)
        buf_json_str(&body, "recovery_strategy", ATH_S("repair_missing_role_oids"));
    return order(t, &path, &body, o->wait, e);
}

struct restored {
    ath_str key, client, uri;
    int64_t timeout, keep;
    int32_t in_place, single, control, wait;
};

static int restore_run(ath_task *t, const void *options, ath_err *e)
{
    const struct restored *o = options;
    struct buf path = backups_key_path(t, o->key, "/restore"), body = object(t);

    put_text(&body, "client_name", o->client);
    put_text(&body, "pg_uri", o->uri);
    buf_json_int(&body, "timeout_seconds", o->timeout);
    if (o->keep >= 0)
        buf_json_int(&body, "keep_hours", o->keep);
    buf_json_bool(&body, "in_place", o->in_place);
    buf_json_bool(&body, "single_transaction", o->single);
    buf_json_bool(&body, "allow_control_plane", o->control);
    return order(t, &path, &body, o->wait, e);
}

struct proved {
    ath_str key, client;
    int64_t timeout;
    int32_t wait;
};

static int proof(ath_task *t, const struct proved *o, const char *more, ath_err *e)
{
    struct buf path = backups_key_path(t, o->key, more), body = object(t);

    put_text(&body, "client_name", o->client);
    buf_json_int(&body, "timeout_seconds", o->timeout);
    return order(t, &path, &body, o->wait, e);
}

static int verified(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_done end = { .size = sizeof(end), .bytes = d->bytes };
    struct json_error why;
    const struct json *doc, *valid;

    if (d->rc < 0)
        return d->rc;
    if (d->status != 200)
        return ath_fail(e, ATH_E_UPSTREAM, "the server refused (%d): %.*s", d->status,
                        STR_ARG(d->bytes));
    doc = json_read(d->bytes, JSON_ARENA(ath_arena_of(t)), 1000, &why);
    valid = json_get(json_get(doc, "data"), "valid");
    end.status = valid && valid->type == JSON_TRUE ? 0 : 1;
    ath_host_->task->done(t, &end);
    return 0;
}

/* Without a key: the signed record as a whole. */
static int prove_run(ath_task *t, const void *options, ath_err *e)
{
    const struct proved *o = options;
    ath_fetch f = { .size = sizeof(f),
                    .method = "GET",
                    .url = ATH_S("/admin/backups/records/verify") };

    return o->key.n ? proof(t, o, "/prove", e) : ath_host_->req->call(t, &f, verified, NULL, e);
}

static int drill_run(ath_task *t, const void *options, ath_err *e)
{
    return proof(t, options, "/drill", e);
}

struct numbered {
    int64_t id;
    int32_t wait;
};

static int undo_run(ath_task *t, const void *options, ath_err *e)
{
    const struct numbered *o = options;
    struct buf path = id_path(t, "/kept/", o->id, "/undo"), body = object(t);

    return order(t, &path, &body, o->wait, e);
}

/* ---- looking ---- */

struct listed {
    ath_str client, cursor;
    int64_t limit;
};

static int list_run(ath_task *t, const void *options, ath_err *e)
{
    const struct listed *o = options;
    struct buf path = path_of(t, "?limit=");

    buf_i64(&path, o->limit);
    put_filter(&path, "client_name", o->client);
    put_filter(&path, "cursor", o->cursor);
    return get(t, &path, e);
}

struct jobs_listed {
    ath_str client, status, type;
    int64_t limit;
};

static int jobs_run(ath_task *t, const void *options, ath_err *e)
{
    const struct jobs_listed *o = options;
    struct buf path = path_of(t, "/jobs?limit=");

    buf_i64(&path, o->limit);
    put_filter(&path, "client_name", o->client);
    put_filter(&path, "status", o->status);
    put_filter(&path, "job_type", o->type);
    return get(t, &path, e);
}

static int show_run(ath_task *t, const void *options, ath_err *e)
{
    const struct numbered *o = options;
    struct buf path = id_path(t, "/jobs/", o->id, "");

    return get(t, &path, e);
}

struct of_client {
    ath_str client;
};

static int of_client(ath_task *t, const char *folder, const struct of_client *o, ath_err *e)
{
    struct buf path = path_of(t, folder);

    put_filter(&path, "client_name", o->client);
    return get(t, &path, e);
}

static int kept_run(ath_task *t, const void *options, ath_err *e)
{
    return of_client(t, "/kept", options, e);
}

static int retention_run(ath_task *t, const void *options, ath_err *e)
{
    return of_client(t, "/retention", options, e);
}

struct of_key {
    ath_str key;
};

static int records_run(ath_task *t, const void *options, ath_err *e)
{
    const struct of_key *o = options;
    struct buf path = path_of(t, "/records");

    put_filter(&path, "key", o->key);
    return get(t, &path, e);
}

static int schedules_run(ath_task *t, const void *options, ath_err *e)
{
    struct buf path = path_of(t, "/schedules");

    (void)options;
    return get(t, &path, e);
}

/* ---- changing ---- */

static int cancel_run(ath_task *t, const void *options, ath_err *e)
{
    const struct numbered *o = options;
    struct buf path = id_path(t, "/jobs/", o->id, "/cancel");

    return admin_remote(t, "POST", buf_view(&path), (ath_str){ 0 }, e);
}

static int delete_run(ath_task *t, const void *options, ath_err *e)
{
    const struct of_key *o = options;
    struct buf path = backups_key_path(t, o->key, "");

    return admin_remote(t, "DELETE", buf_view(&path), (ath_str){ 0 }, e);
}

struct planned {
    int64_t id;
    ath_str client, uri, frequency, time, label, pin, enabled;
    ath_str missed, overlap;
    int64_t week, month, timeout, keep;
};

static struct buf plan(ath_task *t, const struct planned *o)
{
    struct buf b = object(t);

    put_text(&b, "client_name", o->client);
    put_text(&b, "pg_uri", o->uri);
    put_text(&b, "frequency", o->frequency);
    put_text(&b, "time", o->time);
    put_text(&b, "label", o->label);
    put_text(&b, "execution_daemon_id", o->pin);
    put_text(&b, "missed_run_policy", o->missed);
    put_text(&b, "overlap_policy", o->overlap);
    if (o->keep >= 0)
        buf_json_int(&b, "retention_count", o->keep);
    if (o->week >= 0)
        buf_json_int(&b, "day_of_week", o->week);
    if (o->month >= 0)
        buf_json_int(&b, "day_of_month", o->month);
    if (o->timeout >= 0)
        buf_json_int(&b, "timeout_seconds", o->timeout);
    if (o->enabled.n)
        buf_json_bool(&b, "enabled", str_is(o->enabled, "yes"));
    buf_char(&b, '}');
    return b;
}

static int schedule_run(ath_task *t, const void *options, ath_err *e)
{
    struct buf path = path_of(t, "/schedules"), body = plan(t, options);

    return admin_remote(t, "POST", buf_view(&path), buf_view(&body), e);
}

static int reschedule_run(ath_task *t, const void *options, ath_err *e)
{
    const struct planned *o = options;
    struct buf path = id_path(t, "/schedules/", o->id, ""), body = plan(t, o);

    return admin_remote(t, "PATCH", buf_view(&path), buf_view(&body), e);
}

static int unschedule_run(ath_task *t, const void *options, ath_err *e)
{
    const struct numbered *o = options;
    struct buf path = id_path(t, "/schedules/", o->id, "");

    return admin_remote(t, "DELETE", buf_view(&path), (ath_str){ 0 }, e);
}

/* ---- options ---- */

/* clang-format off */
#define WAIT(type) ATH_BOOL(type, wait, "wait", "false", "Show what happens until the job is over; the exit status is the job's.")
#define TIMEOUT(type) ATH_INT(type, timeout, "timeout_seconds", "3600", "60..86400", "How long one attempt may take.")
#define KEY(type, def_) ATH_STR(type, key, "key", def_, NULL, "The key of the archive: see athena backup list.", .flags = ATH_CF_ARG)

static const ath_field created_fields[] = {
    ATH_STR(struct created, client, "client", "", NULL, "Of which client's database; without it --pg_uri says of which.", .flags = ATH_CF_ARG),
    ATH_STR(struct created, uri, "pg_uri", "", NULL, "The database, instead of the client's own.", .flags = ATH_CF_SECRET),
    ATH_STR(struct created, label, "label", "", NULL, "A word to know it by."),
    TIMEOUT(struct created),
    ATH_BOOL(struct created, repair, "repair_roles", "false", "Repair owners that are no roles any more in the database, if the dump fails for them."),
    WAIT(struct created),
};
static const ath_field restored_fields[] = {
    KEY(struct restored, NULL),
    ATH_STR(struct restored, client, "client", "", NULL, "Into which client's database.", .flags = ATH_CF_ARG),
    ATH_STR(struct restored, uri, "pg_uri", "", NULL, "Into this database instead.", .flags = ATH_CF_SECRET),
    TIMEOUT(struct restored),
    ATH_INT(struct restored, keep, "keep_hours", "-1", "-1..8784", "How long the replaced database is kept; -1: as the server is configured."),
    ATH_BOOL(struct restored, in_place, "in_place", "false", "Into the live database itself, without a new one that is checked first."),
    ATH_BOOL(struct restored, single, "single_transaction", "false", "All of it or nothing."),
    ATH_BOOL(struct restored, control, "allow_control_plane", "false", "Even if the control plane or the keys lie there."),
    WAIT(struct restored),
};
#define PROVED(def_) \
    KEY(struct proved, def_), \
    ATH_STR(struct proved, client, "client", "", NULL, "Whose it is, where no job says so."), \
    TIMEOUT(struct proved), \
    WAIT(struct proved)
static const ath_field proved_fields[] = { PROVED("") };
static const ath_field drilled_fields[] = { PROVED(NULL) };
#define ID(type, help_) ATH_INT(type, id, "id", NULL, "1..", help_, .flags = ATH_CF_ARG)
static const ath_field undo_fields[] = { ID(struct numbered, "See athena backup kept."), WAIT(struct numbered) };
static const ath_field job_fields[] = { ID(struct numbered, "The job: see athena backup jobs.") };
static const ath_field schedule_fields[] = { ID(struct numbered, "The schedule: see athena backup schedules.") };
static const ath_field listed_fields[] = {
    ATH_STR(struct listed, client, "client", "", NULL, "Of this client; empty: of all.", .flags = ATH_CF_ARG),
    ATH_STR(struct listed, cursor, "cursor", "", NULL, "Those behind this place: the \"next_cursor\" of the page before."),
    ATH_INT(struct listed, limit, "limit", "10", "1..10", "So many at most."),
};
static const ath_field jobs_fields[] = {
    ATH_STR(struct jobs_listed, client, "client", "", NULL, "Of this client; empty: of all.", .flags = ATH_CF_ARG),
    ATH_STR(struct jobs_listed, status, "status", "", NULL, "pending, running, completed, failed or cancelled; empty: all."),
    ATH_STR(struct jobs_listed, type, "type", "", NULL, "backup, restore, prove or drill; empty: all."),
    ATH_INT(struct jobs_listed, limit, "limit", "50", "1..500", "So many at most."),
};
static const ath_field kept_fields[] = {
    ATH_STR(struct of_client, client, "client", "", NULL, "Of this client; empty: of all.", .flags = ATH_CF_ARG),
};
static const ath_field records_fields[] = { KEY(struct of_key, "") };
static const ath_field delete_fields[] = { KEY(struct of_key, NULL) };
#define PLAN \
    ATH_STR(struct planned, time, "time", "", NULL, "When, as HH:MM in UTC."), \
    ATH_STR(struct planned, label, "label", "", NULL, "A word to know its backups by."), \
    ATH_STR(struct planned, pin, "daemon", "", NULL, "The daemon that alone may run it."), \
    ATH_INT(struct planned, week, "day_of_week", "-1", "-1..6", "Of a weekly one: 0 is Sunday; -1: not said."), \
    ATH_INT(struct planned, month, "day_of_month", "-1", "-1..28", "Of a monthly one; -1: not said."), \
    ATH_STR(struct planned, missed, "missed", "", "|once|skip|all", "What becomes of runs that were missed."), \
    ATH_STR(struct planned, overlap, "overlap", "", "|skip|allow", "What becomes of a run while the last one still goes on."), \
    ATH_INT(struct planned, keep, "retention_count", "-1", "-1..100000", "So many of its backups are kept; 0: all; -1: not said."), \
    ATH_INT(struct planned, timeout, "timeout_seconds", "-1", "-1..86400", "How long one attempt may take; -1: not said.")
static const ath_field plan_fields[] = {
    ATH_STR(struct planned, client, "client", NULL, NULL, "Of which client's database.", .flags = ATH_CF_ARG),
    ATH_STR(struct planned, frequency, "frequency", NULL, "hourly|daily|weekly|monthly", "How often.", .flags = ATH_CF_ARG),
    ATH_STR(struct planned, uri, "pg_uri", "", NULL, "The database, instead of the client's own.", .flags = ATH_CF_SECRET),
    PLAN,
};
static const ath_field replan_fields[] = {
    ID(struct planned, "The schedule: see athena backup schedules."),
    ATH_STR(struct planned, frequency, "frequency", "", "|hourly|daily|weekly|monthly", "How often; empty: as it was."),
    ATH_STR(struct planned, enabled, "enabled", "", "|yes|no", "Whether it runs; empty: as it was."),
    PLAN,
};

#define COMMAND(member_, name_, summary_, run_, fields_, type_, ...) \
    const ath_command member_ = { ATH_CAP(ath_command, ATH_CAP_COMMAND, name_), .summary = (summary_), .run = (run_), \
                                  ATH_ARRAY(field, fields_), .options_size = sizeof(type_), __VA_ARGS__ }
#define PLAN_TABLE(rows_) .rows = (rows_), \
    .columns = "id,client_name,frequency,cron_expression,next_run_at,last_run_at,last_job_id,enabled,execution_daemon_id,label"

#define JOB_TABLE .rows = "data job", .columns = "job_id,status;" ADMIN_FOLLOWED_COLUMNS

COMMAND(backup_create_command, "backup create", "Back up a client's database", create_run, created_fields, struct created, JOB_TABLE);
COMMAND(backup_restore_command, "backup restore", "Restore an archive into a client's database", restore_run, restored_fields, struct restored, JOB_TABLE);
COMMAND(backup_prove_command, "backup prove", "Read and check a whole archive; without a key, verify the signed record", prove_run, proved_fields, struct proved, JOB_TABLE);
COMMAND(backup_drill_command, "backup drill", "Restore an archive into a scratch database and compare", drill_run, drilled_fields, struct proved, JOB_TABLE);
COMMAND(backup_undo_command, "backup undo", "Put a replaced database back", undo_run, undo_fields, struct numbered, JOB_TABLE);
COMMAND(backup_list_command, "backup list", "The archives, the newest first", list_run, listed_fields, struct listed,
        .rows = "data.backups", .columns = "job_id,client_name,completed_at,size_bytes,label,s3_key");
COMMAND(backup_jobs_command, "backup jobs", "Jobs of backups and restores, the newest first", jobs_run, jobs_fields, struct jobs_listed,
        .rows = "data.jobs", .columns = "id,job_type,client_name,status,progress_pct,progress_stage,started_at,completed_at,error_message");
COMMAND(backup_show_command, "backup show", "One job, with its log lines", show_run, job_fields, struct numbered,
        .rows = "data.job data.logs", .columns = "id,job_type,client_name,status,progress_pct,progress_stage,size_bytes,s3_key,error_message;created_at,level,message");
COMMAND(backup_kept_command, "backup kept", "Databases that restores have replaced", kept_run, kept_fields, struct of_client,
        .rows = "data.kept", .columns = "id,job_id,client_name,database,name,size_bytes,made_at,keep_until");
COMMAND(backup_retention_command, "backup retention", "What the rules of keeping would remove now", retention_run, kept_fields, struct of_client,
        .rows = "data.backups", .columns = "job_id,client_name,completed_at,proven,kept,why,s3_key");
COMMAND(backup_records_command, "backup records", "The signed record of what was done with backups", records_run, records_fields, struct of_key,
        .rows = "data.records", .columns = "seq,at,kind,job_id,key,facts");
COMMAND(backup_cancel_command, "backup cancel", "Cancel a job, waiting or running", cancel_run, job_fields, struct numbered);
COMMAND(backup_delete_command, "backup delete", "Delete an archive", delete_run, delete_fields, struct of_key);
COMMAND(backup_schedule_command, "backup schedule", "Back up a client's database regularly", schedule_run, plan_fields, struct planned, PLAN_TABLE("data.schedule"));
COMMAND(backup_reschedule_command, "backup reschedule", "Change a schedule", reschedule_run, replan_fields, struct planned, PLAN_TABLE("data.schedule"));
COMMAND(backup_unschedule_command, "backup unschedule", "End a schedule", unschedule_run, schedule_fields, struct numbered);

const ath_command backup_schedules_command = {
    ATH_CAP(ath_command, ATH_CAP_COMMAND, "backup schedules"), .summary = "Schedules of backups", .run = schedules_run, PLAN_TABLE("data.schedules")
};
/* clang-format on */
