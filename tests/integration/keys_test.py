#!/usr/bin/env python3
"""The key store over HTTP: every route of it with good and bad input, what it leaves in the tables, and what others see of it."""
import hashlib
import json
import os
import subprocess
import sys
import threading
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402

PLUGINS = ("routes-meta", "routes-gateway", "routes-query", "routes-admin-clients", "routes-admin-keys", "sink-file", "sink-postgres")
HEADERS = {"x-athena-key": ADMIN_KEY, "content-type": "application/json"}
NOBODY = "00000000-0000-4000-8000-00000000dead"
NIL = "00000000-0000-0000-0000-000000000000"
RECORD = ["client_name", "created_at", "description", "expires_at", "id", "is_active", "last_used_at", "max_whitelist_ips", "name", "public_id",
          "rights", "updated_at", "virgin_mode", "virgin_request_count", "virgin_resolved", "virgin_resolved_at", "virgin_until_n_requests"]
TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}|\.\d{6})?Z$"


shared = {}


def setUpModule():
    lab = shared["lab"] = Lab()
    pg = shared["pg"] = lab.postgres(tcp=True)
    pg.run("create database store; create database app")
    pg.run("create table items (id int, name text); insert into items values (1, 'axe')", "app")


def tearDownModule():
    shared["lab"].__exit__()


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab, cls.pg, cls.secrets = shared["lab"], shared["pg"], []
        cls.server = shared.get("server") or shared.setdefault("server", cls.start())

    @classmethod
    def start(cls, store="store", enforce="false", more="", migrated=True, auth="store", **kw):
        config = (f"plugins: [{', '.join(PLUGINS)}]\nurls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\n"
                  f"gateway:\n- enforce_api_keys: {enforce}\n- logging_client: {auth}\n{more}postgres_clients:\n"
                  f"- store: \"{cls.pg.uri(store)}\"\n- app: \"{cls.pg.uri('app')}\"\n")
        server = cls.lab.athena({}, config=config, **kw)
        if migrated:
            wait_for("the tables are made", 30, lambda: server.get("/admin/api-key-config", HEADERS).status == 200)
            wait_for("the rights are seeded", 30, lambda: cls.sql("select count(*) from api_key_rights where name = '*'", store) == "1")
        return server

    @classmethod
    def sql(cls, text, database="store"):
        return cls.pg.run(text, database).strip()

    def do(self, method, path, body=None, status=200, server=None, headers=HEADERS):
        a = (server or self.server).request(method, path, body, headers)
        self.assertEqual(a.status, status, a.body)
        for secret in self.secrets:
            self.assertNotIn(secret, a.body)
        return a.json

    def refused(self, method, path, body, status, message, error, **kw):
        said = self.do(method, path, body, status, **kw)
        self.assertEqual((said["message"], said["error"]), (message, error))
        return said

    def data(self, method, path, body=None, status=200, message=None, **kw):
        """The data of an answer whose envelope is in order."""
        said = self.do(method, path, body, status, **kw)
        self.assertEqual(list(said), ["status", "message", "data"])
        self.assertEqual(said["status"], "success")
        if message:
            self.assertEqual(said["message"], message)
        self.assertEqual(list(said["data"]), sorted(said["data"]))
        return said["data"]

    def key(self, name="k", status=201, server=None, **more):
        """A new key: its record, and its value in `value`."""
        data = self.data("POST", "/admin/api-keys", {"name": name, **more}, status, "Created API key", server=server)
        self.assertEqual(list(data), ["api_key", "record"])
        record = data["record"]
        self.assertEqual(list(record), RECORD)
        self.secrets.append(data["api_key"].split(".")[1])
        return {**record, "value": data["api_key"]}

    def record(self, key, server=None):
        return self.data("GET", f"/admin/api-keys/{key['id']}", message="Loaded API key", server=server)["record"]

    def patch(self, key, body):
        return self.data("PATCH", f"/admin/api-keys/{key['id']}", body, message="Updated API key")["record"]

    def policy(self, key):
        return self.data("GET", f"/admin/api-keys/{key['id']}/ip-policy", message="IP policy")["policy"]

    def addresses(self, rules):
        return [r["addr"] for r in rules]


