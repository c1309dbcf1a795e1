"""What happened in a run, as clients and receivers saw it. The checker knows nothing else of the service.

All instants are wall-clock milliseconds since 1970, as the verifier's own process reads them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Op(Enum):
    """What a client asked for."""

    CREATE = "create"
    """``POST /messages`` (reject on conflict)."""
    REPLACE = "replace"
    """``PUT /messages/{id}``, or a ``POST`` with ``onConflict: replace``."""
    DELETE = "delete"
    """``DELETE /messages/{id}``."""
    BULK_DELETE = "bulk delete"
    """``DELETE /messages/bulk?prefix=``; ``deleted_ids`` is what the answer listed."""
    CREATE_JOB = "create job"
    RUN_JOB = "run job"
    """``POST /api/jobs/{id}/run``."""
    DELETE_JOB = "delete job"


class Temper(Enum):
    """How a receiver behaves."""

    QUICK = "quick"
    """Answers 200 at once."""
    SLOW = "slow"
    """Answers 200 after some time, below the attempts' limit."""
    FAILING = "failing"
    """Answers 5xx to some attempts, decided by the tag and the attempt's number."""
    HANGING = "hanging"
    """Does not answer some attempts, which run into their limit."""
    DROPPING = "dropping"
    """Closes the connection of some attempts without an answer."""


class FaultKind(Enum):
    """What was done to the deployment."""

    KILL = "kill"
    """``kill -9`` of a replica, started again later."""
    STOP_CONT = "suspend"
    """SIGSTOP of a replica for some seconds."""
    TERM = "restart"
    """SIGTERM of a replica, started again after its exit."""
    STORE_RESTART = "store-restart"
    """``kill -9`` of the store, started again."""
    STORE_FREEZE = "store-freeze"
    """SIGSTOP of the store for some seconds, or ``CLIENT PAUSE`` where its process is not ours."""
    STORE_CUT = "store-cut"
    """``CLIENT KILL`` of all connections to the store."""
    CLOCK_STEP = "clock-step"
    """The wall clock of one replica stepped, forward or back, through its injected clock."""
    RECEIVER_OUTAGE = "receiver-outage"
    """Nothing listens at a receiver for some seconds."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One request of a client and its answer. ``status`` is ``None`` when none came: it may have been applied or not.

    Calls about one id are made one after the other. ``tag`` is in the payload, so a receiver can tell which version it
    got; unique for every create and replace. ``due_ms`` is the instant asked for.
    """

    op: Op
    id: str
    """Message id, job id, or the prefix of a bulk delete."""
    replica: int
    sent_ms: float
    answered_ms: float | None = None
    status: int | None = None
    tag: str | None = None
    due_ms: int | None = None
    temper: Temper | None = None
    max_attempts: int = 1
    backoff_ms: float = 0.0
    """Of a fixed back-off."""
    deleted_ids: tuple[str, ...] = ()
    execution_ids: tuple[str, ...] = ()
    """Of a run that was asked for."""
    error: str | None = None


@dataclass(slots=True, kw_only=True)
class Hit:
    """One request that a receiver got. ``ended_ms`` is when it answered, or saw the connection close."""

    tag: str
    """Of a message; of a job's request: the job's id."""
    is_job: bool = False
    webhook_id: str
    attempt: int
    scheduled_for_ms: int
    execution_id: str | None = None
    temper: Temper
    arrived_ms: float
    ended_ms: float | None = None
    status: int | None = None
    """What it was answered with; ``None``: nothing."""
    cut: bool = False
    """The connection was closed by the other side before the answer was sent."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """One thing done to the deployment. ``until_ms`` is when it was undone and, for a process, when that served again.

    ``replica`` is ``None`` for faults of the store and of receivers. ``step_ms`` is that of a clock; ``exit_code`` and
    ``exit_ms`` are of a replica that was asked to stop.
    """

    kind: FaultKind
    from_ms: float
    until_ms: float | None = None
    replica: int | None = None
    temper: Temper | None = None
    step_ms: float = 0.0
    exit_code: int | None = None
    exit_ms: float | None = None


@dataclass(slots=True, kw_only=True)
class DeadLetterSeen:
    """A dead letter as the API told of it at the end."""

    id: str
    tag: str | None
    reason: str
    attempts: int


@dataclass(slots=True, kw_only=True)
class JobRun:
    """An execution as the API told of it at the end."""

    execution_id: str
    job_id: str
    run_id: str
    status: str
    attempt: int
    scheduled_for_ms: int


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Everything that was seen in a run."""

    started_ms: float = 0.0
    load_ended_ms: float = 0.0
    """When the last call of the load was answered. Every job was disabled right after: each minute until then has its
    run, and those after may have none."""
    ended_ms: float = 0.0
    calls: list[Call] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    dead: list[DeadLetterSeen] = field(default_factory=list)
    runs: list[JobRun] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """Ids of messages that were still live when all had had time to end."""
    open_executions: int = 0
    unexpected_exits: list[str] = field(default_factory=list)
    """Replicas that ended without being asked, with their last words."""
    audit: dict[str, int] = field(default_factory=dict)
    """The numbers of ``GET /audit`` at the end, all of the deployment."""
    peak_memory: dict[int, int] = field(default_factory=dict)
    """Replica -> most resident memory seen, in bytes."""
    limit_ms: float = 1_000.0
    """The time limit of each attempt."""
    grace_ms: float = 25_000.0
    """What replicas were started with as ``SHUTDOWN_GRACE_SECONDS``."""
