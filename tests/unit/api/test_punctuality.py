from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from aioscheduler.domain.execution import Outcome, OutcomeKind
from aioscheduler.domain.message import MessageId
from aioscheduler.store.base import Decision, Settlement
from tests.unit.api.conftest import Api, MakeApi, token_of

NOTHING = {"deliveries": 0, "p50_ms": None, "p99_ms": None, "p999_ms": None, "worst_ms": None}


async def deliver(api: Api, *late_ms: float, host: str = "example.com") -> None:
    """Deliver messages, so late."""
    store, now = api.context.store, api.clock.now()
    ids = [MessageId(f"{host}-{n}") for n in range(len(late_ms))]
    for each in ids:
        await api.schedule(each, scheduleTo=now.isoformat(), webhookUrl=f"https://{host}/hook")
    claims = {each.message.id: each for each in await store.claim(ids, now)}
    ends = []
    for each, late in zip(ids, late_ms, strict=True):
        sent = claims[each].due_at + timedelta(milliseconds=late)
        outcome = Outcome(kind=OutcomeKind.SUCCESS, started_at=sent, finished_at=sent, duration_ms=1, response_code=200)
        ends.append(Settlement(claimed=claims[each], decision=Decision.DONE, outcome=outcome))
    await asyncio.gather(*map(store.settle, ends))
    await store.drain()


async def punctuality(api: Api) -> Any:
    status, answer = await api.call("GET", "/punctuality")
    assert status == 200
    return answer


async def test_before_the_first_delivery_there_is_nothing_to_tell(api: Api) -> None:
    answer = await punctuality(api)
    assert (answer["target_ms"], answer["breached"]) == (0, False)
    for window, begin in (
        ("minute", "2026-04-15T02:40:00+00:00"),
        ("hour", "2026-04-15T01:41:00+00:00"),
        ("day", "2026-04-14T02:41:00+00:00"),
    ):
        coarse = "2026-04-14T02:00:00+00:00" if window == "day" else begin
        assert answer[window] == {
            "from": begin,
            **NOTHING,
            "messages": NOTHING,
            "executions": NOTHING,
            "destinations": {"from": coarse, "by_worst": [], "by_p99": []},
        }


async def test_it_tells_percentiles_of_all_and_by_kind_and_destination(api: Api) -> None:
    await deliver(api, *[1.0] * 50, *[20.0] * 49, 300.0)
    await deliver(api, 40.0, host="other.org")
    job = await api.job()
    await api.webhook(job["id"])
    _, run = await api.call("POST", f"/api/jobs/{job['id']}/run")
    api.clock.move(0.5)
    await api.settle(run["execution_ids"][0])
    await api.context.store.drain()
    answer = await punctuality(api)
    for window in ("minute", "hour", "day"):
        told = answer[window]
        assert (told["deliveries"], told["worst_ms"]) == (102, 500)
        assert (told["messages"]["deliveries"], told["executions"]["deliveries"]) == (101, 1)
        assert told["messages"]["p50_ms"] == pytest.approx(20, rel=0.05)
        assert told["messages"]["p99_ms"] == pytest.approx(40, rel=0.05)
        assert told["messages"]["p999_ms"] == pytest.approx(300, rel=0.05)
        assert told["messages"]["worst_ms"] == 300
        assert told["executions"] == {"deliveries": 1} | dict.fromkeys(list(NOTHING)[1:], 500)
        worst, p99 = told["destinations"]["by_worst"], told["destinations"]["by_p99"]
        assert [(its["destination"], its["worst_ms"], its["deliveries"]) for its in worst] == [
            ("https://example.com:443", 500, 101),
            ("https://other.org:443", 40, 1),
        ]
        assert [its["p99_ms"] for its in p99] == [
            pytest.approx(300, rel=0.05),
            pytest.approx(40, rel=0.05),
        ]


async def test_one_outlier_leads_by_worst_and_not_by_p99_and_20_are_told(api: Api) -> None:
    await deliver(api, *[1.0] * 199, 900.0, host="outlier.org")
    for n in range(25):
        await deliver(api, 10.0 * (n + 1), host=f"h{n}.org")
    destinations = (await punctuality(api))["minute"]["destinations"]
    worst, p99 = ([its["destination"][8:-4] for its in destinations[by]] for by in ("by_worst", "by_p99"))
    assert worst == ["outlier.org", *(f"h{n}.org" for n in range(24, 5, -1))]
    assert p99 == [f"h{n}.org" for n in range(24, 4, -1)]


async def test_a_breach_shows_in_health_and_metrics_and_ends_with_its_minute(make_api: MakeApi) -> None:
    api = await make_api(punctuality_target_ms=100)
    await deliver(api, *[101.0] * 9)
    _, health = await api.call("GET", "/health/detailed")
    assert health["punctuality"] == {"target_ms": 100, "breached": False, "deliveries": 9, "p99_ms": 101.0}
    await deliver(api, 150.0, host="other.org")
    status, health = await api.call("GET", "/health/detailed")
    assert (status, health["status"], health["punctuality"]["breached"]) == (200, "healthy", True)
    assert (await punctuality(api))["breached"] is True
    assert await exposed(api, "aioscheduler_punctuality_breached") == 1
    api.clock.move(120)
    _, health = await api.call("GET", "/health/detailed")
    assert health["punctuality"] == {"target_ms": 100, "breached": False, "deliveries": 0, "p99_ms": None}
    assert (await punctuality(api))["breached"] is False
    assert await exposed(api, "aioscheduler_punctuality_breached") == 0
    assert await exposed(api, "aioscheduler_punctuality_target_seconds") == 0.1


async def exposed(api: Api, name: str) -> float:
    _, text = await api.call("GET", "/metrics", headers={"Accept": "text/plain"})
    (value,) = [line.rpartition(" ")[2] for line in text.decode().splitlines() if line.startswith(f"{name} ")]
    return float(value)


async def test_metrics_have_the_figures_of_all_windows(api: Api) -> None:
    await deliver(api, 2.0, 250.0)
    _, told = await api.call("GET", "/metrics")
    answer = await punctuality(api)
    assert told["punctuality"].keys() == {"target_ms", "breached", "minute", "hour", "day"}
    for window in ("minute", "hour", "day"):
        its = told["punctuality"][window]
        assert its == {name: answer[window][name] for name in its}
        assert its.keys() == {*NOTHING, "messages", "executions"}
        labels = f'kind="{{}}",window="{window}"'
        for kind in ("all", "message"):
            name = 'aioscheduler_punctuality_seconds{figure="worst",' + labels.format(kind) + "}"
            assert await exposed(api, name) == 0.25
        assert await exposed(api, f"aioscheduler_punctuality_deliveries{{{labels.format('execution')}}}") == 0


async def test_it_takes_the_token_of_the_whole_deployment(api: Api) -> None:
    assert (await api.call("GET", "/punctuality", token=""))[0] == 401
    assert (await api.call("GET", "/punctuality", token=token_of("123e4567-e89b-12d3-a456-426614174000")))[0] == 401
