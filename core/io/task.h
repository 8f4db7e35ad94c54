/* core/io/task.h - the one thing that work hangs on: a request, a job, a tick, a command, a fork.
 *
 * A task lives on one loop and owns an arena, a deadline, its children and its running operations.
 * It ends once: well (a reply, done) or with a negative code from its code. What still runs below it
 * is then stopped and answers nobody. Its memory goes when the last reference goes: the task's own,
 * one per running operation, one per child.
 *
 * An operation (struct op) is started by a call that takes `then` and finishes exactly once, by
 * op_finish(). Its continuation runs later, from the loop's deferred work, never inside the call
 * that started or finished it.
 *
 *     struct op *o = op_new(t, then, arg);     the call succeeded from here on
 *     o->impl = x; o->stop = x_stop;           how to end it early
 *     ...
 *     o->done.rows = rows; op_finish(o, 0);    or: err_fail(op_err(o), rc, ...); op_finish(o, rc);
 *
 * States of a task:
 *     running   continuations are called; when none is awaited and it has not ended: a bug of the
 *               plugin, ended with code plugin_unanswered and the plugin's name
 *     canceled  running operations end with ATH_E_CANCELED, continuations are still called; what
 *               starts afterwards has the grace time
 *     gone      (its client left, its parent ended) operations are stopped, no continuation is called
 *     ended     the same, and type->end was called
 */
#ifndef CORE_IO_TASK_H
#define CORE_IO_TASK_H

#include "base/arena.h"
#include "base/err.h"
#include "io/deadline.h"

enum { TASK_MAGIC = 0x7a5c0001 };

struct db_client;
struct op;

struct task_type {
    const char *name;            /* "request", "job", "command" */
    /* Called once, when the task ends; rc < 0: badly, and `e` has the words. `result` is what
     * done() gave, else NULL. Not called for a task that is gone. */
    void (*end)(ath_task *t, int rc, const ath_err *e, const ath_done *result);
    /* Frees the object that the task is embedded in, after its arena was freed. */
    void (*destroy)(ath_task *t);
    /* The last reference of a task with a `report` went: that operation is finished by it, and then
     * the task is freed. NULL: it is never reported. */
    void (*report)(ath_task *t);
    bool top;                    /* what a root is: a request, also one below another task */
    bool apart;                  /* task_cancel_all() leaves it: whoever began it ends it */
};

struct ath_task {
    uint32_t magic;
    uint16_t refs, pending;      /* pending: operations whose continuation is awaited */
    const struct task_type *type;
    ath_self *self;              /* whose code runs; NULL: the core's own */
    ath_loop *loop;
    ath_task *parent;
    struct list children, sibling, ops;
    struct op *report;           /* of a fork or a called request: the parent's operation that waits
                                  * for it */
    struct db_client *client;    /* whose database an empty ath_query.client means; NULL: none */
    uint64_t db_sent_ns, db_done_ns; /* of a root: when its first query left and when the last one
                                  * ended, by clock_ns(); 0: none did. Queries of its own loop */
    const char *label;           /* "POST /gateway/fetch"; lives as long as the process */
    struct deadline deadline;
    ath_str dir;                 /* its private folder, once asked for */
    const void *configs;         /* the view of the plugins' configs that it began with */
    uint8_t ended, gone, canceled, busy; /* busy: its code runs right now */
    uint8_t held, pad[3];        /* held: it waits for something that is no operation (a body) */
    struct list streams;         /* ends of streams that it owns, reads or writes */
    struct list holds;           /* see task_hold(); not initialised before the first */
    struct op *spare;            /* delivered operations, for op_new() */
    ath_arena arena;
};

struct op {
    ath_task *task;
    ath_then *then;
    ath_done done;
    ath_err *err;                /* filled through op_err() only */
    void (*stop)(struct op *o);  /* asks it to finish early; it may finish within the call, and may be
                                    asked again. NULL: it cannot */
    void (*release)(struct op *o); /* after the continuation: gives back what `done` points to */
    void *impl;
    struct list node;            /* among the task's, then among the loop's finished ones */
    uint8_t finished, told, pad[6]; /* told: `then` was called */
};

