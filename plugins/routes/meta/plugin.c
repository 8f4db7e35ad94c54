/* routes-meta: root, liveness, readiness, health, metrics, the route registry and the documents. */
#include "meta.h"

static const ath_field fields[] = {
    ATH_BOOL(struct meta_config, metrics, "metrics", "true",
             "Whether /metrics shows everything, or only that it is switched off.",
             .alias = "api.prometheus_metrics_enabled"),
};

#define OPEN(path_, handle_, summary_) \
    { .method = "GET", .path = (path_), .handle = (handle_), .summary = (summary_), .auth = ATH_AUTH_NONE }
#define KEYED(path_, handle_, summary_) \
    { .method = "GET", .path = (path_), .handle = (handle_), .summary = (summary_), \
      .auth = ATH_AUTH_EITHER, .right = "gateway.read" }
#define COMMON(path_, handle_, summary_) \
    { .method = "GET", .path = (path_), .handle = (handle_), .summary = (summary_), \
      .auth = ATH_AUTH_EITHER, .right = "gateway.read", .flags = ATH_RT_COMMON }

/* clang-format off */
static const ath_route routes[] = {
    OPEN("/",                 meta_root,        "Service card: version, capabilities, served routes"),
    OPEN("/ping",             meta_ping,        "Health check"),
    OPEN("/health",           meta_health,      "Structured health with capabilities and provisioning"),
    { .method = "GET", .path = "/health/cluster", .handle = meta_cluster, .auth = ATH_AUTH_NONE, .right = "gateway.read",
      .summary = "Health of this node and of its configured mirrors" },
    OPEN("/ready",            meta_ready,       "Readiness: 503 while no traffic should come here"),
    OPEN("/metrics",          meta_metrics,     "Prometheus metrics"),
    OPEN("/docs",             meta_docs,        "Redirects to the documentation"),
    KEYED("/router/registry", meta_registry,    "Routes that this process serves, and what the control plane adds"),
    KEYED("/registry",        meta_entries,     "Entries of the API registry"),
    KEYED("/registry/{api_registry_id}", meta_entry, "One entry of the API registry, in an array"),
    COMMON("/admin/errors/catalog", meta_errors, "Error codes with their numbers and statuses"),
    COMMON("/openapi.yaml",   meta_openapi,     "OpenAPI document of the served routes"),
    COMMON("/openapi-wss.yaml", meta_openapi_wss, "The same for websockets"),
};
/* clang-format on */

static const ath_routes group = {
    ATH_CAP(ath_routes, ATH_CAP_ROUTES, "meta"),
    .openapi = openapi_yaml,
    ATH_ARRAY(route, routes),
};
static const ath_cap *const caps[] = { &group.cap, NULL };

ATH_PLUGIN("routes-meta", "1.0.0", "?athena.cluster@1", "", .summary = "Health, metrics and the documents of the server",
           ATH_ARRAY(field, fields), .config_size = sizeof(struct meta_config), .cap = caps);
