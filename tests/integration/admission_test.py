#!/usr/bin/env python3
"""Admission and rate limits in real servers: windows in memory and in a real Redis, shared by loops and processes; what happens when
Redis goes; the rows of refusals; rate groups of addresses; what an answer says that it cost."""
import json
import os
import re
import signal
import sys
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402

ADMIN = {"x-athena-key": ADMIN_KEY}
APP = {**ADMIN, "x-athena-client": "app", "content-type": "application/json"}
FETCH = {"table_name": "item", "columns": ["id"], "limit": 1}
LIMITED = '{"status":"error","message":"Too Many Requests","error":"Request rate exceeded gateway admission limit"}'
LOST = ('{"code":"admission_store_unavailable","error":"Admission store backend is unavailable. Retry shortly.",'
        '"message":"Admission limiter unavailable","status":"error"}')
RATE = '{"error":"Rate limit exceeded","message":"Too many requests; try again later."}'
HOUR = 3600
PLUGINS = ("routes-meta, routes-gateway, routes-query, routes-public, routes-admin-ops, routes-admin-clients, routes-admin-keys, routes-deferred, "
           "sink-file, sink-postgres")
PUBLIC = """create table if not exists public_gateway_routes (id bigint generated always as identity primary key, route_key text not null,
  client_name text not null, target_url text, allowed_ops text[] not null, is_active boolean not null default true,
  metadata jsonb not null default '{}', deleted_at timestamptz);
insert into public_gateway_routes (route_key, client_name, allowed_ops) values ('shop', 'app', '{query,fetch}');"""


def setUpModule():
    """One PostgreSQL for all; the first server that has a control plane makes its tables."""
    Case.lab = Lab()
    unittest.addModuleCleanup(Case.lab.__exit__)
    Case.pg = Case.lab.postgres()
    for name in ("app", "other", "control"):
        Case.pg.run(f"create database {name}")
    for name in ("app", "other"):
        Case.pg.run("create table item (id int primary key); insert into item select generate_series(1, 3)", name)
    Case.pg.run(PUBLIC, "control")


class Case(unittest.TestCase):

    def server(self, more="", control=False, env=(), **gateway):
        lines = "".join(f"- {k}: {json.dumps(v)}\n" for k, v in gateway.items())
        config = (f"plugins: [{PLUGINS}]\nurls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\ngateway:\n- enforce_api_keys: true\n"
                  + ("- logging_client: control\n" if control else "") + lines +
                  f"server:\n  loops: 2\nsink-postgres:\n  flush_ms: 50ms\n{more}postgres_clients:\n"
                  + "".join(f"- {n}: \"{self.pg.uri(n)}\"\n" for n in ("app", "other", "control")))
        server = self.lab.athena({}, config=config, env=env)
        self.addCleanup(server.stop)
        return server

    def admission(self, window=HOUR, everybody=0, client=0, backend="memory", **kw):
        return self.server(admission_limit_enabled=True, admission_window_secs=window, admission_global_requests_per_window=everybody,
                           admission_per_client_requests_per_window=client, admission_store_backend=backend, **kw)

    def statuses(self, server, n, client="app", path="/gateway/fetch", body=FETCH, **headers):
        return [server.request("POST", path, body, {**APP, "x-athena-client": client, **headers}).status for _ in range(n)]

    def metric(self, server, name):
        found = re.search(rf"^{re.escape(name)} ([0-9.e+]+)$", server.get("/metrics").body, re.M)
        return float(found[1]) if found else None

    def logged(self, server):
        with open(f"{server.logs}/success.log") as f:
            return f.read() + server.said()

    def rows(self, columns, where="true"):
        if not self.pg.run("select to_regclass('public.gateway_admission_events')", "control").strip():
            return []  # made by the first server that has a control plane
        text = self.pg.run(f"select json_agg(v) from (select {columns} from public.gateway_admission_events where {where} order by id) v",
                           "control").strip()
        return json.loads(text) if text else []


