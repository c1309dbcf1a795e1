"""Webhooks of account jobs over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.unit.api.conftest import ACCOUNT, HOOK, Api, MakeApi, token_of

OPTIONS: dict[str, Any] = {
    "headers": {"Authorization": "Bearer api-key", "Content-Type": "text/plain"},
    "query_params": {"text": "a b", "number": 1.5, "flag": True, "many": ["x", 2, False]},
    "body_template": '{"day": "{{ now | date: "%Y-%m-%d" }}", "job": {{ job.name | json }}}',
    "timeout_seconds": 1.5,
}


async def test_a_webhook_is_made_with_defaults(api: Api) -> None:
    job = await api.job()
    status, webhook = await api.call("POST", "/webhooks", {"job_id": job["id"], "url": HOOK, "method": "post"})
    assert status == 201
    assert UUID(webhook.pop("id")).version == 8
    assert webhook == {
        "job_id": job["id"],
        "url": HOOK,
        "method": "POST",
        "headers": None,
        "query_params": None,
        "body_template": None,
        "timeout_seconds": 30,
        "created_at": "2026-04-15T02:41:45Z",
        "updated_at": "2026-04-15T02:41:45Z",
    }


async def test_a_webhook_is_shown_as_it_was_given(api: Api) -> None:
    job = await api.job()
    webhook = await api.webhook(job["id"].upper(), method="PATCH", **OPTIONS)
    assert {name: webhook[name] for name in OPTIONS} == OPTIONS
    assert (webhook["method"], webhook["job_id"]) == ("PATCH", job["id"])
    for path in (f"/webhooks/{webhook['id']}", f"/webhooks/{webhook['id'].upper()}/"):
        assert await api.call("GET", path) == (200, webhook)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"job_id": "job-uuid"}, {"job_id"}),
        ({"job_id": None}, {"job_id"}),
        ({"url": None}, {"url"}),
        ({"url": "ftp://example.com"}, {"url"}),
        ({"url": "https://example.com/" + "x" * 481}, {"url"}),
        ({"url": "http://169.254.169.254/latest"}, {"url"}),
        ({"method": "HEAD"}, {"method"}),
        ({"method": None}, {"method"}),
        ({"headers": {"Host": "x", "X-Fine": "y"}}, {"headers.Host"}),
        ({"headers": {"X-Number": 5}}, {"headers.X-Number"}),
        ({"headers": "x"}, {"headers"}),
        ({"query_params": []}, {"query_params"}),
        ({"query_params": {"a": None, "b": {}, "c": [[]], "fine": []}}, {f"query_params.{n}" for n in "abc"}),
        ({"query_params": {str(n): n for n in range(65)}}, {"query_params"}),
        ({"body_template": {"action": "backup"}}, {"body_template"}),
        ({"body_template": "{{ job.id"}, {"body_template"}),
        ({"body_template": "{{ job.secret }}"}, {"body_template"}),
        ({"body_template": "{{ job.id | explode }}"}, {"body_template"}),
        ({"body_template": "x" * 65_537}, {"body_template"}),
        ({"timeout_seconds": 0.5}, {"timeout_seconds"}),
        ({"timeout_seconds": 301}, {"timeout_seconds"}),
        ({"timeout_seconds": "30"}, {"timeout_seconds"}),
        ({"timeout_seconds": None}, {"timeout_seconds"}),
        ({"url": 5, "method": 5, "headers": 5}, {"url", "method", "headers"}),
    ],
)
async def test_what_is_not_legal_is_refused_by_name_when_made_and_when_changed(
    api: Api, changes: dict[str, Any], fields: set[str]
) -> None:
    job = await api.job()
    status, answer = await api.call("POST", "/webhooks", {"job_id": job["id"], "url": HOOK, "method": "PUT"} | changes)
    assert (status, answer["error_code"]) == (400, "VALIDATION_ERROR")
    assert answer["errors"].keys() == fields
    webhook = await api.webhook(job["id"])
    status, answer = await api.call("PUT", f"/webhooks/{webhook['id']}", changes)
    assert (status, answer["error_code"]) == (400, "VALIDATION_ERROR")
    assert answer["errors"].keys() == fields
    assert (await api.call("GET", f"/webhooks?job_id={job['id']}"))[1]["items"] == [webhook]


async def test_what_is_missing_is_told_at_once(api: Api) -> None:
    _, answer = await api.call("POST", "/webhooks", {})
    assert answer["errors"] == {name: ["is missing"] for name in ("job_id", "url", "method")}


async def test_a_url_of_exactly_500_characters_is_fine(api: Api) -> None:
    url = "https://example.com/" + "x" * 480
    assert (await api.webhook((await api.job())["id"], url=url))["url"] == url


async def test_the_address_policy_names_its_setting(make_api: MakeApi) -> None:
    api = await make_api(block_private=True)
    job = await api.job()
    _, answer = await api.call("POST", "/webhooks", {"job_id": job["id"], "url": "http://10.0.0.1/", "method": "GET"})
    assert "WEBHOOK_BLOCK_PRIVATE" in answer["errors"]["url"][0]


async def test_a_change_leaves_the_rest_as_it_was_and_null_empties(api: Api) -> None:
    job = await api.job()
    webhook = await api.webhook(job["id"], **OPTIONS)
    api.clock.move(5)
    for change in (
        {"url": "https://example.com/other", "method": "GET"},
        {"headers": {"X-One": "1"}, "job_id": job["id"]},
        {"headers": None, "query_params": None, "body_template": None},
        {"timeout_seconds": 5},
        {},
    ):
        status, answer = await api.call("PUT", f"/webhooks/{webhook['id']}", change)
        assert (status, answer) == (200, webhook | change | {"updated_at": "2026-04-15T02:41:50Z"})
        assert (await api.call("GET", f"/webhooks/{webhook['id']}"))[1] == answer
        webhook = answer


async def test_a_webhook_stays_with_its_job(api: Api) -> None:
    webhook, other = await api.webhook((await api.job())["id"]), await api.job()
    status, answer = await api.call("PUT", f"/webhooks/{webhook['id']}", {"job_id": other["id"]})
    assert (status, answer["errors"]) == (400, {"job_id": ["cannot be changed"]})


async def test_a_jobs_webhooks_are_listed_in_slices_oldest_first(api: Api) -> None:
    job, other = await api.job(), await api.job()
    await api.webhook(other["id"])
    made = []
    for number in range(3):
        api.clock.move(1)
        made.append(await api.webhook(job["id"], url=f"{HOOK}/{number}"))
    path = f"/webhooks?job_id={job['id']}"
    assert await api.call("GET", path) == (200, {"items": made, "total": 3, "skip": 0, "limit": 100})
    _, answer = await api.call("GET", path + "&skip=1&limit=1")
    assert answer == {"items": made[1:2], "total": 3, "skip": 1, "limit": 1}


@pytest.mark.parametrize(("query", "field"), [("", "job_id"), ("job_id=x", "job_id")])
async def test_a_list_is_of_one_job(api: Api, query: str, field: str) -> None:
    status, answer = await api.call("GET", f"/webhooks?{query}")
    assert (status, answer["errors"].keys()) == (400, {field})


async def test_a_job_that_is_not_there_gets_no_webhook(api: Api) -> None:
    bot_job = await api.bot_job()
    for job_id in (str(uuid4()), bot_job["id"]):
        body = {"job_id": job_id, "url": HOOK, "method": "POST"}
        status, answer = await api.call("POST", "/webhooks", body)
        assert (status, answer["error_code"]) == (404, "JOB_NOT_FOUND")


async def test_a_webhook_that_is_deleted_is_gone(api: Api) -> None:
    webhook = await api.webhook((await api.job())["id"])
    assert await api.call("DELETE", f"/webhooks/{webhook['id']}") == (204, b"")
    for method in ("GET", "PUT", "DELETE"):
        status, answer = await api.call(method, f"/webhooks/{webhook['id']}", {} if method == "PUT" else None)
        assert (status, answer["error_code"]) == (404, "WEBHOOK_NOT_FOUND")


@pytest.mark.parametrize("webhook_id", ["webhook-uuid", "a%2Fb", "0198a3c4-5e6f-8a1b-9d3e-4f5a6b7c8d9e"])
async def test_an_unknown_id_is_not_found(api: Api, webhook_id: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        status, answer = await api.call(method, f"/webhooks/{webhook_id}", {} if method == "PUT" else None)
        assert (status, answer["error_code"]) == (404, "WEBHOOK_NOT_FOUND")


async def test_another_accounts_webhooks_are_forbidden_and_stay_as_they_are(api: Api) -> None:
    job = await api.job()
    webhook = await api.webhook(job["id"])
    stranger = token_of("223e4567-e89b-12d3-a456-426614174000")
    body = {"job_id": job["id"], "url": HOOK, "method": "POST"}
    calls = [
        ("POST", "/webhooks", body),
        *(
            (method, f"/webhooks/{webhook['id']}", {} if method == "PUT" else None)
            for method in ("GET", "PUT", "DELETE")
        ),
    ]
    for method, path, given in calls:
        status, answer = await api.call(method, path, given, token=stranger)
        assert (status, answer["error_code"]) == (403, "FORBIDDEN"), (method, path)
    assert (await api.call("GET", f"/webhooks?job_id={job['id']}", token=token_of(ACCOUNT)))[1]["items"] == [webhook]


async def test_a_job_takes_a_hundred_webhooks_and_no_more(api: Api) -> None:
    job = await api.job()
    for _ in range(100):
        await api.webhook(job["id"])
    status, answer = await api.call("POST", "/webhooks", {"job_id": job["id"], "url": HOOK, "method": "POST"})
    assert (status, answer["errors"].keys()) == (400, {"job_id"})
