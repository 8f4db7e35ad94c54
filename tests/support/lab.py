"""Real parts for tests written in Python: a private PostgreSQL and an `athena serve`, in a temporary folder.

    with Lab() as lab:
        pg = lab.postgres()                       # a cluster on a Unix socket, as an unprivileged user
        pg.run("create table t (id int)")
        server = lab.athena(clients={"app": pg.uri("postgres")})
        server.get("/ping")

Everything started here is stopped and removed when the block ends, whatever happens in it.
ATHENA_EXE names the executable (default: build/asan/athena, then build/release/athena); ATHENA_TEST_PG_BIN the folder
with PostgreSQL's programs (default: the newest of Debian's). ATHENA_TEST_PG_TEMPLATE names a new cluster of theirs that is
copied, which is quicker than initdb; `lab.py --template FOLDER` makes one.
"""
import glob
import http.client
import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ADMIN_KEY = "lab-admin-key-of-tests"


def executable():
    given = os.environ.get("ATHENA_EXE")
    for path in [given] if given else [f"{ROOT}/build/{p}/athena" for p in ("asan", "release", "debug")]:
        if os.access(path, os.X_OK):
            return path
    raise SystemExit("no athena executable: build one (cmake --preset asan && cmake --build build/asan) or set ATHENA_EXE")


def postgres_bin():
    given = os.environ.get("ATHENA_TEST_PG_BIN")
    if given:
        return given
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(p.split("/")[4]))
    if not found:
        raise SystemExit("no PostgreSQL server found: install postgresql, or set ATHENA_TEST_PG_BIN")
    return found[-1]


def free_port():
    """A port that nobody has, below those that the kernel gives to connections: so it is still free when a server comes back to it."""
    while True:
        port = random.SystemRandom().randrange(10000, 32768)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def wait_for(what, seconds, check):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds} s")


def unprivileged():
    """PostgreSQL refuses root: the user that its programs run as, and how to become it."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    return None


class Postgres:
    def __init__(self, folder, settings=(), bin=None, tcp=False):
        """`tcp`: on a free port of 127.0.0.1 too."""
        self.bin = bin or postgres_bin()
        self.port = free_port() if tcp else 5432
        self.user = unprivileged()
        self.folder, self.data, self.log = folder, f"{folder}/data", f"{folder}/log"
        self.make(os.environ.get("ATHENA_TEST_PG_TEMPLATE") if self.bin == postgres_bin() else None)
        with open(f"{self.data}/postgresql.conf", "a") as f:
            f.write(f"listen_addresses='{'127.0.0.1' if tcp else ''}'\nport={self.port}\nunix_socket_directories='{folder}'\nunix_socket_permissions=0777\n"
                    "fsync=off\nfull_page_writes=off\nmax_connections=200\n")
            f.writelines(f"{line}\n" for line in settings)
        self.start()

    def make(self, template):
        """A new cluster, which is not started."""
        os.makedirs(self.folder)
        if self.user:
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        os.chmod(self.folder, 0o755)
        if template:
            self.program("/bin/cp", "-a", template, self.data)
        else:
            self.program("initdb", "-D", self.data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-locale", "--no-sync")

    def program(self, name, *args, check=True):
        who = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LD_PRELOAD"))}
        done = subprocess.run([os.path.join(self.bin, name), *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL, cwd="/", env=env, text=True, **who)
        if check and done.returncode != 0:
            raise AssertionError(f"{name} failed: {done.stdout}")
        return done.stdout

    def start(self):
        self.program("pg_ctl", "-D", self.data, "-l", self.log, "-w", "start")

    def stop(self, mode="fast"):
        self.program("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop", check=False)

    def kill(self):
        with open(f"{self.data}/postmaster.pid") as f:
            os.kill(int(f.readline()), signal.SIGKILL)

    def start_after_kill(self, seconds=15):
        """A killed postmaster's children hold its memory until they have noticed."""
        def started():
            try:
                self.start()
                return True
            except AssertionError:
                return False
        wait_for("PostgreSQL starts again", seconds, started)

    def uri(self, database="postgres", user="postgres"):
        return f"postgres://{user}@/{database}?host={self.folder}&port={self.port}"

    def tcp_uri(self, database="postgres", user="postgres", host="127.0.0.1"):
        return f"postgres://{user}@{host}:{self.port}/{database}"

    def run(self, sql, database="postgres", **variables):
        sets = [a for k, v in variables.items() for a in ("-v", f"{k}={v}")]
        path = f"{self.folder}/run.sql"
        with open(path, "w") as f:
            f.write(sql)
        os.chmod(path, 0o644)
        return self.program("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *sets, "-h", self.folder,
                            "-p", str(self.port), "-U", "postgres",
                            "-d", database, "-f", path)


