"""What is claimed before its instant: when it leaves, and until when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from math import inf
from typing import Any

import pytest

from aioscheduler.clock import SteeredClock, to_ms
from aioscheduler.domain.execution import OutcomeKind
from aioscheduler.domain.message import ConflictPolicy, MessageId
from aioscheduler.engine.circuit import Verdict
from aioscheduler.engine.delivery import Request
from aioscheduler.engine.dispatcher import GATHER_MS, LEAST_LEAD_MS, MOST_LEAD_MS, SLOW_CLAIM
from aioscheduler.engine.ready import MOST_HELD
from aioscheduler.store import keys
from aioscheduler.store.base import DECIDED_SECONDS, HOLD_SECONDS
from aioscheduler.store.redis import RedisStore
from tests.support.clock import START, FakeClock
from tests.support.engines import World
from tests.support.messages import message
from tests.support.stores import make_store

M = MessageId("m")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


async def held(world: World, *texts: str, due_in: float = 1.0) -> list[str]:
    """Schedule messages, let time pass until they are claimed, a little before they are due; return their leases."""
    for text in texts or ("m",):
        await world.schedule(text, due_in)
    await world.clock.advance(due_in - LEAST_LEAD_MS / 1000)
    await world.until(lambda: len(world.dispatcher._ready) == max(1, len(texts)))
    assert world.deliverer.requests == []
    return [lease.decode() for lease in await world.redis.hvals(keys.LEASED) if isinstance(lease, bytes)]


async def nothing_leaves(world: World) -> None:
    """See that what was held is given back, or gone, and no attempt of it was made."""
    before = len(world.deliverer.requests)
    await world.until(lambda: len(world.dispatcher._ready) == world.engine.in_flight == 0)
    assert len(world.deliverer.requests) == before


# -- when it leaves


async def test_a_message_is_claimed_a_little_before_and_leaves_at_its_instant(world: World) -> None:
    (lease,) = await held(world)
    assert lease.split(":")[2:4] == ["1", str(to_ms(START) + 1000)]
    await world.clock.advance(LEAST_LEAD_MS / 1000 - 0.0001)
    assert world.deliverer.requests == []
    await world.clock.advance(0.0001)
    await world.deliverer.wait_for(1)
    assert world.deliverer.times == [START + timedelta(seconds=1)]
    await world.idle()
    assert (await world.store.counters())["delivered"] == 1


async def test_it_is_not_claimed_earlier_than_that(world: World) -> None:
    await world.schedule("m", 1.0)
    await world.clock.advance(1.0 - (LEAST_LEAD_MS + 0.5) / 1000)
    await world.rest()
    assert world.flaky.calls["claim"] == 0


async def test_one_claim_takes_what_follows_soon_and_each_leaves_at_its_own(world: World) -> None:
    dues = [1.0, 1.0, 1.001, 1.0 + GATHER_MS / 1000, 1.001 + GATHER_MS / 1000]
    for i, due_in in enumerate(dues):
        await world.schedule(f"m{i}", due_in)
    await world.clock.advance(1.0 - LEAST_LEAD_MS / 1000)
    await world.until(lambda: len(world.dispatcher._ready) == 4)
    assert world.flaky.calls["claim"] == 1
    for _ in range(20):
        await world.clock.advance(0.0005)
        await world.rest()
    await world.deliverer.wait_for(5)
    assert world.deliverer.ids == [f"m{i}" for i in range(5)]
    assert world.deliverer.times == [START + timedelta(seconds=due_in) for due_in in dues]


async def test_the_slower_the_store_the_earlier_within_bounds(world: World) -> None:
    assert world.dispatcher.lead_ms == LEAST_LEAD_MS
    world.dispatcher._took = 0.002
    assert world.dispatcher.lead_ms == LEAST_LEAD_MS + 3
    world.dispatcher._took = 1.0
    assert world.dispatcher.lead_ms == MOST_LEAD_MS
    # All of it, and clocks that differ, fits into the time for which a right holds.
    assert (MOST_LEAD_MS + GATHER_MS + 5) / 1000 < HOLD_SECONDS < DECIDED_SECONDS


async def test_no_more_are_held_than_can_leave_in_time_and_the_others_follow() -> None:
    async with World(total=2000, per_destination=2000) as world:
        for i in range(MOST_HELD + 50):
            await world.schedule(f"m{i}", 1.0)
        await world.clock.advance(1.0 - LEAST_LEAD_MS / 1000)
        await world.until(lambda: len(world.dispatcher._ready) == MOST_HELD)
        await world.clock.advance(0.0015)
        assert len(world.dispatcher._ready) == MOST_HELD
        await world.clock.advance(0.0015)
        await world.deliverer.wait_for(MOST_HELD + 50)
        assert min(world.deliverer.times) >= START + timedelta(seconds=1)
        await world.idle()


async def test_by_the_clock_that_is_behind() -> None:
    """Its own shows the instant, the store's has not been heard to have reached it."""
    inner = FakeClock()
    clock = SteeredClock(inner)
    world = World(clock=clock)  # type: ignore[arg-type]
    # An imitation of the store tells this machine's time.
    world.store._steered, world.store._ask_time = None, "0"
    clock.compare((to_ms(START) - 2) * 1000, inner.monotonic(), inner.monotonic())
    async with world:
        await world.schedule("m", 0.5)
        await inner.advance(0.5)
        await world.until(lambda: len(world.dispatcher._ready) == 1)
        await inner.advance(0.0015)
        assert world.deliverer.requests == []
        await inner.advance(0.001)
        await world.deliverer.wait_for(1)
        assert inner.now() >= START + timedelta(seconds=0.502)
        await world.idle()


