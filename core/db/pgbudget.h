/* core/db/pgbudget.h - how many connections there may be: of the process, and of each database.
 *
 * Two counters, shared by all loops and changed by atomic steps alone. A loop opens what it needs
 * while there is room; what it holds above its base share is borrowed, and is given back when
 * another loop finds no room (see pgshare.c). Whose turn it is when there is none: see fair.h.
 */
#ifndef CORE_DB_PGBUDGET_H
#define CORE_DB_PGBUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum pgbudget_room { PGBUDGET_TAKEN = 0, PGBUDGET_CLIENT_FULL, PGBUDGET_PROCESS_FULL };

void pgbudget_init(uint64_t process_max);

/* Takes one of both, or none: `client` counts the connections of a database, of which there may be
 * `client_max`. */
enum pgbudget_room pgbudget_take(atomic_uint *client, uint64_t client_max);
void pgbudget_give(atomic_uint *client);
unsigned pgbudget_used(void);

/* Some connections are held for long, at the pace of whoever holds them: sessions, rows that come in
 * pieces. They are counted apart and are never all of them, neither a database's nor the process's:
 * at most three quarters, and two are left if there are more than two.
 *
 * One that was taken is held from now on; `held` counts those of its database. False: no more may
 * be. */
bool pgbudget_hold(atomic_uint *held, uint64_t client_max);
bool pgbudget_may_hold(const atomic_uint *held, uint64_t client_max); /* as things stand */
bool pgbudget_held_most(void); /* three quarters of those that may be held are */
void pgbudget_let_go(atomic_uint *held);

/* One outside of every pool: of the process's alone, and held. */
bool pgbudget_take_own(void);
void pgbudget_give_own(void);

#endif
