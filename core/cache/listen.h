/* core/cache/listen.h - hearing of changes that go past us.
 *
 * A trigger that `athena cache install-trigger` writes notifies the channel athena_cache with
 * "schema.table", both quoted where need be. While nobody listens in this process, nothing of a
 * database that has such a trigger is kept here; what may have been missed counts as a change of
 * anything.
 */
#ifndef CORE_CACHE_LISTEN_H
#define CORE_CACHE_LISTEN_H

#include "cache/place.h"

/* Listens from now on, unless it does already. On the loop where it will be heard. */
void listen_begin(struct place *p, struct db_client *c, ath_loop *l);

#endif
