from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import structlog

from aioscheduler.clock import to_ms
from aioscheduler.domain.execution import DeadReason, OutcomeKind
from aioscheduler.domain.message import ConflictPolicy, MessageId, webhook_id
from aioscheduler.domain.target import Destination
from aioscheduler.engine.dispatcher import SLOW_CLAIM, STALE_CLAIM
from aioscheduler.errors import Sentence, StoreUnavailable
from aioscheduler.store import keys
from aioscheduler.store.base import UNKNOWN
from tests.support.clock import START
from tests.support.engines import World
from tests.support.messages import message

HERE = Destination("http://127.0.0.1:9")


class Bench(World):
    """A dispatcher without an engine: the test says what is due, and when to dispatch."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.pushed: list[tuple[str, int, str]] = []
        self.freed = 0
        self.store.on_scheduled = None
        self.dispatcher.attach(lambda *entry: self.pushed.append(entry), self._count)

    def _count(self) -> None:
        self.freed += 1

    async def due(self, *names: str, destination: Destination = HERE) -> None:
        for name in names:
            await self.schedule(name)
            self.dispatcher.due(MessageId(name), destination)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.dispatcher.stop(1)
    await bench.redis.aclose()


async def test_a_due_message_is_claimed_delivered_and_settled(bench: Bench) -> None:
    sent = message("m", payload=b"[1]", headers={"X-A": "b"}, timeoutSeconds=7)
    await bench.store.schedule(sent, ConflictPolicy.REJECT, sent.due_at)
    bench.dispatcher.due(sent.id, HERE)
    assert await bench.dispatcher.dispatch()
    await bench.idle()
    (request,) = bench.deliverer.requests
    assert (request.target, request.body, request.timeout_seconds) == (sent.target, b"[1]", 7)
    assert (request.attempt, request.scheduled_for) == (1, START)
    assert request.webhook_id == webhook_id(sent.id, sent.version)
    assert request.identity == (("X-Scheduler-Message-Id", "m"),)
    assert not await bench.dispatcher.dispatch(), "nothing is left"
    assert (bench.dispatcher.slots.in_use, bench.freed) == (0, 1)


async def test_a_failure_is_due_again_at_its_back_off_and_told(bench: Bench) -> None:
    bench.deliverer.respond = lambda _: OutcomeKind.FAILURE
    await bench.due("m")
    await bench.dispatcher.dispatch()
    await bench.until(lambda: bool(bench.pushed))
    assert bench.pushed == [("m", to_ms(START) + 1000, HERE)]


async def test_messages_of_unknown_destination_are_looked_up_and_unreadable_ones_left_to_the_claim(
    bench: Bench,
) -> None:
    await bench.due("m", destination=UNKNOWN)
    await bench.redis.set("message:broken", b"[]")
    await bench.redis.zadd(keys.DUE, {"broken": 1})
    bench.dispatcher.due(MessageId("broken"), UNKNOWN)
    bench.dispatcher.due(MessageId("vanished"), UNKNOWN)
    assert bench.dispatcher.waiting == 3
    await bench.dispatcher.dispatch()
    await bench.idle()
    assert bench.deliverer.ids == ["m"]
    assert (await bench.dead("broken")).reason is DeadReason.INVALID_RECORD
    assert bench.dispatcher.waiting == 0


async def test_no_more_is_claimed_than_there_are_slots() -> None:
    bench = Bench(total=10, per_destination=4)
    gate: asyncio.Future[OutcomeKind] = asyncio.get_running_loop().create_future()
    bench.deliverer.respond = lambda _: asyncio.shield(gate)
    await bench.due(*(f"m{i}" for i in range(30)))
    while await bench.dispatcher.dispatch():
        await asyncio.sleep(0)
    assert len(bench.deliverer.requests) == 4
    assert (await bench.store.counts()).leased == 4, "the rest is free for any replica"
    gate.set_result(OutcomeKind.SUCCESS)
    while (await bench.store.counts()).messages:
        await bench.dispatcher.dispatch()
    assert sorted(bench.deliverer.ids) == sorted(f"m{i}" for i in range(30))


async def test_what_could_not_be_claimed_is_still_known_when_the_store_is_back(bench: Bench) -> None:
    await bench.due("m")
    await bench.due("n", destination=UNKNOWN)
    bench.flaky.sleep()
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await bench.dispatcher.dispatch()
    assert bench.dispatcher.slots.in_use == 0
    assert bench.dispatcher.waiting == 2
    bench.flaky.wakeup()
    await bench.dispatcher.dispatch()
    await bench.idle()
    assert sorted(bench.deliverer.ids) == ["m", "n"]


async def test_a_claim_that_took_too_long_is_given_back_unused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = bench.store.claim

    async def slow(*args: Any) -> Any:
        bench.clock.move(STALE_CLAIM + 0.1)
        return await claim(*args)

    monkeypatch.setattr(bench.store, "claim", slow)
    await bench.due("m")
    await bench.dispatcher.dispatch()
    await bench.until(lambda: bool(bench.pushed))
    assert bench.deliverer.requests == []
    assert bench.pushed == [("m", to_ms(START), HERE)]
    monkeypatch.undo()
    (claimed,) = await bench.store.claim([MessageId("m")], bench.clock.now())
    assert claimed.attempt == 1


async def test_after_a_slow_claim_only_what_is_still_leased_is_sent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = bench.store.claim

    async def slow(*args: Any) -> Any:
        claimed = await claim(*args)
        bench.clock.move(SLOW_CLAIM + 0.1)
        await bench.store.cancel([MessageId("deleted")])
        return claimed

    monkeypatch.setattr(bench.store, "claim", slow)
    await bench.due("kept", "deleted")
    await bench.dispatcher.dispatch()
    await bench.idle()
    assert bench.deliverer.ids == ["kept"]
    assert (await bench.store.counters())["delivered"] == 1


@pytest.mark.parametrize("trouble", ["slow again", "away"])
async def test_where_that_cannot_be_learnt_quickly_nothing_is_sent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    claim, ask = bench.store.claim, bench.store.still_leased

    async def slow(*args: Any) -> Any:
        bench.clock.move(SLOW_CLAIM + 0.1)
        return await claim(*args)

    async def asked(claimed: Any) -> Any:
        if trouble == "away":
            raise StoreUnavailable(Sentence("away"))
        bench.clock.move(SLOW_CLAIM + 0.1)
        return await ask(claimed)

    monkeypatch.setattr(bench.store, "claim", slow)
    monkeypatch.setattr(bench.store, "still_leased", asked)
    await bench.due("m")
    await bench.dispatcher.dispatch()
    await bench.until(lambda: bool(bench.pushed))
    assert bench.deliverer.requests == []
    monkeypatch.undo()
    (claimed,) = await bench.store.claim([MessageId("m")], bench.clock.now())
    assert claimed.attempt == 1


async def test_one_that_turns_out_to_go_to_a_full_destination_is_put_off_without_an_attempt() -> None:
    bench = Bench(total=10, per_destination=1)
    gate: asyncio.Future[OutcomeKind] = asyncio.get_running_loop().create_future()
    bench.deliverer.respond = lambda _: gate
    await bench.due("first")
    await bench.dispatcher.dispatch()
    await bench.due("replaced", destination=Destination("http://elsewhere:80"))
    await bench.dispatcher.dispatch()
    await bench.until(lambda: bool(bench.pushed))
    assert bench.pushed == [("replaced", to_ms(START) + 250, HERE)]
    assert bench.deliverer.ids == ["first"]
    gate.set_result(OutcomeKind.SUCCESS)
    await bench.dispatcher.stop(1)


async def test_one_that_comes_too_late_is_buried_without_an_attempt(bench: Bench) -> None:
    await bench.schedule("m", misfireGraceSeconds=5)
    bench.clock.move(5.001)
    bench.dispatcher.due(MessageId("m"), HERE)
    await bench.dispatcher.dispatch()
    letter = await bench.dead("m")
    assert (letter.reason, letter.attempts) == (DeadReason.MISSED_WINDOW, 0)
    assert bench.deliverer.requests == []


async def test_an_outcome_is_recorded_once_however_long_the_store_is_away(bench: Bench) -> None:
    gate: asyncio.Future[OutcomeKind] = asyncio.get_running_loop().create_future()
    bench.deliverer.respond = lambda _: gate
    await bench.due("m")
    await bench.dispatcher.dispatch()
    await bench.deliverer.wait_for(1)
    bench.flaky.sleep()
    gate.set_result(OutcomeKind.SUCCESS)
    await bench.until(lambda: bench.flaky.calls["settle"] >= 2)
    assert bench.dispatcher.slots.in_use == 1, "memory stays bounded"
    bench.flaky.wakeup()
    await bench.idle()
    assert len((await bench.store.deliveries(9, None)).items) == 1
    assert len(bench.deliverer.requests) == 1


async def test_a_settle_whose_answer_was_lost_is_not_counted_twice(bench: Bench) -> None:
    bench.flaky.lose_answer("settle")
    await bench.due("m")
    await bench.dispatcher.dispatch()
    await bench.until(lambda: bench.freed == 1)
    assert bench.flaky.calls["settle"] == 2
    assert len((await bench.store.deliveries(9, None)).items) == 1
    assert (await bench.store.counters())["delivered"] == 1


async def test_an_attempt_that_fails_unexpectedly_counts_as_a_failure(bench: Bench) -> None:
    answers: list[OutcomeKind | Exception] = [ZeroDivisionError("a defect"), OutcomeKind.SUCCESS]
    bench.deliverer.respond = lambda _: answers.pop(0)
    with structlog.testing.capture_logs() as logs:
        await bench.due("m")
        await bench.dispatcher.dispatch()
        await bench.until(lambda: bool(bench.pushed))
    assert bench.pushed == [("m", to_ms(START) + 1000, HERE)]
    assert [entry["action"] for entry in logs] == ["attempt_broken", "attempt_failed"]
    assert bench.dispatcher.slots.in_use == 0


async def test_a_message_is_enqueued_once_however_often_it_is_told(bench: Bench) -> None:
    await bench.due("m")
    for _ in range(5):
        bench.dispatcher.due(MessageId("m"), HERE)
    assert bench.dispatcher.waiting == 1


async def test_stop_lets_attempts_end_within_the_grace(bench: Bench) -> None:
    gate: asyncio.Future[OutcomeKind] = asyncio.get_running_loop().create_future()
    bench.deliverer.respond = lambda _: gate
    await bench.due("m", "n")
    await bench.dispatcher.dispatch()
    await bench.deliverer.wait_for(2)
    stop = asyncio.create_task(bench.dispatcher.stop(8))
    await asyncio.sleep(0)
    gate.set_result(OutcomeKind.SUCCESS)
    await stop
    assert (await bench.store.counts()).messages == 0
    assert bench.deliverer.cut_short == 0


async def test_stop_cuts_the_others_short_and_gives_their_leases_back(bench: Bench) -> None:
    bench.deliverer.respond = lambda _: asyncio.get_running_loop().create_future()
    await bench.due("m")
    await bench.dispatcher.dispatch()
    await bench.deliverer.wait_for(1)
    with structlog.testing.capture_logs() as logs:
        await bench.dispatcher.stop(0)
    assert bench.deliverer.cut_short == 1
    assert [entry["action"] for entry in logs] == ["attempts_cut_short"]
    (claimed,) = await bench.store.claim([MessageId("m")], bench.clock.now())
    assert (claimed.attempt, claimed.failures) == (2, 0), "the number on the wire rises, the failures do not"


async def test_stop_does_not_wait_for_ever_for_a_store_that_is_away(bench: Bench) -> None:
    gate: asyncio.Future[OutcomeKind] = asyncio.get_running_loop().create_future()
    bench.deliverer.respond = lambda _: gate
    await bench.due("m")
    await bench.dispatcher.dispatch()
    await bench.deliverer.wait_for(1)
    bench.flaky.sleep()
    gate.set_result(OutcomeKind.SUCCESS)
    await bench.flaky.refused.wait()
    async with asyncio.timeout(30):
        await bench.dispatcher.stop(0.05)
    assert (await bench.store.counts()).leased == 1, "it runs out by itself"


async def test_a_claim_that_ends_after_the_stop_is_given_back(bench: Bench) -> None:
    await bench.due("m")
    dispatching = asyncio.create_task(bench.dispatcher.dispatch())
    await asyncio.sleep(0)
    await bench.dispatcher.stop(0)
    await dispatching
    await bench.dispatcher.stop(1)
    assert bench.deliverer.requests == []
    (claimed,) = await bench.store.claim([MessageId("m")], bench.clock.now() + timedelta(seconds=1))
    assert claimed.attempt == 1
