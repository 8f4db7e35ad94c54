-- The control plane of the admin recordings: its tables are there and empty before this script.

delete from cluster_mirrors;
insert into cluster_mirrors (url, priority) values ('http://127.0.0.1:9/', 20);
insert into cluster_mirrors (url, priority, is_active) values ('http://127.0.0.1:10', 30, false);
insert into api_registry (id, created_at, api_registry_id, name, description, config, updated_at)
  values (1, '2026-01-05T10:00:00Z', '11111111-1111-1111-1111-111111111111', 'orders api', 'reads orders', '{"base":"/orders"}', '2026-01-05T10:00:00.25Z'),
         (2, '2026-01-05T11:00:00Z', '22222222-2222-2222-2222-222222222222', 'customers api', null, '{}', '2026-01-05T11:00:00Z');
-- finished traffic of a client called "gold" (not connected): 8 request rows, 7 operation rows
insert into gateway_request_log (created_at, request_id, client, method, path, query_string, status_code, cached, duration_ms, cache_lookup_outcome, cache_source, operation, table_name, time)
values ('2026-01-05T10:00:01Z','r1','gold','POST','/gateway/fetch','NOT_FOUND',200,false,10,'miss_all_tiers','database','fetch','orders',1767607201),
       ('2026-01-05T10:00:02Z','r2','gold','POST','/gateway/fetch','NOT_FOUND',200,true,2,'hit_local','local','fetch','orders',1767607202),
       ('2026-01-05T10:00:03Z','r3','gold','POST','/gateway/fetch','NOT_FOUND',400,false,4,'miss_all_tiers','database','fetch','orders',1767607203),
       ('2026-01-05T10:00:04Z','r4','gold','PUT','/gateway/insert','NOT_FOUND',0,true,null,null,null,null,null,1767607204),
       ('2026-01-05T10:00:05Z','r5','gold','PUT','/gateway/insert','NOT_FOUND',0,true,null,null,null,null,null,1767607205),
       ('2026-01-05T10:00:06Z','r6','gold','POST','/gateway/query','NOT_FOUND',302,null,100,null,null,null,null,1767607206),
       ('2026-01-05T10:00:07.5Z','r7','gold','POST','/gateway/query','NOT_FOUND',503,null,2000,null,null,null,null,1767607207),
       ('2026-01-05T10:00:08.123456Z','r8','Gold','POST','/gateway/fetch','NOT_FOUND',200,false,7,'miss_all_tiers','database','fetch','orders',1767607208);
insert into gateway_operation_log (created_at, request_id, operation, table_name, client, method, path, status_code, duration_ms, details, time, error, message, cache_key, cache_lookup_outcome, cache_source, cached)
values ('2026-01-05T10:00:01.1Z','r1','fetch','orders','gold','POST','/gateway/fetch',200,10,'{"row_count":3}',1767607201,false,null,'orders:k1','miss_all_tiers','database',false),
       ('2026-01-05T10:00:02.1Z','r2','fetch','orders','gold','POST','/gateway/fetch',200,2,'{"row_count":3}',1767607202,false,null,'orders:k1','hit_local','local',true),
       ('2026-01-05T10:00:03.1Z','r3','fetch','orders','gold','POST','/gateway/fetch',400,4,'{"error_code":"undefined_column"}',1767607203,true,'Column not found','orders:k2','miss_all_tiers','database',false),
       ('2026-01-05T10:00:03.2Z','r3b','fetch','Orders','GOLD','POST','/gateway/fetch',null,null,null,1767607203,null,null,null,null,null,null),
       ('2026-01-05T10:00:04.1Z','r4','insert','orders','gold','PUT','/gateway/insert',200,6,'{}',1767607204,false,null,null,null,null,null),
       ('2026-01-05T10:00:05.1Z','r5','insert','orders','gold','PUT','/gateway/insert',409,8,'{"code":"unique_violation"}',1767607205,true,null,null,null,null,null),
       ('2026-01-05T10:00:06.1Z','r6','query',null,'gold','POST','/gateway/query',200,90,'{"query":"select 1"}',1767607206,false,null,null,null,null,null);
