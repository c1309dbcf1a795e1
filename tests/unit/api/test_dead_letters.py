"""Dead letters and the delivery log, as clients see them."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime, timedelta

import pytest

from aioscheduler.domain.execution import DeadReason, ExecutionStatus, Opening, Outcome, OutcomeKind
from aioscheduler.domain.message import MessageId
from aioscheduler.store import letters
from aioscheduler.store.base import Decision, Settlement
from tests.support.clock import START
from tests.unit.api.conftest import HOOK, Api, MakeApi


async def test_a_dead_letter_keeps_the_whole_message_and_says_why(api: Api) -> None:
    await api.bury("dead/1")
    status, answer = await api.call("GET", "/dead-letters")
    assert (status, answer["count"], answer["nextCursor"]) == (200, 1, None)
    letter = answer["deadLetters"][0]
    assert letter == {
        "id": "dead/1",
        "messageId": "dead/1",
        "scheduleTo": "2020-01-01T00:00:00Z",
        "payload": {},
        "webhookUrl": HOOK,
        "version": letter["version"],
        "createdAt": "2026-04-15T02:41:45+00:00",
        "reason": "retries_exhausted",
        "attempts": 1,
        "lastError": "HTTP 500",
        "deadAt": "2026-04-15T02:41:45+00:00",
    }
    assert await api.call("GET", "/dead-letters/dead%2F1/") == (200, letter)
    assert (await api.call("GET", "/dead-letters/other"))[1]["error_code"] == "MESSAGE_NOT_FOUND"


async def test_dead_letters_are_found_by_prefix_and_reason(api: Api) -> None:
    await api.bury("a1")
    await api.bury("a2", DeadReason.GONE)
    await api.bury("b1", DeadReason.GONE)

    async def ids(query: str) -> list[str]:
        _, answer = await api.call("GET", f"/dead-letters?{query}")
        return sorted(letter["id"] for letter in answer["deadLetters"])

    assert await ids("prefix=a") == ["a1", "a2"]
    assert await ids("reason=gone") == ["a2", "b1"]
    assert await ids("prefix=a&reason=gone") == ["a2"]
    assert await ids("reason=") == ["a1", "a2", "b1"]
    status, answer = await api.call("GET", "/dead-letters?reason=bored")
    assert (status, list(answer["errors"])) == (422, ["reason"])


async def test_a_dead_letter_is_replayed_now_or_when_asked(api: Api) -> None:
    await api.bury("x")
    for bad in ({"delay": "soon"}, {"delay": "1s", "scheduleTo": "2030-01-01T00:00:00Z"}, [1]):
        assert (await api.call("POST", "/dead-letters/x/replay", bad))[0] == 422
    status, answer = await api.call("POST", "/dead-letters/x/replay", {"delay": "1h"})
    assert (status, answer["scheduledFor"]) == (202, "2026-04-15T03:41:45+00:00")
    _, shown = await api.call("GET", "/messages/x")
    assert (shown["attempts"], shown["version"]) == (0, answer["version"])
    assert (await api.call("POST", "/dead-letters/x/replay"))[0] == 404
    await api.bury("y")
    status, answer = await api.call("POST", "/dead-letters/y/replay/")
    assert (status, answer["scheduledFor"]) == (202, "2026-04-15T02:41:45+00:00")


async def test_a_dead_letter_is_mended_when_it_is_replayed(make_api: MakeApi) -> None:
    api = await make_api(block_private=True)
    await api.bury("x", payload={"n": 1}, method="PUT", headers={"X-A": "b"})
    for bad, field in (
        ({"webhookUrl": "example.com"}, "webhookUrl"),
        ({"webhookUrl": "http://127.0.0.1/"}, "webhookUrl"),
        ({"webhookUrl": None}, "webhookUrl"),
        ({"payload": 1, "delay": "soon"}, "delay"),
    ):
        status, answer = await api.call("POST", "/dead-letters/x/replay", bad)
        assert status == 422
        assert field in answer.get("errors", {field: ""})
    told: list[str] = []
    api.context.store.on_scheduled = lambda message_id, due_ms, destination: told.append(destination)
    body = b'{"webhookUrl": "https://new.example/x", "payload": {"n": 12345678901234567890123}}'
    status, _ = await api.call("POST", "/dead-letters/x/replay", body)
    assert status == 202
    _, shown = await api.call("GET", "/messages/x")
    assert (shown["webhookUrl"], shown["method"], shown["headers"]) == ("https://new.example/x", "PUT", {"X-A": "b"})
    assert told == ["https://new.example:443"]
    live = await api.context.store.get(MessageId("x"))
    assert live is not None
    assert live.message.payload == b'{"n": 12345678901234567890123}'
    await api.bury("y", payload={"n": 1})
    assert (await api.call("POST", "/dead-letters/y/replay", {"payload": None}))[0] == 202
    _, shown = await api.call("GET", "/messages/y")
    assert (shown["payload"], shown["webhookUrl"]) == (None, HOOK)


async def test_what_only_messages_have_cannot_be_mended_in_an_execution(api: Api) -> None:
    job = await api.job()
    await api.webhook(job["id"])
    _, queued = await api.call("POST", f"/api/jobs/{job['id']}/run")
    (execution_id,) = queued["execution_ids"]
    await api.settle(execution_id, DeadReason.RETRIES_EXHAUSTED, status=ExecutionStatus.DEAD_LETTER)
    status, answer = await api.call("POST", f"/dead-letters/{execution_id}/replay", {"payload": 1, "webhookUrl": HOOK})
    assert (status, sorted(answer["errors"])) == (422, ["payload", "webhookUrl"])


async def test_a_replay_conflicts_with_a_live_message(api: Api) -> None:
    await api.bury("x")
    await api.schedule("x")
    status, answer = await api.call("POST", "/dead-letters/x/replay")
    assert (status, answer["error_code"]) == (409, "MESSAGE_EXISTS")
    assert (await api.call("GET", "/dead-letters/x"))[0] == 200


async def test_many_are_replayed_only_with_a_filter_or_all(api: Api) -> None:
    for message_id in ("a1", "a2", "b1"):
        await api.bury(message_id)
    await api.schedule("a2")
    status, answer = await api.call("POST", "/dead-letters/replay")
    assert (status, answer["error_code"]) == (400, "FILTER_REQUIRED")
    assert (await api.call("POST", "/dead-letters/replay?all=false"))[0] == 400
    status, answer = await api.call("POST", "/dead-letters/replay?prefix=a")
    assert (status, answer) == (200, {"replayed": 1, "messageIds": ["a1"]}), "what cannot be replayed stays"
    assert (await api.call("POST", "/dead-letters/replay", {"all": True}))[1]["messageIds"] == ["b1"]


async def test_dead_letters_are_grouped_by_reason_and_destination(api: Api) -> None:
    await api.bury("a1", payload={"webhookUrl": "http://wrong.example/", "x": [',"payload":']})
    api.clock.move(5)
    await api.bury("a2")
    await api.bury("b1", webhookUrl="http://other.example:8080/x")
    await api.bury("b2", DeadReason.GONE, webhookUrl="http://other.example:8080/x")
    await outside(api, "bad", b'{"id": "bad", \xff')
    job = await api.job()
    webhook = await api.webhook(job["id"], url="https://example.com/elsewhere")
    _, queued = await api.call("POST", f"/api/jobs/{job['id']}/run")
    (execution_id,) = queued["execution_ids"]
    await api.settle(execution_id, DeadReason.RETRIES_EXHAUSTED, status=ExecutionStatus.DEAD_LETTER)

    status, answer = await api.call("GET", "/dead-letters/groups")

    assert (status, answer["total"], answer["truncated"]) == (200, 6, False)
    counted = [(group["reason"], group["destination"], group["count"]) for group in answer["groups"]]
    assert counted == [
        ("retries_exhausted", "https://example.com:443", 3),
        ("gone", "http://other.example:8080", 1),
        ("invalid_record", None, 1),
        ("retries_exhausted", "http://other.example:8080", 1),
    ]
    assert (answer["groups"][0]["oldest"], answer["groups"][0]["newest"]) == (
        "2026-04-15T02:41:45+00:00",
        "2026-04-15T02:41:50+00:00",
    )
    _, answer = await api.call("GET", "/dead-letters/groups?limit=2")
    assert (len(answer["groups"]), answer["truncated"]) == (2, True)

    async def ids(query: str) -> list[str]:
        _, answer = await api.call("GET", f"/dead-letters?destination={query}")
        return sorted(letter["id"] for letter in answer["deadLetters"])

    assert await ids("https://EXAMPLE.com") == sorted(["a1", "a2", execution_id])
    assert await ids("http://other.example:8080/anything&reason=gone") == ["b2"]
    assert await ids("http://other.example:8080&prefix=b&limit=1") == ["b1"]
    assert await ids("http://other.example:8080&prefix=b&reason=gone") == ["b2"]
    assert await ids("http://other.example") == []
    assert await ids("none") == ["bad"]
    assert await ids("none&reason=gone") == []
    assert len(await ids("")) == 6
    assert (await api.call("GET", "/dead-letters?destination=example.com"))[0] == 422

    await api.call("DELETE", f"/webhooks/{webhook['id']}")
    _, answer = await api.call("GET", "/dead-letters/groups")
    assert ("retries_exhausted", None) in {(group["reason"], group["destination"]) for group in answer["groups"]}
    assert await ids("none&reason=retries_exhausted") == [execution_id]
    _, answer = await api.call("POST", "/dead-letters/discard?destination=none&reason=invalid_record")
    assert answer["messageIds"] == ["bad"]
    assert await ids("none") == [execution_id]


async def test_a_filtered_page_looks_at_so_many_and_goes_on(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "_LOOK", 2)
    monkeypatch.setattr(letters, "_MOST_LOOKS", 1)
    monkeypatch.setattr(letters, "_MOST_GROUPED", 4)
    for number in range(5):
        await api.bury(f"m{number}", webhookUrl=HOOK if number == 2 else "http://other.example/")
        api.clock.move(1)
    await api.bury("n", DeadReason.GONE)
    _, answer = await api.call("GET", "/dead-letters?prefix=m&reason=gone")
    assert (answer["count"], answer["nextCursor"] is None) == (0, False), "no call looks at all of them"
    await api.call("DELETE", "/dead-letters/n")
    for query in ("", "&prefix=m", "&reason=retries_exhausted"):
        sizes, found, cursor = [], [], ""
        while cursor is not None:
            _, answer = await api.call("GET", f"/dead-letters?destination={HOOK}{query}&cursor={cursor}")
            sizes.append(answer["count"])
            found += [letter["id"] for letter in answer["deadLetters"]]
            cursor = answer["nextCursor"]
        assert (sizes, found) == ([0, 1, 0], ["m2"])
        assert (await api.call("GET", f"/dead-letters?destination={HOOK}{query}&cursor=WyJ4Il0"))[0] == 422
    _, answer = await api.call("GET", "/dead-letters/groups")
    assert (sum(group["count"] for group in answer["groups"]), answer["total"], answer["truncated"]) == (4, 5, True)


@pytest.mark.parametrize(("verb", "word"), [("replay", "replayed"), ("discard", "discarded")])
async def test_many_are_taken_in_steps_by_destination(api: Api, verb: str, word: str) -> None:
    for number in range(5):
        await api.bury(f"m{number}")
    await api.bury("other", webhookUrl="http://other.example/")
    await api.schedule("m3")
    asked = {"destination": HOOK, "limit": 2}
    steps = []
    while True:
        status, answer = await api.call("POST", f"/dead-letters/{verb}", asked)
        assert status == 200
        steps.append((answer[word], answer["failed"]))
        if answer["nextCursor"] is None:
            break
        asked["cursor"] = answer["nextCursor"]
    assert sum(done for done, _ in steps) == (4 if verb == "replay" else 5)
    assert len(steps) == 3
    assert sum(failed for _, failed in steps) == (1 if verb == "replay" else 0), "a live message keeps its id"
    _, left = await api.call("GET", "/dead-letters")
    assert {letter["id"] for letter in left["deadLetters"]} == {"other"} | ({"m3"} if verb == "replay" else set())
    for bad in ({"limit": 0}, {"limit": "2"}, {"limit": True}, {"cursor": 5}, {"destination": "x"}):
        assert (await api.call("POST", f"/dead-letters/{verb}", {"all": True} | bad))[0] == 422, bad


async def test_all_are_discarded_only_with_a_filter_or_all(api: Api) -> None:
    await api.bury("a1")
    await api.bury("a2", DeadReason.GONE)
    job = await api.job()
    await api.webhook(job["id"])
    _, queued = await api.call("POST", f"/api/jobs/{job['id']}/run")
    await api.settle(queued["execution_ids"][0], DeadReason.RETRIES_EXHAUSTED, status=ExecutionStatus.DEAD_LETTER)
    status, answer = await api.call("POST", "/dead-letters/discard")
    assert (status, answer["error_code"]) == (400, "FILTER_REQUIRED")
    assert await api.call("POST", "/dead-letters/discard?reason=gone") == (
        200,
        {"discarded": 1, "messageIds": ["a2"]},
    )
    _, answer = await api.call("POST", "/dead-letters/discard?all=true&limit=3.0")
    assert answer["errors"]["limit"], "in a query it is text"
    assert await api.call("POST", "/dead-letters/discard", {"all": True, "limit": 3.0}) == (
        200,
        {
            "discarded": 2,
            "messageIds": ["a1"],
            "executionIds": queued["execution_ids"],
            "failed": 0,
            "nextCursor": None,
        },
    )


async def test_a_letter_that_died_again_is_not_discarded_for_the_old_one(api: Api) -> None:
    await api.bury("x")
    await api.bury("y")
    store = api.context.store
    old = (await store.dead_letters(10, None)).items
    api.clock.move(1)
    await api.bury("x", DeadReason.GONE)
    assert [(letter.id, done) for letter, done in zip(old, await store.discard_letters(old), strict=True)] == [
        ("y", True),
        ("x", False),
    ]
    assert [letter.id for letter in (await store.dead_letters(10, None)).items] == ["x"]


async def test_a_message_called_groups_is_found_by_its_prefix(api: Api) -> None:
    await api.bury("groups")
    assert "groups" in (await api.call("GET", "/dead-letters/groups"))[1]
    _, answer = await api.call("GET", "/dead-letters?prefix=groups")
    assert answer["count"] == 1
    assert (await api.call("DELETE", "/dead-letters/groups"))[0] == 200


async def outside(api: Api, message_id: str, record: bytes) -> None:
    """Write a record as others do, and have it looked at."""
    store = api.context.store
    await store._redis.set(f"message:{message_id}".encode(), record)  # type: ignore[attr-defined]
    await store.examine([MessageId(message_id)])


@pytest.mark.parametrize(
    "record",
    [
        b'{"payload": {"webhookUrl": "http://wrong.example/"}, "scheduleTo": "2020-01-01T00:00:00Z", '
        b'"webhookUrl": "%s"}',
        b'{"id":"o","webhookUrl":"%s","scheduleTo":"2020-01-01T00:00:00Z","payload":"x,\\"payload\\":"}',
        b'{"id":"o","scheduleTo":"2020-01-01T00:00:00Z","payload":{"a":"b","webhookUrl":"http://wrong.example/"},'
        b'"webhookUrl":"%s"}',
    ],
)
async def test_where_an_outsiders_letter_leads_is_told_however_it_is_written(api: Api, record: bytes) -> None:
    await outside(api, "o", record % HOOK.encode())
    (claimed,) = await api.context.store.claim([MessageId("o")], api.clock.now())
    now = api.clock.now()
    outcome = Outcome(kind=OutcomeKind.FAILURE, started_at=now, finished_at=now, duration_ms=1)
    await api.context.store.settle(
        Settlement(claimed=claimed, decision=Decision.BURY, outcome=outcome, reason=DeadReason.GONE)
    )
    _, answer = await api.call("GET", "/dead-letters/groups")
    assert [group["destination"] for group in answer["groups"]] == ["https://example.com:443"]


async def test_a_dead_letter_is_deleted_once(api: Api) -> None:
    await api.bury("x")
    assert await api.call("DELETE", "/dead-letters/x") == (200, {"status": "deleted", "messageId": "x"})
    assert (await api.call("DELETE", "/dead-letters/x"))[1]["error_code"] == "MESSAGE_NOT_FOUND"


async def test_a_record_nobody_can_parse_shows_its_bytes_and_cannot_be_replayed(api: Api) -> None:
    record = b'{"id": "bad", \xff'
    store = api.context.store
    await store._redis.set(b"message:bad", record)  # type: ignore[attr-defined]
    await store.examine([MessageId("bad")])
    status, letter = await api.call("GET", "/dead-letters/bad")
    assert (status, letter["reason"], letter["recordBase64"]) == (200, "invalid_record", b64encode(record).decode())
    assert letter["record"] == '{"id": "bad", �'
    status, answer = await api.call("POST", "/dead-letters/bad/replay")
    assert (status, list(answer["errors"])) == (422, ["record"])
    assert (await api.call("POST", "/dead-letters/replay?all=true"))[1]["replayed"] == 0


async def test_the_delivery_log_tells_each_attempt(api: Api) -> None:
    await api.bury("x")
    await api.bury("y")
    status, answer = await api.call("GET", "/deliveries?messageId=x")
    assert (status, len(answer["deliveries"]), answer["nextCursor"]) == (200, 1, None)
    line = answer["deliveries"][0]
    assert {name: line[name] for name in ("messageId", "attempt", "status", "responseCode", "error", "durationMs")} == {
        "messageId": "x",
        "attempt": 1,
        "status": "failure",
        "responseCode": 500,
        "error": "HTTP 500",
        "durationMs": 12.5,
    }
    assert line["scheduledFor"] == "2020-01-01T00:00:00+00:00"
    assert line["startedAt"] == "2026-04-15T02:41:45+00:00"
    assert {"id", "latenessMs"} <= line.keys()


async def test_the_delivery_log_tells_how_long_each_phase_took_that_was_come_to(api: Api) -> None:
    def at(ms: float) -> datetime:
        return START + timedelta(milliseconds=ms)

    await api.bury("never-left")
    late = {"sent_at": at(1.5), "finished_at": at(31.5), "opening": Opening(None, 0.25, None)}
    await api.bury("no-answer", attempt=late)
    opening = Opening(2, 0.25, 1.125)
    back = {"opening": opening, "sent_at": at(4), "answered_at": at(45), "finished_at": at(44)}  # the clock stepped
    await api.bury("answered", attempt=back)
    shown = {line["messageId"]: line["timings"] for line in (await api.call("GET", "/deliveries"))[1]["deliveries"]}
    assert shown == {
        "never-left": {},
        "no-answer": {"connect": 0.25, "sent": 1.5},
        "answered": {"dns": 2.0, "connect": 0.25, "tls": 1.125, "sent": 4.0, "firstByte": 41.0, "done": 0.0},
    }


@pytest.mark.parametrize(("query", "number"), [("status=failure", 2), ("status=success", 0), ("jobId=j", 0), ("", 2)])
async def test_the_delivery_log_is_filtered(api: Api, query: str, number: int) -> None:
    await api.bury("x")
    await api.bury("y")
    _, answer = await api.call("GET", f"/deliveries?{query}")
    assert len(answer["deliveries"]) == number


async def test_the_delivery_log_goes_on_with_a_cursor(api: Api) -> None:
    await api.bury("x")
    await api.bury("y")
    _, first = await api.call("GET", "/deliveries?limit=1")
    _, second = await api.call("GET", f"/deliveries?limit=1&cursor={first['nextCursor']}")
    assert [page["deliveries"][0]["messageId"] for page in (first, second)] == ["y", "x"]


async def test_an_unknown_outcome_is_refused(api: Api) -> None:
    status, answer = await api.call("GET", "/deliveries?status=fine")
    assert (status, list(answer["errors"])) == (422, ["status"])


async def _dead_execution(api: Api) -> tuple[str, str]:
    """Bury an execution; return its job's id and its own."""
    job = await api.job()
    await api.webhook(job["id"])
    _, run = await api.call("POST", f"/api/jobs/{job['id']}/run")
    (execution_id,) = run["execution_ids"]
    await api.settle(execution_id, DeadReason.GONE, status=ExecutionStatus.DEAD_LETTER, error="HTTP 410")
    return job["id"], execution_id


