"""Bots that packages bring: found, and left out where they are none."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from aioscheduler.bots.base import BotResult, BotRun
from aioscheduler.bots.registry import load_bots

MODULE = """
import sys

class Bot:
    def check(self, config):
        return config
    async def run(self, run):
        ...

def fails():
    raise RuntimeError("no")

def ends():
    sys.exit(3)

def asks(something):
    return Bot()

nothing = dict
"""


class Builtin:
    def check(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        return config

    async def run(self, run: BotRun) -> BotResult:
        return BotResult()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with an installed package whose entry points a test writes."""
    (tmp_path / "bots_of_a_test.py").write_text(MODULE)
    info = tmp_path / "bots_of_a_test-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bots-of-a-test\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "bots_of_a_test", raising=False)
    return info / "entry_points.txt"


def test_a_packages_bot_stands_beside_those_of_the_service(package: Path) -> None:
    package.write_text("[aioscheduler.bots]\nmine = bots_of_a_test:Bot\n[other]\nyours = bots_of_a_test:Bot\n")
    builtin = Builtin()
    with capture_logs() as lines:
        bots = load_bots({"birthday": builtin})
    assert list(bots) == ["birthday", "mine"]
    assert bots["birthday"] is builtin
    assert type(bots["mine"]).__name__ == "Bot"
    assert lines == []


@pytest.mark.parametrize(
    "entry",
    [
        "birthday = bots_of_a_test:Bot",
        "bad = bots_of_a_test:fails",
        "bad = bots_of_a_test:ends",
        "bad = bots_of_a_test:asks",
        "bad = bots_of_a_test:nothing",
        "bad = bots_of_a_test:Missing",
        "bad = no_such_module:Bot",
    ],
)
def test_one_that_is_none_is_left_out_and_logged_and_the_others_stay(package: Path, entry: str) -> None:
    package.write_text(f"[aioscheduler.bots]\n{entry}\nmine = bots_of_a_test:Bot\n")
    builtin = Builtin()
    with capture_logs() as lines:
        bots = load_bots({"birthday": builtin})
    assert list(bots) == ["birthday", "mine"]
    assert bots["birthday"] is builtin
    (line,) = lines
    assert (line["log_level"], line["action"]) == ("error", "bot_left_out")
    assert f"{line['bot_type']} = {line['factory']}" == entry
