#!/usr/bin/env python3
"""worker-pressure over a real PostgreSQL: hours worked out by hand, reasons to leave a control plane alone, requests to fill in hours,
plans, one runner of many processes; and the routes that show it all."""
import datetime
import json
import os
import signal
import subprocess
import sys
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab, executable, wait_for  # noqa: E402

ADMIN = {"x-athena-key": ADMIN_KEY}
H = "date_trunc('hour', now()) - interval '1 hour'"  # the hour that was last closed
MISSES = ("miss_all_tiers", "miss_after_redis_get_error", "miss_after_redis_get_timeout")


def request(client, hour=H, n=1, ms="100 * i", status="200", cached="true", outcome="'hit_local'"):
    """n requests within an hour; expressions may use i, from 1."""
    return (f"insert into gateway_request_log (created_at, request_id, client, status_code, cached, cache_lookup_outcome, duration_ms, time) "
            f"select {hour} + i * interval '1 s', 'r' || i, '{client}', {status}, {cached}, {outcome}, {ms}, 0 from generate_series(1, {n}) i;\n")


def operation(client, table, hour=H, n=1, ms="100 * i", status="200", error="false", cached="true", outcome="'hit_local'", details="null"):
    return (f"insert into gateway_operation_log (created_at, request_id, client, table_name, status_code, error, cached, cache_lookup_outcome, "
            f"duration_ms, details, time) select {hour} + i * interval '1 s', 'o' || i, '{client}', {table}, {status}, {error}, {cached}, {outcome}, "
            f"{ms}, {details}, 0 from generate_series(1, {n}) i;\n")


def load(client, active=4, most=10, age="0 s", instance="gen_random_uuid()"):
    return (f"insert into client_connections (recorded_at, client_name, instance_id, pool_size, idle_connections, active_connections, max_connections) "
            f"values (now() - interval '{age}', '{client}', {instance}, {most}, {most - active}, {active}, {most});\n")


# The contract's example: 20 requests of 100 to 2000 ms after an hour of five; a table with 12000 of the 21000 ms.
EXAMPLE = (request("shop", n=20, status="case when i <= 5 then 500 else 200 end", cached="i > 10",
                   outcome=f"case when i <= 10 then (array{list(MISSES)})[1 + i % 3] when i = 11 then 'miss' else 'hit_local' end") +
           request("shop", f"{H} - interval '1 hour'", 5, ms="10") +
           operation("shop", "'orders'", n=15, status="case when i <= 2 then 404 else 200 end", error="i = 3", cached="false",
                     outcome=f"(array{list(MISSES)})[1 + i % 3]") +
           operation("shop", "null", n=3, ms="10"))


