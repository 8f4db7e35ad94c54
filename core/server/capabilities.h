/* core/server/capabilities.h - what the machine offers: tools on PATH, backup storage, Docker.
 *
 * A probe looks at files and variables only; it starts no process and contacts nobody. Requests
 * read what the last probe found.
 */
#ifndef CORE_SERVER_CAPABILITIES_H
#define CORE_SERVER_CAPABILITIES_H

#include "http/router.h"
#include "lib/buf.h"

enum { CAPABILITIES_EVERY_MS = 60000 };

/* `router` tells which routes are there; `env` NULL: getenv(). Probes once. */
void capabilities_start(const struct router *router, const char *(*env)(const char *name));
void capabilities_stop(void);

/* Looks again: by the server's timer, every CAPABILITIES_EVERY_MS. */
void capabilities_probe(void);

/* The program that the variable `override` names (NULL: none does), else `name` on PATH; false: there
 * is none. Looks at files, so not on the way of a request. */
bool capabilities_find(const char *name, const char *override, char *ret, size_t size);

/* The objects of the health documents. Any thread. */
void capabilities_json(struct buf *b);  /* {"pg_dump":{"available":true,"detail":"..."},...} */
void provisioning_json(struct buf *b);  /* {"local_docker":{...}} */

#endif
