#!/usr/bin/env python3
"""Addresses of callers: whom the rows and the sums name, from where a key may be used, how virgin keys learn it, and the brake
against guessing; by what trusted proxies say alone."""
import concurrent.futures
import hashlib
import os
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab, executable, wait_for  # noqa: E402

HEADERS = {"x-athena-key": ADMIN_KEY, "content-type": "application/json", "x-athena-client": "app"}
FETCH = {"table_name": "item", "columns": ["id"], "conditions": [{"eq_column": "id", "eq_value": 1}]}
SUMS = ("select a.ipv4_address, s.total_requests, s.successful_requests, s.failed_requests, s.total_cached_requests"
        " from ip_addresses a join ip_addresses_statistics s on s.ip_address_id = a.id order by 1")


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres()
        cls.pg.run("create database app")
        cls.pg.run("create table item (id int primary key); insert into item values (1)", "app")

    def server(self, gateway=""):
        self.pg.run("drop database if exists control with (force)")
        self.pg.run("create database control")
        config = ("plugins: [routes-meta, routes-gateway, routes-admin-clients, sink-postgres, sink-stdout]\nurls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\ngateway:\n"
                  f"- enforce_api_keys: true\n- logging_client: control\n{gateway}sink-postgres:\n  flush_ms: 50ms\npostgres_clients:\n"
                  f"- app: \"{self.pg.uri('app')}\"\n- control: \"{self.pg.uri('control')}\"\n")
        s = self.lab.athena({}, config=config)
        self.addCleanup(s.stop)
        wait_for("the tables of the control plane", 60, lambda: self.sql(
            "select count(*) from unnest(array['ip_addresses_statistics', 'api_key_auth_log', 'idx_api_key_ip_global_blacklist_everyone']) t"
            " where to_regclass(t) is not null") == "3")
        return s

    def sql(self, text):
        return self.pg.run(text, "control").strip()

    def ask(self, s, headers, body=FETCH):
        return s.request("POST", "/gateway/fetch", body, {**HEADERS, **headers}).status

    def sums(self, expected):
        wait_for(f"sums {expected}", 20, lambda: self.sql(SUMS).split("\n") == expected)


class AddressTest(Case):
    def test_sums_of_addresses_know_how_it_ended_D_40(self):
        """D-40: what was answered, after it was answered; cached means that it was; one address is one row however it is written."""
        s = self.server()
        self.assertEqual(self.ask(s, {"x-real-ip": "203.0.113.9"}), 200)
        self.assertEqual(self.ask(s, {"x-real-ip": "203.0.113.9"}), 200)  # from the cache
        self.assertGreaterEqual(self.ask(s, {"x-real-ip": "203.0.113.9"}, {"table_name": "nothing"}), 400)
        self.assertEqual(self.ask(s, {"x-real-ip": "::ffff:198.51.100.7", "cache-control": "no-cache"}), 200)
        self.assertEqual(self.ask(s, {"x-real-ip": "2001:DB8:0::9", "x-athena-key": "wrong"}), 401)
        self.sums(["198.51.100.7|1|1|0|0", "2001:db8::9|1|0|1|0", "203.0.113.9|3|2|1|1"])
        self.shown(s)

    def shown(self, s):
        """/admin/addresses and its command: the newest first."""
        data = s.get("/admin/addresses?limit=2", HEADERS).json["data"]
        self.assertEqual((data["limit"], data["offset"], len(data["addresses"])), (2, 0, 2))
        everything = s.get("/admin/addresses", HEADERS).json["data"]["addresses"]
        self.assertEqual(data["addresses"], everything[:2])
        self.assertEqual({a["address"]: (a["total_requests"], a["failed_requests"]) for a in everything},
                         {"198.51.100.7": (1, 0), "2001:db8::9": (1, 1), "203.0.113.9": (3, 1)})
        self.assertEqual([a["last_seen_at"] for a in everything], sorted((a["last_seen_at"] for a in everything), reverse=True))
        self.assertEqual(s.get("/admin/addresses", {}).status, 401)
        self.assertEqual(s.get("/admin/addresses?limit=some", HEADERS).status, 400)
        out = subprocess.run([executable(), "addresses", "--limit", "1", "--offset", "0", "--url", f"http://127.0.0.1:{s.port}"],
                             env={**os.environ, "ATHENA_ADMIN_KEY": ADMIN_KEY}, capture_output=True, text=True, timeout=30)
        self.assertIn(everything[0]["address"], out.stdout, out.stderr)

    def test_an_address_that_nobody_may_choose_D_8(self):
        """D-8, 21.10: from a peer that is no trusted proxy, X-Real-IP and X-Forwarded-For are what somebody says of himself."""
        s = self.server("- trusted_proxies: 192.0.2.0/24\n")
        self.assertEqual(self.ask(s, {"x-real-ip": "203.0.113.9", "x-forwarded-for": "203.0.113.10"}), 200)
        self.sums(["127.0.0.1|1|1|0|0"])

    def test_hops_in_front_are_not_believed_D_8(self):
        """D-8: X-Forwarded-For is walked from the right past trusted proxies; the flag of the logs keeps its meaning."""
        s = self.server()
        self.assertEqual(self.ask(s, {"x-forwarded-for": "6.6.6.6, 203.0.113.9, 10.0.0.2"}), 200)
        self.sums(["203.0.113.9|1|1|0|0"])
        s.stop()
        s = self.server("- logging_trust_x_forwarded_for: false\n")
        self.assertEqual(self.ask(s, {"x-forwarded-for": "203.0.113.9"}), 200)
        self.sums(["127.0.0.1|1|1|0|0"])

    def test_what_is_no_network_stops_the_start(self):
        for key in ("trusted_proxies", "auth_failures_exempt"):
            with self.assertRaises(Exception) as failed:
                self.server(f"- {key}: 10.0.0.0/8, nonsense\n")
            self.assertIn(f'"nonsense" in gateway.{key} is no network', str(failed.exception))


