"""The command line: what it prints and what it exits with."""

from __future__ import annotations

from pathlib import Path

import pytest

from aioscheduler import __version__
from aioscheduler.cli import main
from aioscheduler.config import Settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.__dataclass_fields__:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Collect the settings commands would have run with."""
    seen: list[Settings] = []

    def note(_command: str, settings: Settings) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr("aioscheduler.cli._run", note)
    monkeypatch.setattr("aioscheduler.cli.configure", lambda *_: None)
    return seen


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"aioscheduler {__version__}\n"


def test_help_names_the_commands_the_file_and_the_main_variables(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for word in ("serve", "check", "openapi", ".env", "API_TOKEN", "REDIS_URL", "DATA_DIR", "exit codes"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 90


def test_an_unknown_command_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["dance"])
    assert ended.value.code == 2
    assert "dance" in capsys.readouterr().err


def test_wrong_settings_exit_with_2_and_are_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_PORT", "none")
    monkeypatch.setenv("TIMEZONE", "Mars")
    assert main(["check"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("aioscheduler: These settings are wrong:\n")
    assert "API_PORT='none'" in told
    assert "TIMEZONE='Mars'" in told


def test_the_file_of_this_folder_is_read(started: list[Settings]) -> None:
    Path(".env").write_text("API_PORT=9001\n")
    assert main([]) == 0
    assert started[0].api_port == 9001


def test_another_file_is_read_when_asked_and_has_to_be_there(
    started: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(".env").write_text("API_PORT=9001\n")
    Path("other").write_text("API_PORT=9002\n")
    assert main(["serve", "--env-file", "other"]) == 0
    assert started[0].api_port == 9002
    assert main(["serve", "--env-file", "missing"]) == 2
    assert "missing" in capsys.readouterr().err


def test_arguments_beat_the_environment(started: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "9001")
    assert main(["--port", "9003", "--host", "127.0.0.1", "--workers", "3"]) == 0
    assert (started[0].api_port, started[0].api_host, started[0].workers) == (9003, "127.0.0.1", 3)


def test_an_argument_is_checked_as_the_variable_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", "many"]) == 2
    assert "API_PORT='many': must be a whole number" in capsys.readouterr().err
    assert main(["--workers", "0"]) == 2
    assert "WORKERS='0': must be a whole number from 1 to 64" in capsys.readouterr().err
