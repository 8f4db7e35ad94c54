/* The statements of the fold, of retention, and of what the statistics show.
 *
 * A row of a log is first brought into one form, whichever log it is of, and all that follows works
 * on that form: what is counted is added, what is deleted is subtracted by the same rules.
 */
#include "statistics/statistics.h"

/* 0x41544845 is the class of all our advisory locks, 3 its number of statistics. */
const char statistics_lock_sql[] = "select pg_advisory_xact_lock(1096042565, 3)";

/* clang-format off */

/* ---- one form for both logs ---- */

/* Longer names would not fit into an index, and are nobody's: such a client is not counted, such a
 * table or operation counts for its client alone. An infinite time has no hour. */
#define COUNTS \
    "coalesce(client, '') <> '' and octet_length(client) <= 700 and isfinite(created_at) " \
    "as counts, client, "
#define SHORT(name) "case when octet_length(" name ") <= 700 then " name " else '' end as " name ", "

#define REQUEST_FORM \
    COUNTS "'' as table_name, '' as operation, " \
           "coalesce(status_code between 200 and 399, false) as succeeded, " \
           "coalesce(status_code >= 400, false) as failed, cached is true as cached, " \
           "false as missed, duration_ms, created_at"

/* The same text as in the index of failed operations. */
#define OPERATION_FAILED "(error is true or coalesce(status_code, 0) >= 400)"

#define OPERATION_FORM \
    COUNTS SHORT("table_name") SHORT("operation") \
    "false as succeeded, " OPERATION_FAILED " as failed, cached is true as cached, " \
    "coalesce(cached is false or cache_lookup_outcome in ('miss_all_tiers', " \
    "'miss_after_redis_get_error', 'miss_after_redis_get_timeout'), false) as missed, " \
    "duration_ms, created_at"

/* Behind `seen`: rows in that form. */
#define TOTALS \
    "totals as (select client, table_name, operation, count(*) as total, " \
    "count(*) filter (where succeeded) as succeeded, count(*) filter (where failed) as failed, " \
    "count(*) filter (where cached) as cached, count(*) filter (where missed) as missed, " \
    "count(duration_ms) as timed, coalesce(sum(duration_ms), 0) as sum_ms, " \
    "max(created_at) as last_at from seen where counts group by 1, 2, 3)"

/* The key of a row: of the CTE that has just made it, or of those that were there before. */
#define NEW_KEY "join keys k using (client, table_name, operation) "
#define OLD_KEY(kind) \
    "join athena_log_keys k on k.kind = '" kind "' and k.client = s.client " \
    "and k.table_name = s.table_name and k.operation = s.operation "

#define EACH_DURATION(key) \
    "select k.id as key_id, s.duration_ms, count(*) as n from seen s " key \
    "where s.counts and s.duration_ms is not null group by 1, 2"

#define EACH_HOUR(key) \
    "select k.id as key_id, floor(extract(epoch from s.created_at) / 3600)::integer as hour, " \
    "count(*) as total, count(*) filter (where s.failed) as failed from seen s " key \
    "where s.counts group by 1, 2"

/* ---- the fold ---- */

const char statistics_ends_sql[] =
    "select (select coalesce(max(id), 0) from gateway_request_log), "
    "(select coalesce(max(id), 0) from gateway_operation_log)";

/* Whoever inserts holds this lock from before the row has its id until the row is committed, so
 * when those who held it by the time of an id are gone, all rows up to that id are there or never
 * will be. Whoever inserts into a partition holds the partition's. */
#define WRITERS \
    "from pg_locks where locktype = 'relation' and mode = 'RowExclusiveLock' and granted " \
    "and database = (select oid from pg_database where datname = current_database()) " \
    "and pid is distinct from pg_backend_pid() and relation in " \
    "(select l.oid from unnest(array['gateway_request_log'::regclass, " \
    "'gateway_operation_log'::regclass]) as l(oid) union all " \
    "select p.relid from unnest(array['gateway_request_log'::regclass, " \
    "'gateway_operation_log'::regclass]) as l(oid), pg_partition_tree(l.oid) p)"

const char statistics_writers_sql[] =
    "select coalesce(array_agg(distinct virtualtransaction), '{}') " WRITERS;
