"""One service process, by itself or one of several workers: its store, its sockets, its signals."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import web
from redis.asyncio import Redis

from aioscheduler import __version__
from aioscheduler.clock import Clock, SteeredClock, SystemClock
from aioscheduler.config import Settings
from aioscheduler.errors import ConfigError, Sentence
from aioscheduler.store.connect import close, connect
from aioscheduler.welcome import Token, banner, find_token

if TYPE_CHECKING:
    from aioscheduler.api.connection import Clients

log = structlog.get_logger(__name__)

#: Seconds that requests of clients get to end after a stop was asked for; the engine has its own setting.
_CLIENTS_GRACE = 2.0
#: Seconds; longer than the 60 of common proxies, so that it is they who close idle connections.
_KEEPALIVE = 75.0
_BACKLOG = 1024
#: Seconds after which a task that was cancelled and goes on is cancelled again.
_CANCEL_AGAIN = 0.2
#: Open files: a delivery, a client and a connection to the store need one each; the usual 1,024 is soon used up.
_FILES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What one of several workers gets from their supervisor, which keeps it for all of them.

    ``number`` counts from 1. ``store_url`` is that of the embedded store, else what the settings say.
    """

    number: int
    token: Token
    store_url: str | None


async def serve(
    settings: Settings,
    say: Callable[[str], None] = print,
    clock: Clock | None = None,
    worker: Worker | None = None,
) -> int:
    """Run the service until SIGTERM or SIGINT and return the exit code.

    The first signal drains; a second one ends the draining, and what was on the wire is attempted again later.

    :param clock: the machine's own by default
    :param worker: share the port, and leave store and token to the supervisor
    :raises ConfigError: the address, the data folder or the embedded store cannot be used
    """
    # Here, so that the other commands start without the engine.
    from aioscheduler.api.connection import Clients
    from aioscheduler.api.context import CONTEXT
    from aioscheduler.api.express import Express
    from aioscheduler.app import build_app

    signals = Signals()
    _raise_file_limit()
    async with AsyncExitStack() as stack:
        stack.callback(signals.close)
        sockets = await bind(settings.api_host, settings.api_port, shared=worker is not None)
        for bound in sockets:
            stack.callback(bound.close)
        if worker is None:
            token, store_url = find_token(settings), await start_store(settings, stack)
        else:
            token, store_url = worker.token, worker.store_url
        redis = client_for(settings, store_url)
        stack.push_async_callback(close, redis)
        if clock is None:
            clock = SystemClock()
            stack.callback(clock.close)
        steered = SteeredClock(clock)
        app = build_app(
            settings,
            steered,
            redis,
            api_token=token.value,
            embedded=settings.embedded,
            worker=None if worker is None else worker.number,
        )
        runner = web.AppRunner(app, access_log=None, handler_cancellation=False, shutdown_timeout=_CLIENTS_GRACE)
        try:
            await runner.setup()
            assert runner.server is not None, "set up"
            clients = Clients(
                runner.server,
                express=Express(app[CONTEXT]),
                language=settings.api_language,
                limit=settings.request_timeout_seconds,
                keepalive=_KEEPALIVE,
            )
            await stack.enter_async_context(clients)
            await _listen(runner, clients, sockets, settings)
            _spare_the_collector()
            say(banner(settings, token))
            log.info("Listening", action="started", host=settings.api_host, port=settings.api_port, version=__version__)
            await signals.first.wait()
            log.info("Stopping", action="stopping", grace_seconds=settings.shutdown_grace_seconds)
        finally:
            drained = await _clean_up(runner, signals)
    log.info("Stopped", action="stopped", drained=drained)
    return 0 if drained else 1


async def open_store(settings: Settings, stack: AsyncExitStack) -> Redis:
    """Return the client, with its own server behind it where none is configured; both leave with ``stack``."""
    redis = client_for(settings, await start_store(settings, stack))
    stack.push_async_callback(close, redis)
    return redis


async def start_store(settings: Settings, stack: AsyncExitStack) -> str | None:
    """Return the URL for :func:`client_for`; where none is configured, of a server that leaves with ``stack``."""
    if not settings.embedded:
        return settings.redis_url
    from aioscheduler.store.embedded import EmbeddedServer  # needs unix

    server = EmbeddedServer(settings.data_dir, settings.embedded_server)
    await server.start()
    stack.push_async_callback(server.stop)
    return server.url


