/* Tasks and operations.
 *
 * The normal way: task_run() calls the handler, which starts an operation (op_new); what carries it
 * out finishes it (op_finish); the loop's deferred work delivers it (op_deliver), whose
 * continuation ends the task (task_end) or starts the next operation. The last reference frees the
 * arena.
 *
 * Who may be called when the task has ended or is gone is decided here alone: operations still
 * finish, one by one, and each holds the memory that it may still touch; only the continuation is
 * left out.
 */
#include "io/task.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "io/io_priv.h"

enum { GRACE_MS = 10000 }; /* what a canceled task has for cleaning up */

/* What tasks keep per loop. */
struct task_loop {
    struct list next;     /* among all loops */
    struct list finished; /* operations whose continuation is due */
    struct list roots;    /* tasks without parent */
    struct deferred deliver;
    atomic_uint_fast64_t alive; /* written by the loop, read by anybody */
};

static pthread_mutex_t loops_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list loops = { &loops, &loops };
static const char *(*self_name)(const ath_self *self);

void task_self_name(const char *(*name)(const ath_self *self))
{
    self_name = name;
}

static struct task_loop *on_loop(ath_loop *l)
{
    return l->slot[LOOP_SLOT_IO];
}

static void count_alive(ath_loop *l, int by)
{
    atomic_uint_fast64_t *n = &on_loop(l)->alive;

    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + by,
                          memory_order_relaxed);
}

uint64_t task_alive(void)
{
    uint64_t n = begun_waiting();

    pthread_mutex_lock(&loops_lock);
    list_each (node, next, &loops) {
        struct task_loop *on = list_entry(node, struct task_loop, next);
        n += atomic_load_explicit(&on->alive, memory_order_relaxed);
    }
    pthread_mutex_unlock(&loops_lock);
    return n;
}

/* ---- life of a task ---- */

static void on_deadline(struct deadline *d)
{
    ath_task *t = list_entry(d, ath_task, deadline);
    ath_err e;

    err_reset(&e);
    if (t->canceled)
        err_fail(&e, ATH_E_CANCELED, "canceled, and the grace time has passed");
    else
        err_fail(&e, ATH_E_TIMEOUT, "the deadline passed before the work was done");
    task_end(t, e.rc, &e, NULL);
}

void task_init(ath_task *t, const struct task_type *type, ath_loop *loop, ath_self *self,
               ath_task *parent)
{
    *t = (ath_task){ .magic = TASK_MAGIC, .refs = 1, .type = type, .self = self, .parent = parent };
    list_init(&t->children);
    list_init(&t->sibling);
    list_init(&t->ops);
    list_init(&t->streams);
    deadline_init(&t->deadline, on_deadline);
    if (parent) { /* its deadline is not set again: task_left_ms() looks upwards */
        loop = parent->loop;
        t->client = parent->client;
        t->configs = parent->configs;
        t->label = parent->label;
        t->canceled = parent->canceled;
        task_ref(parent);
    }
    t->loop = loop;
    list_push(parent ? &parent->children : &on_loop(loop)->roots, &t->sibling);
    count_alive(loop, 1);
}

void task_ref(ath_task *t)
{
    t->refs++;
}

void task_hold(ath_task *t, struct task_hold *h)
{
    if (!t->holds.next)
        list_init(&t->holds);
    list_push(&t->holds, &h->node);
}

void task_let_go(struct task_hold *h)
{
    list_unlink(&h->node);
}

static void holds_over(ath_task *t)
{
    struct list *node;

    while ((node = list_pop(&t->holds))) {
        struct task_hold *h = list_entry(node, struct task_hold, node);
        h->over(h);
    }
}

static void task_free(ath_task *t)
{
    ath_task *parent = t->parent;

    list_unlink(&t->sibling);
    deadline_clear(&t->deadline);
    stream_task_over(t, ATH_E_CANCELED);
    count_alive(t->loop, -1);
    arena_free(&t->arena);
    t->magic = 0;
    t->type->destroy(t);
    if (parent)
        task_unref(parent);
}

void task_unref(ath_task *t)
{
    if (--t->refs > 0)
        return;
    if (t->report)
        t->type->report(t); /* which keeps it until the parent was told */
    else
        task_free(t);
}

