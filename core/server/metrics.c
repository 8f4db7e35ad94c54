/* Families with the names and the number forms that dashboards of the published system read, and
 * our own about the loops. What log/metric.h counts by itself is not repeated here. */
#include "server/metrics.h"

#include <stdlib.h>

#include "base/mem.h"
#include "db/client.h"
#include "db/fair.h"
#include "log/metric.h"
#include "server/pipelines.h"

typedef unsigned long long ull;

static void gauge(struct buf *b, const char *name, const char *help, uint64_t v)
{
    metric_head(b, name, "gauge", help);
    buf_printf(b, "%s %llu\n", name, (ull)v);
}

static void ratio(struct buf *b, const char *name, const char *help, uint64_t part, uint64_t whole)
{
    metric_head(b, name, "gauge", help);
    buf_printf(b, "%s %.6f\n", name, whole ? (double)part / (double)whole : 0.0);
}

/* ---- the configuration ---- */

static bool store_is_up(const char *name)
{
    const struct db_client *c = name ? db_client_find(str_of(name)) : NULL;

    return c && c->active && atomic_load(&c->up);
}

static void put_config(struct buf *b, void *arg)
{
    const struct inspect_sources *s = arg;

    gauge(b, "athena_logging_store_up", "Whether the logging database is connected.",
          store_is_up(s->logging_client));
    gauge(b, "athena_logging_client_configured", "Whether a logging client is named.",
          s->logging_client != NULL);
    gauge(b, "athena_gateway_auth_client_configured", "Whether a key store is named.",
          s->auth_client != NULL);
    gauge(b, "athena_gateway_benchmark_client_configured", "Whether a benchmark client is named.",
          s->benchmark_client != NULL);
    gauge(b, "athena_gateway_force_camel_case_to_snake_case", "Configuration switch.",
          s->gateway.force_camel_to_snake);
    gauge(b, "athena_gateway_auto_cast_uuid_filter_values_to_text", "Configuration switch.",
          s->gateway.cast_uuid_to_text);
    gauge(b, "athena_gateway_jdbc_allow_private_hosts", "Configuration switch.",
          s->gateway.allow_private_hosts);
    gauge(b, "athena_gateway_jdbc_allowed_hosts", "Hosts that direct URIs may name.",
          s->gateway.allowed_hosts);
    gauge(b, "athena_pipeline_registry_loaded", "Whether pipelines are loaded.",
          pipelines_loaded());
    gauge(b, "athena_pipeline_registry_entries", "Pipelines loaded.", pipelines_count());
}

/* ---- clients and their pools ---- */

struct client_row {
    const struct db_client *client;
    struct db_pool_stats pool;
};

struct clients {
    struct client_row *row;
    size_t n;
};

static struct clients take_clients(void)
{
    size_t all = db_client_count();
    struct clients c = { .row = mem_new((all + 1) * sizeof(*c.row)) };

    for (size_t i = 0; i < all; i++) {
        struct client_row *r = &c.row[c.n];
        r->client = db_client_at(i);
        if (r->client->gone)
            continue;
        db_client_stats(r->client, &r->pool);
        c.n++;
    }
    return c;
}

static void put_series(struct buf *b, const char *name, const struct client_row *r,
                       const char *state)
{
    buf_z(b, name);
    buf_lit(b, "{");
    metric_label(b, "client", str_of(r->client->name));
    buf_lit(b, ",");
    metric_label(b, "source", str_of(r->client->source));
    buf_printf(b, ",active=\"%s\",frozen=\"%s\"", r->client->active ? "true" : "false",
               r->client->frozen ? "true" : "false");
    if (state)
        buf_printf(b, ",state=\"%s\"", state);
    buf_lit(b, "} ");
}

static uint64_t in_use(const struct db_pool_stats *p)
{
    return p->size > p->idle ? p->size - p->idle : 0;
}

static uint64_t headroom(const struct db_pool_stats *p)
{
    return p->max > p->size ? p->max - p->size : 0;
}

enum pool_value { V_ONE, V_UP, V_CLOSED, V_MAX, V_HEADROOM, V_WAITING };

