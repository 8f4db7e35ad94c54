#!/usr/bin/env python3
"""SQL with an idempotency key: /gateway/query, /gateway/sql and /query/sql run a script once, whatever breaks in between."""
import os
import signal
import subprocess
import sys
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab, executable, wait_for  # noqa: E402

SCHEMA = """
create table users (id int primary key, name text);
insert into users select i, 'user ' || i from generate_series(1, 10) i;
create table log (id serial primary key, what text unique);
create table late (id int, user_id int references users deferrable initially deferred);
create schema side;
create table side.log (what text);
create role other;
grant insert, select on log to other;
grant usage on sequence log_id_seq to other;
create function rid() returns int language sql as $$ select 1 $$;
create procedure commits() language plpgsql as $$ begin insert into log (what) values ('by procedure'); commit; end $$;
"""
# One connection for the requests; the loop that reads the catalogue has the other.
ONE = "pool:\n  max_connections: 2\nserver:\n  loops: 1\n"
PATHS = ("/gateway/query", "/gateway/sql", "/query/sql")


class QueryOnceTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres(tcp=True)
        cls.ddl = subprocess.run([executable(), "idempotency", "install"], stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout
        for name in ("app", "bare"):
            cls.pg.run(f"create database {name}")
            cls.pg.run(SCHEMA if name == "app" else SCHEMA.replace("create role other;", ""), name)
        cls.pg.run(cls.ddl, "app")
        cls.clients = {"app": cls.pg.uri("app"), "bare": cls.pg.uri("bare")}
        cls.server = cls.lab.athena(cls.clients)
        cls.narrow = cls.lab.athena(cls.clients, more=ONE)

    def setUp(self):
        self.sql("truncate log, late, side.log, athena.idempotency_keys restart identity")

    def sql(self, text):
        return self.pg.run(text, "app").strip()

    def logged(self):
        return self.sql("select coalesce(string_agg(what, ' ' order by id), '') from log")

    def kept(self):
        return int(self.sql("select count(*) from athena.idempotency_keys"))

    def query(self, sql, key="k", server=None, path="/gateway/query", client="app", headers=None, timeout=30, **more):
        extra = {} if path == "/gateway/query" else {"driver": "postgresql", "db_name": "shop"}
        return (server or self.server).request("POST", path, {"query": sql, **extra, **more},
                                               {"x-athena-client": client, "x-athena-key": ADMIN_KEY, "content-type": "application/json",
                                                **({"idempotency-key": key} if key else {}), **(headers or {})}, timeout=timeout)

    def first(self, sql, key="k", **more):
        a = self.query(sql, key, **more)
        self.assertEqual(a.status, 200, a.body)
        self.assertNotIn("idempotency-replayed", a.headers)
        return a

    def refused(self, sql, status, code, key="k", replayed=None, **more):
        a = self.query(sql, key, **more)
        self.assertEqual((a.status, a.code, a.headers.get("idempotency-replayed")), (status, code, replayed), a.body)
        return a.json

    # ---- once ----

    def test_the_same_script_is_answered_again(self):
        for path in PATHS:
            self.setUp()
            script = "insert into log (what) values ('a') returning id, what; update users set name = name where id < 4; select count(*) as n from log"
            a = self.first(script, path=path)
            again = [self.query(script, path=path) for _ in range(20)]  # who asks at once again does not meet himself
            for b in again:
                self.assertEqual((b.status, b.body, b.headers["idempotency-replayed"]), (200, a.body, "true"))
                self.assertTrue(b.headers["content-type"].startswith("application/json"))
            rows = a.json["data"] if path == "/gateway/query" else a.json["data"]["rows"]
            self.assertEqual((rows, self.logged(), self.kept()), ([{"n": 1}], "a", 1))
            self.assertEqual(self.first(script.replace("'a'", "'b'"), "another", path=path).status, 200)
            self.assertEqual(self.logged(), "a b")

    def test_one_statement_with_parameters_and_a_key_in_the_body(self):
        for more in ({"key": "p"}, {"key": None, "idempotency_key": "q"}, {"key": "r", "idempotency_key": "r"}):
            a = self.first("insert into log (what) values ($1) returning what", params=["it's ä " + str(more)], **more)
            b = self.query("insert into log (what) values ($1) returning what", params=["it's ä " + str(more)], **more)
            self.assertEqual((b.body, b.headers.get("idempotency-replayed")), (a.body, "true"))
        self.assertEqual(self.sql("select count(*) from log"), "3")
        for more in ({"idempotency_key": "x", "key": "y"}, {"idempotency_key": "", "key": None}, {"idempotency_key": 5, "key": None}, {"key": "x" * 256}, {"key": "a\tb"}):
            self.refused("insert into log (what) values ('never')", 400, "invalid_idempotency_key", **more)
            self.refused('SELECT "id" FROM "users" WHERE "id" = 1', 400, "invalid_idempotency_key", **more)
        self.assertEqual(self.sql("select count(*) from log"), "3")

    def test_what_changes_the_effect_must_be_the_same(self):
        self.first("insert into log (what) values ($1)", params=["a"], schema_name="side")
        for sql, more in (("insert into log (what) values ($1)", {"params": ["b"], "schema_name": "side"}), ("insert into log (what) values ($1)", {"params": ["a"]}),
                          ("insert into log (what) values ($1)", {"params": ["a"], "schema_name": "public"}), ("insert into log (what) values ('a')", {"schema_name": "side"}),
                          ("insert into log (what) values ($1)", {"params": ["a"], "schema_name": "side", "execution_mode": "single_transaction"})):
            self.refused(sql, 409, "idempotency_key_reused", **more)
        self.assertEqual((self.sql("select count(*) from side.log"), self.logged()), ("1", ""))
        self.assertEqual(self.query("insert into log (what) values ($1)", params=["a"], schema_name="side").headers["idempotency-replayed"], "true")

    def test_per_statement_takes_no_key(self):
        for path in PATHS:
            for more in ({"key": "k"}, {"key": None, "idempotency_key": "k"}):
                a = self.refused("insert into log (what) values ('x'); select 1", 400, "invalid_query_payload", path=path, execution_mode="per_statement", **more)
                self.assertIn("per_statement", a["error"])
                self.assertIn("Idempotency-Key", a["error"])
        self.assertEqual((self.logged(), self.kept()), ("", 0))

    def test_a_select_that_is_a_fetch_is_done_anew(self):
        sql = 'SELECT "name" FROM "users" WHERE "id" = 3'
        for name in ("before", "after"):
            self.sql(f"update users set name = '{name}' where id = 3")
            a = self.first(sql, headers={"cache-control": "no-cache"})
            self.assertEqual(a.json["data"], [{"name": name}])
        self.assertEqual(self.query(sql, client="bare").status, 200)  # it needs no table either
        self.assertEqual(self.kept(), 0)
        # what reads and is no fetch is kept: nobody knows that it changes nothing
        first = self.first("select clock_timestamp() as t, rid()")
        self.assertEqual(self.query("select clock_timestamp() as t, rid()").body, first.body)

    def test_of_two_at_once_one_runs(self):
        got = []

        def one():
            got.append(self.query("insert into log (what) values ('x'); select pg_sleep(1.5)", "race"))
        threads = [threading.Thread(target=one) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(sorted(a.status for a in got), [200, 409, 409, 409], [a.body for a in got])
        for a in got:
            if a.status == 409:
                self.assertEqual((a.code, a.headers["retry-after"]), ("idempotency_key_running", "1"))
        self.assertEqual(self.logged(), "x")

    def test_what_is_kept_is_told_whoever_holds_the_key(self):
        """Asking twice at once, both are told: the second does not meet the first, which is still being closed."""
        a = self.first("select 1 as a, rid()")
        holder = threading.Thread(target=self.sql, args=("begin; select pg_advisory_xact_lock(hashtextextended(concat_ws(chr(10), client, key_id, route, key), 0)) "
                                                         "from athena.idempotency_keys; select pg_sleep(1.5); commit",))
        holder.start()
        with_lock = "select count(*) from pg_locks where locktype = 'advisory' and granted"
        wait_for("the key is held", 10, lambda: self.query(with_lock, None).json["data"] == [{"count": 1}])
        b = self.query("select 1 as a, rid()")
        self.assertEqual((b.status, b.body, b.headers.get("idempotency-replayed")), (200, a.body, "true"), b.body)
        self.refused("select 2", 409, "idempotency_key_reused")
        self.sql("update athena.idempotency_keys set created_at = now() - interval '25 hours'")
        self.refused("select 1 as a, rid()", 409, "idempotency_key_running")
        holder.join()
        self.first("select 1 as a, rid()")

    def test_many_callers_with_few_keys(self):
        """32 callers, 8 keys, two connections, each sent until it is answered: every effect exists once."""
        wrong = []

        def work(n):
            for _ in range(300):
                a = self.query(f"insert into side.log values ('{n % 8}'); select count(*) from users; select {n % 8} as n", f"key {n % 8}", self.narrow)
                if a.status == 200:
                    if a.json["data"] != [{"n": n % 8}]:
                        wrong.append(a.body)
                    return
                if a.code != "idempotency_key_running":
                    wrong.append(a.body)
                    return
                time.sleep(0.02)
            wrong.append("never answered")
        threads = [threading.Thread(target=work, args=(n,)) for n in range(32)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(wrong[:2], [])
        self.assertEqual(self.sql("select count(*), count(distinct what) from side.log"), "8|8")

    def test_a_server_that_is_killed_leaves_one_effect(self):
        """kill -9 at any moment between the effect and the answer; the caller repeats until answered."""
        script = "insert into side.log values ('x'); select pg_sleep(0.8); insert into side.log values ('y'); select count(*) as n from side.log"
        for delay in (0.0, 0.2, 0.7, 0.78, 0.8, 0.82, 0.84, 0.9, 1.1):
            self.setUp()
            server = self.lab.athena(self.clients)

            def send():
                try:
                    self.query(script, "killed", server, timeout=10)
                except OSError:
                    pass
            t = threading.Thread(target=send)
            t.start()
            time.sleep(delay)
            server.process.send_signal(signal.SIGKILL)
            t.join()
            server.process.wait()
            for _ in range(200):
                a = self.query(script, "killed")
                if a.status == 200:
                    break
                self.assertEqual(a.code, "idempotency_key_running", a.body)
                time.sleep(0.1)
            self.assertEqual((a.status, a.json.get("data")), (200, [{"n": 2}]), a.body)
            self.assertEqual((self.sql("select string_agg(what, ' ' order by what) from side.log"), self.kept()), ("x y", 1), delay)

    # ---- refusals ----

    def test_an_error_in_the_middle_is_kept_and_nothing_of_the_script(self):
        cases = (("insert into log (what) values ('a'); insert into log (what) values ('a'); select 1", 409, "unique_violation", 2),
                 ("insert into log (what) values ('a'); select 1; select 1 / 0; select 2", 400, "data_exception", 3),
                 ("insert into log (what) values ('a'); select i / (i - 50000) from generate_series(1, 60000) i", 400, "data_exception", 2),
                 ("insert into log (what) values ('a'); select nope", 400, "undefined_column", 2),
                 ("insert into log (what) values ('a'); select * from nope", 400, "undefined_table", 2),
                 ("insert into log (what) values ('a'); do $$ begin raise exception 'no'; end $$", 400, "raised_exception", 2),
                 ("insert into log (what) values ('a'); set role other; delete from users", 403, "insufficient_privilege", 3),
                 ("insert into log (what) values ('a'); set client_encoding = 'LATIN1'; select chr(228) as a", 400, "invalid_text_encoding", None),
                 ("insert into log (what) values ('a'); call commits()", 400, "query_syntax", 2), ("vacuum users", 400, "query_syntax", 1),
                 ("insert into log (what) values ('a'); insert into late values (1, 999)", 409, "foreign_key_violation", None))
        for path in PATHS:
            for i, (sql, status, code, at) in enumerate(cases):
                a = self.refused(sql, status, code, f"{path} {i}", path=path)
                b = self.refused(sql, status, code, f"{path} {i}", "true", path=path)
                if code != "invalid_text_encoding":
                    self.assertEqual(a["details"]["statement_index"], at, sql)
                for key in ("code", "message", "error", "hint", "status_code", "error_number"):
                    self.assertEqual(a.get(key), b.get(key), key)
                strip = lambda d: {k: v for k, v in d.items() if k != "trace_id"}  # noqa: E731
                self.assertEqual(strip(a["details"]), strip(b["details"]))
            self.assertEqual((self.logged(), self.sql("select count(*) from late")), ("", "0"))
        self.assertEqual(self.kept(), len(cases) * len(PATHS))

    def test_a_replayed_refusal_has_its_own_ids(self):
        a, b = (self.query("select 1 / 0").json for _ in range(2))
        self.assertEqual(a["details"]["sql_state"], b["details"]["sql_state"])
        self.assertNotEqual(a.get("request_id", a["details"].get("trace_id")), b.get("request_id", b["details"].get("trace_id")))

    def test_what_was_refused_before_it_began_leaves_the_key_free(self):
        for sql in ("insert into log (what) values ('x'); commit", "copy users to stdout", "-- nothing"):
            self.assertEqual(self.query(sql).status, 400)
        self.assertEqual(self.kept(), 0)
        self.first("insert into log (what) values ('x')")

    def test_a_deadlock_is_not_kept(self):
        self.sql("insert into side.log values ('busy')")

        def wait(what):
            return (f"do $$ begin while exists (select from side.log) and not exists (select from pg_locks where {what}) loop "
                    "perform pg_sleep(0.02); end loop; end $$; ")
        script = ("set deadlock_timeout = '100ms'; update users set name = 'a' where id = 1; select pg_advisory_xact_lock(77);"
                  + wait("objid = 78") + wait("not granted") + "update users set name = 'b' where id = 2")
        psql = threading.Thread(target=self.sql, args=("begin; set deadlock_timeout = '30s';" + wait("objid = 77") + "update users set name = 'c' where id = 2;"
                                                       "select pg_advisory_xact_lock(78); update users set name = 'd' where id = 1; commit",))
        psql.start()
        a = self.query(script, "dead")
        psql.join()
        self.assertEqual((a.status, a.code, a.json["details"]["statement_index"]), (409, "deadlock_detected", 6), a.body)
        self.assertEqual((self.kept(), self.sql("select name from users where id = 1")), (0, "d"))
        self.sql("truncate side.log")
        self.first(script, "dead")
        self.assertEqual(self.query(script, "dead").headers["idempotency-replayed"], "true")

    def test_what_may_go_well_another_time_is_not_kept(self):
        for state, status in (("40001", 409), ("57014", 504), ("55P03", 503), ("53100", 503)):
            self.sql("truncate log; insert into side.log values ('busy')")
            script = ("insert into log (what) values ('x'); do $$ begin if exists (select from side.log) then "
                      f"raise exception 'not now' using errcode = '{state}'; end if; end $$; select what from log")
            for _ in range(10 if status == 409 else 1):  # who is told to try again may do so at once
                a = self.query(script, state)
                self.assertEqual((a.status, a.json["details"].get("statement_index")), (status, 2), a.body)
            self.assertEqual(self.logged(), "")
            self.sql("truncate side.log")
            self.assertEqual(self.first(script, state).json["data"], [{"what": "x"}])

    def test_a_lost_connection_leaves_nothing(self):
        for script in ("insert into log (what) values ('x'); select pg_terminate_backend(pg_backend_pid())",
                       "insert into log (what) values ('x'); select pg_terminate_backend(pg_backend_pid()) from generate_series(1, 100000); select 1"):
            a = self.query(script, "lost")
            self.assertEqual((a.status, self.logged(), self.kept()), (503, "", 0), a.body)
        self.first("insert into log (what) values ('x')", "lost")

    def test_a_script_that_is_too_slow_leaves_nothing(self):
        server = self.lab.athena(self.clients, more="routes-query:\n  timeout: 500ms\n")
        a = self.refused("insert into log (what) values ('x'); select pg_sleep(30)", 504, "query_timeout", server=server)
        self.assertEqual(a["details"]["statement_index"], 2)
        wait_for("the key is free", 10, lambda: self.query("insert into log (what) values ('y')", server=server).status == 200)
        self.assertEqual((self.logged(), self.kept()), ("y", 1))

    # ---- what is kept ----

    def test_an_answer_that_is_too_large_undoes_its_effect(self):
        most = 8 << 20
        for path in PATHS:
            for rows in (9, 100):  # more than what is kept, more than what any answer may have
                script = f"insert into log (what) values ('x'); select repeat('x', 1000000) as a from generate_series(1, {rows}) i"
                for more in ("", "; select 1"):
                    a = self.refused(script + more, 422, "idempotency_answer_too_large", f"{path} {rows} {more}", path=path)
                    self.assertIn(str(most), a["error"])
                    self.assertIn("Nothing was done", a["hint"])
        # the rows alone would fit, with the statements' texts they do not
        eight = "select repeat('x', 1000000) as a from generate_series(1, 8) i"
        for _ in range(3):  # nothing holds the key when it is answered
            self.refused(f"insert into log (what) values ('x'); select '{'x' * 500000}' is null; {eight}", 422, "idempotency_answer_too_large")
        self.assertEqual((self.logged(), self.kept()), ("", 0))
        a = self.first(f"insert into log (what) values ('x'); {eight}")
        b = self.query(f"insert into log (what) values ('x'); {eight}")
        self.assertEqual((a.body == b.body, len(b.json["data"]), b.headers["idempotency-replayed"]), (True, 8, "true"))
        small = self.lab.athena(self.clients, more="routes-query:\n  max_result_bytes: 1k\n")
        self.refused("insert into log (what) values ('y'); select repeat('x', 2000)", 422, "query_result_too_large", "limit", server=small)
        wait_for("the script is rolled back", 10, lambda: self.kept() == 1 and not self.sql("select 1 from pg_locks where locktype = 'advisory'"))
        self.assertEqual((self.logged(), self.kept()), ("x", 1))

    def test_G_15_whatever_a_script_sets_its_answer_is_kept_and_nobody_else_sees_it(self):
        for i, dirt in enumerate(("set role other", "set local role other", "set session authorization other", "set client_encoding = 'LATIN1'",
                                  "set search_path = side", "deallocate all", "set transaction read only", "set datestyle = 'German'",
                                  "set standard_conforming_strings = off", "create temp table users as select 1 as other", "prepare p as select 1",
                                  "set statement_timeout = '1h'", "select pg_advisory_lock(7)", "listen a", "set constraints all deferred",
                                  "declare c cursor with hold for select 1", "set default_transaction_read_only = on", "set timezone = 'Asia/Tokyo'")):
            script = f"{dirt}; select 'ä€' is not null as ok"
            self.narrow.request("PUT", "/gateway/insert", {"table_name": "log", "insert_body": {"what": dirt}},  # its statements stay prepared
                                {"x-athena-client": "app", "x-athena-key": ADMIN_KEY, "content-type": "application/json", "idempotency-key": dirt})
            a = self.first(script, f"d{i}", server=self.narrow)
            clean = self.first("select current_user = session_user as u, current_setting('client_encoding') as e, current_setting('search_path') as p, "
                               "current_setting('datestyle') as d, current_setting('statement_timeout') as t, current_setting('timezone') as z, "
                               "current_setting('default_transaction_read_only') as r, (select name from users where id = 10) as n, "
                               "(select count(*) from pg_locks where locktype = 'advisory' and objid = 7) as l, "
                               "(select count(*) from pg_cursors where is_holdable) as c, (select count(*) from pg_listening_channels()) as h", None, server=self.narrow)
            if i == 0:
                want = self.sql("select current_setting('search_path')")
            got = clean.json["data"][0]
            self.assertEqual((got["u"], got["e"], got["p"], got["n"], got["l"], got["c"], got["h"], got["r"], got["z"]), (True, "UTF8", want, "user 10", 0, 0, 0, "off", "UTC"), dirt)
            self.assertTrue(got["d"].startswith("ISO"), dirt)
            b = self.query(script, f"d{i}", server=self.narrow)
            self.assertEqual((b.status, b.body, b.headers.get("idempotency-replayed")), (200, a.body, "true"), dirt)
        self.assertEqual(self.sql("select count(*) from athena.idempotency_keys where route <> '/gateway/insert' and body not like '%ä€%'"), "0")

    def test_what_a_role_did_is_kept_by_the_connection_s_own(self):
        a = self.first("set role other; insert into log (what) values ('by another') returning current_user::text as who")
        self.assertEqual(a.json["data"], [{"who": "other"}])
        self.assertEqual(self.query("set role other; insert into log (what) values ('by another') returning current_user::text as who").body, a.body)
        # one that it was given when it was opened
        self.sql("create role login login noinherit; create role keeper; grant keeper to login; alter role login set role = keeper; grant usage on schema athena to keeper;"
                 "grant select, insert, update, delete on athena.idempotency_keys to keeper")
        server = self.lab.athena({"app": self.pg.uri("app", "login")})
        for status in (None, "true"):
            a = self.query("set role login; select current_user::text as who", "k2", server)
            self.assertEqual((a.status, a.json["data"], a.headers.get("idempotency-replayed")), (200, [{"who": "login"}], status), a.body)

    def test_isolation_is_the_key_s_to_choose(self):
        a = self.refused("set transaction isolation level serializable; insert into log (what) values ('x')", 400, "query_syntax")
        self.assertIn("ISOLATION LEVEL", a["error"])
        self.assertEqual(self.logged(), "")

    def test_G_05_what_a_script_changed_is_seen_at_once(self):
        def name():
            a = self.server.fetch("app", {"table_name": "users", "columns": ["name"], "conditions": [{"eq_column": "id", "eq_value": 9}]})
            return a.json["data"][0]["name"], a.headers["x-athena-cached"]
        for i in range(5):
            wait_for("the answer is kept", 10, lambda: name()[1] == "true")
            self.first(f"select 1; show timezone; select {i}", f"reads {i}")
            self.assertEqual(name()[1], "true")  # reading leaves it, keeping its answer is no change
            self.first(f"update users set name = 'new {i}' where id = 9; select 1", f"writes {i}")
            self.assertEqual(name(), (f"new {i}", "false"))
            wait_for("the answer is kept", 10, lambda: name()[1] == "true")
            self.query(f"update users set name = 'new {i}' where id = 9; select 1", f"writes {i}")
            self.assertEqual(name()[1], "true")

    # ---- where there is no table ----

    def test_a_database_without_the_table_says_so(self):
        for path in PATHS:
            a = self.refused("insert into log (what) values ('x')", 400, "idempotency_not_installed", path=path, client="bare")
            self.assertIn("athena idempotency install", a["hint"])
        self.pg.run(self.ddl, "bare")
        self.first("insert into log (what) values ('y')", client="bare")  # noticed at once
        self.assertEqual(self.query("insert into log (what) values ('y')", client="bare").headers["idempotency-replayed"], "true")
        self.pg.run("drop schema athena cascade", "bare")
        self.refused("insert into log (what) values ('z')", 400, "idempotency_not_installed", "gone", client="bare")
        self.assertEqual(self.pg.run("select what from log", "bare").strip(), "y")

    def test_a_direct_database_is_asked_for_its_table_too(self):
        server = self.lab.athena({}, config="plugins: [routes-meta, routes-gateway, routes-query, sink-file]\nurls: []\nhosts: []\nauthenticator: []\n"
                                 "api:\n- port: 4052\ngateway:\n- enforce_api_keys: true\n- jdbc_allow_private_hosts: true\n"
                                 f"postgres_clients:\n- app: \"{self.pg.uri('app')}\"\n")
        for name in ("bare", "app"):
            for path in PATHS:
                a, b = (self.query(f"insert into log (what) values ('direct {path}')", "uri", server, path, headers={"x-pg-uri": self.pg.tcp_uri(name)}) for _ in range(2))
                if name == "bare":
                    self.assertEqual((a.status, a.code, b.code), (400, "idempotency_not_installed", "idempotency_not_installed"))
                else:
                    self.assertEqual((a.status, b.status, b.body, b.headers.get("idempotency-replayed")), (200, 200, a.body, "true"))
        self.assertEqual((self.pg.run("select count(*) from log where what like 'direct%'", "bare").strip(), self.sql("select count(*) from log")), ("0", "3"))


if __name__ == "__main__":
    unittest.main(verbosity=1)
