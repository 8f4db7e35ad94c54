/* plugins/routes/deferred/deferred.h - the queue of requests that are carried out later: what puts
 * them there (the service athena.deferred@1), and what callers and operators see and do of it.
 *
 * A caller sees a request by the right to do what it does, for its client; one of another client is
 * not there for it. Administrators see all.
 */
#ifndef ROUTES_DEFERRED_H
#define ROUTES_DEFERRED_H

#include <stdbool.h>

#include <athena/service/deferred.h>
#include <athena/service/rights.h>
#include <athena/service/secrets.h>

#include "admin/admin.h"
#include "deferred/queue.h"

struct deferred_config {
    int32_t public_routes;
    int64_t most, most_per_client; /* that wait */
};

struct deferred_state {
    const ath_rights *rights;
    const ath_secrets *secrets;
};

enum { M_EVENTS, METRICS };

/* What becomes of a request, by kind, for the metric. */
void deferred_count(const char *kind, const char *status);
void deferred_requeued(ath_str kind);

/* The cause of a failure of the control plane, in the words of the contract: "logging client 'x' is
 * not connected", else the database's. */
ath_str deferred_cause(ath_task *t, ath_err *e);

extern const ath_deferred deferred_service; /* put.c */

/* prove.c: sees to it that the key of a request that could not be checked is checked once it can
 * be. `id` and `key` are copied. */
void deferred_prove(ath_req *r, ath_str id, ath_str key);
ath_handler deferred_key;

/* ---- access.c: who may ---- */

/* A row that is asked about begins with these columns. */
#define DEFERRED_ACCESS                                                                            \
    "client_name, payload->>'kind', payload->'request_body'->>'table_name', "                      \
    "payload->'request_body'->>'schema_name', context->>'key'"
enum { A_CLIENT, A_KIND, A_TABLE, A_SCHEMA, A_KEY, ACCESS_COLUMNS };

/* Before a row is looked for: the answer does not tell whether there is one. */
int deferred_may_ask(ath_req *r, bool change, ath_err *e);

/* May the caller see (`change`: change) the request of row 0? As an operation: `then` runs when it
 * may, with d->rows those of `row`; else the request is refused or answered. */
int deferred_may(ath_req *r, bool change, const ath_rows *row, ath_then *then, void *arg,
                 ath_err *e);

/* What makes a finished request wait again, in an UPDATE of q; $1: an administrator asks. The engine's
 * own retry and redrive (athena/job.h) do the same, but a redrive by kind, which this queue alone has,
 * and what callers may ask for are ours. */
#define DEFERRED_AGAIN                                                                             \
    "status = 'queued', attempts = 0, next_attempt_at = null, completed_at = null,"                \
    " error_message = null, result_summary = null, cancel_requested_at = null,"                    \
    " lease_token = null, lease_expires_at = null, execution_daemon_id = null,"                    \
    " updated_at = now(), " DEFERRED_REVIVE("$1::bool")

ath_handler deferred_status, deferred_requeue, deferred_cancel; /* status.c */
ath_handler deferred_list, deferred_redrive;                    /* list.c */

extern const char openapi_yaml[];

#endif
