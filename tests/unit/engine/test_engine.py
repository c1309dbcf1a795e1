"""The engine as a whole, its promises among them, on a clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import structlog

from aioscheduler.clock import to_ms
from aioscheduler.domain.execution import DeadReason, OutcomeKind
from aioscheduler.domain.message import ConflictPolicy, MessageId
from aioscheduler.domain.target import check_url
from aioscheduler.engine.delivery import Request
from aioscheduler.errors import Sentence
from aioscheduler.store import keys
from aioscheduler.store.base import UNKNOWN, StoreReport
from aioscheduler.store.notify import Subscribed
from tests.support.clock import START
from tests.support.engines import World
from tests.support.messages import message, outside_record

SLOW, FAST = "http://slow.invalid/", "http://fast.invalid/"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


def hang(_: Request) -> asyncio.Future[OutcomeKind]:
    return asyncio.get_running_loop().create_future()


async def soon(world: World, count: int = 1) -> None:
    """Return once so many entries are at the timer."""
    await world.until(lambda: len(world.engine._soon) >= count)


# -- P2, P7: time


async def test_p2_nothing_leaves_before_its_instant(world: World) -> None:
    dues = [0.001, 0.2, 0.2, 0.75, 1.2]
    for i, due_in in enumerate(dues):
        await world.schedule(f"m{i}", due_in)
    await world.clock.advance(0)
    assert world.deliverer.requests == []
    for step in [0.0005, *[0.05] * 26]:
        await world.clock.advance(step)
        passed = world.clock.now() - START
        await world.deliverer.wait_for(sum(timedelta(seconds=due_in) <= passed for due_in in dues))
        assert all(
            at >= START + timedelta(seconds=dues[int(name[1:])])
            for name, at in zip(world.deliverer.ids, world.deliverer.times, strict=True)
        )
    assert len(world.deliverer.requests) == len(dues)
    assert "fired_early" not in await world.store.counters()


async def test_p2_a_due_time_between_two_milliseconds_counts_as_the_later_one(world: World) -> None:
    new = message("m", now=START)
    await world.store.schedule(new, ConflictPolicy.REJECT, START + timedelta(microseconds=500_100))
    await world.clock.advance(0.5005)
    assert world.deliverer.requests == []
    await world.clock.advance(0.0005)
    await world.deliverer.wait_for(1)


async def test_what_is_overdue_at_the_start_is_sent_at_once() -> None:
    world = World()
    await world.schedule("m", 1)
    world.clock.move(3600)
    async with world:
        await world.deliverer.wait_for(1)


async def test_entries_far_in_the_window_come_to_the_timer_in_time(world: World) -> None:
    await world.schedule("m", 30)
    assert len(world.engine._heap) == 1
    await world.clock.advance(29)
    await soon(world)
    assert world.deliverer.requests == []
    await world.clock.advance(1)
    await world.deliverer.wait_for(1)
    assert world.deliverer.times == [START + timedelta(seconds=30)]


@pytest.mark.parametrize("when", [1.0, 1.45, 1.6, 2.2])
async def test_one_that_is_replaced_by_an_earlier_one_is_sent_at_the_earlier_time(world: World, when: float) -> None:
    await world.schedule("m", 3)
    await world.clock.advance(when)
    new = message("m", due_in=2.4 - when, now=world.clock.now())
    await world.store.schedule(new, ConflictPolicy.REPLACE, new.due_at)
    async with asyncio.timeout(30):
        while not world.deliverer.requests:
            await world.clock.advance(0.05)
            await world.rest()
    assert world.deliverer.times[0] < START + timedelta(seconds=2.5)


@pytest.mark.parametrize("when", [0.4, 0.8, 1.2])
async def test_one_that_is_replaced_by_a_later_one_is_sent_at_the_later_time(world: World, when: float) -> None:
    await world.schedule("m", 1.3)
    await world.clock.advance(when)
    new = message("m", due_in=3 - when, now=world.clock.now())
    await world.store.schedule(new, ConflictPolicy.REPLACE, new.due_at)
    async with asyncio.timeout(30):
        while not world.deliverer.requests:
            await world.clock.advance(0.05)
            await world.rest()
    assert START + timedelta(seconds=3) <= world.deliverer.times[0] < START + timedelta(seconds=3.1)


async def test_what_is_due_after_the_window_is_loaded_in_its_time(world: World) -> None:
    await world.schedule("m", 90)
    assert world.engine.window_size == 0
    async with asyncio.timeout(30):
        while not world.engine.window_size:
            await world.clock.advance(0.5)
    await world.clock.advance((START + timedelta(seconds=89.5) - world.clock.now()).total_seconds())
    await soon(world)
    await world.clock.advance(0.5)
    await world.deliverer.wait_for(1)
    assert world.deliverer.times[0] >= START + timedelta(seconds=90)


async def test_p7_a_step_forward_makes_due_what_is_due_by_the_new_time_within_a_second(world: World) -> None:
    await world.schedule("near", 30)
    await world.schedule("far", 3600)
    world.clock.step(3600)
    await world.clock.advance(0.5)
    await world.deliverer.wait_for(2)
    assert world.clock.now() <= START + timedelta(seconds=3601)


async def test_p7_a_step_back_makes_nothing_early_and_nothing_new_late(world: World) -> None:
    await world.schedule("old", 1)
    await world.clock.advance(0)
    world.clock.step(-30)
    await world.clock.advance(0.5)
    await world.schedule("new", 1)
    await world.clock.advance(1)
    await world.deliverer.wait_for(1)
    assert world.deliverer.ids == ["new"]
    await world.clock.advance(29)
    assert world.deliverer.ids == ["new"]
    await world.clock.advance(0.5)
    await world.deliverer.wait_for(2)
    assert world.deliverer.times[1] >= START + timedelta(seconds=1)


async def test_p7_a_step_is_logged(world: World) -> None:
    with structlog.testing.capture_logs() as logs:
        world.clock.step(5)
        await world.clock.advance(0.5)
    assert "clock_stepped" in [entry["action"] for entry in logs]


# -- what becomes of a message


async def test_a_failing_message_is_tried_at_its_back_off_and_buried_at_last(world: World) -> None:
    world.deliverer.respond = lambda _: OutcomeKind.FAILURE
    await world.schedule("m")
    await world.deliverer.wait_for(1)
    for attempt in (2, 3):
        await soon(world)
        await world.clock.advance(0.999)
        assert len(world.deliverer.requests) == attempt - 1
        await world.clock.advance(0.001)
        await world.deliverer.wait_for(attempt)
    letter = await world.dead("m")
    assert (letter.reason, letter.attempts) == (DeadReason.RETRIES_EXHAUSTED, 3)
    assert [request.attempt for request in world.deliverer.requests] == [1, 2, 3]
    assert len({request.webhook_id for request in world.deliverer.requests}) == 1


async def test_what_comes_too_late_is_buried_as_missed() -> None:
    world = World()
    await world.schedule("strict", 1, misfireGraceSeconds=10)
    await world.schedule("patient", 1)
    world.clock.move(12)
    async with world:
        await world.deliverer.wait_for(1)
        assert (await world.dead("strict")).reason is DeadReason.MISSED_WINDOW
        assert world.deliverer.ids == ["patient"]


async def test_p4_cancelled_while_it_is_delivered_no_further_attempt_follows(world: World) -> None:
    gate: asyncio.Future[OutcomeKind] = asyncio.get_running_loop().create_future()
    world.deliverer.respond = lambda _: gate
    await world.schedule("m")
    await world.deliverer.wait_for(1)
    assert await world.store.cancel([MessageId("m")]) == [True]
    gate.set_result(OutcomeKind.FAILURE)
    await world.idle()
    await world.clock.advance(60)
    assert len(world.deliverer.requests) == 1


async def test_p4_replaced_while_it_is_delivered_only_the_new_version_is_sent(world: World) -> None:
    gate: asyncio.Future[OutcomeKind] = asyncio.get_running_loop().create_future()
    world.deliverer.respond = lambda request: gate if request.body == b'"old"' else OutcomeKind.SUCCESS
    await world.schedule("m", payload=b'"old"')
    await world.deliverer.wait_for(1)
    new = message("m", due_in=1, payload=b'"new"')
    await world.store.schedule(new, ConflictPolicy.REPLACE, new.due_at)
    gate.set_result(OutcomeKind.FAILURE)
    await world.clock.advance(1)
    await world.deliverer.wait_for(2)
    await world.idle()
    await world.clock.advance(10)
    assert [request.body for request in world.deliverer.requests] == [b'"old"', b'"new"']


async def test_a_message_moved_to_a_later_time_is_not_sent_at_the_earlier_one(world: World) -> None:
    await world.schedule("m", 0.5)
    later = message("m", due_in=1.25)
    await world.store.schedule(later, ConflictPolicy.REPLACE, later.due_at)
    await world.clock.advance(1.2)
    assert world.deliverer.requests == []
    await world.clock.advance(0.05)
    await world.deliverer.wait_for(1)


async def test_a_message_run_now_is_sent_at_once(world: World) -> None:
    await world.schedule("m", 10**6)
    await world.store.run_now(MessageId("m"), world.clock.now())
    await world.deliverer.wait_for(1)


# -- P3, P1: several replicas


async def test_p3_two_replicas_share_the_work_and_nothing_is_sent_twice(world: World) -> None:
    async with World(redis=world.redis, clock=world.clock, replica="two") as other:
        names = [f"m{i}" for i in range(60)]
        for name in names:
            await world.schedule(name, 1)
            other.engine.push(MessageId(name), to_ms(START) + 1000, UNKNOWN)
        await world.clock.advance(1)
        await world.idle()
        await other.idle()
        assert sorted(world.deliverer.ids + other.deliverer.ids) == sorted(names)


async def test_p1_the_work_of_a_replica_that_vanished_is_done_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioscheduler.engine.service.HEARTBEAT_SECONDS", 0.002)
    lost = World(replica="lost")
    await lost.schedule("m")
    await lost.store.heartbeat()
    (claimed,) = await lost.store.claim([MessageId("m")], START)
    await lost.redis.delete(keys.heartbeat("lost"))  # it was killed, and this ran out
    async with World(redis=lost.redis, clock=lost.clock) as world:
        died = world.clock.now()
        async with asyncio.timeout(30):
            while not world.deliverer.requests:
                looked = world.flaky.calls["recover"]
                await world.until(lambda looked=looked: world.flaky.calls["recover"] > looked + 1)  # type: ignore[misc]
                await world.clock.advance(0.25)
        assert world.clock.now() - died < timedelta(seconds=3), "and two until its heartbeat ran out"
        assert [request.attempt for request in world.deliverer.requests] == [claimed.attempt + 1]
        await world.idle()


# -- P5: nobody holds up the others


async def test_p5_a_destination_that_hangs_holds_up_only_itself() -> None:
    async with World(total=10, per_destination=4) as world:
        world.deliverer.respond = lambda request: hang(request) if request.target.url == SLOW else OutcomeKind.SUCCESS
        for i in range(50):
            await world.schedule(f"slow{i}", url=SLOW)
        for i in range(20):
            await world.schedule(f"fast{i}", url=FAST)
        await world.until(lambda: sum(name.startswith("fast") for name in world.deliverer.ids) == 20)
        assert sum(name.startswith("slow") for name in world.deliverer.ids) == 4
        await world.dispatcher.stop(0)


async def test_p5_a_record_nobody_can_parse_is_set_aside_and_the_rest_goes_on(world: World) -> None:
    await world.redis.set("message:bad", b"{broken")
    await world.redis.set("message:good", outside_record())
    with structlog.testing.capture_logs() as logs:
        await world.hints.queue.put([MessageId("bad"), MessageId("good")])
        await world.deliverer.wait_for(1)
    assert world.deliverer.ids == ["good"]
    assert (await world.dead("bad")).record == b"{broken"
    (entry,) = [entry for entry in logs if entry["action"] == "record_invalid"]
    assert entry["message_id"] == "bad"
    assert "{broken" not in repr(logs)


async def test_p5_an_unexpected_error_in_one_task_is_reported_and_the_engine_goes_on(world: World) -> None:
    with structlog.testing.capture_logs() as logs:
        for verb in ("claim", "heartbeat", "window", "examine"):
            world.flaky.break_once(verb, ZeroDivisionError(verb))
        await world.schedule("m")
        await world.hints.queue.put([MessageId("m")])
        await world.deliverer.wait_for(1)
    assert "task_failed" in [entry["action"] for entry in logs]
    assert world.engine.running


# -- P6: the store goes away


async def test_p6_the_engine_goes_on_by_itself_when_the_store_is_back(world: World) -> None:
    await world.schedule("m", 1)
    with structlog.testing.capture_logs() as logs:
        world.flaky.sleep()
        await world.clock.advance(5)
        await world.flaky.refused.wait()
        assert world.deliverer.requests == []
        world.flaky.wakeup()
        await world.deliverer.wait_for(1)
    actions = [entry["action"] for entry in logs if entry.get("task") == "timer" or entry["action"] == "store_back"]
    assert actions == ["store_unavailable", "store_back"], "one line, however long it takes"


async def test_p6_the_engine_starts_without_a_store() -> None:
    world = World()
    await world.schedule("m")
    world.flaky.sleep()
    await world.engine.start()
    await world.flaky.refused.wait()
    world.flaky.wakeup()
    await world.deliverer.wait_for(1)
    await world.engine.stop()


async def test_p6_a_claim_whose_answer_was_lost_is_attempted_all_the_same(world: World) -> None:
    world.flaky.lose_answer("claim")
    await world.schedule("m")
    world.store._held.clear()
    async with asyncio.timeout(30):
        while not world.deliverer.requests:
            world.store._held.clear()  # the wrapper lost the answer after the store itself had seen it
            await world.clock.advance(1)
            await asyncio.sleep(0.01)
    assert [request.attempt for request in world.deliverer.requests] == [2]


async def test_p6_a_hint_that_could_not_be_looked_at_is_made_good_by_a_search(world: World) -> None:
    await world.until(lambda: world.flaky.calls["outside_ids"] == 1)
    await world.redis.set("message:m", outside_record())
    world.flaky.sleep()
    await world.hints.queue.put([MessageId("m")])
    await world.flaky.refused.wait()
    await world.until(lambda: world.hints.queue.empty() and world.flaky.calls["examine"] >= 1)
    world.flaky.wakeup()
    await world.deliverer.wait_for(1)


# -- P8: stop


async def test_p8_stop_lets_requests_on_the_wire_end_and_claims_nothing_new(world: World) -> None:
    gate: asyncio.Future[OutcomeKind] = asyncio.get_running_loop().create_future()
    world.deliverer.respond = lambda _: gate
    await world.schedule("m")
    await world.schedule("later", 0.5)
    await world.deliverer.wait_for(1)
    stop = asyncio.create_task(world.engine.stop())
    await world.until(lambda: world.dispatcher._stopping)
    await world.clock.advance(1)
    gate.set_result(OutcomeKind.SUCCESS)
    await stop
    assert world.deliverer.ids == ["m"]
    assert await world.store.search_ids("", "") == ["later"]
    assert not world.engine.running
    assert not await world.redis.exists(keys.LEASED, keys.REPLICAS, keys.heartbeat("one"))


async def test_p8_what_does_not_end_within_the_grace_goes_back() -> None:
    world = World(grace_seconds=0.01)
    world.deliverer.respond = hang
    await world.schedule("m")
    await world.engine.start()
    await world.deliverer.wait_for(1)
    await world.engine.stop()
    assert world.deliverer.cut_short == 1
    (claimed,) = await world.store.claim([MessageId("m")], world.clock.now())
    assert (claimed.attempt, claimed.failures) == (2, 0)


async def test_p8_stop_may_come_twice_and_before_the_start_and_without_a_store() -> None:
    world = World()
    await world.engine.stop()
    await world.engine.stop()
    world = World()
    await world.engine.start()
    world.flaky.sleep()
    await world.engine.stop()
    await world.engine.stop()
    assert not world.engine.running
    assert not [task for task in asyncio.all_tasks() if task.get_name() in ("timer", "window", "heartbeat")]


# -- P9: memory


async def test_p9_memory_is_bounded_by_the_window_and_everything_is_sent_all_the_same() -> None:
    async with World(window_entries=50) as world:
        for i in range(400):
            await world.schedule(f"m{i:03}", 20 + i / 100)
        assert world.engine.window_size <= 50
        most = 0
        for _ in range(60):
            await world.clock.advance(0.5)
            await asyncio.sleep(0.005)
            most = max(most, world.engine.window_size)
        async with asyncio.timeout(30):
            while len(world.deliverer.requests) < 400:
                await world.clock.advance(0.5)
                await asyncio.sleep(0.005)
        assert most <= 100
        assert len(set(world.deliverer.ids)) == 400


async def test_p9_more_overdue_than_the_window_holds_is_worked_off() -> None:
    world = World(window_entries=50)
    for i in range(300):
        await world.schedule(f"m{i}")
    world.clock.move(10)
    async with world:
        async with asyncio.timeout(30):
            while len(world.deliverer.requests) < 300:
                await world.clock.advance(0.5)
                await asyncio.sleep(0.005)
        assert len(set(world.deliverer.ids)) == len(world.deliverer.ids) == 300


async def test_p9_what_a_hanging_destination_cannot_take_makes_room_for_the_others() -> None:
    world = World(total=10, per_destination=2, window_entries=1200)
    world.deliverer.respond = lambda request: hang(request) if request.target.url == SLOW else OutcomeKind.SUCCESS
    new = [message(f"slow{i}", url=SLOW) for i in range(2500)]
    await asyncio.gather(*(world.store.schedule(each, ConflictPolicy.REJECT, each.due_at) for each in new))
    world.clock.move(1)
    await world.schedule("fast", url=FAST)
    async with world:
        async with asyncio.timeout(30):
            while "fast" not in world.deliverer.ids:
                await world.clock.advance(0.5)
                await asyncio.sleep(0.005)
        assert world.engine.window_size <= 2 * 1200
        await world.dispatcher.stop(0)


# -- beside it


async def test_what_outsiders_wrote_before_the_start_is_adopted() -> None:
    world = World()
    for i in range(600):
        await world.redis.set(f"message:{i}", outside_record(0.5))
    await world.redis.lpush("message:list", "x")
    with structlog.testing.capture_logs() as logs:
        async with world:
            await world.until(lambda: "records_adopted" in [entry["action"] for entry in logs])
            await world.clock.advance(1)
            await world.deliverer.wait_for(600)
            await world.hints.queue.put([MessageId("list")])
            await world.hints.queue.put(Subscribed(has_events=True))
            await world.until(lambda: world.flaky.calls["outside_ids"] >= 2)
    counts = {entry["action"]: entry.get("count") for entry in logs}
    assert counts["records_adopted"] == 600
    assert [entry["action"] for entry in logs].count("key_foreign") == 1, "told once"


async def test_a_new_subscription_looks_through_everything_again(world: World) -> None:
    await world.until(lambda: world.flaky.calls["outside_ids"] == 1)
    await world.redis.set("message:m", outside_record())
    await world.hints.queue.put(Subscribed(has_events=True))
    await world.deliverer.wait_for(1)


async def test_without_notifications_outsiders_are_found_by_searching_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aioscheduler.engine.service._SCAN_WITHOUT_EVENTS", 0.02)
    await world.until(lambda: world.flaky.calls["outside_ids"] == 1)
    await world.hints.queue.put(Subscribed(has_events=False))
    await world.until(lambda: world.flaky.calls["outside_ids"] >= 3)
    await world.redis.set("message:m", outside_record())
    await world.deliverer.wait_for(1)


async def test_a_hint_of_a_deleted_message_cancels_it(world: World) -> None:
    await world.schedule("m", 1)
    await world.redis.delete("message:m")
    await world.hints.queue.put([MessageId("m")])
    await world.idle()
    await world.clock.advance(2)
    assert world.deliverer.requests == []


async def test_dead_letters_are_forgotten_after_their_time() -> None:
    world = World(dead_letter_ttl=timedelta(days=1))
    await world.schedule("old", misfireGraceSeconds=0)
    world.clock.move(1)
    async with world:
        await world.dead("old")
    again = World(redis=world.redis, clock=world.clock, dead_letter_ttl=timedelta(days=1))
    world.clock.move(86_401)
    async with again, asyncio.timeout(30):
        while (await again.store.counts()).dead:
            await asyncio.sleep(0.002)


async def test_what_the_engine_tells_of_itself(world: World) -> None:
    assert world.engine.running
    assert world.engine.listening
    world.deliverer.respond = hang
    await world.schedule("m")
    await world.schedule("later", 30)
    await world.deliverer.wait_for(1)
    # What was loaded just before it was claimed goes away by itself.
    await world.until(lambda: (world.engine.in_flight, world.engine.window_size) == (1, 1))
    await world.dispatcher.stop(0)


async def test_what_the_store_can_lose_is_told_once_and_again_when_it_came_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aioscheduler.engine.service._RISKS_FIRST", 0)
    monkeypatch.setattr("aioscheduler.engine.service._RISKS_SECONDS", 0)
    world = World()
    answers = [["no file"], ["no file", "full"], ["no file"], ["no file", "full"]]

    async def report() -> StoreReport:
        risks = [Sentence(text) for text in (answers.pop(0) if answers else ["no file", "full"])]
        return StoreReport(kind="redis", version="", persistence="", used_memory_bytes=0, risks=risks)

    monkeypatch.setattr(world.store, "report", report)
    with structlog.testing.capture_logs() as logs:
        async with world:
            await world.until(lambda: not answers)
            assert world.engine.store_risks == 2
    assert [entry["event"] for entry in logs if entry["action"] == "store_at_risk"] == ["no file", "full", "full"]


# -- connections for what is due soon


async def test_connections_are_asked_for_as_many_as_attempts_are_due_soon(world: World) -> None:
    for i in range(3):
        await world.schedule(f"slow{i}", 1, url=SLOW)
    await world.schedule("fast", 1.4, url=FAST)
    await world.schedule("later", 30, url=FAST)
    warmed = world.deliverer.warmed
    await world.until(lambda: warmed.total() == 4)
    assert (warmed[check_url(SLOW)], warmed[check_url(FAST)]) == (3, 1)
    await world.clock.advance(29)
    await world.until(lambda: warmed[check_url(FAST)] == 2)


async def test_none_are_asked_for_where_a_circuit_is_open_or_nobody_is_called(world: World) -> None:
    circuits = world.dispatcher.slots.circuits
    circuits._trip(check_url(SLOW), 5, 10.0, 1e9, world.clock.monotonic())
    await world.schedule("slow", 1, url=SLOW)
    await world.job(2, webhooks=0)
    job = await world.job(2, webhooks=2)
    await world.clock.advance(0.6)
    await world.until(lambda: world.deliverer.warmed.total() > 0)
    (hook, *_) = await world.store.webhooks(job.id)
    assert world.deliverer.warmed == {hook.destination: 2}
