#!/usr/bin/env python3
"""Values both ways (contract 12): what psql shows before equals what it shows after.

Reading: the bytes of each cell in an answer are those of PostgreSQL's own to_json(), in every way to ask for it.
Writing: each kind of value (kinds.py) goes in as JSON text, as a bare number or boolean, as a JSON array or document; psql must
show what it shows for the same literal of its own (G-04, G-11, G-12, G-16). Then what was read is written back, unread by us:
psql must not see a difference. A value that does not fit is 400, and nothing was written.
"""
import json
import os
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [f"{ROOT}/tests/support", f"{ROOT}/tests/conformance"]
from bulk import PLUGINS, Psql, ask_all, request_bytes  # noqa: E402
from kinds import BY_NAME, KINDS, TYPES, array_sql, array_text, ident, is_json, literal  # noqa: E402
from lab import ADMIN_KEY, Lab  # noqa: E402

HEADERS = {"X-Athena-Client": "app", "X-Athena-Key": ADMIN_KEY}
# More than conditions need: the ends of each type, and arrays of every form.
MORE = {
    "c_numeric": ["0.00", "-0.0", "100", "1e-20", "99999999999999999999999999999999999999.99999999999999999999"],
    "c_num3820": ["999999999999999999.99999999999999999999", "-999999999999999999.99999999999999999999", "0.00000000000000000001"],
    "c_text": ["0123456789abcdef0123456789abcdef", "AAAAAAAA-0000-4000-8000-00000000000A", "{aaaaaaaa-0000-4000-8000-00000000000a}", "2024-05-05T05:05:05Z",
               "x" * 100000, "\\x00ff", "[1,2]", "{}", '{"a":1}'],
    "c_json": ['{"z":1, "a":2,  "z":3}', "[1.10, 100.00, 1e5, 12345678901234567890123]", '{"nested":{"b":null,"a":[{}]}}', '"\\u00e9\\n"'],
    "c_jsonb": ['{"n": 1.10, "big": 12345678901234567890123.456}'],
    "c_bytea": ["\\x" + "ab" * 5000],
    "c_interval": ["-1 year -2 mons +3 days -04:05:06.789", "178000000 years"],
    "c_ts": ["1999-12-31 23:59:59.999999", "4713-01-01 00:00:00 BC"],
}
ITEMS = {
    "a_int4": [[], ["1"], ["1", None, "3"], [["1", "2"], ["3", "4"]], [["1"], ["2"]], [None]],
    "a_text": [[], ["a", "b c", "NULL", "", "{x}", 'q"q', "back\\slash", None, "null", "é"], [["a", "b"], ["c", None]],
               ["0123456789abcdef0123456789abcdef", "AAAAAAAA-0000-4000-8000-00000000000A"]],
    "a_numeric": [["1.50", "NaN", "123456789012345678901234567890.123456789"]],
    "a_bool": [["true", "false", None]],
    "a_tstz": [["2024-05-05T05:05:05.000001+00:00", "infinity", None]],
    "a_jsonb": [['{"a": 1}', "[1, 2]", '"s"', "5", "true"], []],
    "a_bytea": [["\\x00ff", "\\x"]],
    "a_composite": [["(1,a)", '(2,"b c")']],
    "a_box": [["(1,1),(0,0)", "(3,3),(2,2)"]],
}


# Their JSON is an object, which only json and text columns take; their own text can be written.
NO_OBJECTS = ("c_composite", "a_composite", "c_hstore")


def texts_of(kind):
    """(literal as SQL, the JSON forms that mean it)"""
    if kind.of:
        for items in ITEMS.get(kind.name, [[], kind.of.good[:3], [kind.of.good[0], None]]):
            forms = [json.dumps(array_text(items, kind.delimiter)), array_json(kind.of, items)]
            yield array_sql(kind, items), forms
        return
    for text in kind.good + MORE.get(kind.name, []):
        forms = [json.dumps(text)]
        if kind.form == "number" and is_json(text):
            forms.append(text)
        if kind.form == "bool":
            forms.append(text)
        if kind.form == "json":
            forms = [text] if text.startswith('"') else [text, json.dumps(text)]
            forms = [f for f in forms if f != "null"]      # that is SQL's null
        yield f"{literal(text)}::{kind.type}", forms


def array_json(of, items):
    def one(i):
        if i is None:
            return "null"
        if isinstance(i, list):
            return array_json(of, i)
        if of.form == "json" or of.form in ("number", "bool") and is_json(i):
            return i
        return json.dumps(i)
    return "[" + ",".join(one(i) for i in items) + "]"


