/* worker-upkeep: what keeps a control plane in shape while the server serves.
 *
 *     retention_worker    old rows go, in slices, one process of all
 *     partition_worker    days of the partitioned logs are made ahead; one process of all
 *     statistics_worker   what is new in the logs is counted; one process of all
 *     connection_monitor  the pools of this process, as rows and as warnings
 *     registry_reconnect_worker  which clients' databases have come back
 *     metrics_sampler     gauges that only the control plane knows
 *
 * Nothing here is needed to serve: without a control plane the ticks have nothing to do.
 */
#include "upkeep.h"

#include <stdio.h>
#include <stdlib.h>


#define T struct upkeep_config
#define GATE(m, key_, what) ATH_BOOL(T, m, key_, "true", "Whether " what, .flags = ATH_CF_RELOAD)
#define EVERY(m, key_, def_, range_, ...) \
    ATH_MSEC(T, m, key_, def_, range_, "How often it does.", .flags = ATH_CF_RELOAD __VA_ARGS__)
#define KEEP(m, key_, def_, what, ...) \
    ATH_MSEC(T, m, key_, def_, NULL, "How long " what " are kept; 0: for ever.", \
             .flags = ATH_CF_RELOAD __VA_ARGS__)

/* clang-format off */
static const ath_field fields[] = {
    ATH_STR(T, logging_client, "logging_client", "", NULL, "The client that holds the control plane; empty: there is nothing to do.", .alias = "gateway.logging_client"),
    GATE(retention, "retention", "old rows are deleted."),
    EVERY(retention_every_ms, "retention_every", "60s", "1s..1d", , .alias = "gateway.deferred_query_cleanup_interval_ms"),
    ATH_BOOL(T, dry_run, "dry_run", "false", "Only say, once an hour, what retention would delete.", .flags = ATH_CF_RELOAD, .alias = "retention.dry_run"),
    GATE(partitions, "partitions", "days of partitioned logs are made ahead."),
    EVERY(partitions_every_ms, "partitions_every", "10m", "1s..1d"),
    ATH_MSEC(T, analyze_every_ms, "analyze_every", "6h", "1m..30d", "How often partitioned logs are analysed as a whole; PostgreSQL does not by itself.", .flags = ATH_CF_RELOAD),
    GATE(statistics, "statistics", "the statistics of clients follow the logs."),
    EVERY(statistics_every_ms, "statistics_every", "60s", "1s..1d"),
    GATE(monitor, "monitor", "the pools of this process are recorded."),
    EVERY(monitor_every_ms, "monitor_every", "30s", "1s..1h", , .alias = "$ATHENA_POOL_MONITOR_INTERVAL_SECS"),
    GATE(reconnect, "reconnect", "it is said which databases have come back."),
    ATH_MSEC(T, reconnect_every_ms, "reconnect_every", "20s", "100ms..1h", "How often it is; the pools themselves try every two seconds at most.", .flags = ATH_CF_RELOAD, .alias = "$ATHENA_CLIENT_RECONNECT_INTERVAL_SECS pool.reconnect_interval"),
    GATE(sampler, "sampler", "metrics of the control plane are sampled."),
    EVERY(sampler_every_ms, "sampler_every", "30s", "1s..1h"),
    KEEP(log_ms, "log_retention_secs", "14d", "request, operation, route, admission and key logs", , .alias = "gateway.log_retention_secs"),
    KEEP(deferred_ms, "deferred_query_retention_secs", "30d", "finished deferred requests", , .alias = "gateway.deferred_query_retention_secs"),
    KEEP(registry_ms, "connection_registry_secs", "300", "idle entries of the connection registry", , .alias = "$ATHENA_REALTIME_REGISTRY_INACTIVE_AFTER_SECS"),
    KEEP(ip_addresses_ms, "ip_addresses_days", "0", "addresses with their statistics", , .alias = "retention.ip_addresses_days"),
    KEEP(learned_ips_ms, "learned_ips_days", "30", "addresses that a key has learned, once it has settled,", , .alias = "retention.learned_ips_days"),
    KEEP(audit_ms, "audit_days", "365", "the audit log", , .alias = "retention.audit_days"),
    KEEP(pools_ms, "pool_monitor_hours", "24", "records of pools", , .alias = "$ATHENA_POOL_MONITOR_RETENTION_HOURS"),
    KEEP(vacuum_ms, "vacuum_health_days", "30", "vacuum snapshots", , .alias = "$ATHENA_VACUUM_HEALTH_RETENTION_DAYS"),
    KEEP(pressure_ms, "client_pressure_days", "30", "pressure snapshots and finished backfills", , .alias = "$ATHENA_CLIENT_PRESSURE_RETENTION_DAYS"),
    KEEP(optimization_ms, "query_optimization_days", "180", "runs and actions of the query adviser", , .alias = "retention.query_optimization_days"),
    KEEP(outbox_published_ms, "outbox_published_hours", "24", "published rows of the outbox", , .alias = "retention.outbox_published_hours"),
    KEEP(outbox_exhausted_ms, "outbox_exhausted_days", "30", "rows of the outbox that were given up", , .alias = "retention.outbox_exhausted_days"),
    ATH_INT(T, outbox_attempts, "outbox_max_attempts", "10", "1..1000000", "Attempts after which a row of the outbox was given up.", .alias = "$ATHENA_OUTBOX_MAX_ATTEMPTS"),
    KEEP(backup_logs_ms, "backup_logs_days", "90", "lines of backup logs", , .alias = "retention.backup_logs_days"),
    KEEP(clone_events_ms, "clone_events_days", "90", "events of clone jobs, after their end,", , .alias = "retention.clone_events_days"),
    ATH_INT(T, typesense_runs, "typesense_runs", "100", "0..1000000000", "How many finished runs of each Typesense job are kept; 0: all.", .flags = ATH_CF_RELOAD, .alias = "retention.typesense_runs"),
    KEEP(daemons_ms, "daemons_days", "7", "daemons that went offline", , .alias = "retention.daemons_days"),
    KEEP(deliveries_ms, "webhook_deliveries_days", "30", "webhook deliveries, in each client's database,", , .alias = "retention.webhook_deliveries_days"),
    KEEP(ledger_ms, "webhook_ledger_hours", "1", "entries of webhook ledgers, beyond the longest window of their hooks,", , .alias = "retention.webhook_ledger_hours"),
    KEEP(sink_events_ms, "webhook_sink_events_days", "0", "inbound webhook events, in each client's database,", , .alias = "retention.webhook_sink_events_days"),
};

