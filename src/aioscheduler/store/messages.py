"""Live messages, one by one: written, cancelled, read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from aioscheduler.clock import from_ms, to_ms
from aioscheduler.domain.message import ConflictPolicy, Message, MessageId, MessageStatus, new_version
from aioscheduler.errors import InvalidInput
from aioscheduler.store import keys
from aioscheduler.store.base import UNKNOWN, LiveMessage, Scheduled
from aioscheduler.store.batch import Batcher
from aioscheduler.store.calls import BATCH, Calls, Setup
from aioscheduler.store.codec import State, decode, encode
from aioscheduler.store.scripts import ScheduleCode

_SCHEDULED = {
    ScheduleCode.CREATED: Scheduled.CREATED,
    ScheduleCode.REPLACED: Scheduled.REPLACED,
    ScheduleCode.EXISTS: Scheduled.EXISTS,
    ScheduleCode.FOREIGN_KEY: Scheduled.FOREIGN_KEY,
    ScheduleCode.CREATED_BEFORE: Scheduled.CREATED,
}


class Messages(Calls):
    """The verbs about one message, or some by their ids."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._schedule = Batcher(self._schedule_batch, BATCH, weigh=lambda item: len(item[2]))

    async def schedule(self, message: Message, policy: ConflictPolicy, fire_at: datetime) -> Scheduled:
        due_ms = to_ms(fire_at)
        code = await self._schedule((message.id, due_ms, encode(message), policy))
        result = _SCHEDULED[ScheduleCode(code % 10)]
        if result in (Scheduled.CREATED, Scheduled.REPLACED):
            self._tell(message, due_ms)
        if code >= 10:
            await self._note_taken([(message.id, code)])
        return result

    async def _schedule_batch(self, items: list[tuple[MessageId, int, bytes, ConflictPolicy]]) -> Sequence[int]:
        records = [keys.record(message_id) for message_id, _, _, _ in items]
        args: list[Any] = [self._replica]
        for message_id, due_ms, record, policy in items:
            args += (message_id, due_ms, record, policy.value)
        with self._echo(records) as own:
            codes = await self._run("schedule", [*keys.LIVE, *records], args)
            own += [code % 10 in (ScheduleCode.CREATED, ScheduleCode.REPLACED) for code in codes]
        return list(codes)

    async def cancel(self, ids: Sequence[MessageId]) -> Sequence[bool]:
        found: list[bool] = []
        taken: list[tuple[MessageId, int]] = []
        for start in range(0, len(ids), BATCH):
            chunk = ids[start : start + BATCH]
            records = [keys.record(message_id) for message_id in chunk]
            with self._echo(records) as own:
                codes = await self._run("cancel", [*keys.LIVE, *records], [self._replica, *chunk])
                own += [code % 10 == 1 for code in codes]
            found += own
            taken += [item for item in zip(chunk, codes, strict=True) if item[1] >= 10]
        if taken:
            await self._note_taken(taken)
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
