"""P2 and P3: no attempt is early, and each is made alone."""

from __future__ import annotations

from itertools import pairwise

from aioscheduler.verify.histories import Findings, Histories, is_success, of_schedule
from aioscheduler.verify.ledger import FaultKind, Hit, Op
from aioscheduler.verify.shadows import LATE_WRITE_MS, WIRE_MS, is_at

#: Whoever writes down when to try again may read the common clock so much wrong, in milliseconds.
_READING_MS = 10.0


def check_early(histories: Histories, found: Findings) -> None:
    """Note what breaks P2: before it was due, or before the back-off after a failed answer was over."""
    for hit in histories.hits:
        found.checked += 1
        if is_early(histories, hit):
            add_early(histories, found, hit)
    for hits in histories.hits_by_webhook.values():
        for earlier, hit in pairwise(hits):
            if earlier.status is None or is_success(earlier) or earlier.ended_ms is None:
                continue
            wait = _backoff_ms(histories, earlier)
            if hit.arrived_ms + _READING_MS < earlier.ended_ms + wait and not _explains(histories, earlier, hit):
                found.add(
                    histories.id_of(hit),
                    f"attempt {earlier.attempt} of {hit.tag} was answered {earlier.status} at "
                    f"{histories.at(earlier.ended_ms)}, and a further one was due {wait:.0f} ms later; "
                    f"attempt {hit.attempt} came after {hit.arrived_ms - earlier.ended_ms:.1f} ms",
                    hits=hits,
                )


def is_early(histories: Histories, hit: Hit) -> bool:
    """Say whether a hit arrived before it was due.

    A run asked for by hand is named after its replica's clock, which may just have been stepped.
    """
    due = histories.due_ms(hit)
    if due is None or hit.arrived_ms >= due:
        return False
    by_hand = hit.is_job and not of_schedule(hit.scheduled_for_ms)
    return not (by_hand and histories.shadows.of_clock.meets(hit.arrived_ms, due))


def add_early(histories: Histories, found: Findings, hit: Hit) -> None:
    """Note that a hit is early."""
    due = histories.due_ms(hit)
    assert due is not None, "otherwise it is not early"
    found.add(
        histories.id_of(hit),
        f"{hit.tag} was due at {histories.at(due)}; attempt {hit.attempt} arrived {due - hit.arrived_ms:.3f} ms before",
        hits=[hit],
    )


def _backoff_ms(histories: Histories, hit: Hit) -> float:
    if hit.is_job:
        calls = [call for call in histories.job_calls.get(hit.tag, ()) if call.op is Op.CREATE_JOB]
    else:
        calls = histories.calls_by_tag.get(hit.tag, [])
    return min((call.backoff_ms for call in calls), default=0.0)


def check_alone(histories: Histories, found: Findings) -> int:
    """Note what breaks P3; return how many doubles were announced, and explained by a fault."""
    announced = 0
    ids_by_tag: dict[str, set[str]] = {}
    for webhook_id, hits in histories.hits_by_webhook.items():
        about = {(hit.is_job, hit.tag, hit.scheduled_for_ms if hit.is_job else 0) for hit in hits}
        if len(about) > 1:
            tags = " and ".join(sorted({hit.tag for hit in hits}))
            found.add(
                histories.id_of(hits[0]), f"{webhook_id} names one version, or one run; it came for {tags}", hits=hits
            )
        if not hits[0].is_job:
            ids_by_tag.setdefault(hits[0].tag, set()).add(webhook_id)
        announced += _check_webhook(histories, hits, found)
    for tag, ids in ids_by_tag.items():
        # A create tried again with the same tag may have made a second version.
        if len(ids) > max(1, len(histories.calls_by_tag.get(tag, ()))):
            hit = histories.hits_by_tag[tag][0]
            found.add(histories.id_of(hit), f"{tag} is one version; it came as {' and '.join(sorted(ids))}", hits=[hit])
    return announced


def _check_webhook(histories: Histories, hits: list[Hit], found: Findings) -> int:
    announced = 0
    seen: set[int] = set()
    highest = success = previous = None
    for hit in hits:
        found.checked += 1
        wrong: str | None = None
        earlier: Hit | None = None
        problem = ""
        if hit.attempt in seen:
            wrong = f"attempt {hit.attempt} of {hit.tag} arrived a second time at {histories.at(hit.arrived_ms)}"
        elif highest is not None and hit.attempt < highest.attempt:
            earlier = highest
            problem = f"arrived after attempt {highest.attempt}"
        elif success is not None:
            earlier = success
            problem = f"came although attempt {success.attempt} had succeeded"
        elif previous is not None and _goes_on(histories, previous, hit):
            earlier = previous
            problem = f"came while attempt {previous.attempt} went on"
        if earlier is not None:
            if _explains(histories, earlier, hit) or _was_unheard(histories, earlier):
                announced += 1
            else:
                at = histories.at(hit.arrived_ms)
                wrong = f"attempt {hit.attempt} of {hit.tag}, at {at}, {problem}, and no fault explains it"
        if wrong is not None:
            found.add(histories.id_of(hit), wrong, hits=hits)
        seen.add(hit.attempt)
        if highest is None or hit.attempt > highest.attempt:
            highest = hit
        success = hit if is_success(hit) else success
        previous = hit
    return announced


def _goes_on(histories: Histories, earlier: Hit, hit: Hit) -> bool:
    """Say whether an attempt had neither ended nor run into its limit when the next one came."""
    ended = earlier.ended_ms is not None and earlier.ended_ms <= hit.arrived_ms
    return not ended and hit.arrived_ms < earlier.arrived_ms + histories.ledger.limit_ms - WIRE_MS


def _explains(histories: Histories, earlier: Hit, hit: Hit) -> bool:
    """Say whether a fault may have kept the end of an attempt from being recorded."""
    until = hit.arrived_ms
    if earlier.ended_ms is not None:
        until = min(until, earlier.ended_ms + LATE_WRITE_MS)
    return histories.shadows.of_doubles.meets(earlier.arrived_ms, max(until, earlier.arrived_ms))


def _was_unheard(histories: Histories, success: Hit) -> bool:
    """Say whether the answer to an attempt may not have been heard: too late, or broken off by the receiver."""
    if not is_success(success) or success.ended_ms is None:
        return False
    if success.ended_ms - success.arrived_ms >= histories.ledger.limit_ms - WIRE_MS:
        return True
    return any(
        fault.kind is FaultKind.RECEIVER_OUTAGE
        and is_at(fault, success.temper)
        and success.arrived_ms <= fault.from_ms <= success.ended_ms + WIRE_MS
        for fault in histories.shadows.faults
    )
