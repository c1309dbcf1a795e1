"""The heap beside a plain dictionary, through any mixture of pushes and pops."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aioscheduler.domain.message import MessageId
from aioscheduler.domain.target import Destination
from aioscheduler.engine.heap import DueHeap

NAMES = st.sampled_from([f"m{n}" for n in range(12)])


class HeapMachine(RuleBasedStateMachine):
    """Whoever sleeps until the head is due looks at it anew when a push says so, and after each pop."""

    def __init__(self) -> None:
        super().__init__()
        self.heap = DueHeap()
        self.model: dict[str, list[tuple[int, int, str]]] = {}
        self.pushes = 0
        self.sleeps_until: int | None = None

    def times(self) -> list[tuple[tuple[int, int, str], str]]:
        return sorted((value, name) for name, values in self.model.items() for value in values)

    @rule(pushes=st.lists(st.tuples(NAMES, st.integers(0, 9)), min_size=1, max_size=30), where=NAMES)
    def push(self, pushes: list[tuple[str, int]], where: str) -> None:
        for name, due_ms in pushes:
            known = self.model.get(name, [])
            if all(due_ms != value[0] for value in known):
                self.pushes += 1
                self.model[name] = [*([min(known)] if known else []), (due_ms, self.pushes, where)]
            if self.heap.push(due_ms, MessageId(name), Destination(f"http://{where}:80")):
                self.sleeps_until = self.heap.next_due_ms()
            assert self.sleeps_until is not None
            assert self.sleeps_until <= self.times()[0][0][0], "nobody wakes up in time"

    @rule(now=st.integers(-1, 10), limit=st.integers(0, 15))
    def pop(self, now: int, limit: int) -> None:
        """Of entries due at the same time, those come first that had their time first."""
        due = [(value, name) for value, name in self.times() if value[0] <= now][:limit]
        popped = [(entry.due_ms, str(entry.id), entry.destination) for entry in self.heap.pop_due(now, limit)]
        assert popped == [(due_ms, name, f"http://{where}:80") for (due_ms, _, where), name in due]
        for value, name in due:
            self.model[name].remove(value)
            if not self.model[name]:
                del self.model[name]
        self.sleeps_until = self.heap.next_due_ms()

    @rule()
    def look(self) -> None:
        assert self.heap.next_due_ms() == min((value[0] for value, _ in self.times()), default=None)

    @invariant()
    def it_is_as_long_as_the_model_and_its_memory_bounded(self) -> None:
        assert len(self.heap) == len(self.model)
        assert len(self.heap._heap) <= 3 * len(self.model) + 64


TestHeap = HeapMachine.TestCase
TestHeap.settings = settings(derandomize=True, max_examples=40, stateful_step_count=25, deadline=None)
