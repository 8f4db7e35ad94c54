"""A server that answers well and badly, for tests of the outgoing HTTP client.

    python3 upstream.py FOLDER

Prints one line, `PORT TLSPORT CAFILE`, and serves until its standard input ends. The TLS server's certificate is for
"localhost" alone and is signed by a CA made in FOLDER. Paths: see Handler.routes.
"""
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

counters = {"connections": 0, "sent": 0, "broken": 0}


class Quiet(BaseHTTPRequestHandler):
    """Reads any body, and logs nothing."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while n := int(self.rfile.readline(), 16):
                data += self.rfile.read(n)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status, data=b"", *headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


class Handler(Quiet):
    def setup(self):
        super().setup()
        counters["connections"] += 1
        self.number = counters["connections"]

    def answer_json(self, value):
        self.answer(200, json.dumps(value).encode(), ("Content-Type", "application/json"), ("X-Shown", "as Sent"))

    # ---- paths ----

    def hello(self, rest, query):
        self.answer(200, b"hello")

    def echo(self, rest, query):
        data = self.body()
        self.answer_json({"method": self.command, "path": self.path, "length": len(data), "sum": sum(data) % 65536,
                          "text": data[:64].decode(errors="replace"), "connection": self.number,
                          "headers": {k.lower(): v for k, v in self.headers.items()}})

    def counters(self, rest, query):
        self.answer_json(counters)

    def status(self, rest, query):
        self.body()
        self.answer(int(rest[0]), b"status")

    def chunked(self, rest, query):
        """/chunked/N: N bytes, 'abc...' of 1000 in a chunk."""
        left = int(rest[0])
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while left > 0:
                n = min(left, 1000)
                self.wfile.write(b"%x\r\n" % n + bytes(97 + i % 26 for i in range(n)) + b"\r\n")
                counters["sent"] += n
                left -= n
            self.wfile.write(b"0\r\nX-Trailer: late\r\n\r\n")
        except OSError:
            counters["broken"] += 1
            self.close_connection = True

    def slow(self, rest, query):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        try:
            for _ in range(1000):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)
        except OSError:
            self.close_connection = True

    def silent(self, rest, query):
        time.sleep(30)

    def reset(self, rest, query):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def short(self, rest, query):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this")
        self.close_connection = True

    def garbage(self, rest, query):
        self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        self.close_connection = True

    def heads(self, rest, query):
        self.answer(200, b"", *[(f"X-Header-{i}", "v" * 1000) for i in range(int(rest[0]))])

    def interim(self, rest, query):
        self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: early\r\n\r\n")
        self.answer(200, b"final", ("X-Final", "yes"))

    def redirect(self, rest, query):
        """/redirect/STATUS?to=URL"""
        self.body()
        self.answer(int(rest[0]), b"elsewhere", ("Location", query["to"][0]))

    def times(self, rest, query):
        """/times/N: N redirects, then hello."""
        n = int(rest[0])
        self.answer(302, b"", ("Location", f"/times/{n - 1}" if n > 1 else "/hello"))

    def early(self, rest, query):
        """Answers before it has read the body, which it then reads."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        self.wfile.flush()
        time.sleep(0.2)
        n = len(self.body())
        self.wfile.write(b"%5d" % (n % 100000))

    routes = {name: name for name in ("hello echo counters status chunked slow silent reset short garbage heads interim redirect "
                                      "times early").split()}

    def serve(self):
        url = urllib.parse.urlsplit(self.path)
        name, *rest = url.path.strip("/").split("/")
        if name not in self.routes:
            self.answer(404, b"no such path")
        else:
            getattr(self, self.routes[name])(rest, urllib.parse.parse_qs(url.query))

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = serve


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # callers leave early on purpose


def certificates(folder):
    """A CA, and a certificate of its for localhost."""
    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost",
            "-keyout", "key.pem", "-out", "request.pem")
    with open(f"{folder}/names", "w") as f:
        f.write("subjectAltName=DNS:localhost\n")
    openssl("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "names", "-out", "cert.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    return context


def main():
    folder = os.path.abspath(sys.argv[1])
    plain, secure = Server(("127.0.0.1", 0), Handler), Server(("127.0.0.1", 0), Handler)
    secure.socket = certificates(folder).wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
    for server in (plain, secure):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(plain.server_port, secure.server_port, f"{folder}/ca.pem", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
