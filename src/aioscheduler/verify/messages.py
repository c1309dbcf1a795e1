"""P1 and P4 for messages: nothing acknowledged is lost; deleted is deleted, replaced is replaced."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, inf

from aioscheduler.verify.histories import Findings, Histories, is_success
from aioscheduler.verify.ledger import Call, DeadLetterSeen, FaultKind, Hit, Op, Temper
from aioscheduler.verify.shadows import BUSY_MS, WIRE_MS, is_at, until_ms
from aioscheduler.verify.versions import Life, Version


def check_messages(histories: Histories, lost: Findings, ended: Findings) -> None:
    """Note what breaks P1 in ``lost`` and what breaks P4 in ``ended``."""
    left = set(histories.ledger.left)
    for id_, calls in histories.calls.items():
        life = Life(id_, calls, histories.shadows)
        versions = life.acknowledged()
        lost.checked += len(versions)
        without = [version for version in versions if not _is_kept(histories, id_, life, version, lost)]
        if id_ in left and versions and not without:
            lost.add(id_, f"{id_}: all had had time to end, and it was still live")
        _check_answers(histories, id_, life, versions, lost, ended)
        _check_ends(histories, id_, life, ended)


# -- nothing acknowledged is lost


def _is_kept(histories: Histories, id_: str, life: Life, version: Version, lost: Findings) -> bool:
    hits = histories.hits_by_tag.get(version.tag, ())
    if any(is_success(hit) for hit in hits) or life.may_be_ended(version):
        return True
    letters = histories.dead.get(id_, ())
    own = [letter for letter in letters if letter.tag in (version.tag, None)]
    if any(_fits(histories, version, letter, hits) for letter in own):
        return True
    # A later version of the same id that died too took the dead letter's place.
    if not own and letters and _may_be_exhausted(histories, version.call, version.sent_ms, hits):
        return True
    expected = f"{id_}: version {version.tag} was acknowledged at {histories.at(version.known_ms)}"
    if own:
        attempts = f"{len(hits)} of {version.call.max_attempts} attempts"
        seen = f"is a dead letter, {own[0].reason}, which {attempts} do not explain"
    elif id_ in histories.ledger.left:
        seen = "was still live when all had had time to end"
    elif hits:
        seen = f"arrived {len(hits)} times without success, and is no dead letter"
    else:
        seen = "never arrived, and is no dead letter"
    lost.add(id_, f"{expected} and neither deleted nor replaced; it {seen}")
    return False


def _fits(histories: Histories, version: Version, letter: DeadLetterSeen, hits: Sequence[Hit]) -> bool:
    if letter.reason == "gone":
        return any(hit.status == 410 for hit in hits)
    return letter.reason == "retries_exhausted" and _may_be_exhausted(histories, version.call, version.sent_ms, hits)


def _may_be_exhausted(histories: Histories, call: Call, since_ms: float, hits: Sequence[Hit]) -> bool:
    return may_be_exhausted(histories, call, max(since_ms, call.due_ms or since_ms), hits)


def may_be_exhausted(histories: Histories, call: Call, since_ms: float, hits: Sequence[Hit]) -> bool:
    """Say whether as many attempts as ``call`` allows can have failed since ``since_ms``.

    Those that arrived count, and those that may have found a closed port or were in a process that stood still.
    """
    temper: Temper | None = hits[0].temper if hits else call.temper
    possible: float = len(hits)
    for fault in histories.shadows.faults:
        match fault.kind:
            case FaultKind.RECEIVER_OUTAGE:
                hides = is_at(fault, temper)
            case FaultKind.STOP_CONT:
                hides = True
            case _:
                hides = False
        length = until_ms(fault) - max(fault.from_ms, since_ms)
        if hides and length >= 0:
            possible += inf if length == inf else floor(length / max(call.backoff_ms, 1.0)) + 1
    return possible >= call.max_attempts


# -- answers that contradict each other


def _check_answers(
    histories: Histories, id_: str, life: Life, versions: Sequence[Version], lost: Findings, ended: Findings
) -> None:
    for place, step in enumerate(life.steps):
        call = step.call
        if step.clears and call.op is not Op.CREATE:
            ended.checked += 1
        if call.op is Op.REPLACE and call.status == 409:
            ended.add(id_, f"{id_}: a replace takes the place of whatever is there; this one was refused, 409")
        if step.found is True and not life.may_live(place):
            ended.add(
                id_,
                f"{id_}: every version was deleted or replaced before {histories.at(step.start_ms)}; "
                f"yet {call.op.value} was answered {call.status}, as if there were one",
            )
        if step.found is False:
            before = [item for item in versions if item.known_ms <= step.start_ms and item.call is not call]
            if before and _must_live(histories, id_, life, before[-1], step.start_ms, step.end_ms):
                tag = before[-1].tag
                lost.add(
                    id_,
                    f"{id_}: version {tag} was acknowledged and neither attempted, deleted nor replaced; yet "
                    f"{call.op.value} at {histories.at(step.start_ms)} was answered {call.status}, as if it were gone",
                )


def _must_live(histories: Histories, id_: str, life: Life, version: Version, start_ms: float, end_ms: float) -> bool:
    if life.may_be_ended(version, until_ms=end_ms) or life.gone_ms(version.tag) <= start_ms:
        return False
    hits = histories.hits_by_tag.get(version.tag, ())
    if any(hit.arrived_ms <= end_ms + WIRE_MS for hit in hits):
        return False
    return (version.call.due_ms or -inf) > end_ms or not histories.dead.get(id_)


# -- deleted is deleted, replaced is replaced


def _check_ends(histories: Histories, id_: str, life: Life, ended: Findings) -> None:
    for tag in dict.fromkeys(step.call.tag for step in life.steps if step.call.tag is not None):
        hits = histories.hits_by_tag.get(tag, ())
        if not hits:
            continue
        if not life.writes(tag):
            ended.add(
                id_, f"{id_}: version {tag} was refused, and yet it arrived at {histories.at(hits[0].arrived_ms)}"
            )
            continue
        gone = life.gone_ms(tag)
        late = [hit for hit in hits if hit.arrived_ms > gone + WIRE_MS and not was_held(histories, hit, gone)]
        if late:
            ended.add(
                id_,
                f"{id_}: version {tag} was gone at {histories.at(gone)}, as clients were told; "
                f"attempt {late[0].attempt} arrived at {histories.at(late[0].arrived_ms)}",
            )


def was_held(histories: Histories, hit: Hit, gone_ms: float) -> bool:
    """Say whether a suspended process may have begun an attempt before ``gone_ms``, and let it go when it went on."""
    due = histories.due_ms(hit)
    return any(
        fault.kind is FaultKind.STOP_CONT
        and (due is None or due <= fault.from_ms)
        and fault.from_ms <= gone_ms + WIRE_MS
        and until_ms(fault) + WIRE_MS + BUSY_MS >= hit.arrived_ms
        for fault in histories.shadows.faults
    )
