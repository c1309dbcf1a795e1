"""Records to bytes and back.

A record of ours is the JSON the client sent, compact, with one member more at its very end: ``"_aio"``, ten characters
of version and six of the sha1 of everything before it. So a record says by itself whether an outside writer made or
changed it, which costs 27 bytes instead of a second key.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final

import orjson

from aioscheduler.clock import from_ms
from aioscheduler.domain.execution import DeadReason, Execution, ExecutionId, Opening, Outcome, OutcomeKind
from aioscheduler.domain.instant import parse_instant
from aioscheduler.domain.job import JobId
from aioscheduler.domain.jsontext import raw_member
from aioscheduler.domain.message import (
    Message,
    MessageId,
    Version,
    check_misfire_grace,
    check_timeout,
    version_time_ms,
)
from aioscheduler.domain.retry import check_retry
from aioscheduler.domain.target import WebhookTarget, check_headers, check_method, check_url
from aioscheduler.errors import InvalidInput, Sentence
from aioscheduler.store.base import DeadLetter, Delivery
from aioscheduler.store.jobcodec import decode_execution

#: How the place of an execution among the dead letters begins: no message's id can.
EXECUTION_MARK: Final = "\0"
TAIL_LENGTH: Final = 27
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TAIL_VERSION = slice(-18, -8)
_TAIL = re.compile(rb',"_aio":"([-\w]{10})([0-9a-f]{6})"\}', re.ASCII)
_PAYLOAD = b',"payload":'
#: The members of a record that were optional for the client.
OPTIONAL: Final = ("method", "headers", "timeoutSeconds", "retry", "misfireGraceSeconds")
_PLAIN_MEMBERS: Final = 5  # id, scheduleTo, webhookUrl, payload, _aio


def sha1(data: bytes) -> str:
    """Return the fingerprint scripts compare records by; against accidents, not against attackers."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def encode(message: Message) -> bytes:
    """Return the record of a message."""
    body = b"".join(
        (
            b'{"id":',
            orjson.dumps(message.id),
            b',"scheduleTo":',
            orjson.dumps(message.schedule_to),
            b',"webhookUrl":',
            orjson.dumps(message.target.url),
            _PAYLOAD,
            message.payload,
        )
    )
    if message.given:
        body += b"," + orjson.dumps(message.given)[1:-1]
    return b'%s,"_aio":"%s%s"}' % (body, message.version.encode(), sha1(body)[:6].encode())


def own_version(record: bytes) -> Version | None:
    """Return the version of a record of ours; ``None`` when an outside writer made or changed it."""
    match = _TAIL.fullmatch(record, len(record) - TAIL_LENGTH) if len(record) > TAIL_LENGTH else None
    if match is None or sha1(record[:-TAIL_LENGTH])[:6].encode() != match[2]:
        return None
    return Version(match[1].decode())


def decode(message_id: MessageId, record: bytes, version: Version, zone: tzinfo) -> Message:
    """Return the message of a record; the key's id wins over the one inside.

    :raises InvalidInput: not JSON, not an object, or a member is missing or not legal
    """
    try:
        members = orjson.loads(record)
    except orjson.JSONDecodeError as error:
        raise InvalidInput.of(
            "record", Sentence("is no JSON: see line {line}, column {column}", line=error.lineno, column=error.colno)
        ) from error
    if not isinstance(members, dict):
        raise InvalidInput.of("record", Sentence("must be an object"))
    for name in ("scheduleTo", "payload", "webhookUrl"):
        if name not in members:
            raise InvalidInput.of(name, Sentence("is missing"))
    url = members["webhookUrl"]
    destination = check_url(url)
    given = {name: members[name] for name in OPTIONAL if members.get(name) is not None}
    return Message(
        id=message_id,
        version=version,
        due_at=parse_instant(members["scheduleTo"], zone),
        schedule_to=members["scheduleTo"],
        payload=_payload(record, len(members), version),
        target=WebhookTarget(
            url=url,
            destination=destination,
            method=check_method(given["method"]) if "method" in given else "POST",
            headers=check_headers(given["headers"]) if "headers" in given else (),
        ),
        created_at=from_ms(version_time_ms(version)),
        timeout_seconds=check_timeout(given["timeoutSeconds"]) if "timeoutSeconds" in given else None,
        retry=check_retry(given["retry"]) if "retry" in given else None,
        misfire_grace=(check_misfire_grace(given["misfireGraceSeconds"]) if "misfireGraceSeconds" in given else None),
        given=given,
    )


