"""The run in numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import ceil

from aioscheduler.verify.histories import Histories, is_accepted, is_success
from aioscheduler.verify.ledger import Ledger, Op, Temper
from aioscheduler.verify.report import Figures, Lateness
from aioscheduler.verify.shadows import WIRE_MS

#: What ``planned`` of the service's own numbers is the sum of.
_PLANNED = ("delivered", "dead", "deleted", "replaced", "missed", "pending")


def figures_of(histories: Histories) -> Figures:
    """Return all figures but those about doubles, losses and early attempts."""
    ledger = histories.ledger
    figures = Figures(
        runs=len({run.run_id for run in ledger.runs if run.status != "skipped"}),
        open_executions=ledger.open_executions,
        dead=len(ledger.dead),
        attempts=len(ledger.hits),
        delivered=sum(any(map(is_success, hits)) for hits in histories.hits_by_tag.values()),
        faults=len(ledger.faults),
        audit=dict(ledger.audit),
        audit_difference=_difference(ledger.audit),
        peak_memory=dict(ledger.peak_memory),
    )
    _count_calls(ledger, figures)
    lateness: dict[Temper, list[float]] = defaultdict(list)
    calm: dict[Temper, list[float]] = defaultdict(list)
    for first in histories.first_attempts:
        lateness[first.hit.temper].append(first.late_ms)
        # Dark when it should have left, not when it arrived: what is late for no reason must show.
        if not histories.shadows.of_delays.meets(first.due_ms, first.due_ms + WIRE_MS):
            calm[first.hit.temper].append(first.late_ms)
    figures.lateness = lateness_of([late for values in lateness.values() for late in values])
    figures.calm = lateness_of([late for values in calm.values() for late in values])
    for temper in Temper:
        for by_temper, values in ((figures.lateness_by_temper, lateness), (figures.calm_by_temper, calm)):
            measured = lateness_of(values[temper])
            if measured is not None:
                by_temper[temper] = measured
    return figures


def lateness_of(values: Sequence[float]) -> Lateness | None:
    """Return the percentiles by nearest rank; ``None`` of nothing."""
    if not values:
        return None
    ranked = sorted(values)

    def rank(share: float) -> float:
        return ranked[max(0, ceil(share * len(ranked)) - 1)]

    return Lateness(count=len(ranked), p50=rank(0.5), p99=rank(0.99), p999=rank(0.999), most=ranked[-1])


def _count_calls(ledger: Ledger, figures: Figures) -> None:
    for call in ledger.calls:
        if call.status is None:
            figures.calls_unanswered += 1
        elif call.status == 503:
            figures.calls_503 += 1
        else:
            figures.calls_answered += 1
        if not is_accepted(call):
            continue
        match call.op:
            case Op.CREATE:
                figures.accepted += 1
            case Op.REPLACE:
                figures.accepted += 1
                figures.replaced += call.status != 201
            case Op.DELETE:
                figures.deleted += 1
            case Op.BULK_DELETE:
                figures.deleted += len(call.deleted_ids)
            case Op.CREATE_JOB | Op.RUN_JOB | Op.DELETE_JOB:
                pass


def _difference(audit: dict[str, int]) -> int | None:
    if "difference" in audit:
        return audit["difference"]
    if "planned" in audit:
        return audit["planned"] - sum(audit.get(name, 0) for name in _PLANNED)
    return None
