"""Jobs for operators: /admin/jobs of routes-jobs and `athena jobs`, with the family of tests/fixtures/plugins/trial.c."""
import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from jobslab import JobsLab  # noqa: E402
from lab import ADMIN_KEY, executable, wait_for  # noqa: E402

ADMIN = {"x-athena-key": ADMIN_KEY}
JSON = {**ADMIN, "content-type": "application/json"}


class Jobs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = JobsLab(more=("routes-jobs",))
        cls.addClassCleanup(cls.lab.__exit__)
        cls.server = cls.lab.worker("one", lease="3s", poll="200ms", retry="50ms", retry_most="200ms")
        wait_for("the table of events is there", 60, lambda: cls.lab.sql("select to_regclass('athena_job_events') is not null") == "t")

    def ask(self, path, method="GET", headers=ADMIN):
        answer = self.server.request(method, "/admin/jobs" + path, None, headers)
        return answer.status, json.loads(answer.body)

    def command(self, *words, timeout=60):
        return subprocess.run([executable(), "jobs", *words, "--url", f"http://127.0.0.1:{self.server.port}", "--admin-key", ADMIN_KEY],
                              capture_output=True, text=True, timeout=timeout)

    def later(self, **args):
        """A job that waits for tomorrow."""
        job = self.lab.put(client="shop", pin="nobody", **args)
        self.lab.sql(f"update trial_jobs set run_after = now() + interval '1 day' where id = {job}")
        return job

    def test_the_queues_and_how_many_jobs_they_have(self):
        self.later(do="insert")
        status, body = self.ask("")
        self.assertEqual((status, body["message"]), (200, "Listed job queues"))
        trial = next(q for q in body["data"]["queues"] if q["queue"] == "trial")
        waiting = int(self.lab.sql("select count(*) from trial_jobs where status = 'queued'"))
        self.assertEqual((trial["table"], trial["waiting"]), ("trial_jobs", waiting))
        self.assertLess(trial["ready"], waiting)
        self.assertGreaterEqual(trial["oldest_s"], 0)

    def test_pages_follow_each_other_without_gaps(self):
        made = [self.later(do="insert") for _ in range(7)]
        seen, after = [], ""
        while True:
            status, body = self.ask(f"/trial?state=waiting&client=shop&limit=3{after}")
            self.assertEqual(status, 200)
            seen += [j["key"] for j in body["data"]["jobs"]]
            if body["data"]["next"] is None:
                break
            after = "&after=" + body["data"]["next"]
        self.assertEqual(len(seen), len(set(seen)))
        self.assertEqual([k for k in seen if k in made], made[::-1])

    def test_one_job_with_its_events(self):
        job = self.lab.put(do="retry", attempts=2)
        self.lab.wait(job, "failed")
        wait_for("its events are written", 10, lambda: len(self.lab.events(job)) == 4)
        status, body = self.ask(f"/trial/{job}")
        self.assertEqual((status, body["data"]["job"]["state"], body["data"]["job"]["status"], body["data"]["job"]["attempts"]), (200, "dead", "failed", 2))
        self.assertEqual(body["data"]["job"]["error"], "told to come again, attempt 2")
        self.assertRegex(body["data"]["job"]["finished_at"], r"^\d{4}-\d\d-\d\dT[\d:.]+Z$")
        events = body["data"]["events"]
        self.assertEqual([v["message"] for v in events], ["claimed", "put back", "claimed", "failed"])
        self.assertEqual([v["daemon_id"] for v in events], ["one"] * 4)
        status, body = self.ask(f"/trial/{job}/events?since={events[1]['seq']}")
        self.assertEqual([v["message"] for v in body["data"]["events"]], ["claimed", "failed"])

    def test_canceling_and_trying_again(self):
        job = self.later(do="insert")
        self.assertEqual(self.ask(f"/trial/{job}/retry", "POST")[0], 409)
        self.assertEqual(self.ask(f"/trial/{job}/cancel", "POST")[0], 200)
        self.assertEqual(self.lab.status(job), "cancelled")
        status, body = self.ask(f"/trial/{job}/cancel", "POST")
        self.assertEqual((status, body["error"]), (409, f'job "{job}" of "trial" is over, or its queue cancels nothing'))
        self.lab.sql(f"update trial_jobs set run_after = null, pin = null where id = {job}")
        self.assertEqual(self.ask(f"/trial/{job}/retry", "POST")[0], 200)
        self.lab.wait(job, "completed")

    def redrive(self, body):
        answer = self.server.request("POST", "/admin/jobs/trial/redrive", body, JSON)
        return answer.status, answer.json.get("data") or answer.json

    def test_dead_ones_wait_again_by_a_filter(self):
        """Client, words of the error, age, how many; first only counted."""
        self.lab.sql("insert into trial_jobs (status, client_name, error_message, finished_at, attempts, payload, run_after) select 'failed', 'dead-' || i % 2, "
                     "case when i % 3 = 0 then 'disk is full' else 'other' end, now() - i * interval '1 hour', 3, '{\"do\": \"noop\"}', now() from generate_series(1, 12) i")
        dead = "select count(*) from trial_jobs where client_name like 'dead-%' and status = 'failed'"
        self.assertEqual(self.redrive({"client": "dead-0", "error": "is full", "dry_run": True}), (200, {"queue": "trial", "redriven": 0, "found": 2}))
        self.assertEqual(self.lab.sql(dead), "12")
        self.assertEqual(self.redrive({"client": "dead-0", "error": "is full"}), (200, {"queue": "trial", "redriven": 2}))
        self.assertEqual(self.redrive({"client": "dead-1", "ended_before_s": 3600 * 10 + 60})[1]["redriven"], 1)
        self.assertEqual(self.redrive({"client": "dead-1", "ended_within_s": 3600 + 60})[1]["redriven"], 1)
        self.assertEqual(self.redrive({"client": "dead-1", "limit": 1})[1]["redriven"], 1)
        self.assertEqual(self.lab.sql("select string_agg((extract(epoch from now() - finished_at) / 3600)::int::text, ',' order by finished_at) from trial_jobs "
                                      "where client_name = 'dead-1' and status = 'failed'"), "9,7,5", "the one that was made first goes first")
        wait_for("those are done", 20, lambda: self.lab.sql("select count(*) from trial_jobs where client_name like 'dead-%' and status = 'completed' and attempts = 1") == "5")
        said = self.command("redrive", "trial", "--client", "dead-1", "--dry-run")
        self.assertEqual((said.returncode, json.loads(said.stdout)["data"]["found"] if said.stdout else said.stderr), (0, 3))
        self.assertEqual(self.command("redrive", "trial", "--client", "dead-1").returncode, 0)
        self.assertEqual(self.lab.sql("select count(*) from trial_jobs where client_name = 'dead-1' and status = 'failed'"), "0")

    def test_of_those_that_are_the_same_one_waits_again(self):
        self.lab.sql("insert into trial_jobs (status, client_name, same, payload) select 'failed', 'twins', 'twin', '{\"do\": \"noop\"}' from generate_series(1, 3)")
        self.assertEqual(self.redrive({"client": "twins"})[1]["redriven"], 1)
        wait_for("it is done", 20, lambda: self.lab.sql("select string_agg(status, ',' order by id) from trial_jobs where client_name = 'twins'") == "failed,failed,completed")

    def test_a_filter_that_nobody_knows_is_refused(self):
        for body in ({"clients": "x"}, {"limit": 0}, {"limit": 10001}, {"ended_before_s": "1"}, {"dry_run": "yes"}):
            with self.subTest(body):
                self.assertEqual(self.redrive(body)[0], 400)
        self.assertEqual(self.server.request("POST", "/admin/jobs/nothing/redrive", {}, JSON).status, 404)
        self.assertEqual(self.server.request("POST", "/admin/jobs/trial/redrive", {}).status, 401)

    def test_what_is_not_there_or_not_meant(self):
        for path, method in (("/nothing", "GET"), ("/nothing/1", "GET"), ("/trial/999999999", "GET"), ("/trial/word", "GET"), ("/trial/word/cancel", "POST"),
                             ("/trial/99999999999999999999999", "GET")):
            with self.subTest(path):
                self.assertEqual(self.ask(path, method)[0], 404)
        status, body = self.ask("/nothing")
        self.assertIn('there is no queue "nothing"; there are: ', body["error"])
        for path in ("/trial?state=done%27--", "/trial?limit=many", "/trial/1/events?since=-1", "/trial/1/events?since=x"):
            with self.subTest(path):
                self.assertEqual(self.ask(path)[0], 400)

    def test_only_for_administrators(self):
        for path, method in (("", "GET"), ("/trial", "GET"), ("/trial/1", "GET"), ("/trial/1/events", "GET"), ("/trial/1/cancel", "POST"), ("/trial/1/retry", "POST")):
            self.assertEqual(self.ask(path, method, {})[0], 401, path)
            self.assertEqual(self.ask(path, method, {"x-athena-key": "ath_0.0"})[0], 401, path)

    def test_from_a_terminal(self):
        job = self.later(do="insert")
        self.assertRegex(self.command("list").stdout, r"(?m)^trial +\d+")
        self.assertRegex(self.command("list", "trial", "--state", "waiting", "--limit", "1000").stdout, rf"(?m)^{job} +waiting +shop")
        self.assertEqual(self.command("cancel", "trial", job).returncode, 0)
        self.assertEqual(self.lab.status(job), "cancelled")
        again = self.command("cancel", "trial", job)
        self.assertEqual(again.returncode, 1)
        self.assertIn("409", again.stderr)
        self.lab.sql(f"update trial_jobs set run_after = null, pin = null where id = {job}")
        self.assertEqual(self.command("retry", "trial", job).returncode, 0)
        followed = self.command("follow", "trial", job)
        self.assertEqual(followed.returncode, 0)
        self.assertRegex(followed.stdout, rf"(?m)^{job} +completed +shop +1 ")
        self.assertNotIn("info progress", followed.stderr)
        wait_for("its end is an event", 10, lambda: self.lab.events(job)[-1] == "completed")
        self.assertIn("completed", self.command("show", "trial", job).stdout)

    def test_who_follows_a_job_that_fails_is_told(self):
        job = self.lab.put(do="fail")
        followed = self.command("follow", "trial", job, "--json")
        end = json.loads(followed.stdout)["job"]
        self.assertEqual((followed.returncode, end["state"], end["error"]), (1, "dead", "told to fail"))
        missing = self.command("follow", "trial", "999999999")
        self.assertEqual(missing.returncode, 1)
        self.assertIn('"999999999"', missing.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
