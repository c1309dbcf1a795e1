"""The README's example, run as it stands there."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest

from tests.support.processes import ROOT, TOKEN, Service


def _example() -> str:
    readme = (ROOT / "README.md").read_text()
    match = re.search(r"test_readme\.py runs this block -->\n```sh\n(.*?)```", readme, re.S)
    assert match is not None, "the README marks its example"
    return match[1]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_the_readmes_follow_ups_are_scheduled_and_cancelled_by_the_answer(tmp_path: Path) -> None:
    async with Service(tmp_path) as service:
        (tmp_path / "data" / "api_token").write_text(TOKEN)
        script = _example().replace("http://127.0.0.1:8000", service.url)
        process = await asyncio.create_subprocess_exec(
            "sh", "-euc", script, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output
        answers = output.decode()
        assert answers.count('"status":"scheduled"') == 3
        assert '"deleted":3' in answers
