/* job_type drill: a backup is restored into a scratch database, which is dumped again; what that
 * dump holds, table by table, rows and digests, must be what the archive holds. The same code
 * counts both, so nothing has to be asked of the source. How long the restore took is part of the
 * record.
 */
#include "restore.h"

#include <sys/stat.h>

#include "lib/json.h"

struct drill {
    struct tool tool;
    struct tool_run run;
    struct archive_pack pack;
    char *folder;
    uint64_t restored_ms;
};

/* The part of a drill that restores have no place for, made at the first use. */
static struct drill *drill_of(struct restoring *x)
{
    if (!x->drill)
        x->drill = ath_new(ath_arena_of(x->job), sizeof(*x->drill));
    return x->drill;
}

static uint64_t now_ms(const struct restoring *x)
{
    return ath_host_->loop->now_ms(ath_host_->task->loop(x->job));
}

static int prepare(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    const struct backup_config *cfg = ath_config_of(x->job);

    (void)t, (void)e;
    x->fetch.rows = true;
    if (cfg->drill_uri.n)
        x->elsewhere = cfg->drill_uri;
    return FLOW_NEXT;
}

/* ---- the second dump ---- */

static int dumper_find(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    struct tool_want w = { .kind = TOOL_DUMP,
                           .major = x->site.major,
                           .because = "the server",
                           .override = x->payload->pg_dump_override };

    drill_of(x)->restored_ms = now_ms(x) - x->begun_ms;
    return tool_find(t, &w, &drill_of(x)->tool, flow_then, f, e);
}

static void dump_line(void *arg, ath_str text)
{
    struct restoring *x = arg;

    if (listing_said(text) == SAID_ERROR)
        journal_say(&x->journal, "error", "%.*s", STR_ARG(text));
}

static int dump(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    struct drill *d = drill_of(x);
    ath_arena *a = ath_arena_of(x->job);
    struct buf folder = BUF_ARENA(a), jobs = BUF_ARENA(a);

    (void)journal_stage(&x->journal, "comparing", 88, 0);
    buf_printf(&folder, "%.*s/again", STR_ARG(x->dir.path));
    buf_printf(&jobs, "--jobs=%s", tool_jobs(t));
    d->folder = folder.p;
    d->run =
        (struct tool_run){ .tool = &d->tool,
                           .files = &x->load.files,
                           .args = { "--dbname",
                                     target_conninfo(a, &x->target, x->spare.name, NULL),
                                     "--format=directory", "--no-owner", "--no-acl",
                                     "--no-password", "--compress=1", jobs.p, "--file", d->folder },
                           .line = dump_line,
                           .line_arg = x };
    return tool_run(t, &d->run, flow_then, f, e);
}

static int dumped(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    (void)t, (void)f;
    if (d->rc < 0)
        return d->rc;
    if (d->status == 0 && !d->signal)
        return 0;
    return ath_fail(e, ATH_E_UPSTREAM, "pg_dump of the scratch database exited with code %d",
                    (int)d->status);
}

static void forget(void *arg)
{
    struct drill *d = arg;

    manifest_free(&d->pack.manifest);
}

static int count(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    struct drill *d = drill_of(x);

    d->pack = (struct archive_pack){ .folder = str_of(d->folder), .rows = true };
    ath_host_->mem->own(ath_arena_of(x->job), d, forget);
    return archive_count(t, &d->pack, flow_then, f, e);
}

static int counted(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct restoring *x = RESTORING(f);

    (void)t;
    if (d->rc < 0)
        return d->rc;
    return manifest_compare_tables(&drill_of(x)->pack.manifest, &x->fetch.unpack.manifest, e);
}

/* ---- the end ---- */

static int drop(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);

    return spare_drop(t, &x->site, x->spare.name, x->spare.oid, flow_then, f, e);
}

static int forget_note(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    ath_stmt stmt = { .sql = "delete from athena_backup_scratch where name = $1",
                      .param = &x->spare.name,
                      .param_count = 1 };

    x->noted = false;
    return restoring_control(t, &stmt, 1, f, e);
}

static int record(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    struct buf b = BUF_ARENA(ath_arena_of(t));
    struct record r = { .kind = "drilled",
                        .backup_id = record_backup_id(x->payload->key),
                        .key = x->payload->key,
                        .job_id = x->spare.job,
                        .flags = ATH_PG_FENCED };

    buf_char(&b, '{');
    buf_json_str(&b, "client", x->payload->client_name);
    buf_json_int(&b, "server_major", x->site.major);
    buf_json_int(&b, "restore_ms", (int64_t)drill_of(x)->restored_ms);
    buf_json_int(&b, "milliseconds", (int64_t)(now_ms(x) - x->begun_ms));
    buf_json_key(&b, "restored");
    manifest_facts(&b, &drill_of(x)->pack.manifest);
    buf_char(&b, '}');
    r.facts = buf_view(&b);
    return record_append(t, backup_services.secrets, &r, flow_then, f, e);
}

static const struct flow_step steps[] = {
    STEP_RECALL,        { prepare, NULL },     STEP_TARGET,
    STEP_LOOK,          STEP_DROP_LEFT,        STEP_FETCH,
    STEP_LIST,          STEP_JOURNAL,          STEP_SPARE,
    STEP_LOAD,          { dumper_find, NULL }, { dump, dumped },
    { count, counted }, { drop, NULL },        { forget_note, NULL },
    { record, NULL },   { NULL, NULL },
};

int backup_drill(ath_job *j, const struct backup_payload *p, ath_err *e)
{
    return restoring_run(j, p, steps, e);
}
