// Every way to filter that the published client has, against the rows that psql gives for the same question.
import assert from "node:assert/strict";
import { createClient } from "@xylex-group/athena";
import { ATHENA_CLIENT, ATHENA_KEY, ATHENA_URL, check, psql } from "./lab.mjs";

psql(`
  set client_min_messages = warning;
  drop table if exists public.client_people;
  create table public.client_people (
    id int primary key, name text not null, nickname text, age int not null, score numeric(6,2),
    is_active boolean not null, born date, tags text[] not null, profile jsonb not null);
  insert into public.client_people values
    (1, 'Ann',        'annie', 31, 10.50, true,  '1994-02-01', '{red,blue}',  '{"lang":"en"}'),
    (2, 'Bob',        null,    45, 20.25, true,  '1980-12-24', '{blue}',      '{"lang":"de"}'),
    (3, 'Cy, the 3rd', 'cy',   45, null,  false, '1980-01-01', '{green,red}', '{"lang":"en","x":1}'),
    (4, 'Dora (D.)',  null,    28, 0.00,  false, null,         '{}',          '{}'),
    (5, 'anna',       'a_b%c', 60, 99.99, true,  '1965-07-07', '{red}',       '{"lang":"fr"}');
`);

const people = () => createClient(ATHENA_URL, ATHENA_KEY, { client: ATHENA_CLIENT }).from("client_people");
const withNulls = { stripNulls: false }; // else the client asks for rows without them

// What the caller does, and the condition that means the same.
const cases = [
  ["select without a filter", (t) => t, "true"],
  ["eq number", (t) => t.eq("id", 3), "id = 3"],
  ["eq text with a comma", (t) => t.eq("name", "Cy, the 3rd"), "name = 'Cy, the 3rd'"],
  ["eq boolean", (t) => t.eq("is_active", true), "is_active"],
  ["eq number as text", (t) => t.eq("score", "10.5"), "score = 10.5"],
  ["match", (t) => t.match({ age: 45, is_active: true }), "age = 45 and is_active"],
  ["neq", (t) => t.neq("age", 45), "age <> 45"],
  ["gt", (t) => t.gt("age", 31), "age > 31"],
  ["gt compares numbers sent as text by the column's type", (t) => t.gt("score", "9"), "score > 9"],
  ["gte", (t) => t.gte("age", 45), "age >= 45"],
  ["lt", (t) => t.lt("age", 31), "age < 31"],
  ["lte a date", (t) => t.lte("born", "1980-12-24"), "born <= '1980-12-24'"],
  ["like", (t) => t.like("name", "A%"), "name like 'A%'"],
  ["like with an escape", (t) => t.like("nickname", "a\\_b\\%c"), "nickname like 'a\\_b\\%c'"],
  ["ilike", (t) => t.ilike("name", "ann%"), "name ilike 'ann%'"],
  ["is null", (t) => t.is("nickname", null), "nickname is null"],
  ["is true", (t) => t.is("is_active", true), "is_active is true"],
  ["in", (t) => t.in("id", [1, 3, 99]), "id in (1, 3, 99)"],
  ["in of nothing", (t) => t.in("id", []), "false"],
  ["in of texts", (t) => t.in("name", ["Bob", "Cy, the 3rd"]), "name in ('Bob', 'Cy, the 3rd')"],
  ["contains", (t) => t.contains("tags", ["red"]), "tags @> '{red}'"],
  ["contains json", (t) => t.contains("profile", { lang: "en" }), `profile @> '{"lang":"en"}'`],
  ["containedBy", (t) => t.containedBy("tags", ["red", "blue"]), "tags <@ '{red,blue}'"],
  ["not with three arguments", (t) => t.not("age", "eq", 45), "not (age = 45)"],
  ["not with a list", (t) => t.not("id", "in", [1, 2]), "not (id in (1, 2))"],
  ["not as an expression", (t) => t.not("name.like.A%"), "not (name like 'A%')"],
  ["or", (t) => t.or("id.eq.1,age.gt.50"), "id = 1 or age > 50"],
  ["or with and", (t) => t.or("and(is_active.eq.true,age.gt.40),id.eq.4"), "(is_active and age > 40) or id = 4"],
  ["several filters", (t) => t.gte("age", 28).lt("age", 60).is("nickname", null), "age >= 28 and age < 60 and nickname is null"],
  ["reset forgets the filters", (t) => t.eq("id", 1).limit(1).reset(), "true"],
];

function rows(result) {
  assert.equal(result.status, 200, JSON.stringify(result.raw));
  return result.raw.data;
}

const byId = (a, b) => a.id - b.id;

for (const [name, filter, where] of cases) {
  await check(name, async () => {
    const seen = rows(await filter(people()).select("*", withNulls)).sort(byId);
    const truth = psql(`select coalesce(json_agg(t order by id), '[]') from public.client_people t where ${where}`);
    assert.deepEqual(seen, JSON.parse(truth));
  });
}

await check("columns as text", async () => {
  assert.deepEqual(rows(await people().eq("id", 2).select("id, name")), [{ id: 2, name: "Bob" }]);
});
await check("columns as a list", async () => {
  assert.deepEqual(rows(await people().eq("id", 2).select(["name", "age"])), [{ name: "Bob", age: 45 }]);
});
await check("limit", async () => assert.equal(rows(await people().limit(2).select("id")).length, 2));
await check("limit and offset cut all rows into pages", async () => {
  const pages = [];
  for (const offset of [0, 2, 4]) pages.push(...rows(await people().limit(2).offset(offset).select("id")));
  assert.deepEqual(pages.sort(byId).map((r) => r.id), [1, 2, 3, 4, 5]);
});
await check("range", async () => assert.equal(rows(await people().range(1, 3).select("id")).length, 3));
await check("single", async () => assert.equal(rows(await people().eq("id", 1).single("id,name"))[0].name, "Ann"));
await check("maybeSingle of nothing", async () => assert.deepEqual(rows(await people().eq("id", 77).maybeSingle("id")), []));
await check("nulls are left out unless the caller wants them", async () => {
  assert.deepEqual(rows(await people().eq("id", 2).select("id,nickname")), [{ id: 2 }]);
  assert.deepEqual(rows(await people().eq("id", 2).select("id,nickname", withNulls)), [{ id: 2, nickname: null }]);
});
await check("an unknown column is refused by name", async () => {
  const result = await people().eq("no_such_column", 1).select("id");
  assert.equal(result.status, 400);
  assert.match(JSON.stringify(result.raw), /no_such_column/);
});
await check("a wrong key is refused", async () => {
  const result = await createClient(ATHENA_URL, "wrong", { client: ATHENA_CLIENT }).from("client_people").select("id");
  assert.equal(result.status, 401);
});

psql("drop table public.client_people");
