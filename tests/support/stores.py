"""One suite for every store: collected on an imitation in ``tests/unit``, on a real server in ``tests/integration``.

A module that imports these classes under names beginning with ``Test`` brings the fixture ``redis``: a client of an
empty database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from aioscheduler.clock import Clock, to_ms
from aioscheduler.domain.execution import DeadReason, OutcomeKind
from aioscheduler.domain.message import ConflictPolicy, MessageId, MessageStatus, Tag, new_version
from aioscheduler.errors import InvalidInput, Sentence
from aioscheduler.store import keys
from aioscheduler.store.base import (
    DECIDED_SECONDS,
    HOLD_SECONDS,
    Audit,
    Claimed,
    Decision,
    Scheduled,
    Settled,
    Settlement,
)
from aioscheduler.store.codec import encode
from aioscheduler.store.leases import LEASE
from aioscheduler.store.recovery import _KINDS, CONFIRM_SECONDS, RECONCILE_SECONDS
from aioscheduler.store.redis import RedisStore
from tests.support.clock import START, FakeClock
from tests.support.messages import bury, done, message, outcome, outside_record, release, retry

REJECT, REPLACE = ConflictPolicy.REJECT, ConflictPolicy.REPLACE
#: Ids that a pattern, a key name, a path or a separator of ours would trip over.
ODD_IDS = [
    "*", "a*b", "[a-z]", "?", "with spaces", " ", "😀 émoji", "{tag}", "}{", "a/b/c", "\\", '"quoted"', "a:b:c", "%00",
    "x" * 512, "ünï", "a,b=1,", "-", "+inf", "(a", "[a", "0", "message:a", "'; DROP", "\U0010ffff",
]  # fmt: skip
_FIRST_PAGE = 1000
DESTINATION = message().target.destination
MESSAGES, _ = _KINDS


def ids(*texts: str) -> list[MessageId]:
    return [MessageId(text) for text in texts]


class StoreSuite:
    """Fixtures and steps that the parts of the suite share."""

    @pytest.fixture(autouse=True)
    def versions_begin_anew(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # They tell the time of creation, and rise in a process: a test on the real clock would age all that follow.
        monkeypatch.setattr("aioscheduler.domain.message._last_version", 0)

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, redis: Redis, clock: FakeClock) -> RedisStore:
        return make_store(redis, clock)

    @pytest.fixture(autouse=True)
    async def the_account_balances(self, store: RedisStore) -> AsyncIterator[None]:
        """See after each test that all that was planned is accounted for, and that the minutes add up to the whole."""
        yield
        await balanced(store)

    async def put(self, store: RedisStore, *texts: str, due_in: float = 0) -> None:
        for text in texts:
            new = message(text, due_in=due_in)
            assert await store.schedule(new, REJECT, new.due_at) is Scheduled.CREATED

    async def lease(self, store: RedisStore, clock: FakeClock, text: str = "m") -> Claimed:
        (claimed,) = await store.claim(ids(text), clock.now())
        return claimed

    async def kill(self, store: RedisStore, text: str = "m") -> None:
        """Make a message a dead letter."""
        (claimed,) = await store.claim(ids(text), START)
        assert await store.settle(bury(claimed)) is Settled.APPLIED


async def balanced(store: RedisStore) -> Audit:
    """Return the account, when it balances."""
    whole = await store.audit()
    assert whole.messages.difference == 0, whole
    assert whole.executions.difference == 0, whole
    assert await store.audit(since=datetime(1, 1, 1, tzinfo=UTC)) == whole, "the minutes do not add up to the whole"
    return whole


def make_store(redis: Redis, clock: Clock, replica: str = "one", **options: Any) -> RedisStore:
    return RedisStore(redis, clock, zone=UTC, replica=replica, **options)


class Messages(StoreSuite):
    """Scheduling, replacing, cancelling, reading one."""

    async def test_a_scheduled_message_reads_back_as_it_was_given(self, store: RedisStore) -> None:
        given: dict[str, Any] = {
            "method": "PUT",
            "headers": {"X-One": "1", "Accept": "text/plain"},
            "timeoutSeconds": 7.5,
            "retry": {"maxAttempts": 3, "backoffType": "linear", "unknown": [1]},
            "misfireGraceSeconds": 90,
        }
        sent = message("a", due_in=60, **given)
        assert await store.schedule(sent, REJECT, sent.due_at) is Scheduled.CREATED
        live = await store.get(MessageId("a"))
        assert live is not None
        assert live.message == replace(sent, created_at=live.message.created_at)
        assert abs(live.message.created_at - sent.created_at) < timedelta(seconds=1)
        assert (live.next_run_at, live.status, live.attempts, live.last_error) == (
            sent.due_at,
            MessageStatus.SCHEDULED,
            0,
            None,
        )

    async def test_an_id_that_lives_is_rejected_and_left_as_it_is(self, store: RedisStore) -> None:
        await self.put(store, "a", due_in=60)
        other = message("a", due_in=5, payload=b"2")
        assert await store.schedule(other, REJECT, other.due_at) is Scheduled.EXISTS
        live = await store.get(MessageId("a"))
        assert live is not None
        assert live.message.payload == b'{"n":1}'
        assert live.next_run_at == START + timedelta(seconds=60)

    async def test_a_create_sent_again_because_its_answer_was_lost_is_a_create(self, store: RedisStore) -> None:
        new = message("a")
        assert await store.schedule(new, REJECT, new.due_at) is Scheduled.CREATED
        assert await store.schedule(new, REJECT, new.due_at) is Scheduled.CREATED
        assert (await store.counters())["scheduled"] == 1

    async def test_a_replaced_message_is_the_new_one_only(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "a")
        claimed = await self.lease(store, clock, "a")
        assert await store.settle(retry(claimed, error="refused")) is Settled.APPLIED
        new = message("a", due_in=30, payload=b"[2]")
        assert await store.schedule(new, REPLACE, new.due_at) is Scheduled.REPLACED
        live = await store.get(MessageId("a"))
        assert live is not None
        assert (live.message.payload, live.message.version) == (b"[2]", new.version)
        assert (live.attempts, live.last_error, live.status) == (0, None, MessageStatus.SCHEDULED)
        assert (await store.counts()).messages == 1

    async def test_to_replace_what_is_not_there_is_to_create_it(self, store: RedisStore) -> None:
        new = message("a")
        assert await store.schedule(new, REPLACE, new.due_at) is Scheduled.CREATED

    async def test_a_message_is_replaced_as_it_was_seen_and_not_otherwise(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        async def replaced(*seen: Tag) -> bool:
            new = message(due_in=120)
            result = await store.replace_seen(new, seen, new.due_at)
            live = await store.get(new.id)
            assert (result is Scheduled.REPLACED) == (live is not None and live.message.version == new.version)
            assert result in (Scheduled.REPLACED, Scheduled.NOT_AS_SEEN)
            return result is Scheduled.REPLACED

        async def seen() -> Tag:
            live = await store.get(message().id)
            assert live is not None
            return live.tag

        assert not await replaced(Tag("*"))
        await self.put(store, "m")
        first = await seen()
        assert not await replaced()
        assert await replaced(Tag("0Ge3kL-9_x.7"), first)
        assert not await replaced(first)
        assert await replaced(Tag("*"))

        clock.move(120)
        waiting = await seen()
        claimed = await self.lease(store, clock)
        assert not await replaced(waiting), "it is on its way"
        leased = await seen()
        assert await store.settle(retry(claimed, after=60)) is Settled.APPLIED
        assert not await replaced(waiting), "an attempt was made"
        assert await seen() == leased, "one attempt, as it said"
        assert await replaced(leased)

        last = await seen()
        assert last != leased
        await store.cancel(ids("m"))
        assert not await replaced(last)
        assert await store.get(message().id) is None

    async def test_who_replaces_what_he_saw_in_flight_takes_its_lease_away(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        claimed = await self.lease(store, clock)
        live = await store.get(claimed.message.id)
        assert live is not None
        new = message(due_in=60)
        assert await store.replace_seen(new, [live.tag], new.due_at) is Scheduled.REPLACED
        assert await store.settle(done(claimed)) is Settled.LOST

    async def test_a_replacement_sent_again_because_its_answer_was_lost_is_one(self, store: RedisStore) -> None:
        await self.put(store, "m")
        live = await store.get(message().id)
        assert live is not None
        new = message(due_in=60)
        for _ in range(2):
            assert await store.replace_seen(new, [live.tag, Tag("*")], new.due_at) is Scheduled.REPLACED
        assert (await store.counters())["replaced"] == 1

    async def test_what_an_outsider_wrote_is_replaced_as_it_was_seen_once_it_is_adopted(
        self, store: RedisStore, redis: Redis
    ) -> None:
        await redis.set(keys.record(MessageId("m")), outside_record(60))
        new = message(due_in=60)
        assert await store.replace_seen(new, [Tag("*")], new.due_at) is Scheduled.NOT_AS_SEEN
        await store.examine(ids("m"))
        live = await store.get(new.id)
        assert live is not None
        assert await store.replace_seen(new, [live.tag], new.due_at) is Scheduled.REPLACED

    async def test_what_is_no_string_is_not_replaced_as_seen(self, store: RedisStore, redis: Redis) -> None:
        await redis.hset(keys.record(MessageId("m")), "a", "b")
        new = message()
        assert await store.replace_seen(new, [Tag("*")], new.due_at) is Scheduled.NOT_AS_SEEN

    async def test_a_key_of_another_type_is_not_overwritten_and_not_deleted(
        self, store: RedisStore, redis: Redis
    ) -> None:
        await redis.lpush("message:a", "theirs")
        new = message("a")
        assert await store.schedule(new, REPLACE, new.due_at) is Scheduled.FOREIGN_KEY
        assert await store.cancel(ids("a")) == [False]
        assert await redis.lrange("message:a", 0, -1) == [b"theirs"]
        assert (await store.counts()).messages == 0

    async def test_of_many_with_one_id_at_once_one_is_created(self, store: RedisStore) -> None:
        new = [message("a") for _ in range(20)]
        codes = await asyncio.gather(*(store.schedule(each, REJECT, each.due_at) for each in new))
        assert sorted(code.value for code in codes) == ["created"] + ["exists"] * 19
        live = await store.get(MessageId("a"))
        assert live is not None
        assert live.message.version == new[codes.index(Scheduled.CREATED)].version

    async def test_the_listener_hears_of_what_was_written_and_of_nothing_else(self, store: RedisStore) -> None:
        heard: list[tuple[str, int, str]] = []
        store.on_scheduled = lambda *told: heard.append(told)
        await self.put(store, "a", due_in=1)
        again = message("a")
        await store.schedule(again, REJECT, again.due_at)
        assert heard == [("a", to_ms(START) + 1000, "http://127.0.0.1:9")]

    @pytest.mark.parametrize("text", ODD_IDS, ids=ascii)
    async def test_any_character_of_an_id_is_literal(self, store: RedisStore, clock: FakeClock, text: str) -> None:
        await self.put(store, text, "neighbour", text[:-1] + "~~")
        assert [live.id for live in (await store.search(text, "", 10, None)).items] == [text]
        assert [live.id for live in (await store.search("", text, 10, None)).items] == [text]
        claimed = await self.lease(store, clock, text)
        assert claimed.message.id == text
        await store.settle(bury(claimed))
        assert [letter.id for letter in (await store.dead_letters(10, None, text)).items] == [text]
        assert [line.message_id for line in (await store.deliveries(10, None, text)).items] == [text]
        assert await store.discard(MessageId(text))
        assert (await store.dead_letters(10, None)).items == []
        await self.put(store, text)
        assert await store.cancel_matching(text, "") == [text]
        assert (await store.counts()).messages == 2

    async def test_cancel_says_for_each_id_whether_it_was_there(self, store: RedisStore, redis: Redis) -> None:
        await self.put(store, "a", "c")
        assert await store.cancel(ids("a", "b", "c", "a")) == [True, False, True, False]
        assert await store.get(MessageId("a")) is None
        for key in (keys.DUE, keys.INDEX, keys.LEASED, keys.STATE, keys.record("a")):
            assert not await redis.exists(key)

    async def test_more_than_one_call_can_carry_are_cancelled_together(self, store: RedisStore) -> None:
        many = [message(f"m{i}", due_in=5) for i in range(1100)]
        await asyncio.gather(*(store.schedule(each, REJECT, each.due_at) for each in many))
        assert await store.cancel([each.id for each in many]) == [True] * 1100
        assert (await store.counts()).messages == 0

    async def test_cancelled_while_leased_is_gone_and_the_late_settle_changes_nothing(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        claimed = await self.lease(store, clock)
        assert await store.cancel(ids("m")) == [True]
        for settlement in (retry(claimed), release(claimed), bury(claimed), done(claimed)):
            assert await store.settle(settlement) is Settled.LOST
        assert await store.get(MessageId("m")) is None
        assert await store.dead_letter(MessageId("m")) is None
        assert await store.claim(ids("m"), clock.now() + timedelta(hours=1)) == []

    async def test_replaced_while_leased_the_late_settle_changes_nothing_of_the_new(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        old = await self.lease(store, clock)
        new = message("m", due_in=3, payload=b'"new"')
        assert await store.schedule(new, REPLACE, new.due_at) is Scheduled.REPLACED
        for settlement in (retry(old), release(old), bury(old), done(old)):
            assert await store.settle(settlement) is Settled.LOST
        live = await store.get(MessageId("m"))
        assert live is not None
        assert (live.message.version, live.next_run_at, live.attempts) == (new.version, new.due_at, 0)

    async def test_run_now_makes_a_waiting_message_due_and_knows_one_that_is_not_there(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        heard: list[tuple[str, int]] = []
        await self.put(store, "m", due_in=3600)
        store.on_scheduled = lambda id_, due_ms, _: heard.append((id_, due_ms))
        assert await store.run_now(MessageId("m"), clock.now())
        assert heard == [("m", clock.now_ms())]
        claimed = await self.lease(store, clock)
        assert claimed.due_at == clock.now()
        assert await store.run_now(MessageId("m"), clock.now()), "it is being delivered"
        assert await store.claim(ids("m"), clock.now()) == []
        assert not await store.run_now(MessageId("n"), clock.now())

    async def test_run_now_does_not_make_an_overdue_message_younger(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "m")
        clock.move(30)
        assert await store.run_now(MessageId("m"), clock.now())
        assert (await self.lease(store, clock)).due_at == START

    @pytest.mark.parametrize(
        "payload",
        [
            b"123456789012345678901234567890",
            b"[ 1,\t2 ,\n 3 ]",
            b'"\\u00e9\\ud83d\\ude00 \\/ \\""',
            b"1.10e+300",
            b"-0.0",
            b"null",
            b"[]",
            b"{}",
            '{"emoji":"😀","\u2028":"é"}'.encode(),
            b'{"payload":{"payload":[{"_aio":1}]},"a":1,"a":2}',
            b'","payload":"'.join((b'"', b'"')).replace(b'","payload":"', b',\\"payload\\":'),
            b"[" * 300 + b"]" * 300,
            b'"' + b"x" * 100_000 + b'"',
        ],
        ids=lambda payload: repr(payload[:20]),
    )
    async def test_a_payload_keeps_its_very_bytes(self, store: RedisStore, clock: FakeClock, payload: bytes) -> None:
        for text in ("plain", "more"):
            sent = message(text, payload=payload) if text == "plain" else message(text, payload=payload, method="PUT")
            await store.schedule(sent, REJECT, sent.due_at)
            claimed = await self.lease(store, clock, text)
            assert claimed.message.payload == payload
            await store.settle(bury(claimed))
            letter = await store.dead_letter(MessageId(text))
            assert letter is not None
            assert letter.message is not None
            assert letter.message.payload == payload

    async def test_counts_include_what_is_being_delivered(self, store: RedisStore, clock: FakeClock) -> None:
        assert await store.counts() == replace(await store.counts(), messages=0, leased=0, dead=0, oldest_due_at=None)
        await self.put(store, "m", "n")
        await self.put(store, "later", due_in=9)
        await self.lease(store, clock, "m")
        await self.kill(store, "n")
        counts = await store.counts()
        assert (counts.messages, counts.leased, counts.dead) == (2, 1, 1)
        assert counts.oldest_due_at == START + timedelta(seconds=9)

    async def test_the_counters_tell_what_happened(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "a", "b", "c", "d")
        new = message("a")
        await store.schedule(new, REPLACE, new.due_at)
        await store.settle(done(await self.lease(store, clock, "a")))
        await self.kill(store, "b")
        await store.cancel(ids("c"))
        claimed = await self.lease(store, clock, "d")
        late = outcome(OutcomeKind.TIMED_OUT, now=clock.now() + timedelta(milliseconds=30), error="late")
        await store.settle(Settlement(claimed=claimed, decision=Decision.RETRY, outcome=late, retry_at=clock.now()))
        assert await store.counters() == {
            "scheduled": 4,
            "replaced": 1,
            "delivered": 1,
            "deleted": 1,
            "dead:retries_exhausted": 1,
            "deliveries:message:success": 1,
            "deliveries:message:dead_letter": 1,
            "deliveries:message:timed_out": 1,
            "lateness_ms:le:1": 2,
            "lateness_ms:le:50": 1,
            "lateness_us:sum": 30_000,
            "duration_ms:le:25": 3,
            "duration_us:sum": 37_500,
        }

    async def test_an_attempt_that_left_before_its_time_is_counted_as_early(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        early = outcome(now=START - timedelta(milliseconds=1))
        await store.settle(Settlement(claimed=await self.lease(store, clock), decision=Decision.DONE, outcome=early))
        assert (await store.counters())["fired_early"] == 1

    async def test_ping_writes_and_reads_and_leaves_nothing_that_lasts(self, store: RedisStore, redis: Redis) -> None:
        await store.ping()
        assert await redis.ttl(keys.probe("one")) > 0


class Lists(StoreSuite):
    """Pages and searches."""

    async def walk(self, turn: Callable[[str | None], Awaitable[Any]]) -> list[str]:
        found: list[str] = []
        cursor: str | None = None
        for _ in range(100):
            page = await turn(cursor)
            found += [live.id for live in page.items]
            cursor = page.next_cursor
            if cursor is None:
                return found
        raise AssertionError("the pages do not end")

    async def test_pages_follow_due_time_then_id_also_among_equal_times(self, store: RedisStore) -> None:
        await self.put(store, "z", "é", "b", "B", "ab", "a", due_in=10)
        await self.put(store, "first", due_in=5)
        await self.put(store, "last", due_in=15)
        expected = ["first", "B", "a", "ab", "b", "z", "é", "last"]
        for size in (1, 2, 3, 7, 8, 9):
            assert await self.walk(partial(store.page, size)) == expected

    async def test_a_page_goes_on_although_the_place_it_ended_at_is_gone(self, store: RedisStore) -> None:
        await self.put(store, "a", "b", "c", "d", due_in=10)
        first = await store.page(2, None)
        await store.cancel(ids("a", "b"))
        rest = await store.page(10, first.next_cursor)
        assert [live.id for live in rest.items] == ["c", "d"]

    async def test_what_is_being_delivered_stands_in_its_place_in_the_pages(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        await self.put(store, "a", "b", "c")
        await self.put(store, "d", due_in=1)
        await self.lease(store, clock, "b")
        for size in (1, 2, 10):
            assert await self.walk(partial(store.page, size)) == ["a", "b", "c", "d"]
        page = await store.page(10, None)
        assert [live.status for live in page.items][:2] == [MessageStatus.SCHEDULED, MessageStatus.DELIVERING]

    async def test_what_waits_for_a_retry_says_so_in_its_line(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "a", "b")
        await store.settle(retry(await self.lease(store, clock, "a"), after=10))
        lines = [(line.id, line.status, line.attempts) for line in (await store.page(10, None)).items]
        assert lines == [("b", MessageStatus.SCHEDULED, 0), ("a", MessageStatus.RETRYING, 1)]

    async def test_a_message_claimed_while_a_page_is_made_stands_there_once(
        self, store: RedisStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await self.put(store, "a", "b")
        run = store._run

        async def claimed_right_after(name: str, key_names: list[bytes], args: list[Any]) -> Any:
            answer = await run(name, key_names, args)
            if name == "page":
                await store.claim(ids("a"), clock.now())
            return answer

        monkeypatch.setattr(store, "_run", claimed_right_after)
        assert [live.id for live in (await store.page(10, None)).items] == ["a", "b"]

    async def test_prefixes_of_each_other_are_told_apart(self, store: RedisStore) -> None:
        await self.put(store, "order", "order-1", "order-10", "order-2", "Order-1", "orde")
        page = await store.search("order-1", "", 10, None)
        assert [live.id for live in page.items] == ["order-1", "order-10"]
        assert await store.search_ids("order", "") == ["order", "order-1", "order-10", "order-2"]
        assert await store.search_ids("", "der-1") == ["Order-1", "order-1", "order-10"]
        assert await store.search_ids("order", "0") == ["order-10"]
        assert await store.search_ids("", "") == ["Order-1", "orde", "order", "order-1", "order-10", "order-2"]
        assert await store.search_ids("x", "") == []

    async def test_searches_are_paged_without_gap_or_repetition(self, store: RedisStore) -> None:
        names = [f"{kind}-{i:02}" for i in range(12) for kind in "ab"]
        await self.put(store, *names)
        expected = sorted(name for name in names if name.startswith("a"))
        for size in (1, 5, 12, 13):
            assert await self.walk(partial(store.search, "a", "", size)) == expected
            assert await self.walk(partial(store.search, "a", "-", size)) == expected
            assert await self.walk(partial(store.search, "", "a-", size)) == expected

    async def test_a_search_for_a_text_looks_beyond_one_stretch_of_the_index(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("aioscheduler.store.lists._SCAN", 3)
        await self.put(store, *(f"{i:02}" for i in range(10)), "needle")
        assert await store.search_ids("", "eed") == ["needle"]
        page = await store.search("", "eed", 5, None)
        assert [live.id for live in page.items] == ["needle"]

    async def test_cancel_matching_deletes_all_that_match_and_nothing_else(
        self, store: RedisStore, redis: Redis
    ) -> None:
        await self.put(store, "a1", "a2", "a*", "b1")
        assert await store.cancel_matching("a*", "") == ["a*"]
        assert await store.cancel_matching("a", "2") == ["a2"]
        assert await store.search_ids("", "") == ["a1", "b1"]
        assert not await redis.exists("message:a2")

    @pytest.mark.parametrize("cursor", ["x", "!!!", "é", "bnVsbA", "W10", "WzEsMl0", "WyJhIiwiYiJd", "W3RydWUsImEiXQ"])
    async def test_a_cursor_that_is_none_of_ours_is_refused(self, store: RedisStore, cursor: str) -> None:
        await self.put(store, "m")
        await self.kill(store)
        with pytest.raises(InvalidInput):
            await store.page(1, cursor)
        for listing in (
            store.search("m", "", 1, cursor),
            store.dead_letters(1, cursor),
            store.dead_letters(1, cursor, "m"),
            store.deliveries(1, cursor, "m"),
            store.deliveries(1, cursor),
        ):
            with pytest.raises(InvalidInput):
                await listing

    async def test_a_cursor_of_another_list_is_refused(self, store: RedisStore) -> None:
        for name in ("a1", "a2", "b1", "b2"):
            await self.put(store, name)
            await self.kill(store, name)
        by_time, by_prefix = await store.dead_letters(1, None), await store.dead_letters(1, None, "a")
        await self.put(store, "a1", "a2", "b1", "b2")
        searched = await store.search("a", "", 1, None)
        assert None not in (by_time.next_cursor, by_prefix.next_cursor, searched.next_cursor)
        for listing in (
            store.search("b", "", 1, searched.next_cursor),
            store.dead_letters(1, by_time.next_cursor, "b"),
            store.dead_letters(1, by_prefix.next_cursor, "b"),
            store.dead_letters(1, by_prefix.next_cursor),
            store.dead_letters(1, by_time.next_cursor, reason=DeadReason.GONE),
        ):
            with pytest.raises(InvalidInput):
                await listing

    async def test_the_window_comes_in_pages_earliest_first_up_to_its_end(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        many = [message(f"m{i:04}", due_in=i / 100) for i in range(_FIRST_PAGE + 50)]
        await asyncio.gather(*(store.schedule(each, REJECT, each.due_at) for each in many))

        async def window(seconds: float, limit: int) -> list[list[tuple[int, str]]]:
            until = clock.now() + timedelta(seconds=seconds)
            return [[(due, str(id_)) for due, id_ in page] async for page in store.window(until, limit)]

        expected = [(to_ms(each.due_at), str(each.id)) for each in many]
        pages = await window(60, 5000)
        assert [len(page) for page in pages] == [_FIRST_PAGE, 50]
        assert [*chain(*pages)] == expected
        assert [*chain(*await window(0.1, 5000))] == expected[:11]
        assert [*chain(*await window(60, _FIRST_PAGE + 7))] == expected[: _FIRST_PAGE + 7]
        assert await window(-1, 10) == []


class Leases(StoreSuite):
    """Claim and settle."""

    async def test_a_message_is_not_claimed_before_it_is_due(self, store: RedisStore) -> None:
        await self.put(store, "m", due_in=1)
        due = START + timedelta(seconds=1)
        assert await store.claim(ids("m"), due - timedelta(microseconds=1)) == []
        (claimed,) = await store.claim(ids("m"), due)
        assert (claimed.due_at, claimed.attempt, claimed.failures) == (due, 1, 0)

    async def test_a_claim_ahead_takes_what_falls_due_by_then_and_says_when(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        await self.put(store, "due", due_in=-1)
        await self.put(store, "soon", due_in=0.008)
        await self.put(store, "later", due_in=0.009)
        names = ids("due", "soon", "later")
        claimed = await store.claim(names, clock.now(), timedelta(milliseconds=8))
        assert [(each.message.id, each.at_ms) for each in claimed] == [
            ("due", to_ms(START) - 1000),
            ("soon", to_ms(START) + 8),
        ]
        assert [each.attempt for each in claimed] == [1, 1]
        assert await store.claim(names, clock.now(), timedelta(milliseconds=8)) == []

    @pytest.mark.parametrize("change", ["none", "replaced", "by an outsider", "its end", "attempted"])
    async def test_what_was_read_ahead_is_what_is_claimed_unless_it_was_changed(
        self, store: RedisStore, redis: Redis, clock: FakeClock, change: str
    ) -> None:
        await self.put(store, "m", "n")
        assert await store.look_ahead(ids("m", "nothing", "n")) == [DESTINATION, None, DESTINATION]
        expected: bytes | None = message("m").payload
        attempt = 1
        match change:
            case "replaced":
                new = message("m", payload=b'"new"')
                await make_store(redis, clock, "two").schedule(new, REPLACE, new.due_at)
                expected = b'"new"'
            case "by an outsider":
                await redis.set(keys.record("m"), outside_record(0, payload="theirs"))
                expected = None  # adopted first
            case "its end":
                await redis.set(keys.record("m"), encode(message("m")).replace(b'{"n":1}', b'{"n":2}'))
                expected = None
            case "attempted":
                await store.settle(retry(await self.lease(make_store(redis, clock, "two"), clock)))
                clock.move(60)
                attempt = 2
            case _:
                pass
        claimed = await store.claim(ids("m"), clock.now())
        assert [(each.message.payload, each.attempt) for each in claimed] == (
            [] if expected is None else [(expected, attempt)]
        )
        (other,) = await store.claim(ids("n"), clock.now())
        assert other.message.payload == message("n").payload

    async def test_one_that_was_put_off_tells_both_times(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "m")
        await store.defer(ids("m"), START + timedelta(seconds=5), clock.now())
        clock.move(4.995)
        (claimed,) = await store.claim(ids("m"), clock.now(), timedelta(milliseconds=5))
        assert (claimed.at_ms, claimed.due_at) == (to_ms(START) + 5000, START)

    @pytest.mark.parametrize("what", ["deleted", "replaced", "created"])
    async def test_whoever_takes_a_lease_away_that_another_holds_answers_when_that_is_decided(
        self, store: RedisStore, redis: Redis, clock: FakeClock, what: str
    ) -> None:
        taken: list[MessageId] = []
        store.on_taken = taken.append
        other = make_store(redis, clock, "two")
        await self.put(store, "own", "others", "nobodys", due_in=0.005)
        ahead = timedelta(milliseconds=5)
        assert len(await store.claim(ids("own"), clock.now(), ahead)) == 1
        assert len(await other.claim(ids("others"), clock.now(), ahead)) == 1
        for text, pauses, told in (("nobodys", 0, []), ("own", 0, ["own"]), ("others", 1, ["own"])):
            if what == "deleted":
                assert await store.cancel(ids(text)) == [True]
            else:
                if what == "created":
                    await redis.delete(keys.record(text))
                new = message(text, due_in=9)
                expected = Scheduled.CREATED if what == "created" else Scheduled.REPLACED
                assert await store.schedule(new, REPLACE, new.due_at) is expected
            assert clock.pauses == [DECIDED_SECONDS] * pauses
            assert taken == told
        assert HOLD_SECONDS < DECIDED_SECONDS

    async def test_of_many_deleted_together_each_is_told_and_one_wait_is_enough(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        taken: list[MessageId] = []
        store.on_taken = taken.append
        await self.put(store, "a", "b", "c", "d", "e")
        assert len(await store.claim(ids("a", "b"), clock.now())) == 2
        assert len(await make_store(redis, clock, "two").claim(ids("c", "d"), clock.now())) == 2
        assert await store.cancel(ids("a", "b", "c", "d", "e", "f")) == [True] * 5 + [False]
        assert (taken, clock.pauses) == (["a", "b"], [DECIDED_SECONDS])

    async def test_two_replicas_that_claim_at_once_get_each_message_once(
        self, redis: Redis, clock: FakeClock, store: RedisStore
    ) -> None:
        names = [f"m{i}" for i in range(50)]
        await self.put(store, *names)
        other = make_store(redis, clock, "two")
        claims = await asyncio.gather(*(each.claim(ids(*names), clock.now()) for each in (store, other, store, other)))
        assert sorted(claimed.message.id for claim in claims for claimed in claim) == sorted(names)
        assert await store.claim(ids(*names), clock.now()) == []

    async def test_a_claim_skips_ids_that_are_not_there(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "b", "d")
        claimed = await store.claim(ids("a", "b", "c", "d", "b"), clock.now())
        assert [each.message.id for each in claimed] == ["b", "d"]

    async def test_done_removes_everything_but_the_log_and_what_is_counted(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        assert await store.settle(done(await self.lease(store, clock))) is Settled.APPLIED
        stored: list[bytes] = await redis.keys()  # type: ignore[assignment]  # of a client that gives bytes
        assert {key for key in stored if not key.startswith((keys.LATENESS, keys.ACTIVITY))} == {
            keys.COUNTERS,
            keys.AUDIT,
            keys.AUDIT_MINUTES,
            keys.DELIVERIES,
            keys.DELIVERIES_INDEX,
            keys.heartbeat("one"),
        }

    async def test_a_lease_holds_until_its_message_is_settled_deleted_or_replaced(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        await self.put(store, "kept", "settled", "deleted", "replaced", "retried")
        leased = await store.claim(ids("kept", "settled", "deleted", "replaced", "retried"), clock.now())
        assert await store.still_leased(leased) == [True] * 5
        await store.settle(done(leased[1]))
        await store.cancel(ids("deleted"))
        await store.schedule(message("replaced"), ConflictPolicy.REPLACE, START)
        await store.settle(retry(leased[4], after=0))
        assert len(await store.claim(ids("replaced", "retried"), clock.now())) == 2
        assert await store.still_leased(leased) == [True, False, False, False, False]

    async def test_a_settle_with_another_lease_changes_nothing(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "m")
        claimed = await self.lease(store, clock)
        stale = replace(claimed, lease=type(claimed.lease)(claimed.lease + "1"))
        assert await store.settle(done(stale)) is Settled.LOST
        live = await store.get(MessageId("m"))
        assert live is not None
        assert live.status is MessageStatus.DELIVERING
        assert await store.settle(done(claimed)) is Settled.APPLIED
        assert await store.settle(done(claimed)) is Settled.LOST

    async def test_a_retry_is_due_at_its_time_and_remembers_what_went_before(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        error = "HTTP 503 – später, 100 % sure:\n{}"
        await store.settle(retry(await self.lease(store, clock), after=10, error=error))
        live = await store.get(MessageId("m"))
        assert live is not None
        assert (live.status, live.attempts, live.last_error) == (MessageStatus.RETRYING, 1, error)
        assert live.next_run_at == START + timedelta(seconds=10)
        clock.move(9.999)
        assert await store.claim(ids("m"), clock.now()) == []
        clock.move(0.001)
        again = await self.lease(store, clock)
        assert (again.attempt, again.failures, again.last_error) == (2, 1, error)
        assert again.due_at == START + timedelta(seconds=10)

    async def test_a_release_before_the_attempt_gives_its_number_back(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        await store.settle(release(await self.lease(store, clock)))
        assert not await redis.exists(keys.STATE)
        later = START + timedelta(seconds=2)
        claimed = await self.lease(store, clock)
        assert (claimed.attempt, claimed.failures) == (1, 0)
        await store.settle(release(claimed, retry_at=later))
        assert await store.claim(ids("m"), later - timedelta(milliseconds=1)) == []
        (claimed,) = await store.claim(ids("m"), later)
        assert (claimed.attempt, claimed.due_at) == (1, START), "put off by us: its lateness stays visible"

    async def test_an_attempt_cut_short_keeps_its_number_and_is_no_failure(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        await store.settle(retry(await self.lease(store, clock), after=0, error="first"))
        await store.settle(release(await self.lease(store, clock), begun=True))
        claimed = await self.lease(store, clock)
        assert (claimed.attempt, claimed.failures, claimed.last_error) == (3, 1, "first")

    async def test_a_defer_moves_what_is_due_and_nothing_else(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "due", "leased")
        await self.put(store, "later", due_in=5)
        await self.lease(store, clock, "leased")
        await store.defer(ids("due", "leased", "later", "missing"), START + timedelta(seconds=2), clock.now())
        assert await store.claim(ids("due", "leased", "later"), START + timedelta(seconds=1)) == []
        claimed = await store.claim(ids("due", "leased", "later"), START + timedelta(seconds=2))
        assert [(each.message.id, each.attempt, each.due_at) for each in claimed] == [("due", 1, START)]
        live = await store.get(MessageId("later"))
        assert live is not None
        assert live.next_run_at == START + timedelta(seconds=5)

    async def test_a_settle_that_cannot_be_written_down_harms_no_other_and_does_not_hold_its_lease_for_ever(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        await self.put(store, "m", "n")
        broken = store.settle(retry(await self.lease(store, clock), error="lone surrogate \ud800"))
        good = store.settle(done(await self.lease(store, clock, "n")))
        failed, settled = await asyncio.gather(broken, good, return_exceptions=True)
        assert isinstance(failed, TypeError)
        assert settled is Settled.APPLIED
        clock.move(RECONCILE_SECONDS + 1)
        assert (await store.recover(clock.now())).leases == 1
        assert (await self.lease(store, clock)).attempt == 2

    async def test_likewise_one_that_is_handed_over(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "m", "n")
        loop = asyncio.get_running_loop()
        told: list[asyncio.Future[Settled]] = [loop.create_future() for _ in range(3)]
        broken = retry(await self.lease(store, clock), error="lone surrogate \ud800")
        with pytest.raises(TypeError):
            store.hand_over(broken, told[0])
        good = done(await self.lease(store, clock, "n"))
        store.hand_over(good, told[1])
        store.hand_over(good, told[2])
        assert await asyncio.gather(*told[1:]) == [Settled.APPLIED, Settled.LOST]
        assert not told[0].done()
        clock.move(RECONCILE_SECONDS + 1)
        assert (await store.recover(clock.now())).leases == 1
        assert (await self.lease(store, clock)).attempt == 2

    async def test_destinations_are_known_without_a_claim(self, store: RedisStore, redis: Redis) -> None:
        await self.put(store, "m")
        for name, record in {"text": "no json", "list": "[]", "ftp": '{"webhookUrl": "ftp://x"}', "none": "{}"}.items():
            await redis.set(f"message:{name}", record)
        assert await store.destinations(ids("m", "missing", "text", "list", "ftp", "none")) == [
            "http://127.0.0.1:9",
            *[None] * 5,
        ]


class DeadLetters(StoreSuite):
    """Burying, listing, replaying, forgetting."""

    async def dead(self, store: RedisStore, clock: FakeClock, name: str, reason: DeadReason) -> None:
        await self.put(store, name)
        await store.settle(bury(await self.lease(store, clock, name), reason))

    async def test_a_dead_letter_keeps_the_whole_message(self, store: RedisStore, clock: FakeClock) -> None:
        sent = message("m", payload=b"[1.0]", headers={"X-A": "1"})
        await store.schedule(sent, REJECT, sent.due_at)
        await store.settle(retry(await self.lease(store, clock), after=0))
        await store.settle(bury(await self.lease(store, clock), DeadReason.GONE))
        letter = await store.dead_letter(MessageId("m"))
        assert letter is not None
        assert letter.message is not None
        assert letter.message == replace(sent, created_at=letter.message.created_at)
        assert (letter.reason, letter.attempts, letter.last_error) == (DeadReason.GONE, 2, "HTTP 500")
        assert letter.dead_at == clock.now()
        assert await store.get(MessageId("m")) is None

    async def test_one_that_is_too_late_was_not_attempted(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "m")
        claimed = await self.lease(store, clock)
        await store.settle(
            Settlement(claimed=claimed, decision=Decision.BURY, reason=DeadReason.MISSED_WINDOW, begun=False)
        )
        letter = await store.dead_letter(MessageId("m"))
        assert letter is not None
        assert (letter.attempts, letter.last_error) == (0, None)
        assert (await store.deliveries(10, None)).items == []

    async def test_they_are_listed_by_time_by_prefix_and_by_reason(self, store: RedisStore, clock: FakeClock) -> None:
        reasons = [DeadReason.GONE, DeadReason.RETRIES_EXHAUSTED]
        for i in range(6):
            await self.dead(store, clock, f"{'ab'[i % 2]}{i}", reasons[i // 2 % 2])
            clock.move(1)

        async def walk(size: int, prefix: str = "", reason: DeadReason | None = None) -> list[str]:
            found: list[str] = []
            cursor: str | None = None
            while True:
                page = await store.dead_letters(size, cursor, prefix, reason)
                found += [letter.id for letter in page.items]
                assert len(page.items) <= size
                cursor = page.next_cursor
                if cursor is None:
                    return found

        for size in (1, 2, 6, 7):
            assert await walk(size) == ["b5", "a4", "b3", "a2", "b1", "a0"]
            assert await walk(size, "a") == ["a0", "a2", "a4"]
            assert await walk(size, reason=DeadReason.GONE) == ["b5", "a4", "b1", "a0"]
            assert await walk(size, "b", DeadReason.RETRIES_EXHAUSTED) == ["b3"]
        assert await walk(5, reason=DeadReason.INVALID_RECORD) == []

    async def test_to_bury_an_id_again_replaces_its_older_letter(self, store: RedisStore, clock: FakeClock) -> None:
        await self.dead(store, clock, "m", DeadReason.GONE)
        clock.move(1)
        await self.dead(store, clock, "m", DeadReason.RETRIES_EXHAUSTED)
        assert [letter.reason for letter in (await store.dead_letters(9, None)).items] == [DeadReason.RETRIES_EXHAUSTED]
        assert (await store.dead_letters(9, None, reason=DeadReason.GONE)).items == []
        assert len((await store.dead_letters(9, None, "m")).items) == 1
        assert (await store.counts()).dead == 1

    async def test_a_replay_takes_the_letter_off_the_list_and_schedules_it(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        heard: list[tuple[str, int]] = []
        await self.dead(store, clock, "m", DeadReason.GONE)
        store.on_scheduled = lambda id_, due_ms, _: heard.append((id_, due_ms))
        letter = await store.dead_letter(MessageId("m"))
        assert letter is not None
        assert letter.message is not None
        again = replace(letter.message, version=new_version(clock.now_ms()))
        later = START + timedelta(seconds=3)
        assert await store.replay(letter, again, later) is Scheduled.CREATED
        assert heard == [("m", to_ms(later))]
        assert not await redis.exists(keys.DEAD, keys.DEAD_INDEX)
        live = await store.get(MessageId("m"))
        assert live is not None
        assert (live.attempts, live.next_run_at, live.message.version) == (0, later, again.version)
        assert await store.replay(letter, again, later) is None, "the letter is gone"

    async def test_a_replay_does_not_touch_a_live_message_or_a_newer_letter(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        await self.dead(store, clock, "m", DeadReason.GONE)
        letter = await store.dead_letter(MessageId("m"))
        assert letter is not None
        assert letter.message is not None
        await self.put(store, "m", due_in=9)
        assert await store.replay(letter, letter.message, clock.now()) is Scheduled.EXISTS
        assert await store.dead_letter(MessageId("m")) == letter
        await store.cancel(ids("m"))
        clock.move(1)
        await self.dead(store, clock, "m", DeadReason.GONE)
        assert await store.replay(letter, letter.message, clock.now()) is None
        assert await store.get(MessageId("m")) is None

    async def test_discard_knows_what_was_there(self, store: RedisStore, redis: Redis, clock: FakeClock) -> None:
        await self.dead(store, clock, "m", DeadReason.GONE)
        assert await store.discard(MessageId("m"))
        assert not await store.discard(MessageId("m"))
        assert not await redis.exists(keys.DEAD, keys.DEAD_INDEX)

    async def test_what_became_of_letters_is_told_in_order_and_without_a_gap(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        assert (await store.newest_gone(), await store.gone_since(0, 9)) == (0, ([], 0))
        await self.put(store, "a", "b", "c")
        for name in "abc":
            await self.kill(store, name)
        letters = {letter.id: letter for letter in (await store.dead_letters(9, None)).items}
        assert await store.discard_letters([letters[MessageId("a")], letters[MessageId("b")]]) == [True, True]
        assert not await store.discard(MessageId("a")), "it is gone, and told of once"
        again = replace(message("c"), version=new_version(to_ms(clock.now())))
        assert await store.replay(letters[MessageId("c")], again, clock.now()) is Scheduled.CREATED
        found, more = await store.gone_since(0, 9)
        assert [(each.number, each.id, each.change) for each in found] == [
            (1, "a", "deleted"),
            (2, "b", "deleted"),
            (3, "c", "replayed"),
        ]
        assert more == 0
        assert await store.gone_since(0, 1) == (found[2:], 2)
        assert await store.gone_since(2, 9) == (found[2:], 0)
        assert await store.newest_gone() == 3
        assert await store.gone_since(3, 9) == ([], 0)

    async def test_old_letters_are_forgotten_some_at_a_time(self, store: RedisStore, clock: FakeClock) -> None:
        for name in "abc":
            await self.dead(store, clock, name, DeadReason.GONE)
        clock.move(10)
        await self.dead(store, clock, "d", DeadReason.GONE)
        assert await store.forget_dead(START) == 0
        assert await store.forget_dead(clock.now(), limit=2) == 2
        assert await store.forget_dead(clock.now(), limit=2) == 1
        assert await store.forget_dead(clock.now()) == 0
        assert [letter.id for letter in (await store.dead_letters(9, None)).items] == ["d"]


class DeliveryLog(StoreSuite):
    """The log of attempts."""

    async def attempt(
        self, store: RedisStore, clock: FakeClock, name: str, kind: OutcomeKind = OutcomeKind.SUCCESS
    ) -> None:
        claimed = await self.lease(store, clock, name)
        ended = outcome(kind, now=clock.now())
        if kind is OutcomeKind.SUCCESS:
            settlement = Settlement(claimed=claimed, decision=Decision.DONE, outcome=ended)
        else:
            settlement = Settlement(claimed=claimed, decision=Decision.RETRY, outcome=ended, retry_at=clock.now())
        assert await store.settle(settlement) is Settled.APPLIED

    async def test_a_line_tells_all_of_an_attempt(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "m")
        clock.move(0.25)
        claimed = await self.lease(store, clock)
        ended = replace(
            outcome(OutcomeKind.TIMED_OUT, now=clock.now(), error="no answer"),
            sent_at=clock.now() + timedelta(microseconds=1234),
            answered_at=None,
        )
        await store.settle(Settlement(claimed=claimed, decision=Decision.RETRY, outcome=ended, retry_at=clock.now()))
        (line,) = (await store.deliveries(10, None)).items
        assert line.id
        assert (line.message_id, line.attempt, line.status) == ("m", 1, OutcomeKind.TIMED_OUT)
        assert (line.scheduled_for, line.due_at, line.claimed_at) == (START, START, clock.now())
        assert (line.started_at, line.sent_at, line.answered_at) == (clock.now(), ended.sent_at, None)
        assert (line.finished_at, line.response_code, line.error) == (clock.now(), None, "no answer")
        assert (line.lateness_ms, line.duration_ms) == (251.234, 12.5)

    async def test_it_is_filtered_and_paged_newest_first(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "a", "a\U0001f600", "b")
        failure, success = OutcomeKind.FAILURE, OutcomeKind.SUCCESS
        story = [("a", failure), ("b", failure), ("a", failure), ("a\U0001f600", success), ("a", success)]
        for name, kind in story:
            await self.attempt(store, clock, name, kind)

        async def walk(size: int, name: str | None = None, status: OutcomeKind | None = None) -> list[tuple[Any, Any]]:
            found: list[tuple[Any, Any]] = []
            cursor: str | None = None
            while True:
                page = await store.deliveries(size, cursor, name, status)
                found += [(line.message_id, line.status) for line in page.items]
                cursor = page.next_cursor
                if cursor is None:
                    return found

        for size in (1, 2, 5, 6):
            assert await walk(size) == story[::-1]
            assert await walk(size, "a") == [("a", success), ("a", failure), ("a", failure)]
            assert await walk(size, None, success) == [("a", success), ("a\U0001f600", success)]
            assert await walk(size, "a", failure) == [("a", failure)] * 2
        assert await walk(5, "c") == []
        assert await walk(5, None, OutcomeKind.TIMED_OUT) == []

    async def test_it_is_bounded_and_so_is_its_index(self, redis: Redis, clock: FakeClock) -> None:
        store = make_store(redis, clock, delivery_log_size=5)
        for i in range(12):
            await self.put(store, f"m{i}")
            await self.attempt(store, clock, f"m{i}")
        lines = (await store.deliveries(100, None)).items
        assert [line.message_id for line in lines] == [f"m{i}" for i in range(11, 6, -1)]
        assert await redis.zcard(keys.DELIVERIES_INDEX) == 2 * 5
        assert (await store.deliveries(9, None, "m0")).items == []

    async def test_a_log_made_shorter_shrinks(self, redis: Redis, clock: FakeClock, store: RedisStore) -> None:
        for i in range(10):
            await self.put(store, f"m{i}")
            await self.attempt(store, clock, f"m{i}")
        shorter = make_store(redis, clock, delivery_log_size=3)
        await self.put(shorter, "last")
        await self.attempt(shorter, clock, "last")
        assert await redis.xlen(keys.DELIVERIES) == 3

    async def test_an_attempt_is_logged_although_its_message_was_deleted_meanwhile(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        claimed = await self.lease(store, clock)
        await store.cancel(ids("m"))
        assert await store.settle(done(claimed)) is Settled.LOST
        assert [line.message_id for line in (await store.deliveries(9, None)).items] == ["m"]

    async def test_a_settle_that_is_sent_again_is_logged_once(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "m")
        claimed = await self.lease(store, clock)
        await store.settle(done(claimed))
        assert await store.settle(replace(done(claimed), repeated=True)) is Settled.LOST
        assert len((await store.deliveries(9, None)).items) == 1
        await self.put(store, "n")
        claimed = await self.lease(store, clock, "n")
        assert await store.settle(replace(done(claimed), repeated=True)) is Settled.APPLIED, "the first was lost"
        assert len((await store.deliveries(9, None)).items) == 2


class Outsiders(StoreSuite):
    """Those who write, change and delete ``message:*`` keys themselves."""

    async def test_a_record_of_an_outsider_becomes_a_message(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        record = outside_record(5, payload=[1, 2.50], _createdBy="crm", _aio=7, method="put")
        await redis.set("message:m", record)
        assert await store.get(MessageId("m")) is None
        (found,) = await store.examine(ids("m"))
        assert (found.due_ms, found.destination, found.adopted) == (to_ms(START) + 5000, "http://127.0.0.1:9", True)
        live = await store.get(MessageId("m"))
        assert live is not None
        assert (live.id, live.message.payload, live.message.target.method) == ("m", b"[1,2.5]", "PUT")
        assert await redis.get("message:m") == record, "foreign fields are kept"
        assert await store.search_ids("m", "") == ["m"]
        (again,) = await store.examine(ids("m"))
        assert (again.due_ms, again.adopted) == (to_ms(START) + 5000, False)
        clock.move(5)
        claimed = await self.lease(store, clock)
        assert claimed.message == live.message, "its version is the one it was given at adoption"
        assert await store.settle(retry(claimed, after=0)) is Settled.APPLIED
        claimed = await self.lease(store, clock)
        assert (claimed.message.version, claimed.attempt) == (live.message.version, 2)
        assert await store.settle(done(claimed)) is Settled.APPLIED
        assert not await redis.exists("message:m")

    async def test_any_number_of_records_may_be_due_at_the_beginning_of_time(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        """The sum of their lateness, in µs, has no room in a counter."""
        for n in range(160):
            await redis.set(f"message:{n}", outside_record(scheduleTo="0001-01-01T00:00:00Z"))
        names = ids(*map(str, range(160)))
        await store.examine(names)
        claimed = await store.claim(names, clock.now())
        for some in (claimed[:80], claimed[80:140], claimed[140:]):
            assert set(await asyncio.gather(*(store.settle(done(each)) for each in some))) == {Settled.APPLIED}
        account = (await store.audit()).messages
        assert (account.planned, account.delivered, account.difference) == (160, 160, 0)
        assert len((await store.deliveries(1000, None)).items) == 160

    async def test_what_was_planned_before_1970_ends_in_the_minute_it_was_planned_for(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        for name in "mn":
            await redis.set(f"message:{name}", outside_record(scheduleTo="1969-12-31T23:00:00Z"))
        await store.examine(ids("m", "n"))
        for claimed in await store.claim(ids("m", "n"), clock.now()):
            assert await store.settle(retry(claimed, after=0)) is Settled.APPLIED
        assert await store.cancel(ids("m")) == [True]
        await redis.delete("message:n")
        assert await store.claim(ids("n"), clock.now()) == []
        then = (await store.audit(until=epoch)).messages
        assert (then.planned, then.deleted, then.pending) == (2, 2, 0)

    async def test_the_id_of_the_key_wins_over_the_one_inside(self, store: RedisStore, redis: Redis) -> None:
        await redis.set("message:key", outside_record(id="inside"))
        await store.examine(ids("key"))
        live = await store.get(MessageId("key"))
        assert live is not None
        assert live.id == "key"

    async def test_a_record_whose_text_is_no_compact_json_keeps_its_payload(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        payload = '{ "payload" : 123456789012345678901234567890 , "s": "\\",\\"payload\\":" }'
        await redis.set(
            "message:m",
            f' {{"webhookUrl": "http://127.0.0.1:9/",\n"pay\\u006coad": {payload} , "scheduleTo":'
            ' "2026-04-15 02:41:45"}\n',
        )
        await store.examine(ids("m"))
        assert (await self.lease(store, clock)).message.payload == payload.encode()

    async def test_a_record_changed_without_anybody_noticing_is_taken_as_it_is_when_claimed(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        heard: list[tuple[str, int]] = []
        store.on_scheduled = lambda id_, due_ms, _: heard.append((id_, due_ms))
        for name in ("later", "broken", "now"):
            await redis.set(f"message:{name}", outside_record())
            await store.examine(ids(name))
        await redis.set("message:later", outside_record(7))
        await redis.set("message:broken", b"[]")
        await self.put(store, "other")
        heard.clear()
        claimed = await store.claim(ids("later", "broken", "now", "other"), clock.now())
        assert [each.message.id for each in claimed] == ["now", "other"]
        assert heard == [("later", to_ms(START) + 7000)]
        letter = await store.dead_letter(MessageId("broken"))
        assert letter is not None
        assert letter.reason is DeadReason.INVALID_RECORD
        clock.move(7)
        assert (await self.lease(store, clock, "later")).attempt == 1

    async def test_a_record_of_ours_whose_tail_does_not_match_any_more_is_an_outsiders(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        record = await redis.get("message:m")
        assert isinstance(record, bytes)
        await redis.set("message:m", record.replace(b'{"n":1}', b'{"n":2}'))
        assert await store.claim(ids("m"), clock.now()) == []
        claimed = await self.lease(store, clock)
        assert claimed.message.payload == b'{"n":2}'

    async def test_a_reordered_copy_of_our_record_with_our_tail_keeps_its_payload(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        members = orjson.loads(await redis.get("message:m") or b"")
        tail = members.pop("_aio")
        nested = {"a": 1, "payload": 2}
        await redis.set(
            "message:m",
            orjson.dumps(
                {"id": "m", "payload": nested, "webhookUrl": members["webhookUrl"], "scheduleTo": members["scheduleTo"]}
            )[:-1]
            + b',"_aio":"'
            + tail.encode()
            + b'"}',
        )
        await store.claim(ids("m"), clock.now())
        assert (await self.lease(store, clock)).message.payload == orjson.dumps(nested)

    async def test_a_record_that_was_deleted_is_forgotten(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await self.put(store, "m", "leased", "failed")
        claimed = await self.lease(store, clock, "leased")
        await store.settle(retry(await self.lease(store, clock, "failed"), after=0))
        await redis.delete("message:m", "message:leased", "message:failed")
        assert await store.examine(ids("m", "leased", "failed", "never")) == []
        for key in (keys.DUE, keys.INDEX, keys.LEASED, keys.STATE):
            assert not await redis.exists(key)
        assert (await store.counters())["deleted"] == 3
        assert await store.settle(done(claimed)) is Settled.LOST

    async def test_a_record_deleted_or_evicted_without_anybody_noticing_is_found_gone_when_it_is_due(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await self.put(store, "m", "n")
        await redis.delete("message:m")
        claimed = await store.claim(ids("m", "n"), clock.now())
        assert [each.message.id for each in claimed] == ["n"]
        assert await store.search_ids("", "") == ["n"]
        assert (await store.counters())["vanished"] == 1

    @pytest.mark.parametrize("settlement", [retry, release, bury, done])
    async def test_a_record_deleted_while_leased_is_not_attempted_again(
        self,
        store: RedisStore,
        redis: Redis,
        clock: FakeClock,
        settlement: Callable[[Claimed], Settlement],
    ) -> None:
        await self.put(store, "m")
        claimed = await self.lease(store, clock)
        await redis.delete("message:m")
        assert await store.settle(settlement(claimed)) is Settled.APPLIED
        assert await store.search_ids("", "") == []
        assert await store.dead_letter(MessageId("m")) is None
        assert await store.claim(ids("m"), START + timedelta(hours=1)) == []

    async def test_a_record_deleted_while_leased_leaves_no_notification_expected(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        store.echoes.clear()
        claimed = await self.lease(store, clock)
        await redis.delete("message:m")
        await store.settle(done(claimed))
        assert not store.echoes.is_own(b"message:m"), "the next one is an outsider's"

    @pytest.mark.parametrize("settlement", [retry, release, bury, done])
    async def test_a_record_changed_while_leased_is_a_new_message(
        self,
        store: RedisStore,
        redis: Redis,
        clock: FakeClock,
        settlement: Callable[[Claimed], Settlement],
    ) -> None:
        await self.put(store, "m")
        claimed = await self.lease(store, clock)
        await redis.set("message:m", outside_record(2, payload="theirs"))
        heard: list[tuple[str, int]] = []
        store.on_scheduled = lambda id_, due_ms, _: heard.append((id_, due_ms))
        assert await store.settle(settlement(claimed)) is Settled.CHANGED
        assert heard == [("m", to_ms(START) + 2000)]
        clock.move(2)
        new = await self.lease(store, clock)
        assert (new.message.payload, new.attempt, new.failures) == (b'"theirs"', 1, 0)

    @pytest.mark.parametrize(
        "record",
        [
            b"",
            b"no json",
            b"[]",
            b"null",
            b"{}",
            b"\xff\xfe\x00",
            b'{"scheduleTo": "2026-04-15T00:00:00Z", "payload": 1}',
            b'{"scheduleTo": "tomorrow", "payload": 1, "webhookUrl": "http://a/"}',
            b'{"scheduleTo": 5, "payload": 1, "webhookUrl": "http://a/"}',
            b'{"scheduleTo": "9999-12-31T23:59:59.9999-01:00", "payload": 1, "webhookUrl": "http://a/"}',
            b'{"scheduleTo": "2026-04-15T00:00:00Z", "payload": 1, "webhookUrl": "ftp://a/"}',
            b'{"scheduleTo": "2026-04-15T00:00:00Z", "payload": 1, "webhookUrl": "http://a", "headers": {"Host": "b"}}',
            b'{"scheduleTo": "2026-04-15T00:00:00Z", "payload": 1, "webhookUrl": "http://a/", "retry": 5}',
            b'{"a":' * 2000 + b"1" + b"}" * 2000,
        ],
        ids=lambda record: repr(record[:80]),
    )
    async def test_a_record_nobody_can_parse_is_set_aside_with_its_bytes(
        self, store: RedisStore, redis: Redis, record: bytes
    ) -> None:
        await redis.set("message:bad", record)
        await redis.set("message:good", outside_record(1))
        bad, good = await store.examine(ids("bad", "good"))
        assert bad.invalid
        assert good.adopted
        letter = await store.dead_letter(MessageId("bad"))
        assert letter is not None
        assert (letter.record, letter.message, letter.reason) == (record, None, DeadReason.INVALID_RECORD)
        assert (letter.attempts, letter.last_error) == (0, bad.invalid)
        assert not await redis.exists("message:bad")
        assert [each.id for each in (await store.dead_letters(9, None, "b", DeadReason.INVALID_RECORD)).items] == [
            "bad"
        ]

    async def test_a_message_that_an_outsider_breaks_is_no_message_any_more(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        await redis.set("message:m", b"broken")
        await store.examine(ids("m"))
        assert await store.search_ids("", "") == []
        assert await store.claim(ids("m"), clock.now()) == []
        await redis.set("message:m", b"broken again")
        await store.examine(ids("m"))
        assert [letter.record for letter in (await store.dead_letters(9, None)).items] == [b"broken again"]

    async def test_a_key_that_is_no_string_is_left_alone_and_told(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        await redis.delete("message:m")
        await redis.hset("message:m", "a", "1")
        (found,) = await store.examine(ids("m"))
        assert (found.foreign_type, found.due_ms) == ("hash", None)
        assert await redis.hgetall("message:m") == {b"a": b"1"}
        assert await store.get(MessageId("m")) is None
        assert await store.search_ids("", "") == []
        assert await store.claim(ids("m"), clock.now()) == []

    async def test_two_replicas_that_adopt_at_once_do_not_take_away_each_others_lease(
        self, redis: Redis, clock: FakeClock, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = make_store(redis, clock, "two")
        await redis.set("message:m", outside_record())
        adopt = store._adopt
        leases: list[Claimed] = []

        async def too_late(items: Any) -> Any:
            (found,) = await other.examine(ids("m"))
            assert found.adopted
            leases.extend(await other.claim(ids("m"), clock.now()))
            return await adopt(items)

        monkeypatch.setattr(store, "_adopt", too_late)
        (found,) = await store.examine(ids("m"))
        assert (found.due_ms, found.adopted) == (to_ms(START), False)
        assert await store.claim(ids("m"), clock.now()) == [], "the other one delivers it"
        assert await other.settle(done(leases[0])) is Settled.APPLIED
        assert (await store.counters())["adopted"] == 1

    async def test_a_record_written_again_during_its_adoption_is_left_for_the_next_look(
        self, redis: Redis, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await redis.set("message:m", outside_record())
        adopt = store._adopt

        async def changed_first(items: Any) -> Any:
            await redis.set("message:m", outside_record(9))
            return await adopt(items)

        monkeypatch.setattr(store, "_adopt", changed_first)
        assert await store.examine(ids("m")) == []
        monkeypatch.undo()
        (found,) = await store.examine(ids("m"))
        assert found.due_ms == to_ms(START) + 9000

    async def test_every_record_there_is_is_found_and_keys_no_client_could_name_are_not(
        self, store: RedisStore, redis: Redis
    ) -> None:
        await self.put(store, "ours")
        for i in range(700):
            await redis.set(f"message:{i}", outside_record())
        for key in (b"message:", b"message:\xff", b"message:a\x00b", b"messages", b"other"):
            await redis.set(key, b"x")
        found = {each async for page in store.outside_ids() for each in page}
        assert found == {"ours", *(str(i) for i in range(700))}

    async def test_our_data_is_rebuilt_from_the_records_alone(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await self.put(store, "m", due_in=5)
        before = await store.get(MessageId("m"))
        await redis.delete(keys.DUE, keys.INDEX, keys.AUDIT, keys.AUDIT_MINUTES)
        await store.examine(ids("m"))
        assert await store.get(MessageId("m")) == before

    async def test_an_older_version_that_an_outsider_writes_back_is_not_sent_early(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await self.put(store, "m", due_in=100)
        older = await redis.get(keys.record("m"))
        assert older is not None
        new = message("m", due_in=1)
        await store.schedule(new, ConflictPolicy.REPLACE, new.due_at)
        await redis.set(keys.record("m"), older)
        await store.examine(ids("m"))
        clock.move(1)
        assert await store.claim(ids("m"), clock.now()) == []
        live = await store.get(MessageId("m"))
        assert live is not None
        assert live.next_run_at == START + timedelta(seconds=100)
        clock.move(99)
        assert (await self.lease(store, clock)).record == older

    async def test_a_record_of_ours_that_no_longer_reads_is_set_aside_when_claimed(
        self, store: RedisStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As after an update whose rules are stricter: it must not be claimed for ever."""
        await self.put(store, "m")
        monkeypatch.setattr("aioscheduler.store.codec.check_url", _refuse)
        assert await store.claim(ids("m"), clock.now()) == []
        letter = await store.dead_letter(MessageId("m"))
        assert letter is not None
        assert letter.reason is DeadReason.INVALID_RECORD
        assert (await store.counts()).leased == 0


