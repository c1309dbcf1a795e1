"""P6 and P8: the API while the store is away and afterwards; replicas that are asked to stop."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import inf

from aioscheduler.verify.histories import Findings, Histories, answered_ms, is_accepted, is_success
from aioscheduler.verify.ledger import Call, Fault, FaultKind, Hit, Op
from aioscheduler.verify.shadows import (
    BUSY_MS,
    LATE_WRITE_MS,
    STORE_AFTER_MS,
    WIRE_MS,
    Shadow,
    Subject,
    subject,
    until_ms,
)

#: An answer takes no longer, also without a store, in milliseconds.
ANSWER_MS = 2_000.0
#: What a stop takes besides waiting for attempts, in milliseconds: farewells, and a busy machine.
_FAREWELL_MS = 2_500.0
#: Who asks so shortly before all has to go on, in milliseconds, sees whether it does.
_LAST_MS = 3_000.0


def check_store(histories: Histories, found: Findings) -> None:
    """Note what breaks P6: no answer in time, a failure without a reason, or no work once the store is back."""
    for call in histories.ledger.calls:
        deadline = call.sent_ms + ANSWER_MS + BUSY_MS
        until = deadline if call.status is None else answered_ms(call)
        if histories.shadows.of_replica(call.replica).meets(call.sent_ms, until):
            continue
        found.checked += 1
        wrong = _wrong_answer(histories, call, until, deadline)
        if wrong is not None:
            about = (
                f"{call.op.value} {call.id} at {histories.at(call.sent_ms)} by replica {call.replica}, which was well,"
            )
            found.add(call.id, f"{about} {wrong}", calls=[call])
    for fault in histories.shadows.faults:
        if subject(fault.kind) is Subject.STORE:
            _check_return(histories, fault, found)


def _wrong_answer(histories: Histories, call: Call, until: float, deadline: float) -> str | None:
    if call.status is None:
        reason = f" ({call.error})" if call.error else ""
        return f"was to be answered within {ANSWER_MS / 1000:.0f} s; no answer came{reason}"
    if until > deadline:
        return f"was to be answered within {ANSWER_MS / 1000:.0f} s; it took {(until - call.sent_ms) / 1000:.3f} s"
    if call.status < 500:
        return None
    if not histories.shadows.of_store.meets(call.sent_ms, until):
        return f"was answered {call.status}, and the store was well"
    return None if call.status == 503 else f"was answered {call.status}; without a store, 503 is right"


def _check_return(histories: Histories, fault: Fault, found: Findings) -> None:
    """Check that within 10 s after a fault of the store a call is accepted and a first attempt made, if any was due."""
    start = until_ms(fault)
    end = start + STORE_AFTER_MS
    if end > histories.ledger.load_ended_ms or end == inf:
        return
    others = [
        other for other in histories.shadows.faults if other is not fault and subject(other.kind) is not Subject.CLOCK
    ]
    # One after the other: the last of them says whether all goes on.
    if Shadow((other.from_ms, until_ms(other)) for other in others).meets(start, end):
        return
    found.checked += 1
    asked = [call for call in histories.ledger.calls if start <= call.sent_ms <= end]
    if asked and not any(map(is_accepted, asked)) and max(call.sent_ms for call in asked) >= end - _LAST_MS:
        found.add(
            "store",
            f"the store was back at {histories.at(start)}; none of {len(asked)} calls was accepted within 10 s",
            calls=asked[-5:],
        )
    due = [
        call
        for call in histories.ledger.calls
        if call.op in (Op.CREATE, Op.REPLACE)
        and is_accepted(call)
        and call.due_ms is not None
        and start <= call.due_ms <= end - _LAST_MS
    ]
    arrived = [hit.arrived_ms for hit in histories.hits]
    if due and bisect_left(arrived, start) == bisect_right(arrived, end):
        found.add(
            "store",
            f"the store was back at {histories.at(start)}; {len(due)} messages were due, and none arrived within 10 s",
            calls=due[:5],
        )


def check_stops(histories: Histories, found: Findings) -> None:
    """Note what breaks P8: an exit that is not clean, an attempt cut off by it, or one nobody asked for."""
    cuts = [hit for hit in histories.hits if hit.cut and hit.ended_ms is not None]
    told: set[int] = set()
    for fault in histories.shadows.faults:
        if fault.kind is not FaultKind.TERM:
            continue
        found.checked += 1
        wrong = _wrong_exit(histories, fault)
        if wrong is not None and not _has_excuse(histories, fault):
            found.add(
                f"replica {fault.replica}",
                f"replica {fault.replica} was asked to stop at {histories.at(fault.from_ms)}; it {wrong}",
            )
        for hit in cuts:
            if id(hit) not in told and _is_cut_by(histories, fault, hit):
                told.add(id(hit))
                found.add(
                    histories.id_of(hit),
                    f"attempt {hit.attempt} of {hit.tag} was on the wire at {histories.at(hit.arrived_ms)} when "
                    f"replica {fault.replica} was asked to stop, and was to finish; it was cut off",
                    hits=[hit],
                )
    for words in histories.ledger.unexpected_exits:
        found.checked += 1
        found.add("exit", f"a replica ended without being asked: {words}")


def _wrong_exit(histories: Histories, fault: Fault) -> str | None:
    exited = fault.exit_ms
    if exited is None or fault.exit_code is None:
        return "did not"
    if fault.exit_code != 0:
        return f"exited with {fault.exit_code}"
    took, grace = exited - fault.from_ms, histories.ledger.grace_ms
    return f"took {took / 1000:.1f} s, of {grace / 1000:.0f} s" if took > grace + _FAREWELL_MS else None


def _exit_ms(fault: Fault) -> float:
    return until_ms(fault) if fault.exit_ms is None else max(fault.from_ms, fault.exit_ms)


def _has_excuse(histories: Histories, fault: Fault) -> bool:
    """Say whether the store was away, or something else was done to the same process, while it stopped."""
    return any(
        other is not fault
        and (
            subject(other.kind) is Subject.STORE
            or (subject(other.kind) is Subject.PROCESS and other.replica == fault.replica)
        )
        and other.from_ms <= _exit_ms(fault)
        and until_ms(other) + LATE_WRITE_MS >= fault.from_ms
        for other in histories.shadows.faults
    )


def _is_cut_by(histories: Histories, fault: Fault, hit: Hit) -> bool:
    ended = hit.arrived_ms if hit.ended_ms is None else hit.ended_ms
    # What arrives afterwards is of other replicas, which claim and send as ever.
    if not fault.from_ms <= ended <= _exit_ms(fault) + WIRE_MS or is_success(hit):
        return False
    if ended - hit.arrived_ms >= histories.ledger.limit_ms - WIRE_MS:
        return False
    if hit.is_job and _is_cut_by_deletion(histories.job_calls.get(hit.tag, ()), ended):
        return False
    return not any(
        other is not fault
        and other.kind is not FaultKind.TERM
        and other.from_ms <= ended
        and until_ms(other) + LATE_WRITE_MS >= hit.arrived_ms
        for other in histories.shadows.faults
    )


def _is_cut_by_deletion(calls: Sequence[Call], ended_ms: float) -> bool:
    """Say whether a job's attempt ended because the job was deleted: that cuts short what goes on for it."""
    return any(
        call.op is Op.DELETE_JOB
        and call.sent_ms <= ended_ms
        and (call.answered_ms is None or ended_ms <= call.answered_ms + WIRE_MS)
        for call in calls
    )
