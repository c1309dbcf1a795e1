"""The visitor bot: requests profile pages, those it has not seen for longest first."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from aioscheduler.bots.base import BotFailed, BotResult, BotRun, check_options, count, flag, pause
from aioscheduler.bots.contacts import Found, collect, is_vcard, lines_of, load, read_cards, read_table
from aioscheduler.domain.target import check_url
from aioscheduler.errors import InvalidInput, Sentence

#: How long a profile may take, in seconds.
TIMEOUT_SECONDS = 30

_OPTIONS = {"limit": count(50, 1, 500), "dry_run": flag(False)}


class Visitor:
    """Visits the URLs of ``profiles``. What it remembers is when it last tried each, in milliseconds since 1970.

    A try counts whatever came of it, so that profiles which are gone do not stay first in the queue.
    """

    def __init__(self, profiles: str | None, delay_seconds: float) -> None:
        """Take the settings.

        :param profiles: the path or the URL of a text file with a URL a line, of a CSV file or of a vCard file
        :param delay_seconds: the pause between two visits
        """
        self._profiles = profiles
        self._delay_seconds = delay_seconds

    def check(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        return check_options(config, _OPTIONS)

    async def run(self, run: BotRun) -> BotResult:
        if self._profiles is None:
            raise BotFailed(Sentence("VISITOR_PROFILES is not set: it says where the profiles are"))
        # First of all: whatever another run visits from here on, this one leaves alone.
        memory = await run.memory.read_all()
        profiles = await load(self._profiles, run.http, read_profiles)
        queue, stale = await asyncio.to_thread(_plan, profiles.items, memory, run.config["limit"])
        if run.config["dry_run"]:
            return _result(profiles, would_visit=len(queue))
        for key in stale:
            await run.memory.swap(key, memory[key], None)
        return await self._visit(run, profiles, queue, memory)

    async def _visit(self, run: BotRun, profiles: Found[str], queue: list[str], memory: Mapping[str, str]) -> BotResult:
        limit_seconds = run.time_limit.total_seconds()
        end = run.clock.monotonic() + limit_seconds
        timeout_seconds = min(TIMEOUT_SECONDS, limit_seconds / 3)
        visited = errors = 0
        reason = ""
        for url in queue:
            if visited or errors:
                # Rather end with what could not be done yet than be cut off in the middle of a visit.
                if end - run.clock.monotonic() < self._delay_seconds + timeout_seconds:
                    break
                await pause(run.clock, self._delay_seconds)
            key = _key(url)
            if not await run.memory.swap(key, memory.get(key), str(run.clock.now_ms())):
                continue  # another run visits it at this moment
            reply = await run.http.get(url, timeout_seconds=timeout_seconds)
            if reply.ok:
                visited += 1
            else:
                errors += 1
                reason = (reply.error or "-") if reply.status is None else f"HTTP {reply.status}"
        result = _result(profiles, visited=visited, errors=errors, last_error=reason)
        if errors and not visited:
            raise BotFailed(
                Sentence(
                    "none of {count} profiles could be visited; the last one: {reason}", count=errors, reason=reason
                ),
                result,
            )
        return result


def _plan(profiles: list[str], memory: Mapping[str, str], limit: int) -> tuple[list[str], list[str]]:
    """Return whom to visit, in this order, and the keys of those that are not in the list any more."""
    keys = {url: _key(url) for url in profiles}
    # Sorting keeps the order of the file among those never visited.
    queue = sorted(profiles, key=lambda url: _tried_ms(memory.get(keys[url])))[:limit]
    return queue, list(memory.keys() - set(keys.values()))


def _result(
    profiles: Found[str], visited: int = 0, would_visit: int = 0, errors: int = 0, last_error: str = ""
) -> BotResult:
    details: dict[str, Any] = {
        "profiles_visited": visited,
        "found": len(profiles.items),
        "would_visit": would_visit,
        "errors": errors,
        "skipped_lines": profiles.skipped,
    }
    if errors:
        details["last_error"] = last_error
    return BotResult(profiles_visited=visited, details=details)


def _key(url: str) -> str:
    return hashlib.blake2b(url.encode(errors="replace"), digest_size=16).hexdigest()


def _tried_ms(tried: str | None) -> int:
    return int(tried) if tried and tried.isdecimal() else 0


def read_profiles(data: bytes, name: str) -> Found[str]:
    """Return the http(s) URLs of a text file (one a line, ``#`` for remarks), of a CSV (``url``) or of a vCard file.

    What the name ends in decides which it is (``.txt``, ``.csv``, ``.vcf``), otherwise the content. A URL that stands
    there again is taken once; what is no URL is left out and counted.

    :raises ContactsError: there is no URL in it, or too much
    """
    if is_vcard(data, name):
        urls: Iterator[str | None] = (None if card is None else card.url or "" for card in read_cards(data))
    elif _is_text(data, name):
        urls = (line.strip() for line in lines_of(data))
    else:
        urls = (None if row is None else row.get("url", "").strip() for row in read_table(data, name, ("url",)))
    found = collect((_checked(url) for url in urls if url is None or (url and not url.startswith("#"))), name)
    return Found(list(dict.fromkeys(found.items)), found.skipped)


def _is_text(data: bytes, name: str) -> bool:
    if name.lower().endswith((".csv", ".tsv", ".txt")):
        return name.lower().endswith(".txt")
    lines = (line.strip() for line in lines_of(data[:8192]))
    first = next((line for line in lines if line and not line.startswith("#")), "")
    return first.lower().startswith(("http://", "https://"))


def _checked(url: str | None) -> str | None:
    try:
        check_url(url)
    except InvalidInput:
        return None
    return url
