"""Where a list goes on, as opaque text."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final

import orjson

from aioscheduler.errors import InvalidInput, Sentence

BAD_CURSOR: Final = Sentence("is no cursor of ours: leave it out to begin again")


def cursor_of(*place: int | str) -> str:
    """Return the text of a place."""
    return urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")


def open_cursor(cursor: str, *types: type) -> tuple[Any, ...]:
    """Return the place a text stands for, made of values of these types.

    :raises InvalidInput: it is none of ours
    """
    try:
        place = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError as error:
        raise InvalidInput.of("cursor", BAD_CURSOR) from error
    if not isinstance(place, list) or [type(part) for part in place] != list(types):
        raise InvalidInput.of("cursor", BAD_CURSOR)
    return tuple(place)
