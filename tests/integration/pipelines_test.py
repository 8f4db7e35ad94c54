#!/usr/bin/env python3
"""Pipelines: rows of one table into another one, by whoever may read the one and write the other."""
import json
import os
import subprocess
import signal
import sys
import unittest
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from keylab import KeyLab  # noqa: E402
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402

FILE = """
pipelines:
- name: Daily
  source: { table_name: orders, columns: [at, total, state], conditions: [{ eq_column: state, eq_value: paid }] }
  transform:
    group_by: at
    time_granularity: day
    aggregation_column: total
    column_aliases: { at: day, total: sum }
  sink: { table_name: days, client: two }
- name: copy
  source: { table_name: orders }
  sink: { table_name: copies }
"""
SCHEMA = """
create table orders (id int primary key, at timestamptz, total numeric, state text, exact numeric);
create table copies (id int primary key, at timestamptz, total numeric, state text, exact numeric);
create table days (day date primary key, sum numeric);
create table named (id int primary key, label text);
create table states (state text primary key, total numeric);
create table big (id int primary key, words text);
create table big_copy (id int primary key, words text);
create view slow as select id, words, pg_sleep(0.2) is null as late from big;
create view paid as select * from orders where state = 'paid';
insert into orders select i, timestamptz '2024-03-01 10:00Z' + i * interval '1 hour', i + 0.5, case when i % 2 = 0 then 'paid' else 'open' end,
  12345678901234567890.123456789 from generate_series(1, 48) i;
"""
PLUGINS = ("plugins: [routes-meta, routes-gateway, routes-query, routes-pipelines, routes-admin-ops, sink-file, sink-postgres]\nurls: []\nhosts: []\n"
           "authenticator: []\napi:\n- port: 4052\ngateway:\n- enforce_api_keys: false\n")
LIMITS = "routes-pipelines:\n  max_rows: 3000\n  max_bytes: 8m\n"


def open_text(path):
    with open(path) as f:
        return f.read()


