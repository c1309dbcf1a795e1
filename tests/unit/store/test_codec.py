from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioscheduler.clock import from_ms
from aioscheduler.domain.execution import DeadReason, Opening, Outcome, OutcomeKind
from aioscheduler.domain.message import MessageId, new_version
from aioscheduler.errors import InvalidInput
from aioscheduler.store.base import Delivery
from aioscheduler.store.codec import (
    TAIL_LENGTH,
    State,
    decode,
    decode_dead,
    decode_delivery,
    encode,
    encode_dead,
    encode_delivery,
    own_version,
    sha1,
)
from tests.support.clock import START
from tests.support.messages import message

VERSION = new_version(0)

text = st.text(st.characters(exclude_categories=["Cs"]))
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text | st.just("payload"), inner, max_size=4),
    max_leaves=12,
)
spaced_json = json_values.map(lambda value: orjson.dumps(value, option=orjson.OPT_INDENT_2))
payloads = json_values.map(orjson.dumps) | spaced_json | st.integers(2**64, 2**200).map(lambda n: str(n).encode())
members = st.fixed_dictionaries(
    {},
    optional={
        "method": st.sampled_from(["GET", "PUT"]),
        "headers": st.dictionaries(st.from_regex(r"x-[a-z]{1,9}", fullmatch=True), st.just("v w")),
        "timeoutSeconds": st.integers(1, 300) | st.floats(1, 300),
        "retry": st.fixed_dictionaries({}, optional={"maxAttempts": st.integers(1, 50), "other": json_values}),
        "misfireGraceSeconds": st.integers(0, 10**6),
    },
)


@given(message_id=text.filter(bool), payload=payloads, given=members, due_in=st.integers(0, 10**9))
def test_a_message_comes_back_from_its_record(
    message_id: str, payload: bytes, given: dict[str, Any], due_in: int
) -> None:
    sent = message(message_id, payload=payload, due_in=due_in / 1000, **given)
    record = encode(sent)
    assert own_version(record) == sent.version
    read = decode(sent.id, record, sent.version, UTC)
    assert read.created_at <= sent.created_at < read.created_at + timedelta(seconds=1)
    assert read.payload == payload
    for name in ("id", "version", "due_at", "schedule_to", "target", "timeout_seconds", "retry", "given"):
        assert getattr(read, name) == getattr(sent, name)


@given(data=st.data(), payload=payloads)
def test_any_changed_byte_of_a_record_makes_it_an_outsiders(data: st.DataObject, payload: bytes) -> None:
    record = bytearray(encode(message(payload=payload)))
    place = data.draw(st.integers(0, len(record) - TAIL_LENGTH - 1))
    record[place] ^= data.draw(st.integers(1, 255))
    assert own_version(bytes(record)) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record + b" ",
        lambda record: b" " + record,
        lambda record: record[:-1],
        lambda record: record[:-TAIL_LENGTH] + b"}",
        lambda record: record[:-2] + b"g" + record[-1:],
        lambda record: record.replace(b'"_aio"', b'"_AIO"'),
        lambda record: record[-TAIL_LENGTH:],
        lambda record: b"",
    ],
)
def test_a_record_without_our_tail_is_an_outsiders(change: Any) -> None:
    assert own_version(change(encode(message()))) is None


def test_the_tail_has_the_length_the_scripts_count_on() -> None:
    record = encode(message())
    assert record[-TAIL_LENGTH:].startswith(b',"_aio":"')
    assert TAIL_LENGTH == 27
    assert sha1(record[:-TAIL_LENGTH])[:6].encode() == record[-8:-2]


@given(st.binary() | json_values.map(orjson.dumps) | st.dictionaries(text, json_values).map(orjson.dumps))
def test_bytes_that_are_no_record_are_refused_and_break_nothing(record: bytes) -> None:
    with pytest.raises(InvalidInput):
        decode(MessageId("m"), record, VERSION, UTC)


