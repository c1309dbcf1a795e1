"""What the engine and the API may ask of a store about jobs, their webhooks and their executions.

As for messages, every verb raises :class:`~aioscheduler.errors.StoreUnavailable` when the store does not answer in time
or refuses; a write may then still have been applied. Repeating a verb is safe unless its docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from aioscheduler.domain.execution import DeadReason, Execution, ExecutionId, ExecutionStatus, Outcome, SkipReason
from aioscheduler.domain.job import BOTS, Job, JobId, JobWebhook, LiveJob, Owner, WebhookId
from aioscheduler.domain.message import MessageId
from aioscheduler.domain.target import Destination
from aioscheduler.store.base import Lease, Settled, Store

T = TypeVar("T")


#: Where executions go that go nowhere: they take turns like those that do.
_BOT, _NOWHERE = Destination("bots"), Destination("none")


def destination_without_webhook(owner: Owner) -> Destination:
    """Return where an execution goes that has no webhook: a bot's, or one of a job that has none."""
    return _BOT if owner == BOTS else _NOWHERE


class JobRef(NamedTuple):
    """A job as an entry of the engine."""

    id: JobId


class ExecutionRef(NamedTuple):
    """An execution as an entry of the engine: all that is needed to find what belongs to it."""

    owner: Owner
    job_id: JobId
    webhook_id: WebhookId | None
    id: ExecutionId


#: What falls due. Messages are by far the most, so they go by their bare id.
EntryId: TypeAlias = MessageId | ExecutionRef | JobRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Generic[T]):
    """Part of a list, and how long the whole list is."""

    items: Sequence[T]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCounts:
    """How many jobs there are."""

    total: int
    enabled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionCounts:
    """How many executions there are and were, of deleted jobs too. ``ended`` lacks statuses that never were."""

    queued: int
    running: int
    ended: Mapping[ExecutionStatus, int]
    duration_ms: float
    """Of all attempts together; skipped occurrences and others without an attempt have none."""
    attempts: int


@dataclass(slots=True, kw_only=True)
class Plan:
    """What the engine has to know of a job to fire it. Not frozen: one is made for every fire, and that costs less.

    ``webhooks`` are in order of their creation.
    """

    job: Job
    due_ms: int
    webhooks: Sequence[JobWebhook]


class Planned(NamedTuple):
    """An execution to be made, and what it calls."""

    ref: ExecutionRef
    destination: Destination
    webhook: JobWebhook | None


@dataclass(slots=True, kw_only=True)
class Run:
    """One occurrence that is to be run.

    ``waits`` says that it waits for its turn when as many runs as may go on at once do; otherwise it is skipped then,
    and stands in the history as ``skip_id``.
    """

    fire_ms: int
    name: str
    skip_id: ExecutionId
    executions: Sequence[Planned]
    waits: bool = False


class Skip(NamedTuple):
    """Occurrences that are not run: ``times`` of them, from ``fire_ms`` until ``until_ms``."""

    fire_ms: int
    until_ms: int
    times: int
    reason: SkipReason


@dataclass(slots=True, kw_only=True)
class Fire:
    """What becomes of a job that is due: applied only if the job is as planned, and still due at ``plan.due_ms``."""

    plan: Plan
    runs: Sequence[Run]
    skips: Sequence[Skip]
    next_ms: int | None


class Unchanged(Enum):
    """Stands for a next fire time that stays what it is: it may be another by now than the caller has read."""

    UNCHANGED = "unchanged"


class Fired(Enum):
    """What a fire found."""

    APPLIED = "applied"
    STALE = "stale"
    """The job was changed, deleted or fired by somebody else meanwhile: nothing was done."""


@dataclass(slots=True, kw_only=True)
class ClaimedExecution:
    """One execution leased to this replica. ``webhook`` is ``None`` for a bot's, or when it was deleted meanwhile.

    ``asked_at`` is when the lease was asked for, by the monotonic clock.
    """

    ref: ExecutionRef
    execution: Execution
    job: Job
    webhook: JobWebhook | None
    lease: Lease
    due_at: datetime
    claimed_at: datetime
    asked_at: float = 0.0