class PipelineLab(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres()
        for name in ("app", "two"):
            cls.pg.run(f"create database {name}")
            cls.pg.run(SCHEMA, name)
        cls.pg.run("create database control")
        cls.path = f"{cls.lab.folder}/pipelines.yaml"
        with open(cls.path, "w") as f:
            f.write(FILE)
        cls.server = cls.start(cls.path, control=True)
        wait_for("the tables are there", 60, lambda: cls.control("select to_regclass('pipeline_step_log')") != "")

    @classmethod
    def start(cls, path, control=False, more="", **kw):
        config = PLUGINS + ("- logging_client: control\n" if control else "") + "postgres_clients:\n"
        config += "".join(f"- {n}: \"{cls.pg.uri(n)}\"\n" for n in ("app", "two", "control")[:3 if control else 2])
        return cls.lab.athena({}, config=config + LIMITS + more, args=("serve", "--pipelines-path", path), **kw)

    @classmethod
    def tearDownClass(cls):
        if cls.server.stop() != 0:  # what leaks says so at the end
            raise AssertionError(cls.server.said()[-4000:])

    @classmethod
    def control(cls, sql):
        return cls.pg.run(sql, "control").strip()

    def rows(self, sql, database="app"):
        return self.pg.run(sql, database).strip().split("\n")

    def setUp(self):
        for name in ("app", "two"):
            self.pg.run("truncate copies, days, named, states, big, big_copy", name)

    def run_it(self, body, path="/pipelines", server=None, client="app", **headers):
        sent = {"content-type": "application/json", **({"x-athena-client": client} if client else {}), **{k.replace("_", "-"): v for k, v in headers.items()}}
        return (server or self.server).request("POST", path, body, sent)

    def done(self, body, **kw):
        answer = self.run_it(body, **kw)
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(list(answer.json), ["data", "rows_fetched", "rows_inserted", "would_insert", "dry_run", "source_client", "sink_client", "errors",
                                             "pipeline_run_id"])
        return answer.json

    def admin(self, method, name="", body=None):
        return self.server.request(method, "/admin/pipeline-templates" + (f"/{urllib.parse.quote(name, safe='')}" if name else ""), body,
                                   {"x-athena-key": ADMIN_KEY, "content-type": "application/json"})


def inline(source="orders", sink="copies", transform=None, **more):
    return {"source": {"table_name": source}, "sink": {"table_name": sink}, **({"transform": transform} if transform else {}), **more}


class Runs(PipelineLab):
    def test_all_rows_arrive_as_they_are(self):
        """More than a page, and each digit."""
        self.pg.run("insert into big select i, 'w' || i from generate_series(1, 1234) i", "app")
        answer = self.done(inline("big", "big_copy"))
        self.assertEqual((answer["rows_fetched"], answer["rows_inserted"], answer["would_insert"], answer["dry_run"]), (1234, 1234, None, False))
        self.assertEqual((answer["source_client"], answer["sink_client"], answer["errors"], len(answer["data"])), ("app", "app", [], 1234))
        self.assertEqual(self.rows("select count(*) from big b join big_copy c using (id, words)"), ["1234"])
        self.done(inline())
        self.assertEqual(self.rows("select count(*) from orders o join copies c on o = c::text::orders"), ["48"])

    def test_a_part_of_the_source(self):
        answer = self.done({"source": {"table_name": "orders", "columns": ["id", "state"], "conditions": [{"eq_column": "state", "eq_value": "paid"}],
                                       "limit": 5}, "sink": {"table_name": "copies"}})
        self.assertEqual((answer["rows_fetched"], answer["rows_inserted"]), (5, 5))
        self.assertEqual(self.rows("select count(*), min(state), count(total) from copies"), ["5|paid|0"])
        self.assertEqual(set(answer["data"][0]), {"id", "state"})

    def test_a_view_goes_before_the_table(self):
        answer = self.done({"source": {"table_name": "orders", "view_name": "paid"}, "sink": {"table_name": "copies"}})
        self.assertEqual(answer["rows_inserted"], 24)

    def test_between_clients(self):
        answer = self.done({"source": {"table_name": "orders", "client": "two"}, "sink": {"table_name": "copies"}})
        self.assertEqual((answer["source_client"], answer["sink_client"], answer["rows_inserted"]), ("two", "app", 48))
        self.assertEqual((self.rows("select count(*) from copies"), self.rows("select count(*) from copies", "two")), (["48"], ["0"]))

    def test_buckets_become_rows(self):
        answer = self.done({"pipeline": "daily"})
        self.assertEqual((answer["rows_fetched"], answer["rows_inserted"], answer["sink_client"]), (24, 3, "two"))
        self.assertEqual(answer["data"][0], {"day": "2024-03-01", "sum": 45.0})
        expected = self.rows("select (at at time zone 'UTC')::date, sum(total) from orders where state = 'paid' group by 1 order by 1")
        self.assertEqual(self.rows("select day, sum from days order by 1", "two"), expected)

    def test_buckets_keep_the_type_of_what_they_are_grouped_by(self):
        transform = {"group_by": "state", "aggregation_column": "total"}
        self.assertEqual(self.done(inline("orders", "states", transform))["data"], [{"state": "open", "total": 588.0}, {"state": "paid", "total": 612.0}])
        self.assertEqual(self.rows("select * from states order by 1"), ["open|588.0", "paid|612.0"])
        running = self.done(inline("orders", "states", {**transform, "aggregation_strategy": "cumulative_sum"}, dry_run=True))
        self.assertEqual([r["total"] for r in running["data"]], [588.0, 1200.0])
        numbers = self.done(inline("orders", "named", {"group_by": "id", "column_aliases": {"id": "key"}}, dry_run=True))
        self.assertEqual(numbers["data"][0], {"key": 1})

    def test_columns_take_other_names(self):
        answer = self.done({"source": {"table_name": "orders", "columns": ["id", "state"]}, "transform": {"column_aliases": {"state": "label"}},
                            "sink": {"table_name": "named"}})
        self.assertEqual(answer["rows_inserted"], 48)
        self.assertEqual(self.rows("select label from named where id = 2"), ["paid"])

    def test_names_that_do_not_fit_are_refused(self):
        for aliases, words in (({"nothing": "label"}, "\"nothing\""), ({"state": "id"}, "\"id\" of two columns")):
            answer = self.run_it({"source": {"table_name": "orders"}, "transform": {"column_aliases": aliases}, "sink": {"table_name": "named"}})
            self.assertEqual((answer.status, answer.code), (400, "invalid_pipeline_definition"), answer.body)
            self.assertIn(words, answer.json["error"])
        self.assertEqual(self.rows("select count(*) from named"), ["0"])

    def test_a_dry_run_writes_nothing(self):
        for answer in (self.done(inline(), path="/pipelines/simulate"), self.done(inline(dry_run=True)),
                       self.done(inline(dry_run=False), path="/pipelines/simulate")):
            self.assertEqual((answer["rows_fetched"], answer["rows_inserted"], answer["would_insert"], answer["dry_run"]), (48, 0, 48, True))
            self.assertEqual(len(answer["data"]), 48)
        self.assertEqual(self.rows("select count(*) from copies"), ["0"])

    def test_all_rows_or_none(self):
        """One that is there already: the sink's refusal is the run's, with the step."""
        self.pg.run("insert into copies (id) values (40)", "app")
        answer = self.run_it(inline())
        self.assertEqual((answer.status, answer.code), (409, "unique_violation"), answer.body)
        self.assertEqual((answer.json["details"]["pipeline_step"], answer.json["status"]), ("sink", "error"))
        self.assertRegex(answer.json["details"]["pipeline_run_id"], "^[0-9a-f-]{36}$")
        self.assertEqual(self.rows("select count(*) from copies"), ["1"])

    def test_what_is_moved_is_what_is_there_now(self):
        """Answers that were kept for others are none for a run."""
        for n in (1, 2):
            self.pg.run(f"insert into big values ({n}, 'w')", "app")
            self.assertEqual(self.server.request("POST", "/gateway/fetch", {"table_name": "big", "columns": ["id", "words"], "limit": 3001},
                                                 {"x-athena-client": "app", "content-type": "application/json"}).status, 200)
            self.assertEqual(self.done(inline("big", "big_copy", dry_run=True))["rows_fetched"], n)

    def test_nothing_is_left_behind_silently(self):
        """A source that has more than max_rows is refused unless its limit says how many are wanted."""
        self.pg.run("insert into big select i, 'w' from generate_series(1, 3001) i", "app")
        answer = self.run_it(inline("big", "big_copy"))
        self.assertEqual((answer.status, answer.code, answer.json["details"]["pipeline_step"]), (413, "pipeline_too_large", "source"), answer.body)
        answer = self.run_it({"source": {"table_name": "big", "limit": 3001}, "sink": {"table_name": "big_copy"}})
        self.assertEqual((answer.status, answer.code), (400, "invalid_pipeline_definition"))
        self.assertEqual(self.rows("select count(*) from big_copy"), ["0"])
        self.assertEqual(self.done({"source": {"table_name": "big", "limit": 3000}, "sink": {"table_name": "big_copy"}})["rows_inserted"], 3000)

    def test_as_many_bytes_as_are_allowed(self):
        """One insert, larger than a peer's body may be; beyond max_bytes nothing is written."""
        self.pg.run("insert into big select i, repeat('x', 1500) from generate_series(1, 2000) i", "app")
        self.assertEqual(self.done(inline("big", "big_copy"))["rows_inserted"], 2000)
        self.pg.run("update big set words = repeat('x', 6000)", "app")
        answer = self.run_it(inline("big", "big_copy"))
        self.assertEqual((answer.status, answer.code), (413, "pipeline_too_large"), answer.body)

    def test_no_rows_are_a_run_too(self):
        answer = self.done({"source": {"table_name": "orders", "conditions": [{"eq_column": "state", "eq_value": "lost"}]}, "sink": {"table_name": "copies"}})
        self.assertEqual((answer["rows_fetched"], answer["rows_inserted"], answer["data"]), (0, 0, []))

    def test_what_a_source_says_is_passed_on(self):
        for source, status, code in (({"table_name": "nowhere"}, 400, "undefined_table"), ({"table_name": "orders", "columns": ["nope"]}, 400, None),
                                     ({"table_name": "orders", "client": "nobody"}, 400, None)):
            answer = self.run_it({"source": source, "sink": {"table_name": "copies"}})
            self.assertEqual((answer.status, answer.json["details"]["pipeline_step"]), (status, "source"), answer.body)
            if code:
                self.assertEqual(answer.code, code)

    def test_definitions_are_checked(self):
        good = inline()
        for body, words in (({}, "source.table_name"), ({"source": {"table_name": "orders"}}, "sink.table_name"), ({"sink": {"table_name": "a"}}, "source"),
                            ({**good, "sources": {}}, "\"sources\""), ({**good, "source": "orders"}, "source must be an object"),
                            ({**good, "source": {"table_name": "orders", "where": {"id": 1}}}, "\"where\""),
                            ({**good, "source": {"table_name": "orders", "limit": -1}}, "source.limit"),
                            ({**good, "source": {"table_name": "orders", "columns": [1]}}, "source.columns"),
                            ({**good, "source": {"table_name": "orders", "conditions": {}}}, "source.conditions"),
                            ({**good, "source": {"table_name": 5}}, "source.table_name"),
                            ({**good, "sink": {"table_name": "copies", "schema": "x"}}, "\"schema\""),
                            ({**good, "transform": {"time_granularity": "day"}}, "group_by"),
                            ({**good, "transform": {"group_by": "at", "time_granularity": "week"}}, "\"week\""),
                            ({**good, "transform": {"group_by": "at", "aggregation_strategy": "cumulative_sum"}}, "aggregation_column"),
                            ({**good, "transform": {"group_by": "id", "aggregation_column": "id"}}, "same column"),
                            ({**good, "transform": {"column_aliases": {"id": 5}}}, "column_aliases"),
                            ({**good, "dry_run": "yes"}, "dry_run"), ({"pipeline": "no such"}, "\"no such\""), ({"pipeline": 5}, "pipeline")):
            answer = self.run_it(body)
            self.assertEqual((answer.status, answer.json["message"]), (400, "Invalid pipeline definition"), f"{body}: {answer.body}")
            self.assertIn(words, answer.json["error"])
        self.assertEqual(self.run_it(good, client=None).code, "missing_client_header")
        self.assertEqual(self.run_it(b"{broken").status, 400)
        self.assertEqual(self.run_it([]).status, 400)

    def test_an_idempotency_key_makes_it_once(self):
        """The same run again inserts nothing; one whose rows have changed is refused."""
        self.pg.run(open_text(f"{ROOT}/plugins/routes/gateway/idempotency.sql"), "app")
        self.pg.run("insert into big values (1, 'a')", "app")
        body = inline("big", "big_copy")
        wait_for("the table is known", 20, lambda: self.run_it(body, idempotency_key="k1").status == 200)
        self.assertEqual(self.done(body, idempotency_key="k1")["rows_inserted"], 1)
        self.assertEqual(self.rows("select count(*) from big_copy"), ["1"])
        self.pg.run("insert into big values (2, 'b')", "app")
        answer = self.run_it(body, idempotency_key="k1")
        self.assertEqual((answer.status, answer.json["details"]["pipeline_step"]), (409, "sink"), answer.body)
        self.assertEqual(self.rows("select count(*) from big_copy"), ["1"])

    def test_steps_and_operations_are_logged(self):
        run = self.done({"pipeline": "daily"})["pipeline_run_id"]
        wait_for("its steps", 20, lambda: self.control(f"select count(*) from pipeline_step_log where pipeline_run_id = '{run}'") == "3")
        steps = self.control("select step, pipeline_name, athena_client, table_name, status_code, duration_ms >= 0, error_message is null, details ->> 'rows',"
                             f" request_id is not null from pipeline_step_log where pipeline_run_id = '{run}' order by id").split("\n")
        self.assertEqual(steps, ["source|Daily|app|orders|200|t|t|24|t", "transform|Daily|||200|t|t|3|t", "sink|Daily|two|days|200|t|t|3|t"])
        wait_for("its operation", 20, lambda: self.control("select count(*) from gateway_operation_log where operation = 'pipeline'"
                                                            f" and details ->> 'pipeline_run_id' = '{run}'") == "1")
        details = json.loads(self.control(f"select details from gateway_operation_log where details ->> 'pipeline_run_id' = '{run}'"))
        self.assertEqual([details[k] for k in ("rows_fetched", "rows_inserted", "source_client", "sink_client", "dry_run")], [24, 3, "app", "two", False])
        refused = self.run_it({"pipeline": "daily"})  # the same days again
        self.assertEqual(refused.status, 409)
        run = refused.json["details"]["pipeline_run_id"]
        wait_for("its steps", 20, lambda: self.control(f"select count(*) from pipeline_step_log where pipeline_run_id = '{run}'") == "3")
        last = self.control(f"select step, status_code, error_message from pipeline_step_log where pipeline_run_id = '{run}' order by id desc limit 1")
        self.assertTrue(last.startswith("sink|409|") and len(last) > len("sink|409|"), last)


    def said(self, words):
        return open_text(f"{self.server.logs}/success.log").count(words)

    def test_a_log_that_cannot_be_written_holds_up_nobody(self):
        """What is lost is counted, and said once until it works again."""
        def lost():
            return float([line for line in self.server.get("/metrics").body.split("\n") if line.startswith("athena_pipeline_steps_lost_total ")][0].split()[1])

        self.control("alter table pipeline_step_log rename to elsewhere")
        try:
            for _ in range(2):
                self.done(inline(dry_run=True))
            wait_for("they are counted", 20, lambda: lost() == 2)
        finally:
            self.control("alter table elsewhere rename to pipeline_step_log")
        wait_for("it is said", 20, lambda: self.said("steps of pipelines cannot be written") == 1)
        run = self.done(inline(dry_run=True))["pipeline_run_id"]
        wait_for("its step", 20, lambda: self.control("select string_agg(step || (details ->> 'dry_run'), ',') from pipeline_step_log"
                                                      f" where pipeline_run_id = '{run}'") == "sourcetrue")

    def test_a_caller_that_leaves_takes_its_run_along(self):
        """Nothing is inserted for somebody who does not wait for it."""
        self.pg.run("insert into big select i, 'w' from generate_series(1, 100) i", "app")
        body = {"source": {"table_name": "slow"}, "transform": {"column_aliases": {"late": "late"}}, "sink": {"table_name": "big_copy"}}
        with self.assertRaises(OSError):
            self.server.request("POST", "/pipelines", body, {"content-type": "application/json", "x-athena-client": "app"}, timeout=1)
        wait_for("its query is canceled", 20, lambda: self.rows("select count(*) from pg_stat_activity where query like '%slow%' and state = 'active'"
                                                                " and pid <> pg_backend_pid()") == ["0"])
        self.assertEqual(self.rows("select count(*) from big_copy"), ["0"])


class Templates(PipelineLab):
    definition = {"source": {"table_name": "orders", "limit": 3}, "sink": {"table_name": "copies"}}

    def names(self):
        answer = self.server.get("/pipelines/templates", {"x-athena-client": "app"})
        self.assertEqual(answer.status, 200, answer.body)
        return {t["name"]: t for t in answer.json["templates"]}

    def test_those_of_the_file(self):
        daily = self.names()["Daily"]
        self.assertEqual((daily["source_table"], daily["sink_table"], daily["has_transform"], daily["source"], daily["mutable"], daily["source_client"],
                          daily["sink_client"]), ("orders", "days", True, "yaml", False, None, "two"))
        self.assertEqual(daily["definition"]["source"]["conditions"], [{"eq_column": "state", "eq_value": "paid"}])
        self.assertEqual(daily["definition"]["transform"]["column_aliases"], {"at": "day", "total": "sum"})
        self.assertNotIn("transform", self.names()["copy"]["definition"])
        self.assertEqual(self.admin("GET", "DAILY").json["data"]["template"]["pipeline_template_id"], None)
        for method in ("PUT", "DELETE"):
            answer = self.admin(method, "daily", {"definition": self.definition})
            self.assertEqual((answer.status, answer.code), (409, "pipeline_template_immutable"), answer.body)

    def test_those_of_the_control_plane(self):
        answer = self.admin("PUT", "few rows", {"definition": self.definition, "metadata": {"by": "me"}})
        self.assertEqual((answer.status, answer.json["message"]), (200, "Saved pipeline template"), answer.body)
        stored = answer.json["data"]["template"]
        self.assertEqual((stored["name"], stored["source"], stored["mutable"], stored["metadata"]), ("few rows", "database", True, {"by": "me"}))
        self.assertEqual(self.done({"pipeline": "Few Rows"})["rows_inserted"], 3)
        again = self.admin("PUT", "FEW ROWS", {"definition": {**self.definition, "source": {"table_name": "orders", "limit": 2}}}).json["data"]["template"]
        self.assertEqual((again["pipeline_template_id"], again["metadata"], again["definition"]["source"]["limit"]),
                         (stored["pipeline_template_id"], {"by": "me"}, 2))
        self.assertEqual(self.names()["few rows"]["source"], "database")
        self.assertEqual({t["name"] for t in self.admin("GET").json["data"]["templates"]}, {"Daily", "copy", "few rows"})
        self.assertEqual(self.admin("DELETE", "few rows").status, 200)
        for method in ("GET", "DELETE"):
            self.assertEqual(self.admin(method, "few rows").status, 404)
        self.assertEqual(self.run_it({"pipeline": "few rows"}).status, 400)

    def test_what_is_stored_could_be_run(self):
        for body in ({}, {"definition": {}}, {"definition": []}, {"definition": {**self.definition, "pipeline": "x"}},
                     {"definition": {**self.definition, "source": {"table_name": "orders", "filter": 1}}}, {"definition": self.definition, "metadata": 5}):
            self.assertEqual(self.admin("PUT", "bad", body).status, 400, body)
        self.assertEqual(self.admin("PUT", "x" * 256, {"definition": self.definition}).status, 400)
        self.assertEqual(self.admin("GET", "bad").status, 404)

    def test_a_request_counts_for_more_than_its_template(self):
        answer = self.done({"pipeline": "copy", "source": {"limit": 4, "columns": ["id"]}, "sink": {"client": "two"}})
        self.assertEqual((answer["rows_inserted"], answer["sink_client"]), (4, "two"))
        self.assertEqual(self.rows("select count(*), count(total) from copies", "two"), ["4|0"])

    def test_the_registry_is_measured(self):
        text = self.server.get("/metrics").body
        self.assertIn("\nathena_pipeline_registry_loaded 1\n", text)
        self.assertIn("\nathena_pipeline_registry_entries 2\n", text)


class Files(PipelineLab):
    def loaded(self, text):
        """A server with this file, no control plane and no clients' rows of its own; what it said of it."""
        path = self.lab.place("file")
        if text is not None:
            with open(path, "w") as f:
                f.write(text)
        server = self.start(path)
        wait_for("the start is logged", 20, lambda: "startup summary" in open_text(f"{server.logs}/success.log"))
        said = open_text(f"{server.logs}/success.log").split("\n")
        return server, path, [line for line in said if "Failed to load pipelines registry" in line]

    def test_a_broken_file_is_said_with_its_line_and_key(self):
        text = ("pipelines:\n- name: a\n  source: { tabel_name: x }\n  sink: { table_name: y }\n"
                "- name: b\n  source: { table_name: x, limit: many }\n  sinks: { table_name: y }\n")
        server, path, said = self.loaded(text)
        whole = "".join(said)
        for words in ("unknown key \"tabel_name\" of source", ":3:13", "Did you mean \"table_name\"?", "source.limit must be a whole number", ":6:",
                      "unknown key \"sinks\" of a pipeline", ":7:", "missing key sink.table_name"):
            self.assertIn(words, whole.replace("\\\"", "\""))
        self.assertTrue(all("WARN" in line and path in line for line in said), said)
        metrics = server.get("/metrics").body
        self.assertIn("\nathena_pipeline_registry_loaded 0\n", metrics)
        self.assertIn("\nathena_pipeline_registry_entries 0\n", metrics)
        self.assertEqual(server.get("/pipelines/templates", {"x-athena-key": ADMIN_KEY}).json, {"templates": []})
        self.assertEqual(server.stop(), 0)
        same = "  source: { table_name: x }\n  sink: { table_name: y }\n"
        server, _, said = self.loaded(f"pipelines:\n- name: a\n{same}- name: A\n{same}")
        self.assertIn("the name \"A\" is taken in line 2", "".join(said).replace("\\\"", "\""))
        self.assertEqual(server.stop(), 0)

    def test_it_is_read_again_with_the_configuration(self):
        one = "- name: %s\n  source: { table_name: x }\n  sink: { table_name: y }\n"
        server, path, _ = self.loaded("pipelines:\n" + one % "a")

        def names():
            return [t["name"] for t in server.get("/pipelines/templates", {"x-athena-key": ADMIN_KEY}).json["templates"]]
        self.assertEqual(names(), ["a"])
        with open(path, "w") as f:
            f.write("pipelines:\n" + one % "a" + one % "b")
        server.process.send_signal(signal.SIGHUP)
        wait_for("both are there", 20, lambda: names() == ["a", "b"])
        with open(path, "w") as f:
            f.write("pipelines: none\n")
        server.process.send_signal(signal.SIGHUP)
        wait_for("it is said", 20, lambda: "Failed to load pipelines registry" in open_text(f"{server.logs}/success.log"))
        self.assertEqual(names(), ["a", "b"], "what is not accepted changes nothing")
        self.assertEqual(server.stop(), 0)

    def test_without_file_and_control_plane_a_body_is_run(self):
        server, path, said = self.loaded(None)
        self.assertEqual(len(said), 1)
        self.assertIn("No such file or directory", said[0])
        self.assertEqual(self.done(inline(), server=server)["rows_inserted"], 48)
        self.assertEqual(self.run_it({"pipeline": "copy"}, server=server).status, 400)
        self.assertEqual(server.get("/admin/pipeline-templates", {"x-athena-key": ADMIN_KEY}).json["data"], {"templates": []})
        put = server.request("PUT", "/admin/pipeline-templates/a", {"definition": Templates.definition}, {"x-athena-key": ADMIN_KEY, "content-type":
                                                                                                          "application/json"})
        self.assertEqual(put.status, 503)
        self.assertEqual(server.stop(), 0)

    def command(self, *args, env=()):
        return subprocess.run([self.server.exe, "pipeline", "--url", f"http://127.0.0.1:{self.server.port}", *args], env={**self.server.env, **dict(env)},
                              cwd=self.lab.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)

    def test_the_command(self):
        """Published options; what is refused ends with 1."""
        with open(f"{self.lab.folder}/payload.json", "w") as f:
            json.dump({"source": {"limit": 2}}, f)
        done = self.command("-c", "app", "--pipeline", "copy", "--payload-file", "payload.json")
        self.assertEqual((done.returncode, json.loads(done.stdout)["rows_inserted"]), (0, 2), done.stderr)
        again = self.command("--client", "app", "--pipeline", "copy", "--payload-json", "{\"source\":{\"limit\":2}}")
        self.assertEqual(again.returncode, 1)
        self.assertIn("pipeline failed (409)", again.stderr)
        dry = self.command("--pipeline", "copy", "--dry-run", env={"ATHENA_CLIENT": "app"})
        self.assertEqual((dry.returncode, json.loads(dry.stdout)["would_insert"]), (0, 48), dry.stderr)
        for args, words in ((("-c", "app"), "no pipeline"), (("--pipeline", "copy"), "no client"), (("-c", "app", "--payload-json", "[1]"), "no JSON object"),
                            (("-c", "app", "--payload-json", "{}", "--payload-file", "x"), "not both")):
            wrong = self.command(*args)
            self.assertEqual(wrong.returncode, 1)
            self.assertIn(words, wrong.stderr)


class Keys(KeyLab):
    def pipeline(self, source, sink, key, client="app", path="/pipelines", **more):
        return self.call("POST", path, {"source": source, "sink": sink, **more}, key, client)

    def refused(self, answer, message, step, status=403):
        self.assertEqual((answer.status, answer.json["message"], answer.json["details"].get("pipeline_step")), (status, message, step), answer.body)

    def lines(self, database="app"):
        return self.pg.run("select count(*) from line", database).strip()

    def test_21_18_D_6_foreign_clients_and_views_are_refused(self):
        """Read on (source client, view or table) and write on (sink client, table), each by that client's own rules."""
        rows = {"columns": ["who"], "limit": 1}
        place, alias = {"table_name": "place", **rows}, {"transform": {"column_aliases": {"who": "note"}}}
        key = self.key("place.read", "line.write", client="app")
        before = self.lines(), self.lines("two")
        self.assertEqual(self.pipeline(place, {"table_name": "line"}, key, **alias).status, 200)
        self.refused(self.pipeline({**place, "client": "two"}, {"table_name": "line"}, key, **alias), "API key client mismatch", "source")
        self.refused(self.pipeline(place, {"table_name": "line", "client": "two"}, key, **alias), "API key client mismatch", "sink")
        self.refused(self.pipeline({**place, "view_name": "seen"}, {"table_name": "line"}, key, **alias), "Insufficient API key rights", "source")
        self.refused(self.pipeline({"table_name": "tag", "view_name": "seen"}, {"table_name": "line"}, key), "Insufficient API key rights", "source")
        self.refused(self.pipeline(place, {"table_name": "tag"}, key), "Insufficient API key rights", "sink")
        self.assertEqual((self.lines(), self.lines("two")), (str(int(before[0]) + 1), before[1]))

    def test_D_6_who_may_not_write_moves_nothing(self):
        """Not even when there is nothing to write; a dry run takes the right to read alone."""
        reads = self.key("place.read")
        for source in ({"table_name": "place"}, {"table_name": "place", "conditions": [{"eq_column": "id", "eq_value": 0}]}):
            answer = self.pipeline(source, {"table_name": "line"}, reads)
            self.refused(answer, "Insufficient API key rights", "sink")
            self.assertEqual(answer.json["error"], "Missing required rights: line.write")
            for path, more in (("/pipelines/simulate", {}), ("/pipelines", {"dry_run": True})):
                self.assertEqual(self.pipeline(source, {"table_name": "line"}, reads, path=path, **more).status, 200)
        self.refused(self.pipeline({"table_name": "place"}, {"table_name": "line"}, self.key("line.write")), "Insufficient API key rights", "source")
        self.refused(self.pipeline({"table_name": "place"}, {"table_name": "line"}, self.key("line.write"), path="/pipelines/simulate"),
                     "Insufficient API key rights", "source")

    def test_D_6_the_switch_of_each_client_counts(self):
        """The header's client is open, the other one is not."""
        self.store.enforce(False, "app")
        try:
            wait_for("app is open", 20, lambda: self.pipeline({"table_name": "place"}, {"table_name": "line"}, None, path="/pipelines/simulate").status == 200)
            before = self.lines("two")
            self.refused(self.pipeline({"table_name": "place", "client": "two"}, {"table_name": "line"}, None), "API key required", "source", 401)
            self.refused(self.pipeline({"table_name": "place"}, {"table_name": "line", "client": "TWO "}, None), "API key required", "sink", 401)
            self.assertEqual(self.lines("two"), before)
        finally:
            self.store.enforce(True, "app")
            wait_for("app asks again", 20, lambda: self.pipeline({"table_name": "place"}, {"table_name": "line"}, None, path="/pipelines/simulate").status == 401)

    def test_D_7_a_table_of_another_schema_is_another_table(self):
        key = self.key("users.read", "users.write", "line.write", "place.read")
        self.refused(self.pipeline({"table_name": "athena.users"}, {"table_name": "line"}, key), "Insufficient API key rights", "source")
        self.refused(self.pipeline({"table_name": "place"}, {"table_name": "athena.users"}, key), "Insufficient API key rights", "sink")

    def test_definitions_come_before_rights_and_keys_before_definitions(self):
        for body in ({"source": {}}, b"{broken"):
            self.assertEqual(self.call("POST", "/pipelines", body, None, "app").status, 401)
            self.assertEqual(self.call("POST", "/pipelines", body, self.key("tag.read"), "app").status, 400)
        self.assertEqual(self.call("POST", "/pipelines", {}, None, None).status, 401)
        self.assertEqual(self.call("POST", "/pipelines", {}, ADMIN_KEY, None).json["message"], "Missing required header")

    def test_21_17_D_4_templates_are_for_keys(self):
        """Those that name other clients are not for keys that are bound."""
        definition = {"source": {"table_name": "place"}, "sink": {"table_name": "line"}}
        for name, sink in (("open", {}), ("ours", {"client": "app"}), ("theirs", {"client": "two"})):
            body = {"definition": {**definition, "sink": {"table_name": "line", **sink}}}
            self.assertEqual(self.call("PUT", f"/admin/pipeline-templates/{name}", body, ADMIN_KEY).status, 200)
        self.assertEqual(self.call("GET", "/pipelines/templates").status, 401)
        self.assertEqual(self.call("GET", "/pipelines/templates", None, self.key("place.read")).status, 403)
        self.assertEqual(self.call("GET", "/admin/pipeline-templates", None, self.key("*")).status, 401)

        def names(key, client=None):
            return [t["name"] for t in self.call("GET", "/pipelines/templates", None, key, client).json["templates"]]
        self.assertEqual(names(self.key("gateway.read")), ["open", "ours", "theirs"])
        self.assertEqual(names(self.key("gateway.read", client="app"), "app"), ["open", "ours"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
