#!/usr/bin/env python3
"""Jobs that call our own routes: from a work loop, as nobody, with a key's rights, as the process itself."""
import os
import shutil
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from keyrows import KeyStore, text  # noqa: E402
from lab import Lab, executable, wait_for  # noqa: E402

CONFIG = """plugins: [routes-meta, routes-gateway, routes-admin-keys, routes-query, worker-caller]
urls: []
hosts: []
authenticator: []
server:
  plugin_dir: {plugins}
  work_loops: 2
api:
- port: 4052
gateway:
- enforce_api_keys: {enforced}
- logging_client: control
- rate_limit_inbound_raw_sql_per_second: 1
- rate_limit_inbound_raw_sql_burst: 1
postgres_clients:
- app: "{app}"
- control: "{control}"
"""
TABLE = ("create table calls (id int primary key generated always as identity, method text not null default 'POST', url text not null,"
         " body text, client text not null default 'app', as_key text, itself boolean not null default false, status int, answer text)")
FETCH = '{"table_name":"place"}'


def plugins_with_fixtures(folder, *fixtures):
    """A folder of plugins with some of the tests' own."""
    build = os.path.dirname(os.path.realpath(executable()))
    shutil.copytree(f"{build}/plugins/lib", folder)
    for name in fixtures:
        shutil.copy(f"{build}/tests/fixtures/plugins/{name}.so", folder)
    return folder


class Calls(unittest.TestCase):
    enforced, args = "true", ("serve",)

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres()
        cls.pg.run("create database app")
        cls.pg.run("create table place (id int primary key, who text); insert into place values (1, 'app')", "app")
        cls.pg.run("create database control")
        cls.pg.run(TABLE, "control")
        cls.store = KeyStore(cls.pg, "control")
        plugins = plugins_with_fixtures(cls.lab.place("plugins"), "worker-caller")
        cls.server = cls.lab.athena({}, config=CONFIG.format(plugins=plugins, enforced=cls.enforced, app=cls.pg.uri("app"), control=cls.pg.uri("control")),
                                    args=cls.args, wait=cls.args == ("serve",))
        cls.store.wait()

    def ask(self, url="/gateway/fetch", body=FETCH, method="POST", client="app", key=None, itself=False):
        """Status and answer of a call that a job makes."""
        at = self.store.run(f"insert into calls (method, url, body, client, as_key, itself) values ({text(method)}, {text(url)}, {text(body)}, {text(client)},"
                            f" {text(key)}, {itself}) returning id")
        wait_for("the call is answered", 30, lambda: self.store.run(f"select status is not null from calls where id = {at}") == "t")
        status, answer = self.store.run(f"select status, answer from calls where id = {at}").split("|", 1)
        return int(status), answer


class Enforced(Calls):
    def test_nobody_needs_a_key_like_anybody_else(self):
        """A job says nothing of who asks: what anybody may see is answered, what needs a key is refused."""
        status, answer = self.ask("/ping", None, "GET")
        self.assertEqual((status, "pong" in answer), (200, True), answer)
        status, answer = self.ask()
        self.assertEqual((status, "api_key_required" in answer), (401, True), answer)

    def test_the_process_itself_is_an_administrator(self):
        status, answer = self.ask(itself=True)
        self.assertEqual((status, '"who":"app"' in answer), (200, True), answer)
        self.assertEqual(self.ask("/admin/api-keys", None, "GET", itself=True)[0], 200)

    def test_the_process_itself_has_no_key(self):
        status, answer = self.ask(itself=True, key="some")
        self.assertLess(status, 0)
        self.assertIn("by the process itself", answer)

    def test_a_key_has_its_rights_and_no_more(self):
        key = self.store.add("reader", ["gateway.fetch", "place.read"])
        status, answer = self.ask(key=key.public_id)
        self.assertEqual((status, '"who":"app"' in answer), (200, True), answer)
        status, answer = self.ask("/gateway/insert", '{"table_name":"place","insert_body":{"id":9}}', key=key.public_id)
        self.assertEqual((status, "Missing required rights" in answer), (403, True), answer)
        self.assertEqual(self.ask("/admin/api-keys", None, "GET", key=key.public_id)[0], 401, "a key is no administrator")

    def test_a_key_that_nobody_has_is_refused(self):
        status, answer = self.ask(key="0123456789abcdef")
        self.assertEqual((status, "api_key_invalid" in answer), (401, True), answer)
        status, answer = self.ask(key=self.server.env["ATHENA_KEY_12"])
        self.assertEqual((status, "api_key_invalid" in answer), (401, True), "the administrators' key is no public id: " + answer)

    def test_a_secret_is_no_public_id(self):
        key = self.store.add("whole", ["*"])
        self.assertEqual(self.ask(key=str(key))[0], 401)

    def test_a_key_that_is_revoked_or_over_is_refused_as_it_would_be(self):
        key = self.store.add("shut", ["*"])
        self.assertEqual(self.ask(key=key.public_id)[0], 200)
        self.store.change(key, is_active="false")
        wait_for("it is known", 20, lambda: "inactive_api_key" in self.ask(key=key.public_id)[1])
        over = self.store.add("over", ["*"], expires="now() - interval '1 hour'")
        status, answer = self.ask(key=over.public_id)
        self.assertEqual((status, "expired_api_key" in answer), (401, True), answer)

    def test_a_bound_key_is_for_its_client(self):
        key = self.store.add("bound", ["*"], client="control")
        status, answer = self.ask(key=key.public_id)
        self.assertEqual((status, "api_key_client_mismatch" in answer), (403, True), answer)

    def test_lists_of_addresses_do_not_apply(self):
        """The caller is not there when its work is done: where it may ask from was looked at when it asked."""
        key = self.store.add("placed", ["*"], white=["10.1.2.3/32"])
        self.assertEqual(self.ask(key=key.public_id)[0], 200)

    def test_work_of_our_own_spends_no_rate_limits(self):
        key = self.store.add("asks", ["*"])
        for _ in range(4):
            status, answer = self.ask("/gateway/query", '{"query":"select 1 as one"}', key=key.public_id)
            self.assertEqual(status, 200, answer)


class InADaemon(Calls):
    """Nothing listens; the routes of the plugins that the worker needs are there all the same."""
    args = ("daemon",)

    def test_a_key_has_its_rights_and_no_more(self):
        key = self.store.add("reader", ["gateway.fetch", "place.read"])
        status, answer = self.ask(key=key.public_id)
        self.assertEqual((status, '"who":"app"' in answer), (200, True), answer)
        status, answer = self.ask("/gateway/insert", '{"table_name":"place","insert_body":{"id":9}}', key=key.public_id)
        self.assertEqual((status, "Missing required rights" in answer), (403, True), answer)
        self.store.change(key, is_active="false")
        wait_for("it is known", 20, lambda: "inactive_api_key" in self.ask(key=key.public_id)[1])

    def test_nobody_and_the_process_itself(self):
        self.assertEqual(self.ask()[0], 401)
        self.assertEqual(self.ask(itself=True)[0], 200)


class InAWorker(InADaemon):
    args = ("worker", "caller")


class Open(Calls):
    enforced = "false"

    def test_nobody_may_what_is_open(self):
        status, answer = self.ask()
        self.assertEqual((status, '"who":"app"' in answer), (200, True), answer)


del Calls
if __name__ == "__main__":
    unittest.main(verbosity=2)
