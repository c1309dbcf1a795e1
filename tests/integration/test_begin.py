"""Attempts on kept connections, which are made without a task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from aioscheduler.clock import SystemClock
from aioscheduler.domain.execution import Outcome, OutcomeKind
from aioscheduler.engine.delivery import Deliverer, Flight, NotSent, Request
from aioscheduler.engine.guard import Guard
from aioscheduler.engine.transport import Right
from aioscheduler.engine.wire import WireTransport
from tests.support.receiver import Answer, Receiver
from tests.support.transports import ask


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as started:
        yield started


class Attempts:
    """Attempts by one connection at a time, one of which has been made."""

    def __init__(self) -> None:
        self.transport = WireTransport(clock=SystemClock(), max_connections=1)
        self.deliverer = Deliverer(
            clock=SystemClock(),
            guard=Guard(block_private=False),
            signer=None,
            max_connections=1,
            user_agent="aioscheduler/test",
            transport=self.transport,
        )
        self.told: list[Outcome | BaseException] = []
        self._changed = asyncio.Event()

    def begin(self, request: Request) -> Flight | None:
        return self.deliverer.begin(request, self._ended)

    def _ended(self, result: Outcome | BaseException) -> None:
        self.told.append(result)
        self._changed.set()

    async def ends(self, count: int) -> Outcome | BaseException:
        """Return the latest end once there were so many."""
        async with asyncio.timeout(8):
            while len(self.told) < count:
                self._changed.clear()
                await self._changed.wait()
        assert len(self.told) == count
        return self.told[-1]


@pytest.fixture
async def attempts(receiver: Receiver) -> AsyncIterator[Attempts]:
    made = Attempts()
    await made.deliverer.start()
    assert isinstance(made.begin(ask(receiver.url())), asyncio.Task), "there is no connection yet"
    await made.ends(1)
    yield made
    await made.deliverer.stop()


def kind(result: Outcome | BaseException) -> OutcomeKind:
    assert isinstance(result, Outcome)
    return result.kind


async def test_a_kept_connection_takes_the_request_at_once(receiver: Receiver, attempts: Attempts) -> None:
    tasks = asyncio.all_tasks()
    flight = attempts.begin(ask(receiver.url(), b"[1]"))
    assert flight is not None
    assert asyncio.all_tasks() == tasks
    assert kind(await attempts.ends(2)) is OutcomeKind.SUCCESS
    assert [request.body for request in receiver.requests] == [b'{"a": 1}', b"[1]"]
    assert receiver.connections == 1
    flight.cancel()
    assert len(attempts.told) == 2


async def test_one_that_is_in_use_is_waited_for(receiver: Receiver, attempts: Attempts) -> None:
    for _ in range(3):
        attempts.begin(ask(receiver.url()))
    await attempts.ends(4)
    assert [kind(result) for result in attempts.told] == [OutcomeKind.SUCCESS] * 4
    assert attempts.transport._in_use == 0


async def test_no_answer_in_time_costs_the_connection_and_lets_the_next_go(
    receiver: Receiver, attempts: Attempts
) -> None:
    receiver.script.append(Answer(hang=True))
    attempts.begin(ask(receiver.url(), timeout_seconds=0.05))
    result = await attempts.ends(2)
    assert isinstance(result, Outcome)
    assert (result.kind, result.error) == (OutcomeKind.TIMED_OUT, "no answer within 0.05 s")
    await receiver.until(lambda: receiver.open_connections == 0)
    attempts.begin(ask(receiver.url()))
    assert kind(await attempts.ends(3)) is OutcomeKind.SUCCESS


async def test_one_cut_short_is_told_so_once_and_gives_up_its_connection(
    receiver: Receiver, attempts: Attempts
) -> None:
    receiver.script.append(Answer(hang=True))
    flight = attempts.begin(ask(receiver.url()))
    await receiver.wait_for(2)
    assert flight is not None
    flight.cancel()
    flight.cancel()
    assert isinstance(await attempts.ends(2), asyncio.CancelledError)
    await receiver.until(lambda: receiver.open_connections == 0)
    assert attempts.transport._in_use == 0


async def test_what_may_not_leave_does_not_and_its_connection_is_kept(receiver: Receiver, attempts: Attempts) -> None:
    right = Right()
    right.withdrawn = True
    assert attempts.begin(ask(receiver.url(), right=right)) is None
    assert isinstance(await attempts.ends(2), NotSent)
    attempts.begin(ask(receiver.url()))
    assert kind(await attempts.ends(3)) is OutcomeKind.SUCCESS
    assert (len(receiver.requests), receiver.connections, attempts.transport._in_use) == (2, 1, 0)


async def test_what_cannot_be_written_is_a_failure_at_once_and_costs_no_connection(
    receiver: Receiver, attempts: Attempts
) -> None:
    assert attempts.begin(ask(receiver.url(), headers=(("X-A", "1\r\nX-B: 2"),))) is None
    result = await attempts.ends(2)
    assert isinstance(result, Outcome)
    assert result.error == "request cannot be sent as HTTP"
    attempts.begin(ask(receiver.url()))
    await attempts.ends(3)
    assert (receiver.connections, attempts.transport._in_use) == (1, 0)


async def test_a_stop_ends_what_goes_on(receiver: Receiver, attempts: Attempts) -> None:
    receiver.script.append(Answer(hang=True))
    attempts.begin(ask(receiver.url()))
    await receiver.wait_for(2)
    await attempts.deliverer.stop()
    result = await attempts.ends(2)
    assert isinstance(result, Outcome)
    assert (result.kind, result.error) == (OutcomeKind.FAILURE, "connection closed before an answer")
