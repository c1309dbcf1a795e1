"""One attempt of an execution, from its lease to what becomes of it."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol
from urllib.parse import urlencode

import orjson
import structlog

from aioscheduler.clock import Clock
from aioscheduler.domain.execution import DeadReason, Execution, ExecutionStatus, Outcome, OutcomeKind, SkipReason
from aioscheduler.domain.instant import rfc3339
from aioscheduler.domain.job import BODY_NAMES, BOTS, Job, JobWebhook, run_webhook_id
from aioscheduler.domain.message import is_missed
from aioscheduler.domain.target import WebhookTarget
from aioscheduler.domain.template import compile_template, escape_for
from aioscheduler.engine.delivery import NotSent, Request
from aioscheduler.engine.runs import attempt_after
from aioscheduler.errors import InvalidInput
from aioscheduler.store.recurring import ClaimedExecution, ExecutionSettlement

log = structlog.get_logger(__name__)

#: How much of what a webhook answers is kept, in bytes.
KEPT_ANSWER: Final = 64 * 1024
_WITHOUT_BODY = frozenset({"GET", "DELETE"})

_STATUS = {
    OutcomeKind.SUCCESS: ExecutionStatus.SUCCESS,
    OutcomeKind.FAILURE: ExecutionStatus.FAILURE,
    OutcomeKind.TIMED_OUT: ExecutionStatus.TIMED_OUT,
}


class Delivers(Protocol):
    """Makes one attempt."""

    async def attempt(self, request: Request) -> Outcome:
        """Return what came of it; raises nothing but ``CancelledError`` and ``NotSent``."""
        ...


class RunsBots(Protocol):
    """Makes one run of a bot."""

    async def run(self, claimed: ClaimedExecution) -> Execution:
        """Return the execution as it ended; raises nothing but ``CancelledError``."""
        ...


class Executions:
    """Makes attempts of executions and says what becomes of them."""

    def __init__(
        self,
        *,
        clock: Clock,
        deliverer: Delivers,
        bots: RunsBots,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._deliverer = deliverer
        self._bots = bots
        self._chance = chance

    async def attempt(self, claimed: ClaimedExecution) -> ExecutionSettlement:
        """Make the attempt; raises nothing but ``CancelledError`` and ``NotSent``."""
        job, now = claimed.job, self._clock.now()
        settlement = self._without_attempt(claimed, now)
        if settlement is None:
            if job.owner == BOTS:
                settlement = ExecutionSettlement(claimed=claimed, final=await self._bots.run(claimed))
            else:
                settlement = await self._call(claimed, now)
        _report(settlement)
        return settlement

    def _without_attempt(self, claimed: ClaimedExecution, now: datetime) -> ExecutionSettlement | None:
        """Return how the lease ends at once when no attempt can be made.

        The grace is for the first attempt: later ones are late on purpose.
        """
        job, execution = claimed.job, claimed.execution
        if execution.failures == 0 and is_missed(claimed.due_at, job.misfire_grace, now):
            execution.status = ExecutionStatus.SKIPPED
            execution.skip_reason, execution.skipped = SkipReason.MISFIRE, 1
        elif job.owner != BOTS and claimed.webhook is None:
            execution.status = ExecutionStatus.FAILURE
            execution.error = "the job has no webhook" if execution.webhook_id is None else "the webhook was deleted"
        else:
            return None
        execution.started_at = execution.worker_id = None
        execution.finished_at = now
        return ExecutionSettlement(claimed=claimed, final=execution, begun=False)

    async def _call(self, claimed: ClaimedExecution, now: datetime) -> ExecutionSettlement:
        assert claimed.webhook is not None, "seen before"
        try:
            request = webhook_request(claimed.job, claimed.webhook, claimed.execution, now)
            request.asked_at = claimed.asked_at
            outcome = await self._deliverer.attempt(request)
        except InvalidInput as error:
            # A template whose values make too much of it.
            outcome = _failed(now, str(error), DeadReason.REJECTED_BY_POLICY)
        except NotSent:
            raise
        except Exception:
            log.exception("an unexpected error", action="attempt_broken", execution_id=claimed.ref.id)
            outcome = _failed(now, "an error of the service", None)
        return after_execution(claimed, outcome, self._clock.now(), self._chance())


def _failed(now: datetime, error: str, permanent: DeadReason | None) -> Outcome:
    return Outcome(
        kind=OutcomeKind.FAILURE,
        started_at=now,
        finished_at=now,
        duration_ms=0.0,
        error=error,
        permanent=permanent,
        ours=True,
    )


def webhook_request(job: Job, webhook: JobWebhook, execution: Execution, now: datetime) -> Request:
    """Return the request of an attempt.

    :raises InvalidInput: the body becomes too long
    """
    url = webhook.url
    if webhook.query_params:
        path, mark, fragment = url.partition("#")
        query = urlencode([(name, _query(value)) for name, value in _parameters(webhook)])
        url = f"{path}{'&' if '?' in path else '?'}{query}{mark}{fragment}"
    headers = tuple((webhook.headers or {}).items())
    return Request(
        webhook_id=run_webhook_id(execution.run_id, webhook.id),
        target=WebhookTarget(url=url, destination=webhook.destination, method=webhook.method, headers=headers),
        body=_body(job, webhook, execution, now),
        timeout_seconds=webhook.timeout_seconds,
        attempt=execution.attempt,
        scheduled_for=execution.scheduled_for,
        identity=(("X-Scheduler-Job-Id", job.id), ("X-Scheduler-Execution-Id", execution.id)),
        keep_bytes=KEPT_ANSWER,
    )


def _parameters(webhook: JobWebhook) -> list[tuple[str, object]]:
    return [
        (name, value)
        for name, values in (webhook.query_params or {}).items()
        for value in (values if isinstance(values, list) else [values])
    ]


def _query(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _body(job: Job, webhook: JobWebhook, execution: Execution, now: datetime) -> bytes | None:
    if webhook.body_template is None:
        if webhook.method in _WITHOUT_BODY:
            return None
        return orjson.dumps(
            {
                "job_id": job.id,
                "job_name": job.name,
                "account_id": job.owner,
                "execution_id": execution.id,
                "attempt": execution.attempt,
                "scheduled_at": rfc3339(execution.scheduled_for),
            }
        )
    template = compile_template(webhook.body_template, BODY_NAMES)
    if template.is_plain:
        return webhook.body_template.encode()
    kind = next((value for name, value in (webhook.headers or {}).items() if name.lower() == "content-type"), None)
    values = {
        "job.id": job.id,
        "job.name": job.name,
        "job.account_id": job.owner,
        "execution.id": execution.id,
        "execution.attempt": execution.attempt,
        "scheduled_at": execution.scheduled_for,
        "now": now,
    }
    return template.render(values, escape_for(kind)).encode()


def after_execution(claimed: ClaimedExecution, outcome: Outcome, now: datetime, chance: float) -> ExecutionSettlement:
    """Return how the lease ends; what was claimed becomes what goes to the history.

    :param chance: from 0 to 1, decides the jitter
    """
    final = claimed.execution
    final.status = _STATUS[outcome.kind]
    final.started_at, final.finished_at = outcome.started_at, outcome.finished_at
    final.duration_ms, final.response_code, final.error = outcome.duration_ms, outcome.response_code, outcome.error
    if outcome.response_code is not None:
        final.response_body = outcome.body.decode("utf-8", "replace")
    if outcome.kind is OutcomeKind.SUCCESS:
        return ExecutionSettlement(claimed=claimed, final=final, outcome=outcome)
    wait = None
    if outcome.permanent is None:
        wait = claimed.job.retry.wait_after(final.failures + 1, outcome.retry_after, chance)
    if wait is None:
        final.status = ExecutionStatus.DEAD_LETTER
        reason = outcome.permanent or DeadReason.RETRIES_EXHAUSTED
        return ExecutionSettlement(claimed=claimed, final=final, reason=reason, outcome=outcome)
    following = attempt_after(final, final.attempt + 1, final.failures + 1, outcome.finished_at + wait, now)
    return ExecutionSettlement(claimed=claimed, final=final, following=following, outcome=outcome)


def _report(settlement: ExecutionSettlement) -> None:
    final = settlement.final
    assert final is not None, "an attempt has its end"
    good = final.status is ExecutionStatus.SUCCESS
    if good and not log.is_enabled_for(logging.DEBUG):
        return
    about = {
        "job_id": final.job_id,
        "execution_id": final.id,
        "run_id": final.run_id,
        "attempt": final.attempt,
        "duration_ms": None if final.duration_ms is None else round(final.duration_ms, 1),
    }
    if good:
        log.debug("execution succeeded", action="execution_succeeded", response_code=final.response_code, **about)
    elif settlement.reason is not None:
        log.error("gave up", action="execution_buried", reason=settlement.reason.value, error=final.error, **about)
    else:
        log.warning("execution failed", action=f"execution_{final.status.value}", error=final.error, **about)
