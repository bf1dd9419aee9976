"""asyncpg's own pool, which never tests a connection: its event loop hears of a close."""

import asyncio

import asyncpg

import fleet


class Work:
    def __init__(self, pool):
        self.pool = pool

    async def setup(self):
        await self.pool.execute(fleet.CREATE)
        await self.pool.execute(fleet.FILL)

    async def total(self):
        return await self.pool.fetchval(fleet.TOTAL)

    async def unit(self, kind, worker, sleeps):
        async with self.pool.acquire() as client:
            match kind:
                case "select":
                    assert await client.fetchval("select 1") == 1
                case "prepared":
                    assert await client.fetchval("select $1::int + 1", worker) == worker + 1
                case "booking" | "long":
                    async with client.transaction():
                        await client.execute(
                            f"update {fleet.TABLE} set bookings = bookings + 1 where worker = $1", worker
                        )
                        if sleeps:
                            await client.execute("select pg_sleep($1)", sleeps)


async def main():
    settings = {"application_name": fleet.NAME}
    async with asyncpg.create_pool(min_size=fleet.WORKERS, max_size=fleet.WORKERS, server_settings=settings) as pool:
        await fleet.run_async(Work(pool))


asyncio.run(main())
