"""More S3 servers for the suite `storage`, out of Debian's packages: each on free ports, in its own folder, stopped by its process ids.

Swift compares the signed digest with the body and knows its own rules; radosgw is what many private stores are.
"""
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import free_port, unprivileged, wait_for  # noqa: E402


class Store:
    """Several programs, the last one speaks S3."""
    access, secret = "test:tester", "secret-of-the+store/="

    def __init__(self, folder):
        os.makedirs(folder)
        self.folder, self.processes, self.port = folder, [], free_port()
        self.user = unprivileged()
        try:
            self.start(folder)
        except BaseException:
            self.stop()
            raise

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def run(self, *words, check=True, **kw):
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=self.folder, text=True, **kw)
        if check and done.returncode:
            raise AssertionError(f"{words}: {done.stdout}")
        return done.stdout

    def begin(self, name, *words, who=None, env=None):
        user = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []} if who else {}
        with open(f"{self.folder}/{name}.log", "w") as log:
            self.processes.append(subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=self.folder, env=env, **user))

    def speaks(self):
        for p in self.processes:
            if p.poll() is not None:
                logs = "".join(open(f"{self.folder}/{f}", errors="replace").read()[-2000:] for f in os.listdir(self.folder) if f.endswith(".log"))
                raise AssertionError(f"{p.args[0]} ended with {p.returncode}:\n{logs}")
        try:
            urllib.request.urlopen(self.url, timeout=2)
        except urllib.error.HTTPError:
            pass
        except OSError:
            return False
        return True

    def stop(self):
        for p in reversed(self.processes):
            p.kill()
            p.wait()


class Swift(Store):
    def start(self, folder):
        ports = {"account": free_port(), "container": free_port(), "object": free_port()}
        memory = free_port()
        os.makedirs(f"{folder}/srv/d1")
        os.makedirs(f"{folder}/cache")
        self.write("swift.conf", "[swift-hash]\nswift_hash_path_suffix = x\nswift_hash_path_prefix = y\n[storage-policy:0]\nname = p0\ndefault = yes\n")
        common = f"[DEFAULT]\nbind_ip = 127.0.0.1\nworkers = 0\nuser = {self.user.pw_name if self.user else os.environ.get('USER', 'nobody')}\nswift_dir = {folder}\n"
        for kind, port in ports.items():
            for words in (("create", "6", "1", "0"), ("add", f"r1z1-127.0.0.1:{port}/d1", "1"), ("rebalance",)):
                self.run("swift-ring-builder", f"{folder}/{kind}.builder", *words)
            self.write(f"{kind}-server.conf", common + f"bind_port = {port}\ndevices = {folder}/srv\nmount_check = false\ndisable_fallocate = true\n"
                       f"recon_cache_path = {folder}/cache\n[pipeline:main]\npipeline = {kind}-server\n[app:{kind}-server]\nuse = egg:swift#{kind}\n")
        filters = ("catch_errors", "proxy-logging", "cache", "listing_formats", "s3api", "tempauth", "bulk", "slo", "dlo", "symlink", "versioned_writes")
        more = {"cache": ("memcache", f"memcache_servers = 127.0.0.1:{memory}\n"), "s3api": ("s3api", "location = us-east-1\ns3_acl = no\nmin_segment_size = 5242880\n"),
                "tempauth": ("tempauth", f"user_test_tester = {self.secret} .admin\n"), "versioned_writes": ("versioned_writes", "allow_object_versioning = true\n"),
                "proxy-logging": ("proxy_logging", "")}
        self.write("proxy-server.conf", common + f"bind_port = {self.port}\n[pipeline:main]\npipeline = {' '.join(filters)} proxy-logging proxy-server\n"
                   "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\nallow_account_management = true\n"
                   + "".join(f"[filter:{f}]\nuse = egg:swift#{more.get(f, (f, ''))[0]}\n{more.get(f, (f, ''))[1]}" for f in filters))
        if self.user:
            self.run("chown", "-R", f"{self.user.pw_uid}:{self.user.pw_gid}", folder)
            self.run("chmod", "755", folder)
        self.begin("memory", "memcached", *(["-u", self.user.pw_name] if self.user else []), "-l", "127.0.0.1", "-p", str(memory), "-m", "64")
        for kind in ports:
            self.begin(kind, f"/usr/bin/swift-{kind}-server", f"{folder}/{kind}-server.conf", who=self.user)
        self.begin("proxy", "/usr/bin/swift-proxy-server", f"{folder}/proxy-server.conf", who=self.user)
        wait_for("Swift answers", 90, self.speaks)

    def write(self, name, text):
        with open(f"{self.folder}/{name}", "w") as f:
            f.write(text)


