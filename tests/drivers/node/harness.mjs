// Runs a driver's scenarios and prints one line for each.
//
// Where PostgreSQL or the pooler is, libpq's own variables say: PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE. Through
// the pooler that user's pool has three server connections. HOLDER may have as many as it likes: scenarios whose
// clients need a server connection for as long as they live log in as that user.

import assert from "node:assert/strict";
import { basename } from "node:path";

export const SERVER_CONNECTIONS = 3;
export const HOLDER = { user: "holder", password: "holder" };

// what must not wait for ever: a reply that never comes is the worst that a pooler can do
const PATIENCE = 60_000;

const scenarios = [];

/** Registers a scenario by its function's name. */
export function scenario(work) {
  scenarios.push(work);
}

export const equal = assert.deepStrictEqual;

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Demands an error with this SQLSTATE, and gives it. */
export async function fails(sqlstate, promise) {
  const error = await promise.then(
    () => assert.fail(`no error, wanted ${sqlstate}`),
    (error) => error,
  );
  if (error instanceof assert.AssertionError) throw error;
  assert.equal(error.code, sqlstate, `got ${error.code} (${error.message}), wanted ${sqlstate}`);
  return error;
}

/** Waits until it is so. */
export async function until(what, isSo) {
  for (const end = Date.now() + 10_000; !isSo(); await sleep(5)) {
    assert.ok(Date.now() < end, `${what} did not happen within 10 s`);
  }
}

function inTime(work) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not done after ${PATIENCE} ms`)), PATIENCE);
    work().then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** Runs all, or those named on the command line, and ends the process. */
export async function run() {
  const only = process.argv.slice(2);
  let failed = 0;
  for (const work of scenarios) {
    if (only.length && !only.includes(work.name)) continue;
    try {
      await inTime(work);
      console.log(`ok ${work.name}`);
    } catch (error) {
      failed += 1;
      const line = /driver\.mjs:(\d+)/.exec(error.stack ?? "")?.[1] ?? "?";
      const file = basename(process.argv[1]);
      console.log(`FAILED ${work.name}: ${file}:${line}: ${String(error.message).replace(/\s+/g, " ").slice(0, 300)}`);
    }
  }
  // a client that hangs must not keep the process
  process.exit(failed ? 1 : 0);
}