class Template(Postgres):
    """`folder`/data, for ATHENA_TEST_PG_TEMPLATE."""
    def __init__(self, folder):
        self.bin, self.user = postgres_bin(), unprivileged()
        self.folder, self.data = folder, f"{folder}/data"
        self.make(None)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The `code` of an error answer."""
        try:
            return self.json.get("code")
        except (ValueError, AttributeError):
            return None


class Athena:
    def __init__(self, folder, config, env=(), args=("serve",), exe=None, wrapper=()):
        os.makedirs(folder)
        self.folder, self.exe = folder, exe or executable()
        self.config = f"{folder}/config.yaml"
        with open(self.config, "w") as f:
            f.write(config)
        self.logs, self.state = f"{folder}/logs", f"{folder}/state"
        os.makedirs(self.state)
        self.port = free_port()
        self.env = {"PATH": os.environ["PATH"], "HOME": folder, "ATHENA_TRACING_LOG_DIR": self.logs, "STATE_DIRECTORY": self.state, "ATHENA_KEY_12": ADMIN_KEY,
                    **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS") or k == "LD_LIBRARY_PATH"}, **dict(env)}
        self.output = open(f"{folder}/output", "w+")
        self.process = subprocess.Popen([*wrapper, self.exe, *args, "--config", self.config, "--port", str(self.port)], cwd=folder,
                                        env=self.env, stdout=self.output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def said(self):
        with open(f"{self.folder}/output", errors="replace") as f:
            return f.read()

    def ready(self, seconds=20):
        def up():
            if self.process.poll() is not None:
                raise AssertionError(f"athena ended with {self.process.returncode}:\n{self.said()}")
            try:
                return self.get("/ping").status == 200
            except OSError:
                return False
        wait_for("athena answers /ping", seconds, up)
        return self

    def request(self, method, path, body=None, headers=(), timeout=30):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = json.dumps(body).encode() if body is not None and not isinstance(body, (bytes, str)) else body
            c.request(method, path, data, dict(headers))
            r = c.getresponse()
            return Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read().decode(errors="replace"))
        finally:
            c.close()

    def get(self, path, headers=(), **kw):
        return self.request("GET", path, None, headers, **kw)

    def fetch(self, client, body, key=ADMIN_KEY, **kw):
        return self.request("POST", "/gateway/fetch", body, {"x-athena-client": client, "x-athena-key": key,
                                                             "content-type": "application/json"}, **kw)

    def stop(self, seconds=40):
        """Ends it politely; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"athena did not stop within {seconds} s:\n{self.said()[-4000:]}")
        self.output.close()
        return self.process.returncode


class Redis:
    """A private redis-server that keeps nothing, or, with `folder` kept, what it was told to save."""
    def __init__(self, folder, *more):
        os.makedirs(folder, exist_ok=True)
        self.folder, self.port, self.more = folder, free_port(), more
        self.start()

    def start(self):
        self.output = open(f"{self.folder}/output", "a")
        self.process = subprocess.Popen(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder,
                                         "--save", "", *self.more], stdout=self.output, stderr=subprocess.STDOUT,
                                        stdin=subprocess.DEVNULL, cwd=self.folder)
        wait_for("redis-server answers", 10, lambda: self.answers())

    def answers(self):
        try:
            return self.run("PING") == "PONG"
        except OSError:
            return False

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def run(self, *words):
        """One command; its answer as text, None for a nil, a list of an array (not nested)."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as s, s.makefile("rb") as f:
            s.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w.encode()), w.encode()) for w in words))

            def read():
                line = f.readline().decode().rstrip("\r\n")
                if line[:1] == "$":
                    return None if line == "$-1" else f.read(int(line[1:]) + 2)[:-2].decode(errors="replace")
                if line[:1] == "*":
                    return [read() for _ in range(int(line[1:]))]
                return line[1:]
            return read()

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.output.close()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()


class Lab:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="athena-lab-")
        os.chmod(self.folder, 0o755)
        self.things, self.count = [], 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for thing in reversed(self.things):
            try:
                thing.stop()
            except AssertionError as e:
                print(e)
        shutil.rmtree(self.folder, ignore_errors=True)

    def place(self, name):
        self.count += 1
        return f"{self.folder}/{name}{self.count}"

    def postgres(self, **kw):
        self.things.append(Postgres(self.place("pg"), **kw))
        return self.things[-1]

    def redis(self, *more):
        self.things.append(Redis(self.place("redis"), *more))
        return self.things[-1]

    def athena(self, clients, plugins=("routes-meta", "routes-gateway", "routes-query", "routes-rest", "routes-public", "sink-file"), more="", wait=True, config=None, gateway="", **kw):
        """`clients`: name to URI; `more`: further YAML, `gateway`: of that section. Keys are enforced, as in what we ship. `config` replaces it all."""
        config = config or (f"plugins: [{', '.join(plugins)}]\nurls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\n"
                  f"gateway:\n- enforce_api_keys: true\n{gateway}postgres_clients:\n"
                  + "".join(f"- {name}: \"{uri}\"\n" for name, uri in clients.items()) + more)
        self.things.append(Athena(self.place("athena"), config, **kw))
        return self.things[-1].ready() if wait else self.things[-1]


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "--template":
        raise SystemExit("usage: lab.py --template FOLDER")
    Template(sys.argv[2])
