"""What is measured of the service and of its peers, in turns, so that a slow minute of the machine hits them all."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial

from bench.measure import HOUR_MS, Cpu, Rate, ahead, burst, collect, now_ms, warm
from bench.messages import message
from bench.peers import APSCHEDULER, BULLMQ
from bench.processes import BESIDE, MEASURED, Bench, Running, pin, python
from bench.receiver import SLOW_SECONDS
from bench.report import Lateness, Row, quantile, ratios
from bench.scale import Scale
from bench.wire import Load, flood, pace, request

#: What the service sends at once to one destination by default, and what it is compared with, too.
CONNECTIONS = 100
#: The same for the hook that is slow.
SLOW_CONNECTIONS = 200
#: What BullMQ's worker may have in hand at once; the best of these is kept.
CONCURRENCIES = (50, 100, 200, 300)
#: Requests are sent for so long before they are measured: who compiles as it goes has done so then.
WARM_UP_SECONDS = 1.0
OURS = "ours"


@dataclass(frozen=True, slots=True)
class Contestant:
    """The service or a peer; ``once`` if one turn has to do, since it takes long."""

    name: str
    accepts: int
    once: bool
    run: Callable[[], AbstractAsyncContextManager[Running]]


def contestants(bench: Bench, path: str = "hook", **settings: str) -> list[Contestant]:
    """Return the service, with settings, and the peers that are installed."""
    found = [Contestant(OURS, 20_000, False, lambda: bench.service(**settings))]
    for peer in bench.peers:
        connections = SLOW_CONNECTIONS if path == "slow" else peer.concurrency.get(path, CONNECTIONS)
        run = partial(peer.run, bench, connections, path)
        if peer.missing is None:
            found.append(Contestant(peer.name, peer.accepts_per_second, peer.name == APSCHEDULER, run))
    return found


def in_turns(found: Sequence[Contestant], turns: int) -> Iterable[Contestant]:
    """Return each as often as it has a turn: first, second, … and again."""
    return (each for turn in range(turns) for each in found if not (turn and each.once))


def missing(bench: Bench, what: str) -> Iterable[Row]:
    """Return rows for the peers that are not here, and say why."""
    return (
        Row(f"{peer.name}: {what}", "", f"not installed here: {peer.missing}")
        for peer in bench.peers
        if peer.missing is not None
    )


# -- accepting


@dataclass(frozen=True, slots=True)
class Accepted:
    """What came of one turn."""

    rate: Rate
    p50: float
    p99: float
    cpu: Cpu

    @classmethod
    async def measure(
        cls, bench: Bench, running: Running, posts: list[bytes], seconds: float, connections: int
    ) -> Accepted:
        """Send requests for so long, after some for warming up."""
        requests = iter(posts)
        await flood(running.port, requests, seconds=WARM_UP_SECONDS)
        before = await Cpu.used(bench, running)
        load = await flood(running.port, requests, seconds=seconds, connections=connections)
        cpu = (await Cpu.used(bench, running)).since(before)
        ordered = sorted(load.latencies)
        return cls(_rate(load, cpu.measured), quantile(ordered, 0.5) * 1000, quantile(ordered, 0.99) * 1000, cpu)


async def accept(bench: Bench, scale: Scale) -> AsyncIterator[Row]:
    """Rate of ``POST /messages``, over 64 connections in turns with the two limits, and over one."""
    bare: list[Rate] = []
    batched: list[Rate] = []
    reached: dict[str, list[Accepted]] = {}
    single: dict[str, list[Accepted]] = {}
    posts = _posts(bench, scale)
    for turn in range(scale.turns):
        bare.append(await _accept_limit(bench, scale, posts))
        batched.append(await _accept_limit(bench, scale, posts, bench.redis_url))
        for each in contestants(bench):
            if turn and each.once:
                continue
            async with each.run() as running:
                first = await Accepted.measure(bench, running, posts, scale.accept_seconds, 64)
                reached.setdefault(each.name, []).append(first)
            async with each.run() as running:
                only = await Accepted.measure(bench, running, posts, scale.accept_seconds / 2, 1)
                single.setdefault(each.name, []).append(only)
    limit = Rate.median(batched)
    yield Row("limit: bare aiohttp, JSON parsed, nothing stored", "", str(Rate.median(bare)))
    yield Row("limit: the same with one batched write to Redis", "", str(limit))
    rate = Rate.median([one.rate for one in reached[OURS]])
    for what, asked, turns in (("64 connections", 1.2, reached), ("1 connection", 1.0, single)):
        rates = {name: statistics.median(one.rate.per_second for one in all_) for name, all_ in turns.items()}
        said, met = ratios(rates, "{:,.0f}/s", {BULLMQ: asked})
        own = Rate.median([one.rate for one in turns[OURS]])
        cpu = turns[OURS][-1].cpu
        yield Row(
            f"accept `POST /messages`, {what}",
            f"≥ {asked} × BullMQ",
            f"{own}{said}; {cpu.others}; {cpu.beside}",
            met,
        )
        p99 = {name: statistics.median(one.p99 for one in all_) for name, all_ in turns.items()}
        p50 = statistics.median(one.p50 for one in turns[OURS])
        said, met = ratios(p99, "{:,.2f} ms", {BULLMQ: 0.5} if turns is reached else {}, least=False)
        yield Row(
            f"its answer, p99, {what}",
            "≤ 0.5 × BullMQ's" if turns is reached else "",
            f"{p99[OURS]:.2f} ms (p50 {p50:.2f}){said}",
            met,
        )
    yield Row(
        "accept, 64 connections, of the limit with a write",
        f"≥ 60 %: {0.6 * limit.per_second:,.0f}/s",
        f"{rate.per_second / limit.per_second:.0%} by the clock, {limit.cpu / rate.cpu:.0%} by CPU",
        rate.per_second >= 0.6 * limit.per_second,
    )
    for name, all_ in reached.items():
        if name != OURS:
            theirs = Rate.median([one.rate for one in all_])
            yield Row(f"{name}: accept, 64 connections", "", f"{theirs}; {all_[-1].cpu.beside}")
    for row in missing(bench, "accept"):
        yield row


async def _accept_limit(bench: Bench, scale: Scale, posts: list[bytes], *redis_url: str) -> Rate:
    await bench.empty()
    async with python(bench.folder, "bench.limits", "server", *redis_url, pinned=True) as (child, port):
        used = child.cpu_seconds()
        load = await flood(int(port), iter(posts), seconds=scale.accept_seconds / 2)
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
        for number in range(round(40_000 * scale.accept_seconds))
    ]


# -- many at one instant


@dataclass(frozen=True, slots=True)
class Delivered:
    """What came of one burst."""

    rate: Rate
    late: Lateness
    cpu: Cpu

    @classmethod
    async def measure(
        cls, bench: Bench, running: Running, count: int, accepts: int, path: str, doubles: float = 1.5
    ) -> Delivered:
        """Let so many fall due at one instant."""
        late, cpu = await burst(bench, running, count, accepts=accepts, path=path, doubles=doubles)
        came = count - late.missing
        return cls(Rate(came / late.worst * 1000, cpu.measured / max(1, came)), late, cpu)


async def bursts(bench: Bench, scale: Scale) -> AsyncIterator[Row]:
    """Messages due at one instant, to one destination that answers at once, beside the bare client."""
    yield await _harness_limit(bench, scale)
    async for row in _tune(bench, scale, "hook"):
        yield row
    for count in scale.bursts:
        before = await _client_limit(bench, scale)
        reached = await _bursts(bench, scale, count, "hook", contestants(bench))
        limit = Rate.median([before, await _client_limit(bench, scale)])
        own = Rate.median([one.rate for one in reached[OURS]])
        yield Row(f"limit: bare HTTP client, {CONNECTIONS} at once", "", str(limit))
        for row in _burst_rows(bench, reached, f"{count:,} due at one instant", {BULLMQ: 3.0, APSCHEDULER: 10.0}):
            yield row
        yield Row(
            f"the {count:,}, of the limit",
            f"≥ 50 %: {0.5 * limit.per_second:,.0f}/s",
            f"{own.per_second / limit.per_second:.0%} by the clock, {limit.cpu / own.cpu:.0%} by CPU",
            own.per_second >= 0.5 * limit.per_second,
        )


async def slow(bench: Bench, scale: Scale) -> AsyncIterator[Row]:
    """The same to a hook that takes 50 ms, with 200 connections."""
    yield await _slow_limit(bench)
    async for row in _tune(bench, scale, "slow"):
        yield row
    for count in scale.bursts:
        found = contestants(bench, "slow", MAX_CONCURRENCY_PER_HOST=str(SLOW_CONNECTIONS))
        reached = await _bursts(bench, scale, count, "slow", found)
        what = f"{count:,} due at one instant, to a hook that takes {SLOW_SECONDS * 1000:.0f} ms"
        for row in _burst_rows(bench, reached, what, {BULLMQ: 1.3}):
            yield row


async def _bursts(
    bench: Bench, scale: Scale, count: int, path: str, found: Sequence[Contestant]
) -> dict[str, list[Delivered]]:
    reached: dict[str, list[Delivered]] = {}
    for each in in_turns(found, scale.turns):
        if each.once and path == "slow" and (scale.quick or count > min(scale.bursts)):
            continue
        async with each.run() as running:
            await warm(bench, running, each.accepts, path)
            came = await Delivered.measure(bench, running, count, each.accepts, path)
        reached.setdefault(each.name, []).append(came)
    return reached


def _burst_rows(
    bench: Bench, reached: Mapping[str, list[Delivered]], what: str, asked: Mapping[str, float]
) -> Iterable[Row]:
    rates = {name: statistics.median(one.rate.per_second for one in all_) for name, all_ in reached.items()}
    said, met = ratios(rates, "{:,.0f}/s", asked)
    own = reached[OURS]
    cpu = own[-1].cpu
    yield Row(
        f"deliver {what}",
        ", ".join(f"≥ {least:g} × {name}" for name, least in asked.items()),
        f"{Rate.median([one.rate for one in own])}{said}; {cpu.others}; {cpu.beside}",
        met,
    )
    worst = max(own, key=lambda one: one.late.missing + one.late.doubles + one.late.early).late
    yield Row("of these", "none missing, double or early", worst.counts, all(one.late.exact for one in own))
    firsts = [one.late.first for one in own]
    yield Row(
        "the first of them, of each turn",
        "within 5 ms after the instant",
        ", ".join(f"{first:.1f}" for first in firsts) + " ms",
        all(0 <= first <= 5 for first in firsts),
    )
    for name, all_ in reached.items():
        if name != OURS:
            last = all_[-1]
            yield Row(
                f"{name}: the same",
                "",
                f"{Rate.median([one.rate for one in all_])}; first {last.late.first:.1f} ms; {last.late.counts}; "
                f"{last.cpu.beside}",
            )
    yield from missing(bench, "the same")


async def _tune(bench: Bench, scale: Scale, path: str) -> AsyncIterator[Row]:
    """Find out with how many at once BullMQ's worker is quickest here, and keep that."""
    for peer in bench.peers:
        if peer.name != BULLMQ or peer.missing is not None or scale.quick:
            continue
        tried: dict[int, float] = {}
        for concurrency in CONCURRENCIES:
            if path == "slow" and concurrency < SLOW_CONNECTIONS:
                continue
            peer.concurrency[path] = concurrency
            async with peer.run(bench, SLOW_CONNECTIONS if path == "slow" else concurrency, path) as running:
                await warm(bench, running, peer.accepts_per_second, path)
                came = await Delivered.measure(
                    bench, running, scale.calibration, peer.accepts_per_second, path, doubles=0
                )
            tried[concurrency] = came.rate.per_second
        peer.concurrency[path] = max(tried, key=tried.__getitem__)
        yield Row(
            f"BullMQ's concurrency: {peer.concurrency[path]}",
            "",
            "; ".join(f"{number} at once: {rate:,.0f}/s" for number, rate in tried.items()),
        )


