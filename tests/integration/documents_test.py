#!/usr/bin/env python3
"""What the server says about itself, read by the tools that its readers use: an OpenAPI validator and a strict Prometheus parser.

Both come from the Python package registry, with pinned versions, into a temporary folder.
"""
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402

READERS = ["openapi-spec-validator==0.7.1", "prometheus-client==0.21.1", "PyYAML"]
ADMIN = {"x-api-key": ADMIN_KEY}


class DocumentsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.readers = tempfile.TemporaryDirectory(prefix="athena-readers-")
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--root-user-action=ignore",
                        "--target", cls.readers.name, *READERS], check=True)
        sys.path.insert(0, cls.readers.name)
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)  # also when what follows fails
        cls.pg = cls.lab.postgres()
        cls.server = cls.lab.athena({"app": cls.pg.uri("postgres"), "dead": "postgres://nobody@127.0.0.1:1/none"},
                                    plugins=("routes-meta", "routes-gateway", "routes-query", "routes-rest", "routes-public", "routes-admin-clients",
                                             "routes-admin-ops", "routes-daemons", "sink-file"))
        wait_for("the database is connected", 10, lambda: cls.server.get("/ready").status == 200)

    @classmethod
    def tearDownClass(cls):
        cls.readers.cleanup()

    def test_openapi_is_valid_and_lists_what_is_served(self):
        import yaml
        from openapi_spec_validator import validate
        answer = self.server.get("/openapi.yaml", ADMIN)
        self.assertEqual(answer.headers["content-type"], "application/yaml; charset=utf-8")
        document = yaml.safe_load(answer.body)
        validate(document)
        declared = {(method.upper(), path) for path, item in document["paths"].items() for method in item if method != "parameters"}
        served = {(r["method"], r["path"].replace("...}", "}")) for r in self.server.get("/router/registry", ADMIN).json
                  if r["source"] == "builtin"}
        self.assertEqual(declared, served)
        wss = yaml.safe_load(self.server.get("/openapi-wss.yaml", ADMIN).body)
        validate(wss)
        self.assertEqual(wss["paths"], {})

    def test_the_documents_need_a_key(self):
        for path in ("/openapi.yaml", "/openapi-wss.yaml", "/router/registry", "/registry", "/registry/x", "/admin/errors/catalog"):
            self.assertEqual(self.server.get(path).status, 401, path)

    def test_metrics_pass_a_strict_parser(self):
        from prometheus_client.parser import text_string_to_metric_families
        self.server.get("/no/such/path", {"x-athena-client": 'odd "name"\n'.strip()})
        self.server.fetch("app", {"table_name": "nope"})
        answer = self.server.get("/metrics")
        self.assertEqual(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
        families = list(text_string_to_metric_families(answer.body))
        names = [line.split()[2] for line in answer.body.splitlines() if line.startswith("# TYPE ")]
        self.assertEqual(len(names), len(set(names)), "a family is written twice")
        series = [(s.name, tuple(sorted(s.labels.items()))) for f in families for s in f.samples]
        self.assertEqual(len(series), len(set(series)), "a series is written twice")
        with open(f"{ROOT}/tests/wire/recorded/metrics.txt") as f:
            published = {line.split(" | ")[0]: line.split(" | ")[1] for line in f if not line.startswith("#")}
        ours = dict(line.split()[2:4] for line in answer.body.splitlines() if line.startswith("# TYPE "))
        self.assertEqual({n: t for n, t in published.items() if ours.get(n) != t}, {})

    def test_metrics_know_which_database_is_up(self):
        text = self.server.get("/metrics").body
        labels = 'source="config",active="true",frozen="false"'
        self.assertIn(f'athena_pg_pool_up{{client="app",{labels}}} 1\n', text)
        self.assertIn(f'athena_pg_pool_up{{client="dead",{labels}}} 0\n', text)
        self.assertIn(f'athena_pg_pool_closed{{client="dead",{labels}}} 1\n', text)
        self.assertIn("athena_pg_registered_clients 2\n", text)
        self.assertIn("athena_pg_connected_clients 1\n", text)

    def test_random_callers_do_not_grow_the_metrics(self):
        for i in range(50):
            self.server.request("GET", f"/random/{i}", None, {"x-athena-client": f"caller-{i}"})
        text = self.server.get("/metrics").body
        self.assertNotIn("/random/", text)
        self.assertNotIn("caller-", text)

    def test_health_documents_share_their_members(self):
        root, health, cluster = (self.server.get(p).json for p in ("/", "/health", "/health/cluster"))
        for document in (root, health, cluster):
            self.assertEqual(document["athena_deadpool"], "online")
            self.assertEqual(document["cargo_toml_version"], "3.27.1")
            self.assertEqual(document["gateway_auth_store"], "not_configured")
            self.assertTrue(document["capabilities"]["gateway_fetch"]["available"])
        self.assertIn({"path": "/gateway/fetch", "methods": ["POST"]}, [{k: r[k] for k in ("path", "methods")} for r in root["routes"]])
        self.assertEqual(health["status"], "ok")
        self.assertEqual(cluster["mirrors"], [])
        self.assertEqual(cluster["clients"], {"registered": 2, "active": 2, "connected": 1})
        self.assertEqual(self.server.get("/ready").json["status"], "ready")

    def test_every_get_answers_head(self):
        for path in ("/", "/ping", "/health", "/metrics", "/ready"):
            answer = self.server.request("HEAD", path)
            self.assertEqual((answer.status, answer.body), (200, ""), path)

    def test_a_server_without_databases_is_not_ready(self):
        server = self.lab.athena({"dead": "postgres://nobody@127.0.0.1:1/none"})
        answer = server.get("/ready")
        self.assertEqual(answer.status, 503)
        self.assertEqual(answer.json["status"], "unready")
        self.assertIn("database", answer.json["reason"])
        self.assertEqual(server.get("/health").json["athena_deadpool"], "offline")
        self.assertEqual(server.stop(), 0)

    def test_switched_off_metrics_are_three(self):
        config = ("plugins: [routes-meta]\nurls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\n- prometheus_metrics_enabled: false\n"
                  f"postgres_clients:\n- app: \"{self.pg.uri('postgres')}\"\n")
        server = self.lab.athena({}, config=config)
        names = [line.split()[2] for line in server.get("/metrics").body.splitlines() if line.startswith("# TYPE ")]
        self.assertEqual(sorted(names), ["athena_build_info", "athena_prometheus_metrics_enabled", "athena_uptime_seconds"])


if __name__ == "__main__":
    unittest.main()
