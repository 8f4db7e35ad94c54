#!/usr/bin/env python3
"""Answers of any size: memory while they go out, readers that are slow or leave, databases that die half-way."""
import gzip
import http.client
import json
import os
import re
import select
import socket
import sys
import threading
import time
import unittest
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab, executable, wait_for  # noqa: E402

with open(executable(), "rb") as f:
    SLOW = b"__tsan_init" in f.read()  # ten times slower: fewer rows, which say as much about its kind of fault
ROWS = 50_000 if SLOW else 1_000_000
STREAMS, READS, ATTEMPTS = 100, 200, 6
MORE_MEMORY = 32 << 20
FORMATS = {"application/json": b'{"id":', "application/x-ndjson": b"\n", "text/csv": b"\r\n"}

# A text of 32 hex digits six times: 192 bytes, with the id about 200 a row.
SCHEMA = f"""
create unlogged table wide as select i as id, repeat(md5(i::text), 6) as body from generate_series(1, {ROWS}) i;
create table mixed (id int primary key, name text, doc json, n numeric);
insert into mixed select i, case i % 7 when 0 then null when 1 then '' when 2 then 'a,"b"' else 'name ' || i end,
    ('{{"x":' || i || E',\\n "y":[1,2]}}')::json, i / 7.0 from generate_series(1, 5000) i;
create table point (id int primary key, name text);
insert into point select i, 'point ' || i from generate_series(1, 1000) i;
create view breaks as select i as id, repeat('x', 200) as body, 1 / (4000 - i) as late from generate_series(1, 5000) i;
analyze;
"""
WIDE = {"table_name": "wide", "select": "id,body"}  # no limit
POINT = {"table_name": "point", "columns": ["id", "name"], "conditions": [{"eq_column": "id", "eq_value": 7}]}

# What was freed is kept by the sanitizer for a while: less of it, since memory is measured here.
ENV = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=2:thread_local_quarantine_size_kb=64"}


def request(body, **headers):
    data = json.dumps(body).encode()
    lines = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
    return (f"POST /gateway/fetch HTTP/1.1\r\nHost: x\r\nx-athena-client: app\r\nx-athena-key: {ADMIN_KEY}\r\n{lines}"
            f"Content-Length: {len(data)}\r\n\r\n").encode() + data


class StreamTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)  # also when what follows fails
        cls.pg = cls.lab.postgres()
        cls.pg.run("create database app")
        cls.pg.run(SCHEMA, "app")
        cls.server = cls.start()

    @classmethod
    def start(cls, pg=None, **server):
        more = "pool:\n  max_connections: 150\nserver:\n" + "".join(f"  {k}: {v}\n" for k, v in server.items())
        gateway = "routes-gateway:\n  pieces_above: 1000\n"
        return cls.lab.athena({"app": (pg or cls.pg).uri("app")}, more=(more if server else more[:-len("server:\n")]) + gateway, env=ENV)

    def connect(self, server=None, room=None):
        s = socket.socket()
        if room:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        s.settimeout(60)
        s.connect(("127.0.0.1", (server or self.server).port))
        return s

    def open(self, body, server=None, **headers):
        """The answer when its head is there."""
        c = http.client.HTTPConnection("127.0.0.1", (server or self.server).port, timeout=120)
        self.addCleanup(c.close)
        c.request("POST", "/gateway/fetch", json.dumps(body),
                  {"x-athena-client": "app", "x-athena-key": ADMIN_KEY, **{k.replace("_", "-"): v for k, v in headers.items()}})
        return c.getresponse()

    def fetch(self, body, **kw):
        r = self.open(body, **kw)
        return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()

    def memory(self, field):
        with open(f"/proc/{self.server.process.pid}/status") as f:
            return int(re.search(rf"{field}:\s+(\d+) kB", f.read())[1]) << 10

    def running(self, like):
        return int(self.pg.run(f"select count(*) from pg_stat_activity where query like '%{like}%' and datname = 'app' "
                               "and state <> 'idle' and pid <> pg_backend_pid()"))

    # ---- what it looks like ----

    def test_a_long_answer_is_the_short_ones_bytes(self):
        whole = self.lab.athena({"app": self.pg.uri("app")}, more="routes-gateway:\n  pieces_above: 1000000\n", env=ENV)
        asks = [{"table_name": "mixed", "select": "id,name,doc,n", "orderBy": {"id": "asc"}, "limit": 5000},
                {"table_name": "mixed", "columns": ["id", "the name:name"], "limit": 4000, "sort_by": {"field": "id"}},
                {"table_name": "mixed", "limit": 5000, "count": "exact", "sort_by": {"field": "id"}, "strip_nulls": True},
                {"table_name": "mixed", "limit": 5000, "count": "planned", "sort_by": {"field": "id"}}]
        for ask in asks:
            for accept in FORMATS:
                for _ in range(3):  # from the third time on by a plan
                    status, headers, got = self.fetch(ask, accept=accept)
                    self.assertEqual((status, headers["transfer-encoding"]), (200, "chunked"))
                _, plain, want = self.fetch(ask, server=whole, accept=accept)
                self.assertIn("content-length", plain)
                self.assertEqual(got, want)
                for name in ("content-type", "x-athena-count", "x-athena-cache-key", "x-athena-cache-outcome"):
                    self.assertEqual(headers.get(name), plain.get(name), name)
                _, headers, got = self.fetch(ask, accept=accept, accept_encoding="gzip")
                self.assertEqual(headers["content-encoding"], "gzip")
                self.assertEqual(gzip.decompress(got), want)

    def test_an_estimated_count_stands_behind_the_rows(self):
        for limit, want in ((6000, 5000), (4000, None)):
            _, headers, got = self.fetch({"table_name": "mixed", "limit": limit, "count": "estimated"})
            self.assertIn("transfer-encoding", headers)
            answer = json.loads(got)
            self.assertGreaterEqual(answer["count"], want or 4000)
            self.assertEqual(list(answer), ["cache_key", "data", "count", "message", "status"])

    def test_what_is_short_has_a_length(self):
        """Point reads, small limits, results of one piece, and heads."""
        for ask, rows in ((POINT, 1), ({**WIDE, "limit": 1000}, 1000), ({**WIDE, "where": {"id": {"lt": 11}}}, 10), (
                {"table_name": "point", "select": "id", "where": {"id": 3}}, 1), ({"table_name": "mixed", "select": "id", "head": True}, 0),
                ({"table_name": "point", "select": "id"}, 1000)):
            _, headers, got = self.fetch(ask)
            self.assertIn("content-length", headers, ask)
            self.assertEqual(len(json.loads(got)["data"]), rows)

    def test_the_account_has_its_rows(self):
        _, headers, _ = self.fetch({"table_name": "mixed", "select": "id,doc"})

        def line():
            with open(f"{self.server.logs}/success.log") as f:
                return [x for x in f if headers["x-athena-request-id"] in x and "gateway_trace" in x]
        wait_for("the trace line is in success.log", 5, line)
        self.assertIn("row_count=5000 ", line()[0])

    def test_a_head_says_what_a_get_would(self):
        path = "/data?view=mixed&eq_column=id&eq_value=5&limit="
        with self.connect() as s:
            text = b""
            for limit in (5000, 10):
                s.sendall(f"HEAD {path}{limit} HTTP/1.1\r\nHost: x\r\nx-athena-client: app\r\nx-athena-key: {ADMIN_KEY}\r\n\r\n".encode())
                while text.count(b"\r\n\r\n") < (1 if limit == 5000 else 2):
                    text += s.recv(65536)
            self.assertEqual(text.count(b"HTTP/1.1 200"), 2)
            self.assertNotIn(b"cache_key\":", text)
        with self.connect() as s:  # a view without keys may have any number of rows
            s.sendall(f"HEAD /data?view=breaks&eq_column=body&eq_value={'x' * 200}&limit=3900 HTTP/1.1\r\nHost: x\r\n"
                      f"x-athena-client: app\r\nx-athena-key: {ADMIN_KEY}\r\n\r\n".encode())
            got = s.recv(65536)
            self.assertIn(b"200 OK", got)
            self.assertIn(b"transfer-encoding: chunked", got)
            self.assertTrue(got.endswith(b"\r\n\r\n"))
            s.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertTrue(s.recv(65536).endswith(b"\r\n\r\npong"))

    # ---- memory ----

    def test_a_million_rows_need_little_memory(self):
        """G-14: a read without a limit is no danger to the server."""
        self.fetch(POINT)
        self.fetch({"table_name": "mixed", "select": "id"}, accept_encoding="gzip")
        for accept, packed in [(a, False) for a in FORMATS] + [("application/json", True)]:
            with open(f"/proc/{self.server.process.pid}/clear_refs", "w") as f:
                f.write("5")  # the high-water mark begins anew
            before, began = self.memory("VmRSS"), time.monotonic()
            r = self.open(WIDE, accept=accept, accept_encoding="gzip" if packed else "identity")
            unpack = zlib.decompressobj(31) if packed else None
            mark, seen, size, tail = FORMATS[accept], 0, 0, b""
            while True:
                piece = r.read1(1 << 20)
                if not piece:
                    break
                text = unpack.decompress(piece) if unpack else piece
                size += len(text)
                text = tail + text
                seen += text.count(mark)
                tail = text[-(len(mark) - 1):] if len(mark) > 1 else b""
            self.assertTrue(unpack is None or unpack.eof)
            self.assertEqual(seen - (accept == "text/csv"), ROWS)
            self.assertGreater(size, 192 * ROWS)
            grown = self.memory("VmHWM") - before
            print(f"{accept}{' gzip' if packed else ''}: {size >> 20} MiB in {time.monotonic() - began:.1f} s, "
                  f"{grown / (1 << 20):.1f} MiB more memory", file=sys.stderr)
            self.assertLess(grown, MORE_MEMORY, accept)

    # ---- readers ----

    def slow_readers(self):
        """Streams whose readers take a little at a time; what ends them."""
        sockets, over = [self.connect(room=4096) for _ in range(STREAMS)], threading.Event()
        for s in sockets:
            s.sendall(request(WIDE))

        def read():
            while not over.wait(0.2):
                for s in select.select(sockets, [], [], 0)[0]:
                    s.recv(2048)
        thread = threading.Thread(target=read)
        thread.start()

        def end():
            over.set()
            thread.join()
            for s in sockets:
                s.close()
        return end

    def point_reads(self):
        """The 99th percentile of reads one after the other, in ms."""
        text, took = request(POINT, cache_control="no-cache"), []
        with self.connect() as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(READS):
                began, got = time.monotonic(), b""
                s.sendall(text)
                while not got.endswith(b"}"):
                    got += s.recv(65536)
                took.append(time.monotonic() - began)
                self.assertTrue(got.startswith(b"HTTP/1.1 200"), got[:200])
                time.sleep(0.002)
        return sorted(took)[int(READS * 0.99)] * 1000

    def test_slow_readers_do_not_slow_point_reads(self):
        """The machine's own noise is no fault of the server: the best of several attempts counts."""
        self.point_reads()
        for attempt in range(ATTEMPTS):
            quiet = self.point_reads()
            end = self.slow_readers()
            try:
                wait_for("all streams run", 60, lambda: self.running("wide") >= STREAMS)
                time.sleep(1)  # until all buffers on the way are full
                busy = self.point_reads()
                self.assertEqual(self.running("wide"), STREAMS)
            finally:
                end()
            wait_for("their queries are gone", 30, lambda: self.running("wide") == 0)
            print(f"p99 of point reads: {quiet:.2f} ms quiet, {busy:.2f} ms beside {STREAMS} streams", file=sys.stderr)
            if busy <= 2 * quiet:
                return
        self.fail("point reads were more than twice as slow in each attempt")

    def test_a_reader_that_leaves_gives_its_connection_back(self):
        server = self.lab.athena({"app": self.pg.uri("app")}, more="pool:\n  max_connections: 2\nserver:\n  loops: 1\n", env=ENV)
        for _ in range(5):
            s = self.connect(server, room=4096)
            s.sendall(request(WIDE))
            self.assertIn(b"200 OK", s.recv(4096))
            self.assertEqual(self.running("wide"), 1)
            s.close()
            wait_for("its query is gone", 10, lambda: self.running("wide") == 0)
            self.assertEqual(self.fetch(POINT, server=server)[0], 200)

    def test_a_reader_that_takes_nothing_is_cut(self):
        server = self.start(write_timeout="500ms")
        s = self.connect(server, room=4096)
        s.sendall(request(WIDE))
        wait_for("its query runs", 10, lambda: self.running("wide") == 1)
        wait_for("its query is gone", 10, lambda: self.running("wide") == 0)
        wait_for("the cut is logged", 5, lambda: self.logged(server, "cut"))
        s.close()

    def test_a_slow_reader_may_take_longer_than_a_request(self):
        """The time without movement counts, not the time from the beginning."""
        server = self.start(request_timeout="1s", loops=1)
        s = self.connect(server, room=65536)
        s.sendall(request({**WIDE, "limit": 20000}))
        got, began = b"", time.monotonic()
        while b"\r\n0\r\n\r\n" not in got[-4096:]:
            piece = s.recv(65536)
            self.assertTrue(piece, "cut")
            got += piece
            if time.monotonic() - began < 2.5:
                time.sleep(0.05)
        self.assertGreater(time.monotonic() - began, 2)
        s.close()

    # ---- what breaks ----

    def logged(self, server, ending):
        with open(f"{server.logs}/success.log") as a, open(f"{server.logs}/error.log") as b:
            return [x for x in list(a) + list(b) if f"ending={ending}" in x or f'"ending":"{ending}"' in x]

    def rest(self, s):
        """All that still comes, to the end of the connection."""
        got = b""
        try:
            while True:
                piece = s.recv(1 << 20)
                if not piece:
                    return got
                got += piece
        except ConnectionResetError:
            return got

    def test_a_statement_that_fails_half_way_is_cut(self):
        for accept in FORMATS:
            with self.connect() as s:
                s.sendall(request({"table_name": "breaks", "select": "id,body,late"}, accept=accept))
                got = self.rest(s)
            self.assertTrue(got.startswith(b"HTTP/1.1 200"))
            self.assertFalse(got.endswith(b"\r\n0\r\n\r\n"))
            self.assertNotIn(b'"status"', got)
        with self.assertRaises(http.client.IncompleteRead):
            self.fetch({"table_name": "breaks", "select": "id,body,late"})
        wait_for("it is logged", 5, lambda: self.logged(self.server, "cut"))
        status, _, got = self.fetch({"table_name": "breaks", "select": "id,late", "where": {"id": {"gt": 3990}}})
        self.assertEqual((status, json.loads(got)["status"]), (400, "error"))  # nothing had gone out yet

    def test_http_1_0_learns_of_a_cut_too(self):
        text = request({"table_name": "breaks", "select": "id,body,late"}, accept="text/csv").replace(b"HTTP/1.1", b"HTTP/1.0")
        with self.connect() as s:
            s.sendall(text)
            with self.assertRaises(ConnectionResetError):
                while s.recv(1 << 20):
                    pass

    def test_a_database_that_dies_is_a_cut(self):
        pg = self.lab.postgres()
        pg.run("create database app")
        pg.run("create table wide as select i as id, repeat('x', 200) as body from generate_series(1, 200000) i", "app")
        server = self.start(pg)
        for accept in FORMATS:
            s = self.connect(server, room=4096)
            s.sendall(request(WIDE, accept=accept))
            got = s.recv(4096)
            self.assertIn(b"200 OK", got)
            pg.stop("immediate")
            got += self.rest(s)
            s.close()
            self.assertFalse(got.endswith(b"\r\n0\r\n\r\n"))
            self.assertNotIn(b'"status"', got)
            self.assertLess(len(got), 200 * 200_000)
            pg.start()
            wait_for("the server has found it again", 30, lambda: self.fetch({**WIDE, "limit": 1}, server=server)[0] == 200)
        wait_for("the cuts are logged", 5, lambda: len(self.logged(server, "cut")) >= 3)
        self.assertRegex(server.get("/metrics").body, r"athena_http_answers_cut_total 3\b")


if __name__ == "__main__":
    unittest.main(verbosity=1)