async def _client_limit(bench: Bench, scale: Scale) -> Rate:
    arguments = (str(bench.receiver_port), str(scale.client_posts), str(CONNECTIONS))
    async with python(bench.folder, "bench.limits", "client", *arguments, pinned=True) as (_, line):
        pass
    await bench.take()
    return Rate(*map(float, line.split()))


def _hooks(path: str, count: int) -> Iterable[bytes]:
    head = b"POST /%s HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Scheduler-Message-Id: r-%07d\r\nContent-Length: 100\r\n\r\n"
    return (head % (path.encode(), number) + b"x" * 100 for number in range(count))


async def _harness_limit(bench: Bench, scale: Scale) -> Row:
    """What the load generator and the receiver can do themselves: they must not be what is measured."""
    count = scale.client_posts * 4
    received, sent = await bench.receiver_cpu(), time.process_time()
    pin(MEASURED)  # the other core is the receiver's own meanwhile
    try:
        load = await flood(bench.receiver_port, iter(_hooks("hook", count)))
    finally:
        pin(BESIDE)
    received, sent = await bench.receiver_cpu() - received, time.process_time() - sent
    await bench.take()
    return Row(
        "limits: the receiver, and the load generator",
        "",
        f"{load.per_second:,.0f}/s seen; the receiver's CPU allows {count / received:,.0f}/s, "
        f"the generator's {count / sent:,.0f}/s",
    )


