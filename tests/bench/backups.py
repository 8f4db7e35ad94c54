"""A backup, from the request to the finished job, against PostgreSQL's and Unix's own tools doing the same: pg_dump into a folder with as many
connections, tar, gzip, curl. Ours also counts rows, digests everything, and (the second figure) reads all of it back and decodes it."""
import datetime
import hashlib
import hmac
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from backuplab import ADMIN, BackupLab  # noqa: E402
from s3lab import ACCESS, BUCKET, SECRET  # noqa: E402

MEGABYTES = {"small": 100, "large": 500, "huge": 2000}
JOBS = min(4, os.cpu_count() or 1)
TABLES = """
create table t{n} (id bigint primary key, at timestamptz, name text, note text);
insert into t{n} select i, timestamptz '2026-01-01' + i * interval '1 second', 'name ' || i % 1000, md5(i::text) || md5((i + {n})::text) from generate_series(1, {rows}) i;
"""


def presigned(host, key, method="PUT"):
    """A link to PUT or GET an object by."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{now[:8]}/us-east-1/s3/aws4_request"
    path = f"/{BUCKET}/{key}"
    query = urllib.parse.urlencode({"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"{ACCESS}/{scope}", "X-Amz-Date": now,
                                    "X-Amz-Expires": 3600, "X-Amz-SignedHeaders": "host"}, quote_via=urllib.parse.quote, safe="")
    asked = f"{method}\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    sign = b"AWS4" + SECRET.encode()
    for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"):
        sign = hmac.new(sign, part.encode(), hashlib.sha256).digest()
    return f"http://{host}{path}?{query}&X-Amz-Signature={sign.hex()}"


def bare(lab, database, level):
    work = lab.place("bare")
    os.makedirs(work)
    os.chmod(work, 0o777)
    began = time.monotonic()
    subprocess.run([f"{lab.pg.bin}/pg_dump", "--format=directory", "--no-owner", "--no-acl", "--jobs", str(JOBS), "--file", f"{work}/dump",
                    "--dbname", lab.pg.uri(database)], check=True)
    subprocess.run(f"tar -C {work} -c dump | gzip -{level} > {work}/backup.tar.gz", shell=True, check=True)
    subprocess.run(["curl", "-sS", "--fail", "-o", "/dev/null", "-T", f"{work}/backup.tar.gz",
                    presigned(lab.s3.url.split("//")[1], f"bare/{time.time_ns()}.tar.gz")], check=True)
    took = time.monotonic() - began
    shutil.rmtree(work)
    return took


def wait(lab, server, job):
    """By a request: a psql each time would take processor time from the one that is measured."""
    while (status := server.request("GET", f"/admin/backups/jobs/{job}", headers=ADMIN).json["data"]["job"]["status"]) in ("pending", "running"):
        time.sleep(0.05)
    if status != "completed":
        raise AssertionError(f"{lab.row(job)} {lab.logs(job)}")


def ours(lab, server, client):
    began = time.monotonic()
    wait(lab, server, lab.create(client, server))
    return time.monotonic() - began


def peak_mib(server):
    with open(f"/proc/{server.process.pid}/status") as f:
        return int(next(line.split()[1] for line in f if line.startswith("VmHWM:"))) / 1024


def make(lab, name, megabytes):
    lab.pg.run(f"create database {name}")
    for n in range(4):
        lab.pg.run(TABLES.format(n=n, rows=megabytes * 1_000_000 // 4 // 110), name)
    return int(lab.sql("select pg_database_size(current_database())", name)) / 1e6


def bench_backups(a):
    n = min(a.rounds, 5)
    with BackupLab(settings=["shared_buffers=256MB", "max_wal_size=4GB"]) as lab:
        size = {name: make(lab, name, mb) for name, mb in MEGABYTES.items()}
        clients = {name: lab.pg.uri(name) for name in MEGABYTES}
        got = {"pg_dump, tar, gzip -6, curl": [], "pg_dump, tar, gzip -1, curl": [], "ours": [], "ours, read back and decoded": []}
        for _ in range(n):
            got["pg_dump, tar, gzip -6, curl"].append(bare(lab, "large", 6))
            got["pg_dump, tar, gzip -1, curl"].append(bare(lab, "large", 1))
            for name, worker in (("ours", "  prove_after_upload: false\n"), ("ours, read back and decoded", "")):
                server = lab.server(clients=clients, worker=worker)
                got[name].append(ours(lab, server, "large"))
                server.stop()
        base = statistics.median(got["pg_dump, tar, gzip -6, curl"])
        print(f"backup of {size['large']:.0f} MB, {n} rounds, medians")
        for name, times in got.items():
            print(f"  {name:32} {statistics.median(times):7.2f} s   {base / statistics.median(times):5.2f} of the speed of the first")
        for name in ("small", "huge"):
            server = lab.server(clients=clients)
            before = peak_mib(server)
            ours(lab, server, name)
            print(f"  resident memory at most, {size[name]:6.0f} MB: {peak_mib(server):6.1f} MiB ({before:.1f} before)")
            server.stop()