class Keys(Case):
    def test_21_2_a_key_is_made_of_random_digits_and_stored_as_a_digest(self):
        key = self.key("reporting", client_name="app", rights=["gateway.read"], description="d", expires_at="2999-01-01T00:00:00Z")
        self.assertRegex(key["value"], r"^ath_[0-9a-f]{16}\.[0-9a-f]{64}$")
        public_id, secret = key["value"][4:].split(".")
        self.assertEqual(key["public_id"], public_id)
        salt, digest = self.sql(f"select key_salt || '|' || key_hash from api_keys where public_id = '{public_id}'").split("|")
        self.assertRegex(salt, r"^[0-9a-f]{64}$")
        self.assertEqual(digest, hashlib.sha256(f"{salt}:{secret}".encode()).hexdigest())
        self.assertNotEqual(key["value"], self.key("reporting")["value"])

    def test_what_a_new_key_looks_like(self):
        key = self.key("full", client_name=" app ", rights=["gateway.write", "gateway.read"], description="d", expires_at="2999-01-01T02:00:00.5+02:00")
        self.assertRegex(key["created_at"], TIME)
        for name, value in {"name": "full", "client_name": "app", "description": "d", "expires_at": "2999-01-01T00:00:00.500Z", "is_active": True,
                            "last_used_at": None, "rights": ["gateway.read", "gateway.write"], "virgin_mode": False, "virgin_resolved": False,
                            "virgin_resolved_at": None, "virgin_until_n_requests": 0, "virgin_request_count": 0, "max_whitelist_ips": 0,
                            "updated_at": key["created_at"]}.items():
            self.assertEqual(key[name], value, name)
        bare = self.key("", virgin_until_n_requests=-5, max_whitelist_ips=-1, unknown="ignored")
        self.assertEqual((bare["name"], bare["description"], bare["client_name"], bare["rights"], bare["virgin_until_n_requests"],
                          bare["max_whitelist_ips"]), ("", None, None, [], 0, 0))

    def test_the_list_is_newest_first(self):
        first, second = self.key("first"), self.key("second")
        listed = self.data("GET", "/admin/api-keys", message="Listed API keys")["api_keys"]
        ids = [k["id"] for k in listed]
        self.assertEqual(ids[:2], [second["id"], first["id"]])
        self.assertEqual(listed[0], {k: v for k, v in second.items() if k != "value"})
        self.assertEqual(self.record(first)["id"], first["id"])

    def test_bad_input_is_refused_in_the_published_order(self):
        name, when = {"name": "x"}, {"expires_at": "yesterday"}
        learns = {"virgin_mode": True, "ip_whitelist": ["bad"]}
        address, endless, right = {"ip_blacklist": ["10.0.0.1", "300.1.1.1"]}, {"virgin_mode": True}, {"rights": ["gateway.raed"]}
        timestamp = ("Invalid timestamp", "'expires_at' must be an RFC3339 timestamp.")
        full = ("Invalid virgin configuration", "A virgin key must start with empty IP whitelist and blacklist; learning fills them automatically.")
        for body, said in (({**name, **when, **learns, **right}, timestamp), ({**name, **learns, **right}, full),
                           ({**name, **address, **right}, ("Invalid IP address or CIDR", "'300.1.1.1' is not a valid IP address or CIDR block.")),
                           ({**name, **endless, **right}, ("Invalid virgin configuration",
                                                           "Set at least one of max_whitelist_ips or virgin_until_n_requests to a positive value.")),
                           ({**name, **right}, ("Unknown API key rights", "These rights do not exist: gateway.raed"))):
            self.refused("POST", "/admin/api-keys", body, 400, *said)
        for text in ("2027-01-01", "2027-02-29T00:00:00Z", "2027-01-01T00:00:00", "2027-01-01T25:00:00Z", "2027-01-01T00:00:00+0200", "now",
                     "infinity", "2027-13-01T00:00:00Z", "2027-01-01T00:00:00.Z", ""):
            self.refused("POST", "/admin/api-keys", {"name": "x", "expires_at": text}, 400, *timestamp)
        for body in (b"{", b"[]", b"", {}, {"name": None}, {"name": 1}, {"name": "x", "rights": "a"}, {"name": "x", "rights": [1]},
                     {"name": "x", "ip_whitelist": "10.0.0.1"}, {"name": "x", "virgin_mode": "yes"}, {"name": "x", "max_whitelist_ips": 1.5},
                     {"name": "x", "max_whitelist_ips": 2 ** 31}, {"name": "a\0b"}, {"name": "x", "description": 5}):
            said = self.do("POST", "/admin/api-keys", body, 400)
            self.assertEqual(said["code"], "malformed_json_payload", body)
        said = self.do("POST", "/admin/api-keys", {"name": "x", "rights": [f"r{i}.read" for i in range(4097)]}, 400)
        self.assertEqual(said["error"], "a key has at most 4096 rights, not 4097")
        self.refused("POST", "/admin/api-keys", {"name": "x", "client_name": " "}, 400, "Invalid client name", "The client name must not be empty.")
        self.assertEqual(self.sql("select count(*) from api_keys where name = 'x'"), "0")

    def test_21_9_unknown_rights_are_named_and_nothing_is_made(self):
        self.refused("POST", "/admin/api-keys", {"name": "x9", "rights": ["gateway.read", "nope", "orders.raed", "nope", " ", "management.all"]},
                     400, "Unknown API key rights", "These rights do not exist: nope, orders.raed,  , management.all")
        self.assertEqual(self.sql("select count(*) from api_keys where name = 'x9'"), "0")
        key = self.key("p9", rights=["gateway.read"])
        self.refused("PATCH", f"/admin/api-keys/{key['id']}", {"name": "changed", "rights": ["nope"]}, 400, "Unknown API key rights",
                     "These rights do not exist: nope")
        self.assertEqual((self.record(key)["name"], self.record(key)["rights"]), ("p9", ["gateway.read"]))

    def test_D_43_a_right_to_a_table_need_not_be_declared(self):
        key = self.key("tables", rights=["d43.read", "sales.d43.*", "d43.read"])
        self.assertEqual(key["rights"], ["d43.read", "sales.d43.*"])
        self.assertEqual(self.patch(key, {"rights": ["d43_other.delete"]})["rights"], ["d43_other.delete"])
        self.assertEqual(self.sql("select count(*) from api_key_rights where name in ('d43.read', 'sales.d43.*', 'd43_other.delete')"), "3")
        for name in ("9x.read", "a b.read", "a.b.c.read", "gateway.x.read", "billing.read_all", ".read", "a.", "read"):
            self.do("POST", "/admin/api-keys", {"name": "x", "rights": [name]}, 400)

    def test_D_43_all_rights_that_routes_ask_for_are_seeded(self):
        names = {r["name"] for r in self.data("GET", "/admin/api-key-rights")["rights"]}
        native = [r["key"] for r in self.data("GET", "/admin/rights/catalog")["nativeRights"] if "{" not in r["key"]]
        self.assertLessEqual({*native, "gateway.access", "management.extensions.write", "management.provision.write", "management.*"}, names)

    def test_D_43_can_be_switched_off(self):
        server = self.start(more="", env={"ATHENA_ROUTES_ADMIN_KEYS_MAKE_RIGHTS": "false"})
        self.refused("POST", "/admin/api-keys", {"name": "x", "rights": ["nobody_declared.read"]}, 400, "Unknown API key rights",
                     "These rights do not exist: nobody_declared.read", server=server)
        server.stop()

    def test_ids_that_are_none_and_keys_that_are_not_there(self):
        routes = [("GET", "", None), ("PATCH", "", {"name": "n"}), ("DELETE", "", None), ("POST", "/rotate", {}), ("GET", "/ip-policy", None),
                  ("POST", "/ip-whitelist", {"addrs": ["10.0.0.1"]}), ("DELETE", "/ip-whitelist", {"addrs": ["10.0.0.1"]}),
                  ("POST", "/ip-blacklist", {"addrs": ["10.0.0.1"]}), ("DELETE", "/ip-blacklist", {"addrs": ["10.0.0.1"]}),
                  ("GET", "/ip-seen", None), ("POST", "/virgin/promote", None), ("POST", "/virgin/reset", None)]
        for method, more, body in routes:
            for bad in ("x", NOBODY + "0", NOBODY[:-1], NOBODY.replace("-", ":"), "0" * 32 + "-"):
                self.refused(method, f"/admin/api-keys/{bad}{more}", body, 400, "Invalid API key id", "The API key id must be a UUID.")
            self.refused(method, f"/admin/api-keys/{NOBODY.upper()}{more}", body, 404, "API key not found", f"No API key exists for '{NOBODY}'.")
            a = self.server.request(method, f"/admin/api-keys/{NOBODY}{more}", body, {"content-type": "application/json"})
            self.assertEqual((a.status, a.json["error"]), (401, "Invalid or missing API key. Use X-Athena-Key."))
        key = self.key("undashed")
        self.assertEqual(self.data("GET", f"/admin/api-keys/{key['id'].replace('-', '')}")["record"]["id"], key["id"])

    def test_a_deleted_key_is_gone_with_all_that_hangs_on_it(self):
        key = self.key("gone", rights=["gateway.read"], ip_whitelist=["10.0.0.1"], ip_blacklist=["10.0.0.2"])
        self.assertEqual(self.data("DELETE", f"/admin/api-keys/{key['id']}", message="Deleted API key"), {"id": key["id"]})
        self.refused("DELETE", f"/admin/api-keys/{key['id']}", None, 404, "API key not found", f"No API key exists for '{key['id']}'.")
        left = " + ".join(f"(select count(*) from {t} where api_key_id not in (select id from api_keys))"
                          for t in ("api_key_right_grants", "api_key_ip_whitelist", "api_key_ip_blacklist"))
        self.assertEqual(self.sql(f"select {left}"), "0")

    def test_D_29_a_public_id_that_is_taken_is_drawn_again(self):
        first = self.key("first of its id")
        self.sql("""
create sequence taken;
create function take() returns trigger language plpgsql as
  $$ begin if new.name = 'collides' and nextval('taken') <= 2 then new.public_id := '%s'; end if; return new; end $$;
create trigger take before insert on api_keys for each row execute function take();""" % first["public_id"])
        try:
            key = self.key("collides", rights=["gateway.read"])
            self.assertNotEqual(key["public_id"], first["public_id"])
            self.assertEqual(self.sql("select last_value from taken"), "3")
            self.sql("alter sequence taken restart with 1; alter sequence taken minvalue -100 restart with -50")
            said = self.do("POST", "/admin/api-keys", {"name": "collides"}, 409)
            self.assertEqual((said["message"], said["error"]), ("Failed to create API key",
                             'duplicate key value violates unique constraint "api_keys_public_id_key"'))
        finally:
            self.sql("drop trigger take on api_keys; drop function take; drop sequence taken")

    def test_a_client_that_nobody_knows_is_warned_of_D_45(self):
        self.key("typo", client_name="ap")
        wait_for("the warning", 5, lambda: "names a client that is not known here" in self.logs())

    def logs(self):
        text = self.server.said()
        for name in os.listdir(self.server.logs):
            with open(f"{self.server.logs}/{name}", errors="replace") as f:
                text += f.read()
        return text