class Radosgw(Store):
    """One monitor, one store in memory, one gateway; no authentication between them."""
    access = "TESTSTORE"

    def start(self, folder):
        for part in ("mon/a", "osd/0", "mgr/x", "rgw", "run"):
            os.makedirs(f"{folder}/{part}")
        monitor = free_port()
        with open(f"{folder}/ceph.conf", "w") as f:
            f.write(f"""[global]
fsid = {uuid.uuid4()}
mon initial members = a
mon host = v1:127.0.0.1:{monitor}
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
cluster network = 127.0.0.0/8
ms bind ipv4 = true
ms bind ipv6 = false
ms bind msgr2 = false
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 1073741824
osd memory target = 939524096
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail crit = 1
mon data avail warn = 2
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
pid file = {folder}/run/$name.pid
log file = {folder}/$name.log
keyring = {folder}/keyring
mon data = {folder}/mon/a
osd data = {folder}/osd/0
mgr data = {folder}/mgr/x
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{self.port}
rgw enable usage log = false
rgw log nonexistent bucket = false
rgw thread pool size = 32
rgw dynamic resharding = false
rgw enable quota threads = false
""")
        self.env = {**{k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}, "CEPH_CONF": f"{folder}/ceph.conf", "CEPH_ARGS": f"--conf {folder}/ceph.conf"}
        self.tool("ceph-authtool", "--create-keyring", f"{folder}/keyring", "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        self.tool("ceph-authtool", f"{folder}/keyring", "--gen-key", "-n", "client.admin", "--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")
        self.tool("monmaptool", "--create", "--addv", "a", f"[v1:127.0.0.1:{monitor}]", "--fsid", self.setting("fsid"), f"{folder}/monmap")
        self.tool("ceph-mon", "--mkfs", "-i", "a", "--monmap", f"{folder}/monmap", "--keyring", f"{folder}/keyring")
        self.begin("mon", "ceph-mon", "-i", "a", "-f", env=self.env)
        wait_for("the monitor answers", 60, lambda: "health" in self.tool("timeout", "5", "ceph", "-s", check=False))
        self.tool("ceph", "osd", "create")  # without an id of its own: what lies in memory has none
        self.begin_osd()
        self.begin("rgw", "radosgw", "-f", "-n", "client.rgw", env=self.env)
        wait_for("radosgw answers", 120, self.speaks)
        self.tool("radosgw-admin", "user", "create", "--uid=tests", "--display-name=tests", f"--access-key={self.access}", f"--secret-key={self.secret}")

    def begin_osd(self, tries=3):
        """On a loaded machine its first message now and then finds a monitor that does not want it."""
        self.tool("ceph-osd", "-i", "0", "--mkfs")
        self.begin("osd", "ceph-osd", "-i", "0", "-f", env=self.env)
        try:
            wait_for("the store is up", 30, lambda: "1 up" in self.tool("ceph", "osd", "stat", check=False))
        except AssertionError:
            if tries == 1:
                raise
            self.processes[-1].kill()
            self.processes.pop().wait()
            shutil.rmtree(f"{self.folder}/osd/0")
            os.makedirs(f"{self.folder}/osd/0")
            self.begin_osd(tries - 1)

    def setting(self, name):
        with open(f"{self.folder}/ceph.conf") as f:
            return next(line.split("=")[1].strip() for line in f if line.startswith(name))

    def tool(self, *words, **kw):
        return self.run(*words, env=self.env, **kw)
