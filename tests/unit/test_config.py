"""Settings: what is legal, what beats what, and that nothing secret shows."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from aioscheduler.config import Settings, load_settings
from aioscheduler.domain.message import ConflictPolicy
from aioscheduler.domain.retry import BackoffType, RetryPolicy
from aioscheduler.errors import ConfigError
from tests.support.processes import ROOT

SIGNING_SECRET = "whsec_" + b64encode(bytes(range(32))).decode()


def problems_of(environ: dict[str, str], dotenv: Path | None = None) -> list[str]:
    """Return the lines that say what is wrong."""
    with pytest.raises(ConfigError) as caught:
        load_settings(environ, dotenv)
    return str(caught.value).splitlines()[1:]


def test_every_setting_stands_in_the_manual_with_its_default() -> None:
    manual = (ROOT / ".env.example").read_text()
    written = dict(re.findall(r"^# ([A-Z_]+)=(.*)$", manual, re.MULTILINE))
    written.pop("NAME_FILE", None)  # the explanation at the top
    assert set(written) == {item.name.upper() for item in fields(Settings)}
    for item in fields(Settings):
        text = written[item.name.upper()]
        assert item.metadata["parse"](text) == item.default if text else item.default in (None, ()), item.name


def test_nothing_set_gives_the_defaults_and_the_embedded_store() -> None:
    settings = load_settings({})
    assert settings == Settings()
    assert settings.embedded
    assert settings.retry_defaults == RetryPolicy()
    assert settings.misfire_grace is None


def test_values_are_parsed_into_what_they_mean() -> None:
    settings = load_settings(
        {
            "REDIS_SENTINELS": "one:26379, [::1]:26380",
            "API_PORT": "9000",
            "TIMEZONE": "America/Sao_Paulo",
            "MESSAGE_ON_CONFLICT": "Replace",
            "RETRY_BACKOFF_TYPE": "linear",
            "RETRY_BACKOFF_SECONDS": "0.5",
            "MISFIRE_GRACE_SECONDS": "90",
            "WEBHOOK_BLOCK_PRIVATE": "YES",
            "WEBHOOK_ALLOW": "Hooks.Internal, *.example.test,10.1.0.0/16,::1",
            "WEBHOOK_PROXY": "http://user:p%40ss@proxy.internal:3128/",
            "WEBHOOK_SIGNING_SECRET": f"{SIGNING_SECRET} {SIGNING_SECRET}",
            "INBOX": "0",
            "LOG_LEVEL": "debug",
        }
    )
    assert settings.redis_sentinels == (("one", 26379), ("::1", 26380))
    assert settings.api_port == 9000
    assert settings.timezone.key == "America/Sao_Paulo"
    assert settings.message_on_conflict is ConflictPolicy.REPLACE
    assert settings.retry_defaults.backoff_type is BackoffType.LINEAR
    assert settings.retry_defaults.backoff == timedelta(seconds=0.5)
    assert settings.misfire_grace == timedelta(seconds=90)
    assert settings.webhook_block_private is True
    assert settings.webhook_allow == ("hooks.internal", "*.example.test", "10.1.0.0/16", "::1")
    assert settings.webhook_proxy == "http://user:p%40ss@proxy.internal:3128/"
    assert settings.webhook_signing_secret == (SIGNING_SECRET, SIGNING_SECRET)
    assert settings.inbox == "false"
    assert settings.log_level == "DEBUG"
    assert not settings.embedded


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("API_PORT", "0"),
        ("API_PORT", "65536"),
        ("API_PORT", "8o00"),
        ("API_PORT", "١٢"),
        ("API_TOKEN", "two words"),
        ("API_TOKEN", "café"),
        ("API_LANGUAGE", "fr"),
        ("DELIVERY_TIMEOUT_SECONDS", "301"),
        ("DELIVERY_TIMEOUT_SECONDS", "nan"),
        ("EMBEDDED_SERVER", "/no/such/program"),
        ("INBOX", "maybe"),
        ("LOG_LEVEL", "LOUD"),
        ("MAX_CONCURRENCY", "0"),
        ("MESSAGE_ON_CONFLICT", "merge"),
        ("MISFIRE_GRACE_SECONDS", "-1"),
        ("RATE_LIMIT_PER_SECOND", "inf"),
        ("REDIS_SENTINELS", "one"),
        ("REDIS_SENTINELS", "one:0"),
        ("REDIS_TLS", "2"),
        ("REDIS_TLS_CA_FILE", "/no/such/file"),
        ("REDIS_URL", "http://localhost:6379"),
        ("REDIS_URL", "redis://"),
        ("REDIS_URL", "redis://localhost:notaport"),
        ("REDIS_URL", "redis://localhost/first"),
        ("REDIS_URL", "unix://"),
        ("RETRY_MAX_ATTEMPTS", "51"),
        ("TIMEZONE", "Mars/Olympus"),
        ("TIMEZONE", "../../etc/passwd"),
        ("TIMEZONE", "America"),
        ("WEBHOOK_ALLOW", "http://example.test"),
        ("WEBHOOK_ALLOW", "10.0.0.0/33"),
        ("WEBHOOK_PROXY", "proxy.internal:3128"),
        ("WEBHOOK_PROXY", "http://proxy.internal"),
        ("WEBHOOK_PROXY", "https://proxy.internal:3128"),
        ("WEBHOOK_PROXY", "socks5://proxy.internal:1080"),
        ("WEBHOOK_PROXY", "http://:3128"),
        ("WEBHOOK_PROXY", "http://proxy.internal:0"),
        ("WEBHOOK_PROXY", "http://proxy.internal:3128/path"),
        ("WEBHOOK_PROXY", "http://us er:pass@proxy.internal:3128"),
        ("WEBHOOK_PROXY", "http://[::1:3128"),
        ("WEBHOOK_SIGNING_SECRET", "whsec_c2hvcnQ="),
        ("WEBHOOK_SIGNING_SECRET", SIGNING_SECRET.removeprefix("whsec_")),
    ],
)
def test_an_illegal_value_is_refused_by_name(variable: str, value: str) -> None:
    (problem,) = problems_of({variable: value})
    assert problem.strip().startswith(f"{variable}=")
    assert "must " in problem


def test_all_mistakes_are_told_at_once_and_secrets_are_not() -> None:
    problems = problems_of(
        {
            "API_PORT": "none",
            "API_TOKEN": "hush hush",
            "REDIS_URL": "hush:hush@host",
            "TIMEZONE": "x",
            "INBOX": "x",
            "WEBHOOK_PROXY": "http://user:hush@proxy",
        }
    )
    assert len(problems) == 6
    assert not any("hush" in problem for problem in problems)
    assert "  API_PORT='none': must be a whole number from 1 to 65535" in problems
    assert "  API_TOKEN=***: must be visible ASCII characters without spaces" in problems


def test_the_environment_beats_the_file_and_an_empty_value_counts_as_none(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(
        'API_PORT=1111\nAPI_HOST="127.0.0.1"\nexport TIMEZONE=Asia/Tokyo # why\nAPI_LANGUAGE=pt\nINBOX=\n'
    )
    settings = load_settings({"API_PORT": "2222", "API_HOST": " ", "API_LANGUAGE": ""}, dotenv)
    assert (settings.api_port, settings.api_host, settings.api_language) == (2222, "127.0.0.1", "pt")
    assert settings.timezone.key == "Asia/Tokyo"
    assert settings.inbox == "true"


def test_a_file_that_is_not_there_is_no_mistake(tmp_path: Path) -> None:
    assert load_settings({}, tmp_path / ".env") == Settings()


def test_a_value_may_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("from-a-file\n")
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"API_TOKEN_FILE={secret}\n")
    assert load_settings({"API_TOKEN_FILE": str(secret)}).api_token == "from-a-file"
    assert load_settings({}, dotenv).api_token == "from-a-file"
    assert load_settings({"API_TOKEN": "direct"}, dotenv).api_token == "direct"


def test_a_file_that_cannot_be_read_is_one_mistake_among_others(tmp_path: Path) -> None:
    problems = problems_of({"API_TOKEN_FILE": str(tmp_path / "none"), "API_PORT": "0"})
    assert len(problems) == 2
    assert any("API_TOKEN_FILE" in problem and "No such file" in problem for problem in problems)


def test_a_value_and_a_file_for_the_same_variable_is_a_mistake(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("x")
    (problem,) = problems_of({"API_TOKEN": "y", "API_TOKEN_FILE": str(secret)})
    assert "set twice" in problem


def test_addresses_that_contradict_each_other_are_a_mistake() -> None:
    assert "REDIS_HOST" in problems_of({"REDIS_URL": "redis://one", "REDIS_HOST": "two"})[0]
    assert "REDIS_SENTINELS" in problems_of({"REDIS_SENTINELS": "one:1", "REDIS_HOST": "two"})[0]
    assert load_settings({"REDIS_URL": "redis://one", "REDIS_HOST": "ONE"}).redis_host == "ONE"


def test_neither_repr_nor_address_shows_a_secret() -> None:
    settings = load_settings(
        {
            "API_TOKEN": "hush-token",
            "REDIS_URL": "rediss://user:hush@store.test:7000/1",
            "REDIS_PASSWORD": "hush",
            "WEBHOOK_PROXY": "http://user:hush@proxy.test:3128",
            "WEBHOOK_SIGNING_SECRET": SIGNING_SECRET,
        }
    )
    for shown in (repr(settings), str(settings), settings.store_address):
        assert "hush" not in shown
        assert SIGNING_SECRET not in shown
    assert settings.store_address == "store.test:7000"
