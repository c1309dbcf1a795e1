"""Contacts from vCard and CSV files, and where such files are read from."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from aioscheduler.bots.base import BotFailed, Http
from aioscheduler.domain.target import check_url
from aioscheduler.errors import InvalidInput, Sentence

MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_ENTRIES = 100_000
#: In characters: longer values are cut.
MAX_VALUE_LENGTH = 1000

T = TypeVar("T")


class ContactsError(BotFailed):
    """The file cannot be used; the sentence says which, and why."""


@dataclass(frozen=True, slots=True)
class Birthday:
    """A day of the year, and the year of birth where it is known."""

    month: int
    day: int
    year: int | None = None

    def in_year(self, year: int) -> date:
        """Return the day it is kept on: 28 February for 29 February in a year that has none."""
        try:
            return date(year, self.month, self.day)
        except ValueError:
            return date(year, 2, 28)

    def __str__(self) -> str:
        day = f"{self.month:02}-{self.day:02}"
        return f"--{day}" if self.year is None else f"{self.year:04}-{day}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A person. ``key`` stays the same when the file is exported again, or its order changes."""

    name: str
    first_name: str
    birthday: Birthday | None
    phone: str | None
    email: str | None
    url: str | None
    key: str


class Found(NamedTuple, Generic[T]):
    """What was read from a file, in its order, and how many entries were left out because they are none."""

    items: list[T]
    skipped: int


async def load(source: str, http: Http, parse: Callable[[bytes, str], Found[T]]) -> Found[T]:
    """Return what ``parse(data, name)`` makes of a file or of what a URL answers; it runs in a thread.

    :param source: a path, or an http(s) URL
    :raises ContactsError: it cannot be read, or is larger than :data:`MAX_FILE_BYTES`, or what ``parse`` raises
    """
    if not source.lower().startswith(("http://", "https://")):
        return await asyncio.to_thread(lambda: parse(_read(source), source))
    # The rest of a URL may hold a token, and errors are shown to clients.
    try:
        shown = str(check_url(source))
    except InvalidInput as error:
        raise ContactsError(Sentence("the URL cannot be used: {reason}", reason=error.sentence)) from None
    reply = await http.get(source, max_bytes=MAX_FILE_BYTES + 1)
    if reply.status is None:
        raise _unreadable(shown, reply.error or "-")
    if not reply.ok:
        raise ContactsError(Sentence("{source} answered {status}", source=shown, status=reply.status))
    _check_size(reply.body, shown)
    name = urlsplit(source).path.rpartition("/")[2]
    return await asyncio.to_thread(lambda: parse(reply.body, name or shown))


def _read(source: str) -> bytes:
    try:
        path = Path(source).expanduser()
        if not stat.S_ISREG(path.stat().st_mode):
            # Opening a pipe would wait for somebody to write into it.
            raise ContactsError(Sentence("{source} is no file", source=source))
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ContactsError(Sentence("there is no file {source}", source=source)) from None
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreadable(source, getattr(error, "strerror", None) or str(error)) from None
    _check_size(data, source)
    return data


def _unreadable(source: str, reason: str) -> ContactsError:
    return ContactsError(Sentence("{source} cannot be read: {reason}", source=source, reason=reason))


def _check_size(data: bytes, source: str) -> None:
    if len(data) > MAX_FILE_BYTES:
        raise ContactsError(
            Sentence("{source} has more than the {limit} bytes that are read", source=source, limit=MAX_FILE_BYTES)
        )


def read_contacts(data: bytes, name: str) -> Found[Contact]:
    """Return the contacts of a vCard (3.0, 4.0) or CSV file, those without a birthday too.

    What the name ends in decides which it is (``.vcf``, ``.csv``), otherwise the content. Cards and rows that are none,
    or have no name, are left out and counted.

    :raises ContactsError: it is neither, it has no contact, or too many, or the table lacks ``name`` or ``birthday``
    """
    if is_vcard(data, name):
        return collect(read_cards(data), name)
    return collect(map(_of_row, read_table(data, name, ("name", "first_name"), ("birthday",))), name)


def collect(entries: Iterable[T | None], name: str) -> Found[T]:
    """Return the entries that there are, and count those that are ``None``.

    :raises ContactsError: there is not one, or more than :data:`MAX_ENTRIES`
    """
    items: list[T] = []
    skipped = 0
    for entry in entries:
        if entry is None:
            skipped += 1
        else:
            items.append(entry)
        if len(items) + skipped > MAX_ENTRIES:
            raise ContactsError(Sentence("{source} has more than {limit} entries", source=name, limit=MAX_ENTRIES))
    if skipped and not items:
        raise ContactsError(Sentence("{source} has no entry that can be read", source=name))
    return Found(items, skipped)


