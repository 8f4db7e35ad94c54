"""How each dialect of the interface writes a tree: one function each, tree to (method, path, body) or None when the dialect
cannot say it. A new dialect is one function and one line in DIALECTS.

What a dialect cannot carry (a null in a boolean text, a cast in an object) is left to the others, never approximated.
"""
import json
import urllib.parse

from kinds import array_text, ident, is_json
from trees import Group, Term, Value, terms

TABLE = "c_all"


class Cannot(Exception):
    pass


def raw(text):
    """Not json.dumps: digits and blanks stay as they are."""
    return json.dumps(text, ensure_ascii=False)


def json_value(v, rng):
    if v.form == "null":
        return "null"
    if v.form == "list":
        return "[" + ("," if rng.random() < 0.7 else ", ").join(json_value(i, rng) for i in v.of) + "]"
    if v.form in ("bare", "doc"):
        return v.of
    return json.dumps(v.of, ensure_ascii=rng.random() < 0.3)


def column_name(t):
    """As JSON spells a column: plain, or in quotes when plain would read as something else."""
    name = t.kind.column
    if "->" in name or t.path and not name.isidentifier():
        name = ident(name)
    for i, step in enumerate(t.path):
        name += ("->>" if t.as_text and i == len(t.path) - 1 else "->") + str(step)
    return name


# ---- boolean texts (11.5) ----

def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def balanced(text):
    return text and text[0] in "{[" and text[-1:] in "}]" and '"' not in text and "(" not in text and ")" not in text \
        and text.count("{") == text.count("}") and text.count("[") == text.count("]")


def text_value(text, rng):
    plain = text and not any(c in text for c in ',()"{}[]\\') and text.strip() == text and "\n" not in text
    if plain or balanced(text):
        return text if rng.random() < 0.7 else quoted(text)
    return quoted(text)


def text_of(v, kind):
    """A value as text: of an array PostgreSQL's own, of JSON the document."""
    if v.form == "null":
        raise Cannot
    if v.form == "list":
        if kind is None or not (kind.of or kind.form == "json") or kind.form == "json":
            raise Cannot
        if kind.of.form == "json" and any(i.form == "list" for i in v.of):
            raise Cannot
        return array_text(plain(v), kind.delimiter)
    if v.form == "doc" and kind.form != "json":
        raise Cannot            # a text that begins with a bracket is an array there
    return v.of


def plain(v):
    return [None if i.form == "null" else plain(i) if i.form == "list" else i.of for i in v.of]


SPELLINGS = {"contains": ["contains", "cs"], "containedBy": ["containedBy", "contained", "cd"], "neq": ["neq", "ne"]}


def text_term(t, rng):
    if t.column_cast or t.value_cast or any(not isinstance(s, int) and not s.isalnum() for s in t.path):
        raise Cannot
    name = t.kind.column
    if t.path:
        name = column_name(t)
    elif not name.isidentifier() or not name.isascii() or name in ("or", "and", "not") or rng.random() < 0.1:
        name = quoted(name)
    op = rng.choice(SPELLINGS.get(t.op, [t.op]))
    v = t.value
    if "like" in op and v.form != "text":
        raise Cannot
    if t.op == "eq" and v.form == "null":
        op, v = "is", Value("text", "null")
    elif t.op == "neq" and v.form == "null":
        op, v = "is", Value("text", "not_null")
    elif t.op == "is" and v.form == "null":
        v = Value("text", "null")
    elif t.op == "eq" and v.form == "list" and not t.kind.of and t.kind.form != "json":
        op = "in"
    if op == "in":
        if v.form != "list" or any(i.form == "null" for i in v.of):
            raise Cannot
        if t.kind.form == "json" and any(i.form == "list" for i in v.of):
            raise Cannot
        return f"{name}.in.({','.join(text_value(text_of(i, t.kind), rng) for i in v.of)})"
    return f"{name}.{op}.{text_value(text_of(v, t.kind), rng)}"


def text_tree(tree, rng):
    if isinstance(tree, Term):
        return text_term(tree, rng)
    inside = ",".join(text_tree(x, rng) for x in tree.of)
    if tree.word == "not":
        single = tree.of[0]
        if len(tree.of) == 1 and rng.random() < 0.4:
            if isinstance(single, Term) and rng.random() < 0.5:
                return negated(single, rng)
            return "not." + text_tree(single, rng)
        return f"not({inside})"
    if tree.word == "and" and rng.random() < 0.2:
        return f"({inside})"
    return f"{tree.word}({inside})"


