"""asyncpg, as applications use it."""

import asyncio
import contextlib
import datetime
import decimal
import io
import json
import uuid

import asyncpg

from harness import HOLDER, SERVER_CONNECTIONS, equal, fails, run, scenario


@contextlib.asynccontextmanager
async def connect(**arguments):
    client = await asyncpg.connect(**arguments)
    try:
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def neighbours():
    """Clients on every server connection at once, each with settings and statements of its own. The function that is
    handed out lets them all work again."""
    async with contextlib.AsyncExitStack() as stack:
        others = [
            await stack.enter_async_context(connect(server_settings={"application_name": f"other {n}"}))
            for n in range(SERVER_CONNECTIONS)
        ]
        for n, other in enumerate(others):
            await other.execute(f"set work_mem = '{n + 10}MB'; set search_path = other{n}; set datestyle = 'German'")

        async def stir():
            for other in others:
                await other.execute("begin")
            for n, other in enumerate(others):
                equal(await other.fetchval("select current_setting('work_mem') || $1", "!"), f"{n + 10}MB!")
            for other in others:
                await other.execute("commit")

        await stir()
        yield stir


@scenario
async def what_connect_says_holds_for_good():
    settings = {
        "application_name": "mine", "search_path": "pg_catalog, information_schema", "statement_timeout": "54321",
        "timezone": "Asia/Tokyo", "jit": "off", "app.tenant": "blue", "work_mem": "5MB",
    }
    async with neighbours() as stir, connect(server_settings=settings) as client:
        for _ in range(3):
            for name, wanted in settings.items():
                wanted = {"statement_timeout": "54321ms"}.get(name, wanted)
                equal(await client.fetchval("select current_setting($1)", name), wanted)
            equal(client.get_settings().application_name, "mine")
            equal(client.get_settings().TimeZone, "Asia/Tokyo")
            await stir()
        await client.execute("set timezone = 'UTC'; set work_mem = '9MB'")
        equal(client.get_settings().TimeZone, "UTC")
        await client.reset()
        equal(client.get_settings().TimeZone, "Asia/Tokyo")
        equal(await client.fetchval("show work_mem"), "5MB")


@scenario
async def settings_stay_with_their_client():
    async with neighbours() as stir, connect() as client:
        await client.execute("set search_path = mine, public")
        await client.execute("select set_config('timezone', 'Asia/Tokyo', false)")
        await client.fetchval("select set_config('work_mem', $1, false)", "77MB")
        with contextlib.suppress(ZeroDivisionError):
            async with client.transaction():
                await client.execute("set statement_timeout = 888")
                raise ZeroDivisionError
        for _ in range(3):
            await stir()
            equal(await client.fetchval("show search_path"), "mine, public")
            equal(await client.fetchval("show timezone"), "Asia/Tokyo")
            equal(client.get_settings().TimeZone, "Asia/Tokyo")
            equal(await client.fetchval("show work_mem"), "77MB")
            equal(await client.fetchval("show statement_timeout"), "0")


@scenario
async def statements_are_prepared_once_and_kept():
    async with neighbours() as stir, connect() as client:
        statement = await client.prepare("select $1::int + 1 as next, $2::text as word")
        equal([attribute.name for attribute in statement.get_attributes()], ["next", "word"])
        equal([parameter.name for parameter in statement.get_parameters()], ["int4", "text"])
        for n in range(20):
            equal(tuple(await statement.fetchrow(n, "x")), (n + 1, "x"))
            equal(await client.fetchval("select $1::int8 * 2", n), n * 2)
            if n % 5 == 4:
                await stir()
        explained = await statement.explain(1, "x")
        equal(explained[0]["Plan"]["Node Type"], "Result")


@scenario
async def statements_beyond_the_cache_are_closed():
    async with neighbours() as stir, connect(statement_cache_size=5) as client:
        for turn in range(3):
            for n in range(12):
                equal(await client.fetchval(f"select $1::int + {n}", turn), turn + n)
            await stir()
    async with connect(max_cached_statement_lifetime=0.05) as client:
        for n in range(4):
            equal(await client.fetchval("select $1::int + 1", n), n + 1)
            await asyncio.sleep(0.06)