async def _slow_limit(bench: Bench) -> Row:
    """What that many connections allow, going by the load generator, which has nothing else to do."""
    load = await flood(bench.receiver_port, iter(_hooks("slow", 8_000)), connections=SLOW_CONNECTIONS)
    await bench.take()
    return Row(
        f"limit: {SLOW_CONNECTIONS} connections to a hook that takes {SLOW_SECONDS * 1000:.0f} ms",
        "",
        f"{load.per_second:,.0f}/s seen; {SLOW_CONNECTIONS / SLOW_SECONDS:,.0f}/s by arithmetic",
    )


# -- on time


async def lateness(bench: Bench, scale: Scale) -> AsyncIterator[Row]:
    """Lateness of messages scheduled ahead, at an even pace."""
    for per_second in (200, 1000, 3000):
        reached: dict[str, Lateness] = {}
        said = ""
        for each in contestants(bench):
            if each.name != OURS and scale.quick and per_second != 1000:
                continue
            if each.once and per_second > 200:
                continue  # it would need most of a minute for scheduling them
            async with each.run() as running:
                await warm(bench, running, each.accepts)
                due = await ahead(bench, running, per_second, scale.lateness_seconds, lead=2.5, accepts=each.accepts)
                before = await Cpu.used(bench, running)
                reached[each.name] = await collect(bench, due)
                cpu = (await Cpu.used(bench, running)).since(before)
            said = said or f"{cpu.others}; {cpu.beside}"
        late = reached[OURS]
        yield Row(
            f"lateness at {per_second:,}/s",
            "p50 < 0.5 ms, p99 < 2 ms, none early",
            f"{late}; {said}",
            late.exact and late.p50 < 0.5 and late.p99 < 2,
        )
        for row in _lateness_of_peers(bench, reached):
            yield row


