/* core/server/own.h - the socket of a process that serves nobody.
 *
 * A process of workers opens no port. What it says of itself is read over a Unix socket:
 *
 *     curl --unix-socket /run/athena/athena_daemon.sock http://daemon/health
 *
 *     GET /health     its kind, its process, its workers; 200
 *     GET /ready      200; 503 while it stops
 *     GET /metrics    as a server's
 *
 * Nothing else answers there: the routes of plugins that it has loaded are for its own jobs. The socket
 * is for the process's user and group. daemon.socket names it; without that it is KIND.sock in
 * server.runtime_dir, or in server.state_dir when that is not there; KIND-PID.sock when a process like
 * this one has it.
 */
#ifndef CORE_SERVER_OWN_H
#define CORE_SERVER_OWN_H

#include "http/http.h"
#include "server/setup.h"

/* Routes and phases of the socket, with the limits of `like`; before the loops run. */
int own_setup(struct http *own, const struct http *like, const struct role *role, ath_err *e);
void own_free(struct http *own);

/* Listens. Without any folder to do so in it is said, and nobody is answered: *ret is NULL. */
int own_listen(const struct setup *s, ath_loop *control, ath_loop *const *loops, uint32_t n,
               struct acceptor **ret, ath_err *e);

#endif