@scenario
async def without_a_cache_statements_are_unnamed():
    async with neighbours() as stir, connect(statement_cache_size=0) as client:
        for n in range(10):
            equal(await client.fetchval("select $1::int + 1", n), n + 1)
            equal(await client.fetch("select generate_series(1, $1::int)", 3), [(1,), (2,), (3,)])
        await stir()
        equal(await client.fetchval("select $1::text", "x"), "x")


@scenario
async def many_clients_prepare_the_same_and_different_statements():
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect()) for _ in range(6)]
        for turn in range(10):
            same = [client.fetchval("select $1::int8", turn) for client in clients]
            equal(await asyncio.gather(*same), [turn] * 6)
            different = [client.fetchval(f"select $1 || '-{n}'", str(turn)) for n, client in enumerate(clients)]
            equal(await asyncio.gather(*different), [f"{turn}-{n}" for n in range(6)])


@scenario
async def a_batch_inserts_all_or_nothing():
    async with neighbours(), connect() as client:
        await client.execute("drop table if exists asyncpg_batch")
        await client.execute("create table asyncpg_batch (n int primary key, t text)")
        await client.executemany("insert into asyncpg_batch values ($1, $2)", [(n, str(n)) for n in range(5000)])
        with fails("23505") as failure:
            await client.executemany("insert into asyncpg_batch values ($1, $2)", [(n, "x") for n in range(9000, 0, -1)])
        equal(failure.error.constraint_name, "asyncpg_batch_pkey")
        equal(await client.fetchval("select count(*) from asyncpg_batch"), 5000)
        rows = await client.fetchmany("select $1::int + 1 as n", [(1,), (2,), (3,)])
        equal([row["n"] for row in rows], [2, 3, 4])
        await client.execute("drop table asyncpg_batch")


@scenario
async def copy_goes_in_and_out():
    records = [(n, f"row {n}", None if n % 3 else b"\x00\xff") for n in range(20000)]
    async with neighbours() as stir, connect() as client:
        await client.execute("drop table if exists asyncpg_copy")
        await client.execute("create table asyncpg_copy (n int, t text, b bytea)")
        equal(await client.copy_records_to_table("asyncpg_copy", records=records), "COPY 20000")
        await stir()
        out = io.BytesIO()
        equal(await client.copy_from_table("asyncpg_copy", output=out, format="csv"), "COPY 20000")
        equal(out.getvalue().count(b"\n"), 20000)
        out.seek(0)
        equal(await client.copy_to_table("asyncpg_copy", source=out, format="csv"), "COPY 20000")
        out = io.BytesIO()
        await client.copy_from_query("select n from asyncpg_copy where n < $1 order by n", 2, output=out)
        equal(out.getvalue(), b"0\n0\n1\n1\n")
        with fails("22P02"):
            await client.copy_to_table("asyncpg_copy", source=io.BytesIO(b"no\tt\t\\N\n" * 50000))

        async def breaks():
            yield b"1\tt\t\\N\n"
            raise KeyError

        with contextlib.suppress(KeyError):
            await client.copy_to_table("asyncpg_copy", source=breaks())
        equal(await client.fetchval("select count(*) from asyncpg_copy"), 40000)
        await client.execute("drop table asyncpg_copy")


@scenario
async def a_timeout_cancels_the_running_query():
    async with neighbours(), connect() as client, connect() as bystander:
        for _ in range(3):
            with contextlib.suppress(asyncio.TimeoutError):
                await client.execute("select pg_sleep(30)", timeout=0.2)
            equal(await client.fetchval("select 5"), 5)
            equal(await bystander.fetchval("select 6"), 6)
        task = asyncio.ensure_future(client.fetchval("select pg_sleep(30)"))
        await asyncio.sleep(0.2)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        equal(await client.fetchval("select 7"), 7)


@scenario
async def notifications_arrive():
    async with connect(**HOLDER) as listener, connect() as sender:
        got = asyncio.Queue()
        await listener.add_listener("asyncpg_channel", lambda _, pid, channel, payload: got.put_nowait((channel, payload)))
        for n in range(3):
            await sender.execute("select pg_notify('asyncpg_channel', $1)", f"message {n}")
        for n in range(3):
            equal(await asyncio.wait_for(got.get(), 10), ("asyncpg_channel", f"message {n}"))
        equal(await listener.fetchval("select 1"), 1)
        await listener.reset_listeners() if hasattr(listener, "reset_listeners") else await listener.reset()
        await sender.execute("notify asyncpg_channel, 'late'")
        equal(await listener.fetchval("select 2"), 2)
        assert got.empty(), "a notification after UNLISTEN"


