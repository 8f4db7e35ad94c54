"""Every kind of column: its type, texts that PostgreSQL takes for it (odd ones first of all) and texts that it refuses.

The texts are written for psql, by hand: nothing here comes from the server under test. `form` says how a value may look in
JSON besides a string: "number" and "bool" as a bare one, "array" and "json" as such; a string is always allowed.
"""
import json
from dataclasses import dataclass, field


@dataclass
class Kind:
    name: str                    # of the column, without its quotes
    type: str                    # as SQL writes it
    good: list
    bad: list = field(default_factory=list)
    form: str = ""               # number, bool, array, json or none
    of: "Kind" = None            # an array's elements
    text: bool = False           # LIKE needs no cast
    range: bool = False
    same: bool = True            # has an operator =
    shown: str = ""              # the name in the table, when it is another
    own: str = ""                # its literals need this type said: psql would read them as another one

    @property
    def delimiter(self):
        return ";" if self.name == "a_box" else ","

    @property
    def column(self):
        return self.shown or self.name


# What an application calls a word, and what an attacker calls one.
WORDS = ["", "a", "A", "abc", "ABC", "O'Brien", "a\"b", "back\\slash", "100%", "a_b", "a,b", "(x)", "{y}", "[z", "null", "NULL",
         "true", "5", "1.10", " lead", "trail ", "tab\there", "line\nbreak", "cr\rhere", "semi;colon", "--comment", "/* c */", "$1",
         "$$x$$", "é", "e\u0301", "日本語", "🙂", "\u202eRTL", "\ufeffbom", "\uffff", "\U0010ffff", "\u0001", "\x7f", ":name", "a.b", "a->b",
         "not.eq.1", "and(a.eq.1)", "*", "%", "_", "\\%", "%b%", "x" * 70, "5d41402abc4b2a76b9719d911017c592",
         "AAAAAAAA-0000-4000-8000-00000000000A", "1); drop table c_all; --", "E'\\x'", "'", "''", '"', '""', "\\", "\\\\"]
ASCII = [w for w in WORDS if w.isascii()]

