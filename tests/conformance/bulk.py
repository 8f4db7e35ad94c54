"""Many questions quickly: thousands of statements through one psql, thousands of requests over kept connections."""
import json
import os
import socket
import subprocess
import threading


PLUGINS = ("routes-meta", "routes-gateway", "routes-query", "routes-rest", "routes-public", "sink-file")


class Psql:
    """One psql per batch. Each statement's answer is its lines, or None and the SQLSTATE when it failed."""

    def __init__(self, pg, database):
        self.pg, self.database = pg, database

    def answers(self, statements):
        path = f"{self.pg.folder}/batch-{threading.get_ident()}.sql"
        with open(path, "wb") as f:
            f.write(b"\\set ON_ERROR_STOP off\n")
            for s in statements:
                f.write(s.encode("utf-8", "surrogatepass") + b";\n\\echo <end> :ERROR :SQLSTATE\n")
        os.chmod(path, 0o644)
        env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        done = subprocess.run([f"{self.pg.bin}/psql", "-X", "-q", "-A", "-t", "-h", self.pg.folder, "-U", "postgres", "-d", self.database, "-f", path],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=env, check=False)
        os.unlink(path)
        out, lines = [], []
        for line in done.stdout.decode("utf-8", "replace").split("\n"):
            if line.startswith("<end> "):
                _, failed, state = line.split(" ")
                out.append((None, state) if failed == "true" else ("\n".join(lines), ""))
                lines = []
            else:
                lines.append(line)
        assert len(out) == len(statements), (len(out), len(statements), done.stderr[-2000:])
        return out


class Connection:
    """A kept connection: bytes of a request out, one whole answer back."""

    def __init__(self, port):
        self.s = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.got = b""

    def close(self):
        self.s.close()

    def more(self):
        piece = self.s.recv(262144)
        if not piece:
            raise ConnectionError(f"closed after {self.got[:200]!r}")
        self.got += piece

    def line(self):
        while b"\r\n" not in self.got:
            self.more()
        line, _, self.got = self.got.partition(b"\r\n")
        return line

    def exactly(self, n):
        while len(self.got) < n:
            self.more()
        out, self.got = self.got[:n], self.got[n:]
        return out

    def chunks(self):
        out = b""
        while n := int(self.line().split(b";")[0], 16):
            out += self.exactly(n)
            self.line()
        while self.line():
            pass
        return out

    def ask(self, request):
        """(status, headers, body)"""
        self.s.sendall(request)
        while b"\r\n\r\n" not in self.got:
            self.more()
        head, _, self.got = self.got.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        status = int(lines[0].split(b" ")[1])
        headers = {k.lower(): v for k, _, v in (x.partition(b": ") for x in lines[1:])}
        if b"content-length" in headers:
            body = self.exactly(int(headers[b"content-length"]))
        elif headers.get(b"transfer-encoding") == b"chunked":
            body = self.chunks()
        else:
            body = b""
        return status, headers, body


def request_bytes(method, path, body, headers):
    head = f"{method} {path} HTTP/1.1\r\nHost: lab\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    if body is None:
        return (head + "\r\n").encode()
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def ask_all(port, requests, threads=6):
    """The answers in the order of the requests. A connection that breaks is an answer with status 0."""
    out = [None] * len(requests)
    next_one = iter(range(len(requests)))
    lock = threading.Lock()

    def work():
        c = None
        while True:
            with lock:
                i = next(next_one, None)
            if i is None:
                break
            try:
                c = c or Connection(port)
                out[i] = c.ask(requests[i])
                if out[i][1].get(b"connection") == b"close":
                    c.close()
                    c = None
            except (OSError, ValueError) as e:
                out[i] = (0, {}, repr(e).encode())
                c = None
        if c:
            c.close()

    crew = [threading.Thread(target=work) for _ in range(threads)]
    for t in crew:
        t.start()
    for t in crew:
        t.join()
    return out


def body_json(answer):
    return json.loads(answer[2])
