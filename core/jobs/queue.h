/* core/jobs/queue.h - the statements of a queue, made once from its description.
 *
 * A description says how a table calls its columns and states. What it does not say is asked of the
 * database: the types of the columns, and which may not be null. With both, all statements are fixed
 * texts: values are parameters, and many jobs are arrays of them.
 *
 * Rules that all of them keep: the database's clock alone decides; a claim gives a fresh token; who
 * writes says the token and is refused once the lease is over; one statement each.
 */
#ifndef CORE_JOBS_QUEUE_H
#define CORE_JOBS_QUEUE_H

#include <stdbool.h>

#include "io/task.h"
#include "lib/buf.h"

struct queue_sql {
    ath_arena arena;
    /* $1 int8 how many, $2 int8 lease in ms, $3 text who, $4 int8 floor in us since 1970,
     * $5 text[] whose pins, $6 text client to begin behind, $7 int8 jobs per client at once.
     * Rows: now in us, of claim_all_fair the place of the oldest that is not finished, then the
     * job's key (null: none), token, attempt, most attempts (null: the pace's), args, client, its
     * place in the order in us. By turns: in the order of the turns. */
    const char *claim, *claim_all;         /* above the floor; without one */
    const char *claim_fair, *claim_all_fair; /* by turns of clients; NULL: the queue has none */
    /* $1 int8 lease in ms, $2 keys, $3 tokens; rows: key, does somebody want it canceled. */
    const char *renew;
    /* $1 keys, $2 tokens, $3 states, $4 errors, $5 results, $6 int8[] delays in ms (null: no
     * delay), $7 int4[] attempts not counted, $8 bool[] is it final; rows: keys. */
    const char *finish;
    const char *progress;                  /* $1 keys, $2 tokens, $3 texts; NULL: has none */
    /* $1 int8 most attempts; what lost its lease waits again, or is dead. Rows: key, state. */
    const char *sweep;
    const char *depth;                     /* rows: state, count, ready, oldest in s */
    const char *retain;                    /* $1 int8 ms: deletes some that are older */
    const char *cancel, *retry;            /* $1 key; rows: the new state */
    const char *revive;                    /* of retry, up to the WHERE */
    const char *fence;                     /* $1 key, $2 token: fails unless the lease is held */
};

/* Answers with rows of column, type, "t" when it may not be null. $1 text: the table. */
extern const char queue_columns_sql[];

/* From the answer. < 0: the table or a column that the description names is not there. */
int queue_make(const ath_queue *q, const ath_rows *columns, struct queue_sql **ret, ath_err *e);
void queue_free(struct queue_sql *s);

/* The states that a job may end in, for the statements above. */
const char *queue_state_again(const ath_queue *q);    /* put back */
const char *queue_state_canceled(const ath_queue *q); /* canceled, or dead where there is no such word */

/* Dead ones that are to wait again, the oldest first. Values are given in the order that they are
 * found in. < 0: a filter needs a column that the queue has not. Rows: their keys; of a look, how many. */
struct redrive_sql {
    uint32_t params;
    ath_str param[5];
};
int redrive_make(struct buf *b, const ath_queue *q, const char *revive, const ath_redrive *r,
                 ath_arena *a, struct redrive_sql *ret, ath_err *e);

/* A new job. $1 ... the values of p's columns; rows: its key, "f" when it was there already. */
void put_make(struct buf *b, const ath_queue *q, const ath_put *p);

/* One more element of an array, begun by buf_char(b, '{') and ended by '}'; p NULL: null. */
void array_add(struct buf *b, ath_str text);

#endif
