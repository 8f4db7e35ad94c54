"""Random conditions, and what each means as SQL written by hand (contract 11.4).

A tree is And, Or and Not over Terms. A Term has a column (perhaps with a JSON path), an operator, a value and perhaps casts.
sql() writes it with literals; Refused says that the contract has no meaning for it, so the server must answer 400.
"""
from dataclasses import dataclass

from kinds import BY_NAME, KINDS, Kind, array_sql, ident, is_json, literal, some_items


class Refused(Exception):
    pass


@dataclass
class Value:
    """What a request says: text ("5" in quotes), bare (a number or true, as JSON writes it), list, doc (JSON text) or null."""
    form: str
    of: object = None

    def __repr__(self):
        return f"{self.form}:{self.of!r}"


@dataclass
class Term:
    kind: Kind
    op: str
    value: Value
    path: tuple = ()             # steps of a JSON path; the last is read as text when `as_text`
    as_text: bool = False
    column_cast: str = ""
    value_cast: str = ""

    def __repr__(self):
        casts = "".join(f" {n}:{c}" for n, c in (("column", self.column_cast), ("value", self.value_cast)) if c)
        return f"<{self.kind.column}{''.join('->' + str(s) for s in self.path)} {self.op} {self.value}{casts}>"


@dataclass
class Group:
    word: str                    # and, or, not (not: NOT of all ANDed)
    of: list


NULL = Value("null")
COMPARE = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
CASTS = {"text": "text", "int": "int4", "bigint": "int8", "numeric": "numeric", "float8": "float8", "double": "float8", "uuid": "uuid",
         "date": "date", "timestamptz": "timestamptz", "jsonb": "jsonb", "boolean": "bool", "text[]": "text[]", "int4[]": "int4[]"}
IS = {"null": "is null", "true": "is true", "false": "is false", "not_null": "is not null"}


# ---- SQL by hand ----

class Side:
    """What stands left of the operator, after path and casts."""

    def __init__(self, t):
        k, self.sql = t.kind, ident(t.kind.column)
        self.json, self.array, self.range, self.text, self.element = k.form == "json", k.of is not None, k.range, k.text, k
        self.kind = k
        for i, step in enumerate(t.path):
            arrow = "->>" if t.as_text and i == len(t.path) - 1 else "->"
            self.sql += arrow + (str(step) if isinstance(step, int) else literal(step))
        if t.path:
            self.sql = f"({self.sql})"
            self.json, self.text, self.array, self.range = not t.as_text, t.as_text, False, False
            self.kind = None
        if t.column_cast:
            c = CASTS[t.column_cast]
            self.sql = f"({self.sql})::{c}"
            self.json, self.text, self.array, self.range = c in ("json", "jsonb"), c == "text", c.endswith("[]"), False
            self.kind = BY_NAME["a_text" if c == "text[]" else "a_int4"] if self.array else None


def json_literal(v):
    """What a json column is compared with: the value itself; a text that is no JSON as a JSON string."""
    if v.form == "text" and not is_json(v.of):
        return f"to_jsonb({literal(v.of)}::text)"
    return f"{literal(json_of(v))}::jsonb"


def json_of(v):
    if v.form == "list":
        return "[" + ", ".join(json_of(i) if i.form != "text" else json_string(i.of) for i in v.of) + "]"
    return "null" if v.form == "null" else v.of if v.form != "text" or is_json(v.of) else json_string(v.of)


def json_string(text):
    import json
    return json.dumps(text)


def plain_items(v):
    return [None if i.form == "null" else plain_items(i) if i.form == "list" else i.of for i in v.of]


def scalar_sql(side, v, cast):
    """One value on the right, as a literal of unknown type: PostgreSQL reads it as what stands left."""
    own = side.kind.own if side.kind else ""
    tail = f"::{CASTS[cast]}" if cast else f"::{own}" if own else ""
    if side.json and not cast:
        return json_literal(v)
    if v.form == "list":
        if side.array and not cast:
            if side.kind.of.form != "json" and len({i.form == "list" for i in v.of}) > 1:
                raise Refused("a list beside what is none")
            if side.kind.of.form == "json":
                return array_sql(side.kind, [None if i.form == "null" else json_of(i) for i in v.of])
            return array_sql(side.kind, plain_items(v))
        raise Refused("a list")
    return literal(v.of) + tail


def in_sql(side, t):
    if t.value.form != "list":
        raise Refused("in without a list")
    items = [i for i in t.value.of if i.form != "null"]
    if any(i.form == "list" for i in items) and not side.array and not side.json:
        raise Refused("a list in a list")
    left = f"{side.sql}::jsonb" if side.json else side.sql
    if side.json and t.value_cast:
        raise Refused("a cast of items for a json column")
    if not items:
        return "false"
    if side.array or side.json:
        return "(" + " or ".join(f"{left} = {scalar_sql(side, i, t.value_cast)}" for i in items) + ")"
    return f"{left} in ({', '.join(scalar_sql(side, i, t.value_cast) for i in items)})"


