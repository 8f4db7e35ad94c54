/* From rows as they were read to the operation that asked for them. */
#include "db/pieces.h"

#include <stdlib.h>

#include "base/clock.h"
#include "db/pgconn.h"
#include "db/query.h"

static void over(struct task_hold *h)
{
    struct pieces *p = container_of(h, struct pieces, hold);

    if (!p->over) {
        trip_leave(p->trip, "its task ended");
        trip_finish(p->trip, ATH_E_CANCELED);
    }
    free(p->rest);
    p->rest = NULL;
    shape_unref(p->shape);
    p->shape = NULL;
}

void pieces_new(struct trip *t, ath_task *task, uint32_t timeout_ms)
{
    struct pieces *p = ARENA_NEW(&task->arena, struct pieces);

    p->trip = t;
    p->task = task;
    p->timeout_ms = timeout_ms;
    p->hold.over = over;
    task_hold(task, &p->hold);
    t->pieces = p;
    t->holds = true;
}

void pieces_restart(struct trip *t)
{
    struct pieces *p = t->pieces;

    shape_unref(p->shape); /* on another connection the columns may be others */
    p->shape = NULL;
    free(p->rest);
    p->rest = NULL;
}

static void release(struct op *o)
{
    struct trip *t = o->impl;

    rows_clear(&t->pieces->out);
}

/* The operation's end; what is asked next is another one. */
static void answer(struct trip *t, int rc)
{
    struct op *o = t->op;

    t->op = NULL;
    deadline_clear(&t->limit);
    if (rc < 0)
        o->done.count = t->answered;
    op_finish(o, rc);
}

static void give(struct trip *t, struct tuples *tuples)
{
    struct pieces *p = t->pieces;
    ath_rows *rows = p->begun ? &p->out : trip_answer(t);

    tuples_close(&tuples);
    rows_fill_tuples(rows, tuples, p->shape, p->affected);
    rows->trip = t;
    t->first.trip = t;
    t->op->done.rows = p->begun ? rows : &t->first;
    t->op->done.count = rows->columns ? rows->rows : p->affected;
    p->begun = true;
    answer(t, 0);
}

void pieces_give(struct trip *t, struct tuples *full)
{
    pgconn_pause(t->conn);
    give(t, full);
}

void pieces_last(struct trip *t, struct tuples *rest, uint64_t affected)
{
    struct pieces *p = t->pieces;

    p->affected = affected;
    if (rest->rows || !p->begun)
        p->rest = rest;
    else
        free(rest);
}

/* What the trip left is given to whoever asks, then its end. */
static void give_rest(struct trip *t)
{
    struct pieces *p = t->pieces;
    struct tuples *rest = p->rest;

    p->rest = NULL;
    if (p->rc < 0 && p->err)
        err_copy(op_err(t->op), p->err);
    if (p->rc == 0 && rest)
        give(t, rest);
    else
        answer(t, p->rc);
}

void pieces_finish(struct trip *t, int rc)
{
    struct pieces *p = t->pieces;

    p->over = true;
    p->rc = rc;
    if (rc < 0) {
        free(p->rest);
        p->rest = NULL;
        if (!p->err)
            p->err = arena_raw(&p->task->arena, sizeof(*p->err));
        if (t->op && t->op->err)
            err_copy(p->err, t->op->err);
        else if (t->op)
            err_fail(p->err, rc, "the rows are not read on");
    }
    if (rc < 0 && t->op)
        t->op->done.count = t->answered;
    if (t->op)
        give_rest(t);
}

ath_err *pieces_err(struct trip *t)
{
    struct pieces *p = t->pieces;

    if (!p->err)
        p->err = arena_raw(&p->task->arena, sizeof(*p->err));
    err_reset(p->err);
    return p->err;
}

/* ---- the next one ---- */

static bool is_below(const ath_task *t, const ath_task *of)
{
    for (; t; t = t->parent)
        if (t == of)
            return true;
    return false;
}

static int check(const ath_task *task, const ath_rows *rows, ath_err *e)
{
    if (!rows || !rows->trip)
        return err_fail(e, ATH_E_BUG, "more was asked of rows that do not come in pieces");
    if (rows->trip->op)
        return err_fail(e, ATH_E_BUG, "the next piece was asked for twice");
    if (!is_below(task, rows->trip->pieces->task) || task->loop != rows->trip->pieces->task->loop)
        return err_fail(e, ATH_E_BUG, "the rows are not of this task");
    return 0;
}

int db_more(ath_task *task, const ath_rows *rows, ath_then *then, void *arg, ath_err *e)
{
    struct trip *t;
    int rc;

    if ((rc = task_may_start(task, e)) < 0 || (rc = check(task, rows, e)) < 0)
        return rc;
    t = rows->trip;
    trip_ask(t, task, then, arg, t->pieces->timeout_ms);
    t->op->release = release;
    if (t->pieces->over)
        give_rest(t);
    else
        pgconn_resume(t->conn);
    return 0;
}
