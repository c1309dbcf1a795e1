"""Records read before they are claimed."""

from __future__ import annotations

from datetime import UTC

import pytest

from aioscheduler.domain.message import MessageId
from aioscheduler.store import ahead
from aioscheduler.store.ahead import LIFETIME, Ahead
from aioscheduler.store.codec import encode
from tests.support.clock import FakeClock
from tests.support.messages import message, outside_record


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def kept(clock: FakeClock) -> Ahead:
    return Ahead(UTC, clock)


def test_what_was_read_is_given_once_for_the_very_record(kept: Ahead) -> None:
    new = message("m", payload=b"1")
    read = kept.read(new.id, encode(new))
    assert read == new
    assert kept.take(new.id, encode(new)) is read
    assert kept.take(new.id, encode(new)) is None
    kept.read(new.id, encode(new))
    assert kept.take(new.id, encode(message("m", payload=b"2"))) is None
    assert kept.take(new.id, encode(new)) is None, "it was changed meanwhile: nobody knows back to what"


@pytest.mark.parametrize(
    "record",
    [None, b"broken", outside_record(0), encode(message("m"))[:-3] + b'0"}'],
    ids=["nothing", "broken", "an outsider's", "altered"],
)
def test_what_is_none_of_ours_is_not_kept(kept: Ahead, record: bytes | None) -> None:
    assert kept.read(MessageId("m"), record) is None
    assert len(kept) == 0


def test_neither_their_number_nor_their_size_nor_their_age_grows(
    kept: Ahead, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = {name: encode(message(name)) for name in "abcdef"}
    size = len(records["a"])

    def left() -> str:
        return "".join(name for name, record in records.items() if kept.take(MessageId(name), record))

    def read() -> str:
        for name, record in records.items():
            kept.read(MessageId(name), record)
        return left()

    assert read() == "abcdef"
    monkeypatch.setattr(ahead, "MOST", 4)
    assert read() == "cdef"
    monkeypatch.setattr(ahead, "MOST_BYTES", 3 * size)
    assert read() == "def"
    assert kept._bytes == 0
    monkeypatch.setattr(ahead, "MOST_BYTES_EACH", size - 1)
    assert read() == ""
    monkeypatch.setattr(ahead, "MOST_BYTES_EACH", size)
    kept.read(MessageId("a"), records["a"])
    clock.move(LIFETIME + 1)
    kept.read(MessageId("b"), records["b"])
    assert left() == "b"
    for _ in range(5):
        kept.read(MessageId("a"), records["a"])
    assert (len(kept), kept._bytes) == (1, size)
