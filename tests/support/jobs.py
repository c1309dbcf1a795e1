"""Builders: jobs, webhooks, runs and the ends of leases with everything a test does not care about filled in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from aioscheduler.clock import to_ms
from aioscheduler.domain.execution import DeadReason, Execution, ExecutionStatus, OutcomeKind
from aioscheduler.domain.job import BOTS, Job, JobWebhook, Owner, new_job_id, new_webhook_id
from aioscheduler.domain.message import new_version
from aioscheduler.domain.target import check_url
from aioscheduler.domain.trigger import Schedule, ScheduleType
from aioscheduler.engine.runs import attempt_after, run_of
from aioscheduler.store.recurring import ClaimedExecution, ExecutionRef, ExecutionSettlement, Run
from tests.support.clock import START
from tests.support.messages import URL, outcome

ACCOUNT = Owner("123e4567-e89b-12d3-a456-426614174000")
OTHER_ACCOUNT = Owner("00000000-0000-4000-8000-000000000000")
EVERY_MINUTE = Schedule(type=ScheduleType.CRON, config={"cron_expression": "* * * * *"}, timezone="UTC")

#: Ids of one millisecond may be the same, and those of webhooks need not sort as they were made.
_moments = count(1)


def _moment() -> datetime:
    return START + timedelta(milliseconds=next(_moments))


def job(name: str = "a job", *, owner: Owner = ACCOUNT, now: datetime = START, **members: Any) -> Job:
    """Return a new job; ids made later sort later."""
    return Job(
        **{
            "id": new_job_id(_moment()),
            "version": new_version(to_ms(now)),
            "owner": owner,
            "name": name,
            "schedule": EVERY_MINUTE,
            "created_at": now,
            "updated_at": now,
            **members,
        }
    )


def bot_job(**members: Any) -> Job:
    """Return a new job of a bot."""
    return job(owner=BOTS, **{"bot_type": "visitor", "bot_config": {"limit": 5}, **members})


def webhook(of: Job, *, url: str = URL, now: datetime = START, **members: Any) -> JobWebhook:
    """Return a new webhook of a job."""
    return JobWebhook(
        **{
            "id": new_webhook_id(of.id, _moment()),
            "job_id": of.id,
            "url": url,
            "destination": check_url(url),
            "method": "POST",
            "created_at": now,
            "updated_at": now,
            **members,
        }
    )


def run(of: Job, webhooks: Sequence[JobWebhook] = (), *, at: datetime = START, waits: bool = False) -> Run:
    """Return a run of a job at a fire time."""
    return run_of(of, webhooks, to_ms(at), waits=waits)


def refs(of: Run) -> list[ExecutionRef]:
    """Return the executions of a run."""
    return [planned.ref for planned in of.executions]


def final(claimed: ClaimedExecution, status: ExecutionStatus = ExecutionStatus.SUCCESS, **members: Any) -> Execution:
    """Return the execution as its attempt ended, which took no time at the claim."""
    good = status is ExecutionStatus.SUCCESS
    return replace(
        claimed.execution,
        **{
            "status": status,
            "started_at": claimed.claimed_at,
            "finished_at": claimed.claimed_at,
            "duration_ms": 12.5,
            "response_code": 200 if good else 500,
            "error": None if good else "HTTP 500",
            **members,
        },
    )


def succeeded(claimed: ClaimedExecution, **members: Any) -> ExecutionSettlement:
    """Return the end of a lease whose attempt succeeded."""
    return ExecutionSettlement(
        claimed=claimed, final=final(claimed, **members), outcome=outcome(now=claimed.claimed_at)
    )


def failed(claimed: ClaimedExecution, *, after: float = 10, **members: Any) -> ExecutionSettlement:
    """Return the end of a lease whose attempt failed, and the next one, due so many seconds after the claim."""
    execution, now = claimed.execution, claimed.claimed_at
    following = attempt_after(
        execution, execution.attempt + 1, execution.failures + 1, now + timedelta(seconds=after), now
    )
    return ExecutionSettlement(
        claimed=claimed,
        final=final(claimed, ExecutionStatus.FAILURE, **members),
        following=following,
        outcome=outcome(OutcomeKind.FAILURE, now=now),
    )


def gave_up(claimed: ClaimedExecution, reason: DeadReason = DeadReason.RETRIES_EXHAUSTED) -> ExecutionSettlement:
    """Return the end of a lease after which the execution is a dead letter."""
    return ExecutionSettlement(
        claimed=claimed,
        final=final(claimed, ExecutionStatus.DEAD_LETTER),
        reason=reason,
        outcome=outcome(OutcomeKind.FAILURE, now=claimed.claimed_at),
    )


def given_back(claimed: ClaimedExecution, *, begun: bool = False) -> ExecutionSettlement:
    """Return the end of a lease that is given back."""
    return ExecutionSettlement(claimed=claimed, final=None, begun=begun)


def bot_ended(claimed: ClaimedExecution, **members: Any) -> ExecutionSettlement:
    """Return the end of a lease under which a bot ran well."""
    ended = final(claimed, **{"response_code": None, **members})
    return ExecutionSettlement(claimed=claimed, final=ended)


def following_ref(settlement: ExecutionSettlement) -> ExecutionRef:
    """Return the next attempt."""
    assert settlement.following is not None
    return settlement.claimed.ref._replace(id=settlement.following.id)
