"""psycopg 3 and psycopg_pool, as applications use them."""

import asyncio
import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from harness import HOLDER, SERVER_CONNECTIONS, equal, fails, run, scenario


def connect(**arguments):
    return psycopg.connect(autocommit=True, **arguments)


def value(connection, query, arguments=None, **options):
    return connection.execute(query, arguments, **options).fetchone()[0]


@contextlib.contextmanager
def neighbours():
    """Clients on every server connection at once, each with settings and statements of its own. The function that is
    handed out lets them all work again."""
    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(connect(application_name=f"other {n}")) for n in range(SERVER_CONNECTIONS)]
        for n, other in enumerate(others):
            other.execute(f"set work_mem = '{n + 10}MB'; set search_path = other{n}; set datestyle = 'German'")

        def stir():
            for other in others:
                other.execute("begin")
            for n, other in enumerate(others):
                equal(value(other, "select current_setting('work_mem')", prepare=True), f"{n + 10}MB")
            for other in others:
                other.execute("commit")

        stir()
        yield stir


@scenario
def what_connect_says_holds_for_good():
    options = "-c search_path=pg_catalog,information_schema -c statement_timeout=54321 -c app.tenant=blue"
    with neighbours() as stir, connect(application_name="mine", options=options, client_encoding="LATIN1") as client:
        for _ in range(3):
            equal(value(client, "show application_name"), "mine")
            equal(value(client, "show search_path"), "pg_catalog,information_schema")
            equal(value(client, "show statement_timeout"), "54321ms")
            equal(value(client, "show app.tenant"), "blue")
            equal(value(client, "select %s", ["é"]), "é")
            equal(client.info.parameter_status("application_name"), "mine")
            equal(client.info.encoding, "iso8859-1")
            stir()
        client.execute("set statement_timeout = 1000; set application_name = 'changed'")
        client.execute("reset all")
        equal(value(client, "show statement_timeout"), "54321ms")
        equal(value(client, "show application_name"), "mine")
        client.execute("discard all")
        equal(value(client, "show app.tenant"), "blue")


@scenario
def settings_stay_with_their_client():
    with neighbours() as stir, connect() as client:
        client.execute("set search_path = mine, public")
        client.execute("set timezone to 'Asia/Tokyo'")
        client.execute("select set_config('work_mem', '77MB', false)")
        client.execute("set intervalstyle = 'iso_8601'")
        with client.transaction():
            client.execute("set local lock_timeout = 999")
            equal(value(client, "show lock_timeout"), "999ms")
        with contextlib.suppress(ZeroDivisionError), client.transaction():
            client.execute("set statement_timeout = 888")
            raise ZeroDivisionError
        for _ in range(3):
            stir()
            equal(value(client, "show search_path"), "mine, public")
            equal(value(client, "show timezone"), "Asia/Tokyo")
            equal(client.info.timezone.key, "Asia/Tokyo")
            equal(value(client, "show work_mem"), "77MB")
            equal(value(client, "select '1 day'::interval::text"), "P1D")
            equal(value(client, "show lock_timeout"), "0")
            equal(value(client, "show statement_timeout"), "0")


@scenario
def statements_are_prepared_after_some_executions():
    with neighbours() as stir, connect() as client:
        client.prepare_threshold = 2
        for n in range(12):
            equal(value(client, "select %s::int + 1", [n]), n + 1)
            if n % 3 == 2:
                stir()
        client.execute("deallocate all")
        equal(value(client, "select %s::int + 1", [5]), 6)


@scenario
def statements_beyond_the_cache_are_deallocated():
    with neighbours() as stir, connect() as client:
        client.prepare_threshold = 0
        client.prepared_max = 5
        for turn in range(3):
            for n in range(12):
                equal(value(client, f"select %s::int + {n}", [turn]), turn + n)
            stir()
        client.execute("discard all")
        equal(value(client, "select %s::int + 3", [1]), 4)


