#!/usr/bin/env python3
"""One server, the plugins that are loaded by default, on each control plane that operators have: of ours, as the published
scripts leave it, as they left it years ago, half made; brought up, looked at, left alone, or of a role that may not create.

Whatever is there, the gateway serves, each route answers or says what is missing, rows go where tables are, and what is
missing is said once. And the other way round: what the published server says to its tables works on ours."""
import os
import re
import sys
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
import layouts  # noqa: E402
import tables  # noqa: E402
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402

with open(f"{ROOT}/etc/config.yaml") as f:
    PLUGINS = re.search(r"^plugins: (\[.*\])$", f.read(), re.M)[1]
HEADERS = {"x-athena-key": ADMIN_KEY, "content-type": "application/json", "x-athena-client": "app"}
OFTEN = ("worker-upkeep:\n  retention_every: 1s\n  partitions_every: 1s\n  statistics_every: 1s\n  monitor_every: 1s\n"
         "  sampler_every: 1s\ndaemon:\n- heartbeat: 1s\n")
MODES = ("auto", "check", "off", "denied")  # denied: auto, but the role may not create
READS = ("/health", "/health/cluster", "/ready", "/router/registry", "/registry", "/registry/00000000-0000-0000-0000-000000000000",
         "/clients", "/schema/clients", "/debug/schema", "/admin/doctor", "/admin/pools", "/admin/daemons", "/admin/daemons/catalog",
         "/admin/vacuum-health", "/admin/vacuum-health/app", "/admin/admission-events", "/admin/errors/catalog",
         "/admin/clients", "/admin/clients/app", "/admin/client-configs", "/admin/client-configs/app", "/admin/clients/statistics",
         "/admin/clients/app/statistics", "/admin/clients/app/statistics/drilldown?table_name=item&operation=fetch",
         "/admin/clients/app/table-row-estimates", "/admin/clients/pressure", "/admin/clients/app/pressure",
         "/admin/clients/app/query-optimizations", "/admin/clients/app/query-optimizations/runs")
WRITES = (("POST", "/admin/clients", {"client_name": "new", "pg_uri": "postgres://u@127.0.0.1:1/none"}),
          ("PATCH", "/admin/clients/new", {"description": "changed"}), ("PUT", "/admin/clients/new/freeze", {"is_frozen": True}),
          ("POST", "/admin/clients/new/drain", {}), ("DELETE", "/admin/clients/new", None),
          ("POST", "/admin/client-configs/seed-from-config", {}), ("PUT", "/admin/client-configs/app", {"config": {"a": 1}}),
          ("DELETE", "/admin/client-configs/app", None), ("POST", "/admin/clients/statistics/refresh", {}),
          ("POST", "/admin/clients/statistics/refresh?rebuild=true", {}), ("POST", "/admin/clients/pressure/backfill", {"hours_back": 1}))
IDLE_S = float(os.environ.get("ATHENA_TEST_IDLE", "15"))
REFRESH = {"POST /admin/clients/statistics/refresh", "POST /admin/clients/statistics/refresh?rebuild=true"}
# Routes that cannot answer while nobody completes the tables, and nothing else than these.
FAILING = {
    "published": {"GET /admin/daemons"} | REFRESH,
    "old": {"GET /admin/daemons", "GET /admin/clients/statistics", "GET /admin/clients/app/statistics",
            "GET /admin/clients/app/statistics/drilldown?table_name=item&operation=fetch"} | REFRESH,
}
# What a server says that has nothing to do with tables.
OTHER = r'request completed|Failed to load pipelines registry|route was called|ATHENA_SECRETS_KEY is not set|could not connect to client \\"new\\"'
RELATIONS = ("select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v') and not relispartition"
             " and relname <> 'athena_schema_version'")
