"""What follows from the answers about one message id: which versions were there, and since when they are gone.

A call without an answer, or answered 5xx, may have been applied or not, and late. All said here holds either way.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf

from aioscheduler.verify.histories import answered_ms, is_accepted, is_unknown
from aioscheduler.verify.ledger import Call, Op
from aioscheduler.verify.shadows import Shadows


class Truth(Enum):
    """What can be said of something nobody saw."""

    YES = "yes"
    NO = "no"
    MAYBE = "maybe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a call did to an id, between ``start_ms`` and ``end_ms``.

    ``writes`` a version of its own; ``ends`` the version that was there. ``found`` says whether there was one;
    ``None`` when the answer does not tell.
    """

    call: Call
    start_ms: float
    end_ms: float
    writes: Truth
    ends: Truth
    found: bool | None

    @property
    def clears(self) -> bool:
        """Whether every version from before was gone when it was answered."""
        return self.found is False or self.ends is Truth.YES


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """An acknowledged version: asked for by ``call``, sent at ``sent_ms``, there for certain at ``known_ms``."""

    call: Call
    tag: str
    sent_ms: float
    known_ms: float


class Life:
    """The steps of one id, in the order they began."""

    def __init__(self, id_: str, calls: Sequence[Call], shadows: Shadows) -> None:
        self.steps = [_step(call, id_, shadows) for call in calls]
        self.steps.sort(key=lambda step: (step.start_ms, step.end_ms))
        self._starts = [step.start_ms for step in self.steps]
        #: By place: when the first of all later clearing steps was answered.
        self._cleared = [inf] * (len(self.steps) + 1)
        for place in range(len(self.steps) - 1, -1, -1):
            step = self.steps[place]
            self._cleared[place] = min(self._cleared[place + 1], step.end_ms if step.clears else inf)
        self._gone = [self._gone_of(place) for place in range(len(self.steps))]
        self._gone_by_tag: dict[str | None, float] = {}
        for step, gone in zip(self.steps, self._gone, strict=True):
            if step.writes is not Truth.NO:
                self._gone_by_tag[step.call.tag] = max(gone, self._gone_by_tag.get(step.call.tag, -inf))
        self._enders = sorted(
            (step for step in self.steps if step.ends is not Truth.NO), key=lambda step: step.end_ms, reverse=True
        )

    def _gone_of(self, place: int) -> float:
        """Return when what the step at a place may have written is gone for certain."""
        return self._cleared[max(place + 1, bisect_left(self._starts, self.steps[place].end_ms))]

    def gone_ms(self, tag: str) -> float:
        """Return when the clients had their answer that a version is deleted, replaced, or no more; endless if never.

        :raises KeyError: no call may have written it
        """
        return self._gone_by_tag[tag]

    def writes(self, tag: str) -> bool:
        """Say whether any call may have written the version."""
        return tag in self._gone_by_tag

    def acknowledged(self) -> list[Version]:
        """Return the versions that clients were told are there, each tag once."""
        versions: dict[str, Version] = {}
        first: dict[str, float] = {}
        for place, step in enumerate(self.steps):
            tag = step.call.tag
            if tag is None or step.call.op not in (Op.CREATE, Op.REPLACE):
                continue
            if step.writes is Truth.YES or (
                # Refused because of an earlier try of the same, when it can have been no other's.
                step.call.op is Op.CREATE and step.found and tag in first and not self.may_live(place, but=tag)
            ):
                sent = first.get(tag, step.start_ms)
                versions.setdefault(tag, Version(call=step.call, tag=tag, sent_ms=sent, known_ms=step.end_ms))
            if step.writes is not Truth.NO:
                first.setdefault(tag, step.start_ms)
        return list(versions.values())

    def may_live(self, at: int, but: str | None = None) -> bool:
        """Say whether there may have been a version when the step at a place was made, leaving out those of a tag."""
        step = self.steps[at]
        return any(
            place != at
            and before.writes is not Truth.NO
            and before.start_ms < step.end_ms
            and self._gone[place] >= step.start_ms
            and (but is None or before.call.tag != but)
            for place, before in enumerate(self.steps)
        )

    def may_be_ended(self, version: Version, until_ms: float = inf) -> bool:
        """Say whether clients may have deleted or replaced a version by calls sent before ``until_ms``."""
        for step in self._enders:
            if step.end_ms <= version.sent_ms:
                return False
            if step.start_ms < until_ms and (step.call.tag is None or step.call.tag != version.tag):
                return True
        return False


def _step(call: Call, id_: str, shadows: Shadows) -> Step:
    unknown = is_unknown(call)
    writes, ends, found = _when_unknown(call.op) if unknown else _when_answered(call, id_)
    end = shadows.latest_ms(call) if unknown else answered_ms(call)
    return Step(call=call, start_ms=call.sent_ms, end_ms=end, writes=writes, ends=ends, found=found)


def _when_unknown(op: Op) -> tuple[Truth, Truth, bool | None]:
    match op:
        case Op.CREATE:
            return Truth.MAYBE, Truth.NO, None
        case Op.REPLACE:
            return Truth.MAYBE, Truth.MAYBE, None
        case Op.DELETE | Op.BULK_DELETE:
            return Truth.NO, Truth.MAYBE, None
        case Op.CREATE_JOB | Op.RUN_JOB | Op.DELETE_JOB:
            return Truth.NO, Truth.NO, None


def _when_answered(call: Call, id_: str) -> tuple[Truth, Truth, bool | None]:
    accepted = is_accepted(call)
    found: bool | None = None
    match call.op:
        case Op.CREATE if accepted or call.status == 409:
            found = not accepted
        case Op.REPLACE if accepted:
            found = call.status != 201
        case Op.DELETE if accepted or call.status == 404:
            found = accepted
        case Op.BULK_DELETE if accepted:
            found = id_ in call.deleted_ids
        case _:
            pass
    writes = accepted and call.op in (Op.CREATE, Op.REPLACE)
    ends = accepted and found is True
    return Truth.YES if writes else Truth.NO, Truth.YES if ends else Truth.NO, found
