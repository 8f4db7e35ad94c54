"""A mixed load that checks each of its own answers, and at its end what the database holds.

    load = Load([server]).start()
    ...
    load.stop()
    load.check(case, pg)

Every thread has one keep-alive connection, so that answers of one request can never be taken for those of another without
being noticed: each asks for something that nobody else asks for. What was acknowledged must be there once, what was
refused must not, and what nobody heard the end of must be there whole or not at all.
"""
import http.client
import itertools
import json
import random
import threading
import time
import uuid

from lab import ADMIN_KEY

SCHEMA = """
create table users (id int primary key, name text);
insert into users select i, 'user ' || i from generate_series(1, 200) i;
create table big (id int primary key, body text);
insert into big select i, repeat('x', 500) from generate_series(1, 4000) i;
create table item (id int primary key, v bigint not null);
insert into item select i, 0 from generate_series(1, 20) i;
create table single (token text, n int);
create table bulk (token text, n int);
create table left_side (token text);
create table right_side (token text);
create table windowed (token text);
create table once (token text);
create table script (token text);
create function echo(t text) returns text language sql volatile as 'select t';
"""
BULK = 20
# What a database that goes away may answer; and a time limit, when it hangs.
GONE = {503, 504}


class Load:
    KINDS = ("point", "echo", "insert", "window", "bulk", "transaction", "once", "script", "sql", "stream", "count")

    def __init__(self, servers, client="app", kinds=KINDS, each=2, patience=40, key=ADMIN_KEY):
        self.servers, self.patience = servers, patience
        self.headers = {"x-athena-client": client, "x-athena-key": key, "content-type": "application/json"}
        self.ends = threading.Event()
        self.lock = threading.Lock()
        self.wrong, self.seen, self.slowest = [], {}, 0.0
        self.acked = {k: set() for k in self.KINDS}
        self.refused = {k: set() for k in self.KINDS}
        self.numbers = itertools.count()
        self.counter = [0] * 21
        self.threads = [threading.Thread(target=self.run, args=(kind, i)) for kind in kinds for i in range(each)]

    def start(self):
        for t in self.threads:
            t.start()
        return self

    def stop(self):
        self.ends.set()
        for t in self.threads:
            t.join(self.patience + 30)
            if t.is_alive():
                self.wrong.append("a request hangs")
        return self

    def note(self, kind, what):
        with self.lock:
            self.seen[(kind, what)] = self.seen.get((kind, what), 0) + 1

    def summary(self):
        return {f"{k} {w}": n for (k, w), n in sorted(self.seen.items(), key=str)}

    def run(self, kind, i):
        step = getattr(self, f"do_{kind}")
        callers = [http.client.HTTPConnection("127.0.0.1", s.port, timeout=self.patience) for s in self.servers]
        while not self.ends.is_set():
            c, began = random.choice(callers), time.monotonic()
            try:
                step(c, i)
                self.slowest = max(self.slowest, time.monotonic() - began)
            except TimeoutError:
                self.wrong.append(f"{kind}: no answer within {self.patience} s")
                c.close()
            except (OSError, http.client.HTTPException) as e:
                self.note(kind, type(e).__name__)
                c.close()
                time.sleep(0.02)
            except Exception as e:  # a thread that dies must fail the test
                self.wrong.append(f"{kind}: {e!r}")
                break
        for c in callers:
            c.close()

    def ask(self, kind, c, method, path, body, headers=()):
        """Status and parsed answer; None in place of an error's."""
        c.request(method, path, json.dumps(body), {**self.headers, **dict(headers)})
        r = c.getresponse()
        data = r.read()
        answer = json.loads(data)
        if r.status != 200:
            self.note(kind, f"{r.status} {answer.get('code')}")
            if r.status not in GONE or (r.status == 503 and not r.getheader("retry-after")):
                self.wrong.append((kind, r.status, data[:500]))
            time.sleep(0.01)
            return r.status, None
        self.note(kind, 200)
        return 200, answer

    def expect(self, kind, is_so, *what):
        if not is_so:
            self.wrong.append((kind, *what))

    def token(self):
        return f"{uuid.uuid4().hex}-{next(self.numbers)}"

    def do_point(self, c, _):
        i = random.randint(1, 200)
        _, a = self.ask("point", c, "POST", "/gateway/fetch", {"table_name": "users", "columns": ["id", "name"], "conditions": [{"eq_column": "id", "eq_value": i}]})
        if a:
            self.expect("point", a["data"] == [{"id": i, "name": f"user {i}"}], i, a)

    def do_echo(self, c, _):
        t = self.token()
        _, a = self.ask("echo", c, "POST", "/gateway/rpc", {"function": "echo", "args": {"t": t}})
        if a:
            self.expect("echo", a["data"] == [t], t, a)

    def do_sql(self, c, _):
        t = self.token()
        _, a = self.ask("sql", c, "POST", "/gateway/query", {"query": f"select '{t}' as t"})
        if a:
            self.expect("sql", a["data"] == [{"t": t}], t, a)

    def wrote(self, kind, t, status):
        if status == 200:
            self.acked[kind].add(t)
        elif 400 <= status < 500:
            self.refused[kind].add(t)

    def do_insert(self, c, _):
        t = self.token()
        status, a = self.ask("insert", c, "PUT", "/gateway/insert", {"table_name": "single", "insert_body": {"token": t, "n": 1}})
        self.wrote("insert", t, status)
        if a:
            self.expect("insert", a["data"]["token"] == t, t, a)

    def do_window(self, c, _):
        """Joined with the others' of the same moment."""
        t = self.token()
        status, a = self.ask("window", c, "PUT", "/gateway/insert", {"table_name": "windowed", "insert_body": {"token": t}}, {"x-athena-insert-window": "20"})
        self.wrote("window", t, status)
        if a:
            self.expect("window", a["data"] == {"token": t}, t, a)

    def do_bulk(self, c, _):
        t = self.token()
        status, _ = self.ask("bulk", c, "POST", "/gateway/insert", {"table_name": "bulk", "insert_body": [{"token": t, "n": n} for n in range(BULK)]})
        self.wrote("bulk", t, status)

    def do_transaction(self, c, _):
        t = self.token()
        status, a = self.ask("transaction", c, "POST", "/gateway/transaction", {"operations": [
            {"kind": "insert", "payload": {"table_name": "left_side", "insert_body": {"token": t}}},
            {"kind": "fetch", "payload": {"table_name": "left_side", "where": {"token": t}}},
            {"kind": "insert", "payload": {"table_name": "right_side", "insert_body": {"token": t}}}]})
        self.wrote("transaction", t, status)
        if a:
            self.expect("transaction", a["results"][1]["data"] == [{"token": t}], t, a)

    def do_once(self, c, _):
        """Sent again with its key until it was acknowledged."""
        t = self.token()
        insert = {"table_name": "once", "insert_body": {"token": t}}
        way = random.choice((("PUT", "/gateway/insert", insert),
                             ("POST", "/gateway/transaction", {"operations": [{"kind": "insert", "payload": insert}]}),
                             ("POST", "/gateway/query", {"query": f"select 1; insert into once values ('{t}')"})))
        while not self.ends.is_set():
            try:
                if self.once(c, t, *way) == 200:
                    self.acked["once"].add(t)
                    return
            except (OSError, http.client.HTTPException) as e:
                self.note("once", type(e).__name__)
                c.close()
            time.sleep(0.02)

    def once(self, c, t, method, path, body):
        c.request(method, path, json.dumps(body), {**self.headers, "idempotency-key": t})
        r = c.getresponse()
        a = json.loads(r.read())
        again = " replayed" if r.getheader("idempotency-replayed") else ""
        self.note("once", 200 if r.status == 200 and not again else f"{r.status} {a.get('code', '')}{again}")
        if r.status not in GONE | {200, 409}:
            self.wrong.append(("once", r.status, a))
        return r.status

    def do_script(self, c, _):
        t = self.token()
        status, _ = self.ask("script", c, "POST", "/gateway/query", {"query": f"insert into script values ('{t}'); insert into script values ('{t}')"})
        self.wrote("script", t, status)

    def do_stream(self, c, _):
        _, a = self.ask("stream", c, "POST", "/gateway/fetch", {"table_name": "big", "columns": ["id", "body"], "limit": 4000})
        if a:
            self.expect("stream", len(a["data"]) == 4000, len(a["data"]))

    def do_count(self, c, i):
        """Counts its row up, and never reads less than what was acknowledged."""
        row = i + 1
        status, _ = self.ask("count", c, "POST", "/gateway/update", {"table_name": "item", "set": {"v": self.counter[row] + 1}, "where": {"id": row}})
        if status == 200:
            self.counter[row] += 1
        _, a = self.ask("count", c, "POST", "/gateway/fetch", {"table_name": "item", "columns": ["v"], "where": {"id": row}})
        if a:
            got = int(a["data"][0]["v"])
            self.expect("count", got >= self.counter[row], row, got, self.counter[row])
            self.counter[row] = max(got, self.counter[row])

    def check(self, case, pg, database="app"):
        """Fails the case for anything that was wrong; each effect is there as often as it should be."""
        case.assertEqual(self.wrong[:10], [], f"{len(self.wrong)} wrong answers; {self.summary()}")
        for kind, table, times in (("insert", "single", 1), ("window", "windowed", 1), ("bulk", "bulk", BULK), ("transaction", "left_side", 1),
                                   ("transaction", "right_side", 1), ("once", "once", 1), ("script", "script", 2)):
            held = dict(line.rsplit("|", 1) for line in pg.run(f"select token, count(*) from {table} group by 1", database).split())
            case.assertEqual({t: n for t, n in held.items() if n != str(times)}, {}, f"{table}: half an effect, or more than one")
            case.assertEqual(self.acked[kind] - set(held), set(), f"{table}: acknowledged and lost")
            case.assertEqual(self.refused[kind] & set(held), set(), f"{table}: refused and done")
        both = pg.run("select count(*) from (select * from left_side except select * from right_side) x", database).strip()
        case.assertEqual(both, "0", "half a transaction")
