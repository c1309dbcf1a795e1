"""Request bodies: read within a limit, parsed as JSON whatever their content type says."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from aiohttp import ClientError, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from aioscheduler.api.context import CONTEXT
from aioscheduler.errors import InvalidInput, PayloadTooLarge, RequestTimeout, Sentence


async def read_body(request: web.Request, limit: int) -> bytes:
    """Return the body.

    :raises PayloadTooLarge: longer than ``limit``; known before the first byte is read where the length is announced
    :raises InvalidInput: the body did not arrive whole
    :raises RequestTimeout: it took longer than the setting allows
    """
    length = request.content_length
    if length is not None and length > limit:
        raise too_large(limit)
    try:
        if request.content.is_eof():
            return await _read(request.content, limit)
        # Only what is not there yet has to be waited for.
        seconds = request.app[CONTEXT].config.request_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                return await _read(request.content, limit)
        except TimeoutError as error:
            raise RequestTimeout(
                Sentence("The body did not arrive within {seconds} s.", seconds=f"{seconds:g}")
            ) from error
    except (HttpProcessingError, web.RequestPayloadError, ClientError, OSError) as error:
        raise InvalidInput.of("body", Sentence("did not arrive whole")) from error


async def _read(payload: StreamReader, limit: int) -> bytes:
    # One chunk is what nearly every request has.
    chunks = [await payload.readany()]
    size = len(chunks[0])
    while size <= limit and not payload.at_eof():
        chunks.append(await payload.readany())
        size += len(chunks[-1])
    if size > limit:
        raise too_large(limit)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def too_large(limit: int) -> PayloadTooLarge:
    """Return the error for a body, or an item of a batch, that is longer than ``limit``."""
    return PayloadTooLarge(Sentence("The body has more than the {limit} bytes this service accepts.", limit=limit))


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that ``body`` is.

    :raises InvalidInput: no JSON in UTF-8 (NaN, lone surrogates, absurd nesting and numbers beyond a double count as
        none), or no object
    """
    try:
        members = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput.of(
            "body", Sentence("is no JSON: see line {line}, column {column}", line=error.lineno, column=error.colno)
        ) from error
    if type(members) is not dict:
        raise InvalidInput.of("body", Sentence("must be an object"))
    return members


async def optional_object(request: web.Request, limit: int) -> dict[str, Any]:
    """Return the JSON object of a request that may also have no body: then an empty one."""
    return (await optional_body(request, limit))[1]


async def optional_body(request: web.Request, limit: int) -> tuple[bytes, dict[str, Any]]:
    """Return a body that may be none, and the JSON object that it is: then an empty one."""
    if not request.can_read_body:
        return b"", {}
    body = await read_body(request, limit)
    return body, parse_object(body) if body.strip() else {}
