/* core/auth/session.h - administrators' sessions: a token of the client's own database (auth.md 2.6).
 *
 * A session counts for the client whose database holds it, and nowhere else: on routes of class
 * EITHER that are about that client, for requests that name it (D-9). What grants it is the user's
 * own role (admin, super_admin) or a scope; roles of organizations do where gateway.session_org_roles
 * says so. A database without tables of sessions has none.
 */
#ifndef CORE_AUTH_SESSION_H
#define CORE_AUTH_SESSION_H

#include "http/req.h"

/* `Authorization: Bearer TOKEN`, else the cookie athena-auth.session-token. Empty: none. */
ath_str session_token(struct req *r);

/* Is it a session of an administrator in the database of `client`? d->count: 1 or 0. */
int session_look(struct req *r, ath_str client, ath_str token, bool org_roles, ath_then *then,
                 void *arg, ath_err *e);

#endif
