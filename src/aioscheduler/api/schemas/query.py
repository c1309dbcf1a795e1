"""Query parameters, which are text, and the filters that may also stand in a body."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any, TypeVar

from aioscheduler.api.feed import Kind
from aioscheduler.api.schemas.base import CheckedFlag, CheckedInteger, CheckedString, Site, SiteSchema
from aioscheduler.domain.execution import DeadReason, OutcomeKind
from aioscheduler.domain.message import MAX_ID_LENGTH, MessageStatus
from aioscheduler.domain.target import MAX_URL_LENGTH, Destination, check_url
from aioscheduler.errors import InvalidInput, Sentence
from aioscheduler.store.base import NO_DESTINATION

MAX_LIMIT = 1000
#: Longer than any cursor of ours.
MAX_CURSOR_LENGTH = 8192
_MAX_INSTANT_LENGTH = 64

_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)

E = TypeVar("E", bound=Enum)


def check_limit(value: Any, name: str, site: Site) -> int:
    """Return how many items a page has at most, from text."""
    return _check_number(value, name, MAX_LIMIT)


def _check_number(value: Any, name: str, most: int) -> int:
    """Return a number from a query, or JSON's own from a body, where 3.0 is a whole one."""
    if isinstance(value, str):
        number = int(value) if isinstance(value, Word) and _NUMBER.fullmatch(value) else 0
    elif isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
        number = int(value)
    else:
        number = 0
    if 1 <= number <= most:
        return number
    raise InvalidInput.of(name, Sentence("must be a whole number from {min} to {max}", min=1, max=most))


