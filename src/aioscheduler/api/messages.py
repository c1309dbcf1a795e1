"""Messages: scheduled, read, found, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, assert_never
from urllib.parse import unquote_to_bytes

import orjson
from aiohttp import web

from aioscheduler.api.body import optional_object, parse_object, read_body, too_large
from aioscheduler.api.context import CONTEXT, Context
from aioscheduler.api.i18n import Language, word
from aioscheduler.api.intake import fire_at
from aioscheduler.api.preconditions import Condition, etag, write_condition
from aioscheduler.api.problems import problem, status_of
from aioscheduler.api.respond import answer, language
from aioscheduler.api.schemas.base import SiteSchema, load
from aioscheduler.api.schemas.messages import MAX_BATCH
from aioscheduler.api.schemas.query import BulkQuery, CountQuery, MessagesQuery, SearchQuery, UpsertQuery, Word
from aioscheduler.clock import from_ms, to_ms
from aioscheduler.domain.instant import local_texts, with_offset
from aioscheduler.domain.jsontext import raw_items, raw_member
from aioscheduler.domain.message import ConflictPolicy, Message, MessageId, MessageStatus, Tag, check_id
from aioscheduler.errors import (
    AioschedulerError,
    Conflict,
    FilterRequired,
    InvalidInput,
    MessageNotFound,
    PreconditionFailed,
    Sentence,
)
from aioscheduler.store.base import Listed, LiveMessage, Scheduled, Store

UPSERT, PAGE, SEARCH, COUNT, BULK = UpsertQuery(), MessagesQuery(), SearchQuery(), CountQuery(), BulkQuery()

#: A search that finds little looks on for so long, in seconds, before it answers with a cursor.
_SEARCH_PATIENCE = 1.0
#: Items of a batch that are checked before others get a turn of the loop.
_TURN = 50
#: Lines of a list that are made before others get one.
_LINES = 250


async def create(request: web.Request) -> web.Response:
    """``POST /messages``"""
    context = request.app[CONTEXT]
    body = await read_body(request, context.config.max_body_bytes)
    members = parse_object(body)
    now, now_ms = context.clock.now(), context.clock.now_ms()
    draft = context.intake.draft(members, now)
    message = draft.message(None, payload_of(body, members), now, now_ms)
    policy = draft.policy or (_policy(request, context) if "?" in request.raw_path else context.config.on_conflict)
    result = await context.store.schedule(message, policy, fire_at(message.due_at, now))
    check_written(result, message.id)
    status = 201 if result is Scheduled.CREATED else 200
    return answer(scheduled(message, context.config.zone, language(request)), status)


async def put(request: web.Request) -> web.Response:
    """``PUT /messages/{id}``"""
    context = request.app[CONTEXT]
    message_id = path_id(request)
    body = await read_body(request, context.config.max_body_bytes)
    members = parse_object(body)
    now, now_ms = context.clock.now(), context.clock.now_ms()
    draft = context.intake.draft(members, now)
    if draft.id is not None and draft.id != message_id:
        raise InvalidInput.of("id", Sentence("must be the id in the path, or be left out"))
    message = draft.message(message_id, payload_of(body, members), now, now_ms)
    result = await _put(context.store, message, fire_at(message.due_at, now), write_condition(request))
    check_written(result, message_id)
    status = 201 if result is Scheduled.CREATED else 200
    return answer(scheduled(message, context.config.zone, language(request)), status)


async def _put(store: Store, message: Message, at: datetime, condition: Condition | Sequence[Tag]) -> Scheduled:
    if not isinstance(condition, Condition):
        return await store.replace_seen(message, condition, at)
    match condition:
        case Condition.ALWAYS:
            return await store.schedule(message, ConflictPolicy.REPLACE, at)
        case Condition.NEW:
            result = await store.schedule(message, ConflictPolicy.REJECT, at)
            if result is Scheduled.EXISTS:
                raise PreconditionFailed(_exists(message.id))
            return result
        case Condition.NEVER:
            return Scheduled.NOT_AS_SEEN
        case _:
            assert_never(condition)


async def create_batch(request: web.Request) -> web.Response:
    """``POST /messages/batch``"""
    context = request.app[CONTEXT]
    body = await read_body(request, context.config.max_batch_bytes)
    items = parse_object(body).get("messages")
    if not isinstance(items, list):
        reason = Sentence("is missing") if items is None else Sentence("must be an array")
        raise InvalidInput.of("messages", reason)
    if len(items) > MAX_BATCH:
        raise InvalidInput.of("messages", Sentence("must have at most {max} entries", max=MAX_BATCH))
    # Parsed already: the member is there, and is an array.
    texts = raw_items(raw_member(body.decode(), "messages") or "[]")
    batch = _Batch(context, language(request), _policy(request, context))
    for number, (item, text) in enumerate(zip(items, texts, strict=True), 1):
        batch.add(item, text)
        if number % _TURN == 0:
            await asyncio.sleep(0)
    results = await batch.write()
    failed = sum("error" in result for result in results)
    return answer({"scheduled": len(results) - failed, "failed": failed, "results": results})


class _Batch:
    """The items of one request, in order. An id is taken by the first item that passes the checks with it."""

    def __init__(self, context: Context, speech: Language, default: ConflictPolicy) -> None:
        self._context = context
        self._language = speech
        self._default = default
        self._taken: set[MessageId] = set()
        self._checked: list[tuple[Message, ConflictPolicy, datetime] | dict[str, Any]] = []

    def add(self, item: object, text: str) -> None:
        """Check one item; ``text`` is how it was written."""
        try:
            self._checked.append(self._check(item, text))
        except AioschedulerError as error:
            given = item.get("id") if isinstance(item, dict) else None
            self._checked.append(self._rejected(given if isinstance(given, str) else None, error))

    def _check(self, item: object, text: str) -> tuple[Message, ConflictPolicy, datetime]:
        if not isinstance(item, dict):
            raise InvalidInput.of("messages", Sentence("must be an object"))
        if len(text) > self._context.config.max_body_bytes:
            raise too_large(self._context.config.max_body_bytes)
        clock = self._context.clock
        now = clock.now()
        draft = self._context.intake.draft(item, now)
        message = draft.message(None, payload_of(text.encode(), item), now, clock.now_ms())
        if message.id in self._taken:
            raise Conflict(Sentence('The batch has another message with the id "{id}".', id=message.id))
        self._taken.add(message.id)
        return message, draft.policy or self._default, fire_at(message.due_at, now)

    async def write(self) -> list[dict[str, Any]]:
        """Write what passed and return what became of each item.

        :raises StoreUnavailable: some, or all, may be written all the same
        """
        store = self._context.store
        written = iter(
            await asyncio.gather(*(store.schedule(*item) for item in self._checked if isinstance(item, tuple)))
        )
        return [item if isinstance(item, dict) else self._told(item[0], next(written)) for item in self._checked]

    def _told(self, message: Message, result: Scheduled) -> dict[str, Any]:
        try:
            check_written(result, message.id)
        except Conflict as error:
            return self._rejected(message.id, error)
        return scheduled(message, self._context.config.zone, self._language)

    def _rejected(self, message_id: str | None, error: AioschedulerError) -> dict[str, Any]:
        return {
            "messageId": message_id,
            "status": word("rejected", self._language),
            "error": problem(error, status_of(error), self._language),
        }


async def page(request: web.Request) -> web.Response:
    """``GET /messages``"""
    context = request.app[CONTEXT]
    query = load_query(PAGE, request)
    asked = (query[name] for name in ("limit", "cursor", "status", "destination"))
    found, counts = await asyncio.gather(context.store.page(*asked), context.store.counts())
    zone, speech = context.config.zone, language(request)
    lines: list[dict[str, Any]] = []
    for number, line in enumerate(found.items, 1):
        lines.append(_listed(line, zone, speech))
        if number % _LINES == 0:
            await asyncio.sleep(0)
    return answer(
        {
            "scheduledJobs": lines,
            "count": len(found.items),
            "total": counts.messages,
            "timestamp": with_offset(context.clock.now(), zone),
            "nextCursor": found.next_cursor,
        }
    )


async def show(request: web.Request) -> web.Response:
    """``GET /messages/{id}``"""
    context = request.app[CONTEXT]
    message_id = path_id(request)
    live = await context.store.get(message_id)
    if live is None:
        raise no_message(message_id)
    response = answer(_details(live, context.config.zone, language(request)))
    response.headers["ETag"] = etag(live.tag)
    return response


async def search(request: web.Request) -> web.Response:
    """``GET /messages/search``"""
    context = request.app[CONTEXT]
    query = load_query(SEARCH, request)
    _want_filter(query["prefix"], query["contains"])
    limit, cursor = query["limit"], query["cursor"]
    until = context.clock.monotonic() + _SEARCH_PATIENCE
    found: list[LiveMessage] = []
    while True:
        part = await context.store.search(
            query["prefix"], query["contains"], limit - len(found), cursor, query["status"], query["destination"]
        )
        found += part.items
        cursor = part.next_cursor
        if cursor is None or len(found) >= limit or context.clock.monotonic() >= until:
            break
    zone, speech = context.config.zone, language(request)
    return answer(
        {
            "count": len(found),
            "messages": [_details(live, zone, speech) for live in found],
            "nextCursor": cursor,
        }
    )


async def count(request: web.Request) -> web.Response:
    """``GET /messages/count``"""
    query = load_query(COUNT, request)
    found, exact = await request.app[CONTEXT].store.count(query["prefix"], query["contains"])
    return answer({"count": found, "exact": exact})


async def delete(request: web.Request) -> web.Response:
    """``DELETE /messages/{id}``"""
    message_id = path_id(request)
    (deleted,) = await request.app[CONTEXT].store.cancel([message_id])
    if not deleted:
        raise no_message(message_id)
    return answer({"status": word("deleted", language(request)), "messageId": message_id})


async def delete_bulk(request: web.Request) -> web.Response:
    """``DELETE /messages/bulk``, and ``POST`` for proxies that block it."""
    context = request.app[CONTEXT]
    query, body = await query_and_body(BULK, request, context)
    prefix, contains = query["prefix"] or body["prefix"], query["contains"] or body["contains"]
    _want_filter(prefix, contains)
    if query["dryRun"] or body["dryRun"]:
        ids = await context.store.search_ids(prefix, contains)
        return answer({"deleted": len(ids), "messageIds": ids, "dryRun": True})
    ids = await context.store.cancel_matching(prefix, contains)
    return answer({"deleted": len(ids), "messageIds": ids})


async def run(request: web.Request) -> web.Response:
    """``POST /messages/{id}/run``"""
    context = request.app[CONTEXT]
    message_id = path_id(request, action=True)
    now = context.clock.now()
    live = await context.store.get(message_id)
    if live is None or not await context.store.run_now(message_id, now):
        raise no_message(message_id)
    return answer(
        {
            "status": word("scheduled", language(request)),
            "messageId": message_id,
            "scheduledFor": with_offset(from_ms(to_ms(now)), context.config.zone),
            "version": live.message.version,
        },
        202,
    )


# -- what the other handlers of this family need, too -----------------------------------------------------------------


def path_id(request: web.Request, *, action: bool = False) -> MessageId:
    """Return the id in the path, whatever characters it has; with ``action`` the path ends in a verb.

    Taken from the raw path, where an encoded slash differs from none. One trailing slash belongs to the route.

    :raises InvalidInput: no legal id, or no UTF-8
    """
    raw = request.rel_url.raw_path.removesuffix("/").split("/", 2)[2]
    if action:
        raw = raw.rpartition("/")[0]
    try:
        return check_id(unquote_to_bytes(raw.encode("utf-8", "surrogateescape")).decode())
    except UnicodeError as error:
        raise InvalidInput.of("id", Sentence("must be UTF-8, percent-encoded")) from error


def load_query(schema: SiteSchema, request: web.Request) -> dict[str, Any]:
    """Return the query's parameters that the schema knows; of several with one name the first counts.

    :raises InvalidInput: one is not legal
    """
    query = request.query
    return load(schema, {name: Word(query[name]) for name in schema.fields if name in query})


async def query_and_body(
    schema: SiteSchema, request: web.Request, context: Context
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters in the query, and those in the body, which may be missing."""
    query = load_query(schema, request)
    return query, load(schema, await optional_object(request, context.config.max_body_bytes))