void task_deadline(ath_task *t, uint64_t at_ms)
{
    if (at_ms && !t->ended && !t->gone)
        deadline_set(t->loop, &t->deadline, at_ms);
    else
        deadline_clear(&t->deadline);
}

uint64_t task_left_ms(ath_task *t)
{
    uint64_t now = loop_now_ms(t->loop), first = UINT64_MAX;

    for (; t; t = t->parent)
        if (t->deadline.at_ms && t->deadline.at_ms < first)
            first = t->deadline.at_ms;
    if (first == UINT64_MAX)
        return first;
    return first > now ? first - now : 0;
}

int task_may_start(ath_task *t, ath_err *e)
{
    if (unlikely(t->ended || t->gone))
        return err_fail(e, ATH_E_CANCELED, "the task has ended");
    return 0;
}

/* ---- the end ---- */

/* Stopping one may finish another one: each is taken off before it is asked. */
static void stop_ops(ath_task *t)
{
    struct list batch, *node;

    list_take(&batch, &t->ops);
    while ((node = list_pop(&batch))) {
        struct op *o = list_entry(node, struct op, node);
        list_push(&t->ops, node);
        if (o->stop)
            o->stop(o);
    }
}

static void each_child(ath_task *t, void (*fn)(ath_task *child))
{
    struct list batch, *node;

    list_take(&batch, &t->children);
    while ((node = list_pop(&batch))) {
        ath_task *child = list_entry(node, ath_task, sibling);
        list_push(&t->children, node);
        task_ref(child);
        fn(child);
        task_unref(child);
    }
}

/* Nobody is answered any more. */
static void task_over(ath_task *t, int rc)
{
    deadline_clear(&t->deadline);
    each_child(t, task_leave);
    stop_ops(t);
    stream_task_over(t, rc);
    if (unlikely(t->holds.next != NULL))
        holds_over(t);
}

void task_end(ath_task *t, int rc, const ath_err *e, const ath_done *result)
{
    ath_err words;

    if (t->ended || t->gone)
        return;
    if (rc < 0 && !e) {
        err_reset(&words);
        err_fail(&words, rc, "the task failed");
        e = &words;
    }
    t->ended = 1;
    task_ref(t);
    t->type->end(t, rc, e, result);
    task_over(t, rc);
    task_unref(t);
}

void task_leave(ath_task *t)
{
    if (t->ended || t->gone)
        return;
    t->gone = 1;
    task_ref(t);
    task_over(t, ATH_E_CANCELED);
    task_unref(t);
}

void task_cancel(ath_task *t)
{
    uint64_t grace = loop_now_ms(t->loop) + GRACE_MS;

    if (t->ended || t->gone || t->canceled)
        return;
    t->canceled = 1;
    if (!t->deadline.at_ms || t->deadline.at_ms > grace)
        task_deadline(t, grace);
    task_ref(t);
    each_child(t, task_cancel);
    stop_ops(t);
    task_unref(t);
}

void task_cancel_all(ath_loop *l)
{
    struct list batch, *node;

    list_take(&batch, &on_loop(l)->roots);
    while ((node = list_pop(&batch))) {
        ath_task *t = list_entry(node, ath_task, sibling);
        list_push(&on_loop(l)->roots, node);
        if (!t->type->apart)
            task_cancel(t);
    }
}

static uint32_t count_top(struct list *tasks, const struct db_client *client)
{
    uint32_t n = 0;

    list_each (node, next, tasks) {
        ath_task *t = list_entry(node, ath_task, sibling);
        n += t->type->top && t->client == client && !t->ended && !t->gone;
        n += count_top(&t->children, client);
    }
    return n;
}

uint32_t task_count_top(ath_loop *l, const struct db_client *client)
{
    return count_top(&on_loop(l)->roots, client);
}

void task_done(ath_task *t, const ath_done *result)
{
    task_end(t, 0, NULL, result);
}

const char *task_owner(const ath_task *t)
{
    return t->self && self_name ? self_name(t->self) : "core";
}

static void end_unanswered(ath_task *t)
{
    ath_err e;

    err_reset(&e);
    err_raise(&e, "plugin_unanswered",
              "plugin \"%s\" neither answered nor started anything in \"%s\"", task_owner(t),
              t->label ? t->label : t->type->name);
    task_end(t, e.rc, &e, NULL);
}

