/* plugins/routes/admin-clients/admin_clients.h - the operators' view of the clients: which there
 * are and what they do.
 *
 *     catalog.c         the catalogue, and what this process makes of it
 *     change.c          rows of it that come, change and go
 *     configs.c         configurations that are stored for them
 *     record.c          a row as all of these show it
 *     statistics.c      what they did, in numbers
 *     drilldown.c       the operations behind a number
 *     estimates.c       how large their tables are
 *     estimates_kept.c  such answers, for those who ask again
 *     pressure.c        what the planner found, hour by hour
 *     advice.c          indexes that were recommended
 */
#ifndef ROUTES_ADMIN_CLIENTS_H
#define ROUTES_ADMIN_CLIENTS_H

#include <athena/service/clients.h>
#include <athena/service/secrets.h>

#include "admin/admin.h"

struct admin_clients_config {
    uint64_t estimates_ttl_ms;
    int32_t reveal;              /* URIs with their passwords */
    uint64_t connect_ms;         /* how long a change waits for the database to be reached */
};

struct admin_clients_state {     /* of the process; what init() found */
    const ath_clients *clients;
    const ath_secrets *secrets;
};

ath_handler statistics_list, statistics_refresh, statistics_one, statistics_drilldown;
ath_handler estimates_show;
ath_handler pressure_list, pressure_one, pressure_backfill;
ath_handler advice_list, advice_runs;

/* ---- estimates_kept.c: for the whole process, on any loop ---- */

enum { ESTIMATES_KEY = 64 }; /* hexadecimal digits of a SHA-256 */

/* A copy in the arena; p NULL: there is none that young. */
ath_str estimates_find(ath_arena *arena, ath_str key, uint64_t now_ms);
void estimates_keep(ath_str key, ath_str body, uint64_t until_ms);
void estimates_drop_all(void);

extern const ath_command clients_list_command, clients_add_command, clients_freeze_command;
extern const ath_command clients_unfreeze_command, clients_drain_command, clients_remove_command;
extern const ath_command statistics_command, addresses_command; /* command.c */

/* addresses.c */
ath_handler addresses_list;

/* catalog.c: reading */
ath_handler clients_list, clients_one, clients_names;

/* change.c: writing */
ath_handler clients_create, clients_patch, clients_freeze, clients_drain, clients_delete;

/* configs.c */
ath_handler configs_list, configs_get, configs_put, configs_delete, configs_seed;

/* ---- record.c: a row of athena_clients as the routes show it ---- */

#define CLIENT_COLUMNS                                                                             \
    "athena_client_id::text, client_name, description, pg_uri, pg_uri_env_var, "                   \
    "config_uri_template, source, is_active, is_frozen, " ADMIN_UTC(                               \
        last_synced_from_config_at) ", " ADMIN_UTC(last_seen_at) ", metadata::text, " ADMIN_UTC(   \
        created_at) ", " ADMIN_UTC(updated_at) ", " ADMIN_UTC(deleted_at)
enum { CLIENT_NAME = 1, CLIENT_URI = 3 };

void client_object(ath_req *r, struct buf *b, const ath_rows *rows, uint32_t row);

/* A document that may name URIs, with those masked. */
void client_json(ath_req *r, struct buf *b, ath_str text);

/* What a stored URI looks like in answers: opened, and masked unless the operator wants it shown. */
ath_str client_uri(ath_req *r, ath_str stored);

#endif
