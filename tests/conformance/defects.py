"""The defects of the published system (contract gateway.md, 32) and which tests hold that ours does not have them.

    tests/conformance/defects.py             prints the page: each defect with the tests that name it; fails when one has none

A test names a defect with its id in the name or in the docstring or comment of the test: test_pages_differ_G_05, "G-05".
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

DEFECTS = {
    "G-01": "SQL injection through the names of columns",
    "G-02": "prepared statements by text alone: a value's bytes are read as another type",
    "G-03": "counting needs no key, and its filter of words lets anything through",
    "G-04": "texts that look like a UUID are stored as one",
    "G-05": "cache keys that leave out the page, the grouping or the database; invalidation that misses",
    "G-06": "rights look at the last part of a name only",
    "G-07": "a header passes admission; labels come from raw headers",
    "G-08": "inserts that answer 409 from memory, lose or double rows",
    "G-09": "the first write to a table contacts a third party's host",
    "G-10": "filters, order and payload keys that are malformed or unknown are dropped",
    "G-11": "values compared as text",
    "G-12": "null and text cannot be written to typed columns; function arguments by JSON type",
    "G-13": "a structured count counts another schema's table, in another snapshot",
    "G-14": "reads without bounds; catalogue scans per request; results filtered in memory",
    "G-15": "session state of raw SQL reaches other callers; COMMIT inside a transaction script",
    "G-16": "numbers through double, keys in another order, texts damaged",
    "G-17": "statements told apart by their first word; a splitter that breaks on strings",
    "G-18": "the caller's errors as 500, and one error with a status per route",
    "G-19": "the REST shim ignores or, unknown operators and filters without a dot",
    "G-20": "direct URIs reach private hosts by a public name",
    "G-21": "SQL and values in logs; rows' values in errors for those without a right",
    "G-22": "a forwarded host replaces the client; addresses believed from anyone",
    "G-23": "a request is sent on to another server before it is authorised",
    "G-24": "resource_id is random for keys that are no UUID",
    "G-25": "stripping nulls removes rows instead of keys",
    "G-26": "trace ids that repeat",
    "G-27": "DDL in every client's database at the start",
    "G-30": "a cache whose capacity is counted in bytes, ten thousand in all",
    "G-31": "a connection to Redis per operation; a blocking one in the event loop",
    "G-32": "look-ups and log rows in databases for every request",
    "G-33": "facts about tables by name without the database, for ever",
    "G-34": "who waits for a leader that left waits the whole time",
    "G-35": "a ping per checkout; every page another statement",
    "G-36": "bodies parsed and copied several times; limits that differ by route",
}

# What belongs to a package that is not here yet, with the reason.
LATER = {
    "G-07": "admission and deferred queries are a package of their own: no request is limited, deferred or passed by a header yet",
}


def tests():
    for folder, folders, files in os.walk(f"{ROOT}/tests"):
        folders[:] = [f for f in folders if f not in ("recorded", "corpus", "node_modules")]
        for name in files:
            if name.endswith((".c", ".py", ".mjs")) and name != "defects.py":
                yield os.path.join(folder, name)


def found():
    """Id to the files of tests that name it."""
    out = {}
    for path in sorted(tests()):
        with open(path, encoding="utf-8") as f:
            ids = {f"G-{n}" for n in re.findall(r"[Gg][-_](\d\d)(?!\d)", f.read())}
        for i in ids:
            out.setdefault(i, []).append(os.path.relpath(path, f"{ROOT}/tests"))
    return out


def main():
    named, bad = found(), []
    for i, what in DEFECTS.items():
        print(f"{i}  {what}\n      {', '.join(named.get(i, [])) or 'later: ' + LATER.get(i, 'NO TEST NAMES IT')}")
        if i not in named and i not in LATER:
            bad.append(f"{i} has no test that names it")
        if i in named and i in LATER:
            bad.append(f"{i} has a test: it leaves LATER")
    bad += [f"{i} in {', '.join(where)} is no defect of the list" for i, where in named.items() if i not in DEFECTS]
    for b in bad:
        print(b)
    print(f"{len(DEFECTS) - len(bad)} passed, {len(bad)} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
