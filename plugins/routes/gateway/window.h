/* plugins/routes/gateway/window.h - inserts of the same shape that come within a short time, written
 * together (contract 18).
 *
 *     caller     waits in its lane with the values of its row     window.c
 *     chunk      a task of its own, begun by the first of them: takes what waits when the window is
 *                over or the lane is full, writes it in one transaction, tells each its outcome
 *                                                                 chunk.c
 *
 * A lane is a client's statement: the same table, columns, types and rows to give back. Lanes belong
 * to a loop. A caller who leaves before its chunk was taken is not written; one who leaves later is.
 *
 * All callers of a chunk have one transaction, and each has its own outcome: what fails is undone to
 * a savepoint and tried again in halves, down to single rows. So a row is written exactly when its
 * caller is told so, or when nobody is left to be told.
 */
#ifndef ROUTES_GATEWAY_WINDOW_H
#define ROUTES_GATEWAY_WINDOW_H

#include "change.h"

struct lane;
struct chunk;

struct pressure {                /* on all lanes of the process */
    uint32_t pending, most;      /* inserts that wait; that may */
};

struct waiter {                  /* a caller, in its arena; the first members are its own to fill */
    ath_task *task;
    const struct change *c;      /* one row, bound */
    uint32_t window_ms;
    bool alone;                  /* written row by row */
    ath_then *told;              /* its outcome is there */
    void *arg;
    /* its outcome */
    ath_str refusal;             /* as dp_refusal() writes it; p NULL: it is written */
    ath_str row, id;             /* JSON and text; p NULL: none */
    struct pressure pressure;    /* under which it could not join */
    /* inside */
    ath_stream *bell;
    struct lane *lane;           /* it waits there */
    struct chunk *chunk;         /* or it is being written, */
    uint32_t place;              /* in that place */
    struct waiter *next, *before;
};

/* 0: `told` will run, as of any operation. WINDOW_NO: its statement has no form for several rows.
 * WINDOW_FULL: too many wait, see x->pressure. */
enum { WINDOW_NO = 1, WINDOW_FULL };
int window_join(ath_req *r, struct waiter *x, ath_err *e);

/* later.c: an insert for which there was no room: deferred, else refused (429). */
int gateway_overloaded(ath_req *r, const struct waiter *x, ath_err *e);

/* ---- between the two files ---- */

struct shape {                   /* of a lane's statements; in the heap */
    char *client, *one, *many;   /* SQL of one row and of several */
    uint32_t *one_type, *many_type;
    uint32_t columns;
    bool keyed, alone;
};

struct chunk_row {
    struct waiter *waiter;       /* NULL: it left */
    const ath_str *value;        /* one per column, in the chunk's memory */
};

/* Takes up to a batch of those who wait, with their values, for the chunk task `t` that was due at
 * `due_ms`; returns how many. Begins another chunk for those who then have none. */
uint32_t lane_take(struct lane *l, ath_task *t, struct chunk *k, uint64_t due_ms,
                   struct chunk_row **ret);
const struct shape *lane_shape(const struct lane *l);
void lane_unref(struct lane *l);

/* Begins the task that will take what waits in `l` at `due_ms` (0: at once); holds the lane. */
void chunk_begin(ath_task *beside, struct lane *l, uint64_t due_ms);
void chunk_leave(struct waiter *x); /* its caller is gone */

/* The outcome is filled in: wakes its caller. */
void waiter_tell(struct waiter *x);

#endif
