#!/usr/bin/env python3
"""The judge judged: a recording agrees with itself, and with nothing that was changed."""
import copy
import os
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, f"{HERE}/../support"]
import logs  # noqa: E402
import wire  # noqa: E402
from lab import Answer  # noqa: E402

LINES = {line["id"]: line for name in ("gateway", "admin") for line in wire.recorded(name)}


def same(line):
    want = line["response"]
    return Answer(want["status"], {k.lower(): v for k, v in want.get("headers", {}).items()}, want["body"] or "")


def parts(line_id, **changes):
    answer = copy.copy(same(LINES[line_id]))
    for name, value in changes.items():
        setattr(answer, name, value)
    return [part for part, _ in wire.deviations(LINES[line_id], answer)]


class JudgeTest(unittest.TestCase):
    def test_every_line_agrees_with_itself(self):
        for line in LINES.values():
            self.assertEqual(list(wire.deviations(line, same(line))), [], line["id"])

    def test_what_is_changed_is_found(self):
        body = same(LINES["f01-all"]).body
        self.assertEqual(parts("f01-all", status=201), ["status"])
        self.assertEqual(parts("f01-all", headers={}), [f"header:{n}" for n in (
            "content-type", "vary", "x-athena-cache-outcome", "x-athena-cache-source", "x-athena-cached", "x-athena-client")])
        self.assertEqual(parts("f01-all", body=body.replace("Ann", "Anne")), ["body:data[0].name"])
        self.assertEqual(parts("f01-all", body=body.replace('"id":1', '"id":"1"')), ["body:data[0].id"])
        self.assertEqual(parts("f01-all", body=body.replace('"id":1', '"id":1.5')), ["body:data[0].id"])
        self.assertEqual(parts("f01-all", body="[]"), ["body"])
        self.assertEqual(parts("t01-ping", body="pong "), ["body"])

    def test_numbers_are_values_and_volatile_members_are_not_compared(self):
        body = same(LINES["f03-text-columns"]).body
        self.assertEqual(parts("f03-text-columns", body=body.replace("12.5", "12.50")), [])
        self.assertEqual(parts("f03-text-columns", body=body.replace('"cache_key":', '"x":1,"cache_key":"other","y":')),
                         ["+body:x", "+body:y"])
        self.assertEqual(parts("f02-full", body=body), ["body:data", "body:message"])

    def test_a_defect_may_lie_in_the_digits(self):
        body = same(LINES["v04-limits"]).body
        self.assertEqual(parts("v04-limits", body=body.replace("100.0", "100.00")), ["body:data[0].c_numeric"])

    def test_explanations_are_used_or_stale(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(f"{folder}/x.differences", "w") as f:
                f.write("# a comment\nf* status because\nf01 body:data because\nf* +body:new because\nf* -body:old because\n"
                        "g1 answers:400/bad because\nerrors +body:docs because\n")
            with open(f"{folder}/x.later", "w") as f:
                f.write("z* later on\n  does app: select 1\n")
            before, wire.HERE = wire.HERE, folder
            try:
                e = wire.Explanations("x")
            finally:
                wire.HERE = before
        self.assertTrue(e.excuse({"id": "f01"}, "status"))
        self.assertFalse(e.excuse({"id": "f01"}, "header:vary"))
        self.assertTrue(e.excuse({"id": "f01"}, "body:data[3].x"))
        self.assertTrue(e.excuse({"id": "f01"}, "+body:data.details"))
        self.assertTrue(e.excuse({"id": "f01"}, "+body:new"))
        self.assertFalse(e.excuse({"id": "f01"}, "-body:new"))
        self.assertFalse(e.excuse({"id": "f01"}, "body:new.x"))
        self.assertEqual([s.split()[0] for s in e.stale()], [
            "x.differences:5", "x.differences:6", "x.differences:7", "x.later:1"])
        self.assertEqual(wire.judge({"id": "z1"}, [], e)[0][:14], "agrees already")
        self.assertEqual(wire.judge({"id": "z1"}, [("status", "")], e), [])
        self.assertEqual(wire.judge({"id": "q", "defect": "G-1"}, [], e), ["answers like the defect G-1"])
        self.assertEqual(e.postponed("z2")["does"], [("app", "select 1")])
        self.assertTrue(e.excuse({"id": "f02"}, "-body:old"))
        self.assertFalse(e.excuse({"id": "h1", "response": {"status": 200}}, "+body:docs"))
        self.assertTrue(e.excuse({"id": "h1", "response": {"status": 404}}, "+body:docs"))
        found = [("status", "x")]
        self.assertEqual(wire.judge({"id": "g1"}, found, e, Answer(400, {}, '{"code":"bad"}')), [])
        self.assertEqual(wire.judge({"id": "g1"}, found, e, Answer(400, {}, '{"code":"other"}')), ["status  x"])
        self.assertEqual(wire.judge({"id": "g1"}, found, e, Answer(500, {}, '{"code":"bad"}')), ["status  x"])
        self.assertEqual(e.stale(), [])

    def test_log_lines_are_compared_field_by_field(self):
        line = wire.recorded("admin-logs")[0]["success_log"][3]
        self.assertEqual(list(logs.file_gaps("success_log", [line], [line.replace("16:31", "09:00")])), [])
        changed = line.replace("row_count=2", "row_count=3").replace(" INFO ", " WARN ")
        self.assertEqual([p for p, _ in logs.file_gaps("success_log", [line], [changed])],
                         ["athena_rs::gateway_trace:level", "athena_rs::gateway_trace:row_count"])
        self.assertEqual([p for p, _ in logs.file_gaps("success_log", [line], [])], ["success_log:athena_rs::gateway_trace"])

    def test_abbreviated_bodies_have_their_recorded_length(self):
        for line_id, size in (("t13-query-large", 262226), ("t14-insert-large", 2097169)):
            self.assertEqual(len(wire.body_of(LINES[line_id]["request"])), size)


if __name__ == "__main__":
    unittest.main()
