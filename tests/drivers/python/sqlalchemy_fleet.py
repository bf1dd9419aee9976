"""SQLAlchemy's engine over psycopg, with pool_pre_ping."""

import os

from sqlalchemy import create_engine, make_url, text

import fleet


class Work:
    def __init__(self):
        url = make_url("postgresql+psycopg://").set(
            host=os.environ["PGHOST"], port=int(os.environ["PGPORT"]), database=os.environ["PGDATABASE"],
            username=os.environ["PGUSER"], password=os.environ["PGPASSWORD"],
        )
        self.engine = create_engine(url, pool_size=fleet.WORKERS, max_overflow=0, pool_pre_ping=True)

    def setup(self):
        with self.engine.begin() as client:
            client.execute(text(fleet.CREATE))
            client.execute(text(fleet.FILL))

    def total(self):
        with self.engine.connect() as client:
            return client.execute(text(fleet.TOTAL)).scalar_one()

    def unit(self, kind, worker, sleeps):
        with self.engine.begin() as client:
            match kind:
                case "select":
                    assert client.execute(text("select 1")).scalar_one() == 1
                case "prepared":
                    # psycopg prepares what has come often
                    assert client.execute(text("select cast(:n as int) + 1"), {"n": worker}).scalar_one() == worker + 1
                case "booking" | "long":
                    book = text(f"update {fleet.TABLE} set bookings = bookings + 1 where worker = :worker")
                    client.execute(book, {"worker": worker})
                    if sleeps:
                        client.execute(text("select pg_sleep(:seconds)"), {"seconds": sleeps})


fleet.run(Work())
