/* core/db/db_priv.h - what the files of this room share. */
#ifndef CORE_DB_DB_PRIV_H
#define CORE_DB_DB_PRIV_H

#include "db/client.h"
#include "db/target.h"

struct db_catalog;

/* The loops and the options, as db_start() was given them. */
struct db_process {
    struct db_options options;
    ath_loop *const *loops;
    uint32_t loop_count;
    /* Of snapshots of all catalogues: what is made from one is never taken for another's, not even
     * when that lies in the same place. */
    atomic_uint_fast64_t versions;
};
extern struct db_process db_process;

/* What db keeps per loop, in LOOP_SLOT_DB. */
struct db_loop {
    ath_loop *loop;
    struct list pools;
    struct list listeners;       /* see listen.h */
    struct list own;             /* connections outside of them, see pgown.h */
};

static inline struct db_loop *db_loop_of(ath_loop *l)
{
    return l->slot[LOOP_SLOT_DB];
}

/* The client's target as it is now, referenced; NULL: it was removed, or never had one. */
struct db_target *client_target(struct db_client *c);

/* The database answered (why NULL), or an attempt to connect failed; nothing, when the client leads
 * elsewhere than `through` by now. Logs changes. Any thread. */
void client_is_up(struct db_client *c, const struct db_target *through, const ath_err *why);

/* See db_on_unheard(). */
void client_unheard(struct db_client *c, ath_loop *l);

int client_unknown(ath_str name, ath_err *e);

/* Why nothing may be asked of it any more. */
int client_shut(const struct db_client *c, ath_err *e);

/* The refusal of a client that is not up. */
int client_unavailable(const struct db_client *c, uint64_t retry_ms, ath_err *e);

struct db_client *client_new(ath_str name, const char *shown, const char *source,
                             struct db_target *target);
void client_free(struct db_client *c);

/* Connections of their own to the database of `c`, wherever that leads: BESIDE_CONNECTIONS at most,
 * apart from its pools. Behind "@keys", so that whoever asks for keys never waits for a connection
 * behind logs and jobs. Nobody finds it by a name. */
enum { BESIDE_CONNECTIONS = 4 };
struct db_client *client_beside(struct db_client *c);

struct db_catalog *db_catalog_new(struct db_client *c);
void db_catalog_free(struct db_catalog *k);
/* Reads it when it was never read; `done` runs, on some loop, when that has worked or failed. */
void db_catalog_warm(struct db_client *c, ath_fn *done, void *arg);
void db_catalog_halt(struct db_client *c, const ath_loop *l); /* `l` ends */
void db_catalog_changed(struct db_client *c); /* the client has another target now */
void db_catalog_drop(struct db_client *c);    /* it was removed */

#endif
