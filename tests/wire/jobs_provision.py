"""The part of the recording of clones that is about databases of tenants: the schema, databases of a client's server, for operators and for
a client's own key. Each group (by its `setup`) has a server of its own, on the databases that all of them share, as they were recorded."""
import jobs
import wire
from lab import free_port, wait_for

NAME = "jobs-provision"
PREFIXES = ("provision.", "local.", "management.", "instances.", "pipeline.", "providers.", "dependencies.")
CONFIG = """plugins: [routes-meta, routes-gateway, routes-query, routes-provision, sink-file]
urls: []
hosts: []
authenticator: []
api:
- port: 4452
gateway:
- logging_client: athena_logging
- auth_client: athena_logging
{more}postgres_clients:
"""
# What of `setup` names a server, what stands before the clients, its environment, and whether keys are asked for.
SERVERS = [
    ("in the configuration file", "provisioning:\n- expected_tables: \"products, notes , missing_one\"\n", {}, False),
    ("ATHENA_PROVISIONING_EXPECTED_TABLES", "", {"ATHENA_PROVISIONING_EXPECTED_TABLES": "products, notes , missing_one"}, False),
    ("enforce_api_keys true", "", {}, True),
    ("", "", {}, False),
]
CLIENTS = {"athena_logging": "t_log", "shop": "t_app", "two": "t_two", "restore": "t_restore"}
# What the published server had put into each client (D-72).
CHATS = "create schema athena; create table athena.files (id text primary key);"


def server_of(line):
    return next(s for s in SERVERS if s[0] in line["setup"])


class Provision:
    def __init__(self, tests):
        self.tests, self.closed = tests, free_port()
        self.names = [("{PG}", f"127.0.0.1:{tests.port}"), ("{CLOSED}", f"127.0.0.1:{self.closed}")]
        lines = wire.recorded("jobs-clone", [*self.names, ('"port":5544', f'"port":{tests.port}'), ('\\"port\\":5544', f'\\"port\\":{tests.port}')])
        self.lines = [line for line in lines if line["id"].startswith(PREFIXES)]
        for name in (*CLIENTS.values(), "t_plain2"):
            tests.sql("postgres", f"drop database if exists {name} with (force)")
            tests.database(name)
        for name in ("t_app", "t_two"):
            tests.sql(name, wire.state("jobs"), "-v", "shop=1")
        tests.sql("t_app", CHATS)

    def start(self, more, env):
        clients = "".join(f"- {n}: postgres://postgres@127.0.0.1:{self.tests.port}/{d}\n" for n, d in CLIENTS.items())
        config = CONFIG.format(more=more) + clients + f"- down: postgres://postgres@127.0.0.1:{self.closed}/none\n"
        server = self.tests.lab.athena({}, config=config, exe=self.tests.exe, env={"ATHENA_KEY_12": jobs.KEY, "ATHENA_ENABLE_ADMIN_PROVISION_ROUTES": "1", **env})
        wait_for("the databases are connected", 20, lambda: server.get("/ready").json["clients"]["connected"] >= len(CLIENTS))
        wait_for("the catalogue is there", 60, lambda: self.ask("select to_regclass('athena_clients') is not null and to_regclass('api_key_ip_whitelist') is not null") == "t")
        wait_for("the catalogue is written", 20, lambda: int(self.ask("select count(*) from athena_clients")) > len(CLIENTS))
        return server

    def ask(self, text):
        return jobs.ask(self.tests, "t_log", text).strip()

    def enforce(self, server):
        class Store(jobs.KeyStore):
            run = staticmethod(lambda text: self.tests.sql("t_log", text))
        store = Store(None, "t_log")
        for name, (rights, client) in jobs.RIGHTS.items():
            self.names.append((f"<key:{name}>", str(store.add(name, rights, client))))
        store.enforce(True)
        wait_for("keys are asked for", 20, lambda: server.request("POST", "/gateway/query", {"query": "select 1"}, {"X-Athena-Client": "shop"}).status == 401)


def play(tests):
    explanations, provision, answers, last, server = wire.Explanations(NAME), Provision(tests), {}, None, None
    for line in provision.lines:
        if server_of(line) is not last:
            if server:
                server.stop()
            last = server_of(line)
            server = provision.start(last[1], last[2])
            if last[3]:
                provision.enforce(server)
        wire.play(NAME, server, tests.score, lambda database, sql: None, [line], lambda line: None, explanations, provision.names, answers)
    server.stop()
    tests.score.check(f"{NAME}/explanations", explanations.stale())
