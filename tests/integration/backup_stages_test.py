#!/usr/bin/env python3
"""Backups that are cancelled, late, killed, handed back or cut off, in every stage: what becomes of them, and that nothing is left."""
import os
import sys
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from backuplab import TABLES, BackupCase, BackupLab, Locked  # noqa: E402
from lab import wait_for  # noqa: E402


class Stages(BackupCase):
    """One that is held in each stage."""
    LOCKS = {"pg_dump": ("blocked", "items"), "recording": ("control", "athena_backup_records")}
    HOLDS = {"uploading": ("PUT", ".tar.gz"), "manifest": ("PUT", ".manifest.json"), "proving": ("GET", ".tar.gz")}
    STAGES = ("pg_dump", *HOLDS, "recording")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.lab.pg.run("create database blocked")
        cls.lab.pg.run(TABLES, "blocked")
        cls.gate = cls.lab.gate()

    def tearDown(self):
        self.gate.calm()
        super().tearDown()
        self.clear()

    def start(self, **kw):
        return self.lab.server(clients={"blocked": self.lab.pg.uri("blocked")}, store=self.gate, **kw)

    def held(self, stage):
        """A job in that stage."""
        if stage in self.LOCKS:
            self.lock = Locked(self.lab.pg, *self.LOCKS[stage])
            self.addCleanup(self.lock.__exit__)
            job = self.lab.create("blocked")
            wait_for(f"{stage} waits", 60, lambda: self.lab.sql("select count(*) from pg_locks where not granted") != "0")
            return job
        self.gate.hold(*self.HOLDS[stage])
        job = self.lab.create("blocked")
        self.assertTrue(self.gate.waiting.wait(60), f"{stage}: {self.lab.row(job)} {self.lab.logs(job)}")
        return job

    def let_go(self, stage):
        if stage in self.LOCKS:
            self.lock.__exit__()
        self.gate.calm()

    def test_D_46_cancel_in_every_stage_ends_within_two_seconds(self):
        server = self.start()
        allowed = 4 if "asan" in server.exe else 2
        for stage in self.STAGES:
            with self.subTest(stage):
                job = self.held(stage)
                began = time.monotonic()
                self.assertEqual(self.lab.cancel(job).status, 200)
                self.gate.calm()  # a lock is still held: what waits for it is given up
                row = self.lab.wait(job, "cancelled", seconds=10)
                self.assertLess(time.monotonic() - began, allowed)
                self.assertEqual((row["progress_pct"], row["error_message"], row["s3_key"], row["lease_token"]), (0, "Cancelled by operator", None, None))
                self.assertEqual(self.lab.mine(), {}, "the tool is gone before the row says so (D-36)")
                self.assertEqual(self.lab.folders(), [], "D-39")
                self.let_go(stage)
                self.lab.wait_clean()

    def test_killed_in_every_stage_it_is_finished_elsewhere(self):
        for stage in self.STAGES:
            with self.subTest(stage):
                try:
                    self.killed_in(stage)
                finally:
                    self.tearDown()

    def killed_in(self, stage):
        one = self.start()
        job = self.held(stage)
        one.process.kill()
        one.process.wait()
        wait_for("the tool dies with its process", 10, lambda: not self.lab.mine())
        self.let_go(stage)
        self.start()
        row = self.lab.wait(job, "completed", seconds=60)
        self.assertEqual((row["attempt_count"], row["worker_daemon_id"]), (2, f"d{self.lab.daemons}"))
        self.lab.wait_clean([row["s3_key"], row["s3_key"] + ".manifest.json"])
        wait_for("it ended once", 10, lambda: self.lab.sql(f"select count(*) from athena_job_events where job_key = '{job}' and message = 'completed'") == "1")

    def clear(self):
        for key in self.lab.objects():
            self.lab.s3.client.well("DELETE", f"/backups/{key}")
        self.lab.sql("delete from backup_jobs; delete from athena_backup_uploads")

    def test_a_process_that_stops_hands_it_back(self):
        one = self.start(env={"ATHENA_SERVER_DRAIN_TIMEOUT": "2s"})
        job = self.held("pg_dump")
        self.assertEqual(one.stop(), 0)
        row = self.lab.row(job)
        self.assertEqual((row["status"], row["attempt_count"], row["progress_stage"], row["lease_token"]), ("pending", 0, "queued", None))
        self.assertIsNone(self.lab.is_clean())
        self.let_go("pg_dump")
        self.start()
        self.assertEqual(self.lab.wait(job, "completed")["attempt_count"], 1)

    def test_D_59_a_late_dump_is_ended_before_it_is_tried_again(self):
        """D-36: the timeout is that of the contract, a minute at least."""
        self.start(retry="10m")
        with Locked(self.lab.pg, "blocked"):
            job = self.lab.create("blocked", timeout_seconds=60)
            wait_for("pg_dump waits", 30, lambda: self.lab.mine())
            wait_for("it is late", 90, lambda: self.lab.row(job)["error_message"])
            row = self.lab.row(job)
            self.assertEqual((row["status"], row["error_message"], row["completed_at"]), ("pending", "pg_dump timed out after 60s", None))
            self.assertIsNone(self.lab.is_clean())
        self.lab.cancel(job)

    def test_a_store_that_is_killed_in_the_middle_of_an_upload(self):
        self.lab.pg.run("create extension if not exists pgcrypto; create table large as select gen_random_bytes(1000) b from generate_series(1, 24000)", "blocked")
        self.start()
        self.gate.hold("PUT", "partNumber=2")
        job = self.lab.create("blocked")
        self.assertTrue(self.gate.waiting.wait(60), self.lab.logs(job))
        self.lab.s3.kill()
        self.gate.calm()
        time.sleep(0.5)
        self.lab.s3.start()
        row = self.lab.wait(job, "completed", seconds=120)
        self.lab.wait_clean([row["s3_key"], row["s3_key"] + ".manifest.json"], seconds=60)
        self.lab.pg.run("drop table large", "blocked")

    def test_what_is_damaged_on_its_way_back_does_not_count(self):
        def flip(h):
            number, headers, data = h.forward()
            at = len(data) // 2
            h.answer(number, headers, data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
        self.start()
        self.gate.calm()
        self.gate.spoil("GET", ".tar.gz", flip, after=1)
        job = self.lab.create("blocked")
        row = self.lab.wait(job, "completed")
        self.assertEqual(row["attempt_count"], 2)
        self.assertIn("what lies in the store is not what was put there", "\n".join(self.lab.logs(job)))
        self.lab.wait_clean([row["s3_key"], row["s3_key"] + ".manifest.json"])


class Away(unittest.TestCase):
    """The control plane is another cluster than the databases."""
    @classmethod
    def setUpClass(cls):
        cls.lab = BackupLab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.other = cls.lab.postgres(tcp=True)
        cls.other.run(TABLES)

    def test_without_the_control_plane_the_tool_ends_with_the_lease(self):
        lab = self.lab
        server = lab.server(clients={"other": self.other.uri()})
        with Locked(self.other, "postgres"):
            job = lab.create("other")
            wait_for("pg_dump waits", 30, lambda: lab.mine())
            lab.pg.stop("immediate")
            wait_for("the tool is ended", 30, lambda: not lab.mine())
            wait_for("its folder is gone", 20, lambda: not lab.folders())
        lab.pg.start()
        row = lab.wait(job, "completed")
        self.assertEqual(row["attempt_count"], 2)
        lab.wait_clean([row["s3_key"], row["s3_key"] + ".manifest.json"])
        server.stop()

if __name__ == "__main__":
    unittest.main()
