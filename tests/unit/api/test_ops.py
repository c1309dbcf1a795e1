"""Health, metrics and the inbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from aioscheduler.api import health, ops, received
from aioscheduler.api.auth import Principal
from aioscheduler.api.ops import readable_duration, wants_text
from aioscheduler.domain.execution import ExecutionStatus
from aioscheduler.domain.job import BOTS, Owner
from aioscheduler.domain.punctuality import Lateness, Window
from aioscheduler.errors import Sentence, StoreUnavailable
from aioscheduler.store import keys
from aioscheduler.store.base import Counts, Punctuality, StoreReport
from aioscheduler.store.recurring import ExecutionCounts, JobCounts
from tests.support.clock import START
from tests.unit.api.conftest import Api, MakeApi

ONE, TWO, THREE = (Owner(f"{n}23e4567-e89b-12d3-a456-426614174abc") for n in range(1, 4))
ASK_FOR_TEXT = {"Accept": "text/plain"}


RISKS = [
    Sentence("maxmemory-policy is {policy}: a full store throws messages away. Set noeviction.", policy="allkeys-lru")
]


class CountingJobs:
    """Knows how many jobs and executions two accounts, all together and the bots have."""

    def __init__(self) -> None:
        self.jobs = {ONE: (3, 2), TWO: (10, 10), None: (40, 30), BOTS: (5, 1)}
        self.away = False

    async def job_counts(self, owner: Owner | None) -> JobCounts:
        if self.away:
            raise StoreUnavailable(Sentence("The store cannot be reached. Try again in a moment."))
        total, enabled = self.jobs.get(owner, (0, 0))
        return JobCounts(total=total, enabled=enabled)

    async def execution_counts(self, owner: Owner | None) -> ExecutionCounts:
        total, _ = self.jobs.get(owner, (0, 0))
        ended = {ExecutionStatus.SUCCESS: 3 * total, ExecutionStatus.TIMED_OUT: total, ExecutionStatus.SKIPPED: 1}
        return ExecutionCounts(
            queued=total, running=1, ended=ended if total else {}, duration_ms=20.0 * total, attempts=4 * total
        )


@pytest.fixture
def call_as(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes every caller one who may see the given accounts only."""

    def become(*accounts: Owner) -> None:
        who = Principal(caller="jwt", accounts=frozenset(accounts))
        monkeypatch.setattr(ops, "principal", lambda request: who)

    return become


class SlowStore:
    """Answers its counts when the test says so, and counts the questions."""

    kind = "redis"

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.questions = 0

    async def counts(self) -> Counts:
        self.questions += 1
        await self.may_answer.wait()
        return Counts(messages=self.questions, leased=0, dead=0, oldest_due_at=None)

    async def job_counts(self, owner: Owner | None) -> JobCounts:
        return JobCounts(total=0, enabled=0)

    async def punctuality(self, windows: Sequence[Window]) -> Mapping[Window, Punctuality]:
        await self.may_answer.wait()
        nothing = Punctuality(since=START, messages=Lateness(), executions=Lateness())
        return dict.fromkeys(windows, nothing)

    async def ping(self) -> None:
        await self.may_answer.wait()

    async def replicas(self) -> int:
        await self.may_answer.wait()
        return 1

    async def report(self) -> StoreReport:
        return StoreReport(kind="redis", version="7.0", persistence="none", used_memory_bytes=1, risks=RISKS)


async def test_health_says_that_all_is_well(api: Api) -> None:
    await api.schedule("m")
    api.clock.move(2 * 3600 + 34 * 60 + 12.9)
    assert await api.call("GET", "/health/", token="") == (
        200,
        {
            "status": "healthy",
            "service": "scheduler",
            "redis": "connected",
            "scheduler": "running",
            "store": "redis",
            "scheduled_jobs": 1,
            "uptime": "2h 34m 12s",
            "version": "1.2.3",
        },
    )


async def test_what_is_scheduled_are_messages_and_enabled_jobs_of_both_families(api: Api) -> None:
    jobs: Any = CountingJobs()
    api.context.jobs = jobs
    api.context.probe = health.StoreProbe(api.context.store, jobs)
    await api.schedule("m")
    for path in ("/health", "/health/detailed"):
        assert (await api.call("GET", path))[1]["scheduled_jobs"] == 1 + 30 + 1


