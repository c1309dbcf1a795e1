"""The faults of a run are drawn from its seed, and leave a replica that is well."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

from aioscheduler.verify.ledger import FaultKind, Temper
from aioscheduler.verify.plan import FARTHEST_MS, PROCESS_FAULTS, STORE_FAULTS, Options, Planned, draw, possible

SEEDS = range(60)


def ends(planned: Planned) -> float:
    return planned.at + planned.seconds


def test_the_same_options_give_the_same_faults_and_another_seed_gives_others() -> None:
    assert draw(Options(seed=7)) == draw(Options(seed=7))
    assert draw(Options(seed=7)) != draw(Options(seed=8))


@pytest.mark.parametrize("seconds", [10.0, 12.0, 30.0, 60.0, 600.0])
def test_faults_come_in_order_and_are_over_before_the_load_ends(seconds: float) -> None:
    for seed in SEEDS:
        plan = draw(Options(seconds=seconds, seed=seed))
        assert [planned.at for planned in plan] == sorted(planned.at for planned in plan)
        assert plan[0].at >= 2
        assert all(ends(planned) < seconds for planned in plan), plan


def test_a_short_run_still_has_two_faults_or_more() -> None:
    assert min(len(draw(Options(seconds=10, seed=seed))) for seed in SEEDS) >= 2


def test_a_long_run_has_all_kinds_about_equally_often() -> None:
    for seed in SEEDS:
        counts = [[one.kind for one in draw(Options(seconds=600, seed=seed))].count(kind) for kind in FaultKind]
        assert max(counts) - min(counts) <= 1
        assert min(counts) >= 5


@pytest.mark.parametrize("replicas", [2, 3, 5])
def test_one_replica_at_least_is_well_at_any_time(replicas: int) -> None:
    for seed in SEEDS:
        plan = [one for one in draw(Options(seconds=600, replicas=replicas, seed=seed)) if one.kind in PROCESS_FAULTS]
        for planned in plan:
            away = {one.replica for one in plan if one.at <= planned.at <= ends(one)}
            assert len(away) < replicas
        for one, other in combinations(plan, 2):
            assert one.replica != other.replica or other.at > ends(one) + 2, "not recovered yet"


def test_some_faults_overlap_and_those_of_the_store_never_each_other() -> None:
    overlapping = 0
    for seed in SEEDS:
        plan = draw(Options(seconds=600, seed=seed))
        overlapping += sum(other.at < ends(one) for one, other in combinations(plan, 2))
        of_store = [one for one in plan if one.kind in STORE_FAULTS]
        assert all(other.at > ends(one) for one, other in combinations(of_store, 2))
    assert overlapping > len(SEEDS)


def test_each_fault_says_whom_it_hits_and_for_how_long() -> None:
    for one in draw(Options(seconds=600, seed=3)):
        match one.kind:
            case FaultKind.STOP_CONT:
                assert 1 <= one.seconds <= 6
                assert one.replica in range(3)
            case FaultKind.KILL | FaultKind.TERM:
                assert one.replica in range(3)
            case FaultKind.STORE_FREEZE:
                assert 1 <= one.seconds <= 5
                assert one.replica is None
            case FaultKind.CLOCK_STEP:
                assert 500 <= abs(one.step_ms) <= 5000
                assert one.replica in range(3)
            case FaultKind.RECEIVER_OUTAGE:
                assert 1 <= one.seconds <= 4
                assert one.temper in list(Temper)
            case FaultKind.STORE_RESTART | FaultKind.STORE_CUT:
                assert (one.seconds, one.replica) == (0, None)


def test_a_clock_never_gets_farther_off_than_one_step_can_take_it() -> None:
    for seed in SEEDS:
        offsets = [0, 0, 0]
        for one in draw(Options(seconds=600, seed=seed, faults=frozenset({FaultKind.CLOCK_STEP}))):
            assert one.replica is not None
            offsets[one.replica] += one.step_ms
            assert max(map(abs, offsets)) <= FARTHEST_MS
        assert any(offsets)


def test_only_the_faults_that_were_asked_for_come() -> None:
    kinds = frozenset({FaultKind.KILL, FaultKind.STORE_CUT})
    assert {one.kind for one in draw(Options(seconds=60, faults=kinds))} == kinds
    assert draw(Options(faults=frozenset())) == ()


def test_a_lone_replica_is_left_alone_and_a_store_of_others_is_not_ended() -> None:
    lone = Options(replicas=1)
    assert possible(lone) == frozenset(FaultKind) - PROCESS_FAULTS
    assert {one.kind for one in draw(replace(lone, seconds=600))} == possible(lone)
    others = Options(database=3)
    assert possible(others) == frozenset(FaultKind) - {FaultKind.STORE_RESTART}
    assert {one.kind for one in draw(replace(others, seconds=600))} == possible(others)
