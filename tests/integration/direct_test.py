#!/usr/bin/env python3
"""Databases that a request brings along by a URI, over the whole server (gateway.md 4.3, auth.md D-12)."""
import os
import sys
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from keylab import KeyLab  # noqa: E402
from keyrows import Key  # noqa: E402
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402

PLACE = {"table_name": "place", "columns": ["id", "who"]}
HEADERS = ("x-pg-uri", "x-athena-jdbc-url", "x-jdbc-url")


def config(uri, gateway):
    return ("plugins: [routes-meta, routes-gateway, routes-query, sink-file]\nurls: []\nhosts: []\nauthenticator: []\n"
            f"api:\n- port: 4052\ngateway:\n{gateway}postgres_clients:\n- app: \"{uri}\"\n")


class DirectTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres(tcp=True)
        for name in ("app", "two"):
            cls.pg.run(f"create database {name}")
            cls.pg.run(f"create table place (id int primary key, who text); insert into place values (1, '{name}')", name)
        cls.pg.run("create role secretive login password 's3cret-of-uri'")
        cls.open = cls.server("- enforce_api_keys: true\n- jdbc_allow_private_hosts: true\n")
        cls.loose = cls.server("- enforce_api_keys: false\n- jdbc_allow_private_hosts: true\n")
        cls.guarded = cls.server("- enforce_api_keys: true\n- jdbc_allowed_hosts: \"127.1, db.example.org\"\n")
        cls.off = cls.server("- enforce_api_keys: true\n")

    @classmethod
    def server(cls, gateway):
        return cls.lab.athena({}, config=config(cls.pg.uri("app"), gateway))

    def ask(self, server, uri, client=None, key=ADMIN_KEY, path="/gateway/fetch", body=PLACE, header="x-pg-uri", method="POST"):
        headers = {"content-type": "application/json", **({header: uri} if uri is not None else {}),
                   **({"x-athena-client": client} if client else {}), **({"x-athena-key": key} if key else {})}
        return server.request(method, path, body, headers)

    def refused(self, a, status, message, error):
        self.assertEqual(a.status, status, a.body)
        self.assertEqual(a.json["message"], message, a.body)
        self.assertIn(error, a.json["error"])

    def test_a_uri_names_the_database_in_every_form_and_header(self):
        for header in HEADERS:
            for uri in (self.pg.tcp_uri("two"), self.pg.tcp_uri("two").replace("postgres://", "jdbc:postgresql://", 1),
                        self.pg.tcp_uri("two").replace("postgres://", "postgresql://", 1) + "?channel_binding=prefer"):
                a = self.ask(self.open, uri, header=header)
                self.assertEqual((a.status, a.json.get("data")), (200, [{"id": 1, "who": "two"}]), a.body)
                self.assertRegex(a.headers["x-athena-client"], r"^pg_direct_[0-9a-f]{16}$")
        a = self.ask(self.open, self.pg.tcp_uri("two"), path="/gateway/query", body={"query": "select who from place"})
        self.assertEqual((a.status, a.json.get("data")), (200, [{"who": "two"}]), a.body)

    def test_G_05_a_clients_name_beside_it_is_not_the_cache_of_that_client(self):
        a = self.ask(self.open, self.pg.tcp_uri("two"), client="app")
        self.assertEqual(a.json["data"], [{"id": 1, "who": "two"}])
        self.assertNotEqual(a.headers["x-athena-client"], "app")
        b = self.ask(self.open, None, client="app")
        self.assertEqual(b.json["data"], [{"id": 1, "who": "app"}])
        self.assertNotEqual(a.json["cache_key"], b.json["cache_key"])

    def test_D_12_a_key_is_needed_and_checked_even_when_keys_are_not_enforced(self):
        for server in (self.open, self.loose):
            self.refused(self.ask(server, self.pg.tcp_uri("two"), key=None), 401, "API key required",
                         "Direct PostgreSQL routing requires X-Athena-Key")
            a = self.ask(server, self.pg.tcp_uri("two"), key="any")
            self.assertEqual(a.status, 401, a.body)
            self.assertEqual(self.ask(server, self.pg.tcp_uri("two")).status, 200)
        self.assertEqual(self.ask(self.loose, None, client="app", key=None).status, 200)

    def test_what_is_no_uri_is_told(self):
        self.refused(self.ask(self.open, "mysql://x"), 400, "Missing required header", "x-pg-uri is required")
        self.refused(self.ask(self.open, "mysql://x", client="app"), 400, "Invalid direct PostgreSQL URI",
                     "Provide x-pg-uri, x-athena-jdbc-url, or x-jdbc-url")
        self.refused(self.ask(self.open, "postgres://", client="app"), 400, "Invalid target", "must include a host")
        self.refused(self.ask(self.open, f"postgres://postgres@/two?host={self.pg.folder}"), 400, "Invalid target", "unix socket")
        self.refused(self.ask(self.open, self.pg.tcp_uri("two") + "?passfile=/etc/passwd"), 400, "Invalid direct PostgreSQL URI",
                     "passfile")

    def test_G_20_failures_say_nothing_of_what_is_there(self):
        wrong = [self.pg.tcp_uri("nodb"), self.pg.tcp_uri("two", user="nobody"), "postgres://postgres@127.0.0.1:1/two",
                 "postgres://postgres@no-such-host.invalid/two"]
        bodies = set()
        for uri in wrong:
            a = self.ask(self.open, uri)
            self.refused(a, 502, "Failed to connect to database", "cannot be reached")
            bodies.add(a.json["error"])
        self.assertEqual(len(bodies), 1, bodies)

    def test_G_20_private_hosts_are_refused_by_name_and_by_address(self):
        self.refused(self.ask(self.guarded, self.pg.tcp_uri("two")), 400, "Invalid target", "private or local hosts are blocked")
        self.refused(self.ask(self.guarded, "postgres://postgres@other.org/two"), 400, "Invalid target", "not one of the allowed")
        # An allowed name that resolves to 127.0.0.1.
        self.refused(self.ask(self.guarded, self.pg.tcp_uri("two", host="127.1")), 502, "Failed to connect to database", "reached")
        self.refused(self.ask(self.off, "postgres://u@db.example.org/two"), 503, "Feature unavailable", "does not serve direct")
        self.refused(self.ask(self.off, self.pg.tcp_uri("two")), 400, "Invalid target", "private or local hosts are blocked")

    def test_routes_that_do_not_read_it_go_on_without_it(self):
        a = self.ask(self.open, self.pg.tcp_uri("two"), client="app", path="/query/count", body={"driver": "postgresql", "db_name": "app", "table_name": "place"})
        self.assertEqual(a.status, 200, a.body)
        a = self.ask(self.open, self.pg.tcp_uri("two"), client="app", method="GET", body=None,
                     path="/data?view=place&eq_column=id&eq_value=1")
        self.assertEqual(a.status, 200, a.body)
        self.assertIn("app", a.body)
        a = self.ask(self.open, self.pg.tcp_uri("two"), method="GET", body=None, path="/data?view=place&eq_column=id&eq_value=1")
        self.assertEqual((a.status, a.code), (400, "missing_client_header"), a.body)

    def test_the_uri_is_nowhere(self):
        uri = self.pg.tcp_uri("two", user="secretive:s3cret-of-uri")
        for path in ("/gateway/fetch", "/gateway/query"):
            self.ask(self.open, uri, path=path, body={**PLACE, "query": "select 1/0"})
        self.ask(self.open, uri.replace("two", "nodb"))
        time.sleep(0.3)
        seen = self.open.said() + self.open.get("/metrics").body
        for name in ("success.log", "error.log"):
            with open(f"{self.open.logs}/{name}") as f:
                seen += f.read()
        self.assertIn("pg_direct_", seen)
        self.assertNotIn("s3cret-of-uri", seen)


