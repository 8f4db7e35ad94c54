/* core/db/client.h - the databases that this process serves, by name.
 *
 * A client is a name, a connection URI and limits; its pools (one per loop) and its catalogue hang
 * below it. Clients come, change and go while requests run; changes may be made on any thread, and
 * reach the loops by posting.
 *
 * Requests hold clients without counting them, so a struct that was made stays until db_stop(). One
 * that was removed gives back its connections, its target and its catalogue, which leaves it at
 * about a kilobyte, and serves again when its name comes back: memory grows with the number of
 * different names that a process has ever known, not with how often they come and go.
 */
#ifndef CORE_DB_CLIENT_H
#define CORE_DB_CLIENT_H

#include <stdbool.h>

#include "base/err.h"
#include "base/window.h"
#include "io/task.h"

struct db_options {              /* process-wide; from the configuration */
    uint64_t budget;             /* most connections of the whole process */
    uint64_t pool_max, pool_min; /* per client, over all loops */
    uint64_t acquire_timeout_ms, idle_timeout_ms, max_lifetime_ms, connect_timeout_ms;
    uint64_t query_timeout_ms;   /* statement_timeout of each session; 0: none */
    uint64_t waiting_max;        /* most that wait for connections to one client */
    uint64_t waiting_budget;     /* most of all clients, shared by those who wait */
    bool fair;                   /* connections and lines are shared by turns: see fair.h */
    uint64_t prepared_max;       /* prepared statements kept per connection */
    bool direct_private;         /* direct URIs may lead to private addresses */
    const char *direct_hosts;    /* to these hosts alone (comma list); NULL or empty: any. Neither:
                                  * they are not served at all */
    const char *control_client;  /* the names behind "@control" and "@auth", which live as long as */
    const char *auth_client;     /* the process; NULL or empty: none */
};

struct cache_place;

/* What may be asked of a client now. */
enum db_gate {
    DB_OPEN = 0,
    DB_CLOSED,                   /* no new requests; what runs goes on, with as many queries as it needs */
    DB_SHUT                      /* no new queries either: those that run end, those that wait are refused */
};

struct db_client {
    char *name;                  /* lower case; what requests are matched by */
    char *shown;                 /* as it was first written */
    _Atomic(const char *) source; /* "config", "database", "merged", "gateway_logging_override", "direct" */
    atomic_uint gate;            /* enum db_gate, made from what follows */
    atomic_bool active, frozen;
    atomic_bool draining;        /* frozen, but only for new requests */
    atomic_bool pending;         /* it is not known yet how it stands: whoever comes waits */
    atomic_bool gone;            /* removed: nobody finds it by its name */
    bool direct;                 /* of a caller's URI: see direct.h */
    struct db_target *target;    /* hosts, credentials and TLS; private to db */
    struct db_catalog *catalog;  /* private to db */
    struct pgpool **pool;        /* by loop index; private to db */
    uint64_t pool_max;           /* most connections, of all loops */
    uint64_t idle_ms;            /* one that is not needed for so long is closed; 0: never */
    atomic_uint connections;     /* open, of all loops */
    atomic_uint idle, waiting;
    atomic_uint held;            /* of them: by sessions and rows that come in pieces */
    atomic_bool up;              /* the last connection attempt worked */
    atomic_bool down;            /* it failed; neither: none was made yet */
    atomic_bool unusable;        /* its URI cannot be used: no pools, refused as unavailable */
    uint8_t uri_digest[32];      /* of the URI that `target` was made from; under a lock */
    uint32_t hash;               /* of its name; private to client.c, as is the next */
    uint32_t name_n;
    struct db_client *next;      /* private to direct.c, as are the next three */
    uint32_t refs;
    bool retired;
    atomic_uint closing;
    char *down_reason;           /* words of the last failed attempt, redacted; under a lock */
    atomic_uint moved;           /* how often its target was replaced */
    struct db_client *of, *beside; /* private to db: see client_beside() */
    _Atomic(struct cache_place *) cache; /* what the cache keeps of it; the cache's alone */
    struct window admitted;      /* requests that named it; the admission's alone */
    /* Told by its pools about once a second; wall clock in ns, 0: never. */
    atomic_uint_fast64_t served; /* trips that have left the line */
    atomic_uint_fast64_t used_ns, since_ns; /* the last of them; connected since */
};

/* Once, before anything else of db; loops[i]->index == i. */
int db_start(const struct db_options *o, ath_loop *const *loops, uint32_t n, ath_err *e);
void db_stop(void);              /* after the loops have stopped */
int db_loop_init(ath_loop *l, ath_err *e);  /* on that loop's thread */
void db_loop_fini(ath_loop *l); /* closes its connections; the loop then runs out of handles */

/* Adds or replaces; what runs ends on the target that it began with. `uri` is postgres://,
 * postgresql:// or athena://, with several hosts and target_session_attrs if wanted. Refused
 * (ATH_E_CONFIG) without ever showing the password. `source` lives as long as the process. */
int db_client_put(const char *name, const char *uri, const char *source, ath_err *e);

/* Adds a client whose URI cannot be used, or makes one unusable, for callers to be told so; `reason`
 * shows no secret. db_client_put() with a URI that works heals it. */
int db_client_put_unusable(const char *name, const char *source, const char *reason, ath_err *e);

/* How an operator wants it. "@control" and "@auth" go on serving the process whatever is said here:
 * nobody could undo it else. */
struct db_stand {
    bool active, frozen, draining, pending;
};
void db_client_stand(struct db_client *c, const struct db_stand *s);
void db_client_remove(struct db_client *c);

/* Reads its catalogue in the background, which opens a connection: whether it is up is known soon. */
void db_client_warm(struct db_client *c);

/* An operation: d->count of the requests that hold it, on all loops. */
int db_client_running(ath_task *t, const struct db_client *c, ath_then *then, void *arg, ath_err *e);

struct db_client *db_client_find(ath_str name);  /* trimmed and folded; NULL: none */
/* Of all that there ever were, in order of adding: skip those that are `gone`. */
size_t db_client_count(void);
struct db_client *db_client_at(size_t i);

/* Whether a request may use it now: 0, or the contract's refusal (gateway.md 4.2). */
int db_client_usable(const struct db_client *c, ath_err *e);

/* A digest of where it leads: hosts, database, role and settings, without secrets. */
void db_client_digest(struct db_client *c, uint8_t ret[32]);

/* What the room above wants to be told of. */
struct db_watch {
    /* On some loop: a statement that may have written has ended without anybody having heard how: its
     * task is over, its time has passed, its connection is lost. It may even take effect later, up to
     * the end of db_options.query_timeout_ms. */
    void (*unheard)(struct db_client *c, ath_loop *l);
    /* A client whose `cache` is set is about to be freed. */
    void (*freed)(struct db_client *c);
};
void db_watch(const struct db_watch *w); /* before the loops serve; NULL: nobody any more */

/* Pool figures for metrics and health. */
struct db_pool_stats {
    uint64_t size, idle, waiting, max;
    uint64_t served;             /* trips so far; about a second behind, as is used_ns */
    uint64_t used_ns, since_ns;  /* last trip, connected since; wall clock, 0: never */
    bool up;
};
void db_client_stats(const struct db_client *c, struct db_pool_stats *ret);

/* A query of this loop that was just answered is the process's own: it is not among what was served.
 * On l's thread. */
void db_client_uncount(struct db_client *c, ath_loop *l);

/* Opens pool_min connections of each client and loads its catalogue, in the background; `ready`
 * runs on the control loop when each has succeeded or failed once. */
void db_warm(ath_loop *control, ath_fn *ready, void *arg);

#endif