@scenario
def many_clients_prepare_the_same_and_different_statements():
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(prepare_threshold=0)) for _ in range(6)]
        for turn in range(10):
            for n, client in enumerate(clients):
                equal(value(client, f"select %s || '-{n}'", [str(turn)]), f"{turn}-{n}")
                equal(value(client, "select %s::int8", [turn]), turn)


@scenario
def a_pipeline_gives_its_results_in_order():
    with neighbours(), connect() as client:
        with client.pipeline():
            cursors = [client.execute("select %s::int, repeat('x', 5000)", [n]) for n in range(300)]
            equal([cursor.fetchone()[0] for cursor in cursors], list(range(300)))


@scenario
def a_pipeline_fails_up_to_its_sync():
    with connect() as client:
        with fails("22012"), client.pipeline() as pipeline:
            client.execute("select 1")
            client.execute("select 1/0")
            pipeline.sync()
        with client.pipeline() as pipeline:
            before = client.execute("select 1")
            pipeline.sync()
            with fails("42P01"):
                client.execute("select * from nowhere").fetchall()
            pipeline.sync()
            after = client.execute("select 3")
            equal(after.fetchone(), (3,))
            equal(before.fetchone(), (1,))


@scenario
def a_batch_inserts_and_returns_its_rows():
    with neighbours(), connect() as client:
        with client.transaction():
            client.execute("create temp table batch (id serial, name text unique) on commit drop")
            with client.cursor() as cursor:
                cursor.executemany(
                    "insert into batch (name) values (%s) returning id", [(f"n{n}",) for n in range(200)], returning=True
                )
                ids = [cursor.fetchone()[0]]
                while cursor.nextset():
                    ids.append(cursor.fetchone()[0])
            equal(ids, list(range(1, 201)))
            with fails("23505") as failure, client.transaction():
                client.execute("insert into batch (name) values ('n7')")
            equal(failure.error.diag.constraint_name, "batch_name_key")
            equal(value(client, "select count(*) from batch"), 200)


@scenario
def copy_goes_in_and_out():
    rows = [(n, f"row {n}\twith tab and \\", None if n % 3 else b"\x00\xff" * 10) for n in range(5000)]
    with neighbours() as stir, connect() as client:
        client.execute("drop table if exists psycopg_copy")
        client.execute("create table psycopg_copy (n int, t text, b bytea)")
        with client.cursor() as cursor:
            with cursor.copy("copy psycopg_copy from stdin") as copy:
                for row in rows:
                    copy.write_row(row)
            equal(cursor.rowcount, 5000)
            stir()
            with cursor.copy("copy psycopg_copy (n, t, b) from stdin with (format binary)") as copy:
                copy.set_types(["int4", "text", "bytea"])
                for row in rows:
                    copy.write_row(row)
            with cursor.copy("copy (select * from psycopg_copy order by n, ctid) to stdout (format binary)") as copy:
                copy.set_types(["int4", "text", "bytea"])
                got = [tuple(row) for row in copy.rows()]
            equal(got, [row for row in rows for _ in range(2)])
        client.execute("drop table psycopg_copy")


@scenario
def a_copy_that_fails_leaves_a_usable_connection():
    with connect() as client:
        client.execute("drop table if exists psycopg_copy_bad; create table psycopg_copy_bad (n int primary key)")
        with fails("22P02"), client.cursor().copy("copy psycopg_copy_bad from stdin") as copy:
            for n in range(20000):
                copy.write(f"{n}\n" if n != 50 else "not a number\n")
        with contextlib.suppress(KeyError), client.cursor().copy("copy psycopg_copy_bad from stdin") as copy:
            copy.write("1\n")
            raise KeyError
        # leaving early makes the driver cancel the rest
        with contextlib.suppress(KeyError), client.cursor().copy(
            "copy (select repeat('x', 1000) from generate_series(1, 200000)) to stdout"
        ) as copy:
            copy.read()
            raise KeyError
        equal(value(client, "select count(*) from psycopg_copy_bad"), 0)
        client.execute("drop table psycopg_copy_bad")


