"""From the bytes of a connection to one answer: no I/O, and nothing a receiver can send raises anything unforeseen."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from aioscheduler.engine.transport import MAX_ANSWER_BYTES

#: What the heads of an answer may take, 1xx and blank lines before them included, in bytes.
MAX_HEAD_BYTES: Final = 64 * 1024

_STARTS: Final = (b"HTTP/1.1 ", b"HTTP/1.0 ")
_STATUS: Final = 9  # where it stands in a status line
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n")
_CHUNKED_END: Final = re.compile(rb"[^\r\n]\r\n\r\n")


class Malformed(Exception):
    """What came is no HTTP/1.1 answer."""


class AnswerReader:
    """Reads the answers of a connection, each asked for with :meth:`begin`.

    The status decides what comes of an attempt, so that a body may break any rule and the answer is none the worse. But
    only a connection whose answer kept every rule, and ended where its bytes ended, is fit for another request
    (:attr:`clean`); where that is, the parser says by the framing, and counting has to agree. Heads that are not quite
    HTTP but were understood for decades – bare line feeds, folded lines, blank lines before the status – are
    understood, and cost the connection. Lengths that contradict each other are an error.
    """

    __slots__ = (
        "_body_bytes",
        "_cap",
        "_chunked",
        "_ended",
        "_fit",
        "_head",
        "_head_bytes",
        "_headers",
        "_in_head",
        "_keep",
        "_no_body",
        "_parser",
        "_pending",
        "_seen",
        "_tail",
        "_wanted",
        "clean",
        "kept",
        "status",
    )

    def __init__(self) -> None:
        self._parser = _parser(self)
        self.begin()

    def begin(self, keep: int = 0, no_body: bool = False) -> None:
        """Expect an answer; the one before was clean.

        :param keep: how many of the first bytes of its body shall be :attr:`kept`
        :param no_body: the request was a HEAD: the answer tells a length and has no body
        """
        self.status: int | None = None
        self.clean = False
        self.kept = b""
        self._keep = keep
        self._cap = keep if keep > MAX_ANSWER_BYTES else MAX_ANSWER_BYTES
        self._no_body = no_body
        self._in_head = self._fit = True
        self._ended = self._chunked = self._wanted = False
        self._pending = self._head = self._tail = b""
        self._head_bytes = self._body_bytes = self._seen = 0
        self._headers: list[tuple[bytes, bytes]] = []

    def close(self) -> None:
        """Expect no more answers. May come twice.

        Parser and reader hold each other, and the garbage collector comes rarely.
        """
        self._parser = _NO_PARSER

    def header(self, name: bytes) -> str | None:
        """Return a header of an answer that is no 2xx: the first of that name, given in lower case."""
        for other, value in self._headers:
            if other.lower() == name:
                return value.strip(b" \t").decode("utf-8", "surrogateescape")
        return None

    def feed(self, data: bytes) -> bool:
        """Take bytes, at least one, and say whether the answer has ended: it is whole, or no more of it is read.

        :raises Malformed: no answer begins like this; the reader is of no use any more
        """
        if not self._in_head:
            return self._feed_body(data)
        pending, start = data, 0
        if self._pending:
            pending, start = self._pending + data, max(0, len(self._pending) - 3)
        while True:
            if not pending.startswith(_STARTS):
                pending = self._from_status_line(pending)
                start = 0
            end = pending.find(b"\r\n\r\n", start) + 4
            if end < 4:
                blank = _BLANK_LINE.search(pending, start)
                end = blank.end() if blank else 0
            if self._head_bytes + (end or len(pending)) > MAX_HEAD_BYTES:
                raise Malformed
            if not end:
                self._pending = pending
                return False
            end = self._take_head(pending, end)
            if self._in_head:
                self._head_bytes += end
                pending, start = pending[end:], 0
                self._pending = b""
                if not pending:
                    return False
                continue
            if self._no_body or self.status == 101:
                self._parser = _parser(self)  # the old one waits for a body
                self.clean = self._fit and end == len(pending)
                return True
            if end < len(pending):
                return self._feed_body(pending[end:])
            self.clean = self._ended and self._fit
            return self._ended

    def _from_status_line(self, pending: bytes) -> bytes:
        """Return the bytes from where a status line may begin; blank lines before it are overlooked."""
        left = pending.lstrip(b"\r\n")
        if not any(left.startswith(start) or start.startswith(left) for start in _STARTS):
            raise Malformed
        if skipped := len(pending) - len(left):
            self._fit = False
            self._head_bytes += skipped
        return left

    def _take_head(self, pending: bytes, end: int) -> int:
        """Take the head that ends at ``end``, or before, if it is not strict; return where."""
        digit = pending[_STATUS : _STATUS + 1]
        self._wanted = digit not in b"12"
        head = self._head = pending[:end]
        try:
            self._parser.feed_data(head)
        except (HttpParserError, HttpParserUpgrade):
            if self.status is None:
                self._fit = False
                self._parser = _parser(self, lax=True)
                end = _end_of_head(pending)
                head = self._head = pending[:end]
                with suppress(HttpParserError, HttpParserUpgrade):  # of no account once there is a status
                    self._parser.feed_data(head)
        # llhttp lets NUL pass in a reason phrase, and takes any three digits.
        if self.status is None or self.status < 100 or b"\0" in head:
            raise Malformed
        if digit == b"1" and self.status != 101:
            self.status = None
            self._parser = _parser(self, lax=not self._fit)
            self._ended = False
        else:
            self._in_head = False
            self._fit = self._fit and self.status != 101
        return end

    def _feed_body(self, data: bytes) -> bool:
        if self._ended:
            self.clean = False
            return True
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._fit = False
            self._ended = True
        self._seen += len(data)
        # Also before chunks are known to come: the size of the first may arrive in pieces.
        self._tail = data[-5:] if len(data) >= 5 else (self._tail + data)[-5:]
        if self._body_bytes > self._cap:
            self._fit = False
            self._ended = True
        if self._ended and self._fit:
            if self._chunked:
                self.clean = _CHUNKED_END.fullmatch(self._tail) is not None
            else:
                self.clean = self._seen == self._body_bytes
        return self._ended

    # -- what the parser calls --

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._wanted:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.status is not None:  # of another answer, which nobody asked for
            self._fit = False
            return
        self.status = self._parser.get_status_code()
        if not self._parser.should_keep_alive():
            self._fit = False
        self._wanted = False  # trailers are no headers

    def on_chunk_header(self) -> None:
        if not self._chunked:
            self._chunked = True
            head = self._head.lower()
            if head.count(b"\ntransfer-encoding") > 1 or not _CHUNKED.search(head) or head.startswith(b"http/1.0"):
                self._fit = False  # others may see another end

    def on_body(self, data: bytes) -> None:
        if self._ended:
            return
        self._body_bytes += len(data)
        if self._keep:
            data = data[: self._keep]
            self._keep -= len(data)
            self.kept += data

    def on_message_complete(self) -> None:
        self._ended = True


def _parser(reader: AnswerReader, *, lax: bool = False) -> HttpResponseParser:
    parser = HttpResponseParser(reader)
    parser.set_dangerous_leniencies(
        lenient_headers=lax,
        lenient_optional_cr_before_lf=lax,
        # RFC 9112 section 7.1.1 has it as bad white space, which is to be read.
        lenient_spaces_after_chunk_size=True,
    )
    return parser


_NO_PARSER: Final = HttpResponseParser(None)


def _end_of_head(pending: bytes) -> int:
    blank = _BLANK_LINE.search(pending)
    return blank.end() if blank else len(pending)
