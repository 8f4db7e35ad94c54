/* core/db/wire.h - plain reads in the protocol's own words, past libpq.
 *
 * libpq asks for the description of a statement's columns each time it runs, and PostgreSQL looks
 * it up and sends it each time. A prepared statement whose columns are known needs neither: its
 * answer is then a Bind, an Execute and the rows. So a connection that libpq made, and that has
 * no TLS and nothing of libpq's under way, is written to and read here for such a group, up to
 * the Sync's answer:
 *
 *     ours    Bind Execute  Bind Execute  ...  Sync
 *     theirs  BindComplete DataRow* CommandComplete  ...  ReadyForQuery
 *
 * libpq does not notice: it is idle before and after. What it does not hear of (parameters,
 * notices) is of no use to us. A server that says anything else is taken for lost, and its reads
 * run again.
 */
#ifndef CORE_DB_WIRE_H
#define CORE_DB_WIRE_H

#include "db/prep.h"
#include "db/query.h"
#include "lib/buf.h"

struct wire {
    struct buf out;              /* to be sent */
    size_t sent;                 /* of it */
    char *in;                    /* read; NULL until the first time */
    size_t at, n, cap;           /* taken, filled, size */
};

struct wire_msg {
    char type;
    const char *p;               /* behind type and length; valid until the next wire_fill() */
    size_t n;
};

enum wire_io { WIRE_LOST = -1, WIRE_DONE = 0, WIRE_MORE = 1 };

void wire_run(struct wire *w, const struct prep *p, const struct trip_stmt *s);
void wire_sync(struct wire *w);
enum wire_io wire_flush(struct wire *w, int fd); /* MORE: when it can be written to */

/* Reads once. MORE: there may be more already. errno tells why it is LOST; 0: it was closed. */
enum wire_io wire_fill(struct wire *w, int fd);
/* 1: the next message; 0: it is not whole yet; -1: it is none. */
int wire_next(struct wire *w, struct wire_msg *ret);
bool wire_settle(struct wire *w); /* the Sync was answered. False: something else has begun */
void wire_free(struct wire *w);

/* The fields of an ErrorResponse, borrowed from it. False: it is none. */
bool wire_error(const struct wire_msg *m, struct db_failure *ret);
uint64_t wire_affected(const struct wire_msg *m); /* of a CommandComplete */

#endif
