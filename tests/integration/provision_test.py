#!/usr/bin/env python3
"""Databases of tenants: the schema, all of it or nothing; databases made beside others, registered, and undone when a later step fails; what a
client's own key may do; `athena provision`."""
import json
import os
import socket
import subprocess
import sys
import threading
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from keyrows import KeyStore  # noqa: E402
from lab import ADMIN_KEY, Lab, executable, free_port, wait_for  # noqa: E402

ADMIN = {"x-athena-key": ADMIN_KEY}
JSON = {**ADMIN, "content-type": "application/json"}
TABLES = 43
PASSWORD = "p@ss:w/rd"  # percent-encoded in URIs
CONFIG = """plugins: [routes-meta, routes-gateway, routes-query, routes-admin-clients, routes-provision, sink-file]
urls: []
hosts: []
authenticator: []
api:
- port: 4052
gateway:
- enforce_api_keys: true
- unenforced_scope: data
- logging_client: control
- auth_client: control
postgres_clients:
"""
LOCAL = "/admin/provision/local/databases"
OWN = "/management/provision/local/databases"


def setUpModule():
    """One PostgreSQL and one server for all that can share them."""
    Case.lab = Lab()
    unittest.addModuleCleanup(Case.lab.__exit__)
    Case.pg = Case.lab.postgres(tcp=True)
    for name in ("control", "app", "two"):
        Case.pg.run(f"create database {name}")
    Case.pg.run("create role maker login createdb password 'p@ss:w/rd'; create role weak login; create role other; create role secret login superuser password 'hidden'")
    Case.server = Case.start()


class Case(unittest.TestCase):
    maxDiff = None
    number = 0

    @classmethod
    def start(cls, **kw):
        clients = {"control": cls.pg.tcp_uri("control"), "app": cls.pg.tcp_uri("app"), "two": cls.pg.tcp_uri("two"),
                   "weak": cls.pg.tcp_uri("app", "weak"), "down": f"postgres://nobody@127.0.0.1:{free_port()}/x",
                   "maker": f"postgres://maker:p%40ss%3Aw%2Frd@127.0.0.1:{cls.pg.port}/app?application_name=x&dbname=app", **kw.pop("clients", {})}
        config = CONFIG + "".join(f"- {n}: \"{u}\"\n" for n, u in clients.items())
        server = cls.lab.athena({}, config=config, env={"ATHENA_ENABLE_ADMIN_PROVISION_ROUTES": "true", **kw.pop("env", {})}, **kw)
        wait_for("the tables are there", 60, lambda: cls.ask("select to_regclass('athena_clients') is not null and to_regclass('api_key_ip_whitelist') is not null") == "t")
        wait_for("the catalogue is written", 30, lambda: int(cls.ask("select count(*) from athena_clients")) >= len(clients))
        wait_for("the clients are connected", 20, lambda: server.get("/ready").json["clients"]["connected"] >= 4)
        return server

    @classmethod
    def ask(cls, sql, database="control"):
        return cls.pg.run(sql, database).strip()

    def fresh(self):
        """A database of its own for a test."""
        name = self.name("fresh")
        self.pg.run(f"create database {name}")
        return name

    def name(self, word="made"):
        Case.number += 1
        return f"{word}_{Case.number}"

    def send(self, method, path, body=None, headers=JSON, server=None):
        return (server or self.server).request(method, path, body, headers, timeout=60)

    def get(self, path, **kw):
        return self.send("GET", path, headers=ADMIN, **kw)

    def create(self, **body):
        return self.send("POST", LOCAL, {"client_name": "app", **body})

    def refused(self, answer, status, message, error=None):
        self.assertEqual((answer.status, answer.json["message"]), (status, message), answer.body)
        if error is not None:
            self.assertEqual(answer.json["error"], error)

    def there(self, name):
        return self.ask(f"select count(*) from pg_database where datname = '{name}'") == "1"

    def tables(self, database):
        return int(self.ask("select count(*) from pg_tables where schemaname in ('athena', 'billing')", database))

    def row(self, name, columns="source, is_active, is_frozen"):
        return self.ask(f"select {columns} from athena_clients where client_name = '{name}' and deleted_at is null")

    def serves(self, client):
        return self.send("POST", "/gateway/query", {"query": "select current_database() as db"}, {**JSON, "x-athena-client": client})


