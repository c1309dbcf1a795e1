"""Body templates: ``{{ job.name }}`` and filters, compiled once, rendered in bounded time.

Everything here is linear in the length of the template, and that, the placeholders, the filters and what comes out are
limited. So a template of anybody's may be compiled and rendered on the event loop.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote

from aioscheduler.domain.instant import isoformat
from aioscheduler.errors import InvalidInput, Sentence

#: In characters: of a template, and of what it may give.
MAX_TEMPLATE_LENGTH = 64 * 1024
MAX_OUTPUT_LENGTH = 256 * 1024
MAX_PLACEHOLDERS = 200
#: Of one placeholder.
MAX_FILTERS = 8
MAX_DATE_FORMAT_LENGTH = 64

#: Longer templates are compiled whenever they are needed: what is remembered has to stay small.
_REMEMBERED_LENGTH = 4096
#: What a caller wrote is shown up to here.
_SHOWN = 40

Escape = Callable[[str], str]
_Filter = Callable[[object], object]

#: The filters whose result is not escaped any more.
_LAST = ("json", "urlencode")

_SPACE = re.compile(r"[ \t\r\n]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_STRING = re.compile(r"\"([^\"]*)\"|'([^']*)'")
_NUMBER = re.compile(r"[0-9]{1,6}(?![0-9])")


class _Raw(str):
    """A text that is escaped already."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placeholder:
    """``name`` is ``None`` for a literal, which ``value`` is then."""

    name: str | None
    value: str
    filters: tuple[_Filter, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A compiled template. ``field`` is what errors call it."""

    segments: tuple[str | _Placeholder, ...]
    field: str

    @property
    def is_plain(self) -> bool:
        """Whether it has no placeholder, so that it always gives itself."""
        return all(isinstance(segment, str) for segment in self.segments)

    def render(self, values: Mapping[str, object], escape: Escape) -> str:
        """Return the text with its placeholders filled in.

        An instant becomes RFC 3339 in UTC; ``None``, and a variable that is not among the values, nothing at all.

        :param values: by dotted name: strings, numbers, instants or ``None``
        :raises InvalidInput: it gives more than :data:`MAX_OUTPUT_LENGTH` characters
        """
        parts = []
        length = 0
        for segment in self.segments:
            part = segment if isinstance(segment, str) else _fill(segment, values, escape)
            length += len(part)
            if length > MAX_OUTPUT_LENGTH:
                raise InvalidInput.of(self.field, Sentence("gives more than {max} characters", max=MAX_OUTPUT_LENGTH))
            parts.append(part)
        return "".join(parts)


def compile_template(text: str, known: Collection[str], field: str = "body_template") -> Template:
    """Return the template that ``text`` is; ``{{`` opens a placeholder, any other brace is plain text.

    :param known: the variables there are, by dotted name; a ``frozenset`` is the fastest
    :raises InvalidInput: braces that are not closed, an unknown variable or filter, an argument that is not legal, or
        more than the limits allow
    """
    if len(text) > MAX_TEMPLATE_LENGTH:
        raise InvalidInput.of(field, Sentence("must have at most {max} characters", max=MAX_TEMPLATE_LENGTH))
    build = _remembered if len(text) <= _REMEMBERED_LENGTH else _compile
    return build(text, frozenset(known), field)


def _compile(text: str, known: frozenset[str], field: str) -> Template:
    segments: list[str | _Placeholder] = []
    end = placeholders = 0
    while (start := text.find("{{", end)) >= 0:
        if start > end:
            segments.append(text[end:start])
        placeholders += 1
        if placeholders > MAX_PLACEHOLDERS:
            raise InvalidInput.of(field, Sentence("must have at most {max} placeholders", max=MAX_PLACEHOLDERS))
        try:
            placeholder, end = _Reader(text, start).read(known)
        except _Fault as fault:
            raise InvalidInput.of(field, fault.sentence) from None
        segments.append(placeholder)
    if end < len(text):
        segments.append(text[end:])
    return Template(segments=tuple(segments), field=field)


_remembered = lru_cache(maxsize=1024)(_compile)


class _Fault(Exception):
    def __init__(self, sentence: Sentence) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class _Reader:
    """Reads one placeholder, from its opening braces on. Each character is looked at once."""

    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self._start = start
        self._at = start + 2

    def read(self, known: frozenset[str]) -> tuple[_Placeholder, int]:
        """Return the placeholder, and where the text goes on.

        :raises _Fault: it is none
        """
        self._space()
        literal = self._string()
        name = self._name() if literal is None else None
        if name is not None and name not in known:
            raise _Fault(
                Sentence(
                    "{name} is no variable: use one of {choices}", name=_shown(name), choices=", ".join(sorted(known))
                )
            )
        filters = self._filters()
        if not self._text.startswith("}}", self._at):
            raise self._not_understood()
        return _Placeholder(name=name, value=literal or "", filters=tuple(filters)), self._at + 2

    def _filters(self) -> list[_Filter]:
        filters: list[_Filter] = []
        before = ""
        while self._take("|"):
            if len(filters) == MAX_FILTERS:
                raise _Fault(Sentence("a placeholder must have at most {max} filters", max=MAX_FILTERS))
            name = self._name()
            argument: str | int | None = None
            if self._take(":"):
                argument = self._argument()
            make = _FILTERS.get(name)
            if make is None:
                raise _Fault(
                    Sentence(
                        "{name} is no filter: use one of {choices}", name=_shown(name), choices=", ".join(_FILTERS)
                    )
                )
            if before in _LAST and not (before == "json" and name == "urlencode"):
                raise _Fault(Sentence("json and urlencode must stand last, in this order"))
            if name == "date" and before:
                raise _Fault(Sentence("date must be the first filter"))
            filters.append(make(name, argument))
            before = name
        return filters

    def _space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _take(self, sign: str) -> bool:
        self._space()
        if not self._text.startswith(sign, self._at):
            return False
        self._at += len(sign)
        self._space()
        return True

    def _name(self) -> str:
        match = _NAME.match(self._text, self._at)
        if match is None:
            raise self._not_understood()
        self._at = match.end()
        return match[0]

    def _string(self) -> str | None:
        match = _STRING.match(self._text, self._at)
        if match is None:
            return None
        self._at = match.end()
        return match[1] if match[1] is not None else match[2]

    def _argument(self) -> str | int:
        if (text := self._string()) is not None:
            return text
        match = _NUMBER.match(self._text, self._at)
        if match is None:
            raise self._not_understood()
        self._at = match.end()
        return int(match[0])

    def _not_understood(self) -> _Fault:
        if self._text.find("}}", self._at) < 0:
            return _Fault(Sentence("the braces that open at character {at} are not closed", at=self._start + 1))
        return _Fault(
            Sentence(
                "cannot be understood at character {at}: a placeholder is a variable and filters, such as {example}",
                at=self._at + 1,
                example='{{ now | date: "%Y-%m-%d" }}',
            )
        )


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _fill(placeholder: _Placeholder, values: Mapping[str, object], escape: Escape) -> str:
    value: object = placeholder.value if placeholder.name is None else values.get(placeholder.name)
    for apply in placeholder.filters:
        value = apply(value)
    if isinstance(value, _Raw):
        return value
    # Cut where the limit is broken anyway, so that escaping costs no more than that.
    return escape(_text(value)[: MAX_OUTPUT_LENGTH + 1])


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case datetime():
            return isoformat(value.astimezone(UTC)).replace("+00:00", "Z")
        case _:
            return str(value)


# -- filters: each maker checks its argument, and returns what is done with a value


def _plain(change: Callable[[str], str]) -> Callable[[str, str | int | None], _Filter]:
    """Return the maker of a filter that changes a text and takes no argument."""

    def make(name: str, argument: str | int | None) -> _Filter:
        _no_argument(name, argument)
        return lambda value: change(_text(value))

    return make


def _no_argument(name: str, argument: str | int | None) -> None:
    if argument is not None:
        raise _Fault(Sentence("the filter {name} takes no argument", name=name))


def _json_filter(name: str, argument: str | int | None) -> _Filter:
    _no_argument(name, argument)

    def apply(value: object) -> object:
        whole = value if value is None or isinstance(value, bool | int | float) else _text(value)
        return _Raw(json.dumps(whole, ensure_ascii=False))

    return apply


def _urlencode_filter(name: str, argument: str | int | None) -> _Filter:
    _no_argument(name, argument)
    # Nothing is left that any content type would escape, except the percent signs in a form, which must not be.
    return lambda value: _Raw(escape_form(_text(value)))


def _default_filter(_name: str, argument: str | int | None) -> _Filter:
    if not isinstance(argument, str):
        raise _Fault(
            Sentence("the filter default needs a text in quotes, such as {example}", example='default: "none"')
        )
    return lambda value: argument if value is None or value == "" else value


def _truncate_filter(_name: str, argument: str | int | None) -> _Filter:
    if not isinstance(argument, int) or argument < 1:
        raise _Fault(
            Sentence("the filter truncate needs a number of characters, such as {example}", example="truncate: 80")
        )

    def apply(value: object) -> object:
        text = _text(value)
        return value if len(text) <= argument else text[: argument - 1] + "…"

    return apply


_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
#: Those of strftime that mean the same everywhere; in English whatever the machine speaks.
_DIRECTIVES: Mapping[str, Callable[[datetime], str]] = {
    "Y": lambda at: f"{at.year:04}",
    "y": lambda at: f"{at.year % 100:02}",
    "m": lambda at: f"{at.month:02}",
    "d": lambda at: f"{at.day:02}",
    "H": lambda at: f"{at.hour:02}",
    "I": lambda at: f"{at.hour % 12 or 12:02}",
    "p": lambda at: "AM" if at.hour < 12 else "PM",
    "M": lambda at: f"{at.minute:02}",
    "S": lambda at: f"{at.second:02}",
    "f": lambda at: f"{at.microsecond:06}",
    "j": lambda at: f"{at.timetuple().tm_yday:03}",
    "u": lambda at: str(at.isoweekday()),
    "V": lambda at: f"{at.isocalendar().week:02}",
    "G": lambda at: f"{at.isocalendar().year:04}",
    "a": lambda at: _DAYS[at.weekday()][:3],
    "A": lambda at: _DAYS[at.weekday()],
    "b": lambda at: _MONTHS[at.month - 1][:3],
    "B": lambda at: _MONTHS[at.month - 1],
    "F": lambda at: f"{at.year:04}-{at.month:02}-{at.day:02}",
    "T": lambda at: f"{at.hour:02}:{at.minute:02}:{at.second:02}",
    "s": lambda at: str(int(at.timestamp())),
    "z": lambda _: "+0000",
    "Z": lambda _: "UTC",
    "%": lambda _: "%",
}


def _date_filter(_name: str, argument: str | int | None) -> _Filter:
    if not isinstance(argument, str) or len(argument) > MAX_DATE_FORMAT_LENGTH:
        raise _Fault(
            Sentence(
                "the filter date needs a format in quotes, of at most {max} characters, such as {example}",
                max=MAX_DATE_FORMAT_LENGTH,
                example='date: "%Y-%m-%d"',
            )
        )
    parts = _date_parts(argument)

    def apply(value: object) -> object:
        if not isinstance(value, datetime):
            return value
        at = value.astimezone(UTC)
        return "".join(part if isinstance(part, str) else part(at) for part in parts)

    return apply


def _date_parts(form: str) -> Sequence[str | Callable[[datetime], str]]:
    parts: list[str | Callable[[datetime], str]] = []
    pieces = iter(form)
    for piece in pieces:
        if piece != "%":
            parts.append(piece)
            continue
        letter = next(pieces, "")
        directive = _DIRECTIVES.get(letter)
        if directive is None:
            choices = " ".join(f"%{known}" for known in _DIRECTIVES)
            raise _Fault(
                Sentence("{directive} is no part of a date: use {choices}", directive=f"%{letter}", choices=choices)
            )
        parts.append(directive)
    return parts


_FILTERS: Mapping[str, Callable[[str, str | int | None], _Filter]] = {
    "date": _date_filter,
    "default": _default_filter,
    "json": _json_filter,
    "lower": _plain(str.lower),
    "trim": _plain(str.strip),
    "truncate": _truncate_filter,
    "upper": _plain(str.upper),
    "urlencode": _urlencode_filter,
}


# -- escapes: how a value stands in a body of each kind

#: XML 1.0 section 2.2 has no way to write control characters, not even escaped.
_XML = {code: "\ufffd" for code in range(0x20) if chr(code) not in "\t\n\r"} | {
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
    ord('"'): "&quot;",
    ord("'"): "&#39;",
}


def escape_json(text: str) -> str:
    """Return the text as it stands inside the quotes of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def escape_form(text: str) -> str:
    """Return the text percent-encoded, as it stands in a form or a query."""
    return quote(text, safe="", errors="replace")


def escape_xml(text: str) -> str:
    """Return the text as it stands in an element or an attribute of XML or HTML."""
    return text.translate(_XML)


def escape_none(text: str) -> str:
    """Return the text."""
    return text


def escape_for(content_type: str | None) -> Escape:
    """Return how values are escaped in a body of this type: as JSON when there is none."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    if not kind or kind.endswith(("/json", "+json")):
        return escape_json
    if kind == "application/x-www-form-urlencoded":
        return escape_form
    if kind.endswith(("/xml", "+xml", "/html")):
        return escape_xml
    return escape_none
