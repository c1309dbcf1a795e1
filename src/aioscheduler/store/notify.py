"""Keyspace notifications as an asynchronous iterator of hints.

A hint may be lost or repeated, so nothing relies on one: it costs a look. The connection is read by our own code: a
general pub/sub client spends ten times as much on a notification, and notices neither a server that is frozen nor what
was missed while it reconnected.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import hiredis
import structlog
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, RedisError, ResponseError

from aioscheduler.domain.job import JobId
from aioscheduler.domain.message import MessageId
from aioscheduler.store import keys
from aioscheduler.store.base import ChangeListener
from aioscheduler.store.echoes import Echoes
from aioscheduler.store.recurring import JobsChanged
from aioscheduler.store.redis import CALL_TIMEOUT, message_id_of
from aioscheduler.store.report import has_events, with_events

log = structlog.get_logger(__name__)

#: Hints are gathered for this long, in seconds, and handled together.
GATHER: Final = 0.005
#: A server silent for this long is asked; silent for as long again, it is given up. Seconds.
SILENCE: Final = 1.0
_BACKOFF: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
_CHUNK = 65_536
_CANCEL_AGAIN = 0.2
#: Events after which there is nothing under a key any more.
_GONE: Final = (b"del", b"expired", b"evicted", b"rename_from")


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A new subscription stands: whatever happened before it may have been missed."""

    has_events: bool
    """Whether the server sends notifications at all; some managed ones refuse to."""