async def test_the_health_of_bot_jobs_is_open_and_as_documented(api: Api) -> None:
    jobs: Any = CountingJobs()
    api.context.probe = health.StoreProbe(api.context.store, jobs)
    expected: dict[str, Any] = {
        "status": "healthy",
        "scheduler_running": True,
        "redis_connected": True,
        "total_jobs": 5,
        "enabled_jobs": 1,
    }
    assert await api.call("GET", "/scheduler/health", token="") == (200, expected)
    api.engine.running = False
    expected |= {"status": "unhealthy", "scheduler_running": False}
    assert await api.call("GET", "/scheduler/health", token="") == (503, expected)
    jobs.away = True
    expected |= {"redis_connected": False, "total_jobs": None, "enabled_jobs": None}
    assert await api.call("GET", "/scheduler/health", token="") == (503, expected)
    pt = {"Accept-Language": "pt"}
    assert (await api.call("GET", "/scheduler/health", None, pt))[1]["status"] == "não saudável"


async def test_health_says_which_part_is_down(api: Api) -> None:
    api.engine.running = False
    status, answer = await api.call("GET", "/health")
    assert (status, answer["status"], answer["redis"], answer["scheduler"]) == (
        503,
        "unhealthy",
        "connected",
        "stopped",
    )


async def test_detailed_health_shows_the_store_and_what_it_can_lose(make_api: MakeApi) -> None:
    store: Any = SlowStore()
    store.may_answer.set()
    api = await make_api(store=store)
    status, answer = await api.call("GET", "/health/detailed", token="")
    assert status == 200
    assert (answer["database"], answer["redis"], answer["scheduler_service"]) == ("connected", "connected", "running")
    assert answer["store"] == {
        "kind": "redis",
        "version": "7.0",
        "persistence": "none",
        "used_memory_bytes": 1,
        "risks": ["maxmemory-policy is allkeys-lru: a full store throws messages away. Set noeviction."],
    }
    _, answer = await api.call("GET", "/health/detailed", None, {"Accept-Language": "pt"})
    assert answer["store"]["risks"] == [
        "maxmemory-policy é allkeys-lru: um armazenamento cheio descarta mensagens. Defina noeviction."
    ]
    api.engine.listening = False
    status, answer = await api.call("GET", "/health/detailed")
    assert (status, answer["database"], answer["redis"]) == (503, "connected", "disconnected")