LOGS = ("gateway_request_log", "gateway_operation_log")


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres()
        cls.pg.run("create role plain login; create database app")
        cls.pg.run("create table item (id int primary key, name text); insert into item select i, 'item ' || i from generate_series(1, 5) i", "app")

    def control(self, name, tables, mode):
        self.pg.run(f"create database {name}")
        self.pg.run(tables + "; grant usage on schema public to plain; grant all on all tables in schema public to plain;"
                    "grant all on all sequences in schema public to plain; revoke create on schema public from public", name)
        return self.pg.uri(name, "plain" if mode == "denied" else "postgres")

    def server(self, name, tables, mode, often=True, **kw):
        uri = self.control(name, tables, mode)
        config = (f"plugins: {PLUGINS}\nurls: []\nhosts: []\nauthenticator: []\napi:\n- port: 4052\n"
                  "gateway:\n- enforce_api_keys: true\n- logging_client: control\n"
                  f"schema:\n  bootstrap: {'auto' if mode == 'denied' else mode}\npool:\n  logging_max_connections: 30\n"
                  f"sink-postgres:\n  flush_ms: 50ms\n{OFTEN if often else ''}postgres_clients:\n- app: \"{self.pg.uri('app')}\"\n- control: \"{uri}\"\n")
        return self.lab.athena({}, config=config, **kw)

    def sql(self, name, text):
        return self.pg.run(text, name).strip()

    @staticmethod
    def warnings(server):
        """Lines of WARN and ERROR, without their times, but for those that tables have nothing to do with."""
        lines = [line for line in server.said().splitlines() if re.search(r'"level":"(WARN|ERROR)"', line) and not re.search(OTHER, line)]
        return [re.sub(r'"time":"[^"]*",', "", line) for line in lines]

    def relations(self, name):
        return set(self.sql(name, RELATIONS).splitlines())

    @staticmethod
    def gauge(server):
        found = re.search(r"^athena_schema_missing_tables (\d+)", server.get("/metrics").body, re.M)
        return int(found[1]) if found else None

    def ask(self, server, method, path, body=None):
        answer = server.request(method, path, body, HEADERS)
        self.assertIsNone(server.process.poll(), server.said()[-4000:])
        return answer


