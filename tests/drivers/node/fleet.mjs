// Works as a fleet of an application's workers does, until told to stop, and prints one line of JSON.
//
// A program that uses it gives its work: how its driver does one unit of each kind on a connection from its pool. See
// the README for what the environment and the line say.

import { once } from "node:events";

export const WORKERS = Number(process.env.FLEET_WORKERS ?? 8);
export const NAME = process.argv[2];
export const TABLE = `"fleet ${NAME}"`;
export const CREATE = `create table if not exists ${TABLE} (worker int primary key, bookings bigint not null)`;
export const FILL = `insert into ${TABLE} select n, 0 from generate_series(0, ${WORKERS - 1}) n on conflict do nothing`;
export const TOTAL = `select coalesce(sum(bookings), 0)::int as total from ${TABLE}`;

const LONG_SECONDS = 2;
// more errors than a person reads
const REMEMBERED = 100;

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** A kind, and for how long its transaction sleeps. */
function unit() {
  const dice = Math.random();
  if (dice < 0.02) return ["long", LONG_SECONDS];
  return [dice < 0.4 ? "select" : dice < 0.7 ? "booking" : "prepared", 0];
}

/** Milliseconds between two units of a worker: mostly short, now and then long enough for a pool to test. */
const think = () => Math.min(-Math.log(1 - Math.random()) * 200, 3000);

/** Runs the workers until a line comes, then reports. */
export async function run(work) {
  await work.setup();
  const before = await work.total();
  const tally = { fleet: NAME, units: 0, failed: 0, committed: 0, unsure: 0, ledger: 0, longest_ms: 0, errors: [] };
  let stopped = false;

  async function worker(n) {
    while (!stopped) {
      await sleep(think());
      const [kind, sleeps] = unit();
      const books = kind === "booking" || kind === "long" ? 1 : 0;
      const start = performance.now();
      try {
        await work.unit(kind, n, sleeps);
        tally.committed += books;
      } catch (error) {
        tally.failed += 1;
        tally.unsure += books;
        if (tally.errors.length < REMEMBERED) {
          const text = `${error.code ?? ""} ${error.stack ?? error}`.trim().replace(/\s+/g, " ").slice(0, 300);
          tally.errors.push({ at_ms: Date.now(), unit: kind, error: text });
        }
      }
      tally.units += 1;
      tally.longest_ms = Math.max(tally.longest_ms, Math.round(performance.now() - start - sleeps * 1000));
    }
  }

  const workers = Array.from({ length: WORKERS }, (_, n) => worker(n));
  console.log("started");
  process.stdin.resume();
  await Promise.race([once(process.stdin, "data"), once(process.stdin, "end")]);
  stopped = true;
  await Promise.all(workers);
  tally.ledger = (await work.total()) - before;
  console.log(JSON.stringify(tally));
  process.exit(0);
}