def check_flag(value: Any, name: str, site: Site) -> bool:
    """Return a boolean: JSON's own in a body, ``true``, ``false``, ``1`` or ``0`` in a query."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Word) and value.lower() in _FLAGS:
        return _FLAGS[value.lower()]
    raise InvalidInput.of(name, Sentence("must be true or false"))


class Word(str):
    """A text from a query, where booleans are words; in a body they are not."""

    __slots__ = ()


def check_filter(value: Any, name: str, site: Site) -> str:
    """Return a text to look for; it is matched literally."""
    if not isinstance(value, str):
        raise InvalidInput.of(name, Sentence("must be a string"))
    if len(value) > MAX_ID_LENGTH:
        raise InvalidInput.of(name, Sentence("must have at most {max} characters", max=MAX_ID_LENGTH))
    return value


def check_destination(value: Any, name: str, site: Site) -> Destination | None:
    """Return where a URL leads; an empty text asks for all."""
    return None if value == "" else check_url(value, name)


def check_letters_destination(value: Any, name: str, site: Site) -> Destination | None:
    """Return where a URL leads, or what stands for no destination; an empty text asks for all."""
    return NO_DESTINATION if value == NO_DESTINATION else check_destination(value, name, site)


def check_cursor(value: Any, name: str, site: Site) -> str | None:
    """Return the text of a cursor; only the store can read it."""
    if not isinstance(value, str):
        raise InvalidInput.of(name, Sentence("must be a string"))
    if len(value) > MAX_CURSOR_LENGTH:
        raise InvalidInput.of(name, Sentence("must have at most {max} characters", max=MAX_CURSOR_LENGTH))
    return value or None


def _choice(kind: type[E], value: Any, name: str) -> E | None:
    if value == "":
        return None
    try:
        return kind(value)
    except ValueError as error:
        choices = ", ".join(item.value for item in kind)
        raise InvalidInput.of(name, Sentence("must be one of {choices}", choices=choices)) from error


def check_reason(value: Any, name: str, site: Site) -> DeadReason | None:
    """Return why a message is dead; an empty text asks for all."""
    return _choice(DeadReason, value, name)


def check_status(value: Any, name: str, site: Site) -> MessageStatus | None:
    """Return what a message is doing; an empty text asks for all."""
    return _choice(MessageStatus, value, name)


def check_outcome(value: Any, name: str, site: Site) -> OutcomeKind | None:
    """Return how an attempt ended; an empty text asks for all."""
    return _choice(OutcomeKind, value, name)


def _limit() -> CheckedInteger:
    return CheckedInteger(
        check_limit,
        load_default=MAX_LIMIT,
        metadata={"description": "How many at most.", "minimum": 1, "maximum": MAX_LIMIT},
    )


def _number(description: str, default: int, most: int) -> CheckedInteger:
    return CheckedInteger(
        lambda value, name, site: _check_number(value, name, most),
        load_default=default,
        metadata={"description": description, "minimum": 1, "maximum": most},
    )


def _cursor() -> CheckedString:
    return CheckedString(
        check_cursor,
        load_default=None,
        metadata={
            "description": "`nextCursor` of the page before.",
            "pattern": "^[A-Za-z0-9_-]*$",
            "maxLength": MAX_CURSOR_LENGTH,
        },
    )


def _filter(description: str) -> CheckedString:
    return CheckedString(
        check_filter, load_default="", metadata={"description": description, "maxLength": MAX_ID_LENGTH}
    )


def _reason() -> CheckedString:
    return CheckedString(
        check_reason,
        load_default=None,
        metadata={
            "description": "Only those that are dead for this reason.",
            "enum": [item.value for item in DeadReason],
        },
    )


def _destination() -> CheckedString:
    return CheckedString(
        check_destination,
        load_default=None,
        metadata={
            "description": "Only those that go to the scheme, host and port of this URL, such as `https://example.com`.",
            "maxLength": MAX_URL_LENGTH,
        },
    )


def _letters_destination() -> CheckedString:
    return CheckedString(
        check_letters_destination,
        load_default=None,
        metadata={
            "description": "Only those that were to go to the scheme, host and port of this URL, such as "
            "`https://example.com`; `none`: only those of which nobody can tell where to.",
            "maxLength": MAX_URL_LENGTH,
        },
    )


class UpsertQuery(SiteSchema):
    """``POST /messages``"""

    upsert = CheckedFlag(
        check_flag,
        load_default=None,
        metadata={"description": "Replace a message with the same id. `onConflict` in the body counts more."},
    )


class PageQuery(SiteSchema):
    """A page of a list."""

    limit = _limit()
    cursor = _cursor()


class MessagesQuery(PageQuery):
    """``GET /messages``"""

    status = CheckedString(
        check_status,
        load_default=None,
        metadata={"description": "Only those that are so.", "enum": [item.value for item in MessageStatus]},
    )
    destination = _destination()


class CountQuery(SiteSchema):
    """``GET /messages/count``"""

    prefix = _filter("How the id begins, matched literally.")
    contains = _filter("What the id contains, matched literally.")


class SearchQuery(MessagesQuery):
    """``GET /messages/search``"""

    prefix = _filter("How the id begins, matched literally.")
    contains = _filter("What the id contains, matched literally.")


class BulkQuery(SiteSchema):
    """``/messages/bulk``, in the query and in the body."""

    prefix = _filter("How the id begins, matched literally.")
    contains = _filter("What the id contains, matched literally.")
    dryRun = CheckedFlag(
        check_flag, load_default=False, metadata={"description": "Answer what would be deleted, and delete nothing."}
    )


class DeadLettersQuery(PageQuery):
    """``GET /dead-letters``"""

    prefix = _filter("How the id begins, matched literally.")
    reason = _reason()
    destination = _letters_destination()


class DeadGroupsQuery(SiteSchema):
    """``GET /dead-letters/groups``"""

    limit = _number("How many groups at most.", 100, MAX_LIMIT)


class LettersQuery(SiteSchema):
    """``POST /dead-letters/replay`` and ``/dead-letters/discard``, in the query and in the body."""

    prefix = _filter("How the id begins, matched literally.")
    reason = _reason()
    destination = _letters_destination()
    all = CheckedFlag(check_flag, load_default=False, metadata={"description": "Every dead letter there is."})
    limit = CheckedInteger(
        check_limit,
        load_default=None,
        metadata={"description": "How many at most; without it all.", "minimum": 1, "maximum": MAX_LIMIT},
    )
    cursor = _cursor()


def check_bound(value: Any, name: str, site: Site) -> str:
    """Return the text of an instant; what it means depends on the zone, which the handler knows."""
    if len(value) > _MAX_INSTANT_LENGTH:
        raise InvalidInput.of(name, Sentence("must have at most {max} characters", max=_MAX_INSTANT_LENGTH))
    return str(value)


def _bound(description: str) -> CheckedString:
    return CheckedString(
        check_bound,
        load_default="",
        metadata={"description": f"{description} An instant in ISO 8601, or a day.", "maxLength": _MAX_INSTANT_LENGTH},
    )


class AuditQuery(SiteSchema):
    """``GET /audit``"""

    # "from" is a word of the language.
    locals()["from"] = _bound("Only what was planned for this minute or later.")
    to = _bound("Only what was planned before this; a minute that is begun counts whole.")


class ActivityQuery(SiteSchema):
    """``GET /activity``"""

    minutes = _number("How many minutes, the one that goes on included.", 60, 1440)


class TimelineQuery(SiteSchema):
    """``GET /messages/timeline``"""

    # "from" is a word of the language.
    locals()["from"] = _bound("Where it begins, by default now.")
    to = _bound("Where it ends, by default an hour after it begins.")
    buckets = _number("Into how many stretches of the same length it is cut.", 60, 500)


def check_kinds(value: Any, name: str, site: Site) -> frozenset[Kind]:
    """Return kinds of events, from names with commas between; an empty text asks for all."""
    chosen = [_choice(Kind, part.strip(), name) for part in value.split(",")]
    return frozenset(kind for kind in chosen if kind is not None) or frozenset(Kind)


class EventsQuery(SiteSchema):
    """``GET /events``"""

    kinds = CheckedString(
        check_kinds,
        load_default=None,
        metadata={
            "description": f"Which events, with commas between: {', '.join(kind.value for kind in Kind)}; else all.",
            "pattern": "^[a-z]+(,[a-z]+)*$",
            "examples": ["delivery,overview"],
        },
    )


class DeliveriesQuery(PageQuery):
    """``GET /deliveries``"""

    messageId = _filter("Only attempts of this message.")
    jobId = _filter("Only attempts of this job.")
    status = CheckedString(
        check_outcome,
        load_default=None,
        metadata={"description": "Only attempts that ended so.", "enum": [item.value for item in OutcomeKind]},
    )
