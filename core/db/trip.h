/* core/db/trip.h - one ath_query on its way: made by query.c, queued by pgpool.c, sent by pgconn.c.
 *
 *     waits (in a line of its pool)  ->  sent (on one connection)  ->  finished (its op is)
 *                 ^                              |
 *                 +---- again: the connection was lost, or another trip of its Sync
 *                              failed; reads only
 *
 * A trip lives in its task's arena; nothing refers to it once its operation is finished.
 */
#ifndef CORE_DB_TRIP_H
#define CORE_DB_TRIP_H

#include "db/prep.h"
#include "db/rows.h"
#include "io/task.h"

struct pgpool;
struct pgconn;
struct ath_session;
struct pieces;

enum {
    TRIP_TX = ATH_PG_READ_ONLY | ATH_PG_REPEATABLE | ATH_PG_SERIALIZABLE | ATH_PG_COMMITTED
};

struct trip {
    struct list node;            /* in a waiting line, or among its connection's trips */
    struct op *op;               /* NULL: nobody waits for its next piece right now */
    struct pgpool *pool;
    struct pgconn *conn;         /* NULL: it waits */
    struct ath_session *session; /* whose connection it runs on; NULL: any of the pool */
    struct trip_stmt *stmt;
    struct prep *prep;           /* of a plain one, while it is put on a connection */
    struct trip_stmt set;        /* set_config() of all settings; sql NULL: none */
    struct db_client *sent_to;   /* it was on a connection; of plain ones NULL */
    uint64_t arrived_ms, order;  /* order of arrival within the pool */
    uint32_t count, answered;    /* statements */
    uint32_t flags;              /* ATH_PG_* */
    uint8_t tries;               /* connections that were lost under it, statements prepared anew */
    bool plain;                  /* one read without settings: may share a Sync */
    bool alone;                  /* not (again) with others */
    bool opens;                  /* begins its session: its transaction stays open */
    bool holds;                  /* its connection for long: see pgbudget_hold() */
    bool unsure;                 /* whether it took effect is not known */
    bool failed;                 /* the op's error is filled */
    bool redo;                   /* its failure is of our making: run it again */
    bool fresh;                  /* it met what was outdated: nothing prepared is used any more */
    bool undone;                 /* whatever happens now: it has not taken effect */
    struct pieces *pieces;       /* its rows come so; NULL: whole */
    ath_stream *from;            /* what its COPY sends, see pgcopy.h; NULL: it is none */
    ath_rows first, *last;
    struct deadline limit;       /* set when the query has a time limit of its own */
    struct trip_stmt *fence;     /* before its statements, in their transaction; NULL: none */
};

void trip_sent(struct trip *t);  /* it is on a connection: for the times of the request */

/* Off its connection or out of its line; `why` is for later users of its session. */
void trip_leave(struct trip *t, const char *why);

/* Somebody waits for it from now on, for `timeout_ms` at most (0: for ever). */
void trip_ask(struct trip *t, ath_task *task, ath_then *then, void *arg, uint32_t timeout_ms);

/* What is left of its time and its task's; UINT64_MAX: there is no end. */
uint64_t trip_left_ms(struct trip *t);

/* Where the words go when it fails: reset. */
ath_err *trip_err(struct trip *t);

/* Of a COPY: whether it may have happened, said for programs. */
void trip_outcome(const struct trip *t, ath_err *e);

/* Ends its operation; the trip must be in no line and on no connection. */
void trip_finish(struct trip *t, int rc);
void trip_restart(struct trip *t); /* forgets what was answered */

/* Where the result of its next statement goes: to be filled at once. */
ath_rows *trip_answer(struct trip *t);

#endif