def negated(t, rng):
    """column.not.op.value"""
    text = text_term(t, rng)
    name = text[:text.rindex(f".{op_of(text, t)}.")] if op_of(text, t) else None
    return f"{name}.not.{text[len(name) + 1:]}" if name is not None and name.count(".") == 0 and '"' not in name else "not." + text


def op_of(text, t):
    name = t.kind.column
    if not text.startswith(name + "."):
        return None
    return text[len(name) + 1:].split(".")[0]


# ---- bodies ----

def body(parts, rng):
    """A flat or structured body around its filters; the order of keys is nobody's business."""
    items = [f'"table_name":"{TABLE}"', '"limit":1000'] + parts
    rng.shuffle(items)
    return ("{" + ",".join(items) + "}").encode("utf-8", "surrogatepass")


def condition(t, rng, keys):
    op = rng.choice(SPELLINGS.get(t.op, [t.op]))
    pairs = [f'"{keys[0]}":{raw(column_name(t))}', f'"{keys[1]}":{json_value(t.value, rng)}']
    if t.op != "eq" or rng.random() < 0.5:
        pairs.append(f'"operator":"{op}"')
    if t.column_cast:
        pairs.append(f'"column_cast":"{t.column_cast}"')
    if t.value_cast:
        pairs.append(f'"value_cast":"{t.value_cast}"')
    rng.shuffle(pairs)
    return "{" + ",".join(pairs) + "}"


def conditions(tree, rng):
    out = []
    for x in tree.of if isinstance(tree, Group) and tree.word == "and" else [tree]:
        if isinstance(x, Term):
            keys = rng.choice([("eq_column", "eq_value"), ("column", "value"), ("column", "value")])
            if x.value.form == "list" and rng.random() < 0.2:
                keys = ("column", "values")
            out.append(condition(x, rng, keys))
        else:
            inside = ",".join(text_tree(y, rng) for y in x.of)
            out.append(f'{{"operator":"{x.word}","value":{raw(inside)}}}')
    return f'"conditions":[{",".join(out)}]'


def flat(tree, rng):
    """conditions[]: terms ANDed, everything deeper as a boolean text."""
    return "POST", "/gateway/fetch", body(['"columns":["id"]', conditions(tree, rng)], rng)


def logic_text(tree, rng):
    """The whole tree in one boolean text."""
    word = rng.choice(["and", "or"]) if isinstance(tree, Term) else tree.word
    inside = text_tree(tree, rng) if isinstance(tree, Term) else ",".join(text_tree(x, rng) for x in tree.of)
    return "POST", "/gateway/fetch", body(['"columns":["id"]', f'"conditions":[{{"operator":"{word}","value":{raw(inside)}}}]'], rng)


def where_key(t):
    """or, and, not are words of their own there: a column of that name is quoted."""
    name = column_name(t)
    return raw(ident(name) if name in ("or", "and", "not") else name)


def where_term(t, rng):
    """One key of an object."""
    if t.column_cast or t.value_cast:
        raise Cannot
    v = json_value(t.value, rng)
    shorthand = t.value.form in ("text", "bare", "null") if t.op == "eq" else t.op == "in" and t.value.form == "list"
    if shorthand and rng.random() < 0.6:
        return f"{where_key(t)}:{v}"
    return f'{where_key(t)}:{{"{rng.choice(SPELLINGS.get(t.op, [t.op]))}":{v}}}'


def where_pairs(trees, rng):
    """The members of one object: ANDed. A key cannot come twice, so a second one goes into an `and`."""
    out, seen, more = [], set(), []
    for x in trees:
        key = where_key(x) if isinstance(x, Term) else raw(x.word)
        if key in seen:
            more.append(x)
            continue
        seen.add(key)
        if isinstance(x, Term):
            out.append(where_term(x, rng))
        elif x.word == "not" and len(x.of) == 1 and isinstance(x.of[0], Term) and not x.of[0].column_cast and not x.of[0].value_cast \
                and where_key(x.of[0]) not in seen and rng.random() < 0.3:
            t = x.of[0]
            seen.discard(key)
            seen.add(where_key(t))
            out.append(f'{where_key(t)}:{{"not":{{"{t.op}":{json_value(t.value, rng)}}}}}')
        elif x.word == "not":
            out.append(f'"not":{where_object(x.of, rng)}')
        else:
            out.append(f'"{x.word}":[{",".join(where_element(y, rng) for y in x.of)}]')
    if more:
        if '"and"' in seen:
            raise Cannot
        out.append(f'"and":[{",".join(where_element(y, rng) for y in more)}]')
    return out


