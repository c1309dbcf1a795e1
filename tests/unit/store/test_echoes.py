from __future__ import annotations

from aioscheduler.store.echoes import LIFETIME, Echoes
from tests.support.clock import FakeClock


def test_as_many_notifications_as_were_caused_are_ours_and_one_more_is_not() -> None:
    echoes = Echoes(FakeClock().monotonic)
    echoes.expect(b"k")
    echoes.expect(b"k")
    assert [echoes.is_own(b"k") for _ in range(3)] == [True, True, False]
    assert not echoes.is_own(b"other")


def test_a_write_that_did_not_happen_hides_nothing() -> None:
    echoes = Echoes(FakeClock().monotonic)
    echoes.expect(b"k")
    echoes.forget(b"k")
    assert not echoes.is_own(b"k")


def test_a_notification_taken_for_ours_before_our_write_failed_is_handed_on() -> None:
    mistaken: list[bytes] = []
    echoes = Echoes(FakeClock().monotonic)
    echoes.mistaken = mistaken.append
    echoes.expect(b"k")
    assert echoes.is_own(b"k")
    echoes.forget(b"k")
    assert mistaken == [b"k"]
    echoes.expect(b"k")
    echoes.forget(b"k")
    assert mistaken == [b"k"]


def test_an_expectation_that_is_not_met_ends_also_when_nothing_is_written_any_more() -> None:
    clock = FakeClock()
    echoes = Echoes(clock.monotonic)
    echoes.expect(b"k")
    clock.move(LIFETIME + 1)
    assert not echoes.is_own(b"k")


def test_memory_does_not_grow_without_notifications() -> None:
    clock = FakeClock()
    echoes = Echoes(clock.monotonic)
    for i in range(1000):
        echoes.expect(b"%d" % i)
        clock.move(LIFETIME / 10)
    assert len(echoes._expected) == len(echoes._order) <= 12


def test_a_new_connection_expects_nothing() -> None:
    echoes = Echoes(FakeClock().monotonic)
    echoes.expect(b"k")
    echoes.clear()
    assert not echoes.is_own(b"k")
