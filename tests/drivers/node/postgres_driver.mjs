// postgres.js, as applications use it: it prepares everything and pipelines by itself.

import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import postgres from "postgres";

import { HOLDER, SERVER_CONNECTIONS, equal, fails, run, scenario, sleep, until } from "./harness.mjs";

/** Calls work with a client of `max` connections, which is closed afterwards. */
async function withSql(options, work) {
  const sql = postgres({ max: 1, onnotice: () => {}, ...options });
  try {
    return await work(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

const setting = async (sql, name) => (await sql`select current_setting(${name}) as value`)[0].value;

/**
 * Clients on every server connection at once, each with settings and statements of its own. The function that is handed
 * out lets them all work again.
 */
async function withNeighbours(work) {
  const others = Array.from({ length: SERVER_CONNECTIONS }, (_, n) =>
    postgres({ max: 1, connection: { application_name: `other ${n}`, work_mem: `${n + 10}MB` } }),
  );
  const stir = async () => {
    let arrived = 0;
    const all = others.map((other, n) =>
      other.begin(async (sql) => {
        equal(await setting(sql, "work_mem"), `${n + 10}MB`);
        await sql`set search_path = other`;
        arrived += 1;
        await until("all neighbours in a transaction", () => arrived === others.length);
      }),
    );
    await Promise.all(all);
  };
  try {
    await stir();
    return await work(stir);
  } finally {
    await Promise.all(others.map((other) => other.end({ timeout: 5 })));
  }
}

scenario(async function what_connect_says_holds_for_good() {
  const connection = { application_name: "mine", search_path: "tenant", statement_timeout: 54321, "app.tenant": "blue", TimeZone: "Asia/Tokyo" };
  await withNeighbours((stir) =>
    withSql({ connection }, async (sql) => {
      for (let n = 0; n < 3; n += 1) {
        equal(await setting(sql, "application_name"), "mine");
        equal(await setting(sql, "search_path"), "tenant");
        equal(await setting(sql, "statement_timeout"), "54321ms");
        equal(await setting(sql, "app.tenant"), "blue");
        equal(await setting(sql, "timezone"), "Asia/Tokyo");
        equal(sql.parameters.TimeZone, "Asia/Tokyo");
        await stir();
      }
    }),
  );
});

scenario(async function settings_stay_with_their_client() {
  await withNeighbours((stir) =>
    withSql({}, async (sql) => {
      await sql`set search_path = mine, public`;
      await sql`select set_config('work_mem', ${"77MB"}, false)`;
      await sql`set time zone 'Asia/Tokyo'`.simple();
      for (let n = 0; n < 3; n += 1) {
        await stir();
        equal(await setting(sql, "search_path"), "mine, public");
        equal(await setting(sql, "work_mem"), "77MB");
        equal(await setting(sql, "timezone"), "Asia/Tokyo");
      }
    }),
  );
});

scenario(async function statements_are_prepared_unless_told_not_to() {
  await withNeighbours(async (stir) => {
    for (const prepare of [true, false]) {
      await withSql({ max: 4, prepare }, async (sql) => {
        for (let n = 0; n < 40; n += 1) {
          const [{ x }] = await sql`select ${n}::int + 1 as x`;
          equal(x, n + 1);
          const columns = await sql`select ${"a"}::text as a, 1 as b`.describe();
          equal(columns.columns.map(({ name }) => name), ["a", "b"]);
          if (n % 10 === 0) await stir();
        }
      });
    }
  });
});

scenario(async function statements_that_became_stale_are_prepared_again() {
  await withSql({}, (first) =>
    withSql({}, async (second) => {
      await first`drop table if exists postgres_changing`;
      await first`create table postgres_changing (a int)`;
      await first`insert into postgres_changing values (1)`;
      const read = (sql) => sql`select * from postgres_changing where a > ${0}`;
      equal([...(await read(first))], [{ a: 1 }]);
      await first`alter table postgres_changing add b text default 'new'`;
      equal([...(await read(second))], [{ a: 1, b: "new" }]);
      // the driver retries by itself, under a new name
      equal([...(await read(first))], [{ a: 1, b: "new" }]);
      await first`drop table postgres_changing`;
    }),
  );
});

scenario(async function queries_sent_at_once_are_answered_in_order() {
  await withNeighbours(() =>
    withSql({}, async (sql) => {
      const numbers = Array.from({ length: 300 }, (_, n) => n);
      const rows = await Promise.all(numbers.map((n) => sql`select ${n}::int as n, repeat('x', 1000) as x`));
      equal(rows.map(([{ n }]) => n), numbers);
      const outcomes = await Promise.allSettled([sql`select 1`, sql`select 1 / ${0}::int`, sql`select 3`]);
      equal(outcomes.map(({ status }) => status), ["fulfilled", "rejected", "fulfilled"]);
    }),
  );
});

scenario(async function rows_are_inserted_and_changed_in_bulk() {
  await withSql({ max: 3 }, async (sql) => {
    await sql`drop table if exists postgres_bulk`;
    await sql`create table postgres_bulk (id int primary key, name text, tags text[], extra jsonb)`;
    const rows = Array.from({ length: 2000 }, (_, id) => ({ id, name: `n${id}`, tags: ["a,b", 'c"d'], extra: { id } }));
    for (let n = 0; n < 2000; n += 500) await sql`insert into postgres_bulk ${sql(rows.slice(n, n + 500))}`;
    equal({ ...(await sql`select * from postgres_bulk where id = ${77}`)[0] }, rows[77]);
    const error = await fails("23505", sql`insert into postgres_bulk ${sql(rows[5])}`);
    equal(error.constraint_name, "postgres_bulk_pkey");
    const changed = await sql`update postgres_bulk set name = 'x' where id in ${sql([1, 2, 3])} returning id`;
    equal(changed.count, 3);
    await sql`drop table postgres_bulk`;
  });
});

scenario(async function copy_goes_in_and_out() {
  await withNeighbours((stir) =>
    withSql({}, async (sql) => {
      await sql`drop table if exists postgres_copy`;
      await sql`create table postgres_copy (n int, t text)`;
      const lines = Array.from({ length: 20_000 }, (_, n) => `${n}\trow ${n}\n`);
      await pipeline(Readable.from(lines), await sql`copy postgres_copy from stdin`.writable());
      await stir();
      // little: a stream that fills up makes the driver hang now and then, directly as well
      let out = "";
      const some = await sql`copy (select * from postgres_copy where n < 500 order by n) to stdout`.readable();
      for await (const chunk of some) out += chunk;
      equal(out === lines.slice(0, 500).join(""), true);
      equal((await sql`select count(*)::int from postgres_copy`)[0].count, 20_000);
      await sql`drop table postgres_copy`;
    }),
  );
});

scenario(async function a_running_query_is_cancelled() {
  await withNeighbours(() =>
    withSql({}, async (sql) => {
      for (let n = 0; n < 3; n += 1) {
        const query = sql`select pg_sleep(30)`;
        const done = fails("57014", query.execute());
        await sleep(200);
        query.cancel();
        await done;
        equal((await sql`select 5 as five`)[0].five, 5);
      }
    }),
  );
});

scenario(async function notifications_arrive() {
  await withSql(HOLDER, (listener) =>
    withSql({}, async (sender) => {
      const got = [];
      const { unlisten } = await listener.listen("postgres_channel", (payload) => got.push(payload));
      for (let n = 0; n < 3; n += 1) await sender.notify("postgres_channel", `message ${n}`);
      await until("three notifications", () => got.length === 3);
      equal(got, ["message 0", "message 1", "message 2"]);
      await unlisten();
      await sender.notify("postgres_channel", "late");
      await listener`select 1`;
      equal(got.length, 3);
    }),
  );
});

scenario(async function savepoints_hold_what_was_before_them() {
  await withNeighbours((stir) =>
    withSql({ max: 2 }, async (sql) => {
      const kept = await sql.begin("isolation level serializable", async (sql) => {
        await sql`create temp table kept (n int) on commit drop`;
        await sql`insert into kept values (1)`;
        await fails("22012", sql.savepoint(async (sql) => {
          await sql`insert into kept values (2)`;
          await sql`select 1 / ${0}::int`;
        }));
        await sql.savepoint((sql) => sql`insert into kept values (3)`);
        return sql`select array_agg(n) as kept from kept`;
      });
      equal(kept[0].kept, [1, 3]);
      await stir();
      await fails("42P01", sql.begin((sql) => sql`select * from nowhere`));
      const both = await sql.begin((sql) => [sql`select 1 as n`, sql`select 2 as n`]);
      equal(both.map(([{ n }]) => n), [1, 2]);
    }),
  );
});

scenario(async function cursors_read_in_parts() {
  await withNeighbours(() =>
    withSql({}, async (sql) => {
      let total = 0;
      for await (const rows of sql`select n from generate_series(1, ${1000}::int) n`.cursor(30)) {
        for (const { n } of rows) total += n;
      }
      equal(total, 500_500);
      for await (const rows of sql`select n from generate_series(1, 100000) n`.cursor(5)) {
        equal(rows.length, 5);
        break;
      }
      let seen = 0;
      await sql`select n from generate_series(1, 5000) n`.forEach(() => (seen += 1));
      equal(seen, 5000);
    }),
  );
});

scenario(async function large_values_pass() {
  const text = "ä€😀".repeat(2_000_000);
  const data = Buffer.alloc(10_000_000, "pgpooler\0");
  await withNeighbours(() =>
    withSql({}, async (sql) => {
      const [row] = await sql`select ${text}::text as text, ${data}::bytea as data`;
      equal(row.text === text, true);
      equal(row.data.equals(data), true);
    }),
  );
});

scenario(async function types_are_looked_up() {
  await withNeighbours((stir) =>
    withSql({ max: 2 }, async (sql) => {
      await sql.unsafe("drop type if exists postgres_mood; create type postgres_mood as enum ('sad', 'glad')");
      await stir();
      const when = new Date("2024-02-29T12:00:00Z");
      const [row] = await sql`select ${sql.array([1, 2])}::int[] as a, ${sql.json({ ü: [1] })} as j, ${when}::timestamptz as w,
        ${"{glad}"}::postgres_mood[] as moods, null as nothing, 12345678901234567890::numeric as n`;
      equal({ ...row }, { a: [1, 2], j: { ü: [1] }, w: when, moods: row.moods, nothing: null, n: "12345678901234567890" });
      await sql`drop type postgres_mood`;
    }),
  );
});

scenario(async function notices_arrive() {
  const notices = [];
  await withSql({ onnotice: ({ message }) => notices.push(message) }, async (sql) => {
    await sql.unsafe("do $$ begin for n in 1..3 loop raise notice 'number %', n; end loop; end $$");
    equal(notices, ["number 1", "number 2", "number 3"]);
  });
});

scenario(async function connections_are_opened_anew_when_they_were_idle() {
  await withSql({ max: 2, idle_timeout: 0.1, max_lifetime: 1 }, async (sql) => {
    equal((await sql`select 1 as one`)[0].one, 1);
    await sleep(300);
    equal((await sql`select 2 as two`)[0].two, 2);
  });
  await withSql({}, async (sql) => equal((await sql`select 3 as three`)[0].three, 3));
});

scenario(async function a_reserved_connection_keeps_what_it_has() {
  await withSql({ ...HOLDER, max: 3 }, async (sql) => {
    const reserved = await sql.reserve();
    await reserved`create temp table mine (n int)`;
    await reserved`insert into mine values (7)`;
    equal((await reserved`select pg_try_advisory_lock(107) as got`)[0].got, true);
    equal((await sql`select pg_try_advisory_lock(107) as got`)[0].got, false);
    equal((await reserved`select n from mine`)[0].n, 7);
    reserved.release();
  });
});

scenario(async function twenty_workers_never_see_each_other() {
  const work = (worker) =>
    withSql({ connection: { application_name: `worker ${worker}`, "app.worker": String(worker) } }, async (sql) => {
      await sql.unsafe(`set work_mem = '${100 + worker}MB'; set timezone = '<W${worker}>-${worker % 12}'`);
      for (let n = 0; n < 100; n += 1) {
        if (n % 5 === 0) {
          await sql.begin(async (sql) => {
            equal(await setting(sql, "work_mem"), `${100 + worker}MB`);
            equal(await setting(sql, "application_name"), `worker ${worker}`);
          });
        } else if (n % 5 === 1) {
          const rows = await sql.unsafe(`select $1::int * 1000 + ${worker} as x`, [n], { prepare: true });
          equal(rows[0].x, n * 1000 + worker);
        } else if (n % 5 === 2) {
          const some = [0, 1, 2, 3, 4].map((k) => `${worker}/${n}/${k}`);
          const rows = await Promise.all(some.map((one) => sql`select ${one}::text as one`));
          equal(rows.map(([{ one }]) => one), some);
        } else if (n % 5 === 3) {
          equal(await setting(sql, "timezone"), `<W${worker}>-${worker % 12}`);
          equal(await setting(sql, "app.worker"), String(worker));
        } else {
          const error = await fails("P0001", sql.unsafe(`do $$ begin raise exception 'mine ${worker}'; end $$`));
          equal(error.message, `mine ${worker}`);
        }
      }
    });
  await Promise.all(Array.from({ length: 20 }, (_, worker) => work(worker)));
});

await run();
