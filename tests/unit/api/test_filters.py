"""Messages by status and destination, and how many there are."""

from __future__ import annotations

from datetime import timedelta

import pytest

from aioscheduler.domain.execution import Outcome, OutcomeKind
from aioscheduler.domain.message import MessageId, MessageStatus
from aioscheduler.store import lists
from aioscheduler.store.base import Decision, Settlement
from tests.unit.api.conftest import Api

OTHER = "http://other.example:8080/x"


async def fail(api: Api, message_id: str) -> None:
    """Attempt a message that is due, without success."""
    now = api.clock.now()
    (claimed,) = await api.context.store.claim([MessageId(message_id)], now)
    outcome = Outcome(kind=OutcomeKind.FAILURE, started_at=now, finished_at=now, duration_ms=1, error="answered 502")
    await api.context.store.settle(
        Settlement(claimed=claimed, decision=Decision.RETRY, outcome=outcome, retry_at=now + timedelta(minutes=5))
    )


@pytest.fixture
async def crowd(api: Api) -> Api:
    """Five messages wait, two of them for another destination; two wait for a retry, and one is being delivered."""
    for number in range(5):
        await api.schedule(f"m{number}", webhookUrl=OTHER if number % 2 else "https://example.com/hook")
    for name in ("r1", "r2", "d1"):
        await api.schedule(name, scheduleTo="2020-01-01T00:00:00Z", webhookUrl=OTHER)
    await fail(api, "r1")
    await fail(api, "r2")
    await api.context.store.claim([MessageId("d1")], api.clock.now())
    return api


async def walk(api: Api, path: str) -> tuple[list[str], list[int]]:
    """Return all ids of a list, and how many came with each page."""
    found: list[str] = []
    sizes: list[int] = []
    cursor = ""
    while cursor is not None:
        status, answer = await api.call("GET", f"{path}&cursor={cursor}")
        assert status == 200, answer
        rows = answer["scheduledJobs"] if "scheduledJobs" in answer else answer["messages"]
        found += [row.get("messageId") or row["id"] for row in rows]
        sizes.append(len(rows))
        cursor = answer["nextCursor"]
    return found, sizes


@pytest.mark.parametrize("path", ["/messages?", "/messages/search?contains=&prefix="])
async def test_messages_are_filtered_by_status_and_destination(crowd: Api, path: str) -> None:
    if "search" in path:
        assert (await walk(crowd, path + "m&destination=http://OTHER.example:8080"))[0] == ["m1", "m3"]
        assert (await walk(crowd, path + "r&status=retrying&limit=1"))[0] == ["r1", "r2"]
        assert (await walk(crowd, path + "d&status=delivering"))[0] == ["d1"]
        assert (await walk(crowd, path + "d&status=scheduled"))[0] == []
        return
    assert (await walk(crowd, path + f"destination={OTHER}"))[0] == ["d1", "r1", "r2", "m1", "m3"]
    assert (await walk(crowd, path + f"destination={OTHER}&status=scheduled&limit=1"))[0] == ["m1", "m3"]
    assert (await walk(crowd, path + "status=scheduled&limit=2"))[0] == ["m0", "m1", "m2", "m3", "m4"]
    assert (await walk(crowd, path + "status=retrying&limit=1"))[0] == ["r1", "r2"]
    assert (await walk(crowd, path + "status=delivering"))[0] == ["d1"]
    assert (await walk(crowd, path + "status=delivering&destination=https://example.com"))[0] == []
    _, answer = await crowd.call("GET", "/messages?status=delivering")
    assert (answer["count"], answer["total"]) == (1, 8)
    assert (await crowd.call("GET", "/messages?status=asleep"))[0] == 422


async def test_a_filtered_page_looks_at_so_many_and_goes_on(crowd: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "PAGE", 2)
    monkeypatch.setattr(lists, "_TURN", 2)
    monkeypatch.setattr(lists, "_MOST_LOOKS", 1)
    monkeypatch.setattr(lists, "_MOST_STEPS", 1)
    # Where very many have a state, all are looked at.
    monkeypatch.setattr(lists, "_MOST_CHOSEN", 1)
    assert await walk(crowd, "/messages?status=retrying") == (["r1", "r2"], [1, 1, 0, 0, 0])
    monkeypatch.setattr(lists, "_MOST_CHOSEN", 2)
    assert (await walk(crowd, "/messages?status=retrying"))[0] == ["r1", "r2"]
    assert (await walk(crowd, f"/messages/search?contains=m&destination={OTHER}"))[0] == ["m1", "m3"]
    part = await crowd.context.store.search("", "", 9, None, MessageStatus.RETRYING)
    assert (part.items, part.next_cursor is None) == ([], False), "d1 and m0 were looked at"


async def test_messages_are_counted(crowd: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await crowd.call("GET", "/messages/count") == (200, {"count": 8, "exact": True})
    assert await crowd.call("GET", "/messages/count?prefix=m") == (200, {"count": 5, "exact": True})
    assert await crowd.call("GET", "/messages/count?prefix=m&contains=3") == (200, {"count": 1, "exact": True})
    assert await crowd.call("GET", "/messages/count?contains=1") == (200, {"count": 3, "exact": True})
    monkeypatch.setattr(lists, "_SCAN", 2)
    assert await crowd.call("GET", "/messages/count?contains=1") == (200, {"count": 3, "exact": True})
    monkeypatch.setattr(lists, "_MOST_COUNTED", 4)
    assert await crowd.call("GET", "/messages/count?contains=1") == (200, {"count": 2, "exact": False})


async def test_a_message_says_when_its_next_attempt_is(crowd: Api) -> None:
    told = {}
    for name in ("m0", "r1", "d1"):
        _, answer = await crowd.call("GET", f"/messages/{name}")
        told[name] = (answer["status"], answer["nextAttemptAt"], answer["attempts"], answer["lastError"])
    assert told == {
        "m0": ("scheduled", "2030-01-01T00:00:00+00:00", 0, None),
        "r1": ("retrying", "2026-04-15T02:46:45+00:00", 1, "answered 502"),
        "d1": ("delivering", None, 1, None),
    }
