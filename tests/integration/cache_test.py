#!/usr/bin/env python3
"""The cache over real servers, a real PostgreSQL and a real Redis: it is never stale."""
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/tests/support")
from lab import ADMIN_KEY, Lab, wait_for  # noqa: E402

PLUGINS = ("routes-meta", "routes-gateway", "routes-query", "sink-file")
SCHEMA = """
create table item (id int primary key, v bigint not null);
insert into item select i, 0 from generate_series(1, 20) i;
create table place (id int primary key, who text);
insert into place values (1, current_database());
create table part (id int, v text) partition by range (id);
create table part_1 partition of part for values from (0) to (100);
insert into part values (1, 'one');
create table owner (id int primary key, name text);
create table pet (id int primary key, owner_id int references owner on delete cascade, name text);
insert into owner values (1, 'ada'); insert into pet values (1, 1, 'rex');
create view pets as select p.id, p.name, o.name as owner from pet p join owner o on o.id = p.owner_id;
create view clock as select id, clock_timestamp()::text as at from owner;
create view ofcatalog as select relname::text from pg_class where relname = 'item';
create table touched (id int primary key, v text);
create function touch() returns trigger language plpgsql as $$ begin insert into touched values (new.id, 'x'); return new; end $$;
create table toucher (id int primary key);
create trigger touch after insert on toucher for each row execute function touch();
"""
CHANGE = "comment on table item is 'anything may have changed'"
HEADERS = {"x-athena-client": "app", "x-athena-key": ADMIN_KEY, "content-type": "application/json"}


def item(i):
    return {"table_name": "item", "columns": ["v"], "conditions": [{"eq_column": "id", "eq_value": i}]}


def outcome(answer):
    return answer.headers["x-athena-cache-outcome"]


class Caller:
    """One keep-alive connection."""

    def __init__(self, server):
        self.http = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def post(self, path, body):
        self.http.request("POST", path, json.dumps(body), HEADERS)
        r = self.http.getresponse()
        data = r.read()
        assert r.status == 200, (r.status, data)
        return json.loads(data)


def write(server, sql, client="app"):
    a = server.request("POST", "/gateway/query", {"query": sql}, {**HEADERS, "x-athena-client": client})
    assert a.status == 200, a.body


def stress(case, servers, seconds, disturb=None):
    """Writers count up, each its own row, over any server; readers never see less than what was acknowledged before they
    asked. While `disturb` cuts Redis off, a row has one server for its writes and its reads: another process that reaches
    Redis earlier may be behind until it was told, one and the same process never is."""
    done = [0] * 21  # acknowledged, by row
    end = time.monotonic() + seconds
    wrong, reads = [], [0]

    def server_of(i):
        return servers[i % len(servers)] if disturb else random.choice(servers)

    def writing(i, callers):
        n = 0
        while time.monotonic() < end and not wrong:
            n += 1
            callers[server_of(i)].post("/gateway/update", {"table_name": "item", "set": {"v": n},
                                                           "conditions": [{"eq_column": "id", "eq_value": i}]})
            done[i] = n
            time.sleep(random.random() * 0.02)

    def reading(_, callers):
        while time.monotonic() < end and not wrong:
            i = random.randint(1, 3)
            least = done[i]
            got = int(callers[server_of(i)].post("/gateway/fetch", item(i))["data"][0]["v"])
            reads[0] += 1
            if got < least:
                wrong.append((i, got, least))

    def guarded(f, i):
        callers = {s: Caller(s) for s in servers}
        try:
            f(i, callers)
        except Exception as e:  # a thread that dies must fail the test
            wrong.append(repr(e))
        for c in callers.values():
            c.http.close()

    threads = [threading.Thread(target=guarded, args=(writing, i)) for i in (1, 2, 3)]
    threads += [threading.Thread(target=guarded, args=(reading, i)) for i in range(6)]
    for t in threads:
        t.start()
    if disturb:
        disturb()
    for t in threads:
        t.join()
    case.assertEqual(wrong, [])
    case.assertGreater(reads[0], 50)
    return reads[0]


