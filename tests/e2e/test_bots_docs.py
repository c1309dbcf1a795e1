"""The examples of docs/bots.md, run as they stand there against a service that was set up as they say."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.docs import examples, write_files
from tests.support.processes import ROOT, TOKEN, Service

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


async def _run(example: str, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the history that an example prints, and what the inbox got from it."""
    service = Service(folder)
    files = {
        name: text.replace("http://127.0.0.1:8000", service.url) for name, text in examples("bots.md", example).items()
    }
    write_files(files, folder)
    async with service, Client(service.url) as client:
        (folder / "data" / "api_token").write_text(TOKEN)
        # The reader waits a moment; here what he waits for is looked at until it is there.
        script = re.sub(r"(?m)^sleep \d+$", "", files["sh"])
        process = await asyncio.create_subprocess_exec(
            "sh", "-euc", script, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output
        job_id = re.search(r"Job ([-0-9a-f]{36}) queued", output.decode())
        assert job_id is not None, output
        async with asyncio.timeout(30):
            while True:
                _, history = await client.call("GET", f"/scheduler/jobs/{job_id[1]}/history?limit=1")
                if history and history[0]["status"] not in ("queued", "running"):
                    break
                await asyncio.sleep(0.05)
        # The last answer it printed has the same shape.
        assert json.loads(output.decode()[output.decode().rindex("[{") :])[0].keys() == history[0].keys()
        _, inbox = await client.call("GET", "/inbox")
        return history, inbox["requests"]


async def test_the_birthday_example_greets_everybody_it_shows(tmp_path: Path) -> None:
    [entry], inbox = await _run("birthday", tmp_path)
    assert (entry["status"], entry["error"], entry["messages_sent"]) == ("success", None, 3)
    assert sorted(one["body"]["message"] for one in inbox) == [
        "Happy birthday, Ana!",
        "Happy birthday, João!",
        "Happy birthday, Zoé!",
    ]
    shown = json.loads(re.search(r"each as\n\n```json\n(.*?)```", _document(), re.S)[1])  # type: ignore[index]
    ana = next(one["body"] for one in inbox if one["body"]["contact"]["first_name"] == "Ana")
    assert ana["contact"] == shown["contact"]
    assert ana.keys() == shown.keys()


async def test_the_visitor_example_visits_both_profiles(tmp_path: Path) -> None:
    [entry], _ = await _run("visitor", tmp_path)
    assert (entry["status"], entry["profiles_visited"], entry["result"]["found"]) == ("success", 2, 2)


def _document() -> str:
    return (ROOT / "docs" / "bots.md").read_text()