KINDS = [
    Kind("c_int2", "int2", ["0", "1", "-1", "32767", "-32768", "5"], ["32768", "x", "1.5", ""], "number"),
    Kind("c_int4", "int4", ["0", "1", "-1", "5", "9", "10", "2147483647", "-2147483648"], ["2147483648", "5x", "1e2", "1.0"], "number"),
    Kind("c_int8", "int8", ["0", "1", "5", "9007199254740993", "9223372036854775807", "-9223372036854775808"],
         ["9223372036854775808", "abc"], "number"),
    Kind("c_float4", "float4", ["0", "0.1", "-0", "1.5", "3.4028235e38", "1e-45", "NaN", "Infinity", "-Infinity"], ["1e39", "one"], "number"),
    Kind("c_float8", "float8", ["0", "0.1", "0.30000000000000004", "0.3", "1e300", "-1e-300", "NaN", "Infinity", "-Infinity", "5"],
         ["1e400", "--1"], "number"),
    Kind("c_numeric", "numeric", ["0", "5", "5.0", "1.10", "1.1", "9", "10", "NaN", "Infinity", "-Infinity", "18446744073709551616.000",
                                  "123456789012345678901234567890.123456789", "0.000001", "1e10"], ["1,5", "1.1.1"], "number"),
    Kind("c_num3820", "numeric(38,20)", ["0", "1.5", "123456789012345678.12345678901234567890", "-0.00000000000000000001"], ["1..2"], "number"),
    Kind("c_bool", "bool", ["true", "false"], ["maybe", "2"], "bool"),
    Kind("c_text", "text", WORDS, [], text=True),
    Kind("c_varchar", "varchar(80)", WORDS, [], text=True),
    Kind("c_char4", "char(4)", ["ab", "ab  ", "abcd", "", "a'b", "%", "é"], [], text=True),
    Kind("c_name", "name", ["users", "Mixed", "a\"b", "o'x"], [], text=True),
    Kind("c_qchar", '"char"', ["a", "b", "'", "\\"], []),
    Kind("c_citext", "citext", ["Ann", "ann", "ANN", "50%", "O'x"], [], text=True),
    Kind("c_uuid", "uuid", ["aaaaaaaa-0000-4000-8000-00000000000a", "AAAAAAAA-0000-4000-8000-00000000000A",
                            "00000000-0000-0000-0000-000000000000", "{11111111-2222-3333-4444-555555555555}",
                            "11111111222233334444555555555555"], ["aaaa", "not-a-uuid"]),
    Kind("c_date", "date", ["2000-02-29", "2024-05-05", "0044-03-15 BC", "infinity", "-infinity", "9999-12-31", "5874897-12-31"],
         ["2001-02-29", "soon", "2024-13-01"]),
    Kind("c_time", "time", ["00:00", "23:59:59.999999", "24:00:00", "12:30"], ["25:00", "noonish"]),
    Kind("c_timetz", "timetz", ["10:11:12+02", "08:11:12+00", "23:59:59.999999-15:59"], ["99:00+00"]),
    Kind("c_ts", "timestamp", ["2024-05-05 05:05:05.000005", "2024-05-05T05:05:05", "0044-03-15 01:02:03 BC", "infinity", "-infinity"],
         ["2024-05-05 25:00", "never"]),
    Kind("c_tstz", "timestamptz", ["2024-05-05T05:05:05+00:00", "2024-05-05 07:05:05+02", "2024-05-05T05:05:05Z", "2024-05-05 05:05:05.000001+00",
                                   "infinity", "-infinity", "0044-03-15 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00"],
         ["2024-02-30T00:00:00Z", "yesterdayish"]),
    Kind("c_interval", "interval", ["1 day 02:00:00", "26:00:00", "-1 mon +3 days", "1 year 2 mons", "P1DT2H", "00:00:00.000001"], ["1 fortnightish"]),
    Kind("c_bytea", "bytea", ["\\x00ff", "\\x", "\\xDEADBEEF", "abc"], ["\\xZZ", "\\x0"]),
    Kind("c_json", "json", ['{"a": 1}', '{"b":1,"a":2}', "[1, 2]", '"text"', "5", "null", "true", '{"a":{"b":[1,{"c":null}]}}', '"O\'x"'], [], "json"),
    Kind("c_jsonb", "jsonb", ['{"a": 1}', '{"b":1,"a":2}', "[1, 2]", "[1,2,3]", '"text"', "5", "5.0", "null", "false", "{}", "[]",
                              '{"a":{"b":[1,{"c":null}]}}', '{"k,ey":"v\\"al"}', '"日本"'], [], "json"),
    Kind("c_inet", "inet", ["10.1.2.3/8", "10.1.2.3", "::1", "192.168.0.0/24"], ["10.1.2", "999.1.1.1"]),
    Kind("c_cidr", "cidr", ["10.1.0.0/16", "10.0.0.0/8", "::/0"], ["10.1.2.3/8"], own="cidr"),
    Kind("c_macaddr", "macaddr", ["08:00:2b:01:02:03", "08002b:010203"], ["zz:00"]),
    Kind("c_money", "money", ["$1,234.50", "1234.5", "-5", "0"], ["one dollar"]),
    Kind("c_bit", "bit(4)", ["1010", "0000", "xF"], ["12", "102"]),
    Kind("c_varbit", "varbit", ["101", "", "1"], ["2"]),
    Kind("c_tsvector", "tsvector", ["a fat cat", "'a':1 'b':2", ""], ["'unended"]),
    Kind("c_tsquery", "tsquery", ["fat & cat", "a | b"], ["& &"]),
    Kind("c_xml", "xml", ["<a/>", "<a>é &amp; b</a>", "text"], ["<a>"], same=False),
    Kind("c_point", "point", ["(1,2)", "(0,0)"], ["(1"], same=False),
    Kind("c_box", "box", ["(1,1),(0,0)", "(3,3),(2,2)"], ["(1,1)"]),
    Kind("c_lsn", "pg_lsn", ["16/B374D848", "0/0"], ["zz"]),
    Kind("c_oid", "oid", ["0", "1259", "4294967295"], ["-x", "4294967296"], "number"),
    Kind("c_regclass", "regclass", ["pg_class", "pg_catalog.pg_type"], ["no_such_class"], own="regclass"),
    Kind("c_int4range", "int4range", ["[1,10)", "[1,9]", "empty", "(,5]", "[3,)"], ["[10,1)", "[1"], range=True),
    Kind("c_numrange", "numrange", ["[1.1,2.2]", "(0,1.5)", "empty"], ["[a,b]"], range=True),
    Kind("c_tstzrange", "tstzrange", ['["2024-01-01 00:00:00+00",)', "[2024-01-01,2024-02-01)"], ["[x,y)"], range=True),
    Kind("c_multirange", "int4multirange", ["{[1,3),[5,8)}", "{}", "{[1,10)}"], ["{[3,1)}"], range=True),
    Kind("c_enum", "mood", ["low", "mid", "high's", "very high"], ["lowest", "LOW", ""]),
    Kind("c_dom_int", "positive", ["1", "5", "9"], ["five"], "number"),
    Kind("c_dom_text", "short_text", ["a", "b'c", "ünï", "5"], [], text=True),
    Kind("c_dom_enum", "good_mood", ["mid", "very high"], ["nice"]),
    Kind("c_dom_dom", "small_positive", ["1", "5"], ["x"], "number"),
    Kind("c_composite", "pair", ["(1,a)", '(2,"b c")', "(,)", '(3,"q""x")'], ["(1", "(x,a)"], own="pair"),
    Kind("c_hstore", "hstore", ['"a"=>"1"', '"a"=>"1","b"=>NULL', ""], []),
    Kind("c_ltree", "ltree", ["top.a.b", "top", "top.b"], ["a b"]),
    Kind("plain_int", "int4", ["1", "2", "3"], ["x"], "number", shown="Mixed Case"),
    Kind("weird", "text", ["w1", "w'2"], [], text=True, shown="we\"ird"),
    Kind("select_", "int4", ["1", "2"], ["x"], "number", shown="select"),
    Kind("dotted", "int4", ["1", "2"], ["x"], "number", shown="dot.ted"),
    Kind("arrow", "text", ["r1", "r2"], [], text=True, shown="a->b"),
    Kind("unicode", "text", ["ü1", "ü2"], [], text=True, shown="ünï cödé"),
    Kind("brackets", "int4", ["1", "2"], ["x"], "number", shown="par(en),comma"),
    Kind("word_or", "int4", ["1", "2"], ["x"], "number", shown="or"),
    Kind("word_not", "text", ["n1", "n2"], [], text=True, shown="not"),
    Kind("word_eq", "text", ["e1", "eq.e2"], [], text=True, shown="eq"),
    Kind("long", "int4", ["1", "2"], ["x"], "number", shown="l" * 63),
    Kind("room_id", "int4", ["1", "2", "77"], ["x"], "number"),
]
BY_NAME = {k.name: k for k in KINDS}


