// node-postgres with its pool, and the listeners for 'error' that its users should have: one for the pool's idle clients
// and one for each client, since a client that is in use tells nobody else.

import assert from "node:assert/strict";
import pg from "pg";
import { CREATE, FILL, TABLE, TOTAL, WORKERS, run } from "./fleet.mjs";

const pool = new pg.Pool({ max: WORKERS, min: WORKERS, idleTimeoutMillis: 0 });
pool.on("error", () => {});
pool.on("connect", (client) => client.on("error", () => {}));

const first = async (client, query) => Object.values((await client.query(query)).rows[0])[0];

async function book(client, worker, sleeps) {
  await client.query("begin");
  try {
    await client.query(`update ${TABLE} set bookings = bookings + 1 where worker = $1`, [worker]);
    if (sleeps) await client.query("select pg_sleep($1)", [sleeps]);
    await client.query("commit");
  } catch (error) {
    await client.query("rollback").catch(() => {});
    throw error;
  }
}

await run({
  async setup() {
    await pool.query(CREATE);
    await pool.query(FILL);
  },
  total: () => first(pool, TOTAL),
  async unit(kind, worker, sleeps) {
    const client = await pool.connect();
    let failure;
    try {
      if (kind === "select") assert.equal(await first(client, "select 1"), 1);
      else if (kind === "prepared") {
        const query = { name: "plus one", text: "select $1::int + 1", values: [worker] };
        assert.equal(await first(client, query), worker + 1);
      } else await book(client, worker, sleeps);
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      client.release(failure);
    }
  },
});
