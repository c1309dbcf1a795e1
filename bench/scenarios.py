"""What is measured. Each scenario runs on an empty store and gives the rows of the table."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson

from bench.messages import PAYLOAD_BYTES, message
from bench.processes import BESIDE, MEASURED, Bench, Service, pin, python
from bench.report import Lateness, Row, quantile
from bench.wire import Connection, Load, flood, pace, post_batches, request

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
#: Messages that wait for a destination that hangs.
HANGING = 10_000
#: What the service sends at once to one destination by default, and the bare client too.
CONCURRENCY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much of everything. Seconds, and numbers of messages."""

    rounds: int
    accept_seconds: float
    bursts: tuple[int, ...]
    client_posts: int
    lateness_seconds: float
    hanging_seconds: float
    pending: tuple[int, ...]
    searches: int
    jobs: int
    jobs_at_once: int


FULL = Scale(
    rounds=3,
    accept_seconds=4,
    bursts=(5_000, 20_000),
    client_posts=10_000,
    lateness_seconds=20,
    hanging_seconds=75,
    pending=(100_000, 1_000_000),
    searches=100,
    jobs=100_000,
    jobs_at_once=10_000,
)
QUICK = Scale(
    rounds=1,
    accept_seconds=3,
    bursts=(5_000,),
    client_posts=5_000,
    lateness_seconds=5,
    hanging_seconds=6,
    pending=(20_000,),
    searches=30,
    jobs=10_000,
    jobs_at_once=2_000,
)


def now_ms() -> int:
    """Return the wall clock, which the service and the receiver share."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second, and seconds of CPU each: the latter suffers less from what else the machine does."""

    per_second: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.per_second:,.0f}/s, {self.cpu * 1e6:.0f} µs of CPU each"

    @classmethod
    def median(cls, rates: Sequence[Rate]) -> Rate:
        """Return the middle one in either respect."""
        return cls(statistics.median(rate.per_second for rate in rates), statistics.median(rate.cpu for rate in rates))


# -- accepting


async def accept(bench: Bench, scale: Scale) -> AsyncIterator[Row]:
    """Rate of ``POST /messages`` over 64 connections, in turns with the two limits."""
    bare: list[Rate] = []
    batched: list[Rate] = []
    reached: list[Rate] = []
    latencies: list[float] = []
    posts = _posts(bench, scale)
    for _ in range(scale.rounds):
        bare.append(await _accept_limit(bench, scale, posts))
        batched.append(await _accept_limit(bench, scale, posts, bench.redis_url))
        async with bench.service() as service:
            used = service.cpu_seconds
            load = await flood(service.port, iter(posts), seconds=scale.accept_seconds)
            reached.append(_rate(load, service.cpu_seconds - used))
            latencies += load.latencies
    latencies.sort()
    p50, p99 = (quantile(latencies, share) * 1000 for share in (0.5, 0.99))
    limit, rate = Rate.median(batched), Rate.median(reached)
    yield Row("limit: bare aiohttp, JSON parsed, nothing stored", "", str(Rate.median(bare)))
    yield Row("limit: the same with one batched write to Redis", "", str(limit))
    yield Row(
        "accept `POST /messages`, 64 connections",
        f"≥ 60 % of that limit: {0.6 * limit.per_second:,.0f}/s",
        f"{rate}: {rate.per_second / limit.per_second:.0%} by the clock, {limit.cpu / rate.cpu:.0%} by CPU; "
        f"answered p50 {p50:.1f}, p99 {p99:.1f} ms",
        rate.per_second >= 0.6 * limit.per_second,
    )


async def _accept_limit(bench: Bench, scale: Scale, posts: list[bytes], *redis_url: str) -> Rate:
    await bench.empty()
    async with python(bench.folder, "bench.limits", "server", *redis_url, pinned=True) as (child, port):
        used = child.cpu_seconds()
        load = await flood(int(port), iter(posts), seconds=scale.accept_seconds)
        return _rate(load, child.cpu_seconds() - used)


def _rate(load: Load, cpu: float) -> Rate:
    if load.failed:
        raise RuntimeError(f"not everything was accepted; answers by status: {load.statuses}")
    return Rate(load.per_second, cpu / load.statuses.total())


def _posts(bench: Bench, scale: Scale) -> list[bytes]:
    """Return more requests than can be answered in the time, with rising ids, all due from an hour on."""
    due_ms = now_ms() + HOUR_MS
    return [
        request("POST", "/messages", message(f"a-{number:08d}", due_ms + number, number, bench.receiver_port))
        for number in range(round(30_000 * scale.accept_seconds))
    ]


# -- many at one instant


