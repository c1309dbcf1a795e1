"""One connection that many calls share: commands leave at once, answers are told apart by their order.

The Redis client takes a connection out of its pool for every command and spends more on that than on the command. The
hot path is a few scripts, each called with what one turn of the loop collected; they go through here. Connecting, with
all that belongs to it (TLS, user, database, Sentinel), stays the client's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import hiredis
import structlog
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, NoScriptError, RedisError, ResponseError

from aioscheduler.errors import Sentence, StoreUnavailable

log = structlog.get_logger(__name__)

#: How long a look takes whether a write would be kept, in ms.
_PROOF_MS: Final = 500
#: What is left of a call's time when the wait gives up, in seconds: for the answer's way back.
_MARGIN: Final = 0.25


class Channel(asyncio.Protocol):
    """Sends commands and returns their answers; connects when there is something to send.

    The connection belongs to the client's pool, which closes it with all others.
    """

    def __init__(self, redis: Redis, limit: float | None = None) -> None:
        """Give up the connection when an answer has not come within ``limit`` seconds; ``None``: callers see to it.

        One timer looks after all answers, where a time limit around each call costs as much as the call.
        """
        self._redis = redis
        self._limit = limit
        self._look: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: AbstractConnection | None = None
        self._transport: asyncio.Transport | None = None
        self._replaced: asyncio.BaseProtocol | None = None
        self._parser = hiredis.Reader()
        #: Who waits, ``None`` where nobody does, and since when.
        self._waiting: deque[tuple[asyncio.Future[Any] | None, float]] = deque()
        self._connecting = asyncio.Lock()
        self._has_socket = True

    async def __call__(self, *command: Any) -> Any:
        """Return the answer to a command.

        Who gives up waiting gives up the connection: an answer that does not come holds up all that follow.

        :raises redis.exceptions.RedisError: as the client itself would
        """
        if self._transport is None:
            await self._connect()
        if self._transport is None:
            return await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
        return await self._send(self._transport, hiredis.pack_command(command), 0)

    async def transaction(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the answers to commands that are carried out together.

        :raises redis.exceptions.RedisError: as the client itself would; none of the commands was carried out
        """
        if self._transport is None:
            await self._connect()
        if self._transport is None:
            pipe = self._redis.pipeline(transaction=True)
            for command in commands:
                pipe.execute_command(*command)
            return await pipe.execute()
        packed = b"".join(map(hiredis.pack_command, (("MULTI",), *commands, ("EXEC",))))
        answers: list[Any] = await self._send(self._transport, packed, len(commands) + 1)
        return answers

    @property
    def connected(self) -> bool:
        """Whether the next call finds a connection."""
        return self._transport is not None

    async def together(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the answers to commands that leave in one piece over one connection; errors stand among them."""
        if self._transport is None:
            await self._connect()
        if self._transport is None:
            pipe = self._redis.pipeline(transaction=False)
            for command in commands:
                pipe.execute_command(*command)
            return await pipe.execute(raise_on_error=False)
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[Any]] = [loop.create_future() for _ in commands]
        now = loop.time()
        self._waiting.extend((answer, now) for answer in answers)
        self._transport.write(b"".join(map(hiredis.pack_command, commands)))
        try:
            return await asyncio.gather(*answers, return_exceptions=True)
        except asyncio.CancelledError:
            self._give_up(ConnectionError("an answer did not come in time"))
            raise

    async def _send(self, transport: asyncio.Transport, packed: bytes, receipts: int) -> Any:
        """Return the last answer; ``receipts`` is how many before it only say that something was received."""
        loop = self._loop
        assert loop is not None, "connected"
        answer: asyncio.Future[Any] = loop.create_future()
        now = loop.time()
        for _ in range(receipts):
            self._waiting.append((None, now))
        self._waiting.append((answer, now))
        if self._look is None and self._limit is not None:
            self._look = loop.call_later(self._limit, self._look_after, self._limit)
        transport.write(packed)
        try:
            return await answer
        except asyncio.CancelledError:
            if any(waiting is answer for waiting, _ in self._waiting):
                self._give_up(ConnectionError("an answer did not come in time"))
            raise

    def _look_after(self, limit: float) -> None:
        self._look = None
        if self._loop is None or not self._waiting:
            return
        left = self._waiting[0][1] + limit - self._loop.time()
        if left > 0:
            self._look = self._loop.call_later(left, self._look_after, limit)
        else:
            self._give_up(ConnectionError("an answer did not come in time"))

    async def _connect(self) -> None:
        async with self._connecting:
            if self._transport is not None or not self._has_socket:
                return
            pool = self._redis.connection_pool
            if self._connection is not None:
                connection, self._connection = self._connection, None
                await connection.disconnect(nowait=True)
                await pool.release(connection)
            self._connection = connection = await pool.get_connection()  # type: ignore[no-untyped-call]
            # The client has no public way to hand over its socket; its own handshake is done, and no answer is due.
            transport = getattr(connection._writer, "transport", None)
            if transport is None:
                self._has_socket = False  # an imitation, which tests run on
                return
            self._loop = asyncio.get_running_loop()
            self._parser = hiredis.Reader()
            self._replaced = transport.get_protocol()
            transport.set_protocol(self)
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand out answers, in the order of the commands."""
        self._parser.feed(data)
        try:
            while (reply := self._parser.gets()) is not False:
                self._hand_out(reply)
        except hiredis.ProtocolError as error:
            self._give_up(ConnectionError(str(error)))

    def _hand_out(self, reply: Any) -> None:
        if isinstance(reply, hiredis.PushNotification) or not self._waiting:
            return  # nothing anybody asked for
        answer, _ = self._waiting.popleft()
        if answer is None or answer.done():
            return  # nobody waits for it
        if not isinstance(reply, hiredis.ReplyError):
            answer.set_result(reply)
            return
        text = str(reply)
        answer.set_exception(NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text))
        if text.startswith("READONLY"):
            # An old primary after a failover: the next call asks anew who is the primary.
            self._give_up(ConnectionError("the server is no primary any more"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits, and the client, which may be closing it."""
        if isinstance(self._replaced, asyncio.Protocol):
            self._replaced.connection_lost(exc)
        self._give_up(ConnectionError(str(exc or "the server closed the connection")))

    def _give_up(self, error: RedisError) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        waiting, self._waiting = self._waiting, deque()
        for answer, _ in waiting:
            if answer is not None and not answer.done():
                answer.set_exception(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """Where a client's write has to be before it is answered: on so many replicas, in the append-only file.

    With both, the files of the replicas count.
    """

    replicas: int = 0
    append_only: bool = False

    def __bool__(self) -> bool:
        return self.replicas > 0 or self.append_only

    def commands(self, ms: int) -> list[tuple[Any, ...]]:
        """Return what waits, at most so many milliseconds, until what went before on the connection is kept."""
        if not self.append_only:
            return [("WAIT", self.replicas, ms)]
        # Under everysec, servers answer before the disk has it: Valkey 9.1 does (seen), and Redis 7.4 did.
        return [("WAITAOF", 1, self.replicas, ms), ("CONFIG", "GET", "appendfsync")]

    def lack(self, answers: Sequence[Any]) -> str | None:
        """Return what the answers to :meth:`commands` say is missing, for the log; ``None``: all is kept."""
        kept, *policy = answers
        if isinstance(kept, ResponseError):
            return f"the server refuses to wait: {kept}"
        if isinstance(kept, BaseException):
            raise kept
        local, replicas = kept if self.append_only else (1, kept)
        if self.append_only and (not local or not _says(policy[0], b"always")):
            return "the append-only file is not written to the disk before each answer: set appendfsync always"
        return f"{replicas} of {self.replicas} replicas have it" if replicas < self.replicas else None


def _says(answer: Any, value: bytes) -> bool:
    """Say whether an answer of CONFIG GET has this value; who may not ask is not told."""
    return not isinstance(answer, BaseException) and value in (answer.values() if isinstance(answer, dict) else answer)


class WriteThrough:
    """Sends what clients write, and answers once it is kept; what cannot be kept is refused.

    It has a connection of its own, because a wait holds up whatever follows on it: one wait for all that one turn of
    the loop wrote, or that gathered during the wait before. Where writes were not kept, nothing more is written until
    they would be.
    """

    def __init__(self, redis: Redis, keeping: Keeping, limit: float) -> None:
        """Answer within ``limit`` seconds."""
        self._channel = Channel(redis)
        self._keeping = keeping
        self._limit = limit
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any], float]] = []
        self._task: asyncio.Task[None] | None = None
        self._proved = False
        self._told = False

    async def __call__(self, *command: Any) -> Any:
        """Return the answer to a command whose effect is kept.

        :raises StoreUnavailable: it is not kept; its sentence says whether it may stand all the same
        :raises redis.exceptions.RedisError: as the client itself would
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((command, answer, loop.time()))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="write-through")
        return await answer

    async def _run(self) -> None:
        batch: list[tuple[tuple[Any, ...], asyncio.Future[Any], float]] = []
        try:
            while self._waiting:
                # Who gave up meanwhile was told so: nothing of theirs is written now.
                batch, self._waiting = [item for item in self._waiting if not item[1].done()], []
                if batch:
                    await self._write(batch)
        except Exception as error:  # the callers' own: each gets it
            self._proved = False
            # Whoever queued up behind has waited as long.
            for _, answer, _ in (*batch, *self._waiting):
                if not answer.done():
                    answer.set_exception(error)
            self._waiting = []
        finally:
            self._task = None

    async def _write(self, batch: Sequence[tuple[tuple[Any, ...], asyncio.Future[Any], float]]) -> None:
        loop = asyncio.get_running_loop()
        give_up = batch[0][2] + self._limit
        async with asyncio.timeout_at(give_up):
            if not self._proved or not self._channel.connected:
                lack = self._keeping.lack(await self._channel.together(self._keeping.commands(_PROOF_MS)))
                if lack is not None:
                    raise self._refusal(lack, written=False)
                self._proved = True
            ms = max(1, int((give_up - _MARGIN - loop.time()) * 1000))
            commands = [command for command, _, _ in batch]
            answers = await self._channel.together([*commands, *self._keeping.commands(ms)])
        answered = answers[: len(batch)]
        for (_, future, _), answer in zip(batch, answered, strict=True):
            if isinstance(answer, BaseException) and not future.done():
                future.set_exception(answer)
        if all(isinstance(answer, BaseException) for answer in answered):
            return
        lack = self._keeping.lack(answers[len(batch) :])
        if lack is not None:
            raise self._refusal(lack, written=True)
        if self._told:
            self._told = False
            log.info("clients' writes are kept again", action="write_through_back")
        for (_, future, _), answer in zip(batch, answered, strict=True):
            if not future.done():
                future.set_result(answer)

    def _refusal(self, lack: str, *, written: bool) -> StoreUnavailable:
        if not self._told:
            self._told = True
            log.warning("clients' writes are not kept as the settings ask", action="write_through_failed", reason=lack)
        replicas = self._keeping.replicas
        if self._keeping.append_only:
            return StoreUnavailable(
                Sentence("The write may stand, but not yet on the disks it has to be on. Try again in a moment.")
                if written
                else Sentence("The store cannot put writes on the disks they have to be on, so it takes none now.")
            )
        return StoreUnavailable(
            Sentence(
                "The write may stand, but too few replicas of the store have it ({replicas} needed). "
                "Try again in a moment.",
                replicas=replicas,
            )
            if written
            else Sentence(
                "Too few of the store's replicas keep up ({replicas} needed), so it takes no writes now. "
                "Try again later.",
                replicas=replicas,
            )
        )
