"""Ledgers of runs that never were, written down call by call. Instants are milliseconds since the run's start."""

from __future__ import annotations

from typing import Any, Self

from aioscheduler.verify.ledger import (
    Call,
    DeadLetterSeen,
    Fault,
    FaultKind,
    Hit,
    JobRun,
    Ledger,
    Op,
    Temper,
)
from aioscheduler.verify.promises import Promise, Report, check

#: A full minute, so that the schedule of a job begins anew with the run.
START = 1_800_000_000_000
JOB = "job"


class Run:
    """A ledger in the making. Each verb returns the run, so that a story can be told in one breath."""

    def __init__(self, *, load_ends: float = 60_000, ends: float = 90_000) -> None:
        self.ledger = Ledger(started_ms=START, load_ended_ms=START + load_ends, ended_ms=START + ends)

    def call(self, op: Op, id: str, at: float, status: int | None, *, took: float = 10, **about: Any) -> Self:
        """Add a call; with the status ``None`` there was no answer. ``due`` is ``due_ms`` in the run's time."""
        due = about.pop("due", None)
        self.ledger.calls.append(
            Call(
                op=op,
                id=id,
                replica=about.pop("replica", 0),
                sent_ms=START + at,
                answered_ms=None if status is None else START + at + took,
                status=status,
                due_ms=None if due is None else START + due,
                **about,
            )
        )
        return self

    def create(
        self,
        tag: str = "t1",
        *,
        id: str = "m",
        at: float = 0,
        due: float = 5_000,
        status: int | None = 201,
        **about: Any,
    ) -> Self:
        """Add a create."""
        return self.call(Op.CREATE, id, at, status, tag=tag, due=due, **about)

    def replace(
        self,
        tag: str = "t2",
        *,
        id: str = "m",
        at: float = 0,
        due: float = 5_000,
        status: int | None = 200,
        **about: Any,
    ) -> Self:
        """Add a replace."""
        return self.call(Op.REPLACE, id, at, status, tag=tag, due=due, **about)

    def delete(self, *, id: str = "m", at: float = 0, status: int | None = 200, **about: Any) -> Self:
        """Add a delete."""
        return self.call(Op.DELETE, id, at, status, **about)

    def bulk(self, prefix: str, *deleted: str, at: float = 0, status: int | None = 200, **about: Any) -> Self:
        """Add a bulk delete."""
        return self.call(Op.BULK_DELETE, prefix, at, status, deleted_ids=deleted, **about)

    def hit(
        self,
        tag: str = "t1",
        at: float = 5_003,
        *,
        status: int | None = 200,
        attempt: int = 1,
        took: float | None = 2,
        webhook: str | None = None,
        temper: Temper = Temper.QUICK,
        cut: bool = False,
    ) -> Self:
        """Add a request about a message; with ``took`` ``None`` it never ended."""
        return self._hit(tag, at, took, webhook or f"msg_{tag}", attempt, 0, temper, status=status, cut=cut)

    def job_hit(
        self,
        at: float,
        *,
        due: float,
        execution: str = "e1",
        status: int | None = 200,
        attempt: int = 1,
        took: float | None = 2,
        cut: bool = False,
    ) -> Self:
        """Add a request of the job."""
        about: dict[str, Any] = {"is_job": True, "execution_id": execution, "status": status, "cut": cut}
        return self._hit(JOB, at, took, f"run_{due}", attempt, due, Temper.QUICK, **about)

    def _hit(
        self,
        tag: str,
        at: float,
        took: float | None,
        webhook: str,
        attempt: int,
        due: float,
        temper: Temper,
        **about: Any,
    ) -> Self:
        self.ledger.hits.append(
            Hit(
                tag=tag,
                webhook_id=webhook,
                attempt=attempt,
                scheduled_for_ms=round(START + due),
                temper=temper,
                arrived_ms=START + at,
                ended_ms=None if took is None else START + at + took,
                **about,
            )
        )
        return self

    def fault(self, kind: FaultKind, at: float, until: float | None = None, **about: Any) -> Self:
        """Add a fault; ``exits`` is ``exit_ms`` in the run's time."""
        exits = about.pop("exits", None)
        self.ledger.faults.append(
            Fault(
                kind=kind,
                from_ms=START + at,
                until_ms=None if until is None else START + until,
                exit_ms=None if exits is None else START + exits,
                **about,
            )
        )
        return self

    def dead(
        self, tag: str | None = "t1", *, id: str = "m", reason: str = "retries_exhausted", attempts: int = 1
    ) -> Self:
        """Add a dead letter."""
        self.ledger.dead.append(DeadLetterSeen(id=id, tag=tag, reason=reason, attempts=attempts))
        return self

    def run(self, status: str, *, due: float, execution: str = "e1", attempt: int = 1) -> Self:
        """Add an execution of the job."""
        self.ledger.runs.append(
            JobRun(
                execution_id=execution,
                job_id=JOB,
                run_id=f"{JOB}@{due}",
                status=status,
                attempt=attempt,
                scheduled_for_ms=round(START + due),
            )
        )
        return self

    def left(self, id: str = "m") -> Self:
        """Say that a message was still live at the end."""
        self.ledger.left.append(id)
        return self

    def report(self) -> Report:
        """Check the run."""
        return check(self.ledger)

    def broken(self) -> dict[str, list[str]]:
        """Return the sentences of what was not kept, by promise."""
        return {
            str(verdict.promise): [violation.sentence for violation in verdict.violations]
            for verdict in self.report().verdicts
            if verdict.violations
        }

    def checked(self, promise: Promise | str) -> int:
        """Return how much of a promise was checked."""
        return self.report().verdict(promise).checked
