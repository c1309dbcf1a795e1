"""The receivers of the verifier: what they note, and how they treat it."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from aioscheduler.verify.ledger import Hit, Temper
from aioscheduler.verify.receivers import Receivers, reserve, spoilt_attempts

TAGS = [f"t{number}" for number in range(1000)]


def tag_with(attempts: int) -> str:
    return next(tag for tag in TAGS if spoilt_attempts(tag) == attempts)


class Sender:
    """Sends as a replica does."""

    def __init__(self, receivers: Receivers, session: aiohttp.ClientSession) -> None:
        self._receivers = receivers
        self._session = session

    async def send(
        self, temper: Temper, tag: str, attempt: int = 1, limit: float = 5, more: dict[str, str] | None = None
    ) -> int:
        headers = {
            "webhook-id": f"msg_{tag}",
            "X-Scheduler-Attempt": str(attempt),
            "X-Scheduler-Scheduled-For": "2026-04-15T02:41:45.125Z",
            **(more or {}),
        }
        url, timeout = self._receivers.url(temper), aiohttp.ClientTimeout(total=limit)
        async with self._session.post(url, data=json.dumps({"tag": tag}), headers=headers, timeout=timeout) as answer:
            return answer.status


@asynccontextmanager
async def started(hits: list[Hit]) -> AsyncIterator[tuple[Receivers, Sender]]:
    receivers = Receivers(hits.append)
    await receivers.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield receivers, Sender(receivers, session)
    finally:
        receivers.close()
    await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def test_some_messages_are_spoilt_once_some_for_good_and_most_are_not() -> None:
    counts = {spoilt: sum(spoilt_attempts(tag) == spoilt for tag in TAGS) for spoilt in (0, 1, 2, 1000)}
    assert sum(counts.values()) == len(TAGS)
    assert counts[0] > 500
    assert min(counts.values()) > 50


async def test_a_request_is_noted_with_all_that_its_head_says() -> None:
    hits: list[Hit] = []
    async with started(hits) as (_, sender):
        before = time.time() * 1000
        assert await sender.send(Temper.QUICK, "t1", 3) == 200
        job = {"X-Scheduler-Job-Id": "job-1", "X-Scheduler-Execution-Id": "exec-1"}
        assert await sender.send(Temper.QUICK, "unused", more=job) == 200
        message, run = hits
        assert (message.tag, message.is_job, message.webhook_id, message.attempt) == ("t1", False, "msg_t1", 3)
        assert message.scheduled_for_ms == 1776220905125
        assert (message.status, message.cut, message.execution_id) == (200, False, None)
        assert before <= message.arrived_ms <= (message.ended_ms or 0) <= time.time() * 1000
        assert (run.tag, run.is_job, run.execution_id) == ("job-1", True, "exec-1")


async def test_arrival_is_when_the_head_is_there_not_the_body() -> None:
    hits: list[Hit] = []
    async with started(hits) as (receivers, _):
        port = int(receivers.url(Temper.QUICK).split(":")[2].split("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = b'{"tag": "t1"}'
        writer.write(
            b"POST / HTTP/1.1\r\nwebhook-id: m\r\nX-Scheduler-Attempt: 1\r\n"
            b"X-Scheduler-Scheduled-For: 2026-04-15T02:41:45.125Z\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        for _ in range(10):  # turns of the loop, too, are what it needs
            await asyncio.sleep(0.005)
        between = time.time() * 1000
        assert hits == []
        writer.write(body)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert hits[0].arrived_ms < between
        writer.close()
        await writer.wait_closed()


async def test_a_failing_one_fails_as_often_as_the_tag_says() -> None:
    hits: list[Hit] = []
    async with started(hits) as (receivers, sender):
        once, always = tag_with(1), tag_with(1000)
        assert [await sender.send(Temper.FAILING, once, attempt) for attempt in (1, 2)] == [503, 200]
        assert [await sender.send(Temper.FAILING, always, attempt) for attempt in (1, 2, 3)] == [503, 500, 503]
        assert await sender.send(Temper.FAILING, tag_with(0)) == 200
        receivers.well = True
        assert await sender.send(Temper.FAILING, always, 4) == 200
        assert [hit.status for hit in hits] == [503, 200, 503, 500, 503, 200, 200]


async def test_a_hanging_one_does_not_answer_and_notes_that_the_other_side_gave_up() -> None:
    hits: list[Hit] = []
    async with started(hits) as (_, sender):
        with pytest.raises(TimeoutError):
            await sender.send(Temper.HANGING, tag_with(1), limit=0.05)
        await until(lambda: hits[0].ended_ms is not None)
        assert (hits[0].status, hits[0].cut) == (None, True)
        assert await sender.send(Temper.HANGING, tag_with(1), 2) == 200


async def test_a_dropping_one_breaks_the_connection_off_itself() -> None:
    hits: list[Hit] = []
    async with started(hits) as (_, sender):
        with pytest.raises((aiohttp.ClientError, OSError)):
            await sender.send(Temper.DROPPING, tag_with(1))
        await until(lambda: hits[0].ended_ms is not None)
        assert (hits[0].status, hits[0].cut) == (None, False)


async def test_a_slow_one_takes_its_time() -> None:
    hits: list[Hit] = []
    async with started(hits) as (_, sender):
        assert await sender.send(Temper.SLOW, "t1") == 200
        assert (hits[0].ended_ms or 0) - hits[0].arrived_ms >= 49


async def test_one_that_was_shut_refuses_and_comes_back_on_the_same_port() -> None:
    hits: list[Hit] = []
    async with started(hits) as (receivers, sender):
        waiting = asyncio.create_task(sender.send(Temper.HANGING, tag_with(1)))
        await until(lambda: len(hits) == 1)
        receivers.shut(Temper.HANGING)
        with pytest.raises((aiohttp.ClientError, OSError)):
            await waiting
        await until(lambda: hits[0].ended_ms is not None)
        assert not hits[0].cut
        with pytest.raises(aiohttp.ClientConnectorError):
            await sender.send(Temper.HANGING, tag_with(0))
        assert await sender.send(Temper.QUICK, "t1") == 200
        await receivers.open(Temper.HANGING)
        assert await sender.send(Temper.HANGING, tag_with(0)) == 200


def test_a_reserved_port_is_given_to_nobody_else_and_can_be_listened_on() -> None:
    with reserve() as held, socket.socket() as listener, socket.socket() as other:
        address = held.getsockname()
        with pytest.raises(OSError, match="in use"):
            other.bind(address)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
        with socket.create_connection(address, timeout=30):
            pass
