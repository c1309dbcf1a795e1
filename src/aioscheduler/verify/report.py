"""What the checker says of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from aioscheduler.verify.ledger import Temper


class Promise(StrEnum):
    """What is promised, and can be seen from outside."""

    P1 = "P1"
    """Nothing acknowledged is lost."""
    P2 = "P2"
    """Never early."""
    P3 = "P3"
    """One at a time."""
    P4 = "P4"
    """Deleted is deleted, replaced is replaced."""
    P5 = "P5"
    """Nobody delays the rest."""
    P6 = "P6"
    """The store may go away and come back."""
    P7 = "P7"
    """The clock may jump."""
    P8 = "P8"
    """Stop is clean."""


TITLES = {
    Promise.P1: "nothing acknowledged is lost",
    Promise.P2: "never early",
    Promise.P3: "one at a time",
    Promise.P4: "deleted is deleted, replaced is replaced",
    Promise.P5: "nobody delays the rest",
    Promise.P6: "the store may go away and come back",
    Promise.P7: "the clock may jump",
    Promise.P8: "stop is clean",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A promise that was not kept.

    ``sentence`` says what was expected and what was seen; ``history`` all that is known of ``id``, a line each, in
    order of time. Only the first hundred of a promise have their history. Instants are seconds since the run's start.
    """

    id: str
    sentence: str
    history: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of one promise. ``checked`` counts what could have broken it."""

    promise: Promise
    title: str
    checked: int
    violations: Sequence[Violation] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """How late first attempts arrived, in milliseconds after they were due."""

    count: int
    p50: float
    p99: float
    p999: float
    most: float


@dataclass(slots=True, kw_only=True)
class Figures:
    """The run in numbers.

    ``doubles_announced`` are attempts after a success, or beside an attempt that went on, that a fault explains and
    whose number tells the receiver; all others are ``doubles_unannounced``. ``calm`` is the lateness of what was due
    outside of every fault's shadow. ``audit`` are the service's own numbers.
    """

    accepted: int = 0
    replaced: int = 0
    deleted: int = 0
    delivered: int = 0
    dead: int = 0
    runs: int = 0
    open_executions: int = 0
    attempts: int = 0
    calls_answered: int = 0
    calls_503: int = 0
    calls_unanswered: int = 0
    faults: int = 0
    doubles_announced: int = 0
    doubles_unannounced: int = 0
    lost: int = 0
    early: int = 0
    lateness: Lateness | None = None
    calm: Lateness | None = None
    lateness_by_temper: dict[Temper, Lateness] = field(default_factory=dict)
    calm_by_temper: dict[Temper, Lateness] = field(default_factory=dict)
    audit: dict[str, int] = field(default_factory=dict)
    audit_difference: int | None = None
    peak_memory: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Every promise's verdict, and the figures."""

    verdicts: Sequence[Verdict]
    figures: Figures

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        return not any(verdict.violations for verdict in self.verdicts)

    def verdict(self, promise: Promise | str) -> Verdict:
        """Return the verdict about one promise.

        :raises KeyError: there is none
        """
        for verdict in self.verdicts:
            if verdict.promise == promise:
                return verdict
        raise KeyError(promise)
