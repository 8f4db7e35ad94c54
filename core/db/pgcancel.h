/* core/db/pgcancel.h - asking the server to stop what a connection runs.
 *
 * The connection itself is closed by the caller right after: it is never used again, so a cancel
 * that comes late can hurt nobody. With libpq 17 and newer this is non-blocking and encrypted like
 * the connection; before, PQcancel() runs on libuv's pool, a bounded number at a time.
 */
#ifndef CORE_DB_PGCANCEL_H
#define CORE_DB_PGCANCEL_H

#include <libpq-fe.h>

#include "io/deadline.h"

/* Begins the request for `pg`, which may be finished as soon as this returns. */
void pgcancel_start(ath_loop *l, PGconn *pg);

#endif
