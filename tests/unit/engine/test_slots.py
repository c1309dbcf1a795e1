from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aioscheduler.domain.message import MessageId
from aioscheduler.domain.target import Destination
from aioscheduler.engine.slots import Slots
from aioscheduler.store.recurring import EntryId

TOTAL, PER_DESTINATION = 12, 5


def fill(slots: Slots, destination: str, count: int, start: int = 0) -> None:
    for i in range(start, start + count):
        slots.enqueue(MessageId(f"{destination}{i}"), Destination(destination))


def take_all(slots: Slots, limit: int = 200) -> list[tuple[EntryId, Destination]]:
    taken: list[tuple[EntryId, Destination]] = []
    while batch := slots.take(limit):
        assert len(batch) <= limit
        taken += batch
    return taken


class SlotsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots(TOTAL, PER_DESTINATION)
        self.out: list[Destination] = []
        self.waiting: dict[str, list[MessageId]] = {}
        self.count = 0

    @rule(destination=st.sampled_from("abcdefgh"), again=st.booleans())
    def enqueue(self, destination: str, again: bool) -> None:
        message_id = MessageId(f"{destination}{self.count}")
        self.count += 1
        for _ in range(1 + again):
            self.slots.enqueue(message_id, Destination(destination))
        self.waiting.setdefault(destination, []).append(message_id)

    @rule(limit=st.integers(1, 20))
    def take(self, limit: int) -> None:
        taken = self.slots.take(limit)
        assert len(taken) <= limit
        for message_id, destination in taken:
            assert self.waiting[destination].pop(0) == message_id, "first come, first served"
            self.out.append(destination)

    @rule(choice=st.randoms())
    def release(self, choice: object) -> None:
        if self.out:
            self.slots.release(self.out.pop(choice.randrange(len(self.out))), finished=True)  # type: ignore[attr-defined]

    @rule(keep=st.integers(0, 3))
    def overflow(self, keep: int) -> None:
        for message_id in self.slots.overflow(keep, 0, 1):
            assert self.waiting[message_id[0]].pop() == message_id, "the last to come go first"
        assert all(len(queue) <= keep for queue in self.waiting.values())

    @invariant()
    def bounds_hold(self) -> None:
        assert self.slots.in_use == len(self.out) <= TOTAL
        assert max(Counter(self.out).values(), default=0) <= PER_DESTINATION
        assert self.slots.waiting == sum(map(len, self.waiting.values()))
        assert 0 <= self.slots.room(Destination("a")) <= PER_DESTINATION

    def teardown(self) -> None:
        for destination in self.out:
            self.slots.release(destination)
        taken = 0
        while batch := self.slots.take(5):
            taken += len(batch)
            for _, destination in batch:
                self.slots.release(destination)
        assert taken == sum(map(len, self.waiting.values())), "nobody waits for ever"
        assert not self.slots._used
        assert not self.slots._waiting
        assert not self.slots._queued


TestSlots = SlotsMachine.TestCase


def test_one_destination_gets_no_more_than_its_share() -> None:
    slots = Slots(1000, 100)
    fill(slots, "a", 500)
    assert len(take_all(slots)) == 100


def test_ten_hanging_destinations_leave_slots_for_an_eleventh() -> None:
    slots = Slots(1000, 100)
    for destination in "abcdefghij":
        fill(slots, destination, 500)
    take_all(slots)
    fill(slots, "eleventh", 100)
    assert len(take_all(slots)) > 0
    slots = Slots(1000, 100)
    for destination in "abcdefghij":
        fill(slots, destination, 2000)
        take_all(slots)
    fill(slots, "eleventh", 100)
    assert len(take_all(slots)) > 0, "also when they came one after the other"


@given(total=st.integers(1, 50), per_destination=st.integers(1, 60))
def test_there_is_always_a_first_slot(total: int, per_destination: int) -> None:
    slots = Slots(total, per_destination)
    fill(slots, "a", 1)
    assert len(slots.take(200)) == 1


def test_destinations_take_turns() -> None:
    slots = Slots(1000, 100)
    fill(slots, "loud", 90)
    fill(slots, "b", 2)
    fill(slots, "c", 2)
    taken = [destination for _, destination in slots.take(9)]
    assert Counter(taken) == {"loud": 5, "b": 2, "c": 2}


def test_whoever_had_a_turn_waits_behind_the_others() -> None:
    slots = Slots(1000, 100)
    for destination in "abcd":
        fill(slots, destination, 3)
    order = [destination for _ in range(8) for _, destination in slots.take(1)]
    assert order == list("abcdabcd")


def test_when_slots_are_scarce_those_with_the_fewest_out_come_first() -> None:
    slots = Slots(20, 20)
    fill(slots, "busy", 40)
    while slots.in_use <= 10:
        slots.take(1)
    fill(slots, "idle", 1)
    assert slots.take(1)[0][1] == "idle"


def test_no_more_destinations_are_looked_at_than_can_have_a_turn() -> None:
    looked = 0

    class Counting(Slots):
        def room(self, destination: Destination) -> int:
            nonlocal looked
            looked += 1
            return super().room(destination)

    slots = Counting(1000, 100)
    for i in range(10_000):
        slots.enqueue(MessageId(f"m{i}"), Destination(f"d{i}"))
    assert len(slots.take(10)) == 10
    assert looked < 100


def test_what_a_destination_cannot_take_in_time_overflows_by_its_own_pace() -> None:
    slots = Slots(100, 50)
    fill(slots, "quick", 50)
    fill(slots, "slow", 50)
    for _, destination in take_all(slots):
        if destination == "quick":
            slots.release(destination, finished=True)
    fill(slots, "quick", 30, start=100)
    fill(slots, "slow", 30, start=100)
    spilled = slots.overflow(least=5, seconds=1, elapsed=2)
    by_destination = Counter(str(message_id).rstrip("0123456789") for message_id in spilled)
    assert by_destination["quick"] == 5, "50 in two seconds are 25 in one"
    assert slots.waiting == 25 + 5


def test_clear_forgets_what_waits_and_keeps_count_of_what_is_out() -> None:
    slots = Slots(2, 2)
    fill(slots, "a", 5)
    slots.take(1)
    slots.clear()
    assert (slots.waiting, slots.in_use) == (0, 1)
    assert slots.take(5) == []
