/* core/http/call.h - requests of our own to our own routes (ath_req_api.call).
 *
 * A called request is a child of the task that calls, on its loop, and goes through the phases like
 * one from a socket. It shares what says who asks (client, keys, addresses, ids, trace) with the
 * request it comes from, and ends when that ends. Called requests may call; how deep is bounded.
 *
 * A process without routes (a command) calls those of a running server over HTTP: client_remote().
 */
#ifndef CORE_HTTP_CALL_H
#define CORE_HTTP_CALL_H

#include "http/http.h"

enum { CALL_DEPTH = 4, CALL_BODY = 1u << 20 }; /* CALL_BODY: most bytes of an answer by default */

/* Whose routes are called; before the loops serve. NULL: this process serves none. */
void call_routes(const struct http *h);

/* As whom a called request asks, where that is not said by its headers. */
struct call_as {
    ath_str key;                 /* public id of a key; empty: none */
    bool self;                   /* the process itself */
};
const struct call_as *call_as(const struct req *r); /* of one that came by `call` */

int call_start(ath_task *t, const ath_fetch *f, ath_then *then, void *arg, ath_err *e);

#endif
