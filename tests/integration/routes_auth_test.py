#!/usr/bin/env python3
"""Every route that the server serves, called by everybody who might: nobody gets in where he does not belong.

What is expected stands here, by routes.md and auth.md 3, and is never asked of the server: its registry only says
which routes there are, and one that is not written down here fails the test."""
import http.client
import json
import os
import secrets
import statistics
import sys
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from keylab import PLACE, KeyLab  # noqa: E402
from keyrows import Key  # noqa: E402
from lab import ADMIN_KEY, wait_for  # noqa: E402

FETCH = {"kind": "fetch", "payload": PLACE}
ROW = {"who": "x"}
PIPELINE = {"source": {**PLACE, "columns": ["who"]}, "transform": {"column_aliases": {"who": "note"}}, "sink": {"table_name": "line"}}
SQL = {"query": "select 1 as one", "driver": "postgresql", "db_name": "app"}

# method, path, class, rights, whether the check is for the client of X-Athena-Client ("C") or for none ("-"; "+": none, and
# what it shows is of no client, D-2), what the right key is answered with, the request's path and body.
DOCUMENTED = [
    ("GET", "/", "ANON", "", "-", 200),
    ("GET", "/ping", "ANON", "", "-", 200),
    ("GET", "/health", "ANON", "", "-", 200),
    ("GET", "/health/cluster", "ANON", "", "-", 200),
    ("GET", "/ready", "ANON", "", "-", 200),
    ("GET", "/docs", "ANON", "", "-", 308),
    ("GET", "/metrics", "ANON", "", "-", 200),
    ("GET", "/router/registry", "AG", "gateway.read", "-", 200),
    ("GET", "/registry", "AG", "gateway.read", "-", 200),
    ("GET", "/registry/{api_registry_id}", "AG", "gateway.read", "-", 200),
    ("GET", "/openapi.yaml", "AG", "gateway.read", "+", 200),
    ("GET", "/openapi-wss.yaml", "AG", "gateway.read", "+", 200),
    ("GET", "/admin/errors/catalog", "AG", "gateway.read", "+", 200),
    ("GET", "/debug/schema", "AG", "gateway.read", "-", 200),
    ("GET", "/clients", "AG", "gateway.read", "-", 200),
    ("GET", "/schema/clients", "AG", "gateway.read", "-", 200),
    ("POST", "/gateway/fetch", "GW", "place.read", "C", 200, "/gateway/fetch", PLACE),
    ("POST", "/gateway/data", "GW", "place.read", "C", 200, "/gateway/data", PLACE),
    ("GET", "/data", "GW", "place.read", "C", 200, "/data?view=place&eq_column=id&eq_value=1", None),
    ("PUT", "/gateway/insert", "GW", "place.write", "C", 200, "/gateway/insert", {**PLACE, "insert_body": ROW}),
    ("POST", "/gateway/insert", "GW", "place.write", "C", 200, "/gateway/insert", {**PLACE, "insert_body": ROW}),
    ("POST", "/gateway/update", "GW", "place.write", "C", 200, "/gateway/update", {**PLACE, "set": ROW, "where": {"id": 1}}),
    ("DELETE", "/gateway/delete", "GW", "place.delete", "C", 200, "/gateway/delete", {**PLACE, "where": {"id": 0}}),
    ("POST", "/gateway/delete", "GW", "place.delete", "C", 200, "/gateway/delete", {**PLACE, "where": {"id": 0}}),
    ("POST", "/gateway/transaction", "GW", "place.read", "C", 200, "/gateway/transaction", {"operations": [FETCH]}),
    ("POST", "/gateway/query", "GW", "gateway.query", "C", 200, "/gateway/query", {"query": "select 1 as one"}),
    ("POST", "/gateway/rpc", "GW", "gateway.rpc.execute", "C", 200, "/gateway/rpc", {"function": "one"}),
    ("GET", "/rpc/{function_name}", "GW", "gateway.rpc.execute", "C", 200, "/rpc/one", None),
    ("POST", "/rpc/{function_name}", "GW", "gateway.rpc.execute", "C", 200, "/rpc/one", {}),
    ("POST", "/query/count", "GW", "place.read", "C", 200, "/query/count", {"driver": "postgresql", "db_name": "app", **PLACE}),
    ("POST", "/query/sql", "AG", "gateway.query", "C", 200, "/query/sql", SQL),
    ("POST", "/gateway/sql", "AG", "gateway.query", "C", 200, "/gateway/sql", SQL),
    ("GET", "/rest/v1/{table}", "GW", "place.read", "C", 200, "/rest/v1/place", None),
    ("POST", "/rest/v1/{table}", "GW", "place.write", "C", 200, "/rest/v1/place", ROW),
    ("PATCH", "/rest/v1/{table}", "GW", "place.write", "C", 200, "/rest/v1/place?id=eq.1", ROW),
    ("DELETE", "/rest/v1/{table}", "GW", "place.delete", "C", 200, "/rest/v1/place?id=eq.0", None),
    ("POST", "/pipelines", "GW", "place.read line.write", "C", 200, "/pipelines", PIPELINE),
    ("POST", "/pipelines/simulate", "GW", "place.read", "C", 200, "/pipelines/simulate", PIPELINE),
    ("POST", "/pipelines/sink", "GW", "place.write", "C", 200, "/pipelines/sink", PLACE),
    ("GET", "/pipelines/templates", "AG", "gateway.read", "-", 200),
    ("POST", "/gateway/deferred/flush", "ASKS", "gateway.write", "+", 200),
    ("GET", "/gateway/deferred/{request_id}", "OWN", "", "+", 404),
    ("GET", "/gateway/deferred/flush", "OWN", "", "+", 404),
    ("POST", "/gateway/deferred/{request_id}/requeue", "OWN", "", "+", 404),
    ("POST", "/gateway/deferred/{request_id}/cancel", "OWN", "", "+", 404),
    ("GET", "/management/provision/local/databases", "MGMT", "management.provision.write", "C", 200),
    ("POST", "/management/provision/local/databases", "MGMT", "management.provision.write", "C", 400, "/management/provision/local/databases", {"database_name": "-"}),
    ("POST", "/public/{route_key}/{op}", "GW", "place.read", "C", 200, "/public/shop/fetch", PLACE),
]
IDS = {"client_name": "nobody", "id": "00000000-0000-4000-8000-000000000000", "api_registry_id": "00000000-0000-4000-8000-000000000000"}
CASES = ("no key", "malformed", "unknown", "wrong secret", "expired", "revoked", "other client", "no right", "wrong address", "of client", "right key",
         "admin key")


