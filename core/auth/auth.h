/* core/auth/auth.h - the check of a request's caller: the phase "auth", and allow() behind it.
 *
 * In order: failures of this address (brake.h), the administrators' key, whether keys are enforced for
 * the client, the key itself, its client, the route's own right, its addresses, learning (virgin.h).
 * Rights for relations are asked for by the handler (allow()), before any SQL. On routes of
 * administrators that are about one client, a session of its database counts where a key does not
 * (session.h). What came of it stays in r->auth for the account: the log of authentication is written
 * from there, once per request (audit.h). An administrator has no r->auth.
 *
 * The client that counts is the resolved one, folded once (D-1, D-2). Where keys are not enforced the
 * same is done and remembered, and the request goes on.
 */
#ifndef CORE_AUTH_AUTH_H
#define CORE_AUTH_AUTH_H

#include "auth/store.h"

struct auth {                    /* of one request, in its arena */
    const struct auth_key *key;  /* of the presented value, when its secret fits; NULL: none. Held as
                                  * long as the request */
    ath_str public_id;           /* presented, or of `key`; p NULL: nothing of a key's form came */
    const char *reason;          /* "api_key_authenticated", "missing_api_key_unenforced" ...; lives as
                                  * long as the process, as logs point at it */
    bool presented;              /* some value came */
    bool authenticated, authorized, enforced;
    bool admin, session;
    const ath_str *required;     /* names of rights that were asked for, each once; of a handler's where a
                                  * sink takes the log of key checks */
    uint32_t required_count;
    /* the check's own */
    ath_str given, secret;       /* what came, and its part; never shown */
    ath_str client;              /* folded; empty: none */
    struct ip_policy *policy;    /* NULL: nothing is said of addresses */
    ath_err *failure;            /* of learning */
    uint8_t looks;               /* how often the store was waited for */
    bool failed;                 /* it could not be asked */
    bool learned, asked_session;
    bool named;                  /* `given` is the public id of a key: a call of our own (http/call.h) */
    bool recalled;               /* `key` and `enforced` are of an earlier request's look (known.h) */
    bool session_unknown;        /* its database could not be asked */
};

enum auth_scope { AUTH_SCOPE_ALL, AUTH_SCOPE_DATA, AUTH_SCOPE_NONE };

struct auth_rules {
    enum auth_scope scope;       /* gateway.unenforced_scope: what stays open without enforcement */
    bool fail_open;              /* gateway.api_key_fail_mode */
    bool org_roles;              /* gateway.session_org_roles */
};
void auth_configure(const struct auth_rules *rules); /* before the first request */

/* A client's name as it counts: folded; the name itself where there is nothing to fold. */
ath_str auth_client(ath_arena *a, ath_str name);

/* All addresses that hold for a key, for this client; what lies in it lives as long as r's task. NULL, or
 * the scope of what cannot be told (ip_unavailable()). */
const char *auth_policy(struct req *r, const struct auth_key *k, ath_str client,
                        struct ip_policy *ret);

/* The phase: PHASE_NEXT, PHASE_WAIT or a refusal. */
int auth_check(struct req *r, ath_err *e);

/* http.allow: may the caller do all of these? */
int auth_allow(struct req *r, const ath_right *right, uint32_t n, ath_err *e);

#endif
