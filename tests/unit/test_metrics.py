"""Buckets, and what the counters add up to."""

from __future__ import annotations

import pytest

from aioscheduler.metrics import LATENESS_BOUNDS_MS, Snapshot, bucket, exposition, summary


@pytest.mark.parametrize(
    ("value", "name"), [(-5, "1"), (0, "1"), (1, "1"), (1.001, "2"), (300_000, "300000"), (300_000.1, "inf")]
)
def test_a_value_is_counted_in_the_first_bucket_that_holds_it(value: float, name: str) -> None:
    assert bucket(LATENESS_BOUNDS_MS, value) == name


def test_the_summary_of_nothing_has_no_rates() -> None:
    empty = summary({})
    assert (empty["scheduled"], empty["success_rate"], empty["avg_duration_ms"]) == (0, None, None)


def test_the_success_rate_is_among_attempts_that_ended() -> None:
    counters = {
        "deliveries:message:success": 3,
        "deliveries:message:failure": 1,
        "deliveries:message:timed_out": 4,
        "deliveries:message:dead_letter": 1,
        "duration_ms:le:5": 6,
        "duration_ms:le:inf": 2,
        "duration_us:sum": 16_000,
    }
    told = summary(counters)
    assert (told["delivered"], told["success_rate"], told["avg_duration_ms"]) == (3, 33.33, 2.0)


def test_without_the_store_only_this_process_is_exposed() -> None:
    text, _ = exposition(
        Snapshot(
            version="1",
            counters=None,
            pending=None,
            leased=None,
            dead=None,
            oldest_overdue_seconds=None,
            uptime_seconds=1,
            loop_lag_seconds=0,
            window_entries=0,
            in_flight=0,
        ),
        "",
    )
    assert "aioscheduler_store_up 0.0" in text.decode()
    assert "aioscheduler_messages_pending" not in text.decode()


def test_histograms_add_their_buckets_up() -> None:
    counters = {"lateness_ms:le:1": 2, "lateness_ms:le:5": 1, "lateness_ms:le:inf": 1, "lateness_us:sum": 9_000_000}
    text, _ = exposition(
        Snapshot(
            version="1",
            counters=counters,
            pending=0,
            leased=0,
            dead=0,
            oldest_overdue_seconds=0,
            uptime_seconds=1,
            loop_lag_seconds=0,
            window_entries=0,
            in_flight=0,
        ),
        "",
    )
    lines = text.decode().splitlines()
    for line in (
        'aioscheduler_delivery_lateness_seconds_bucket{le="0.001"} 2.0',
        'aioscheduler_delivery_lateness_seconds_bucket{le="0.002"} 2.0',
        'aioscheduler_delivery_lateness_seconds_bucket{le="300.0"} 3.0',
        'aioscheduler_delivery_lateness_seconds_bucket{le="+Inf"} 4.0',
        "aioscheduler_delivery_lateness_seconds_sum 9.0",
        "aioscheduler_delivery_lateness_seconds_count 4.0",
        "aioscheduler_fired_early_total 0.0",
    ):
        assert line in lines