def check_written(result: Scheduled, message_id: MessageId) -> None:
    """Return when the message is written.

    :raises Conflict: it is not
    :raises PreconditionFailed: it is not, as the caller wanted it
    """
    if result is Scheduled.EXISTS:
        raise Conflict(_exists(message_id))
    if result is Scheduled.FOREIGN_KEY:
        raise Conflict(Sentence('The key of "{id}" in Redis holds something that is no message.', id=message_id))
    if result is Scheduled.NOT_AS_SEEN:
        raise PreconditionFailed(
            Sentence('The message "{id}" was changed, attempted, delivered or deleted meanwhile.', id=message_id)
        )


def _exists(message_id: MessageId) -> Sentence:
    return Sentence('There is a message with the id "{id}" already.', id=message_id)


def no_message(message_id: MessageId) -> MessageNotFound:
    """Return the error for an id nothing has."""
    return MessageNotFound(Sentence('There is no message with the id "{id}".', id=message_id))


def scheduled(message: Message, zone: tzinfo, speech: Language) -> dict[str, Any]:
    """Return the answer to a message that was accepted."""
    return {
        "status": word("scheduled", speech),
        "messageId": message.id,
        "scheduledFor": with_offset(message.due_at, zone),
        "version": message.version,
    }


def as_given(message: Message) -> dict[str, Any]:
    """Return the record as the client gave it, its payload untouched."""
    return {
        "id": message.id,
        "scheduleTo": message.schedule_to,
        "payload": orjson.Fragment(message.payload),
        "webhookUrl": message.target.url,
        **message.given,
    }


