#!/usr/bin/env python3
"""Schedules of backups: the routes write them, backup_schedule_worker fires them into the backup queue."""
import json
import os
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402

ADMIN = {"x-athena-key": ADMIN_KEY, "content-type": "application/json"}


class Case(unittest.TestCase):
    def make(self):
        self.lab = Lab()
        self.addCleanup(self.lab.__exit__)
        self.prepare(self)

    @staticmethod
    def prepare(me):
        me.pg = me.lab.postgres()
        for name in ("app", "control"):
            me.pg.run(f"create database {name}")

    def config(self, id):
        return (f"plugins: [routes-meta, routes-daemons, routes-backup, worker-backup]\nurls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\n"
                f"gateway:\n- logging_client: control\n- enforce_api_keys: false\ndaemon:\n- id: {id}\n- heartbeat: 1s\n"
                f"postgres_clients:\n- app: \"{self.pg.uri('app')}\"\n- control: \"{self.pg.uri('control')}\"\n"
                "worker-backup:\n  schedule_poll: 1s\n  poll: 1h\n")

    def start(self, id="one", wait=True, args=("serve",), **env):
        server = self.lab.athena({}, config=self.config(id), wait=wait, args=args, env={"ATHENA_SECRETS_KEY": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0MTI=", **env})
        wait_for("the tables are there", 60, lambda: server.process.poll() is not None or self.sql("select count(*) from pg_attribute where attname = 'unique_key' and attrelid = to_regclass('backup_jobs')") == "1")
        return server

    def sql(self, text):
        return self.pg.run(text, "control").strip()

    def create(self, server, client="app", **body):
        answer = server.request("POST", "/admin/backups/schedules", {"client_name": client, "frequency": "daily", "time": "02:00", **body}, ADMIN)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json["data"]["schedule"]["id"]

    def due(self, *ids, since="1 second"):
        self.sql(f"update backup_schedules set next_run_at = now() - interval '{since}' where id in ({','.join(map(str, ids))})")

    def row(self, id):
        return json.loads(self.sql(f"select row_to_json(t) from (select *, next_run_at > now() as later, (next_run_at at time zone 'UTC')::time::text as at "
                                   f"from backup_schedules where id = {id}) t"))

    def moved(self, *ids):
        for id in ids:
            wait_for(f"schedule {id} has gone on", 20, lambda: self.row(id)["later"])

    def jobs(self, id):
        return json.loads(self.sql(f"select coalesce(json_agg(j order by id), '[]') from backup_jobs j where schedule_id = {id}"))


class One(Case):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        Case.prepare(cls)
        cls.one = Case.start(cls)

    @classmethod
    def config(cls, id):
        return Case.config(cls, id)

    @classmethod
    def sql(cls, text):
        return cls.pg.run(text, "control").strip()

    def test_4_11_a_run_is_a_job_of_the_queue(self):
        id = self.create(self.one, time="04:30", label="nightly", timeout_seconds=5)
        self.due(id, since="3 days")
        self.moved(id)
        row, jobs = self.row(id), self.jobs(id)
        self.assertEqual((len(jobs), row["last_job_id"], row["at"]), (1, jobs[0]["id"], "04:30:00"))  # missed runs are one
        self.assertIsNotNone(row["last_run_at"])
        job = jobs[0]
        self.assertEqual((job["job_type"], job["client_name"], job["label"], job["timeout_seconds"], job["execution_daemon_id"]),
                         ("backup", "app", "nightly", 60, None))
        self.assertEqual((job["queue_payload"]["kind"], job["queue_checkpoint"]["scheduled"], job["unique_key"]), ("backup", True, f"schedule:{id}"))

    def test_D_41_a_uri_stays_sealed(self):
        id = self.create(self.one, pg_uri="postgres://u:s3cr3t@127.0.0.1:1/db")
        self.due(id)
        self.moved(id)
        text = self.sql(f"select row_to_json(j) from backup_jobs j where schedule_id = {id}")
        self.assertNotIn("s3cr3t", text)
        self.assertIn("u:***@", text.replace("****", "***"))
        self.assertEqual(json.loads(text)["secrets"], self.sql(f"select secrets from backup_schedules where id = {id}"))

    def test_D_51_five_that_cannot_run_hold_up_nobody(self):
        broken = [self.create(self.one, client=f"gone-{i}") for i in range(5)]
        good = self.create(self.one)
        self.due(*broken, since="1 day")
        self.due(good)
        self.moved(good)
        self.assertEqual(len(self.jobs(good)), 1)
        self.assertEqual([(self.jobs(id), self.row(id)["later"]) for id in broken], [([], False)] * 5)
        said = "select count(*) from athena_job_events where job_key = 'schedule/%s' and message = 'failed'"
        for id in broken:
            wait_for("it is said", 10, lambda: self.sql(said % id) == "1")
        self.sql(f"delete from backup_schedules where id in ({','.join(map(str, broken))})")

    def test_D_52_no_second_run_beside_the_first(self):
        id = self.create(self.one, execution_daemon_id="one")
        self.sql(f"insert into backup_jobs (job_type, client_name, status, schedule_id, unique_key, execution_daemon_id) values ('backup', 'app', 'pending', {id}, "
                 f"'schedule:{id}', 'another')")
        self.due(id)
        self.moved(id)
        self.assertEqual(len(self.jobs(id)), 1, "it is told by its key, whoever put it in")
        self.sql(f"update backup_schedules set last_job_id = (select id from backup_jobs where schedule_id = {id}) where id = {id}")
        self.due(id)
        self.moved(id)
        self.assertEqual(len(self.jobs(id)), 1)
        self.sql(f"update backup_schedules set overlap_policy = 'allow' where id = {id}")
        self.due(id)
        self.moved(id)
        self.assertEqual(len(self.jobs(id)), 2)

    def test_9_11_a_pinned_one_is_left_to_its_daemon(self):
        here, there = self.create(self.one, execution_daemon_id="one"), self.create(self.one, execution_daemon_id="two")
        self.due(here, there)
        self.moved(here)
        self.assertEqual((len(self.jobs(here)), self.jobs(here)[0]["execution_daemon_id"], self.jobs(there)), (1, "one", []))
        wait_for("the daemon shows it", 20, lambda: self.pinned() >= 1)

    def pinned(self):
        found = [d for d in self.one.get("/admin/daemons", ADMIN).json["data"]["daemons"] if d["daemon_id"] == "one"]
        self.assertIn("backup_schedule_worker", found[0]["workers"])
        return found[0]["pinned_backup_schedules"]

    def test_what_is_disabled_does_not_run(self):
        id = self.create(self.one)
        self.sql(f"update backup_schedules set enabled = false, next_run_at = now() - interval '1 second' where id = {id}")
        other = self.create(self.one)
        self.due(other)
        self.moved(other)
        self.assertEqual(self.jobs(id), [])

    def test_a_policy_that_the_routes_were_told_is_kept_to(self):
        far = self.sql("select to_char(now() at time zone 'UTC' + interval '12 hours', 'HH24:MI')")  # no run of it is due now
        id = self.create(self.one, time=far, missed_run_policy="skip", overlap_policy="allow", retention_count=3)
        row = self.row(id)
        self.assertEqual((row["missed_run_policy"], row["overlap_policy"], row["retention_count"]), ("skip", "allow", 3))
        self.due(id, since="3 days")
        self.moved(id)
        self.assertEqual(len(self.jobs(id)), 0)

    def test_the_end_of_a_month(self):
        id = self.create(self.one, frequency="monthly", day_of_month=28, time="23:59")
        self.due(id, since="70 days")
        self.moved(id)
        row = self.row(id)
        self.assertEqual((row["at"], self.sql(f"select extract(day from next_run_at at time zone 'UTC') from backup_schedules where id = {id}")), ("23:59:00", "28"))


class Two(Case):
    def setUp(self):
        self.make()

    def test_killed_in_the_middle_and_two_daemons(self):
        first = self.start()
        ids = [self.create(first) for _ in range(6)]
        self.assertEqual(first.stop(), 0)
        for point in ("schedule.fired:2", "schedule.advance:2", "schedule.committed:2"):
            self.due(*ids)
            self.sql("update backup_jobs set status = 'completed'")
            before = int(self.sql("select count(*) from backup_jobs"))
            killed = self.start("one", wait=False, args=("daemon",), ATHENA_FAULT=point)
            wait_for("it is killed", 30, lambda: killed.process.poll() is not None)
            self.assertEqual(killed.process.returncode, -signal.SIGKILL)
            self.sql("update backup_jobs set status = 'completed'")
            daemons = [self.start(id, wait=False, args=("daemon",)) for id in ("one", "two")]
            self.moved(*ids)
            self.assertEqual(int(self.sql("select count(*) from backup_jobs")) - before, len(ids), point)
            for d in daemons:
                d.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
