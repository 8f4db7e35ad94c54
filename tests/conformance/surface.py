"""Every field of every data route in which a caller's text arrives: a request with one hole each.

A hole is `@@` in a JSON body (a whole JSON value, or a key), in a path or query string (percent-encoded there) or in a header.
`plain` fills it so that the request is a good one: that is asked first, so no field is tried on a request that fails anyway.
A route that `GET /` does not list fails the test.
"""
from dataclasses import dataclass, field

FETCH, STRUCTURED = "/gateway/fetch", "/gateway/fetch#structured"


@dataclass
class Field:
    route: str                   # as GET / lists it
    name: str
    method: str
    path: str
    body: str = ""               # JSON with a hole; empty: none
    plain: object = "x"          # JSON text for a body's hole, plain text elsewhere
    headers: dict = field(default_factory=dict)
    where: str = "body"          # body, url or header
    status: tuple = (200,)       # of the plain request
    writes: bool = False


def fetch(name, body, plain, **kw):
    return Field("/gateway/fetch", f"fetch {name}", "POST", "/gateway/fetch", body, plain, **kw)


def flat(extra):
    return '{"table_name":"target","columns":["id"],' + extra + "}"


FIELDS = [
    fetch("table_name", '{"table_name":@@}', '"target"'),
    fetch("table", '{"table":@@}', '"target"'),
    fetch("view_name", '{"view_name":@@}', '"target"'),
    fetch("schema_name", '{"table_name":"target","schema_name":@@}', '"public"'),
    fetch("schema", '{"table_name":"target","schema":@@}', '"public"'),
    fetch("columns", '{"table_name":"target","columns":@@}', '"id"'),
    fetch("a column", '{"table_name":"target","columns":["id",@@]}', '"name"'),
    fetch("an alias", '{"table_name":"target","columns":[@@]}', '"x:name"'),
    fetch("conditions", flat('"conditions":@@'), "[]"),
    fetch("a condition", flat('"conditions":[@@]'), '{"column":"id","value":1}'),
    fetch("a key of a condition", flat('"conditions":[{"column":"id",@@:1}]'), '"value"'),
    fetch("eq_column", flat('"conditions":[{"eq_column":@@,"eq_value":1}]'), '"id"'),
    fetch("eq_value of int", flat('"conditions":[{"eq_column":"id","eq_value":@@}]'), "1"),
    fetch("eq_value of text", flat('"conditions":[{"eq_column":"name","eq_value":@@}]'), '"n"'),
    fetch("eq_value of jsonb", flat('"conditions":[{"eq_column":"data","eq_value":@@}]'), "{}"),
    fetch("eq_value of text[]", flat('"conditions":[{"eq_column":"tags","eq_value":@@}]'), '["a"]'),
    fetch("eq_value of timestamptz", flat('"conditions":[{"eq_column":"made_at","eq_value":@@}]'), '"2024-01-01"'),
    fetch("eq_value of uuid", flat('"conditions":[{"eq_column":"mark","eq_value":@@}]'), '"00000000-0000-4000-8000-000000000001"'),
    fetch("operator", flat('"conditions":[{"operator":@@,"column":"id","value":1}]'), '"eq"'),
    fetch("column", flat('"conditions":[{"operator":"gt","column":@@,"value":1}]'), '"id"'),
    fetch("a path's step", flat('"conditions":[{"operator":"eq","column":@@,"value":"1"}]'), '"data->>a"'),
    fetch("column_cast", flat('"conditions":[{"column":"id","value":"1","column_cast":@@}]'), '"text"'),
    fetch("value_cast", flat('"conditions":[{"column":"id","value":"1","value_cast":@@}]'), '"int"'),
    fetch("in", flat('"conditions":[{"operator":"in","column":"id","value":@@}]'), "[1]"),
    fetch("an item of in", flat('"conditions":[{"operator":"in","column":"name","value":["a",@@]}]'), '"b"'),
    fetch("contains", flat('"conditions":[{"operator":"contains","column":"tags","value":@@}]'), '["a"]'),
    fetch("contains of jsonb", flat('"conditions":[{"operator":"contains","column":"data","value":@@}]'), '{"a":1}'),
    fetch("like", flat('"conditions":[{"operator":"like","column":"name","value":@@}]'), '"n%"'),
    fetch("is", flat('"conditions":[{"operator":"is","column":"name","value":@@}]'), "null"),
    fetch("or", flat('"conditions":[{"operator":"or","value":@@}]'), '"id.eq.1,name.eq.x"'),
    fetch("not", flat('"conditions":[{"operator":"not","value":@@}]'), '"id.eq.1"'),
    fetch("where", flat('"where":@@'), '{"id":1}'),
    fetch("a key of where", flat('"where":{@@:1}'), '"id"'),
    fetch("a value of where", flat('"where":{"name":@@}'), '"n"'),
    fetch("an operator of where", flat('"where":{"id":{@@:1}}'), '"gt"'),
    fetch("where's or", flat('"where":{"or":@@}'), '[{"id":1}]'),
    fetch("limit", flat('"limit":@@'), "1"),
    fetch("offset", flat('"offset":@@'), "1"),
    fetch("page_size", flat('"page_size":@@'), "1"),
    fetch("current_page", flat('"current_page":@@'), "1"),
    fetch("sort_by", flat('"sort_by":@@'), '{"field":"id"}'),
    fetch("sort_by.field", flat('"sort_by":{"field":@@,"direction":"asc"}'), '"id"'),
    fetch("sort_by.direction", flat('"sort_by":{"field":"id","direction":@@}'), '"desc"'),
    fetch("order_by", flat('"order_by":@@'), '{"id":"asc"}'),
    fetch("a key of orderBy", flat('"orderBy":{@@:"asc"}'), '"id"'),
    fetch("orderBy's direction", flat('"orderBy":{"id":@@}'), '"asc"'),
    fetch("count", flat('"count":@@'), '"exact"'),
    fetch("head", flat('"head":@@'), "true"),
    fetch("strip_nulls", flat('"strip_nulls":@@'), "true"),
    fetch("group_by", '{"table_name":"target","group_by":@@}', '"name"'),
    fetch("time_granularity", '{"table_name":"target","group_by":"made_at","time_granularity":@@}', '"day"'),
    fetch("aggregation_column", '{"table_name":"target","group_by":"name","aggregation_column":@@}', '"qty"'),
    fetch("aggregation_strategy", '{"table_name":"target","group_by":"name","aggregation_column":"qty","aggregation_strategy":@@}', '"cumulative_sum"'),
    fetch("aggregation_dedup", '{"table_name":"target","group_by":"name","aggregation_column":"qty","aggregation_dedup":@@}', "true"),
    fetch("an unknown key", '{"table_name":"target",@@:1}', '"x"'),
    fetch("select", '{"table_name":"target","select":@@}', '"id"'),
    fetch("a key of select", '{"table_name":"target","select":{@@:true}}', '"id"'),
    fetch("a value of select", '{"table_name":"target","select":{"id":@@}}', "true"),
    fetch("select as array", '{"table_name":"target","select":[@@]}', '{"kind":"column","name":"id"}'),
    fetch("a name in select", '{"table_name":"target","select":[{"kind":"column","name":@@}]}', '"id"'),
    fetch("an alias in select", '{"table_name":"target","select":[{"kind":"column","name":"id","alias":@@}]}', '"x"'),
    fetch("a relation's name", '{"table_name":"target","select":[{"kind":"relation","name":@@,"query":{"select":"id"}}]}', '"owners"'),
    fetch("a relation's alias", '{"table_name":"target","select":[{"kind":"relation","name":"owners","alias":@@,"query":{"select":"id"}}]}', '"o"'),
    fetch("a relation's foreign_key", '{"table_name":"target","select":[{"kind":"relation","name":"owners","foreign_key":@@,"query":{"select":"id"}}]}',
          '"owner_id"'),
    fetch("a relation's join", '{"table_name":"target","select":[{"kind":"relation","name":"owners","join":@@,"query":{"select":"id"}}]}', '"inner"'),
    fetch("a relation's query", '{"table_name":"target","select":[{"kind":"relation","name":"owners","query":@@}]}', '{"select":"id"}'),
    fetch("a relation's from", '{"table_name":"target","select":{"id":true,"o":{"from":@@,"select":{"id":true}}}}', '"owners"'),
    fetch("a relation's as", '{"table_name":"target","select":{"id":true,"owners":{"as":@@,"select":{"id":true}}}}', '"x"'),
    fetch("a relation's via", '{"table_name":"target","select":{"id":true,"owners":{"via":@@,"select":{"id":true}}}}', '"owner_id"'),
    fetch("a relation's schema", '{"table_name":"target","select":{"id":true,"owners":{"schema":@@,"select":{"id":true}}}}', '"public"'),
    fetch("a relation's where", '{"table_name":"target","select":{"id":true,"owners":{"select":{"id":true},"where":@@}}}', '{"id":1}'),
    fetch("a relation's orderBy", '{"table_name":"target","select":{"id":true,"owners":{"select":{"id":true},"orderBy":@@}}}', '{"id":"asc"}'),
    fetch("a relation's limit", '{"table_name":"owners","select":{"id":true,"target":{"select":{"id":true},"limit":@@}}}', "1"),
    fetch("a relation's offset", '{"table_name":"owners","select":{"id":true,"target":{"select":{"id":true},"limit":1,"offset":@@}}}', "1"),
    fetch("a relation in text", '{"table_name":"target","select":@@}', '"id,o:owners!inner(id,name)"'),
    fetch("where_filters' column", '{"table_name":"target","select":"id","where_filters":[{"column":@@,"operator":"eq","value":1}]}', '"id"'),
    fetch("where_filters' values", '{"table_name":"target","select":"id","where_filters":[{"column":"id","operator":"in","values":@@}]}', "[1]"),
    fetch("the whole body", "@@", '{"table_name":"target"}'),
]

