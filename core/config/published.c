/* The published places as tables. */
#include "config/published.h"

/* clang-format off */
static const struct published_section sections[] = {
    { "urls", "", PUB_REQUIRED | PUB_NAMES },
    { "hosts", "", PUB_REQUIRED | PUB_NAMES },
    { "api", "port keep_alive_secs client_request_timeout_secs client_disconnect_timeout_secs tcp_keepalive_secs "
      "http_workers http_max_connections http_backlog cache_ttl pool_idle_timeout prometheus_metrics_enabled "
      "cors_allow_any_origin cors_allowed_origins immortal_cache", PUB_REQUIRED },
    { "authenticator", "", PUB_REQUIRED | PUB_NAMES | PUB_DEEP },
    { "postgres_clients", "", PUB_REQUIRED | PUB_NAMES },
    { "gateway", "logging_client logging_pg_uri logging_pg_uri_env_var auth_client benchmark_client api_key_fail_mode "
      "database_backed_client_loading client_statistics_startup_refresh_mode client_statistics_startup_refresh_lookback_days "
      "force_camel_case_to_snake_case auto_cast_uuid_filter_values_to_text allow_schema_names_prefixed_as_table_name "
      "jdbc_allow_private_hosts jdbc_allowed_hosts resilience_timeout_secs resilience_read_max_retries "
      "resilience_initial_backoff_ms insert_execution_window_ms insert_window_max_batch insert_window_max_queued "
      "insert_merge_deny_tables admission_limit_enabled admission_window_secs admission_global_requests_per_window "
      "admission_per_client_requests_per_window admission_store_backend admission_store_fail_mode "
      "admission_defer_on_limit_enabled admission_defer_route_prefixes deferred_query_worker_enabled "
      "deferred_query_worker_poll_ms deferred_query_retention_secs deferred_query_cleanup_interval_ms log_retention_secs "
      "logging_trust_x_forwarded_for rate_limit_trust_x_forwarded_for "
      "rate_limit_inbound_storage_enabled rate_limit_inbound_storage_per_second rate_limit_inbound_storage_burst "
      "rate_limit_inbound_schema_enabled rate_limit_inbound_schema_per_second rate_limit_inbound_schema_burst "
      "rate_limit_inbound_raw_sql_enabled rate_limit_inbound_raw_sql_per_second rate_limit_inbound_raw_sql_burst "
      "rate_limit_inbound_backup_admin_enabled rate_limit_inbound_backup_admin_per_second "
      "rate_limit_inbound_backup_admin_burst rate_limit_outbound_supabase_enabled "
      "rate_limit_outbound_supabase_per_second rate_limit_outbound_supabase_burst linux_file_logging_enabled "
      "linux_file_logging_dir catalog_client_load_failure_auto_disable catalog_client_load_failure_threshold "
      "catalog_client_load_failure_window_hours", 0 },
    { "storage", "allow_legacy_identity_headers", 0 },
    { "provisioning", "expected_tables default_postgres_image default_instance_host default_startup_timeout_secs "
      "default_neon_api_base_url default_railway_graphql_url default_render_api_base_url docker_sudo_password "
      "docker_self_heal_group", 0 },
    { "backup", "worker_enabled execution_worker_poll_ms schedule_worker_poll_ms worker_max_attempts "
      "worker_lease_ttl_minutes s3_bucket s3_region s3_endpoint s3_prefix s3_access_key s3_secret_key", 0 },
    { "daemon", "enabled id clone_worker_enabled clone_worker_poll_ms clone_worker_lease_ttl_secs "
      "clone_worker_max_attempts spawn_legacy_workers", 0 },
    { "compat", "enabled remote_url local_url remote_key local_key allow_non_json skip_list include_list report_dir "
      "fail_on_diff max_paths", 0 },
    { "cdc", "allow_legacy_axum_wildcards enabled disabled", 0 },
    { "typesense", "allow_http sync_worker_enabled sync_worker_poll_ms import_max_attempts import_retry_base_ms "
      "sync_saga_backup_enabled enabled disabled", 0 },
    { "loki", "url tenant_id username password labels extra_fields", 0 },
    { "deferred_writes", "enabled batch_window_ms batch_max_size wal_enabled wal_dir skip_cache_invalidation", 0 },
    { "chat_http_delivery", "", PUB_NAMES },
    { "validation_ranges", "", PUB_RANGES },
};

/* Written under `storage` by the published sample file, where the published server never looks. */
static const char misplaced[] =
    "insert_execution_window_ms insert_window_max_batch insert_window_max_queued insert_merge_deny_tables "
    "client_statistics_startup_refresh_mode client_statistics_startup_refresh_lookback_days";

