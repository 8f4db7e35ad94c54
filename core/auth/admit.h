/* core/auth/admit.h - admission: how many requests a window takes, of everybody and of each client.
 *
 * The phase "admit" stands before the key check and is left out of the table when nothing is limited.
 * Windows slide (base/window.h), and the configured numbers are those of the whole process. With the
 * backend "redis" all processes share them: one script counts both windows in one trip, and the
 * request waits for it, for ATHENA_REDIS_OP_TIMEOUT_MS at most. What was refused is not counted.
 *
 *     store well        Redis decides
 *     store lost        memory decides, until it is lost for longer than ATHENA_REDIS_COOLDOWN_MS
 *     for longer        admission_store_fail_mode: 503, or everything passes
 *
 * Exempt: gateway.admission_exempt_paths, OPTIONS, requests of our own (http/call.h). Clients count by
 * their folded name; all that no catalogue knows are one, "unknown". A query that is to be deferred
 * (X-Athena-Defer) is never refused: what bounds it is the queue.
 */
#ifndef CORE_AUTH_ADMIT_H
#define CORE_AUTH_ADMIT_H

#include "config/core_fields.h"
#include "http/http.h"

/* After the routes are known, before the loops serve. What cannot be counted as configured is said. */
void admit_configure(const struct core_config *c, const struct router *router, uint32_t loops);
void admit_stop(void);
bool admit_on(void);
void admit_loop_init(ath_loop *l);
void admit_loop_fini(ath_loop *l);

int admit_check(struct req *r, ath_err *e); /* the phase */

#endif