insert into client_statistics (created_at, client_name, total_requests, updated_at) values ('2026-01-01Z', 'idle', 5, '2026-01-01Z');
insert into client_table_statistics (created_at, client_name, table_name, operation, total_operations, updated_at) values ('2026-01-01Z', 'idle', 't', 'fetch', 5, '2026-01-01Z');
-- pressure
insert into client_pressure_snapshot_runs (id, recorded_at, window_start, window_end, status, skip_reason, logging_saturation_ratio, meta)
values (901,'2026-01-05T12:01:00Z','2026-01-05T10:00:00Z','2026-01-05T11:00:00Z','completed',null,0.25,'{"client_count":2}'),
       (902,'2026-01-05T12:02:00Z','2026-01-05T11:00:00Z','2026-01-05T12:00:00Z','completed',null,0.5,'{}'),
       (903,'2026-01-05T12:03:00Z','2026-01-05T11:00:00Z','2026-01-05T12:00:00Z','skipped_load_shed','missing_load_snapshot',null,'{}');
insert into client_pressure_snapshots (id, run_id, recorded_at, window_start, window_end, client_name, request_count, failed_requests, cache_misses, total_work_ms, p50_duration_ms, p95_duration_ms, error_ratio, cache_miss_ratio, tail_ratio, burst_ratio, saturation_ratio, dominant_table_share, request_shock, error_shock, pressure_score, volatility_score, planner_score, pressure_band, placement_hint, observed_only)
values (911,901,'2026-01-05T12:01:00Z','2026-01-05T10:00:00Z','2026-01-05T11:00:00Z','gold',7,2,2,2116,7,2000,0.2857,0.2857,285.7,7,0.1,1,6,1,71.5,80,null,'red','split_hot_table',true),
       (912,902,'2026-01-05T12:02:00Z','2026-01-05T11:00:00Z','2026-01-05T12:00:00Z','gold',1,0,0,5,5,5,0,0,1,1,0,0,0.8,0,3,10,12.5,'green','healthy',false),
       (913,901,'2026-01-05T12:01:00Z','2026-01-05T10:00:00Z','2026-01-05T11:00:00Z','Silver',1,0,0,5,null,null,0,0,0,1,null,0,0,0,35,0,null,'yellow','watch',true);
insert into client_table_pressure_snapshots (id, run_id, client_snapshot_id, recorded_at, window_start, window_end, client_name, table_name, request_count, total_work_ms, pressure_score, pressure_band)
values (921,902,912,'2026-01-05T12:02:00Z','2026-01-05T11:00:00Z','2026-01-05T12:00:00Z','gold','b_table',1,5,null,'green'),
       (922,902,912,'2026-01-05T12:02:00Z','2026-01-05T11:00:00Z','2026-01-05T12:00:00Z','gold','orders',1,5,9.5,'green'),
       (923,902,912,'2026-01-05T12:02:00Z','2026-01-05T11:00:00Z','2026-01-05T12:00:00Z','gold','a_table',1,50,null,'green');
-- vacuum health (recent: the collector deletes snapshots older than 30 days at its first run)
insert into vacuum_health_snapshots (id, recorded_at, client_name, host, instance_id, total_dead_rows, tables_with_bloat, xid_freeze_risk, tables_needing_vacuum, freeze_max_age, collection_error)
values (931,now() - interval '2 hours','gold','db1','33333333-3333-3333-3333-333333333333',0,0,0,0,null,'connection refused'),
       (932,now() - interval '1 hour','gold','db1','33333333-3333-3333-3333-333333333333',4100,1,0,1,200000000,null);
