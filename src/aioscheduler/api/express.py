"""The short way for what most requests are: a ``POST /messages`` that is good in every respect.

It skips what the HTTP library does for any request – a task, request and response objects, routes, middlewares –, which
costs more than all the rest. Parsing and sockets stay the library's. Whatever is unusual, or will be refused before
anything is written, is left to the general way; the answers of both are the same to the byte.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final

import orjson
import structlog
from aiohttp import hdrs
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE

from aioscheduler.api.auth import OPERATOR
from aioscheduler.api.body import parse_object
from aioscheduler.api.context import Context
from aioscheduler.api.i18n import Language, language_of
from aioscheduler.api.intake import fire_at
from aioscheduler.api.messages import check_written, create, payload_of, scheduled
from aioscheduler.api.middlewares import refusal, tell_answered
from aioscheduler.api.problems import internal_problem
from aioscheduler.api.respond import JSON_HEADERS, answer
from aioscheduler.api.routes import ROUTES_BY_HANDLER
from aioscheduler.clock import whole_ms
from aioscheduler.domain.message import ConflictPolicy, Message
from aioscheduler.errors import AioschedulerError
from aioscheduler.store.base import Scheduled

log = structlog.get_logger(__name__)

ROUTE: Final = ROUTES_BY_HANDLER[create]

#: How many heads are remembered, and of how many bytes at most.
_MOST_HEADS, _LONGEST_HEAD = 1024, 1024

_SERVER: Final = SERVER_SOFTWARE.encode()
#: How the answer to a message that was accepted begins, by its status.
_BEGINNINGS: Final = {
    status.value: b"".join(
        (
            f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode(),
            *(f"{name}: {value}\r\n".encode() for name, value in JSON_HEADERS.items()),
        )
    )
    for status in (HTTPStatus.OK, HTTPStatus.CREATED)
}


@dataclass(frozen=True, slots=True)
class Head:
    """What the head of a good request says; ``request_id`` is ``None`` where it leaves that to us."""

    body_bytes: int
    language: Language
    request_id: str | None


class Express:
    """Takes requests to :data:`ROUTE` of one application.

    A client's requests mostly differ in their bodies only. So the heads of good ones are remembered, byte for byte,
    with what the parser and the checks made of them: the same bytes say the same again.
    """

    def __init__(self, context: Context) -> None:
        config = context.config
        self.clock = context.clock
        self.store = context.store
        self.zone = config.zone
        #: Whether each answer is told to the log.
        self.access_log = log.is_enabled_for(logging.DEBUG)
        self._credentials = context.credentials
        self._intake = context.intake
        self._limiter = context.limiter
        self._request_ids = context.request_ids
        self._language = config.language
        self._on_conflict = config.on_conflict
        self._max_body_bytes = config.max_body_bytes
        #: As they came, with the empty line that ends them. Only whoever has the token can add one, and nobody learns
        #: by the time a look takes how much of one he has guessed: hashes are compared first.
        self._heads: dict[bytes, Head] = {}

    def recall(self, data: bytes) -> tuple[Head, bytes] | None:
        """Return the head and the body of a request that is all of ``data``; ``None`` if no such head is remembered."""
        end = data.find(b"\r\n\r\n", 0, _LONGEST_HEAD) + 4
        head = self._heads.get(data[:end])
        if head is None or len(data) != end + head.body_bytes:
            return None
        return head, data[end:]

    def remember(self, data: bytes, head: Head) -> bool:
        """Keep the head of a good request if ``data`` is that request and nothing else; say whether it is."""
        end = data.find(b"\r\n\r\n") + 4
        if len(data) != end + head.body_bytes:
            return False
        # One that names the request does not come again.
        if end <= _LONGEST_HEAD and head.request_id is None:
            if len(self._heads) >= _MOST_HEADS:
                del self._heads[next(iter(self._heads))]
            self._heads[data[:end]] = head
        return True

    def head(self, headers: Mapping[str, str], body_bytes: int) -> Head | None:
        """Return what a head says; ``None`` where the general way has to answer."""
        if (
            not self._credentials.is_operator(headers.get(hdrs.AUTHORIZATION))
            or hdrs.EXPECT in headers
            or body_bytes > self._max_body_bytes
        ):
            return None
        return Head(
            body_bytes,
            language_of(headers.get(hdrs.ACCEPT_LANGUAGE), self._language),
            self._request_ids.given(headers),
        )

    def take(self, head: Head, body: bytes) -> Order | None:
        """Return what a request asks for; ``None`` where the general way has to answer, and nothing has happened."""
        started = self.clock.monotonic() if self.access_log else 0.0
        try:
            members = parse_object(body)
            now = self.clock.now()
            draft = self._intake.draft(members, now)
            message = draft.message(None, payload_of(body, members), now, whole_ms(now))
            if self._limiter is not None:
                self._limiter.take(OPERATOR.caller)
        except Exception:
            # A fault of the client's, or ours: the general way finds it again, tells it, and counts the request.
            return None
        return Order(
            self,
            message,
            draft.policy or self._on_conflict,
            fire_at(message.due_at, now),
            head.request_id or self._request_ids.new(),
            head.language,
            started,
        )


@dataclass(slots=True)
class Order:
    """A message that has passed every check, on its way into the store; the receipt of what comes of it."""

    express: Express
    message: Message
    policy: ConflictPolicy
    fire_at: datetime
    request_id: str
    language: Language
    started: float
    reply: Callable[[bytes], None] | None = None

    def place(self, reply: Callable[[bytes], None]) -> None:
        """Have it written, and then call ``reply``, once, with the answer as it goes over the wire."""
        self.reply = reply
        try:
            self.express.store.hand_in(self.message, self.policy, self.fire_at, self)
        except Exception as error:
            self.set_exception(error)

    def done(self) -> bool:
        return False

    def set_result(self, result: Scheduled) -> None:
        try:
            check_written(result, self.message.id)
            status = 201 if result is Scheduled.CREATED else 200
            body = orjson.dumps(scheduled(self.message, self.express.zone, self.language))
        except Exception as error:
            self.set_exception(error)
        else:
            self._answer(status, _BEGINNINGS[status], body)

    def set_exception(self, exception: Exception) -> None:
        with structlog.contextvars.bound_contextvars(request_id=self.request_id):
            if isinstance(exception, AioschedulerError):
                refused = refusal(exception, self.language, ROUTE.path, ROUTE.invalid_status)
            else:
                log.error(
                    "a request failed",
                    action="request_failed",
                    method=ROUTE.method,
                    route=ROUTE.path,
                    exc_info=exception,
                )
                refused = answer(internal_problem(self.language), 500)
        assert isinstance(refused.body, bytes), "made so"
        lines = (f"HTTP/1.1 {refused.status} {refused.reason}", *(f"{n}: {v}" for n, v in refused.headers.items()), "")
        self._answer(refused.status, "\r\n".join(lines).encode(), refused.body)

    def _answer(self, status: int, beginning: bytes, body: bytes) -> None:
        assert self.reply is not None, "placed"
        self.reply(
            b"%sX-Request-ID: %s\r\nContent-Length: %d\r\nDate: %s\r\nServer: %s\r\n\r\n%s"
            % (beginning, self.request_id.encode(), len(body), rfc822_formatted_time().encode(), _SERVER, body)
        )
        if self.express.access_log:
            with structlog.contextvars.bound_contextvars(request_id=self.request_id):
                tell_answered(ROUTE.method, ROUTE.path, status, self.express.clock.monotonic() - self.started)
