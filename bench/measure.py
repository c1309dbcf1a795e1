"""What several scenarios measure alike."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields

from bench.messages import message
from bench.processes import Bench, Running, cpu_seconds, waited_seconds
from bench.report import Lateness
from bench.wire import post_batches

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
#: Messages that are delivered before anything is measured.
WARM_UP = 1_000


def now_ms() -> int:
    """Return the wall clock, which the service and the receiver share."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second, and seconds of CPU each: the latter suffers less from what else the machine does."""

    per_second: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.per_second:,.0f}/s, {self.cpu * 1e6:.0f} µs of CPU each"

    @classmethod
    def median(cls, rates: Sequence[Rate]) -> Rate:
        """Return the middle one in either respect."""
        return cls(statistics.median(rate.per_second for rate in rates), statistics.median(rate.cpu for rate in rates))


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds of CPU; ``waited`` are those in which what is measured was ready to run and others had the core."""

    at: float
    measured: float
    waited: float
    redis: float
    receiver: float
    generator: float

    @classmethod
    async def used(cls, bench: Bench, running: Running) -> Cpu:
        """Return what each has used so far."""
        pids = running.pids
        return cls(
            time.perf_counter(),
            sum(map(cpu_seconds, pids)),
            sum(map(waited_seconds, pids)),
            await bench.redis_cpu(),
            await bench.receiver_cpu(),
            time.process_time(),
        )

    def since(self, before: Cpu) -> Cpu:
        """Return what each has used since then, and how long that is."""
        return Cpu(*(getattr(self, part.name) - getattr(before, part.name) for part in fields(self)))

    def share(self, part: str) -> float:
        """Return the share of a core a part has had."""
        used: float = getattr(self, part)
        return used / self.at

    @property
    def others(self) -> str:
        """How much others disturbed what is measured."""
        return f"{self.share('waited'):.0%} of the time others had the core"

    @property
    def beside(self) -> str:
        """What the harness and Redis had of the core they share."""
        parts = {name: self.share(name) for name in ("redis", "receiver", "generator")}
        said = f"beside it Redis {parts['redis']:.0%}, receiver {parts['receiver']:.0%}, load {parts['generator']:.0%}"
        return f"{said}: **that core was full**" if sum(parts.values()) > 0.95 else said


async def warm(bench: Bench, running: Running, accepts: int, path: str = "hook") -> None:
    """Deliver some first: who compiles as it goes has done so then, and connections are open."""
    due = now_ms() + 1000 + WARM_UP * 1000 // accepts
    await post_batches(
        running.port, (message(f"w-{number:06d}", due, number, bench.receiver_port, path) for number in range(WARM_UP))
    )
    await bench.wait_for(WARM_UP, 20)
    await bench.take()


async def burst(
    bench: Bench, running: Running, count: int, *, accepts: int, path: str = "hook", doubles: float = 1.5
) -> tuple[Lateness, Cpu]:
    """Schedule many for one instant, by batches, and return how late they arrived and the CPU from then to the last.

    ``accepts`` is how many a second can be scheduled, ``doubles`` for how many seconds doubles are waited for.
    """
    lead = 2.5 + count / accepts
    while True:
        due = now_ms() + round(lead * 1000)
        ids = [f"b-{number:06d}" for number in range(count)]
        await post_batches(
            running.port,
            (message(id_, due, number, bench.receiver_port, path) for number, id_ in enumerate(ids)),
        )
        if now_ms() < due - 1500:
            break
        lead *= 2  # the machine is too busy: it would not have been one burst
        await asyncio.sleep(max(0, due / 1000 - time.time()))
        await bench.wait_for(count, 60)
        await bench.take()
    await asyncio.sleep(due / 1000 - time.time() - 0.05)
    before = await Cpu.used(bench, running)
    await bench.wait_for(count, 60)
    used = (await Cpu.used(bench, running)).since(before)
    await asyncio.sleep(doubles)
    return Lateness.of(await bench.take(), dict.fromkeys(ids, due)), used


async def ahead(
    bench: Bench, running: Running, per_second: int, seconds: float, lead: float, accepts: int = 20_000
) -> dict[str, int]:
    """Schedule messages at an even pace from ``lead`` seconds on; returns their instants.

    :raises RuntimeError: scheduling them took longer than that
    """
    count = round(per_second * seconds)
    start = now_ms() + round((lead + count / accepts) * 1000)
    due = {f"l-{number:07d}": start + number * 1000 // per_second for number in range(count)}
    await post_batches(
        running.port,
        (message(id_, due_ms, number, bench.receiver_port) for number, (id_, due_ms) in enumerate(due.items())),
    )
    if now_ms() > start:
        raise RuntimeError("scheduling ahead took longer than planned: the machine is too busy to measure")
    return due


async def collect(bench: Bench, due: dict[str, int]) -> Lateness:
    """Wait until all are due and have arrived, or 60 s more; returns how late they were."""
    await asyncio.sleep(max(0.0, max(due.values()) / 1000 - time.time()))
    await bench.wait_for(len(due), 60)
    await asyncio.sleep(0.5)
    return Lateness.of(await bench.take(), due)
