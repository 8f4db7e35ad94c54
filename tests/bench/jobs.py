"""What the engine of jobs can do: many small jobs by two processes, and a queue in a database where somebody holds a snapshot."""
import os
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from jobslab import JobsLab  # noqa: E402
from lab import wait_for  # noqa: E402

JOBS, PER_SECOND, CONCURRENCY, FEW = 100_000, 1_500, 1_000, 16
SMALL = ("alter table trial_jobs set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, "
         "autovacuum_vacuum_cost_delay = 0)")


def jobs_lab():
    lab = JobsLab("worker-busy", settings=["shared_buffers=512MB", "autovacuum_naptime=1s", "max_wal_size=4GB", "max_prepared_transactions=0"])
    lab.sql(SMALL)
    return lab


def processor_s(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def backends_s(lab):
    with open(f"{lab.pg.data}/postmaster.pid") as f:
        postmaster = f.readline().strip()
    pids = subprocess.run(["pgrep", "-P", postmaster], capture_output=True, text=True).stdout.split()
    total = 0.0
    for pid in pids:
        try:
            total += processor_s(pid)
        except FileNotFoundError:  # one of the cleaners, which come and go
            pass
    return total


def many(rounds):
    """Jobs a second from the first claim to the last end, by the database's clock; and microseconds of processors per job, which
    a busy machine sways less: ours, PostgreSQL's."""
    got, cost = [], []
    for _ in range(rounds):
        with jobs_lab() as lab:
            lab.put_many(JOBS, do="noop")
            before = backends_s(lab)
            workers = [lab.worker(name, wait=False, concurrency=CONCURRENCY, poll="50ms") for name in ("one", "two")]
            wait_for("all are done", 300, lambda: lab.sql("select exists (select from trial_jobs where status <> 'completed')") == "f")
            got.append(float(lab.sql("select count(*) / extract(epoch from max(finished_at) - min(started_at)) from trial_jobs")))
            cost.append((1e6 * sum(processor_s(w.process.pid) for w in workers) / JOBS, 1e6 * (backends_s(lab) - before) / JOBS))
    return got, cost


def held(seconds, snapshot, floor):
    """Jobs are put in for so long; what waits then, and what a claim has cost."""
    with jobs_lab() as lab:
        env = {} if floor else {"ATHENA_JOBS_WITHOUT_FLOOR": "1"}
        workers = [lab.worker(name, env=env, concurrency=FEW, poll="20ms") for name in ("one", "two")]
        script = f"{lab.folder}/put.sql"
        with open(script, "w") as f:
            f.write("insert into trial_jobs (payload) values ('{\"do\": \"noop\"}');\n")
        os.chmod(script, 0o644)
        holder = None
        if snapshot:
            holder = subprocess.Popen(["psql", "-X", "-q", "-h", lab.pg.folder, "-p", str(lab.pg.port), "-U", "postgres", "-d", "control",
                                       "-c", "begin isolation level repeatable read", "-c", "select count(*) from trial_jobs", "-c", f"select pg_sleep({seconds + 60})"],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.5)
        try:
            lab.pg.program("pgbench", "-n", "-M", "prepared", "-c", "4", "-j", "1", "-R", str(PER_SECOND), "-T", str(seconds), "-f", script,
                           "-h", lab.pg.folder, "-p", str(lab.pg.port), "-U", "postgres", "control")
            left = int(lab.sql("select count(*) from trial_jobs where status = 'queued' and created_at < now() - interval '100 milliseconds'"))
            put = int(lab.sql("select count(*) from trial_jobs"))
            dead = int(lab.sql("select pg_stat_force_next_flush() is null; select n_dead_tup from pg_stat_user_tables where relname = 'trial_jobs'").split()[-1])
            late = float(lab.sql("select coalesce(percentile_cont(0.99) within group (order by extract(epoch from started_at - created_at)), 0) from trial_jobs where started_at is not null"))
            claims = sum(lab.metric(w, "athena_job_claims_total", queue="trial") for w in workers)
        finally:
            if holder:
                holder.terminate()
                holder.wait()
    return {"put": put, "left": left, "dead": dead, "late": late, "claims": claims}


def bench_jobs(a):
    rounds = max(1, min(a.rounds, 3))
    got, cost = many(rounds)
    print(f"{JOBS:,} small jobs, claim and end, two processes with {CONCURRENCY} at once each")
    print(f"  jobs                    {statistics.median(got):>12,.0f}/s   (min {min(got):,.0f}, max {max(got):,.0f})")
    print(f"  processor time of a job {statistics.median(c[0] for c in cost):>9,.1f} us in the two processes, {statistics.median(c[1] for c in cost):,.1f} us in PostgreSQL", flush=True)
    seconds = max(a.seconds, 35)
    print(f"{PER_SECOND:,} jobs put in a second, for {seconds} s, two processes with {FEW} at once each")
    for words, snapshot, floor in (("no snapshot held", False, True), ("a snapshot held", True, True), ("the same without floor", True, False)):
        r = held(seconds, snapshot, floor)
        print(f"  {words:<24}{r['put']:>8,} put in, {r['left']:>7,} wait at the end; 99 % begin within {1000 * r['late']:,.0f} ms; "
              f"{r['claims']:,.0f} claims, {r['dead']:,} dead rows", flush=True)
