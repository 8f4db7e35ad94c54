/* The families of the published exporter that belong to others: routes, workers, caches.
 *
 * Dashboards and alerts name them whether or not their plugin is loaded, so whatever nobody wrote
 * is written here: HELP and TYPE, and a zero where there are no labels.
 */
#include "base/map.h"
#include "log/metric_priv.h"

static const struct published {
    const char *name, *type, *zero, *help;
} published[] = {
    { "athena_logging_store_up", "gauge", "0", "Is there a pool of the logging client?" },
    { "athena_logging_client_configured", "gauge", "0", "Is a logging client configured?" },
    { "athena_gateway_auth_client_configured", "gauge", "0", "Is an auth client configured?" },
    { "athena_gateway_benchmark_client_configured", "gauge", "0",
      "Is a benchmark client configured?" },
    { "athena_gateway_force_camel_case_to_snake_case", "gauge", "0",
      "Are camel case names folded?" },
    { "athena_gateway_auto_cast_uuid_filter_values_to_text", "gauge", "0",
      "Are UUID filter values compared as text?" },
    { "athena_gateway_jdbc_allow_private_hosts", "gauge", "0",
      "May direct URIs name private hosts?" },
    { "athena_gateway_jdbc_allowed_hosts", "gauge", "0", "Hosts that direct URIs may name." },
    { "athena_pipeline_registry_loaded", "gauge", "0", "Are pipelines loaded?" },
    { "athena_pipeline_registry_entries", "gauge", "0", "Pipelines loaded." },
    { "athena_requests_last_24h", "gauge", "0", "Logged requests of the last 24 hours." },
    { "athena_management_mutations_last_24h", "gauge", "0",
      "Logged management operations of the last 24 hours." },
    { "athena_pg_registered_clients", "gauge", "0", "Clients known." },
    { "athena_pg_active_clients", "gauge", "0", "Clients that are active and not frozen." },
    { "athena_pg_connected_clients", "gauge", "0", "Clients with a pool." },
    { "athena_gateway_athena_backend_total", "counter", NULL, "Requests by route and engine." },
    { "athena_gateway_deadpool_fallback_total", "counter", NULL,
      "Requests that fell back to the other driver." },
    { "athena_gateway_backend_unavailable_total", "counter", NULL,
      "Operations whose engine was not there." },
    { "athena_gateway_deferred_events_total", "counter", NULL,
      "Deferred requests by kind and what became of them." },
    { "athena_gateway_insert_window_events_total", "counter", NULL,
      "What happened in the insert window." },
    { "athena_gateway_insert_errors_total", "counter", NULL, "Failed inserts by code and status." },
    { "athena_gateway_insert_phase_duration_seconds", "histogram", NULL,
      "Time of the phases of an insert." },
    { "athena_gateway_insert_window_rows_total", "counter", NULL,
      "Rows by their way through the insert window." },
    { "athena_gateway_insert_window_merge_efficiency_ratio", "gauge", "0.000000",
      "Rows per bulk insert that worked." },
    { "athena_gateway_insert_window_dedup_rate_ratio", "gauge", "0.000000",
      "Share of rows that were duplicates." },
    { "athena_gateway_insert_window_request_db_ops_ratio", "gauge", "0.000000",
      "Rows per database operation." },
    { "athena_gateway_insert_window_bulk_success_rate_ratio", "gauge", "0.000000",
      "Share of bulk inserts that worked." },
    { "athena_gateway_insert_window_batch_size_rows_count", "counter", "0", "Bulk inserts." },
    { "athena_gateway_insert_window_batch_size_rows_sum", "counter", "0", "Rows of bulk inserts." },
    { "athena_gateway_insert_window_batch_size_rows_min", "gauge", "0",
      "Rows of the smallest bulk insert." },
    { "athena_gateway_insert_window_batch_size_rows_max", "gauge", "0",
      "Rows of the largest bulk insert." },
    { "athena_gateway_insert_window_batch_size_rows_avg", "gauge", "0.000000",
      "Rows per bulk insert." },
    { "athena_gateway_insert_window_queue_depth_observations", "counter", "0",
      "Looks at the depth of the insert queue." },
    { "athena_gateway_insert_window_queue_depth_max", "gauge", "0",
      "Greatest depth of the insert queue." },
    { "athena_gateway_insert_window_queue_depth_avg", "gauge", "0.000000",
      "Mean depth of the insert queue." },
    { "athena_gateway_deferred_queue_storage_up", "gauge", "0", "Can the deferred queue be read?" },
    { "athena_gateway_deferred_queue_requests_total", "gauge", "0",
      "Requests in the deferred queue." },
    { "athena_gateway_deferred_queue_requests", "gauge", NULL,
      "Requests in the deferred queue by status." },
    { "athena_gateway_deferred_queue_oldest_age_seconds", "gauge", "0.000000",
      "Age of the oldest deferred request that is not done." },
    { "athena_pg_client_info", "gauge", NULL, "A client and its state." },
    { "athena_pg_pool_up", "gauge", NULL, "Is there a pool?" },
    { "athena_pg_pool_closed", "gauge", NULL, "Is the pool closed?" },
    { "athena_pg_pool_connections", "gauge", NULL, "Connections by state." },
    { "athena_pg_pool_max_connections", "gauge", NULL, "Most connections of the pool." },
    { "athena_pg_pool_connection_utilization_ratio", "gauge", NULL, "Active of open connections." },
    { "athena_pg_pool_idle_ratio", "gauge", NULL, "Idle of open connections." },
    { "athena_pg_pool_saturation_ratio", "gauge", NULL, "Open of possible connections." },
    { "athena_pg_pool_headroom", "gauge", NULL, "Connections that may still be opened." },
    { "athena_pg_pool_snapshot_age_seconds", "gauge", NULL, "Age of these figures." },
    { "athena_pg_pool_connections_total", "gauge", NULL, "Connections of all pools by state." },
    { "athena_pg_pool_max_connections_total", "gauge", "0", "Most connections of all pools." },
    { "athena_pg_pool_overall_utilization_ratio", "gauge", "0.000000",
      "Active of open connections of all pools." },
    { "athena_pg_pool_headroom_total", "gauge", "0",
      "Connections that may still be opened in all pools." },
    { "athena_jdbc_pool_cache_entries", "gauge", "0", "Pools of direct URIs." },
    { "athena_cache_entries", "gauge", NULL, "Entries of a cache." },
    { "athena_cache_weighted_size", "gauge", NULL, "Bytes of a cache." },
    { "athena_cache_entries_total", "gauge", "0", "Entries of all caches." },
    { "athena_cache_weighted_size_total", "gauge", "0", "Bytes of all caches." },
    { "athena_cache_average_weight_per_entry", "gauge", "0.000000", "Bytes per cache entry." },
    { "athena_cluster_mirrors_total", "gauge", "0", "Mirrors known." },
    { "athena_cluster_mirrors_up", "gauge", "0", "Mirrors that answered." },
    { "athena_cluster_mirrors_down", "gauge", "0", "Mirrors that did not answer." },
    { "athena_cluster_mirror_up_ratio", "gauge", "0.000000", "Share of mirrors that answered." },
    { "athena_cluster_mirror_avg_latency_ms", "gauge", "0.000000", "Mean latency of the mirrors." },
    { "athena_cluster_mirror_latency_samples", "gauge", "0", "Mirrors with a latency." },
    { "athena_cluster_mirror_latency_min_ms", "gauge", "0.000000",
      "Shortest latency of a mirror." },
    { "athena_cluster_mirror_latency_max_ms", "gauge", "0.000000", "Longest latency of a mirror." },
    { "athena_cluster_mirror_avg_download_bytes_per_sec", "gauge", "0.000000",
      "Mean throughput of the mirrors." },
    { "athena_cluster_mirror_download_samples", "gauge", "0", "Mirrors with a throughput." },
    { "athena_cluster_mirror_download_min_bytes_per_sec", "gauge", "0.000000",
      "Lowest throughput of a mirror." },
    { "athena_cluster_mirror_download_max_bytes_per_sec", "gauge", "0.000000",
      "Highest throughput of a mirror." },
    { "athena_cluster_mirror_up", "gauge", NULL, "Did the mirror answer?" },
    { "athena_cluster_mirror_latency_ms", "gauge", NULL, "Latency of the mirror." },
    { "athena_cluster_mirror_download_bytes_per_sec", "gauge", NULL, "Throughput of the mirror." },
};

/* The names behind each "# TYPE ". */
static void names_written(struct map *names, ath_str text)
{
    ath_str line, word;

    while (str_next(&text, '\n', &line)) {
        if (!str_starts(line, "# TYPE "))
            continue;
        line = str_after(line, sizeof("# TYPE ") - 1);
        if (str_next(&line, ' ', &word))
            map_put(names, word, names);
    }
}

void metric_published_write(struct buf *b)
{
    struct buf more = BUF_HEAP;
    struct map names = MAP_EMPTY;

    names_written(&names, buf_view(b));
    for (size_t i = 0; i < ATH_COUNT(published); i++) {
        const struct published *p = &published[i];
        if (map_get(&names, str_of(p->name)))
            continue;
        metric_head(&more, p->name, p->type, p->help);
        if (p->zero)
            buf_printf(&more, "%s %s\n", p->name, p->zero);
    }
    map_free(&names);
    buf_str(b, buf_view(&more));
    buf_free(&more);
}