class LocalTest(unittest.TestCase):
    """One process."""

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.__exit__)
        cls.pg = cls.lab.postgres()
        for database in ("app", "two"):
            cls.pg.run(f"create database {database}")
            cls.pg.run(SCHEMA, database)
        cls.server = cls.lab.athena({"app": cls.pg.uri("app"), "alias": cls.pg.uri("app").replace("?", "?application_name=x&"),
                                     "two": cls.pg.uri("two")}, plugins=PLUGINS)

    def tearDown(self):
        self.assertIsNone(self.server.process.poll(), self.server.said()[-8000:])

    def fetch(self, body, client="app", **headers):
        return self.server.request("POST", "/gateway/fetch", body, {**HEADERS, "x-athena-client": client, **headers})

    def hit(self, body, **kw):
        """Asked until it comes from memory (what is known of the schema may have to be read again first): the same answer."""
        def kept():
            before, now = self.fetch(body, **kw), self.fetch(body, **kw)
            self.assertEqual((before.status, now.status), (200, 200), before.body)
            self.assertEqual(before.body, now.body)
            self.assertEqual(before.headers["x-athena-cache-key"], now.headers["x-athena-cache-key"])
            answers.append(now)
            return outcome(now) == "hit_local_raw"
        answers = []
        wait_for(f"{body} is kept", 5, kept)
        self.assertEqual((answers[-1].headers["x-athena-cached"], answers[-1].headers["x-athena-cache-source"]), ("true", "local"))
        return answers[-1]

    def test_a_hit_is_the_answer_byte_by_byte_G_05(self):
        for _ in range(4):  # read, planned, and again
            self.hit(item(4))

    def test_pages_differ_G_05(self):
        page = {"table_name": "item", "columns": ["id"], "sort_by": {"field": "id", "direction": "asc"}, "limit": 3}
        bodies = {self.hit({**page, "offset": n}).body for n in range(4)} | {self.hit({**page, "current_page": 5, "page_size": 2}).body}
        self.assertEqual(len(bodies), 5)
        self.assertNotEqual(self.hit({**page, "group_by": "id"}).body, self.hit(page).body)

    def test_two_databases_with_one_table_name_G_05(self):
        body = {"table_name": "place"}
        self.assertIn('"app"', self.hit(body).body)
        self.assertIn('"two"', self.hit(body, client="two").body)
        self.assertIn('"app"', self.hit(body).body)

    def test_two_names_of_one_database_see_each_others_writes(self):
        body = item(5)
        for client in ("app", "alias"):
            self.hit(body, client=client)
        write(self.server, "update item set v = v + 1 where id = 5", client="alias")
        for client in ("app", "alias"):
            a = self.fetch(body, client=client)
            self.assertEqual((outcome(a), a.json["data"]), ("miss_all_tiers", [{"v": 1}]))

    def test_no_cache_reads_past_it_and_stores(self):
        body = item(6)
        self.hit(body)
        self.pg.run("update item set v = 66 where id = 6", "app")  # past us: not seen
        self.assertEqual(self.fetch(body).json["data"], [{"v": 0}])
        a = self.fetch(body, **{"cache-control": "no-cache"})
        self.assertEqual((outcome(a), a.json["data"]), ("bypass_no_cache_header", [{"v": 66}]))
        a = self.fetch(body)
        self.assertEqual((outcome(a), a.json["data"]), ("hit_local_raw", [{"v": 66}]))

    def test_counts_and_heads_are_not_kept(self):
        for extra in ({"count": "exact"}, {"head": True, "count": "exact"}):
            body = {"table_name": "item", "select": "id", **extra}
            for _ in range(2):
                a = self.fetch(body)
                self.assertEqual((a.status, outcome(a)), (200, "bypass_no_cache_header"), a.body)

    def test_what_cannot_be_followed_is_not_kept(self):
        for table in ("clock", "ofcatalog"):
            for _ in range(3):
                self.assertEqual(outcome(self.fetch({"table_name": table})), "miss_all_tiers", table)
        now = {"table_name": "item", "columns": ["id"], "conditions": [{"eq_column": "v", "eq_value": 1}]}
        self.hit(now)

    def test_a_time_that_means_now_is_not_kept(self):
        self.pg.run("create table event (id int, at timestamptz); insert into event values (1, '2020-01-01')", "app")
        body = {"table_name": "event", "conditions": [{"column": "at", "operator": "lt", "value": "Now"}]}
        for _ in range(3):
            a = self.fetch(body)
            self.assertEqual((a.status, outcome(a)), (200, "miss_all_tiers"), a.body)

    def test_views_are_kept_until_what_they_read_changes(self):
        body = {"table_name": "pets"}
        self.hit(body)
        write(self.server, "update owner set name = 'bob'")
        a = self.fetch(body)
        self.assertEqual((outcome(a), a.json["data"][0]["owner"]), ("miss_all_tiers", "bob"))
        self.hit(body)

    def update(self, table, values, column, value, client="app"):
        a = self.server.request("POST", "/gateway/update", {"table_name": table, "set": values,
                                                           "conditions": [{"eq_column": column, "eq_value": value}]},
                                {**HEADERS, "x-athena-client": client})
        self.assertEqual(a.status, 200, a.body)

    def test_a_write_to_one_table_leaves_the_others_answers(self):
        kept = [item(11), {"table_name": "place"}, {"table_name": "pets"}, {"table_name": "part"}]
        for body in kept:
            self.hit(body)
        self.update("item", {"v": 11}, "id", 11)
        self.assertEqual([outcome(self.fetch(b)) for b in kept], ["miss_all_tiers"] + 3 * ["hit_local_raw"])

    def test_a_write_reaches_what_depends_on_it(self):
        """Views, partitions both ways, cascades of foreign keys, triggers, and the other name of the database."""
        self.hit({"table_name": "pets"})
        self.update("owner", {"name": "eve"}, "id", 1)
        self.assertEqual(self.fetch({"table_name": "pets"}).json["data"][0]["owner"], "eve")
        for read, wrote in (("part", "part_1"), ("part_1", "part"), ("part", "part")):
            self.hit({"table_name": read})
            self.update(wrote, {"v": f"{read} by {wrote}"}, "id", 1)
            self.assertEqual(self.fetch({"table_name": read}).json["data"], [{"id": 1, "v": f"{read} by {wrote}"}])
        self.hit({"table_name": "touched"})
        a = self.server.request("PUT", "/gateway/insert", {"table_name": "toucher", "insert_body": {"id": 1}}, HEADERS)
        self.assertEqual(a.status, 200, a.body)
        self.assertEqual(self.fetch({"table_name": "touched"}).json["data"], [{"id": 1, "v": "x"}])
        write(self.server, "insert into owner values (9, 'zoe'); insert into pet values (9, 9, 'tom')")
        self.hit({"table_name": "pet"})
        a = self.server.request("DELETE", "/gateway/delete", {"table_name": "owner", "conditions": [{"eq_column": "id", "eq_value": 9}]},
                                HEADERS)
        self.assertEqual(a.status, 200, a.body)
        self.assertEqual(len(self.fetch({"table_name": "pet"}).json["data"]), 1)
        self.hit(item(12), client="alias")
        self.update("item", {"v": 12}, "id", 12)
        self.assertEqual(self.fetch(item(12), client="alias").json["data"], [{"v": 12}])

    def test_a_write_whose_caller_left_counts(self):
        body = item(13)
        self.hit(body)
        c = http.client.HTTPConnection("127.0.0.1", self.server.port)
        c.request("POST", "/gateway/query", json.dumps({"query": "select pg_sleep(0.3); update item set v = 13 where id = 13"}), HEADERS)
        time.sleep(0.1)
        c.close()
        time.sleep(0.5)
        now = int(self.pg.run("select v from item where id = 13", "app"))
        self.assertEqual(self.fetch(body).json["data"], [{"v": now}])

    def test_a_changed_table_is_read_again(self):
        self.pg.run("create table shape (id int); insert into shape values (1)", "app")
        body = {"table_name": "shape"}
        wait_for("the catalogue has it", 5, lambda: self.fetch(body).status == 200)
        self.hit(body)
        write(self.server, "alter table shape add column more text default 'm'")
        self.assertEqual(self.fetch({"table_name": "shape", "columns": ["id", "more"]}).json["data"], [{"id": 1, "more": "m"}])
        self.assertEqual(self.fetch(body).json["data"], [{"id": 1, "more": "m"}])
        self.hit(body)
        write(self.server, "drop table shape; create table shape (other text)")
        self.assertEqual(self.fetch(body).json["data"], [])

    def test_a_stampede_is_one_statement_G_34(self):
        self.pg.run("create table calls (n int); create sequence counter; "
                    "create function slow(int) returns int immutable language plpgsql as "
                    "$$ begin perform nextval('counter'); perform pg_sleep(0.5); return $1; end $$; "
                    "create view slowly as select slow(id) as id from owner", "app")
        body = {"table_name": "slowly"}
        write(self.server, CHANGE)
        self.hit(body)
        write(self.server, CHANGE)
        self.hit(item(7))
        before = int(self.pg.run("select last_value from counter", "app"))
        got = []
        threads = [threading.Thread(target=lambda: got.append(self.fetch(body))) for _ in range(200)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual({a.status for a in got}, {200})
        self.assertEqual({a.body for a in got}, {got[0].body})
        self.assertEqual(int(self.pg.run("select last_value from counter", "app")) - before, 1)

    def test_when_the_leader_leaves_another_leads_at_once_G_34(self):
        self.pg.run("create function sleepy(int) returns int immutable language plpgsql as "
                    "$$ begin perform pg_sleep(2); return $1; end $$; create view sleepily as select sleepy(id) as id from owner", "app")
        body = json.dumps({"table_name": "sleepily"})
        write(self.server, CHANGE)
        self.hit(item(8))
        leader = http.client.HTTPConnection("127.0.0.1", self.server.port)
        leader.request("POST", "/gateway/fetch", body, HEADERS)
        time.sleep(0.5)
        got = []
        t = threading.Thread(target=lambda: got.append((self.fetch({"table_name": "sleepily"}), time.monotonic())))
        t.start()
        time.sleep(0.3)
        left = time.monotonic()
        leader.close()
        t.join()
        self.assertEqual(got[0][0].status, 200)
        self.assertLess(got[0][1] - left, 4)  # its own two seconds, not the five that one waits for another

    def test_readers_and_writers_in_one_process(self):
        stress(self, [self.server], 4)

    def test_metrics(self):
        self.hit(item(9))
        text = self.server.get("/metrics").body
        self.assertRegex(text, r'athena_cache_entries\{cache="request"\} [1-9]')
        self.assertRegex(text, r'athena_cache_weighted_size\{cache="request"\} [1-9]')
        self.assertRegex(text, r'athena_cache_lookups_total\{outcome="hit_local"\} [1-9]')


class RedisTest(unittest.TestCase):
    """Two processes that share a Redis."""

    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.__exit__)
        self.pg = self.lab.postgres()
        self.pg.run("create database app")
        self.pg.run(SCHEMA, "app")
        self.redis = self.lab.redis()
        env = {"ATHENA_REDIS_URL": self.redis.url, "ATHENA_REDIS_OP_TIMEOUT_MS": "400"}
        self.servers = [self.lab.athena({"app": self.pg.uri("app")}, plugins=PLUGINS, env=env) for _ in range(2)]
        self.addCleanup(lambda: [self.assertIsNone(s.process.poll(), s.said()[-8000:]) for s in self.servers])
        for s in self.servers:
            wait_for("Redis is used", 10, lambda: self.fetch(s, item(20)).headers["x-athena-cached"] == "true")

    def fetch(self, server, body):
        return server.request("POST", "/gateway/fetch", body, HEADERS)

    def metric(self, server, name):
        return [float(line.split()[-1]) for line in server.get("/metrics").body.splitlines() if line.startswith(name)][0]

    def hits(self):
        return sum(self.metric(s, f'athena_cache_lookups_total{{outcome="hit_{x}"}}') for s in self.servers for x in ("local", "redis"))

    def test_what_one_has_read_the_other_finds(self):
        a, b = self.servers
        self.fetch(a, item(1))
        got = self.fetch(b, item(1))
        self.assertEqual((outcome(got), got.headers["x-athena-cache-source"], got.headers["x-athena-cached"]),
                         ("hit_redis", "redis", "true"))
        self.assertEqual(outcome(self.fetch(b, item(1))), "hit_local_raw")
        self.assertEqual(got.body, self.fetch(a, item(1)).body)

    def test_both_agree_right_after_a_write_through_either_G_05(self):
        for n in range(1, 30):
            for s in self.servers:
                self.fetch(s, item(2))
            write(random.choice(self.servers), f"update item set v = {n} where id = 2")
            self.assertEqual([self.fetch(s, item(2)).json["data"][0]["v"] for s in self.servers], [n, n])

    def test_entries_have_the_life_of_answers(self):
        self.fetch(self.servers[0], item(3))
        keys = self.redis.run("KEYS", "athena:1:*:c:*")
        self.assertTrue(keys)
        for k in keys:
            self.assertLessEqual(int(self.redis.run("TTL", k)), 241)

    def test_connections_stay_G_31(self):
        before = self.redis.run("INFO", "stats")
        for i in range(1, 20):
            for s in self.servers:
                self.fetch(s, item(i))
        count = [int(re.search(r"total_connections_received:(\d+)", x)[1]) for x in (before, self.redis.run("INFO", "stats"))]
        self.assertEqual(count[1] - count[0], 1)  # this test's own

    def test_lost_tokens_never_come_back(self):
        """Redis may drop any key at any time."""
        a, b = self.servers
        self.fetch(a, item(4))
        write(a, "update item set v = 44 where id = 4")
        for k in self.redis.run("KEYS", "athena:1:*:g:*"):
            self.redis.run("DEL", k)
        for s in self.servers:
            self.assertEqual(self.fetch(s, item(4)).json["data"], [{"v": 44}])

    def test_many_readers_and_writers_agree(self):
        before = self.hits()
        stress(self, self.servers, 5)
        print(f"{self.hits() - before:.0f} hits", end=" ", flush=True)

    def test_while_redis_is_gone_and_when_it_comes_back_empty(self):
        def disturb():
            time.sleep(1)
            self.redis.kill()
            time.sleep(2)
            self.redis.start()
        stress(self, self.servers, 6, disturb)
        self.back()

    def test_while_redis_hangs(self):
        def disturb():
            time.sleep(1)
            self.redis.signal(signal.SIGSTOP)
            time.sleep(2)
            self.redis.signal(signal.SIGCONT)
        stress(self, self.servers, 6, disturb)
        self.back()

    def test_a_hanging_redis_costs_its_timeout_once(self):
        self.redis.signal(signal.SIGSTOP)
        took = []
        for i in range(1, 20):
            began = time.monotonic()
            self.assertEqual(self.fetch(self.servers[0], item(i)).status, 200)
            took.append(time.monotonic() - began)
        self.assertEqual(outcome(self.fetch(self.servers[0], item(1))), "miss_after_redis_get_timeout")
        self.assertLessEqual(len([t for t in took if t > 0.3]), 2, took)  # each of the two loops may learn it by itself
        write(self.servers[0], "update item set v = 7 where id = 1")
        self.assertGreaterEqual(self.metric(self.servers[0], "athena_cache_redis_untold"), 1)
        self.redis.signal(signal.SIGCONT)
        self.back()
        self.assertEqual(self.fetch(self.servers[1], item(1)).json["data"], [{"v": 7}])

    def test_a_redis_restarted_from_an_old_copy_gives_nothing_old(self):
        a, b = self.servers
        self.assertEqual(self.fetch(a, item(5)).json["data"], [{"v": 0}])
        self.redis.run("SAVE")
        write(a, "update item set v = 5 where id = 5")
        self.redis.kill()
        self.redis.start()
        self.assertTrue(self.redis.run("KEYS", "athena:1:*:c:*"))  # the old answers and tokens are there again
        self.back()
        for s in self.servers:
            self.assertEqual(self.fetch(s, item(5)).json["data"], [{"v": 5}])

    def back(self):
        """Both use Redis again, and nothing is left to tell."""
        for s in self.servers:
            wait_for("Redis is used again", 15, lambda: self.fetch(s, item(19)).headers["x-athena-cached"] == "true")
            self.assertEqual(self.metric(s, "athena_cache_redis_untold"), 0)


