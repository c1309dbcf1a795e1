from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioscheduler.domain.punctuality import LANES, ROW_BYTES, Figures, Lateness, Window, lane

#: From nothing to twelve days, as many of each magnitude.
LATE_US = st.integers(0, 39).flatmap(lambda bits: st.integers(0, 2 << bits)).filter(lambda us: us < 1 << 40)


def lateness(values: Iterable[int]) -> Lateness:
    """Return what the store would have counted."""
    values = list(values)
    counts = Counter(map(lane, values))
    return Lateness.read(
        max(values, default=0), b"".join(counts[i].to_bytes(4) for i in range(max(counts, default=0) + 1))
    )


@given(st.lists(LATE_US, min_size=1, max_size=1500))
def test_percentiles_are_those_of_the_sorted_list_within_5_percent_and_the_worst_exactly(values: list[int]) -> None:
    told = lateness(values).figures()
    ranked = sorted(values)
    assert told.deliveries == len(values)
    assert told.worst_ms == ranked[-1] / 1000
    for figure, thousandths in ((told.p50_ms, 500), (told.p99_ms, 990), (told.p999_ms, 999)):
        exact = ranked[-(-len(values) * thousandths // 1000) - 1]
        assert figure is not None
        assert abs(figure * 1000 - exact) <= max(8, 0.05 * exact)
        assert figure <= told.worst_ms


@given(st.lists(st.lists(LATE_US, max_size=20), max_size=8))
def test_what_was_counted_apart_adds_up_to_what_is_counted_together(parts: list[list[int]]) -> None:
    total = sum(map(lateness, parts), Lateness())
    together = lateness(value for part in parts for value in part)
    assert total == together
    assert sum(total.counts) == sum(map(len, parts))


def test_lanes_follow_each_other_and_there_are_no_more_than_fit_a_row() -> None:
    edges = sorted(
        {us + d for bits in range(42) for k in range(10, 20) for us in [(k << bits) // 10] for d in (-1, 0, 1)}
    )
    lanes = [lane(us) for us in edges if us >= 0]
    assert lanes == sorted(lanes)
    assert set(lanes) == set(range(LANES))
    assert (lane(-5), lane(15), lane(16), lane(1 << 50)) == (0, 0, 1, LANES - 1)
    assert 4 * LANES <= ROW_BYTES


def test_counters_of_a_day_do_not_overflow_into_their_neighbours() -> None:
    full = b"\xff" * ROW_BYTES
    total = sum([Lateness.read(1, full)] * 24, Lateness())
    assert set(total.counts) == {24 * (2**32 - 1)}


def test_without_deliveries_there_is_nothing_to_tell() -> None:
    assert Lateness().figures() == Figures() == Figures(deliveries=0, p50_ms=None, worst_ms=None)
    assert astuple(lateness([0]).figures()) == (1, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("deliveries", "p99_ms", "target_ms", "breached"),
    [(10, 1000.1, 1000, True), (10, 1000.0, 1000, False), (9, 5000.0, 1000, False), (10, 5000.0, 0, False)],
)
def test_a_breach_takes_a_target_a_later_p99_and_ten_deliveries(
    deliveries: int, p99_ms: float, target_ms: int, breached: bool
) -> None:
    assert replace(Figures(), deliveries=deliveries, p99_ms=p99_ms).breaches(target_ms) is breached
    assert not Figures().breaches(target_ms)


def test_windows_are_so_many_minutes_before_the_one_that_goes_on() -> None:
    assert [window.minutes for window in Window] == [1, 60, 1440]
