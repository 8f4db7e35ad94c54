// What the client tests share: psql as the second opinion, and the count of what held.
//
// They run inside `athena dev --exec`: ATHENA_URL, ATHENA_KEY, ATHENA_CLIENT and DATABASE_URL are set.
import { execFileSync } from "node:child_process";

export const { ATHENA_URL, ATHENA_KEY, ATHENA_CLIENT, DATABASE_URL } = process.env;

export function psql(sql) {
  return execFileSync("psql", ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", DATABASE_URL], {
    input: sql,
    encoding: "utf8",
  }).trim();
}

// The rows of a query, as JSON has them.
export const truth = (sql) => JSON.parse(psql(`select coalesce(json_agg(t), '[]') from (${sql}) t`));

let passed = 0;
const failures = [];

export async function check(name, run) {
  try {
    await run();
    passed += 1;
  } catch (error) {
    failures.push(`${name}  ${error.message.replace(/\s+/g, " ").slice(0, 600)}`);
  }
}

export function report() {
  for (const failure of failures) console.log(failure);
  console.log(`${passed} passed, ${failures.length} failed`);
  process.exitCode = failures.length ? 1 : 0;
}
