/* plugins/shared/deferred/queue.h - the table of deferred requests as the job engine knows it: the
 * routes put requests into it, the worker carries them out.
 *
 * What came from a caller who could not be checked waits until it could (routes-deferred, prove.c).
 */
#ifndef PLUGINS_SHARED_DEFERRED_QUEUE_H
#define PLUGINS_SHARED_DEFERRED_QUEUE_H

#include <athena/plugin.h>

#define DEFERRED_TABLE "public.gateway_deferred_request_queue"
#define DEFERRED_QUEUE "deferred_query_worker" /* cap.name of the queue and of its worker */

/* What a finished request that is to wait again gets beyond what every job gets, in an UPDATE of q: it is
 * carried out anew, unless it may have taken effect without anybody knowing; and an administrator who
 * asks (SQL of a boolean) vouches for a key that could not be checked. */
#define DEFERRED_REVIVE(admin)                                                                     \
    "began_at = case when q.status = 'completed' or q.began_at is null"                            \
    " or q.error_message = 'outcome unknown' then null else q.began_at end,"                       \
    " context = case when " admin " and q.context->>'who' = 'unchecked'"                           \
    " then q.context || '{\"who\":\"key\"}' else q.context end"

#define DEFERRED_QUEUE_MEMBERS                                                                     \
    ATH_CAP(ath_queue, ATH_CAP_QUEUE, DEFERRED_QUEUE), .table = "gateway_deferred_request_queue",  \
        .key = "request_id", .args = "payload", .status = "status", .waiting = "queued",           \
        .claimed = "running", .done = "completed", .dead = "dead_letter", .created = "created_at", \
        .due = "next_attempt_at", .attempts = "attempts", .token = "lease_token",                  \
        .until = "lease_expires_at", .owner = "execution_daemon_id", .client = "client_name",      \
        .cancel = "cancel_requested_at", .error = "error_message", .result = "result_summary",     \
        .finished = "completed_at", .touched = "updated_at", .flags = ATH_QUEUE_QUIET,                \
        .revive = DEFERRED_REVIVE("true"),                                                         \
        .where = "context->>'who' is distinct from 'unchecked'"

#endif
