from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioscheduler.clock import from_ms, to_ms
from aioscheduler.domain.job import (
    MAX_NAME_LENGTH,
    JobId,
    WebhookId,
    check_account,
    check_name,
    execution_id,
    job_of,
    new_job_id,
    new_webhook_id,
    run_id,
    run_webhook_id,
    skip_id,
)
from aioscheduler.errors import InvalidInput
from tests.support.clock import START

#: One of START; the same in every process that collects these tests.
JOB = JobId("019d8f04-1e28-7b0e-abd6-cafb94268f8e")
HOOK = new_webhook_id(JOB, START)
#: What 48 bits of milliseconds can say, from 1970 until the last year a date has.
moments = st.integers(0, 253_402_300_799_999)


def version_and_variant(uuid: str) -> tuple[str, bool]:
    return uuid[14], uuid[19] in "89ab"


@given(ms=moments)
def test_a_jobs_id_is_a_uuid_that_tells_when_it_was_made(ms: int) -> None:
    job_id = new_job_id(from_ms(ms))
    assert version_and_variant(job_id) == ("7", True)
    assert len(job_id) == 36
    assert job_id == job_id.lower()
    assert ms - int(job_id[:8] + job_id[9:13], 16) in (0, 1), "rounded down"
    assert job_of(job_id) == job_id


@given(ms=moments, later=st.integers(1, 10**9))
def test_jobs_ids_sort_as_they_were_made(ms: int, later: int) -> None:
    until = min(ms + later, 253_402_300_799_999)
    assert new_job_id(from_ms(ms)) < new_job_id(from_ms(until)) or until == ms


def test_two_jobs_of_one_millisecond_have_most_likely_different_ids() -> None:
    assert len({new_job_id(START) for _ in range(100)}) > 80


@given(ms=moments, hook_ms=moments, fire_ms=st.integers(0, 10**14), attempt=st.integers(0, 10**6))
def test_what_belongs_to_a_job_says_so(ms: int, hook_ms: int, fire_ms: int, attempt: int) -> None:
    job_id = new_job_id(from_ms(ms))
    hook_id = new_webhook_id(job_id, from_ms(hook_ms))
    execution = execution_id(job_id, run_id(job_id, fire_ms), hook_id, attempt)
    for other in (hook_id, execution):
        assert version_and_variant(other) == ("8", True)
        assert job_of(other) == job_of(other.upper()) == job_id
        assert other[:14] + other[15:18] == job_id[:14] + job_id[15:18]
    assert len({job_id, hook_id, execution}) == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        JOB[:-1],
        JOB + "0",
        JOB.replace("-", ""),
        f"{{{JOB}}}",
        f"urn:uuid:{JOB}",
        f" {JOB}",
        f"{JOB}\n",
        "g" + JOB[1:],
        "٠" + JOB[1:],
        "İ" + JOB[1:],
        JOB[:8] + JOB[9:13] + "-" + "-" + JOB[13:],
    ],
    ids=ascii,
)
def test_a_text_that_is_no_uuid_belongs_to_no_job(text: str) -> None:
    assert job_of(text) is None


def test_any_uuid_has_a_job_that_most_likely_is_not_there() -> None:
    assert job_of("00000000-0000-0000-0000-000000000000") != JOB
    altered = JobId(JOB[:-1] + ("0" if JOB[-1] != "0" else "1"))
    assert job_of(altered) == JOB, "the first 60 bits decide"


@given(first=st.integers(0, 10**12), later=st.integers(1, 2) | st.integers(1, 10**9))
def test_the_webhooks_of_a_job_sort_as_they_were_made(first: int, later: int) -> None:
    assert new_webhook_id(JOB, from_ms(first)) < new_webhook_id(JOB, from_ms(first + later))


def test_an_attempt_of_an_occurrence_has_one_id_and_no_other_has_it() -> None:
    hooks = [None, HOOK, new_webhook_id(JOB, START + timedelta(seconds=1))]

    def ids_of(job_id: JobId) -> list[str]:
        return [
            execution_id(job_id, run_id(job_id, fire_ms), hook, attempt)
            for fire_ms in (0, 1, 1000, to_ms(START))
            for hook in hooks
            for attempt in (0, 1, 2, 11)
        ]

    other = new_job_id(START + timedelta(seconds=1))
    assert ids_of(JOB) == ids_of(JOB)
    assert len({*ids_of(JOB), *ids_of(other)}) == 2 * 4 * 3 * 4
    assert skip_id(JOB, "run") == execution_id(JOB, "run", None, 0)


@given(a=st.integers(0, 10**13), b=st.integers(0, 10**13))
def test_a_runs_name_tells_its_fire_time_to_the_millisecond(a: int, b: int) -> None:
    assert (run_id(JOB, a) == run_id(JOB, b)) == (a == b)
    assert run_id(JOB, to_ms(START)) == f"{JOB}@2026-04-15T02:41:45Z"


def test_a_receiver_sees_one_identity_for_a_webhook_in_a_run() -> None:
    run, hook = run_id(JOB, 0), WebhookId("hook")
    seen = {run_webhook_id(run, hook), run_webhook_id(run, None), run_webhook_id(run_id(JOB, 1), hook)}
    assert len(seen) == 3
    assert run_webhook_id(run, hook) in seen
    assert all(len(each) == 44 and each[4:].isalnum() and each.startswith("run_") for each in seen)


def test_an_account_is_a_uuid_in_lower_case() -> None:
    assert check_account("123E4567-E89B-12D3-A456-426614174000") == "123e4567-e89b-12d3-a456-426614174000"


@pytest.mark.parametrize("value", [None, 5, "", "bots", "accounts", JOB[:-1], f"{JOB}\n", [JOB], "a:" + JOB])
def test_an_account_that_is_no_uuid_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_account(value, "where")
    assert [str(reason) for reason in caught.value.errors["where"]] == ["must be a UUID"]


@pytest.mark.parametrize("value", ["a", " a ", "😀" * MAX_NAME_LENGTH])
def test_a_name_is_kept_as_it_is(value: str) -> None:
    assert check_name(value) == value


@pytest.mark.parametrize("value", [None, 5, b"a", "", "  \n", "a" * (MAX_NAME_LENGTH + 1)], ids=repr)
def test_a_name_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_name(value)
    assert set(caught.value.errors) == {"name"}