async def burst(bench: Bench, scale: Scale) -> AsyncIterator[Row]:
    """Messages due at one instant, to one destination, beside the bare client."""
    yield await _receiver_limit(bench, scale)
    for count in scale.bursts:
        before = await _client_limit(bench, scale)
        async with bench.service() as service, service.disturbance() as others:
            late, used = await _burst(bench, service, count)
        cpu = used.service
        limit = Rate.median([before, await _client_limit(bench, scale)])
        rate = Rate((count - late.missing) / late.worst * 1000, cpu / count)
        yield Row(f"limit: bare HTTP client, {CONCURRENCY} at once", "", str(limit))
        yield Row(
            f"deliver {count:,} due at one instant",
            f"≥ 50 % of that limit: {0.5 * limit.per_second:,.0f}/s",
            f"{rate}: {rate.per_second / limit.per_second:.0%} by the clock, {limit.cpu / rate.cpu:.0%} by CPU; "
            f"{others()}",
            rate.per_second >= 0.5 * limit.per_second,
        )
        yield Row(f"of these {count:,}", "none missing, double or early", late.counts, late.exact)
        yield Row(f"first of {count:,}", "< 10 ms after the instant", f"{late.first:.1f} ms", 0 <= late.first < 10)


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds of CPU, and those in which the service was ready to run and others had the core."""

    service: float
    waited: float
    redis: float
    receiver: float

    @classmethod
    async def used(cls, bench: Bench, service: Service) -> Cpu:
        """Return what each has used so far."""
        return cls(service.cpu_seconds, service.waited_seconds, await bench.redis_cpu(), await bench.receiver_cpu())

    def since(self, before: Cpu) -> Cpu:
        """Return what each has used since then."""
        return Cpu(
            self.service - before.service,
            self.waited - before.waited,
            self.redis - before.redis,
            self.receiver - before.receiver,
        )

    def a_second(self, seconds: float) -> Cpu:
        """Return the means."""
        return Cpu(self.service / seconds, self.waited / seconds, self.redis / seconds, self.receiver / seconds)


async def _burst(bench: Bench, service: Service, count: int) -> tuple[Lateness, Cpu]:
    lead = 3 + count // 2_500
    while True:
        due = now_ms() + lead * 1000
        ids = [f"b-{number:06d}" for number in range(count)]
        await post_batches(
            service.port, (message(id_, due, number, bench.receiver_port) for number, id_ in enumerate(ids))
        )
        if now_ms() < due - 1500:
            break
        lead *= 2  # the machine is too busy: it would not have been one burst
        await asyncio.sleep(max(0, due / 1000 - time.time()))
        await bench.wait_for(count, 60)
        await bench.take()
    await asyncio.sleep(due / 1000 - time.time() - 0.05)
    before = await Cpu.used(bench, service)
    await bench.wait_for(count, 60)
    used = (await Cpu.used(bench, service)).since(before)
    await asyncio.sleep(2)  # for doubles
    return Lateness.of(await bench.take(), dict.fromkeys(ids, due)), used


async def _client_limit(bench: Bench, scale: Scale) -> Rate:
    arguments = (str(bench.receiver_port), str(scale.client_posts), str(CONCURRENCY))
    async with python(bench.folder, "bench.limits", "client", *arguments, pinned=True) as (_, line):
        pass
    await bench.take()
    return Rate(*map(float, line.split()))


async def _receiver_limit(bench: Bench, scale: Scale) -> Row:
    """What the receiver itself can take: it must not be what is measured."""
    head = b"POST /hook HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Scheduler-Message-Id: r-%07d\r\nContent-Length: 100\r\n\r\n"
    count = scale.client_posts
    used = await bench.receiver_cpu()
    pin(MEASURED)  # the other core is the receiver's own meanwhile
    try:
        load = await flood(bench.receiver_port, (head % number + b"x" * 100 for number in range(count)))
    finally:
        pin(BESIDE)
    used = await bench.receiver_cpu() - used
    await bench.take()
    return Row("limit: the receiver", "", f"{load.per_second:,.0f}/s seen; its CPU allows {count / used:,.0f}/s")


async def workers(bench: Bench, scale: Scale) -> AsyncIterator[Row]:
    """The same burst with one worker on one core and with two on both, in turns."""
    count = scale.bursts[-1]
    rates: dict[int, list[Rate]] = {1: [], 2: []}
    busy: list[Cpu] = []
    exact = True
    for _ in range(scale.rounds):
        for number, reached in rates.items():
            async with bench.service(WORKERS=str(number)) as service:
                late, cpu = await _burst(bench, service, count)
            seconds = late.worst / 1000
            reached.append(Rate((count - late.missing) / seconds, cpu.service / count))
            exact = exact and late.exact
            if number == 2:
                busy.append(cpu.a_second(seconds))
    one, two = Rate.median(rates[1]), Rate.median(rates[2])
    ratio = two.per_second / one.per_second
    yield Row(f"deliver {count:,} due at one instant, one worker on one core", "", str(one))
    had, waited, redis, receiver = (
        statistics.median(getattr(cpu, part) for cpu in busy) for part in ("service", "waited", "redis", "receiver")
    )
    yield Row(
        "two workers on two cores, of which Redis and the receiver need a part",
        f"≥ 1.7 times as many: {1.7 * one.per_second:,.0f}/s",
        f"{two}: {ratio:.2f} times; of two cores the workers had {had:.2f} and waited for {waited:.2f}, "
        f"Redis had {redis:.2f}, the receiver {receiver:.2f}; exact: {'yes' if exact else 'no'}",
        exact and ratio >= 1.7,
    )


# -- on time


async def lateness(bench: Bench, scale: Scale) -> AsyncIterator[Row]:
    """Lateness of messages scheduled ahead, at an even pace."""
    for per_second in (200, 1000):
        async with bench.service() as service, service.disturbance() as others:
            due = await _ahead(bench, service, per_second, scale.lateness_seconds, lead=4)
            late = await _collect(bench, due)
        met = late.exact and late.p50 < 2 and late.p99 < 5
        yield Row(f"lateness at {per_second:,}/s", "p50 < 2 ms, p99 < 5 ms, none early", f"{late}; {others()}", met)


async def mixed(bench: Bench, scale: Scale) -> AsyncIterator[Row]:
    """Lateness while as many are accepted as fall due: each two seconds after it was posted."""
    for per_second in (200, 1000):
        due: dict[str, int] = {}

        def post(number: int, due: dict[str, int] = due) -> bytes:
            message_id = f"m-{number:07d}"
            due[message_id] = now_ms() + 2000
            return request("POST", "/messages", message(message_id, due[message_id], number, bench.receiver_port))

        async with bench.service() as service, service.disturbance() as others:
            load = await pace(service.port, per_second, scale.lateness_seconds + 2, post)
            late = await _collect(bench, due)
        if load.failed:
            raise RuntimeError(f"accepting: {load.statuses}")
        answered = quantile(sorted(load.latencies), 0.99) * 1000
        yield Row(
            f"the same while accepting {per_second:,}/s",
            "p99 < 15 ms",
            f"{late}; answered p99 {answered:.1f} ms; {others()}",
            late.exact and late.p99 < 15,
        )


async def _ahead(bench: Bench, service: Service, per_second: int, seconds: float, lead: float) -> dict[str, int]:
    start = now_ms() + round(lead * 1000)
    due = {f"l-{number:07d}": start + number * 1000 // per_second for number in range(round(per_second * seconds))}
    await post_batches(
        service.port,
        (message(id_, due_ms, number, bench.receiver_port) for number, (id_, due_ms) in enumerate(due.items())),
    )
    if now_ms() > start:
        raise RuntimeError("scheduling ahead took longer than planned: the machine is too busy to measure")
    return due


async def _collect(bench: Bench, due: dict[str, int]) -> Lateness:
    await asyncio.sleep(max(0.0, max(due.values()) / 1000 - time.time()))
    await bench.wait_for(len(due), 20)
    await asyncio.sleep(0.5)
    return Lateness.of(await bench.take(), due)


async def hanging(bench: Bench, scale: Scale) -> AsyncIterator[Row]:
    """Lateness at one destination while very many messages wait for another, which never answers."""
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    try:
        # What hangs at the end is not worth waiting for.
        async with bench.service(SHUTDOWN_GRACE_SECONDS="0") as service, service.disturbance() as others:
            due_ms = now_ms() + 6000
            await post_batches(
                service.port, (message(f"h-{number:05d}", due_ms, number, port) for number in range(HANGING))
            )
            if now_ms() > due_ms:
                raise RuntimeError("scheduling ahead took longer than planned: the machine is too busy to measure")
            used, began = service.cpu_seconds, time.monotonic()
            due = await _ahead(
                bench, service, 200, scale.hanging_seconds, lead=max(2.0, (due_ms - now_ms()) / 1000 - 1)
            )
            late = await _collect(bench, due)
            busy = (service.cpu_seconds - used) / (time.monotonic() - began)
    finally:
        for writer in held:
            writer.transport.abort()
        server.close()
    if not held:
        raise RuntimeError("nothing was sent to the destination that hangs")
    yield Row(
        f"lateness at 200/s beside {HANGING:,} due for a destination that hangs",
        "p99 < 50 ms",
        f"{late}; {len(held)} attempts hung; {busy:.0%} of the core; {others()}",
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
    alone = await _collect(bench, await _ahead(bench, service, 200, 5, lead=2))
    due = await _ahead(bench, service, 200, seconds, lead=2)
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
    late = await _collect(bench, due)
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
    due = (now_ms() // 60_000 + 2) * 60
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
    "burst": burst,
    "workers": workers,
    "lateness": lateness,
    "mixed": mixed,
    "hanging": hanging,
    "pending": pending,
    "jobs": jobs,
}
