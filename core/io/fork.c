/* Tasks that start tasks: fork on the same loop, fork on another loop, begin.
 *
 * A fork on the same loop is a child. It reports when its last reference goes, so when all it
 * started has ended; what it was done with then moves to the parent together with its arena.
 *
 * A fork on another loop has no parent there, for tasks are touched by their own loop alone. Two
 * halves talk by posting: the near one is an operation of the parent, the far one a task of the
 * other loop. The near half is finished by the last thing that the far task does.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "log/log.h"
#include "io/stream.h"
#include "io/io_priv.h"

/* ---- fork on the parent's loop ---- */

struct fork {
    ath_task task;
    ath_run *run;
    void *arg;
    ath_done result;
    ath_err err;
    bool running; /* holds the task's own reference */
};

static struct fork *fork_of(ath_task *t)
{
    return list_entry(t, struct fork, task);
}

static void fork_let_go(struct fork *f)
{
    if (!f->running)
        return;
    f->running = false;
    task_unref(&f->task);
}

static void fork_end(ath_task *t, int rc, const ath_err *e, const ath_done *result)
{
    struct fork *f = fork_of(t);

    if (result) {
        f->result = *result;
        f->result.bytes = arena_str(&t->arena, result->bytes);
        if (result->stream && t->report)
            stream_move(result->stream, t->report->task);
    }
    f->result.rc = rc;
    if (e)
        err_copy(&f->err, e);
    fork_let_go(f);
}

static void fork_destroy(ath_task *t)
{
    free(fork_of(t));
}

/* By the parent: canceling reaches children by itself, so only leaving is left to do. */
static void fork_stop(struct op *o)
{
    struct fork *f = o->impl;

    if (f->task.gone)
        fork_let_go(f);
}

static void fork_release(struct op *o)
{
    struct fork *f = o->impl;
    const ath_done *d = &f->result;

    if (d->rows || d->session || d->header)
        arena_join(&o->task->arena, &f->task.arena);
    task_unref(&f->task);
}

static void fork_report(ath_task *t)
{
    struct fork *f = fork_of(t);
    struct op *o = t->report;
    void *arg = o->done.arg;
    int rc = t->gone ? ATH_E_CANCELED : f->result.rc;

    t->report = NULL;
    task_ref(t); /* the report's, until it was delivered */
    o->done = f->result;
    o->done.size = sizeof(o->done);
    o->done.arg = arg;
    o->stop = NULL;
    o->release = fork_release;
    if (f->err.rc < 0)
        err_copy(op_err(o), &f->err);
    op_finish(o, rc);
}

static const struct task_type fork_type = {
    .name = "fork", .end = fork_end, .destroy = fork_destroy, .report = fork_report,
};

/* The first step runs later, like everything that a call starts. */
static int run_first(ath_task *t, const ath_done *d, ath_err *e)
{
    struct fork *f = d->arg;

    return d->rc < 0 ? d->rc : f->run(t, f->arg, e);
}

static int fork_here(ath_task *t, const ath_fork *spec, ath_then *then, void *arg)
{
    struct fork *f = MEM_NEW(struct fork);
    struct op *report = op_new(t, then, arg);

    f->run = spec->run;
    f->arg = spec->arg;
    f->running = true;
    err_reset(&f->err);
    task_init(&f->task, &fork_type, NULL, t->self, t);
    f->task.report = report;
    report->impl = f;
    report->stop = fork_stop;
    if (spec->timeout_ms)
        task_deadline(&f->task, loop_now_ms(t->loop) + spec->timeout_ms);
    op_finish(op_new(&f->task, run_first, f), 0);
    return 0;
}

/* ---- fork on another loop ---- */

struct spread {
    atomic_uint refs; /* the near half, and words on their way to the far half */
    struct op *near;  /* the parent's loop alone */
    ath_loop *home;
    ath_task task; /* the other loop alone, like all below until it is over */
    ath_run *run;
    void *arg;
    uint64_t timeout_ms;
    const void *configs;
    struct db_client *client;
    const char *label;
    ath_self *self;
    ath_loop *away;
    ath_done result;
    ath_arena bytes;
    ath_err err;
    bool running;
};

static struct spread *spread_of(ath_task *t)
{
    return list_entry(t, struct spread, task);
}

static void spread_unref(struct spread *s)
{
    if (atomic_fetch_sub(&s->refs, 1) > 1)
        return;
    arena_free(&s->bytes);
    free(s);
}

static void spread_let_go(struct spread *s)
{
    if (!s->running)
        return;
    s->running = false;
    task_unref(&s->task);
}

static void spread_end(ath_task *t, int rc, const ath_err *e, const ath_done *result)
{
    struct spread *s = spread_of(t);

    s->result.rc = rc;
    if (e)
        err_copy(&s->err, e);
    if (result) {
        s->result.bytes = arena_str(&s->bytes, result->bytes);
        s->result.status = result->status;
        s->result.count = result->count;
    }
    spread_let_go(s);
}

static void spread_release(struct op *o)
{
    spread_unref(o->impl);
}

static void spread_over(void *arg) /* at home again; nothing of the far half is left */
{
    struct spread *s = arg;
    struct op *o = s->near;
    void *then_arg = o->done.arg;

    o->done = s->result;
    o->done.size = sizeof(o->done);
    o->done.arg = then_arg;
    o->stop = NULL;
    o->release = spread_release;
    if (s->err.rc < 0)
        err_copy(op_err(o), &s->err);
    op_finish(o, s->result.rc);
}

