/* core/db/pgconn.h - one connection to PostgreSQL, as a step machine on its loop.
 *
 *     resolving -> connecting -> idle <-> busy -> closed
 *                                  |       |
 *                                  +- held +      of a session, between its queries
 *
 * While it is busy one group of trips is on it: several plain reads in front of one Sync, or one
 * other trip with a Sync of its own. What was sent is a queue, and answers belong to its head: they
 * are matched by position and by nothing else.
 *
 * Rules for trips that end early (their client left, their time is up):
 *   - the trip is taken off at once; its answer, when it comes, is thrown away
 *   - when no trip is left that somebody waits for, and the answers do not come by themselves
 *     within PGCONN_GRACE_MS, the query is cancelled on the server and the connection closed,
 *     never reused
 *   - when that happens between two pieces of rows, it is cancelled and closed at once
 *   - trips that share the connection are not hurt: when one of them takes longer than
 *     PGCONN_STUCK_MS all are handed back, to be run again each alone, and the connection is
 *     given up
 *
 * A connection that a session holds runs one trip after the other and keeps what they leave, an open
 * transaction above all; it is cleaned and idle once the session gives it back.
 *
 * The hooks run on the loop, never inside pgconn_open(), pgconn_add() or pgconn_sync(). After
 * lost() the connection closes and frees itself; pgconn_close() does the same without telling.
 * What still runs on a connection that is closed is cancelled.
 */
#ifndef CORE_DB_PGCONN_H
#define CORE_DB_PGCONN_H

#include <uv.h>

#include "db/target.h"
#include "db/trip.h"
#include "db/wire.h"

enum { PGCONN_GRACE_MS = 20, PGCONN_STUCK_MS = 30 };

enum pgconn_state {
    PGCONN_RESOLVING = 1,
    PGCONN_CONNECTING,
    PGCONN_IDLE,
    PGCONN_BUSY,
    PGCONN_HELD,
    PGCONN_CLOSED,
};

struct pgconn_hooks {
    void (*ready)(struct pgconn *c); /* idle or held: connected, or all answered */
    void (*again)(struct pgconn *c, struct trip *t);    /* t was taken off and is to be run again */
    void (*stuck)(struct pgconn *c);                    /* all its trips were handed back */
    void (*answered)(struct pgconn *c, const struct trip *t, uint64_t us); /* a plain read was */
    /* A notification, to an idle connection. NULL: they are dropped. */
    void (*notified)(struct pgconn *c, const char *channel, const char *payload);
    /* Its trips are still in c->trips and must be taken off by pgconn_detach(); `why` NULL: it was
     * closed after a cancel, which says nothing about the server. */
    void (*lost)(struct pgconn *c, const ath_err *why);
};

struct pgconn_options {
    uint64_t connect_ms, answer_ms; /* answer_ms: the server is taken for dead; 0: never */
    uint64_t statement_ms;       /* statement_timeout of its session; 0: none */
    uint64_t prepared_max;
    uint32_t rotate;             /* begin with this host or address of the list */
};

struct sent;

struct pgconn {
    uint32_t magic;
    enum pgconn_state state;
    ath_loop *loop;
    void *owner;                 /* the pool */
    const struct pgconn_hooks *on;
    struct db_target *target;
    struct pgconn_options options;
    struct list node;            /* in one of the pool's lists */
    struct list trips;           /* that are on it */
    struct ath_session *session; /* that holds it */
    PGconn *pg;
    struct wire wire;
    struct tuples *tuples;       /* of the answer that is being read */
    uv_poll_t *poll;             /* freed by its own close callback */
    int fd, events;              /* ours, a duplicate of libpq's; with `poll` */
    struct pgaddr *addr;         /* while it resolves */
    struct prep_table prep;
    struct sent *sent;           /* a ring: what answers are awaited for */
    uint32_t head, count, cap;
    struct deadline watch;
    struct deferred resume;      /* goes on with what was read while it was paused */
    struct deferred broken;      /* reports a failure found inside a call from outside */
    uint64_t opened_ms, idle_since_ms, progress_ms;
    uint64_t left_ms;            /* its last trip was taken off; 0: not so */
    uint64_t answered_ns, read_ns;
    char *why;                   /* of a failure that libpq does not know of */
    bool tls;                    /* or another cipher under libpq */
    bool direct;                 /* the group on it goes past libpq, see wire.h */
    bool cleaning;               /* what is on it is ours */
    bool counted, served;        /* the pool's: among its flowing ones; was ready once */
    bool shared;                 /* the group on it is of several plain reads */
    bool slow;                   /* stuck() was told of this group */
    bool raw;                    /* ran a caller's own SQL: to be cleaned */
    bool retire;                 /* to be closed when idle */
    bool holds;                  /* the pool's: counted among those held */
    bool tx;                     /* its session has left a transaction open */
    bool paused;                 /* nothing is read: nobody asks for the rows that come */
    bool limited;                /* and in it a statement_timeout other than the session's */
    bool own_tx;                 /* the trip on it ends the transaction that it begins */
    bool odd;                    /* the server said something while data was sent to it */
    uint64_t heard;              /* so many bytes in all, when it was last looked */
    uint8_t copying;             /* a step of pgcopy.h */
};

struct pgconn *pgconn_open(ath_loop *l, struct db_target *t, const struct pgconn_options *o,
                           const struct pgconn_hooks *on, void *owner);

/* Of an idle connection: adds plain reads one by one, then pgconn_sync(). */
void pgconn_add(struct pgconn *c, struct trip *t);
void pgconn_sync(struct pgconn *c);
/* Of an idle or held connection: the whole of any other trip. */
void pgconn_run(struct pgconn *c, struct trip *t);

/* Of an idle connection: one statement of ours, without a trip. ready() comes when it was answered;
 * c->retire: it failed. */
void pgconn_say(struct pgconn *c, const char *sql);

/* An idle connection becomes a session's; a held one is nobody's any more: it is rolled back and
 * cleaned if it has to be, then ready() comes, maybe within the call. */
void pgconn_hold(struct pgconn *c, struct ath_session *s);
void pgconn_release(struct pgconn *c);

/* Of a trip whose rows come in pieces: reads nothing until it is resumed. */
void pgconn_pause(struct pgconn *c);
void pgconn_resume(struct pgconn *c);

void pgconn_detach(struct trip *t); /* from lost() */
void pgconn_drop(struct trip *t);   /* nobody waits for it any more */
void pgconn_close(struct pgconn *c);
/* Its part that the server sees: before its place is another's, and pgconn_close() follows. */
void pgconn_hang_up(struct pgconn *c);

#endif