class KeyTest(Case):
    def server(self, gateway=""):
        s = super().server(gateway)
        self.first = self.key(99)
        self.told()
        self.soon(s, self.first, "192.0.2.99", 200)  # it has read the tables
        return s

    def key(self, n, columns="", values=""):
        """A key that may do everything."""
        public, secret, salt = f"{n:016x}", f"{n:064x}", f"{n + 1:064x}"
        digest = hashlib.sha256(f"{salt}:{secret}".encode()).hexdigest()
        self.sql("insert into api_key_rights (name) values ('*') on conflict do nothing;"
                 f"insert into api_keys (id, public_id, name, key_salt, key_hash{columns}) values ({n}, '{public}', 'k', '{salt}', '{digest}'{values});"
                 f"insert into api_key_right_grants (api_key_id, right_id) select {n}, id from api_key_rights where name = '*'")
        return f"ath_{public}.{secret}"

    def told(self):
        self.sql("notify athena_auth_changed")

    def answer(self, s, key, address, **more):
        headers = {**HEADERS, "x-athena-key": key, "cache-control": "no-cache", **more}
        if address:
            headers["x-real-ip"] = address
        return s.request("POST", "/gateway/fetch", FETCH, headers)

    def allowed(self, s, key, address):
        a = self.answer(s, key, address)
        self.assertEqual(a.status, 200, a.body)

    def refused(self, s, key, address, message, error):
        a = self.answer(s, key, address)
        self.assertEqual((a.status, a.json.get("message"), a.json.get("error")), (403, message, error))

    def soon(self, s, key, address, status):
        """What changed in the tables arrives."""
        wait_for(f"{status} for {address}", 10, lambda: self.answer(s, key, address).status == status)

    def test_where_a_key_may_be_used_21_10(self):
        """21.10, D-8: lists of networks, of both families, mapped or not; what beats what; and nobody chooses his address."""
        s = self.server()
        key = self.key(1)
        self.allowed(s, key, "203.0.113.9")
        self.sql("insert into api_key_ip_whitelist (api_key_id, addr) values (1, '203.0.113.0/24'), (1, '2001:db8::/32')")
        self.told()
        self.soon(s, key, "198.51.100.7", 403)
        self.refused(s, key, "198.51.100.7", "IP not allowed", "Client IP '198.51.100.7' is not on this API key's whitelist.")
        for address in ("203.0.113.9", "::ffff:203.0.113.9", "2001:db8:1::9"):
            self.allowed(s, key, address)
        self.refused(s, key, "2001:db9::1", "IP not allowed", "Client IP '2001:db9::1' is not on this API key's whitelist.")
        self.sql("insert into api_key_ip_blacklist (api_key_id, addr) values (1, '203.0.113.9')")
        self.told()
        self.soon(s, key, "203.0.113.9", 403)
        self.refused(s, key, "203.0.113.9", "IP blocked", "Client IP '203.0.113.9' is on this API key's blacklist.")
        self.allowed(s, key, "203.0.113.8")
        self.sql("insert into api_key_ip_global_blacklist (addr) values ('203.0.113.8/31')")
        self.told()
        self.soon(s, key, "203.0.113.8", 403)
        self.refused(s, key, "203.0.113.9", "IP blocked", "Client IP '203.0.113.9' is on the global blacklist.")
        other = self.key(2)
        self.sql("insert into api_key_ip_global_whitelist (addr, client_name) values ('192.0.2.0/24', 'APP')")
        self.told()
        self.soon(s, other, "198.51.100.7", 403)
        self.refused(s, other, "198.51.100.7", "IP not allowed", "Client IP '198.51.100.7' is not on the global whitelist for this deployment.")
        self.allowed(s, other, "192.0.2.1")
        s.stop()
        s = self.restarted("- trusted_proxies: 192.0.2.0/24\n", 403)
        self.refused(s, other, "192.0.2.1", "IP not allowed", "Client IP '127.0.0.1' is not on the global whitelist for this deployment.")

    def restarted(self, gateway="", status=200, enforce="true"):
        """One more process over the same control plane."""
        config = ("plugins: [routes-meta, routes-gateway, routes-admin-clients]\nurls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\ngateway:\n"
                  f"- enforce_api_keys: {enforce}\n- logging_client: control\n{gateway}postgres_clients:\n- app: \"{self.pg.uri('app')}\"\n- control: \"{self.pg.uri('control')}\"\n")
        s = self.lab.athena({}, config=config)
        self.addCleanup(s.stop)
        self.soon(s, self.first, "192.0.2.99", status)
        return s

    def test_64_at_once_over_two_processes_21_11(self):
        """21.11: the list never has more addresses than the cap, who is on it passes and nobody else, in both processes at once."""
        servers = [self.server(), self.restarted()]
        key = self.key(1, ", virgin_mode, max_whitelist_ips", ", true, 5")
        addresses = [f"198.51.100.{i}" for i in range(64)]
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            status = list(pool.map(lambda i: self.answer(servers[i % 2], key, addresses[i]).status, range(64)))
        white = set(self.sql("select host(addr) from api_key_ip_whitelist").split("\n"))
        self.assertEqual(len(white), 5)
        self.assertEqual({a for a, one in zip(addresses, status) if one == 200}, white)
        self.assertEqual(set(status), {200, 403})
        for s in servers:
            self.refused(s, key, "203.0.113.9", "IP not allowed", "Client IP '203.0.113.9' is not on this API key's whitelist.")
            for address in white:
                self.allowed(s, key, address)

    def test_lock_in_and_reset_21_11(self):
        """21.11: by count, the request that locks in passes, the next foreign address is 403 at once; a reset begins anew."""
        s = self.server()
        key = self.key(1, ", virgin_mode, virgin_until_n_requests", ", true, 2")
        self.allowed(s, key, "203.0.113.9")
        self.allowed(s, key, "203.0.113.9")
        self.refused(s, key, "203.0.113.10", "IP not allowed", "Client IP '203.0.113.10' is not on this API key's whitelist.")
        self.sql("update api_keys set virgin_resolved = false, virgin_resolved_at = null, virgin_request_count = 0; delete from api_key_ip_seen")
        self.told()
        self.soon(s, key, "203.0.113.10", 200)
        self.assertEqual(self.sql("select virgin_request_count, virgin_resolved from api_keys where id = 1"), "1|f")

    def test_a_policy_that_cannot_be_told_refuses_21_12_D_10(self):
        """21.12, D-10: a table that is missing, a key that is resolved with no list, a column that learning needs."""
        s = self.server()
        key = self.key(1, ", virgin_mode, max_whitelist_ips", ", true, 2")
        self.allowed(s, key, "203.0.113.9")
        self.sql("alter table api_key_ip_seen drop column ipv4_address")
        self.refused(s, key, "203.0.113.10", "IP policy unavailable", "API key IP policy could not be evaluated (virgin).")
        self.sql("alter table api_key_ip_seen add column ipv4_address text; update api_keys set virgin_resolved = true")
        self.told()
        self.refused_soon(s, key, "API key IP policy could not be evaluated (key).")
        self.sql("update api_keys set virgin_mode = false")
        self.told()
        self.soon(s, key, "203.0.113.9", 200)
        self.sql("drop table api_key_ip_whitelist")
        self.told()
        self.soon(s, key, "203.0.113.9", 403)
        self.assertEqual(self.answer(s, key, "203.0.113.9").json["message"], "IP policy unavailable")

    def refused_soon(self, s, key, error):
        wait_for(error, 10, lambda: self.answer(s, key, "203.0.113.9").json.get("error") == error)

    def test_guesses_are_braked_D_22_D_30(self):
        """D-22, D-30: wrong values run out per address; right ones are not looked at either then, but for keys that work there."""
        s = self.server("- auth_failures_per_minute: 6\n- auth_failures_burst: 5\n")
        key, other = self.key(1), self.key(2)
        self.allowed(s, key, "203.0.113.9")
        for wrong in ("wrong", "ath_", "ath_0000000000000009.x", key + "0", "wrong"):
            self.assertEqual(self.answer(s, wrong, "203.0.113.9").status, 401)
        for value in ("wrong", ADMIN_KEY, other):
            a = self.answer(s, value, "203.0.113.9")
            self.assertEqual((a.status, a.json["message"]), (429, "Too Many Requests"))
            self.assertTrue(1 <= int(a.headers["retry-after"]) <= 10, a.headers)
        self.allowed(s, key, "203.0.113.9")  # a neighbour behind the same address
        self.allowed(s, other, "203.0.113.10")
        self.assertEqual(s.request("POST", "/gateway/fetch", FETCH, {**HEADERS, "x-athena-key": "", "x-real-ip": "203.0.113.9"}).status, 401)
        for _ in range(20):  # loopback is exempt
            self.assertEqual(self.answer(s, "wrong", None).status, 401)
        metrics = s.get("/metrics", {"x-athena-key": ADMIN_KEY}).body.splitlines()
        self.assertIn("athena_auth_braked_total 3", [m.removesuffix(".0") for m in metrics])
        wait_for("the line", 10, lambda: s.said().count("too many credentials from 203.0.113.9 have failed") == 1)
        self.assertNotIn("wrong", s.said())

    def test_guesses_at_the_administrators_key_are_braked_where_no_key_is_asked_for_D_30(self):
        """D-30: on open routes whoever has guessed too often is nobody, right or wrong; none is refused, and routes of administrators stay reachable."""
        self.server()
        s = self.restarted("- auth_failures_per_minute: 6\n- auth_failures_burst: 5\n", 200, "false")
        wait_for("nobody is asked", 10, lambda: s.request("POST", "/gateway/fetch", FETCH, {**HEADERS, "x-athena-key": ""}).status == 200)

        def shown(key, address):
            a = s.get("/health/cluster", {"x-athena-key": key, "x-real-ip": address})
            self.assertEqual(a.status, 200)
            return len(a.json)
        nobody, admin = shown("", "203.0.113.9"), shown(ADMIN_KEY, "203.0.113.9")
        self.assertGreater(admin, nobody, "an administrator is shown more")
        for i in range(3):
            self.assertEqual(self.answer(s, f"wrong-{i}", "203.0.113.9").status, 200)
            self.assertEqual(shown(f"wrong-{i}", "203.0.113.9"), nobody)
        self.assertEqual(shown(ADMIN_KEY, "203.0.113.9"), nobody, "it is not looked at")
        self.assertEqual(self.answer(s, ADMIN_KEY, "203.0.113.9").status, 200)
        self.assertEqual(shown(ADMIN_KEY, "203.0.113.10"), admin)
        self.assertEqual(s.get("/admin/addresses", {**HEADERS, "x-real-ip": "203.0.113.9"}).status, 200)

    def test_a_crowd_learns_in_a_database_with_another_isolation_21_11(self):
        """21.11: where transactions are repeatable read by default, who comes at the same time is counted and not refused."""
        self.server().stop()
        self.sql("alter database control set default_transaction_isolation = 'repeatable read'")
        s = self.restarted()
        key = self.key(1, ", virgin_mode, virgin_until_n_requests", ", true, 100")
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            status = list(pool.map(lambda i: self.answer(s, key, f"198.51.100.{i % 4}").status, range(36)))
        self.assertEqual(set(status), {200})
        self.assertEqual(self.sql("select virgin_request_count from api_keys where id = 1").strip(), "36")


if __name__ == "__main__":
    unittest.main(verbosity=2)
