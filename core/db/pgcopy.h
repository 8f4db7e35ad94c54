/* core/db/pgcopy.h - COPY ... FROM STDIN as the last statement of a trip.
 *
 * libpq has no COPY in a pipeline. So such a trip takes three steps on its connection, with a round
 * trip each:
 *
 *     BEFORE   in the pipeline: BEGIN, settings, the statements in front of the COPY
 *     ASKED    outside of it: the COPY was sent,
 *     DATA         the stream is sent as fast as the socket takes it,
 *     DONE         its end was sent, and the server's answer is awaited
 *     END      in the pipeline again: COMMIT, or ROLLBACK when something failed
 *
 * In a session with an open transaction there is neither BEGIN nor COMMIT. Nothing of the trip has
 * taken effect before its COMMIT has left (trip.undone), so a connection that is lost earlier
 * leaves no doubt.
 *
 * libpq hides what the server says while data is sent, and may read it in passing when it writes.
 * So notices are turned off, and what the server says is a failure, unless it shows soon that it
 * was a notice after all (INFO cannot be turned off); then sending ends. What begins like a
 * failure, seen before libpq reads it and where TLS does not hide it, is one at once. That it said
 * something is seen before each piece, on TCP behind it too, by the kernel's count; a Unix socket
 * that is writable takes a piece at once, so there libpq has no reason to read. A failure that
 * comes in one packet with an INFO is heard when the data is at its end.
 */
#ifndef CORE_DB_PGCOPY_H
#define CORE_DB_PGCOPY_H

#include "db/pgconn.h"

struct sent;

enum pgcopy_step { PGCOPY_NONE, PGCOPY_BEFORE, PGCOPY_ASKED, PGCOPY_DATA, PGCOPY_DONE, PGCOPY_END };

/* All that was sent has been answered: the next step. */
void pgcopy_next(struct pgconn *c);
/* A result, not a failure, of the COPY's entry; takes `res`. False: nothing else is to be read now.
 */
bool pgcopy_take(struct pgconn *c, struct sent *s, PGresult *res);

/* While it sends: the socket, and a deadline that has passed. */
void pgcopy_poll(struct pgconn *c, int events);
void pgcopy_watch(struct pgconn *c);
/* Sends no more, if it does; the server is told why and undoes it. */
void pgcopy_stop(struct pgconn *c, const char *why);
/* Its trip goes off the connection, so the stream is not looked at any more. */
void pgcopy_let_go(struct pgconn *c, struct trip *t);

/* The server may think for as long as the trip has. */
static inline bool pgcopy_runs(const struct pgconn *c)
{
    return c->copying >= PGCOPY_ASKED && c->copying <= PGCOPY_DONE;
}

#endif
