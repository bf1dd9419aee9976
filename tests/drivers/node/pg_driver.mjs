// node-postgres with its pool, cursors and streams, as applications use them.

import { once } from "node:events";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import pg from "pg";
import { from as copyFrom, to as copyTo } from "pg-copy-streams";
import Cursor from "pg-cursor";
import QueryStream from "pg-query-stream";

import { HOLDER, SERVER_CONNECTIONS, equal, fails, run, scenario, sleep, until } from "./harness.mjs";

/** Calls work with clients that are closed afterwards. */
async function withClients(count, options, work) {
  const clients = [];
  try {
    for (let n = 0; n < count; n += 1) {
      const client = new pg.Client(options);
      client.on("error", () => {});
      await client.connect();
      clients.push(client);
    }
    return await work(...clients);
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

const withClient = (options, work) => withClients(1, options, work);

async function value(client, text, values, name) {
  const { rows } = await client.query({ text, values, name, rowMode: "array" });
  return rows[0][0];
}

/**
 * Clients on every server connection at once, each with settings and statements of its own. The function that is handed
 * out lets them all work again.
 */
function withNeighbours(work) {
  return withClients(SERVER_CONNECTIONS, {}, async (...others) => {
    for (const [n, other] of others.entries()) {
      await other.query(`set work_mem = '${n + 10}MB'; set search_path = other${n}; set datestyle = 'German'`);
    }
    const stir = async () => {
      for (const other of others) await other.query("begin");
      for (const [n, other] of others.entries()) {
        equal(await value(other, "select current_setting('work_mem') || $1", ["!"], "same"), `${n + 10}MB!`);
      }
      for (const other of others) await other.query("commit");
    };
    await stir();
    await work(stir);
  });
}

scenario(async function what_connect_says_holds_for_good() {
  const options = {
    application_name: "mine",
    statement_timeout: 54321,
    idle_in_transaction_session_timeout: 5000,
    options: "-c search_path=pg_catalog,information_schema -c app.tenant=blue",
  };
  await withNeighbours((stir) =>
    withClient(options, async (client) => {
      for (let n = 0; n < 3; n += 1) {
        equal(await value(client, "show application_name"), "mine");
        equal(await value(client, "show statement_timeout"), "54321ms");
        equal(await value(client, "show idle_in_transaction_session_timeout"), "5s");
        equal(await value(client, "show search_path"), "pg_catalog,information_schema");
        equal(await value(client, "show app.tenant"), "blue");
        await stir();
      }
      await client.query("set statement_timeout = 1; set application_name = 'changed'");
      await client.query("discard all");
      equal(await value(client, "show statement_timeout"), "54321ms");
      equal(await value(client, "show application_name"), "mine");
    }),
  );
});

scenario(async function settings_stay_with_their_client() {
  await withNeighbours((stir) =>
    withClient({}, async (client) => {
      await client.query("SET search_path TO mine, public");
      await client.query("set session time zone 'Asia/Tokyo'");
      await client.query("select set_config('work_mem', $1, false)", ["77MB"]);
      await client.query("begin");
      await client.query("set statement_timeout = 888");
      await client.query("rollback");
      await client.query("begin; set local lock_timeout = 999; commit");
      for (let n = 0; n < 3; n += 1) {
        await stir();
        equal(await value(client, "show search_path"), "mine, public");
        equal(await value(client, "show timezone"), "Asia/Tokyo");
        equal(await value(client, "show work_mem"), "77MB");
        equal(await value(client, "show statement_timeout"), "0");
        equal(await value(client, "show lock_timeout"), "0");
      }
    }),
  );
});

scenario(async function named_statements_are_parsed_once() {
  await withNeighbours((stir) =>
    withClients(4, {}, async (...clients) => {
      for (let n = 0; n < 20; n += 1) {
        for (const [k, client] of clients.entries()) {
          // the same name in every client, with the same text in some of them
          equal(await value(client, `select $1::int * 100 + ${k % 2}`, [n], "by number"), n * 100 + (k % 2));
        }
        if (n % 7 === 0) await stir();
      }
      await clients[0].query("deallocate all");
      await fails("26000", clients[0].query({ name: "by number", text: "select $1::int * 100 + 0", values: [1] }));
    }),
  );
});

scenario(async function queries_sent_at_once_are_answered_in_order() {
  await withNeighbours(() =>
    withClient({ pipeline: true }, async (client) => {
      const numbers = Array.from({ length: 200 }, (_, n) => n);
      const values = await Promise.all(numbers.map((n) => value(client, "select $1::int", [n])));
      equal(values, numbers);
      const outcomes = await Promise.allSettled([
        value(client, "select 1"),
        value(client, "select 1 / $1::int", [0], "divide"),
        value(client, "select 3"),
      ]);
      equal(outcomes.map(({ status }) => status), ["fulfilled", "rejected", "fulfilled"]);
    }),
  );
});

scenario(async function several_statements_give_several_results() {
  await withClient({}, async (client) => {
    const results = await client.query("select 1 as a; select 2 as b, 3 as c; create temp table x () on commit drop");
    equal(results.map(({ command, rowCount }) => [command, rowCount]), [["SELECT", 1], ["SELECT", 1], ["CREATE", null]]);
    await fails("42703", client.query("select 1; select nothing; select 2"));
  });
});

scenario(async function copy_goes_in_and_out() {
  await withNeighbours((stir) =>
    withClient({}, async (client) => {
      await client.query("drop table if exists pg_copy; create table pg_copy (n int, t text)");
      const lines = function* () {
        for (let n = 0; n < 50_000; n += 1) yield `${n}\trow ${n}\n`;
      };
      await pipeline(Readable.from(lines()), client.query(copyFrom("copy pg_copy from stdin")));
      await stir();
      equal(await value(client, "select count(*)::int from pg_copy"), 50_000);
      let bytes = 0;
      const out = client.query(copyTo("copy (select * from pg_copy order by n) to stdout"));
      for await (const chunk of out) bytes += chunk.length;
      equal(bytes, [...lines()].join("").length);
      await fails("22P02", pipeline(Readable.from(["no number\tx\n"]), client.query(copyFrom("copy pg_copy from stdin"))));
      equal(await value(client, "select count(*)::int from pg_copy"), 50_000);
      const broken = client.query(copyFrom("copy pg_copy from stdin"));
      broken.write("1\tx\n");
      broken.on("error", () => {});
      broken.destroy(new Error("the source broke"));
      equal(await value(client, "select count(*)::int from pg_copy"), 50_000);
      await client.query("drop table pg_copy");
    }),
  );
});

scenario(async function a_running_query_is_cancelled() {
  await withNeighbours(() =>
    withClients(2, {}, async (client, bystander) => {
      for (let n = 0; n < 3; n += 1) {
        const query = new pg.Query("select pg_sleep(30)");
        const done = once(query, "end");
        client.query(query);
        await sleep(200);
        // the way of node-postgres: a second connection, with the key of the first
        const other = new pg.Client();
        other.connection.on("error", () => {});
        other.cancel(client, query);
        const error = await done.then(() => assert.fail("not cancelled"), (error) => error);
        equal(error.code, "57014");
        equal(await value(client, "select 5"), 5);
        equal(await value(bystander, "select 6"), 6);
      }
    }),
  );
});

scenario(async function notifications_arrive() {
  await withClient(HOLDER, (listener) =>
    withClient({}, async (sender) => {
      const got = [];
      listener.on("notification", ({ channel, payload }) => got.push(`${channel}: ${payload}`));
      await listener.query("LISTEN pg_channel");
      for (let n = 0; n < 3; n += 1) await sender.query("select pg_notify('pg_channel', $1)", [`message ${n}`]);
      await until("three notifications", () => got.length === 3);
      equal(got, [0, 1, 2].map((n) => `pg_channel: message ${n}`));
      await listener.query("UNLISTEN pg_channel");
      await sender.query("notify pg_channel, 'late'");
      equal(await value(listener, "select 1"), 1);
      equal(got.length, 3);
    }),
  );
});

scenario(async function savepoints_hold_what_was_before_them() {
  await withNeighbours((stir) =>
    withClient({}, async (client) => {
      await client.query("begin isolation level repeatable read");
      await client.query("create temp table kept (n int) on commit drop");
      await client.query("insert into kept values (1)");
      await client.query("savepoint inner_one");
      await fails("22P02", client.query("insert into kept values ($1)", ["x"]));
      await fails("25P02", client.query("select 1"));
      await client.query("rollback to savepoint inner_one");
      await client.query("insert into kept values (3)");
      await client.query("release savepoint inner_one");
      equal(await value(client, "select array_agg(n) from kept"), [1, 3]);
      await client.query("commit");
      await stir();
      await fails("42P01", client.query("select * from kept"));
    }),
  );
});

scenario(async function cursors_and_streams_read_in_parts() {
  await withNeighbours(() =>
    withClient({}, async (client) => {
      const cursor = client.query(new Cursor("select n from generate_series(1, $1::int) n", [1000]));
      equal((await cursor.read(10)).at(-1).n, 10);
      equal((await cursor.read(1000)).length, 990);
      equal(await cursor.read(1), []);
      await cursor.close();
      const early = client.query(new Cursor("select n from generate_series(1, 100000) n"));
      equal((await early.read(5)).length, 5);
      await early.close();
      let total = 0;
      const stream = client.query(new QueryStream("select n from generate_series(1, $1::int) n", [5000], { batchSize: 64 }));
      for await (const { n } of stream) total += n;
      equal(total, 12_502_500);
    }),
  );
});

scenario(async function large_values_pass() {
  const text = "ä€😀".repeat(2_000_000);
  const data = Buffer.alloc(20_000_000, "pgpooler\0");
  await withNeighbours(() =>
    withClient({}, async (client) => {
      const { rows } = await client.query("select $1::text as text, $2::bytea as data", [text, data]);
      equal(rows[0].text === text, true);
      equal(rows[0].data.equals(data), true);
      const many = await client.query("select repeat('y', 1000) as y from generate_series(1, 30000)");
      equal(many.rows.length, 30_000);
    }),
  );
});

scenario(async function types_travel_as_text_and_in_binary() {
  const query = "select '{1,NULL,3}'::int[] as a, $1::jsonb as j, true as b, 7::int4 as i, 'x'::text as t, null as nothing, $2::text[] as s";
  await withNeighbours(() =>
    withClient({}, async (client) => {
      for (const binary of [false, true]) {
        const { rows, fields } = await client.query({ text: query, values: [{ a: [1, "ü"] }, ["x,y", 'q"z', null]], binary });
        equal(fields.map(({ format }) => format), Array(7).fill(binary ? "binary" : "text"));
        equal([rows[0].b, rows[0].i, rows[0].t, rows[0].nothing], [true, 7, "x", null]);
        if (!binary) equal([rows[0].a, rows[0].j, rows[0].s], [[1, null, 3], { a: [1, "ü"] }, ["x,y", 'q"z', null]]);
      }
    }),
  );
});

scenario(async function notices_arrive_with_their_query() {
  await withNeighbours(() =>
    withClient({}, async (client) => {
      const notices = [];
      client.on("notice", ({ severity, message }) => notices.push(`${severity} ${message}`));
      await client.query("do $$ begin for n in 1..3 loop raise notice 'number %', n; end loop; end $$");
      equal(notices, ["NOTICE number 1", "NOTICE number 2", "NOTICE number 3"]);
    }),
  );
});

scenario(async function a_pool_gives_clean_or_configured_clients() {
  const pool = new pg.Pool({ max: 8, onConnect: (client) => client.query("set search_path = tenant; set timezone = 'Asia/Tokyo'") });
  await withNeighbours(async (stir) => {
    for (let n = 0; n < 20; n += 1) {
      const clients = await Promise.all([pool.connect(), pool.connect(), pool.connect()]);
      for (const client of clients) {
        equal(await value(client, "show search_path"), "tenant");
        equal(await value(client, "show timezone"), "Asia/Tokyo");
        client.release();
      }
      if (n % 5 === 0) await stir();
    }
    await pool.end();
  });
});

scenario(async function a_pool_connects_again_after_its_connections_were_closed() {
  const pool = new pg.Pool({ max: 2, maxUses: 3, idleTimeoutMillis: 20 });
  pool.on("error", () => {});
  for (let n = 0; n < 12; n += 1) equal(await value(pool, "select $1::int", [n]), n);
  await pool.query("select pg_terminate_backend(pg_backend_pid())").catch(() => {});
  equal(await value(pool, "select 1"), 1);
  await until("no client in the pool", () => pool.totalCount === 0);
  equal(await value(pool, "select 2"), 2);
  await pool.end();
  const next = new pg.Pool();
  equal(await value(next, "select 3"), 3);
  await next.end();
});

scenario(async function temp_tables_and_locks_stay_with_their_client() {
  await withClients(5, HOLDER, async (...clients) => {
    for (const [n, client] of clients.entries()) {
      await client.query("create temp table mine (n int)");
      await client.query("insert into mine values ($1)", [n]);
      equal(await value(client, "select pg_try_advisory_lock(97, $1)", [n]), true);
    }
    for (const [n, client] of clients.entries()) {
      equal(await value(client, "select n from mine"), n);
      equal(await value(client, "select pg_try_advisory_lock(97, $1)", [(n + 1) % 5]), false);
      equal(await value(client, "select pg_advisory_unlock(97, $1)", [n]), true);
      equal(await value(client, "select pg_try_advisory_lock(97, $1)", [n]), true);
    }
  });
});

scenario(async function twenty_workers_never_see_each_other() {
  const work = (worker) =>
    withClient({ application_name: `worker ${worker}` }, async (client) => {
      await client.query(`set work_mem = '${100 + worker}MB'; set timezone = '<W${worker}>-${worker % 12}'`);
      for (let n = 0; n < 100; n += 1) {
        if (n % 5 === 0) {
          await client.query("begin");
          equal(await value(client, "show work_mem"), `${100 + worker}MB`);
          equal(await value(client, "select current_setting('application_name')"), `worker ${worker}`);
          await client.query("commit");
        } else if (n % 5 === 1) {
          // the same name of a statement in every worker, each with another text
          equal(await value(client, `select $1::int * 1000 + ${worker}`, [n], "mine"), n * 1000 + worker);
        } else if (n % 5 === 2) {
          for (const k of [0, 1, 2]) equal(await value(client, "select $1::text", [`${worker}/${n}/${k}`]), `${worker}/${n}/${k}`);
        } else if (n % 5 === 3) {
          equal(await value(client, "show timezone"), `<W${worker}>-${worker % 12}`);
        } else {
          const error = await fails("P0001", client.query(`do $$ begin raise exception 'mine ${worker}'; end $$`));
          equal(error.message, `mine ${worker}`);
        }
      }
    });
  await Promise.all(Array.from({ length: 20 }, (_, worker) => work(worker)));
});

await run();
