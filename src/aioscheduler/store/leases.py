"""Claim and settle: the bounded right to one attempt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from aioscheduler.clock import from_ms, to_ms
from aioscheduler.domain.execution import Outcome
from aioscheduler.domain.message import MessageId, attempt_due
from aioscheduler.domain.target import Destination, check_url
from aioscheduler.errors import InvalidInput, StoreUnavailable
from aioscheduler.metrics import DURATION_BOUNDS_MS, LATENESS_BOUNDS_MS, bucket
from aioscheduler.store import keys
from aioscheduler.store.ahead import Ahead
from aioscheduler.store.base import UNKNOWN, Claimed, Decision, Lease, Receipt, Settled, Settlement
from aioscheduler.store.batch import Batcher
from aioscheduler.store.calls import BATCH, Setup
from aioscheduler.store.codec import State, decode, encode_dead, encode_delivery
from aioscheduler.store.outside import Outside
from aioscheduler.store.punctuality import Tally
from aioscheduler.store.recurring import ClaimedExecution
from aioscheduler.store.scripts import SettleCode

#: A lease outlives the longest attempt, 300 s, by a minute: for the settle, and for clocks that differ.
LEASE: Final = timedelta(seconds=360)
#: So many records are read at once: large ones would come too late, and many hold up whatever else is due.
_RECORDS: Final = 32
#: Where the lateness stands in what a settlement hands to the script.
_LATE_US: Final = 10
#: How long a heartbeat counts.
HEARTBEAT_MS: Final = 2000

_SETTLED = {
    SettleCode.APPLIED: Settled.APPLIED,
    SettleCode.LOST: Settled.LOST,
    SettleCode.CHANGED: Settled.CHANGED,
    SettleCode.GONE: Settled.APPLIED,
}


class Leases(Outside):
    """The verbs of the engine about due messages."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._log_size = setup.delivery_log_size
        self._bot_lease_ms = setup.bot_lease_ms
        self._settle = Batcher(self._settle_batch, BATCH, weigh=lambda item: len(item[0].claimed.record))
        self._examining: set[asyncio.Task[Settled]] = set()
        self._late = Tally("m", setup.clock, lambda: self._settle_batch([]))
        self._ahead = Ahead(setup.zone, setup.clock)
        self._claims = 0
        self._claiming: set[int] = set()
        #: With their ids: what one claim leased for one time has the same lease.
        self._held: set[tuple[str, Lease]] = set()
        self._reconcile_at = float("-inf")

    async def destinations(self, ids: Sequence[MessageId]) -> Sequence[Destination | None]:
        return [_destination(record) async for _, record in self._records(ids)]

    async def look_ahead(self, ids: Sequence[MessageId]) -> Sequence[Destination | None]:
        found: list[Destination | None] = []
        async for message_id, record in self._records(ids):
            message = self._ahead.read(message_id, record)
            found.append(_destination(record) if message is None else message.target.destination)
        return found

    async def _records(self, ids: Sequence[MessageId]) -> AsyncIterator[tuple[MessageId, bytes | None]]:
        for start in range(0, len(ids), _RECORDS):
            chunk = ids[start : start + _RECORDS]
            for pair in zip(chunk, await self._command("MGET", *map(keys.record, chunk)), strict=True):
                yield pair

    async def claim(self, ids: Sequence[MessageId], now: datetime, ahead: timedelta = timedelta()) -> Sequence[Claimed]:
        now_ms = int(now.timestamp() * 1000)
        asked_at = self._clock.monotonic()
        with self._claim_of() as number:
            rows = await self._run(
                "claim",
                [
                    *(keys.DUE, keys.LEASED, keys.STATE, keys.INDEX),
                    *(keys.heartbeat(self._replica), keys.COUNTERS, keys.AUDIT, keys.AUDIT_MINUTES),
                    *(keys.record(message_id) for message_id in ids),
                ],
                [
                    *(now_ms, f"{self._replica}:{number}", now_ms + int(LEASE.total_seconds() * 1000), HEARTBEAT_MS),
                    *(self._ask_time, ahead // timedelta(milliseconds=1), *ids),
                ],
            )
        if self._steered is not None:
            self._steered.compare(int(rows[0]), asked_at, self._clock.monotonic())
        claimed: list[Claimed] = []
        changed: list[tuple[MessageId, bytes]] = []
        early: list[tuple[MessageId, int]] = []
        for i in range(1, len(rows), 5):
            message_id = ids[int(rows[i]) - 1]
            if not rows[i + 1]:
                early.append((message_id, int(float(rows[i + 2]))))
                continue
            leased = self._claimed(message_id, rows[i + 1], rows[i + 2], rows[i + 3], rows[i + 4], now)
            if leased is None:
                changed.append((message_id, rows[i + 4]))
            else:
                leased.asked_at = asked_at
                self._held.add((message_id, leased.lease))
                claimed.append(leased)
        if early and self._steered is not None:
            self._note_ahead(now_ms, int(rows[0]) // 1000)
        for message_id, due_ms in early:
            if self.on_scheduled is not None:
                self.on_scheduled(message_id, due_ms, UNKNOWN)
        if changed:
            try:
                self._tell_found(await self._adopt(changed))
            except StoreUnavailable:
                self._reconcile_at = float("-inf")  # their leases go back, the others' attempts must not wait for that
        return claimed

    @contextmanager
    def _claim_of(self) -> Iterator[int]:
        """Number a claim."""
        self._claims = number = self._claims + 1
        self._claiming.add(number)
        try:
            yield number
        except BaseException:
            self._reconcile_at = float("-inf")  # nobody knows whether the claim was made
            raise
        finally:
            self._claiming.discard(number)

    def _claimed(
        self, message_id: MessageId, lease: bytes, due: bytes, state_text: bytes, record: bytes, now: datetime
    ) -> Claimed | None:
        state = State.decode(state_text)
        message = self._ahead.take(message_id, record)
        if message is None:
            version = state.version_of(record)
            if version is None:
                return None
            try:
                message = decode(message_id, record, version, self._zone)
            except InvalidInput:
                return None
        at_ms = int(float(due))
        if not state.failures and state.planned_ms is None and to_ms(message.due_at) > at_ms:
            # Another version of ours, which an outsider wrote back: the due time is that of the one it took away.
            return None
        return Claimed(
            message=message,
            record=record,
            lease=Lease(lease.decode()),
            attempt=int(lease.split(b":")[2]),
            failures=state.failures,
            last_error=state.last_error,
            due_at=attempt_due(message, from_ms(at_ms), state.failures),
            claimed_at=now,
            origin=state.origin,
            planned_ms=at_ms if state.planned_ms is None else state.planned_ms,
            at_ms=at_ms,
        )

    async def still_leased(self, claimed: Sequence[Claimed]) -> Sequence[bool]:
        leases = await self._command("HMGET", keys.LEASED, *(each.message.id for each in claimed))
        return [lease == each.lease.encode() for lease, each in zip(leases, claimed, strict=True)]

    async def settle(self, settlement: Settlement) -> Settled:
        with self._coming_again([settlement]):
            return await self._settle((settlement, self._settle_args(settlement)))

    def hand_over(self, settlement: Settlement, receipt: Receipt[Settled]) -> None:
        try:
            args = self._settle_args(settlement)
        except BaseException:
            self._held.discard((settlement.claimed.message.id, settlement.claimed.lease))
            raise
        self._settle.post((settlement, args), receipt)

    @contextmanager
    def _coming_again(self, settlements: Sequence[Settlement]) -> Iterator[None]:
        """Where nobody will try again to end these leases, let them be given back."""
        try:
            yield
        except StoreUnavailable:
            raise  # the caller comes again
        except BaseException:
            self._held.difference_update((each.claimed.message.id, each.claimed.lease) for each in settlements)
            raise

    async def _settle_batch(
        self, items: list[tuple[Settlement, tuple[Any, ...]]]
    ) -> Sequence[Settled | asyncio.Future[Settled]]:
        late = self._late.take()
        args: list[Any] = [self._log_size, late.text, late.place]
        records = []
        removing = []
        for settlement, its_args in items:
            records.append(keys.record(settlement.claimed.message.id))
            removing.append(settlement.decision in (Decision.DONE, Decision.BURY))
            args += its_args
        expected = [record for record, removes in zip(records, removing, strict=True) if removes]
        with self._coming_again([settlement for settlement, _ in items]), self._echo(expected) as own:
            codes = await self._run(
                "settle",
                [
                    *(keys.DUE, keys.LEASED, keys.STATE, keys.INDEX, keys.COUNTERS),
                    *(keys.DEAD, keys.DEAD_INDEX, keys.DELIVERIES, keys.DELIVERIES_INDEX),
                    *(keys.AUDIT, keys.AUDIT_MINUTES, *late.keys),
                    *records,
                ],
                args,
            )
            own += [code == SettleCode.APPLIED for code, removes in zip(codes, removing, strict=True) if removes]
        return [self._settled(*item, code) for item, code in zip(items, codes, strict=True)]

    def _settled(
        self, settlement: Settlement, args: tuple[Any, ...], code: SettleCode
    ) -> Settled | asyncio.Future[Settled]:
        claimed = settlement.claimed
        self._held.discard((claimed.message.id, claimed.lease))
        if settlement.outcome is not None and not claimed.failures:
            self._late.note(args[_LATE_US], claimed.message.target.destination)
        settled = _SETTLED[code]
        return self._once_examined(claimed.message.id) if settled is Settled.CHANGED else settled

    def _once_examined(self, message_id: MessageId) -> asyncio.Future[Settled]:
        async def examine() -> Settled:
            self._tell_found(await self.examine([message_id]))
            return Settled.CHANGED

        task = asyncio.create_task(examine(), name="look at a message that changed")
        self._examining.add(task)
        task.add_done_callback(self._examining.discard)
        return task

    def _settle_args(self, settlement: Settlement) -> tuple[Any, ...]:
        claimed, outcome = settlement.claimed, settlement.outcome
        message = claimed.message
        error = outcome.error if outcome else None
        due, state, letter = "", "", b""
        match settlement.decision:
            case Decision.RETRY:
                assert settlement.retry_at is not None, "a retry has its time"
                due = str(to_ms(settlement.retry_at))
                state = State(claimed.attempt, claimed.failures + 1, claimed.origin, error, claimed.planned_ms).encode()
            case Decision.RELEASE:
                due_ms = to_ms(settlement.retry_at or claimed.due_at)
                due = str(due_ms)
                planned_ms = None if due_ms == claimed.planned_ms else claimed.planned_ms
                # An attempt that began has used up its number; one that did not gives it back.
                attempts = claimed.attempt if settlement.begun else claimed.attempt - 1
                kept = State(attempts, claimed.failures, claimed.origin, claimed.last_error, planned_ms)
                state = kept.encode() if kept != State() else ""
            case Decision.BURY:
                assert settlement.reason is not None, "a dead letter has its reason"
                letter = encode_dead(
                    self._clock.now_ms(),
                    settlement.reason,
                    claimed.record,
                    message.version,
                    claimed.attempt if outcome else claimed.attempt - 1,
                    error or claimed.last_error,
                )
            case Decision.DONE:
                pass
        line, status, names, late_us, took_us = self._log_line(settlement) if outcome else (b"", "", "", 0, 0)
        return (
            message.id,
            f"-{claimed.lease}" if settlement.repeated else claimed.lease,
            "retry" if settlement.decision is Decision.RELEASE else settlement.decision.value,
            claimed.record,
            due,
            state,
            letter,
            line,
            status,
            names,
            late_us,
            took_us,
            claimed.planned_ms,
        )

    @staticmethod
    def _log_line(settlement: Settlement) -> tuple[bytes, str, str, int, int]:
        claimed, outcome = settlement.claimed, settlement.outcome
        assert outcome is not None, "only attempts are logged"
        kind = "dead_letter" if settlement.decision is Decision.BURY else outcome.kind.value
        line, names, late_us, took_us = attempt_line(claimed, outcome, claimed.attempt, claimed.message.due_at)
        return line, outcome.kind.value, f"deliveries:message:{kind},{names}", late_us, took_us

    async def defer(self, ids: Sequence[MessageId], until: datetime, now: datetime) -> None:
        await self._run("defer", [keys.DUE, keys.STATE], [to_ms(until), to_ms(now), *ids])


def _destination(record: bytes | None) -> Destination | None:
    if record is None:
        return None
    try:
        return check_url(orjson.loads(record)["webhookUrl"])
    except (InvalidInput, orjson.JSONDecodeError, TypeError, KeyError):
        return None


def lateness_us(claimed: Claimed | ClaimedExecution, outcome: Outcome) -> int:
    """Return how late an attempt left, or could not."""
    return round(((outcome.sent_at or outcome.started_at) - claimed.due_at).total_seconds() * 1_000_000)


def attempt_line(
    claimed: Claimed | ClaimedExecution,
    outcome: Outcome,
    attempt: int,
    scheduled_for: datetime,
    execution_id: str | None = None,
) -> tuple[bytes, str, int, int]:
    """Return an attempt's line of the delivery log, which counters of all deliveries it adds one to, how late it was
    and how long it took, in µs."""
    late_us = lateness_us(claimed, outcome)
    lateness_ms = late_us / 1000
    line = encode_delivery(
        outcome,
        attempt=attempt,
        scheduled_for=scheduled_for,
        due_at=claimed.due_at,
        claimed_at=claimed.claimed_at,
        lateness_ms=lateness_ms,
        execution_id=execution_id,
    )
    names = (
        f"lateness_ms:le:{bucket(LATENESS_BOUNDS_MS, lateness_ms)},"
        f"duration_ms:le:{bucket(DURATION_BOUNDS_MS, outcome.duration_ms)},"
    )
    if lateness_ms < 0:
        names += "fired_early,"
    return line, names, late_us, round(outcome.duration_ms * 1000)
