/* core/cache/flight.h - one question on its way to the database, and who waits for its answer.
 *
 * The first who asks leads; those who ask the same while it is under way wait, on whatever loop. The
 * leader brings the answer, or goes without one: then the first of those who wait leads. Any thread.
 *
 *     flight = flight_join(&key, &w);      NULL: w waits, and w.woken comes on its loop
 *     flight_end(flight, entry);           by the leader, once
 */
#ifndef CORE_CACHE_FLIGHT_H
#define CORE_CACHE_FLIGHT_H

#include "cache/memory.h"
#include "io/loop.h"

struct flight;

struct flight_wait {             /* embedded in who waits; his until `woken` or flight_leave() */
    struct list node;
    ath_loop *loop;
    ath_fn *woken;               /* with `arg`, on `loop` */
    void *arg;
    struct cache_key key;
    /* when it was woken */
    struct entry *entry;         /* the answer, referenced; NULL: there is none, */
    struct flight *flight;       /* and it leads from now on; NULL: nobody does, all go by themselves */
};

void flight_start(void);
void flight_stop(void);          /* when nobody is left */

/* The flight that the caller leads from now on; NULL: it waits. */
struct flight *flight_join(const struct cache_key *key, struct flight_wait *w);

/* `entry` may be NULL: it has no answer, somebody else is to bring it. */
void flight_end(struct flight *f, struct entry *entry);
void flight_dissolve(struct flight *f); /* nobody is: there will be no answer to share */

/* False: too late, `woken` is on its way. */
bool flight_leave(struct flight_wait *w);

#endif
