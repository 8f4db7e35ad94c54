#!/usr/bin/env python3
"""Answers in other forms than plain JSON: NDJSON and CSV by Accept, gzip both ways, Server-Timing."""
import csv
import gzip
import http.client
import io
import json
import os
import sys
import unittest
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab  # noqa: E402

SCHEMA = """
create table things (id int primary key, name text, n numeric, at timestamptz, tags text[], doc json, ok boolean);
insert into things values (1, 'plain', 1.10, '2024-05-05 05:05:05+00', array['a', 'b,c'], E'{\\n "x": 1}', true),
    (2, null, null, null, null, null, null), (3, '', 'NaN', 'infinity', '{}', '[]', false),
    (4, E'quote " comma , line\\nend', -0.5, '2024-01-01 00:00:00.5+00', null, '"s"', null);
create table parts (id int primary key, thing_id int references things, name text);
insert into parts values (1, 1, 'p'), (2, 1, 'q');
create table many (id int primary key, name text);
insert into many select i, 'name ' || i from generate_series(1, 300) i;
"""
ALL = {"table_name": "things", "sort_by": {"field": "id", "direction": "asc"}}


class FormatsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)  # also when what follows fails
        cls.pg = cls.lab.postgres()
        cls.pg.run("create database app")
        cls.pg.run(SCHEMA, "app")
        cls.server = cls.lab.athena({"app": cls.pg.uri("app")}, more="routes-gateway:\n  group_rows_max: 50\n")

    def ask(self, body, method="POST", path="/gateway/fetch", **headers):
        """Status, headers, bytes."""
        c = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            c.request(method, path, data, {"x-athena-client": "app", "x-athena-key": ADMIN_KEY,
                                           **{k.replace("_", "-"): v for k, v in headers.items()}})
            r = c.getresponse()
            return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()
        finally:
            c.close()

    def test_csv_has_a_line_of_keys_and_postgresqls_text(self):
        for _ in range(3):  # from the third time on by a plan
            status, headers, body = self.ask(ALL, accept="text/csv")
            self.assertEqual((status, headers["content-type"]), (200, "text/csv; charset=utf-8; header=present"))
            self.assertEqual(body.decode().split("\r\n")[0], "id,name,n,at,tags,doc,ok")
            self.assertEqual(body.count(b"\r\n"), 5)
            self.assertIn(b'\r\n2,,,,,,\r\n3,"",NaN,infinity,{},[],f\r\n', body)
            rows = list(csv.reader(io.StringIO(body.decode(), newline="")))
            self.assertEqual(rows[1], ["1", "plain", "1.10", "2024-05-05 05:05:05+00", '{a,"b,c"}', '{\n "x": 1}', "t"])
            self.assertEqual(rows[4][1], 'quote " comma , line\nend')

    def test_csv_of_aliases_and_relations(self):
        body = {"table_name": "things", "columns": ["the id:id", "parts(id,name)"], "limit": 1, "sort_by": {"field": "id"}}
        for _ in range(3):
            status, _, text = self.ask(body, accept="text/csv")
            self.assertEqual(status, 200, text)
            rows = list(csv.reader(io.StringIO(text.decode(), newline="")))
            self.assertEqual(rows[0], ["the id", "parts"])
            self.assertEqual(json.loads(rows[1][1]), [{"id": 1, "name": "p"}, {"id": 2, "name": "q"}])

    def test_ndjson_is_the_rows_of_the_json_answer(self):
        _, _, whole = self.ask(ALL)
        status, headers, body = self.ask(ALL, accept="application/x-ndjson")
        self.assertEqual((status, headers["content-type"]), (200, "application/x-ndjson"))
        self.assertTrue(body.endswith(b"\n"))
        self.assertEqual([json.loads(line) for line in body.decode().splitlines()], json.loads(whole)["data"])
        _, _, body = self.ask(ALL, accept="application/x-ndjson", x_strip_nulls="true")
        self.assertIn(b'\n{"id":2}\n', body)

    def test_json_is_the_default(self):
        _, _, want = self.ask(ALL)
        for accept in ("*/*", "application/json", "text/html, */*;q=0.1", "image/png", "text/csv;q=0"):
            status, headers, body = self.ask(ALL, accept=accept)
            self.assertEqual((status, headers["content-type"], body), (200, "application/json", want), accept)

    def test_get_data_takes_them_too(self):
        status, headers, body = self.ask(None, "GET", "/data?view=things&eq_column=id&eq_value=2&columns=id,name", accept="text/csv")
        self.assertEqual((status, body), (200, b"id,name\r\n2,\r\n"))
        self.assertTrue(headers["vary"].endswith(", Accept"))

    def test_the_cache_key_names_the_form(self):
        keys = {self.ask(ALL, accept=a)[1]["x-athena-cache-key"] for a in ("*/*", "text/csv", "application/x-ndjson")}
        self.assertEqual(len(keys), 3)

    def test_counts_are_a_header_where_the_body_has_no_place(self):
        for count, want in (("exact", {"300"}), ("planned", None), ("estimated", None)):
            body = {"table_name": "many", "columns": ["id"], "limit": 2, "count": count}
            _, headers, text = self.ask(body, accept="text/csv")
            self.assertEqual(text.count(b"\r\n"), 3)
            self.assertRegex(headers["x-athena-count"], r"^\d+$")
            if want:
                self.assertIn(headers["x-athena-count"], want)
            _, headers, text = self.ask(body)
            self.assertNotIn("x-athena-count", headers)
            self.assertIn("count", json.loads(text))

    def test_what_is_grouped_is_json(self):
        body = {"table_name": "many", "columns": ["id"], "group_by": "id", "limit": 3}
        for accept in ("text/csv", "application/x-ndjson"):
            status, _, text = self.ask(body, accept=accept)
            self.assertEqual((status, json.loads(text)["code"]), (406, "not_acceptable"))
            self.assertIn("group_by", json.loads(text)["error"])
        self.assertEqual(self.ask(body)[0], 200)

    def test_grouping_has_a_bound(self):
        for body in ({"limit": 51, "columns": ["id"]}, {"select": "id"}, {"limit": 300, "columns": ["id"]}):
            status, _, text = self.ask({"table_name": "many", "group_by": "id", **body})
            self.assertEqual((status, json.loads(text)["code"]), (400, "invalid_post_processing_configuration"), text)
            self.assertIn("50 rows", json.loads(text)["error"])
        status, _, text = self.ask({"table_name": "many", "group_by": "id", "select": "id", "where": {"id": {"lt": 51}}})
        self.assertEqual((status, len(json.loads(text)["data"])), (200, 50))

    def test_gzip_for_those_who_ask(self):
        body = {"table_name": "many", "limit": 300}
        _, plain, want = self.ask(body)
        self.assertNotIn("content-encoding", plain)
        for accept in ("*/*", "text/csv", "application/x-ndjson"):
            _, _, want = self.ask(body, accept=accept)
            status, headers, got = self.ask(body, accept=accept, accept_encoding="gzip, deflate, br")
            self.assertEqual((status, headers["content-encoding"], int(headers["content-length"])), (200, "gzip", len(got)))
            self.assertIn("Accept-Encoding", headers["vary"])
            self.assertEqual(gzip.decompress(got), want)
            self.assertLess(len(got), len(want) / 2)
        _, headers, _ = self.ask(ALL | {"limit": 1}, accept_encoding="gzip")
        self.assertNotIn("content-encoding", headers)  # too short

    def test_packed_bodies(self):
        plain = json.dumps(ALL).encode()
        want = self.ask(ALL)[2]
        for coding, data in (("gzip", gzip.compress(plain)), ("deflate", zlib.compress(plain)), ("identity", plain)):
            status, _, got = self.ask(data, content_encoding=coding)
            self.assertEqual((status, got), (200, want), coding)
        bomb = gzip.compress(b"[" + b" " * 30_000_000 + b"]")
        self.assertLess(len(bomb), 100_000)
        status, _, text = self.ask(bomb, content_encoding="gzip")
        self.assertEqual((status, json.loads(text)["code"]), (413, "payload_too_large"))
        status, headers, text = self.ask(plain, content_encoding="br")
        self.assertEqual((status, json.loads(text)["code"], headers["accept-encoding"]), (415, "unsupported_encoding", "gzip, deflate"))
        self.assertIn('"br"', json.loads(text)["error"])

    def test_server_timing(self):
        pattern = r"^total;dur=\d+\.\d{3}, queue;dur=\d+\.\d{3}, db;dur=\d+\.\d{3}$"
        _, headers, _ = self.ask(ALL, x_athena_timing="1", cache_control="no-cache")
        self.assertRegex(headers["server-timing"], pattern)
        total, _, db = (float(p.split("=")[1]) for p in headers["server-timing"].split(", "))
        self.assertLess(db, total)
        self.assertNotIn("server-timing", self.ask(ALL)[1])
        always = self.lab.athena({"app": self.pg.uri("app")}, more="server:\n  server_timing: always\n  loops: 1\n")
        self.assertRegex(always.fetch("app", ALL).headers["server-timing"], pattern)
        self.assertNotIn("server-timing", always.get("/ping").headers)


if __name__ == "__main__":
    unittest.main(verbosity=1)