static void spread_destroy(ath_task *t)
{
    struct spread *s = spread_of(t);

    loop_post(s->home, spread_over, s);
}

static const struct task_type spread_type = {
    .name = "fork", .end = spread_end, .destroy = spread_destroy,
};

static void spread_start(void *arg)
{
    struct spread *s = arg;

    task_init(&s->task, &spread_type, s->away, s->self, NULL);
    s->task.configs = s->configs;
    s->task.client = s->client;
    s->task.label = s->label;
    s->running = true;
    if (s->timeout_ms != UINT64_MAX)
        task_deadline(&s->task, loop_now_ms(s->away) + s->timeout_ms);
    task_run(&s->task, s->run, s->arg);
}

static void spread_cancel(void *arg)
{
    struct spread *s = arg;

    if (s->running)
        task_cancel(&s->task);
    spread_unref(s);
}

static void spread_leave(void *arg)
{
    struct spread *s = arg;

    if (s->running) {
        task_leave(&s->task);
        spread_let_go(s);
    }
    spread_unref(s);
}

static void spread_stop(struct op *o)
{
    struct spread *s = o->impl;
    bool leave = o->task->gone || o->task->ended;

    atomic_fetch_add(&s->refs, 1);
    loop_post(s->away, leave ? spread_leave : spread_cancel, s);
}

static int fork_away(ath_task *t, ath_loop *away, const ath_fork *spec, ath_then *then, void *arg)
{
    struct spread *s = MEM_NEW(struct spread);
    uint64_t left = task_left_ms(t);

    atomic_init(&s->refs, 1);
    s->near = op_new(t, then, arg);
    s->near->impl = s;
    s->near->stop = spread_stop;
    s->home = t->loop;
    s->away = away;
    s->run = spec->run;
    s->arg = spec->arg;
    s->self = t->self;
    s->client = t->client;
    s->configs = t->configs;
    s->label = t->label;
    s->timeout_ms = spec->timeout_ms ? spec->timeout_ms : UINT64_MAX;
    if (left < s->timeout_ms)
        s->timeout_ms = left ? left : 1;
    s->result.rc = ATH_E_CANCELED; /* unless it ends */
    err_reset(&s->err);
    loop_post(away, spread_start, s);
    return 0;
}

int task_fork(ath_task *t, const ath_fork *f, ath_then *then, void *arg, ath_err *e)
{
    ath_loop *away = f->flags & ATH_FORK_SPREAD ? task_work_loop() : NULL;
    int rc = task_may_start(t, e);

    if (rc < 0)
        return rc;
    return away && away != t->loop ? fork_away(t, away, f, then, arg) : fork_here(t, f, then, arg);
}

/* ---- begin: a task of its own ---- */

struct begun {
    ath_task task;
    ath_self *self;
    ath_loop *loop;
    ath_run *run;
    void *arg;
    struct db_client *client;
    uint32_t timeout_ms;
};

static atomic_uint_fast64_t on_the_way; /* begun, and not yet on their loop */

uint64_t begun_waiting(void)
{
    return atomic_load(&on_the_way);
}

static void begun_end(ath_task *t, int rc, const ath_err *e, const ath_done *result)
{
    (void)result;
    if (rc < 0 && rc != ATH_E_CANCELED)
        log_write(ATH_WARN, "athena::task", "background work of \"%s\" failed: %s", task_owner(t),
                  err_get(e, "message").p);
    task_unref(t);
}

static void begun_destroy(ath_task *t)
{
    free(list_entry(t, struct begun, task));
}

static const struct task_type begun_type = {
    .name = "background", .end = begun_end, .destroy = begun_destroy,
};

static void begun_start(void *arg)
{
    struct begun *b = arg;

    task_init(&b->task, &begun_type, b->loop, b->self, NULL);
    b->task.client = b->client;
    atomic_fetch_sub(&on_the_way, 1);
    if (b->timeout_ms)
        task_deadline(&b->task, loop_now_ms(b->loop) + b->timeout_ms);
    task_run(&b->task, b->run, b->arg);
}

static void begin(ath_self *self, ath_loop *l, struct db_client *client, const ath_fork *f)
{
    struct begun *b = MEM_NEW(struct begun);

    b->self = self;
    b->loop = l ? l : task_work_loop();
    b->client = client;
    b->run = f->run;
    b->arg = f->arg;
    b->timeout_ms = f->timeout_ms;
    atomic_fetch_add(&on_the_way, 1);
    loop_post(b->loop, begun_start, b);
}

void task_begin(ath_self *self, ath_loop *l, const ath_fork *f)
{
    if (f->beside)
        begin(self, f->beside->loop, f->beside->client, f);
    else
        begin(self, l, NULL, f);
}

void task_begin_for(ath_self *self, struct db_client *client, const ath_fork *f)
{
    begin(self, NULL, client, f);
}

/* ---- the work loops ---- */

static ath_loop *const *work_loops;
static uint32_t work_count;
static atomic_uint work_next;

void task_loops(ath_loop *const *work, uint32_t n)
{
    work_loops = work;
    work_count = n;
}

ath_loop *task_work_loop(void)
{
    return work_count ? work_loops[atomic_fetch_add(&work_next, 1) % work_count] : NULL;
}