for name in ("view", "eq_column", "eq_value", "columns", "limit", "offset", "current_page", "page_size", "total_pages", "strip_nulls", "sort_by",
             "sort_direction", "group_by"):
    given = {"view": "target", "eq_column": "id", "eq_value": "1", **({name: {"sort_by": "id", "columns": "id", "group_by": "name"}.get(name, "1")}
                                                                     if name not in ("view", "eq_column", "eq_value") else {})}
    FIELDS.append(Field("/data", f"GET /data {name}", "GET", "/data?" + "&".join(f"{k}=@@" if k == name else f"{k}={v}" for k, v in given.items()),
                        plain=given[name], where="url"))
FIELDS += [Field("/data", "GET /data, a parameter's name", "GET", "/data?view=target&eq_column=id&eq_value=1&@@=1", plain="x", where="url")]

for name, plain in (("x-athena-client", "app"), ("cache-control", "no-cache"), ("x-strip-nulls", "true"), ("x-user-id", "u"), ("x-company-id", "c"),
                    ("x-organization-id", "o"), ("x-request-id", "r"), ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
                    ("x-athena-deadpool-enable", "true"), ("x-athena-timeout", "5s"), ("user-agent", "lab"), ("origin", "http://x.example"),
                    ("x-forwarded-host", "lab"), ("forwarded", "host=lab"), ("x-real-ip", "127.0.0.1"), ("x-forwarded-for", "127.0.0.1"),
                    ("accept", "application/json"), ("accept-encoding", "identity"), ("x-athena-sdk", "lab"), ("prefer", "count=exact"), ("range", "items=0-1"),
                    ("idempotency-key", "k1"), ("content-type", "application/json")):
    FIELDS.append(Field("/gateway/fetch", f"header {name}", "POST", "/gateway/fetch", '{"table_name":"target","columns":["id"],"limit":1}', plain,
                        {name: "@@"}, "header", status=(200, 400) if name == "x-athena-timeout" else (200,)))
