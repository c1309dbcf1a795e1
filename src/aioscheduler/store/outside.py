"""Those who write, change and delete records themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from aioscheduler.clock import to_ms
from aioscheduler.domain.execution import DeadReason
from aioscheduler.domain.message import MessageId, new_version
from aioscheduler.errors import InvalidInput
from aioscheduler.store import keys
from aioscheduler.store.base import UNKNOWN, Found
from aioscheduler.store.calls import BATCH, PAGE, Calls
from aioscheduler.store.codec import State, decode, encode_dead, own_version, sha1


class Outside(Calls):
    """The verbs about records that others write."""

    async def outside_ids(self) -> AsyncIterator[Sequence[MessageId]]:
        cursor = 0
        while True:
            cursor, found = await self._command("SCAN", cursor, "MATCH", keys.RECORD_PREFIX + b"*", "COUNT", PAGE // 4)
            ids = [message_id for key in found if (message_id := keys.message_id_of(key)) is not None]
            if ids:
                yield ids
            if cursor == 0:
                return

    async def examine(self, ids: Sequence[MessageId]) -> Sequence[Found]:
        found: list[Found] = []
        for start in range(0, len(ids), BATCH):
            found += await self._examine(ids[start : start + BATCH])
        return found

    async def _examine(self, ids: Sequence[MessageId]) -> list[Found]:
        records = [keys.record(message_id) for message_id in ids]
        rows = await self._run(
            "inspect",
            [*keys.LIVE, *records],
            list(ids),
        )
        found: list[Found] = []
        new: list[tuple[MessageId, bytes]] = []
        for message_id, code, companion in zip(ids, rows[::2], rows[1::2], strict=True):
            match code:
                case b"new":
                    new.append((message_id, companion))
                case b"due":
                    found.append(Found(message_id, due_ms=int(float(companion))))
                case b"foreign":
                    found.append(Found(message_id, foreign_type=companion.decode()))
                case _:
                    pass
        if new:
            found += await self._adopt(new)
        return found

    async def _adopt(self, items: Sequence[tuple[MessageId, bytes]]) -> list[Found]:
        now_ms = self._clock.now_ms()
        args: list[Any] = []
        found: list[Found] = []
        for message_id, record in items:
            version = own_version(record) or new_version(now_ms)
            state, letter, due_ms, destination, error = b"", b"", 0, UNKNOWN, None
            try:
                message = decode(message_id, record, version, self._zone)
            except InvalidInput as invalid:
                error = str(invalid)
                letter = encode_dead(now_ms, DeadReason.INVALID_RECORD, record, version, 0, error)
            else:
                due_ms, destination = to_ms(message.due_at), message.target.destination
                state = State(origin=f"{version} {sha1(record)}").encode().encode()
            args += (message_id, record, now_ms if error else due_ms, state, letter)
            found.append(Found(message_id, due_ms=due_ms, destination=destination, invalid=error, adopted=True))
        done = await self._run(
            "adopt",
            [
                *(keys.DUE, keys.LEASED, keys.STATE, keys.INDEX, keys.COUNTERS, keys.DEAD, keys.DEAD_INDEX),
                *(keys.AUDIT, keys.AUDIT_MINUTES),
                *(keys.record(message_id) for message_id, _ in items),
            ],
            args,
        )
        # One that was written again in between has its own notification on the way.
        return [replace(one, adopted=code == 1) for one, code in zip(found, done, strict=True) if code]