const char statistics_left_sql[] =
    "select coalesce(array_agg(distinct virtualtransaction), '{}') " WRITERS
    " and virtualtransaction = any ($1::text[])";

#define SLICE(kind, log, form, hours) \
    "with seen as materialized (select id, " form " from " log \
    " where id > (select upto from athena_log_folds where kind = '" kind "') and id <= $1::bigint" \
    " order by id limit 50000), " TOTALS ", " \
    "keys as (insert into athena_log_keys as k (kind, client, table_name, operation, total, " \
    "succeeded, failed, cached, missed, timed, sum_ms, last_at) select '" kind \
    "', client, table_name, operation, total, succeeded, failed, cached, missed, timed, sum_ms, " \
    "last_at " \
    "from totals on conflict (kind, client, table_name, operation) do update set " \
    "total = k.total + excluded.total, succeeded = k.succeeded + excluded.succeeded, " \
    "failed = k.failed + excluded.failed, cached = k.cached + excluded.cached, " \
    "missed = k.missed + excluded.missed, timed = k.timed + excluded.timed, " \
    "sum_ms = k.sum_ms + excluded.sum_ms, last_at = greatest(k.last_at, excluded.last_at), " \
    "stale = true returning k.id, k.client, k.table_name, k.operation), " \
    "durations as (insert into athena_log_durations as d (key_id, duration_ms, n) " EACH_DURATION(NEW_KEY) \
    " on conflict (key_id, duration_ms) do update set n = d.n + excluded.n)" hours \
    " update athena_log_folds set folded_at = now(), " \
    "upto = greatest(upto, coalesce((select max(id) from seen), $1::bigint)) " \
    "where kind = '" kind "' returning upto, (select count(*) from seen)"

#define ADD_HOURS \
    ", hours as (insert into athena_log_hours as h (key_id, hour, total, failed) " EACH_HOUR(NEW_KEY) \
    " on conflict (key_id, hour) do update set total = h.total + excluded.total, " \
    "failed = h.failed + excluded.failed)"

const char *const statistics_slice_sql[STATISTICS_KINDS] = {
    [STATISTICS_REQUEST] = SLICE("request", "gateway_request_log", REQUEST_FORM, ""),
    [STATISTICS_OPERATION] =
        SLICE("operation", "gateway_operation_log", OPERATION_FORM, ADD_HOURS),
};

const char *const statistics_clear_sql[STATISTICS_CLEARS] = {
    "update athena_log_folds set upto = 0",
    "delete from athena_log_durations",
    "delete from athena_log_hours",
    "delete from athena_log_keys",
};

/* Counts that were subtracted down to nothing. Where nothing was, nothing is read. */
#define SHRUNK "exists (select from athena_log_keys where shrunk) and "

const char *const statistics_sweep_sql[STATISTICS_SWEEPS] = {
    "delete from athena_log_durations where " SHRUNK "n <= 0",
    "delete from athena_log_hours where " SHRUNK "total <= 0",
    "delete from athena_log_keys where shrunk and not stale and total <= 0",
    "update athena_log_keys set shrunk = false where shrunk",
};

/* ---- retention ---- */

#define SUBTRACT(kind, hours) \
    TOTALS ", keys as (update athena_log_keys k set total = k.total - t.total, " \
           "succeeded = k.succeeded - t.succeeded, failed = k.failed - t.failed, " \
           "cached = k.cached - t.cached, missed = k.missed - t.missed, " \
           "timed = k.timed - t.timed, sum_ms = k.sum_ms - t.sum_ms, stale = true, " \
           "shrunk = true from totals t where k.kind = '" kind "' and k.client = t.client " \
           "and k.table_name = t.table_name and k.operation = t.operation " \
           "returning k.id, k.client, k.table_name, k.operation), " \
           "durations as (update athena_log_durations d set n = d.n - c.n from (" \
           EACH_DURATION(OLD_KEY(kind)) \
           ") c where d.key_id = c.key_id and d.duration_ms = c.duration_ms)" hours

#define SUBTRACT_HOURS \
    ", hours as (update athena_log_hours h set total = h.total - c.total, " \
    "failed = h.failed - c.failed from (" EACH_HOUR(OLD_KEY("operation")) \
    ") c where h.key_id = c.key_id and h.hour = c.hour)"