@scenario
def a_running_query_is_cancelled():
    with neighbours(), connect() as client, connect() as bystander:
        for cancel in (client.cancel, lambda: client.cancel_safe(timeout=10)):
            timer = threading.Timer(0.3, cancel)
            timer.start()
            with fails("57014"):
                client.execute("select pg_sleep(30)")
            timer.join()
            equal(value(client, "select 5"), 5)
            equal(value(bystander, "select 6"), 6)
        client.cancel()
        equal(value(client, "select 7"), 7)


@scenario
def notifications_arrive():
    with connect(**HOLDER) as listener, connect() as sender:
        listener.execute("listen psycopg_channel")
        for n in range(3):
            sender.execute("select pg_notify('psycopg_channel', %s)", [f"message {n}"])
        got = [notify.payload for notify in listener.notifies(timeout=10, stop_after=3)]
        equal(got, ["message 0", "message 1", "message 2"])
        listener.execute("notify psycopg_channel, 'own'")
        equal([notify.payload for notify in listener.notifies(timeout=10, stop_after=1)], ["own"])
        listener.execute("unlisten *")
        sender.execute("notify psycopg_channel, 'late'")
        equal(list(listener.notifies(timeout=0.2)), [])


@scenario
def savepoints_hold_what_was_before_them():
    with neighbours() as stir, psycopg.connect() as client:
        with client.transaction():
            client.execute("create temp table kept (n int) on commit drop")
            client.execute("insert into kept values (1)")
            with fails("22012"), client.transaction():
                client.execute("insert into kept values (2)")
                client.execute("select 1/0")
            with client.transaction(savepoint_name="inner"):
                client.execute("insert into kept values (3)")
            equal(client.execute("select array_agg(n) from kept").fetchone()[0], [1, 3])
        stir()
        with fails("25P02"):
            with contextlib.suppress(psycopg.errors.UndefinedTable):
                client.execute("select * from nowhere")
            client.execute("select 1")
        client.rollback()
        client.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        client.read_only = True
        equal(value(client, "show transaction_isolation"), "serializable")
        with fails("25006"):
            client.execute("create table not_here ()")
        client.rollback()


@scenario
def a_server_side_cursor_reads_in_parts():
    with neighbours(), psycopg.connect() as client:
        with client.cursor("parts", scrollable=True) as cursor:
            cursor.itersize = 77
            cursor.execute("select n, 'x' from generate_series(1, %s) n", [1000])
            equal(sum(n for n, _ in cursor), 500500)
            cursor.scroll(0, mode="absolute")
            equal(cursor.fetchmany(3), [(1, "x"), (2, "x"), (3, "x")])
        client.commit()
        rows = client.cursor().stream("select n from generate_series(1, 3000) n", size=1)
        equal(sum(n for (n,) in rows), 4501500)


@scenario
def a_cursor_with_hold_outlives_its_transaction():
    with connect(**HOLDER) as client:
        with client.cursor("held", withhold=True) as cursor:
            cursor.execute("select n from generate_series(1, 10) n")
            equal(cursor.fetchmany(4), [(1,), (2,), (3,), (4,)])
            equal(cursor.fetchall()[-1], (10,))


@scenario
def large_values_pass():
    text, data = "ä€😀" * 2_000_000, bytes(range(256)) * 80_000
    with neighbours(), connect() as client:
        for binary in (False, True):
            got = client.cursor(binary=binary).execute("select %s::text, %b::bytea", [text, data]).fetchone()
            assert got == (text, data), "not the same"
        rows = client.execute("select repeat('y', 1000) from generate_series(1, 30000)").fetchall()
        equal(sum(len(row) for (row,) in rows), 30_000_000)


