"""Runs of bots, and what they may use of the service."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final
from urllib.parse import urljoin
from zoneinfo import ZoneInfo

import structlog

from aioscheduler.bots.base import Bot, BotFailed, BotResult, BotRun, Reply
from aioscheduler.clock import Clock
from aioscheduler.domain.execution import Execution, ExecutionStatus, Outcome
from aioscheduler.domain.target import WebhookTarget, check_url
from aioscheduler.engine.delivery import Request
from aioscheduler.engine.executions import Delivers
from aioscheduler.errors import AioschedulerError, InvalidInput
from aioscheduler.store.recurring import ClaimedExecution, JobStore

log = structlog.get_logger(__name__)

MAX_REDIRECTS: Final = 5


class BotRunner:
    """Makes runs of bots."""

    def __init__(
        self,
        *,
        bots: Mapping[str, Bot],
        store: JobStore,
        clock: Clock,
        deliverer: Delivers,
        time_limit: timedelta,
    ) -> None:
        self._bots = bots
        self._store = store
        self._clock = clock
        self._http = BotHttp(deliverer, clock)
        self._limit = time_limit

    async def run(self, claimed: ClaimedExecution) -> Execution:
        """Return the execution as it ended; raises nothing but ``CancelledError``."""
        started, begun = self._clock.now(), self._clock.monotonic()
        status, error, result = await self._outcome(claimed)
        execution = claimed.execution
        execution.status, execution.error = status, error
        execution.started_at, execution.finished_at = started, self._clock.now()
        execution.duration_ms = (self._clock.monotonic() - begun) * 1000
        execution.result = _fit(result)
        execution.messages_sent, execution.profiles_visited = result.messages_sent, result.profiles_visited
        return execution

    async def _outcome(self, claimed: ClaimedExecution) -> tuple[ExecutionStatus, str | None, BotResult]:
        nothing = BotResult()
        bot = self._bots.get(claimed.job.bot_type or "")
        if bot is None:
            return ExecutionStatus.FAILURE, f"the bot {claimed.job.bot_type!r} is not installed here", nothing
        limit = asyncio.timeout(self._limit.total_seconds())
        try:
            async with limit:
                return ExecutionStatus.SUCCESS, None, await bot.run(self._run_of(claimed, bot))
        except TimeoutError:
            if limit.expired():
                return ExecutionStatus.TIMED_OUT, f"not done within {self._limit.total_seconds():g} s", nothing
            return ExecutionStatus.FAILURE, "the bot ran into a time limit of its own", nothing
        except BotFailed as failure:
            return ExecutionStatus.FAILURE, str(failure), failure.result
        except InvalidInput as illegal:
            return ExecutionStatus.FAILURE, f"bot_config.{illegal}", nothing
        except AioschedulerError as failure:
            return ExecutionStatus.FAILURE, str(failure), nothing
        except Exception as failure:
            log.exception("a bot broke", action="bot_broken", job_id=claimed.ref.job_id, bot=claimed.job.bot_type)
            return ExecutionStatus.FAILURE, f"an error of the bot ({type(failure).__name__})", nothing

    def _run_of(self, claimed: ClaimedExecution, bot: Bot) -> BotRun:
        job = claimed.job
        return BotRun(
            job_id=job.id,
            job_name=job.name,
            config=bot.check(job.bot_config),
            zone=ZoneInfo(job.schedule.timezone),
            scheduled_for=claimed.execution.scheduled_for,
            clock=self._clock,
            http=self._http,
            memory=BotMemory(self._store, job.bot_type or ""),
            time_limit=self._limit,
        )


def _fit(result: BotResult) -> dict[str, object]:
    """Return what the history shows of a run."""
    return {
        **result.details,
        **({"messages_sent": result.messages_sent} if result.messages_sent else {}),
        **({"profiles_visited": result.profiles_visited} if result.profiles_visited else {}),
    }


class BotMemory:
    """What the bots of one type remember, in the store."""

    def __init__(self, store: JobStore, bot: str) -> None:
        self._store = store
        self._bot = bot

    async def read(self, keys: Sequence[str]) -> Sequence[str | None]:
        return await self._store.bot_read(self._bot, keys)

    async def read_all(self) -> Mapping[str, str]:
        return await self._store.bot_read_all(self._bot)

    async def swap(self, key: str, old: str | None, new: str | None) -> bool:
        return await self._store.bot_swap(self._bot, key, old, new)


class BotHttp:
    """Requests of bots, on the connections and under the rules of webhooks."""

    def __init__(self, deliverer: Delivers, clock: Clock) -> None:
        self._deliverer = deliverer
        self._clock = clock

    async def get(self, url: str, *, max_bytes: int = 65_536, timeout_seconds: float = 30) -> Reply:
        for _ in range(MAX_REDIRECTS + 1):
            outcome = await self._send(url, None, None, timeout_seconds, max_bytes)
            if isinstance(outcome, Reply):
                return outcome
            if outcome.location is None or outcome.response_code is None:
                return _reply(outcome)
            try:
                url = urljoin(url, outcome.location)
            except ValueError:  # a bracket or two too many
                return Reply(status=None, error="a redirect to what is no URL")
        return Reply(status=None, error=f"more than {MAX_REDIRECTS} redirects")

    async def post(self, url: str, body: bytes, *, identity: str, timeout_seconds: float = 30) -> Reply:
        webhook_id = "bot_" + hashlib.blake2b(identity.encode(), digest_size=20).hexdigest()
        outcome = await self._send(url, body, webhook_id, timeout_seconds, 0)
        return outcome if isinstance(outcome, Reply) else _reply(outcome)

    async def _send(
        self, url: str, body: bytes | None, webhook_id: str | None, timeout_seconds: float, keep: int
    ) -> Outcome | Reply:
        try:
            destination = check_url(url, "url")
        except InvalidInput as error:
            return Reply(status=None, error=str(error))
        method = "GET" if body is None else "POST"
        return await self._deliverer.attempt(
            Request(
                webhook_id=webhook_id,
                target=WebhookTarget(url=url, destination=destination, method=method),
                body=body,
                timeout_seconds=timeout_seconds,
                attempt=1,
                scheduled_for=self._clock.now(),
                identity=(),
                keep_bytes=keep,
            )
        )


def _reply(outcome: Outcome) -> Reply:
    return Reply(status=outcome.response_code, body=outcome.body, error=outcome.error)
