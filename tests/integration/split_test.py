#!/usr/bin/env python3
"""Roles: servers, daemons and workers of one family over one control plane; who shows in the registry, who runs what."""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from lab import ADMIN_KEY, Lab, executable, wait_for  # noqa: E402

LINKS = f"{os.path.dirname(os.path.realpath(executable()))}/bin"
BUILD = os.path.dirname(LINKS)
REGISTRY = "from daemon_runtime_registry"


class OverSocket(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("daemon", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(path, target, method="GET"):
    """Status and body of a process's own socket."""
    c = OverSocket(path)
    try:
        c.request(method, target)
        r = c.getresponse()
        return r.status, r.read().decode()
    finally:
        c.close()


class Split(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres()
        cls.pg.run("create database app")
        cls.databases = 0

    def setUp(self):
        Split.databases += 1
        self.db = f"control{self.databases}"
        self.pg.run(f"create database {self.db}")

    def config(self, plugins="routes-meta, routes-gateway, routes-daemons, worker-upkeep", folder=None, more="", tail=""):
        return (f"plugins: [{plugins}]\nurls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\ngateway:\n- logging_client: control\n"
                "- enforce_api_keys: true\ndaemon:\n- heartbeat: 1s\n" + more.replace("daemon:\n", "")
                + f"postgres_clients:\n- app: \"{self.pg.uri('app')}\"\n- control: \"{self.pg.uri(self.db)}\"\n"
                + (f"server:\n  plugin_dir: {folder}\n" if folder else "") + tail)

    def start(self, *args, wait=False, exe=None, env=(), **config):
        """A process; its sockets go to a folder of its own."""
        run = self.lab.place("run")
        os.makedirs(run)
        p = self.lab.athena({}, config=self.config(**config), args=args, exe=exe, wait=wait, env={"RUNTIME_DIRECTORY": run, **dict(env)})
        self.addCleanup(p.stop)
        p.run = run
        return p

    def socket(self, process, kind):
        path = f"{process.run}/{kind}.sock"

        def there():
            self.assertIsNone(process.process.poll(), process.said())
            try:
                return ask(path, "/ready")[0] == 200
            except OSError:
                return False
        wait_for("it answers on its socket", 20, there)
        return path

    def value(self, sql):
        return self.pg.run(sql, self.db).strip()

    def wait_value(self, what, sql, wanted, seconds=30):
        def check():
            try:
                return self.value(sql) == wanted
            except AssertionError:  # the tables are just being made
                return False
        wait_for(f"{what}: {wanted}", seconds, check)

    def workers(self, path):
        return {w["worker"] for w in json.loads(ask(path, "/health")[1])["workers"]}

    # ---- which process runs what

    def test_only_one_worker_plugin_is_there(self):
        """A plugin folder with one worker alone, its role started: that family runs, and nothing else is loaded, whatever the list says."""
        folder = self.lab.place("plugins")
        os.makedirs(folder)
        shutil.copy(f"{BUILD}/plugins/lib/worker-upkeep.so", folder)
        p = self.start("worker", "upkeep", folder=folder, plugins="routes-meta, routes-gateway, worker-backup, worker-upkeep",
                       tail="routes-gateway:\n  query_timeout: 5s\n")
        path = self.socket(p, "athena_daemon_legacy_workers")
        with open(f"/proc/{p.process.pid}/maps") as f:
            self.assertEqual(set(re.findall(r"/((?:routes|sink|worker|driver)-[a-z-]+)\.so", f.read())), {"worker-upkeep"})
        self.assertIn("retention_worker", self.workers(path))
        self.wait_value("it shows", f"select runtime_kind, metadata_json->>'management_mode' {REGISTRY}", "athena_daemon_legacy_workers|legacy_workers_only")

    def test_a_worker_loads_its_family_alone(self):
        """All plugins are installed and listed: those of other families and the routes are not loaded."""
        p = self.start("worker", "upkeep", plugins="routes-meta, routes-gateway, sink-file, worker-upkeep")
        self.socket(p, "athena_daemon_legacy_workers")
        with open(f"/proc/{p.process.pid}/maps") as f:
            self.assertEqual(set(re.findall(r"/((?:routes|sink|worker|driver)-[a-z-]+)\.so", f.read())), {"worker-upkeep", "sink-file"})

    def test_no_port_is_open(self):
        """jobs 1.1: a process of workers has neither a TCP nor a UDP socket that listens."""
        p = self.start("daemon")
        self.socket(p, "athena_daemon")
        own = set()
        for fd in os.listdir(f"/proc/{p.process.pid}/fd"):
            try:
                own.add(os.readlink(f"/proc/{p.process.pid}/fd/{fd}"))
            except OSError:
                pass
        for table in ("tcp", "tcp6", "udp", "udp6"):
            with open(f"/proc/{p.process.pid}/net/{table}") as f:
                for line in f.readlines()[1:]:
                    words = line.split()
                    self.assertFalse(words[3] in ("0A", "07") and f"socket:[{words[9]}]" in own, line)

    def test_the_socket_of_a_daemon(self):
        """Health, readiness and metrics; nothing else answers there, and nobody but its user and group may ask."""
        p = self.start("daemon", plugins="routes-gateway, routes-meta, worker-upkeep")
        path = self.socket(p, "athena_daemon")
        status, body = ask(path, "/health")
        health = json.loads(body)
        self.assertEqual((status, health["runtime_kind"], health["process"]["pid"]), (200, "athena_daemon", p.process.pid))
        self.assertIn("athena_worker_ticks_total", ask(path, "/metrics")[1])
        for method, target in (("POST", "/gateway/fetch"), ("GET", "/"), ("GET", "/admin/daemons")):
            self.assertEqual(ask(path, target, method)[0], 404, target)
        self.assertEqual(ask(path, "/health", "POST")[0], 405)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o660)
        self.assertEqual(p.stop(), 0)
        self.assertFalse(os.path.exists(path))

    def test_links_choose_the_role(self):
        """config.md 8.1: both spellings of each name."""
        for name in ("athena-daemon", "athena_daemon_legacy_workers"):
            p = self.start(exe=f"{LINKS}/{name}")
            self.socket(p, name.replace("-", "_"))
            self.assertEqual(p.stop(), 0)

    def test_a_family_without_a_plugin(self):
        """config.md 9.4: exit 1, and what was expected."""
        for args, kind, words in ((("worker", "clone"), "athena_clone_worker", 'no plugin "worker-clone" is in'),
                                  (("pressure-worker",), "athena_client_pressure_worker", 'no plugin "worker-pressure" is in'),
                                  (("daemon",), "athena_daemon", "no plugin in the list")):
            if os.path.exists(f"{BUILD}/plugins/lib/worker-{args[-1]}.so") or (args[0] == "pressure-worker" and os.path.exists(f"{BUILD}/plugins/lib/worker-pressure.so")):
                continue
            p = self.start(*args, plugins="routes-meta")
            self.assertEqual(p.process.wait(60), 1)
            self.assertIn(f"{kind} did not start any workers; enable the corresponding worker settings before booting this binary", p.said())
            self.assertIn(words, p.said())

    def with_caller(self):
        """A folder of all plugins and of a worker of the family caller."""
        folder = self.lab.place("plugins")
        shutil.copytree(f"{BUILD}/plugins/lib", folder)
        shutil.copy(f"{BUILD}/tests/fixtures/plugins/worker-caller.so", folder)
        return folder

    def test_a_family_that_is_switched_off(self):
        p = self.start("worker", "caller", folder=self.with_caller(), tail="worker-caller:\n  enabled: false\n")
        self.assertEqual(p.process.wait(60), 1)
        self.assertIn("athena_caller_worker did not start any workers", p.said())
        self.assertIn("caller_worker is switched off by worker-caller.enabled", p.said())

    def test_a_worker_has_the_routes_that_it_needs(self):
        """A plugin that is needed by its name comes along where the list has it; others do not, and nothing of it answers anybody."""
        p = self.start("worker", "caller", folder=self.with_caller(), plugins="routes-gateway, routes-rest, worker-upkeep")
        path = self.socket(p, "athena_caller_worker")
        with open(f"/proc/{p.process.pid}/maps") as f:
            self.assertEqual(set(re.findall(r"/((?:routes|sink|worker|driver)-[a-z-]+)\.so", f.read())), {"worker-caller", "routes-gateway"})
        self.assertEqual(ask(path, "/gateway/fetch", "POST")[0], 404)

    def test_roles(self):
        """--roles puts together what a process is; what it names runs even where daemon.enabled moves workers away."""
        p = self.start("serve", "--roles", "serve,worker:upkeep", wait=True, more="daemon:\n- enabled: true\n")
        self.wait_value("it shows", f"select count(*) {REGISTRY} where workers_json ? 'retention_worker' and runtime_kind = 'api_inline'", "1")
        self.assertEqual(p.get("/ping").status, 200)
        done = subprocess.run([executable(), "serve", "--roles", "serve,clone", "--config", p.config], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn('--roles has "clone"', done.stdout)

    def test_work_loops_of_a_daemon(self):
        """One per processor, 4 at most; of a server one."""
        loops = min(4, os.cpu_count())
        p = self.start("daemon")
        self.socket(p, "athena_daemon")
        names = set()
        for thread in os.listdir(f"/proc/{p.process.pid}/task"):
            with open(f"/proc/{p.process.pid}/task/{thread}/comm") as f:
                names.add(f.read().strip())
        self.assertEqual({n for n in names if n.startswith("work-")}, {f"work-{i}" for i in range(loops)})

    def test_a_daemon_opens_no_client(self):
        """jobs D-33: the databases of clients are connected to when a job needs them."""
        p = self.start("daemon", tail="worker-upkeep:\n  retention: false\n")  # which looks into each client's database
        self.socket(p, "athena_daemon")
        self.wait_value("it works", f"select count(*) {REGISTRY} where workers_json ? 'statistics_worker'", "1")
        self.assertEqual(self.value("select string_agg(application_name || ': ' || query, '; ') from pg_stat_activity where datname = 'app'"), "")

    # ---- the registry

    def row(self, kind):
        return self.value(f"select daemon_id {REGISTRY} where runtime_kind = '{kind}'")

    def state(self, server, daemon_id):
        listed = server.get("/admin/daemons", {"x-athena-key": ADMIN_KEY}).json["data"]["daemons"]
        return {d["daemon_id"]: d["status"] for d in listed}.get(daemon_id)

    def test_stop_restart_and_kill(self):
        """jobs 1.9, D-27, D-29: a stop shows as offline at once and ends with 0, by TERM and by INT; after a restart it is the same daemon; one that was
        killed is offline when it was silent for 60 s."""
        server = self.start("serve", wait=True, more="- enabled: true\n")
        p = self.start("daemon")
        self.socket(p, "athena_daemon")
        self.wait_value("it shows", f"select count(*) {REGISTRY} where runtime_kind = 'athena_daemon' and workers_json ? 'retention_worker'", "1")
        name = self.row("athena_daemon")
        self.assertRegex(name, r"^athena-daemon-.+-[0-9a-f]{8}$")
        self.assertEqual(self.state(server, name), "online")
        p.process.send_signal(signal.SIGINT)
        self.assertEqual(p.process.wait(60), 0)
        self.assertEqual(self.state(server, name), "offline")
        again = subprocess.Popen(p.process.args, cwd=p.folder, env=p.env, stdout=p.output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self.addCleanup(again.wait)
        self.addCleanup(again.kill)
        wait_for("the same row is online", 30, lambda: self.state(server, name) == "online")
        self.assertEqual(self.value(f"select count(*), min(metadata_json->>'pid') {REGISTRY}"), f"1|{again.pid}")
        again.kill()
        again.wait()
        self.assertEqual(self.state(server, name), "online", "nobody can know yet")
        self.pg.run("update daemon_runtime_registry set last_seen_at = last_seen_at - interval '60 seconds'", self.db)
        self.assertEqual(self.state(server, name), "offline")

    def test_two_daemons_are_two_rows(self):
        """jobs D-26: one id for two processes of different kinds, and two daemons of one kind."""
        env = {"ATHENA_DAEMON_ID": "node-7"}
        ours = self.start("serve", wait=True, env=env)
        self.wait_value("the server", f"select string_agg(daemon_id, ' ') {REGISTRY}", "node-7")
        other = self.start("daemon", env=env)
        self.wait_value("both", f"select string_agg(daemon_id || '=' || runtime_kind, ' ' order by daemon_id) {REGISTRY}",
                        "node-7=api_inline node-7:athena_daemon=athena_daemon")
        self.assertIn('daemon id "node-7" is used by another live process', self.logged(other))
        self.start("daemon")
        self.wait_value("three", f"select count(distinct metadata_json->>'pid') {REGISTRY} where last_seen_at > now() - interval '30 s'", "3")
        self.assertEqual(ours.stop(), 0)
        self.assertEqual(self.value(f"select count(*) {REGISTRY} where last_seen_at > now() - interval '60 s'"), "2")

    def logged(self, process):
        text = ""
        for folder, _, files in os.walk(process.folder):
            for f in files:
                with open(f"{folder}/{f}", errors="replace") as file:
                    text += file.read()
        return text

    def test_the_catalogue_of_programs(self):
        """GET /admin/daemons/catalog: what could be started, by its published name, with the workers that it would run."""
        server = self.start("serve", wait=True)
        found = server.get("/admin/daemons/catalog", {"x-athena-key": ADMIN_KEY}).json["data"]["runtimes"]
        self.assertEqual([(r["binary"], r["cargo_run"], r["runtime_kind"], r["bundled_with_api"]) for r in found],
                         [("athena_rs", "athena serve", "api", True),
                          ("athena_daemon_legacy_workers", "athena worker upkeep", "athena_daemon_legacy_workers", False),
                          ("athena_daemon", "athena daemon", "athena_daemon", False)])
        for r in found:
            self.assertIn("retention_worker", r["workers"])

    # ---- who owns a family

    def families(self, server):
        found = server.get("/health/cluster").json["worker_families"] or []
        return {f["family"]: f["state"] for f in found}

    def runners(self, server):
        found = re.search(r'^athena_worker_family_runners\{family="upkeep"\} (\d+)$', server.get("/metrics").body, re.M)
        return int(found.group(1)) if found else None

    def test_a_family_that_nobody_runs(self):
        """With daemon.enabled and no daemon nobody runs it: health, metrics and the doctor say so, until one is started (jobs 9 item 12)."""
        server = self.start("serve", wait=True, more="daemon:\n- enabled: true\n")
        wait_for("nobody", 30, lambda: self.families(server) == {"upkeep": "none"})
        self.assertEqual(self.runners(server), 0)
        self.assertIn("no process that is online runs: upkeep", self.doctor(server))
        self.assertEqual(self.value(f"select count(*) {REGISTRY}"), "0")
        daemon = self.start("daemon")
        wait_for("somebody", 30, lambda: self.families(server) == {"upkeep": "ok"})
        self.assertEqual(self.runners(server), 1)
        self.assertIn("each of 1 families of workers is run", self.doctor(server))
        self.assertEqual(daemon.stop(), 0)
        wait_for("nobody again", 30, lambda: self.families(server) == {"upkeep": "none"})

    def test_a_family_that_two_set_ups_own(self):
        """A server that runs its workers itself beside a daemon that runs them too."""
        server = self.start("serve", wait=True)
        wait_for("the server", 30, lambda: self.families(server) == {"upkeep": "ok"})
        daemon = self.start("daemon")
        wait_for("both", 30, lambda: self.families(server) == {"upkeep": "doubled"})
        self.assertEqual(self.runners(server), 2)
        self.assertIn("both servers and daemons run: upkeep", self.doctor(server))
        self.assertEqual(daemon.stop(), 0)
        wait_for("the server alone", 30, lambda: self.families(server) == {"upkeep": "ok"})

    def doctor(self, server):
        done = subprocess.run([executable(), "doctor", "--json", "--config", server.config], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=server.env, cwd=server.folder)
        return done.stdout


if __name__ == "__main__":
    unittest.main(verbosity=2)
