"""The replica under test: its clock is stepped by what comes in on a pipe."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from aioscheduler.verify.replica import Orders, SteppedClock


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for end in (read, write):
        with suppress(OSError):  # a test may have closed it
            os.close(end)


def offset_ms(clock: SteppedClock) -> float:
    """Return how far off it is; what passes between two readings only takes away, so the most is the best."""
    return max((clock.now() - datetime.now(UTC)).total_seconds() * 1000 for _ in range(20))


def test_steps_add_up_and_both_readings_of_the_wall_clock_agree(pipe: tuple[int, int]) -> None:
    clock = SteppedClock()
    orders = Orders(pipe[0], clock)
    os.write(pipe[1], b"step 2.5\nstep -4.0\nst")
    orders.read()
    assert offset_ms(clock) == pytest.approx(-1500, abs=50)
    os.write(pipe[1], b"ep 600\n")
    orders.read()
    assert offset_ms(clock) == pytest.approx(598_500, abs=50)
    before, now_ms, after = clock.now(), clock.now_ms(), clock.now()
    assert before.timestamp() * 1000 - 1 <= now_ms <= after.timestamp() * 1000 + 1


def test_durations_do_not_notice_a_step() -> None:
    clock = SteppedClock()
    before = clock.monotonic()
    clock.step(60)
    assert clock.monotonic() - before < 30


async def test_the_clock_waits_until_an_instant_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioscheduler.clock.LONGEST_SLEEP", 1000)
    clock = SteppedClock()
    clock.step(60)
    async with asyncio.timeout(30):
        until = clock.now_ms() + 30
        while clock.now_ms() < until:
            await clock.wait(asyncio.Event(), until)


def test_the_end_of_the_orders_is_the_end_of_the_replica(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *given: killed.append(given))
    os.close(pipe[1])
    Orders(pipe[0], SteppedClock()).read()
    assert killed == [(os.getpid(), signal.SIGKILL)]