insert into vacuum_health_table_stats (id, snapshot_id, schemaname, relname, n_dead_tup, n_live_tup, dead_pct, last_vacuum, last_autovacuum, xid_age, xid_age_pct_of_freeze_max)
values (941,932,'public','customers',0,100,null,null,null,120000,0.06),
       (942,932,'public','orders',4100,9000,31.3,null,'2026-01-04T02:00:00Z',120000,0.06),
       (943,932,'public','a_first',10,90,10,'2026-01-04T02:00:00Z',null,null,null);
-- optimisation
insert into query_optimization_runs (id, created_at, started_at, completed_at, client_name, trigger_source, status, recommendations_generated, meta) values
 (951,'2026-01-05T10:00:00Z','2026-01-05T10:00:00Z','2026-01-05T10:00:01Z','gold','manual_admin','completed',1,'{}'),
 (952,'2026-01-05T11:00:00Z','2026-01-05T11:00:00Z',null,'Gold','manual','running',0,'{"actor":"x"}');
insert into query_optimization_recommendations (id, created_at, updated_at, first_seen_at, last_seen_at, client_name, recommendation_key, title, severity, status, confidence, impact_score, rationale, proposed_sql, explain_plan, metadata, run_id, applied_at, applied_by) values
 (961,'2026-01-05T10:00:00Z','2026-01-05T10:00:00Z','2026-01-05T10:00:00Z','2026-01-05T10:00:00Z','gold','k:low','low one','low','open',0.5,0.25,'why','create index concurrently if not exists va_gold_idx on public.gateway_request_log (path)','[]','{"a":1}',951,null,null),
 (962,'2026-01-05T10:00:00Z','2026-01-05T10:00:00Z','2026-01-05T10:00:00Z','2026-01-05T10:00:00Z','gold','k:crit','critical one','critical','dismissed',null,null,null,null,null,'{}',null,null,null),
 (963,'2026-01-05T10:00:00Z','2026-01-05T10:00:00Z','2026-01-05T10:00:00Z','2026-01-05T10:00:00Z','gold','k:applied','applied one','high','applied',1,1,null,'create index concurrently if not exists x on gateway_request_log (path)',null,'{}',951,'2026-01-05T10:30:00Z','dba'),
 (964,'2026-01-05T10:00:00Z','2026-01-05T10:05:00Z','2026-01-05T10:00:00Z','2026-01-05T10:00:00Z','gold','k:unsafe','unsafe one','medium','open',0.9,0.9,null,'drop table gateway_request_log',null,'{}',951,null,null),
 (965,'2026-01-05T10:00:00Z','2026-01-05T10:06:00Z','2026-01-05T10:00:00Z','2026-01-05T10:00:00Z','gold','k:broken','broken one','medium','open',0.9,0.9,null,'create index concurrently if not exists va_gold_bad on public.gateway_request_log (no_such_column)',null,'{}',951,null,null);
-- admission, daemons
insert into gateway_admission_events (id, created_at, event_id, method, route, client_name, request_bytes, decision, reason, retry_after_seconds, window_seconds, global_limit_per_window, per_client_limit_per_window, meta) values
 (971,'2026-01-05T10:00:00Z','e1','POST','/gateway/fetch','gold',120,'rejected','admission_limit_exceeded',1,1,100,10,'{"defer_on_limit_enabled":false,"defer_route_prefixes":[]}'),
 (972,'2026-01-05T10:00:01Z','e2','GET','/ping',null,null,'allowed',null,null,null,null,null,'{}');
insert into daemon_runtime_registry values ('old-1','athena_daemon','h1','3.0.0','["clone_worker"]','{"runtime":"daemon"}','2026-01-01Z','2026-01-02Z');
insert into public_gateway_routes (id, created_at, public_gateway_route_id, route_key, client_name, allowed_ops, updated_at) values (981,'2026-01-05T10:00:00Z','44444444-4444-4444-4444-444444444444','Orders','shop','{fetch,insert}','2026-01-05T10:00:00Z');
