#!/usr/bin/env python3
"""The log of key checks and the audit log: who came with which key, who changed what, each once, and nothing that could be guessed by."""
import hashlib
import json
import os
import subprocess
import sys
import threading
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from keyrows import KeyStore  # noqa: E402
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402

PLUGINS = "routes-meta, routes-gateway, routes-query, routes-public, routes-admin-clients, routes-admin-ops, sink-file, sink-postgres, sink-ndjson"
DATA = "create table item (id int primary key, name text); insert into item select i, 'item ' || i from generate_series(1, 5) i;"
ADMIN = {"x-athena-key": ADMIN_KEY, "content-type": "application/json"}
HEADERS = {**ADMIN, "x-athena-client": "app"}
# As the published scripts once made it: text ids, a time of numbers, nothing unique, and no address.
OLD_LOG = """create table api_key_auth_log (id bigint generated always as identity primary key, request_id text not null, api_key_id text, api_key_public_id text,
  client_name text, method text not null, path text not null, presented_key_hash text, presented_key_salt text, required_rights jsonb, granted_rights jsonb,
  authenticated boolean not null default false, authorized boolean not null default false, enforced boolean not null default false,
  failure_reason text, remote_addr text, user_agent text, "time" numeric)"""


class Case(unittest.TestCase):
    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.__exit__)
        self.pg = self.lab.postgres()
        for name in ("control", "keys", "app"):
            self.pg.run(f"create database {name}")
        self.pg.run(DATA, "app")

    def server(self, gateway="", more="", enforce="true", **kw):
        config = (f"plugins: [{PLUGINS}]\nurls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\ngateway:\n- enforce_api_keys: {enforce}\n"
                  f"- logging_client: control\n{gateway}sink-postgres:\n  flush_ms: 50ms\n{more}postgres_clients:\n"
                  + "".join(f"- {name}: \"{self.pg.uri(name)}\"\n" for name in ("app", "control", "keys")))
        server = self.lab.athena({}, config=config, **kw)
        where = "keys" if "auth_client: keys" in gateway else "control"
        if kw.get("wait", True):
            wait_for("the tables", 60, lambda: self.value("select to_regclass('api_key_auth_log') is not null and to_regclass('api_keys') is not null", where) == "t")
        return server

    def value(self, sql, database="control"):
        return self.pg.run(sql, database).strip()

    def rows(self, table, n, database="control", where="true", seconds=20):
        """At least n of them, as they happened: threads put them into the queue of rows."""
        wait_for(f"{n} rows in {table}", seconds, lambda: int(self.value(f"select count(*) from {table} where {where}", database)) >= n)
        return json.loads(self.value(f"select coalesce(json_agg(t order by t.time, t.id), '[]') from {table} t where {where}", database))

    def metric(self, server, name):
        return sum(float(line.rsplit(" ", 1)[1]) for line in server.get("/metrics").body.splitlines() if line.startswith(name))

    def fetch(self, server, **more):
        return server.request("POST", "/gateway/fetch", {"table_name": "item"}, {**HEADERS, **more})


