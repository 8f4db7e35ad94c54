/* Telling and hearing that there is work: NOTIFY athena_jobs, 'QUEUE', or '!QUEUE' when somebody
 * may have been canceled.
 *
 * NOTIFY takes a lock of the whole cluster at its commit, so a process says each queue at most once
 * per window, whatever is put into it; a process that runs the queue itself knows at once. What is
 * lost on the way is found by polling.
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "jobs/jobs_priv.h"
#include "log/log.h"

enum { WINDOW_MS = 20, AGAIN_MS = 1000, ANCHOR_MS = 3600 * 1000 };

static struct {
    ath_task *root; /* NULL: not begun, or over */
    bool *dirty;    /* by family: to be said */
    bool saying, window;
} wakes;

/* ---- saying ---- */

static void say_soon(void);

static int say(ath_task *t, void *arg, ath_err *e)
{
    static const uint32_t type[] = { 1009 };
    struct buf names = ARENA_BUF(&t->arena);

    (void)arg;
    buf_char(&names, '{');
    for (size_t i = 0; i < jobs.family_count; i++) {
        if (!wakes.dirty[i])
            continue;
        array_add(&names, str_of(jobs.family[i].queue->cap.name));
        wakes.dirty[i] = false;
    }
    buf_char(&names, '}');
    return jobs_ask(t,
                    "SELECT pg_catalog.pg_notify('" JOBS_CHANNEL "', n) "
                    "FROM pg_catalog.unnest($1) n",
                    (ath_str[]){ buf_view(&names) }, type, 1, jobs_done, NULL, e);
}

static int window_over(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t, (void)e;
    wakes.window = false;
    if (d->rc == 0)
        say_soon();
    return 0;
}

/* Lost words are no failure: who runs the queue polls. */
static int say_over(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)d;
    wakes.saying = false;
    wakes.window = task_after(t, WINDOW_MS, window_over, NULL, e) == 0;
    return 0;
}

static void say_soon(void)
{
    ath_err e;
    bool any = false;

    for (size_t i = 0; i < jobs.family_count; i++)
        any |= wakes.dirty[i];
    if (!any || !wakes.root || wakes.saying || wakes.window)
        return;
    err_reset(&e);
    wakes.saying = task_fork(wakes.root, &(ath_fork){ .size = sizeof(ath_fork), .run = say },
                             say_over, NULL, &e) == 0;
}

struct wish {
    char queue[64];
};

static void wanted(void *arg)
{
    struct wish *w = arg;
    struct family *f = family_find(str_of(w->queue));

    free(w);
    if (!f || !wakes.root)
        return;
    if (f->runner)
        runner_wake(f->runner);
    wakes.dirty[f - jobs.family] = true;
    say_soon();
}

void jobs_wake(const char *queue)
{
    struct wish *w;

    if (!jobs.started)
        return;
    w = MEM_NEW(struct wish);
    snprintf(w->queue, sizeof(w->queue), "%s", queue);
    loop_post(jobs.o.home, wanted, w);
}

/* ---- hearing ---- */

static int listen_again(ath_task *t, const ath_done *d, ath_err *e);

static bool has(ath_str array, const char *mark, const char *name)
{
    char text[80];

    snprintf(text, sizeof(text), "\"%s%s\"", mark, name);
    return array.n && memmem(array.p, array.n, text, strlen(text));
}

static void hear(ath_str array)
{
    bool missed = str_is(array, "[]");

    for (size_t i = 0; i < jobs.runner_count; i++) {
        struct runner *r = &jobs.runner[i];
        const char *name = r->family->queue->cap.name;
        bool canceled = missed || has(array, "!", name);

        r->renew_now |= canceled;
        r->renew_then |= canceled && r->claiming;
        if (missed || has(array, "", name))
            runner_wake(r);
        else if (r->renew_now)
            runner_pump(r);
    }
}

static int heard(ath_task *t, const ath_done *d, ath_err *e)
{
    if (jobs.stopping)
        return 0;
    if (d->rc < 0)
        return task_after(t, AGAIN_MS + rand_u64() % AGAIN_MS, listen_again, NULL, e);
    hear(d->bytes);
    return listen_again(t, d, e);
}

static int listen_again(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_stmt stmt = { .sql = JOBS_CHANNEL };
    ath_query q = { .size = sizeof(q),
                    .client = ATH_S("@control"),
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    (void)d;
    if (jobs.stopping)
        return 0;
    if (db_listen(t, &q, heard, NULL, e) == 0)
        return 0;
    return task_after(t, AGAIN_MS + rand_u64() % AGAIN_MS, listen_again, NULL, e);
}

/* ---- life ---- */

static void root_gone(void *arg)
{
    (void)arg;
    wakes.root = NULL;
}

static int anchor(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc == 0)
        return task_after(t, ANCHOR_MS, anchor, NULL, e);
    task_done(t, NULL);
    return 0;
}

static int root(ath_task *t, void *arg, ath_err *e)
{
    ath_done none = { .size = sizeof(none) };

    (void)arg;
    wakes.root = t;
    t->label = "jobs";
    arena_own(&t->arena, &wakes, root_gone);
    if (jobs.runner_count)
        listen_again(t, &none, e);
    return task_after(t, ANCHOR_MS, anchor, NULL, e);
}

void wake_start(void)
{
    wakes.dirty = mem_new(jobs.family_count + 1);
    wakes.saying = wakes.window = false;
    task_begin(NULL, jobs.o.home, &(ath_fork){ .size = sizeof(ath_fork), .run = root });
}

void wake_drain(void)
{
    ath_task *t = wakes.root;

    wakes.root = NULL;
    if (t)
        task_done(t, NULL);
}

void wake_stop(void)
{
    free(wakes.dirty);
    wakes.dirty = NULL;
}