@given(
    st.fixed_dictionaries(
        {
            "scheduleTo": st.just("2026-04-15T02:41:45Z") | json_values,
            "payload": json_values,
            "webhookUrl": st.just("http://a/") | json_values,
        },
        optional=dict.fromkeys(("method", "headers", "timeoutSeconds", "retry", "misfireGraceSeconds"), json_values),
    ).map(orjson.dumps)
)
def test_an_outsiders_record_reads_or_is_refused(record: bytes) -> None:
    try:
        read = decode(MessageId("m"), record, VERSION, UTC)
    except InvalidInput:
        return  # any other exception would stop those behind it, too
    assert orjson.loads(read.payload) == orjson.loads(record)["payload"]


@given(
    attempts=st.integers(0, 10**6),
    failures=st.integers(0, 10**6),
    origin=st.just("- -") | st.binary().map(lambda data: f"{VERSION} {sha1(data)}"),
    error=st.none() | text.filter(bool),
)
def test_a_state_comes_back_from_its_text(attempts: int, failures: int, origin: str, error: str | None) -> None:
    state = State(attempts, failures, origin, error)
    assert State.decode(state.encode().encode()) == state


def test_no_state_is_the_state_of_a_message_that_was_never_attempted() -> None:
    assert State.decode(None) == State() == State.decode(b"")


def test_the_version_of_an_adopted_record_is_known_as_long_as_it_is_the_same() -> None:
    state = State(origin=f"{VERSION} {sha1(b'theirs')}")
    assert state.version_of(b"theirs") == VERSION
    assert state.version_of(b"changed") is None
    ours = message()
    assert state.version_of(encode(ours)) == ours.version, "ours says it itself"


@given(record=st.binary(), error=st.none() | text, attempts=st.integers(0, 99), at=st.integers(0, 10**13 - 1))
def test_a_dead_letter_keeps_the_bytes_of_its_record(record: bytes, error: str | None, attempts: int, at: int) -> None:
    stored = encode_dead(at, DeadReason.INVALID_RECORD, record, VERSION, attempts, error)
    letter = decode_dead(MessageId("m"), stored, UTC)
    assert (letter.record, letter.attempts, letter.last_error) == (record, attempts, error)
    assert (letter.dead_at, letter.reason, letter.id) == (from_ms(at), DeadReason.INVALID_RECORD, "m")


@pytest.mark.parametrize("opening", [None, Opening(None, 0.125, None), Opening(1.5, 0.125, 2.25)])
@pytest.mark.parametrize("execution_id", [None, "e"])
@pytest.mark.parametrize("kind", OutcomeKind)
def test_a_line_of_the_log_comes_back_to_the_microsecond(
    kind: OutcomeKind, execution_id: str | None, opening: Opening | None
) -> None:
    moments = [START + timedelta(microseconds=123_457 * i) for i in range(7)]
    delivery = Delivery(
        id="1-2",
        message_id=MessageId("m"),
        execution_id=execution_id,
        attempt=3,
        status=kind,
        scheduled_for=moments[0],
        due_at=moments[1],
        claimed_at=moments[2],
        started_at=moments[3],
        sent_at=moments[4],
        answered_at=None if kind is OutcomeKind.TIMED_OUT else moments[5],
        finished_at=moments[6],
        lateness_ms=1.25,
        duration_ms=2.5,
        response_code=None,
        error="é",
        opening=opening,
    )
    ended = Outcome(
        kind=kind,
        started_at=moments[3],
        sent_at=moments[4],
        answered_at=delivery.answered_at,
        finished_at=moments[6],
        duration_ms=2.5,
        error="é",
        opening=opening,
    )
    line = encode_delivery(
        ended,
        attempt=3,
        scheduled_for=moments[0],
        due_at=moments[1],
        claimed_at=moments[2],
        lateness_ms=1.25,
        execution_id=execution_id,
    )
    fields = {b"m": b"m", b"s": kind.value.encode(), b"d": line}
    assert decode_delivery(b"1-2", fields) == delivery
