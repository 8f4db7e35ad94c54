"""Starting the server as recorded: configuration, environment, arguments; then whether it serves, how it ends, what it says.

Parts that can be explained in admin-start.differences:
    served, exit        whether /ping answers; the exit status (after a signal: the recorded one)
    says:LABEL          a line `LABEL: value` of the banner on standard error
    names:WORD          what the message of a refused start must name
    client:NAME         a client at /metrics is there; client:NAME:up, :source, :pool: its state and the size of its pool
    gauge:NAME          a value at /metrics
    file:NAME           a log file: has lines, or is empty
    asks:PATH           the answer of a route
    runtime             a row of the registry of runtimes
"""
import http.client
import os
import re
import signal
import socket
import subprocess
import time

import wire

# Our version, and numbers that follow the machine.
SAID_OTHERWISE = {"version", "http workers"}
SIGNALS = {"sigint": signal.SIGINT, "sigquit": signal.SIGQUIT, "sighup": signal.SIGHUP}
RECORDED_PORT, RECORDED_POSTGRES = "4252", "5544"


class Start:
    """One start in a folder of its own."""

    def __init__(self, line, folder, exe, port, postgres_port):
        self.line, self.folder, self.port = line, folder, port
        self.names = [(RECORDED_PORT, str(port)), (RECORDED_POSTGRES, str(postgres_port)), ("<dir>", folder)]
        os.makedirs(f"{folder}/home")
        if line["config"] is not None:
            self.write("config.yaml", line["config"])
        for path, text in line["files"].items():
            self.write(path, text)
        cwd = f"{folder}/w" if self.said("working directory") == f"{folder}/w" else folder
        os.makedirs(cwd, exist_ok=True)
        self.output = open(f"{folder}/stderr", "w+")
        self.process = subprocess.Popen([exe, *map(self.put, line["args"])], cwd=cwd, env=self.environment(), stdin=subprocess.DEVNULL,
                                        stdout=open(f"{folder}/stdout", "w"), stderr=self.output)

    def put(self, text):
        for name, value in self.names:
            text = text.replace(name, value)
        return text

    def write(self, path, text):
        os.makedirs(os.path.dirname(f"{self.folder}/{path}"), exist_ok=True)
        with open(f"{self.folder}/{path}", "w") as f:
            f.write(self.put(text))

    def said(self, label):
        """What the published server said for a label of its banner."""
        m = re.search(rf"^{re.escape(label)}: (.*)$", self.put(self.line["stderr"]), re.M)
        return m and m[1]

    def environment(self):
        env = {"PATH": os.environ["PATH"], "HOME": f"{self.folder}/home", "ATHENA_LOCAL_DEV_MODE": "1", "ATHENA_KEY_12": "admin-key-12",
               "ATHENA_TRACING_LOG_DIR": f"{self.folder}/log"}
        env |= {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS") or k == "LD_LIBRARY_PATH"}
        discovered = "config home" in self.line["stderr"] or not (self.said("config source") or "explicit").startswith("explicit")
        if not discovered:
            env["ATHENA_CONFIG_PATH"] = f"{self.folder}/config.yaml"
        for name, value in self.line["env"].items():
            env.pop(name, None)
            if value is not None:
                env[name] = self.put(value)
        return env

    def stderr(self):
        with open(f"{self.folder}/stderr", errors="replace") as f:
            return f.read()

    def listens_at(self):
        """The port that ours says it has."""
        m = re.search(r"^listen: .*:(\d+)$", self.stderr(), re.M)
        if not m:
            raise ConnectionError("no port yet")
        return int(m[1])

    def get(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.listens_at(), timeout=5)
        try:
            c.request("GET", path, headers={"X-Athena-Key": "admin-key-12"})
            r = c.getresponse()
            return r.status, r.read().decode()
        finally:
            c.close()

    def serves(self, seconds=15):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                return self.get("/ping")[0] == 200
            except OSError:
                time.sleep(0.02)
        return False

    def ends(self, seconds):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return "still running"

    def finish(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.output.close()


def samples(text):
    """name, {label: value}, value: of each sample of a Prometheus text."""
    for name, labels, value in re.findall(r"^([a-zA-Z_:]+)(?:\{(.*)\})? (\S+)$", text, re.M):
        yield name, dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)), value


def clients_of(text):
    """name: (connected, source, largest pool) of each client."""
    found = {}
    for name, labels, value in samples(text):
        if name in ("athena_pg_pool_up", "athena_pg_pool_max_connections"):
            c = found.setdefault(labels["client"], {"source": labels["source"]})
            c[name] = int(value)
    return {n: (c["athena_pg_pool_up"] == 1, c["source"], c["athena_pg_pool_max_connections"] if c["athena_pg_pool_up"] else None)
            for n, c in found.items()}


def client_gaps(start, probe):
    want = {name.strip().lower(): (up, source, size) for name, up, source, size in probe}
    begun = time.monotonic()
    while True:
        have, passed = clients_of(start.get("/metrics")[1]), time.monotonic() - begun
        if passed > 5 or (want == have and passed > 0.3) or all(n in have and have[n][0] for n, w in want.items() if w[0]) and passed > 0.6:
            break
        time.sleep(0.05)
    for name in sorted(want.keys() | have.keys()):
        if name not in want or name not in have:
            yield f"client:{name}", f"{want.get(name)} recorded, {have.get(name)} seen"
            continue
        for part, a, b in zip(("up", "source", "pool"), want[name], have[name]):
            if a != b:
                yield f"client:{name}:{part}", f"{a} recorded, {b} seen"


