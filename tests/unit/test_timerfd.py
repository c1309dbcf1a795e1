"""The kernel's timer, and what waits for it."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import time
from collections.abc import Iterator

import pytest

from aioscheduler.clock import SteeredClock, SystemClock
from aioscheduler.timerfd import Alarm

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux has them")


@pytest.fixture
def clock() -> Iterator[SystemClock]:
    clock = SystemClock()
    yield clock
    clock.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_it_rings_once_at_the_instant_and_never_before() -> None:
    alarm = Alarm()
    for ahead_ns in (3_000_000, 700_000, 50_000, -1_000_000, -(10**18) * 2):
        rung = asyncio.Event()
        at_ns = time.time_ns() + ahead_ns
        alarm.set(at_ns, rung.set)
        await rung.wait()
        assert time.time_ns() >= at_ns
    alarm.close()


async def test_what_was_set_before_or_is_off_rings_no_more() -> None:
    alarm, rung = Alarm(), list[str]()
    last = asyncio.Event()
    alarm.set(time.time_ns() + 200_000, lambda: rung.append("first"))
    alarm.set(time.time_ns() + 1_000_000, last.set)
    await last.wait()
    alarm.set(time.time_ns() - 1, lambda: rung.append("off"))
    alarm.off()
    again = asyncio.Event()
    other = Alarm()
    other.set(time.time_ns() + 500_000, again.set)
    await again.wait()
    assert rung == []
    alarm.close()
    other.close()


async def test_a_step_of_the_clock_rings_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says so by an error where a count is asked for."""
    alarm, rung = Alarm(), asyncio.Event()
    alarm.set(time.time_ns() + 10**13, rung.set)

    def read(fd: int, size: int) -> bytes:
        raise OSError(errno.ECANCELED, "Operation canceled")

    monkeypatch.setattr("aioscheduler.timerfd.os.read", read)
    alarm._read()
    assert rung.is_set()
    alarm.close()


async def test_a_step_that_nobody_saw_rings_when_it_is_set_again(monkeypatch: pytest.MonkeyPatch) -> None:
    alarm, rung = Alarm(), asyncio.Event()
    monkeypatch.setattr("aioscheduler.timerfd.ctypes.get_errno", lambda: errno.ECANCELED)
    monkeypatch.setattr(alarm, "_set", lambda *_: -1)
    alarm.set(time.time_ns() + 10**13, rung.set)
    await asyncio.wait_for(rung.wait(), 30)
    monkeypatch.setattr("aioscheduler.timerfd.ctypes.get_errno", lambda: errno.EINVAL)
    with pytest.raises(OSError, match="Invalid argument"):
        alarm.set(1, rung.set)
    alarm.close()


async def test_a_closed_one_gives_its_descriptor_back() -> None:
    Alarm().close()
    before = descriptors()
    alarm = Alarm()
    assert descriptors() == before + 1
    alarm.close()
    alarm.close()
    assert descriptors() == before


async def test_the_clock_waits_for_the_instant(clock: SystemClock) -> None:
    for ahead in (0.003, 0.0004):
        until_ms = time.time() * 1000 + ahead * 1000
        await clock.wait(asyncio.Event(), until_ms)
        assert time.time() * 1000 >= until_ms


async def test_many_wait_at_once_each_for_its_own(clock: SystemClock) -> None:
    async def wait(ms: int) -> float:
        until_ms = time.time() * 1000 + ms
        await clock.wait(asyncio.Event(), until_ms)
        return time.time() * 1000 - until_ms

    before = descriptors()
    late = await asyncio.gather(*(wait(ms) for ms in (4, 1, 3, 2)))
    assert min(late) >= 0
    assert descriptors() == before + 4
    await asyncio.gather(wait(1), wait(2))
    assert descriptors() == before + 4, "kept for the next"
    clock.close()
    assert descriptors() == before


async def test_whoever_is_woken_or_cancelled_waits_no_longer(
    clock: SystemClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aioscheduler.clock.LONGEST_SLEEP", 1000)
    wake = asyncio.Event()
    far_ms = time.time() * 1000 + 10**9
    waits = asyncio.create_task(clock.wait(wake, far_ms))
    await asyncio.sleep(0)
    wake.set()
    await asyncio.wait_for(waits, 30)
    cancelled = asyncio.create_task(clock.wait(asyncio.Event(), far_ms))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(cancelled, 30)
    assert len(clock._alarms) == 1


async def test_no_wait_is_longer_than_the_longest(clock: SystemClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioscheduler.clock.LONGEST_SLEEP", 0.005)
    for until_ms in (None, time.time() * 1000 + 10**9):
        await asyncio.wait_for(clock.wait(asyncio.Event(), until_ms), 30)


async def test_a_step_ends_the_wait(clock: SystemClock, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Alarm] = []

    def make() -> Alarm:
        made.append(Alarm())
        return made[-1]

    monkeypatch.setattr("aioscheduler.clock.Alarm", make)
    monkeypatch.setattr("aioscheduler.clock.LONGEST_SLEEP", 1000)
    waits = asyncio.create_task(SteeredClock(clock).wait(asyncio.Event(), time.time() * 1000 + 10**9))
    for _ in range(2):
        await asyncio.sleep(0)
    made[0]._call()
    await asyncio.wait_for(waits, 30)


async def test_without_such_timers_it_waits_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise OSError("no such timers here")

    monkeypatch.setattr("aioscheduler.clock.Alarm", none)
    clock = SystemClock()
    until_ms = time.time() * 1000 + 3
    while time.time() * 1000 < until_ms:
        await clock.wait(asyncio.Event(), until_ms)
    wake = asyncio.Event()
    waits = asyncio.create_task(clock.wait(wake, None))
    await asyncio.sleep(0)
    wake.set()
    await waits
    assert clock._alarms == []


def test_another_loop_gets_timers_of_its_own(clock: SystemClock) -> None:
    async def wait() -> None:
        await clock.wait(asyncio.Event(), time.time() * 1000 + 1)

    asyncio.run(wait())
    asyncio.run(wait())
    assert len(clock._alarms) == 1
