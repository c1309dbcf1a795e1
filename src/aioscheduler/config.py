"""Settings: the environment and ``.env``, parsed once.

Each attribute of :class:`Settings` is a variable in lower case. ``.env.example`` explains them to the operator; a test
compares the two.
"""

from __future__ import annotations

import binascii
import ipaddress
import math
import os
import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Literal, TypeVar, cast
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from dotenv import dotenv_values

from aioscheduler.domain.message import MAX_TIMEOUT_SECONDS, MIN_TIMEOUT_SECONDS, ConflictPolicy
from aioscheduler.domain.retry import MAX_ATTEMPTS, MAX_BACKOFF_SECONDS, BackoffType, RetryPolicy
from aioscheduler.domain.target import check_url
from aioscheduler.errors import ConfigError, InvalidInput, Sentence

T = TypeVar("T")
E = TypeVar("E", bound=Enum)
Parse = Callable[[str], T]

HIDDEN = "***"
_DAY, _MIB = 86_400, 1024 * 1024
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\.?")
#: RFC 6750 section 2.1 allows fewer; what matters is that the token can stand in a header.
_VISIBLE = re.compile(r"[\x21-\x7e]+")


# -- one parser for each kind of value: legal text to a value, or a ValueError that says what is legal ---------------


def _text(value: str) -> str:
    return value


def _token(value: str) -> str:
    if not _VISIBLE.fullmatch(value):
        raise ValueError("must be visible ASCII characters without spaces")
    return value


def _boolean(value: str) -> bool:
    if value.lower() not in _TRUE + _FALSE:
        raise ValueError("must be true or false")
    return value.lower() in _TRUE


