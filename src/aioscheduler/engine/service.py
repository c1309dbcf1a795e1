"""The engine: the window of what is due soon, the timer, and all that runs beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final, Protocol

import structlog

from aioscheduler.clock import LONGEST_SLEEP, Clock
from aioscheduler.domain.message import MessageId
from aioscheduler.domain.target import Destination
from aioscheduler.engine.dispatcher import Dispatcher
from aioscheduler.engine.heap import DueHeap
from aioscheduler.errors import StoreUnavailable
from aioscheduler.store.base import UNKNOWN, Found, Store

log = structlog.get_logger(__name__)

#: How often a replica says that it lives, and looks whether the others do, in seconds.
HEARTBEAT_SECONDS: Final = 0.5
#: Entries due this soon, in ms, are looked up ahead, so that at the instant only the claim and the request are left.
AHEAD_MS: Final = 1500
#: With more than this share of the window's entries due and waiting, the longest queues are put off.
_CROWDED = 0.8
#: How much of the window entries due soon may fill.
_SPARE = 1.5
#: So many may wait for a destination in any case, or what it takes in so many seconds at its pace.
_KEEP_WAITING, _KEEP_SECONDS = 1000, 5.0
_PUT_OFF = (5.0, 30.0)
#: A difference between wall clock and monotonic clock beyond this, in seconds, is a step.
_STEP = 0.2
#: How long the stop waits for the answer to a claim, in seconds.
CLAIM_PATIENCE: Final = 2.0
#: While destinations are full, so many slots gather before the next claim, or for so long, in seconds.
_GATHER_SLOTS, _GATHER_SECONDS = 24, 0.004
_STORE_BACKOFF = (0.05, 0.1, 0.2, 0.4)
_TRIM_SECONDS = 60.0
#: When the store's risks are looked at first, and how often then, in seconds.
_RISKS_FIRST, _RISKS_SECONDS = 1.0, 300.0
_CANCEL_AGAIN = 0.2
#: Between pages of the adoption, in seconds: it may take its time, deliveries may not.
_ADOPTION_PAUSE = 0.004
#: Outside records are looked for this often, in seconds: the floor below notifications, and all there is without.
_SCAN_SECONDS, _SCAN_WITHOUT_EVENTS = 900.0, 10.0


class Hints(Protocol):
    """Keyspace notifications: lists of ids, and something else whenever the subscription is a new one."""

    connected: bool

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def __aiter__(self) -> AsyncIterator[object]: ...


class Engine:
    """Owns the tasks. One engine a process; any number share a store without knowing of each other."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        hints: Hints | None,
        dispatcher: Dispatcher,
        window: timedelta,
        window_entries: int,
        dead_letter_ttl: timedelta,
        shutdown_grace_seconds: float,
    ) -> None:
        self.running = False
        self.loop_lag_seconds = 0.0
        self._store = store
        self._clock = clock
        self._hints = hints
        self._window = window
        self._most = window_entries
        self._dead_letter_ttl = dead_letter_ttl
        self._grace = shutdown_grace_seconds
        self._heap = DueHeap()
        self._soon = DueHeap()
        self._wake = asyncio.Event()
        self._load = asyncio.Event()
        self._scan = asyncio.Event()
        self._horizon_ms = 0
        self._truncated = False
        self._awaited = 1
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._without_events = False
        self._foreign_told: set[MessageId] = set()
        self._paced_at = clock.monotonic()
        self._dispatcher = dispatcher
        dispatcher.attach(self.push, self._note_freed)
        store.on_scheduled = self.push

    # -- what others may know

    @property
    def listening(self) -> bool:
        """Whether the connection that brings notifications stands."""
        return self._hints is not None and self._hints.connected

    @property
    def in_flight(self) -> int:
        """How many attempts go on in this process."""
        return self._dispatcher.slots.in_use

    @property
    def window_size(self) -> int:
        """How many entries this process holds in memory."""
        return len(self._heap) + len(self._soon) + self._dispatcher.waiting

    # -- life

    async def start(self) -> None:
        """Start the tasks. Does not need the store to be there."""
        self.running = True
        self._load.set()
        if self._hints is not None:
            await self._hints.start()
            self._own("hints", self._follow_hints)
        self._own("timer", self._time)
        self._own("window", self._keep_window)
        self._own("ahead", self._look_ahead)
        self._own("heartbeat", self._keep_alive)
        self._own("adoption", self._adopt)
        self._own("trim", self._trim)
        self._own("risks", self._tell_risks)
        self._own("lag", self._measure_lag)

    async def stop(self) -> None:
        """Claim nothing more, let attempts finish, give back what is left. May come twice, or before start."""
        if self._stopping:
            return
        self._stopping = True
        if not self.running:
            return
        self._wake.set()
        timer, beating = ([task for task in self._tasks if task.get_name() == name] for name in ("timer", "heartbeat"))
        # A claim that is under way is awaited: its answer says what to give back.
        await asyncio.wait(timer, timeout=CLAIM_PATIENCE)
        await _cancel([task for task in self._tasks if task not in beating])
        await self._dispatcher.stop(self._grace)
        await _cancel(beating)
        if self._hints is not None:
            await self._hints.stop()
        try:
            await self._store.drain()
            await self._store.recover(self._clock.now())
            await self._store.farewell()
        except StoreUnavailable:
            log.warning("the store is away: leases run out by themselves", action="farewell_failed")
        self.running = False

    def _own(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.create_task(self._guarded(name, run), name=name))

    async def _guarded(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a task for as long as the engine lives: whatever it stumbles over is reported and left behind."""
        failures = 0
        while True:
            started = self._clock.monotonic()
            try:
                return await run()
            except StoreUnavailable as error:
                if not failures:
                    log.warning("the store is away", action="store_unavailable", task=name, error=str(error))
            except Exception:
                log.exception("an unexpected error", action="task_failed", task=name)
            failures = 0 if self._clock.monotonic() - started > 5 else failures + 1
            await asyncio.sleep(_STORE_BACKOFF[min(failures, len(_STORE_BACKOFF) - 1)])

    # -- the window

    def push(self, message_id: MessageId, due_ms: int, destination: Destination) -> None:
        """Take up a message that falls due in the window; what is due later, or too much, is loaded in its time."""
        if self._stopping or due_ms > self._horizon_ms:
            return
        now_ms = self._clock.now_ms()
        soon = due_ms <= now_ms + AHEAD_MS
        # What is due soon may find a full window with room for some more: a crowd must not keep it out at once.
        if self.window_size >= (self._most * _SPARE if soon else self._most):
            self._truncated = True
        elif due_ms <= now_ms and destination != UNKNOWN:
            self._dispatcher.due(message_id, destination)
            self._wake.set()
        elif soon:
            if self._soon.push(due_ms, message_id, destination):
                self._wake.set()
        else:
            self._heap.push(due_ms, message_id, destination)

    async def _keep_window(self) -> None:
        """Load what falls due in the window, again every third of it, and whenever there is reason to."""
        while True:
            self._load.clear()
            await self._load_window()
            # By the wall clock and by the monotonic one, whichever comes first: the former may be stepped.
            again_ms = self._clock.now_ms() + self._window // timedelta(milliseconds=3)
            again = self._clock.monotonic() + self._window.total_seconds() / 3
            while self._clock.now_ms() < again_ms and self._clock.monotonic() < again and not self._load.is_set():
                if self._truncated and self.window_size < self._most // 2:
                    break
                await self._clock.wait(self._load, again_ms)

    async def _load_window(self) -> None:
        until = self._clock.now() + self._window
        self._horizon_ms = int(until.timestamp() * 1000)
        loaded, last_ms = 0, 0
        async for page in self._store.window(until, self._most):
            for due_ms, message_id in page:
                self.push(message_id, due_ms, UNKNOWN)
                last_ms = due_ms
            loaded += len(page)
            if self.window_size >= self._most:
                break
            await asyncio.sleep(0)
        self._truncated = loaded >= self._most or self.window_size >= self._most
        if self._truncated:
            log.info(
                "more falls due soon than the window holds",
                action="window_full",
                entries=self.window_size,
                until_ms=last_ms,
            )

    async def _look_ahead(self) -> None:
        """Move what is due within :data:`AHEAD_MS` to the timer, its destination known."""
        while True:
            entries = self._heap.pop_due(self._clock.now_ms() + AHEAD_MS, 500)
            unknown = [entry.id for entry in entries if entry.destination == UNKNOWN]
            known: dict[MessageId, Destination] = {}
            if unknown:
                try:
                    found = await self._store.destinations(unknown)
                except StoreUnavailable:
                    found = [None] * len(unknown)  # looked up when they are due
                known = {id_: destination for id_, destination in zip(unknown, found, strict=True) if destination}
            for entry in entries:
                destination = known.get(entry.id, entry.destination)
                if self._soon.push(entry.due_ms, entry.id, destination):
                    self._wake.set()
            await asyncio.sleep(0 if len(entries) == 500 else 0.1)

    # -- the timer

    async def _time(self) -> None:
        """Sleep until something is due, then dispatch it."""
        failures = 0
        drift = self._drift()
        while not self._stopping:
            self._wake.clear()
            if abs(self._drift() - drift) > _STEP:
                drift = self._drift()
                log.warning("the wall clock was stepped", action="clock_stepped")
                self._load.set()
            for entry in self._soon.pop_due(self._clock.now_ms(), 200):
                self._dispatcher.due(entry.id, entry.destination)
            try:
                busy = await self._dispatcher.dispatch()
                await self._put_off()
            except StoreUnavailable as error:
                if not failures:
                    log.warning("the store is away", action="store_unavailable", task="timer", error=str(error))
                await asyncio.sleep(_STORE_BACKOFF[min(failures, len(_STORE_BACKOFF) - 1)])
                failures += 1
                continue
            if failures:
                log.info("the store is back", action="store_back")
                failures = 0
                self._load.set()
            if not busy:
                await self._clock.wait(self._wake, self._soon.next_due_ms())
            elif self._dispatcher.slots.waiting:
                await self._gather_slots()
            else:
                await asyncio.sleep(0)

    async def _gather_slots(self) -> None:
        """Wait until enough slots are free for a claim that is worth it, or something becomes due."""
        # Never so many that slots stand empty meanwhile.
        self._awaited = min(_GATHER_SLOTS, max(1, self._dispatcher.slots.in_use // 2))
        try:
            # When few are free by then, a small claim is better than none.
            with suppress(TimeoutError):
                async with asyncio.timeout(_GATHER_SECONDS):
                    await self._wake.wait()
        finally:
            self._awaited = 1

    def _note_freed(self) -> None:
        if self._dispatcher.slots.waiting:
            self._awaited -= 1
            if self._awaited <= 0:
                self._wake.set()

    def _drift(self) -> float:
        return self._clock.now_ms() / 1000 - self._clock.monotonic()

    async def _put_off(self) -> None:
        """Make room in the window when destinations that cannot keep up have filled it."""
        elapsed = self._clock.monotonic() - self._paced_at
        if elapsed < 1 or self._dispatcher.waiting < self._most * _CROWDED:
            return
        self._paced_at = self._clock.monotonic()
        slots = self._dispatcher.slots
        # However many hang, half of what makes a crowd is free for the others afterwards.
        least = min(_KEEP_WAITING, int(self._most * _CROWDED / 2) // max(1, slots.destinations))
        spilled = slots.overflow(least, _KEEP_SECONDS, elapsed)
        now = self._clock.now()
        for start in range(0, len(spilled), _KEEP_WAITING):
            chunk = spilled[start : start + _KEEP_WAITING]
            share = start / len(spilled)
            delay = timedelta(seconds=_PUT_OFF[0] + (_PUT_OFF[1] - _PUT_OFF[0]) * share)
            await self._store.defer(chunk, now + delay, now)
            await asyncio.sleep(0)
        if spilled:
            log.warning(
                "destinations that cannot keep up: what waits for them is looked at again later",
                action="messages_put_off",
                count=len(spilled),
            )
            self._truncated = True

    # -- beside it

    async def _follow_hints(self) -> None:
        assert self._hints is not None, "only started with hints"
        async for hint in self._hints:
            if isinstance(hint, list):
                try:
                    found = await self._store.examine(hint)
                except BaseException:
                    self._scan.set()  # nobody tells these again
                    raise
                self._take_found(found)
            else:
                # Whatever happened before may have been missed.
                self._without_events = not getattr(hint, "has_events", True)
                self._load.set()
                self._scan.set()

    def _take_found(self, found: Sequence[Found]) -> None:
        for one in found:
            if one.foreign_type is not None:
                self._tell_foreign(one)
            elif one.invalid is not None:
                log.warning(
                    "an outside record that is none was set aside as a dead letter",
                    action="record_invalid",
                    message_id=one.id,
                    error=one.invalid,
                )
            elif one.due_ms is not None:
                self.push(one.id, one.due_ms, one.destination)

    def _tell_foreign(self, one: Found) -> None:
        if one.id in self._foreign_told or len(self._foreign_told) > 1000:
            return
        self._foreign_told.add(one.id)
        log.warning(
            "a key that looks like a message holds no string and is left alone",
            action="key_foreign",
            message_id=one.id,
            type=one.foreign_type,
        )

    async def _adopt(self) -> None:
        """Look through all records after each new subscription, slowly: the service serves meanwhile."""
        while True:
            self._scan.clear()
            adopted = 0
            async for ids in self._store.outside_ids():
                found = await self._store.examine(ids)
                fresh = [one for one in found if one.adopted or one.foreign_type or one.invalid]
                adopted += sum(one.adopted for one in fresh)
                self._take_found(fresh)
                await asyncio.sleep(_ADOPTION_PAUSE)
            if adopted:
                log.info("outside records adopted", action="records_adopted", count=adopted)
            with suppress(TimeoutError):
                async with asyncio.timeout(_SCAN_WITHOUT_EVENTS if self._without_events else _SCAN_SECONDS):
                    await self._scan.wait()

    async def _keep_alive(self) -> None:
        """Say that this replica lives, and give back the leases of those that do not."""
        failures = 0
        while True:
            try:
                await self._store.heartbeat()
                recovered = await self._store.recover(self._clock.now())
            except StoreUnavailable:
                failures += 1
                await asyncio.sleep(_STORE_BACKOFF[min(failures, len(_STORE_BACKOFF)) - 1])
                continue
            failures = 0
            if recovered.leases:
                log.warning("leases taken over", action="leases_recovered", count=recovered.leases)
            if recovered.leases or recovered.departed:
                self._load.set()  # retries it had planned are in nobody else's window
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _trim(self) -> None:
        """Delete dead letters that were kept long enough."""
        while True:
            forgotten = await self._store.forget_dead(self._clock.now() - self._dead_letter_ttl)
            await asyncio.sleep(0 if forgotten else _TRIM_SECONDS)

    async def _tell_risks(self) -> None:
        """Log what the store can lose, each risk once for as long as it lasts."""
        told: frozenset[str] = frozenset()
        # What the notifications' connection switches on by itself is no risk.
        await asyncio.sleep(_RISKS_FIRST)
        while True:
            risks = frozenset((await self._store.report()).risks)
            for risk in sorted(risks - told):
                log.warning(risk, action="store_at_risk")
            told = risks
            await asyncio.sleep(_RISKS_SECONDS)

    async def _measure_lag(self) -> None:
        """Measure how late the loop runs what is due: what a blocked loop costs every delivery."""
        while True:
            asked = self._clock.monotonic()
            await asyncio.sleep(LONGEST_SLEEP)
            self.loop_lag_seconds = max(0.0, self._clock.monotonic() - asked - LONGEST_SLEEP)


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel until they have ended: the Redis client swallows a cancellation that meets it while it connects (seen)."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CANCEL_AGAIN)
