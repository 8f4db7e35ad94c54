"""`athena dev`: one command to a running server, its --exec form, what is left after each way to end it."""
import glob
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.lab import executable, free_port, unprivileged, wait_for  # noqa: E402


def processes_in(folder):
    """Processes whose working folder or arguments lie in the folder: their arguments by pid, as everybody can list them."""
    found = {}
    for path in glob.glob("/proc/[0-9]*"):
        try:
            with open(f"{path}/cmdline", "rb") as f:
                words = f.read().decode(errors="replace")
            if (folder in words or os.readlink(f"{path}/cwd").startswith(folder)) and int(path[6:]) != os.getpid():
                found[int(path[6:])] = words
        except OSError:
            pass
    return found


class Dev(unittest.TestCase):
    def setUp(self):
        self.state = tempfile.mkdtemp(prefix="athena-dev-")
        self.running = []

    def tearDown(self):
        for p in self.running:
            if p.poll() is None:
                p.send_signal(signal.SIGTERM)
                p.wait(30)
            p.stdout.close()
        wait_for("nothing is left running", 20, lambda: not processes_in(self.state))
        shutil.rmtree(self.state)

    def command(self, *words):
        return [executable(), "dev", "--state", self.state, *words]

    def exec(self, *words, options=(), **kw):
        return subprocess.run(self.command("--port", "0", *options, "--exec", "--", *words), text=True, timeout=120,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, **kw)

    def start(self, *words):
        """In the foreground of its own, until it has said where it is."""
        p = subprocess.Popen(self.command(*(words or ("--port", "0"))), text=True, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                             preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))  # whoever runs us may ignore it
        self.running.append(p)
        said = ""
        for line in p.stdout:
            said += line
            if '"orders"' in line:
                return p, said
        self.fail(f"ended with {p.wait()}: {said}")

    def postmaster(self):
        with open(f"{self.state}/pg/data/postmaster.pid") as f:
            return int(f.readline())

    def test_a_command_runs_against_it(self):
        done = self.exec("python3", "-c", "import os, subprocess, urllib.request as u; e = os.environ\n"
                         "print(u.urlopen(e['ATHENA_URL'] + '/ping').read().decode(), e['MINE'], e['ATHENA_ADMIN_KEY'], e['ATHENA_KEY'])\n"
                         "q = u.Request(e['ATHENA_URL'] + '/gateway/fetch', b'{\"table_name\":\"products\",\"limit\":2}',\n"
                         "  {'X-Athena-Client': e['ATHENA_CLIENT'], 'X-Athena-Key': e['ATHENA_KEY'], 'Content-Type': 'application/json'})\n"
                         "print(u.urlopen(q).read().decode()); raise SystemExit(7)", env={**os.environ, "MINE": "yes"})
        self.assertEqual(done.returncode, 7, done.stderr)
        first, rows = done.stdout.splitlines()  # nothing but what the command says
        self.assertRegex(first, r"^pong yes dev_[0-9a-f]{40} ath_[0-9a-f]{16}\.[0-9a-f]{64}$")
        self.assertEqual([r["sku"] for r in json.loads(rows)["data"]], ["SKU-00001", "SKU-00002"])
        self.assertEqual(processes_in(self.state), {})
        for name in ("admin.key", "api.key", "config.yaml", "server.log", "postgres.log"):
            self.assertEqual(stat.S_IMODE(os.stat(f"{self.state}/{name}").st_mode), 0o600, name)

        again = self.exec("sh", "-c", 'echo "$ATHENA_ADMIN_KEY $ATHENA_KEY"; psql -XAt "$DATABASE_URL" -c "select count(*) from order_items"; kill -9 $$')
        self.assertEqual(again.returncode, 128 + 9)
        self.assertEqual(again.stdout.splitlines(), [first.removeprefix("pong yes "), "15000"])  # the same keys, the data once

        fresh = self.exec("sh", "-c", 'echo "$ATHENA_KEY"', options=["--fresh"])
        self.assertEqual(fresh.returncode, 0, fresh.stderr)
        self.assertNotEqual(fresh.stdout.strip(), first.split()[3])

    def test_its_key_has_every_right_to_data_and_is_not_the_administrators(self):
        ask = ('curl -s -o /dev/null -w "%{http_code} " -X "$1" "$ATHENA_URL$2" -H "x-athena-client: demo" -H "x-athena-key: $ATHENA_KEY" '
               '-H "content-type: application/json" -d "$3"; shift 3')
        calls = [("POST", "/gateway/fetch", '{"table_name":"products","limit":1}', 200), ("POST", "/gateway/query", '{"query":"select 1"}', 200),
                 ("PUT", "/gateway/insert", '{"table_name":"customers","insert_body":{"name":"K","email":"k@x","country":"NO"}}', 200),
                 ("DELETE", "/rest/v1/customers?email=eq.k@x", "", 200), ("GET", "/rest/v1/products?limit=1", "", 200), ("GET", "/clients", "", 200),
                 ("GET", "/admin/api-keys", "", 401)]
        done = self.exec("sh", "-c", "; ".join([ask] * len(calls)), "sh", *[w for call in calls for w in call[:3]])
        self.assertEqual(done.stdout.split(), [str(call[3]) for call in calls], done.stdout)

    def test_it_runs_the_workers_that_want_a_process_of_their_own_too(self):
        done = self.exec("python3", "-c", "import json, os, time, urllib.request as u; e = os.environ\n"
                         "q = u.Request(e['ATHENA_URL'] + '/admin/daemons', None, {'X-Athena-Key': e['ATHENA_ADMIN_KEY']})\n"
                         "names = lambda: [w for d in json.loads(u.urlopen(q).read())['data']['daemons'] for w in d['workers']]\n"
                         "end = time.time() + 30\n"
                         "while time.time() < end and 'client_pressure_worker' not in names(): time.sleep(0.2)\n"
                         "print(names().count('client_pressure_worker'))")
        self.assertEqual((done.returncode, done.stdout.strip()), (0, "1"), done.stderr)

    def test_idempotency_keys_work_in_it(self):
        done = self.exec("sh", "-c", 'for i in 1 2; do curl -sf -D - "$ATHENA_URL/gateway/insert" -H "x-athena-client: demo" '
                         '-H "x-athena-key: $ATHENA_KEY" -H "idempotency-key: a" -d \'{"table_name":"customers","insert_body":'
                         '{"name":"N","email":"n@x","country":"NO"}}\'; done')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.count("idempotency-replayed: true"), 1, done.stdout)

    def test_it_says_where_it_is_and_stops_when_told(self):
        p, said = self.start()
        url = re.search(r"runs at (http://127\.0\.0\.1:\d+) ", said).group(1)
        self.assertEqual(len(re.findall(r"^    curl ", said, re.M)), 3)
        keys = [re.search(form, said).group(0) for form in (r"dev_[0-9a-f]{40}", r"ath_[0-9a-f]{16}\.[0-9a-f]{64}")]
        curl = subprocess.run(["sh", "-c", said[said.index("    curl", said.index("/health")):]], text=True, stdout=subprocess.PIPE)
        answers = [json.loads(a) for a in re.findall(r"\{.*?\"success\"\}", curl.stdout)]
        self.assertEqual([len(a["data"]) for a in answers], [3, 3], curl.stdout)
        self.assertIn(url, said)
        listed = processes_in(self.state)
        self.assertGreaterEqual(len(listed), 3, listed)  # itself, PostgreSQL, the server
        self.assertEqual([w for w in listed.values() if any(key in w for key in keys)], [])

        second = self.exec("true")
        self.assertEqual(second.returncode, 1)
        self.assertIn(f"in use by athena dev, process {p.pid}", second.stderr)

        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(30), 0)
        self.assertEqual(processes_in(self.state), {})

    def test_what_a_kill_leaves_is_healed(self):
        p, _ = self.start()
        postmaster = self.postmaster()
        os.kill(postmaster, signal.SIGSTOP)  # it learns of the end late: an orphan
        p.kill()
        p.wait()
        os.kill(postmaster, signal.SIGCONT)
        done = self.exec("sh", "-c", 'psql -XAt "$DATABASE_URL" -c "select count(*) from orders"')
        self.assertEqual((done.returncode, done.stdout), (0, "6000\n"), done.stderr)

        p, _ = self.start()
        os.kill(self.postmaster(), signal.SIGKILL)  # both at once: a stale postmaster.pid
        p.kill()
        p.wait()
        self.assertTrue(os.path.exists(f"{self.state}/pg/data/postmaster.pid"))
        done = self.exec("sh", "-c", 'psql -XAt "$DATABASE_URL" -c "select count(*) from orders"')
        self.assertEqual((done.returncode, done.stdout), (0, "6000\n"), done.stderr)

        shutil.move(f"{self.state}/pg/data", f"{self.state}/pg/data.new")  # an initdb that was interrupted
        os.remove(f"{self.state}/pg/data.new/postgresql.conf")
        done = self.exec("sh", "-c", 'psql -XAt "$DATABASE_URL" -c "select count(*) from orders"')
        self.assertEqual((done.returncode, done.stdout), (0, "6000\n"), done.stderr)
        self.assertFalse(os.path.exists(f"{self.state}/pg/data.new"))

    def test_a_kill_and_a_closed_terminal_leave_nothing_running(self):
        for sig in (signal.SIGKILL, signal.SIGHUP):
            p, _ = self.start()
            p.send_signal(sig)
            self.assertEqual(p.wait(30), -sig)
            wait_for("PostgreSQL and the server end, too", 20, lambda: not processes_in(self.state))
        done = self.exec("true")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_an_interrupt_at_any_time(self):
        for seconds in (0.1, 0.15, 0.2, 0.25, 0.3, 0.6, 1.5):  # before the cluster is made, meanwhile, while it starts, ...
            p = subprocess.Popen(self.command("--port", "0", "--exec", "--", "sleep", "100"), stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
            self.running.append(p)
            time.sleep(seconds)
            p.send_signal(signal.SIGINT)
            p.wait(30)
            self.assertNotIn(b"grace time", p.stdout.read(), seconds)
            self.assertEqual(processes_in(self.state), {}, seconds)
        p = subprocess.Popen(self.command("--port", "0", "--exec", "--", "sh", "-c", "echo runs; exec sleep 100"), text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.addCleanup(p.stderr.close)
        self.running.append(p)
        self.assertEqual(p.stdout.readline(), "runs\n")
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(30), 130)
        self.assertEqual(processes_in(self.state), {})

    @unittest.skipUnless(unprivileged(), "only root can become somebody else, and only a user that there is")
    def test_without_privileges_from_an_installation(self):
        user = unprivileged()
        home, dest = f"{self.state}/home", f"{self.state}/dest"
        os.chmod(self.state, 0o755)
        os.mkdir(home)
        os.chown(home, user.pw_uid, user.pw_gid)
        subprocess.run(["cmake", "--install", os.path.dirname(executable())], env={**os.environ, "DESTDIR": dest}, check=True,
                       stdout=subprocess.DEVNULL)
        exe = next(f"{path}/athena" for path, _, files in os.walk(dest) if path.endswith("/sbin") and "athena" in files)
        env = {"PATH": os.environ["PATH"], "HOME": home, **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}}
        done = subprocess.run([exe, "dev", "--port", "0", "--exec", "--", "sh", "-c", 'id -un; psql -XAt "$DATABASE_URL" -c "select 1"; '
                               'curl -s "$ATHENA_URL/ping"'], user=user.pw_uid, group=user.pw_gid, extra_groups=[], env=env, cwd="/",
                              text=True, timeout=120, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual((done.returncode, done.stdout.split()), (0, [user.pw_name, "1", "pong"]), done.stderr)
        self.assertEqual(os.stat(f"{home}/.local/state/athena/dev/admin.key").st_uid, user.pw_uid)

    def test_a_part_that_dies_ends_it_with_its_words(self):
        p, _ = self.start()
        os.kill(self.postmaster(), signal.SIGQUIT)
        said = p.stdout.read()
        self.assertEqual(p.wait(30), 1)
        self.assertIn("PostgreSQL ended with status", said)

    def test_refusals(self):
        port = str(free_port())
        self.start("--port", port)
        other = tempfile.mkdtemp(prefix="athena-dev-")
        try:
            for words, status, text in (
                    (["--port", port], 1, f"port {port} is in use; --port 0 picks a free one"),
                    (["--exec"], 1, "--exec needs a command"),
                    (["--", "true"], 1, "a command needs --exec"),
                    (["--port", "0", "--exec", "--", "no-such-program-here"], 127, "could not find program")):
                done = subprocess.run([executable(), "dev", "--state", other, *words], text=True, timeout=120,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertIn(text, done.stderr)
            deep = other + "/" + "x" * 90
            done = subprocess.run([executable(), "dev", "--state", deep], text=True, stderr=subprocess.PIPE)
            self.assertIn("too long for a socket", done.stderr)
            done = subprocess.run([executable(), "dev", "--state", other], text=True, stderr=subprocess.PIPE,
                                  env={**os.environ, "ATHENA_DEV_PG_BIN": "/nowhere"})
            self.assertIn("/nowhere", done.stderr)
            self.assertEqual(done.returncode, 1)
        finally:
            wait_for("nothing is left running", 20, lambda: not processes_in(other))
            shutil.rmtree(other)


if __name__ == "__main__":
    unittest.main()
