#!/usr/bin/env python3
"""The spool of sink-postgres: rows that the control plane did not take at once, through outages, kill -9 and restarts: each is there
once, and what cannot be kept is counted."""
import glob
import os
import random
import signal
import sys
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402

HEADERS = {"x-athena-key": ADMIN_KEY, "content-type": "application/json", "x-athena-client": "app"}
SINK = 'sink="sink-postgres"'


class SpoolTest(unittest.TestCase):
    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.__exit__)
        self.control = self.lab.postgres()
        self.control.run("create database control")
        self.pg = self.lab.postgres()
        self.pg.run("create database app")
        self.pg.run("create table item (id int primary key, name text); insert into item values (1, 'one')", "app")
        self.state = self.lab.place("state")
        os.makedirs(self.state)
        self.asked = 0

    def server(self, more="", state=None, control="control"):
        config = ("plugins: [routes-meta, routes-gateway, sink-file, sink-postgres]\nurls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\n"
                  "gateway:\n- enforce_api_keys: true\n- logging_client: control\nserver:\n  drain_timeout: 5s\n"
                  f"sink-postgres:\n  flush_ms: 50ms\n{more}postgres_clients:\n"
                  f"- app: \"{self.pg.uri('app')}\"\n- control: \"{self.control.uri(control)}\"\n")
        return self.lab.athena({}, config=config, env={"STATE_DIRECTORY": state or self.state})

    def sql(self, text):
        return self.control.run(text, "control").strip()

    def metric(self, server, name):
        return sum(float(line.rsplit(" ", 1)[1]) for line in server.get("/metrics").body.splitlines() if line.startswith(name))

    def spooled(self, server):
        return self.metric(server, f"athena_log_spool_events{{{SINK}}}")

    def sent(self, server, seconds=60):
        wait_for("nothing waits for the tables", seconds,
                 lambda: self.spooled(server) == 0 and self.metric(server, f"athena_log_rows_waiting{{{SINK}}}") == 0)

    def ask(self, server, n, headers=()):
        for _ in range(n):
            self.assertEqual(server.request("POST", "/gateway/fetch", {"table_name": "item"}, {**HEADERS, **dict(headers)}).status, 200)
        self.asked += n

    def began(self, **kw):
        """A server whose tables are made, with some rows in them."""
        s = self.server(**kw)
        self.ask(s, 5)
        wait_for("the tables are there", 30, lambda: self.sql("select to_regclass('athena_log_writers') is not null") == "t")
        wait_for("rows are written", 30, lambda: self.rows() == (5, 5))
        return s

    def rows(self):
        found = self.sql("select count(*), count(distinct request_id) from gateway_request_log where path = '/gateway/fetch'")
        return tuple(int(n) for n in found.split("|"))

    def expect_all(self, seconds=60):
        wait_for(f"{self.asked} rows: {self.rows()}", seconds, lambda: self.rows()[0] >= self.asked)
        self.assertEqual(self.rows(), (self.asked, self.asked), "each request has one row")
        operations = "select count(*), count(distinct request_id) from gateway_operation_log"
        wait_for(f"{self.asked} operations", 20, lambda: int(self.sql(operations).split("|")[0]) >= self.asked)
        self.assertEqual(self.sql(operations), f"{self.asked}|{self.asked}")
        wait_for(f"sums: {self.sql('select total_requests from client_statistics')} of {self.asked}", 20,
                 lambda: self.sql("select total_requests from client_statistics") == str(self.asked))
        self.assertEqual(self.sql("select sum(total_operations) from client_table_statistics"), str(self.asked))

    def said(self, server):
        text = ""
        for path in glob.glob(f"{server.logs}/*.log"):
            with open(path) as f:
                text += f.read()
        return text

    def kill(self, server):
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()

    def all_in_spool(self, server, n):
        """Every row of the n last requests is in the spool, and nothing in the queue."""
        wait_for(f"{2 * n} rows are in the spool", 20, lambda: self.spooled(server) >= 2 * n)
        self.assertEqual(self.metric(server, f"athena_log_rows_waiting{{{SINK}}}"), 0)

    def test_a_control_plane_that_was_away_has_all_rows_once(self):
        s = self.began(more="  queue_events: 256\n")
        ends, wrong = threading.Event(), []

        def load():
            while not ends.is_set():
                if s.request("POST", "/gateway/fetch", {"table_name": "item"}, HEADERS).status != 200:
                    wrong.append(1)
                count.append(1)
                time.sleep(0.01)
        count = []
        threads = [threading.Thread(target=load) for _ in range(3)]
        for t in threads:
            t.start()
        try:
            for _ in range(2):
                time.sleep(0.5)
                self.control.stop("fast")
                had = len(count)
                wait_for("far more rows than the queue holds", 60, lambda: len(count) > had + 300)
                self.assertEqual(self.metric(s, f"athena_log_sink_paused{{{SINK}}}"), 1)
                self.control.start_after_kill()
                wait_for("it writes again", 30, lambda: self.metric(s, f"athena_log_sink_paused{{{SINK}}}") == 0)
        finally:
            ends.set()
            for t in threads:
                t.join()
        self.asked += len(count)
        self.assertEqual(wrong, [])
        self.expect_all()
        self.assertEqual(self.metric(s, f"athena_log_rows_dropped_total{{{SINK}}}") + self.metric(s, "athena_log_spool_dropped_total")
                         + self.metric(s, "athena_log_table_rows_dropped_total"), 0)
        self.assertEqual(s.stop(), 0)
        self.assertEqual(glob.glob(f"{self.state}/spool/*/*"), [])

    def test_what_a_killed_server_had_in_its_spool_comes_with_the_next_one(self):
        s = self.began()
        self.control.stop("fast")
        self.ask(s, 300)
        self.all_in_spool(s, 300)
        self.kill(s)
        self.control.start()
        s = self.server()
        self.expect_all()
        self.ask(s, 5)
        self.expect_all()
        self.assertEqual(self.metric(s, f"athena_log_spool_adopted_total{{{SINK}}}"), 600)
        s.stop()

    def test_killed_again_and_again_while_it_sends(self):
        """Its last trip may have been committed, or not, or be committed while the next server asks: no row twice, no sum twice."""
        s = self.began()
        self.sql("create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.05); return null; end $$;"
                 "create constraint trigger slow after insert or update on athena_log_writers deferrable initially deferred for each row execute function slow()")
        for _ in range(6):
            for _ in range(4):
                self.ask(s, 10)
                time.sleep(0.06)
            wait_for("all are taken", 20, lambda: self.metric(s, f"athena_log_spool_put_total{{{SINK}}}") >= 80
                     and self.metric(s, f"athena_log_rows_waiting{{{SINK}}}") == 0)
            time.sleep(random.random() * 0.2)
            self.kill(s)
            s = self.server()
        self.expect_all()
        s.stop()

    def test_a_stop_leaves_what_it_cannot_send(self):
        s = self.began()
        self.control.stop("fast")
        self.ask(s, 50)
        self.assertEqual(s.stop(), 0)
        self.assertEqual(len(glob.glob(f"{self.state}/spool/sink-postgres/*.spool")), 1)
        self.control.start()
        s = self.server()
        self.expect_all()
        s.stop()

    def test_a_torn_tail_costs_that_tail(self):
        s = self.began()
        self.control.stop("fast")
        self.ask(s, 40)
        self.all_in_spool(s, 40)
        self.ask(s, 1)
        self.all_in_spool(s, 41)
        self.kill(s)
        path, = glob.glob(f"{self.state}/spool/sink-postgres/*.spool")
        os.truncate(path, os.path.getsize(path) - 5)
        self.control.start()
        s = self.server()
        self.asked -= 1
        self.expect_all()
        wait_for("it is said", 20, lambda: "are torn" in self.said(s))
        s.stop()

    def test_full_it_lets_the_oldest_go_and_counts_them(self):
        s = self.began(more="  spill_bytes: 16m\n")
        self.control.stop("fast")

        def filler():
            return {f"x-{i}": "".join(random.choices("0123456789abcdefghijklmnopqrstuvwxyz", k=900)) for i in range(6)}
        while self.metric(s, "athena_log_spool_dropped_total") == 0:
            for _ in range(200):
                self.ask(s, 1, filler())
            self.assertLess(self.asked, 8000)
        self.assertLess(self.metric(s, f"athena_log_spool_bytes{{{SINK}}}"), 17 << 20)
        size = sum(os.path.getsize(p) for p in glob.glob(f"{self.state}/spool/sink-postgres/*"))
        self.assertLess(size, 17 << 20)
        self.control.start()
        self.sent(s, 120)
        lost = {t: self.metric(s, f'athena_log_table_rows_dropped_total{{table="{t}"') for t in ("gateway_request_log", "gateway_operation_log")}
        self.assertGreater(lost["gateway_request_log"], 0)
        for table, n in lost.items():
            self.assertEqual(int(self.sql(f"select count(*) from {table}")) + n, self.asked, table)
        wait_for("sums lack none", 20, lambda: self.sql("select total_requests from client_statistics") == str(self.asked))
        s.stop()

    def test_two_processes_share_a_state_dir(self):
        a, b = self.began(), self.server()
        self.control.stop("fast")
        self.ask(a, 20)
        self.ask(b, 20)
        self.all_in_spool(a, 20)
        self.all_in_spool(b, 20)
        self.assertEqual(len(glob.glob(f"{self.state}/spool/sink-postgres/*.spool")), 2)
        self.kill(a)
        self.control.start()
        self.sent(b)
        self.assertEqual(self.rows(), (self.asked - 20, self.asked - 20), "those of the killed one wait for one that starts, or a minute")
        c = self.server()
        self.expect_all()
        b.stop()
        c.stop()

    def test_rows_never_go_to_another_database(self):
        self.control.run("create database other")
        s = self.began()
        self.control.stop("fast")
        self.ask(s, 10)
        self.all_in_spool(s, 10)
        self.kill(s)
        self.control.start()
        other = self.server(control="other")
        wait_for("it says so", 20, lambda: "left alone" in self.said(other))
        self.assertEqual(other.request("POST", "/gateway/fetch", {"table_name": "item"}, HEADERS).status, 200)
        wait_for("its own row comes", 30, lambda: self.control.run("select to_regclass('gateway_request_log') is not null", "other").strip() == "t"
                 and self.control.run("select count(*) from gateway_request_log", "other").strip() == "1")
        self.sent(other)
        other.stop()
        self.assertEqual(self.control.run("select count(*) from gateway_request_log", "other").strip(), "1")
        s = self.server()
        self.expect_all()
        s.stop()

    def test_without_a_state_dir_there_is_a_queue_as_ever(self):
        s = self.began(state=f"{self.lab.folder}/nothing")
        self.ask(s, 5)
        self.expect_all()
        self.assertNotIn("athena_log_spool_events", s.get("/metrics").body)
        self.assertIn("has no spool", self.said(s))
        s.stop()

    def test_a_spool_that_breaks_while_it_is_used_waits_in_memory(self):
        s = self.began()
        folder = f"{self.state}/spool/sink-postgres"
        self.control.stop("fast")
        os.rename(folder, f"{folder}-away")
        with open(folder, "w"):
            pass
        for path in glob.glob(f"{folder}-away/*"):
            os.unlink(path)
        os.rmdir(f"{folder}-away")
        self.ask(s, 50)
        self.control.start()
        self.expect_all()
        s.stop()


if __name__ == "__main__":
    unittest.main()
