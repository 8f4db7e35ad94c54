/* What the configuration says to each room, and what each keeps per loop. */
#include <stdlib.h>

#include "auth/admit.h"
#include "auth/audit.h"
#include "auth/auth.h"
#include "auth/brake.h"
#include "auth/ip.h"
#include "auth/limit.h"
#include "cache/cache.h"
#include "control/clients.h"
#include "control/control.h"
#include "control/daemons.h"
#include "db/query.h"
#include "http/client.h"
#include "log/log.h"
#include "plugin/host.h"
#include "server/account.h"
#include "server/doctor.h"
#include "server/inspect.h"
#include "server/phases.h"
#include "server/schemas.h"
#include "server/serve_priv.h"
#include "server/workers.h"

/* ---- settings ---- */

static enum http_timing timing_of(ath_str word)
{
    return str_is(word, "always")  ? TIMING_ALWAYS
           : str_is(word, "never") ? TIMING_NEVER
                                   : TIMING_ASKED;
}

void answers_start(struct server *s)
{
    const struct core_config *c = &s->setup->core;
    struct cache_options o = {
        .entries = (uint64_t)c->cache.entries,
        .bytes = (uint64_t)c->api.cache_max_bytes,
        .entry_bytes = c->cache.entry_bytes,
        .ttl_ms = c->api.cache_ttl_ms,
        .wait_ms = c->cache.wait_ms,
        .query_ms = c->gateway.resilience_timeout_ms,
        .redis_url = c->server.redis_url,
        .redis_command_ms = c->cache.redis_timeout_ms,
        .redis_cooldown_ms = c->cache.redis_cooldown_ms,
        .loops = s->loops.all,
        .loop_count = s->loops.count,
    };

    if (c->cache.skip_invalidation)
        log_write(ATH_WARN, "athena::cache",
                  "deferred_writes.skip_cache_invalidation has no effect: "
                  "an answer that a write made old is never given");
    if (c->cache.enabled)
        cache_start(&o);
}

void http_setup(struct server *s)
{
    const struct core_config *c = &s->setup->core;

    s->http.strict_methods = c->server.strict_methods;
    s->http.allow = auth_allow;
    s->http.cors = (struct http_cors){
        .enforce = c->api.cors_enforce && !c->api.cors_allow_any_origin,
        .origins = c->api.cors_allowed_origins,
        .max_age_s = c->api.cors_max_age_ms / 1000,
    };
    s->http.timing = timing_of(c->server.server_timing);
    s->http.limits = (struct http_limits){
        .head_bytes = c->server.head_bytes,
        .head_fields = (uint64_t)c->server.head_fields,
        .target_bytes = c->server.target_bytes,
        .body_bytes = c->api.max_body_bytes,
        .head_ms = c->server.head_timeout_ms,
        .body_ms = c->server.body_timeout_ms,
        .idle_ms = c->server.idle_timeout_ms,
        .write_ms = c->server.write_timeout_ms,
        .request_ms = c->server.request_timeout_ms,
        .connections = (uint64_t)c->server.connections,
        .pipeline = (uint64_t)c->server.pipeline,
        .buffered = c->server.buffered_bytes,
        .pack_min = c->server.compression_min,
        .pack_level = (int)c->server.compression_level,
    };
}

void limits_start(struct server *s)
{
    admit_configure(&s->setup->core, s->http.router, s->loops.count);
    limit_configure(&s->setup->core.gateway, s->http.router);
    phases_put(&s->http);
}

int account_start(const struct server *s, ath_err *e)
{
    const struct gateway_config *g = &s->setup->core.gateway;

    audit_configure(g->auth_log_unenforced);
    account_configure(&(struct account_options){ .enforced = g->enforce_api_keys,
                                                 .skip_user_agents = g->log_skip_user_agents });
    return ip_configure(
        &(struct ip_rules){
            .trusted_proxies = g->trusted_proxies,
            .forwarded_in_logs = g->logging_trust_x_forwarded_for,
            .forwarded_in_rules = g->rate_limit_trust_x_forwarded_for,
        },
        e);
}

int brake_start(const struct server *s, ath_err *e)
{
    const struct gateway_config *g = &s->setup->core.gateway;

    return brake_configure(
        &(struct brake_rules){
            .per_minute = (uint32_t)g->auth_failures_per_minute,
            .burst = (uint32_t)g->auth_failures_burst,
            .exempt = g->auth_failures_exempt,
        },
        e);
}

static const char *name_or_null(ath_str name, ath_str otherwise)
{
    return name.n ? name.p : otherwise.n ? otherwise.p : NULL;
}

static uint64_t list_length(ath_str list)
{
    uint64_t n = 0;
    ath_str item;

    while (config_item(&list, &item))
        n++;
    return n;
}

