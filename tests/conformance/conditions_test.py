#!/usr/bin/env python3
"""Random conditions over random rows: whatever a dialect says, the rows are those of the condition written by hand in SQL.

    tests/conformance/conditions_test.py            over 20,000 cases; the seed is printed
    ATHENA_SEED=7 ...                               the same cases again
    ATHENA_SEED=7 ATHENA_CASE=123 ...               that one alone
    ATHENA_CASES=1000 ...                           fewer

A case is a tree (trees.py), its SQL with literals, and the request that one dialect (dialects.py) makes of it. The server must
answer the ids that psql gives, or 400 where psql has an error or the contract has no meaning (G-10, G-11). Half of the cases
repeat the shape before with other values, so what the server remembers of shapes is tried, too (G-02).
A case that fails is cut down before it is printed.
"""
import json
import os
import random
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [f"{ROOT}/tests/support", f"{ROOT}/tests/conformance"]
from bulk import PLUGINS, Psql, ask_all, request_bytes  # noqa: E402
from dialects import DIALECTS, ROUTES, encode  # noqa: E402
from kinds import KINDS, TYPES, array_sql, ident, literal, some_items  # noqa: E402
from lab import ADMIN_KEY, Lab  # noqa: E402
import trees  # noqa: E402

ROWS = 64
CASES = int(os.environ.get("ATHENA_CASES", "22000"))
SEED = int(os.environ.get("ATHENA_SEED") or random.SystemRandom().randrange(1 << 31))
ONLY = os.environ.get("ATHENA_CASE")
MISMATCH = {"type_operator_mismatch": 422, "text_uuid_operator_mismatch": 422}   # the catalogue's own status (9.4)
HEADERS = {"X-Athena-Client": "app", "X-Athena-Key": ADMIN_KEY}


def cell(rng, kind):
    if rng.random() < 0.15:
        return "null"
    if kind.of:
        return array_sql(kind, some_items(rng, kind))
    return literal(rng.choice(kind.good))


def table_sql(rng):
    columns = ", ".join(f"{ident(k.column)} {k.type}" for k in KINDS)
    rows = [f"({i}, {', '.join(cell(rng, k) for k in KINDS)})" for i in range(1, ROWS + 1)]
    return (f"{TYPES}\ncreate table c_all (id int primary key, {columns});\n"
            "create view c_view as select *, 0 as touched from c_all;\n"
            "create function c_same() returns trigger language plpgsql as 'begin return case tg_op when ''DELETE'' then old else new end; end';\n"
            "create trigger t instead of update or delete on c_view for each row execute function c_same();\n"
            "create function c_rows() returns setof c_all language sql stable as 'select * from c_all';\ninsert into c_all values\n" + ",\n".join(rows) + ";")


class Case:
    """Made from the seed and its number alone."""

    def __init__(self, number):
        self.number = number
        rng = random.Random(f"{SEED}/{number - number % 2}")
        self.tree = trees.random_tree(rng)
        if number % 2:
            rng = random.Random(f"{SEED}/{number}")
            self.tree = trees.again(rng, self.tree)
        self.set(self.tree)

    def set(self, tree, dialect=None):
        rng = random.Random(f"{SEED}/{self.number - self.number % 2}/dialect")
        names = [dialect] if dialect else rng.sample(list(DIALECTS), len(DIALECTS))
        for name in names:
            self.request = encode(name, tree, rng)
            if self.request:
                self.dialect = name
                break
        self.tree, self.why = tree, ""
        try:
            self.sql = f"select id from c_all where {trees.sql(tree)} order by id"
        except trees.Refused as e:
            self.sql, self.why = "select 1/0", str(e)
        return self.request is not None

    def bytes(self):
        method, path, body = self.request
        return request_bytes(method, path, body, HEADERS)

    def judge(self, truth, answer):
        """What is wrong with the answer; empty: nothing."""
        status, _, body = answer
        try:
            said = json.loads(body)
        except ValueError:
            return f"status {status}, and no JSON"
        if truth[0] is None:
            if truth[1] == "XX000" and status == 500:
                return ""                  # hstore has no better word for a text that it cannot read
            if status != (MISMATCH.get(said.get("code"), 400)):
                return f"status {status} where 400 is right ({self.why or 'psql: ' + truth[1]})"
            return "" if said.get("code") else "an error without a code"
        if status != 200:
            return f"status {status} where psql has rows"
        right = [int(x) for x in truth[0].split()]
        rows = said["results"][0]["data"] if self.dialect == "transaction" else said["data"]
        ids = sorted(r["id"] for r in rows)
        return "" if ids == right else "other rows"

    def show(self, truth, answer, wrong):
        method, path, body = self.request
        return (f"\ncase {self.number} ({self.dialect}): {wrong}\n  tree:    {self.tree!r}\n"
                f"  request: {method} {path}\n           {(body or b'').decode('utf-8', 'replace')}\n  sql:     {self.sql}\n"
                f"  psql:    {truth}\n  athena:  {answer[0]} {answer[2][:1500].decode('utf-8', 'replace')}\n"
                f"  again:   ATHENA_SEED={SEED} ATHENA_CASE={self.number} tests/conformance/conditions_test.py")


