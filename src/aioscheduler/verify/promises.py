"""Checks every promise that can be seen from outside against a ledger. Pure: no I/O, no clock."""

from __future__ import annotations

from aioscheduler.verify.attempts import check_alone, check_early
from aioscheduler.verify.figures import figures_of
from aioscheduler.verify.histories import Findings, Histories
from aioscheduler.verify.ledger import Ledger
from aioscheduler.verify.messages import check_messages
from aioscheduler.verify.outages import check_stops, check_store
from aioscheduler.verify.promptness import check_prompt, check_steps
from aioscheduler.verify.recurring import check_jobs
from aioscheduler.verify.report import TITLES, Figures, Promise, Report, Verdict

__all__ = ["Promise", "Report", "Verdict", "check"]


def check(ledger: Ledger) -> Report:
    """Return what became of P1 to P8 in a run, and its figures.

    A violation is one whatever became of the calls nobody answered: where an unknown outcome, or a fault, could explain
    what was seen, nothing is held against the service.
    """
    histories = Histories(ledger)
    found = {promise: Findings(histories) for promise in Promise}
    check_messages(histories, found[Promise.P1], found[Promise.P4])
    check_jobs(histories, found[Promise.P1], found[Promise.P4])
    check_early(histories, found[Promise.P2])
    announced = check_alone(histories, found[Promise.P3])
    check_prompt(histories, found[Promise.P5])
    check_store(histories, found[Promise.P6])
    check_steps(histories, found[Promise.P7])
    check_stops(histories, found[Promise.P8])
    figures = figures_of(histories)
    _check_account(figures, found[Promise.P1])
    figures.lost = len(found[Promise.P1].violations)
    figures.early = len(found[Promise.P2].violations)
    figures.doubles_announced = announced
    figures.doubles_unannounced = len(found[Promise.P3].violations)
    return Report(
        verdicts=[
            Verdict(
                promise=promise,
                title=TITLES[promise],
                checked=findings.checked,
                violations=findings.violations,
            )
            for promise, findings in found.items()
        ],
        figures=figures,
    )


def _check_account(figures: Figures, findings: Findings) -> None:
    """Hold the service's own account against it: what it planned has to have ended, or to be pending."""
    if figures.audit_difference:
        findings.add("audit", f"the service cannot account for {figures.audit_difference} of what it planned")