async def test_probes_of_a_silent_store_share_one_question_and_end(
    make_api: MakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PATIENCE", 0.05)
    store: Any = SlowStore()
    api = await make_api(store=store)
    answers = await asyncio.gather(*(api.call("GET", "/health") for _ in range(5)))
    assert {(status, answer["redis"], answer["scheduled_jobs"]) for status, answer in answers} == {
        (503, "disconnected", None)
    }
    assert store.questions == 1
    status, answer = await api.call("GET", "/health/detailed")
    assert (status, answer["database"], answer["store"], answer["punctuality"]) == (503, "disconnected", None, None)
    assert answer["replicas"] is None


async def test_health_tells_the_zone_the_worker_and_how_many_replicas_live(make_api: MakeApi) -> None:
    api = await make_api(zone=ZoneInfo("America/Sao_Paulo"), worker=2)
    store = api.context.store
    await store.heartbeat()
    # One that nobody has found dead yet.
    await store._redis.sadd(keys.REPLICAS, "gone")  # type: ignore[attr-defined]
    _, answer = await api.call("GET", "/health/detailed", token="")
    assert (answer["timezone"], answer["worker"], answer["replicas"]) == ("America/Sao_Paulo", 2, 1)


async def test_each_probe_that_comes_alone_asks_the_store_anew(make_api: MakeApi) -> None:
    store: Any = SlowStore()
    store.may_answer.set()
    api = await make_api(store=store)
    answers = [await api.call("GET", "/health") for _ in range(2)]
    assert [answer["scheduled_jobs"] for _, answer in answers] == [1, 2]


def test_durations_read_as_hours_minutes_and_seconds() -> None:
    assert [readable_duration(seconds) for seconds in (0.9, 61, 3600 * 50)] == ["0h 0m 0s", "0h 1m 1s", "50h 0m 0s"]


async def test_metrics_are_json_by_default(api: Api) -> None:
    await api.schedule("m")
    await api.bury("x")
    api.clock.move(5)
    status, answer = await api.call("GET", "/metrics", None, {"Accept": "application/json, text/plain, */*"})
    assert (status, answer["timestamp"]) == (200, "2026-04-15T02:41:50.000Z")
    messages = answer["messages"]
    expected = {"scheduled": 2, "pending": 1, "dead": 1, "dead_letter": 1, "success_rate": 0.0, "avg_duration_ms": 12.5}
    assert {name: messages[name] for name in expected} == expected


async def test_metrics_tell_of_all_accounts_and_of_the_bots_apart(api: Api) -> None:
    jobs: Any = CountingJobs()
    api.context.jobs = jobs
    status, answer = await api.call("GET", "/metrics")
    assert status == 200
    assert answer.keys() == {"timestamp", "jobs", "executions", "messages", "bot_jobs", "audit", "punctuality"}
    assert answer["jobs"] == {"total": 40, "enabled": 30, "disabled": 10}
    assert answer["executions"] == {
        "total": 201,
        "queued": 40,
        "running": 1,
        "success": 120,
        "failure": 0,
        "timed_out": 40,
        "dead_letter": 0,
        "skipped": 1,
        "success_rate": 75.0,
        "avg_duration_ms": 5.0,
    }
    assert answer["bot_jobs"] == {
        "total": 5,
        "enabled": 1,
        "disabled": 4,
        "runs": {
            "total": 26,
            "queued": 5,
            "running": 1,
            "success": 15,
            "failed": 5,
            "skipped": 1,
            "success_rate": 75.0,
            "avg_duration_ms": 5.0,
        },
    }


async def test_an_account_reads_what_its_own_accounts_have_together_and_nothing_else(
    api: Api, call_as: Callable[..., None]
) -> None:
    jobs: Any = CountingJobs()
    api.context.jobs = jobs
    await api.schedule("m")
    call_as(ONE, TWO)
    status, answer = await api.call("GET", "/metrics")
    assert status == 200
    assert answer.keys() == {"timestamp", "jobs", "executions"}
    assert answer["jobs"] == {"total": 13, "enabled": 12, "disabled": 1}
    executions = answer["executions"]
    assert (executions["total"], executions["queued"], executions["running"]) == (67, 13, 2)
    assert (executions["success"], executions["timed_out"], executions["skipped"]) == (39, 13, 2)
    assert (executions["success_rate"], executions["avg_duration_ms"]) == (75.0, 5.0)


async def test_an_account_that_has_nothing_reads_zeros_and_no_rates(api: Api, call_as: Callable[..., None]) -> None:
    call_as(THREE)
    await api.bury("x")
    status, answer = await api.call("GET", "/metrics")
    assert status == 200
    assert answer["jobs"] == {"total": 0, "enabled": 0, "disabled": 0}
    assert {
        value for name, value in answer["executions"].items() if name not in ("success_rate", "avg_duration_ms")
    } == {0}
    assert (answer["executions"]["success_rate"], answer["executions"]["avg_duration_ms"]) == (None, None)


async def test_the_deployments_metrics_are_not_for_accounts(api: Api, call_as: Callable[..., None]) -> None:
    call_as(ONE)
    status, answer = await api.call("GET", "/metrics", None, ASK_FOR_TEXT)
    assert (status, answer["error_code"]) == (403, "FORBIDDEN")
    assert "API_TOKEN" in answer["detail"]


async def test_metrics_as_json_need_the_store(api: Api) -> None:
    jobs: Any = CountingJobs()
    jobs.away = True
    api.context.jobs = jobs
    assert (await api.call("GET", "/metrics"))[0] == 503


async def test_prometheus_reads_that_the_store_is_away(api: Api) -> None:
    jobs: Any = CountingJobs()
    jobs.away = True
    api.context.jobs = jobs
    api.engine.store_risks = 2
    status, text = await api.call("GET", "/metrics", None, ASK_FOR_TEXT)
    assert status == 200
    lines = text.decode().splitlines()
    assert "aioscheduler_store_up 0.0" in lines
    assert "aioscheduler_store_risks 2.0" in lines
    assert not [line for line in lines if line.startswith("aioscheduler_jobs")]


async def test_prometheus_reads_of_jobs_by_family(api: Api) -> None:
    jobs: Any = CountingJobs()
    api.context.jobs = jobs
    _, text = await api.call("GET", "/metrics", None, ASK_FOR_TEXT)
    lines = text.decode().splitlines()
    for line in (
        'aioscheduler_jobs{family="account",state="disabled"} 10.0',
        'aioscheduler_jobs{family="bot",state="enabled"} 1.0',
        'aioscheduler_executions_queued{family="account"} 40.0',
        'aioscheduler_executions_queued{family="bot"} 5.0',
    ):
        assert line in lines


@pytest.mark.parametrize(
    ("accept", "parse", "kind"),
    [
        ("text/plain", parse_text, "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            parse_openmetrics,
            "application/openmetrics-text; version=1.0.0",
        ),
    ],
)
async def test_prometheus_reads_the_metrics(api: Api, accept: str, parse: Any, kind: str) -> None:
    await api.bury("x")
    status, text = await api.call("GET", "/metrics", None, {"Accept": accept})
    assert status == 200
    assert api.last_headers["Content-Type"].startswith(kind)
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text.decode())
        for sample in family.samples
    }
    assert samples["aioscheduler_store_up", ()] == 1
    assert samples["aioscheduler_messages_scheduled_total", ()] == 1
    assert samples["aioscheduler_deliveries_total", (("kind", "message"), ("outcome", "dead_letter"))] == 1
    assert samples["aioscheduler_delivery_duration_seconds_count", ()] == 1
    assert samples["aioscheduler_delivery_duration_seconds_bucket", (("le", "0.025"),)] == 1
    assert samples["aioscheduler_delivery_duration_seconds_bucket", (("le", "0.01"),)] == 0
    assert samples["aioscheduler_dead_letters", ()] == 1
    assert samples["aioscheduler_build_info", (("version", "1.2.3"),)] == 1


