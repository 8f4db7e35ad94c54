// The calls of the newer client (5.2.0) as it sends them, and its way to read the answers (contract gateway.md, 31.1 and 31.2). That
// version is not in the registry, so what it does is written out here.
import assert from "node:assert/strict";
import { ATHENA_CLIENT, ATHENA_KEY, ATHENA_URL, check, psql, truth } from "./lab.mjs";

psql(`
  set client_min_messages = warning;
  drop schema if exists crm cascade; create schema crm;
  drop table if exists public.newer_tasks, public.newer_projects, public.newer_people;
  create table public.newer_people (id int primary key, name text not null, nickname text, age int, profile jsonb, active boolean,
    mark uuid not null default gen_random_uuid(), email text unique);
  create table public.newer_projects (id int primary key, title text not null, owner_id int references public.newer_people, deputy_id int references public.newer_people);
  create table public.newer_tasks (id int primary key, project_id int not null references public.newer_projects, title text, done boolean not null default false);
  create table crm.accounts (id int primary key, label text not null);
  create table crm.deals (id int primary key, account_id int references crm.accounts, amount numeric(12,2));
  create or replace function public.newer_add(a int, b int default 10) returns int language sql immutable as 'select a + b';
  create or replace function public.newer_list(low int) returns setof public.newer_people language sql stable as 'select * from newer_people where age >= low';`);

const MARK = "aaaaaaaa-0000-4000-8000-00000000000a";
const rowsOfAll = `
  truncate public.newer_people, public.newer_projects, public.newer_tasks, crm.accounts, crm.deals;
  insert into public.newer_people values (1, 'Ann', 'annie', 31, '{"lang":"en"}', true, '${MARK}', 'ann@x'), (2, 'Bob', null, 45, '{"lang":"de"}', true, default, 'bob@x'),
    (3, 'Cy, 3rd', null, 45, '{}', false, default, null);
  insert into public.newer_projects values (1, 'Garden', 1, 2), (2, 'Zoo', 2, null), (3, 'Lab', null, null);
  insert into public.newer_tasks values (1, 1, 'Plant', false), (2, 1, 'Water', true), (3, 2, 'Feed', false);
  insert into crm.accounts values (1, 'Acme'), (2, 'Bolt'); insert into crm.deals values (1, 1, 10.50), (2, 1, 100.00), (3, 2, 7);`;

// ---- as the client sends ----

const sdk = { "x-athena-key": ATHENA_KEY, "x-athena-client": ATHENA_CLIENT, "content-type": "application/json", "x-strip-nulls": "true", "x-athena-sdk": "xylex-group/athena 5.2.0" };

