#!/usr/bin/env python3
"""The check of keys against the key store that this process follows: each line of the check, switches by client, changes that reach
every process, a store that is stopped or slow, last uses, sessions, and databases of the published bootstrap."""
import glob
import http.client
import json
import os
import subprocess
import sys
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from keyrows import Key, KeyStore  # noqa: E402
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402

ITEMS = "create table items (id int primary key, name text); insert into items select i, 'item ' || i from generate_series(1, 20) i;"
FETCH = {"table_name": "items", "conditions": [{"eq_column": "id", "eq_value": 1}]}
SQL = {"query": "select 1 as one", "driver": "postgresql", "db_name": "app"}
PLUGINS = "routes-meta, routes-gateway, routes-query, routes-rest, routes-public, routes-admin-clients, routes-admin-keys, sink-file, sink-postgres"
NO_KEY_IN_THE_STORE = Key("00000000deadbeef", "0" * 64)
# api_keys of the published bootstrap: nothing of learning keys, no tables of addresses.
OLD = """
alter table api_keys drop column virgin_mode, drop column virgin_resolved, drop column virgin_resolved_at, drop column virgin_until_n_requests,
  drop column virgin_request_count, drop column max_whitelist_ips;
drop table api_key_ip_whitelist, api_key_ip_blacklist, api_key_ip_seen, api_key_ip_global_whitelist, api_key_ip_global_blacklist;
"""
SESSIONS = """
create schema athena;
create table athena.users (id int primary key, role text, banned boolean);
create table athena.sessions (token text, user_id int, active boolean, expires_at timestamptz);
create table athena.member (user_id int, role text);
create table athena.user_permission_scopes (user_id int, enabled boolean, is_global boolean, scope text);
insert into athena.users values (1, 'admin', false), (2, 'user', false), (3, 'admin', true), (4, 'user', null);
insert into athena.sessions values ('boss', 1, true, now() + interval '1 hour'), ('user', 2, true, now() + interval '1 hour'), ('banned', 3, true, now() + interval '1 hour'),
  ('over', 1, true, now() - interval '1 hour'), ('ended', 1, false, now() + interval '1 hour'), ('scoped', 4, true, now() + interval '1 hour');
insert into athena.member values (2, 'owner');
insert into athena.user_permission_scopes values (4, true, false, 'storage:admin'), (2, false, true, 'admin');
"""


def logs(server):
    said = server.said()
    for path in glob.glob(f"{server.logs}/*.log"):
        with open(path) as f:
            said += f.read()
    return said


