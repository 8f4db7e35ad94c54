"""Playing recorded requests against a server, and judging the answers.

A recording is a file of JSON lines: an id, the request, and what the published server answered. A line agrees when status,
body and recorded headers are the same. Bodies that are JSON are compared as values, numbers as decimals; what the line calls
volatile takes no part. Every deviation is explained beside the recording, one reason a line, and nothing is explained twice:

    NAME.differences   ID-GLOB PART why      ours answers otherwise, on purpose
    NAME.later         ID-GLOB why           the route or the switch is not there yet: the line must not agree
                         does DATABASE: SQL  what the recorded request would have changed; done in its place

PART is status, body, body:PATH or header:NAME; `+body:PATH` is a member that only ours has, `-body:PATH` one that only the
recording has; `answers:STATUS` or `answers:STATUS/CODE` says that ours is another answer altogether, and which. The ID `errors`
means every line whose recorded status is 400 or above. An explanation that explains nothing fails, so the files cannot rot. A line
marked as a defect of the published server must not agree.
"""
import base64
import fnmatch
import json
import os
import re
from decimal import Decimal

HERE = os.path.dirname(os.path.abspath(__file__))
# Who answered, when, and how long it took.
NEVER_COMPARED = {"server", "x-athena-version", "x-athena-time", "x-athena-request-id", "x-athena-trace-id", "content-length", "date",
                  "connection", "transfer-encoding"}


def recorded(name, names=()):
    """`names`: (as recorded, as it is here) for addresses, in requests and in answers."""
    with open(f"{HERE}/recorded/{name}.jsonl") as f:
        text = f.read()
    for was, here in names:
        text = text.replace(was, here)
    return [json.loads(line) for line in text.splitlines()]


def state(name):
    with open(f"{HERE}/recorded/{name}.sql") as f:
        return f.read()


def lines_of(path):
    if not os.path.exists(path):
        return
    with open(path) as f:
        for number, line in enumerate(f, 1):
            if line.strip() and not line.lstrip().startswith("#"):
                yield number, line.rstrip("\n")


class Explanations:
    """The two files beside a recording."""

    def __init__(self, name):
        self.differences, self.later = [], []
        for number, line in lines_of(f"{HERE}/{name}.differences"):
            glob, part, why = line.split(None, 2)
            self.differences.append({"glob": glob, "part": part, "why": why, "at": f"{name}.differences:{number}", "used": False})
        for number, line in lines_of(f"{HERE}/{name}.later"):
            if line[0].isspace():
                database, sql = re.fullmatch(r"\s+does (\w+): (.*)", line).groups()
                self.later[-1]["does"].append((database, sql))
            else:
                glob, why = line.split(None, 1)
                self.later.append({"glob": glob, "why": why, "at": f"{name}.later:{number}", "used": False, "does": []})

    def about(self, line):
        return [d for d in self.differences if fnmatch.fnmatchcase(line["id"], d["glob"])
                or (d["glob"] == "errors" and line.get("response", {}).get("status", 0) >= 400)]

    def excuse(self, line, part):
        for d in self.about(line):
            if part_matches(d["part"], part):
                d["used"] = True
                return True
        return False

    def replaced(self, line, answer):
        """Whether a line says that ours is another answer, and this is the one."""
        for d in self.about(line):
            if d["part"] in (f"answers:{answer.status}", f"answers:{answer.status}/{answer.code}"):
                d["used"] = True
                return True
        return False

    def postponed(self, line_id):
        for entry in self.later:
            if fnmatch.fnmatchcase(line_id, entry["glob"]):
                entry["used"] = True
                return entry
        return None

    def stale(self):
        return [f"{e['at']} explains nothing: {e['glob']}" for e in self.differences + self.later if not e["used"]]


def part_matches(named, part):
    if named[0] in "+-":
        return fnmatch.fnmatchcase(part, named)
    part = part.lstrip("+-")
    return named == part or part.startswith((named + ":", named + ".", named + "[")) or fnmatch.fnmatchcase(part, named)


# ---- comparing ----

class Digits(str):
    """A number as it is written."""


def as_json(text, number=Decimal):
    try:
        return json.loads(text, parse_float=number, parse_int=number)
    except (TypeError, ValueError):
        return None


def steps(path):
    return [s for s in re.split(r"[.\[\]]+", path) if s]


def without(node, path):
    """Takes out what `path` names: `a.b[0].c`, with `*` for any name or number."""
    if not path or not isinstance(node, (dict, list)):
        return
    names = list(node) if isinstance(node, dict) else range(len(node))
    for name in [n for n in names if fnmatch.fnmatchcase(str(n), path[0])]:
        if len(path) > 1:
            without(node[name], path[1:])
        elif isinstance(node, dict):
            del node[name]
        else:
            node[name] = None


def gaps(want, have, at=""):
    """Every place where two JSON values differ: (sign, path, words)."""
    if isinstance(want, dict) and isinstance(have, dict):
        for k in sorted(want.keys() | have.keys()):
            if k not in have:
                yield "-", f"{at}.{k}", f"{shown(want[k])} recorded, nothing seen"
            elif k not in want:
                yield "+", f"{at}.{k}", f"nothing recorded, {shown(have[k])} seen"
            else:
                yield from gaps(want[k], have[k], f"{at}.{k}")
    elif isinstance(want, list) and isinstance(have, list) and len(want) == len(have):
        for i, pair in enumerate(zip(want, have)):
            yield from gaps(*pair, f"{at}[{i}]")
    elif type(want) is not type(have) or want != have:
        yield "", at, f"{shown(want)} recorded, {shown(have)} seen"