class TriggerTest(unittest.TestCase):
    """Writes that do not come through Athena."""

    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.__exit__)
        self.pg = self.lab.postgres()
        self.pg.run("create database app")
        self.pg.run(SCHEMA + 'create table "Odd ""name"" \'x\'" (id int); insert into "Odd ""name"" \'x\'" values (1);', "app")

    def start(self, **kw):
        self.server = self.lab.athena({"app": self.pg.uri("app")}, plugins=PLUGINS, **kw)

    def command(self, *args):
        done = subprocess.run([self.server.exe, "cache", *args, "--client", "app", "--config", self.server.config], env=self.server.env,
                              cwd=self.server.folder, text=True, capture_output=True, timeout=60)
        return done.returncode, done.stdout if done.returncode == 0 else done.stderr

    def fetch(self, body):
        return self.server.request("POST", "/gateway/fetch", body, HEADERS)

    def kept(self, body=item(1)):
        wait_for("it is kept", 40, lambda: outcome(self.fetch(body)).startswith("hit"))

    def listeners(self):
        return int(self.pg.run("select count(*) from pg_stat_activity where query like 'LISTEN%athena_cache%'", "app"))

    def seen(self, body, sql):
        """What psql writes is read at once, not after the time that answers live."""
        self.kept(body)
        before = self.fetch(body).json["data"]
        self.pg.run(sql, "app")
        wait_for("the write is seen", 5, lambda: self.fetch(body).json["data"] != before)

    def test_writes_of_psql_are_seen_with_the_trigger(self):
        self.start()
        self.kept()
        self.pg.run("update item set v = 1 where id = 1", "app")
        self.assertEqual(self.fetch(item(1)).json["data"], [{"v": 0}])  # without it: not yet
        rc, said = self.command("install-trigger", "--all")
        self.assertEqual((rc, re.sub(r"\d+", "N", said)), (0, "trigger installed on N tables\n"))
        self.assertEqual(self.command("install-trigger", "--all")[0], 0)  # twice is once
        write(self.server, CHANGE)  # the schema is looked at again
        wait_for("it listens", 10, lambda: self.fetch(item(1)) and self.listeners() == 1)
        for n, sql in enumerate(("update item set v = 7 where id = 1", "delete from item where id = 1",
                                 "insert into item values (1, 8)", "truncate item")):
            self.seen(item(1), sql)
        self.seen({"table_name": "pets"}, "update owner set name = 'psql'")  # through a view
        self.seen({"table_name": "part"}, "update part_1 set v = 'psql'")    # a partition
        self.seen({"table_name": "part_1"}, "update part set v = 'psql 2'")
        self.seen({"table_name": "Odd \"name\" 'x'"}, "update \"Odd \"\"name\"\" 'x'\" set id = id + 1")

    def test_nothing_is_kept_while_nobody_listens(self):
        self.start()
        self.assertEqual(self.command("install-trigger", "--table", "public.item")[0], 0)
        write(self.server, CHANGE)
        wait_for("it listens", 10, lambda: self.fetch(item(1)) and self.listeners() == 1)
        self.kept()
        stop, wrong, least = [False], [], [0]

        def read():
            while not stop[0]:
                known = least[0]
                got = int(self.fetch(item(1)).json["data"][0]["v"])
                if got < known:
                    wrong.append((got, known))
        t = threading.Thread(target=read)
        t.start()
        for n in range(1, 6):
            self.pg.run("select pg_terminate_backend(pid) from pg_stat_activity where query like 'LISTEN%athena_cache%'", "app")
            time.sleep(0.3)  # it is noticed; what is written now is not heard
            self.pg.run(f"update item set v = {n} where id = 1", "app")
            time.sleep(0.2)
            least[0] = n
            time.sleep(0.5)
        stop[0] = True
        t.join()
        self.assertEqual(wrong, [])
        wait_for("it listens again", 15, lambda: self.listeners() == 1)
        self.kept()

    def test_installing_and_removing(self):
        self.start()
        rc, said = self.command("install-trigger", "--table", 'part', "--print")
        self.assertEqual(rc, 0, said)
        self.assertIn('ON "public"."part" FOR EACH STATEMENT', said)
        self.assertIn('ON "public"."part_1" FOR EACH STATEMENT', said)
        count = "select count(*) from pg_trigger where tgname = 'athena_cache'"
        self.assertEqual(self.pg.run(count, "app").strip(), "0")
        self.pg.run(said, "app")  # what is printed is what would be run
        self.assertEqual(self.pg.run(count, "app").strip(), "2")
        with open(f"{ROOT}/plugins/drivers/embedded-postgres/demo.sql") as f:
            self.assertIn(said[said.index("CREATE OR REPLACE FUNCTION"):said.index("$function$;")], f.read())
        self.assertEqual(self.command("remove-trigger", "--all")[0], 0)
        self.assertEqual(self.pg.run(count, "app").strip(), "0")
        self.assertEqual(self.pg.run("select count(*) from pg_proc where proname = 'cache_changed'", "app").strip(), "0")
        for args, words in ((("install-trigger", "--table", "nothing_there"), 'no table "nothing_there"'),
                            (("install-trigger",), "expected either --table or --all"),
                            (("install-trigger", "--all", "--table", "item"), "expected either")):
            rc, said = self.command(*args)
            self.assertEqual(rc, 1)
            self.assertIn(words, said)

    def test_a_server_that_listens_stops_at_once(self):
        self.start()
        self.command("install-trigger", "--all")
        write(self.server, CHANGE)
        wait_for("it listens", 10, lambda: self.fetch(item(1)) and self.listeners() == 1)
        began = time.monotonic()
        self.assertEqual(self.server.stop(), 0)
        self.assertLess(time.monotonic() - began, 10)


class WithoutTest(unittest.TestCase):
    def test_switched_off_and_mistaken(self):
        with Lab() as lab:
            pg = lab.postgres()
            pg.run(SCHEMA)
            off = lab.athena({"app": pg.uri()}, more="cache:\n  enabled: false\n")
            for _ in range(3):
                self.assertEqual(outcome(off.fetch("app", item(1))), "miss_all_tiers")
            for url in ("rediss://127.0.0.1:6379", "redis://user:pa ss@:x", "http://elsewhere"):
                s = lab.athena({"app": pg.uri()}, env={"ATHENA_REDIS_URL": url})
                wait_for("it is kept in memory", 5, lambda: outcome(s.fetch("app", item(1))) == "hit_local_raw")
                with open(f"{s.logs}/error.log") as f:
                    said = f.read() + s.said()
                self.assertNotIn("pa ss", said)
                s.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