class Schema(Case):
    @classmethod
    def setUpClass(cls):
        """What takes its ten seconds goes on meanwhile: a server that takes connections and says nothing."""
        cls.silent = socket.create_server(("127.0.0.1", 0))
        cls.addClassCleanup(cls.silent.close)
        cls.unanswered = []
        cls.asking = threading.Thread(target=cls.ask_silent)
        cls.asking.start()
        cls.addClassCleanup(cls.asking.join)

    @classmethod
    def ask_silent(cls):
        cls.unanswered.append(cls.server.request("POST", "/admin/provision", {"uri": f"postgres://u@127.0.0.1:{cls.silent.getsockname()[1]}/x"}, JSON, timeout=60))

    def test_p6_a_server_that_says_nothing(self):
        self.asking.join(40)
        self.refused(self.unanswered[0], 500, "Provisioning failed")
        self.assertTrue(self.unanswered[0].json["error"].startswith("failed to connect to Postgres: "), self.unanswered[0].body)

    def test_p5_d32_the_whole_schema_on_a_new_database_and_again(self):
        database = self.fresh()
        for _ in range(2):
            answer = self.send("POST", "/admin/provision", {"uri": self.pg.tcp_uri(database)})
            self.assertEqual(answer.status, 200, answer.body)
            data = answer.json["data"]
            self.assertEqual(answer.json["message"], f"Provisioned {data['statements_executed']} statements")
            self.assertEqual((data["client"], data["registered"]), ("direct", None))
            self.assertEqual((len(data["tables"]), self.tables(database)), (TABLES, TABLES))
        with open(f"{ROOT}/plugins/shared/provision/tenant.sql") as f:
            self.assertEqual(data["statements_executed"], f.read().count(";\n"))
        self.assertEqual(self.ask("select count(*) from pg_attribute where attrelid = 'athena.audit_log'::regclass and attname = 'table'", database), "1")
        self.assertEqual(self.ask("select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace where nspname in ('athena', 'billing') and relkind = 'r' "
                                  "and not exists (select from pg_constraint where conrelid = c.oid and contype = 'p')", database), "0", "every table has a key (D32)")

    def test_p5_a_failure_leaves_nothing(self):
        database = self.fresh()
        self.pg.run("create schema athena; create table athena.users (id text primary key, created_at text); create view athena.sessions as select 1 as id", database)
        answer = self.send("POST", "/admin/provision", {"uri": self.pg.tcp_uri(database)})
        self.refused(answer, 500, "Provisioning failed")
        self.assertRegex(answer.json["error"], r"^statement \d+/\d+ failed: CREATE TABLE IF NOT EXISTS athena\.sessions \((.|\n){60,}… — ")
        self.assertEqual(self.tables(database), 1)
        self.assertEqual(self.ask("select count(*) from pg_namespace where nspname = 'billing'", database), "0")
        self.assertEqual(self.ask("select count(*) from pg_attribute where attrelid = 'athena.users'::regclass and attnum > 0", database), "2")

    def test_c22_p5_a_database_that_was_a_client_of_the_published_server(self):
        """Chats and a reduced athena.files are there, with rows; and the eighteen tables of its own script, without keys."""
        database = self.fresh()
        self.pg.run("""create extension pgcrypto; create schema athena; create schema billing;
            create table athena.files (id text primary key); insert into athena.files values ('f1');
            create table athena.chat_rooms (id text primary key, name text not null); insert into athena.chat_rooms values ('r1', 'one');
            create table athena.chat_messages (id text primary key, room_id text not null, body text); insert into athena.chat_messages values ('m1', 'r1', 'hello');
            create table athena.s3_credentials (id uuid not null, s3_id uuid not null, secret_key text not null);
            create table athena.users (id text not null, email text); insert into athena.users values ('u', 'same'), ('u', 'same');""", database)
        answer = self.send("POST", "/admin/provision", {"uri": self.pg.tcp_uri(database)})
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(self.tables(database), TABLES)
        self.assertEqual(self.ask("select visibility, organization_id is null from athena.files where id = 'f1'", database), "private|t")
        self.assertEqual(self.ask("select body, message_type from athena.chat_messages", database), "hello|text")
        self.assertEqual(self.ask("select count(*) from pg_indexes where indexname = 'athena_files_organization_resource_created_idx'", database), "1")
        self.assertEqual(self.ask("select count(*), count(distinct role) from athena.users", database), "2|0")

    def test_p5_two_at_once_wait_for_each_other(self):
        database, answers = self.fresh(), []
        threads = [threading.Thread(target=lambda: answers.append(self.send("POST", "/admin/provision", {"uri": self.pg.tcp_uri(database)}).status)) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(answers, [200] * 4)

    def test_of_a_client_by_its_name(self):
        answer = self.send("POST", "/admin/provision", {"client_name": "two", "register": True, "register_name": "ignored"})
        self.assertEqual((answer.status, answer.json["data"]["client"], answer.json["data"]["registered"]), (200, "two", None), answer.body)
        self.assertEqual(self.row("ignored"), "")

    def test_what_is_refused(self):
        p = "/admin/provision"
        self.assertEqual(self.send("POST", p, b"{", {"content-type": "application/json"}).status, 401, "the key comes first")
        self.assertEqual(self.send("POST", p, b"{").status, 400)
        self.refused(self.send("POST", p, {}), 400, "Missing target", "Provide either 'uri' (direct Postgres URI) or 'client_name' (registered client).")
        self.refused(self.send("POST", p, {"uri": "postgres://x/y", "client_name": "app"}), 400, "Ambiguous target", "Provide either 'uri' or 'client_name', not both.")
        self.refused(self.send("POST", p, {"client_name": "nobody"}), 400, "Unknown client", "No Postgres client named 'nobody' is registered.")
        for uri in (f"postgres://u:{PASSWORD[-3:]}@127.0.0.1:{free_port()}/x", "mysql://x", self.pg.tcp_uri("nowhere")):
            answer = self.send("POST", p, {"uri": uri, "register": True, "register_name": "never"})
            self.refused(answer, 500, "Provisioning failed")
            self.assertTrue(answer.json["error"].startswith("failed to connect to Postgres: "), answer.body)
        self.assertEqual(self.row("never"), "")

    def test_p8_register_writes_the_row_and_serves_at_once(self):
        database = self.fresh()
        answer = self.send("POST", "/admin/provision", {"uri": self.pg.tcp_uri(database), "register": True, "register_name": "Plain Two"})
        self.assertEqual((answer.status, answer.json["data"]["registered"], answer.json["data"]["client"]), (200, "Plain Two", "Plain Two"), answer.body)
        self.assertNotIn("warning", answer.json["data"])
        self.assertEqual(self.row("Plain Two", "source, is_active, is_frozen, description, metadata, pg_uri, last_seen_at is not null"),
                         f'database|t|f|Provisioned via API|{{"managed_by": "provision_api"}}|{self.pg.tcp_uri(database).replace("postgres:", "postgresql:")}|t')
        self.assertEqual(self.serves("plain two").json["data"], [{"db": database}])

    def test_p8_a_registration_that_fails_is_no_registration(self):
        database = self.fresh()
        self.pg.run("alter table athena_clients add constraint nobody_new check (client_name <> 'refused')", "control")
        answer = self.send("POST", "/admin/provision", {"uri": self.pg.tcp_uri(database), "register": True, "register_name": "refused"})
        self.pg.run("alter table athena_clients drop constraint nobody_new", "control")
        self.assertEqual((answer.status, answer.json["data"]["registered"], answer.json["data"]["client"]), (200, None, "direct"), answer.body)
        self.assertIn("the client was not registered", answer.json["data"]["warning"])
        self.assertEqual(self.tables(database), TABLES)

    def test_p1_reserved_names_are_refused_before_anything_is_done(self):
        database = self.fresh()
        answer = self.send("POST", "/admin/provision", {"uri": self.pg.tcp_uri(database), "register": True, "register_name": "Control"})
        self.assertEqual((answer.status, answer.code), (409, "client_reserved"), answer.body)
        self.assertEqual(self.tables(database), 0)

    def test_p6_a_request_ends_and_its_work_goes_on(self):
        server = self.start(env={"ATHENA_ROUTES_PROVISION_ROUTE_TIMEOUT": "1s"})
        database = self.fresh()
        self.pg.run("create schema athena; create table athena.files (id text primary key)", database)
        locker = subprocess.Popen(["psql", "-X", "-q", "-h", self.pg.folder, "-p", str(self.pg.port), "-U", "postgres", "-d", database], stdin=subprocess.PIPE, text=True)
        locker.stdin.write("begin; lock table athena.files;\n")
        locker.stdin.flush()
        wait_for("the table is locked", 20, lambda: self.ask("select count(*) from pg_locks where mode = 'AccessExclusiveLock' and relation = 'athena.files'::regclass", database) == "1")
        answer = self.send("POST", "/admin/provision", {"uri": self.pg.tcp_uri(database)}, server=server)
        self.assertEqual((answer.status, answer.code), (504, "provisioning_late"), answer.body)
        again = self.send("POST", "/admin/provision", {"uri": self.pg.tcp_uri(database)}, {**JSON, "prefer": "respond-async"}, server=server)
        self.assertEqual((again.status, again.headers.get("preference-applied"), again.json["data"]), (202, "respond-async", {"accepted": True}))
        locker.communicate("rollback;\n")
        wait_for("the schema is there", 30, lambda: self.tables(database) == TABLES)
        server.stop()


class Status(Case):
    def test_p4_a_provisioned_tenant_is_provisioned(self):
        database = self.fresh()
        self.send("POST", "/admin/provision", {"uri": self.pg.tcp_uri(database), "register": True, "register_name": database})
        answer = self.get(f"/admin/provision/status?client_name={database}")
        self.assertEqual(answer.json["message"], f"Provisioning status for '{database}'")
        self.assertEqual(answer.json["data"], {"client_name": database, "requested_client_name": database, "provisioned": True,
                                               "present_tables": answer.json["data"]["present_tables"], "missing_tables": []})
        self.assertEqual(len(answer.json["data"]["present_tables"]), TABLES)
        self.pg.run("drop table athena.users; create table users (id int)", database)
        data = self.get(f"/admin/provision/status?client_name={database}").json["data"]
        self.assertEqual((data["provisioned"], data["missing_tables"]), (False, ["athena.users"]), "a table of another schema is another table")

    def test_p14_the_configured_list(self):
        server = self.start(env={"ATHENA_PROVISIONING_EXPECTED_TABLES": " products, sales.notes ,, missing_one"})
        self.pg.run("create table if not exists products (id int); create schema if not exists sales; create table if not exists sales.notes (id int)", "app")
        data = self.get("/admin/provision/status?client_name=app", server=server).json["data"]
        self.assertEqual((data["present_tables"], data["missing_tables"], data["provisioned"]), (["products", "sales.notes"], ["missing_one"], False))
        server.stop()

    def test_what_is_refused(self):
        p = "/admin/provision/status"
        for query in ("", "?client_name=", "?client_name=%20"):
            self.refused(self.get(p + query), 400, "Missing required field", "'client_name' must not be empty.")
        for name in ("nobody", "down"):
            self.refused(self.get(f"{p}?client_name={name}"), 503, "Client unavailable", f"Postgres client '{name}' is registered but could not be reconnected.")
        self.assertEqual(self.send("GET", p, headers={}).status, 401)


class Databases(Case):
    def test_a_database_its_schema_and_its_client(self):
        name = self.name()
        answer = self.create(database_name=f" {name.upper()} ", register_name="Tenant A", description="first")
        self.assertEqual(answer.status, 201, answer.body)
        uri = self.pg.tcp_uri(name).replace("postgres:", "postgresql:")
        data = answer.json["data"]
        self.assertEqual(data, {"server_client_name": "app", "database_name": name.upper(), "created_database_name": name, "database_uri": uri, "catalog_pg_uri": uri,
                                "catalog_public_proxy": None, "catalog_public_proxy_dns": None,
                                "pipeline": {"provision_schema": True, "statements_executed": data["pipeline"]["statements_executed"], "register_runtime": True,
                                             "register_catalog": True, "register_name": "Tenant A"}})
        self.assertEqual((self.tables(name), self.serves("tenant a").json["data"]), (TABLES, [{"db": name}]))
        self.assertEqual(json.loads(self.row("Tenant A", "metadata")), {
            "managed_by": "provision_api", "provider": "local_cluster", "cluster_name": "athena-cluster", "cluster_domain": "athena-cluster.com",
            "database_engine": "postgresql", "server_client_name": "app", "database_name": name, "instance": {"database_name": name, "database_engine": "postgresql"},
            "create_options": {"owner": None, "template": None, "tablespace": None, "encoding": None, "lc_collate": None, "lc_ctype": None}})
        self.assertEqual(self.row("Tenant A", "description, source"), "first|database")
        self.assertEqual(self.ask(f"select shobj_description(oid, 'pg_database') is null from pg_database where datname = '{name}'"), "t", "no mark is left")
        listed = self.get(f"{LOCAL}?client_name=app").json["data"]
        self.assertIn({"client_name": "Tenant A", "database_name": name, "source": "database", "is_active": True, "is_frozen": False}, listed["athena_managed_databases"])
        self.assertIn(name, listed["all_databases"])

    def test_options(self):
        name = self.name()
        answer = self.create(database_name=name, owner="Other", template="template0", encoding="UTF8", lc_collate="C", lc_ctype="C", tablespace="pg_default",
                             provision_schema=False, register_runtime=False, register_catalog=False)
        self.assertEqual((answer.status, answer.json["data"]["pipeline"]["statements_executed"]), (201, None), answer.body)
        self.assertEqual(self.ask(f"select pg_get_userbyid(datdba), datcollate from pg_database where datname = '{name}'"), "other|C")
        self.assertEqual((self.row(name), self.serves(name).status), ("", 400))

    def test_what_is_refused(self):
        failed = "Failed to create local cluster database"
        for body, error in (({"database_name": "a-b"}, "'database_name' may contain only ASCII letters, numbers, and '_'"),
                            ({"database_name": 'a"b'}, "'database_name' may contain only ASCII letters, numbers, and '_'"),
                            ({"database_name": " "}, "'database_name' must not be empty"),
                            ({"database_name": "a" * 64}, "'database_name' exceeds PostgreSQL identifier length limit (63)"),
                            ({"database_name": "never", "owner": ""}, "advanced option values must not be empty strings"),
                            ({"database_name": "never", "encoding": " "}, "advanced option values must not be empty strings"),
                            ({"database_name": "never", "owner": "a;b"}, "'owner' may contain only ASCII letters, numbers, and '_'")):
            self.refused(self.create(**body), 400, failed, error)
        for body, status, error in (({"owner": "nobody_at_all"}, 500, 'database operation failed: error returned from database: role "nobody_at_all" does not exist'),
                                    ({"encoding": "x'y"}, 500, "database operation failed: error returned from database: x'y is not a valid encoding name"),
                                    ({"client_name": "weak"}, 503, "database role lacks CREATE DATABASE privilege")):
            self.refused(self.create(**{"database_name": "never", **body}), status, failed, error)
        self.refused(self.create(database_name="App"), 409, failed, "database already exists")
        for client in ("nobody", "down", ""):
            self.refused(self.create(client_name=client, database_name="never"), 503, "Client unavailable", f"Postgres client '{client}' is not connected.")
        self.assertEqual(self.send("POST", LOCAL, {"database_name": "never"}).status, 400)
        self.assertEqual(self.create(database_name="never", catalog_public_proxy={"route_key": "p"}).status, 400)
        self.assertEqual(self.create(database_name="never", register_name="CONTROL").code, "client_reserved", "P1")
        self.assertFalse(self.there("never"))
        self.assertEqual(self.send("POST", LOCAL, b"{", {"content-type": "application/json"}).status, 401)

    def test_p7_what_fails_later_is_undone_and_may_be_tried_again(self):
        name = self.name()
        self.pg.run("create schema if not exists athena; create view athena.users as select 1 as id", "template1")
        answer = self.create(database_name=name, template="template1")
        self.refused(answer, 500, "Failed to provision newly created database")
        self.assertRegex(answer.json["error"], r"^statement \d+/\d+ failed: ")
        self.assertFalse(self.there(name))
        kept = self.create(database_name=name, template="template1", keep_on_failure=True)
        self.assertEqual((kept.status, self.there(name), self.row(name)), (500, True, ""))
        self.pg.run("drop schema athena cascade", "template1")
        self.pg.run("drop schema athena cascade", name)
        again = self.create(database_name=name, template="template1")
        self.assertEqual((again.status, self.row(name)), (201, "database|t|f"), again.body + " its own mark is on it")
        self.assertEqual(self.create(database_name=name, template="template1").status, 409)

    def test_p7_a_registration_that_fails_drops_the_database(self):
        name = self.name()
        self.pg.run(f"alter table athena_clients add constraint not_this check (client_name <> '{name}')", "control")
        answer = self.create(database_name=name)
        self.pg.run("alter table athena_clients drop constraint not_this", "control")
        self.refused(answer, 500, "Failed to register client in catalog")
        self.assertFalse(self.there(name))
        self.assertEqual(self.create(database_name=name).status, 201)

    def test_p7_a_database_of_somebody_else_is_never_dropped(self):
        name = self.fresh()
        self.pg.run("create table kept (id int)", name)
        self.pg.run(f"comment on database {name} is 'athena-provision:0123456789abcdef'")
        self.refused(self.create(database_name=name), 409, "Failed to create local cluster database", "database already exists")
        self.assertEqual(self.ask("select count(*) from kept", name), "0")

    def test_p7_a_server_that_was_killed_while_it_worked(self):
        """Its database is there and marked: the same request goes on with it, another one does not."""
        name, server = self.name(), self.start()
        slow = "create function slow() returns event_trigger language plpgsql as $$begin perform pg_sleep(60); end$$; create event trigger slow on ddl_command_start execute function slow()"
        self.pg.run("create database slow_one")
        self.pg.run(slow, "slow_one")
        body = {"client_name": "app", "database_name": name, "template": "slow_one"}
        threading.Thread(target=self.killed, args=(server, body), daemon=True).start()
        wait_for("the schema is being made", 60, lambda: self.ask(f"select count(*) from pg_stat_activity where datname = '{name}' and wait_event = 'PgSleep'") == "1")
        server.process.kill()
        server.process.wait()
        self.ask(f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'")
        wait_for("its lock is gone", 20, lambda: self.ask("select count(*) from pg_locks where locktype = 'advisory' and classid = 7307493") == "0")
        self.pg.run("drop event trigger slow", name)
        self.assertEqual((self.tables(name), self.row(name)), (0, ""))
        self.assertEqual(self.create(database_name=name).status, 409, "that is another request")
        answer = self.create(**body)
        self.assertEqual((answer.status, self.tables(name), self.row(name)), (201, TABLES, "database|t|f"), answer.body)

    def killed(self, server, body):
        try:
            self.send("POST", LOCAL, body, server=server)
        except OSError:
            pass

    def test_two_requests_for_one_name(self):
        name, answers = self.name(), []
        threads = [threading.Thread(target=lambda: answers.append(self.create(database_name=name).status)) for _ in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(sorted(answers), [201, 409, 409])
        self.assertEqual(self.tables(name), TABLES)

    def test_the_uri_keeps_its_parts(self):
        name = self.name()
        answer = self.create(client_name="maker", database_name=name, provision_schema=False, register_name="of maker")
        self.assertEqual(answer.json["data"]["database_uri"], f"postgresql://maker:p%40ss%3Aw%2Frd@127.0.0.1:{self.pg.port}/{name}?application_name=x", answer.body)
        self.assertEqual(self.serves("of maker").json["data"], [{"db": name}])

    def test_p9_lists_show_no_password(self):
        self.create(client_name="maker", database_name=self.name(), provision_schema=False, register_name="hidden")
        for path in (f"{LOCAL}?client_name=maker", "/admin/clients", "/admin/clients/hidden"):
            answer = self.get(path)
            self.assertEqual(answer.status, 200)
            self.assertNotIn("p%40ss", answer.body)
        self.assertNotIn("p%40ss", self.server.said())

    def test_register_runtime_alone_is_of_this_process(self):
        name = self.name()
        answer = self.create(database_name=name, provision_schema=False, register_catalog=False)
        self.assertEqual((answer.status, self.row(name)), (201, ""), answer.body)
        self.assertEqual(self.serves(name).json["data"], [{"db": name}])
        other = self.name()
        taken = self.create(database_name=other, provision_schema=False, register_catalog=False, register_name="two")
        self.assertEqual((taken.status, taken.code, self.there(other)), (409, "client_not_yours", False), taken.body)

    def test_lists(self):
        answer = self.get(f"{LOCAL}?client_name=app")
        data = answer.json["data"]
        self.assertEqual((answer.json["message"], data["client_name"]), ("Listed local cluster databases", "app"))
        self.assertEqual([d for d in data["all_databases"] if d in ("app", "control", "two", "template1")], ["app", "control", "two"])
        managed = {m["client_name"] for m in data["athena_managed_databases"]}
        self.assertLessEqual({"app", "control", "two"}, managed)
        self.assertFalse({"weak", "maker", "down"} & managed, "another user is another server")
        self.assertEqual([m["database_name"] for m in data["athena_managed_databases"]], sorted(m["database_name"] for m in data["athena_managed_databases"]))
        for name in ("", "nobody", "down"):
            self.refused(self.get(f"{LOCAL}?client_name={name}"), 503, "Client unavailable", f"Postgres client '{name}' is not connected.")


class Management(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.store = KeyStore(cls.pg, "control")
        cls.writer = cls.store.add("writer", ["management.provision.write"], client="app")
        cls.other = cls.store.add("other", ["management.provision.write"], client="two")
        cls.reader = cls.store.add("reader", ["gateway.read"], client="app")
        cls.unbound = cls.store.add("unbound", ["management.provision.write"])
        wait_for("the keys are read", 20, lambda: cls.call("GET", cls.writer).status == 200)

    @classmethod
    def call(cls, method, key, client="app", **body):
        headers = {"content-type": "application/json", **({"x-athena-key": str(key)} if key else {}), **({"x-athena-client": client} if client else {})}
        return cls.server.request(method, OWN, body or None, headers, timeout=60)

    def test_a_client_makes_and_lists_databases(self):
        name = self.name()
        answer = self.call("POST", self.writer, database_name=name, provision_schema=False)
        self.assertEqual(answer.status, 201, answer.body)
        self.assertEqual(answer.json["data"], {"server_client_name": "app", "database_name": name, "created_database_name": name, "database_uri": self.pg.tcp_uri(name),
                                               "pipeline": {"provision_schema": False, "statements_executed": None, "register_runtime": True, "register_catalog": True,
                                                            "register_name": name}})
        metadata = json.loads(self.row(name, "metadata"))
        self.assertEqual((metadata["managed_by"], metadata["requested_by_client"]), ("management_api", "app"))
        self.assertNotIn("cluster_name", metadata)
        self.assertIn(name, self.call("GET", self.writer).json["data"]["all_databases"])

    def test_p1_a_client_takes_over_nobody(self):
        before = self.ask("select client_name, pg_uri, source, metadata from athena_clients order by client_name")
        self.create(database_name=self.name(), provision_schema=False, register_name="operators own")
        self.call("POST", self.other, "two", database_name=self.name(), provision_schema=False, register_name="of two")
        rows = self.ask("select client_name, pg_uri, metadata from athena_clients order by client_name")
        for victim in ("two", "TWO", "control", "app", "down", "operators own", "of two"):
            for more in ({}, {"register_catalog": False}):
                name = self.name()
                answer = self.call("POST", self.writer, database_name=name, provision_schema=False, register_name=victim, **more)
                self.assertEqual((answer.status, answer.code in ("client_reserved", "client_not_yours")), (409, True), f"{victim}: {answer.body}")
                self.assertFalse(self.there(name), victim)
        self.assertEqual(self.ask("select client_name, pg_uri, metadata from athena_clients order by client_name"), rows)
        self.assertIn("two", before)

    def test_p1_a_client_copies_nobody(self):
        """Databases of one role may be copied by it; whose they are is not the role's to say."""
        name = self.name()
        for template in ("two", "control", "nowhere"):
            self.refused(self.call("POST", self.writer, database_name=name, template=template, provision_schema=False), 400,
                         "Failed to create local cluster database", "'template' is no template database")
        self.assertFalse(self.there(name))
        self.assertEqual(self.call("POST", self.writer, database_name=name, template="template0", provision_schema=False).status, 201)

    def test_p1_a_client_may_replace_its_own(self):
        first, second = self.name(), self.name()
        for name in (first, second):
            answer = self.call("POST", self.writer, database_name=name, provision_schema=False, register_name="mine")
            self.assertEqual(answer.status, 201, answer.body)
        self.assertEqual(self.serves("mine").json["data"], [{"db": second}])

    def test_p16_who_may_not_learns_nothing(self):
        """Whether a client is known, or its database there, is said to those whose key is good."""
        for key in (None, "wrong", self.reader, self.unbound):
            answers = [(a.status, a.code) for a in (self.call("GET", key, client) for client in ("nobody", "down", "two"))]
            self.assertEqual(len(set(answers)), 1, f"{key}: {answers}")
            self.assertIn(answers[0][0], (401, 403))
        self.refused(self.call("GET", self.reader), 403, "Insufficient API key rights", "Missing required rights: management.provision.write")
        self.refused(self.call("GET", self.writer, "two"), 403, "API key client mismatch", "The API key is scoped to client 'app', not 'two'.")
        self.refused(self.call("GET", self.unbound), 403, "Management API requires a client-bound API key", "The presented API key must be bound to client 'app'.")
        self.assertEqual(self.call("GET", ADMIN_KEY).status, 200, "an administrator passes everywhere")

    def test_operations_are_counted(self):
        self.call("GET", self.writer)
        wait_for("the operation is counted", 20, lambda: "management_list_local_cluster_databases" in self.get("/metrics").body)


class Gate(Case):
    def test_the_operators_routes_are_closed_unless_asked_for(self):
        server = self.start(env={"ATHENA_ENABLE_ADMIN_PROVISION_ROUTES": ""})
        for path in ("/admin/provision/status?client_name=app", f"{LOCAL}?client_name=app"):
            self.assertEqual(self.get(path, server=server).status, 404)
        self.assertIn(self.send("GET", OWN, headers={"x-athena-client": "app"}, server=server).status, (401, 403), "those of management are there")
        server.stop()


class NoControlPlane(unittest.TestCase):
    def test_p8_a_client_of_this_process_alone_is_said_to_be_one(self):
        with Lab() as lab:
            pg = lab.postgres()
            pg.run("create database app")
            server = lab.athena({"app": pg.uri("app")}, plugins=("routes-meta", "routes-query", "routes-provision", "sink-file"),
                                env={"ATHENA_ENABLE_ADMIN_PROVISION_ROUTES": "1"})
            wait_for("the client is connected", 20, lambda: server.get("/ready").json["clients"]["connected"] == 1)
            answer = server.request("POST", "/admin/provision", {"uri": pg.uri("app"), "register": True}, JSON)
            self.assertEqual((answer.status, answer.json["data"]["registered"]), (200, "provisioned"), answer.body)
            self.assertIn("this process alone", answer.json["data"]["warning"])
            self.assertEqual(server.request("POST", "/gateway/query", {"query": "select 1 as one"}, {**JSON, "x-athena-client": "provisioned"}).json["data"], [{"one": 1}])
            refused = server.request("POST", LOCAL, {"client_name": "app", "database_name": "never"}, JSON)
            self.assertEqual((refused.status, refused.json["message"]), (503, "Client catalog unavailable"), refused.body)
            self.assertEqual(pg.run("select count(*) from pg_database where datname = 'never'").strip(), "0")


class Command(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = cls.lab.place("command")
        os.makedirs(cls.folder)

    def run_it(self, *args, uri=None, stdin=None):
        env = {"PATH": os.environ["PATH"], "HOME": self.folder, **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}, **({"ATHENA_PROVISION_URI": uri} if uri else {})}
        return subprocess.run([executable(), "provision", *args], capture_output=True, text=True, cwd=self.folder, env=env, input=stdin, timeout=60)

    def uri(self, name):
        self.pg.run(f"create database {name}")
        return f"postgres://secret:hidden@127.0.0.1:{self.pg.port}/{name}"

    def test_the_three_ways_to_name_a_database(self):
        for name, ways in (("by_word", lambda u: {"args": ("--uri", u)}), ("by_variable", lambda u: {"uri": u}), ("by_input", lambda u: {"args": ("--uri", "-"), "stdin": u + "\n"})):
            how = ways(self.uri(name))
            done = self.run_it(*how.pop("args", ()), **how)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertRegex(done.stdout, rf"^Provisioning 127\.0\.0\.1:{self.pg.port}/{name}\n✔ Applied \d+ statements\.\n$")
            self.assertEqual(self.tables(name), TABLES)
            self.assertNotIn("hidden", done.stdout + done.stderr)

    def test_register_puts_it_into_the_file(self):
        uri = self.uri("registered")
        done = self.run_it("--register", "--client-name", "tenant", "--clients-path", "config/own.json", uri=uri)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(f"{self.folder}/config/own.json") as f:
            self.assertEqual(json.load(f), {"default": "tenant", "clients": {"tenant": uri}})
        self.assertEqual(os.stat(f"{self.folder}/config/own.json").st_mode & 0o777, 0o600)
        self.assertNotIn("hidden", done.stdout + done.stderr)

    def test_failures(self):
        self.assertEqual(self.run_it().returncode, 1)
        done = self.run_it("--uri", f"postgres://secret:hidden@127.0.0.1:{free_port()}/x", "--register")
        self.assertEqual(done.returncode, 1)
        self.assertIn("failed to connect to Postgres", done.stderr)
        self.assertNotIn("hidden", done.stdout + done.stderr)
        self.assertFalse(os.path.exists(f"{self.folder}/config/clients.json"))


if __name__ == "__main__":
    unittest.main()
