#!/usr/bin/env python3
"""`athena doctor` and GET /admin/doctor: on a set-up where nothing is wrong every verdict is good; then each thing is broken in
turn, and its line says so."""
import http.server
import json
import os
import re
import resource
import socket
import subprocess
import sys
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab, executable, free_port, wait_for  # noqa: E402

PLUGINS = ("routes-meta", "routes-gateway", "routes-admin-ops", "routes-daemons", "sink-file")
SECRETS_KEY = "ab" * 32
PASSWORD = "t0p-secret"


class Storage(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(403)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class DoctorTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres(tcp=True)
        cls.pg.run("create database control")
        cls.migrate()
        cls.redis = cls.lab.redis()
        cls.storage = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Storage)
        threading.Thread(target=cls.storage.serve_forever, daemon=True).start()
        cls.addClassCleanup(cls.storage.server_close)
        cls.addClassCleanup(cls.storage.shutdown)

    @classmethod
    def migrate(cls):
        path = f"{cls.lab.folder}/migrate.yaml"
        with open(path, "w") as f:
            f.write(f"plugins: [{', '.join(PLUGINS)}]\nurls: []\nhosts: []\nauthenticator: []\napi: []\ngateway:\n- logging_client: athena_logging\n"
                    f"postgres_clients:\n- athena_logging: \"{cls.pg.uri('control')}\"\n")
        env = {k: v for k, v in os.environ.items() if not k.startswith("ATHENA_CONFIG")}
        subprocess.run([executable(), "migrate", "up", "--config", path], env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def setUp(self):
        self.folder = self.lab.place("doctor")
        os.makedirs(self.folder)
        self.addCleanup(self.pg.run, "truncate gateway_deferred_request_queue, backup_jobs, database_clone_jobs, typesense_profiles,"
                        " daemon_runtime_registry cascade", "control")
        self.clients = {"app": self.uri("postgres"), "athena_logging": self.uri("control")}
        self.gateway = ["enforce_api_keys: true", "logging_client: athena_logging", "auth_client: athena_logging"]
        self.plugins, self.more = PLUGINS, ""
        self.env = {"PATH": os.environ["PATH"], "HOME": self.folder, "ATHENA_TRACING_LOG_DIR": f"{self.folder}/logs", "ATHENA_KEY_12": ADMIN_KEY,
                    "ATHENA_SECRETS_KEY": SECRETS_KEY, "ATHENA_REDIS_URL": self.redis.url, "ATHENA_BACKUP_S3_BUCKET": "backups",
                    "ATHENA_BACKUP_S3_ENDPOINT": f"http://127.0.0.1:{self.storage.server_port}", "ATHENA_BACKUP_S3_ACCESS_KEY": "a",
                    "ATHENA_BACKUP_S3_SECRET_KEY": "b",
                    **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS") or k == "LD_LIBRARY_PATH"}}

    def uri(self, database):
        return f"postgres://postgres:{PASSWORD}@127.0.0.1:{self.pg.port}/{database}"

    def config(self):
        return (f"plugins: [{', '.join(self.plugins)}]\nurls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\ngateway:\n"
                + "".join(f"- {line}\n" for line in self.gateway) + "postgres_clients:\n"
                + "".join(f"- {name}: \"{uri}\"\n" for name, uri in self.clients.items()) + self.more)

    def run_doctor(self, *args, explicit=True, limits=None):
        path = f"{self.folder}/config.yaml"
        with open(path, "w") as f:
            f.write(self.config())
        where = ["--config", path] if explicit else []
        done = subprocess.run([executable(), "doctor", *where, *args], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=60,
                              preexec_fn=limits)
        self.assertNotIn(PASSWORD, done.stdout + done.stderr)
        return done

    def examine(self, status=None, **kw):
        """The document of `doctor --json`, its checks by name."""
        done = self.run_doctor("--json", **kw)
        document = json.loads(done.stdout)
        self.assertEqual(done.returncode, 1 if document["status"] == "fail" else 0, done.stderr)
        if status:
            self.assertEqual(document["status"], status, done.stdout)
        document["of"] = {c["name"]: c for c in document["checks"]}
        return document

    def assert_line(self, name, verdict, seen, also=(), **kw):
        """That one check has this verdict and these words, and no other one has become bad with it, but for `also`."""
        document = self.examine(**kw)
        line = document["of"][name]
        self.assertEqual(line["verdict"], verdict, line)
        self.assertIn(seen, line["seen"])
        if verdict in ("warn", "fail"):
            self.assertEqual([c for c in document["checks"] if c["verdict"] in ("warn", "fail") and c["name"] not in (name, *also)], [])
        return line

    # ---- nothing is wrong ----

    def test_a_healthy_set_up_is_good_throughout(self):
        document = self.examine("ok")
        self.assertEqual([c for c in document["checks"] if c["verdict"] != "ok"], [])
        for name in ("config.path", "config.accepted", "plugins.loaded", "admin.key", "secrets.key", "logging.client", "auth.client", "clock.skew",
                     "contracts.served", "schema.logging", "schema.auth", "queue.deferred", "jobs.backup", "jobs.clone", "jobs.typesense", "workers.ownership", "tools.pg_dump",
                     "tools.pg_restore", "redis", "storage.s3", "limits.descriptors", "client.app", "client.athena_logging", "sink-file.folder"):
            self.assertIn(name, document["of"])
        self.assertEqual(document["counts"], {"ok": len(document["checks"]), "warn": 0, "fail": 0, "skip": 0})
        self.assertRegex(document["of"]["client.app"]["seen"], r"^PostgreSQL \d+")

    def test_the_table_says_the_same(self):
        done = self.run_doctor()
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, r"(?m)^ok    logging\.client +PostgreSQL \d+.*\(\d+ ms\)$")
        self.assertRegex(done.stdout, r"(?m)^\d+ checks in \d+ ms: \d+ ok, 0 warn, 0 fail, 0 skip$")
        self.assertEqual(done.stderr, "")

    def test_the_route_gives_the_same_document(self):
        server = self.lab.athena({}, config=self.config(), env=self.env)
        for key in ({}, {"x-athena-key": "wrong"}):
            self.assertEqual(server.get("/admin/doctor", key).status, 401)
        answer = server.get("/admin/doctor", {"x-athena-key": ADMIN_KEY})
        self.assertEqual((answer.status, answer.json["status"], answer.json["message"]), (200, "success", "Examined this server"))
        data = answer.json["data"]
        self.assertEqual({c["name"]: c["verdict"] for c in data["checks"]}, {c["name"]: c["verdict"] for c in self.examine("ok")["checks"]})
        self.assertNotIn(PASSWORD, answer.body)

    # ---- the configuration ----

    def test_a_discovered_configuration(self):
        self.assert_line("config.path", "warn", "was found by looking", explicit=False)

    def test_no_configuration_at_all(self):
        done = subprocess.run([executable(), "doctor", "--json", "--config", f"{self.folder}/none.yaml"], cwd=self.folder, env=self.env,
                              capture_output=True, text=True, timeout=30)
        document = json.loads(done.stdout)
        self.assertEqual((done.returncode, document["checks"][0]["name"], document["checks"][0]["verdict"]), (1, "config.path", "fail"))

    def test_a_process_that_would_not_start(self):
        few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10))  # noqa: E731 - no room for its loops
        document = self.examine("fail", limits=few)
        self.assertEqual([c["name"] for c in document["checks"]], ["process"])
        self.assertIn("too many open files", document["of"]["process"]["seen"])

    def test_a_configuration_that_is_not_accepted(self):
        self.more = "server:\n- loops: many\n"
        line = self.examine("fail")["of"]["config.accepted"]
        self.assertEqual(line["verdict"], "fail")
        self.assertIn("loops", line["seen"])

    def test_a_warning_of_the_configuration(self):
        self.more = "daemon:\n- enebled: 1\n"
        self.assert_line("config.accepted", "warn", "enebled")

    def test_a_plugin_that_is_not_installed(self):
        self.plugins = PLUGINS + ("routes-nowhere",)
        line = self.examine("fail")["of"]["plugins.loaded"]
        self.assertIn("routes-nowhere", line["seen"])

    def test_no_admin_key(self):
        del self.env["ATHENA_KEY_12"]
        self.assert_line("admin.key", "fail", "not set")

    def test_no_secrets_key(self):
        del self.env["ATHENA_SECRETS_KEY"]
        self.assert_line("secrets.key", "warn", "not set")

    def test_no_documents(self):
        self.plugins = ("sink-file",)
        self.assert_line("contracts.served", "fail", "no path")

    # ---- databases ----

    def test_no_logging_client(self):
        self.gateway = ["enforce_api_keys: true"]
        document = self.examine("warn")
        self.assertEqual({n for n, c in document["of"].items() if c["verdict"] == "warn"}, {"logging.client", "auth.client"})
        self.assertEqual(document["of"]["clock.skew"]["verdict"], "skip")

    def test_a_logging_client_that_cannot_be_reached(self):
        self.clients["athena_logging"] = f"postgres://postgres:{PASSWORD}@127.0.0.1:1/control"
        document = self.examine("fail")
        bad = {n for n, c in document["of"].items() if c["verdict"] == "fail"}
        self.assertEqual(bad, {"logging.client", "auth.client", "client.athena_logging"})
        for name in ("clock.skew", "schema.logging", "queue.deferred", "jobs.backup", "workers.ownership"):
            self.assertEqual(document["of"][name]["verdict"], "skip", name)

    def test_a_client_that_cannot_be_reached(self):
        self.clients["dead"] = "postgres://nobody@127.0.0.1:1/none"
        line = self.assert_line("client.dead", "fail", "refused")
        self.assertIn("connection URI", line["hint"])

    def test_a_client_that_says_nothing_does_not_hold_up_the_rest(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen(8)
            self.clients["mute"] = f"postgres://nobody@127.0.0.1:{s.getsockname()[1]}/none"
            began = time.monotonic()
            self.assert_line("client.mute", "fail", "no answer within 5000 ms")
            self.assertLess(time.monotonic() - began, 15)

    def test_a_clock_that_is_off(self):
        self.pg.run("create schema skew; create function skew.clock_timestamp() returns timestamptz language sql as"
                    " 'select pg_catalog.clock_timestamp() + interval ''40 s'''; alter database control set search_path = skew, pg_catalog, public",
                    "control")
        self.addCleanup(self.pg.run, "alter database control reset search_path; drop schema skew cascade", "control")
        self.assert_line("clock.skew", "fail", "40.")

    # ---- queues, jobs, workers ----

    def test_tables_that_nobody_has_made_are_skipped(self):
        self.pg.run("create database bare")
        self.addCleanup(self.pg.run, "drop database bare with (force)")
        self.clients["athena_logging"] = self.uri("bare")
        document = self.examine()
        for name in ("queue.deferred", "jobs.backup", "jobs.clone", "jobs.typesense", "workers.ownership"):
            self.assertEqual(document["of"][name]["verdict"], "skip", name)

    def test_a_schema_that_is_not_complete(self):
        self.pg.run("drop table vacuum_health_table_stats", "control")
        self.addCleanup(self.migrate)
        line = self.assert_line("schema.logging", "warn", "1 tables and 0 columns are missing")
        self.assertIn("athena migrate up", line["hint"])

    def test_a_schema_that_may_not_be_completed(self):
        self.pg.run("drop role if exists reader; create role reader login; create database locked")
        self.addCleanup(self.pg.run, "drop database locked with (force)")
        self.clients["athena_logging"] = f"postgres://reader@127.0.0.1:{self.pg.port}/locked"
        line = self.examine("fail")["of"]["schema.logging"]
        self.assertEqual(line["verdict"], "fail")
        self.assertIn("denied: version 0", line["seen"])

    def test_a_half_made_table(self):
        self.pg.run("alter table backup_jobs drop column lease_expires_at", "control")
        self.addCleanup(self.migrate)
        self.assert_line("jobs.backup", "warn", "lack columns", also=("schema.logging",))

    def test_a_queue_that_nobody_empties(self):
        self.pg.run("insert into gateway_deferred_request_queue (request_id, status, payload, method, route, created_at)"
                    " values ('a', 'queued', '{}', 'POST', '/gateway/query', now() - interval '2 hours')", "control")
        line = self.assert_line("queue.deferred", "warn", "1 wait (the oldest for ")
        self.assertIn(int(re.search(r"for (\d+) s\)", line["seen"])[1]), range(7200, 7230), "two hours, and what the test takes")

    def test_a_job_without_a_live_lease(self):
        self.pg.run("insert into backup_jobs (job_type, status, lease_expires_at) values ('backup', 'running', now() - interval '1 minute')", "control")
        self.assert_line("jobs.backup", "warn", "1 of them without a live lease")

    def test_jobs_that_failed(self):
        self.pg.run("insert into database_clone_jobs (job_id, source, target, status, phase, updated_at)"
                    " values (gen_random_uuid(), '{}', '{}', 'failed_terminal', 'complete', now())", "control")
        self.assert_line("jobs.clone", "warn", "1 failed in the last day")
        self.pg.run("truncate database_clone_jobs cascade; insert into typesense_profiles (id, name, base_url, api_key) values (1, 'p', 'http://x', 'k');"
                    "insert into typesense_sync_jobs (typesense_profile_id, name, source_client_name, source_table_name, collection_name, document_id_column,"
                    " last_sync_status) values (1, 'n', 'app', 't', 'c', 'id', 'failed')", "control")
        self.assert_line("jobs.typesense", "warn", "1 failed")

    def owner(self, daemon, kind, worker):
        self.pg.run("insert into daemon_runtime_registry (daemon_id, runtime_kind, host, version, workers_json)"
                    f" values ('{daemon}', '{kind}', 'h', '1', '[\"{worker}\", \"connection_monitor\"]')", "control")

    def test_workers_that_two_set_ups_run(self):
        """A family that servers and daemons both own is named with who they are; what is each process's own duty is not."""
        self.plugins = PLUGINS + ("worker-upkeep",)
        self.assert_line("workers.ownership", "ok", "each of 1 families")
        self.owner("d1", "athena_daemon", "retention_worker")
        self.assert_line("workers.ownership", "ok", "each of 1 families")
        self.owner("s1", "api_inline", "retention_worker")
        line = self.assert_line("workers.ownership", "warn", "both servers and daemons run: upkeep (d1, s1)")
        self.assertIn("daemon.enabled", line["hint"])
        self.pg.run("update daemon_runtime_registry set last_seen_at = now() - interval '2 minutes' where daemon_id = 'd1'", "control")
        self.assert_line("workers.ownership", "ok", "each of 1 families")

    def test_workers_that_nobody_runs(self):
        """The families are those of the plugins: with daemon.enabled somebody else has to run them."""
        self.plugins, self.more = PLUGINS + ("worker-upkeep",), "daemon:\n- enabled: true\n"
        self.assert_line("workers.ownership", "warn", "no process that is online runs: upkeep")
        self.owner("d1", "athena_daemon", "retention_worker")
        self.assert_line("workers.ownership", "ok", "each of 1 families")

    # ---- the machine ----

    def fake_tool(self, name, version):
        path = f"{self.folder}/{name}"
        with open(path, "w") as f:
            f.write(f"#!/bin/sh\necho '{name} (PostgreSQL) {version} (Fake)'\n")
        os.chmod(path, 0o755)
        return path

    def test_tools_that_are_older_than_a_server(self):
        self.env["ATHENA_PG_DUMP_PATH"] = self.fake_tool("pg_dump", "9.6")
        self.assert_line("tools.pg_dump", "warn", "of version 9 is older than the server of client.")

    def test_tools_that_say_nothing(self):
        path = f"{self.folder}/mute"
        with open(path, "w") as f:
            f.write("#!/bin/sh\nexit 3\n")
        os.chmod(path, 0o755)
        self.env["ATHENA_PG_RESTORE_PATH"] = path
        self.assert_line("tools.pg_restore", "fail", "says no version (exit status 3)")

    def test_tools_that_are_not_there(self):
        self.env["PATH"] = self.folder
        document = self.examine("warn")
        for name in ("tools.pg_dump", "tools.pg_restore"):
            self.assertEqual(document["of"][name]["verdict"], "warn")
            self.assertIn("was not found", document["of"][name]["seen"])

    def test_redis_that_does_not_answer(self):
        self.env["ATHENA_REDIS_URL"] = f"redis://:{PASSWORD}@127.0.0.1:{free_port()}"
        self.assertEqual(self.examine("fail")["of"]["redis"]["verdict"], "fail")
        del self.env["ATHENA_REDIS_URL"]
        self.assert_line("redis", "skip", "not set")

    def test_storage(self):
        self.env["ATHENA_BACKUP_S3_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
        self.assertEqual(self.examine("fail")["of"]["storage.s3"]["verdict"], "fail")
        del self.env["ATHENA_BACKUP_S3_SECRET_KEY"]
        self.assert_line("storage.s3", "fail", "ATHENA_BACKUP_S3_SECRET_KEY is not")
        del self.env["ATHENA_BACKUP_S3_BUCKET"]
        self.assert_line("storage.s3", "skip", "not set")

    def test_a_folder_that_cannot_be_written(self):
        with open(f"{self.folder}/file", "w"):
            pass
        self.env["ATHENA_TRACING_LOG_DIR"] = f"{self.folder}/file/logs"
        self.assert_line("sink-file.folder", "fail", "no log files can be written")

    def test_too_few_descriptors(self):
        self.assert_line("limits.descriptors", "warn", "512 may be open",
                         limits=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512)))

    def test_wrong_usage(self):
        self.assertEqual(self.run_doctor("--bogus").returncode, 2)

    def test_the_server_goes_on_while_it_is_examined(self):
        """A check that waits holds up nobody: the route answers others meanwhile."""
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen(8)
            self.clients["mute"] = f"postgres://nobody@127.0.0.1:{s.getsockname()[1]}/none"
            server = self.lab.athena({}, config=self.config(), env=self.env)
            answers = []
            t = threading.Thread(target=lambda: answers.append(server.get("/admin/doctor", {"x-athena-key": ADMIN_KEY})))
            t.start()
            wait_for("others are answered", 5, lambda: server.get("/ping").status == 200)
            t.join()
            self.assertEqual(answers[0].json["data"]["status"], "fail")


if __name__ == "__main__":
    unittest.main()