async def mixed(bench: Bench, scale: Scale) -> AsyncIterator[Row]:
    """Lateness while as many are accepted as fall due: each two seconds after it was posted."""
    for per_second in (1000,) if scale.quick else (200, 1000):
        reached: dict[str, Lateness] = {}
        said = ""
        for each in contestants(bench):
            if each.once or (each.name != OURS and per_second == 200):
                continue
            due: dict[str, int] = {}

            def post(number: int, due: dict[str, int] = due) -> bytes:
                message_id = f"m-{number:07d}"
                due[message_id] = now_ms() + 2000
                return request("POST", "/messages", message(message_id, due[message_id], number, bench.receiver_port))

            async with each.run() as running:
                await warm(bench, running, each.accepts)
                before = await Cpu.used(bench, running)
                load = await pace(running.port, per_second, scale.lateness_seconds + 2, post)
                reached[each.name] = await collect(bench, due)
                cpu = (await Cpu.used(bench, running)).since(before)
            if not said:
                refused = load.failed
                answered = quantile(sorted(load.latencies), 0.99) * 1000
                said = f"{refused} refused, answered p99 {answered:.1f} ms; {cpu.others}; {cpu.beside}"
        late = reached[OURS]
        yield Row(
            f"lateness while accepting {per_second:,}/s",
            "p99 < 5 ms, all accepted",
            f"{late}; {said}",
            late.exact and late.p99 < 5 and not refused,
        )
        for row in _lateness_of_peers(bench, reached):
            yield row


def _lateness_of_peers(bench: Bench, reached: Mapping[str, Lateness]) -> Iterable[Row]:
    own = reached[OURS]
    for name, late in reached.items():
        if name != OURS:
            factors = f"p50 {late.p50 / own.p50:.0f}, p99 {late.p99 / own.p99:.0f} times ours"
            yield Row(f"{name}: the same", "", f"{late}; {factors}")
    yield from missing(bench, "the same")
