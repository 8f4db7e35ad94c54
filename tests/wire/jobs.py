"""The recording of the deferred queue, the write buffer and the daemons: each group of lines (by its `setup`) has a server of its own on
databases of its own, and some lines a state that has to come about first.

A line that asks for a request's status is sent when the request has the recorded status, or one that it does not leave. Where the
recorded status would pass too quickly, a row of another worker that seems to run holds up the client (HELD).
"""
import json
import sys
import time

import wire
from wire import HERE

sys.path.insert(0, f"{HERE}/../support")
from keyrows import KeyStore  # noqa: E402
from lab import free_port, wait_for  # noqa: E402

KEY = "admin-key"
STORE = "store.internal:8333"  # nobody asks it anything
BASE = """urls: []
hosts: []
authenticator: []
api:
- port: 4452
gateway:
- logging_client: {log}
- auth_client: {auth}
- deferred_query_worker_poll_ms: 1000
{gateway}postgres_clients:
"""
PUBLIC = "- deferred_routes_public: true\n"
LIMIT = "- admission_limit_enabled: true\n- admission_window_secs: 60\n"
MEMORY = "- admission_store_backend: memory\n"
# ID-prefix of the lines, the section gateway, and what else is different.
GROUPS = [
    ("deferred.", "jobs.sql applied", PUBLIC, {}),
    ("fallback.", "auth_client names", PUBLIC + "- api_key_fail_mode: fail_open\n", {"auth": "down"}),
    ("limiter.", "2 requests per client", PUBLIC + LIMIT + MEMORY + "- admission_per_client_requests_per_window: 2\n- admission_defer_on_limit_enabled: true\n"
     "- admission_defer_route_prefixes: /gateway/query,/pipelines\n", {}),
    ("limiter.", "1 request per client", PUBLIC + LIMIT + MEMORY + "- admission_per_client_requests_per_window: 1\n", {}),
    ("limiter.", "default store", PUBLIC + LIMIT + "- admission_per_client_requests_per_window: 1\n", {}),
    ("deferred.worker-off", "worker_enabled false", PUBLIC + "- deferred_query_worker_enabled: false\n", {}),
    ("deferred.retention", "retention_secs 1", PUBLIC + "- deferred_query_retention_secs: 1\n- deferred_query_cleanup_interval_ms: 1000\n",
     {"env": {"ATHENA_DEFERRED_MAX_ATTEMPTS": "4"}}),
    ("deferred.killed", "was killed", PUBLIC, {"before": "killed"}),
    ("deferred.odd", "odd payload", PUBLIC, {"before": "odd"}),
    ("deferred.enforced", "enforce_api_keys true", "", {"before": "enforce"}),
    ("direct.query-defer", "jdbc_allow_private", PUBLIC + "- jdbc_allow_private_hosts: true\n", {"two": "t_two"}),
    ("daemons.", "daemon_runtime_registry", "", {"before": "daemons", "env": {"ATHENA_DAEMON_ID": "node-1", "HOSTNAME": "host-1"}}),
    ("log-down.", "database is down", PUBLIC, {"log": "down", "env": {"ATHENA_ENABLE_ADMIN_PROVISION_ROUTES": "1", "ATHENA_BACKUP_S3_BUCKET": "dumps", "ATHENA_BACKUP_S3_ENDPOINT": f"http://{STORE}"}}),
    ("log-unset.", "not set", PUBLIC, {"log": "", "auth": ""}),
    ("log-empty.", "without any table, gateway.auth_client", PUBLIC, {"auth": ""}),
    ("log-empty.worker-off", "deferred worker off", PUBLIC + "- deferred_query_worker_enabled: false\n", {"auth": ""}),
]
RIGHTS = {"proxy": (["gateway.typesense_proxy"], None), "reader": (["gateway.read"], "shop"), "two-proxy": (["gateway.typesense_proxy"], "two"),
          "writer": (["gateway.read", "gateway.write", "gateway.query", "management.provision.write"], "shop"), "query": (["gateway.query"], None)}
# Its defect is what it leaves behind, not what it says.
SAYS_RIGHT = "log-down.provision.create-database"
# From this line up to that one nothing of the client is begun.
HELD = {"deferred.requeue.completed": True, "deferred.status.completed-twice": False, "deferred.requeue.dead-letter": True,
        "deferred.status.dead-letter-again": False}
HOLD = """insert into gateway_deferred_request_queue (request_id, method, route, client_name, payload, status, lease_token, lease_expires_at, execution_daemon_id)
values ('held', 'POST', '/gateway/query', 'shop', '{}', 'running', gen_random_uuid(), now() + interval '1 hour', 'another')"""
KILLED = """insert into gateway_deferred_request_queue (request_id, method, route, client_name, payload, status, attempts, lease_token, lease_expires_at,
execution_daemon_id) values ('86869c6f-a5d2-4d9b-a70a-74c9fd604960', 'POST', '/gateway/query', 'shop', '{"kind":"gateway_query","client_name":"shop",
"request_id":"86869c6f-a5d2-4d9b-a70a-74c9fd604960","request_body":{"query":"select 1"}}', 'running', 1, gen_random_uuid(), now(), 'killed')"""


def ask(tests, database, text):
    return tests.pg.program("psql", "-X", "-q", "-A", "-t", "-h", tests.pg.folder, "-p", str(tests.port), "-U", "postgres", "-d", database, "-c", text)


