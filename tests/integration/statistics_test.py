#!/usr/bin/env python3
"""Statistics of clients: counted once, exactly, never lowered; and the other numbers that operators read of clients."""
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import unittest
from urllib.parse import quote

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from control_plane import make_statistics  # noqa: E402
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402

ADMIN = {"x-athena-key": ADMIN_KEY}
MISS = "(cached is false or cache_lookup_outcome in ('miss_all_tiers', 'miss_after_redis_get_error', 'miss_after_redis_get_timeout'))"
# The published definition, over the whole log.
WANT_CLIENTS = """select client, count(*), count(*) filter (where status_code between 200 and 399), count(*) filter (where status_code >= 400),
  count(*) filter (where cached), coalesce((select count(*) from gateway_operation_log o where o.client = r.client), 0),
  avg(duration_ms)::float8, percentile_cont(0.5) within group (order by duration_ms), percentile_cont(0.95) within group (order by duration_ms),
  percentile_cont(0.99) within group (order by duration_ms), count(*) filter (where cached)::float8 / count(*), max(created_at),
  (select max(created_at) from gateway_operation_log o where o.client = r.client)
  from gateway_request_log r where client <> '' and octet_length(client) < 2000 group by client"""
GOT_CLIENTS = """select client_name, total_requests, successful_requests, failed_requests, total_cached_requests, total_operations, avg_request_duration_ms,
  p50_request_duration_ms, p95_request_duration_ms, p99_request_duration_ms, cache_hit_ratio, last_request_at, last_operation_at from client_statistics"""
WANT_TABLES = f"""select client, table_name, operation, count(*), count(*) filter (where error or status_code >= 400), avg(duration_ms)::float8,
  percentile_cont(0.5) within group (order by duration_ms), percentile_cont(0.95) within group (order by duration_ms),
  percentile_cont(0.99) within group (order by duration_ms), count(*) filter (where cached), count(*) filter (where {MISS}),
  count(*) filter (where cached)::float8 / count(*), max(created_at)
  from gateway_operation_log where client <> '' and table_name <> '' and operation <> '' and octet_length(table_name) < 2000 group by 1, 2, 3"""
GOT_TABLES = """select client_name, table_name, operation, total_operations, error_operations, avg_duration_ms, p50_duration_ms, p95_duration_ms,
  p99_duration_ms, total_cache_hits, total_cache_misses, cache_hit_ratio, last_operation_at from client_table_statistics"""


def rows(n, seed, first_day=1, days=5):
    """Random rows of both logs: nulls everywhere, odd names, names that differ in case."""
    return f"""select setseed({seed % 1000 / 1000.0});
insert into gateway_request_log (created_at, request_id, client, status_code, cached, duration_ms)
  select timestamptz '2026-01-0{first_day}' + random() * {days} * interval '1 day', gen_random_uuid()::text,
    (array['gold', 'Gold', 'shop', 'sh"op', 'o''dd %\\name', 'ünï', '', null, 'rare'])[1 + floor(9 * random() * random())::int],
    (array[200, 200, 201, 302, 0, 404, 500, null])[1 + floor(8 * random())::int], (array[true, false, null])[1 + floor(3 * random())::int],
    case when random() < 0.9 then floor(exp(random() * 9)) end from generate_series(1, {n});
insert into gateway_operation_log (created_at, request_id, client, table_name, operation, status_code, error, cached, cache_lookup_outcome, duration_ms, details)
  select timestamptz '2026-01-0{first_day}' + random() * {days} * interval '1 day', gen_random_uuid()::text,
    (array['gold', 'Gold', 'shop', 'sh"op', '', null])[1 + floor(6 * random() * random())::int],
    (array['orders', 'Orders', 'we"ird', 'x y', '', null, repeat('x', 3000)])[1 + floor(7 * random() * random())::int],
    (array['fetch', 'FETCH', 'insert', '', null])[1 + floor(5 * random() * random())::int],
    (array[200, 200, 200, 404, null])[1 + floor(5 * random())::int], (array[true, false, false, null])[1 + floor(4 * random())::int],
    (array[true, false, null])[1 + floor(3 * random())::int], (array['miss_all_tiers', 'hit_local', 'miss_after_redis_get_error', null])[1 + floor(4 * random())::int],
    case when random() < 0.9 then floor(exp(random() * 9)) end, '{{"row_count":3}}' from generate_series(1, {n});
"""


class StatisticsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg, cls.n = cls.lab.postgres(), 0

    def control(self, partitioned=False, ours=True):
        """A control plane of its own; its name."""
        StatisticsTest.n += 1
        name = f"control{self.n}"
        self.pg.run(f"create database {name}")
        make_statistics(self.pg, name, partitioned, ours)
        self.pg.run("insert into athena_clients (client_name) values ('shop'), ('gold')", name)
        return name

    def server(self, control, **kw):
        return self.lab.athena({"control": self.pg.uri(control)}, plugins=("routes-meta", "routes-admin-clients"), more="schema:\n  bootstrap: off\n",
                               env={"ATHENA_GATEWAY_LOGGING_CLIENT": "control"}, **kw)

    def refresh(self, server, query="", status=200):
        a = server.request("POST", f"/admin/clients/statistics/refresh{query}", None, ADMIN, timeout=120)
        self.assertEqual(a.status, status, a.body)
        return a.json

    def same(self, control, got, want):
        """The rows of two queries are the same, nulls and digits too."""
        left = self.pg.run(f"(({got}) except ({want}))", control), self.pg.run(f"(({want}) except ({got}))", control)
        self.assertEqual(left, ("", ""))

    def same_as_the_logs(self, control):
        self.same(control, GOT_CLIENTS, WANT_CLIENTS)
        self.same(control, GOT_TABLES, WANT_TABLES)

    # ---- exact ----

    def exact(self, partitioned):
        control = self.control(partitioned)
        server = self.server(control)
        for seed in range(4):
            self.pg.run(rows(4000, seed), control)
            self.refresh(server)
            self.same_as_the_logs(control)
        shown = {s["client_name"]: s for s in self.refresh(server)["data"]["statistics"]}
        for line in self.pg.run(f"select row_to_json(w) from ({WANT_CLIENTS}) w (a, b, c, d, e, f, g, h, i, j, k, l, m)", control).splitlines():
            want = list(json.loads(line).values())
            got = shown[want[0]]
            self.assertEqual([got[k] for k in ("total_requests", "successful_requests", "failed_requests", "total_cached_requests", "total_operations",
                                               "avg_request_duration_ms", "p50_request_duration_ms", "p95_request_duration_ms",
                                               "p99_request_duration_ms", "cache_hit_ratio")], want[1:11])
        self.refresh(server, "?rebuild=true")
        self.same_as_the_logs(control)
        return server, control

    def test_numbers_are_those_of_plain_aggregates(self):
        server, _ = self.exact(False)
        lists = server.get("/admin/clients/statistics", ADMIN).json["data"]["statistics"]
        self.assertEqual([s["client_name"] for s in lists],
                         [s["client_name"] for s in sorted(lists, key=lambda s: (-s["total_requests"], s["client_name"].lower(), s["client_name"]))])
        one = server.get("/admin/clients/GOLD/statistics", ADMIN).json["data"]
        self.assertIn(one["statistics"]["client_name"], ("gold", "Gold"))
        self.assertEqual({t["client_name"] for t in one["tables"]}, {"gold", "Gold"})
        self.assertEqual(server.get("/admin/clients/Gold/statistics", ADMIN).json["data"]["statistics"]["client_name"], "Gold")
        self.assertEqual(server.get("/admin/clients/sh%22op/statistics", ADMIN).status, 200)

    def test_numbers_are_the_same_where_the_logs_are_partitioned(self):
        self.exact(True)

    def test_invented_names_are_no_statistics(self):
        """20.8, D9: neither an empty name nor whatever a caller sends becomes a row."""
        control = self.control()
        server = self.server(control)
        self.pg.run("""insert into gateway_request_log (created_at, request_id, client, status_code) values
          ('2026-01-01', 'a', 'made up', 400), ('2026-01-01', 'b', '', 200), ('2026-01-01', 'c', 'shop', 503), ('2026-01-01', 'd', 'gone', 200);
          insert into gateway_operation_log (created_at, request_id, client, table_name, operation) values ('2026-01-01', 'a', 'made up', 't', 'fetch')""", control)
        self.assertEqual([s["client_name"] for s in self.refresh(server)["data"]["statistics"]], ["gone", "shop"])
        self.pg.run("insert into athena_clients (client_name) values ('made up')", control)
        self.assertEqual([s["client_name"] for s in self.refresh(server)["data"]["statistics"]], ["gone", "made up", "shop"])
        self.assertEqual(len(server.get("/admin/clients/made%20up/statistics", ADMIN).json["data"]["tables"]), 1)

    # ---- never lowered ----

    def test_a_restart_and_a_rebuild_lower_nothing(self):
        """20.8, D4: totals outlive restarts, retention and rebuilds; averages are of what the log holds."""
        control = self.control()
        self.pg.run("insert into client_statistics (client_name, total_requests, successful_requests) values ('idle', 5, 4), ('gold', 1000000, 900000)", control)
        self.pg.run(rows(500, 7), control)
        server = self.server(control)
        self.refresh(server)
        before = server.get("/admin/clients/statistics", ADMIN).json["data"]["statistics"]
        self.assertEqual(server.stop(), 0)
        server = self.server(control)
        self.assertEqual(server.get("/admin/clients/statistics", ADMIN).json["data"]["statistics"], before)
        self.pg.run("delete from gateway_request_log where id % 2 = 0; delete from gateway_operation_log where id % 2 = 0", control)
        for query in ("", "?rebuild=true"):
            after = {s["client_name"]: s for s in self.refresh(server, query)["data"]["statistics"]}
            for s in before:
                for total in ("total_requests", "successful_requests", "failed_requests", "total_cached_requests", "total_operations"):
                    self.assertGreaterEqual(after[s["client_name"]][total], s[total])
        self.assertEqual((after["idle"]["total_requests"], after["gold"]["total_requests"]), (5, 1000000))
        averages = "select client_name, avg_request_duration_ms, p99_request_duration_ms from client_statistics where client_name <> 'idle'"
        self.same(control, averages, "select client, avg(duration_ms)::float8, percentile_cont(0.99) within group (order by duration_ms) "
                                     "from gateway_request_log where client <> '' group by 1")

    def test_rows_of_the_last_seconds_are_left_to_live_deltas(self):
        """20.8: who counts a request as it ends and who recounts the log do not count it twice."""
        control = self.control()
        server = self.server(control)
        self.pg.run("insert into gateway_request_log (created_at, request_id, client, status_code, duration_ms) values ('2026-01-01', 'a', 'shop', 200, 4), "
                    "(now(), 'b', 'shop', 200, 8); insert into client_statistics (client_name, total_requests) values ('shop', 1)", control)
        shop = self.refresh(server)["data"]["statistics"][0]
        self.assertEqual((shop["total_requests"], shop["avg_request_duration_ms"]), (1, 6.0))
        self.pg.run("update client_statistics set total_requests = total_requests + 1", control)  # the delta comes
        self.assertEqual(self.refresh(server)["data"]["statistics"][0]["total_requests"], 2)
        self.pg.run("update client_statistics set total_requests = 1", control)  # it never came
        self.pg.run("update gateway_request_log set created_at = created_at - interval '11 seconds' where request_id = 'b'", control)
        self.assertEqual(self.refresh(server)["data"]["statistics"][0]["total_requests"], 2)

    # ---- while others write ----

    def write(self, control, stop, seed):
        """One writer: transactions that last a while, of which some are rolled back."""
        rnd = random.Random(seed)
        while not stop.is_set():
            n, client = rnd.randint(1, 20), rnd.choice(["gold", "shop", "Gold"])
            self.psql(control, f"""begin;
              insert into gateway_request_log (created_at, request_id, client, status_code, duration_ms)
                select '2026-01-02', g::text, '{client}', 200, (random() * 1000)::int from generate_series(1, {n}) g;
              insert into gateway_operation_log (created_at, request_id, client, table_name, operation, duration_ms)
                select '2026-01-02', g::text, '{client}', 't', 'fetch', (random() * 1000)::int from generate_series(1, {n}) g;
              select pg_sleep({rnd.random() * 0.1});
              insert into gateway_request_log (created_at, request_id, client, status_code) values ('2026-01-02', 'last', '{client}', 500);
              {rnd.choice(['commit', 'commit', 'rollback'])};""")

    def psql(self, control, sql):
        subprocess.run([f"{self.pg.bin}/psql", "-X", "-q", "-h", self.pg.folder, "-U", "postgres", "-d", control], input=sql, text=True,
                       capture_output=True, check=True)

    def test_nothing_is_lost_or_counted_twice_while_others_write(self):
        control = self.control()
        stop, servers = threading.Event(), [self.server(control) for _ in range(2)]
        writers = [threading.Thread(target=self.write, args=(control, stop, seed)) for seed in range(8)]
        for w in writers:
            w.start()
        try:
            for turn in range(6):
                for s in servers:  # each folds; one of them is killed in the middle of it
                    folder = threading.Thread(target=lambda s=s: self.refresh_or_not(s))
                    folder.start()
                    if turn == 3 and s is servers[0]:
                        time.sleep(0.03)
                        s.process.send_signal(signal.SIGKILL)
                        s.process.wait()
                    folder.join()
                if turn == 3:
                    servers[0] = self.server(control)
        finally:
            stop.set()
            for w in writers:
                w.join()
        for s in servers:
            self.refresh(s)
        self.same_as_the_logs(control)

    @staticmethod
    def refresh_or_not(server):
        try:
            server.request("POST", "/admin/clients/statistics/refresh", None, ADMIN, timeout=60)
        except OSError:
            pass

    def test_who_writes_for_too_long_is_waited_for_a_while_only(self):
        control = self.control()
        server = self.server(control)
        with subprocess.Popen([f"{self.pg.bin}/psql", "-X", "-q", "-h", self.pg.folder, "-U", "postgres", "-d", control], stdin=subprocess.PIPE, text=True) as p:
            p.stdin.write("begin; insert into gateway_request_log (created_at, request_id, client, status_code) values ('2026-01-01', 'a', 'shop', 200);\n")
            p.stdin.flush()
            wait_for("the transaction is open", 5, lambda: "t" in self.pg.run("select count(*) > 0 from pg_locks where mode = 'RowExclusiveLock' and pid <> pg_backend_pid()", control))
            self.pg.run("insert into gateway_request_log (created_at, request_id, client, status_code) values ('2026-01-01', 'b', 'shop', 200)", control)
            self.assertIn("writing to the logs", self.refresh(server, status=503)["error"])
            p.stdin.write("commit;\n")
        self.assertEqual(self.refresh(server)["data"]["statistics"][0]["total_requests"], 2)

    # ---- drilldown ----

    def drill(self, server, expect=200, client="gold", **query):
        text = "&".join(f"{k}={quote(str(v))}" for k, v in query.items())
        a = server.get(f"/admin/clients/{quote(client)}/statistics/drilldown?{text}", ADMIN)
        self.assertEqual(a.status, expect, a.body)
        return a.json

    def pages(self, server, control, key, turns=6):
        failed = "(error is true or coalesce(status_code, 0) >= 400)"
        filters = {"all": "true", "errors": failed, "normal": f"not {failed}", "NORMAL": f"not {failed}"}
        for turn in range(turns):
            rnd = random.Random(turn)
            status, limit = rnd.choice(list(filters)), rnd.choice([1, 7, 100, 500])
            of = f"lower(client) = lower('{key[0]}') and lower(table_name) = '{key[1]}' and lower(operation) = '{key[2]}' and {filters[status]}"
            total = int(self.pg.run(f"select count(*) from gateway_operation_log where {of}", control))
            for offset in (0, rnd.randint(0, total), max(0, total - 3), total, total + 5, 10 ** 18):
                want = self.pg.run(f"select request_id from gateway_operation_log where {of} order by created_at desc, id desc limit {limit} offset {offset}", control)
                got = self.drill(server, client=key[0], table_name=key[1], operation=key[2], status=status, limit=limit, offset=offset)["data"]["rows"]
                self.assertEqual([r["request_id"] for r in got], want.split(), (status, limit, offset, total))

    def drilldown(self, partitioned, ours):
        control = self.control(partitioned, ours)
        self.pg.run(rows(30000, 3), control)
        self.pg.run("update gateway_operation_log set created_at = date_trunc('minute', created_at) where id % 3 = 0", control)  # many at the same time
        server = self.server(control)
        if ours:
            self.refresh(server)
        self.pages(server, control, ("GOLD", "orders", "fetch"))
        self.pg.run(rows(3000, 5, first_day=2), control)  # not folded yet
        self.pages(server, control, ("gold", "orders", "fetch"))
        self.pages(server, control, ("sh\"op", "we\"ird", "insert"), 2)

    def test_pages_are_those_of_plain_sql(self):
        """D6: by keyset inside, by offset outside."""
        self.drilldown(partitioned=False, ours=True)

    def test_pages_of_a_partitioned_log(self):
        self.drilldown(partitioned=True, ours=True)

    def test_pages_without_the_counts(self):
        self.drilldown(partitioned=False, ours=False)

    def test_a_row_of_a_page(self):
        control = self.control()
        server = self.server(control)
        self.pg.run("""insert into gateway_operation_log (created_at, request_id, client, table_name, operation, method, path, status_code, duration_ms, time,
          details, error, message, cache_key) values ('2026-01-05T10:00:03.1Z', 'r', 'gold', 'orders', 'fetch', 'POST', '/x', 400, 4, 1767607203,
          '{"a": [1]}', true, 'no', 'k')""", control)
        self.assertEqual(self.drill(server, table_name=" orders ", operation="fetch", status=" Errors ")["data"], {
            "client_name": "gold", "table_name": "orders", "operation": "fetch", "status": "Errors", "limit": 100, "offset": 0, "rows": [{
                "created_at": "2026-01-05T10:00:03.100Z", "request_id": "r", "operation": "fetch", "table_name": "orders", "client_name": "gold",
                "method": "POST", "path": "/x", "status_code": 400, "duration_ms": 4, "operation_time_ms": 1767607203.0, "details": {"a": [1]},
                "error": True, "message": "no", "cache_key": "k"}]})
        self.assertEqual(self.drill(server, table_name="orders", operation="x" * 3000, status="normal")["data"]["rows"], [])

    # ---- refusals ----

    def test_refusals(self):
        control = self.control()
        server = self.server(control)
        for method, path in (("GET", "/statistics"), ("POST", "/statistics/refresh"), ("GET", "/gold/statistics"), ("GET", "/gold/statistics/drilldown"),
                             ("GET", "/pressure"), ("GET", "/gold/pressure"), ("POST", "/pressure/backfill"), ("GET", "/gold/table-row-estimates"),
                             ("GET", "/gold/query-optimizations"), ("GET", "/gold/query-optimizations/runs")):
            for headers in ({}, {"x-athena-key": "wrong"}):
                self.assertEqual(server.request(method, f"/admin/clients{path}", None, headers).status, 401, path)
        for query in ({"operation": "fetch"}, {"table_name": "t"}, {"table_name": " ", "operation": "fetch"}, {"table_name": "t", "operation": "fetch", "status": "x"},
                      {"table_name": "t", "operation": "fetch", "limit": "x"}, {"table_name": "t", "operation": "fetch", "offset": "1.5"}):
            self.drill(server, 400, **query)
        self.refresh(server, "?rebuild=yes", status=400)
        self.assertEqual(server.get("/admin/clients/nobody/statistics", ADMIN).json["error"], "No statistics exist for 'nobody'.")
        self.assertEqual(server.get("/admin/clients/%20/statistics", ADMIN).status, 400)
        self.assertEqual(server.get("/admin/clients/gold/table-row-estimates?include_system_schemas=1", ADMIN).status, 400)
        self.assertEqual(server.get("/admin/clients/gold/query-optimizations?status=closed", ADMIN).status, 400)
        for path in ("/pressure", "/gold/query-optimizations"):  # nobody made these tables here
            self.assertEqual(server.get(f"/admin/clients{path}", ADMIN).status, 500)

    def test_without_the_tables_of_the_fold(self):
        control = self.control(ours=False)
        server = self.server(control)
        self.assertIn("athena_log_folds", self.refresh(server, status=500)["error"])
        self.assertEqual(server.get("/admin/clients/statistics", ADMIN).status, 200)

    def test_without_a_control_plane(self):
        server = self.lab.athena({}, plugins=("routes-meta", "routes-admin-clients"), env={"ATHENA_ALLOW_START_WITHOUT_POSTGRES": "true"})
        away = self.server("nowhere", wait=True)
        for s, words in ((server, "No athena_logging client is configured."), (away, "Logging client 'control' is not connected.")):
            for method, path in (("GET", "/statistics"), ("POST", "/statistics/refresh"), ("GET", "/gold/statistics"),
                                 ("GET", "/gold/statistics/drilldown?table_name=t&operation=fetch&offset=5000"), ("GET", "/gold/pressure"),
                                 ("GET", "/gold/table-row-estimates"), ("GET", "/gold/query-optimizations/runs")):
                a = s.request(method, f"/admin/clients{path}", None, ADMIN)
                self.assertEqual((a.status, a.json["message"], a.json["error"]), (503, "Client catalog unavailable", words), path)

    # ---- sizes of tables ----

    def test_estimates(self):
        control = self.control()
        self.pg.run("create database tenant")
        self.pg.run("""create table small as select 1 as id; create table empty_log (id int); create schema sales; create table sales.page_logs as select g from generate_series(1, 120000) g;
          create table parts (id int) partition by range (id); create table parts_1 partition of parts for values from (0) to (10);
          create table parts_2 partition of parts for values from (10) to (100); insert into parts select generate_series(0, 99); create view v as select 1;
          analyze""", "tenant")
        self.pg.run("insert into athena_clients (client_name) values ('tenant'), ('ghost'), ('CONTROL')", control)
        self.pg.run(rows(30000, 1), control)
        self.pg.run("analyze", control)
        server = self.lab.athena({"control": self.pg.uri(control), "tenant": self.pg.uri("tenant")}, plugins=("routes-meta", "routes-admin-clients"), more="schema:\n  bootstrap: off\n",
                                 env={"ATHENA_GATEWAY_LOGGING_CLIENT": "control"})

        def ask(name, query="", **headers):
            return server.get(f"/admin/clients/{name}/table-row-estimates{query}", {**ADMIN, **{k.replace("_", "-"): v for k, v in headers.items()}})
        first, again, fresh = ask("tenant"), ask("tenant"), ask("tenant", cache_control="max-age=0, No-Cache")
        outcomes = [tuple(a.headers.get(f"x-athena-cache{k}") for k in ("d", "-outcome", "-source")) for a in (first, again, fresh)]
        self.assertEqual(outcomes, [("false", "miss_all_tiers", "database"), ("true", "hit_local_raw", "local"), ("false", "bypass_no_cache_header", "database")])
        self.assertEqual(first.body, again.body)
        self.assertEqual(first.headers["x-athena-cache-key"], again.headers["x-athena-cache-id"])
        self.assertRegex(first.headers["x-athena-cache-key"], "^admin_table_row_estimates:[0-9a-f]{64}$")
        data = first.json["data"]
        self.assertEqual((data["client_name"], data["schema"], data["limit"], data["include_system_schemas"]), ("tenant", None, 12, False))
        sizes = [(t["qualified_table_name"], t["estimated_rows"]) for t in data["snapshot"]["top_tables"]]
        self.assertEqual(sizes, [("sales.page_logs", 120000), ("public.parts", 100), ("public.small", 1), ("public.empty_log", 0)])
        self.assertEqual(data["snapshot"]["summary"], {"table_count": 4, "nonzero_table_count": 3, "estimated_total_rows": 120101, "max_estimated_rows": 120000,
                                                       "max_table_name": "page_logs", "max_qualified_table_name": "sales.page_logs"})
        self.assertEqual([(a["code"], a["severity"], a["share_of_estimated_total_pct"]) for a in data["snapshot"]["advisories"]], [("log-like-table-growth", "warn", 99.9)])
        self.assertEqual([b["table_count"] for b in data["snapshot"]["buckets"]], [1, 2, 0, 0, 1, 0, 0])
        self.assertEqual(ask("tenant", "?schema=sales&limit=0").json["data"]["snapshot"]["schema_rollups"], [{"schema_name": "sales", "table_count": 1, "estimated_rows": 120000}])
        self.assertGreater(ask("tenant", "?include_system_schemas=true").json["data"]["snapshot"]["summary"]["table_count"], 50)
        advice = ask("control").json["data"]["snapshot"]["advisories"][0]
        self.assertEqual((advice["code"], advice["severity"], advice["config_key"], advice["config_default_seconds"], advice["affected_estimated_rows"]),
                         ("gateway-log-retention", "critical", "gateway.log_retention_secs", 1209600, 60000))
        self.assertEqual(ask("Tenant").json["data"]["client_name"], "Tenant")
        self.assertEqual(ask("nobody").status, 404)
        ghost = ask("ghost")
        self.assertEqual((ghost.status, ghost.json["message"]), (503, "Postgres client not connected"))


if __name__ == "__main__":
    unittest.main()