def where_object(trees, rng):
    return "{" + ",".join(where_pairs(trees, rng)) + "}"


def where_element(x, rng):
    if isinstance(x, Term) and (x.column_cast or x.value_cast or rng.random() < 0.5):
        return condition(x, rng, ("column", "values" if x.value.form == "list" and rng.random() < 0.3 else "value"))
    return where_object([x], rng)


def where(tree, rng, name):
    parts = tree.of if isinstance(tree, Group) and tree.word == "and" else [tree]
    if rng.random() < 0.5:
        text = where_object(parts, rng)
    else:
        text = "[" + ",".join(where_element(x, rng) for x in parts) + "]"
    return f'"{name}":{text}'


def structured(tree, rng):
    """where as an object or as an array, with `select` or without."""
    name = rng.choice(["where", "where_filters", "where_clause"])
    shown = rng.choice(['"select":"id"', '"select":{"id":true}', '"columns":"id"'])
    return "POST", "/gateway/fetch", body([shown, where(tree, rng, name)], rng)


# ---- writes: to a view whose triggers change nothing, so the rows that they name are all that there is to see ----

def filters(tree, rng):
    return conditions(tree, rng) if rng.random() < 0.5 else where(tree, rng, "where")


def members(items, rng):
    rng.shuffle(items)
    return ("{" + ",".join(items) + "}").encode("utf-8", "surrogatepass")


def update(tree, rng):
    payload = rng.choice(['"update_body":{"touched":1},"columns":["id"]', '"data":{"touched":1},"columns":"id"', '"set":{"touched":1},"columns":["id"]'])
    return "POST", "/gateway/update", members(['"table_name":"c_view"', payload, filters(tree, rng)], rng)


def delete(tree, rng):
    return rng.choice(["DELETE", "POST"]), "/gateway/delete", members(['"table_name":"c_view"', '"columns":["id"]', filters(tree, rng)], rng)


def transaction(tree, rng):
    payload = rng.choice([flat, structured])(tree, rng)[2]
    return "POST", "/gateway/transaction", b'{"operations":[{"id":"a","kind":"fetch","payload":' + payload + b"}]}"


# ---- calls of a function that returns the table's rows (24) ----

def rpc(tree, rng):
    """filters[] of a call in JSON."""
    out = []
    for x in tree.of if isinstance(tree, Group) and tree.word == "and" else [tree]:
        if not isinstance(x, Term):
            raise Cannot
        out.append(condition(x, rng, ("column", "value")))
    items = ['"function":"c_rows"', '"args":{}', '"select":"id"', f'"filters":[{",".join(out)}]']
    rng.shuffle(items)
    return "POST", "/gateway/rpc", ("{" + ",".join(items) + "}").encode("utf-8", "surrogatepass")


def url_term(t, rng):
    """name=[not.]op.value: the value is all of the rest, nothing is quoted but the items of a list."""
    negated = False
    if isinstance(t, Group):
        if t.word != "not" or len(t.of) != 1 or not isinstance(t.of[0], Term):
            raise Cannot
        t, negated = t.of[0], True
    if t.column_cast or t.value_cast or t.path or not t.kind.column.isidentifier() or not t.kind.column.isascii():
        raise Cannot
    if t.kind.column in ("or", "and", "not", "select"):
        raise Cannot
    if t.op in ("eq", "neq") and t.value.form == "text" and t.value.of.lower() == "null":
        raise Cannot            # that is null there
    text = text_term(Term(t.kind, t.op, t.value), NotQuoted)
    name, op, rest = text.split(".", 2)
    if op != "in":
        rest = unquoted(t, op)
    if not isinstance(rest, str):
        raise Cannot            # a list has no words outside of in.(...)
    return urllib.parse.quote(name) + "=" + urllib.parse.quote(("not." if negated else "") + op + "." + rest, safe="")