class LayoutTest(Case):
    def test_an_empty_database(self):
        self.on_each_mode("empty")

    def test_what_provision_logging_leaves(self):
        self.on_each_mode("published")

    def test_what_it_left_before_the_migrations(self):
        """tables.md 9, 13.3: other types of time and api_key_id, missing columns."""
        self.on_each_mode("old")

    def test_what_is_too_old_goes_by_another_column(self):
        """A log of keys whose `time` is a number."""
        aged = ("insert into api_key_auth_log (created_at, request_id, method, path, time) values (now() - interval '30 days', 'aged', 'GET', '/', 1),"
                " (now(), 'young', 'GET', '/', 1);")
        server = self.server("aged", layouts.old() + aged, "off")
        wait_for("the row is deleted", 20, lambda: self.sql("aged", "select string_agg(request_id, ',') from api_key_auth_log") == "young")
        self.assertEqual([line for line in self.warnings(server) if "retention_worker" in line], [])

    def test_a_half_made_one(self):
        self.on_each_mode("half")

    def on_each_mode(self, layout):
        """Four servers at the same time, each with a control plane of its own."""
        tables, servers = getattr(layouts, layout)(), {}
        for mode in MODES:
            servers[mode] = self.server(f"{layout}_{mode}", tables, mode)
            answer = servers[mode].fetch("app", {"table_name": "item"})
            self.assertEqual((answer.status, len(answer.json["data"])), (200, 5), f"{mode}: at once, {answer.body}")
        self.servers = servers
        whole = f"{layout}_auto"
        wait_for("the tables are made", 60, lambda: self.sql(whole, "select to_regclass('athena_log_writers') is not null") == "t"
                 and self.gauge(servers["auto"]) == 0 and "athena_log_hours" in self.relations(whole))
        for mode, server in servers.items():
            with self.subTest(mode=mode):
                self.routes_answer(layout, mode, server)
        for mode, server in servers.items():
            with self.subTest(mode=mode):
                self.rows_are_written(f"{layout}_{mode}", server)
        time.sleep(1)
        before = {mode: self.warnings(server) for mode, server in servers.items()}
        time.sleep(IDLE_S)
        for mode, server in servers.items():
            with self.subTest(mode=mode):
                self.says_little(f"{layout}_{mode}", server, before[mode])
                self.counts_what_is_missing(whole, f"{layout}_{mode}", mode, server)
        for server in servers.values():
            self.assertEqual(server.stop(), 0)

    def routes_answer(self, layout, mode, server):
        failing = set()
        for method, path, body in [("GET", path, None) for path in READS] + list(WRITES):
            answer = self.ask(server, method, path, body)
            self.assertIn(answer.status, (200, 201, 202, 404, 500), f"{method} {path}: {answer.body}")
            if answer.status == 500:
                failing.add(f"{method} {path}")
                self.says_what_is_missing(f"{layout}_{mode}", f"{method} {path}", answer.json)
        self.assertEqual(failing, set() if mode == "auto" else FAILING.get(layout, failing))
        for path in ("/health/cluster", "/admin/doctor", "/debug/schema", "/admin/pools"):
            self.assertEqual(self.ask(server, "GET", path).status, 200, path)

    def says_what_is_missing(self, name, asked, said):
        """The words of PostgreSQL name a table or a column; it really is not there."""
        self.assertEqual(said["code"], "control_plane_failed", asked)
        self.assertIn("athena migrate", said["hint"])
        self.assertRegex(said["message"], "^Failed to [a-z]")
        relation = re.search(r'^relation "([a-z_.]+)" does not exist$', said["error"])
        column = re.search(r'^column "?(?:[a-z]+\.)?([a-z_]+)"? (?:of relation "[a-z_]+" )?does not exist$', said["error"])
        self.assertTrue(relation or column, f"{asked}: {said['error']}")
        if relation:
            self.assertNotIn(relation[1].removeprefix("public."), self.relations(name), asked)
        else:
            lacking = self.sql(name, f"select count(*) from ({RELATIONS}) r where not exists (select from pg_attribute a where not attisdropped"
                               f" and attrelid = ('public.' || relname)::regclass and attname = '{column[1]}')")
            self.assertNotEqual(lacking, "0", f"{asked}: {said['error']}")

    def rows_are_written(self, name, server):
        """Of the request that came first, too."""
        for _ in range(4):
            self.assertEqual(server.fetch("app", {"table_name": "item"}).status, 200)
        self.assertEqual(server.fetch("app", {"table_name": "none"}).status, 400)
        for log in LOGS:
            if log not in self.relations(name):
                continue
            wait_for(f"rows in {name}.{log}", 15, lambda log=log: self.sql(name, f"select count(*) from {log}") == "6")
            self.assertEqual(self.sql(name, f"select status_code, count(*) from {log} where client = 'app' and path = '/gateway/fetch'"
                                      " and method = 'POST' group by 1 order by 1"), "200|5\n400|1")
            recent = self.sql(name, f"select bool_and(abs(extract(epoch from now()) - case when pg_typeof(time)::text = 'numeric'"
                                    f" then time::text::numeric else extract(epoch from time::text::timestamptz) end) < 300) from {log}")
            self.assertEqual(recent, "t", "seconds, or a time where the column is of the old type")
        if name == "old_off":
            self.assertEqual(self.sql(name, "select pg_typeof(time), pg_typeof(api_key_id) from gateway_request_log limit 1"),
                             "timestamp with time zone|bigint", "nothing was retyped")

    def says_little(self, name, server, before):
        said = self.warnings(server)
        self.assertLessEqual(len(said) - len(before), 3, f"{name}, in {IDLE_S} s: {said[len(before):]}")
        again = {line for line in said if said.count(line) > 1}
        self.assertEqual(again, set(), f"{name}: each is said once")
        self.assertLessEqual(len(said), 20, "\n".join(said))
        for line in said:
            self.assertRegex(line, "athena migrate", name)
        if name.endswith("_auto"):
            self.assertEqual(said, [], "nothing is missing that it does not bring itself")

    def counts_what_is_missing(self, whole, name, mode, server):
        missing = self.relations(whole) - self.relations(name)
        self.assertEqual(self.gauge(server), 0 if mode in ("auto", "off") else len(missing), sorted(missing))
        shown = self.ask(server, "GET", "/debug/schema").json["missing_required_tables"]
        self.assertLessEqual({t.removeprefix("public.") for t in shown}, missing)
        self.assertEqual("public.daemon_runtime_registry" in shown, mode != "auto")