class Route:
    def __init__(self, method, path, kind, rights, client, ok, call=None, body=None):
        self.method, self.path, self.kind, self.rights, self.client, self.ok = method, path, kind, rights.split(), client, ok
        self.call, self.body = call or self.filled(path), body

    @staticmethod
    def filled(path):
        return "/".join(IDS.get(s[1:-1], "nothing") if s.startswith("{") else s for s in path.split("/"))

    def __str__(self):
        return f"{self.method} {self.path}"

    def expected(self, case):
        """A status, or None: anything but a refusal of the key."""
        if self.kind == "ANON":
            return self.ok
        if self.kind == "OWN":  # of a request that is not there: a key is asked for first
            return 401 if case in ("no key", "malformed", "unknown", "wrong secret", "expired", "revoked", "wrong address") else self.ok
        if self.kind == "ASKS":  # open to all, and does something for whoever has the right
            return 401 if case in ("no key", "malformed", "unknown", "wrong secret", "expired", "revoked", "no right", "wrong address") else self.ok
        if case == "admin key":
            return None if self.kind == "ADMIN" else self.ok
        if self.kind == "ADMIN" or case in ("no key", "malformed", "unknown", "wrong secret", "expired", "revoked"):
            return 401
        if case == "other client" and self.client == "+" or case == "of client" and self.client in "C+":
            return self.ok
        return self.ok if case == "right key" and self.kind != "MGMT" else 403  # those are for keys of a client alone


