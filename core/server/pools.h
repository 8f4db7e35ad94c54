/* core/server/pools.h - the databases' pools, as GET /admin/pools shows them. */
#ifndef CORE_SERVER_POOLS_H
#define CORE_SERVER_POOLS_H

#include "server/inspect.h"

struct buf;

/* The document of inspect("pools"), clients by name. From memory; any thread. */
void pools_json(struct buf *b, const struct inspect_sources *from);

#endif