@pytest.mark.parametrize("late", [False, True])
async def test_the_right_to_send_ends_soon_after_the_claim_was_asked_for(world: World, late: bool) -> None:
    await world.schedule("m", -1 if late else 1)
    if not late:
        await world.clock.advance(1)
    await world.deliverer.wait_for(1)
    (request,) = world.deliverer.requests
    assert request.right is not None
    assert request.asked_at is not None
    assert request.right.until == request.asked_at + HOLD_SECONDS
    assert SLOW_CLAIM < HOLD_SECONDS


@pytest.mark.parametrize("what", ["held", "deleted", "away"])
async def test_a_right_that_ran_out_is_renewed_while_the_lease_holds(world: World, what: str) -> None:
    gates: list[asyncio.Future[OutcomeKind]] = []

    def connecting(_: Request) -> asyncio.Future[OutcomeKind]:
        gates.append(asyncio.get_running_loop().create_future())
        return gates[-1]

    world.deliverer.respond = connecting
    await world.schedule("m", -1)
    await world.deliverer.wait_for(1)
    (request,) = world.deliverer.requests
    assert request.right is not None
    assert request.right.renew is not None
    world.clock.move(1)
    if what == "deleted":
        await make_store(world.redis, world.clock, "two").cancel([M])
    if what == "away":
        world.flaky.sleep()
    until = await request.right.renew()
    assert until == (world.clock.monotonic() + HOLD_SECONDS if what == "held" else -inf)
    world.flaky.wakeup()
    gates[0].set_result(OutcomeKind.SUCCESS)
    await world.idle()


# -- until when it does not


@pytest.mark.parametrize("again", [None, 0.5])
async def test_p4_deleted_or_replaced_through_the_same_replica_it_does_not_leave(
    world: World, again: float | None
) -> None:
    await held(world)
    if again is None:
        assert await world.store.cancel([M]) == [True]
    else:
        new = message("m", due_in=again, now=world.clock.now(), payload=b'"new"')
        await world.store.schedule(new, ConflictPolicy.REPLACE, new.due_at)
    assert len(world.dispatcher._ready) == 0, "before whoever asked is answered"
    assert world.clock.pauses == []
    await nothing_leaves(world)
    await world.clock.advance(0.6)
    if again is not None:
        await world.deliverer.wait_for(1)
    await world.idle()
    assert [request.body for request in world.deliverer.requests] == ([] if again is None else [b'"new"'])


