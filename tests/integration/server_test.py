#!/usr/bin/env python3
"""The whole server as its users meet it: a real PostgreSQL, the real executable, sockets and signals."""
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402

SCHEMA = """
create table users (id int primary key, name text, tags text[]);
insert into users select i, 'user ' || i, array['a', 'b'] from generate_series(1, 100) i;
create table big (id int primary key, body text);
insert into big select i, repeat('x', 1000) from generate_series(1, 20000) i;
create view slow as select id, pg_sleep(30)::text as slept from users where id = 1;
"""
POINT = {"table_name": "users", "columns": ["id", "name"], "conditions": [{"eq_column": "id", "eq_value": 7}]}


def rows(answer):
    assert answer.status == 200, (answer.status, answer.body)
    return answer.json["data"]


class ServerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)  # also when what follows fails
        cls.pg = cls.lab.postgres()
        cls.pg.run("create database app")
        cls.pg.run(SCHEMA, "app")
        cls.server = cls.lab.athena({"app": cls.pg.uri("app")})

    def log(self, name, server=None):
        with open(f"{(server or self.server).logs}/{name}") as f:
            return f.read()

    def connect(self, server=None):
        return socket.create_connection(("127.0.0.1", (server or self.server).port), timeout=30)

    def backends(self, like):
        return self.pg.run(f"select count(*) from pg_stat_activity where query like '{like}' and state = 'active' "
                           "and pid <> pg_backend_pid()", "app").strip()

    def test_a_fetch_is_seen_in_answer_metrics_trace_and_logs(self):
        a = self.server.fetch("app", POINT)
        self.assertEqual(rows(a), [{"id": 7, "name": "user 7"}])
        request_id = a.headers["x-athena-request-id"]
        wait_for("the trace line is in success.log", 5, lambda: request_id in self.log("success.log"))
        line = [x for x in self.log("success.log").splitlines() if request_id in x and "gateway_trace" in x]
        self.assertEqual(len(line), 1)
        fields = ("event athena_version request_id client logical_client_name method path route_family operation table_name "
                  "status_code outcome duration_ms backend backend_engine error_code trace_id cache_lookup_outcome cache_source "
                  "cached statement_count row_count returned_row_count rows_affected resource_id detail_keys").split()
        at = [line[0].find(f" {f}=") for f in fields]
        self.assertNotIn(-1, at, line[0])
        self.assertEqual(at, sorted(at))
        self.assertIn("row_count=1 ", line[0])
        metrics = self.server.get("/metrics").body
        self.assertRegex(metrics, r'athena_gateway_operation_total\{client="app",table="users",operation="fetch".*\} \d+')
        self.assertRegex(metrics, r"athena_process_start_time_seconds \d+")

    def test_errors_go_to_their_log_and_name_the_object(self):
        a = self.server.fetch("app", {"table_name": "no_such_table", "columns": ["id"]})
        self.assertEqual(a.status, 400)
        self.assertEqual(a.json["code"], "undefined_table")
        self.assertIn("no_such_table", a.body)
        a = self.server.fetch("app", {**POINT, "conditions": [{"column": "id", "operator": "nearly", "value": 7}]})
        self.assertEqual(a.status, 400)
        self.assertIn("nearly", a.body)

    def test_keys_are_enforced_before_the_body(self):
        for key, status in (("", 401), ("wrong", 401), ("ath_0123456789abcdef.secret", 503)):
            a = self.server.request("POST", "/gateway/fetch", b"{ not json", {"x-athena-client": "app", "x-athena-key": key})
            self.assertEqual(a.status, status, a.body)
        self.assertEqual(self.server.get("/router/registry").status, 401)
        self.assertEqual(self.server.get("/router/registry", {"x-api-key": ADMIN_KEY}).status, 200)

    def test_secrets_are_nowhere(self):
        self.server.fetch("app", POINT)
        time.sleep(0.3)
        seen = self.server.said() + self.log("success.log") + self.log("error.log") + self.server.get("/metrics").body
        with open(f"/proc/{self.server.process.pid}/cmdline") as f:
            seen += f.read()
        self.assertNotIn(ADMIN_KEY, seen)

    def test_pipelined_requests_are_answered_in_order(self):
        head = f"x-athena-client: app\r\nx-athena-key: {ADMIN_KEY}\r\nHost: x\r\n"
        text = b""
        for i in range(1, 21):
            body = json.dumps({**POINT, "conditions": [{"eq_column": "id", "eq_value": i}]})
            text += f"POST /gateway/fetch HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
        with self.connect() as s:
            s.sendall(text)
            got = b""
            while got.count(b'"name":"user') < 20:
                piece = s.recv(65536)
                self.assertTrue(piece, got)
                got += piece
        self.assertEqual([int(i) for i in re.findall(rb'"name":"user (\d+)"', got)], list(range(1, 21)))

    def test_the_query_of_a_client_that_left_is_cancelled(self):
        body = json.dumps({"table_name": "slow", "columns": ["id", "slept"]}).encode()
        s = self.connect()
        s.sendall(b"POST /gateway/fetch HTTP/1.1\r\nHost: x\r\nx-athena-client: app\r\nx-athena-key: " + ADMIN_KEY.encode() +
                  b"\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body)
        wait_for("the query runs", 5, lambda: self.backends('%slow%') == "1")
        s.close()
        wait_for("the query is gone", 5, lambda: self.backends('%slow%') == "0")
        self.assertEqual(self.server.fetch("app", POINT).status, 200)

    def test_slow_readers_and_writers_do_not_disturb_others(self):
        ask = {"table_name": "big", "columns": ["id", "body"]}
        body = json.dumps(ask).encode()
        readers = []
        for _ in range(4):
            s = self.connect()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.sendall(b"POST /gateway/fetch HTTP/1.1\r\nHost: x\r\nx-athena-client: app\r\nx-athena-key: " + ADMIN_KEY.encode() +
                      b"\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body)
            readers.append(s)
        writer = self.connect()
        writer.sendall(b"POST /gateway/fetch HTTP/1.1\r\nHost: x\r\nContent-Le")
        for _ in range(50):
            self.assertEqual(self.server.fetch("app", POINT, timeout=5).status, 200)
        for s in readers + [writer]:
            s.close()

    def test_garbage_is_refused_and_the_server_goes_on(self):
        for junk in (b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
                     b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"):
            with self.connect() as s:
                s.sendall(junk)
                got = s.recv(4096)
                self.assertTrue(got == b"" or re.match(rb"HTTP/1.1 4\d\d", got), (junk[:60], got[:80]))
        self.assertEqual(self.server.get("/ping").body, "pong")

    def test_discovery_lists_what_is_loaded_and_nothing_else(self):
        def served(server):
            admin = {"x-athena-key": ADMIN_KEY}
            registry = {(r["method"], r["path"]) for r in server.get("/router/registry", admin).json}
            return registry, server.get("/openapi.yaml", admin).body
        with_gateway, document = served(self.lab.athena({"app": self.pg.uri("app")}, plugins=("routes-meta", "routes-gateway", "sink-file")))
        other = self.lab.athena({"app": self.pg.uri("app")}, plugins=("routes-meta", "sink-file"))
        without, smaller = served(other)
        self.assertEqual(with_gateway - without, {("POST", "/gateway/fetch"), ("POST", "/gateway/data"), ("GET", "/data"),
                                                  ("PUT", "/gateway/insert"), ("POST", "/gateway/insert"), ("POST", "/gateway/update"),
                                                  ("DELETE", "/gateway/delete"), ("POST", "/gateway/delete"), ("POST", "/gateway/transaction"), ("POST", "/gateway/deferred/flush")})
        self.assertEqual(without - with_gateway, set())
        self.assertIn("/gateway/fetch", document)
        self.assertNotIn("/gateway/", smaller)
        self.assertEqual(other.fetch("app", POINT).status, 404)

    def test_a_restart_of_postgresql_under_load_hangs_nobody(self):
        pg = self.lab.postgres()
        pg.run("create table users (id int primary key, name text); insert into users select i, 'user ' || i from "
               "generate_series(1, 100) i")
        server = self.lab.athena({"app": pg.uri()})
        seen, slow, stop = {}, [], threading.Event()

        def load():
            while not stop.is_set():
                began = time.monotonic()
                try:
                    a = server.fetch("app", POINT, timeout=15)
                    key = a.status if a.status in (200,) else (a.status, a.json["code"])
                except Exception as e:  # a hung or cut request
                    key = repr(e)
                seen[key] = seen.get(key, 0) + 1
                if time.monotonic() - began > 12:
                    slow.append(time.monotonic() - began)
        threads = [threading.Thread(target=load) for _ in range(32)]
        for t in threads:
            t.start()
        time.sleep(0.5)
        for mode in ("fast", "immediate"):
            pg.stop(mode)
            time.sleep(0.7)
            pg.start()
            time.sleep(1.5)
        pg.kill()
        time.sleep(1)
        pg.start_after_kill()
        wait_for("fetches work again", 15, lambda: server.fetch("app", POINT).status == 200)
        time.sleep(0.5)
        stop.set()
        for t in threads:
            t.join(30)
            self.assertFalse(t.is_alive(), "a request hangs")
        print("answers during three restarts:", seen, file=sys.stderr)
        self.assertFalse(slow)
        self.assertEqual([k for k in seen if k != 200 and not (isinstance(k, tuple) and k[0] == 503)], [])
        self.assertGreater(seen[200], 100)
        # Each loop has connections of its own, and tries again after two seconds at most.
        wait_for("every loop is back", 5, lambda: {server.fetch("app", POINT).status for _ in range(50)} == {200})

    def test_term_drains_and_ends_with_zero(self):
        server = self.lab.athena({"app": self.pg.uri("app")})
        self.pg.run("create or replace view nap as select id, pg_sleep(8)::text as slept from users where id = 1", "app")
        got = []
        t = threading.Thread(target=lambda: got.append(server.fetch("app", {"table_name": "nap", "columns": ["id", "slept"]})))
        t.start()
        wait_for("the query runs", 20, lambda: self.backends('%nap%') == "1" or got)
        server.process.send_signal(signal.SIGTERM)
        t.join(20)
        self.assertEqual(got[0].status, 200, got[0].body)
        self.assertEqual(server.process.wait(20), 0, server.said())

    def test_a_database_that_is_down_does_not_stop_the_start(self):
        server = self.lab.athena({"app": self.pg.uri("app"), "gone": "postgres://x:topsecret@127.0.0.1:1/none"})
        began = time.monotonic()
        a = server.fetch("gone", POINT)
        self.assertEqual(a.status, 503, a.body)
        self.assertIn("retry-after", a.headers)
        self.assertLess(time.monotonic() - began, 5)
        self.assertEqual(server.fetch("app", POINT).status, 200)
        self.assertNotIn("topsecret", a.body + server.said() + self.log("success.log", server) + self.log("error.log", server))

    def test_logs_are_reopened_on_usr1(self):
        os.rename(f"{self.server.logs}/success.log", f"{self.server.logs}/success.log.1")
        self.server.process.send_signal(signal.SIGUSR1)
        wait_for("a new success.log", 5, lambda: os.path.exists(f"{self.server.logs}/success.log"))
        a = self.server.fetch("app", POINT)
        wait_for("the line", 5, lambda: a.headers["x-athena-request-id"] in self.log("success.log"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
