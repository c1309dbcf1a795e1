"""One attempt over HTTP, against a receiver on loopback."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import ResolveResult
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from aioscheduler.domain.execution import DeadReason, Outcome, OutcomeKind
from aioscheduler.engine.delivery import Deliverer, NotSent, Request, parse_retry_after
from aioscheduler.engine.guard import Guard
from aioscheduler.engine.pulse import STILL_SECONDS, Pulse
from aioscheduler.engine.signing import Signer
from aioscheduler.engine.transport import MAX_ANSWER_BYTES
from tests.support.clock import FakeClock
from tests.support.receiver import Answer, Receiver
from tests.support.transports import TRANSPORTS, FakeResolver, ask, make_deliverer

SECRET = "whsec_bmV3IHNlY3JldCBvZiAyNCBieXRlcy4u"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what makes attempts on both transports."""
    if asyncio.iscoroutinefunction(metafunc.function):
        metafunc.parametrize("transport", TRANSPORTS, indirect=True)


@pytest.fixture(autouse=True)
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Choose what :func:`make` makes, for a test that is run on both."""
    name: str = getattr(request, "param", "none")
    monkeypatch.setattr(sys.modules[__name__], "_transport", name)
    return name


_transport = "none"


def make(**settings: Any) -> Deliverer:
    return make_deliverer(_transport, **settings)


async def deliver(request: Request, **settings: Any) -> Outcome:
    deliverer = make(**settings)
    await deliverer.start()
    try:
        return await deliverer.attempt(request)
    finally:
        await deliverer.stop()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as started:
        yield started


@pytest.fixture
async def deliverer(transport: str) -> AsyncIterator[Deliverer]:
    started = make()
    await started.start()
    yield started
    await started.stop()


# -- what the receiver gets ------------------------------------------------------------


async def test_the_receiver_gets_the_payload_and_the_documented_headers(
    receiver: Receiver, deliverer: Deliverer
) -> None:
    before = datetime.now(UTC)
    outcome = await deliverer.attempt(ask(receiver.url("/hook?x=1")))
    (request,) = receiver.requests
    assert (request.method, request.target, request.body) == ("POST", "/hook?x=1", b'{"a": 1}')
    timestamp = int(request.headers.pop("webhook-timestamp"))
    assert int(before.timestamp()) <= timestamp <= request.at_ms / 1000
    assert sorted(request.headers.items()) == [
        ("Accept", "*/*"),
        ("Content-Length", "8"),
        ("Content-Type", "application/json"),
        ("Host", f"127.0.0.1:{receiver.port}"),
        ("User-Agent", "aioscheduler/test"),
        ("X-Scheduler-Attempt", "3"),
        ("X-Scheduler-Message-Id", "order-42"),
        ("X-Scheduler-Scheduled-For", "2026-04-15T02:41:45.250Z"),
        ("webhook-id", "msg_abc"),
    ]
    assert (outcome.kind, outcome.response_code, outcome.error) == (OutcomeKind.SUCCESS, 200, None)


async def test_the_instants_of_an_outcome_are_in_order_and_not_before_the_call(receiver: Receiver) -> None:
    before = datetime.now(UTC)
    outcome = await deliver(ask(receiver.url()))
    assert outcome.sent_at is not None
    assert outcome.answered_at is not None
    assert before <= outcome.started_at <= outcome.sent_at <= outcome.answered_at <= outcome.finished_at
    assert outcome.sent_at.timestamp() * 1000 <= receiver.requests[0].at_ms
    assert 0 < outcome.duration_ms < 20_000


async def test_the_signature_verifies_over_the_exact_bytes(receiver: Receiver) -> None:
    body = '{"é":  1.0, "n": 12345678901234567890}'.encode()
    await deliver(ask(receiver.url(), body), signer=Signer([SECRET]))
    (request,) = receiver.requests
    assert request.body == body
    Webhook(SECRET).verify(request.body, {name.lower(): value for name, value in request.headers.items()})


async def test_client_headers_override_content_type_and_user_agent_but_never_ours(receiver: Receiver) -> None:
    headers = (
        ("content-type", "text/plain"),
        ("USER-AGENT", "mine"),
        ("X-Custom", "grüße"),
        ("Webhook-Id", "forged"),
        ("x-scheduler-attempt", "99"),
    )
    await deliver(ask(receiver.url(), headers=headers))
    got = receiver.requests[0].headers
    assert got.getall("Content-Type") == ["text/plain"]
    assert got.getall("User-Agent") == ["mine"]
    assert got.getall("X-Custom") == ["grüße"]
    assert got.getall("webhook-id") == ["msg_abc"]
    assert got.getall("X-Scheduler-Attempt") == ["3"]


async def test_no_record_can_say_where_a_request_ends_or_whom_it_is_for(receiver: Receiver) -> None:
    await deliver(ask(receiver.url(), headers=(("HOST", "evil"), ("content-length", "3"), ("Transfer-encoding", "x"))))
    (request,) = receiver.requests
    assert request.headers.getall("Host") == [f"127.0.0.1:{receiver.port}"]
    assert request.headers.getall("Content-Length") == ["8"]
    assert "Transfer-Encoding" not in request.headers


@pytest.mark.parametrize(
    ("message_id", "sent"),
    [
        ("a/b+c* [x].{y}%20", "a/b+c* [x].{y}%20"),
        ("naïve", "na%C3%AFve"),
        ("🎂", "%F0%9F%8E%82"),
        (" edge ", "%20edge%20"),
        ("a\r\nX-Evil: 1", "a%0D%0AX-Evil%3A%201"),
        ("\ud800", "%ED%A0%80"),
    ],
)
async def test_ids_a_header_cannot_carry_travel_percent_encoded(receiver: Receiver, message_id: str, sent: str) -> None:
    await deliver(ask(receiver.url(), identity=(("X-Scheduler-Message-Id", message_id),)))
    assert receiver.requests[0].headers["X-Scheduler-Message-Id"] == sent


@pytest.mark.parametrize(
    ("given_path", "sent"),
    [
        ("", "/"),
        ("?a=b", "/?a=b"),
        ("#only", "/"),
        ("/a/../b/./c//d", "/a/../b/./c//d"),
        ("/%7euser/%2F?q=%zz&r=a+b%20c&e=#frag?no", "/%7euser/%2F?q=%zz&r=a+b%20c&e="),
        ("/{id}|^`\"<>'", "/{id}|^`\"<>'"),
        ("/@handle?to=http://x@y/", "/@handle?to=http://x@y/"),
        ("/grüße?ort=köln", "/grüße?ort=köln"),
    ],
)
async def test_the_url_goes_out_exactly_as_given_without_its_fragment(
    receiver: Receiver, given_path: str, sent: str
) -> None:
    await deliver(ask(receiver.url(given_path)))
    assert receiver.requests[0].target == sent
    assert "Authorization" not in receiver.requests[0].headers


async def test_userinfo_becomes_basic_authorization_and_leaves_the_url(receiver: Receiver) -> None:
    await deliver(ask(f"http://us%40er:p%3Ass%C3%A9@127.0.0.1:{receiver.port}/x"))
    (request,) = receiver.requests
    assert request.headers["Authorization"] == "Basic dXNAZXI6cDpzc8Op"
    assert request.headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert request.target == "/x"


async def test_an_authorization_header_of_the_client_wins_over_userinfo(receiver: Receiver) -> None:
    await deliver(ask(f"http://user@127.0.0.1:{receiver.port}/", headers=(("authorization", "Bearer t"),)))
    assert receiver.requests[0].headers.getall("Authorization") == ["Bearer t"]


async def test_an_international_host_name_is_asked_for_as_dns_knows_it(receiver: Receiver) -> None:
    resolver = FakeResolver(**{"xn--bcher-kva_test": ["127.0.0.1"]})
    outcome = await deliver(ask(receiver.url(host="BÜCHER.test")), resolver=resolver)
    assert outcome.kind is OutcomeKind.SUCCESS
    assert resolver.asked == ["xn--bcher-kva.test"]
    assert receiver.requests[0].headers["Host"] == f"xn--bcher-kva.test:{receiver.port}"


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.0.0.1", "localhost"])
async def test_every_spelling_of_a_host_that_an_operating_system_takes_is_reached(
    receiver: Receiver, host: str
) -> None:
    assert (await deliver(ask(receiver.url(host=host)))).kind is OutcomeKind.SUCCESS


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_sends_the_payload(receiver: Receiver, method: str) -> None:
    outcome = await deliver(ask(receiver.url(), method=method))
    assert outcome.kind is OutcomeKind.SUCCESS
    (request,) = receiver.requests
    assert (request.method, request.body, request.headers["Content-Type"]) == (
        method,
        b'{"a": 1}',
        "application/json",
    )


@pytest.mark.parametrize(("method", "length"), [("GET", None), ("POST", "0")])
async def test_without_a_body_no_content_type_is_made_up(receiver: Receiver, method: str, length: str | None) -> None:
    await deliver(ask(receiver.url(), None, method=method), signer=Signer([SECRET]))
    (request,) = receiver.requests
    assert "Content-Type" not in request.headers
    assert request.headers.get("Content-Length") == length
    assert request.headers["webhook-signature"].startswith("v1,")


async def test_proxies_of_the_environment_are_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Receiver() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url(""))
        monkeypatch.setenv("HTTP_PROXY", proxy.url(""))
        await deliver(ask(receiver.url()))
        assert not proxy.requests
    assert len(receiver.requests) == 1


async def test_cookies_are_not_kept_from_one_attempt_to_the_next(receiver: Receiver, deliverer: Deliverer) -> None:
    receiver.script.append(Answer(headers=[("Set-Cookie", "session=1; Path=/")]))
    await deliverer.attempt(ask(receiver.url(host="localhost")))
    await deliverer.attempt(ask(receiver.url(host="localhost")))
    assert len(receiver.requests) == 2
    assert all("Cookie" not in request.headers for request in receiver.requests)


# -- what comes of it ------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_success(receiver: Receiver, status: int) -> None:
    receiver.script.append(Answer(raw=f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()))
    outcome = await deliver(ask(receiver.url()))
    assert (outcome.kind, outcome.response_code, outcome.permanent) == (OutcomeKind.SUCCESS, status, None)


@pytest.mark.parametrize(
    ("status", "error"),
    [(304, "HTTP 304"), (400, "HTTP 400"), (404, "HTTP 404"), (429, "HTTP 429"), (500, "HTTP 500"), (503, "HTTP 503")],
)
async def test_any_other_status_is_a_failure_that_may_be_tried_again(
    receiver: Receiver, status: int, error: str
) -> None:
    receiver.script.append(Answer(status=status))
    outcome = await deliver(ask(receiver.url()))
    assert (outcome.kind, outcome.response_code, outcome.error) == (OutcomeKind.FAILURE, status, error)
    assert outcome.permanent is None


async def test_410_is_permanent(receiver: Receiver) -> None:
    receiver.script.append(Answer(status=410))
    outcome = await deliver(ask(receiver.url()))
    assert (outcome.kind, outcome.permanent, outcome.error) == (OutcomeKind.FAILURE, DeadReason.GONE, "HTTP 410")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(receiver: Receiver, status: int) -> None:
    receiver.script.append(Answer(status=status, headers=[("Location", receiver.url("/elsewhere"))]))
    outcome = await deliver(ask(receiver.url()))
    assert (outcome.kind, outcome.error) == (OutcomeKind.FAILURE, f"redirect not followed ({status})")
    assert len(receiver.requests) == 1


async def test_retry_after_comes_with_the_outcome(receiver: Receiver) -> None:
    receiver.script.append(Answer(status=429, headers=[("Retry-After", "120")]))
    assert (await deliver(ask(receiver.url()))).retry_after == timedelta(seconds=120)


async def test_no_answer_in_time_is_a_time_out_and_its_connection_is_not_used_again(
    receiver: Receiver, deliverer: Deliverer
) -> None:
    receiver.script.append(Answer(hang=True))
    outcome = await deliverer.attempt(ask(receiver.url(), timeout_seconds=0.05))
    assert (outcome.kind, outcome.error) == (OutcomeKind.TIMED_OUT, "no answer within 0.05 s")
    assert outcome.sent_at is not None
    assert outcome.answered_at is None
    await receiver.until(lambda: receiver.open_connections == 0)


async def test_a_2xx_whose_body_never_ends_is_a_success_cut_at_the_cap(
    receiver: Receiver, deliverer: Deliverer
) -> None:
    receiver.script.append(Answer(endless=True))
    outcome = await deliverer.attempt(ask(receiver.url()))
    assert (outcome.kind, outcome.error) == (OutcomeKind.SUCCESS, None)
    assert outcome.duration_ms < 20_000, "it was cut by the time limit, not by the cap"
    await receiver.until(lambda: receiver.open_connections == 0)


async def test_a_2xx_whose_body_hangs_is_a_success_when_time_is_up(receiver: Receiver, deliverer: Deliverer) -> None:
    receiver.script.append(Answer(hang_body=True, body=b"never sent"))
    outcome = await deliverer.attempt(ask(receiver.url(), timeout_seconds=0.05))
    assert (outcome.kind, outcome.response_code, outcome.error) == (OutcomeKind.SUCCESS, 200, None)
    assert outcome.duration_ms >= 49
    await receiver.until(lambda: receiver.open_connections == 0)


async def test_a_2xx_whose_body_breaks_off_is_a_success(receiver: Receiver) -> None:
    receiver.script.append(Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"))
    assert (await deliver(ask(receiver.url()))).kind is OutcomeKind.SUCCESS


async def test_a_compressed_body_is_not_unpacked(receiver: Receiver, deliverer: Deliverer) -> None:
    receiver.script.append(Answer(headers=[("Content-Encoding", "gzip")], body=b"no gzip at all"))
    await deliverer.attempt(ask(receiver.url()))
    await deliverer.attempt(ask(receiver.url()))
    assert "Accept-Encoding" not in receiver.requests[0].headers
    assert [request.connection for request in receiver.requests] == [1, 1], "reading the body failed"


async def test_connections_are_used_again_after_bodies_of_up_to_the_cap(
    receiver: Receiver, deliverer: Deliverer
) -> None:
    for body in (b"", b"ok", b"x" * (MAX_ANSWER_BYTES - 1)):
        receiver.script.append(Answer(body=body))
        await deliverer.attempt(ask(receiver.url()))
    await deliverer.attempt(ask(receiver.url()))
    assert [request.connection for request in receiver.requests] == [1, 1, 1, 1]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_a_request_on_a_dropped_connection_is_not_sent_a_second_time(
    receiver: Receiver, deliverer: Deliverer, method: str
) -> None:
    receiver.script.extend([Answer(), Answer(drop=True)])
    await deliverer.attempt(ask(receiver.url(), method=method))
    outcome = await deliverer.attempt(ask(receiver.url(), method=method))
    assert (outcome.kind, outcome.error) == (OutcomeKind.FAILURE, "connection closed before an answer")
    assert [request.connection for request in receiver.requests] == [1, 1]


async def test_a_receiver_that_is_not_there_is_a_failure(unused_tcp_port: int) -> None:
    outcome = await deliver(ask(f"http://127.0.0.1:{unused_tcp_port}/secret?token=1"))
    assert (outcome.kind, outcome.error, outcome.sent_at) == (OutcomeKind.FAILURE, "connection refused", None)
    assert outcome.permanent is None


async def test_a_name_that_does_not_resolve_is_a_failure_that_may_be_tried_again() -> None:
    outcome = await deliver(ask("http://nowhere.test/secret"), resolver=FakeResolver())
    assert (outcome.kind, outcome.error, outcome.permanent) == (OutcomeKind.FAILURE, "name does not resolve", None)


async def test_an_answer_that_is_no_http_is_a_failure(receiver: Receiver) -> None:
    receiver.script.append(Answer(raw=b"SSH-2.0-OpenSSH_9.2\r\n\r\n"))
    outcome = await deliver(ask(receiver.url()))
    assert (outcome.kind, outcome.error) == (OutcomeKind.FAILURE, "answer is not valid HTTP")


async def test_a_header_that_cannot_be_sent_is_a_failure_and_not_an_injection(receiver: Receiver) -> None:
    outcome = await deliver(ask(receiver.url(), headers=(("X-Bad", "a\r\nX-Evil: 1"),)))
    assert (outcome.kind, outcome.error) == (OutcomeKind.FAILURE, "request cannot be sent as HTTP")
    assert not receiver.requests


async def test_plain_http_where_tls_was_expected_is_a_failure() -> None:
    def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        outcome = await deliver(ask(f"https://127.0.0.1:{port}/secret"))
    assert (outcome.kind, outcome.error) == (OutcomeKind.FAILURE, "TLS handshake failed: wrong version number")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command to make a certificate")
async def test_a_certificate_nobody_vouches_for_is_not_accepted(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    async with Receiver(tls=context) as receiver:
        outcome = await deliver(ask(receiver.url(host="localhost")))
    assert outcome.kind is OutcomeKind.FAILURE
    assert outcome.error is not None
    assert outcome.error.startswith("TLS certificate not accepted: self")
    assert not receiver.requests


async def test_a_cancelled_attempt_ends_and_gives_up_its_connection(receiver: Receiver, deliverer: Deliverer) -> None:
    receiver.script.append(Answer(hang=True))
    task = asyncio.create_task(deliverer.attempt(ask(receiver.url())))
    await receiver.wait_for(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await receiver.until(lambda: receiver.open_connections == 0)


async def test_what_nobody_foresaw_is_a_failure_and_not_an_exception(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = Signer([SECRET])
    monkeypatch.setattr(Signer, "sign", lambda *args: 1 / 0)
    outcome = await deliver(ask(receiver.url()), signer=signer)
    assert (outcome.kind, outcome.error) == (OutcomeKind.FAILURE, "internal error (ZeroDivisionError)")


async def test_starting_and_stopping_twice_or_in_the_wrong_order_is_harmless(receiver: Receiver) -> None:
    deliverer = make()
    await deliverer.stop()
    with pytest.raises(RuntimeError, match="started"):
        await deliverer.attempt(ask(receiver.url()))
    for _ in range(2):
        await deliverer.start()
        await deliverer.start()
        assert (await deliverer.attempt(ask(receiver.url(host="localhost")))).kind is OutcomeKind.SUCCESS
        await deliverer.stop()
        await deliverer.stop()


# -- the guard, at connect time ------------------------------------------------------------


async def test_a_name_that_resolves_to_a_forbidden_address_is_refused_for_good(receiver: Receiver) -> None:
    outcome = await deliver(
        ask(receiver.url(host="public.test")),
        guard=Guard(block_private=True, allow=[]),
        resolver=FakeResolver(public_test=["127.0.0.1", "::1"]),
    )
    assert (outcome.kind, outcome.permanent) == (OutcomeKind.FAILURE, DeadReason.REJECTED_BY_POLICY)
    assert outcome.error is not None
    assert "WEBHOOK_BLOCK_PRIVATE" in outcome.error
    assert (receiver.connections, outcome.sent_at) == (0, None)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "localhost"])
async def test_a_forbidden_literal_in_a_record_no_api_has_seen_is_refused_for_good(
    receiver: Receiver, host: str
) -> None:
    outcome = await deliver(ask(receiver.url(host=host)), guard=Guard(block_private=True, allow=[]))
    assert outcome.permanent is DeadReason.REJECTED_BY_POLICY
    assert receiver.connections == 0


async def test_a_name_that_the_allow_list_opens_is_reached_at_a_private_address(receiver: Receiver) -> None:
    outcome = await deliver(
        ask(receiver.url(host="inside.test")),
        guard=Guard(block_private=True, allow=["inside.test"]),
        resolver=FakeResolver(inside_test=["127.0.0.1"]),
    )
    assert outcome.kind is OutcomeKind.SUCCESS


@pytest.mark.parametrize("order", [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]])
async def test_a_forbidden_address_beside_one_that_is_down_does_not_make_the_failure_permanent(
    unused_tcp_port: int, order: list[str]
) -> None:
    outcome = await deliver(
        ask(f"http://mixed.test:{unused_tcp_port}/"),
        guard=Guard(block_private=True, allow=["127.0.0.1"]),
        resolver=FakeResolver(mixed_test=order),
    )
    assert (outcome.kind, outcome.permanent) == (OutcomeKind.FAILURE, None)


async def test_a_forbidden_address_beside_a_good_one_is_passed_over(receiver: Receiver) -> None:
    outcome = await deliver(
        ask(receiver.url(host="mixed.test")),
        guard=Guard(block_private=True, allow=["127.0.0.1"]),
        resolver=FakeResolver(mixed_test=["127.0.0.2", "127.0.0.3", "127.0.0.1"]),
    )
    assert outcome.kind is OutcomeKind.SUCCESS


async def test_attempts_at_the_same_time_are_judged_each_for_its_own_host(receiver: Receiver) -> None:
    deliverer = make(
        guard=Guard(block_private=True, allow=["inside.test"]),
        resolver=FakeResolver(inside_test=["127.0.0.1"], outside_test=["127.0.0.1"]),
    )
    await deliverer.start()
    outcomes = await asyncio.gather(
        *(deliverer.attempt(ask(receiver.url(host=host))) for host in ("inside.test", "outside.test") * 10)
    )
    await deliverer.stop()
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.SUCCESS, OutcomeKind.FAILURE] * 10


# -- Retry-After ------------------------------------------------------------

NOW = datetime(2026, 4, 15, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("1.5", 1),
        ("-30", 0),
        ("9" * 8000, 10**9),
        ("Wed, 15 Apr 2026 12:01:00 GMT", 60),
        ("Wed, 15 Apr 2026 11:00:00 GMT", 0),
        ("Wednesday, 15-Apr-26 12:01:00 GMT", 60),
        ("Wed Apr 15 12:01:00 2026", 60),
        ("Wed, 15 Apr 2026 14:01:00 +0200", 60),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 10**9),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str, seconds: int) -> None:
    assert parse_retry_after(value, NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", [None, "", "soon", "1e3", "٣", "Wed, 99 Apr 2026 12:00:00 GMT", "0x10"])
def test_a_retry_after_that_says_nothing_is_none(value: str | None) -> None:
    assert parse_retry_after(value, NOW) is None


@given(value=st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,5} [A-Z][a-z]{2} \d{1,9} \d+:\d+:\d+ [+-]?\w{0,9}"))
def test_no_retry_after_however_absurd_is_negative_or_an_error(value: str) -> None:
    wait = parse_retry_after(value, NOW)
    assert wait is None or timedelta() <= wait <= timedelta(seconds=10**9)


# -- what is kept of an answer, and requests that are no webhook's ----------------------


async def test_as_much_of_an_answer_is_kept_as_was_asked_for(receiver: Receiver, deliverer: Deliverer) -> None:
    receiver.script.extend([Answer(body=b"short"), Answer(body=b"x" * 100_000), Answer(body=b"y" * 100_000)])
    kept = [await deliverer.attempt(ask(receiver.url(), keep_bytes=size)) for size in (65_536, 65_536, 90_000)]
    assert [outcome.body[:5] + b"..." + str(len(outcome.body)).encode() for outcome in kept] == [
        b"short...5",
        b"xxxxx...65536",
        b"yyyyy...90000",
    ]
    assert (await deliverer.attempt(ask(receiver.url()))).body == b""


async def test_what_came_of_an_answer_that_breaks_off_is_kept(receiver: Receiver, deliverer: Deliverer) -> None:
    receiver.script.append(Answer(raw=b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nhalf"))
    outcome = await deliverer.attempt(ask(receiver.url(), keep_bytes=100))
    assert (outcome.response_code, outcome.body) == (500, b"half")


async def test_where_a_redirect_leads_is_told_but_not_followed(receiver: Receiver, deliverer: Deliverer) -> None:
    receiver.script.append(Answer(status=302, headers=[("Location", "/there")]))
    outcome = await deliverer.attempt(ask(receiver.url()))
    assert (outcome.kind, outcome.location) == (OutcomeKind.FAILURE, "/there")
    assert len(receiver.requests) == 1


async def test_a_request_that_is_no_webhooks_has_none_of_our_headers(receiver: Receiver) -> None:
    request = ask(receiver.url(), body=None, method="GET", webhook_id=None, identity=())
    await deliver(request, signer=Signer([SECRET]))
    assert sorted(receiver.requests[0].headers) == ["Accept", "Host", "User-Agent"]


# -- a process that stood still --------------------------------------------------------


async def test_nothing_leaves_when_the_process_stood_still_since_the_claim(receiver: Receiver) -> None:
    clock = FakeClock()
    pulse = Pulse(clock)
    deliverer = make(clock=clock, pulse=pulse)
    await deliverer.start()
    asked_at = clock.monotonic()
    assert (await deliverer.attempt(ask(receiver.url(), asked_at=asked_at))).response_code == 200
    clock.move(STILL_SECONDS + 0.1)
    with pytest.raises(NotSent):
        await deliverer.attempt(ask(receiver.url(), asked_at=asked_at))
    assert len(receiver.requests) == 1
    assert (await deliverer.attempt(ask(receiver.url(), asked_at=clock.monotonic()))).response_code == 200
    assert (await deliverer.attempt(ask(receiver.url()))).response_code == 200, "one that is nobody's lease"
    await deliverer.stop()


async def test_nothing_leaves_either_when_it_stood_still_after_the_head_was_ready(receiver: Receiver) -> None:
    class Stalling(FakeClock):
        """Stands still right after the request's time was taken."""

        readings = 0

        def now(self) -> datetime:
            now = super().now()
            self.readings += 1
            if self.readings == 2:
                self.move(STILL_SECONDS + 0.1)
            return now

    clock = Stalling()
    deliverer = make(clock=clock, pulse=Pulse(clock))
    await deliverer.start()
    with pytest.raises(NotSent):
        await deliverer.attempt(ask(receiver.url(), asked_at=clock.monotonic()))
    assert (await deliverer.attempt(ask(receiver.url(), asked_at=clock.monotonic()))).response_code == 200
    assert len(receiver.requests) == 1
    await deliverer.stop()


async def test_a_time_limit_that_passed_meanwhile_is_no_failure_of_the_receiver() -> None:
    clock = FakeClock()

    class Stopped(FakeResolver):
        async def resolve(self, *_: Any, **__: Any) -> list[ResolveResult]:
            clock.move(STILL_SECONDS + 0.1)
            await asyncio.Event().wait()
            raise AssertionError("the time limit comes before")

    deliverer = make(clock=clock, pulse=Pulse(clock), resolver=Stopped())
    await deliverer.start()
    with pytest.raises(NotSent):
        await deliverer.attempt(ask("http://name.test/", timeout_seconds=0.01, asked_at=clock.monotonic()))
    await deliverer.stop()
