"""The account of what was planned, and of what became of it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Final

from aiohttp import web

from aioscheduler.api.context import CONTEXT
from aioscheduler.api.messages import load_query
from aioscheduler.api.respond import answer
from aioscheduler.api.schemas.query import AuditQuery
from aioscheduler.clock import from_ms, to_ms
from aioscheduler.domain.instant import instant_or_day, with_offset
from aioscheduler.errors import InvalidInput, Sentence
from aioscheduler.store.base import Account

QUERY = AuditQuery()
_MINUTE_MS: Final = 60_000


async def audit(request: web.Request) -> web.Response:
    """``GET /audit``"""
    context = request.app[CONTEXT]
    zone = context.config.zone
    query = load_query(QUERY, request)
    since, until = (instant_or_day(query[name], zone, name) if query[name] else None for name in ("from", "to"))
    if since is not None and until is not None and until <= since:
        raise InvalidInput.of("to", Sentence("must be later than {name}", name="from"))
    # Minutes that the bounds cut count whole, and the answer says so.
    with suppress(OverflowError):
        since = None if since is None else from_ms(to_ms(since) // _MINUTE_MS * _MINUTE_MS)
        until = None if until is None else from_ms(-(-to_ms(until) // _MINUTE_MS) * _MINUTE_MS)
    found = await context.store.audit(since, until)
    return answer(
        {
            "from": None if since is None else with_offset(since, zone),
            "to": None if until is None else with_offset(until, zone),
            **shown(found.messages + found.executions),
            "messages": shown(found.messages),
            "executions": shown(found.executions),
            "timestamp": with_offset(context.clock.now(), zone),
        }
    )


def shown(account: Account) -> dict[str, int]:
    """Return the account as answers tell it."""
    return {**asdict(account), "difference": account.difference}
