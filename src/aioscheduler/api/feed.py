"""What happens in the deployment, told to whoever follows: one reader of the store for all, and none for nobody."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import tzinfo
from enum import Enum
from typing import Any, Final, Protocol

import orjson
import structlog

from aioscheduler.api.i18n import Language
from aioscheduler.api.rows import delivery_row
from aioscheduler.clock import Clock
from aioscheduler.domain.execution import OutcomeKind
from aioscheduler.domain.instant import with_offset
from aioscheduler.domain.message import MessageId
from aioscheduler.errors import RateLimited, Sentence, StoreUnavailable
from aioscheduler.store.base import ChangeListener, Delivery, Overview, Store

log = structlog.get_logger(__name__)

#: How often the store is asked, and how often for an overview, in seconds.
_PAUSE, _OVERVIEW_PAUSE = 0.25, 1.0
#: How many lines of the log one look tells: more than anybody can read, and what the loop can spare.
_MOST_LINES: Final = 200
#: How many lines a client gets that it missed while it was away.
MOST_MISSED: Final = 1000
#: How many changes wait for the next look.
_MOST_CHANGES: Final = 1000
#: How many ids of what was delivered are remembered: what became of a message that has gone.
_REMEMBERED: Final = 5000
#: How many events wait for a client, and how many bytes leave together.
QUEUE: Final = 1000
_CHUNK: Final = 65_536
#: Lines that are made before others get a turn of the loop.
_TURN: Final = 25
#: When somebody for whom there is no room may come again, in seconds.
_COME_AGAIN: Final = 10


class Kind(Enum):
    """What a client can follow."""

    DELIVERY = "delivery"
    MESSAGE = "message"
    LETTER = "letter"
    JOB = "job"
    OVERVIEW = "overview"


class Wire(Protocol):
    """A client's connection."""

    def is_closing(self) -> bool: ...
    def abort(self) -> None: ...


class Watched(Protocol):
    """Who knows of changes, and tells one listener."""

    on_change: ChangeListener | None