class Pressure(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.pg = cls.lab.postgres()
        cls.count = 0
        cls.pg.run("create database plane")
        path = f"{cls.lab.folder}/plane.yaml"
        with open(path, "w") as f:
            f.write(cls.config("plane"))
        subprocess.run([executable(), "migrate", "up", "--config", path], check=True, stdout=subprocess.DEVNULL)
        cls.pg.run("create database app")
        cls.pg.run("create table big as select i, i % 7 as k from generate_series(1, 50000) i; analyze big; create table ran (at timestamptz);"
                   "create function runs() returns int language sql volatile as 'insert into ran values (now()); select 1';", "app")

    @classmethod
    def tearDownClass(cls):
        cls.lab.__exit__()

    def setUp(self):
        now = datetime.datetime.now(datetime.timezone.utc)
        if now.minute == 59:  # the hour must not end in the middle of a test
            time.sleep(60.5 - now.second)

    @classmethod
    def config(cls, database, plugins=("routes-meta", "routes-admin-clients"), more=""):
        return (f"plugins: [{', '.join(plugins)}]\nurls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\n"
                "gateway:\n- enforce_api_keys: true\n- logging_client: logs\n"
                f"postgres_clients:\n- logs: \"{cls.pg.uri(database)}\"\n- shop: \"{cls.pg.uri('app')}\"\n- away: \"{cls.pg.uri('nowhere')}\"\n" + more)

    def database(self, sql=""):
        type(self).count += 1
        name = f"logs{self.count}"
        self.pg.run(f"create database {name} template plane")
        if sql:
            self.sql(sql, name)
        return name

    def sql(self, text, database):
        return self.pg.run(text, database).strip()

    def worker(self, database, every="200ms"):
        """athena worker pressure: a process of its own."""
        config = self.config(database, ("routes-meta", "worker-pressure"), f"worker-pressure:\n  every: {every}\n  monitor_every: 10m\n")
        process = self.lab.athena({}, config=config, wait=False, args=("worker", "pressure"))
        self.addCleanup(process.stop)
        return process

    def server(self, database):
        server = self.lab.athena({}, config=self.config(database))
        self.addCleanup(server.stop)
        return server

    def wait_value(self, what, sql, database, expected, seconds=30):
        seen = []

        def there():
            seen[:] = [self.sql(sql, database)]
            return seen[0] == expected
        try:
            wait_for(what, seconds, there)
        except AssertionError:
            raise AssertionError(f"{what}: {seen[0]!r}, expected {expected!r}") from None

    def wait_hour(self, database, hour=H):
        self.wait_value("the hour is there", f"select count(*) from client_pressure_snapshot_runs where window_start = {hour} and status = 'completed'",
                        database, "1")

    def row(self, sql, database):
        text = self.sql(f"select row_to_json(x) from ({sql}) x", database)
        return json.loads(text) if text else None

    def near(self, row, **want):
        for name, value in want.items():
            if isinstance(value, float):
                self.assertAlmostEqual(row[name], value, 9, name)
            else:
                self.assertEqual(row[name], value, name)

    # ---- what is worked out

    def test_an_hour_by_hand(self):
        """21.35, D-39, D-65: the contract's example, from rows of the logs to the answers of the routes; of cache misses those count
        whose outcomes are really written."""
        db = self.database(load("logs", 1) + load("Shop", 4) + EXAMPLE)
        self.worker(db)
        self.wait_hour(db)
        snapshot = self.row(f"select * from client_pressure_snapshots where window_start = {H}", db)
        self.near(snapshot, client_name="shop", request_count=20, failed_requests=5, cache_misses=10, total_work_ms=21000, p50_duration_ms=1050.0,
                  p95_duration_ms=1905.0, error_ratio=0.25, cache_miss_ratio=0.5, tail_ratio=1.8142857142857143, burst_ratio=4.0,
                  saturation_ratio=0.4, dominant_table_share=0.5714285714285714, request_shock=3.0, error_shock=25.0, pressure_score=92.56659663865547,
                  volatility_score=80.875, planner_score=None, pressure_band="red", placement_hint="split_hot_table", observed_only=True,
                  planner_enrichment_attempted=True, planner_enrichment_applied=False, planner_enrichment_skipped_reason="no_safe_sample_queries")
        self.near(snapshot["meta"], trailing_24h_median_hourly_requests=5.0, previous_hour_requests=5, previous_hour_failed=0,
                  dominant_table_work_ms=12000)
        table = self.row(f"select * from client_table_pressure_snapshots where window_start = {H} and table_name = 'orders'", db)
        self.near(table, client_name="shop", request_count=15, failed_requests=3, cache_misses=15, total_work_ms=12000, p50_duration_ms=800.0,
                  p95_duration_ms=1430.0, share_of_client_work=0.5714285714285714, error_ratio=0.2, cache_miss_ratio=1.0, burst_ratio=15.0,
                  request_shock=14.0, error_shock=20.0, pressure_score=77.875, pressure_band="red", observed_only=True,
                  client_snapshot_id=snapshot["id"], run_id=snapshot["run_id"])
        self.assertEqual(self.sql(f"select table_name, request_count, total_work_ms from client_table_pressure_snapshots where window_start = {H} "
                                  "and table_name <> 'orders'", db), "<unknown>|3|30")
        run = self.row(f"select * from client_pressure_snapshot_runs where window_start = {H}", db)
        self.near(run, status="completed", skip_reason=None, formula_version="v1", logging_saturation_ratio=0.1, pool_timeout_like_failure=False,
                  collection_error=None, meta={"client_count": 1, "skipped_clients_due_to_saturation": []})
        self.assertEqual(self.sql(f"select bool_and(window_end = window_start + interval '1 hour') from client_pressure_snapshots", db), "t")
        self.routes_show(self.server(db), snapshot, table)

    def routes_show(self, server, snapshot, table):
        listed = server.get("/admin/clients/pressure", ADMIN).json
        self.assertEqual(listed["message"], "Listed client pressure snapshots")
        self.assertEqual([s["id"] for s in listed["data"]["snapshots"]], [snapshot["id"]])
        self.assertEqual(listed["data"]["last_run"]["id"], snapshot["run_id"])
        self.near(listed["data"]["snapshots"][0], **{k: v for k, v in snapshot.items() if k not in ("recorded_at", "window_start", "window_end")})
        one = server.get("/admin/clients/shop/pressure", ADMIN).json["data"]
        self.assertEqual(one["snapshot"]["id"], snapshot["id"])
        self.assertEqual([t["table_name"] for t in one["tables"]], ["orders", "<unknown>"])
        self.near(one["tables"][0], **{k: v for k, v in table.items() if k not in ("recorded_at", "window_start", "window_end")})
        self.assertEqual([h["request_count"] for h in one["history"]], [20, 5])
        missing = server.get("/admin/clients/Shop/pressure", ADMIN)
        self.assertEqual((missing.status, missing.json["message"], missing.json["error"]),
                         (404, "Client pressure not found", "No pressure snapshots exist for 'Shop'."))

    def test_days_before(self):
        """The median runs over the hours that have rows; hours that were worked out before are known from their snapshots, and give the
        same numbers as the log."""
        hours = "".join(request("shop", f"{H} - interval '{h} hours'", h * 2, status="case when i = 1 then 500 else 200 end") +
                        operation("shop", "'a'", f"{H} - interval '{h} hours'", h) for h in (1, 2, 5, 7, 11, 23))
        db = self.database(load("logs") + hours + request("shop", n=30) + operation("shop", "'a'", n=9))
        columns = ("request_count, burst_ratio, request_shock, error_shock, pressure_score, volatility_score, meta")
        query = (f"select {columns} from client_pressure_snapshots where window_start = {H} union all "
                 f"select {columns} from client_table_pressure_snapshots where window_start = {H}")
        self.worker(db)
        self.wait_hour(db)
        first = self.sql(query, db)
        self.assertEqual(self.sql("select request_count, burst_ratio, request_shock from client_pressure_snapshots "
                                  f"where window_start = {H}", db), f"30|{30 / 12:g}|14")
        self.wait_value("hours that were missed are filled in", "select count(*) from client_pressure_snapshots", db, "7")
        self.sql("update gateway_request_log set created_at = created_at - interval '30 days' where created_at < " + H + ";"
                 "update gateway_operation_log set created_at = created_at - interval '30 days' where created_at < " + H + ";"
                 f"delete from client_pressure_snapshot_runs where window_start = {H}", db)
        self.wait_hour(db)
        self.assertEqual(self.sql(query, db), first)

    def test_missed_hours(self):
        """D-39: hours that were missed are filled in, of the last day those in which something happened; the present comes first, two at
        a tick."""
        hours = "".join(request("shop", f"{H} - interval '{h} hours'") for h in (0, 3, 9, 22, 23, 24, 30))
        db = self.database(load("logs") + hours)
        self.worker(db)
        self.wait_value("five hours", f"select string_agg((extract(epoch from {H} - window_start) / 3600)::int::text, ' ' order by id) from "
                        "client_pressure_snapshot_runs where status = 'completed'", db, "23 0 22 9 3")

    def test_used_up_clients_are_left_out(self):
        """A client over 0.80 is named and left out, also when only one of several processes is so; an old load says nothing."""
        db = self.database(load("logs") + load("Shop", 9) + load("shop", 1) + load("calm", 8) + load("late", 10, age="21 minutes") +
                           load("late", 1, age="5 s") + "".join(request(c) + operation(c, "'t'") for c in ("shop", "calm", "late", "new")))
        self.worker(db)
        self.wait_hour(db)
        self.assertEqual(self.sql("select client_name, saturation_ratio from client_pressure_snapshots order by 1", db), "calm|0.8\nlate|0.1\nnew|")
        self.assertEqual(self.sql("select string_agg(client_name, ' ' order by client_name) from client_table_pressure_snapshots", db), "calm late new")
        self.near(self.row("select meta from client_pressure_snapshot_runs", db)["meta"], client_count=3, skipped_clients_due_to_saturation=["shop"])

    # ---- when it is left

    def skipped(self, db):
        return self.sql("select string_agg(skip_reason, ' ' order by recorded_at, id) from client_pressure_snapshot_runs where status = 'skipped_load_shed'", db)

    def test_reasons_to_skip(self):
        """21.35: each reason, in one row per hour that counts how often; nothing is worked out meanwhile. When the reason is gone it is."""
        db = self.database(request("shop") + load("shop"))
        self.worker(db)
        self.wait_value("no load", "select skip_reason from client_pressure_snapshot_runs where (meta->>'times')::int > 2", db, "missing_load_snapshot")
        self.sql(load("logs", 1, age="21 minutes"), db)
        self.wait_value("an old one", "select count(*) from client_pressure_snapshot_runs where skip_reason = 'stale_load_snapshot'", db, "1")
        self.sql("truncate client_connections;" + load("Logs", 61, 100), db)
        self.wait_value("a full one", "select logging_saturation_ratio from client_pressure_snapshot_runs where skip_reason = 'logging_saturation_high'",
                        db, "0.61")
        self.assertEqual(self.skipped(db), "missing_load_snapshot stale_load_snapshot logging_saturation_high")
        self.assertEqual(self.sql("select count(*) from client_pressure_snapshots", db), "0")
        self.sql("begin; truncate client_connections;" + load("logs", 60, 100) +
                 "insert into client_pressure_snapshot_runs (recorded_at, window_start, window_end, status, pool_timeout_like_failure) "
                 f"select now() + interval '1 s', {H}, {H}, 'failed', true; commit", db)
        self.wait_hour(db)
        self.assertIn("prior_pool_timeout_like_failure", self.skipped(db))
        self.assertEqual(self.sql("select count(*) from client_pressure_snapshot_runs where skip_reason is not null", db), "4")

    def test_integers_of_any_width(self):
        """D-65, D-39: the counters of pools are integers in the shipped tables and may be bigint, smallint or numeric in others."""
        for kind in ("smallint", "bigint", "numeric"):
            db = self.database("".join(f"alter table client_connections alter {c} type {kind};" for c in (
                "pool_size", "idle_connections", "active_connections", "max_connections")) + load("logs", 3) + load("shop", 2) + request("shop"))
            self.worker(db)
            self.wait_hour(db)
            self.assertEqual(self.sql("select logging_saturation_ratio, saturation_ratio from client_pressure_snapshot_runs r "
                                      "join client_pressure_snapshots s on s.run_id = r.id", db), "0.3|0.2", kind)

    def test_a_failure_is_a_run(self):
        """What fails is written down with its words, in one row; the request fails with it; the next tick works again."""
        db = self.database(load("logs") + request("shop") + "alter table gateway_operation_log rename to gone;"
                           "insert into client_pressure_backfill_requests (hours_back) values (2);")
        self.worker(db)
        self.wait_value("it is a run", "select distinct collection_error from client_pressure_snapshot_runs where status = 'failed'",
                        db, 'relation "gateway_operation_log" does not exist')
        self.wait_value("the request has failed", "select status, error_message, completed_at is not null from client_pressure_backfill_requests", db,
                        'failed|relation "gateway_operation_log" does not exist|t')
        self.wait_value("it is one row of each hour", "select count(*) - count(distinct window_start), max((meta->>'times')::int) > 1 from "
                        "client_pressure_snapshot_runs", db, "0|t")
        self.assertEqual(self.sql("select count(*) from client_pressure_snapshots", db), "0")
        self.sql("alter table gone rename to gateway_operation_log", db)
        self.wait_hour(db)

    # ---- requests

    def test_requests_are_clamped(self):
        """21.35: hours_back 0 is 1, 9999 is 720, nothing is 24; what the worker makes of it is what the route shows."""
        server = self.server(self.database())
        for body, want in ((None, 24), ({}, 24), ({"hours_back": 0}, 1), ({"hours_back": 9999}, 720), ({"hours_back": 5}, 5)):
            answer = server.request("POST", "/admin/clients/pressure/backfill", body, {**ADMIN, "content-type": "application/json"})
            self.assertEqual((answer.status, answer.json["data"]["request"]["hours_back"], answer.json["data"]["request"]["status"]), (202, want, "pending"))

    def test_a_request_fills_in(self):
        """Its hours, whether something happened in them or not; two a tick, so it waits again in between; older requests first."""
        db = self.database(load("logs") + request("shop", f"{H} - interval '40 hours'") + request("shop") +
                           "create table seen (status text, claimed boolean);"
                           "create function note() returns trigger language plpgsql as $$ begin insert into seen values (new.status, "
                           "new.claimed_at is not null); return null; end $$;"
                           "create trigger note after update on client_pressure_backfill_requests for each row execute function note();")
        self.server(db).request("POST", "/admin/clients/pressure/backfill", {"hours_back": 44}, {**ADMIN, "content-type": "application/json"})
        self.worker(db, "100ms")
        self.wait_value("it is done", "select status, error_message, claimed_at is not null, completed_at >= claimed_at from "
                        "client_pressure_backfill_requests", db, "completed||t|t", 60)
        self.assertEqual(self.sql(f"select count(*), count(distinct window_start), min(window_start) = {H} - interval '43 hours', max(window_start) = {H} "
                                  "from client_pressure_snapshot_runs where status = 'completed'", db), "44|44|t|t")
        self.assertEqual(self.sql("select count(*) from client_pressure_snapshots", db), "2")
        self.assertEqual(self.sql("select status, claimed, count(*) from seen group by 1, 2 order by 1, 2", db),
                         "completed|t|1\npending|f|21\nprocessing|t|22")

    def test_a_left_request_is_taken_again(self):
        """D-66, D-39: what a process left that is no more is claimed again after ten minutes, and not before."""
        db = self.database(load("logs") + "insert into client_pressure_backfill_requests (hours_back, status, requested_at, claimed_at) values "
                           "(1, 'processing', now() - interval '2 hours', now() - interval '11 minutes'), "
                           "(1, 'processing', now() - interval '2 hours', now() - interval '9 minutes');")
        self.worker(db)
        self.wait_value("the old one is done", "select status from client_pressure_backfill_requests where id = 1", db, "completed")
        self.sql("insert into client_pressure_backfill_requests (hours_back) values (1)", db)
        self.wait_value("a later one, too", "select status from client_pressure_backfill_requests where id = 3", db, "completed")
        self.assertEqual(self.sql("select status from client_pressure_backfill_requests where id = 2", db), "processing")

    # ---- plans

    def query(self, text, client="shop", ms="1000", status="200"):
        return operation(client, "null", ms=ms, status=status, details=f"jsonb_build_object('query', $q${text}$q$)")

    def test_plans(self):
        """The most expensive of the slow statements that are safe to plan counts for 15 %; none is run, none may write."""
        db = self.database(load("logs", 1) + load("shop", 4) + EXAMPLE + "".join(self.query(q) for q in (
            "select * from big where k = 3", "SELECT 1", "select runs()", "select * from nowhere", "select 1; delete from big", "delete from big",
            "with x as (delete from big returning *) select * from x", "select i from big where i = $1")) +
            self.query("select * from big a, big b", status="500"))
        self.worker(db)
        self.wait_hour(db)
        plan = json.loads(self.sql("explain (format json) with x as (delete from big returning *) select * from x", "app"))
        cost = plan[0]["Plan"]["Total Cost"]
        row = self.row(f"select * from client_pressure_snapshots where window_start = {H}", db)
        score = self.sql(f"select 100 * least(log({cost}::numeric + 1) / 5, 1)", db)
        self.near(row, planner_enrichment_attempted=True, planner_enrichment_applied=True, planner_enrichment_skipped_reason=None, observed_only=False,
                  planner_score=float(score), pressure_score=0.85 * 92.56659663865547 + 0.15 * float(score))
        self.assertEqual(row["meta"]["explain_total_cost"], cost)
        self.assertEqual(self.sql("select (select count(*) from ran), (select count(*) from big)", "app"), "0|50000")

    def test_why_there_is_no_plan(self):
        """Each reason; none of them fails the hour."""
        clients = {"shop": "select * from nowhere", "nobody": "select 1", "away": "select 1", "calm": "select 1", "logs": "select 1;"}
        db = self.database(load("logs") + load("shop") + load("nobody") + load("away") + load("calm", 5) +
                           "".join(request(c) + self.query(q, c) for c, q in clients.items()) + request("new") + self.query("select 1", "new"))
        self.worker(db)
        self.wait_hour(db)
        rows = dict(line.split("|", 1) for line in self.sql(
            "select client_name, planner_enrichment_attempted, planner_enrichment_skipped_reason from client_pressure_snapshots", db).split("\n"))
        self.assertEqual(rows, {"shop": "t|target_explain_failed", "nobody": "t|client_target_missing", "away": "t|client_uri_unavailable",
                                "calm": "f|load_shed", "new": "f|load_shed", "logs": "t|no_safe_sample_queries"})

    def test_a_busy_control_plane_is_asked_for_no_plans(self):
        db = self.database(load("logs", 5) + load("shop", 1) + request("shop") + self.query("select 1"))
        self.worker(db)
        self.wait_hour(db)
        self.assertEqual(self.sql("select planner_enrichment_attempted, planner_enrichment_skipped_reason, planner_score from client_pressure_snapshots",
                                  db), "f|load_shed|")

    # ---- processes

    def test_one_runner(self):
        """D-66, D-68: of several processes one works, so there is one set of rows; when it is killed another one goes on."""
        db = self.database(load("logs") + "".join(request("shop", f"{H} - interval '{h} hours'") for h in range(10)))
        first = self.worker(db)
        self.wait_hour(db)
        second = self.worker(db)
        self.wait_value("ten hours", "select count(*), count(distinct window_start) from client_pressure_snapshot_runs where status = 'completed'",
                        db, "10|10")
        self.wait_value("both show", "select count(*) from daemon_runtime_registry where runtime_kind = 'athena_client_pressure_worker' and "
                        "last_seen_at > now() - interval '40 s'", db, "2")
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        self.sql(f"delete from client_pressure_snapshot_runs where window_start = {H}", db)
        self.wait_hour(db)
        self.assertEqual(self.sql("select count(*), count(distinct window_start) from client_pressure_snapshot_runs", db), "10|10")
        self.assertIsNone(second.process.poll())

    def test_never_in_a_serving_process(self):
        """jobs 1.2: a serving process runs it not, whatever plugins it loads."""
        db = self.database(load("logs") + request("shop"))
        config = self.config(db, ("routes-meta", "worker-upkeep", "worker-pressure"),
                             "worker-pressure:\n  every: 100ms\nworker-upkeep:\n  reconnect_every: 100ms\n")
        server = self.lab.athena({}, config=config)
        self.addCleanup(server.stop)
        wait_for("others run", 20, lambda: 'athena_worker_ticks_total{worker="registry_reconnect_worker",outcome="ok"} 9' in server.get("/metrics").body)
        self.assertNotIn("client_pressure_worker", server.get("/metrics").body)
        self.assertEqual(self.sql("select count(*) from client_pressure_snapshot_runs", db), "0")


if __name__ == "__main__":
    unittest.main()
