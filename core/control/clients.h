/* core/control/clients.h - the catalogue of clients, followed: what lies in athena_clients becomes the
 * registry of core/db, in every process, within a second of a change.
 *
 * At the start the configured clients are written into the catalogue (record_merge()), then all rows
 * are read and acted by. From then on NOTIFY athena_clients names what changed; every now and then
 * the table is looked at for changes that nobody told of. A name that nobody knows is looked up when
 * a request comes with it. When the control plane is away, or has no such table, what is known stays.
 *
 * Until the first reading was tried (and HOLD_MS at most) requests wait: an operator may have frozen
 * or moved what the configuration names.
 */
#ifndef CORE_CONTROL_CLIENTS_H
#define CORE_CONTROL_CLIENTS_H

#include <athena/service/clients.h>

#include "config/clients.h"
#include "db/client.h"
#include "lib/buf.h"

enum { CLIENTS_MOST = 20000, HOLD_MS = 3000 };

struct clients_options {         /* borrowed for as long as the process lives */
    const struct config *config; /* its variables */
    const struct config_clients *clients;
    ath_str control;             /* name of the control plane's client; empty: there is none */
    bool lazy;                   /* databases are connected to when somebody asks them */
    bool loading;                /* gateway.database_backed_client_loading */
    bool overwrite;              /* gateway.config_sync */
    uint64_t poll_ms;
    bool auto_disable;           /* gateway.catalog_client_load_failure_* */
    int64_t failures_most;
    uint64_t failures_window_ms;
};

/* After the clients were put into the registry and before the loops serve. */
void clients_start(const struct clients_options *o);
void clients_stop(void);         /* after the loops have stopped */

/* The part that follows the catalogue; see control.h. */
ath_run clients_follow;

/* For who was refused by what is known (`c` NULL: nobody has that name): may the catalogue say more?
 * Then clients_look() waits until it was asked, and whoever called looks again. */
bool clients_unsettled(const struct db_client *c, ath_str name);
int clients_look(ath_task *t, ath_str name, ath_then *then, void *arg, ath_err *e);
/* The refusal of a name that is not there: unknown, or the catalogue cannot be asked. */
int clients_refuse(ath_str name, ath_err *e);

/* See ath_clients.runtime and .names. */
void clients_runtime(struct buf *b, ath_str name, bool reveal);

/* Where tools find the client's database (record_tool_uri()); in the arena. */
int clients_uri(ath_arena *a, ath_str name, ath_str *ret, ath_err *e);
void clients_names(struct buf *b);

extern const ath_clients clients_service;

#endif
