/* What restores and drills have in common: where it goes, what earlier attempts have left, the
 * object in a folder, a database beside the live one; and the end, whatever ended it.
 *
 * The steps run as a task below the job, which has the payload's time. The job itself has none: it
 * waits until that task's tools are gone (D-36), drops what was made and only then ends.
 */
#include "restore.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

/* ---- the control plane ---- */

int restoring_control(ath_task *t, const ath_stmt *stmt, uint32_t n, struct flow *f, ath_err *e)
{
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_FENCED,
                    .client = ATH_S("@control"),
                    .stmt = stmt,
                    .stmt_size = sizeof(*stmt),
                    .stmt_count = n };

    return ath_host_->pg->query(t, &q, flow_then, f, e);
}

int recall_ask(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    const ath_str *job = &x->spare.job;
    ath_stmt stmt[] = {
        { .sql = "select secrets from " BACKUP_TABLE " where id = $1::int8" },
        { .sql = "select name, oid, purpose, server, database from athena_backup_scratch"
                 " where job_id = $1::int8 order by made_at" },
        { .sql = "select state, server, database, name, oid, live_oid from athena_backup_kept"
                 " where job_id = $1::int8" },
    };

    for (size_t i = 0; i < ATH_COUNT(stmt); i++) {
        stmt[i].param = job;
        stmt[i].param_count = 1;
    }
    journal_say(&x->journal, "info", "%s",
                x->payload->kind == PAYLOAD_DRILL ? "Starting restore drill"
                : x->payload->undo_of             ? "Starting undo of a restore"
                                                  : "Starting restore job, downloading backup");
    return restoring_control(t, stmt, ATH_COUNT(stmt), f, e);
}

int recall_took(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    const ath_rows *rows;

    (void)t, (void)e;
    if (d->rc < 0)
        return d->rc;
    rows = ath_host_->pg->keep(x->job, d->rows);
    x->sealed = ath_cell(rows, 0, 0);
    x->left = ath_host_->pg->next(rows);
    x->kept = ath_host_->pg->next(x->left);
    return 0;
}

/* ---- where it goes ---- */

static ath_str word_of(const struct target *g, const char *key)
{
    for (uint32_t i = 0; i < g->words; i++)
        if (str_is(g->key[i], key))
            return g->value[i];
    return ATH_S("");
}

int target_take(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    ath_str database;
    int rc = x->elsewhere.n ? target_read(ath_arena_of(x->job), x->elsewhere, &x->target, e)
                            : target_of(ath_arena_of(x->job), x->payload, x->sealed, &x->target, e);

    (void)t;
    if (rc < 0)
        return rc;
    database = x->target.database.n ? x->target.database : word_of(&x->target, "user");
    if (!database.n)
        return ath_fail(e, ATH_E_INPUT, "the URI names no database");
    x->site = (struct site){ .home = x->job, .uri = x->target.uri, .database = database };
    x->spare.site = x->swap.site = &x->site;
    x->spare.sealed = x->sealed;
    x->spare.client =
        x->sealed.n || x->payload->pg_uri.n ? (ath_str){ 0 } : x->payload->client_name;
    return FLOW_NEXT;
}

int look_ask(ath_task *t, struct flow *f, ath_err *e)
{
    return site_look(t, &RESTORING(f)->site, flow_then, f, e);
}

int look_took(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    (void)t;
    return site_looked(&RESTORING(f)->site, d, e);
}

/* ---- what earlier attempts have left ---- */

/* A database that was made beside the live one and has its name now: an earlier attempt got past
 * the swap, and nobody heard of it. */
int where_ask(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    struct buf b = BUF_ARENA(ath_arena_of(t));
    ath_str *param = ath_new(ath_arena_of(t), 2 * sizeof(*param));
    ath_stmt stmt = { .sql = "select oid from pg_database where datname = $1"
                             " and oid = any ($2::oid[])",
                      .param = param,
                      .param_count = 2 };
    bool any = false;

    buf_char(&b, '{');
    for (uint32_t i = 0; i < ath_host_->pg->count(x->left); i++) {
        ath_str oid = ath_cell(x->left, i, 1);
        if (!oid.n || !str_eq(ath_cell(x->left, i, 3), x->site.server))
            continue;
        buf_printf(&b, "%s%.*s", any ? "," : "", STR_ARG(oid));
        any = true;
    }
    buf_char(&b, '}');
    param[0] = x->site.database;
    param[1] = buf_view(&b);
    return any ? site_ask(t, &x->site, ATH_S(""), &stmt, 1, 0, flow_then, f, e) : FLOW_NEXT;
}

int where_took(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct restoring *x = RESTORING(f);

    (void)t, (void)e;
    if (d->rc == 0 && ath_host_->pg->count(d->rows)) {
        x->swapped = true;
        journal_say(&x->journal, "warn",
                    "an earlier attempt has put the restored database in place already");
    }
    return d->rc;
}

