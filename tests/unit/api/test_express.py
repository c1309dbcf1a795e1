"""The short way of ``POST /messages``: the same answers as by the general way, and connections that end well."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from aioscheduler.api.connection import Connection
from aioscheduler.api.express import Express, Head, Order
from aioscheduler.domain.message import MessageId
from tests.unit.api.conftest import HOOK, TOKEN, Api, MakeApi

MEMBERS = {"id": "a", "scheduleTo": "2030-01-01T00:00:00Z", "payload": {"n": 1}, "webhookUrl": HOOK}


def post(
    body: object, *lines: str, path: str = "/messages", token: str = TOKEN, version: str = "1.1", method: str = "POST"
) -> bytes:
    """Return a request; ``body`` may be bytes to be sent as they are."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    head = (
        f"{method} {path} HTTP/{version}",
        "Host: x",
        f"Authorization: Bearer {token}",
        f"Content-Length: {len(data)}",
        *lines,
    )
    return "".join(f"{line}\r\n" for line in head).encode() + b"\r\n" + data


#: What goes the short way when it is sent at once, in this order, and what does not.
SHORT = (
    post(MEMBERS),
    post(MEMBERS),
    post(MEMBERS | {"onConflict": "replace"}),
    post(MEMBERS | {"id": "ação/1"}, "X-Request-ID: mine-1"),
    post(MEMBERS | {"id": "ação/1"}, "X-Request-ID: mine 2", "Accept-Language: pt-BR"),
    post(MEMBERS | {"id": "pt"}, "Accept-Language: pt-BR,pt;q=0.9", "Cookie: a=b", "Content-Type: text/plain"),
    post(MEMBERS | {"id": "all", "method": "PUT", "headers": {"X-A": "b"}, "timeoutSeconds": 5, "unknown": 1}),
    post(b'{"id":"raw","delay":"90s","webhookUrl":"%s","payload":123456789012345678901234}' % HOOK.encode()),
    post(MEMBERS | {"id": "past", "scheduleTo": "2020-01-01T00:00:00.001+02:00"}),
    post(MEMBERS | {"id": "spaces"}, "AUTHORIZATION: of no interest"),
    b"\r\n" + post(MEMBERS | {"id": "leading-line"}),
    post(MEMBERS | {"id": "x" * 512, "payload": "é" * 20_000}),
)
GENERAL = (
    post(MEMBERS | {"id": "other"}, path="/messages/"),
    post(MEMBERS | {"id": "query"}, path="/messages?upsert=true"),
    post(MEMBERS, method="PUT"),
    post(MEMBERS, path="/nowhere"),
    post(MEMBERS, token="wrong"),
    post(MEMBERS, token="wrong", version="1.0"),
    post(MEMBERS | {"id": "old"}, version="1.0"),
    post(MEMBERS | {"id": "old"}, "Connection: keep-alive", version="1.0"),
    post(MEMBERS | {"id": "last"}, "Connection: close"),
    post(MEMBERS | {"id": "expects"}, "Expect: 100-continue"),
    post(MEMBERS, "Expect: something"),
    post(b"no JSON"),
    post(b"[]"),
    post(b""),
    post(b'{"payload":' + b"[" * 500 + b"]" * 500 + b"}"),
    post({"id": "", "delay": "soon", "webhookUrl": "ftp://x"}, "Accept-Language: pt"),
    post(MEMBERS | {"delay": "1s"}),
    post(MEMBERS | {"id": "a\n"}),
    post(MEMBERS | {"payload": "x" * 60_000}),
    post(b"no gzip", "Content-Encoding: gzip"),
    post(b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
    + b"%x\r\n%s\r\n0\r\n\r\n" % (len(orjson.dumps(MEMBERS)), orjson.dumps(MEMBERS)),
    b"POST /messages HTTP/1.1\r\n\r\n",
    b"no HTTP\r\n\r\n",
)
#: What differs between two runs: when it is, ids of requests and versions of messages that are made.
_CHANCE = re.compile(rb'(?<=\nDate: )[^\r]+|(?<=\nX-Request-ID: )[0-9a-f]{8}-[0-9a-f]+|(?<="version":")[-\w]{10}')


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of what went the short way."""
    ids: list[str] = []
    place = Order.place

    def noted(order: Order, reply: Callable[[bytes], None]) -> None:
        ids.append(order.message.id)
        place(order, reply)

    monkeypatch.setattr(Order, "place", noted)
    return ids


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the parser was given."""
    pieces: list[bytes] = []
    received = web.RequestHandler.data_received

    def noted(connection: web.RequestHandler, data: bytes) -> None:
        pieces.append(data)
        received(connection, data)

    monkeypatch.setattr(web.RequestHandler, "data_received", noted)
    return pieces


@asynccontextmanager
async def connected(api: Api) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(api.client.host, api.client.port)
    try:
        async with asyncio.timeout(30):
            yield reader, writer
    finally:
        writer.close()


async def answer_of(reader: asyncio.StreamReader) -> bytes:
    """Return one answer as it came over the wire."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"\r\nContent-Length: (\d+)", head)
    return head if length is None else head + await reader.readexactly(int(length[1]))


async def asked(api: Api, request: bytes) -> tuple[bytes, bytes]:
    """Return what a request is answered, and what comes when another follows on its connection."""
    async with connected(api) as (reader, writer):
        writer.write(request)
        first = await answer_of(reader)
        if b"100 Continue" in first:
            first += await answer_of(reader)
        with_another = b""
        try:
            writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-ID: another\r\n\r\n")
            with_another = await answer_of(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        return _CHANCE.sub(b"?", first), _CHANCE.sub(b"?", with_another)


async def test_both_ways_answer_the_same_to_the_byte_and_in_the_log(
    make_api: MakeApi, placed: list[str], parsed: list[bytes]
) -> None:
    answers: list[list[tuple[bytes, bytes]]] = []
    due: list[Any] = []
    lines: list[Any] = []
    pieces: list[set[bytes]] = []
    short_api, general_api = [await make_api(express=express, max_body_bytes=50_000) for express in (True, False)]
    # The second time heads are known.
    for api, went_short in ((short_api, 1), (short_api, 2), (general_api, 2)):
        parsed.clear()
        with capture_logs() as log:
            answers.append([await asked(api, request) for request in (*SHORT, *GENERAL)])
        lines.append([{name: value for name, value in line.items() if name != "duration_ms"} for line in log])
        assert len(placed) == went_short * len(SHORT)
        due.append([(line.id, line.next_run_at) for line in (await api.context.store.page(100, None)).items])
        pieces.append({request for request in SHORT if request in parsed})
        await api.context.store.cancel_matching("", "")
    for request, short, known, general in zip((*SHORT, *GENERAL), *answers, strict=True):
        assert short == known == general, request[:200]
    assert lines[0] == lines[1] == lines[2]
    assert due[0] == due[1] == due[2]
    assert pieces[1] == {post(MEMBERS | {"id": "ação/1"}, "X-Request-ID: mine-1")}, "only a head with a name is new"
    statuses = [int(first[9:12]) for first, _ in answers[0][: len(SHORT)]]
    assert statuses == [201, 409, 200, 201, 409, 201, 201, 201, 201, 201, 201, 201]
    assert all(b"another" in more for _, more in answers[0][: len(SHORT)]), "the connections are kept"


class Held:
    """Keeps what is handed in to the store of an API until it is let go."""

    def __init__(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        self._hand_in = api.context.store.hand_in
        self._items: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        monkeypatch.setattr(api.context.store, "hand_in", lambda *item: self._items.put_nowait(item))

    async def one(self) -> tuple[Any, ...]:
        """Return what is handed in next."""
        async with asyncio.timeout(30):
            return await self._items.get()

    async def let_go(self, item: tuple[Any, ...]) -> None:
        """Write it, and return when that is told."""
        message, policy, fire_at, receipt = item
        told = asyncio.get_running_loop().create_future()
        self._hand_in(message, policy, fire_at, told)
        receipt.set_result(await told)


async def connections(api: Api) -> list[web.RequestHandler]:
    """Return the connections of others than the client of the API, which has none afterwards."""
    await api.call("GET", "/health", headers={"Connection": "close"})
    runner = api.client.server.runner
    assert runner is not None
    assert runner.server is not None
    return runner.server.connections


def members(message_id: str) -> dict[str, Any]:
    return MEMBERS | {"id": message_id}


def told_ids(answers: bytes) -> list[bytes]:
    return re.findall(rb'"messageId":"([^"]*)"', answers)


async def test_what_follows_while_one_goes_the_short_way_is_answered_behind_it(
    api: Api, placed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(api, monkeypatch)
    async with connected(api) as (reader, writer):
        writer.write(post(members("first")))
        item = await held.one()
        writer.write(post(members("second"), "Connection: keep-alive") + post(members("third")))
        await api.call("GET", "/health")  # on another connection, so that the loop has read what came on this one
        await held.let_go(item)
        assert told_ids(b"".join([await answer_of(reader) for _ in range(3)])) == [b"first", b"second", b"third"]
        writer.write(post(members("fourth")))
        await held.let_go(await held.one())
        assert told_ids(await answer_of(reader)) == [b"fourth"]
    assert placed == ["first", "fourth"]


async def test_several_requests_in_one_piece_are_answered_in_order(api: Api, placed: list[str]) -> None:
    async with connected(api) as (reader, writer):
        for number in range(40):  # more than the library takes before some are done
            writer.write(post(members(str(number))))
            await answer_of(reader)
        assert len(placed) == 40
        writer.write(b"".join(post(members(name)) for name in "abc"))
        assert told_ids(b"".join([await answer_of(reader) for _ in range(3)])) == [b"a", b"b", b"c"]
    assert len(placed) == 40


async def test_a_body_in_pieces_goes_the_general_way_and_the_next_request_the_short_one(
    api: Api, placed: list[str]
) -> None:
    whole = post(members("pieces"))
    async with connected(api) as (reader, writer):
        for piece in (whole[:40], whole[40:-20], whole[-20:]):
            writer.write(piece)
            await api.call("GET", "/health")
        assert told_ids(await answer_of(reader)) == [b"pieces"]
        writer.write(post(members("whole")))
        assert told_ids(await answer_of(reader)) == [b"whole"]
    assert placed == ["whole"]


async def test_a_body_is_not_looked_at_before_it_is_whole(api: Api, placed: list[str]) -> None:
    request = post(orjson.dumps(MEMBERS) + b"no JSON any more")
    async with connected(api) as (reader, writer):
        for piece in (request[:-16], request[-16:]):
            writer.write(piece)
            await api.call("GET", "/health")
        assert (await answer_of(reader)).startswith(b"HTTP/1.1 422 ")
    assert placed == []


async def test_a_client_that_takes_no_answers_waits_by_the_general_way(api: Api, placed: list[str]) -> None:
    async with connected(api) as (reader, writer):
        (connection,) = await connections(api)
        connection.pause_writing()
        writer.write(post(members("a")))
        await api.call("GET", "/health")
        connection.resume_writing()
        assert told_ids(await answer_of(reader)) == [b"a"]
    assert placed == []


async def test_a_client_that_leaves_meanwhile_leaves_nothing_behind(
    api: Api, placed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(api, monkeypatch)
    async with connected(api) as (_, writer):
        (connection,) = await connections(api)
        before = asyncio.all_tasks()
        writer.write(post(members("left")))
        item = await held.one()
        task = connection._task_handler
        assert task is not None
        writer.transport.abort()
        async with asyncio.timeout(30):
            await asyncio.wait([task])
        await asyncio.sleep(0)
    assert await connections(api) == []
    await held.let_go(item)
    assert await api.context.store.get(item[0].id) is not None, "it was asked for, and is written"
    assert asyncio.all_tasks() <= before


@pytest.mark.parametrize("fails", [False, True])
async def test_a_stop_waits_for_the_answer_and_then_closes(
    api: Api, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    held = Held(api, monkeypatch)
    runner = api.client.server.runner
    assert runner is not None
    async with connected(api) as (reader, writer):
        writer.write(post(members("last")))
        item = await held.one()
        stopping = asyncio.create_task(runner.cleanup())
        await asyncio.sleep(0)
        if fails:
            item[3].set_exception(RuntimeError("the password is swordfish"))
        else:
            await held.let_go(item)
        answer = await answer_of(reader)
        assert answer.startswith(b"HTTP/1.1 500 " if fails else b"HTTP/1.1 201 ")
        assert b"swordfish" not in answer
        assert await reader.read() == b""
        await stopping


async def test_a_bug_in_the_checks_is_found_and_told_by_the_general_way(
    api: Api, placed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(api.context.intake, "draft", broken)
    with capture_logs() as log:
        answer, another = await asked(api, post(MEMBERS))
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"swordfish" not in answer
    assert b"another" in another
    assert [line["action"] for line in log if line["log_level"] == "error"] == ["request_failed"]
    assert placed == []


async def test_a_limit_of_the_rate_counts_both_ways_together(make_api: MakeApi, placed: list[str]) -> None:
    api = await make_api(rate_limit_per_second=3)
    statuses = []
    async with connected(api) as (reader, writer):
        for request in (
            post(members("a")),
            post(b"no JSON"),
            post(members("b")),
            post(members("c")),
            post(members("d")),
        ):
            writer.write(request)
            statuses.append((await answer_of(reader))[9:12])
    assert statuses == [b"201", b"422", b"201", b"429", b"429"]
    assert placed == ["a", "b"]


async def test_an_answer_for_a_connection_that_was_just_closed_ends_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(api, monkeypatch)
    async with connected(api) as (_, writer):
        (connection,) = await connections(api)
        writer.write(post(members("closed")))
        item = await held.one()
        task = connection._task_handler
        assert task is not None
        assert isinstance(connection, Connection)
        connection.abort()
        item[3].set_exception(RuntimeError("too late"))
        async with asyncio.timeout(30):
            await asyncio.wait([task])
    assert await connections(api) == []


async def test_an_idle_connection_is_closed_so_long_after_what_went_the_short_way(api: Api, placed: list[str]) -> None:
    async with connected(api) as (reader, writer):
        (connection,) = await connections(api)
        connection._next_keepalive_close_time = 0.0
        writer.write(post(members("a")))
        await answer_of(reader)
        assert connection._next_keepalive_close_time > asyncio.get_running_loop().time() + 74
        connection._next_keepalive_close_time = 0.0
        connection._process_keepalive()
        assert await reader.read() == b""
    assert placed == ["a"]


KNOWN = post(members("known"))
OPEN = b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: "


async def learn(api: Api) -> None:
    """Have the head of :data:`KNOWN` remembered."""
    async with connected(api) as (reader, writer):
        writer.write(post(members("learn")))
        await answer_of(reader)


async def test_a_known_head_passes_the_parser_by_on_every_connection(
    api: Api, placed: list[str], parsed: list[bytes]
) -> None:
    await learn(api)
    async with connected(api) as (reader, writer):
        for name in ("first", "other"):
            writer.write(post(members(name)))
            assert told_ids(await answer_of(reader)) == [name.encode()]
    assert len(parsed) == 1
    assert placed == ["learn", "first", "other"]


@pytest.mark.parametrize("before", [OPEN, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + OPEN, KNOWN + OPEN])
async def test_a_known_head_inside_of_another_request_is_part_of_that(
    api: Api, placed: list[str], before: bytes
) -> None:
    await learn(api)
    async with connected(api) as (reader, writer):
        writer.write(before)
        if before is not OPEN:
            await answer_of(reader)
        await api.call("GET", "/health")  # on another connection, so that the loop has read what came on this one
        writer.write(post(members("inner")))
        assert b'"messageId"' not in await answer_of(reader)
    assert await api.context.store.get(MessageId("inner")) is None


async def test_a_known_head_with_its_body_in_pieces_waits_for_the_rest(api: Api, placed: list[str]) -> None:
    await learn(api)
    async with connected(api) as (reader, writer):
        for piece in (KNOWN[:-5], KNOWN[-5:]):
            writer.write(piece)
            await api.call("GET", "/health")
        assert told_ids(await answer_of(reader)) == [b"known"]
        writer.write(KNOWN)
        assert (await answer_of(reader)).startswith(b"HTTP/1.1 409 ")


async def test_a_known_head_with_a_bad_body_is_refused_and_the_next_request_is_taken(
    api: Api, placed: list[str]
) -> None:
    await learn(api)
    bad = KNOWN.replace(b'{"id"', b'["id"')
    async with connected(api) as (reader, writer):
        for request, status in ((KNOWN, b"201"), (bad, b"422"), (KNOWN, b"409")):
            writer.write(request)
            assert (await answer_of(reader))[9:12] == status
    assert placed == ["learn", "known", "known"]


def test_of_heads_only_so_many_short_ones_without_a_name_are_remembered(api: Api) -> None:
    express = Express(api.context)

    def known(head: bytes, request_id: str | None = None) -> bool:
        data = head + b"\r\n\r\nbody"
        assert express.remember(data, Head(4, "en", request_id))
        return express.recall(data) == (Head(4, "en", request_id), b"body")

    assert known(b"a" * 1020)
    assert not known(b"a" * 1021)
    assert not known(b"named", "mine")
    assert not express.remember(b"more\r\n\r\nbody and", Head(4, "en", None))
    assert express.recall(b"a" * 1020 + b"\r\n\r\nbody and") is None
    assert all(known(b"%d" % number) for number in range(1024))
    assert express.recall(b"0\r\n\r\nbody") is not None
    assert express.recall(b"a" * 1020 + b"\r\n\r\nbody") is None, "the one remembered first makes room"


async def test_the_rest_of_a_head_is_not_taken_for_one(api: Api, placed: list[str]) -> None:
    rest = KNOWN.replace(b"POST /messages HTTP/1.1", b"no beginning of a request")
    async with connected(api) as (reader, writer):
        writer.write(b"POST /messages HTTP/1.1\r\nX-A: ")
        await api.call("GET", "/health")
        writer.write(rest)
        assert (await answer_of(reader)).startswith(b"HTTP/1.1 201 ")
    async with connected(api) as (reader, writer):
        writer.write(rest)
        assert (await answer_of(reader))[9:12] == b"400"
    assert placed == ["known"]


async def test_an_answer_at_once_leaves_the_connection_idle(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await learn(api)

    def broken(*_: object) -> None:
        raise RuntimeError("nothing can be handed in")

    monkeypatch.setattr(api.context.store, "hand_in", broken)
    async with connected(api) as (reader, writer):
        writer.write(KNOWN)
        assert (await answer_of(reader)).startswith(b"HTTP/1.1 500 ")
        (connection,) = await connections(api)
        assert isinstance(connection, Connection)
        assert not connection.is_late(asyncio.get_running_loop().time() + 100, limit=60), "nothing of a head has come"
