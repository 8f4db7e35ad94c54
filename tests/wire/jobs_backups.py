"""The recording of backups and schedules: a real S3 store, real tools, and the worker in the server, as its lines were recorded.

Each `setup` has a server of its own, on databases that go on from one to the next. Ids of jobs are those of the recording: the sequence is
set before a job is put, so that lines which name one by its number find it. A line that shows a job is sent when the job is as far as it was.
What the recording does not tell (jobs that later lines find there) is done in `before`.
"""
import json
import re
import subprocess
import sys

import jobs
import wire
from wire import HERE

sys.path.insert(0, f"{HERE}/../support")
from lab import free_port, wait_for  # noqa: E402
from s3lab import Client, SeaweedFS  # noqa: E402

NAME = "jobs-backups"
KEY = {"x-athena-key": jobs.KEY, "content-type": "application/json"}
CONFIG = """plugins: [routes-meta, routes-backup, routes-daemons, routes-jobs, worker-backup, driver-s3, sink-file]
urls: []
hosts: []
authenticator: []
api:
- port: 4452
gateway:
- logging_client: athena_logging
- auth_client: athena_logging
backup:
- execution_worker_poll_ms: 500
- schedule_worker_poll_ms: 1000
- worker_enabled: {worker}
- drill_every: 0
{backup}driver-s3:
  tries: 2
  retry_delay: 10ms
postgres_clients:
"""
# What of `setup` names a server, and what is different there. The first that fits.
SERVERS = [
    ("two servers share", {"cross": True}),
    ("same ATHENA_DAEMON_ID", {"cross": True, "same": True}),
    ("ENABLE_ADMIN_BACKUP_ROUTES=0", {"env": {"ATHENA_ENABLE_ADMIN_BACKUP_ROUTES": "0"}}),
    ("ATHENA_KEY_12 not set", {"env": {"ATHENA_KEY_12": ""}}),
    ("BUCKET not set", {"env": {"ATHENA_BACKUP_S3_BUCKET": ""}}),
    ("points at a closed port", {"down": True}),
    ("wrong S3 secret", {"env": {"ATHENA_BACKUP_S3_SECRET_KEY": "another"}}),
    ("worker_enabled false", {"worker": "false"}),
    ("worker_max_attempts 1", {"backup": "- worker_max_attempts: 1\n"}),
    ("PATH without pg_dump", {"env": {"PATH": "/nowhere"}}),
    ("", {}),
]


# The recorded server did not read the file's bucket (D-47). Ours does, for the line that shows it; the others are about none at all.
FROM_THE_FILE = {"env": {"ATHENA_BACKUP_S3_BUCKET": ""}, "backup": "- s3_bucket: dumps\n"}


def server_of(line):
    if line["id"] == "backups.no-s3.config":
        return FROM_THE_FILE
    return next(more for words, more in SERVERS if words in line["setup"])


def id_of(lines, match):
    """A reference to the id of a job: it is the recorded one."""
    node = json.loads(lines[match[1]]["response"]["body"])
    for step in wire.steps(match[2]):
        node = node[int(step)] if isinstance(node, list) else node[step]
    return str(node)