async def test_executions_are_dead_letters_beside_messages(api: Api) -> None:
    await api.bury("x")
    job_id, execution_id = await _dead_execution(api)
    _, answer = await api.call("GET", "/dead-letters?reason=gone")
    (letter,) = answer["deadLetters"]
    assert (letter["id"], letter["executionId"], letter["jobId"]) == (execution_id, execution_id, job_id)
    assert (letter["runId"], letter["lastError"]) == (f"{job_id}@2026-04-15T02:41:45Z", "HTTP 410")
    assert "messageId" not in letter
    assert await api.call("GET", f"/dead-letters/{execution_id}") == (200, letter)
    assert (await api.call("GET", "/dead-letters"))[1]["count"] == 2
    assert (await api.call("DELETE", f"/api/jobs/{job_id}"))[0] == 204
    assert (await api.call("GET", "/dead-letters"))[1]["count"] == 1


async def test_a_dead_letter_of_an_execution_is_deleted_as_what_it_is(api: Api) -> None:
    _, execution_id = await _dead_execution(api)
    answer = await api.call("DELETE", f"/dead-letters/{execution_id}")
    assert answer == (200, {"status": "deleted", "executionId": execution_id})
    assert (await api.call("DELETE", f"/dead-letters/{execution_id}"))[0] == 404
    assert (await api.call("GET", f"/api/executions/{execution_id}"))[1]["status"] == "dead_letter"


