"""The lines that a request leaves in success.log and error.log, compared with the recorded ones.

Of the recorded lines those are compared that operators build on: the request line (athena::http) and the trace line
(athena_rs::gateway_trace), field by field and in their order. Parts: success_log:TARGET, error_log:TARGET (a line more or less),
and TARGET:FIELD.
"""
import re
import time

import wire

COMPARED = ("athena::http", "athena_rs::gateway_trace")
VOLATILE = {"request_id", "athena_version", "duration_ms", "trace_id", "resource_id"}
LINE = re.compile(r"(?P<time>[\d:.T+-]+Z?)\s+(?P<level>[A-Z]+) (?:(?P<span>http\.request\{.*?\}): )?(?P<target>[\w:]+): (?P<rest>.*)")


def parse(line):
    m = LINE.fullmatch(line)
    if not m or m["target"] not in COMPARED:
        return None
    pairs = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|.*?)(?= \w+=| ?$)', m["rest"])
    if pairs and pairs[-1][0] == "detail_keys":  # what follows it is a field without a name
        keys, _, message = pairs[-1][1].partition(" ")
        pairs[-1:] = [("detail_keys", keys), ("message", message.strip())]
    return {"level": m["level"], "span": m["span"], "target": m["target"], "message": re.split(r" (?=\w+=)", m["rest"])[0], "fields": pairs}


def new_lines(path, seen):
    with open(path, errors="replace") as f:
        f.seek(seen)
        text = f.read()
    return [line for line in text.splitlines() if line], seen + len(text.encode())


def line_gaps(want, have):
    target = want["target"]
    for part in ("level", "span", "message"):
        if want[part] != have[part]:
            yield f"{target}:{part}", f"{want[part]!r} recorded, {have[part]!r} seen"
    names = [n for n, _ in want["fields"]]
    if [n for n, _ in have["fields"]][:len(names)] != names:
        yield f"{target}:fields", f"{names} recorded, {[n for n, _ in have['fields']]} seen"
    seen = dict(have["fields"])
    for name, value in want["fields"]:
        if name not in VOLATILE and name in seen and seen[name] != value:
            yield f"{target}:{name}", f"{value} recorded, {seen[name]} seen"


def file_gaps(name, want, have):
    want, have = ([p for p in map(parse, lines) if p] for lines in (want, have))
    for target in COMPARED:
        a, b = ([p for p in lines if p["target"] == target] for lines in (want, have))
        if len(a) != len(b):
            yield f"{name}:{target}", f"{len(a)} lines recorded, {len(b)} seen"
        for pair in zip(a, b):
            yield from line_gaps(*pair)


def play(server, score):
    explanations = wire.Explanations("admin-logs")
    paths = {name: f"{server.logs}/{name}.log" for name in ("success", "error")}
    at = {name: new_lines(path, 0)[1] for name, path in paths.items()}
    for line in wire.recorded("admin-logs"):
        answer = wire.ask(server, line["request"], [("gw.test:4252", "gw.test")])
        have = {"success": [], "error": []}
        end = time.monotonic() + 5
        while time.monotonic() < end and not any("request completed" in x for lines in have.values() for x in lines):
            time.sleep(0.02)
            for name, path in paths.items():
                more, at[name] = new_lines(path, at[name])
                have[name] += more
        found = [("status", f"{line['status']} recorded, {answer.status} seen")] if answer.status != line["status"] else []
        for name in have:
            found += file_gaps(f"{name}_log", line[f"{name}_log"], have[name])
        score.check(f"admin-logs/{line['id']}", wire.judge(line, found, explanations))
    score.check("admin-logs/explanations", explanations.stale())
