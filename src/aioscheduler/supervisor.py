"""Several workers on one port: replicas that share a store, as processes of one parent.

The supervisor serves nothing itself. It holds the port, the token and the embedded store, starts its workers, starts
again those that end unasked, and stops all of them together.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress

import structlog

from aioscheduler import __version__
from aioscheduler.config import Settings
from aioscheduler.errors import ConfigError, Sentence
from aioscheduler.server import Signals, Worker, bind, start_store
from aioscheduler.welcome import Token, banner, find_token
from aioscheduler.worker import READY, Start

log = structlog.get_logger(__name__)

#: Seconds until a worker listens. It needs half of one.
_START_LIMIT = 60.0
#: Seconds before a worker that ended is started again, and at most when it goes on ending.
_AGAIN, _MOST_AGAIN = 0.1, 10.0
#: Seconds after which a worker that ended counts as one that had been well.
_WELL = 60.0
#: Seconds a stop may take beyond the grace, for clients and for the store; and after a second signal.
_STOP_MARGIN, _HURRY_LIMIT = 10.0, 10.0
#: How a worker may end that was asked to: drained, or before it served at all.
_CLEAN = (0, -signal.SIGTERM)


async def supervise(settings: Settings, say: Callable[[str], None] = print) -> int:
    """Run the workers until SIGTERM or SIGINT and return the exit code: 0 when all of them drained.

    The first signal drains; a second one ends the draining. SIGHUP puts a new process in each worker's place, one
    after the other: the new one listens before the old one drains.

    :raises ConfigError: the address, the data folder or the embedded store cannot be used, or a worker does not start
    """
    signals = Signals()
    async with AsyncExitStack() as stack:
        stack.callback(signals.close)
        for held in await _reserve(settings.api_host, settings.api_port):
            stack.callback(held.close)
        token = find_token(settings)
        workers = Workers(settings, token, await start_store(settings, stack))
        try:
            await workers.start()
            _on_hangup(stack, workers.roll)
            say(banner(settings, token))
            log.info(
                "Workers listen",
                action="workers_started",
                host=settings.api_host,
                port=settings.api_port,
                pids=workers.pids,
                version=__version__,
            )
            await signals.first.wait()
            log.info("Stopping the workers", action="workers_stopping", grace_seconds=settings.shutdown_grace_seconds)
        finally:
            drained = await workers.stop(signals.second)
    log.info("Workers stopped", action="workers_stopped", drained=drained)
    return 0 if drained else 1


async def _reserve(host: str, port: int) -> Sequence[socket.socket]:
    """Hold the port for the workers: nobody else gets it from now on, whether one of them listens or not.

    :raises ConfigError: somebody has it, or this system does not let processes share one
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ConfigError(Sentence("This system does not let processes share a port: leave WORKERS at 1."))
    for probe in await bind(host, port):
        probe.close()  # sharing would have hidden that somebody has the port
    held = await bind(host, port, shared=True)
    for each in held:
        # Needed to get the port right after another start. Off from now on: a socket that is bound and does not listen
        # keeps others away only without it.
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return held


def _on_hangup(stack: AsyncExitStack, roll: Callable[[], None]) -> None:
    # A terminal sends SIGHUP when it is closed, which should end what runs in it.
    if not os.isatty(0):
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, roll)
        stack.callback(loop.remove_signal_handler, signal.SIGHUP)


