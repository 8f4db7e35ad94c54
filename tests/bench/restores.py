"""A restore, from the request to the swapped database, against Unix's and PostgreSQL's own tools doing the same to the same server: curl, gunzip, tar,
createdb, pg_restore with as many connections. Ours also checks every byte before the server is touched, and counts all rows before the swap."""
import os
import shutil
import statistics
import subprocess
import time

from backups import JOBS, make, ours, peak_mib, presigned, wait
from backuplab import ADMIN, BackupLab  # noqa: E402

MEGABYTES = {"small": 100, "large": 500, "huge": 2000}


def bare(lab, key, database):
    work = lab.place("bare")
    os.makedirs(work)
    lab.pg.run(f"drop database if exists {database} with (force)")
    began = time.monotonic()
    url = presigned(lab.s3.url.split("//")[1], key, "GET")
    subprocess.run(f"curl -sS --fail '{url}' | gunzip | tar -C {work} -x", shell=True, check=True)
    lab.pg.run(f"create database {database} template template0")
    subprocess.run([f"{lab.pg.bin}/pg_restore", "--format=directory", "--no-owner", "--no-acl", "--jobs", str(JOBS), "--dbname", lab.pg.uri(database),
                    f"{work}/dump"], check=True)
    took = time.monotonic() - began
    shutil.rmtree(work)
    return took


def restore(lab, server, client, key):
    began = time.monotonic()
    answer = server.request("POST", f"/admin/backups/{key.replace('/', '%2F')}/restore", {"client_name": client, "keep_hours": 0}, ADMIN)
    if answer.status != 202:
        raise AssertionError(answer.body)
    wait(lab, server, answer.json["data"]["job_id"])
    return time.monotonic() - began


def bench_restores(a):
    n = min(a.rounds, 5)
    with BackupLab(settings=["shared_buffers=256MB", "max_wal_size=4GB"]) as lab:
        size = {name: make(lab, name, mb) for name, mb in MEGABYTES.items()}
        clients = {name: lab.pg.uri(name) for name in MEGABYTES}
        server = lab.server(clients=clients, worker="  drill_every: \"0\"\n")
        keys = {}
        for name in MEGABYTES:
            ours(lab, server, name)
            keys[name] = lab.sql(f"select s3_key from backup_jobs where client_name = '{name}' and job_type = 'backup'")
        got = {"curl, gunzip, tar, pg_restore": [], "ours": []}
        for _ in range(n):
            lab.pg.run("checkpoint") # what one has left to write is not the other's
            got["curl, gunzip, tar, pg_restore"].append(bare(lab, keys["large"], "bare"))
            lab.pg.run("checkpoint")
            got["ours"].append(restore(lab, server, "large", keys["large"]))
        base = statistics.median(got["curl, gunzip, tar, pg_restore"])
        print(f"restore of {size['large']:.0f} MB, {n} rounds, medians")
        for name, times in got.items():
            print(f"  {name:32} {statistics.median(times):7.2f} s   {base / statistics.median(times):5.2f} of the speed of the first")
        server.stop()
        for name in ("small", "huge"):
            server = lab.server(clients=clients, worker="  drill_every: \"0\"\n")
            before = peak_mib(server)
            restore(lab, server, name, keys[name])
            print(f"  resident memory at most, {size[name]:6.0f} MB: {peak_mib(server):6.1f} MiB ({before:.1f} before)")
            server.stop()