def array(name, of, type=None):
    return Kind(name, type or f"{BY_NAME[of].type.split('(')[0]}[]", [], ["{1", "no array {"], "array", of=BY_NAME[of])


KINDS += [array("a_int4", "c_int4"), array("a_int8", "c_int8"), array("a_text", "c_text"), array("a_varchar", "c_varchar", "varchar(80)[]"),
          array("a_numeric", "c_numeric"), array("a_float8", "c_float8"), array("a_bool", "c_bool"), array("a_uuid", "c_uuid"),
          array("a_date", "c_date"), array("a_tstz", "c_tstz"), array("a_enum", "c_enum"), array("a_bytea", "c_bytea"),
          array("a_jsonb", "c_jsonb"), array("a_dom", "c_dom_int"), array("a_inet", "c_inet"), array("a_citext", "c_citext"),
          array("a_box", "c_box"), array("a_range", "c_int4range"), array("a_composite", "c_composite"),
          array("a_domtags", "c_text", "tags")]
BY_NAME = {k.name: k for k in KINDS}

TYPES = """
create extension citext; create extension hstore; create extension ltree;
create type mood as enum ('low', 'mid', 'high''s', 'very high');
create type pair as (a int, b text);
create domain positive as int check (value > 0);
create domain small_positive as positive check (value < 10);
create domain short_text as text check (length(value) < 100);
create domain good_mood as mood;
create domain tags as text[];
"""


def ident(name):
    return '"' + name.replace('"', '""') + '"'


def literal(text):
    """For psql with standard_conforming_strings, whatever the text."""
    return "'" + text.replace("'", "''") + "'"


def is_json(text):
    def refuse(word):
        raise ValueError(word)
    try:
        json.loads(text, parse_constant=refuse)
        return text.strip(" \t\r\n") != ""
    except (ValueError, RecursionError):
        return False


def array_sql(kind, items):
    """An array by its constructor: no array text is involved. Items: texts, None, or lists of them."""
    if not items:
        return f"'{{}}'::{kind.type}"
    if isinstance(items[0], list):
        inner = kind if kind.type.endswith("[]") else array("inner", kind.of.name)
        return f"array[{', '.join(array_sql(inner, i) for i in items)}]::{kind.type}"
    return f"array[{', '.join('null' if i is None else literal(i) for i in items)}]::{kind.type}"


def array_text(items, delimiter=","):
    """As PostgreSQL writes one: {1,"a b",NULL}."""
    def one(i):
        if i is None:
            return "NULL"
        if isinstance(i, list):
            return array_text(i, delimiter)
        return '"' + i.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "{" + delimiter.join(one(i) for i in items) + "}"


def some_items(rng, kind):
    """An array's elements: often none, a null, or a second dimension."""
    pool = kind.of.good
    n = rng.choice([0, 1, 1, 2, 2, 3])
    if n and rng.random() < 0.08:
        return [[rng.choice(pool) for _ in range(2)] for _ in range(n)]
    return [None if rng.random() < 0.1 else rng.choice(pool) for _ in range(n)]
