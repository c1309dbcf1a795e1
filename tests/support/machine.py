"""Whatever clients, replicas, outsiders and crashes may do to the messages of a store, in any order, beside a model.

The model says in plain Python what the scripts have to do. After every step all that stands in Redis about messages is
compared with it; so a call that should change nothing is seen to change nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, TypeVar, cast

import orjson
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from redis.asyncio import Redis

from aioscheduler.clock import from_ms, to_ms
from aioscheduler.domain import message as message_module
from aioscheduler.domain.execution import DeadReason, OutcomeKind
from aioscheduler.domain.message import (
    ConflictPolicy,
    Message,
    MessageId,
    MessageStatus,
    attempt_due,
    version_time_ms,
)
from aioscheduler.errors import InvalidInput, Sentence, StoreUnavailable
from aioscheduler.store import keys
from aioscheduler.store.base import (
    Claimed,
    DeadLetter,
    Decision,
    Lease,
    Listed,
    Recovered,
    Scheduled,
    Settled,
    Settlement,
)
from aioscheduler.store.codec import State, decode, decode_dead, encode, own_version, sha1
from aioscheduler.store.leases import LEASE
from aioscheduler.store.recovery import CONFIRM_SECONDS, RECONCILE_SECONDS
from aioscheduler.store.redis import RedisStore
from tests.support.clock import FakeClock
from tests.support.messages import message, outcome, outside_record

T = TypeVar("T")

IDS = ["a", "ab", "*", "a:b"]
BROKEN = [b"broken", b"[]", b'{"scheduleTo":"tomorrow","payload":1,"webhookUrl":"http://a/"}']
#: The counters that tell what became of messages; ``dead:*`` besides.
COUNTED = {"scheduled", "replaced", "deleted", "delivered", "adopted", "vanished", "recovered", "replayed"}
#: How many looks, two a second, find every lease that nobody will settle.
LOOKS = round(2 * (CONFIRM_SECONDS + RECONCILE_SECONDS)) + 3
#: How the kinds of the account are called when a message ends so.
DELIVERED, DEAD, DELETED, REPLACED, MISSED = "d", "x", "c", "r", "m"
_ANY_VERSION = message_module.new_version(0)


class Fate(Enum):
    """What becomes of a call."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """It never reached the store."""
    LOST = "lost"
    """It was carried out, and nobody heard of it."""


class BreakableStore(RedisStore):
    """A replica's store whose next call of a script meets a fate, or waits until a test lets it go on."""

    def __init__(self, redis: Redis, clock: FakeClock, name: str) -> None:
        super().__init__(redis, clock, zone=UTC, replica=name)
        self.name = name
        self.claims = 0
        self.fates: dict[str, Fate] = {}
        self.gates: dict[str, asyncio.Event] = {}

    async def _run(self, name: str, key_names: list[bytes], args: list[Any]) -> Any:
        fate = self.fates.pop(name, Fate.ANSWERED)
        if (gate := self.gates.pop(name, None)) is not None:
            await gate.wait()
        if fate is Fate.REFUSED:
            raise StoreUnavailable(Sentence("The store sleeps."))
        answer = await super()._run(name, key_names, args)
        if fate is Fate.LOST:
            raise StoreUnavailable(Sentence("The store sleeps."))
        return answer


@dataclass(slots=True, kw_only=True)
class Entry:
    """What the store knows of a message besides its record; ``attempts`` without the one that goes on."""

    due_ms: int
    planned_ms: int
    created_ms: int
    attempts: int = 0
    failures: int = 0
    fingerprint: str = "-"
    error: str | None = None
    lease: str | None = None
    hastened: bool = False
    """Somebody asked to send it at once."""


