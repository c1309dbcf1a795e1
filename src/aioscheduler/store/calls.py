"""How the store talks to Redis: commands and scripts, bounded in time, their failures translated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Final, TypeVar

import structlog
from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from aioscheduler.clock import Clock, SteeredClock, to_ms
from aioscheduler.domain.message import Message, MessageId
from aioscheduler.errors import Sentence, StoreUnavailable
from aioscheduler.store.base import DECIDED_SECONDS, Found, ScheduleListener, TakenListener
from aioscheduler.store.channel import Channel, Keeping, WriteThrough
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
#: The same where the code is lost or wrapped: by Redis 6.2 around what a script met, and for a command in a script that
#: the user may not run.
_WRAPPED = ("-OOM ", "-READONLY ", "-MISCONF ", "-NOREPLICAS ", "-NOPERM ", "ACL failure in script",
            "can't run this command or subcommand")  # fmt: skip

#: The scripts by which clients write; what the engine does in between is not waited for.
_CLIENTS_WRITES: Final = frozenset(
    (
        *("schedule", "cancel", "run_now", "replay", "discard"),
        *("write_jobs", "delete_job", "write_webhook", "run_job", "retry_execution"),
    )
)

T = TypeVar("T")
log = structlog.get_logger(__name__)
#: A difference between clocks that is worth a line in the log, in milliseconds.
_TELL_MS: Final = 100


@contextmanager
def translated() -> Iterator[None]:
    """Turn whatever says that Redis cannot be used now into :class:`StoreUnavailable`."""
    try:
        yield
    except (
        AuthenticationError,
        BusyLoadingError,
        ClusterDownError,
        NoPermissionError,
        OutOfMemoryError,
        ReadOnlyError,
    ) as error:
        raise _Trouble(REFUSED, error) from error
    except (ConnectionError, RedisTimeoutError, TimeoutError, OSError) as error:
        raise _Trouble(_UNREACHABLE, error) from error
    except ResponseError as error:
        if str(error).startswith(_TROUBLE) or any(text in str(error) for text in _WRAPPED):
            raise _Trouble(REFUSED, error) from error
        raise
    except RedisError as error:
        raise _Trouble(_UNREACHABLE, error) from error


class _Trouble(StoreUnavailable):
    """Its text, for the log, has the cause; its sentence, for clients, has not."""

    def __init__(self, sentence: Sentence, cause: Exception) -> None:
        super().__init__(sentence)
        self._cause = cause

    def __str__(self) -> str:
        return f"{self.sentence} ({str(self._cause) or 'no answer in time'})"


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
    keeping: Keeping


class Calls:
    """What the parts of the store share: the client, and who is told of what was written."""

    def __init__(self, setup: Setup) -> None:
        self.on_scheduled: ScheduleListener | None = None
        self.on_taken: TakenListener | None = None
        self.echoes = Echoes(setup.clock.monotonic)
        self._redis = setup.redis
        self._channel = Channel(setup.redis, CALL_TIMEOUT)
        self._kept = WriteThrough(setup.redis, setup.keeping, CALL_TIMEOUT) if setup.keeping else None
        # The pool refuses whom it has no connection for; here they queue.
        self._turn = asyncio.Semaphore(max(1, setup.redis.connection_pool.max_connections - _SPARE_CONNECTIONS))
        self._clock = setup.clock
        self._steered = setup.clock if isinstance(setup.clock, SteeredClock) else None
        #: What tells a script to ask for the server's time.
        self._ask_time = "0" if self._steered is None else "1"
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
        send = self._channel if self._kept is None or name not in _CLIENTS_WRITES else self._kept
        with translated():
            if send is self._channel and self._channel.connected:
                # It keeps the time by itself.
                try:
                    return await script(name).by_digest(send, key_names, args)
                except NoScriptError:
                    pass
            async with asyncio.timeout(CALL_TIMEOUT):
                return await script(name)(send, key_names, args)

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

    def _note_ahead(self, now_ms: int, server_ms: int) -> None:
        """Put the clock right after it has shown ``now_ms``, when the server's came to less later."""
        if now_ms > server_ms:
            self._adjust(now_ms - server_ms)

    def _adjust(self, ahead_ms: int) -> None:
        if self._steered is None:
            return
        self._steered.adjust(ahead_ms)
        if abs(ahead_ms) >= _TELL_MS:
            log.warning(
                "the clock of this machine and the store's differ; the store's counts",
                action="clock_adjusted",
                ahead_ms=ahead_ms,
            )

    @contextmanager
    def _echo(self, records: Sequence[bytes]) -> Iterator[list[bool]]:
        """Expect a notification for each record; the block fills in which it really caused."""
        self.echoes.expect(*records)
        caused: list[bool] = []
        try:
            yield caused
        finally:
            caused += [False] * (len(records) - len(caused))
            if not all(caused):
                for record, did in zip(records, caused, strict=True):
                    if not did:
                        self.echoes.forget(record)

    def _tell(self, message: Message, due_ms: int) -> None:
        if self.on_scheduled is not None:
            self.on_scheduled(message.id, due_ms, message.target.destination)

    def _note_taken(self, message_id: MessageId, code: int) -> None:
        """Note whose lease a script took away, by the tens of its code."""
        if code // 10 == 1 and self.on_taken is not None:
            self.on_taken(message_id)

    async def _decided(self, code: int) -> None:
        """Return when the lease that a script took away, by the tens of its code, is nobody's any more."""
        if code // 10 == 2:
            await self._clock.pause(DECIDED_SECONDS)

    def _tell_found(self, found: Sequence[Found]) -> None:
        if self.on_scheduled is not None:
            for one in found:
                if one.due_ms is not None and one.invalid is None:
                    self.on_scheduled(one.id, one.due_ms, one.destination)
