"""What a receiver can do wrong, on both transports. Where they differ on purpose, the table says so."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import ResolveResult
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aioscheduler.clock import SystemClock
from aioscheduler.domain.execution import OutcomeKind
from aioscheduler.domain.target import check_url
from aioscheduler.engine.delivery import Deliverer, NotSent
from aioscheduler.engine.guard import Guard
from aioscheduler.engine.pulse import STILL_SECONDS, Pulse
from aioscheduler.engine.transport import Exchange, Right, Transport
from aioscheduler.engine.wire import WireTransport
from tests.support.certificates import server_context
from tests.support.clock import FakeClock
from tests.support.misbehaving import OK, Misbehaving, Peer, answers, bytewise
from tests.support.transports import (
    AIOHTTP,
    TRANSPORTS,
    WIRE,
    FakeResolver,
    ask,
    make_deliverer,
    make_transport,
)


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """Run each test that has it on both."""
    name: str = request.param
    return name


@pytest.fixture
async def deliverer(transport: str) -> AsyncIterator[Deliverer]:
    started = make_deliverer(transport)
    await started.start()
    yield started
    await started.stop()


INVALID = "answer is not valid HTTP"
CLOSED = "connection closed before an answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An answer, what comes of it, and whether its connection may serve again."""

    raw: bytes
    comes: int | str
    """The status, or the error where there is none."""
    kept: bool = False
    body: bytes | None = None
    method: str = "POST"
    close: bool = False
    """The receiver closes after the answer."""
    aiohttp: Mapping[str, tuple[int | str, bool, int | None]] | None = None
    """How it differs there, by how the bytes are split: what comes of it, whether the connection serves again, and what
    comes of the request after it."""
    hangs: str | None = None
    """aiohttp does not notice that the answer has ended until the time limit, when it is split like this."""