async def test_p4_deleted_while_the_answer_to_its_claim_is_on_its_way_it_does_not_leave(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, claimed, go_on = world.store._run, asyncio.Event(), asyncio.Event()

    async def slowly(name: str, key_names: list[bytes], args: list[Any]) -> Any:
        answer = await run(name, key_names, args)
        if name == "claim":
            claimed.set()
            await go_on.wait()
        return answer

    monkeypatch.setattr(world.store, "_run", slowly)
    await world.schedule("m", 1.0)
    await world.schedule("n", 1.0)
    await world.clock.advance(1.0 - LEAST_LEAD_MS / 1000)
    await claimed.wait()
    assert await world.store.cancel([M]) == [True]
    go_on.set()
    await world.clock.advance(0.1)
    await world.deliverer.wait_for(1)
    await world.idle()
    assert world.deliverer.ids == ["n"]


async def test_p4_deleted_through_another_replica_it_leaves_before_the_answer_or_not_at_all(world: World) -> None:
    await held(world)
    other = make_store(world.redis, world.clock, "two")
    assert await other.cancel([M]) == [True]
    assert world.clock.pauses == [DECIDED_SECONDS]
    # Somebody held everything up for as long as a right to send lasts.
    world.clock.move(HOLD_SECONDS + 0.001)
    world.dispatcher._ready._wake.set()
    await nothing_leaves(world)
    await world.idle()
    assert world.deliverer.requests == []


async def test_p4_a_hint_that_somebody_wrote_or_deleted_it_is_enough(world: World) -> None:
    await held(world, "m", "n")
    assert world.hints.on_touched is not None
    await world.redis.delete(keys.record("m"))
    world.hints.on_touched(M)
    await world.clock.advance(0.1)
    await world.deliverer.wait_for(1)
    await world.idle()
    assert world.deliverer.ids == ["n"]
    assert (await world.store.counters())["deleted"] == 1


async def test_what_an_outsider_wrote_instead_is_sent_at_its_own_time(world: World) -> None:
    await held(world)
    await world.redis.set(
        keys.record("m"),
        b'{"webhookUrl":"http://hook.invalid/","payload":"theirs","scheduleTo":"2026-04-15T02:41:46.500Z"}',
    )
    assert world.hints.on_touched is not None
    world.hints.on_touched(M)
    await world.until(lambda: world.engine.in_flight == 0)
    await world.clock.advance(0.6)
    await world.deliverer.wait_for(1)
    await world.idle()
    assert [request.body for request in world.deliverer.requests] == [b'"theirs"']
    assert world.deliverer.times == [START + timedelta(seconds=1.5)]


async def test_an_attempt_that_has_not_written_yet_loses_its_right_as_well(world: World) -> None:
    gates: list[asyncio.Future[OutcomeKind]] = []

    def connecting(_: Request) -> asyncio.Future[OutcomeKind]:
        gates.append(asyncio.get_running_loop().create_future())
        return gates[-1]

    world.deliverer.respond = connecting
    await world.schedule("m", -1)
    await world.deliverer.wait_for(1)
    (request,) = world.deliverer.requests
    assert request.right is not None
    assert not request.right.withdrawn
    await world.store.cancel([M])
    assert request.right.withdrawn
    gates[0].set_result(OutcomeKind.SUCCESS)
    await world.idle()
    assert world.dispatcher._rights == {}


@pytest.mark.parametrize("early", [True, False])
async def test_one_whose_attempt_has_not_had_its_first_turn_loses_its_right(
    world: World, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    begin, begun = type(world.dispatcher)._attempt, list[MessageId]()

    def deleted_right_after(*args: Any) -> Any:
        # In the turn in which the attempt's task is made.
        begun.append(M)
        asyncio.get_running_loop().call_soon(world.dispatcher.withdraw, M)
        return begin(*args)

    if early:
        await held(world)
    monkeypatch.setattr(type(world.dispatcher), "_attempt", deleted_right_after)
    if early:
        await world.clock.advance(LEAST_LEAD_MS / 1000)
    else:
        await world.schedule("m", -1)
    await world.deliverer.wait_for(1)
    (request,) = world.deliverer.requests
    assert begun == [M]
    assert request.right is not None
    assert request.right.withdrawn


async def test_one_whose_right_ran_out_unused_is_claimed_again_under_the_same_number(world: World) -> None:
    await held(world)
    world.clock.step(-0.5)  # so that its instant does not come
    world.clock._monotonic += HOLD_SECONDS + 0.001
    world.dispatcher._ready._wake.set()
    await nothing_leaves(world)
    await world.clock.advance(0.6)
    await world.deliverer.wait_for(1)
    await world.idle()
    (request,) = world.deliverer.requests
    assert request.attempt == 1
    assert world.deliverer.times == [START + timedelta(seconds=1)]


async def test_one_whose_instant_is_put_off_by_its_clock_is_given_back_without_anybody_asking(world: World) -> None:
    await held(world)
    world.clock.step(-10)
    world.dispatcher._ready._wake.set()
    await world.clock.advance(HOLD_SECONDS + 0.002)
    await nothing_leaves(world)
    assert await world.redis.hgetall(keys.LEASED) == {}


async def test_the_circuit_of_one_that_is_given_back_is_told_that_nothing_came_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Verdict] = []
    circuits = world.dispatcher.slots.circuits
    monkeypatch.setattr(circuits, "ended", lambda _, __, verdict, ___: told.append(verdict))
    await held(world)
    await world.store.cancel([M])
    await nothing_leaves(world)
    assert told == [Verdict.NOTHING]


async def test_run_now_on_one_that_is_held_changes_nothing(world: World) -> None:
    await held(world)
    assert await world.store.run_now(M, world.clock.now())
    await world.clock.advance(0.1)
    await world.deliverer.wait_for(1)
    await world.idle()
    assert world.deliverer.times == [START + timedelta(seconds=1)]


# -- P8


async def test_p8_a_stop_gives_back_what_has_not_begun(world: World) -> None:
    await held(world)
    await world.engine.stop()
    assert world.deliverer.requests == []
    assert await world.redis.hgetall(keys.LEASED) == {}
    assert await world.redis.hgetall(keys.STATE) == {}, "its number is free again"
    assert await world.redis.zrange(keys.DUE, 0, -1, withscores=True) == [(b"m", to_ms(START) + 1000)]


async def test_a_claim_that_is_answered_during_the_stop_is_given_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, claimed, go_on = RedisStore._run, asyncio.Event(), asyncio.Event()

    async def slowly(store: RedisStore, name: str, key_names: list[bytes], args: list[Any]) -> Any:
        answer = await run(store, name, key_names, args)
        if name == "claim":
            claimed.set()
            await go_on.wait()
        return answer

    monkeypatch.setattr(RedisStore, "_run", slowly)
    await world.schedule("m", 1.0)
    await world.clock.advance(1.0 - LEAST_LEAD_MS / 1000)
    await claimed.wait()
    stopping = asyncio.create_task(world.engine.stop())
    await asyncio.sleep(0)
    go_on.set()
    await stopping
    assert world.deliverer.requests == []
    assert await world.redis.hgetall(keys.LEASED) == {}
