"""The delivery log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.exceptions import ResponseError

from aioscheduler.domain.execution import OutcomeKind
from aioscheduler.errors import InvalidInput
from aioscheduler.store import keys
from aioscheduler.store.base import Delivery, Page
from aioscheduler.store.codec import decode_delivery
from aioscheduler.store.cursors import BAD_CURSOR, cursor_of, open_cursor
from aioscheduler.store.letters import Letters


class Archive(Letters):
    """The verbs about past attempts."""

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

    async def newest_delivery(self) -> str:
        rows = await self._command("XREVRANGE", keys.DELIVERIES, "+", "-", "COUNT", 1)
        return str(rows[0][0].decode()) if rows else "0-0"

    async def deliveries_since(self, since: str, until: str | None, limit: int) -> tuple[Sequence[Delivery], int]:
        rows = await self._command("XREVRANGE", keys.DELIVERIES, until or "+", f"({since}", "COUNT", limit)
        found = [decode_delivery(line, _fields(values)) for line, values in reversed(rows)]
        if len(rows) < limit:
            return found, 0
        earlier = await self._together(
            *(
                ("ZLEXCOUNT", keys.DELIVERIES_INDEX, b"(" + head + _place(since), b"(" + head + _place(found[0].id))
                for head in (f"s\0{kind.value}\0".encode() for kind in OutcomeKind)
            )
        )
        return found, sum(earlier)

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


def _place(line: str) -> bytes:
    """Return how a line of the log stands in its index, as ``lua/shared/log.lua`` writes it."""
    ms, _, number = line.partition("-")
    return f"{ms}-{int(number):06d}".encode()


def _fields(values: Any) -> dict[bytes, bytes]:
    """Return a stream entry's fields, which come as a flat list in some answers and as a mapping in others."""
    return values if isinstance(values, dict) else dict(zip(values[::2], values[1::2], strict=True))
