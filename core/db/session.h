/* core/db/session.h - a connection that one task holds (ath_pg_api.open).
 *
 *     opening  ->  free  <->  runs a query  ->  closed
 *                    |            |
 *                    +---> lost <-+     no connection any more; its task still has to close it
 *
 * An open is a trip like others: it waits in its pool's line of those that hold, or for a
 * connection of its own (ATH_PG_OWN). Later queries are trips that go straight to the session's
 * connection, one at a time. The struct lives in its task's arena, so that a session used after its
 * end is told so.
 *
 * The connection goes back when the session is closed, by the task or at its end: what is open is
 * rolled back, and a connection whose state is unsure (a query was stopped on it) is cancelled and
 * closed by pgconn's own rules for trips that end early.
 */
#ifndef CORE_DB_SESSION_H
#define CORE_DB_SESSION_H

#include "db/pgconn.h"

/* Of an open: begins it. `t` is complete but for its session. < 0: refused, `e` has the words. */
int session_open(struct db_client *c, struct trip *t, ath_task *task, ath_err *e);

/* Whether `task` may run `q` on it now; then its trip. */
int session_admit(const ath_session *s, ath_task *task, const ath_query *q, ath_err *e);
void session_run(ath_session *s, struct trip *t);

/* Its running trip ends early, because of `why` (static): off its connection, which the session
 * loses by this. The caller finishes the trip. */
void session_leave(struct trip *t, const char *why);
void session_finished(struct trip *t, int rc); /* called by trip_finish() */

/* From the connection's owner. */
void session_given(struct trip *t, struct pgconn *c); /* a connection for its open */
void session_ready(struct pgconn *c);
void session_again(struct trip *t);
void session_lost(struct pgconn *c);

struct db_client *session_client(const ath_session *s);

#endif
