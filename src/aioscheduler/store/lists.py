"""Lists of live messages: pages, searches, the window."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import orjson

from aioscheduler.clock import from_ms, to_ms
from aioscheduler.domain.message import MessageId
from aioscheduler.errors import InvalidInput
from aioscheduler.store import keys
from aioscheduler.store.base import Counts, Listed, LiveMessage, Overview, Page, Timeline
from aioscheduler.store.calls import BATCH, CALL_TIMEOUT, END_OF_PREFIX, PAGE
from aioscheduler.store.codec import State
from aioscheduler.store.cursors import BAD_CURSOR, cursor_of, open_cursor
from aioscheduler.store.messages import Messages, standing

#: How many ids one step of a search by contents looks at.
_SCAN = 2000
#: How many messages that have a state an overview looks at.
_MOST_STATES = 1000
#: How many lines of a list are made at once.
_TURN = 250


def _at(score: bytes) -> datetime:
    return from_ms(int(float(score)))


class Lists(Messages):
    """The verbs about many live messages."""

    async def page(self, limit: int, cursor: str | None) -> Page[Listed]:
        after_ms, after_id = open_cursor(cursor, int, str) if cursor else (-(2**53), "")
        rows = await self._run("page", [keys.DUE], [after_ms, after_id, limit, "+inf"])
        places = {rows[i].decode(): int(float(rows[i + 1])) for i in range(0, len(rows), 2)}
        # What is being delivered stands in no order of its own, but is never more than the replicas' slots.
        leased = await self._command("HGETALL", keys.LEASED)
        for raw_id, lease in leased.items():
            message_id, due_ms = raw_id.decode(), int(float(lease.split(b":")[3]))
            if (due_ms, message_id) > (after_ms, after_id):
                places.setdefault(message_id, due_ms)  # it may have been claimed between the two looks
        # Code points sort as the bytes of UTF-8 do.
        listed = sorted((due_ms, message_id) for message_id, due_ms in places.items())[:limit]
        items: list[Listed] = []
        for start in range(0, len(listed), _TURN):
            if start:
                await asyncio.sleep(0)  # a long list takes longer than a delivery may wait
            items += await self._listed(listed[start : start + _TURN], leased)
        more = len(listed) == limit
        return Page(items=items, next_cursor=cursor_of(*listed[-1]) if more else None)

    async def _listed(self, places: Sequence[tuple[int, str]], leased: dict[bytes, bytes]) -> list[Listed]:
        ids = [message_id for _, message_id in places]
        records, states = await self._together(
            ("MGET", *map(keys.record, ids)),
            ("HMGET", keys.STATE, *ids),
        )
        found: list[Listed] = []
        for (due, message_id), record, state in zip(places, records, states, strict=True):
            if record is None:
                continue  # gone since the first look
            try:
                members = orjson.loads(record)
                url, method = members["webhookUrl"], members.get("method", "POST")
            except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError):
                continue  # an outsider's, seen in the moment before it is set aside
            lease = leased.get(message_id.encode()) if leased else None
            due_ms, status, attempts = standing(State.decode(state), lease, due)
            found.append(
                Listed(
                    id=MessageId(message_id),
                    url=str(url),
                    method=str(method),
                    next_run_at=from_ms(due_ms),
                    status=status,
                    attempts=attempts,
                )
            )
        return found

    async def search(self, prefix: str, contains: str, limit: int, cursor: str | None) -> Page[LiveMessage]:
        after = open_cursor(cursor, str)[0] if cursor else None
        if after is not None and not after.startswith(prefix):
            raise InvalidInput.of("cursor", BAD_CURSOR)
        ids, last = await self._matching(prefix, contains, limit, after)
        return Page(items=await self._load(ids), next_cursor=None if last is None else cursor_of(last))

    async def search_ids(self, prefix: str, contains: str) -> Sequence[MessageId]:
        found: list[MessageId] = []
        after: str | None = None
        while True:
            ids, after = await self._matching(prefix, contains, PAGE, after)
            found += ids
            if after is None:
                return found

    async def cancel_matching(self, prefix: str, contains: str) -> Sequence[MessageId]:
        deleted: list[MessageId] = []
        after: str | None = None
        while True:
            ids, after = await self._matching(prefix, contains, BATCH, after)
            gone = await self.cancel(ids)
            deleted += [message_id for message_id, was_there in zip(ids, gone, strict=True) if was_there]
            if after is None:
                return deleted

    async def _matching(
        self, prefix: str, contains: str, limit: int, after: str | None
    ) -> tuple[list[MessageId], str | None]:
        """Return matching ids that follow ``after``, and where to go on; ``None`` at the end."""
        start = b"(" + after.encode() if after is not None else b"[" + prefix.encode()
        end = b"(" + prefix.encode() + END_OF_PREFIX
        if not contains:
            rows = await self._command("ZRANGEBYLEX", keys.INDEX, start, end, "LIMIT", 0, limit)
            ids = [MessageId(row.decode()) for row in rows]
            return ids, ids[-1] if len(ids) == limit else None
        ids = []
        give_up = self._clock.monotonic() + CALL_TIMEOUT
        while True:
            # One page at a time: the server and this loop do other things in between.
            last, *rows = await self._run("search", [keys.INDEX], [start, end, contains, _SCAN, limit - len(ids)])
            ids += [MessageId(row.decode()) for row in rows]
            if not last:
                return ids, None
            if len(ids) >= limit or self._clock.monotonic() > give_up:
                return ids, last.decode()
            start = b"(" + last

    async def counts(self) -> Counts:
        total, leased, dead, first = await self._together(
            ("ZCARD", keys.INDEX),
            ("HLEN", keys.LEASED),
            ("HLEN", keys.DEAD),
            ("ZRANGE", keys.DUE, 0, 0, "WITHSCORES"),
        )
        oldest = first[0][1] if first and isinstance(first[0], list | tuple) else first[1] if first else None
        return Counts(
            messages=total,
            leased=leased,
            dead=dead,
            oldest_due_at=None if oldest is None else from_ms(int(float(oldest))),
        )

    async def overview(self, now: datetime) -> Overview:
        pending, leased, dead, retrying, first, coming_ms, coming, job_ms, job = await self._run(
            "overview",
            [keys.INDEX, keys.LEASED, keys.DEAD, keys.DUE, keys.STATE, keys.JOBS_DUE],
            [to_ms(now), _MOST_STATES],
        )
        return Overview(
            counts=Counts(messages=pending, leased=leased, dead=dead, oldest_due_at=_at(first) if first else None),
            retrying=retrying,
            next_message=(MessageId(coming.decode()), _at(coming_ms)) if coming_ms else None,
            next_job=(job.decode(), _at(job_ms)) if job_ms else None,
        )

    async def timeline(self, edges: Sequence[datetime]) -> Timeline:
        counts = await self._run(
            "timeline", [keys.DUE, keys.JOBS_DUE, keys.EXECUTIONS_DUE], [to_ms(edge) for edge in edges]
        )
        messages, jobs, executions = counts
        return Timeline(
            messages=messages, jobs=[job + execution for job, execution in zip(jobs, executions, strict=True)]
        )

    async def window(self, until: datetime, limit: int) -> AsyncIterator[Sequence[tuple[int, MessageId]]]:
        async for page in self._due_until(keys.DUE, until, limit):
            yield [(due_ms, MessageId(raw.decode())) for due_ms, raw in page]
