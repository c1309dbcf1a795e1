"""The verifier's client: what it notes of a call, whatever becomes of it."""

from __future__ import annotations

import pytest

from aioscheduler.verify.client import Client, unanswered
from aioscheduler.verify.ledger import Ledger, Op
from tests.support.receiver import Answer, Receiver


def json_answer(status: int, body: bytes) -> Answer:
    return Answer(status=status, body=body, headers=[("Content-Type", "application/json")])


async def test_a_call_is_noted_with_its_answer() -> None:
    ledger = Ledger()
    async with Receiver(json_answer(200, b'{"deleted": 2}')) as replica:
        async with Client(ledger, [replica.url("")], "secret") as client:
            call, told = await client.tell(Op.REPLACE, "a/b", "PUT", "/messages/a%2Fb", {"x": 1}, tag="t1", due_ms=5)
        assert told == {"deleted": 2}
        assert ledger.calls == [call]
        assert (call.op, call.id, call.replica, call.status, call.tag, call.due_ms) == (
            *(Op.REPLACE, "a/b", 0, 200, "t1", 5),
        )
        assert call.answered_ms is not None
        assert call.answered_ms >= call.sent_ms
        assert not unanswered(call)
        (request,) = replica.requests
        assert (request.method, request.target, request.json()) == ("PUT", "/messages/a%2Fb", {"x": 1})
        assert request.headers["Authorization"] == "Bearer secret"


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_request_is_never_sent_twice_and_without_an_answer_nobody_knows(method: str) -> None:
    ledger = Ledger()
    async with Receiver(Answer(), Answer(drop=True)) as replica:
        async with Client(ledger, [replica.url("")], "secret") as client:
            await client.tell(Op.DELETE, "m", method, "/messages/m")
            call, told = await client.tell(Op.DELETE, "m", method, "/messages/m")
        assert len(replica.requests) == 2
    assert (call.status, call.answered_ms, told) == (None, None, None)
    assert call.error
    assert unanswered(call)


async def test_a_503_is_an_answer_that_says_nothing() -> None:
    async with Receiver(json_answer(503, b"{}")) as replica, Client(Ledger(), [replica.url("")], "secret") as client:
        call, _ = await client.tell(Op.DELETE, "m", "DELETE", "/messages/m")
    assert call.status == 503
    assert call.answered_ms is not None
    assert unanswered(call)


async def test_replicas_are_asked_in_turn_and_those_that_do_not_answer_are_passed_over() -> None:
    ledger = Ledger()
    async with Receiver() as one, Receiver() as two:
        urls = [one.url(""), two.url("")]
        async with Client(ledger, urls, "secret") as client:
            for _ in range(4):
                await client.tell(Op.DELETE, "m", "DELETE", "/messages/m")
            assert [call.replica for call in ledger.calls] == [0, 1, 0, 1]
            await one.stop()
            two.script.append(json_answer(500, b"{}"))
            two.script.append(json_answer(404, b'{"found": 0}'))
            assert await client.ask("GET", "/x") == (404, {"found": 0})
            assert len(ledger.calls) == 4, "what is asked besides is no part of the load"
