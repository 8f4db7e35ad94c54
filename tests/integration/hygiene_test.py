#!/usr/bin/env python3
"""What was wrong with keys and switches before, and must not come back (auth.md 18); and the class of management routes (3.2)."""
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from keylab import PLACE, KeyLab  # noqa: E402
from lab import ADMIN_KEY, Lab, executable, wait_for  # noqa: E402

SECRET = "suitsbooks-admin-0123456789"


class Hygiene(KeyLab):
    def test_D_13_no_anonymous_door_to_other_services(self):
        for key in (None, ADMIN_KEY):
            self.assertEqual(self.call("POST", "/api/v2/supabase/ssl_enforcement", {}, key, "app").status, 404)

    def test_D_41_no_secret_in_the_query_opens_anything(self):
        self.assertEqual(self.call("GET", "/debug/schema?jwt_secret=debug-secret").status, 401)
        shown = self.call("GET", "/debug/schema?jwt_secret=debug-secret", key=ADMIN_KEY)
        self.assertEqual(shown.status, 200)
        for secret in (ADMIN_KEY[:8], "debug-secret"):
            self.assertNotIn(secret, shown.body)

    def test_D_47_without_a_key_nobody_learns_which_clients_there_are(self):
        known, unknown = (self.call("POST", "/gateway/fetch", PLACE, None, client) for client in ("app", "nobody"))
        self.assertEqual((known.status, known.json["error"]), (unknown.status, unknown.json["error"]))
        self.assertEqual(self.call("POST", "/gateway/fetch", PLACE, self.key("*.read"), "nobody").status, 400)


class Switches(unittest.TestCase):
    """Starts with one switch each."""

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.uri = cls.lab.postgres().uri("postgres")

    def test_D_31_a_second_fixed_secret_is_nobody(self):
        server = self.lab.athena({"app": self.uri}, env={"SUITSBOOKS_API_ADMIN_KEY": SECRET})
        answer = server.request("POST", "/gateway/fetch", PLACE, {"x-athena-client": "app", "x-athena-key": SECRET, "content-type": "application/json"})
        self.assertEqual(answer.status, 401)
        self.assertNotIn(SECRET, answer.body + server.said())
        server.stop()

    def test_D_44_words_for_yes_and_no(self):
        for word, exempt in (("yes", False), ("on", False), ("1", False), ("no", True), ("off", True), ("0", True)):
            server = self.lab.athena({"app": self.uri}, gateway="- admission_store_backend: memory\n- admission_global_requests_per_window: 1\n"
                                     f"- admission_window_secs: 60\n- admission_limit_enabled: {word}\n")
            statuses = {server.get("/").status for _ in range(3)}
            self.assertEqual(429 not in statuses, exempt, word)
            server.stop()

    def test_D_44_another_word_is_said(self):
        """Ruling 15: in a place of the published configuration the default takes its place."""
        server = self.lab.athena({"app": self.uri}, gateway="- admission_limit_enabled: perhaps\n")
        server.stop()
        said = ""
        for name in ("success", "error"):
            with open(f"{server.logs}/{name}.log") as f:
                said += f.read()
        self.assertRegex(said, r"admission_limit_enabled")


class Management(unittest.TestCase):
    """21.33: routes of management are for keys that are bound to the client, whether keys are asked for or not."""

    @classmethod
    def setUpClass(cls):
        from keyrows import KeyStore
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        folder = cls.lab.place("plugins")
        os.makedirs(folder)
        build = os.path.dirname(executable())
        for path in (f"{build}/plugins/lib/routes-meta.so", f"{build}/plugins/lib/routes-gateway.so", f"{build}/tests/fixtures/plugins/routes-managed.so"):
            os.symlink(path, f"{folder}/{os.path.basename(path)}")
        cls.pg = cls.lab.postgres()
        for name in ("app", "two", "control"):
            cls.pg.run(f"create database {name}")
        cls.store = KeyStore(cls.pg, "control")
        clients = "".join(f"- {n}: \"{cls.pg.uri(n)}\"\n" for n in ("app", "two", "control"))
        cls.server = cls.lab.athena({}, config="plugins: [routes-meta, routes-gateway, routes-managed]\nserver:\n  plugin_dir: " + folder + "\nurls: []\nhosts: []\n"
                                    "authenticator: []\napi:\n- port: 4052\ngateway:\n- enforce_api_keys: false\n- logging_client: control\npostgres_clients:\n" + clients)
        cls.store.wait()
        wait_for("the rights are there", 60, lambda: cls.store.run("select count(*) from api_key_rights") != "0")

    def managed(self, key, client="app"):
        return self.server.request("GET", "/managed", None, {"x-athena-client": client, **({"x-athena-key": str(key)} if key else {})})

    def test_21_33_keys_that_are_bound_pass_and_no_others(self):
        bound, free, other, poor = (self.store.add(n, r, client=c) for n, r, c in (
            ("bound", ["management.*"], "app"), ("free", ["management.*"], None), ("other", ["management.*"], "two"), ("poor", ["gateway.query"], "app")))
        wait_for("the bound one passes", 20, lambda: self.managed(bound).status == 200)
        for enforced in (False, True):
            self.store.enforce(enforced)
            wait_for("it is asked for", 20, lambda: (self.managed(None).status == 401) == enforced)
            self.assertEqual(self.managed(bound).json, {"managed": True})
            self.assertEqual(self.managed(ADMIN_KEY).status, 200)
            for key in (free, other):
                answer = self.managed(key)
                self.assertEqual(answer.status, 403, answer.body)
            answer = self.managed(free)
            self.assertEqual((answer.json["message"], answer.json["error"]), ("Management API requires a client-bound API key",
                                                                             "The presented API key must be bound to client 'app'."))
            self.assertEqual(self.managed(poor).status, 403)
            self.assertIn(self.managed(None).status, (401, 403))


if __name__ == "__main__":
    unittest.main(verbosity=1)
