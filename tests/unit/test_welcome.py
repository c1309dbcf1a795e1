"""The token of the data folder, and the greeting."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from aioscheduler.config import Settings
from aioscheduler.errors import ConfigError
from aioscheduler.welcome import banner, find_token


def test_a_token_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "my data")
    first, second = find_token(settings), find_token(settings)
    kept = tmp_path / "my data" / "api_token"
    assert len(first.value) >= 43
    assert first.value == second.value == kept.read_text().strip()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert [path.name for path in kept.parent.iterdir()] == ["api_token"]


def test_the_first_greeting_shows_the_token_and_later_ones_where_it_is_kept(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "my data", api_port=8123)
    first = find_token(settings)
    assert f"Bearer {first.value}" in banner(settings, first)
    later = banner(settings, find_token(settings))
    assert first.value not in later
    assert f"$(cat '{tmp_path}/my data/api_token')" in later
    assert "http://127.0.0.1:8123/inbox/hello" in later


def test_a_token_of_the_settings_is_never_shown_and_needs_no_folder(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "none", api_token="hush-hush", redis_host="store")
    text = banner(settings, find_token(settings))
    assert "hush" not in text
    assert "Bearer $API_TOKEN" in text
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("settings", [{"inbox": "false"}, {"webhook_block_private": True}, {"workers": 2}])
def test_no_line_to_paste_where_it_could_not_work(settings: dict[str, object], tmp_path: Path) -> None:
    given = Settings(data_dir=tmp_path, **settings)  # type: ignore[arg-type]
    assert "curl" not in banner(given, find_token(given))


def test_an_empty_token_file_never_opens_the_service(tmp_path: Path) -> None:
    (tmp_path / "api_token").write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        find_token(Settings(data_dir=tmp_path))


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="DATA_DIR"):
        find_token(Settings(data_dir=tmp_path / "file"))
