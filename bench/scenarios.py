"""What is measured of the service alone. Each scenario runs on an empty store and gives the rows of the table."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import orjson

from bench.beside import accept, bursts, lateness, mixed, slow
from bench.measure import DAY_MS, Cpu, Rate, ahead, burst, collect, now_ms
from bench.messages import PAYLOAD_BYTES, message
from bench.processes import Bench, Service
from bench.report import Lateness, Row
from bench.scale import Scale
from bench.wire import Connection, flood, post_batches, request

#: Messages that wait for a destination that hangs.
HANGING = 10_000


# -- several workers


async def workers(bench: Bench, scale: Scale) -> AsyncIterator[Row]:
    """The same burst with one worker on one core and with two on both, in turns."""
    count = scale.bursts[-1]
    rates: dict[int, list[Rate]] = {1: [], 2: []}
    busy: list[Cpu] = []
    exact = True
    for _ in range(scale.turns):
        for number, reached in rates.items():
            async with bench.service(WORKERS=str(number)) as service:
                late, cpu = await burst(bench, service, count, accepts=10_000)
            reached.append(Rate((count - late.missing) / late.worst * 1000, cpu.measured / count))
            exact = exact and late.exact
            if number == 2:
                busy.append(cpu)
    one, two = Rate.median(rates[1]), Rate.median(rates[2])
    ratio = two.per_second / one.per_second
    yield Row(f"deliver {count:,} due at one instant, one worker on one core", "", str(one))
    had, waited, redis, receiver = (
        statistics.median(cpu.share(part) for cpu in busy) for part in ("measured", "waited", "redis", "receiver")
    )
    yield Row(
        "two workers on two cores, of which Redis and the receiver need a part",
        f"≥ 1.7 times as many: {1.7 * one.per_second:,.0f}/s",
        f"{two}: {ratio:.2f} times; of two cores the workers had {had:.2f} and waited for {waited:.2f}, "
        f"Redis had {redis:.2f}, the receiver {receiver:.2f}; exact: {'yes' if exact else 'no'}",
        exact and ratio >= 1.7,
    )


# -- on time


async def hanging(bench: Bench, scale: Scale) -> AsyncIterator[Row]:
    """Lateness at one destination while very many messages wait for another, which never answers."""
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    try:
        # What hangs at the end is not worth waiting for.
        async with bench.service(SHUTDOWN_GRACE_SECONDS="0") as service:
            due_ms = now_ms() + 6000
            await post_batches(
                service.port, (message(f"h-{number:05d}", due_ms, number, port) for number in range(HANGING))
            )
            if now_ms() > due_ms:
                raise RuntimeError("scheduling ahead took longer than planned: the machine is too busy to measure")
            before = await Cpu.used(bench, service)
            due = await ahead(bench, service, 200, scale.hanging_seconds, lead=max(2.0, (due_ms - now_ms()) / 1000 - 1))
            late = await collect(bench, due)
            cpu = (await Cpu.used(bench, service)).since(before)
    finally:
        for writer in held:
            writer.transport.abort()
        server.close()
    if not held:
        raise RuntimeError("nothing was sent to the destination that hangs")
    yield Row(
        f"lateness at 200/s beside {HANGING:,} due for a destination that hangs",
        "p99 < 50 ms",
        f"{late}; {len(held)} attempts hung; {cpu.share('measured'):.0%} of the core; {cpu.others}",
        late.exact and late.p99 < 50,
    )


# -- a great many pending


async def pending(bench: Bench, scale: Scale) -> AsyncIterator[Row]:
    """Memory, restart and searches with many messages that are due tomorrow."""
    for count in scale.pending:
        async with bench.service() as service:
            await asyncio.sleep(1)
            memory, stored = service.resident_mb, await _used_memory(bench)
            began = time.perf_counter()
            await post_batches(service.port, _tomorrow(bench, count))
            took = time.perf_counter() - began
            await asyncio.sleep(2)
            grown = service.resident_mb - memory
            each = (await _used_memory(bench) - stored) / count
            yield Row(
                f"service's memory with {count:,} pending",
                "< 30 MB more than empty",
                f"{grown:+.1f} MB ({memory:.0f} MB empty); accepted in batches at {count / took:,.0f}/s",
                grown < 30,
            )
            yield Row(
                f"Redis's memory with {count:,} pending",
                f"< 600 bytes each, payload of {PAYLOAD_BYTES}",
                f"{each:.0f} bytes",
                each < 600,
            )
            async for row in _restart(bench, service, count, memory):
                yield row
            async for row in _search(bench, service, count, scale):
                yield row


def _tomorrow(bench: Bench, count: int) -> Iterator[bytes]:
    due_ms = now_ms() + DAY_MS
    return (message(f"p-{number:07d}", due_ms + number, number, bench.receiver_port) for number in range(count))


async def _used_memory(bench: Bench) -> int:
    """Return the bytes Redis uses, once no rewrite of its file disturbs the figure."""
    for _ in range(300):
        if not (await bench.redis.info("persistence"))["aof_rewrite_in_progress"]:
            break
        await asyncio.sleep(0.1)
    return int((await bench.redis.info("memory"))["used_memory"])


async def _restart(bench: Bench, service: Service, count: int, empty: float) -> AsyncIterator[Row]:
    due_ms = now_ms() + 1500
    await post_batches(
        service.port, (message(f"o-{number}", due_ms + number, number, bench.receiver_port) for number in range(50))
    )
    await service.stop()
    await asyncio.sleep(max(0.0, due_ms / 1000 + 0.5 - time.time()))
    if await bench.arrived():
        raise RuntimeError("stopping took so long that the messages meant to be overdue were sent")
    healthy = await service.start()
    at_ms = time.time() * 1000
    await bench.wait_for(50, 30)
    arrivals = await bench.take()
    first = min((at for _, at in arrivals), default=float("inf")) - at_ms
    yield Row(f"restart with {count:,} pending: `/health` answers 200", "< 1 s", f"{healthy:.2f} s", healthy < 1)
    yield Row(
        "first overdue message after that",
        "< 1 s",
        f"{first / 1000:.2f} s" if first > 0 else "before",
        first < 1000 and len(arrivals) == 50,
    )
    await asyncio.sleep(2)
    grown = service.resident_mb - empty
    yield Row("service's memory after the restart", "< 30 MB more than empty", f"{grown:+.1f} MB", grown < 30)


async def _search(bench: Bench, service: Service, count: int, scale: Scale) -> AsyncIterator[Row]:
    """Time searches and lists on one connection, while others fall due at 200/s."""
    seconds = scale.searches * 0.11 + 2
    alone = await collect(bench, await ahead(bench, service, 200, 5, lead=2))
    due = await ahead(bench, service, 200, seconds, lead=2)
    await asyncio.sleep(2)
    connection = await Connection.open(service.port)
    questions = {
        "search by prefix, 10 found": "/messages/search?prefix=p-{:06d}",
        "first page of the list, 100 long": "/messages?limit=100",
        "first page of the list, 1,000 long": "/messages",
    }
    times: dict[str, list[float]] = {what: [] for what in questions}
    for number in range(scale.searches):
        for what, path in questions.items():
            began = time.perf_counter()
            status, body = await connection.ask("GET", path.format(number * 7 % (count // 10)))
            times[what].append((time.perf_counter() - began) * 1000)
            found = orjson.loads(body)["count"] if status == 200 else None
            if not found:
                raise RuntimeError(f"{path} was answered {status}, {found} found")
            await asyncio.sleep(0.02)
    connection.close()
    late = await collect(bench, due)
    for what, taken in times.items():
        median = statistics.median(taken)
        yield Row(
            f"{what}, {count:,} pending", "< 10 ms", f"median {median:.1f}, worst {max(taken):.1f} ms", median < 10
        )
    yield Row(
        "lateness at 200/s meanwhile",
        f"as without: p50 {alone.p50:.1f}, p99 {alone.p99:.1f} ms",
        str(late),
        late.exact and late.p99 < max(5.0, 2 * alone.p99),
    )


# -- recurring


ACCOUNT = "123e4567-e89b-12d3-a456-426614174000"


async def jobs(bench: Bench, scale: Scale) -> AsyncIterator[Row]:
    """Very many enabled jobs: created, listed, and many of them due at one minute."""
    async with bench.service() as service:
        await asyncio.sleep(1)
        memory = service.resident_mb
        rates = []
        tenth = (scale.jobs - scale.jobs_at_once) // 9
        for part in range(9):
            # In the morning and in the evening, whatever time it is: these are not due while this runs.
            hour = (time.gmtime().tm_hour + 6 + part) % 24
            bodies = (_job(f"{number % 60} {hour} * * *", number) for number in range(tenth))
            load = await flood(service.port, (request("POST", "/api/jobs", body) for body in bodies), seconds=600)
            if load.failed:
                raise RuntimeError(f"not every job was accepted: {load.statuses}")
            rates.append(load.per_second)
        yield Row(
            f"create jobs until there are {tenth * 9:,}",
            "as quick at the end as at the start",
            f"first {rates[0]:,.0f}/s, last {rates[-1]:,.0f}/s",
            rates[-1] > 0.7 * rates[0],
        )
        async for row in _job_lists(service, tenth * 9, scale):
            yield row
        async for row in _minute(bench, service, scale.jobs_at_once):
            yield row
        wrong = await _wrong_next_runs(service)
        total = tenth * 9 + scale.jobs_at_once
        yield Row(f"`next_run_at` of all {total:,}", "correct", f"{wrong} wrong", wrong == 0)
        grown = service.resident_mb - memory
        yield Row(
            f"service's memory with {total:,} jobs", "flat: < 60 MB more than empty", f"{grown:+.1f} MB", grown < 60
        )


def _job(schedule: str, number: int) -> bytes:
    return orjson.dumps({"account_id": ACCOUNT, "name": f"job {number}", "schedule": schedule, "type": 1})


async def _job_lists(service: Service, count: int, scale: Scale) -> AsyncIterator[Row]:
    connection = await Connection.open(service.port)
    for what, query in {
        "first page of the jobs": "",
        "last page of the jobs": f"&skip={count - 100}",
        "first page of the enabled jobs": "&enabled=true",
    }.items():
        taken = []
        for _ in range(scale.searches):
            began = time.perf_counter()
            status, body = await connection.ask("GET", f"/api/jobs?account_id={ACCOUNT}&limit=100{query}")
            taken.append((time.perf_counter() - began) * 1000)
            if status != 200 or len(orjson.loads(body)["items"]) != 100:
                raise RuntimeError(f"{what}: {status}")
        median = statistics.median(taken)
        yield Row(
            f"{what}, 100 of {count:,}", "< 10 ms", f"median {median:.1f}, worst {max(taken):.1f} ms", median < 10
        )
    connection.close()


async def _minute(bench: Bench, service: Service, count: int) -> AsyncIterator[Row]:
    """Jobs with a webhook each, due at one minute."""
    due = (int(time.time() + 5 + count / 500) // 60 + 1) * 60
    at = time.gmtime(due)
    schedule = f"{at.tm_min} {at.tm_hour} * * *"
    ids: list[str] = []

    def webhook(job_id: str) -> bytes:
        body = {"job_id": job_id, "url": f"http://127.0.0.1:{bench.receiver_port}/hook", "method": "POST"}
        return request("POST", "/webhooks", orjson.dumps(body))

    load = await flood(
        service.port, (request("POST", "/api/jobs", _job(schedule, number)) for number in range(count)), seconds=600
    )
    connection = await Connection.open(service.port)
    for skip in range(0, count, 1000):
        total = skip + 1000
        path = f"/api/jobs?account_id={ACCOUNT}&limit=1000&skip="
        _, body = await connection.ask("GET", f"{path}0")
        offset = orjson.loads(body)["total"] - count + skip
        _, body = await connection.ask("GET", f"{path}{offset}")
        ids += [job["id"] for job in orjson.loads(body)["items"][: count - total + 1000]]
    connection.close()
    load = await flood(service.port, map(webhook, ids), seconds=600)
    if load.failed or len(set(ids)) != count:
        raise RuntimeError(f"not every webhook was accepted: {load.statuses}")
    if time.time() > due - 2:
        raise RuntimeError("creating the jobs took longer than planned: the machine is too busy to measure")
    await bench.take()
    await asyncio.sleep(due - time.time())
    used = service.cpu_seconds
    await bench.wait_for(count, 60)
    used = service.cpu_seconds - used
    await asyncio.sleep(2)  # for doubles
    late = Lateness.of(await bench.take(), dict.fromkeys(ids, due * 1000))
    yield Row(
        f"{count:,} jobs due at one minute: the last one starts",
        "< 1.5 s after it",
        f"{late.worst / 1000:.2f} s; first {late.first:.1f} ms; {used / count * 1e6:.0f} µs of CPU each",
        late.worst < 1500,
    )
    yield Row(f"of these {count:,}", "none missing, double or early", late.counts, late.exact)


async def _wrong_next_runs(service: Service) -> int:
    """Read every job, and work out by hand when it is due next."""
    connection = await Connection.open(service.port)
    wrong = skip = 0
    while True:
        now = datetime.now(UTC)
        _, body = await connection.ask("GET", f"/api/jobs?account_id={ACCOUNT}&limit=1000&skip={skip}")
        items = orjson.loads(body)["items"]
        for job in items:
            minute, hour, *_ = job["schedule"].split()
            due = now.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
            due += timedelta(days=due <= now)
            wrong += job["next_run_at"] != due.strftime("%Y-%m-%dT%H:%M:%SZ")
        if len(items) < 1000:
            break
        skip += 1000
    connection.close()
    return wrong


SCENARIOS = {
    "accept": accept,
    "burst": bursts,
    "slow": slow,
    "workers": workers,
    "lateness": lateness,
    "mixed": mixed,
    "hanging": hanging,
    "pending": pending,
    "jobs": jobs,
}

#: Those in which peers take part.
COMPARED = {"accept", "burst", "slow", "lateness", "mixed"}
