from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aioscheduler.domain.execution import DeadReason, OutcomeKind
from aioscheduler.domain.message import MessageId
from aioscheduler.domain.target import Destination
from aioscheduler.engine import circuit
from aioscheduler.engine.circuit import (
    FORGET_SECONDS,
    LONGEST_PAUSE,
    REOPEN_FAILURES,
    SPAN_SECONDS,
    Change,
    Circuits,
    Ticket,
    Turn,
    Verdict,
    verdict_of,
)
from aioscheduler.engine.slots import Slots, owner_of
from aioscheduler.store.recurring import EntryId
from tests.support.clock import START
from tests.support.messages import outcome

A, B = Destination("http://a:80"), Destination("http://b:80")


def fail(circuits: Circuits, *times: float, destination: Destination = A) -> list[Turn]:
    """Let attempts fail that began before there was a circuit; return what became of it."""
    changes = [circuits.ended(destination, None, Verdict.FAILED, at) for at in times]
    return [change.turn for change in changes if change is not None]


def opened(failures: int = 20, probe: float = 5.0, rate: float = 100.0) -> Circuits:
    """Return circuits of which A's opened at second 10."""
    circuits = Circuits(failures, probe, rate)
    assert fail(circuits, *[0.0] * (failures - 1), SPAN_SECONDS) == [Turn.OPENED]
    return circuits


def probe(circuits: Circuits, now: float) -> Ticket:
    circuits.refresh(now)
    assert circuits.allowed(A) == 1
    ticket = circuits.reserve(A)
    assert circuits.allowed(A) == 0
    return ticket


def ended(circuits: Circuits, ticket: Ticket, verdict: Verdict, now: float) -> Change | None:
    return circuits.ended(A, ticket, verdict, now)


# -- what an attempt says


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.ALIVE),
        (302, Verdict.ALIVE),
        (400, Verdict.ALIVE),
        (410, Verdict.ALIVE),
        (429, Verdict.FAILED),
        (499, Verdict.ALIVE),
        (500, Verdict.FAILED),
        (503, Verdict.FAILED),
        (None, Verdict.FAILED),
    ],
)
def test_an_answer_says_that_a_destination_lives_unless_it_says_that_it_cannot(
    status: int | None, verdict: Verdict
) -> None:
    said = outcome(OutcomeKind.FAILURE, now=START)
    said.response_code = status
    assert verdict_of(said) is verdict


def test_what_our_own_policy_refuses_says_nothing_about_the_destination() -> None:
    said = outcome(OutcomeKind.FAILURE, now=START)
    said.response_code, said.permanent = None, DeadReason.REJECTED_BY_POLICY
    assert verdict_of(said) is Verdict.NOTHING


def test_what_failed_for_a_reason_of_this_machine_says_nothing_either() -> None:
    said = outcome(OutcomeKind.FAILURE, now=START)
    said.response_code, said.ours = None, True
    assert verdict_of(said) is Verdict.NOTHING


def test_no_answer_in_time_is_a_failure() -> None:
    said = outcome(OutcomeKind.TIMED_OUT, now=START)
    said.response_code = None
    assert verdict_of(said) is Verdict.FAILED


# -- when it opens


@pytest.mark.parametrize(
    ("times", "opens"),
    [
        ([0.0] * 10_000, False),
        ([i / 30 for i in range(30)], False),
        ([0.0] * 19 + [9.99], False),
        ([0.0] * 18 + [10.0], False),
        ([0.0] * 19 + [10.0], True),
        ([i * 1.0 for i in range(20)], True),
        ([0.0] * 19 + [FORGET_SECONDS + 1], False),
    ],
)
def test_it_takes_enough_failures_in_a_row_over_long_enough(times: list[float], opens: bool) -> None:
    circuits = Circuits(20)
    assert fail(circuits, *times) == [Turn.OPENED] * opens
    assert (circuits.open, circuits.opened, A in circuits.limited) == (opens, opens, opens)


def test_a_destination_that_fails_half_the_time_never_opens() -> None:
    circuits = Circuits(20)
    for second in range(1000):
        assert circuits.ended(A, None, (Verdict.FAILED, Verdict.ALIVE)[second % 2], second) is None
    assert not circuits.limited


def test_one_success_among_the_failures_begins_the_count_again() -> None:
    circuits = Circuits(20)
    assert fail(circuits, *range(19)) == []
    assert ended(circuits, None, Verdict.ALIVE, 19) is None
    assert fail(circuits, *range(20, 39)) == []
    assert fail(circuits, 39) == [Turn.OPENED]


