"""A proxy between us and an S3 server that spoils what goes through it, as it is told.

    proxy = Faults(store.port)
    proxy.spoil("PUT", "partNumber=2", status(503, "SlowDown"), times=3)    # the next three that match
    proxy.seen                                                              # [("PUT", "/bucket/key?partNumber=2&..."), ...]

A spoiler is called with the handler of a request and the body; what it does not answer itself it forwards.
"""
import http.client
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def error(code, message="said by the tests' proxy"):
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()


def status(number, code="", message="said by the tests' proxy", **headers):
    """The store is not asked."""
    return lambda h: (h.body(), h.answer(number, {k.replace("_", "-"): v for k, v in headers.items()}, error(code, message) if code else b""))


def reset(after=0):
    """A broken connection when `after` bytes of the body have come; the store hears nothing."""
    return lambda h: (h.rfile.read(min(after, h.length())), h.reset())


def lost(h):
    """The store does it, but its answer never comes."""
    h.forward()
    h.reset()


def silent(seconds):
    return lambda h: (h.body(), time.sleep(seconds), h.reset())


def cut(after):
    """The answer's body ends after so many bytes."""
    def spoil(h):
        number, headers, data = h.forward()
        h.answer(number, headers, data[:after], length=len(data))
        h.close()
    return spoil


def stalled(after, seconds):
    def spoil(h):
        number, headers, data = h.forward()
        h.answer(number, headers, data[:after], length=len(data))
        time.sleep(seconds)
        h.close()
    return spoil


def dribble(piece, pause):
    """The answer's body comes in pieces."""
    def spoil(h):
        number, headers, data = h.forward()
        h.answer(number, headers, b"", length=len(data))
        for at in range(0, len(data), piece):
            h.wfile.write(data[at:at + piece])
            time.sleep(pause)
    return spoil


def answer(number, body, asked=False, **headers):
    """This answer, whatever the store has done (`asked`) or has not been asked."""
    return lambda h: (h.forward() if asked else h.body(), h.answer(number, headers, body))


def with_header(name, value):
    """The store's answer with another header; None: without it."""
    def spoil(h):
        number, headers, data = h.forward()
        headers = {k: v for k, v in headers.items() if k.lower() != name.lower()}
        h.answer(number, {**headers, **({name: value} if value is not None else {})}, data)
    return spoil


def replaced(old, new):
    """The store's answer with other words in its body."""
    def spoil(h):
        number, headers, data = h.forward()
        h.answer(number, headers, data.replace(old, new))
    return spoil


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def length(self):
        return int(self.headers.get("content-length") or 0)

    def body(self):
        if not hasattr(self, "data"):
            self.data = self.rfile.read(self.length())
        return self.data

    def forward(self):
        """The store's own answer."""
        data = self.body()
        c = http.client.HTTPConnection("127.0.0.1", self.server.store_port, timeout=60)
        try:
            c.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "connection":
                    c.putheader(name, value)
            c.endheaders(data)
            r = c.getresponse()
            return r.status, dict(r.getheaders()), r.read()
        finally:
            c.close()

    def answer(self, number, headers, data, length=None):
        self.send_response_only(number)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        given = next((v for k, v in headers.items() if k.lower() == "content-length"), None)
        size = given if self.command == "HEAD" and given else length if length is not None else len(data)
        if number != 204:
            self.send_header("Content-Length", str(size))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def close(self):
        """What was sent arrives, and no more."""
        self.wfile.flush()
        self.close_connection = True

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def serve(self):
        self.__dict__.pop("data", None)
        try:
            spoil = self.server.take(self.command, self.path)
            if spoil:
                spoil(self)
            else:
                self.answer(*self.forward())
        except (OSError, ValueError, http.client.HTTPException):
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve


class Faults(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, store_port):
        super().__init__(("127.0.0.1", 0), Handler)
        self.store_port, self.port = store_port, self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.lock, self.rules, self.seen = threading.Lock(), [], []
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def handle_error(self, request, client_address):
        pass

    def spoil(self, method, part, how, times=1, after=0):
        """The next `times` requests of the method whose path has `part` in it, but for the first `after` of them."""
        with self.lock:
            self.rules.append([method, part, how, times, after])

    def take(self, method, path):
        with self.lock:
            self.seen.append((method, path))
            for rule in self.rules:
                if rule[0] == method and rule[1] in path:
                    if rule[4]:
                        rule[4] -= 1
                    elif rule[3]:
                        rule[3] -= 1
                        return rule[2]
        return None

    def count(self, method, part=""):
        with self.lock:
            return sum(m == method and part in p for m, p in self.seen)

    def calm(self):
        with self.lock:
            self.rules, self.seen = [], []

    def stop(self):
        self.shutdown()
        self.server_close()
