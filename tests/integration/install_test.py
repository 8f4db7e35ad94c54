#!/usr/bin/env python3
"""`cmake --install` into an empty folder, and the manual's first plugin, built against what is there and loaded by it."""
import os
import re
import shutil
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import Lab, executable, wait_for  # noqa: E402

CMAKE = """cmake_minimum_required(VERSION 3.25)
project(hello LANGUAGES C)
find_package(Athena 0.1 REQUIRED)
athena_add_plugin(routes-hello SOURCES hello.c)
athena_embed(routes-hello hello.txt hello_text)
install(TARGETS routes-hello DESTINATION ${ATHENA_PLUGIN_DIR})
"""


def run(*words, **env):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                          env={**os.environ, **env}, cwd="/")
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout[-6000:]}")
    return done.stdout


def cached(name):
    """A variable of the build that is tested."""
    with open(f"{os.path.dirname(executable())}/CMakeCache.txt") as f:
        return re.search(rf"^{name}:[A-Z]+=(.*)$", f.read(), re.M).group(1)


class InstallTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)  # also when what follows fails
        cls.dest = cls.lab.place("dest")
        run("cmake", "--install", os.path.dirname(executable()), DESTDIR=cls.dest)
        cls.prefix = cls.dest + cached("CMAKE_INSTALL_PREFIX")
        cls.libs = run("pkg-config", "--variable=libdir", "athena", **cls.pkg_config()).strip()
        cls.libs = cls.libs if cls.libs.startswith(cls.dest) else cls.dest + cls.libs
        cls.plugins = f"{cls.libs}/athena/plugins/1"
        with open(f"{ROOT}/README.md") as f:
            cls.hello = re.search(r"^```c\n(.*?)^```", f.read(), re.M | re.S).group(1)

    @classmethod
    def pkg_config(cls):
        found = [folder for folder, _, files in os.walk(cls.prefix) if "athena.pc" in files]
        return {"PKG_CONFIG_PATH": ":".join(found), "PKG_CONFIG_SYSROOT_DIR": cls.dest}

    def serve(self, plugins, more="", name="athena"):
        config = f"plugins: [{', '.join(plugins)}]\nserver:\n  allow_start_without_postgres: true\n{more}"
        return self.lab.athena({}, config=config, exe=f"{self.prefix}/sbin/{name}", args=(), wait=False)

    def says_hello(self, server):
        def up():
            if server.process.poll() is not None:
                raise AssertionError(f"athena ended with {server.process.returncode}:\n{server.said()}")
            try:
                return server.get("/hello").body == "hello\n"
            except OSError:
                return False
        wait_for("GET /hello", 20, up)
        self.assertEqual(server.get("/hello").headers["content-type"], "text/plain; charset=utf-8")

    def test_what_is_installed_where(self):
        workers = ("daemon", "clone-worker", "backup-worker", "deferred-query-worker", "typesense-worker", "client-pressure-worker", "daemon-legacy-workers")
        for name in ("athena", "athena_rs", "athena-server", "athena-cli", *(f"athena-{w}" for w in workers), *(f"athena_{w}".replace("-", "_") for w in workers)):
            self.assertIn("athena 0.", run(f"{self.prefix}/sbin/{name}", "--version"))
        listed = run(f"{self.prefix}/sbin/athena", "plugins")
        self.assertIn(f"folder: {self.plugins}\n", listed)  # wherever the whole of it lies
        for plugin in ("routes-meta", "routes-gateway", "routes-query", "routes-rest", "routes-public", "sink-file", "sink-stdout", "driver-embedded-postgres"):
            self.assertRegex(listed, rf"(?m)^{plugin} ")
        examples = f"{self.prefix}/share/doc/athena/examples"
        said = run(f"{self.prefix}/sbin/athena", "check-config", "--config", f"{examples}/config.yaml",
                   POSTGRES_APP_URI="postgres://app@db.internal/app")
        self.assertRegex(said, rf"^{re.escape(examples)}/config.yaml: configuration accepted, [0-9]+ plugins, 1 clients\n$")
        for path, _, files in os.walk(self.dest):
            for file in files:  # nothing of the machine that built it
                if file.endswith((".pc", ".cmake", ".h", ".yaml")):
                    with open(f"{path}/{file}") as f:
                        self.assertNotIn(ROOT, f.read(), file)

    def test_the_first_plugin_of_the_manual(self):
        folder = self.lab.place("hello")
        os.makedirs(folder)
        with open(f"{folder}/hello.c", "w") as f:
            f.write(self.hello)
        flags = run("pkg-config", "--cflags", "athena", **self.pkg_config()).split()
        self.assertIn(f"-I{self.prefix}/include", flags)
        run("cc", "-std=c17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-shared", "-fPIC", *flags,
            "-o", f"{folder}/routes-hello.so", f"{folder}/hello.c")

        alone = self.serve(["routes-hello"], f"  plugin_dir: {folder}\n", "athena-server")  # a folder of its own
        self.says_hello(alone)
        self.assertEqual(alone.get("/ping").status, 404)
        self.assertEqual(alone.stop(), 0)

        shutil.copy(f"{folder}/routes-hello.so", self.plugins)  # beside the others
        try:
            self.assertRegex(run(f"{self.prefix}/sbin/athena", "plugins"), r"(?m)^routes-hello .*Says hello$")
            together = self.serve(["routes-meta", "routes-hello"])
            self.says_hello(together)
            self.assertEqual(together.get("/ping").status, 200)
            self.assertEqual(together.stop(), 0)
        finally:
            os.remove(f"{self.plugins}/routes-hello.so")

    def test_a_plugin_of_a_cmake_project(self):
        folder = self.lab.place("project")
        os.makedirs(folder)
        hello = '#include "lib/buf.h"\nextern const char hello_text[];\n' + self.hello.replace(
            'ATH_S("hello\\n")', "str_trim(str_of(hello_text))")
        self.assertIn("hello_text))", hello)
        for name, text in (("CMakeLists.txt", CMAKE), ("hello.c", hello), ("hello.txt", "hello from a file\n")):
            with open(f"{folder}/{name}", "w") as f:
                f.write(text)
        run("cmake", "-G", "Ninja", "-S", folder, "-B", f"{folder}/build", f"-DCMAKE_PREFIX_PATH={self.prefix}",
            f"-DCMAKE_INSTALL_PREFIX={folder}/there", f"-DATHENA_SANITIZE={cached('ATHENA_SANITIZE')}")
        run("cmake", "--build", f"{folder}/build")
        run("cmake", "--install", f"{folder}/build")
        found = [path for path, _, files in os.walk(f"{folder}/there") if "routes-hello.so" in files]
        server = self.serve(["routes-hello"], f"  plugin_dir: {found[0]}\n")
        wait_for("GET /hello", 20, lambda: server.process.poll() is None and self.answers(server))
        self.assertEqual(server.get("/hello").body, "hello from a file")

    @staticmethod
    def answers(server):
        try:
            return server.get("/hello").status == 200
        except OSError:
            return False


if __name__ == "__main__":
    unittest.main(verbosity=2)