def test_what_says_nothing_counts_neither_way() -> None:
    circuits = Circuits(20)
    fail(circuits, *[0.0] * 19)
    assert ended(circuits, None, Verdict.NOTHING, 5) is None
    assert fail(circuits, 10) == [Turn.OPENED]


def test_each_destination_has_a_circuit_of_its_own() -> None:
    circuits = opened()
    assert B not in circuits.limited
    assert fail(circuits, *[20.0] * 19, destination=B) == []
    assert fail(circuits, 30.0, destination=B) == [Turn.OPENED]
    assert (circuits.open, circuits.opened) == (2, 2)


def test_0_failures_switch_circuits_off() -> None:
    circuits = Circuits(0)
    assert fail(circuits, *range(1000)) == []
    assert not circuits.limited


def test_the_turn_says_how_many_failed_for_how_long() -> None:
    circuits = Circuits(20)
    fail(circuits, *[3.0] * 24)
    change = circuits.ended(A, None, Verdict.FAILED, 15.5)
    assert change == Change(destination=A, turn=Turn.OPENED, failures=25, seconds=12.5, pause=5)


# -- while it is open


def test_nothing_is_allowed_until_the_probe_and_then_one() -> None:
    circuits = opened()
    assert circuits.refresh(14.999) == ([], [])
    assert (circuits.allowed(A), circuits.next_at()) == (0, 15)
    assert circuits.refresh(15) == ([A], [])
    assert circuits.allowed(A) == 1
    circuits.reserve(A)
    circuits.refresh(100)
    assert circuits.allowed(A) == 0, "one at a time, however long it takes"


def test_the_pause_between_probes_grows_to_its_limit() -> None:
    circuits, at, pauses = opened(), 10.0, []
    pause = 5.0
    for _ in range(6):
        circuits.refresh(at + pause - 0.001)
        assert circuits.allowed(A) == 0
        at += pause
        change = ended(circuits, probe(circuits, at), Verdict.FAILED, at)
        assert change is not None
        assert change.turn is Turn.PROBED
        pauses.append(pause := change.pause)
    assert pauses == [10, 20, 30, 30, 30, 30]
    assert max(pauses) == LONGEST_PAUSE
    assert circuits.opened == 1


def test_a_pause_that_is_set_longer_than_the_limit_stays() -> None:
    circuits = opened(probe=120)
    change = ended(circuits, probe(circuits, 130), Verdict.FAILED, 130)
    assert change is not None
    assert change.pause == 120


def test_failures_of_attempts_that_began_before_it_opened_are_no_probes() -> None:
    circuits = opened()
    ticket = probe(circuits, 15)
    assert fail(circuits, *[16.0] * 100) == []
    assert circuits.allowed(A) == 0, "the probe is still out"
    assert ended(circuits, None, Verdict.NOTHING, 16) is None
    assert circuits.allowed(A) == 0
    assert ended(circuits, ticket, Verdict.FAILED, 17) is not None


def test_a_probe_that_was_not_made_is_made_by_another() -> None:
    circuits = opened()
    ticket = probe(circuits, 15)
    assert ended(circuits, ticket, Verdict.NOTHING, 16) is None
    circuits.refresh(16)
    assert circuits.allowed(A) == 1
    circuits.reserve(A)
    circuits.give_back(A)
    assert circuits.refresh(16)[0] == [A]
    assert circuits.allowed(A) == 1


@pytest.mark.parametrize("with_ticket", [True, False])
def test_any_success_closes_it_also_of_an_attempt_that_began_before(with_ticket: bool) -> None:
    circuits = opened()
    ticket = probe(circuits, 15)
    change = ended(circuits, ticket if with_ticket else None, Verdict.ALIVE, 22)
    assert change == Change(destination=A, turn=Turn.CLOSED, failures=0, seconds=12)
    assert circuits.open == 0


def test_an_open_one_that_nothing_waits_for_is_forgotten() -> None:
    circuits = opened()
    assert circuits.refresh(15) == ([A], [])
    assert circuits.refresh(15 + FORGET_SECONDS - 1) == ([], [])
    ready, (change,) = circuits.refresh(15 + FORGET_SECONDS)
    assert (ready, change.turn, circuits.open) == ([A], Turn.FORGOTTEN, 0)
    circuits.emptied(A)
    assert not circuits.limited


