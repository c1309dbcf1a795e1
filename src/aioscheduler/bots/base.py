"""What a bot is, and what it may use. ``docs/bots.md`` shows how to write one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Any, Protocol

from aioscheduler.clock import Clock
from aioscheduler.errors import AioschedulerError, InvalidInput, Sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class BotResult:
    """What a run did. ``details`` becomes ``result`` in the history, so it must be fit for JSON."""

    messages_sent: int = 0
    profiles_visited: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)


class BotFailed(AioschedulerError):
    """The run failed; ``result`` says what it did until then."""

    def __init__(self, sentence: Sentence, result: BotResult | None = None) -> None:
        super().__init__(sentence)
        self.result = result or BotResult()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer over HTTP. ``body`` is cut at the limit that was asked for. ``status`` is ``None`` and ``error`` says
    why where there was no answer."""

    status: int | None
    body: bytes = b""
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it was answered with 2xx."""
        return self.status is not None and 200 <= self.status < 300


class Http(Protocol):
    """Requests on the service's connections: guarded by its address policy, signed, bounded in time."""

    async def get(self, url: str, *, max_bytes: int = 65_536, timeout_seconds: float = 30) -> Reply:
        """Request a URL, following up to five redirects. Raises nothing but ``CancelledError``."""
        ...

    async def post(self, url: str, body: bytes, *, identity: str, timeout_seconds: float = 30) -> Reply:
        """Send JSON, without following redirects. Raises nothing but ``CancelledError``.

        :param identity: what the ``webhook-id`` is derived from: the same for the same thing sent again
        """
        ...


class Memory(Protocol):
    """What a bot remembers from run to run: texts by key, shared by all jobs of its type and by all replicas.

    Both raise :class:`~aioscheduler.errors.StoreUnavailable`.
    """

    async def read(self, keys: Sequence[str]) -> Sequence[str | None]:
        """Return the texts, ``None`` where there is none."""
        ...

    async def read_all(self) -> Mapping[str, str]:
        """Return everything."""
        ...

    async def swap(self, key: str, old: str | None, new: str | None) -> bool:
        """Put ``new`` in the place of ``old``, if that is what stands there; ``None`` means no text.

        Returns whether it did. This is atomic: of two replicas that try, one succeeds.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BotRun:
    """One run: what it is asked to do, and what it may use.

    ``config`` is what :meth:`Bot.check` returned for the job's ``bot_config``; ``zone`` the job's time zone;
    ``scheduled_for`` the fire time, in UTC.
    """

    job_id: str
    job_name: str
    config: Mapping[str, Any]
    zone: tzinfo
    scheduled_for: datetime
    clock: Clock
    http: Http
    memory: Memory
    time_limit: timedelta


class Bot(Protocol):
    """A bot. One object serves all its jobs, several runs of it at once: it keeps what it knows in its memory."""

    def check(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a job's ``bot_config`` with every default filled in; members it does not know are ignored.

        :raises InvalidInput: a member is not legal; named without a prefix, such as ``limit``
        """
        ...

    async def run(self, run: BotRun) -> BotResult:
        """Do the work, on the event loop: anything that blocks belongs into a thread.

        Cancelled when its time limit is over, its job is deleted, or the service stops; after a stop the run is made
        again, here or on another replica.

        :raises BotFailed: it did not succeed; the sentence becomes the ``error`` in the history
        """
        ...


# -- what most bots need

#: What a member of ``bot_config`` has to be: its default, and what is wrong with a value, if anything.
Option = tuple[object, Callable[[object], Sentence | None]]


def flag(default: bool) -> Option:
    """Return an option that is true or false."""
    return default, lambda value: None if isinstance(value, bool) else Sentence("must be true or false")


def count(default: int, least: int, most: int | None = None) -> Option:
    """Return an option that is a whole number, bounds included."""

    def wrong(value: object) -> Sentence | None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if whole and least <= value and (most is None or value <= most):  # type: ignore[operator]  # an int by now
            return None
        if most is None:
            return Sentence("must be a whole number, at least {min}", min=least)
        return Sentence("must be a whole number from {min} to {max}", min=least, max=most)

    return default, wrong


def check_options(config: Mapping[str, Any], options: Mapping[str, Option]) -> dict[str, Any]:
    """Return the members of ``config`` that are options, with the defaults of those that are not there.

    :raises InvalidInput: one or more are not legal; all of them are named
    """
    errors = {
        name: [reason]
        for name, (_, wrong) in options.items()
        if name in config and (reason := wrong(config[name])) is not None
    }
    if errors:
        raise InvalidInput(errors)
    return {name: config.get(name, default) for name, (default, _) in options.items()}


async def pause(clock: Clock, seconds: float) -> None:
    """Return after so many seconds, however the wall clock is stepped meanwhile."""
    end = clock.monotonic() + seconds
    never = asyncio.Event()
    while (left := end - clock.monotonic()) > 0:
        await clock.wait(never, clock.now_ms() + int(left * 1000) + 1)
