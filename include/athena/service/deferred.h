/* athena/service/deferred.h - "athena.deferred@1": the queue of requests that are carried out later
 * (table gateway_deferred_request_queue of the control plane).
 *
 * A route that defers has checked body and rights, puts the request and answers 202. What is put is
 * the request itself: route, method, client, body, the headers that change what it does, and who
 * asked. A worker sends it through the very same route later, with the rights that the key has then.
 *
 * A request whose caller could not be checked (x-athena-unchecked, see ath_route.defer) is put with
 * the public id of its key and a fingerprint of the secret; it waits until this process has seen the
 * key store agree with them, and is never carried out otherwise.
 */
#ifndef ATHENA_SERVICE_DEFERRED_H
#define ATHENA_SERVICE_DEFERRED_H

#include <athena/plugin.h>

typedef struct {
    uint32_t size, pad;
    const char *kind;            /* "gateway_query", "gateway_fetch", "gateway_insert" ... */
    const char *method;          /* that it is sent with later */
    ath_str  body;               /* an object, for readers of the table; empty: the request's own */
    ath_str  reason;             /* why; empty: it was asked for, or its caller was not checked */
} ath_deferral;

typedef struct {
    uint32_t size, pad;
    /* Of a request. Ends when it is stored. ATH_E_LIMIT: too much waits already (429); any other
     * failure: deferred_queue_unavailable, whose message is the cause alone. */
    ATH_OP(put, const ath_deferral *d);
    /* For the metric athena_gateway_deferred_events_total: "completed", "retry_scheduled" ... Both
     * texts live as long as the process. Any thread. */
    void (*count)(const char *kind, const char *status);
} ath_deferred;

#endif