class Notifications:
    """After :meth:`start`, iterate to get :class:`Subscribed`, lists of ids of messages that others wrote or deleted,
    and :class:`JobsChanged`."""

    def __init__(self, redis: Redis, database: int, echoes: Echoes) -> None:
        self.connected = False
        #: Told of everything, own writes too, while somebody follows.
        self.on_change: ChangeListener | None = None
        self._redis = redis
        self._prefix = b"__keyspace@%d__:" % database
        self._echoes = echoes
        self._warned = False
        self._subscribed: Subscribed | None = None
        self._ids: dict[MessageId, None] = {}
        self._jobs: dict[JobId, None] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        echoes.mistaken = self._hint

    async def start(self) -> None:
        """Connect, and go on connecting; returns at once."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="notifications")

    async def stop(self) -> None:
        """Close the connection. May come twice, or before :meth:`start`."""
        task, self._task = self._task, None
        if task is not None:
            while not task.done():  # the client swallows a cancellation that meets it while it connects (seen)
                task.cancel()
                await asyncio.wait({task}, timeout=_CANCEL_AGAIN)

    async def __aiter__(self) -> AsyncIterator[Subscribed | list[MessageId] | JobsChanged]:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._subscribed is not None:
                subscribed, self._subscribed = self._subscribed, None
                yield subscribed
            if self._ids or self._jobs:
                await asyncio.sleep(GATHER)
            if self._ids:
                ids, self._ids = list(self._ids), {}
                yield ids
            if self._jobs:
                jobs, self._jobs = list(self._jobs), {}
                yield JobsChanged(jobs)

    async def _run(self) -> None:
        failures, told = 0, set[str]()
        while True:
            connection: AbstractConnection = self._redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
            try:
                reader, parser, has_events_now = await self._subscribe(connection)
                if failures:
                    log.info("notifications are back", action="notifications_back")
                failures = 0
                told.clear()
                self.connected = True
                self._subscribed = Subscribed(has_events_now)
                self._wake.set()
                await self._read(connection, reader, parser)
            except (RedisError, OSError, hiredis.HiredisError) as error:
                # A server that closed the connection may say why when asked for a new one: a password, for instance.
                if (reason := str(error) or "no answer in time") not in told:
                    told.add(reason)
                    log.warning("notifications interrupted", action="notifications_lost", error=reason)
                await asyncio.sleep(_BACKOFF[min(failures, len(_BACKOFF) - 1)])
                failures += 1
            finally:
                self.connected = False
                await _disconnect(connection)

    async def _subscribe(self, connection: AbstractConnection) -> tuple[asyncio.StreamReader, hiredis.Reader, bool]:
        async with asyncio.timeout(CALL_TIMEOUT):
            await connection.connect()  # type: ignore[no-untyped-call]
            has = await self._switch_on(connection)
            patterns = [self._prefix + prefix + b"*" for prefix in (keys.RECORD_PREFIX, keys.JOB_PREFIX)]
            await connection.send_command("PSUBSCRIBE", *patterns)
            # The client has no public way to hand over the stream; it is only read, and only after its own handshake.
            reader = connection._reader
            if reader is None:
                raise ConnectionError("this connection brings no notifications")
            parser = hiredis.Reader()
            while (answer := parser.gets()) is False:
                parser.feed(await _some(reader))
        if not isinstance(answer, list | hiredis.ReplyError):
            raise ConnectionError("the server does not know what a subscription is")
        # From here on the server tells everything: what it was expected to tell before would only hide others' writes.
        self._echoes.clear()
        if isinstance(answer, hiredis.ReplyError):
            self._warn(answer)
            has = False
        return reader, parser, has

    async def _switch_on(self, connection: AbstractConnection) -> bool:
        """Ask the server for the notifications we need; a restarted one has forgotten."""
        try:
            answer = await _ask(connection, "CONFIG", "GET", "notify-keyspace-events")
            pairs = answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
            flags = pairs.get(b"notify-keyspace-events", b"").decode()
            if not has_events(flags):
                await _ask(connection, "CONFIG", "SET", "notify-keyspace-events", with_events(flags))
        except ResponseError as error:
            self._warn(error)
            return False
        return True

    def _warn(self, refusal: Exception) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "the server does not let us switch on keyspace notifications: messages that others write to it "
                "are found by the slow resync only. Set notify-keyspace-events to Kg$xe there, and let the user "
                "subscribe to the channels __keyspace@*.",
                action="notifications_refused",
                error=str(refusal),
            )

    async def _read(self, connection: AbstractConnection, reader: asyncio.StreamReader, parser: hiredis.Reader) -> None:
        asked = False
        while True:
            while (push := parser.gets()) is not False:
                self._take(push)
            try:
                async with asyncio.timeout(SILENCE):
                    data = await _some(reader)
            except TimeoutError:
                if asked:
                    raise ConnectionError("the server does not answer") from None
                await connection.send_command("PING")
                asked = True
                continue
            asked = False
            parser.feed(data)

    def _take(self, push: Any) -> None:
        if not (isinstance(push, list) and len(push) == 4 and push[0] == b"pmessage"):
            return  # the answer to PING
        key = push[2][len(self._prefix) :]
        if self.on_change is not None:
            self._tell_change(self.on_change, key, gone=push[3] in _GONE)
        if not self._echoes.is_own(key):
            self._hint(key)

    def _tell_change(self, listener: ChangeListener, key: bytes, *, gone: bool) -> None:
        if key.startswith(keys.JOB_PREFIX):
            listener.job(keys.job_id_of(key), gone=gone)
        elif (message_id := message_id_of(key)) is not None:
            listener.message(message_id, gone=gone)

    def _hint(self, key: bytes) -> None:
        if key.startswith(keys.JOB_PREFIX):
            self._jobs[keys.job_id_of(key)] = None
            self._wake.set()
        elif (message_id := message_id_of(key)) is not None:
            self._ids[message_id] = None
            self._wake.set()


async def _some(reader: asyncio.StreamReader) -> bytes:
    data = await reader.read(_CHUNK)
    if not data:
        raise ConnectionError("the server closed the connection")
    return data


async def _ask(connection: AbstractConnection, *command: str) -> Any:
    await connection.send_command(*command)
    return await connection.read_response()


async def _disconnect(connection: AbstractConnection) -> None:
    try:
        await connection.disconnect(nowait=True)
    except (RedisError, OSError):
        log.debug("a broken connection could not be closed", action="disconnect_failed", exc_info=True)
