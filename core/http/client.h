/* core/http/client.h - requests of ours to others (ath_host.fetch), and to a running server from a
 * command (ath_req_api.call).
 *
 * libcurl's multi interface does HTTP; the loop that the task lives on drives it (client_loop.c).
 * Names are looked up by io/resolve.h, never by libcurl, and libcurl is told the addresses, so those
 * that were checked are those that are connected to. Redirects are followed here, one request after
 * the other, each looked up and checked again.
 *
 * What holds for every request: http and https alone; certificates are verified; no proxy, no netrc,
 * no cookies; HTTP/1.1; no decompression. Its time is the least of ath_fetch.timeout_ms and the
 * task's deadline; connecting takes CLIENT_CONNECT_MS at most. Failures name scheme, host and port of
 * the address, nothing else of it. Connections are kept and used again; those of requests that may
 * only reach public addresses (ATH_HTTP_PUBLIC) are kept apart from the others.
 *
 * A redirect to another origin takes along only headers of CLIENT's list of harmless ones, so no key
 * of any name is handed on; from https to http it is refused.
 */
#ifndef CORE_HTTP_CLIENT_H
#define CORE_HTTP_CLIENT_H

#include "io/task.h"

enum {
    CLIENT_CONNECT_MS = 10000,
    CLIENT_BODY = 1u << 20,      /* most bytes of a whole answer by default */
    CLIENT_HEAD = 64 * 1024,     /* of an answer's header fields */
    CLIENT_REDIRECTS = 10,
    CLIENT_KEPT = 32             /* idle connections, per loop and kind */
};

struct client_options {
    const char *ca_file;         /* PEM, instead of the system's; NULL or empty: the system's */
    uint64_t idle_ms;            /* a connection that was idle for longer is not used again; 0: 90 s */
    const char *agent;           /* User-Agent, when a request names none */
};

/* Once, before the loops serve; what it points to must live until client_stop(). Until then, and
 * after client_stop(), requests are refused. */
int client_start(const struct client_options *o, ath_err *e);
void client_stop(void);          /* after the loops have stopped */
void client_loop_fini(ath_loop *l); /* closes its connections; requests that are left are canceled */

/* ath_host.fetch; the public header documents it. */
int client_fetch(ath_task *t, const ath_fetch *f, ath_then *then, void *arg, ath_err *e);

/* For a process that serves no routes: ath_req_api.call goes to the server at `url`
 * ("http://localhost:4052", a path may follow) with `key` as X-Athena-Key (NULL or empty: none).
 * Texts live until the loops have stopped; NULL: there is no such server. */
void client_remote(const char *url, const char *key);
bool client_has_remote(void);
int client_call(ath_task *t, const ath_fetch *f, ath_then *then, void *arg, ath_err *e);

#endif
