"""Buckets, and what the counters add up to."""

from __future__ import annotations

import dataclasses

import pytest
from prometheus_client.parser import text_string_to_metric_families

from aioscheduler.domain.execution import DeadReason, ExecutionStatus, OutcomeKind, SkipReason
from aioscheduler.metrics import (
    DEAD_REASONS,
    ENDS,
    FIGURES,
    HOWS,
    LATENESS_BOUNDS_MS,
    OUTCOMES,
    SKIP_REASONS,
    Family,
    Snapshot,
    bot_runs_summary,
    bucket,
    executions_summary,
    exposition,
    jobs_summary,
    summary,
)
from tests.support.metrics import EMPTY

SOME = Family(
    jobs=100,
    enabled=85,
    queued=5,
    running=2,
    ended={"success": 9500, "failure": 300, "timed_out": 100, "dead_letter": 93, "skipped": 7},
    duration_ms=2_503_246.5,
    attempts=9993,
)


def samples(snapshot: Snapshot) -> dict[tuple[str, ...], float]:
    """Return what is exposed, by name and the values of its labels."""
    text, _ = exposition(snapshot, "")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("value", "name"), [(-5, "1"), (0, "1"), (1, "1"), (1.001, "2"), (300_000, "300000"), (300_000.1, "inf")]
)
def test_a_value_is_counted_in_the_first_bucket_that_holds_it(value: float, name: str) -> None:
    assert bucket(LATENESS_BOUNDS_MS, value) == name


def test_the_names_that_are_counted_are_those_the_domain_has() -> None:
    assert set(OUTCOMES) == {kind.value for kind in OutcomeKind} | {"dead_letter"}
    assert set(ENDS) == {status.value for status in ExecutionStatus if not status.is_open}
    assert set(SKIP_REASONS) == {reason.value for reason in SkipReason}
    assert set(DEAD_REASONS) == {reason.value for reason in DeadReason}


def test_the_summary_of_nothing_has_no_rates() -> None:
    empty = summary({})
    assert (empty["scheduled"], empty["success_rate"], empty["avg_duration_ms"]) == (0, None, None)


def test_the_success_rate_is_among_attempts_that_ended() -> None:
    counters = {
        "deliveries:message:success": 3,
        "deliveries:message:failure": 1,
        "deliveries:message:timed_out": 4,
        "deliveries:message:dead_letter": 1,
        "deliveries:execution:success": 90,
        "duration_ms:le:5": 6,
        "duration_ms:le:inf": 2,
        "duration_us:sum": 16_000,
    }
    told = summary(counters)
    assert (told["delivered"], told["success_rate"], told["avg_duration_ms"]) == (3, 33.33, 2.0)


def test_means_of_messages_leave_out_what_executions_added_to_the_histograms() -> None:
    of_executions = {
        "executions:delivered": 3,
        "executions:duration_us:sum": 6_000_000,
        "executions:lateness_us:sum": 9_000,
    }
    shared = {
        "duration_ms:le:5": 2,
        "duration_ms:le:2500": 3,
        "duration_us:sum": 6_008_000,
        "lateness_ms:le:1": 2,
        "lateness_ms:le:5": 3,
        "lateness_us:sum": 10_000,
    }
    told = summary(of_executions | shared)
    assert (told["avg_duration_ms"], told["avg_lateness_ms"]) == (4.0, 0.5)


def test_messages_have_no_mean_while_only_executions_were_delivered() -> None:
    told = summary(
        {
            "executions:delivered": 1,
            "executions:duration_us:sum": 5000,
            "duration_ms:le:5": 1,
            "duration_us:sum": 5000,
        }
    )
    assert told["avg_duration_ms"] is None


def test_jobs_are_told_as_documented() -> None:
    assert jobs_summary(SOME) == {"total": 100, "enabled": 85, "disabled": 15}


def test_skipped_executions_count_neither_in_the_total_nor_in_the_rate() -> None:
    assert executions_summary(SOME) == {
        "total": 10_000,
        "queued": 5,
        "running": 2,
        "success": 9500,
        "failure": 300,
        "timed_out": 100,
        "dead_letter": 93,
        "skipped": 7,
        "success_rate": 95.07,
        "avg_duration_ms": 250.5,
    }


