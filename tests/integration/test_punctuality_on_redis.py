"""The store's suite about punctuality on a real server, and what only a real server shows."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from aioscheduler.store.redis import RedisStore
from tests.support.clock import FakeClock
from tests.support.lateness import Punctualities
from tests.support.lateness import Punctualities as TestPunctualities
from tests.support.stores import make_store

__all__ = ["TestPunctualities"]


async def commands(redis: Redis) -> int:
    """Return how many commands for punctuality alone were carried out."""
    client: Any = redis
    stats = await client.info("commandstats")
    names = ("bitfield", "zmscore", "setrange", "expire", "zcard")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in names)


async def test_a_batch_takes_as_many_commands_as_one_delivery(redis: Redis) -> None:
    clock = FakeClock()
    store: RedisStore = make_store(redis, clock)
    suite = Punctualities()
    await suite.deliver(store, clock, *((f"h{n}", 9000.0) for n in range(20)))
    before = await commands(redis)
    await suite.deliver(store, clock, *((f"h{n % 20}", float(n)) for n in range(200)))
    # Six, and one that counts the attempts themselves.
    assert await commands(redis) - before == 7
