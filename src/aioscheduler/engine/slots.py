"""Who may use the next free slots. Pure: no clock, no I/O."""

from __future__ import annotations

from collections import Counter, deque
from itertools import islice

from aioscheduler.domain.target import Destination
from aioscheduler.store.recurring import EntryId

#: How many times the free slots one destination may occupy. So ``n`` destinations that hang settle at a share each
#: that leaves some free whatever ``n`` is: with 1,000 slots, ten that hang leave 24 (Choudhury and Hahne's dynamic
#: thresholds, known from shared-memory switches).
_SHARE = 4


class Slots:
    """Attempts that may go on at once: so many in all, so many to one destination.

    Due entries wait here, in the order they became due, until their destination has room. What waits is not leased,
    so any replica with room may take it.
    """

    def __init__(self, total: int, per_destination: int) -> None:
        self._total = total
        self._per_destination = per_destination
        self._used: Counter[Destination] = Counter()
        self._in_use = 0
        self._finished: Counter[Destination] = Counter()
        self._waiting: dict[Destination, deque[EntryId]] = {}
        self._queued: set[EntryId] = set()

    @property
    def in_use(self) -> int:
        """How many attempts go on."""
        return self._in_use

    @property
    def waiting(self) -> int:
        """How many due entries wait."""
        return len(self._queued)

    @property
    def destinations(self) -> int:
        """For how many destinations entries wait."""
        return len(self._waiting)

    def enqueue(self, entry_id: EntryId, destination: Destination) -> None:
        """Let a due entry wait for its turn; once, however often it is told."""
        if entry_id not in self._queued:
            self._queued.add(entry_id)
            self._waiting.setdefault(destination, deque()).append(entry_id)

    def room(self, destination: Destination) -> int:
        """Return how many more attempts may go to a destination now."""
        free = self._total - self._in_use
        used = self._used[destination]
        # Each attempt that begins takes a slot from the free ones as well.
        fair = (_SHARE * free - used + _SHARE) // (_SHARE + 1)
        return max(0, min(self._per_destination - used, fair, free))

    def take(self, limit: int) -> list[tuple[EntryId, Destination]]:
        """Take out waiting entries that have room, fairly, and count their slots as used.

        Destinations take turns; once more than half of all slots are used, those with the fewest come first.
        """
        taken: list[tuple[EntryId, Destination]] = []
        if self._in_use >= self._total:
            return taken
        with_room = (destination for destination in self._waiting if self.room(destination))
        if self._in_use * 2 > self._total:
            turns = sorted(with_room, key=self._used.__getitem__)
        else:
            turns = list(islice(with_room, limit))  # no more can have a turn, however many wait
        share = max(1, min(limit, self._total - self._in_use) // max(1, len(turns)))
        while turns and len(taken) < limit:
            again: list[Destination] = []
            for destination in turns:
                queue = self._waiting[destination]
                for _ in range(min(share, self.room(destination), len(queue), limit - len(taken))):
                    entry_id = queue.popleft()
                    self._queued.discard(entry_id)
                    self.occupy(destination)
                    taken.append((entry_id, destination))
                if not queue:
                    del self._waiting[destination]
                elif self.room(destination):
                    again.append(destination)
            turns = again
        # Whoever had a turn waits behind the others next time.
        for destination in {destination for _, destination in taken}:
            if (rest := self._waiting.pop(destination, None)) is not None:
                self._waiting[destination] = rest
        return taken

    def occupy(self, destination: Destination) -> None:
        """Count a slot as used."""
        self._used[destination] += 1
        self._in_use += 1

    def release(self, destination: Destination, *, finished: bool = False) -> None:
        """Count a slot as free; ``finished`` when an attempt has ended, which tells how quick the destination is."""
        self._in_use -= 1
        if finished:
            self._finished[destination] += 1
        self._used[destination] -= 1
        if not self._used[destination]:
            del self._used[destination]

    def overflow(self, least: int, seconds: float, elapsed: float) -> list[EntryId]:
        """Take out what a destination cannot take within ``seconds`` at its present pace, the last to come first.

        :param least: so many may wait in any case
        :param elapsed: seconds since the last call: its pace is what it finished in them
        """
        spilled: list[EntryId] = []
        for destination, queue in list(self._waiting.items()):
            keep = max(least, round(self._finished[destination] / elapsed * seconds))
            while len(queue) > keep:
                entry_id = queue.pop()
                self._queued.discard(entry_id)
                spilled.append(entry_id)
            if not queue:
                del self._waiting[destination]
        self._finished.clear()
        return spilled

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self._queued.clear()
