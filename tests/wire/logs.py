"""The lines that a request leaves in success.log and error.log, compared with the recorded ones.

Of the recorded lines those are compared that operators build on: the request line (athena::http) and the trace line
(athena_rs::gateway_trace), field by field and in their order. Parts: success_log:TARGET, error_log:TARGET (a line more or less),
and TARGET:FIELD; names: a field that is missing or not in its place.

Of the rows that a request leaves in the log tables, the last of each table is compared, column by column: TABLE (how many there
are), TABLE:COLUMN, TABLE:details.KEY. What the published server wrote before it knew how a request ends is not in a recording.

Lines recorded with enforcement on are played against a second server that enforces keys.
"""
import json
import re
import time
import uuid

import wire
from lab import wait_for

COMPARED = ("athena::http", "athena_rs::gateway_trace")
# Ids, versions and times, and what only a write has.
VOLATILE = {"request_id", "athena_version", "duration_ms", "trace_id", "resource_id"}
TABLES = ("gateway_request_log", "gateway_operation_log", "gateway_route_request_log")
UNKNOWN_THEN = {"status_code", "duration_ms", "cached", "cache_lookup_outcome", "cache_source", "operation", "table_name"}
NOT_COMPARED = {"host", "request_id", "time", "duration_ms", "cache_key", "cache_key_hashed", "trace_id", "resource_id"}
REFUSED = {"method": "POST", "path": "/gateway/fetch", "headers": {}, "body": "{}"}
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
        """Until what was asked before has come, which a request of our own that is logged behind it shows, and nothing more for a while."""
        path, shown = f"/{uuid.uuid4()}", []

        def there():
            shown.extend(line for lines in self.more().values() for line in lines)
            return any(path in line for line in shown)
        self.server.get(path)
        wait_for("a request of our own is logged", 20, there)
        quiet = time.monotonic()
        while time.monotonic() - quiet < 0.3:
            if any(self.more().values()):
                quiet = time.monotonic()
            time.sleep(0.02)

    def lines_of(self, request):
        answer = wire.ask(self.server, request, [("gw.test:4252", "gw.test")])
        found = {"success": [], "error": []}
        end = time.monotonic() + 20
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


class Rows:
    """The rows of one request in the tables: other servers write into them, too. `ask` runs a query and gives its text."""

    def __init__(self, ask):
        self.ask = ask

    def of(self, request_id, counts, behind):
        """When as many as `counts` says are there and those of the refused request behind it, and no more have come for a while."""
        text = " union all ".join(f"(select '{t}', jsonb_agg(to_jsonb(r) order by r.id), count(*) filter (where request_id = '{behind}') from "
                                  f"{t} r where request_id in ('{request_id}', '{behind}'))" for t in TABLES)
        end, quiet, before = time.monotonic() + 20, 0, None
        while quiet < 2:
            found, late = {}, 0
            for line in self.ask(text).splitlines():
                table, _, rest = line.partition("|")
                rows, _, those = rest.rpartition("|")
                found[table] = [row for row in json.loads(rows or "[]") if row["request_id"] == request_id]
                late += table != "gateway_route_request_log" and those == "0"
            missing = (late or any(len(found[t]) < counts[t] for t in TABLES)) and time.monotonic() < end
            quiet = 0 if missing or found != before else quiet + 1
            before = found
            time.sleep(0.1)
        return found


def row_gaps(table, want, have):
    if len(want) != len(have):
        yield table, f"{len(want)} rows recorded, {len(have)} seen"
    if not want or not have:
        return
    want, have = want[-1], have[-1]
    for column, value in want.items():
        if column in NOT_COMPARED or (table == "gateway_request_log" and column in UNKNOWN_THEN):
            continue
        pairs = [(column, value, have.get(column))]
        if isinstance(value, dict) and isinstance(have.get(column), dict):
            pairs = [(f"{column}.{key}", v, have[column].get(key)) for key, v in value.items() if key not in NOT_COMPARED]
        for name, a, b in pairs:
            if a != b:
                yield f"{table}:{name}", f"{a!r} recorded, {b!r} seen"


def final_gaps(rows, status):
    """What the recording cannot show: the row says what the caller got."""
    for row in rows["gateway_request_log"]:
        if row["status_code"] != status or row["duration_ms"] is None:
            yield "gateway_request_log:status_code", f"{status} answered, {row['status_code']} in the row"


def play(server, enforcing, ask, score):
    rows = Rows(ask)
    explanations = wire.Explanations("admin-logs")
    followers = {"enforcement on": Follower(enforcing)}
    usual = Follower(server)
    for line in wire.recorded("admin-logs"):
        follower = followers.get(line["note"], usual)
        answer, have = follower.lines_of(line["request"])
        found = [("status", f"{line['status']} recorded, {answer.status} seen")] if answer.status != line["status"] else []
        for name in have:
            found += file_gaps(f"{name}_log", line[f"{name}_log"], have[name])
        behind, _ = follower.lines_of(REFUSED)
        new = rows.of(answer.headers.get("x-athena-request-id", ""), {table: len(line[table]) for table in TABLES}, behind.headers["x-athena-request-id"])
        for table in TABLES:
            found += row_gaps(table, line[table], new[table])
        found += final_gaps(new, answer.status)
        score.check(f"admin-logs/{line['id']}", wire.judge(line, found, explanations))
    score.check("admin-logs/explanations", explanations.stale())
