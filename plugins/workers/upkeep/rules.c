/* The rules: which rows of which tables are too old (tables.md 8). */
#include "rules.h"

#include "statistics/statistics.h"

/* clang-format off */

#define K(member) offsetof(struct upkeep_config, member)

/* In this order: logs, queues, snapshots, the rest. Slices are small where a row takes others with
 * it. Queued requests that are too old are not lost but given up, where operators see them. */
const struct rule upkeep_rules[] = {
    { .table = "gateway_request_log", .time = "created_at", .keep = K(log_ms),
      .counted = 1 + STATISTICS_REQUEST },
    { .table = "gateway_operation_log", .time = "created_at", .keep = K(log_ms),
      .counted = 1 + STATISTICS_OPERATION },
    { .table = "gateway_route_request_log", .time = "created_at", .keep = K(log_ms) },
    { .table = "gateway_admission_events", .schema = "public", .time = "created_at",
      .keep = K(log_ms) },
    { .table = "api_key_auth_log", .time = "time", .or_time = "created_at", .keep = K(log_ms),
      .place = RULE_AUTH },
    { .table = "api_key_ip_seen", .time = "last_seen_at", .keep = K(learned_ips_ms),
      .where = "not o.locked_in and exists (select from @api_keys k where k.id = o.api_key_id and "
               "k.virgin_resolved_at < now() - $1::float8 * interval '1 ms')",
      .place = RULE_AUTH },
    { .table = "athena_audit", .time = "time", .keep = K(audit_ms) },
    { .table = "gateway_deferred_request_queue", .schema = "public", .time = "completed_at",
      .where = "o.status in ('completed', 'dead_letter')", .keep = K(deferred_ms) },
    { .table = "gateway_deferred_request_queue", .schema = "public", .time = "created_at",
      .where = "o.status = 'queued'", .keep = K(deferred_ms),
      .action = "status = 'dead_letter', completed_at = now(), updated_at = now(), error_message "
                "= 'not executed within gateway.deferred_query_retention_secs'" },
    { .table = "athena_outbox", .schema = "public", .time = "published_at",
      .keep = K(outbox_published_ms) },
    { .table = "athena_outbox", .schema = "public", .time = "created_at",
      .where = "o.published_at is null and o.attempts >= $4::int8", .keep = K(outbox_exhausted_ms),
      .number = K(outbox_attempts) },
    { .table = "backup_job_logs", .time = "created_at", .keep = K(backup_logs_ms) },
    { .table = "database_clone_job_events", .schema = "public", .time = "created_at",
      .where = "exists (select from @database_clone_jobs j where j.job_id = o.job_id and j.status "
               "in ('completed', 'failed_terminal', 'cancelled') and "
               "coalesce(j.completed_at, j.updated_at) < now() - $1::float8 * interval '1 ms')",
      .keep = K(clone_events_ms) },
    { .table = "typesense_sync_runs", .schema = "public", .time = "started_at",
      .keep = K(typesense_runs), .slice = 100, .where = "o.status <> 'running'",
      .victims = "select r.ctid from (select ctid, row_number() over (partition by job_id order by "
                 "started_at desc, id desc) as n from @typesense_sync_runs where status <> "
                 "'running') r where r.n > $1::float8 and $2::text is not null limit $3::int" },
    { .table = "gateway_connection_registry_realtime", .time = "last_seen_at",
      .keep = K(registry_ms) },
    { .table = "ip_addresses", .time = "last_seen_at", .keep = K(ip_addresses_ms), .slice = 1000 },
    { .table = "client_connections", .time = "recorded_at", .keep = K(pools_ms) },
    { .table = "vacuum_health_snapshots", .time = "recorded_at", .keep = K(vacuum_ms),
      .slice = 200 },
    { .table = "client_table_pressure_snapshots", .time = "recorded_at", .keep = K(pressure_ms) },
    { .table = "client_pressure_snapshots", .time = "recorded_at", .keep = K(pressure_ms),
      .slice = 200 },
    { .table = "client_pressure_snapshot_runs", .time = "recorded_at", .keep = K(pressure_ms),
      .slice = 50 },
    { .table = "client_pressure_backfill_requests", .time = "updated_at", .keep = K(pressure_ms),
      .where = "o.status in ('completed', 'failed')" },
    { .table = "query_optimization_actions", .time = "created_at", .keep = K(optimization_ms) },
    { .table = "query_optimization_runs", .time = "created_at", .keep = K(optimization_ms) },
    { .table = "daemon_runtime_registry", .schema = "public", .time = "last_seen_at",
      .keep = K(daemons_ms) },
    { .table = "gateway_webhook_delivery", .schema = "athena", .time = "created_at",
      .keep = K(deliveries_ms), .place = RULE_TENANT },
    { .table = "gateway_webhook_sink_delivery", .schema = "athena", .time = "created_at",
      .keep = K(deliveries_ms), .place = RULE_TENANT },
    { .table = "gateway_webhook_state_ledger", .schema = "athena", .time = "created_at",
      .where = "o.created_at < now() - $1::float8 * interval '1 ms' - (select coalesce(max("
               "state_cap_window_seconds), 0) from @gateway_webhook) * interval '1 s'",
      .keep = K(ledger_ms), .place = RULE_TENANT },
    { .table = "gateway_webhook_sink_state_ledger", .schema = "athena", .time = "created_at",
      .where = "o.created_at < now() - $1::float8 * interval '1 ms' - (select coalesce(max("
               "state_cap_window_seconds), 0) from @gateway_webhook_sink) * interval '1 s'",
      .keep = K(ledger_ms), .place = RULE_TENANT },
    { .table = "webhook_sink_events", .schema = "athena", .time = "received_at",
      .keep = K(sink_events_ms), .place = RULE_TENANT },
};
/* clang-format on */

const uint32_t upkeep_rule_count = ATH_COUNT(upkeep_rules);