def test_runs_of_bots_fail_in_one_way() -> None:
    assert bot_runs_summary(SOME) == {
        "total": 10_000,
        "queued": 5,
        "running": 2,
        "success": 9500,
        "failed": 493,
        "skipped": 7,
        "success_rate": 95.07,
        "avg_duration_ms": 250.5,
    }


def test_before_the_first_execution_there_is_no_rate_and_no_mean() -> None:
    told = executions_summary(Family(queued=1))
    assert (told["total"], told["success"], told["success_rate"], told["avg_duration_ms"]) == (1, 0, None, None)


def test_families_add_up() -> None:
    other = Family(
        jobs=1, enabled=1, queued=1, running=1, ended={"failure": 2, "skipped": 1}, duration_ms=0.5, attempts=2
    )
    assert SOME + other == Family(
        jobs=101,
        enabled=86,
        queued=6,
        running=3,
        ended={"success": 9500, "failure": 302, "timed_out": 100, "dead_letter": 93, "skipped": 8},
        duration_ms=2_503_247.0,
        attempts=9995,
    )


def test_without_the_store_only_this_process_is_exposed() -> None:
    found = samples(
        dataclasses.replace(
            EMPTY,
            counters=None,
            pending=None,
            leased=None,
            dead=None,
            oldest_overdue_seconds=None,
            accounts=None,
            bots=None,
            audit=None,
            punctuality=None,
        )
    )
    assert found["aioscheduler_store_up",] == 0
    assert {name for name, *_ in found} == {
        "aioscheduler_build_info",
        "aioscheduler_store_up",
        "aioscheduler_store_risks",
        "aioscheduler_uptime_seconds",
        "aioscheduler_loop_lag_seconds",
        "aioscheduler_window_entries",
        "aioscheduler_in_flight",
        "aioscheduler_circuits_open",
        "aioscheduler_circuits_opened_total",
    }


def test_the_circuits_of_this_process_are_exposed() -> None:
    found = samples(dataclasses.replace(EMPTY, circuits_open=2, circuits_opened=7))
    assert found["aioscheduler_circuits_open",] == 2
    assert found["aioscheduler_circuits_opened_total",] == 7


def test_a_worker_says_which_it_is_where_the_numbers_are_its_own() -> None:
    alone, one = samples(EMPTY), samples(dataclasses.replace(EMPTY, worker=2))
    assert {name for name, *_ in one} == {name for name, *_ in alone}
    assert {name for name, *labels in set(one) - set(alone) if labels == ["2"]} == {
        "aioscheduler_store_up",
        "aioscheduler_store_risks",
        "aioscheduler_uptime_seconds",
        "aioscheduler_loop_lag_seconds",
        "aioscheduler_window_entries",
        "aioscheduler_in_flight",
        "aioscheduler_circuits_open",
        "aioscheduler_circuits_opened_total",
    }
    assert len(set(one) - set(alone)) == 8


def test_histograms_add_their_buckets_up() -> None:
    counters = {"lateness_ms:le:1": 2, "lateness_ms:le:5": 1, "lateness_ms:le:inf": 1, "lateness_us:sum": 9_000_000}
    text, _ = exposition(dataclasses.replace(EMPTY, counters=counters), "")
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


