"""What a bot's run is given in tests: an HTTP that answers from a script, a memory in a dict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import orjson

from aioscheduler.bots.base import Bot, BotRun, Reply
from aioscheduler.errors import Sentence, StoreUnavailable
from tests.support.clock import START, FakeClock


@dataclass
class Posted:
    """What a bot sent."""

    url: str
    body: Any
    identity: str
    timeout_seconds: float


@dataclass
class FakeHttp:
    """Answers every GET from ``pages`` (404 for others), every POST as ``answer`` says."""

    pages: dict[str, Reply] = field(default_factory=dict)
    answer: Callable[[Posted], Reply] = lambda _: Reply(status=200)
    visits: list[str] = field(default_factory=list)
    posts: list[Posted] = field(default_factory=list)
    #: Set while nothing is to be answered.
    hangs: bool = False
    on_visit: Callable[[str], None] = lambda _: None

    async def get(self, url: str, *, max_bytes: int = 65_536, timeout_seconds: float = 30) -> Reply:
        self.visits.append(url)
        self.on_visit(url)
        await self._wait()
        page = self.pages.get(url, Reply(status=404))
        return Reply(status=page.status, body=page.body[:max_bytes], error=page.error)

    async def post(self, url: str, body: bytes, *, identity: str, timeout_seconds: float = 30) -> Reply:
        posted = Posted(url, orjson.loads(body), identity, timeout_seconds)
        self.posts.append(posted)
        await self._wait()
        return self.answer(posted)

    async def _wait(self) -> None:
        await asyncio.sleep(0)
        if self.hangs:
            await asyncio.Event().wait()


@dataclass
class FakeMemory:
    """Remembers. ``outage`` counts how many swaps from now on find the store away."""

    texts: dict[str, str] = field(default_factory=dict)
    outage: int = 0
    reads: int = 0

    async def read(self, keys: Sequence[str]) -> Sequence[str | None]:
        await asyncio.sleep(0)
        self.reads += 1
        return [self.texts.get(key) for key in keys]

    async def read_all(self) -> Mapping[str, str]:
        await asyncio.sleep(0)
        self.reads += 1
        return dict(self.texts)

    async def swap(self, key: str, old: str | None, new: str | None) -> bool:
        await asyncio.sleep(0)
        if self.outage:
            self.outage -= 1
            raise StoreUnavailable(Sentence("away"))
        if self.texts.get(key) != old:
            return False
        if new is None:
            self.texts.pop(key, None)
        else:
            self.texts[key] = new
        return True


def bot_run(
    bot: Bot,
    http: FakeHttp,
    memory: FakeMemory,
    clock: FakeClock | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    zone: tzinfo = UTC,
    scheduled_for: datetime = START,
    time_limit: timedelta = timedelta(minutes=15),
) -> BotRun:
    """Return a run of ``bot`` whose job has this ``bot_config``."""
    return BotRun(
        job_id="018f0000-0000-7000-8000-000000000001",
        job_name="Greetings",
        config=bot.check(config or {}),
        zone=zone,
        scheduled_for=scheduled_for,
        clock=clock or FakeClock(),
        http=http,
        memory=memory,
        time_limit=time_limit,
    )