@scenario
async def savepoints_hold_what_was_before_them():
    async with neighbours() as stir, connect() as client:
        async with client.transaction():
            await client.execute("create temp table kept (n int) on commit drop")
            await client.execute("insert into kept values (1)")
            with fails("22012"):
                async with client.transaction():
                    await client.execute("insert into kept values (2)")
                    await client.execute("select 1/0")
            async with client.transaction():
                await client.execute("insert into kept values (3)")
            equal(await client.fetchval("select array_agg(n) from kept"), [1, 3])
        await stir()
        async with client.transaction(isolation="serializable", readonly=True, deferrable=True):
            equal(await client.fetchval("show transaction_isolation"), "serializable")
            with fails("25006"):
                await client.execute("create table not_here ()")
        transaction = client.transaction()
        await transaction.start()
        with fails("42P01"):
            await client.fetch("select * from nowhere")
        with fails("25P02"):
            await client.fetch("select 1")
        await transaction.rollback()
        equal(await client.fetchval("select 3"), 3)


@scenario
async def cursors_read_in_parts():
    async with neighbours(), connect() as client:
        async with client.transaction():
            total = 0
            async for row in client.cursor("select generate_series(1, $1::int)", 1000, prefetch=50):
                total += row[0]
            equal(total, 500500)
            cursor = await client.cursor("select generate_series(1, 100)")
            equal(len(await cursor.fetch(30)), 30)
            equal(await cursor.forward(20), 20)
            equal((await cursor.fetchrow())[0], 51)
            other = await client.cursor("select 'other'")
            equal((await other.fetchrow())[0], "other")
            equal(len(await cursor.fetch(100)), 49)


@scenario
async def large_values_pass():
    text, data = "ä€😀" * 2_000_000, bytes(range(256)) * 80_000
    async with neighbours(), connect() as client:
        row = await client.fetchrow("select $1::text, $2::bytea", text, data)
        assert tuple(row) == (text, data), "not the same"
        rows = await client.fetch("select repeat('y', 1000) as y from generate_series(1, 30000)")
        equal(sum(len(row["y"]) for row in rows), 30_000_000)


@scenario
async def types_are_looked_up_and_travel_in_binary():
    async with neighbours() as stir, connect() as client:
        for kind in ("asyncpg_pair", "asyncpg_mood", "asyncpg_positive"):
            await client.execute(f"drop {'domain' if kind.endswith('positive') else 'type'} if exists {kind} cascade")
        await client.execute("create type asyncpg_mood as enum ('sad', 'glad')")
        await client.execute("create domain asyncpg_positive as int check (value > 0)")
        await client.execute("create type asyncpg_pair as (n asyncpg_positive, t text, moods asyncpg_mood[])")
        await client.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        await stir()
        number, identity = decimal.Decimal("12345678901234567890.123456789"), uuid.uuid4()
        when = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc)
        arguments = [[[1, 2], [3, None]], {"a": [1, "ü"]}, number, identity, when, ["sad", "glad"], (1, 'a,"b', ["glad"])]
        casts = ["int[]", "jsonb", "numeric", "uuid", "timestamptz", "asyncpg_mood[]", "asyncpg_pair"]
        query = "select " + ", ".join(f"${n}::{cast}" for n, cast in enumerate(casts, 1))
        row = list(await client.fetchrow(query, *arguments))
        equal(tuple(row.pop()), arguments.pop())
        equal(row, arguments)
        ranges = await client.fetchrow("select int4range(1, 5) as r, '{a,NULL}'::text[] as t, hstore_is_not_here from (select 1) x(hstore_is_not_here)")
        equal(ranges["r"], asyncpg.Range(1, 5))
        await client.execute("drop type asyncpg_pair; drop domain asyncpg_positive; drop type asyncpg_mood")


