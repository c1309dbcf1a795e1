"""Live messages, one by one: written, cancelled, read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from aioscheduler.clock import from_ms, to_ms
from aioscheduler.domain.message import ConflictPolicy, Message, MessageId, MessageStatus, Tag, new_version
from aioscheduler.errors import InvalidInput
from aioscheduler.store import keys
from aioscheduler.store.base import UNKNOWN, LiveMessage, Receipt, Scheduled
from aioscheduler.store.batch import Batcher
from aioscheduler.store.calls import BATCH, Calls, Setup
from aioscheduler.store.codec import State, decode, encode
from aioscheduler.store.scripts import ScheduleCode

_SCHEDULED: Final[Mapping[int, Scheduled]] = {
    ScheduleCode.CREATED: Scheduled.CREATED,
    ScheduleCode.REPLACED: Scheduled.REPLACED,
    ScheduleCode.EXISTS: Scheduled.EXISTS,
    ScheduleCode.FOREIGN_KEY: Scheduled.FOREIGN_KEY,
    ScheduleCode.CREATED_BEFORE: Scheduled.CREATED,
    ScheduleCode.NOT_AS_SEEN: Scheduled.NOT_AS_SEEN,
    ScheduleCode.REPLACED_BEFORE: Scheduled.REPLACED,
}
#: The codes of what this call wrote; and those after which the message is as asked for.
_WRITTEN = frozenset((int(ScheduleCode.CREATED), int(ScheduleCode.REPLACED)))
_LIVE = _WRITTEN | {int(ScheduleCode.CREATED_BEFORE), int(ScheduleCode.REPLACED_BEFORE)}
#: By how much a code is higher where a lease was taken away: so much for the caller's, twice as much for another's.
_TAKEN = 10


class _Write(NamedTuple):
    message: Message
    due_ms: int
    record: bytes
    policy: str


class Messages(Calls):
    """The verbs about one message, or some by their ids."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._deciding: set[asyncio.Task[Scheduled]] = set()
        self._schedule = Batcher(self._schedule_batch, BATCH, weigh=lambda item: len(item.record))

    async def schedule(self, message: Message, policy: ConflictPolicy, fire_at: datetime) -> Scheduled:
        return await self._schedule(_Write(message, to_ms(fire_at), encode(message), policy.value))

    async def replace_seen(self, message: Message, seen: Sequence[Tag], fire_at: datetime) -> Scheduled:
        return await self._schedule(_Write(message, to_ms(fire_at), encode(message), " ".join(("if", *seen))))

    def hand_in(self, message: Message, policy: ConflictPolicy, fire_at: datetime, receipt: Receipt[Scheduled]) -> None:
        self._schedule.post(_Write(message, to_ms(fire_at), encode(message), policy.value), receipt)

    async def _schedule_batch(self, items: list[_Write]) -> Sequence[Scheduled | asyncio.Future[Scheduled]]:
        records = [keys.record(item.message.id) for item in items]
        args: list[Any] = [self._replica]
        for item in items:
            args += (item.message.id, item.due_ms, item.record, item.policy)
        with self._echo(records) as own:
            codes: list[int] = await self._run("schedule", [*keys.LIVE, *records], args)
            own += [code % _TAKEN in _WRITTEN for code in codes]
        tell = self.on_scheduled
        results: list[Scheduled | asyncio.Future[Scheduled]] = []
        for item, code in zip(items, codes, strict=True):
            if tell is not None and code % _TAKEN in _LIVE:
                tell(item.message.id, item.due_ms, item.message.target.destination)
            results.append(_SCHEDULED[code] if code < _TAKEN else self._once_decided(item.message.id, code))
        return results

    def _once_decided(self, message_id: MessageId, code: int) -> asyncio.Future[Scheduled]:
        async def decide() -> Scheduled:
            await self._decided(code)
            return _SCHEDULED[code % _TAKEN]

        self._note_taken(message_id, code)
        task = asyncio.create_task(decide(), name="wait for a lease taken away")
        self._deciding.add(task)
        task.add_done_callback(self._deciding.discard)
        return task

    async def cancel(self, ids: Sequence[MessageId]) -> Sequence[bool]:
        found: list[bool] = []
        most = 0
        for start in range(0, len(ids), BATCH):
            chunk = ids[start : start + BATCH]
            records = [keys.record(message_id) for message_id in chunk]
            with self._echo(records) as own:
                codes = await self._run("cancel", [*keys.LIVE, *records], [self._replica, *chunk])
                own += [code % _TAKEN == 1 for code in codes]
            found += own
            for message_id, code in zip(chunk, codes, strict=True):
                if code >= _TAKEN:
                    self._note_taken(message_id, code)
            most = max(most, *codes)
        await self._decided(most)
        return found

    async def get(self, message_id: MessageId) -> LiveMessage | None:
        found = await self._load([message_id])
        return found[0] if found else None

    async def _load(self, ids: Sequence[MessageId]) -> list[LiveMessage]:
        """Return those of the messages that live, as they are at one moment."""
        if not ids:
            return []
        records = [keys.record(message_id) for message_id in ids]
        rows = await self._run("load", [keys.DUE, keys.LEASED, keys.STATE, *records], list(ids))
        found = (
            self._live(ids[int(rows[i]) - 1], rows[i + 1], State.decode(rows[i + 2]), rows[i + 3], rows[i + 4])
            for i in range(0, len(rows), 5)
        )
        return [live for live in found if live is not None]

    def _live(self, message_id: MessageId, record: bytes, state: State, lease: bytes, due: bytes) -> LiveMessage | None:
        version = state.version_of(record)
        try:
            message = decode(message_id, record, version or new_version(self._clock.now_ms()), self._zone)
        except InvalidInput:
            return None  # an outsider's, seen in the moment before it is set aside
        due_ms, status, attempts = standing(state, lease, due)
        return LiveMessage(
            message=message,
            next_run_at=from_ms(due_ms),
            status=status,
            attempts=attempts,
            last_error=state.last_error,
        )

    async def run_now(self, message_id: MessageId, now: datetime) -> bool:
        now_ms = to_ms(now)
        code = await self._run(
            "run_now", [keys.DUE, keys.LEASED, keys.record(message_id), keys.STATE], [message_id, now_ms]
        )
        if code == 1 and self.on_scheduled is not None:
            self.on_scheduled(message_id, now_ms, UNKNOWN)
        return bool(code)


def standing(state: State, lease: bytes | None, due: bytes | int) -> tuple[int, MessageStatus, int]:
    """Return when a message is or was due, in ms, what it is doing, and how many attempts it had."""
    if lease:
        _, _, attempt, due_text, _ = lease.split(b":")
        return int(float(due_text)), MessageStatus.DELIVERING, int(attempt)
    return int(float(due)), MessageStatus.RETRYING if state.failures else MessageStatus.SCHEDULED, state.attempts
