#!/usr/bin/env python3
"""What breaks while it is used: databases, the server itself, callers, tables. Nobody hangs, nothing is done by half or twice,
no answer is another request's, and afterwards all is as before."""
import collections
import gzip
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab, executable, wait_for  # noqa: E402
from load import Load, SCHEMA  # noqa: E402

HEADERS = {"x-athena-client": "app", "x-athena-key": ADMIN_KEY, "content-type": "application/json"}
MARK = "Zq7value"  # stands for what a row holds


def raw(method, path, body, more=""):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = "".join(f"{k}: {v}\r\n" for k, v in HEADERS.items())
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{fields}{more}Content-Length: {len(data)}\r\n\r\n".encode() + data


def sanitized():
    with open(executable(), "rb") as f:
        text = f.read()
    return b"__asan_init" in text or b"__tsan_init" in text


def database(lab, schema, **kw):
    pg = lab.postgres(**kw)
    pg.run("create database app")
    pg.run(schema, "app")
    return pg


def with_keys(pg):
    pg.run(subprocess.run([executable(), "idempotency", "install"], stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout, "app")
    return pg


def connections(pg):
    return int(pg.run("select count(*) from pg_stat_activity where datname = 'app' and pid <> pg_backend_pid()"))


class UnderLoadTest(unittest.TestCase):
    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.__exit__)
        self.pg = with_keys(database(self.lab, SCHEMA))

    def goes_on(self, load):
        before = {k: load.seen.get((k, 200), 0) for k in ("insert", "transaction", "script", "stream")}
        wait_for("all kinds are answered again", 30, lambda: all(load.seen.get((k, 200), 0) > n for k, n in before.items()))

    def test_postgresql_goes_away_in_every_way(self):
        redis = self.lab.redis()
        server = self.lab.athena({"app": self.pg.uri("app")}, env=[("ATHENA_REDIS_URL", redis.url)])
        load = Load([server]).start()
        self.addCleanup(load.stop)
        self.goes_on(load)
        for mode in ("fast", "immediate", "kill"):
            if mode == "kill":
                self.pg.kill()
                self.pg.start_after_kill()
            else:
                self.pg.stop(mode)
                time.sleep(0.3)
                self.pg.start()
            self.goes_on(load)
        load.stop()
        print("while PostgreSQL went away:", load.summary(), file=sys.stderr)
        load.check(self, self.pg)
        self.assertLess(load.slowest, 20)
        self.assertLessEqual(connections(self.pg), 30)
        self.assertEqual(self.pg.run("select count(*) from pg_stat_activity where datname = 'app' and state <> 'idle' "
                                     "and pid <> pg_backend_pid()").strip(), "0")
        metrics = server.get("/metrics").body
        self.assertIn("athena_http_in_flight_requests_total 1\n", metrics)

    def test_an_answer_that_the_database_cut_is_an_error_for_operators(self):
        self.pg.run("create table long as select i as id, repeat('x', 500) as body from generate_series(1, 30000) i", "app")
        server = self.lab.athena({"app": self.pg.uri("app")})
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            s.sendall(raw("POST", "/gateway/fetch", {"table_name": "long", "limit": 30000}))
            head = s.recv(1000)
            self.assertIn(b"200 OK", head)
            time.sleep(0.2)
            self.pg.stop("immediate")
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            last = b""
            while piece := s.recv(1 << 20):
                last = (last + piece)[-5:]
        self.assertNotEqual(last, b"0\r\n\r\n", "half an answer that looks whole")

        def logged():
            with open(f"{server.logs}/error.log") as f:
                return [line for line in f if "gateway_trace" in line]
        wait_for("it is in error.log", 10, logged)
        for part in ("status_code=200", 'outcome="server_error"', "error_code=connection_error", "ending=cut"):
            self.assertIn(part, logged()[0])

    def again(self, server, number):
        server.process.send_signal(number)
        status = server.process.wait(40)
        server.process = subprocess.Popen([server.exe, "serve", "--config", server.config, "--port", str(server.port)], cwd=server.folder,
                                          env=server.env, stdout=server.output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        server.ready()
        return status

    def test_the_server_dies_stops_and_reads_its_configuration(self):
        server = self.lab.athena({"app": self.pg.uri("app")})
        load = Load([server]).start()
        self.addCleanup(load.stop)
        for number, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)):
            self.goes_on(load)
            self.assertEqual(self.again(server, number), status)
        for _ in range(10):
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.1)
        self.goes_on(load)
        load.stop()
        print("while the server was restarted:", load.summary(), file=sys.stderr)
        load.check(self, self.pg)


class CallersTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = database(cls.lab, f"""
            create table plain (id int, n int, c text);
            create table slow (id int primary key);
            create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(20); return new; end $$;
            create trigger t before insert on slow for each row execute function slow();
            create view sleepy as select 1 as id, pg_sleep(20)::text as slept;
            create table users (id int primary key, email text unique, age int check (age > 0), born date);
            insert into users values (1, '{MARK}@x', 5, null);
            create function refuses(t text) returns int language plpgsql as $$ begin raise exception 'not %', t using detail = t; end $$;
            create function odd(t text) returns int language plpgsql as $$ begin raise exception 'not %', t using errcode = 'ZZ001'; end $$;
            """)
        cls.server = cls.lab.athena({"app": cls.pg.uri("app")})

    def ask(self, method, path, body):
        return self.server.request(method, path, body, HEADERS)

    def active(self):
        return self.pg.run("select count(*) from pg_stat_activity where datname = 'app' and state <> 'idle' and pid <> pg_backend_pid()").strip()

    def leave(self, method, path, body):
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=30) as s:
            s.sendall(raw(method, path, body))
            wait_for(f"{path} runs", 10, lambda: self.active() != "0")
        wait_for(f"{path} is cancelled", 10, lambda: self.active() == "0")

    def test_what_is_left_alone_is_cancelled_and_undone(self):
        def insert(table, i):
            return {"kind": "insert", "payload": {"table_name": table, "insert_body": {"id": i}}}
        self.leave("POST", "/gateway/transaction", {"operations": [insert("plain", 1), insert("slow", 1), insert("plain", 2)]})
        self.leave("PUT", "/gateway/insert", {"table_name": "slow", "insert_body": [{"id": 2}, {"id": 3}]})
        self.leave("POST", "/gateway/query", {"query": "insert into plain values (3); set application_name = 'left'; "
                                                       "create temp table left_over (a int); select pg_sleep(20)"})
        self.leave("POST", "/gateway/query", {"query": "set application_name = 'left'; select pg_sleep(20)", "execution_mode": "per_statement"})
        self.leave("POST", "/gateway/fetch", {"table_name": "sleepy"})
        self.assertEqual(self.pg.run("select id from plain union all select id from slow", "app").strip(), "")
        for _ in range(20):
            a = self.ask("POST", "/gateway/query", {"query": "select current_setting('application_name') as name, to_regclass('pg_temp.left_over')::text as t"})
            self.assertEqual(a.json["data"], [{"name": "athena", "t": None}])

    def test_who_leaves_an_insert_window_inserts_nothing(self):
        callers = [socket.create_connection(("127.0.0.1", self.server.port), timeout=30) for _ in range(16)]
        for i, s in enumerate(callers):
            s.sendall(raw("PUT", "/gateway/insert", {"table_name": "plain", "insert_body": {"id": 100 + i}}, "X-Athena-Insert-Window: 1500\r\n"))
        time.sleep(0.5)
        for s in callers[:8]:
            s.close()
        for s in callers[8:]:
            self.assertIn(b"200 OK", s.recv(4096)[:20])
            s.close()
        held = self.pg.run("delete from plain where id >= 100 returning id", "app").split()
        self.assertEqual(sorted(held), [str(i) for i in range(108, 116)])

    def test_logs_and_metrics_hold_no_values(self):
        """G-21: what PostgreSQL quotes of values, rows and SQL is for the caller; operators read its code and its kind."""
        asks = [("POST", "/gateway/fetch", {"table_name": "users", "where": {"id": MARK}}),
                ("POST", "/gateway/update", {"table_name": "users", "set": {"born": MARK}, "where": {"id": 1}}),
                ("PUT", "/gateway/insert", {"table_name": "users", "insert_body": {"id": 2, "email": f"{MARK}@x"}}),
                ("PUT", "/gateway/insert", {"table_name": "users", "insert_body": {"id": 2, "age": -1, "email": MARK}}),
                ("PUT", "/gateway/insert", {"table_name": "users", "insert_body": {"id": None, "email": MARK}}),
                ("POST", "/gateway/query", {"query": "select email::int from users"}),
                ("POST", "/gateway/query", {"query": f"select 1 '{MARK}'"}),
                ("POST", "/gateway/query", {"query": f"select '{MARK}' from users where nope"}),
                ("POST", "/gateway/rpc", {"function": "refuses", "args": {"t": MARK}}),
                ("POST", "/gateway/rpc", {"function": "odd", "args": {"t": MARK}}),
                ("GET", f"/rest/v1/users?id=eq.{MARK}", None)]
        ids = []
        for method, path, body in asks:
            a = self.ask(method, path, body)
            self.assertGreaterEqual(a.status, 400, (path, body, a.body))
            ids.append(a.headers["x-athena-request-id"])

        def logged():
            return "".join(pathlib.Path(self.server.logs, name).read_text(errors="replace") for name in os.listdir(self.server.logs))
        wait_for("all are in the log", 10, lambda: all(i in logged() for i in ids))
        seen = logged() + self.server.said() + self.server.get("/metrics").body
        self.assertEqual([line for line in seen.splitlines() if MARK in line], [])
        self.assertIn("A value does not fit its type", seen)

    def test_what_callers_can_invent_is_bounded(self):
        c = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        statuses = collections.Counter()

        def ask(method, path, body):
            c.request(method, path, json.dumps(body), HEADERS)
            r = c.getresponse()
            r.read()
            statuses[r.status] += 1
        rng = random.Random(7)
        for i in range(900):
            ask("POST", "/gateway/fetch", {"table_name": "plain", "columns": rng.choice((["id"], ["n"], ["c", "id"])), "limit": i % 50, "conditions": [
                {"column": rng.choice(("id", "n")), "operator": rng.choice(("eq", "neq", "gt", "lt")), "value": i} for _ in range(rng.randint(1, 9))]})
            ask("POST", "/gateway/query", {"query": f"select {i} as a{i}"})
        self.assertEqual(set(statuses), {200})
        for i in range(30):  # each waits for a look at the catalogue, in case it has just been made
            ask("POST", "/gateway/fetch", {"table_name": f"invented_{i}"})
            ask("POST", "/gateway/rpc", {"function": f"invented_{i}"})
            ask("GET", f"/invented/{i}", None)
        self.assertEqual(set(statuses), {200, 400, 404})
        metrics = self.server.get("/metrics").body
        self.assertNotIn("invented_", metrics)
        for _ in range(4):
            a = self.ask("POST", "/gateway/query", {"query": "select count(*) as n from pg_prepared_statements"})
            self.assertLess(a.json["data"][0]["n"], 300)
        c.close()

    def memory(self):
        with open(f"/proc/{self.server.process.pid}/status") as f:
            return next(int(line.split()[1]) // 1024 for line in f if line.startswith("VmRSS"))

    @unittest.skipIf(sanitized(), "sanitizers keep what was freed")
    def test_memory_comes_back_from_bodies_that_were_never_finished(self):
        body = gzip.compress(b"[" + b" " * 2_000_000 + b"]")
        before, most = self.memory(), 0
        for _ in range(2):
            callers = []
            for _ in range(150):
                callers.append(socket.create_connection(("127.0.0.1", self.server.port), timeout=30))
                callers[-1].sendall(raw("POST", "/gateway/fetch", body, "Content-Encoding: gzip\r\n")[:-20])
            time.sleep(0.5)
            most = max(most, self.memory())
            for s in callers:
                s.close()
        self.assertGreater(most, before + 50, "bodies were not read")
        wait_for("the memory is given back", 15, lambda: self.memory() < before + 40)

    def test_a_target_may_be_long(self):
        a = self.ask("GET", f"/rest/v1/plain?id=in.({','.join(str(i) for i in range(10000, 20000))})", None)
        self.assertEqual((a.status, a.json["data"]), (200, []))


class ManyDatabasesTest(unittest.TestCase):
    """Fifty clients share one small budget of connections with one that is down and one that hangs."""
    CLIENTS = 50

    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.__exit__)
        self.pg = self.lab.postgres(settings=["max_connections=40"])
        self.pg.run("create view who as select current_database()::text as n", "template1")
        self.pg.run("".join(f"create database d{i};\n" for i in range(self.CLIENTS)))
        self.other = {name: self.lab.postgres(tcp=True) for name in ("hangs", "down")}
        for pg in self.other.values():
            pg.run("create table who (n text); insert into who values ('x')")
        self.server = self.lab.athena({**{f"c{i}": self.pg.uri(f"d{i}") for i in range(self.CLIENTS)},
                                       **{name: pg.tcp_uri() for name, pg in self.other.items()}}, more="pool:\n  budget: 24\n")

    def stop_processes(self, number):
        with open(f"{self.other['hangs'].data}/postmaster.pid") as f:
            first = int(f.readline())
        children = subprocess.run(["pgrep", "-P", str(first)], stdout=subprocess.PIPE, text=True).stdout.split()
        for pid in [first, *map(int, children)]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def ask(self, c, name):
        c.request("POST", "/gateway/fetch", json.dumps({"table_name": "who", "columns": ["n"]}),
                  {**HEADERS, "x-athena-client": name, "cache-control": "no-cache"})
        r = c.getresponse()
        return r.status, json.loads(r.read())

    def calls(self, ends, seen, names, wrong):
        c = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=40)
        while not ends.is_set():
            name, began = random.choice(names), time.monotonic()
            try:
                status, a = self.ask(c, name)
            except (OSError, http.client.HTTPException) as e:
                wrong.append((name, repr(e)))
                c.close()
                continue
            kind = "others" if name[0] == "c" else name
            seen[kind, status] += 1
            if kind == "others" and (status != 200 or a["data"] != [{"n": "d" + name[1:]}]):
                wrong.append((name, status, a))
            elif kind == "others" and time.monotonic() - began > 5:
                wrong.append((name, "slow", time.monotonic() - began))
            elif kind != "others":
                time.sleep(0.01)
        c.close()

    def test_others_do_not_notice(self):
        names, seen, wrong, ends = [f"c{i}" for i in range(self.CLIENTS)], collections.Counter(), [], threading.Event()
        self.assertEqual(self.server.fetch("hangs", {"table_name": "who"}).status, 200)
        self.other["down"].stop("immediate")
        self.stop_processes(signal.SIGSTOP)
        try:
            threads = [threading.Thread(target=self.calls, args=(ends, seen, n, wrong)) for n in [names] * 6 + [["down"]] * 2 + [["hangs"]] * 12]
            for t in threads:
                t.start()
            time.sleep(8)
            self.assertLessEqual(int(self.pg.run("select count(*) from pg_stat_activity where datname like 'd%'")), 24)
        finally:
            self.stop_processes(signal.SIGCONT)
            ends.set()
        for t in threads:
            t.join()
        print("beside one that is down and one that hangs:", dict(seen), file=sys.stderr)
        self.assertEqual(wrong[:5], [])
        self.assertGreater(seen["others", 200], 100)
        self.assertGreater(seen["hangs", 503], 0)
        self.assertEqual({s for k, s in seen if k == "down"}, {503})
        self.other["down"].start()
        for name in ("hangs", "down"):
            wait_for(f"{name} is back", 30, lambda: self.server.fetch(name, {"table_name": "who"}).status == 200)


