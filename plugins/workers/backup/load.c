/* pg_restore, twice: once to say what it reads in the archive, which touches no database, and once
 * to restore. The first error that is not harmless ends the run (D-38, D-49): what comes after it
 * would only hide it. */
#include "restore.h"

#include <stdio.h>

#define IGNORED "errors ignored on restore: "

static void keep_line(struct load *l, ath_str text)
{
    if (l->said.n > 2 * LOAD_SAID) {
        ath_str end = journal_tail(buf_view(&l->said), LOAD_SAID);
        memmove(l->said.p, end.p, end.n);
        buf_end(&l->said, l->said.p + end.n);
    }
    buf_str(&l->said, journal_tail(text, LOAD_SAID));
    buf_char(&l->said, '\n');
}

static ath_str words(const struct load *l)
{
    return str_trim(journal_tail(buf_view(&l->said), LOAD_SAID));
}

static int exited(const struct load *l, const ath_done *d, ath_err *e)
{
    if (d->signal)
        return ath_fail(e, ATH_E_UPSTREAM, "pg_restore was ended by signal %d", (int)d->signal);
    return ath_fail(e, ATH_E_UPSTREAM, "pg_restore exited with exit code %d. stderr: %.*s",
                    (int)d->status, STR_ARG(words(l)));
}

/* ---- what it reads ---- */

struct looking {
    struct flow flow;
    struct load *l;
};

#define LOAD(flow) (((struct looking *)(flow))->l)

static int find_tool(ath_task *t, struct flow *f, ath_err *e)
{
    struct load *l = LOAD(f);
    bool archive = l->archive_major > l->server_major;
    struct tool_want w = { .kind = TOOL_RESTORE,
                           .major = archive ? l->archive_major : l->server_major,
                           .because = archive ? "the archive" : "the server",
                           .override = l->payload->pg_restore_override };

    return tool_find(t, &w, &l->tool, flow_then, f, e);
}

static ath_str copy(ath_arena *a, ath_str s)
{
    struct buf b = BUF_ARENA(a);

    buf_str(&b, s);
    return buf_view(&b);
}

/* The tool is run again by another task. */
static int found_tool(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct load *l = LOAD(f);

    (void)t, (void)e;
    if (d->rc < 0)
        return d->rc;
    l->tool.path = copy(ath_arena_of(l->task), l->tool.path);
    l->tool.version = copy(ath_arena_of(l->task), l->tool.version);
    return 0;
}

static void list_line(void *arg, ath_str text)
{
    struct load *l = arg;

    listing_line(&l->listing, text);
    if (listing_said(text) == SAID_ERROR)
        keep_line(l, text);
}

static int run_tool(ath_task *t, struct load *l, void (*line)(void *, ath_str), struct flow *f,
                    ath_err *e)
{
    l->run.tool = &l->tool;
    l->run.files = &l->files;
    l->run.line = line;
    l->run.line_arg = l;
    return tool_run(t, &l->run, flow_then, f, e);
}

static int list(ath_task *t, struct flow *f, ath_err *e)
{
    struct load *l = LOAD(f);
    int rc = target_sign_in(ath_arena_of(l->task), l->target, l->dir, &l->files, e);

    if (rc < 0)
        return rc;
    l->run = (struct tool_run){ .args = { "--list", "--format=directory", l->dump } };
    return run_tool(t, l, list_line, f, e);
}

static int listed(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct load *l = LOAD(f);

    (void)t;
    if (d->rc < 0)
        return d->rc;
    if (d->status || d->signal) {
        (void)exited(l, d, e);
        return ath_fail(e, ATH_E_INPUT, "pg_restore %.*s cannot read the archive: %.*s",
                        STR_ARG(l->tool.version), STR_ARG(words(l)));
    }
    if (l->listing.from_major > l->server_major)
        return ath_fail(
            e, ATH_E_INPUT,
            "the archive is of PostgreSQL %u and the server is PostgreSQL %u: what a newer "
            "version dumps an older one may not take",
            l->listing.from_major, l->server_major);
    return 0;
}

static const struct flow_step look_steps[] = {
    { find_tool, found_tool },
    { list, listed },
    { NULL, NULL },
};

static int look_begin(ath_task *t, void *arg, ath_err *e)
{
    struct looking *x = ath_new(ath_arena_of(t), sizeof(*x));

    *x = (struct looking){ .flow = { look_steps, NULL }, .l = arg };
    return flow_run(t, &x->flow, e);
}