static uint64_t pool_value(const struct db_pool_stats *p, enum pool_value v)
{
    switch (v) {
    case V_ONE:
        return 1;
    case V_UP:
        return p->up;
    case V_CLOSED:
        return !p->up;
    case V_MAX:
        return p->max;
    case V_HEADROOM:
        return headroom(p);
    case V_WAITING:
        return p->waiting;
    }
    return 0;
}

static void put_family(struct buf *b, const struct clients *c, const char *name, const char *help,
                       enum pool_value v)
{
    metric_head(b, name, "gauge", help);
    for (size_t i = 0; i < c->n; i++) {
        put_series(b, name, &c->row[i], NULL);
        buf_printf(b, "%llu\n", (ull)pool_value(&c->row[i].pool, v));
    }
}

static void put_connections(struct buf *b, const struct clients *c)
{
    static const char name[] = "athena_pg_pool_connections";

    metric_head(b, name, "gauge", "Connections by state.");
    for (size_t i = 0; i < c->n; i++) {
        const struct db_pool_stats *p = &c->row[i].pool;
        put_series(b, name, &c->row[i], "size");
        buf_printf(b, "%llu\n", (ull)p->size);
        put_series(b, name, &c->row[i], "idle");
        buf_printf(b, "%llu\n", (ull)p->idle);
        put_series(b, name, &c->row[i], "active");
        buf_printf(b, "%llu\n", (ull)in_use(p));
    }
}

enum pool_share { S_BUSY, S_IDLE, S_FULL };

static void put_shares(struct buf *b, const struct clients *c, const char *name, const char *help,
                       enum pool_share share)
{
    metric_head(b, name, "gauge", help);
    for (size_t i = 0; i < c->n; i++) {
        const struct db_pool_stats *p = &c->row[i].pool;
        uint64_t part = share == S_BUSY ? in_use(p) : share == S_IDLE ? p->idle : p->size;
        uint64_t whole = share == S_FULL ? p->max : p->size;
        put_series(b, name, &c->row[i], NULL);
        if (whole)
            buf_printf(b, "%.6f\n", (double)part / (double)whole);
        else
            buf_lit(b, "0\n"); /* dashboards tell "no pool" from "empty pool" by the form */
    }
}

static void put_totals(struct buf *b, const struct clients *c)
{
    struct db_pool_stats t = { 0 };
    uint64_t active = 0, connected = 0;

    for (size_t i = 0; i < c->n; i++) {
        const struct client_row *r = &c->row[i];
        bool usable = r->client->active && !r->client->frozen;
        active += usable;
        connected += usable && r->pool.up;
        t.size += r->pool.size;
        t.idle += r->pool.idle;
        t.max += r->pool.max;
    }
    gauge(b, "athena_pg_registered_clients", "Clients known.", c->n);
    gauge(b, "athena_pg_active_clients", "Clients that requests may use.", active);
    gauge(b, "athena_pg_connected_clients", "Clients whose database is connected.", connected);
    metric_head(b, "athena_pg_pool_connections_total", "gauge",
                "Connections of all clients by state.");
    buf_printf(b,
               "athena_pg_pool_connections_total{state=\"size\"} %llu\n"
               "athena_pg_pool_connections_total{state=\"idle\"} %llu\n"
               "athena_pg_pool_connections_total{state=\"active\"} %llu\n",
               (ull)t.size, (ull)t.idle, (ull)in_use(&t));
    gauge(b, "athena_pg_pool_max_connections_total", "Connections that all clients may open.",
          t.max);
    ratio(b, "athena_pg_pool_overall_utilization_ratio", "Busy connections of the open ones.",
          in_use(&t), t.size);
    gauge(b, "athena_pg_pool_headroom_total", "Connections that may still be opened.",
          headroom(&t));
}

