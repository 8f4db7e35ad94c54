/* routes-admin-clients: the catalogue of clients, their statistics, and what follows from them. */
#include "admin_clients.h"

#include <stdlib.h>

#include "statistics/statistics.h"

/* clang-format off */
#define ADMIN(method_, path_, handle_, summary_, ...) \
    { .method = (method_), .path = (path_), .handle = (handle_), .summary = (summary_), .auth = ATH_AUTH_ADMIN, __VA_ARGS__ }
#define NAMES(path_) \
    { .method = "GET", .path = (path_), .handle = clients_names, .summary = "Names of the connected clients", \
      .auth = ATH_AUTH_EITHER, .right = "gateway.read", .limit = "schema" }

static const ath_route routes[] = {
    NAMES("/clients"),
    NAMES("/schema/clients"),
    ADMIN("GET", "/admin/clients", clients_list, "The catalogue of clients, and what this process makes of it"),
    ADMIN("POST", "/admin/clients", clients_create, "Adds a client"),
    ADMIN("GET", "/admin/clients/{client_name}", clients_one, "One client"),
    ADMIN("PATCH", "/admin/clients/{client_name}", clients_patch, "Changes a client"),
    ADMIN("DELETE", "/admin/clients/{client_name}", clients_delete, "Removes a client"),
    ADMIN("PUT", "/admin/clients/{client_name}/freeze", clients_freeze, "Stops or resumes a client"),
    ADMIN("POST", "/admin/clients/{client_name}/drain", clients_drain, "Stops a client for new requests and waits for the running ones"),
    ADMIN("GET", "/admin/client-configs", configs_list, "Stored configurations of clients"),
    ADMIN("POST", "/admin/client-configs/seed-from-config", configs_seed, "Stores the configured clients' own configurations"),
    ADMIN("GET", "/admin/client-configs/{client_name}", configs_get, "A client's configuration, stored or the process's"),
    ADMIN("PUT", "/admin/client-configs/{client_name}", configs_put, "Stores a client's configuration"),
    ADMIN("DELETE", "/admin/client-configs/{client_name}", configs_delete, "Drops a client's stored configuration"),
    ADMIN("GET", "/admin/clients/statistics", statistics_list, "Statistics of all clients"),
    ADMIN("POST", "/admin/clients/statistics/refresh", statistics_refresh, "Count what is new in the logs now; ?rebuild=true: all of them again", .flags = ATH_RT_LONG),
    ADMIN("GET", "/admin/clients/{client_name}/statistics", statistics_one, "Statistics of a client and of its tables"),
    ADMIN("GET", "/admin/clients/{client_name}/statistics/drilldown", statistics_drilldown, "The operations behind a number, newest first"),
    ADMIN("GET", "/admin/addresses", addresses_list, "Where requests came from, and how they ended"),
    ADMIN("GET", "/admin/clients/{client_name}/table-row-estimates", estimates_show, "Estimated sizes of a client's tables"),
    ADMIN("GET", "/admin/clients/pressure", pressure_list, "The newest pressure of each client"),
    ADMIN("POST", "/admin/clients/pressure/backfill", pressure_backfill, "Have the pressure of past hours computed"),
    ADMIN("GET", "/admin/clients/{client_name}/pressure", pressure_one, "The pressure of a client, its tables, its last hours"),
    ADMIN("GET", "/admin/clients/{client_name}/query-optimizations", advice_list, "Indexes that were recommended"),
    ADMIN("GET", "/admin/clients/{client_name}/query-optimizations/runs", advice_runs, "Runs of the query adviser"),
};

#define T struct admin_clients_config
static const ath_field fields[] = {
    ATH_MSEC(T, estimates_ttl_ms, "estimates_ttl", "240s", "0..1d",
             "How long the estimated sizes of a client's tables are given again; 0: not at all."),
    ATH_BOOL(T, reveal, "reveal_connection_uris", "false", "Show connection URIs with their passwords, as the published server does.",
             .alias = "admin.reveal_connection_uris", .flags = ATH_CF_RELOAD),
    ATH_MSEC(T, connect_ms, "connect_timeout", "3s", "0..30s", "How long a change of a client waits for its database to be reached.",
             .flags = ATH_CF_RELOAD),
};
/* clang-format on */

static int init(ath_self *self, const void *config, void **ret, ath_err *e)
{
    struct admin_clients_state *s = calloc(1, sizeof(*s));

    (void)config;
    if (!s)
        return ath_fail(e, ATH_E_MEMORY, "out of memory");
    s->clients = ath_host_->service(self, "athena.clients", 1);
    s->secrets = ath_host_->service(self, "athena.secrets", 1);
    *ret = s;
    return 0;
}

static void fini(void *state)
{
    free(state);
    estimates_drop_all();
}

static const ath_routes group = {
    ATH_CAP(ath_routes, ATH_CAP_ROUTES, "admin-clients"),
    ATH_ARRAY(route, routes),
};
static const ath_cap *const caps[] = {
    &group.cap, &statistics_schema.cap, &clients_list_command.cap, &clients_add_command.cap,
    &clients_freeze_command.cap, &clients_unfreeze_command.cap, &clients_drain_command.cap,
    &clients_remove_command.cap, &statistics_command.cap, &addresses_command.cap, NULL,
};

ATH_PLUGIN("routes-admin-clients", "1.0.0", "athena.clients@1 athena.secrets@1",
           "command.admin command.statistics command.addresses",
           .summary = "The catalogue of clients and their statistics", ATH_ARRAY(field, fields),
           .config_size = sizeof(struct admin_clients_config), .cap = caps, .init = init,
           .fini = fini);