MINUTE = START.replace(second=0)


class Audits(StoreSuite):
    """The account: each message once, in the minute it was planned for, whatever became of it."""

    async def minute(self, store: RedisStore, offset: float = 0) -> dict[str, int]:
        """Return what is not 0 of the minute that begins so many seconds after that of the start."""
        begin = MINUTE + timedelta(seconds=offset)
        found = await store.audit(begin, begin + timedelta(seconds=60))
        assert found.messages.difference == 0
        return {name: n for name, n in asdict(found.messages).items() if n}

    async def test_what_is_pending_and_what_was_delivered(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "a", "b")
        await self.put(store, "later", due_in=60)
        await store.settle(done(await self.lease(store, clock, "a")))
        assert await self.minute(store) == {"planned": 2, "delivered": 1, "pending": 1}
        assert await self.minute(store, 60) == {"planned": 1, "pending": 1}
        assert await self.minute(store, -60) == {}

    async def test_a_bound_in_a_minute_takes_it_whole(self, store: RedisStore) -> None:
        await self.put(store, "a", due_in=14.999)
        await self.put(store, "b", due_in=15)
        within = await store.audit(START, START + timedelta(seconds=1))
        assert within.messages.planned == 1
        assert (await store.audit(START, MINUTE + timedelta(seconds=60.001))).messages.planned == 2
        assert (await store.audit(until=MINUTE + timedelta(seconds=60))).messages.planned == 1
        assert (await store.audit(since=MINUTE + timedelta(seconds=60))).messages.planned == 1

    async def test_of_a_replaced_message_both_versions_count_each_in_its_minute(self, store: RedisStore) -> None:
        await self.put(store, "m")
        new = message("m", due_in=120)
        await store.schedule(new, ConflictPolicy.REPLACE, new.due_at)
        assert await self.minute(store) == {"planned": 1, "replaced": 1}
        assert await self.minute(store, 120) == {"planned": 1, "pending": 1}

    async def test_a_message_deleted_while_it_waits_or_is_being_delivered(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        await self.put(store, "a", "b")
        claimed = await self.lease(store, clock, "b")
        await store.cancel(ids("a", "b", "none"))
        await store.settle(done(claimed))
        assert await self.minute(store) == {"planned": 2, "deleted": 2}

    async def test_a_retry_a_give_back_and_a_put_off_leave_it_in_its_minute(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        await self.put(store, "retried", "released", "put off")
        await store.settle(retry(await self.lease(store, clock, "retried"), after=300))
        later = START + timedelta(seconds=300)
        await store.settle(release(await self.lease(store, clock, "released"), retry_at=later))
        await store.defer(ids("put off"), later, clock.now())
        assert await self.minute(store) == {"planned": 3, "pending": 3}
        clock.move(300)
        for each in await store.claim(ids("retried", "released", "put off"), clock.now()):
            await store.settle(retry(each, after=300))
        clock.move(300)
        for each in await store.claim(ids("retried", "released", "put off"), clock.now()):
            await store.settle(done(each))
        assert await self.minute(store) == {"planned": 3, "delivered": 3}

    async def test_sent_now_it_counts_where_it_was_planned(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "m", due_in=600)
        await store.run_now(MessageId("m"), clock.now())
        assert await self.minute(store) == {}
        await store.settle(done(await self.lease(store, clock)))
        assert await self.minute(store, 600) == {"planned": 1, "delivered": 1}

    async def test_a_dead_letter_and_one_that_was_missed(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "a", "b")
        await store.settle(bury(await self.lease(store, clock, "a")))
        await store.settle(bury(await self.lease(store, clock, "b"), DeadReason.MISSED_WINDOW))
        assert await self.minute(store) == {"planned": 2, "dead": 1, "missed": 1}

    async def test_a_replay_is_planned_anew(self, store: RedisStore, clock: FakeClock) -> None:
        await self.put(store, "m")
        await self.kill(store)
        letter = await store.dead_letter(MessageId("m"))
        assert letter is not None
        await store.replay(letter, message("m", due_in=60), START + timedelta(seconds=60))
        await store.discard(MessageId("m"))
        assert await self.minute(store) == {"planned": 1, "dead": 1}
        assert await self.minute(store, 60) == {"planned": 1, "pending": 1}

    async def test_a_recovered_lease_ends_in_the_minute_it_was_planned_for(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        await store.settle(retry(await self.lease(store, clock), after=120))
        clock.move(120)
        stale = await self.lease(store, clock)
        clock.move(LEASE.total_seconds() + 1)
        assert (await make_store(redis, clock, "two").recover(clock.now())).leases == 1
        again = await self.lease(store, clock)
        await store.settle(done(stale))
        await store.settle(done(again))
        assert await self.minute(store) == {"planned": 1, "delivered": 1}

    async def test_a_record_an_outsider_deletes_changes_or_spoils(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await self.put(store, "deleted", "deleted and written anew", "found gone", "changed", "spoilt")
        for name in ("deleted", "deleted and written anew", "found gone"):
            await redis.delete(keys.record(name))
        await redis.set(keys.record("changed"), outside_record(due_in=60))
        await redis.set(keys.record("spoilt"), b"no record")
        await self.put(store, "deleted and written anew", due_in=60)
        await store.claim(ids("found gone"), clock.now())
        await store.examine(ids("deleted", "changed", "spoilt"))
        assert await self.minute(store) == {"planned": 6, "deleted": 3, "replaced": 2, "dead": 1}
        assert await self.minute(store, 60) == {"planned": 2, "pending": 2}

    async def test_one_that_changes_while_it_is_being_delivered_was_replaced(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        claimed = await self.lease(store, clock)
        await redis.set(keys.record("m"), outside_record(due_in=60))
        assert await store.settle(done(claimed)) is Settled.CHANGED
        assert await self.minute(store) == {"planned": 1, "replaced": 1}
        assert await self.minute(store, 60) == {"planned": 1, "pending": 1}

    async def test_one_that_is_deleted_while_it_is_being_delivered(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await self.put(store, "delivered", "failed")
        one, two = await store.claim(ids("delivered", "failed"), clock.now())
        await redis.delete(keys.record("delivered"), keys.record("failed"))
        await store.settle(done(one))
        await store.settle(retry(two))
        assert await self.minute(store) == {"planned": 2, "delivered": 1, "deleted": 1}

    async def test_old_minutes_are_forgotten_unless_something_is_pending_of_them(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        for minute in range(3):
            await self.put(store, f"m{minute}", due_in=60 * minute)
        clock.move(180)
        for each in await store.claim(ids("m0", "m2"), clock.now()):
            await store.settle(done(each))
        before = await store.audit()
        await store.forget_audit(MINUTE + timedelta(seconds=120))
        assert await self.minute(store) == {}
        assert await self.minute(store, 60) == {"planned": 1, "pending": 1}
        assert await self.minute(store, 120) == {"planned": 1, "delivered": 1}
        assert await store.audit() == before, "the whole stays"
        assert await redis.zcard(keys.AUDIT_MINUTES) == 2
        await redis.delete(keys.AUDIT, keys.AUDIT_MINUTES, keys.INDEX)

    async def test_more_minutes_than_one_call_looks_at(self, store: RedisStore) -> None:
        for start in range(0, 1100, 100):
            await asyncio.gather(
                *(self.put(store, f"m{minute}", due_in=60 * minute) for minute in range(start, start + 100))
            )
        assert (await store.audit(START, MINUTE + timedelta(minutes=1050))).messages.planned == 1050
        await store.forget_audit(START + timedelta(minutes=1200))
        assert (await store.audit(since=START)).messages.planned == 1100, "all of them pending"

    async def test_what_vanishes_unseen_is_a_difference(self, store: RedisStore, redis: Redis) -> None:
        await self.put(store, "a", "b")
        await redis.zrem(keys.INDEX, "a")
        assert (await store.audit()).messages.difference == 1
        await redis.delete(keys.AUDIT, keys.AUDIT_MINUTES, keys.INDEX)


class ChangedRecords(StoreSuite):
    """What only a server whose scripts can tell fingerprints notices."""

    async def test_a_record_that_was_changed_is_taken_as_it_is_now(
        self, store: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await redis.set("message:m", outside_record(5))
        await store.examine(ids("m"))
        before = await store.get(MessageId("m"))
        await redis.set("message:m", outside_record(1, payload="new"))
        (found,) = await store.examine(ids("m"))
        assert (found.due_ms, found.adopted) == (to_ms(START) + 1000, True)
        clock.move(1)
        claimed = await self.lease(store, clock)
        assert claimed.message.payload == b'"new"'
        assert before is not None
        assert claimed.message.version != before.message.version


def _refuse(url: object) -> str:
    raise InvalidInput.of("webhookUrl", Sentence("is refused by a stricter rule"))


class Recovery(StoreSuite):
    """Leases that nobody will settle."""

    @pytest.fixture
    def other(self, redis: Redis, clock: FakeClock) -> RedisStore:
        return make_store(redis, clock, "two")

    async def watch(self, store: RedisStore, clock: FakeClock, seconds: float) -> int:
        """Look twice a second, as the engine does; return how many leases were given back."""
        recovered = 0
        for _ in range(round(seconds * 2)):
            clock.move(0.5)
            recovered += (await store.recover(clock.now())).leases
        return recovered

    async def test_the_leases_of_a_dead_replica_are_given_back_once_it_was_missed_long_enough(
        self, store: RedisStore, other: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        await other.heartbeat()
        claimed = await self.lease(other, clock)
        assert await self.watch(store, clock, 3) == 0
        await redis.delete(keys.heartbeat("two"))  # it ran out
        assert await self.watch(store, clock, CONFIRM_SECONDS) == 0
        clock.move(0.5)
        recovered = await store.recover(clock.now())
        assert (recovered.leases, recovered.departed) == (1, 1)
        again = await self.lease(store, clock)
        assert (again.attempt, again.failures, again.due_at) == (2, 0, START)
        assert await other.settle(done(claimed)) is Settled.LOST
        assert await redis.smembers(keys.REPLICAS) == set()

    async def test_nobody_is_declared_dead_by_one_who_did_not_watch(
        self, store: RedisStore, other: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        await other.heartbeat()
        await self.lease(other, clock)
        await redis.delete(keys.heartbeat("two"))
        await store.recover(clock.now())
        clock.move(60)  # frozen, as the whole machine may have been
        assert (await store.recover(clock.now())).leases == 0
        assert await self.watch(store, clock, CONFIRM_SECONDS) == 1

    async def test_a_replica_that_comes_back_in_the_last_moment_keeps_its_leases(
        self, store: RedisStore, other: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        await other.heartbeat()
        claimed = await self.lease(other, clock)
        await redis.delete(keys.heartbeat("two"))
        assert await self.watch(store, clock, CONFIRM_SECONDS) == 0
        await other.heartbeat()
        assert await self.watch(store, clock, 8) == 0
        assert await other.settle(done(claimed)) is Settled.APPLIED

    async def test_the_script_itself_sees_that_the_holder_lives_again(
        self, store: RedisStore, other: RedisStore, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        claimed = await self.lease(other, clock)  # whoever claims lives
        pairs = [b"m", claimed.lease.encode()]
        assert await store._give_back(MESSAGES, "dead", "two", pairs) == 0
        assert await store._give_back(MESSAGES, "any", "two", pairs) == 1

    async def test_a_claim_whose_answer_was_lost_is_given_back(
        self, store: RedisStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await self.put(store, "m")
        run = store._run

        async def lost(name: str, key_names: list[bytes], args: list[Any]) -> Any:
            await run(name, key_names, args)
            raise asyncio.CancelledError

        await store.recover(clock.now())
        monkeypatch.setattr(store, "_run", lost)
        with pytest.raises(asyncio.CancelledError):
            await store.claim(ids("m"), clock.now())
        monkeypatch.undo()
        assert (await store.recover(clock.now())).leases == 1
        assert (await self.lease(store, clock)).attempt == 2

    async def test_leases_of_our_own_that_are_held_are_never_given_back(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        claimed = await self.lease(store, clock)
        assert await self.watch(store, clock, 30) == 0
        assert await store.settle(done(claimed)) is Settled.APPLIED

    async def test_of_messages_claimed_together_one_that_is_settled_does_not_take_the_others_leases_along(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        await self.put(store, "a", "b")
        clock.move(60)
        first, _ = await store.claim(ids("a", "b"), clock.now())
        assert await store.settle(done(first)) is Settled.APPLIED
        assert await self.watch(store, clock, 30) == 0

    async def test_a_claim_made_while_the_leases_are_looked_through_is_not_taken_for_a_lost_one(
        self, store: RedisStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await self.put(store, "m")
        run, command = store._run, store._command
        looked = asyncio.Event()

        async def slow_answer(name: str, key_names: list[bytes], args: list[Any]) -> Any:
            answer = await run(name, key_names, args)
            if name == "claim":
                await looked.wait()
            return answer

        async def claim_before(*words: Any) -> Any:
            if words[0] == "HGETALL":
                claims.append(asyncio.create_task(store.claim(ids("m"), clock.now())))
                while not await store._redis.hexists(keys.LEASED, "m"):
                    await asyncio.sleep(0)
            return await command(*words)

        claims: list[asyncio.Task[Any]] = []
        monkeypatch.setattr(store, "_run", slow_answer)
        monkeypatch.setattr(store, "_command", claim_before)
        recovered = await store.recover(clock.now())
        looked.set()
        (claimed,) = await claims[0]
        assert recovered.leases == 0
        assert await store.settle(done(claimed)) is Settled.APPLIED

    async def test_a_lease_that_ran_out_is_given_back_although_its_holder_lives(
        self, store: RedisStore, other: RedisStore, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        await self.lease(other, clock)
        await other.heartbeat()
        clock.move(LEASE.total_seconds() - 1)
        await other.heartbeat()
        assert (await store.recover(clock.now())).leases == 0
        clock.move(RECONCILE_SECONDS + 1)
        await other.heartbeat()
        assert (await store.recover(clock.now())).leases == 1

    async def test_a_lease_of_a_replica_nobody_knows_is_watched_and_given_back(
        self, store: RedisStore, other: RedisStore, redis: Redis, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        await self.lease(other, clock)
        await other.farewell()
        assert await self.watch(store, clock, 0.5) == 0
        assert await self.watch(store, clock, CONFIRM_SECONDS + 0.5) == 1

    async def test_a_farewell_is_noticed(self, store: RedisStore, other: RedisStore, clock: FakeClock) -> None:
        await other.heartbeat()
        assert (await store.recover(clock.now())).departed == 0
        await other.farewell()
        clock.move(0.5)
        assert (await store.recover(clock.now())).departed == 1
        clock.move(0.5)
        assert (await store.recover(clock.now())).departed == 0

    async def test_leases_given_back_keep_failures_and_the_last_error(
        self, store: RedisStore, clock: FakeClock
    ) -> None:
        await self.put(store, "m")
        await store.settle(retry(await self.lease(store, clock), after=0, error="no luck"))
        claimed = await self.lease(store, clock)
        assert await store._give_back(MESSAGES, "any", "one", [b"m", claimed.lease.encode()]) == 1
        again = await self.lease(store, clock)
        assert (again.attempt, again.failures, again.last_error) == (3, 1, "no luck")