static const struct { const char *place, *range; } ranges[] = {
    { "api.port", "4052..65535" },
    { "api.keep_alive_secs", "15..3600" },
    { "api.client_request_timeout_secs", "60..3600" },
    { "api.client_disconnect_timeout_secs", "60..3600" },
    { "api.tcp_keepalive_secs", "75..3600" },
    { "api.http_workers", "8..256" },
    { "api.http_max_connections", "10000..1000000" },
    { "api.http_backlog", "2048..65535" },
    { "api.cache_ttl", "240..86400" },
    { "api.pool_idle_timeout", "90..86400" },
    { "gateway.resilience_timeout_secs", "30..600" },
    { "gateway.resilience_read_max_retries", "1..20" },
    { "gateway.resilience_initial_backoff_ms", "100..60000" },
    { "gateway.insert_execution_window_ms", "0..60000" },
    { "gateway.insert_window_max_batch", "100..10000" },
    { "gateway.insert_window_max_queued", "10000..1000000" },
    { "gateway.admission_window_secs", "1..3600" },
    { "gateway.admission_global_requests_per_window", "0..10000000" },
    { "gateway.admission_per_client_requests_per_window", "0..1000000" },
    { "gateway.deferred_query_worker_poll_ms", "1000..120000" },
    { "gateway.deferred_query_retention_secs", "0..31536000" },
    { "gateway.deferred_query_cleanup_interval_ms", "1000..86400000" },
    { "gateway.log_retention_secs", "0..31536000" },
    { "ATHENA_PG_POOL_MAX_CONNECTIONS", "100..500" },
    { "ATHENA_PG_POOL_MIN_CONNECTIONS", "0..500" },
    { "ATHENA_PG_POOL_ACQUIRE_TIMEOUT_SECS", "8..300" },
    { "ATHENA_PG_POOL_IDLE_TIMEOUT_SECS", "120..3600" },
    { "ATHENA_PG_POOL_MAX_LIFETIME_SECS", "900..86400" },
    { "ATHENA_LOGGING_POOL_MAX_CONNECTIONS", "2..50" },
    { "ATHENA_CLIENT_RECONNECT_INTERVAL_SECS", "20..120" },
    { "ATHENA_POOL_MONITOR_INTERVAL_SECS", "30..3600" },
    { "ATHENA_POOL_MONITOR_RETENTION_HOURS", "24..720" },
    { "ATHENA_VACUUM_HEALTH_INTERVAL_SECS", "300..86400" },
    { "ATHENA_VACUUM_HEALTH_RETENTION_DAYS", "30..365" },
    { "ATHENA_VACUUM_HEALTH_STATEMENT_TIMEOUT_MS", "10000..600000" },
    { "ATHENA_VACUUM_HEALTH_BLOAT_DEAD_PCT", "10..100" },
    { "ATHENA_VACUUM_HEALTH_XID_RISK_PCT", "50..100" },
    { "ATHENA_CACHE_MAX_CAPACITY", "10000..1000000" },
    { "ATHENA_CACHE_MAX_ENTRY_WEIGHT", "262144..16777216" },
    { "ATHENA_CACHE_INVALIDATION_WINDOW_MS", "25..10000" },
    { "ATHENA_FETCH_SINGLEFLIGHT_WAIT_TIMEOUT_MS", "5000..120000" },
    { "ATHENA_REDIS_OP_TIMEOUT_MS", "30..10000" },
    { "ATHENA_REDIS_COOLDOWN_MS", "5000..600000" },
    { "ATHENA_DEFERRED_MAX_ATTEMPTS", "3..50" },
    { "ATHENA_DEFERRED_WORKER_NO_STORAGE_POLL_MS", "30000..300000" },
    { "ATHENA_DEADPOOL_WARMUP_TIMEOUT_MS", "800..60000" },
    { "ATHENA_DEADPOOL_CHECKOUT_TIMEOUT_MS", "800..60000" },
    { "ATHENA_REALTIME_REGISTRY_PURGE_INTERVAL_SECS", "30..3600" },
    { "ATHENA_REALTIME_REGISTRY_INACTIVE_AFTER_SECS", "300..86400" },
};
/* clang-format on */

static bool listed(const char *list, ath_str word)
{
    ath_str rest = str_of(list), piece;

    while (str_next(&rest, ' ', &piece))
        if (piece.n && str_eq(piece, word))
            return true;
    return false;
}

const struct published_section *published_section(ath_str name)
{
    for (size_t i = 0; i < ATH_COUNT(sections); i++)
        if (str_is(name, sections[i].name))
            return &sections[i];
    return NULL;
}

const struct published_section *published_at(size_t i)
{
    return i < ATH_COUNT(sections) ? &sections[i] : NULL;
}

bool published_key(const struct published_section *s, ath_str key)
{
    return (s->flags & PUB_NAMES) || listed(s->keys, key);
}

const char *published_home(ath_str section, ath_str key)
{
    return str_is(section, "storage") && listed(misplaced, key) ? "gateway" : NULL;
}

const char *published_range(ath_str place)
{
    for (size_t i = 0; i < ATH_COUNT(ranges); i++)
        if (str_is(place, ranges[i].place))
            return ranges[i].range;
    return NULL;
}