def wait_for_queue(tests, database):
    """What is ours of its table comes last."""
    wait_for("the queue is there", 60, lambda: "context" in ask(
        tests, database, "select string_agg(attname, ' ') from pg_attribute where attrelid = to_regclass('public.gateway_deferred_request_queue')"))


class Group:
    def __init__(self, tests, number, gateway, more):
        self.tests, self.more = tests, more
        self.log, self.app, self.two = (f"jobs_{word}{number}" for word in ("log", "app", "two"))
        self.two = more.get("two", self.two)
        for name in (self.log, self.app, self.two):
            tests.database(name)
        for name in (self.app, self.two):
            tests.sql(name, wire.state("jobs"), "-v", "shop=1")
        clients = {"athena_logging": self.log, "shop": self.app, "two": self.two}
        config = BASE.format(log=more.get("log", "athena_logging"), auth=more.get("auth", "athena_logging"), gateway=gateway)
        config += "".join(f"- {n}: postgres://postgres@127.0.0.1:{tests.port}/{d}\n" for n, d in clients.items())
        config += f"- down: postgres://postgres@127.0.0.1:{free_port()}/none\n"
        self.server = tests.lab.athena({}, config=config, exe=tests.exe, env={"ATHENA_KEY_12": KEY, **more.get("env", {})})
        wait_for("the databases are connected", 20, lambda: self.server.get("/ready").json["clients"]["connected"] >= 3)
        if more.get("log", True) not in (False, "", "down"):
            wait_for_queue(tests, self.log)
        self.names = [("{PG}", f"127.0.0.1:{tests.port}")]
        self.before = {"odd": self.odd, "killed": self.killed, "enforce": self.enforce, "daemons": self.daemons}.get(more.get("before"), lambda: None)

    def ask(self, text):
        return ask(self.tests, self.log, text)

    def odd(self):
        self.tests.sql(self.log, wire.state("jobs"), "-v", "odd_deferred=1")
        self.ask("update gateway_deferred_request_queue set next_attempt_at = now() where request_id = 'odd-future'")  # it was claimed before it was put off

    def killed(self):
        self.ask(KILLED)

    def daemons(self):
        wait_for("this process is among them", 20, lambda: self.ask("select count(*) from daemon_runtime_registry").strip() != "0")
        self.tests.sql(self.log, wire.state("jobs"), "-v", "daemons=1")

    def enforce(self):
        class Store(KeyStore):
            run = staticmethod(lambda text: self.tests.sql(self.log, text))
        store = Store(None, self.log)
        wait_for("the tables of keys are there", 60, lambda: "f" not in self.ask("select to_regclass('api_key_ip_whitelist') is not null"))
        for name, (rights, client) in RIGHTS.items():
            self.names.append((f"<key:{name}>", str(store.add(name, rights, client))))
        store.enforce(True)
        wait_for("keys are asked for", 20, lambda: self.server.request("POST", "/gateway/query", {"query": "select 1"}, {"X-Athena-Client": "shop"}).status == 401)

    def prepare(self, line, answers):
        if HELD.get(line["id"]) is False:
            self.ask("delete from gateway_deferred_request_queue where request_id = 'held'")
        self.await_status(line, answers)
        if HELD.get(line["id"]):
            self.ask(HOLD)

    def await_status(self, line, answers):
        """A status that was recorded after a while."""
        path, want = line["request"]["path"], json.loads(line["response"]["body"] or "{}")
        status = isinstance(want.get("data"), dict) and want["data"].get("status")
        if line["request"]["method"] == "POST" and path.endswith("/requeue") and line["response"]["status"] == 200:
            status = "completed"
        if not path.startswith("/gateway/deferred/") or (not status and line["response"]["status"] != 404):
            return
        job = path.split("/")[3]
        if job.startswith("{"):
            job = wire.named_value(answers, job[1:-1])
        last, end = (status, "completed", "dead_letter"), time.monotonic() + 10
        if line["id"].startswith("fallback."):
            end = time.monotonic()  # nobody can be checked, so nothing is carried out
        if line["id"].startswith("deferred.killed"):
            last, end, status = ("completed", "dead_letter"), end + 30, "completed"
        while status and time.monotonic() < end and self.ask(f"select status from gateway_deferred_request_queue where request_id = '{job}'").strip() not in last:
            time.sleep(0.02)
        while line["id"].endswith("after-purge") and self.ask(f"select 1 from gateway_deferred_request_queue where request_id = '{job}'").strip():
            time.sleep(0.05)


def play(tests):
    explanations, lines = wire.Explanations("jobs"), wire.recorded("jobs", [("{S3}", STORE)])
    for number, (prefix, setup, gateway, more) in enumerate(GROUPS):
        mine = [{k: v for k, v in n.items() if k != "defect" or n["id"] != SAYS_RIGHT} for n in lines
                if n["id"].startswith(prefix) and setup in n["setup"]]
        if not mine:
            tests.score.check(f"jobs/{prefix}", ["has no lines"])
            continue
        group = Group(tests, number, gateway, more)
        group.before()
        answers = {}
        wire.play("jobs", group.server, tests.score, lambda database, sql: None, mine, lambda line: group.prepare(line, answers), explanations, group.names, answers)
        group.server.stop()
        tests.sql("postgres", f"drop database {group.two} with (force)")  # another part of the recording has its name
    tests.score.check("jobs/explanations", explanations.stale())
