"""What the engine and the API may ask of a store, each verb with its contract.

Every verb raises :class:`~aioscheduler.errors.StoreUnavailable` when the store does not answer in time or refuses; a
write may then still have been applied. Repeating a verb is safe unless its docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import Enum
from typing import Generic, NewType, Protocol, TypeVar

from aioscheduler.domain.execution import DeadReason, Execution, ExecutionId, Opening, Outcome, OutcomeKind
from aioscheduler.domain.message import ConflictPolicy, Message, MessageId, MessageStatus, Tag, tag_of
from aioscheduler.domain.punctuality import Lateness, Window
from aioscheduler.domain.target import Destination
from aioscheduler.errors import Sentence

T = TypeVar("T")
Told = TypeVar("Told", contravariant=True)

#: The right to one attempt: a settle with any other value changes nothing.
Lease = NewType("Lease", str)


#: Whoever takes a message's lease away that another replica holds is answered so much later, in seconds: by then the
#: attempt has begun, or will not any more, since its holder begins to send only within :data:`HOLD_SECONDS` after it
#: asked for the lease, or whether it still has it.
DECIDED_SECONDS = 0.3
HOLD_SECONDS = 0.25

#: Where a message goes whose record nobody has looked at yet.
UNKNOWN = Destination("")

#: Asks for dead letters of which nobody can tell where they were to go.
NO_DESTINATION = Destination("none")


class Scheduled(Enum):
    """What became of a message to be scheduled."""

    CREATED = "created"
    REPLACED = "replaced"
    EXISTS = "exists"
    """A live message has the id and the policy was to reject."""
    FOREIGN_KEY = "foreign_key"
    """The key ``message:<id>`` holds something that is no string: not ours to overwrite."""
    NOT_AS_SEEN = "not_as_seen"
    """It was to be replaced only as it had been seen, and was changed, attempted, delivered or deleted since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveMessage:
    """A message that is still to be delivered. ``next_run_at`` is when the next attempt is due, or this one was."""

    message: Message
    next_run_at: datetime
    status: MessageStatus
    attempts: int
    last_error: str | None

    @property
    def id(self) -> MessageId:
        """The message's id."""
        return self.message.id

    @property
    def tag(self) -> Tag:
        """What a client sees of it, in short."""
        return tag_of(self.message.version, self.attempts)


@dataclass(slots=True, kw_only=True)
class Listed:
    """A live message as a line of a list: what can be had without taking its record apart. Not frozen: lists are long,
    and that costs less."""

    id: MessageId
    url: str
    method: str
    next_run_at: datetime
    status: MessageStatus
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Part of a list. ``next_cursor`` is opaque to callers; ``None`` at the end."""

    items: Sequence[T]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message, or an execution of a job, that will not be attempted any more.

    ``message`` is ``None`` for a record that nobody can parse, and for an execution; ``record`` always holds the bytes.
    """

    id: MessageId | ExecutionId
    record: bytes
    message: Message | None
    execution: Execution | None = None
    reason: DeadReason
    attempts: int
    last_error: str | None
    dead_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadGroup:
    """Dead letters with one reason that were to go to one destination; ``None`` where that cannot be told: a record
    nobody can parse, a run of a bot, a webhook that is gone."""

    reason: DeadReason
    destination: Destination | None
    count: int
    oldest: datetime
    newest: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadGroups:
    """Dead letters in groups. ``total`` counts all there are; without ``complete`` only the newest are in groups."""

    groups: Sequence[DeadGroup]
    total: int
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterGone:
    """A dead letter that is none any more: ``deleted``, also because it was too old, or ``replayed``. Numbers rise by
    one."""

    number: int
    id: str
    change: str


@dataclass(slots=True, kw_only=True)
class Delivery:
    """One line of the delivery log: an attempt that has ended. Instants in UTC; ``lateness_ms`` is against ``due_at``.

    Of a message, or of an execution of a job. ``scheduled_for`` is the instant the message asked for, or the fire time,
    ``due_at`` when this attempt was due.
    """

    id: str
    message_id: MessageId | None = None
    job_id: str | None = None
    execution_id: str | None = None
    attempt: int
    status: OutcomeKind
    scheduled_for: datetime
    due_at: datetime
    claimed_at: datetime
    started_at: datetime
    sent_at: datetime | None
    answered_at: datetime | None
    finished_at: datetime
    lateness_ms: float
    duration_ms: float
    response_code: int | None
    error: str | None
    opening: Opening | None = None


