"""What is over: dead letters and the delivery log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from redis.exceptions import ResponseError

from aioscheduler.clock import to_ms
from aioscheduler.domain.execution import DeadReason, OutcomeKind
from aioscheduler.domain.message import Message, MessageId
from aioscheduler.errors import InvalidInput
from aioscheduler.store import keys
from aioscheduler.store.base import DeadLetter, Delivery, Page, Scheduled
from aioscheduler.store.calls import END_OF_PREFIX, PAGE, Calls
from aioscheduler.store.codec import EXECUTION_MARK, dead_head, decode_dead, decode_delivery, encode
from aioscheduler.store.cursors import BAD_CURSOR, cursor_of, open_cursor


class Archive(Calls):
    """The verbs about dead letters and past attempts."""

    async def dead_letters(
        self, limit: int, cursor: str | None, prefix: str = "", reason: DeadReason | None = None
    ) -> Page[DeadLetter]:
        place = open_cursor(cursor, str)[0].encode() if cursor else None
        if prefix:
            return await self._dead_by_prefix(prefix, reason, limit, place)
        head = b"r\0" + reason.value.encode() + b"\0" if reason else b"t\0"
        rows = await self._newest(keys.DEAD_INDEX, head, limit, place)
        letters = await self._dead([row[len(head) + 14 :].decode() for row in rows])
        return Page(items=letters, next_cursor=cursor_of(rows[-1].decode()) if len(rows) == limit else None)

    async def _newest(self, index: bytes, head: bytes, limit: int, place: bytes | None) -> list[bytes]:
        """Return members of an index that begin with ``head``, backwards, before ``place``."""
        if place is not None and not place.startswith(head):
            raise InvalidInput.of("cursor", BAD_CURSOR)
        end = b"(" + (head + END_OF_PREFIX if place is None else place)
        rows: list[bytes] = await self._command("ZREVRANGEBYLEX", index, end, b"[" + head, "LIMIT", 0, limit)
        return rows

    async def _dead_by_prefix(
        self, prefix: str, reason: DeadReason | None, limit: int, place: bytes | None
    ) -> Page[DeadLetter]:
        head = b"i\0" + prefix.encode()
        if place is not None and not place.startswith(head):
            raise InvalidInput.of("cursor", BAD_CURSOR)
        start = b"[" + head if place is None else b"(" + place
        found: list[DeadLetter] = []
        while True:
            rows = await self._command(
                "ZRANGEBYLEX", keys.DEAD_INDEX, start, b"(" + head + END_OF_PREFIX, "LIMIT", 0, limit
            )
            for letter in await self._dead([row[2:].decode() for row in rows]):
                if reason is None or letter.reason is reason:
                    found.append(letter)
                    if len(found) == limit:
                        return Page(items=found, next_cursor=cursor_of(f"i\0{letter.id}"))
            if len(rows) < limit:
                return Page(items=found, next_cursor=None)
            start = b"(" + rows[-1]

    async def _dead(self, ids: Sequence[str]) -> list[DeadLetter]:
        if not ids:
            return []
        letters = await self._command("HMGET", keys.DEAD, *ids)
        return [
            decode_dead(message_id, letter, self._zone)
            for message_id, letter in zip(ids, letters, strict=True)
            if letter is not None
        ]

    async def dead_letter(self, message_id: MessageId) -> DeadLetter | None:
        found = await self._dead([message_id, EXECUTION_MARK + message_id.lower()])
        return found[0] if found else None

    async def replay(self, letter: DeadLetter, message: Message, fire_at: datetime) -> Scheduled | None:
        record, due_ms = keys.record(message.id), to_ms(fire_at)
        with self._echo([record]) as own:
            code = await self._run(
                "replay",
                [
                    *(keys.DUE, keys.LEASED, keys.STATE, keys.INDEX, keys.COUNTERS, keys.DEAD, keys.DEAD_INDEX),
                    *(record, keys.AUDIT, keys.AUDIT_MINUTES),
                ],
                [message.id, dead_head(to_ms(letter.dead_at), letter.reason), due_ms, encode(message)],
            )
            own.append(code == 1)
        if code == 1:
            self._tell(message, due_ms)
            return Scheduled.CREATED
        return Scheduled.EXISTS if code == 0 else None

    async def discard(self, message_id: MessageId) -> bool:
        for member in (message_id, EXECUTION_MARK + message_id.lower()):
            if await self._run("discard", [keys.DEAD, keys.DEAD_INDEX], ["", member]):
                return True
        return False

    async def forget_dead(self, before: datetime, limit: int = PAGE) -> int:
        before_ms = to_ms(before)
        rows = await self._command("ZRANGEBYLEX", keys.DEAD_INDEX, b"[t\0", b"(t\0%013d" % before_ms, "LIMIT", 0, limit)
        if not rows:
            return 0
        ids = [row[2 + 14 :] for row in rows]
        return int(await self._run("discard", [keys.DEAD, keys.DEAD_INDEX], [before_ms, *ids]))

    async def deliveries(
        self,
        limit: int,
        cursor: str | None,
        message_id: str | None = None,
        status: OutcomeKind | None = None,
        job_id: str | None = None,
    ) -> Page[Delivery]:
        place = open_cursor(cursor, str)[0] if cursor else None
        if message_id is not None:
            head = f"m\0{message_id}\0".encode()
        elif job_id is not None:
            head = f"j\0{job_id}\0".encode()
        elif status is not None:
            head = f"s\0{status.value}\0".encode()
        else:
            return await self._all_deliveries(limit, place)
        found: list[Delivery] = []
        at = place.encode() if place else None
        while True:
            rows = await self._newest(keys.DELIVERIES_INDEX, head, limit, at)
            for line, delivery in zip(rows, await self._lines([row[len(head) :] for row in rows]), strict=True):
                at = line
                if delivery is not None and (status is None or delivery.status is status):
                    found.append(delivery)
                    if len(found) == limit:
                        return Page(items=found, next_cursor=cursor_of(line.decode()))
            if len(rows) < limit:
                return Page(items=found, next_cursor=None)

    async def _all_deliveries(self, limit: int, place: str | None) -> Page[Delivery]:
        end = f"({place}" if place else "+"
        try:
            rows = await self._command("XREVRANGE", keys.DELIVERIES, end, "-", "COUNT", limit)
        except ResponseError as error:
            raise InvalidInput.of("cursor", BAD_CURSOR) from error
        items = [decode_delivery(line, _fields(values)) for line, values in rows]
        return Page(items=items, next_cursor=cursor_of(items[-1].id) if len(items) == limit else None)

    async def _lines(self, places: Sequence[bytes]) -> list[Delivery | None]:
        if not places:
            return []
        pipe = self._redis.pipeline(transaction=False)
        for place in places:
            ms, _, number = place.partition(b"-")
            line = b"%s-%d" % (ms, int(number))
            pipe.execute_command("XRANGE", keys.DELIVERIES, line, line)
        answers = await self._call(pipe.execute())
        return [decode_delivery(rows[0][0], _fields(rows[0][1])) if rows else None for rows in answers]


def _fields(values: Any) -> dict[bytes, bytes]:
    """Return a stream entry's fields, which come as a flat list in some answers and as a mapping in others."""
    return values if isinstance(values, dict) else dict(zip(values[::2], values[1::2], strict=True))
