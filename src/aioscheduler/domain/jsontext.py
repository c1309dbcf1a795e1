"""The text of a part of a JSON document, as it was written.

Payloads travel as their own bytes: parsing and writing them again would turn integers over 64 bits into floats.
All functions here want text that a strict parser has accepted; they find borders, they do not validate.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from json import JSONDecoder, decoder
from typing import Any

# In C where CPython has it, and not in the stubs: text and position to value and end.
_scan: Callable[[str, int], tuple[Any, int]] = JSONDecoder().scan_once  # type: ignore[attr-defined]
_scan_string: Callable[[str, int, bool], tuple[str, int]] = decoder.scanstring  # type: ignore[attr-defined]
_skip_space = re.compile(r"[ \t\n\r]*").match
#: A member's name without escapes, and its value and the comma after it where that is a string without escapes.
_plain_member = re.compile(r'"([^"\\]*)"[ \t\n\r]*:[ \t\n\r]*("[^"\\]*"[ \t\n\r]*,[ \t\n\r]*)?').match
#: What matters to nesting: strings, which may hold brackets, and brackets.
_NESTING = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')


def raw_member(text: str, name: str) -> str | None:
    """Return the text of a member of the object ``text``, without space around it; ``None`` when it has none.

    Of members with the same name the last counts, as it does for parsers.
    """
    found = None
    at = _after_space(text, _after_space(text, 0) + 1)
    while text[at] == '"':
        if plain := _plain_member(text, at):
            key, start = plain[1], plain.end()
            if plain[2] is not None and key != name:
                at = start
                continue
            start = start if plain[2] is None else plain.start(2)
        else:
            key, at = _scan_string(text, at + 1, True)
            start = _after_space(text, _after_space(text, at) + 1)
        at = _value_end(text, start)
        if key == name:
            found = text[start:at]
            if text.find("\\", at) < 0 and text.find(f'"{name}"', at) < 0:
                # Whatever follows, it cannot be the same name again.
                break
        at = _after_space(text, at)
        if text[at] == "}":
            break
        at = _after_space(text, at + 1)
    return found


def raw_items(text: str) -> list[str]:
    """Return the texts of the items of the array ``text``, without space around them."""
    items: list[str] = []
    at = _after_space(text, _after_space(text, 0) + 1)
    while text[at] != "]":
        end = _value_end(text, at)
        items.append(text[at:end])
        at = _after_space(text, end)
        if text[at] == ",":
            at = _after_space(text, at + 1)
    return items


def _after_space(text: str, at: int) -> int:
    # The common case first: a call of the pattern costs more than the comparison.
    if text[at] > " ":
        return at
    match = _skip_space(text, at)
    assert match is not None, "the pattern matches nothing, too"
    return match.end()


def _value_end(text: str, start: int) -> int:
    try:
        end = _scan(text, start)[1]
    except RecursionError:
        # The scanner in C shares the interpreter's recursion limit; strict parsers may allow more.
        return _nested_end(text, start)
    return end


def _nested_end(text: str, start: int) -> int:
    depth = 0
    for match in _NESTING.finditer(text, start):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    raise ValueError("the text ends inside a value")
