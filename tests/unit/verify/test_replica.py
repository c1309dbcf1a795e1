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
    return (clock.now() - datetime.now(UTC)).total_seconds() * 1000


def test_steps_add_up_and_both_readings_of_the_wall_clock_agree(pipe: tuple[int, int]) -> None:
    clock = SteppedClock()
    orders = Orders(pipe[0], clock)
    os.write(pipe[1], b"step 2.5\nstep -4.0\nst")
    orders.read()
    assert offset_ms(clock) == pytest.approx(-1500, abs=50)
    os.write(pipe[1], b"ep 600\n")
    orders.read()
    assert offset_ms(clock) == pytest.approx(598_500, abs=50)
    assert clock.now_ms() == pytest.approx(clock.now().timestamp() * 1000, abs=50)


def test_durations_do_not_notice_a_step() -> None:
    clock = SteppedClock()
    before = clock.monotonic()
    clock.step(60)
    assert clock.monotonic() - before < 1


async def test_the_clock_waits_until_an_instant_of_its_own() -> None:
    clock = SteppedClock()
    clock.step(60)
    async with asyncio.timeout(5):
        until = clock.now_ms() + 30
        while clock.now_ms() < until:
            await clock.wait(asyncio.Event(), until)
    assert clock.now_ms() - until < 400, "slept as long as it may, in place of until then"


def test_the_end_of_the_orders_is_the_end_of_the_replica(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *given: killed.append(given))
    os.close(pipe[1])
    Orders(pipe[0], SteppedClock()).read()
    assert killed == [(os.getpid(), signal.SIGKILL)]