class Follower:
    """A client that follows. What it does not take in time it loses, oldest first, and is told how much."""

    def __init__(self, kinds: frozenset[Kind], language: Language, wire: Wire | None) -> None:
        self.kinds = kinds
        self.language: Language = language
        self.closed = False
        self.writing = False
        """Whether what was taken last is still on its way."""
        self.wants_overview = Kind.OVERVIEW in kinds
        """Whether it has not had its first."""
        self._wire = wire
        self._queue: deque[bytes] = deque()
        self._missed = 0
        self._wake = asyncio.Event()

    @property
    def gone(self) -> bool:
        """Whether the client has closed the connection."""
        return self._wire is not None and self._wire.is_closing()

    def push(self, event: bytes) -> None:
        """Put an event up for it."""
        if len(self._queue) >= QUEUE:
            self._queue.popleft()
            self._missed += 1
        self._queue.append(event)
        self._wake.set()

    def lose(self, count: int) -> None:
        """Tell it that so many events pass it by."""
        if count:
            self._missed += count
            self._wake.set()

    async def take(self, patience: float) -> bytes:
        """Return what is there for it once there is something; a heartbeat after so many seconds without."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._wake.wait()
        parts: list[bytes] = []
        size = 0
        if self._missed:
            parts.append(_event("missed", {"count": self._missed}))
            self._missed = 0
        while self._queue and size < _CHUNK:
            parts.append(self._queue.popleft())
            size += len(parts[-1])
        if not self._queue:
            self._wake.clear()
        return b"".join(parts) or b":\n\n"

    def close(self) -> None:
        """End the stream, at once also where the client does not read."""
        self.closed = True
        self._wake.set()
        if self.writing:
            self.cut()

    def cut(self) -> None:
        """Close the connection."""
        if self._wire is not None:
            self._wire.abort()


class Feed:
    """Reads the store while somebody follows, and tells the followers."""

    def __init__(self, store: Store, clock: Clock, zone: tzinfo, most: int) -> None:
        self.source: Watched | None = None
        """Who tells of changes; without, there are no events of messages and jobs."""
        self._store = store
        self._clock = clock
        self._zone = zone
        self._most = most
        self._followers: list[Follower] = []
        self._joining = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._closed = False
        self._place = ""
        self._letter = 0
        self._messages: dict[MessageId, bool] = {}
        self._jobs: dict[str, bool] = {}
        self._overflowed = 0
        self._delivered: dict[str, None] = {}
        self._overview: dict[str, Any] = {}
        self._overview_at = 0.0

    @asynccontextmanager
    async def following(self, follower: Follower, since: str | None) -> AsyncIterator[None]:
        """Tell a client what happens, and before that which attempts ended after the delivery ``since``.

        :raises RateLimited: as many follow as may
        :raises StoreUnavailable: nobody can say where the log ends
        """
        if len(self._followers) >= self._most:
            raise RateLimited(
                Sentence(
                    "{max} clients follow the events already, as many as EVENT_CLIENTS allows. Try again later.",
                    max=self._most,
                ),
                _COME_AGAIN,
            )
        self._followers.append(follower)
        try:
            async with self._joining:
                if self._closed:
                    follower.close()
                elif self._task is None:
                    if self._ending is not None:
                        await asyncio.wait({self._ending})  # two would tell everything twice
                    self._place = await self._store.newest_delivery()
                    self._letter = await self._store.newest_gone()
                    self._start()
            self._wake.set()
            if since is not None and Kind.DELIVERY in follower.kinds:
                lines, more = await self._store.deliveries_since(since, self._place, MOST_MISSED)
                follower.lose(more)
                await self._tell_lines([follower], lines)
            yield
        finally:
            self._followers.remove(follower)
            if not self._followers:
                self._stop()

    def close(self) -> None:
        """End all streams. May come twice."""
        self._closed = True
        for follower in self._followers:
            follower.close()
        self._stop()

    def _start(self) -> None:
        if self.source is not None:
            self.source.on_change = self
        self._task = asyncio.create_task(self._run(), name="feed")

    def _stop(self) -> None:
        if self.source is not None:
            self.source.on_change = None
        task, self._task = self._task, None
        if task is not None:
            self._ending = task
            task.cancel()
            self._wake.set()
        self._messages, self._jobs, self._delivered, self._overview, self._overflowed = {}, {}, {}, {}, 0

    # -- what others tell

    def message(self, message_id: MessageId, *, gone: bool) -> None:
        """Note that a message was written, or has gone."""
        if len(self._messages) < _MOST_CHANGES or message_id in self._messages:
            self._messages[message_id] = gone
        else:
            self._overflowed += 1

    def job(self, job_id: str, *, gone: bool) -> None:
        """Note that a job was written, or has gone."""
        if len(self._jobs) < _MOST_CHANGES:
            self._jobs[job_id] = gone

    # -- the reader

    async def _run(self) -> None:
        # CPython 3.11 loses a cancellation that meets the end of a wait_for, as in the Redis client's writing.
        while self._task is asyncio.current_task():
            self._wake.clear()
            try:
                await self._look()
            except StoreUnavailable:
                pass  # it comes back, or the engine says that it does not
            except Exception:
                log.exception("an unexpected error", action="feed_failed")
            with suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE):
                    await self._wake.wait()

    async def _look(self) -> None:
        for follower in self._followers:
            if follower.gone:
                follower.close()
        messages, self._messages = self._messages, {}
        jobs, self._jobs = self._jobs, {}
        overflowed, self._overflowed = self._overflowed, 0
        if self._those(Kind.DELIVERY) or self._those(Kind.MESSAGE):
            await self._tell_deliveries()
        if (following := self._those(Kind.MESSAGE)) and messages:
            for follower in following:
                follower.lose(overflowed)
            await self._tell_messages(following, messages)
        # Also while nobody follows these: whoever begins to is not told of what went before.
        await self._tell_letters(self._those(Kind.LETTER))
        for job_id, gone in jobs.items():
            self._tell(self._those(Kind.JOB), Kind.JOB, {"id": job_id, "change": "deleted" if gone else "changed"})
        if following := self._those(Kind.OVERVIEW):
            await self._tell_overview(following)

    def _those(self, kind: Kind) -> Sequence[Follower]:
        return [follower for follower in self._followers if kind in follower.kinds and not follower.closed]

    async def _tell_deliveries(self) -> None:
        lines, more = await self._store.deliveries_since(self._place, None, _MOST_LINES)
        if not lines:
            return
        self._place = lines[-1].id
        for line in lines:
            if line.status is OutcomeKind.SUCCESS and line.message_id is not None:
                self._delivered[line.message_id] = None
        while len(self._delivered) > _REMEMBERED:
            del self._delivered[next(iter(self._delivered))]
        following = self._those(Kind.DELIVERY)
        for follower in following:
            follower.lose(more)
        await self._tell_lines(following, lines)

    async def _tell_lines(self, following: Sequence[Follower], lines: Sequence[Delivery]) -> None:
        for number, line in enumerate(lines, 1):
            made: dict[Language, bytes] = {}
            for follower in following:
                speech = follower.language
                if speech not in made:
                    made[speech] = _event(Kind.DELIVERY.value, delivery_row(line, self._zone, speech), line.id)
                follower.push(made[speech])
            if number % _TURN == 0:
                await asyncio.sleep(0)

    async def _tell_messages(self, following: Sequence[Follower], messages: dict[MessageId, bool]) -> None:
        gone = [message_id for message_id, is_gone in messages.items() if is_gone]
        unclear = [message_id for message_id in gone if message_id not in self._delivered]
        dead = set()
        if unclear:
            found = await self._store.dead_of(unclear)
            dead = {message_id for message_id, is_dead in zip(unclear, found, strict=True) if is_dead}
        for number, (message_id, is_gone) in enumerate(messages.items(), 1):
            change = "scheduled"
            if is_gone:
                change = "dead" if message_id in dead else "delivered" if message_id in self._delivered else "deleted"
            self._delivered.pop(message_id, None)
            self._tell(following, Kind.MESSAGE, {"id": message_id, "change": change})
            if number % _TURN == 0:
                await asyncio.sleep(0)

    async def _tell_letters(self, following: Sequence[Follower]) -> None:
        letters, more = await self._store.gone_since(self._letter, _MOST_LINES)
        for follower in following:
            follower.lose(more)
        for letter in letters:
            self._letter = letter.number
            self._tell(following, Kind.LETTER, {"id": letter.id, "change": letter.change})

    async def _tell_overview(self, following: Sequence[Follower]) -> None:
        time = asyncio.get_running_loop().time()
        fresh = [follower for follower in following if follower.wants_overview]
        if time < self._overview_at and not fresh:
            return
        self._overview_at = time + _OVERVIEW_PAUSE
        now = self._clock.now()
        overview = _overview(await self._store.overview(now), lambda at: with_offset(at, self._zone), now.timestamp())
        told = {"at": with_offset(now, self._zone), **overview}
        self._tell(following if overview != self._overview else fresh, Kind.OVERVIEW, told)
        self._overview = overview
        for follower in fresh:
            follower.wants_overview = False

    def _tell(self, following: Sequence[Follower], kind: Kind, data: dict[str, Any]) -> None:
        event = _event(kind.value, data) if following else b""
        for follower in following:
            follower.push(event)


def _overview(found: Overview, shown: Callable[[Any], str], now: float) -> dict[str, Any]:
    counts, message, job = found.counts, found.next_message, found.next_job
    oldest = counts.oldest_due_at
    return {
        "pending": counts.messages,
        "delivering": counts.leased,
        "retrying": found.retrying,
        "dead": counts.dead,
        "oldestOverdueSeconds": 0.0 if oldest is None else max(0.0, round(now - oldest.timestamp(), 3)),
        "nextDue": None if message is None else {"messageId": message[0], "at": shown(message[1])},
        "nextJob": None if job is None else {"jobId": job[0], "at": shown(job[1])},
    }


def _event(name: str, data: dict[str, Any], event_id: str | None = None) -> bytes:
    head = b"" if event_id is None else b"id: %s\n" % event_id.encode()
    # What JSON says has no line breaks.
    return b"%sevent: %s\ndata: %s\n\n" % (head, name.encode(), orjson.dumps(data))
