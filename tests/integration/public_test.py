#!/usr/bin/env python3
"""Aliases, service prefixes and tenants' host names, over the real server and a real control database."""
import json
import os
import random
import sys
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402

TABLES = """
create table public_gateway_routes (id bigint generated always as identity primary key, created_at timestamptz not null default now(),
  public_gateway_route_id uuid not null default gen_random_uuid() unique, route_key text not null, client_name text not null,
  target_url text, allowed_ops text[] not null, is_active boolean not null default true, metadata jsonb not null default '{}',
  updated_at timestamptz not null default now(), deleted_at timestamptz);
create table public_service_routes (id bigint generated always as identity primary key, created_at timestamptz not null default now(),
  public_service_route_id uuid not null default gen_random_uuid() unique, route_key text not null, service_key text not null,
  target_kind text not null, local_path_prefix text, target_url text, is_active boolean not null default true,
  metadata jsonb not null default '{}', updated_at timestamptz not null default now(), deleted_at timestamptz);
insert into public_gateway_routes (route_key, client_name, allowed_ops, is_active, target_url, metadata) values
  ('shop-eu', 'app', '{query,fetch,insert,update,delete}', true, null, '{}'),
  ('Shop-RO', 'app', '{fetch}', true, null, '{}'),
  ('shop-none', 'app', '{}', true, null, '{}'),
  ('shop-off', 'app', '{fetch}', false, null, '{}'),
  ('shop-far', 'app', '{fetch,query}', true, 'http://192.0.2.1/', '{}'),
  ('shop-strict', 'app', '{query}', true, null, '{"enforce_ops_on_host": true}'),
  ('tenant', 'app', '{fetch}', true, null, '{}');
insert into public_gateway_routes (route_key, client_name, allowed_ops, deleted_at) values ('shop-gone', 'app', '{fetch}', now());
insert into public_service_routes (route_key, service_key, target_kind, local_path_prefix, target_url, is_active) values
  ('app', 'storage', 'local_path', '/data', null, true),
  ('two', 'storage', 'http_upstream', null, 'http://192.0.2.1/', true),
  ('two', 'db', 'http_upstream', null, 'http://192.0.2.1/', true),
  ('off', 'db', 'local_path', '/gateway', null, false),
  ('bad', 'db', 'local_path', 'no path', null, true),
  ('tenant', 'auth', 'http_upstream', null, 'http://192.0.2.1/', true);
"""
WHO = {"table_name": "place"}


class PublicTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres()
        for name in ("app", "two", "tenant"):
            cls.pg.run(f"create database {name}")
            cls.pg.run(f"create table place (id int primary key, who text); insert into place values (1, '{name}')", name)
        cls.pg.run("create database control")
        cls.pg.run(TABLES, "control")
        cls.server = cls.start()

    @classmethod
    def start(cls, wait=True, control="control", uri=None, **env):
        clients = {n: cls.pg.uri(n) for n in ("app", "two", "tenant")}
        clients["control"] = uri or cls.pg.uri("control")
        server = cls.lab.athena(clients, more="routes-public:\n  target_first_byte: 300ms\n", env={"ATHENA_GATEWAY_LOGGING_CLIENT": control,
                                              "ATHENA_WILDCARD_HOST_PATTERN": "*.Tenants.test.", **env})
        if wait:
            wait_for("the routes are read", 10, lambda: cls.ask("/public/shop-eu/fetch", WHO, server=server).status == 200)
        return server

    @classmethod
    def ask(cls, path, body=None, key=ADMIN_KEY, client=None, method="POST", server=None, **headers):
        sent = {k.replace("_", "-"): v for k, v in headers.items()}
        sent["content-type"] = "application/json"
        if key:
            sent["x-athena-key"] = key
        if client:
            sent["x-athena-client"] = client
        return (server or cls.server).request(method, path, body, sent)

    def who(self, path, body=None, **kw):
        a = self.ask(path, WHO if body is None else body, **kw)
        self.assertEqual(a.status, 200, a.body)
        return a.json["data"][0]["who"]

    def refused(self, status, code, a):
        self.assertEqual((a.status, a.code), (status, code), a.body)

    def of_query(self, a):
        self.assertEqual((a.status, a.json["data"]), (200, [{"who": "app"}]), a.body)

    # ---- aliases ----

    def test_an_alias_leads_to_its_client_whatever_the_header_says(self):
        self.assertEqual(self.who("/public/shop-eu/fetch"), "app")
        self.assertEqual(self.who("/public/SHOP-EU/Fetch", client="two"), "app")
        self.assertEqual(self.who("/public/shop-ro/fetch"), "app")
        self.of_query(self.ask("/public/shop-eu/query", {"query": "select who from place"}))
        self.assertEqual(self.who("/public/shop-eu/fetch", x_pg_uri="postgres://nobody@127.0.0.1:1/x"), "app")

    def test_rows_are_written_through_an_alias(self):
        a = self.ask("/public/shop-eu/insert", {"table_name": "place", "insert_body": {"id": 50, "who": "alias"}})
        self.assertEqual((a.status, a.json["data"]), (200, {"id": 50, "who": "alias"}), a.body)
        a = self.ask("/public/shop-eu/update", {"table_name": "place", "set": {"who": "new"}, "conditions": [{"eq_column": "id", "eq_value": 50}]})
        self.assertEqual((a.status, a.json["affected_rows"]), (200, 1), a.body)
        a = self.ask("/public/shop-eu/delete", {"table_name": "place", "resource_id": "50"}, x_organization_id="o")
        self.assertEqual((a.status, a.json["data"]), (200, [{"id": 50, "who": "new"}]), a.body)

    def test_the_answer_is_the_operations_own(self):
        direct = self.ask("/gateway/fetch", WHO, client="app")
        through = self.ask("/public/shop-eu/fetch", WHO)
        for name in ("content-type", "x-athena-cache-key", "x-athena-client"):
            self.assertEqual(through.headers.get(name), direct.headers.get(name), name)
        self.assertEqual(through.json["data"], direct.json["data"])
        a = self.ask("/public/shop-eu/fetch", {"table_name": "no_such"})
        self.refused(400, "undefined_table", a)
        self.assertEqual(a.json["trace_id"], a.headers["x-athena-request-id"])
        self.refused(400, "malformed_json_payload", self.ask("/public/shop-eu/fetch", "{"))

    def test_what_an_alias_refuses(self):
        for path, status, code, words in (
                ("shop-ro/insert", 403, "op_not_allowed", "Route 'shop-ro' does not allow 'insert'."),
                ("shop-none/fetch", 403, "op_not_allowed", "Route 'shop-none' does not allow 'fetch'."),
                ("shop-off/fetch", 403, "route_inactive", "Route 'shop-off' is disabled."),
                ("nope/fetch", 404, "public_route_not_found", "No active public route 'nope'."),
                ("shop-gone/fetch", 404, "public_route_not_found", "No active public route 'shop-gone'."),
                ("shop-far/fetch", 503, "route_target_unavailable", "The target of route 'shop-far'"),
                ("%20/fetch", 400, "invalid_route_key", "empty"),
                ("shop-eu/rpc", 400, "invalid_public_route_operation",
                 "Unsupported operation 'rpc'. Use one of: query, fetch, insert, update, delete.")):
            a = self.ask(f"/public/{path}", {})
            self.refused(status, code, a)
            self.assertIn(words, a.json["error"])
        a = self.ask("/public/shop-eu/query", {"q": 1})
        self.refused(400, "invalid_query_payload", a)
        a = self.ask("/public/shop-eu/delete", {"table_name": "place"})
        self.refused(400, "invalid_delete_payload", a)

    def test_without_a_key_nobody_learns_which_aliases_exist(self):
        seen = set()
        for path in ("shop-eu/fetch", "shop-off/fetch", "nope/fetch", "shop-ro/insert", "shop-eu/rpc", "shop-far/fetch"):
            for key in (None, "wrong"):
                a = self.ask(f"/public/{path}", "not json", key=key)
                seen.add((key, a.status, a.json["error"]))
        self.assertEqual({s for _, s, _ in seen}, {401})
        self.assertEqual(len(seen), 2, seen)

    def test_rows_are_new_within_seconds(self):
        self.assertEqual(self.ask("/public/fresh/fetch", WHO).status, 404)
        self.pg.run("insert into public_gateway_routes (route_key, client_name, allowed_ops) values ('fresh', 'two', '{fetch}')", "control")
        wait_for("the new row counts", 4, lambda: self.ask("/public/fresh/fetch", WHO).status == 200)
        self.assertEqual(self.who("/public/fresh/fetch"), "two")
        self.pg.run("update public_gateway_routes set is_active = false where route_key = 'fresh'", "control")
        wait_for("the change counts", 4, lambda: self.ask("/public/fresh/fetch", WHO).status == 403)
        self.pg.run("delete from public_gateway_routes where route_key = 'fresh'", "control")
        wait_for("the end counts", 4, lambda: self.ask("/public/fresh/fetch", WHO).status == 404)

    def test_one_request_and_one_operation_are_counted(self):
        def counts():
            text = self.server.get("/metrics").body
            # labels vary with the status; all of them are added up
            def total(line_with):
                return sum(float(x.rsplit(" ", 1)[1]) for x in text.splitlines() if all(w in x for w in line_with))
            return (total(['athena_http_requests_total{', '/public/{route_key}/{op}']),
                    total(['athena_gateway_operation_total{client="app",table="place",operation="fetch"']),
                    total(['athena_http_requests_total{', '"/gateway/fetch"']))
        before = counts()
        a = self.ask("/public/shop-eu/fetch", WHO)
        self.assertEqual(a.status, 200)
        wait_for("it is counted", 5, lambda: counts()[0] == before[0] + 1)
        after = counts()
        self.assertEqual([y - x for x, y in zip(before, after)], [1, 1, 0])
        request_id = a.headers["x-athena-request-id"]

        def lines():  # the operation's, and the request's behind it
            with open(f"{self.server.logs}/success.log") as f:
                said = list(f)
            at = [i for i, x in enumerate(said) if f"request_id={request_id}" in x]
            return (said[at[0]], said[at[0] + 1]) if len(at) == 1 and at[0] + 1 < len(said) else None
        wait_for("both lines are there", 5, lines)
        operation, request = lines()
        for words in ("path=/gateway/fetch ", "client=app ", "operation=fetch ", "row_count=1 ", ",internal,", "ending=answered "):
            self.assertIn(words, operation)
        self.assertIn("request completed http_method=POST http_route=/public/shop-eu/fetch http_status_code=200", request)

    # ---- service prefixes ----

    def test_prefixes_lead_to_routes(self):
        for path in ("/db/fetch", "/DB/fetch", "/db/gateway/fetch", "/Db/data", "/db/fetch/"):
            self.assertEqual(self.who(path, client="app"), "app", path)
        for path in ("/db/query", "/db/gateway/query"):
            self.of_query(self.ask(path, {"query": "select who from place"}, client="app"))
        self.assertEqual(self.ask("/db/health", method="GET").status, 200)
        for path in ("/db", "/db/", "/db/nothing", "/dbx/fetch", "/db/FETCH"):
            self.assertEqual(self.ask(path, WHO, client="app").status, 404, path)

    def test_the_query_string_goes_along(self):
        a = self.ask("/storage?view=place&eq_column=id&eq_value=1", method="GET", client="app")  # a row leads it to /data
        self.assertEqual(a.status, 200, a.body)
        self.assertIn('"who":"app"', a.body)

    def test_direct_uris_are_ignored_behind_a_prefix(self):
        self.assertEqual(self.who("/db/fetch", client="app", x_pg_uri="postgres://nobody@127.0.0.1:1/x"), "app")
        self.assertEqual(self.who("/db/gateway/fetch", client="app", x_jdbc_url="jdbc:postgresql://127.0.0.1:1/x"), "app")

    def test_services_that_are_not_here_are_never_served_from_here(self):
        self.refused(502, "service_route_unavailable", self.ask("/db/fetch", WHO, client="two"))
        self.refused(403, "service_route_inactive", self.ask("/db/fetch", WHO, client="off"))
        self.refused(503, "invalid_service_route", self.ask("/db/fetch", WHO, client="bad"))
        a = self.ask("/auth/session", method="GET", client="app")
        self.refused(503, "service_route_unconfigured", a)
        self.assertEqual(a.json["error"], "No active route exists for service 'auth' on route 'app' and "
                                          "ATHENA_ROUTER_DEFAULT_AUTH_TARGET_URL is unset.")
        self.refused(503, "realtime_upstream_unavailable",
                     self.ask("/real-time/socket", method="GET", client="app", upgrade="websocket", connection="upgrade"))
        for client in ("two", "off", "bad", "app"):  # and no key: nothing is learnt
            self.assertEqual(self.ask("/db/fetch", WHO, client=client, key=None).status, 401)

    def test_a_default_target_is_somewhere_else(self):
        server = self.start(ATHENA_ROUTER_DEFAULT_DB_TARGET_URL="http://192.0.2.1/")
        self.refused(502, "service_route_unavailable", self.ask("/db/fetch", WHO, client="app", server=server))
        self.assertEqual(self.who("/gateway/fetch", client="app", server=server), "app")

    def test_a_preflight_is_answered_on_every_path(self):
        for path in ("/auth/session", "/db/fetch", "/public/nope/fetch"):
            a = self.server.request("OPTIONS", path, headers={"origin": "http://a.example", "access-control-request-method": "POST"})
            self.assertEqual(a.status, 200, path)

    def test_garbage_behind_a_prefix_is_never_a_5xx(self):
        seed = int(os.environ.get("SEED", time.time()))
        print("seed", seed, file=sys.stderr)
        dice = random.Random(seed)
        parts = ["gateway", "query", "rest", "rpc", "..", ".", "", "%2F", "%00", "%", "%zz", "%25", "a", "fetch", "sql", "v1", "~", "'", '"',
                 ";", "a" * 300, "%C3%28", "schema", "health", "transaction", "{x}", "\\"]
        for _ in range(400):
            path = "/" + dice.choice(["db", "DB", "Db"]) + "/" + "/".join(dice.choice(parts) for _ in range(dice.randrange(6)))
            if dice.random() < 0.3:
                path += "?" + dice.choice(["", "a=b", "%", "&&", "x" * 100])
            body = dice.choice([None, b"", b"{", b"[]", b"{}", json.dumps(WHO).encode(), b"\xff\xfe", b'{"query":1}'])
            method = dice.choice(["GET", "POST", "PUT", "DELETE", "PATCH"])
            a = self.ask(path, body, method=method, client=dice.choice(["app", "nobody", None, "x" * 200]))
            self.assertLess(a.status, 500, (method, path, body, a.body))

    # ---- host names ----

    def test_a_tenants_host_name_beats_the_header(self):
        self.assertEqual(self.who("/gateway/fetch", client="app", host="two.tenants.test"), "two")
        self.assertEqual(self.who("/gateway/fetch", host="TWO.Tenants.TEST.:8080"), "two")
        self.assertEqual(self.who("/gateway/fetch", client="two", host="tenant.tenants.test"), "app")  # by its row
        self.assertEqual(self.ask("/gateway/fetch", WHO, host="nobody.tenants.test").status, 400)
        for host in ("two.tenants.test.example", "a.b.two.tenants.test", "two.three.tenants.test", ".tenants.test", "tenants.test"):
            self.assertEqual(self.who("/gateway/fetch", client="app", host=host), "app", host)

    def test_a_service_label_is_a_prefix(self):
        self.assertEqual(self.who("/fetch", host="db.two-x.tenants.test".replace("two-x", "app")), "app")
        self.assertEqual(self.who("/gateway/fetch", host="DB.app.tenants.test"), "app")
        self.refused(502, "service_route_unavailable", self.ask("/fetch", WHO, host="db.two.tenants.test"))
        self.refused(502, "service_route_unavailable", self.ask("/session", method="GET", host="auth.tenant.tenants.test"))

    def test_rows_decide_for_hosts_too(self):
        self.refused(403, "route_inactive", self.ask("/gateway/fetch", WHO, host="shop-off.tenants.test"))
        self.assertEqual(self.ask("/gateway/fetch", WHO, host="shop-off.tenants.test", key=None).status, 401)
        self.refused(503, "route_target_unavailable", self.ask("/gateway/fetch", WHO, host="shop-far.tenants.test"))
        self.of_query(self.ask("/gateway/query", {"query": "select who from place"}, host="shop-far.tenants.test"))
        self.refused(403, "op_not_allowed", self.ask("/gateway/fetch", WHO, host="shop-strict.tenants.test"))
        self.refused(403, "op_not_allowed", self.ask("/fetch", WHO, host="db.shop-strict.tenants.test"))
        self.of_query(self.ask("/gateway/query", {"query": "select who from place"}, host="shop-strict.tenants.test"))

    def test_the_header_may_have_precedence_and_the_switch_is_obeyed(self):
        server = self.start(ATHENA_GATEWAY_HOST_ROUTING_PRECEDENCE="header")
        self.assertEqual(self.who("/gateway/fetch", client="app", host="two.tenants.test", server=server), "app")
        self.assertEqual(self.who("/gateway/fetch", host="two.tenants.test", server=server), "two")
        server = self.start(ATHENA_WILDCARD_HOST_ROUTING_ENABLED="false")
        self.assertEqual(self.who("/gateway/fetch", client="app", host="two.tenants.test", server=server), "app")

    def test_g_22_a_forwarded_host_counts_from_trusted_proxies_alone(self):
        """G-22: anybody could choose another tenant with X-Forwarded-Host."""
        forwarded = ({"x_forwarded_host": "two.tenants.test, x"}, {"forwarded": 'for=1.2.3.4;host="two.tenants.test"'})
        server = self.start(ATHENA_GATEWAY_TRUSTED_PROXIES="10.0.0.0/8, fc00::/7")
        for headers in forwarded:
            self.assertEqual(self.who("/gateway/fetch", client="app", server=server, **headers), "app")
            self.assertEqual(self.who("/gateway/fetch", client="app", **headers), "two")  # loopback is trusted there
        self.assertEqual(self.who("/gateway/fetch", client="app", host="tenant.tenants.test", x_forwarded_host="two.tenants.test"), "app")

    def test_the_account_says_what_was_sent(self):
        a = self.ask("/db/fetch", WHO, client="app")
        request_id = a.headers["x-athena-request-id"]

        def line():
            with open(f"{self.server.logs}/success.log") as f:
                return [x for x in f if request_id in x and "gateway_trace" in x]
        wait_for("the trace is there", 5, line)
        self.assertIn("path=/db/fetch ", line()[0])
        self.assertIn("route=/gateway/fetch ", line()[0])

    # ---- what there is to call ----

    def test_the_registry_lists_routes_aliases_and_services(self):
        rows = self.ask("/router/registry", method="GET").json
        by = {source: [r for r in rows if r["source"] == source] for source in ("builtin", "public_route", "service_route")}
        self.assertIn(("POST", "/public/{route_key}/{op}", "routes-public", "gateway"),
                      {(r["method"], r["path"], r["plugin"], r["auth"]) for r in by["builtin"]})
        self.assertIn({"source": "public_route", "method": "POST", "path": "/public/shop-off/fetch", "client_name": "app", "is_active": False},
                      by["public_route"])
        self.assertNotIn("shop-gone", str(rows))
        self.assertIn({"source": "service_route", "path": "/db", "route_key": "two", "target_kind": "http_upstream", "is_active": True},
                      by["service_route"])
        self.assertEqual(sum(map(len, by.values())), len(rows))

    def test_rows_of_the_published_router_table_come_first(self):
        self.pg.run("create database listed")
        self.pg.run("create table pm_athena_router (id int, name text); insert into pm_athena_router values (7, 'mine')", "listed")
        self.pg.run("create table api_registry (id int, api_registry_id uuid, config jsonb); insert into api_registry values "
                    "(1, '11111111-1111-1111-1111-111111111111', '{\"base\":\"/orders\"}'), (2, '22222222-2222-2222-2222-222222222222', '{}')", "listed")
        server = self.start(wait=False, uri=self.pg.uri("listed"))
        wait_for("the rows are listed", 5,
                 lambda: self.ask("/router/registry", method="GET", server=server).json[0] == {"id": 7, "name": "mine"})
        entries = self.ask("/registry", method="GET", server=server).json
        self.assertEqual(entries[0], {"id": 1, "api_registry_id": "11111111-1111-1111-1111-111111111111", "config": {"base": "/orders"}})
        one = "/registry/22222222-2222-2222-2222-222222222222"
        self.assertEqual(self.ask(one, method="GET", server=server).json, entries[1:])
        self.assertEqual(self.ask("/registry/nope'", method="GET", server=server).json, [])
        self.assertEqual(self.ask("/registry", method="GET", server=server, key=None).status, 401)

    def test_a_registry_without_its_table_is_empty_and_without_a_database_503(self):
        self.assertEqual(self.ask("/registry", method="GET").json, [])
        server = self.start(wait=False, control="")
        a = self.ask("/registry", method="GET", server=server)
        self.assertEqual((a.status, a.json["message"]), (503, "Logging store unavailable"), a.body)
        self.assertEqual({r["source"] for r in self.ask("/router/registry", method="GET", server=server).json}, {"builtin"})

    def test_the_error_catalogue(self):
        a = self.ask("/admin/errors/catalog", method="GET").json
        self.assertEqual((a["status"], a["message"]), ("success", "Listed Athena error catalog"))
        data = a["data"]
        self.assertEqual(data["totalCount"], len(data["errors"]))
        self.assertEqual(sum(data["countsByDomain"].values()), data["totalCount"])
        by = {x["code"]: x for x in data["errors"]}
        self.assertEqual(by["unique_violation"]["docsUrl"], "https://docs.athena-cluster.com/docs/reference/errors/1000")
        self.assertEqual((by["missing_client_header"]["errorNumber"], by["missing_client_header"]["domain"]), (2003, "gateway"))
        self.assertNotIn("docsUrl", by["route_inactive"])
        self.assertEqual(len({x["errorNumber"] for x in data["errors"]}), data["totalCount"])

    # ---- without the tables ----

    def test_without_tables_aliases_are_503_and_hosts_name_clients(self):
        self.pg.run("create database bare")
        for server in (self.start(wait=False, uri=self.pg.uri("bare")), self.start(wait=False, control="")):
            wait_for("it is known", 5, lambda: self.ask("/gateway/fetch", WHO, host="two.tenants.test", server=server).status == 200)
            self.refused(503, "route_registry_unavailable", self.ask("/public/shop-eu/fetch", WHO, server=server))
            self.assertEqual(self.who("/gateway/fetch", host="two.tenants.test", server=server), "two")
            self.assertEqual(self.who("/db/fetch", client="app", server=server), "app")
            self.assertEqual(server.stop(), 0)

    def test_a_control_database_that_is_away_changes_nothing_for_a_while(self):
        other = self.lab.postgres()
        other.run("create database control")
        other.run(TABLES, "control")
        server = self.start(uri=other.uri("control"))
        other.stop()
        end = time.monotonic() + 5
        while time.monotonic() < end:
            self.assertEqual(self.who("/public/shop-eu/fetch", server=server), "app")
            self.assertEqual(self.ask("/gateway/fetch", WHO, host="shop-off.tenants.test", server=server).status, 403)
            time.sleep(0.2)
        began = time.monotonic()
        self.assertEqual(server.stop(), 0)
        self.assertLess(time.monotonic() - began, 8)


if __name__ == "__main__":
    unittest.main(verbosity=2)
