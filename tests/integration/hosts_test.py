#!/usr/bin/env python3
"""What a tenant's row or a service's row sends elsewhere, who gets that far, and what a browser may read of the answers."""
import gzip
import http.client
import http.server
import json
import os
import socket
import sys
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from keyrows import KeyStore  # noqa: E402
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402
from upstream import Quiet  # noqa: E402

PLUGINS = "routes-meta, routes-gateway, routes-query, routes-rest, routes-public, routes-admin-ops, sink-file, sink-postgres"
FETCH = {"table_name": "place"}
JSON = ("content-type", "application/json")
SECRETS = ("x-athena-key", "x-api-key", "apikey", "authorization", "cookie", "x-csrf-token")


class Upstream:
    """A server that keeps what it was asked, and answers by the path's last segment."""

    def __init__(self):
        upstream = self
        self.seen = []
        self.hold = threading.Event()

        class Handler(Quiet):
            def any(self):
                try:
                    self.told()
                except (OSError, ValueError):  # it was given up on the way
                    self.close_connection = True

            def told(self):
                word = self.path.partition("?")[0].rsplit("/", 1)[1]
                if word == "large":
                    self.large()
                    return
                body = self.body()
                upstream.seen.append((self.command, self.path, self.headers, body))
                if word == "silent":
                    upstream.hold.wait(20)
                elif word == "moved":
                    self.answer(302, b"", JSON, ("location", "http://127.0.0.1:1/elsewhere"))
                    return
                self.answer(201 if word == "made" else 200, json.dumps({"from": "upstream", "n": len(body)}).encode(), JSON, ("x-own", "kept"), ("x-athena-cached", "lie"),
                            ("access-control-allow-origin", "https://wrong.example"), ("set-cookie", "a=1"), ("set-cookie", "b=2"))

            def large(self):
                self.send_response(200)
                self.send_header("content-length", str(64 << 20))
                self.end_headers()
                try:
                    for _ in range(1024):
                        self.wfile.write(b"x" * 65536)
                        upstream.sent = getattr(upstream, "sent", 0) + 65536
                except OSError:
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = any

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()


class HostsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.up = Upstream()
        cls.addClassCleanup(cls.up.stop)
        cls.pg = cls.lab.postgres()
        for name in ("app", "two", "control"):
            cls.pg.run(f"create database {name}")
        for name in ("app", "two"):
            cls.pg.run(f"create table place (id int primary key, who text); insert into place values (1, '{name}')", name)
        cls.store = KeyStore(cls.pg, "control")
        cls.server = cls.start()
        cls.rows(f"""insert into public_gateway_routes (route_key, client_name, allowed_ops, is_active, target_url, metadata) values
              ('near', 'two', '{{fetch}}', true, null, '{{}}'), ('off', 'app', '{{fetch}}', false, null, '{{}}'), ('blank', ' ', '{{fetch}}', true, null, '{{}}'),
              ('far', 'app', '{{fetch}}', true, '{cls.up.url}/base/?own=1#gone', '{{}}'),
              ('friend', 'app', '{{fetch}}', true, '{cls.up.url}', '{{"trusted_target": true}}'), ('dead', 'app', '{{fetch}}', true, 'http://127.0.0.1:1', '{{}}'),
              ('strict', 'app', '{{query}}', true, '{cls.up.url}', '{{"enforce_ops_on_host": true}}');
            insert into public_service_routes (route_key, service_key, target_kind, local_path_prefix, target_url, is_active, metadata) values
              ('app', 'auth', 'http_upstream', null, '{cls.up.url}/auth/v1', true, '{{}}'), ('app', 'db', 'http_upstream', null, '{cls.up.url}', true, '{{}}'),
              ('two', 'auth', 'http_upstream', null, '{cls.up.url}', true, '{{"trusted_target": true}}'),
              ('two', 'storage', 'http_upstream', null, '{cls.up.url}', true, '{{}}'), ('off', 'auth', 'http_upstream', null, '{cls.up.url}', false, '{{}}'),
              ('dead', 'auth', 'http_upstream', null, 'http://127.0.0.1:1', true, '{{}}')""", cls.server)

    @classmethod
    def start(cls, gateway="", more="", enforce="true", **kw):
        config = (f"plugins: [{PLUGINS}]\nurls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\ngateway:\n- enforce_api_keys: {enforce}\n"
                  f"- logging_client: control\n{gateway}{more}postgres_clients:\n" + "".join(f"- {n}: \"{cls.pg.uri(n)}\"\n" for n in ("app", "two", "control")))
        if "routes-public:" not in more:
            config += "routes-public:\n  target_first_byte: 3s\n  refresh: 60s\n"
        server = cls.lab.athena({}, config=config, env={"ATHENA_WILDCARD_HOST_PATTERN": "*.v3.tenants.test"}, **kw)
        wait_for("the tables", 60, lambda: cls.pg.run("select to_regclass('public_service_routes') is not null and to_regclass('api_key_ip_whitelist') is not null",
                                                      "control").strip() == "t")
        return server

    @classmethod
    def rows(cls, sql, *servers):
        """Changes rows; they are known when a row that came with them is."""
        mark = f"mark{time.monotonic_ns()}"
        cls.pg.run(f"begin; {sql}; insert into public_gateway_routes (route_key, client_name, allowed_ops) values ('{mark}', 'two', '{{fetch}}'); notify athena_routes; commit",
                   "control")
        for s in servers or (cls.server,):
            wait_for("the rows are known", 20, lambda: s.request("POST", f"/public/{mark}/fetch", FETCH, {"x-athena-key": ADMIN_KEY, "content-type": "application/json"}).status == 200)

    def ask(self, path="/gateway/fetch", body=FETCH, key=ADMIN_KEY, method="POST", server=None, **headers):
        sent = {"content-type": "application/json", **({"x-athena-key": key} if key else {}), **{k.replace("_", "-"): v for k, v in headers.items()}}
        return (server or self.server).request(method, path, body, sent)

    def went(self, *args, status=200, **kw):
        """What arrived at the target."""
        before = len(self.up.seen)
        a = self.ask(*args, **kw)
        self.assertEqual(a.status, status, a.body)
        self.assertEqual(len(self.up.seen), before + 1, "it arrived there")
        self.answer = a
        return self.up.seen[-1]

    def stays(self, status, code, *args, **kw):
        before = len(self.up.seen)
        a = self.ask(*args, **kw)
        self.assertEqual((a.status, a.code), (status, code), a.body)
        self.assertEqual(len(self.up.seen), before, "nothing arrived there")
        return a

    # ---- a tenant's host ----

    def test_21_27_a_host_names_the_client(self):
        """21.27, D-38: in any case, with a dot at its end; the header does not override it; an inactive row is refused after the key check."""
        for host in ("near.v3.tenants.test", "NEAR.V3.Tenants.Test", "near.v3.tenants.test.", "near.v3.tenants.test:8080"):
            a = self.ask(host=host, x_athena_client="app")
            self.assertEqual((a.status, a.json["data"][0]["who"]), (200, "two"), host)
        self.stays(403, "route_inactive", host="off.v3.tenants.test")
        self.assertEqual(self.ask(host="off.v3.tenants.test", key=None).status, 401)
        self.assertEqual(self.ask(host="blank.v3.tenants.test").status, 400)
        logged = lambda: self.pg.run("select outcome || ' ' || coalesce(metadata ->> 'major_version', '') from gateway_route_request_log where source = 'wildcard_host'", "control").split("\n")  # noqa: E731
        for outcome in ("resolved v3", "client_name_fallback_route_inactive v3", "empty_client_name v3"):
            wait_for(outcome, 20, lambda: outcome in logged())

    def test_D_24_a_change_that_is_told_is_known_at_once(self):
        """D-24: rows are followed in memory; here they are read again once a minute, so only NOTIFY can have told."""
        begun = time.monotonic()
        self.rows("insert into public_gateway_routes (route_key, client_name, allowed_ops) values ('new', 'two', '{fetch}')")
        self.assertEqual(self.ask(host="new.v3.tenants.test").json["data"][0]["who"], "two")
        self.rows("update public_gateway_routes set client_name = 'app' where route_key = 'new'")
        self.assertEqual(self.ask(host="new.v3.tenants.test").json["data"][0]["who"], "app")
        self.assertLess(time.monotonic() - begun, 30)

    def test_21_28_reads_that_go_elsewhere(self):
        """21.28, D-14: anonymous callers are refused; the target's path and both queries; what was said of who sent it on is replaced; no credential arrives."""
        self.stays(401, "api_key_required", host="far.v3.tenants.test", key=None)
        method, path, headers, body = self.went("/gateway/fetch?a=b", host="far.v3.tenants.test", x_athena_client="evil", x_athena_proxy_hop="0", x_athena_origin_host="evil",
                                                cookie="s=1", authorization="Bearer t", apikey=ADMIN_KEY, x_csrf_token="t", x_other="kept", x_forwarded_for="1.2.3.4")
        self.assertEqual((method, path, json.loads(body)), ("POST", "/base/gateway/fetch?own=1&a=b", FETCH))
        self.assertEqual([headers.get_all(n) for n in ("x-athena-client", "x-athena-proxy-hop", "x-athena-origin-host", "x-athena-route-key", "x-other", "x-forwarded-for")],
                         [["app"], ["1"], ["far.v3.tenants.test"], ["far"], ["kept"], ["127.0.0.1"]])
        for name in SECRETS:
            self.assertNotIn(name, headers)
        self.assertNotIn(ADMIN_KEY, str(headers))
        a = self.answer
        self.assertEqual((a.json, a.headers["x-own"], a.headers["x-athena-cached"], "set-cookie" in a.headers), ({"from": "upstream", "n": len(body)}, "kept", "false", True))
        self.assertEqual(self.went("/gateway/data", host="far.v3.tenants.test")[1], "/base/gateway/data?own=1")
        self.assertEqual(self.went("/public/far/fetch")[1:2] + (json.loads(self.up.seen[-1][3]),), ("/base/gateway/fetch?own=1", FETCH), "by its alias, too")
        self.assertEqual(self.ask("/gateway/query", {"query": "select who from place"}, host="far.v3.tenants.test").status, 200, "only reads go there")
        self.stays(403, "op_not_allowed", host="strict.v3.tenants.test")

    def test_21_28_hops_stop_loops(self):
        """21.28: what has come by way of a target goes to none."""
        self.stays(400, "route_target_loop_detected", host="far.v3.tenants.test", x_athena_proxy_hop="1")
        self.stays(502, "service_route_loop_detected", "/auth/session", x_athena_client="app", x_athena_proxy_hop="3")
        here = f"http://127.0.0.1:{self.server.port}"
        self.rows(f"""insert into public_service_routes (route_key, service_key, target_kind, target_url) values ('near', 'auth', 'http_upstream', '{here}/auth')""")
        a = self.ask("/auth/session", None, method="GET", host="near.v3.tenants.test")
        self.assertIn((a.status, a.code), [(502, "service_route_loop_detected"), (401, "api_key_required")], "a target that is this server itself ends at the second hop")

    def test_21_28_the_admin_key_reaches_nobody(self):
        """21.28, D-14: not even a target that is trusted, in whatever header it comes."""
        for name in ("x-athena-key", "x-api-key", "apikey"):
            for path, host in (("/gateway/fetch", "friend.v3.tenants.test"), ("/auth/user", "two.v3.tenants.test")):
                headers = self.went(path, key=None, host=host, **{name: ADMIN_KEY})[2]
                self.assertNotIn(ADMIN_KEY, str(headers))
        headers = self.went("/auth/user", host="two.v3.tenants.test", authorization=f"Bearer {ADMIN_KEY}", cookie=f"k={ADMIN_KEY}")[2]
        self.assertNotIn(ADMIN_KEY, str(headers))

    def test_D_14_credentials_go_to_trusted_targets_alone(self):
        """D-14: by the row's metadata, or by the configuration; of several keys only the one that was looked at."""
        s = self.start(enforce="false", more=f"routes-public:\n  trusted_targets: \"{self.up.url}/auth/, http://127.0.0.1\"\n")
        self.rows("select 1", s)
        sent = {"key": "some-key", "apikey": ADMIN_KEY, "authorization": "Bearer token", "cookie": "a=b", "server": s}
        for host, trusted in (("friend", True), ("far", False)):
            headers = self.went(host=f"{host}.v3.tenants.test", **sent)[2]
            self.assertEqual([headers.get(n) for n in ("x-athena-key", "authorization", "cookie")], ["some-key", "Bearer token", "a=b"] if trusted else [None] * 3)
            self.assertNotIn(ADMIN_KEY, str(headers), "of two keys the one that was not looked at")
        self.assertEqual(self.went("/auth/user", x_athena_client="app", **sent)[2]["authorization"], "Bearer token", "its address is listed")
        self.assertIsNone(self.went("/db/fetch", x_athena_client="app", **sent)[2]["authorization"], "a longer port is another address")
        s.stop()

    # ---- services ----

    def test_services_that_are_another_servers(self):
        method, path, headers, body = self.went("/auth/v1/made?x=1", {"a": 1}, method="PUT", status=201, x_athena_client="app")
        self.assertEqual((method, path, json.loads(body)), ("PUT", "/auth/v1/v1/made?x=1", {"a": 1}))
        self.assertEqual((headers["x-athena-service-key"], headers["x-athena-route-key"], headers["host"]), ("auth", "app", self.up.url[7:]))
        self.assertEqual(self.went("/session", None, method="GET", host="auth.two.v3.tenants.test")[:2], ("GET", "/session"))
        self.assertEqual(self.went("/AUTH/", None, method="GET", x_athena_client="app")[1], "/auth/v1/")
        self.assertEqual(self.went("/auth", None, method="GET", x_athena_client="app")[1], "/auth/v1/")
        self.assertEqual(self.went("/storage/a%2Fb/c%20d", None, method="GET", x_athena_client="two")[1], "/a%2Fb/c%20d", "a path goes on as it came")
        head = self.went("/auth/x", None, method="HEAD", x_athena_client="app")
        self.assertEqual((head[0], self.answer.body), ("HEAD", ""))
        packed = gzip.compress(json.dumps({"a": "b" * 1000}).encode())
        got = self.went("/auth/x", packed, x_athena_client="app", content_encoding="gzip")
        self.assertEqual((json.loads(got[3])["a"], got[2]["content-encoding"]), ("b" * 1000, None), "a body arrives unpacked")

    def test_D_14_the_key_is_checked_first(self):
        """D-14: by the class that the route has here; what a service asks for is the right on all tables."""
        for path in ("/auth/session", "/db/fetch", "/storage/x"):
            for client in ("app", "two"):
                if (path, client) in (("/storage/x", "app"), ("/db/fetch", "two")):
                    continue
                self.stays(401, "api_key_required" if path != "/storage/x" else self.ask(path, key=None, x_athena_client=client).code, path, key=None, x_athena_client=client)
        self.stays(403, "service_route_inactive", "/auth/session", x_athena_client="off")

    def test_inner_routes_are_not_there_for_callers(self):
        """What a hook leads requests to answers a caller's own path as any unknown one is answered, and stands in no list."""
        def shape(a):
            return a.status, a.code, {k: v for k, v in json.loads(a.body).items() if "id" not in k}
        for path in ("/routed/auth", "/routed/db", "/routed/storage", "/routed/realtime", "/routed/gateway/fetch", "/%72outed/auth"):
            for key in (ADMIN_KEY, None):
                for method in ("GET", "POST", "DELETE"):
                    known = self.ask(path, None, key=key, method=method, x_athena_client="app")
                    unknown = self.ask("/nowhere/at/all", None, key=key, method=method, x_athena_client="app")
                    self.assertEqual(known.status, 404, path)
                    self.assertEqual(shape(known)[:2], shape(unknown)[:2], path)
                    self.assertIsNone(known.headers.get("allow"), path)
        for path in ("/", "/openapi.yaml", "/router/registry"):
            listed = self.ask(path, None, method="GET")
            self.assertEqual(listed.status, 200)
            self.assertNotIn("/routed", listed.body, path)
        self.went("/auth/x", x_athena_client="app")

    def test_paths_that_climb_are_refused(self):
        for path in ("/auth/../x", "/auth/%2e%2E/x", "/auth/a/.%2e", "/auth/."):
            before = len(self.up.seen)
            self.assertIn(self.ask(path, None, method="GET", x_athena_client="app").status, (400, 404), path)
            self.assertEqual(len(self.up.seen), before, path)

    def test_redirects_are_the_callers(self):
        self.went("/auth/moved", None, method="GET", status=302, x_athena_client="app")
        self.assertEqual(self.answer.headers["location"], "http://127.0.0.1:1/elsewhere")

    def test_a_target_that_is_away_or_silent(self):
        """D-14: 502 resp. 503 without its address; a silent one is given up in time."""
        a = self.stays(502, "service_route_unavailable", "/auth/x", None, method="GET", host="dead.v3.tenants.test")
        self.assertNotIn("127.0.0.1", a.body)
        self.stays(503, "route_target_unavailable", host="dead.v3.tenants.test")
        begun = time.monotonic()
        a = self.ask("/auth/silent", None, method="GET", x_athena_client="app")
        self.assertEqual((a.status, a.code), (502, "service_route_unavailable"), a.body)
        self.assertLess(time.monotonic() - begun, 15)
        self.stays(503, "realtime_upstream_unavailable", "/realtime/socket", None, method="GET", x_athena_client="app", upgrade="websocket", connection="upgrade")

    def test_D_14_bodies_are_streams_both_ways(self):
        """D-14: 64 MiB go through without being held; who reads slowly slows the target."""
        c = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        c.sock = socket.create_connection(("127.0.0.1", self.server.port))
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.up.sent = 0
        c.request("GET", "/auth/large", headers={"x-athena-key": ADMIN_KEY, "x-athena-client": "app"})
        r = c.getresponse()
        r.read(65536)
        held = [self.up.sent]

        def still():
            time.sleep(0.3)
            held.append(self.up.sent)
            return held[-1] == held[-2]
        wait_for("the target waits for its reader", 20, still)
        self.assertLess(self.up.sent, 32 << 20)
        n = 65536
        while piece := r.read(1 << 20):
            n += len(piece)
        self.assertEqual(n, 64 << 20)
        c.close()

    # ---- browsers ----

    def test_21_24_preflights(self):
        """21.24: 200 with the origin and the headers echoed, on any path; OPTIONS without it is 404, or 405 where other methods are known (ruling 2)."""
        for path in ("/gateway/fetch", "/auth/session", "/nope"):
            a = self.server.request("OPTIONS", path, headers={"origin": "https://a.example", "access-control-request-method": "POST",
                                                              "access-control-request-headers": "x-athena-key, x-any"})
            self.assertEqual((a.status, a.body, a.headers["access-control-allow-origin"], a.headers["access-control-allow-headers"], a.headers["access-control-max-age"]),
                             (200, "", "https://a.example", "x-athena-key, x-any", "600"), path)
            self.assertEqual(set(a.headers["access-control-allow-methods"].replace(" ", "").split(",")),
                             {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
        for path, status in (("/nope", 404), ("/gateway/fetch", 405)):
            a = self.server.request("OPTIONS", path, headers={"origin": "https://a.example"})
            self.assertEqual((a.status, a.headers["access-control-allow-origin"]), (status, "https://a.example"), path)
        a = self.server.request("OPTIONS", "/x", headers={"access-control-request-method": "no method"})
        self.assertEqual(a.status, 400)

    def test_D_21_every_answer_can_be_read_by_a_browser(self):
        """D-21, D-36, 21.22: whatever its status is, and the headers of ours with it."""
        def browser(*args, **kw):
            return self.ask(*args, origin="https://a.example", **kw)
        answers = {200: browser(x_athena_client="app"), 401: browser(key=None, x_athena_client="app"), 404: browser("/nope", None, method="GET"),
                   400: browser(body="{", x_athena_client="app"), 403: browser(host="off.v3.tenants.test"), 405: browser(method="DELETE", x_athena_client="app"),
                   502: browser("/auth/x", host="dead.v3.tenants.test"), 503: browser(host="dead.v3.tenants.test"), 201: browser("/auth/made", x_athena_client="app")}
        for status, a in answers.items():
            self.assertEqual(a.status, status, a.body)
            self.assertEqual(a.headers["access-control-allow-origin"], "https://a.example", status)
            exposed = {h.strip().lower() for h in a.headers["access-control-expose-headers"].split(",")}
            self.assertLessEqual({"x-athena-request-id", "x-athena-cached", "retry-after", "content-range"}, exposed, status)
            self.assertIn("x-athena-version", a.headers, status)
            self.assertIn("origin", a.headers["vary"].lower(), status)

    def test_D_36_the_list_is_applied_where_the_operator_says_so(self):
        """D-36: only origins of the list, of the configuration and of the environment, case and all."""
        config = (f"plugins: [{PLUGINS}]\nurls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\n- cors_enforce: true\n- cors_allowed_origins: \"https://a.example\"\n"
                  f"gateway:\n- enforce_api_keys: true\npostgres_clients:\n- app: \"{self.pg.uri('app')}\"\n")
        s = self.lab.athena({}, config=config, env={"ATHENA_CORS_ALLOWED_ORIGINS": "https://b.example"})
        for origin, may in (("https://a.example", True), ("https://b.example", True), ("https://c.example", False), ("https://a.example.evil", False)):
            a = s.request("GET", "/ping", headers={"origin": origin})
            self.assertEqual(a.headers.get("access-control-allow-origin"), origin if may else None)
            a = s.request("OPTIONS", "/gateway/fetch", headers={"origin": origin, "access-control-request-method": "POST"})
            self.assertEqual((a.status, a.headers.get("access-control-allow-origin"), "access-control-allow-methods" in a.headers), (200, origin if may else None, may))
        s.stop()

    # ---- bodies and keys ----

    def test_21_25_a_key_comes_before_a_body(self):
        """21.25: malformed JSON without a key is 401, with one it is 400."""
        for path in ("/gateway/fetch", "/admin/audit", "/auth/x"):
            method = "GET" if path == "/admin/audit" else "POST"
            self.assertEqual(self.ask(path, "{broken", key=None, method=method, x_athena_client="app").status, 401, path)
        self.assertEqual(self.ask(body="{broken", x_athena_client="app").status, 400)

    def test_21_26_bodies_have_a_limit(self):
        """21.26: one byte more than 2 MiB is 413, packed or not, and neither is held."""
        body = json.dumps({"table_name": "place", "x": ""})
        body = body[:-2] + "x" * (2097153 - len(body)) + body[-2:]
        self.assertEqual(len(body), 2097153)
        for path in ("/gateway/fetch", "/auth/x"):
            self.assertEqual(self.ask(path, body.encode(), x_athena_client="app").status, 413, path)
            self.assertEqual(self.ask(path, gzip.compress(b"x" * (64 << 20)), x_athena_client="app", content_encoding="gzip").status, 413, path)


if __name__ == "__main__":
    unittest.main(verbosity=2)
