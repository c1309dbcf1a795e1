from __future__ import annotations

from datetime import timedelta

import pytest

from aioscheduler.domain.execution import DeadReason, Outcome, OutcomeKind
from aioscheduler.domain.message import MessageId
from aioscheduler.store import keys
from aioscheduler.store.base import Decision, Settlement
from tests.support.clock import START
from tests.unit.api.conftest import Api, MakeApi


async def attempt(api: Api, message_id: str, kind: OutcomeKind, late: float) -> None:
    """Attempt a new message that was due so many seconds ago."""
    now = api.clock.now()
    await api.schedule(message_id, scheduleTo=(now - timedelta(seconds=late)).isoformat())
    # Accepted after its time, it was due when it was accepted.
    (claimed,) = await api.context.store.claim([MessageId(message_id)], now)
    outcome = Outcome(
        kind=kind, started_at=now, sent_at=claimed.due_at + timedelta(seconds=late), finished_at=now, duration_ms=1.0
    )
    decision = Decision.DONE if kind is OutcomeKind.SUCCESS else Decision.BURY
    await api.context.store.settle(
        Settlement(claimed=claimed, decision=decision, outcome=outcome, reason=DeadReason.RETRIES_EXHAUSTED)
    )


async def test_activity_counts_attempts_and_failures_of_both_families_by_the_minute(api: Api) -> None:
    await attempt(api, "good", OutcomeKind.SUCCESS, 0.25)
    await attempt(api, "bad", OutcomeKind.FAILURE, 0.25)
    await api.context.store.drain()
    api.clock.move(120)
    job = await api.job()
    await api.webhook(job["id"])
    _, queued = await api.call("POST", f"/api/jobs/{job['id']}/run")
    await api.settle(queued["execution_ids"][0])
    await api.context.store.drain()

    status, answer = await api.call("GET", "/activity?minutes=4")

    assert status == 200
    assert [(row["deliveries"], row["failures"]) for row in answer["minutes"]] == [(0, 0), (2, 1), (0, 0), (1, 0)]
    assert [row["at"][:16] for row in answer["minutes"]] == [
        (api.clock.now() - timedelta(minutes=ago)).isoformat()[:16] for ago in (3, 2, 1, 0)
    ]
    late = [(row["latenessP50Ms"], row["latenessP99Ms"]) for row in answer["minutes"]]
    assert late[0] == late[2] == (None, None)
    assert late[1] == (pytest.approx(250, rel=0.05), pytest.approx(250, rel=0.05))
    assert late[3][0] is not None


async def test_activity_goes_on_over_midnight_and_its_keys_expire(api: Api) -> None:
    midnight = START.replace(hour=0, minute=0, second=0) + timedelta(days=1)
    api.clock.move((midnight - START).total_seconds() - 30)
    await attempt(api, "before", OutcomeKind.SUCCESS, 0)
    await api.context.store.drain()
    api.clock.move(60)
    await attempt(api, "after", OutcomeKind.TIMED_OUT, 0)

    _, answer = await api.call("GET", "/activity?minutes=1440")

    assert len(answer["minutes"]) == 1440
    assert [(row["deliveries"], row["failures"]) for row in answer["minutes"][-2:]] == [(1, 0), (1, 1)]
    assert not any(row["deliveries"] for row in answer["minutes"][:-2])
    redis = api.context.store._redis  # type: ignore[attr-defined]
    day = api.clock.now_ms() // 86_400_000
    for key in (keys.activity(day - 1), keys.activity(day)):
        assert await redis.ttl(key) > 90_000


@pytest.mark.parametrize("minutes", ["0", "1441", "x"])
async def test_activity_takes_a_minute_to_a_day(api: Api, minutes: str) -> None:
    status, answer = await api.call("GET", f"/activity?minutes={minutes}")
    assert (status, list(answer["errors"])) == (422, ["minutes"])


async def test_the_timeline_counts_what_falls_due_when(api: Api) -> None:
    for number, seconds in enumerate((-5, 0, 59.999, 60, 119, 180)):
        due_at = api.clock.now() + timedelta(seconds=seconds)
        await api.schedule(f"m{number}", scheduleTo=due_at.isoformat())
    begin = api.clock.now()
    api.clock.move(0.001)

    path = f"/messages/timeline?from={begin:%Y-%m-%dT%H:%M:%S}Z&to={begin + timedelta(minutes=3):%Y-%m-%dT%H:%M:%S}Z"
    status, answer = await api.call("GET", f"{path}&buckets=3")

    assert status == 200
    # Accepted after its time, the first was due when it was accepted.
    assert [bucket["count"] for bucket in answer["buckets"]] == [3, 2, 0]
    assert (answer["before"], answer["after"]) == (0, 1)
    assert answer["buckets"][1]["at"].startswith(f"{begin + timedelta(minutes=1):%Y-%m-%dT%H:%M:%S}")


async def test_the_timeline_counts_jobs_apart_and_what_is_overdue_before(api: Api) -> None:
    await api.job(schedule="0 * * * *")
    await api.schedule("overdue", scheduleTo="2020-01-01T00:00:00Z")
    api.clock.move(1)

    _, answer = await api.call("GET", "/messages/timeline")

    assert len(answer["buckets"]) == 60
    assert sum(bucket["jobs"] for bucket in answer["buckets"]) == 1
    assert sum(bucket["count"] for bucket in answer["buckets"]) == 0
    assert answer["before"] == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("buckets=0", "buckets"),
        ("buckets=501", "buckets"),
        ("from=2030-01-02&to=2030-01-01", "to"),
        ("from=2030-01-01T00:00:00Z&to=2030-01-01T00:00:00.010Z&buckets=11", "to"),
        ("from=tomorrow", "from"),
        ("from=9999-12-31T23:59:59Z", "to"),
    ],
)
async def test_a_timeline_that_is_none_is_refused(api: Api, query: str, field: str) -> None:
    status, answer = await api.call("GET", f"/messages/timeline?{query}")
    assert (status, list(answer["errors"])) == (422, [field])


async def test_new_routes_are_reserved_as_ids_and_an_old_message_of_that_name_can_be_deleted(make_api: MakeApi) -> None:
    api = await make_api()
    for name in ("timeline", "count"):
        status, answer = await api.call(
            "POST", "/messages", {"id": name, "delay": "1h", "payload": {}, "webhookUrl": "https://example.com/"}
        )
        assert (status, list(answer["errors"])) == (422, ["id"])
        redis = api.context.store._redis  # type: ignore[attr-defined]
        record = b'{"scheduleTo":"2030-01-01T00:00:00Z","payload":{},"webhookUrl":"https://example.com/"}'
        await redis.set(keys.record(name), record)
        (found,) = await api.context.store.examine([MessageId(name)])
        assert found.adopted
        status, answer = await api.call("POST", "/messages/bulk", {"prefix": name})
        assert (status, answer["messageIds"]) == (200, [name])