for name in ("x-athena-key", "x-api-key", "apikey", "authorization"):
    FIELDS.append(Field("/gateway/fetch", f"header {name}", "POST", "/gateway/fetch", '{"table_name":"target"}', "x", {name: "@@"}, "header",
                        status=(200, 400, 401, 403)))
FIELDS += [Field("/", "path", "GET", "/@@", plain="", where="url"),
           Field("/", "a second path segment", "GET", "/gateway/@@", plain="x", where="url", status=(404,)),
           Field("/", "query string", "GET", "/?@@", plain="x=1", where="url")]


def write(route, name, method, body, plain, **kw):
    return Field(route, f"{route.rsplit('/', 1)[-1]} {name}", method, route, body, plain, writes=True, **kw)


def insert(name, body, plain, **kw):
    return write("/gateway/insert", name, "PUT", body, plain, **kw)


def update(name, body, plain, **kw):
    return write("/gateway/update", name, "POST", body, plain, **kw)


def delete(name, body, plain, **kw):
    return write("/gateway/delete", name, "DELETE", body, plain, **kw)


FIELDS += [
    insert("table_name", '{"table_name":@@,"insert_body":{"name":"new"}}', '"target"'),
    insert("schema_name", '{"table_name":"target","schema_name":@@,"insert_body":{"name":"new"}}', '"public"'),
    insert("a key", '{"table_name":"target","insert_body":{@@:"new"}}', '"name"'),
    insert("a second key", '{"table_name":"target","insert_body":{"name":"new",@@:"x"}}', '"note"'),
    insert("a text", '{"table_name":"target","insert_body":{"name":@@}}', '"new"'),
    insert("a number", '{"table_name":"target","insert_body":{"name":"new","qty":@@}}', "1"),
    insert("a json value", '{"table_name":"target","insert_body":{"name":"new","data":@@}}', '{"a":1}'),
    insert("an array", '{"table_name":"target","insert_body":{"name":"new","tags":@@}}', '["a"]'),
    insert("a timestamp", '{"table_name":"target","insert_body":{"name":"new","made_at":@@}}', '"2024-01-01"'),
    insert("insert_body", '{"table_name":"target","insert_body":@@}', '{"name":"new"}'),
    insert("a bulk row", '{"table_name":"target","insert_body":[{"name":"new"},@@]}', '{"name":"new"}'),
    insert("columns", '{"table_name":"target","insert_body":{"name":"new"},"columns":@@}', '"id"'),
    insert("a column", '{"table_name":"target","insert_body":{"name":"new"},"columns":["id",@@]}', '"name"'),
    insert("on_conflict", '{"table_name":"target","insert_body":{"id":1,"name":"first"},"on_conflict":@@}', '"id"'),
    insert("an on_conflict column", '{"table_name":"target","insert_body":{"id":1,"name":"first"},"on_conflict":[@@]}', '"id"'),
    insert("update_body", '{"table_name":"target","insert_body":{"id":1,"name":"first"},"on_conflict":"id","update_body":@@}', '{"qty":5}'),
    insert("a key of update_body", '{"table_name":"target","insert_body":{"id":1,"name":"first"},"on_conflict":"id","update_body":{@@:"5"}}', '"note"'),
    insert("count", '{"table_name":"target","insert_body":{"name":"new"},"count":@@}', '"exact"'),
    insert("head", '{"table_name":"target","insert_body":{"name":"new"},"head":@@}', "true"),
    insert("default_to_null", '{"table_name":"target","insert_body":{"name":"new"},"default_to_null":@@}', "false"),
    insert("window header", '{"table_name":"target","insert_body":{"name":"new"}}', "5", headers={"x-athena-insert-window": "@@", "x-athena-timeout": "2s"}, where="header"),
    insert("publish header", '{"table_name":"target","insert_body":{"name":"new"}}', "true", headers={"x-publish-event": "@@"}, where="header"),
    insert("idempotency header", '{"table_name":"target","insert_body":{"name":"new"}}', "k-@", headers={"idempotency-key": "@@"}, where="header"),
    update("table_name", '{"table_name":@@,"data":{"note":"u"},"conditions":[{"eq_column":"id","eq_value":1}]}', '"target"'),
    update("schema_name", '{"table_name":"target","schema_name":@@,"data":{"note":"u"},"conditions":[{"eq_column":"id","eq_value":1}]}', '"public"'),
    update("a key of data", '{"table_name":"target","data":{@@:"5"},"conditions":[{"eq_column":"id","eq_value":1}]}', '"note"'),
    update("a key of set", '{"table_name":"target","set":{@@:"5"},"conditions":[{"eq_column":"id","eq_value":1}]}', '"note"'),
    update("a key of update_body", '{"table_name":"target","update_body":{@@:"5"},"conditions":[{"eq_column":"id","eq_value":1}]}', '"note"'),
    update("a key of columns", '{"table_name":"target","columns":[{@@:"5"}],"conditions":[{"eq_column":"id","eq_value":1}]}', '"note"'),
    update("a text", '{"table_name":"target","data":{"note":@@},"conditions":[{"eq_column":"id","eq_value":1}]}', '"u"'),
    update("a json value", '{"table_name":"target","data":{"data":@@},"conditions":[{"eq_column":"id","eq_value":1}]}', '{"a":1}'),
    update("an array", '{"table_name":"target","data":{"tags":@@},"conditions":[{"eq_column":"id","eq_value":1}]}', '["a"]'),
    update("data", '{"table_name":"target","data":@@,"conditions":[{"eq_column":"id","eq_value":1}]}', '{"note":"u"}'),
    update("conditions", '{"table_name":"target","data":{"note":"u"},"conditions":@@}', '[{"eq_column":"id","eq_value":1}]'),
    update("a second condition", '{"table_name":"target","data":{"note":"u"},"conditions":[{"eq_column":"id","eq_value":1},@@]}',
           '{"column":"name","operator":"eq","value":"first"}'),
    update("eq_column", '{"table_name":"target","data":{"note":"u"},"conditions":[{"eq_column":@@,"eq_value":1}]}', '"id"'),
    update("eq_value", '{"table_name":"target","data":{"note":"u"},"conditions":[{"eq_column":"name","eq_value":@@}]}', '"first"'),
    update("or", '{"table_name":"target","data":{"note":"u"},"conditions":[{"eq_column":"id","eq_value":1},{"operator":"or","value":@@}]}', '"id.eq.1"'),
    update("where", '{"table_name":"target","data":{"note":"u"},"where":@@}', '{"id":1}'),
    update("a key of where", '{"table_name":"target","data":{"note":"u"},"where":{"id":1,@@:1}}', '"qty"'),
    update("columns", '{"table_name":"target","update_body":{"note":"u"},"columns":@@,"conditions":[{"eq_column":"id","eq_value":1}]}', '"id"'),
    update("sort_by", '{"table_name":"target","data":{"note":"u"},"conditions":[{"eq_column":"id","eq_value":1}],"sort_by":@@,"limit":1}',
           '{"field":"id","direction":"asc"}'),
    update("limit", '{"table_name":"target","data":{"note":"u"},"conditions":[{"eq_column":"id","eq_value":1}],"limit":@@}', "1"),
    update("offset", '{"table_name":"target","data":{"note":"u"},"conditions":[{"eq_column":"id","eq_value":1}],"limit":1,"offset":@@}', "0"),
    delete("table_name", '{"table_name":@@,"resource_id":"900"}', '"target"'),
    delete("schema_name", '{"table_name":"target","schema_name":@@,"resource_id":"900"}', '"public"'),
    delete("resource_id", '{"table_name":"target","resource_id":@@}', '"900"'),
    delete("resource_id of a text column", '{"table_name":"target","resource_id":@@,"column_name":"note"}', '"no such note"'),
    delete("column_name", '{"table_name":"target","resource_id":"900","column_name":@@}', '"id"'),
    delete("resource_id_column", '{"table_name":"target","resource_id":"900","resource_id_column":@@}', '"id"'),
    delete("conditions", '{"table_name":"target","resource_id":"900","conditions":@@}', '[{"eq_column":"id","eq_value":900}]'),
    delete("a condition's column", '{"table_name":"target","conditions":[{"eq_column":"id","eq_value":900},{"eq_column":@@,"eq_value":1}]}', '"qty"'),
    delete("a condition's value", '{"table_name":"target","conditions":[{"eq_column":"note","eq_value":@@}]}', '"no such note"'),
    delete("a condition's operator", '{"table_name":"target","conditions":[{"column":"id","operator":@@,"value":900}]}', '"eq"'),
    delete("where", '{"table_name":"target","where":@@}', '{"id":900}'),
    delete("a key of where", '{"table_name":"target","where":{"id":900,@@:1}}', '"qty"'),
    delete("columns", '{"table_name":"target","resource_id":"900","columns":@@}', '"id"'),
]


