"""The promises, each by name, on real processes and a real Redis.

P7 (the clock may jump) and P9 (memory is bounded) are proven in ``tests/unit/engine``, where the test owns the clock
and the window.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from redis.asyncio import Redis

from aioscheduler.store.base import DECIDED_SECONDS
from tests.e2e.conftest import Replicas
from tests.support.client import Client, instant, now_ms
from tests.support.processes import Service
from tests.support.receiver import Answer, Received, Receiver
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.timeout(120)

BURST = 600
#: Seconds in which a client has its answers, on a machine that may stall; from a store that is gone none comes.
ANSWERED = 15


def _ids(requests: list[Received]) -> Counter[str]:
    return Counter(request.headers["X-Scheduler-Message-Id"] for request in requests)


def _assert_accounted(accepted: list[str], requests: list[Received], due_ms: float) -> None:
    """Lost 0, early 0, doubles only as announced second attempts."""
    times = _ids(requests)
    assert not set(accepted) - set(times), "lost"
    assert not [request for request in requests if request.at_ms < due_ms], "early"
    seen: set[tuple[str, str]] = set()
    webhook_ids: dict[str, str] = {}
    for request in requests:
        message_id, attempt = request.headers["X-Scheduler-Message-Id"], request.headers["X-Scheduler-Attempt"]
        assert (message_id, attempt) not in seen, "the same attempt twice"
        seen.add((message_id, attempt))
        assert webhook_ids.setdefault(message_id, request.headers["webhook-id"]) == request.headers["webhook-id"]


async def test_p1_nothing_acknowledged_is_lost_when_the_service_is_killed_in_mid_burst(replicas: Replicas) -> None:
    async with Receiver() as receiver:
        [service] = await replicas(1)
        due = now_ms() + 1500
        held = asyncio.Event()
        # Most have no answer when it is killed, however long this test is kept from doing so.
        receiver.respond = lambda _: Answer(gate=held) if len(receiver.requests) > 50 else Answer()
        async with Client(service.url) as client:
            accepted = await client.schedule_many([(f"m{i}", due) for i in range(BURST)], receiver.url())
        assert len(accepted) == BURST
        await receiver.wait_for(60)
        await service.kill()
        held.set()
        assert len(_ids(receiver.requests)) < BURST, "killed too late to prove anything"
        await service.start()
        await receiver.until(lambda: len(_ids(receiver.requests)) == BURST)
        _assert_accounted(accepted, receiver.requests, due)


async def test_p1_nothing_acknowledged_is_lost_when_redis_is_killed_in_mid_burst(
    replicas: Replicas, durable_redis: RedisServer
) -> None:
    async with Receiver() as receiver:
        [service] = await replicas(1)
        due = now_ms() + 1500
        held = asyncio.Event()
        receiver.respond = lambda _: Answer(gate=held) if len(receiver.requests) > 50 else Answer()
        async with Client(service.url) as client:
            accepted = await client.schedule_many([(f"m{i}", due) for i in range(BURST)], receiver.url())
        await receiver.wait_for(60)
        durable_redis.kill()
        held.set()
        assert len(_ids(receiver.requests)) < BURST, "killed too late to prove anything"
        durable_redis.start()
        await receiver.until(lambda: len(_ids(receiver.requests)) == BURST)
        _assert_accounted(accepted, receiver.requests, due)
        async with Client(service.url) as client:
            assert await client.dead_letters() == {}


async def test_p1_nothing_acknowledged_is_lost_when_one_replica_of_three_is_killed_in_mid_burst(
    replicas: Replicas,
) -> None:
    async with Receiver() as receiver:
        receiver.respond = lambda _: Answer(gate=held) if held is not None else Answer()
        held: asyncio.Event | None = asyncio.Event()
        services = await replicas(3, MAX_CONCURRENCY="40")
        due = now_ms() + 2000
        async with Client(services[0].url) as client:
            accepted = await client.schedule_many([(f"m{i}", due) for i in range(BURST)], receiver.url())
        # Every replica has all its slots on the wire: the killed one certainly holds leases.
        await receiver.wait_for(90)
        await services[1].kill()
        gate, held = held, None
        assert gate is not None
        gate.set()
        await receiver.until(lambda: len(_ids(receiver.requests)) == BURST)
        # What it had on the wire arrived, but nobody settled it: it comes again, as an announced second attempt, and
        # long before a lease ends by itself, which takes six minutes.
        await receiver.until(lambda: len(receiver.requests) > BURST)
        async with Client(services[0].url) as client:
            while (await client.call("GET", "/messages"))[1]["total"]:
                await asyncio.sleep(0.05)
        _assert_accounted(accepted, receiver.requests, due)


async def test_p2_never_early(replicas: Replicas) -> None:
    async with Receiver() as receiver:
        [service] = await replicas(1)
        start = now_ms() + 500
        due = {f"m{i}": start + 7.3 * i for i in range(200)}
        async with Client(service.url) as client:
            for message_id, at in due.items():
                body = {"id": message_id, "payload": 1, "webhookUrl": receiver.url()}
                # Microseconds, rounded up: never down.
                body["scheduleTo"] = f"{instant(int(at))[:-6]}{int(at % 1 * 1000):03d}Z"
                assert (await client.call("POST", "/messages", body))[0] == 201
        requests = await receiver.wait_for(len(due))
        assert not [
            request for request in requests if request.at_ms < due[request.headers["X-Scheduler-Message-Id"]] - 0.002
        ]
        async with Client(service.url) as client:
            _, body = await client.call("GET", "/metrics")
            assert body["messages"]["fired_early"] == 0


async def test_p3_one_at_a_time_with_three_replicas(replicas: Replicas) -> None:
    async with Receiver() as receiver:
        gate = asyncio.Event()
        receiver.respond = lambda _: Answer(gate=gate)
        services = await replicas(3, MAX_CONCURRENCY="20")
        due = now_ms() + 2500
        async with Client(services[0].url) as client:
            accepted = await client.schedule_many([(f"m{i}", due) for i in range(BURST)], receiver.url())
            # More at once than one replica may have on the wire: the others take part.
            await receiver.wait_for(25)
            gate.set()
            await receiver.until(lambda: len(_ids(receiver.requests)) == BURST)
            while (await client.call("GET", "/messages"))[1]["total"]:
                await asyncio.sleep(0.02)
        assert _ids(receiver.requests) == Counter(accepted)
        assert {request.headers["X-Scheduler-Attempt"] for request in receiver.requests} == {"1"}


async def _sent(client: Client) -> list[tuple[str, int]]:
    """Return which message each logged attempt was of, and when it left, in ms since 1970."""
    sent: list[tuple[str, int]] = []
    cursor = ""
    while True:
        _, body = await client.call("GET", f"/deliveries?limit=1000{cursor}")
        sent += [
            (line["messageId"], round(datetime.fromisoformat(line["sentAt"]).timestamp() * 1000))
            for line in body["deliveries"]
            if line["sentAt"] is not None
        ]
        if not body["nextCursor"]:
            return sent
        cursor = f"&cursor={quote(body['nextCursor'])}"


async def test_p4_deleted_is_deleted_and_replaced_is_replaced_through_any_replica(replicas: Replicas) -> None:
    """A round proves nothing when the machine stalls in it, and all is over before anybody could take it away."""
    async with Receiver() as receiver:
        one, two = await replicas(2)
        async with Client(one.url) as first, Client(two.url) as second:
            for number in range(4):
                held, unsent = await _taken_away(receiver, (first, second), f"round{number}-")
                if held > 20 and unsent > 100:
                    return
    raise AssertionError(f"{held} were held by the other replica when they were taken away, {unsent} never left")


async def _taken_away(receiver: Receiver, clients: tuple[Client, Client], prefix: str) -> tuple[int, int]:
    """Delete and replace a stream of messages right before they are due, and check that this holds.

    Return how many another replica held when they were taken away, and how many never left in their old version.
    """
    start = now_ms() + 1500
    again = start + 2800
    due = {f"{prefix}{i}": start + 2 * i for i in range(800)}
    answered: dict[str, float] = {}
    waited: list[str] = []
    await clients[0].schedule_many(list(due.items()), receiver.url("/old"))

    async def end(number: int, message_id: str, at: float) -> None:
        # Some before it is claimed, some after, some after it has left.
        await asyncio.sleep(max(0, (at - now_ms() - 12 + number % 13) / 1000))
        client = clients[number % 2]
        asked = now_ms()
        if number % 4 < 2:
            status, _ = await client.delete(message_id)
        else:
            body = {"scheduleTo": instant(again), "payload": 2, "webhookUrl": receiver.url("/new")}
            status, _ = await client.call("PUT", f"/messages/{message_id}", body)
        if status == 200:
            answered[message_id] = now_ms()
            if answered[message_id] > asked + 1000 * DECIDED_SECONDS:
                waited.append(message_id)

    await asyncio.gather(*(end(number, *item) for number, item in enumerate(due.items())))
    written = {message_id for number, message_id in enumerate(due) if number % 4 >= 2}

    def arrived(target: str) -> list[Received]:
        ours = (each for each in receiver.requests if each.target == target)
        return [each for each in ours if each.headers["X-Scheduler-Message-Id"] in due]

    await receiver.until(lambda: len(_ids(arrived("/new"))) == len(written))
    old = {sent[0]: sent[1] for sent in await _sent(clients[0]) if sent[0] in due and sent[1] < again}
    # By when they left, since the receiver sees that later on a busy machine.
    late = {
        message_id: (old[message_id] - at, message_id in waited)
        for message_id, at in answered.items()
        if old.get(message_id, at) > at
    }
    assert not late, "an old version was attempted after the client had its answer"
    assert Counter(_ids(arrived("/old")).values()).keys() <= {1}
    assert _ids(arrived("/new")) == Counter(written)
    assert not [each for each in arrived("/new") if each.at_ms < again]
    return len(waited), len(set(answered) - set(old))


async def test_p4_deleted_while_an_attempt_is_on_the_wire_has_no_further_attempt(replicas: Replicas) -> None:
    gate = asyncio.Event()
    async with Receiver(Answer(gate=gate, status=500)) as receiver:
        [service] = await replicas(1)
        async with Client(service.url) as client:
            retry = {"maxAttempts": 5, "backoffSeconds": 0}
            assert (await client.schedule("m", now_ms(), receiver.url(), retry=retry))[0] == 201
            await receiver.wait_for(1)
            assert (await client.call("GET", "/messages/m"))[1]["status"] == "delivering"
            assert (await client.delete("m"))[0] == 200
            gate.set()
            # A message due after it is delivered: whatever was to come of the deleted one would have come before.
            assert (await client.schedule("later", now_ms() + 300, receiver.url()))[0] == 201
            await receiver.until(lambda: _ids(receiver.requests)["later"] == 1)
            assert _ids(receiver.requests) == Counter({"m": 1, "later": 1})
            assert (await client.call("GET", "/messages/m"))[0] == 404
            assert (await client.call("GET", "/dead-letters"))[1]["count"] == 0


async def test_p5_a_destination_that_hangs_and_records_that_are_none_hold_up_nobody_else(
    replicas: Replicas, durable_redis: RedisServer
) -> None:
    async with Receiver() as healthy, Receiver() as hanging:
        hanging.respond = lambda _: Answer(hang=True)
        [service] = await replicas(1, MAX_CONCURRENCY="50", MAX_CONCURRENCY_PER_HOST="20")
        redis = Redis.from_url(durable_redis.url)
        for number in range(50):
            await redis.set(f"message:bad{number}", b"\xff\xfenot json")
        await redis.aclose()
        due = now_ms() + 1000
        async with Client(service.url) as client:
            await client.schedule_many([(f"stuck{i}", due) for i in range(2000)], hanging.url())
            await hanging.wait_for(20)
            spread = {f"m{i}": now_ms() + 500 + 10 * i for i in range(100)}
            await client.schedule_many(list(spread.items()), healthy.url())
            requests = await healthy.wait_for(100)
            lateness = sorted(r.at_ms - spread[r.headers["X-Scheduler-Message-Id"]] for r in requests)
            # Generous, for a machine that stalls: held up behind the hanging ones it would be 30 seconds.
            assert lateness[-1] < 15_000
            assert hanging.open_connections <= 20
            letters = await client.dead_letters()
            assert {letter["reason"] for letter in letters.values()} == {"invalid_record"}
            assert len(letters) == 50


async def test_p6_redis_may_go_away_and_come_back(replicas: Replicas, durable_redis: RedisServer) -> None:
    async with Receiver() as receiver:
        [service] = await replicas(1)
        async with Client(service.url) as client:
            assert (await client.schedule("before", now_ms() + 3000, receiver.url()))[0] == 201
            durable_redis.kill()
            asked = time.monotonic()
            status, body = await client.schedule("meanwhile", now_ms() + 3000, receiver.url())
            assert (status, body["error_code"]) == (503, "STORE_UNAVAILABLE")
            status, body = await client.call("GET", "/health")
            assert (status, body["status"], body["redis"]) == (503, "unhealthy", "disconnected")
            assert time.monotonic() - asked < ANSWERED
            durable_redis.start()
            await receiver.until(lambda: _ids(receiver.requests)["before"] == 1)
            await service.answers()
            assert (await client.schedule("after", now_ms(), receiver.url()))[0] == 201
            await receiver.until(lambda: _ids(receiver.requests)["after"] == 1)


async def test_p6_redis_may_freeze_and_thaw(replicas: Replicas, durable_redis: RedisServer) -> None:
    async with Receiver() as receiver:
        [service] = await replicas(1)
        async with Client(service.url) as client:
            durable_redis.send(signal.SIGSTOP)
            try:
                asked = time.monotonic()
                answers = await asyncio.gather(
                    *(client.schedule(f"frozen{i}", now_ms() + 60_000, receiver.url()) for i in range(20))
                )
                assert {status for status, _ in answers} == {503}
                assert (await client.call("GET", "/health"))[0] == 503
                assert time.monotonic() - asked < ANSWERED
            finally:
                durable_redis.send(signal.SIGCONT)
            await service.answers()
            # Written by somebody else: delivered only if the frozen notification connection was replaced.
            redis = Redis.from_url(durable_redis.url)
            record = {"id": "x", "scheduleTo": instant(now_ms() + 500), "payload": 1, "webhookUrl": receiver.url()}
            await redis.set("message:outside", json.dumps(record))
            await redis.aclose()
            await receiver.until(lambda: _ids(receiver.requests)["outside"] == 1)


async def test_p8_stop_is_clean(replicas: Replicas) -> None:
    gate = asyncio.Event()
    async with Receiver() as receiver:
        receiver.respond = lambda _: Answer(gate=gate)
        [service] = await replicas(1, MAX_CONCURRENCY="10", MAX_CONCURRENCY_PER_HOST="10")
        async with Client(service.url) as client:
            accepted = await client.schedule_many([(f"m{i}", now_ms()) for i in range(30)], receiver.url())
        began = len(await receiver.wait_for(8))
        stopping = asyncio.create_task(service.stop())
        await receiver.until(lambda: len(receiver.requests) >= began)
        gate.set()
        assert await stopping == 0
        # What was on the wire is done, not repeated; the rest waits for the next start, and nothing is leased.
        done = _ids(receiver.requests)
        assert set(done.values()) == {1}
        await service.start()
        await receiver.until(lambda: len(_ids(receiver.requests)) == 30)
        assert _ids(receiver.requests) == Counter(accepted)


async def test_p8_an_attempt_cut_short_by_the_stop_is_no_failed_attempt(replicas: Replicas) -> None:
    async with Receiver(Answer(hang=True)) as receiver:
        [service] = await replicas(1, SHUTDOWN_GRACE_SECONDS="1")
        async with Client(service.url) as client:
            retry = {"maxAttempts": 1}
            assert (await client.schedule("m", now_ms(), receiver.url(), retry=retry))[0] == 201
        await receiver.wait_for(1)
        assert await service.stop() == 0
        await service.start()
        first, second = (await receiver.wait_for(2))[:2]
        assert (first.headers["X-Scheduler-Attempt"], second.headers["X-Scheduler-Attempt"]) == ("1", "2")
        assert first.headers["webhook-id"] == second.headers["webhook-id"]


async def test_records_of_an_earlier_system_are_adopted_and_delivered(
    durable_redis: RedisServer, tmp_path: Path
) -> None:
    async with Receiver() as receiver:
        redis = Redis.from_url(durable_redis.url)
        for number in range(20):
            record = {
                "id": f"m{number}",
                "scheduleTo": instant(now_ms() + 1000),
                "payload": {"n": number},
                "webhookUrl": receiver.url(),
                "_attempts": 0,
                "_job": "x",
            }
            await redis.set(f"message:m{number}", json.dumps(record))
        async with Service(tmp_path, {"REDIS_URL": durable_redis.url}):
            requests = await receiver.wait_for(20)
            assert sorted(request.json()["n"] for request in requests) == list(range(20))
            # Cancelled by anybody who deletes the key, live.
            await redis.set("message:late", json.dumps(record | {"scheduleTo": instant(now_ms() + 1200)}))
            await redis.delete("message:late")
            await redis.set("message:last", json.dumps(record | {"scheduleTo": instant(now_ms() + 1500)}))
            await receiver.until(lambda: _ids(receiver.requests)["last"] == 1)
            assert "late" not in _ids(receiver.requests)
            assert await redis.keys("message:*") == [] or await _soon_empty(redis)
        await redis.aclose()


async def _soon_empty(redis: Redis) -> bool:
    async with asyncio.timeout(30):
        while await redis.keys("message:*"):
            await asyncio.sleep(0.02)
    return True