def _integer(least: int, most: int) -> Parse[int]:
    def parse(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", value) or not least <= int(value) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(value)

    return parse


def _number(least: float, most: float) -> Parse[float]:
    def parse(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not least <= number <= most:
            raise ValueError(f"must be a number from {least:g} to {most:.15g}")
        return number

    return parse


def _one_of(*choices: str) -> Parse[str]:
    def parse(value: str) -> str:
        for choice in choices:
            if choice.lower() == value.lower():
                return choice
        raise ValueError(f"must be one of {', '.join(choices)}")

    return parse


def _member(kind: type[E]) -> Parse[E]:
    parse_choice = _one_of(*(member.value for member in kind))
    return lambda value: kind(parse_choice(value))


def _inbox(value: str) -> Literal["true", "false", "open"]:
    if value.lower() == "open":
        return "open"
    try:
        return "true" if _boolean(value) else "false"
    except ValueError:
        raise ValueError("must be true, false or open") from None


def _zone(value: str) -> ZoneInfo:
    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("must be an IANA time zone, such as UTC or America/Sao_Paulo") from None


def _path(value: str) -> Path:
    return Path(value).expanduser()


def _file(value: str) -> Path:
    path = _path(value)
    if not path.is_file():
        raise ValueError("must be a file that is there")
    return path


def _program(value: str) -> Path:
    path = _file(value)
    if not os.access(path, os.X_OK):
        raise ValueError("must be a program that may be executed")
    return path.absolute()


def _split_redis_url(value: str) -> SplitResult:
    parts = urlsplit(value)
    try:
        located = parts.path if parts.scheme == "unix" else parts.hostname
        legal = parts.port != 0
    except ValueError:
        located, legal = None, False
    if parts.scheme not in ("redis", "rediss", "unix") or not located or not legal:
        raise ValueError("must be redis://…, rediss://… (TLS) or unix:///path/of/socket")
    if parts.scheme != "unix" and not re.fullmatch(r"(/[0-9]*)?", parts.path):
        raise ValueError("must end in the number of a database, such as /0")
    return parts


def _redis_url(value: str) -> str:
    _split_redis_url(value)
    return value


def _http_url(value: str) -> str:
    try:
        check_url(value)
    except InvalidInput:
        raise ValueError("must be an absolute http:// or https:// URL") from None
    return value


def _proxy_url(value: str) -> str:
    try:
        check_url(value)
        parts = urlsplit(value)
        legal = parts.scheme == "http" and parts.port is not None and bool(_VISIBLE.fullmatch(value))
    except (InvalidInput, ValueError):
        legal = False
    if not legal or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must be http://host:port or http://user:password@host:port")
    return value


def _addresses(value: str) -> tuple[tuple[str, int], ...]:
    addresses = []
    for item in value.split(","):
        host, _, port = item.strip().rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port[:6]) <= 65_535:
            raise ValueError("must be host:port, several separated by commas")
        addresses.append((host.strip("[]"), int(port)))
    return tuple(addresses)


def _signing_secrets(value: str) -> tuple[str, ...]:
    for secret in value.split():
        try:
            key = b64decode(secret.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not secret.startswith("whsec_") or not 24 <= len(key) <= 64:
            raise ValueError("must be whsec_ and 24 to 64 bytes in base64, several separated by spaces")
    return tuple(value.split())


def _allowed_hosts(value: str) -> tuple[str, ...]:
    items = tuple(item.strip().lower() for item in value.split(",") if item.strip())
    for item in items:
        try:
            ipaddress.ip_network(item, strict=False)
        except ValueError:
            if not _HOST.fullmatch(item):
                raise ValueError("must be hosts, *.domains, addresses or CIDRs, separated by commas") from None
    return items


def _setting(default: T, parse: Parse[T], *, secret: bool = False) -> T:
    described: T = field(default=default, metadata={"parse": parse, "secret": secret})
    return described


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """Everything an operator may set. Seconds, bytes and days as the names say."""

    # the store: none of the first three set means the embedded server
    redis_url: str | None = _setting(None, _redis_url, secret=True)
    redis_host: str | None = _setting(None, _text)
    redis_sentinels: tuple[tuple[str, int], ...] = _setting((), _addresses)
    redis_port: int = _setting(6379, _integer(1, 65_535))
    redis_username: str | None = _setting(None, _text)
    redis_password: str | None = _setting(None, _text, secret=True)
    redis_db: int = _setting(0, _integer(0, 65_535))
    redis_tls: bool = _setting(False, _boolean)
    redis_tls_ca_file: Path | None = _setting(None, _file)
    redis_sentinel_master: str = _setting("mymaster", _text)
    redis_sentinel_password: str | None = _setting(None, _text, secret=True)
    store_wait_replicas: int = _setting(0, _integer(0, 100))
    store_wait_aof: bool = _setting(False, _boolean)
    data_dir: Path = _setting(Path("data"), _path)
    embedded_server: Path | None = _setting(None, _program)

    # the HTTP API
    api_host: str = _setting("0.0.0.0", _text)  # noqa: S104 - a token guards every route
    api_port: int = _setting(8000, _integer(1, 65_535))
    workers: int = _setting(1, _integer(1, 64))
    api_token: str | None = _setting(None, _token, secret=True)
    api_language: Literal["en", "pt"] = _setting("en", cast("Parse[Literal['en', 'pt']]", _one_of("en", "pt")))
    timezone: ZoneInfo = _setting(ZoneInfo("UTC"), _zone)
    max_body_bytes: int = _setting(_MIB, _integer(1024, 256 * _MIB))
    max_batch_bytes: int = _setting(16 * _MIB, _integer(1024, 256 * _MIB))
    request_timeout_seconds: float = _setting(60.0, _number(1, 3600))
    rate_limit_per_second: float = _setting(0.0, _number(0, 1_000_000))
    inbox: Literal["true", "false", "open"] = _setting("true", _inbox)
    dashboard: bool = _setting(True, _boolean)
    event_clients: int = _setting(100, _integer(0, 10_000))

    # messages
    message_on_conflict: ConflictPolicy = _setting(ConflictPolicy.REJECT, _member(ConflictPolicy))
    past_schedule: Literal["fire", "reject"] = _setting(
        "fire", cast("Parse[Literal['fire', 'reject']]", _one_of("fire", "reject"))
    )
    past_schedule_tolerance_seconds: float = _setting(60.0, _number(0, 365 * _DAY))
    misfire_grace_seconds: float | None = _setting(None, _number(0, 3650 * _DAY))
    dead_letter_ttl_days: int = _setting(30, _integer(1, 3650))
    delivery_log_size: int = _setting(100_000, _integer(0, 10_000_000))
    audit_ttl_days: int = _setting(90, _integer(1, 3650))

    # delivery
    delivery_timeout_seconds: float = _setting(30.0, _number(MIN_TIMEOUT_SECONDS, MAX_TIMEOUT_SECONDS))
    retry_max_attempts: int = _setting(5, _integer(1, MAX_ATTEMPTS))
    retry_backoff_seconds: float = _setting(10.0, _number(0, MAX_BACKOFF_SECONDS))
    retry_backoff_type: BackoffType = _setting(BackoffType.EXPONENTIAL, _member(BackoffType))
    retry_max_backoff_seconds: float = _setting(3600.0, _number(0, MAX_BACKOFF_SECONDS))
    max_concurrency: int = _setting(1000, _integer(1, 100_000))
    max_concurrency_per_host: int = _setting(100, _integer(1, 100_000))
    punctuality_target_ms: int = _setting(1000, _integer(0, 86_400_000))
    circuit_failures: int = _setting(20, _integer(0, 1_000_000))
    circuit_probe_seconds: float = _setting(5.0, _number(1, 3600))
    circuit_drain_per_second: float = _setting(100.0, _number(0.1, 100_000))
    shutdown_grace_seconds: float = _setting(25.0, _number(0, 3600))
    window_seconds: float = _setting(60.0, _number(1, 3600))
    window_max_entries: int = _setting(100_000, _integer(100, 10_000_000))
    webhook_signing_secret: tuple[str, ...] = _setting((), _signing_secrets, secret=True)
    webhook_block_private: bool = _setting(False, _boolean)
    webhook_allow: tuple[str, ...] = _setting((), _allowed_hosts)
    webhook_proxy: str | None = _setting(None, _proxy_url, secret=True)

    # jobs
    api_key: str | None = _setting(None, _token, secret=True)
    supabase_jwt_secret: str | None = _setting(None, _text, secret=True)
    jwt_audience: str = _setting("authenticated", _text)
    jwt_jwks_url: str | None = _setting(None, _http_url)
    executions_per_job: int = _setting(1000, _integer(1, 100_000))
    execution_ttl_days: int = _setting(90, _integer(1, 3650))

    # bots
    bot_timeout_seconds: float = _setting(900.0, _number(1, _DAY))
    birthday_contacts: str | None = _setting(None, _text, secret=True)
    birthday_webhook_url: str | None = _setting(None, _http_url, secret=True)
    birthday_message: str = _setting("Happy birthday, {{ contact.first_name }}!", _text)
    visitor_profiles: str | None = _setting(None, _text, secret=True)
    visitor_delay_seconds: float = _setting(2.0, _number(0, 3600))

    # logs
    log_level: str = _setting("INFO", _one_of("DEBUG", "INFO", "WARNING", "ERROR"))
    log_format: str = _setting("auto", _one_of("auto", "json", "text"))

    @property
    def embedded(self) -> bool:
        """Whether the service starts a store of its own."""
        return not (self.redis_url or self.redis_host or self.redis_sentinels)

    @property
    def retry_defaults(self) -> RetryPolicy:
        """What holds where a message says nothing about retries."""
        return RetryPolicy(
            max_attempts=self.retry_max_attempts,
            backoff=timedelta(seconds=self.retry_backoff_seconds),
            backoff_type=self.retry_backoff_type,
            max_backoff=timedelta(seconds=self.retry_max_backoff_seconds),
        )

    @property
    def misfire_grace(self) -> timedelta | None:
        """How late is still fine where a message does not say; ``None``: always."""
        return None if self.misfire_grace_seconds is None else timedelta(seconds=self.misfire_grace_seconds)

    @property
    def past_tolerance(self) -> timedelta:
        """How far in the past an instant may lie when ``past_schedule`` is ``reject``."""
        return timedelta(seconds=self.past_schedule_tolerance_seconds)

    @property
    def store_address(self) -> str:
        """Where the store is, fit to be shown: no user, no password."""
        if self.redis_url:
            parts = _split_redis_url(self.redis_url)
            return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
        if self.redis_sentinels:
            return f"{self.redis_sentinel_master}, found by Sentinel"
        return f"{self.redis_host}:{self.redis_port}" if self.redis_host else str(self.data_dir)

    def __repr__(self) -> str:
        shown = (
            f"{item.name}={HIDDEN if item.metadata['secret'] and value else repr(value)}"
            for item in fields(self)
            for value in [getattr(self, item.name)]
        )
        return f"Settings({', '.join(shown)})"


def load_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = None) -> Settings:
    """Read the settings from ``environ`` (default: the process's own), then from the file ``dotenv`` if there is one.

    An empty value counts as none. ``NAME_FILE`` names a file that holds the value of ``NAME``.

    :raises ConfigError: one or more values are not legal; all of them are in its sentence
    """
    layers = [os.environ if environ is None else environ, _read_dotenv(dotenv)]
    values: dict[str, object] = {}
    problems: list[str] = []
    for item in fields(Settings):
        variable = item.name.upper()
        try:
            found = _find(variable, layers)
        except ValueError as error:
            problems.append(f"{variable}: {error}")
            continue
        if found is None:
            continue
        try:
            values[item.name] = item.metadata["parse"](found)
        except ValueError as error:
            problems.append(f"{variable}={_shown(item, found)}: {error}")
    problems.extend(_contradictions(values))
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise ConfigError(Sentence("These settings are wrong:{problems}", problems=listed))
    return Settings(**values)  # type: ignore[arg-type]  # each value comes from its own field's parser


def _read_dotenv(path: Path | None) -> dict[str, str]:
    if path is None or not path.exists():
        return {}
    try:
        return {name: value for name, value in dotenv_values(path, interpolate=False).items() if value}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(Sentence("{path} cannot be read: {error}", path=path, error=error)) from error


def _find(variable: str, layers: list[Mapping[str, str]]) -> str | None:
    """Return the value of the first layer that has one."""
    for layer in layers:
        value, file = layer.get(variable, "").strip(), layer.get(f"{variable}_FILE", "").strip()
        if value and file:
            raise ValueError(f"is set twice, also by {variable}_FILE: leave one of them")
        if file:
            try:
                value = Path(file).expanduser().read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is no text"
                raise ValueError(f"the file {variable}_FILE={file!r} cannot be read: {reason}") from None
        if value:
            return value
    return None


def _shown(item: Field[object], value: str) -> str:
    if item.metadata["secret"]:
        return HIDDEN
    return repr(value if len(value) <= 100 else value[:100] + "…")


def _contradictions(values: Mapping[str, object]) -> Iterator[str]:
    """Say which legal values do not go together."""
    url, host, sentinels = values.get("redis_url"), values.get("redis_host"), values.get("redis_sentinels")
    if values.get("store_wait_replicas") and not (url or host or sentinels):
        yield "STORE_WAIT_REPLICAS: the service's own store has no replicas; name a Redis of yours, or leave it out"
    if sentinels and (url or host):
        yield "REDIS_SENTINELS: stands beside REDIS_URL or REDIS_HOST; Sentinel finds the host, so leave only one"
    if isinstance(url, str) and host and _split_redis_url(url).hostname != str(host).lower():
        yield f"REDIS_HOST={host!r}: is another host than the one of REDIS_URL; leave only one of them"
