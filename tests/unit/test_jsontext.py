"""Parts of a JSON text, as they were written."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioscheduler.domain.jsontext import raw_items, raw_member

_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=5)
    | st.sampled_from(['"', "\\", "}", "é"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)
_spaces = st.text(" \t\r\n", max_size=2)


@given(
    st.lists(st.tuples(st.sampled_from(["payload", "id", 'a"b', "\\", ""]), _values), max_size=5),
    _spaces,
    st.booleans(),
)
def test_a_member_is_what_a_parser_finds(members: list[tuple[str, Any]], space: str, escaped: bool) -> None:
    def name(text: str) -> str:
        return '"' + "".join(f"\\u{ord(char):04x}" for char in text) + '"' if escaped else orjson.dumps(text).decode()

    pairs = [f"{space}{name(key)}{space}:{space}{orjson.dumps(value).decode()}{space}" for key, value in members]
    text = f"{space}{{{','.join(pairs) or space}}}{space}"
    parsed = orjson.loads(text)
    raw = raw_member(text, "payload")
    assert (raw is not None) == ("payload" in parsed)
    if raw is not None:
        assert raw == raw.strip()
        assert orjson.loads(raw) == parsed["payload"]


@given(st.lists(_values, max_size=5), _spaces)
def test_items_are_what_a_parser_finds(items: list[Any], space: str) -> None:
    texts = [orjson.dumps(item).decode() for item in items]
    text = f"{space}[{space}{f'{space},{space}'.join(texts)}{space}]{space}"
    assert raw_items(text) == texts


@pytest.mark.parametrize("number", ["123456789012345678901234567890", "1.10", "1E400".replace("400", "30"), "-0"])
def test_numbers_are_not_rewritten(number: str) -> None:
    assert raw_member(f'{{"payload":{number}}}', "payload") == number


def test_nesting_beyond_the_interpreters_recursion_limit_is_no_trouble() -> None:
    deep = '[{"a":' * 5000 + '"]}\\""' + "}]" * 5000
    assert raw_member(f'{{"x":1,"payload":{deep},"y":2}}', "payload") == deep
    assert raw_items(f"[1,{deep}]") == ["1", deep]
