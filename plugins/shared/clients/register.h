/* plugins/shared/clients/register.h - a database becomes a client: one row of the catalogue
 * (athena_clients), told to every process, and this process acting by it.
 *
 * Whoever makes databases registers them here: provisioning routes, and clone jobs when their data is
 * verified. What is refused has changed nothing:
 *
 *     reserved    the names of the control plane, of the key store and of the benchmark client belong to
 *                 nobody: who took them over would hold every other client (P1)
 *     not yours   with `owner`, the name may be new, or a client that the same owner has registered;
 *                 what the configuration names is neither
 *
 * An operator (no owner) may replace any other client, as the published server lets him.
 */
#ifndef PLUGINS_SHARED_CLIENTS_REGISTER_H
#define PLUGINS_SHARED_CLIENTS_REGISTER_H

#include <stdbool.h>

#include <athena/plugin.h>
#include <athena/service/clients.h>
#include <athena/service/secrets.h>

enum { CLIENT_NAME_MOST = 255, CLIENT_CONNECT_MS = 3000 };

struct registration {            /* lives, with its texts, until `then` */
    const ath_clients *clients;  /* the services of the plugin that asks */
    const ath_secrets *secrets;
    ath_str name;                /* as it is to be shown; blanks around it are dropped */
    ath_str uri;                 /* plain: sealed where secrets are; written as postgresql:// */
    ath_str description;         /* p NULL: none */
    ath_str metadata;            /* a JSON object; replaces what was there. Empty: {} */
    ath_str owner;               /* the client that asks, as the metadata name it in
                                  * "requested_by_client"; empty: an operator or a job of his */
    bool runtime;                /* this process serves it when `then` comes */
    bool catalog;                /* a row, so that every process serves it, after a restart too */
    bool fenced;                 /* of a job: the row is written while its lease is held, else not */
    uint32_t connect_ms;         /* how long its database is waited for; 0: CLIENT_CONNECT_MS */
    char id[40];                 /* athena_client_id of the row that client_register() wrote; set by it,
                                  * or by who remembers it for client_unregister() */
};

enum {                           /* of client_register(): d->status */
    REGISTERED_ROW = 1,          /* the row was written */
    REGISTERED_NEW = 2,          /* and is a new one */
    REGISTERED_LIVE = 4          /* this process acts by it, whether its database answers or not */
};

/* All of these are operations.
 *
 * Neither wanted: it ends at once. Without `catalog` the client is this process's alone and ends with it;
 * its name must be new, or lead there already. Failures: "client_reserved" and "client_not_yours" (409),
 * "VALIDATION_FAILED" for the name, "feature_unavailable" without a control plane, else what the
 * database said. A database that does not answer is none. */
int client_register(ath_task *t, struct registration *g, ath_then *then, void *arg, ath_err *e);

/* Before anything is made for it: fails as client_register() would. */
int client_may_register(ath_task *t, const struct registration *g, ath_then *then, void *arg,
                        ath_err *e);

/* Takes back a row that was new, when a later step fails: as if it had never been written. */
int client_unregister(ath_task *t, const struct registration *g, ath_then *then, void *arg,
                      ath_err *e);

/* postgres:// and athena:// as postgresql://; other texts as they are. In the arena. */
ath_str client_uri_normal(ath_arena *a, ath_str uri);

#endif