static const ath_metric metrics[METRICS] = {
    [M_DELETED] = { "athena_retention_deleted_rows_total", "table", "Rows that retention has deleted.", ATH_M_COUNTER, 0 },
    [M_DROPPED] = { "athena_retention_dropped_partitions_total", "table", "Days of a partitioned log that retention has dropped.", ATH_M_COUNTER, 0 },
    [M_LAG] = { "athena_retention_lag_seconds", "table", "By how much the oldest row is past its time.", ATH_M_GAUGE, 0 },
    [M_RETENTION_SUCCESS] = { "athena_retention_last_success_timestamp", NULL, "When retention last went through all tables.", ATH_M_GAUGE, 0 },
    [M_REQUESTS_24H] = { "athena_requests_last_24h", NULL, "Logged requests of the last 24 hours, as last sampled.", ATH_M_GAUGE, 0 },
    [M_MUTATIONS_24H] = { "athena_management_mutations_last_24h", NULL, "Logged management operations of the last 24 hours, as last sampled.", ATH_M_GAUGE, 0 },
    [M_QUEUE_UP] = { "athena_gateway_deferred_queue_storage_up", NULL, "Whether the deferred queue could be read.", ATH_M_GAUGE, 0 },
    [M_QUEUE_TOTAL] = { "athena_gateway_deferred_queue_requests_total", NULL, "Requests in the deferred queue; of each status at most 100000 are counted.", ATH_M_GAUGE, 0 },
    [M_QUEUE_STATUS] = { "athena_gateway_deferred_queue_requests", "status", "Requests in the deferred queue, at most 100000 of each status.", ATH_M_GAUGE, 0 },
    [M_QUEUE_OLDEST] = { "athena_gateway_deferred_queue_oldest_age_seconds", NULL, "Age of the oldest request that waits or runs.", ATH_M_GAUGE, 0 },
};
/* clang-format on */

/* ---- shared by the ticks ---- */

enum { STATEMENT_MS = 30000, SETTINGS_MOST = 4 };

