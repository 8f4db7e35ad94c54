#!/usr/bin/env python3
"""Deferred writes: acknowledged when they are on the disk, done later, in order, none lost."""
import glob
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Athena, Lab, executable, wait_for  # noqa: E402

SCHEMA = """
create table counters (k text primary key, v int);
insert into counters values ('a', 1), ('b', 2), ('c', 3);
create table products (id bigint primary key, title text, price numeric check (price < 1000), made date);
insert into products select i, 'p' || i, i, date '2026-01-01' + i::int from generate_series(1, 20) i;
create table log (seq bigint generated always as identity, id bigint, v int);
create table ordered (id int primary key, v int not null default 0, n int not null default 0);
insert into ordered select i from generate_series(1, 20) i;
create function logged() returns trigger language plpgsql as
  $$ begin insert into log (id, v) values (new.id, new.v); return new; end $$;
create trigger t after update on ordered for each row execute function logged();
create table "Odd name" (id int primary key, v int);
insert into "Odd name" values (1, 1);
create view seen as select k, v from counters;
"""
HEADERS = {"x-athena-key": ADMIN_KEY, "content-type": "application/json", "x-organization-id": "org-1"}
QUEUED = {"status": "success", "message": "Update queued (deferred write mode)", "data": []}
PLUGINS = ("routes-meta", "routes-gateway", "routes-query", "routes-rest", "sink-file")


def settings(folder, window=3600000, most=0, more=""):
    return (f"deferred_writes:\n- enabled: true\n- batch_window_ms: {window}\n- batch_max_size: {most}\n"
            f"- wal_dir: \"{folder}\"\n{more}")


class Buffered(unittest.TestCase):
    """A database of its own for each test, named by it."""
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres()

    def setUp(self):
        self.db = self.id().rsplit(".", 1)[1][:60].lower()
        self.pg.run(f"create database {self.db}")
        self.pg.run(SCHEMA, self.db)
        self.wal = self.lab.place("wal")

    def sql(self, text):
        return self.pg.run(text, self.db).strip()

    def install(self):
        with open(f"{ROOT}/plugins/routes/gateway/idempotency.sql") as f:
            self.sql(f.read())

    def serve(self, more="", clients=None, **kw):
        return self.lab.athena(clients or {"shop": self.pg.uri(self.db)}, plugins=PLUGINS,
                               more=settings(kw.pop("wal", self.wal), kw.pop("window", 3600000), kw.pop("most", 0), more), **kw)

    def again(self, server, wait=True):
        """The same server once more, on its port and in its folder."""
        class Again(Athena):
            def __init__(self, old):
                self.__dict__.update(old.__dict__)
                self.output = open(f"{old.folder}/output", "a+")
                self.process = subprocess.Popen([self.exe, "serve", "--config", self.config, "--port", str(self.port)], cwd=self.folder,
                                                env=self.env, stdout=self.output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        new = Again(server)
        self.lab.things.append(new)
        return new.ready() if wait else new

    def kill(self, server):
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        server.output.close()

    def update(self, server, k, v, client="shop", **headers):
        return server.request("POST", "/gateway/update", {"table_name": "counters", "conditions": [{"eq_column": "k", "eq_value": k}],
                                                          "data": {"v": v}}, {**HEADERS, "x-athena-client": client, **headers})

    def ask(self, server, method, path, body, client="shop", **headers):
        return server.request(method, path, body, {**HEADERS, "x-athena-client": client, **headers})

    def flush(self, server, **headers):
        a = server.request("POST", "/gateway/deferred/flush", None, {**HEADERS, **headers})
        self.assertEqual(a.status, 200, a.body)
        return a.json

    def counters(self):
        return dict(line.split("|") for line in self.sql("select k, v from counters order by k").splitlines())

    def says(self, server, text):
        """It is in the server's logs, soon."""
        def there():
            return text in self.logged(server)
        wait_for(f"the log says {text}", 5, there)

    def logged(self, server):
        text = server.said()
        for path in glob.glob(f"{server.logs}/*.log"):
            with open(path, errors="replace") as f:
                text += f.read()
        return text

    def metric(self, server, name):
        for line in server.get("/metrics").body.splitlines():
            if line.startswith(name) and line[len(name)] in " {":
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"no metric {name}")


