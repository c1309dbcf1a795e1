"""One connection that many calls share: commands leave at once, answers are told apart by their order.

The Redis client takes a connection out of its pool for every command and spends more on that than on the command. The
hot path is a few scripts, each called with what one turn of the loop collected; they go through here. Connecting, with
all that belongs to it (TLS, user, database, Sentinel), stays the client's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, NoScriptError, RedisError, ResponseError


class Channel(asyncio.Protocol):
    """Sends commands and returns their answers; connects when there is something to send.

    The connection belongs to the client's pool, which closes it with all others.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._connection: AbstractConnection | None = None
        self._transport: asyncio.Transport | None = None
        self._replaced: asyncio.BaseProtocol | None = None
        self._parser = hiredis.Reader()
        self._waiting: deque[asyncio.Future[Any] | None] = deque()
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

    async def _send(self, transport: asyncio.Transport, packed: bytes, receipts: int) -> Any:
        """Return the last answer; ``receipts`` is how many before it only say that something was received."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.extend([None] * receipts)
        self._waiting.append(answer)
        transport.write(packed)
        try:
            return await answer
        except asyncio.CancelledError:
            if answer in self._waiting:
                self._give_up(ConnectionError("an answer did not come in time"))
            raise

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
        answer = self._waiting.popleft()
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
        for answer in waiting:
            if answer is not None and not answer.done():
                answer.set_exception(error)