class DirectKeys(KeyLab):
    """D-12: who is let through, and for what, goes by the URI's token and by nothing that stands beside it."""
    more = "- jdbc_allow_private_hosts: true\n"
    enforced = "false"
    tcp = True

    def ask(self, key, client="app", path="/gateway/fetch", body=None):
        headers = {"x-pg-uri": self.pg.tcp_uri("two")}
        return self.call("POST", path, body or {"table_name": "place"}, key, client, **headers)

    def test_a_key_holds_for_it_by_its_rights(self):
        self.assertEqual(self.ask(self.key("place.read")).status, 200)
        a = self.ask(self.key("line.read"))
        self.assertEqual((a.status, a.json["error"]), (403, "Missing required rights: place.read"))
        a = self.ask(self.key("place.read"), path="/gateway/query", body={"query": "select 1"})
        self.assertEqual((a.status, a.json["error"]), (403, "Missing required rights: gateway.query"))

    def test_a_key_of_a_client_is_not_for_a_database_beside_it(self):
        a = self.ask(self.key("*", client="app"))
        self.assertEqual((a.status, a.json["message"]), (403, "API key client mismatch"))
        self.assertRegex(a.json["error"], "scoped to client 'app', not 'pg_direct_[0-9a-f]{16}'")

    def test_it_takes_a_good_key_where_nobody_asks_for_keys(self):
        self.store.enforce(False)
        self.addCleanup(wait_for, "keys are asked for again", 20, lambda: self.call("POST", "/gateway/fetch", {"table_name": "place"}, None, "app").status == 401)
        self.addCleanup(self.store.enforce, True)
        wait_for("keys are not asked for", 20, lambda: self.call("POST", "/gateway/fetch", {"table_name": "place"}, None, "app").status == 200)
        good = self.key("place.read")
        self.assertEqual(self.ask(good).status, 200)
        for bad in (None, "any", Key(good.public_id, "0" * 64), Key("0" * 16, "0" * 64), self.key("place.read", active=False)):
            self.assertEqual(self.ask(bad).status, 401, bad)
        self.assertEqual(self.ask(self.key("line.read")).status, 403)


if __name__ == "__main__":
    unittest.main()
