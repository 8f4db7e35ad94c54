"""Control planes as operators have them: what scripts and migrations of the published system leave, whole, old or in part.

Each is the SQL that makes it in an empty database.
"""
import tables

# tables.md 2.3: what provision_logging.sql does not create although the published server needs it.
NOT_PROVISIONED = ("public.gateway_route_request_log", "public.athena_outbox", "public.cluster_mirrors", "public.api_key_ip_whitelist",
                   "public.api_key_ip_blacklist", "public.api_key_ip_seen", "public.api_key_ip_global_whitelist",
                   "public.api_key_ip_global_blacklist", "public.database_clone_jobs", "public.database_clone_job_events",
                   "public.gateway_deferred_request_queue", "public.daemon_runtime_registry")
VIRGIN = ("virgin_mode", "virgin_resolved", "virgin_resolved_at", "virgin_until_n_requests", "virgin_request_count", "max_whitelist_ips")
# tables.md 9: columns of migrations that an old database did not get, and types that it may still have.
TELEMETRY = "duration_ms cache_lookup_outcome cache_source"
LATER = {
    "gateway_request_log": f"ipv4_address operation table_name presented_api_key_public_id presented_api_key_hash presented_api_key_salt {TELEMETRY}",
    "gateway_operation_log": f"error message cache_key cache_key_hashed cached {TELEMETRY}",
    "gateway_connection_registry_realtime": "ipv4_address", "database_audit_log": "ipv4_address", "function_ddl_audit_log": "ipv4_address",
    "api_key_auth_log": "ipv4_address api_key_auth_log_id",
    "client_statistics": "avg_request_duration_ms p50_request_duration_ms p95_request_duration_ms p99_request_duration_ms total_cached_requests"
                         " cache_hit_ratio",
    "client_table_statistics": "avg_duration_ms p50_duration_ms p95_duration_ms p99_duration_ms total_cache_hits total_cache_misses cache_hit_ratio",
    "public_gateway_routes": "target_url", "backup_schedules": "execution_daemon_id", "typesense_sync_jobs": "execution_daemon_id",
    "backup_jobs": "execution_daemon_id lease_expires_at lease_token worker_id",
}
OLD_TYPES = {"gateway_request_log": {"time numeric NN": "time tstz NN", "api_key_id text": "api_key_id bigint"},
             "api_key_auth_log": {"time tstz NN =now": "time numeric NN", "api_key_id bigint": "api_key_id text"}}
OLD_WITHOUT = ("ip_addresses", "ip_addresses_statistics", "public_service_routes")
# A handful of tables, some of them without columns that are written or read.
HALF = {"athena_clients": "last_seen_at", "gateway_request_log": "host user_id cached", "gateway_operation_log": "details message",
        "client_statistics": "cache_hit_ratio last_operation_at", "client_connections": "idle_connections", "vacuum_health_snapshots": "host",
        "api_keys": "expires_at", "gateway_admission_events": "decision"}


def provisioned():
    """What provision_logging.sql alone leaves of the schema public."""
    all_of = {n: t for n, t in tables.recorded().items() if n.startswith("public.") and n not in NOT_PROVISIONED}
    keys = all_of["public.api_keys"]
    keys["columns"] = [c for c in keys["columns"] if c.split(" ")[0] not in VIRGIN]
    all_of["public.gateway_operation_log"]["indexes"] = {}
    return all_of


def without(table, columns):
    """The table without these columns, and without what needs them."""
    def needs(text):
        return any(c in text.replace(",", " ").replace("(", " ").replace(")", " ").split() for c in columns)
    return {"columns": [c for c in table["columns"] if c.split(" ")[0] not in columns], "view": table["view"],
            "constraints": {n: t for n, t in table["constraints"].items() if not needs(t)},
            "indexes": {n: t for n, t in table["indexes"].items() if not needs(t)}}


def empty():
    return ""


def published():
    return tables.ddl(provisioned())


def old():
    """The published scripts of years ago, before the migrations that add columns and retype two of them."""
    old_of = {}
    for name, table in provisioned().items():
        bare = name.removeprefix("public.")
        if bare in OLD_WITHOUT or bare.startswith("ip_backfill"):
            continue
        old_of[name] = without(table, LATER.get(bare, "").split())
        types = OLD_TYPES.get(bare, {})
        old_of[name]["columns"] = [types.get(c, c) for c in old_of[name]["columns"]]
    auth = old_of["public.api_key_auth_log"]
    auth["constraints"] = {n: t for n, t in auth["constraints"].items() if "FOREIGN" not in t}
    return tables.ddl(old_of)


def half():
    made = {n: t for n, t in provisioned().items() if n.removeprefix("public.") in HALF}
    return tables.ddl({n: without(t, HALF[n.removeprefix("public.")].split()) for n, t in made.items()})