class HealTest(Case):
    """Tables that an operator makes while the server runs are in use within half a minute, at the usual pace of its workers."""
    TABLES = ("client_connections", "gateway_request_log", "client_statistics", "daemon_runtime_registry", "gateway_operation_log")

    def test_what_is_made_meanwhile_is_used(self):
        made = tables.ddl({f"public.{t}": tables.recorded()[f"public.{t}"] for t in self.TABLES})
        servers = {}
        for mode in ("check", "off"):
            servers[f"heal_{mode}"] = self.server(f"heal_{mode}", layouts.published(), mode, often=False)
        for name, server in servers.items():
            self.sql(name, "drop table if exists " + ", ".join(self.TABLES))
        wait_for("it is missing", 60, lambda: self.gauge(servers["heal_check"]) > 15)
        for name, server in servers.items():
            server.fetch("app", {"table_name": "item"})
        time.sleep(3)
        missing = self.gauge(servers["heal_check"])
        for name in servers:
            self.sql(name, made)
        begun = time.monotonic()
        for name, server in servers.items():
            for table in self.TABLES:
                self.in_use(name, server, table, begun + 30)
        wait_for("the gauge falls", 30, lambda: self.gauge(servers["heal_check"]) <= missing - 1)
        self.assertLess(time.monotonic() - begun, 45)

    def in_use(self, name, server, table, until):
        def has_rows():
            server.fetch("app", {"table_name": "item"})
            time.sleep(0.2)
            return self.sql(name, f"select count(*) from {table}") != "0"
        wait_for(f"{name}.{table} is used", max(until - time.monotonic(), 0.1), has_rows)


# ---- the published server's statements (tables.md 4.1, 4.2, 4.3, 4.11), as it prepares them ----