class AlteredTest(unittest.TestCase):
    """Tables and functions change under everything that uses them: right answers, or what is missing by name."""
    SCHEMA = """
    create table t (id int primary key, a text, b int, keep text);
    insert into t select i, 'a' || i, i, 'k' || i from generate_series(1, 50) i;
    create function f(x int) returns int language sql stable as 'select x + 1';
    create view w as select id, keep from t;
    """
    CHANGES = """alter table t add column n1 text default 'new'
alter table t drop column n1
alter table t rename column a to a2
alter table t rename column a2 to a
alter table t alter column b type bigint
alter table t alter column b type int
create or replace function f(x int) returns int language sql stable as 'select 1 + x'
drop function f(int); create function f(x int, y int default 1) returns text language sql stable as 'select (x + y)::text'
drop function f(int, int); create function f(x bigint) returns bigint language sql stable as 'select x + 1'
drop view w; create view w as select keep, id from t
alter table t rename to t9
alter table t9 rename to t""".split("\n")
    MISSING = {"undefined_table", "undefined_column", "undefined_function"}

    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.__exit__)
        self.pg = database(self.lab, self.SCHEMA)
        self.server = self.lab.athena({"app": self.pg.uri("app")})
        self.ends, self.seen, self.wrong = threading.Event(), collections.Counter(), []

    def expect(self, is_so, *what):
        if not is_so:
            self.wrong.append(what)

    def all_columns(self, ask, i):
        a = ask("POST", "/gateway/fetch", {"table_name": "t", "conditions": [{"eq_column": "id", "eq_value": i}]})
        self.expect(not a or a["data"][0]["keep"] == f"k{i}", a)

    def some_columns(self, ask, i):
        a = ask("POST", "/gateway/fetch", {"table_name": "t", "columns": ["id", "a"], "where": {"id": i}})
        self.expect(not a or a["data"] == [{"id": i, "a": f"a{i}"}], a)

    def of_view(self, ask, i):
        a = ask("GET", f"/rest/v1/w?id=eq.{i}", None)
        self.expect(not a or a["data"] == [{"id": i, "keep": f"k{i}"}], a)

    def update(self, ask, i):
        a = ask("POST", "/gateway/update", {"table_name": "t", "set": {"b": i}, "where": {"id": i}})
        self.expect(not a or a["data"][0]["keep"] == f"k{i}", a)

    def transaction(self, ask, i):
        a = ask("POST", "/gateway/transaction", {"operations": [
            {"kind": "update", "payload": {"table_name": "t", "set": {"b": i}, "where": {"id": i}}},
            {"kind": "fetch", "payload": {"table_name": "t", "where": {"id": i}}}]})
        self.expect(not a or a["results"][1]["data"][0]["keep"] == f"k{i}", a)

    def sql(self, ask, i):
        a = ask("POST", "/gateway/query", {"query": "select * from t where id = $1", "params": [i]})
        self.expect(not a or a["data"][0]["keep"] == f"k{i}", a)

    def function(self, ask, i):
        a = ask("POST", "/gateway/rpc", {"function": "f", "args": {"x": i}})
        self.expect(not a or str(a["data"][0]) == str(i + 1), a)

    def run_all(self, step):
        c = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)

        def ask(method, path, body):
            c.request(method, path, json.dumps(body), HEADERS)
            r = c.getresponse()
            a = json.loads(r.read())
            self.seen[r.status, a.get("code")] += 1
            self.expect(r.status == 200 or (r.status == 400 and a["code"] in self.MISSING), path, a)
            return a if r.status == 200 else None
        while not self.ends.is_set():
            try:
                step(ask, random.randint(1, 50))
            except Exception as e:  # a thread that dies must fail the test
                self.wrong.append((step.__name__, repr(e)))
                return
        c.close()

    def test_right_answers_or_what_is_missing(self):
        steps = (self.all_columns, self.all_columns, self.some_columns, self.of_view, self.update, self.transaction, self.transaction,
                 self.sql, self.function)
        threads = [threading.Thread(target=self.run_all, args=(s,)) for s in steps]
        for t in threads:
            t.start()
        try:
            time.sleep(0.5)
            for change in self.CHANGES:
                for statement in change.split("; "):
                    self.pg.run(statement, "app")
                time.sleep(0.4)
            time.sleep(1.5)
            before = sum(n for (status, _), n in self.seen.items() if status != 200)
            time.sleep(0.5)
            after = sum(n for (status, _), n in self.seen.items() if status != 200)
        finally:
            self.ends.set()
            for t in threads:
                t.join()
        print("while tables changed:", dict(self.seen), file=sys.stderr)
        self.assertEqual(self.wrong[:5], [])
        self.assertEqual(after, before, "all is there, and something is missed")


if __name__ == "__main__":
    unittest.main(verbosity=2)
