/* From the configuration to the clients of core/db. */
#include "server/databases.h"

#include "db/client.h"
#include "log/log.h"

static void database_options(const struct core_config *c, struct db_options *ret)
{
    *ret = (struct db_options){
        .budget = (uint64_t)c->pool.budget,
        .pool_max = (uint64_t)c->pool.max_connections,
        .pool_min = (uint64_t)c->pool.min_connections,
        .acquire_timeout_ms = c->pool.acquire_timeout_ms,
        .idle_timeout_ms = c->pool.idle_timeout_ms,
        .max_lifetime_ms = c->pool.max_lifetime_ms,
        .connect_timeout_ms = c->pool.connect_timeout_ms,
        .query_timeout_ms = c->gateway.resilience_timeout_ms,
        .waiting_max = (uint64_t)c->pool.waiting_max,
        .waiting_budget = (uint64_t)c->pool.waiting_budget,
        .fair = c->pool.fair,
        .prepared_max = (uint64_t)c->pool.prepared_max,
        .direct_private = c->gateway.jdbc_allow_private_hosts,
        .direct_hosts = c->gateway.jdbc_allowed_hosts.p,
        .control_client = c->gateway.logging_client.p,
        .auth_client = c->gateway.auth_client.p,
    };
}

/* Operators bound what the control plane's database has to bear, whatever tenants may have. */
static void bound_control(const struct core_config *c)
{
    struct db_client *control = db_client_find(c->gateway.logging_client);

    if (control)
        control->pool_max = (uint64_t)c->pool.logging_max_connections;
}

int databases_start(const struct setup *s, ath_loop *const *loops, uint32_t n, ath_err *e)
{
    const struct config_clients *clients = &s->clients;
    struct db_options o;
    int rc;

    database_options(&s->core, &o);
    if ((rc = db_start(&o, loops, n, e)) < 0)
        return rc;
    for (size_t i = 0; i < clients->n; i++) {
        const struct config_client *c = &clients->client[i];
        const char *source = c->logging_override ? "gateway_logging_override" : "config";
        rc = c->problem ? db_client_put_unusable(c->shown.p, source, c->problem, e)
                        : db_client_put(c->shown.p, c->uri.p, source, e);
        if (rc < 0)
            log_write(ATH_WARN, "athena::clients", "client \"%s\" is not served: %.*s", c->name.p,
                      (int)e->message_n, e->message);
    }
    bound_control(&s->core);
    return 0;
}
