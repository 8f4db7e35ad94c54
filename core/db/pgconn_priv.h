/* core/db/pgconn_priv.h - what the halves of a connection share: pgconn.c connects and sends,
 * pgread.c reads, pgcopy.c does what a COPY wants.
 */
#ifndef CORE_DB_PGCONN_PRIV_H
#define CORE_DB_PGCONN_PRIV_H

#include "db/pgconn.h"

enum sent_kind {
    SENT_PARSE = 1,
    SENT_STMT,  /* its result is the trip's */
    SENT_INNER, /* BEGIN, settings, COMMIT: only a failure counts */
    SENT_CLEAN, /* ours: ROLLBACK, DISCARD ALL, DEALLOCATE */
    SENT_SYNC,
    SENT_COPY, /* its COPY, outside of a pipeline: see pgcopy.h */
};

struct sent {
    struct trip *trip; /* NULL: nobody waits for it any more */
    struct prep *prep;
    uint8_t kind;
    bool got;    /* its result came; the NULL behind it has not */
    bool pieces; /* its rows come in pieces; `asked`: libpq was told so */
    bool asked;
    bool last; /* with it the trip is finished */
};

static inline struct sent *ring_at(struct pgconn *c, uint32_t i)
{
    return &c->sent[(c->head + i) & (c->cap - 1)];
}

static inline void ring_pop(struct pgconn *c)
{
    struct sent *s = ring_at(c, 0);

    if (s->prep)
        prep_unuse(s->prep);
    c->head = (c->head + 1) & (c->cap - 1);
    c->count--;
}

/* The trip is on the connection no more; entries that are still awaited belong to nobody. */
void pgconn_take_off(struct pgconn *c, struct trip *t);
void pgconn_run_again(struct pgconn *c, struct trip *t);

/* It is lost: tells the pool and closes. */
void pgconn_broke(struct pgconn *c, const ath_err *why);
void pgconn_too_late(struct pgconn *c, const char *what);
/* What libpq says, in one line: it names host and user, never a password. */
void pgconn_broke_libpq(struct pgconn *c);

/* Puts a message into libpq's buffer, or only its entry into the ring. False: libpq did not take
 * it. */
void pgconn_put_entry(struct pgconn *c, enum sent_kind kind, struct trip *t);
bool pgconn_put_text(struct pgconn *c, struct trip *t, const char *sql);
bool pgconn_put_sync(struct pgconn *c, struct trip *t, bool last);
/* What was put together leaves in one write. */
void pgconn_leave(struct pgconn *c, bool sent);
void pgconn_listen_to(struct pgconn *c, int events); /* UV_READABLE, UV_WRITABLE */

/* Reads what there is and gives it to whom it belongs. */
void pgconn_receive(struct pgconn *c);
/* All that was sent has been answered; `idle`: and no transaction is open. */
void pgconn_answered(struct pgconn *c, bool idle);

#endif
