"""Dead letters: listed, grouped, scheduled again, deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson

from aioscheduler.clock import from_ms, to_ms
from aioscheduler.domain.execution import DeadReason
from aioscheduler.domain.message import Message, MessageId
from aioscheduler.domain.target import Destination, check_url
from aioscheduler.errors import InvalidInput
from aioscheduler.store import keys
from aioscheduler.store.base import NO_DESTINATION, DeadGroup, DeadGroups, DeadLetter, LetterGone, Page, Scheduled
from aioscheduler.store.calls import BATCH, END_OF_PREFIX, PAGE, Calls
from aioscheduler.store.codec import EXECUTION_MARK, dead_head, decode_dead, encode
from aioscheduler.store.cursors import BAD_CURSOR, cursor_of, open_cursor

#: How long the time of death is that stands before an id in the index, a NUL after it included.
_STAMP: Final = 14
#: How many letters one step looks at, how many steps a filtered page takes at most, and how many letters are grouped.
_LOOK, _MOST_LOOKS, _MOST_GROUPED = 500, 10, 20_000
#: How much of a letter is looked at, in bytes: where a longer one leads cannot be told if its URL comes later.
_MOST_HEAD: Final = 65_536
_DISCARDED: Final = [keys.DEAD, keys.DEAD_INDEX, keys.DEAD_GONE]


@dataclass(slots=True)
class _Look:
    """What can be told of a letter without reading it whole."""

    reason: DeadReason
    dead_ms: int
    destination: Destination | None = None
    webhook: tuple[str, str] | None = None
    """The job and the webhook that an execution was of."""

    def fits(self, reason: DeadReason | None, destination: Destination | None) -> bool:
        """Say whether a filter leaves it."""
        return reason in (None, self.reason) and destination in (None, self.destination or NO_DESTINATION)


class Letters(Calls):
    """The verbs about dead letters."""

    async def dead_letters(
        self,
        limit: int,
        cursor: str | None,
        prefix: str = "",
        reason: DeadReason | None = None,
        destination: Destination | None = None,
    ) -> Page[DeadLetter]:
        place = open_cursor(cursor, str)[0].encode() if cursor else None
        if destination is not None or (prefix and reason is not None):
            return await self._chosen_dead(destination, prefix, reason, limit, place)
        if prefix:
            return await self._dead_by_prefix(prefix, limit, place)
        head = b"r\0" + reason.value.encode() + b"\0" if reason else b"t\0"
        rows = await self._newest(keys.DEAD_INDEX, head, limit, place)
        letters = await self._dead([row[len(head) + _STAMP :].decode() for row in rows])
        return Page(items=letters, next_cursor=cursor_of(rows[-1].decode()) if len(rows) == limit else None)

    async def _newest(self, index: bytes, head: bytes, limit: int, place: bytes | None) -> list[bytes]:
        """Return members of an index that begin with ``head``, backwards, before ``place``."""
        if place is not None and not place.startswith(head):
            raise InvalidInput.of("cursor", BAD_CURSOR)
        end = b"(" + (head + END_OF_PREFIX if place is None else place)
        rows: list[bytes] = await self._command("ZREVRANGEBYLEX", index, end, b"[" + head, "LIMIT", 0, limit)
        return rows

    async def _dead_by_prefix(self, prefix: str, limit: int, place: bytes | None) -> Page[DeadLetter]:
        head = b"i\0" + prefix.encode()
        if place is not None and not place.startswith(head):
            raise InvalidInput.of("cursor", BAD_CURSOR)
        rows = await self._following(head, limit, place)
        letters = await self._dead([row[2:].decode() for row in rows])
        return Page(items=letters, next_cursor=cursor_of(rows[-1].decode()) if len(rows) == limit else None)

    async def _chosen_dead(
        self, destination: Destination | None, prefix: str, reason: DeadReason | None, limit: int, place: bytes | None
    ) -> Page[DeadLetter]:
        """Return those that no index lists, of so many as one call may look at."""
        if prefix:
            head, skip = b"i\0" + prefix.encode(), 2
        else:
            head = b"r\0" + reason.value.encode() + b"\0" if reason else b"t\0"
            skip = len(head) + _STAMP
        if place is not None and not place.startswith(head):
            raise InvalidInput.of("cursor", BAD_CURSOR)
        ids: list[str] = []
        for _ in range(_MOST_LOOKS):
            rows = await (self._following if prefix else self._before)(head, _LOOK, place)
            named = [row[skip:].decode() for row in rows]
            for row, letter_id, its in zip(rows, named, await self._look_at(named), strict=True):
                place = row
                if its is not None and its.fits(reason, destination):
                    ids.append(letter_id)
                    if len(ids) == limit:
                        return Page(items=await self._dead(ids), next_cursor=cursor_of(row.decode()))
            if len(rows) < _LOOK:
                return Page(items=await self._dead(ids), next_cursor=None)
        assert place is not None, "it looked at some"
        return Page(items=await self._dead(ids), next_cursor=cursor_of(place.decode()))

    async def _before(self, head: bytes, limit: int, place: bytes | None) -> list[bytes]:
        return await self._newest(keys.DEAD_INDEX, head, limit, place)

    async def _following(self, head: bytes, limit: int, place: bytes | None) -> list[bytes]:
        start = b"[" + head if place is None else b"(" + place
        rows: list[bytes] = await self._command(
            "ZRANGEBYLEX", keys.DEAD_INDEX, start, b"(" + head + END_OF_PREFIX, "LIMIT", 0, limit
        )
        return rows

    async def dead_groups(self) -> DeadGroups:
        groups: dict[tuple[DeadReason, Destination | None], tuple[int, int, int]] = {}
        total = await self._command("HLEN", keys.DEAD)
        looked, place = 0, None
        while looked < _MOST_GROUPED:
            rows = await self._before(b"t\0", _LOOK, place)
            for its in await self._look_at([row[2 + _STAMP :].decode() for row in rows]):
                if its is not None:
                    key = its.reason, its.destination
                    count, oldest, newest = groups.get(key, (0, its.dead_ms, its.dead_ms))
                    groups[key] = count + 1, min(oldest, its.dead_ms), max(newest, its.dead_ms)
            looked += len(rows)
            if len(rows) < _LOOK:
                break
            place = rows[-1]
        found = [
            DeadGroup(
                reason=reason, destination=destination, count=count, oldest=from_ms(oldest), newest=from_ms(newest)
            )
            for (reason, destination), (count, oldest, newest) in groups.items()
        ]
        return DeadGroups(groups=found, total=total, complete=looked < _MOST_GROUPED or looked >= total)

    async def _look_at(self, ids: Sequence[str]) -> list[_Look | None]:
        """Return what can be told of letters without reading them whole; ``None`` for one that is gone."""
        if not ids:
            return []
        heads = await self._run("letter_heads", [keys.DEAD], [_MOST_HEAD, *ids])
        looks = [_look(member, head) if head else None for member, head in zip(ids, heads, strict=True)]
        hooks = list({look.webhook for look in looks if look is not None and look.webhook is not None})
        if hooks:
            records = await self._together(*(("HGET", keys.webhooks(job), webhook) for job, webhook in hooks))
            urls = {
                hook: orjson.loads(record)["url"]
                for hook, record in zip(hooks, records, strict=True)
                if record is not None
            }
            for look in looks:
                if look is not None and look.webhook in urls:
                    look.destination = _destination(urls[look.webhook])
        return looks

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
                    *(record, keys.AUDIT, keys.AUDIT_MINUTES, keys.DEAD_GONE),
                ],
                [message.id, dead_head(to_ms(letter.dead_at), letter.reason), due_ms, encode(message)],
            )
            own.append(code == 1)
        if code == 1:
            self._tell(message, due_ms)
            return Scheduled.CREATED
        return Scheduled.EXISTS if code == 0 else None

    async def dead_of(self, ids: Sequence[MessageId]) -> Sequence[bool]:
        return [head != b"" for head in await self._run("letter_heads", [keys.DEAD], [1, *ids])]

    async def newest_gone(self) -> int:
        rows = await self._command("XREVRANGE", keys.DEAD_GONE, "+", "-", "COUNT", 1)
        return _number(rows[0][0]) if rows else 0

    async def gone_since(self, since: int, limit: int) -> tuple[Sequence[LetterGone], int]:
        rows = await self._command("XREVRANGE", keys.DEAD_GONE, "+", f"{since + 1}", "COUNT", limit)
        found: list[LetterGone] = []
        for place, values in reversed(rows):
            told = values if isinstance(values, dict) else dict(zip(values[::2], values[1::2], strict=True))
            letter_id = told[b"id"].decode().removeprefix(EXECUTION_MARK)
            found.append(LetterGone(number=_number(place), id=letter_id, change=told[b"change"].decode()))
        return found, found[0].number - since - 1 if found else 0

    async def discard_letters(self, letters: Sequence[DeadLetter]) -> Sequence[bool]:
        found: list[bool] = []
        for start in range(0, len(letters), BATCH):
            part = letters[start : start + BATCH]
            # One that died again meanwhile is another letter.
            before_ms = max(to_ms(letter.dead_at) for letter in part) + 1
            members = [letter.id if letter.execution is None else EXECUTION_MARK + letter.id for letter in part]
            gone = set(await self._run("discard", _DISCARDED, [before_ms, *members]))
            found += [number in gone for number in range(1, len(part) + 1)]
        return found

    async def discard(self, message_id: MessageId) -> bool:
        for member in (message_id, EXECUTION_MARK + message_id.lower()):
            if await self._run("discard", _DISCARDED, ["", member]):
                return True
        return False

    async def forget_dead(self, before: datetime, limit: int = PAGE) -> int:
        before_ms = to_ms(before)
        rows = await self._command("ZRANGEBYLEX", keys.DEAD_INDEX, b"[t\0", b"(t\0%013d" % before_ms, "LIMIT", 0, limit)
        if not rows:
            return 0
        ids = [row[2 + _STAMP :] for row in rows]
        return len(await self._run("discard", _DISCARDED, [before_ms, *ids]))


def _number(place: bytes) -> int:
    return int(place.partition(b"-")[0])


def _look(member: str, letter: bytes) -> _Look:
    head, _, record = letter.partition(b"\n")
    at, reason, meta = head.split(b" ", 2)
    look = _Look(DeadReason(reason.decode()), int(at))
    try:
        if member.startswith(EXECUTION_MARK):
            webhook = orjson.loads(record[1:])[0]
            look.webhook = (orjson.loads(meta)["job"], webhook) if webhook else None
        else:
            look.destination = _destination(_members(record)["webhookUrl"])
    except (orjson.JSONDecodeError, TypeError, KeyError):
        pass  # longer than what was looked at, or nobody can parse it
    return look


def _members(record: bytes) -> dict[str, object]:
    """Return the members of a record, or those before its payload where it was cut off there."""
    try:
        found = orjson.loads(record)
    except orjson.JSONDecodeError:
        found = orjson.loads(record + b"}")
    return found if isinstance(found, dict) else {}


def _destination(url: object) -> Destination | None:
    try:
        return check_url(url)
    except InvalidInput:
        return None
