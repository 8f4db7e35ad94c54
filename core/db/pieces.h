/* core/db/pieces.h - a result whose rows come in pieces (ATH_PG_ROWS).
 *
 *     query, more     asked: rows are read until a piece is full or the result is complete
 *     the piece       paused: nothing is read, so the server waits once its buffers are full
 *     the end         with the trip's: its transaction is over, its connection free
 *
 * Only the last statement of a trip comes so; what those before it answered is there with the first
 * piece. The trip keeps its connection until its rows have been read; when its task ends before
 * that, the query is cancelled and the connection closed.
 */
#ifndef CORE_DB_PIECES_H
#define CORE_DB_PIECES_H

#include "db/trip.h"

enum { PIECE_BYTES = 65536 };

struct pieces {
    struct task_hold hold;
    struct trip *trip;
    ath_task *task;
    struct tuples *rest; /* the last one, complete, not given yet */
    struct shape *shape; /* of the rows; NULL: not known yet */
    uint64_t affected;
    uint32_t timeout_ms; /* of each piece; 0: none */
    ath_rows out;        /* the piece that was given last, but for the first */
    bool begun;          /* the first was given */
    bool over;           /* the trip is */
    int rc;              /* how it ended; < 0: `err` has the words */
    ath_err *err;
};

void pieces_new(struct trip *t, ath_task *task, uint32_t timeout_ms);

/* Rows have come, and the connection's trip is asked for them. Takes `full`. */
void pieces_give(struct trip *t, struct tuples *full);
void pieces_last(struct trip *t, struct tuples *rest,
                 uint64_t affected); /* the result is complete */

void pieces_restart(struct trip *t); /* none was given yet: it runs again */

/* Instead of the trip's own finish. Somebody may be waiting for it or not. */
void pieces_finish(struct trip *t, int rc);
ath_err *pieces_err(struct trip *t); /* when nobody does: kept for whoever asks next */

#endif
