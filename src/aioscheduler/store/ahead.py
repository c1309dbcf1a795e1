"""Records read before they are claimed, so that a claim need not take them apart."""

from __future__ import annotations

from datetime import tzinfo
from typing import Final

from aioscheduler.clock import Clock
from aioscheduler.domain.message import Message, MessageId
from aioscheduler.errors import InvalidInput
from aioscheduler.store.codec import decode, own_version

#: How many are kept at most, of how many bytes together, each of how many, and for how long, in seconds.
MOST: Final = 20_000
MOST_BYTES: Final = 32 * 1024 * 1024
MOST_BYTES_EACH: Final = 64 * 1024
LIFETIME: Final = 30.0


class Ahead:
    """What records of ours hold, each for as long as nobody changes it, until it is taken.

    Nothing has to be told of changes: who takes what a record holds shows the record.
    """

    def __init__(self, zone: tzinfo, clock: Clock) -> None:
        self._zone = zone
        self._clock = clock
        #: In the order in which they were read.
        self._known: dict[MessageId, tuple[bytes, Message, float]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def read(self, message_id: MessageId, record: bytes | None) -> Message | None:
        """Return what a record of ours holds, and keep it; ``None`` for one that is none, or is too large."""
        if record is None or len(record) > MOST_BYTES_EACH or (version := own_version(record)) is None:
            return None
        try:
            message = decode(message_id, record, version, self._zone)
        except InvalidInput:
            return None
        self._forget(message_id)
        now = self._clock.monotonic()
        self._known[message_id] = record, message, now
        self._bytes += len(record)
        while self._bytes > MOST_BYTES or len(self._known) > MOST or self._oldest() < now - LIFETIME:
            self._forget(next(iter(self._known)))
        return message

    def take(self, message_id: MessageId, record: bytes) -> Message | None:
        """Return what this very record holds, if it was read, and keep it no longer."""
        known = self._forget(message_id)
        return known[1] if known is not None and known[0] == record else None

    def _oldest(self) -> float:
        return next(iter(self._known.values()))[2]

    def _forget(self, message_id: MessageId) -> tuple[bytes, Message, float] | None:
        known = self._known.pop(message_id, None)
        if known is not None:
            self._bytes -= len(known[0])
        return known
