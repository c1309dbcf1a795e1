"""Faults, how long their consequences last, and what they explain."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from enum import Enum
from math import inf

from aioscheduler.verify.ledger import Call, Fault, FaultKind, Temper

#: What was sent already may arrive for so long, in milliseconds: loopback, and a busy machine.
WIRE_MS = 250.0
#: What a busy machine adds to any limit, in milliseconds.
BUSY_MS = 500.0
#: Others take over what a replica held within 5 s; so long a fault's consequences last, in milliseconds.
AFTER_MS = 6_000.0
#: A process that goes on, or whose clock was stepped, is as before within so long, in milliseconds.
SETTLED_MS = 2_000.0
#: Within so long after the store is back all goes on, in milliseconds.
STORE_AFTER_MS = 10_000.0
#: Clients give up after so long, in milliseconds, where the call does not say when.
CLIENT_LIMIT_MS = 5_000.0
#: A write nobody waits for any more may be applied so much later, in milliseconds.
LATE_WRITE_MS = 2_000.0
#: A lease's length, in milliseconds: a smaller step of a clock takes none away.
LEASE_MS = 360_000.0


class Subject(Enum):
    """What a fault was done to."""

    PROCESS = "process"
    STORE = "store"
    CLOCK = "clock"
    RECEIVER = "receiver"


def subject(kind: FaultKind) -> Subject:
    """Return what faults of a kind are done to."""
    match kind:
        case FaultKind.KILL | FaultKind.STOP_CONT | FaultKind.TERM:
            return Subject.PROCESS
        case FaultKind.STORE_RESTART | FaultKind.STORE_FREEZE | FaultKind.STORE_CUT:
            return Subject.STORE
        case FaultKind.CLOCK_STEP:
            return Subject.CLOCK
        case FaultKind.RECEIVER_OUTAGE:
            return Subject.RECEIVER


def until_ms(fault: Fault) -> float:
    """Return when a fault was undone; endless where nobody saw that."""
    return inf if fault.until_ms is None else max(fault.from_ms, fault.until_ms)


def after_ms(fault: Fault) -> float:
    """Return for how long its consequences last once it is undone."""
    return STORE_AFTER_MS if subject(fault.kind) is Subject.STORE else AFTER_MS


def delays(fault: Fault) -> tuple[float, float]:
    """Return from when until when a fault may make first attempts late, which is shorter than all its consequences.

    What a killed replica held is taken over at the latest after so long; another that goes on lets go at once.
    """
    end = until_ms(fault)
    match fault.kind:
        case FaultKind.KILL:
            return fault.from_ms, max(fault.from_ms + AFTER_MS, end + BUSY_MS)
        case FaultKind.STOP_CONT | FaultKind.TERM | FaultKind.CLOCK_STEP:
            return fault.from_ms, end + SETTLED_MS
        case FaultKind.RECEIVER_OUTAGE:
            return fault.from_ms, end + AFTER_MS
        case FaultKind.STORE_RESTART | FaultKind.STORE_FREEZE | FaultKind.STORE_CUT:
            return fault.from_ms, end + SETTLED_MS + BUSY_MS


def is_at(fault: Fault, temper: Temper | None) -> bool:
    """Say whether an outage is one of the receivers of a temper; of unknown ones it may be."""
    return fault.temper is None or temper is None or fault.temper is temper


class Shadow:
    """The instants that some faults darken, merged so that asking costs little."""

    def __init__(self, spans: Iterable[tuple[float, float]]) -> None:
        self._starts: list[float] = []
        self._ends: list[float] = []
        for start, end in sorted(spans):
            if self._ends and start <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

    def meets(self, start_ms: float, end_ms: float) -> bool:
        """Say whether any instant from ``start_ms`` to ``end_ms`` is dark."""
        at = bisect_right(self._starts, end_ms) - 1
        return at >= 0 and self._ends[at] >= start_ms


class Shadows:
    """The faults of a run, by what they explain."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = sorted(faults, key=lambda fault: fault.from_ms)
        self.of_any = Shadow(_long(fault) for fault in self.faults)
        self.of_store = Shadow(_long(fault) for fault in self.faults if subject(fault.kind) is Subject.STORE)
        self.of_clock = Shadow(_long(fault) for fault in self.faults if subject(fault.kind) is Subject.CLOCK)
        self.of_doubles = Shadow(
            (fault.from_ms, until_ms(fault) + AFTER_MS) for fault in self.faults if _may_double(fault)
        )
        self.of_delays = Shadow(map(delays, self.faults))
        self.by_temper = {
            temper: Shadow(
                delays(fault)
                for fault in self.faults
                if subject(fault.kind) is not Subject.RECEIVER or is_at(fault, temper)
            )
            for temper in Temper
        }
        self._by_replica: dict[int, Shadow] = {}
        #: What holds requests up: from when, until when, of which replica or of all.
        self._holding = [
            (fault.from_ms, until_ms(fault), fault.replica if subject(fault.kind) is Subject.PROCESS else None)
            for fault in self.faults
            if subject(fault.kind) in (Subject.PROCESS, Subject.STORE)
        ]

    def of_replica(self, replica: int) -> Shadow:
        """Return when a replica's own process was not well."""
        if replica not in self._by_replica:
            self._by_replica[replica] = Shadow(
                (fault.from_ms, until_ms(fault) + BUSY_MS)
                for fault in self.faults
                if subject(fault.kind) is Subject.PROCESS and fault.replica in (replica, None)
            )
        return self._by_replica[replica]

    def latest_ms(self, call: Call) -> float:
        """Return until when a call whose outcome is unknown may still be applied.

        A request waits in the buffers of a process or of a store that stands still, whether or not its client does.
        """
        latest = (call.sent_ms + CLIENT_LIMIT_MS if call.answered_ms is None else call.answered_ms) + LATE_WRITE_MS
        for start, end, replica in self._holding:
            if start > latest:
                break
            if replica in (call.replica, None) and end >= call.sent_ms:
                latest = max(latest, end + LATE_WRITE_MS)
        return latest


def _long(fault: Fault) -> tuple[float, float]:
    return fault.from_ms, until_ms(fault) + after_ms(fault)


def _may_double(fault: Fault) -> bool:
    match fault.kind:
        case FaultKind.TERM:
            return fault.exit_code != 0  # a clean stop settles what it has begun
        case FaultKind.CLOCK_STEP:
            return abs(fault.step_ms) > LEASE_MS
        case FaultKind.RECEIVER_OUTAGE:
            return False
        case FaultKind.KILL | FaultKind.STOP_CONT:
            return True
        case FaultKind.STORE_RESTART | FaultKind.STORE_FREEZE | FaultKind.STORE_CUT:
            return True