int left_drop(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);

    for (; !x->swapped && x->at < ath_host_->pg->count(x->left); x->at++) {
        if (str_is(ath_cell(x->left, x->at, 2), "in_place") ||
            !str_eq(ath_cell(x->left, x->at, 3), x->site.server))
            continue;
        return spare_drop(t, &x->site, ath_cell(x->left, x->at, 0), ath_cell(x->left, x->at, 1),
                          flow_then, f, e);
    }
    return FLOW_NEXT;
}

int left_dropped(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    (void)t, (void)e;
    if (d->rc < 0)
        return d->rc;
    RESTORING(f)->at++;
    return FLOW_AGAIN;
}

int left_forget(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    const ath_str *param = (ath_str[]){ x->spare.job, x->site.server };
    ath_str *p = ath_new(ath_arena_of(t), 2 * sizeof(*p));
    ath_stmt stmt = { .sql = "delete from athena_backup_scratch where job_id = $1::int8"
                             " and server = $2",
                      .param = p,
                      .param_count = 2 };

    memcpy(p, param, 2 * sizeof(*p));
    if (x->swapped || !ath_host_->pg->count(x->left))
        return FLOW_NEXT;
    return restoring_control(t, &stmt, 1, f, e);
}

/* ---- the object ---- */

int folder_in(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    struct buf b = BUF_ARENA(ath_arena_of(x->job));

    (void)t;
    buf_printf(&b, "%.*s/archive", STR_ARG(x->dir.path));
    if (mkdir(b.p, 0700) < 0)
        return ath_fail(e, ATH_E_RETRY, "could not make folder \"%s\": %s", b.p, strerror(errno));
    x->fetch.folder = buf_view(&b);
    return FLOW_NEXT;
}

int fetch_ask(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    const struct backup_config *cfg = ath_config_of(x->job);
    int rc = seal_ring_read(&x->ring, backup_services.secrets, cfg->encryption_keys,
                            "encryption_keys", e);

    if (rc < 0)
        return rc;
    x->fetch.key = x->payload->key;
    x->fetch.ring = &x->ring;
    x->fetch.journal = &x->journal;
    (void)journal_stage(&x->journal, x->fetch.stage, x->fetch.from, 0);
    x->fetch.home = x->job;
    return fetch_run(t, &x->fetch, flow_then, f, e);
}

static uint32_t major_of(const char *version)
{
    return version ? (uint32_t)strtoul(version, NULL, 10) : 0;
}

int list_ask(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);

    (void)journal_stage(&x->journal, "checking", x->fetch.to, 0);
    x->load = (struct load){ .payload = x->payload,
                             .target = &x->target,
                             .journal = &x->journal,
                             .dir = x->dir.path,
                             .dump = x->fetch.unpack.dump,
                             .server_major = x->site.major,
                             .archive_major = major_of(x->fetch.unpack.manifest.tool_version),
                             .single = x->payload->single_transaction,
                             .from = 35,
                             .to = 85,
                             .task = x->job };
    return load_look(t, &x->load, flow_then, f, e);
}

/* ---- the database beside ---- */

static uint64_t random_bits(void)
{
    uint64_t v;

    backup_services.secrets->random(&v, sizeof(v));
    return v;
}

int spare_step_note(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);
    bool drill = x->payload->kind == PAYLOAD_DRILL;

    x->spare.name = spare_name(ath_arena_of(x->job), x->site.database, drill ? "drill" : "restore",
                               x->spare.job, random_bits());
    x->noted = true;
    return spare_note(t, &x->spare, drill ? "drill" : "restore", flow_then, f, e);
}

int spare_step_create(ath_task *t, struct flow *f, ath_err *e)
{
    return spare_create(t, &RESTORING(f)->spare, flow_then, f, e);
}

int spare_step_find(ath_task *t, struct flow *f, ath_err *e)
{
    return spare_find(t, &RESTORING(f)->spare, flow_then, f, e);
}

int spare_step_found(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    (void)t;
    return spare_found(&RESTORING(f)->spare, d, e);
}

int spare_step_oid(ath_task *t, struct flow *f, ath_err *e)
{
    return spare_note_oid(t, &RESTORING(f)->spare, flow_then, f, e);
}

int load_ask(ath_task *t, struct flow *f, ath_err *e)
{
    struct restoring *x = RESTORING(f);

    (void)journal_stage(&x->journal, "pg_restore", x->load.from, 0);
    x->load.database = x->spare.name;
    return load_run(t, &x->load, flow_then, f, e);
}

int journal_ask(ath_task *t, struct flow *f, ath_err *e)
{
    return journal_write(t, &RESTORING(f)->journal, flow_then, f, e);
}

/* Lines that could not be written are written with the next ones. */
int journal_took(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    (void)t, (void)f, (void)e;
    return d->rc == ATH_E_LEASE || d->rc == ATH_E_CANCELED ? d->rc : 0;
}

