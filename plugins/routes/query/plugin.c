/* routes-query: SQL of callers, counts and functions. */
#include "query.h"

#define T struct query_config

/* clang-format off */
static const ath_field fields[] = {
    ATH_MSEC(T, timeout_ms, "timeout", "30s", "10ms..1h",
             "How long one request's statements may run.",
             .alias = "gateway.resilience_timeout_secs", .flags = ATH_CF_RELOAD),
};

/* Which right /gateway/query and /query/count need is known when their body was read. */
static const ath_route routes[] = {
    { .method = "POST", .path = "/gateway/query", .handle = query_gateway, .operation = "query",
      .auth = ATH_AUTH_GATEWAY, .flags = ATH_RT_CLIENT | ATH_RT_ASKS,
      .summary = "Run SQL: one statement with parameters, or a script" },
};
/* clang-format on */

static const ath_routes group = {
    ATH_CAP(ath_routes, ATH_CAP_ROUTES, "query"),
    .openapi = openapi_yaml,
    ATH_ARRAY(route, routes),
};
static const ath_cap *const caps[] = { &group.cap, NULL };

ATH_PLUGIN("routes-query", "1.0.0", "athena.catalog@1", "",
           .summary = "SQL of callers: queries, scripts, counts", ATH_ARRAY(field, fields),
           .config_size = sizeof(struct query_config), .cap = caps, .init = query_init);
