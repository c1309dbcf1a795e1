"""Which destinations are left alone because all that goes there fails. Pure: the time comes in, in seconds of a
monotonic clock."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from aioscheduler.domain.execution import DeadReason, Outcome
from aioscheduler.domain.target import Destination

#: Failures have to span this long before a circuit opens, in seconds: a burst that fails at once is no outage.
SPAN_SECONDS: Final = 10.0
#: The longest pause between two probes, in seconds, unless the first is set longer.
LONGEST_PAUSE: Final = 30.0
#: So many failures in a row while a circuit drains open it again: what came back may not bear what had waited.
REOPEN_FAILURES: Final = 5
#: Failures, or an open circuit that nothing waits for, are forgotten after so many seconds.
FORGET_SECONDS: Final = 600.0
#: Destinations that are remembered at most, failing ones and open circuits each.
MOST: Final = 10_000
#: What was not sent in time while a circuit drains is made up for if it is no later than this, in seconds.
_LATE_SECONDS: Final = 0.02


class Verdict(Enum):
    """What an attempt says about its destination."""

    ALIVE = "alive"
    """It answered, be it with a refusal: 4xx is what a living receiver says."""
    FAILED = "failed"
    """It could not be reached, broke off, took too long, or answered 5xx or 429."""
    NOTHING = "nothing"
    """No attempt was made, or its end says nothing."""


def verdict_of(outcome: Outcome) -> Verdict:
    """Return what an outcome says about the destination."""
    if (status := outcome.response_code) is not None:
        return Verdict.FAILED if status >= 500 or status == 429 else Verdict.ALIVE
    # Our own policy refused it, or this machine had nothing left to connect with: nobody was asked.
    ours = outcome.ours or outcome.permanent is DeadReason.REJECTED_BY_POLICY
    return Verdict.NOTHING if ours else Verdict.FAILED


class Turn(Enum):
    """What became of a circuit."""

    OPENED = "opened"
    PROBED = "probed"
    """A probe failed: it stays open."""
    CLOSED = "closed"
    FORGOTTEN = "forgotten"
    """It was open, and nothing has waited for it for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A turn of a circuit. ``failures`` in a row before it opened, which spanned ``seconds``; of one that was open,
    the probes that failed and for how long it was open. ``pause`` is how long the next probe waits, in seconds."""

    destination: Destination
    turn: Turn
    failures: int
    seconds: float
    pause: float = 0.0


class _Streak:
    """Failures without a success between them."""

    __slots__ = ("failures", "last", "since")

    def __init__(self, now: float) -> None:
        self.failures = 0
        self.since = self.last = now


class _Open:
    """No attempt but one probe at a time."""

    __slots__ = ("failures", "next_at", "pause", "probing", "since", "watched")

    def __init__(self, now: float, pause: float) -> None:
        self.since = now
        self.pause = pause
        self.next_at = now + pause
        self.probing = False
        self.failures = 0
        self.watched = False
        """It is seen to when nobody needs it."""


class _Draining:
    """Closed, and what had waited goes at a bounded rate. ``next_at`` is when the next attempt is due by that rate."""

    __slots__ = ("failures", "next_at", "pause", "since")

    def __init__(self, now: float, pause: float) -> None:
        self.since = self.next_at = now
        self.pause = pause
        self.failures = 0


#: What an attempt was made under: of the circuit's present state it says more than one that began before.
Ticket: TypeAlias = _Open | _Draining | None


class Circuits:
    """The circuits of all destinations this process knows to fail.

    A circuit opens after ``failures`` in a row that span :data:`SPAN_SECONDS`. While it is open one attempt at a time
    probes, first after ``probe_seconds``; the pause doubles with each that fails, up to :data:`LONGEST_PAUSE`. Any
    answer closes it, and until nothing waits any more attempts go at ``drain_per_second``.

    :param failures: 0 for no circuits at all
    """

    def __init__(self, failures: int, probe_seconds: float = 5.0, drain_per_second: float = 100.0) -> None:
        self.opened = 0
        """How many times a circuit opened."""
        self._failures = failures
        self._probe = probe_seconds
        self._longest = max(probe_seconds, LONGEST_PAUSE)
        self._interval = 1 / drain_per_second
        self._now = 0.0
        self._streaks: dict[Destination, _Streak] = {}
        self.limited: dict[Destination, _Open | _Draining] = {}
        """Where attempts are limited: the circuit is open, or drains. To be read only."""
        #: When to look at which state again; one that has changed meanwhile is passed over.
        self._timers: list[tuple[float, int, Destination, _Open | _Draining]] = []
        self._numbers = itertools.count()

    @property
    def open(self) -> int:
        """How many circuits are open."""
        return len(self.open_now())

    def open_now(self) -> list[Destination]:
        """Return whose circuits are open."""
        return [destination for destination, state in self.limited.items() if isinstance(state, _Open)]

    # -- what may go now

    def allowed(self, destination: Destination) -> int:
        """Return how many attempts may begin where they are limited, at the time of the last :meth:`refresh`."""
        state = self.limited[destination]
        if isinstance(state, _Open):
            return int(not state.probing and self._now >= state.next_at)
        late = self._now - state.next_at
        return 0 if late < 0 else 1 + int(min(late, _LATE_SECONDS) / self._interval)

    def reserve(self, destination: Destination, count: int = 1) -> Ticket:
        """Count attempts as begun, no more than are allowed; return what :meth:`ended` asks for."""
        state = self.limited.get(destination)
        if isinstance(state, _Open):
            state.probing = True
        elif state is not None:
            state.next_at = max(state.next_at, self._now - _LATE_SECONDS) + count * self._interval
            self._look_at(state.next_at, destination, state)
        return state

    def give_back(self, destination: Destination) -> None:
        """Take back one that was reserved and will not begin; only before another could be reserved."""
        state = self.limited.get(destination)
        if state is None:
            return
        if isinstance(state, _Open):
            state.probing = False
        else:
            state.next_at -= self._interval
        self._look_at(state.next_at, destination, state)

    def emptied(self, destination: Destination) -> None:
        """Nothing waits for a destination any more: one that drains has drained."""
        if isinstance(self.limited.get(destination), _Draining):
            del self.limited[destination]

    # -- time

    def _look_at(self, at: float, destination: Destination, state: _Open | _Draining) -> None:
        heapq.heappush(self._timers, (at, next(self._numbers), destination, state))

    def next_at(self) -> float | None:
        """Return when :meth:`refresh` may have something to tell; earlier if a circuit closes."""
        return self._timers[0][0] if self._timers else None

    def refresh(self, now: float) -> tuple[list[Destination], list[Change]]:
        """Take note of the time; return whose attempts may begin again, and what was forgotten."""
        self._now = now
        ready: dict[Destination, None] = {}
        changes: list[Change] = []
        while self._timers and self._timers[0][0] <= now:
            _, _, destination, state = heapq.heappop(self._timers)
            if self.limited.get(destination) is not state:
                continue
            if isinstance(state, _Open) and not state.probing:
                if now >= state.next_at + FORGET_SECONDS:
                    changes.append(self._close(destination, state, Turn.FORGOTTEN, now))
                elif now >= state.next_at and not state.watched:
                    state.watched = True
                    self._look_at(state.next_at + FORGET_SECONDS, destination, state)
            ready[destination] = None
        return list(ready), changes

    # -- what attempts say

    def ended(self, destination: Destination, ticket: Ticket, verdict: Verdict, now: float) -> Change | None:
        """Learn from an attempt that ended; return what became of the circuit.

        :param ticket: what :meth:`reserve` returned when it began
        """
        state = self.limited.get(destination)
        match verdict:
            case Verdict.ALIVE:
                self._streaks.pop(destination, None)
                if isinstance(state, _Open):
                    return self._close(destination, state, Turn.CLOSED, now)
                if state is not None:
                    state.failures = 0
                return None
            case Verdict.FAILED if state is None:
                return self._count(destination, now) if self._failures else None
            case Verdict.FAILED | Verdict.NOTHING:
                if state is None or state is not ticket:
                    return None  # it began before the circuit was what it is
                return self._probed(destination, state, verdict is Verdict.FAILED, now)

    def _probed(self, destination: Destination, state: _Open | _Draining, failed: bool, now: float) -> Change | None:
        if not failed:
            self.give_back(destination)
            return None
        state.failures += 1
        if isinstance(state, _Draining):
            if state.failures < min(REOPEN_FAILURES, self._failures):
                return None
            return self._trip(destination, state.failures, now - state.since, min(2 * state.pause, self._longest), now)
        state.probing = state.watched = False
        state.pause = min(2 * state.pause, self._longest)
        state.next_at = now + state.pause
        self._look_at(state.next_at, destination, state)
        return Change(
            destination=destination,
            turn=Turn.PROBED,
            failures=state.failures,
            seconds=now - state.since,
            pause=state.pause,
        )

    def _count(self, destination: Destination, now: float) -> Change | None:
        streak = self._streaks.pop(destination, None)
        if streak is None or now - streak.last > FORGET_SECONDS:
            streak = _Streak(now)
        streak.failures += 1
        streak.last = now
        full = len(self.limited) >= MOST
        if streak.failures >= self._failures and now - streak.since >= SPAN_SECONDS and not full:
            return self._trip(destination, streak.failures, now - streak.since, self._probe, now)
        # At the end: the one that failed longest ago is the first to be forgotten.
        self._streaks[destination] = streak
        if len(self._streaks) > MOST:
            del self._streaks[next(iter(self._streaks))]
        return None

    def _trip(self, destination: Destination, failures: int, seconds: float, pause: float, now: float) -> Change:
        self.limited[destination] = state = _Open(now, pause)
        self._look_at(state.next_at, destination, state)
        self.opened += 1
        return Change(destination=destination, turn=Turn.OPENED, failures=failures, seconds=seconds, pause=pause)

    def _close(self, destination: Destination, state: _Open, turn: Turn, now: float) -> Change:
        # What was forgotten waits no longer than what closed: should there be something, it drains as well.
        self.limited[destination] = draining = _Draining(now, state.pause)
        self._look_at(now, destination, draining)
        return Change(destination=destination, turn=turn, failures=state.failures, seconds=now - state.since)
