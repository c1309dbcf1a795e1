"""What the tail of a record tells of it, byte by byte."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from aioscheduler.store.codec import TAIL_LENGTH, encode, own_version
from tests.support.messages import message

#: Where the version stands in the tail, and the fingerprint behind it; these alone may be others in a record of ours.
VERSION, FINGERPRINT = range(9, 19), range(19, 25)


@settings(derandomize=True, max_examples=200)
@given(data=st.data(), payload=st.binary(max_size=9).map(lambda raw: b'"' + raw.hex().encode() + b'"'))
def test_any_changed_byte_of_the_tail_but_in_the_version_makes_a_record_an_outsiders(
    data: st.DataObject, payload: bytes
) -> None:
    sent = message(payload=payload)
    record = bytearray(encode(sent))
    tail = len(record) - TAIL_LENGTH
    place = data.draw(st.sampled_from([n for n in range(TAIL_LENGTH) if n not in VERSION]))
    assert bytes(record[tail + FINGERPRINT.start : tail + FINGERPRINT.stop]).isalnum()
    record[tail + place] ^= data.draw(st.integers(1, 255))
    assert own_version(bytes(record)) is None


@settings(derandomize=True)
@given(due_in=st.integers(0, 10**9), cut=st.integers(1, 60), extra=st.binary(min_size=1, max_size=5))
def test_a_record_cut_short_or_with_more_behind_it_is_an_outsiders(due_in: int, cut: int, extra: bytes) -> None:
    record = encode(message(due_in=timedelta(milliseconds=due_in).total_seconds()))
    assert own_version(record) is not None
    assert own_version(record[:-cut]) is None
    assert own_version(record + extra) is None
    assert own_version(extra + record) is None
