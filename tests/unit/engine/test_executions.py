"""What an execution sends, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest

from aioscheduler.domain.execution import DeadReason, ExecutionStatus, Outcome, OutcomeKind
from aioscheduler.domain.job import Job
from aioscheduler.domain.retry import BackoffType, RetryPolicy
from aioscheduler.engine.delivery import Request
from aioscheduler.engine.executions import after_execution, webhook_request
from aioscheduler.errors import InvalidInput
from aioscheduler.store.base import Lease
from aioscheduler.store.jobcodec import decode_execution, encode_queued
from aioscheduler.store.recurring import ClaimedExecution
from tests.support.clock import START
from tests.support.jobs import job, refs, run, webhook
from tests.support.messages import outcome

RETRY = RetryPolicy(max_attempts=3, backoff=timedelta(seconds=10), backoff_type=BackoffType.FIXED)


def claimed(of: Job, *, attempt: int = 1, failures: int = 0, **members: Any) -> ClaimedExecution:
    hook = webhook(of, **members)
    [ref] = refs(run(of, [hook]))
    ms = int(START.timestamp() * 1000)
    record = encode_queued(hook.id, attempt, failures, ms, ms, ms).encode()
    return ClaimedExecution(
        ref=ref,
        execution=decode_execution(ref.id, of.id, record),
        job=of,
        webhook=hook,
        lease=Lease("one:1:1:0:0:0"),
        due_at=START,
        claimed_at=START,
    )


def request(of: Job | None = None, **members: Any) -> Request:
    one = claimed(of or job(), **members)
    assert one.webhook is not None
    return webhook_request(one.job, one.webhook, one.execution, START + timedelta(milliseconds=250))


# -- the request


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_without_a_template_a_body_says_which_run_it_is(method: str) -> None:
    of = job("nightly")
    sent = request(of, method=method)
    assert sent.body is not None
    body = orjson.loads(sent.body)
    assert body == {
        "job_id": of.id,
        "job_name": "nightly",
        "account_id": of.owner,
        "execution_id": dict(sent.identity)["X-Scheduler-Execution-Id"],
        "attempt": 1,
        "scheduled_at": "2026-04-15T02:41:45Z",
    }
    assert dict(sent.identity)["X-Scheduler-Job-Id"] == of.id


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_get_and_delete_send_no_body_unless_a_template_asks_for_one(method: str) -> None:
    assert request(method=method).body is None
    assert request(method=method, body_template="x").body == b"x"


def test_a_template_without_braces_is_sent_as_it_is() -> None:
    text = '{"action": "backup", "é": "\\u00e9"}'
    assert request(body_template=text).body == text.encode()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (None, '"a \\"quoted\\" & <b>"'),
        ({"content-type": "application/vnd.x+json; charset=utf-8"}, '"a \\"quoted\\" & <b>"'),
        ({"Content-Type": "application/x-www-form-urlencoded"}, '"a%20%22quoted%22%20%26%20%3Cb%3E"'),
        ({"Content-Type": "text/xml"}, '"a &quot;quoted&quot; &amp; &lt;b&gt;"'),
        ({"Content-Type": "text/plain"}, '"a "quoted" & <b>"'),
    ],
)
def test_values_are_escaped_for_the_bodys_content_type(headers: dict[str, str] | None, expected: str) -> None:
    sent = request(job('a "quoted" & <b>'), headers=headers, body_template='"{{ job.name }}"')
    assert sent.body is not None
    assert sent.body.decode().replace("+", "%20") == expected


def test_a_template_knows_the_job_the_execution_and_the_time() -> None:
    of = job()
    sent = request(
        of,
        body_template="{{ job.id }} {{ job.account_id }} {{ execution.id }} {{ execution.attempt }} "
        '{{ scheduled_at }} {{ now }} {{ now | date: "%Y-%m-%d" }}',
        headers={"Content-Type": "text/plain"},
    )
    identity = dict(sent.identity)
    assert (
        sent.body
        == (
            f"{of.id} {of.owner} {identity['X-Scheduler-Execution-Id']} 1 "
            "2026-04-15T02:41:45Z 2026-04-15T02:41:45.250Z 2026-04-15"
        ).encode()
    )


def test_a_body_that_would_become_too_long_is_refused() -> None:
    with pytest.raises(InvalidInput):
        request(job("x" * 255), body_template="{{ job.name }}" * 200 + "y" * 60_000 + "z" * 250_000)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a.invalid/p", "http://a.invalid/p?b=1&b=true&c=x+y%26z&d=1.5"),
        ("http://a.invalid/p?q=%2F#f", "http://a.invalid/p?q=%2F&b=1&b=true&c=x+y%26z&d=1.5#f"),
    ],
)
def test_query_parameters_are_added_to_the_url(url: str, expected: str) -> None:
    assert request(url=url, query_params={"b": [1, True], "c": "x y&z", "d": 1.5}).target.url == expected


def test_all_attempts_of_a_webhook_in_a_run_have_one_webhook_id_and_others_have_others() -> None:
    of = job()
    hook = webhook(of)
    first = claimed(of)
    one = webhook_request(of, hook, first.execution, START)
    again = webhook_request(of, hook, replace(first.execution, attempt=2), START)
    other = webhook_request(of, webhook(of), first.execution, START)
    later = webhook_request(of, hook, replace(first.execution, run_id="another"), START)
    assert one.webhook_id == again.webhook_id
    assert len({one.webhook_id, other.webhook_id, later.webhook_id}) == 3


# -- what becomes of it


def ended(kind: OutcomeKind, **members: Any) -> Outcome:
    return replace(outcome(kind, now=START), **members)


def test_success_ends_the_chain_and_keeps_what_was_answered() -> None:
    settlement = after_execution(claimed(job()), ended(OutcomeKind.SUCCESS, body=b"caf\xe9"), START, 0)
    assert settlement.final is not None
    assert (settlement.final.status, settlement.final.response_body) == (ExecutionStatus.SUCCESS, "caf\ufffd")
    assert settlement.following is None
    assert settlement.reason is None


@pytest.mark.parametrize(
    ("kind", "status"),
    [(OutcomeKind.FAILURE, ExecutionStatus.FAILURE), (OutcomeKind.TIMED_OUT, ExecutionStatus.TIMED_OUT)],
)
def test_a_failed_attempt_is_followed_by_one_more_of_the_same_run(kind: OutcomeKind, status: ExecutionStatus) -> None:
    first = claimed(job(retry=RETRY))
    failed = ended(kind)
    settlement = after_execution(first, failed, START, 0.5)
    following = settlement.following
    assert settlement.final is not None
    assert following is not None
    assert settlement.final.status is status
    assert (following.attempt, following.failures, following.run_id) == (2, 1, settlement.final.run_id)
    assert following.webhook_id == settlement.final.webhook_id
    assert following.id != settlement.final.id
    assert following.due_at == failed.finished_at + timedelta(seconds=10.5)


@pytest.mark.parametrize("kind", [OutcomeKind.FAILURE, OutcomeKind.TIMED_OUT])
def test_the_last_attempt_is_a_dead_letter_however_it_failed(kind: OutcomeKind) -> None:
    settlement = after_execution(claimed(job(retry=RETRY), attempt=3, failures=2), ended(kind), START, 0)
    assert settlement.final is not None
    assert settlement.final.status is ExecutionStatus.DEAD_LETTER
    assert settlement.reason is DeadReason.RETRIES_EXHAUSTED
    assert settlement.following is None


def test_an_attempt_that_was_cut_short_does_not_use_up_the_policy() -> None:
    settlement = after_execution(claimed(job(retry=RETRY), attempt=5, failures=1), ended(OutcomeKind.FAILURE), START, 0)
    assert settlement.following is not None
    assert (settlement.following.attempt, settlement.following.failures) == (6, 2)


@pytest.mark.parametrize("reason", [DeadReason.GONE, DeadReason.REJECTED_BY_POLICY])
def test_what_makes_no_sense_to_repeat_is_a_dead_letter_at_once(reason: DeadReason) -> None:
    settlement = after_execution(claimed(job(retry=RETRY)), ended(OutcomeKind.FAILURE, permanent=reason), START, 0)
    assert settlement.final is not None
    assert (settlement.final.status, settlement.reason) == (ExecutionStatus.DEAD_LETTER, reason)


def test_retry_after_is_obeyed() -> None:
    failed = ended(OutcomeKind.FAILURE, retry_after=timedelta(seconds=90))
    settlement = after_execution(claimed(job(retry=RETRY)), failed, START, 0)
    assert settlement.following is not None
    assert settlement.following.due_at == failed.finished_at + timedelta(seconds=90)