async function call(method, path, body, headers = {}) {
  const response = await fetch(ATHENA_URL + path, { method, headers: { ...sdk, ...headers }, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await response.text();
  let parsed;
  try {
    parsed = JSON.parse(text);
  } catch {
    return { status: response.status, error: { code: "INVALID_JSON", message: text } };
  }
  return { status: response.status, headers: response.headers, ...(response.ok ? answer(parsed) : { error: failure(response.status, parsed) }), raw: parsed };
}

// ---- as the client reads ----

const AFFECTED = ["affectedRows", "affected_rows", "row_count", "rows_affected", "rowCount", "rows_written", "changes"];

function answer(body) {
  const rows = body && typeof body === "object" && "data" in body ? body.data : body;
  const places = [body, body?.meta, body?.data].filter((x) => x && typeof x === "object" && !Array.isArray(x));
  const affected = places.flatMap((p) => AFFECTED.map((k) => p[k])).find((v) => typeof v === "number");
  return { rows, count: typeof body?.count === "number" ? body.count : null, affected: affected ?? null };
}

const KIND = { 409: "unique", 404: "not found", 401: "auth", 403: "auth", 429: "rate", 400: "validation", 422: "validation" };

function failure(status, body) {
  const message = body?.error?.message ?? body?.message ?? body?.error ?? body?.details;
  return { kind: KIND[status] ?? (status >= 500 ? "retryable" : "other"), message, code: body?.code, hint: body?.hint, details: body?.details, text: JSON.stringify(body) };
}

const eq = (column, value, casts = {}) => ({ operator: "eq", column, value, eq_column: column, eq_value: value, ...casts });
const people = (more) => call("POST", "/gateway/fetch", { table_name: "newer_people", strip_nulls: true, ...more });
const ids = (result) => (assert.equal(result.status, 200, JSON.stringify(result)), result.rows.map((r) => r.id).sort());
const fresh = (name, run) => check(`newer: ${name}`, async () => (psql(rowsOfAll), await run()));

psql(rowsOfAll);

// ---- select with filters ----

const filters = [
  [[eq("id", 2)], [2]],
  [[eq("id", "2", { column_cast: "text", value_cast: "text", eq_column_cast: "text", eq_value_cast: "text" })], [2]],
  [[eq("mark", MARK, { eq_value_cast: "uuid", value_cast: "uuid" })], [1]],
  [[{ operator: "neq", column: "age", value: 45 }], [1]],
  [[{ operator: "gt", column: "age", value: "31" }], [2, 3]],
  [[{ operator: "gte", column: "age", value: 45 }, { operator: "lt", column: "id", value: 3 }], [2]],
  [[{ operator: "lte", column: "id", value: 1 }], [1]],
  [[{ operator: "like", column: "name", value: "%o%" }], [2]],
  [[{ operator: "ilike", column: "name", value: "AN%" }], [1]],
  [[{ operator: "is", column: "nickname", value: null }], [2, 3]],
  [[{ operator: "is", column: "active", value: true }], [1, 2]],
  [[{ operator: "in", column: "id", value: [1, 3] }], [1, 3]],
  [[{ operator: "contains", column: "profile", value: { lang: "en" } }], [1]],
  [[{ operator: "containedBy", column: "profile", value: { lang: "de", x: 1 } }], [2, 3]],
  [[{ operator: "or", value: "and(active.eq.true,age.gt.40),id.eq.3" }], [2, 3]],
  [[{ operator: "not", value: "id.in.1,2" }], [3]],
  [[{ operator: "not", value: "name.eq.Ann" }], [2, 3]],
];
for (const [conditions, expected] of filters) {
  await fresh(`select where ${JSON.stringify(conditions)}`, async () => assert.deepEqual(ids(await people({ columns: "*", conditions })), expected));
}
await fresh("sort_by, count, pages", async () => {
  const page = (current_page) => people({ columns: ["id"], sort_by: { field: "id", direction: "descending" }, count: "exact", page_size: 2, current_page });
  assert.deepEqual([(await page(1)).rows, (await page(2)).rows], [[{ id: 3 }, { id: 2 }], [{ id: 1 }]]);
  assert.equal((await page(2)).count, 3);
});
await fresh("head", async () => {
  const result = await people({ columns: "*", head: true, count: "exact", conditions: [{ operator: "gt", column: "age", value: 40 }] });
  assert.deepEqual([result.rows, result.count], [[], 2]);
});
await fresh("planned and estimated counts are numbers", async () => {
  for (const count of ["planned", "estimated"]) assert.equal(typeof (await people({ columns: "id", count })).count, "number");
});
await fresh("nulls are left out by body and by header", async () => {
  assert.deepEqual((await people({ columns: "id,nickname", conditions: [eq("id", 2)] })).rows, [{ id: 2 }]);
  assert.deepEqual((await people({ columns: "id,nickname", conditions: [eq("id", 2)], strip_nulls: false })).rows, [{ id: 2, nickname: null }]);
});
await fresh("a filter on no column is refused", async () => {
  const { error } = await people({ columns: "*", conditions: [eq("nonsense", 1)] });
  assert.equal(error.kind, "validation");
  assert.equal(error.code, "undefined_column");
  assert.match(error.text, /nonsense/);
});

// ---- reads by UUID arrive as SQL ----

const generated = (query) => call("POST", "/gateway/query", { query });
await fresh("read by UUID", async () => {
  const result = await generated(`SELECT "id", "name" FROM "newer_people" WHERE "mark"::text = '${MARK}' LIMIT 1;`);
  assert.deepEqual(result.rows, [{ id: 1, name: "Ann" }]);
});
await fresh("read by UUID of everything, with more conditions", async () => {
  const result = await generated(`SELECT * FROM "public"."newer_people" WHERE "mark"::text = '${MARK}' AND "age" >= 30 AND "active" IS TRUE ORDER BY "id" ASC LIMIT 5 OFFSET 0;`);
  assert.deepEqual(ids(result), [1]);
});
await fresh("read by UUID with relations", async () => {
  psql(`alter table public.newer_projects add column if not exists mark uuid; update public.newer_projects set mark = '${MARK}' where id = 1`);
  const result = await generated(`SELECT id,title,owner:owner_id(name),newer_tasks(id) FROM "newer_projects" WHERE "mark"::text = '${MARK}';`);
  assert.equal(result.status, 200, JSON.stringify(result));
  assert.deepEqual({ ...result.rows[0], newer_tasks: result.rows[0].newer_tasks.length }, { id: 1, title: "Garden", owner: { name: "Ann" }, newer_tasks: 2 });
});
await fresh("a value in generated SQL stays a value", async () => {
  assert.deepEqual((await generated(`SELECT "id" FROM "newer_people" WHERE "name" = 'Cy, 3rd'' OR ''1''=''1';`)).rows, []);
});

// ---- relations ----

await fresh("select of a schema-qualified relation", async () => {
  const result = await call("POST", "/gateway/fetch", { table_name: "accounts", schema_name: "crm", select: "id,label,deals:crm.deals(id,amount)",
    where: { id: { gt: 0 }, label: { neq: "Bolt" } }, orderBy: { id: "asc" }, limit: 10, offset: 0 });
  assert.equal(result.status, 200, JSON.stringify(result));
  assert.deepEqual(result.rows.map((r) => [r.label, r.deals.map((d) => d.id).sort()]), [["Acme", [1, 2]]]);
});
await fresh("findMany with a selection in columns", async () => {
  const result = await call("POST", "/gateway/fetch", { table_name: "newer_projects", columns: "title,newer_tasks(title)", conditions: [eq("id", 2)] });
  assert.deepEqual(result.rows, [{ title: "Zoo", newer_tasks: [{ title: "Feed" }] }]);
});
await fresh("findMany through a foreign key's column", async () => {
  const result = await call("POST", "/gateway/fetch", { table_name: "newer_projects", columns: "title,owner:owner_id(name),deputy:deputy_id(name)", conditions: [eq("id", 1)] });
  assert.deepEqual(result.rows, [{ title: "Garden", owner: { name: "Ann" }, deputy: { name: "Bob" } }]);
});
await fresh("findMany as a tree, with or, not and a column's order", async () => {
  const result = await call("POST", "/gateway/fetch", { table_name: "newer_people", select: { id: true, name: true },
    where: { age: { gte: 31 }, or: [{ name: { ilike: "b%" } }, { id: 3 }], not: { active: { is: null } } }, orderBy: { column: "id", ascending: false }, limit: 5 });
  assert.equal(result.status, 200, JSON.stringify(result));
  assert.deepEqual(result.rows.map((r) => r.id), [3, 2]);
});
await fresh("findMany as a tree, with as, via and schema", async () => {
  const result = await call("POST", "/gateway/fetch", { table_name: "newer_projects", where: { id: 1 }, select: { title: true,
    newer_people: { as: "deputy", via: "deputy_id", schema: "public", select: { name: true } },
    newer_tasks: { select: { id: true }, where: { done: false }, orderBy: { column: "id", ascending: true } } } });
  assert.equal(result.status, 200, JSON.stringify(result));
  assert.deepEqual(result.rows, [{ title: "Garden", deputy: { name: "Bob" }, newer_tasks: [{ id: 1 }] }]);
});

// ---- writes ----

const put = (body) => call("PUT", "/gateway/insert", body);
await fresh("insert one", async () => {
  const result = await put({ table_name: "newer_people", insert_body: { id: 9, name: "New" }, columns: "id,name" });
  assert.deepEqual([result.rows, result.affected], [{ id: 9, name: "New" }, 1]);
});
await fresh("insert an array", async () => {
  const result = await put({ table_name: "newer_people", insert_body: [{ id: 8, name: "X" }, { id: 9, name: "Y", age: 1 }], columns: ["id"], count: "exact" });
  assert.deepEqual([result.rows, result.affected, result.count], [[{ id: 8 }, { id: 9 }], 2, 2]);
});
await fresh("upsert", async () => {
  for (const on_conflict of ["email", ["email"]]) {
    const result = await put({ table_name: "newer_people", insert_body: [{ id: 1, name: "Anna", email: "ann@x" }], on_conflict, update_body: { name: "Anna" } });
    assert.equal(result.status, 200, JSON.stringify(result));
  }
  assert.equal(psql("select name from newer_people where id = 1"), "Anna");
});
await fresh("a conflict is of the kind unique and names its constraint in the text", async () => {
  const { error } = await put({ table_name: "newer_people", insert_body: { id: 1, name: "x" } });
  assert.equal(error.kind, "unique");
  assert.match(JSON.parse(error.text).error, /unique constraint "newer_people_pkey"/);
});
await fresh("a missing table is named in the text", async () => {
  const { error } = await put({ table_name: "newer_nothing", insert_body: { id: 1 } });
  assert.match(JSON.parse(error.text).error, /relation "(public\.)?newer_nothing"/);
});
const update = (more) => call("POST", "/gateway/update", { table_name: "newer_people", strip_nulls: true, ...more });
await fresh("update", async () => {
  const result = await update({ update_body: { age: 50 }, conditions: [eq("id", 2)], columns: "id,age" });
  assert.deepEqual([result.rows, result.affected], [[{ id: 2, age: 50 }], 1]);
});
await fresh("update, set and data inside", async () => {
  for (const key of ["set", "data"]) assert.equal((await update({ update_body: { [key]: { age: 51 } }, conditions: [eq("id", 2)] })).affected, 1);
});
await fresh("update of the first row by an order", async () => {
  const result = await update({ update_body: { nickname: "eldest" }, conditions: [{ operator: "gte", column: "age", value: 45 }], sort_by: { field: "id", direction: "descending" }, limit: 1, columns: ["id"] });
  assert.deepEqual(result.rows, [{ id: 3 }]);
});
await fresh("an unfiltered update or delete is refused", async () => {
  for (const result of [await update({ update_body: { age: 1 } }), await update({ update_body: { age: 1 }, conditions: [] }),
    await call("DELETE", "/gateway/delete", { table_name: "newer_people" }), await call("DELETE", "/gateway/delete", { table_name: "newer_people", conditions: [] })]) {
    assert.deepEqual([result.status, result.error.code], [400, "missing_conditions"], JSON.stringify(result));
  }
  assert.equal(psql("select count(*) from newer_people where age <> 1"), "3");
});
await fresh("delete by conditions, without an organization", async () => {
  psql("delete from newer_tasks; delete from newer_projects");
  const result = await call("DELETE", "/gateway/delete", { table_name: "newer_people", conditions: [{ operator: "gt", column: "id", value: 1 }], columns: "id" });
  assert.deepEqual([ids(result), result.affected], [[2, 3], 2]);
});
await fresh("delete by resource_id", async () => {
  const result = await call("DELETE", "/gateway/delete", { table_name: "newer_tasks", resource_id: "3", conditions: [eq("id", "3")] });
  assert.equal(result.affected, 1, JSON.stringify(result));
});
await fresh("what hangs on a row keeps it", async () => {
  const { error } = await call("DELETE", "/gateway/delete", { table_name: "newer_projects", resource_id: 1 });
  assert.equal(error.code, "foreign_key_violation");
});

// ---- functions and SQL ----

await fresh("rpc", async () => {
  assert.deepEqual((await call("POST", "/gateway/rpc", { function: "newer_add", args: { a: 1, b: 2 } })).rows, [3]);
  assert.deepEqual((await call("POST", "/gateway/rpc", { function: "newer_add", args: { a: "1" } })).rows, [11]);
});
await fresh("rpc with select, filters, order, count", async () => {
  const result = await call("POST", "/gateway/rpc", { function: "newer_list", schema: "public", args: { low: 30 }, select: "id,name",
    filters: [{ column: "age", operator: "gt", value: 40 }], order: { column: "id", ascending: false }, limit: 1, offset: 0, count: "exact" });
  assert.deepEqual([result.rows, result.count], [[{ id: 3, name: "Cy, 3rd" }], 2]);
});
await fresh("rpc, head", async () => {
  const result = await call("POST", "/gateway/rpc", { function: "newer_list", args: { low: 30 }, head: true, count: "exact" });
  assert.deepEqual([result.rows, result.count], [[], 3]);
});
await fresh("rpc by GET, with head", async () => {
  assert.deepEqual((await call("GET", "/rpc/newer_add?a=4&b=5")).rows, [9]);
  const result = await call("GET", "/rpc/newer_list?low=30&select=id&order=id.desc&age=gt.40&count=exact&head=true");
  assert.deepEqual([result.rows, result.count], [[], 2]);
});
await fresh("query with params", async () => {
  const result = await call("POST", "/gateway/query", { query: "select id, name from newer_people where name = $1 and age > $2", params: ["Bob", 40], expectedShape: "rows", operation: "select" });
  assert.deepEqual(result.rows, [{ id: 2, name: "Bob" }]);
});
await fresh("query that writes says how many", async () => {
  const result = await call("POST", "/gateway/query", { query: "update newer_people set age = age + 1 where age = 45", expectedShape: "command" });
  assert.equal(result.affected, 2, JSON.stringify(result.raw));
});
await fresh("query that fails says where", async () => {
  const { error } = await call("POST", "/gateway/query", { query: "select nothing from newer_people" });
  assert.equal(error.kind, "validation");
  assert.match(error.text, /nothing/);
});

// ---- the rest ----

await fresh("verifyConnection and health", async () => {
  assert.equal((await call("GET", "/")).status, 200);
  const response = await fetch(`${ATHENA_URL}/health`, { headers: { "X-API-Key": ATHENA_KEY } });
  assert.equal(response.status, 200);
  assert.equal((await response.json()).status, "ok");
});
await fresh("the base URL may end in /db", async () => {
  const result = await call("POST", "/db/fetch", { table_name: "newer_people", columns: ["id"], conditions: [eq("id", 1)] });
  assert.deepEqual(ids(result), [1]);
  assert.deepEqual((await call("POST", "/db/rpc", { function: "newer_add", args: { a: 1 } })).rows, [11]);
  assert.deepEqual((await call("POST", "/db/query", { query: "select 1 as one" })).rows, [{ one: 1 }]);
});
await fresh("a request id comes back", async () => {
  const { headers } = await people({ columns: "id" });
  assert.match(headers.get("x-request-id") ?? headers.get("x-athena-request-id"), /^[0-9a-f-]{36}$/);
});
await fresh("no-cache is taken", async () => assert.equal((await call("POST", "/gateway/fetch", { table_name: "newer_people" }, { "cache-control": "no-cache" })).status, 200));
await fresh("a wrong key is of the kind auth", async () => assert.equal((await call("POST", "/gateway/fetch", { table_name: "newer_people" }, { "x-athena-key": "wrong" })).error.kind, "auth"));
await fresh("transaction", async () => {
  const operations = [{ id: "txop_1", kind: "insert", payload: { table_name: "newer_people", insert_body: { id: 20, name: "T" } } },
    { id: "txop_2", kind: "update", payload: { table_name: "newer_people", update_body: { age: 1 }, conditions: [eq("id", 20)] } },
    { id: "txop_3", kind: "fetch", payload: { table_name: "newer_people", columns: ["age"], conditions: [eq("id", 20)] } }];
  const options = { isolation_level: null, read_only: false, deferrable: false };
  const done = await call("POST", "/gateway/transaction", { idempotency_key: null, operations, options });
  assert.equal(done.status, 200, JSON.stringify(done));
  assert.deepEqual([done.rows.committed, done.raw.results.map((r) => r.ok), done.raw.results[2].data], [true, [true, true, true], [{ age: 1 }]]);
  const failed = await call("POST", "/gateway/transaction", { operations: [{ ...operations[0], payload: { ...operations[0].payload, insert_body: { id: 21, name: "U" } } }, operations[0]], options });
  assert.equal(failed.status, 409, JSON.stringify(failed));
  assert.deepEqual(truth("select id from newer_people where id >= 20"), [{ id: 20 }]);
});

psql("set client_min_messages = warning; drop function public.newer_add, public.newer_list; drop table public.newer_tasks, public.newer_projects, public.newer_people; drop schema crm cascade");