def shown(v):
    text = v if isinstance(v, str) else json.dumps(v, default=str)
    return text if len(text) < 160 else text[:157] + "..."


def deviations(line, answer):
    """(part, words) for all that differs between a line's recorded response and `answer`. A defect may lie in how a number is
    written, so there the digits are compared."""
    want = line["response"]
    volatile = line.get("volatile", [])
    if want["status"] != answer.status:
        yield "status", f"{want['status']} recorded, {answer.status} seen"
    skip = NEVER_COMPARED | {v.removeprefix("header:").split("(")[0].strip().lower() for v in volatile}
    for name, value in want.get("headers", {}).items():
        if name.lower() not in skip and value != "*" and answer.headers.get(name.lower()) != value:
            yield f"header:{name.lower()}", f"{value!r} recorded, {answer.headers.get(name.lower())!r} seen"
    yield from body_deviations(want.get("body") or "", answer.body, volatile, Digits if "defect" in line else Decimal)


def body_deviations(want, have, volatile, number):
    if "body (first line kept)" in volatile:
        want, have = (text.splitlines()[0].removesuffix("...").rstrip() if text else "" for text in (want, have))
    have = re.sub(r"\b[0-9a-f]{64}\b", "{hex64}", have)  # digests are written so in the recordings
    a, b = as_json(want, number), as_json(have, number)
    if a is None or b is None:
        if want != have:
            yield "body", f"{shown(want)} recorded, {shown(have)} seen"
        return
    for v in volatile:
        for path in v.removeprefix("body without ").split(", "):
            without(a, steps(path))
            without(b, steps(path))
    for sign, path, words in gaps(a, b):
        yield sign + ("body:" + path.lstrip(".")).rstrip(":"), words


# ---- asking ----

def body_of(request):
    """The bytes to send. Long bodies are abbreviated in the recordings, compressed ones are base64."""
    body = request.get("body")
    if body is None:
        return None
    if long := re.fullmatch(r"\((\d+) bytes: (.*?)x+\.\.\.\)", body, re.S):
        head = long[2]
        tail = ("'" if head.count("'") % 2 else "") + '"' + "}" * head.count("{")
        return (head + "x" * (int(long[1]) - len(head) - len(tail)) + tail).encode()
    if body.startswith("base64:"):
        return base64.b64decode(body[7:])
    return body.encode()


def ask(server, request, names=()):
    def put(text):
        for name, value in names:
            text = text.replace(name, value)
        return text
    headers = {k: put(v) for k, v in request.get("headers", {}).items()}
    body = body_of(request)
    return server.request(request["method"], put(request["path"]), body, headers)


class Score:
    def __init__(self):
        self.passed, self.failures = 0, []

    def check(self, name, problems):
        if problems:
            self.failures += [f"{name}  {p}" for p in problems]
        else:
            self.passed += 1


def judge(line, found, explanations, answer=None):
    """What is wrong with a line whose answer deviates by `found`."""
    if "defect" in line:
        return [] if found else [f"answers like the defect {line['defect']}"]
    if entry := explanations.postponed(line["id"]):
        return [] if found else [f"agrees already, although {entry['at']} says: {entry['why']}"]
    if answer and found and explanations.replaced(line, answer):
        return []
    return [f"{part}  {words}" for part, words in found if not explanations.excuse(line, part)]


def named_value(answers, reference):
    """`{ID:PATH}` in a request: what stands there in the answer to an earlier line."""
    line_id, path = reference.split(":", 1)
    node = as_json(answers[line_id].body)
    for step in steps(path):
        node = node[int(step)] if isinstance(node, list) else node[step]
    return str(node)


def play(name, server, score, run_sql, lines=None, prepare=lambda line: None, explanations=None, names=(), answers=None):
    """Plays a recording in its order; `run_sql(database, sql)` does what a postponed line would have done; `prepare(line)` brings about
    what its `setup` names. `explanations`: of a recording that is played in parts, whose last one looks for stale ones. `names`: (as
    recorded, as it is here), in paths and headers; `answers`: filled, by the lines' ids."""
    whole, given = explanations is None, list(names)
    answers = {} if answers is None else answers
    explanations = explanations or Explanations(name)
    for line in lines or recorded(name):
        answer = None
        prepare(line)
        try:
            names = given + [(m[0], named_value(answers, m[1])) for m in re.finditer(r"\{([\w.-]+:[\w.\[\]]+)\}", line["request"]["path"])]
            answer = answers[line["id"]] = ask(server, line["request"], names)
            found = list(deviations(line, answer))
        except OSError as e:
            found = [("status", f"no answer: {e!r}")]
        score.check(f"{name}/{line['id']}", judge(line, found, explanations, answer))
        for database, sql in (explanations.postponed(line["id"]) or {"does": ()})["does"]:
            run_sql(database, sql)
    if whole:
        score.check(f"{name}/explanations", explanations.stale())