def memory(server):
    with open(f"/proc/{server.process.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres()
        for name in ("app", "two"):
            cls.pg.run(f"create database {name}")
            cls.pg.run(ITEMS, name)
        cls.store = cls.key_store(cls.pg)

    @classmethod
    def key_store(cls, pg, name="control", without=()):
        pg.run(f"create database {name}")
        for path in sorted(glob.glob(f"{ROOT}/core/control/sql/auth/*.sql")):
            if not any(w in path for w in without):
                with open(path) as f:
                    pg.run(f.read(), name)
        return KeyStore(pg, name)

    @classmethod
    def start(cls, enforce="true", gateway="", more="", store=None, bootstrap="off", **kw):
        clients = {"app": cls.pg.uri("app"), "two": cls.pg.uri("two"), "keys": store or cls.pg.uri("control")}
        return cls.lab.athena({}, config=f"plugins: [{PLUGINS}]\nurls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\nschema: {{bootstrap: {bootstrap}}}\n"
                              f"{more}gateway:\n- enforce_api_keys: {enforce}\n- auth_client: keys\n{gateway}postgres_clients:\n"
                              + "".join(f"- {n}: \"{u}\"\n" for n, u in clients.items()), **kw)

    @staticmethod
    def fetch(server, client, key=None, body=FETCH, method="POST", path="/gateway/fetch", **headers):
        sent = {"content-type": "application/json", **({"x-athena-client": client} if client else {}), **headers}
        if key is not None:
            sent["x-athena-key"] = str(key)
        return server.request(method, path, body, sent)

    def refused(self, answer, status, message, error):
        self.assertEqual((answer.status, answer.json["message"], answer.json["error"]), (status, message, error), answer.body)


class Lines(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.store.enforce(False, "two")
        cls.server = cls.start(gateway="- logging_client: keys\n", env={"ATHENA_SINK_POSTGRES_FLUSH_MS": "5ms"})
        wait_for("the switches are read", 20, lambda: cls.fetch(cls.server, "two").status == 200)

    def reason(self, answer):
        """What the log of key checks says of that request."""
        found = []

        def there():
            found[:] = [self.store.run("select failure_reason, authenticated, authorized, enforced from api_key_auth_log where request_id = "
                                       f"'{answer.headers['x-athena-request-id']}'")]
            return found[0] != ""
        wait_for("the row of the check", 20, there)
        return found[0].split("|")

    def line(self, key, status, message, error, reason, flags="f", off=None):
        """On (app): refused like that. Off (two): let in, and the log has the reason with its suffix."""
        on, open_ = self.fetch(self.server, "app", key), self.fetch(self.server, "two", key)
        self.refused(on, status, message, error)
        self.assertEqual(self.reason(on), [reason, flags, "f", "t"])
        self.assertEqual(open_.status, 200, open_.body)
        self.assertEqual(self.reason(open_), [off or f"{reason}_unenforced", flags, "t", "f"])

    def test_21_4_line_3_no_key(self):
        self.line(None, 401, "API key required", "Missing API key. Use X-Athena-Key.", "missing_api_key", off="api_key_not_enforced")

    def test_21_4_line_4_no_form(self):
        for value in ("garbage", "ath_nodot", "Ath_00.11"):
            self.line(value, 401, "Invalid API key", "The API key format is invalid.", "invalid_api_key_format")

    def test_21_4_line_6_unknown_D_34(self):
        self.line(NO_KEY_IN_THE_STORE, 401, "Invalid API key", "The provided API key is not valid.", "unknown_api_key")
        for odd in ("ath_.x", "ath_" + "9" * 500 + ".x", "ath_a b.x", "ath_\u00e4.x"):
            self.refused(self.fetch(self.server, "app", odd.encode("latin-1").decode("latin-1")), 401, "Invalid API key", "The provided API key is not valid.")

    def test_21_4_line_7_wrong_secret_D_34(self):
        key = self.store.add("right", ["*"])
        for secret in (key.secret[:-1] + "z", key.secret + "0", "", key.secret[:-1], key.secret.upper() + "."):
            self.line(Key(key.public_id, secret), 401, "Invalid API key", "The provided API key is not valid.", "invalid_api_key_secret")
            self.assertEqual(self.fetch(self.server, "app", key).status, 200)

    def test_21_4_line_8_inactive(self):
        self.line(self.store.add("off", ["*"], active=False), 401, "Inactive API key", "The API key has been disabled.", "inactive_api_key")

    def test_21_4_line_9_expired(self):
        for when in ("now() - interval '1 second'", "'-infinity'"):
            self.line(self.store.add("old", ["*"], expires=when), 401, "Expired API key", "The API key has expired.", "expired_api_key")
        for when in ("now() + interval '1 hour'", "'infinity'"):
            self.assertEqual(self.fetch(self.server, "app", self.store.add("new", ["*"], expires=when)).status, 200)

    def test_a_key_expires_while_it_is_in_memory(self):
        key = self.store.add("short", ["*"], expires="now() + interval '1500 milliseconds'")
        self.assertEqual(self.fetch(self.server, "app", key).status, 200)
        wait_for("it expires", 10, lambda: self.fetch(self.server, "app", key).status == 401)

    def test_21_4_line_10_client(self):
        key = self.store.add("bound", ["*"], client="Else")
        on, open_ = self.fetch(self.server, "app", key), self.fetch(self.server, "two", key)
        self.refused(on, 403, "API key client mismatch", "The API key is scoped to client 'Else', not 'app'.")
        self.assertEqual(self.reason(on), ["api_key_client_mismatch", "t", "f", "t"])
        self.assertEqual(open_.status, 200)
        self.assertEqual(self.reason(open_), ["api_key_client_mismatch_unenforced", "t", "t", "f"])
        self.refused(self.fetch(self.server, None, key, SQL, path="/query/sql"), 403, "API key client mismatch",
                     "The API key is scoped to client 'Else', not ''.")

    def test_21_4_line_11_rights(self):
        self.line(self.store.add("none"), 403, "Insufficient API key rights", "Missing required rights: items.read", "missing_api_key_rights", "t")
        key = self.store.add("reader", ["items.read"])
        self.assertEqual(self.fetch(self.server, "app", key).status, 200)
        self.refused(self.fetch(self.server, "app", key, SQL, path="/gateway/query"), 403, "Insufficient API key rights",
                     "Missing required rights: gateway.query")

    def test_21_4_line_12_address(self):
        self.line(self.store.add("elsewhere", ["*"], white=["203.0.113.0/24"]), 403, "IP not allowed",
                  "Client IP '127.0.0.1' is not on this API key's whitelist.", "ip_not_whitelisted", "t")
        self.line(self.store.add("blocked", ["*"], black=["127.0.0.0/8"]), 403, "IP blocked",
                  "Client IP '127.0.0.1' is on this API key's blacklist.", "ip_blacklisted", "t")

    def test_21_4_line_13_success(self):
        key = self.store.add("good", ["*"])
        on, open_ = self.fetch(self.server, "app", key), self.fetch(self.server, "two", key)
        self.assertEqual((on.status, open_.status), (200, 200))
        self.assertEqual(self.reason(on), ["api_key_authenticated", "t", "t", "t"])
        self.assertEqual(self.reason(open_), ["api_key_authenticated_unenforced", "t", "t", "f"])

    def test_21_1_administrators_routes(self):
        wrong = '{"error":"Invalid or missing API key. Use X-Athena-Key."}'
        for headers in ({}, {"x-athena-key": "wrong"}, {"x-athena-key": "wrong", "x-api-key": ADMIN_KEY}, {"authorization": f"Bearer {ADMIN_KEY}"},
                        {"x-athena-key": str(self.store.add("all", ["*"]))}):
            answer = self.server.get("/admin/clients", headers)
            self.assertEqual((answer.status, answer.body), (401, wrong), headers)
        for headers in ({"x-athena-key": ADMIN_KEY}, {"x-api-key": f" {ADMIN_KEY} "}, {"apikey": ADMIN_KEY}):
            self.assertEqual(self.server.get("/admin/api-keys", headers).status, 200, headers)

    def test_an_administrator_passes_every_class(self):
        for client in ("app", "two"):
            self.assertEqual(self.fetch(self.server, client, ADMIN_KEY).status, 200)
        self.assertEqual(self.fetch(self.server, "app", ADMIN_KEY, SQL, path="/query/sql").status, 200)

    def test_carriers(self):
        key = str(self.store.add("carried", ["*"]))
        for headers in ({"x-athena-key": key}, {"x-api-key": key}, {"apikey": key}, {"authorization": f"Bearer {key}"}, {"x-athena-key": " ", "apikey": key}):
            self.assertEqual(self.fetch(self.server, "app", **headers).status, 200, headers)
        for headers in ({"x-athena-key": "x", "x-api-key": key}, {"authorization": key}, {"authorization": f"bearer {key}"}):
            self.assertEqual(self.fetch(self.server, "app", **headers).status, 401, headers)
        self.assertEqual(self.fetch(self.server, "app", path=f"/gateway/fetch?apikey={key}&x-athena-key={key}").status, 401)

    def test_D_1_a_client_in_another_case_is_the_same(self):
        bound = self.store.add("bound", ["*"], client="APP")
        for client in ("app", "APP", " App "):
            self.assertEqual(self.fetch(self.server, client).status, 401, client)
            self.assertEqual(self.fetch(self.server, client, bound).status, 200, client)

    def test_21_30_D_18_last_use_is_written_once_and_no_edit(self):
        key = self.store.add("used", ["*"])
        was = self.store.run(f"select updated_at from api_keys where public_id = '{key.public_id}'")
        ask = f"select coalesce(last_used_at::text, ''), updated_at, xmin from api_keys where public_id = '{key.public_id}'"
        self.fetch(self.server, "app", key)
        wait_for("the use is written", 10, lambda: not self.store.run(ask).startswith("|"))
        first = self.store.run(ask)
        self.assertIn(was, first)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            self.assertEqual(self.fetch(self.server, "app", key).status, 200)
            time.sleep(0.05)
        self.assertEqual(self.store.run(ask), first)

    def test_D_18_the_last_use_before_a_stop_is_written(self):
        key = self.store.add("last", ["*"])
        server = self.start()
        ask = f"select last_used_at from api_keys where public_id = '{key.public_id}'"
        wait_for("the key is read", 20, lambda: self.fetch(server, "app", key).status == 200)
        wait_for("the first use is written", 10, lambda: self.store.run(ask).strip())
        first = self.store.run(ask)
        began = self.store.run("select now()").strip()
        self.assertEqual(self.fetch(server, "app", key).status, 200)
        self.assertEqual(server.stop(), 0)
        self.assertNotEqual(self.store.run(ask), first)
        self.assertEqual(self.store.run(f"select last_used_at >= '{began}'::timestamptz - interval '50 ms' from api_keys "
                                        f"where public_id = '{key.public_id}'").strip(), "t")

    def test_a_refused_secret_is_no_use(self):
        key = self.store.add("unused", ["*"], active=False)
        self.fetch(self.server, "app", key)
        self.fetch(self.server, "app", Key(key.public_id, "wrong"))
        marker = self.store.add("marker", ["*"])
        self.fetch(self.server, "app", marker)
        wait_for("a later use is written", 10, lambda: self.store.run(f"select last_used_at from api_keys where public_id = '{marker.public_id}'") != "")
        self.assertEqual(self.store.run(f"select last_used_at from api_keys where public_id = '{key.public_id}'"), "")

    def test_D_15_connections_of_the_store_are_its_own(self):
        """Queries for logs hold none of them: those of the store are prepared statements on other backends."""
        self.assertEqual(self.fetch(self.server, "app", self.store.add("own", ["*"])).status, 200)
        own = self.store.run("select count(*) from pg_stat_activity where datname = 'control' and query like '%from api_keys k where k.public_id = any%'")
        self.assertIn(int(own), range(1, 5))

    def test_7_switches_and_keys_by_route_hold_with_the_next_request(self):
        admin = {"x-athena-key": ADMIN_KEY, "content-type": "application/json"}
        for on in (True, False, True, False):
            self.server.request("PUT", "/admin/api-key-clients/two", {"enforce_api_keys": on}, admin)
            self.assertEqual(self.fetch(self.server, "two").status, 401 if on else 200)
        made = self.server.request("POST", "/admin/api-keys", {"name": "short", "rights": ["*"]}, admin).json["data"]
        self.assertEqual(self.fetch(self.server, "app", made["api_key"]).status, 200)
        self.server.request("DELETE", f"/admin/api-keys/{made['record']['id']}", None, admin)
        self.assertEqual(self.fetch(self.server, "app", made["api_key"]).status, 401)

    def test_21_16_spelling_does_not_change_the_class(self):
        for path in ("/%61dmin/api-keys", "/admin/%61pi-keys", "/admin//api-keys", "/admin/./api-keys", "/ADMIN/api-keys"):
            self.assertIn(self.server.get(path).status, (400, 401, 404), path)


class Switches(Case):
    def test_21_5_D_1_D_2_global_off_and_a_client_on(self):
        self.store.enforce(True, "app")
        server = self.start(enforce="false")
        wait_for("the switches are read", 20, lambda: self.fetch(server, "app").status == 401)
        for client in ("app", "APP", " aPP"):
            self.assertEqual(self.fetch(server, client).status, 401, client)
            self.assertEqual(self.fetch(server, client, None, {"query": "select 1"}, path="/gateway/query").status, 401, client)
            self.assertEqual(self.fetch(server, client, None, {}, path="/rpc/x").status, 401, client)
            self.assertEqual(self.fetch(server, client, None, SQL, path="/query/sql").status, 401, client)
        self.assertEqual(self.fetch(server, "two").status, 200)
        bound = self.store.add("bound", ["*"], client="app")
        self.assertEqual(self.fetch(server, "app", bound, {"query": "select 1"}, path="/gateway/query").status, 200)
        self.assertEqual(self.fetch(server, "two", bound, {"query": "select 1"}, path="/gateway/query").status, 200, "two is open")
        self.assertIn("athena_keys_unenforced 1", server.get("/metrics").body)
        self.store.enforce(False, "App")  # the same client in another case: whoever says true wins
        self.store.run("update api_key_client_config set enforce_api_keys = enforce_api_keys")
        time.sleep(0.5)
        self.assertEqual(self.fetch(server, "app").status, 401)
        self.store.run("delete from api_key_client_config")

    def test_21_6_global_on_and_a_client_off(self):
        self.store.enforce(False, "two")
        self.store.enforce(True)
        server = self.start(enforce="false")
        wait_for("the switches are read", 20, lambda: self.fetch(server, "app").status == 401)
        self.assertEqual((self.fetch(server, "two").status, self.fetch(server, "TWO").status), (200, 200))
        self.assertEqual(self.fetch(server, "app").status, 401)
        self.store.enforce(False)
        self.store.run("delete from api_key_client_config")

    def test_what_the_configuration_closes_no_row_opens(self):
        """The schema's steps make the row for all clients, and it says false."""
        self.store.enforce(False)
        server = self.start()
        self.assertEqual(self.fetch(server, "app").status, 401)
        key = self.store.add("k", ["*"])
        self.assertEqual(self.fetch(server, "app", key).status, 200)
        self.assertEqual(self.fetch(server, "app").status, 401)

    def test_D_3_what_stays_open_without_enforcement(self):
        for scope, gateway, either in (("all", 200, 200), ("data", 200, 401), ("none", 401, 401)):
            server = self.start(enforce="false", gateway=f"- unenforced_scope: {scope}\n")
            wait_for("the store is read", 20, lambda: self.fetch(server, "app").status != 503)
            self.assertEqual((self.fetch(server, "app").status, self.fetch(server, "app", None, SQL, path="/query/sql").status), (gateway, either), scope)
            server.stop()  # with the last word in its log
            warned = "API keys are not enforced" in logs(server), "and so are SQL, schemas" in logs(server)
            self.assertEqual(warned, {"all": (True, True), "data": (True, False), "none": (False, False)}[scope])

    def test_D_3_what_is_shipped_opens_data_alone(self):
        with open(f"{ROOT}/etc/config.yaml") as f:
            shipped = f.read().split("\n")
        self.assertTrue({"- enforce_api_keys: true", "- unenforced_scope: data"} <= set(shipped))

    def test_D_30_a_short_key_of_administrators_is_warned_of(self):
        server = self.start(env={"ATHENA_KEY_12": "too-short"})
        wait_for("it is warned of", 20, lambda: "shorter than 16 bytes" in logs(server))
        server = self.start(env={"ATHENA_KEY_12": "  " + "long-enough-for-us" + "  "})
        self.assertEqual(server.get("/admin/api-keys", {"x-athena-key": "long-enough-for-us"}).status, 200, "blanks around it are no part of it")
        server.stop()
        self.assertNotIn("shorter than", logs(server))

    def test_21_1_no_key_of_administrators(self):
        server = self.start(env={"ATHENA_KEY_12": ""})
        answer = server.get("/admin/api-keys")
        self.assertEqual(answer.status, 500)
        self.assertEqual((answer.json["error"], answer.json["message"]), ("ATHENA_KEY_12 environment variable is not set", "ATHENA_KEY_12 is not configured"))

    def test_other_carriers(self):
        server = self.start(gateway="- key_carriers: \"x-special, apikey\"\n")
        key = str(self.store.add("k", ["*"]))
        self.assertEqual([self.fetch(server, "app", **{name: key}).status for name in ("x-special", "apikey", "x-athena-key", "x-api-key")], [200, 200, 401, 401])
        with self.assertRaises(AssertionError) as refused:
            self.start(gateway="- key_carriers: query:apikey\n")
        self.assertIn("is no name of a header", str(refused.exception))

    def test_every_look_asks_when_nothing_is_to_be_remembered(self):
        server = self.start(gateway="- auth_cache_ttl_ms: 0\n")
        key = self.store.add("k", ["*"])
        self.assertEqual(self.fetch(server, "app", key).status, 200)
        self.store.run(f"set session_replication_role = replica; update api_keys set is_active = false where public_id = '{key.public_id}'")
        self.assertEqual(self.fetch(server, "app", key).status, 401)


class Processes(Case):
    def test_21_7_a_revoked_key_stops_in_two_processes_under_load(self):
        servers, key, busy = [self.start(), self.start()], self.store.add("k", ["*"]), self.store.add("busy", ["*"])
        for s in servers:
            self.assertEqual(self.fetch(s, "app", key).status, 200)
        over, wrong = threading.Event(), []

        def load(server):
            c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            while not over.is_set():
                c.request("POST", "/gateway/fetch", json.dumps(FETCH), {"x-athena-client": "app", "x-athena-key": str(busy), "content-type": "application/json"})
                answer = c.getresponse()
                answer.read()
                if answer.status != 200:
                    wrong.append(answer.status)
            c.close()
        threads = [threading.Thread(target=load, args=(s,)) for s in servers for _ in range(4)]
        for t in threads:
            t.start()
        try:
            for change in ("update api_keys set is_active = false where public_id = '{}'", "delete from api_keys where public_id = '{}'"):
                target = self.store.add("k", ["*"])
                for s in servers:
                    self.assertEqual(self.fetch(s, "app", target).status, 200)
                self.store.run(change.format(target.public_id))
                changed = time.monotonic()
                for s in servers:
                    wait_for("the key stops", 10, lambda s=s: self.fetch(s, "app", target).status == 401)
                self.assertLess(time.monotonic() - changed, 1)
        finally:
            over.set()
            for t in threads:
                t.join()
        self.assertEqual(wrong, [])

    def test_changes_of_rights_and_lists_arrive(self):
        server, key = self.start(gateway="- auth_cache_ttl_ms: 1h\n"), self.store.add("k", ["items.read"])
        answers = lambda: self.fetch(server, "app", key).status  # noqa: E731
        self.assertEqual(answers(), 200)
        for change, back in (("delete from api_key_right_grants where api_key_id = (select max(id) from api_keys)",
                              "insert into api_key_right_grants (api_key_id, right_id) select (select max(id) from api_keys), id from api_key_rights where name = 'items.read'"),
                             ("update api_key_rights set name = 'others.read' where name = 'items.read'", "update api_key_rights set name = 'items.read' where name = 'others.read'"),
                             ("insert into api_key_ip_blacklist (api_key_id, addr) select max(id), '127.0.0.1' from api_keys", "delete from api_key_ip_blacklist"),
                             ("insert into api_key_ip_global_blacklist (addr, client_name) values ('127.0.0.0/8', 'APP')", "delete from api_key_ip_global_blacklist"),
                             ("insert into api_key_ip_global_whitelist (addr) values ('203.0.113.7')", "truncate api_key_ip_global_whitelist"),
                             ("update api_keys set client_name = 'two'", "update api_keys set client_name = null"),
                             ("update api_keys set key_salt = 'other'", "update api_keys set key_salt = 'other'")):
            was = self.store.run("select key_salt from api_keys order by id desc limit 1")
            self.store.run(change)
            wait_for(change, 10, lambda: answers() in (401, 403))
            self.store.run(back if "key_salt" not in back else f"update api_keys set key_salt = '{was}' where public_id = '{key.public_id}'")
            wait_for(back, 10, lambda: answers() == 200)

    def test_without_triggers_and_notifications_looking_does(self):
        store = self.key_store(self.pg, "silent", without=("notify",))
        server = self.start(store=self.pg.uri("silent"), gateway="- auth_cache_ttl_ms: 300ms\n")
        key = store.add("k", ["*"])
        self.assertEqual(self.fetch(server, "app", key).status, 200)
        store.run(f"update api_keys set is_active = false where public_id = '{key.public_id}'")
        changed = time.monotonic()
        wait_for("the key stops", 10, lambda: self.fetch(server, "app", key).status == 401)
        self.assertLess(time.monotonic() - changed, 2)

    def test_21_15_D_16_D_23_unknown_keys_and_clients_cost_little(self):
        other = self.lab.postgres(settings=["log_statement = 'all'"])
        store = self.key_store(other)
        server = self.start(store=other.uri("control"), gateway="- auth_failures_per_minute: 0\n", env={"ASAN_OPTIONS": "quarantine_size_mb=1"})
        key = store.add("k", ["*"])
        self.assertEqual(self.fetch(server, "app", key).status, 200)
        c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        self.addCleanup(c.close)

        def ask(client, value):
            c.request("GET", "/rpc/none", headers={"x-athena-client": client, "x-athena-key": value})
            answer = c.getresponse()
            answer.read()
            return answer.status

        def many(first, behind):
            for i in range(first, behind):
                self.assertEqual(ask(f"client-{i}", f"ath_{i:016x}.{i:064x}"), 401)
        begun = time.monotonic()
        for _ in range(300):
            self.assertEqual(ask("app", str(NO_KEY_IN_THE_STORE)), 401)
        took = time.monotonic() - begun
        with open(other.log) as f:
            looks = sum(NO_KEY_IN_THE_STORE.public_id in line for line in f)
        self.assertIn(looks, range(1, int(took) + 3), "one look-up a second")
        many(0, 4000)
        before = memory(server)
        many(4000, 10000)
        self.assertLess(memory(server) - before, 20000, "KiB more")
        self.assertEqual(self.fetch(server, "app", key).status, 200)


class Outage(Case):
    def test_21_13_a_store_that_is_stopped(self):
        other = self.lab.postgres()
        store = self.key_store(other)
        server = self.start(store=other.uri("control"))
        key, later = store.add("k", ["*"]), store.add("later", ["*"])
        self.assertEqual(self.fetch(server, "app", key).status, 200)
        other.stop("immediate")
        wait_for("it is noticed", 20, lambda: "athena_key_store_readable 0" in server.get("/metrics").body)
        self.assertEqual(self.fetch(server, "app", key).status, 200, "what is known holds")
        self.assertEqual(self.fetch(server, "app").status, 401)
        self.refused(self.fetch(server, "app", later), 503, "API key validation unavailable", "The API key store could not validate the presented key.")
        self.assertEqual(self.fetch(server, "app", later).code, "auth_store_unavailable")
        self.assertEqual(self.fetch(server, "app", ADMIN_KEY).status, 200)
        other.start()
        wait_for("it heals", 30, lambda: self.fetch(server, "app", later).status == 200)

    def test_21_13_a_store_that_never_was_there(self):
        for enforce in ("true", "false"):
            server = self.start(enforce=enforce, store="postgres://nobody@127.0.0.1:1/none")
            answer = self.fetch(server, "app")
            self.refused(answer, 503, "API key validation unavailable", "Gateway auth store is configured but currently unreachable.")
            self.assertEqual(answer.code, "auth_store_unavailable")
            self.assertEqual(self.fetch(server, "app", None, SQL, path="/query/sql").status, 503)
            self.assertEqual(self.fetch(server, "app", ADMIN_KEY).status, 200)
            self.assertEqual(server.get("/ping").status, 200)
            server.stop()

    def test_21_13_D_11_failing_open_lets_nobody_in(self):
        server = self.start(store="postgres://nobody@127.0.0.1:1/none", gateway="- api_key_fail_mode: fail_open\n")
        for path, body in (("/gateway/fetch", FETCH), ("/gateway/query", {"query": "select 1"})):
            self.assertEqual((self.fetch(server, "app", None, body, path=path).status, self.fetch(server, "app", None, body, path=path).code),
                             (503, "deferred_queue_unavailable"), "it is for the queue, which this server has not")
        for method, path, body in (("POST", "/query/sql", SQL), ("GET", "/rest/v1/items", None), ("GET", "/clients", None), ("GET", "/data?view=items", None)):
            answer = self.fetch(server, "app", None, body, method, path)
            self.assertEqual((answer.status, answer.code), (503, "auth_store_unavailable"), path)

    def test_21_14_a_store_that_is_slow(self):
        server = self.start(more="pool:\n  acquire_timeout: 700ms\n")
        key, unknown = self.store.add("k", ["*"]), self.store.add("later", ["*"])
        self.assertEqual(self.fetch(server, "app", key).status, 200)
        holder = subprocess.Popen([f"{self.pg.bin}/psql", "-X", "-q", "-h", self.pg.folder, "-p", str(self.pg.port), "-U", "postgres", "-d", "control",
                                   "-c", "begin; lock table api_keys in access exclusive mode; select pg_sleep(4); commit"], stdout=subprocess.DEVNULL)
        try:
            wait_for("the table is locked", 10, lambda: self.pg.run("select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted "
                                                                     "and relation = 'api_keys'::regclass", "control").strip() == "1")
            begun = time.monotonic()
            self.refused(self.fetch(server, "app", unknown), 503, "API key validation unavailable", "The API key store could not validate the presented key.")
            self.assertGreaterEqual(time.monotonic() - begun, 0.6)
            self.assertLess(time.monotonic() - begun, 3)
            times = []
            while holder.poll() is None and len(times) < 200:
                begun = time.monotonic()
                self.assertEqual(self.fetch(server, "app", key).status, 200)
                times.append(time.monotonic() - begun)
            self.assertLess(sorted(times)[len(times) // 2], 0.05, "a key in memory does not wait")
        finally:
            holder.wait()
        wait_for("it heals", 20, lambda: self.fetch(server, "app", unknown).status == 200)

    def test_who_waits_and_leaves_harms_nobody(self):
        server = self.start()
        key = self.store.add("k", ["*"])
        holder = subprocess.Popen([f"{self.pg.bin}/psql", "-X", "-q", "-h", self.pg.folder, "-p", str(self.pg.port), "-U", "postgres", "-d", "control",
                                   "-c", "begin; lock table api_keys in access exclusive mode; select pg_sleep(2); commit"], stdout=subprocess.DEVNULL)
        try:
            for _ in range(20):
                c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
                c.request("POST", "/gateway/fetch", json.dumps(FETCH), {"x-athena-client": "app", "x-athena-key": str(key)})
                c.sock.close()
        finally:
            holder.wait()
        wait_for("it is answered", 10, lambda: self.fetch(server, "app", key).status == 200)


class Older(Case):
    def test_21_32_D_27_a_database_of_the_published_bootstrap(self):
        store = self.key_store(self.pg, "older", without=("notify",))
        store.run(OLD)
        server = self.start(store=self.pg.uri("older"))
        key = store.add("k", ["items.read"])
        self.assertEqual(self.fetch(server, "app", key).status, 200)
        self.refused(self.fetch(server, "app", key, SQL, path="/gateway/query"), 403, "Insufficient API key rights", "Missing required rights: gateway.query")
        wait_for("the operator is told", 40, lambda: "the key store lacks virgin columns of api_keys, api_key_ip_whitelist" in logs(server))

    def test_21_12_D_10_a_table_of_addresses_that_is_missing_refuses(self):
        for n, table, scope in ((1, "api_key_ip_blacklist", "key"), (2, "api_key_ip_global_whitelist", "global")):
            store = self.key_store(self.pg, f"broken{n}")
            server = self.start(store=self.pg.uri(f"broken{n}"))
            key = store.add("k", ["*"])
            self.assertEqual(self.fetch(server, "app", key).status, 200)
            store.run(f"drop table {table}; select pg_notify('athena_auth_changed', '')")
            wait_for("it is noticed", 10, lambda: self.fetch(server, "app", key).status == 403)
            self.refused(self.fetch(server, "app", key), 403, "IP policy unavailable", f"API key IP policy could not be evaluated ({scope}).")
            server.stop()

    def test_a_database_without_tables_checks_no_key_and_opens_nothing(self):
        self.pg.run("create database bare")
        server = self.start(store=self.pg.uri("bare"))
        self.assertEqual(self.fetch(server, "app").status, 401)
        self.refused(self.fetch(server, "app", NO_KEY_IN_THE_STORE), 503, "API key validation unavailable",
                     "The API key store could not validate the presented key.")


class Sessions(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pg.run(SESSIONS, "app")
        cls.server = cls.start()
        wait_for("the store is read", 20, lambda: cls.fetch(cls.server, "app").status == 401)

    def sql(self, client, token=None, server=None, **headers):
        if token:
            headers["authorization"] = f"Bearer {token}"
        return self.fetch(server or self.server, client, None, SQL, path="/query/sql", **headers).status

    def test_D_9_whom_a_session_lets_in(self):
        self.assertEqual({t: self.sql("app", t) for t in ("boss", "scoped", "user", "banned", "over", "ended", "nobody")},
                         {"boss": 200, "scoped": 200, "user": 401, "banned": 401, "over": 401, "ended": 401, "nobody": 401})
        self.assertEqual(self.sql("app", cookie="a=b; athena-auth.session-token=boss; c=d"), 200)
        self.assertEqual(self.sql("app", cookie="athena-auth.session-token=user"), 401)

    def test_D_9_it_counts_for_its_own_client_and_class_alone(self):
        self.assertEqual(self.sql("two", "boss"), 401, "no tables of sessions there")
        self.assertEqual(self.sql(None, "boss"), 401)
        for path, body in (("/gateway/fetch", FETCH), ("/gateway/query", {"query": "select 1"})):
            self.assertEqual(self.fetch(self.server, "app", None, body, path=path, authorization="Bearer boss").status, 401, path)
        self.assertEqual(self.fetch(self.server, "app", None, None, "GET", "/clients", authorization="Bearer boss").status, 401, "shows other clients")
        self.assertEqual(self.fetch(self.server, "app", None, None, "GET", "/admin/api-keys", authorization="Bearer boss").status, 401)

    def test_a_valid_key_does_not_ask_for_a_session(self):
        key = str(self.store.add("k", ["*"]))
        for client in ("app", "two"):
            self.assertEqual(self.sql(client, "whatever", **{"x-athena-key": key}), 200)

    def test_D_9_roles_of_organizations_by_a_switch(self):
        server = self.start(gateway="- session_org_roles: true\n")
        wait_for("the store is read", 20, lambda: self.fetch(server, "app").status == 401)
        self.assertEqual((self.sql("app", "user", server), self.sql("app", "banned", server)), (200, 401))

    def test_the_older_form_of_the_tables(self):
        self.pg.run("create schema athena; create table athena.users (id int, role text, banned boolean); insert into athena.users values (1, 'super_admin', null);"
                    "create table athena.session (token text, user_id int, expires_at timestamptz); insert into athena.session values ('old', 1, 'infinity');"
                    "create table athena.member (user_id int, role text); create table athena.user_permission_scopes (user_id int)", "two")
        self.assertEqual((self.sql("two", "old"), self.sql("two", "boss")), (200, 401))
        self.pg.run("drop schema athena cascade", "two")


if __name__ == "__main__":
    unittest.main(verbosity=2)