def contain_sql(side, t):
    v = t.value
    if not (side.array or side.json or side.range) or v.form == "null":
        raise Refused("containment")
    if side.array and v.form != "list" and not (v.form == "text" and v.of.startswith("{")):
        v = Value("list", [v])   # one element
    left = f"{side.sql}::jsonb" if side.json else side.sql
    return f"{left} {'@>' if t.op == 'contains' else '<@'} {scalar_sql(side, v, t.value_cast)}"


def compare_sql(side, t):
    v, equal = t.value, t.op in ("eq", "neq")
    if v.form == "null":
        if not equal:
            raise Refused("order against null")
        return f"{side.sql} {'is null' if t.op == 'eq' else 'is not null'}"
    if v.form == "list" and not side.array and not side.json:
        if t.op != "eq":
            raise Refused("a list for one value")
        return in_sql(side, t)
    if v.form == "doc" and not side.json and not side.text:
        raise Refused("a document for a plain column")
    left = f"{side.sql}::jsonb" if side.json else side.sql
    return f"{left} {COMPARE[t.op]} {scalar_sql(side, v, t.value_cast)}"


def like_sql(side, t):
    if t.value.form not in ("text", "bare") or t.value.of in ("true", "false") and t.value.form == "bare":
        raise Refused("a pattern that is no text")
    left = side.sql if side.text else f"{side.sql}::text"
    tail = f"::{CASTS[t.value_cast]}" if t.value_cast else ""
    return f"{left} {t.op} {literal(t.value.of)}{tail}"


def is_sql(side, t):
    word = "null" if t.value.form == "null" else str(t.value.of).lower()
    if t.value.form in ("list", "doc") or word not in IS:
        raise Refused("is without its words")
    return f"{side.sql} {IS[word]}"


def term_sql(t):
    side = Side(t)
    if t.op in COMPARE:
        return compare_sql(side, t)
    if t.op in ("like", "ilike"):
        return like_sql(side, t)
    return {"in": in_sql, "is": is_sql}.get(t.op, contain_sql)(side, t)


def sql(tree):
    if isinstance(tree, Term):
        return term_sql(tree)
    parts = [sql(x) for x in tree.of]
    if tree.word == "or":
        return "(" + " or ".join(parts) + ")"
    return ("not " if tree.word == "not" else "") + "(" + " and ".join(parts) + ")"


def terms(tree):
    if isinstance(tree, Term):
        return [tree]
    return [t for x in tree.of for t in terms(x)]


# ---- random trees ----

WEIGHTS = {"eq": 8, "neq": 4, "gt": 3, "gte": 3, "lt": 3, "lte": 3, "like": 2, "ilike": 2, "is": 2, "in": 5, "contains": 1, "containedBy": 1}


def bare(kind, text):
    """The text as JSON writes a number or a boolean, when it is one."""
    if kind.form == "bool" and text in ("true", "false"):
        return Value("bare", text)
    digits = text.lstrip("-")
    if kind.form == "number" and is_json(text) and digits[:1].isdigit():
        return Value("bare", text)
    return None


def element(rng, kind, text):
    if text is None:
        return NULL
    if kind.form == "json" and text == "null":
        return NULL
    if isinstance(text, list):
        return Value("list", [element(rng, kind, x) for x in text])
    if kind.form == "json":
        return Value("doc", text)
    return (bare(kind, text) if rng.random() < 0.6 else None) or Value("text", text)


def array_value(rng, kind):
    items = some_items(rng, kind)
    if rng.random() < 0.15 and not any(isinstance(i, list) for i in items):
        from kinds import array_text
        return Value("text", array_text(items, kind.delimiter))
    if kind.of.form == "json" and any(isinstance(i, list) for i in items):
        items = items[0]
    return Value("list", [element(rng, kind.of, i) for i in items])


def one_value(rng, kind):
    """A value that fits, mostly one that a row has."""
    roll = rng.random()
    if kind.of:
        return array_value(rng, kind)
    if roll < 0.03 and kind.bad:
        return Value("text", rng.choice(kind.bad))
    text = rng.choice(kind.good)
    if kind.form == "json":
        v = Value("doc", text)
        if rng.random() < 0.2 or text in ("null", "true", "false"):
            v = Value("text", text)     # a bare null is another question
        return v
    return (bare(kind, text) if rng.random() < 0.5 else None) or Value("text", text)


def misfit(rng):
    """Anything at all: it may fit, or must be refused by both."""
    return rng.choice([Value("text", rng.choice(["x", "", "5", "{}", "[1]", "(1,2)", "{1,2}"])), Value("bare", rng.choice(["5", "true", "1.5", "-0", "1e3"])),
                       Value("doc", '{"a":1}'), NULL, Value("list", []), Value("list", [Value("bare", "1"), Value("list", [Value("bare", "2")])])])


