"""Whose clock decides what is due, when a machine's own is wrong: the server's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from aioscheduler.clock import SteeredClock, SystemClock, from_ms, to_ms
from aioscheduler.domain.message import ConflictPolicy, MessageId
from aioscheduler.store.recurring import Fire, Fired
from tests.support.clock import FakeClock
from tests.support.jobs import job, run
from tests.support.messages import message
from tests.support.stores import make_store

#: More than any of these tests takes, in milliseconds.
TAKES_MS = 4000


def wrong_by(seconds: float) -> tuple[SteeredClock, FakeClock]:
    """Return a clock that is ahead of the machine's, or behind, and stands still; and the one inside."""
    inner = FakeClock(datetime.now(UTC) + timedelta(seconds=seconds))
    return SteeredClock(inner), inner


async def test_a_replica_whose_clock_is_ahead_claims_nothing_early_and_looks_again_in_time(redis: Redis) -> None:
    clock, _ = wrong_by(60)
    store = make_store(redis, clock, "fast")
    told: list[tuple[MessageId, int]] = []
    store.on_scheduled = lambda message_id, due_ms, _: told.append((message_id, due_ms))
    now = datetime.now(UTC)
    for name, due_in in (("due", -1.0), ("soon", 30.0), ("later", 90.0)):
        new = message(name, due_in=due_in, now=now)
        await store.schedule(new, ConflictPolicy.REJECT, new.due_at)
    told.clear()
    claimed = await store.claim([MessageId("due"), MessageId("soon"), MessageId("later")], clock.now())
    assert [each.message.id for each in claimed] == ["due"]
    assert told == [("soon", to_ms(now + timedelta(seconds=30)))]
    assert abs(clock.ahead_ms - 60_000) < TAKES_MS, "it has learnt what time it is"
    assert clock.now_ms() <= to_ms(datetime.now(UTC))


async def test_an_execution_is_claimed_no_earlier_either(redis: Redis) -> None:
    clock, _ = wrong_by(60)
    store = make_store(redis, clock, "fast")
    told: list[int] = []
    store.on_execution = lambda _, due_ms, __: told.append(due_ms)
    due_at = from_ms(to_ms(datetime.now(UTC) + timedelta(seconds=30)))
    new = job(now=datetime.now(UTC))
    assert await store.create_job(new, due_at)
    (plan,) = await store.plans([new.id])
    assert plan is not None
    planned = run(new, at=due_at)
    fire = Fire(plan=plan, runs=[planned], skips=[], next_ms=plan.due_ms + 60_000)
    assert await store.fire([fire], clock.now()) == [Fired.APPLIED]
    told.clear()
    assert await store.claim_executions([planned.executions[0].ref], clock.now()) == []
    assert told == [to_ms(due_at)]
    assert abs(clock.ahead_ms - 60_000) < TAKES_MS


@pytest.mark.parametrize("seconds", [3600.0, -3600.0, 20.0, -20.0])
async def test_a_heartbeat_puts_the_clock_right_and_tells_who_waits(redis: Redis, seconds: float) -> None:
    clock, inner = wrong_by(seconds)
    woken: list[int] = []
    clock.on_adjusted = lambda: woken.append(clock.ahead_ms)
    store = make_store(redis, clock)
    await store.heartbeat()
    assert woken == [clock.ahead_ms]
    assert abs(clock.ahead_ms - seconds * 1000) < TAKES_MS
    before = clock.ahead_ms
    inner.step(-seconds)  # somebody puts it right
    await store.heartbeat()
    assert abs(clock.ahead_ms) < TAKES_MS < abs(before)


async def test_a_clock_that_agrees_is_left_alone(redis: Redis) -> None:
    clock = SteeredClock(SystemClock())
    store = make_store(redis, clock)
    for _ in range(50):
        await store.heartbeat()
    assert clock.ahead_ms == 0


async def test_a_clock_that_nobody_steers_is_not_asked_to_agree(redis: Redis) -> None:
    clock = FakeClock()
    store = make_store(redis, clock)
    new = message("m", now=clock.now())
    await store.schedule(new, ConflictPolicy.REJECT, new.due_at)
    clock.move(-1)
    assert await store.claim([MessageId("m")], clock.now()) == []
    clock.move(1)
    assert len(await store.claim([MessageId("m")], clock.now())) == 1
