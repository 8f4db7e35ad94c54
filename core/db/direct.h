/* core/db/direct.h - databases that a caller names by a connection URI (gateway.md 4.3, auth.md
 * D-12), or a plugin that was given one by an operator (ATH_PG_OPERATOR).
 *
 * Each URI has a client of its own, apart from the registry: nobody finds it by name. There are
 * DIRECT_CLIENTS at most, of DIRECT_CONNECTIONS connections; one that nobody used for
 * DIRECT_KEEP_MS ends, the least recently used one at once when room is needed.
 *
 * A direct client lives as long as somebody refers to it: tasks do from db_direct_client() on, and
 * so does a reading of its catalogue. The last use is followed by its end on each loop, and then it
 * is freed.
 */
#ifndef CORE_DB_DIRECT_H
#define CORE_DB_DIRECT_H

#include "db/client.h"

enum {
    DIRECT_CLIENTS = 64,
    DIRECT_CONNECTIONS = 4,
    DIRECT_KEEP_MS = 300000,
    DIRECT_IDLE_MS = 60000
};
enum { DIRECT_TOKEN = 27 };

/* What stands for a URI in rights, caches and logs: "pg_direct_" and 16 hex digits of its SHA-256.
 * False: it is no URI of PostgreSQL. */
bool db_direct_token(ath_str uri, char ret[DIRECT_TOKEN]);

/* The client for it, which the task may use as long as it lives. Refused: invalid_direct_uri,
 * invalid_target, feature_unavailable when direct URIs are off, server_busy. `by_operator`: read as
 * those of the configuration are, and never one client with a caller's. */
int db_direct_client(ath_task *t, ath_str uri, bool by_operator, struct db_client **ret, ath_err *e);
uint32_t db_direct_count(void);

/* Of any client; only direct ones count. False: it is about to end. */
bool client_ref(struct db_client *c);
void client_unref(struct db_client *c);

void direct_halt(const ath_loop *l); /* the loop ends */
void direct_stop(void);              /* the loops have ended */

#endif
