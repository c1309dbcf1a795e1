from __future__ import annotations

import asyncio

from aioscheduler.engine.pulse import STILL_SECONDS, Pulse
from tests.support.clock import FakeClock


def test_a_process_that_beats_did_not_stand_still() -> None:
    clock = FakeClock()
    pulse, since = Pulse(clock), clock.monotonic()
    for _ in range(20):
        clock.move(STILL_SECONDS / 2)
        pulse.beat()
    assert not pulse.stood_still(since)


def test_whoever_asks_first_after_a_gap_is_told() -> None:
    clock = FakeClock()
    pulse, since = Pulse(clock), clock.monotonic()
    clock.move(STILL_SECONDS + 0.1)
    assert pulse.stood_still(since)
    assert not pulse.stood_still(clock.monotonic()), "what is asked for afterwards is not concerned"


def test_a_gap_that_a_beat_noticed_counts_for_what_began_before_it() -> None:
    clock = FakeClock()
    pulse, since = Pulse(clock), clock.monotonic()
    clock.move(STILL_SECONDS + 0.1)
    pulse.beat()
    clock.move(0.1)
    pulse.beat()
    assert pulse.stood_still(since)
    assert not pulse.stood_still(clock.monotonic() - 0.05)


async def test_it_beats_until_it_is_cancelled() -> None:
    clock = FakeClock()
    pulse = Pulse(clock)
    task = asyncio.create_task(pulse.run())
    clock.move(STILL_SECONDS + 0.1)
    await asyncio.sleep(0)
    assert pulse.stood_still(clock.monotonic() - 0.01), "the task noticed"
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