class AnswersTest(Buffered):
    def test_exact_bodies_and_pairs(self):
        """Checklist 4; D-08: numbers and dates are compared as what they are."""
        s = self.serve()
        a = self.update(s, "a", 100)
        self.assertEqual((a.status, a.body), (200, '{"data":[],"message":"Update queued (deferred write mode)","status":"success"}'))
        a = self.ask(s, "DELETE", "/gateway/delete", {"table_name": "counters", "column_name": "k", "resource_id": "b"})
        self.assertEqual((a.status, a.body), (200, '{"client":"shop","column_name":"k","message":"Delete queued (deferred write mode)",'
                                              '"resource_id":"b","status":"success","success":true,"table_name":"counters"}'))
        a = self.ask(s, "DELETE", "/gateway/delete", {"table_name": "products", "resource_id": "7"})
        self.assertEqual(a.json["column_name"], "id")
        for body in ({"table_name": "products", "conditions": [{"eq_column": "id", "eq_value": 5}], "data": {"title": "deferred"}},
                     {"table_name": "public.products", "conditions": [{"column": "made", "operator": "gt", "value": "2026-01-20"}], "data": {"title": "late"}},
                     {"table_name": "no_such", "conditions": [{"eq_column": "k", "eq_value": "a"}], "data": {"v": 1}}):
            a = self.ask(s, "POST", "/gateway/update", body)
            self.assertEqual((a.status, a.json), (200, QUEUED))
        self.assertEqual(self.counters(), {"a": "1", "b": "2", "c": "3"})
        self.assertEqual(self.metric(s, "athena_deferred_write_buffer_entries"), 6)
        done = self.flush(s)
        self.assertEqual((done["total"], done["succeeded"], done["failed"]), (6, 5, 1))
        self.assertEqual(sorted(done["invalidated_tables"]), [["shop", "counters"], ["shop", "products"], ["shop", "public.products"]])
        self.assertEqual(self.counters(), {"a": "100", "c": "3"})
        self.assertEqual(self.sql("select string_agg(id || title, ',' order by id) from products where id in (5, 7) or title = 'late'"), "5deferred,20late")

    def test_refusals_come_first(self):
        s = self.serve()
        for body, code in (({"table_name": "counters", "data": {"v": 0}}, "missing_conditions"),
                           ({"table_name": "counters", "conditions": [{"eq_column": "k", "eq_value": "a"}]}, "missing_update_payload")):
            a = self.ask(s, "POST", "/gateway/update", body)
            self.assertEqual((a.status, a.code), (400, code))
        self.assertEqual(self.update(s, "a", 1, client="nobody").status, 400)
        self.assertEqual(self.update(s, "a", 1, **{"x-athena-key": "wrong"}).status, 401)
        self.assertEqual(self.metric(s, "athena_deferred_write_buffer_entries"), 0)