def test_one_that_is_probed_in_vain_for_days_is_not_forgotten() -> None:
    circuits, at = opened(), 15.0
    for _ in range(1000):
        change = ended(circuits, probe(circuits, at), Verdict.FAILED, at)
        assert change is not None
        at += change.pause
        assert circuits.refresh(at)[1] == []
    assert circuits.open == 1
    assert len(circuits._timers) < 100


# -- while it drains


def drain(circuits: Circuits, since: float, seconds: float, step: float) -> list[float]:
    """Take whatever is allowed, every ``step`` seconds; return when attempts began."""
    began = []
    for number in range(int(seconds / step) + 1):
        now = since + number * step
        circuits.refresh(now)
        if A in circuits.limited and (count := circuits.allowed(A)):
            circuits.reserve(A, count)
            began += [now] * count
    return began


@pytest.mark.parametrize(("rate", "at_once"), [(100, 3), (10, 1), (1000, 21), (3, 1)])
@pytest.mark.parametrize("step", [0.002, 0.007, 0.05])
def test_what_waited_goes_at_the_rate_and_evenly(rate: float, at_once: int, step: float) -> None:
    circuits = opened(rate=rate)
    ended(circuits, probe(circuits, 15), Verdict.ALIVE, 16)
    began = drain(circuits, 16, 10, step)
    assert len(began) <= rate * 10 + at_once
    assert len(began) >= 0.99 * rate * 10 or step > 0.02, "a timer that is a little late costs nothing"
    assert max(began.count(at) for at in set(began)) <= at_once
    for i, at in enumerate(began[at_once:]):
        assert at - began[i] >= at_once / rate - 0.02 - 1e-6


def test_the_next_look_is_when_the_next_may_go() -> None:
    circuits = opened()
    ended(circuits, probe(circuits, 15), Verdict.ALIVE, 16)
    assert circuits.next_at() == 16
    circuits.refresh(16)
    circuits.reserve(A)
    assert circuits.allowed(A) == 0
    assert circuits.next_at() == pytest.approx(16.01)
    circuits.give_back(A)
    assert circuits.allowed(A) == 1


def test_it_is_over_when_nothing_waits_any_more() -> None:
    circuits = opened()
    circuits.emptied(A)
    assert circuits.open == 1, "an open one stays"
    ended(circuits, probe(circuits, 15), Verdict.ALIVE, 16)
    circuits.emptied(A)
    assert not circuits.limited
    assert fail(circuits, *[16.0] * 19) == [], "and the count begins again"


def test_a_few_failures_while_it_drains_open_it_again_with_a_longer_pause() -> None:
    circuits = opened()
    ended(circuits, probe(circuits, 15), Verdict.ALIVE, 16)
    circuits.refresh(16)
    ticket = circuits.reserve(A)
    assert fail(circuits, *[16.0] * 50) == [], "those that began before say nothing"
    for _ in range(REOPEN_FAILURES - 1):
        assert ended(circuits, ticket, Verdict.FAILED, 16.5) is None
    assert ended(circuits, ticket, Verdict.ALIVE, 16.6) is None
    for _ in range(REOPEN_FAILURES - 1):
        assert ended(circuits, ticket, Verdict.FAILED, 16.7) is None
    change = ended(circuits, ticket, Verdict.FAILED, 17)
    assert change == Change(destination=A, turn=Turn.OPENED, failures=REOPEN_FAILURES, seconds=1, pause=10)
    assert (circuits.open, circuits.opened) == (1, 2)
    circuits.refresh(26.9)
    assert circuits.allowed(A) == 0


# -- memory


def test_as_many_are_remembered_as_there_is_place_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit, "MOST", 5)
    circuits = Circuits(2)
    for number in range(100):
        fail(circuits, 0, destination=Destination(f"d{number}"))
    assert list(circuits._streaks) == [f"d{number}" for number in range(95, 100)]
    for number in range(100):
        fail(circuits, 20, 40, destination=Destination(f"d{number}"))
    assert circuits.open == 5
    assert len(circuits._streaks) <= 5


def test_nothing_is_remembered_of_destinations_that_are_well() -> None:
    circuits = Circuits(20)
    for number in range(100):
        fail(circuits, 0, destination=Destination(f"d{number}"))
        circuits.ended(Destination(f"d{number}"), None, Verdict.ALIVE, 1)
    assert not circuits._streaks
    assert not circuits._timers


# -- with the slots


