"""One caller that asks for too much, and many that ask for little, from a single thread.

    with Crowd(server) as crowd:
        crowd.abuse("heavy", 400)                   400 connections, each asks for two seconds of work again and again
        took = crowd.light(clients, seconds=4)      milliseconds of each answer: a connection per client, a point read every 40 ms
"""
import collections
import json
import selectors
import socket
import time

from lab import ADMIN_KEY

SCHEMA = """
create table users (id int primary key, name text);
insert into users select i, 'user ' || i from generate_series(1, 100) i;
create view slow as select 1 as id, pg_sleep(2)::text as slept;
"""
SLOW = {"table_name": "slow", "columns": ["id", "slept"]}
POINT = {"table_name": "users", "columns": ["id", "name"], "where": {"id": 7}}


class Caller:
    def __init__(self, port, client, path, body, every=0.0, first=0.0):
        text = json.dumps(body)
        self.bytes = (f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Athena-Client: {client}\r\n"
                      f"X-Athena-Key: {ADMIN_KEY}\r\nContent-Length: {len(text)}\r\n\r\n{text}").encode()
        self.port, self.socket = port, None
        self.connect()
        self.every, self.due, self.sent, self.got = every, first, 0.0, b""

    def connect(self):
        self.socket = socket.create_connection(("127.0.0.1", self.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Crowd:
    def __init__(self, server):
        self.server, self.callers, self.waits = server, [], selectors.EpollSelector()
        self.later = collections.deque()  # heavy ones that were refused, by when they ask again
        self.answers = collections.Counter()  # of heavy ones, by status
        self.refused = collections.Counter()  # of light ones, by any other status than 200

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for c in self.callers:
            c.socket.close()
        self.waits.close()

    def add(self, c):
        self.callers.append(c)
        self.waits.register(c.socket, selectors.EVENT_READ, c)

    def remove(self, c):
        self.callers.remove(c)
        self.waits.unregister(c.socket)
        c.socket.close()

    def send(self, c):
        c.sent = time.monotonic()
        c.socket.sendall(c.bytes)

    def abuse(self, client, connections):
        for _ in range(connections):
            c = Caller(self.server.port, client, "/gateway/fetch", SLOW)
            self.add(c)
            self.send(c)

    def answered(self, c):
        """The status, when the whole answer is there. Behind some refusals the connection is closed."""
        piece = c.socket.recv(65536)
        if not piece:
            if c.got or (c.every and c.sent):
                raise AssertionError(f"the connection was closed: {c.got[:200]}")
            self.waits.unregister(c.socket)
            c.socket.close()
            c.connect()
            self.waits.register(c.socket, selectors.EVENT_READ, c)
            return 0
        c.got += piece
        head, end, body = c.got.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
            return 0
        c.got = b""
        return int(head[9:12])

    def ask_again(self, c, seconds):
        c.due = time.monotonic() + seconds
        self.later.append(c) if seconds else self.send(c)

    def turn(self, seconds, took, wrong):
        while self.later and self.later[0].due <= time.monotonic():
            self.send(self.later.popleft())
        for key, _ in self.waits.select(max(0.0, min(seconds, 0.05))):
            c = key.data
            status = self.answered(c)
            if not status:
                continue
            now = time.monotonic()
            if c.every:
                took.append((now - c.sent) * 1000)
                if status != 200:
                    wrong.append(status)
                c.due, c.sent = max(c.due + c.every, now), 0.0
            else:
                self.answers[status] += 1
                self.ask_again(c, 0 if status == 200 else 0.5)

    def light(self, clients, seconds, every=0.04):
        began, took, wrong = time.monotonic(), [], []
        mine = [Caller(self.server.port, name, "/gateway/fetch", POINT, every, began + i * every / len(clients)) for i, name in enumerate(clients)]
        for c in mine:
            self.add(c)
        while time.monotonic() < began + seconds or any(c.sent for c in mine):
            now = time.monotonic()
            for c in mine:
                if not c.sent and c.due <= now < began + seconds:
                    self.send(c)
            waits = [c.due for c in mine if not c.sent]
            self.turn(min([*waits, now + 0.1]) - now if now < began + seconds else 0.05, took, wrong)
        for c in mine:
            self.remove(c)
        self.refused.update(wrong)
        return took

    def rest(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn(end - time.monotonic(), [], [])


def percentile(took, q):
    return sorted(took)[min(len(took) - 1, int(len(took) * q))]
