/* core/auth/store_priv.h - what the files of the key store share: one key (key.c), keys in memory
 * (shard.c), the small tables (store.c), rows (keyrow.c), who waits (look.c), the follower (follow.c). */
#ifndef CORE_AUTH_STORE_PRIV_H
#define CORE_AUTH_STORE_PRIV_H

#include "auth/store.h"
#include "base/list.h"
#include "base/map.h"
#include "lib/buf.h"

enum {
    SHARDS = 16,
    PROVEN_MOST = 16384,         /* keys in memory whose secret was shown */
    OTHERS_MOST = 16384,         /* ids that are missing, and keys that nobody has shown the secret of */
    OTHERS_MS = 1000,            /* those are forgotten after this */
    IDLE_MS = 600000,            /* and keys that nobody used for so long */
    HOLD_MS = 30000,             /* what is known holds so long without the database */
    ID_MOST = 128,               /* bytes of a public id; longer ones are nobody's */
    LISTS = 4
};

extern struct store_options store_options;

/* ---- the small tables, whole ---- */

struct switched {                /* a row of api_key_client_config */
    ath_str client;              /* folded */
    bool on;
};

struct listed {                  /* global address lists of one client; of the empty name: everybody's */
    ath_str client;
    struct ip_set *white, *black;
};

struct tables {
    atomic_uint refs;
    uint64_t digest[2];          /* of the rows that it was made from */
    bool global;                 /* the row for all clients */
    bool any_on, any_off;        /* of all rows */
    bool unlisted;               /* the lists cannot be read */
    struct switched *switched;
    struct listed *listed;
    struct map by_client, lists; /* of the two */
    char *text;                  /* names are in it */
};
void tables_free(struct tables *t);

/* ---- memory ---- */

void key_start(void);
void shards_start(void);
void shards_stop(void);
bool store_lost(void);
void store_moved(void);                             /* what loops have seen counts no more (known.h) */

void memory_tables(struct tables *t);               /* takes it over; frees it when nothing is new */
void memory_key(struct auth_key *k, uint64_t seq);  /* takes it over */
/* The digest of a row says that it is in memory already, as of `seq` now? */
bool memory_has(ath_str public_id, const uint64_t row[2], uint64_t seq);
void memory_missing(ath_str public_id, uint64_t seq);
/* The ids to be read again by the round `seq`, as a JSON array; what is not used is forgotten. */
void memory_ids(struct buf *json, uint64_t seq);
void memory_gone(uint64_t seq);                     /* of those, what did not come: it is no more */
void memory_drop_others(void);                      /* something has changed: ask again */
void memory_read(bool ok, bool unreachable);        /* how a reading of the tables went */
void memory_age(void);                              /* now and then */

struct use {
    int64_t internal;
    uint64_t ago_ms;
};
/* Due now, or all that were not written yet; they count as written. */
uint32_t memory_uses(struct use *ret, uint32_t most, bool all);

/* ---- rows ---- */

enum list_state { LIST_ABSENT, LIST_READABLE, LIST_CLOSED };

struct shape {                   /* of the database's key tables */
    bool keys, rights, config, client_config, virgin;
    enum list_state list[LISTS]; /* of keys: white, black; global: white, black */
    bool old;                    /* it knows nothing of addresses: neither columns nor tables */
};
extern const char shape_sql[];
void shape_read(const ath_rows *rows, struct shape *ret);
void shape_say(const struct shape *s, struct buf *missing); /* what it lacks, for the log */
void shape_sql_tables(const struct shape *s, struct buf *sql);
void shape_sql_keys(const struct shape *s, struct buf *sql); /* $1: a JSON array of public ids */

struct tables *tables_read(const ath_rows *rows, const struct shape *s);
void keyrow_digest(const ath_rows *rows, uint32_t row, const struct shape *s, uint64_t ret[2]);
struct auth_key *keyrow_read(const ath_rows *rows, uint32_t row, const struct shape *s);
void auth_key_free(struct auth_key *k);

/* ---- who waits ---- */

enum look_kind { LOOK_KEYS, LOOK_TABLES };
/* Who waits for ids that nobody asks for yet, as a JSON array, taken by reading number `seq`; false:
 * there are none. Of LOOK_TABLES: all who wait for a reading of the tables. */
bool look_take(enum look_kind kind, uint64_t seq, struct buf *ret_ids);
bool look_waits(enum look_kind kind);
/* Those that it has taken are answered; rc < 0: the store could not be asked. */
void look_answer(uint64_t seq, int rc);
/* The ids that it asked for, one after the other; *at begins as NULL. */
bool look_asked(uint64_t seq, void **at, ath_str *ret_id);
void look_stop(void);

void store_kick(void);           /* any thread: somebody waits */

#endif
