#!/usr/bin/env python3
"""Names and values full of metacharacters, in every field of every data route (surface.py): G-01, G-10.

Whatever arrives: never a 5xx, an answer that is JSON in valid UTF-8, the server alive, and no row touched but those addressed.
What a request may not change is summed up before and after each field's payloads (surface.GUARDS).

    ATHENA_FIELD=GLOB        only these fields
"""
import fnmatch
import json
import os
import subprocess
import sys
import time
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [f"{ROOT}/tests/support", f"{ROOT}/tests/conformance"]
from bulk import PLUGINS, ask_all  # noqa: E402
from lab import ADMIN_KEY, Lab, executable, wait_for  # noqa: E402
import surface  # noqa: E402

sys.set_int_max_str_digits(0)   # any number is good JSON
ONLY = os.environ.get("ATHENA_FIELD", "*")

WORDS = ["'", "''", '"', '""', "\\", "\\'", "`", ";", "--", "/*", "*/", "#", "%", "%27", "%00", "_", "$1", "$$", "$$x$$", "::text", "(", ")", "()", "[", "]", "{", "}",
         ",", ".", "..", "...", "a.b.c", ".a", "a.", '"a', 'a"', '"a"."b"', '"a""b"', "*", "id'", "id\"", 'id" ; drop table guard; --',
         "id; drop table guard", "id' or '1'='1", "1 or 1=1", "1; delete from guard", "id) or (1=1", "(select word from guard limit 1)", "id, (select word from private.secrets)",
         "id_', t.id, 'k', (select word from private.secrets), 'z", "target; update guard set word = 'x'", "guard\" set word = 'x' --", "pg_sleep(20)", "'; select pg_sleep(20); --",
         "U&\"\\0061\"", "E'\\047'", "x'41'", "null", "NULL", "true", "or", "and", "not", "not.id.eq.1", "or(id.eq.1)", "and(", "id.eq", "id.eq.", ".eq.1", "id..1", "id.not.not.eq.1",
         "in.(", "eq.1,id.gt.0", "eq.1)", "neq.", "id->", "id->>", "->a", "id->>'x'", "data->a->>b->c", "data->>a'b", "a:b:c", "a:", ":a", "id::int; drop table guard", "id::nosuch", "id::int[][]",
         "id as x", "id AS \"", "owners(", "owners()", "owners(id", "owners!inner!left(id)", "owners!nosuch(id)", "x:owners!(id)", "owners(owners(owners(owners(owners(id)))))",
         "public.target", "private.secrets", "pg_catalog.pg_authid", "information_schema.tables", "pg_class", "a" * 63, "a" * 64, "é" * 40, "a" * 5000, "é" * 4000, "日本語", "🙂", "\u202e", "\ufeffid", "\u00a0id", "ID", "Id",
         " id", "id ", "id\t", "id\n", "id\r\nx-evil: 1", "\x01", "\x1b[31m", "\x7f", "constructor", "__proto__", "0", "-1", "1e9", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "1.5", "0x10", "1_000",
         "infinity", "NaN", "now", "2024-13-45", "items=5-1", "items=0-99999999999999999999", "bytes=0-1", "count=planned", "return=minimal", "resolution=ignore-duplicates", "..%2f..%2fetc%2fpasswd", "../../etc/passwd", "<script>", "${jndi:ldap://x}", "{{7*7}}",
         "postgres://a:b@127.0.0.1:1/x", "jdbc:postgresql://localhost/x", "http://127.0.0.1/"]
# As JSON, whatever the field wants: raw bytes, so that they need not be good JSON either.
VALUES = [b"null", b"true", b"false", b"0", b"-0", b"-1", b"1.5", b"1e400", b"-1e-400", b"9223372036854775808", b"123456789012345678901234567890", b"1" * 5000, b"[]", b"{}", b'""', b'" "', b"[[]]",
          b"[null]", b"[{}]", b'{"":1}', b'{"a":{"b":{"c":[1,{"d":null}]}}}', b'["id"]', b'{"id":1}', b'{"id":{"eq":1}}', b'{"id":{}}', b'{"or":[]}', b'{"and":[{}]}', b'{"not":{}}', b'{"or":{"id":1}}',
          b'"\\u0000"', b'"a\\u0000b"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude42"', b'"\xff\xfe"', b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"\xf5\x80\x80\x80"', b'"\x00"', b'"\n"', b'"unended', b"'x'", b"nul", b"01", b"+1",
          b".5", b"1.", b"[1,]", b'{"a":1,}', b'{"a":1,"a":2}', b"/* c */1", b"NaN", b"", b"@", b"[" * 100 + b"]" * 100, b"[" * 100000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b'["' + b"x" * 100000 + b'"]',
          b"[" + b",".join([b"1"] * 70000) + b"]", b"[" + b",".join([b'{"column":"id","value":1}'] * 3000) + b"]", b'"' + b"(" * 5000 + b'"', b'"' + b"not." * 5000 + b'id.eq.1"', b'"' + b"id.eq.1," * 500 + b'id.eq.1"',
          b'"' + b"owners(" * 300 + b"id" + b")" * 300 + b'"', b'"' + b"id," * 3000 + b'id"']
