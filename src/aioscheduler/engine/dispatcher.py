"""Claim, deliver, settle: what becomes of a message, or of an execution, once it is due."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Protocol, TypeVar, assert_never

import structlog

from aioscheduler.clock import Clock, to_ms
from aioscheduler.domain.execution import Outcome, OutcomeKind
from aioscheduler.domain.job import BOTS, JobId, Owner
from aioscheduler.domain.message import MessageId, webhook_id
from aioscheduler.domain.target import Destination
from aioscheduler.engine.circuit import Change, Ticket, Turn, Verdict, verdict_of
from aioscheduler.engine.decide import Defaults, after_attempt, before_attempt
from aioscheduler.engine.delivery import Ended, Flight, NotSent, Request
from aioscheduler.engine.executions import Delivers, Executions
from aioscheduler.engine.ready import MOST_HELD, Held, Ready
from aioscheduler.engine.slots import MESSAGES, Slots
from aioscheduler.engine.transport import Right
from aioscheduler.errors import StoreUnavailable
from aioscheduler.store.base import HOLD_SECONDS, UNKNOWN, Claimed, Decision, Settled, Settlement
from aioscheduler.store.recurring import (
    ClaimedExecution,
    EngineStore,
    EntryId,
    ExecutionRef,
    ExecutionSettlement,
    destination_without_webhook,
)

log = structlog.get_logger(__name__)

S = TypeVar("S", Settlement, ExecutionSettlement)
C = TypeVar("C", Claimed, ClaimedExecution)
T = TypeVar("T")

#: How many messages one claim asks for: at first, and at most.
FIRST_CLAIM: Final = 4
CLAIM_LIMIT: Final = 200
#: How many destinations are looked up at once.
LOOKUP_LIMIT: Final = 500
#: A claim whose answer took longer than this, in seconds, is asked for again: a client may have deleted or replaced
#: what it is about. Less than :data:`HOLD_SECONDS`, which is how long his answer to that waits at least.
SLOW_CLAIM: Final = 0.2
#: A claim whose answer took longer, in seconds, is given back unused: by now others may take us for dead.
STALE_CLAIM: Final = 1.5
#: Messages are claimed so long before their instant, in ms: at least, and at most, as the store takes to answer; and
#: with them those due so much later still, so that not each has a claim of its own.
LEAST_LEAD_MS: Final = 3.0
MOST_LEAD_MS: Final = 10.0
GATHER_MS: Final = 4.0
#: What clocks may differ by before what is claimed in time is too early by the store's, in ms.
_SLACK_MS = 5.0
_CANCEL_AGAIN: Final = 0.2
_SETTLE_BACKOFF: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
_FULL_AGAIN = timedelta(milliseconds=250)


class DeliversSoon(Delivers, Protocol):
    """Makes attempts, also for callers without a task, and may be told before."""

    def begin(self, request: Request, ended: Ended) -> Flight | None:
        """Begin an attempt; ``ended`` is told what came of it, at once where this returns ``None``."""
        ...

    def warm(self, destination: Destination, count: int) -> None:
        """Be ready for so many attempts that come soon, as far as that is possible."""
        ...


class _Attempt:
    """A lease on a message, from its attempt to the settlement that ends it: told of both, in place of a task."""

    __slots__ = ("_dispatcher", "claimed", "flight", "right", "settlement", "ticket")

    def __init__(self, dispatcher: Dispatcher, claimed: Claimed, ticket: Ticket, right: Right | None) -> None:
        self._dispatcher = dispatcher
        self.claimed = claimed
        self.ticket = ticket
        self.right = right
        self.flight: Flight | None = None
        self.settlement: Settlement | None = None

    def cancel(self) -> None:
        if self.flight is not None:
            self.flight.cancel()

    def ended(self, result: Outcome | BaseException) -> None:
        """The attempt has ended."""
        self.flight = None
        self._dispatcher.attempted(self, result)

    def done(self) -> bool:
        return False

    def set_result(self, settled: Settled) -> None:
        self._dispatcher.settled(self, settled)

    def set_exception(self, error: Exception) -> None:
        self._dispatcher.not_settled(self, error)


class Dispatcher:
    """Takes due messages and executions, makes an attempt of each and records its outcome."""

    def __init__(
        self,
        *,
        store: EngineStore,
        clock: Clock,
        deliverer: DeliversSoon,
        slots: Slots,
        defaults: Defaults,
        executions: Executions,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.slots = slots
        self._store = store
        self._clock = clock
        self._deliverer = deliverer
        self._defaults = defaults
        self._executions = executions
        self._push: Callable[[EntryId, int, Destination], None] = lambda *_: None
        self._freed: Callable[[], None] = lambda: None
        self._chance = chance
        self._unknown: dict[EntryId, None] = {}
        #: What has a slot.
        self._going: set[asyncio.Task[Any] | _Attempt] = set()
        self._all_ended = asyncio.Event()
        #: Attempts of jobs' executions, by job.
        self._of_jobs: dict[JobId, set[asyncio.Task[None]]] = {}
        self._bots: set[asyncio.Task[None]] = set()
        self._most = FIRST_CLAIM
        self._ready = Ready(clock, self._begin_held, self._return)
        #: What was deleted, replaced or written by others while a claim is under way, whose answer may be older.
        self._touched: set[MessageId] | None = None
        #: The rights of attempts that go on.
        self._rights: dict[MessageId, Right] = {}
        #: How long claims took lately, in seconds.
        self._took = 0.0
        self._stopping = False

    def attach(self, push: Callable[[EntryId, int, Destination], None], freed: Callable[[], None]) -> None:
        """Tell ``push`` of every entry that is due again, and ``freed`` when a slot is free again."""
        self._push, self._freed = push, freed

    @property
    def waiting(self) -> int:
        """How many due entries wait for a slot, or for somebody to look where they go."""
        return self.slots.waiting + len(self._unknown)

    def next_look_ms(self) -> int | None:
        """Return by when something that waits may be allowed by its circuit, on the wall clock; ``None``: nothing."""
        at = self.slots.circuits.next_at() if self.slots.waiting else None
        if at is None:
            return None
        return self._clock.now_ms() + max(0, math.ceil((at - self._clock.monotonic()) * 1000)) + 1

    @property
    def lead_ms(self) -> float:
        """How long before its instant a message is claimed."""
        return min(MOST_LEAD_MS, LEAST_LEAD_MS + self._took * 1500)

    @property
    def held_room(self) -> int:
        """How many more messages may be claimed before their instant."""
        return 0 if self._stopping else max(0, MOST_HELD - len(self._ready))

    async def run(self) -> None:
        """Begin what was claimed before its instant, for as long as nobody cancels it."""
        await self._ready.run()

    def withdraw(self, message_id: MessageId) -> None:
        """Send nothing of what is known of a message, if it has not left: it was deleted, replaced or written anew."""
        if self._touched is not None:
            self._touched.add(message_id)
        if (held := self._ready.take(message_id)) is not None:
            self._return(held)
        if (right := self._rights.get(message_id)) is not None:
            right.withdrawn = True

    def hold_back(self) -> None:
        """Claim nothing more, and give back what has not begun."""
        self._stopping = True
        self._ready.clear()

    def warm(self, destination: Destination, count: int) -> None:
        """Have connections ready for attempts that come soon, unless the destination is left alone or is none."""
        if "://" in destination and destination not in self.slots.circuits.limited:
            self._deliverer.warm(destination, count)

    def due(self, entry_id: MessageId | ExecutionRef, destination: Destination) -> None:
        """Take up an entry that has become due."""
        if destination == UNKNOWN:
            self._unknown[entry_id] = None
        else:
            self.slots.enqueue(entry_id, destination)

    async def dispatch(self, *, ahead: bool = False) -> bool:
        """Claim what has room and begin its attempts; return whether there may be more to do at once.

        :param ahead: what waits is not due yet, so that nothing is gained by claiming little at first

        :raises StoreUnavailable: nothing was begun; what was due is still known here
        """
        if self._unknown:
            await self._look_up()
        for change in self.slots.refresh(self._clock.monotonic()):
            self._note(change)
        taken = self._take(ahead)
        if not taken:
            return bool(self._unknown)
        asked = self._clock.monotonic()
        touched: set[MessageId] = set()
        self._touched = touched
        messages = [entry_id for entry_id, _ in taken if isinstance(entry_id, str)]
        executions = [entry_id for entry_id, _ in taken if isinstance(entry_id, ExecutionRef)]
        claims: list[Coroutine[Any, Any, tuple[Sequence[Claimed | ClaimedExecution], Sequence[bool]]]] = []
        if messages:
            claims.append(self._claim(messages))
        if executions:
            claims.append(self._claim_executions(executions))
        try:
            answers = await asyncio.gather(*claims, return_exceptions=True)
        finally:
            self.slots.give_back(taken)
            self._touched = None
        stale = self._stopping or self._clock.monotonic() - asked > STALE_CLAIM
        failure: BaseException | None = None
        for answer in answers:
            if isinstance(answer, BaseException):
                failure = failure or answer
            else:
                for lease, good in zip(*answer, strict=True):
                    old = isinstance(lease, Claimed) and lease.message.id in touched
                    self._begin(lease, stale or old or not good)
        if failure is not None:
            for entry_id, destination in taken:
                self.slots.enqueue(entry_id, destination)
            raise failure
        return True

    def _take(self, ahead: bool) -> list[tuple[EntryId, Destination]]:
        taken = self.slots.take(CLAIM_LIMIT if ahead else self._most)
        if taken:
            self._most = CLAIM_LIMIT if ahead else min(CLAIM_LIMIT, 2 * self._most)
        elif not self.slots.in_use:
            # The first of the next burst should not wait until a hundred others are decoded and connected.
            self._most = FIRST_CLAIM
        return taken

    async def _claim(self, ids: Sequence[MessageId]) -> tuple[Sequence[Claimed], Sequence[bool]]:
        asked = self._clock.monotonic()
        ahead = timedelta(milliseconds=self.lead_ms + GATHER_MS + _SLACK_MS) if self.held_room else timedelta()
        claimed = await self._store.claim(ids, self._clock.now(), ahead)
        self._took = max(self._clock.monotonic() - asked, self._took * 0.9)
        return claimed, await self._sure(claimed, asked, self._store.still_leased)

    async def _claim_executions(
        self, refs: Sequence[ExecutionRef]
    ) -> tuple[Sequence[ClaimedExecution], Sequence[bool]]:
        asked = self._clock.monotonic()
        claimed = await self._store.claim_executions(refs, self._clock.now())
        return claimed, await self._sure(claimed, asked, self._store.executions_still_leased)

    async def _sure(
        self, claimed: Sequence[C], asked: float, ask: Callable[[Sequence[C]], Awaitable[Sequence[bool]]]
    ) -> Sequence[bool]:
        """Say which leases are good to begin with, after a claim that was asked for at ``asked``."""
        answered = self._clock.monotonic()
        if answered - asked <= SLOW_CLAIM or not claimed:
            return [True] * len(claimed)
        try:
            held = await ask(claimed)
        except StoreUnavailable:
            held = ()
        if not held or self._clock.monotonic() - answered > SLOW_CLAIM:
            return [False] * len(claimed)
        for each in claimed:
            each.asked_at = answered
        return held

    async def _renew(self, claimed: Claimed) -> float:
        """Return up to when a message may be sent whose connection took long: as if it was claimed now."""
        asked = self._clock.monotonic()
        try:
            (holds,) = await self._store.still_leased([claimed])
        except StoreUnavailable:
            holds = False
        return asked + HOLD_SECONDS if holds else -math.inf

    async def _look_up(self) -> None:
        entries = list(self._unknown)[:LOOKUP_LIMIT]
        for entry_id, destination in zip(entries, await self.destinations(entries), strict=True):
            self._unknown.pop(entry_id, None)
            # A record that cannot be read has no destination; the claim deals with it.
            self.slots.enqueue(entry_id, destination or UNKNOWN)

    async def look_ahead(self, entries: Sequence[EntryId]) -> Sequence[Destination | None]:
        """Return where entries go that are due soon; ``None`` where nobody knows.

        :raises StoreUnavailable:
        """
        messages = [entry for entry in entries if isinstance(entry, str)]
        others = [entry for entry in entries if not isinstance(entry, str)]
        known: dict[EntryId, Destination | None] = {}
        if messages:
            known.update(zip(messages, await self._store.look_ahead(messages), strict=True))
        if others:
            known.update(zip(others, await self.destinations(others), strict=True))
        return [known[entry] for entry in entries]

    async def destinations(self, entries: Sequence[EntryId]) -> Sequence[Destination | None]:
        """Return where entries go; ``None`` where nobody knows.

        :raises StoreUnavailable:
        """
        messages = [entry for entry in entries if isinstance(entry, str)]
        executions = [entry for entry in entries if isinstance(entry, ExecutionRef)]
        known: dict[EntryId, Destination | None] = {}
        if messages:
            known.update(zip(messages, await self._store.destinations(messages), strict=True))
        if executions:
            known.update(zip(executions, await self._store.execution_destinations(executions), strict=True))
        return [known.get(entry) for entry in entries]

    def _begin(self, claimed: Claimed | ClaimedExecution, stale: bool) -> None:
        destination = _destination(claimed)
        again: datetime | None = None
        begins = not stale
        if begins and not self.slots.room(destination):
            # Replaced by one that goes elsewhere since we last looked; or its circuit opened just now.
            again = self._clock.now() + _FULL_AGAIN
            begins = False
        ticket = self.slots.circuits.reserve(destination) if begins else None
        self.slots.occupy(destination, _owner(claimed))
        if isinstance(claimed, ClaimedExecution):
            self._begin_execution(claimed, ticket, begins)
        elif not begins:
            self._give_back(claimed, again)
        else:
            right = Right(claimed.asked_at + HOLD_SECONDS, partial(self._renew, claimed))
            if claimed.at_ms > self._clock.certain_ms():
                self._ready.add(Held(claimed=claimed, ticket=ticket, right=right))
            else:
                self._attempt(claimed, ticket, right)

    def _begin_execution(self, claimed: ClaimedExecution, ticket: Ticket, begins: bool) -> None:
        task = self._start(self._execute(claimed, ticket) if begins else self._give_back_execution(claimed))
        self._note_job(claimed.ref.job_id, task)
        if claimed.ref.owner == BOTS:
            self._bots.add(task)
            task.add_done_callback(self._bots.discard)

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._going.add(task)
        task.add_done_callback(self._gone)
        return task

    def _gone(self, ended: asyncio.Task[Any] | _Attempt) -> None:
        self._going.discard(ended)
        if not self._going:
            self._all_ended.set()

    def _begin_held(self, held: Held) -> None:
        self._attempt(held.claimed, held.ticket, held.right)

    def _return(self, held: Held) -> None:
        """Give a lease back whose attempt has not begun."""
        self._judge(_destination(held.claimed), held.ticket, None)
        self._give_back(held.claimed)

    def _give_back(self, claimed: Claimed, again: datetime | None = None) -> None:
        attempt = _Attempt(self, claimed, None, None)
        self._going.add(attempt)
        self._settle(attempt, Settlement(claimed=claimed, decision=Decision.RELEASE, begun=False, retry_at=again))

    def _note_job(self, job_id: JobId, task: asyncio.Task[None]) -> None:
        tasks = self._of_jobs.setdefault(job_id, set())
        tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            if not tasks:
                self._of_jobs.pop(job_id, None)

        task.add_done_callback(ended)

    def cut_short(self, job_id: JobId) -> None:
        """End what goes on for a job that was deleted."""
        loop = asyncio.get_running_loop()
        for task in list(self._of_jobs.get(job_id, ())):
            # Not at once: a task that is cancelled before its first step never gives its slot back.
            loop.call_soon(task.cancel)

    async def _execute(self, claimed: ClaimedExecution, ticket: Ticket) -> None:
        outcome: Outcome | None = None
        try:
            settlement = await self._executions.attempt(claimed)
            outcome = settlement.outcome
        except asyncio.CancelledError:
            # Our own stop cut it short, or its job was deleted.
            settlement = ExecutionSettlement(claimed=claimed, final=None)
        except NotSent:
            settlement = ExecutionSettlement(claimed=claimed, final=None, begun=False)
        finally:
            self._judge(_destination(claimed), ticket, outcome)
        await self._settle_execution(settlement)

    async def _give_back_execution(self, claimed: ClaimedExecution) -> None:
        await self._settle_execution(ExecutionSettlement(claimed=claimed, final=None, begun=False))

    async def _settle_execution(self, settlement: ExecutionSettlement) -> None:
        claimed = settlement.claimed
        destination = _destination(claimed)
        try:
            settled = await self._patiently(settlement, self._store.settle_execution)
        finally:
            self.slots.release(destination, claimed.ref.owner, finished=settlement.begun)
            self._freed()
        if settled is not Settled.APPLIED:
            return
        following = settlement.following
        if following is not None and following.due_at is not None:
            self._push(claimed.ref._replace(id=following.id), to_ms(following.due_at), destination)
        elif settlement.final is None:
            self._push(claimed.ref, to_ms(claimed.due_at), destination)

    def _attempt(self, claimed: Claimed, ticket: Ticket, right: Right) -> None:
        """Begin the attempt of a message; a lease too late for one ends at once."""
        message = claimed.message
        attempt = _Attempt(self, claimed, ticket, right)
        self._going.add(attempt)
        self._rights[message.id] = right
        now = self._clock.now()
        missed = before_attempt(claimed, self._defaults, now)
        if missed is not None:
            self._judge_attempt(attempt, None)
            log.warning(
                "too late, buried",
                action="message_missed",
                message_id=message.id,
                late_ms=round((now - claimed.due_at).total_seconds() * 1000),
            )
            self._settle(attempt, missed)
            return
        request = Request(
            webhook_id=webhook_id(message.id, message.version),
            target=message.target,
            body=message.payload,
            timeout_seconds=self._defaults.timeout_of(message),
            attempt=claimed.attempt,
            scheduled_for=min(message.due_at, claimed.due_at),
            identity=(("X-Scheduler-Message-Id", message.id),),
            asked_at=claimed.asked_at,
            right=right,
        )
        try:
            attempt.flight = self._deliverer.begin(request, attempt.ended)
        except Exception as error:
            attempt.ended(error)

    def attempted(self, attempt: _Attempt, result: Outcome | BaseException) -> None:
        """Learn what came of an attempt, and let that end its lease."""
        claimed = attempt.claimed
        outcome: Outcome | None = None
        match result:
            case Outcome():
                outcome = result
                settlement = after_attempt(claimed, result, self._defaults, self._chance())
            case asyncio.CancelledError():
                # Our own stop cut it short: it does not count as a failure.
                settlement = Settlement(claimed=claimed, decision=Decision.RELEASE)
            case NotSent():
                settlement = Settlement(claimed=claimed, decision=Decision.RELEASE, begun=False)
            case _:
                log.error(
                    "an unexpected error", action="attempt_broken", message_id=claimed.message.id, exc_info=result
                )
                settlement = after_attempt(claimed, self._broken(), self._defaults, self._chance())
        self._judge_attempt(attempt, outcome)
        _report(settlement)
        self._settle(attempt, settlement)

    def _judge_attempt(self, attempt: _Attempt, outcome: Outcome | None) -> None:
        message = attempt.claimed.message
        if self._rights.get(message.id) is attempt.right:
            del self._rights[message.id]
        self._judge(message.target.destination, attempt.ticket, outcome)

    def _judge(self, destination: Destination, ticket: Ticket, outcome: Outcome | None) -> None:
        """Tell the circuit what came of an attempt, at once: recording it may take as long as the store is away."""
        verdict = Verdict.NOTHING if outcome is None else verdict_of(outcome)
        change = self.slots.circuits.ended(destination, ticket, verdict, self._clock.monotonic())
        if change is not None:
            self._note(change, outcome)

    def _note(self, change: Change, outcome: Outcome | None = None) -> None:
        about = {
            "destination": change.destination,
            "failures": change.failures,
            "seconds": round(change.seconds, 1),
        }
        error = None if outcome is None else outcome.error
        match change.turn:
            case Turn.OPENED:
                log.warning(
                    "a destination fails all the time: attempts there wait, but for a probe now and then",
                    action="circuit_opened",
                    error=error,
                    **about,
                )
                return
            case Turn.PROBED:
                log.debug("a probe failed", action="circuit_probed", error=error, pause=change.pause, **about)
                return
            case Turn.CLOSED:
                log.info("a destination answers again: what waited is sent", action="circuit_closed", **about)
            case Turn.FORGOTTEN:
                log.info("nothing waits for a destination that failed", action="circuit_closed", **about)
            case _:
                assert_never(change.turn)
        if not self.slots.waits(change.destination):
            self.slots.circuits.emptied(change.destination)

    def _broken(self) -> Outcome:
        # Counted as a failure: what breaks us once would break us again at once.
        now = self._clock.now()
        return Outcome(
            kind=OutcomeKind.FAILURE,
            started_at=now,
            finished_at=now,
            duration_ms=0.0,
            error="an error of the service",
            ours=True,
        )

    def _settle(self, attempt: _Attempt, settlement: Settlement) -> None:
        """Record the end of a lease, however long the store is away: the slot stays used, so memory is bounded."""
        attempt.settlement = settlement
        try:
            self._store.hand_over(settlement, attempt)
        except Exception as error:
            self.not_settled(attempt, error)

    def not_settled(self, attempt: _Attempt, error: BaseException) -> None:
        """Try again to record the end of a lease, or give up what cannot be."""
        assert attempt.settlement is not None, "an end was handed over"
        if isinstance(error, StoreUnavailable):
            task = self._start(self._settle_again(replace(attempt.settlement, repeated=True)))
            task.add_done_callback(partial(self._settled_at_last, attempt))
        else:
            log.error("an unexpected error", action="settle_failed", exc_info=error)
            self.settled(attempt, Settled.LOST)

    async def _settle_again(self, settlement: Settlement) -> Settled:
        await asyncio.sleep(_SETTLE_BACKOFF[0])
        return await self._patiently(settlement, self._store.settle)

    def _settled_at_last(self, attempt: _Attempt, task: asyncio.Task[Settled]) -> None:
        if task.cancelled():  # our own stop
            self.settled(attempt, Settled.LOST)
        elif (error := task.exception()) is not None:
            self.not_settled(attempt, error)
        else:
            self.settled(attempt, task.result())

    def settled(self, attempt: _Attempt, settled: Settled) -> None:
        """Learn that a lease has ended."""
        settlement, claimed = attempt.settlement, attempt.claimed
        assert settlement is not None, "an end was handed over"
        destination = claimed.message.target.destination
        self._gone(attempt)
        self.slots.release(destination, finished=settlement.begun)
        self._freed()
        if settled is Settled.APPLIED and settlement.decision in (Decision.RETRY, Decision.RELEASE):
            self._push(claimed.message.id, to_ms(settlement.retry_at or claimed.due_at), destination)

    @staticmethod
    async def _patiently(settlement: S, settle: Callable[[S], Awaitable[Settled]]) -> Settled:
        failures = 0
        while True:
            try:
                return await settle(settlement)
            except StoreUnavailable:
                settlement = replace(settlement, repeated=True)
                await asyncio.sleep(_SETTLE_BACKOFF[min(failures, len(_SETTLE_BACKOFF) - 1)])
                failures += 1

    async def stop(self, grace_seconds: float) -> None:
        """Let attempts on the wire finish within ``grace_seconds``, cut the others short and give their leases back.

        Runs of bots are cut short at once: they take longer than anybody waits, and begin again elsewhere.
        """
        self.hold_back()
        self.slots.clear()
        self._unknown.clear()
        for task in list(self._bots):
            task.cancel()
        try:
            await self._end_of_all(grace_seconds)
        finally:  # also when our caller was told to hurry, by cancelling it
            await self._cut_short()

    async def _end_of_all(self, seconds: float | None = None) -> None:
        """Wait until nothing has a slot, for so long at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._going:
                    self._all_ended.clear()
                    await self._all_ended.wait()

    async def _cut_short(self) -> None:
        left = list(self._going)
        if left:
            log.warning("attempts cut short by the stop", action="attempts_cut_short", count=len(left))
        for each in left:
            each.cancel()
        # Their leases go back; with the store away too they run out by themselves.
        await self._end_of_all(2)
        while self._going:
            for each in list(self._going):
                each.cancel()
            await self._end_of_all(_CANCEL_AGAIN)