class Patching(Case):
    def test_D_28_null_clears_and_what_is_absent_stays(self):
        key = self.key("p", description="d", client_name="app", expires_at="2999-01-01T00:00:00Z", rights=["gateway.read"])
        now = self.patch(key, {"description": None})
        self.assertEqual((now["description"], now["client_name"], now["expires_at"], now["rights"]),
                         (None, "app", "2999-01-01T00:00:00Z", ["gateway.read"]))
        now = self.patch(key, {"client_name": None, "expires_at": None, "name": None, "is_active": None, "rights": None, "virgin_mode": None})
        self.assertEqual((now["client_name"], now["expires_at"], now["name"], now["is_active"], now["rights"]), (None, None, "p", True, ["gateway.read"]))
        self.assertGreater(now["updated_at"], key["updated_at"])
        untouched = self.patch(key, {})
        self.assertEqual(untouched["updated_at"], now["updated_at"])

    def test_all_members(self):
        key = self.key("p")
        now = self.patch(key, {"name": "q", "description": "e", "client_name": "app", "expires_at": "2998-01-01T00:00:00Z", "is_active": False,
                               "rights": ["gateway.write", "gateway.query"]})
        self.assertEqual((now["name"], now["description"], now["client_name"], now["expires_at"], now["is_active"], now["rights"]),
                         ("q", "e", "app", "2998-01-01T00:00:00Z", False, ["gateway.query", "gateway.write"]))
        self.assertEqual(self.patch(key, {"rights": []})["rights"], [])
        self.assertEqual(self.record(key), self.patch(key, {}))

    def test_D_28_learning_can_be_set_and_must_end(self):
        key = self.key("p")
        path = f"/admin/api-keys/{key['id']}"
        endless = ("Invalid virgin configuration", "Set at least one of max_whitelist_ips or virgin_until_n_requests to a positive value.")
        self.refused("PATCH", path, {"virgin_mode": True, "name": "no", "rights": ["gateway.read"]}, 400, *endless)
        self.assertEqual((self.record(key)["name"], self.record(key)["rights"]), ("p", []))
        now = self.patch(key, {"virgin_mode": True, "max_whitelist_ips": 3})
        self.assertEqual((now["virgin_mode"], now["max_whitelist_ips"], now["virgin_until_n_requests"]), (True, 3, 0))
        self.refused("PATCH", path, {"max_whitelist_ips": 0}, 400, *endless)
        now = self.patch(key, {"max_whitelist_ips": 0, "virgin_until_n_requests": 7})
        self.assertEqual((now["max_whitelist_ips"], now["virgin_until_n_requests"]), (0, 7))
        self.assertFalse(self.patch(key, {"virgin_mode": False, "virgin_until_n_requests": -1})["virgin_mode"])

    def test_bad_input(self):
        path = f"/admin/api-keys/{self.key('p')['id']}"
        self.refused("PATCH", path, {"expires_at": "soon"}, 400, "Invalid timestamp", "'expires_at' must be an RFC3339 timestamp.")
        self.refused("PATCH", path, {"client_name": ""}, 400, "Invalid client name", "The client name must not be empty.")
        for body in (b"{", b"", {"name": 1}, {"is_active": "no"}, {"rights": "x"}, {"max_whitelist_ips": "1"}):
            self.assertEqual(self.do("PATCH", path, body, 400)["code"], "malformed_json_payload")

    def test_21_29_concurrent_patches_of_different_members_both_survive(self):
        key = self.key("p", rights=["gateway.read"])
        members = ({"name": "n%d"}, {"description": "d%d"}, {"expires_at": "2%03d-01-01T00:00:00Z"}, {"rights": ["r%d.read"]})
        failed = []

        def change(member):
            (name, form), = member.items()
            for i in range(100, 112):
                value = [form[0] % i] if isinstance(form, list) else form % i
                a = self.server.request("PATCH", f"/admin/api-keys/{key['id']}", {name: value}, HEADERS)
                if a.status != 200:
                    failed.append(a.body)
        threads = [threading.Thread(target=change, args=(m,)) for m in members]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failed, [])
        now = self.record(key)
        self.assertEqual((now["name"], now["description"], now["expires_at"], now["rights"]), ("n111", "d111", "2111-01-01T00:00:00Z", ["r111.read"]))

    def test_concurrent_sets_of_rights_do_not_mix(self):
        key = self.key("p")
        sets = [[f"mix{i}.read", f"mix{i}.write"] for i in range(4)]

        def change(rights):
            for _ in range(8):
                self.server.request("PATCH", f"/admin/api-keys/{key['id']}", {"rights": rights}, HEADERS)
        threads = [threading.Thread(target=change, args=(s,)) for s in sets]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertIn(self.record(key)["rights"], sets)


class Rotation(Case):
    def rotate(self, key, body=None, status=201):
        data = self.data("POST", f"/admin/api-keys/{key['id']}/rotate", body, status, "Rotated API key")
        self.assertEqual(list(data), ["api_key", "previous", "record"])
        self.secrets.append(data["api_key"].split(".")[1])
        return data

    def left(self, key):
        return float(self.sql(f"select extract(epoch from expires_at - now()) from api_keys where public_id = '{key['public_id']}'"))

    def test_the_new_key_may_do_what_the_old_one_may(self):
        key = self.key("r", description="d", client_name="app", rights=["gateway.read", "items.write"], ip_whitelist=["10.0.0.0/8"],
                       ip_blacklist=["10.9.0.0/16"], max_whitelist_ips=5, expires_at="2999-01-01T00:00:00Z")
        self.sql(f"insert into api_key_ip_seen (api_key_id, addr) select id, '10.1.1.1' from api_keys where api_keys_id = '{key['id']}'")
        data = self.rotate(key, {"overlap_secs": 600})
        new = data["record"]
        self.assertRegex(data["api_key"], r"^ath_[0-9a-f]{16}\.[0-9a-f]{64}$")
        self.assertNotEqual(new["public_id"], key["public_id"])
        for name in ("name", "description", "client_name", "rights", "max_whitelist_ips", "expires_at"):
            self.assertEqual(new[name], key[name], name)
        policy = self.policy(new)
        self.assertEqual((self.addresses(policy["whitelist"]), self.addresses(policy["blacklist"])), (["10.0.0.0/8"], ["10.9.0.0/16"]))
        self.assertEqual(len(self.data("GET", f"/admin/api-keys/{new['id']}/ip-seen")["records"]), 1)
        self.assertEqual(data["previous"]["id"], key["id"])
        self.assertTrue(data["previous"]["is_active"])
        self.assertTrue(500 < self.left(key) <= 600)

    def test_how_long_both_hold(self):
        self.assertTrue(86000 < self.left({"public_id": self.rotate(self.key("day"))["previous"]["public_id"]}) <= 86400)
        self.assertLessEqual(self.left(self.rotate(self.key("now"), {"overlap_secs": 0})["previous"]), 0)
        short = self.key("short", expires_at="2999-01-01T00:00:00Z")
        self.patch(short, {"expires_at": self.sql("select to_char(now() at time zone 'UTC' + interval '60 s', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")})
        self.assertLess(self.left(self.rotate(short, {"overlap_secs": 3600})["previous"]), 61)
        for overlap in (-1, 1.5, "1", 366 * 86400 + 1):
            self.do("POST", f"/admin/api-keys/{short['id']}/rotate", {"overlap_secs": overlap}, 400)

    def test_only_a_key_in_use_is_rotated(self):
        off, over = self.key("off"), self.key("over", expires_at="2020-01-01T00:00:00Z")
        self.patch(off, {"is_active": False})
        before = self.sql("select count(*) from api_keys")
        for key in (off, over):
            self.refused("POST", f"/admin/api-keys/{key['id']}/rotate", None, 409, "API key is not in use",
                         f"API key '{key['id']}' is disabled or has expired; create another one.")
        self.assertEqual(self.sql("select count(*) from api_keys"), before)
        self.assertEqual(self.record(over)["expires_at"], "2020-01-01T00:00:00Z")