class AuditLogTest(Case):
    def changes(self, s):
        """One of each kind; the statuses."""
        uri = self.pg.uri("app").replace("postgres@", "postgres:s3cretword@")
        asked = [("POST", "/admin/clients", {"client_name": "new", "pg_uri": uri, "description": "s3cretword"}, ADMIN),
                 ("PATCH", "/admin/clients/new", {"description": "s3cretword"}, ADMIN),
                 ("DELETE", "/admin/clients/nobody", None, ADMIN),
                 ("POST", "/admin/clients", {"client_name": "x"}, {**ADMIN, "x-athena-key": "s3cretword"}),
                 ("POST", "/query/sql", {"query": "select 's3cretword'", "driver": "postgresql", "db_name": "app"}, HEADERS)]
        return [s.request(m, p, b, h).status for m, p, b, h in asked]

    def test_D_30_changes_leave_rows_and_lines(self):
        """D-30: each call that may change something, with who made it and the names of what was sent; refused ones, too. Reads leave none."""
        s = self.server()
        status = self.changes(s)
        self.assertEqual(status, [201, 200, 404, 401, 200])
        for path in ("/admin/clients", "/admin/pools"):
            self.assertEqual(s.get(path, ADMIN).status, 200)
        self.fetch(s)
        rows = self.rows("athena_audit", 5)
        self.assertEqual([(r["actor_kind"], r["method"], r["route"], r["path"], r["status_code"], r["changed"], r["client_name"]) for r in rows], [
            ("admin_key", "POST", "/admin/clients", "/admin/clients", 201, "create_client new: client_name, pg_uri, description", None),
            ("admin_key", "PATCH", "/admin/clients/{client_name}", "/admin/clients/new", 200, "update_client new: description", None),
            ("admin_key", "DELETE", "/admin/clients/{client_name}", "/admin/clients/nobody", 404, None, None),
            ("unknown", "POST", "/admin/clients", "/admin/clients", 401, None, None),
            ("admin_key", "POST", "/query/sql", "/query/sql", 200, "query, driver, db_name", "app")])
        self.assertTrue(all(r["remote_addr"] == "127.0.0.1" and r["actor"] is None and r["left_out"] == 0 and len(r["request_id"]) == 36 for r in rows))
        self.assertNotIn("s3cretword", json.dumps(rows))
        s.stop()
        text = {}
        for name in ("success.log", "error.log"):
            with open(f"{s.logs}/{name}") as f:
                text[name] = [line for line in f if "athena::audit" in line]
        lines = text["success.log"] + text["error.log"]
        self.assertEqual(len({line for line in lines}), 5, lines)
        self.assertNotIn("s3cretword", "".join(lines))
        self.assertIn('changed="create_client new: client_name, pg_uri, description"', "".join(lines))

    def test_the_route_and_the_command_show_them(self):
        s = self.server()
        self.changes(s)
        self.rows("athena_audit", 5)
        whole = s.get("/admin/audit", ADMIN).json["data"]
        self.assertEqual([e["status_code"] for e in whole["entries"]], [200, 401, 404, 200, 201], "the latest first")
        self.assertIsNone(whole["next"])
        seen, before = [], ""
        while before is not None:
            page = s.get(f"/admin/audit?limit=2&before={before}" if before else "/admin/audit?limit=2", ADMIN).json["data"]
            seen += page["entries"]
            before = page["next"]
        self.assertEqual(seen, whole["entries"], "pages follow each other")
        first = whole["entries"][-1]["time"]
        for query, n in (("client=APP", 1), ("actor=admin_key", 4), ("actor=nobody", 0), ("route=/admin/clients", 2), ("route=/admin/clients/{client_name}", 2),
                         ("route=/admin/clients/nobody", 1), (f"from={first}", 5), (f"to={first}", 0), ("from=2999-01-01", 0), ("to=2999-01-01T00:00:00%2B02:00", 5)):
            self.assertEqual(len(s.get(f"/admin/audit?{query}", ADMIN).json["data"]["entries"]), n, query)
        for query in ("from=yesterday", "to=2026-01-01Tx", "before=x", "limit=x"):
            self.assertEqual(s.get(f"/admin/audit?{query}", ADMIN).status, 400, query)
        self.assertEqual(s.get("/admin/audit").status, 401)
        done = subprocess.run([s.exe, "audit", "--url", f"http://127.0.0.1:{s.port}", "--admin-key", ADMIN_KEY, "--actor", "admin_key", "--json"],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(json.loads(done.stdout)["data"]["entries"]), 4)
        s.stop()

    def test_nothing_is_lost_while_the_control_plane_is_away(self):
        """Rows wait; what came meanwhile is there once afterwards."""
        s = self.server()
        self.changes(s)
        self.rows("athena_audit", 5)
        self.pg.kill()
        for i in range(5):
            self.assertGreaterEqual(s.request("PATCH", f"/admin/clients/away{i}", {"description": "x"}, ADMIN).status, 400)
        self.pg.start_after_kill()
        rows = self.rows("athena_audit", 5, where="path like '%away%'", seconds=60)
        self.assertEqual(len(rows), 5)
        self.assertEqual(self.metric(s, 'athena_log_table_rows_dropped_total{table="athena_audit"'), 0)
        s.stop()

    def test_strangers_cannot_fill_it(self):
        """Refusals for want of a key are kept in numbers; the next row says how many more there were."""
        s = self.server()
        for _ in range(200):
            self.assertIn(s.request("POST", "/admin/clients", {}, {"content-type": "application/json"}).status, (401, 429))
        self.assertEqual(s.request("DELETE", "/admin/clients/nobody", None, ADMIN).status, 404)
        rows = self.rows("athena_audit", 1, where="actor_kind = 'admin_key'")
        rows = self.rows("athena_audit", 2)
        self.assertEqual(len(rows) + sum(r["left_out"] for r in rows), 201 - self.left_out(s, rows))
        s.stop()

    def left_out(self, server, rows):
        """Each loop counts its own; what those of other loops left out is told by their next row."""
        for _ in range(20):
            server.request("DELETE", "/admin/clients/nobody", None, ADMIN)
        more = self.rows("athena_audit", len(rows) + 20)
        known = {r["id"] for r in rows}
        return sum(r["left_out"] for r in more if r["id"] not in known)