class Backups:
    def __init__(self, tests):
        self.tests, self.held, self.server, self.runs = tests, None, None, None
        self.store = SeaweedFS(tests.lab.place("seaweedfs"))
        tests.lab.things.append(self.store)
        self.client = Client(self.store.url)
        self.client.make_bucket("dumps")
        self.closed = free_port()
        self.names = [("{S3}", f"127.0.0.1:{self.store.port}"), ("{PG}", f"127.0.0.1:{tests.port}"), ("{CLOSED}", f"127.0.0.1:{self.closed}")]
        self.lines = wire.recorded(NAME, [("port {CLOSED}", f"port {self.closed}"), ("port {PG}", f"port {tests.port}"), *self.names])
        self.by_id = {line["id"]: line for line in self.lines}
        self.databases("")

    def databases(self, mark):
        self.log = f"backups_log{mark}"
        for name in (self.log, *(() if mark else ("t_app", "t_two", "t_restore"))):
            self.tests.sql("postgres", f"drop database if exists {name} with (force)")
            self.tests.database(name)
        if not mark:
            for name in ("t_app", "t_two"):
                self.tests.sql(name, wire.state("jobs"), "-v", "shop=1")

    def start(self, more, daemon="node-1", worker=None):
        clients = {"athena_logging": self.log, "shop": "t_app", "two": "t_two", "restore": "t_restore"}
        config = CONFIG.format(worker=worker or more.get("worker", "true"), backup=more.get("backup", ""))
        config += "".join(f"- {n}: postgres://postgres@127.0.0.1:{self.tests.port}/{d}\n" for n, d in clients.items())
        env = {"ATHENA_KEY_12": jobs.KEY, "ATHENA_DAEMON_ID": daemon, "HOSTNAME": "host-1", "ATHENA_BACKUP_S3_BUCKET": "dumps",
               "ATHENA_BACKUP_S3_ENDPOINT": f"http://127.0.0.1:{self.closed}" if more.get("down") else self.store.url,
               "ATHENA_BACKUP_S3_ACCESS_KEY": self.store.access, "ATHENA_BACKUP_S3_SECRET_KEY": self.store.secret, **more.get("env", {})}
        server = self.tests.lab.athena({}, config=config, exe=self.tests.exe, env=env)
        wait_for("the databases are connected", 20, lambda: server.get("/ready").json["clients"]["connected"] >= len(clients))
        wait_for("the queue is there", 60, lambda: self.ask(
            "select count(*) from pg_attribute where attrelid = to_regclass('backup_jobs') and attname = 'unique_key'") == "1")
        wait_for("it shows among the daemons", 20, lambda: self.ask(
            f"select count(*) from daemon_runtime_registry where daemon_id = '{daemon}' and last_seen_at > now() - interval '60 s'") == "1")
        return server

    # ---- the tables, and what is done to them ----

    def ask(self, text):
        return jobs.ask(self.tests, self.log, text).strip()

    def next_id(self, number):
        self.ask(f"alter table backup_jobs alter column id restart with {number}")

    def put(self, number, body, path="/admin/backups", headers=KEY):
        self.next_id(number)
        answer = self.server.request("POST", path, body, headers)
        if answer.status != 202:
            raise AssertionError(f"job {number}: {answer.status} {answer.body}")

    def status(self, number):
        return self.ask(f"select status from backup_jobs where id = {number}")

    def wait(self, number, *statuses, seconds=60):
        wait_for(f"job {number} is {statuses[0]}", seconds, lambda: self.status(number) in statuses)

    def wait_for_tool(self, number):
        wait_for(f"pg_restore of job {number} runs", 60, lambda: self.ask(f"select progress_stage from backup_jobs where id = {number}") == "pg_restore")

    def hold(self, database="t_app", table="products"):
        """An open transaction that pg_dump waits for."""
        self.held = subprocess.Popen(["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", self.tests.pg.folder, "-p", str(self.tests.port), "-U", "postgres", "-d", database],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.held.stdin.write(f"begin; lock table {table} in access exclusive mode; select 1;\n")
        self.held.stdin.flush()
        if self.held.stdout.readline() != "1\n":
            self.release()
            raise AssertionError(f"table {table} of {database} cannot be locked")

    def release(self):
        if self.held:
            self.held.stdin.close()
            self.held.stdout.close()
            self.held.wait()
        self.held = None

    def key_of(self, number):
        return self.ask(f"select s3_key from backup_jobs where id = {number}")

    # ---- what was there before a line ----

    def before(self, line):
        name = line["id"]
        body = json.loads(line["response"]["body"]) if line["response"]["body"][:1] == "{" else {}
        data = body.get("data") if isinstance(body.get("data"), dict) else {}
        step = getattr(self, "before_" + name.replace(".", "_").replace("-", "_").replace(":", "_"), None)
        if step:
            step(line)
        if line["response"]["status"] == 202 and "job_id" in data:
            self.next_id(data["job_id"])
        path = line["request"]["path"].replace("{raw ", "{")  # keys go with their slashes
        path = re.sub(r"\{([\w.-]+):([\w.\[\]]*job_id)\}", lambda m: id_of(self.by_id, m), path)
        if name.startswith(("backups.s3-down", "backups.s3-denied")):
            path = path.replace("/k", "/backups/k")  # D-43
        line["request"]["path"] = path
        if "schedule" in data:
            self.ask(f"alter table backup_schedules alter column id restart with {data['schedule']['id']}")
        if "job" in data:
            line["request"]["path"] = f"/admin/backups/jobs/{data['job']['id']}"
            self.await_job(data["job"], "defect" in line)

    def await_job(self, want, defect):
        """As far as it was, or over. What is a defect of theirs may never come."""
        def arrived():
            row = self.ask(f"select status, error_message is not null from backup_jobs where id = {want['id']}").split("|")
            return row[0] in ("completed", "failed", "cancelled", "", want["status"]) and (row[0] != want["status"] or want["error_message"] is None or row[1] == "t")
        try:
            wait_for(f"job {want['id']} is {want['status']}", 5 if defect else 60, arrived)
        except AssertionError:
            if not defect:
                raise

    def before_backups_restore(self, line):
        self.put(3, {"client_name": "sample", "label": "sample", "pg_uri": f"postgres://postgres@127.0.0.1:{self.tests.port}/t_two"})
        self.wait(3, "completed")

    def before_backups_list_four(self, line):
        for n, client in enumerate(("shop", "two", "shop", "two")):
            self.put(5 + n, {"client_name": client, "label": f"run-{n}"})
            self.wait(5 + n, "completed")
        for item in json.loads(line["response"]["body"])["data"]["backups"]:
            self.ask(f"update backup_jobs set completed_at = '{item['completed_at']}' where id = {item['job_id']}")

    def before_backups_job_running(self, line):
        self.hold()
        self.put(9, {"client_name": "shop", "label": "held"})
        self.wait(9, "running")
        self.put(10, {"client_name": "two", "label": "waits"})

    def before_backups_delete_cancelled(self, line):
        self.release()

    def before_backups_restore_garbage(self, line):
        with open(f"{HERE}/recorded/backup-sample.tar.gz", "rb") as f:
            sample = f.read()
        for name, content in (("garbage", b"this is no archive"), ("empty", b""), ("cut", sample[:len(sample) // 2])):
            self.client.well("PUT", f"/dumps/backups/shop/{name}.tar.gz", body=content)

    def before_schedules_patch_client_ignored(self, line):
        self.ask("update backup_schedules set label = 'weekly-shop', timeout_seconds = 90 where id = (select min(id) from backup_schedules)")

    def due(self, number):
        self.next_id(number)
        self.ask("update backup_schedules set next_run_at = now() where id = (select min(id) from backup_schedules)")
        self.wait(number, "completed", "failed")

    def before_schedules_jobs_after_run(self, line):
        self.due(17)

    def before_schedules_delete(self, line):
        self.ask("update backup_schedules set execution_daemon_id = 'node-1' where id = (select min(id) from backup_schedules)")
        self.due(18)

    def before_backups_s3_denied_job(self, line):
        self.put(20, {"client_name": "shop"})

    def before_backups_worker_off_job(self, line):
        self.put(21, {"client_name": "shop"})

    def before_backups_one_attempt_restore_bad_role(self, line):
        self.ask("delete from backup_jobs where id in (19, 20, 21)")

    def before_backups_one_attempt_restore_dependent(self, line):
        self.tests.sql("t_restore", "create view uses_products as select id from products")

    def before_backups_three_attempts_after_3(self, line):
        for attempt in (2, 3):
            self.ask("update backup_jobs set next_attempt_at = now() where id = 29")
            wait_for(f"attempt {attempt}", 30, lambda n=attempt: self.ask(
                f"select attempt_count >= {n} and status <> 'running' or status = 'failed' from backup_jobs where id = 29") == "t")

    def before_backups_restore_running(self, line):
        self.tests.sql("t_restore", "drop view if exists uses_products")
        self.hold("t_restore")
        key = self.ask("select s3_key from backup_jobs where job_type = 'backup' and status = 'completed' and s3_key is not null order by id desc limit 1")
        self.put(32, {"client_name": "restore", "mode": "in_place"}, f"/admin/backups/{key}/restore")
        self.wait_for_tool(32)

    def before_backups_timeout_job(self, line):
        self.release()
        self.hold()
        self.put(33, {"client_name": "shop", "label": "slow", "timeout_seconds": 1})
        self.wait(33, "running")

    def before_backups_killed_job(self, line):
        self.server.request("POST", "/admin/backups/jobs/33/cancel", None, KEY)
        self.wait(33, "cancelled")
        self.put(34, {"client_name": "shop", "label": "killed"})
        self.wait(34, "running")
        self.server.process.kill()
        self.server.process.wait()
        self.server = self.start({})

    def before_backups_killed_reclaimed(self, line):
        self.release()
        self.ask("update backup_jobs set lease_expires_at = now() - interval '1 s', attempt_count = 7 where id = 34")

    def before_cross_daemons(self, line):
        self.runs = self.start({}, "node-2")
        wait_for("both have sent heartbeats", 20, lambda: self.ask("select count(*) from daemon_runtime_registry") == "2")
        self.ask("update daemon_runtime_registry set last_seen_at = last_seen_at - interval '1 s' where daemon_id = 'node-1'")

    def before_cross_backup_cancel(self, line):
        self.put(1, {"client_name": "shop"})
        self.wait(1, "completed")
        self.hold()
        self.put(2, {"client_name": "shop"})
        self.wait(2, "running")

    def before_cross_restore_cancel(self, line):
        self.release()
        self.hold("t_restore")
        self.put(3, {"client_name": "restore", "mode": "in_place"}, f"/admin/backups/{self.key_of(1)}/restore")
        self.wait_for_tool(3)

    def before_cross_daemons_same_id(self, line):
        self.release()
        self.runs.stop()


def play(tests):
    explanations, backups, answers, last = wire.Explanations(NAME), Backups(tests), {}, object()
    for line in backups.lines:
        more = server_of(line)
        if more is not last and not (more.get("same") and last.get("cross")):
            if backups.server:
                backups.server.stop()
            if more.get("cross"):
                backups.databases("_cross")
            backups.server = backups.start(more, worker="false" if more.get("cross") else None)
        last = more

        class Now:
            """Whichever server it is by then."""
            request = staticmethod(lambda *args, **kw: backups.server.request(*args, **kw))
        try:
            wire.play(NAME, Now, tests.score, lambda database, sql: None, [line], backups.before, explanations, backups.names, answers)
        except (AssertionError, LookupError, TypeError) as e:
            tests.score.check(f"{NAME}/{line['id']}", [f"what comes before it: {e!r}"])
    backups.release()
    tests.score.check(f"{NAME}/explanations", explanations.stale())