/* What all pools have together, and what was decided about it. */
static void put_shares_of_all(struct buf *b)
{
    struct fair_stats s;

    fair_stats(&s);
    gauge(b, "athena_pg_budget_connections", "Connections that the process may open.", s.budget);
    gauge(b, "athena_pg_budget_used", "Connections of the process.", s.used);
    gauge(b, "athena_pg_budget_reserve", "Of the budget: for clients with few connections.",
          s.reserve);
    gauge(b, "athena_pg_budget_waiting_pools",
          "Pools that wait for a connection because the budget is used up.", s.waiting);
    metric_head(b, "athena_pg_budget_decisions_total", "counter",
                "Turns given, connections out of the reserve, connections that were closed for "
                "a client with fewer while busy or idle.");
    buf_printf(b,
               "athena_pg_budget_decisions_total{decision=\"turn\"} %llu\n"
               "athena_pg_budget_decisions_total{decision=\"reserve\"} %llu\n"
               "athena_pg_budget_decisions_total{decision=\"given_back\"} %llu\n"
               "athena_pg_budget_decisions_total{decision=\"reclaimed_idle\"} %llu\n",
               (ull)s.turns, (ull)s.reserved, (ull)s.given, (ull)s.reclaimed);
    metric_head(b, "athena_pg_budget_waited_seconds_total", "counter",
                "Time that pools have waited for their turns.");
    buf_printf(b, "athena_pg_budget_waited_seconds_total %.6f\n", (double)s.waited_ns / 1e9);
}

static void put_clients(struct buf *b, void *arg)
{
    struct clients c = take_clients();

    (void)arg;
    put_totals(b, &c);
    put_family(b, &c, "athena_pg_client_info", "One per client.", V_ONE);
    put_family(b, &c, "athena_pg_pool_up", "Whether the database is connected.", V_UP);
    put_family(b, &c, "athena_pg_pool_closed", "Whether it is not.", V_CLOSED);
    put_connections(b, &c);
    put_family(b, &c, "athena_pg_pool_max_connections", "Connections it may open.", V_MAX);
    put_shares(b, &c, "athena_pg_pool_connection_utilization_ratio",
               "Busy connections of the open ones.", S_BUSY);
    put_shares(b, &c, "athena_pg_pool_idle_ratio", "Idle connections of the open ones.", S_IDLE);
    put_shares(b, &c, "athena_pg_pool_saturation_ratio", "Open connections of the allowed ones.",
               S_FULL);
    put_family(b, &c, "athena_pg_pool_headroom", "Connections that may still be opened.",
               V_HEADROOM);
    metric_head(b, "athena_pg_pool_snapshot_age_seconds", "gauge", "Age of these figures.");
    for (size_t i = 0; i < c.n; i++) {
        put_series(b, "athena_pg_pool_snapshot_age_seconds", &c.row[i], NULL);
        buf_z(b, c.row[i].pool.up ? "0.000000\n" : "0\n");
    }
    put_family(b, &c, "athena_pg_pool_waiting", "Requests that wait for a connection.", V_WAITING);
    put_shares_of_all(b);
    free(c.row);
}

/* ---- loops, connections, tasks ---- */

static void put_loops(struct buf *b, void *arg)
{
    const struct inspect_sources *s = arg;

    metric_head(b, "athena_loop_lag_seconds", "gauge", "How late the loop's last tick was.");
    for (uint32_t i = 0; i < s->loop_count; i++)
        buf_printf(b, "athena_loop_lag_seconds{loop=\"%s\"} %.6f\n", s->loops[i]->name,
                   (double)atomic_load(&s->loops[i]->lag_ns) / 1e9);
    metric_head(b, "athena_loop_turns_total", "counter", "Times the loop went round.");
    for (uint32_t i = 0; i < s->loop_count; i++)
        buf_printf(b, "athena_loop_turns_total{loop=\"%s\"} %llu\n", s->loops[i]->name,
                   (ull)atomic_load(&s->loops[i]->turns));
    if (!s->http)
        return;
    gauge(b, "athena_http_connections_open", "Sockets of callers.", atomic_load(&s->http->open));
    metric_head(b, "athena_http_answers_cut_total", "counter",
                "Answers that were cut: a broken stream, a reader that took nothing, a stop.");
    buf_printf(b, "athena_http_answers_cut_total %llu\n", (ull)atomic_load(&s->http->cut));
    gauge(b, "athena_http_draining", "Whether the server is shutting down.",
          atomic_load(&s->http->draining));
}

void metrics_start(const struct inspect_sources *s)
{
    void *arg = (void *)(uintptr_t)s;

    metric_source(put_config, arg);
    metric_source(put_clients, NULL);
    metric_source(put_loops, arg);
}
