"""Conditional requests: RFC 9110 section 13, as far as a message that is written needs it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import Final

from aiohttp import web

from aioscheduler.domain.message import Tag
from aioscheduler.errors import InvalidInput, Sentence

#: RFC 9110 section 8.8.3. Lists may have empty elements.
_ETAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\udfff]*"'
_LIST: Final = re.compile(rf"[ \t,]*{_ETAG}(?:[ \t]*,[ \t,]*{_ETAG})*[ \t,]*")
#: What may be a tag of ours; a weak one never is, for it says that bytes do not count.
_OURS: Final = re.compile(r'(?<!W/)"([-\w]{10}(?:\.[1-9][0-9]{0,8})?)"', re.ASCII)


class Condition(Enum):
    """When a message may be written, besides whenever it is as somebody has seen it."""

    ALWAYS = "always"
    NEW = "new"
    """Only where there is none."""
    NEVER = "never"
    """Only where there is one and there is none."""


def etag(tag: Tag) -> str:
    """Return a tag as a header has it."""
    return f'"{tag}"'


def write_condition(request: web.Request) -> Condition | Sequence[Tag]:
    """Return when a request wants its message to be written: for tags, in place of one that has one of them.

    :raises InvalidInput: ``If-Match`` is no list of entity tags, or ``If-None-Match`` no ``*``
    """
    match, none_match = (
        ",".join(request.headers.getall(name)).strip(" \t") if name in request.headers else None
        for name in ("If-Match", "If-None-Match")
    )
    if none_match not in (None, "*"):
        raise InvalidInput.of("If-None-Match", Sentence("must be *, which asks for a message that is new"))
    if match is None:
        return Condition.ALWAYS if none_match is None else Condition.NEW
    if match == "*":
        seen = [Tag("*")]
    elif _LIST.fullmatch(match):
        seen = [Tag(tag) for tag in _OURS.findall(match)]
    else:
        raise InvalidInput.of("If-Match", Sentence('must be *, or ETags in quotes, such as "{tag}"', tag="0Ge3kL-9_x"))
    return Condition.NEVER if none_match is not None else seen