class _Process:
    """One process of a worker."""

    def __init__(self, number: int, process: Process) -> None:
        assert process.stdout is not None, "a pipe"
        self.number = number
        self.process = process
        self.began = asyncio.get_running_loop().time()
        self._asked_to_end = False
        self._said = asyncio.create_task(_said(process.stdout), name=f"worker {number} starts")

    @property
    def runs(self) -> bool:
        return self.process.returncode is None

    async def problem(self) -> str | None:
        """Return once it listens, or why it does not."""
        try:
            async with asyncio.timeout(_START_LIMIT):
                said = await asyncio.shield(self._said)
        except TimeoutError:
            return "it does not say that it listens"
        return None if said == READY else said or "it ended; the log may say why"

    def ask_to_end(self) -> None:
        """Ask it to drain. May come twice, where a second signal would end the draining."""
        if not self._asked_to_end:
            self._asked_to_end = True
            self.send(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        if self.runs:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def wait(self) -> int:
        return await self.process.wait()


class _Place:
    """The place of one worker, and the process that has it now. Who puts another one there holds ``changing``."""

    def __init__(self, process: _Process) -> None:
        self.process = process
        self.changing = asyncio.Lock()


class Workers:
    """All of them. ``stop`` may come twice, or before ``start``."""

    def __init__(self, settings: Settings, token: Token, store_url: str | None) -> None:
        self._settings = settings
        self._token = token
        self._store_url = store_url
        self._prefix: tuple[str, ...] = ()
        self._places: list[_Place] = []
        self._spawned: list[_Process] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._rolling: asyncio.Task[None] | None = None

    @property
    def pids(self) -> Sequence[int]:
        """The process ids of those that have the places now."""
        return [place.process.process.pid for place in self._places]

    async def start(self) -> None:
        """Start all and return once they listen; from then on they are kept running.

        :raises ConfigError: one cannot
        """
        from aioscheduler.store.embedded import end_with_parent  # needs unix

        self._prefix = await end_with_parent("KILL")  # also one that is suspended
        self._places = [_Place(await self._spawn(number)) for number in range(1, self._settings.workers + 1)]
        for place in self._places:
            if problem := await place.process.problem():
                raise ConfigError(
                    Sentence("Worker {number} does not start: {reason}", number=place.process.number, reason=problem)
                )
        self._keepers = [
            asyncio.create_task(self._keep(place), name=f"worker {place.process.number}") for place in self._places
        ]

    async def _spawn(self, number: int) -> _Process:
        process = await asyncio.create_subprocess_exec(
            *self._prefix,
            sys.executable,
            "-P",  # what lies in this folder is no module
            "-m",
            "aioscheduler.worker",
            stdin=PIPE,
            stdout=PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # Ctrl-C is for us, who tell the workers
        )
        assert process.stdin is not None, "a pipe"
        worker = Worker(number=number, token=self._token, store_url=self._store_url)
        process.stdin.write(pickle.dumps(Start(settings=self._settings, worker=worker)))
        spawned = _Process(number, process)
        self._spawned = [*(other for other in self._spawned if other.runs), spawned]
        return spawned

    async def _keep(self, place: _Place) -> None:
        """Start a worker again whenever it ends, sooner at first and then less often."""
        pause = _AGAIN
        while True:
            process = place.process
            code = await process.wait()
            async with place.changing:
                if place.process is not process:
                    continue  # another one has its place, so it was asked to end
                if asyncio.get_running_loop().time() - process.began > _WELL:
                    pause = _AGAIN
                log.error(
                    "A worker ended: starting it again",
                    action="worker_ended",
                    worker=process.number,
                    pid=process.process.pid,
                    exit_code=code,
                    reason=await process.problem(),
                    pause_seconds=pause,
                )
                while place.process is process:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _MOST_AGAIN)
                    try:
                        place.process = await self._spawn(process.number)
                    except OSError as error:
                        log.warning(
                            "A worker cannot be started",
                            action="worker_not_started",
                            worker=process.number,
                            reason=str(error),
                        )
                log.info(
                    "A worker was started again",
                    action="worker_restarted",
                    worker=process.number,
                    pid=place.process.process.pid,
                )

    def roll(self) -> None:
        """Put a new process in each worker's place, one after the other; asked again meanwhile, do nothing more."""
        if self._rolling is None or self._rolling.done():
            self._rolling = asyncio.create_task(self._roll(), name="replace workers")

    async def _roll(self) -> None:
        log.info("Replacing the workers", action="workers_replacing")
        for place in self._places:
            async with place.changing:
                old = place.process
                try:
                    new = await self._spawn(old.number)
                except OSError as error:
                    problem: str | None = str(error)
                else:
                    if (problem := await new.problem()) is not None:
                        new.send(signal.SIGKILL)
                if problem is not None:
                    log.error(
                        "A new worker does not start: leaving the others as they are",
                        action="worker_not_replaced",
                        worker=old.number,
                        reason=problem,
                    )
                    return
                place.process = new
            await self._end([old], asyncio.Event())
            log.info("A worker was replaced", action="worker_replaced", worker=old.number, pid=new.process.pid)

    async def stop(self, hurry: asyncio.Event) -> bool:
        """Stop all, at once, each in its own time; say whether all drained.

        :param hurry: set to end the draining
        """
        tasks = [*self._keepers, *([self._rolling] if self._rolling else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._keepers.clear()
        running = [process for process in self._spawned if process.runs]
        await self._end(running, hurry)
        return all(process.process.returncode in _CLEAN for process in running)

    async def _end(self, processes: Sequence[_Process], hurry: asyncio.Event) -> None:
        for process in processes:
            process.ask_to_end()
        ended = asyncio.create_task(_all_ended(processes), name="workers end")
        hurrying = asyncio.create_task(hurry.wait(), name="second signal")
        limit = self._settings.shutdown_grace_seconds + _STOP_MARGIN
        try:
            await asyncio.wait((ended, hurrying), timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if hurry.is_set():
                for process in processes:
                    process.send(signal.SIGINT)  # a second SIGTERM could melt into the first
                await asyncio.wait((ended,), timeout=_HURRY_LIMIT)
            for process in processes:
                if process.runs:
                    log.warning(
                        "A worker does not stop: killing it",
                        action="worker_killed",
                        worker=process.number,
                        pid=process.process.pid,
                    )
                    process.send(signal.SIGKILL)
            await ended
        finally:
            hurrying.cancel()
            ended.cancel()


async def _said(output: asyncio.StreamReader) -> str:
    line = await output.readline()
    if line.strip() != READY.encode():  # why not, to the end
        line += await output.read()
    return line.decode().strip()


async def _all_ended(processes: Sequence[_Process]) -> None:
    for process in processes:
        await process.wait()
