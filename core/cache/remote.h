/* core/cache/remote.h - what all processes share, in Redis: how often something changed, and answers.
 *
 *     athena:1:RUN:{DATABASE}:g:UNIT   a token of the unit, "*" of anything: random, made by whoever
 *                                      misses it, removed by a change
 *     athena:1:RUN:c:KEY               an answer, for the time that answers live
 *
 * Tokens are random and not counted, so that one that was lost (evicted, expired, flushed) never comes
 * back. RUN is what Redis calls this run of its server: after a restart or a failover, which may have
 * forgotten the last changes, nothing that was there before is found.
 *
 * A change is told before its writer is answered, unless Redis does not answer in time. Then it is
 * remembered, and this process reads nothing from the cache until it has been told. Other processes
 * that still reach Redis may meanwhile give answers that this write made old: until it is told, or
 * until these answers' time is over. The same holds if two processes are connected to two servers
 * that both believe to be the primary.
 *
 * For the loop's own thread, but where it is said.
 */
#ifndef CORE_CACHE_REMOTE_H
#define CORE_CACHE_REMOTE_H

#include "cache/database.h"
#include "cache/memory.h"
#include "cache/relations.h"
#include "db/redis.h"

struct remote_options {
    ath_str  url;                /* empty: none */
    uint64_t command_ms, cooldown_ms, ttl_ms;
    ath_loop *const *loops;
    uint32_t loop_count;
};

struct remote_stats {
    uint64_t ready, asks, timeouts, errors, untold, untold_ever;
};

/* An URL that cannot be used is refused (ATH_E_CONFIG): there is no Redis then. */
int remote_start(const struct remote_options *o, ath_err *e);
void remote_stop(void);
void remote_loop_init(ath_loop *l);
void remote_loop_fini(ath_loop *l);
bool remote_on(void);            /* one is configured; any thread */
void remote_read_stats(struct remote_stats *ret); /* any thread */

/* The tokens of a database's units at one moment after the call. Those asked for in one turn share a
 * trip, equal ones a question. */
struct token_ask {
    struct list node, same;
    struct database *database;
    const uint32_t *unit;
    uint32_t n;
    bool again;
    void (*done)(struct token_ask *a, int rc); /* rc < 0: ATH_E_TIMEOUT, ATH_E_UPSTREAM */
    void *arg;
    uint64_t token[1 + UNITS_MOST]; /* first that of anything */
    struct redis_ask ask;
};
int remote_tokens(ath_loop *l, struct token_ask *a); /* < 0: refused, `done` never comes */

struct value_ask {
    struct cache_key key;
    /* entry: referenced; NULL: not there, or rc says why it is not known. */
    void (*done)(struct value_ask *a, struct entry *entry, int rc);
    void *arg;
    uint64_t life_ms;            /* of the entry, when it is there */
    struct redis_ask life, ask;
};
int remote_get(ath_loop *l, struct value_ask *a);
void remote_put(ath_loop *l, const struct entry *e); /* nobody waits for it */

/* `done` comes when everybody can know it or it had to be remembered; n 0: anything. When the token
 * of anything is no longer `known`, the units were chosen from what is outdated, and anything counts
 * as changed: `outdated` says so to `done`. */
struct change_ask {
    uint64_t known;              /* 0: not looked at */
    void (*done)(struct change_ask *a, bool outdated); /* NULL: nobody waits */
    void *arg;
};
/* 1: it was remembered, and `done` never comes. Nothing given is needed when the call returns. */
int remote_change(ath_loop *l, struct database *d, const uint32_t *unit, uint32_t n,
                  const struct change_ask *a);

#endif
