"""Dead letters: read, replayed, discarded."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

from aiohttp import web

from aioscheduler.api.body import optional_body
from aioscheduler.api.context import CONTEXT, Context
from aioscheduler.api.i18n import word
from aioscheduler.api.intake import fire_at
from aioscheduler.api.messages import (
    as_given,
    check_written,
    load_query,
    path_id,
    payload_of,
    query_and_body,
    scheduled,
)
from aioscheduler.api.recurring import retry
from aioscheduler.api.respond import answer, language
from aioscheduler.api.schemas.query import MAX_LIMIT, DeadGroupsQuery, DeadLettersQuery, LettersQuery
from aioscheduler.domain.execution import Execution
from aioscheduler.domain.instant import with_offset
from aioscheduler.domain.message import Message, MessageId
from aioscheduler.engine.runs import again
from aioscheduler.errors import FilterRequired, InvalidInput, MessageNotFound, Sentence
from aioscheduler.store.base import DeadLetter, Scheduled
from aioscheduler.store.recurring import Retried

QUERY, GROUPS, MATCHING = DeadLettersQuery(), DeadGroupsQuery(), LettersQuery()


async def page(request: web.Request) -> web.Response:
    """``GET /dead-letters``"""
    context = request.app[CONTEXT]
    query = load_query(QUERY, request)
    found = await context.store.dead_letters(
        query["limit"], query["cursor"], query["prefix"], query["reason"], query["destination"]
    )
    return answer(
        {
            "deadLetters": [_shown(letter, context.config.zone) for letter in found.items],
            "count": len(found.items),
            "nextCursor": found.next_cursor,
        }
    )


async def show(request: web.Request) -> web.Response:
    """``GET /dead-letters/{id}``"""
    context = request.app[CONTEXT]
    letter = await _letter(context, path_id(request))
    return answer(_shown(letter, context.config.zone))


async def delete(request: web.Request) -> web.Response:
    """``DELETE /dead-letters/{id}``"""
    context, letter_id = request.app[CONTEXT], path_id(request)
    letter = await _letter(context, letter_id)
    if not await context.store.discard(letter_id):
        raise _no_letter(letter_id)
    of = {"messageId": letter.id} if letter.execution is None else {"executionId": letter.id}
    return answer({"status": word("deleted", language(request)), **of})


async def replay(request: web.Request) -> web.Response:
    """``POST /dead-letters/{id}/replay``"""
    context = request.app[CONTEXT]
    message_id = path_id(request, action=True)
    body, members = await optional_body(request, context.config.max_body_bytes)
    letter = await _letter(context, message_id)
    now = context.clock.now()
    if letter.execution is not None:
        return await _retry(request, letter.execution, members)
    payload = payload_of(body, members) if "payload" in members else None
    message = _again(context, letter, members, payload, now)
    result = await context.store.replay(letter, message, fire_at(message.due_at, now))
    if result is None:
        raise _no_letter(message_id)
    check_written(result, message_id)
    return answer(scheduled(message, context.config.zone, language(request)), 202)


async def groups(request: web.Request) -> web.Response:
    """``GET /dead-letters/groups``"""
    context = request.app[CONTEXT]
    limit, zone = load_query(GROUPS, request)["limit"], context.config.zone
    found = await context.store.dead_groups()
    largest = sorted(found.groups, key=lambda group: (-group.count, group.reason.value, group.destination or ""))
    return answer(
        {
            "groups": [
                {
                    "reason": group.reason.value,
                    "destination": group.destination,
                    "count": group.count,
                    "oldest": with_offset(group.oldest, zone),
                    "newest": with_offset(group.newest, zone),
                }
                for group in largest[:limit]
            ],
            "total": found.total,
            "truncated": not found.complete or len(largest) > limit,
        }
    )


async def replay_matching(request: web.Request) -> web.Response:
    """``POST /dead-letters/replay``: those that cannot be scheduled again, for whatever reason, stay."""
    context = request.app[CONTEXT]

    async def replayed(letters: Sequence[DeadLetter]) -> Sequence[bool]:
        return await asyncio.gather(*(_replay_if_possible(context, letter) for letter in letters))

    return await _matching(request, "replayed", replayed)


async def discard_matching(request: web.Request) -> web.Response:
    """``POST /dead-letters/discard``"""
    return await _matching(request, "discarded", request.app[CONTEXT].store.discard_letters)


async def _matching(
    request: web.Request, word: str, act: Callable[[Sequence[DeadLetter]], Awaitable[Sequence[bool]]]
) -> web.Response:
    """Act on the letters that match: on all of them, or on one page where a limit is given."""
    context = request.app[CONTEXT]
    query, body = await query_and_body(MATCHING, request, context)
    prefix, reason, destination, limit, cursor = (
        query[name] or body[name] for name in ("prefix", "reason", "destination", "limit", "cursor")
    )
    if not prefix and reason is None and destination is None and not (query["all"] or body["all"]):
        raise FilterRequired(Sentence("Give a prefix, a reason, a destination, or all=true."))
    messages: list[str] = []
    executions: list[str] = []
    failed = 0
    while True:
        found = await context.store.dead_letters(limit or MAX_LIMIT, cursor, prefix, reason, destination)
        for letter, done in zip(found.items, await act(found.items), strict=True):
            if done:
                (messages if letter.execution is None else executions).append(letter.id)
            else:
                failed += 1
        cursor = found.next_cursor
        if cursor is None or limit is not None:
            told: dict[str, Any] = {word: len(messages) + len(executions), "messageIds": messages}
            if executions:
                told["executionIds"] = executions
            return answer(told if limit is None else told | {"failed": failed, "nextCursor": cursor})


async def _replay_if_possible(context: Context, letter: DeadLetter) -> bool:
    now = context.clock.now()
    if letter.execution is not None:
        ended = letter.execution
        return await context.jobs.retry_execution(ended, again(ended, now), now) is Retried.QUEUED
    try:
        message = _again(context, letter, {}, None, now)
    except InvalidInput:
        return False
    return await context.store.replay(letter, message, fire_at(message.due_at, now)) is Scheduled.CREATED


async def _retry(request: web.Request, execution: Execution, members: Mapping[str, Any]) -> web.Response:
    if wrong := [name for name in ("scheduleTo", "delay", "payload", "webhookUrl") if name in members]:
        reason = Sentence("is for messages only: an execution is made again at once")
        raise InvalidInput({name: [reason] for name in wrong})
    further = await retry(request.app[CONTEXT], execution)
    queued = word("queued", language(request))
    return answer({"status": queued, "jobId": execution.job_id, "executionId": further}, 202)


def _again(
    context: Context, letter: DeadLetter, members: Mapping[str, Any], payload: bytes | None, now: datetime
) -> Message:
    if letter.message is None:
        raise InvalidInput.of("record", Sentence("is no message, so it can be read and deleted, but not sent"))
    return context.intake.replayed(letter.message, members, payload, now, context.clock.now_ms())


async def _letter(context: Context, message_id: MessageId) -> DeadLetter:
    letter = await context.store.dead_letter(message_id)
    if letter is None:
        raise _no_letter(message_id)
    return letter


def _no_letter(message_id: MessageId) -> MessageNotFound:
    return MessageNotFound(Sentence('There is no dead letter with the id "{id}".', id=message_id))


def _shown(letter: DeadLetter, zone: tzinfo) -> dict[str, Any]:
    message, execution = letter.message, letter.execution
    if execution is not None:
        what: dict[str, Any] = {
            "id": execution.id,
            "executionId": execution.id,
            "jobId": execution.job_id,
            "webhookId": execution.webhook_id,
            "runId": execution.run_id,
            "scheduledFor": with_offset(execution.scheduled_for, zone),
        }
    elif message is None:
        what = {
            "id": letter.id,
            "messageId": letter.id,
            "record": letter.record.decode("utf-8", "replace"),
            "recordBase64": b64encode(letter.record).decode(),
        }
    else:
        what = {
            "messageId": letter.id,
            **as_given(message),
            "version": message.version,
            "createdAt": with_offset(message.created_at, zone),
        }
    return {
        **what,
        "reason": letter.reason.value,
        "attempts": letter.attempts,
        "lastError": letter.last_error,
        "deadAt": with_offset(letter.dead_at, zone),
    }