class Matrix(KeyLab):
    def routes(self):
        """All that are served, as documented; of /admin everything that is not listed is the administrator's."""
        known = {(d[0], d[1]): Route(*d) for d in DOCUMENTED}
        served = [(e["method"], e["path"]) for e in self.call("GET", "/router/registry", None, ADMIN_KEY).json if e["source"] == "builtin"]
        self.assertGreater(len(served), 50)
        unheard = [s for s in served if s not in known and not s[1].startswith("/admin/")]
        self.assertEqual(unheard, [], "routes that no document of this test knows")
        self.assertEqual([k for k in known if k not in served], [], "routes that are not served")
        return [known.get(s) or Route(*s, "ADMIN", "", "-", None, body={}) for s in served]

    def keys(self, route):
        rights = route.rights or ["gateway.read"]
        others = {"place.read": "line.read", "place.write": "place.read", "place.delete": "place.write", "line.write": "line.read",
                  "gateway.read": "gateway.write", "gateway.write": "gateway.read",
                  "gateway.query": "gateway.read", "gateway.rpc.execute": "gateway.query", "management.provision.write": "management.read"}
        wrong = Key(self.key(*rights).public_id, secrets.token_hex(32))
        return {"no key": None, "malformed": "not-a-key", "unknown": Key(secrets.token_hex(8), secrets.token_hex(32)), "wrong secret": wrong,
                "expired": self.key(*rights, expires="now() - interval '1 minute'"), "revoked": self.key(*rights, active=False),
                "other client": self.key("*", client="two"), "no right": self.key(*[others[r] for r in rights]),
                "wrong address": self.key(*rights, white=("192.0.2.0/24",)), "of client": self.key(*rights, client="App"),
                "right key": self.key(*rights), "admin key": ADMIN_KEY}

    def test_every_route_and_every_caller(self):
        """21.1, 21.4, 21.17, D-2, D-4: route x case -> status, and nothing but the documented answer."""
        wrong, table = [], []
        for route in self.routes():
            keys, row = self.keys(route), []
            for case in CASES:
                answer = self.call(route.method, route.call, route.body if route.method != "GET" else None, keys[case],
                                   "app" if route.client == "C" and not route.path.startswith("/public") else None)
                expected = route.expected(case)
                good = answer.status == expected if expected else answer.status not in (401, 403, 429, 500)
                row.append(f"{answer.status}{'' if good else '!'}")
                if not good:
                    wrong.append(f"{route} with {case}: {answer.status}, expected {expected or 'no refusal'}: {answer.body[:200]}")
            table.append((str(route), f"{route.kind} {' '.join(route.rights)}", row))
        print(f"\n{'route':58} {'class':26} " + " ".join(f"{c:>13}" for c in CASES))
        for name, kind, row in table:
            print(f"{name:58} {kind:26} " + " ".join(f"{s:>13}" for s in row))
        self.assertEqual(wrong, [])

    def test_21_16_another_spelling_of_a_path_is_the_same_route(self):
        """D-5: the class is the matched route's."""
        for method, path in (("GET", "/%61dmin/pools"), ("GET", "/admin/%70ools"), ("POST", "/gateway/%66etch"), ("GET", "/%63lients"),
                             ("POST", "/query/%73ql")):
            self.assertEqual(self.call(method, path, PLACE if method == "POST" else None, client="app").status, 401, path)
        for path in ("/admin//pools", "//admin/pools", "/admin/./pools", "/gateway/../admin/pools", "/admin%2Fpools", "/admin/pools/"):
            self.assertIn(self.call("GET", path, None, self.key("*"), "app").status, (400, 401, 404), path)

    def test_21_25_a_key_comes_before_the_body(self):
        """D-32: without one a broken body is 401, with one 400."""
        for method, path in (("POST", "/gateway/fetch"), ("PUT", "/gateway/insert"), ("POST", "/gateway/query"), ("POST", "/query/sql"), ("POST", "/rpc/one"),
                             ("POST", "/rest/v1/place"), ("POST", "/public/shop/fetch"), ("POST", "/admin/clients")):
            self.assertEqual(self.call(method, path, b"{broken", client="app").status, 401, path)
            self.assertEqual(self.call(method, path, b"{broken", Key("0" * 16, "1"), "app").status, 401, path)
            self.assertEqual(self.call(method, path, b"{broken", ADMIN_KEY, "app").status, 400, path)

    def test_a_refusal_says_why(self):
        """auth.md 4: messages of lines 3 to 12."""
        for case, message in (("no key", "API key required"), ("malformed", "Invalid API key"), ("unknown", "Invalid API key"),
                              ("wrong secret", "Invalid API key"), ("revoked", "Inactive API key"), ("expired", "Expired API key"),
                              ("other client", "API key client mismatch"), ("no right", "Insufficient API key rights"),
                              ("wrong address", "IP not allowed")):
            for path, body, right in (("/gateway/fetch", PLACE, "place.read"), ("/query/sql", SQL, "gateway.query")):
                route = Route("POST", path, "GW", right, "C", 200)
                answer = self.call("POST", path, body, self.keys(route)[case], "app")
                self.assertEqual((answer.json["status"], answer.json["message"]), ("error", message), answer.body)
                if case == "no right":
                    self.assertEqual(answer.json["error"], f"Missing required rights: {right}")
                if case == "other client":
                    self.assertEqual(answer.json["error"], "The API key is scoped to client 'two', not 'app'.")
                if case in ("unknown", "wrong secret"):
                    self.assertEqual(answer.json["error"], "The provided API key is not valid.")