def _details(live: LiveMessage, zone: tzinfo, speech: Language) -> dict[str, Any]:
    message = live.message
    return {
        **as_given(message),
        "nextRun": with_offset(live.next_run_at, zone),
        "status": word(live.status.value, speech),
        "nextAttemptAt": None if live.status is MessageStatus.DELIVERING else with_offset(live.next_run_at, zone),
        "attempts": live.attempts,
        "lastError": live.last_error,
        "version": message.version,
        "createdAt": with_offset(message.created_at, zone),
    }


def _listed(line: Listed, zone: tzinfo, speech: Language) -> dict[str, Any]:
    next_run, zone_name = local_texts(line.next_run_at, zone)
    return {
        "messageId": line.id,
        "nextRun": next_run,
        "trigger": f"date[{next_run[:10]} {next_run[11:19]} {zone_name}]",
        "job": f"{line.method} {line.url}",
        "webhookUrl": line.url,
        "status": word(line.status.value, speech),
        "attempts": line.attempts,
    }


def _want_filter(prefix: str, contains: str) -> None:
    if not prefix and not contains:
        raise FilterRequired(Sentence("Give a prefix, or what the id contains, or both."))


def _policy(request: web.Request, context: Context) -> ConflictPolicy:
    upsert = load_query(UPSERT, request)["upsert"]
    if upsert is None:
        return context.config.on_conflict
    return ConflictPolicy.REPLACE if upsert else ConflictPolicy.REJECT


def payload_of(body: bytes, members: Mapping[str, Any]) -> bytes:
    """Return the payload as it was written in a body that was checked."""
    payload = members["payload"]
    if type(payload) is dict or type(payload) is list:
        # Most clients write as compactly as we do: then it is cheaper to write it again and find it than to cut it out.
        try:
            compact = orjson.dumps(payload)
        except orjson.JSONEncodeError:
            compact = b"\0"  # nested deeper than can be written
        if b'"payload":' + compact in body:
            return compact
    raw = raw_member(body.decode(), "payload")
    assert raw is not None, "the body was checked"
    return raw.encode()