def file_gaps(start, files):
    time.sleep(0.3)  # sinks write in batches: what is to be empty has this time to be wrong
    end = time.monotonic() + 10
    for path, state in files.items():
        path = start.put(path)
        while True:
            seen = "missing" if not os.path.exists(path) else "has lines" if os.path.getsize(path) else "empty"
            if seen == state or time.monotonic() > end:
                break
            time.sleep(0.05)
        if seen != state:
            yield f"file:{os.path.basename(path)}", f"{state} recorded, {seen} seen"


def gauge_gaps(start, gauges):
    have = {name: value for name, labels, value in samples(start.get("/metrics")[1]) if not labels}
    for name, (value,) in gauges.items():
        if have.get(name) != value:
            yield f"gauge:{name}", f"{value} recorded, {have.get(name)} seen"


def answer_within(start, path, want, seconds):
    """The answer of a route: the wanted one, or what it is after a while. What is in the background comes up meanwhile."""
    def shape(status, body):
        return status, wire.as_json(body) or body
    end = time.monotonic() + seconds
    while True:
        have = start.get(path)
        if shape(*have) == shape(*want) or time.monotonic() > end:
            return have
        time.sleep(0.05)


def runtime_gaps(start, row):
    """A row of the registry of runtimes: daemon_id, host, runtime_kind."""
    end = time.monotonic() + 5
    while True:
        daemons = wire.as_json(start.get("/admin/daemons")[1])["data"]["daemons"]
        have = [[d["daemon_id"], d["host"], d["runtime_kind"]] for d in daemons if d["status"] == "online"]
        if row in have or time.monotonic() > end:
            break
        time.sleep(0.05)
    if row not in have:
        yield "runtime", f"{row} recorded, {have} seen"


def probe_gaps(start, probe):
    """The recordings looked at what each start was about: four shapes."""
    for item in probe if isinstance(probe, list) else [probe]:
        if isinstance(item, dict):
            yield from (file_gaps if any("/" in k for k in item) else gauge_gaps)(start, item)
        elif isinstance(item, int):
            start.get("/no/such")  # something to log
        elif isinstance(item[0], str) and item[0].startswith("/"):
            want = start.put(item[2])
            status, body = answer_within(start, item[0], (item[1], want), 3)
            found = [f"{part} {words}" for _, part, words in wire.gaps(wire.as_json(want) or want, wire.as_json(body) or body)]
            if status != item[1] or found:
                yield f"asks:{item[0]}", f"{item[1]} recorded, {status} seen; {'; '.join(found)}"
        elif len(item) == 4:
            yield from client_gaps(start, probe)
            return
        else:
            yield from runtime_gaps(start, item)


def banner_gaps(start):
    have = dict(re.findall(r"^([a-z][a-z .-]+): (.*)$", start.stderr(), re.M))
    for label, value in re.findall(r"^([a-z][a-z .-]+): (.*)$", start.put(start.line["stderr"]), re.M):
        if label not in SAID_OTHERWISE and start.line["served"] and have.get(label) != value:
            yield f"says:{label}", f"{value!r} recorded, {have.get(label)!r} seen"


def name_gaps(start):
    """A refusal names what it refuses; the sentence is each server's own."""
    text, have = start.put(start.line["stderr"]), start.stderr()
    words = re.findall(r"(?:field|unrecognized subcommand|unexpected argument|invalid value) [`'](\S+?)[`']", text)
    words += re.findall(r"port (\d+)\)", text) + re.findall(r"'config path (\S+)'", text)
    for word in words:
        if word not in have:
            yield f"names:{word}", f"not in {have.strip()[-160:]!r}"


def start_gaps(start):
    line = start.line
    serves = start.serves(15 if line["served"] else 3)
    if serves != line["served"]:
        yield "served", f"{line['served']} recorded, {serves} seen: {start.stderr().strip()[-200:]!r}"
    if serves and line["served"]:
        yield from banner_gaps(start)
        yield from probe_gaps(start, line["probe"] or [])
    if serves:
        start.process.send_signal(SIGNALS.get(line["id"], signal.SIGTERM))
    code = start.ends(2 if line["id"] == "sighup" else 40)
    if code != line["exit"]:
        yield "exit", f"{line['exit']} recorded, {code} seen: {start.stderr().strip()[-200:]!r}"
    if not line["served"] and not serves:
        yield from name_gaps(start)


def free_port():
    """Between the recorded ones: ranges of the recordings begin and end there."""
    for port in range(4253, 5000):
        with socket.socket() as s:
            try:
                s.bind(("0.0.0.0", port))
                return port
            except OSError:
                continue
    raise SystemExit("no free port between 4253 and 4999")


def play(lab, exe, score, postgres_port, only="*"):
    explanations = wire.Explanations("admin-start")
    for line in wire.recorded("admin-start"):
        if not wire.fnmatch.fnmatchcase(line["id"], only):
            continue
        start = Start(line, lab.place("start"), exe, free_port(), postgres_port)
        try:
            found = list(start_gaps(start))
        finally:
            start.finish()
        score.check(f"admin-start/{line['id']}", wire.judge(line, found, explanations))
    if only == "*":
        score.check("admin-start/explanations", explanations.stale())