/* Fills a task that is embedded in something; its only reference is the caller's, who gives it back
 * with task_unref() whether the task has ended or is gone. `parent` may be NULL; a child takes loop,
 * client, configs and deadline from its parent and keeps its parent's memory alive. */
void task_init(ath_task *t, const struct task_type *type, ath_loop *loop, ath_self *self,
               ath_task *parent);
void task_ref(ath_task *t);
void task_unref(ath_task *t);

/* Runs the task's code from the outside (a handler, a first step): its return value < 0 ends the
 * task with it; then the check for a task that waits for nothing. */
void task_run(ath_task *t, ath_run *run, void *arg);

/* Ends it; later calls change nothing, and neither do calls on a task that is gone. `e` may be NULL.
 * type->end is called first, then what still runs below is stopped. */
void task_end(ath_task *t, int rc, const ath_err *e, const ath_done *result);
void task_leave(ath_task *t);    /* nobody waits for it any more: it is gone, with all below it */
void task_cancel(ath_task *t);
void task_cancel_all(ath_loop *l);   /* all that live on this loop */

/* 0, or ATH_E_CANCELED when the task has ended or is gone: whoever starts an operation for a plugin
 * asks first. */
int task_may_start(ath_task *t, ath_err *e);

/* How messages name whose code it was; set once, before the first task. */
void task_self_name(const char *(*name)(const ath_self *self));
const char *task_owner(const ath_task *t); /* the plugin whose code it runs, or "core" */

/* Absolute, by loop_now_ms(); 0: none. When it passes, the task is ended with ATH_E_TIMEOUT. */
void task_deadline(ath_task *t, uint64_t at_ms);
uint64_t task_left_ms(ath_task *t); /* UINT64_MAX: no deadline */

/* What a task holds between its operations (a session, rows that come in pieces). over() is called
 * once, when the task ends or is gone and its operations were stopped; it may start nothing. */
struct task_hold {
    struct list node;
    void (*over)(struct task_hold *h);
};
void task_hold(ath_task *t, struct task_hold *h);
void task_let_go(struct task_hold *h); /* over() is not called any more */

/* The request, job or command that it is work of. */
static inline ath_task *task_root(ath_task *t)
{
    while (t->parent && !t->type->top)
        t = t->parent;
    return t;
}

/* Operations are used again after their continuation, so a long task does not grow by them. `then`
 * may be NULL: nobody is told. */
struct op *op_new(ath_task *t, ath_then *then, void *arg); /* in the task's arena */
ath_err *op_err(struct op *o);   /* reset, ready to be filled */
void op_finish(struct op *o, int rc);

/* The ABI's operations (ath_task_api): documented in the public header. A fork reports when all that
 * ran below it has ended; what it was done with then lives as long as its parent. A fork on another
 * loop hands over `bytes`, `status` and `count` only. task_after() counts from the start of this turn
 * and is at most two ticks of the wheel late. */
int task_after(ath_task *t, uint64_t ms, ath_then *then, void *arg, ath_err *e);
int task_work(ath_task *t, ath_run *blocking, ath_then *then, void *arg, ath_err *e);
int task_spawn(ath_task *t, ath_child *c, ath_then *then, void *arg, ath_err *e);
int task_fork(ath_task *t, const ath_fork *f, ath_then *then, void *arg, ath_err *e);
void task_done(ath_task *t, const ath_done *result);
ath_str task_dir(ath_task *t);

/* A task without parent on `l`, from any thread. `loops` is process-wide: task_loops() names the
 * work loops that begin and fork-spread choose from, in turn. */
void task_begin(ath_self *self, ath_loop *l, const ath_fork *f);
void task_begin_for(ath_self *self, struct db_client *client, const ath_fork *f); /* on a work loop */
void task_loops(ath_loop *const *work, uint32_t n);
ath_loop *task_work_loop(void);  /* the next of them */

/* Requests of this loop that hold `client`; on its thread. */
uint32_t task_count_top(ath_loop *l, const struct db_client *client);

/* Tasks alive in the process, for the drain and for tests. */
uint64_t task_alive(void);

#endif