class Memory(Case):
    def test_21_19_a_window_takes_its_number_then_429(self):
        s = self.admission(everybody=5)
        self.assertEqual(self.statuses(s, 7), [200] * 5 + [429] * 2)
        self.assertEqual(self.statuses(s, 1, client="other"), [429])
        refused = s.fetch("app", FETCH)
        self.assertEqual(refused.body, LIMITED)
        self.assertEqual(refused.headers["retry-after"], str(HOUR))
        self.assertEqual(refused.headers["content-type"], "application/json")
        self.assertEqual(self.metric(s, "athena_admission_admitted_total"), 5)
        self.assertEqual(self.metric(s, 'athena_admission_refused_total{reason="global_limit"}'), 4)

    def test_21_22_and_d_21_refusals_can_be_read_by_pages(self):
        s = self.admission(everybody=1)
        self.statuses(s, 1)
        refused = s.request("POST", "/gateway/fetch", FETCH, {**APP, "origin": "https://shop.example"})
        self.assertEqual(refused.status, 429)
        self.assertEqual(refused.headers["access-control-allow-origin"], "https://shop.example")
        self.assertIn("Retry-After", refused.headers["access-control-expose-headers"])
        self.assertIn("Origin", refused.headers["vary"])
        for name in ("x-athena-version", "x-athena-request-id", "x-athena-time"):
            self.assertIn(name, refused.headers)

    def test_what_is_no_route_counts_like_any_other(self):
        """auth.md 1: admission is for all routes; unknown paths and wrong methods are limited, too, and their refusals are rows."""
        s = self.admission(everybody=4)
        self.assertEqual([s.get(p, APP).status for p in ("/nowhere", "/gateway/fetch", "/nowhere/else")], [404, 405, 404])
        self.assertEqual(s.get("/gateway/fetch", APP).headers["allow"], "POST")
        for path in ("/nowhere", "/gateway/fetch"):
            refused = s.get(path, APP)
            self.assertEqual((refused.status, refused.body), (429, LIMITED), path)
        self.assertEqual(self.statuses(s, 1), [429])
        self.assertEqual(s.request("OPTIONS", "/nowhere", None, {}).status, 404)
        self.assertEqual(s.get("/ping").status, 200)

    def test_d_20_liveness_and_preflights_are_never_limited(self):
        s = self.admission(everybody=1)
        self.statuses(s, 2)
        for path in ("/ping", "/health", "/health/cluster", "/ready", "/metrics"):
            self.assertEqual({s.get(path).status for _ in range(3)}, {200}, path)
        asks = s.request("OPTIONS", "/gateway/fetch", None, {"origin": "https://a.example", "access-control-request-method": "POST"})
        self.assertEqual(asks.status, 200)
        self.assertEqual(self.statuses(s, 1), [429])

    def test_d_20_d_1_clients_are_counted_apart_by_their_folded_name(self):
        s = self.admission(client=3)
        self.assertEqual(self.statuses(s, 2) + self.statuses(s, 1, client=" APP "), [200] * 3)
        self.assertEqual(self.statuses(s, 1, client="App"), [429])
        self.assertEqual(self.statuses(s, 4, client="other"), [200] * 3 + [429])
        self.assertEqual(self.metric(s, 'athena_admission_refused_total{reason="client_limit"}'), 2)

    def test_d_20_names_that_nobody_knows_are_one_client(self):
        s = self.admission(client=4)
        rotated = [self.statuses(s, 1, client=f"made-up-{i}")[0] for i in range(6)]
        self.assertNotIn(429, rotated[:4])
        self.assertEqual(rotated[4:], [429, 429])
        self.assertEqual(self.statuses(s, 1), [200])

    def test_a_client_over_its_own_limit_takes_nothing_from_everybody(self):
        s = self.admission(everybody=6, client=2)
        self.assertEqual(self.statuses(s, 10), [200] * 2 + [429] * 8)
        self.assertEqual(self.statuses(s, 3, client="other"), [200] * 2 + [429])
        self.assertEqual([s.get("/", ADMIN).status for _ in range(3)], [200] * 2 + [429])

    def test_admission_comes_before_the_key(self):
        s = self.admission(everybody=2)
        wrong = {**APP, "x-athena-key": "wrong"}
        self.assertEqual([s.request("POST", "/gateway/fetch", FETCH, wrong).status for _ in range(3)][2], 429)

    def test_21_19_windows_roll(self):
        s = self.admission(window=1, everybody=3)
        began, taken, refused = time.monotonic(), 0, 0
        while time.monotonic() - began < 4:
            status = self.statuses(s, 1)[0]
            taken, refused = taken + (status == 200), refused + (status == 429)
        took = time.monotonic() - began
        self.assertGreater(refused, 0)
        self.assertGreaterEqual(taken, 6)
        self.assertLessEqual(taken, 3 * (took + 2))

    def test_d_20_loops_together_take_the_number_exactly(self):
        s = self.admission(everybody=100, client=90)
        with ThreadPoolExecutor(32) as crowd:
            got = list(crowd.map(lambda i: self.statuses(s, 1, client="app" if i % 2 else "other")[0], range(400)))
        self.assertEqual((got.count(200), got.count(429)), (100, 300))

    def test_nothing_is_limited_without_a_number(self):
        s = self.admission()
        self.assertEqual(set(self.statuses(s, 20)), {200})
        self.assertIn("no number of requests is set", self.logged(s))

    def test_requests_of_our_own_count_once(self):
        """A public route calls the gateway's own."""
        s = self.admission(everybody=100000, control=True)
        wait_for("the route is known", 15, lambda: s.request("POST", "/public/shop/fetch", FETCH, APP).status == 200)
        before = self.metric(s, "athena_admission_admitted_total")
        s.request("POST", "/public/shop/fetch", FETCH, APP)
        self.assertEqual(self.metric(s, "athena_admission_admitted_total") - before, 1)