class NotQuoted:
    """A choice that is never a quoted name."""
    choice = staticmethod(lambda options: options[0])
    random = staticmethod(lambda: 0.5)


def unquoted(t, op):
    v = t.value
    if "like" in op and "*" in v.of:
        raise Cannot            # it is % there
    if op == "is":
        return "null" if v.form == "null" and t.op in ("eq", "is") else "not_null" if v.form == "null" else v.of
    return text_of(v, t.kind)


def rpc_url(tree, rng):
    """GET: a parameter per condition."""
    parts = [url_term(x, rng) for x in (tree.of if isinstance(tree, Group) and tree.word == "and" else [tree])]
    if any(p.split("=")[1].startswith(("not.", "contain", "cs.", "cd.")) for p in parts):
        raise Cannot            # that is an argument there
    return "GET", "/rpc/c_rows?" + "&".join(["select=id"] + parts), None


# ---- the REST shim (25) ----

RESERVED = ("select", "order", "limit", "offset", "or", "and", "not", "on_conflict")


def starred(t, rng):
    """In patterns of query strings * stands for %."""
    if "like" not in t.op or t.value.form != "text":
        return t
    if "*" in t.value.of:
        raise Cannot
    return Term(t.kind, t.op, Value("text", t.value.of.replace("%", "*") if rng.random() < 0.5 and "\\" not in t.value.of else t.value.of),
                t.path, t.as_text, t.column_cast, t.value_cast)


def rest_term(t, rng):
    negated = isinstance(t, Group)
    t = starred(t.of[0] if negated else t, rng)
    if t.path:
        raise Cannot
    text = text_term(t, NotQuoted)
    name = t.kind.column
    if not name.isidentifier() or not name.isascii() or name in RESERVED:
        name = ident(name)
        op, rest = text[text.index(".", len(quoted(t.kind.column)) if text.startswith('"') else 0) + 1:].split(".", 1)
    else:
        name, op, rest = text.split(".", 2)
    if op != "in":
        rest = "null" if op == "is" and rest == "null" else rest if op == "is" else unquoted_rest(t)
    if rng.random() < 0.1:
        op = op.upper() if op not in ("containedBy", "contained") else op
    negation = "not." if negated else ""
    if rng.random() < 0.2 and not negated:
        return urllib.parse.quote(f"{name}.{op}", safe="") + "=" + urllib.parse.quote(rest, safe="")
    return urllib.parse.quote(name, safe="") + "=" + urllib.parse.quote(negation + op + "." + rest, safe="")


def unquoted_rest(t):
    return text_of(t.value, t.kind)


def rest_tree(tree, rng):
    return Group(tree.word, [rest_tree(x, rng) for x in tree.of]) if isinstance(tree, Group) else starred(tree, rng)


def rest_query(tree, rng):
    out = []
    for x in tree.of if isinstance(tree, Group) and tree.word == "and" else [tree]:
        if isinstance(x, Term) or x.word == "not" and len(x.of) == 1 and isinstance(x.of[0], Term):
            out.append(rest_term(x, rng))
            continue
        inside = ",".join(text_tree(rest_tree(y, rng), rng) for y in x.of)
        name = "not.and" if x.word == "not" else x.word
        out.append(name + "=" + urllib.parse.quote(f"({inside})", safe=""))
    rng.shuffle(out)
    return "&".join(["select=id"] + out)


def rest(tree, rng):
    return "GET", f"/rest/v1/c_all?limit=1000&{rest_query(tree, rng)}", None


def rest_write(tree, rng):
    method = rng.choice(["PATCH", "DELETE"])
    return method, f"/rest/v1/c_view?{rest_query(tree, rng)}", b'{"touched":1}' if method == "PATCH" else None


DIALECTS = {"flat": flat, "text": logic_text, "structured": structured, "rpc": rpc, "rpc_url": rpc_url, "update": update, "delete": delete,
            "transaction": transaction, "rest": rest, "rest_write": rest_write}
ROUTES = {"rest": "/rest/v1/{table}", "rest_write": "/rest/v1/{table}", "update": "/gateway/update", "delete": "/gateway/delete", "transaction": "/gateway/transaction", "rpc": "/gateway/rpc", "rpc_url": "/rpc/{function_name}"}


def encode(name, tree, rng):
    try:
        return DIALECTS[name](tree, rng)
    except Cannot:
        return None
