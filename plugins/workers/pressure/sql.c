/* The statements of the pressure worker. Times go in and out as text in UTC. */
#include "pressure.h"

#define TEXT_OF(s_) #s_
#define NUMBER(n)   TEXT_OF(n)

/* clang-format off */

#define SHOWN(time) "to_char((" time ") at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
#define START "$1::timestamptz"
#define MISSES "('miss_all_tiers', 'miss_after_redis_get_error', 'miss_after_redis_get_timeout')"

/* ---- loads ---- */

/* Each process records its own pools, so a client has as many rows at a time: what counts is the
 * pool that is nearest to its end. The columns are integers of any width. */
const char loads_sql[] =
    "select name, max(active / nullif(most, 0)) from (select distinct on (1, instance_id) "
    "lower(client_name) as name, instance_id, active_connections::float8 as active, "
    "max_connections::float8 as most from client_connections "
    "where recorded_at >= now() - $1::float8 * interval '1 ms' "
    "order by 1, instance_id, recorded_at desc, id desc) newest group by name";

/* Is there a load of the logging client, a young one? Did the run before fail for want of a
 * connection? And the hour that was last closed. */
const char standing_sql[] =
    "select exists (select from client_connections where lower(client_name) = lower($2)), "
    "exists (select from client_connections where lower(client_name) = lower($2) "
    "and recorded_at >= now() - $1::float8 * interval '1 ms'), "
    "coalesce((select pool_timeout_like_failure from client_pressure_snapshot_runs "
    "order by recorded_at desc, id desc limit 1), false), "
    SHOWN("date_trunc('hour', now()) - interval '1 hour'") ", " SHOWN("date_trunc('hour', now())");

/* ---- requests ---- */

/* What was claimed by a process that is no more is claimed again ten minutes later. */
const char claim_sql[] =
    "update client_pressure_backfill_requests set status = 'processing', claimed_at = now(), "
    "updated_at = now() where id = (select id from client_pressure_backfill_requests "
    "where status = 'pending' or (status = 'processing' "
    "and coalesce(claimed_at, updated_at) < now() - interval '10 minutes') "
    "order by requested_at, id limit 1 for update skip locked) "
    "returning id, claimed_at, least(hours_back, 720), " SHOWN("date_trunc('hour', requested_at)");

const char release_sql[] =
    "update client_pressure_backfill_requests set status = $3, error_message = $4, "
    "claimed_at = case when $3 = 'pending' then null else claimed_at end, "
    "completed_at = case when $3 in ('completed', 'failed') then now() end, updated_at = now() "
    "where id = $1::bigint and status = 'processing' and claimed_at = $2::timestamptz";

/* The hour that was last closed comes first: what a long request fills in may wait, the present may
 * not. Then the oldest ones. */
const char missing_sql[] =
    "with last as (select date_trunc('hour', now()) - interval '1 hour' as h), "
    "wanted as (select h from last union select generate_series(" START " - $2::integer * "
        "interval '1 hour', " START " - interval '1 hour', interval '1 hour')) "
    "select " SHOWN("w.h") ", count(*) over () from wanted w "
    "where not exists (select from client_pressure_snapshot_runs r "
        "where r.window_start = w.h and r.status = 'completed') "
    "and ($3::boolean or w.h = (select h from last) or exists (select from gateway_request_log l "
        "where l.created_at >= w.h and l.created_at < w.h + interval '1 hour')) "
    "order by w.h <> (select h from last), w.h limit " NUMBER(PRESSURE_WINDOWS);

/* ---- runs that came to nothing ---- */

/* One row per hour, outcome and reason: it says when that was last so, and how often. */
const char noted_sql[] =
    "with again as (update client_pressure_snapshot_runs set recorded_at = now(), "
        "logging_saturation_ratio = $6::float8, pool_timeout_like_failure = $5::boolean, "
        "collection_error = $4, meta = meta || jsonb_build_object('times', "
        "coalesce((meta->>'times')::integer, 1) + 1) "
        "where window_start = " START " and status = $2 and skip_reason is not distinct from $3 "
        "returning 1) "
    "insert into client_pressure_snapshot_runs (window_start, window_end, status, skip_reason, "
        "formula_version, collection_error, pool_timeout_like_failure, logging_saturation_ratio) "
    "select " START ", " START " + interval '1 hour', $2, $3, '" PRESSURE_FORMULA "', $4, "
        "$5::boolean, $6::float8 where not exists (select from again)";

/* ---- what is counted ---- */

/* Longer names do not fit into an index and are nobody's. */
#define OF_CLIENT "coalesce(client, '') <> '' and octet_length(client) <= 700"
#define TABLE \
    "case when coalesce(table_name, '') = '' or octet_length(table_name) > 700 " \
    "then '<unknown>' else table_name end"
#define MISSED "(cached is not true and cache_lookup_outcome in " MISSES ") as missed"

#define REQUESTS \
    "(select client, '' as tab, coalesce(status_code, 200) >= 400 as failed, " MISSED ", " \
    "duration_ms, created_at from gateway_request_log where " OF_CLIENT ")"
#define OPERATIONS \
    "(select client, " TABLE " as tab, (coalesce(status_code, 200) >= 400 or error is true) " \
    "as failed, " MISSED ", duration_ms, created_at from gateway_operation_log where " OF_CLIENT ")"

/* The day before: an hour whose run left nobody out is known from its snapshots; any other is
 * counted, as one range of the log each. `tab` is '' where clients are counted. */
