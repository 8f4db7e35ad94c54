/* core/config/core_fields.h - the server's own keys: one struct, filled from tables.
 *
 * Durations are milliseconds, sizes bytes, lists comma-separated text (config_item). The sections
 * `api`, `gateway`, `daemon` and `deferred_writes` are the published ones, `server` and `pool` are
 * ours. What a key means is in its table: `athena config-reference` prints it.
 */
#ifndef CORE_CONFIG_CORE_FIELDS_H
#define CORE_CONFIG_CORE_FIELDS_H

#include "config/field.h"

struct server_config {
    ath_str host, unix_socket, plugin_dir, state_dir, runtime_dir;
    ath_str admin_key, redis_url, log_filter, server_timing, secrets_key, ca_file;
    int64_t loops, work_loops;           /* 0: by the number of processors */
    int32_t allow_start_without_postgres, strict_methods;
    uint64_t drain_timeout_ms, stall_limit_ms, stall_abort_ms;
    uint64_t head_timeout_ms, body_timeout_ms, idle_timeout_ms, write_timeout_ms;
    uint64_t request_timeout_ms, disconnect_timeout_ms;
    uint64_t head_bytes, target_bytes, buffered_bytes, compression_min;
    int64_t head_fields, connections, pipeline, compression_level;
};

struct pool_config {
    int64_t budget, max_connections, min_connections, waiting_max, prepared_max;
    int64_t logging_max_connections;
    uint64_t acquire_timeout_ms, idle_timeout_ms, max_lifetime_ms, connect_timeout_ms;
    int64_t waiting_budget;
    int32_t test_before_acquire, fair;
};

struct api_config {
    int64_t port, http_workers, http_max_connections, http_backlog, cache_max_bytes;
    uint64_t keep_alive_ms, client_request_timeout_ms, client_disconnect_timeout_ms;
    uint64_t tcp_keepalive_ms, cache_ttl_ms, pool_idle_timeout_ms, cors_max_age_ms;
    uint64_t max_body_bytes;
    int32_t prometheus_metrics_enabled, cors_allow_any_origin, cors_enforce, immortal_cache;
    int32_t metrics_require_key;
    ath_str cors_allowed_origins, metrics_key;
};

struct rate_config {
    int32_t enabled;
    int64_t per_second, burst;
};

struct gateway_config {
    ath_str logging_client, logging_pg_uri, logging_pg_uri_env_var, auth_client, benchmark_client;
    ath_str api_key_fail_mode, statistics_refresh_mode;
    int64_t statistics_lookback_days;    /* 0: all rows */
    ath_str config_sync;
    uint64_t catalog_poll_ms;
    int32_t database_backed_client_loading, force_camel_case_to_snake_case;
    int32_t auto_cast_uuid_filter_values_to_text, allow_schema_names_prefixed_as_table_name;
    int32_t jdbc_allow_private_hosts;
    ath_str jdbc_allowed_hosts;
    uint64_t resilience_timeout_ms, resilience_initial_backoff_ms;
    int64_t resilience_read_max_retries;
    uint64_t insert_execution_window_ms;
    int64_t insert_window_max_batch, insert_window_max_queued;
    ath_str insert_merge_deny_tables;
    int32_t admission_limit_enabled, admission_defer_on_limit_enabled;
    uint64_t admission_window_ms;
    int64_t admission_global, admission_per_client;   /* requests per window; 0: any */
    ath_str admission_store_backend, admission_store_fail_mode, admission_defer_route_prefixes;
    ath_str admission_exempt_paths;
    int32_t deferred_query_worker_enabled;
    uint64_t deferred_query_worker_poll_ms, deferred_query_retention_ms;
    uint64_t deferred_query_cleanup_interval_ms, log_retention_ms;
    int32_t logging_trust_x_forwarded_for, rate_limit_trust_x_forwarded_for;
    struct rate_config storage, schema, raw_sql, backup_admin, supabase, per_key;
    int32_t linux_file_logging_enabled;
    ath_str linux_file_logging_dir;
    int32_t catalog_load_failure_auto_disable;
    int64_t catalog_load_failure_threshold;
    uint64_t catalog_load_failure_window_ms;
    /* ours */
    int32_t enforce_api_keys, rights_strict, session_org_roles;
    ath_str log_skip_user_agents;
    ath_str unenforced_scope, trusted_proxies, key_carriers, host_routing_precedence;
    ath_str rights_protected_schemas, auth_log_unenforced;
    uint64_t auth_cache_ttl_ms, last_used_interval_ms;
    int64_t auth_failures_per_minute, auth_failures_burst;
    ath_str auth_failures_exempt;
    int64_t budget_per_key_ms;           /* of database time, per minute; 0: any */
    int32_t cost_header;
};

struct cache_config {
    int32_t enabled, skip_invalidation;
    int64_t entries;
    uint64_t entry_bytes, wait_ms, redis_timeout_ms, redis_cooldown_ms, invalidation_window_ms;
};

struct cluster_config {
    ath_str mirrors;
    uint64_t mirror_every_ms, client_every_ms, client_timeout_ms;
};

struct schema_config {
    ath_str bootstrap;           /* auto, check, off */
};

struct daemon_config {
    int32_t enabled;
    ath_str id, socket;
    uint64_t heartbeat_ms;
};

struct core_config {
    struct server_config server;
    struct pool_config pool;
    struct api_config api;
    struct gateway_config gateway;
    struct cache_config cache;
    struct schema_config schema;
    struct daemon_config daemon;
    struct cluster_config cluster;
    /* Whether anybody said if keys are enforced; a file that does not keeps the open default, and
     * the start says so. */
    bool enforce_stated;
};

/* The tables, NULL at the end; all of them fill a struct core_config. */
extern const struct config_table *const core_tables[];
size_t core_table_count(void);

int core_config_fill(const struct config *c, struct core_config *ret, struct config_report *rep);

#endif
