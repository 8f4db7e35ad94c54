"""Real S3 servers for tests, and a server of ours in front of one.

    with S3Lab() as lab:
        store = lab.store()                   # SeaweedFS on free ports, with bucket "backups"
        server = lab.server(store)            # athena with routes-storer (tests/fixtures/plugins/storer.c)
        server.put("a/b", bytes=1000)         # {"rc": 0, ...}
        server.read("a/b")                    # its bytes

`lab.proxy(store)` is a proxy of ours (s3faults.py) that spoils what goes through it.
"""
import datetime
import hashlib
import hmac
import http.client
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import unittest
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import ROOT, Lab, executable, free_port, wait_for  # noqa: E402
from s3faults import Faults  # noqa: E402

ACCESS, SECRET, BUCKET = "AKIATESTSTORE", "secret/of+the=test/store", "backups"
PAGE = 4096
FILL = bytes(65 + i % 26 for i in range(PAGE))[16:]
BUILD = os.path.dirname(os.path.realpath(executable()))


def pages(first, count, seed=0):
    return b"".join(struct.pack("<QQ", n, seed) + FILL for n in range(first, first + count))


def content(length, seed=0, start=0):
    """Bytes start .. start + length - 1 of an object of routes-storer."""
    first = start // PAGE
    return pages(first, (start + length - 1) // PAGE - first + 1 if length else 0, seed)[start - first * PAGE:][:length]


def digest(length, seed=0):
    """SHA-256 of a whole object, made without keeping it."""
    h = hashlib.sha256()
    for at in range(0, length, 256 * PAGE):
        h.update(content(min(256 * PAGE, length - at), seed, at))
    return h.hexdigest()


class Client:
    """A client with a signature of its own: what it says of a store is not said by the code that is tested."""
    def __init__(self, url, access=ACCESS, secret=SECRET, region="us-east-1"):
        self.host, self.access, self.secret, self.region = url.split("//")[1], access, secret, region

    def request(self, method, path, query=(), body=b"", headers=()):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        path = urllib.parse.quote(path, safe="/-._~")
        text = "&".join(f"{urllib.parse.quote(k, safe='-._~')}={urllib.parse.quote(str(v), safe='-._~')}" for k, v in sorted(dict(query).items()))
        signed = {"host": self.host, "x-amz-content-sha256": hashlib.sha256(body).hexdigest(), "x-amz-date": now, **dict(headers)}
        names = ";".join(sorted(signed))
        asked = "\n".join([method, path, text, *(f"{k}:{signed[k]}" for k in sorted(signed)), "", names, signed["x-amz-content-sha256"]])
        key = b"AWS4" + self.secret.encode()
        for part in (*scope.split("/"),):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        to_sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"
        signed["authorization"] = (f"AWS4-HMAC-SHA256 Credential={self.access}/{scope},SignedHeaders={names},"
                                   f"Signature={hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()}")
        c = http.client.HTTPConnection(self.host, timeout=60)
        try:
            c.request(method, path + ("?" + text if text else ""), body, signed)
            r = c.getresponse()
            return r.status, dict(r.getheaders()), r.read()
        finally:
            c.close()

    def well(self, *args, **kw):
        status, headers, body = self.request(*args, **kw)
        if status >= 300:
            raise AssertionError(f"{args}: {status} {body[:500]}")
        return headers, body

    def make_bucket(self, name=BUCKET):
        self.well("PUT", f"/{name}")

    def makes_bucket(self, name=BUCKET):
        """Not while the store is not all there yet."""
        return self.request("PUT", f"/{name}")[0] == 200

    def uploads(self, bucket=BUCKET):
        """Keys of unfinished uploads."""
        body = self.well("GET", f"/{bucket}", {"uploads": ""})[1].decode()
        return re.findall("<Upload>.*?<Key>(.*?)</Key>", body, re.S)


class SeaweedFS:
    """Refuses wrong keys and secrets, and a wrong Content-MD5; does not compare the signed digest with the body."""
    def __init__(self, folder):
        os.makedirs(folder)
        self.folder, self.access, self.secret = folder, ACCESS, SECRET
        self.weed = subprocess.run([f"{ROOT}/tests/support/get-seaweedfs"], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
        with open(f"{folder}/s3.json", "w") as f:
            json.dump({"identities": [{"name": "tests", "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
                                       "actions": ["Admin", "Read", "Write", "List", "Tagging"]},
                                      {"name": "reader", "credentials": [{"accessKey": "READER", "secretKey": "reads"}], "actions": ["Read", "List"]}]}, f)
        for tries in (3, 2, 1):  # a port that was free may be somebody's by now
            self.ports = [free_port() for _ in range(8)]
            self.port = self.ports[0]
            shutil.rmtree(f"{folder}/data", ignore_errors=True)
            os.makedirs(f"{folder}/data")
            try:
                return self.start()
            except AssertionError:
                if tries == 1:
                    raise

    def start(self):
        s3, master, volume, filer, *grpc = self.ports
        self.output = open(f"{self.folder}/output", "a")
        self.process = subprocess.Popen(
            [self.weed, "-logtostderr=true", "server", f"-dir={self.folder}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", f"-s3.port={s3}",
             f"-s3.config={self.folder}/s3.json", f"-master.port={master}", f"-volume.port={volume}", "-filer", f"-filer.port={filer}",
             f"-master.port.grpc={grpc[0]}", f"-volume.port.grpc={grpc[1]}", f"-filer.port.grpc={grpc[2]}", f"-s3.port.grpc={grpc[3]}",
             "-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=100", "-master.electionTimeout=1s", "-master.heartbeatInterval=200ms",
             "-master.volumeSizeLimitMB=256"], stdout=self.output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=self.folder)
        try:
            wait_for("SeaweedFS answers", 60, self.answers)
        except BaseException:
            self.stop()
            raise

    def answers(self):
        if self.process.poll() is not None:
            with open(f"{self.folder}/output", errors="replace") as f:
                raise AssertionError(f"SeaweedFS ended:\n{f.read()[-3000:]}")
        for port, path, want in ((self.port, "/", b""), (self.ports[1], "/dir/status", b"Max")):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as r:
                    if want not in r.read():
                        return False
            except urllib.error.HTTPError:
                pass
            except OSError:
                return False
        return True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.output.close()

    def stop(self):
        if self.process.poll() is None:
            self.kill()


CONFIG = """plugins: [driver-s3, routes-storer, routes-meta, sink-file]
urls: []
hosts: []
authenticator: []
server:
  plugin_dir: {plugins}
  loops: {loops}
api:
- port: 4052
gateway:
- enforce_api_keys: false
postgres_clients:
- away: "postgres://nobody@127.0.0.1:9/away"
driver-s3:
  retry_delay: 20ms
  retry_most: 500ms
  stall_timeout: 5s
"""


class Storer:
    """A server of ours with the routes of routes-storer."""
    def __init__(self, athena):
        self.athena = athena

    def path(self, route, words):
        return f"/s3/{route}?" + urllib.parse.urlencode({k: v for k, v in words.items() if v is not None})

    def ask(self, method, route, timeout=120, **words):
        a = self.athena.request(method, self.path(route, words), timeout=timeout)
        if a.status != 200:
            raise AssertionError(f"{method} {route} {words}: {a.status} {a.body}")
        return a.json

    def put(self, key, **words):
        return self.ask("PUT", "object", key=key, **words)

    def head(self, key, **words):
        return self.ask("GET", "head", key=key, **words)

    def remove(self, key, **words):
        return self.ask("DELETE", "object", key=key, **words)

    def list(self, **words):
        return self.ask("GET", "list", **words)

    def uploads(self, **words):
        return self.ask("GET", "uploads", **words)

    def open(self, key, timeout=120, **words):
        """The answer of a get, not read yet, and its connection."""
        c = http.client.HTTPConnection("127.0.0.1", self.athena.port, timeout=timeout)
        c.request("GET", self.path("object", {"key": key, **words}))
        return c.getresponse(), c

    def read(self, key, **words):
        """The bytes of an object, or {"rc":...}."""
        r, c = self.open(key, **words)
        try:
            data = r.read()
            return json.loads(data) if r.getheader("content-type", "").startswith("application/json") else data
        finally:
            c.close()

    def digest(self, key, **words):
        r, c = self.open(key, **words)
        h = hashlib.sha256()
        try:
            while data := r.read(1 << 20):
                h.update(data)
            return h.hexdigest()
        finally:
            c.close()

    def metric(self, text):
        """The sum of all samples whose line begins with `text`."""
        lines = self.athena.get("/metrics").body.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(text))

    def peak_kib(self):
        with open(f"/proc/{self.athena.process.pid}/status") as f:
            return int(next(line.split()[1] for line in f if line.startswith("VmHWM:")))


class S3Lab(Lab):
    def store(self, kind=SeaweedFS):
        store = kind(self.place(kind.__name__.lower()))
        self.things.append(store)
        store.client = Client(store.url, store.access, store.secret)
        wait_for("a bucket can be made", 60, store.client.makes_bucket)
        return store

    def proxy(self, store):
        self.things.append(Faults(store.port))
        self.things[-1].access, self.things[-1].secret = store.access, store.secret
        return self.things[-1]

    def plugins(self):
        if not hasattr(self, "plugin_folder"):
            self.plugin_folder = self.place("plugins")
            shutil.copytree(f"{BUILD}/plugins/lib", self.plugin_folder)
            shutil.copy(f"{BUILD}/tests/fixtures/plugins/routes-storer.so", self.plugin_folder)
        return self.plugin_folder

    def server(self, store, env=(), more="", loops=2, **kw):
        """`env` replaces single variables, None takes one away; `more`: further YAML."""
        all_env = {"ATHENA_BACKUP_S3_BUCKET": BUCKET, "ATHENA_BACKUP_S3_ENDPOINT": store.url if store else None,
                   "ATHENA_BACKUP_S3_ACCESS_KEY": store.access if store else ACCESS, "ATHENA_BACKUP_S3_SECRET_KEY": store.secret if store else SECRET, "AWS_EC2_METADATA_DISABLED": "true", **dict(env)}
        return Storer(self.athena({}, config=CONFIG.format(plugins=self.plugins(), loops=loops) + more, env={k: v for k, v in all_env.items() if v is not None}, **kw))


class StoreCase(unittest.TestCase):
    """Tests with a store and a server of ours."""
    @classmethod
    def setUpClass(cls):
        cls.lab = S3Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.store = cls.lab.store()
        cls.server = cls.lab.server(cls.store)

    def well(self, answer):
        self.assertEqual(answer.get("rc"), 0, answer)
        return answer

    def refused(self, answer, rc, status=None, code=None):
        self.assertEqual(answer.get("rc"), rc, answer)
        if status is not None:
            self.assertEqual(answer["status"], str(status), answer)
        if code is not None:
            self.assertEqual(answer["s3_code"], code, answer)
        self.check_words(json.dumps(answer))
        return answer

    def check_words(self, text):
        for secret in (SECRET, "Signature=", "AWS4", "http://", "X-Amz"):
            self.assertNotIn(secret, text)
