"""What was leased before its instant, and begins when that has come."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aioscheduler.clock import Clock
from aioscheduler.domain.message import MessageId
from aioscheduler.engine.circuit import Ticket
from aioscheduler.engine.transport import Right
from aioscheduler.store.base import Claimed

#: So many may be held at most: all have to leave while their right to it holds.
MOST_HELD: Final = 256


@dataclass(slots=True, kw_only=True)
class Held:
    """A lease on a message that is not due yet, and the right to send it."""

    claimed: Claimed
    ticket: Ticket
    right: Right


class Ready:
    """Holds leases until their instant has come by every clock that counts."""

    def __init__(self, clock: Clock, begin: Callable[[Held], None], give_back: Callable[[Held], None]) -> None:
        """Tell ``begin`` of what is due, and ``give_back`` of what is not when its right has run out."""
        self._clock = clock
        self._begin = begin
        self._give_back = give_back
        #: In the order in which they were asked for, which is that in which their rights run out.
        self._held: dict[MessageId, Held] = {}
        self._due: list[tuple[int, int, Held]] = []
        self._numbers = itertools.count()
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._held)

    def add(self, held: Held) -> None:
        """Hold a lease until it is due."""
        message_id = held.claimed.message.id
        if (before := self.take(message_id)) is not None:
            self._give_back(before)
        self._held[message_id] = held
        heapq.heappush(self._due, (held.claimed.at_ms, next(self._numbers), held))
        if self._due[0][2] is held:
            self._wake.set()

    def take(self, message_id: MessageId) -> Held | None:
        """Take out what is held of a message, if anything is."""
        return self._held.pop(message_id, None)

    def clear(self) -> None:
        """Give back everything."""
        for message_id in list(self._held):
            if (held := self.take(message_id)) is not None:
                self._give_back(held)
        self._due.clear()

    async def run(self) -> None:
        """Begin what is due, for as long as nobody cancels it."""
        while True:
            self._wake.clear()
            self._look()
            await self._clock.wait(self._wake, self._next_ms())

    def _look(self) -> None:
        now = self._clock.monotonic()
        for held in list(itertools.takewhile(lambda held: not held.right.holds(now), self._held.values())):
            del self._held[held.claimed.message.id]
            self._give_back(held)
        certain_ms = self._clock.certain_ms()
        while self._due and (self._due[0][0] <= certain_ms or not self._holds(self._due[0][2])):
            held = heapq.heappop(self._due)[2]
            if self._holds(held):
                del self._held[held.claimed.message.id]
                self._begin(held)

    def _holds(self, held: Held) -> bool:
        return self._held.get(held.claimed.message.id) is held

    def _next_ms(self) -> float | None:
        """Return when to look again, by what the clock shows."""
        if not self._held:
            return None
        now_ms = self._clock.now().timestamp() * 1000
        first = next(iter(self._held.values()))
        runs_out_ms = now_ms + max(0.0, first.right.until - self._clock.monotonic()) * 1000 + 1
        # What is certain follows what is shown; how far behind it is changes little meanwhile.
        return min(self._due[0][0] + now_ms - self._clock.certain_ms(), runs_out_ms)
