from __future__ import annotations

from datetime import timedelta

import pytest

from aioscheduler.clock import to_ms
from aioscheduler.domain.execution import Execution, ExecutionStatus
from aioscheduler.domain.job import Job, execution_id, run_id, skip_id
from aioscheduler.engine.runs import again, attempt_after, manual_run, run_of
from tests.support.clock import START
from tests.support.jobs import bot_job, job, webhook

LATER = START + timedelta(seconds=9)


def execution(*, attempt: int = 1, failures: int = 0, with_webhook: bool = True) -> Execution:
    of = job()
    run = run_id(of.id, to_ms(START))
    hook = webhook(of).id if with_webhook else None
    return Execution(
        id=execution_id(of.id, run, hook, attempt),
        job_id=of.id,
        run_id=run,
        webhook_id=hook,
        status=ExecutionStatus.FAILURE,
        attempt=attempt,
        failures=failures,
        scheduled_for=START,
        created_at=START,
        due_at=START,
        started_at=START,
        finished_at=START,
        worker_id="one",
        error="HTTP 500",
        response_code=500,
    )


def test_a_run_has_an_execution_for_each_webhook_in_their_order() -> None:
    of = job()
    hooks = [webhook(of), webhook(of, url="https://b.example/")]
    run = run_of(of, hooks, 5)
    name = run_id(of.id, 5)
    assert (run.fire_ms, run.name, run.skip_id, run.waits) == (5, name, skip_id(of.id, name), False)
    assert [planned.webhook for planned in run.executions] == hooks
    assert [planned.destination for planned in run.executions] == [hook.destination for hook in hooks]
    assert [planned.ref for planned in run.executions] == [
        (of.owner, of.id, hook.id, execution_id(of.id, name, hook.id, 1)) for hook in hooks
    ]
    assert run_of(of, hooks, 5) == run, "an occurrence is the same however often it is made"
    assert run_of(of, hooks, 6).executions != run.executions
    assert run_of(of, hooks, 5, waits=True).waits


@pytest.mark.parametrize(("one", "destination"), [(job(), "none"), (bot_job(), "bots")])
def test_a_run_without_webhooks_has_one_execution(one: Job, destination: str) -> None:
    (planned,) = run_of(one, [], 5).executions
    assert (planned.ref.owner, planned.ref.webhook_id, planned.webhook) == (one.owner, None, None)
    assert planned.destination == destination
    assert planned.ref.id == execution_id(one.id, run_id(one.id, 5), None, 1)


def test_a_run_by_hand_is_of_this_moment_and_waits_for_its_turn() -> None:
    of = job()
    hook = webhook(of)
    assert manual_run(of, [hook], LATER) == run_of(of, [hook], to_ms(LATER), waits=True)


@pytest.mark.parametrize("microseconds", [1, 500, 999])
def test_p2_a_run_by_hand_which_begins_at_once_is_not_named_after_an_instant_to_come(microseconds: int) -> None:
    run = manual_run(job(), [], LATER + timedelta(microseconds=microseconds))
    assert run.fire_ms == to_ms(LATER)


@pytest.mark.parametrize("with_webhook", [True, False])
def test_the_attempt_after_belongs_to_the_same_run_and_knows_nothing_of_the_one_before(with_webhook: bool) -> None:
    before = execution(attempt=3, failures=2, with_webhook=with_webhook)
    due = LATER + timedelta(seconds=1)
    following = attempt_after(before, 4, 3, due, LATER)
    assert following.id not in ("", before.id)
    assert (following.attempt, following.failures, following.status) == (4, 3, ExecutionStatus.QUEUED)
    assert (following.due_at, following.created_at, following.scheduled_for) == (due, LATER, START)
    for member in ("job_id", "run_id", "webhook_id"):
        assert getattr(following, member) == getattr(before, member)
    for member in ("started_at", "finished_at", "worker_id", "error", "response_code", "duration_ms"):
        assert getattr(following, member) is None
    assert attempt_after(before, 4, 0, due, LATER).id == following.id, "its number decides"
    assert attempt_after(before, 3, 3, due, LATER).id == before.id


def test_one_run_again_has_all_its_retries_before_it() -> None:
    ended = execution(attempt=3, failures=2)
    assert again(ended, LATER) == attempt_after(ended, 4, 0, LATER, LATER)
