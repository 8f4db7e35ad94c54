#!/usr/bin/env python3
"""Schedules of the job engine (core/jobs/schedule.h), and jobs that are there only once at a time, with the family of
tests/fixtures/plugins/trial.c and a real PostgreSQL."""
import json
import os
import signal
import sys
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from jobslab import JobsLab  # noqa: E402
from lab import ADMIN_KEY, wait_for  # noqa: E402

EVENTS = "select to_regclass('athena_job_events') is not null"


class Case(unittest.TestCase):
    def make(self):
        self.lab = JobsLab("worker-timed")
        self.addCleanup(self.lab.__exit__)

    def schedule(self, due="now() - interval '1 second'", **columns):
        """A row that is due; its id. Values of columns are texts."""
        names = "".join(f", {k}" for k in columns)
        values = "".join(f", '{json.dumps(v) if isinstance(v, dict) else v}'" for v in columns.values())
        return self.lab.sql(f"insert into trial_schedules (next_at{names}) values ({due}{values}) returning id")

    def row(self, id):
        return json.loads(self.lab.sql(f"select row_to_json(t) from (select *, next_at > now() as later, extract(epoch from next_at)::bigint % 3600 as odd "
                                       f"from trial_schedules where id = {id}) t"))

    def jobs(self, where="true"):
        return int(self.lab.sql(f"select count(*) from trial_jobs where {where}"))

    def moved(self, *ids):
        for id in ids:
            wait_for(f"schedule {id} has gone on", 15, lambda: self.row(id)["later"])

    def events(self, id):
        return self.lab.sql(f"select coalesce(string_agg(message, ', ' order by seq), '') from athena_job_events where job_key = 'schedule/{id}'").split(", ")

    def named(self, id, word):
        wait_for(f"schedule {id}: {word}", 15, lambda: any(e.startswith(word) for e in self.events(id)))


class One(Case):
    """One process, which looks each 200 ms."""
    @classmethod
    def setUpClass(cls):
        cls.lab = JobsLab("worker-timed", more=("routes-jobs",))
        cls.addClassCleanup(cls.lab.__exit__)
        cls.one = cls.lab.worker("one", lease="5s", poll="200ms")
        wait_for("the table of events is there", 60, lambda: cls.lab.sql(EVENTS) == "t")

    def test_what_is_due_fires_once_and_gets_its_next_time(self):
        id = self.schedule()
        self.moved(id)
        row = self.row(id)
        self.assertEqual(row["odd"], 0)  # the next whole hour
        self.assertIsNotNone(row["last_run_at"])
        self.lab.wait(row["last_job"], "completed")
        self.named(id, "fired")
        data = json.loads(self.lab.sql(f"select data from athena_job_events where job_key = 'schedule/{id}'"))
        self.assertEqual((data["job"], data["next"][14:19]), (str(row["last_job"]), "00:00"))

    def test_what_is_not_due_disabled_or_elsewhere_stays(self):
        ids = [self.schedule("now() + interval '1 hour'"), self.schedule(enabled="false"), self.schedule(pin="another"), self.schedule(pin=" ")]
        self.moved(ids[3])
        self.assertIsNotNone(self.row(ids[3])["last_job"])
        self.assertEqual([self.row(i)["last_job"] for i in ids[:3]], [None] * 3)

    def test_9_11_a_pin_is_for_its_daemon(self):
        id = self.schedule(pin=" one ")
        self.moved(id)
        self.assertIsNotNone(self.row(id)["last_job"])

    def test_one_without_a_time_gets_one_and_does_not_fire(self):
        id = self.schedule("null")
        self.moved(id)
        self.assertIsNone(self.row(id)["last_job"])

    def test_missed_runs_once_skip_all(self):
        """Nobody was there for three hours."""
        due = "date_trunc('hour', now()) - interval '3 hours'"
        once = self.schedule(due, payload={"do": "noop", "of": "once"})
        skip = self.schedule(due, missed="skip", payload={"do": "noop", "of": "skip"})
        near = self.schedule(due, missed="skip", every_ms=1000, payload={"do": "noop", "of": "near"})
        every = self.schedule(due, missed="all", payload={"do": "noop", "of": "all"})
        odd = self.schedule(due, missed="whatever", payload={"do": "noop", "of": "odd"})
        self.moved(once, skip, every, odd)
        count = {of: self.jobs(f"payload->>'of' = '{of}'") for of in ("once", "skip", "all", "odd")}
        late = self.lab.sql("select extract(epoch from now() - date_trunc('hour', now())) < 5") == "t"
        if not late:  # in the first seconds of an hour its run is not late
            self.assertEqual(count, {"once": 1, "skip": 0, "all": 4, "odd": 1})
            self.named(skip, "missed")
        wait_for("the last of them is only a second late", 15, lambda: self.jobs("payload->>'of' = 'near'") > 0)
        self.lab.sql(f"update trial_schedules set enabled = false where id = {near}")

    def test_D_52_no_run_while_the_last_job_waits_or_runs(self):
        hold = {"do": "noop", "ms": 100000}
        skip, allow, every = (self.schedule(payload=hold, **more) for more in ({}, {"overlap": "allow"}, {"missed": "all"}))
        self.moved(skip, allow, every)
        first = {id: self.row(id)["last_job"] for id in (skip, allow, every)}
        self.lab.sql(f"update trial_schedules set next_at = now() - interval '1 second' where id in ({skip}, {allow}, {every})")
        self.moved(skip, allow)
        self.named(skip, "skipped")
        self.assertEqual(self.row(skip)["last_job"], first[skip])
        self.assertNotEqual(self.row(allow)["last_job"], first[allow])
        self.assertFalse(self.row(every)["later"], "it may not be left out, so it waits")
        self.assertEqual(self.row(every)["last_job"], first[every])
        for id in first.values():
            self.lab.act(self.one, id, "cancel")
        self.moved(every)
        self.assertNotEqual(self.row(every)["last_job"], first[every])
        self.lab.act(self.one, self.row(every)["last_job"], "cancel")
        self.lab.act(self.one, self.row(allow)["last_job"], "cancel")

    def test_D_51_broken_ones_hold_up_nobody(self):
        broken = [self.schedule("now() - interval '1 day'", act="fail") for _ in range(5)] + [self.schedule("now() - interval '1 day'", every_ms=0)]
        good = self.schedule()
        self.moved(good)
        for id in broken:
            self.named(id, "failed")
        time.sleep(1.5)  # it has looked again since
        self.assertEqual([self.events(id) for id in broken], [["failed"]] * 6, "they are not tried at each look")
        self.assertEqual(self.jobs(f"id in (select last_job from trial_schedules where id in ({','.join(broken)}))"), 0)
        self.assertGreaterEqual(self.lab.metric(self.one, "athena_schedule_put_off", schedule="trial_schedule_worker"), 6)
        worker = self.seen()
        self.assertEqual((worker["kind"], worker["queue"], worker["failures"]), ("schedule", "trial", 0))
        self.lab.sql(f"delete from trial_schedules where id in ({','.join(broken)})")

    def seen(self):
        found = self.one.get("/admin/jobs", {"x-athena-key": ADMIN_KEY}).json["data"]["schedules"]
        self.assertEqual([w["worker"] for w in found], ["trial_schedule_worker"])
        return found[0]

    def test_a_run_that_puts_in_nothing_is_no_run(self):
        id = self.schedule(act="none")
        self.moved(id)
        self.named(id, "skipped: nothing")
        self.assertIsNone(self.row(id)["last_run_at"])

    def test_what_is_the_same_is_there_once(self):
        """32 at the same time: one job, and all are told which."""
        def put(_):
            return self.one.request("POST", "/trial/report-7/put", b"", {"x-athena-key": ADMIN_KEY})
        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(put, range(32)))
        self.assertEqual({a.status for a in answers}, {200})
        self.assertEqual((len({a.json["key"] for a in answers}), sum(a.json["new"] for a in answers)), (1, 1))
        key = answers[0].json["key"]
        self.lab.wait(key, "completed")
        again = put(0).json
        self.assertTrue(again["new"], "the first one is over")
        self.assertNotEqual(again["key"], key)
        self.assertEqual(self.lab.act(self.one, key, "retry").status, 409, "the same one waits or runs already")
        self.lab.wait(again["key"], "completed")