class Values:
    def __init__(self, pg, server):
        self.pg, self.server = pg, server
        self.psql = Psql(pg, "app")
        self.passed, self.failed = 0, []
        self.next = 1000

    def check(self, holds, what):
        if holds:
            self.passed += 1
        else:
            self.failed.append(what[:1500])

    def ask(self, asked):
        return ask_all(self.server.port, [request_bytes(m, p, b.encode() if b is not None else None, HEADERS) for m, p, b in asked])

    def shown(self, statements):
        return self.psql.answers(["set timezone = 'UTC'"] + statements)[1:]

    # ---- reading ----

    def reading(self):
        """Every value of every kind in a row of its own, read in each way."""
        rows = [(k, sql) for k in KINDS for sql, _ in texts_of(k)]
        self.pg.run("".join(f"insert into c_all (id, {ident(k.column)}) values ({i}, {sql});\n" for i, (k, sql) in enumerate(rows, 1)), "app")
        spans = {}
        for i, (k, _) in enumerate(rows, 1):
            spans.setdefault(k.name, []).append(i)
        kinds = [BY_NAME[n] for n in spans]
        truths = self.shown([f"select coalesce(to_json({ident(k.column)})::text, 'null') from c_all where id between {spans[k.name][0]} and {spans[k.name][-1]} order by id"
                             for k in kinds])
        for way in (self.by_columns, self.by_select, self.by_star, self.embedded):
            answers = self.ask([way(k, spans[k.name]) for k in kinds])
            for k, (truth, _), (status, _, body) in zip(kinds, truths, answers):
                cells = [f"{json.dumps(k.column, ensure_ascii=False)}:{c}" for c in truth.split("\n")]
                text = body.decode("utf-8", "replace")
                missing = [c for c in cells if c + "}" not in text]
                self.check(status == 200 and not missing, f"reading {k.column} {way.__name__}: {status}, not in the answer: {missing[:2]}\n    {text[:600]}")

    def by_columns(self, k, ids):
        return "POST", "/gateway/fetch", json.dumps({"table_name": "c_all", "columns": [ident(k.column)], "where": {"id": ids}, "limit": 1000, "order_by": {"id": "asc"}})

    def by_select(self, k, ids):
        return "POST", "/gateway/fetch", json.dumps({"table_name": "c_all", "select": [{"kind": "column", "name": name(k)}], "where": {"id": ids}, "orderBy": {"id": "asc"}})

    def by_star(self, k, ids):
        return "POST", "/gateway/fetch", json.dumps({"table_name": "c_all", "where": {"id": ids}, "limit": 1000, "order_by": {"id": "asc"}, "strip_nulls": True})

    def embedded(self, k, ids):
        return "POST", "/gateway/fetch", json.dumps({"table_name": "c_link", "select": [{"kind": "relation", "name": "c_all", "alias": "r",
                                                     "query": {"select": [{"kind": "column", "name": name(k)}]}}], "where": {"c_all_id": ids}, "limit": 1000})

    # ---- writing ----

    def insert(self, k, form):
        self.next += 1
        return self.next, ("PUT", "/gateway/insert", f'{{"table_name":"c_all","insert_body":{{"id":{self.next},{json.dumps(k.column)}:{form}}}}}')

    def bulk(self, k, form):
        """As the second of two rows, so that both rows' types must be found."""
        self.next += 2
        return self.next, ("PUT", "/gateway/insert", f'{{"table_name":"c_all","insert_body":[{{"id":{self.next - 1},{json.dumps(k.column)}:null}},'
                                                     f'{{"id":{self.next},{json.dumps(k.column)}:{form}}}]}}')

    def update(self, k, form):
        self.next += 1
        self.pg_rows.append(self.next)
        return self.next, ("POST", "/gateway/update", f'{{"table_name":"c_all","data":{{{json.dumps(k.column)}:{form}}},"conditions":[{{"eq_column":"id","eq_value":{self.next}}}]}}')

    def writing(self, way):
        """Each form of each value; what psql shows of it against what psql shows of its own literal."""
        self.pg_rows, tried = [], []
        for k in KINDS:
            for sql, forms in texts_of(k):
                tried += [(k, sql, form, *way(k, form)) for form in forms]
        bad = [(k, literal(text), json.dumps(text), *way(k, json.dumps(text))) for k in KINDS for text in k.bad]
        bad += [(k, "", form, *way(k, form)) for k in (BY_NAME["c_text"], BY_NAME["c_jsonb"], BY_NAME["a_text"]) for form in ('"a\\u0000b"', '"\\ud800"')]
        bad += [(BY_NAME[n], "", form, *way(BY_NAME[n], form)) for n, form in (("c_int4", "1.5"), ("c_int4", "true"), ("c_int4", '{"a":1}'), ("c_int4", "[1]"),
                                                                            ("c_bool", "5"), ("a_int4", '["x"]'), ("a_int4", "[[1],[2,3]]"), ("a_int4", "5"),
                                                                            ("c_uuid", "1"), ("c_date", "20240101.5"), ("c_enum", "5"), ("c_dom_int", "-1"))]
        if self.pg_rows:
            self.pg.run(f"insert into c_all (id) values {', '.join(f'({i})' for i in self.pg_rows)}", "app")
        answers = self.ask([t[4] for t in tried + bad])
        truths = self.shown([s for k, sql, _, i, _ in tried for s in (f"select {ident(k.column)}::text from c_all where id = {i}", f"select ({sql})::text")])
        for n, ((k, sql, form, _, _), (status, _, body)) in enumerate(zip(tried, answers)):
            got, right = truths[2 * n], truths[2 * n + 1]
            self.check(status == 200 and got == right and right[0] is not None,
                       f"{way.__name__} {k.column} ({k.type}) {form[:200]}: {status}, psql shows {got[0]!r:.200}, right is {right[0]!r:.200} {'' if status == 200 else body[:400]}")
        left = self.shown([f"select count({ident(k.column)}) from c_all where id = {i}" for k, _, _, i, _ in bad])
        for (k, _, form, _, _), (status, _, body), (count, _) in zip(bad, answers[len(tried):], left):
            self.check(status == 400 and count == "0", f"{way.__name__} {k.column} of {form[:200]}: {status} where 400 is right, {count} rows {body[:300]}")

    def and_back(self):
        """What a fetch gives of a cell, written as it is: the same for psql. A json null is SQL's null, once it has been JSON."""
        rows = [(int(i), BY_NAME[n]) for i, n in (line.split(" ", 1) for line in self.pg.run(
            "\n".join(f"select id || ' {k.name}' from c_all where id < 1000 and {ident(k.column)} is not null;" for k in KINDS), "app").splitlines())]
        cells = self.shown([f"select to_json({ident(k.column)})::text from c_all where id = {i}" for i, k in rows])
        tried = [(i, k, cell, *self.insert(k, cell)) for (i, k), (cell, _) in zip(rows, cells) if cell != "null" and not json_text_in_json(k, cell)]
        answers = self.ask([t[4] for t in tried])
        truths = self.shown([s for i, k, _, new, _ in tried for s in (f"select {ident(k.column)}::text from c_all where id = {i}", f"select {ident(k.column)}::text from c_all where id = {new}")])
        for n, ((i, k, cell, _, _), (status, _, body)) in enumerate(zip(tried, answers)):
            if k.name in NO_OBJECTS:
                self.check(status == 400, f"back {k.column} {cell[:200]}: {status} where an object is refused {body[:300]}")
                continue
            self.check(status == 200 and truths[2 * n] == truths[2 * n + 1],
                       f"back {k.column} ({k.type}) {cell[:200]}: {status}, psql shows {truths[2 * n + 1][0]!r:.200}, before {truths[2 * n][0]!r:.200} {'' if status == 200 else body[:400]}")


