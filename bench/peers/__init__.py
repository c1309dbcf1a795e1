"""What the service is compared with: the same service as one would build it on other schedulers.

They are installed into the benchmark's temporary folder when it begins. Where that fails the benchmark goes on without.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from bench.processes import Bench, program

#: What is installed: the newest versions that run on Node.js 20 and CPython 3.11.
NPM = {"bullmq": "6.7.0", "ioredis": "6.0.0", "undici": "7.30.2"}
PIP = {"APScheduler": "3.11.3"}
#: How many messages BullMQ's worker has in hand at once, by the receiver's path, unless the best is looked for.
CONCURRENCY = {"hook": 50, "slow": 200}

BULLMQ, APSCHEDULER = "BullMQ", "APScheduler"
_SOURCES = Path(__file__).parent
_INSTALL_SECONDS = 180


@dataclass(slots=True)
class Peer:
    """Another scheduler; ``missing`` says why it cannot be run here."""

    name: str
    about: str
    #: How many messages it takes in a second by batches, at least: so long before their instant they are scheduled.
    accepts_per_second: int
    missing: str | None = None
    #: How many messages its worker has in hand at once, by the receiver's path, where that is a setting of its own.
    concurrency: dict[str, int] = field(default_factory=dict)
    #: Whether its front and its worker are processes of their own.
    split: bool = False
    folder: Path = field(default_factory=Path)

    @asynccontextmanager
    async def run(self, bench: Bench, connections: int, path: str = "hook") -> AsyncIterator[RunningPeer]:
        """Run it on an empty store; it keeps up to so many connections to that path of the receiver."""
        await bench.empty()
        commands, environment = self._commands(bench.redis_url, connections, self.concurrency.get(path, connections))
        async with AsyncExitStack() as stack:
            started = [
                await stack.enter_async_context(
                    # There is nothing to be lost by an end at once: the store is emptied next.
                    program(self.folder, *command, pinned=True, environment=environment, end=signal.SIGKILL)
                )
                for command in commands
            ]
            yield RunningPeer(int(started[-1][1]), [child.process.pid for child, _ in started])

    def _commands(self, redis_url: str, connections: int, concurrency: int) -> tuple[list[list[str]], dict[str, str]]:
        """Return what to run, the one with the port last, and its environment."""
        if self.name == BULLMQ:
            arguments = [redis_url, str(concurrency), str(connections)]
            roles = ["worker", "front"] if self.split else ["both"]
            return [["node", "bullmq.mjs", role, *arguments] for role in roles], {"NODE_ENV": "production"}
        redis = urlsplit(redis_url)
        source = str(_SOURCES / "apscheduler_peer.py")
        return (
            [[sys.executable, source, str(redis.hostname), str(redis.port), str(connections)]],
            {"PYTHONPATH": str(self.folder)},
        )


@dataclass(frozen=True, slots=True)
class RunningPeer:
    """One that runs."""

    port: int
    pids: list[int]


async def install(folder: Path, wanted: bool) -> list[Peer]:
    """Install all peers below a folder; ``missing`` says where that did not succeed."""
    libraries = {name: version(name) for name in ("aiohttp", "redis", "hiredis", "uvloop")}
    peers = [
        Peer(
            BULLMQ,
            _list(NPM | {"Node.js": await _version_of_node()}),
            accepts_per_second=4000,
            concurrency=dict(CONCURRENCY),
            folder=folder / "bullmq",
        ),
        Peer(APSCHEDULER, _list(PIP | libraries), accepts_per_second=1200, folder=folder / "apscheduler"),
    ]
    for peer in peers:
        peer.folder.mkdir()
        peer.missing = "left out"
    if wanted:
        bullmq, apscheduler = peers
        bullmq.missing, apscheduler.missing = await asyncio.gather(_npm(bullmq.folder), _pip(apscheduler.folder))
    return peers


def _list(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


async def _npm(folder: Path) -> str | None:
    for name in ("node", "npm"):
        if shutil.which(name) is None:
            return f"{name} is not on the PATH"
    shutil.copy(_SOURCES / "bullmq.mjs", folder)
    packages = [f"{name}@{number}" for name, number in NPM.items()]
    options = ["--prefix", str(folder), "--cache", str(folder / "cache"), "--no-audit", "--no-fund", "--omit=optional"]
    return await _failed("npm", "install", "--save-exact", *options, *packages)


async def _pip(folder: Path) -> str | None:
    packages = [f"{name}=={number}" for name, number in PIP.items()]
    options = ["--quiet", "--disable-pip-version-check", "--no-cache-dir", "--target", str(folder)]
    return await _failed(sys.executable, "-m", "pip", "install", *options, *packages)


async def _failed(*command: str) -> str | None:
    """Run a command to its end; returns why it failed, if it did."""
    name = Path(command[0]).name
    process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT)
    try:
        async with asyncio.timeout(_INSTALL_SECONDS):
            said, _ = await process.communicate()
    except TimeoutError:
        return f"`{name}` took longer than {_INSTALL_SECONDS} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not process.returncode:
        return None
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    return f"`{name}` failed: {next((line for line in lines if 'error' in line.lower()), process.returncode)}"


async def _version_of_node() -> str:
    if shutil.which("node") is None:
        return "missing"
    process = await asyncio.create_subprocess_exec("node", "--version", stdin=DEVNULL, stdout=PIPE)
    said, _ = await process.communicate()
    return said.decode().strip().removeprefix("v")
