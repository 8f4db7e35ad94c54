/* routes-public: aliases, service prefixes and tenants' host names. */
#include "public.h"

#include <stdlib.h>

#define T struct public_config

/* clang-format off */
static const ath_field fields[] = {
    ATH_STR(T, trusted_proxies, "trusted_proxies",
            "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7", NULL,
            "Peers whose X-Forwarded-Host and Forwarded headers count.",
            .alias = "gateway.trusted_proxies"),
    ATH_STR(T, precedence, "host_routing_precedence", "host", "host|header",
            "Whether a tenant's host name beats X-Athena-Client.",
            .alias = "gateway.host_routing_precedence"),
    ATH_BOOL(T, host_routing, "host_routing", "true", "Whether host names select tenants.",
             .alias = "$ATHENA_WILDCARD_HOST_ROUTING_ENABLED"),
    ATH_STR(T, host_pattern, "host_pattern", "*.v3.athena-cluster.com", NULL,
            "Host names of tenants: the star is the tenant, or a service and the tenant.",
            .alias = "$ATHENA_WILDCARD_HOST_PATTERN"),
    ATH_STR(T, target[SERVICE_DB], "db_target_url", "", NULL,
            "Where /db goes for tenants without a row; empty: to the routes of this server.",
            .alias = "$ATHENA_ROUTER_DEFAULT_DB_TARGET_URL"),
    ATH_STR(T, target[SERVICE_AUTH], "auth_target_url", "", NULL,
            "Where /auth goes for tenants without a row; empty: nowhere.",
            .alias = "$ATHENA_ROUTER_DEFAULT_AUTH_TARGET_URL"),
    ATH_STR(T, target[SERVICE_STORAGE], "storage_target_url", "", NULL,
            "Where /storage goes for tenants without a row; empty: to the routes of this server.",
            .alias = "$ATHENA_ROUTER_DEFAULT_STORAGE_TARGET_URL"),
    ATH_STR(T, target[SERVICE_REALTIME], "realtime_target_url", "", NULL,
            "Where /realtime goes for tenants without a row; empty: to the routes of this server.",
            .alias = "$ATHENA_ROUTER_DEFAULT_REALTIME_TARGET_URL"),
    ATH_STR(T, trusted_targets, "trusted_targets", "", NULL,
            "Addresses of targets that get the callers' credentials, each with what follows it; rows "
            "whose metadata says trusted_target are trusted, too. The admin key goes to nobody."),
    ATH_MSEC(T, first_byte_ms, "target_first_byte", "15s", "10ms..10m",
             "How long a target may take to begin its answer."),
    ATH_MSEC(T, target_ms, "target_timeout", "60s", "10ms..1h", "How long it may take for all of it."),
    ATH_MSEC(T, refresh_ms, "refresh", "2s", "100ms..1m", "How often the tables are read again."),
};

#define ROUTED(method_, path_, auth_, right_) \
    { .method = (method_), .path = "/routed/" path_, .handle = routed_service, .auth = (auth_), .right = (right_), \
      .flags = ATH_RT_BODY | ATH_RT_INNER, .summary = "What a service route sends elsewhere" }
#define EVERY(path_, auth_, right_) \
    ROUTED("GET", path_, auth_, right_), ROUTED("POST", path_, auth_, right_), ROUTED("PUT", path_, auth_, right_), \
    ROUTED("PATCH", path_, auth_, right_), ROUTED("DELETE", path_, auth_, right_)

static const ath_route routes[] = {
    { .method = "POST", .path = "/public/{route_key}/{op}", .handle = public_run,
      .auth = ATH_AUTH_GATEWAY,
      .summary = "Run a gateway operation on the client that an alias names" },
    { .method = "POST", .path = "/routed/gateway/{op}", .handle = routed_fetch, .auth = ATH_AUTH_GATEWAY, .operation = "fetch",
      .flags = ATH_RT_BODY | ATH_RT_ASKS | ATH_RT_INNER, .summary = "Reads that a tenant's host sends elsewhere" },
    EVERY("db", ATH_AUTH_GATEWAY, NULL),
    EVERY("auth", ATH_AUTH_GATEWAY, NULL),
    EVERY("realtime", ATH_AUTH_GATEWAY, NULL),
    EVERY("storage", ATH_AUTH_EITHER, "gateway.storage_proxy"),
};
/* clang-format on */

static struct public_state state; /* a process has one */

static int check(const void *config, ath_err *e)
{
    struct hosts hosts;

    return hosts_fill(&hosts, config, e);
}

static int init(ath_self *s, const void *config, void **ret, ath_err *e)
{
    (void)s;
    memset(&state, 0, sizeof(state));
    state.cfg = config;
    *ret = &state;
    return hosts_fill(&state.hosts, config, e);
}

static int loop_init(ath_loop *l, void *arg, void **ret, ath_err *e)
{
    struct public_state *s = arg;
    struct public_local *local = calloc(1, sizeof(*local));

    if (!local)
        return ath_fail(e, ATH_E_MEMORY, "out of memory");
    local->loop = l;
    local->next = atomic_load(&s->locals);
    while (!atomic_compare_exchange_weak(&s->locals, &local->next, local))
        continue;
    *ret = local;
    return 0;
}

static void loop_fini(ath_loop *l, void *arg, void *local)
{
    struct public_local *own = local;

    (void)l;
    (void)arg;
    table_unref(own->table);
    own->table = NULL; /* the list of them goes in fini */
}

static void fini(void *arg)
{
    struct public_state *s = arg;
    struct public_local *l = atomic_exchange(&s->locals, NULL), *next;

    for (; l; l = next) {
        next = l->next;
        free(l);
    }
    table_unref(s->last);
}

static const ath_routes group = {
    ATH_CAP(ath_routes, ATH_CAP_ROUTES, "public"),
    .openapi = openapi_yaml,
    .before = public_before,
    ATH_ARRAY(route, routes),
};
static const ath_cap *const caps[] = { &group.cap, NULL };

ATH_PLUGIN("routes-public", "1.0.0", "", "",
           .summary = "Aliases, service prefixes and host names of tenants",
           ATH_ARRAY(field, fields), .config_size = sizeof(struct public_config), .cap = caps,
           .check = check, .init = init, .loop_init = loop_init, .start = refresh_start,
           .drain = refresh_stop, .loop_fini = loop_fini, .fini = fini);