class Effect(Case):
    """What a change does to the requests that come after it."""
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other = cls.start()
        for on in (False, True):  # whatever it was, it changes
            cls.server.request("PUT", "/admin/api-key-config", {"enforce_api_keys": on}, HEADERS)

    @classmethod
    def tearDownClass(cls):
        cls.server.request("PUT", "/admin/api-key-config", {"enforce_api_keys": False}, HEADERS)
        cls.other.stop()

    def fetch(self, value, server=None, client="app", table="items"):
        """The status of a request with this key, and what it says."""
        a = (server or self.server).request("POST", "/gateway/fetch", {"table_name": table}, {
            "content-type": "application/json", "x-athena-client": client, "cache-control": "no-cache", **({"x-athena-key": value} if value else {})})
        return (a.status, a.json["message"]) if a.status != 200 else 200

    def elsewhere(self, what, value, expected):
        wait_for(f"{what}: the other process", 1, lambda: self.fetch(value, self.other) == expected)

    def test_21_3_a_row_as_the_published_server_writes_it(self):
        salt, secret = "5a" * 32, "1f" * 32
        digest = hashlib.sha256(f"{salt}:{secret}".encode()).hexdigest()
        self.sql(f"insert into api_keys (public_id, name, key_salt, key_hash) values ('00112233445566aa', 'theirs', '{salt}', '{digest}');"
                 "insert into api_key_right_grants (api_key_id, right_id) select k.id, r.id from api_keys k, api_key_rights r "
                 "where k.public_id = '00112233445566aa' and r.name = 'gateway.read'")
        value = f"ath_00112233445566aa.{secret}"
        wait_for("it is known", 2, lambda: self.fetch(value) == 200)
        self.assertEqual(self.fetch(value[:-1] + "0")[0], 401)
        self.assertIn("theirs", [k["name"] for k in self.data("GET", "/admin/api-keys")["api_keys"]])

    def test_21_7_every_change_holds_for_the_next_request(self):
        key = self.key("e", rights=["items.read"])
        path, value = f"/admin/api-keys/{key['id']}", key["value"]
        self.assertEqual(self.fetch(value), 200)
        self.elsewhere("a new key", value, 200)
        no_right, inactive = (403, "Insufficient API key rights"), (401, "Inactive API key")
        for change, then, back in (({"rights": []}, no_right, {"rights": ["items.read"]}), ({"is_active": False}, inactive, {"is_active": True}),
                                   ({"expires_at": "2020-01-01T00:00:00Z"}, (401, "Expired API key"), {"expires_at": None}),
                                   ({"client_name": "store"}, (403, "API key client mismatch"), {"client_name": None})):
            self.patch(key, change)
            self.assertEqual(self.fetch(value), then)
            self.elsewhere(change, value, then)
            self.patch(key, back)
            self.assertEqual(self.fetch(value), 200)
            self.elsewhere(back, value, 200)
        for method, expected in (("POST", (403, "IP blocked")), ("DELETE", 200)):
            self.data(method, f"{path}/ip-blacklist", {"addrs": ["127.0.0.0/8"]})
            self.assertEqual(self.fetch(value), expected)
            self.elsewhere(f"{method} blacklist", value, expected)
        self.data("POST", "/admin/ip-global-blacklist", {"addr": "127.0.0.1"}, 201)
        self.assertEqual(self.fetch(value), (403, "IP blocked"))
        self.data("DELETE", "/admin/ip-global-blacklist?addr=127.0.0.1")
        self.assertEqual(self.fetch(value), 200)
        self.data("DELETE", path)
        self.assertEqual(self.fetch(value)[0], 401)
        self.elsewhere("a deleted key", value, (401, "Invalid API key"))

    def test_21_7_switches_hold_for_the_next_request(self):
        asked = (401, "API key required")
        for on in (False, True):
            self.data("PUT", "/admin/api-key-config", {"enforce_api_keys": on})
            self.assertEqual(self.fetch(None), asked if on else 200)
            self.elsewhere(on, None, asked if on else 200)
        for method, body, expected in (("PUT", {"enforce_api_keys": False}, 200), ("PUT", {"enforce_api_keys": True}, asked),
                                       ("PUT", {"enforce_api_keys": False}, 200), ("DELETE", None, asked)):
            self.data(method, "/admin/api-key-clients/APP", body)
            self.assertEqual(self.fetch(None), expected)
            self.elsewhere((method, body), None, expected)

    def test_a_right_that_is_renamed_or_removed_is_one_no_more(self):
        right = self.data("POST", "/admin/api-key-rights", {"name": "items.*"}, 201)["right"]
        key = self.key("e", rights=["items.*"])
        self.assertEqual(self.fetch(key["value"]), 200)
        self.data("PATCH", f"/admin/api-key-rights/{right['id']}", {"name": "others.*"})
        self.assertEqual(self.fetch(key["value"])[0], 403)
        self.data("PATCH", f"/admin/api-key-rights/{right['id']}", {"name": "items.*"})
        self.assertEqual(self.fetch(key["value"]), 200)
        self.data("DELETE", f"/admin/api-key-rights/{right['id']}")
        self.assertEqual(self.fetch(key["value"])[0], 403)

    def test_both_keys_of_a_rotation_hold_until_the_overlap_is_over(self):
        key = self.key("e", rights=["items.read"])
        path = f"/admin/api-keys/{key['id']}/rotate"
        new = self.data("POST", path, {"overlap_secs": 3600}, 201)
        self.assertEqual([self.fetch(key["value"]), self.fetch(new["api_key"])], [200, 200])
        last = self.data("POST", path, {"overlap_secs": 1}, 201)
        wait_for("the old one ends", 3, lambda: self.fetch(key["value"]) == (401, "Expired API key"))
        self.assertEqual([self.fetch(new["api_key"]), self.fetch(last["api_key"])], [200, 200])

    def test_learned_addresses_are_those_that_hold(self):
        key = self.key("e", rights=["items.read"], virgin_mode=True, virgin_until_n_requests=50)
        path = f"/admin/api-keys/{key['id']}"
        self.assertEqual(self.fetch(key["value"]), 200)
        wait_for("it is seen", 3, lambda: [r["addr"] for r in self.data("GET", f"{path}/ip-seen")["records"]] == ["127.0.0.1/32"])
        self.assertEqual(self.data("POST", f"{path}/virgin/promote")["promoted"], 1)
        self.assertEqual(self.fetch(key["value"]), 200)
        self.data("POST", f"{path}/ip-whitelist", {"addrs": ["10.0.0.0/8"]})
        self.data("DELETE", f"{path}/ip-whitelist", {"addrs": ["127.0.0.1"]})
        self.assertEqual(self.fetch(key["value"]), (403, "IP not allowed"))
        self.data("POST", f"{path}/virgin/reset")
        self.assertEqual(self.fetch(key["value"]), 200)