@scenario
async def a_statement_is_prepared_again_when_its_table_changed():
    async with connect() as first, connect() as second:
        await first.execute("drop table if exists asyncpg_changing")
        await first.execute("create table asyncpg_changing (a int)")
        await first.execute("insert into asyncpg_changing values (1)")
        equal(await first.fetch("select * from asyncpg_changing where a > $1", 0), [(1,)])
        await first.execute("alter table asyncpg_changing add b text default 'new'")
        equal(await second.fetch("select * from asyncpg_changing where a > $1", 0), [(1, "new")])
        # outside a transaction the driver notices and tries once more by itself
        equal(await first.fetch("select * from asyncpg_changing where a > $1", 0), [(1, "new")])
        await first.execute("drop table asyncpg_changing")


@scenario
async def notices_arrive_with_their_query():
    async with neighbours(), connect() as client:
        notices = []
        client.add_log_listener(lambda _, message: notices.append((message.severity, message.message)))
        await client.execute("do $$ begin for n in 1..3 loop raise notice 'number %', n; end loop; end $$")
        await client.fetchval("select 1")
        await asyncio.sleep(0)
        equal(notices, [("NOTICE", f"number {n}") for n in (1, 2, 3)])


@scenario
async def a_pool_resets_what_it_takes_back():
    async def prepare(client):
        await client.execute("set timezone = 'Asia/Tokyo'")

    async with neighbours() as stir:
        async with asyncpg.create_pool(min_size=4, max_size=8, setup=prepare) as pool:
            for turn in range(20):
                async with pool.acquire() as client:
                    equal(await client.fetchval("show search_path"), '"$user", public')
                    equal(await client.fetchval("show timezone"), "Asia/Tokyo")
                    await client.execute("set search_path = left_behind")
                    equal(await client.fetchval("select $1::int", turn), turn)
                if turn % 5 == 0:
                    await stir()


@scenario
async def a_pool_connects_again_after_its_connections_were_closed():
    async with asyncpg.create_pool(min_size=2, max_size=4) as pool:
        equal(await pool.fetchval("select 1"), 1)
        await pool.expire_connections()
        equal(await pool.fetchval("select 2"), 2)
        async with pool.acquire() as client:
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError):
                await client.execute("select pg_terminate_backend(pg_backend_pid())")
        equal(await pool.fetchval("select 3"), 3)
    async with asyncpg.create_pool(min_size=2, max_size=4) as pool:
        equal(await pool.fetchval("select 4"), 4)


@scenario
async def temp_tables_and_locks_stay_with_their_client():
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(**HOLDER)) for _ in range(5)]
        for n, client in enumerate(clients):
            await client.execute("create temp table mine (n int)")
            await client.execute("insert into mine values ($1)", n)
            equal(await client.fetchval("select pg_try_advisory_lock(87, $1)", n), True)
        for n, client in enumerate(clients):
            equal(await client.fetchval("select n from mine"), n)
            equal(await client.fetchval("select pg_try_advisory_lock(87, $1)", (n + 1) % 5), False)
            equal(await client.fetchval("select pg_advisory_unlock(87, $1)", n), True)
            equal(await client.fetchval("select pg_try_advisory_lock(87, $1)", n), True)


@scenario
async def twenty_workers_never_see_each_other():
    async def work(worker):
        zone = f"<W{worker:02}>-{worker % 12:02}"
        settings = {"application_name": f"worker {worker}", "app.worker": str(worker)}
        async with connect(server_settings=settings, statement_cache_size=4) as client:
            await client.execute(f"set work_mem = '{100 + worker}MB'; set timezone = '{zone}'")
            for n in range(100):
                kind = n % 5
                if kind == 0:
                    async with client.transaction():
                        equal(await client.fetchval("show work_mem"), f"{100 + worker}MB")
                        equal(await client.fetchval("show app.worker"), str(worker))
                elif kind == 1:
                    # the same name of a statement in every worker, each with another text
                    equal(await client.fetchval(f"select $1::int * 1000 + {worker}", n), n * 1000 + worker)
                elif kind == 2:
                    some = [(f"{worker}/{n}/{k}",) for k in range(5)]
                    equal([tuple(row) for row in await client.fetchmany("select $1::text", some)], some)
                elif kind == 3:
                    equal(await client.fetchval("show timezone"), zone)
                else:
                    with fails("P0001") as failure:
                        await client.execute(f"do $$ begin raise exception 'mine {worker}'; end $$")
                    equal(str(failure.error), f"mine {worker}")

    await asyncio.gather(*(work(worker) for worker in range(20)))


run()