@scenario
def types_are_looked_up_and_travel_in_binary():
    with neighbours() as stir, connect() as client:
        client.execute("drop type if exists psycopg_mood; create type psycopg_mood as enum ('sad', 'glad')")
        client.execute("drop type if exists psycopg_pair; create type psycopg_pair as (n int, t text)")
        register_enum(EnumInfo.fetch(client, "psycopg_mood"), client)
        register_composite(CompositeInfo.fetch(client, "psycopg_pair"), client)
        stir()
        for binary in (False, True):
            cursor = client.cursor(binary=binary)
            row = cursor.execute(
                "select %s::int[], %s::jsonb, 'glad'::psycopg_mood, row(1, 'a,\"b')::psycopg_pair, 1.50::numeric,"
                " '2024-02-29 12:00+00'::timestamptz, null",
                [[[1, 2], [3, None]], Jsonb({"a": [1, "ü"]})],
            ).fetchone()
            equal(row[0], [[1, 2], [3, None]])
            equal(row[1], {"a": [1, "ü"]})
            equal(row[2].name, "glad")
            equal(tuple(row[3]), (1, 'a,"b'))
            equal(str(row[4]), "1.50")
            equal(row[5].timestamp(), 1709208000.0)
        client.execute("drop type psycopg_mood; drop type psycopg_pair")


@scenario
def notices_arrive_with_their_query():
    with neighbours(), connect() as client:
        notices = []
        client.add_notice_handler(lambda notice: notices.append((notice.severity, notice.message_primary)))
        client.execute("do $$ begin for n in 1..3 loop raise notice 'number %', n; end loop; end $$")
        client.execute("do $$ begin raise warning 'careful'; end $$")
        equal(notices, [("NOTICE", f"number {n}") for n in (1, 2, 3)] + [("WARNING", "careful")])


@scenario
def a_pool_resets_what_it_takes_back():
    def reset(connection):
        connection.execute("discard all")

    def configure(connection):
        connection.execute("set timezone = 'Asia/Tokyo'")

    options = {"autocommit": True, "prepare_threshold": 1}
    with neighbours() as stir, ConnectionPool(
        min_size=4, max_size=8, reset=reset, configure=configure, check=ConnectionPool.check_connection, kwargs=options
    ) as pool:
        pool.wait(10)
        for turn in range(20):
            with pool.connection() as client:
                equal(value(client, "show search_path"), '"$user", public')
                client.execute("set search_path = left_behind")
                for n in range(3):
                    equal(value(client, "select %s::int", [n]), n)
            if turn % 5 == 0:
                stir()


@scenario
def a_pool_connects_again_after_its_connections_were_closed():
    with ConnectionPool(min_size=2, max_size=4, kwargs={"autocommit": True}) as pool:
        with pool.connection() as client:
            client.execute("set application_name = 'old'")
        pool.drain()
        with pool.connection() as client:
            equal(value(client, "show application_name"), "")
            with contextlib.suppress(psycopg.OperationalError):
                client.execute("select pg_terminate_backend(pg_backend_pid())")
        pool.check()
        pool.wait(10)
        with pool.connection() as client:
            equal(value(client, "select 1"), 1)
    with ConnectionPool(min_size=2, max_size=4) as pool, pool.connection() as client:
        equal(value(client, "select 2"), 2)


@scenario
def temp_tables_and_locks_stay_with_their_client():
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(**HOLDER)) for _ in range(5)]
        for n, client in enumerate(clients):
            client.execute("create temp table mine (n int)")
            client.execute("insert into mine values (%s)", [n])
            equal(value(client, "select pg_try_advisory_lock(77, %s)", [n]), True)
        for n, client in enumerate(clients):
            equal(client.execute("select n from mine").fetchall(), [(n,)])
            equal(value(client, "select pg_try_advisory_lock(77, %s)", [(n + 1) % 5]), False)
            equal(value(client, "select pg_advisory_unlock(77, %s)", [n]), True)
            equal(value(client, "select pg_try_advisory_lock(77, %s)", [n]), True)