def _owner(claimed: Claimed | ClaimedExecution) -> Owner:
    return MESSAGES if isinstance(claimed, Claimed) else claimed.ref.owner


def _destination(claimed: Claimed | ClaimedExecution) -> Destination:
    if isinstance(claimed, Claimed):
        return claimed.message.target.destination
    return claimed.webhook.destination if claimed.webhook else destination_without_webhook(claimed.ref.owner)


def _report(settlement: Settlement) -> None:
    outcome, claimed = settlement.outcome, settlement.claimed
    if outcome is None or (outcome.kind is OutcomeKind.SUCCESS and not log.is_enabled_for(logging.DEBUG)):
        return
    late_ms = round(((outcome.sent_at or outcome.started_at) - claimed.due_at).total_seconds() * 1000, 1)
    about = {
        "message_id": claimed.message.id,
        "attempt": claimed.attempt,
        "lateness_ms": late_ms,
        "duration_ms": round(outcome.duration_ms, 1),
        "destination": claimed.message.target.destination,
    }
    if outcome.kind is OutcomeKind.SUCCESS:
        log.debug("delivered", action="message_delivered", response_code=outcome.response_code, **about)
    elif settlement.decision is Decision.BURY and settlement.reason is not None:
        log.error("gave up", action="message_buried", reason=settlement.reason.value, error=outcome.error, **about)
    else:
        log.warning("attempt failed", action="attempt_failed", error=outcome.error, **about)
