/* core/cache/database.h - the databases whose changes are counted, by what they are and not by the
 * name they are reached by: two clients of one database see each other's writes.
 *
 * Here are the counters of a process that is alone. With Redis it holds them for all (remote.h), and
 * here is only what could not be told to it yet. Any thread.
 */
#ifndef CORE_CACHE_DATABASE_H
#define CORE_CACHE_DATABASE_H

#include <stdbool.h>

#include <athena/plugin.h>

enum { DATABASE_ALL = 0 };       /* in place of a unit: anything of it */

struct database;

void database_stop(void);

struct database *database_of(ath_str id); /* made at first use; lives until database_stop() */
ath_str database_id(const struct database *d);

/* How often anything (ret[0]) and each unit has changed. */
void database_read(struct database *d, const uint32_t *unit, uint32_t n, uint64_t *ret);
void database_change(struct database *d, const uint32_t *unit, uint32_t n); /* n 0: anything */

/* ---- what Redis has not been told yet ---- */

struct untold {
    struct database *database;
    uint32_t unit;               /* or DATABASE_ALL */
    uint64_t number;             /* of its change: later ones have greater ones */
};

enum { UNTOLD_MOST = 1000 };

void untold_add(struct database *d, const uint32_t *unit, uint32_t n); /* n 0: anything */
uint32_t untold_count(void);
uint32_t untold_copy(struct untold ret[UNTOLD_MOST]);
void untold_drop(const struct untold *told, uint32_t n); /* unless they changed again */

#endif
