"""What is due soon, in order. Pure: no clock, no I/O."""

from __future__ import annotations

import heapq
import itertools
from typing import NamedTuple

from aioscheduler.domain.target import Destination
from aioscheduler.store.recurring import EntryId


class Entry(NamedTuple):
    """One entry and when to look at it. ``number`` keeps the order of entries due at the same time."""

    due_ms: int
    number: int
    id: EntryId
    destination: Destination


class DueHeap:
    """The entries of the window, earliest first.

    Decides only when to look: an entry that was cancelled or moved stays until its time and is found to be nothing
    then. Of each id it holds two times at most, the earliest it knows and the one it was last pushed with: what is
    heard may be heard in the wrong order, and a look too many costs less than one that comes too late.
    """

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._live: dict[EntryId, tuple[Entry, ...]] = {}
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._live)

    def push(self, due_ms: int, entry_id: EntryId, destination: Destination) -> bool:
        """Add an entry, or a time to the one with this id; return whether the timer may have to be set anew."""
        known = self._live.get(entry_id)
        entry = Entry(due_ms, next(self._numbers), entry_id, destination)
        if known is None:
            self._live[entry_id] = (entry,)
        elif any(other.due_ms == due_ms for other in known):
            return False
        else:
            self._live[entry_id] = (min(known), entry)
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 3 * len(self._live) + 64:
            self._compact()
        return self._heap[0].id == entry_id

    def _compact(self) -> None:
        """Drop what has been moved: memory goes by live entries, however often they move."""
        self._heap = [entry for entries in self._live.values() for entry in entries]
        heapq.heapify(self._heap)

    def _is_live(self, entry: Entry) -> bool:
        return any(entry is other for other in self._live.get(entry.id, ()))

    def next_due_ms(self) -> int | None:
        """Return when to look next."""
        while self._heap:
            head = self._heap[0]
            if self._is_live(head):
                return head.due_ms
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now_ms: int, limit: int) -> list[Entry]:
        """Take out at most ``limit`` entries due by ``now_ms``, earliest first."""
        due: list[Entry] = []
        while self._heap and self._heap[0].due_ms <= now_ms and len(due) < limit:
            entry = heapq.heappop(self._heap)
            entries = self._live.get(entry.id, ())
            if len(entries) == 1 and entries[0] is entry:
                del self._live[entry.id]
            elif self._is_live(entry):
                self._live[entry.id] = tuple(other for other in entries if other is not entry)
            else:
                continue
            due.append(entry)
        return due
