#!/usr/bin/env python3
"""Backups for operators: asking for them, lists and their cursors, cancelling, schedules, archives with ranges, commands. Jobs are not run
here but where it says so: a row that waits is what a route answers for."""
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import threading
import unittest
import urllib.request
from urllib.parse import quote

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab, executable, free_port, wait_for  # noqa: E402
from s3lab import ACCESS, BUCKET, SECRET, S3Lab  # noqa: E402

ADMIN = {"x-athena-key": ADMIN_KEY}
JSON = {**ADMIN, "content-type": "application/json"}
PLUGINS = ("routes-meta", "routes-backup", "routes-jobs", "routes-daemons")
KEY = "backups/shop/0f6c2f0a-6b0e-4a44-9d2c-1f8e0c6b1a77.tar.gz"


class Case(unittest.TestCase):
    maxDiff = None
    env, plugins = {}, PLUGINS

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres(tcp=True)
        cls.pg.run("create database control;")
        cls.pg.run("create database shop;")
        cls.server = cls.start()

    @classmethod
    def start(cls, **kw):
        server = cls.lab.athena({"athena_logging": cls.pg.tcp_uri("control"), "shop": cls.pg.tcp_uri("shop")},
                                plugins=cls.plugins, gateway="- logging_client: athena_logging\n" + kw.pop("gateway_more", ""),
                                env={"ATHENA_SECRETS_KEY": "4wG2dBHR9yqHvvJTl2oPXxXVQm1qCkS6ZQJmE0YhM0o=", **cls.env, **kw.pop("env", {})}, **kw)
        wait_for("the tables are there", 60, lambda: cls.ask("select to_regclass('athena_backup_kept') is not null") == "t")
        wait_for("the clients are connected", 20, lambda: server.get("/ready").json["clients"]["connected"] >= 2)
        return server

    @classmethod
    def ask(cls, sql, database="control"):
        return cls.pg.run(sql, database).strip()

    def send(self, method, path, body=None, headers=JSON, server=None):
        return (server or self.server).request(method, path, body, headers)

    def get(self, path, **kw):
        return self.send("GET", path, headers=ADMIN, **kw)

    def refused(self, answer, status, message, error=None):
        self.assertEqual((answer.status, answer.json["message"]), (status, message), answer.body)
        if error is not None:
            self.assertEqual(answer.json["error"], error)

    def done(self, answer, status, message):
        self.assertEqual((answer.status, answer.json["status"], answer.json["message"]), (status, "success", message), answer.body)
        return answer.json["data"]

    def job(self, **columns):
        """A row as it lies there; returns its id."""
        columns = {"job_type": "'backup'", "status": "'completed'", "client_name": "'shop'", **columns}
        return int(self.ask(f"insert into backup_jobs ({', '.join(columns)}) values ({', '.join(columns.values())}) returning id"))