def query(name, body, plain, **kw):
    return Field("/gateway/query", f"query {name}", "POST", "/gateway/query", body, plain, **kw)


def sql(name, body, plain, **kw):
    return Field("/gateway/sql", f"sql {name}", "POST", "/gateway/sql", body, plain, **kw)


def count(name, body, plain, **kw):
    return Field("/query/count", f"count {name}", "POST", "/query/count", body, plain, **kw)


def rpc(name, body, plain, **kw):
    return Field("/gateway/rpc", f"rpc {name}", "POST", "/gateway/rpc", body, plain, **kw)


def rest(name, path, plain, method="GET", body="", **kw):
    return Field("/rest/v1/{table}", f"rest {name}", method, path, body, plain, writes=method != "GET", **kw)


FIELDS += [
    query("params", '{"query":"select $1::text as x","params":@@}', '["a"]'),
    query("a parameter", '{"query":"select $1::text as x","params":[@@]}', '"a"'),
    query("schema_name", '{"query":"select 1 as x","schema_name":@@}', '"public"'),
    query("execution_mode", '{"query":"select 1 as x","execution_mode":@@}', '"per_statement"'),
    query("query", '{"query":@@}', '"select 1 as x"'),
    query("the whole body", "@@", '{"query":"select 1 as x"}'),
    sql("driver", '{"query":"select 1 as x","driver":@@,"db_name":"app"}', '"postgresql"'),
    sql("db_name", '{"query":"select 1 as x","driver":"postgresql","db_name":@@}', '"app"'),
    sql("a parameter", '{"query":"select $1::text as x","driver":"postgresql","db_name":"app","params":[@@]}', '"a"'),
    count("table_name", '{"driver":"postgresql","db_name":"app","table_name":@@}', '"target"'),
    count("table_schema", '{"driver":"postgresql","db_name":"app","table_name":"target","table_schema":@@}', '"public"'),
    count("query", '{"driver":"postgresql","db_name":"app","query":@@}', '"select count(*) from target"'),
    count("driver", '{"driver":@@,"db_name":"app","table_name":"target"}', '"postgresql"'),
    rpc("function", '{"function":@@,"args":{"a":1,"b":2}}', '"f_add"'),
    rpc("schema", '{"function":"f_add","schema":@@,"args":{"a":1,"b":2}}', '"public"'),
    rpc("args", '{"function":"f_add","args":@@}', '{"a":1,"b":2}'),
    rpc("an argument's name", '{"function":"f_add","args":{"a":1,@@:2}}', '"b"'),
    rpc("an argument", '{"function":"f_add","args":{"a":1,"b":@@}}', "2"),
    rpc("a text argument", '{"function":"f_say","args":{"word":@@}}', '"hi"'),
    rpc("select", '{"function":"f_rows","args":{"low":0},"select":@@}', '"id"'),
    rpc("filters", '{"function":"f_rows","args":{"low":0},"filters":@@}', '[{"column":"id","operator":"eq","value":1}]'),
    rpc("a filter's column", '{"function":"f_rows","args":{"low":0},"filters":[{"column":@@,"operator":"eq","value":1}]}', '"id"'),
    rpc("a filter's operator", '{"function":"f_rows","args":{"low":0},"filters":[{"column":"id","operator":@@,"value":1}]}', '"eq"'),
    rpc("a filter's value", '{"function":"f_rows","args":{"low":0},"filters":[{"column":"name","operator":"eq","value":@@}]}', '"n"'),
    rpc("order", '{"function":"f_rows","args":{"low":0},"order":@@}', '{"column":"id","ascending":false}'),
    rpc("order's column", '{"function":"f_rows","args":{"low":0},"order":{"column":@@}}', '"id"'),
    rpc("limit", '{"function":"f_rows","args":{"low":0},"limit":@@}', "1"),
    rpc("count", '{"function":"f_rows","args":{"low":0},"count":@@}', '"exact"'),
    Field("/rpc/{function_name}", "rpc path", "POST", "/rpc/@@", '{"a":1,"b":2}', "f_add", where="url"),
    Field("/rpc/{function_name}", "rpc GET path", "GET", "/rpc/@@?a=1&b=2", plain="f_add", where="url"),
    Field("/rpc/{function_name}", "rpc GET argument", "GET", "/rpc/f_say?word=@@", plain="hi", where="url"),
    Field("/rpc/{function_name}", "rpc GET argument's name", "GET", "/rpc/f_add?a=1&@@=2", plain="b", where="url"),
    Field("/rpc/{function_name}", "rpc GET filter", "GET", "/rpc/f_rows?low=0&name=eq.@@", plain="n", where="url"),
    Field("/rpc/{function_name}", "rpc GET order", "GET", "/rpc/f_rows?low=0&order=@@", plain="id.desc", where="url"),
    Field("/rpc/{function_name}", "rpc GET select", "GET", "/rpc/f_rows?low=0&select=@@", plain="id", where="url"),
    Field("/rpc/{function_name}", "rpc GET limit", "GET", "/rpc/f_rows?low=0&limit=@@", plain="1", where="url"),
    rest("table", "/rest/v1/@@?id=eq.1", "target", where="url"),
    rest("a filter's column", "/rest/v1/target?@@=eq.1", "id", where="url"),
    rest("a filter's text", "/rest/v1/target?id=@@", "eq.1", where="url"),
    rest("a filter's value", "/rest/v1/target?name=eq.@@", "n", where="url"),
    rest("in", "/rest/v1/target?name=in.(@@)", "n", where="url"),
    rest("cs", "/rest/v1/target?tags=cs.@@", "{a}", where="url"),
    rest("like", "/rest/v1/target?name=like.@@", "n*", where="url"),
    rest("or", "/rest/v1/target?or=(@@)", "id.eq.1", where="url"),
    rest("and", "/rest/v1/target?and=@@", "(id.eq.1)", where="url"),
    rest("select", "/rest/v1/target?select=@@", "id", where="url"),
    rest("order", "/rest/v1/target?order=@@", "id.desc", where="url"),
    rest("limit", "/rest/v1/target?limit=@@", "1", where="url"),
    rest("offset", "/rest/v1/target?offset=@@", "0", where="url"),
    rest("range header", "/rest/v1/target", "items=0-1", headers={"range": "@@"}, where="header"),
    rest("prefer header", "/rest/v1/target", "count=exact", headers={"prefer": "@@"}, where="header"),
    rest("POST a key", "/rest/v1/target", '"name"', "POST", '{@@:"new"}'),
    rest("POST a value", "/rest/v1/target", '"new"', "POST", '{"name":@@}'),
    rest("POST the body", "/rest/v1/target", '{"name":"new"}', "POST", "@@"),
    rest("POST on_conflict", "/rest/v1/target?on_conflict=@@", "id", "POST", '{"id":1,"name":"first"}', where="url",
         headers={"prefer": "resolution=merge-duplicates"}),
    rest("PATCH a filter", "/rest/v1/target?id=eq.1&note=@@", "neq.zz", "PATCH", '{"note":"u"}', where="url"),
    rest("PATCH a filter's column", "/rest/v1/target?id=eq.1&@@=neq.zz", "note", "PATCH", '{"note":"u"}', where="url"),
    rest("PATCH or", "/rest/v1/target?id=eq.1&or=(@@)", "id.eq.1", "PATCH", '{"note":"u"}', where="url"),
    rest("PATCH a key", "/rest/v1/target?id=eq.1", '"note"', "PATCH", '{@@:"u"}'),
    rest("DELETE a filter", "/rest/v1/target?id=eq.900&note=@@", "eq.x", "DELETE", where="url"),
    rest("DELETE an operator", "/rest/v1/target?id=@@.900", "eq", "DELETE", where="url"),
    Field("/public/{route_key}/{op}", "public key", "POST", "/public/@@/fetch", '{"table_name":"target"}', "shop", where="url"),
    Field("/public/{route_key}/{op}", "public operation", "POST", "/public/shop/@@", '{"table_name":"target"}', "fetch", where="url"),
    Field("/gateway/transaction", "transaction operations", "POST", "/gateway/transaction", '{"operations":@@}',
          '[{"id":"a","kind":"fetch","payload":{"table_name":"target"}}]'),
    Field("/gateway/transaction", "transaction kind", "POST", "/gateway/transaction",
          '{"operations":[{"id":"a","kind":@@,"payload":{"table_name":"target"}}]}', '"fetch"'),
    Field("/gateway/transaction", "transaction id", "POST", "/gateway/transaction",
          '{"operations":[{"id":@@,"kind":"fetch","payload":{"table_name":"target"}}]}', '"a"'),
    Field("/gateway/transaction", "transaction payload", "POST", "/gateway/transaction",
          '{"operations":[{"id":"a","kind":"update","payload":{"table_name":"target","data":{"note":"u"},"conditions":[{"eq_column":@@,"eq_value":1}]}}]}',
          '"id"', writes=True),
    Field("/gateway/transaction", "transaction isolation", "POST", "/gateway/transaction",
          '{"operations":[{"id":"a","kind":"fetch","payload":{"table_name":"target"}}],"options":{"isolation_level":@@}}', '"serializable"'),
]

