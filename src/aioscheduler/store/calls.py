"""How the store talks to Redis: commands and scripts, bounded in time, their failures translated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Final, TypeVar

from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from aioscheduler.clock import Clock, to_ms
from aioscheduler.domain.message import Message
from aioscheduler.errors import Sentence, StoreUnavailable
from aioscheduler.store.base import Found, ScheduleListener
from aioscheduler.store.channel import Channel
from aioscheduler.store.echoes import Echoes
from aioscheduler.store.scripts import script

#: No call takes longer, in seconds: the API promises its 503 within two.
CALL_TIMEOUT: Final = 1.6
#: How many records one call carries at most.
BATCH: Final = 512
#: How many entries one look at a list asks for.
PAGE: Final = 1000
#: Follows every text that begins with a prefix: no byte of UTF-8.
END_OF_PREFIX: Final = b"\xff"

#: For what goes to the server beside the store's calls.
_SPARE_CONNECTIONS = 4
#: Refusals of a healthy protocol that mean: not now. Any other refusal is a defect of ours.
_TROUBLE = ("OOM", "READONLY", "LOADING", "MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH", "NOPERM",
            "WRONGPASS", "BUSY", "UNBLOCKED", "EXECABORT")  # fmt: skip

T = TypeVar("T")


@contextmanager
def translated() -> Iterator[None]:
    """Turn whatever says that Redis cannot be used now into :class:`StoreUnavailable`."""
    try:
        yield
    except (
        ConnectionError,
        RedisTimeoutError,
        TimeoutError,
        AuthenticationError,
        BusyLoadingError,
        OutOfMemoryError,
        ReadOnlyError,
        OSError,
    ) as error:
        raise StoreUnavailable(_UNREACHABLE) from error
    except ResponseError as error:
        # Redis 6.2 wraps what a script met.
        if str(error).startswith(_TROUBLE) or "-OOM " in str(error):
            raise StoreUnavailable(REFUSED) from error
        raise
    except RedisError as error:
        raise StoreUnavailable(_UNREACHABLE) from error


_UNREACHABLE = Sentence("The store cannot be reached. Try again in a moment.")
REFUSED: Final = Sentence("The store refuses to work at the moment. Try again later.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What all parts of a store know."""

    redis: Redis
    clock: Clock
    zone: tzinfo
    replica: str
    delivery_log_size: int
    executions_per_job: int
    bot_lease_ms: int


class Calls:
    """What the parts of the store share: the client, and who is told of what was written."""

    def __init__(self, setup: Setup) -> None:
        self.on_scheduled: ScheduleListener | None = None
        self.echoes = Echoes(setup.clock.monotonic)
        self._redis = setup.redis
        self._channel = Channel(setup.redis)
        # The pool refuses whom it has no connection for; here they queue.
        self._turn = asyncio.Semaphore(max(1, setup.redis.connection_pool.max_connections - _SPARE_CONNECTIONS))
        self._clock = setup.clock
        self._zone = setup.zone
        self._replica = setup.replica

    async def _call(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            with translated():
                async with asyncio.timeout(CALL_TIMEOUT), self._turn:
                    return await call
        finally:
            call.close()  # it may never have had its turn

    async def _run(self, name: str, key_names: list[bytes], args: list[Any]) -> Any:
        with translated():
            async with asyncio.timeout(CALL_TIMEOUT):
                return await script(name)(self._channel, key_names, args)

    async def _command(self, *command: Any) -> Any:
        return await self._call(self._redis.execute_command(*command))  # type: ignore[no-untyped-call]

    async def _together(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Return the answers to commands that need not be carried out as one."""
        with translated():
            async with asyncio.timeout(CALL_TIMEOUT):
                return await asyncio.gather(*(self._channel(*command) for command in commands))

    async def _due_until(self, due: bytes, until: datetime, limit: int) -> AsyncIterator[Sequence[tuple[int, bytes]]]:
        """Yield ``(due_ms, member)`` of a set, earliest first, at most ``limit``, in pages."""
        until_ms = to_ms(until)
        place: tuple[int, bytes] = (-(2**53), b"")
        while limit > 0:
            size = min(limit, PAGE)
            rows = await self._run("page", [due], [place[0], place[1], size, until_ms])
            entries = [(int(float(rows[i + 1])), rows[i]) for i in range(0, len(rows), 2)]
            if entries:
                yield entries
            if len(entries) < size:
                return
            place = entries[-1]
            limit -= size

    async def _transaction(self, *commands: tuple[Any, ...]) -> list[Any]:
        with translated():
            async with asyncio.timeout(CALL_TIMEOUT):
                return await self._channel.transaction(commands)

    @contextmanager
    def _echo(self, records: Sequence[bytes]) -> Iterator[list[bool]]:
        """Expect a notification for each record; the block fills in which it really caused."""
        for record in records:
            self.echoes.expect(record)
        caused: list[bool] = []
        try:
            yield caused
        finally:
            caused += [False] * (len(records) - len(caused))
            for record, did in zip(records, caused, strict=True):
                if not did:
                    self.echoes.forget(record)

    def _tell(self, message: Message, due_ms: int) -> None:
        if self.on_scheduled is not None:
            self.on_scheduled(message.id, due_ms, message.target.destination)

    def _tell_found(self, found: Sequence[Found]) -> None:
        if self.on_scheduled is not None:
            for one in found:
                if one.due_ms is not None and one.invalid is None:
                    self.on_scheduled(one.id, one.due_ms, one.destination)
