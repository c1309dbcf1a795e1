"""Replicas that break a promise: ``python -m tests.support.broken loses`` does, for the verifier to find."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from aioscheduler.domain.execution import Outcome, OutcomeKind
from aioscheduler.domain.instant import rfc3339_ms
from aioscheduler.domain.message import ConflictPolicy, Message, MessageId
from aioscheduler.engine.delivery import Deliverer, Ended, Flight, Request, in_a_task
from aioscheduler.errors import StoreUnavailable
from aioscheduler.server import run
from aioscheduler.store.base import Receipt, Scheduled
from aioscheduler.store.redis import RedisStore
from aioscheduler.verify.replica import main

_EARLY: Final = timedelta(milliseconds=400)
_attempt, _schedule, _cancel = Deliverer.attempt, RedisStore.schedule, RedisStore.cancel


async def _lose(self: Deliverer, request: Request) -> Outcome:
    """Call every fifth request a success without sending it."""
    if request.webhook_id is None or sum(request.webhook_id.encode()) % 5:
        return await _attempt(self, request)
    now = self._clock.now()
    return Outcome(kind=OutcomeKind.SUCCESS, started_at=now, finished_at=now, duration_ms=0.0, response_code=200)


async def _send_twice(self: Deliverer, request: Request) -> Outcome:
    """Send every request twice, under one number."""
    await _attempt(self, request)
    return await _attempt(self, request)


def _begin(self: Deliverer, request: Request, ended: Ended) -> Flight:
    """Make an attempt, in whatever way that is broken."""
    return in_a_task(self.attempt(request), ended)


async def _schedule_early(self: RedisStore, message: Message, policy: ConflictPolicy, fire_at: datetime) -> Scheduled:
    """Make everything due 400 ms too early."""
    due_at = message.due_at - _EARLY
    earlier = replace(message, due_at=due_at, schedule_to=rfc3339_ms(due_at))
    return await _schedule(self, earlier, policy, fire_at - _EARLY)


async def _keep_old(self: RedisStore, message: Message, policy: ConflictPolicy, fire_at: datetime) -> Scheduled:
    """Say that a message was replaced, and keep the old one."""
    if policy is ConflictPolicy.REPLACE and await self.get(message.id) is not None:
        return Scheduled.REPLACED
    return await _schedule(self, message, policy, fire_at)


def _hand_in(
    self: RedisStore, message: Message, policy: ConflictPolicy, fire_at: datetime, receipt: Receipt[Scheduled]
) -> None:
    """Schedule, in whatever way that is broken."""

    async def hand_in() -> None:
        try:
            receipt.set_result(await self.schedule(message, policy, fire_at))
        except StoreUnavailable as error:
            receipt.set_exception(error)

    _tasks.add(task := asyncio.create_task(hand_in()))
    task.add_done_callback(_tasks.discard)


async def _keep_deleted(self: RedisStore, ids: Sequence[MessageId]) -> Sequence[bool]:
    """Say that messages were deleted, and keep them."""
    return [await self.get(message_id) is not None for message_id in ids]


_tasks: Final[set[asyncio.Task[None]]] = set()


def _patch(owner: type, name: str, function: object) -> Callable[[], None]:
    return lambda: setattr(owner, name, function)


#: What is broken -> the promise that is not kept, and how to break it.
KINDS: Final[dict[str, tuple[str, Callable[[], None]]]] = {
    "loses": ("P1", _patch(Deliverer, "attempt", _lose)),
    "early": ("P2", _patch(RedisStore, "schedule", _schedule_early)),
    "doubles": ("P3", _patch(Deliverer, "attempt", _send_twice)),
    "ignores-deletes": ("P4", _patch(RedisStore, "cancel", _keep_deleted)),
    "fires-old": ("P4", _patch(RedisStore, "schedule", _keep_old)),
}


if __name__ == "__main__":
    KINDS[sys.argv[1]][1]()
    _patch(RedisStore, "hand_in", _hand_in)()
    _patch(Deliverer, "begin", _begin)()
    sys.exit(run(main()))
