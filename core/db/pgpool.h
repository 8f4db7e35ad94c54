/* core/db/pgpool.h - the connections of one loop to one database, and the line in front of them.
 *
 * Trips wait in order of arrival, in one of three lines, and leave when the turn of the loop ends:
 *
 *     shared  plain reads. All that came in one turn go out together, a group in front of one Sync,
 *             over as few connections as keep flowing: `width` of them, which grows while somebody
 *             waits for long and falls back afterwards. What arrives while these are busy is the
 *             next group.
 *     own     everything else, and reads that are slow as a rule or run again: a connection each.
 *     held    what keeps its connection at the pace of whoever asked (sessions, rows in pieces):
 *             a connection each, of a share that leaves the others some (pgbudget_hold())
 *
 * The line is bounded, and nobody waits in it past the acquire timeout. While it does not empty, its
 * pace is measured; who has less than half of the time that it would take is refused at once. Connections are opened when
 * they are needed, a few at a time. While the database cannot be reached everybody is refused at
 * once, and the pool tries again by itself, at growing intervals with jitter.
 *
 * For the loop's own thread, except pgpool_retarget(), which is posted.
 */
#ifndef CORE_DB_PGPOOL_H
#define CORE_DB_PGPOOL_H

#include "db/db_priv.h"
#include "db/pgconn.h"

struct pgpool;

struct pgpool *pgpool_of(struct db_client *c, ath_loop *l); /* made at first use */
struct db_client *pgpool_client(const struct pgpool *p);
/* < 0: refused: nobody may wait any more, or the line would surely take longer than the task has. */
int pgpool_admit(const struct pgpool *p, ath_task *t, uint32_t timeout_ms, ath_err *e);
void pgpool_submit(struct pgpool *p, struct trip *t);
void pgpool_uncount(struct db_client *c, ath_loop *l); /* see db_client_uncount() */
void pgpool_leave(struct trip *t);       /* out of the line or off its connection */
/* The connection that it was on is lost: ends it with the words for that. */
void pgpool_trip_lost(struct trip *t, const ath_err *why);
void pgpool_close_all(struct db_loop *on); /* ends what waits; frees them */
struct pgconn_options pgpool_connect_options(void); /* what all connections have in common */
void pgpool_close_of(struct db_client *c, ath_loop *l); /* this client's, if there is one */
void pgpool_warm(struct pgpool *p);      /* opens this loop's share of pool_min */

/* The target has changed: connections to the old one close as they become idle. */
void pgpool_retarget(struct pgpool *p);

/* Its client is shut: connections close as they become idle, and who waits is refused. It ends when
 * none is left; pgpool_retarget() before that opens it again. */
void pgpool_shut(struct pgpool *p);

#endif
