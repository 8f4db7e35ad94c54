"""A control plane, a store and databases for tests of backups: `athena serve` with the routes and the worker.

    with BackupLab() as lab:
        server = lab.server()                         # clients app, control; work folder lab.work
        job = lab.create("app", label="first")        # the id of a job, by the route
        lab.wait(job, "completed")                    # its row
"""
import glob
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import ADMIN_KEY, Athena, wait_for  # noqa: E402
from s3faults import Faults  # noqa: E402
from s3lab import ACCESS, BUCKET, SECRET, S3Lab  # noqa: E402

ADMIN = {"x-athena-key": ADMIN_KEY, "content-type": "application/json"}
SECRETS_KEY = "4wG2dBHR9yqHvvJTl2oPXxXVQm1qCkS6ZQJmE0YhM0o="
PLUGINS = "routes-meta, routes-backup, routes-jobs, routes-daemons, driver-s3, worker-backup, sink-file"

TABLES = """
create table items (id int primary key, name text, note text);
insert into items select i, 'item ' || i, md5(i::text) from generate_series(1, 5000) i;
create table "odd name" (a int); insert into "odd name" values (1), (null);
create view seen as select count(*) from items;
"""


class Gate(Faults):
    """In front of a store: what is held waits until it is let go."""
    def __init__(self, store):
        super().__init__(store.port)
        self.open, self.waiting = threading.Event(), threading.Event()

    def hold(self, method, part, **kw):
        self.open.clear()
        self.waiting.clear()
        self.spoil(method, part, self.wait, **kw)

    def wait(self, h):
        h.body()
        self.waiting.set()
        self.open.wait(90)
        h.answer(*h.forward())

    def calm(self):
        self.open.set()
        super().calm()

    def stop(self):
        self.calm()
        super().stop()


