"""The engine that runs jobs (core/jobs), with the family of tests/fixtures/plugins/trial.c and a real PostgreSQL."""
import datetime
import json
import os
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from jobslab import JobsLab  # noqa: E402
from lab import wait_for  # noqa: E402


def moment(text):
    return datetime.datetime.fromisoformat(text)


class One(unittest.TestCase):
    """One process, four jobs at once."""
    @classmethod
    def setUpClass(cls):
        cls.lab = JobsLab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.one = cls.lab.worker("one", lease="3s", poll="200ms", retry="50ms", retry_most="200ms")
        wait_for("the table of events is there", 60, lambda: cls.lab.sql("select to_regclass('athena_job_events') is not null") == "t")

    def test_a_job_is_claimed_run_and_written(self):
        row = self.lab.wait(self.lab.put(do="insert"), "completed")
        self.assertEqual((row["attempts"], row["result"], row["error_message"], row["lease_token"]), (1, {"effect": True}, None, None))
        self.assertEqual(row["owner"], "one")
        self.assertIsNotNone(row["finished_at"])
        self.assertIsNotNone(row["started_at"])
        self.assertEqual(self.lab.sql(f"select count(*) from trial_effects where job_key = '{row['id']}'"), "1")

    def test_its_events_are_in_order(self):
        job = self.lab.put(do="retry", attempts=2)
        self.lab.wait(job, "failed")
        wait_for("its events are written", 10, lambda: len(self.lab.events(job)) == 4)
        self.assertEqual(self.lab.events(job), ["claimed", "put back", "claimed", "failed"])
        text = self.lab.sql(f"select daemon_id, level, data from athena_job_events where job_key = '{job}' and queue = 'trial' order by seq desc limit 1")
        self.assertEqual(text, 'one|error|{"error": "told to come again, attempt 2", "attempt": 2}')

    def test_d06_one_that_fails_is_dead_at_once(self):
        row = self.lab.wait(self.lab.put(do="fail"), "failed")
        self.assertEqual((row["attempts"], row["error_message"]), (1, "told to fail"))

    def test_one_that_asks_is_put_back_until_its_attempts_are_used(self):
        row = self.lab.wait(self.lab.put(do="retry"), "failed")
        self.assertEqual((row["attempts"], row["error_message"]), (3, "told to come again, attempt 3"))
        self.assertGreater(moment(row["finished_at"]) - moment(row["started_at"]), datetime.timedelta(milliseconds=45 + 90))

    def test_d53_what_is_put_back_has_no_end_yet(self):
        job = self.lab.put(do="retry", attempts=1000)
        wait_for("it was put back", 10, lambda: self.lab.sql(f"select attempts > 1 and status = 'queued' from trial_jobs where id = {job}") == "t")
        row = self.lab.row(job)
        self.assertIsNone(row["finished_at"])
        self.assertEqual(self.lab.act(self.one, job, "cancel").status, 200)
        self.lab.wait(job, "cancelled")

    def test_a_result_that_is_no_json_kills_its_own_job_alone(self):
        others = [self.lab.put(do="noop") for _ in range(3)]
        row = self.lab.wait(self.lab.put(do="bad"), "failed")
        self.assertIn("the result was refused", row["error_message"])
        for job in others:
            self.lab.wait(job, "completed")

    def test_what_waits_is_canceled_at_once(self):
        job = self.lab.put(do="insert", pin="nobody")
        self.assertEqual(self.lab.act(self.one, job, "cancel").status, 200)
        row = self.lab.row(job)
        self.assertEqual((row["status"], row["attempts"]), ("cancelled", 0))
        self.assertIsNotNone(row["finished_at"])
        self.assertEqual(self.lab.act(self.one, job, "cancel").status, 409, "it is over")

    def test_d30_a_cancel_that_another_program_asked_for_is_done(self):
        job = self.lab.put(do="insert", pin="nobody")
        self.lab.sql(f"update trial_jobs set cancel_requested = true where id = {job}")
        self.lab.wait(job, "cancelled")

    def test_what_runs_is_canceled_within_two_seconds(self):
        job = self.lab.put(do="insert", ms=60000)
        self.lab.wait(job, "running")
        begun = time.monotonic()
        self.assertEqual(self.lab.act(self.one, job, "cancel").status, 200)
        self.lab.wait(job, "cancelled")
        self.assertLess(time.monotonic() - begun, 2)
        self.assertEqual(self.lab.sql(f"select count(*) from trial_effects where job_key = '{job}'"), "0")

    def test_d05_d30_what_is_over_runs_again_with_all_attempts(self):
        job = self.lab.put(do="retry")
        self.lab.wait(job, "failed")
        self.assertEqual(self.lab.act(self.one, job, "retry").status, 200)
        row = self.lab.row(job)
        self.assertNotEqual(row["status"], "failed")
        row = self.lab.wait(job, "failed")
        self.assertEqual(row["attempts"], 3)
        running = self.lab.put(do="noop", ms=60000)
        self.lab.wait(running, "running")
        self.assertEqual(self.lab.act(self.one, running, "retry").status, 409)
        self.assertEqual(self.lab.act(self.one, running, "cancel").status, 200)

    def test_pins_hold_for_others(self):
        other, mine = self.lab.put(do="noop", pin="another"), self.lab.put(do="noop", pin="one")
        self.lab.wait(mine, "completed")
        self.assertEqual(self.lab.status(other), "queued")
        self.lab.sql(f"update trial_jobs set pin = null where id = {other}")
        self.lab.wait(other, "completed")

    def test_progress_is_written_under_the_lease(self):
        job = self.lab.put(do="progress", ms=3000)
        wait_for("it is said", 10, lambda: self.lab.row(job)["progress"] == {"pct": 40})
        self.lab.wait(job, "completed")

    def test_d03_d58_leases_that_passed(self):
        past = "now() - interval '1 second', gen_random_uuid()"
        rows = [self.lab.sql("insert into trial_jobs (payload, status, attempts, lease_expires_at, lease_token, updated_at) "
                             f"values ('{{\"do\": \"noop\"}}', 'running', {n}, {lease}, {updated}) returning id")
                for n, lease, updated in ((1, past, "now()"), (3, past, "now()"),
                                          (1, "null, null", "now() - interval '2 hours'"), (1, "null, null", "now()"))]
        row = self.lab.wait(rows[0], "completed")
        self.assertEqual(row["attempts"], 2)
        row = self.lab.wait(rows[1], "failed")
        self.assertEqual((row["attempts"], row["error_message"]), (3, "lease expired"))
        self.lab.wait(rows[2], "completed")  # a published program's, which knows no leases
        self.assertEqual(self.lab.status(rows[3]), "running")
        self.lab.sql(f"delete from trial_jobs where id = {rows[3]}")

    def test_fenced_queries_of_another_database(self):
        job = self.lab.put(do="elsewhere", client="app")
        self.lab.wait(job, "completed")
        self.assertEqual(self.lab.pg.run(f"select count(*) from trial_effects where job_key = '{job}'", "app").strip(), "1")

    def test_it_is_seen(self):
        self.lab.wait(self.lab.put(do="noop"), "completed")
        waiting = self.lab.put(do="noop", pin="nobody", priority=0)
        self.one.get("/metrics")  # somebody looks
        wait_for("what waits is counted", 20, lambda: self.lab.metric(self.one, "athena_jobs", queue="trial", state="queued") >= 1)
        self.assertGreaterEqual(self.lab.metric(self.one, "athena_job_ends_total", queue="trial", outcome="completed"), 1)
        self.assertGreaterEqual(self.lab.metric(self.one, "athena_job_attempts_total", queue="trial"), 1)
        self.assertGreater(self.lab.metric(self.one, "athena_jobs_oldest_age_seconds", queue="trial"), 0)
        self.assertEqual(self.lab.metric(self.one, "athena_job_lease_losses_total", queue="trial"), 0)
        self.lab.sql(f"delete from trial_jobs where id = {waiting}")

    def test_many_jobs_run_once_each(self):
        before = self.lab.effects()
        self.lab.put_many(300, do="insert")
        wait_for("all are done", 30, lambda: self.lab.effects() == before + 300)
        self.assertEqual(self.lab.sql("select count(*) from trial_jobs where payload->>'do' = 'insert' and attempts > 1"), "0")


