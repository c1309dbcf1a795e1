"""What a dashboard asks of the store, on a real server."""

from __future__ import annotations

from datetime import timedelta

import pytest
from redis.asyncio import Redis

from aioscheduler.domain.execution import DeadReason, OutcomeKind
from aioscheduler.domain.message import ConflictPolicy, MessageId, MessageStatus
from aioscheduler.domain.target import Destination
from aioscheduler.store import lists
from aioscheduler.store.base import Claimed
from aioscheduler.store.redis import RedisStore
from tests.support.clock import START, FakeClock
from tests.support.messages import bury, done, message, retry
from tests.support.stores import make_store

HERE, THERE = Destination("http://127.0.0.1:9"), Destination("http://there.example:80")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(redis: Redis, clock: FakeClock) -> RedisStore:
    """One message each was delivered, is dead, waits for a retry, is being delivered, and waits for two hours."""
    made = make_store(redis, clock)
    for name in ("ok", "dead", "retried", "leased"):
        await claim(made, clock, name)
    for name, end in (("ok", done), ("dead", bury), ("retried", retry)):
        claimed = CLAIMED.pop(name)
        await made.settle(end(claimed))
    await made.schedule(new := message("later", due_in=7200), ConflictPolicy.REJECT, new.due_at)
    await made.drain()
    return made


CLAIMED: dict[str, Claimed] = {}


async def claim(store: RedisStore, clock: FakeClock, name: str) -> None:
    new = message(name, now=clock.now(), url="http://there.example/x" if name == "retried" else "http://127.0.0.1:9/x")
    await store.schedule(new, ConflictPolicy.REJECT, new.due_at)
    (CLAIMED[name],) = await store.claim([MessageId(name)], clock.now())


async def test_the_overview_counts_and_says_what_comes_next(
    store: RedisStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await store.overview(clock.now())
    assert (found.counts.messages, found.counts.leased, found.counts.dead, found.retrying) == (3, 1, 1, 1)
    assert found.counts.oldest_due_at == START + timedelta(seconds=10)
    assert found.next_message == ("retried", START + timedelta(seconds=10))
    assert found.next_job is None
    clock.move(11)
    assert (await store.overview(clock.now())).next_message == ("later", START + timedelta(hours=2))
    await claim(store, clock, "too")
    await store.settle(retry(CLAIMED.pop("too")))
    monkeypatch.setattr(lists, "_MOST_STATES", 1)
    assert (await store.overview(clock.now())).retrying == 2, "one of two was looked at"


async def test_minutes_and_the_time_to_come_are_counted(store: RedisStore, clock: FakeClock) -> None:
    assert [(minute.attempts, minute.failures) for minute in await store.activity(2)] == [(0, 0), (3, 2)]
    found = await store.timeline([START, START + timedelta(hours=1), START + timedelta(hours=2)])
    assert (found.messages, found.jobs) == ([0, 1, 0, 1], [0, 0, 0, 0])


async def test_letters_are_grouped_and_taken_by_destination(store: RedisStore) -> None:
    found = await store.dead_groups()
    assert [(group.reason, group.destination, group.count) for group in found.groups] == [
        (DeadReason.RETRIES_EXHAUSTED, HERE, 1)
    ]
    assert (found.total, found.complete) == (1, True)
    assert await store.dead_of([MessageId("ok"), MessageId("dead")]) == [False, True]
    assert (await store.dead_letters(9, None, destination=THERE)).items == []
    page = await store.dead_letters(9, None, destination=HERE)
    assert [letter.id for letter in page.items] == ["dead"]
    assert await store.discard_letters(page.items) == [True]
    assert await store.discard_letters(page.items) == [False]


async def test_messages_are_filtered_and_counted(store: RedisStore) -> None:
    async def ids(status: MessageStatus | None, destination: Destination | None = None) -> list[str]:
        return [line.id for line in (await store.page(9, None, status, destination)).items]

    assert await ids(MessageStatus.RETRYING) == ["retried"]
    assert await ids(MessageStatus.DELIVERING) == ["leased"]
    assert await ids(MessageStatus.SCHEDULED) == ["later"]
    assert await ids(None, THERE) == ["retried"]
    assert await ids(MessageStatus.DELIVERING, THERE) == []
    assert await store.count("l", "") == (2, True)
    assert await store.count("", "at") == (1, True)


async def test_the_log_is_followed_from_any_of_its_lines(store: RedisStore) -> None:
    everything, more = await store.deliveries_since("0-0", None, 9)
    assert ([line.message_id for line in everything], more) == (["ok", "dead", "retried"], 0)
    assert [line.status for line in everything] == [OutcomeKind.SUCCESS, OutcomeKind.FAILURE, OutcomeKind.FAILURE]
    first, second, third = (line.id for line in everything)
    assert await store.newest_delivery() == third
    found, more = await store.deliveries_since(first, None, 1)
    assert ([line.id for line in found], more) == ([third], 1)
    found, more = await store.deliveries_since("0-0", second, 1)
    assert ([line.id for line in found], more) == ([second], 1)
    assert await store.deliveries_since(third, None, 9) == ([], 0)