class Timing(KeyLab):
    def took(self, connection, key):
        """Nanoseconds of one refusal, over a connection that is there."""
        type(self).addresses += 1
        headers = {"x-real-ip": f"10.9.{self.addresses >> 8 & 255}.{self.addresses & 255}", "x-athena-key": str(key), "x-athena-client": "app",
                   "content-type": "application/json"}
        began = time.perf_counter_ns()
        connection.request("POST", "/gateway/fetch", b'{"table_name":"place"}', headers)
        answer = connection.getresponse()
        body = answer.read()
        took = time.perf_counter_ns() - began
        self.assertEqual((answer.status, json.loads(body)["error"]), (401, "The provided API key is not valid."), body)
        return took

    def compare(self, what, pairs):
        """Pairs of keys that are refused, in turns and in both orders: neither kind stands out."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        one, two = [], []
        for i, (a, b) in enumerate(pairs):
            for key, to in ((a, one), (b, two))[::1 if i % 2 else -1]:
                to.append(self.took(connection, key))
        connection.close()
        ratio = statistics.median(one) / statistics.median(two)
        print(f"\n{what}: {statistics.median(one) / 1000:.0f} us, {statistics.median(two) / 1000:.0f} us, ratio {ratio:.2f}")
        self.assertTrue(0.5 < ratio < 2, f"{what}: {ratio}")

    @staticmethod
    def unknown():
        return Key(secrets.token_hex(8), secrets.token_hex(32))

    def test_D_34_unknown_and_wrong_keys_take_alike(self):
        """The same words, and the same class of time, whether an id was tried before or not."""
        n = 100
        key, nobody = self.key("place.read"), self.unknown()
        self.assertEqual(self.call("POST", "/gateway/fetch", PLACE, key, "app").status, 200)
        self.compare("tried before", [(nobody, Key(key.public_id, secrets.token_hex(32))) for _ in range(n)])
        self.compare("tried for the first time", self.first(self.store.add_many(n, "unused")))
        used = self.store.add_many(n, "used", ["place.read"])
        for k in used:
            wait_for("it is used", 20, lambda: self.call("POST", "/gateway/fetch", PLACE, k, "app").status == 200)
        self.compare("tried for the first time, keys in use", self.first(used))

    def first(self, keys):
        return [(self.unknown(), Key(k.public_id, secrets.token_hex(32))) for k in keys]


if __name__ == "__main__":
    unittest.main(verbosity=2)