def pattern(rng, kind):
    word = str(rng.choice(kind.good or ["a"]))
    cut = rng.randrange(len(word) + 1)
    out = rng.choice([word, word[:cut] + "%", "%" + word[cut:], "_" * len(word), "%", "%" + word[cut:cut + 1] + "%",
                      word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")])
    return "%" if (len(out) - len(out.rstrip("\\"))) % 2 else out   # a last lone backslash fails only where a row gets that far


def value_of(rng, op, kind):
    if rng.random() < 0.02 and kind.name != "a_dom":    # psql checks an element's domain only where a row gets that far
        return misfit(rng)
    if op in ("like", "ilike"):
        return Value("text", pattern(rng, kind.of or kind))
    if op == "is":
        words = ["null", "not_null"] + (["true", "false"] if kind.form == "bool" or rng.random() < 0.05 else [])
        word = rng.choice(words)
        return NULL if word == "null" and rng.random() < 0.5 else Value("bare" if word in ("true", "false") and rng.random() < 0.5 else "text", word)
    if op == "in":
        items = [one_value(rng, kind) for _ in range(rng.choice([0, 1, 1, 2, 3, 5]))]
        if rng.random() < 0.15:
            items.append(NULL)
        return Value("list", items)
    if op in ("eq", "neq") and rng.random() < 0.06:
        return NULL
    if op == "eq" and not kind.of and kind.form != "json" and rng.random() < 0.06:
        return Value("list", [one_value(rng, kind) for _ in range(rng.choice([0, 1, 2]))])
    if op in ("contains", "containedBy") and kind.of and kind.of.form != "json" and rng.random() < 0.15:
        return element(rng, kind.of, rng.choice(kind.of.good))
    return one_value(rng, kind)


# a_box: PostgreSQL finds only while it reads a row that boxes cannot be told apart, and may read none.
FILTERED = [k for k in KINDS if k.name != "a_box"]
PLAIN = [k for k in FILTERED if k.same]


def random_path(rng, op):
    kind = BY_NAME[rng.choice(["c_json", "c_jsonb"])]
    path = rng.choice([("a",), ("b",), ("a", "b"), (0,), ("a", "b", 1, "c"), ("no'such",)])
    t = Term(kind, op, NULL, path, rng.random() < 0.6)
    word = rng.choice(["1", "2", "text", "v\"al", "null", "{\"b\": [1, {\"c\": null}]}"])
    if op == "in":
        t.value = Value("list", [Value("text", word), Value("text", "2")])
    elif op == "is":
        t.value = NULL
    else:
        t.value = Value("text", word)
    if t.as_text and op in ("contains", "containedBy"):
        t.op = "eq"
    return t


def random_term(rng, casts=True):
    kind = rng.choice(FILTERED if rng.random() < 0.05 else PLAIN)
    ops = dict(WEIGHTS)
    if kind.of or kind.form == "json" or kind.range:
        ops.update(contains=6, containedBy=5, like=0, ilike=0)
    op = rng.choices(list(ops), list(ops.values()))[0]
    if rng.random() < 0.03:
        return random_path(rng, op)
    if casts and rng.random() < 0.04:
        return cast_term(rng, kind)
    return Term(kind, op, value_of(rng, op, kind))


def cast_term(rng, kind):
    """Casts that cannot fail on a row, so that no order of evaluation shows."""
    op = rng.choice(["eq", "neq", "gt", "in"])
    to_text = Term(kind, op, Value("text", rng.choice((kind.of or kind).good or ["a"])), column_cast="text")
    number = Term(BY_NAME[rng.choice(["c_int2", "c_int4", "c_dom_int"])], op, Value(rng.choice(["text", "bare"]), rng.choice(["1", "5", "-1"])),
                  column_cast=rng.choice(["bigint", "numeric", "float8", "double", ""]), value_cast=rng.choice(["numeric", "bigint", "int", "float8"]))
    moment = Term(BY_NAME["c_ts"], op, Value("text", "2024-05-05"), column_cast="date")
    t = rng.choice([to_text, to_text, number, moment])
    if op == "in":
        t.value = Value("list", [t.value])
    return t


def random_tree(rng, depth=0):
    roll = rng.random()
    if depth >= 4 or roll < (0.35 if depth == 0 else 0.6):
        return random_term(rng)
    word = rng.choice(["and", "or", "or", "not"])
    n = rng.choice([1, 1, 2]) if word == "not" else rng.choice([1, 2, 2, 3, 4])
    return Group(word, [random_tree(rng, depth + 1) for _ in range(n)])


def again(rng, tree):
    """The same shape with other values: what was remembered of the first must not show."""
    if isinstance(tree, Group):
        return Group(tree.word, [again(rng, x) for x in tree.of])
    if tree.path or tree.column_cast or tree.value_cast:
        return tree
    v = value_of(rng, tree.op, tree.kind)
    return Term(tree.kind, tree.op, v)


def smaller(tree):
    """What a failing tree may be cut down to."""
    if isinstance(tree, Term):
        if tree.value.form == "list":
            for i in range(len(tree.value.of)):
                rest = tree.value.of[:i] + tree.value.of[i + 1:]
                yield Term(tree.kind, tree.op, Value("list", rest), tree.path, tree.as_text, tree.column_cast, tree.value_cast)
        return
    yield from tree.of
    for i, x in enumerate(tree.of):
        if len(tree.of) > 1:
            yield Group(tree.word, tree.of[:i] + tree.of[i + 1:])
        for y in smaller(x):
            yield Group(tree.word, tree.of[:i] + [y] + tree.of[i + 1:])
