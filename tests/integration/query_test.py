#!/usr/bin/env python3
"""SQL of callers over the whole server: /gateway/query, /query/sql, /gateway/sql and /query/count against a real PostgreSQL."""
import json
import os
import sys
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402

SCHEMA = """
create table users (id int primary key, name text, tags text[]);
insert into users select i, 'user ' || i, array['a', 'b'] from generate_series(1, 10) i;
create table projects (id int primary key, name text, owner_id int references users);
insert into projects values (1, 'one', 1), (2, 'two', 1), (3, 'three', 2);
create table log (id serial primary key, what text unique);
create table late (id int, user_id int references users deferrable initially deferred);
create schema side;
create table side.users (id int, name text);
insert into side.users values (1, 'side one');
create type mood as enum ('sad', 'happy');
create type pair as (a int, b text);
create role other;
create procedure commits() language plpgsql as $$ begin insert into log (what) values ('by procedure'); commit; end $$;
create function writes() returns int language plpgsql as $$ begin insert into log (what) values ('by function'); return 1; end $$;
"""
# One connection for the requests; the loop that reads the catalogue has the other.
ONE = "pool:\n  max_connections: 2\nserver:\n  loops: 1\n"


class QueryTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres()
        cls.pg.run("create database app")
        cls.pg.run(SCHEMA, "app")
        cls.server = cls.lab.athena({"app": cls.pg.uri("app")})
        cls.narrow = cls.lab.athena({"app": cls.pg.uri("app")}, more=ONE)

    def setUp(self):
        self.pg.run("delete from log", "app")

    def post(self, path, body, server=None, headers=None, key=ADMIN_KEY):
        return (server or self.server).request("POST", path, body, {"x-athena-client": "app", "x-athena-key": key,
                                                                   "content-type": "application/json", **(headers or {})})

    def query(self, sql, server=None, headers=None, **more):
        return self.post("/gateway/query", {"query": sql, **more}, server, headers)

    def good(self, sql, server=None, **more):
        a = self.query(sql, server, **more)
        self.assertEqual(a.status, 200, a.body)
        return a.json

    def rows(self, sql, server=None, **more):
        return self.good(sql, server, **more)["data"]

    def refused(self, sql, status, code, **more):
        a = self.query(sql, **more)
        self.assertEqual((a.status, a.code), (status, code), a.body)
        return a.json

    def logged(self):
        return self.pg.run("select what from log order by id", "app").split("\n")[:-1]

    # ---- scripts ----

    def test_a_script_answers_the_last_rows_and_says_what_each_statement_did(self):
        a = self.good("insert into log (what) values ('a'), ('b') returning what;\n\nselect count(*) as n\nfrom log;\n"
                      "update log set what = what || '!';")
        self.assertEqual(a["data"], [{"n": 2}])
        self.assertEqual(a["execution_mode"], "single_transaction")
        self.assertEqual(a["meta"], {"backend": "sqlx", "returned_row_count": 1, "rows_affected": 4, "statement_count": 3})
        self.assertEqual(a["preprocess"], {"rewritten_reserved_identifier_count": 0, "rewritten_reserved_identifiers": []})
        for s in a["statements"]:
            self.assertGreaterEqual(s.pop("duration_ms"), 0)
        self.assertEqual(a["statements"][1], {"statement_index": 2, "total_statements": 3, "statement": "select count(*) as n\nfrom log",
                                              "line_start": 3, "line_end": 4, "rows_affected": 0, "returned_row_count": 1,
                                              "quoted_reserved_identifiers": []})
        self.assertEqual([(s["rows_affected"], s["returned_row_count"]) for s in a["statements"]], [(2, 2), (0, 1), (2, 0)])

    def test_G_15_an_error_in_the_middle_leaves_nothing(self):
        a = self.refused("insert into log (what) values ('kept?');\n-- two\ninsert into log (what)\nvalues ('kept?');\nselect 1",
                         409, "unique_violation")
        self.assertEqual({k: a["details"][k] for k in ("statement_index", "total_statements", "line_start", "line_end")},
                         {"statement_index": 2, "total_statements": 3, "line_start": 3, "line_end": 4})
        self.assertEqual(a["data"]["details"]["statement_index"], 2)
        self.assertEqual(a["details"]["constraint"], "log_what_key")
        self.assertEqual(a["details"]["preprocess"]["rewritten_reserved_identifier_count"], 0)
        self.assertEqual(self.logged(), [])

    def test_the_statement_that_failed_is_right_wherever_it_stands(self):
        for n in (1, 2, 7, 40):
            for bad in {1, (n + 1) // 2, n}:
                script = "; ".join("select 1/0" if i == bad else f"select {i}" for i in range(1, n + 1))
                for mode in ("single_transaction", "per_statement"):
                    a = self.refused(script, 400, "data_exception", execution_mode=mode)
                    self.assertEqual((a["details"]["statement_index"], a["details"]["total_statements"]), (bad, n), (mode, bad, n))

    def test_an_error_of_the_commit_blames_no_statement(self):
        a = self.refused("insert into late values (1, 1); insert into late values (2, 999)", 409, "foreign_key_violation")
        self.assertEqual((a["details"]["statement_index"], a["details"]["total_statements"]), (None, 2))
        self.assertEqual(self.rows("select count(*) as n from late"), [{"n": 0}])

    def test_G_15_nothing_in_the_script_ends_the_transaction(self):
        for word in ("commit", "END", "rollback", "abort", "/* x */ Begin", "start transaction", "savepoint a", "release a",
                     "rollback to a", "prepare transaction 'x'", "commit prepared 'x'", "commit and chain"):
            a = self.refused(f"insert into log (what) values ('x');\n{word}; select 1", 400, "invalid_query_payload")
            self.assertIn("statement 2 of 3 (line 2)", a["error"])
        self.assertEqual(self.logged(), [])
        self.refused("insert into log (what) values ('x'); call commits()", 400, "query_syntax")
        self.refused("insert into log (what) values ('x'); do $$ begin commit; end $$", 400, "query_syntax")
        self.assertEqual(self.logged(), [])
        self.assertEqual(self.rows("select 'commit' as w"), [{"w": "commit"}])

    def test_per_statement_keeps_what_went_before_and_stops_at_the_first_failure(self):
        a = self.refused("insert into log (what) values ('a'); select 1; insert into log (what) values ('a'); "
                         "insert into log (what) values ('never')", 409, "unique_violation", execution_mode="per_statement")
        self.assertEqual(a["details"]["statement_index"], 3)
        self.assertEqual(self.logged(), ["a"])
        a = self.good("begin; insert into log (what) values ('b'); rollback; insert into log (what) values ('c')",
                      execution_mode="per_statement")
        self.assertEqual(a["execution_mode"], "per_statement")
        self.assertEqual(self.logged(), ["a", "c"])
        a = self.refused("select 1; begin; insert into log (what) values ('d')", 400, "invalid_query_payload",
                         execution_mode="per_statement")
        self.assertIn("does not end", a["error"])

    def test_what_must_stand_alone_does(self):
        for sql in ("vacuum users", "create index concurrently if not exists users_name on users (name)", "reindex index concurrently users_name"):
            self.good(sql)
            self.good(sql, execution_mode="per_statement")
            self.good(sql, execution_mode="per_statement", schema_name="public")
            self.good(f"select 1; {sql}; select 2", execution_mode="per_statement", schema_name="public")
        self.refused("select 1; vacuum users", 400, "query_syntax")
        self.good("call commits()")
        self.assertEqual(self.logged(), ["by procedure"])
        self.good("lock table users in access share mode; select 1")

    def test_a_schema_is_the_search_path_of_this_script_alone(self):
        for mode in ("single_transaction", "per_statement"):
            self.assertEqual(self.rows("select name from users where id = 1", self.narrow, schema_name="side", execution_mode=mode),
                             [{"name": "side one"}])
            self.assertEqual(self.rows("select 1; select name from users where id = 1", self.narrow, schema_name="side",
                                       execution_mode=mode), [{"name": "side one"}])
            self.assertEqual(self.rows("select id from projects where id = 1", self.narrow, schema="side", execution_mode=mode), [{"id": 1}])
            self.assertEqual(self.rows("select name from users where id = 1", self.narrow, execution_mode=mode), [{"name": "user 1"}])
        for name in ("", " ", "a b", 'x"; drop table users; --', "1a", "a.b", "x" * 64):
            self.refused("select 1", 400, "invalid_schema_name", schema_name=name)

    def test_bodies_that_are_wrong_are_said_to_be(self):
        for body, code in ((b"", "missing_request_body"), (b"{", "malformed_json_payload"), (b"[]", "invalid_query_payload"),
                           (b'{"query":1}', "invalid_query_payload"), (b'{"sql":"select 1"}', "invalid_query_payload"),
                           (b'{"query":" ; ;\\n"}', "empty_query"), (b'{"query":""}', "empty_query"),
                           (b'{"query":"-- nothing\\n/* at all */;"}', "query_sql_execution_failed"),
                           (b'{"query":"select 1","execution_mode":"both"}', "invalid_query_payload"),
                           (b'{"query":"select 1","params":{}}', "invalid_query_payload"),
                           (b'{"query":"select $1; select 2","params":[1]}', "invalid_query_payload"),
                           (b'{"query":"select \\u0000"}', "invalid_text_encoding"),
                           (json.dumps({"query": "select 1;" * 991}).encode(), "invalid_query_payload")):
            a = self.post("/gateway/query", body)
            self.assertEqual((a.status, a.code), (400, code), (body[:60], a.body[:300]))
        self.refused("copy users to stdout", 400, "invalid_query_payload")
        self.refused("/* x */ COPY users from stdin", 400, "invalid_query_payload")
        self.assertEqual(self.rows("select 'x' as a" + "; select 'y' as b" * 989), [{"b": "y"}])

    # ---- text (G-17) ----

    def test_G_17_comments_quotes_and_dollars_anywhere(self):
        for sql, want in (("-- a; b\nselect 1 as a -- c; d", [{"a": 1}]), ("/* x; /* y; */ */ select 1 as a /* z */;", [{"a": 1}]),
                          ("select E'it\\'s; x' as a", [{"a": "it's; x"}]), ("select E'\\'' as a", [{"a": "'"}]),
                          ("select 'it''s; x' as a", [{"a": "it's; x"}]), ("select $x$; $$ ' -- $x$ as a", [{"a": "; $$ ' -- "}]),
                          ("select U&'\\0041;' as a", [{"a": "A;"}]), ("select 1 as \"a;\"\"b\"", [{'a;"b': 1}]),
                          ("select E'a'\n'b\\';' as a; select 2 as b", [{"b": 2}]),
                          ("select (array[1,2,3])[1:2] as a", [{"a": [1, 2]}]),
                          ("create or replace function f(x int) returns int begin atomic select 1; select case when x = 1 then 2 end; end;"
                           "select f(1) as a", [{"a": 2}]),
                          ("do $$ begin perform 1; perform 2; end $$; select 3 as a", [{"a": 3}]),
                          ("select 'ä€𝄞; ü' as a", [{"a": "ä€𝄞; ü"}])):
            self.assertEqual(self.rows(sql), want, sql)
        self.refused("select 'never closes; select 2", 400, "syntax_error")
        self.refused("select 1 /* never closes; select 2", 400, "syntax_error")

    def test_G_17_every_statement_that_gives_rows_gives_them(self):
        for sql, want in (("show timezone", [{"TimeZone": "UTC"}]), ("values (1, 'a'), (2, null)", [{"column1": 1, "column2": "a"}, {"column1": 2, "column2": None}]),
                          ("table side.users", [{"id": 1, "name": "side one"}]),
                          ("insert into log (what) values ('r')\nreturning what", [{"what": "r"}]),
                          ("with d as (delete from log returning what) select what from d", [{"what": "r"}]),
                          ("with x as (select 'q' as w) insert into log (what) select w from x returning what", [{"what": "q"}]),
                          ("(select 1 as a) union all (select 2) order by 1", [{"a": 1}, {"a": 2}])):
            self.assertEqual(self.rows(sql), want, sql)
        self.assertIn("Seq Scan", self.rows("explain select * from users")[0]["QUERY PLAN"])
        self.assertIn("Plan", self.rows("explain (format json) select 1")[0]["QUERY PLAN"][0])
        a = self.good("begin; declare c cursor for select id from users order by id; fetch 2 from c; commit", execution_mode="per_statement")
        self.assertEqual((a["data"], a["meta"]["rows_affected"]), ([{"id": 1}, {"id": 2}], 0))
        a = self.good("update users set name = name where id < 4 returning id")
        self.assertEqual((a["meta"]["rows_affected"], a["meta"]["returned_row_count"]), (3, 3))
        a = self.good("with x as (select 1 as id) update users u set name = name from x where u.id = x.id")
        self.assertEqual((a["meta"]["rows_affected"], a["data"]), (1, []))
        self.assertEqual(self.good("create table made as select generate_series(1, 3)")["meta"]["rows_affected"], 3)
        self.assertEqual(self.rows("select 1 as a, 2 as b, 3 as a"), [{"b": 2, "a": 3}])
        self.assertEqual(self.rows("select"), [])
        self.assertEqual(self.rows("select id from users where false"), [])

    def test_G_16_values_keep_their_bytes(self):
        a = self.query("select numeric '1.10' a, numeric '100.00' b, 18446744073709551616::numeric c, 9007199254740993::int8 d, 'NaN'::float8 e, "
                       "'{\"z\": 1, \"a\": 1.10}'::json f, '[1, {\"b\": null}]'::jsonb g, true h, null i, '\\x00ff'::bytea j, "
                       "'2024-05-05 05:05:05.000005+00'::timestamptz k, '{{1,2},{3,4}}'::int[] l, array['a\"b', null] m, 0.1::float4 n, "
                       "'happy'::mood o, row(1, 'x')::pair p, '1 day'::interval q, 'quote\"\\' r")
        self.assertIn('"a":1.10,"b":100.00,"c":18446744073709551616,"d":9007199254740993,"e":"NaN","f":{"z": 1, "a": 1.10},'
                      '"g":[1, {"b": null}],"h":true,"i":null,"j":"\\\\x00ff","k":"2024-05-05T05:05:05.000005+00:00","l":[[1,2],[3,4]],'
                      '"m":["a\\"b",null],"n":0.1,"o":"happy","p":"(1,x)","q":"1 day","r":"quote\\"\\\\"', a.body)

    def test_an_encoding_that_the_script_chose_breaks_no_answer(self):
        a = self.query("set client_encoding = 'LATIN1'; select chr(228) as a")
        self.assertEqual((a.status, a.code), (400, "invalid_text_encoding"))
        self.assertEqual(self.rows("set datestyle = 'German'; set bytea_output = 'escape'; set intervalstyle = 'iso_8601'; "
                                   "select '\\x00'::bytea b, '1 day'::interval i"), [{"b": "\\000", "i": "P1D"}])
        self.assertEqual(self.rows("set timezone = 'Asia/Tokyo'; set datestyle = 'SQL'; select timestamptz 'epoch' t")[0]["t"],
                         self.rows("set timezone = 'Asia/Tokyo'; set datestyle = 'SQL'; select timestamptz 'epoch' t")[0]["t"])

    # ---- parameters ----

    def test_G_02_parameters_of_every_type(self):
        for cast, value, want in (("int", 5, 5), ("int", "5", 5), ("bigint", 9223372036854775807, 9223372036854775807), ("numeric", 5.5, 5.5),
                                  ("text", "it's; $1 --", "it's; $1 --"), ("text", 5, "5"), ("bool", True, True), ("int", None, None),
                                  ("uuid", "8C9D1B8E-0000-4000-8000-000000000001", "8c9d1b8e-0000-4000-8000-000000000001"),
                                  ("date", "2020-02-29", "2020-02-29"), ("timestamptz", "2020-02-29T12:00:00+02:00", "2020-02-29T10:00:00+00:00"),
                                  ("int[]", [1, None, 3], [1, None, 3]), ("text[]", ["a,b", 'c"d', "e\\f", "", "NULL", None], ["a,b", 'c"d', "e\\f", "", "NULL", None]),
                                  ("int[]", [[1, 2], [3, 4]], [[1, 2], [3, 4]]), ("int[]", [], []), ("bool[]", [True, False], [True, False]),
                                  ("jsonb", {"a": [1, "x"]}, {"a": [1, "x"]}), ("jsonb[]", [{"a": 1}, {"b": "c\"d"}], [{"a": 1}, {"b": "c\"d"}]),
                                  ("json", "[1, 2]", [1, 2]), ("bytea", "\\x00ff", "\\x00ff"), ("inet", "10.0.0.1", "10.0.0.1"), ("mood", "sad", "sad"),
                                  ("interval", "1 day", "1 day"), ("int4range", "[1,5)", "[1,5)"), ("text", "ä€𝄞", "ä€𝄞")):
            self.assertEqual(self.rows(f"select $1::{cast} as v", params=[value]), [{"v": want}], (cast, value))
        self.assertEqual(self.rows("select id from users where id = any($1) and name <> $2 order by id", params=[[1, 2, 3], "user 2"]),
                         [{"id": 1}, {"id": 3}])
        # the same text with values of other kinds: none is read as the one before
        for value in (5, "5", 5.0, None, "5"):
            self.assertEqual(self.rows("select $1::text as v", self.narrow, params=[value])[0]["v"], None if value is None else str(value))
        self.refused("select $1::int", 400, "data_exception", params=["x"])
        self.refused("select $1::int, $2::int", 400, "query_syntax", params=[1])
        self.refused("select 1", 400, "query_syntax", params=[1])
        self.refused("select $1::text", 400, "invalid_text_encoding", params=["a\0b"])
        self.assertEqual(self.rows("insert into log (what) values ($1) returning what", params=["'); drop table users; --"]),
                         [{"what": "'); drop table users; --"}])

    # ---- sessions ----

    def test_G_15_nothing_of_a_session_reaches_the_next_request(self):
        leaks = ("set statement_timeout = 12345", "set search_path = side", "set role other", "set session authorization other",
                 "create temp table mine (id int)", "select pg_advisory_lock(4711)", "listen news", "prepare p as select 1",
                 "set timezone = 'Asia/Tokyo'; set datestyle = 'German'", "set client_encoding = 'LATIN1'", "set default_transaction_read_only = on",
                 "declare c cursor with hold for select 1", "select set_config('app.secret', 'x', false)", "set session characteristics as transaction isolation level serializable")
        state = ("select current_user as u, session_user as s, current_setting('statement_timeout') as t, current_setting('search_path') as p, "
                 "current_setting('timezone') as z, current_setting('datestyle') as d, current_setting('client_encoding') as e, "
                 "current_setting('default_transaction_read_only') as r, current_setting('default_transaction_isolation') as i, coalesce(current_setting('app.secret', true), '') as a, "
                 "(select count(*) from pg_locks where locktype = 'advisory') as l, (select count(*) from pg_prepared_statements where name = 'p') as q, "
                 "(select count(*) from pg_cursors where name = 'c') as c, to_regclass('mine') as m, (select count(*) from pg_listening_channels()) as n")
        clean = self.rows(state, self.narrow)
        for mode in ("single_transaction", "per_statement"):
            for sql in leaks:
                for script in (sql, f"select 1; {sql}; select 2", f"{sql}; select 1/0"):
                    self.query(script, self.narrow, execution_mode=mode)
                    self.assertEqual(self.rows(state, self.narrow), clean, (script, mode))
        self.assertEqual(self.narrow.fetch("app", {"table_name": "users", "columns": ["id"], "limit": 1}).json["data"], [{"id": 1}])
        self.assertEqual(self.pg.run("select count(*) from pg_stat_activity where state like 'idle in%'", "app").strip(), "0")

    def test_a_client_that_leaves_leaves_nothing_running(self):
        import socket
        body = json.dumps({"query": "select 1; select pg_sleep(60), 'left alone'", "execution_mode": "per_statement"}).encode()
        s = socket.create_connection(("127.0.0.1", self.narrow.port), timeout=30)
        s.sendall(b"POST /gateway/query HTTP/1.1\r\nhost: x\r\nx-athena-client: app\r\nx-athena-key: %s\r\ncontent-length: %d\r\n\r\n%s"
                  % (ADMIN_KEY.encode(), len(body), body))
        running = "select count(*) from pg_stat_activity where query like '%left alone%' and state = 'active' and pid <> pg_backend_pid()"
        end = time.monotonic() + 10
        while self.pg.run(running, "app").strip() != "1" and time.monotonic() < end:
            time.sleep(0.05)
        s.close()
        self.assertEqual(self.rows("select 1 as a", self.narrow), [{"a": 1}])
        self.assertEqual(self.pg.run(running, "app").strip(), "0")

    def test_64_mixed_requests_at_once_do_not_mix(self):
        wrong, lock = [], threading.Lock()

        def one(i):
            kind = i % 8
            if kind == 0:
                want, got = [{"v": i}], self.query("select $1::int as v", params=[i])
            elif kind == 1:
                want, got = [{"id": i % 10 + 1}], self.query(f'SELECT "id" FROM "users" WHERE "id" = {i % 10 + 1} LIMIT 1;')
            elif kind == 2:
                want, got = [{"n": f"s{i}"}], self.query(f"set application_name = 's{i}'; select current_setting('application_name') as n")
            elif kind == 3:
                want, got = None, self.query(f"insert into log (what) values ('m{i}'); select 1/0")
            elif kind == 4:
                want, got = [{"c": 1}], self.query(f"create temp table t (v int); insert into t values ({i}); select count(*) as c from t",
                                                   execution_mode="per_statement")
            elif kind == 5:
                want, got = [{"w": f"k{i}"}], self.query(f"insert into log (what) values ('k{i}') returning what as w")
            elif kind == 6:
                want, got = [{"p": "\"side\", public"}], self.query("select current_setting('search_path') as p", schema_name="side")
            else:
                want, got = [{"id": 7}], self.server.fetch("app", {"table_name": "users", "columns": ["id"], "conditions": [{"eq_column": "id", "eq_value": 7}]})
            ok = got.status == 400 if want is None else got.status == 200 and got.json["data"] == want
            if not ok:
                with lock:
                    wrong.append((i, want, got.status, got.body[:300]))

        threads = [threading.Thread(target=one, args=(i,)) for i in range(64)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(wrong, [])
        self.assertEqual(sorted(self.logged()), sorted(f"k{i}" for i in range(64) if i % 8 == 5))

    # ---- the cache ----

    def name_of(self, user, server=None):
        a = (server or self.server).fetch("app", {"table_name": "users", "columns": ["name"], "conditions": [{"eq_column": "id", "eq_value": user}]})
        return a.json["data"][0]["name"], a.headers["x-athena-cached"]

    def is_kept(self, user, server):
        """What may have changed the schema is looked at again before anything is kept."""
        wait_for("the answer is kept", 10, lambda: self.name_of(user, server)[1] == "true")

    def test_G_05_what_a_script_changed_is_seen_at_once(self):
        redis = self.lab.redis()
        both = self.lab.athena({"app": self.pg.uri("app")}, env={"ATHENA_REDIS_URL": redis.url, "ATHENA_REDIS_OP_TIMEOUT_MS": "400"})
        for server in (self.server, both):
            changes = (("update users set name = $1 where id = 9", {"params": ["by hand"]}, 200),
                       ("update users set name = 'in a script' where id = 9; select 1", {}, 200),
                       ("update users set name = 'one by one' where id = 9; select 1", {"execution_mode": "per_statement"}, 200),
                       ("update users set name = 'before the failure' where id = 9; select nope", {"execution_mode": "per_statement"}, 400),
                       ("do $$ begin update users set name = 'committed inside' where id = 9; commit; perform 1 / 0; end $$", {}, 400),
                       ("with x as (update users set name = 'inside' where id = 9 returning 1) select count(*) from x", {}, 200))
            for sql, more, status in changes:
                self.is_kept(9, server)
                a = self.query(sql, server, **more)
                self.assertEqual(a.status, status, a.body)
                if status != 200:
                    self.assertEqual((a.json["details"]["sql_state"], a.json["status_code"]), ("42703", 400) if "nope" in sql else ("22012", 400))
                    self.assertIn("nope" if "nope" in sql else "division by zero", a.json["error"])
                    self.assertEqual(a.json["details"]["statement_index"], 2 if "nope" in sql else 1)
                    self.assertEqual(a.json["message"], "The specified column 'nope' does not exist" if "nope" in sql else "A value does not fit its type")
                self.assertEqual(self.name_of(9, server), (self.pg.run("select name from users where id = 9", "app").strip(), "false"), sql)
            self.is_kept(8, server)
            for sql, more in (('SELECT "id" FROM "users" WHERE "id" = 8', {}), ("select count(*) from users", {}), ("select 1; table users; show all", {}),
                              ("select $1::int", {"params": [1]}), ("update users set name = 'x'; select 1/0", {}), ("set datestyle = 'SQL'; select now()", {}),
                              ("select id from side.users", {"schema_name": "side"})):
                self.query(sql, server, **more)
                self.assertEqual(self.name_of(8, server)[1], "true", sql)
            self.pg.run("delete from log", "app")
            self.good("select writes()", server)
            self.assertEqual(self.name_of(8, server)[1], "false")
            wait_for("the count is kept", 10, lambda: self.count(server, table_name="users").headers["x-athena-cached"] == "true")
            self.assertEqual(self.count(server, table_name="users").json["data"]["count"], 10)
            self.good("insert into users values (11, 'eleven')", server)
            a = self.count(server, table_name="users")
            self.assertEqual((a.json["data"]["count"], a.headers["x-athena-cached"]), (11, "false"))
            self.good("delete from users where id = 11", server)

    # ---- a SELECT that is a fetch ----

    def test_selects_of_the_newer_client_are_fetches(self):
        self.assertEqual(self.rows('SELECT "id", "name" AS "n" FROM "users" WHERE "id" IN (1, 3) AND "name" LIKE \'user%\' ORDER BY "id" DESC LIMIT 5 OFFSET 0;'),
                         [{"id": 3, "n": "user 3"}, {"id": 1, "n": "user 1"}])
        self.assertEqual(self.rows('SELECT * FROM "public"."users" WHERE "id"::text = \'4\' LIMIT 1;'), [{"id": 4, "name": "user 4", "tags": ["a", "b"]}])
        self.assertEqual(self.rows('SELECT "id" FROM "users" WHERE "id" = NULL'), [])
        self.assertEqual(self.rows('SELECT "id" FROM "users" WHERE FALSE'), [])
        a = self.good('SELECT id, owner:users(name) FROM "projects" WHERE "id" = 1 LIMIT 1;')
        self.assertEqual(a["data"], [{"id": 1, "owner": {"name": "user 1"}}])
        self.assertEqual(a["compatibility_rewrite"], {"kind": "relation_select", "table_name": "projects"})
        a = self.good("SELECT p.id, owner:users(name) FROM projects p LEFT JOIN users u ON p.owner_id = u.id WHERE p.name <> 'one' ORDER BY p.id")
        self.assertEqual(a["data"], [{"id": 2, "owner": {"name": "user 1"}}, {"id": 3, "owner": {"name": "user 2"}}])
        self.refused("SELECT id, owner:users(name) FROM projects GROUP BY id", 400, "invalid_relation_select_compatibility_query")
        self.refused("SELECT id, owner:nobody(name) FROM projects", 400, "invalid_structured_select_request")
        # what a fetch would not do is SQL's
        self.assertEqual(self.rows('SELECT "relname" FROM "pg_class" WHERE "relname" = \'users\' AND "relkind" = \'r\' LIMIT 1'), [{"relname": "users"}])
        self.assertEqual(self.rows('SELECT "id" FROM "users" WHERE "id" = 99999999999'), [])
        self.assertEqual(self.rows('SELECT count("id") FROM "users"'), [{"count": 10}])
        self.refused('SELECT "nope" FROM "users"', 400, "undefined_column")

    # ---- /query/sql ----

    def test_sql_with_a_driver(self):
        for path in ("/query/sql", "/gateway/sql"):
            body = {"query": "select 7 as seven", "driver": "PostgreSQL", "db_name": "shop"}
            a = self.post(path, body)
            self.assertEqual((a.status, a.json["message"]), (200, "Successfully executed query"))
            data = a.json["data"]
            self.assertEqual(data["rows"], [{"seven": 7}])
            self.assertEqual((data["db_name"], data["execution_mode"], data["statement_count"], data["schema_name"]), ("shop", "single_transaction", 1, None))
            self.assertEqual(sorted(data), ["db_name", "duration_ms", "execution_mode", "preprocess", "returned_row_count", "rows", "rows_affected",
                                            "schema_name", "statement_count", "statements"])
            a = self.post(path, {**body, "query": "select 1;\nselect nope -- ä"})
            self.assertEqual((a.status, a.code, a.json["details"]["statement_index"], a.json["details"]["statement"]), (400, "undefined_column", 2, "select nope"))
            a = self.post(path, {**body, "query": "select '" + "ä" * 5000 + "' from nope"})
            self.assertEqual((a.status, len(a.json["details"]["statement"].encode())), (400, 500))
            for driver, code in (("mysql", "invalid_driver"), ("", "invalid_driver"), ("x" * 33, "invalid_driver"), (5, "invalid_query_payload"), ("scylla", "invalid_driver")):
                self.assertEqual(self.post(path, {**body, "driver": driver}).code, code)
            self.assertEqual(self.post(path, {"query": "select 1", "driver": "postgres"}).code, "invalid_query_payload")
            self.assertEqual(self.post(path, body, key="wrong").status, 401)
            self.assertEqual(self.post(path, {**body, "query": "--"}).code, "query_sql_execution_failed")

    # ---- /query/count ----

    def count(self, server=None, key=ADMIN_KEY, **body):
        return self.post("/query/count", {"driver": "postgresql", "db_name": "shop", **body}, server, key=key)

    def test_counts(self):
        a = self.count(table_name="users")
        self.assertEqual((a.status, a.json["data"]["count"], a.json["data"]["db_name"], a.json["message"]), (200, 10, "shop", "Successfully computed row count"))
        self.assertRegex(a.json["data"]["cache_key"], "^query_count:[0-9a-f]{64}$")
        self.assertEqual(a.headers["x-athena-cache-key"], a.json["data"]["cache_key"])
        self.assertEqual(a.headers["x-athena-cache-id"], a.json["data"]["cache_key"])
        a = self.post("/query/count", {"driver": "postgres", "db_name": "shop", "table_name": "users"}, headers={"cache-control": "no-cache"})
        self.assertEqual((a.headers["x-athena-cache-source"], a.headers["x-athena-cached"], a.headers["x-athena-cache-outcome"]),
                         ("database", "false", "bypass_no_cache_header"))
        for body, n in (({"table_name": "users", "table_schema": "side"}, 1), ({"table_name": "side.users"}, 1), ({"query": "select count(*) from users where id > 7;"}, 3),
                        ({"query": "SELECT COUNT(DISTINCT owner_id)::int AS n FROM projects"}, 2), ({"query": "select count(*) filter (where id > 9) from users"}, 1),
                        ({"query": "select count(*) from (select 1 from users limit 4) x"}, 4)):
            a = self.count(**body)
            self.assertEqual((a.status, a.json.get("data", {}).get("count")), (200, n), (body, a.body))
        for body, code in (({}, "missing_count_target"), ({"table_name": "a", "query": "b"}, "ambiguous_count_target"), ({"query": "delete from users"}, "invalid_count_query"),
                           ({"query": "select count(*) from users group by id"}, "invalid_count_query"), ({"query": "select count(*) from users; select 1"}, "invalid_count_query"),
                           ({"query": "select count(*) from users union select 1"}, "invalid_count_query"), ({"table_name": "nope"}, "undefined_table"),
                           ({"table_name": "side.users", "table_schema": "side"}, "invalid_table_reference"), ({"table_name": ""}, "invalid_table_reference"),
                           ({"table_name": "users", "driver": "mysql"}, "invalid_driver"), ({"query": "select count(*) from nope"}, "undefined_table"),
                           ({"query": 5}, "invalid_count_query")):
            a = self.count(**body)
            self.assertEqual((a.status, a.code), (400, code), (body, a.body))

    def test_G_03_a_count_needs_a_key_reads_nothing_else_and_writes_nothing(self):
        self.assertEqual(self.count(key="", table_name="users").status, 401)
        self.assertEqual(self.count(key="wrong", query="select count(*) from users").status, 401)
        for sql in ("select length(max(name)) + 0 * count(*) from users", "select (select max(id) from users), count(*) from users",
                    "select count(*), max(name) from users", "select max(id) from users", "select count(*) + writes() from users"):
            self.assertEqual(self.count(query=sql).code, "invalid_count_query", sql)
        a = self.count(query="select count(*) from users where id = writes()")
        self.assertEqual((a.status, a.code), (403, "read_only"))
        a = self.count(query="select count(set_config('transaction_read_only', 'off', false)) from users where id = writes()")
        self.assertNotEqual(a.status, 200)
        self.assertEqual(self.logged(), [])

    # ---- limits and the rest ----

    def test_results_have_a_limit_and_so_have_bodies(self):
        small = self.lab.athena({"app": self.pg.uri("app")}, more="routes-query:\n  max_result_bytes: 1k\n  max_body_bytes: 2k\n  timeout: 500ms\n")
        a = self.query("select repeat('x', 2000) as a", small)
        self.assertEqual((a.status, a.code), (422, "query_result_too_large"))
        a = self.query('SELECT "name" FROM "users" WHERE "name" IN (' + ",".join(["'user 1'"] * 3) + ")", small)
        self.assertEqual(a.status, 200)
        a = self.query("select '" + "x" * 3000 + "'", small)
        self.assertEqual((a.status, a.code), (413, "payload_too_large"))
        for mode in ("single_transaction", "per_statement"):
            started = time.monotonic()
            a = self.query("select 1; select pg_sleep(30); select 2", small, execution_mode=mode)
            self.assertEqual((a.status, a.code, a.json["details"]["statement_index"]), (504, "query_timeout", 2), mode)
            self.assertLess(time.monotonic() - started, 10)
        self.assertEqual(self.rows("select 1 as a", small), [{"a": 1}])

    def test_a_large_result_is_never_in_memory_as_a_whole(self):
        server = self.lab.athena({"app": self.pg.uri("app")}, more="routes-query:\n  max_result_bytes: 4m\n")

        def peak():
            with open(f"/proc/{server.process.pid}/status") as f:
                return int(next(line for line in f if line.startswith("VmHWM")).split()[1]) // 1024

        self.rows("select 1", server)
        before = peak()
        many = "select repeat('x', 1000) as a from generate_series(1, 500000)"
        for sql in (many, f"insert into log (what) values ('too much'); {many}; select 1", f"select 1; {many} limit 400000",
                    f"create temp table t as select 1 as id; update t set id = 2; {many}"):
            a = self.query(sql, server)
            self.assertEqual((a.status, a.code), (422, "query_result_too_large"), a.body)
        self.assertEqual(self.logged(), [])
        self.assertLess(peak() - before, 350)  # each would be 500 and more; sanitizers keep what was freed for a while
        a = self.query(f"select 1; {many} limit 3000; insert into log (what) values ('kept')", server)
        self.assertEqual((a.status, len(a.json["data"]), a.json["statements"][1]["returned_row_count"]), (200, 3000, 3000))
        self.assertEqual(self.logged(), ["kept"])
        a = self.query("select i as a, case when i = 200000 then 1 / (i - 200000) end as b from generate_series(1, 300000) i; select 1", self.server)
        self.assertEqual((a.status, a.code, a.json["details"]["statement_index"]), (400, "data_exception", 1))

    def test_deferred_queries_are_not_run_instead(self):
        for word in ("1", "true", "TRUE", "yes", "YES"):
            a = self.query("insert into log (what) values ('deferred')", headers={"x-athena-defer": word})
            self.assertEqual((a.status, a.code), (503, "deferred_queue_unavailable"))
        self.assertEqual(self.logged(), [])
        self.assertEqual(self.query("select 1", headers={"x-athena-defer": "True"}).status, 200)
        a = self.server.request("POST", "/gateway/query", {"query": "select 1"}, {"x-athena-key": ADMIN_KEY, "x-athena-defer": "1"})
        self.assertEqual((a.status, a.code), (400, "missing_client_header"))

    def test_G_18_the_caller_s_mistakes_are_the_caller_s(self):
        for sql, status, code in (("select nope from users", 400, "undefined_column"), ("select * from nope", 400, "undefined_table"), ("selec 1", 400, "syntax_error"),
                                  ("select 'x'::int", 400, "data_exception"), ("insert into users values (1)", 409, "unique_violation"),
                                  ("insert into projects values (9, 'x', 999)", 409, "foreign_key_violation"), ("insert into users values (null)", 400, "not_null_violation"),
                                  ("select nofunction()", 400, "undefined_function"), ("do $$ begin raise exception 'no' using hint = 'so'; end $$", 400, "raised_exception"),
                                  ("create table nowhere.t ()", 400, "query_syntax"), ("drop table users", 400, "query_syntax"), ("select (select id from users)", 400, "query_syntax"),
                                  ("set role other; select * from users", 403, "insufficient_privilege")):
            self.refused(sql, status, code)

    def test_sql_is_not_logged(self):
        self.query("select 'a-secret-value' as v, 1/0")
        self.query("insert into log (what) values ($1)", params=["another-secret-value"])
        time.sleep(0.5)
        for name in ("success.log", "error.log"):
            path = f"{self.server.logs}/{name}"
            if os.path.exists(path):
                with open(path) as f:
                    self.assertNotIn("secret-value", f.read())

    def test_keys_are_asked_for(self):
        for path, body in (("/gateway/query", {"query": "select 1"}), ("/query/sql", {"query": "select 1", "driver": "postgresql", "db_name": "x"}),
                           ("/query/count", {"driver": "postgresql", "db_name": "x", "table_name": "users"})):
            self.assertEqual(self.post(path, body, key="").status, 401)
            self.assertEqual(self.post(path, "{", key="wrong").status, 401)


if __name__ == "__main__":
    unittest.main()
