"""CPU for each POST on kept connections, by the aiohttp client and by the transport of our own: ``-m bench.transport``.

Both make whole attempts to the same receiver, in rounds that take turns, so that a noisy machine disturbs both. What
the attempts cost without any transport is measured beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from aioscheduler.clock import SystemClock
from aioscheduler.domain.target import Destination, WebhookTarget, check_url
from aioscheduler.engine.aiohttp_transport import AiohttpTransport
from aioscheduler.engine.delivery import Deliverer, Request
from aioscheduler.engine.guard import Guard
from aioscheduler.engine.transport import Exchange, Transport
from aioscheduler.engine.wire import WireTransport
from aioscheduler.store.base import Receipt
from bench.messages import payload
from bench.processes import BESIDE, MEASURED, pin, python


class Nothing:
    """A transport that sends nothing and has every answer at once."""

    async def start(self) -> None:
        """Nothing is open."""

    async def stop(self) -> None:
        """Nothing is open."""

    def warm(self, destination: Destination, count: int, guard: Guard) -> None:
        """Nothing is open."""

    def send(self, exchange: Exchange, receipt: Receipt[None]) -> None:
        """Leave everything to :meth:`exchange`."""

    async def exchange(self, exchange: Exchange) -> None:
        """Answer 200."""
        exchange.leave()
        exchange.answered_at, exchange.status = exchange.sent_at, 200


async def round_of(deliverer: Deliverer, url: str, count: int, concurrency: int) -> float:
    """Return µs of CPU for each attempt."""
    destination, body, now = check_url(url), payload(0), datetime.now(UTC)
    requests = [
        Request(
            webhook_id=f"msg_{number:032x}",
            target=WebhookTarget(url=url, destination=destination),
            body=body,
            timeout_seconds=30,
            attempt=1,
            scheduled_for=now,
            identity=(("X-Scheduler-Message-Id", f"t-{number:07d}"),),
        )
        for number in range(count)
    ]

    async def work() -> None:
        while requests:
            outcome = await deliverer.attempt(requests.pop())
            assert outcome.response_code == 200, outcome.error

    used = time.process_time()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return (time.process_time() - used) / count * 1e6


async def measure(count: int, rounds: int, concurrency: int) -> None:
    """Print the medians of all rounds."""
    pin(MEASURED)
    clock = SystemClock()
    transports: dict[str, Transport] = {
        "no transport at all": Nothing(),
        "aiohttp": AiohttpTransport(max_connections=concurrency),
        "our own": WireTransport(clock=clock, max_connections=concurrency),
    }
    reached: dict[str, list[float]] = {name: [] for name in transports}
    with tempfile.TemporaryDirectory(prefix="aioscheduler-bench-") as folder:
        async with python(Path(folder), "bench.receiver") as (receiver, line):
            pin(BESIDE, receiver.process.pid)
            for number in range(rounds + 1):
                for name, transport in transports.items():
                    deliverer = Deliverer(
                        clock=clock,
                        guard=Guard(block_private=False),
                        signer=None,
                        max_connections=concurrency,
                        user_agent="aioscheduler/bench",
                        transport=transport,
                    )
                    await deliverer.start()
                    used = await round_of(deliverer, f"http://127.0.0.1:{line}/hook", count, concurrency)
                    await deliverer.stop()
                    if number:  # the first is for warming up
                        reached[name].append(used)
    base = statistics.median(reached["no transport at all"])
    print(f"{count} POSTs a round, {rounds} rounds, {concurrency} at once, µs of CPU each:")
    for name, figures in reached.items():
        median = statistics.median(figures)
        print(f"{name:>20}: {median:6.1f}  (beyond the attempt itself: {median - base:5.1f}; best {min(figures):.1f})")
    ours, theirs = (statistics.median(reached[name]) for name in ("our own", "aiohttp"))
    print(f"{'ratio':>20}: {ours / theirs:.2f} of the whole attempt, {(ours - base) / (theirs - base):.2f} of the rest")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.transport", description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--concurrency", type=int, default=64)
    options = parser.parse_args()
    uvloop.run(measure(options.count, options.rounds, options.concurrency))


if __name__ == "__main__":
    main()