class OrderTest(Buffered):
    def log_of(self):
        rows = [line.split("|") for line in self.sql("select id, v from log order by seq").splitlines()]
        return [(int(i), int(v)) for i, v in rows]

    def test_writes_at_once_come_after_what_waits(self):
        """D-24: insert, REST, SQL, a transaction and an update with an idempotency key flush their table first."""
        self.install()
        s = self.serve()
        at_once = [
            lambda v: self.ask(s, "PUT", "/gateway/insert", {"table_name": "ordered", "insert_body": {"id": 100 + v, "v": v}}),
            lambda v: self.ask(s, "PATCH", "/rest/v1/ordered?id=eq.1", {"v": v}),
            lambda v: self.ask(s, "POST", "/gateway/query", {"query": f"update ordered set v = {v} where id = 1"}),
            lambda v: self.ask(s, "POST", "/gateway/transaction", {"operations": [
                {"kind": "update", "payload": {"table_name": "ordered", "conditions": [{"eq_column": "id", "eq_value": 1}], "data": {"v": v}}}]}),
            lambda v: self.ask(s, "POST", "/gateway/update", {"table_name": "ordered", "conditions": [{"eq_column": "id", "eq_value": 1}],
                                                              "data": {"v": v}}, **{"idempotency-key": f"k{v}"}),
        ]
        want = []
        for n, write in enumerate(at_once, 1):
            a = self.ask(s, "POST", "/gateway/update", {"table_name": "ordered", "conditions": [{"eq_column": "id", "eq_value": 1}], "data": {"v": 10 * n}})
            self.assertEqual(a.json, QUEUED)
            a = write(10 * n + 1)
            self.assertEqual(a.status, 200, a.body)
            self.assertNotIn("deferred write mode", a.body)
            want += [(1, 10 * n)] + ([(1, 10 * n + 1)] if n > 1 else [])
            self.assertEqual(self.log_of(), want)

    def test_other_tables_wait_on_and_views_do_not(self):
        """D-24: only the table that is written is flushed; what is no plain table may write to any."""
        s = self.serve()
        self.update(s, "a", 7)
        self.assertEqual(self.ask(s, "PUT", "/gateway/insert", {"table_name": "products", "insert_body": {"id": 99}}).status, 200)
        self.assertEqual(self.counters()["a"], "1")
        self.assertEqual(self.ask(s, "PATCH", "/rest/v1/seen?k=eq.a", {"v": 8}).status, 200)
        self.assertEqual(self.counters()["a"], "8")
        self.assertEqual(self.flush(s)["total"], 0)

    def test_cached_answers_follow(self):
        """D-09: a flush tells the cache, and so does a write at once while the mode is on."""
        s = self.serve()
        fetch = {"table_name": "counters", "columns": ["k", "v"], "sort_by": {"field": "k", "direction": "asc"}}
        read = lambda: {r["k"]: r["v"] for r in s.fetch("shop", fetch).json["data"]}  # noqa: E731
        self.assertEqual(read(), {"a": 1, "b": 2, "c": 3})
        self.update(s, "a", 9)
        self.assertEqual(read()["a"], 1)
        self.flush(s)
        self.assertEqual(read()["a"], 9)
        self.ask(s, "PUT", "/gateway/insert", {"table_name": "counters", "insert_body": {"k": "n", "v": 5}})
        self.assertEqual(read()["n"], 5)

    def test_the_clock_and_the_size_flush(self):
        """D-23: batch_max_size flushes early, the window does by itself; 0 turns either off."""
        s = self.serve(most=3)
        for v in (11, 12):
            self.update(s, "a", v)
        self.assertEqual(self.counters()["a"], "1")
        self.update(s, "a", 13)
        wait_for("three are enough", 5, lambda: self.counters()["a"] == "13")
        s.stop()
        s = self.serve(window=200)
        self.update(s, "a", 14)
        wait_for("the window is over", 5, lambda: self.counters()["a"] == "14")
        s.stop()
        s = self.serve(window=0)
        for v in range(20, 140):
            self.update(s, "a", v)
        self.assertEqual(self.counters()["a"], "14")
        s.stop()
        self.assertEqual(self.counters()["a"], "139", "a stop flushes")
        self.assertEqual(sorted(os.listdir(self.wal)), ["lock"], "nothing is left of what is done")

    def test_bounds_are_kept(self):
        """D-23: beyond the cap writes are done at once, behind those that wait."""
        s = self.serve(more="- max_entries: 2\n")
        for v in (1, 2):
            self.assertEqual(self.update(s, "a", v).json, QUEUED)
        a = self.update(s, "a", 3)
        self.assertEqual((a.status, a.json["message"]), (200, "Updated 1 rows"))
        self.assertEqual(self.counters()["a"], "3")
        self.assertEqual(self.metric(s, "athena_deferred_write_buffer_entries"), 0)


