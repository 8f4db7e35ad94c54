/* plugins/shared/dataplane/defer.h - answering that a request will be carried out later (contract
 * 28): it is put into the queue, and the caller is told its id with 202.
 *
 * Body and rights have been checked; where the caller could not be (a route's `defer`, see
 * ath_route), the queue knows.
 */
#ifndef PLUGINS_SHARED_DATAPLANE_DEFER_H
#define PLUGINS_SHARED_DATAPLANE_DEFER_H

#include <stdbool.h>

#include <athena/service/deferred.h>

#include "lib/buf.h"

struct dp_defer {
    const ath_deferred *queue;   /* NULL: there is none */
    ath_deferral as;
    const char *operation;       /* "query", for the words of a failure */
    const char *message;
    bool names_client;           /* the answer does */
};

/* As an operation would. */
int dp_defer(ath_req *r, const struct dp_defer *x, ath_err *e);

/* The answer; `more`: members behind those that each has, from their comma on. */
int dp_deferred(ath_req *r, const char *message, ath_str more);

#endif