#define FOLDED(kind) "id <= (select upto from athena_log_folds where kind = '" kind "')"

#define PURGE(kind, log, form, hours) \
    "with old as (select id, created_at from " log " where created_at < $1::timestamptz " \
    "order by created_at limit $2::bigint), " \
    "gone as (delete from " log \
    " l using old where l.id = old.id and l.created_at = old.created_at returning l.*), " \
    "seen as (select " form " from gone where " FOLDED(kind) "), " SUBTRACT(kind, hours) \
    " select count(*) from gone"

#define FORGET(kind, log, form, hours) \
    "with seen as (select " form " from " log " where created_at >= $1::timestamptz " \
    "and created_at < $2::timestamptz and " FOLDED(kind) "), " SUBTRACT(kind, hours) \
    " select count(*) from seen"

const char *const statistics_purge_sql[STATISTICS_KINDS] = {
    [STATISTICS_REQUEST] = PURGE("request", "gateway_request_log", REQUEST_FORM, ""),
    [STATISTICS_OPERATION] =
        PURGE("operation", "gateway_operation_log", OPERATION_FORM, SUBTRACT_HOURS),
};
const char *const statistics_forget_sql[STATISTICS_KINDS] = {
    [STATISTICS_REQUEST] = FORGET("request", "gateway_request_log", REQUEST_FORM, ""),
    [STATISTICS_OPERATION] =
        FORGET("operation", "gateway_operation_log", OPERATION_FORM, SUBTRACT_HOURS),
};

/* ---- what the statistics show ---- */

/* Clients by name: of the catalogue, and those that were of use once. */
#define KNOWN \
    "known as (select lower(client_name) as name from athena_clients union " \
    "select lower(client) from athena_log_keys where kind = 'request' and succeeded > 0)"

/* Counted rows whose live deltas may not have come yet. */
#define RECENT(name, kind, log, form) \
    name " as materialized (select client, table_name, operation, count(*) as total, " \
         "count(*) filter (where succeeded) as succeeded, count(*) filter (where failed) " \
         "as failed, count(*) filter (where cached) as cached, " \
         "count(*) filter (where missed) as missed from (select " form " from " log \
         " where created_at > now() - interval '10 seconds' and " FOLDED(kind) \
         ") r where counts group by 1, 2, 3)"

/* What percentile_cont() does: between the values at two places, in proportion. The places of each
 * key are worked out once, into `placed`, not for each of its durations. */
#define PLACES(name, f) \
    f "::float8 * (timed - 1) as x" name ", floor(" f "::float8 * (timed - 1)) as l" name \
      ", ceil(" f "::float8 * (timed - 1)) as h" name
#define PLACED \
    "placed as materialized (select fresh.*, " PLACES("50", "0.5") ", " PLACES("95", "0.95") ", " \
    PLACES("99", "0.99") " from fresh) "
#define AT(place) "min(duration_ms) filter (where upto > f." place ")::float8"
#define PERCENTILE(name) \
    AT("l" name) " + (f.x" name " - f.l" name ") * (" AT("h" name) " - " AT("l" name) ") as p" name

/* Of key f: key by key, because nobody knows beforehand how many have changed. */
#define SPAN \
    "left join lateral (select " PERCENTILE("50") ", " PERCENTILE("95") ", " PERCENTILE("99") \
    " from (select duration_ms, " \
    "sum(n::float8) over (order by duration_ms rows unbounded preceding) as upto " \
    "from athena_log_durations where key_id = f.id and n > 0) spread) p on true "
#define MEAN "(f.sum_ms / nullif(f.timed, 0))::float8"

#define RAISE(column) column " = greatest(s." column ", excluded." column ")"
#define RENEW(column) column " = excluded." column

/* Keys and not all of them at once: those that changed. A client's own row is behind it, because
 * it shows the sum of its operations. */
