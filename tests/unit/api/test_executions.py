"""Executions of account jobs over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from aioscheduler.domain.execution import DeadReason, ExecutionStatus, SkipReason
from aioscheduler.domain.job import JobId
from aioscheduler.store.recurring import Fire, Skip
from tests.unit.api.conftest import ACCOUNT, Api, token_of


async def _run(api: Api, job_id: str) -> str:
    """Run a job of at most one webhook now; return the id of its execution."""
    _, answer = await api.call("POST", f"/api/jobs/{job_id}/run")
    (execution_id,) = answer["execution_ids"]
    return str(execution_id)


async def test_an_execution_shows_from_its_beginning_to_its_end(api: Api) -> None:
    job = await api.job()
    webhook = await api.webhook(job["id"])
    execution_id = await _run(api, job["id"])
    queued = {
        "id": execution_id,
        "job_id": job["id"],
        "webhook_id": webhook["id"],
        "run_id": f"{job['id']}@2026-04-15T02:41:45Z",
        "status": "queued",
        "attempt": 1,
        "scheduled_for": "2026-04-15T02:41:45Z",
        "started_at": None,
        "finished_at": None,
        "duration_ms": None,
        "response_code": None,
        "error": None,
        "worker_id": None,
        "created_at": "2026-04-15T02:41:45Z",
    }
    assert await api.call("GET", f"/api/executions/{execution_id}") == (200, queued | {"response_body": None})
    api.clock.move(0.5)
    await api.settle(execution_id, response_code=200, response_body="so be it")
    _, answer = await api.call("GET", f"/api/executions/{execution_id.upper()}/")
    worker = answer.pop("worker_id")
    ended = {
        "status": "success",
        "started_at": "2026-04-15T02:41:45.500Z",
        "finished_at": "2026-04-15T02:41:45.500Z",
        "duration_ms": 12.346,
        "response_code": 200,
    }
    assert worker
    assert answer == {name: value for name, value in queued.items() if name != "worker_id"} | ended | {
        "response_body": "so be it"
    }
    _, listed = await api.call("GET", f"/api/jobs/{job['id']}/executions")
    del answer["response_body"]
    assert listed == {"items": [answer | {"worker_id": worker}], "total": 1, "skip": 0, "limit": 100}


async def test_the_history_is_newest_first_in_slices_and_by_status(api: Api) -> None:
    job = await api.job()
    await api.webhook(job["id"])
    ids: list[str] = []
    for status in (ExecutionStatus.SUCCESS, ExecutionStatus.FAILURE, ExecutionStatus.SUCCESS, None):
        api.clock.move(1)
        ids.insert(0, await _run(api, job["id"]))
        if status is not None:
            await api.settle(ids[0], status=status)

    async def listed(query: str) -> Any:
        code, answer = await api.call("GET", f"/api/jobs/{job['id']}/executions?{query}")
        assert code == 200
        return [one["id"] for one in answer["items"]], answer["total"], answer["skip"], answer["limit"]

    assert await listed("") == (ids, 4, 0, 100)
    assert await listed("skip=1&limit=2") == (ids[1:3], 4, 1, 2)
    assert await listed("status=") == (ids, 4, 0, 100)
    assert await listed("status=success") == ([ids[1], ids[3]], 2, 0, 100)
    assert await listed("status=success&skip=1") == ([ids[3]], 2, 1, 100)
    assert await listed("status=failure") == ([ids[2]], 1, 0, 100)
    assert await listed("status=queued") == ([ids[0]], 1, 0, 100)
    for none in ("running", "timed_out", "dead_letter", "skipped"):
        assert await listed(f"status={none}") == ([], 0, 0, 100)


@pytest.mark.parametrize(("query", "field"), [("status=done", "status"), ("limit=1001", "limit"), ("skip=-1", "skip")])
async def test_a_query_that_is_not_legal_is_refused(api: Api, query: str, field: str) -> None:
    job = await api.job()
    status, answer = await api.call("GET", f"/api/jobs/{job['id']}/executions?{query}")
    assert (status, answer["error_code"], answer["errors"].keys()) == (400, "VALIDATION_ERROR", {field})


async def _skipped(api: Api, job_id: str) -> Any:
    """Let a job's first occurrences be skipped; return how that shows."""
    jobs = api.context.jobs
    (plan,) = await jobs.plans([JobId(job_id)])
    assert plan is not None
    skip = Skip(plan.due_ms, plan.due_ms + 86_400_000, 2, SkipReason.MISFIRE)
    await jobs.fire([Fire(plan=plan, runs=[], skips=[skip], next_ms=plan.due_ms + 172_800_000)], api.clock.now())
    (shown,) = (await api.call("GET", f"/api/jobs/{job_id}/executions?status=skipped"))[1]["items"]
    return shown


