"""Message: one webhook call at one instant, its id chosen by the caller."""

from __future__ import annotations

import hashlib
import os
import re
from binascii import b2a_base64
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from random import Random
from typing import NewType

from aioscheduler.domain.retry import RetryOverrides
from aioscheduler.domain.target import WebhookTarget
from aioscheduler.errors import InvalidInput, Sentence

MessageId = NewType("MessageId", str)
#: Which writing of an id this is: 10 characters, later writings sort after earlier ones.
Version = NewType("Version", str)
#: What a client has seen of a message: its version, and how many attempts it had; ``*`` for anything.
Tag = NewType("Tag", str)

MAX_ID_LENGTH = 512
#: Ids that are routes of their own.
RESERVED_IDS = frozenset({"search", "bulk", "batch", "count", "timeline"})
MIN_TIMEOUT_SECONDS, MAX_TIMEOUT_SECONDS = 1, 300
#: Ten years.
MAX_MISFIRE_GRACE_SECONDS = 3650 * 86_400

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
#: In the order of their code points, so that versions sort as they were made.
_DIGITS = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_TO_DIGITS = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", _DIGITS.encode())


class ConflictPolicy(Enum):
    """What to do when a live message already has the id."""

    REJECT = "reject"
    """Leave it and answer 409."""
    REPLACE = "replace"
    """The new one takes its place; the old version never fires once the answer is out."""


class MessageStatus(Enum):
    """What a live message is doing."""

    SCHEDULED = "scheduled"
    """Waiting for its instant."""
    DELIVERING = "delivering"
    """Leased: an attempt is being made."""
    RETRYING = "retrying"
    """At least one attempt failed; waiting for the next."""


@dataclass(slots=True, kw_only=True)
class Message:
    """A one-shot webhook call. Nobody changes one; it is not frozen, like other records, because one is made for every
    request and every claim, and that takes a third of the time.

    ``due_at`` is the instant asked for, in whole milliseconds; ``schedule_to`` the text it came from. ``payload`` is
    the JSON text exactly as the client wrote it. ``timeout``, ``retry`` and ``misfire_grace`` are ``None`` where the
    client left them to the service's settings.
    """

    id: MessageId
    version: Version
    due_at: datetime
    schedule_to: str
    payload: bytes
    target: WebhookTarget
    created_at: datetime
    timeout_seconds: float | None = None
    retry: RetryOverrides | None = None
    misfire_grace: timedelta | None = None
    #: The optional members as the client wrote them (``method``, ``headers``, ``retry``, …), for answering them back.
    given: dict[str, object] = field(default_factory=dict)


def check_id(value: object, name: str = "id") -> MessageId:
    """Return a legal message id.

    :raises InvalidInput: not a string, empty, over 512 characters, with control characters, or reserved
    """
    if not isinstance(value, str):
        raise InvalidInput.of(name, Sentence("must be a string"))
    if not 1 <= len(value) <= MAX_ID_LENGTH:
        raise InvalidInput.of(name, Sentence("must have 1 to {max} characters", max=MAX_ID_LENGTH))
    if _CONTROL.search(value):
        raise InvalidInput.of(name, Sentence("must not contain control characters"))
    if value in RESERVED_IDS:
        raise InvalidInput.of(name, Sentence('"{value}" is reserved: it is a route of its own', value=value))
    return MessageId(value)


def check_timeout(value: object, name: str = "timeoutSeconds") -> float:
    """Return a time limit for one attempt, in seconds.

    :raises InvalidInput: no number, or outside 1 to 300
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not MIN_TIMEOUT_SECONDS <= value <= MAX_TIMEOUT_SECONDS
    ):
        raise InvalidInput.of(
            name, Sentence("must be a number from {min} to {max}", min=MIN_TIMEOUT_SECONDS, max=MAX_TIMEOUT_SECONDS)
        )
    return value


def check_misfire_grace(value: object, name: str = "misfireGraceSeconds") -> timedelta:
    """Return how late is still fine.

    :raises InvalidInput: no number, negative or over ten years
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_MISFIRE_GRACE_SECONDS:
        raise InvalidInput.of(
            name, Sentence("must be a number from {min} to {max}", min=0, max=MAX_MISFIRE_GRACE_SECONDS)
        )
    return timedelta(seconds=value)


def new_message_id(now: datetime) -> MessageId:
    """Return a UUIDv7 (RFC 9562 section 5.7): ids made later sort later."""
    ms = int(now.timestamp() * 1000)
    bits = ms << 80 | 7 << 76 | int.from_bytes(os.urandom(10)) & ~(0b11 << 62 | 0xF << 76) | 0b10 << 62
    text = f"{bits:032x}"
    return MessageId(f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}")


_last_version = 0
#: Seeded by the system, once: asking it for every version is a tenth of what a message costs.
_chance = Random().getrandbits


def new_version(now_ms: int) -> Version:
    """Return a version that differs from every other of the same id: 42 bits of time, 18 of chance.

    Versions made in one process always rise, also within a millisecond and when the clock steps back.
    """
    global _last_version
    value = now_ms << 18 | _chance(16)
    _last_version = value = max(value, _last_version + 1)
    # 60 bits are ten digits; base64 wants them at the upper end of its bytes.
    return Version(b2a_base64((value << 4).to_bytes(8))[:10].translate(_TO_DIGITS).decode())


def version_time_ms(version: Version) -> int:
    """Return when the version was made, in milliseconds since 1970."""
    value = 0
    for digit in version[:7]:  # 42 bits
        value = value << 6 | _VALUES[digit]
    return value


def tag_of(version: Version, attempts: int) -> Tag:
    """Return the tag of a message. It changes with every writing, and with every attempt that begins."""
    return Tag(f"{version}.{attempts}" if attempts else version)


def webhook_id(message_id: MessageId, version: Version) -> str:
    """Return the ``webhook-id`` of every attempt of this version.

    Derived, so that no replica has to remember it, and free of the client's text, as Standard Webhooks asks: a ``.``
    in it would blur the signed string.
    """
    return "msg_" + hashlib.blake2b(f"{version}\n{message_id}".encode(), digest_size=20).hexdigest()


def attempt_due(message: Message, looked_at: datetime, failures: int) -> datetime:
    """Return when an attempt was due, given the time the store held for it.

    The store's time may be later, when a full destination put a first attempt off, which is lateness and stays
    visible as such; or earlier, when somebody asked to send it now. A retry is due when it was put down for.
    """
    if failures:
        return looked_at
    return min(looked_at, max(message.due_at, message.created_at))


def is_missed(due_at: datetime, grace: timedelta | None, now: datetime) -> bool:
    """Say whether an attempt due at ``due_at`` comes too late to be made."""
    return grace is not None and now - due_at > grace
