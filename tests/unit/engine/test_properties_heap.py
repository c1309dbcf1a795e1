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
        self.model: dict[str, tuple[int, int, str]] = {}
        self.pushes = 0
        self.sleeps_until: int | None = None

    @rule(pushes=st.lists(st.tuples(NAMES, st.integers(0, 9)), min_size=1, max_size=30), where=NAMES)
    def push(self, pushes: list[tuple[str, int]], where: str) -> None:
        for name, due_ms in pushes:
            if name not in self.model or self.model[name][0] != due_ms:
                self.pushes += 1
                self.model[name] = (due_ms, self.pushes, where)
            if self.heap.push(due_ms, MessageId(name), Destination(f"http://{where}:80")):
                self.sleeps_until = self.heap.next_due_ms()
            assert self.sleeps_until is not None
            assert self.sleeps_until <= min(self.model.values())[0], "nobody wakes up in time"

    @rule(now=st.integers(-1, 10), limit=st.integers(0, 15))
    def pop(self, now: int, limit: int) -> None:
        """Of entries due at the same time, those come first that had their time first."""
        due = sorted((value, name) for name, value in self.model.items() if value[0] <= now)[:limit]
        popped = [(entry.due_ms, str(entry.id), entry.destination) for entry in self.heap.pop_due(now, limit)]
        assert popped == [(due_ms, name, f"http://{where}:80") for (due_ms, _, where), name in due]
        for _, name in due:
            del self.model[name]
        self.sleeps_until = self.heap.next_due_ms()

    @rule()
    def look(self) -> None:
        earliest = min((due_ms for due_ms, _, _ in self.model.values()), default=None)
        assert self.heap.next_due_ms() == earliest

    @invariant()
    def it_is_as_long_as_the_model_and_its_memory_bounded(self) -> None:
        assert len(self.heap) == len(self.model)
        assert len(self.heap._heap) <= 2 * len(self.model) + 64


TestHeap = HeapMachine.TestCase
TestHeap.settings = settings(derandomize=True, max_examples=40, stateful_step_count=25, deadline=None)