@pytest.mark.parametrize(
    ("accept", "text"),
    [
        ("", False),
        ("*/*", False),
        ("text/html, */*", False),
        ("application/json;q=0.5, text/plain", True),
        ("text/plain;q=0", False),
        ("text/plain;q=x", False),
        ("Text/Plain; version=0.0.4", True),
    ],
)
def test_text_is_answered_only_to_who_prefers_it(accept: str, text: bool) -> None:
    assert wants_text(accept) is text


async def test_the_inbox_keeps_what_it_got_with_its_lateness(api: Api) -> None:
    headers = {
        "X-Scheduler-Message-Id": "caf%C3%A9",
        "X-Scheduler-Attempt": "1",
        "X-Scheduler-Scheduled-For": "2026-04-15T02:41:44.988Z",
        "X-Other": "v",
    }
    assert await api.call("POST", "/inbox/a/b%20c", b'{"n": 1e2}', headers) == (200, {"status": "received"})
    await api.call("POST", "/inbox/second", b"no JSON \xff", headers | {"X-Scheduler-Attempt": "2"}, token="")
    status, answer = await api.call("GET", "/inbox")
    assert (status, answer["count"]) == (200, 2)
    second, first = answer["requests"]
    assert (first["path"], first["body"], first["messageId"], first["attempt"]) == (
        "/inbox/a/b%20c",
        {"n": 100.0},
        "café",
        1,
    )
    assert (first["latenessMs"], first["receivedAt"]) == (12.0, "2026-04-15T02:41:45+00:00")
    assert first["headers"]["X-Other"] == "v"
    assert "authorization" not in {name.lower() for name in first["headers"]}
    assert (second["body"], second["latenessMs"]) == ("no JSON �", None)
    assert (await api.call("GET", "/inbox", token=""))[0] == 401
    assert (await api.call("DELETE", "/inbox"))[1] == {"status": "deleted", "deleted": 2}
    assert (await api.call("GET", "/inbox"))[1]["requests"] == []


async def test_the_inbox_is_bounded(api: Api) -> None:
    for number in range(received.KEPT_REQUESTS + 3):
        await api.call("POST", f"/inbox/{number}", b"x" * (received.KEPT_BYTES + 1) if number == 50 else b"{}")
    _, answer = await api.call("GET", "/inbox")
    assert answer["count"] == received.KEPT_REQUESTS
    assert [answer["requests"][0]["path"], answer["requests"][-1]["path"]] == ["/inbox/102", "/inbox/3"]
    cut = answer["requests"][102 - 50]
    assert (cut["truncated"], len(cut["body"])) == (True, received.KEPT_BYTES)


async def test_the_inbox_may_be_off(make_api: MakeApi) -> None:
    api = await make_api(inbox="false")
    for method, path in (("POST", "/inbox/x"), ("GET", "/inbox"), ("DELETE", "/inbox")):
        assert (await api.call(method, path))[0] == 404


async def test_strangers_may_write_to_an_open_inbox_only(make_api: MakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioscheduler.api.inbox._is_local", lambda request: False)
    assert (await (await make_api()).call("POST", "/inbox/x"))[1]["error_code"] == "FORBIDDEN"
    assert (await (await make_api(inbox="open")).call("POST", "/inbox/x"))[0] == 200