def is_vcard(data: bytes, name: str) -> bool:
    """Return whether a file is one of vCards: by what its name ends in, otherwise by its content."""
    if name.lower().endswith((".vcf", ".vcard")):
        return True
    if name.lower().endswith((".csv", ".tsv", ".txt")):
        return False
    return data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip()[:11].upper() == b"BEGIN:VCARD"


def lines_of(data: bytes, newline: str | None = None) -> io.TextIOWrapper:
    """Return the text, to be read by lines: UTF-8 with or without a mark, or else Latin-1."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return io.TextIOWrapper(io.BytesIO(data), encoding="latin-1", newline=newline)
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=newline)


# -- birthdays and identities

_BIRTHDAY = re.compile(r"(?:(\d{4})-?|--)(\d\d)-?(\d\d)(?:[T ].*)?", re.ASCII | re.DOTALL)
#: What Apple's address book writes for a year it does not know.
_NO_YEAR = 1604


def parse_birthday(text: str) -> Birthday | None:
    """Return a day given as ``YYYY-MM-DD``, ``YYYYMMDD``, ``--MM-DD`` or ``--MMDD``, with or without a time of day.

    ``None`` for anything else, and for a day that does not exist.
    """
    match = _BIRTHDAY.fullmatch(text.strip()[:64])
    if match is None:
        return None
    year = int(match[1]) if match[1] else None
    try:
        # Without a year it may be 29 February, as in the year 4.
        day = date(4 if year is None else year, int(match[2]), int(match[3]))
    except ValueError:
        return None
    return Birthday(day.month, day.day, None if year == _NO_YEAR else year)


def _contact(values: Mapping[str, str | None], birthday: Birthday | None, uid: str | None) -> Contact | None:
    """Return a contact, or ``None`` when there is nothing to call it by."""
    name, first, phone, email, url = (
        " ".join((values.get(column) or "")[:MAX_VALUE_LENGTH].split())
        for column in ("name", "first_name", "phone", "email", "url")
    )
    name = name or first or email or phone
    if not name:
        return None
    return Contact(
        name=name,
        first_name=first or name.split()[0],
        birthday=birthday,
        phone=phone or None,
        email=email or None,
        url=url or None,
        key=_key(name, phone, email, url, uid, birthday),
    )


def _key(name: str, phone: str, email: str, url: str, uid: str | None, birthday: Birthday | None) -> str:
    """Return a digest of the name and of the one thing that best tells people of that name apart.

    A card's own id comes last, since some programs make new ones whenever they export. The birthday counts only where
    there is nothing else, so that correcting it does not make another person.
    """
    marks = {"phone": re.sub(r"[^0-9]", "", phone), "email": email.casefold(), "url": url, "uid": uid}
    mark = next((f"{kind} {value}" for kind, value in marks.items() if value), f"birthday {birthday}")
    return hashlib.blake2b(f"{name.casefold()}\n{mark}".encode(errors="replace"), digest_size=16).hexdigest()


# -- CSV


def read_table(data: bytes, name: str, *needed: tuple[str, ...]) -> Iterator[dict[str, str] | None]:
    """Yield the rows of a CSV file by the names of their columns, in lower case; ``None`` for one that is none.

    :param needed: of each of these, one column at least must be there
    :raises ContactsError: it is no table, or lacks a column
    """
    delimiter = _delimiter(data)
    rows = csv.reader(lines_of(data, newline=""), delimiter=delimiter)
    try:
        header = [column.strip().lower() for column in next((row for row in rows if any(row)), [])]
    except csv.Error:
        header = []
    if not any(column in header for columns in needed for column in columns):
        raise ContactsError(
            Sentence("{source} is neither a vCard file nor a table with the usual columns", source=name)
        )
    for columns in needed:
        if not any(column in header for column in columns):
            raise ContactsError(Sentence("{source} has no column {column}", source=name, column=columns[0]))
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:
            yield None
            continue
        if any(value.strip() for value in row):
            yield dict(zip(header, row, strict=False))


def _delimiter(data: bytes) -> str:
    header = data[:8192].removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")[0].decode("latin-1")
    return max(",;\t", key=header.count)


def _of_row(row: dict[str, str] | None) -> Contact | None:
    return None if row is None else _contact(row, parse_birthday(row.get("birthday", "")), None)


# -- vCard

#: The properties that are read: the rest, pictures above all, is passed over.
_WANTED = frozenset({"FN", "N", "BDAY", "TEL", "EMAIL", "URL", "UID"})
_MAX_LINE_LENGTH = 8192
#: A content line (RFC 6350 section 3.3). The parser's own expression tries exponentially many ways to read a line that
#: is none, such as ``FN;X=a,a,a,a,a,…``; a line that is one it reads at once.
_VALUE = r'(?:"[^"]*+"|[^";:,]*+)'
_LINE = re.compile(rf"(?:[\w-]++\.)?+[\w-]++(?:;[\w-]++(?:={_VALUE}(?:,{_VALUE})*+)?+)*+:", re.ASCII)
_HEAD = re.compile(r"(?:[\w-]++\.)?+([\w-]++)[;:]", re.ASCII)
_COMMA = re.compile(r"\\.|,", re.DOTALL)


def read_cards(data: bytes) -> Iterator[Contact | None]:
    """Yield the contacts of a vCard file, ``None`` for a card that is none.

    :raises ContactsError: there is no card in it
    """
    card: list[str] | None = None
    cards = 0
    for line in _unfolded(data):
        match = _HEAD.match(line)
        name = match[1].upper() if match else ""
        if name in ("BEGIN", "END") and line.partition(":")[2].strip().upper() == "VCARD":
            if name == "BEGIN":
                cards += 1
                if card is not None:
                    yield None  # never ended
                card = []
            elif card is not None:
                yield _of_card(card)
                card = None
        elif card is not None and name in _WANTED and (legal := _legal(name, line)) is not None:
            card.append(legal)
    if card is not None:
        yield None
    if not cards:
        yield None


def _unfolded(data: bytes) -> Iterator[str]:
    """Yield the logical lines (RFC 6350 section 3.2)."""
    parts: list[str] = []
    for line in lines_of(data):
        text = line.removesuffix("\n")
        if text[:1] in (" ", "\t"):
            parts.append(text[1:])
            continue
        if parts:
            yield "".join(parts)
        parts = [text]
    if parts:
        yield "".join(parts)


def _legal(name: str, line: str) -> str | None:
    """Return the line as the parser reads it rightly; ``None`` for one that it should not see."""
    match = _LINE.match(line) if len(line) <= _MAX_LINE_LENGTH else None
    if match is None:
        return None
    if name == "N":
        return line
    # The parser takes what follows a comma for a second value, and drops it.
    return match[0] + _COMMA.sub(lambda comma: "\\," if comma[0] == "," else comma[0], line[match.end() :])


def _of_card(lines: list[str]) -> Contact | None:
    # It takes 50 ms to load, and nobody without contacts needs it.
    import vobject

    try:
        card = vobject.readOne("\n".join(("BEGIN:VCARD", *lines, "END:VCARD")))
    except Exception:
        # An unknown charset, broken Base64: the parser lets errors of many kinds through.
        return None
    values = {
        "name": _preferred(card, "fn"),
        "phone": (_preferred(card, "tel") or "").removeprefix("tel:"),
        "email": _preferred(card, "email"),
        # Google's address book escapes what needs no escape.
        "url": (_preferred(card, "url") or "").replace("\\:", ":"),
    }
    for line in card.contents.get("n", [])[:1]:
        values["first_name"] = _joined(line.value.given)
        values["name"] = values["name"] or f"{values['first_name']} {_joined(line.value.family)}"
    return _contact(values, parse_birthday(_preferred(card, "bday") or ""), _preferred(card, "uid"))


def _preferred(card: Any, name: str) -> str | None:
    """Return the value that is marked as preferred (``PREF`` in 4.0, ``TYPE=pref`` in 3.0), else the first."""

    def rank(line: Any) -> int:
        number = next(iter(line.params.get("PREF", ())), "")
        if number.isdecimal():
            return int(number[:3])
        return 1 if any("pref" in kind.lower() for kind in line.params.get("TYPE", ())) else 100

    lines = [line for line in card.contents.get(name, []) if isinstance(line.value, str)]
    return min(lines, key=rank).value if lines else None


def _joined(part: str | list[str]) -> str:
    return part if isinstance(part, str) else " ".join(part)
