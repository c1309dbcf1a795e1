"""The store's suite on a real server, and what only a real server shows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from aioscheduler.domain.message import ConflictPolicy, MessageId
from aioscheduler.errors import StoreUnavailable
from aioscheduler.store.base import Scheduled
from aioscheduler.store.connect import connect
from aioscheduler.store.redis import RedisStore
from tests.support.clock import START, FakeClock
from tests.support.messages import done, message, outside_record
from tests.support.redis_server import RedisServer
from tests.support.stores import Audits as TestAudits
from tests.support.stores import ChangedRecords as TestChangedRecords
from tests.support.stores import DeadLetters as TestDeadLetters
from tests.support.stores import DeliveryLog as TestDeliveryLog
from tests.support.stores import Leases as TestLeases
from tests.support.stores import Lists as TestLists
from tests.support.stores import Messages as TestMessages
from tests.support.stores import Outsiders as TestOutsiders
from tests.support.stores import Recovery as TestRecovery
from tests.support.stores import make_store

__all__ = [
    "TestAudits",
    "TestChangedRecords",
    "TestDeadLetters",
    "TestDeliveryLog",
    "TestLeases",
    "TestLists",
    "TestMessages",
    "TestOutsiders",
    "TestRecovery",
]


@pytest.fixture
def store(redis: Redis) -> RedisStore:
    return make_store(redis, FakeClock())


async def schedule(store: RedisStore, name: str, **members: Any) -> None:
    new = message(name, **members)
    assert await store.schedule(new, ConflictPolicy.REJECT, new.due_at) is Scheduled.CREATED


async def test_scripts_that_the_server_has_forgotten_are_sent_again(store: RedisStore, redis: Redis) -> None:
    await schedule(store, "m")
    await redis.script_flush()
    await schedule(store, "n")
    await redis.script_flush()
    claimed = await store.claim([MessageId("m"), MessageId("n")], START)
    await redis.script_flush()
    await asyncio.gather(*(store.settle(done(each)) for each in claimed))
    assert (await store.counters())["delivered"] == 2


async def test_a_record_whose_key_expires_is_cancelled(store: RedisStore, redis: Redis) -> None:
    await redis.set("message:m", outside_record(60), px=60_000)
    (found,) = await store.examine([MessageId("m")])
    assert found.adopted
    assert await redis.pttl("message:m") > 0
    await redis.pexpire("message:m", 1)
    while await redis.exists("message:m"):
        await asyncio.sleep(0.005)
    assert await store.examine([MessageId("m")]) == []
    assert await store.search_ids("", "") == []


async def test_a_replaced_record_of_an_outsider_does_not_expire_any_more(store: RedisStore, redis: Redis) -> None:
    await redis.set("message:m", outside_record(60), px=60_000)
    await store.examine([MessageId("m")])
    new = message("m", due_in=60)
    assert await store.schedule(new, ConflictPolicy.REPLACE, new.due_at) is Scheduled.REPLACED
    assert await redis.pttl("message:m") == -1


async def test_a_server_that_is_full_is_unavailable_and_loses_nothing(redis_server: RedisServer) -> None:
    server = RedisServer("--maxmemory", "100mb")
    server.start()
    redis = connect(url=server.url)
    try:
        store = make_store(redis, FakeClock())
        await schedule(store, "m")
        await redis.config_set("maxmemory", 1)
        new = message("n")
        with pytest.raises(StoreUnavailable):
            await store.schedule(new, ConflictPolicy.REJECT, new.due_at)
        assert await store.search_ids("", "") == ["m"]
        await redis.config_set("maxmemory", 0)
        await schedule(store, "n")
        assert await store.search_ids("", "") == ["m", "n"]
    finally:
        await redis.aclose()
        server.close()


async def test_a_dead_server_is_told_of_at_once_and_works_again_when_it_is_back() -> None:
    server = RedisServer(append_only=True)
    server.start()
    redis = connect(url=server.url)
    try:
        store = make_store(redis, FakeClock())
        await schedule(store, "m")
        server.kill()
        async with asyncio.timeout(15):  # never, were there no limit to a call
            with pytest.raises(StoreUnavailable):
                await store.get(MessageId("m"))
        server.start()
        live = await store.get(MessageId("m"))
        assert live is not None
        (claimed,) = await store.claim([MessageId("m")], START)
        assert claimed.message == live.message
    finally:
        await redis.aclose()
        server.close()


async def test_more_calls_at_once_than_there_are_connections_all_get_their_answer(redis_server: RedisServer) -> None:
    redis = connect(url=redis_server.url)
    try:
        await redis.flushall()
        store = make_store(redis, FakeClock())
        await schedule(store, "m")
        assert None not in await asyncio.gather(*(store.get(MessageId("m")) for _ in range(300)))
    finally:
        await redis.aclose()


async def test_many_large_messages_due_at_once_are_claimed(store: RedisStore) -> None:
    payload = b'"' + b"x" * 1_000_000 + b'"'
    names = [f"m{i:03}" for i in range(100)]
    await asyncio.gather(*(schedule(store, name, payload=payload) for name in names))
    again: list[MessageId] = []
    store.on_scheduled = lambda message_id, *_: again.append(message_id)
    ids = [MessageId(name) for name in names]
    for _ in range(7):
        # No answer is larger than the server can give in time; what had no room is told to be due.
        claimed = await store.claim(ids, START)
        assert len(claimed) == min(16, len(ids))
        assert [each.message.id for each in claimed] + again == ids
        ids, again[:] = list(again), []
    assert not ids


async def test_the_report_names_what_the_store_can_lose(redis_server: RedisServer, store: RedisStore) -> None:
    report = await store.report()
    assert report.kind == "redis"
    assert report.version.split()[0] in ("Redis", "Valkey")
    assert report.persistence == "no append-only file"
    assert report.used_memory_bytes > 0
    assert any("append-only" in str(risk) for risk in report.risks)
    server = RedisServer("--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru", append_only=True)
    server.start()
    redis = connect(url=server.url)
    try:
        risks = (await make_store(redis, FakeClock()).report()).risks
        assert any("allkeys-lru" in str(risk) for risk in risks)
        assert not any("append-only" in str(risk) for risk in risks)
        await redis.config_set("notify-keyspace-events", "KEA")
        await redis.config_set("maxmemory-policy", "noeviction")
        assert (await make_store(redis, FakeClock()).report()).risks == []
    finally:
        await redis.aclose()
        server.close()


async def test_what_an_outsider_changed_since_it_was_seen_is_not_replaced(store: RedisStore, redis: Redis) -> None:
    new = message("m", due_in=60)
    await schedule(store, "m", due_in=60)
    ours = await store.get(new.id)
    assert ours is not None
    record = await redis.get("message:m")
    assert isinstance(record, bytes)
    # With our tail, which belongs to another text.
    await redis.set("message:m", record.replace(b'{"n":1}', b'{"n":2}'))
    assert await store.replace_seen(new, [ours.tag], new.due_at) is Scheduled.NOT_AS_SEEN
    await redis.set("message:m", outside_record(60))
    await store.examine([new.id])
    adopted = await store.get(new.id)
    assert adopted is not None
    assert adopted.tag != ours.tag
    await redis.set("message:m", outside_record(70))
    assert await store.replace_seen(new, [adopted.tag, ours.tag], new.due_at) is Scheduled.NOT_AS_SEEN
    await redis.set("message:m", outside_record(60))
    assert await store.replace_seen(new, [adopted.tag], new.due_at) is Scheduled.REPLACED
