"""The checker finds what broke a promise, and holds nothing against the service that may have been right."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aioscheduler.verify.ledger import Call, DeadLetterSeen, Fault, FaultKind, Hit, JobRun, Ledger, Op, Temper
from aioscheduler.verify.promises import Promise, check
from aioscheduler.verify.table import as_json, render
from tests.support.ledgers import JOB, START, Run

MINUTE = 60_000


def test_a_run_without_anything_breaks_nothing() -> None:
    report = check(Ledger())
    assert report.holds
    assert [verdict.promise for verdict in report.verdicts] == list(Promise)
    assert not any(verdict.checked for verdict in report.verdicts)


def test_a_message_that_arrives_when_it_is_due_keeps_every_promise() -> None:
    run = Run().create().hit()
    assert run.broken() == {}
    assert [run.checked(promise) for promise in ("P1", "P2", "P3", "P5")] == [1, 1, 1, 1]


# -- P1: nothing acknowledged is lost


def test_p1_an_acknowledged_message_that_never_arrives_is_lost() -> None:
    broken = Run().create().broken()
    assert list(broken) == ["P1"]
    assert "version t1 was acknowledged at +0.010 s" in broken["P1"][0]
    assert "never arrived" in broken["P1"][0]


@pytest.mark.parametrize("status", [None, 503, 409, 422])
def test_p1_a_message_that_was_not_acknowledged_may_never_arrive(status: int | None) -> None:
    assert "P1" not in Run().create(status=status).broken()


def test_p1_a_message_that_only_ever_failed_is_lost() -> None:
    run = Run().create(max_attempts=3).hit(status=500)
    assert "arrived 1 times without success" in run.broken()["P1"][0]


def test_p1_an_answer_that_was_cut_off_is_no_delivery() -> None:
    assert "P1" in Run().create(max_attempts=3).hit(status=200, cut=True).broken()


@pytest.mark.parametrize("status", [200, 404, None, 503])
def test_p1_a_message_that_may_have_been_deleted_is_not_lost(status: int | None) -> None:
    lost = "P1" in Run().create().delete(at=1_000, status=status).broken()
    assert lost == (status == 404)


def test_p1_a_delete_from_before_does_not_excuse_a_loss_unless_it_may_have_come_late() -> None:
    assert "P1" in Run().delete(at=0, status=404).create(at=100).broken()
    assert "P1" in Run().create("t0").delete(at=20).create(at=100).broken()
    # Nobody answered it: it may have been applied up to two seconds after its client gave up.
    assert "P1" not in Run().create("t0").delete(at=20, status=None).create(at=6_900, due=9_000).broken()
    assert "P1" in Run().create("t0").hit("t0").delete(at=20, status=None).create(at=7_100, due=9_000).broken()


def test_p1_a_delete_in_the_buffer_of_a_suspended_replica_may_come_when_that_goes_on() -> None:
    run = Run().create("t0").hit("t0").delete(at=20, status=None, replica=1).create(at=9_000, due=11_000)
    assert "P1" in run.broken()
    run.fault(FaultKind.STOP_CONT, 0, 8_000, replica=2)
    assert "P1" in run.broken()
    run.fault(FaultKind.STOP_CONT, 0, 8_000, replica=1)
    assert "P1" not in run.broken()


def test_p1_a_replaced_message_need_not_arrive_and_its_replacement_must() -> None:
    assert Run().create().replace(at=1_000).hit("t2").broken() == {}
    broken = Run().create().replace(at=1_000).broken()
    assert ["t2" in sentence for sentence in broken["P1"]] == [True]


def test_p1_a_replace_that_found_nothing_tells_of_a_loss() -> None:
    broken = Run().create().replace(at=1_000, status=201).hit("t2").broken()
    assert len(broken["P1"]) == 2  # never arrived, and was not there
    assert "replace at +1.000 s was answered 201, as if it were gone" in broken["P1"][1]


def test_p1_a_message_that_is_not_found_before_it_was_due_was_lost_also_when_it_arrives_later() -> None:
    broken = Run().create().delete(at=1_000, status=404).hit().broken()
    assert "as if it were gone" in broken["P1"][0]
    assert "P4" in broken


def test_p1_a_message_may_be_gone_once_it_arrived_or_may_have_been_deleted() -> None:
    assert Run().create().hit().delete(at=5_100, status=404).broken() == {}
    assert Run().create().delete(at=900, status=None, replica=1).delete(at=7_000, status=404).broken().keys() == {"P6"}
    # Attempted in the very moment.
    assert Run().create().hit(at=5_050).delete(at=5_030, status=404).broken() == {}


def test_p1_a_bulk_delete_ends_what_it_lists_and_nothing_else() -> None:
    two = Run().create("t1", id="1_2h").create("t2", id="1_12h").create("t3", id="2_2h").hit("t3")
    assert two.bulk("1_", "1_2h", "1_12h", at=1_000).broken() == {}
    forgotten = Run().create("t1", id="1_2h").create("t2", id="1_12h").bulk("1_", "1_2h", at=1_000)
    assert ["t2" in sentence for sentence in forgotten.broken()["P1"]] == [True, True]


def test_p1_a_bulk_delete_without_an_answer_may_have_ended_all_with_its_prefix() -> None:
    run = Run().create("t1", id="1_2h").create("t2", id="2_2h").bulk("1_", at=1_000, status=503)
    assert ["t2" in sentence for sentence in run.broken()["P1"]] == [True]


def test_p1_a_dead_letter_is_no_loss_when_all_its_attempts_failed() -> None:
    run = Run().create(max_attempts=2, backoff_ms=500).hit(status=500).hit(at=5_600, status=500, attempt=2)
    assert "P1" in run.broken()
    assert run.dead(attempts=2).broken() == {}


@pytest.mark.parametrize("reason", ["retries_exhausted", "missed_window", "invalid_record", "gone"])
def test_p1_a_dead_letter_with_a_reason_that_does_not_fit_is_a_loss(reason: str) -> None:
    broken = Run().create(max_attempts=2).hit(status=500).dead(reason=reason).broken()
    assert "1 of 2 attempts do not explain" in broken["P1"][0]


def test_p1_a_receiver_that_answered_410_makes_a_dead_letter_at_once() -> None:
    assert Run().create(max_attempts=2).hit(status=410).dead(reason="gone").broken() == {}


def test_p1_attempts_may_have_found_the_port_closed() -> None:
    run = Run().create(max_attempts=3, backoff_ms=500, temper=Temper.QUICK).dead(attempts=3)
    assert "P1" in run.broken()
    assert "P1" in run.fault(FaultKind.RECEIVER_OUTAGE, 4_900, 7_000, temper=Temper.SLOW).broken()
    assert "P1" in run.fault(FaultKind.RECEIVER_OUTAGE, 4_900, 5_900, temper=Temper.QUICK).broken()
    run.ledger.faults[-1].until_ms = START + 6_100
    assert "P1" not in run.broken()


def test_p1_a_later_dead_letter_of_the_same_id_takes_the_place_of_the_earlier() -> None:
    run = Run().create("t1").hit("t1", status=500).create("t2", at=6_000, due=7_000).hit("t2", at=7_001, status=500)
    assert run.dead("t2").broken() == {}
    assert "P1" in Run().create("t1").create("t2", at=6_000, due=7_000).hit("t2", 7_001, status=500).dead("t2").broken()


def test_p1_a_message_that_is_left_at_the_end_was_not_settled() -> None:
    assert "still live" in Run().create().hit().left().broken()["P1"][0]
    assert len(Run().create().left().broken()["P1"]) == 1
    assert "still live" in Run().create().hit(status=500).dead().left().broken()["P1"][0]
    assert "P1" not in Run().create(status=None).left().broken()


def test_p1_a_create_refused_because_of_its_own_unanswered_try_is_acknowledged() -> None:
    assert "P1" in Run().create(status=503).create(at=1_000, status=409).broken()
    # It may have been refused because of an older version that was never certainly deleted.
    assert "P1" not in Run().create("t0").hit("t0").create(status=503, at=100).create(at=1_000, status=409).broken()


# -- P1 and P4: jobs


def job(**about: float) -> Run:
    return Run(load_ends=about.pop("load_ends", 50_000)).call(Op.CREATE_JOB, JOB, 5_000, 200, max_attempts=2)


def asked(at: float = 6_000) -> Run:
    return job().call(Op.RUN_JOB, JOB, at, 202, execution_ids=("e1",))


def test_p1_a_run_asked_for_must_stand_in_the_history() -> None:
    assert "execution e1 was promised" in asked().broken()["P1"][0]
    assert asked().run("success", due=6_001).job_hit(6_020, due=6_001).broken() == {}


def test_p1_a_success_was_answered_so_by_a_receiver() -> None:
    assert "no receiver answered" in asked().run("success", due=6_001).broken()["P1"][0]
    assert "P1" in asked().run("success", due=6_001).job_hit(6_020, due=6_001, status=500).broken()


@pytest.mark.parametrize("status", ["queued", "running", "failure", "timed_out", "skipped", "dead_letter"])
def test_p1_a_run_that_did_not_end_well_or_after_its_attempts_is_lost(status: str) -> None:
    assert len(asked().run(status, due=0).job_hit(6_020, due=0, status=500).broken()["P1"]) == 1


def test_p1_a_run_may_fail_and_end_by_another_attempt() -> None:
    run = asked().run("failure", due=6_001).job_hit(6_020, due=6_001, status=500)
    run.job_hit(6_600, due=6_001, execution="e2", status=500, attempt=2)
    assert "P1" in run.broken()
    assert run.run("dead_letter", due=6_001, execution="e2", attempt=2).broken() == {}


def test_p1_a_deleted_job_takes_its_history_along() -> None:
    for status in (200, None, 503):
        assert "P1" not in asked().call(Op.DELETE_JOB, JOB, 7_000, status).broken()


def test_p1_a_job_that_is_not_found_though_nobody_deleted_it_is_lost() -> None:
    assert "answered 404" in job().call(Op.RUN_JOB, JOB, 6_000, 404).broken()["P1"][0]
    gone = job().call(Op.DELETE_JOB, JOB, 5_500, None).call(Op.RUN_JOB, JOB, 13_000, 404)
    assert "P1" not in gone.broken()


def test_p1_every_minute_of_a_job_has_its_run() -> None:
    assert f"job {JOB} has no run of +60.000 s" in job(load_ends=100_000).broken()["P1"][0]
    ran = job(load_ends=100_000).run("success", due=MINUTE).job_hit(MINUTE + 9, due=MINUTE)
    assert ran.broken() == {}
    assert job(load_ends=60_500).broken() == {}  # disabled in that very second


def test_p1_a_minute_may_be_missing_where_a_clock_or_a_fault_was_in_its_way() -> None:
    def created(at: float) -> Run:
        return Run(load_ends=100_000).call(Op.CREATE_JOB, JOB, at, 200)

    step = {"replica": 1, "step_ms": 5_000.0}
    assert "P1" in created(55_000).broken()
    assert "P1" in created(5_000).fault(FaultKind.CLOCK_STEP, 56_000, 56_000, **step).broken()
    assert "P1" in created(55_000).fault(FaultKind.CLOCK_STEP, 40_000, 40_000, **step).broken()
    assert "P1" not in created(55_000).fault(FaultKind.CLOCK_STEP, 56_000, 56_000, **step).broken()
    # A schedule begins with the minute after.
    assert "P1" not in created(59_500).broken()
    # A fault in a job's last seconds.
    assert "P1" in job(load_ends=65_000).broken()
    assert "P1" not in job(load_ends=65_000).fault(FaultKind.STORE_FREEZE, 64_000, 65_000).broken()


def test_p1_a_minute_may_be_skipped_only_for_a_reason() -> None:
    skipped = job(load_ends=100_000).run("skipped", due=MINUTE)
    assert "nothing was in its way" in skipped.broken()["P1"][0]
    assert skipped.fault(FaultKind.STORE_FREEZE, 58_000, 61_000).broken() == {}


def test_p1_a_minute_may_be_skipped_while_the_run_before_goes_on() -> None:
    run = job(load_ends=150_000).run("success", due=MINUTE).job_hit(MINUTE + 9, due=MINUTE)
    run.run("skipped", due=2 * MINUTE, execution="e2")
    assert "P1" in run.broken()
    by_hand = run.call(Op.RUN_JOB, JOB, 119_000, 202, execution_ids=("e3",))
    by_hand.job_hit(119_020, due=119_001, execution="e3").run("success", due=119_001, execution="e3")
    assert "P1" not in by_hand.broken()
    retried = job(load_ends=150_000).run("failure", due=MINUTE).job_hit(MINUTE + 9, due=MINUTE, status=500)
    retried.run("success", due=MINUTE, execution="e4", attempt=2)
    retried.job_hit(MINUTE + 600, due=MINUTE, execution="e4", attempt=2)
    assert "P1" not in retried.run("skipped", due=2 * MINUTE, execution="e2").broken()


def test_p1_the_minutes_of_a_deleted_job_are_known_by_what_arrived() -> None:
    deleted = job(load_ends=100_000).call(Op.DELETE_JOB, JOB, 75_000, 200)
    assert "P1" in deleted.broken()
    assert "P1" not in deleted.job_hit(MINUTE + 9, due=MINUTE).broken()
    assert "P1" not in job(load_ends=100_000).call(Op.DELETE_JOB, JOB, 65_000, 200).broken()


def test_p4_a_deleted_job_calls_nobody_any_more() -> None:
    deleted = job().call(Op.DELETE_JOB, JOB, 7_000, 200)
    assert deleted.job_hit(7_200, due=6_900).broken() == {}
    assert "was gone at +7.010 s" in deleted.job_hit(7_300, due=6_901).broken()["P4"][0]
    assert deleted.checked("P4") == 1


def test_p4_a_deleted_job_cannot_be_run_again() -> None:
    assert "P4" in job().call(Op.DELETE_JOB, JOB, 7_000, 200).call(Op.RUN_JOB, JOB, 8_000, 202).broken()
    assert "P4" not in job().call(Op.DELETE_JOB, JOB, 7_000, 503).call(Op.RUN_JOB, JOB, 8_000, 202).broken()


# -- P2: never early


def test_p2_not_a_tenth_of_a_millisecond_early() -> None:
    assert "arrived 0.125 ms before" in Run().create().hit(at=4_999.875).broken()["P2"][0]
    assert Run().create().hit(at=5_000).broken() == {}


def test_p2_holds_for_what_was_not_acknowledged_too() -> None:
    assert "P2" in Run().create(status=None).hit(at=4_000).broken()


def test_p2_holds_for_jobs() -> None:
    assert "P2" in job(load_ends=100_000).run("success", due=MINUTE).job_hit(MINUTE - 1, due=MINUTE).broken()
    stepped = job(load_ends=100_000).run("success", due=MINUTE).job_hit(MINUTE - 1, due=MINUTE)
    assert "P2" in stepped.fault(FaultKind.CLOCK_STEP, 59_000, 59_000, replica=1, step_ms=2_000).broken()


def test_p2_a_run_by_hand_is_named_after_a_clock_that_may_have_been_stepped() -> None:
    early = asked().run("success", due=8_001).job_hit(6_020, due=8_001)
    assert "P2" in early.broken()
    assert "P2" not in early.fault(FaultKind.CLOCK_STEP, 5_500, 5_500, replica=1, step_ms=2_000).broken()


def retried(wait: float, **about: object) -> Run:
    run = Run().create(max_attempts=3, backoff_ms=500).hit(status=500)
    return run.hit(at=5_005 + wait, attempt=2)


def test_p2_a_further_attempt_waits_for_the_back_off() -> None:
    assert "came after 400.0 ms" in retried(400).broken()["P2"][0]
    assert retried(500).broken() == {}


def test_p2_a_failed_answer_that_nobody_lived_to_record_is_not_waited_for() -> None:
    assert "P2" not in retried(100).fault(FaultKind.KILL, 5_004, 8_000, replica=1).broken()
    assert "P2" in retried(100).fault(FaultKind.CLOCK_STEP, 5_004, 5_004, replica=1, step_ms=3_000).broken()


def test_p2_after_no_answer_at_all_the_receiver_cannot_tell() -> None:
    run = Run().create(max_attempts=3, backoff_ms=500).hit(status=None, cut=True).hit(at=5_100, attempt=2)
    assert "P2" not in run.broken()


def test_p2_a_success_is_not_followed_by_a_back_off() -> None:
    run = Run().create(max_attempts=3, backoff_ms=500).hit(took=900).hit(at=6_000, attempt=2)
    assert "P2" not in run.broken()


# -- P3: one at a time


def test_p3_an_attempts_number_comes_once_whatever_happened() -> None:
    run = Run().create().hit().hit(at=5_100).fault(FaultKind.KILL, 5_000, 8_000, replica=1)
    assert "arrived a second time" in run.broken()["P3"][0]
    assert run.report().figures.doubles_unannounced == 1


def test_p3_after_a_success_nothing_comes_unless_a_fault_explains_it() -> None:
    run = Run().create(max_attempts=3).hit().hit(at=9_000, attempt=2)
    assert "came although attempt 1 had succeeded" in run.broken()["P3"][0]
    assert "P3" in run.fault(FaultKind.KILL, 7_500, 8_000, replica=1).broken()  # its end was long recorded
    assert "P3" in run.fault(FaultKind.TERM, 5_000, 8_000, replica=1, exit_code=0, exits=6_000).broken()
    assert "P3" in run.fault(FaultKind.CLOCK_STEP, 5_000, 5_000, replica=1, step_ms=5_000).broken()
    assert run.report().figures.doubles_announced == 0
    assert "P3" not in run.fault(FaultKind.STORE_RESTART, 5_001, 6_000).broken()
    assert run.report().figures.doubles_announced == 1
    assert run.report().figures.doubles_unannounced == 0


def test_p3_a_fault_explains_for_some_seconds_after_it_was_undone() -> None:
    run = Run().create(max_attempts=3).hit().hit(at=9_000, attempt=2)
    assert "P3" in run.fault(FaultKind.STOP_CONT, -4_000, -1_000, replica=1).broken()
    assert "P3" not in run.fault(FaultKind.STOP_CONT, -4_000, -990, replica=1).broken()


def test_p3_an_answer_at_the_limit_or_broken_off_may_not_have_been_heard() -> None:
    assert "P3" not in Run().create(max_attempts=3).hit(took=900).hit(at=7_000, attempt=2).broken()
    assert "P3" in Run().create(max_attempts=3).hit(took=700).hit(at=7_000, attempt=2).broken()
    broken_off = Run().create(max_attempts=3).hit().hit(at=7_000, attempt=2)
    assert "P3" in broken_off.fault(FaultKind.RECEIVER_OUTAGE, 5_006, 6_000, temper=Temper.SLOW).broken()
    assert "P3" not in broken_off.fault(FaultKind.RECEIVER_OUTAGE, 5_006, 6_000, temper=Temper.QUICK).broken()


def test_p3_no_attempt_begins_while_another_goes_on() -> None:
    going = Run().create(max_attempts=3).hit(status=None, took=1_000, cut=True)
    assert "came while attempt 1 went on" in going.hit(at=5_300, attempt=2).broken()["P3"][0]
    unseen = Run().create(max_attempts=3).hit(status=None, took=None)
    assert "P3" in unseen.hit(at=5_300, attempt=2).broken()
    # Past its limit, whether or not the receiver saw the end.
    over = Run().create(max_attempts=3).hit(status=None, took=None).hit(at=6_010, attempt=2)
    assert over.broken() == {}
    nearly = Run().create(max_attempts=3).hit(status=None, took=None).hit(at=5_800, attempt=2)
    assert nearly.broken() == {}


def test_p3_numbers_rise() -> None:
    run = Run().create(max_attempts=3).hit(status=500, attempt=2).hit(at=6_000, attempt=1)
    assert "arrived after attempt 2" in run.broken()["P3"][0]
    assert "P3" not in run.fault(FaultKind.STOP_CONT, 4_000, 5_900, replica=1).broken()
    # A number may be missing: its replica died before the request left.
    assert Run().create(max_attempts=3).hit(attempt=3).broken() == {}


def test_p3_one_webhook_id_names_one_version() -> None:
    two = Run().create("t1", id="a").create("t2", id="b").hit("t1", webhook="w").hit("t2", webhook="w", attempt=2)
    assert "it came for t1 and t2" in two.broken()["P3"][0]
    twice = Run().create().hit(webhook="w1").hit(webhook="w2")
    assert "it came as w1 and w2" in twice.broken()["P3"][0]


def test_p3_a_create_tried_again_may_have_made_two_versions() -> None:
    run = Run().create(status=503).hit(webhook="w1").create(at=6_000, due=5_000).hit(at=6_100, webhook="w2")
    assert "P3" not in run.broken()


def test_p3_runs_of_a_job_have_webhook_ids_of_their_own() -> None:
    run = job(load_ends=130_000)
    for number in (1, 2):
        due = number * MINUTE
        run.run("success", due=due, execution=f"e{number}").job_hit(due + 5, due=due, execution=f"e{number}")
    assert run.broken() == {}


# -- P4: deleted is deleted, replaced is replaced


def test_p4_what_was_deleted_does_not_arrive() -> None:
    broken = Run().create().delete(at=1_000).hit().broken()
    assert "version t1 was gone at +1.010 s, as clients were told" in broken["P4"][0]
    assert "attempt 1 arrived at +5.003 s" in broken["P4"][0]
    assert Run().create().delete(at=1_000).replace(at=2_000, status=201).checked("P4") == 2


def test_p4_what_was_on_the_wire_may_still_arrive() -> None:
    assert Run().create().delete(at=4_995).hit(at=5_200).broken() == {}
    assert "P4" in Run().create().delete(at=4_995).hit(at=5_256).broken()


def test_p4_the_old_version_does_not_arrive_in_place_of_the_new() -> None:
    broken = Run().create().replace(at=1_000).hit("t1").broken()
    assert broken.keys() == {"P1", "P4"}


@pytest.mark.parametrize("status", [None, 503])
def test_p4_what_may_have_been_deleted_may_arrive(status: int | None) -> None:
    assert "P4" not in Run().create().delete(at=1_000, status=status).hit().broken()


def test_p4_who_was_told_that_nothing_is_there_gets_nothing_from_before() -> None:
    assert "P4" in Run().create().delete(at=900, status=None).delete(at=6_000, status=404).hit(at=7_000).broken()
    assert "P4" in Run().create().delete(at=900, status=None).create("t2", at=6_000, due=9_000).hit(at=7_000).broken()
    assert "P4" in Run().create(id="1_a").bulk("1_", "1_a", at=1_000).hit().broken()


def test_p4_a_create_without_an_answer_may_be_applied_after_a_delete() -> None:
    assert "P4" not in Run().create(status=None).delete(at=5_100, status=404).hit(at=6_000).broken()
    assert "P4" in Run().create(status=None).delete(at=7_100, status=404).hit(at=8_000).broken()


def test_p4_a_suspended_process_may_let_go_what_it_had_begun() -> None:
    run = Run().create(due=2_000).delete(at=3_000).hit(at=6_100)
    assert "P4" in run.broken()
    assert "P4" not in run.fault(FaultKind.STOP_CONT, 2_001, 6_000, replica=1).broken()
    # What was not due when it was suspended had not begun.
    not_due = Run().create(due=2_500).delete(at=3_000).hit(at=6_100)
    assert "P4" in not_due.fault(FaultKind.STOP_CONT, 2_001, 6_000, replica=1).broken()
    # Nor is anything held long after it went on.
    late = Run().create(due=2_000).delete(at=3_000).hit(at=6_800)
    assert "P4" in late.fault(FaultKind.STOP_CONT, 2_001, 6_000, replica=1).broken()


def test_p4_a_call_that_took_no_time_does_not_end_its_own_version() -> None:
    assert Run().create(took=0).hit().broken() == {}
    assert Run().create().replace(at=1_000, took=0).hit("t2").broken() == {}
    assert "P4" in Run().create(took=0).delete(at=1, took=0).hit().broken()


def test_p4_what_was_refused_does_not_arrive() -> None:
    assert "version t1 was refused" in Run().create(status=422).hit().broken()["P4"][0]
    assert "P4" not in Run().create(status=None).create(at=1_000, status=409).hit().broken()


def test_p4_nothing_is_deleted_or_replaced_twice() -> None:
    twice = Run().create().delete(at=1_000).delete(at=2_000)
    assert "delete was answered 200, as if there were one" in twice.broken()["P4"][0]
    assert "P4" in Run().create().delete(at=1_000).replace(at=2_000).hit("t2").broken()
    assert "P4" in Run().create().delete(at=1_000).create("t2", at=2_000, status=409).broken()
    assert "P4" not in Run().create().delete(at=1_000, status=503).delete(at=2_000).broken()
    assert "P4" not in Run().create().delete(at=1_000).create("t2", at=2_000, status=503).delete(at=3_000).broken()


def test_p4_a_replace_is_never_refused_because_something_is_there() -> None:
    assert "this one was refused, 409" in Run().create().hit().replace(at=1_000, status=409).broken()["P4"][0]


def test_p1_the_services_own_account_has_to_balance() -> None:
    run = Run().create().hit()
    run.ledger.audit = {"planned": 2, "delivered": 1, "difference": 0}
    assert run.broken() == {}
    run.ledger.audit["difference"] = 1
    assert run.broken()["P1"] == ["the service cannot account for 1 of what it planned"]


# -- P5: nobody delays the rest


def test_p5_what_is_due_at_a_quick_receiver_arrives_within_two_seconds() -> None:
    assert "it arrived 2.001 s late" in Run().create().hit(at=7_001).broken()["P5"][0]
    assert Run().create().hit(at=7_000).broken() == {}
    assert Run().create(temper=Temper.HANGING).hit(at=9_000, temper=Temper.HANGING).broken() == {}


def test_p5_lateness_counts_from_acceptance_and_only_when_that_is_known() -> None:
    assert "P5" not in Run().create(at=5_000, due=0).hit(at=7_000).broken()
    assert "P5" in Run().create(at=5_000, due=0).hit(at=7_011).broken()
    assert "P5" not in Run().create(status=503).hit(at=9_000).broken()


def test_p5_faults_delay_for_some_seconds_but_for_those_of_other_receivers() -> None:
    late = Run().create().hit(at=9_000)
    assert "P5" in late.fault(FaultKind.RECEIVER_OUTAGE, 4_000, 8_000, temper=Temper.FAILING).broken()
    assert "P5" in late.fault(FaultKind.KILL, 7_100, 8_000, replica=1).broken()  # it was late already
    assert "P5" in late.fault(FaultKind.KILL, -1_010, 0, replica=1).broken()  # long taken over
    assert "P5" not in late.fault(FaultKind.KILL, -1_000, 0, replica=1).broken()
    suspended = Run().create().hit(at=9_000)
    assert "P5" in suspended.fault(FaultKind.STOP_CONT, 0, 2_990, replica=1).broken()
    assert "P5" not in suspended.fault(FaultKind.STOP_CONT, 0, 3_000, replica=1).broken()
    assert "P5" in Run().create().hit(at=9_000).fault(FaultKind.STORE_FREEZE, -1_000, 2_490).broken()
    assert "P5" not in Run().create().hit(at=9_000).fault(FaultKind.STORE_FREEZE, -1_000, 2_500).broken()
    assert "P5" not in Run().create().hit(at=9_000).fault(FaultKind.KILL, 6_900, 8_000, replica=1).broken()
    own = Run().create().hit(at=9_000).fault(FaultKind.RECEIVER_OUTAGE, 4_000, 8_000, temper=Temper.QUICK)
    assert "P5" not in own.broken()


# -- P6: the store may go away and come back


def test_p6_without_a_store_503_is_right_and_otherwise_it_is_wrong() -> None:
    assert "answered 503, and the store was well" in Run().create(status=503).broken()["P6"][0]
    assert Run().create(status=503).fault(FaultKind.STORE_FREEZE, -3_000, -1_000).broken() == {}
    assert "P6" in Run().create(status=503).fault(FaultKind.KILL, -100, 200, replica=1).broken()
    assert "503 is right" in Run().create(status=500).fault(FaultKind.STORE_CUT, 0, 0).broken()["P6"][0]


def test_p6_an_answer_comes_within_two_seconds_also_without_a_store() -> None:
    frozen = (FaultKind.STORE_FREEZE, -1_000, 4_000)
    assert Run().create(status=503, took=2_400).fault(*frozen).broken() == {}
    assert "it took 2.600 s" in Run().create(status=503, took=2_600).fault(*frozen).broken()["P6"][0]
    assert "no answer came (reset)" in Run().create(status=None, error="reset").fault(*frozen).broken()["P6"][0]


def test_p6_a_replica_that_is_not_well_need_not_answer() -> None:
    assert "P6" not in Run().create(status=None).fault(FaultKind.KILL, 1_000, 3_000, replica=0).broken()
    assert "P6" in Run().create(status=None).fault(FaultKind.KILL, 1_000, 3_000, replica=1).broken()
    assert "P6" in Run().create(status=None, at=4_000).fault(FaultKind.KILL, 1_000, 3_000, replica=0).broken()


def test_p6_calls_are_accepted_again_within_ten_seconds() -> None:
    run = Run().fault(FaultKind.STORE_RESTART, 9_000, 10_000)
    for at in range(10_000, 19_000, 1_000):
        run.create(f"t{at}", id=f"m{at}", at=at, due=60_000, status=503)
    assert "none of 9 calls was accepted" in run.broken()["P6"][0]
    run.ledger.calls.pop()
    run.ledger.calls.pop()
    assert run.broken() == {}  # nobody asked towards the end
    assert run.create("t", id="m", at=19_900, due=20_500).hit("t", at=20_501).broken() == {}


def test_p6_deliveries_go_on_within_ten_seconds() -> None:
    run = Run().create(due=12_000).fault(FaultKind.STORE_RESTART, 9_000, 10_000)
    assert (
        "none arrived within 10 s"
        in Run().create(due=12_000).hit(at=21_000).fault(FaultKind.STORE_RESTART, 9_000, 10_000).broken()["P6"][0]
    )
    assert run.hit(at=19_900).broken() == {}


def test_p6_what_comes_after_the_load_or_while_the_store_is_away_again_says_nothing() -> None:
    stuck = Run(load_ends=19_000).create(due=12_000).hit(at=21_000).fault(FaultKind.STORE_RESTART, 9_000, 10_000)
    assert "P6" not in stuck.broken()
    again = Run().create(due=12_000).hit(at=21_000).fault(FaultKind.STORE_RESTART, 9_000, 10_000)
    assert "P6" not in again.fault(FaultKind.STORE_FREEZE, 11_000, 16_000).broken()


# -- P7: the clock may jump


STEP = {"replica": 1, "step_ms": 3_000.0}


def test_p7_nothing_is_later_than_a_second_after_a_step() -> None:
    late = Run().create(temper=Temper.SLOW).hit(at=6_600, temper=Temper.SLOW)
    assert "P7" in late.fault(FaultKind.CLOCK_STEP, 4_000, 4_000, **STEP).broken()
    assert "P7" not in late.fault(FaultKind.CLOCK_STEP, 5_200, 5_200, **STEP).broken()
    assert late.checked("P7") == 1


def test_p7_other_faults_excuse_but_for_those_of_other_receivers() -> None:
    late = Run().create().hit(at=6_600).fault(FaultKind.CLOCK_STEP, 4_000, 4_000, **STEP)
    assert "P7" in late.fault(FaultKind.RECEIVER_OUTAGE, 4_000, 8_000, temper=Temper.FAILING).broken()
    own = Run().create().hit(at=6_600).fault(FaultKind.CLOCK_STEP, 4_000, 4_000, **STEP)
    assert "P7" not in own.fault(FaultKind.RECEIVER_OUTAGE, 4_000, 6_500, temper=Temper.QUICK).broken()
    assert "P7" not in late.fault(FaultKind.KILL, 3_000, 4_000, replica=0).broken()


def test_p7_far_from_a_step_two_seconds_are_fine() -> None:
    assert Run().create(due=20_000).hit(at=21_900).fault(FaultKind.CLOCK_STEP, 4_000, 4_000, **STEP).broken() == {}


def test_p7_nothing_is_early_after_a_step() -> None:
    early = Run().create().hit(at=4_500)
    assert early.broken().keys() == {"P2"}
    assert early.fault(FaultKind.CLOCK_STEP, 4_000, 4_000, **STEP).broken().keys() == {"P2", "P7"}


# -- P8: stop is clean


def stop(**about: object) -> Run:
    given = {"replica": 1, "exit_code": 0, "exits": 6_000, **about}
    return Run().fault(FaultKind.TERM, 5_000, 8_000, **given)


def test_p8_who_is_asked_to_stop_exits_with_0_in_time() -> None:
    assert stop().broken() == {}
    assert stop().checked("P8") == 1
    assert "exited with 1" in stop(exit_code=1).broken()["P8"][0]
    assert "it did not" in stop(exit_code=None, exits=None).broken()["P8"][0]


def test_p8_the_grace_is_what_replicas_were_started_with() -> None:
    assert stop(exits=32_000).broken() == {}
    assert "took 28.0 s, of 25 s" in stop(exits=33_000).broken()["P8"][0]
    short = stop(exits=12_000)
    short.ledger.grace_ms = 4_000
    assert "P8" in short.broken()


def test_p8_without_a_store_nobody_can_stop_cleanly() -> None:
    assert "P8" not in stop(exit_code=1).fault(FaultKind.STORE_FREEZE, 4_000, 5_500).broken()
    assert "P8" in stop(exit_code=1).fault(FaultKind.STORE_FREEZE, 6_100, 9_000).broken()
    assert "P8" in stop(exit_code=1).fault(FaultKind.KILL, 5_500, 9_000, replica=2).broken()


def cut(took: float = 100) -> Run:
    run = stop().create(max_attempts=2, backoff_ms=100).hit(at=5_100, status=None, took=took, cut=True)
    return run.hit(at=7_000, attempt=2)


def test_p8_no_attempt_is_cut_off_by_a_stop() -> None:
    assert "it was cut off" in cut().broken()["P8"][0]
    assert cut(took=990).broken() == {}  # by its own limit
    after_exit = stop().create(max_attempts=2).hit(at=5_900, status=None, took=300, cut=True).hit(at=7_000, attempt=2)
    assert "P8" in after_exit.broken()


def test_p8_an_attempt_may_be_cut_off_by_something_else() -> None:
    assert "P8" not in cut().fault(FaultKind.KILL, 5_190, 9_000, replica=2).broken()
    assert "P8" in cut().fault(FaultKind.KILL, 5_300, 9_000, replica=2).broken()
    assert "P8" not in cut().fault(FaultKind.STOP_CONT, 2_000, 4_000, replica=2).broken()
    assert "P8" in cut().fault(FaultKind.STOP_CONT, 2_000, 3_000, replica=2).broken()
    early = stop().create(due=4_000, max_attempts=2).hit(at=4_001, status=None, took=100, cut=True).hit(attempt=2)
    assert early.broken() == {}


def test_p8_a_deleted_jobs_attempts_may_be_cut_off() -> None:
    run = stop().call(Op.CREATE_JOB, JOB, 0, 200).job_hit(5_100, due=5_050, status=None, cut=True)
    assert "P8" in run.broken()
    run.call(Op.DELETE_JOB, JOB, 4_000, 503, took=5)
    run.call(Op.DELETE_JOB, JOB, 5_300, 503)
    assert "P8" in run.broken()
    assert "P8" not in run.call(Op.DELETE_JOB, JOB, 5_095, 200).broken()


def test_p8_nobody_ends_without_being_asked() -> None:
    run = Run()
    run.ledger.unexpected_exits.append("replica 2: Segmentation fault")
    assert "Segmentation fault" in run.broken()["P8"][0]


# -- histories and figures


def test_a_violation_has_the_whole_history_of_its_id_in_order_of_time() -> None:
    run = Run().delete(at=1_000).create().hit().fault(FaultKind.KILL, 800, 2_000, replica=1)
    run.create("t9", id="other").hit("t9").fault(FaultKind.STORE_CUT, 9_000, 9_000).dead().left()
    run.fault(FaultKind.TERM, 4_000, replica=2, exit_code=0, exits=4_500)
    (violation,) = run.report().verdict("P4").violations
    assert violation.id == "m"
    assert [line.split("  ")[0] for line in violation.history] == [
        "+0.000 s",
        "+0.800 s",
        "+1.000 s",
        "+4.000 s",
        "+5.003 s",
        "at the end",
        "at the end",
    ]
    text = "\n".join(violation.history)
    for part in (
        "create m by replica 0: 201 after 10 ms; tag t1, due +5.000 s",
        "kill of replica 1",
        "attempt 1 of t1",
    ):
        assert part in text


def test_a_violation_goes_by_the_messages_id_or_by_its_tag_when_nobody_asked_for_it() -> None:
    run = Run().create().hit(at=4_000).hit("stray").hit("stray", at=6_000)
    report = run.report()
    assert [violation.id for violation in report.verdict("P2").violations] == ["m"]
    assert [violation.id for violation in report.verdict("P3").violations] == ["stray"]


def test_the_history_of_a_job_has_its_runs_and_calls() -> None:
    run = asked().run("queued", due=6_001).job_hit(6_020, due=6_001, status=500)
    (violation,) = run.report().verdict("P1").violations
    text = "\n".join(violation.history)
    for part in ("create job job by", "run job job by", "executions e1", "execution e1: 500", "attempt 1, queued"):
        assert part in text


def test_the_figures_count_what_clients_and_receivers_saw() -> None:
    run = (
        Run().create("a", id="a").hit("a", at=5_010).create("b", id="b").replace("c", id="b", at=100).hit("c", at=5_020)
    )
    run.create("d", id="d").delete(id="d", at=100).create("e", id="e_1").bulk("e_", "e_1", at=100)
    run.create("f", id="f", status=None).create("g", id="g", status=503).dead("h", id="h")
    run.ledger.audit = {"planned": 5, "delivered": 2, "deleted": 2}
    figures = run.report().figures
    assert (figures.accepted, figures.replaced, figures.deleted) == (5, 1, 2)
    assert (figures.delivered, figures.dead, figures.attempts) == (2, 1, 2)
    assert (figures.calls_answered, figures.calls_503, figures.calls_unanswered) == (7, 1, 1)
    assert figures.audit_difference == 1
    assert figures.lateness is not None
    assert (figures.lateness.count, figures.lateness.p50, figures.lateness.most) == (2, 10, 20)


def test_lateness_in_the_shadow_of_a_fault_is_told_apart() -> None:
    run = Run().create().hit(at=5_100).create("t2", id="n", due=30_000).hit("t2", at=30_007, temper=Temper.SLOW)
    figures = run.fault(FaultKind.KILL, 4_000, 5_000, replica=1).report().figures
    assert figures.lateness is not None
    assert figures.calm is not None
    assert (figures.lateness.count, figures.calm.count, figures.calm.most) == (2, 1, 7)
    assert set(figures.calm_by_temper) == {Temper.SLOW}


def test_runs_asked_for_by_hand_are_due_when_it_suits_and_have_no_lateness() -> None:
    assert asked().run("success", due=6_001).job_hit(9_000, due=6_001).report().figures.lateness is None
    by_schedule = job(load_ends=100_000).run("success", due=MINUTE).job_hit(MINUTE + 9, due=MINUTE).report()
    assert by_schedule.figures.lateness is not None


# -- whatever is in the ledger


TIMES = st.integers(-100, 200_000).map(lambda ms: float(START + ms))
IDS = st.sampled_from(["a", "ab", "abc", "b", JOB])
TAGS = st.sampled_from(["t1", "t2", "t3", JOB])
STATUSES = st.sampled_from([None, 200, 201, 202, 204, 302, 404, 409, 410, 422, 500, 503])
CALLS = st.builds(
    Call,
    op=st.sampled_from(Op),
    id=IDS,
    replica=st.integers(0, 2),
    sent_ms=TIMES,
    answered_ms=st.none() | TIMES,
    status=STATUSES,
    tag=st.none() | TAGS,
    due_ms=st.none() | TIMES.map(int),
    temper=st.none() | st.sampled_from(Temper),
    max_attempts=st.integers(1, 3),
    backoff_ms=st.sampled_from([0.0, 100.0]),
    deleted_ids=st.lists(IDS, max_size=2).map(tuple),
    execution_ids=st.lists(TAGS, max_size=2).map(tuple),
)
HITS = st.builds(
    Hit,
    tag=TAGS,
    is_job=st.booleans(),
    webhook_id=st.sampled_from(["w1", "w2"]),
    attempt=st.integers(1, 3),
    scheduled_for_ms=TIMES.map(int),
    execution_id=st.none() | TAGS,
    temper=st.sampled_from(Temper),
    arrived_ms=TIMES,
    ended_ms=st.none() | TIMES,
    status=STATUSES,
    cut=st.booleans(),
)
FAULTS = st.builds(
    Fault,
    kind=st.sampled_from(FaultKind),
    from_ms=TIMES,
    until_ms=st.none() | TIMES,
    replica=st.none() | st.integers(0, 2),
    temper=st.none() | st.sampled_from(Temper),
    step_ms=st.sampled_from([0.0, -5_000.0, 400_000.0]),
    exit_code=st.sampled_from([None, 0, 1]),
    exit_ms=st.none() | TIMES,
)
RUNS = st.builds(
    JobRun,
    execution_id=TAGS,
    job_id=IDS,
    run_id=TAGS,
    status=st.sampled_from(["success", "failure", "dead_letter", "queued", "skipped", "?"]),
    attempt=st.integers(1, 3),
    scheduled_for_ms=TIMES.map(int),
)
LEDGERS = st.builds(
    Ledger,
    started_ms=st.sampled_from([0.0, float(START)]),
    load_ended_ms=st.sampled_from([0.0, START + 150_000.0]),
    ended_ms=st.sampled_from([0.0, START + 200_000.0]),
    calls=st.lists(CALLS, max_size=12),
    hits=st.lists(HITS, max_size=12),
    faults=st.lists(FAULTS, max_size=4),
    dead=st.lists(
        st.builds(
            DeadLetterSeen,
            id=IDS,
            tag=st.none() | TAGS,
            reason=st.sampled_from(["retries_exhausted", "gone"]),
            attempts=st.integers(0, 3),
        ),
        max_size=2,
    ),
    runs=st.lists(RUNS, max_size=4),
    left=st.lists(IDS, max_size=2),
    unexpected_exits=st.lists(st.just("replica 1"), max_size=1),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LEDGERS)
def test_any_mixture_is_checked_and_told(ledger: Ledger) -> None:
    report = check(ledger)
    assert str(report.holds).lower() in str(as_json(report)["holds"]).lower()
    assert render(report).count("\n") > 20
    for verdict in report.verdicts:
        assert all(violation.sentence for violation in verdict.violations)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LEDGERS)
def test_deletes_without_an_answer_lose_no_more_than_with_one(ledger: Ledger) -> None:
    before = len(check(ledger).verdict("P1").violations)
    for call in ledger.calls:
        if call.op in (Op.DELETE, Op.BULK_DELETE):
            call.status = None
    assert len(check(ledger).verdict("P1").violations) <= before


def test_a_long_run_is_checked_in_seconds() -> None:
    run = Run(load_ends=600_000)
    for number in range(1_000):
        at = number * 600.0
        run.create(f"a{number}", id=f"m{number}", at=at, due=at + 5_000).hit(f"a{number}", at + 5_004)
        run.delete(id=f"m{number}", at=at + 1_000, status=503 if number % 10 else None)
    for number in range(60):
        run.fault(FaultKind.KILL, number * 10_000, number * 10_000 + 2_000, replica=number % 3)
    began = time.process_time()
    run.report()
    # A sixtieth of ten minutes at 100 a second; were it to grow with the square, this would not do.
    assert time.process_time() - began < 5
