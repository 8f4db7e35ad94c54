/* Each word has a function that appends its text to a buffer. The three texts that describe the
 * routes are built once, because the table of routes is complete before anything is served. */
#include "server/inspect.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/version.h"
#include "control/clients.h"
#include "control/daemons.h"
#include "control/probe.h"
#include "control/schema.h"
#include "db/client.h"
#include "jobs/jobs.h"
#include "jobs/list.h"
#include "jobs/ticks.h"
#include "lib/json.h"
#include "log/metric.h"
#include "server/capabilities.h"
#include "server/configdoc.h"
#include "server/metrics.h"
#include "server/openapi.h"
#include "server/pipelines.h"
#include "server/pools.h"
#include "server/workers.h"

static struct inspect_sources from;
static struct buf routes, registry, openapi; /* read-only once the loops serve */
static uint64_t started_ns;

static bool client_is_up(const struct db_client *c)
{
    return c->active && !c->frozen && atomic_load(&c->up);
}

struct census {
    uint64_t registered, active, connected;
};

static struct census count_clients(void)
{
    size_t all = db_client_count();
    struct census n = { 0 };

    for (size_t i = 0; i < all; i++) {
        const struct db_client *c = db_client_at(i);
        if (c->gone)
            continue;
        n.registered++;
        n.active += c->active && !c->frozen;
        n.connected += client_is_up(c);
    }
    return n;
}

/* The contract's three words for one of the special clients. */
static ath_str store_state(const char *name)
{
    const struct db_client *c = name ? db_client_find(str_of(name)) : NULL;

    if (!name)
        return ATH_S("not_configured");
    return c && client_is_up(c) ? ATH_S("online") : ATH_S("unavailable");
}

static void put_service(struct buf *b)
{
    bool online = count_clients().connected > 0;

    buf_json_str(b, "version", str_of(athena_version));
    buf_json_str(b, "cargo_toml_version", str_of(athena_published_version));
    buf_lit(b, ",\"athena_api\":\"online\"");
    buf_json_str(b, "athena_deadpool", online ? ATH_S("online") : ATH_S("offline"));
    buf_lit(b, ",\"athena_scylladb\":\"online\""); /* a constant of the published interface */
    buf_json_str(b, "gateway_auth_store", store_state(from.auth_client));
    buf_json_str(b, "gateway_benchmark_client", store_state(from.benchmark_client));
    buf_json_key(b, "capabilities");
    capabilities_json(b);
}

static void put_clients(struct buf *b)
{
    struct census n = count_clients();

    buf_printf(b, "{\"registered\":%llu,\"active\":%llu,\"connected\":%llu}",
               (unsigned long long)n.registered, (unsigned long long)n.active,
               (unsigned long long)n.connected);
}

static void put_stores(struct buf *b)
{
    buf_json_str(b, "logging_store", store_state(from.logging_client));
    buf_json_str(b, "gateway_auth_store", store_state(from.auth_client));
}

/* One unreachable tenant must not take the others' gateway out of a load balancer, so a single
 * connected client is enough. */
static void put_unready(struct buf *b)
{
    if (from.http && atomic_load(&from.http->draining))
        buf_lit(b, "the server is shutting down");
    else if (from.listening && !atomic_load(from.listening))
        buf_lit(b, "the server is starting");
    else if (count_clients().connected == 0)
        buf_lit(b, "no client's database is connected");
}

static void put_pools(struct buf *b)
{
    pools_json(b, &from);
}

/* One list: ticks, then workers with a queue. */
static void put_workers(struct buf *b)
{
    ticks_json(b);
    b->n--; /* its end, which comes behind the others */
    jobs_json(b, b->p[b->n - 1] != '[');
    buf_char(b, ']');
}

static void put_process(struct buf *b)
{
    buf_lit(b, "{");
    buf_json_int(b, "pid", getpid());
    buf_json_str(b, "host", str_of(daemons_host()));
    buf_json_str(b, "version", str_of(athena_version));
    buf_json_str(b, "config_path", str_of(from.config_path ? from.config_path : ""));
    buf_json_int(b, "port", from.port);
    buf_json_bool(b, "serves", from.serves);
    buf_json_int(b, "started_at_unix_ms", (int64_t)(started_ns / 1000000u));
    buf_lit(b, "}");
}