NOW = "now()"
REQUEST = {  # column: type that its driver is given, value
    "created_at": ("timestamptz", NOW), "request_id": ("text", "'theirs'"), "client": ("text", "'app'"), "method": ("text", "'POST'"),
    "path": ("text", "'/gateway/fetch'"), "query_string": ("text", "'NOT_FOUND'"), "status_code": ("int4", "0"), "ipv4": ("text", "'10.0.0.9'"),
    "ipv4_address": ("text", "'10.0.0.9'"), "user_agent": ("text", "'curl'"), "headers": ("jsonb", "'{\"a\":\"b\"}'"), "body": ("jsonb", "'{}'"),
    "user_id": ("text", "'NOT_FOUND'"), "company_id": ("text", "'NOT_FOUND'"), "organization_id": ("text", "'NOT_FOUND'"), "api_key_id": ("text", "'k1'"),
    "presented_api_key_public_id": ("text", "'0123456789abcdef'"), "presented_api_key_hash": ("text", "'[REDACTED]'"),
    "presented_api_key_salt": ("text", "'[REDACTED]'"), "api_key_authenticated": ("bool", "true"), "api_key_authorized": ("bool", "true"),
    "api_key_enforced": ("bool", "true"), "api_key_auth_reason": ("text", "'ok'"), "host": ("text", "'h'"), "cached": ("bool", "false"),
    "time": ("numeric", "1767225600"),
}
OPERATION = {
    "created_at": ("timestamptz", NOW), "request_id": ("text", "'theirs'"), "operation": ("text", "'fetch'"), "table_name": ("text", "'item'"),
    "client": ("text", "'app'"), "method": ("text", "'POST'"), "path": ("text", "'/gateway/fetch'"), "status_code": ("int4", "200"),
    "duration_ms": ("int8", "7"), "details": ("jsonb", "'{\"cache_key\":\"k\"}'"), "time": ("numeric", "1767225600"), "error": ("bool", "false"),
    "message": ("text", "null"), "cache_key": ("text", "'k'"), "cache_key_hashed": ("text", "'ab'"), "cache_lookup_outcome": ("text", "'miss_all_tiers'"),
    "cache_source": ("text", "null"), "cached": ("bool", "false"),
}
ROUTE = {
    "request_id": ("text", "'theirs'"), "source": ("text", "'public_route'"), "outcome": ("text", "'forwarded_ok'"), "method": ("text", "'POST'"),
    "path": ("text", "'/public/x/fetch'"), "host": ("text", "'h'"), "wildcard_host_pattern": ("text", "null"), "wildcard_prefix": ("text", "null"),
    "route_key": ("text", "'x'"), "public_op": ("text", "'fetch'"), "resolved_client": ("text", "'app'"), "status_code": ("int4", "200"),
    "duration_ms": ("int8", "3"), "error_message": ("text", "null"), "metadata": ("jsonb", "'{}'"), "time": ("numeric", "1767225600"),
}
ADMISSION = {
    "event_id": ("text", "'e1'"), "method": ("text", "'POST'"), "route": ("text", "'/gateway/fetch'"), "client_name": ("text", "'app'"),
    "request_bytes": ("int8", "12"), "defer_requested": ("bool", "false"), "is_query_route": ("bool", "false"), "decision": ("text", "'rejected'"),
    "reason": ("text", "'admission_limit_exceeded'"), "deferred_request_id": ("text", "null"), "retry_after_seconds": ("int4", "1"),
    "window_seconds": ("int4", "1"), "global_limit_per_window": ("int8", "100"), "per_client_limit_per_window": ("int8", "10"), "meta": ("jsonb", "'{}'"),
}
POOL = {
    "client_name": ("text", "'app'"), "host": ("text", "'h'"), "instance_id": ("uuid", "'33333333-3333-3333-3333-333333333333'"),
    "pool_size": ("int4", "4"), "idle_connections": ("int4", "3"), "active_connections": ("int4", "1"), "max_connections": ("int4", "10"),
}
REGISTRY = {
    "registry_key": ("text", "'app|10.0.0.9|http://h|ANON'"), "client_name": ("text", "'app'"), "ipv4": ("text", "'10.0.0.9'"),
    "ipv4_address": ("text", "'10.0.0.9'"), "athena_url": ("text", "'http://h'"), "api_key_public_id": ("text", "null"),
    "api_key_external_id": ("text", "null"), "api_key_internal_id": ("int8", "null"), "api_key_authenticated": ("bool", "false"),
    "api_key_authorized": ("bool", "false"), "last_method": ("text", "'GET'"), "last_path": ("text", "'/'"), "user_agent": ("text", "'curl'"),
    "last_request_id": ("text", "'theirs'"), "last_status_code": ("int4", "200"), "total_hits": ("int8", "1"), "first_seen_at": ("timestamptz", NOW),
    "last_seen_at": ("timestamptz", NOW), "updated_at": ("timestamptz", NOW),
}
CLIENT = {
    "client_name": ("text", "'theirs'"), "description": ("text", "null"), "pg_uri": ("text", "'postgres://u@127.0.0.1:1/x'"),
    "pg_uri_env_var": ("text", "null"), "config_uri_template": ("text", "null"), "source": ("text", "'database'"), "is_active": ("bool", "true"),
    "is_frozen": ("bool", "false"), "last_synced_from_config_at": ("timestamptz", "null"), "metadata": ("jsonb", "'{\"seeded_from\":\"x\"}'"),
}
CLIENT_CONFIG = {"client_name": ("text", "'theirs'"), "config": ("jsonb", "'{\"a\":1}'"), "metadata": ("jsonb", "'{}'")}
SUMS = {
    "client_name": ("text", "'app'"), "total_requests": ("int8", "2"), "successful_requests": ("int8", "1"), "failed_requests": ("int8", "1"),
    "total_cached_requests": ("int8", "0"), "total_operations": ("int8", "2"), "last_request_at": ("timestamptz", NOW),
    "last_operation_at": ("timestamptz", NOW), "updated_at": ("timestamptz", NOW),
}
TABLE_SUMS = {
    "client_name": ("text", "'app'"), "table_name": ("text", "'item'"), "operation": ("text", "'fetch'"), "total_operations": ("int8", "2"),
    "error_operations": ("int8", "0"), "last_operation_at": ("timestamptz", NOW), "updated_at": ("timestamptz", NOW),
}
DAEMON = {
    "daemon_id": ("text", "'their-daemon'"), "runtime_kind": ("text", "'athena_daemon'"), "host": ("text", "'h'"), "version": ("text", "'3.27.1'"),
    "workers_json": ("jsonb", "'[\"clone_worker\"]'"), "metadata_json": ("jsonb", "'{}'"), "started_at": ("timestamptz", NOW),
    "last_seen_at": ("timestamptz", NOW),
}
ADDRESS = {"ipv4_address": ("text", "'10.0.0.9'"), "first_seen_at": ("timestamptz", NOW), "last_seen_at": ("timestamptz", NOW)}
ADDED = "{0} = {1}.{0} + excluded.{0}"
TAKEN = "{0} = excluded.{0}"