RAW = [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\x00", b"\x80abc", b"a\x00b"]


def payloads(field):
    """What goes into the hole, as bytes in place."""
    if field.where == "url":
        words = [w.encode() for w in WORDS if len(w) <= 5000] + RAW
        return [urllib.parse.quote_from_bytes(w, safe="").encode() for w in words] + [b"%", b"%zz", b"%u0041", b"+", b"%2", b"&", b"=", b"&&==", b"a" * 9000]
    if field.where == "header":
        return [w.encode() for w in WORDS if len(w) <= 5000 and not set(w) & set("\r\n\x00\x01\x1b\x7f")] + [b"\xff\xfe", b"\xed\xa0\x80", b"", b" ", b"\t", b"a" * 9000]
    return [json.dumps(w, ensure_ascii=i % 2 == 0).encode() for i, w in enumerate(WORDS)] + VALUES


def request(field, fill):
    hole = b"@@"
    path, body = field.path.encode(), field.body.encode()
    headers = {"host": b"lab", "x-athena-client": b"app", "x-athena-key": ADMIN_KEY.encode(), "content-type": b"application/json",
               **{k: v.encode() for k, v in field.headers.items()}}
    if field.where == "url":
        path = path.replace(hole, fill)
    elif field.where == "header":
        headers = {k: v.replace(hole, fill) for k, v in headers.items()}
    else:
        body = body.replace(hole, fill)
    head = b"%s %s HTTP/1.1\r\n" % (field.method.encode(), path) + b"".join(b"%s: %s\r\n" % (k.encode(), v) for k, v in headers.items())
    if field.body or field.method not in ("GET", "DELETE"):
        head += b"content-length: %d\r\n" % len(body)
    return head + b"\r\n" + body


def judge(answer):
    status, headers, body = answer
    if status == 0:
        return f"no answer: {body.decode()}"
    if status >= 500:
        return f"status {status}"
    if b"x-evil" in headers:
        return "a header of the caller's making"
    if status in (204, 304, 308) or status in (400, 414, 431) and not body and headers.get(b"connection") == b"close":
        return ""                # the HTTP parser's own refusals have no body (contract 2.1)
    try:
        said = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as e:
        return f"status {status} and no JSON: {e}"
    if status >= 400 and not (isinstance(said, dict) and (said.get("error") or said.get("message"))):
        return f"status {status} without words"
    return ""


class Tried:
    def __init__(self, pg, server):
        self.pg, self.server, self.asked, self.problems, self.missing = pg, server, 0, [], set()

    def guards(self):
        return self.pg.run(surface.GUARDS, "app")

    def problem(self, field, fill, what):
        self.problems.append(f"{field.name}: {what}\n    {request(field, fill)[:700]!r}")

    def good(self, field):
        plain = field.plain if isinstance(field.plain, str) else str(field.plain)
        fill = plain.encode()
        answer = ask_all(self.server.port, [request(field, fill)], 1)[0]
        if b'"feature_unavailable"' in answer[2]:
            self.missing.add(field.route)
            return False
        if answer[0] not in field.status:
            self.problem(field, fill, f"the plain request is answered {answer[0]} {answer[2][:300]!r}")
        return answer[0] in field.status

    def reset(self):
        self.pg.run("delete from target where id > 50 or id < 1; insert into target (id, name, note, qty, owner_id) values (900, 'spare', 'spare', 0, 1);"
                    "update target set name = 'first', note = 'note 1', qty = 1, owner_id = 2 where id = 1", "app")

    def one(self, field):
        fills = payloads(field)
        if field.writes:
            self.reset()
        if not self.good(field):
            return
        before = self.guards() if field.writes else None
        for fill, answer in zip(fills, ask_all(self.server.port, [request(field, f) for f in fills], 24)):
            self.asked += 1
            if wrong := judge(answer):
                self.problem(field, fill, f"{wrong} {answer[2][:300]!r}")
        if field.writes and self.guards() != before:
            self.culprit(field, fills)

    def culprit(self, field, fills):
        """Which payload did it? One after the other, until the sums change again."""
        before = self.guards()
        for fill in fills:
            ask_all(self.server.port, [request(field, fill)], 1)
            after = self.guards()
            if after != before:
                self.problem(field, fill, "rows changed that were not addressed")
                return
        self.problem(field, b"?", "rows changed that were not addressed; which payload did it does not show twice")


def public(server):
    return server.request("POST", "/public/shop/fetch", {"table_name": "target"}, {"x-athena-key": ADMIN_KEY}).status


def main():
    start = time.monotonic()
    with Lab() as lab:
        pg = lab.postgres()
        pg.run("create database app")
        pg.run(surface.SCHEMA, "app")
        pg.run("create database control")
        pg.run(surface.CONTROL, "control")
        pg.run(subprocess.run([executable(), "idempotency", "install"], stdout=subprocess.PIPE, check=True, text=True).stdout, "app")
        server = lab.athena({"app": pg.uri("app"), "control": pg.uri("control")}, plugins=PLUGINS, env={"ATHENA_GATEWAY_LOGGING_CLIENT": "control"})
        wait_for("the public routes are read", 10, lambda: public(server) != 503)
        there = {r["path"] for r in server.get("/").json["routes"]} | {"/"}
        missing = {f.route for f in surface.FIELDS} - there
        fields = [f for f in surface.FIELDS if f.route in there and fnmatch.fnmatch(f.name, ONLY)]
        tried = Tried(pg, server)
        before = tried.guards()
        for f in fields:
            tried.one(f)
        if tried.guards() != before:
            tried.problems.append("the guarded rows are not what they were")
        if server.get("/ping").status != 200 or server.process.poll() is not None:
            tried.problems.append(f"the server is gone:\n{server.said()[-3000:]}")
    tried.problems += [f"not there: {route}" for route in sorted(tried.missing | missing)]
    for p in tried.problems[:60]:
        print(p)
    print(f"{len(fields)} fields, {tried.asked} payloads, {time.monotonic() - start:.0f} s")
    print(f"{tried.asked - len(tried.problems)} passed, {len(tried.problems)} failed")
    return 1 if tried.problems else 0


if __name__ == "__main__":
    sys.exit(main())
