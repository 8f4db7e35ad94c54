#!/usr/bin/env python3
"""The REST shim over the real server and a real database: filters, pages, counts, writes, and what it refuses."""
import os
import subprocess
import sys
import unittest
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab, executable  # noqa: E402

SCHEMA = """
create schema private;
create type mood as enum ('sad', 'ok');
create table kinds (id int primary key, title text unique);
insert into kinds values (1, 'tool'), (2, 'toy');
create table items (id int primary key, name text not null, note text, price numeric(10, 2), qty int default 5, tags text[],
  data jsonb, mood mood, kind_id int references kinds, made_at timestamptz default '2024-01-01', check (qty >= 0));
insert into items select i, 'item ' || i, case when i % 2 = 0 then 'even*' end, i * 1.5, i, array['t' || i, 'all'],
  jsonb_build_object('n', i), case when i % 3 = 0 then 'ok' else 'sad' end::mood, 1 + i % 2 from generate_series(1, 150) i;
create table private.items (id int primary key, secret text);
insert into private.items values (1, 'hidden');
create table "Odd Name" ("Id" int primary key, "my col" text);
insert into "Odd Name" values (1, 'x');
create table log (id int generated always as identity primary key, line text not null);
create table plain (a int, b text);
insert into plain values (1, 'x'), (2, 'y');
create view cheap as select id, name from items where price < 6;
create table big (id int primary key, body text);
insert into big select i, repeat('x', 50) from generate_series(1, 5000) i;
"""


class RestTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres()
        cls.pg.run(SCHEMA)
        cls.server = cls.lab.athena({"app": cls.pg.uri()})

    def ask(self, method, path, body=None, **headers):
        return self.server.request(method, f"/rest/v1/{path}", body, {
            "x-athena-client": "app", "x-athena-key": ADMIN_KEY, **{k.replace("_", "-"): v for k, v in headers.items()}})

    def get(self, table, *pairs, **headers):
        return self.ask("GET", table + ("?" + urllib.parse.urlencode(pairs) if pairs else ""), **headers)

    def data(self, answer, status=200):
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(list(answer.json), ["data"])
        return answer.json["data"]

    def ids(self, *pairs, table="items", **headers):
        return [r["id"] for r in self.data(self.get(table, *pairs, ("select", "id"), **headers))]

    def refused(self, answer, status, code, *words):
        self.assertEqual((answer.status, answer.code), (status, code), answer.body)
        self.assertEqual(answer.json["status"], "error")
        self.assertIn("error", answer.json)  # what old callers read
        for word in words:
            self.assertIn(word, answer.body)

    def count(self, table="items", where="true"):
        return int(self.pg.run(f"select count(*) from {table} where {where}"))

    def rows(self, sql):
        return [line for line in self.pg.run(sql).splitlines() if line]

    # ---- reading ----

    def test_every_operator_in_both_spellings(self):
        low = ("id", "lte.10")
        for column, op, value, expected in (
                ("id", "eq", "3", [3]), ("id", "neq", "3", [1, 2, 4, 5, 6, 7, 8, 9, 10]), ("id", "gt", "8", [9, 10]), ("id", "gte", "9", [9, 10]),
                ("id", "lt", "3", [1, 2]), ("name", "like", "item *", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), ("name", "like", "item _", [1, 2, 3, 4, 5, 6, 7, 8, 9]),
                ("name", "ilike", "*M 1", [1]), ("note", "is", "null", [1, 3, 5, 7, 9]), ("note", "is", "not_null", [2, 4, 6, 8, 10]),
                ("id", "in", "(2,4,99)", [2, 4]), ("name", "in", '("item 1","item 2")', [1, 2]), ("id", "in", "()", []), ("tags", "cs", "{t3}", [3]),
                ("tags", "array_contains", "{t3,all}", [3]), ("tags", "cd", '{t4,all,"x,y"}', [4]), ("data", "cs", '{"n":5}', [5]),
                ("mood", "eq", "ok", [3, 6, 9]), ("mood", "in", "(ok)", [3, 6, 9]), ("price", "eq", "1.5", [1]), ("price", "gte", "14.0", [10]),
                ("data->>n", "eq", "7", [7]), ("kind_id", "eq", "1", [2, 4, 6, 8, 10])):
            self.assertEqual(self.ids(low, (column, f"{op}.{value}"), ("order", "id")), expected, (column, op, value))
            self.assertEqual(self.ids(low, (f"{column}.{op}", value), ("order", "id")), expected, (column, op, value))
            self.assertEqual(self.ids(low, (column, f"{op.upper()}.{value}"), ("order", "id")), expected, (column, op, value))
        self.assertEqual(self.ids(low, ("id", "not.in.(1,2,3)"), ("id.not.eq", "4"), ("order", "id")), [5, 6, 7, 8, 9, 10])

    def test_terms_joined_by_or_and_not(self):
        for pairs, expected in (
                ([("or", "(id.eq.1,id.eq.2)")], [1, 2]), ([("or", "(id.eq.1,and(id.gt.4,id.lt.7))")], [1, 5, 6]),
                ([("or", "(id.eq.1,id.eq.2)"), ("or", "(id.eq.2,id.eq.3)")], [2]), ([("and", "(id.gt.3,id.lt.5)")], [4]),
                ([("not.or", "(id.gt.3,id.eq.1)")], [2, 3]), ([("or", '(name.eq."item 1",name.in.("item 2","a,b"))')], [1, 2]),
                ([("or", "(name.like.item 1?,id.eq.1)"), ("id", "lt.5")], [1]), ([("or", "(name.like.item*,id.eq.1)"), ("id", "lt.3")], [1, 2])):
            self.assertEqual(self.ids(*pairs, ("order", "id")), expected, pairs)

    def test_G_19_stars_are_wild_in_patterns_only(self):
        self.assertEqual(self.ids(("note", "eq.even*"), ("id", "lt.5")), [2, 4])
        self.assertEqual(self.ids(("note", "eq.even%"), ("id", "lt.5")), [])

    def test_G_19_nothing_that_narrows_is_ignored(self):
        """Unknown operators were eq, filters without a dot were dropped."""
        for pairs, words in (([("id", "5")], "id"), ([("id", "")], "id"), ([("id", "zap.5")], "zap"), ([("id", "fts.5")], "fts"), ([("or", "id.eq.1")], "brackets"),
                             ([("or", "()")], "empty"), ([("or", "(id.zap.1)")], "operator"), ([("", "eq.5")], "name"), ([("limit", "x")], "limit"),
                             ([("limit", "-1")], "limit"), ([("offset", "1.5")], "offset"), ([("limit", "1"), ("limit", "2")], "twice"),
                             ([("order", "id.sideways")], "sideways"), ([("on_conflict", "id")], "on_conflict"), ([("id", "is.maybe")], "is")):
            self.refused(self.get("items", *pairs), 400, "invalid_fetch_condition", words)
        self.refused(self.get("items", ("zzz", "eq.5")), 400, "undefined_column", "zzz")
        self.refused(self.get("items", ("select", "zzz")), 400, "undefined_column", "zzz")
        self.refused(self.get("items", ("order", "zzz")), 400, "undefined_column", "zzz")
        self.refused(self.get("nope"), 400, "undefined_table", "nope")
        self.refused(self.get("items", ("id", "eq.x")), 400, "data_exception")
        self.refused(self.get("items", range="items=5-2"), 400, "invalid_fetch_condition", "ends before")
        self.refused(self.get("items", prefer="count=most"), 400, "bad_request", "most")

    def test_pages_and_what_they_say_about_themselves(self):
        a = self.get("items", ("select", "id"))
        self.assertEqual((len(self.data(a)), a.headers["content-range"]), (100, "items 0-99/*"))
        for pairs, headers, first, n, said in (
                ([("limit", "2")], {}, 1, 2, "items 0-1/*"), ([("limit", "2"), ("offset", "3")], {}, 4, 2, "items 3-4/*"),
                ([("limit", "20")], {"range": "items=5-6"}, 6, 2, "items 5-6/*"), ([], {"range": "0-0"}, 1, 1, "items 0-0/*"),
                ([("limit", "3")], {"range": "items=148-"}, 149, 2, "items 148-149/*"), ([("limit", "2")], {"range": "bytes=0-500"}, 1, 2, "items 0-1/*"),
                ([("limit", "0")], {}, None, 0, "*/*"), ([("id", "gt.900")], {}, None, 0, "*/*"),
                ([("limit", "2")], {"prefer": "count=exact"}, 1, 2, "items 0-1/150"), ([("id", "gt.900")], {"prefer": "count=exact"}, None, 0, "*/0"),
                ([("limit", "0")], {"prefer": "count=exact"}, None, 0, "*/150"), ([("offset", "200")], {"prefer": "count=exact"}, None, 0, "*/150"),
                ([("id", "lte.7"), ("limit", "2")], {"prefer": "count=exact"}, 1, 2, "items 0-1/7"),
                ([("id", "lte.7")], {"prefer": "count=estimated"}, 1, 7, "items 0-6/7")):
            a = self.get("items", *pairs, ("select", "id"), ("order", "id"), **headers)
            rows = self.data(a)
            self.assertEqual((rows[0]["id"] if rows else None, len(rows), a.headers["content-range"]), (first, n, said), (pairs, headers))
        a = self.get("items", ("limit", "1"), prefer="count=planned")
        self.assertRegex(a.headers["content-range"], r"^items 0-0/\d+$")
        self.assertEqual(a.headers["preference-applied"], "count=planned")

    def test_selections_embed_rename_and_cast(self):
        self.assertEqual(self.data(self.get("items", ("select", "n:name,price::text,kind:kinds(title)"), ("id", "eq.2"))),
                         [{"n": "item 2", "price": "3.00", "kind": {"title": "tool"}}])
        self.assertEqual(self.data(self.get("kinds", ("select", "title,items(id)"), ("items.id", "lt.4"), ("order", "id"))),
                         [{"title": "tool", "items": [{"id": 2}]}, {"title": "toy", "items": [{"id": 1}, {"id": 3}]}])
        self.assertEqual([r["id"] for r in self.data(self.get("items", ("select", "id,kinds!inner(title)"), ("kinds.title", "eq.toy"), ("limit", "2"), ("order", "id")))], [1, 3])
        row = self.data(self.get("items", ("id", "eq.2")))[0]
        self.assertEqual(row, {"id": 2, "name": "item 2", "note": "even*", "price": 3.0, "qty": 2, "tags": ["t2", "all"], "data": {"n": 2}, "mood": "sad", "kind_id": 1,
                               "made_at": "2024-01-01T00:00:00+00:00"})

    def test_orders(self):
        self.assertEqual(self.ids(("id", "lte.4"), ("order", "id.desc")), [4, 3, 2, 1])
        self.assertEqual(self.ids(("id", "lte.4"), ("order", "note.desc,id.desc")), [3, 1, 4, 2])
        self.assertEqual(self.ids(("id", "lte.4"), ("order", "note.desc.nullslast,id.asc")), [2, 4, 1, 3])
        self.assertEqual(self.ids(("id", "lte.4"), ("order", "note.asc.nullsfirst,id")), [1, 3, 2, 4])

    def test_names_of_any_kind(self):
        self.assertEqual(self.data(self.get("private.items")), [{"id": 1, "secret": "hidden"}])
        self.assertEqual(self.data(self.ask("GET", urllib.parse.quote('public."Odd Name"') + "?" + urllib.parse.urlencode([("my col", "eq.x"), ("select", "Id")]))), [{"Id": 1}])
        self.assertEqual(self.data(self.ask("GET", "Odd%20Name?%22Id%22=eq.1&select=%22my%20col%22")), [{"my col": "x"}])
        self.assertEqual(self.ids(("order", "id"), table="cheap"), [1, 2, 3])

    def test_other_formats_large_answers_and_head(self):
        a = self.get("items", ("select", "id,note"), ("limit", "2"), ("order", "id"), accept="text/csv")
        self.assertEqual((a.body, a.headers["content-range"]), ("id,note\r\n1,\r\n2,even*\r\n", "items 0-1/*"))
        a = self.get("items", ("select", "id"), ("limit", "2"), ("order", "id"), accept="application/x-ndjson")
        self.assertEqual(a.body, '{"id":1}\n{"id":2}\n')
        for pairs, headers, n, said in (([("limit", "9999")], {}, 5000, "items 0-4999/*"), ([("limit", "3000"), ("offset", "1000")], {}, 3000, "items 1000-3999/*"),
                                        ([("limit", "3000"), ("offset", "4000")], {"prefer": "count=exact"}, 1000, "items 4000-4999/5000"),
                                        ([("limit", "9999"), ("id", "lt.4")], {}, 3, "items 0-2/*"), ([("limit", "9999"), ("id", "lt.0")], {}, 0, "*/*")):
            a = self.get("big", *pairs, ("order", "id"), **headers)
            self.assertEqual((len(self.data(a)), a.headers["content-range"]), (n, said), pairs)
        a = self.ask("HEAD", "items?limit=3", prefer="count=exact")
        self.assertEqual((a.status, a.body, a.headers["content-range"]), (200, "", "items 0-2/150"))

    # ---- writing ----

    def test_inserts(self):
        a = self.ask("POST", "items", {"id": 1001, "name": "new", "tags": ["a"], "data": {"k": [1]}, "mood": "ok", "price": "1.10"})
        row = self.data(a)[0]
        self.assertEqual((row["id"], row["qty"], row["price"], row["tags"], row["data"]), (1001, 5, 1.1, ["a"], {"k": [1]}))
        a = self.ask("POST", "items?select=id,qty", [{"id": 1002, "name": "b"}, {"id": 1003, "name": "c", "qty": 1}])
        self.assertEqual(self.data(a), [{"id": 1002, "qty": 5}, {"id": 1003, "qty": 1}])
        a = self.ask("POST", "items", {"id": 1004, "name": "d"}, prefer="return=minimal, count=exact")
        self.assertEqual((a.status, a.body, a.headers["content-range"], a.headers["preference-applied"]), (204, "", "*/1", "return=minimal, count=exact"))
        self.assertEqual(self.data(self.ask("POST", "log?select=line", {"line": "x"})), [{"line": "x"}])
        a = self.ask("POST", "items?select=id,qty", [{"id": 1005, "name": "e"}, {"id": 1006, "name": "f", "qty": 1}], prefer="missing=null")
        self.assertEqual(self.data(a), [{"id": 1005, "qty": None}, {"id": 1006, "qty": 1}])
        self.pg.run("delete from items where id > 1000")

    def test_G_18_errors_have_their_status_and_an_array_is_all_or_nothing(self):
        for body, status, code in (({"id": 1, "name": "x"}, 409, "unique_violation"), ({"id": 2001, "name": "x", "kind_id": 99}, 409, "foreign_key_violation"),
                                   ({"id": 2001, "name": None}, 400, "not_null_violation"), ({"id": 2001, "name": "x", "qty": -1}, 400, "check_constraint_violation"),
                                   ({"id": "x", "name": "x"}, 400, "data_exception"), ({"id": 2001, "zzz": 1}, 400, "undefined_column"), ([], 400, "invalid_payload"),
                                   ("{", 400, "malformed_json_payload"), ("5", 400, "invalid_payload"), ([{"id": 2001, "name": "ok"}, {"id": 1, "name": "x"}], 409, "unique_violation"),
                                   ([1], 400, "invalid_payload")):
            self.refused(self.ask("POST", "items", body), status, code)
        self.assertEqual(self.count(where="id = 2001"), 0)
        self.refused(self.ask("POST", "nope", {"a": 1}), 400, "undefined_table")
        self.refused(self.ask("POST", "items?id=eq.1", {"id": 2001, "name": "x"}), 400, "invalid_payload", "id")

    def test_G_19_duplicates_are_merged_or_ignored_in_arrays_too(self):
        self.pg.run("insert into items (id, name, qty) values (3001, 'old', 1), (3002, 'old', 2)")
        rows = [{"id": 3001, "name": "new"}, {"id": 3003, "name": "third", "qty": 3}]
        a = self.ask("POST", "items?select=id,name,qty", rows, prefer="resolution=merge-duplicates")
        self.assertEqual(self.data(a), [{"id": 3001, "name": "new", "qty": 1}, {"id": 3003, "name": "third", "qty": 3}])
        a = self.ask("POST", "items?select=id", [{"id": 3001, "name": "again"}, {"id": 3004, "name": "n"}], prefer="resolution=ignore-duplicates")
        self.assertEqual(self.data(a), [{"id": 3004}])
        self.assertEqual(self.rows("select name from items where id = 3001"), ["new"])
        a = self.ask("POST", "kinds?on_conflict=title&select=id", {"id": 9, "title": "toy"}, prefer="resolution=merge-duplicates")
        self.assertEqual(a.status, 409, a.body)  # the key is another one's that others refer to
        a = self.ask("POST", "kinds?on_conflict=title&select=title", {"id": 9, "title": "toy"}, prefer="resolution=ignore-duplicates")
        self.assertEqual(self.data(a), [])
        self.refused(self.ask("POST", "kinds?on_conflict=title", {"id": 9, "title": "toy"}), 400, "invalid_payload", "on_conflict")
        a = self.ask("POST", "plain", {"a": 1, "b": "z"}, prefer="resolution=merge-duplicates")
        self.assertEqual(a.status, 400, a.body)  # there is no key that could tell duplicates
        self.refused(self.ask("POST", "kinds", {"id": 9, "title": "toy"}, prefer="resolution=best"), 400, "bad_request", "best")
        self.pg.run("delete from items where id > 3000")

    def test_updates(self):
        self.pg.run("insert into items (id, name, qty) select i, 'u', 1 from generate_series(4001, 4006) i")
        a = self.ask("PATCH", "items?id=eq.4001&select=id,qty,note", {"qty": 7, "note": None})
        self.assertEqual(self.data(a), [{"id": 4001, "qty": 7, "note": None}])
        a = self.ask("PATCH", "items?id=gte.4003&name.eq=u&id=lte.4004", {"qty": 8}, prefer="return=minimal,count=exact")
        self.assertEqual((a.status, a.headers["content-range"]), (204, "*/2"))
        self.assertEqual(self.data(self.ask("PATCH", "items?id=eq.9999", {"qty": 1})), [])
        self.assertEqual(self.rows("select id from items where qty = 8 and id > 4000 order by id"), ["4003", "4004"])
        self.refused(self.ask("PATCH", "items?id=eq.4001", {"zzz": 8}), 400, "undefined_column")
        self.refused(self.ask("PATCH", "items?id=eq.4001", [1]), 400, "missing_update_payload", "patch body must be an object")
        self.refused(self.ask("PATCH", "items?id=eq.4001", {}), 400, "missing_update_payload")
        self.refused(self.ask("PATCH", "items?id=eq.4001", {"qty": "x"}), 400, "data_exception")
        self.pg.run("delete from items where id > 4000")

    def test_deletes(self):
        self.pg.run("insert into items (id, name) select i, 'd' from generate_series(5001, 5006) i")
        self.assertEqual(self.data(self.ask("DELETE", "items?id=eq.5001&select=id,name")), [{"id": 5001, "name": "d"}])
        a = self.ask("DELETE", "items?id=in.(5002,5003)", prefer="return=minimal")
        self.assertEqual((a.status, a.body), (204, ""))
        self.assertEqual(self.rows("select id from items where id > 5000 order by id"), ["5004", "5005", "5006"])
        self.refused(self.ask("DELETE", "kinds?id=eq.1"), 409, "foreign_key_violation")
        self.pg.run("delete from items where id > 5000")

    def test_G_19_or_narrows_writes_too(self):
        self.pg.run("insert into items (id, name, qty) select i, 'o', 1 from generate_series(6001, 6006) i")
        a = self.ask("PATCH", "items?or=(id.eq.6001,id.eq.6002)&select=id", {"qty": 9})
        self.assertEqual(sorted(r["id"] for r in self.data(a)), [6001, 6002])
        a = self.ask("DELETE", "items?name=eq.o&or=(id.eq.6005,and(id.gt.6005,id.lt.7000))&select=id")
        self.assertEqual(sorted(r["id"] for r in self.data(a)), [6005, 6006])
        self.assertEqual((self.count(where="qty = 9 and name = 'o'"), self.count(where="name = 'o'"), self.count(where="id <= 150")), (2, 4, 150))
        self.pg.run("delete from items where id > 6000")

    def test_a_write_without_filters_or_with_strange_ones_touches_nothing(self):
        before = self.rows("select md5(string_agg(i::text, ',' order by id)) from items i")
        for method, body in (("PATCH", {"qty": 0}), ("DELETE", None)):
            word = "update" if method == "PATCH" else "delete"
            for query in ("", "?select=id", "?select="):
                self.refused(self.ask(method, "items" + query, body), 400, "missing_conditions", f"filters are required for {word}")
            for query in ("id=5", "id=zap.5", "zzz=eq.5", "or=()", "or=id.eq.1", "and=(or())", "not.and=()", "id=eq.1&limit=x", "id=eq.1&on_conflict=id", "order=id", "id=in.x,y"):
                a = self.ask(method, "items?" + query, body)
                self.assertEqual(a.status, 400, (query, a.body))
            self.assertEqual(self.ask(method, "items?id=gt.0", body, range="items=0-1").status, 400)
            self.assertEqual(self.ask(method, "items?id=gt.0", body, prefer="tx=rollback").status, 400)
        self.assertEqual(self.rows("select md5(string_agg(i::text, ',' order by id)) from items i"), before)

    def test_a_limit_bounds_a_write(self):
        self.pg.run("insert into items (id, name) select i, 'l' from generate_series(7001, 7006) i")
        gone = self.data(self.ask("DELETE", "items?name=eq.l&order=id.desc&limit=2&select=id"))
        self.assertEqual(sorted(r["id"] for r in gone), [7005, 7006])
        self.assertEqual(self.count(where="name = 'l'"), 4)
        self.pg.run("delete from items where id > 7000")

    # ---- besides ----

    def test_what_is_written_is_read_at_once(self):
        for _ in range(3):
            self.assertEqual(self.data(self.get("items", ("id", "eq.140"), ("select", "qty"))), [{"qty": 140}])
        self.assertEqual(self.ask("PATCH", "items?id=eq.140", {"qty": 1}).status, 200)
        self.assertEqual(self.data(self.get("items", ("id", "eq.140"), ("select", "qty"))), [{"qty": 1}])
        self.assertEqual(self.ask("PATCH", "items?id=eq.140", {"qty": 140}).status, 200)

    def test_a_write_with_a_key_is_done_once(self):
        ask = lambda key, method="POST", path="log?select=line", line="once", **h: self.ask(  # noqa: E731
            method, path, {"line": line}, idempotency_key=key, **h)
        self.refused(ask("a"), 400, "idempotency_not_installed")
        self.pg.run(subprocess.run([executable(), "idempotency", "install"], stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout)
        first, again = ask("a"), ask("a")
        self.assertEqual((self.data(first), self.data(again)), ([{"line": "once"}],) * 2)
        self.assertEqual((first.headers.get("idempotency-replayed"), again.headers.get("idempotency-replayed")), (None, "true"))
        self.assertEqual(self.count("log", "line = 'once'"), 1)
        self.assertEqual(ask("a", path="log?select=id").code, "idempotency_key_reused")
        self.assertEqual([ask("b", line="quiet", prefer="return=minimal").status for _ in range(2)], [204, 204])
        self.assertEqual([ask("c", "PATCH", "log?line=eq.quiet&select=line", "loud").json["data"] for _ in range(2)], [[{"line": "loud"}]] * 2)
        self.assertEqual(ask("c", "PATCH", "log?line=eq.once", "loud").code, "idempotency_key_reused")
        self.assertEqual([self.ask("DELETE", "log?line=eq.loud&select=line", idempotency_key="d").json["data"] for _ in range(2)], [[{"line": "loud"}]] * 2)
        self.assertEqual([ask("e", line=None).code for _ in range(2)], ["not_null_violation"] * 2)
        self.pg.run("drop schema athena cascade; truncate log")

    def test_an_answer_from_the_cache_is_the_same(self):
        path = ("items", ("id", "lte.3"), ("select", "id,name"), ("order", "id"))
        answers = [self.get(*path) for _ in range(3)]
        self.assertEqual(len({a.body for a in answers}), 1)
        self.assertEqual([a.headers["x-athena-cached"] for a in answers], ["false", "true", "true"])
        self.assertEqual(self.get(*path, cache_control="no-cache").headers["x-athena-cached"], "false")
        self.assertEqual({a.headers["content-range"] for a in answers}, {"items 0-2/*"})
        other = self.get(*path, accept="text/csv")
        self.assertTrue(other.body.startswith("id,name\r\n"), other.body)

    def test_metacharacters_reach_no_statement(self):
        before = self.count()
        for text in ("'", '"', "\\", ";", "--", "/*", "$1", "$$", "a\nb", "é", "');drop table items;--", '" or true--', "%", "%27", "*", "(", ")", ",", "{", "a.b"):
            q = urllib.parse.quote(text, safe="")
            for method, path, body in (
                    ("GET", f"{q}", None), ("GET", f"items?{q}=eq.1", None), ("GET", f"items?select={q}", None), ("GET", f"items?order={q}", None),
                    ("GET", f"items?id=eq.{q}", None), ("GET", f"items?id={q}.1", None), ("GET", f"items?or=(id.eq.{q})", None), ("GET", f"items?limit={q}", None),
                    ("GET", f"items?name=eq.{q}", None), ("GET", f"items?name=in.({q})", None), ("POST", f"items?on_conflict={q}", {"id": 1, "name": "x"}),
                    ("POST", "items", {text: 1}), ("PATCH", f"items?{q}=eq.1", {"qty": 1}), ("PATCH", f"items?name=eq.{q}", {"name": "x"}),
                    ("PATCH", "items?id=eq.0", {text: "x"}), ("DELETE", f"items?name=eq.{q}", None), ("DELETE", f"items?or=({q})", None), ("DELETE", f"{q}?id=eq.1", None)):
                a = self.ask(method, path, body)
                self.assertLess(a.status, 500, (method, path, a.body))
            self.assertEqual(self.data(self.get("items", ("name", "eq." + text))), [])
        self.assertEqual((self.count(), self.count(where="name like 'item %'")), (before, before))

    def test_keys_clients_and_methods(self):
        for method in ("GET", "POST", "PATCH", "DELETE"):
            a = self.server.request(method, "/rest/v1/items?id=eq.1", "{ not json", {"x-athena-client": "app"})
            self.assertEqual((a.status, a.code), (401, "api_key_required"), method)
            a = self.server.request(method, "/rest/v1/items?id=eq.1", None, {"x-athena-key": ADMIN_KEY})
            self.assertEqual(a.status, 400, method)
        a = self.server.request("PUT", "/rest/v1/items", None, {"x-athena-client": "app", "x-athena-key": ADMIN_KEY})
        self.assertEqual(a.status, 405)


if __name__ == "__main__":
    unittest.main()
