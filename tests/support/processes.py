"""The service as a process of its own: started on a free port with a clean environment, stopped by its process id."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

ROOT = Path(__file__).resolve().parents[2]
#: What services started by tests expect as their bearer token, unless told otherwise.
TOKEN = "token-for-tests-0123456789"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


#: Below what systems give to connections they open, so that nobody gets one of these by chance in the meantime.
_PORTS = range(10_100, 32_000)
_next_port = random.randrange(len(_PORTS))


def free_port() -> int:
    """Return a port of the loopback interface that nothing listens on at this moment; each call gives another one."""
    global _next_port
    while True:
        port = _PORTS[_next_port % len(_PORTS)]
        _next_port += 1
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def clean_environment(folder: Path, extra: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Return an environment with nothing of the developer's own; a ``None`` in ``extra`` takes a variable away."""
    environment: dict[str, str | None] = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "error",
        "API_HOST": "127.0.0.1",
        "API_TOKEN": TOKEN,
        "DATA_DIR": str(folder / "data"),
        "LOG_FORMAT": "json",
        **(extra or {}),
    }
    return {name: value for name, value in environment.items() if value is not None}


class Service:
    """``python -m aioscheduler`` in ``folder``, which also holds its data, ``stdout`` and ``stderr``.

    Without a ``REDIS_…`` variable it runs on its embedded store. ``start`` may follow ``stop`` or ``kill``: the
    output of all starts is kept in order. As a context manager it starts, and stops what still runs.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str | None] | None = None, port: int | None = None):
        self.folder = folder
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = clean_environment(folder, {"API_PORT": str(self.port), **(environment or {})})
        self.process: Process | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def pid(self) -> int:
        assert self.process is not None, "not started"
        return self.process.pid

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    async def start(self, *arguments: str, healthy: bool = True, within: float = 30) -> Self:
        """Start, and return once ``/health`` answers: with 200, or with anything where ``healthy`` is ``False``.

        :raises AssertionError: the process ended, or does not answer ``within`` so many seconds
        """
        await self.spawn(*arguments)
        await self.answers(healthy=healthy, within=within)
        return self

    async def spawn(self, *arguments: str) -> None:
        """Start, and return at once."""
        assert self.process is None or self.process.returncode is not None, "still running"
        with (self.folder / "stdout").open("ab") as out, (self.folder / "stderr").open("ab") as err:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "aioscheduler", *arguments,
                cwd=self.folder, env=self.environment, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=err,
            )  # fmt: skip

    async def answers(self, *, healthy: bool = True, within: float = 30) -> None:
        """Return once ``/health`` answers."""
        assert self.process is not None, "not started"
        deadline = time.monotonic() + within
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            while time.monotonic() < deadline:
                assert self.process.returncode is None, f"ended with {self.process.returncode}:\n{self.stderr}"
                try:
                    async with session.get(f"{self.url}/health") as response:
                        if response.status == 200 or not healthy:
                            return
                except (aiohttp.ClientError, TimeoutError):
                    pass  # not listening yet: the reason to ask again
                await asyncio.sleep(0.02)
        raise AssertionError(f"no answer within {within} s:\n{self.stderr}")

    async def wait(self, within: float = 30) -> int:
        """Wait until the process has ended and return its exit code."""
        assert self.process is not None, "not started"
        async with asyncio.timeout(within):
            return await self.process.wait()

    async def stop(self, how: signal.Signals = signal.SIGTERM, within: float = 40) -> int:
        """Send a signal, wait until the process has ended and return its exit code."""
        assert self.process is not None, "not started"
        if self.process.returncode is None:
            self.process.send_signal(how)
        return await self.wait(within)

    async def kill(self) -> None:
        """Kill it as a power cut would."""
        await self.stop(signal.SIGKILL)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is None or self.process.returncode is not None:
            return
        try:
            await self.stop()
        except TimeoutError:
            await self.kill()
            raise


async def run(
    folder: Path, *arguments: str, environment: Mapping[str, str | None] | None = None, within: float = 30
) -> tuple[int, str, str]:
    """Run ``aioscheduler`` with arguments until it ends and return its exit code, stdout and stderr."""
    folder.mkdir(parents=True, exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aioscheduler", *arguments,
        cwd=folder, env=clean_environment(folder, environment), stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(within):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, out.decode(), err.decode()
