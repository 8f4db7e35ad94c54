/* core/cache/listen.h - hearing of changes that go past us.
 *
 * The trigger that `athena cache install-trigger` writes notifies the channel athena_cache, with the
 * table's OID and behind it, for people, its name. While this is not heard, nothing of a database
 * that has such a trigger is kept; when it is heard again, anything may have changed.
 */
#ifndef CORE_CACHE_LISTEN_H
#define CORE_CACHE_LISTEN_H

#include "cache/place.h"

/* Listens from now on, unless it does already. On the place's home loop. */
void listen_begin(struct cache_place *p);

#endif