class Addresses(Case):
    def change(self, method, key, kind, addrs, **more):
        return self.data(method, f"/admin/api-keys/{key['id']}/ip-{kind}", {"addrs": addrs, **more}, message="IP policy updated")

    def test_entries_are_networks_with_their_host_bits_zeroed(self):
        key = self.key("a")
        data = self.change("POST", key, "whitelist", [" 10.1.2.3 ", "", "10.1.2.3/16", "10.2.0.9/255.255.0.0", "2001:db8::1/32", "::1",
                                                      "::ffff:10.9.9.9", "0.0.0.0/0", "192.168.1.1/0.0.0.0"], label="office")
        self.assertEqual(data, {"action": "added", "affected": 7, "kind": "whitelist"})
        rules = self.policy(key)["whitelist"]
        self.assertEqual(list(rules[0]), ["addr", "created_at", "id", "label"])
        self.assertEqual({r["label"] for r in rules}, {"office"})
        self.assertEqual(sorted(self.addresses(rules)),
                         sorted(["10.1.2.3/32", "10.1.0.0/16", "10.2.0.0/16", "2001:db8::/32", "::1/128", "10.9.9.9/32", "0.0.0.0/0"]))
        for bad in ("10.1.2", "10.1.2.3/33", "10.1.2.3/255.0.255.0", "::1/129", "host", "10.1.2.3/", "10.1.2.3/x", "10.0.0.0/8/8", "fe80::1%eth0"):
            self.refused("POST", f"/admin/api-keys/{key['id']}/ip-whitelist", {"addrs": ["10.5.5.5", bad]}, 400, "Invalid IP address or CIDR",
                         f"'{bad}' is not a valid IP address or CIDR block.")
        self.assertEqual(len(self.policy(key)["whitelist"]), 7)

    def test_what_is_there_already_is_not_counted(self):
        key = self.key("a")
        for kind in ("whitelist", "blacklist"):
            self.assertEqual(self.change("POST", key, kind, ["10.0.0.1", "10.0.0.2"])["affected"], 2)
            self.assertEqual(self.change("POST", key, kind, ["10.0.0.2", "10.0.0.3"]), {"action": "added", "affected": 1, "kind": kind})
            self.assertEqual(self.change("DELETE", key, kind, ["10.0.0.1/32", "10.0.0.9"]), {"action": "removed", "affected": 1, "kind": kind})
            self.assertEqual(self.addresses(self.policy(key)[kind]), ["10.0.0.2/32", "10.0.0.3/32"])
            for addrs in ([], ["", "  "]):
                self.refused("POST", f"/admin/api-keys/{key['id']}/ip-{kind}", {"addrs": addrs}, 400, "No IP entries provided",
                             "Supply at least one IP address or CIDR.")
            for body in ({}, {"addrs": None}, {"addrs": "10.0.0.1"}, b""):
                self.assertEqual(self.do("DELETE", f"/admin/api-keys/{key['id']}/ip-{kind}", body, 400)["code"], "malformed_json_payload")

    def test_D_46_a_whitelist_holds_no_more_than_it_may(self):
        key = self.key("a", max_whitelist_ips=3, ip_whitelist=["10.0.0.1"])
        self.assertEqual(self.change("POST", key, "whitelist", ["10.0.0.1", "10.0.0.2", "10.0.0.3"])["affected"], 2)
        self.refused("POST", f"/admin/api-keys/{key['id']}/ip-whitelist", {"addrs": ["10.0.0.3", "10.0.0.4"]}, 400, "Whitelist limit reached",
                     "The whitelist of this API key holds at most 3 entries (max_whitelist_ips).")
        self.assertEqual(self.change("POST", key, "whitelist", ["10.0.0.3"])["affected"], 0)
        self.assertEqual(self.change("POST", key, "blacklist", [f"10.0.1.{i}" for i in range(9)])["affected"], 9)
        crowd = self.key("crowd", max_whitelist_ips=4)
        threads = [threading.Thread(target=self.server.request, args=("POST", f"/admin/api-keys/{crowd['id']}/ip-whitelist",
                                                                      {"addrs": [f"10.0.2.{i}"]}, HEADERS)) for i in range(12)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(len(self.policy(crowd)["whitelist"]), 4)

    def test_a_policy(self):
        key = self.key("a", ip_whitelist=["10.0.0.0/8", "10.0.0.0/8"], ip_blacklist=["10.1.1.1"], max_whitelist_ips=2)
        policy = self.policy(key)
        self.assertEqual(list(policy), ["api_key_id", "blacklist", "max_whitelist_ips", "virgin_mode", "virgin_request_count", "virgin_resolved",
                                        "virgin_resolved_at", "virgin_until_n_requests", "whitelist"])
        self.assertEqual(policy["api_key_id"], int(self.sql(f"select id from api_keys where api_keys_id = '{key['id']}'")))
        self.assertEqual([(r["addr"], r["label"]) for r in policy["whitelist"] + policy["blacklist"]],
                         [("10.0.0.0/8", "initial"), ("10.1.1.1/32", "initial")])

    def see(self, key, *addresses):
        self.sql("".join(f"insert into api_key_ip_seen (api_key_id, addr, first_seen_at, last_seen_at, hit_count) select id, '{a}', "
                         f"'2026-01-01 00:00:0{i}+00', '2026-01-02 00:00:0{i}+00', {i} from api_keys where api_keys_id = '{key['id']}';"
                         for i, a in enumerate(addresses, 1)))

    def test_seen_addresses_by_page(self):
        key = self.key("a")
        self.see(key, "10.0.0.1", "2001:db8::1", "10.0.0.3")
        path = f"/admin/api-keys/{key['id']}/ip-seen"
        records = self.data("GET", path, message="Seen IPs")["records"]
        self.assertEqual([r["addr"] for r in records], ["10.0.0.3/32", "2001:db8::1/128", "10.0.0.1/32"])
        self.assertEqual(records[0], {"addr": "10.0.0.3/32", "first_seen_at": "2026-01-01T00:00:03Z", "hit_count": 3, "id": records[0]["id"],
                                      "last_seen_at": "2026-01-02T00:00:03Z", "locked_in": False})
        for query, n in (("?limit=1", 1), ("?limit=0", 1), ("?limit=9999&offset=1", 2), ("?offset=-5", 3), ("?limit=2&offset=2", 1)):
            self.assertEqual(len(self.data("GET", path + query)["records"]), n)
        self.do("GET", path + "?limit=x", status=400)

    def test_D_10_learned_addresses_are_promoted_with_the_key_or_not_at_all(self):
        key = self.key("v", virgin_mode=True, max_whitelist_ips=2)
        path = f"/admin/api-keys/{key['id']}/virgin"
        self.refused("POST", f"{path}/promote", None, 409, "No addresses to promote",
                     f"API key '{key['id']}' has seen no address yet, and its whitelist is empty.")
        self.assertFalse(self.record(key)["virgin_resolved"])
        self.see(key, "10.0.0.1", "10.0.0.2", "10.0.0.3")
        self.assertEqual(self.data("POST", f"{path}/promote", message="Virgin key promoted"), {"promoted": 2, "virgin_resolved": True})
        policy = self.policy(key)
        self.assertEqual([(r["addr"], r["label"]) for r in policy["whitelist"]], [("10.0.0.1/32", "virgin_learned"), ("10.0.0.2/32", "virgin_learned")])
        self.assertRegex(policy["virgin_resolved_at"], TIME)
        self.assertTrue(all(r["locked_in"] for r in self.data("GET", f"/admin/api-keys/{key['id']}/ip-seen")["records"]))
        self.assertEqual(self.data("POST", f"{path}/promote"), {"promoted": 0, "virgin_resolved": True})
        self.assertEqual(self.policy(key)["virgin_resolved_at"], policy["virgin_resolved_at"])

    def test_learning_begins_again(self):
        key = self.key("v", virgin_mode=True, virgin_until_n_requests=5)
        path = f"/admin/api-keys/{key['id']}"
        self.see(key, "10.0.0.1")
        self.data("POST", f"{path}/virgin/promote")
        self.assertEqual(self.data("POST", f"{path}/virgin/reset", message="Virgin state reset"), {"clear_seen": False})
        now = self.record(key)
        self.assertEqual((now["virgin_resolved"], now["virgin_resolved_at"], now["virgin_request_count"]), (False, None, 0))
        self.assertEqual([r["locked_in"] for r in self.data("GET", f"{path}/ip-seen")["records"]], [False])
        self.assertEqual(self.addresses(self.policy(key)["whitelist"]), ["10.0.0.1/32"])
        self.assertEqual(self.data("POST", f"{path}/virgin/reset", {"clear_seen": True}), {"clear_seen": True})
        self.assertEqual(self.data("GET", f"{path}/ip-seen")["records"], [])
        self.do("POST", f"{path}/virgin/reset", {"clear_seen": "x"}, 400)


class Everybody(Case):
    """Lists for all keys, rights, the catalogue, switches."""

    def test_D_35_one_rule_per_network_and_client(self):
        for word in ("whitelist", "blacklist"):
            path, title = f"/admin/ip-global-{word}", f"Global {word}"
            first = self.data("POST", path, {"addr": "10.1.2.3/16", "label": "a"}, 201, f"{title} entry saved")["record"]
            self.assertEqual(list(first), ["addr", "client_name", "created_at", "id", "label"])
            self.assertEqual((first["addr"], first["client_name"], first["label"]), ("10.1.0.0/16", None, "a"))
            again = self.data("POST", path, {"addr": "10.1.9.9/255.255.0.0", "label": "b"}, 201)["record"]
            self.assertEqual((again["id"], again["label"]), (first["id"], "b"))
            of_app = self.data("POST", path, {"addr": "10.1.0.0/16", "client_name": "app"}, 201)["record"]
            self.assertEqual(self.data("POST", path, {"addr": "10.1.0.0/16", "client_name": " APP ", "label": "c"}, 201)["record"]["id"], of_app["id"])
            records = self.data("GET", path, message=title)["records"]
            self.assertEqual([(r["addr"], r["client_name"], r["label"]) for r in records], [("10.1.0.0/16", None, "b"), ("10.1.0.0/16", "app", "c")])
            self.assertEqual(self.data("DELETE", f"{path}?addr=10.1.77.1/16", message=f"{title} entry removed"), {"removed": True})
            self.assertEqual([r["client_name"] for r in self.data("GET", path)["records"]], ["app"])
            missing = (f"{title} entry not found", f"No matching global {word} entry exists.")
            self.refused("DELETE", f"{path}?addr=10.1.0.0/16", None, 404, *missing)
            self.refused("DELETE", f"{path}?addr=10.1.0.0/16&client_name=other", None, 404, *missing)
            self.data("DELETE", f"{path}?addr=10.1.0.0/16&client_name=App")
            for blank in ("", "  "):
                self.refused("POST", path, {"addr": blank}, 400, "Invalid address", "Supply exactly one IP or CIDR.")
            self.refused("DELETE", path, None, 400, "Invalid address", "Supply exactly one IP or CIDR.")
            for method, where, body in (("POST", path, {"addr": "x"}), ("DELETE", f"{path}?addr=x", None)):
                self.refused(method, where, body, 400, "Invalid IP address or CIDR", "'x' is not a valid IP address or CIDR block.")
            self.do("POST", path, {}, 400)
            self.do("POST", path, {"addr": 5}, 400)

    def test_D_35_in_a_table_that_let_rules_repeat(self):
        self.sql("drop index idx_api_key_ip_global_whitelist_everyone; insert into api_key_ip_global_whitelist (addr, label) values "
                 "('10.50.0.0/16', 'x'), ('10.50.0.0/16', 'y')")
        path = "/admin/ip-global-whitelist"
        self.assertEqual(self.data("POST", path, {"addr": "10.50.0.0/16", "label": "z"}, 201)["record"]["label"], "z")
        self.assertEqual(self.sql("select count(*), min(label) from api_key_ip_global_whitelist where addr = '10.50.0.0/16'"), "2|z")
        self.data("DELETE", f"{path}?addr=10.50.0.0/16")
        self.assertEqual(self.sql("select count(*) from api_key_ip_global_whitelist where addr = '10.50.0.0/16'"), "0")

    def test_rights(self):
        path = "/admin/api-key-rights"
        right = self.data("POST", path, {"name": "zoo.read", "description": "see them"}, 201, "Created API key right")["right"]
        self.assertEqual(list(right), ["created_at", "description", "id", "name", "updated_at"])
        said = self.do("POST", path, {"name": "zoo.read"}, 409)
        self.assertEqual((said["message"], said["error"]), ("Failed to create API key right",
                                                            'duplicate key value violates unique constraint "api_key_rights_name_key"'))
        key = self.key("zoo", rights=["zoo.read"])
        changed = self.data("PATCH", f"{path}/{right['id']}", {"name": "zoo.write"}, message="Updated API key right")["right"]
        self.assertEqual((changed["id"], changed["name"], changed["description"]), (right["id"], "zoo.write", None))
        self.assertEqual(self.record(key)["rights"], ["zoo.write"])
        self.assertEqual(self.do("PATCH", f"{path}/{right['id']}", {"name": "gateway.read"}, 409)["message"], "Failed to update API key right")
        names = [r["name"] for r in self.data("GET", path, message="Listed API key rights")["rights"]]
        self.assertEqual(names, sorted(names))
        self.assertEqual(self.data("DELETE", f"{path}/{right['id']}", message="Deleted API key right"), {"id": right["id"]})
        self.assertEqual(self.record(key)["rights"], [])
        for method, body in (("PATCH", {"name": "n"}), ("DELETE", None)):
            self.refused(method, f"{path}/{NOBODY}", body, 404, "API key right not found", f"No right exists for '{NOBODY}'.")
            self.refused(method, f"{path}/x", body, 400, "Invalid API key right id", "The right id must be a UUID.")
        self.do("POST", path, {}, 400)

    def test_D_45_names_of_rights_are_not_blank(self):
        for name in ("", " ", " zoo.read", "zoo.read ", "\tzoo.read", "z" * 256):
            for method, path in (("POST", "/admin/api-key-rights"), ("PATCH", f"/admin/api-key-rights/{NOBODY}")):
                self.assertEqual(self.do(method, path, {"name": name}, 400)["message"], "Invalid API key right name")

    def test_the_catalogue(self):
        data = self.data("GET", "/admin/rights/catalog", message="Listed Athena rights catalog")
        self.assertEqual(data["apiKeyRightsStatus"], "ok")
        native, dynamic = data["nativeRights"], data["dynamicApiKeyRights"]
        self.assertEqual(data["counts"], {"native": 32, "dynamicApiKeyRights": len(dynamic), "total": 32 + len(dynamic)})
        self.assertEqual([(r["source"], r["key"]) for r in native], sorted((r["source"], r["key"]) for r in native))
        self.assertEqual(sum(r["source"] == "billing" for r in native), 17)
        by_key = {r["key"]: r for r in native}
        self.assertEqual((by_key["gateway.rpc.execute"]["resource"], by_key["gateway.rpc.execute"]["action"]), ("gateway.rpc", "execute"))
        self.assertEqual((by_key["gateway.storage_proxy"]["resource"], by_key["gateway.storage_proxy"]["action"]), ("gateway.storage_proxy", "proxy"))
        self.assertEqual({r["key"] for r in native if r["isPattern"]},
                         {"*", "*.read", "*.write", "*.delete", "gateway.*", "{resource}.read", "{resource}.write", "{resource}.delete"})
        self.assertEqual({r["kind"] for r in native}, {"capability", "fallback", "template", "wildcard", "grant"})
        one = next(r for r in dynamic if r["key"] == "gateway.read")
        self.assertEqual((one["resource"], one["action"], one["source"], one["kind"], one["isPattern"]),
                         ("api_key", "assign", "api_key_store", "dynamic", False))
        self.assertEqual(data["sources"], {"billing": "/admin/billing/grants", "api_key_rights": "/admin/api-key-rights",
                                           "athena_auth_rights": "/admin/rights/catalog", "athena_auth_grants": "/admin/grant/list"})

    def test_switches(self):
        data = self.data("GET", "/admin/api-key-config", message="Loaded API key config")
        self.assertEqual((list(data), list(data["global"])), (["clients", "global"], ["enforce_api_keys", "updated_at"]))
        for on in (True, False):
            data = self.data("PUT", "/admin/api-key-config", {"enforce_api_keys": on}, message="Updated API key config")
            self.assertEqual((list(data), data["global"]["enforce_api_keys"]), (["global"], on))
            self.assertEqual(self.sql(f"select enforce_api_keys from api_key_config where api_key_config_id = '{NIL}'"), "t" if on else "f")
        for body in ({}, {"enforce_api_keys": None}, {"enforce_api_keys": "true"}, b"{"):
            self.assertEqual(self.do("PUT", "/admin/api-key-config", body, 400)["code"], "malformed_json_payload")

    def test_D_1_switches_of_clients_mean_a_client_in_any_case(self):
        path = "/admin/api-key-clients"
        one = self.data("PUT", f"{path}/App", {"enforce_api_keys": False}, message="Updated API key client config")["client"]
        self.assertEqual((list(one), one["client_name"]), (["client_name", "created_at", "enforce_api_keys", "updated_at"], "App"))
        self.sql("insert into api_key_client_config (client_name, enforce_api_keys) values ('APP', true)")
        self.assertEqual(self.data("PUT", f"{path}/app", {"enforce_api_keys": False})["client"]["enforce_api_keys"], False)
        self.assertEqual(self.sql("select bool_or(enforce_api_keys), count(*) from api_key_client_config where lower(client_name) = 'app'"), "f|2")
        self.data("PUT", f"{path}/not%20known%2Fhere", {"enforce_api_keys": True})
        clients = self.data("GET", path, message="Listed API key client config")["clients"]
        self.assertEqual([c["client_name"] for c in clients], ["APP", "App", "not known/here"])
        self.assertEqual(self.data("GET", "/admin/api-key-config")["clients"], clients)
        for name in ("app", "not%20known%2Fhere"):
            self.assertEqual(self.data("DELETE", f"{path}/{name}", message="Deleted API key client config"), {"client_name": name.replace("%20", " ").replace("%2F", "/")})
        self.refused("DELETE", f"{path}/app", None, 404, "API key client config not found", "No client config exists for 'app'.")
        for method in ("PUT", "DELETE"):
            self.refused(method, f"{path}/%20", {"enforce_api_keys": True}, 400, "Invalid client name", "The client name must not be empty.")
        self.do("PUT", f"{path}/x", {"enforce_api_keys": 1}, 400)

    def test_every_change_tells_the_other_processes(self):
        key = self.key("told")
        listen = subprocess.Popen([f"{self.pg.bin}/psql", "-X", "-h", self.pg.folder, "-p", str(self.pg.port), "-U", "postgres", "-d", "store"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        listen.stdin.write("listen athena_auth_changed;\n")
        listen.stdin.flush()
        self.assertEqual(listen.stdout.readline(), "LISTEN\n")
        path = f"/admin/api-keys/{key['id']}"
        changes = [("PATCH", path, {"name": "n"}, 200), ("POST", f"{path}/ip-whitelist", {"addrs": ["10.0.0.1"]}, 200),
                   ("POST", f"{path}/virgin/reset", None, 200), ("POST", "/admin/ip-global-blacklist", {"addr": "10.99.0.1"}, 201),
                   ("DELETE", "/admin/ip-global-blacklist?addr=10.99.0.1", None, 200), ("POST", "/admin/api-key-rights", {"name": "told.x"}, 201),
                   ("PUT", "/admin/api-key-config", {"enforce_api_keys": False}, 200),
                   ("PUT", "/admin/api-key-clients/told", {"enforce_api_keys": False}, 200), ("DELETE", "/admin/api-key-clients/told", None, 200),
                   ("DELETE", path, None, 200)]
        for change in changes:
            self.do(*change)
        try:
            out, _ = listen.communicate("select 'over';\n", timeout=20)
            self.assertGreaterEqual(out.count('"athena_auth_changed"'), len(changes), out)
        finally:
            listen.kill()


class Away(Case):
    """No key store, one that is away, one of an older form."""
    ROUTES = [("GET", "/admin/api-keys", None), ("POST", "/admin/api-keys", {"name": "x"}), ("GET", "/admin/api-key-rights", None),
              ("POST", "/admin/api-key-rights", {"name": "x"}), ("GET", "/admin/api-key-config", None), ("GET", "/admin/api-key-clients", None),
              ("PUT", "/admin/api-key-config", {"enforce_api_keys": True}), ("GET", "/admin/ip-global-whitelist", None),
              ("DELETE", f"/admin/api-keys/{NOBODY}", None), ("POST", f"/admin/api-keys/{NOBODY}/rotate", None)]

    def test_21_34_without_a_key_store_only_the_catalogue_answers(self):
        server = self.start(migrated=False, auth='""')
        for method, path, body in self.ROUTES + [("POST", "/admin/api-keys", {"name": "x", "expires_at": "bad"})]:
            self.refused(method, path, body, 503, "Auth store unavailable", "No gateway auth client is configured.", server=server)
        data = self.data("GET", "/admin/rights/catalog", server=server)
        self.assertEqual((data["apiKeyRightsStatus"], data["dynamicApiKeyRights"], data["counts"]["total"]), ("unavailable", [], 32))
        server.stop()

    def test_21_34_a_key_store_that_is_away(self):
        server = self.start(migrated=False, store="no_such_database")
        for method, path, body in self.ROUTES:
            self.refused(method, path, body, 503, "Auth store unavailable", "Gateway auth client 'store' is not connected.", server=server)
        self.assertEqual(self.data("GET", "/admin/rights/catalog", server=server)["apiKeyRightsStatus"], "unavailable")
        server.stop()

    def test_D_27_a_table_without_the_columns_of_learning(self):
        self.pg.run("create database old template template0")
        server = self.start(store="old")
        server.stop()
        self.sql("drop table api_key_ip_whitelist, api_key_ip_blacklist, api_key_ip_seen; alter table api_keys "
                 + ", ".join(f"drop {c} cascade" for c in RECORD if c.startswith("virgin_") or c == "max_whitelist_ips"), "old")
        server = self.start(store="old", migrated=False, env={"ATHENA_SCHEMA_BOOTSTRAP": "off"})
        key = self.key("plain", server=server, rights=["gateway.read"])
        self.assertEqual((key["virgin_mode"], key["virgin_resolved_at"], key["max_whitelist_ips"]), (False, None, 0))
        self.assertEqual(len(self.data("GET", "/admin/api-keys", server=server)["api_keys"]), 1)
        self.assertEqual(self.do("GET", f"/admin/api-keys/{key['id']}/ip-policy", status=500, server=server)["message"], "Failed to load IP policy")
        server.stop()

    def test_D_29_what_the_database_says_is_a_short_cause(self):
        self.sql("alter table api_key_rights rename to hidden_rights")
        try:
            said = self.do("GET", "/admin/api-key-rights", status=500)
            self.assertEqual((said["message"], said["error"]), ("Failed to list API key rights", 'relation "api_key_rights" does not exist'))
            self.assertEqual(self.data("GET", "/admin/rights/catalog")["apiKeyRightsStatus"], "query_failed")
            self.assertNotRegex(json.dumps(said), "select|order by|postgres@")
        finally:
            self.sql("alter table hidden_rights rename to api_key_rights")


class Audit(Case):
    def test_the_audit_log_says_which_key_was_made_and_what_was_switched(self):
        key = self.key("audited")
        self.data("PUT", "/admin/api-key-config", {"enforce_api_keys": False})
        self.data("POST", "/admin/ip-global-blacklist", {"addr": "10.98.7.6/16"}, 201)

        def said(text):
            return self.sql(f"select count(*) from athena_audit where changed = '{text}'") != "0"
        wait_for("rows of the audit log", 15, lambda: all(map(said, (
            f"api_key {key['public_id']}: name", "enforce_api_keys false: enforce_api_keys", "addr 10.98.0.0/16: addr"))))
        self.data("DELETE", "/admin/ip-global-blacklist?addr=10.98.0.0/16")


class Secrecy(Case):
    def test_21_2_a_secret_is_in_no_log_no_table_and_no_later_answer(self):
        server = self.start(env={"RUST_LOG": "trace"})
        keys = [self.key("s1", server=server, rights=["gateway.read"]), self.key("s2", server=server)]
        rotated = self.data("POST", f"/admin/api-keys/{keys[0]['id']}/rotate", None, 201, server=server)["api_key"]
        self.secrets.append(rotated.split(".")[1])
        for method, path, body in (("GET", "/admin/api-keys", None), ("GET", f"/admin/api-keys/{keys[0]['id']}", None),
                                   ("PATCH", f"/admin/api-keys/{keys[1]['id']}", {"name": "s3"}), ("DELETE", f"/admin/api-keys/{keys[1]['id']}", None),
                                   ("GET", "/metrics", None)):
            text = server.request(method, path, body, HEADERS).body
            for secret in self.secrets:
                self.assertNotIn(secret, text)
        for value in (keys[0]["value"], rotated, keys[0]["value"] + "0"):
            server.request("POST", "/gateway/fetch", {"table_name": "items"}, {**HEADERS, "x-athena-client": "app", "x-athena-key": value})
        self.assertEqual(server.stop(), 0)  # all that waited is written
        with open(f"{server.folder}/output", errors="replace") as f:
            text = f.read()
        for folder, _, names in os.walk(server.folder):
            for name in names:
                with open(f"{folder}/{name}", errors="replace") as f:
                    text += f.read()
        text += self.pg.program("pg_dump", "-h", self.pg.folder, "-p", str(self.pg.port), "-U", "postgres", "store")
        self.assertIn(keys[0]["public_id"], text)
        for secret in self.secrets:
            self.assertNotIn(secret, text)


class Commands(Case):
    def keys(self, *words, status=0, text=False):
        done = subprocess.run([self.server.exe, "keys", *words, *([] if text else ["--json"]), "--url", f"http://127.0.0.1:{self.server.port}"],
                              capture_output=True, text=True, cwd=self.server.folder, stdin=subprocess.DEVNULL,
                              env={**self.server.env, "ATHENA_ADMIN_KEY": ADMIN_KEY})
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout if text else done.stderr if status else json.loads(done.stdout)["data"]

    def test_a_key_from_beginning_to_end(self):
        made = self.keys("create", "cli", "--rights", "gateway.read, cli.write", "--client", "app", "--allow", "10.0.0.0/8", "--max-whitelist-ips", "4")
        record = made["record"]
        self.assertRegex(made["api_key"], r"^ath_[0-9a-f]{16}\.[0-9a-f]{64}$")
        self.assertEqual((record["rights"], record["client_name"], record["max_whitelist_ips"]), (["cli.write", "gateway.read"], "app", 4))
        for word in (record["id"], record["public_id"], f"ath_{record['public_id']}", "cli"):
            self.assertEqual(self.keys("show", word)["record"]["id"], record["id"])
        self.assertEqual(self.keys("rights", "cli")["record"]["rights"], ["cli.write", "gateway.read"])
        self.assertEqual(self.keys("rights", "cli", "gateway.write")["record"]["rights"], ["gateway.write"])
        self.assertIn("Unknown API key rights", self.keys("rights", "cli", "nope", status=1))
        rotated = self.keys("rotate", "cli", "--overlap-secs", "60")
        self.assertEqual(rotated["previous"]["id"], record["id"])
        self.assertIn('2 keys have the name "cli"', self.keys("revoke", "cli", status=1))
        self.assertFalse(self.keys("revoke", record["public_id"])["record"]["is_active"])
        self.assertEqual(self.keys("delete", record["id"]), {"id": record["id"]})
        self.assertIn("no key has the id", self.keys("show", record["id"], status=1))
        table = self.keys("list", text=True)
        self.assertIn(rotated["record"]["public_id"], table)
        self.assertNotIn(rotated["api_key"].split(".")[1], table)
        self.assertIn("ath_", self.keys("create", "shown once", text=True))

    def test_enforcement(self):
        self.assertEqual(self.keys("enforce", "on", "--client", "app")["client"]["enforce_api_keys"], True)
        self.assertEqual(self.keys("enforce")["clients"][0]["client_name"], "app")
        self.assertEqual(self.keys("enforce", "off", "--client", "app")["client"]["enforce_api_keys"], False)
        self.assertEqual(self.keys("enforce", "default", "--client", "app"), {"client_name": "app"})
        self.assertEqual(self.keys("enforce", "off")["global"]["enforce_api_keys"], False)
        self.assertIn("--client NAME", self.keys("enforce", "default", status=1))


if __name__ == "__main__":
    unittest.main()
