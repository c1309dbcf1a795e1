"""The ledger by id, tag and webhook id, and the history of an id as lines."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeVar

from aioscheduler.verify.ledger import Call, DeadLetterSeen, Fault, Hit, JobRun, Ledger, Op
from aioscheduler.verify.report import Violation
from aioscheduler.verify.shadows import Shadows, after_ms, until_ms

T = TypeVar("T")

MINUTE_MS = 60_000
#: So many violations of a promise are told with their history.
_TOLD = 100
_OF_JOBS = frozenset({Op.CREATE_JOB, Op.RUN_JOB, Op.DELETE_JOB})


def is_unknown(call: Call) -> bool:
    """Say whether nobody was told if a call was applied."""
    return call.status is None or call.status >= 500


def is_accepted(call: Call) -> bool:
    """Say whether a call was answered 2xx."""
    return call.status is not None and 200 <= call.status < 300


def answered_ms(call: Call) -> float:
    """Return when a call was answered; one with a status but without an instant counts as answered at once."""
    return call.sent_ms if call.answered_ms is None else max(call.sent_ms, call.answered_ms)


def is_success(hit: Hit) -> bool:
    """Say whether a receiver answered 2xx, and the answer was not cut off."""
    return hit.status is not None and 200 <= hit.status < 300 and not hit.cut


def of_schedule(scheduled_for_ms: int) -> bool:
    """Say whether a job's run is one of its schedule, each minute; others were asked for by hand."""
    return scheduled_for_ms % MINUTE_MS == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAttempt:
    """The first request that arrived of a message's version, or of a run by schedule. ``id`` is the message's or job's.

    ``due_ms`` is when it could arrive at the earliest: due and, where that was told, accepted. ``is_certain`` says that
    it was accepted, so that nothing but the service could delay it.
    """

    id: str
    hit: Hit
    due_ms: float
    is_certain: bool

    @property
    def late_ms(self) -> float:
        """How late it arrived, at least 0."""
        return max(0.0, self.hit.arrived_ms - self.due_ms)


