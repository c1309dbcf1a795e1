"""Replicas get the operator's settings, and their store from where it was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from aioscheduler.config import load_settings
from aioscheduler.errors import ConfigError
from aioscheduler.verify.environment import merged, with_store, without_store


def test_what_the_file_sets_is_merged_and_the_environment_beats_it(tmp_path: Path) -> None:
    dotenv, secret = tmp_path / ".env", tmp_path / "secret"
    secret.write_text("from-the-file")
    dotenv.write_text(f"API_PORT=9001\nLOG_LEVEL=DEBUG\nAPI_KEY_FILE={secret}\nREDIS_PASSWORD=plain\nOTHER=1\n")
    password = tmp_path / "password"
    password.write_text("word")
    environ = {"LOG_LEVEL": "ERROR", "REDIS_PASSWORD_FILE": str(password), "PATH": "/bin"}
    settings = load_settings(merged(environ, dotenv))
    assert (settings.api_port, settings.log_level, settings.api_key) == (9001, "ERROR", "from-the-file")
    assert settings.redis_password == "word"
    assert settings == load_settings(environ, dotenv)
    assert merged(environ, dotenv)["PATH"] == "/bin"
    assert "OTHER" not in merged(environ, dotenv)


def test_a_wrong_setting_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="API_PORT"):
        merged({"API_PORT": "none"}, tmp_path / ".env")


def test_a_store_of_its_own_needs_nothing_that_names_another(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("word")
    environ = {
        "REDIS_HOST": "elsewhere",
        "REDIS_PASSWORD_FILE": str(password),
        "STORE_WAIT_REPLICAS": "2",
        "API_PORT": "1",
    }
    assert without_store(environ) == {"API_PORT": "1"}
    assert load_settings({**without_store(environ), "REDIS_URL": "unix:///run/store"}).redis_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://user:word@host:6380/2", "redis://user:word@host:6380/7"),
        ("rediss://host", "rediss://host/7"),
        ("redis://host/0?db=3", "redis://host/7"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=7"),
        ("unix:///run/redis.sock?db=2&password=word", "unix:///run/redis.sock?password=word&db=7"),
    ],
)
def test_the_database_of_a_url_is_replaced(url: str, expected: str) -> None:
    assert load_settings(with_store({"REDIS_URL": url}, 7)).redis_url == expected


def test_the_database_of_a_host_is_replaced() -> None:
    settings = load_settings(with_store({"REDIS_HOST": "host", "REDIS_DB": "2"}, 7))
    assert (settings.redis_host, settings.redis_db) == ("host", 7)


def test_a_database_without_a_store_is_told() -> None:
    with pytest.raises(ConfigError, match="--db is for the store of REDIS_URL or REDIS_HOST"):
        with_store({}, 7)