def client_for(settings: Settings, url: str | None) -> Redis:
    """Return a client for the store of the settings, or for the embedded one at ``url``."""
    if settings.embedded:
        return connect(url=url)
    return connect(
        url=url,
        host=settings.redis_host,
        port=settings.redis_port,
        username=settings.redis_username,
        password=settings.redis_password,
        db=settings.redis_db,
        tls=settings.redis_tls,
        tls_ca_file=settings.redis_tls_ca_file,
        sentinels=settings.redis_sentinels,
        sentinel_master=settings.redis_sentinel_master,
        sentinel_password=settings.redis_sentinel_password,
    )


def _spare_the_collector() -> None:
    """Let the garbage collector look rarely, and not at what the start left behind.

    The loop stands still meanwhile: a full round goes through every object there is, which is tens of milliseconds
    with all modules and schemas in it, and by default a small round comes every few requests. Nearly everything is
    freed without the collector.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


# -- signals and the end --------------------------------------------------------------------------------------------


class Signals:
    """Counts SIGTERM and SIGINT from the moment it is made, also while the service still starts."""

    def __init__(self) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError):  # Windows: Ctrl-C comes as KeyboardInterrupt
                self._loop.add_signal_handler(number, self._received)

    def _received(self) -> None:
        (self.second if self.first.is_set() else self.first).set()

    def close(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError):
                self._loop.remove_signal_handler(number)


async def _clean_up(runner: web.AppRunner, signals: Signals) -> bool:
    """Close the sockets and drain; ``False`` when a second signal cut that short."""
    cleaning = asyncio.create_task(runner.cleanup(), name="clean up")
    hurry = asyncio.create_task(signals.second.wait(), name="second signal")
    try:
        await asyncio.wait({cleaning, hurry}, return_when=asyncio.FIRST_COMPLETED)
        drained = cleaning.done()
        if not drained:
            log.warning("Second signal: not waiting for what is on the wire", action="drain_cut_short")
            cleaning.cancel()
        with suppress(asyncio.CancelledError):
            await cleaning
    finally:
        hurry.cancel()
    return drained


# -- sockets --------------------------------------------------------------------------------------------------------


async def bind(host: str, port: int, *, shared: bool = False) -> list[socket.socket]:
    """Reserve the address before anything else is touched: a mistake here should cost nothing.

    A name that stands for several addresses (``localhost``) is served on those this machine has.

    :param shared: let other processes of this user have the address too, if they say so as well; needs ``SO_REUSEPORT``
    :raises ConfigError: the address cannot be had
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listener = socket.socket(family, kind, protocol)
            sockets.append(listener)
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(len(found) > 1))
            try:
                listener.bind(address)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                sockets.remove(listener)
                listener.close()
                missing = error
        if missing and not sockets:
            raise missing
    except OSError as error:
        for listener in sockets:
            listener.close()
        raise _not_listening(host, port, error) from error
    return sockets


async def _listen(runner: web.AppRunner, clients: Clients, sockets: list[socket.socket], settings: Settings) -> None:
    try:
        for bound in sockets:
            await clients.site(runner, bound, _BACKLOG).start()
    except OSError as error:  # another process was between our bind and our listen
        raise _not_listening(settings.api_host, settings.api_port, error) from error


def _raise_file_limit() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _not_listening(host: str, port: int, error: OSError) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            Sentence("Port {port} is in use: stop what listens there, or set API_PORT to another one.", port=port)
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ConfigError(
            Sentence("Port {port} is not for ordinary users: set API_PORT to one from 1024 on.", port=port)
        )
    return ConfigError(
        Sentence("Cannot listen on {host}: {reason}. Set API_HOST.", host=host, reason=error.strerror or error)
    )


# -- the loop -------------------------------------------------------------------------------------------------------


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run a command to its end, on uvloop where that is installed."""
    try:
        import uvloop
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_to_the_end(main))


async def _to_the_end(main: Coroutine[Any, Any, int]) -> int:
    """Run a command and end what a hurried stop left behind.

    The loop's own end cancels once, and waits for ever where the Redis client swallows that while it connects (seen
    when the second signal came right after the start).
    """
    try:
        return await main
    finally:
        while left := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=_CANCEL_AGAIN)
