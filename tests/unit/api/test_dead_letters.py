"""Dead letters and the delivery log, as clients see them."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime, timedelta

import pytest

from aioscheduler.domain.execution import DeadReason, ExecutionStatus, Opening
from aioscheduler.domain.message import MessageId
from tests.support.clock import START
from tests.unit.api.conftest import HOOK, Api


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
    await api.bury("no-answer", sent_at=at(1.5), finished_at=at(31.5), opening=Opening(None, 0.25, None))
    opening = Opening(2, 0.25, 1.125)
    await api.bury("answered", opening=opening, sent_at=at(4), answered_at=at(45), finished_at=at(44))  # a step back
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
