/* core/cache/place.h - a client as the cache sees it: which database it is, and what is known of its
 * relations.
 *
 * What is known is read from the catalogue by a task of a work loop: when somebody asks for the first
 * time, again when anything of the database may have changed (the schema may have, too), and every
 * CHECK_MS while it is used. The cheap look at the stamps often is enough. Any thread.
 */
#ifndef CORE_CACHE_PLACE_H
#define CORE_CACHE_PLACE_H

#include "cache/database.h"
#include "cache/relations.h"
#include "db/client.h"
#include "io/crypto.h"

struct cache_place;

enum place_state {
    PLACE_UNKNOWN,               /* not read yet, or that failed: wait for it */
    PLACE_KEPT_OUT,              /* known, but nothing of it may be kept now */
    PLACE_KNOWN
};

struct moment {                  /* what is known */
    struct relations *relations; /* referenced; NULL: unknown */
    struct database *database;
    uint64_t valid;              /* the database's change of anything that it belongs to */
    uint8_t scope[SHA256_BYTES]; /* tells databases, addresses, roles and schemas apart */
};

struct cache_place *place_of(struct db_client *c);
enum place_state place_now(struct cache_place *p, struct moment *ret);

/* What is known is outdated, or a name is not in it: it is read again, but not all the time. */
void place_refresh(struct cache_place *p);

/* Waits for a reading, begun if need be; `over` comes on the loop. False: one has failed just now, or,
 * when what is known is only outdated, one was just now and the next must wait. */
struct place_wait {
    struct list node;
    ath_loop *loop;
    ath_fn *over;
    void *arg;
};
bool place_wait(struct cache_place *p, struct place_wait *w, bool outdated);
bool place_leave(struct cache_place *p, struct place_wait *w); /* false: too late, `over` is on its way */

/* Something of it has changed, and what it is could not be found out: told when it is known. */
void place_owes(struct cache_place *p);

/* A statement that may have written ended without anybody having heard how; it may take effect up to
 * `within_ms` from now. On loop `l`. */
void place_unheard(struct cache_place *p, ath_loop *l, uint64_t within_ms);

/* Changes that went past us are heard on its home loop (listen.c), which notes there how often the
 * channel was lost, and up to which loss everything has been made good. */
struct place_ear {
    ath_task *task;              /* that listens; NULL: none; the home loop's alone */
    atomic_uint losses, heard;   /* not the same: something may be missed right now */
};
struct place_ear *place_ear(struct cache_place *p);
struct db_client *place_client(const struct cache_place *p);
ath_loop *place_home(const struct cache_place *p);

void place_end(struct db_client *c); /* it is about to be freed, and nobody refers to it */
void place_drain(void);          /* what listens ends; any thread */
void place_stop(void);           /* after the loops have stopped */

#endif
