"""The Lua scripts: read from the package, run by their digest, their codes as enums."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from enum import IntEnum
from functools import cache
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError


class ScheduleCode(IntEnum):
    """What ``schedule.lua`` answers for a message."""

    EXISTS = 0
    CREATED = 1
    REPLACED = 2
    FOREIGN_KEY = 3
    CREATED_BEFORE = 4
    NOT_AS_SEEN = 5
    REPLACED_BEFORE = 6


class SettleCode(IntEnum):
    """What ``settle.lua`` answers for a lease."""

    LOST = 0
    APPLIED = 1
    CHANGED = 2
    GONE = 3


class Script:
    """One operation that Redis carries out as a whole."""

    __slots__ = ("_digest", "_source", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._source = source(name)
        self._digest = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, send: Callable[..., Awaitable[Any]], keys: list[bytes], args: list[Any]) -> Any:
        """Run it. A server that has not seen the script, a restarted one for instance, is sent its text."""
        try:
            return await self.by_digest(send, keys, args)
        except NoScriptError:
            return await send("EVAL", self._source, len(keys), *keys, *args)

    def by_digest(self, send: Callable[..., Awaitable[Any]], keys: list[bytes], args: list[Any]) -> Awaitable[Any]:
        """Run it on a server that has seen it.

        :raises NoScriptError: it has not; nothing has happened
        """
        return send("EVALSHA", self._digest, len(keys), *keys, *args)


_LUA = resources.files("aioscheduler.store") / "lua"
#: The line by which a script asks for functions that several share.
_INCLUDE = re.compile(r"^-- include (.+)$", re.MULTILINE)


def source(name: str) -> str:
    """Return a script's text, the functions it shares with others put in."""
    text = (_LUA / f"{name}.lua").read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda match: "\n".join(_shared(part) for part in match[1].split(", ")), text)


def _shared(name: str) -> str:
    return (_LUA / "shared" / f"{name}.lua").read_text(encoding="utf-8")


@cache
def script(name: str) -> Script:
    """Return a script by its file's name."""
    return Script(name)
