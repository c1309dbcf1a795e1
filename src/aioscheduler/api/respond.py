"""Answers in JSON."""

from __future__ import annotations

from typing import Any, Final

import orjson
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

from aioscheduler.api.context import CONTEXT
from aioscheduler.api.i18n import Language, language_of

JSON_HEADERS: Final = CIMultiDictProxy(
    CIMultiDict({hdrs.CONTENT_TYPE: "application/json; charset=utf-8", hdrs.CACHE_CONTROL: "no-store"})
)


def answer(data: Any, status: int = 200) -> web.Response:
    """Return a response that no cache keeps. ``orjson.Fragment`` goes out as it is."""
    return web.Response(body=orjson.dumps(data), status=status, headers=JSON_HEADERS)


def language(request: web.Request) -> Language:
    """Return the language the caller wants to read."""
    return language_of(request.headers.get(hdrs.ACCEPT_LANGUAGE), request.app[CONTEXT].config.language)
