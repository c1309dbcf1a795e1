from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.clock import START
from tests.unit.api.conftest import Api

KINDS = ("planned", "delivered", "dead", "deleted", "replaced", "missed", "pending", "difference")


async def schedule(api: Api, name: str, due_in: float, **members: Any) -> None:
    due_at = (START + timedelta(seconds=due_in)).isoformat()
    await api.schedule(name, scheduleTo=due_at, **members)


async def audit(api: Api, since: str, until: str) -> tuple[int, Any]:
    return await api.call("GET", f"/audit?{urlencode({'from': since, 'to': until})}")


async def test_without_bounds_it_accounts_for_all_there_is(api: Api) -> None:
    await schedule(api, "a", 60)
    await schedule(api, "b", 600)
    await schedule(api, "b", 700, onConflict="replace")
    await api.call("DELETE", "/messages/a")
    status, answer = await api.call("GET", "/audit")
    assert status == 200
    assert (answer["from"], answer["to"]) == (None, None)
    expected = dict.fromkeys(KINDS, 0) | {"planned": 3, "deleted": 1, "replaced": 1, "pending": 1}
    assert answer["messages"] == expected
    assert answer["executions"] == dict.fromkeys(KINDS, 0)
    assert {kind: answer[kind] for kind in KINDS} == expected


async def test_executions_are_among_all_and_apart(api: Api) -> None:
    await schedule(api, "a", 60)
    job = await api.job()
    await api.webhook(job["id"])
    await api.call("POST", f"/api/jobs/{job['id']}/run")
    _, answer = await api.call("GET", "/audit")
    assert answer["messages"]["planned"] == answer["executions"]["planned"] == 1
    assert answer["planned"] == answer["pending"] == 2


@pytest.mark.parametrize(
    ("since", "until", "shown", "planned"),
    [
        ("2026-04-15T02:42:00Z", "2026-04-15T02:43:00Z", ("2026-04-15T02:42:00+00:00", "2026-04-15T02:43:00+00:00"), 1),
        ("2026-04-15T02:42:10Z", "2026-04-15T02:42:20Z", ("2026-04-15T02:42:00+00:00", "2026-04-15T02:43:00+00:00"), 1),
        ("2026-04-15T02:43:00Z", "2026-04-15T02:52:00Z", ("2026-04-15T02:43:00+00:00", "2026-04-15T02:52:00+00:00"), 1),
        ("2026-04-15T02:43:00Z", "2026-04-15T02:51:00Z", ("2026-04-15T02:43:00+00:00", "2026-04-15T02:51:00+00:00"), 0),
        ("2026-04-14T23:42:00-03:00", "", ("2026-04-15T02:42:00+00:00", None), 2),
        ("2026-04-15T04:42:00 02:00", "", ("2026-04-15T02:42:00+00:00", None), 2),
        ("", "2026-04-15T02:43:00Z", (None, "2026-04-15T02:43:00+00:00"), 1),
        ("2026-04-15", "2026-04-16", ("2026-04-15T00:00:00+00:00", "2026-04-16T00:00:00+00:00"), 2),
        ("2026-04-16", "", ("2026-04-16T00:00:00+00:00", None), 0),
        ("0001-01-01", "9999-12-31T23:59:59Z", ("0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00"), 2),
    ],
)
async def test_bounds_are_by_when_things_were_planned_for_and_in_whole_minutes(
    api: Api, since: str, until: str, shown: tuple[str | None, str | None], planned: int
) -> None:
    await schedule(api, "a", 60)
    await schedule(api, "b", 600)
    status, answer = await audit(api, since, until)
    assert status == 200, answer
    assert (answer["from"], answer["to"]) == shown
    assert (answer["planned"], answer["pending"], answer["difference"]) == (planned, planned, 0)


@pytest.mark.parametrize(
    ("since", "until", "field"),
    [
        ("yesterday", "", "from"),
        ("", "2026-02-30", "to"),
        ("2026-04-15T02:42:00Z", "2026-04-15T02:42:00Z", "to"),
        ("2026-04-16", "2026-04-15", "to"),
        ("x" * 65, "", "from"),
    ],
)
async def test_bounds_that_are_none_are_refused_by_name(api: Api, since: str, until: str, field: str) -> None:
    status, answer = await audit(api, since, until)
    assert (status, answer["error_code"]) == (422, "VALIDATION_ERROR")
    assert list(answer["errors"]) == [field]


async def test_it_takes_the_token(api: Api) -> None:
    response = await api.client.get("/audit")
    assert response.status == 401