def insert(table, columns, conflict="", *sets):
    names = ", ".join(columns)
    values = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
    sql = f"insert into {table} ({names}) values ({values})"
    if conflict:
        sql += f" on conflict {conflict} do update set " + ", ".join(
            how.format(c, table) for how, which in zip(sets[::2], sets[1::2]) for c in which.split())
    return prepared(sql, columns.values())


def prepared(sql, params):
    return (f"prepare p ({', '.join(kind for kind, _ in params)}) as {sql}; execute p ({', '.join(v for _, v in params)});"
            f" execute p ({', '.join(v for _, v in params)}); deallocate p;")


UPSERTS = [
    insert("gateway_connection_registry_realtime", REGISTRY, "(registry_key)", "{0} = {1}.{0} + 1", "total_hits",
           TAKEN, "last_method last_path user_agent last_request_id last_status_code last_seen_at updated_at api_key_authenticated api_key_authorized"),
    insert("ip_addresses", ADDRESS, "(ipv4_address)", "{0} = greatest({1}.{0}, excluded.{0})", "last_seen_at"),
    "prepare p (text, int8, int8, int8, int8) as insert into ip_addresses_statistics (ip_address_id, total_requests, successful_requests,"
    " failed_requests, total_cached_requests, last_request_at, updated_at) select id, $2, $3, $4, $5, now(), now() from ip_addresses where"
    " ipv4_address = $1 on conflict (ip_address_id) do update set total_requests = ip_addresses_statistics.total_requests +"
    " excluded.total_requests, updated_at = excluded.updated_at; execute p ('10.0.0.9', 1, 1, 0, 0); execute p ('10.0.0.9', 1, 1, 0, 0); deallocate p;",
    insert("client_statistics", SUMS, "(client_name)", ADDED, "total_requests successful_requests failed_requests total_cached_requests total_operations",
           TAKEN, "last_request_at last_operation_at updated_at"),
    insert("client_table_statistics", TABLE_SUMS, "(client_name, table_name, operation)", ADDED, "total_operations error_operations",
           TAKEN, "last_operation_at updated_at"),
    insert("athena_clients", CLIENT, "(lower(client_name)) where deleted_at is null", TAKEN,
           "description pg_uri pg_uri_env_var config_uri_template metadata is_active",
           "{0} = case when {1}.{0} <> excluded.{0} then 'merged' else {1}.{0} end", "source"),
    insert("athena_client_configs", CLIENT_CONFIG, "(lower(client_name))", TAKEN, "config metadata"),
    insert("public.daemon_runtime_registry", DAEMON, "(daemon_id)", TAKEN, "runtime_kind host version workers_json metadata_json last_seen_at"),
]
INSERTS = [insert("gateway_request_log", REQUEST), insert("gateway_operation_log", OPERATION), insert("gateway_route_request_log", ROUTE),
           insert("client_connections", POOL)]
