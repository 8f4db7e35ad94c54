/* plugins/shared/dataplane/ask.h - one question to the client's database, and what to do when the
 * catalogue that it was built from is outdated.
 *
 *     read      the request, by names: what is wrong with it is said before anything else
 *     bind      names to the snapshot, rights, the statement
 *     send      instead of asking the database at once: it may know the answer
 *     answer    its rows
 *
 * A name that the snapshot does not have may be new, and a statement may find that one is gone:
 * either way the catalogue is refreshed, once, and the request is read again from the start. A
 * statement that failed so has done nothing, so this holds for writes too.
 *
 * The struct lives in the request's arena, first member of what the route needs besides.
 */
#ifndef PLUGINS_SHARED_DATAPLANE_ASK_H
#define PLUGINS_SHARED_DATAPLANE_ASK_H

#include <stdbool.h>

#include <athena/service/catalog.h>

struct dp_ask;
typedef int dp_ask_step(ath_req *r, struct dp_ask *a, ath_err *e);

struct dp_ask {
    const ath_catalog *catalog;
    dp_ask_step *read; /* NULL: nothing to read */
    dp_ask_step *bind; /* fills `query`, or answers itself (`query` without statements) and
                        * returns 0; sets `unknown` when its failure may be the snapshot's */
    dp_ask_step *send; /* NULL: dp_ask_send(), which it calls unless it answers itself */
    int (*answer)(ath_req *r, struct dp_ask *a, const ath_rows *rows, ath_err *e);
    /* The database refused it for good; puts it into other words, perhaps. NULL: it needs none. */
    int (*failed)(ath_req *r, struct dp_ask *a, int rc, ath_err *e);
    uint64_t answered; /* in `failed`: statements before the one that was refused */
    const ath_snapshot *snapshot; /* in `bind`: never NULL */
    ath_query query;
    bool unknown;
    bool begun, refreshed; /* set by dp_ask(): there is no second time */
};

int dp_ask(ath_req *r, struct dp_ask *a, ath_err *e);

/* From `read` to `bind` is behind it: sends a->query. */
int dp_ask_send(ath_req *r, struct dp_ask *a, ath_err *e);

/* For a `send` of its own, when the database refused its query: either everything begins anew with
 * a fresh catalogue (0), or this is final. */
int dp_ask_failed(ath_req *r, struct dp_ask *a, int rc, ath_err *e);

#endif