class Jobs(Case):
    """Without a store: lists, jobs, schedules."""

    def setUp(self):
        self.ask("update backup_schedules set last_job_id = null; delete from backup_jobs; delete from backup_schedules")

    def test_who_may(self):
        for method, path in (("GET", ""), ("POST", ""), ("GET", "/config"), ("GET", "/jobs"), ("DELETE", "/jobs/1"), ("POST", "/schedules"),
                             ("GET", f"/{KEY}/download"), ("DELETE", f"/{KEY}"), ("POST", f"/{KEY}/restore"), ("GET", "/records"), ("GET", "/kept")):
            for headers in ({}, {"x-athena-key": "nope"}):
                self.assertEqual(self.send(method, f"/admin/backups{path}", None, headers).status, 401, path)

    def test_35_backups_page_by_page(self):
        """Every form of a cursor; several that were done at the same moment; some that come in between (checklist 6)."""
        for i in range(35):
            self.job(s3_bucket="'dumps'", s3_key=f"'backups/shop/{i}.tar.gz'", size_bytes=str(i), label=f"'l{i}'",
                     completed_at=f"timestamptz '2026-05-20 03:31:09.123456+00' + {i // 3} * interval '1.5 s'")
        self.job(job_type="'restore'", s3_key="'backups/shop/1.tar.gz'", completed_at="now()")
        self.job(status="'failed'", completed_at="now()")
        self.job(s3_key="null", completed_at="now()")
        forms = (lambda c: quote(c), lambda c: quote(c.replace("Z", "+00:00")), lambda c: quote(c.replace("Z", "+00:00"), safe="+"))
        seen, cursor, n = [], "", 0
        while cursor is not None:
            data = self.done(self.get(f"/admin/backups?limit=4{cursor}"), 200, "Listed backups")
            seen += [b["s3_key"] for b in data["backups"]]
            self.assertLessEqual(len(data["backups"]), 4)
            cursor, n = data["next_cursor"] and f"&cursor={forms[n % 3](data['next_cursor'])}", n + 1
            if n == 3:
                self.job(s3_bucket="'dumps'", s3_key="'backups/shop/late.tar.gz'", completed_at="now()")
        self.assertEqual(seen, [f"backups/shop/{i}.tar.gz" for i in sorted(range(35), key=lambda i: (i // 3, i), reverse=True)])
        self.assertEqual(set(data["backups"][0]), {"job_id", "s3_bucket", "s3_key", "client_name", "label", "size_bytes", "execution_daemon_id", "completed_at"})
        for limit in ("500", "0", "-1", "abc", "11", ""):
            self.assertEqual(len(self.get(f"/admin/backups?limit={limit}").json["data"]["backups"]), 10, limit)

    def test_what_a_list_shows_of_old_rows(self):
        self.job(s3_key="'backups/x'", client_name="null", completed_at="'2026-05-20 03:31:09+00'")
        item = self.get("/admin/backups").json["data"]["backups"][0]
        self.assertEqual((item["client_name"], item["size_bytes"], item["completed_at"]), ("unknown", 0, "2026-05-20T03:31:09Z"))

    def test_wrong_cursors_and_filters(self):
        time = "Cursor timestamp is not valid RFC3339."
        for cursor, error in (("", "Cursor must match <completed_at>|<job_id>."), ("abc", "Cursor must match <completed_at>|<job_id>."),
                              ("abc|1", time), ("2026-02-30T00:00:00Z|1", time), ("2026-13-01T00:00:00Z|1", time), ("2026-01-01T00:00:00|1", time),
                              ("infinity|1", time), ("2026-01-01T00:00:00Z|x", "Cursor job id is invalid.")):
            self.refused(self.get(f"/admin/backups?cursor={quote(cursor)}"), 400, "Invalid cursor", error)
        for path in ("", "/jobs"):
            self.refused(self.get(f"/admin/backups{path}?client_name=a%20b"), 400, "Invalid client_name", "client_name must match [a-zA-Z0-9._-]{1,128}")
            self.refused(self.get(f"/admin/backups{path}?client_name="), 400, "Invalid client_name")
            self.refused(self.get(f"/admin/backups{path}?client_name=UTL_inaddr"), 400, "Invalid filter", "Unsupported filter value.")
        for name in ("status", "job_type"):
            for word in ("eval(1)", "WAITFOR%20delay", "x%20from%20dual", "__import__", "randomblob(9)"):
                self.refused(self.get(f"/admin/backups/jobs?{name}={word}"), 400, "Invalid filter", "Unsupported filter value.")

    def test_jobs_and_their_filters(self):
        ids = [self.job(status=f"'{s}'", job_type=f"'{j}'", client_name=f"'{c}'", started_at=f"now() - {i} * interval '1 s'")
               for i, (s, j, c) in enumerate((("pending", "backup", "shop"), ("failed", "restore", "shop"), ("completed", "backup", "two")))]
        def listed(query):
            return [j["id"] for j in self.done(self.get(f"/admin/backups/jobs{query}"), 200, "Listed backup jobs")["jobs"]]
        self.assertEqual(listed(""), ids)
        self.assertEqual(listed("?client_name=shop"), ids[:2])
        self.assertEqual(listed("?client_name=shop&status=failed&job_type=restore"), ids[1:2])
        self.assertEqual(listed("?status="), [])
        self.assertEqual(listed("?limit=2"), ids[:2])
        for limit in ("0", "-1", "501", "abc"):  # checklist 7
            self.assertEqual(listed(f"?limit={limit}"), ids)
        self.assertEqual(set(self.get("/admin/backups/jobs").json["data"]["jobs"][0]), {
            "id", "job_type", "client_name", "status", "progress_pct", "progress_stage", "s3_bucket", "s3_key", "label", "size_bytes",
            "execution_daemon_id", "error_message", "started_at", "updated_at", "completed_at"})

    def test_one_job_with_its_last_hundred_lines(self):
        job = self.job()
        self.ask(f"insert into backup_job_logs (job_id, level, message) select {job}, 'info', 'line ' || n from generate_series(1, 130) n")
        data = self.done(self.get(f"/admin/backups/jobs/{job}"), 200, "Backup job")
        self.assertEqual([line["message"] for line in data["logs"]], [f"line {n}" for n in range(130, 30, -1)])
        self.assertEqual(set(data["logs"][0]), {"id", "job_id", "level", "message", "created_at"})
        self.assertEqual(self.get(data["events"]).json["data"]["events"], [])
        self.refused(self.get("/admin/backups/jobs/999999"), 404, "Backup job not found", "Backup job 999999 not found")
        self.refused(self.get("/admin/backups/jobs/abc"), 404, "Not Found", "The requested resource was not found")

    def test_cancel_what_waits_and_nothing_that_is_over(self):
        job = self.job(status="'pending'")
        answer = self.send("POST", f"/admin/backups/jobs/{job}/cancel", {"ignored": True})
        self.assertEqual(self.done(answer, 200, "Backup job cancelled"), {"job_id": job, "status": "cancelled"})
        data = self.get(f"/admin/backups/jobs/{job}").json["data"]
        self.assertEqual({k: data["job"][k] for k in ("status", "progress_stage", "progress_pct", "error_message")},
                         {"status": "cancelled", "progress_stage": "cancelled", "progress_pct": 0, "error_message": "Cancelled by operator"})
        self.assertIsNotNone(data["job"]["completed_at"])
        self.assertEqual([line["message"] for line in data["logs"]], ["Cancellation requested"])
        for status in ("cancelled", "completed", "failed"):
            over = self.job(status=f"'{status}'")
            self.refused(self.send("POST", f"/admin/backups/jobs/{over}/cancel"), 400, "Job not active", "Only running or pending jobs can be cancelled.")
        self.refused(self.send("POST", "/admin/backups/jobs/999999/cancel"), 404, "Backup job not found", "Backup job 999999 not found")

    def test_cancel_what_runs_tells_its_worker_and_waits_for_it(self):
        """D-46: the row is the worker's to end; the answer comes when it has."""
        job = self.job(status="'running'", lease_token="gen_random_uuid()", lease_expires_at="now() + interval '1 h'")

        def worker():
            wait_for("the worker is told", 20, lambda: self.ask(f"select cancel_requested_at is not null from backup_jobs where id = {job}") == "t")
            self.ask(f"update backup_jobs set status = 'cancelled', lease_token = null where id = {job}")
        thread = threading.Thread(target=worker)
        thread.start()
        self.assertEqual(self.done(self.send("POST", f"/admin/backups/jobs/{job}/cancel"), 200, "Backup job cancelled"), {"job_id": job, "status": "cancelled"})
        thread.join()
        slow = self.job(status="'running'", lease_token="gen_random_uuid()", lease_expires_at="now() + interval '1 h'")
        self.assertEqual(self.done(self.send("POST", f"/admin/backups/jobs/{slow}/cancel"), 200, "Backup job cancellation requested"),
                         {"job_id": slow, "status": "running"})

    def test_delete_a_job_that_is_over(self):
        job = self.job(status="'failed'")
        self.ask(f"insert into backup_schedules (client_name, frequency, cron_expression, last_job_id) values ('shop', 'daily', '0 2 * * *', {job})")
        self.ask(f"insert into backup_job_logs (job_id, level, message) values ({job}, 'info', 'x')")
        for status in ("pending", "running"):
            active = self.job(status=f"'{status}'")
            self.refused(self.send("DELETE", f"/admin/backups/jobs/{active}"), 400, "Backup job still running",
                         "Only completed, failed, or cancelled jobs can be deleted.")
        self.assertEqual(self.done(self.send("DELETE", f"/admin/backups/jobs/{job}"), 200, "Backup job deleted"), {"job_id": job})
        self.assertEqual(self.ask(f"select (select count(*) from backup_job_logs where job_id = {job}), (select last_job_id is null from backup_schedules)"), "0|t")
        self.refused(self.send("DELETE", f"/admin/backups/jobs/{job}"), 404, "Backup job not found", f"Backup job {job} not found")

    def test_without_a_store(self):
        """Names first, then the store, then the client: as the published server has it."""
        error = "Configure backup.s3_bucket (and related fields) in config.yaml to enable backups."
        for method, path, body in (("POST", "", {"client_name": "shop"}), ("POST", "", {"client_name": "nobody"}), ("GET", "/config", None),
                                   ("POST", "/k/restore", {"client_name": "shop"}), ("GET", "/k/download", None), ("DELETE", "/k", None),
                                   ("GET", "/jobs/1/s3-open", None), ("POST", "/k/prove", None), ("POST", "/k/drill", None)):
            self.refused(self.send(method, f"/admin/backups{path}", body), 503, "S3 not configured", error)
        self.refused(self.send("POST", "/admin/backups", {"client_name": "shop", "label": "a b"}), 400, "Invalid label", "label must match [a-zA-Z0-9._-]{1,64}")

    def test_wrong_keys(self):
        for key, error in (("undefined", "Provide the concrete S3 object key, not a placeholder value."), (":key", None), ("%7Bkey%7D", None), ("NULL", None),
                           ("a%0Ab", "Key may not contain control characters."), ("a%09b", "Key may not contain control characters."), ("k" * 2049, "Key is too long.")):
            self.refused(self.get(f"/admin/backups/{key}/download"), 400, "Invalid backup key", error)
            self.refused(self.send("DELETE", f"/admin/backups/{key}"), 400, "Invalid backup key", error)
            self.refused(self.send("POST", f"/admin/backups/{key}/restore", {"client_name": "shop"}), 400, "Invalid backup key", error)
        self.refused(self.get("/admin/backups//download"), 400, "Missing backup key", "Provide the S3 object key as the path segment.")

    def test_who_is_busy_with_what(self):
        """GET /admin/daemons: a job is its runner's, pinned or not."""
        self.ask("""insert into daemon_runtime_registry (daemon_id, runtime_kind, host, version) values ('busy', 'k', 'h', '1'), ('pinned', 'k', 'h', '1')
            on conflict do nothing""")
        self.job(status="'running'", worker_daemon_id="'busy'", lease_expires_at="now() + interval '1 h'")
        self.job(status="'running'", worker_daemon_id="'busy'", execution_daemon_id="'busy'", lease_expires_at="now() - interval '1 s'")
        self.job(status="'running'", execution_daemon_id="'pinned'")
        self.job(status="'pending'", execution_daemon_id="'pinned'")
        self.ask("""insert into backup_schedules (client_name, frequency, cron_expression, enabled, execution_daemon_id) values
            ('shop', 'daily', '', true, 'pinned'), ('shop', 'daily', '', false, 'pinned'), ('shop', 'daily', '', true, null)""")
        daemons = {d["daemon_id"]: d for d in self.get("/admin/daemons").json["data"]["daemons"]}
        self.assertEqual([(daemons[n]["active_backup_jobs"], daemons[n]["pinned_backup_schedules"]) for n in ("busy", "pinned")], [(1, 0), (1, 1)])

    def test_methods(self):
        self.assertEqual(self.send("PUT", "/admin/backups/jobs/5").status, 405)
        self.assertEqual(self.send("PUT", "/admin/backups/schedules/5").status, 405)
        self.assertEqual(self.get("/admin/backups/schedules/5").status, 405)


class Schedules(Case):
    def setUp(self):
        self.ask("delete from backup_schedules")

    def create(self, **body):
        return self.send("POST", "/admin/backups/schedules", {"client_name": "shop", **body})

    def made(self, **body):
        return self.done(self.create(**body), 200, "Created backup schedule")["schedule"]

    def patch(self, schedule, **body):
        return self.done(self.send("PATCH", f"/admin/backups/schedules/{schedule['id']}", body), 200, "Updated backup schedule")["schedule"]

    def next_by_database(self, row):
        """The first minute after now that fits, found by looking at all of them."""
        fits = {"hourly": "extract(minute from m) = extract(minute from t)", "daily": "m::time = t", "weekly": "m::time = t and extract(dow from m) = w",
                "monthly": "m::time = t and extract(day from m) = d"}[row["frequency"]]
        return self.ask(f"""select to_char(min(m), 'YYYY-MM-DD"T"HH24:MI:SS"Z"') from generate_series(date_trunc('minute', now() at time zone 'UTC')
            + interval '1 min', (now() at time zone 'UTC') + interval '32 days', interval '1 min') m, (select time '{row['time_of_day']}' t,
            {row['day_of_week'] if row['day_of_week'] is not None else 1} w, {row['day_of_month'] or 1} d) x where {fits}""")

    def test_each_frequency(self):
        """Checklist 10."""
        for body, cron, time in (({"frequency": "hourly", "time": "00:20"}, "20 * * * *", "00:20:00"), ({"frequency": "daily"}, "0 2 * * *", "02:00:00"),
                                 ({"frequency": "daily", "time": "3:5"}, "5 3 * * *", "03:05:00"),
                                 ({"frequency": "weekly", "time": "23:59", "day_of_week": 0}, "59 23 * * 0", "23:59:00"),
                                 ({"frequency": "weekly"}, "0 2 * * 1", "02:00:00"), ({"frequency": "monthly", "day_of_month": 28}, "0 2 28 * *", "02:00:00"),
                                 ({"frequency": "monthly"}, "0 2 1 * *", "02:00:00"), ({"frequency": "daily", "time": "10:20:30"}, "0 2 * * *", "02:00:00")):
            row = self.made(**body)
            self.assertEqual((row["cron_expression"], row["time_of_day"]), (cron, time))
            self.assertEqual(row["next_run_at"], self.next_by_database(row), body)

    def test_a_row_whole(self):
        row = self.made(frequency="hourly", time="00:20", label="each-hour", execution_daemon_id=" node-9 ", timeout_seconds=-5)
        shown = {k: row[k] for k in row if k not in ("id", "next_run_at", "created_at", "updated_at")}
        self.assertEqual(shown, {
            "client_name": "shop", "pg_uri": None, "frequency": "hourly", "cron_expression": "20 * * * *", "time_of_day": "00:20:00", "day_of_week": None,
            "day_of_month": None, "label": "each-hour", "enabled": True, "timeout_seconds": -5, "execution_daemon_id": "node-9", "last_run_at": None, "last_job_id": None,
            "missed_run_policy": None, "overlap_policy": None, "retention_count": None})
        other = self.made(frequency="daily", enabled=False, execution_daemon_id="  ")
        self.assertEqual((other["enabled"], other["timeout_seconds"], other["execution_daemon_id"]), (True, 3600, None))
        listed = self.done(self.get("/admin/backups/schedules"), 200, "Listed backup schedules")["schedules"]
        self.assertEqual([r["id"] for r in listed], [other["id"], row["id"]])
        self.assertEqual(listed[1], row)

    def test_uris_are_sealed(self):
        """D-41: nobody is shown a password, and none lies in the table."""
        secret = "postgres://u:s3cret@db.internal/x?sslpassword=s3cret"
        row = self.made(client_name="elsewhere", frequency="daily", pg_uri=secret)
        self.assertEqual(row["pg_uri"], "postgres://u:***@db.internal/x?sslpassword=***")
        self.assertNotIn("s3cret", self.ask("select s::text from backup_schedules s"))
        self.assertRegex(self.ask("select secrets from backup_schedules"), "^enc:v1:")
        self.ask("update backup_schedules set pg_uri = 'postgres://u:s3cret@h/x', secrets = null")
        self.assertNotIn("s3cret", self.get("/admin/backups/schedules").body)
        self.refused(self.create(frequency="daily", pg_uri="mysql://x"), 400, "Invalid pg_uri")

    def test_days_are_checked_first(self):
        """D-50: the published server loses its thread over some of these."""
        for body, error in (({"frequency": "weekly", "day_of_week": 7}, "day_of_week must be 0..6"), ({"frequency": "weekly", "day_of_week": -1}, "day_of_week must be 0..6"),
                            ({"frequency": "daily", "day_of_week": 9}, "day_of_week must be 0..6"), ({"frequency": "monthly", "day_of_month": 0}, "day_of_month must be 1..28"),
                            ({"frequency": "monthly", "day_of_month": 29}, "day_of_month must be 1..28"),
                            ({"frequency": "monthly", "day_of_month": 4294967297}, "day_of_month must be 1..28")):
            self.refused(self.create(**body), 400, "Invalid schedule", error)
        row = self.made(frequency="daily")
        for body, error in (({"day_of_month": 30}, "day_of_month must be 1..28"), ({"day_of_week": 7}, "day_of_week must be 0..6")):
            self.refused(self.send("PATCH", f"/admin/backups/schedules/{row['id']}", body), 400, "Invalid schedule", error)
        self.assertEqual(self.server.get("/ping").status, 200)

    def test_what_is_refused(self):
        for body, message, error in (({"frequency": "yearly"}, "Invalid frequency", "Must be hourly, daily, weekly, or monthly."),
                                     ({"frequency": "daily", "client_name": "a b"}, "Invalid client_name", None),
                                     ({"frequency": "daily", "label": "a b"}, "Invalid label", None),
                                     ({"frequency": "daily", "time": "25:00"}, "Invalid schedule", "Invalid time: 25:00"),
                                     ({"frequency": "daily", "time": " 04:05 "}, "Invalid schedule", "Invalid time:  04:05 ")):
            self.refused(self.create(**body), 400, message, error)
        for body in ({}, {"frequency": 5}, {"frequency": "daily", "timeout_seconds": "x"}, {"frequency": "daily", "day_of_week": 1.5},
                     {"frequency": "daily", "timeout_seconds": 4294967296}):
            self.assertEqual(self.create(**body).status, 400, body)
        self.assertEqual(self.send("POST", "/admin/backups/schedules", "{").status, 400)
        row = self.made(frequency="daily")
        for body, error in (({"frequency": "yearly"}, "Invalid frequency: yearly"), ({"time": "99:00"}, "Invalid time: 99:00")):
            self.refused(self.send("PATCH", f"/admin/backups/schedules/{row['id']}", body), 400, "Invalid schedule", error)
        self.refused(self.send("PATCH", "/admin/backups/schedules/999999", {}), 404, "Schedule not found", "Schedule not found")
        self.refused(self.send("PATCH", "/admin/backups/schedules/abc", {}), 404, "Not Found")

    def test_changes(self):
        row = self.made(frequency="daily", time="03:15", label="old", execution_daemon_id="node-9")
        same = self.patch(row)
        self.assertEqual({**same, "updated_at": None}, {**row, "updated_at": None})
        self.assertEqual(self.patch(row, time="04:30")["cron_expression"], "30 4 * * *")
        weekly = self.patch(row, frequency="weekly", day_of_week=3)
        self.assertEqual((weekly["cron_expression"], weekly["next_run_at"]), ("30 4 * * 3", self.next_by_database(weekly)))
        nulls = {k: None for k in ("frequency", "time", "day_of_week", "day_of_month", "label", "timeout_seconds", "execution_daemon_id", "enabled")}
        self.assertEqual({**self.patch(row, **nulls), "updated_at": None}, {**weekly, "updated_at": None})
        self.assertEqual(self.patch(row, client_name="two", pg_uri="postgres://x@y/z")["client_name"], "shop")
        self.assertIsNone(self.patch(row, execution_daemon_id=" ")["execution_daemon_id"])
        self.assertEqual(self.patch(row, label="new", timeout_seconds=90)["label"], "new")
        off = self.patch(row, enabled=False)
        self.assertEqual((off["enabled"], off["next_run_at"]), (False, None))
        self.assertIsNone(self.patch(row, time="05:00")["next_run_at"])
        on = self.patch(row, enabled=True)
        self.assertEqual((on["next_run_at"], on["timeout_seconds"]), (self.next_by_database(on), 90))

    def test_policies(self):
        """Missed and overlapping runs, and how many backups are kept (D-52)."""
        row = self.made(frequency="daily", missed_run_policy="skip", overlap_policy="allow", retention_count=7)
        self.assertEqual([row[k] for k in ("missed_run_policy", "overlap_policy", "retention_count")], ["skip", "allow", 7])
        now = self.patch(row, missed_run_policy="all", retention_count=0)
        self.assertEqual([now[k] for k in ("missed_run_policy", "overlap_policy", "retention_count")], ["all", "allow", None])
        self.assertEqual(self.patch(row, overlap_policy=None)["overlap_policy"], "allow")
        for body in ({"missed_run_policy": "never"}, {"overlap_policy": "once"}, {"retention_count": -1}, {"retention_count": 100001}):
            self.refused(self.create(frequency="daily", **body), 400, "Invalid schedule")

    def test_changes_at_once(self):
        """Each names another member, and none is lost."""
        row = self.made(frequency="daily", time="03:15")
        bodies = [{"time": "07:45"}, {"frequency": "weekly"}, {"day_of_week": 5}, {"day_of_month": 9}, {"label": "x"}]
        threads = [threading.Thread(target=self.send, args=("PATCH", f"/admin/backups/schedules/{row['id']}", body)) for body in bodies]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        now = self.get("/admin/backups/schedules").json["data"]["schedules"][0]
        self.assertEqual((now["cron_expression"], now["day_of_month"], now["label"]), ("45 7 * * 5", 9, "x"))
        self.assertEqual(now["next_run_at"], self.next_by_database(now))

    def test_delete(self):
        row = self.made(frequency="daily")
        job = self.job(schedule_id=str(row["id"]))
        self.assertEqual(self.done(self.send("DELETE", f"/admin/backups/schedules/{row['id']}"), 200, "Deleted backup schedule"), {"id": row["id"]})
        self.assertEqual(self.ask(f"select schedule_id is null from backup_jobs where id = {job}"), "t")
        self.refused(self.send("DELETE", f"/admin/backups/schedules/{row['id']}"), 404, "Schedule not found", "Schedule not found")


class Stored(Case):
    """With a real S3 store, of which jobs know nothing here."""
    plugins = (*PLUGINS, "driver-s3")
    SIZE = 20 * 1024 * 1024

    @classmethod
    def setUpClass(cls):
        cls.lab = S3Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.store = cls.lab.store()
        cls.env = {"ATHENA_BACKUP_S3_BUCKET": BUCKET, "ATHENA_BACKUP_S3_ENDPOINT": cls.store.url, "ATHENA_BACKUP_S3_ACCESS_KEY": ACCESS,
                   "ATHENA_BACKUP_S3_SECRET_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true"}
        cls.pg = cls.lab.postgres(tcp=True)
        cls.pg.run("create database control;")
        cls.pg.run("create database shop;")
        cls.server = cls.start()
        cls.object = random.Random(7).randbytes(cls.SIZE)
        cls.put(KEY, cls.object)

    @classmethod
    def put(cls, key, body):
        cls.store.client.well("PUT", f"/{BUCKET}/{key}", body=body)

    def has(self, key):
        return self.store.client.request("HEAD", f"/{BUCKET}/{key}")[0] == 200

    def raw(self, key=KEY, method="GET", server=None, **headers):
        """(status, headers, bytes) of a download."""
        c = http.client.HTTPConnection("127.0.0.1", (server or self.server).port, timeout=60)
        try:
            c.request(method, f"/admin/backups/{key}/download", headers={**ADMIN, **{k.replace("_", "-"): v for k, v in headers.items()}})
            r = c.getresponse()
            return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()
        finally:
            c.close()

    def test_config(self):
        self.assertEqual(self.done(self.get("/admin/backups/config"), 200, "Backup storage configuration"),
                         {"bucket": BUCKET, "region": "us-east-1", "prefix": "backups", "endpoint": self.store.url})

    def test_whole(self):
        for key in (KEY, quote(KEY, safe="")):
            status, headers, body = self.raw(key)
            self.assertEqual((status, body == self.object), (200, True))
            self.assertEqual((headers["content-type"], headers["content-length"], headers["content-disposition"], headers["accept-ranges"]),
                             ("application/gzip", str(self.SIZE), f'attachment; filename="{KEY.rsplit("/", 1)[1]}"', "bytes"))
            self.assertRegex(headers["etag"], '^".+"$')

    def test_ranges(self):
        """D-40, and every form that RFC 9110 has."""
        n = self.SIZE
        for given, start, end in (("bytes=0-0", 0, 1), ("bytes=0-1048575", 0, 1 << 20), ("bytes=7340030-7340099", 7340030, 7340100), (f"bytes={n - 10}-", n - 10, n),
                                  ("bytes=-5", n - 5, n), (f"bytes=-{n + 1}", 0, n), (f"bytes={n - 1}-{n + 100}", n - 1, n), ("bytes=5242870-15728650", 5242870, 15728651)):
            status, headers, body = self.raw(Range=given)
            self.assertEqual((status, headers.get("content-range"), headers["content-length"]), (206, f"bytes {start}-{end - 1}/{n}", str(end - start)), given)
            self.assertTrue(body == self.object[start:end], given)
        for given in (f"bytes={n}-", "bytes=-0", f"bytes={n + 5}-{n + 6}"):
            status, headers, body = self.raw(Range=given)
            self.assertEqual((status, headers["content-range"]), (416, f"bytes */{n}"), given)
        for given in ("bytes=5-1", "bytes=0-1,4-5", "lines=0-1", "bytes=a-b"):
            status, headers, body = self.raw(Range=given)
            self.assertEqual((status, body == self.object), (200, True), given)

    def test_conditions(self):
        etag = self.raw(method="HEAD")[1]["etag"]
        self.assertEqual(self.raw(Range="bytes=0-3", If_Range=etag)[0], 206)
        for other in ('"other"', f"W/{etag}", "Tue, 05 Jan 2027 10:00:00 GMT"):
            self.assertEqual(self.raw(Range="bytes=0-3", If_Range=other)[0], 200, other)
        for same in (etag, f'"x", {etag}', f"W/{etag}", "*"):
            status, headers, body = self.raw(If_None_Match=same)
            self.assertEqual((status, headers["etag"], body), (304, etag, b""), same)
        self.assertEqual(self.raw(If_None_Match='"x"', Range="bytes=1-2")[2], self.object[1:3])

    def test_head(self):
        status, headers, body = self.raw(method="HEAD")
        self.assertEqual((status, headers["content-length"], headers["accept-ranges"], body), (200, str(self.SIZE), "bytes", b""))
        status, headers, body = self.raw(method="HEAD", Range="bytes=10-19")
        self.assertEqual((status, headers["content-length"], headers["content-range"]), (206, "10", f"bytes 10-19/{self.SIZE}"))

    def test_small_and_odd(self):
        self.put("backups/shop/empty.tar.gz", b"")
        self.assertEqual(self.raw("backups/shop/empty.tar.gz")[::2], (200, b""))
        self.assertEqual(self.raw("backups/shop/empty.tar.gz", Range="bytes=0-")[0], 416)
        self.put('backups/shop/a b+c%d".tar.gz', b"odd")
        status, headers, body = self.raw(quote('backups/shop/a b+c%d".tar.gz'))
        self.assertEqual((status, body, headers["content-disposition"]), (200, b"odd", 'attachment; filename="a b+c%d_.tar.gz"'))

    def test_missing_is_404(self):
        """D-54: an object that is not there is no failure of the server."""
        self.refused(self.get("/admin/backups/backups%2Fshop%2Fnone.tar.gz/download"), 404, "Backup not found")

    def test_keys_of_others(self):
        """D-43: what lies outside of the prefix is nobody's backup, however it is written."""
        self.put("foreign/file.txt", b"x")
        for key in ("foreign/file.txt", "foreign%2Ffile.txt", "k", "backups", "backups%2F", "backupsx/y", "backups/../foreign/file.txt", "backups/./x"):
            for method, more, body in (("GET", "/download", None), ("DELETE", "", None), ("POST", "/restore", {"client_name": "shop"}), ("POST", "/prove", None)):
                self.refused(self.send(method, f"/admin/backups/{key}{more}", body), 400, "Invalid backup key")
        self.assertTrue(self.has("foreign/file.txt"))
        free = self.start(more="backup:\n- allow_any_key: true\n")
        self.assertEqual(self.raw("foreign/file.txt", server=free)[::2], (200, b"x"))

    def test_delete_takes_the_place_in_the_list(self):
        """D-54"""
        key = "backups/shop/gone.tar.gz"
        for name in (key, f"{key}.manifest.json", "backups/shop/gone.tar.gz2"):
            self.put(name, b"x")
        job = self.job(s3_bucket="'backups'", s3_key=f"'{key}'", completed_at="now()")
        self.assertIn(key, [b["s3_key"] for b in self.get("/admin/backups").json["data"]["backups"]])
        for _ in range(2):
            self.assertEqual(self.done(self.send("DELETE", f"/admin/backups/{quote(key, safe='')}"), 200, "Backup deleted"), {"key": key})
        self.assertEqual([self.has(name) for name in (key, f"{key}.manifest.json", "backups/shop/gone.tar.gz2")], [False, False, True])
        self.assertNotIn(job, [b["job_id"] for b in self.get("/admin/backups").json["data"]["backups"]])
        self.assertEqual(self.get(f"/admin/backups/jobs/{job}").json["data"]["job"]["s3_key"], None)
        records = self.done(self.get(f"/admin/backups/records?key={quote(key)}"), 200, "Listed backup records")["records"]
        self.assertEqual([(r["kind"], r["backup_id"], r["job_id"], r["facts"]) for r in records], [("deleted", "gone", job, {"by": "operator"})])

    def test_the_record_holds_or_says_where_it_does_not(self):
        for name in ("one", "two", "three"):
            self.job(s3_bucket="'backups'", s3_key=f"'backups/shop/{name}.tar.gz'", completed_at="now()")
            self.done(self.send("DELETE", f"/admin/backups/backups/shop/{name}.tar.gz"), 200, "Backup deleted")
        verdict = self.done(self.get("/admin/backups/records/verify"), 200, "Verified backup records")
        self.assertEqual((verdict["valid"], verdict["broken"], verdict["why"], verdict["unsealed_signers"]), (True, None, None, 0))
        records = self.get("/admin/backups/records?limit=2").json["data"]
        self.assertEqual((len(records["records"]), verdict["head"]), (2, records["records"][0]["digest"]))
        older = self.get(f"/admin/backups/records?limit=2&before={records['next']}").json["data"]["records"]
        self.assertLess(older[0]["seq"], records["next"])
        self.assertEqual(self.get("/admin/backups/records/verify?backup_id=two").json["data"]["records"], 1)
        self.assertIn(b'"valid":true', self.athena("prove", "--json").replace(b" ", b""))
        self.ask("set session_replication_role = replica; update athena_backup_records set facts = '{\"by\":\"nobody\"}' where backup_id = 'two'")
        verdict = self.done(self.get("/admin/backups/records/verify"), 200, "Backup records do not hold")
        broken = int(self.ask("select seq from athena_backup_records where backup_id = 'two'"))
        self.assertEqual((verdict["valid"], verdict["broken"]), (False, broken))
        self.athena("prove", status=1)
        self.ask("set session_replication_role = replica; update athena_backup_records set facts = '{\"by\":\"operator\"}' where backup_id = 'two'")
        self.assertTrue(self.get("/admin/backups/records/verify").json["data"]["valid"])

    def test_link(self):
        job = self.job(s3_bucket="'backups'", s3_key=f"'{KEY}'", completed_at="now()")
        data = self.done(self.get(f"/admin/backups/jobs/{job}/s3-open"), 200, "Generated S3 open URL")
        self.assertEqual({k: data[k] for k in data if k != "url"}, {"job_id": job, "s3_bucket": BUCKET, "s3_key": KEY, "expires_in": 900})
        with urllib.request.urlopen(data["url"], timeout=30) as r:
            self.assertTrue(r.read() == self.object)
        for row in ({"status": "'failed'", "s3_bucket": "'backups'", "s3_key": "'x'"}, {"s3_bucket": "'backups'"}, {"job_type": "'restore'", "s3_bucket": "'backups'", "s3_key": "'x'"}):
            other = self.job(**row)
            self.refused(self.get(f"/admin/backups/jobs/{other}/s3-open"), 404, "Backup job not found",
                         f"No completed backup job {other} with S3 output was found.")

    def memory(self):
        with open(f"/proc/{self.server.process.pid}/status") as f:
            return int(next(line for line in f if line.startswith("VmRSS")).split()[1])

    def test_a_slow_reader_and_one_that_leaves(self):
        """D-40: neither holds the archive in memory."""
        self.raw()
        before, readers = self.memory(), []
        for _ in range(6):
            s = socket.create_connection(("127.0.0.1", self.server.port))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            s.sendall(f"GET /admin/backups/{KEY}/download HTTP/1.1\r\nHost: x\r\nX-Athena-Key: {ADMIN_KEY}\r\n\r\n".encode())
            readers.append((s, s.recv(65536)))
        for _ in range(50):
            self.assertLess(self.memory() - before, 48 * 1024)  # of six archives of 20 MB
            self.assertEqual(self.server.get("/ping").status, 200)
        for s, _ in readers[1:]:
            s.close()
        s, got = readers[0]
        body = bytearray(got.split(b"\r\n\r\n", 1)[1])
        while len(body) < self.SIZE:
            piece = s.recv(1 << 20)
            self.assertTrue(piece)
            body += piece
        self.assertTrue(body == self.object)
        s.close()
        self.assertTrue(self.raw()[2] == self.object)

    # ---- what is asked for ----

    def payload(self, job):
        return json.loads(self.ask(f"select queue_payload from backup_jobs where id = {job}"))

    def test_create(self):
        data = self.done(self.send("POST", "/admin/backups", {"client_name": "shop", "label": "pre-deploy", "timeout_seconds": 1800, "unknown_key": 1}), 202, "Backup job queued")
        self.assertEqual(data, {"job_id": data["job_id"], "client_name": "shop", "status": "pending"})
        self.assertEqual(self.payload(data["job_id"]), {
            "kind": "backup", "client_name": "shop", "pg_uri": None, "label": "pre-deploy", "timeout_seconds": 1800, "execution_daemon_id": None,
            "recovery_strategy": "none", "pg_dump_override": None, "pg_restore_override": None})
        row = self.get(f"/admin/backups/jobs/{data['job_id']}").json["data"]["job"]
        self.assertEqual([row[k] for k in ("job_type", "status", "progress_stage", "progress_pct", "label", "s3_bucket", "completed_at")],
                         ["backup", "pending", "queued", None, "pre-deploy", None, None])
        for given, kept in ((1, 60), (-5, 60), (90000, 86400), (None, 3600)):
            job = self.send("POST", "/admin/backups", {"client_name": "shop", "timeout_seconds": given, "recovery_strategy": "schema_heal"}).json["data"]["job_id"]
            self.assertEqual([self.payload(job)[k] for k in ("timeout_seconds", "recovery_strategy")], [kept, "repair_missing_role_oids"])

    def test_create_by_uri(self):
        """D-41: the password is in no table, as it was given or otherwise."""
        uri = "postgres://u:p%40ssw0rd@h.internal:5433/x"
        job = self.done(self.send("POST", "/admin/backups", {"pg_uri": uri}), 202, "Backup job queued")
        self.assertEqual(job["client_name"], "custom")
        row = self.ask(f"select row_to_json(j) from backup_jobs j where id = {job['job_id']}")
        self.assertNotIn("ssw0rd", row)
        self.assertEqual(json.loads(row)["pg_uri"], "postgres://u:***@h.internal:5433/x")
        self.assertEqual(json.loads(row)["queue_payload"]["pg_uri"], "postgres://u:***@h.internal:5433/x")
        self.assertRegex(json.loads(row)["secrets"], "^enc:v1:")
        named = self.send("POST", "/admin/backups", {"client_name": "nobody", "pg_uri": uri}).json["data"]
        self.assertEqual(named["client_name"], "nobody")

    def test_create_is_refused(self):
        for body, message, error in (({}, "Missing target", "Provide either client_name or pg_uri."), ({"client_name": " "}, "Invalid client_name", None),
                                     ({"client_name": "nobody"}, "Unknown client", "No Postgres client named 'nobody' is registered."),
                                     ({"client_name": "a b", "label": "a b"}, "Invalid client_name", None), ({"client_name": "shop", "label": "x" * 65}, "Invalid label", None),
                                     ({"pg_uri": "mysql://x"}, "Invalid pg_uri", None), ({"pg_uri": "host=x"}, "Invalid pg_uri", None)):
            self.refused(self.send("POST", "/admin/backups", body), 400, message, error)
        for body in ({"client_name": 5}, {"client_name": "shop", "timeout_seconds": "x"}, {"client_name": "shop", "recovery_strategy": "other"}, [], "x"):
            self.assertEqual(self.send("POST", "/admin/backups", json.dumps(body)).status, 400, body)
        self.assertEqual(self.send("POST", "/admin/backups", "{", ADMIN).status, 400)

    def test_a_client_of_a_variable(self):
        """D-44"""
        self.ask("insert into athena_clients (client_name, pg_uri_env_var) values ('by-variable', 'SHOP_URI'), ('without', 'NO_SUCH_URI'); notify athena_clients, 'by-variable'")
        server = self.start(env={"SHOP_URI": self.pg.tcp_uri("shop")})
        wait_for("the catalogue is read", 20, lambda: self.send("POST", "/admin/backups", {"client_name": "without"}, server=server).json["message"] != "Unknown client")
        self.done(self.send("POST", "/admin/backups", {"client_name": "by-variable"}, server=server), 202, "Backup job queued")
        self.refused(self.send("POST", "/admin/backups", {"client_name": "without"}, server=server), 400, "Client URI unavailable",
                     "No Postgres URI is available for client 'without'.")

    def test_tools_of_requests(self):
        """D-42"""
        server = self.start(env={"ATHENA_PG_TOOLS_DIR": "/opt/tools/", "ATHENA_PG_DUMP_PATH": "/usr/local/bin/pg_dump"})
        def ask(dump="", restore=""):
            return self.send("POST", "/admin/backups", {"client_name": "shop"}, {**JSON, "X-Athena-Pg-Dump-Path": dump, "X-Athena-Pg-Restore-Path": restore}, server=server)
        for dump, restore in (("/opt/custom/pg_dump", ""), ("/bin/sh", ""), ("/opt/tools", ""), ("/opt/tools/../../bin/sh", ""), ("/opt/toolsx/pg_dump", ""),
                              ("pg_dump", ""), ("", "/usr/local/bin/pg_dump")):
            self.refused(ask(dump, restore), 400, "Invalid pg tool path")
        job = ask("/opt/tools/17/bin/pg_dump", " /opt/tools/17/bin/pg_restore ").json["data"]["job_id"]
        self.assertEqual([self.payload(job)[k] for k in ("pg_dump_override", "pg_restore_override")], ["/opt/tools/17/bin/pg_dump", "/opt/tools/17/bin/pg_restore"])
        self.assertEqual(ask("/usr/local/bin/pg_dump").status, 202)

    def test_restore(self):
        path = f"/admin/backups/{quote(KEY, safe='')}/restore"
        data = self.done(self.send("POST", path, {"client_name": "shop"}), 202, "Restore job queued")
        self.assertEqual(data, {"job_id": data["job_id"], "key": KEY, "client_name": "shop", "status": "pending"})
        self.assertEqual(self.payload(data["job_id"])["key"], KEY)
        row = self.get(f"/admin/backups/jobs/{data['job_id']}").json["data"]["job"]
        self.assertEqual([row[k] for k in ("job_type", "s3_bucket", "s3_key", "label")], ["restore", None, None, None])
        body = {"client_name": "shop", "mode": "in_place", "single_transaction": True, "keep_hours": 0, "allow_control_plane": True}
        payload = self.payload(self.send("POST", path, body).json["data"]["job_id"])
        self.assertEqual({k: payload.get(k) for k in body}, body)
        self.assertEqual(self.payload(self.send("POST", path, {"client_name": "shop", "in_place": True}).json["data"]["job_id"])["mode"], "in_place")
        for wrong in ({"mode": "replace"}, {"mode": "swap", "in_place": True}, {"keep_hours": -1}, {"keep_hours": 1.5}, {"single_transaction": "yes"}, {"in_place": 1}):
            self.assertEqual(self.send("POST", path, {"client_name": "shop", **wrong}).status, 400, wrong)
        self.refused(self.send("POST", path, {}), 400, "Missing target", "Provide either client_name or pg_uri.")
        self.refused(self.send("POST", path, {"client_name": "nobody"}), 400, "Unknown client")

    def test_restore_spares_the_control_plane(self):
        """D-43"""
        path = f"/admin/backups/{KEY}/restore"
        self.refused(self.send("POST", path, {"client_name": "athena_logging"}), 400, "Restore target refused")
        self.refused(self.send("POST", path, {"client_name": "Athena_Logging"}), 400, "Restore target refused")
        self.done(self.send("POST", path, {"client_name": "athena_logging", "allow_control_plane": True}), 202, "Restore job queued")

    def test_prove_and_drill(self):
        self.ask("update backup_jobs set s3_key = null")
        for word in ("prove", "drill"):
            data = self.done(self.send("POST", f"/admin/backups/{KEY}/{word}"), 202, f"{word.title()} job queued")
            self.assertEqual((data["key"], data["client_name"]), (KEY, "shop"))
            self.assertEqual(self.payload(data["job_id"])["kind"], word)
        self.job(s3_key=f"'{KEY}'", client_name="'elsewhere'", pg_uri="'postgres://u:***@h/x'", secrets="'enc:v1:x'", completed_at="now()")
        job = self.send("POST", f"/admin/backups/{KEY}/drill", {"timeout_seconds": 90}).json["data"]["job_id"]
        self.assertEqual(self.ask(f"select client_name, pg_uri, secrets, queue_payload->>'timeout_seconds' from backup_jobs where id = {job}"),
                         "elsewhere|postgres://u:***@h/x|enc:v1:x|90")
        self.assertEqual(self.send("POST", f"/admin/backups/{KEY}/prove", {"client_name": "a b"}).status, 400)

    def test_kept_and_undo(self):
        """What restores have set aside; putting it back is a job."""
        self.ask("insert into athena_backup_kept (job_id, state, server, database, name, oid, live_oid, client_name, keep_until)"
                 " values (7001, 'kept', 's', 'shop', 'shop_athena_7001', 1, 2, 'shop', now() + interval '1 day'), (7002, 'dropped', 's', 'shop', 'x', 3, 4, 'shop', now())")
        kept = self.done(self.get("/admin/backups/kept?client_name=shop"), 200, "Listed replaced databases")["kept"]
        self.assertEqual([(k["job_id"], k["name"], k["state"]) for k in kept], [(7001, "shop_athena_7001", "kept")])
        self.assertEqual(self.get("/admin/backups/kept?client_name=two").json["data"]["kept"], [])
        data = self.done(self.send("POST", f"/admin/backups/kept/{kept[0]['id']}/undo"), 202, "Undo job queued")
        self.assertEqual([self.payload(data["job_id"])[k] for k in ("kind", "undo_of", "client_name")], ["restore", 7001, "shop"])
        gone = self.ask("select id from athena_backup_kept where job_id = 7002")
        self.assertEqual(self.send("POST", f"/admin/backups/kept/{gone}/undo").status, 409)
        self.assertEqual(self.send("POST", "/admin/backups/kept/999/undo").status, 404)

    def test_what_would_be_removed(self):
        """Retention is shown before it removes anything: never the newest proven one."""
        ids = [self.job(client_name="'kept'", s3_bucket="'backups'", s3_key=f"'backups/kept/{n}.tar.gz'", completed_at=f"now() - {n} * interval '1 day'") for n in range(5)]
        path = "/admin/backups/retention?client_name=kept"
        data = self.done(self.get(path), 200, "What is kept of backups")
        self.assertEqual([(b["job_id"], b["kept"], b["why"]) for b in data["backups"]], [(i, True, "no rule") for i in ids])
        server = self.start(more="backup:\n- retain_count: 1\n")
        self.assertEqual([b["why"] for b in self.get(path, server=server).json["data"]["backups"]], ["unsure"] * 5)  # nothing is proven
        self.ask("set session_replication_role = replica; insert into athena_backup_records (seq, at, kind, backup_id, key, facts, previous, digest, signer, signature)"
                 " select 1000000 + n, now(), 'decoded', n, 'backups/kept/' || n || '.tar.gz', '{}', 'p' || n, 'd', 's', 's' from generate_series(1, 4) n")
        data = self.get(path, server=server).json["data"]
        self.assertEqual([(b["job_id"], b["proven"], b["kept"]) for b in data["backups"]],
                         [(ids[0], False, True), (ids[1], True, True), *((i, True, False) for i in ids[2:])])
        self.assertEqual((data["total"], data["to_be_deleted"], data["rules"]["count"]), (5, 3, 1))
        self.ask("set session_replication_role = replica; delete from athena_backup_records where seq > 1000000")
        self.assertIn("no rule", self.athena("retention", "kept").decode())

    # ---- what may go wrong ----

    def test_the_store_is_down_or_refuses(self):
        """D-73: what is said of it has no URL and no signature."""
        for env, down in (({"ATHENA_BACKUP_S3_ENDPOINT": f"http://127.0.0.1:{free_port()}"}, True), ({"ATHENA_BACKUP_S3_SECRET_KEY": "another-secret"}, False)):
            server = self.start(env=env, more="driver-s3:\n  tries: 2\n  retry_delay: 10ms\n")
            for method, more, message in (("GET", "/download", "S3 read failed"), ("DELETE", "", "S3 delete failed")):
                answer = self.send(method, f"/admin/backups/{KEY}{more}", server=server)
                self.refused(answer, 500, message)
                self.assertNotRegex(answer.body, "(?i)signature=|x-amz|another-secret|t_access|/dumps/")
            self.done(self.send("POST", "/admin/backups", {"client_name": "shop"}, server=server), 202, "Backup job queued")
            server.stop()

    def test_a_configuration_in_the_file(self):
        """D-47"""
        more = f"backup:\n- s3_bucket: {BUCKET}\n- s3_endpoint: ${{STORE}}\n- s3_access_key: {ACCESS}\n- s3_secret_key: ${{STORE_SECRET}}\n"
        env = {k: "" for k in self.env}
        server = self.start(env={**env, "STORE": self.store.url, "STORE_SECRET": SECRET}, more=more)
        self.assertEqual(self.raw(server=server, Range="bytes=0-9")[2], self.object[:10])

    def test_the_control_plane_is_away(self):
        pg = self.lab.postgres(tcp=True)
        pg.run("create database control;")
        server = self.lab.athena({"athena_logging": pg.tcp_uri("control"), "shop": self.pg.tcp_uri("shop")}, plugins=self.plugins,
                                 gateway="- logging_client: athena_logging\n", env=self.env)
        wait_for("the clients are connected", 20, lambda: server.get("/ready").json["clients"]["connected"] == 2)
        pg.stop("immediate")
        error = "Logging client 'athena_logging' is not connected."
        wait_for("it is missed", 30, lambda: self.get("/admin/backups", server=server).status == 503)
        for method, path, body in (("GET", "", None), ("POST", "", {"client_name": "shop"}), ("GET", "/jobs/1", None), ("GET", "/schedules", None),
                                   ("POST", f"/{KEY}/restore", {"client_name": "shop"}), ("DELETE", f"/{KEY}", None)):
            self.refused(self.send(method, f"/admin/backups{path}", body, server=server), 503, "Logging unavailable", error)
        self.assertEqual(self.raw(server=server, Range="bytes=0-9")[2], self.object[:10])  # needs no database
        none = self.lab.athena({"shop": self.pg.tcp_uri("shop")}, plugins=self.plugins, env=self.env)
        self.refused(self.get("/admin/backups", server=none), 503, "Logging unavailable", "No athena_logging client is configured.")

    def test_rates(self):
        """D-62"""
        server = self.start(gateway_more="- rate_limit_inbound_backup_admin_enabled: true\n- rate_limit_inbound_backup_admin_per_second: 1\n"
                            "- rate_limit_inbound_backup_admin_burst: 3\n")
        answers = [self.get("/admin/backups/jobs", server=server) for _ in range(8)]
        self.assertEqual([a.status for a in answers[:3]], [200] * 3)
        refused = [a for a in answers if a.status == 429]
        self.assertTrue(refused)
        self.assertGreaterEqual(int(refused[0].headers["retry-after"]), 1)
        self.assertEqual(refused[0].json["error"], "Rate limit exceeded")
        self.assertEqual(server.get("/ping").status, 200)

    def test_the_gate(self):
        """Checklist 14"""
        server = self.start(env={"ATHENA_ENABLE_ADMIN_BACKUP_ROUTES": "0"})
        for path in ("", "/config", "/jobs", f"/{KEY}/download"):
            self.refused(self.get(f"/admin/backups{path}", server=server), 404, "Not Found")

    # ---- from a terminal ----

    def athena(self, *args, status=0, **kw):
        env = {"PATH": os.environ["PATH"], "HOME": self.lab.folder, "ATHENA_URL": f"http://127.0.0.1:{self.server.port}", "ATHENA_ADMIN_KEY": ADMIN_KEY,
               **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS") or k == "LD_LIBRARY_PATH"}}
        done = subprocess.run([executable(), "backup", *args], cwd=self.lab.folder, env=env, capture_output=True, timeout=60, stdin=subprocess.DEVNULL, **kw)
        self.assertEqual(done.returncode, status, done.stdout[-2000:] + done.stderr[-2000:])
        return done.stdout if status == 0 else done.stderr

    def test_commands_that_look(self):
        job = self.job(s3_bucket="'backups'", s3_key=f"'{KEY}'", completed_at="now()", label="'seen'", client_name="'looked'", size_bytes="123456")
        self.assertRegex(self.athena("list", "looked").decode(), f"JOB ID(?s:.*) {job} +looked .* 123456 +seen +{KEY}")
        self.assertEqual(json.loads(self.athena("list", "looked", "--json"))["data"]["backups"][0]["job_id"], job)
        self.assertIn("completed", self.athena("jobs", "looked", "--status", "completed").decode())
        self.ask(f"insert into backup_job_logs (job_id, level, message) values ({job}, 'info', 'a line of it')")
        self.assertRegex(self.athena("show", str(job)).decode(), f"(?s){job} +backup +looked.*a line of it")
        self.assertIn(b"404", self.athena("show", "999999", status=1))
        for words in (("kept",), ("records",), ("schedules",)):
            self.athena(*words)

    def test_commands_that_ask(self):
        for words, kind in ((("create", "shop", "--label", "by-hand"), "backup"), (("prove", KEY, "--client", "shop"), "prove"), (("drill", KEY, "--client", "shop"), "drill"),
                            (("restore", KEY, "shop", "--in-place", "--keep-hours", "5"), "restore")):
            job = json.loads(self.athena(*words, "--json"))["data"]["job_id"]
            self.assertEqual(self.payload(job)["kind"], kind)
        self.assertEqual([self.payload(job)[k] for k in ("mode", "keep_hours")], ["in_place", 5])
        self.assertIn(b"cancelled", self.athena("cancel", str(job)))
        self.assertIn(b"400", self.athena("cancel", str(job), status=1))
        self.assertIn(b"Unknown client", self.athena("create", "nobody", status=1))

    def test_commands_wait(self):
        """--wait: events and lines until the job is over, and its end is the exit status."""
        for status, code in (("completed", 0), ("failed", 1)):
            label = f"wait-{status}"
            thread = threading.Thread(target=lambda: (wait_for("the job is put", 20, lambda: self.ask(f"select 1 from backup_jobs where label = '{label}'") == "1"),
                                                      self.ask(f"update backup_jobs set status = '{status}', completed_at = now() where label = '{label}'")))
            thread.start()
            said = self.athena("create", "shop", "--label", label, "--wait", "--json", status=code)
            thread.join()
            if code == 0:
                self.assertEqual(json.loads(said)["job"]["state"], "done")

    def test_command_download(self):
        name = KEY.rsplit("/", 1)[1]
        self.assertEqual(json.loads(self.athena("download", KEY, "--json")), {"file": name, "bytes": self.SIZE})
        with open(f"{self.lab.folder}/{name}", "rb") as f:
            self.assertTrue(f.read() == self.object)
        self.athena("download", KEY, "--to", "other.tar.gz")
        self.assertTrue(self.athena("download", KEY, "--to", "-") == self.object)
        self.assertIn(b"404", self.athena("download", "backups/shop/none.tar.gz", "--to", "none", status=1))
        self.assertEqual([f for f in os.listdir(self.lab.folder) if f.startswith("none") or f.endswith(".part")], [])

    def test_commands_of_schedules(self):
        row = json.loads(self.athena("schedule", "shop", "weekly", "--time", "04:30", "--day-of-week", "3", "--label", "w", "--json"))["data"]["schedule"]
        self.assertEqual(row["cron_expression"], "30 4 * * 3")
        self.assertRegex(self.athena("schedules").decode(), f"{row['id']} +shop +weekly +30 4 \\* \\* 3")
        off = json.loads(self.athena("reschedule", str(row["id"]), "--enabled", "no", "--json"))["data"]["schedule"]
        self.assertEqual((off["enabled"], off["next_run_at"], off["label"]), (False, None, "w"))
        self.athena("unschedule", str(row["id"]))
        self.assertIn(b"404", self.athena("unschedule", str(row["id"]), status=1))


if __name__ == "__main__":
    unittest.main()