class Deferred(Case):
    QUERY = {"query": "select 1 as one"}

    def query(self, server, **headers):
        return server.request("POST", "/gateway/query", self.QUERY, {**APP, **headers})

    @staticmethod
    def queued(answer):
        return (answer.status, answer.json["message"]) == (202, "Query queued for deferred execution")

    def admission(self, **kw):
        s = super().admission(control=True, **kw)
        wait_for("the queue is there", 60, lambda: self.pg.run("select count(*) from pg_attribute where attrelid = "
                                                               "to_regclass('gateway_deferred_request_queue') and attname = 'context'", "control").strip() == "1")
        return s

    def test_21_21_a_query_that_asks_to_be_deferred_is_not_refused(self):
        s = self.admission(everybody=1)
        self.assertEqual(self.query(s).status, 200)
        self.assertEqual(self.query(s).status, 429)
        for word in ("1", "true", "TRUE", "yes", "YES"):
            self.assertTrue(self.queued(self.query(s, **{"x-athena-defer": word})), word)
        for word in ("0", "True", "on", ""):
            self.assertEqual(self.query(s, **{"x-athena-defer": word}).status, 429, word)
        self.assertEqual(self.metric(s, "athena_admission_deferred_total"), 5)

    def test_d_20_the_header_opens_nothing_that_runs_at_once(self):
        s = self.admission(everybody=1)
        self.statuses(s, 1)
        defer = {"x-athena-defer": "true"}
        self.assertEqual(self.statuses(s, 1, **defer), [429])
        self.assertEqual(self.query(s, **defer, **{"x-pg-uri": "postgres://u:p@db.example/x"}).status, 429)
        self.assertEqual(s.request("POST", "/query/count", {"table_name": "item"}, {**APP, **defer}).status, 429)

    def test_queries_over_the_limit_are_queued_where_that_is_switched_on(self):
        s = self.admission(everybody=1, admission_defer_on_limit_enabled=True)
        before = len(self.rows("decision"))
        self.assertEqual(self.query(s).status, 200)
        self.assertTrue(self.queued(self.query(s)))
        self.assertTrue(self.queued(self.query(s, **{"x-athena-defer": "false"})))
        self.assertEqual(self.statuses(s, 1), [429])
        wait_for("three events", 20, lambda: len(self.rows("decision")) == before + 3)
        self.assertEqual([r["decision"] for r in self.rows("decision")[before:]], ["deferred", "deferred", "rejected"])

    def test_paths_narrow_that(self):
        s = self.admission(everybody=1, admission_defer_on_limit_enabled=True, admission_defer_route_prefixes="/pipelines")
        self.query(s)
        self.assertEqual(self.query(s).status, 429)


