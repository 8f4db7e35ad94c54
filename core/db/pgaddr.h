/* core/db/pgaddr.h - a target's hosts as libpq takes them, names resolved without blocking. */
#ifndef CORE_DB_PGADDR_H
#define CORE_DB_PGADDR_H

#include "db/target.h"
#include "io/loop.h"
#include "lib/buf.h"

struct pgaddr {                  /* comma lists of equal length; empty: libpq's default host */
    struct buf host, addr, port;
};

/* Called once, later or within pgaddr_start(); `a` is gone afterwards. `why` is NULL, or says why
 * not one name could be resolved. */
typedef void pgaddr_fn(void *arg, const struct pgaddr *a, const char *why);

/* `rotate` moves that many entries from the front to the end. *at is set before fn is called. */
void pgaddr_start(ath_loop *l, struct db_target *t, uint32_t rotate, pgaddr_fn *fn, void *arg,
                  struct pgaddr **at);
void pgaddr_cancel(struct pgaddr *a); /* fn is not called any more */

#endif
