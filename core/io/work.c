/* Operations that need no partner: a pause, blocking work on libuv's pool, a private folder. */
#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/task.h"
#include "lib/text.h"

/* ---- after ---- */

struct after {
    struct deadline deadline;
    struct op *op;
};

static void after_finish(struct after *a, int rc)
{
    struct op *o = a->op;

    deadline_clear(&a->deadline);
    o->stop = NULL;
    free(a);
    op_finish(o, rc);
}

static void after_fire(struct deadline *d)
{
    after_finish(list_entry(d, struct after, deadline), 0);
}

static void after_stop(struct op *o)
{
    after_finish(o->impl, ATH_E_CANCELED);
}

int task_after(ath_task *t, uint64_t ms, ath_then *then, void *arg, ath_err *e)
{
    int rc = task_may_start(t, e);
    struct after *a;

    if (rc < 0)
        return rc;
    a = MEM_NEW(struct after);
    a->op = op_new(t, then, arg);
    a->op->impl = a;
    a->op->stop = after_stop;
    deadline_init(&a->deadline, after_fire);
    deadline_set(t->loop, &a->deadline, loop_now_ms(t->loop) + ms);
    return 0;
}

/* ---- work ---- */

struct work {
    uv_work_t w;
    struct op *op;
    ath_run *run;
    int rc;
    ath_err err;
};

static void work_run(uv_work_t *w) /* on a thread of the pool */
{
    struct work *x = w->data;

    err_reset(&x->err);
    x->rc = x->run(x->op->task, x->op->done.arg, &x->err);
}

static void work_over(uv_work_t *w, int status)
{
    struct work *x = w->data;
    struct op *o = x->op;

    o->stop = NULL;
    if (status == 0 && x->rc < 0)
        err_copy(op_err(o), &x->err);
    op_finish(o, status < 0 ? ATH_E_CANCELED : x->rc < 0 ? x->rc : 0);
    free(x);
}

static void work_stop(struct op *o)
{
    struct work *x = o->impl;

    uv_cancel((uv_req_t *)&x->w); /* unless it runs already; then its end is waited for */
}

int task_work(ath_task *t, ath_run *blocking, ath_then *then, void *arg, ath_err *e)
{
    int rc = task_may_start(t, e);
    struct work *x;

    if (rc < 0)
        return rc;
    x = MEM_NEW(struct work);
    x->op = op_new(t, then, arg);
    x->op->impl = x;
    x->op->stop = work_stop;
    x->run = blocking;
    x->w.data = x;
    uv_queue_work(&t->loop->uv, &x->w, work_run, work_over);
    return 0;
}

/* ---- the private folder ---- */

struct removal {
    uv_work_t w;
    ath_loop *loop;
    char path[];
};

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    remove(path);
    return 0;
}

static void removal_run(uv_work_t *w)
{
    struct removal *r = w->data;

    nftw(r->path, remove_entry, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static void removal_over(uv_work_t *w, int status)
{
    (void)status;
    free(w->data);
}

static void
removal_start(void *p) /* the task's arena goes: a folder may be large, so not on the loop */
{
    struct removal *r = p;

    r->w.data = r;
    uv_queue_work(&r->loop->uv, &r->w, removal_run, removal_over);
}

ath_str task_dir(ath_task *t)
{
    const char *base = getenv("TMPDIR");
    ath_str path;
    struct removal *r;

    if (t->dir.n)
        return t->dir;
    path = arena_printf(&t->arena, "%s/athena-XXXXXX", base && base[0] == '/' ? base : "/tmp");
    if (!mkdtemp((char *)(uintptr_t)path.p)) /* mode 0700 */
        return (ath_str){ "", 0 };
    r = mem_new(sizeof(*r) + path.n + 1);
    r->loop = t->loop;
    memcpy(r->path, path.p, path.n);
    arena_own(&t->arena, r, removal_start);
    return t->dir = path;
}