class Turns(unittest.TestCase):
    """One job of a client at a time."""
    @classmethod
    def setUpClass(cls):
        cls.lab = JobsLab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.workers = [cls.lab.worker(name, lease="5s", poll="100ms", per_client=1, concurrency=3, retry="2500ms", retry_most="5s", deadline="1500ms") for name in ("one", "two")]

    def spans(self, client):
        text = self.lab.sql(f"select json_agg(json_build_array(extract(epoch from started_at), extract(epoch from finished_at)) order by created_at, id) "
                            f"from trial_jobs where client_name = '{client}'")
        return json.loads(text)

    def all_done(self, seconds=30):
        wait_for("all are done", seconds, lambda: self.lab.sql("select count(*) from trial_jobs where status in ('queued', 'running')") == "0")

    def test_d15_each_client_in_its_order_and_none_waits_for_another(self):
        self.lab.put_many(40, client="'busy'", do="noop", ms=30)
        self.lab.put_many(3, client="'late' || i % 3", do="noop", ms=30)
        self.lab.put_many(2, do="noop")  # of no client
        self.all_done()
        spans = self.spans("busy")
        for (begun, over), (next_begun, _) in zip(spans, spans[1:]):
            self.assertGreaterEqual(next_begun, over)
        for i in range(3):
            self.assertLess(self.spans(f"late{i}")[0][1], spans[-1][0], "clients come by turns")

    def test_what_is_put_back_holds_up_its_client_alone(self):
        first = self.lab.put(client="held", do="retry", attempts=2)
        wait_for("it was put back", 10, lambda: self.lab.sql(f"select attempts = 1 and status = 'queued' from trial_jobs where id = {first}") == "t")
        for _ in range(5):  # the floor of claims rises with them, were it not for the first
            self.lab.wait(self.lab.put(client="free", do="noop"), "completed")
        second = self.lab.put(client="held", do="noop")
        self.all_done()
        self.assertGreaterEqual(moment(self.lab.row(second)["started_at"]), moment(self.lab.row(first)["finished_at"]))

    def test_what_others_alone_may_run_holds_up_nobody(self):
        other = self.lab.put(client="pinned", do="noop", pin="nobody")
        self.lab.wait(self.lab.put(client="pinned", do="noop"), "completed")
        self.lab.sql(f"delete from trial_jobs where id = {other}")

    def test_a_job_has_a_deadline_of_its_own(self):
        """D-36: apart from the lease, which is renewed all the while."""
        job = self.lab.put(do="noop", ms=600000)
        row = self.lab.wait(job, "failed")
        self.assertIn("deadline", row["error_message"])
        self.assertGreater(moment(row["finished_at"]) - moment(row["started_at"]), datetime.timedelta(milliseconds=1400))