@dataclass(slots=True, kw_only=True)
class ExecutionSettlement:
    """The end of one lease.

    ``final`` is the execution as it goes to the history; ``None`` gives the lease back, due at once, no failure.
    ``following`` is the next attempt, due at its ``due_at``. ``reason`` makes a dead letter of it. ``outcome`` is what
    goes to the delivery log: ``None`` where nothing was delivered. ``begun`` says whether the attempt began.
    """

    claimed: ClaimedExecution
    final: Execution | None
    following: Execution | None = None
    reason: DeadReason | None = None
    outcome: Outcome | None = None
    begun: bool = True
    repeated: bool = False


class Retried(Enum):
    """What became of an execution that is to be run again."""

    QUEUED = "queued"
    OPEN = "open"
    """It, or a later attempt of the same webhook in the same run, has not ended yet."""
    GONE = "gone"
    """The job, the webhook or the execution is not there any more."""


@dataclass(frozen=True, slots=True)
class JobsChanged:
    """A hint: jobs that somebody wrote or deleted."""

    ids: Sequence[JobId]


class JobListener(Protocol):
    """Told of every job this replica wrote, once the store has said yes; ``due_ms`` is ``None`` for one that is not
    due any more, and ``deleted`` when it is gone."""

    def __call__(self, job_id: JobId, due_ms: int | None, /, *, deleted: bool = False) -> None: ...


class ExecutionListener(Protocol):
    """Told of every execution this replica made due."""

    def __call__(self, ref: ExecutionRef, due_ms: int, destination: Destination, /) -> None: ...