class FailuresTest(Buffered):
    def test_refused_writes_are_given_up_with_their_error(self):
        """D-08, D-22: ten attempts of a statement, then dead.jsonl; the good ones around it are done (D-25)."""
        s = self.serve()
        for i in (1, 2, 3):
            body = {"table_name": "products", "conditions": [{"eq_column": "id", "eq_value": i}], "data": {"title": "new", "price": 5000 if i == 2 else 5}}
            self.assertEqual(self.ask(s, "POST", "/gateway/update", body).json, QUEUED)
        done = self.flush(s)
        self.assertEqual((done["total"], done["succeeded"], done["failed"]), (3, 2, 1))
        self.assertEqual(self.sql("select count(*) from products where title = 'new'"), "2")
        for n in range(2, 11):
            done = self.flush(s)
            self.assertEqual((done["total"], done["succeeded"], done["failed"], done["invalidated_tables"]), (1, 0, 1, []), n)
        self.assertEqual(self.flush(s)["total"], 0)
        with open(f"{self.wal}/dead.jsonl") as f:
            dead = [json.loads(line) for line in f]
        self.assertEqual(len(dead), 1)
        self.assertEqual((dead[0]["client_name"], dead[0]["table_name"], dead[0]["flush_attempts"], dead[0]["operation"]["op"]),
                         ("shop", "products", 10, "update"))
        self.assertEqual(dead[0]["operation"]["body"]["data"], {"title": "new", "price": 5000})
        self.assertIn("price", dead[0]["error"]["message"])
        self.says(s, "moved to dead.jsonl")
        self.assertNotIn("5000", self.logged(s), "what was to be written is in no log")

    def test_an_outage_loses_nothing(self):
        """D-22: a database that is away counts no attempts; writes are acknowledged meanwhile and done when it is back."""
        pg = self.lab.postgres()
        pg.run(f"create database {self.db}")
        pg.run(SCHEMA, self.db)
        s = self.serve(window=100, clients={"shop": pg.uri(self.db), "other": self.pg.uri(self.db)})
        self.assertEqual(self.update(s, "a", 1).json, QUEUED)
        wait_for("it is reached", 5, lambda: self.metric(s, "athena_deferred_write_buffer_entries") == 0)
        pg.stop("immediate")
        for v in range(2, 15):
            self.assertEqual(self.update(s, "a", v).json, QUEUED)
        for _ in range(12):
            done = self.flush(s)
            self.assertEqual((done["total"], done["succeeded"], done["failed"]), (13, 0, 13))
        self.assertEqual(self.update(s, "b", 50, client="other").json, QUEUED)
        wait_for("another client is not held up", 5, lambda: self.counters()["b"] == "50")
        a = self.ask(s, "PUT", "/gateway/insert", {"table_name": "counters", "insert_body": {"k": "n", "v": 5}})
        self.assertEqual(a.status, 503, a.body)
        pg.start()
        wait_for("all of them are done", 30, lambda: pg.run("select v from counters where k = 'a'", self.db).strip() == "14")
        self.assertEqual(os.path.exists(f"{self.wal}/dead.jsonl"), False)

    def test_a_database_of_the_callers_own_is_never_deferred(self):
        """D-19: with and without X-Athena-Client, a direct URI is done at once, in its database."""
        pg = self.lab.postgres(tcp=True)
        pg.run(f"create database {self.db}")
        pg.run(SCHEMA, self.db)
        s = self.serve(gateway="- jdbc_allow_private_hosts: true\n")
        uri = {"x-pg-uri": pg.tcp_uri(self.db)}
        self.assertIn("Updated 1 rows", self.update(s, "a", 900, **uri).body)
        body = {"table_name": "counters", "column_name": "k", "resource_id": "b"}
        a = s.request("DELETE", "/gateway/delete", body, {**HEADERS, **uri})
        self.assertEqual((a.status, a.json["message"]), (200, "Data deleted successfully"))
        self.assertEqual(pg.run("select k, v from counters order by k", self.db).split(), ["a|900", "c|3"])
        self.assertEqual(self.counters(), {"a": "1", "b": "2", "c": "3"})
        self.assertEqual(self.flush(s)["total"], 0)

    def test_one_process_has_the_log(self):
        """D-20: a second process leaves the log alone, says whose it is, writes at once, and takes over when the first has gone."""
        first = self.serve()
        self.assertEqual(self.update(first, "a", 10).json, QUEUED)
        second = self.serve()
        a = self.update(second, "b", 20)
        self.assertEqual((a.status, a.json["message"]), (200, "Updated 1 rows"))
        self.says(second, f'"{self.wal}/lock" is locked by process {first.process.pid}')
        self.assertEqual(self.counters(), {"a": "1", "b": "20", "c": "3"})
        self.assertEqual(self.flush(second)["total"], 0)
        self.kill(first)
        wait_for("the second does what the first left", 10, lambda: self.counters()["a"] == "10")
        self.assertEqual(self.update(second, "b", 21).json, QUEUED)

    def test_a_full_disk_is_no_reason_to_refuse(self):
        """Writes that cannot be logged are done at once; when there is room again they are deferred again."""
        os.makedirs(self.wal)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", self.wal], capture_output=True).returncode:
            self.skipTest("no file system of a test's own can be mounted here")
        self.addCleanup(subprocess.run, ["umount", "-l", self.wal], capture_output=True)
        s = self.serve()
        self.assertEqual(self.update(s, "a", 5).json, QUEUED)
        with open(f"{self.wal}/ballast", "wb", buffering=0) as f:
            try:
                while f.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        big = {"table_name": "products", "conditions": [{"eq_column": "id", "eq_value": 1}], "data": {"title": "x" * 20000}}
        a = self.ask(s, "POST", "/gateway/update", big)
        self.assertEqual((a.status, a.json["message"]), (200, "Updated 1 rows"))
        self.says(s, "cannot be kept")
        os.unlink(f"{self.wal}/ballast")
        self.assertEqual(self.ask(s, "POST", "/gateway/update", big).json, QUEUED)
        self.kill(s)
        s = self.again(s)
        wait_for("what was acknowledged is done", 10, lambda: self.counters()["a"] == "5")

    def test_the_published_servers_file_is_taken_over(self):
        """Its entries are done, lines that are none are kept, and the file is gone."""
        os.makedirs(self.wal)
        lines = [
            {"id": "1", "client_name": "shop", "table_name": "counters", "created_at_unix_ms": 1, "flush_attempts": 0,
             "operation": {"op": "update", "conditions": [{"column": "k", "value": "a"}], "set_payload": {"v": 70}}},
            {"id": "2", "client_name": "shop", "table_name": "products", "created_at_unix_ms": 2, "flush_attempts": 3,
             "operation": {"op": "delete", "conditions": [{"column": "id", "value": "6"}]}},
            {"id": "3", "client_name": "shop", "table_name": "counters", "created_at_unix_ms": 3, "flush_attempts": 0,
             "operation": {"op": "insert", "payload": {"k": "z", "v": 26}}}]
        with open(f"{self.wal}/pending.wal", "w") as f:
            f.write("".join(json.dumps(x) + "\n" for x in lines) + "{half a li")
        s = self.serve()
        wait_for("they are done", 10, lambda: self.counters().get("z") == "26" and self.counters()["a"] == "70")
        self.assertEqual(self.sql("select count(*) from products where id = 6"), "0")
        self.assertFalse(os.path.exists(f"{self.wal}/pending.wal"))
        self.assertTrue(os.path.exists(f"{self.wal}/pending.wal.bad"))
        self.says(s, "3 deferred writes were taken over")

    def test_off_and_who_may_flush(self):
        """D-01: flushing needs a key, unless deferred_routes_public says that it does not. Off, it says so."""
        s = self.lab.athena({"shop": self.pg.uri(self.db)}, plugins=PLUGINS, gateway="- deferred_routes_public: true\n")
        self.assertEqual(s.request("POST", "/gateway/deferred/flush").status, 200)
        s = self.lab.athena({"shop": self.pg.uri(self.db)}, plugins=PLUGINS)
        self.assertEqual(s.request("POST", "/gateway/deferred/flush").status, 401)
        self.assertEqual(s.request("POST", "/gateway/deferred/flush", None, {"x-athena-key": "wrong"}).status, 401)
        self.assertEqual(self.flush(s), {"status": "success", "message": "Deferred writes are not enabled", "flushed": 0, "failed": 0, "total": 0})
        self.assertIn("Updated 1 rows", self.update(s, "a", 2).body)


