from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import ClientError
from structlog.testing import capture_logs

from aioscheduler.api import events, feed
from aioscheduler.api.feed import Follower, Kind
from aioscheduler.domain.message import MessageId
from aioscheduler.store import keys, lists
from tests.support.clock import START
from tests.support.events import Events
from tests.unit.api.conftest import TOKEN, Api, MakeApi, token_of


class Source:
    """Tells of changes when a test does."""

    on_change: Any = None


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "_PAUSE", 0.005)
    monkeypatch.setattr(feed, "_OVERVIEW_PAUSE", 0.005)


@asynccontextmanager
async def following(api: Api, query: str = "", **headers: str) -> AsyncIterator[Events]:
    authorization = {"Authorization": f"Bearer {TOKEN}"}
    async with api.client.get(f"/events{query}", headers=authorization | headers) as response:
        yield Events(response)


async def stopped(api: Api) -> None:
    """Return once nobody follows any more."""
    async with asyncio.timeout(30):
        while api.context.feed._task is not None:
            await asyncio.sleep(0.002)


async def test_a_delivery_is_told_as_the_log_tells_it_in_the_clients_language(api: Api) -> None:
    await api.bury("before")
    async with (
        following(api, "?kinds=delivery") as english,
        following(api, "?kinds=delivery", **{"Accept-Language": "pt"}) as portuguese,
    ):
        await api.bury("x/1")
        told, other = await english.of("delivery"), await portuguese.of("delivery")
        _, log = await api.call("GET", "/deliveries?limit=1")
        assert told.data == log["deliveries"][0]
        assert told.id == told.data["id"]
        assert told.data["messageId"] == "x/1"
        _, log = await api.call("GET", "/deliveries?limit=1", headers={"Accept-Language": "pt"})
        assert other.data == log["deliveries"][0] != told.data


async def test_whoever_comes_back_gets_what_was_missed_and_is_told_how_much_more(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c", "d"):
        await api.bury(name)
    _, log = await api.call("GET", "/deliveries")
    first = log["deliveries"][-1]["id"]
    async with following(api, "?kinds=delivery", **{"Last-Event-ID": first}) as stream:
        assert [(await stream.of("delivery")).data["messageId"] for _ in range(3)] == ["b", "c", "d"]
        await api.bury("e")
        assert (await stream.of("delivery")).data["messageId"] == "e", "and goes on from there"
    monkeypatch.setattr(feed, "MOST_MISSED", 2)
    async with following(api, "?kinds=delivery", **{"Last-Event-ID": first}) as stream:
        event = await stream.next()
        assert event is not None
        assert (event.name, event.data) == ("missed", {"count": 2})
        assert [(await stream.of("delivery")).data["messageId"] for _ in range(2)] == ["d", "e"]
    async with following(api, "?kinds=delivery", **{"Last-Event-ID": "nonsense"}) as stream:
        await api.bury("f")
        assert (await stream.of("delivery")).data["messageId"] == "f"


async def test_more_than_a_look_can_tell_is_counted_as_missed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "_MOST_LINES", 2)
    async with following(api, "?kinds=delivery") as stream:
        hold = api.context.feed._task
        assert hold is not None
        look, looked = api.context.feed._look, asyncio.Event()

        async def look_and_rest() -> None:
            await look()
            monkeypatch.setattr(feed, "_PAUSE", 60)
            looked.set()

        monkeypatch.setattr(api.context.feed, "_look", look_and_rest)
        await looked.wait()
        for name in ("a", "b", "c", "d", "e"):
            await api.bury(name)
        api.context.feed._wake.set()
        event = await stream.next()
        assert event is not None
        assert (event.name, event.data) == ("missed", {"count": 3})
        assert [(await stream.of("delivery")).data["messageId"] for _ in range(2)] == ["d", "e"]
        monkeypatch.undo()
        api.context.feed._wake.set()


