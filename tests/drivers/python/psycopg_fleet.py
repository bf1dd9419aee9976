"""psycopg_pool: as it is by default, or with its own check of each connection that it hands out."""

import fleet
from psycopg_pool import ConnectionPool

CHECKS = {"psycopg_pool": None, "psycopg_pool-check": ConnectionPool.check_connection}


class Work:
    def __init__(self):
        self.pool = ConnectionPool("", min_size=fleet.WORKERS, max_size=fleet.WORKERS, check=CHECKS[fleet.NAME], open=True)

    def setup(self):
        self.pool.wait()
        with self.pool.connection() as client:
            client.execute(fleet.CREATE)
            client.execute(fleet.FILL)

    def total(self):
        with self.pool.connection() as client:
            return client.execute(fleet.TOTAL).fetchone()[0]

    def unit(self, kind, worker, sleeps):
        with self.pool.connection() as client:
            match kind:
                case "select":
                    assert client.execute("select 1").fetchone() == (1,)
                case "prepared":
                    assert client.execute("select %s::int + 1", [worker], prepare=True).fetchone() == (worker + 1,)
                case "booking" | "long":
                    client.execute(f"update {fleet.TABLE} set bookings = bookings + 1 where worker = %s", [worker])
                    if sleeps:
                        client.execute("select pg_sleep(%s)", [sleeps])


fleet.run(Work())