def _payload(record: bytes, members: int, version: Version) -> bytes:
    """Return the payload's own bytes."""
    # Whoever found this version in the tail has checked the tail; one that an outsider kept has another version.
    if members == _PLAIN_MEMBERS and record[_TAIL_VERSION] == version.encode():
        # In our own order three strings stand before the payload, and no string can hold an unescaped quote: the
        # first match is the member itself.
        start = record.find(_PAYLOAD)
        if start > 0 and record.startswith(b'{"id":'):
            return record[start + len(_PAYLOAD) : -TAIL_LENGTH]
    raw = raw_member(record.decode(), "payload")
    assert raw is not None, "the caller has seen the member"
    return raw.encode()


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered of a message besides its record.

    ``origin`` is opaque: ``- -`` for our own records, else the version and fingerprint given at adoption.
    ``planned_ms`` is the first due time where the present one is another.
    """

    attempts: int = 0
    failures: int = 0
    origin: str = "- -"
    last_error: str | None = None
    planned_ms: int | None = None

    def encode(self) -> str:
        """Return the text scripts understand."""
        planned = "-" if self.planned_ms is None else self.planned_ms
        return f"{self.attempts} {self.failures} {self.origin} {planned} {self.last_error or ''}"

    @classmethod
    def decode(cls, text: bytes | None) -> State:
        """Read what :meth:`encode` wrote."""
        if not text:
            return _NO_STATE
        attempts, failures, version, fingerprint, planned, error = text.decode().split(" ", 5)
        planned_ms = None if planned == "-" else int(float(planned))
        return cls(int(attempts), int(failures), f"{version} {fingerprint}", error or None, planned_ms)

    def version_of(self, record: bytes) -> Version | None:
        """Return the version of the record; ``None`` when an outside writer wrote it since it was last looked at."""
        version = own_version(record)
        if version is None:
            known, fingerprint = self.origin.split(" ")
            if fingerprint == sha1(record):
                return Version(known)
        return version


_NO_STATE = State()


def dead_head(dead_at_ms: int, reason: DeadReason) -> bytes:
    """Return how a dead letter begins: what tells two of the same id apart."""
    return b"%013d %s " % (dead_at_ms, reason.value.encode())


def encode_dead(
    dead_at_ms: int, reason: DeadReason, record: bytes, version: Version, attempts: int, error: str | None
) -> bytes:
    """Return a dead letter as it is stored, the record's bytes untouched."""
    meta = orjson.dumps({"version": version, "attempts": attempts, "error": error})
    return dead_head(dead_at_ms, reason) + meta + b"\n" + record


def decode_dead(member: str, letter: bytes, zone: tzinfo) -> DeadLetter:
    """Read what :func:`encode_dead` wrote, or a letter about an execution, whose ``member`` begins with a NUL."""
    head, _, record = letter.partition(b"\n")
    at, reason, meta_text = head.split(b" ", 2)
    meta = orjson.loads(meta_text)
    message: Message | None = None
    execution: Execution | None = None
    if member.startswith(EXECUTION_MARK):
        execution = decode_execution(ExecutionId(member[1:]), JobId(meta["job"]), record)
    else:
        with suppress(InvalidInput, UnicodeDecodeError):
            message = decode(MessageId(member), record, Version(meta["version"]), zone)
    return DeadLetter(
        id=MessageId(member) if execution is None else execution.id,
        record=record,
        message=message,
        execution=execution,
        reason=DeadReason(reason.decode()),
        attempts=meta["attempts"],
        last_error=meta["error"],
        dead_at=from_ms(int(at)),
    )


def encode_delivery(
    outcome: Outcome,
    *,
    attempt: int,
    scheduled_for: datetime,
    due_at: datetime,
    claimed_at: datetime,
    lateness_ms: float,
    execution_id: str | None = None,
) -> bytes:
    """Return a line of the delivery log; the message's or the job's id and the status are kept beside it."""
    members: tuple[object, ...] = (
        attempt,
        _us(scheduled_for),
        _us(due_at),
        _us(claimed_at),
        _us(outcome.started_at),
        _us(outcome.sent_at),
        _us(outcome.answered_at),
        _us(outcome.finished_at),
        round(lateness_ms, 3),
        round(outcome.duration_ms, 3),
        outcome.response_code,
        outcome.error,
    )
    if outcome.opening is not None:  # few have one
        members = (*members, [None if ms is None else round(ms, 3) for ms in outcome.opening])
    return orjson.dumps(members if execution_id is None else (*members, execution_id))


def decode_delivery(line_id: bytes, fields: dict[bytes, bytes]) -> Delivery:
    """Read what :func:`encode_delivery` wrote."""
    attempt, scheduled, due, claimed, started, sent, answered, finished, late, took, code, error, *more = orjson.loads(
        fields[b"d"]
    )
    opening = Opening(*more.pop(0)) if more and isinstance(more[0], list) else None
    message_id, job_id = fields.get(b"m"), fields.get(b"j")
    return Delivery(
        id=line_id.decode(),
        message_id=None if message_id is None else MessageId(message_id.decode()),
        job_id=None if job_id is None else job_id.decode(),
        execution_id=more[0] if more else None,
        attempt=attempt,
        status=OutcomeKind(fields[b"s"].decode()),
        scheduled_for=_instant(scheduled),
        due_at=_instant(due),
        claimed_at=_instant(claimed),
        started_at=_instant(started),
        sent_at=None if sent is None else _instant(sent),
        answered_at=None if answered is None else _instant(answered),
        finished_at=_instant(finished),
        lateness_ms=late,
        duration_ms=took,
        response_code=code,
        error=error,
        opening=opening,
    )


def _us(instant: datetime | None) -> int | None:
    if instant is None:
        return None
    since = instant - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _instant(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1_000_000, UTC)