@scenario
def what_a_client_leaves_is_gone_when_it_is():
    for n in range(6):
        with connect() as client:
            client.execute("create temp table left_over (n int)")
            client.execute("prepare left_over as select 1")
            client.execute("set role = none; set work_mem = '99MB'")
            client.execute("declare left_over cursor with hold for select 1")
            # PostgreSQL, too, lets go of it only a moment after the client has left
            client.execute("set lock_timeout = '10s'")
            client.execute("select pg_advisory_lock(78)")
    with connect() as client:
        equal(value(client, "show work_mem"), "4MB")
        with fails("26000"):
            client.execute("execute left_over")


@scenario
def a_table_that_changes_does_not_break_statements():
    with connect(prepare_threshold=0) as first, connect(prepare_threshold=0) as second:
        first.execute("drop table if exists psycopg_changing")
        first.execute("create table psycopg_changing (a int)")
        first.execute("insert into psycopg_changing values (1)")
        equal(first.execute("select * from psycopg_changing").fetchall(), [(1,)])
        first.execute("alter table psycopg_changing add b text default 'new'")
        # a client that never saw the old table must not hear of its plan
        equal(second.execute("select * from psycopg_changing").fetchall(), [(1, "new")])
        first.execute("drop table psycopg_changing")


@scenario
def twenty_workers_never_see_each_other():
    def work(worker):
        zone = f"<W{worker:02}>-{worker % 12:02}"
        with connect(application_name=f"worker {worker}", prepare_threshold=0) as client:
            client.prepared_max = 4
            client.execute(sql.SQL("set work_mem = {}").format(f"{100 + worker}MB"))
            client.execute(sql.SQL("set timezone = {}").format(zone))
            for n in range(100):
                kind = n % 5
                if kind == 0:
                    with client.transaction():
                        equal(value(client, "show work_mem"), f"{100 + worker}MB")
                        equal(value(client, "select current_setting('application_name')"), f"worker {worker}")
                elif kind == 1:
                    # the same name of a statement in every worker, each with another text
                    equal(value(client, f"select %s::int * 1000 + {worker}", [n]), n * 1000 + worker)
                elif kind == 2:
                    with client.pipeline():
                        some = [client.execute("select %s::text", [f"{worker}/{n}/{k}"]) for k in range(5)]
                        equal([one.fetchone()[0] for one in some], [f"{worker}/{n}/{k}" for k in range(5)])
                elif kind == 3:
                    equal(value(client, "show timezone"), zone)
                else:
                    with fails("P0001") as failure:
                        client.execute(sql.SQL("do $$ begin raise exception {}; end $$").format(f"mine {worker}"))
                    assert f"mine {worker}" in str(failure.error), str(failure.error)

    with ThreadPoolExecutor(20) as executor:
        list(executor.map(work, range(20)))


@scenario
async def the_asynchronous_pool_serves_many_tasks():
    async with AsyncConnectionPool(
        min_size=8, max_size=8, open=False, kwargs={"autocommit": True, "prepare_threshold": 2}
    ) as pool:

        async def work(worker):
            for n in range(25):
                async with pool.connection() as client, client.transaction():
                    await client.execute("select set_config('app.worker', %s, true)", [str(worker)])
                    cursor = await client.execute("select current_setting('app.worker'), %s::int", [n])
                    equal(await cursor.fetchone(), (str(worker), n))

        await asyncio.gather(*(work(worker) for worker in range(20)))


@scenario
async def a_task_that_is_cancelled_cancels_its_query():
    client = await psycopg.AsyncConnection.connect(autocommit=True)
    async with client:
        start = time.monotonic()
        try:
            await asyncio.wait_for(client.execute("select pg_sleep(30)"), 0.3)
        except (TimeoutError, asyncio.TimeoutError):
            pass
        cursor = await client.execute("select 1")
        equal(await cursor.fetchone(), (1,))
        assert time.monotonic() - start < 10, "the query went on"


@scenario
def rows_become_what_the_application_wants():
    with connect(row_factory=dict_row) as client:
        equal(client.execute("select 1 as a, 'x' as b").fetchone(), {"a": 1, "b": "x"})
        equal(client.cursor(row_factory=class_row(dict)).execute("select 2 as c").fetchone(), {"c": 2})


run()