class Events(Case):
    def test_21_19_each_refusal_is_a_row(self):
        s = self.admission(window=60, everybody=1, client=7, control=True, admission_defer_route_prefixes="/pipelines,/x")
        self.statuses(s, 1)
        began, before = time.time(), len(self.rows("event_id"))
        refused = [s.request("POST", "/gateway/fetch", FETCH, {**APP, "x-athena-client": "App", "x-athena-defer": "1"})]
        refused += [s.get("/admin/clients/some-name", ADMIN)]
        wait_for("both rows", 20, lambda: len(self.rows("event_id")) >= before + 2)
        first, second = self.rows("*, extract(epoch from created_at) as at")[before:]
        self.assertEqual([first["event_id"], second["event_id"]], [r.headers["x-athena-request-id"] for r in refused])
        for key, value in {"method": "POST", "route": "/gateway/fetch", "client_name": "App", "request_bytes": len(json.dumps(FETCH)),
                           "defer_requested": True, "is_query_route": False, "decision": "rejected", "reason": "admission_limit_exceeded",
                           "deferred_request_id": None, "retry_after_seconds": 60, "window_seconds": 60, "global_limit_per_window": 1,
                           "per_client_limit_per_window": 7,
                           "meta": {"defer_on_limit_enabled": False, "defer_route_prefixes": ["/pipelines", "/x"]}}.items():
            self.assertEqual(first[key], value, key)
        self.assertEqual((second["route"], second["client_name"], second["request_bytes"]), ("/admin/clients/{client_name}", None, None))
        self.assertLess(abs(float(first["at"]) - began), 10)
        s.stop()
        reader = self.server(control=True)
        shown = reader.get("/admin/admission-events?decision=rejected&limit=1", ADMIN)
        self.assertEqual([e["event_id"] for e in shown.json["data"]["events"]], [refused[1].headers["x-athena-request-id"]])

    def test_a_burst_of_refusals_leaves_all_its_rows(self):
        s, before = self.admission(everybody=1, control=True), len(self.rows("decision"))
        with ThreadPoolExecutor(16) as crowd:
            got = list(crowd.map(lambda i: self.statuses(s, 1)[0], range(500)))
        self.assertEqual(got.count(429), 499)
        wait_for("499 rows", 20, lambda: len(self.rows("decision")) == before + 499)