def head(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([status, *lines, b"", b""])


def both(comes: int | str, kept: bool) -> Mapping[str, tuple[int | str, bool, int | None]]:
    return {WHOLE: (comes, kept, 200), BYTEWISE: (comes, kept, 200)}


WHOLE, BYTEWISE, BOTH = "whole", "bytewise", "both"
CHUNKED = b"Transfer-Encoding: chunked"
LENGTH = b"Content-Length: 3"

CASES = {
    # What RFC 9112 allows.
    "a length": Case(raw=head(LENGTH) + b"abc", comes=200, kept=True, body=b"abc"),
    "no body": Case(raw=head(b"Content-Length: 0"), comes=200, kept=True, body=b""),
    "chunks": Case(raw=head(CHUNKED) + b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", comes=200, kept=True, body=b"abc"),
    "chunk extensions": Case(
        raw=head(CHUNKED) + b'3;a=b;c="d e";f\r\nabc\r\n0;g\r\n\r\n', comes=200, kept=True, body=b"abc"
    ),
    "trailers": Case(
        raw=head(CHUNKED, status=b"HTTP/1.1 503 X") + b"3\r\nabc\r\n0\r\nRetry-After: 7\r\nX: y\r\n\r\n",
        comes=503,
        kept=True,
        body=b"abc",
    ),
    "upper-case chunk sizes": Case(
        raw=head(CHUNKED) + b"A\r\n0123456789\r\n00\r\n\r\n", comes=200, kept=True, body=b"0123456789"
    ),
    "until it closes": Case(raw=head() + b"abc", comes=200, body=b"abc", close=True),
    "HTTP/1.0 until it closes": Case(raw=head(status=b"HTTP/1.0 200 OK") + b"abc", comes=200, body=b"abc", close=True),
    "HTTP/1.0 with a length": Case(raw=head(LENGTH, status=b"HTTP/1.0 200 OK") + b"abc", comes=200, body=b"abc"),
    "HTTP/1.0 kept": Case(
        raw=head(b"Connection: keep-alive", LENGTH, status=b"HTTP/1.0 200 OK") + b"abc",
        comes=200,
        kept=True,
        body=b"abc",
    ),
    "it says it closes, and does not": Case(raw=head(b"Connection: close", LENGTH) + b"abc", comes=200, body=b"abc"),
    "100 before": Case(raw=head(status=b"HTTP/1.1 100 Continue") + head(LENGTH) + b"abc", comes=200, kept=True),
    "100, 102 and 103 before": Case(
        raw=head(status=b"HTTP/1.1 100 Continue")
        + head(status=b"HTTP/1.1 102 Processing")
        + head(b"Link: </x>", b"Location: /wrong", status=b"HTTP/1.1 103 Early Hints")
        + head(LENGTH)
        + b"abc",
        comes=200,
        kept=True,
        body=b"abc",
    ),
    "204": Case(raw=head(status=b"HTTP/1.1 204 No Content"), comes=204, kept=True, body=b""),
    "204 with a length": Case(raw=head(LENGTH, status=b"HTTP/1.1 204 No"), comes=204, kept=True, body=b""),
    "304 with a length": Case(raw=head(LENGTH, status=b"HTTP/1.1 304 Not Modified"), comes=304, kept=True, body=b""),
    "HEAD with a length": Case(raw=head(LENGTH), comes=200, method="HEAD", kept=True, body=b""),
    "HEAD with chunks": Case(raw=head(CHUNKED), comes=200, method="HEAD", kept=True, body=b""),
    "no reason": Case(raw=head(LENGTH, status=b"HTTP/1.1 200 ") + b"abc", comes=200, kept=True),
    "not even a space for a reason": Case(raw=head(LENGTH, status=b"HTTP/1.1 200") + b"abc", comes=200, kept=True),
    "empty headers": Case(raw=head(b"X:", b"Y: ", LENGTH) + b"abc", comes=200, kept=True),
    "bytes beyond ASCII": Case(
        raw=head(b"X: \xff\xfe", LENGTH, status=b"HTTP/1.1 200 \xfc") + b"abc", comes=200, kept=True
    ),
    "spaces around a length": Case(raw=head(b"content-LENGTH: \t 3 \t ") + b"abc", comes=200, kept=True),
    "spaces after a chunk's size": Case(
        raw=head(CHUNKED) + b"3 \r\nabc\r\n0\r\n\r\n", comes=200, kept=True, body=b"abc"
    ),
    "an offer to upgrade": Case(
        raw=head(b"Connection: upgrade", b"Upgrade: h2c", LENGTH) + b"abc", comes=200, kept=True, body=b"abc"
    ),
    "a status nobody knows": Case(raw=head(LENGTH, status=b"HTTP/1.1 799 ?") + b"abc", comes=799, kept=True),
    "gzip and chunks": Case(
        raw=head(b"Transfer-Encoding: gzip, chunked") + b"3\r\nabc\r\n0\r\n\r\n",
        comes=200,
        kept=False,
        aiohttp=both(200, True),
    ),
    "another coding than chunks": Case(
        raw=head(b"Transfer-Encoding: gzip") + b"abc", comes=200, body=b"abc", close=True
    ),
    # What it does not allow, and was understood for decades.
    "bare line feeds": Case(
        raw=b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", comes=200, body=b"abc", aiohttp=both(200, True)
    ),
    "one bare line feed": Case(
        raw=b"HTTP/1.1 200 OK\r\nX: y\nContent-Length: 3\r\n\r\nabc", comes=200, body=b"abc", aiohttp=both(200, True)
    ),
    "folded lines": Case(raw=head(b"X: a", b"  b", LENGTH) + b"abc", comes=200, body=b"abc", aiohttp=both(200, True)),
    "blank lines before": Case(
        raw=b"\r\n\r\n" + head(LENGTH) + b"abc", comes=200, body=b"abc", aiohttp=both(200, True)
    ),
    # Attempts to make two readers see different ends: an error, or at least the end of the connection.
    "length and chunks": Case(raw=head(LENGTH, CHUNKED) + b"0\r\n\r\n", comes=INVALID),
    "chunks and length": Case(raw=head(CHUNKED, LENGTH) + b"0\r\n\r\n", comes=INVALID),
    "two lengths": Case(raw=head(LENGTH, b"Content-Length: 4") + b"abcd", comes=INVALID),
    "a length twice": Case(raw=head(LENGTH, LENGTH) + b"abc", comes=INVALID),
    "a list of lengths": Case(raw=head(b"Content-Length: 3, 3") + b"abc", comes=INVALID),
    "a negative length": Case(raw=head(b"Content-Length: -3") + b"abc", comes=INVALID),
    "a length with a sign": Case(raw=head(b"Content-Length: +3") + b"abc", comes=INVALID),
    "a length in hex": Case(raw=head(b"Content-Length: 0x3") + b"abc", comes=INVALID),
    "an empty length": Case(raw=head(b"Content-Length:") + b"abc", comes=INVALID),
    "a length beyond 64 bits": Case(raw=head(b"Content-Length: 99999999999999999999") + b"abc", comes=INVALID),
    "a space before the colon": Case(raw=head(b"Content-Length : 3") + b"abc", comes=200, aiohttp=both(200, True)),
    "a line without a colon": Case(raw=head(b"nonsense", LENGTH) + b"abc", comes=INVALID),
    "a header without a name": Case(raw=head(b": x", LENGTH) + b"abc", comes=INVALID),
    "NUL in a header": Case(raw=head(b"X: a\0b", LENGTH) + b"abc", comes=INVALID),
    "NUL in the reason": Case(
        raw=head(LENGTH, status=b"HTTP/1.1 200 \0") + b"abc", comes=INVALID, aiohttp=both(200, True)
    ),
    "chunks twice": Case(
        raw=head(CHUNKED, CHUNKED) + b"3\r\nabc\r\n0\r\n\r\n",
        comes=200,
        kept=False,
        body=b"abc",
        aiohttp=both(200, True),
    ),
    "chunks and then another coding": Case(
        raw=head(b"Transfer-Encoding: chunked, identity") + b"3\r\nabc\r\n0\r\n\r\n", comes=200, close=True
    ),
    "something like chunks": Case(
        raw=head(b"Transfer-Encoding: xchunked") + b"3\r\nabc\r\n0\r\n\r\n", comes=200, close=True
    ),
    "a space before the colon of chunks": Case(
        raw=head(b"Transfer-Encoding : chunked", LENGTH) + b"3\r\nabc\r\n0\r\n\r\n", comes=INVALID
    ),
    "a folded length": Case(raw=head(b"Content-Length:", b" 3") + b"abc", comes=200, aiohttp=both(200, True)),
    "a length folded in the middle": Case(raw=head(b"Content-Length: 1", b" 3") + b"abc", comes=INVALID),
    "a folded coding": Case(
        raw=head(b"Transfer-Encoding:", b" chunked") + b"3\r\nabc\r\n0\r\n\r\n", comes=200, aiohttp=both(200, True)
    ),
    "bare carriage returns": Case(raw=head(b"X: y\rContent-Length: 9", LENGTH) + b"abc", comes=INVALID),
    "a space before a chunk's size": Case(
        raw=head(CHUNKED) + b" 3\r\nabc\r\n0\r\n\r\n", comes=200, hangs=BYTEWISE, aiohttp={WHOLE: (INVALID, False, 200)}
    ),
    "a chunk's size with a prefix": Case(
        raw=head(CHUNKED) + b"0x3\r\nabc\r\n0\r\n\r\n",
        comes=200,
        hangs=BYTEWISE,
        aiohttp={WHOLE: (INVALID, False, 200)},
    ),
    "a chunk's size with a sign": Case(
        raw=head(CHUNKED) + b"+3\r\nabc\r\n0\r\n\r\n", comes=200, hangs=BYTEWISE, aiohttp={WHOLE: (INVALID, False, 200)}
    ),
    "HTTP/1.0 with chunks": Case(
        raw=head(b"Connection: keep-alive", CHUNKED, status=b"HTTP/1.0 200 OK") + b"3\r\nabc\r\n0\r\n\r\n",
        comes=200,
        kept=False,
        aiohttp=both(200, True),
    ),
    "a negative chunk": Case(
        raw=head(CHUNKED) + b"-3\r\nabc\r\n0\r\n\r\n", comes=200, hangs=BYTEWISE, aiohttp={WHOLE: (INVALID, False, 200)}
    ),
    "a chunk beyond 64 bits": Case(
        raw=head(CHUNKED) + b"f" * 17 + b"\r\nabc\r\n0\r\n\r\n",
        comes=200,
        hangs=BYTEWISE,
        aiohttp={WHOLE: (INVALID, False, 200)},
    ),
    "a chunk that is longer than it says": Case(
        raw=head(CHUNKED) + b"2\r\nabc\r\n0\r\n\r\n", comes=200, hangs=BYTEWISE, aiohttp={WHOLE: (INVALID, False, 200)}
    ),
    "a bare line feed after a chunk": Case(
        raw=head(CHUNKED) + b"3\r\nabc\n0\r\n\r\n", comes=200, aiohttp=both(200, True)
    ),
    "a bare line feed in a chunk's extension": Case(
        raw=head(CHUNKED) + b"3;a\nb\r\nabc\r\n0\r\n\r\n",
        comes=200,
        hangs=BYTEWISE,
        aiohttp={WHOLE: (INVALID, False, 200)},
    ),
    "a length among the trailers": Case(
        raw=head(CHUNKED) + b"3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n",
        comes=200,
        hangs=BYTEWISE,
        aiohttp={WHOLE: (INVALID, False, 200)},
    ),
    "another answer after it": Case(
        raw=head(LENGTH) + b"abc" + head(LENGTH, status=b"HTTP/1.1 500 Split") + b"def",
        comes=200,
        body=b"abc",
        aiohttp={BYTEWISE: (200, True, 500)},
    ),
    "half another answer after it": Case(
        raw=head(LENGTH) + b"abcHTTP/1.1 500 Spl", comes=200, body=b"abc", aiohttp=both(200, True)
    ),
    "another answer after chunks": Case(
        raw=head(CHUNKED) + b"0\r\n\r\n" + head(LENGTH, status=b"HTTP/1.1 500 Split") + b"def",
        comes=200,
        body=b"",
        aiohttp={BYTEWISE: (200, True, 500)},
    ),
    "blank lines after it": Case(raw=head(LENGTH) + b"abc\r\n\r\n", comes=200, body=b"abc", aiohttp=both(200, True)),
    "blank lines after chunks": Case(
        raw=head(CHUNKED) + b"3\r\nabc\r\n0\r\n\r\n\r\n", comes=200, body=b"abc", aiohttp=both(200, True)
    ),
    "a body after 204": Case(
        raw=head(LENGTH, status=b"HTTP/1.1 204 No") + b"abc",
        comes=204,
        body=b"",
        aiohttp={WHOLE: (INVALID, False, 200)},
    ),
    "a body after HEAD": Case(
        raw=head(LENGTH) + b"abc", comes=200, method="HEAD", body=b"", aiohttp={WHOLE: (INVALID, False, 200)}
    ),
    # What is no answer.
    "101 that nobody asked for": Case(
        raw=head(b"Connection: upgrade", b"Upgrade: websocket", status=b"HTTP/1.1 101 S") + b"\x81\x00", comes=101
    ),
    "101 without an upgrade": Case(raw=head(status=b"HTTP/1.1 101 S"), comes=101, aiohttp=both(101, True)),
    "another protocol": Case(raw=b"SSH-2.0-OpenSSH_9.2\r\n", comes=INVALID),
    "random bytes": Case(raw=bytes(range(128, 256)) * 8, comes=INVALID),
    "HTTP/2.0": Case(raw=head(LENGTH, status=b"HTTP/2.0 200 OK") + b"abc", comes=INVALID, aiohttp=both(200, False)),
    "HTTP/0.9": Case(raw=b"<html>hello</html>", comes=INVALID, close=True),
    "RTSP": Case(raw=head(LENGTH, status=b"RTSP/1.0 200 OK") + b"abc", comes=INVALID, aiohttp=both(200, False)),
    "a status of two digits": Case(raw=head(LENGTH, status=b"HTTP/1.1 99 X") + b"abc", comes=INVALID),
    "a status below 100": Case(
        raw=head(LENGTH, status=b"HTTP/1.1 099 X") + b"abc", comes=INVALID, aiohttp=both(99, True)
    ),
    "a status of four digits": Case(raw=head(LENGTH, status=b"HTTP/1.1 2000 X") + b"abc", comes=INVALID),
    "a status of a thousand": Case(raw=head(LENGTH, status=b"HTTP/1.1 1000 X") + b"abc", comes=INVALID),
    "the preface of HTTP/2": Case(raw=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", comes=INVALID),
    "frames of HTTP/2": Case(raw=b"\0\0\6\4\0\0\0\0\0\0\3\0\0\0\x64", comes=INVALID),
    "half a head": Case(raw=b"HTTP/1.1 200 OK\r\nContent-Le", comes=CLOSED, close=True),
    "nothing": Case(raw=b"", comes=CLOSED, close=True),
    "only 100": Case(raw=head(status=b"HTTP/1.1 100 Continue"), comes=CLOSED, close=True),
    "half a body": Case(raw=head(LENGTH) + b"a", comes=200, body=b"a", close=True),
    "half the chunks": Case(raw=head(CHUNKED) + b"3\r\nab", comes=200, body=b"ab", close=True),
    # Absurd headers.
    "a long header": Case(
        raw=head(b"X: " + b"y" * 60_000, LENGTH) + b"abc", comes=200, kept=True, aiohttp=both(INVALID, False)
    ),
    "a header without an end": Case(raw=b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, comes=INVALID),
    "ten thousand headers": Case(
        raw=head(*[b"X: y"] * 10_000, LENGTH) + b"abc", comes=200, kept=True, aiohttp=both(INVALID, False)
    ),
    "more headers than there is room for": Case(raw=head(*[b"X: y"] * 11_000, LENGTH) + b"abc", comes=INVALID),
    "a thousand times 103": Case(
        raw=head(b"Link: </" + b"x" * 100 + b">", status=b"HTTP/1.1 103 Early") * 1000,
        comes=INVALID,
        hangs=BOTH,
        aiohttp=both("no answer within 0.2 s", False),
    ),
}


@pytest.mark.parametrize("split", [WHOLE, BYTEWISE])
@pytest.mark.parametrize("name", CASES)
async def test_an_answer_comes_to_this(deliverer: Deliverer, transport: str, name: str, split: str) -> None:
    case = CASES[name]
    comes, kept = case.comes, case.kept
    after: int | None = 200
    if transport == AIOHTTP:
        comes, kept, after = (case.aiohttp or {}).get(split, (comes, kept, after))
    sent = asyncio.Event()
    pieces: Sequence[bytes] = [case.raw]
    if split == BYTEWISE:  # the longest by the kilobyte, which takes less long
        pieces = bytewise(case.raw) if len(case.raw) < 1500 else bytewise(case.raw, 1000)
    async with Misbehaving(answers(*pieces, close=case.close, sent=sent)) as receiver:
        limit = 0.2 if transport == AIOHTTP and case.hangs in (split, BOTH) else 20
        outcome = await deliverer.attempt(
            ask(receiver.url(), method=case.method, keep_bytes=1000, timeout_seconds=limit)
        )
        await sent.wait()
        again = await deliverer.attempt(ask(receiver.url()))
        got = outcome.response_code or outcome.error
        assert again.response_code == after
        if after == 200:  # else aiohttp took the answer for another's, and its request did not even arrive
            await receiver.until(lambda: len(receiver.requests) >= 2)
        assert (got, receiver.connections[-1] == 1) == (comes, kept)
        assert len(receiver.requests) <= 2, "each came once"
        if case.body is not None and (transport == WIRE or case.aiohttp is None):
            assert outcome.body == case.body


# -- connections that end, and are kept --------------------------------------------------


async def one_after_the_other(peer: Peer) -> None:
    """Answer every request with :data:`OK`."""
    while True:
        await peer.request()
        await peer.send(OK)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_a_request_on_a_kept_connection_that_ends_without_an_answer_is_sent_once(
    deliverer: Deliverer, method: str, how: str
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        if how == "reset":
            peer.reset()

    async with Misbehaving(serve) as receiver:
        await deliverer.attempt(ask(receiver.url(), method=method))
        outcome = await deliverer.attempt(ask(receiver.url(), method=method))
        assert (outcome.response_code, outcome.error) == (None, "connection reset" if how == "reset" else CLOSED)
        assert receiver.connections == [1, 1]


async def test_a_connection_closed_by_the_answer_unannounced_is_replaced() -> None:
    """By aiohttp too, but only once the loop has told it; until then the attempt fails, though nothing was written."""
    deliverer = make_deliverer(WIRE)
    await deliverer.start()

    async def serve(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)

    async with Misbehaving(serve) as receiver:
        for number in range(1, 4):
            assert (await deliverer.attempt(ask(receiver.url()))).response_code == 200
            await receiver.until(lambda: receiver.open == 0)
            assert receiver.connections == list(range(1, number + 1))
    await deliverer.stop()


@pytest.mark.parametrize("news", ["closed", "answer", "byte"])
async def test_what_the_loop_has_not_seen_yet_of_a_kept_connection_is_seen_before_it_is_used(news: str) -> None:
    deliverer = make_deliverer(WIRE)
    await deliverer.start()
    async with Misbehaving(one_after_the_other) as receiver:
        assert (await deliverer.attempt(ask(receiver.url()))).response_code == 200
        peer = receiver.peers[0]
        if news == "closed":
            peer.finish_now()
        else:
            peer.send_now(b"HTTP/1.1 500 Forged\r\nContent-Length: 0\r\n\r\n" if news == "answer" else b"\n")
        # No turn of the loop in between.
        assert (await deliverer.attempt(ask(receiver.url()))).response_code == 200
        assert receiver.connections == [1, 2]
    await deliverer.stop()


async def test_a_request_written_to_a_connection_that_had_ended_is_not_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aioscheduler.engine.wire._Connection.usable", lambda self: True)  # it loses the race
    deliverer = make_deliverer(WIRE)
    await deliverer.start()
    async with Misbehaving(one_after_the_other) as receiver:
        await deliverer.attempt(ask(receiver.url()))
        receiver.peers[0].finish_now()
        outcome = await deliverer.attempt(ask(receiver.url()))
        assert (outcome.error, outcome.sent_at is None) == (CLOSED, False)
        await receiver.until(lambda: receiver.open == 0)
        assert len(receiver.peers) == 1, "another connection"
        assert len(receiver.requests) <= 2
    await deliverer.stop()


async def test_a_connection_reset_while_idle_is_replaced(deliverer: Deliverer) -> None:
    async with Misbehaving(one_after_the_other) as receiver:
        await deliverer.attempt(ask(receiver.url()))
        receiver.peers[0].reset()
        await receiver.until(lambda: receiver.open == 0)
        assert (await deliverer.attempt(ask(receiver.url()))).response_code == 200
        assert receiver.connections == [1, 2]


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's
@pytest.mark.parametrize("then", ["reads the rest", "closes", "resets"])
async def test_an_answer_that_comes_before_the_body_was_read_counts(
    deliverer: Deliverer, transport: str, then: str
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Too Long\r\nContent-Length: 0\r\n\r\n")
        answered.set()
        if then == "reads the rest":
            await peer.until_closed()
        elif then == "resets":
            await told.wait()
            peer.reset()

    answered, told = asyncio.Event(), asyncio.Event()
    async with Misbehaving(serve) as receiver:
        outcome = await deliverer.attempt(ask(receiver.url(), b"x" * 8_000_000))
        told.set()
        assert (outcome.response_code, outcome.error) == (413, "HTTP 413")
        await receiver.until(lambda: receiver.open == 0)


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's
async def test_an_answer_that_had_arrived_when_a_write_failed_counts(deliverer: Deliverer, transport: str) -> None:
    """It arrives, and a reset with it, after the loop has seen that there is room to write, and before it writes."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        attempt = asyncio.create_task(deliverer.attempt(ask(url, b"x" * 16_000_000)))
        loop = asyncio.get_running_loop()
        peer, _ = await loop.sock_accept(listener)
        with peer:
            got = 0
            while got < 2_000_000:
                got += len(await loop.sock_recv(peer, 2**20))
            with suppress(BlockingIOError):
                while peer.recv(2**20):
                    pass
            await asyncio.sleep(0)
            peer.send(b"HTTP/1.1 413 Too Long\r\nContent-Length: 0\r\n\r\n")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        outcome = await attempt
    got_of = (outcome.response_code, outcome.error)
    if transport == WIRE:
        assert got_of == (413, "HTTP 413")
    else:  # which reads nothing any more
        assert got_of in ((413, "HTTP 413"), (None, "connection reset"))


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's
async def test_a_body_far_larger_than_the_buffers_arrives_whole(deliverer: Deliverer) -> None:
    body = bytes(range(256)) * 20_000
    async with Misbehaving(one_after_the_other) as receiver:
        assert (await deliverer.attempt(ask(receiver.url(), body))).response_code == 200
        assert receiver.requests[0][2] == body


async def test_many_at_once_get_their_own_answers_on_as_many_connections_as_there_may_be(transport: str) -> None:
    async def serve(peer: Peer) -> None:
        while True:
            body = await peer.request()
            await asyncio.sleep(0)
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    deliverer = make_deliverer(transport, max_connections=10)
    await deliverer.start()
    async with Misbehaving(serve) as receiver:
        bodies = [b"%d" % number for number in range(300)]
        outcomes = await asyncio.gather(
            *(deliverer.attempt(ask(receiver.url(), body, keep_bytes=100)) for body in bodies)
        )
        assert [outcome.body for outcome in outcomes] == bodies
        assert sorted(body for _, _, body in receiver.requests) == sorted(bodies), "each came once"
        assert len(receiver.peers) == 10
    await deliverer.stop()


async def test_attempts_that_give_up_while_they_wait_for_a_connection_take_none_away(transport: str) -> None:
    release = asyncio.Event()

    async def serve(peer: Peer) -> None:
        while True:
            await peer.request()
            await release.wait()
            await peer.send(OK)

    deliverer = make_deliverer(transport, max_connections=1)
    await deliverer.start()
    async with Misbehaving(serve) as receiver:
        first = asyncio.create_task(deliverer.attempt(ask(receiver.url())))
        await receiver.until(lambda: len(receiver.requests) == 1)
        waiting = [
            asyncio.create_task(deliverer.attempt(ask(receiver.url(), timeout_seconds=limit)))
            for limit in (0.01, 20, 20, 0.01)
        ]
        assert (await waiting[0]).kind is (await waiting[3]).kind is OutcomeKind.TIMED_OUT
        waiting[1].cancel()
        release.set()
        assert (await first).response_code == (await waiting[2]).response_code == 200
        assert (await deliverer.attempt(ask(receiver.url()))).response_code == 200
        assert receiver.connections == [1, 1, 1]
    await deliverer.stop()


async def test_an_attempt_under_way_when_the_transport_stops_fails() -> None:
    """By aiohttp one that waits for a connection is cancelled, as if its task had been."""

    async def serve(peer: Peer) -> None:
        await peer.request()
        await peer.until_closed()

    deliverer = make_deliverer(WIRE, max_connections=1)
    await deliverer.start()
    async with Misbehaving(serve) as receiver:
        attempts = [asyncio.create_task(deliverer.attempt(ask(receiver.url()))) for _ in range(2)]
        await receiver.until(lambda: len(receiver.requests) == 1)
        await deliverer.stop()
        first, second = await asyncio.gather(*attempts)
        assert first.kind is second.kind is OutcomeKind.FAILURE
        assert second.sent_at is None
        await receiver.until(lambda: receiver.open == 0)


# -- the time limit, in every phase ------------------------------------------------------


class Silent(FakeResolver):
    """Never answers."""

    async def resolve(self, *_: object, **__: object) -> list[ResolveResult]:
        await asyncio.Event().wait()
        raise AssertionError("for ever")


async def test_the_time_limit_holds_while_a_name_is_looked_up(transport: str) -> None:
    deliverer = make_deliverer(transport, resolver=Silent())
    await deliverer.start()
    outcome = await deliverer.attempt(ask("http://name.test/", timeout_seconds=0.05))
    assert (outcome.kind, outcome.sent_at) == (OutcomeKind.TIMED_OUT, None)
    await deliverer.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full queue of connections refuses")
async def test_the_time_limit_holds_while_a_connection_is_made(deliverer: Deliverer) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):  # nobody accepts it, so there is room for no other
            outcome = await deliverer.attempt(ask(f"http://127.0.0.1:{port}/", timeout_seconds=0.05))
    assert (outcome.kind, outcome.sent_at) == (OutcomeKind.TIMED_OUT, None)


async def test_the_time_limit_holds_during_the_handshake(deliverer: Deliverer) -> None:
    async def serve(peer: Peer) -> None:
        await peer.until_closed()

    async with Misbehaving(serve) as receiver:
        url = receiver.url().replace("http:", "https:")
        outcome = await deliverer.attempt(ask(url, timeout_seconds=0.05))
        assert (outcome.kind, outcome.sent_at) == (OutcomeKind.TIMED_OUT, None)
        await receiver.until(lambda: receiver.open == 0)


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's
@pytest.mark.parametrize("phase", ["request", "nothing", "1xx", "half a head", "body", "chunks"])
async def test_the_time_limit_holds_from_the_request_to_the_end_of_the_body(deliverer: Deliverer, phase: str) -> None:
    pieces = {
        "request": b"",
        "nothing": b"",
        "1xx": b"HTTP/1.1 100 Continue\r\n\r\n",
        "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
        "body": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
    }
    closed = asyncio.Event()

    async def serve(peer: Peer) -> None:
        if phase == "request":
            await closed.wait()
        else:
            await peer.request()
            await peer.send(pieces[phase])
        await peer.until_closed()

    async with Misbehaving(serve) as receiver:
        body = b"x" * (16_000_000 if phase == "request" else 10)
        outcome = await deliverer.attempt(ask(receiver.url(), body, timeout_seconds=0.1, keep_bytes=10))
        closed.set()
        if phase in ("body", "chunks"):
            assert (outcome.response_code, outcome.body) == (200, b"half")
        else:
            assert (outcome.kind, outcome.error) == (OutcomeKind.TIMED_OUT, "no answer within 0.1 s")
        assert outcome.sent_at is not None
        await receiver.until(lambda: receiver.open == 0)


# -- TLS ---------------------------------------------------------------------------------


async def test_secure_exchanges_are_verified_by_name_and_kept(transport: str) -> None:
    deliverer = make_deliverer(transport, trusting=True, resolver=FakeResolver(hook_test=["127.0.0.1"]))
    await deliverer.start()
    async with Misbehaving(one_after_the_other, tls=server_context()) as receiver:
        for _ in range(3):
            outcome = await deliverer.attempt(ask(receiver.url(host="hook.test"), b"x" * 100_000))
            assert (outcome.response_code, outcome.error) == (200, None)
        assert receiver.connections == [1, 1, 1]
        assert receiver.peers[0].writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    await deliverer.stop()


async def test_a_name_a_certificate_does_not_have_is_refused(transport: str) -> None:
    deliverer = make_deliverer(transport, trusting=True, resolver=FakeResolver(evil_test=["127.0.0.1"]))
    await deliverer.start()
    async with Misbehaving(one_after_the_other, tls=server_context()) as receiver:
        outcome = await deliverer.attempt(ask(receiver.url(host="evil.test")))
        assert outcome.error is not None
        assert outcome.error.startswith("TLS certificate not accepted: ")
        assert "evil.test" in outcome.error
        assert not receiver.requests
    await deliverer.stop()


async def test_a_certificate_that_has_expired_is_refused(transport: str) -> None:
    deliverer = make_deliverer(transport, trusting=True)
    await deliverer.start()
    async with Misbehaving(one_after_the_other, tls=server_context(expired=True)) as receiver:
        outcome = await deliverer.attempt(ask(receiver.url()))
        assert outcome.error == "TLS certificate not accepted: certificate has expired"
        assert not receiver.requests
    await deliverer.stop()


async def test_a_certificate_of_its_own_making_is_refused(deliverer: Deliverer) -> None:
    async with Misbehaving(one_after_the_other, tls=server_context()) as receiver:
        outcome = await deliverer.attempt(ask(receiver.url()))
        assert outcome.error == "TLS certificate not accepted: self-signed certificate"
        assert not receiver.requests


@pytest.mark.parametrize(
    ("host", "named"), [("hook.test", "hook.test"), ("hook.test.", "hook.test"), ("127.0.0.1", None)]
)
async def test_the_name_is_told_before_the_handshake_and_an_address_is_no_name(
    transport: str, host: str, named: str | None
) -> None:
    names: list[str | None] = []
    context = server_context()
    context.sni_callback = lambda connection, name, _: names.append(name)
    deliverer = make_deliverer(
        transport, trusting=True, resolver=FakeResolver(hook_test=["127.0.0.1"], hook_test_=["127.0.0.1"])
    )
    await deliverer.start()
    async with Misbehaving(one_after_the_other, tls=context) as receiver:
        outcome = await deliverer.attempt(ask(receiver.url(host=host)))
        assert (outcome.response_code, outcome.error) == (200, None)
        assert names == [named]
    await deliverer.stop()


@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_a_handshake_that_breaks_off_is_a_failure(deliverer: Deliverer, how: str) -> None:
    async def serve(peer: Peer) -> None:
        await peer.reader.read(1)
        if how == "reset":
            peer.reset()

    async with Misbehaving(serve) as receiver:
        outcome = await deliverer.attempt(ask(receiver.url().replace("http:", "https:")))
        assert (outcome.kind, outcome.sent_at) == (OutcomeKind.FAILURE, None)
        assert outcome.error in ("connection reset", "connection failed", CLOSED)


async def test_a_secure_connection_that_is_lost_is_replaced_by_one_that_resumes_its_session() -> None:
    deliverer = make_deliverer(WIRE, trusting=True)
    await deliverer.start()

    resumed = []

    async def serve(peer: Peer) -> None:
        resumed.append(peer.writer.get_extra_info("ssl_object").session_reused)
        await peer.request()
        await peer.send(OK)

    async with Misbehaving(serve, tls=server_context()) as receiver:
        for _ in range(2):
            assert (await deliverer.attempt(ask(receiver.url()))).response_code == 200
            await receiver.until(lambda: receiver.open == 0)
        assert resumed == [False, True]
    await deliverer.stop()


# -- addresses and names -----------------------------------------------------------------


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
async def test_an_ipv6_address_is_reached_and_shown_in_brackets(deliverer: Deliverer) -> None:
    async with Misbehaving(one_after_the_other, host="::1") as receiver:
        assert (await deliverer.attempt(ask(receiver.url(host="[::1]")))).response_code == 200
        assert b"Host: [::1]:%d\r\n" % receiver.port in receiver.requests[0][1]


@pytest.mark.parametrize("addresses", [["::1", "127.0.0.1"], ["127.0.0.2", "127.0.0.3", "127.0.0.1"]])
async def test_the_next_address_is_tried_when_one_refuses(transport: str, addresses: list[str]) -> None:
    deliverer = make_deliverer(transport, resolver=FakeResolver(hook_test=addresses))
    await deliverer.start()
    async with Misbehaving(one_after_the_other) as receiver:
        assert (await deliverer.attempt(ask(receiver.url(host="hook.test")))).response_code == 200
        assert len(receiver.peers) == 1
    await deliverer.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is no address of loopback")
async def test_an_address_that_does_not_answer_holds_up_the_next_one_for_a_moment_only(transport: str) -> None:
    deliverer = make_deliverer(transport, resolver=FakeResolver(hook_test=["127.0.0.2", "127.0.0.1"]))
    await deliverer.start()
    async with Misbehaving(one_after_the_other) as receiver:
        with socket.socket() as listener:
            listener.bind(("127.0.0.2", receiver.port))
            listener.listen(0)
            with socket.create_connection(("127.0.0.2", receiver.port)):  # there is room for no other
                outcome = await deliverer.attempt(ask(receiver.url(host="hook.test")))
        assert outcome.response_code == 200
        assert len(receiver.requests) == 1
    await deliverer.stop()


async def test_a_name_is_looked_up_once_for_all_who_ask_at_once_and_again_when_that_has_aged(transport: str) -> None:
    clock = FakeClock()
    resolver = FakeResolver(hook_test=["127.0.0.1"])
    deliverer = make_deliverer(transport, resolver=resolver, clock=clock)
    await deliverer.start()
    async with Misbehaving(one_after_the_other) as receiver:
        url = receiver.url(host="hook.test")
        await asyncio.gather(*(deliverer.attempt(ask(url)) for _ in range(20)))
        assert resolver.asked == ["hook.test"]
        if transport == WIRE:
            clock.move(31)  # both the name and the connections have aged
            await deliverer.attempt(ask(url))
            assert resolver.asked == ["hook.test", "hook.test"]
            assert receiver.connections[-1] == len(receiver.peers)
    await deliverer.stop()


async def test_a_name_that_did_not_resolve_is_looked_up_again(transport: str) -> None:
    resolver = FakeResolver()
    deliverer = make_deliverer(transport, resolver=resolver)
    await deliverer.start()
    async with Misbehaving(one_after_the_other) as receiver:
        url = receiver.url(host="hook.test")
        assert (await deliverer.attempt(ask(url))).error == "name does not resolve"
        resolver.addresses["hook.test"] = ["127.0.0.1"]
        assert (await deliverer.attempt(ask(url))).response_code == 200
    await deliverer.stop()


async def test_one_that_gives_up_a_look_up_takes_the_answer_from_nobody_else(transport: str) -> None:
    asked, release = asyncio.Event(), asyncio.Event()

    class Slow(FakeResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            asked.set()
            await release.wait()
            return await super().resolve(host, port, family)

    resolver = Slow(hook_test=["127.0.0.1"])
    deliverer = make_deliverer(transport, resolver=resolver)
    await deliverer.start()
    async with Misbehaving(one_after_the_other) as receiver:
        hasty = asyncio.create_task(deliverer.attempt(ask(receiver.url(host="hook.test"))))
        await asked.wait()
        patient = asyncio.create_task(deliverer.attempt(ask(receiver.url(host="hook.test"))))
        await asyncio.sleep(0)
        hasty.cancel()
        await asyncio.wait([hasty])
        release.set()
        assert (await patient).response_code == 200
        assert resolver.asked == ["hook.test"]
    await deliverer.stop()


# -- what only the transport of our own can be asked --------------------------------------


async def exchange(transport: Transport, url: str, **changes: Any) -> Exchange:
    made = Exchange(SystemClock(), Guard(block_private=False), check_url(url))
    for name, value in changes.items():
        setattr(made, name, value)
    await transport.exchange(made)
    return made


async def test_how_long_each_step_took_is_written_down_and_kept_connections_spare_them() -> None:
    transport = make_transport(WIRE, trusting=True, resolver=FakeResolver(hook_test=["127.0.0.1"]))
    await transport.start()
    async with Misbehaving(one_after_the_other, tls=server_context()) as receiver:
        url = receiver.url(host="hook.test")
        first, second = await exchange(transport, url), await exchange(transport, url)
        for seconds in (first.dns_seconds, first.connect_seconds, first.tls_seconds):
            assert seconds is not None
            assert 0 <= seconds < 10
        assert (second.dns_seconds, second.connect_seconds, second.tls_seconds) == (None, None, None)
    await transport.stop()


async def test_an_outcome_says_how_its_connection_was_opened_unless_it_was_a_kept_one() -> None:
    deliverer = make_deliverer(WIRE, resolver=FakeResolver(hook_test=["127.0.0.1"]))
    await deliverer.start()
    async with Misbehaving(one_after_the_other) as receiver:
        first, second = [await deliverer.attempt(ask(receiver.url(host="hook.test"))) for _ in range(2)]
        assert first.opening is not None
        assert first.opening.tls_ms is None
        assert [ms is not None and 0 <= ms < 10_000 for ms in first.opening[:2]] == [True, True]
        assert second.opening is None
    refused = await deliverer.attempt(ask(receiver.url(host="hook.test")))
    assert refused.error == "connection refused"
    assert refused.opening is not None
    assert refused.opening[1:] == (None, None), "it did not come to that"
    await deliverer.stop()


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "/a b"},
        {"path": "/\r\nX: y"},
        {"path": "/\n"},
        {"path": "/\0"},
        {"method": "POST /x HTTP/1.1\r\n"},
        {"method": "GET "},
        {"headers": [("X", "y\r\n")]},
        {"headers": [("X", "y\nZ: z")]},
        {"headers": [("X", "y\rZ: z")]},
        {"headers": [("X", "\0")]},
        {"headers": [("X\r\nY", "z")]},
        {"headers": [("X", "\ud800")]},
    ],
)
async def test_a_request_that_would_be_more_than_one_is_not_written(changes: dict[str, Any]) -> None:
    transport = make_transport(WIRE)
    await transport.start()
    async with Misbehaving(one_after_the_other) as receiver:
        with pytest.raises(ValueError, match=r"."):
            await exchange(transport, receiver.url(), **changes)
        assert not receiver.peers
    await transport.stop()


async def test_the_latest_connection_is_used_first_and_idle_ones_are_closed_when_they_have_aged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aioscheduler.engine.wire.SWEEP_SECONDS", 0.01)
    clock = FakeClock()
    deliverer = make_deliverer(WIRE, clock=clock)
    await deliverer.start()
    async with Misbehaving(one_after_the_other) as receiver:
        await asyncio.gather(*(deliverer.attempt(ask(receiver.url())) for _ in range(5)))
        assert receiver.open == 5
        clock.move(20)
        latest = {(await deliverer.attempt(ask(receiver.url()))).response_code for _ in range(3)}
        assert latest == {200}
        assert len(set(receiver.connections[5:])) == 1
        clock.move(20)
        await receiver.until(lambda: receiver.open == 1)
        clock.move(20)
        await receiver.until(lambda: receiver.open == 0)
    await deliverer.stop()


async def test_idle_connections_are_bounded_and_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioscheduler.engine.wire.MAX_IDLE", 3)
    deliverer = make_deliverer(WIRE)
    await deliverer.start()
    async with Misbehaving(one_after_the_other) as receiver, Misbehaving(one_after_the_other) as other:
        await deliverer.attempt(ask(other.url()))
        await asyncio.gather(*(deliverer.attempt(ask(receiver.url())) for _ in range(6)))
        await receiver.until(lambda: receiver.open == 3)
        await other.until(lambda: other.open == 0)
    await deliverer.stop()


async def test_a_request_that_must_not_leave_any_more_leaves_its_connection_to_others() -> None:
    clock = FakeClock()
    deliverer = make_deliverer(WIRE, clock=clock, pulse=Pulse(clock))
    await deliverer.start()
    async with Misbehaving(one_after_the_other) as receiver:
        asked_at = clock.monotonic()
        clock.move(STILL_SECONDS + 0.1)
        with pytest.raises(NotSent):
            await deliverer.attempt(ask(receiver.url(), asked_at=asked_at))
        assert (await deliverer.attempt(ask(receiver.url()))).response_code == 200
        assert receiver.connections == [1]
    await deliverer.stop()


async def test_a_connection_promised_to_one_that_gives_up_in_that_turn_is_passed_on() -> None:
    transport = WireTransport(clock=SystemClock(), max_connections=1)
    await transport.start()
    async with Misbehaving(one_after_the_other) as receiver:
        transport._in_use = 1  # by another
        waiting = asyncio.create_task(exchange(transport, receiver.url()))
        await asyncio.sleep(0)
        transport.pass_on()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert (waiting.cancelled(), transport._in_use) == (True, 0)
        assert (await exchange(transport, receiver.url())).status == 200
    await transport.stop()


async def test_an_answer_that_ends_in_the_turn_its_attempt_is_cancelled_leaves_the_connection_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transport = WireTransport(clock=SystemClock(), max_connections=0)
    await transport.start()
    keep = transport.keep

    def keep_and_cancel(connection: Any) -> None:
        keep(connection)
        attempt.cancel()

    async with Misbehaving(one_after_the_other) as receiver:
        with monkeypatch.context() as patch:
            patch.setattr(transport, "keep", keep_and_cancel)
            attempt = asyncio.create_task(exchange(transport, receiver.url()))
            await asyncio.wait([attempt])
            assert attempt.cancelled()
        assert (await exchange(transport, receiver.url())).status == 200
        assert receiver.connections == [1, 1]
    await transport.stop()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=60) | st.binary(max_size=60).map(lambda tail: OK + tail),
    cuts=st.lists(st.integers(0, 100), max_size=4),
    end=st.sampled_from(["closed", "reset", "open"]),
)
def test_no_bytes_in_any_packets_hang_an_attempt_or_reach_the_next_one(data: bytes, cuts: list[int], end: str) -> None:
    async def run() -> None:
        first = True

        async def serve(peer: Peer) -> None:
            nonlocal first
            while True:
                await peer.request()
                if not first:
                    await peer.send(OK)
                    continue
                first = False
                at = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
                try:
                    await peer.send(*[data[start:stop] for start, stop in pairwise(at)])
                finally:  # also when the client has had enough
                    sent.set()
                if end == "reset":
                    peer.reset()
                if end != "open":
                    return

        sent = asyncio.Event()
        deliverer = make_deliverer(WIRE)
        await deliverer.start()
        async with Misbehaving(serve) as receiver:
            attempt = asyncio.create_task(deliverer.attempt(ask(receiver.url())))
            await sent.wait()
            if end == "open" and not data.startswith(OK):  # it may wait for more, and is given up then
                await asyncio.wait([attempt], timeout=0.02)
                attempt.cancel()
            with suppress(asyncio.CancelledError):
                outcome = await attempt
                assert outcome.response_code is not None or outcome.error is not None
                assert outcome.error is None or "internal" not in outcome.error
            if end != "open":
                await receiver.until(lambda: receiver.open == 0)
            again = await deliverer.attempt(ask(receiver.url(), keep_bytes=10))
            assert (again.response_code, again.body) == (200, b"ok")
            assert len(receiver.requests) == 2, "each came once"
        await deliverer.stop()

    asyncio.run(asyncio.wait_for(run(), 30))


# -- the other loop ----------------------------------------------------------------------


async def test_the_loop_is_the_one_that_was_asked_for() -> None:
    asked = os.environ.get("TESTED_LOOP", "asyncio")
    assert type(asyncio.get_running_loop()).__module__.partition(".")[0] == asked


@pytest.mark.skipif("TESTED_LOOP" in os.environ, reason="this is that run")
def test_all_of_this_holds_on_uvloop_too_whose_transports_are_its_own() -> None:
    pytest.importorskip("uvloop")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.support.on_uvloop", "-k", "not aiohttp", __file__],
        env={**os.environ, "TESTED_LOOP": "uvloop"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr


# -- the right to send


@pytest.mark.parametrize("how", ["ran out", "withdrawn"])
async def test_without_the_right_to_it_nothing_is_written(transport: str, how: str) -> None:
    clock = FakeClock()
    deliverer = make_deliverer(transport, clock=clock)
    await deliverer.start()
    async with Misbehaving(one_after_the_other) as receiver:
        now = clock.monotonic()
        holds = Right(now)
        assert (await deliverer.attempt(ask(receiver.url(), right=holds))).response_code == 200
        ended = Right(now - 0.001 if how == "ran out" else now + 1)
        ended.withdrawn = how == "withdrawn"
        with pytest.raises(NotSent):
            await deliverer.attempt(ask(receiver.url(), right=ended))
        assert len(receiver.requests) == 1
        assert (await deliverer.attempt(ask(receiver.url(), right=Right()))).response_code == 200
    await deliverer.stop()


async def test_one_that_ends_while_the_connection_is_made_is_noticed(transport: str) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    class Slow(FakeResolver):
        async def resolve(self, host: str, *args: Any, **kwargs: Any) -> list[ResolveResult]:
            reached.set()
            await go_on.wait()
            return await super().resolve(host, *args, **kwargs)

    deliverer = make_deliverer(transport, resolver=Slow(hook_test=["127.0.0.1"]))
    await deliverer.start()
    async with Misbehaving(one_after_the_other) as receiver:
        right = Right()
        attempt = asyncio.create_task(deliverer.attempt(ask(receiver.url(host="hook.test"), right=right)))
        await reached.wait()
        right.withdrawn = True
        go_on.set()
        with pytest.raises(NotSent):
            await attempt
        assert receiver.requests == []
        assert (await deliverer.attempt(ask(receiver.url()))).response_code == 200
    await deliverer.stop()


@pytest.mark.parametrize("more", [1.0, -1.0])
async def test_one_that_runs_out_while_the_connection_is_made_may_be_renewed(transport: str, more: float) -> None:
    clock = FakeClock()
    asked: list[float] = []

    async def renew() -> float:
        asked.append(clock.monotonic())
        return clock.monotonic() + more

    class Slow(FakeResolver):
        async def resolve(self, host: str, *args: Any, **kwargs: Any) -> list[ResolveResult]:
            clock.move(1)
            return await super().resolve(host, *args, **kwargs)

    deliverer = make_deliverer(transport, clock=clock, resolver=Slow(hook_test=["127.0.0.1"]))
    await deliverer.start()
    async with Misbehaving(one_after_the_other) as receiver:
        request = ask(receiver.url(host="hook.test"), right=Right(clock.monotonic() + 0.5, renew))
        if more > 0:
            assert (await deliverer.attempt(request)).response_code == 200
        else:
            with pytest.raises(NotSent):
                await deliverer.attempt(request)
        assert len(asked) == 1
        assert len(receiver.requests) == (more > 0)
    await deliverer.stop()


async def test_one_that_ends_before_a_time_limit_does_is_a_failure_all_the_same(transport: str) -> None:
    """Otherwise what can never be connected to would be tried for ever."""

    class Never(FakeResolver):
        async def resolve(self, *args: Any, **kwargs: Any) -> list[ResolveResult]:
            await asyncio.Event().wait()
            raise AssertionError

    deliverer = make_deliverer(transport, resolver=Never())
    await deliverer.start()
    request = ask("http://hook.test/", right=Right(0.0), timeout_seconds=0.01)
    assert (await deliverer.attempt(request)).kind is OutcomeKind.TIMED_OUT
    await deliverer.stop()