class Alone(unittest.TestCase):
    """Processes that stall, stop, and lose their database; each test starts its own."""
    def setUp(self):
        self.lab = JobsLab(settings=("log_min_duration_statement = 0",))
        self.addCleanup(self.lab.__exit__)

    def test_d04_d37_one_that_was_paused_past_its_lease_writes_nothing(self):
        one = self.lab.worker("one", lease="1s", poll="100ms", concurrency=3)
        jobs = [self.lab.put(do="insert", ms=4000, client="app"), self.lab.put(do="elsewhere", ms=4000, client="app"), self.lab.put(do="noop", ms=4000)]
        for job in jobs:
            self.lab.wait(job, "running")
        one.process.send_signal(signal.SIGSTOP)
        self.addCleanup(one.process.send_signal, signal.SIGCONT)
        two = self.lab.worker("two", lease="30s", poll="100ms", concurrency=3)
        wait_for("another has all of them", 20, lambda: self.lab.sql("select count(*) from trial_jobs where owner = 'two' and attempts = 2") == "3")
        self.lab.sql("update trial_jobs set payload = payload || '{\"by\": \"two\"}'")  # what `one` writes late would show
        one.process.send_signal(signal.SIGCONT)
        for job in jobs:
            row = self.lab.wait(job, "completed", 20)
            self.assertEqual((row["owner"], row["attempts"]), ("two", 2))
        wait_for("it knows", 20, lambda: self.lab.metric(one, "athena_job_lease_losses_total", queue="trial") == 3)
        self.assertEqual(self.lab.metric(one, "athena_job_ends_total", queue="trial", outcome="completed"), 0)
        self.assertEqual((self.lab.effects(), self.lab.effects("app")), (1, 1))
        self.assertEqual(self.lab.metric(two, "athena_job_ends_total", queue="trial", outcome="completed"), 3)

    def test_a_fenced_write_is_refused_by_the_row_itself(self):
        """The lease is taken away while the job waits; the next renewal is far."""
        self.lab.worker("one", lease="1h", poll="100ms")
        job = self.lab.put(do="insert", ms=4000)
        self.lab.wait(job, "running")
        self.lab.sql(f"update trial_jobs set lease_token = gen_random_uuid() where id = {job}")
        log = self.lab.pg.log
        def refused():
            with open(log) as f:
                return "athena_lease_lost" in f.read()
        wait_for("the write was tried", 15, refused)
        self.assertEqual(self.lab.effects(), 0)
        self.assertEqual(self.lab.status(job), "running")  # nobody but its new holder ends it

    def test_a_stop_hands_back_what_does_not_end_in_time(self):
        """D-29: TERM; the attempt does not count."""
        one = self.lab.worker("one", lease="20s", poll="100ms", grace="3s")
        wait_for("the table of events is there", 60, lambda: self.lab.sql("select to_regclass('athena_job_events') is not null") == "t")
        slow, quick = self.lab.put(do="insert", ms=60000), self.lab.put(do="insert", ms=2500)
        for job in (slow, quick):
            self.lab.wait(job, "running")
        self.assertEqual(one.stop(), 0)
        row = self.lab.row(slow)
        self.assertEqual((row["status"], row["attempts"], row["lease_token"], row["owner"], row["finished_at"]), ("queued", 0, None, None, None))
        self.assertIn(self.lab.status(quick), ("completed", "queued"))
        self.assertEqual(self.lab.events(slow)[-1], "handed back")

    def test_a_restart_of_the_control_plane_during_work(self):
        one = self.lab.worker("one", lease="20s", poll="100ms", retry="100ms", attempts=20)
        self.lab.put_many(40, do="insert", ms=150)
        wait_for("work has begun", 20, lambda: self.lab.effects() > 3)
        self.lab.pg.stop("immediate")
        time.sleep(0.5)  # jobs end meanwhile, and their ends wait
        self.lab.pg.start()
        wait_for("all go on by themselves", 60, lambda: self.lab.effects() == 40)
        self.lab.wait(self.lab.put(do="noop"), "completed")
        self.assertEqual(one.stop(), 0)

    def test_d16_idle_costs_a_look_now_and_then(self):
        self.lab.worker("one", lease="30s", poll="1s")
        self.lab.wait(self.lab.put(do="noop"), "completed")

        def statements():
            with open(self.lab.pg.log) as f:
                return sum("trial_jobs" in line and "duration" in line for line in f)
        time.sleep(1)
        before = statements()
        time.sleep(6)
        self.assertLessEqual(statements() - before, 3 * (6 + 2 + 2), "parse, bind and execute of six looks, and a sweep or two")

    def test_a_wake_finds_its_way_to_another_process(self):
        self.lab.worker("one", lease="30s", poll="1h")
        two = self.lab.worker("two", lease="30s", poll="1h")
        job = self.lab.put(do="noop", pin="one")
        begun = time.monotonic()
        two.request("POST", "/trial/wake", b"", {"x-athena-key": "lab-admin-key-of-tests"})
        self.lab.wait(job, "completed", 4)
        self.assertLess(time.monotonic() - begun, 4)

    def test_finished_rows_are_deleted_when_they_are_old(self):
        old = self.lab.sql("insert into trial_jobs (status, finished_at) select 'completed', now() - interval '2 hours' from generate_series(1, 1500) returning id")
        self.assertTrue(old)
        self.lab.worker("one", poll="100ms", retain="1h")
        young = self.lab.put(do="noop")
        self.lab.wait(young, "completed")
        wait_for("the old ones go", 90, lambda: self.lab.sql("select count(*) from trial_jobs") == "1")


if __name__ == "__main__":
    unittest.main(verbosity=2)
