"""P5 and P7: what is due arrives in time, whatever other receivers and clocks do."""

from __future__ import annotations

from math import inf

from aioscheduler.verify.attempts import add_early, is_early
from aioscheduler.verify.histories import Findings, FirstAttempt, Histories
from aioscheduler.verify.ledger import Fault, FaultKind, Temper
from aioscheduler.verify.shadows import AFTER_MS, BUSY_MS, Shadow, Subject, delays, is_at, subject, until_ms

#: So late first attempts may be while others hang or fail, in milliseconds.
PROMPT_MS = 2_000.0
#: So late after a step of a clock, in milliseconds.
STEPPED_MS = 1_000.0
#: Receivers that take every attempt at once, or nearly.
_WELL = frozenset({Temper.QUICK, Temper.SLOW})


def check_prompt(histories: Histories, found: Findings) -> None:
    """Note what breaks P5: late at a quick receiver, with no fault but other receivers' behaviour."""
    shadow = histories.shadows.by_temper[Temper.QUICK]
    for first in histories.first_attempts:
        if first.hit.temper is not Temper.QUICK or not first.is_certain:
            continue
        if shadow.meets(first.due_ms, first.due_ms + PROMPT_MS):
            continue
        found.checked += 1
        if first.late_ms > PROMPT_MS:
            _add_late(
                histories, found, first, f"within {PROMPT_MS / 1000:.0f} s, since nothing ailed but other receivers"
            )


def check_steps(histories: Histories, found: Findings) -> None:
    """Note what breaks P7: early, or later than a second, near a step of a clock and away from all other faults."""
    steps = [fault for fault in histories.shadows.faults if fault.kind is FaultKind.CLOCK_STEP]
    if not steps:
        return
    for hit in histories.hits:
        if is_early(histories, hit) and histories.shadows.of_clock.meets(hit.arrived_ms, hit.arrived_ms):
            add_early(histories, found, hit)
    others = {
        temper: Shadow(
            delays(fault)
            for fault in histories.shadows.faults
            if fault.kind is not FaultKind.CLOCK_STEP
            and (subject(fault.kind) is not Subject.RECEIVER or is_at(fault, temper))
        )
        for temper in _WELL
    }
    near = Shadow(_near(fault) for fault in steps)
    instants = sorted({at for fault in steps for at in (fault.from_ms, until_ms(fault)) if at < inf})
    for first in histories.first_attempts:
        if first.hit.temper not in _WELL or not first.is_certain or not near.meets(first.due_ms, first.due_ms):
            continue
        limit = STEPPED_MS + BUSY_MS
        deadline = first.due_ms + limit
        for at in instants:
            if first.due_ms <= at <= deadline:
                deadline = at + limit
        if others[first.hit.temper].meets(first.due_ms, deadline):
            continue
        found.checked += 1
        if first.hit.arrived_ms > deadline:
            _add_late(histories, found, first, f"by {histories.at(deadline)}, also when a clock is stepped")


def _near(fault: Fault) -> tuple[float, float]:
    around = abs(fault.step_ms) + AFTER_MS
    return fault.from_ms - around, until_ms(fault) + around


def _add_late(histories: Histories, found: Findings, first: FirstAttempt, expected: str) -> None:
    hit = first.hit
    found.add(
        first.id,
        f"{hit.tag} was due at {histories.at(first.due_ms)} at a {hit.temper.value} receiver, and was to arrive "
        f"{expected}; it arrived {first.late_ms / 1000:.3f} s late",
        hits=[hit],
    )
