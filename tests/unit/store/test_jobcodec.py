from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aioscheduler.clock import from_ms, to_ms
from aioscheduler.domain.execution import Execution, ExecutionId, ExecutionStatus, SkipReason
from aioscheduler.domain.job import BOTS, LastRun, WebhookId, execution_id, run_id
from aioscheduler.domain.retry import BackoffType, RetryPolicy
from aioscheduler.domain.trigger import Schedule, ScheduleType
from aioscheduler.store.jobcodec import (
    decode_execution,
    decode_job,
    decode_last,
    decode_ref,
    decode_webhook,
    encode_ended,
    encode_job,
    encode_queued,
    encode_ref,
    encode_skip,
    encode_webhook,
)
from aioscheduler.store.recurring import ExecutionRef
from tests.support.clock import START
from tests.support.jobs import ACCOUNT, bot_job, job, webhook

JOB = job()
HOOK = webhook(JOB)
#: More than a millisecond is not kept.
instants = st.integers(0, 10**13).map(from_ms)
text = st.text(st.characters(exclude_categories=["Cs"]))
json_objects = st.dictionaries(
    text, st.none() | st.booleans() | st.integers(-(2**63), 2**63) | text | st.lists(text, max_size=2), max_size=3
)
whole_ms = st.integers(0, 10**9).map(lambda ms: timedelta(milliseconds=ms))

jobs = st.builds(
    replace,
    st.just(JOB) | st.just(bot_job()),
    name=text.filter(bool),
    description=st.none() | text,
    type=st.none() | st.integers(-(2**53), 2**53),
    enabled=st.booleans(),
    schedule=st.builds(Schedule, type=st.sampled_from(ScheduleType), config=json_objects, timezone=text),
    retry=st.builds(
        RetryPolicy,
        max_attempts=st.integers(1, 50),
        backoff=whole_ms,
        backoff_type=st.sampled_from(BackoffType),
        max_backoff=whole_ms,
    ),
    max_instances=st.integers(1, 100),
    coalesce=st.booleans(),
    misfire_grace=whole_ms,
    bot_config=json_objects,
    created_at=instants,
    updated_at=instants,
)
ended_statuses = [status for status in ExecutionStatus if not status.is_open]


def execution(**members: Any) -> Execution:
    run = run_id(JOB.id, to_ms(START))
    return Execution(
        **{
            "id": execution_id(JOB.id, run, HOOK.id, 1),
            "job_id": JOB.id,
            "run_id": run,
            "webhook_id": HOOK.id,
            "status": ExecutionStatus.SUCCESS,
            "attempt": 1,
            "scheduled_for": START,
            "created_at": START,
            **members,
        }
    )


@given(one=jobs)
def test_a_job_comes_back_from_its_record(one: Any) -> None:
    record = encode_job(one)
    assert decode_job(one.id, record) == one
    assert record[:10] == one.version.encode(), "scripts compare it"
    assert record.split(b" ")[1] == b"%d" % one.max_instances, "and count by that"


@given(
    members=st.fixed_dictionaries(
        {
            "method": text,
            "headers": st.none() | st.dictionaries(text, text, max_size=2),
            "query_params": st.none() | json_objects,
            "body_template": st.none() | text,
            "timeout_seconds": st.integers(1, 300) | st.floats(1, 300),
            "created_at": instants,
            "updated_at": instants,
        }
    )
)
def test_a_webhook_comes_back_from_its_record(members: dict[str, Any]) -> None:
    hook = replace(HOOK, **members)
    assert decode_webhook(hook.id, hook.job_id, encode_webhook(hook)) == hook


@pytest.mark.parametrize("owner", [ACCOUNT, BOTS])
@pytest.mark.parametrize("webhook_id", [None, HOOK.id], ids=["no webhook", "webhook"])
def test_a_reference_comes_back_from_its_text(owner: Any, webhook_id: WebhookId | None) -> None:
    ref = ExecutionRef(owner, JOB.id, webhook_id, ExecutionId("e"))
    written = encode_ref(ref)
    assert decode_ref(written.encode()) == ref
    assert " " not in written, "scripts list them with spaces between"


