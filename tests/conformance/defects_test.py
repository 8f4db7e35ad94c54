#!/usr/bin/env python3
"""Defects of the published system that no other test holds us against, over the whole server; and the page that lists them all."""
import json
import os
import re
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [f"{ROOT}/tests/support", f"{ROOT}/tests/conformance"]
from bulk import PLUGINS  # noqa: E402
import defects  # noqa: E402
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402
from surface import CONTROL  # noqa: E402

SCHEMA = """
create table item (id int primary key, name text, price numeric(12,4), made timestamptz, mark uuid, extra text);
insert into item select i, 'item ' || i, i * 1.5, '2024-05-05 05:05:05+00'::timestamptz + i * interval '1 hour', null, null from generate_series(1, 30) i;
create schema other;
create table other.item (id int primary key, name text);
insert into other.item values (1, 'elsewhere'), (2, 'elsewhere too');
create table secrets (id int primary key, word text);
insert into secrets values (1, 'the word of words');
create table place (id int primary key, who text);
insert into place values (1, current_database());
"""
STATE = """select string_agg(c.oid || ' ' || n.nspname || '.' || c.relname || ' ' || c.relkind::text, ',' order by c.oid) from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema'"""
LOGGED = ("log_statement=all", "log_min_duration_statement=-1", "log_line_prefix='[%d %p] '")


class DefectsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres(settings=LOGGED)
        for name in ("app", "two"):
            cls.pg.run(f"create database {name}")
            cls.pg.run(SCHEMA, name)
        cls.pg.run("create database control")
        cls.pg.run(CONTROL + "insert into public_gateway_routes (route_key, client_name, allowed_ops, target_url) values ('far', 'app', '{fetch}', 'http://127.0.0.1:9/')", "control")
        cls.before = {n: cls.pg.run(STATE, n) for n in ("app", "two")}
        cls.server = cls.lab.athena({n: cls.pg.uri(n) for n in ("app", "two", "control")}, plugins=PLUGINS, more="cache:\n  enabled: false\n",
                                    env={"ATHENA_GATEWAY_LOGGING_CLIENT": "control"})
        wait_for("aliases are read", 10, lambda: cls.ask("/public/shop/fetch", {"table_name": "place"}).status == 200)

    @classmethod
    def ask(cls, path, body=None, client="app", method="POST", key=ADMIN_KEY, **headers):
        sent = {"x-athena-client": client, "content-type": "application/json", **({"x-athena-key": key} if key else {}), **{k.replace("_", "-"): v for k, v in headers.items()}}
        return cls.server.request(method, path, body, sent)

    def fetch(self, body, **kw):
        return self.ask("/gateway/fetch", {"table_name": "item", **body}, **kw)

    def rows(self, answer):
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json["data"]

    def said_in_sql(self, run, database="app"):
        """The statements that PostgreSQL logs for a database while `run` runs."""
        with open(self.pg.log, errors="replace") as f:
            f.seek(0, 2)
            run()
            lines = f.read()
        return [m[1] for m in re.finditer(rf"^\[{database} \d+\] LOG:  (?:statement|execute [^:]*): (.*)$", lines, re.M)]

    def test_every_defect_has_its_test(self):
        self.assertEqual(defects.main(), 0)

    def test_G_01_names_of_columns_are_names(self):
        for columns in (["id_', t.id, 'k', (select word from secrets), 'z"], ["id", "id_', (select word from secrets), '"], "id, (select word from secrets)",
                        ["x:id", "(select word from secrets)"], ["id::text, (select word from secrets)"]):
            for headers in ({}, {"x_athena_deadpool_enable": "true"}):
                a = self.fetch({"columns": columns, "limit": 1}, **headers)
                self.assertEqual(a.status, 400, a.body)
                self.assertNotIn("the word of words", a.body)
        a = self.fetch({"columns": ["na_x"], "limit": 1})       # no guess by what stands before the underscore
        self.assertEqual((a.status, a.code), (400, "undefined_column"))

    def test_G_02_one_shape_with_values_of_any_kind(self):
        for _ in range(8):
            for value, right in ((6, [4]), (1.5, [1]), ("3.0", [2]), ("4.50", [3]), ("NaN", []), (10 ** 7, [])):
                self.assertEqual([r["id"] for r in self.rows(self.fetch({"columns": ["id"], "conditions": [{"eq_column": "price", "eq_value": value}]}))], right, value)
            self.assertEqual(self.fetch({"conditions": [{"eq_column": "price", "eq_value": "six"}]}).status, 400)
        for value in (5, 5.5, "6.25", 7):
            a = self.ask("/gateway/update", {"table_name": "item", "data": {"price": value}, "conditions": [{"eq_column": "id", "eq_value": 30}]})
            self.assertEqual(a.status, 200, a.body)
            self.assertEqual(float(self.pg.run("select price from item where id = 30", "app")), float(value))

    def test_G_06_the_right_of_a_table_is_of_its_schema(self):
        """No key but the administrator's exists yet; what is asked for is the pair of schema and table (dp_rights, dp_write_rights)."""
        self.assertEqual(len(self.rows(self.fetch({"schema_name": "other"}))), 2)
        self.assertEqual(self.fetch({"schema_name": "other"}, key=None).status, 401)
        self.assertEqual(self.ask("/gateway/insert", {"table_name": "item", "schema_name": "other", "insert_body": {"id": 3}}, key="wrong").status, 401)
        self.assertEqual(self.pg.run("select count(*) from other.item", "app").strip(), "2")

    def test_G_09_nobody_else_is_contacted(self):
        self.pg.run("create table first_write (id int primary key, word text)", "app")
        for method, path, body in (("PUT", "/gateway/insert", {"table_name": "first_write", "insert_body": {"id": 1, "word": "x"}}),
                                   ("DELETE", "/gateway/delete", {"table_name": "first_write", "resource_id": 1})):
            a = self.ask(path, body, method=method)
            self.assertEqual(a.status, 200, a.body)
        pid = self.server.process.pid
        mine = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        for table in ("tcp", "tcp6", "udp", "udp6"):
            with open(f"/proc/{pid}/net/{table}") as f:
                for line in f.read().splitlines()[1:]:
                    local, remote, inode = line.split()[1], line.split()[2], line.split()[9]
                    if f"socket:[{inode}]" in mine and not remote.endswith(":0000"):
                        self.assertEqual(int(local.split(":")[1], 16), self.server.port, f"a connection to {remote}")

    def test_G_13_a_count_is_of_the_table_that_is_read(self):
        a = self.ask("/gateway/fetch", {"table_name": "item", "schema_name": "other", "select": "id", "count": "exact"})
        self.assertEqual((len(self.rows(a)), a.json["count"]), (2, 2))
        statements = self.said_in_sql(lambda: self.fetch({"select": "id", "count": "exact", "limit": 1}))
        self.assertEqual(len(statements), 1, statements)        # one statement, one snapshot

    def test_G_15_what_a_session_was_told_ends_with_its_request(self):
        def run(sql, mode="single_transaction"):
            return self.ask("/gateway/query", {"query": sql, "execution_mode": mode})
        for mode in ("single_transaction", "per_statement"):
            for sql in ("set work_mem = '77kB'; set search_path = other", "create temp table mine (id int)", "select pg_advisory_lock(77)", "listen somebody",
                        "prepare p as select 1", "set role pg_read_all_data", "declare c cursor with hold for select 1"):
                run(sql, mode)
            for _ in range(12):                                  # whichever connections those were
                seen = self.rows(run("select current_setting('work_mem') as m, current_setting('search_path') as s, to_regclass('mine')::text as t, current_user as u,"
                                     " (select count(*) from pg_cursors where name <> '') as c, (select count(*) from pg_prepared_statements where name = 'p') as p"))[0]
                self.assertEqual((seen["m"], seen["t"], seen["u"], seen["c"], seen["p"]), ("4MB", None, "postgres", 0, 0))
                self.assertNotIn("other", seen["s"])
        self.assertEqual(self.pg.run("select count(*) from pg_locks where locktype = 'advisory' and objid = 77", "app").strip(), "0")
        a = run("insert into place values (2, 'x'); commit; select 1/0")
        self.assertEqual(a.status, 400, a.body)
        self.assertEqual(self.pg.run("select count(*) from place", "app").strip(), "1")

    def test_G_18_one_error_has_one_answer_on_every_route(self):
        eq = [{"eq_column": "nothing", "eq_value": 1}]
        rest = {"method": "GET", "body": None}
        for code, asked in (
            ("undefined_column", [("/gateway/fetch", {"table_name": "item", "conditions": eq}), ("/gateway/fetch", {"table_name": "item", "select": "nothing"}),
                                  ("/gateway/insert", {"table_name": "item", "insert_body": {"nothing": 1}}), ("/gateway/update", {"table_name": "item", "data": {"name": "x"}, "conditions": eq}),
                                  ("/gateway/delete", {"table_name": "item", "conditions": eq}), ("/gateway/query", {"query": "select nothing from item"}), ("/rest/v1/item?nothing=eq.1", rest)]),
            ("undefined_table", [("/gateway/fetch", {"table_name": "nothing"}), ("/gateway/insert", {"table_name": "nothing", "insert_body": {"id": 1}}),
                                 ("/gateway/update", {"table_name": "nothing", "data": {"id": 1}, "conditions": eq}), ("/gateway/delete", {"table_name": "nothing", "resource_id": 1}),
                                 ("/gateway/query", {"query": "select 1 from nothing"}), ("/rest/v1/nothing", rest)]),
            ("data_exception", [("/gateway/fetch", {"table_name": "item", "conditions": [{"eq_column": "id", "eq_value": "x"}]}), ("/gateway/insert", {"table_name": "item", "insert_body": {"id": "x"}}),
                                ("/gateway/update", {"table_name": "item", "data": {"id": "x"}, "conditions": [{"eq_column": "id", "eq_value": 1}]}),
                                ("/gateway/delete", {"table_name": "item", "resource_id": "x"}), ("/gateway/query", {"query": "select 'x'::int"}), ("/rest/v1/item?id=eq.x", rest)]),
            ("unique_violation", [("/gateway/insert", {"table_name": "item", "insert_body": {"id": 1}}),
                                  ("/gateway/update", {"table_name": "item", "data": {"id": 1}, "conditions": [{"eq_column": "id", "eq_value": 2}]}),
                                  ("/gateway/query", {"query": "insert into item (id) values (1)"}), ("/rest/v1/item", {"method": "POST", "body": {"id": 1}})])):
            for path, body in asked:
                a = self.ask(path, **body) if "method" in body else self.ask(path, body)
                self.assertEqual((a.status, a.code), (409 if code == "unique_violation" else 400, code), f"{path} {body}: {a.body}")
        a = self.ask("/data?view=nothing&eq_column=id&eq_value=1", method="GET")
        self.assertEqual((a.status, a.code), (400, "undefined_table"), a.body)

    def test_G_21_values_are_in_no_log_and_details_are_for_those_with_a_right(self):
        word = "a-value-that-nobody-logs"
        for path, body in (("/gateway/fetch", {"table_name": "item", "conditions": [{"eq_column": "name", "eq_value": word}]}),
                           ("/gateway/fetch", {"table_name": "item", "conditions": [{"eq_column": "id", "eq_value": word}]}),
                           ("/gateway/insert", {"table_name": "item", "insert_body": {"id": 900, "name": word}}),
                           ("/gateway/insert", {"table_name": "item", "insert_body": {"id": word}}),
                           ("/gateway/update", {"table_name": "item", "data": {"name": word, "id": 1}, "conditions": [{"eq_column": "id", "eq_value": 900}]}),
                           ("/gateway/delete", {"table_name": "item", "conditions": [{"eq_column": "name", "eq_value": word}]}),
                           ("/gateway/query", {"query": f"select '{word}'::int"})):
            self.ask(path, body)
        last = self.ask("/gateway/fetch", {"table_name": "place"}).headers["x-athena-request-id"]

        def log():
            text = self.server.said()
            for name in os.listdir(self.server.logs):
                with open(f"{self.server.logs}/{name}", errors="replace") as f:
                    text += f.read()
            return text
        wait_for("the last request is in the log", 10, lambda: last in log())
        self.assertEqual([line[max(0, line.index(word) - 300):][:500] for line in log().splitlines() if word in line], [])
        a = self.ask("/gateway/insert", {"table_name": "item", "insert_body": {"id": 1, "name": word}}, key="wrong")
        self.assertEqual(a.status, 401)
        self.assertNotIn("item_pkey", a.body)

    def test_G_23_nobody_is_sent_on_before_the_key_was_looked_at(self):
        for key in (None, "wrong"):
            a = self.ask("/public/far/fetch", {"table_name": "place"}, key=key)
            self.assertEqual(a.status, 401, a.body)
        a = self.ask("/public/far/fetch", {"table_name": "place"})
        self.assertEqual((a.status, a.code), (503, "route_target_unavailable"), a.body)

    def test_G_25_nulls_leave_their_keys_not_their_rows(self):
        body = {"columns": ["id", "extra"], "limit": 3, "sort_by": {"field": "id", "direction": "asc"}}
        with_keys = [{"id": i, "extra": None} for i in (1, 2, 3)]
        without = [{"id": i} for i in (1, 2, 3)]
        self.assertEqual(self.rows(self.fetch(body)), with_keys)
        self.assertEqual(self.rows(self.fetch(body, x_strip_nulls="true")), without)
        self.assertEqual(self.rows(self.fetch({**body, "strip_nulls": True})), without)
        self.assertEqual(self.rows(self.fetch({**body, "strip_nulls": False}, x_strip_nulls="true")), with_keys)

    def test_G_26_an_errors_trace_id_is_its_requests(self):
        seen = set()
        for _ in range(200):
            a = self.fetch({"conditions": [{"eq_column": "id", "eq_value": "x"}]})
            self.assertEqual(a.json["trace_id"], a.headers["x-athena-request-id"])
            seen.add(a.json["trace_id"])
        self.assertEqual(len(seen), 200)

    def test_G_27_clients_databases_are_left_as_they_are(self):
        self.rows(self.fetch({"limit": 1}))
        self.rows(self.fetch({"limit": 1}, client="two"))
        self.assertEqual(self.pg.run(STATE, "two"), self.before["two"])  # the control plane alone gets tables

    def test_G_32_G_35_a_request_is_one_statement_and_pages_share_it(self):
        body = {"columns": ["id"], "conditions": [{"operator": "gt", "column": "id", "value": 0}], "limit": 2}
        for _ in range(3):
            self.rows(self.fetch(body))                          # the catalogue is read, the statement prepared
        self.assertEqual(len(self.said_in_sql(lambda: self.rows(self.fetch(body)))), 1)
        pages = self.said_in_sql(lambda: [self.rows(self.fetch({**body, "limit": n, "offset": n + 1})) for n in range(1, 9)])
        self.assertEqual((len(pages), len(set(pages))), (8, 1), pages)
        for database in ("control", "two"):
            self.assertEqual(self.said_in_sql(lambda: [self.fetch(body) for _ in range(20)], database), [])
        self.assertEqual([s for s in self.said_in_sql(lambda: self.ask("/gateway/insert", {"table_name": "place", "insert_body": {"id": 70, "who": "x"}})) if "place" not in s and
                          not re.match(r"(BEGIN|COMMIT|SET|SELECT set_config)", s, re.I)], [])
        self.ask("/gateway/delete", {"table_name": "place", "resource_id": 70})

    def test_G_33_a_changed_table_is_known_at_once_and_apart_from_its_namesake(self):
        self.pg.run("create table shifting (id int primary key, v int); insert into shifting values (1, 5), (2, 10)", "app")
        self.pg.run("create table shifting (id int primary key, v text); insert into shifting values (1, '5'), (2, '10')", "two")
        body = {"table_name": "shifting", "columns": ["id"], "conditions": [{"operator": "gt", "column": "v", "value": "9"}]}
        for _ in range(3):
            self.assertEqual(self.rows(self.ask("/gateway/fetch", body)), [{"id": 2}])
            self.assertEqual(self.rows(self.ask("/gateway/fetch", body, client="two")), [])
        self.pg.run("alter table shifting alter v type text", "app")
        wait_for("text is compared as text", 10, lambda: self.rows(self.ask("/gateway/fetch", body)) == [])
        self.pg.run("alter table shifting rename v to w; alter table shifting add v int default 100", "app")
        wait_for("the new column is compared", 10, lambda: self.rows(self.ask("/gateway/fetch", body)) == [{"id": 1}, {"id": 2}])
        self.pg.run("alter table shifting drop v", "app")
        wait_for("the column is gone", 10, lambda: self.ask("/gateway/fetch", body).code == "undefined_column")
        a = self.ask("/gateway/insert", {"table_name": "shifting", "insert_body": {"id": 3, "w": "x"}})
        self.assertEqual(a.status, 200, a.body)

    def test_G_36_bodies_have_one_limit_that_can_be_set(self):
        large = "x" * (300 * 1024)                               # the published query route ends at 256 KiB
        a = self.ask("/gateway/query", {"query": f"select length('{large}') as n"})
        self.assertEqual(self.rows(a), [{"n": len(large)}])
        self.assertEqual(self.rows(self.fetch({"conditions": [{"eq_column": "name", "eq_value": large}]})), [])
        for path, body in (("/gateway/query", {"query": "x" * (3 << 20)}), ("/gateway/fetch", {"table_name": "x" * (3 << 20)}), ("/gateway/insert", {"table_name": "item", "insert_body": {"name": "x" * (3 << 20)}})):
            try:
                a = self.ask(path, body)
            except OSError:
                continue                                         # the answer was given before the body was read
            self.assertEqual(a.status, 413, a.body[:300])
            json.loads(a.body)


if __name__ == "__main__":
    unittest.main()