async def test_what_was_not_run_says_why_and_how_often(api: Api) -> None:
    job = await api.job()
    api.clock.move(3 * 86_400)
    shown = await _skipped(api, job["id"])
    assert (shown["status"], shown["skip_reason"], shown["skipped_count"]) == ("skipped", "misfire", 2)
    assert shown["scheduled_for"] == job["next_run_at"]
    assert (shown["webhook_id"], shown["started_at"]) == (None, None)


async def test_what_was_not_run_cannot_be_repeated(api: Api) -> None:
    job = await api.job()
    api.clock.move(3 * 86_400)
    shown = await _skipped(api, job["id"])
    status, answer = await api.call("POST", f"/api/executions/{shown['id']}/retry")
    assert (status, answer["error_code"]) == (409, "EXECUTION_SKIPPED")


async def test_an_execution_that_has_ended_is_run_again_as_its_next_attempt(api: Api) -> None:
    job = await api.job()
    webhook = await api.webhook(job["id"])
    first = await _run(api, job["id"])
    await api.settle(first, DeadReason.GONE, status=ExecutionStatus.DEAD_LETTER, error="HTTP 410")
    status, answer = await api.call("POST", f"/api/executions/{first}/retry")
    assert (status, answer["status"]) == (202, "queued")
    assert answer["message"] == f"Execution {first} queued for immediate execution"
    _, again = await api.call("GET", f"/api/executions/{answer['execution_id']}")
    assert (again["attempt"], again["status"], again["webhook_id"]) == (2, "queued", webhook["id"])
    assert again["run_id"] == (await api.call("GET", f"/api/executions/{first}"))[1]["run_id"]


async def test_an_execution_that_goes_on_is_not_run_again(api: Api) -> None:
    job = await api.job()
    await api.webhook(job["id"])
    execution_id = await _run(api, job["id"])
    for _ in range(2):
        status, answer = await api.call("POST", f"/api/executions/{execution_id}/retry")
        assert (status, answer["error_code"]) == (409, "EXECUTION_ACTIVE")
        if (await api.call("GET", f"/api/executions/{execution_id}"))[1]["status"] == "queued":
            await api.settle(execution_id, status=ExecutionStatus.FAILURE)
            assert (await api.call("POST", f"/api/executions/{execution_id}/retry"))[0] == 202


async def test_an_execution_whose_webhook_is_gone_is_not_run_again(api: Api) -> None:
    job = await api.job()
    webhook = await api.webhook(job["id"])
    execution_id = await _run(api, job["id"])
    await api.settle(execution_id)
    await api.call("DELETE", f"/webhooks/{webhook['id']}")
    status, answer = await api.call("POST", f"/api/executions/{execution_id}/retry")
    assert (status, answer["error_code"]) == (404, "EXECUTION_NOT_FOUND")


@pytest.mark.parametrize("kind", ["unknown", "malformed", "bot"])
async def test_an_id_that_no_account_has_is_not_found(api: Api, kind: str) -> None:
    execution_id = {"unknown": str(uuid4()), "malformed": "execution-uuid"}.get(kind)
    if execution_id is None:
        job = await api.bot_job()
        await api.call("POST", f"/scheduler/jobs/{job['id']}/run")
        execution_id = (await api.call("GET", f"/scheduler/jobs/{job['id']}/history"))[1][0]["id"]
    for method, path in (("GET", ""), ("POST", "/retry")):
        status, answer = await api.call(method, f"/api/executions/{execution_id}{path}")
        assert (status, answer["error_code"]) == (404, "EXECUTION_NOT_FOUND")


async def test_another_accounts_executions_are_forbidden(api: Api) -> None:
    job = await api.job()
    execution_id = await _run(api, job["id"])
    stranger = token_of("223e4567-e89b-12d3-a456-426614174000")
    for method, path in (("GET", ""), ("POST", "/retry")):
        status, answer = await api.call(method, f"/api/executions/{execution_id}{path}", token=stranger)
        assert (status, answer["error_code"]) == (403, "FORBIDDEN")
    assert (await api.call("GET", f"/api/executions/{execution_id}", token=token_of(ACCOUNT)))[0] == 200


async def test_the_answer_to_a_retry_names_the_attempt_that_is_new(api: Api) -> None:
    job = await api.job()
    await api.webhook(job["id"])
    first = await _run(api, job["id"])
    await api.settle(first, status=ExecutionStatus.FAILURE)
    attempts = []
    for _ in range(2):
        _, answer = await api.call("POST", f"/api/executions/{first}/retry")
        _, further = await api.call("GET", f"/api/executions/{answer['execution_id']}")
        attempts.append((further["attempt"], further["status"]))
        await api.settle(further["id"], status=ExecutionStatus.FAILURE)
    assert attempts == [(2, "queued"), (3, "queued")]
