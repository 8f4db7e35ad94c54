#include "server/keystore.h"

#include "auth/auth.h"
#include "auth/keys.h"
#include "log/log.h"
#include "log/metric.h"

static void put_metrics(struct buf *b, void *arg)
{
    enum store_state state = store_state();

    (void)arg;
    metric_head(b, "athena_keys_unenforced", "gauge",
                "Whether requests of some client are let in without a key.");
    buf_printf(b, "athena_keys_unenforced %d\n", store_open_somewhere());
    metric_head(b, "athena_key_store_readable", "gauge",
                "Whether the key store was read as often as it should be; 0 where there is none.");
    buf_printf(b, "athena_key_store_readable %d\n", state == STORE_WELL);
}

static enum auth_scope scope_of(ath_str word)
{
    return str_is(word, "none")   ? AUTH_SCOPE_NONE
           : str_is(word, "data") ? AUTH_SCOPE_DATA
                                  : AUTH_SCOPE_ALL;
}

int keystore_configure(const struct core_config *c, ath_err *e)
{
    const struct gateway_config *g = &c->gateway;
    struct key_rules keys = { .admin = c->server.admin_key, .carriers = g->key_carriers };

    right_configure(&(struct right_rules){ .strict = g->rights_strict,
                                           .protected_schemas = g->rights_protected_schemas });
    auth_configure(&(struct auth_rules){
        .scope = scope_of(g->unenforced_scope),
        .fail_open = str_is(g->api_key_fail_mode, "fail_open"),
        .org_roles = g->session_org_roles,
    });
    store_start(&(struct store_options){
        .named = g->auth_client.n > 0,
        .enforced = g->enforce_api_keys,
        .ttl_ms = g->auth_cache_ttl_ms,
        .look_ms = c->pool.acquire_timeout_ms,
        .use_ms = g->last_used_interval_ms,
    });
    metric_source(put_metrics, NULL);
    return keys_load(&keys, e);
}

void keystore_say(const struct core_config *c)
{
    enum auth_scope scope = scope_of(c->gateway.unenforced_scope);

    if (!c->gateway.enforce_api_keys && scope != AUTH_SCOPE_NONE)
        log_write(ATH_WARN, "athena::keys",
                  "API keys are not enforced%s: gateway routes are open to everybody%s "
                  "(gateway.enforce_api_keys: true closes them)",
                  c->enforce_stated ? "" : " because the configuration does not say so",
                  scope == AUTH_SCOPE_ALL ? ", and so are SQL, schemas and debug output, unless "
                                            "gateway.unenforced_scope is data"
                                          : "");
    if (keys_admin_short())
        log_write(ATH_WARN, "athena::keys",
                  "the administrators' key is shorter than %d bytes, so it can be guessed: replace "
                  "ATHENA_KEY_12 (openssl rand -hex 32)",
                  ADMIN_KEY_MIN);
}