SCHEMA = """
create table owners (id int primary key, name text not null);
insert into owners select i, 'owner ' || i from generate_series(1, 5) i;
create table target (id int generated by default as identity (start with 1000) primary key, name text not null default 'd', note text not null default '',
  qty int not null default 0, data jsonb not null default '{"a":"1"}', tags text[] not null default '{}', mark uuid not null default gen_random_uuid(),
  owner_id int references owners, made_at timestamptz not null default '2024-05-05');
insert into target (id, name, note, qty, owner_id) select i, case i when 1 then 'first' else 'n' || i end, 'note ' || i, i, i % 5 + 1 from generate_series(1, 50) i;
create table guard (id int primary key, word text not null);
insert into guard select i, 'guarded ' || i from generate_series(1, 100) i;
create schema private;
create table private.secrets (id int primary key, word text not null);
insert into private.secrets values (1, 'nobody reads this');
create function f_add(a int, b int) returns int language sql immutable as 'select a + b';
create function f_say(word text) returns text language sql immutable as 'select word';
create function f_rows(low int) returns setof target language sql stable as 'select * from target where id >= low and id <= 50';
"""

CONTROL = """
create table public_gateway_routes (id bigint generated always as identity primary key, created_at timestamptz not null default now(),
  public_gateway_route_id uuid not null default gen_random_uuid() unique, route_key text not null, client_name text not null,
  target_url text, allowed_ops text[] not null, is_active boolean not null default true, metadata jsonb not null default '{}',
  updated_at timestamptz not null default now(), deleted_at timestamptz);
insert into public_gateway_routes (route_key, client_name, allowed_ops) values ('shop', 'app', '{query,fetch,insert,update,delete}');
"""

# What no request may change: everything but row 1 of target and the rows that inserts made.
GUARDS = """select (select md5(string_agg(g::text, '|' order by id)) from guard g),
  (select md5(string_agg(s::text, '|' order by id)) from private.secrets s),
  (select md5(string_agg(o::text, '|' order by id)) from owners o),
  (select md5(string_agg(t::text, '|' order by id)) from target t where id between 2 and 50),
  (select string_agg(oid::text || relname, ',' order by oid) from pg_class where relnamespace::regnamespace::text in ('public', 'private') and relkind in ('r', 'v', 'S')),
  (select string_agg(proname, ',' order by proname) from pg_proc where pronamespace = 'public'::regnamespace),
  (select string_agg(rolname, ',' order by rolname) from pg_roles)"""
