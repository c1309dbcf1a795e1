"""The arguments of ``aioscheduler verify``."""

from __future__ import annotations

from pathlib import Path

import pytest

from aioscheduler.cli import main
from aioscheduler.config import Settings
from aioscheduler.verify.ledger import FaultKind


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.__dataclass_fields__:
        monkeypatch.delenv(name.upper(), raising=False)


def test_help_names_every_option_and_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["verify", "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    options = ("--seconds", "--replicas", "--rate", "--faults", "--seed", "--json", "--db", "--env-file", "exit codes")
    for word in (*options, *(kind.value for kind in FaultKind)):
        assert word in text
    assert max(map(len, text.splitlines())) <= 90


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--seconds", "0"], "--seconds must be from 1 to 86400."),
        (["--seconds", "nan"], "--seconds must be from 1 to 86400."),
        (["--replicas", "0"], "--replicas must be from 1 to 50."),
        (["--rate", "0"], "--rate must be from 0.1 to 10000."),
        (["--db", "1"], "--db is for the store of REDIS_URL or REDIS_HOST, and neither is set."),
        (["--db", "-1"], "--db must be from 0 to 65535."),
        (["--faults", "kill,flood"], "--faults flood: must be all, none, or some of kill, suspend,"),
        (["--env-file", "missing"], "--env-file missing: there is no such file."),
    ],
)
def test_a_wrong_argument_exits_with_2_and_one_sentence(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"aioscheduler: {told}")
    assert shown.out == ""


def test_an_unknown_option_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["verify", "--dance"])
    assert ended.value.code == 2
    assert "--dance" in capsys.readouterr().err


def test_a_wrong_setting_exits_with_2(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "none")
    assert main(["verify"]) == 2
    assert "API_PORT='none'" in capsys.readouterr().err
