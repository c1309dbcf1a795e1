"""The part of the store's suite about punctuality: collected as that in ``stores``."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from redis.asyncio import Redis

from aioscheduler.domain.punctuality import Window, lane
from aioscheduler.domain.target import Destination
from aioscheduler.errors import Sentence, StoreUnavailable
from aioscheduler.store import keys
from aioscheduler.store.base import Claimed, Decision, Latest, Punctuality, Settled, Settlement
from aioscheduler.store.redis import RedisStore
from tests.support.clock import FakeClock
from tests.support.job_stores import JobSuite
from tests.support.jobs import bot_ended, failed, following_ref, given_back, refs, succeeded
from tests.support.messages import message, outcome, release, retry
from tests.support.stores import REJECT

HERE = "http://127.0.0.1:9"
MINUTE, HOUR, DAY = Window
_NUMBERS = count()


async def punctuality(store: RedisStore, windows: Sequence[Window]) -> Mapping[Window, Punctuality]:
    """Read it, with all that waits to be counted."""
    await store.drain()
    return await store.punctuality(windows)


async def latest(store: RedisStore, window: Window) -> Latest:
    """Read them likewise."""
    await store.drain()
    return await store.latest(window)


def settled(claimed: Claimed, late_ms: float, **members: Any) -> Settlement:
    """Return the end of an attempt that left so late."""
    came = outcome(now=claimed.due_at + timedelta(milliseconds=late_ms))
    return Settlement(claimed=claimed, decision=Decision.DONE, outcome=came, **members)


class Punctualities(JobSuite):
    """First attempts, each once, by when they ended; destinations by the worst of theirs."""

    async def deliver(self, store: RedisStore, clock: FakeClock, *late: tuple[str, float]) -> None:
        """Deliver to so many hosts, so many ms late, in one batch."""
        new = [
            message(f"p{next(_NUMBERS)}", url=f"http://{host}:9/x", now=clock.now().replace(microsecond=0))
            for host, _ in late
        ]
        await asyncio.gather(*(store.schedule(each, REJECT, each.due_at) for each in new))
        claimed = {each.message.id: each for each in await store.claim([each.id for each in new], clock.now())}
        ends = [settled(claimed[each.id], late_ms) for each, (_, late_ms) in zip(new, late, strict=True)]
        assert set(await asyncio.gather(*map(store.settle, ends))) == {Settled.APPLIED}
        await store.drain()

    async def counted(self, store: RedisStore, window: Window = MINUTE) -> tuple[int, int]:
        """Return how many messages and executions there were."""
        found = (await punctuality(store, [window]))[window]
        return found.messages.figures().deliveries, found.executions.figures().deliveries

    async def latest(self, store: RedisStore, window: Window = MINUTE) -> dict[str, tuple[int, float | None]]:
        """Return how many deliveries the latest hosts had, and the worst of them."""
        found = (await latest(store, window)).destinations
        figures = {place: lateness.figures() for place, lateness in found.items()}
        return {place[7:-2]: (its.deliveries, its.worst_ms) for place, its in figures.items()}

    async def test_messages_and_executions_count_together_and_apart_in_all_windows(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        await self.deliver(store, clock, ("a", 3.25), ("b", 40.0), ("a", 7000.125))
        of, _ = await self.create(store, webhooks=2)
        for ref in refs(await self.start(store, clock, of.id)):
            clock.move(0.5)
            await self.settle(store, succeeded(await self.take(store, clock, ref)))
        found = await punctuality(store, list(Window))
        for window in Window:
            messages, executions = found[window].messages, found[window].executions
            assert (messages.figures().deliveries, messages.figures().worst_ms) == (3, 7000.125)
            assert (executions.figures().deliveries, executions.figures().worst_ms) == (2, 1000.0)
            assert messages.counts[lane(40_000)] == 1
            both = (messages + executions).figures()
            assert (both.deliveries, both.worst_ms) == (5, 7000.125)
            assert abs((both.p50_ms or 0) - 500) < 25
            hosts = await self.latest(store, window)
            assert {host: hosts[host] for host in "ab"} == {"a": (2, 7000.125), "b": (1, 40.0)}
            assert sum(n for n, _ in hosts.values()) == 5

    async def test_a_retry_is_late_on_purpose_and_does_not_count(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "m")
        assert await store.settle(retry(await self.lease(store, clock))) is Settled.APPLIED
        clock.move(15)
        assert await store.settle(settled(await self.lease(store, clock), 5000)) is Settled.APPLIED
        of, _ = await self.create(store)
        (ref,) = refs(await self.start(store, clock, of.id))
        following = await self.settle(store, failed(await self.take(store, clock, ref), after=5))
        clock.move(8)
        await self.settle(store, succeeded(await self.take(store, clock, following_ref(following))))
        assert await self.counted(store, HOUR) == (1, 1)
        assert (await punctuality(store, [HOUR]))[HOUR].messages.worst_us == 0

    async def test_what_was_put_off_or_given_back_counts_as_late(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "m", "n")
        of, _ = await self.create(store)
        run = await self.start(store, clock, of.id)
        await store.defer([message("m").id], clock.now() + timedelta(seconds=3), clock.now())
        await store.defer_executions(refs(run), clock.now() + timedelta(seconds=3), clock.now())
        begun = await self.lease(store, clock, "n")
        await store.settle(release(begun, begun=True))
        clock.move(3)
        for name in ("m", "n"):
            claimed = await self.lease(store, clock, name)
            await store.settle(settled(claimed, (clock.now() - claimed.due_at).total_seconds() * 1000))
        await self.settle(store, succeeded(await self.take(store, clock, refs(run)[0])))
        found = (await punctuality(store, [MINUTE]))[MINUTE]
        for kind, deliveries in ((found.messages, 2), (found.executions, 1)):
            assert kind.figures().deliveries == kind.counts[lane(3_000_000)] == deliveries
            assert kind.worst_us == 3_000_000

    async def test_what_was_not_attempted_does_not_count(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "n")
        await store.settle(release(await self.lease(store, clock, "n")))
        of, _ = await self.create(store)
        (ref,) = refs(await self.start(store, clock, of.id))
        await self.settle(store, given_back(await self.take(store, clock, ref)))
        bot = await self.create_bot(store)
        (run,) = refs(await self.start(store, clock, bot.id))
        await self.settle(store, bot_ended(await self.take(store, clock, run)))
        assert await self.counted(store) == (0, 0)

    async def test_an_attempt_whose_lease_was_lost_or_whose_settle_got_no_answer_counts_once(
        self, store: RedisStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await self.put(store, "deleted", "unanswered")
        lost = await self.lease(store, clock, "deleted")
        assert await store.cancel([lost.message.id]) == [True]
        assert await store.settle(settled(lost, 5)) is Settled.LOST
        end = settled(await self.lease(store, clock, "unanswered"), 5)
        run = store._run

        async def unanswered(name: str, *given: Any) -> Any:
            await run(name, *given)
            raise StoreUnavailable(Sentence("The store cannot be reached. Try again in a moment."))

        with monkeypatch.context() as patched:
            patched.setattr(store, "_run", unanswered)
            with pytest.raises(StoreUnavailable):
                await store.settle(end)
        end.repeated = True
        assert await store.settle(end) is Settled.LOST
        assert await self.counted(store) == (2, 0)

    async def test_counts_wait_for_a_settle_to_take_them_and_are_written_where_none_comes(
        self, store: RedisStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def known() -> int:
            return (await store.punctuality([MINUTE]))[MINUTE].messages.figures().deliveries

        await self.put(store, "a", "b", "c")
        ends = [settled(each, 5) for each in await store.claim([message(name).id for name in "abc"], clock.now())]
        monkeypatch.setattr("aioscheduler.store.punctuality._PAUSE", 3600)
        await store.settle(ends[0])
        assert await known() == 0
        await store.drain()
        assert await known() == 1
        monkeypatch.setattr("aioscheduler.store.punctuality._PAUSE", 0)
        written = asyncio.Event()
        run = store._run

        async def seen(name: str, keys_: list[bytes], args: list[Any]) -> Any:
            answer = await run(name, keys_, args)
            if name == "settle" and args[1]:
                written.set()
            return answer

        monkeypatch.setattr(store, "_run", seen)
        await store.settle(ends[1])
        await written.wait()
        assert await known() == 2
        monkeypatch.setattr("aioscheduler.store.punctuality._PAUSE", 3600)
        monkeypatch.setattr("aioscheduler.store.punctuality._MANY", 1)
        await store.settle(ends[2])
        assert await known() == 2
        await self.put(store, "d")
        await store.settle(retry(await self.lease(store, clock, "d")))
        assert await known() == 3

    async def test_counts_that_cannot_be_written_are_lost_and_nothing_else_is(
        self, store: RedisStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await self.put(store, "a", "b")
        first, second = [settled(each, 5) for each in await store.claim([message(n).id for n in "ab"], clock.now())]
        await store.settle(first)

        async def away(*_: Any) -> Any:
            raise StoreUnavailable(Sentence("The store cannot be reached. Try again in a moment."))

        with monkeypatch.context() as patched:
            patched.setattr(store, "_run", away)
            await store.drain()
        await store.settle(second)
        assert await self.counted(store) == (1, 0)

    async def test_any_number_of_lanes_and_destinations_are_counted_at_once(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        for number in range(4000):
            store._late.note(round(16 * 1.1 ** (number // 40)), Destination(f"http://h{number % 40}:9"))
        assert await self.counted(store) == (4000, 0)
        assert len((await latest(store, MINUTE)).destinations) == keys.MOST_DESTINATIONS

    async def test_an_early_attempt_is_no_late_one(self, store: RedisStore, clock: FakeClock) -> None:
        await self.deliver(store, clock, ("a", -2.5))
        found = (await punctuality(store, [MINUTE]))[MINUTE].messages.figures()
        assert (found.deliveries, found.p50_ms, found.worst_ms) == (1, 0, 0)

    async def test_a_window_has_the_minute_that_goes_on_and_those_before_it(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        ended: dict[int, int] = {}
        worst: dict[int, float] = {}
        begin = int(clock.now().timestamp()) // 60
        # From 2:41 on, so that hours are cut at both ends, and two days of it.
        for after in (0, 1, 17, 18, 19, 77, 78, 79, 80, 1400, 1439, 1440, 1441, 1457, 1458, 1460, 1500, 2880):
            minute = begin + after
            clock.move((minute + 0.5) * 60 - clock.now().timestamp())
            ended[minute] = len(ended) + 1
            worst[minute] = float(7 * len(ended) % 13 + 1)
            await self.deliver(store, clock, *[("a", worst[minute])] * len(ended))
            found = await punctuality(store, list(Window))
            for window, its in found.items():
                within = [at for at in ended if minute - window.minutes <= at]
                assert its.since.timestamp() == (minute - window.minutes) * 60
                figures = its.messages.figures()
                assert figures.deliveries == sum(ended[at] for at in within)
                assert figures.worst_ms == max(worst[at] for at in within)
            full_hour = (minute - 1440) // 60 * 60
            assert (await latest(store, DAY)).since.timestamp() == full_hour * 60
            for window, first in ((MINUTE, minute - 1), (HOUR, minute - 60), (DAY, full_hour)):
                within = [at for at in ended if first <= at]
                expected = sum(ended[at] for at in within), max(worst[at] for at in within)
                assert await self.latest(store, window) == {"a": expected}

    async def test_of_more_destinations_than_fit_the_latest_are_known_and_none_has_what_another_had(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        draw = random.Random(5)
        worst: defaultdict[str, float] = defaultdict(float)
        counts: defaultdict[str, int] = defaultdict(int)
        lanes: defaultdict[str, set[int]] = defaultdict(set)
        for size in (1, 20, 20, 1, 50, 70, 3, 90, 200):
            batch = [(f"h{draw.randrange(100)}", round(10 ** draw.uniform(0, 4), 3)) for _ in range(size)]
            await self.deliver(store, clock, *batch)
            for host, late_ms in batch:
                worst[host] = max(worst[host], late_ms)
                counts[host] += 1
                lanes[host].add(lane(round(late_ms * 1000)))
            expected = sorted(worst.values(), reverse=True)[: keys.MOST_DESTINATIONS]
            for window in Window:
                found = (await latest(store, window)).destinations
                assert sorted((its.worst_us / 1000 for its in found.values()), reverse=True) == expected
                for place, its in found.items():
                    host = place[7:-2]
                    assert its.worst_us == round(worst[host] * 1000)
                    assert 1 <= its.figures().deliveries <= counts[host]
                    assert {number for number, n in enumerate(its.counts) if n} <= lanes[host]
                    if len(counts) <= keys.MOST_DESTINATIONS:
                        assert its.figures().deliveries == counts[host]

    async def test_destinations_that_are_thousands_of_years_late_are_told_apart(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        year = 366 * 86_400_000.0
        await self.deliver(store, clock, ("a", 1000 * year), ("b", 2000 * year), ("b", 2000 * year), ("c", 1.0))
        found = (await latest(store, MINUTE)).destinations
        assert {place[7:-2]: its.figures().deliveries for place, its in found.items()} == {"a": 1, "b": 2, "c": 1}

    async def test_one_that_makes_room_in_the_batch_it_is_in_leaves_nothing_behind(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        await self.deliver(store, clock, *((f"h{n}", 10.0 + n) for n in range(keys.MOST_DESTINATIONS)))
        await self.deliver(store, clock, ("h0", 1.0), ("new", 500.0), ("h1", 700.0), ("small", 2.0))
        found = await self.latest(store)
        assert len(found) == keys.MOST_DESTINATIONS
        assert found.keys() & {"h0", "small"} == set()
        assert (found["new"], found["h1"], found["h2"]) == ((1, 500.0), (2, 700.0), (1, 12.0))

    async def test_all_of_it_expires(self, store: RedisStore, redis: Redis, clock: FakeClock) -> None:
        of, _ = await self.create(store)
        await self.finish(store, clock, await self.start(store, clock, of.id))
        await self.deliver(store, clock, ("a", 1.0), ("b", 0.0))
        client: Any = redis
        left = {key: await client.ttl(key) for key in await client.keys(keys.LATENESS + b"*")}
        now = int(clock.now().timestamp())
        assert left.keys() == set(_all_keys(now))
        for key, seconds in left.items():
            # For as long as any window has it, the minute's destinations for the hour's.
            least = (25 if b"hour" in key else 24) * 3600 if b":r" not in key or b"hour" in key else 3600
            assert least + 60 <= seconds <= least + 3 * 3600, key

    async def test_any_destination_is_told_as_it_is(self, store: RedisStore, clock: FakeClock) -> None:
        await self.deliver(store, clock, ("xn--nxasmq6b", 1.0), ("[::1]", 2.0))
        found = (await latest(store, MINUTE)).destinations
        assert found.keys() == {Destination("http://xn--nxasmq6b:9"), Destination("http://[::1]:9")}


def _all_keys(now: int) -> Iterable[bytes]:
    for unit, number in (("minute", now // 60), ("hour", now // 3600)):
        yield from (keys.lateness(kind, unit, number) for kind in "mj")
        yield from (keys.lateness_ranks(unit, number), keys.lateness_rows(unit, number))
