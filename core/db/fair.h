/* core/db/fair.h - whose turn it is when the process can open no more connections.
 *
 * pool.budget is for the connections to all databases together. As long as there is room every pool
 * opens what it needs. When there is none:
 *
 *     turns     a connection that becomes free goes to the client that holds fewest (max-min
 *               fairness). Who holds more than one that waits gives the next that becomes idle.
 *     reserve   the last quarter is for clients with few connections (one per loop), so that
 *               a newcomer is served while others' queries run; it is filled again by who has more.
 *     idle      what lies idle is closed for who waits: of those that hold more than it does,
 *               or unused for FAIR_IDLE_MS.
 *
 * What a client holds for long (sessions, rows in pieces) has a reserve of the same kind, and who
 * waits for connections too: pool.waiting_budget is shared by the lines that are not empty.
 *
 * With pool.fair: false all of this is off: who asks first is served first.
 *
 * A pool that waits has a seat. A turn is given to the seat's loop by posting; what was given is
 * taken already and is fetched by fair_next(). Any thread, unless said otherwise.
 */
#ifndef CORE_DB_FAIR_H
#define CORE_DB_FAIR_H

#include "db/client.h"
#include "db/pgbudget.h"

enum { FAIR_IDLE_MS = 5000 };

struct fair_seat {
    struct list node;
    struct db_client *client;
    ath_loop *loop;
    uint32_t size;               /* connections of its pool when it began to wait */
    uint64_t since_ns;
    atomic_uchar state;          /* private to fair.c */
};

/* `granted` runs on a loop for which there are turns. */
void fair_start(const struct db_options *o, uint32_t loops, void (*granted)(ath_loop *l));
bool fair_on(void);

void fair_seat_init(struct fair_seat *s, struct db_client *c, ath_loop *l);
bool fair_waits(const struct fair_seat *s);

/* One more connection for the seat's client, whose pool has `size` of them. PGBUDGET_PROCESS_FULL: it
 * waits from now on. *ret_reserve: taken out of the reserve. */
enum pgbudget_room fair_take(struct fair_seat *s, uint32_t size, bool *ret_reserve);
void fair_give(struct db_client *c);
void fair_freed(void);           /* one that was nobody's in particular was given back */
void fair_leave(struct fair_seat *s);            /* it waits no more */
struct fair_seat *fair_next(const ath_loop *l);  /* a seat whose turn came; NULL: no more */

/* A connection of the seat's pool has become idle: is it to be closed for somebody else, who may be
 * the same client on another loop? */
bool fair_is_wanted(const struct fair_seat *s, uint32_t size);

bool fair_may_hold(const struct db_client *c);
bool fair_hold(struct db_client *c);

/* So many wait in a line now, before it were *told: the most that may. */
uint64_t fair_line(const struct db_client *c, uint64_t *told, uint64_t now);

struct fair_stats {
    uint64_t budget, used, reserve, waiting; /* waiting: pools that want a connection */
    uint64_t turns, reserved, given, reclaimed; /* decisions so far */
    uint64_t waited_ns;          /* by those whose turn came, together */
};
void fair_stats(struct fair_stats *ret);
void fair_count_given(void);
void fair_count_reclaimed(void);

#endif
