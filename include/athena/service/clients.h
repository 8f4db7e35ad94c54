/* athena/service/clients.h - "athena.clients@1": the clients of this process, for whoever changes
 * the catalogue (table athena_clients of the control plane).
 *
 * Every process follows the catalogue by itself: a change in it, told by NOTIFY athena_clients with
 * the client's name in the same transaction, is acted by within a second. `refresh` is for the
 * process that made the change, whose caller may rely on it with the next request.
 */
#ifndef ATHENA_SERVICE_CLIENTS_H
#define ATHENA_SERVICE_CLIENTS_H

#include <athena/plugin.h>

/* clang-format off */

enum { ATH_CLIENTS_REVEAL = 1 }; /* URIs with their passwords */

typedef struct {
    uint32_t size, pad;
    /* Ends when this process acts by what lies in the catalogue under `name` now and, where that is
     * to be connected, knows whether it is reachable; or when wait_ms have passed. d->status: 1 when
     * the catalogue was read, else 0. Never a failure of its own. */
    int (*refresh)(ath_task *t, ath_str name, uint32_t wait_ms, ath_then *then, void *arg,
                   ath_err *e);
    /* Ends when no request of the client runs in this process any more, or when wait_ms have passed:
     * d->count of them still run. The task that asks is not counted. */
    int (*drain)(ath_task *t, ath_str name, uint32_t wait_ms, ath_then *then, void *arg, ath_err *e);
    /* One as an object {"client_name", "source", "description", "pg_uri", "pg_uri_env_var",
     * "config_uri_template", "is_active", "is_frozen", "pool_connected"}; empty name: all as an array,
     * by name. Empty: unknown. */
    ath_str (*runtime)(ath_arena *a, ath_str name, uint32_t flags);
    /* Array of the names of those that are active, not frozen and connected, by name. */
    ath_str (*names)(ath_arena *a);
    /* Where tools of an operator's (pg_dump) find its database: with its password, in the arena.
     * ATH_E_MISSING: there is no such client; ATH_E_CONFIG: what it says cannot be used. */
    int (*uri)(ath_arena *a, ath_str name, ath_str *ret, ath_err *e);
    /* A client that has no row: this process alone serves it, until it ends or the catalogue names it.
     * Ends as `refresh` does. "client_not_yours" (ATH_E_CONFLICT): the name is known here, and does not
     * lead to `uri`. */
    int (*adopt)(ath_task *t, ath_str name, ath_str uri, uint32_t wait_ms, ath_then *then, void *arg,
                 ath_err *e);
} ath_clients;

/* clang-format on */
#endif