@dataclass(slots=True, kw_only=True)
class Claimed:
    """One message leased to this replica. Not frozen: one is made for every attempt, and that costs less.

    ``failures`` counts the attempts that failed before this one; ``due_at`` is when this attempt was due, and ``at_ms``
    what nothing may leave before: later, where it was put off. ``asked_at`` is when the lease was asked for, by the
    monotonic clock; ``origin`` and ``planned_ms`` are the store's own business.
    """

    message: Message
    record: bytes
    lease: Lease
    attempt: int
    failures: int
    last_error: str | None
    due_at: datetime
    claimed_at: datetime
    origin: str
    planned_ms: int = 0
    at_ms: int = 0
    asked_at: float = 0.0


class Decision(Enum):
    """What a settle does with the message."""

    DONE = "done"
    """Remove it."""
    RETRY = "retry"
    """Due again at ``Settlement.retry_at``."""
    BURY = "bury"
    """Move it to the dead letters."""
    RELEASE = "release"
    """Back to due at ``Settlement.retry_at`` or its old time: cut short by us, or not begun; no failure."""


@dataclass(slots=True, kw_only=True)
class Settlement:
    """The end of one lease. Not frozen: one is made for every attempt, and that costs less.

    ``outcome`` is ``None`` where no attempt came to its end, ``begun`` says whether one began. ``repeated`` marks one
    that was sent before without an answer: it is not logged twice.
    """

    claimed: Claimed
    decision: Decision
    outcome: Outcome | None = None
    retry_at: datetime | None = None
    reason: DeadReason | None = None
    begun: bool = True
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What stands behind an id somebody may have written to: due, of a foreign type, or no legal record."""

    id: MessageId
    due_ms: int | None = None
    destination: Destination = UNKNOWN
    adopted: bool = False
    invalid: str | None = None
    foreign_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """How many were planned, and what became of them; ``+`` adds others."""

    planned: int = 0
    delivered: int = 0
    dead: int = 0
    """Given up, for any reason but being too late."""
    deleted: int = 0
    replaced: int = 0
    missed: int = 0
    """Not attempted, because it was too late for it or, of a job, a run before was still going on."""
    pending: int = 0

    @property
    def difference(self) -> int:
        """What nobody can account for: 0, or the store lost something or was changed by others."""
        ended = self.delivered + self.dead + self.deleted + self.replaced + self.missed
        return self.planned - ended - self.pending

    def __add__(self, other: Account) -> Account:
        return Account(**{item.name: getattr(self, item.name) + getattr(other, item.name) for item in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The account of messages, and that of jobs' executions: one for each webhook of each run, or run of a bot."""

    messages: Account
    executions: Account


@dataclass(frozen=True, slots=True, kw_only=True)
class Punctuality:
    """How late first attempts left that ended since an instant."""

    since: datetime
    messages: Lateness
    executions: Lateness


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest:
    """The destinations whose first attempts left latest, of those that ended since an instant."""

    since: datetime
    destinations: Mapping[Destination, Lateness]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """How many leases were given back, and how many replicas are no longer there."""

    leases: int = 0
    departed: int = 0


@dataclass(slots=True, kw_only=True)
class Minute:
    """What happened in a minute: how many attempts ended in it, how many of those failed, and how late the first
    attempts among them left; ``None`` where there were none. Not frozen: a day has many, and that costs less."""

    at: datetime
    attempts: int
    failures: int
    p50_ms: float | None
    p99_ms: float | None