static void put_latency(struct buf *b)
{
    probe_clients_json(b, false);
}

static void put_latency_reasons(struct buf *b)
{
    probe_clients_json(b, true);
}

static void put_routes(struct buf *b)
{
    buf_str(b, buf_view(&routes));
}

static void put_registry(struct buf *b)
{
    buf_str(b, buf_view(&registry));
}

static void put_openapi(struct buf *b)
{
    buf_str(b, buf_view(&openapi));
}

/* ---- error codes ---- */

enum { OUR_NUMBERS = 900 };      /* x900 and up: no numbers of the published catalogue, so no page */

static const char *const domains[] = { NULL, "internal", "gateway", "storage", "billing", "chat", "webhook" };

/* Codes without a number are classes and plugins' own: not in the catalogue. */
static const char *domain_of(const ath_error *error)
{
    uint32_t i = error->number / 1000;

    return i < ATH_COUNT(domains) ? domains[i] : NULL;
}

static void put_error(struct buf *b, const ath_error *error)
{
    buf_lit(b, "{");
    buf_json_str(b, "domain", str_of(domain_of(error)));
    buf_json_str(b, "code", str_of(error->code));
    buf_json_int(b, "errorNumber", error->number);
    buf_json_int(b, "status", error->status);
    buf_json_str(b, "description", str_of(error->message));
    if (error->number % 1000 < OUR_NUMBERS)
        buf_printf(b, ",\"docsUrl\":\"" HTTP_DOCS_URL "/docs/reference/errors/%u\"", error->number);
    buf_lit(b, "}");
}

static void put_counts(struct buf *b, const uint32_t *count)
{
    buf_json_key(b, "countsByDomain");
    buf_lit(b, "{");
    for (size_t i = 0; i < ATH_COUNT(domains); i++)
        if (count[i])
            buf_json_int(b, domains[i], count[i]);
    buf_lit(b, "}");
}

static void put_errors(struct buf *b)
{
    uint32_t count[ATH_COUNT(domains)] = { 0 }, total = 0;

    buf_lit(b, "{\"docsBaseUrl\":\"" HTTP_DOCS_URL "\",\"registryDoc\":\"core/base/errors.yaml\",\"errors\":[");
    for (size_t i = 0; i < err_table_count; i++) {
        if (!domain_of(&err_table[i]))
            continue;
        if (total++)
            buf_lit(b, ",");
        put_error(b, &err_table[i]);
        count[err_table[i].number / 1000]++;
    }
    buf_lit(b, "]");
    buf_json_int(b, "totalCount", total);
    put_counts(b, count);
    buf_lit(b, "}");
}

static void put_metrics(struct buf *b)
{
    metric_render(b);
}

static void put_logging_client(struct buf *b)
{
    if (from.logging_client)
        buf_z(b, from.logging_client);
}

static void put_auth_client(struct buf *b)
{
    if (from.auth_client)
        buf_z(b, from.auth_client);
}

static void put_benchmark_client(struct buf *b)
{
    if (from.benchmark_client)
        buf_z(b, from.benchmark_client);
}

static void put_runtime_clients(struct buf *b)
{
    clients_runtime(b, ATH_S(""), false);
}

static void put_configured(struct buf *b)
{
    if (from.config)
        config_document_names(b, from.config, str_of(from.logging_client));
}