class KeyLogTest(Case):
    def keyed(self, server, database="control", pg=None, enforce=True):
        """Three keys: `good` may read, `poor` may nothing, `old` is off. What is asked with another one until they are known leaves rows besides."""
        store = KeyStore(pg or self.pg, database)
        wait_for("the rights are seeded", 60, lambda: store.run("select count(*) from api_key_rights where name = '*'") == "1")
        self.good, self.poor = store.add(rights=["item.read", "gateway.query"]), store.add()
        self.old, self.probe = store.add(rights=["item.read"], active=False), store.add(rights=["*"])
        store.enforce(enforce)
        wait_for("the keys are known", 30, lambda: self.as_key(server, self.probe).status == 200)
        self.mine = f"api_key_public_id is distinct from '{self.probe.public_id}'"

    def as_key(self, server, value, path="/gateway/fetch", body=None):
        return server.request("POST", path, body or {"table_name": "item"}, {"x-athena-key": str(value), "x-athena-client": "app", "content-type": "application/json"})

    def by_reason(self, n, database="control"):
        rows = self.rows("api_key_auth_log", n, database, self.mine)
        self.assertEqual(len(rows), n, "one each")
        return {r["failure_reason"]: r for r in rows}

    def test_21_31_flags_of_each_request(self):
        """21.31, 21.4, D-26, D-33: one row for each request whose key was looked at, with the flags of auth.md 4; a fingerprint only of what has a key's form."""
        s = self.server()
        self.keyed(s)
        self.assertEqual(self.as_key(s, self.good).status, 200)
        asked = [("missing_api_key", "", 401), ("invalid_api_key_format", "hunter2", 401), ("unknown_api_key", "ath_dddddddddddddddd.x", 401),
                 ("invalid_api_key_secret", f"ath_{self.good.public_id}.wrong", 401), ("inactive_api_key", self.old, 401),
                 ("missing_api_key_rights", self.poor, 403)]
        for reason, value, status in asked:
            self.assertEqual(self.as_key(s, value).status, status, reason)
        self.assertEqual(self.fetch(s).status, 200, "the admin key leaves no row")
        rows = self.by_reason(len(asked) + 1)
        good = rows["api_key_authenticated"]
        flags = lambda r: (r["authenticated"], r["authorized"], r["enforced"])  # noqa: E731
        self.assertEqual(flags(good), (True, True, True))
        self.assertEqual((good["required_rights"], good["granted_rights"], good["api_key_public_id"], good["path"]),
                         (["item.read"], ["gateway.query", "item.read"], self.good.public_id, "/gateway/fetch"))
        self.assertEqual(str(good["api_key_id"]), self.value(f"select id from api_keys where public_id = '{self.good.public_id}'"))
        self.assertEqual(good["presented_key_hash"], hashlib.sha256(f"{good['presented_key_salt']}:{self.good}".encode()).hexdigest())
        for reason, value, _ in asked:
            r = rows[reason]
            self.assertEqual(flags(r), (reason == "missing_api_key_rights", False, True), reason)
            self.assertEqual(r["presented_key_hash"] is not None, str(value).startswith("ath_"), reason)
        self.assertEqual(len({r["presented_key_salt"] for r in rows.values() if r["presented_key_salt"]}), 5, "a salt each")
        self.assertNotIn(self.good.secret, json.dumps(list(rows.values())))
        s.stop()

    def test_D_17_rows_of_those_that_need_no_key(self):
        """D-17: gateway.auth_log_unenforced: off; a key that came all the same has its row."""
        s = self.server(gateway="- auth_log_unenforced: off\n", enforce="false")
        self.keyed(s, enforce=False)
        for _ in range(5):
            self.assertEqual(self.as_key(s, "").status, 200)
        self.assertEqual(self.as_key(s, self.good).status, 200)
        row = self.by_reason(1)["api_key_authenticated_unenforced"]
        self.assertEqual((row["authenticated"], row["authorized"], row["enforced"]), (True, True, False))
        s.stop()

    def test_a_key_store_of_its_own(self):
        """21.31: rows go where the keys are, each once, also when that database is away for a while; the control plane's go on meanwhile."""
        keys = self.lab.postgres()
        keys.run("create database keys")
        config = (f"plugins: [{PLUGINS}]\nurls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\ngateway:\n- enforce_api_keys: true\n"
                  f"- logging_client: control\n- auth_client: keys\nsink-postgres:\n  flush_ms: 50ms\npostgres_clients:\n"
                  f"- app: \"{self.pg.uri('app')}\"\n- control: \"{self.pg.uri('control')}\"\n- keys: \"{keys.uri('keys')}\"\n")
        s = self.lab.athena({}, config=config)
        count = lambda: int(keys.run(f"select count(*) from api_key_auth_log where {self.mine}", "keys"))  # noqa: E731
        wait_for("the tables", 60, lambda: keys.run("select to_regclass('api_key_auth_log') is not null and to_regclass('athena_log_writers') is not null", "keys").strip() == "t")
        self.keyed(s, "keys", keys)
        good = self.good
        for _ in range(10):
            self.assertEqual(self.as_key(s, good).status, 200)
        wait_for("rows", 20, lambda: count() == 10)
        keys.stop()
        for _ in range(10):
            self.assertEqual(self.as_key(s, good).status, 200, "what is known of a key holds for a while")
        self.rows("gateway_request_log", 20, where="path = '/gateway/fetch'")
        keys.start()
        wait_for("what waited", 60, lambda: count() == 20)
        self.assertEqual(keys.run(f"select count(distinct request_id) from api_key_auth_log where {self.mine}", "keys").strip(), "20")
        self.assertEqual(self.value("select to_regclass('api_key_auth_log') is null"), "t", "only there")
        s.stop()

    def test_a_key_that_was_deleted_meanwhile(self):
        """Its requests' rows come without the number that refers to it, and the others with theirs."""
        s = self.server()
        self.keyed(s)
        s.stop()
        with open(s.config) as f:
            s = self.lab.athena({}, config=f.read().replace("flush_ms: 50ms", "flush_ms: 3s"))
        wait_for("the keys are known", 30, lambda: self.as_key(s, self.probe).status == 200)
        for key in (self.good, self.poor) * 3:
            self.as_key(s, key)
        KeyStore(self.pg, "control").remove(self.good)
        rows = self.rows("api_key_auth_log", 6, where=self.mine)
        self.assertEqual(sorted((r["api_key_public_id"], r["api_key_id"] is None) for r in rows),
                         sorted([(self.good.public_id, True), (self.poor.public_id, False)] * 3))
        s.stop()

    def test_old_tables_are_written_as_they_are(self):
        """Text for ids, a number for the time, nothing unique, and no address (10.4)."""
        s = self.server()
        self.keyed(s)
        self.pg.run("drop table api_key_auth_log; " + OLD_LOG, "control")
        self.assertEqual(self.as_key(s, self.good).status, 200)
        wait_for("the sink has looked again", 40, lambda: self.as_key(s, self.good).status == 200 and
                 self.value(f"select count(*) > 0 from api_key_auth_log where {self.mine}") == "t")
        row = self.rows("api_key_auth_log", 1, where=self.mine)[0]
        self.assertGreater(row["time"], 1e9)
        self.assertEqual((len(row["api_key_id"]), row["failure_reason"]), (36, "api_key_authenticated"))
        s.stop()

    def test_21_31_a_full_queue_drops_and_counts(self):
        """21.31: what the queue has no room for is counted; what is written and what is counted are together what came."""
        s = self.server(more="  queue_events: 16\n")
        self.keyed(s)
        total, lock = [0], threading.Lock()

        def load():
            for _ in range(150):
                if self.as_key(s, self.good).status == 200:
                    with lock:
                        total[0] += 1
        threads = [threading.Thread(target=load) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(total[0], 600)
        written = lambda: int(self.value(f"select count(*) from api_key_auth_log where {self.mine}"))  # noqa: E731
        lost = lambda: int(self.metric(s, 'athena_log_rows_dropped_total{sink="sink-postgres.auth"}'))  # noqa: E731
        wait_for("all are accounted for", 30, lambda: written() + lost() == 600)
        wait_for("the table's counter says the same", 20, lambda: self.metric(s, 'athena_log_table_rows_dropped_total{table="api_key_auth_log"') == lost())
        s.stop()

    def test_files_in_place_of_the_table(self):
        s = self.server(gateway=f"- linux_file_logging_enabled: true\n- linux_file_logging_dir: {self.lab.folder}/rows\n", more="sink-ndjson:\n  flush_ms: 50ms\n")
        self.keyed(s)
        self.assertEqual(self.as_key(s, self.good).status, 200)
        path = f"{self.lab.folder}/rows/api_key_auth.log"
        wait_for("the line", 20, lambda: os.path.exists(path) and os.path.getsize(path) > 0)
        with open(path) as f:
            line = json.loads(f.readline())
        self.assertEqual(list(line), ["request_id", "api_key_id", "internal_api_key_id", "api_key_public_id", "client_name", "method", "path", "presented_key_hash",
                                      "presented_key_salt", "required_rights", "granted_rights", "authenticated", "authorized", "enforced", "failure_reason",
                                      "remote_addr", "ipv4_address", "user_agent", "time"], "as published")
        s.stop()
        self.assertEqual(self.value("select count(*) from api_key_auth_log"), "0")


if __name__ == "__main__":
    unittest.main(verbosity=2)