#define MEASURE(log, most, snapshots, tab) \
    "with seen as (select client, tab, count(*) as n, count(*) filter (where failed) as failed, " \
        "count(*) filter (where missed) as missed, coalesce(sum(duration_ms), 0) as work, " \
        "percentile_cont(0.5) within group (order by duration_ms::float8) as p50, " \
        "percentile_cont(0.95) within group (order by duration_ms::float8) as p95 from " log " l " \
        "where created_at >= " START " and created_at < " START " + interval '1 hour' " \
        "group by client, tab), " \
    "hours as (select h, exists (select from client_pressure_snapshot_runs r " \
        "where r.window_start = h and r.status = 'completed' and not r.meta ? 'left_out' and " \
        "coalesce(r.meta->'skipped_clients_due_to_saturation', '[]') = '[]') as known from " \
        "generate_series(" START " - interval '24 hours', " START " - interval '1 hour', " \
        "interval '1 hour') h), " \
    "past as materialized (select s.client_name as client, " tab " as tab, s.window_start as h, " \
        "s.request_count as n, s.failed_requests as failed from " snapshots " s " \
        "where s.window_start in (select h from hours where known) union all " \
        "select c.client, c.tab, hours.h, c.n, c.failed from hours cross join lateral " \
        "(select client, tab, count(*) as n, count(*) filter (where failed) as failed from " log \
        " l where created_at >= hours.h and created_at < hours.h + interval '1 hour' " \
        "group by client, tab) c where not hours.known), " \
    "day as (select client, tab, percentile_cont(0.5) within group (order by n::float8) as median, " \
        "sum(n) filter (where h = " START " - interval '1 hour') as n, " \
        "sum(failed) filter (where h = " START " - interval '1 hour') as failed " \
        "from past group by client, tab) " \
    "select seen.client, seen.tab, seen.n, seen.failed, seen.missed, seen.work::bigint, seen.p50, " \
        "seen.p95, coalesce(day.median, 0), coalesce(day.n, 0)::bigint, " \
        "coalesce(day.failed, 0)::bigint, count(*) over () from seen " \
        "left join day on day.client = seen.client and day.tab = seen.tab " \
        "order by " most " desc, seen.client, seen.tab limit "

const char clients_sql[] =
    MEASURE(REQUESTS, "seen.n", "client_pressure_snapshots", "''") NUMBER(PRESSURE_CLIENTS);
const char tables_sql[] =
    MEASURE(OPERATIONS, "seen.work", "client_table_pressure_snapshots", "s.table_name") NUMBER(PRESSURE_TABLES);

/* The slowest texts that were logged. What may be planned is decided where SQL is read. */
const char samples_sql[] =
    "select query from (select details->>'query' as query, duration_ms from gateway_operation_log "
        "where client = $2 and created_at >= " START " and created_at < " START " + interval '1 hour' "
        "and coalesce(status_code, 200) < 500 and jsonb_typeof(details->'query') = 'string') l "
    "where octet_length(query) <= 65536 and strpos(query, ';') = 0 "
    "and query ~* '^\\s*(select|with)\\s' group by query "
    "order by max(duration_ms) desc nulls last, query limit " NUMBER(PRESSURE_SAMPLES);

/* ---- what is written ---- */

#define COUNTED \
    "request_count, failed_requests, cache_misses, total_work_ms, p50_duration_ms, " \
    "p95_duration_ms, error_ratio, cache_miss_ratio, tail_ratio, burst_ratio, request_shock, " \
    "error_shock, pressure_score, volatility_score, pressure_band, observed_only, meta"
#define COUNTED_TYPES \
    "request_count bigint, failed_requests bigint, cache_misses bigint, total_work_ms bigint, " \
    "p50_duration_ms float8, p95_duration_ms float8, error_ratio float8, cache_miss_ratio float8, " \
    "tail_ratio float8, burst_ratio float8, request_shock float8, error_shock float8, " \
    "pressure_score float8, volatility_score float8, pressure_band text, observed_only boolean, " \
    "meta jsonb"
#define CLIENT_ONLY \
    "saturation_ratio, dominant_table_share, planner_score, placement_hint, " \
    "planner_enrichment_attempted, planner_enrichment_applied, planner_enrichment_skipped_reason"

/* An hour is written once, whoever else writes it at the same time. */
const char write_sql[] =
    "with run as (insert into client_pressure_snapshot_runs (window_start, window_end, status, "
        "formula_version, logging_saturation_ratio, meta) "
        "select " START ", " START " + interval '1 hour', 'completed', '" PRESSURE_FORMULA "', "
        "$2::float8, $3::jsonb where not exists (select from client_pressure_snapshot_runs "
        "where window_start = " START " and status = 'completed') returning id), "
    "clients as (insert into client_pressure_snapshots (run_id, window_start, window_end, "
        "client_name, " COUNTED ", " CLIENT_ONLY ") select run.id, " START ", "
        START " + interval '1 hour', client_name, " COUNTED ", " CLIENT_ONLY " from run, "
        "jsonb_to_recordset($4::jsonb) as c(client_name text, " COUNTED_TYPES ", "
        "saturation_ratio float8, dominant_table_share float8, planner_score float8, "
        "placement_hint text, planner_enrichment_attempted boolean, "
        "planner_enrichment_applied boolean, planner_enrichment_skipped_reason text) "
        "on conflict do nothing returning id, run_id, client_name) "
    "insert into client_table_pressure_snapshots (run_id, client_snapshot_id, window_start, "
        "window_end, client_name, table_name, share_of_client_work, " COUNTED ") "
    "select clients.run_id, clients.id, " START ", " START " + interval '1 hour', client_name, "
        "table_name, share_of_client_work, " COUNTED " from jsonb_to_recordset($5::jsonb) "
        "as c(client_name text, table_name text, share_of_client_work float8, " COUNTED_TYPES ") "
        "join clients using (client_name) on conflict do nothing";
/* clang-format on */
