/* core/auth/audit.h - what is kept of who came and what they changed.
 *
 * The log of key checks: an event "api_key_auth" for each request whose key was looked at, with the
 * published facts; a row for the sinks that name it. Requests that nobody could check (no key store, or
 * it was away) have none, as published; nor have those that passed by the admin key or an administrator's
 * session: their row in the log of requests says static_admin_key. The presented value leaves a
 * salted digest, and only when it has the form of a key: a password that was pasted by mistake does not
 * (D-33).
 *
 * The audit log: an event "athena_audit" for each request that may change something by a route of
 * administrators, and one line (athena::audit). It says who, where from, what they called, what came
 * of it, and the names of what they sent, never a value. Of those that were refused for want of a key
 * each thread keeps ten a second; the next row says how many were left out.
 */
#ifndef CORE_AUTH_AUDIT_H
#define CORE_AUTH_AUDIT_H

#include "http/req.h"

/* gateway.auth_log_unenforced: "full", "sampled" (one of a hundred) or "off": rows of requests that
 * brought no key where none is asked for. Lives as long as the process. Before the loops serve. */
void audit_configure(ath_str unenforced);

/* Does a sink take the log of key checks? */
bool audit_wants_keys(void);

/* Of a request that is over, where a sink takes rows: its row in the log of key checks. */
void audit_key(struct req *r);

/* Of one of ours that a request called: what it was asked for, and refused, is the request's. */
void audit_called(struct req *r);

/* Of a request that is over: its row and its line in the audit log, where it is worth one. */
void audit_change(struct req *r, int status, uint64_t duration_ns);

void audit_loop_fini(void);      /* on each thread that had requests */

#endif