class Killed(Case):
    """kill -9 in every step of a run, and two processes on one table."""
    def setUp(self):
        self.make()

    def test_a_run_is_never_lost_and_never_made_twice(self):
        n = 0
        for point in ("schedule.picked", "schedule.fired", "schedule.advance", "schedule.committed"):
            for passed in (1, 2):
                ids = [self.schedule(payload={"do": "noop", "n": n}) for _ in range(3)]
                n += 3
                one = self.lab.worker("one", wait=False, lease="1s", poll="100ms", env={"ATHENA_FAULT": f"{point}:{passed}"})
                wait_for(f"it was killed at {point}", 30, lambda: one.process.poll() is not None)
                self.assertEqual(one.process.returncode, -signal.SIGKILL)
                two = self.lab.worker("two", lease="1s", poll="100ms")
                self.moved(*ids)
                self.assertEqual(self.jobs("payload ? 'n'"), n, point)
                self.assertEqual(self.jobs(f"id in (select last_job from trial_schedules where id in ({','.join(ids)}))"), 3)
                two.stop()

    def test_two_processes_share_them(self):
        servers = [self.lab.worker(name, lease="5s", poll="100ms") for name in ("one", "two")]
        wait_for("the table of events is there", 60, lambda: self.lab.sql(EVENTS) == "t")
        self.lab.sql("insert into trial_schedules (next_at, payload) select now(), jsonb_build_object('do', 'noop', 'n', i) from generate_series(1, 60) i")
        wait_for("all have gone on", 30, lambda: self.lab.sql("select count(*) from trial_schedules where next_at > now()") == "60")
        self.assertEqual((self.jobs("payload ? 'n'"), self.jobs("payload ? 'n' and id in (select last_job from trial_schedules)")), (60, 60))
        fired = [self.lab.metric(s, "athena_schedule_runs_total", outcome="fired") for s in servers]
        self.assertEqual(sum(fired), 60, fired)

    def test_one_that_is_paused_in_the_middle_holds_its_row_alone(self):
        """Its transaction is open; whatever it does later, the run is made once."""
        one = self.lab.worker("one", lease="5s", poll="100ms")
        slow = self.schedule(act="slow", payload={"do": "noop", "slow": 1})
        wait_for("it is under way", 15, lambda: self.lab.sql("select count(*) from pg_stat_activity where state = 'idle in transaction' and query like '%trial_jobs%'") == "1")
        one.process.send_signal(signal.SIGSTOP)
        self.addCleanup(one.process.send_signal, signal.SIGCONT)
        self.lab.worker("two", lease="5s", poll="100ms")
        quick = self.schedule()
        self.moved(quick)
        self.assertFalse(self.row(slow)["later"])
        one.process.send_signal(signal.SIGCONT)
        self.moved(slow)
        self.assertEqual(self.jobs("payload ? 'slow'"), 1)

    def test_a_control_plane_that_comes_back(self):
        self.lab.worker("one", lease="5s", poll="100ms")
        self.lab.pg.stop("immediate")
        time.sleep(0.5)
        self.lab.pg.start()
        id = self.schedule()
        wait_for("it goes on by itself", 60, lambda: self.row(id)["later"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
