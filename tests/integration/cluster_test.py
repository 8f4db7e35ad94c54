#!/usr/bin/env python3
"""GET /health/cluster: mirrors from the table and the configuration, rounds of probes that everybody shares, clients' databases that
die, and what callers without a key are not told."""
import http.server
import json
import os
import socket
import sys
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402

ADMIN = {"x-athena-key": ADMIN_KEY}
# As the published migration makes it.
TABLE = """create table cluster_mirrors (id bigint generated always as identity primary key, created_at timestamptz not null default now(),
  cluster_mirror_id uuid not null default gen_random_uuid() unique, time bigint not null default extract(epoch from now()), url text not null unique,
  is_active boolean not null default true, priority integer not null default 100, updated_at timestamptz not null default now());"""
BUDGET = 5


class Silent:
    """Takes connections and never answers; counts them."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port, self.count, self.open = self.socket.getsockname()[1], 0, []
        threading.Thread(target=self.take, daemon=True).start()

    def take(self):
        while True:
            try:
                self.open.append(self.socket.accept()[0])
                self.count += 1
            except OSError:
                return

    def stop(self):
        self.socket.close()
        for s in self.open:
            s.close()


class Mirror:
    """A server that says what it is told to; `answers` maps a path to (status, body)."""

    def __init__(self, answers):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.asked.append((self.path, dict(self.headers)))
                status, body = outer.answers.get(self.path, (404, b"{}"))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True

            def log_message(self, *args):
                pass

        self.answers, self.asked = answers, []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def page(**more):
    return json.dumps({"message": "athena is online", "version": "1.2.3", "cargo_toml_version": "3.27.1", **more}).encode()


class ClusterTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres()

    def database(self, *mirrors):
        name = f"d{time.monotonic_ns()}"
        self.pg.run(f"create database {name}")
        self.pg.run(TABLE, name)
        for i, url in enumerate(mirrors):
            self.pg.run(f"insert into cluster_mirrors (url, priority) values ('{url}', {i})", name)
        return name

    def start(self, database, cluster="", clients=None, wait=True):
        rows = {"control": self.pg.uri(database), **(clients or {})}
        server = self.lab.athena({}, config="plugins: [routes-meta, routes-gateway, routes-admin-ops, sink-file]\ngateway:\n- logging_client: control\n"
                                 "- enforce_api_keys: true\npostgres_clients:\n" + "".join(f"- {n}: \"{u}\"\n" for n, u in rows.items()) +
                                 f"cluster: {{ client_interval: 300ms, client_timeout: 500ms, {cluster} }}\n")
        if wait:
            wait_for("the control plane is connected", 10, lambda: server.get("/health").json["gateway_auth_store"] == "online")
        return server

    def mirrors(self, server, **kw):
        return {m["url"]: m for m in server.get("/health/cluster", **kw).json["mirrors"]}

    def test_fifty_dead_mirrors_within_the_budget_and_one_round_for_a_hundred_callers(self):
        """19.9, 20.2: single flight, a cap of 8, and 5 s for all of it."""
        silent = Silent()
        self.addCleanup(silent.stop)
        server = self.start(self.database(*[f"http://127.0.0.1:{silent.port}/m{i}" for i in range(50)]))
        began = time.monotonic()
        with ThreadPoolExecutor(100) as pool:
            answers = list(pool.map(lambda _: server.get("/health/cluster"), range(100)))
        took = time.monotonic() - began
        self.assertLess(took, BUDGET + 2)
        self.assertEqual({a.status for a in answers}, {200})
        self.assertEqual(len({json.dumps(a.json["mirrors"]) for a in answers}), 1)
        self.assertEqual([m["url"] for m in answers[0].json["mirrors"]], [f"http://127.0.0.1:{silent.port}/m{i}" for i in range(50)])
        self.assertEqual({m["status"] for m in answers[0].json["mirrors"]}, {"offline"})
        self.assertEqual(silent.count, 50, "one ping for each")
        began = time.monotonic()
        server.get("/health/cluster")
        self.assertLess(time.monotonic() - began, 0.5, "from memory")
        self.assertEqual(silent.count, 50)

    def test_a_slow_one_costs_the_others_nothing(self):
        silent, good = Silent(), Mirror({"/ping": (200, b"pong"), "/": (200, page())})
        self.addCleanup(silent.stop), self.addCleanup(good.stop)
        server = self.start(self.database(f"http://127.0.0.1:{silent.port}", good.url))
        began = time.monotonic()
        found = self.mirrors(server)
        self.assertLess(time.monotonic() - began, BUDGET + 1)
        self.assertEqual([m["status"] for m in found.values()], ["offline", "online"])
        self.assertEqual(list(found), [f"http://127.0.0.1:{silent.port}", good.url])

    def test_nothing_is_asked_that_nobody_named(self):
        """20.2: no hosts of a vendor; without a table, without rows, without a control plane."""
        empty, none = self.database(), f"d{time.monotonic_ns()}"
        self.pg.run(f"create database {none}")
        for database in (empty, none):
            server = self.start(database)
            self.assertEqual(server.get("/health/cluster").json["mirrors"], [])
            self.assertNotIn("athena_http_client_requests_total{", server.get("/metrics").body)

    def test_only_2xx_counts_and_a_part_of_the_document_is_read(self):
        """20.2: a 401 is no download, and a download is no megabytes."""
        document = b"x" * 5_000_000
        good = Mirror({"/ping": (200, b"pong"), "/": (200, page()), "/openapi.yaml": (200, document)})
        closed = Mirror({"/ping": (200, b"pong"), "/": (200, page()), "/openapi.yaml": (401, b"no key")})
        sick = Mirror({"/ping": (500, b"no"), "/": (200, page()), "/openapi.yaml": (200, b"x")})
        strange = Mirror({"/ping": (200, b"pong"), "/": (200, b"<html>"), "/openapi.yaml": (200, b"x" * 1000)})
        for m in (good, closed, sick, strange):
            self.addCleanup(m.stop)
        server = self.start(self.database(good.url, closed.url, sick.url, strange.url))
        found = self.mirrors(server)
        self.assertEqual(found[good.url]["status"], "online")
        self.assertGreater(found[good.url]["download_bytes_per_sec"], 0)
        self.assertEqual(found[good.url]["capabilities"]["openapi_download"], {"available": True, "detail": "Downloaded /openapi.yaml successfully"})
        self.assertEqual([h["range"] for p, h in good.asked if p == "/openapi.yaml"], ["bytes=0-65535"])
        self.assertEqual(found[closed.url]["status"], "online")
        self.assertIsNone(found[closed.url]["download_bytes_per_sec"])
        self.assertEqual(found[sick.url]["status"], "offline")
        self.assertIsNone(found[sick.url]["latency_ms"])
        self.assertEqual(found[strange.url]["status"], "offline")
        self.assertIsNotNone(found[strange.url]["latency_ms"])
        self.assertIsNotNone(found[strange.url]["download_bytes_per_sec"])
        self.assertEqual(found[strange.url]["capabilities"]["pg_dump"], {"available": False, "detail": "mirror offline"})

    def test_what_a_mirror_says_of_itself(self):
        names = "pg_dump pg_restore s3cmd s3_access backup_create backup_restore openapi_download management_api gateway_fetch".split()
        said = {n: {"available": True, "detail": f"{n} of the mirror"} for n in names}
        routes = [{"path": "/gateway/fetch", "methods": ["post"], "summary": ""}, {"path": "/management/capabilities", "methods": ["POST"]}]
        full = Mirror({"/ping": (200, b"pong"), "/": (200, page(capabilities=said, routes=routes))})
        plain = Mirror({"/ping": (200, b"pong"), "/": (200, json.dumps({"version": "9.9", "message": "x" * 1000}).encode())})
        odd = Mirror({"/ping": (200, b"pong"), "/": (200, page(capabilities={**said, "s3cmd": {"available": "yes", "detail": "x"}}))})
        for m in (full, plain, odd):
            self.addCleanup(m.stop)
        server = self.start(self.database(full.url + "/", plain.url, odd.url))
        found = self.mirrors(server)
        got = found[full.url + "/"]
        self.assertEqual(list(got), ["url", "status", "latency_ms", "download_bytes_per_sec", "cargo_toml_version", "message", "capabilities"])
        self.assertEqual((got["cargo_toml_version"], got["message"]), ("3.27.1", "athena is online"))
        self.assertEqual(list(got["capabilities"]), [*names, "deadpool_experimental"])
        self.assertEqual(got["capabilities"]["pg_dump"], said["pg_dump"])
        self.assertEqual(got["capabilities"]["gateway_fetch"], {"available": True, "detail": "Route /gateway/fetch (POST) is advertised"})
        self.assertFalse(got["capabilities"]["management_api"]["available"])
        self.assertFalse(got["capabilities"]["openapi_download"]["available"])
        self.assertIsNone(got["capabilities"]["deadpool_experimental"])
        self.assertEqual([p for p, _ in full.asked], ["/ping", "/", "/openapi.yaml"])
        self.assertEqual(found[plain.url]["cargo_toml_version"], "9.9")
        self.assertEqual(len(found[plain.url]["message"]), 256)
        self.assertEqual(found[odd.url]["capabilities"]["pg_dump"], {"available": False, "detail": "capabilities not reported by mirror"})
        self.assertEqual(found[odd.url]["capabilities"]["gateway_fetch"]["detail"], "Mirror did not include routes metadata")

    def test_mirrors_come_and_go_with_their_rows(self):
        first, second = (Mirror({"/ping": (200, b"pong"), "/": (200, page())}) for _ in range(2))
        self.addCleanup(first.stop), self.addCleanup(second.stop)
        database = self.database(first.url)
        server = self.start(database, f"mirror_interval: 1s, mirrors: 'http://user:word@127.0.0.1:{second.server.server_port}/x, ,'")
        shown = f"http://127.0.0.1:{second.server.server_port}/x"
        self.assertEqual(list(self.mirrors(server)), [shown, first.url])
        self.assertNotIn("word", server.get("/metrics").body)
        self.pg.run(f"update cluster_mirrors set is_active = false; insert into cluster_mirrors (url) values ('{second.url}')", database)
        wait_for("the new row is probed", 10, lambda: list(self.mirrors(server)) == [shown, second.url])
        first_asked = len(first.asked)
        self.pg.run("drop table cluster_mirrors", database)
        wait_for("no table: no rows", 10, lambda: list(self.mirrors(server)) == [shown])
        self.assertEqual(len(first.asked), first_asked)
        metrics = server.get("/metrics").body
        self.assertIn("athena_cluster_mirrors_total 1\n", metrics)
        self.assertIn(f'athena_cluster_mirror_up{{url="{shown}"}} 0\n', metrics)

    def test_rounds_go_on_only_while_somebody_asks(self):
        mirror = Mirror({"/ping": (200, b"pong"), "/": (200, page())})
        self.addCleanup(mirror.stop)
        server = self.start(self.database(mirror.url), "mirror_interval: 1s")
        time.sleep(1.5)
        self.assertEqual(mirror.asked, [], "nobody has asked yet")
        self.mirrors(server)
        wait_for("a round that nobody waits for", 5, lambda: len(mirror.asked) >= 6)

    def test_a_dead_database_delays_nothing(self):
        """The route answers from memory; who may know learns which database it is, and why."""
        other = self.lab.postgres(tcp=True)
        server = self.start(self.database(), clients={"Shop": other.tcp_uri(), "gone": "postgres://x@127.0.0.1:9/none"})
        rows = lambda: {r["client"]: r for r in server.get("/health/cluster", ADMIN).json["client_latency"]}  # noqa: E731
        wait_for("all were asked", 10, lambda: set(rows()) == {"control", "Shop", "gone"} and rows()["Shop"]["ok"])
        self.assertEqual(list(rows()["Shop"]), ["client", "ok", "latency_ms", "age_ms", "reason"])
        self.assertGreater(rows()["Shop"]["latency_ms"], 0)
        self.assertIsNone(rows()["Shop"]["reason"])
        self.assertFalse(rows()["gone"]["ok"])
        self.assertIsNone(rows()["gone"]["latency_ms"])
        self.assertIn("refused", rows()["gone"]["reason"])
        other.kill()
        slowest = 0
        for _ in range(100):
            began = time.monotonic()
            answer = server.get("/health/cluster")
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.02)
        self.assertLess(slowest, 0.5)
        self.assertFalse(rows()["Shop"]["ok"])
        self.assertTrue(rows()["control"]["ok"])
        self.assertEqual(list(answer.json["checks"]), ["total", "ok", "failing", "unknown"])
        metrics = server.get("/metrics").body
        self.assertIn('athena_client_probe_up{client="shop"} 0\n', metrics)
        self.assertIn('athena_client_probe_up{client="control"} 1\n', metrics)
        other.start_after_kill()
        wait_for("it is back", 20, lambda: rows()["Shop"]["ok"])

    def test_a_database_that_says_nothing_has_its_own_time(self):
        silent = Silent()
        self.addCleanup(silent.stop)
        server = self.start(self.database(), clients={"mute": f"postgres://x@127.0.0.1:{silent.port}/none"})
        rows = lambda: {r["client"]: r for r in server.get("/health/cluster", ADMIN).json["client_latency"]}  # noqa: E731
        wait_for("it was given up", 5, lambda: "mute" in rows() and "control" in rows())
        self.assertFalse(rows()["mute"]["ok"])
        time.sleep(1)
        self.assertTrue(rows()["control"]["ok"])
        self.assertLess(rows()["control"]["age_ms"], 700, "the other's silence is not waited for")

    def test_probes_are_no_requests(self):
        """Who looks for databases that nobody uses is not misled by us."""
        self.pg.run("create table if not exists counted (id int)")
        server = self.start(self.database(), clients={"shop": self.pg.uri()})
        wait_for("it was asked", 10, lambda: 'athena_client_probe_total{client="shop"} 5\n' in server.get("/metrics").body)
        served = lambda: {p["client_name"]: p["requests_served_total"] for p in server.get("/admin/pools", ADMIN).json["data"]["pools"]}  # noqa: E731
        before = served()["shop"]
        time.sleep(2.5)
        self.assertLessEqual(served()["shop"], before)
        before = served()["shop"]
        self.assertEqual(server.fetch("shop", {"table_name": "counted"}).status, 200)
        wait_for("a request is one", 5, lambda: served()["shop"] > before)

    def test_names_are_not_everybodys(self):
        server = self.start(self.database(), clients={"shop": self.pg.uri()})
        wait_for("it was asked", 10, lambda: server.get("/health/cluster", ADMIN).json["client_latency"])
        for headers in ({}, {"x-athena-key": "wrong"}, {"x-athena-key": ""}):
            answer = server.get("/health/cluster", headers)
            self.assertEqual(answer.status, 200)
            self.assertNotIn("client_latency", answer.json)
            self.assertNotIn("shop", answer.body)
            self.assertEqual(answer.json["clients"], {"registered": 2, "active": 2, "connected": 2})

    def test_the_control_plane_dies_and_the_list_stays(self):
        mirror = Mirror({"/ping": (200, b"pong"), "/": (200, page())})
        self.addCleanup(mirror.stop)
        control = self.lab.postgres(tcp=True)
        control.run(TABLE + f"insert into cluster_mirrors (url) values ('{mirror.url}')")
        server = self.start("postgres", "mirror_interval: 1s", clients={"control": control.tcp_uri()})
        self.assertEqual(list(self.mirrors(server)), [mirror.url])
        control.kill()
        asked = len(mirror.asked)
        wait_for("rounds go on", 10, lambda: len(mirror.asked) > asked + 6)
        self.assertEqual(self.mirrors(server)[mirror.url]["status"], "online")
        control.start_after_kill()


if __name__ == "__main__":
    unittest.main(warnings="ignore")