int load_look(ath_task *t, struct load *l, ath_then *then, void *arg, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = look_begin, .arg = l };

    return ath_host_->task->fork(t, &f, then, arg, e);
}

/* ---- the run ---- */

static void tell(struct load *l)
{
    int pct = l->listing.loads
                  ? l->from + (int)((int64_t)(l->to - l->from) * l->loaded / l->listing.loads)
                  : l->from;

    if (pct != l->percent && pct <= l->to)
        (void)journal_stage(l->journal, "pg_restore", l->percent = pct, 0);
}

static uint32_t number_behind(ath_str line, const char *words_before)
{
    const char *at = memmem(line.p, line.n, words_before, strlen(words_before));
    uint64_t n = 0;

    if (at)
        (void)str_u64(str_trim(str_from(at + strlen(words_before),
                                        (size_t)(line.p + line.n - at) - strlen(words_before))),
                      &n);
    return (uint32_t)n;
}

static void load_line(void *arg, ath_str text)
{
    struct load *l = arg;
    uint32_t ignored = number_behind(text, IGNORED);

    if (ignored)
        l->ignored = ignored;
    switch (listing_said(text)) {
    case SAID_LOADING:
        l->loaded++;
        tell(l);
        return;
    case SAID_HARMLESS:
        l->harmless++;
        return;
    case SAID_ERROR:
        keep_line(l, text);
        if (!l->failed)
            ath_host_->task->cancel(l->run_task);
        l->failed = true;
        return;
    case SAID_NOISE:
        if (l->failed)
            keep_line(l, text);
        return;
    }
}

static int restore(ath_task *t, struct flow *f, ath_err *e)
{
    struct load *l = LOAD(f);
    ath_arena *a = ath_arena_of(l->task);
    struct buf jobs = BUF_ARENA(a);
    uint32_t n = 0;
    const char **to = l->run.args;

    l->run = (struct tool_run){ 0 };
    buf_printf(&jobs, "--jobs=%s", tool_jobs(t));
    to[n++] = "--dbname";
    to[n++] = target_conninfo(a, l->target, l->database, NULL);
    to[n++] = "--format=directory";
    to[n++] = "--no-owner";
    to[n++] = "--no-acl";
    to[n++] = "--no-password";
    to[n++] = "--verbose";
    if (l->clean) {
        to[n++] = "--clean";
        to[n++] = "--if-exists";
    }
    to[n++] = l->single ? "--single-transaction" : jobs.p;
    to[n++] = l->dump;
    l->run_task = t;
    l->began = true;
    return run_tool(t, l, load_line, f, e);
}

static int restored(ath_task *t, struct flow *f, const ath_done *d, ath_err *e)
{
    struct load *l = LOAD(f);
    bool well = d->status == 0 || (d->status == 1 && l->harmless && l->ignored == l->harmless);

    (void)t;
    if (d->rc < 0)
        return d->rc;
    return well && !d->signal ? 0 : exited(l, d, e);
}

static const struct flow_step run_steps[] = {
    { restore, restored },
    { NULL, NULL },
};

static int run_begin(ath_task *t, void *arg, ath_err *e)
{
    struct looking *x = ath_new(ath_arena_of(t), sizeof(*x));

    *x = (struct looking){ .flow = { run_steps, NULL }, .l = arg };
    return flow_run(t, &x->flow, e);
}

struct running {
    struct load *l;
    ath_then *then;
    void *arg;
};

/* A run that was stopped for its first error is not one that somebody canceled. */
static int run_over(ath_task *t, const ath_done *d, ath_err *e)
{
    struct running *r = d->arg;
    struct load *l = r->l;
    ath_done mine = *d;

    mine.arg = r->arg;
    if (l->failed)
        mine.rc = ath_fail(e, ATH_E_INPUT, "pg_restore exited with exit code 1. stderr: %.*s",
                           STR_ARG(words(l)));
    else if (d->rc == 0 && l->harmless)
        journal_say(l->journal, "warn", "%u harmless errors of pg_restore were passed over",
                    l->harmless);
    return r->then(t, &mine, e);
}

int load_run(ath_task *t, struct load *l, ath_then *then, void *arg, ath_err *e)
{
    struct running *r = ath_new(ath_arena_of(t), sizeof(*r));
    ath_fork f = { .size = sizeof(f), .run = run_begin, .arg = l };

    *r = (struct running){ l, then, arg };
    l->said = BUF_ARENA(ath_arena_of(l->task));
    return ath_host_->task->fork(t, &f, run_over, r, e);
}
