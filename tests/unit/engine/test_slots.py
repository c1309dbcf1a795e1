from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aioscheduler.domain.execution import ExecutionId
from aioscheduler.domain.job import JobId, Owner
from aioscheduler.domain.message import MessageId
from aioscheduler.domain.target import Destination
from aioscheduler.engine.circuit import SPAN_SECONDS, Circuits, Verdict
from aioscheduler.engine.slots import Slots, owner_of
from aioscheduler.store.recurring import EntryId, ExecutionRef

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


# -- accounts


def execution(owner: str, number: int) -> ExecutionRef:
    return ExecutionRef(Owner(owner), JobId("job"), None, ExecutionId(f"{owner}-{number}"))


def run(slots: Slots, owner: str, destination: str, count: int, start: int = 0) -> None:
    for i in range(start, start + count):
        slots.enqueue(execution(owner, i), Destination(destination))


def owners(taken: list[tuple[EntryId, Destination]]) -> Counter[str]:
    return Counter(owner_of(entry_id) for entry_id, _ in taken)


def test_owners_take_turns_at_a_destination_and_messages_are_one_of_them() -> None:
    slots = Slots(1000, 100)
    run(slots, "loud", "a", 500)
    run(slots, "quiet", "a", 3)
    fill(slots, "a", 4)
    assert owners(slots.take(12)) == {"loud": 5, "quiet": 3, "": 4}


def test_the_turn_goes_on_where_the_last_claim_ended() -> None:
    slots = Slots(1000, 100)
    for owner in ("x", "y", "z"):
        run(slots, owner, "a", 3)
    assert [owner_of(slots.take(1)[0][0]) for _ in range(7)] == list("xyzxyzx")


def test_within_a_line_the_first_to_come_is_the_first_to_go() -> None:
    slots = Slots(1000, 100)
    run(slots, "x", "a", 3)
    run(slots, "y", "a", 3)
    taken = [entry_id for entry_id, _ in take_all(slots, 2)]
    assert [each for each in taken if owner_of(each) == "x"] == [execution("x", i) for i in range(3)]


def test_an_account_that_floods_a_thousand_hanging_destinations_leaves_slots_for_others() -> None:
    slots = Slots(1000, 100)
    for i in range(1000):
        run(slots, "loud", f"d{i}", 10, start=10 * i)
    assert len(take_all(slots)) == 800, "four times what is left"
    run(slots, "quiet", "elsewhere", 50)
    run(slots, "third", "d3", 1)
    fill(slots, "f", 50)
    assert owners(take_all(slots)) == {"quiet": 50, "third": 1, "": 50}


def test_two_accounts_that_flood_leave_slots_too() -> None:
    slots = Slots(1000, 100)
    for owner in ("one", "two"):
        for i in range(1000):
            run(slots, owner, f"d{i}", 2, start=2 * i)
    take_all(slots)
    assert slots.in_use < 1000
    run(slots, "quiet", "elsewhere", 20)
    assert owners(take_all(slots))["quiet"] == 20


def test_messages_have_no_share_as_an_account_has() -> None:
    slots = Slots(1000, 100)
    for i in range(1000):
        slots.enqueue(MessageId(f"m{i}"), Destination(f"d{i}"))
    assert len(take_all(slots)) == 1000


def test_an_account_goes_on_as_soon_as_it_has_room_again() -> None:
    slots = Slots(10, 10)
    for i in range(20):
        run(slots, "loud", f"d{i}", 1, start=i)
    taken = take_all(slots)
    assert len(taken) == 8
    assert slots.take(200) == []
    for entry_id, destination in taken[:5]:
        slots.release(destination, owner_of(entry_id), finished=True)
    assert len(take_all(slots)) == 5


def test_what_overflows_is_of_the_owner_with_most_waiting() -> None:
    slots = Slots(100, 50)
    run(slots, "loud", "a", 30)
    run(slots, "other", "a", 12)
    fill(slots, "a", 5)
    spilled = slots.overflow(least=15, seconds=0, elapsed=1)
    assert Counter(map(owner_of, spilled)) == {"loud": 25, "other": 7}
    assert spilled[0] == execution("loud", 29), "the last to come go first"
    assert owners(take_all(slots)) == {"loud": 5, "other": 5, "": 5}


def test_what_an_account_without_room_has_waiting_overflows_as_well() -> None:
    slots = Slots(10, 10)
    for i in range(10):
        run(slots, "loud", f"d{i}", 2, start=2 * i)
    assert len(take_all(slots)) == 8
    assert len(slots.overflow(least=0, seconds=0, elapsed=1)) == 12
    assert (slots.waiting, slots.destinations, slots._short, slots._waiting) == (0, 0, {}, {})
    run(slots, "loud", "d9", 1, start=100)
    assert slots.waiting == 1


