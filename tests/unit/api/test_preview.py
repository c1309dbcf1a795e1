"""Schedules tried out over HTTP."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.unit.api.conftest import ACCOUNT, API_KEY, Api, token_of


async def _preview(api: Api, **query: str) -> tuple[int, Any]:
    text = "&".join(f"{name}={value.replace(' ', '+')}" for name, value in query.items())
    return await api.call("GET", f"/api/jobs/preview?{text}", token=token_of(ACCOUNT))


async def test_a_schedule_is_shown_in_words_and_in_instants(api: Api) -> None:
    status, answer = await _preview(api, schedule="30 9 * * mon-fri", timezone="Europe/Paris", count="3")
    assert status == 200
    assert answer["next_runs"] == ["2026-04-15T07:30:00Z", "2026-04-16T07:30:00Z", "2026-04-17T07:30:00Z"]
    assert "09:30" in answer["description"]
    assert "Europe/Paris" in answer["description"]
    assert answer["notes"] == []


async def test_five_runs_in_utc_by_default_and_a_hundred_at_most(api: Api) -> None:
    _, answer = await _preview(api, schedule="@hourly")
    assert answer["next_runs"] == [f"2026-04-15T0{hour}:00:00Z" for hour in range(3, 8)]
    _, answer = await _preview(api, schedule="* * * * *", count="100")
    assert len(answer["next_runs"]) == 100
    assert (answer["next_runs"][0], answer["next_runs"][99]) == ("2026-04-15T02:42:00Z", "2026-04-15T04:21:00Z")


async def test_fewer_runs_are_shown_where_fifty_years_hold_no_more(api: Api) -> None:
    _, answer = await _preview(api, schedule="0 0 29 2 *", count="100")
    assert answer["next_runs"][0] == "2028-02-29T00:00:00Z"
    assert answer["next_runs"] == sorted(set(answer["next_runs"]))


async def test_a_note_says_where_daylight_saving_moves_a_run(api: Api) -> None:
    _, answer = await _preview(api, schedule="30 2 28-29 3 *", timezone="Europe/Paris", count="4")
    assert "2027-03-28T01:00:00Z" in answer["next_runs"], "right after the gap"
    (note,) = answer["notes"]
    assert "2027-03-28" in note
    assert "02:30" in note
    path = "/api/jobs/preview?schedule=30+2+28-29+3+*&timezone=Europe/Paris"
    _, portuguese = await api.call("GET", path, None, {"Accept-Language": "pt"})
    assert "pulam" in portuguese["notes"][0]
    assert portuguese["description"] != answer["description"]


@pytest.mark.parametrize(
    ("query", "code", "fields"),
    [
        ({}, "VALIDATION_ERROR", {"schedule"}),
        ({"schedule": "0 2 * * *", "timezone": "Mars"}, "VALIDATION_ERROR", {"timezone"}),
        ({"schedule": "0 2 * * *", "count": "0"}, "VALIDATION_ERROR", {"count"}),
        ({"schedule": "0 2 * * *", "count": "101"}, "VALIDATION_ERROR", {"count"}),
        ({"schedule": "0 2 * * *", "count": "many"}, "VALIDATION_ERROR", {"count"}),
        ({"schedule": ""}, "INVALID_CRON_EXPRESSION", {"schedule"}),
        (
            {"schedule": "0 2 * * * *", "timezone": "Mars", "count": "x"},
            "INVALID_CRON_EXPRESSION",
            {"schedule", "timezone", "count"},
        ),
    ],
)
async def test_what_is_not_legal_is_refused_by_name(
    api: Api, query: dict[str, str], code: str, fields: set[str]
) -> None:
    status, answer = await _preview(api, **query)
    assert (status, answer["error_code"], answer["errors"].keys()) == (400, code, fields)


async def test_a_preview_asks_for_credentials(api: Api) -> None:
    assert (await api.call("GET", "/api/jobs/preview?schedule=@daily", token=""))[0] == 401


async def _bot_preview(api: Api, kind: str, config: str, **query: str) -> tuple[int, Any]:
    text = "&".join(f"{name}={value}" for name, value in query.items())
    path = f"/scheduler/jobs/preview?schedule_type={kind}&schedule_config={quote(config)}&{text}"
    return await api.call("GET", path, None, {"X-API-Key": API_KEY}, token="")


async def test_a_bot_jobs_schedule_is_shown_likewise(api: Api) -> None:
    status, answer = await _bot_preview(api, "daily", '{"hour": 8, "timezone": "America/New_York"}', count="2")
    assert (status, answer["next_runs"]) == (200, ["2026-04-15T12:00:00Z", "2026-04-16T12:00:00Z"])
    assert "08:00" in answer["description"]
    assert answer["notes"] == []
    _, answer = await _bot_preview(api, "interval", '{"hours": 2}')
    assert answer["next_runs"][:2] == ["2026-04-15T04:41:45Z", "2026-04-15T06:41:45Z"]
    assert len(answer["next_runs"]) == 5
    _, same = await _preview(api, schedule="0 8 * * *")
    _, cron = await _bot_preview(api, "cron", '{"cron_expression": "0 8 * * *"}')
    assert cron == same


@pytest.mark.parametrize(
    ("kind", "config", "field"),
    [
        ("daily", "{hour: 8}", "schedule_config"),
        ("daily", "[8]", "schedule_config"),
        ("daily", '{"hour": 25}', "schedule_config.hour"),
        ("hourly", "{}", "schedule_type"),
        ("cron", '{"cron_expression": "61 * * * *"}', "schedule_config.cron_expression"),
    ],
)
async def test_a_bot_jobs_schedule_that_is_none_is_refused(api: Api, kind: str, config: str, field: str) -> None:
    status, answer = await _bot_preview(api, kind, config)
    assert (status, list(answer["errors"])) == (400, [field])
