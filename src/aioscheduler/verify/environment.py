"""The environment of replicas: the operator's settings, but for where the store is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

from aioscheduler.config import Settings, load_settings
from aioscheduler.errors import ConfigError, Sentence

_NAMES: Final = frozenset(name.upper() for name in Settings.__dataclass_fields__)


def merged(environ: Mapping[str, str], dotenv: Path) -> dict[str, str]:
    """Return ``environ`` with what ``dotenv`` sets besides, so that nobody has to read that file again.

    :raises ConfigError: a setting is wrong
    """
    load_settings(environ, dotenv)  # says what is wrong, all at once
    found = dict(environ)
    values = dotenv_values(dotenv, interpolate=False) if dotenv.exists() else {}
    for name, value in values.items():
        plain = name.removesuffix("_FILE")
        if value and plain in _NAMES and not _is_set(environ, plain):
            found[name] = value
    return found


def overridden(environ: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with some settings as in ``values``, in whichever way they are given."""
    return {**without(environ, *values), **values}


def without(environ: Mapping[str, str], *names: str) -> dict[str, str]:
    """Return the environment without some settings, in whichever way they are given."""
    gone = {*names, *(f"{name}_FILE" for name in names)}
    return {name: value for name, value in environ.items() if name not in gone}


def without_store(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without anything that says where the store is, or what it has to keep to."""
    return without(environ, *(name for name in _NAMES if name.startswith(("REDIS_", "STORE_"))))


def with_store(environ: Mapping[str, str], database: int) -> dict[str, str]:
    """Return the environment with another database of the store it names.

    :raises ConfigError: it names none
    """
    settings = load_settings(environ)
    if settings.embedded:
        raise ConfigError(Sentence("--db is for the store of REDIS_URL or REDIS_HOST, and neither is set."))
    if settings.redis_url:
        return overridden(environ, {"REDIS_URL": _at(settings.redis_url, database)})
    return overridden(environ, {"REDIS_DB": str(database)})


def _at(url: str, database: int) -> str:
    located, _, query = url.partition("?")
    others = [part for part in query.split("&") if part and not part.startswith("db=")]
    if located.startswith("unix:"):
        others.append(f"db={database}")
    else:
        scheme, _, rest = located.partition("://")
        located = f"{scheme}://{rest.split('/')[0]}/{database}"
    return "?".join(filter(None, (located, "&".join(others))))


def _is_set(environ: Mapping[str, str], name: str) -> bool:
    return bool(environ.get(name, "").strip() or environ.get(f"{name}_FILE", "").strip())