class Play:
    def __init__(self, psql, port):
        self.psql, self.port = psql, port

    def run(self, cases):
        truths = self.psql.answers([c.sql for c in cases])
        answers = ask_all(self.port, [c.bytes() for c in cases])
        return [(c, t, a, c.judge(t, a)) for c, t, a in zip(cases, truths, answers)]

    def shrink(self, case):
        """The smallest tree found that still fails, in the same dialect."""
        case, steps = Case(case.number), 0
        progress = True
        while progress and steps < 60:
            progress = False
            for tree in list(trees.smaller(case.tree)):
                steps += 1
                smaller = Case(case.number)
                if smaller.set(tree, case.dialect) and self.run([smaller])[0][3]:
                    case, progress = smaller, True
                    break
        return self.run([case])[0]


def main():
    print(f"seed {SEED}")
    start, failed = time.monotonic(), []
    rng = random.Random(SEED)
    with Lab() as lab:
        pg = lab.postgres()
        pg.run("create database app")
        pg.run(table_sql(rng), "app")
        server = lab.athena({"app": pg.uri("app")}, plugins=PLUGINS)
        there = {r["path"] for r in server.get("/").json["routes"]}
        for name in [n for n, route in ROUTES.items() if route not in there]:
            raise SystemExit(f"no route {ROUTES[name]} for the dialect {name}")
        play = Play(Psql(pg, "app"), server.port)
        numbers = [int(ONLY)] if ONLY else range(CASES)
        cases = [c for c in map(Case, numbers) if c.request]
        used, refused, hits = {}, 0, 0
        for at in range(0, len(cases), 2000):
            for case, truth, answer, wrong in play.run(cases[at:at + 2000]):
                used[case.dialect] = used.get(case.dialect, 0) + 1
                refused += truth[0] is None
                hits += bool(truth[0])
                if wrong:
                    failed.append((case, truth, answer, wrong))
        show(play, failed)
        alive = server.get("/ping").status == 200
    print(f"{len(cases)} cases ({', '.join(f'{k} {v}' for k, v in sorted(used.items()))}), {hits} with rows, {refused} refused by both, "
          f"{time.monotonic() - start:.0f} s, seed {SEED}")
    if not alive or not ONLY and (hits < len(cases) / 4 or refused < len(cases) / 100):
        failed.append(None)
        print("the server is gone, or the cases say nothing")
    print(f"{len(cases) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def show(play, failed):
    """The first ones that differ in what is wrong, each with what it was cut down to."""
    seen = {}
    for case, truth, answer, wrong in failed:
        if len(seen) == 20:
            break
        small, *rest = play.shrink(case)
        what = (rest[-1], *sorted((t.kind.name, t.op) for t in trees.terms(small.tree)))
        if seen.setdefault(what, case) is case:
            print(case.show(truth, answer, wrong) + "\n  cut down to:" + small.show(*rest))


if __name__ == "__main__":
    sys.exit(main())