/* A task that waits for nothing must have ended. */
static void check_waiting(ath_task *t)
{
    if (unlikely(!t->pending && !t->ended && !t->gone && !t->held && !t->busy))
        end_unanswered(t);
}

/* ---- its code ---- */

struct code_frame {
    const char *label;
    uint8_t busy;
};

static struct code_frame code_enter(ath_task *t)
{
    struct code_frame f = { loop_enter(t->loop, t->label ? t->label : t->type->name), t->busy };

    t->busy = 1;
    return f;
}

static void code_leave(ath_task *t, struct code_frame f, int rc, ath_err *e)
{
    t->busy = f.busy;
    loop_leave(t->loop, f.label);
    if (likely(rc >= 0))
        return;
    if (e->rc >= 0)
        err_fail(e, rc, "failed without a reason");
    task_end(t, rc, e, NULL);
}

void task_run(ath_task *t, ath_run *run, void *arg)
{
    struct code_frame f;
    ath_err e;

    err_reset(&e);
    task_ref(t);
    f = code_enter(t);
    code_leave(t, f, run(t, arg, &e), &e);
    check_waiting(t);
    task_unref(t);
}

/* ---- operations ---- */

static struct op *op_spare(ath_task *t)
{
    struct op *o = t->spare;
    ath_err *err = o->err;

    t->spare = o->impl;
    *o = (struct op){ .err = err };
    if (err)
        err_reset(err);
    return o;
}

struct op *op_new(ath_task *t, ath_then *then, void *arg)
{
    struct op *o = t->spare ? op_spare(t) : ARENA_NEW(&t->arena, struct op);

    o->task = t;
    o->then = then;
    o->done.size = sizeof(o->done);
    o->done.arg = arg;
    list_push(&t->ops, &o->node);
    t->refs++;
    t->pending++;
    return o;
}

ath_err *op_err(struct op *o)
{
    if (!o->err)
        o->err = arena_raw(&o->task->arena, sizeof(*o->err));
    err_reset(o->err);
    return o->err;
}

void op_finish(struct op *o, int rc)
{
    struct task_loop *on = on_loop(o->task->loop);

    if (unlikely(o->finished))
        check_failed(__FILE__, __LINE__, 0, o->finished); /* exactly once */
    o->finished = 1;
    o->done.rc = rc;
    list_unlink(&o->node);
    list_push(&on->finished, &o->node);
    loop_defer(o->task->loop, &on->deliver);
}

static void op_call(struct op *o)
{
    ath_task *t = o->task;
    struct code_frame f;
    ath_err words, *e = o->err;
    int rc = o->done.rc;

    if (!e) {
        err_reset(&words);
        e = &words;
    }
    if (rc < 0 && e->rc == 0)
        err_fail(e, rc, "%s", rc == ATH_E_CANCELED ? "canceled" : "the operation failed");
    f = code_enter(t);
    rc = o->then(t, &o->done, e);
    code_leave(t, f, rc, e);
}

static void op_deliver(struct op *o)
{
    ath_task *t = o->task;

    o->told = o->then && !t->gone && !t->ended;
    if (likely(o->told))
        op_call(o);
    if (o->release)
        o->release(o);
    t->pending--;
    o->impl = t->spare;
    t->spare = o;
    check_waiting(t);
    task_unref(t);
}

static void deliver_all(void *arg)
{
    struct task_loop *on = arg;
    struct list batch, *node;

    list_take(&batch, &on->finished);
    while ((node = list_pop(&batch)))
        op_deliver(list_entry(node, struct op, node));
}

void task_loop_new(ath_loop *l)
{
    struct task_loop *on = MEM_NEW(struct task_loop);

    list_init(&on->finished);
    list_init(&on->roots);
    deferred_init(&on->deliver, deliver_all, on);
    l->slot[LOOP_SLOT_IO] = on;
    pthread_mutex_lock(&loops_lock);
    list_push(&loops, &on->next);
    pthread_mutex_unlock(&loops_lock);
}

void task_loop_free(ath_loop *l)
{
    struct task_loop *on = on_loop(l);

    pthread_mutex_lock(&loops_lock);
    list_unlink(&on->next);
    pthread_mutex_unlock(&loops_lock);
    free(on);
    l->slot[LOOP_SLOT_IO] = NULL;
}
