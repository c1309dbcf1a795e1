"""Which bots there are: those that come with the service, and those that installed packages bring."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

import structlog

from aioscheduler.bots.base import Bot

#: An entry point of this group names a callable without parameters that returns a bot; its own name is the bot's type.
GROUP = "aioscheduler.bots"

log = structlog.get_logger(__name__)


def load_bots(builtin: Mapping[str, Bot]) -> Mapping[str, Bot]:
    """Return all bots by their types.

    A package's bot that cannot be loaded, is no bot, or has the type of another one is left out, and the log says so:
    it never stops the service.
    """
    bots = dict(builtin)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        if entry.name in bots:
            _complain(entry, "there is another bot of this type")
            continue
        try:
            bot = entry.load()()
        # Packages may do anything while they are loaded, ask the process to end too.
        except (Exception, SystemExit):
            log.exception("a bot cannot be loaded", action="bot_left_out", bot_type=entry.name, factory=entry.value)
            continue
        if not all(callable(getattr(bot, member, None)) for member in ("check", "run")):
            _complain(entry, "it lacks check() or run()")
            continue
        bots[entry.name] = bot
    return bots


def _complain(entry: EntryPoint, reason: str) -> None:
    log.error("a bot is left out", action="bot_left_out", bot_type=entry.name, factory=entry.value, reason=reason)