OTHERS = [
    insert("public.gateway_admission_events", ADMISSION).replace(" execute p ('e1'", " execute p ('e2'", 1),
    prepared("update gateway_request_log set status_code = $2, duration_ms = $3, cached = $4, cache_lookup_outcome = $5, cache_source = $6,"
             " operation = $7, table_name = $8 where request_id = $1",
             [("text", "'theirs'"), ("int4", "200"), ("int8", "9"), ("bool", "false"), ("text", "'miss_all_tiers'"), ("text", "null"),
              ("text", "'fetch'"), ("text", "'item'")]),
    prepared("update athena_clients set last_seen_at = now() where lower(client_name) = lower($1) and deleted_at is null", [("text", "'theirs'")]),
    prepared("delete from public.gateway_request_log where created_at < now() - $1 * interval '1 second'", [("int8", "1209600")]),
    prepared("delete from public.gateway_operation_log where created_at < now() - $1 * interval '1 second'", [("int8", "1209600")]),
    prepared("delete from gateway_connection_registry_realtime where last_seen_at < now() - $1 * interval '1 second'", [("int8", "300")]),
    prepared("delete from client_connections where recorded_at < now() - $1 * interval '1 hour'", [("int4", "24")]),
]
# The full refresh: counters and percentiles from the logs, in the place of what was there.
REFRESH_SQL = """
insert into client_statistics as s (client_name, total_requests, successful_requests, failed_requests, total_cached_requests, avg_request_duration_ms,
  p50_request_duration_ms, p95_request_duration_ms, p99_request_duration_ms, cache_hit_ratio, last_request_at, updated_at)
select client, count(*), count(*) filter (where status_code between 200 and 399), count(*) filter (where status_code >= 400),
  count(*) filter (where cached), avg(duration_ms)::float8, percentile_cont(0.5) within group (order by duration_ms),
  percentile_cont(0.95) within group (order by duration_ms), percentile_cont(0.99) within group (order by duration_ms),
  (count(*) filter (where cached))::float8 / count(*), max(created_at), now() from gateway_request_log where client <> '' group by client
on conflict (client_name) do update set total_requests = excluded.total_requests, avg_request_duration_ms = excluded.avg_request_duration_ms,
  p50_request_duration_ms = excluded.p50_request_duration_ms, updated_at = excluded.updated_at;
"""
# What it reads, with the types that its driver decodes; those before the bar it takes for never null.
READ = {
    "gateway_request_log": "id:bigint created_at:tstz request_id:text client:text status_code:integer time:numeric | method:text path:text"
                           " duration_ms:bigint cached:boolean headers:jsonb body:jsonb api_key_id:text operation:text table_name:text",
    "gateway_operation_log": "id:bigint created_at:tstz request_id:text operation:text client:text status_code:integer time:numeric |"
                             " table_name:text method:text path:text duration_ms:bigint details:jsonb error:boolean message:text cached:boolean",
    "client_statistics": "client_name:text total_requests:bigint successful_requests:bigint failed_requests:bigint total_cached_requests:bigint"
                         " total_operations:bigint updated_at:tstz | avg_request_duration_ms:f8 p50_request_duration_ms:f8 p95_request_duration_ms:f8"
                         " p99_request_duration_ms:f8 cache_hit_ratio:f8 last_request_at:tstz last_operation_at:tstz",
    "client_table_statistics": "client_name:text table_name:text operation:text total_operations:bigint error_operations:bigint updated_at:tstz"
                               " total_cache_hits:bigint total_cache_misses:bigint | avg_duration_ms:f8 cache_hit_ratio:f8 last_operation_at:tstz",
    "gateway_connection_registry_realtime": "registry_key:text client_name:text ipv4:text athena_url:text api_key_authenticated:boolean total_hits:bigint"
                                            " first_seen_at:tstz last_seen_at:tstz | last_status_code:integer api_key_internal_id:bigint",
    "ip_addresses": "id:bigint ipv4_address:text first_seen_at:tstz last_seen_at:tstz",
    "ip_addresses_statistics": "ip_address_id:bigint total_requests:bigint successful_requests:bigint failed_requests:bigint total_cached_requests:bigint",
    "athena_clients": "athena_client_id:uuid client_name:text source:text is_active:boolean is_frozen:boolean metadata:jsonb created_at:tstz"
                      " updated_at:tstz | description:text pg_uri:text pg_uri_env_var:text config_uri_template:text last_synced_from_config_at:tstz"
                      " last_seen_at:tstz deleted_at:tstz",
    "daemon_runtime_registry": "daemon_id:text runtime_kind:text host:text version:text workers_json:jsonb metadata_json:jsonb started_at:tstz"
                               " last_seen_at:tstz",
    "client_connections": "id:bigint recorded_at:tstz client_name:text instance_id:uuid pool_size:integer idle_connections:integer"
                          " active_connections:integer max_connections:integer | host:text",
}
SPELLED = {"tstz": "timestamp with time zone", "f8": "double precision"}
OLD_KINDS = {"time": "tstz", "api_key_id": "bigint"}


