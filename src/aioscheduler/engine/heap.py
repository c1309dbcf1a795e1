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
    then. Holds each id once, with the time it was last pushed with.
    """

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._live: dict[EntryId, Entry] = {}
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._live)

    def push(self, due_ms: int, entry_id: EntryId, destination: Destination) -> bool:
        """Add an entry, or move the one with this id; return whether it is the earliest now."""
        known = self._live.get(entry_id)
        if known is not None and known.due_ms == due_ms:
            return False
        self._live[entry_id] = entry = Entry(due_ms, next(self._numbers), entry_id, destination)
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._live) + 64:
            self._compact()
        return self._heap[0].id == entry_id

    def _compact(self) -> None:
        """Drop what has been moved: memory goes by live entries, however often they move."""
        self._heap = list(self._live.values())
        heapq.heapify(self._heap)

    def next_due_ms(self) -> int | None:
        """Return when to look next."""
        while self._heap:
            head = self._heap[0]
            if self._live.get(head.id) is head:
                return head.due_ms
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now_ms: int, limit: int) -> list[Entry]:
        """Take out at most ``limit`` entries due by ``now_ms``, earliest first."""
        due: list[Entry] = []
        while self._heap and self._heap[0].due_ms <= now_ms and len(due) < limit:
            entry = heapq.heappop(self._heap)
            if self._live.get(entry.id) is entry:
                del self._live[entry.id]
                due.append(entry)
        return due