class CrashTest(Buffered):
    """kill -9 at random moments under load; the trigger of `ordered` logs each time that a row is written."""
    def load(self, server, threads, stop, acked):
        def write(i):
            v = 0
            while not stop.is_set():
                v += 1
                body = {"table_name": "ordered", "conditions": [{"eq_column": "id", "eq_value": i}], "data": {"v": self.base + v}}
                try:
                    a = self.ask(server, "POST", "/gateway/update", body)
                    if a.status == 200 and a.json == QUEUED:
                        acked[i].append(self.base + v)
                except (OSError, ValueError):
                    return
        workers = [threading.Thread(target=write, args=(i,)) for i in range(1, threads + 1)]
        for w in workers:
            w.start()
        return workers

    def crash(self, rounds, twice):
        server = self.serve(window=100, most=7)
        acked = {i: [] for i in range(1, 5)}
        for n in range(rounds):
            self.base = (n + 1) * 100000
            stop = threading.Event()
            workers = self.load(server, 4, stop, acked)
            time.sleep(random.uniform(0.05, 0.7))
            self.kill(server)
            stop.set()
            for w in workers:
                w.join()
            server = self.again(server)
        self.assertGreater(sum(map(len, acked.values())), rounds)
        self.update(server, "a", 77)
        wait_for("everything is done", 20, lambda: self.counters()["a"] == "77" and self.flush(server)["total"] == 0)
        self.assertEqual(self.metric(server, "athena_deferred_write_unmarked_total") > 0, twice)
        for i, wrote in acked.items():
            log = [int(v) for v in self.sql(f"select v from log where id = {i} order by seq").split()]
            self.assertEqual(sorted(set(wrote) - set(log)), [], "acknowledged and lost")
            if not twice:
                self.assertEqual(len(log), len(set(log)), "done twice")
            first = list(dict.fromkeys(log))
            self.assertEqual(first, sorted(first), "out of order")
        server.stop()

    def test_none_lost_none_twice(self):
        """Checklist 4, D-07: with the table of idempotency keys each write is done once."""
        self.install()
        self.crash(6, twice=False)

    def test_none_lost_without_the_table(self):
        """The same without it: at least once, and a metric says how many those are."""
        self.crash(3, twice=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
