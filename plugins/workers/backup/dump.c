/* pg_dump into the work folder.
 *
 *     run ---> ended well                                 done
 *      |  `--> the server wants TLS, the URI says nothing  once more with sslmode=require
 *      |  `--> an owner is no role, and it may be repaired  repaired, once more
 *      |  `--> anything else                                failed: a summary of what it said
 *      `-- every two seconds: how large the dump is, the lines so far
 *
 * Each run has a folder of its own, as pg_dump wants an empty one.
 */
#include <pthread.h>
#include <stdlib.h>

#include "backup/estimate.h"
#include "create.h"

/* ---- hosts that once asked for TLS ---- */

enum { HOSTS = 64, HOST_BYTES = 256 };

static char hosts[HOSTS][HOST_BYTES];
static size_t hosts_n;
static pthread_mutex_t hosts_lock = PTHREAD_MUTEX_INITIALIZER;

static bool host_is_known(ath_str host)
{
    bool known = false;

    pthread_mutex_lock(&hosts_lock);
    for (size_t i = 0; i < hosts_n && i < HOSTS && !known; i++)
        known = str_is(host, hosts[i]);
    pthread_mutex_unlock(&hosts_lock);
    return known;
}

static void host_remember(ath_str host)
{
    if (host.n >= HOST_BYTES || host_is_known(host))
        return;
    pthread_mutex_lock(&hosts_lock);
    snprintf(hosts[hosts_n++ % HOSTS], HOST_BYTES, "%.*s", STR_ARG(host));
    pthread_mutex_unlock(&hosts_lock);
}

/* ---- one run ---- */

static int run(ath_task *t, struct create *c, ath_err *e);

static void line(void *arg, ath_str text)
{
    struct create *c = arg;
    uint32_t before = c->said.extensions;

    dumpsaid_line(&c->said, text);
    if (text.n && c->said.extensions == before)
        journal_say(&c->journal, "info", "%.*s", STR_ARG(text));
}

static void say_failed(struct create *c, const struct buf *summary)
{
    journal_say(&c->journal, "error", "pg_dump failed: %.*s", STR_ARG(buf_view(summary)));
}

static int failed(struct create *c, const ath_done *d, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(c->job));
    ath_str shown;

    if (c->said.disk_full && workdir_is_full(&c->dir, c->dumped, e)) {
        journal_say(&c->journal, "error", "pg_dump failed: %.*s",
                    STR_ARG(ath_host_->err->get(e, "message")));
        return ATH_E_RETRY;
    }
    dumpsaid_summary(&c->said, d->status, d->signal, &b);
    say_failed(c, &b);
    shown = buf_view(&b);
    return ath_fail(e, ATH_E_RETRY, "%.*s", STR_ARG(shown));
}

static bool may_ask_for_tls(const struct create *c)
{
    return c->said.wants_ssl && !c->sslmode && !c->target.says_sslmode && !c->target.local;
}

static int repaired(ath_task *t, const ath_done *d, ath_err *e)
{
    struct create *c = d->arg;

    if (d->rc < 0)
        return d->rc;
    journal_say(&c->journal, "info", "running pg_dump again after the repair of role OID %llu",
                (unsigned long long)c->said.orphan);
    return run(t, c, e);
}

/* pg_dump has ended, and no sample is under way. */
static int judge(ath_task *t, struct create *c, const ath_done *d, ath_err *e)
{
    if (d->status == 0 && d->signal == 0) {
        ath_host_->task->done(t, NULL);
        return 0;
    }
    if (may_ask_for_tls(c)) {
        c->sslmode = "require";
        if (c->cfg->sslmode_dedup)
            host_remember(c->target.host);
        return run(t, c, e);
    }
    if (c->said.orphan && c->p->repair_roles && !c->repaired) {
        c->repaired = true;
        return repair_roles(t, c, repaired, e);
    }
    return failed(c, d, e);
}

static int measured_end(ath_task *t, const ath_done *d, ath_err *e)
{
    struct create *c = d->arg;
    ath_done ended = { .size = sizeof(ended), .status = c->rc & 0xffff, .signal = c->rc >> 16 };

    if (d->rc == 0)
        c->dumped = d->count;
    return judge(t, c, &ended, e);
}

static int over(ath_task *t, struct create *c, ath_err *e)
{
    return workdir_bytes(t, c->folder, measured_end, c, e);
}

static int ended(ath_task *t, const ath_done *d, ath_err *e)
{
    struct create *c = d->arg;

    if (d->rc < 0)
        return d->rc;
    c->rc = d->status | d->signal << 16;
    c->over = true;
    return c->sampling ? 0 : over(t, c, e);
}

/* ---- looking at it now and then ---- */

static int rest(ath_task *t, struct create *c, ath_err *e);

static int wrote(ath_task *t, const ath_done *d, ath_err *e)
{
    struct create *c = d->arg;

    c->sampling = false;
    if (d->rc == ATH_E_CANCELED || d->rc == ATH_E_LEASE)
        return d->rc;
    if (!c->over)
        return rest(t, c, e); /* what could not be written waits */
    c->resting = false;
    return over(t, c, e);
}

static int measured(ath_task *t, const ath_done *d, ath_err *e)
{
    struct create *c = d->arg;

    if (d->rc == 0)
        c->dumped = d->count;
    if (journal_stage(&c->journal, "pg_dump", estimate_dump(c->dumped, c->before), c->dumped) < 0)
        return ath_fail(e, ATH_E_LEASE, "the lease of the job was lost");
    return journal_write(t, &c->journal, wrote, c, e);
}

static int sample(ath_task *t, const ath_done *d, ath_err *e)
{
    struct create *c = d->arg;

    if (d->rc < 0)
        return d->rc;
    c->resting = !c->over;
    if (c->over)
        return 0;
    c->sampling = true;
    return workdir_bytes(t, c->folder, measured, c, e);
}

static int rest(ath_task *t, struct create *c, ath_err *e)
{
    c->resting = true;
    return ath_host_->task->after(t, SAMPLE_MS, sample, c, e);
}

/* ---- the start ---- */

static ath_str next_folder(struct create *c)
{
    struct buf b = BUF_ARENA(ath_arena_of(c->job));

    buf_printf(&b, "%.*s/dump%d", STR_ARG(c->dir.path), ++c->tries);
    return buf_view(&b);
}

static int run(ath_task *t, struct create *c, ath_err *e)
{
    ath_arena *a = ath_arena_of(c->job);
    int rc;

    c->folder = next_folder(c);
    c->said = (struct dumpsaid){ 0 };
    c->over = false;
    c->run = (struct tool_run){
        .tool = &c->tool,
        .files = &c->files,
        .line = line,
        .line_arg = c,
        .args = { "--dbname", target_conninfo(a, &c->target, ATH_S(""), c->sslmode),
                  "--format=directory", "--no-owner", "--no-acl", "--no-password", "--jobs",
                  tool_jobs(c->job), "--file", c->folder.p },
    };
    rc = tool_run(t, &c->run, ended, c, e);
    return rc < 0 || c->resting ? rc : rest(t, c, e);
}

int dump_run(ath_task *t, void *arg, ath_err *e)
{
    struct create *c = arg;

    if (c->cfg->sslmode_dedup && !c->target.says_sslmode && host_is_known(c->target.host))
        c->sslmode = "require";
    return run(t, c, e);
}
