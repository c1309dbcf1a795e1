"""Fire times that have passed: which to run, which to skip, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice

from aioscheduler.domain.execution import SkipReason
from aioscheduler.domain.trigger import Interval, Trigger

#: As many missed runs are made up for, where they are not merged into one.
MAX_RUNS = 100
#: As many missed occurrences are told one by one: the latest.
MAX_TOLD = 20
#: Occurrences told together are counted up to here, unless it is for nothing.
MAX_COUNTED = 1000

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """An occurrence that is not run; or ``count`` of them, the last at ``until``, told together.

    A count of :data:`MAX_COUNTED` or more is exact for an interval and otherwise means "at least".
    """

    at: datetime
    reason: SkipReason
    until: datetime
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """What a job that is due leads to. ``runs`` and ``missed`` are in order of time."""

    runs: tuple[datetime, ...]
    missed: tuple[Missed, ...]
    next_at: datetime | None


def plan_firing(trigger: Trigger, due_at: datetime, now: datetime, *, coalesce: bool, grace: timedelta) -> Firing:
    """Return what to do about the fire time ``due_at`` and all later ones until ``now``, which is not before it.

    Those older than ``grace`` are missed. Of the others the latest is run, or with ``coalesce`` off as many as
    :data:`MAX_RUNS` of the latest; the earlier are merged into them. Takes bounded time, however many there are.
    """
    next_at = trigger.next_after(due_at)
    if next_at is None or next_at > now:
        if now - due_at > grace:
            return Firing(runs=(), missed=(_one(due_at, SkipReason.MISFIRE),), next_at=next_at)
        return Firing(runs=(due_at,), missed=(), next_at=next_at)
    return _plan_backlog(trigger, due_at, now, 1 if coalesce else MAX_RUNS, grace)


@lru_cache(maxsize=256)  # after an outage many jobs with the same schedule ask the same
def _plan_backlog(trigger: Trigger, due_at: datetime, now: datetime, most_runs: int, grace: timedelta) -> Firing:
    late: list[Missed] = []
    merged: list[Missed] = []
    runs: list[datetime] = []
    fresh: datetime | None = due_at
    if now - due_at > grace:
        fresh = trigger.next_after(now - grace - _INSTANT)
    if fresh is not None and fresh <= now:
        runs = _latest(trigger, fresh, now, most_runs)
        if runs[0] > fresh:
            merged = _told(trigger, fresh, runs[0] - _INSTANT, SkipReason.COALESCED, MAX_TOLD)
    if fresh != due_at:
        left = max(0, MAX_TOLD - sum(item.at == item.until for item in merged))
        late = _told(trigger, due_at, now - grace - _INSTANT, SkipReason.MISFIRE, left)
    return Firing(runs=tuple(runs), missed=(*late, *merged), next_at=trigger.next_after(now))


def _one(at: datetime, reason: SkipReason) -> Missed:
    return Missed(at=at, reason=reason, until=at)


def _told(trigger: Trigger, first: datetime, until: datetime, reason: SkipReason, most: int) -> list[Missed]:
    """Return the occurrences from ``first``, which is one, to ``until``; the latest ``most`` of them one by one."""
    latest = _latest(trigger, first, until, most + 1)
    if len(latest) <= most:
        return [_one(at, reason) for at in latest]
    last = latest[0]
    together = Missed(at=first, reason=reason, until=last, count=_count(trigger, first, last))
    return [together, *(_one(at, reason) for at in latest[1:])]


def _count(trigger: Trigger, first: datetime, last: datetime) -> int:
    if isinstance(trigger, Interval):
        return trigger.count(first, last)
    return 1 + sum(1 for _ in islice(_times(trigger, first, last), MAX_COUNTED - 1))


def _latest(trigger: Trigger, first: datetime, until: datetime, most: int) -> list[datetime]:
    """Return the latest occurrences from ``first``, which is one, to ``until``, in order of time; ``most`` at most.

    Looks back from ``until`` as far as needed: doubles the distance while it finds too few, halves what is left while
    it finds too many. Fire times lie a second or more apart, so this ends.
    """
    second = trigger.next_after(first)
    if second is None or second > until:
        return [first]
    limit = 2 * most + 2
    too_many: datetime | None = None
    too_few = until
    back = (second - first) * most
    while True:
        start = first
        if too_many is not None:
            start = too_many + (too_few - too_many) / 2
        elif back < until - first:
            start = until - back
        found = list(islice(_times(trigger, start, until), limit))
        if len(found) == limit:
            too_many = start
        elif start == first:
            return [first, *found][-most:]
        elif len(found) >= most:
            return found[-most:]
        else:
            too_few, back = start, back * 2


def _times(trigger: Trigger, after: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the fire times later than ``after``, until an instant inclusive."""
    at = trigger.next_after(after)
    while at is not None and at <= until:
        yield at
        at = trigger.next_after(at)
