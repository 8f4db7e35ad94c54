/* Leases: one statement renews all of a runner's, at a third of their time and whenever somebody
 * may have canceled one; and what was said of progress is written under them.
 *
 * A job that ended while its row is not written yet still holds its lease. What the statement does
 * not bring back is lost. Without an answer they last as long as the last renewal said, counted
 * from before it was asked for.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "jobs/jobs_priv.h"

enum { PROGRESS_MS = 250 };

static void lost(struct job *j)
{
    atomic_store(&j->until_ns, 0);
    job_fate(j, FATE_LOST);
}

void lease_look(struct runner *r)
{
    uint64_t now = clock_ns();

    list_each (node, next, &r->running) {
        struct job *j = list_entry(node, struct job, node);
        if (atomic_load(&j->until_ns) <= now)
            lost(j);
    }
}

/* ---- renewal ---- */

static void add_all(struct list *in, struct buf *keys, struct buf *tokens)
{
    list_each (node, next, in) {
        struct job *j = list_entry(node, struct job, node);
        if (atomic_load(&j->fate) == FATE_LOST)
            continue;
        j->asked = true;
        array_add(keys, j->key);
        array_add(tokens, j->token);
    }
}

static void held(struct runner *r, struct job *j, bool canceled)
{
    j->asked = false;
    atomic_store(&j->until_ns, r->renew_asked_ns + r->pace.lease_ms * 1000000u);
    if (canceled)
        job_fate(j, FATE_CANCELED);
}

static void lose_asked(struct list *in)
{
    list_each (node, next, in) {
        struct job *j = list_entry(node, struct job, node);
        if (j->asked)
            lost(j);
        j->asked = false;
    }
}

static void forget_asked(struct list *in)
{
    list_each (node, next, in)
        list_entry(node, struct job, node)->asked = false;
}

static int renewed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct runner *r = d->arg;

    (void)e;
    if (d->rc < 0)
        return d->rc;
    for (uint32_t i = 0; i < db_rows_count(d->rows); i++) {
        ath_str key = db_rows_text(d->rows, i, 0);
        struct job *j = job_find(&r->running, key);
        if (!j)
            j = job_find(&r->ended, key);
        if (j)
            held(r, j, str_is(db_rows_text(d->rows, i, 1), "t"));
    }
    lose_asked(&r->running);
    task_done(t, NULL);
    return 0;
}

static int renew(ath_task *t, void *arg, ath_err *e)
{
    static const uint32_t type[] = { 20, 0, 0 };
    struct runner *r = arg;
    struct buf keys = ARENA_BUF(&t->arena), tokens = ARENA_BUF(&t->arena);

    buf_char(&keys, '{');
    buf_char(&tokens, '{');
    forget_asked(&r->ended);
    add_all(&r->running, &keys, &tokens);
    add_all(&r->ended, &keys, &tokens);
    buf_char(&keys, '}');
    buf_char(&tokens, '}');
    r->renew_asked_ns = clock_ns();
    FAULT("jobs.renew");
    return jobs_ask(
        t, atomic_load(&r->family->sql)->renew,
        (ath_str[]){ arena_printf(&t->arena, "%llu", (unsigned long long)r->pace.lease_ms),
                     buf_view(&keys), buf_view(&tokens) },
        type, ATH_COUNT(type), renewed, r, e);
}

static int renew_over(ath_task *t, const ath_done *d, ath_err *e)
{
    struct runner *r = d->arg;

    (void)t;
    r->renewing = false;
    forget_asked(&r->running);
    if (d->rc < 0) {
        r->renew_at_ms = runner_now(r) + 1000;
        runner_failed(r, "leases cannot be renewed", e);
    } else {
        runner_works(r);
    }
    runner_pump(r);
    return 0;
}

int renew_begin(struct runner *r, ath_err *e)
{
    return task_fork(r->root, &(ath_fork){ .size = sizeof(ath_fork), .run = renew, .arg = r },
                     renew_over, r, e);
}

/* ---- progress ---- */

/* What is taken here and refused there is gone: the next word will do. */
static int note(ath_task *t, void *arg, ath_err *e)
{
    static const uint32_t type[] = { 0, 0, 1009 };
    struct runner *r = arg;
    struct buf keys = ARENA_BUF(&t->arena), tokens = ARENA_BUF(&t->arena),
               texts = ARENA_BUF(&t->arena);

    buf_char(&keys, '{');
    buf_char(&tokens, '{');
    buf_char(&texts, '{');
    list_each (node, next, &r->running) {
        struct job *j = list_entry(node, struct job, node);
        if (!j->progress)
            continue;
        array_add(&keys, j->key);
        array_add(&tokens, j->token);
        array_add(&texts, str_of(j->progress));
        event_put(r, j, "info", "progress", str_of(j->progress));
        free(j->progress);
        j->progress = NULL;
    }
    buf_char(&keys, '}');
    buf_char(&tokens, '}');
    buf_char(&texts, '}');
    return jobs_ask(t, atomic_load(&r->family->sql)->progress,
                    (ath_str[]){ buf_view(&keys), buf_view(&tokens), buf_view(&texts) }, type,
                    ATH_COUNT(type), jobs_done, r, e);
}

static int note_over(ath_task *t, const ath_done *d, ath_err *e)
{
    struct runner *r = d->arg;

    (void)t;
    r->progressing = false;
    r->progress_at_ms = runner_now(r) + PROGRESS_MS;
    if (d->rc < 0)
        runner_failed(r, "the progress of jobs cannot be written", e);
    runner_pump(r);
    return 0;
}

int progress_begin(struct runner *r, ath_err *e)
{
    return task_fork(r->root, &(ath_fork){ .size = sizeof(ath_fork), .run = note, .arg = r },
                     note_over, r, e);
}
