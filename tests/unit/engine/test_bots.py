"""What bots may use of the service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import fakeredis

from aioscheduler.domain.execution import Outcome, OutcomeKind
from aioscheduler.engine.bots import MAX_REDIRECTS, BotHttp, BotMemory
from aioscheduler.engine.delivery import Request
from tests.support.clock import START, FakeClock
from tests.support.messages import outcome
from tests.support.stores import make_store


class Pages:
    """Answers by URL."""

    def __init__(self, answer: Callable[[str], Outcome]) -> None:
        self.requests: list[Request] = []
        self._answer = answer

    async def attempt(self, request: Request) -> Outcome:
        self.requests.append(request)
        return self._answer(request.target.url)


def page(status: int, **members: Any) -> Outcome:
    kind = OutcomeKind.SUCCESS if status < 300 else OutcomeKind.FAILURE
    return replace(outcome(kind, now=START), response_code=status, **members)


async def test_a_get_follows_redirects_and_gives_the_body() -> None:
    def answer(url: str) -> Outcome:
        if url.endswith("/people.csv"):
            return page(200, body=b"name\n")
        return page(302, location="/people.csv")

    pages = Pages(answer)
    reply = await BotHttp(pages, FakeClock()).get("http://a.invalid/export?x=1", max_bytes=100)
    assert (reply.ok, reply.body) == (True, b"name\n")
    assert [request.target.url for request in pages.requests] == [
        "http://a.invalid/export?x=1",
        "http://a.invalid/people.csv",
    ]
    assert {request.keep_bytes for request in pages.requests} == {100}
    assert {request.webhook_id for request in pages.requests} == {None}, "a visit is no webhook"


async def test_a_get_does_not_follow_redirects_for_ever() -> None:
    pages = Pages(lambda url: page(301, location=url + "x"))
    reply = await BotHttp(pages, FakeClock()).get("http://a.invalid/")
    assert (reply.status, reply.error) == (None, "more than 5 redirects")
    assert len(pages.requests) == MAX_REDIRECTS + 1


async def test_a_redirect_to_what_cannot_be_called_is_no_answer() -> None:
    reply = await BotHttp(Pages(lambda _: page(302, location="ftp://a.invalid/")), FakeClock()).get("http://a.invalid/")
    assert reply.status is None
    assert reply.error == "url: must be an absolute http:// or https:// URL"


async def test_a_redirect_to_what_is_no_url_breaks_nobody() -> None:
    pages = Pages(lambda _: page(302, location="http://["))
    reply = await BotHttp(pages, FakeClock()).get("http://a.invalid/")
    assert (reply.status, reply.error) == (None, "a redirect to what is no URL")


async def test_a_post_is_not_redirected_and_has_an_id_of_its_own() -> None:
    pages = Pages(lambda _: page(307, location="/elsewhere"))
    http = BotHttp(pages, FakeClock())
    replies = [await http.post("http://a.invalid/", b"{}", identity=who) for who in ("ana 2026", "ana 2026", "b")]
    assert [reply.status for reply in replies] == [307, 307, 307]
    first, second, third = (request.webhook_id for request in pages.requests)
    assert first == second != third
    assert first is not None
    assert first.startswith("bot_")
    assert "ana" not in first


async def test_memory_is_shared_and_changed_only_by_who_knows_what_stands_there() -> None:
    redis = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
    one, other = (BotMemory(make_store(redis, FakeClock(), replica), "robot") for replica in ("one", "two"))
    stranger = BotMemory(make_store(redis, FakeClock()), "another")
    assert await one.swap("a", None, "1")
    assert not await other.swap("a", None, "2")
    assert await other.swap("a", "1", "2")
    assert await one.read(["a", "b"]) == ["2", None]
    assert await one.read_all() == {"a": "2"}
    assert await stranger.read_all() == {}
    assert await one.swap("a", "2", None)
    assert await other.read_all() == {}
    await redis.aclose()
