/* core/db/pgpool_priv.h - what the halves of a pool share: pgpool.c has its lines and connections,
 * pgshare.c its part in what all pools have together.
 */
#ifndef CORE_DB_PGPOOL_PRIV_H
#define CORE_DB_PGPOOL_PRIV_H

#include "db/fair.h"
#include "db/pgpool.h"

enum { PGPOOL_COSTS = 512 };

/* What plain reads cost, by their hash: the last ones that were seen, others forgotten. */
struct cost {
    uint32_t tag, us;
};

struct pgpool {
    struct list node; /* among the loop's pools */
    struct db_client *client;
    ath_loop *loop;
    struct db_target *target;        /* NULL: shut */
    struct list shared, own, held;   /* lines */
    struct list idle, busy, opening; /* idle: last used first */
    uint32_t waiting, idle_n, size;  /* size: in all three lists */
    uint32_t base;                   /* this loop's share of the connections */
    uint32_t opening_n, width, flowing;
    uint32_t give;      /* connections that others asked for */
    uint32_t give_fair; /* of them: because they hold fewer, see fair.h */
    uint32_t fails, rotate;
    uint64_t order, retry_ms, asked_ms;
    uint32_t held_waiting;      /* of those who wait */
    uint64_t pace_us;           /* one leaves the line so long after the other; 0: it is short */
    uint64_t paced_ms, paced_n; /* measured since, who had left by then */
    uint64_t told;              /* how many had left when the client was last told */
    uint64_t line_most, line_told; /* so many may wait, as of the last tick */
    struct fair_seat seat;         /* waits for a connection of the process */
    struct deferred flush;
    struct deadline tick;
    struct cost cost[PGPOOL_COSTS];
};

/* One more connection, if there is room; else pgshare.c asks others for theirs. False: not now. */
bool pgpool_open_one(struct pgpool *p);
void pgpool_open_taken(struct pgpool *p); /* the same for one that is counted already */
void pgpool_close_conn(struct pgpool *p, struct pgconn *c);

/* ---- pgshare.c ---- */

/* Counts one more connection; when there is no room, others are asked, now and then. */
bool pgshare_take(struct pgpool *p);
/* An idle connection of this pool, which was asked to give: is it to be closed? */
bool pgshare_gives(struct pgpool *p);
/* For fair_start(). */
void pgshare_granted(ath_loop *l);

#endif
