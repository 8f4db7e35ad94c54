#!/usr/bin/env python3
"""Backups: what lies in the store, what the row says, what is refused, what nobody gets to see."""
import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from backuplab import TABLES, BackupCase, BackupLab, Locked  # noqa: E402
from lab import wait_for  # noqa: E402


class Create(BackupCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.lab.server()

    def test_an_archive_has_the_published_layout_and_restores_by_plain_tools(self):
        lab = self.lab
        job = lab.create(label="first")
        row = lab.wait(job, "completed")
        self.assertRegex(row["s3_key"], r"^backups/app/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.tar\.gz$")
        self.assertEqual((row["progress_stage"], row["progress_pct"], row["error_message"], row["attempt_count"], row["s3_bucket"], row["label"]),
                         ("completed", 100, None, 1, "backups", "first"))
        headers, data = lab.object(row["s3_key"])
        headers = {k.lower(): v for k, v in headers.items()}
        self.assertEqual((headers["content-type"], headers["x-amz-meta-client_name"], headers["x-amz-meta-label"], len(data)),
                         ("application/gzip", "app", "first", row["size_bytes"]))
        self.assertIn(headers["x-amz-meta-backup_id"], row["s3_key"])
        self.assertRegex(headers["x-amz-meta-created_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
        with lab.archive(row["s3_key"]) as tar:
            names = tar.getnames()
            self.assertEqual(names[0], "dump")
            self.assertIn("dump/toc.dat", names)
            self.assertTrue(all(re.match(r"^dump(/toc\.dat|/\d+\.dat\.gz)?$", n) for n in names), names)
            place = lab.place("unpacked")
            tar.extractall(place)
        manifest = json.loads(lab.object(row["s3_key"] + ".manifest.json")[1])
        self.assertIn(hashlib.sha256(data).hexdigest(), json.dumps(manifest))
        self.assertEqual(sorted(lab.objects("backups/app/" + headers["x-amz-meta-backup_id"])), [row["s3_key"], row["s3_key"] + ".manifest.json"])
        subprocess.run(["chmod", "-R", "a+rX", place], check=True)
        lab.pg.run("create database plain")
        lab.pg.program("pg_restore", "-h", lab.pg.folder, "-p", str(lab.pg.port), "-U", "postgres", "-d", "plain", "--exit-on-error", f"{place}/dump")
        self.assertEqual(lab.sql("select count(*), md5(string_agg(i::text, '' order by id)) from items i", "plain"),
                         lab.sql("select count(*), md5(string_agg(i::text, '' order by id)) from items i", "app"))
        self.assertEqual(lab.folders(), [], "D-39")
        said = lab.logs(job)
        self.assertIn(f"Backup completed successfully; uploaded key='{row['s3_key']}'", said)
        self.assertEqual(lab.sql("select count(*) from athena_backup_uploads"), "0")
        self.assertEqual(row["queue_checkpoint"]["stage"], "completed")

    def test_D_61_tools_ask_nobody_for_a_password(self):
        lab = self.lab
        with Locked(lab.pg, "app"):
            job = lab.create()
            wait_for("pg_dump waits", 30, lambda: lab.mine())
            self.assertTrue(all("--no-password" in words for words in lab.mine().values()), lab.mine())
        lab.wait(job, "completed")

    def test_D_57_the_last_size_is_the_measure(self):
        first = self.lab.wait(self.lab.create(), "completed")
        again = self.lab.create()
        self.lab.wait(again, "completed")
        self.assertRegex(self.lab.logs(again)[0], r"^Using latest S3 backup size \(\d+ bytes\) as pg_dump progress baseline$")
        self.assertGreater(first["size_bytes"], 0)

    def test_what_pg_dump_refuses_is_told_and_tried_again(self):
        lab = self.lab
        lab.pg.run("create database nobody owner postgres")
        job = lab.create(None, pg_uri=lab.pg.uri("no such database"))
        row = lab.wait(job, "failed")
        self.assertEqual((row["attempt_count"], row["progress_stage"], row["progress_pct"]), (3, "failed", 0))
        self.assertIn('database "no such database" does not exist', row["error_message"])
        self.assertIsNotNone(row["completed_at"])
        lab.wait_clean(lab.objects())

    def test_D_53_a_row_that_waits_again_has_not_ended(self):
        lab = self.lab
        lab.pg.run("create database late")
        uri = lab.pg.uri("late").replace("/late", "/later")
        lab.sql("create function slow_retry() returns trigger language plpgsql as $$ begin if new.status = 'pending' and old.status = 'running' then"
                " new.next_attempt_at := now() + interval '1 hour'; end if; return new; end $$;"
                "create trigger slow_retry before update on backup_jobs for each row execute function slow_retry()")
        try:
            job = lab.create(None, pg_uri=uri)
            lab.wait(job, "pending")
            wait_for("it has been tried", 30, lambda: lab.row(job)["attempt_count"] == 1 and lab.row(job)["status"] == "pending")
            row = lab.row(job)
            self.assertEqual((row["progress_stage"], row["progress_pct"], row["completed_at"]), ("queued", None, None))
            self.assertTrue(row["error_message"])
        finally:
            lab.sql("drop trigger slow_retry on backup_jobs")
        self.assertEqual(lab.cancel(job).status, 200)

    def test_D_42_tools_are_those_of_the_configuration(self):
        row = self.lab.row(self.lab.create())
        job = self.lab.sql("insert into backup_jobs (job_type, client_name, status, queue_payload) values ('backup', 'app', 'pending',"
                           " '{\"kind\":\"backup\",\"client_name\":\"app\",\"pg_dump_override\":\"/bin/true\"}') returning id")
        self.assertEqual((self.lab.wait(job, "failed")["error_message"], self.lab.row(job)["attempt_count"]), ("Invalid pg tool path", 1))
        self.lab.wait(row["id"], "completed")

    def test_D_60_owners_that_are_no_roles_are_repaired_when_asked_for(self):
        lab = self.lab
        lab.pg.run("create database orphaned")
        lab.pg.run("create table kept (a int); insert into kept values (7); create policy p on kept to postgres;"
                   "update pg_class set relowner = 987654 where relname = 'kept'; update pg_policy set polroles = '{987654}'", "orphaned")
        uri = lab.pg.uri("orphaned")
        failed = lab.wait(lab.create(None, pg_uri=uri), "failed")
        self.assertIn("Detected orphaned role reference (OID 987654)", failed["error_message"])
        job = lab.create(None, pg_uri=uri, recovery_strategy="repair_missing_role_oids")
        row = lab.wait(job, "completed")
        said = "\n".join(lab.logs(job))
        self.assertIn("repair of role OID 987654: pg_catalog.pg_class: 1 rows", said)
        self.assertIn("running pg_dump again", said)
        self.assertEqual(lab.sql("select pg_get_userbyid(relowner) from pg_class where relname = 'kept'", "orphaned"), "postgres")
        self.assertEqual(lab.sql("select polroles = array[(select oid from pg_roles where rolname = 'postgres')] from pg_policy", "orphaned"), "t")
        self.assertTrue(row["s3_key"].startswith("backups/custom/"))

    def test_D_60_nobody_but_a_superuser_repairs(self):
        lab = self.lab
        lab.pg.run("create role plain login; create database theirs owner plain")
        lab.pg.run("create table kept (a int); alter table kept owner to plain; update pg_class set relowner = 987655 where relname = 'kept'", "theirs")
        job = lab.create(None, pg_uri=lab.pg.uri("theirs", "plain"), recovery_strategy="schema_heal")
        row = lab.wait(job, "failed")
        self.assertIn("cannot be repaired: the role of the backup is no superuser", row["error_message"])
        self.assertEqual(lab.sql("select relowner from pg_class where relname = 'kept'", "theirs"), "987655")


class Others(BackupCase):
    def test_a_wrong_secret_is_said_without_any(self):
        """D-73"""
        lab = self.lab
        server = lab.server(env={"ATHENA_BACKUP_S3_SECRET_KEY": "wrong/secret+of=somebody"})
        row = lab.wait(lab.create(), "failed")
        self.assertIn("403", row["error_message"])
        self.assertEqual((row["progress_stage"], row["progress_pct"], row["attempt_count"]), ("failed", 82, 3))
        everything = json.dumps(row) + "".join(lab.logs(row["id"])) + server.said()
        for secret in ("wrong/secret", "Signature=", "X-Amz", "http://"):
            self.assertNotIn(secret, json.dumps(row) + "".join(lab.logs(row["id"])))
        self.assertNotIn("wrong/secret", everything)
        self.assertEqual(lab.folders(), [])
        server.stop()

    def test_a_full_work_folder_is_named(self):
        lab = self.lab
        full = lab.place("full")
        os.makedirs(full)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", full], capture_output=True).returncode:
            self.skipTest("no file system of a test's own can be mounted here")
        self.addCleanup(subprocess.run, ["umount", "-l", full], capture_output=True)
        work, lab.work = lab.work, full
        try:
            server = lab.server()
            row = lab.wait(lab.create(), "failed")
            self.assertRegex(row["error_message"], rf'^work folder "{full}" is full: \d+ bytes were written, \d+ are left$')
            self.assertEqual(os.listdir(full), [])
            server.stop()
        finally:
            lab.work = work

    def test_what_a_killed_process_left_goes_with_the_next_start(self):
        """D-39"""
        lab = self.lab
        old, young, held = (f"{lab.work}/athena_{name}" for name in ("backup_old", "restore_young", "backup_held"))
        for path in (old, young, held):
            os.makedirs(f"{path}/dump")
        os.utime(old, (time.time() - 90000,) * 2)
        with open(f"{held}/.owner", "w") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            server = lab.server()
            wait_for("the old one is gone", 20, lambda: not os.path.exists(old))
            self.assertTrue(os.path.exists(young) and os.path.exists(held))
            server.stop()
        server = lab.server()
        wait_for("the one that nobody holds is gone", 20, lambda: not os.path.exists(held))
        os.rmdir(f"{young}/dump")
        os.rmdir(young)
        server.stop()

    def test_D_41_a_password_is_nowhere_to_be_seen(self):
        lab = self.lab
        password, encoded = "p@ss:w/o rd%\\'", "p%40ss%3Aw%2Fo%20rd%25%5C'"
        lab.pg.run(f"create role keen login superuser password '{password.replace(chr(39), chr(39) * 2)}'")
        with open(f"{lab.pg.data}/pg_hba.conf") as f:
            rules = f.read()
        with open(f"{lab.pg.data}/pg_hba.conf", "w") as f:
            f.write("host all keen 127.0.0.1/32 scram-sha-256\n" + rules)
        lab.sql("select pg_reload_conf()")
        server = lab.server()
        uri = f"postgres://keen:{encoded}@127.0.0.1:{lab.pg.port}/app"
        with Locked(lab.pg, "app"):
            job = lab.create(None, pg_uri=uri)
            wait_for("pg_dump waits", 30, lambda: lab.mine())
            for pid, words in lab.mine().items():
                with open(f"/proc/{pid}/environ") as f:
                    seen = f.read() + " ".join(words)
                for secret in (password, encoded, "p@ss"):
                    self.assertNotIn(secret, seen)
            for path in lab.folders():
                self.assertEqual(os.stat(path).st_mode & 0o777, 0o700)
                self.assertEqual({os.stat(f"{path}/{n}").st_mode & 0o777 for n in ("pass", "service")}, {0o600})
        lab.wait(job, "completed")
        text = server.said() + lab.pg.program("pg_dump", "-h", lab.pg.folder, "-p", str(lab.pg.port), "-U", "postgres", "--data-only", "control")
        for name in os.listdir(server.logs):
            with open(f"{server.logs}/{name}") as f:
                text += f.read()
        self.assertIn("127.0.0.1", text)
        for secret in (password, encoded, "p@ss", "p%40ss"):
            self.assertNotIn(secret, text)
        server.stop()

    def test_two_workers_do_each_once(self):
        lab = self.lab
        servers = [lab.server(), lab.server()]
        jobs = [lab.create() for _ in range(6)]
        rows = [lab.wait(job, "completed") for job in jobs]
        self.assertEqual({r["attempt_count"] for r in rows}, {1})
        self.assertEqual(len({r["s3_key"] for r in rows}), 6)
        for server in servers:
            server.stop()

    def test_an_encrypted_archive_shows_nothing_and_is_proven_all_the_same(self):
        lab = self.lab
        server = lab.server(env={"ATHENA_BACKUP_ENCRYPTION_KEY": "11" * 32})
        row = lab.wait(lab.create(), "completed")
        self.assertTrue(row["s3_key"].endswith(".tar.gz.enc"))
        data = lab.object(row["s3_key"])[1]
        self.assertEqual(data[:8], b"ATHSEAL1")
        self.assertNotIn(b"toc.dat", data)
        server.stop()


class Bare(unittest.TestCase):
    def test_D_45_nothing_is_installed_or_fetched(self):
        """Where the tool is too old that is said; no installer is called, at the start or later."""
        with BackupLab() as lab:
            place = lab.place("programs")
            os.makedirs(place)
            programs = {name: f"echo {name} >> {place}/called" for name in ("apt", "apt-get", "sudo", "curl", "wget", "sh", "bash")}
            for name, does in {**programs, "pg_dump": "echo 'pg_dump (PostgreSQL) 9.6.24'"}.items():
                with open(f"{place}/{name}", "w") as f:
                    f.write(f"#!/bin/dash\n{does}\n")
                os.chmod(f"{place}/{name}", 0o755)
            server = lab.server(env={"PATH": f"{place}:/usr/bin:/bin", "ATHENA_PG_DUMP_PATH": f"{place}/pg_dump"})
            row = lab.wait(lab.create(), "failed")
            self.assertIn("is older than the server", row["error_message"])
            self.assertFalse(os.path.exists(f"{place}/called"))
            server.stop()


class Versions(unittest.TestCase):
    """A server of version 18, whose dumps want tools of that version."""
    @classmethod
    def setUpClass(cls):
        cls.lab = BackupLab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.place = subprocess.run([f"{ROOT}/tests/support/get-postgres18"], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
        cls.new = cls.lab.postgres(bin=f"{cls.place}/bin", tcp=True)
        cls.new.run(TABLES)

    def test_an_older_pg_dump_is_refused_with_both_versions(self):
        server = self.lab.server(clients={"new": self.new.uri()}, env={"PATH": "/usr/bin:/bin"})
        row = self.lab.wait(self.lab.create("new"), "failed")
        self.assertRegex(row["error_message"], r"^pg_dump 15\.\d+ .* is older than the server, which is of version 18: ")
        self.assertEqual(row["attempt_count"], 1)
        server.stop()

    def test_the_tool_is_that_of_the_servers_version(self):
        tools = self.lab.place("tools")
        for major, place in (("15", "/usr/lib/postgresql/15/bin"), ("18", f"{self.place}/bin")):
            os.makedirs(f"{tools}/{major}")
            os.symlink(place, f"{tools}/{major}/bin")
        server = self.lab.server(clients={"new": self.new.uri()}, env={"ATHENA_PG_TOOLS_DIR": tools})
        for client, major in (("new", 18), ("app", 15)):
            job = self.lab.create(client)
            self.lab.wait(job, "completed")
            self.assertIn(f"pg_dump {major}.", "\n".join(self.lab.logs(job)))
        server.stop()

if __name__ == "__main__":
    unittest.main()
