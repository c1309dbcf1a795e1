"""What did not leave, since the process stood still, is no attempt."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from aioscheduler.domain.execution import ExecutionStatus, OutcomeKind
from aioscheduler.domain.message import MessageId
from aioscheduler.engine.delivery import NotSent
from tests.support.engines import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


async def test_a_message_is_claimed_anew_under_the_same_number(world: World) -> None:
    answers: list[OutcomeKind | Exception] = [NotSent(), OutcomeKind.SUCCESS]
    world.deliverer.respond = lambda _: answers.pop(0)
    await world.schedule("m", due_in=-1)
    await world.deliverer.wait_for(2)
    await world.idle()
    assert [request.attempt for request in world.deliverer.requests] == [1, 1]
    assert await world.store.dead_letter(MessageId("m")) is None
    counters = await world.store.counters()
    assert counters["delivered"] == 1
    assert "deliveries:message:failure" not in counters
    asked = [request.asked_at for request in world.deliverer.requests]
    assert asked == [world.clock.monotonic()] * 2


async def test_an_execution_likewise(world: World) -> None:
    answers: list[OutcomeKind | Exception] = [NotSent(), OutcomeKind.SUCCESS]
    world.deliverer.respond = lambda _: answers.pop(0)
    job = await world.job(2)
    await world.clock.advance(2)
    await world.deliverer.wait_for(2)
    (execution,) = await world.history(job, 1)
    assert (execution.status, execution.attempt) == (ExecutionStatus.SUCCESS, 1)
    assert [request.attempt for request in world.deliverer.requests] == [1, 1]
    assert world.deliverer.requests[0].asked_at == world.clock.monotonic()