class Locked:
    """A table that somebody holds, so that pg_dump waits."""
    def __init__(self, pg, database, table="items"):
        self.process = subprocess.Popen([f"{pg.bin}/psql", "-X", "-q", "-h", pg.folder, "-p", str(pg.port), "-U", "postgres", "-d", database], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.process.stdin.write(f"begin; lock table {table} in access exclusive mode; \\echo held\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == "held"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class BackupLab(S3Lab):
    def __init__(self, **kw):
        super().__init__()
        self.pg = self.postgres(tcp=True, **kw)
        for name in ("control", "app"):
            self.pg.run(f"create database {name}")
        self.s3 = self.store()
        self.work = self.place("work")
        os.makedirs(self.work)
        self.daemons = 0

    def server(self, clients=(), worker="", backup="", env=(), store=None, plugins=PLUGINS, more="", id=None, retry="100ms", **kw):
        """`worker`: settings of worker-backup, a line each; `clients`: further names and URIs; `store`: instead of the real one."""
        self.daemons += 1
        names = {"control": self.pg.uri("control"), "app": self.pg.uri("app"), **dict(clients)}
        config = (f"plugins: [{plugins}]\nurls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\ngateway:\n- enforce_api_keys: true\n- logging_client: control\n"
                  f"daemon:\n- id: {id or f'd{self.daemons}'}\n"
                  + (f"backup:\n{backup}" if backup else "") + "postgres_clients:\n" + "".join(f"- {n}: \"{u}\"\n" for n, u in names.items())
                  + (f"worker-backup:\n  work_dir: {self.work}\n  lease: 3s\n  retry: {retry}\n  sweep_every: 1s\n  sweep_again: 4s\n{worker}" if "worker-backup" in plugins else "")
                  + "driver-s3:\n  retry_delay: 20ms\n  retry_most: 300ms\n  stall_timeout: 10s\n" + more)
        all_env = {"ATHENA_SECRETS_KEY": SECRETS_KEY, "ATHENA_BACKUP_S3_BUCKET": BUCKET, "ATHENA_BACKUP_S3_ENDPOINT": (store or self.s3).url,
                   "ATHENA_BACKUP_S3_ACCESS_KEY": ACCESS, "ATHENA_BACKUP_S3_SECRET_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true", **dict(env)}
        server = self.athena({}, config=config, env={k: v for k, v in all_env.items() if v is not None}, **kw)
        if kw.get("wait", True):
            wait_for("the queue is there", 60, lambda: self.sql("select count(*) from pg_attribute where attrelid = to_regclass('backup_jobs') and attname = 'unique_key'") == "1"
                     and self.sql("select count(*) from athena_clients where client_name = 'app'") == "1")
            wait_for("the clients are connected", 30, lambda: server.get("/ready").json["clients"]["connected"] >= len(names))
            self.main = server
        return server

    def gate(self):
        self.things.append(Gate(self.s3))
        return self.things[-1]

    def sql(self, text, database="control"):
        return self.pg.run(text, database).strip()

    def ask(self, method, path, body=None, server=None):
        return (server or self.main).request(method, path, body, ADMIN)

    def create(self, client="app", server=None, **body):
        a = self.ask("POST", "/admin/backups", {**({"client_name": client} if client else {}), **body}, server)
        if a.status != 202:
            raise AssertionError(f"{a.status}: {a.body}")
        return a.json["data"]["job_id"]

    def cancel(self, job, server=None):
        return self.ask("POST", f"/admin/backups/jobs/{job}/cancel", None, server)

    def row(self, job):
        return json.loads(self.sql(f"select row_to_json(j) from backup_jobs j where id = {job}") or "{}")

    def logs(self, job):
        return json.loads(self.sql(f"select coalesce(json_agg(message order by id), '[]') from backup_job_logs where job_id = {job}"))

    def wait(self, job, *states, seconds=60):
        try:
            wait_for(f"job {job} is {states}", seconds, lambda: self.sql(f"select status from backup_jobs where id = {job}") in states)
        except AssertionError as e:
            raise AssertionError(f"{e}: {self.row(job)} {self.logs(job)}") from None
        return self.row(job)

    def stage(self, job, *stages, seconds=60):
        try:
            wait_for(f"job {job} is in {stages}", seconds, lambda: self.row(job)["progress_stage"] in stages and self.row(job)["status"] == "running")
        except AssertionError as e:
            raise AssertionError(f"{e}: {self.row(job)} {self.logs(job)}") from None

    def objects(self, prefix=""):
        body = self.s3.client.well("GET", f"/{BUCKET}", {"list-type": 2, "prefix": prefix})[1].decode()
        return re.findall("<Key>(.*?)</Key>", body)

    def object(self, key):
        return self.s3.client.well("GET", f"/{BUCKET}/{key}")

    def archive(self, key):
        return tarfile.open(fileobj=io.BytesIO(self.object(key)[1]), mode="r:gz")

    def folders(self):
        return glob.glob(f"{self.work}/athena_*")

    @staticmethod
    def tools(name="pg_dump"):
        """Processes of a tool, by their command lines, whoever is their parent."""
        found = {}
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as f:
                    words = f.read().split(b"\0")
            except OSError:
                continue
            if any(os.path.basename(w) == name.encode() for w in words[:2]):
                found[int(path.split("/")[2])] = [w.decode(errors="replace") for w in words]
        return found

    def mine(self, name="pg_dump"):
        """Those of them that work in this lab's folder."""
        return {pid: words for pid, words in self.tools(name).items() if any(self.work in w for w in words)}

    def is_clean(self, objects=()):
        """No tool, no folder, no object but these, no unfinished upload."""
        left = (self.mine(), self.folders(), sorted(set(self.objects()) - set(objects)), self.s3.client.uploads())
        return None if not any(left) else left

    def wait_clean(self, objects=(), seconds=30):
        try:
            wait_for("nothing is left", seconds, lambda: self.is_clean(objects) is None)
        except AssertionError:
            raise AssertionError(f"left: {self.is_clean(objects)}") from None


class BackupCase(unittest.TestCase):
    """A database `app` with these tables."""
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.lab = BackupLab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.lab.pg.run(TABLES, "app")

    def tearDown(self):
        """A server that a failed test left would run the jobs of the next one."""
        if not hasattr(type(self), "server"):
            for thing in self.lab.things:
                if isinstance(thing, Athena):
                    thing.stop()
