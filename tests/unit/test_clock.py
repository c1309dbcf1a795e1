from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from aioscheduler.clock import SteeredClock, to_ms
from tests.support.clock import START, FakeClock


def test_a_steered_clock_shows_what_the_inner_one_does_until_it_is_adjusted() -> None:
    inner = FakeClock()
    clock = SteeredClock(inner)
    assert (clock.now(), clock.now_ms(), clock.monotonic()) == (inner.now(), inner.now_ms(), inner.monotonic())
    clock.adjust(1500)
    assert clock.now() == START - timedelta(seconds=1.5)
    assert clock.now_ms() == inner.now_ms() - 1500
    assert clock.monotonic() == inner.monotonic()
    clock.adjust(-2500)
    assert clock.ahead_ms == -1000
    assert clock.now() == START + timedelta(seconds=1)


@pytest.mark.parametrize("seconds", [2.5, -2.5, 3600, -0.06])
def test_a_step_of_the_machines_clock_is_not_followed_until_somebody_says_it_was_right(seconds: float) -> None:
    inner = FakeClock()
    clock = SteeredClock(inner)
    inner.step(seconds)
    assert clock.now() == START
    assert clock.now_ms() == to_ms(START)
    inner.move(10)
    assert clock.now() == START + timedelta(seconds=10)
    clock.adjust(round(-seconds * 1000))
    assert clock.now() == START + timedelta(seconds=10 + seconds)
    assert clock.ahead_ms == 0


def test_what_the_machines_clock_gains_little_by_little_is_followed() -> None:
    inner = FakeClock()
    clock = SteeredClock(inner)
    for _ in range(5):
        inner.step(0.02)
        assert clock.now() == inner.now()
    assert clock.ahead_ms == 0


async def test_a_steered_clock_waits_for_the_instant_by_what_it_shows() -> None:
    inner = FakeClock()
    clock = SteeredClock(inner)
    clock.adjust(200)
    waiting = asyncio.create_task(clock.wait(asyncio.Event(), clock.now_ms() + 100))
    await asyncio.sleep(0)
    await inner.advance(0.099)
    assert not waiting.done()
    await inner.advance(0.001)
    assert waiting.done()
    await waiting