/* ---- the end ---- */

/* What may work next time, as long as the live database is untouched (D-38). */
static bool again(const struct restoring *x)
{
    return !x->load.began && !x->touched &&
           (x->rc == ATH_E_UPSTREAM || x->rc == ATH_E_TIMEOUT || x->rc == ATH_E_RETRY);
}

static int finish(ath_task *t, const ath_done *d, ath_err *e)
{
    struct restoring *x = d->arg;
    ath_done result = { .size = sizeof(result) };

    if (x->rc == 0) {
        ath_host_->task->done(t, &result);
        return 0;
    }
    return ath_fail(e, again(x) ? ATH_E_RETRY : x->rc, "%.*s", STR_ARG(x->why));
}

/* The folder goes first, off the loop: it may be large. */
static int folder_gone(ath_task *t, const ath_done *d, ath_err *e)
{
    struct restoring *x = d->arg;

    return journal_write(t, &x->journal, finish, x, e);
}

static int say_end(ath_task *t, struct restoring *x, ath_err *e)
{
    const char *what = x->payload->undo_of                 ? "Undo"
                       : x->payload->kind == PAYLOAD_PROVE ? "Proof"
                       : x->payload->kind == PAYLOAD_DRILL ? "Restore drill"
                                                           : "Restore";

    if (x->rc == 0)
        journal_say(&x->journal, "info", "%s completed successfully", what);
    else if (x->rc != ATH_E_CANCELED)
        journal_say(&x->journal, "error", "%s failed: %.*s", what, STR_ARG(x->why));
    return workdir_remove(t, &x->dir, folder_gone, x, e);
}

static int forgotten(ath_task *t, const ath_done *d, ath_err *e)
{
    return say_end(t, d->arg, e);
}

/* What could not be dropped is: by the next attempt, or by the tick. */
static int cleaned(ath_task *t, const ath_done *d, ath_err *e)
{
    struct restoring *x = d->arg;
    ath_stmt stmt = { .sql = "delete from athena_backup_scratch where name = $1",
                      .param = &x->spare.name,
                      .param_count = 1 };
    ath_query q = { .size = sizeof(q),
                    .client = ATH_S("@control"),
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    if (d->rc < 0)
        return say_end(t, x, e);
    return ath_host_->pg->query(t, &q, forgotten, x, e);
}

/* Not what one statement or answer may take, but all of it. */
static bool is_late(const struct restoring *x)
{
    uint64_t now = ath_host_->loop->now_ms(ath_host_->task->loop(x->job));

    return now - x->begun_ms >= x->payload->timeout_seconds * 1000ull;
}

static void why(struct restoring *x, int rc, const ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(x->job));

    if (rc == ATH_E_TIMEOUT && is_late(x))
        buf_printf(&b, "%s timed out after %us",
                   x->payload->kind == PAYLOAD_PROVE ? "proof" : "pg_restore",
                   x->payload->timeout_seconds);
    else
        buf_str(&b, ath_host_->err->get(e, "message"));
    x->rc = rc;
    x->why = buf_view(&b);
}

static int over(ath_task *t, const ath_done *d, ath_err *e)
{
    struct restoring *x = d->arg;

    if (d->rc < 0)
        why(x, d->rc, e);
    if (x->noted && !x->swapped && x->rc != ATH_E_LEASE)
        return spare_drop(t, &x->site, x->spare.name, x->spare.oid, cleaned, x, e);
    return say_end(t, x, e);
}

static int begin(ath_task *t, void *arg, ath_err *e)
{
    struct restoring *x = arg;

    return flow_run(t, &x->flow, e);
}

static int made(ath_task *t, const ath_done *d, ath_err *e)
{
    struct restoring *x = d->arg;
    ath_fork f = {
        .size = sizeof(f), .run = begin, .arg = x, .timeout_ms = x->payload->timeout_seconds * 1000
    };

    if (d->rc < 0)
        return d->rc;
    return ath_host_->task->fork(t, &f, over, x, e);
}

static void wipe(void *arg)
{
    seal_ring_wipe(arg);
}

int restoring_run(ath_job *j, const struct backup_payload *p, const struct flow_step *steps,
                  ath_err *e)
{
    struct restoring *x = ath_new(ath_arena_of(j), sizeof(*x));

    *x = (struct restoring){ .flow = { steps, NULL }, .job = j, .payload = p };
    x->spare.job = ath_host_->job->key(j);
    x->begun_ms = ath_host_->loop->now_ms(ath_host_->task->loop(j));
    x->fetch.stage = "downloading";
    x->fetch.from = 5;
    x->fetch.to = 30;
    journal_begin(&x->journal, j);
    ath_host_->mem->own(ath_arena_of(j), &x->ring, wipe);
    return workdir_make(j, "restore", &x->dir, made, x, e);
}
