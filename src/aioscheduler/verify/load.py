"""The load: what clients do with messages, with due times all through the run.

Each client cares for an id or a few and makes one call about them after the other; what it does next does not depend
on luck with the answers, but for a create that is tried again.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final
from urllib.parse import quote

from aioscheduler.verify.client import LIMIT, Client, instant, unanswered
from aioscheduler.verify.ledger import Call, Op, Temper

#: Of every attempt, in seconds, and of the fixed back-off between two.
ATTEMPT_LIMIT, BACKOFF = 1, 0.5
#: Seconds ahead that messages are due at most.
_HORIZON = 12.0
#: Seconds before the end from which on nothing new begins.
_LAST = 1.0
_TRIES, _PAUSE = 3, 0.5
_TEMPERS: Final = (Temper.QUICK,) * 5 + (Temper.SLOW, Temper.FAILING, Temper.FAILING, Temper.HANGING, Temper.DROPPING)


class Load:
    """Some hundred clients over ``seconds``, ``rate`` messages a second between them."""

    def __init__(self, client: Client, url: Callable[[Temper], str], *, rate: float, seconds: float, seed: int) -> None:
        self._client = client
        self._url = url
        self._rate = rate
        self._seconds = seconds
        self._chance = random.Random(f"load {seed}")
        self._tags = itertools.count(1)
        self._ends_ms = 0.0

    async def run(self) -> None:
        """Return when all clients are done, some seconds late if one got no answer."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._ends_ms = _now_ms() + self._seconds * 1000
        kinds: dict[Callable[[int], Coroutine[Any, Any, None]], tuple[int, int]] = {
            self._plain: (56, 1),
            self._replaced: (18, 1),
            self._deleted: (14, 1),
            self._again: (6, 1),
            self._reminders: (6, 3),
        }
        shares = [share for share, _ in kinds.values()]
        messages = 0
        async with asyncio.TaskGroup() as group:
            for number in itertools.count(1):
                (kind,) = self._chance.choices(list(kinds), shares)
                at = messages / self._rate
                if at >= self._seconds - _LAST:
                    break
                messages += kinds[kind][1]
                await asyncio.sleep(began + at - loop.time())
                group.create_task(kind(number))

    # -- the clients ------------------------------------------------------------------------------------------------

    async def _plain(self, number: int) -> None:
        await self._create(f"order-{number}", self._due_ms())

    async def _replaced(self, number: int) -> None:
        id_ = f"order/{number}"
        due_ms = self._due_ms()
        await self._create(id_, due_ms)
        for _ in range(self._chance.choice((1, 1, 2))):
            await self._until(self._around(due_ms))
            due_ms = self._due_ms()
            await self._replace(id_, due_ms)

    async def _deleted(self, number: int) -> None:
        id_ = f"order {number}"
        due_ms = self._due_ms()
        await self._create(id_, due_ms)
        await self._until(self._around(due_ms))
        await self._surely(lambda: self._client.tell(Op.DELETE, id_, "DELETE", f"/messages/{quote(id_, safe='')}"))

    async def _again(self, number: int) -> None:
        """Use an id again when its message is gone, or nearly."""
        id_ = f"order-{number}-again"
        due_ms = self._due_ms()
        await self._create(id_, due_ms)
        await self._until(due_ms + self._chance.uniform(0, 1500))
        await self._create(id_, self._due_ms())

    async def _reminders(self, number: int) -> None:
        """Three reminders of one appointment, called off together."""
        prefix = f"{number}_55119{number:08d}_"
        due_ms = self._due_ms()
        for hours in (2, 12, 24):
            await self._create(f"{prefix}{hours}h", due_ms)
            due_ms = min(due_ms + self._chance.randint(0, 2000), round(self._ends_ms))
        await self._until(self._around(due_ms))
        path = f"/messages/bulk?prefix={quote(prefix, safe='')}"
        await self._surely(lambda: self._client.tell(Op.BULK_DELETE, prefix, "DELETE", path))

    # -- the calls --------------------------------------------------------------------------------------------------

    async def _create(self, id_: str, due_ms: int) -> None:
        temper, attempts, tag = self._chance.choice(_TEMPERS), self._chance.choice((2, 3, 4)), self._tag()
        for _ in range(_TRIES):
            call = await self._write(Op.CREATE, "POST", "/messages", id_, due_ms, temper, attempts, tag)
            # Once it may have been delivered, a second create of the same would be another message.
            if not unanswered(call) or _now_ms() + (LIMIT + _PAUSE + 1) * 1000 > due_ms:
                return
            await asyncio.sleep(_PAUSE)

    async def _replace(self, id_: str, due_ms: int) -> None:
        temper, attempts, tag = self._chance.choice(_TEMPERS), self._chance.choice((2, 3, 4)), self._tag()
        method, path = "PUT", f"/messages/{quote(id_, safe='')}"
        if self._chance.random() < 0.3:
            method, path = "POST", "/messages?upsert=true"
        await self._write(Op.REPLACE, method, path, id_, due_ms, temper, attempts, tag)

    async def _write(
        self, op: Op, method: str, path: str, id_: str, due_ms: int, temper: Temper, attempts: int, tag: str
    ) -> Call:
        body = {
            "scheduleTo": instant(due_ms),
            "payload": {"tag": tag},
            "webhookUrl": self._url(temper),
            "timeoutSeconds": ATTEMPT_LIMIT,
            "retry": {"maxAttempts": attempts, "backoffSeconds": BACKOFF, "backoffType": "fixed"},
        }
        if method == "POST":
            body["id"] = id_
        call, _ = await self._client.tell(
            op,
            id_,
            method,
            path,
            body,
            tag=tag,
            due_ms=due_ms,
            temper=temper,
            max_attempts=attempts,
            backoff_ms=BACKOFF * 1000,
        )
        return call

    @staticmethod
    async def _surely(tell: Callable[[], Awaitable[tuple[Call, object]]]) -> None:
        """Delete, and again as long as nobody says what came of it."""
        for _ in range(_TRIES):
            call, told = await tell()
            if call.op is Op.BULK_DELETE and isinstance(told, dict):
                call.deleted_ids = tuple(told.get("messageIds", ()))
            if not unanswered(call):
                return
            await asyncio.sleep(_PAUSE)

    # -- instants ---------------------------------------------------------------------------------------------------

    def _tag(self) -> str:
        return f"t{next(self._tags)}"

    def _due_ms(self) -> int:
        """Return an instant until the end: some at once, many together at a full second, as people like them."""
        now_ms = _now_ms()
        chance = self._chance.random()
        if chance < 0.05:
            return round(now_ms - self._chance.uniform(0, 300))
        due_ms = now_ms + self._chance.uniform(100, _HORIZON * 1000)
        if chance < 0.25:
            due_ms += -due_ms % 1000
        if due_ms > self._ends_ms:
            # Spread over what is left, rather than all at the very end.
            due_ms = self._chance.uniform(now_ms, max(now_ms, self._ends_ms))
        return round(due_ms)

    def _around(self, due_ms: int) -> float:
        """Return when to change one's mind: long before it is due, or in the very moment."""
        if self._chance.random() < 0.5:
            return due_ms + self._chance.uniform(-60, 60)
        return self._chance.uniform(_now_ms(), due_ms + 300)

    async def _until(self, at_ms: float) -> None:
        await asyncio.sleep((min(at_ms, self._ends_ms) - _now_ms()) / 1000)


def _now_ms() -> float:
    return time.time() * 1000
