from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from aioscheduler.errors import Sentence, StoreUnavailable
from aioscheduler.store.batch import MOST_BYTES, Batcher


class Wire:
    """The other side: keeps what was sent, answers when told to."""

    def __init__(self) -> None:
        self.sent: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None
        self.at_once = 0

    async def send(self, items: list[int]) -> Sequence[str]:
        self.sent.append(items)
        self.at_once += 1
        assert self.at_once == 1, "one call at a time"
        await self.open.wait()
        self.at_once -= 1
        if self.error is not None:
            raise self.error
        return [f"r{item}" for item in items]


async def rest() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_one_turn_collected_travels_together_and_each_gets_its_own_result() -> None:
    wire = Wire()
    batch = Batcher(wire.send, 100, weigh=lambda _: 1)
    assert await asyncio.gather(*map(batch, range(5))) == ["r0", "r1", "r2", "r3", "r4"]
    assert wire.sent == [[0, 1, 2, 3, 4]]


async def test_what_comes_meanwhile_waits_and_goes_together_with_the_next_call() -> None:
    wire = Wire()
    wire.open.clear()
    batch = Batcher(wire.send, 100, weigh=lambda _: 1)
    tasks = [asyncio.create_task(batch(0))]
    await rest()
    for i in (1, 2, 3):
        tasks.append(asyncio.create_task(batch(i)))
        await rest()
    assert wire.sent == [[0]]
    wire.open.set()
    await asyncio.gather(*tasks)
    assert wire.sent == [[0], [1, 2, 3]]


async def test_the_next_call_leaves_before_the_results_of_the_last_are_told() -> None:
    events: list[str] = []

    async def send(items: list[int]) -> list[int]:
        events.append(f"sent {items}")
        await rest()
        return items

    class Told(asyncio.Future[int]):
        def set_result(self, result: int, /) -> None:
            events.append(f"told {result}")

    batch = Batcher(send, 2, weigh=lambda _: 1)
    for item in range(3):
        batch.post(item, Told())
    await batch.drain()
    assert events == ["sent [0, 1]", "sent [2]", "told 0", "told 1", "told 2"]


async def test_whoever_has_his_result_may_ask_again_at_once() -> None:
    wire = Wire()
    batch = Batcher(wire.send, 100, weigh=lambda _: 1)
    async with asyncio.timeout(5):
        assert [await batch(item) for item in range(3)] == ["r0", "r1", "r2"]


async def test_many_and_large_items_are_split() -> None:
    wire = Wire()
    batch = Batcher(wire.send, 3, weigh=lambda _: 1)
    await asyncio.gather(*map(batch, range(7)))
    assert wire.sent == [[0, 1, 2], [3, 4, 5], [6]]
    wire = Wire()
    batch = Batcher(wire.send, 100, weigh=lambda item: item)
    await asyncio.gather(*map(batch, (MOST_BYTES * 2, 1, MOST_BYTES // 2, MOST_BYTES // 2, 5)))
    assert wire.sent == [[MOST_BYTES * 2], [1, MOST_BYTES // 2], [MOST_BYTES // 2, 5]]


async def test_when_the_store_is_away_those_queued_behind_are_told_at_once() -> None:
    wire = Wire()
    wire.open.clear()
    batch = Batcher(wire.send, 100, weigh=lambda _: 1)
    first = asyncio.create_task(batch(0))
    await rest()
    behind = [asyncio.create_task(batch(i)) for i in (1, 2)]
    await rest()
    wire.error = StoreUnavailable(Sentence("away"))
    wire.open.set()
    results = await asyncio.gather(first, *behind, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    assert wire.sent == [[0]]
    wire.error = None
    assert await batch(5) == "r5"


async def test_another_error_is_that_of_its_own_call_only() -> None:
    async def send(items: list[int]) -> list[int]:
        if 0 in items:
            raise ValueError("a defect")
        return items

    batch = Batcher(send, 1, weigh=lambda _: 1)
    first, second = await asyncio.gather(batch(0), batch(1), return_exceptions=True)
    assert isinstance(first, ValueError)
    assert second == 1


async def test_a_caller_that_gives_up_does_not_harm_the_others() -> None:
    wire = Wire()
    wire.open.clear()
    batch = Batcher(wire.send, 100, weigh=lambda _: 1)
    tasks = [asyncio.create_task(batch(i)) for i in range(3)]
    await rest()
    tasks[1].cancel()
    wire.open.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[0] == "r0"
    assert isinstance(results[1], asyncio.CancelledError)
    assert results[2] == "r2"


class Broken:
    """Fails when it is told anything."""

    def done(self) -> bool:
        return False

    def set_result(self, _: object) -> None:
        raise ZeroDivisionError

    def set_exception(self, _: Exception) -> None:
        raise ZeroDivisionError


async def test_one_that_fails_when_told_keeps_nobody_from_a_result() -> None:
    wire = Wire()
    batch = Batcher(wire.send, 100, weigh=lambda _: 1)
    with capture_logs() as logs:
        batch.post(0, Broken())
        assert await batch(1) == "r1"
        wire.error = StoreUnavailable(Sentence("away"))
        batch.post(2, Broken())
        with pytest.raises(StoreUnavailable):
            await batch(3)
        wire.error = None
        assert await batch(4) == "r4"
    assert [line["action"] for line in logs] == ["result_not_taken"] * 2


async def test_drain_waits_for_all_that_is_on_its_way() -> None:
    wire = Wire()
    wire.open.clear()
    batch = Batcher(wire.send, 1, weigh=lambda _: 1)
    await batch.drain()  # nothing is
    tasks = [asyncio.create_task(batch(i)) for i in range(3)]
    await rest()
    drained = asyncio.create_task(batch.drain())
    await rest()
    assert not drained.done()
    wire.open.set()
    await drained
    assert wire.sent == [[0], [1], [2]]
    await asyncio.gather(*tasks)


async def test_a_result_that_is_not_there_yet_is_handed_out_later_and_holds_up_nobody() -> None:
    later: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def send(items: list[int]) -> Sequence[str | asyncio.Future[str]]:
        return [later if item == 1 else f"r{item}" for item in items]

    batch = Batcher(send, 100, weigh=lambda _: 1)
    tasks = [asyncio.create_task(batch(item)) for item in (0, 1, 1, 2)]
    await rest()
    assert [task.done() for task in tasks] == [True, False, False, True]
    tasks[2].cancel()
    await rest()
    later.set_result("r1")
    assert await tasks[1] == "r1"
    assert tasks[2].cancelled()
    assert await batch(3) == "r3"


async def test_a_result_that_is_not_there_yet_may_turn_out_to_be_a_failure() -> None:
    later: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def send(items: list[int]) -> Sequence[str | asyncio.Future[str]]:
        return [later for _ in items]

    task = asyncio.create_task(Batcher(send, 100, weigh=lambda _: 1)(1))
    await rest()
    later.set_exception(StoreUnavailable(Sentence("The store sleeps.")))
    with pytest.raises(StoreUnavailable):
        await task
