from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aioscheduler.domain.message import MessageId
from aioscheduler.domain.target import Destination
from aioscheduler.engine.heap import DueHeap

D = Destination("http://a:80")
pushes = st.lists(st.tuples(st.integers(0, 50), st.sampled_from("abcdefgh")), max_size=60)


@given(pushes=pushes, now=st.integers(-1, 51), limit=st.integers(1, 20))
def test_each_id_comes_out_at_the_earliest_time_and_at_the_one_it_was_pushed_with_last(
    pushes: list[tuple[int, str]], now: int, limit: int
) -> None:
    heap = DueHeap()
    model: dict[str, list[int]] = {}
    for due_ms, name in pushes:
        heap.push(due_ms, MessageId(name), D)
        known = model.setdefault(name, [])
        if due_ms not in known:
            model[name] = [*([min(known)] if known else []), due_ms]
        assert len(heap) == len(model)
        assert heap.next_due_ms() == min(map(min, model.values()))
    times = sorted(due for known in model.values() for due in known)
    first = [(entry.due_ms, str(entry.id)) for entry in heap.pop_due(now, limit)]
    assert [due for due, _ in first] == [due for due in times if due <= now][:limit]
    rest = [(entry.due_ms, str(entry.id)) for entry in heap.pop_due(100, 100)]
    assert sorted(first + rest) == sorted((due, name) for name, known in model.items() for due in known)
    assert [due for due, _ in first + rest] == times
    assert heap.next_due_ms() is None
    assert len(heap) == 0


@given(pushes)
def test_a_push_says_whether_the_timer_has_to_be_set_anew(pushes: list[tuple[int, str]]) -> None:
    heap = DueHeap()
    for due_ms, name in pushes:
        before = heap.next_due_ms()
        earliest = heap.push(due_ms, MessageId(name), D)
        if before is None or due_ms < before:
            assert earliest


def test_entries_due_at_the_same_time_come_out_as_they_were_pushed() -> None:
    heap = DueHeap()
    for name in "cab":
        heap.push(5, MessageId(name), D)
    assert [entry.id for entry in heap.pop_due(5, 10)] == ["c", "a", "b"]


def test_memory_goes_by_live_entries_however_often_they_move() -> None:
    heap = DueHeap()
    for i in range(10_000):
        heap.push(i, MessageId("moves on"), D)
        heap.push(i % 2, MessageId("to and fro"), D)
        heap.push(0, MessageId("stays"), D)
    assert len(heap) == 3
    assert len(heap._heap) <= 3 * 3 + 64
    popped = sorted((str(entry.id), entry.due_ms) for entry in heap.pop_due(10_000, 10))
    assert popped == [("moves on", 0), ("moves on", 9999), ("stays", 0), ("to and fro", 0), ("to and fro", 1)]