class Shared(Case):
    MORE = "cache:\n  enabled: false\n  redis_timeout: 300ms\n  redis_cooldown: 1s\n"

    def setUp(self):
        self.redis = self.lab.redis()

    def process(self, more=MORE, **kw):
        s = self.admission(backend="redis", more=more, env=[("ATHENA_REDIS_URL", self.redis.url)], **kw)
        wait_for("Redis counts", 20, lambda: self.metric(s, "athena_admission_store_up") == 1)
        return s

    def keys(self):
        return sorted(self.redis.run("KEYS", "athena:admission:*"))

    def test_21_20_two_processes_share_the_limit(self):
        servers = [self.process(everybody=40, client=30) for _ in range(2)]
        with ThreadPoolExecutor(16) as crowd:
            got = list(crowd.map(lambda i: self.statuses(servers[i % 2], 1, client=("app", "APP", "other")[i % 3])[0], range(90)))
        self.assertEqual((got.count(200), got.count(429)), (40, 50))
        refused = servers[0].fetch("app", FETCH)
        self.assertEqual((refused.body, refused.headers["retry-after"]), (LIMITED, str(HOUR)))

    def test_21_20_the_keys_have_the_published_names_and_go_by_themselves(self):
        s = self.process(everybody=10, client=10)
        bucket = int(time.time()) // HOUR
        self.statuses(s, 3, client="APP")
        self.statuses(s, 1, client="nobody-knows")
        self.assertIn(int(time.time()) // HOUR, (bucket, bucket + 1))
        values = {k.rsplit(":", 1)[0]: self.redis.run("GET", k) for k in self.keys()}
        self.assertEqual(values, {"athena:admission:global": "4", "athena:admission:client:app": "3", "athena:admission:client:unknown": "1"})
        for k in self.keys():
            self.assertIn(int(k.rsplit(":", 1)[1]), (bucket, bucket + 1))
            self.assertTrue(HOUR < int(self.redis.run("TTL", k)) <= 2 * HOUR, k)

    def test_d_19_one_trip_on_one_connection_and_no_counter_without_a_limit(self):
        s = self.process(client=100)
        def calls(name):
            found = re.search(rf"cmdstat_{name}:calls=(\d+)", self.redis.run("INFO", "commandstats"))
            return int(found[1]) if found else 0
        def connections():
            return int(re.search(r"total_connections_received:(\d+)", self.redis.run("INFO", "stats"))[1])
        self.statuses(s, 1)
        scripts, opened = calls("evalsha") + calls("eval"), connections()
        self.statuses(s, 30)
        self.assertEqual(calls("evalsha") + calls("eval") - scripts, 30)
        self.assertLessEqual(connections() - opened, 4)  # this test's own questions
        self.assertEqual([k.rsplit(":", 1)[0] for k in self.keys()], ["athena:admission:client:app"])

    def test_d_20_refused_requests_are_not_counted(self):
        s = self.process(everybody=3)
        self.assertEqual(self.statuses(s, 9), [200] * 3 + [429] * 6)
        self.assertEqual([self.redis.run("GET", k) for k in self.keys()], ["3"])

    def test_a_script_that_was_forgotten_is_sent_again(self):
        s = self.process(everybody=4)
        self.assertEqual(self.statuses(s, 2), [200] * 2)
        self.redis.run("SCRIPT", "FLUSH")
        self.assertEqual(self.statuses(s, 3), [200] * 2 + [429])
        self.assertEqual(self.metric(s, "athena_admission_by_memory_total"), 0)

    def test_d_19_what_is_no_counter_is_a_lost_store_and_no_failure(self):
        s = self.process(everybody=2)
        for bucket in (0, 1):
            self.redis.run("SET", f"athena:admission:global:{int(time.time()) // HOUR + bucket}", "rubbish")
        self.assertEqual(self.statuses(s, 3), [200] * 2 + [429])  # by memory
        self.assertEqual(self.metric(s, "athena_admission_store_up"), 0)

    def after_the_cooldown(self, s, status):
        wait_for(f"requests get {status}", 15, lambda: set(self.statuses(s, 5)) == {status})

    def test_21_20_redis_killed_and_closed(self):
        s = self.process(everybody=1000)
        self.assertEqual(self.statuses(s, 2), [200] * 2)
        self.redis.kill()
        self.assertEqual(self.statuses(s, 2), [200] * 2)  # memory stands in
        self.after_the_cooldown(s, 503)
        refused = s.request("POST", "/gateway/fetch", FETCH, {**APP, "origin": "https://a.example"})
        self.assertEqual((refused.body, refused.headers["retry-after"]), (LOST, str(HOUR)))
        self.assertEqual(refused.headers["access-control-allow-origin"], "https://a.example")
        self.assertEqual({s.get(p).status for p in ("/ping", "/health", "/ready", "/metrics")}, {200})
        self.assertGreater(self.metric(s, 'athena_admission_refused_total{reason="store_unavailable"}'), 0)
        self.assertGreater(self.metric(s, "athena_admission_by_memory_total"), 0)
        self.redis.start()
        wait_for("Redis counts again", 20, lambda: self.statuses(s, 1) == [200] and self.keys())

    def test_d_19_memory_limits_while_it_stands_in(self):
        s = self.process(everybody=3, more=self.MORE.replace("1s", "60s"))
        self.redis.kill()
        wait_for("it is noticed", 10, lambda: self.metric(s, "athena_admission_store_up") == 0)
        self.assertEqual(self.statuses(s, 5), [200] * 3 + [429] * 2)

    def test_21_20_redis_killed_and_open(self):
        s = self.process(everybody=2, admission_store_fail_mode="fail_open")
        self.assertEqual(self.statuses(s, 3), [200, 200, 429])
        self.redis.kill()
        self.after_the_cooldown(s, 200)

    def test_21_20_D_19_a_hanging_redis_makes_nobody_wait_longer_than_its_time(self):
        s = self.process(everybody=1000)
        self.statuses(s, 4)
        self.redis.signal(signal.SIGSTOP)
        took, lock = [], threading.Lock()

        def one(i):
            began = time.monotonic()
            status = self.statuses(s, 1)[0]
            with lock:
                took.append((time.monotonic() - began, status))
        for i in range(30):
            one(i)
        self.redis.signal(signal.SIGCONT)
        self.assertLessEqual({status for _, status in took}, {200, 503})
        self.assertLess(max(t for t, _ in took), 1.0)
        self.assertLessEqual(len([t for t, _ in took if t > 0.25]), 4, took)  # each loop learns it by itself
        wait_for("Redis counts again", 20, lambda: self.statuses(s, 1) == [200] and self.metric(s, "athena_admission_store_up") == 1)

    def test_without_a_redis_memory_counts_and_the_start_says_so(self):
        s = self.admission(backend="redis", everybody=2)
        self.assertEqual(self.statuses(s, 3), [200, 200, 429])
        self.assertIn("ATHENA_REDIS_URL is not set", self.logged(s))

    def test_requests_that_leave_while_redis_is_asked(self):
        s = self.process(everybody=100000)
        self.redis.signal(signal.SIGSTOP)
        import socket
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", s.port)) as c:
                c.sendall(f"POST /gateway/fetch HTTP/1.1\r\nhost: a\r\nx-athena-key: {ADMIN_KEY}\r\nx-athena-client: app\r\n"
                          "content-length: 2\r\n\r\n{}".encode())
        self.redis.signal(signal.SIGCONT)
        wait_for("it serves", 20, lambda: self.statuses(s, 1) == [200])
        self.assertEqual(s.stop(), 0)


class Rates(Case):
    SQL = {"driver": "postgresql", "db_name": "app", "query": "select 1 as one"}

    def limited(self, group="raw_sql", per_second=1, burst=3, **kw):
        return self.server(**{f"rate_limit_inbound_{group}_enabled": True, f"rate_limit_inbound_{group}_per_second": per_second,
                              f"rate_limit_inbound_{group}_burst": burst}, **kw)

    def sql(self, server, path="/query/sql", address=None, key=ADMIN_KEY, body=None):
        headers = {**APP, "x-athena-key": key, **({"x-real-ip": address} if address else {})}
        return server.request("POST", path, body or self.SQL, headers)

    def burst(self, server, address, n=4):
        return [self.sql(server, address=address).status for _ in range(n)]

    def test_21_23_a_burst_then_429(self):
        s = self.limited(per_second=1, burst=30)
        answers = [self.sql(s) for _ in range(60)]
        self.assertEqual({a.status for a in answers[:30]}, {200})
        refused = [a for a in answers if a.status == 429]
        self.assertGreater(len(refused), 0)
        self.assertEqual({a.body for a in refused}, {RATE})
        self.assertEqual({a.headers["retry-after"] for a in refused}, {"1"})
        self.assertGreater(self.metric(s, 'athena_rate_limit_refused_total{group="raw_sql"}'), 0)

    def test_d_22_retry_after_is_real(self):
        s = self.limited(per_second=1, burst=1)
        self.assertEqual(self.sql(s).status, 200)
        refused = self.sql(s)
        if refused.status == 429:  # the machine may have been slower than the rate
            time.sleep(int(refused.headers["retry-after"]))
        self.assertEqual(self.sql(s).status, 200)

    def drain(self, server, address):
        while self.sql(server, address=address).status == 200:
            pass

    def test_21_23_addresses_are_independent(self):
        s = self.limited(burst=2)
        for address in ("10.9.0.1", "10.9.0.2", "2001:db8:1:2::1", "2001:db8:1:3::1"):
            self.assertEqual(self.burst(s, address, 2), [200, 200], address)

    def test_d_22_ipv6_is_keyed_by_64_bits_and_what_is_no_address_is_not_a_key(self):
        s = self.limited(burst=2, per_second=1)
        got = [self.sql(s, address=f"2001:db8:1:2:{i:x}::{i:x}").status for i in range(1, 12)]
        self.assertIn(429, got)
        got = [self.sql(s, address=f"no address {i}").status for i in range(12)]  # all the peer's
        self.assertIn(429, got)

    def test_21_23_the_key_comes_first(self):
        """401, not 429: who has no key neither learns of limits nor takes tokens."""
        s = self.limited(burst=2)
        self.assertEqual({self.sql(s, key="").status for _ in range(10)}, {401})
        self.assertEqual(self.sql(s).status, 200)

    def test_all_routes_that_take_sql_share_a_group(self):
        s = self.limited(per_second=1, burst=8, control=True)
        query = {"query": "select 1 as one"}
        ways = [("/query/sql", None), ("/gateway/sql", None), ("/gateway/query", query), ("/query/count", {"driver": "postgresql", "db_name": "app", "table_name": "item"}),
                ("/public/shop/query", query)]
        wait_for("the public route is known", 15, lambda: self.sql(s, "/public/shop/fetch", body=FETCH).status == 200)
        got = [self.sql(s, *([path]), body=body) for _ in range(4) for path, body in ways]
        self.assertEqual({a.status for a in got[:5]}, {200}, [a.body for a in got[:5]])
        self.assertEqual({a.status for a in got}, {200, 429})
        self.assertEqual(set(self.statuses(s, 5)), {200})  # fetch has no group

    def test_names_of_clients_are_of_the_schema_group(self):
        s = self.limited("schema", burst=3)
        got = [s.get(path, ADMIN).status for _ in range(4) for path in ("/clients", "/schema/clients", "/debug/schema")]
        self.assertIn(429, got)

    def test_a_refusal_is_a_row_with_its_own_reason(self):
        s = self.limited(burst=1, control=True)
        self.drain(s, "10.1.1.1")
        wait_for("the row", 20, lambda: self.rows("reason", "reason = 'rate_limit_raw_sql'"))
        row = self.rows("*", "reason = 'rate_limit_raw_sql'")[0]
        self.assertEqual((row["route"], row["decision"], row["retry_after_seconds"], row["window_seconds"]), ("/query/sql", "rejected", 1, None))
        self.assertEqual(row["meta"], {"group": "raw_sql", "per_second": 1, "burst": 1})

    def test_switched_on_by_the_published_variables(self):
        s = self.server(env=[("ATHENA_RATE_LIMIT_INBOUND_RAW_SQL_ENABLED", "1"), ("ATHENA_RATE_LIMIT_INBOUND_RAW_SQL_PER_SECOND", "1"),
                             ("ATHENA_RATE_LIMIT_INBOUND_RAW_SQL_BURST", "1")])
        self.drain(s, "10.1.1.2")


class Keys(Case):
    QUERY = {"query": "select pg_sleep(0.1)"}

    def keys(self, server, n=2):
        """Values of so many new keys, once the store takes keys."""
        made = []

        def make():
            a = server.request("POST", "/admin/api-keys", {"name": "k", "rights": ["*"]}, APP)
            if a.status == 201:
                made.append(a.json["data"]["api_key"])
            return a.status == 201
        wait_for("a key can be made", 30, make)
        probe = {**APP, "x-athena-key": made[0]}
        wait_for("it is taken", 30, lambda: server.request("POST", "/gateway/fetch", FETCH, probe).status in (200, 429))
        while len(made) <= n:
            self.assertTrue(make())
        return made[1:]

    def test_a_key_has_its_own_rate_wherever_it_is_used(self):
        s = self.server(control=True, rate_limit_per_key_enabled=True, rate_limit_per_key_per_second=1, rate_limit_per_key_burst=10)
        first, second = self.keys(s)
        with ThreadPoolExecutor(8) as crowd:
            answers = list(crowd.map(lambda i: s.request("POST", "/gateway/fetch", FETCH, {**APP, "x-athena-key": first}), range(40)))
        refused = [a for a in answers if a.status == 429]
        self.assertGreaterEqual(len([a for a in answers if a.status == 200]), 10)
        self.assertGreater(len(refused), 5)
        self.assertEqual({(a.code, a.headers["retry-after"]) for a in refused}, {("api_key_rate_limited", "1")})
        self.assertEqual({s.request("POST", "/gateway/fetch", FETCH, {**APP, "x-athena-key": second}).status for _ in range(10)}, {200})
        self.assertEqual(set(self.statuses(s, 20)), {200})  # the administrator
        self.assertEqual(s.request("POST", "/gateway/fetch", FETCH, {**APP, "x-athena-key": first[:-1] + "x"}).status, 401)

    def test_a_key_has_a_budget_of_database_time(self):
        s = self.server(control=True, budget_per_key_ms_per_minute=300, cost_header=True)
        first, second = self.keys(s)

        def query(key):
            return s.request("POST", "/gateway/query", self.QUERY, {**APP, "x-athena-key": key})
        answers = [query(first)]
        self.assertEqual(answers[0].status, 200, answers[0].body)
        cost, left = re.fullmatch(r"(\d+\.\d{3});remaining=(\d+\.\d{3})", answers[0].headers["x-athena-cost"]).groups()
        self.assertGreaterEqual(float(cost), 100)
        self.assertLessEqual(float(left), 200)
        while answers[-1].status == 200:
            answers.append(query(first))
        self.assertLessEqual(len(answers), 4)
        refused = answers[-1]
        self.assertEqual((refused.status, refused.code), (429, "api_key_budget_exhausted"))
        self.assertIn("300 ms", refused.json["error"])
        self.assertTrue(1 <= int(refused.headers["retry-after"]) <= 120, refused.headers)
        self.assertEqual(s.request("POST", "/public/shop/query", self.QUERY, {**APP, "x-athena-key": first}).status, 429)
        self.assertEqual((query(second).status, query(ADMIN_KEY).status), (200, 200))
        wait_for("the row", 20, lambda: self.rows("reason", "reason = 'budget_key'"))
        self.assertEqual(self.rows("meta", "reason = 'budget_key'")[0]["meta"], {"group": "key_budget", "ms_per_minute": 300})

    def test_what_a_request_of_our_own_took_is_its_callers(self):
        s = self.server(control=True, budget_per_key_ms_per_minute=10000, cost_header=True)
        key, = self.keys(s, 1)

        def query(path, ms):
            return s.request("POST", path, {"query": f"select pg_sleep({ms / 1000})"}, {**APP, "x-athena-key": key})

        def left(answer):
            return float(answer.headers["x-athena-cost"].split("remaining=")[1])
        wait_for("the public route is known", 15, lambda: query("/public/shop/query", 0).status == 200)
        before = left(query("/gateway/query", 0))
        self.assertEqual(query("/public/shop/query", 400).status, 200)
        spent = before - left(query("/gateway/query", 0))
        self.assertTrue(400 <= spent < 750, spent)


class Cost(Case):
    def test_answers_say_what_they_cost(self):
        s = self.server(cost_header=True)
        slow = s.request("POST", "/gateway/query", {"query": "select pg_sleep(0.05)"}, {**APP, "origin": "https://a.example"})
        self.assertRegex(slow.headers["x-athena-cost"], r"^\d+\.\d{3}$")
        self.assertGreaterEqual(float(slow.headers["x-athena-cost"]), 50)
        self.assertIn("X-Athena-Cost", slow.headers["access-control-expose-headers"])
        self.assertNotIn("x-athena-cost", s.get("/ping").headers)
        self.assertEqual(float(s.request("POST", "/gateway/fetch", FETCH, {"x-athena-client": "app"}).headers["x-athena-cost"]), 0)

    def test_only_where_that_is_switched_on(self):
        self.assertNotIn("x-athena-cost", self.server().fetch("app", FETCH).headers)


if __name__ == "__main__":
    unittest.main(verbosity=2)
