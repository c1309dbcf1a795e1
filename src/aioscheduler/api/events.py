"""A stream of events."""

from __future__ import annotations

import asyncio
import re
from typing import Final

import structlog
from aiohttp import hdrs, web
from multidict import istr

from aioscheduler.api.auth import principal
from aioscheduler.api.context import CONTEXT
from aioscheduler.api.feed import Follower, Kind
from aioscheduler.api.messages import load_query
from aioscheduler.api.respond import language
from aioscheduler.api.schemas.query import EventsQuery
from aioscheduler.errors import Forbidden, Sentence

QUERY = EventsQuery()
LAST_EVENT_ID: Final = istr("Last-Event-ID")
#: Seconds without an event after which a heartbeat says that the stream still stands; and how long a client may take
#: to read what it was sent.
HEARTBEAT, PATIENCE = 15.0, 30.0
#: When a client should connect again, in ms.
_RETRY = 2000
_ID = re.compile(r"[0-9]{1,19}-[0-9]{1,19}", re.ASCII)
_HEADERS = {
    hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
    hdrs.CACHE_CONTROL: "no-store",
    # Proxies that gather an answer before they pass it on would hold events back.
    "X-Accel-Buffering": "no",
}


async def follow(request: web.Request) -> web.StreamResponse:
    """``GET /events``"""
    context = request.app[CONTEXT]
    if not principal(request).is_operator:
        raise Forbidden(Sentence("Events are the whole deployment's, which takes the API_TOKEN."))
    kinds = load_query(QUERY, request)["kinds"] or frozenset(Kind)
    known = structlog.contextvars.get_contextvars().get("request_id")
    response = web.StreamResponse(headers=_HEADERS | ({"X-Request-ID": known} if known else {}))
    if request.method == hdrs.METH_HEAD:
        return response
    follower = Follower(kinds, language(request), request.transport)
    since = request.headers.get(LAST_EVENT_ID, "")
    async with context.feed.following(follower, since if _ID.fullmatch(since) else None):
        try:
            await response.prepare(request)
            await _send(response, follower)
        except TimeoutError:
            follower.cut()
        except ConnectionError:
            pass  # the client has gone
    return response


async def _send(response: web.StreamResponse, follower: Follower) -> None:
    data = b"retry: %d\n\n" % _RETRY
    while not follower.closed:
        follower.writing = True
        async with asyncio.timeout(PATIENCE):
            await response.write(data)
        follower.writing = False
        data = await follower.take(HEARTBEAT)
