/* routes-provision: databases of tenants, and `athena provision`. */
#include "provision.h"

#define T struct provision_config

/* clang-format off */
static const ath_field fields[] = {
    ATH_BOOL(T, enabled, "enabled", "false", "Whether the operators' routes are there; those of management always are.",
             .alias = "$ATHENA_ENABLE_ADMIN_PROVISION_ROUTES"),
    ATH_STR(T, expected_tables, "expected_tables", "", NULL,
            "Tables between commas that a provisioned database has, \"schema.name\", or a name in public, athena or billing; empty: those of the tenants' schema.",
            .alias = "provisioning.expected_tables", .flags = ATH_CF_RELOAD),
    ATH_MSEC(T, route_ms, "route_timeout", "10m", "1s..1h", "How long a request waits for its database; then it goes on without it.",
             .flags = ATH_CF_RELOAD),
    ATH_MSEC(T, connect_ms, "connect_timeout", "3s", "100ms..30s", "How long a new client is waited for before the answer.", .flags = ATH_CF_RELOAD),
    ATH_STR(T, wildcard, "wildcard_host_pattern", "*.v3.athena-cluster.com", NULL, "Where tenants' host names are; noted with new databases.",
            .alias = "$ATHENA_WILDCARD_HOST_PATTERN"),
};

static const ath_error errors[] = {
    { .code = "provisioning_failed", .message = "Provisioning failed", .rc = ATH_E_UPSTREAM, .status = 500 },
    { .code = "provisioning_unavailable", .message = "Provisioning unavailable", .rc = ATH_E_UPSTREAM, .status = 503 },
    { .code = "provisioning_late", .message = "Provisioning goes on", .rc = ATH_E_TIMEOUT, .status = 504,
      .hint = "It goes on without this request; ask again what is there, or send \"Prefer: respond-async\"." },
};

#define ADMIN(method_, path_, handle_, summary_, ...) \
    { .method = (method_), .path = "/admin/provision" path_, .handle = (handle_), .summary = (summary_), .auth = ATH_AUTH_ADMIN, __VA_ARGS__ }
#define OWN(method_, operation_, handle_, summary_, ...) \
    { .method = (method_), .path = "/management/provision/local/databases", .handle = (handle_), .summary = (summary_), \
      .operation = (operation_), .auth = ATH_AUTH_MANAGEMENT, .right = "management.provision.write", __VA_ARGS__ }

static const ath_route admin[] = {
    ADMIN("POST", "", provision_schema, "Gives a database the tenants' schema, and registers it", .flags = ATH_RT_LONG),
    ADMIN("GET", "/status", provision_status, "Which of the expected tables a client has"),
    ADMIN("GET", "/local/databases", local_list, "Databases on a client's server, and which are clients"),
    ADMIN("POST", "/local/databases", local_create, "Makes a database on a client's server", .flags = ATH_RT_LONG),
};
static const ath_route management[] = {
    OWN("GET", "management_list_local_cluster_databases", local_list_own, "Databases on the server of the key's client", .flags = ATH_RT_CLIENT),
    OWN("POST", "management_create_local_cluster_database", local_create_own, "Makes a database on the server of the key's client",
        .flags = ATH_RT_CLIENT | ATH_RT_LONG),
};
/* clang-format on */

int provision_fail(ath_err *e, const char *code, const char *title, const char *prefix)
{
    struct buf words = BUF_HEAP;
    int rc;

    buf_str(&words, ath_host_->err->get(e, "message"));
    rc = admin_fail(e, code, title, "%s%.*s", prefix, STR_ARG(buf_view(&words)));
    buf_free(&words);
    return rc;
}

static int init(ath_self *s, const void *config, void **state, ath_err *e)
{
    static struct provision_state provision;

    (void)config;
    provision.clients = ath_host_->service(s, "athena.clients", 1);
    provision.secrets = ath_host_->service(s, "athena.secrets", 1);
    if (!ATH_HAS(provision.clients, adopt) || !provision.secrets)
        return ath_fail(e, ATH_E_CONFIG,
                        "services \"athena.clients\" and \"athena.secrets\" are not there");
    *state = &provision;
    return 0;
}

static const ath_routes admin_group = {
    ATH_CAP(ath_routes, ATH_CAP_ROUTES, "provision"),
    .gate = "enabled",
    .openapi = openapi_yaml,
    ATH_ARRAY(route, admin),
};
static const ath_routes management_group = {
    ATH_CAP(ath_routes, ATH_CAP_ROUTES, "management-provision"),
    .openapi = openapi_yaml,
    ATH_ARRAY(route, management),
};
static const ath_cap *const caps[] = { &admin_group.cap, &management_group.cap,
                                       &provision_command.cap, NULL };

ATH_PLUGIN("routes-provision", "1.0.0", "athena.clients@1 athena.secrets@1", "command.provision",
           .summary = "Databases of tenants: made, given their schema, registered",
           ATH_ARRAY(field, fields), .config_size = sizeof(struct provision_config),
           ATH_ARRAY(error, errors), .cap = caps, .init = init);
