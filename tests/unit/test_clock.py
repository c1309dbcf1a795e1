from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


# -- what is certain by both clocks


def test_nothing_is_certain_before_the_store_was_heard_and_then_what_it_showed_at_least() -> None:
    inner = FakeClock()
    clock = SteeredClock(inner)
    start_ms = to_ms(START)
    assert clock.certain_ms() == float("-inf")
    clock.compare((start_ms - 3) * 1000, 1000.0, 1000.0)
    assert clock.certain_ms() == start_ms - 3
    inner.move(1)
    assert start_ms + 1000 - 3 - 0.5 <= clock.certain_ms() < start_ms + 1000 - 3
    # One that was long on its way says less, and does not contradict.
    now = inner.monotonic()
    before = clock.certain_ms()
    clock.compare((start_ms + 900) * 1000, now - 0.2, now)
    assert clock.certain_ms() == before
    # One that says more is taken; never more than the clock itself shows.
    clock.compare((start_ms + 999) * 1000, now, now)
    assert clock.certain_ms() == start_ms + 999
    clock.compare((start_ms + 5000) * 1000, now, now)
    assert clock.certain_ms() == start_ms + 1000


@pytest.mark.parametrize("back_ms", [1, 20, 5000])
def test_a_store_whose_clock_was_put_back_is_believed_at_once(back_ms: int) -> None:
    inner = FakeClock()
    clock = SteeredClock(inner)
    start_ms = to_ms(START)
    clock.compare(start_ms * 1000, 1000.0, 1000.0)
    clock.compare((start_ms - back_ms) * 1000, 1000.0, 1000.0)
    assert clock.certain_ms() == start_ms - back_ms


@given(
    offset_ms=st.integers(-50, 50),
    drift=st.floats(-499e-6, 499e-6),
    steps=st.lists(
        st.tuples(st.floats(0, 2), st.floats(0, 0.1), st.floats(0, 1), st.sampled_from([0, 0, 0, 0, -30, 30])),
        max_size=20,
    ),
)
def test_what_is_certain_has_passed_by_both(
    offset_ms: int, drift: float, steps: list[tuple[float, float, float, int]]
) -> None:
    """Whatever the store's clock is off by, gains and is put right by, and however long its answers take."""
    inner = FakeClock()
    clock = SteeredClock(inner)
    begun, ahead_ms = inner.monotonic(), float(offset_ms)

    def store_us() -> int:
        return int(to_ms(START) * 1000 + (inner.monotonic() - begun) * (1 + drift) * 1e6 + ahead_ms * 1000)

    for pause, takes, part, step in steps:
        inner.move(pause)
        ahead_ms += step
        if step < 0:
            takes = 0.0  # an answer that was long on its way need not contradict
        asked = inner.monotonic()
        inner.move(takes * part)
        told = store_us()
        inner.move(takes * (1 - part))
        clock.compare(told, asked, inner.monotonic())
        assert clock.certain_ms() * 1000 <= store_us() + 1.5
        assert clock.certain_ms() <= inner.certain_ms()
