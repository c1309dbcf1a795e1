"""Names to addresses."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

from aioscheduler.clock import Clock
from aioscheduler.engine.transport import DNS_TTL

#: Names resolved at once. A name server that hangs holds up a thread, so there are more than a default executor has.
RESOLVER_THREADS: Final = 32
#: Names remembered at most; the oldest go first.
MAX_NAMES: Final = 4096

#: An address as ``socket`` wants it: family and IP address.
Address = tuple[socket.AddressFamily, str]


class ThreadResolver(AbstractResolver):
    """``getaddrinfo`` on threads of its own: names that do not resolve hold up neither each other nor other work."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        try:
            infos = await asyncio.get_running_loop().run_in_executor(
                self._threads, socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG
            )
        except UnicodeError as error:  # a label that is empty or longer than 63 characters
            raise OSError(socket.EAI_NONAME, "no legal host name") from error
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=found,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for found, _, protocol, _, address in infos
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Names:
    """What names resolved to, for :data:`DNS_TTL`; whoever asks for one that is being looked up waits for that.

    Failures are not remembered.
    """

    def __init__(self, resolver: AbstractResolver, clock: Clock) -> None:
        self._resolver = resolver
        self._clock = clock
        self._known: dict[str, tuple[float, tuple[Address, ...]]] = {}
        self._asked: dict[str, asyncio.Future[tuple[Address, ...]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def addresses(self, host: str) -> tuple[Address, ...]:
        """Return the addresses of a host, in the resolver's order; none if it does not resolve."""
        known = self._known.get(host)
        if known is not None and self._clock.monotonic() - known[0] < DNS_TTL:
            return known[1]
        answer = self._asked.get(host)
        if answer is None:
            loop = asyncio.get_running_loop()
            answer = self._asked[host] = loop.create_future()
            task = loop.create_task(self._look_up(host, answer), name=f"look up {host}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        # One that runs out of time takes the answer from nobody else.
        return await asyncio.shield(answer)

    async def _look_up(self, host: str, answer: asyncio.Future[tuple[Address, ...]]) -> None:
        found: tuple[Address, ...] = ()
        try:
            results = await self._resolver.resolve(host, 0, socket.AF_UNSPEC)
            found = tuple((socket.AddressFamily(result["family"]), result["host"]) for result in results)
        except (OSError, UnicodeError):
            pass  # which is an answer: there are none
        finally:
            del self._asked[host]
            if found:
                self._known.pop(host, None)
                self._known[host] = (self._clock.monotonic(), found)
                if len(self._known) > MAX_NAMES:
                    del self._known[next(iter(self._known))]
            answer.set_result(found)

    async def close(self) -> None:
        """End what is being looked up: it counts as not found."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._known.clear()