@given(
    members=st.fixed_dictionaries(
        {
            "status": st.sampled_from(ended_statuses),
            "attempt": st.integers(1, 10**6),
            "failures": st.integers(0, 10**6),
            "created_at": instants,
        },
        optional={
            "webhook_id": st.none(),
            "due_at": instants,
            "started_at": instants,
            "finished_at": instants,
            "duration_ms": st.integers(0, 10**9).map(lambda us: us / 1000),
            "response_code": st.integers(100, 599),
            "error": text.filter(bool),
            "worker_id": st.just("one-2"),
            "result": json_objects,
            "messages_sent": st.integers(0, 10**6),
            "profiles_visited": st.integers(0, 10**6),
        },
    ),
    body=st.none() | text.filter(bool),
)
def test_an_execution_that_has_ended_comes_back_from_its_record(members: dict[str, Any], body: str | None) -> None:
    # What says the same elsewhere cannot tell whether the body is in the record.
    assume(body is None or all(body not in str(value) for value in members.values()))
    ended = execution(**members, response_body=body)
    record = encode_ended(ended)
    assert record.startswith(b'e["' if ended.webhook_id else b"e[null")
    assert body is None or len(body) < 20 or body.encode() not in record
    kept = None if body is None else body.encode()
    assert decode_execution(ended.id, JOB.id, record, body=kept) == ended


@pytest.mark.parametrize("reason", SkipReason)
def test_an_attempt_that_was_not_made_comes_back_with_its_reason(reason: SkipReason) -> None:
    skipped = execution(
        status=ExecutionStatus.SKIPPED, skip_reason=reason, skipped=1, error="why", due_at=START, finished_at=START
    )
    assert decode_execution(skipped.id, JOB.id, encode_ended(skipped)) == skipped


def test_a_later_version_of_the_record_may_leave_out_what_is_empty() -> None:
    assert len(encode_ended(execution())) < len(encode_ended(execution(profiles_visited=1)))


@pytest.mark.parametrize("webhook_id", [None, HOOK.id], ids=["no webhook", "webhook"])
def test_a_queued_execution_comes_back_from_its_record(webhook_id: WebhookId | None) -> None:
    record = encode_queued(webhook_id, 3, 2, to_ms(START), to_ms(START) + 1, to_ms(START) + 2)
    read = decode_execution(ExecutionId("e"), JOB.id, record.encode())
    assert read == execution(
        id="e",
        webhook_id=webhook_id,
        status=ExecutionStatus.QUEUED,
        attempt=3,
        failures=2,
        created_at=START + timedelta(milliseconds=1),
        due_at=START + timedelta(milliseconds=2),
    )


def test_a_lease_makes_it_a_running_one_whose_attempt_counts_the_claims() -> None:
    record = encode_queued(HOOK.id, 3, 2, 0, 0, 0).encode()
    read = decode_execution(ExecutionId("e"), JOB.id, record, b"replica-1:17:2:1000:5000:1500")
    assert (read.status, read.worker_id, read.attempt) == (ExecutionStatus.RUNNING, "replica-1", 4)
    assert read.started_at == from_ms(1500)


@pytest.mark.parametrize(
    ("reason", "count", "error"),
    [
        (SkipReason.MAX_INSTANCES, 1, "not run: as many runs as max_instances allows were going on"),
        (SkipReason.MISFIRE, 1, "not run: nobody could run it within misfire_grace_seconds"),
        (
            SkipReason.COALESCED,
            7,
            "not run: merged into a later occurrence that was missed as well"
            " (at least 7 occurrences until 2026-04-15T02:42:45Z)",
        ),
    ],
)
def test_a_skip_says_why_and_for_how_many_it_stands(reason: SkipReason, count: int, error: str) -> None:
    until = START + timedelta(minutes=1)
    now = START + timedelta(minutes=2)
    record = encode_skip(reason, to_ms(START), to_ms(until), count, to_ms(now))
    read = decode_execution(ExecutionId("e"), JOB.id, record.encode())
    assert (read.status, read.attempt, read.webhook_id) == (ExecutionStatus.SKIPPED, 0, None)
    assert (read.scheduled_for, read.created_at, read.finished_at) == (START, now, now)
    assert (read.skip_reason, read.skipped, read.error) == (reason, count, error)


def test_an_answer_that_is_no_text_is_shown_as_far_as_it_is_one() -> None:
    ended = execution()
    assert decode_execution(ended.id, JOB.id, encode_ended(ended), body=b"a\xffb").response_body == "a\ufffdb"


@pytest.mark.parametrize(
    ("text_", "last"),
    [
        (None, None),
        (b"", None),
        (b"1000 queued ", LastRun(at=from_ms(1000), status=ExecutionStatus.QUEUED)),
        (b"0 failure a b\nc ", LastRun(at=from_ms(0), status=ExecutionStatus.FAILURE, error="a b\nc ")),
    ],
)
def test_how_the_last_run_went_is_read(text_: bytes | None, last: LastRun | None) -> None:
    assert decode_last(text_) == last
