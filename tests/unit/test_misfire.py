from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aioscheduler.domain.cron import Cron
from aioscheduler.domain.execution import SkipReason
from aioscheduler.domain.misfire import MAX_COUNTED, MAX_RUNS, MAX_TOLD, Firing, Missed, plan_firing
from aioscheduler.domain.trigger import Daily, Interval, Trigger

T0 = datetime(2026, 11, 21, 8, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MINUTELY = Cron(expression="* * * * *", zone=ZoneInfo("UTC"))
DAILY = Daily(hour=8, minute=0, zone=ZoneInfo("UTC"))
MISFIRE, COALESCED = SkipReason.MISFIRE, SkipReason.COALESCED


@dataclass(frozen=True)
class Listed:
    """Fires at the times it is given, and never again."""

    times: tuple[datetime, ...]

    def next_after(self, after: datetime) -> datetime | None:
        return min((at for at in self.times if at > after), default=None)


def one(at: datetime, reason: SkipReason) -> Missed:
    return Missed(at=at, reason=reason, until=at)


def test_a_job_that_is_due_now_is_run_once() -> None:
    for late in (timedelta(), timedelta(seconds=59)):
        firing = plan_firing(MINUTELY, T0, T0 + late, coalesce=True, grace=HOUR)
        assert firing == Firing(runs=(T0,), missed=(), next_at=T0 + MINUTE)


def test_what_is_as_old_as_the_grace_is_run_and_what_is_older_is_missed() -> None:
    firing = plan_firing(DAILY, T0, T0 + HOUR, coalesce=True, grace=HOUR)
    assert firing == Firing(runs=(T0,), missed=(), next_at=T0 + DAY)
    firing = plan_firing(DAILY, T0, T0 + HOUR + timedelta(milliseconds=1), coalesce=True, grace=HOUR)
    assert firing == Firing(runs=(), missed=(one(T0, MISFIRE),), next_at=T0 + DAY)


def test_missed_runs_are_merged_into_the_latest() -> None:
    firing = plan_firing(MINUTELY, T0, T0 + 2 * MINUTE, coalesce=True, grace=HOUR)
    merged = (one(T0, COALESCED), one(T0 + MINUTE, COALESCED))
    assert firing == Firing(runs=(T0 + 2 * MINUTE,), missed=merged, next_at=T0 + 3 * MINUTE)


def test_missed_runs_are_made_up_for_where_they_are_not_merged() -> None:
    firing = plan_firing(MINUTELY, T0, T0 + 2 * MINUTE, coalesce=False, grace=HOUR)
    assert firing == Firing(runs=(T0, T0 + MINUTE, T0 + 2 * MINUTE), missed=(), next_at=T0 + 3 * MINUTE)


def test_those_beyond_the_grace_are_missed_and_the_others_merged() -> None:
    firing = plan_firing(MINUTELY, T0, T0 + 3 * MINUTE, coalesce=True, grace=2 * MINUTE)
    assert firing.runs == (T0 + 3 * MINUTE,)
    assert firing.missed == (one(T0, MISFIRE), one(T0 + MINUTE, COALESCED), one(T0 + 2 * MINUTE, COALESCED))


def test_no_run_is_made_when_all_are_beyond_the_grace() -> None:
    firing = plan_firing(DAILY, T0, T0 + 2 * DAY + HOUR, coalesce=True, grace=timedelta(minutes=5))
    assert firing.runs == ()
    assert firing.missed == tuple(one(T0 + count * DAY, MISFIRE) for count in range(3))
    assert firing.next_at == T0 + 3 * DAY


def test_only_the_latest_hundred_are_made_up_for() -> None:
    firing = plan_firing(MINUTELY, T0, T0 + 149 * MINUTE, coalesce=False, grace=DAY)
    assert firing.runs == tuple(T0 + count * MINUTE for count in range(50, 150))
    assert firing.missed == (
        Missed(at=T0, reason=COALESCED, until=T0 + 29 * MINUTE, count=30),
        *(one(T0 + count * MINUTE, COALESCED) for count in range(30, 50)),
    )


def test_the_latest_twenty_are_told_one_by_one_and_the_earlier_by_reason() -> None:
    firing = plan_firing(MINUTELY, T0, T0 + 100 * MINUTE, coalesce=True, grace=50 * MINUTE)
    assert firing.runs == (T0 + 100 * MINUTE,)
    assert firing.missed == (
        Missed(at=T0, reason=MISFIRE, until=T0 + 49 * MINUTE, count=50),
        Missed(at=T0 + 50 * MINUTE, reason=COALESCED, until=T0 + 79 * MINUTE, count=30),
        *(one(T0 + count * MINUTE, COALESCED) for count in range(80, 100)),
    )
    firing = plan_firing(MINUTELY, T0, T0 + 100 * MINUTE, coalesce=True, grace=5 * MINUTE)
    assert firing.missed[:2] == (
        Missed(at=T0, reason=MISFIRE, until=T0 + 79 * MINUTE, count=80),
        one(T0 + 80 * MINUTE, MISFIRE),
    )
    assert [item.reason for item in firing.missed[1:]] == [MISFIRE] * 15 + [COALESCED] * 5


def test_an_interval_counts_exactly_and_others_at_least() -> None:
    year, second = timedelta(days=365), timedelta(seconds=1)
    firing = plan_firing(Interval(period=second, anchor=T0), T0 + second, T0 + year, coalesce=True, grace=HOUR)
    assert firing.runs == (T0 + year,)
    assert sum(item.count for item in firing.missed) == 365 * 86_400 - 1
    assert firing.next_at == T0 + year + second
    firing = plan_firing(MINUTELY, T0, T0 + year, coalesce=True, grace=2 * year)
    assert firing.missed[0] == Missed(at=T0, reason=COALESCED, until=T0 + year - 21 * MINUTE, count=MAX_COUNTED)


def test_a_trigger_that_has_no_more_fire_times_ends_the_chain() -> None:
    assert plan_firing(Listed((T0,)), T0, T0, coalesce=True, grace=HOUR) == Firing(runs=(T0,), missed=(), next_at=None)
    last = Listed((T0, T0 + MINUTE))
    firing = plan_firing(last, T0, T0 + HOUR, coalesce=True, grace=HOUR)
    assert firing == Firing(runs=(T0 + MINUTE,), missed=(one(T0, COALESCED),), next_at=None)
    firing = plan_firing(last, T0, T0 + DAY, coalesce=True, grace=HOUR)
    assert firing == Firing(runs=(), missed=(one(T0, MISFIRE), one(T0 + MINUTE, MISFIRE)), next_at=None)


def test_a_due_time_that_the_trigger_does_not_know_is_run_all_the_same() -> None:
    odd = T0 + timedelta(seconds=7)
    firing = plan_firing(MINUTELY, odd, odd + MINUTE, coalesce=False, grace=HOUR)
    assert firing == Firing(runs=(odd, T0 + MINUTE), missed=(), next_at=T0 + 2 * MINUTE)
    assert plan_firing(MINUTELY, odd, odd + MINUTE, coalesce=False, grace=MINUTE) == firing


def test_the_next_fire_time_is_later_than_the_due_one_though_the_clock_stepped_back() -> None:
    firing = plan_firing(MINUTELY, T0, T0 - HOUR, coalesce=True, grace=HOUR)
    assert firing == Firing(runs=(T0,), missed=(), next_at=T0 + MINUTE)


def naive(trigger: Trigger, due_at: datetime, now: datetime, coalesce: bool, grace: timedelta) -> Firing:
    """Do as the plan does, by walking over everything; nothing is told together."""
    times = [due_at]
    while (at := trigger.next_after(times[-1])) is not None and at <= now:
        times.append(at)
    fresh = [at for at in times if now - at <= grace]
    runs = fresh[-(1 if coalesce else MAX_RUNS) :]
    missed = tuple(one(at, COALESCED if at in fresh else MISFIRE) for at in times if at not in runs)
    return Firing(runs=tuple(runs), missed=missed, next_at=at)


TRIGGERS: st.SearchStrategy[Trigger] = st.one_of(
    st.integers(1, 7200).map(lambda seconds: Interval(period=timedelta(seconds=seconds), anchor=T0)),
    st.sampled_from(["* * * * *", "*/7 * * * *", "0,1,2 */3 * * *", "* 9 * * *", "30 1 * * *", "* * 22 * *"]).map(
        lambda expression: Cron(expression=expression, zone=ZoneInfo("America/New_York"))
    ),
    st.sets(st.integers(1, 100_000), min_size=1, max_size=200).map(
        lambda seconds: Listed(tuple(T0 + timedelta(seconds=second) for second in sorted(seconds)))
    ),
)


@given(
    trigger=TRIGGERS,
    down=st.integers(0, 250),
    rest=st.integers(0, 5_000_000).map(lambda us: timedelta(microseconds=us)),
    coalesce=st.booleans(),
    grace=st.integers(0, 200_000).map(lambda seconds: timedelta(seconds=seconds)),
)
@example(  # one more than are told one by one, and one that is too late
    trigger=Cron(expression="* * * * *", zone=ZoneInfo("America/New_York")),
    down=23,
    rest=timedelta(),
    coalesce=True,
    grace=timedelta(seconds=1260),
)
def test_each_fire_time_is_run_or_missed_exactly_once(
    trigger: Trigger, down: int, rest: timedelta, coalesce: bool, grace: timedelta
) -> None:
    now = due_at = trigger.next_after(T0) or T0
    for _ in range(down):
        now = trigger.next_after(now) or now
    now += rest
    firing = plan_firing(trigger, due_at, now, coalesce=coalesce, grace=grace)
    expected = naive(trigger, due_at, now, coalesce, grace)
    assert (firing.runs, firing.next_at) == (expected.runs, expected.next_at)
    left = list(expected.missed)
    for item in firing.missed:
        part, left = left[: item.count], left[item.count :]
        assert (item.at, item.until) == (part[0].at, part[-1].at)
        assert {missed.reason for missed in part} == {item.reason}
    assert left == []
    assert len([item for item in firing.missed if item.count > 1]) <= 2
    assert len(firing.missed) <= MAX_TOLD + 2
    assert firing.missed[-MAX_TOLD:] == expected.missed[-MAX_TOLD:]


@pytest.mark.parametrize("coalesce", [True, False])
@pytest.mark.parametrize("grace", [timedelta(), HOUR, timedelta(days=20_000)])
@pytest.mark.parametrize("expression", ["* * * * *", "* * * 1 *", "* * 29 2 *", "0 0 29 2 *", "*/59 */23 31 * *"])
def test_ten_years_down_take_bounded_time(expression: str, grace: timedelta, coalesce: bool) -> None:
    trigger = Cron(expression=expression, zone=ZoneInfo("America/Sao_Paulo"))
    due_at = trigger.next_after(T0 - timedelta(days=3650))
    assert due_at is not None
    begin = time.process_time()
    firing = plan_firing(trigger, due_at, T0, coalesce=coalesce, grace=grace)
    assert time.process_time() - begin < 5
    assert firing.next_at is not None
    assert firing.next_at > T0
    assert len(firing.runs) <= MAX_RUNS
