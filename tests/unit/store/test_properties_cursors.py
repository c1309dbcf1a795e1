"""A cursor is opened as what it was made of, and nothing else is a cursor."""

from __future__ import annotations

from contextlib import suppress

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioscheduler.errors import InvalidInput
from aioscheduler.store.cursors import cursor_of, open_cursor

PARTS = st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"]))


@settings(derandomize=True)
@given(place=st.lists(PARTS, min_size=1, max_size=3))
def test_a_place_comes_back_from_its_cursor_and_only_as_what_it_is(place: list[int | str]) -> None:
    cursor = cursor_of(*place)
    types = [type(part) for part in place]
    assert open_cursor(cursor, *types) == tuple(place)
    assert cursor.isascii()
    assert not set(cursor) & set("=+/&?#")
    other = [str if kind is int else int for kind in types]
    for wrong in (other, types[1:], [*types, int]):
        with pytest.raises(InvalidInput):
            open_cursor(cursor, *wrong)


@settings(derandomize=True, max_examples=300)
@given(text=st.text(max_size=30) | st.binary(max_size=20).map(lambda data: cursor_of(data.hex())[:-1]))
def test_any_text_is_a_cursor_or_is_refused(text: str) -> None:
    with suppress(InvalidInput):
        (place,) = open_cursor(text, str)
        assert isinstance(place, str)


@settings(derandomize=True)
@given(
    place=st.lists(st.none() | st.booleans() | st.floats(0.5, 0.9) | st.lists(st.integers(), max_size=1), min_size=1)
)
def test_a_list_of_anything_else_is_none_of_ours(place: list[object]) -> None:
    cursor = cursor_of(orjson.dumps(place).decode())
    with pytest.raises(InvalidInput):
        open_cursor(cursor, int)
