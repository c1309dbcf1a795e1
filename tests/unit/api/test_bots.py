"""Bot jobs over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest

from aioscheduler.api.bots import status_word
from aioscheduler.domain.execution import ExecutionStatus
from tests.unit.api.conftest import API_KEY, Api, MakeApi, token_of

BODY: dict[str, Any] = {
    "name": "Daily Birthday Messages",
    "description": "Send birthday messages every day at 8am",
    "bot_type": "birthday",
    "enabled": True,
    "schedule_type": "daily",
    "schedule_config": {"hour": 8, "minute": 0},
    "bot_config": {"dry_run": False, "process_late": True, "max_days_late": 7, "max_messages_per_run": 10},
}
DOCUMENTED = {
    *BODY,
    "id",
    "created_at",
    "updated_at",
    "last_run_at",
    "last_run_status",
    "last_run_error",
    "next_run_at",
}


async def test_a_bot_job_is_made_and_read_with_the_api_key(api: Api) -> None:
    key = {"X-API-Key": API_KEY}
    status, job = await api.call("POST", "/scheduler/jobs", BODY, key, token="")
    assert status == 201
    assert UUID(job["id"]).version == 7
    assert job.keys() >= DOCUMENTED
    assert {name: job[name] for name in BODY} == BODY
    assert (job["last_run_at"], job["last_run_status"], job["last_run_error"]) == (None, None, None)
    assert (job["created_at"], job["next_run_at"]) == ("2026-04-15T02:41:45Z", "2026-04-15T08:00:00Z")
    assert await api.call("GET", f"/scheduler/jobs/{job['id'].upper()}/", None, key, token="") == (200, job)
    assert await api.call("GET", "/scheduler/jobs", None, key, token="") == (200, [job])


async def test_what_is_left_out_is_as_by_default(api: Api) -> None:
    job = await api.bot_job(schedule_type="interval", schedule_config={"hours": 2}, colour="blue")
    assert job["bot_config"] == {"limit": 50, "dry_run": False}
    assert (job["description"], job["enabled"]) == (None, True)
    assert (job["max_instances"], job["coalesce"], job["misfire_grace_seconds"]) == (1, True, 3600)
    assert job["next_run_at"] == "2026-04-15T04:41:45Z", "counted from its creation"
    assert "colour" not in job


@pytest.mark.parametrize(
    ("kind", "config", "next_run_at"),
    [
        ("daily", {"hour": 8, "minute": 0}, "2026-04-15T11:00:00Z"),
        ("daily", {"hour": 8, "minute": 0, "second": 1, "timezone": "UTC"}, "2026-04-15T08:00:01Z"),
        ("weekly", {"hour": 14, "minute": 30, "day_of_week": "mon,fri"}, "2026-04-17T17:30:00Z"),
        ("cron", {"cron_expression": "0 8-18 * * 1-5", "timezone": "Europe/Paris"}, "2026-04-15T06:00:00Z"),
    ],
)
async def test_schedules_are_local_times_of_the_service_unless_they_name_a_zone(
    make_api: MakeApi, kind: str, config: dict[str, Any], next_run_at: str
) -> None:
    api = await make_api(zone=ZoneInfo("America/Sao_Paulo"))
    job = await api.bot_job(schedule_type=kind, schedule_config=config)
    assert (job["schedule_type"], job["schedule_config"], job["next_run_at"]) == (kind, config, next_run_at)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"name": ""}, {"name"}),
        ({"description": 5}, {"description"}),
        ({"bot_type": "chess"}, {"bot_type"}),
        ({"bot_type": None}, {"bot_type"}),
        ({"bot_type": ["visitor"]}, {"bot_type"}),
        ({"enabled": "yes"}, {"enabled"}),
        ({"schedule_type": "hourly"}, {"schedule_type"}),
        ({"schedule_type": "weekly"}, {"schedule_config.day_of_week"}),
        ({"schedule_config": None}, {"schedule_config"}),
        ({"schedule_config": []}, {"schedule_config"}),
        (
            {"schedule_config": {"hour": "8", "minute": 60, "timezone": "Mars"}},
            {"schedule_config.hour", "schedule_config.minute", "schedule_config.timezone"},
        ),
        ({"schedule_type": "interval", "schedule_config": {}}, {"schedule_config"}),
        ({"bot_config": None}, {"bot_config"}),
        ({"bot_config": {"max_days_late": 366, "dry_run": 1}}, {"bot_config.max_days_late", "bot_config.dry_run"}),
        ({"max_instances": 0}, {"max_instances"}),
        (
            {"name": 5, "schedule_config": {"hour": 24}, "bot_config": {"max_days_late": 0}},
            {"name", "schedule_config.hour", "bot_config.max_days_late"},
        ),
    ],
)
async def test_what_is_not_legal_is_refused_by_name_when_made_and_when_changed(
    api: Api, changes: dict[str, Any], fields: set[str]
) -> None:
    status, answer = await api.call("POST", "/scheduler/jobs", BODY | changes)
    assert (status, answer["error_code"]) == (400, "VALIDATION_ERROR")
    assert answer["errors"].keys() == fields
    job = await api.bot_job(**BODY)
    status, answer = await api.call("PUT", f"/scheduler/jobs/{job['id']}", changes)
    assert (status, answer["error_code"]) == (400, "VALIDATION_ERROR")
    assert answer["errors"].keys() == fields
    assert (await api.call("GET", f"/scheduler/jobs/{job['id']}"))[1] == job


async def test_an_unknown_bot_is_told_the_known_ones(api: Api) -> None:
    _, answer = await api.call("POST", "/scheduler/jobs", BODY | {"bot_type": "chess"})
    assert answer["errors"] == {"bot_type": ["must be one of birthday, visitor"]}


async def test_what_is_missing_is_told_at_once(api: Api) -> None:
    _, answer = await api.call("POST", "/scheduler/jobs", {})
    missing = ("name", "bot_type", "schedule_type", "schedule_config")
    assert answer["errors"] == {name: ["is missing"] for name in missing}


async def test_a_bad_expression_has_a_code_of_its_own(api: Api) -> None:
    changes = {"schedule_type": "cron", "schedule_config": {"cron_expression": "0 0 30 2 *"}}
    status, answer = await api.call("POST", "/scheduler/jobs", BODY | changes)
    assert (status, answer["error_code"]) == (400, "INVALID_CRON_EXPRESSION")
    assert answer["errors"].keys() == {"schedule_config.cron_expression"}


async def test_enabled_ones_are_listed_alone_when_asked_for_and_accounts_jobs_never(api: Api) -> None:
    await api.job()
    on = await api.bot_job()
    api.clock.move(1)
    off = await api.bot_job(enabled=False)
    assert (await api.call("GET", "/scheduler/jobs"))[1] == [on, off]
    assert (await api.call("GET", "/scheduler/jobs?enabled_only=false"))[1] == [on, off]
    assert (await api.call("GET", "/scheduler/jobs?enabled_only=true"))[1] == [on]
    named = await api.bot_job(name="Parabéns")
    assert (await api.call("GET", "/scheduler/jobs?name=ARAB%C3%89"))[1] == [named]
    assert (await api.call("GET", "/scheduler/jobs?name=none"))[1] == []
    status, answer = await api.call("GET", "/scheduler/jobs?enabled_only=perhaps")
    assert (status, answer["errors"].keys()) == (400, {"enabled_only"})


async def test_a_list_longer_than_one_page_of_the_store_is_whole(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioscheduler.api.bots.MAX_LIMIT", 2)
    made = []
    for _ in range(5):
        made.append(await api.bot_job())
        api.clock.move(1)
    assert (await api.call("GET", "/scheduler/jobs"))[1] == made


async def test_a_change_leaves_the_rest_and_replaces_configurations_whole(api: Api) -> None:
    job = await api.bot_job(**BODY)
    api.clock.move(60)
    for change, more in (
        ({"name": "Renamed", "description": None}, {}),
        ({"schedule_config": {"hour": 9}}, {"next_run_at": "2026-04-15T09:00:00Z"}),
        ({"enabled": False}, {"next_run_at": None}),
        (
            {"enabled": True, "schedule_type": "cron", "schedule_config": {"cron_expression": "0 3 * * *"}},
            {"next_run_at": "2026-04-15T03:00:00Z"},
        ),
        ({"bot_config": {"max_days_late": 3}, "max_instances": 2}, {"bot_config": _birthday(max_days_late=3)}),
        ({"bot_type": "visitor"}, {"bot_config": {"limit": 50, "dry_run": False}}),
    ):
        status, answer = await api.call("PUT", f"/scheduler/jobs/{job['id']}", change)
        assert (status, answer) == (200, job | change | {"updated_at": "2026-04-15T02:42:45Z"} | more)
        job = answer


def _birthday(**given: object) -> dict[str, Any]:
    return {"dry_run": False, "process_late": False, "max_days_late": 7, "max_messages_per_run": 10} | given


async def test_a_job_whose_bot_is_not_installed_any_more_can_still_be_changed(api: Api) -> None:
    job = await api.bot_job()
    api.context.bots = {}
    assert (await api.call("PUT", f"/scheduler/jobs/{job['id']}", {"name": "Old"}))[1]["name"] == "Old"
    status, answer = await api.call("PUT", f"/scheduler/jobs/{job['id']}", {"bot_config": {}})
    assert (status, answer["errors"].keys()) == (400, {"bot_type"})


async def test_a_job_is_toggled(api: Api) -> None:
    job = await api.bot_job()
    for enabled in (False, False, True):
        api.clock.move(1)
        status, answer = await api.call("POST", f"/scheduler/jobs/{job['id']}/toggle", {"enabled": enabled})
        assert (status, answer["enabled"]) == (200, enabled)
        assert (answer["next_run_at"] is not None) is enabled
    bodies: tuple[object, ...] = ({}, {"enabled": "no"}, b"", [])
    for body in bodies:
        status, answer = await api.call("POST", f"/scheduler/jobs/{job['id']}/toggle", body)
        assert (status, answer["error_code"]) == (400, "VALIDATION_ERROR")


async def test_a_run_shows_in_the_history_and_in_the_job(api: Api) -> None:
    job = await api.bot_job()
    status, answer = await api.call("POST", f"/scheduler/jobs/{job['id']}/run")
    assert (status, answer) == (
        202,
        {"message": f"Job {job['id']} queued for immediate execution", "status": "queued"},
    )
    (run,) = (await api.call("GET", f"/scheduler/jobs/{job['id']}/history"))[1]
    expected = {
        "id": run["id"],
        "job_id": job["id"],
        "scheduled_for": "2026-04-15T02:41:45Z",
        "started_at": None,
        "finished_at": None,
        "status": "queued",
        "result": None,
        "error": None,
        "messages_sent": 0,
        "profiles_visited": 0,
    }
    assert run == expected
    ended: dict[str, Any] = {
        "messages_sent": 2,
        "profiles_visited": 3,
        "error": "none could be visited",
        "result": {"errors": 1},
    }
    await api.settle(run["id"], status=ExecutionStatus.FAILURE, **ended)
    (run,) = (await api.call("GET", f"/scheduler/jobs/{job['id']}/history"))[1]
    at = "2026-04-15T02:41:45Z"
    assert run == expected | ended | {"status": "failed", "started_at": at, "finished_at": at}
    _, job = await api.call("GET", f"/scheduler/jobs/{job['id']}")
    assert (job["last_run_at"], job["last_run_status"], job["last_run_error"]) == (at, "failed", ended["error"])


async def test_the_history_is_newest_first_and_limited(api: Api) -> None:
    job = await api.bot_job()
    path = f"/scheduler/jobs/{job['id']}/history"
    for _ in range(3):
        api.clock.move(1)
        await api.call("POST", f"/scheduler/jobs/{job['id']}/run")
        (newest, *_) = (await api.call("GET", path))[1]
        await api.settle(newest["id"])
    _, runs = await api.call("GET", path)
    assert [run["scheduled_for"][-3:] for run in runs] == ["48Z", "47Z", "46Z"]
    assert (await api.call("GET", path + "?limit=2"))[1] == runs[:2]
    assert (await api.call("GET", path + "?limit=200"))[0] == 200
    for limit in ("0", "201", "x", "-1"):
        status, answer = await api.call("GET", f"{path}?limit={limit}")
        assert (status, answer["errors"].keys()) == (400, {"limit"})


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("queued", "queued"),
        ("running", "running"),
        ("success", "success"),
        ("failure", "failed"),
        ("timed_out", "failed"),
        ("dead_letter", "failed"),
        ("skipped", "skipped"),
    ],
)
def test_whatever_failed_is_called_failed(status: str, word: str) -> None:
    assert status_word(ExecutionStatus(status)) == word


def _routes(job_id: str) -> list[tuple[str, str, object]]:
    return [
        ("GET", f"/scheduler/jobs/{job_id}", None),
        ("PUT", f"/scheduler/jobs/{job_id}", {}),
        ("POST", f"/scheduler/jobs/{job_id}/toggle", {"enabled": True}),
        ("POST", f"/scheduler/jobs/{job_id}/run", None),
        ("GET", f"/scheduler/jobs/{job_id}/history", None),
        ("DELETE", f"/scheduler/jobs/{job_id}", None),
    ]


async def test_a_deleted_job_is_gone(api: Api) -> None:
    job = await api.bot_job()
    assert await api.call("DELETE", f"/scheduler/jobs/{job['id']}") == (204, b"")
    for method, path, body in _routes(job["id"]):
        status, answer = await api.call(method, path, body)
        assert (status, answer["error_code"]) == (404, "JOB_NOT_FOUND"), (method, path)


@pytest.mark.parametrize("kind", ["unknown", "malformed", "account"])
async def test_an_id_that_no_bot_job_has_is_not_found(api: Api, kind: str) -> None:
    job_id = {"unknown": str(uuid4()), "malformed": "a%2Fb"}.get(kind) or (await api.job())["id"]
    for method, path, body in _routes(job_id):
        status, answer = await api.call(method, path, body)
        assert (status, answer["error_code"]) == (404, "JOB_NOT_FOUND"), (method, path)


async def test_accounts_have_no_bot_jobs_and_the_key_opens_no_accounts(api: Api) -> None:
    job = await api.bot_job()
    for method, path, body in [
        *_routes(job["id"]),
        ("POST", "/scheduler/jobs", BODY),
        ("GET", "/scheduler/jobs", None),
    ]:
        assert (await api.call(method, path, body, token=token_of(role="service_role")))[0] == 401
    assert (await api.call("GET", "/api/jobs", None, {"X-API-Key": API_KEY}, token=""))[0] == 401