static const char publish_operations[] =
    "with " KNOWN ", " RECENT("recent", "operation", "gateway_operation_log", OPERATION_FORM) ", "
    "fresh as (update athena_log_keys k set stale = (client, table_name, operation) in "
    "(select client, table_name, operation from recent) where kind = 'operation' and stale "
    "and lower(client) in (select name from known) returning k.*), "
    "behind as (update athena_log_keys set stale = true where kind = 'request' and not stale "
    "and client in (select client from fresh)), " PLACED
    "insert into client_table_statistics as s (client_name, table_name, operation, "
    "total_operations, error_operations, total_cache_hits, total_cache_misses, avg_duration_ms, "
    "p50_duration_ms, p95_duration_ms, p99_duration_ms, cache_hit_ratio, last_operation_at, "
    "updated_at) select f.client, f.table_name, f.operation, f.total - coalesce(r.total, 0), "
    "f.failed - coalesce(r.failed, 0), f.cached - coalesce(r.cached, 0), "
    "f.missed - coalesce(r.missed, 0), " MEAN ", p.p50, p.p95, p.p99, "
    "f.cached::float8 / nullif(f.total, 0), f.last_at, now() from placed f "
    SPAN "left join recent r using (client, table_name, operation) "
    "where f.table_name <> '' and f.operation <> '' and (f.total > 0 or exists (select "
    "from client_table_statistics o where o.client_name = f.client "
    "and o.table_name = f.table_name and o.operation = f.operation)) "
    "order by f.client collate \"C\", f.table_name collate \"C\", f.operation collate \"C\" "
    "on conflict (client_name, table_name, operation) do update set "
    RAISE("total_operations") ", " RAISE("error_operations") ", " RAISE("total_cache_hits") ", "
    RAISE("total_cache_misses") ", " RAISE("last_operation_at") ", " RENEW("avg_duration_ms") ", "
    RENEW("p50_duration_ms") ", " RENEW("p95_duration_ms") ", " RENEW("p99_duration_ms") ", "
    RENEW("cache_hit_ratio") ", updated_at = now()";

static const char publish_requests[] =
    "with " KNOWN ", " RECENT("recent", "request", "gateway_request_log", REQUEST_FORM) ", "
    RECENT("late", "operation", "gateway_operation_log", OPERATION_FORM) ", "
    "fresh as (update athena_log_keys k set stale = client in (select client from recent "
    "union all select client from late) where kind = 'request' and stale "
    "and lower(client) in (select name from known) returning k.*), "
    "later as (select client, sum(total) as total from late group by client), " PLACED
    "insert into client_statistics as s (client_name, total_requests, successful_requests, "
    "failed_requests, total_cached_requests, total_operations, avg_request_duration_ms, "
    "p50_request_duration_ms, p95_request_duration_ms, p99_request_duration_ms, cache_hit_ratio, "
    "last_request_at, last_operation_at, updated_at) select f.client, "
    "f.total - coalesce(r.total, 0), f.succeeded - coalesce(r.succeeded, 0), "
    "f.failed - coalesce(r.failed, 0), f.cached - coalesce(r.cached, 0), "
    "coalesce(o.total, 0) - coalesce(l.total, 0), " MEAN ", p.p50, p.p95, p.p99, "
    "f.cached::float8 / nullif(f.total, 0), f.last_at, o.last_at, now() from placed f "
    SPAN "left join lateral (select sum(total) as total, max(last_at) as last_at "
    "from athena_log_keys where kind = 'operation' and client = f.client) o on true "
    "left join recent r using (client) left join later l using (client) "
    "where f.total > 0 or exists (select from client_statistics c where c.client_name = f.client) "
    "order by f.client collate \"C\" on conflict (client_name) do update set "
    RAISE("total_requests") ", " RAISE("successful_requests") ", " RAISE("failed_requests") ", "
    RAISE("total_cached_requests") ", " RAISE("total_operations") ", " RAISE("last_request_at") ", "
    RAISE("last_operation_at") ", " RENEW("avg_request_duration_ms") ", "
    RENEW("p50_request_duration_ms") ", " RENEW("p95_request_duration_ms") ", "
    RENEW("p99_request_duration_ms") ", " RENEW("cache_hit_ratio") ", updated_at = now()";

const char *const statistics_publish_sql[STATISTICS_KINDS] = {
    [STATISTICS_REQUEST] = publish_requests,
    [STATISTICS_OPERATION] = publish_operations,
};
/* clang-format on */
