"""RedisStore: each verb one script, one command or one transaction."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final, TypeVar

import orjson
from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from aioscheduler.clock import Clock, from_ms, to_ms
from aioscheduler.domain.execution import DeadReason, OutcomeKind
from aioscheduler.domain.message import ConflictPolicy, Message, MessageId, MessageStatus, attempt_due, new_version
from aioscheduler.domain.target import Destination, check_url
from aioscheduler.errors import InvalidInput, Sentence, StoreUnavailable
from aioscheduler.metrics import DURATION_BOUNDS_MS, LATENESS_BOUNDS_MS, bucket
from aioscheduler.store import keys
from aioscheduler.store.base import (
    Claimed,
    Counts,
    DeadLetter,
    Decision,
    Delivery,
    Found,
    Lease,
    LiveMessage,
    Page,
    Recovered,
    Scheduled,
    ScheduleListener,
    Settled,
    Settlement,
    StoreReport,
)
from aioscheduler.store.batch import Batcher
from aioscheduler.store.codec import (
    State,
    dead_head,
    decode,
    decode_dead,
    decode_delivery,
    encode,
    encode_dead,
    encode_delivery,
    own_version,
    sha1,
)
from aioscheduler.store.echoes import Echoes
from aioscheduler.store.report import report
from aioscheduler.store.scripts import ScheduleCode, SettleCode, script

#: No call takes longer, in seconds: the API promises its 503 within two.
CALL_TIMEOUT: Final = 1.6
#: A lease outlives the longest attempt, 300 s, by a minute: for the settle, and for clocks that differ.
LEASE: Final = timedelta(seconds=360)
#: How long a heartbeat counts, and for how long a replica must be seen without one until it is taken for dead.
HEARTBEAT_MS: Final = 2000
CONFIRM_SECONDS: Final = 1.5
#: A look at the replicas counts as continuous with the one before when it comes within this, in seconds.
CONTINUOUS_SECONDS: Final = 1.2
RECONCILE_SECONDS: Final = 5.0

#: For what goes to the server beside the store's calls.
_SPARE_CONNECTIONS = 4
_SCHEDULE_BATCH = 512
_SETTLE_BATCH = 512
_PAGE = 1000
_SCAN = 2000
_END_OF_PREFIX = b"\xff"  # no byte of UTF-8

_SCHEDULED = {
    ScheduleCode.CREATED: Scheduled.CREATED,
    ScheduleCode.REPLACED: Scheduled.REPLACED,
    ScheduleCode.EXISTS: Scheduled.EXISTS,
    ScheduleCode.FOREIGN_KEY: Scheduled.FOREIGN_KEY,
}
_SETTLED = {
    SettleCode.APPLIED: Settled.APPLIED,
    SettleCode.LOST: Settled.LOST,
    SettleCode.CHANGED: Settled.CHANGED,
    SettleCode.GONE: Settled.APPLIED,
}
#: Refusals of a healthy protocol that mean: not now. Any other refusal is a defect of ours.
_TROUBLE = ("OOM", "READONLY", "LOADING", "MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH", "NOPERM",
            "WRONGPASS", "BUSY", "UNBLOCKED", "EXECABORT")  # fmt: skip

T = TypeVar("T")


@contextmanager
def translated() -> Iterator[None]:
    """Turn whatever says that Redis cannot be used now into :class:`StoreUnavailable`."""
    try:
        yield
    except (
        ConnectionError,
        RedisTimeoutError,
        TimeoutError,
        AuthenticationError,
        BusyLoadingError,
        OutOfMemoryError,
        ReadOnlyError,
        OSError,
    ) as error:
        raise StoreUnavailable(_UNREACHABLE) from error
    except ResponseError as error:
        if str(error).startswith(_TROUBLE):
            raise StoreUnavailable(_REFUSED) from error
        raise
    except RedisError as error:
        raise StoreUnavailable(_UNREACHABLE) from error


_UNREACHABLE = Sentence("The store cannot be reached. Try again in a moment.")
_REFUSED = Sentence("The store refuses to work at the moment. Try again later.")


class RedisStore:
    """The store on Redis 6.2 or later, or Valkey."""

    def __init__(
        self,
        redis: Redis,
        clock: Clock,
        *,
        zone: tzinfo,
        replica: str,
        delivery_log_size: int = 100_000,
        kind: str = "redis",
    ) -> None:
        self.on_scheduled: ScheduleListener | None = None
        self.echoes = Echoes(clock.monotonic)
        self._redis = redis
        # The pool refuses whom it has no connection for; here they queue.
        self._turn = asyncio.Semaphore(max(1, redis.connection_pool.max_connections - _SPARE_CONNECTIONS))
        self._clock = clock
        self._zone = zone
        self._replica = replica
        self._log_size = delivery_log_size
        self._kind = kind
        self._schedule = Batcher(self._schedule_batch, _SCHEDULE_BATCH, weigh=lambda item: len(item[2]))
        self._settle = Batcher(self._settle_batch, _SETTLE_BATCH, weigh=lambda item: len(item[0].claimed.record))
        self._claims = 0
        self._claiming: set[int] = set()
        self._held: set[Lease] = set()
        self._others: set[str] = set()
        self._missing_since: dict[str, float] = {}
        self._looked_at = float("-inf")
        self._reconcile_at = float("-inf")

    # -- plumbing

    async def _call(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            with translated():
                async with asyncio.timeout(CALL_TIMEOUT), self._turn:
                    return await call
        finally:
            call.close()  # it may never have had its turn

    async def _run(self, name: str, key_names: list[bytes], args: list[Any]) -> Any:
        return await self._call(script(name)(self._redis, key_names, args))

    async def _command(self, *command: Any) -> Any:
        return await self._call(self._redis.execute_command(*command))  # type: ignore[no-untyped-call]

    async def _transaction(self, *commands: tuple[Any, ...]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=True)
        for command in commands:
            pipe.execute_command(*command)
        return await self._call(pipe.execute())

    # -- messages

    async def schedule(self, message: Message, policy: ConflictPolicy, fire_at: datetime) -> Scheduled:
        due_ms = to_ms(fire_at)
        code = await self._schedule((message.id, due_ms, encode(message), policy))
        if code in (Scheduled.CREATED, Scheduled.REPLACED):
            self._tell(message, due_ms)
        return code

    def _tell(self, message: Message, due_ms: int) -> None:
        if self.on_scheduled is not None:
            self.on_scheduled(message.id, due_ms, message.target.destination)

    async def _schedule_batch(self, items: list[tuple[MessageId, int, bytes, ConflictPolicy]]) -> Sequence[Scheduled]:
        records = [keys.record(message_id) for message_id, _, _, _ in items]
        args: list[Any] = []
        for message_id, due_ms, record, policy in items:
            args += (message_id, due_ms, record, policy.value)
        with self._echo(records) as own:
            codes = await self._run(
                "schedule", [keys.DUE, keys.LEASED, keys.STATE, keys.INDEX, keys.COUNTERS, *records], args
            )
            own += [code in (ScheduleCode.CREATED, ScheduleCode.REPLACED) for code in codes]
        return [_SCHEDULED[code] for code in codes]

    @contextmanager
    def _echo(self, records: Sequence[bytes]) -> Iterator[list[bool]]:
        """Expect a notification for each record; the block fills in which it really caused."""
        for record in records:
            self.echoes.expect(record)
        caused: list[bool] = []
        try:
            yield caused
        finally:
            caused += [False] * (len(records) - len(caused))
            for record, did in zip(records, caused, strict=True):
                if not did:
                    self.echoes.forget(record)

    async def cancel(self, ids: Sequence[MessageId]) -> Sequence[bool]:
        found: list[bool] = []
        for start in range(0, len(ids), _SCHEDULE_BATCH):
            chunk = ids[start : start + _SCHEDULE_BATCH]
            records = [keys.record(message_id) for message_id in chunk]
            with self._echo(records) as own:
                codes = await self._run(
                    "cancel", [keys.DUE, keys.LEASED, keys.STATE, keys.INDEX, keys.COUNTERS, *records], list(chunk)
                )
                own += [code == 1 for code in codes]
            found += own
        return found

    async def get(self, message_id: MessageId) -> LiveMessage | None:
        found = await self._load([message_id])
        return found[0] if found else None

    async def _load(self, ids: Sequence[MessageId]) -> list[LiveMessage]:
        """Return those of the messages that live, as they are at one moment."""
        if not ids:
            return []
        records, states, leases, dues = await self._transaction(
            ("MGET", *(keys.record(message_id) for message_id in ids)),
            ("HMGET", keys.STATE, *ids),
            ("HMGET", keys.LEASED, *ids),
            ("ZMSCORE", keys.DUE, *ids),
        )
        found = (
            self._live(message_id, record, State.decode(state), lease, due)
            for message_id, record, state, lease, due in zip(ids, records, states, leases, dues, strict=True)
        )
        return [live for live in found if live is not None]

    def _live(
        self, message_id: MessageId, record: bytes | None, state: State, lease: bytes | None, due: Any
    ) -> LiveMessage | None:
        if record is None or (lease is None and due is None):
            return None
        version = state.version_of(record)
        try:
            message = decode(message_id, record, version or new_version(self._clock.now_ms()), self._zone)
        except InvalidInput:
            return None  # an outsider's, seen in the moment before it is set aside
        attempts, due_ms = state.attempts, due
        if lease is not None:
            _, _, attempt, due_text, _ = lease.split(b":")
            attempts, due_ms = int(attempt), due_text
        return LiveMessage(
            message=message,
            next_run_at=from_ms(int(float(due_ms))),
            status=_status(lease is not None, state),
            attempts=attempts,
            last_error=state.last_error,
        )

    async def run_now(self, message_id: MessageId, now: datetime) -> bool:
        now_ms = to_ms(now)
        code = await self._run("run_now", [keys.DUE, keys.LEASED, keys.record(message_id)], [message_id, now_ms])
        if code == 1 and self.on_scheduled is not None:
            self.on_scheduled(message_id, now_ms, Destination(""))
        return bool(code)

    async def page(self, limit: int, cursor: str | None) -> Page[LiveMessage]:
        after_ms, after_id = _open_cursor(cursor, int, str) if cursor else (-(2**53), "")
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
        items = await self._load([MessageId(message_id) for _, message_id in listed])
        more = len(listed) == limit
        return Page(items=items, next_cursor=_cursor(*listed[-1]) if more else None)

    async def search(self, prefix: str, contains: str, limit: int, cursor: str | None) -> Page[LiveMessage]:
        after = _open_cursor(cursor, str)[0] if cursor else None
        if after is not None and not after.startswith(prefix):
            raise InvalidInput.of("cursor", _BAD_CURSOR)
        ids, last = await self._matching(prefix, contains, limit, after)
        return Page(items=await self._load(ids), next_cursor=None if last is None else _cursor(last))

    async def search_ids(self, prefix: str, contains: str) -> Sequence[MessageId]:
        found: list[MessageId] = []
        after: str | None = None
        while True:
            ids, after = await self._matching(prefix, contains, _PAGE, after)
            found += ids
            if after is None:
                return found

    async def cancel_matching(self, prefix: str, contains: str) -> Sequence[MessageId]:
        deleted: list[MessageId] = []
        after: str | None = None
        while True:
            ids, after = await self._matching(prefix, contains, _SCHEDULE_BATCH, after)
            gone = await self.cancel(ids)
            deleted += [message_id for message_id, was_there in zip(ids, gone, strict=True) if was_there]
            if after is None:
                return deleted

    async def _matching(
        self, prefix: str, contains: str, limit: int, after: str | None
    ) -> tuple[list[MessageId], str | None]:
        """Return matching ids that follow ``after``, and where to go on; ``None`` at the end."""
        start = b"(" + after.encode() if after is not None else b"[" + prefix.encode()
        end = b"(" + prefix.encode() + _END_OF_PREFIX
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
        total, leased, dead, first = await self._transaction(
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

    # -- dead letters and the delivery log

    async def dead_letters(
        self, limit: int, cursor: str | None, prefix: str = "", reason: DeadReason | None = None
    ) -> Page[DeadLetter]:
        place = _open_cursor(cursor, str)[0].encode() if cursor else None
        if prefix:
            return await self._dead_by_prefix(prefix, reason, limit, place)
        head = b"r\0" + reason.value.encode() + b"\0" if reason else b"t\0"
        rows = await self._newest(keys.DEAD_INDEX, head, limit, place)
        letters = await self._dead([MessageId(row[len(head) + 14 :].decode()) for row in rows])
        return Page(items=letters, next_cursor=_cursor(rows[-1].decode()) if len(rows) == limit else None)

    async def _newest(self, index: bytes, head: bytes, limit: int, place: bytes | None) -> list[bytes]:
        """Return members of an index that begin with ``head``, backwards, before ``place``."""
        if place is not None and not place.startswith(head):
            raise InvalidInput.of("cursor", _BAD_CURSOR)
        end = b"(" + (head + _END_OF_PREFIX if place is None else place)
        rows: list[bytes] = await self._command("ZREVRANGEBYLEX", index, end, b"[" + head, "LIMIT", 0, limit)
        return rows

    async def _dead_by_prefix(
        self, prefix: str, reason: DeadReason | None, limit: int, place: bytes | None
    ) -> Page[DeadLetter]:
        head = b"i\0" + prefix.encode()
        if place is not None and not place.startswith(head):
            raise InvalidInput.of("cursor", _BAD_CURSOR)
        start = b"[" + head if place is None else b"(" + place
        found: list[DeadLetter] = []
        while True:
            rows = await self._command(
                "ZRANGEBYLEX", keys.DEAD_INDEX, start, b"(" + head + _END_OF_PREFIX, "LIMIT", 0, limit
            )
            for letter in await self._dead([MessageId(row[2:].decode()) for row in rows]):
                if reason is None or letter.reason is reason:
                    found.append(letter)
                    if len(found) == limit:
                        return Page(items=found, next_cursor=_cursor(f"i\0{letter.id}"))
            if len(rows) < limit:
                return Page(items=found, next_cursor=None)
            start = b"(" + rows[-1]

    async def _dead(self, ids: Sequence[MessageId]) -> list[DeadLetter]:
        if not ids:
            return []
        letters = await self._command("HMGET", keys.DEAD, *ids)
        return [
            decode_dead(message_id, letter, self._zone)
            for message_id, letter in zip(ids, letters, strict=True)
            if letter is not None
        ]

    async def dead_letter(self, message_id: MessageId) -> DeadLetter | None:
        found = await self._dead([message_id])
        return found[0] if found else None

    async def replay(self, letter: DeadLetter, message: Message, fire_at: datetime) -> Scheduled | None:
        record, due_ms = keys.record(message.id), to_ms(fire_at)
        with self._echo([record]) as own:
            code = await self._run(
                "replay",
                [keys.DUE, keys.LEASED, keys.STATE, keys.INDEX, keys.COUNTERS, keys.DEAD, keys.DEAD_INDEX, record],
                [message.id, dead_head(to_ms(letter.dead_at), letter.reason), due_ms, encode(message)],
            )
            own.append(code == 1)
        if code == 1:
            self._tell(message, due_ms)
            return Scheduled.CREATED
        return Scheduled.EXISTS if code == 0 else None

    async def discard(self, message_id: MessageId) -> bool:
        return bool(await self._run("discard", [keys.DEAD, keys.DEAD_INDEX], ["", message_id]))

    async def forget_dead(self, before: datetime, limit: int = _PAGE) -> int:
        before_ms = to_ms(before)
        rows = await self._command("ZRANGEBYLEX", keys.DEAD_INDEX, b"[t\0", b"(t\0%013d" % before_ms, "LIMIT", 0, limit)
        if not rows:
            return 0
        ids = [row[2 + 14 :] for row in rows]
        return int(await self._run("discard", [keys.DEAD, keys.DEAD_INDEX], [before_ms, *ids]))

    async def deliveries(
        self, limit: int, cursor: str | None, message_id: str | None = None, status: OutcomeKind | None = None
    ) -> Page[Delivery]:
        place = _open_cursor(cursor, str)[0] if cursor else None
        if message_id is None and status is None:
            return await self._all_deliveries(limit, place)
        head = f"m\0{message_id}\0".encode() if message_id is not None else f"s\0{status.value}\0".encode()  # type: ignore[union-attr]
        found: list[Delivery] = []
        at = place.encode() if place else None
        while True:
            rows = await self._newest(keys.DELIVERIES_INDEX, head, limit, at)
            for line, delivery in zip(rows, await self._lines([row[len(head) :] for row in rows]), strict=True):
                at = line
                if delivery is not None and (status is None or delivery.status is status):
                    found.append(delivery)
                    if len(found) == limit:
                        return Page(items=found, next_cursor=_cursor(line.decode()))
            if len(rows) < limit:
                return Page(items=found, next_cursor=None)

    async def _all_deliveries(self, limit: int, place: str | None) -> Page[Delivery]:
        end = f"({place}" if place else "+"
        try:
            rows = await self._command("XREVRANGE", keys.DELIVERIES, end, "-", "COUNT", limit)
        except ResponseError as error:
            raise InvalidInput.of("cursor", _BAD_CURSOR) from error
        items = [decode_delivery(line, _fields(values)) for line, values in rows]
        return Page(items=items, next_cursor=_cursor(items[-1].id) if len(items) == limit else None)

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

    # -- the engine

    async def window(self, until: datetime, limit: int) -> AsyncIterator[Sequence[tuple[int, MessageId]]]:
        until_ms = to_ms(until)
        place: tuple[int, str] = (-(2**53), "")
        while limit > 0:
            size = min(limit, _PAGE)
            rows = await self._run("page", [keys.DUE], [place[0], place[1], size, until_ms])
            entries = [(int(float(rows[i + 1])), MessageId(rows[i].decode())) for i in range(0, len(rows), 2)]
            if entries:
                yield entries
            if len(entries) < size:
                return
            place = entries[-1]
            limit -= size

    async def destinations(self, ids: Sequence[MessageId]) -> Sequence[Destination | None]:
        records = await self._command(
            "MGET",
            *(keys.record(message_id) for message_id in ids),
        )
        return [_destination(record) for record in records]

    async def claim(self, ids: Sequence[MessageId], now: datetime) -> Sequence[Claimed]:
        now_ms = int(now.timestamp() * 1000)
        self._claims = number = self._claims + 1
        self._claiming.add(number)
        try:
            rows = await self._run(
                "claim",
                [
                    *(keys.DUE, keys.LEASED, keys.STATE, keys.INDEX),
                    *(keys.heartbeat(self._replica), keys.COUNTERS),
                    *(keys.record(message_id) for message_id in ids),
                ],
                [now_ms, f"{self._replica}:{number}", now_ms + int(LEASE.total_seconds() * 1000), HEARTBEAT_MS, *ids],
            )
        except BaseException:
            self._reconcile_at = float("-inf")  # nobody knows whether the claim was made
            raise
        finally:
            self._claiming.discard(number)
        claimed: list[Claimed] = []
        changed: list[tuple[MessageId, bytes]] = []
        for i in range(0, len(rows), 5):
            message_id = ids[int(rows[i]) - 1]
            leased = self._claimed(message_id, rows[i + 1], rows[i + 2], rows[i + 3], rows[i + 4], now)
            if leased is None:
                changed.append((message_id, rows[i + 4]))
            else:
                self._held.add(leased.lease)
                claimed.append(leased)
        if changed:
            try:
                self._tell_found(await self._adopt(changed))
            except StoreUnavailable:
                self._reconcile_at = float("-inf")  # their leases go back, the others' attempts must not wait for that
        return claimed

    def _tell_found(self, found: Sequence[Found]) -> None:
        if self.on_scheduled is not None:
            for one in found:
                if one.due_ms is not None and one.invalid is None:
                    self.on_scheduled(one.id, one.due_ms, one.destination)

    def _claimed(
        self, message_id: MessageId, lease: bytes, due: bytes, state_text: bytes, record: bytes, now: datetime
    ) -> Claimed | None:
        state = State.decode(state_text)
        version = state.version_of(record)
        if version is None:
            return None
        try:
            message = decode(message_id, record, version, self._zone)
        except InvalidInput:
            return None
        return Claimed(
            message=message,
            record=record,
            lease=Lease(lease.decode()),
            attempt=int(lease.split(b":")[2]),
            failures=state.failures,
            last_error=state.last_error,
            due_at=attempt_due(message, from_ms(int(float(due))), state.failures),
            claimed_at=now,
            origin=state.origin,
        )

    async def settle(self, settlement: Settlement) -> Settled:
        try:
            settled = await self._settle((settlement, self._settle_args(settlement)))
        except StoreUnavailable:
            raise  # the caller comes again
        except BaseException:
            self._held.discard(settlement.claimed.lease)  # nobody comes again: the lease is given back
            raise
        self._held.discard(settlement.claimed.lease)
        if settled is Settled.CHANGED:
            self._tell_found(await self.examine([settlement.claimed.message.id]))
        return settled

    async def _settle_batch(self, items: list[tuple[Settlement, tuple[Any, ...]]]) -> Sequence[Settled]:
        args: list[Any] = [self._log_size]
        records = []
        removing = []
        for settlement, its_args in items:
            records.append(keys.record(settlement.claimed.message.id))
            removing.append(settlement.decision in (Decision.DONE, Decision.BURY))
            args += its_args
        expected = [record for record, removes in zip(records, removing, strict=True) if removes]
        with self._echo(expected) as own:
            codes = await self._run(
                "settle",
                [
                    *(keys.DUE, keys.LEASED, keys.STATE, keys.INDEX, keys.COUNTERS),
                    *(keys.DEAD, keys.DEAD_INDEX, keys.DELIVERIES, keys.DELIVERIES_INDEX),
                    *records,
                ],
                args,
            )
            own += [code == SettleCode.APPLIED for code, removes in zip(codes, removing, strict=True) if removes]
        return [_SETTLED[code] for code in codes]

    def _settle_args(self, settlement: Settlement) -> tuple[Any, ...]:
        claimed, outcome = settlement.claimed, settlement.outcome
        message = claimed.message
        error = outcome.error if outcome else None
        due, state, letter = "", "", b""
        match settlement.decision:
            case Decision.RETRY:
                assert settlement.retry_at is not None, "a retry has its time"
                due = str(to_ms(settlement.retry_at))
                state = State(claimed.attempt, claimed.failures + 1, claimed.origin, error).encode()
            case Decision.RELEASE:
                due = str(to_ms(settlement.retry_at or claimed.due_at))
                # An attempt that began has used up its number; one that did not gives it back.
                attempts = claimed.attempt if settlement.begun else claimed.attempt - 1
                kept = State(attempts, claimed.failures, claimed.origin, claimed.last_error)
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
        line, status, names = self._log_line(settlement) if outcome else (b"", "", "")
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
        )

    @staticmethod
    def _log_line(settlement: Settlement) -> tuple[bytes, str, str]:
        claimed, outcome = settlement.claimed, settlement.outcome
        assert outcome is not None, "only attempts are logged"
        started = outcome.sent_at or outcome.started_at
        lateness_ms = (started - claimed.due_at).total_seconds() * 1000
        delivery = Delivery(
            id="",
            message_id=claimed.message.id,
            attempt=claimed.attempt,
            status=outcome.kind,
            scheduled_for=claimed.message.due_at,
            due_at=claimed.due_at,
            claimed_at=claimed.claimed_at,
            started_at=outcome.started_at,
            sent_at=outcome.sent_at,
            answered_at=outcome.answered_at,
            finished_at=outcome.finished_at,
            lateness_ms=lateness_ms,
            duration_ms=outcome.duration_ms,
            response_code=outcome.response_code,
            error=outcome.error,
        )
        kind = "dead_letter" if settlement.decision is Decision.BURY else outcome.kind.value
        names = (
            f"deliveries:message:{kind}=1,"
            f"lateness_ms:le:{bucket(LATENESS_BOUNDS_MS, lateness_ms)}=1,lateness_us:sum={round(lateness_ms * 1000)},"
            f"duration_ms:le:{bucket(DURATION_BOUNDS_MS, outcome.duration_ms)}=1,"
            f"duration_us:sum={round(outcome.duration_ms * 1000)},"
        )
        if lateness_ms < 0:
            names += "fired_early=1,"
        return encode_delivery(delivery), outcome.kind.value, names

    async def defer(self, ids: Sequence[MessageId], until: datetime, now: datetime) -> None:
        await self._run("defer", [keys.DUE], [to_ms(until), to_ms(now), *ids])

    async def heartbeat(self) -> None:
        await self._transaction(
            ("SET", keys.heartbeat(self._replica), "1", "PX", HEARTBEAT_MS),
            ("SADD", keys.REPLICAS, self._replica),
        )

    async def farewell(self) -> None:
        await self._transaction(
            ("DEL", keys.heartbeat(self._replica)),
            ("SREM", keys.REPLICAS, self._replica),
        )

    async def recover(self, now: datetime) -> Recovered:
        moment = self._clock.monotonic()
        if moment - self._looked_at > CONTINUOUS_SECONDS:
            # Nobody watched meanwhile: whoever is missing now may only be as slow to come back as we were.
            self._missing_since.clear()
        others = {name.decode() for name in await self._command("SMEMBERS", keys.REPLICAS)} - {self._replica}
        dead = await self._dead_replicas(others, moment)
        departed = len(self._others - others) + len(dead)
        self._others = others - dead
        self._looked_at = self._clock.monotonic()
        if not dead and moment < self._reconcile_at:
            return Recovered(departed=departed)
        self._reconcile_at = moment + RECONCILE_SECONDS
        leases = await self._give_back_all(dead, others, to_ms(now))
        return Recovered(leases=leases, departed=departed)

    async def _dead_replicas(self, others: set[str], moment: float) -> set[str]:
        """Return those that were seen without a heartbeat for long enough, without a gap in the seeing."""
        names = sorted(others)
        alive = await self._command("MGET", *(keys.heartbeat(name) for name in names)) if names else []
        missing = {name for name, beat in zip(names, alive, strict=True) if beat is None}
        self._missing_since = {name: self._missing_since.get(name, moment) for name in missing}
        return {name for name, since in self._missing_since.items() if moment - since >= CONFIRM_SECONDS}

    async def _give_back_all(self, dead: set[str], others: set[str], now_ms: int) -> int:
        """Look through all leases; there are never more than the replicas have slots."""
        # A claim made while this looks is none of its business: its lease may be seen here before its answer is.
        claiming = min(self._claiming, default=self._claims + 1)
        of_dead: dict[str, list[bytes]] = {replica: [] for replica in dead}
        lost: list[bytes] = []
        unknown: set[str] = set()
        for raw_id, raw_lease in (await self._command("HGETALL", keys.LEASED)).items():
            replica, number, _, _, until = raw_lease.decode().split(":")
            if replica in of_dead:
                of_dead[replica] += (raw_id, raw_lease)
            elif replica == self._replica:
                # The answer to a claim was lost: nobody will ever settle it.
                if int(number) < claiming and Lease(raw_lease.decode()) not in self._held:
                    lost += (raw_id, raw_lease)
            elif int(until) < now_ms:
                lost += (raw_id, raw_lease)
            elif replica not in others:
                unknown.add(replica)
        if unknown:
            # Claimed in the very moment of its farewell: from now on it is watched like the others.
            await self._command("SADD", keys.REPLICAS, *unknown)
        recovered = await self._give_back("any", self._replica, lost)
        for replica, theirs in of_dead.items():
            recovered += await self._give_back("dead", replica, theirs)
            await self._command("SREM", keys.REPLICAS, replica)
            self._missing_since.pop(replica, None)
        return recovered

    async def _give_back(self, mode: str, holder: str, pairs: list[bytes]) -> int:
        recovered = 0
        for start in range(0, len(pairs), _PAGE):
            recovered += await self._run(
                "recover",
                [keys.DUE, keys.LEASED, keys.STATE, keys.COUNTERS, keys.heartbeat(holder)],
                [mode, *pairs[start : start + _PAGE]],
            )
        return recovered

    # -- outside writers

    async def outside_ids(self) -> AsyncIterator[Sequence[MessageId]]:
        cursor = 0
        while True:
            cursor, found = await self._command("SCAN", cursor, "MATCH", keys.RECORD_PREFIX + b"*", "COUNT", _PAGE // 4)
            ids = [message_id for key in found if (message_id := message_id_of(key)) is not None]
            if ids:
                yield ids
            if cursor == 0:
                return

    async def examine(self, ids: Sequence[MessageId]) -> Sequence[Found]:
        found: list[Found] = []
        for start in range(0, len(ids), _SCHEDULE_BATCH):
            found += await self._examine(ids[start : start + _SCHEDULE_BATCH])
        return found

    async def _examine(self, ids: Sequence[MessageId]) -> list[Found]:
        records = [keys.record(message_id) for message_id in ids]
        rows = await self._run(
            "inspect", [keys.DUE, keys.LEASED, keys.STATE, keys.INDEX, keys.COUNTERS, *records], list(ids)
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
            state, letter, due_ms, destination, error = b"", b"", 0, Destination(""), None
            try:
                message = decode(message_id, record, version, self._zone)
            except InvalidInput as invalid:
                error = str(invalid)
                letter = encode_dead(now_ms, DeadReason.INVALID_RECORD, record, version, 0, error)
            else:
                due_ms, destination = to_ms(message.due_at), message.target.destination
                state = State(origin=f"{version} {sha1(record)}").encode().encode()
            args += (message_id, record, due_ms, state, letter)
            found.append(Found(message_id, due_ms=due_ms, destination=destination, invalid=error, adopted=True))
        done = await self._run(
            "adopt",
            [
                *(keys.DUE, keys.LEASED, keys.STATE, keys.INDEX, keys.COUNTERS, keys.DEAD, keys.DEAD_INDEX),
                *(keys.record(message_id) for message_id, _ in items),
            ],
            args,
        )
        # One that was written again in between has its own notification on the way.
        return [replace(one, adopted=code == 1) for one, code in zip(found, done, strict=True) if code]

    # -- the store itself

    async def counters(self) -> Mapping[str, int]:
        values = await self._command("HGETALL", keys.COUNTERS)
        return {name.decode(): int(value) for name, value in values.items()}

    async def ping(self) -> None:
        key, value = keys.probe(self._replica), str(self._clock.monotonic()).encode()
        _, read = await self._transaction(("SET", key, value, "PX", 60_000), ("GET", key))
        if read != value:
            raise StoreUnavailable(_REFUSED)

    async def report(self) -> StoreReport:
        with translated():
            async with asyncio.timeout(CALL_TIMEOUT):
                return await report(self._redis, self._kind)

    async def drain(self) -> None:
        """Wait until no batch is on its way."""
        await self._schedule.drain()
        await self._settle.drain()


def message_id_of(key: bytes) -> MessageId | None:
    """Return the id a record's key stands for; ``None`` for one that no client could name."""
    raw_id = key[len(keys.RECORD_PREFIX) :]
    try:
        return None if b"\0" in raw_id else MessageId(raw_id.decode()) or None
    except UnicodeDecodeError:
        return None


def _status(leased: bool, state: State) -> MessageStatus:
    if leased:
        return MessageStatus.DELIVERING
    return MessageStatus.RETRYING if state.failures else MessageStatus.SCHEDULED


def _destination(record: bytes | None) -> Destination | None:
    if record is None:
        return None
    try:
        return check_url(orjson.loads(record)["webhookUrl"])
    except (InvalidInput, orjson.JSONDecodeError, TypeError, KeyError):
        return None


def _fields(values: Any) -> dict[bytes, bytes]:
    """Return a stream entry's fields, which come as a flat list in some answers and as a mapping in others."""
    return values if isinstance(values, dict) else dict(zip(values[::2], values[1::2], strict=True))


_BAD_CURSOR = Sentence("is no cursor of ours: leave it out to begin again")


def _cursor(*place: int | str) -> str:
    return urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")


def _open_cursor(cursor: str, *types: type) -> tuple[Any, ...]:
    try:
        place = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError as error:
        raise InvalidInput.of("cursor", _BAD_CURSOR) from error
    if not isinstance(place, list) or [type(part) for part in place] != list(types):
        raise InvalidInput.of("cursor", _BAD_CURSOR)
    return tuple(place)
