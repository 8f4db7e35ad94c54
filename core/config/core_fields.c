/* The tables of the core's keys, and what has to be put together from several of them. */
#include "config/core_fields.h"

#define T struct core_config
#define FIELDS(name, section_, title_, ...)                                                        \
    static const ath_field name##_fields[] = { __VA_ARGS__ };                                      \
    static const struct config_table name##_table = { .section = (section_),                       \
                                                      .title = (title_),                           \
                                                      ATH_ARRAY(field, name##_fields) }

/* clang-format off */
FIELDS(server, "server", "The process: where it listens, its threads, its limits.",
    ATH_STR(T, server.host, "host", "0.0.0.0", NULL, "Address to listen on."),
    ATH_STR(T, server.unix_socket, "unix_socket", "", NULL, "Path of a Unix socket to listen on as well; empty: none."),
    ATH_STR(T, server.plugin_dir, "plugin_dir", "", NULL, "Folder of the plugins; empty: the one of the installation.", .alias = "$ATHENA_PLUGIN_DIR"),
    ATH_STR(T, server.state_dir, "state_dir", "/var/lib/athena", NULL, "Folder for what must outlive the process.", .alias = "$STATE_DIRECTORY"),
    ATH_STR(T, server.runtime_dir, "runtime_dir", "/run/athena", NULL, "Folder for sockets and what a restart may lose.", .alias = "$RUNTIME_DIRECTORY"),
    ATH_STR(T, server.admin_key, "admin_key", "", NULL, "The administrator's fixed key; empty: admin routes are closed.", .flags = ATH_CF_SECRET, .alias = "$ATHENA_KEY_12"),
    ATH_STR(T, server.secrets_key, "secrets_key", "", NULL, "Seals secrets in tables of the control plane: 32 bytes in base64 or hexadecimal; of several, between commas, the first seals and all open. Empty: they are stored as plain text.", .flags = ATH_CF_SECRET, .alias = "$ATHENA_SECRETS_KEY"),
    ATH_STR(T, server.redis_url, "redis_url", "", NULL, "Redis for the cache and for admission; empty: none.", .flags = ATH_CF_SECRET, .alias = "$ATHENA_REDIS_URL"),
    ATH_STR(T, server.log_filter, "log_filter", "info", NULL, "Levels to log: a comma list of \"level\" or \"target=level\" (error, warn, info, debug, trace, off).", .flags = ATH_CF_RELOAD, .alias = "$RUST_LOG"),
    ATH_INT(T, server.loops, "loops", "0", "0..256", "HTTP loops; 0: one per processor, 4 at most."),
    ATH_INT(T, server.work_loops, "work_loops", "0", "0..64", "Loops for jobs, ticks and checks; 0: 1, in a daemon one per processor, 4 at most."),
    ATH_BOOL(T, server.allow_start_without_postgres, "allow_start_without_postgres", "false", "Start even when no usable client is configured.", .alias = "$ATHENA_ALLOW_START_WITHOUT_POSTGRES"),
    ATH_BOOL(T, server.strict_methods, "strict_methods", "true", "Answer a known path with a wrong method by 405 and Allow; false: by 404.", .alias = "api.strict_methods"),
    ATH_MSEC(T, server.drain_timeout_ms, "drain_timeout", "30s", "0..1h", "How long a stop waits for running requests and jobs."),
    ATH_MSEC(T, server.stall_limit_ms, "stall_limit", "1s", "10ms..10m", "A handler that blocks its loop for longer is logged with its route."),
    ATH_MSEC(T, server.stall_abort_ms, "stall_abort", "60s", "0..1h", "A loop that is blocked for longer ends the process, to be restarted; 0: never."),
    ATH_MSEC(T, server.head_timeout_ms, "head_timeout", "60s", "100ms..1h", "From the first byte of a request to the end of its head; then 408.", .alias = "api.client_request_timeout_secs"),
    ATH_MSEC(T, server.body_timeout_ms, "body_timeout", "60s", "100ms..1h", "Without a byte of an expected body; then 408."),
    ATH_MSEC(T, server.idle_timeout_ms, "keep_alive", "15s", "100ms..1h", "An idle connection is closed after this.", .alias = "api.keep_alive_secs"),
    ATH_MSEC(T, server.write_timeout_ms, "write_timeout", "60s", "100ms..1h", "A client that reads nothing for longer is cut."),
    ATH_STR(T, server.ca_file, "ca_file", "", NULL, "Certificates (PEM) that our own requests to others trust, instead of the system's; empty: those.", .alias = "$SSL_CERT_FILE"),
    ATH_MSEC(T, server.request_timeout_ms, "request_timeout", "60s", "100ms..1h", "Deadline of a request whose route has no other."),
    ATH_MSEC(T, server.disconnect_timeout_ms, "disconnect_timeout", "60s", "0..1h", "Grace for a connection that is being closed.", .alias = "api.client_disconnect_timeout_secs"),
    ATH_BYTES(T, server.head_bytes, "head_limit", "128k", "1k..1m", "Largest request head."),
    ATH_BYTES(T, server.target_bytes, "target_limit", "64k", "256..1m", "Longest request target (path and query)."),
    ATH_BYTES(T, server.buffered_bytes, "buffered_limit", "256k", "16k..64m", "Reply bytes of one connection that wait in memory before its stream is paused."),
    ATH_BYTES(T, server.compression_min, "compression_min", "1k", "1..1g", "Shorter answers are never compressed."),
    ATH_INT(T, server.compression_level, "compression_level", "1", "0..9", "How hard answers are compressed for clients that accept gzip: 1 fastest, 9 smallest; 0: not at all."),
    ATH_STR(T, server.server_timing, "server_timing", "asked", "asked|always|never", "Whether answers of data routes say in Server-Timing how long they took: to requests with X-Athena-Timing, always, or never."),
    ATH_INT(T, server.head_fields, "head_fields", "100", "8..1000", "Most header fields of a request."),
    ATH_INT(T, server.connections, "connections", "10000", "1..1000000", "Most open connections per HTTP loop.", .alias = "api.http_max_connections"),
    ATH_INT(T, server.pipeline, "pipeline", "32", "1..1000", "Requests of one connection that may wait behind the first.")
);

FIELDS(pool, "pool", "Connections to the databases, for each client over all loops.",
    ATH_INT(T, pool.budget, "budget", "400", "1..100000", "Most connections of the whole process; with fair the last quarter is for clients that hold few."),
    ATH_INT(T, pool.max_connections, "max_connections", "100", "1..500", "Most connections to one client.", .alias = "$ATHENA_PG_POOL_MAX_CONNECTIONS"),
    ATH_INT(T, pool.min_connections, "min_connections", "0", "0..500", "Connections to one client that are kept open.", .alias = "$ATHENA_PG_POOL_MIN_CONNECTIONS"),
    ATH_BOOL(T, pool.fair, "fair", "true", "When the budget is used up, connections go to the client that holds fewest; false: to who asks first.", .flags = CONFIG_CF_STRICT),
    ATH_INT(T, pool.waiting_max, "waiting_max", "10000", "1..1000000", "Most requests that wait for a connection to one client; then 503. Without fair: per loop."),
    ATH_INT(T, pool.waiting_budget, "waiting_budget", "40000", "100..10000000", "With fair: the same of all clients together; near it each has an equal share.", .flags = CONFIG_CF_STRICT),
    ATH_INT(T, pool.prepared_max, "prepared_max", "200", "0..10000", "Prepared statements kept per connection; 0: none."),
    ATH_INT(T, pool.logging_max_connections, "logging_max_connections", "10", "1..50", "Most connections to the control plane's database.", .alias = "$ATHENA_LOGGING_POOL_MAX_CONNECTIONS"),
    ATH_MSEC(T, pool.acquire_timeout_ms, "acquire_timeout", "8s", "10ms..5m", "How long a request waits for a connection.", .alias = "$ATHENA_PG_POOL_ACQUIRE_TIMEOUT_SECS"),
    ATH_MSEC(T, pool.connect_timeout_ms, "connect_timeout", "8s", "10ms..5m", "How long opening a connection may take."),
    ATH_MSEC(T, pool.idle_timeout_ms, "idle_timeout", "120s", "1s..1d", "An idle connection above min_connections is closed after this.", .alias = "$ATHENA_PG_POOL_IDLE_TIMEOUT_SECS"),
    ATH_MSEC(T, pool.max_lifetime_ms, "max_lifetime", "900s", "0..30d", "A connection is replaced after this; 0: never.", .alias = "$ATHENA_PG_POOL_MAX_LIFETIME_SECS"),
    ATH_BOOL(T, pool.test_before_acquire, "test_before_acquire", "true", "Accepted for the published variable; a broken connection is noticed at once here.", .alias = "$ATHENA_PG_POOL_TEST_BEFORE_ACQUIRE")
);

FIELDS(api, "api", "The listener and everything every route shares.",
    ATH_INT(T, api.port, "port", "4052", "0..65535", "TCP port; of --port, 0 picks a free one."),
    ATH_MSEC(T, api.keep_alive_ms, "keep_alive_secs", "15", NULL, "Idle time of a connection in seconds; see server.keep_alive."),
    ATH_MSEC(T, api.client_request_timeout_ms, "client_request_timeout_secs", "60", NULL, "Time to receive a request head in seconds; see server.head_timeout."),
    ATH_MSEC(T, api.client_disconnect_timeout_ms, "client_disconnect_timeout_secs", "60", NULL, "Grace for a closing connection in seconds."),
    ATH_MSEC(T, api.tcp_keepalive_ms, "tcp_keepalive_secs", "75", NULL, "Idle time before TCP keep-alive probes, in seconds."),
    ATH_INT(T, api.http_workers, "http_workers", "8", "1..256", "Worker threads of the published server; here see server.loops."),
    ATH_INT(T, api.http_max_connections, "http_max_connections", "10000", "1..1000000", "Open connections per loop; see server.connections."),
    ATH_INT(T, api.http_backlog, "http_backlog", "2048", "1..65535", "Connections that may wait to be accepted."),
    ATH_MSEC(T, api.cache_ttl_ms, "cache_ttl", "240", NULL, "Time to live of the response cache in seconds."),
    ATH_INT(T, api.cache_max_bytes, "cache_max_bytes", "67108864", "0..1099511627776", "Most bytes of the response cache.", .flags = CONFIG_CF_STRICT, .alias = "$ATHENA_CACHE_MAX_BYTES"),
    ATH_MSEC(T, api.pool_idle_timeout_ms, "pool_idle_timeout", "90", NULL, "Idle time of outgoing HTTP connections in seconds."),
    ATH_BYTES(T, api.max_body_bytes, "max_body_bytes", "2097152", "1k..1g", "Largest request body.", .flags = CONFIG_CF_STRICT, .alias = "api.json_body_limit_bytes"),
    ATH_BOOL(T, api.prometheus_metrics_enabled, "prometheus_metrics_enabled", "true", "Serve all metrics; false: only three of them."),
    ATH_BOOL(T, api.metrics_require_key, "metrics_require_key", "false", "Ask for a key on /metrics.", .flags = CONFIG_CF_STRICT),
    ATH_STR(T, api.metrics_key, "metrics_key", "", NULL, "The key that /metrics takes besides the admin key.", .flags = CONFIG_CF_STRICT | ATH_CF_SECRET),
    ATH_BOOL(T, api.cors_enforce, "cors_enforce", "false", "Apply the list of origins; false: any origin, as published.", .flags = CONFIG_CF_STRICT),
    ATH_BOOL(T, api.cors_allow_any_origin, "cors_allow_any_origin", "false", "Any origin may call, whatever the list says."),
    ATH_STR(T, api.cors_allowed_origins, "cors_allowed_origins", "", NULL, "Origins that may call; ATHENA_CORS_ALLOWED_ORIGINS adds to them."),
    ATH_MSEC(T, api.cors_max_age_ms, "cors_max_age_secs", "600", "0..1d", "How long a browser may keep a preflight's answer, in seconds.", .flags = CONFIG_CF_STRICT),
    ATH_BOOL(T, api.immortal_cache, "immortal_cache", "false", "Accepted without effect.")
);

#define RATE(m, group, var, per_second_, burst_, what) \
    ATH_BOOL(T, gateway.m.enabled, "rate_limit_" group "_enabled", "false", "Limit " what ".", .alias = "$ATHENA_RATE_LIMIT_" var "_ENABLED"), \
    ATH_INT(T, gateway.m.per_second, "rate_limit_" group "_per_second", per_second_, "1..4294967295", "Requests per second.", .alias = "$ATHENA_RATE_LIMIT_" var "_PER_SECOND"), \
    ATH_INT(T, gateway.m.burst, "rate_limit_" group "_burst", burst_, "1..4294967295", "Requests at once.", .alias = "$ATHENA_RATE_LIMIT_" var "_BURST")

FIELDS(gateway, "gateway", "The data plane: control plane, keys, limits, queues.",
    ATH_STR(T, gateway.logging_client, "logging_client", "", NULL, "Client that holds the control plane; empty: its routes answer 503."),
    ATH_STR(T, gateway.logging_pg_uri, "logging_pg_uri", "", NULL, "URI of the logging client, instead of its entry in postgres_clients.", .flags = ATH_CF_SECRET),
    ATH_STR(T, gateway.logging_pg_uri_env_var, "logging_pg_uri_env_var", "", NULL, "Name of a variable that holds that URI."),
    ATH_STR(T, gateway.auth_client, "auth_client", "", NULL, "Client that holds API keys and rights; empty: the logging client."),
    ATH_STR(T, gateway.benchmark_client, "benchmark_client", "", NULL, "Shown in health and metrics; empty: the logging client."),
    ATH_BOOL(T, gateway.enforce_api_keys, "enforce_api_keys", "false", "Ask for a key on every gateway route. The shipped file says true.", .flags = CONFIG_CF_STRICT),
    ATH_STR(T, gateway.unenforced_scope, "unenforced_scope", "all", "all|data|none", "What is open where keys are not enforced: all (as the published server has it: SQL, schemas, debug, too), data, none. The shipped file says data.", .flags = CONFIG_CF_STRICT),
    ATH_STR(T, gateway.api_key_fail_mode, "api_key_fail_mode", "fail_closed", "fail_closed|fail_open", "When the key store cannot be asked: 503, or let requests through."),
    ATH_STR(T, gateway.key_carriers, "key_carriers", "x-athena-key,x-api-key,apikey", NULL, "Headers that carry a key, in their order.", .flags = CONFIG_CF_STRICT),
    ATH_STR(T, gateway.trusted_proxies, "trusted_proxies", "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7", NULL, "Peers whose forwarding headers count.", .flags = CONFIG_CF_STRICT),
    ATH_INT(T, gateway.auth_failures_per_minute, "auth_failures_per_minute", "60", "0..60000", "Wrong keys that an address may send in a minute before its requests with a key are refused (429); 0: any number.", .flags = CONFIG_CF_STRICT),
    ATH_INT(T, gateway.auth_failures_burst, "auth_failures_burst", "60", "1..1000000", "How many of them may come at once.", .flags = CONFIG_CF_STRICT),
    ATH_STR(T, gateway.auth_failures_exempt, "auth_failures_exempt", "127.0.0.0/8,::1/128", NULL, "Networks whose wrong keys are not counted.", .flags = CONFIG_CF_STRICT),
    ATH_STR(T, gateway.host_routing_precedence, "host_routing_precedence", "host", "host|header", "Whether a tenant's host name beats X-Athena-Client.", .flags = CONFIG_CF_STRICT),
    ATH_BOOL(T, gateway.rights_strict, "rights_strict", "false", "A right on a table does not follow from one on its schema.", .flags = CONFIG_CF_STRICT),
    ATH_STR(T, gateway.rights_protected_schemas, "rights_protected_schemas", "athena,pg_catalog,information_schema", NULL, "Schemas that need a right of their own.", .flags = CONFIG_CF_STRICT),
    ATH_BOOL(T, gateway.session_org_roles, "session_org_roles", "false", "Organization roles of sessions count as rights.", .flags = CONFIG_CF_STRICT),
    ATH_MSEC(T, gateway.auth_cache_ttl_ms, "auth_cache_ttl_ms", "2000", "0..1h", "How long a key's rights are remembered; 0: not at all.", .flags = CONFIG_CF_STRICT),
    ATH_MSEC(T, gateway.last_used_interval_ms, "last_used_interval_secs", "30", "0..1d", "How often a key's last use is written; 0: at every request.", .flags = CONFIG_CF_STRICT),
    ATH_STR(T, gateway.auth_log_unenforced, "auth_log_unenforced", "full", "full|sampled|off", "Key log rows of requests that needed no key.", .flags = CONFIG_CF_STRICT),
    ATH_BOOL(T, gateway.database_backed_client_loading, "database_backed_client_loading", "true", "Load clients from the catalogue of the control plane."),
    ATH_STR(T, gateway.config_sync, "config_sync", "merge", "merge|overwrite", "What a start does to catalogue rows of configured clients: merge leaves what operators changed, overwrite does not.", .flags = CONFIG_CF_STRICT),
    ATH_MSEC(T, gateway.catalog_poll_ms, "client_catalog_poll", "30s", "100ms..1h", "How often the catalogue is looked at for changes that nobody told of.", .flags = CONFIG_CF_STRICT),
    ATH_STR(T, gateway.statistics_refresh_mode, "client_statistics_startup_refresh_mode", "fast", "fast|full", "How client statistics are computed at start."),
    ATH_INT(T, gateway.statistics_lookback_days, "client_statistics_startup_refresh_lookback_days", "0", "0..4294967295", "Days that this looks back; 0: all rows."),
    ATH_BOOL(T, gateway.force_camel_case_to_snake_case, "force_camel_case_to_snake_case", "false", "Turn camelCase column names of requests into snake_case."),
    ATH_BOOL(T, gateway.auto_cast_uuid_filter_values_to_text, "auto_cast_uuid_filter_values_to_text", "true", "Compare UUID-shaped filter values as text with text columns."),
    ATH_BOOL(T, gateway.allow_schema_names_prefixed_as_table_name, "allow_schema_names_prefixed_as_table_name", "true", "\"schema.table\" as a table name names both."),
    ATH_BOOL(T, gateway.jdbc_allow_private_hosts, "jdbc_allow_private_hosts", "false", "Direct URIs may name private addresses."),
    ATH_STR(T, gateway.jdbc_allowed_hosts, "jdbc_allowed_hosts", "", NULL, "Hosts that direct URIs may name; empty: any."),
    ATH_MSEC(T, gateway.resilience_timeout_ms, "resilience_timeout_secs", "30", NULL, "Limit of one database operation in seconds."),
    ATH_INT(T, gateway.resilience_read_max_retries, "resilience_read_max_retries", "1", "0..20", "How often a read is tried again."),
    ATH_MSEC(T, gateway.resilience_initial_backoff_ms, "resilience_initial_backoff_ms", "100", NULL, "Wait before the first retry, in milliseconds."),
    ATH_MSEC(T, gateway.insert_execution_window_ms, "insert_execution_window_ms", "0", NULL, "Inserts that arrive within it are joined; 0: off."),
    ATH_INT(T, gateway.insert_window_max_batch, "insert_window_max_batch", "100", "1..10000", "Most rows joined."),
    ATH_INT(T, gateway.insert_window_max_queued, "insert_window_max_queued", "10000", "1..1000000", "Most inserts waiting to be joined."),
    ATH_STR(T, gateway.insert_merge_deny_tables, "insert_merge_deny_tables", "", NULL, "Tables whose inserts are never joined."),
    ATH_BOOL(T, gateway.admission_limit_enabled, "admission_limit_enabled", "false", "Limit requests per window, over all routes."),
    ATH_MSEC(T, gateway.admission_window_ms, "admission_window_secs", "1", "1s..1d", "Length of a window in seconds."),
    ATH_INT(T, gateway.admission_global, "admission_global_requests_per_window", "0", "0..10000000", "Requests of everybody per window, over all loops of the process (with redis: of all processes); 0: any number."),
    ATH_INT(T, gateway.admission_per_client, "admission_per_client_requests_per_window", "0", "0..10000000", "Requests per client and window; 0: any number."),
    ATH_STR(T, gateway.admission_store_backend, "admission_store_backend", "redis", "memory|redis", "Where windows are counted; without Redis: in memory."),
    ATH_STR(T, gateway.admission_store_fail_mode, "admission_store_fail_mode", "fail_closed", "fail_closed|fail_open", "When that store is down for longer than cache.redis_cooldown: 503, or let requests through; until then each process counts by itself."),
    ATH_BOOL(T, gateway.admission_defer_on_limit_enabled, "admission_defer_on_limit_enabled", "false", "Queue a query over the limit instead of refusing it: it goes on as if it had X-Athena-Defer."),
    ATH_STR(T, gateway.admission_defer_route_prefixes, "admission_defer_route_prefixes", "", NULL, "Paths for which that holds; empty: every query route."),
    ATH_STR(T, gateway.admission_exempt_paths, "admission_exempt_paths", "/ping,/health,/health/cluster,/ready,/metrics", NULL, "Routes that are never limited.", .flags = CONFIG_CF_STRICT),
    ATH_BOOL(T, gateway.deferred_query_worker_enabled, "deferred_query_worker_enabled", "true", "Run the worker of the deferred queue."),
    ATH_MSEC(T, gateway.deferred_query_worker_poll_ms, "deferred_query_worker_poll_ms", "1000", NULL, "How often it looks for work, in milliseconds."),
    ATH_MSEC(T, gateway.deferred_query_retention_ms, "deferred_query_retention_secs", "2592000", NULL, "How long finished rows are kept, in seconds; 0: for ever."),
    ATH_MSEC(T, gateway.deferred_query_cleanup_interval_ms, "deferred_query_cleanup_interval_ms", "60000", NULL, "How often they are cleaned up, in milliseconds."),
    ATH_MSEC(T, gateway.log_retention_ms, "log_retention_secs", "1209600", NULL, "How long request and operation logs are kept, in seconds; 0: for ever."),
    ATH_BOOL(T, gateway.logging_trust_x_forwarded_for, "logging_trust_x_forwarded_for", "true", "X-Forwarded-For names the client in logs.", .alias = "$ATHENA_LOGGING_TRUST_X_FORWARDED_FOR"),
    ATH_STR(T, gateway.log_skip_user_agents, "log_skip_user_agents", "", NULL, "User agents between commas whose requests have no rows in the request and operation logs, as monitors may be.", .flags = CONFIG_CF_STRICT),
    ATH_BOOL(T, gateway.rate_limit_trust_x_forwarded_for, "rate_limit_trust_x_forwarded_for", "false", "X-Forwarded-For names the client for limits and address rules.", .alias = "$ATHENA_RATE_LIMIT_TRUST_X_FORWARDED_FOR"),
    RATE(storage, "inbound_storage", "INBOUND_STORAGE", "50", "100", "storage routes per client address"),
    RATE(schema, "inbound_schema", "INBOUND_SCHEMA", "30", "60", "schema routes per client address"),
    RATE(raw_sql, "inbound_raw_sql", "INBOUND_RAW_SQL", "20", "40", "routes that take SQL per client address"),
    RATE(backup_admin, "inbound_backup_admin", "INBOUND_BACKUP_ADMIN", "30", "60", "backup routes per client address"),
    RATE(supabase, "outbound_supabase", "OUTBOUND_SUPABASE", "50", "100", "calls to the upstream driver"),
    RATE(per_key, "per_key", "PER_KEY", "50", "100", "all requests per API key"),
    ATH_INT(T, gateway.budget_per_key_ms, "budget_per_key_ms_per_minute", "0", "0..3600000", "Milliseconds of database time that the requests of an API key may take per minute; 0: any number.", .flags = CONFIG_CF_STRICT),
    ATH_BOOL(T, gateway.cost_header, "cost_header", "false", "Answers of data routes say in X-Athena-Cost how many milliseconds of database time they took, and what is left of the key's budget.", .flags = CONFIG_CF_STRICT),
    ATH_BOOL(T, gateway.linux_file_logging_enabled, "linux_file_logging_enabled", "false", "Write traffic logs as NDJSON files instead of tables."),
    ATH_STR(T, gateway.linux_file_logging_dir, "linux_file_logging_dir", "/var/log/athena", NULL, "Folder of those files."),
    ATH_BOOL(T, gateway.catalog_load_failure_auto_disable, "catalog_client_load_failure_auto_disable", "true", "Disable a catalogue client that keeps failing to load."),
    ATH_INT(T, gateway.catalog_load_failure_threshold, "catalog_client_load_failure_threshold", "10", "1..1000000", "Failures before that."),
    ATH_MSEC(T, gateway.catalog_load_failure_window_ms, "catalog_client_load_failure_window_hours", "24", "1h..365d", "Hours within which they count.")
);

FIELDS(cache, "cache", "Answers that are given again until what they were read from changes.",
    ATH_BOOL(T, cache.enabled, "enabled", "true", "Keep answers; false: each is read from its database.", .alias = "gateway.cache_enabled"),
    ATH_INT(T, cache.entries, "max_entries", "10000", "0..100000000", "Most answers in memory; api.cache_max_bytes bounds their bytes, api.cache_ttl their life.", .alias = "$ATHENA_CACHE_MAX_CAPACITY"),
    ATH_BYTES(T, cache.entry_bytes, "max_entry_bytes", "262144", "0..1g", "Largest answer that is kept.", .alias = "$ATHENA_CACHE_MAX_ENTRY_WEIGHT"),
    ATH_MSEC(T, cache.wait_ms, "wait_timeout", "5000", "0..10m", "How long a request waits for another one that asks the same, before it asks itself.", .alias = "$ATHENA_FETCH_SINGLEFLIGHT_WAIT_TIMEOUT_MS"),
    ATH_MSEC(T, cache.redis_timeout_ms, "redis_timeout", "30", "1ms..1m", "How long Redis may take to answer.", .alias = "$ATHENA_REDIS_OP_TIMEOUT_MS"),
    ATH_MSEC(T, cache.redis_cooldown_ms, "redis_cooldown", "5000", "100ms..1h", "Longest time between two attempts to reach Redis.", .alias = "$ATHENA_REDIS_COOLDOWN_MS"),
    ATH_MSEC(T, cache.invalidation_window_ms, "invalidation_window", "25", "0..1h", "Accepted for the published variable; each change counts at once here.", .alias = "$ATHENA_CACHE_INVALIDATION_WINDOW_MS"),
    ATH_BOOL(T, cache.skip_invalidation, "skip_invalidation", "false", "Accepted for the published switch, with a warning: outdated answers are never given here.", .alias = "deferred_writes.skip_cache_invalidation")
);

FIELDS(schema, "schema", "The tables of the control plane and of the key store.",
    ATH_STR(T, schema.bootstrap, "bootstrap", "auto", "auto|check|off", "When something is missing. auto: it is added, as far as the role may; check: it is said; off: nothing is looked at. By hand: athena migrate.", .flags = CONFIG_CF_STRICT)
);

FIELDS(daemon, "daemon", "Workers in processes of their own.",
    ATH_BOOL(T, daemon.enabled, "enabled", "false", "The HTTP process runs no workers; athena daemon does."),
    ATH_STR(T, daemon.id, "id", "", NULL, "Identity in the registry of daemons; empty: made from kind, host and configuration.", .alias = "$ATHENA_DAEMON_ID $ATHENA_WORKER_ID"),
    ATH_STR(T, daemon.socket, "socket", "", NULL, "Unix socket on which a process that only runs workers answers GET /health, /ready and /metrics; empty: KIND.sock in server.runtime_dir, such as athena_daemon.sock.", .flags = CONFIG_CF_STRICT),
    ATH_MSEC(T, daemon.heartbeat_ms, "heartbeat", "15s", "1s..30s", "How often a process tells the registry of daemons that it lives.", .flags = CONFIG_CF_STRICT)
);

FIELDS(cluster, "cluster", "What is asked in the background: the clients' databases, the servers beside this one.",
    ATH_STR(T, cluster.mirrors, "mirrors", "", NULL, "URLs of servers that /health/cluster shows, beside the active rows of cluster_mirrors; none is built in."),
    ATH_MSEC(T, cluster.mirror_every_ms, "mirror_interval", "15s", "1s..1h", "How often they are asked, while somebody wants to know."),
    ATH_MSEC(T, cluster.client_every_ms, "client_interval", "15s", "0..1h", "How often each active client's database is asked whether it answers; 0: never."),
    ATH_MSEC(T, cluster.client_timeout_ms, "client_timeout", "2s", "50ms..1m", "How long it may take.")
);
/* clang-format on */

const struct config_table *const core_tables[] = { &server_table,  &pool_table,   &api_table,
                                                   &gateway_table, &cache_table,  &schema_table,
                                                   &daemon_table,  &cluster_table, NULL };

size_t core_table_count(void)
{
    return ATH_COUNT(core_tables) - 1;
}

static bool has_item(ath_str list, ath_str item)
{
    ath_str piece;

    while (config_item(&list, &piece))
        if (str_eq(piece, item))
            return true;
    return false;
}

/* The variable adds to the file's list, without doubles. */
static void add_origins(const struct config *c, struct core_config *cc)
{
    struct buf b = ARENA_BUF((ath_arena *)(uintptr_t)&c->arena);
    ath_str more, origin;

    if (!env_get_z(&c->env, "ATHENA_CORS_ALLOWED_ORIGINS", &more))
        return;
    buf_str(&b, cc->api.cors_allowed_origins);
    while (config_item(&more, &origin)) {
        if (has_item(buf_view(&b), origin))
            continue;
        if (b.n)
            buf_char(&b, ',');
        buf_str(&b, origin);
    }
    cc->api.cors_allowed_origins = buf_view(&b);
}

int core_config_fill(const struct config *c, struct core_config *ret, struct config_report *rep)
{
    ath_str filter;
    int rc = 0;

    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; core_tables[i]; i++)
        if (config_fill(c, core_tables[i], ret, rep) < 0)
            rc = ATH_E_CONFIG;
    add_origins(c, ret);
    if (env_get_z(&c->env, "RUST_LOG", &filter) && str_trim(filter).n == 0)
        ret->server.log_filter = ATH_S("error"); /* set but empty means errors only */
    if (ret->gateway.auth_client.n == 0)
        ret->gateway.auth_client = ret->gateway.logging_client;
    if (ret->gateway.benchmark_client.n == 0)
        ret->gateway.benchmark_client = ret->gateway.logging_client;
    ret->enforce_stated =
        strcmp(config_source(c, &gateway_table, "enforce_api_keys"), "default") != 0;
    return rc;
}
