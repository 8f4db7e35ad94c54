/* core/server/account.h - what a request leaves behind: metrics, its line, and its one trace event.
 *
 * account_request() is http's `account`: once per request, on the request's loop. It counts the
 * request, writes the line "request completed" (athena::http) and, for a route with an operation,
 * counts that and writes one event athena_rs::gateway_trace: the 27 published fields in their
 * order, then ours. Most of the fields come from facts that the handler noted under the published names
 * (table_name, row_count, cached, cache_source ...); every noted fact is a key of `details`.
 *
 * Fields of ours, behind the published ones:
 *
 *     route, key_id                 the route's pattern; the key's public id
 *     request_bytes, response_bytes
 *     head_us, body_us              receiving the two
 *     queue_us                      until the handler began: earlier requests, keys
 *     wait_us, db_us                until the trip left (planning, a free connection); its time
 *     reply_us, send_us             from there to the answer's beginning; to its end
 *     ending                        answered failed client_left timed_out cut
 *     w3c_trace_id, span_id         of the traceparent
 *
 * Where a sink names them (sink-postgres, sink-ndjson) there are rows besides: events
 * "gateway_request" and "gateway_operation", one each for a request whose route is an operation, and
 * "gateway_route" where the handler (or a hook) noted route_source, route_outcome, route_pattern,
 * route_prefix, route_key, route_op, route_client and route_metadata (JSON); those are no details.
 * Without such a sink they cost one look.
 */
#ifndef CORE_SERVER_ACCOUNT_H
#define CORE_SERVER_ACCOUNT_H

#include "http/http.h"

/* A phase, right after "route": the request is in flight from here on. */
int phase_account(struct req *r, ath_err *e);

void account_request(struct req *r);

struct account_options {         /* of the rows; texts live as long as the process */
    bool enforced;               /* keys are */
    ath_str skip_user_agents;    /* a comma list: requests of those have no rows */
};

/* Before the loops serve. */
void account_configure(const struct account_options *o);
void account_loop_fini(void); /* on each thread that had requests */

#endif
