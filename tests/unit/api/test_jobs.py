"""Account jobs over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from aioscheduler.domain.execution import ExecutionStatus
from tests.unit.api.conftest import ACCOUNT, TOKEN, Api, token_of

OTHER = "223e4567-e89b-12d3-a456-426614174000"
BODY: dict[str, Any] = {"account_id": ACCOUNT, "name": "Daily Backup", "schedule": "0 2 * * *", "type": 1}
#: What a job has that nobody was asked for, as it is shown.
DEFAULTS: dict[str, Any] = {
    "description": None,
    "timezone": "UTC",
    "enabled": True,
    "retry_policy": {
        "max_attempts": 3,
        "backoff_seconds": 60,
        "backoff_type": "exponential",
        "max_backoff_seconds": 3600,
    },
    "max_instances": 1,
    "coalesce": True,
    "misfire_grace_seconds": 3600,
    "last_run_at": None,
    "last_run_status": None,
    "last_run_error": None,
}


async def test_a_job_is_made_with_defaults_and_its_next_run(api: Api) -> None:
    status, job = await api.call("POST", "/api/jobs", BODY)
    assert status == 201
    assert UUID(job.pop("id")).version == 7
    assert job == {
        **BODY,
        **DEFAULTS,
        "next_run_at": "2026-04-16T02:00:00Z",
        "created_at": "2026-04-15T02:41:45Z",
        "updated_at": "2026-04-15T02:41:45Z",
    }


async def test_a_job_is_made_with_every_option_and_unknown_fields_are_ignored(api: Api) -> None:
    options = {
        "description": "For the night",
        "timezone": "America/New_York",
        "enabled": False,
        "retry_policy": {"max_attempts": 5, "backoff_seconds": 0.5, "backoff_type": "fixed", "max_backoff_seconds": 9},
        "max_instances": 100,
        "coalesce": False,
        "misfire_grace_seconds": 1.5,
    }
    account = ACCOUNT.upper()
    _, job = await api.call("POST", "/api/jobs", {**BODY, **options, "account_id": account, "colour": "blue"})
    assert {name: job[name] for name in options} == options
    assert (job["account_id"], job["next_run_at"]) == (ACCOUNT, None)
    assert "colour" not in job
    assert (await api.call("GET", f"/api/jobs/{job['id']}"))[1] == job


async def test_a_retry_policy_takes_from_the_defaults_what_it_leaves_out(api: Api) -> None:
    job = await api.job(retry_policy={"max_attempts": 7})
    assert job["retry_policy"] == DEFAULTS["retry_policy"] | {"max_attempts": 7}


async def test_instants_have_decimals_only_where_there_are_any(api: Api) -> None:
    api.clock.move(0.25)
    assert (await api.job())["created_at"] == "2026-04-15T02:41:45.250Z"


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"account_id": "account-uuid"}, {"account_id"}),
        ({"account_id": None}, {"account_id"}),
        ({"account_id": 5}, {"account_id"}),
        ({"name": ""}, {"name"}),
        ({"name": " "}, {"name"}),
        ({"name": "x" * 256}, {"name"}),
        ({"name": 5}, {"name"}),
        ({"description": 5}, {"description"}),
        ({"description": "x" * 2001}, {"description"}),
        ({"schedule": 5}, {"schedule"}),
        ({"schedule": None}, {"schedule"}),
        ({"type": "1"}, {"type"}),
        ({"type": True}, {"type"}),
        ({"type": 1.5}, {"type"}),
        ({"type": 2**53}, {"type"}),
        ({"type": None}, {"type"}),
        ({"timezone": "Mars/Olympus"}, {"timezone"}),
        ({"timezone": None}, {"timezone"}),
        ({"enabled": "true"}, {"enabled"}),
        ({"enabled": None}, {"enabled"}),
        ({"retry_policy": None}, {"retry_policy"}),
        ({"retry_policy": {"max_attempts": 0}}, {"retry_policy.max_attempts"}),
        ({"retry_policy": {"max_attempts": 51}}, {"retry_policy.max_attempts"}),
        (
            {"retry_policy": {"backoff_seconds": "5", "backoff_type": "wild", "max_backoff_seconds": -1}},
            {"retry_policy.backoff_seconds", "retry_policy.backoff_type", "retry_policy.max_backoff_seconds"},
        ),
        ({"max_instances": 0}, {"max_instances"}),
        ({"max_instances": 101}, {"max_instances"}),
        ({"coalesce": 1}, {"coalesce"}),
        ({"misfire_grace_seconds": -1}, {"misfire_grace_seconds"}),
        ({"misfire_grace_seconds": "60"}, {"misfire_grace_seconds"}),
        ({"name": 5, "type": "1", "timezone": "Mars"}, {"name", "type", "timezone"}),
    ],
)
async def test_what_is_not_legal_is_refused_by_name_when_made_and_when_changed(
    api: Api, changes: dict[str, Any], fields: set[str]
) -> None:
    status, answer = await api.call("POST", "/api/jobs", BODY | changes)
    assert (status, answer["error_code"], answer["status_code"]) == (400, "VALIDATION_ERROR", 400)
    assert answer["errors"].keys() == fields
    assert all(reason for reasons in answer["errors"].values() for reason in reasons)
    job = await api.job()
    status, answer = await api.call("PUT", f"/api/jobs/{job['id']}", changes)
    assert (status, answer["error_code"]) == (400, "VALIDATION_ERROR")
    assert answer["errors"].keys() == fields
    assert (await api.call("GET", f"/api/jobs/{job['id']}"))[1] == job


async def test_everything_that_is_missing_is_told_at_once(api: Api) -> None:
    status, answer = await api.call("POST", "/api/jobs", {})
    assert (status, answer["error_code"]) == (400, "VALIDATION_ERROR")
    assert answer["errors"] == {name: ["is missing"] for name in ("account_id", "name", "schedule", "type")}
    assert (await api.call("POST", "/api/jobs", b"no JSON"))[1]["errors"].keys() == {"body"}
    assert (await api.call("POST", "/api/jobs", []))[0] == 400


@pytest.mark.parametrize("expression", ["", "0 2 * *", "0 2 * * * *", "@reboot", "61 * * * *", "0 0 30 2 *", "x" * 129])
async def test_a_bad_expression_has_a_code_of_its_own(api: Api, expression: str) -> None:
    status, answer = await api.call("POST", "/api/jobs", BODY | {"schedule": expression})
    assert (status, answer["error_code"]) == (400, "INVALID_CRON_EXPRESSION")
    assert answer["errors"].keys() == {"schedule"}
    job = await api.job()
    status, answer = await api.call("PUT", f"/api/jobs/{job['id']}", {"schedule": expression})
    assert (status, answer["error_code"]) == (400, "INVALID_CRON_EXPRESSION")


async def test_a_bad_expression_does_not_hide_other_faults(api: Api) -> None:
    _, answer = await api.call("POST", "/api/jobs", BODY | {"schedule": "never", "name": 5, "timezone": "Mars"})
    assert answer["error_code"] == "INVALID_CRON_EXPRESSION"
    assert answer["errors"].keys() == {"schedule", "name", "timezone"}


async def test_reasons_are_told_in_portuguese_and_statuses_in_english(api: Api) -> None:
    pt = {"Accept-Language": "pt"}
    _, answer = await api.call("POST", "/api/jobs", BODY | {"account_id": "x"}, pt)
    assert answer["errors"] == {"account_id": ["deve ser um UUID"]}
    job = await api.job()
    _, answer = await api.call("POST", f"/api/jobs/{job['id']}/run", None, pt)
    assert answer["message"] == f"Job {job['id']} na fila para execução imediata"
    assert answer["status"] == "queued"


# -- lists --------------------------------------------------------------------------------------------------------


async def test_jobs_are_listed_oldest_first_in_slices(api: Api) -> None:
    made = []
    for number in range(5):
        made.append(await api.job(name=f"job {number}", enabled=number % 2 == 0))
        api.clock.move(1)
    await api.job(account_id=OTHER)
    await api.bot_job()

    async def listed(query: str) -> Any:
        status, answer = await api.call("GET", f"/api/jobs?account_id={ACCOUNT}{query}")
        assert status == 200
        return answer

    assert await listed("") == {"items": made, "total": 5, "skip": 0, "limit": 100}
    assert await listed("&skip=1&limit=2") == {"items": made[1:3], "total": 5, "skip": 1, "limit": 2}
    assert await listed("&skip=9") == {"items": [], "total": 5, "skip": 9, "limit": 100}
    assert await listed("&enabled=true&limit=1000") == {"items": made[::2], "total": 3, "skip": 0, "limit": 1000}
    assert await listed("&name=JOB%203&limit=1000") == {"items": [made[3]], "total": 1, "skip": 0, "limit": 1000}
    assert await listed("&name=job&skip=3&limit=1") == {"items": made[3:4], "total": 5, "skip": 3, "limit": 1}
    assert (await listed("&name=job&enabled=true"))["items"] == made[::2]
    assert (await listed("&name=jobs"))["total"] == 0
    assert len((await listed("&name="))["items"]) == 5
    assert await listed("&enabled=false") == {"items": made[1::2], "total": 2, "skip": 0, "limit": 100}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("account_id=x", "account_id"),
        ("account_id=", "account_id"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("limit=1.0", "limit"),
        ("skip=-1", "skip"),
        ("skip=", "skip"),
        ("enabled=maybe", "enabled"),
    ],
)
async def test_a_query_that_is_not_legal_is_refused(api: Api, query: str, field: str) -> None:
    status, answer = await api.call("GET", f"/api/jobs?{query}")
    assert (status, answer["error_code"]) == (400, "VALIDATION_ERROR")
    assert answer["errors"].keys() == {field}


async def test_only_who_may_see_all_accounts_may_leave_the_account_out(api: Api) -> None:
    mine, others = await api.job(), await api.job(account_id=OTHER)
    await api.bot_job()
    for token in (TOKEN, token_of(role="service_role")):
        _, answer = await api.call("GET", "/api/jobs", token=token)
        assert ({job["id"] for job in answer["items"]}, answer["total"]) == ({mine["id"], others["id"]}, 2)
    status, answer = await api.call("GET", "/api/jobs", token=token_of(ACCOUNT))
    assert (status, answer["errors"]) == (400, {"account_id": ["is missing"]})


# -- who may what -------------------------------------------------------------------------------------------------


def _routes(job_id: str) -> list[tuple[str, str]]:
    return [
        ("GET", f"/api/jobs/{job_id}"),
        ("PUT", f"/api/jobs/{job_id}"),
        ("PATCH", f"/api/jobs/{job_id}/enable"),
        ("PATCH", f"/api/jobs/{job_id}/disable"),
        ("POST", f"/api/jobs/{job_id}/run"),
        ("GET", f"/api/jobs/{job_id}/executions"),
        ("GET", f"/webhooks?job_id={job_id}"),
        ("DELETE", f"/api/jobs/{job_id}"),
    ]


async def test_an_account_uses_its_own_jobs(api: Api) -> None:
    token = token_of(ACCOUNT)
    status, job = await api.call("POST", "/api/jobs", BODY, token=token)
    assert status == 201
    assert (await api.call("GET", f"/api/jobs?account_id={ACCOUNT}", token=token))[1]["items"] == [job]
    for method, path in _routes(job["id"]):
        status, _ = await api.call(method, path, {} if method == "PUT" else None, token=token)
        assert status in (200, 202, 204), (method, path)


async def test_another_accounts_jobs_are_forbidden_and_stay_as_they_are(api: Api) -> None:
    job, stranger = await api.job(), token_of(OTHER)
    for method, path in [*_routes(job["id"]), ("GET", f"/api/jobs?account_id={ACCOUNT}")]:
        status, answer = await api.call(method, path, {} if method == "PUT" else None, token=stranger)
        assert (status, answer["error_code"]) == (403, "FORBIDDEN"), (method, path)
        assert ACCOUNT not in answer["detail"]
    status, answer = await api.call("POST", "/api/jobs", BODY, token=stranger)
    assert (status, answer["error_code"]) == (403, "FORBIDDEN")
    assert (await api.call("GET", f"/api/jobs?account_id={OTHER}", token=stranger))[1]["total"] == 0
    assert (await api.call("GET", "/api/jobs"))[1]["items"] == [job]


@pytest.mark.parametrize("kind", ["unknown", "malformed", "slashes", "bot"])
async def test_an_id_that_no_account_has_is_not_found_whoever_asks(api: Api, kind: str) -> None:
    job_id = {"unknown": str(uuid4()), "malformed": "job-uuid", "slashes": "a%2Fb"}.get(kind)
    if job_id is None:
        job_id = (await api.bot_job())["id"]
    for token in (token_of(ACCOUNT), token_of(role="service_role")):
        for method, path in _routes(job_id):
            if kind in ("malformed", "slashes") and path.startswith("/webhooks"):
                continue
            status, answer = await api.call(method, path, {} if method == "PUT" else None, token=token)
            assert (status, answer["error_code"]) == (404, "JOB_NOT_FOUND"), (method, path)


async def test_an_id_may_be_written_in_upper_case_and_with_a_slash_behind(api: Api) -> None:
    job = await api.job()
    assert (await api.call("GET", f"/api/jobs/{job['id'].upper()}/"))[1] == job


# -- changes ------------------------------------------------------------------------------------------------------


async def test_a_change_leaves_the_rest_as_it_was_and_moves_the_next_run_where_it_has_to(api: Api) -> None:
    job = await api.job()
    api.clock.move(60)
    moved = {"updated_at": "2026-04-15T02:42:45Z"}
    for change, next_run_at in (
        ({"name": "Renamed"}, "2026-04-16T02:00:00Z"),
        ({"schedule": "0 3 * * *"}, "2026-04-15T03:00:00Z"),
        ({"timezone": "America/New_York", "type": 2}, "2026-04-15T07:00:00Z"),
        ({"retry_policy": {"max_attempts": 1}, "max_instances": 3}, "2026-04-15T07:00:00Z"),
        ({"enabled": False}, None),
        ({"description": "x", "enabled": True, "account_id": ACCOUNT}, "2026-04-15T07:00:00Z"),
        ({}, "2026-04-15T07:00:00Z"),
    ):
        status, answer = await api.call("PUT", f"/api/jobs/{job['id']}", change)
        expected = job | change | moved | {"next_run_at": next_run_at}
        if "retry_policy" in change:
            expected["retry_policy"] = DEFAULTS["retry_policy"] | change["retry_policy"]
        assert (status, answer) == (200, expected)
        assert (await api.call("GET", f"/api/jobs/{job['id']}"))[1] == answer
        job = answer


async def test_a_run_that_is_due_is_not_put_off_by_a_change_of_the_name(api: Api) -> None:
    job = await api.job()
    api.clock.move(86_400)
    _, answer = await api.call("PUT", f"/api/jobs/{job['id']}", {"name": "Renamed"})
    assert answer["next_run_at"] == job["next_run_at"]


async def test_a_change_gives_a_job_a_next_run_that_has_lost_it(api: Api) -> None:
    job, store = await api.job(), api.context.jobs
    live = await store.job(job["id"])
    assert live is not None
    assert await store.update_job(live.job, live.job, None)
    _, answer = await api.call("PUT", f"/api/jobs/{job['id']}", {"name": "Renamed"})
    assert answer["next_run_at"] == job["next_run_at"]


async def test_a_job_does_not_change_hands(api: Api) -> None:
    job = await api.job()
    status, answer = await api.call("PUT", f"/api/jobs/{job['id']}", {"account_id": OTHER, "name": "x"})
    assert (status, answer["errors"]) == (400, {"account_id": ["cannot be changed"]})
    assert (await api.call("GET", f"/api/jobs/{job['id']}"))[1] == job


async def test_jobs_are_disabled_and_enabled_and_to_say_so_twice_changes_nothing(api: Api) -> None:
    job = await api.job()
    for action, moved, next_run_at in (("disable", 10, None), ("enable", 10, job["next_run_at"])):
        api.clock.move(moved)
        status, answer = await api.call("PATCH", f"/api/jobs/{job['id']}/{action}")
        assert (status, answer["id"], answer["enabled"]) == (200, job["id"], action == "enable")
        assert answer["next_run_at"] == next_run_at
        api.clock.move(10)
        assert (await api.call("PATCH", f"/api/jobs/{job['id']}/{action}"))[1] == answer
    assert answer["updated_at"] == "2026-04-15T02:42:15Z"


async def test_a_change_that_another_one_got_in_front_of_is_made_on_top_of_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, store, waiting = await api.job(), api.context.jobs, [{"type": 7}]
    update = store.update_job

    async def interrupted(*args: Any) -> bool:
        if waiting:
            assert (await api.call("PUT", f"/api/jobs/{job['id']}", waiting.pop()))[0] == 200
        return await update(*args)

    monkeypatch.setattr(store, "update_job", interrupted)
    _, answer = await api.call("PUT", f"/api/jobs/{job['id']}", {"name": "Renamed"})
    assert (answer["name"], answer["type"]) == ("Renamed", 7)
    assert (await api.call("GET", f"/api/jobs/{job['id']}"))[1] == answer


async def test_a_change_of_what_is_deleted_meanwhile_is_not_found(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job, store = await api.job(), api.context.jobs
    update = store.update_job

    async def interrupted(*args: Any) -> bool:
        assert (await api.call("DELETE", f"/api/jobs/{job['id']}"))[0] == 204
        return await update(*args)

    monkeypatch.setattr(store, "update_job", interrupted)
    status, answer = await api.call("PUT", f"/api/jobs/{job['id']}", {"name": "Renamed"})
    assert (status, answer["error_code"]) == (404, "JOB_NOT_FOUND")


async def test_an_id_that_is_taken_is_not_used_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await api.job()
    fresh = (await api.job())["id"]
    assert (await api.call("DELETE", f"/api/jobs/{fresh}"))[0] == 204
    ids = iter([first["id"], first["id"], fresh])
    monkeypatch.setattr("aioscheduler.api.recurring.new_job_id", lambda now: next(ids))
    assert (await api.job(name="second"))["id"] == fresh
    assert (await api.call("GET", f"/api/jobs/{first['id']}"))[1] == first


async def test_a_write_that_never_gets_through_is_put_off(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await api.job()

    async def refused(*args: object) -> bool:
        return False

    monkeypatch.setattr(api.context.jobs, "update_job", refused)
    monkeypatch.setattr(api.context.jobs, "create_job", refused)
    for method, path, body in (("PUT", f"/api/jobs/{job['id']}", {}), ("POST", "/api/jobs", BODY)):
        status, answer = await api.call(method, path, body)
        assert (status, answer["error_code"]) == (503, "STORE_UNAVAILABLE")


async def test_a_deleted_job_is_gone_with_its_webhooks_and_its_history(api: Api) -> None:
    job = await api.job()
    webhook = await api.webhook(job["id"])
    _, run = await api.call("POST", f"/api/jobs/{job['id']}/run")
    assert await api.call("DELETE", f"/api/jobs/{job['id']}") == (204, b"")
    assert "Content-Type" not in api.last_headers
    for path in (
        f"/api/jobs/{job['id']}",
        f"/webhooks/{webhook['id']}",
        f"/api/executions/{run['execution_ids'][0]}",
        f"/api/jobs/{job['id']}/executions",
    ):
        assert (await api.call("GET", path))[0] == 404
    assert (await api.call("GET", "/api/jobs"))[1]["total"] == 0


# -- runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("enabled", [True, False])
async def test_a_run_now_makes_an_execution_for_each_webhook_also_while_disabled(api: Api, enabled: bool) -> None:
    job = await api.job(enabled=enabled)
    webhooks = [(await api.webhook(job["id"]))["id"] for _ in range(2)]
    status, answer = await api.call("POST", f"/api/jobs/{job['id']}/run")
    assert (status, answer["status"]) == (202, "queued")
    assert answer["message"] == f"Job {job['id']} queued for immediate execution"
    executions = [(await api.call("GET", f"/api/executions/{id_}"))[1] for id_ in answer["execution_ids"]]
    assert sorted(one["webhook_id"] for one in executions) == sorted(webhooks)
    assert {one["run_id"] for one in executions} == {f"{job['id']}@2026-04-15T02:41:45Z"}
    assert (await api.call("GET", f"/api/jobs/{job['id']}"))[1]["next_run_at"] == job["next_run_at"]


async def test_further_runs_join_the_one_that_waits(api: Api) -> None:
    job = await api.job()
    ids = []
    for _ in range(3):
        _, answer = await api.call("POST", f"/api/jobs/{job['id']}/run")
        ids.append(answer["execution_ids"])
        api.clock.move(1)
    assert ids[0] != ids[1] == ids[2]


async def test_the_last_run_shows_in_the_job(api: Api) -> None:
    job = await api.job()
    await api.webhook(job["id"])
    _, run = await api.call("POST", f"/api/jobs/{job['id']}/run")
    await api.settle(run["execution_ids"][0], status=ExecutionStatus.FAILURE, error="HTTP 500")
    _, answer = await api.call("GET", f"/api/jobs/{job['id']}")
    assert answer["last_run_at"] == "2026-04-15T02:41:45Z"
    assert (answer["last_run_status"], answer["last_run_error"]) == ("failure", "HTTP 500")