class Settled(Enum):
    """What a settle found."""

    APPLIED = "applied"
    LOST = "lost"
    """The lease was gone (deleted, replaced, taken over, or settled before): nothing changed."""
    CHANGED = "changed"
    """An outside writer changed the record meanwhile: the lease ended and the new record is adopted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many live messages there are."""

    messages: int
    """Everything not yet delivered, also what is being delivered."""
    leased: int
    dead: int
    oldest_due_at: datetime | None
    """When the earliest message that nobody has leased is, or was, due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """How messages stand, and what comes next: the first message and the first job that are due later than now.

    ``retrying`` is an estimate where very many were attempted before, or were written by others.
    """

    counts: Counts
    retrying: int
    next_message: tuple[MessageId, datetime] | None
    next_job: tuple[str, datetime] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """How much falls due when: before the first of some instants, between each two, and from the last on.

    ``jobs`` counts jobs by their next run, and executions that wait for their time.
    """

    messages: Sequence[int]
    jobs: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReport:
    """What the store is and what it can lose, each risk a sentence for the operator."""

    kind: str
    """``embedded`` or ``redis``."""
    version: str
    persistence: str
    used_memory_bytes: int
    risks: Sequence[Sentence] = ()


class ChangeListener(Protocol):
    """Told of every record of a message, or of a job, that was written or has gone, by whomever; some may be missed."""

    def message(self, message_id: MessageId, *, gone: bool) -> None: ...
    def job(self, job_id: str, *, gone: bool) -> None: ...


class ScheduleListener(Protocol):
    """Told of every message this replica scheduled, once the store has said yes."""

    def __call__(self, message_id: MessageId, due_ms: int, destination: Destination, /) -> None: ...


class Receipt(Protocol[Told]):
    """Whom the result for one item is handed: a future, or what behaves like one."""

    def done(self) -> bool:
        """Say whether nobody waits any more."""
        ...

    def set_result(self, result: Told, /) -> None:
        """Take the result. Must not fail: others wait for theirs."""
        ...

    def set_exception(self, exception: Exception, /) -> None:
        """Take the reason why there is none. Must not fail either."""
        ...


class TakenListener(Protocol):
    """Told of every message whose lease this replica held and took away itself, by deleting or replacing it, before
    whoever asked for that is answered."""

    def __call__(self, message_id: MessageId, /) -> None: ...


class Store(Protocol):
    """The verbs."""

    on_scheduled: ScheduleListener | None
    on_taken: TakenListener | None
    kind: str
    """``embedded`` or ``redis``."""

    # -- messages

    async def schedule(self, message: Message, policy: ConflictPolicy, fire_at: datetime) -> Scheduled:
        """Write a message, due at ``fire_at``, in one atomic step.

        ``fire_at`` is ``message.due_at``, or the moment of acceptance when that has passed. With ``REPLACE`` any old
        version is gone, its lease included; where another replica had that, it returns :data:`DECIDED_SECONDS` later.
        Repeating a create gives ``EXISTS``.
        """
        ...

    async def replace_seen(self, message: Message, seen: Sequence[Tag], fire_at: datetime) -> Scheduled:
        """Replace a live message if it still has one of the tags, in one atomic step; else nothing changes.

        Returns ``REPLACED`` or ``NOT_AS_SEEN``; otherwise as :meth:`schedule`.
        """
        ...

    def hand_in(self, message: Message, policy: ConflictPolicy, fire_at: datetime, receipt: Receipt[Scheduled]) -> None:
        """Do as :meth:`schedule` for callers without a task: ``receipt`` is handed what that returns or raises."""
        ...

    async def cancel(self, ids: Sequence[MessageId]) -> Sequence[bool]:
        """Delete live messages; ``True`` where there was one. A lease on one is gone too, as by :meth:`schedule`."""
        ...

    async def get(self, message_id: MessageId) -> LiveMessage | None:
        """Return a live message."""
        ...

    async def run_now(self, message_id: MessageId, now: datetime) -> bool:
        """Make a live message due at once; ``False`` when there is none. No effect while an attempt goes on."""
        ...

    async def page(
        self,
        limit: int,
        cursor: str | None,
        status: MessageStatus | None = None,
        destination: Destination | None = None,
    ) -> Page[Listed]:
        """Return live messages by due time, earliest first, then by id: all, or those that match.

        Of those that match it may return fewer than ``limit`` with a cursor when it has looked at many.

        :raises InvalidInput: the cursor is none of ours
        """
        ...

    async def search(
        self,
        prefix: str,
        contains: str,
        limit: int,
        cursor: str | None,
        status: MessageStatus | None = None,
        destination: Destination | None = None,
    ) -> Page[LiveMessage]:
        """Return live messages whose id begins with ``prefix`` and contains ``contains``, in order of their ids.

        Both are matched literally; an empty one matches all. May return fewer than ``limit`` with a cursor when it
        has looked at many ids.

        :raises InvalidInput: the cursor is none of ours
        """
        ...

    async def count(self, prefix: str, contains: str) -> tuple[int, bool]:
        """Return how many live messages match, as for :meth:`search`, and whether that is all; else it has looked at
        as many as one call may."""
        ...

    async def search_ids(self, prefix: str, contains: str) -> Sequence[MessageId]:
        """Return the ids of all live messages that match, as :meth:`search` does."""
        ...

    async def cancel_matching(self, prefix: str, contains: str) -> Sequence[MessageId]:
        """Delete all live messages that match and return their ids."""
        ...

    async def overview(self, now: datetime) -> Overview:
        """Return how messages stand."""
        ...

    async def timeline(self, edges: Sequence[datetime]) -> Timeline:
        """Return how much falls due between instants, which come in order. What is leased is not counted."""
        ...

    async def counts(self) -> Counts:
        """Return how many there are."""
        ...

    # -- dead letters and the delivery log

    async def dead_letters(
        self,
        limit: int,
        cursor: str | None,
        prefix: str = "",
        reason: DeadReason | None = None,
        destination: Destination | None = None,
    ) -> Page[DeadLetter]:
        """Return dead letters, the latest first; with ``prefix`` those of messages only, in order of their ids.

        With ``destination`` it may return fewer than ``limit`` with a cursor when it has looked at many.

        :raises InvalidInput: the cursor is none of ours
        """
        ...

    async def dead_letter(self, message_id: MessageId) -> DeadLetter | None:
        """Return one dead letter; where no message has the id, that of the execution that has."""
        ...

    async def replay(self, letter: DeadLetter, message: Message, fire_at: datetime) -> Scheduled | None:
        """Take the letter off the list and schedule ``message`` in its place, in one atomic step.

        ``None`` when the letter is gone or was replaced by a newer one; ``EXISTS`` when a live message has the id.
        """
        ...

    async def dead_groups(self) -> DeadGroups:
        """Return dead letters by reason and destination, in no order."""
        ...

    async def newest_gone(self) -> int:
        """Return the number of the last dead letter that is none any more, or 0."""
        ...

    async def gone_since(self, since: int, limit: int) -> tuple[Sequence[LetterGone], int]:
        """Return the last dead letters that are none any more, after the number ``since``, in order; and how many more
        there were before them. Those that went with their job are not among them."""
        ...

    async def discard_letters(self, letters: Sequence[DeadLetter]) -> Sequence[bool]:
        """Delete letters; ``False`` where one is gone already, or was replaced by a newer one."""
        ...

    async def discard(self, message_id: MessageId) -> bool:
        """Delete a dead letter, found as by :meth:`dead_letter`; ``False`` when there is none."""
        ...

    async def forget_dead(self, before: datetime) -> int:
        """Delete some of the letters that died before an instant; return how many, 0 when none is left."""
        ...

    async def deliveries(
        self,
        limit: int,
        cursor: str | None,
        message_id: str | None = None,
        status: OutcomeKind | None = None,
        job_id: str | None = None,
    ) -> Page[Delivery]:
        """Return the log, newest end first: of a message, of a job, or of everything.

        :raises InvalidInput: the cursor is none of ours
        """
        ...

    async def newest_delivery(self) -> str:
        """Return the id of the log's newest line, or one before any."""
        ...

    async def deliveries_since(self, since: str, until: str | None, limit: int) -> tuple[Sequence[Delivery], int]:
        """Return the newest lines of the log after the id ``since``, up to the id ``until``, oldest first; and how many
        more there are before them."""
        ...

    async def dead_of(self, ids: Sequence[MessageId]) -> Sequence[bool]:
        """Say which of the ids has a dead letter."""
        ...

    # -- the engine

    def window(self, until: datetime, limit: int) -> AsyncIterator[Sequence[tuple[int, MessageId]]]:
        """Yield ``(due_ms, id)`` of the entries due until an instant, earliest first, at most ``limit``, in pages."""
        ...

    async def destinations(self, ids: Sequence[MessageId]) -> Sequence[Destination | None]:
        """Return where each message goes; ``None`` where there is none, or its record cannot be read."""
        ...

    async def look_ahead(self, ids: Sequence[MessageId]) -> Sequence[Destination | None]:
        """Return the same as :meth:`destinations`, and be ready to claim these messages soon."""
        ...

    async def claim(self, ids: Sequence[MessageId], now: datetime, ahead: timedelta = timedelta()) -> Sequence[Claimed]:
        """Lease those of the messages that are due by ``now + ahead`` and not leased, in one atomic step."""
        ...

    async def still_leased(self, claimed: Sequence[Claimed]) -> Sequence[bool]:
        """Say of each lease whether it still holds: neither deleted nor replaced nor given back."""
        ...

    async def settle(self, settlement: Settlement) -> Settled:
        """End a lease. Repeating it gives ``LOST``."""
        ...

    def hand_over(self, settlement: Settlement, receipt: Receipt[Settled]) -> None:
        """Do as :meth:`settle` for callers without a task: ``receipt`` is handed what that returns or raises."""
        ...

    async def defer(self, ids: Sequence[MessageId], until: datetime, now: datetime) -> None:
        """Look at due messages again at ``until``: what a full destination cannot take. Not an attempt."""
        ...

    async def heartbeat(self) -> None:
        """Say that this replica lives."""
        ...

    async def farewell(self) -> None:
        """Say that this replica has given back all its leases and stops."""
        ...

    async def replicas(self) -> int:
        """Return how many replicas live, this one included once it has said so."""
        ...

    async def recover(self, now: datetime) -> Recovered:
        """Give back the leases of replicas that are dead, and leases that nobody will settle."""
        ...

    def outside_ids(self) -> AsyncIterator[Sequence[MessageId]]:
        """Yield the ids of all records there are, ours and others', in pages and in no order, some perhaps twice."""
        ...

    async def examine(self, ids: Sequence[MessageId]) -> Sequence[Found]:
        """Adopt what outside writers wrote under these ids, forget what they deleted, set aside what is no record.

        Returns what is now waiting, adopted or not, and what was set aside or left alone.
        """
        ...

    async def counters(self) -> Mapping[str, int]:
        """Return the deployment's counters, by name."""
        ...

    async def audit(self, since: datetime | None = None, until: datetime | None = None) -> Audit:
        """Return the account of what was planned for the minutes that touch ``[since, until)``.

        Without bounds it is that of all there ever was, and what is pending is counted where it stands.
        """
        ...

    async def forget_audit(self, before: datetime) -> None:
        """Forget the minutes before an instant that nothing is pending of; the account without bounds stays whole."""
        ...

    async def punctuality(self, windows: Sequence[Window]) -> Mapping[Window, Punctuality]:
        """Return how late first attempts left, of the whole deployment.

        A first attempt is one before which none failed: a retry is late on purpose, and what was put off is not. It is
        counted within half a second after it was settled; what a replica had not counted is lost when it is killed.
        """
        ...

    async def activity(self, minutes: int) -> Sequence[Minute]:
        """Return so many minutes, at most a day's, one after the other; the last is the one that goes on.

        Lateness is counted as for :meth:`punctuality`, attempts in the steps that settle them.
        """
        ...

    async def latest(self, window: Window) -> Latest:
        """Return the destinations that were latest: of each minute, or for the day of each hour, 32 by their worst.

        So the worst are exact. Where there were more, the rest of what is told of one is only since it was among them.
        The day's begins at a full hour.
        """
        ...

    async def ping(self) -> None:
        """Write a value and read it back."""
        ...

    async def report(self) -> StoreReport:
        """Say what the store is, and what it can lose."""
        ...

    async def drain(self) -> None:
        """Wait until nothing this replica wrote is on its way any more."""
        ...
