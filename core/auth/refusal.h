/* core/auth/refusal.h - a request that a limit turned away, as a row of gateway_admission_events.
 *
 * It is an event "gateway_admission" with a fact for each column (contract auth.md 10.5); a sink that
 * names it writes it in batches (sink-postgres), and counts what its bounded queue must drop. Without
 * such a sink it costs one look.
 */
#ifndef CORE_AUTH_REFUSAL_H
#define CORE_AUTH_REFUSAL_H

#include "http/req.h"

struct refusal {
    const char *decision;        /* "rejected", "deferred" */
    const char *reason;          /* "admission_limit_exceeded"; lives as long as the process */
    uint64_t retry_after_s;
    uint64_t window_s;           /* 0: not of a window, and it has no limits either */
    uint64_t global, per_client;
    ath_str meta;                /* a JSON object */
};

/* The words that X-Athena-Defer is meant by, on the route that honours it. */
bool refusal_defer_asked(const struct req *r);
bool refusal_query_route(const struct req *r);

void refusal_tell(const struct req *r, const struct refusal *f);

#endif