class JobStore(Protocol):
    """The verbs."""

    on_job: JobListener | None
    on_execution: ExecutionListener | None

    # -- jobs

    async def create_job(self, job: Job, next_run_at: datetime | None) -> bool:
        """Write a new job, due at ``next_run_at``; ``False`` when its id is taken, also by itself."""
        ...

    async def update_job(self, old: Job, job: Job, next_run_at: datetime | Unchanged | None) -> bool:
        """Put ``job`` in the place of ``old``; ``False`` when that was changed or deleted meanwhile.

        ``next_run_at`` is when it is due from now on; ``None``: not at all.
        """
        ...

    async def delete_job(self, job: Job) -> bool:
        """Delete a job, its webhooks, its history, its dead letters; runs that wait, retries that are to come.

        ``False`` when there is none. An attempt on the wire goes on and changes nothing.
        """
        ...

    async def job(self, job_id: JobId) -> LiveJob | None:
        """Return a job."""
        ...

    async def jobs(
        self, owner: Owner | None, enabled: bool | None, skip: int, limit: int, name: str = ""
    ) -> Slice[LiveJob]:
        """Return jobs, oldest first: an owner's, or with ``None`` those of all accounts (never the bots').

        With ``name`` only those whose name contains it, in whatever case, among the oldest 100,000.
        """
        ...

    async def job_counts(self, owner: Owner | None) -> JobCounts:
        """Return how many jobs there are, as :meth:`jobs` counts them."""
        ...

    async def execution_counts(self, owner: Owner | None) -> ExecutionCounts:
        """Return how many executions there are and were: an owner's, or with ``None`` those of all accounts."""
        ...

    # -- webhooks

    async def put_webhook(self, webhook: JobWebhook, *, new: bool) -> bool:
        """Write a webhook; ``False`` when its job is gone, or it is not new and is gone itself.

        :raises InvalidInput: the job has as many as it may have
        """
        ...

    async def delete_webhook(self, webhook_id: WebhookId) -> bool:
        """Delete a webhook; ``False`` when there is none. Its open executions end as failures when they are due."""
        ...

    async def webhook(self, webhook_id: WebhookId) -> JobWebhook | None:
        """Return a webhook."""
        ...

    async def webhooks(self, job_id: JobId) -> Sequence[JobWebhook]:
        """Return a job's webhooks, oldest first."""
        ...

    # -- executions

    async def executions(
        self, job_id: JobId, status: ExecutionStatus | None, skip: int, limit: int
    ) -> Slice[Execution]:
        """Return a job's executions, newest first, without what webhooks answered."""
        ...

    async def execution(self, execution_id: ExecutionId) -> Execution | None:
        """Return one execution, with what the webhook answered."""
        ...

    async def run_job(self, live: LiveJob, run: Run) -> Sequence[ExecutionId] | None:
        """Make a run outside of the schedule; return the ids of its executions, ``None`` when the job is gone.

        While as many runs go on as may, it waits; where one waits already, that one's ids are returned.
        """
        ...

    async def retry_execution(self, ended: Execution, again: Execution, now: datetime) -> Retried:
        """Make ``again``, a further attempt of ``ended``, due now; a dead letter of the attempt before is gone then.

        Where there is an attempt of that number, ``again`` gets the number and the id of the first that is free.
        """
        ...

    # -- the engine

    def job_window(self, until: datetime, limit: int) -> AsyncIterator[Sequence[tuple[int, JobRef]]]:
        """Yield ``(due_ms, job)`` of the jobs due until an instant, earliest first, at most ``limit``, in pages."""
        ...

    def execution_window(self, until: datetime, limit: int) -> AsyncIterator[Sequence[tuple[int, ExecutionRef]]]:
        """Yield ``(due_ms, execution)`` likewise."""
        ...

    async def plans(self, ids: Sequence[JobId]) -> Sequence[Plan | None]:
        """Return what is needed to fire jobs; ``None`` for one that is gone or not due at any time."""
        ...

    async def fire(self, fires: Sequence[Fire], now: datetime) -> Sequence[Fired]:
        """Carry out what became of due jobs, each in one atomic step.

        Executions that are due now are told to ``on_execution``. Repeating it gives ``STALE``.
        """
        ...

    async def execution_destinations(self, refs: Sequence[ExecutionRef]) -> Sequence[Destination | None]:
        """Return where each execution goes, or for a bot's a name of its own; ``None`` where nobody knows."""
        ...

    async def claim_executions(self, refs: Sequence[ExecutionRef], now: datetime) -> Sequence[ClaimedExecution]:
        """Lease those of the executions that are due by ``now`` and not leased, in one atomic step."""
        ...

    async def defer_executions(self, refs: Sequence[ExecutionRef], until: datetime, now: datetime) -> None:
        """Look at due executions again at ``until``: what a full destination cannot take. Not an attempt."""
        ...

    async def executions_still_leased(self, claimed: Sequence[ClaimedExecution]) -> Sequence[bool]:
        """Say of each lease whether it still holds, as :meth:`Store.still_leased` does."""
        ...

    async def settle_execution(self, settlement: ExecutionSettlement) -> Settled:
        """End a lease. Repeating it gives ``LOST``. Runs that waited for this one's end become due."""
        ...

    def stalled(self) -> AsyncIterator[Sequence[LiveJob]]:
        """Yield the enabled jobs that have no next fire time."""
        ...

    async def mend(self, live: LiveJob, next_run_at: datetime) -> bool:
        """Give a stalled job a next fire time, and count it; ``False`` when that is not so any more."""
        ...

    async def trim_history(self, before: datetime) -> int:
        """Delete executions that ended before an instant; return how many."""
        ...

    async def look_at_jobs(self, ids: Sequence[JobId]) -> Mapping[JobId, int | None]:
        """Return when jobs that somebody wrote are due, in ms, ``None`` for not at all; not those that are gone."""
        ...

    # -- bots

    async def bot_read(self, bot: str, keys: Sequence[str]) -> Sequence[str | None]:
        """Return what a bot remembers."""
        ...

    async def bot_read_all(self, bot: str) -> Mapping[str, str]:
        """Return everything a bot remembers."""
        ...

    async def bot_swap(self, bot: str, key: str, old: str | None, new: str | None) -> bool:
        """Put ``new`` in the place of ``old``, atomically; ``False`` when something else stands there."""
        ...


class EngineStore(Store, JobStore, Protocol):
    """All the verbs there are."""
