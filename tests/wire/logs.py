"""The lines that a request leaves in success.log and error.log, compared with the recorded ones.

Of the recorded lines those are compared that operators build on: the request line (athena::http) and the trace line
(athena_rs::gateway_trace), field by field and in their order. Parts: success_log:TARGET, error_log:TARGET (a line more or less),
and TARGET:FIELD; names: a field that is missing or not in its place.

Lines recorded with enforcement on are played against a second server that enforces keys.
"""
import re
import time

import wire

COMPARED = ("athena::http", "athena_rs::gateway_trace")
# Ids, versions and times, and what only a write has.
VOLATILE = {"request_id", "athena_version", "duration_ms", "trace_id", "resource_id"}
LINE = re.compile(r"(?P<time>[\d:.T+-]+Z?)\s+(?P<level>[A-Z]+) (?:(?P<span>http\.request\{.*?\}): )?(?P<target>[\w:]+): (?P<rest>.*)")


def parse(line):
    m = LINE.fullmatch(line)
    if not m or m["target"] not in COMPARED:
        return None
    message, *fields = re.split(r" (?=\w+=)", m["rest"])
    pairs = []
    for field in fields:
        name, _, value = field.partition("=")
        if name == "detail_keys":  # what follows it is a text without a name
            value, _, text = value.partition(" ")
            pairs += [(name, value), ("message", text.strip())]
        else:
            pairs.append((name, value))
    return {"level": m["level"], "span": m["span"], "target": m["target"], "message": message, "fields": pairs}


class Follower:
    """The new lines of the two files."""

    def __init__(self, server):
        self.paths = {name: f"{server.logs}/{name}.log" for name in ("success", "error")}
        self.at = dict.fromkeys(self.paths, 0)
        self.server = server
        self.settle()

    def more(self):
        found = {}
        for name, path in self.paths.items():
            with open(path, "rb") as f:
                f.seek(self.at[name])
                data = f.read()
            self.at[name] += len(data)
            found[name] = data.decode(errors="replace").splitlines()
        return found

    def settle(self):
        """Until nothing has come for a while."""
        quiet = time.monotonic()
        while time.monotonic() - quiet < 0.3:
            if any(self.more().values()):
                quiet = time.monotonic()
            time.sleep(0.02)

    def lines_of(self, request):
        answer = wire.ask(self.server, request, [("gw.test:4252", "gw.test")])
        found = {"success": [], "error": []}
        end = time.monotonic() + 5
        while time.monotonic() < end and not any("request completed" in x for lines in found.values() for x in lines):
            time.sleep(0.02)
            for name, lines in self.more().items():
                found[name] += lines
        return answer, found


def line_gaps(want, have):
    target = want["target"]
    for part in ("level", "span", "message"):
        if want[part] != have[part]:
            yield f"{target}:{part}", f"{want[part]!r} recorded, {have[part]!r} seen"
    names, seen = [n for n, _ in want["fields"]], dict(have["fields"])
    if [n for n, _ in have["fields"]][:len(names)] != names:
        yield f"{target}:names", f"{names} recorded, {list(seen)} seen"
    for name, value in want["fields"]:
        if name not in VOLATILE and name in seen and seen[name] != value:
            yield f"{target}:{name}", f"{value!r} recorded, {seen[name]!r} seen"


def file_gaps(name, want, have):
    want, have = ([p for p in map(parse, lines) if p] for lines in (want, have))
    for target in COMPARED:
        a, b = ([p for p in lines if p["target"] == target] for lines in (want, have))
        if len(a) != len(b):
            yield f"{name}:{target}", f"{len(a)} lines recorded, {len(b)} seen"
        for pair in zip(a, b):
            yield from line_gaps(*pair)


def play(server, enforcing, score):
    explanations = wire.Explanations("admin-logs")
    followers = {"enforcement on": Follower(enforcing)}
    usual = Follower(server)
    for line in wire.recorded("admin-logs"):
        answer, have = followers.get(line["note"], usual).lines_of(line["request"])
        found = [("status", f"{line['status']} recorded, {answer.status} seen")] if answer.status != line["status"] else []
        for name in have:
            found += file_gaps(f"{name}_log", line[f"{name}_log"], have[name])
        score.check(f"admin-logs/{line['id']}", wire.judge(line, found, explanations))
    score.check("admin-logs/explanations", explanations.stale())