int inspection_start(struct server *s, ath_err *e)
{
    const struct gateway_config *g = &s->setup->core.gateway;
    struct inspect_sources from = {
        .router = s->http.router,
        .http = &s->http,
        .config = s->setup->config,
        .loops = s->loops.all,
        .loop_count = s->loops.count,
        .listening = &s->listening,
        .logging_client = name_or_null(g->logging_client, (ath_str){ 0 }),
        .auth_client = name_or_null(g->auth_client, g->logging_client),
        .benchmark_client = name_or_null(g->benchmark_client, g->logging_client),
        .config_path = s->setup->config->path,
        .port = s->role.serves ? (uint16_t)s->setup->core.api.port : 0,
        .serves = s->role.serves,
        .lifetime_ms = s->setup->core.pool.max_lifetime_ms,
        .gateway = { g->force_camel_case_to_snake_case, g->auto_cast_uuid_filter_values_to_text,
                     g->jdbc_allow_private_hosts, list_length(g->jdbc_allowed_hosts) },
    };

    doctor_start(s->setup, true);
    host_inspect(inspect);
    return inspect_start(&from, e);
}

void catalogue_start(struct server *s)
{
    const struct gateway_config *g = &s->setup->core.gateway;
    struct clients_options o = {
        .config = s->setup->config,
        .clients = &s->setup->clients,
        .control = g->logging_client,
        .lazy = !s->role.serves,
        .loading = g->database_backed_client_loading,
        .overwrite = str_is(g->config_sync, "overwrite"),
        .poll_ms = g->catalog_poll_ms,
        .auto_disable = g->catalog_load_failure_auto_disable,
        .failures_most = g->catalog_load_failure_threshold,
        .failures_window_ms = g->catalog_load_failure_window_ms,
    };

    clients_start(&o);
}

void control_plane_start(struct server *s)
{
    static const struct control_part parts[] = {
        { .name = "keys",
          .run = store_follow }, /* requests wait for both, and not for the schema */
        { .name = "clients", .run = clients_follow },
        { .name = "schema", .run = schema_begin, .once = true },
        { .name = "schema watch", .run = schema_follow },
    };
    const struct gateway_config *g = &s->setup->core.gateway;

    if (g->logging_client.n) /* keys lie there unless it is said otherwise */
        control_start(task_work_loop(), parts, ATH_COUNT(parts));
    else if (g->auth_client.n)
        control_start(task_work_loop(), parts, 1);
}

void registry_start(struct server *s)
{
    const struct daemon_config *c = &s->setup->core.daemon;
    struct buf known = BUF_HEAP;

    workers_known(s->setup, &known);
    daemons_setup(&(struct daemons_options){
        .kind = s->role.kind,
        .mode = s->role.mode,
        .control = s->setup->core.gateway.logging_client.n > 0,
        .shows = !(s->role.serves && c->enabled && s->role.families == 0),
        .id = c->id,
        .config_path = s->setup->config->path,
        .port = s->role.serves ? (uint16_t)s->setup->core.api.port : 0,
        .every_ms = c->heartbeat_ms,
        .inspect = inspect,
        .known = buf_view(&known).p,
    });
    buf_free(&known);
}

/* ---- loops ---- */

struct loop_start_result {
    struct server *server;
    ath_err err;
    int rc;
};

static void loop_rooms_init(ath_loop *l, void *arg)
{
    struct loop_start_result *r = arg;

    if (r->rc == 0)
        r->rc = db_loop_init(l, &r->err);
    if (r->rc == 0)
        cache_loop_init(l);
    admit_loop_init(l);
    if (r->rc == 0 && l->kind == LOOP_HTTP)
        r->rc =
            http_loop_init(l, r->server->role.serves ? &r->server->http : &r->server->own, &r->err);
}

int loops_up(struct server *s, ath_err *e)
{
    struct loop_start_result r = { .server = s };
    int rc = loops_start(&s->loops, e);

    if (rc < 0)
        return rc;
    err_reset(&r.err);
    loops_each(&s->loops, 0, loop_rooms_init, &r);
    if (r.rc < 0)
        err_copy(e, &r.err);
    return r.rc;
}

static void loop_rooms_fini(ath_loop *l, void *arg)
{
    (void)arg;
    if (l->kind == LOOP_HTTP)
        http_loop_fini(l);
    admit_loop_fini(l);
    client_loop_fini(l);
    cache_loop_fini(l);
    db_loop_fini(l);
    account_loop_fini();
    store_loop_fini();
    audit_loop_fini();
}

void loops_rooms_fini(struct server *s)
{
    loops_each(&s->loops, 0, loop_rooms_fini, NULL);
}