async def test_nothing_is_told_twice_when_the_reader_before_has_not_heard_that_it_is_over(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancellation can get lost on its way through a call of the store."""
    monkeypatch.setattr(events, "HEARTBEAT", 0.01)
    since = api.context.store.deliveries_since
    lost, asked = asyncio.Event(), asyncio.Event()

    async def deaf(*args: Any) -> Any:
        asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            monkeypatch.setattr(api.context.store, "deliveries_since", since)
            lost.set()
        return await since(*args)

    monkeypatch.setattr(api.context.store, "deliveries_since", deaf)
    async with following(api, "?kinds=delivery"):
        await asked.wait()
    await lost.wait()
    async with following(api, "?kinds=delivery") as stream:
        for name in ("a", "b", "c"):
            await api.bury(name)
        assert [(await stream.of("delivery")).data["messageId"] for _ in range(3)] == ["a", "b", "c"]
        assert sum(task.get_name() == "feed" for task in asyncio.all_tasks()) == 1


async def test_what_became_of_a_message_is_told(api: Api) -> None:
    source = api.context.feed.source = Source()
    async with following(api, "?kinds=message,job") as stream:
        await api.bury("buried")
        await api.bury("answered")
        await api.context.store.discard(MessageId("answered"))
        api.context.feed._delivered["answered"] = None
        for name, gone in (("new", False), ("buried", True), ("answered", True), ("deleted", True)):
            source.on_change.message(MessageId(name), gone=gone)
        source.on_change.job("j1", gone=False)
        source.on_change.job("j2", gone=True)
        told = [await stream.next() for _ in range(6)]
        assert [(event.name, event.data["id"], event.data["change"]) for event in told if event] == [
            ("message", "new", "scheduled"),
            ("message", "buried", "dead"),
            ("message", "answered", "delivered"),
            ("message", "deleted", "deleted"),
            ("job", "j1", "changed"),
            ("job", "j2", "deleted"),
        ]


async def test_a_dead_letter_that_is_none_any_more_is_told(api: Api) -> None:
    for name in ("before", "by hand", "replayed", "bulk-1", "bulk-2"):
        await api.bury(name)
    await api.call("DELETE", "/dead-letters/before")
    async with following(api, "?kinds=letter") as stream:
        await api.call("DELETE", "/dead-letters/by%20hand")
        await api.call("POST", "/dead-letters/replayed/replay")
        await api.call("POST", "/dead-letters/discard?prefix=bulk")
        told = [await stream.of("letter") for _ in range(4)]
        assert [(event.data["id"], event.data["change"]) for event in told] == [
            ("by hand", "deleted"),
            ("replayed", "replayed"),
            ("bulk-1", "deleted"),
            ("bulk-2", "deleted"),
        ]


async def test_letters_that_no_look_can_tell_are_counted(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "_MOST_LINES", 2)
    for number in range(5):
        await api.bury(f"bulk-{number}")
    async with following(api, "?kinds=letter") as stream:
        await api.call("POST", "/dead-letters/discard?all=true")
        event = await stream.next()
        assert event is not None
        assert (event.name, event.data) == ("missed", {"count": 3})
        assert len({(await stream.of("letter")).data["id"] for _ in range(2)}) == 2


async def test_the_source_is_asked_only_while_somebody_follows(api: Api) -> None:
    source = api.context.feed.source = Source()
    async with following(api), following(api):
        assert source.on_change is api.context.feed
    await stopped(api)
    assert source.on_change is None
    assert api.context.feed._followers == []


async def test_an_overview_comes_at_once_and_again_when_something_changed(api: Api) -> None:
    await api.schedule("overdue", scheduleTo="2020-01-01T00:00:00Z")
    due_at = START + timedelta(hours=1)
    await api.schedule("next", scheduleTo=due_at.isoformat())
    job = await api.job(schedule="0 5 * * *")
    await api.bury("dead")
    api.clock.move(3)
    async with following(api, "?kinds=overview") as stream:
        first = await stream.of("overview")
        assert first.data == {
            "at": "2026-04-15T02:41:48+00:00",
            "pending": 2,
            "delivering": 0,
            "retrying": 0,
            "dead": 1,
            "oldestOverdueSeconds": 3.0,
            "nextDue": {"messageId": "next", "at": due_at.isoformat()},
            "nextJob": {"jobId": job["id"], "at": "2026-04-15T05:00:00+00:00"},
        }
        async with following(api, "?kinds=overview") as other:
            assert (await other.of("overview")).data == first.data, "also for whoever comes later"
        await api.call("DELETE", "/messages/next")
        second = await stream.of("overview")
        assert (second.data["pending"], second.data["nextDue"]) == (1, None), "nothing was told in between"


async def test_how_many_wait_for_a_retry_is_counted_or_estimated(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    redis = api.context.store._redis  # type: ignore[attr-defined]
    states = {f"m{number}": f"1 {number % 2} - - - " for number in range(20)}
    await redis.hset(keys.STATE, mapping=states)
    await redis.hset(keys.LEASED, "m1", "x")
    overview = await api.context.store.overview(api.clock.now())
    assert overview.retrying == 9, "one is being attempted"
    monkeypatch.setattr(lists, "_MOST_STATES", 19)
    overview = await api.context.store.overview(api.clock.now())
    assert overview.retrying in (8, 9, 10, 11), "19 of 20 were looked at"


async def test_only_so_many_may_follow(make_api: MakeApi) -> None:
    api = await make_api(event_clients=1)
    async with following(api):
        status, answer = await api.call("GET", "/events")
        assert (status, answer["error_code"]) == (429, "RATE_LIMITED")
        assert "EVENT_CLIENTS" in answer["detail"]
        assert api.last_headers["Retry-After"] == "10"
    await stopped(api)
    async with following(api):
        pass


async def test_events_are_for_the_operator(api: Api) -> None:
    assert (await api.call("GET", "/events", token=""))[0] == 401
    status, answer = await api.call("GET", "/events", token=token_of("123e4567-e89b-12d3-a456-426614174000"))
    assert (status, answer["error_code"]) == (403, "FORBIDDEN")
    status, answer = await api.call("GET", "/events?kinds=delivery,weather")
    assert (status, list(answer["errors"])) == (400, ["kinds"])
    service = token_of(role="service_role")
    async with api.client.get("/events", headers={"Authorization": f"Bearer {service}"}) as response:
        assert response.status == 200
        assert response.headers["X-Accel-Buffering"] == "no"
        assert response.headers["X-Request-ID"]
    assert (await api.call("HEAD", "/events"))[0] == 200
    await stopped(api)


async def test_a_quiet_stream_has_heartbeats(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", 0.005)
    async with following(api, "?kinds=job") as stream:
        reading = asyncio.create_task(stream.next())
        async with asyncio.timeout(30):
            while stream.heartbeats < 2:
                await asyncio.sleep(0.002)
        assert not reading.done()
        reading.cancel()


async def test_streams_end_at_once_when_the_service_stops(api: Api) -> None:
    async with following(api, "?kinds=job") as stream:
        api.context.feed.close()
        assert await stream.next() is None
    async with following(api, "?kinds=job") as late:
        assert await late.next() is None, "and those that come in that moment, too"


async def test_a_store_that_is_away_for_a_while_ends_no_stream(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async with following(api, "?kinds=delivery") as stream:
        look, failed = api.context.feed._look, asyncio.Event()

        async def broken() -> None:
            failed.set()
            raise ValueError("a fault of ours")

        monkeypatch.setattr(api.context.feed, "_look", broken)
        await failed.wait()
        monkeypatch.setattr(api.context.feed, "_look", look)
        await api.bury("x")
        assert (await stream.of("delivery")).data["messageId"] == "x"


class Wire:
    """A connection that counts how often it was cut."""

    def __init__(self) -> None:
        self.cut = 0

    def is_closing(self) -> bool:
        return self.cut > 0

    def abort(self) -> None:
        self.cut += 1


async def test_a_slow_client_loses_the_oldest_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "QUEUE", 3)
    follower = Follower(frozenset(Kind), "en", None)
    for number in range(5):
        follower.push(b"%d;" % number)
    follower.lose(4)
    assert await follower.take(8) == b'event: missed\ndata: {"count":6}\n\n2;3;4;'
    assert await follower.take(0.001) == b":\n\n"


async def test_what_leaves_together_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    follower = Follower(frozenset(Kind), "en", None)
    for _ in range(3):
        follower.push(bytes(40_000))
    assert [len(await follower.take(8)) for _ in range(2)] == [80_000, 40_000]


@pytest.mark.parametrize("writing", [True, False])
async def test_a_stream_that_is_not_read_is_cut_when_it_ends(writing: bool) -> None:
    wire = Wire()
    follower = Follower(frozenset(Kind), "en", wire)
    follower.writing = writing
    follower.close()
    assert (follower.closed, wire.cut) == (True, int(writing)), "one that waits for events ends by itself"
    assert await follower.take(8)


async def test_a_client_that_went_away_makes_room(make_api: MakeApi) -> None:
    api = await make_api()
    wire = Wire()
    follower = Follower(frozenset({Kind.JOB}), "en", wire)
    async with api.context.feed.following(follower, None), asyncio.timeout(30):
        await asyncio.sleep(0.02)
        assert not follower.closed
        wire.cut = 1  # by the client
        while not follower.closed:
            await asyncio.sleep(0.002)


async def test_a_client_that_went_away_before_its_stream_began_is_no_fault(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking the store where the log ends takes a while."""
    asked, gone = asyncio.Event(), asyncio.Event()
    newest = api.context.store.newest_delivery

    async def slow() -> str:
        asked.set()
        await gone.wait()
        return await newest()

    monkeypatch.setattr(api.context.store, "newest_delivery", slow)
    request = f"GET /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    _, writer = await asyncio.open_connection(api.client.host, api.client.port)
    writer.write(request.encode())
    await asyncio.wait_for(asked.wait(), 8)
    writer.transport.abort()
    (follower,) = api.context.feed._followers
    async with asyncio.timeout(8):
        while not follower.gone:
            await asyncio.sleep(0.002)
    with capture_logs() as logs:
        gone.set()
        async with asyncio.timeout(8):
            while api.context.feed._followers:
                await asyncio.sleep(0.002)
    assert "request_failed" not in [line["action"] for line in logs]


async def test_a_client_that_does_not_read_is_cut_after_a_while(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PATIENCE", 0.05)
    async with following(api, "?kinds=job") as stream:
        (follower,) = api.context.feed._followers
        for _ in range(64):
            follower.push(bytes(1 << 20))
        await stopped(api)
        with pytest.raises(ClientError):
            await stream._response.read()


async def test_a_client_that_does_not_read_does_not_hold_up_a_stop(api: Api) -> None:
    async with following(api, "?kinds=job"):
        (follower,) = api.context.feed._followers
        for _ in range(64):
            follower.push(bytes(1 << 20))
        async with asyncio.timeout(30):
            while not follower.writing or follower.closed:
                await asyncio.sleep(0.002)
            await asyncio.sleep(0.05)  # until the buffers are full; were they not, nothing would be held up
            api.context.feed.close()
            while api.context.feed._followers:
                await asyncio.sleep(0.002)