class CircuitMachine(RuleBasedStateMachine):
    """Circuits under slots, as the dispatcher uses them; the names of destinations say how these are."""

    RATE = 4.0

    def __init__(self) -> None:
        super().__init__()
        self.circuits = Circuits(3, 5.0, self.RATE)
        self.slots = Slots(20, 8, self.circuits)
        self.now = 0.0
        self.count = 0
        self.sick = {"a": False, "b": False}
        self.out: list[tuple[Destination, Ticket]] = []
        self.taken: list[tuple[EntryId, Destination]] = []
        self.probes: dict[str, list[Ticket]] = {"a": [], "b": []}
        self.drained: dict[str, list[float]] = {"a": [], "b": []}

    @rule(destination=st.sampled_from("ab"), count=st.integers(1, 20))
    def enqueue(self, destination: str, count: int) -> None:
        for _ in range(count):
            self.count += 1
            self.slots.enqueue(MessageId(f"m{self.count}"), Destination(destination))

    @rule(destination=st.sampled_from("ab"), sick=st.booleans())
    def change(self, destination: str, sick: bool) -> None:
        self.sick[destination] = sick

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 4.0, 7.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(limit=st.integers(1, 30))
    def take(self, limit: int) -> None:
        if self.taken:
            return  # one claim at a time
        for change in self.slots.refresh(self.now):
            self.note(change)
        self.taken = self.slots.take(limit)

    @rule(claimed=st.integers(0, 30), begins=st.booleans())
    def begin(self, claimed: int, begins: bool) -> None:
        self.slots.give_back(self.taken)
        for number, (entry_id, destination) in enumerate(self.taken):
            if number >= claimed:
                continue  # somebody else's by now, or deleted
            if not self.slots.room(destination):
                self.slots.enqueue(entry_id, destination)
                continue
            state = self.circuits.limited.get(destination)
            ticket = self.circuits.reserve(destination)
            if isinstance(state, circuit._Open):
                assert not self.probes[destination], "one probe at a time"
                assert self.now >= state.since + 5, "not before its time"
                self.probes[destination].append(ticket)
            elif state is not None:
                self.drained[destination].append(self.now)
            self.slots.occupy(destination, owner_of(entry_id))
            self.out.append((destination, ticket))
            if not begins:
                self.end(len(self.out) - 1, Verdict.NOTHING)
        self.taken = []

    @rule(choice=st.randoms(use_true_random=False), count=st.integers(1, 5))
    def answer(self, choice: object, count: int) -> None:
        for _ in range(min(count, len(self.out))):
            index = choice.randrange(len(self.out))  # type: ignore[attr-defined]
            sick = self.sick[self.out[index][0]]
            self.end(index, Verdict.FAILED if sick else Verdict.ALIVE)

    def end(self, index: int, verdict: Verdict) -> None:
        destination, ticket = self.out.pop(index)
        change = self.circuits.ended(destination, ticket, verdict, self.now)
        if ticket in self.probes[destination]:
            self.probes[destination].remove(ticket)
        if change is not None:
            self.note(change)
        self.slots.release(destination, finished=verdict is not Verdict.NOTHING)

    def note(self, change: Change) -> None:
        if change.turn is not Turn.PROBED:
            # Whatever is still out belongs to the circuit as it was.
            self.probes[change.destination] = []
            self.drained[change.destination] = []
        if change.turn in (Turn.CLOSED, Turn.FORGOTTEN) and not self.slots.waits(change.destination):
            self.circuits.emptied(change.destination)

    @invariant()
    def the_rate_is_bounded(self) -> None:
        for destination, times in self.drained.items():
            if destination not in self.circuits.limited:
                times.clear()
            for i, at in enumerate(times):
                assert len(times) - i <= (self.now - at) * self.RATE + 1.1

    @invariant()
    def bounds_hold(self) -> None:
        assert self.slots.in_use == len(self.out) + len(self.taken)
        assert self.circuits.open == sum(isinstance(each, circuit._Open) for each in self.circuits.limited.values())

    def teardown(self) -> None:
        self.begin(30, True)
        self.sick = dict.fromkeys(self.sick, False)
        for _ in range(10_000):
            while self.out:
                self.end(0, Verdict.ALIVE)
            if not self.slots.waiting:
                break
            self.now += 0.3
            self.take(30)
            self.begin(30, True)
        assert not self.slots.waiting, "nobody waits for ever"


TestCircuits = CircuitMachine.TestCase
TestCircuits.settings = settings(max_examples=60, stateful_step_count=60, deadline=timedelta(seconds=5))
