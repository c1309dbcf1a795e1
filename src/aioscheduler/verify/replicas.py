"""The replicas: processes that are started, troubled and stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import aiohttp

from aioscheduler.errors import ConfigError, Sentence
from aioscheduler.store.embedded import end_with_parent
from aioscheduler.verify.ledger import Ledger
from aioscheduler.verify.receivers import reserve

COMMAND: Final = (sys.executable, "-m", "aioscheduler.verify.replica")
#: Seconds: what attempts on the wire get at a stop, and what the whole stop may take.
GRACE = 5.0
STOP_LIMIT = 25.0
#: Seconds until a replica has to serve, also on a busy machine and after trouble with the store.
START_LIMIT = 45.0
_POLL = 0.05
#: Seconds before one that ended unasked is started again, and at most when it goes on ending.
_AGAIN, _MOST_AGAIN = 0.5, 8.0
_LAST_WORDS = 600


class Replica:
    """One process. ``well`` is false from the beginning of a fault until it serves again."""

    def __init__(self, number: int, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.number = number
        self.well = False
        self._held = reserve()
        port = self._held.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._command = command
        self._environment = {**environment, "API_PORT": str(port)}
        self._log = folder / f"replica-{number}.log"
        self._process: Process | None = None
        self._wanted_to_end: Process | None = None

    @property
    def process(self) -> Process:
        """The process that runs now, or ran last."""
        assert self._process is not None, "started"
        return self._process

    async def spawn(self) -> None:
        """Start the process and return at once."""
        with self._log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                stdin=PIPE,
                stdout=DEVNULL,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for us, who stop the replicas in turn
            )

    async def serves(self) -> bool:
        """Wait until ``/health`` answers 200, and say so; ``False`` when the process ended, or takes too long."""
        deadline = time.monotonic() + START_LIMIT
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            while time.monotonic() < deadline and self.process.returncode is None:
                with suppress(aiohttp.ClientError, OSError, TimeoutError):
                    async with session.get(f"{self.url}/health") as answer:
                        if answer.status == 200:
                            return True
                await asyncio.sleep(_POLL)
        return False

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process is still there."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def end(self, how: signal.Signals) -> None:
        """Ask the process to end, so that its end is no surprise."""
        self._wanted_to_end = self._process
        self.send(how)

    async def step(self, seconds: float) -> None:
        """Step its wall clock."""
        stdin = self.process.stdin
        if stdin is not None:
            with suppress(OSError):
                stdin.write(f"step {seconds}\n".encode())
                await stdin.drain()

    def surprising(self, process: Process) -> bool:
        """Say whether nobody asked this process to end."""
        return process is not self._wanted_to_end

    def last_words(self) -> str:
        """Return the end of its log."""
        with suppress(OSError):
            return self._log.read_bytes()[-_LAST_WORDS:].decode(errors="replace").strip() or "it said nothing"
        return "it said nothing"

    def resident(self) -> int:
        """Return how many bytes of memory it has, 0 where the system does not tell."""
        with suppress(OSError, ValueError, IndexError):
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE")
        return 0

    async def gone(self) -> None:
        """Kill it, where it still runs, and give its port free."""
        self.end(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()
        self._held.close()


class Replicas:
    """All of them. One that ends unasked is noted in the ledger, with its last words, and started again."""

    def __init__(
        self, ledger: Ledger, count: int, command: Sequence[str], environment: Mapping[str, str], folder: Path
    ) -> None:
        self.all: Sequence[Replica] = ()
        self._ledger = ledger
        self._count = count
        self._command = command
        self._environment = environment
        self._folder = folder
        self._watchers: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._pause = _AGAIN

    async def start(self) -> None:
        """Start all and return once they serve.

        :raises ConfigError: one does not
        """
        command = (*await end_with_parent("KILL"), *self._command)
        self.all = [Replica(number, command, self._environment, self._folder) for number in range(self._count)]
        for replica in self.all:
            await self.spawn(replica)
        for replica in self.all:
            if not await replica.serves():
                raise ConfigError(
                    Sentence(
                        "Replica {number} does not start: {reason}", number=replica.number, reason=replica.last_words()
                    )
                )
            replica.well = True

    async def spawn(self, replica: Replica) -> None:
        """Start one process, and watch it."""
        await replica.spawn()
        task = asyncio.create_task(self._watch(replica, replica.process), name=f"replica {replica.number}")
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)

    async def _watch(self, replica: Replica, process: Process) -> None:
        code = await process.wait()
        if self._stopping or not replica.surprising(process):
            return
        replica.well = False
        pause, self._pause = self._pause, min(2 * self._pause, _MOST_AGAIN)
        self._ledger.unexpected_exits.append(f"replica {replica.number} ended with {code}: {replica.last_words()}")
        await asyncio.sleep(pause)
        if self._stopping:
            return
        await self.spawn(replica)
        replica.well = await replica.serves()

    def others_well(self, replica: Replica) -> bool:
        """Say whether one besides this replica is well."""
        return any(other.well for other in self.all if other is not replica)

    def measure(self) -> None:
        """Note the most memory each had so far."""
        peak = self._ledger.peak_memory
        for replica in self.all:
            peak[replica.number] = max(peak.get(replica.number, 0), replica.resident())

    async def close(self) -> None:
        """Leave no process behind. May come twice."""
        self._stopping = True
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for replica in self.all:
            await replica.gone()
