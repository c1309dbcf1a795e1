"""The messages family, as its clients see it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import orjson
import pytest

from aioscheduler.domain.message import ConflictPolicy
from tests.unit.api.conftest import HOOK, Api, MakeApi

BODY = {
    "id": "msg-unique-id-123",
    "scheduleTo": "2026-04-15T03:41:45.000Z",
    "payload": {"message": "hello", "data": {"customField": "valor"}},
    "webhookUrl": HOOK,
}


async def test_a_message_is_scheduled_and_read_back_as_given(api: Api) -> None:
    status, answer = await api.call("POST", "/messages", BODY)
    assert status == 201
    assert answer == {
        "status": "scheduled",
        "messageId": "msg-unique-id-123",
        "scheduledFor": "2026-04-15T03:41:45+00:00",
        "version": answer["version"],
    }
    status, shown = await api.call("GET", "/messages/msg-unique-id-123")
    assert status == 200
    assert shown == BODY | {
        "nextRun": "2026-04-15T03:41:45+00:00",
        "status": "scheduled",
        "nextAttemptAt": "2026-04-15T03:41:45+00:00",
        "attempts": 0,
        "lastError": None,
        "version": answer["version"],
        "createdAt": "2026-04-15T02:41:45+00:00",
    }


async def test_every_optional_member_is_kept_as_given(api: Api) -> None:
    more = {
        "method": "put",
        "headers": {"X-Key": "v", "Content-Type": "text/plain"},
        "timeoutSeconds": 5,
        "retry": {"maxAttempts": 2, "backoffType": "fixed", "unknown": [1]},
        "misfireGraceSeconds": 60.5,
    }
    await api.schedule("full", **more)
    _, shown = await api.call("GET", "/messages/full")
    assert {name: shown[name] for name in more} == more


async def test_a_delay_counts_from_acceptance_and_is_shown_as_the_instant(api: Api) -> None:
    status, answer = await api.call("POST", "/messages", {"delay": "90s", "payload": None, "webhookUrl": HOOK})
    assert (status, answer["scheduledFor"]) == (201, "2026-04-15T02:43:15+00:00")
    assert len(answer["messageId"]) == 36, "a made id is a UUID"
    _, shown = await api.call("GET", f"/messages/{answer['messageId']}")
    assert (shown["scheduleTo"], shown["payload"]) == ("2026-04-15T02:43:15.000Z", None)


async def test_an_instant_without_offset_is_local_and_answers_carry_the_zone(make_api: MakeApi) -> None:
    api = await make_api(zone=ZoneInfo("America/Sao_Paulo"))
    answer = await api.schedule("local", scheduleTo="2026-04-15T10:00:00")
    assert answer["scheduledFor"] == "2026-04-15T10:00:00-03:00"


async def test_an_instant_that_the_zone_cannot_show_is_answered_in_utc(make_api: MakeApi) -> None:
    api = await make_api(zone=ZoneInfo("America/Sao_Paulo"))
    answer = await api.schedule("first", scheduleTo="0001-01-01T00:00:00Z")
    assert answer["scheduledFor"] == "0001-01-01T00:00:00+00:00"


async def test_an_instant_in_the_past_is_due_at_acceptance(api: Api) -> None:
    answer = await api.schedule("late", scheduleTo="2020-01-01T00:00:00Z")
    assert answer["scheduledFor"] == "2020-01-01T00:00:00+00:00"
    _, shown = await api.call("GET", "/messages/late")
    assert shown["nextRun"] == "2026-04-15T02:41:45+00:00"


async def test_the_past_is_refused_beyond_the_tolerance_where_the_setting_says_so(make_api: MakeApi) -> None:
    api = await make_api(reject_past=True, past_tolerance=timedelta(seconds=60))
    status, answer = await api.call("POST", "/messages", BODY | {"scheduleTo": "2026-04-15T02:40:44Z"})
    assert (status, list(answer["errors"])) == (422, ["scheduleTo"])
    assert "PAST_SCHEDULE" in answer["detail"]
    status, _ = await api.call("POST", "/messages", BODY | {"scheduleTo": "2026-04-15T02:40:46Z"})
    assert status == 201


@pytest.mark.parametrize(
    "payload",
    [
        '{ "big":  123456789012345678901234567890, "e": 1E2, "u": "\\u00e9", "d": 1.10 }',
        "[]",
        '"text"',
        "false",
        "0",
        '{"payload": {"payload": 1}, "payload": "last \\" one"}',
        "[" * 1000 + "]" * 1000,
    ],
)
async def test_a_payload_is_kept_byte_for_byte(api: Api, payload: str) -> None:
    body = '{"payload": 1, "id": "p", "scheduleTo": "2030-01-01T00:00:00Z", "payload" : %s , "webhookUrl": "%s"}'
    status, answer = await api.call("POST", "/messages", (body % (payload, HOOK)).encode())
    assert status == 201, answer
    async with api.client.get("/messages/p", headers={"Authorization": "Bearer a-token-only-tests-know"}) as response:
        assert f'"payload":{payload},"webhookUrl"' in await response.text()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b'"x"', "body"),
        (b'{"payload": NaN}', "body"),
        (b'{"id": "\\ud800"}', "body"),
        (b'{"id": "\xff"}', "body"),
        (b"[" * 5000, "body"),
        (b'{"payload": %s}' % (b"[" * 2000 + b"]" * 2000), "body"),
        ({}, "payload"),
        ({}, "webhookUrl"),
        ({}, "scheduleTo"),
        (BODY | {"id": 5}, "id"),
        (BODY | {"id": None}, "id"),
        (BODY | {"id": ""}, "id"),
        (BODY | {"id": "x" * 513}, "id"),
        (BODY | {"id": "a\nb"}, "id"),
        (BODY | {"id": "search"}, "id"),
        (BODY | {"scheduleTo": 5}, "scheduleTo"),
        (BODY | {"scheduleTo": "tomorrow"}, "scheduleTo"),
        (BODY | {"delay": "5s"}, "delay"),
        ({"delay": -1, "payload": 1, "webhookUrl": HOOK}, "delay"),
        ({"delay": "5", "payload": 1, "webhookUrl": HOOK}, "delay"),
        (BODY | {"webhookUrl": "ftp://example.com"}, "webhookUrl"),
        (BODY | {"webhookUrl": "http://169.254.169.254/"}, "webhookUrl"),
        (BODY | {"method": "BREW"}, "method"),
        (BODY | {"headers": {"Host": "x"}}, "headers.Host"),
        (BODY | {"headers": {"X": "a\r\nb: c"}}, "headers.X"),
        (BODY | {"headers": []}, "headers"),
        (BODY | {"timeoutSeconds": "5"}, "timeoutSeconds"),
        (BODY | {"retry": {"maxAttempts": 0}}, "retry.maxAttempts"),
        (BODY | {"retry": {"x": orjson.loads("[" * 400 + "]" * 400)}}, "retry"),
        (BODY | {"misfireGraceSeconds": -1}, "misfireGraceSeconds"),
        (BODY | {"onConflict": "maybe"}, "onConflict"),
        (BODY | {"onConflict": []}, "onConflict"),
    ],
)
async def test_an_illegal_body_is_refused_with_the_field_and_the_reason(api: Api, body: object, field: str) -> None:
    if isinstance(body, dict) and "retry" in body and "x" in body["retry"]:
        body = orjson.dumps(BODY)[:-1] + b',"retry":{"x":' + b"[" * 400 + b"]" * 400 + b"}}"
    status, answer = await api.call("POST", "/messages", body)
    assert status == 422
    assert (answer["error_code"], answer["status_code"]) == ("VALIDATION_ERROR", 422)
    assert answer["detail"]
    assert answer["errors"][field][0]


async def test_all_faults_are_told_at_once(api: Api) -> None:
    _, answer = await api.call("POST", "/messages", {"id": 1, "timeoutSeconds": 0, "retry": {"backoffType": "x"}})
    assert set(answer["errors"]) == {
        "id",
        "scheduleTo",
        "payload",
        "webhookUrl",
        "timeoutSeconds",
        "retry.backoffType",
    }


async def test_an_id_that_is_there_is_a_conflict_and_body_beats_query_beats_setting(make_api: MakeApi) -> None:
    api = await make_api()
    first = await api.schedule("twice")
    status, answer = await api.call("POST", "/messages", BODY | {"id": "twice"})
    assert (status, answer["error_code"]) == (409, "MESSAGE_EXISTS")
    status, answer = await api.call("POST", "/messages?upsert=true", BODY | {"id": "twice"})
    assert (status, answer["status"]) == (200, "scheduled")
    assert answer["version"] != first["version"]
    status, _ = await api.call("POST", "/messages?upsert=true", BODY | {"id": "twice", "onConflict": "reject"})
    assert status == 409
    status, _ = await api.call("POST", "/messages", BODY | {"id": "twice", "onConflict": "replace"})
    assert status == 200
    replacing = await make_api(on_conflict=ConflictPolicy.REPLACE)
    assert (await replacing.call("POST", "/messages", BODY | {"id": "twice"}))[0] == 200
    assert (await replacing.call("POST", "/messages?upsert=0", BODY | {"id": "twice"}))[0] == 409
    assert (await replacing.call("POST", "/messages?upsert=yes", BODY | {"id": "twice"}))[0] == 422


async def test_put_creates_then_replaces_and_wants_no_other_id(api: Api) -> None:
    body = {name: value for name, value in BODY.items() if name != "id"}
    assert (await api.call("PUT", "/messages/p%2Fq", body))[0] == 201
    status, answer = await api.call("PUT", "/messages/p/q", body | {"id": "p/q", "onConflict": "reject"})
    assert (status, answer["messageId"]) == (200, "p/q")
    status, answer = await api.call("PUT", "/messages/p/q", body | {"id": "other"})
    assert (status, list(answer["errors"])) == (422, ["id"])
    assert (await api.call("PUT", "/messages/batch", body))[0] == 422


@pytest.mark.parametrize(
    "message_id",
    ["a/b", "a//b", "a+b", "a b", "*", "[x]", "{y}", "?", "#", "%", "%2F", "é", "🕐", "run", "a/run", "a/", "..", "."],
)
async def test_any_character_of_an_id_is_matched_literally_in_a_path(api: Api, message_id: str) -> None:
    await api.schedule(message_id)
    path = f"/messages/{quote(message_id, safe='').replace('.', '%2E')}"
    status, shown = await api.call("GET", path)
    assert (status, shown["id"]) == (200, message_id)
    status, answer = await api.call("POST", f"{path}/run/")
    assert (status, answer["messageId"]) == (202, message_id)
    status, answer = await api.call("DELETE", f"{path}/")
    assert (status, answer) == (200, {"status": "deleted", "messageId": message_id})
    assert (await api.call("GET", path))[0] == 404


async def test_a_path_that_is_no_utf8_or_names_a_reserved_id_is_refused(api: Api) -> None:
    for path in ("/messages/%ff", "/messages/a%00b", "/messages/bulk", "/messages/batch", "/messages/" + "x" * 513):
        status, answer = await api.call("GET", path)
        assert (status, list(answer["errors"])) == (422, ["id"]), path


async def test_the_list_is_by_due_time_and_goes_on_with_a_cursor(api: Api) -> None:
    for number in (3, 1, 2):
        await api.schedule(f"m{number}", scheduleTo=f"2030-01-01T00:00:0{number}Z")
    status, first = await api.call("GET", "/messages?limit=2&unknown=1")
    assert status == 200
    assert first["scheduledJobs"][0] == {
        "messageId": "m1",
        "nextRun": "2030-01-01T00:00:01+00:00",
        "trigger": "date[2030-01-01 00:00:01 UTC]",
        "job": f"POST {HOOK}",
        "webhookUrl": HOOK,
        "status": "scheduled",
        "attempts": 0,
    }
    assert (first["count"], first["total"], first["timestamp"]) == (2, 3, "2026-04-15T02:41:45+00:00")
    _, second = await api.call("GET", f"/messages/?limit=2&cursor={first['nextCursor']}")
    assert [job["messageId"] for job in second["scheduledJobs"]] == ["m3"]
    assert second["nextCursor"] is None


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=", "limit=-1", "limit=1.0", "limit=٣", "cursor=!"]
)
@pytest.mark.parametrize("path", ["/messages", "/messages/search", "/dead-letters", "/deliveries"])
async def test_a_bad_limit_or_cursor_is_refused(api: Api, path: str, query: str) -> None:
    status, answer = await api.call("GET", f"{path}?prefix=x&{quote(query, safe='=&')}")
    assert (status, list(answer["errors"])) == (422, [query.partition("=")[0]])


async def test_search_wants_a_filter_and_both_must_match(api: Api) -> None:
    for message_id in ("123_5511_2h", "123_5511_24h", "124_24h", "123*"):
        await api.schedule(message_id)
    for query in ("", "?prefix=", "?prefix=&contains="):
        status, answer = await api.call("GET", f"/messages/search{query}")
        assert (status, answer["error_code"]) == (400, "FILTER_REQUIRED")

    async def ids(query: str) -> set[str]:
        _, answer = await api.call("GET", f"/messages/search?{query}")
        assert answer["count"] == len(answer["messages"])
        return {message["id"] for message in answer["messages"]}

    assert await ids("prefix=123_5511") == {"123_5511_2h", "123_5511_24h"}
    assert await ids("contains=_24h") == {"123_5511_24h", "124_24h"}
    assert await ids("prefix=123&contains=_24h") == {"123_5511_24h"}
    assert await ids("prefix=123*") == {"123*"}
    assert await ids("prefix=&contains=2h") == {"123_5511_2h"}
    _, answer = await api.call("GET", "/messages/search?prefix=124")
    assert answer["messages"][0]["nextRun"] == "2030-01-01T00:00:00+00:00"


@pytest.mark.parametrize("method", ["DELETE", "POST"])
async def test_bulk_deletes_what_matches_and_only_with_a_filter(api: Api, method: str) -> None:
    for message_id in ("a_1", "a_2", "b_1"):
        await api.schedule(message_id)
    for path, body in (("?prefix=", None), ("", {}), ("", {"prefix": "", "contains": ""})):
        status, answer = await api.call(method, f"/messages/bulk{path}", body)
        assert (status, answer["error_code"]) == (400, "FILTER_REQUIRED")
    bodies: list[object] = [{"prefix": 5}, {"prefix": "a", "dryRun": "true"}, [], b"{"]
    for bad in bodies:
        assert (await api.call(method, "/messages/bulk?contains=_", bad))[0] == 422
    would = {"deleted": 2, "messageIds": ["a_1", "a_2"], "dryRun": True}
    assert await api.call(method, "/messages/bulk?prefix=a_&dryRun=1") == (200, would)
    assert await api.call(method, "/messages/bulk?dryRun=false", {"prefix": "a_", "dryRun": True}) == (200, would)
    status, answer = await api.call(method, "/messages/bulk?prefix=", {"prefix": "a_"})
    assert (status, answer["deleted"], sorted(answer["messageIds"])) == (200, 2, ["a_1", "a_2"])
    assert (await api.call("GET", "/messages"))[1]["total"] == 1


async def test_run_makes_a_message_due_now(api: Api) -> None:
    version = (await api.schedule("soon"))["version"]
    status, answer = await api.call("POST", "/messages/soon/run")
    assert (status, answer) == (
        202,
        {
            "status": "scheduled",
            "messageId": "soon",
            "scheduledFor": "2026-04-15T02:41:45+00:00",
            "version": version,
        },
    )
    _, shown = await api.call("GET", "/messages/soon")
    assert shown["nextRun"] == "2026-04-15T02:41:45+00:00"
    assert (await api.call("POST", "/messages/nobody/run"))[1]["error_code"] == "MESSAGE_NOT_FOUND"


async def test_one_bad_item_does_not_spoil_a_batch(api: Api) -> None:
    await api.schedule("there")
    items: list[Any] = [
        {"id": "b1", "delay": "1m", "payload": {"n": 1}, "webhookUrl": HOOK},
        {"id": "b2", "delay": "1m", "webhookUrl": "nowhere"},
        5,
        {"id": "b1", "delay": "2m", "payload": 2, "webhookUrl": HOOK, "onConflict": "replace"},
        BODY | {"id": "there"},
        BODY | {"id": "there2", "onConflict": "replace"},
    ]
    status, answer = await api.call("POST", "/messages/batch", {"messages": items})
    assert (status, answer["scheduled"], answer["failed"]) == (200, 2, 4)
    results = answer["results"]
    assert [(one["messageId"], one["status"]) for one in results] == [
        ("b1", "scheduled"),
        ("b2", "rejected"),
        (None, "rejected"),
        ("b1", "rejected"),
        ("there", "rejected"),
        ("there2", "scheduled"),
    ]
    assert results[0]["scheduledFor"] == "2026-04-15T02:42:45+00:00"
    assert set(results[1]["error"]["errors"]) == {"payload", "webhookUrl"}
    assert results[3]["error"]["error_code"] == results[4]["error"]["error_code"] == "MESSAGE_EXISTS"
    assert (await api.call("GET", "/messages/b1"))[1]["payload"] == {"n": 1}


async def test_a_batch_upserts_where_the_query_says_so_and_is_bounded(api: Api) -> None:
    await api.schedule("there")
    _, answer = await api.call("POST", "/messages/batch?upsert=true", {"messages": [BODY | {"id": "there"}]})
    assert answer["scheduled"] == 1
    bodies: list[object] = [{}, {"messages": {}}, {"messages": [1] * 1001}]
    for body in bodies:
        status, answer = await api.call("POST", "/messages/batch", body)
        assert (status, list(answer["errors"])) == (422, ["messages"])


async def test_payloads_of_a_batch_are_kept_byte_for_byte(api: Api) -> None:
    text = b'{"messages": [ {"delay":9,"id":"x","webhookUrl":"http://h/","payload": 18446744073709551616000} ] }'
    assert (await api.call("POST", "/messages/batch", text))[1]["scheduled"] == 1
    async with api.client.get("/messages/x", headers={"Authorization": "Bearer a-token-only-tests-know"}) as response:
        assert '"payload":18446744073709551616000' in await response.text()


async def test_a_message_is_replaced_only_as_it_was_seen(api: Api) -> None:
    given = await api.schedule("m")
    await api.call("GET", "/messages/m")
    seen = api.last_headers["Etag"]
    assert seen == f'"{given["version"]}"'
    body = {name: value for name, value in BODY.items() if name != "id"}

    async def put(**headers: str) -> tuple[int, Any]:
        return await api.call(
            "PUT", "/messages/m", body, {name.replace("_", "-"): text for name, text in headers.items()}
        )

    assert (await put(If_Match=f'"unknown", {seen} ,'))[0] == 200
    status, answer = await put(If_Match=seen)
    assert (status, answer["error_code"]) == (412, "PRECONDITION_FAILED")
    assert answer["detail"] == 'The message "m" was changed, attempted, delivered or deleted meanwhile.'
    _, live = await api.call("GET", "/messages/m")
    now_seen = api.last_headers["Etag"]
    assert live["version"] in now_seen != seen
    assert (await put(If_Match=f"W/{now_seen}"))[0] == 412, "a weak one never matches"
    assert (await put(If_Match='"*"'))[0] == 412
    assert (await put(If_None_Match="*"))[0] == 412
    assert (await put(If_Match=now_seen, If_None_Match="*"))[0] == 412
    assert (await api.call("GET", "/messages/m"))[1] == live
    assert (await put(If_Match="*"))[0] == 200
    await api.call("DELETE", "/messages/m")
    assert (await put(If_Match="*"))[0] == (await put(If_Match=now_seen))[0] == 412
    assert (await put(If_None_Match="*"))[0] == 201


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("If-Match", "0Ge3kL-9_x"),
        ("If-Match", ""),
        ("If-Match", '"a" "b"'),
        ("If-Match", '*, "a"'),
        ("If-None-Match", '"a"'),
    ],
)
async def test_a_condition_nobody_can_read_writes_nothing(api: Api, name: str, value: str) -> None:
    body = {"scheduleTo": "2030-01-01T00:00:00Z", "payload": {}, "webhookUrl": HOOK}
    status, answer = await api.call("PUT", "/messages/m", body, {name: value})
    assert status == 422
    assert list(answer["errors"]) == [name]
    assert (await api.call("GET", "/messages/m"))[0] == 404
    status, answer = await api.call("PUT", "/messages/m", body, {name: value, "Accept-Language": "pt"})
    assert "deve ser" in answer["detail"]