class AccountsMachine(RuleBasedStateMachine):
    """As above, with accounts."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots(TOTAL, PER_DESTINATION)
        self.out: list[tuple[EntryId, Destination]] = []
        self.waiting: dict[tuple[str, str], list[EntryId]] = {}
        self.count = 0

    @rule(destination=st.sampled_from("abcdefgh"), owner=st.sampled_from(["", "x", "y", "z"]), count=st.integers(1, 4))
    def enqueue(self, destination: str, owner: str, count: int) -> None:
        for _ in range(count):
            self.count += 1
            entry_id = execution(owner, self.count) if owner else MessageId(f"m{self.count}")
            self.slots.enqueue(entry_id, Destination(destination))
            self.waiting.setdefault((destination, owner), []).append(entry_id)

    @rule(limit=st.integers(1, 20), begins=st.integers(0, 20))
    def take(self, limit: int, begins: int) -> None:
        taken = self.slots.take(limit)
        for entry_id, destination in taken:
            assert self.waiting[destination, owner_of(entry_id)].pop(0) == entry_id
        self.slots.give_back(taken)
        for entry_id, destination in taken[:begins]:
            self.slots.occupy(destination, owner_of(entry_id))
            self.out.append((entry_id, destination))

    @rule(choice=st.randoms(use_true_random=False))
    def release(self, choice: object) -> None:
        if self.out:
            entry_id, destination = self.out.pop(choice.randrange(len(self.out)))  # type: ignore[attr-defined]
            self.slots.release(destination, owner_of(entry_id), finished=True)

    @rule(keep=st.integers(0, 3))
    def overflow(self, keep: int) -> None:
        for entry_id in self.slots.overflow(keep, 0, 1):
            (line,) = (line for line in self.waiting.values() if entry_id in line)
            assert line.pop() == entry_id
        for destination in "abcdefgh":
            assert sum(len(line) for (name, _), line in self.waiting.items() if name == destination) <= keep

    @rule(destination=st.sampled_from("abcdefgh"))
    def nobody_is_passed_over(self, destination: str) -> None:
        """Who has nothing out and waits where nothing is out has a slot, if there is one for each destination."""
        using = {owner_of(entry_id) for entry_id, _ in self.out}
        ready = [
            owner
            for (name, owner), line in self.waiting.items()
            if name == destination and line and owner not in using and destination not in {each for _, each in self.out}
        ]
        competing = {name for (name, _), line in self.waiting.items() if line}
        if ready and TOTAL - len(self.out) >= len(competing):
            taken = self.slots.take(200)
            assert any(each == destination for _, each in taken)
            for entry_id, each in taken:
                self.waiting[each, owner_of(entry_id)].remove(entry_id)
            self.out += taken

    @invariant()
    def bounds_hold(self) -> None:
        assert self.slots.in_use == len(self.out) <= TOTAL
        assert max(Counter(destination for _, destination in self.out).values(), default=0) <= PER_DESTINATION
        assert self.slots.waiting == sum(map(len, self.waiting.values()))

    def teardown(self) -> None:
        for entry_id, destination in self.out:
            self.slots.release(destination, owner_of(entry_id))
        taken = 0
        while batch := self.slots.take(5):
            taken += len(batch)
            self.slots.give_back(batch)
        assert taken == sum(map(len, self.waiting.values())), "nobody waits for ever"
        slots = self.slots
        assert not any((slots._used, slots._used_by, slots._waiting, slots._queues, slots._queued, slots._short))
        assert not slots._aside


TestAccounts = AccountsMachine.TestCase


# -- what cannot go costs nothing


class Counting(Slots):
    """Counts at how many destinations somebody looks."""

    looked = 0

    def room(self, destination: Destination) -> int:
        self.looked += 1
        return super().room(destination)


def test_destinations_that_are_full_are_not_looked_at_again_and_again() -> None:
    slots = Counting(1000, 1)
    for i in range(300):
        fill(slots, f"hanging{i}-", 5)
    assert len(take_all(slots)) == 300
    slots.looked = 0
    for number in range(100):
        fill(slots, "healthy", 1, start=number)
        ((_, destination),) = slots.take(200)
        slots.release(destination, finished=True)
    assert slots.looked < 1000
    slots.release(Destination("hanging7-"), finished=True)
    assert slots.take(200) == [("hanging7-1", "hanging7-")], "but when they have room again"


def test_what_an_account_without_room_has_waiting_is_not_looked_at_again_and_again() -> None:
    slots = Counting(1000, 100)
    for i in range(3000):
        run(slots, "loud", f"d{i}", 1, start=i)
    take_all(slots)
    slots.looked = 0
    for number in range(100):
        fill(slots, "healthy", 1, start=number)
        ((_, destination),) = slots.take(200)
        slots.release(destination, finished=True)
    assert slots.looked < 1000


def test_destinations_whose_circuit_is_open_are_not_looked_at_again_and_again() -> None:
    circuits = Circuits(2)
    slots = Counting(1000, 100, circuits)
    for i in range(1000):
        fill(slots, f"sick{i}-", 2)
        for at in (0.0, SPAN_SECONDS):
            circuits.ended(Destination(f"sick{i}-"), None, Verdict.FAILED, at)
    assert slots.take(200) == []
    slots.looked = 0
    for number in range(100):
        slots.refresh(11 + number / 100)
        fill(slots, "healthy", 1, start=number)
        ((_, destination),) = slots.take(200)
        slots.release(destination, finished=True)
    assert slots.looked < 1000
    slots.refresh(15)
    assert len(take_all(slots)) == 1000, "a probe each"


@pytest.mark.parametrize("used", [10, 20])
def test_a_slot_is_asked_for_again_when_a_circuit_and_the_limit_both_were_in_the_way(used: int) -> None:
    circuits = Circuits(2)
    slots = Slots(1000, 20, circuits)
    a = Destination("a")
    for _ in range(used):
        slots.occupy(a)
    fill(slots, "a", 1)
    for at in (0.0, SPAN_SECONDS):
        circuits.ended(a, None, Verdict.FAILED, at)
    assert slots.take(200) == []
    slots.refresh(15)
    assert len(slots.take(200)) == (used < 20)
    for _ in range(used):
        slots.release(a, finished=True)
    assert len(slots.take(200)) == (used == 20)