class Histories:
    """Looks up what a ledger holds."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.shadows = Shadows(ledger.faults)
        #: Calls about messages by id, in the order they were sent; bulk deletes under every id they may have met.
        self.calls: dict[str, list[Call]] = defaultdict(list)
        self.job_calls: dict[str, list[Call]] = defaultdict(list)
        self.calls_by_tag: dict[str, list[Call]] = defaultdict(list)
        #: In order of arrival.
        self.hits = sorted(ledger.hits, key=lambda hit: hit.arrived_ms)
        self.hits_by_tag: dict[str, list[Hit]] = defaultdict(list)
        self.job_hits: dict[str, list[Hit]] = defaultdict(list)
        self.hits_by_webhook: dict[str, list[Hit]] = defaultdict(list)
        self.dead: dict[str, list[DeadLetterSeen]] = defaultdict(list)
        self.runs: dict[str, list[JobRun]] = defaultdict(list)
        self._sort_calls()
        for hit in self.hits:
            (self.job_hits if hit.is_job else self.hits_by_tag)[hit.tag].append(hit)
            self.hits_by_webhook[hit.webhook_id].append(hit)
        for letter in ledger.dead:
            self.dead[letter.id].append(letter)
        for run in ledger.runs:
            self.runs[run.job_id].append(run)
        self.first_attempts = list(self._first_attempts())

    def _sort_calls(self) -> None:
        bulk = []
        for call in sorted(self.ledger.calls, key=lambda call: call.sent_ms):
            if call.op in _OF_JOBS:
                self.job_calls[call.id].append(call)
            elif call.op is Op.BULK_DELETE:
                bulk.append(call)
            else:
                self.calls[call.id].append(call)
                if call.tag is not None:
                    self.calls_by_tag[call.tag].append(call)
        ids = sorted(self.calls)
        met: set[str] = set()
        for call in bulk:
            for id_ in {*_with_prefix(ids, call.id), *call.deleted_ids}:
                if id_ in self.calls:
                    self.calls[id_].append(call)
                    met.add(id_)
        for id_ in met:
            self.calls[id_].sort(key=lambda call: call.sent_ms)

    def id_of(self, hit: Hit) -> str:
        """Return the message's or job's id that a hit is about; its tag where no call is known."""
        calls = self.calls_by_tag.get(hit.tag)
        return hit.tag if hit.is_job or not calls else calls[0].id

    def due_ms(self, hit: Hit) -> float | None:
        """Return the instant that a hit's version, or run, was due; ``None`` where nobody knows."""
        if hit.is_job:
            return hit.scheduled_for_ms
        asked = [call.due_ms for call in self.calls_by_tag.get(hit.tag, ()) if call.due_ms is not None]
        return min(asked, default=None)

    def _first_attempts(self) -> Iterator[FirstAttempt]:
        for hits in self.hits_by_webhook.values():
            hit = hits[0]
            due = self.due_ms(hit)
            if due is None or (hit.is_job and not of_schedule(hit.scheduled_for_ms)):
                continue
            certain = hit.is_job
            if not hit.is_job:
                calls = self.calls_by_tag[hit.tag]
                certain = len(calls) == 1 and is_accepted(calls[0])
                due = max(due, answered_ms(calls[-1]) if certain else calls[0].sent_ms)
            yield FirstAttempt(id=self.id_of(hit), hit=hit, due_ms=due, is_certain=certain)

    def at(self, ms: float) -> str:
        """Return an instant as seconds since the run's start."""
        return f"{(ms - self.ledger.started_ms) / 1000:+.3f} s"

    def lines(self, id_: str, calls: Iterable[Call] = (), hits: Iterable[Hit] = ()) -> tuple[str, ...]:
        """Return all that is known of a message's or job's id, and of what else is given, in order of time."""
        all_calls = _once([*self.calls.get(id_, ()), *self.job_calls.get(id_, ()), *calls])
        tags = {call.tag for call in all_calls if call.tag is not None and call.id == id_}
        known = [hit for tag in sorted(tags) for hit in self.hits_by_tag.get(tag, ())]
        all_hits = _once([*known, *self.job_hits.get(id_, ()), *hits])
        told = [(call.sent_ms, self._call_line(call)) for call in all_calls]
        told += [(hit.arrived_ms, self._hit_line(hit)) for hit in all_hits]
        if told:
            first, last = min(told)[0], max(told)[0]
            told += [
                (fault.from_ms, self.fault_line(fault))
                for fault in self.shadows.faults
                if fault.from_ms <= last and until_ms(fault) + after_ms(fault) >= first
            ]
        lines = [f"{self.at(ms)}  {line}" for ms, line in sorted(told)]
        lines += [
            f"at the end  dead letter of {letter.tag}: {letter.reason} after {letter.attempts} attempts"
            for letter in self.dead.get(id_, ())
        ]
        lines += [
            f"at the end  execution {run.execution_id} of {run.run_id}: attempt {run.attempt}, {run.status}"
            for run in sorted(self.runs.get(id_, ()), key=lambda run: (run.scheduled_for_ms, run.attempt))
        ]
        if id_ in self.ledger.left:
            lines.append("at the end  still live")
        return tuple(lines)

    def _call_line(self, call: Call) -> str:
        line = f"{call.op.value} {call.id} by replica {call.replica}: "
        if call.status is None:
            line += "no answer" + (f" ({call.error})" if call.error else "")
        else:
            line += f"{call.status} after {answered_ms(call) - call.sent_ms:.0f} ms"
        if call.tag is not None:
            line += f"; tag {call.tag}"
        if call.due_ms is not None:
            line += f", due {self.at(call.due_ms)}"
        if call.temper is not None:
            line += f", {call.temper.value}, at most {call.max_attempts} attempts"
        for name, ids in (("deleted", call.deleted_ids), ("executions", call.execution_ids)):
            if ids:
                line += f"; {name} {', '.join(ids[:5])}" + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
        return line

    def _hit_line(self, hit: Hit) -> str:
        line = f"attempt {hit.attempt} of {hit.tag} arrives at {hit.temper.value} as {hit.webhook_id}"
        if hit.is_job:
            line += f", run of {self.at(hit.scheduled_for_ms)}, execution {hit.execution_id}"
        line += ": no answer" if hit.status is None else f": {hit.status}"
        if hit.ended_ms is not None:
            line += f" after {hit.ended_ms - hit.arrived_ms:.0f} ms"
        return line + (", cut off" if hit.cut else "")

    def fault_line(self, fault: Fault) -> str:
        """Return what was done, to whom and for how long."""
        line = fault.kind.value
        if fault.replica is not None:
            line += f" of replica {fault.replica}"
        if fault.temper is not None:
            line += f" of {fault.temper.value}"
        if fault.step_ms:
            line += f" by {fault.step_ms / 1000:+.3f} s"
        end = until_ms(fault)
        line += ", to the end" if end == inf else f", until {self.at(end)}"
        if fault.exit_code is not None:
            line += f", exit code {fault.exit_code}"
        return line


class Findings:
    """Gathers the violations of one promise."""

    def __init__(self, histories: Histories) -> None:
        self.violations: list[Violation] = []
        self.checked = 0
        self._histories = histories

    def add(self, id_: str, sentence: str, *, calls: Sequence[Call] = (), hits: Sequence[Hit] = ()) -> None:
        """Note a violation; ``calls`` and ``hits`` are those that may not be found by the id."""
        told = len(self.violations) < _TOLD
        history = self._histories.lines(id_, calls, hits) if told else ()
        self.violations.append(Violation(id=id_, sentence=sentence, history=history))


def _with_prefix(ids: Sequence[str], prefix: str) -> Iterator[str]:
    for at in range(bisect_left(ids, prefix), len(ids)):
        if not ids[at].startswith(prefix):
            return
        yield ids[at]


def _once(items: Iterable[T]) -> list[T]:
    return list({id(item): item for item in items}.values())