@dataclass(slots=True, kw_only=True)
class Model:
    """What has to stand in the store. ``knows_fingerprints`` is what scripts of an imitation do not."""

    knows_fingerprints: bool
    records: dict[str, bytes] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    entries: dict[str, Entry] = field(default_factory=dict)
    letters: dict[str, tuple[int, DeadReason, bytes, int, str | None]] = field(default_factory=dict)
    counters: Counter[str] = field(default_factory=Counter)
    account: Counter[tuple[int, str]] = field(default_factory=Counter)
    log: list[tuple[str, int, str]] = field(default_factory=list)

    def _open(self, name: str, entry: Entry) -> None:
        self.entries[name] = entry
        self._plan(entry.due_ms)

    def _plan(self, at_ms: int, n: int = 1) -> None:
        self.account[at_ms // 60_000, "p"] += n
        self.account[at_ms // 60_000, "o"] += n

    def _close(self, name: str, kind: str) -> bool:
        """End what the store knows of an id; say whether it knew anything."""
        entry = self.entries.pop(name, None)
        if entry is not None:
            self.account[entry.planned_ms // 60_000, kind] += 1
            self.account[entry.planned_ms // 60_000, "o"] -= 1
        return entry is not None

    def exists(self, name: str) -> bool:
        return name in self.records or name in self.foreign

    def schedule(self, new: Message, policy: ConflictPolicy, fire_at: datetime) -> Scheduled:
        record = encode(new)
        if new.id in self.foreign:
            return Scheduled.FOREIGN_KEY
        there = new.id in self.records
        if there and policy is ConflictPolicy.REJECT:
            return Scheduled.CREATED if self.records[new.id] == record else Scheduled.EXISTS
        self._close(new.id, REPLACED if there else DELETED)
        self._write(new, fire_at)
        self.counters["replaced" if there else "scheduled"] += 1
        return Scheduled.REPLACED if there else Scheduled.CREATED

    def _write(self, new: Message, fire_at: datetime) -> None:
        self.records[new.id] = encode(new)
        due_ms = to_ms(fire_at)
        self._open(new.id, Entry(due_ms=due_ms, planned_ms=due_ms, created_ms=version_time_ms(new.version)))

    def cancel(self, name: str) -> bool:
        there = self.records.pop(name, None) is not None
        self._close(name, DELETED)
        self.counters["deleted"] += there
        return there

    def run_now(self, name: str, now_ms: int) -> bool:
        entry = self.entries.get(name)
        if entry is None or not self.exists(name):
            return False
        if entry.lease is None and entry.due_ms > now_ms:
            entry.due_ms, entry.hastened = now_ms, True
        return True

    def defer(self, names: Iterable[str], until_ms: int, now_ms: int) -> None:
        for name in names:
            entry = self.entries.get(name)
            if entry is not None and entry.lease is None and entry.due_ms <= now_ms:
                entry.due_ms = until_ms

    def lease(self, names: Iterable[str], claim: str, now_ms: int, ahead_ms: int) -> list[str]:
        """Lease what is due by then; return the ids."""
        leased = []
        for name in names:
            entry = self.entries.get(name)
            if entry is None or entry.lease is not None or entry.due_ms > now_ms + ahead_ms:
                continue
            if name in self.records:
                expiry = now_ms + int(LEASE.total_seconds() * 1000)
                entry.lease = f"{claim}:{entry.attempts + 1}:{entry.due_ms}:{expiry}"
                leased.append(name)
            else:
                self._close(name, DELETED)
                self.counters["vanished"] += 1
        return leased

    def is_known(self, name: str) -> bool:
        """Say whether the record is the one that was scheduled or adopted, and reads."""
        record = self.records[name]
        ours = own_version(record) is not None or self.entries[name].fingerprint == sha1(record)
        return ours and isinstance(read(name, record), Message)

    def settle(self, settlement: Settlement, now_ms: int) -> Settled:
        """End a lease, and write the log."""
        claimed = settlement.claimed
        name, found = claimed.message.id, Settled.LOST
        entry = self.entries.get(name)
        if entry is not None and entry.lease == claimed.lease:
            if name in self.foreign or self.records.get(name, claimed.record) != claimed.record:
                self._close(name, REPLACED)
                found = Settled.CHANGED
            else:
                self._end(settlement, entry, now_ms)
                found = Settled.APPLIED
        if settlement.outcome is not None and (found is not Settled.LOST or not settlement.repeated):
            self.log.append((name, claimed.attempt, settlement.outcome.kind.value))
        return found

    def _end(self, settlement: Settlement, entry: Entry, now_ms: int) -> None:
        claimed, name, decision = settlement.claimed, settlement.claimed.message.id, settlement.decision
        outcome = settlement.outcome
        record = self.records.get(name)
        if decision in (Decision.RETRY, Decision.RELEASE) and record is not None:
            entry.lease = None
            entry.due_ms = to_ms(settlement.retry_at or claimed.due_at)
            entry.attempts = claimed.attempt if settlement.begun else claimed.attempt - 1
            if decision is Decision.RETRY:
                assert outcome is not None
                entry.failures, entry.error = claimed.failures + 1, outcome.error
            return
        self.records.pop(name, None)
        if decision is Decision.DONE:
            self._close(name, DELIVERED)
            self.counters["delivered"] += 1
        elif record is None:
            self._close(name, DELETED)
            self.counters["deleted"] += 1
        else:
            assert settlement.reason is not None
            error = (outcome.error if outcome else None) or claimed.last_error
            self._bury(name, settlement.reason, record, claimed.attempt - (outcome is None), error, now_ms)
            self._close(name, MISSED if settlement.reason is DeadReason.MISSED_WINDOW else DEAD)

    def _bury(
        self, name: str, reason: DeadReason, record: bytes, attempts: int, error: str | None, now_ms: int
    ) -> None:
        self.letters[name] = (now_ms, reason, record, attempts, error)
        self.counters[f"dead:{reason.value}"] += 1

    def inspect(self, names: Iterable[str]) -> list[tuple[str, bytes]]:
        """Forget what is gone; return the records that have to be adopted."""
        new = []
        for name in names:
            record = self.records.get(name)
            if record is None:
                self.counters["deleted"] += self._close(name, DELETED)
            elif name not in self.entries or not self._looks_known(name, record):
                new.append((name, record))
        return new

    def _looks_known(self, name: str, record: bytes) -> bool:
        entry = self.entries[name]
        if self.knows_fingerprints:
            return own_version(record) is not None or entry.fingerprint == sha1(record)
        return own_version(record) is not None or entry.fingerprint != "-"

    def adopt(self, items: Iterable[tuple[str, bytes]], now_ms: int) -> None:
        for name, record in items:
            entry = self.entries.get(name)
            found = read(name, record)
            if self.records.get(name) != record:
                continue
            if isinstance(found, Message) and entry is not None and entry.fingerprint == sha1(record):
                continue  # another replica was quicker
            self._close(name, REPLACED)
            if isinstance(found, InvalidInput):
                del self.records[name]
                self._plan(now_ms)
                self.account[now_ms // 60_000, DEAD] += 1
                self.account[now_ms // 60_000, "o"] -= 1
                self._bury(name, DeadReason.INVALID_RECORD, record, 0, str(found), now_ms)
                continue
            due_ms, version = to_ms(found.due_at), own_version(record)
            created_ms = now_ms if version is None else version_time_ms(version)
            self._open(name, Entry(due_ms=due_ms, planned_ms=due_ms, created_ms=created_ms, fingerprint=sha1(record)))
            self.counters["adopted"] += 1

    def recover(self, name: str) -> None:
        entry = self.entries[name]
        assert entry.lease is not None
        entry.attempts, entry.lease = int(entry.lease.split(":")[2]), None
        self.counters["recovered"] += 1

    def replay(self, letter: DeadLetter, new: Message, fire_at: datetime) -> Scheduled | None:
        known = self.letters.get(letter.id)
        if known is None or known[:2] != (to_ms(letter.dead_at), letter.reason):
            return None
        if self.exists(letter.id):
            return Scheduled.EXISTS
        del self.letters[letter.id]
        self._close(letter.id, DELETED)
        self._write(new, fire_at)
        self.counters["replayed"] += 1
        return Scheduled.CREATED


def read(name: str, record: bytes) -> Message | InvalidInput:
    """Return the message of a record, or why it is none."""
    try:
        return decode(MessageId(name), record, _ANY_VERSION, UTC)
    except InvalidInput as error:
        return error


@dataclass(slots=True, kw_only=True)
class Grant:
    """A lease somebody holds or held, and the settlement that was sent for it without an answer."""

    store: BreakableStore
    claimed: Claimed
    sent: Settlement | None = None


@dataclass(slots=True, kw_only=True)
class Adoption:
    """An examination that has seen ``items`` and has not adopted them yet."""

    store: BreakableStore
    task: asyncio.Task[Any]
    gate: asyncio.Event
    items: list[tuple[str, bytes]]
    began_ms: int


ID = st.sampled_from(IDS)
SOME = st.just(IDS) | st.lists(ID, min_size=1, max_size=len(IDS), unique=True)
REPLICA = st.integers(0, 1)
PICK = st.integers(0, 30)
FATE = st.sampled_from([Fate.ANSWERED] * 5 + [Fate.LOST, Fate.LOST, Fate.REFUSED])
DUE_IN = st.sampled_from([0, 0, 0, 0.001, 1, 70, -70])
LATER = st.sampled_from([0.001, 1, 70])
POLICY = st.sampled_from([ConflictPolicy.REJECT, ConflictPolicy.REPLACE])
REASON = st.sampled_from([DeadReason.RETRIES_EXHAUSTED, DeadReason.MISSED_WINDOW, DeadReason.GONE])


#: By name: when an action is possible, and what it is called with.
ACTIONS: dict[str, tuple[Callable[[Any], bool], st.SearchStrategy[dict[str, Any]]]] = {}
OFTEN = {"begin_to_examine", "claim_and_settle", "settle", "recover", "replay", "meddle_with_an_attempt"}
Method = TypeVar("Method", bound=Callable[..., None])


def action(
    when: Callable[[Any], bool] = lambda _: True, **arguments: st.SearchStrategy[Any]
) -> Callable[[Method], Method]:
    """Make a method one of the things that may happen.

    Not a rule of its own: of these Hypothesis leaves out half in every example, and what follows on what matters here.
    """

    def register(method: Method) -> Method:
        ACTIONS[method.__name__] = (when, st.fixed_dictionaries(arguments))
        return method

    return register


class StoreMachine(RuleBasedStateMachine):
    """Two replicas on one server. Hypothesis calls, and one loop runs what is called."""

    #: Whether the server's scripts can tell fingerprints.
    knows_fingerprints = True

    def __init__(self) -> None:
        super().__init__()
        # Versions rise in a process and tell the time of creation; this clock begins anew.
        message_module._last_version = 0
        self._runner = asyncio.Runner()
        self.clock = FakeClock()
        self.model = Model(knows_fingerprints=self.knows_fingerprints)
        self.redis = cast(Any, self.connect())
        self._do(self.redis.flushall())
        self._named = 0
        self._steps = 0
        self.stores = [self._new_store(), self._new_store()]
        self.silent: set[str] = set()
        self.grants: list[Grant] = []
        self.spent: list[Grant] = []
        self.unheard: list[tuple[Message, ConflictPolicy, datetime]] = []
        self.adoptions: list[Adoption] = []
        self.letters: list[DeadLetter] = []
        self.past: list[bytes] = []

    def connect(self) -> Redis:
        """Return a client of the server."""
        raise NotImplementedError

    def _do(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    def _new_store(self) -> BreakableStore:
        self._named += 1
        store = BreakableStore(self.redis, self.clock, f"r{self._named}")
        self._do(store.heartbeat())
        return store

    def _awake(self, replica: int) -> BreakableStore:
        """Return a replica that is not frozen: one that is, wakes up."""
        store = self.stores[replica]
        if store.name in self.silent:
            self.silent.discard(store.name)
            self._do(store.heartbeat())
        return store

    def _meets(
        self, fate: Fate, store: BreakableStore, script: str, call: Coroutine[Any, Any, T], takes: Sequence[str] = ()
    ) -> T | None:
        """Return the answer to a call; ``None`` where none came.

        Leases it ``takes`` away are told of, or waited for where they are another replica's.
        """
        before = {name: entry.lease for name in takes if (entry := self.model.entries.get(name)) and entry.lease}
        told: list[str] = []
        store.on_taken = told.append
        self.clock.pauses.clear()
        answer = self._meet(fate, store, script, call)
        if takes and answer is not None:
            after = self._do(self.redis.hgetall(keys.LEASED))
            gone = {name: lease.split(":")[0] for name, lease in before.items() if name.encode() not in after}
            assert set(told) == {name for name, holder in gone.items() if holder == store.name}
            assert bool(self.clock.pauses) == any(holder != store.name for holder in gone.values())
        return answer

    def _meet(self, fate: Fate, store: BreakableStore, script: str, call: Coroutine[Any, Any, T]) -> T | None:
        store.fates[script] = fate
        try:
            answer = self._do(call)
        except StoreUnavailable:
            assert fate is not Fate.ANSWERED
            return None
        finally:
            store.fates.clear()
        return answer

    def teardown(self) -> None:
        try:
            self._finish_adoptions()
            self._look(self.stores[0])
        finally:
            self._do(self.redis.aclose())
            self._runner.close()

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """Let one thing happen."""
        possible = [name for name, (when, _) in ACTIONS.items() if when(self)]
        # What deletes is many things; what makes something happen to a message has to come often enough.
        possible += [name for name in possible if name in OFTEN] * 2
        chosen = data.draw(st.sampled_from(possible))
        getattr(self, chosen)(**data.draw(ACTIONS[chosen][1]))

    # -- clients

    @initialize()
    def begin_with_some(self) -> None:
        self.schedule([(name, 0, ConflictPolicy.REJECT) for name in IDS[:3]], 0, Fate.ANSWERED, False)

    @action(
        items=st.lists(st.tuples(ID, DUE_IN, POLICY), min_size=1, max_size=3),
        replica=REPLICA,
        fate=FATE,
        again=st.booleans(),
    )
    def schedule(self, items: list[tuple[str, float, ConflictPolicy]], replica: int, fate: Fate, again: bool) -> None:
        now = self.clock.now()
        wishes = []
        for name, due_in, policy in items:
            new = message(name, due_in=due_in, now=now, payload=b"%d" % len(self.past))
            self.past.append(encode(new))
            wishes.append((new, policy, max(new.due_at, now)))
        self._schedule(wishes, replica, fate)
        if fate is Fate.LOST and again:
            del self.unheard[-len(wishes) :]
            self._schedule(wishes, 1 - replica, Fate.ANSWERED)  # as most clients would, at once

    @action(when=lambda self: bool(self.unheard), pick=PICK, replica=REPLICA, fate=FATE)
    def schedule_what_had_no_answer_again(self, pick: int, replica: int, fate: Fate) -> None:
        self._schedule([self.unheard.pop(pick % len(self.unheard))], replica, fate)

    def _schedule(self, wishes: Sequence[tuple[Message, ConflictPolicy, datetime]], replica: int, fate: Fate) -> None:
        store = self._awake(replica)

        async def together() -> Sequence[Scheduled]:
            return await asyncio.gather(*(store.schedule(*wish) for wish in wishes))

        answers = self._meets(fate, store, "schedule", together(), [new.id for new, _, _ in wishes])
        expected = [] if fate is Fate.REFUSED else [self.model.schedule(*wish) for wish in wishes]
        if answers is None:
            self.unheard += wishes
        else:
            assert list(answers) == expected

    @action(
        when=lambda self: bool(self.model.records),
        names=st.lists(ID, min_size=1, max_size=3),
        replica=REPLICA,
        fate=FATE,
    )
    def cancel(self, names: list[str], replica: int, fate: Fate) -> None:
        store = self._awake(replica)
        answers = self._meets(fate, store, "cancel", store.cancel([MessageId(name) for name in names]), names)
        if fate is not Fate.REFUSED:
            expected = [self.model.cancel(name) for name in names]
            assert answers in (None, expected)

    @action(
        when=lambda self: bool(self.model.entries),
        prefix=st.sampled_from(["", "a", "*", "zz"]),
        contains=st.sampled_from(["", "b", ":"]),
        replica=REPLICA,
    )
    def cancel_matching(self, prefix: str, contains: str, replica: int) -> None:
        store = self._awake(replica)
        matching = self._matching(prefix, contains)
        assert self._do(store.search_ids(prefix, contains)) == matching
        deleted = self._do(store.cancel_matching(prefix, contains))
        assert deleted == [name for name in matching if self.model.cancel(name)]

    def _matching(self, prefix: str, contains: str) -> list[str]:
        return sorted(name for name in self.model.entries if name.startswith(prefix) and contains in name)

    @action(when=lambda self: bool(self.model.entries), name=ID, replica=REPLICA, fate=FATE)
    def run_now(self, name: str, replica: int, fate: Fate) -> None:
        store = self._awake(replica)
        answer = self._meets(fate, store, "run_now", store.run_now(MessageId(name), self.clock.now()))
        if fate is not Fate.REFUSED:
            assert answer in (None, self.model.run_now(name, to_ms(self.clock.now())))

    @action(
        when=lambda self: bool(self.model.letters or self.letters),
        name=ID,
        due_in=DUE_IN,
        pick=PICK,
        replica=REPLICA,
        fate=FATE,
    )
    def replay(self, name: str, due_in: float, pick: int, replica: int, fate: Fate) -> None:
        store = self._awake(replica)
        letter = self._do(store.dead_letter(MessageId(name)))
        if letter is not None and letter not in self.letters:
            self.letters.append(letter)
        if not self.letters:
            return
        letter = self.letters[-1 - pick % len(self.letters)]  # an older one, too
        new = message(letter.id, due_in=due_in, now=self.clock.now(), payload=b'"replayed"')
        fire_at = max(new.due_at, self.clock.now())
        answer = self._meets(fate, store, "replay", store.replay(letter, new, fire_at))
        if fate is not Fate.REFUSED:
            expected = self.model.replay(letter, new, fire_at)
            assert answer is expected or fate is Fate.LOST

    @action(
        when=lambda self: bool(self.model.letters),
        name=ID,
        ago=st.none() | st.sampled_from([0, 1, 50]),
        replica=REPLICA,
    )
    def discard_letters(self, name: str, ago: float | None, replica: int) -> None:
        """One, or those that are older."""
        if ago is None:
            found = self._do(self._awake(replica).discard(MessageId(name)))
            assert found == (self.model.letters.pop(name, None) is not None)
            return
        before = self.clock.now() - timedelta(seconds=ago)
        old = [name for name, letter in self.model.letters.items() if letter[0] < to_ms(before)]
        assert self._do(self._awake(replica).forget_dead(before)) == len(old)
        for name in old:
            del self.model.letters[name]

    # -- the engine

    @action(replica=REPLICA, decision=st.sampled_from(Decision), after=LATER, reason=REASON, fate=FATE)
    def claim_and_settle(self, replica: int, decision: Decision, after: float, reason: DeadReason, fate: Fate) -> None:
        """What a replica does most of the time."""
        self.claim(IDS, replica, Fate.ANSWERED, Fate.ANSWERED, 1000)
        if self.grants:
            self.settle([len(self.grants) - 1], decision, after, reason, True, fate)

    @action(
        when=lambda self: bool(self.model.entries),
        names=SOME,
        replica=REPLICA,
        fate=FATE,
        then=FATE,
        ahead_ms=st.sampled_from([0, 1, 1000]),
    )
    def claim(self, names: list[str], replica: int, fate: Fate, then: Fate, ahead_ms: int = 0) -> None:
        store = self._awake(replica)
        store.claims += 1
        now, now_ms = self.clock.now(), self.clock.now_ms()
        asked = [MessageId(name) for name in names]
        store.fates["adopt"] = then
        claims = self._meets(fate, store, "claim", store.claim(asked, now, timedelta(milliseconds=ahead_ms)))
        if fate is Fate.REFUSED:
            return
        leased = self.model.lease(names, f"{store.name}:{store.claims}", now_ms, ahead_ms)
        if claims is None:
            return
        changed = [name for name in leased if not self.model.is_known(name)]
        assert [claimed.message.id for claimed in claims] == [name for name in leased if name not in changed]
        if then is not Fate.REFUSED:
            self.model.adopt([(name, self.model.records[name]) for name in changed], now_ms)
        for claimed in claims:
            self._granted(store, claimed)

    def _granted(self, store: BreakableStore, claimed: Claimed) -> None:
        entry = self.model.entries[claimed.message.id]
        assert claimed.lease == entry.lease
        assert claimed.record == self.model.records[claimed.message.id]
        assert (claimed.attempt, claimed.failures, claimed.last_error) == (
            entry.attempts + 1,
            entry.failures,
            entry.error,
        )
        assert claimed.planned_ms == entry.planned_ms
        assert claimed.at_ms == entry.due_ms
        assert claimed.due_at == attempt_due(
            replace(claimed.message, created_at=from_ms(entry.created_ms)), from_ms(entry.due_ms), entry.failures
        )
        assert claimed.message.due_at <= from_ms(claimed.at_ms) or entry.hastened, "early"
        self.grants.append(Grant(store=store, claimed=claimed))

    @action(
        when=lambda self: bool(self.grants),
        picks=st.just([0, 1, 2, 3]) | st.lists(PICK, min_size=1, max_size=3),
        decision=st.sampled_from(Decision),
        after=LATER,
        reason=REASON,
        begun=st.booleans(),
        fate=FATE,
    )
    def settle(
        self, picks: list[int], decision: Decision, after: float, reason: DeadReason, begun: bool, fate: Fate
    ) -> None:
        first = self.grants[picks[0] % len(self.grants)]
        chosen: list[Grant] = []
        for pick in picks:
            grant = self.grants[pick % len(self.grants)]
            if grant.store is first.store and grant not in chosen:
                chosen.append(grant)
        settlements = [
            replace(grant.sent, repeated=True) if grant.sent else self._end(grant, decision, after, reason, begun)
            for grant in chosen
        ]
        answered = self._settle(first.store, settlements, fate)
        for grant, settlement in zip(chosen, settlements, strict=True):
            grant.sent = settlement
            if answered:
                self.grants.remove(grant)
                self.spent.append(grant)

    def _end(self, grant: Grant, decision: Decision, after: float, reason: DeadReason, begun: bool) -> Settlement:
        claimed, now = grant.claimed, self.clock.now()
        later = now + timedelta(seconds=after)
        failed = outcome(OutcomeKind.FAILURE, now=now)
        match decision:
            case Decision.DONE:
                return Settlement(claimed=claimed, decision=decision, outcome=outcome(now=now))
            case Decision.RETRY:
                return Settlement(claimed=claimed, decision=decision, outcome=failed, retry_at=later)
            case Decision.BURY:
                return Settlement(claimed=claimed, decision=decision, outcome=failed if begun else None, reason=reason)
            case Decision.RELEASE:
                return Settlement(
                    claimed=claimed, decision=decision, begun=begun, retry_at=later if after > 1 else None
                )

    def _settle(self, store: BreakableStore, settlements: Sequence[Settlement], fate: Fate) -> bool:
        """Settle together; return whether there was an answer."""
        now_ms = self.clock.now_ms()

        async def together() -> Sequence[Settled]:
            return await asyncio.gather(*(store.settle(settlement) for settlement in settlements))

        answers = self._meets(fate, store, "settle", together())
        if fate is Fate.REFUSED:
            return False
        expected = [self.model.settle(settlement, now_ms) for settlement in settlements]
        if answers is None:
            return False
        assert list(answers) == expected
        for settlement, settled in zip(settlements, expected, strict=True):
            if settled is Settled.CHANGED:
                self.model.adopt(self.model.inspect([settlement.claimed.message.id]), now_ms)
        return True

    @action(
        when=lambda self: bool(self.grants or self.spent),
        pick=PICK,
        decision=st.sampled_from(Decision),
        part=st.none() | st.integers(0, 4),
        repeated=st.booleans(),
    )
    def settle_with_a_lease_of_the_past(self, pick: int, decision: Decision, part: int | None, repeated: bool) -> None:
        """Settled before, or its holder is taken for dead; or with one that never was, a part of it being wrong."""
        known = [*self.spent, *self.grants]
        grant = known[pick % len(known)]
        claimed = grant.claimed
        if part is not None or not self.spent:
            parts = claimed.lease.split(":")
            parts[part or 0] += "0"
            claimed = replace(claimed, lease=Lease(":".join(parts)))
        elif grant in self.grants:
            return
        settlement = self._end(Grant(store=grant.store, claimed=claimed), decision, 1, DeadReason.GONE, True)
        self._settle(grant.store, [replace(settlement, repeated=repeated)], Fate.ANSWERED)

    @action(when=lambda self: bool(self.grants), pick=PICK, fate=FATE)
    def give_up_settling(self, pick: int, fate: Fate) -> None:
        """Its caller is cancelled: whether or not it was carried out, nobody comes again."""
        grant = self.grants.pop(pick % len(self.grants))
        store, now_ms = grant.store, self.clock.now_ms()
        settlement = self._end(grant, Decision.DONE, 1, DeadReason.GONE, True)

        async def cancelled() -> None:
            task = asyncio.create_task(store.settle(settlement))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await store.drain()

        self._meets(fate, store, "settle", cancelled())
        self.spent.append(grant)
        if fate is not Fate.REFUSED:
            self.model.settle(settlement, now_ms)
        elif store in self.stores:
            self._watch(self.stores.index(store), False)

    @action(when=lambda self: bool(self.model.entries), names=SOME, after=LATER, replica=REPLICA)
    def defer(self, names: list[str], after: float, replica: int) -> None:
        until = self.clock.now() + timedelta(seconds=after)
        self._do(self._awake(replica).defer([MessageId(name) for name in names], until, self.clock.now()))
        self.model.defer(names, to_ms(until), to_ms(self.clock.now()))

    # -- outsiders

    @action(name=ID, record=st.none() | st.sampled_from(BROKEN), due_in=DUE_IN)
    def write_a_record(self, name: str, record: bytes | None, due_in: float) -> None:
        """A good one or a broken one."""
        good = outside_record(due_in, now=self.clock.now(), payload=len(self.past))
        self._set(name, good if record is None else record)

    @action(when=lambda self: bool(any(name not in self.model.entries for name in IDS)), pick=PICK, which=PICK)
    def write_a_copy_of_a_record_of_ours(self, pick: int, which: int) -> None:
        """As from a backup; of an id that lives it would be taken for the one that was scheduled."""
        free = [name for name in IDS if name not in self.model.entries]
        self._set(free[which % len(free)], self.past[-1 - pick % len(self.past)])

    def _set(self, name: str, record: bytes) -> None:
        self._do(self.redis.set(keys.record(name), record))
        self.model.records[name] = record
        self.model.foreign.discard(name)

    @action(
        pick=PICK,
        what=st.sampled_from(
            [b'{"webhookUrl":"http://a/","payload":1,"scheduleTo":"2026-04-15T02:45Z"}', BROKEN[0], None]
        ),
        decision=st.sampled_from(Decision),
        begun=st.booleans(),
    )
    def meddle_with_an_attempt(self, pick: int, what: bytes | None, decision: Decision, begun: bool) -> None:
        """Write or delete the record of what is being delivered, just before the attempt ends."""
        self.claim(IDS, pick % 2, Fate.ANSWERED, Fate.ANSWERED)
        if not self.grants:
            return
        index = -1 - pick % len(self.grants)
        name = self.grants[index].claimed.message.id
        if what is not None:
            self._set(name, what)
        elif name in self.model.records:
            self._delete(name)
        self.settle([index], decision, 1, DeadReason.GONE, begun, Fate.ANSWERED)

    @action(when=lambda self: bool(self.model.records), pick=PICK, foreign=st.booleans())
    def delete_a_record(self, pick: int, foreign: bool) -> None:
        """Perhaps to put something else in its place."""
        name = sorted(self.model.records)[pick % len(self.model.records)]
        self._delete(name)
        if foreign:
            self._do(self.redis.hset(keys.record(name), "a", "1"))
            self.model.foreign.add(name)

    def _delete(self, name: str) -> None:
        self._do(self.redis.delete(keys.record(name)))
        del self.model.records[name]

    @action(names=SOME, replica=REPLICA, fate=FATE, then=FATE)
    def examine(self, names: list[str], replica: int, fate: Fate, then: Fate) -> None:
        store, now_ms = self._awake(replica), self.clock.now_ms()
        store.fates["adopt"] = then
        call = store.examine([MessageId(name) for name in names])
        store.fates["inspect"] = fate
        try:
            self._do(call)
        except StoreUnavailable:
            assert Fate.ANSWERED is not fate or Fate.ANSWERED is not then
        store.fates.clear()
        if fate is Fate.REFUSED:
            return
        new = self.model.inspect(names)
        if fate is Fate.ANSWERED and then is not Fate.REFUSED:
            self.model.adopt(new, now_ms)

    @action(names=SOME, replica=REPLICA, raced=st.booleans())
    def begin_to_examine(self, names: list[str], replica: int, raced: bool) -> None:
        """Perhaps the other replica adopts, and claims, what this one is about to adopt."""
        store = self._awake(replica)
        task, gate = self._do(held_up(store, "adopt", store.examine([MessageId(name) for name in names])))
        items = self.model.inspect(names)
        assert task.done() == (not items)
        if items:
            self.adoptions.append(
                Adoption(store=store, task=task, gate=gate, items=items, began_ms=self.clock.now_ms())
            )
        if raced:
            self.examine(names, 1 - replica, Fate.ANSWERED, Fate.ANSWERED)
            self.claim(IDS, 1 - replica, Fate.ANSWERED, Fate.ANSWERED)
            self._finish_adoptions()

    @action(when=lambda self: bool(self.adoptions))
    def go_on_examining(self) -> None:
        self._finish_adoptions()

    def _finish_adoptions(self) -> None:
        for adoption in self.adoptions:
            self._do(let_go(adoption.task, adoption.gate))
            self.model.adopt(adoption.items, adoption.began_ms)
        self.adoptions.clear()

    # -- replicas and time

    @action(
        replica=REPLICA,
        how=st.sampled_from(["crashes", "stops", "freezes"]),
        watched=st.booleans(),
        late=st.booleans(),
    )
    def lose_a_replica(self, replica: int, how: str, watched: bool, late: bool) -> None:
        """A frozen one settles what it holds when it wakes up; in the place of another a new one starts."""
        self.claim(IDS, replica, Fate.ANSWERED, Fate.ANSWERED)
        self._lose(replica, how)
        if watched:
            self._watch(1 - replica, late)

    def _lose(self, replica: int, how: str) -> None:
        store = self.stores[replica]
        self._do(store.farewell() if how == "stops" else self.redis.delete(keys.heartbeat(store.name)))
        self.silent.add(store.name)
        if how == "freezes":
            return
        self.spent += [grant for grant in self.grants if grant.store is store]
        self.grants = [grant for grant in self.grants if grant.store is not store]

        async def cancel(task: asyncio.Task[Any]) -> None:
            task.cancel()
            await asyncio.wait([task])

        for adoption in self.adoptions:
            if adoption.store is store:
                self._do(cancel(adoption.task))
        self.adoptions = [adoption for adoption in self.adoptions if adoption.store is not store]
        self.stores[replica] = self._new_store()

    @action(seconds=st.sampled_from([0.001, 0.5, 1, 21, 100, LEASE.total_seconds() + 1]))
    def wait(self, seconds: float) -> None:
        outlives = seconds > LEASE.total_seconds()
        if outlives:
            self.claim(IDS, 1, Fate.ANSWERED, Fate.ANSWERED)
        self.clock.move(seconds)
        if outlives:
            self._watch(0, False)

    @action(replica=REPLICA, fate=FATE, late=st.booleans())
    def recover(self, replica: int, fate: Fate, late: bool) -> None:
        """Look once; where that fails, for so long that every lease that nobody will settle is given back."""
        self._recover(self._awake(replica), fate)
        if fate is not Fate.ANSWERED:
            self._watch(replica, late)

    def _watch(self, replica: int, late: bool) -> None:
        """With ``late``, the dead settle after all, in the moment before their leases are given back."""
        looker = self._awake(replica)
        for _ in range(LOOKS):
            self.clock.move(0.5)
            self._recover(looker, Fate.ANSWERED, late)
        stuck = [name for name, entry in self.model.entries.items() if entry.lease and self._is_nobodys(name, looker)]
        assert not stuck

    def _recover(self, looker: BreakableStore, fate: Fate, late: bool = False) -> None:
        for store in self.stores:
            if store.name not in self.silent:
                self._do(store.heartbeat())
        if fate is Fate.ANSWERED and late:
            task, gate = self._do(held_up(looker, "recover", looker.recover(self.clock.now())))
            for grant in [] if task.done() else list(self.spent):
                self._settle(grant.store, [self._end(grant, Decision.DONE, 1, DeadReason.GONE, True)], fate)
            recovered: Recovered | None = self._do(let_go(task, gate))
        else:
            recovered = self._meets(fate, looker, "recover", looker.recover(self.clock.now()))
        leased = self._do(self.redis.hgetall(keys.LEASED))
        gone = [name for name, entry in self.model.entries.items() if entry.lease and name.encode() not in leased]
        for name in gone:
            assert self._is_nobodys(name, looker), "taken from somebody who lives"
            self.model.recover(name)
        assert recovered is None or recovered.leases == len(gone)

    def _is_nobodys(self, name: str, looker: BreakableStore) -> bool:
        """Say whether nobody will settle the lease any more, as far as one replica can know."""
        entry = self.model.entries[name]
        assert entry.lease is not None
        holder, expiry = entry.lease.split(":")[0], int(entry.lease.split(":")[-1])
        if holder == looker.name:
            # What one claim leased for one time has the same lease.
            mine: set[tuple[str, str]] = {
                (grant.claimed.message.id, grant.claimed.lease) for grant in self.grants if grant.store is looker
            }
            return (name, entry.lease) not in mine
        return holder in self.silent or expiry < to_ms(self.clock.now())

    # -- what has to be so after every step

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        self._do(self._compare())
        self._steps += 1
        if self._steps % 4 == 0:
            self._look(self.stores[self._steps // 4 % 2])

    async def _compare(self) -> None:
        pipe = self.redis.pipeline(transaction=False)
        pipe.zrange(keys.DUE, 0, -1, withscores=True)
        pipe.zrange(keys.INDEX, 0, -1)
        for key in (keys.LEASED, keys.STATE, keys.DEAD, keys.COUNTERS, keys.AUDIT):
            pipe.hgetall(key)
        pipe.zrange(keys.DEAD_INDEX, 0, -1)
        for name in IDS:
            pipe.type(keys.record(name))
        due, index, leased, states, dead, counters, account, dead_index, *types = await pipe.execute()
        model = self.model
        waiting = {name: entry.due_ms for name, entry in model.entries.items() if entry.lease is None}
        held = {name: entry.lease for name, entry in model.entries.items() if entry.lease is not None}
        assert {name.decode(): int(ms) for name, ms in due} == waiting
        assert {name.decode(): lease.decode() for name, lease in leased.items()} == held
        assert [name.decode() for name in index] == sorted(model.entries)
        assert {name.decode() for name in states} <= set(model.entries)
        for name, entry in model.entries.items():
            state = State.decode(states.get(name.encode()))
            assert (state.attempts, state.failures, state.last_error) == (entry.attempts, entry.failures, entry.error)
            assert state.origin.split(" ")[1] == entry.fingerprint
            assert (entry.due_ms if state.planned_ms is None else state.planned_ms) == entry.planned_ms
        kinds = {name: kind.decode() for name, kind in zip(IDS, types, strict=True)}
        assert {name for name, kind in kinds.items() if kind == "string"} == set(model.records)
        assert {name for name, kind in kinds.items() if kind == "hash"} == model.foreign
        self._compare_letters(dead, dead_index)
        counted = {name.decode(): int(n) for name, n in counters.items()}
        assert {name: n for name, n in counted.items() if n and (name in COUNTED or name[:5] == "dead:")} == {
            name: n for name, n in model.counters.items() if n
        }
        self._compare_account({name.decode(): int(n) for name, n in account.items()})

    def _compare_letters(self, dead: dict[bytes, bytes], index: list[bytes]) -> None:
        read = [decode_dead(name.decode(), text, UTC) for name, text in dead.items()]
        letters = {
            each.id: (to_ms(each.dead_at), each.reason, each.record, each.attempts, each.last_error) for each in read
        }
        assert letters == self.model.letters
        places = set()
        for name, (at_ms, reason, *_) in self.model.letters.items():
            places |= {f"t\0{at_ms:013}\0{name}", f"r\0{reason.value}\0{at_ms:013}\0{name}", f"i\0{name}"}
        assert {place.decode() for place in index} == places

    def _compare_account(self, account: dict[str, int]) -> None:
        expected: Counter[str] = Counter()
        for (minute, kind), n in self.model.account.items():
            expected[f"{minute}{kind}"] += n
            expected[kind] += n
        assert {name: n for name, n in account.items() if n} == {name: n for name, n in expected.items() if n}
        ended = sum(expected[kind] for kind in (DELIVERED, DEAD, DELETED, REPLACED, MISSED))
        assert expected["p"] == ended + len(self.model.entries)

    def _look(self, store: BreakableStore) -> None:
        """Compare what the verbs that read tell."""
        self._do(self._read(store))

    async def _read(self, store: BreakableStore) -> None:
        model = self.model
        live: dict[str, tuple[Entry, Message]] = {}
        for name, entry in model.entries.items():
            written = read(name, model.records[name]) if name in model.records else None
            if isinstance(written, Message):
                live[name] = (entry, written)
        for name in IDS:
            found = await store.get(MessageId(name))
            assert (found is not None) == (name in live)
            if found is not None:
                entry, written = live[name]
                assert (found.message.payload, found.next_run_at) == (written.payload, from_ms(entry.due_ms))
                assert (found.status, found.attempts, found.last_error) == (*standing(entry), entry.error)
        listed = [(item.id, to_ms(item.next_run_at), item.status, item.attempts) async for item in pages(store)]
        shown = [
            (name, entry.due_ms, *standing(entry))
            for name, entry in sorted(model.entries.items(), key=lambda item: (item[1].due_ms, item[0]))
            if name in model.records and "webhookUrl" in members_of(model.records[name])
        ]
        assert listed == shown
        searched = await store.search("a", "", 10, None)
        assert [each.id for each in searched.items] == sorted(name for name in live if name.startswith("a"))
        counts = await store.counts()
        leased = sum(entry.lease is not None for entry in model.entries.values())
        assert (counts.messages, counts.leased, counts.dead) == (len(model.entries), leased, len(model.letters))
        letters = await store.dead_letters(10, None)
        assert sorted(letter.id for letter in letters.items) == sorted(model.letters)
        lines = await store.deliveries(10_000, None)
        told = [(line.message_id, line.attempt, line.status.value) for line in reversed(lines.items)]
        assert told == model.log
        assert (await store.audit()).messages.difference == 0


async def held_up(
    store: BreakableStore, script: str, call: Coroutine[Any, Any, T]
) -> tuple[asyncio.Task[T], asyncio.Event]:
    """Begin a call, which stops before a script; return it, perhaps finished, and what lets it go on."""
    gate = store.gates[script] = asyncio.Event()
    task = asyncio.create_task(call)
    while script in store.gates and not task.done():
        await asyncio.sleep(0)
    store.gates.clear()
    return task, gate


async def let_go(task: asyncio.Task[T], gate: asyncio.Event) -> T:
    """Let a call that was held up go on; return its answer."""
    gate.set()
    return await task


def standing(entry: Entry) -> tuple[MessageStatus, int]:
    """Return what clients are told a message is doing, and how many attempts it had."""
    if entry.lease is not None:
        return MessageStatus.DELIVERING, entry.attempts + 1
    return MessageStatus.RETRYING if entry.failures else MessageStatus.SCHEDULED, entry.attempts


async def pages(store: RedisStore) -> AsyncIterator[Listed]:
    """Yield all lines of the list, two a page."""
    cursor: str | None = None
    while True:
        page = await store.page(2, cursor)
        for item in page.items:
            yield item
        cursor = page.next_cursor
        if cursor is None:
            return


def members_of(record: bytes) -> dict[str, Any]:
    """Return the members of a record, none where it is no object."""
    try:
        members = orjson.loads(record)
    except orjson.JSONDecodeError:
        return {}
    return members if isinstance(members, dict) else {}


def bounds(examples: int) -> settings:
    """Return how much of the machine is run: the same examples every time, or as many others as are asked for."""
    wanted = os.environ.get("MACHINE_EXAMPLES")
    return settings(
        derandomize=wanted is None,
        max_examples=examples if wanted is None else int(wanted),
        stateful_step_count=50,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=wanted is not None,
    )


def time_limit() -> float:
    """Return after how many seconds a run hangs: a failure takes minutes to be made small."""
    return 400 + 2 * float(os.environ.get("MACHINE_EXAMPLES", "0"))
