/* routes-daemons: which processes run workers. */
#include "daemons.h"

/* clang-format off */
static const ath_route routes[] = {
    { .method = "GET", .path = "/admin/daemons", .handle = daemons_list, .auth = ATH_AUTH_ADMIN,
      .summary = "Processes that run workers, with their heartbeats" },
    { .method = "GET", .path = "/admin/daemons/catalog", .handle = daemons_catalog, .auth = ATH_AUTH_ADMIN,
      .summary = "Programs that could run" },
};
/* clang-format on */

static const ath_routes group = {
    ATH_CAP(ath_routes, ATH_CAP_ROUTES, "daemons"),
    .openapi = openapi_yaml,
    ATH_ARRAY(route, routes),
};
static const ath_cap *const caps[] = { &group.cap, &daemons_command.cap, NULL };

ATH_PLUGIN("routes-daemons", "1.0.0", "", "command.daemons", .summary = "The inventory of daemons",
           .cap = caps);
