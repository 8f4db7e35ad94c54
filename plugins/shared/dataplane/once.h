/* plugins/shared/dataplane/once.h - what is done once, whatever becomes of its answer (27.3).
 *
 * A caller who does not know whether a request was carried out sends it again with the same
 * Idempotency-Key and is given the answer of the first time. The answer is kept in the client's own
 * database, written by the transaction that it is the answer of: either both are there or neither.
 *
 *     open    BEGIN, the key's lock, what is kept under the key     kept: that is the answer
 *     effect  SAVEPOINT, the caller's statements                    refused: back to the savepoint
 *     keep    the answer or the refusal, COMMIT
 *
 * The lock is an advisory one of the transaction: whoever finds it taken is told at once that the
 * request still runs. Kept are successes, and refusals that would come again (a constraint, a value
 * that does not fit); a lost connection, a deadlock or a deadline are not. What is older than a day
 * is as if it was not there, and each keeping removes some of it.
 *
 * An operator installs the table (`athena idempotency install`); without it a request with a key is
 * refused.
 *
 * An effect is one trip, or `run` does it in as many as it likes. Those are a caller's own SQL:
 * whatever it left behind in the session (a role, a prepared statement gone, an encoding), what is
 * kept is kept by the role that the connection has, as it was sent.
 */
#ifndef PLUGINS_SHARED_DATAPLANE_ONCE_H
#define PLUGINS_SHARED_DATAPLANE_ONCE_H

#include <stdbool.h>

#include <athena/service/catalog.h>

enum { DP_ONCE_KEY = 255, DP_ONCE_ANSWER = 8 << 20 }; /* most bytes of each */

#define DP_ONCE_SAVEPOINT "SAVEPOINT effect" /* the first statement of a `run` */

struct dp_once {                 /* in the request's arena */
    ath_str key;                 /* empty: nobody asked for it */
    ath_str request;             /* what must be the same when the key comes again: the body */
    const char *begin;           /* "BEGIN", or with an isolation; static */
    ath_query effect;            /* its statements; flags of its own it has none */
    /* The effect is there, not yet for others: sets status and body, which live in the arena. */
    int (*answer)(ath_req *r, struct dp_once *o, const ath_rows *rows, ath_err *e);
    /* Instead of `effect` and `answer`; effect.timeout_ms is of the trips that are not its own. Its
     * statements run on o->session, flagged ATH_PG_RAW; dp_once_keep() or dp_once_refused() ends
     * it. NULL: there is one trip. */
    int (*run)(ath_req *r, struct dp_once *o, ath_err *e);
    /* The database refused the effect, or to begin with it; may find better words. Returns the class of what is in `e`
     * now, or 0 when it began the request anew. o->answered: statements before the one that failed,
     * or more than there are when it was none of them. A `run` has words of its own: it is called
     * for the beginning only. NULL: needs nothing. */
    int (*failed)(ath_req *r, struct dp_once *o, int rc, ath_err *e);
    /* It is committed: replies. */
    int (*committed)(ath_req *r, struct dp_once *o, ath_err *e);
    void *arg;                   /* the caller's */
    int status;
    ath_str body;
    uint64_t answered;
    ath_session *session;
    /* inside */
    ath_str param[7];            /* of the table's columns, in their order */
    ath_stmt stmt[3];
};

/* The key of the header or, if it has one, of the body; both must agree. 400: it is no key. */
int dp_once_key(ath_req *r, ath_str in_body, ath_str *ret, ath_err *e);

/* Whether the database has the table. *ret_unknown: the snapshot does not know it. */
int dp_once_installed(const ath_catalog *catalog, const ath_snapshot *s, bool *ret_unknown,
                      ath_err *e);

/* As an operation would: 0, and one of the functions above goes on, or an answer was given. */
int dp_once(ath_req *r, struct dp_once *o, ath_err *e);

/* The ends of `run`. Its effect is there: keeps o->status and o->body, then o->committed. */
int dp_once_keep(ath_req *r, struct dp_once *o, ath_err *e);
/* It was refused with `rc`, for what `e` says: nothing is left of it but, if it would come again,
 * the refusal. */
int dp_once_refused(ath_req *r, struct dp_once *o, int rc, ath_err *e);

/* 0: so many bytes of an answer can be kept. A `run` asks while it still gathers them. */
int dp_once_fits(size_t n, ath_err *e);

#endif