class PublishedTest(Case):
    """Beside a server of ours, on the same tables: nothing that the published one says is refused, and what ours has written
    reads as its own."""

    def test_on_ours(self):
        self.beside("empty")

    def test_on_one_that_was_completed(self):
        self.beside("published")

    def test_on_one_of_old_types(self):
        self.beside("old")

    def beside(self, layout):
        name = f"beside_{layout}"
        server = self.server(name, getattr(layouts, layout)(), "auto")
        for _ in range(3):
            self.assertEqual(server.fetch("app", {"table_name": "item"}).status, 200)
        for table in READ:
            wait_for(f"ours has written {table}", 40, lambda table=table: table in self.relations(name)
                     and self.sql(name, f"select count(*) from {table}") != "0")
        with self.subTest("what ours has written"):
            self.reads(name, old=layout == "old")
        with self.subTest("what theirs says"):
            self.says(name, old=layout == "old")
        with self.subTest("ours reads what theirs has written"):
            self.ours_reads(server)
        self.assertEqual(self.warnings(server), [])
        self.assertEqual(server.stop(), 0)

    def reads(self, name, old):
        for table, columns in READ.items():
            sure, _, maybe = columns.partition("|")
            of = dict(c.split(":") for c in (sure + maybe).split())
            if old and table == "gateway_request_log":
                of.update(OLD_KINDS)
            kinds = self.sql(name, f"select {', '.join(f'pg_typeof({c})' for c in of)} from {table} limit 1").split("|")
            self.assertEqual(dict(zip(of, kinds)), {c: SPELLED.get(k, k) for c, k in of.items()}, table)
            null = self.sql(name, f"select {', '.join(f'count(*) - count({c.split(chr(58))[0]})' for c in sure.split())} from {table}").split("|")
            self.assertEqual(dict(zip(sure.split(), null)), dict.fromkeys(sure.split(), "0"), f"{table}: never null")
        self.assertEqual(self.sql(name, "select count(*) from gateway_request_log where status_code not between 100 and 599"), "0")
        self.assertEqual(self.sql(name, "select bool_and(jsonb_typeof(workers_json) = 'array' and jsonb_typeof(metadata_json) = 'object')"
                                  " from daemon_runtime_registry"), "t")
        self.assertEqual(self.sql(name, "select bool_and(registry_key = concat_ws('|', client_name, ipv4, athena_url, coalesce(api_key_public_id,"
                                  " api_key_external_id, 'ANON'))) from gateway_connection_registry_realtime"), "t")
        self.assertEqual(self.sql(name, "select bool_and(source in ('config', 'database', 'merged'))"
                                  " from athena_clients where deleted_at is null"), "t")

    def says(self, name, old):
        inserts = list(INSERTS)
        if old:  # its writer looks at these two types, too
            inserts[0] = insert("gateway_request_log", {**REQUEST, "time": ("timestamptz", NOW), "api_key_id": ("int8", "4")})
        for statement in inserts + UPSERTS + OTHERS + [REFRESH_SQL]:
            self.assertEqual(self.sql(name, statement), "", statement)
        of = "from gateway_connection_registry_realtime where last_request_id = 'theirs'"
        self.assertEqual(self.sql(name, f"select total_hits {of}"), "2", "the second was an update")
        self.assertEqual(self.sql(name, "select status_code, duration_ms, operation from gateway_request_log where request_id = 'theirs'"),
                         "200|9|fetch\n200|9|fetch")
        self.assertEqual(self.sql(name, "select client_name, source, last_seen_at is not null from athena_clients where client_name = 'theirs'"),
                         "theirs|database|t")

    def ours_reads(self, server):
        def data(path):
            answer = self.ask(server, "GET", path)
            self.assertEqual(answer.status, 200, f"{path}: {answer.body}")
            return answer.json["data"]
        self.assertIn("theirs", [c["client_name"] for c in data("/admin/clients")["clients"]])
        self.assertEqual(data("/admin/client-configs/theirs")["record"]["config"], {"a": 1})
        self.assertEqual([d["status"] for d in data("/admin/daemons")["daemons"] if d["daemon_id"] == "their-daemon"], ["online"])
        self.assertEqual(sorted(e["event_id"] for e in data("/admin/admission-events")["events"]), ["e1", "e2"])
        self.assertIn("theirs", str(data("/admin/clients/app/statistics/drilldown?table_name=item&operation=fetch")))
        self.assertGreaterEqual(data("/admin/clients/app/statistics")["statistics"]["total_requests"], 5)


if __name__ == "__main__":
    unittest.main(verbosity=2)