static const struct {
    const char *what;
    void (*put)(struct buf *b);
} words[] = {
    { "runtime_clients", put_runtime_clients },
    { "client_config.names", put_configured },
    { "service", put_service },
    { "provisioning", provisioning_json },
    { "clients", put_clients },
    { "stores", put_stores },
    { "schema", schema_json },
    { "logging_client", put_logging_client },
    { "auth_client", put_auth_client },
    { "benchmark_client", put_benchmark_client },
    { "pools", put_pools },
    { "pipelines", pipelines_json },
    { "workers", put_workers },
    { "families", daemons_families_json },
    { "programs", workers_programs_json },
    { "queues", jobs_queues_json },
    { "process", put_process },
    { "checks", probe_checks_json },
    { "checks.summary", probe_checks_summary },
    { "clients.latency", put_latency },
    { "clients.latency.reasons", put_latency_reasons },
    { "unready", put_unready },
    { "routes", put_routes },
    { "registry", put_registry },
    { "openapi", put_openapi },
    { "errors", put_errors },
    { "openapi-wss", openapi_wss },
    { "metrics", put_metrics },
    { "metrics.minimal", metric_render_off },
};

/* "client_config/NAME": a word with an argument. */
static void put_about(struct buf *b, const char *what)
{
    ath_str word = str_of(what), name = str_after(word, str_find(word, '/') + 1);
    bool own = str_starts(word, "client_config.own/");

    if (!from.config || (!own && !str_starts(word, "client_config/")))
        return;
    config_document(b, from.config, str_of(from.logging_client), name, own);
}

ath_str inspect(ath_task *t, const char *what)
{
    struct buf b = ARENA_BUF(&t->arena);

    for (size_t i = 0; i < ATH_COUNT(words); i++) {
        if (strcmp(words[i].what, what) == 0)
            words[i].put(&b);
    }
    put_about(&b, what);
    return buf_view(&b);
}

static void add_route(struct buf *b, const struct route *r)
{
    buf_lit(b, "{");
    buf_json_str(b, "path", str_of(r->def.path));
    buf_lit(b, ",\"methods\":[");
    buf_json(b, str_of(r->def.method));
    buf_lit(b, "]");
    buf_json_str(b, "summary", str_of(r->def.summary));
    buf_lit(b, "}");
}

static const char *auth_word(uint32_t auth)
{
    static const char *const word[] = {
        [ATH_AUTH_NONE] = "none",
        [ATH_AUTH_ADMIN] = "admin",
        [ATH_AUTH_GATEWAY] = "gateway",
        [ATH_AUTH_EITHER] = "admin_or_gateway",
        [ATH_AUTH_MANAGEMENT] = "management",
        [ATH_AUTH_OWN] = "own",
    };

    return auth < ATH_COUNT(word) && word[auth] ? word[auth] : "unknown";
}

static void add_entry(struct buf *b, const struct route *r)
{
    buf_lit(b, "{\"source\":\"builtin\"");
    buf_json_str(b, "method", str_of(r->def.method));
    buf_json_str(b, "path", str_of(r->def.path));
    buf_json_str(b, "plugin", str_of(r->plugin));
    buf_json_str(b, "auth", str_of(auth_word(r->def.auth)));
    if (r->def.right)
        buf_json_str(b, "right", str_of(r->def.right));
    if (r->def.limit)
        buf_json_str(b, "limit", str_of(r->def.limit));
    buf_json_bool(b, "needs_client", r->def.flags & ATH_RT_CLIENT);
    buf_json_str(b, "summary", str_of(r->def.summary));
    buf_lit(b, "}");
}

static void build_array(struct buf *b, void (*add)(struct buf *b, const struct route *r))
{
    buf_lit(b, "[");
    for (size_t i = 0; i < router_count(from.router); i++) {
        const struct route *r = router_at(from.router, i);
        if (!route_is_listed(r))
            continue;
        if (b->p[b->n - 1] != '[')
            buf_lit(b, ",");
        add(b, r);
    }
    buf_lit(b, "]");
}

int inspect_start(const struct inspect_sources *s, ath_err *e)
{
    (void)e;
    from = *s;
    started_ns = clock_wall_ns();
    build_array(&routes, add_route);
    build_array(&registry, add_entry);
    openapi_http(&openapi, from.router);
    capabilities_start(from.router, from.env);
    metrics_start(&from);
    return 0;
}

void inspect_stop(void)
{
    buf_free(&routes);
    buf_free(&registry);
    buf_free(&openapi);
    capabilities_stop();
}
