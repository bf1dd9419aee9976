"""Works as a fleet of an application's workers does, until told to stop, and prints one line of JSON.

A program that uses it gives a `Work`: how its driver does one unit of each kind on a connection from its pool. See the
README for what the environment and the line say.
"""

import asyncio
import json
import os
import random
import sys
import threading
import time

WORKERS = int(os.environ.get("FLEET_WORKERS", "8"))
NAME = sys.argv[1]
TABLE = f'"fleet {NAME}"'
CREATE = f"create table if not exists {TABLE} (worker int primary key, bookings bigint not null)"
FILL = f"insert into {TABLE} select n, 0 from generate_series(0, {WORKERS - 1}) n on conflict do nothing"
TOTAL = f"select coalesce(sum(bookings), 0)::bigint from {TABLE}"

LONG_SECONDS = 2
# more errors than a person reads
REMEMBERED = 100


def unit():
    """A kind, and for how long its transaction sleeps."""
    dice = random.random()
    if dice < 0.02:
        return "long", LONG_SECONDS
    return ("select" if dice < 0.4 else "booking" if dice < 0.7 else "prepared"), 0


def think():
    """Seconds between two units of a worker: mostly short, now and then long enough for a pool to test."""
    return min(random.expovariate(5), 3)


class Tally:
    """What all workers did."""

    def __init__(self):
        self.lock = threading.Lock()
        self.units = self.failed = self.committed = self.unsure = 0
        self.longest = 0.0
        self.errors = []

    def done(self, kind, sleeps, started, error):
        """One unit, which ended with an error or none."""
        with self.lock:
            books = kind in ("booking", "long")
            self.units += 1
            self.longest = max(self.longest, time.monotonic() - started - sleeps)
            if error is None:
                self.committed += books
                return
            self.failed += 1
            self.unsure += books
            if len(self.errors) < REMEMBERED:
                text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                self.errors.append({"at_ms": int(time.time() * 1000), "unit": kind, "error": text})

    def report(self, ledger):
        """The program's last line."""
        print(json.dumps({
            "fleet": NAME, "units": self.units, "failed": self.failed, "committed": self.committed,
            "unsure": self.unsure, "ledger": ledger, "longest_ms": int(self.longest * 1000), "errors": self.errors,
        }), flush=True)


def started():
    print("started", flush=True)


def run(work):
    """For drivers that block: a thread for each worker."""
    work.setup()
    before, tally, stop = work.total(), Tally(), threading.Event()

    def worker(n):
        while not stop.wait(think()):
            (kind, sleeps), start, failure = unit(), time.monotonic(), None
            try:
                work.unit(kind, n, sleeps)
            except Exception as error:
                failure = error
            tally.done(kind, sleeps, start, failure)

    threads = [threading.Thread(target=worker, args=[n]) for n in range(WORKERS)]
    for thread in threads:
        thread.start()
    started()
    sys.stdin.readline()
    stop.set()
    for thread in threads:
        thread.join()
    tally.report(work.total() - before)


async def run_async(work):
    """For drivers of an event loop: a task for each worker."""
    await work.setup()
    before, tally, stop = await work.total(), Tally(), asyncio.Event()

    async def worker(n):
        while not stop.is_set():
            await asyncio.sleep(think())
            (kind, sleeps), start, failure = unit(), time.monotonic(), None
            try:
                await work.unit(kind, n, sleeps)
            except Exception as error:
                failure = error
            tally.done(kind, sleeps, start, failure)

    tasks = [asyncio.create_task(worker(n)) for n in range(WORKERS)]
    started()
    await asyncio.to_thread(sys.stdin.readline)
    stop.set()
    await asyncio.gather(*tasks)
    tally.report(await work.total() - before)
