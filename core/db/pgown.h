/* core/db/pgown.h - connections outside of the pools: sessions that asked for one of their own, and
 * listeners. They count in the process's budget, not in their database's.
 */
#ifndef CORE_DB_PGOWN_H
#define CORE_DB_PGOWN_H

#include "db/db_priv.h"
#include "db/pgconn.h"

/* NULL: the process may have no more. Its lost() hook calls pgown_forget(); whoever wants it closed
 * calls pgown_close(). */
struct pgconn *pgown_open(struct db_client *c, ath_loop *l, const struct pgconn_hooks *on,
                          void *owner);
void pgown_forget(struct pgconn *c);
void pgown_close(struct pgconn *c);
void pgown_close_all(struct db_loop *on); /* the loop ends: each is lost to its owner */

#endif