def test_jobs_and_executions_of_both_families_are_exposed() -> None:
    found = samples(
        dataclasses.replace(
            EMPTY,
            accounts=SOME,
            bots=Family(jobs=4, enabled=3, queued=2, running=1),
            store_risks=2,
            counters={
                "executions:success": 11,
                "executions:skipped": 12,
                "bot_runs:success": 13,
                "bot_runs:failure": 14,
                "deliveries:execution:timed_out": 15,
                "skipped:coalesced": 16,
                "jobs:fired": 17,
                "jobs:mended": 18,
                "executions:attempts": 19,
                "executions:duration_us:sum": 2_500_000,
                "bot_runs:attempts": 20,
            },
        )
    )
    for name, value in {
        ("aioscheduler_jobs", "account", "enabled"): 85,
        ("aioscheduler_jobs", "account", "disabled"): 15,
        ("aioscheduler_jobs", "bot", "enabled"): 3,
        ("aioscheduler_jobs", "bot", "disabled"): 1,
        ("aioscheduler_executions_queued", "account"): 5,
        ("aioscheduler_executions_queued", "bot"): 2,
        ("aioscheduler_executions_running", "account"): 2,
        ("aioscheduler_executions_running", "bot"): 1,
        ("aioscheduler_executions_total", "account", "success"): 11,
        ("aioscheduler_executions_total", "account", "skipped"): 12,
        ("aioscheduler_executions_total", "bot", "success"): 13,
        ("aioscheduler_executions_total", "bot", "failure"): 14,
        ("aioscheduler_executions_total", "bot", "skipped"): 0,
        ("aioscheduler_deliveries_total", "execution", "timed_out"): 15,
        ("aioscheduler_deliveries_total", "message", "timed_out"): 0,
        ("aioscheduler_runs_skipped_total", "coalesced"): 16,
        ("aioscheduler_runs_skipped_total", "misfire"): 0,
        ("aioscheduler_runs_total",): 17,
        ("aioscheduler_jobs_mended_total",): 18,
        ("aioscheduler_execution_duration_seconds_count", "account"): 19,
        ("aioscheduler_execution_duration_seconds_sum", "account"): 2.5,
        ("aioscheduler_execution_duration_seconds_count", "bot"): 20,
        ("aioscheduler_execution_duration_seconds_sum", "bot"): 0,
        ("aioscheduler_store_risks",): 2,
    }.items():
        assert found[name] == value, name


def test_reasons_of_dead_letters_are_exposed_before_the_first_and_also_those_nobody_knows() -> None:
    found = samples(dataclasses.replace(EMPTY, counters={"dead:gone": 2, "dead:of_old": 1}))
    assert found["aioscheduler_dead_letters_created_total", "gone"] == 2
    assert found["aioscheduler_dead_letters_created_total", "missed_window"] == 0
    assert found["aioscheduler_dead_letters_created_total", "of_old"] == 1


def test_punctuality_is_told_in_seconds_and_what_there_is_none_of_not_at_all() -> None:
    late: dict[str, float | None] = {
        "deliveries": 3,
        "p50_ms": 1.5,
        "p99_ms": 2000.0,
        "p999_ms": 2000.0,
        "worst_ms": 2000.25,
    }
    nothing: dict[str, float | None] = {"deliveries": 0, **dict.fromkeys((f"{figure}_ms" for figure in FIGURES), None)}
    told: dict[tuple[str, str], dict[str, float | None]] = {("all", "hour"): late, ("execution", "hour"): nothing}
    found = samples(dataclasses.replace(EMPTY, punctuality=told, punctuality_target_ms=250, punctuality_breached=True))
    lateness = {names[1:]: value for names, value in found.items() if names[0] == "aioscheduler_punctuality_seconds"}
    assert lateness == {
        (figure, "all", "hour"): value for figure, value in zip(FIGURES, (0.0015, 2, 2, 2.00025), strict=True)
    }
    assert found["aioscheduler_punctuality_deliveries", "all", "hour"] == 3
    assert found["aioscheduler_punctuality_deliveries", "execution", "hour"] == 0
    assert found["aioscheduler_punctuality_target_seconds",] == 0.25
    assert found["aioscheduler_punctuality_breached",] == 1


def test_the_account_is_told_by_kind_and_by_what_became_of_it() -> None:
    account = {"planned": 21, "delivered": 1, "dead": 2, "deleted": 3, "replaced": 4, "missed": 5, "pending": 6}
    nothing = dict.fromkeys(account, 0)
    audit = {"message": {**account, "difference": 0}, "execution": {**nothing, "planned": 1, "difference": 1}}
    found = samples(dataclasses.replace(EMPTY, audit=audit))
    assert found["aioscheduler_planned_total", "message"] == 21
    assert {how: found["aioscheduler_ended_total", how, "message"] for how in HOWS} == {
        how: account[how] for how in HOWS
    }
    assert found["aioscheduler_audit_difference", "message"] == 0
    assert found["aioscheduler_audit_difference", "execution"] == 1
    assert ("aioscheduler_planned_total", "message") not in samples(dataclasses.replace(EMPTY, audit=None))
