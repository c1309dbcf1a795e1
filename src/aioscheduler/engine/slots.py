"""Who may use the next free slots. Pure: no clock, no I/O."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable
from itertools import islice
from typing import Final, TypeVar

from aioscheduler.domain.job import Owner
from aioscheduler.domain.target import Destination
from aioscheduler.engine.circuit import Change, Circuits
from aioscheduler.store.recurring import EntryId, ExecutionRef

K = TypeVar("K")

#: How many times the free slots one destination, or one account, may occupy. So ``n`` destinations that hang settle at
#: a share each that leaves some free whatever ``n`` is: with 1,000 slots, ten that hang leave 24 (Choudhury and Hahne's
#: dynamic thresholds, known from shared-memory switches).
_SHARE = 4
#: Whose messages are: nobody's in particular, and no share is kept for them.
MESSAGES: Final = Owner("")


def owner_of(entry_id: EntryId) -> Owner:
    """Return who takes turns with others at a destination."""
    return entry_id.owner if isinstance(entry_id, ExecutionRef) else MESSAGES


class _Queue:
    """What waits for one destination: a line for each owner, and the owners whose turn may come."""

    __slots__ = ("lines", "turns")

    def __init__(self) -> None:
        self.lines: dict[Owner, deque[EntryId]] = {}
        self.turns: deque[Owner] = deque()


class Slots:
    """Attempts that may go on at once: so many in all, so many to one destination, and as its circuit allows.

    Due entries wait here, in the order in which those of their owner became due, until their destination has room and
    their owner has. What waits is not leased, so any replica with room may take it.
    """

    def __init__(self, total: int, per_destination: int, circuits: Circuits | None = None) -> None:
        self.circuits = circuits or Circuits(0)
        self._total = total
        self._per_destination = per_destination
        self._used: dict[Destination, int] = {}
        self._used_by: dict[Owner, int] = {}
        self._in_use = 0
        self._finished: Counter[Destination] = Counter()
        self._queues: dict[Destination, _Queue] = {}
        #: Of these, those to be looked at, in turn: not those aside, so that many such cost nothing.
        self._waiting: dict[Destination, _Queue] = {}
        #: Those that wait for a slot of their own, or for their circuit.
        self._aside: set[Destination] = set()
        #: Where accounts have lines that are left out because these accounts have their share.
        self._short: dict[Owner, dict[Destination, None]] = {}
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
        return len(self._queues)

    def waits(self, destination: Destination) -> bool:
        """Say whether entries wait for a destination."""
        return destination in self._queues

    def enqueue(self, entry_id: EntryId, destination: Destination) -> None:
        """Let a due entry wait for its turn; once, however often it is told."""
        if entry_id in self._queued:
            return
        self._queued.add(entry_id)
        owner = entry_id.owner if type(entry_id) is ExecutionRef else MESSAGES
        queue = self._queues.get(destination)
        if queue is None:
            queue = self._queues[destination] = self._waiting[destination] = _Queue()
        line = queue.lines.get(owner)
        if line is None:
            line = queue.lines[owner] = deque()
            queue.turns.append(owner)
            self._show(destination, queue)
        line.append(entry_id)

    def _show(self, destination: Destination, queue: _Queue) -> None:
        if destination not in self._aside:
            self._waiting.setdefault(destination, queue)

    def room(self, destination: Destination) -> int:
        """Return how many more attempts may go to a destination now."""
        free = self._total - self._in_use
        used = self._used.get(destination, 0)
        # Each attempt that begins takes a slot from the free ones as well.
        fair = (_SHARE * free - used + _SHARE) // (_SHARE + 1)
        room = max(0, min(self._per_destination - used, fair, free))
        if destination in self.circuits.limited:
            return min(room, self.circuits.allowed(destination))
        return room

    def _room_of(self, owner: Owner) -> int:
        free = self._total - self._in_use
        if owner == MESSAGES:
            return free
        used = self._used_by.get(owner, 0)
        return max(0, min(free, (_SHARE * free - used + _SHARE) // (_SHARE + 1)))

    def refresh(self, now: float) -> list[Change]:
        """Take note of the time, in seconds; return which circuits changed by it."""
        ready, changes = self.circuits.refresh(now)
        for destination in ready:
            self._look_again(destination)
        return changes

    def _look_again(self, destination: Destination) -> None:
        if destination in self._aside:
            self._aside.remove(destination)
            self._waiting[destination] = self._queues[destination]

    def take(self, limit: int) -> list[tuple[EntryId, Destination]]:
        """Take out waiting entries that have room, fairly, and count their slots as used.

        Destinations take turns; once more than half of all slots are used, those with the fewest come first. At each,
        owners take turns.
        """
        taken: list[tuple[EntryId, Destination]] = []
        if self._in_use >= self._total:
            return taken
        self._restore_lines()
        # Those whose owners have no room are put aside on the way: they must not hide others behind them.
        while not taken and (turns := self._candidates(limit)):
            share = max(1, min(limit, self._total - self._in_use) // len(turns))
            while turns and len(taken) < limit:
                turns = [each for each in turns if self._take_share(each, share, limit, taken)]
        # Whoever had a turn waits behind the others next time.
        for destination in dict.fromkeys(destination for _, destination in taken):
            if (rest := self._waiting.pop(destination, None)) is not None:
                self._waiting[destination] = rest
        return taken

    def _take_share(
        self, destination: Destination, share: int, limit: int, taken: list[tuple[EntryId, Destination]]
    ) -> bool:
        """Add what a destination may have in one turn; return whether it may have another."""
        drawn = self._draw(destination, min(share, self.room(destination), limit - len(taken)))
        taken += [(entry_id, destination) for entry_id in drawn]
        return bool(drawn) and destination in self._waiting and self.room(destination) > 0

    def _candidates(self, limit: int) -> list[Destination]:
        """Return those with room that come first: no more than can have a turn, however many wait."""
        found: list[Destination] = []
        idle = 0
        scarce = self._in_use * 2 > self._total
        aside: list[Destination] = []
        for destination in self._waiting:
            used, limited = self._used.get(destination, 0), destination in self.circuits.limited
            if self.room(destination):
                found.append(destination)
                idle += not (scarce and used)
                if idle == limit:
                    break
            elif used >= self._per_destination or (limited and not self.circuits.allowed(destination)):
                aside.append(destination)  # until a slot of its own is free, or its circuit allows it
        for destination in aside:
            del self._waiting[destination]
        self._aside.update(aside)
        if scarce:
            found.sort(key=lambda destination: self._used.get(destination, 0))
        return found

    def _draw(self, destination: Destination, count: int) -> list[EntryId]:
        """Take out at most so many for a destination, its owners in turn."""
        queue = self._waiting[destination]
        drawn: list[EntryId] = []
        while len(drawn) < count and queue.turns:
            owner = queue.turns[0]
            line = queue.lines[owner]
            alone = count - len(drawn) if len(queue.turns) == 1 else 1
            most = min(alone, self._room_of(owner), len(line))
            if not most:
                queue.turns.popleft()
                self._short.setdefault(owner, {})[destination] = None
                continue
            drawn += [line.popleft() for _ in range(most)]
            if owner != MESSAGES:
                self._used_by[owner] = self._used_by.get(owner, 0) + most
            self._in_use += most
            if line:
                queue.turns.rotate(-1)
            else:
                queue.turns.popleft()
                del queue.lines[owner]
        if drawn:
            self._queued.difference_update(drawn)
            self._used[destination] = self._used.get(destination, 0) + len(drawn)
            if destination in self.circuits.limited:
                self.circuits.reserve(destination, len(drawn))
        if not queue.turns:
            del self._waiting[destination]
        if not queue.lines:
            self._emptied(destination)
        return drawn

    def _restore_lines(self) -> None:
        """Give accounts that have room again as many of their turns back as they can use."""
        for owner in list(self._short):
            aside = self._short[owner]
            for destination in list(islice(aside, self._room_of(owner))):
                del aside[destination]
                queue = self._queues[destination]
                queue.turns.append(owner)
                self._show(destination, queue)
            if not aside:
                del self._short[owner]

    def _emptied(self, destination: Destination) -> None:
        del self._queues[destination]
        self._aside.discard(destination)
        self.circuits.emptied(destination)

    def give_back(self, taken: Iterable[tuple[EntryId, Destination]]) -> None:
        """Count slots as free that were taken, before anything began in them."""
        for entry_id, destination in taken:
            if destination in self.circuits.limited:
                self.circuits.give_back(destination)
            self.release(destination, owner_of(entry_id))

    def occupy(self, destination: Destination, owner: Owner = MESSAGES) -> None:
        """Count a slot as used."""
        self._used[destination] = self._used.get(destination, 0) + 1
        self._in_use += 1
        if owner != MESSAGES:
            self._used_by[owner] = self._used_by.get(owner, 0) + 1

    def release(self, destination: Destination, owner: Owner = MESSAGES, *, finished: bool = False) -> None:
        """Count a slot as free; ``finished`` when an attempt has ended, which tells how quick the destination is."""
        self._in_use -= 1
        if finished:
            self._finished[destination] += 1
        _lower(self._used, destination)
        if owner != MESSAGES:
            _lower(self._used_by, owner)
        if destination in self._aside:
            self._look_again(destination)

    def overflow(self, least: int, seconds: float, elapsed: float) -> list[EntryId]:
        """Take out what a destination cannot take within ``seconds`` at its present pace, the last to come first, of
        those who have most waiting there.

        :param least: so many may wait in any case
        :param elapsed: seconds since the last call: its pace is what it finished in them
        """
        spilled: list[EntryId] = []
        for destination, queue in list(self._queues.items()):
            keep = max(least, round(self._finished[destination] / elapsed * seconds))
            spilled += self._spill(destination, queue, sum(map(len, queue.lines.values())) - keep)
        self._queued.difference_update(spilled)
        self._finished.clear()
        return spilled

    def _spill(self, destination: Destination, queue: _Queue, count: int) -> list[EntryId]:
        spilled: list[EntryId] = []
        longest = [(-len(line), owner) for owner, line in queue.lines.items()]
        heapq.heapify(longest)
        while len(spilled) < count:
            length, owner = longest[0]
            spilled.append(queue.lines[owner].pop())
            if length < -1:
                heapq.heapreplace(longest, (length + 1, owner))
            else:
                heapq.heappop(longest)
                del queue.lines[owner]
                self._forget_turn(destination, queue, owner)
        if not queue.turns:
            self._waiting.pop(destination, None)
        if not queue.lines:
            self._emptied(destination)
        return spilled

    def _forget_turn(self, destination: Destination, queue: _Queue, owner: Owner) -> None:
        if owner in queue.turns:
            queue.turns.remove(owner)
            return
        del self._short[owner][destination]
        if not self._short[owner]:
            del self._short[owner]

    def clear(self) -> None:
        """Forget what waits."""
        for destination in list(self._queues):
            self._emptied(destination)
        self._waiting.clear()
        self._aside.clear()
        self._short.clear()
        self._queued.clear()


def _lower(used: dict[K, int], key: K) -> None:
    if used[key] == 1:
        del used[key]
    else:
        used[key] -= 1
