"""The README's example, run as it stands there."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.processes import ROOT, TOKEN, Service


def _examples() -> list[str]:
    readme = (ROOT / "README.md").read_text()
    return re.findall(r"test_readme\.py runs this block -->\n```sh\n(.*?)```", readme, re.S)


async def _run(script: str, folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        "sh", "-euc", script, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    return output.decode()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_the_readmes_examples_do_what_it_says(tmp_path: Path) -> None:
    follow_ups, weekdays = _examples()
    async with Service(tmp_path) as service, Client(service.url) as client:
        (tmp_path / "data" / "api_token").write_text(TOKEN)
        answers = await _run(follow_ups.replace("http://127.0.0.1:8000", service.url), tmp_path)
        assert answers.count('"status":"scheduled"') == 3
        assert '"deleted":3' in answers

        exports = f"export API={service.url} API_TOKEN={TOKEN}\n"
        answers = await _run(exports + weekdays, tmp_path)
        assert '"status":"queued"' in answers
        async with asyncio.timeout(30):
            while not (inbox := (await client.call("GET", "/inbox"))[1]["requests"]):
                await asyncio.sleep(0.02)
        assert inbox[0]["body"].keys() == {"text", "since"}
        assert inbox[0]["body"]["text"] == "We are open"
