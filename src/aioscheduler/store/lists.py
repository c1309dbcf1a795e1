"""Lists of live messages: pages, searches, the window."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import Any

import orjson

from aioscheduler.clock import from_ms, to_ms
from aioscheduler.domain.message import MessageId, MessageStatus
from aioscheduler.domain.target import Destination, leads_to
from aioscheduler.errors import InvalidInput
from aioscheduler.store import keys
from aioscheduler.store.base import Counts, Listed, LiveMessage, Overview, Page, Timeline
from aioscheduler.store.calls import BATCH, CALL_TIMEOUT, END_OF_PREFIX, PAGE
from aioscheduler.store.codec import State
from aioscheduler.store.cursors import BAD_CURSOR, cursor_of, open_cursor
from aioscheduler.store.jobs import pairs
from aioscheduler.store.messages import Messages, standing

#: How many ids one step of a search by contents looks at.
_SCAN = 2000
#: How many ids that contain a text are counted among, and for how long, in seconds.
_MOST_COUNTED, _COUNT_SECONDS = 200_000, 1.0
#: How many pages, or steps of a search, one filtered page looks at.
_MOST_LOOKS, _MOST_STEPS = 5, 8
#: Of how many messages that have a state those that wait for a retry are chosen at once.
_MOST_CHOSEN = 10_000
_BEGINNING = (-(2**53), "")
#: How many messages that have a state an overview looks at.
_MOST_STATES = 1000
#: How many lines of a list are made at once.
_TURN = 250


def _at(score: bytes) -> datetime:
    return from_ms(int(float(score)))


class Lists(Messages):
    """The verbs about many live messages."""

    async def page(
        self,
        limit: int,
        cursor: str | None,
        status: MessageStatus | None = None,
        destination: Destination | None = None,
    ) -> Page[Listed]:
        after = open_cursor(cursor, int, str) if cursor else _BEGINNING
        if status is None and destination is None:
            return await self._page(limit, after)
        chosen = await self._places_of(status)
        found: list[Listed] = []
        for _ in range(_MOST_LOOKS):
            part = await (self._page(PAGE, after) if chosen is None else self._chosen(chosen, after))
            for line in part.items:
                if status in (None, line.status) and (destination is None or leads_to(line.url, destination)):
                    found.append(line)
                    if len(found) == limit:
                        return Page(items=found, next_cursor=cursor_of(to_ms(line.next_run_at), line.id))
            if part.next_cursor is None:
                return Page(items=found, next_cursor=None)
            after = open_cursor(part.next_cursor, int, str)
        return Page(items=found, next_cursor=part.next_cursor)

    async def _places_of(self, status: MessageStatus | None) -> list[tuple[int, str]] | None:
        """Return where messages of a status stand in the list; ``None`` where that cannot be had without looking at
        all there are."""
        if status is MessageStatus.DELIVERING:
            leases = await self._command("HGETALL", keys.LEASED)
            return sorted((int(float(lease.split(b":")[3])), raw.decode()) for raw, lease in leases.items())
        if status is MessageStatus.RETRYING and await self._command("HLEN", keys.STATE) <= _MOST_CHOSEN:
            states = await self._command("HGETALL", keys.STATE)
            ids = [raw for raw, state in states.items() if State.decode(state).failures]
            scores = await self._command("ZMSCORE", keys.DUE, *ids) if ids else []
            return sorted(
                (int(float(score)), raw.decode()) for raw, score in zip(ids, scores, strict=True) if score is not None
            )
        return None

    async def _chosen(self, chosen: Sequence[tuple[int, str]], after: tuple[int, str]) -> Page[Listed]:
        start = bisect_right(chosen, after)
        places = chosen[start : start + PAGE]
        items = await self._lines_of(places, await self._command("HGETALL", keys.LEASED))
        return Page(items=items, next_cursor=cursor_of(*places[-1]) if start + PAGE < len(chosen) else None)

    async def _page(self, limit: int, after: tuple[int, str]) -> Page[Listed]:
        after_ms, after_id = after
        rows = await self._run("page", [keys.DUE], [after_ms, after_id, limit, "+inf"])
        places = {raw.decode(): int(float(score)) for raw, score in zip(rows[::2], rows[1::2], strict=True)}
        # What is being delivered stands in no order of its own, but is never more than the replicas' slots.
        leases, states = await self._together(("HGETALL", keys.LEASED), ("HLEN", keys.STATE))
        leased = dict(pairs(leases))
        for raw_id, lease in leased.items():
            message_id, due_ms = raw_id.decode(), int(float(lease.split(b":")[3]))
            if (due_ms, message_id) > (after_ms, after_id):
                places.setdefault(message_id, due_ms)  # it may have been claimed between the two looks
        # Code points sort as the bytes of UTF-8 do.
        listed = sorted((due_ms, message_id) for message_id, due_ms in places.items())[:limit]
        more = len(listed) == limit
        items = await self._lines_of(listed, leased, any_states=states > 0)
        return Page(items=items, next_cursor=cursor_of(*listed[-1]) if more else None)

    async def _lines_of(
        self, places: Sequence[tuple[int, str]], leased: dict[bytes, bytes], *, any_states: bool = True
    ) -> list[Listed]:
        if not places:
            return []
        ids = [message_id for _, message_id in places]
        # All at once: the server has that together in less time than the ways to it and back take, one after another.
        looks: list[tuple[Any, ...]] = [("MGET", *map(keys.record, ids))]
        if any_states:
            looks.append(("HMGET", keys.STATE, *ids))
        records, states = [*await self._together(*looks), [None] * len(ids)][:2]
        items: list[Listed] = []
        for start in range(0, len(places), _TURN):
            if start:
                await asyncio.sleep(0)  # a long list takes longer than a delivery may wait
            step = slice(start, start + _TURN)
            items += self._listed(zip(places[step], records[step], states[step], strict=True), leased)
        return items

    def _listed(
        self, rows: Iterable[tuple[tuple[int, str], bytes | None, bytes | None]], leased: dict[bytes, bytes]
    ) -> list[Listed]:
        found: list[Listed] = []
        for (due_ms, message_id), record, state in rows:
            if record is None:
                continue  # gone since the first look
            try:
                members = orjson.loads(record)
                url, method = members["webhookUrl"], members.get("method", "POST")
            except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError):
                continue  # an outsider's, seen in the moment before it is set aside
            lease = leased.get(message_id.encode()) if leased else None
            status, attempts = MessageStatus.SCHEDULED, 0
            if state is not None or lease is not None:
                due_ms, status, attempts = standing(State.decode(state), lease, due_ms)
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

    async def search(
        self,
        prefix: str,
        contains: str,
        limit: int,
        cursor: str | None,
        status: MessageStatus | None = None,
        destination: Destination | None = None,
    ) -> Page[LiveMessage]:
        after: str | None = open_cursor(cursor, str)[0] if cursor else None
        if after is not None and not after.startswith(prefix):
            raise InvalidInput.of("cursor", BAD_CURSOR)
        if status is None and destination is None:
            ids, last = await self._matching(prefix, contains, limit, after)
            return Page(items=await self._load(ids), next_cursor=None if last is None else cursor_of(last))
        found: list[LiveMessage] = []
        for _ in range(_MOST_STEPS):
            ids, after = await self._matching(prefix, contains, _TURN, after)
            for live in await self._load(ids):
                if status in (None, live.status) and destination in (None, live.message.target.destination):
                    found.append(live)
                    if len(found) == limit:
                        return Page(items=found, next_cursor=cursor_of(live.id))
            if after is None:
                return Page(items=found, next_cursor=None)
        assert after is not None, "it goes on"
        return Page(items=found, next_cursor=cursor_of(after))

    async def count(self, prefix: str, contains: str) -> tuple[int, bool]:
        start, end = b"[" + prefix.encode(), b"(" + prefix.encode() + END_OF_PREFIX
        if not contains:
            return await self._command("ZLEXCOUNT", keys.INDEX, start, end), True
        count = 0
        give_up = self._clock.monotonic() + _COUNT_SECONDS
        for _ in range(_MOST_COUNTED // _SCAN):
            last, found = await self._run("count", [keys.INDEX], [start, end, contains, _SCAN])
            count += found
            if not last:
                return count, True
            if self._clock.monotonic() > give_up:
                break
            start = b"(" + last
        return count, False

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
