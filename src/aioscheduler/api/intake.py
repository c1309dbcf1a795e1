"""From the body of a request to a message.

The rules stand in ``domain``. Most requests have nothing but the common members and are checked by hand; all others,
and all that fail a check, go through the schema, which finds every fault at once. Both call the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from aioscheduler.api.schemas.base import Site, load
from aioscheduler.api.schemas.messages import MessageSchema, ReplaySchema
from aioscheduler.clock import from_ms, to_ms
from aioscheduler.domain.instant import parse_delay, parse_instant, rfc3339_ms
from aioscheduler.domain.message import ConflictPolicy, Message, MessageId, check_id, new_message_id, new_version
from aioscheduler.domain.retry import RetryOverrides
from aioscheduler.domain.target import WebhookTarget
from aioscheduler.errors import InvalidInput, Sentence

if TYPE_CHECKING:
    from aioscheduler.api.context import ApiConfig, TargetGuard

#: The optional members that a message answers back as they were given.
GIVEN = ("method", "headers", "timeoutSeconds", "retry", "misfireGraceSeconds")
#: Many messages are accepted in the same millisecond.
_this_ms = lru_cache(maxsize=4)(from_ms)
_COMMON = frozenset({"id", "scheduleTo", "delay", "payload", "webhookUrl"})


@dataclass(slots=True)
class Draft:
    """A body that has passed every check. ``id`` and ``policy`` are ``None`` where it leaves them open.

    It has a ``delay``, or else an instant, ``due_at``, given as the text ``schedule_to``. Not frozen, like other
    records: one is made for every request, and that costs less.
    """

    target: WebhookTarget
    id: MessageId | None = None
    due_at: datetime | None = None
    schedule_to: str = ""
    delay: timedelta = timedelta()
    timeout_seconds: float | None = None
    retry: RetryOverrides | None = None
    misfire_grace: timedelta | None = None
    policy: ConflictPolicy | None = None
    given: dict[str, object] | None = None

    def message(self, message_id: MessageId | None, payload: bytes, now: datetime, now_ms: int) -> Message:
        """Return the message as accepted at ``now``; a delay counts from there."""
        due_at, text = self.due_at, self.schedule_to
        if due_at is None:
            due_at = from_ms(to_ms(now + self.delay))
            text = rfc3339_ms(due_at)
        return Message(
            id=message_id or self.id or new_message_id(now),
            version=new_version(now_ms),
            due_at=due_at,
            schedule_to=text,
            payload=payload,
            target=self.target,
            created_at=_this_ms(now_ms),
            timeout_seconds=self.timeout_seconds,
            retry=self.retry,
            misfire_grace=self.misfire_grace,
            given=self.given or {},
        )


def fire_at(due_at: datetime, now: datetime) -> datetime:
    """Return when a message accepted at ``now`` is due: never before that, and in whole milliseconds."""
    return due_at if due_at > now else from_ms(to_ms(now))


class Intake:
    """Checks bodies."""

    def __init__(self, config: ApiConfig, guard: TargetGuard) -> None:
        self._zone = config.zone
        self._guard = guard
        self._tolerance = config.past_tolerance if config.reject_past else None
        # Most messages go where others went. Only good targets are remembered, and not many: URLs may be long.
        self._plain_target = lru_cache(maxsize=1024)(self._check_plain_target)
        site = Site(zone=config.zone, check_url=guard.check_url)
        self._schema = MessageSchema(site)
        self._replay_schema = ReplaySchema(site)

    def draft(self, members: Mapping[str, Any], now: datetime) -> Draft:
        """Return what the members of a body ask for.

        :raises InvalidInput: with every fault there is
        """
        draft = self.quick_draft(members) or self.full_draft(members)
        if self._tolerance is not None:
            self._check_past(draft.due_at, now)
        return draft

    def quick_draft(self, members: Mapping[str, Any]) -> Draft | None:
        """Return the draft of a body that has only common members, all of them right; ``None`` for any other."""
        if not members.keys() <= _COMMON or "payload" not in members:
            return None
        try:
            draft = Draft(self._plain_target(members["webhookUrl"]))
            if "id" in members:
                draft.id = check_id(members["id"])
            self._set_time(draft, members)
        except (InvalidInput, KeyError, TypeError):
            # TypeError: what cannot be a key of the memory is no URL either.
            return None
        return draft

    def _check_plain_target(self, url: object) -> WebhookTarget:
        destination = self._guard.check_url(url)
        assert isinstance(url, str)
        return WebhookTarget(url=url, destination=destination)

    def full_draft(self, members: Mapping[str, Any]) -> Draft:
        """Return the draft of any body.

        :raises InvalidInput: with every fault there is
        """
        loaded = load(self._schema, members, timing_faults(members))
        given = {name: members[name] for name in GIVEN if name in members}
        try:
            orjson.dumps(given)
        except orjson.JSONEncodeError as error:
            # Unknown members of "retry" are ignored, however deep, but they are kept with the rest.
            raise InvalidInput.of("retry", Sentence("is nested too deeply")) from error
        url, destination = loaded["webhookUrl"]
        target = WebhookTarget(
            url=url, destination=destination, method=loaded.get("method", "POST"), headers=loaded.get("headers", ())
        )
        draft = Draft(
            target,
            id=loaded.get("id"),
            timeout_seconds=loaded.get("timeoutSeconds"),
            retry=loaded.get("retry"),
            misfire_grace=loaded.get("misfireGraceSeconds"),
            policy=loaded.get("onConflict"),
            given=given or None,
        )
        self._set_time(draft, members)
        return draft

    def replayed(
        self, message: Message, members: Mapping[str, Any], payload: bytes | None, now: datetime, now_ms: int
    ) -> Message:
        """Return the message to schedule in a dead letter's place: due when ``members`` say, or at once, and sent where
        they say, or to where it was.

        :param payload: takes the place of the message's own
        :raises InvalidInput: the members are wrong, or policy forbids the target by now
        """
        is_timed = "scheduleTo" in members or "delay" in members
        loaded = load(self._replay_schema, members, timing_faults(members) if is_timed else None)
        target = message.target
        if "webhookUrl" in loaded:
            url, destination = loaded["webhookUrl"]
            target = replace(target, url=url, destination=destination)
        else:
            self._guard.check_url(target.url)
        draft = Draft(target)
        if is_timed:
            self._set_time(draft, members)
            self._check_past(draft.due_at, now)
        timed = draft.message(message.id, b"", now, now_ms)
        return replace(
            message,
            target=target,
            payload=message.payload if payload is None else payload,
            version=timed.version,
            due_at=timed.due_at,
            schedule_to=timed.schedule_to,
            created_at=timed.created_at,
        )

    def _set_time(self, draft: Draft, members: Mapping[str, Any]) -> None:
        if "delay" not in members:
            draft.schedule_to = members["scheduleTo"]
            draft.due_at = parse_instant(draft.schedule_to, self._zone)
        elif "scheduleTo" in members:
            raise InvalidInput(timing_faults(members))
        else:
            draft.delay = parse_delay(members["delay"])

    def _check_past(self, due_at: datetime | None, now: datetime) -> None:
        if self._tolerance is not None and due_at is not None and due_at < now - self._tolerance:
            raise InvalidInput.of(
                "scheduleTo",
                Sentence(
                    "is more than {seconds} s in the past, which PAST_SCHEDULE=reject forbids",
                    seconds=f"{self._tolerance.total_seconds():g}",
                ),
            )


def timing_faults(members: Mapping[str, Any]) -> dict[str, list[Sentence]]:
    """Return what is wrong with the presence of ``scheduleTo`` and ``delay``: it takes exactly one of them."""
    given = ("scheduleTo" in members) + ("delay" in members)
    if given == 0:
        return {"scheduleTo": [Sentence("is missing: give an instant here, or a delay")]}
    if given > 1:
        return {"delay": [Sentence("must not stand beside scheduleTo: give one of the two")]}
    return {}
