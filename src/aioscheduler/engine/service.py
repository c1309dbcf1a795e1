"""The engine: the window of what is due soon, the timer, and all that runs beside it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from typing import Final, Protocol

import structlog

from aioscheduler.clock import LONGEST_SLEEP, Clock
from aioscheduler.domain.job import JobId, LiveJob
from aioscheduler.domain.message import MessageId
from aioscheduler.domain.target import Destination
from aioscheduler.domain.trigger import trigger_of
from aioscheduler.engine.dispatcher import GATHER_MS, Dispatcher
from aioscheduler.engine.heap import DueHeap, Entry
from aioscheduler.engine.planner import Planner
from aioscheduler.errors import StoreUnavailable
from aioscheduler.store.base import UNKNOWN, Found
from aioscheduler.store.recurring import EngineStore, EntryId, ExecutionRef, JobRef, JobsChanged

log = structlog.get_logger(__name__)

#: How often a replica says that it lives, and looks whether the others do, in seconds.
HEARTBEAT_SECONDS: Final = 0.5
#: Entries due this soon, in ms, are looked up ahead, so that at the instant only the claim and the request are left.
AHEAD_MS: Final = 1500
#: So many entries are handed over at a time.
_TAKE = 200
#: For so many destinations at most connections are opened ahead in one look.
_WARM_DESTINATIONS = 200
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


#: How often jobs are looked through for one whose chain has ended, and for how long between pages, in seconds.
_MEND_SECONDS, _MEND_PAUSE = 30.0, 0.02
#: How often old executions are looked for, and again when there were some, in seconds.
_HISTORY_SECONDS, _HISTORY_AGAIN = 1800.0, 5.0


class Hints(Protocol):
    """Keyspace notifications: lists of ids of messages, :class:`JobsChanged`, and something else whenever the
    subscription is a new one."""

    connected: bool
    on_touched: Callable[[MessageId], None] | None

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def __aiter__(self) -> AsyncIterator[object]: ...


class Engine:
    """Owns the tasks. One engine a process; any number share a store without knowing of each other."""

    def __init__(
        self,
        *,
        store: EngineStore,
        clock: Clock,
        hints: Hints | None,
        dispatcher: Dispatcher,
        window: timedelta,
        window_entries: int,
        dead_letter_ttl: timedelta,
        execution_ttl: timedelta,
        audit_ttl: timedelta,
        shutdown_grace_seconds: float,
    ) -> None:
        self.running = False
        self.loop_lag_seconds = 0.0
        self.store_risks = 0
        self._store = store
        self._clock = clock
        self._hints = hints
        self._window = window
        self._most = window_entries
        self._dead_letter_ttl = dead_letter_ttl
        self._execution_ttl = execution_ttl
        self._audit_ttl = audit_ttl
        self._grace = shutdown_grace_seconds
        self._heap = DueHeap()
        #: What is due soon: messages, which are claimed a little before, and what has to be left alone until then.
        self._soon = DueHeap()
        self._exactly = DueHeap()
        #: How many attempts of what is due soon each destination will have, as far as nobody was told yet.
        self._coming: Counter[Destination] = Counter()
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
        self._planner = Planner(store=store, clock=clock, push=self._push_job, reload=self._load.set)
        dispatcher.attach(self.push, self._note_freed)
        store.on_scheduled = self.push
        store.on_taken = dispatcher.withdraw
        if hints is not None:
            hints.on_touched = dispatcher.withdraw
        store.on_execution = self.push
        store.on_job = self._note_job

    # -- what others may know

    @property
    def listening(self) -> bool:
        """Whether the connection that brings notifications stands."""
        return self._hints is not None and self._hints.connected

    @property
    def circuits_open(self) -> Sequence[Destination]:
        """Which destinations this process leaves alone because they fail."""
        return self._dispatcher.slots.circuits.open_now()

    @property
    def circuits_opened(self) -> int:
        """How many times it began to leave one alone."""
        return self._dispatcher.slots.circuits.opened

    @property
    def in_flight(self) -> int:
        """How many attempts go on in this process."""
        return self._dispatcher.slots.in_use

    @property
    def window_size(self) -> int:
        """How many entries this process holds in memory."""
        return len(self._heap) + len(self._soon) + len(self._exactly) + self._dispatcher.waiting + self._planner.waiting

    # -- life

    async def start(self) -> None:
        """Start the tasks. Does not need the store to be there."""
        self.running = True
        self._load.set()
        if self._hints is not None:
            await self._hints.start()
            self._own("hints", self._follow_hints)
        self._own("timer", self._time)
        self._own("ready", self._dispatcher.run)
        self._own("planner", self._planner.run)
        self._own("window", self._keep_window)
        self._own("ahead", self._look_ahead)
        self._own("heartbeat", self._keep_alive)
        self._own("adoption", self._adopt)
        self._own("trim", self._trim)
        self._own("history", self._trim_history)
        self._own("mend", self._mend)
        self._own("risks", self._tell_risks)
        self._own("lag", self._measure_lag)

    async def stop(self) -> None:
        """Claim nothing more, let attempts finish, give back what is left. May come twice, or before start."""
        if self._stopping:
            return
        self._stopping = True
        if not self.running:
            return
        self._dispatcher.hold_back()
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

    def look(self) -> None:
        """Look at once what is due: the clock was put right."""
        self._load.set()
        self._wake.set()

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

    def push(self, entry_id: EntryId, due_ms: int, destination: Destination) -> None:
        """Take up an entry that falls due in the window; what is due later, or too much, is loaded in its time."""
        if self._stopping or due_ms > self._horizon_ms:
            return
        now_ms = self._clock.now_ms()
        soon = due_ms <= now_ms + AHEAD_MS
        # What is due soon may find a full window with room for some more: a crowd must not keep it out at once.
        if self.window_size >= (self._most * _SPARE if soon else self._most):
            self._truncated = True
        elif due_ms <= now_ms and (destination != UNKNOWN or isinstance(entry_id, JobRef)):
            self._take_due(entry_id, destination)
            self._wake.set()
        elif soon:
            self._coming[destination] += 1
            self._push_soon(due_ms, entry_id, destination)
        else:
            self._heap.push(due_ms, entry_id, destination)

    def _push_soon(self, due_ms: int, entry_id: EntryId, destination: Destination) -> None:
        heap = self._soon if isinstance(entry_id, str) else self._exactly
        if heap.push(due_ms, entry_id, destination):
            self._wake.set()

    def _push_job(self, job: JobRef, due_ms: int) -> None:
        self.push(job, due_ms, UNKNOWN)

    def _take_due(self, entry_id: EntryId, destination: Destination) -> None:
        if isinstance(entry_id, JobRef):
            self._planner.due(entry_id.id)
        else:
            self._dispatcher.due(entry_id, destination)

    def _note_job(self, job_id: JobId, due_ms: int | None, *, deleted: bool = False) -> None:
        """Take up what somebody wrote about a job; what was worked out for it does not hold any more."""
        self._planner.forget(job_id)
        if deleted:
            self._dispatcher.cut_short(job_id)
        elif due_ms is not None:
            self._push_job(JobRef(job_id), due_ms)

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
        last_ms = 0
        self._truncated = False
        # A crowd of one kind may not keep the others out.
        for pages in (self._store.window, self._store.job_window, self._store.execution_window):
            loaded = 0
            async for page in pages(until, self._most):
                for due_ms, entry_id in page:
                    self.push(entry_id, due_ms, UNKNOWN)
                    last_ms = due_ms
                loaded += len(page)
                if self.window_size >= self._most:
                    break
                await asyncio.sleep(0)
            self._truncated = self._truncated or loaded >= self._most or self.window_size >= self._most
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
            try:
                known = await self._learn(entries)
            except StoreUnavailable:
                known = {}  # looked up when they are due
            for entry in entries:
                destination = known.get(entry.id, entry.destination)
                self._coming[destination] += 1
                self._push_soon(entry.due_ms, entry.id, destination)
            self._warm_up()
            await asyncio.sleep(0 if len(entries) == 500 else 0.1)

    async def _learn(self, entries: Sequence[Entry]) -> dict[EntryId, Destination]:
        """Look up where entries go and what they hold, and what jobs will lead to."""
        jobs = [entry.id.id for entry in entries if isinstance(entry.id, JobRef)]
        if jobs:
            self._coming.update(await self._planner.look_ahead(jobs))
        asked = [
            entry.id
            for entry in entries
            if isinstance(entry.id, str) or (entry.destination == UNKNOWN and not isinstance(entry.id, JobRef))
        ]
        if not asked:
            return {}
        found = await self._dispatcher.look_ahead(asked)
        return {entry_id: destination for entry_id, destination in zip(asked, found, strict=True) if destination}

    def _warm_up(self) -> None:
        """Have connections opened to where attempts will go soon."""
        coming, self._coming = self._coming, Counter()
        for destination, count in islice(coming.items(), _WARM_DESTINATIONS):
            self._dispatcher.warm(destination, count)

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
            ahead = self._take_all_due()
            try:
                busy = await self._dispatcher.dispatch(ahead=ahead)
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
                await self._clock.wait(self._wake, self._next_ms())
            elif self._dispatcher.slots.waiting:
                await self._gather_slots()
            else:
                await asyncio.sleep(0)

    def _take_all_due(self) -> bool:
        """Hand over what is due, and messages that have to be claimed by now; say whether none of it is due yet."""
        now_ms = self._clock.now_ms()
        due = [*self._exactly.pop_due(now_ms, _TAKE), *self._soon.pop_due(now_ms, _TAKE)]
        early: list[Entry] = []
        room, lead_ms = self._dispatcher.held_room, self._dispatcher.lead_ms
        head_ms = self._soon.next_due_ms()
        if not due and room and head_ms is not None and head_ms <= now_ms + lead_ms:
            early = self._soon.pop_due(int(now_ms + lead_ms + GATHER_MS), min(_TAKE, room))
        for entry in due or early:
            self._take_due(entry.id, entry.destination)
        return bool(early)

    def _next_ms(self) -> float | None:
        """Return when to look again: something is due, or has to be claimed, or a circuit allows an attempt."""
        soon_ms: float | None = self._soon.next_due_ms()
        if soon_ms is not None:
            # With as much held as may be, some of that leaves first.
            soon_ms = max(
                soon_ms - self._dispatcher.lead_ms, 0 if self._dispatcher.held_room else self._clock.now_ms() + 1
            )
        times = soon_ms, self._exactly.next_due_ms(), self._dispatcher.next_look_ms()
        return min((ms for ms in times if ms is not None), default=None)

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
            messages = [entry for entry in chunk if isinstance(entry, str)]
            executions = [entry for entry in chunk if isinstance(entry, ExecutionRef)]
            if messages:
                await self._store.defer(messages, now + delay, now)
            if executions:
                await self._store.defer_executions(executions, now + delay, now)
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
            elif isinstance(hint, JobsChanged):
                await self._look_at_jobs(hint.ids)
            else:
                # Whatever happened before may have been missed.
                self._without_events = not getattr(hint, "has_events", True)
                self._load.set()
                self._scan.set()

    async def _look_at_jobs(self, ids: Sequence[JobId]) -> None:
        try:
            found = await self._store.look_at_jobs(ids)
        except BaseException:
            self._load.set()  # nobody tells these again
            raise
        for job_id in ids:
            self._note_job(job_id, found.get(job_id), deleted=job_id not in found)

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
            except StoreUnavailable as error:
                if not failures:
                    log.warning("the store is away", action="store_unavailable", task="heartbeat", error=str(error))
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

    async def _trim_history(self) -> None:
        """Delete executions, and minutes of the account, that were kept long enough."""
        while True:
            gone = await self._store.trim_history(self._clock.now() - self._execution_ttl)
            if not gone:
                await self._store.forget_audit(self._clock.now() - self._audit_ttl)
            await asyncio.sleep(_HISTORY_AGAIN if gone else _HISTORY_SECONDS)

    async def _mend(self) -> None:
        """Find enabled jobs that have no next fire time, which nothing should ever lead to, and give them one."""
        while True:
            async for page in self._store.stalled():
                for live in page:
                    await self._mend_one(live)
                await asyncio.sleep(_MEND_PAUSE)
            await asyncio.sleep(_MEND_SECONDS)

    async def _mend_one(self, live: LiveJob) -> None:
        job = live.job
        try:
            following = trigger_of(job.schedule, job.created_at).next_after(self._clock.now())
        except Exception:
            log.exception("a job cannot be planned", action="job_broken", job_id=job.id)
            return
        if following is not None and await self._store.mend(live, following):
            log.warning("a job without a next fire time got one", action="job_mended", job_id=job.id)

    async def _tell_risks(self) -> None:
        """Log what the store can lose, each risk once for as long as it lasts."""
        told: frozenset[str] = frozenset()
        # What the notifications' connection switches on by itself is no risk.
        await asyncio.sleep(_RISKS_FIRST)
        while True:
            risks = frozenset(map(str, (await self._store.report()).risks))
            for risk in sorted(risks - told):
                log.warning(risk, action="store_at_risk")
            told = risks
            self.store_risks = len(risks)
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