def name(k):
    """In quotes where an arrow would read as a path."""
    return ident(k.column) if "->" in k.column else k.column


def json_text_in_json(k, cell):
    """A JSON string whose text is itself JSON comes back as what it says (contract 12.2)."""
    return k.form == "json" and cell.startswith('"') and is_json(json.loads(cell))


def main():
    start = time.monotonic()
    columns = ", ".join(f"{ident(k.column)} {k.type}" for k in KINDS)
    with Lab() as lab:
        pg = lab.postgres()
        pg.run("create database app")
        pg.run(f"{TYPES}\ncreate table c_all (id int primary key, {columns}); create table c_link (id int primary key, c_all_id int references c_all);", "app")
        server = lab.athena({"app": pg.uri("app")}, plugins=PLUGINS)
        v = Values(pg, server)
        pg.run("alter table c_link drop constraint c_link_c_all_id_fkey; insert into c_link select i, i from generate_series(1, 999) i;"
               "alter table c_link add foreign key (c_all_id) references c_all not valid", "app")
        v.reading()
        v.writing(v.insert)
        v.writing(v.bulk)
        v.writing(v.update)
        v.and_back()
        if server.process.poll() is not None:
            v.failed.append(f"the server is gone:\n{server.said()[-2000:]}")
    for f in v.failed[:60]:
        print(f)
    print(f"{len(KINDS)} kinds, {time.monotonic() - start:.0f} s")
    print(f"{v.passed} passed, {len(v.failed)} failed")
    return 1 if v.failed else 0


if __name__ == "__main__":
    sys.exit(main())
