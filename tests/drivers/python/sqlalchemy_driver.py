"""SQLAlchemy's engine, pool and session, over psycopg 3 and over asyncpg."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import JSON, ForeignKey, NullPool, String, event, inspect, make_url, text
from sqlalchemy import create_engine as create_sync_engine
from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import ARRAY, ENUM, INTEGER
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload

from harness import equal, fails, run, scenario
import os


class Base(DeclarativeBase):
    """Tables of the application."""


class Author(Base):
    __tablename__ = "sqlalchemy_author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)
    tags: Mapped[list[int]] = mapped_column(ARRAY(INTEGER), default=list)
    mood: Mapped[str] = mapped_column(ENUM("sad", "glad", name="sqlalchemy_mood"), default="glad")
    extra: Mapped[dict] = mapped_column(JSON, default=dict)
    books: Mapped[list["Book"]] = relationship(back_populates="author", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "sqlalchemy_book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey("sqlalchemy_author.id"))
    author: Mapped[Author] = relationship(back_populates="books")


def url(driver):
    return make_url(f"postgresql+{driver}://").set(
        host=os.environ["PGHOST"], port=int(os.environ["PGPORT"]), database=os.environ["PGDATABASE"],
        username=os.environ["PGUSER"], password=os.environ["PGPASSWORD"],
    )


def create_engine(**options):
    return create_sync_engine(url("psycopg"), **options)


@contextlib.contextmanager
def tables():
    engine = create_engine(pool_size=5, pool_pre_ping=True)
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    try:
        yield engine
    finally:
        Base.metadata.drop_all(engine)
        engine.dispose()


@scenario
def tables_are_made_and_looked_at():
    with tables() as engine:
        inspector = inspect(engine)
        names = {column["name"] for column in inspector.get_columns("sqlalchemy_author")}
        equal(names, {"id", "name", "tags", "mood", "extra"})
        equal(inspector.get_foreign_keys("sqlalchemy_book")[0]["referred_table"], "sqlalchemy_author")
        equal([enum["labels"] for enum in inspector.get_enums() if enum["name"] == "sqlalchemy_mood"], [["sad", "glad"]])


@scenario
def objects_are_stored_and_loaded():
    with tables() as engine:
        with Session(engine) as session, session.begin():
            for n in range(100):
                author = Author(name=f"author {n}", tags=[n, n + 1], extra={"n": n, "ü": None})
                author.books = [Book(title=f"book {n}/{k}") for k in range(3)]
                session.add(author)
        with Session(engine) as session:
            authors = session.scalars(select(Author).options(selectinload(Author.books)).order_by(Author.id)).all()
            equal(len(authors), 100)
            equal([book.title for book in authors[7].books], [f"book 7/{k}" for k in range(3)])
            equal((authors[7].tags, authors[7].extra, authors[7].mood), ([7, 8], {"n": 7, "ü": None}, "glad"))
            session.delete(authors[0])
            authors[1].name = "renamed"
            session.commit()
            equal(session.scalar(select(Author.name).where(Author.id == authors[1].id)), "renamed")


@scenario
def many_rows_are_inserted_in_batches_and_streamed():
    with tables() as engine:
        with engine.begin() as connection:
            rows = connection.execute(
                insert(Author).returning(Author.id, sort_by_parameter_order=True),
                [{"name": f"n{n}", "tags": [], "extra": {}} for n in range(5000)],
            )
            ids = list(rows.scalars())
            equal(ids, sorted(ids))
        with engine.connect() as connection:
            result = connection.execution_options(yield_per=100).execute(select(Author.id))
            equal(sum(len(part) for part in result.partitions()), 5000)


@scenario
def a_nested_transaction_fails_alone():
    with tables() as engine, Session(engine) as session:
        session.add(Author(name="one"))
        session.flush()
        with fails("23505"), session.begin_nested():
            session.add(Author(name="one"))
        with session.begin_nested():
            session.add(Author(name="two"))
        session.commit()
        equal(session.scalars(select(Author.name).order_by(Author.name)).all(), ["one", "two"])
        with fails("22012"):
            session.execute(text("select 1/0"))
        session.rollback()
        equal(session.scalar(text("select 1")), 1)


@scenario
def settings_made_at_connect_hold_for_every_checkout():
    engine = create_engine(pool_size=4, max_overflow=0)

    @event.listens_for(engine, "connect")
    def at_connect(connection, _):
        autocommit, connection.autocommit = connection.autocommit, True
        connection.execute("set search_path = tenant, public")
        connection.execute("set timezone = 'Asia/Tokyo'")
        connection.execute("set statement_timeout = '33s'")
        connection.autocommit = autocommit

    plain = create_engine(pool_size=4)
    for _ in range(10):
        with contextlib.ExitStack() as stack:
            for client in [stack.enter_context(engine.connect()) for _ in range(3)]:
                equal(client.scalar(text("show search_path")), "tenant, public")
                equal(client.scalar(text("show timezone")), "Asia/Tokyo")
                equal(client.scalar(text("show statement_timeout")), "33s")
        with plain.connect() as client:
            equal(client.scalar(text("show search_path")), '"$user", public')
            equal(client.scalar(text("show statement_timeout")), "0")
    engine.dispose()
    plain.dispose()


@scenario
def isolation_and_autocommit_are_chosen_per_connection():
    engine = create_engine()
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        equal(connection.scalar(text("show transaction_isolation")), "serializable")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("select pg_notify('nobody', 'listens')"))
        equal(connection.scalar(text("show transaction_isolation")), "read committed")
    with engine.connect().execution_options(postgresql_readonly=True) as connection, fails("25006"):
        connection.execute(text("create table not_here ()"))
    engine.dispose()


@scenario
def a_dead_connection_is_replaced_before_it_is_used():
    engine = create_engine(pool_size=2, pool_pre_ping=True)
    with engine.connect() as connection, contextlib.suppress(DBAPIError):
        connection.execute(text("select pg_terminate_backend(pg_backend_pid())"))
    with engine.connect() as connection:
        equal(connection.scalar(text("select 1")), 1)
    engine.dispose()
    with engine.connect() as connection:
        equal(connection.scalar(text("select 2")), 2)
    engine.dispose()


@scenario
def without_a_pool_every_request_connects_anew():
    engine = create_engine(poolclass=NullPool)
    for n in range(30):
        with engine.begin() as connection:
            connection.execute(text("create temp table request (n int) on commit drop"))
            connection.execute(text("insert into request values (:n)"), {"n": n})
            equal(connection.scalar(text("select n from request")), n)


@scenario
def twenty_threads_never_see_each_other():
    engine = create_engine(pool_size=10, max_overflow=10, connect_args={"prepare_threshold": 0})

    def work(worker):
        for n in range(100):
            with engine.begin() as connection:
                connection.execute(text("select set_config('app.worker', :worker, true)"), {"worker": str(worker)})
                equal(connection.scalar(text(f"select :n * 1000 + {worker}"), {"n": n}), n * 1000 + worker)
                equal(connection.scalar(text("select current_setting('app.worker')")), str(worker))

    with ThreadPoolExecutor(20) as executor:
        list(executor.map(work, range(20)))
    engine.dispose()


@scenario
async def over_asyncpg_objects_are_stored_and_streamed():
    with tables():
        engine = create_async_engine(url("asyncpg"), pool_size=5)
        async with AsyncSession(engine) as session, session.begin():
            session.add_all([Author(name=f"n{n}", tags=[n], extra={"n": n}) for n in range(300)])
        async with AsyncSession(engine) as session:
            total = 0
            async for author in await session.stream_scalars(select(Author).order_by(Author.id)):
                equal(author.tags, [author.extra["n"]])
                total += 1
            equal(total, 300)
            with fails("22012"):
                await session.execute(text("select 1/0"))
            await session.rollback()
            equal(await session.scalar(text("select 1")), 1)
        await engine.dispose()


@scenario
async def over_asyncpg_twenty_tasks_never_see_each_other():
    settings = {"application_name": "sqlalchemy", "search_path": "tenant"}
    engine = create_async_engine(url("asyncpg"), pool_size=20, connect_args={"server_settings": settings})

    async def work(worker):
        for n in range(50):
            async with engine.begin() as connection:
                await connection.execute(text("select set_config('app.worker', :worker, true)"), {"worker": str(worker)})
                query = text(f"select cast(:n as int) * 1000 + {worker}")
                equal(await connection.scalar(query, {"n": n}), n * 1000 + worker)
                equal(await connection.scalar(text("select current_setting('app.worker')")), str(worker))
                equal(await connection.scalar(text("show search_path")), "tenant")

    await asyncio.gather(*(work(worker) for worker in range(20)))
    await engine.dispose()


run()