async def test_a_dead_execution_is_made_again_at_once_and_only_so(api: Api) -> None:
    job_id, execution_id = await _dead_execution(api)
    path = f"/dead-letters/{execution_id}/replay"
    for member in ("delay", "scheduleTo"):
        status, answer = await api.call("POST", path, {member: "1h"})
        assert (status, answer["errors"].keys()) == (422, {member})
    status, answer = await api.call("POST", path, None, {"Accept-Language": "pt"})
    assert (status, answer["status"], answer["jobId"]) == (202, "na fila", job_id)
    _, further = await api.call("GET", f"/api/executions/{answer['executionId']}")
    assert (further["attempt"], further["status"]) == (2, "queued")
    assert (await api.call("GET", "/dead-letters"))[1]["count"] == 0


async def test_all_that_match_are_replayed_whatever_they_are(api: Api) -> None:
    await api.bury("x")
    _, execution_id = await _dead_execution(api)
    _, answer = await api.call("POST", "/dead-letters/replay?all=true")
    assert answer == {"replayed": 2, "messageIds": ["x"], "executionIds": [execution_id]}


async def test_the_delivery_log_tells_attempts_of_jobs_beside_those_of_messages(api: Api) -> None:
    await api.bury("x")
    job_id, execution_id = await _dead_execution(api)
    _, answer = await api.call("GET", f"/deliveries?jobId={job_id.upper()}")
    (line,) = answer["deliveries"]
    assert (line["jobId"], line["executionId"], line["error"]) == (job_id, execution_id, "HTTP 410")
    assert "messageId" not in line
    assert len((await api.call("GET", "/deliveries"))[1]["deliveries"]) == 2
    assert (await api.call("GET", f"/deliveries?jobId={job_id}&messageId=x"))[1]["deliveries"] == []
