#!/usr/bin/env python3
"""Functions of a real database, called over the real server: every kind of them, in every form of request."""
import os
import subprocess
import sys
import unittest
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab, executable  # noqa: E402

SCHEMA = """
create type mood as enum ('sad', 'ok');
create type spot as (x int, y text, z jsonb);
create domain price as numeric(10, 2) check (value > 0);
create schema "My Shop";
create table orders (id int primary key, total numeric, note text);
insert into orders select i, i * 1.5, 'n' || i from generate_series(1, 20) i;
create table lines (id int primary key, order_id int references orders, what text);
insert into lines values (1, 3, 'a'), (2, 3, 'b'), (3, 4, 'c');
create table seen (id serial, what text);
create function orders_between(low int, high int) returns setof orders language sql stable
  as 'select * from orders where id between low and high';
create function one_order(n int) returns orders language sql stable as 'select * from orders where id = n';
create function five() returns int language sql stable as 'select 5';
create function nil() returns int language sql stable as 'select null::int';
create function nums() returns setof int language sql stable as 'select generate_series(1, 5)';
create function gaps() returns setof int language sql stable as 'values (1), (null), (2)';
create function quiet() returns void language plpgsql as 'begin end';
create function quiet_sql() returns void language sql as '';
create function give_pair(out a int, out b text) language sql as $$select 1, 'x'$$;
create function listed(n int) returns table (a int, b text) language sql stable
  as $$select i, 'r' || i from generate_series(1, n) i$$;
create function total(variadic v int[]) returns int language sql immutable as 'select sum(x)::int from unnest(v) x';
create function joined(a int, b int default 7, c text default 'q') returns text language sql immutable as 'select a || c || b';
create function over(a int) returns text language sql immutable as $$select 'int'$$;
create function over(a text) returns text language sql immutable as $$select 'text'$$;
create function over(a int, b int) returns text language sql immutable as $$select 'two'$$;
create function close(a int2) returns int language sql as 'select 2';
create function close(a int4) returns int language sql as 'select 4';
create function wide(a int4) returns int language sql as 'select 4';
create function wide(a int8) returns int language sql as 'select 8';
create function same(v anyelement) returns anyelement language sql immutable as 'select v';
create function pick(a anyelement, b anyelement) returns anyelement language sql immutable as 'select coalesce(a, b)';
create function doc(v jsonb) returns jsonb language sql immutable as 'select v';
create function feel(v mood) returns mood language sql immutable as 'select v';
create function cost(v price) returns price language sql immutable as 'select v';
create function at_spot(v spot) returns spot language sql immutable as 'select v';
create function spots(v spot[]) returns setof spot language sql immutable as 'select * from unnest(v)';
create function spots_array(v spot[]) returns spot[] language sql immutable as 'select v';
create function ints(v int[]) returns int[] language sql immutable as 'select v';
create function texts(v text[]) returns text[] language sql immutable as 'select v';
create function docs(v json[]) returns json[] language sql immutable as 'select v';
create function no_spot() returns spot language sql immutable as 'select null::spot';
create function wrote(v text) returns text language sql immutable as 'select v';
create function loose() returns record language sql as 'select 1, 2';
create function boom(msg text) returns int language plpgsql stable
  as $$begin raise exception 'no: %', msg using hint = 'try again', detail = 'deep'; end$$;
create function divide(a int, b int) returns int language sql immutable as 'select a / b';
create function owner() returns text language sql security definer stable as 'select current_user::text';
create function write(w text) returns int language plpgsql as $$begin insert into seen (what) values (w); return 1; end$$;
create function rows_of_json() returns setof json language sql stable
  as $$select json_build_object('id', i, 'n', case when i <> 2 then 'x' || i end, 'even', i % 2 = 0) from generate_series(1, 3) i$$;
create function spaces() returns setof pg_namespace language sql stable as $$select * from pg_namespace where nspname = 'public'$$;
create function "My Shop"."Odd ""name"("my arg" int) returns int language sql immutable as 'select $1 + 1';
create function on_seen() returns trigger language plpgsql as 'begin return new; end';
create function slow(s float8) returns text language sql as 'select pg_sleep(s)::text';
create function many(n int) returns setof orders language sql stable
  as $$select i, i * 0.5, repeat('y', 100) from generate_series(1, n) i$$;
create procedure act() language sql as '';
create aggregate longest(text) (sfunc = textcat, stype = text);
"""


class RpcTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres()
        cls.pg.run(SCHEMA)
        cls.server = cls.lab.athena({"app": cls.pg.uri()})

    def ask(self, body, path="/gateway/rpc", server=None):
        return (server or self.server).request("POST", path, body, {"x-athena-client": "app", "x-athena-key": ADMIN_KEY})

    def get(self, path, server=None, **query):
        if query:
            path += "?" + urllib.parse.urlencode(query)
        return (server or self.server).get(path, {"x-athena-client": "app", "x-athena-key": ADMIN_KEY})

    def data(self, answer):
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.json["status"], "success")
        self.assertIn("message", answer.json)
        return answer.json["data"]

    def call(self, function, /, args=None, **more):
        return self.data(self.ask({"function": function, "args": args or {}, **more}))

    def refused(self, answer, status, code, *words):
        self.assertEqual((answer.status, answer.code), (status, code), answer.body)
        for word in words:
            self.assertIn(word, answer.body)

    # ---- what functions give ----

    def test_every_kind_of_result(self):
        for name, args, expected in (
                ("five", {}, [5]), ("nil", {}, []), ("nums", {}, [1, 2, 3, 4, 5]), ("gaps", {}, [1, 2]), ("quiet", {}, [""]),
                ("quiet_sql", {}, []), ("give_pair", {}, [{"a": 1, "b": "x"}]), ("no_spot", {}, [{"x": None, "y": None, "z": None}]),
                ("one_order", {"n": 2}, [{"id": 2, "total": 3.0, "note": "n2"}]), ("owner", {}, ["postgres"]),
                ("one_order", {"n": 99}, [{"id": None, "total": None, "note": None}]),
                ("listed", {"n": 2}, [{"a": 1, "b": "r1"}, {"a": 2, "b": "r2"}]),
                ("orders_between", {"low": 2, "high": 3}, [{"id": 2, "total": 3.0, "note": "n2"}, {"id": 3, "total": 4.5, "note": "n3"}])):
            self.assertEqual(self.call(name, args), expected, name)
        self.assertEqual(self.call("spaces")[0]["nspname"], "public")
        self.refused(self.ask({"function": "loose"}), 400, "invalid_rpc_request", "without named columns")

    def test_what_is_no_function_is_refused_by_its_kind(self):
        for name, word in (("act", "a procedure"), ("longest", "an aggregate"), ("on_seen", "a trigger function")):
            self.refused(self.ask({"function": name}), 400, "invalid_rpc_request", word)
        for name in ("nope", "pg_catalog.now", "pg_catalog.query_to_xml", "information_schema._pg_truetypid", "a; drop table orders"):
            self.refused(self.ask({"function": name}), 400, "undefined_function", name)

    # ---- arguments ----

    def test_arguments_take_the_declared_types(self):
        """G-12: integers to int4, text to bigint and back, empty, nested and null-holding arrays, enums, domains, composites."""
        for name, value, expected in (
                ("ints", [1, 2, None], [1, 2, None]), ("ints", [], []), ("ints", [[1, 2], [3, 4]], [[1, 2], [3, 4]]), ("ints", "{7,8}", [7, 8]),
                ("texts", ["a,b", 'q"x', "\\", "", "NULL", None, "{}", 5, True], ["a,b", 'q"x', "\\", "", "NULL", None, "{}", "5", "true"]),
                ("docs", [1, "a", [2], {"k": None}], [1, "a", [2], {"k": None}]), ("feel", "ok", "ok"), ("cost", 1.5, 1.5), ("cost", "2", 2.0),
                ("doc", 1, 1), ("doc", "x", "x"), ("doc", {"a": [1, None]}, {"a": [1, None]}), ("doc", [1], [1]), ("doc", False, False),
                ("same", 1, 1), ("same", 1.25, 1.25), ("same", "x", "x"), ("same", True, True), ("same", [1, 2], [1, 2]),
                ("same", ["a", None], ["a", None]), ("same", {"a": 1}, {"a": 1}), ("same", [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
                ("wrote", "0123456789ABCDEF0123456789abcdef", "0123456789ABCDEF0123456789abcdef"), ("wrote", 5, "5"), ("wrote", "é'\"\\", "é'\"\\"),
                ("spots_array", [{"x": 1, "y": "(,)\"\\"}, {"z": [1]}], [{"x": 1, "y": "(,)\"\\", "z": None}, {"x": None, "y": None, "z": [1]}])):
            self.assertEqual(self.call(name, {"v": value}), [expected], (name, value))
        self.assertEqual(self.call("at_spot", {"v": {"x": 1, "y": "a,\"b\\é", "z": {"k": [1]}}}), [{"x": 1, "y": "a,\"b\\é", "z": {"k": [1]}}])
        self.assertEqual(self.call("at_spot", {"v": "(4,five,)"}), [{"x": 4, "y": "five", "z": None}])
        self.assertEqual(self.call("spots", {"v": [{"x": 1}, None, {"x": 2}]})[2]["x"], 2)
        self.assertEqual(self.call("wrote", {"v": None}), [])
        self.assertEqual(self.call("pick", {"a": None, "b": 2.5}), [2.5])
        self.assertEqual(self.call("pick", {"a": 1, "b": 2.5}), [1])
        self.assertEqual(self.call("joined", {"a": "41"}), ["41q7"])
        self.assertEqual(self.call("total", {"v": [1, 2, 3]}), [6])
        self.assertEqual(self.call("total", {"v": 4}), [4])
        self.assertEqual(self.call('"My Shop"."Odd ""name"', {"my arg": 1}), [2])
        self.assertEqual(self.call('Odd "name', {"my arg": 1}, schema="My Shop"), [2])

    def test_G_18_what_does_not_fit_is_the_callers_fault(self):
        for name, args, code in (("ints", {"v": "x"}, "data_exception"), ("ints", {"v": [1, "a"]}, "data_exception"),
                                 ("feel", {"v": "angry"}, "data_exception"), ("cost", {"v": -1}, "check_constraint_violation"),
                                 ("at_spot", {"v": {"q": 1}}, "invalid_rpc_request"), ("divide", {"a": 1, "b": 0}, "data_exception"),
                                 ("close", {"a": 1}, "ambiguous_function"), ("wrote", {"v": "a\u0000"}, "invalid_text_encoding"),
                                 ("joined", {"b": 1}, "undefined_function"), ("joined", {"a": 1, "zz": 2}, "undefined_function"),
                                 ("pick", {"a": 1, "b": "x"}, "undefined_function")):
            self.refused(self.ask({"function": name, "args": args}), 400, code)
        self.refused(self.ask({"function": "close", "args": {"a": 1}}), 400, "ambiguous_function", "close(a smallint)", "close(a integer)")
        self.refused(self.ask({"function": "joined", "args": {"zz": 2}}), 400, "undefined_function", "joined(a integer, b integer = ...")

    def test_overloads_are_told_apart_by_names_defaults_and_kinds(self):
        for args, expected in (({"a": 1}, "int"), ({"a": "x"}, "text"), ({"a": 1, "b": 2}, "two"), ({"a": "1", "b": "2"}, "two")):
            self.assertEqual(self.call("over", args), [expected], args)
        self.assertEqual(self.call("wide", {"a": 1}), [8])  # what the published system asks for
        for args, expected in (({"a": 1}, "1q7"), ({"a": 1, "c": "z"}, "1z7"), ({"a": 1, "b": 2}, "1q2"), ({"c": "z", "b": 2, "a": 1}, "1z2")):
            self.assertEqual(self.call("joined", args), [expected], args)

    def test_a_raised_exception_reaches_the_caller_whole(self):
        a = self.ask({"function": "boom", "args": {"msg": "m"}})
        self.refused(a, 400, "raised_exception")
        self.assertEqual((a.json["error"], a.json["hint"], a.json["details"]["detail"]), ("no: m", "try again", "deep"))
        self.assertEqual(a.json["details"]["sql_state"], "P0001")

    # ---- the result as a table ----

    def test_G_14_filters_order_count_and_pages_are_sql(self):
        a = self.ask({"function": "orders_between", "args": {"low": 1, "high": 9}, "select": "id,total",
                      "order": {"column": "id", "ascending": False}, "limit": 1, "count": "exact"})
        self.assertEqual(self.data(a), [{"id": 9, "total": 13.5}])
        self.assertEqual(a.json["count"], 9)
        ids = lambda *f, **kw: [r["id"] for r in self.call("orders_between", {"low": 1, "high": 9}, filters=[  # noqa: E731
            dict(zip(("column", "operator", "value"), x)) for x in f], **kw)]
        for filters, expected in (
                ([("total", "gt", 9)], [7, 8, 9]), ([("total", "eq", "9.0")], [6]), ([("id", "in", [2, 4, 40])], [2, 4]), ([("id", "in", [])], []),
                ([("note", "like", "n%")], [1, 2, 3, 4, 5, 6, 7, 8, 9]), ([("note", "ilike", "N1"), ("id", "lte", 1)], [1]), ([("note", "i_like", "N2")], [2]),
                ([("id", "gte", "3"), ("id", "lt", 5)], [3, 4]), ([("id", "neq", 1), ("id", "lte", 2)], [2]), ([("note", "is", None)], []),
                ([("note", "is", "not_null"), ("id", "lt", 2)], [1]), ([("id", "eq", None)], [])):
            self.assertEqual(ids(*filters), expected, filters)
        self.assertEqual(ids(order={"column": "total", "ascending": False}, limit=2, offset=1), [8, 7])
        self.assertEqual(ids(offset=7), [8, 9])
        self.assertEqual(ids(head=True), [])
        a = self.ask({"function": "nums", "filters": [{"column": "nums", "operator": "gte", "value": 2}],
                      "order": {"column": "nums", "ascending": False}, "limit": 2, "offset": 1, "count": "exact"})
        self.assertEqual((a.json["data"], a.json["count"]), ([4, 3], 4))
        a = self.ask({"function": "nums", "head": True, "count": "exact"})
        self.assertEqual((a.json["data"], a.json["count"]), ([], 5))
        self.assertEqual(self.call("nums", select="n:nums", limit=1), [{"n": 1}])
        self.assertEqual(len(self.call("many", {"n": 5000})), 5000)

    def test_large_results_come_in_pieces_and_in_other_formats(self):
        ask = {"function": "many", "args": {"n": 30000}, "count": "exact"}
        a = self.ask(ask)
        self.assertEqual((len(self.data(a)), a.json["count"], a.headers["transfer-encoding"]), (30000, 30000, "chunked"))
        self.assertEqual(a.json["data"][-1]["id"], 30000)
        take = lambda body, accept: self.server.request("POST", "/gateway/rpc", body, {  # noqa: E731
            "x-athena-client": "app", "x-athena-key": ADMIN_KEY, "accept": accept})
        a = take(ask, "application/x-ndjson")
        self.assertEqual((len(a.body.splitlines()), a.headers["x-athena-count"]), (30000, "30000"))
        self.assertEqual(take({"function": "nums"}, "application/x-ndjson").body, "1\n2\n3\n4\n5\n")
        self.assertEqual(take({"function": "nums", "limit": 2}, "text/csv").body, "nums\r\n1\r\n2\r\n")
        self.assertEqual(take({"function": "give_pair"}, "text/csv").body, "a,b\r\n1,x\r\n")

    def test_rows_embed_what_refers_to_them(self):
        self.assertEqual(self.call("orders_between", {"low": 3, "high": 4}, select="id,lines(what)"),
                         [{"id": 3, "lines": [{"what": "a"}, {"what": "b"}]}, {"id": 4, "lines": [{"what": "c"}]}])
        self.assertEqual([r["id"] for r in self.call("orders_between", {"low": 1, "high": 9}, select="id,lines!inner(what)")], [3, 4])

    def test_keys_of_a_json_result_are_its_columns(self):
        rows = lambda **kw: self.call("rows_of_json", **kw)  # noqa: E731
        self.assertEqual(rows()[1], {"id": 2, "n": None, "even": True})
        self.assertEqual(rows(select="id", order={"column": "id", "ascending": False}), [{"id": 3}, {"id": 2}, {"id": 1}])
        for column, op, value, expected in (("n", "is", None, [2]), ("n", "eq", "x3", [3]), ("n", "like", "x%", [1, 3]), ("even", "is", True, [2]),
                                            ("id", "gt", 1, [2, 3]), ("n", "eq", None, [2]), ("id", "in", [1, 3], [1, 3])):
            self.assertEqual([r["id"] for r in rows(filters=[{"column": column, "operator": op, "value": value}])], expected, (column, op))

    def test_G_10_nothing_that_narrows_is_ignored(self):
        five = {"function": "five"}
        for more, code in (({"filters": [{"column": "zzz", "operator": "eq", "value": 1}]}, "undefined_column"), ({"select": "zzz"}, "undefined_column"),
                           ({"order": {"column": "zzz"}}, "undefined_column"), ({"filters": [{"column": "five", "operator": "zap", "value": 1}]}, "invalid_rpc_request"),
                           ({"filters": [{"column": "five", "operator": "eq"}]}, "invalid_rpc_request"), ({"filters": [5]}, "invalid_rpc_request"),
                           ({"filters": {}}, "invalid_rpc_request"), ({"limit": -1}, "invalid_rpc_request"), ({"limit": "x"}, "invalid_rpc_request"),
                           ({"offset": 1.5}, "invalid_rpc_request"), ({"count": "planned"}, "invalid_rpc_request"), ({"head": "yes"}, "invalid_rpc_request"),
                           ({"arguments": {}}, "invalid_rpc_request"), ({"args": []}, "invalid_rpc_request"), ({"schema": 5}, "invalid_rpc_request"),
                           ({"order": "five"}, "invalid_rpc_request"), ({"function": ""}, "invalid_rpc_request")):
            self.refused(self.ask({**five, **more}), 400, code)
        self.refused(self.ask({}), 400, "invalid_rpc_request", "function is required")
        for body in (None, "[]", "{", "5"):
            self.refused(self.ask(body), 400, "invalid_rpc_body")

    # ---- the forms of requests ----

    def test_the_path_names_the_function_and_the_body_is_a_wrapper_or_the_arguments(self):
        post = lambda path, body: self.data(self.ask(body, path))  # noqa: E731
        self.assertEqual(len(post("/rpc/orders_between", {"low": 1, "high": 2})), 2)
        self.assertEqual(len(post("/rpc/orders_between", {"args": {"low": 1, "high": 2}, "limit": 1})), 1)
        self.assertEqual(post("/rpc/orders_between", {"function": "five"}), [5])
        self.assertEqual(post("/rpc/public.five", None), [5])
        self.assertEqual(post("/rpc/public.five", {}), [5])
        self.refused(self.ask({"args": {}, "zap": 1}, "/rpc/five"), 400, "invalid_rpc_request", "zap")
        self.refused(self.ask([1], "/rpc/five"), 400, "invalid_rpc_body")

    def test_a_query_string_calls_with_arguments_and_filters(self):
        get = lambda name, **q: self.data(self.get(f"/rpc/{name}", **q))  # noqa: E731
        a = self.get("/rpc/orders_between", low=1, high=9, total="gt.4", order="id.desc", limit=2, count="exact", select="id")
        self.assertEqual((a.json["data"], a.json["count"]), ([{"id": 9}, {"id": 8}], 7))
        for name, query, expected in (
                ("public.five", {}, [5]), ("five", {"schema": "public"}, [5]), ("five", {"head": "true"}, []), ("total", {"v": 1}, [1]),
                ("total", {"v": "{1,2}"}, [3]), ("ints", {"v": "[1,2]"}, [[1, 2]]), ("texts", {"v": "a"}, [["a"]]), ("doc", {"v": '{"a":1,"b":[1,2]}'}, [{"a": 1, "b": [1, 2]}]),
                ("doc", {"v": "null"}, []), ("same", {"v": "1.5"}, [1.5]), ("same", {"v": "true"}, [True]), ("same", {"v": "x"}, ["x"]),
                ("over", {"a": "12"}, ["int"]), ("over", {"a": "x"}, ["text"]), ("wrote", {"v": "12"}, ["12"]), ("wrote", {"v": "true"}, ["true"]),
                ("wrote", {"v": "not.eq.x"}, ["not.eq.x"]), ("wrote", {"v": "nan"}, ["nan"]), ("nums", {"nums": "in.(2,4)"}, [2, 4]),
                ("orders_between", {"low": 3, "high": 3, "note": "like.n3", "select": "id"}, [{"id": 3}]),
                ("orders_between", {"low": 3, "high": 3, "note": "eq.null", "select": "id"}, [])):
            self.assertEqual(get(name, **query), expected, (name, query))
        self.assertEqual(self.data(self.get("/rpc/at_spot", v='{"x":1}')), [{"x": 1, "y": None, "z": None}])
        for query, word in (("limit=x", "limit"), ("offset=-1", "offset"), ("order=five.sideways", "sideways"), ("count=most", "most"),
                            ("head=5", "head"), ("limit=1&limit=2", "twice"), ("select=five,(", "byte")):
            self.refused(self.get(f"/rpc/five?{query}"), 400, "invalid_rpc_query", word)
        self.refused(self.get("/rpc/joined?a=1&a=2"), 400, "invalid_rpc_query", "twice")
        self.refused(self.get("/rpc/five?x=eq.5"), 400, "undefined_column", "x")

    def test_head_and_wrong_methods(self):
        a = self.server.request("HEAD", "/rpc/five", None, {"x-athena-client": "app", "x-athena-key": ADMIN_KEY})
        self.assertEqual((a.status, a.body), (200, ""))
        self.assertEqual(self.server.request("PUT", "/rpc/five", None, {"x-athena-client": "app"}).status, 405)

    # ---- effects ----

    def seen(self):
        return self.pg.run("select what from seen order by id").split()

    def test_a_volatile_function_runs_whole_and_once_whatever_is_wanted_of_it(self):
        self.pg.run("truncate seen")
        for i, more in enumerate(({}, {"head": True}, {"limit": 0}, {"count": "exact"}, {"filters": [{"column": "write", "operator": "in", "value": []}]},
                                  {"filters": [{"column": "write", "operator": "eq", "value": 9}], "count": "exact", "limit": 0})):
            self.assertEqual(self.ask({"function": "write", "args": {"w": str(i)}, **more}).status, 200, more)
        self.assertEqual(self.seen(), [str(i) for i in range(6)])
        self.refused(self.ask({"function": "write", "args": {"w": "no"}, "filters": [{"column": "write", "operator": "eq", "value": "no number"}]}),
                     400, "data_exception")
        self.assertEqual(len(self.seen()), 6)

    def test_a_call_with_a_key_is_done_once(self):
        def ask(key, w="once", path="/rpc/write", **headers):
            return self.server.request("POST", path, {"w": w}, {"x-athena-client": "app", "x-athena-key": ADMIN_KEY, "idempotency-key": key, **headers})
        self.pg.run("truncate seen")
        self.refused(ask("a"), 400, "idempotency_not_installed")
        self.pg.run(subprocess.run([executable(), "idempotency", "install"], stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout)
        first, again = ask("a"), ask("a", accept="text/csv")
        self.assertEqual((self.data(first), first.body, again.headers.get("idempotency-replayed")), ([1], again.body, "true"))
        self.assertEqual(self.seen(), ["once"])
        self.assertEqual(ask("a", "other").code, "idempotency_key_reused")
        self.assertEqual(ask("a", path="/rpc/public.write").code, "idempotency_key_reused")
        self.assertEqual([self.data(self.server.request("GET", "/rpc/five", None, {"x-athena-client": "app", "x-athena-key": ADMIN_KEY, "idempotency-key": "b"}))
                          for _ in range(2)], [[5], [5]])
        self.pg.run("drop schema athena cascade")

    def test_get_calls_volatile_functions_only_where_that_is_allowed(self):
        self.pg.run("truncate seen")
        self.assertEqual(self.data(self.get("/rpc/write", w="a")), [1])
        strict = self.lab.athena({"app": self.pg.uri()}, more="routes-query:\n  rpc_get_allow_volatile: false\n")
        a = self.get("/rpc/write", server=strict, w="b")
        self.refused(a, 405, "method_not_allowed", "volatile")
        self.assertEqual(a.headers["allow"], "POST")
        self.assertEqual(self.data(self.get("/rpc/five", server=strict)), [5])
        self.assertEqual(self.data(self.ask({"w": "c"}, "/rpc/write", server=strict)), [1])
        self.assertEqual(self.seen(), ["a", "c"])

    def test_a_slow_function_is_stopped_in_time(self):
        strict = self.lab.athena({"app": self.pg.uri()}, more="routes-query:\n  timeout: 300ms\n")
        self.refused(self.ask({"function": "slow", "args": {"s": 20}}, server=strict), 504, "query_timeout")

    def test_what_changes_in_the_database_is_known_at_once(self):
        self.pg.run("create function fresh() returns int language sql stable as 'select 1'")
        self.assertEqual(self.call("fresh"), [1])
        self.pg.run("drop function fresh(); create function fresh(n int) returns int language sql stable as 'select n'")
        self.assertEqual(self.call("fresh", {"n": 3}), [3])
        self.pg.run("drop function fresh(int); create function fresh() returns text language sql stable as $$select 'x'$$")
        self.assertEqual(self.call("fresh"), ["x"])
        self.pg.run("drop function fresh()")
        self.refused(self.ask({"function": "fresh"}), 400, "undefined_function")

    def test_metacharacters_reach_no_statement(self):
        for text in ("'", '"', "\\", ";", "--", "/*", "$1", "$$", "a\nb", "é", "');drop table orders;--", '" => 1)--', "a=>1", "%", "%27"):
            for body in ({"function": text}, {"function": "five", "schema": text}, {"function": "five", "args": {text: 1}},
                         {"function": "five", "select": text}, {"function": "five", "order": {"column": text}},
                         {"function": "five", "filters": [{"column": text, "operator": "eq", "value": 1}]},
                         {"function": "five", "filters": [{"column": "five", "operator": text, "value": 1}]},
                         {"function": "five", "count": text}):
                self.assertEqual(self.ask(body).status, 400, body)
            self.assertEqual(self.get("/rpc/" + urllib.parse.quote(text, safe="")).status, 400, text)
            self.assertEqual(self.data(self.get("/rpc/wrote", v=text)), [text])
            self.assertEqual(self.call("wrote", {"v": text}), [text])
        self.assertEqual(self.pg.run("select count(*) from orders").strip(), "20")

    def test_keys_come_before_bodies_and_functions(self):
        for method, path in (("POST", "/gateway/rpc"), ("POST", "/rpc/five"), ("GET", "/rpc/five")):
            a = self.server.request(method, path, "{ not json" if method == "POST" else None, {"x-athena-client": "app"})
            self.assertEqual((a.status, a.code), (401, "api_key_required"), path)
            a = self.server.request(method, path, None, {"x-athena-key": ADMIN_KEY})
            self.assertEqual(a.status, 400, path)
        a = self.server.request("GET", "/rpc/five", None, {"x-athena-key": ADMIN_KEY, "x-athena-client": "nobody"})
        self.assertEqual(a.status, 400)


if __name__ == "__main__":
    unittest.main()
