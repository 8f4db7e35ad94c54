#!/usr/bin/env python3
"""Deferred writes in clients' databases, carried out by real daemons that are killed at every point of a job's life, and at any moment:
nothing is lost, nothing happens twice. KILLS in the environment says how many are killed."""
import os
import random
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from deferred_test import KEYS_TABLE, PLUGINS  # noqa: E402
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402

KILLS = int(os.environ.get("KILLS", "28"))
CLIENTS = [f"c{i}" for i in range(4)]  # requests of one client wait for each other
POINTS = ("jobs.claim", "jobs.claimed", "jobs.run", "jobs.ran", "jobs.finish", "jobs.finished", None)  # None: at any moment
BACKLOG, DAEMONS = 30, 2
DONE = "select count(*) from gateway_deferred_request_queue where status <> 'completed'"


class Case(unittest.TestCase):
    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.__exit__)
        self.pg = self.lab.postgres()
        for name in ("app", "control"):
            self.pg.run(f"create database {name}")
        self.pg.run(KEYS_TABLE + "create table effects (word text, at timestamptz default clock_timestamp());", "app")
        self.n = 0
        self.server = self.process("serve", "server", wait=True)
        wait_for("the queue is there", 60, lambda: self.sql("select count(*) from pg_attribute where attrelid = to_regclass('gateway_deferred_request_queue')"
                                                            " and attname in ('context', 'began_at')") == "2")

    def process(self, role, id, wait=False, lease="1s", plugins=PLUGINS, **env):
        clients = {"control": "control", **{c: "app" for c in CLIENTS}}
        config = (f"plugins: [{plugins}]\nurls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\ngateway:\n- enforce_api_keys: false\n"
                  "- logging_client: control\n- deferred_query_worker_poll_ms: 100\n"
                  f"daemon:\n- enabled: true\n- id: {id}\nworker-deferred:\n  lease: {lease}\n  max_attempts: 50\npostgres_clients:\n"
                  + "".join(f"- {n}: \"{self.pg.uri(d)}\"\n" for n, d in clients.items()))
        run = self.lab.place("run")
        os.makedirs(run)
        return self.lab.athena({}, config=config, args=(role,), wait=wait, env={"RUNTIME_DIRECTORY": run, **env})

    def sql(self, text, database="control"):
        return self.pg.run(text, database).strip()

    def put(self, n, more=""):
        for _ in range(n):
            client = CLIENTS[self.n % len(CLIENTS)]
            answer = self.server.request("POST", "/gateway/query", {"query": f"insert into effects (word) values ('{self.n}'){more}"},
                                         {"x-athena-client": client, "x-athena-defer": "true", "x-athena-key": ADMIN_KEY, "content-type": "application/json"})
            self.assertEqual(answer.status, 202, answer.body)
            self.n += 1

    def check(self, seconds=60):
        wait_for("all are completed", seconds, lambda: self.sql(DONE) == "0")
        self.assertEqual(self.sql("select count(*), count(distinct word) from effects", "app"), f"{self.n}|{self.n}", "lost or doubled effects")
        self.assertEqual(self.sql("select count(*) from gateway_deferred_request_queue where result_summary->>'delivery' <> 'exactly_once'"), "0")


class Kills(Case):
    def begin(self, n):
        point = POINTS[n % len(POINTS)]
        p = self.process("daemon", f"daemon-{n}", **({"ATHENA_FAULT": f"{point}:{1 + n // len(POINTS) % 3}"} if point else {}))
        return p, time.monotonic() + (60 if point else random.uniform(1, 4))

    def killed(self, daemons):
        """Waits for one of them to be killed, kills those whose time has come; which it was."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            for i, (p, at) in enumerate(daemons):
                if time.monotonic() > at:
                    p.process.kill()
                    p.process.wait()
                if p.process.poll() is not None:
                    self.assertEqual(p.process.returncode, -signal.SIGKILL, p.said())
                    p.stop()
                    return i
            waiting = int(self.sql(DONE))
            self.put(BACKLOG - waiting if waiting < BACKLOG else 0, "; select pg_sleep(0.01)")
            time.sleep(0.02)
        raise AssertionError("no daemon has come to its point")

    def test_D_03_D_04_nothing_is_lost_and_nothing_happens_twice(self):
        self.put(BACKLOG)
        daemons = [self.begin(n) for n in range(DAEMONS)]
        for n in range(KILLS):
            i = self.killed(daemons)
            daemons[i] = self.begin(n + DAEMONS)
        for p, _ in daemons:
            p.process.kill()
            p.process.wait()
        self.process("daemon", "last")
        self.check()
        again = self.sql("select count(*) from gateway_deferred_request_queue where attempts > 1")
        print(f"{KILLS} kills, {self.n} requests, {again} of them again", file=sys.stderr)
        self.assertGreater(int(again), 0)


class Routes(Case):
    """A daemon brings the routes that requests go through; one whose list has them not gives nothing up."""

    def test_a_daemon_without_the_route_leaves_it_to_others(self):
        without = self.process("daemon", "without", plugins=PLUGINS.replace("routes-query, ", ""))
        self.put(1)
        wait_for("it was tried", 30, lambda: self.sql("select error_message from gateway_deferred_request_queue where status = 'queued'")
                 == "route /gateway/query is not loaded in the process that tried")
        self.assertEqual(without.stop(), 0)
        self.process("daemon", "with")
        self.check()


class Paused(Case):
    """D-04, D-37: of two daemons one is stopped past its leases and goes on."""

    def test_its_late_writes_are_refused(self):
        one = self.process("daemon", "one")
        self.put(len(CLIENTS), "; select pg_sleep(1.5)")
        wait_for("it runs them", 30, lambda: self.sql("select count(*) from gateway_deferred_request_queue where status = 'running' and execution_daemon_id = 'one'")
                 == str(len(CLIENTS)))
        one.process.send_signal(signal.SIGSTOP)
        self.addCleanup(one.process.send_signal, signal.SIGCONT)
        self.process("daemon", "two", lease="20s")
        held = "select count(*) from gateway_deferred_request_queue where execution_daemon_id = 'two' and attempts >= 2"
        wait_for("the other has all of them", 40, lambda: self.sql(held) == str(len(CLIENTS)))
        self.sql("update gateway_deferred_request_queue set deferred_reason = 'held by two'")
        one.process.send_signal(signal.SIGCONT)
        self.check()
        lost = "select count(distinct job_key) from athena_job_events where message = 'lease lost' and daemon_id = 'one'"
        wait_for("it knows that it has lost them", 20, lambda: self.sql(lost) == str(len(CLIENTS)))
        self.assertEqual(self.sql("select count(*) from athena_job_events where daemon_id = 'two' and level = 'error'"), "0")


if __name__ == "__main__":
    unittest.main(verbosity=2)