/* The host makes the time that a writing trip has its statement_timeout, and cancels reads by it. */
int upkeep_ask(ath_task *t, const struct ask *a, ath_then *then, void *arg, ath_err *e)
{
    ath_pair set[SETTINGS_MOST] = {
        { ATH_S("lock_timeout"), str_of(a->lock_timeout ? a->lock_timeout : "1s") },
        { ATH_S("timezone"), ATH_S("UTC") },
        { ATH_S("datestyle"), ATH_S("ISO") },
    };
    ath_query q = { .size = sizeof(q),
                    .flags = a->flags,
                    .client = a->client.n ? a->client : ATH_S("@control"),
                    .stmt = a->stmt,
                    .stmt_size = sizeof(*a->stmt),
                    .stmt_count = a->count,
                    .set = set,
                    .set_count = SETTINGS_MOST - 1,
                    .timeout_ms = a->limit_ms ? a->limit_ms : STATEMENT_MS };

    if (a->setting.name.n)
        set[q.set_count++] = a->setting;
    return ath_host_->pg->query(t, &q, then, arg, e);
}

int upkeep_done(ath_task *t)
{
    ath_host_->task->done(t, NULL);
    return 0;
}

void upkeep_say(ath_task *t, int level, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    ath_host_->log->write(ath_self_, t, level, fmt, ap);
    va_end(ap);
}

void upkeep_put(uint32_t metric, const char *label, double v)
{
    ath_str text = str_of(label);

    ath_host_->log->put(ath_self_, metric, label ? &text : NULL, v);
}

int64_t upkeep_number(const ath_rows *rows, uint32_t row, uint32_t col)
{
    int64_t v = 0;

    str_i64(ath_cell(rows, row, col), &v);
    return v;
}

/* ---- the workers ---- */

#define PACE(name, member) \
    static void name##_pace(const void *config, ath_pace *p) \
    { \
        p->poll_ms = ((const struct upkeep_config *)config)->member; \
    }
PACE(retention, retention_every_ms)
PACE(partitions, partitions_every_ms)
PACE(statistics, statistics_every_ms)
PACE(monitor, monitor_every_ms)
PACE(reconnect, reconnect_every_ms)
PACE(sampler, sampler_every_ms)

#define TICK(name, shown, flags_) \
    static const ath_worker name##_worker = { ATH_CAP(ath_worker, ATH_CAP_WORKER, shown), \
                                              .family = "upkeep", .gate = #name, \
                                              .pace = name##_pace, .run = name##_run, \
                                              .flags = (flags_) }
TICK(retention, "retention_worker", ATH_WK_SINGLE);
TICK(partitions, "partition_worker", ATH_WK_SINGLE);
TICK(statistics, "statistics_worker", ATH_WK_SINGLE);
TICK(monitor, "connection_monitor", ATH_WK_LOCAL);
TICK(reconnect, "registry_reconnect_worker", ATH_WK_LOCAL);
TICK(sampler, "metrics_sampler", ATH_WK_LOCAL);

static const ath_cap *const caps[] = { &retention_worker.cap,  &partitions_worker.cap,
                                       &statistics_worker.cap, &monitor_worker.cap,
                                       &reconnect_worker.cap,  &sampler_worker.cap,   NULL };

/* ---- life ---- */

static void upkeep_fini(void *state)
{
    struct upkeep *u = state;

    free(u->sampler);
    reconnect_free(u->reconnect);
    free(u);
}

static int upkeep_init(ath_self *self, const void *config, void **state, ath_err *e)
{
    struct upkeep *u = calloc(1, sizeof(*u));

    (void)self, (void)config;
    if (!u || !(u->sampler = sampler_new()) || !(u->reconnect = reconnect_new())) {
        if (u)
            upkeep_fini(u);
        return ath_fail(e, ATH_E_MEMORY, "out of memory");
    }
    *state = u;
    sampler_start();
    uuid_make(u->instance);
    return 0;
}

ATH_PLUGIN("worker-upkeep", "1.0.0", "", "",
           .summary = "Retention, partitions, pool records, sampled metrics",
           ATH_ARRAY(field, fields), .config_size = sizeof(struct upkeep_config),
           ATH_ARRAY(metric, metrics), .cap = caps, .init = upkeep_init,
           .fini = upkeep_fini);
