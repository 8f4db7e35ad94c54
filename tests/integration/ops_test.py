#!/usr/bin/env python3
"""The operators' routes: pools, vacuum health, admission events, the control plane's schema, daemons."""
import os
import sys
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402

ADMIN = {"x-athena-key": ADMIN_KEY}
PLUGINS = "plugins: [routes-meta, routes-gateway, routes-admin-ops, routes-daemons, sink-file]\n"
ROUTES = ("/admin/pools", "/admin/vacuum-health", "/admin/vacuum-health/app", "/admin/admission-events", "/admin/doctor", "/debug/schema",
          "/admin/daemons", "/admin/daemons/catalog")
STORED = {"/admin/vacuum-health": "Client catalog unavailable", "/admin/vacuum-health/app": "Client catalog unavailable",
          "/admin/admission-events": "Client catalog unavailable", "/debug/schema": "Logging store unavailable",
          "/admin/daemons": "Logging store unavailable"}
JOBS = """
create table backup_jobs (id bigint, status text, lease_expires_at timestamptz, execution_daemon_id text);
create table backup_schedules (id bigint, enabled bool, execution_daemon_id text);
create table typesense_sync_jobs (id bigint, execution_daemon_id text);
create table typesense_sync_runs (job_id bigint, status text);
create table database_clone_jobs (status text, lease_expires_at timestamptz, execution_daemon_id text);
"""


def state():
    with open(f"{ROOT}/tests/support/ops.sql") as f:
        return f.read()


class OpsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres()
        cls.pg.run("create database control")
        cls.pg.run(state(), "control")
        cls.server = cls.start({"app": cls.pg.uri("postgres"), "Zoo": cls.pg.uri("postgres"), "dead": "postgres://nobody@127.0.0.1:1/none",
                                "athena_logging": cls.pg.uri("control")})
        wait_for("the databases are connected", 10, lambda: cls.server.get("/ready").json["clients"]["connected"] == 3)

    @classmethod
    def start(cls, clients, logging="- logging_client: athena_logging\n", enforce="true", **kw):
        return cls.lab.athena({}, config=f"{PLUGINS}urls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\ngateway:\n- enforce_api_keys: {enforce}\n"
                              f"{logging}postgres_clients:\n" + "".join(f"- {n}: \"{u}\"\n" for n, u in clients.items()), **kw)

    def get(self, path, server=None, status=200):
        answer = (server or self.server).get(path, ADMIN)
        self.assertEqual(answer.status, status, answer.body)
        return answer.json

    # ---- for all of them ----

    def test_no_route_answers_without_the_key(self):
        for path in ROUTES:
            for headers in ({}, {"x-athena-key": "wrong"}, {"x-athena-key": "wrong", "x-api-key": ADMIN_KEY}):
                self.assertEqual(self.server.get(path, headers).status, 401, (path, headers))
            self.assertEqual(self.server.get(f"{path}?x-athena-key={ADMIN_KEY}&api_key={ADMIN_KEY}").status, 401, path)

    def test_another_method_is_405(self):
        for path in ROUTES:
            answer = self.server.request("POST", path, b"{}", ADMIN)
            self.assertEqual((answer.status, answer.headers.get("allow")), (405, "GET, HEAD"), path)

    def test_head_answers_as_get(self):
        for path in ROUTES:
            answer = self.server.request("HEAD", path, None, ADMIN)
            self.assertEqual((answer.status, answer.body), (404 if path.endswith("/app") else 200, ""), path)

    def test_without_a_control_plane(self):
        server = self.start({"app": self.pg.uri("postgres")}, logging="")
        for path, message in STORED.items():
            answer = self.get(path, server, 503)
            self.assertEqual(answer["message"], message)
            self.assertIn("No athena", answer["error"])
        for path in ("/admin/pools", "/admin/daemons/catalog", "/admin/doctor"):
            self.get(path, server)
        self.assertIsNone(self.get("/admin/pools", server)["data"]["logging_client"])

    def test_while_the_control_plane_is_away(self):
        server = self.start({"app": self.pg.uri("postgres"), "athena_logging": "postgres://nobody@127.0.0.1:1/none"})
        wait_for("it was tried", 10, lambda: server.get("/ready").status == 200)
        for path, message in STORED.items():
            answer = self.get(path, server, 503)
            self.assertEqual((answer["message"], answer["error"]), (message, "Logging client 'athena_logging' is not connected."))
        self.get("/admin/pools", server)

    def test_on_an_empty_control_plane(self):
        self.pg.run("create database bare")
        server = self.start({"app": self.pg.uri("postgres"), "athena_logging": self.pg.uri("bare")})
        wait_for("the databases are connected", 10, lambda: server.get("/ready").json["clients"]["connected"] == 2)
        # Whether the tables are made at the start is the schema's business: without them each route says what failed.
        for path, message in (("/admin/vacuum-health", "Failed to load vacuum health snapshots"), ("/admin/vacuum-health/app", "Failed to load vacuum health detail"),
                              ("/admin/admission-events", "Failed to load admission events"), ("/admin/daemons", "Failed to load daemon inventory")):
            answer = server.get(path, ADMIN)
            if answer.status == 500:
                self.assertEqual(answer.json["message"], message)
            else:
                self.assertIn(answer.status, (200, 404), answer.body)

    # ---- pools ----

    def test_pools(self):
        for _ in range(3):
            self.server.fetch("app", {"table_name": "none"})
        data = self.get("/admin/pools")["data"]
        self.assertEqual((data["logging_client"], data["gateway_auth_client"], data["gateway_benchmark_client"]), ("athena_logging",) * 3)
        self.assertLess(abs(data["generated_at_unix_secs"] - time.time()), 5)
        pools = {p["client_name"]: p for p in data["pools"]}
        self.assertEqual(list(pools), sorted(pools, key=str.lower))
        self.assertTrue(pools["athena_logging"]["role_logging"] and pools["athena_logging"]["role_gateway_auth"])
        self.assertFalse(pools["app"]["role_logging"])
        self.assertTrue(pools["app"]["connected"])
        self.assertGreaterEqual(pools["app"]["sqlx_size"], 1)
        self.assertEqual(pools["app"]["sqlx_size"], pools["app"]["sqlx_idle"] + pools["app"]["sqlx_active"])
        dead = pools["dead"]
        self.assertFalse(dead["connected"])
        for member in ("sqlx_size", "sqlx_idle", "sqlx_active", "sqlx_closed", "sqlx_max_connections", "initiated_at_unix_secs", "uptime_seconds"):
            self.assertIsNone(dead[member], member)
        self.assertEqual(dead["sqlx_configured_max_lifetime_seconds"], pools["app"]["sqlx_configured_max_lifetime_seconds"])

    def test_pools_show_no_uri(self):
        self.assertNotIn("postgres://", self.server.get("/admin/pools", ADMIN).body)

    # ---- vacuum ----

    def test_the_newest_snapshot_of_each_client(self):
        snapshots = self.get("/admin/vacuum-health")["data"]["snapshots"]
        self.assertEqual([(s["client_name"], s["id"]) for s in snapshots], [("athena_logging", 1), ("gold", 932), ("shop", 2)])

    def test_a_clients_snapshot_with_its_tables(self):
        data = self.get("/admin/vacuum-health/gold")["data"]
        self.assertEqual(data["snapshot"]["id"], 932)
        self.assertEqual([t["relname"] for t in data["tables"]], ["orders", "a_first", "customers"])
        self.assertEqual(data, self.get("/admin/vacuum-health/%20gold%20")["data"])

    def test_no_snapshot(self):
        answer = self.get("/admin/vacuum-health/nobody%27s", status=404)
        self.assertEqual((answer["message"], answer["error"]), ("Vacuum health not found", "No vacuum health snapshots exist for 'nobody's'."))
        self.assertEqual(self.get("/admin/vacuum-health/%20", status=400)["message"], "Invalid client name")

    # ---- admission ----

    def test_admission_events_are_filtered_and_paged(self):
        everything = self.get("/admin/admission-events")["data"]
        self.assertEqual([e["event_id"] for e in everything["events"]], ["e2", "e1"])
        self.assertEqual(everything["events"][1]["meta"], {"defer_on_limit_enabled": False, "defer_route_prefixes": []})
        for query, ids in (("decision=rejected", ["e1"]), ("client=%20gold%20", ["e1"]), ("client=GOLD", []), ("decision=", ["e2", "e1"]),
                           ("limit=1", ["e2"]), ("limit=1&offset=1", ["e1"]), ("offset=5", [])):
            self.assertEqual([e["event_id"] for e in self.get(f"/admin/admission-events?{query}")["data"]["events"]], ids, query)

    def test_pages_are_clamped_and_echoed(self):
        for query, limit, offset in (("limit=0", 1, 0), ("limit=9999", 500, 0), ("limit=-3&offset=-1", 1, 0), ("", 100, 0)):
            data = self.get(f"/admin/admission-events?{query}")["data"]
            self.assertEqual((data["limit"], data["offset"]), (limit, offset), query)
        for query in ("limit=x", "offset=1.5", "limit=99999999999999999999"):
            self.assertIn(query.split("=")[0], self.get(f"/admin/admission-events?{query}", status=400)["error"])

    # ---- the schema ----

    def test_debug_schema_compares_with_what_is_there(self):
        self.pg.run("create database half")
        self.pg.run("create table ip_addresses (id bigint, created_at timestamptz, ipv4_address text, last_seen_at timestamptz);"
                    "create view api_registry as select 1 as id, 2 as api_registry_id, 3 as name, 4 as config;"
                    "create schema other; create table other.\"odd \"\"name\" (\"a,b\" int, dropped int);"
                    "alter table other.\"odd \"\"name\" drop column dropped", "half")
        server = self.start({"app": self.pg.uri("postgres"), "athena_logging": self.pg.uri("half")})
        wait_for("the databases are connected", 10, lambda: server.get("/ready").json["clients"]["connected"] == 2)
        answer = server.get("/debug/schema", ADMIN).json
        self.assertEqual(answer["logging_client"], "athena_logging")
        self.assertRegex(answer["generated_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$")
        rows = {t["table_name"]: t for t in answer["expected_tables"]}
        self.assertEqual(list(rows), sorted(rows))
        self.assertEqual(len(rows), 23)
        ip, api = rows["ip_addresses"], rows["api_registry"]
        self.assertEqual((ip["found"], ip["missing_columns"], ip["unexpected_columns"]), (True, ["first_seen_at"], ["created_at"]))
        self.assertEqual(ip["found_columns"], ["id", "created_at", "ipv4_address", "last_seen_at"])
        self.assertEqual((api["found_relation_type"], api["relation_type_matches"]), ("VIEW", False))
        self.assertEqual(answer["still_needed"]["relation_type_mismatches"], ["public.api_registry"])
        self.assertIn("public.ip_addresses.first_seen_at", answer["still_needed"]["required_missing_columns"])
        self.assertEqual(answer["missing_optional_tables"], ["public.gateway_route_request_log"])
        odd = [t for t in answer["observed_tables"] if t["table_schema"] == "other"]
        self.assertEqual(odd, [{"table_schema": "other", "table_name": "odd \"name", "relation_type": "BASE TABLE", "columns": ["a,b"]}])
        summary = answer["summary"]
        self.assertEqual(summary["health"], "unhealthy")
        self.assertEqual(summary["expected_table_count"] - summary["found_table_count"],
                         summary["required_missing_table_count"] + summary["optional_missing_table_count"])
        self.assertEqual([r["code"] for r in summary["health_reasons"]],
                         ["missing_required_tables", "missing_required_columns", "relation_type_mismatches", "missing_optional_tables", "missing_optional_columns"])

    def test_a_complete_schema_is_healthy(self):
        """20.10: only columns that the DDL has are expected."""
        expected = self.get("/debug/schema")["expected_tables"]
        self.pg.run("create database complete")
        server = self.start({"app": self.pg.uri("postgres"), "athena_logging": self.pg.uri("complete")})
        self.pg.run("".join(f"create table if not exists {t['table_name']} ({', '.join(c + ' text' for c in t['expected_columns'])});"
                            for t in expected if t["required"]), "complete")
        wait_for("the databases are connected", 10, lambda: server.get("/ready").json["clients"]["connected"] == 2)
        summary = self.get("/debug/schema", server)["summary"]
        self.assertEqual(summary["health"], "warning" if summary["optional_missing_table_count"] else "healthy")
        self.pg.run("create table if not exists gateway_route_request_log (request_id text, source text, outcome text, path text, status_code int, time bigint)",
                    "complete")
        summary = self.get("/debug/schema", server)["summary"]
        self.assertEqual(summary["health"], "healthy")
        self.assertEqual(summary["health_reasons"], [{"code": "all_expected_resources_present", "severity": "info", "count": 0,
                                                      "message": "All expected logging tables and columns are present"}])
        self.pg.run("alter table ip_addresses drop column last_seen_at", "complete")
        self.assertEqual(self.get("/debug/schema", server)["summary"]["health"], "degraded")

    def test_a_control_plane_that_the_server_has_made_is_healthy(self):
        """20.10, on our own tables."""
        self.pg.run("create database fresh")
        server = self.start({"app": self.pg.uri("postgres"), "athena_logging": self.pg.uri("fresh")})

        def healthy():
            answer = server.get("/debug/schema", ADMIN)
            return answer.status == 200 and answer.json["summary"]["health"] == "healthy"
        wait_for("the tables are made", 30, healthy)
        for path in STORED:
            self.assertIn(server.get(path, ADMIN).status, (200, 404), path)

    def test_debug_schema_wants_a_key_even_where_none_are_enforced(self):
        """20.4: names of all tables are no public knowledge."""
        server = self.start({"app": self.pg.uri("postgres"), "athena_logging": self.pg.uri("control")}, enforce="false")
        self.assertEqual(server.get("/debug/schema").status, 401)
        wait_for("the databases are connected", 10, lambda: server.get("/debug/schema", ADMIN).status == 200)

    # ---- daemons ----

    def test_daemons_and_what_they_are_busy_with(self):
        self.pg.run("create database busy")
        self.pg.run(state() + JOBS, "busy")
        self.pg.run("""
            insert into backup_jobs values (1, 'running', now() + interval '1 minute', 'old-1'), (2, 'running', now() - interval '1 minute', 'old-1'),
              (3, 'running', null, 'old-1'), (4, 'pending', null, 'old-1'), (5, 'running', null, null), (6, 'running', null, '');
            insert into backup_schedules values (1, true, 'old-1'), (2, false, 'old-1');
            insert into typesense_sync_jobs values (1, 'old-1'), (2, 'old-1'), (3, 'other');
            insert into typesense_sync_runs values (1, 'running'), (1, 'running'), (2, 'success'), (3, 'running');
            insert into database_clone_jobs values ('verifying', null, 'old-1'), ('queued', null, 'old-1'), ('completed', null, 'old-1')""", "busy")
        server = self.start({"app": self.pg.uri("postgres"), "athena_logging": self.pg.uri("busy")})
        wait_for("the databases are connected", 10, lambda: server.get("/ready").json["clients"]["connected"] == 2)
        daemons = {d["daemon_id"]: d for d in self.get("/admin/daemons", server)["data"]["daemons"]}
        old = daemons["old-1"]
        self.assertEqual({k: v for k, v in old.items() if k.startswith(("active", "pinned"))},
                         {"active_backup_jobs": 2, "active_typesense_jobs": 1, "active_clone_jobs": 1, "pinned_backup_schedules": 1,
                          "pinned_typesense_jobs": 2, "pinned_clone_jobs": 2})
        self.assertEqual((old["status"], old["workers"]), ("offline", ["clone_worker"]))
        self.assertEqual(daemons["api-inline-unknown-host"]["status"], "online")

    def test_daemons_count_nothing_where_tables_are_missing(self):
        daemons = self.get("/admin/daemons")["data"]["daemons"]
        self.assertEqual([d["daemon_id"] for d in daemons if d["daemon_id"] in ("api-inline-unknown-host", "old-1")],
                         ["api-inline-unknown-host", "old-1"])
        self.assertEqual({d["active_backup_jobs"] for d in daemons}, {0})

    def test_the_catalogue_of_programs(self):
        runtimes = self.get("/admin/daemons/catalog")["data"]["runtimes"]
        self.assertEqual({tuple(sorted(r)) for r in runtimes},
                         {("binary", "bundled_with_api", "cargo_run", "exposed_at_repo_root", "notes", "package", "runtime_kind", "workers")})
        self.assertEqual([(r["binary"], r["cargo_run"]) for r in runtimes], [("athena_rs", "athena serve")], "nothing that cannot be started")
        self.assertEqual(runtimes[0]["workers"], ["deferred_write_flusher"], "no family of workers is loaded here, but what each process does for itself")


if __name__ == "__main__":
    unittest.main()
