"""Whatever a receiver sends, in whatever packets: an answer or the defined failure, and no dirty connection again."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aioscheduler.engine.answer import MAX_HEAD_BYTES, AnswerReader, Malformed
from aioscheduler.engine.transport import MAX_ANSWER_BYTES

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True, slots=True)
class Read:
    """What became of some bytes."""

    status: int | None
    ended: bool
    fit: bool
    """The connection may serve again."""
    kept: bytes
    location: str | None
    malformed: bool = False


def read(reader: AnswerReader, pieces: list[bytes], keep: int = 100, no_body: bool = False) -> Read:
    """Feed a reader as a connection does: what comes after the end makes the connection unfit."""
    reader.begin(keep, no_body)
    ended = False
    try:
        for number, piece in enumerate(pieces):
            if ended := reader.feed(piece):
                left = any(pieces[number + 1 :])
                return Read(reader.status, True, reader.clean and not left, reader.kept, reader.header(b"location"))
    except Malformed:
        return Read(reader.status, False, False, b"", None, True)
    assert not reader.clean
    return Read(reader.status, ended, False, reader.kept, reader.header(b"location"))


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(at)]


_LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK", b"HTTP/1.1 302 Found", b"HTTP/1.0 200 OK", b"HTTP/1.1 100 Continue", b"HTTP/1.1 101 S",
        b"HTTP/1.1 204 No", b"HTTP/1.1 304 No", b"HTTP/1.1 503", b"HTTP/1.1 099 X", b"HTTP/2.0 200 OK", b"HTTP/1.1 20",
        b"Content-Length: 3", b"Content-Length: 0", b"Content-Length: 4", b"Content-Length: -1",
        b"Content-Length: 18446744073709551615", b"Content-Length:", b"Content-Length : 3",
        b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, gzip",
        b"Connection: close", b"Connection: keep-alive", b"Connection: upgrade", b"Upgrade: x",
        b"Location: /there", b"Location: ", b"X: \0", b"X: \xff", b" folded", b"nonsense", b": nameless",
        b"3", b"3;ext", b"3 ", b"0", b"abc", b"-3", b"ffffffffffffffffff", b"",
    ]
)  # fmt: skip
_ENDS = st.sampled_from([b"\r\n"] * 6 + [b"\n", b"\r", b"", b"\r\n\r\n", b"\r\n\r\n", b"\n\n", b"\n\r\n", b"\0"])
_LIKE_HTTP = st.lists(st.tuples(_LINES, _ENDS), max_size=14).map(
    lambda pairs: b"".join(line + end for line, end in pairs)
)
_ANYTHING = st.one_of(
    st.binary(max_size=200),
    _LIKE_HTTP,
    _LIKE_HTTP.map(lambda tail: b"HTTP/1.1 200 OK\r\n" + tail),
    st.tuples(_LIKE_HTTP, st.binary(max_size=20)).map(b"".join).map(lambda tail: b"HTTP/1.1 302 Found\r\n" + tail),
)


@settings(max_examples=750, deadline=None)
@given(data=_ANYTHING, cuts=st.lists(st.integers(0, 400), max_size=8), no_body=st.booleans())
@example(data=OK + OK, cuts=[len(OK)], no_body=False)
@example(data=b"\r\n" * 3 + OK, cuts=[1], no_body=False)
def test_the_packets_make_no_difference_and_only_one_failure_is_raised(
    data: bytes, cuts: list[int], no_body: bool
) -> None:
    whole = read(AnswerReader(), [data] if data else [], no_body=no_body)
    assert read(AnswerReader(), split(data, cuts), no_body=no_body) == whole
    assert read(AnswerReader(), split(data, list(range(len(data)))), no_body=no_body) == whole


@settings(max_examples=350, deadline=None)
@given(data=_ANYTHING, cuts=st.lists(st.integers(0, 400), max_size=4), no_body=st.booleans())
def test_after_an_answer_that_leaves_its_connection_fit_the_next_one_is_read_right(
    data: bytes, cuts: list[int], no_body: bool
) -> None:
    reader = AnswerReader()
    if read(reader, split(data, cuts), no_body=no_body).fit:
        assert read(reader, [OK]) == Read(200, True, True, b"ok", None)
        assert read(reader, [b"HTTP/1.1 302 X\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"]).location == "/x"


@settings(max_examples=250, deadline=None)
@given(
    status=st.integers(200, 599).filter(lambda status: status not in (204, 304)),
    body=st.binary(max_size=300),
    before=st.lists(st.sampled_from([100, 102, 103]), max_size=3),
    chunks=st.none() | st.lists(st.integers(1, 300), max_size=6),
    after=st.sampled_from([b"", b"", b"\r\n", b"\n", b"H", b"\0", OK, b"0\r\n\r\n"]),
    cuts=st.lists(st.integers(0, 1000), max_size=8),
)
@example(status=200, body=b"", before=[], chunks=[], after=b"", cuts=[60])
@example(status=200, body=b"", before=[], chunks=[], after=b"", cuts=[61])
def test_what_was_answered_is_what_is_read(
    status: int, body: bytes, before: list[int], chunks: list[int] | None, after: bytes, cuts: list[int]
) -> None:
    data = b"".join(b"HTTP/1.1 %d X\r\nLink: <x>\r\n\r\n" % early for early in before)
    data += b"HTTP/1.1 %d X\r\nDate: today\r\n" % status
    if chunks is None:
        data += b"Content-Length: %d\r\n\r\n" % len(body) + body
    else:
        pieces = [piece for piece in split(body, chunks) if piece]
        data += b"Transfer-Encoding: chunked\r\n\r\n"
        data += b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    got = read(AnswerReader(), split(data + after, cuts), keep=200)
    assert got == Read(status, True, not after, body[:200], None)


def test_a_second_answer_adds_nothing_to_the_first() -> None:
    forged = b"HTTP/1.1 302 Found\r\nLocation: /evil\r\nContent-Length: 4\r\n\r\nevil"
    assert read(AnswerReader(), [OK + forged]) == Read(200, True, False, b"ok", None)


def test_trailers_are_no_headers() -> None:
    chunked = b"HTTP/1.1 302 Found\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nLocation: /evil\r\n\r\n"
    assert read(AnswerReader(), [chunked]) == Read(302, True, True, b"x", None)


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s", b"Content-Length: %d\r\n\r\n%s"])
def test_a_body_is_read_up_to_the_cap_and_its_connection_given_up(framing: bytes) -> None:
    long = b"x" * (MAX_ANSWER_BYTES + 1)
    got = read(AnswerReader(), [b"HTTP/1.1 200 OK\r\n" + framing % (10 * len(long), long)])
    assert (got.ended, got.fit, got.kept) == (True, False, b"x" * 100)
    whole = b"HTTP/1.1 200 OK\r\n" + framing % (MAX_ANSWER_BYTES, long[1:])
    if b"chunked" in framing:
        whole += b"\r\n0\r\n\r\n"
    assert read(AnswerReader(), [whole]).fit


def test_heads_are_read_up_to_their_cap() -> None:
    lines = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: "
    fits = lines + b"y" * (MAX_HEAD_BYTES - len(lines) - 4) + b"\r\n\r\n"
    assert read(AnswerReader(), [fits]).fit
    for data in (
        lines + b"y" + fits[len(lines) :],
        b"HTTP/1.1 103 X\r\n\r\n" + fits,
        b"\r\n" + fits,
        fits[:-4] + b"yyyyy",
    ):
        assert read(AnswerReader(), [data]).malformed
        assert read(AnswerReader(), [data[:50], data[50:]]).malformed


@pytest.mark.parametrize(
    "data", [b"SSH-2.0", b"HTTP/1.2", b"HTTP/2", b"http/1.1 200 OK", b"\0", b"HTTP/1.1\t", b"XHTTP/1.1"]
)
def test_what_cannot_become_an_answer_is_refused_without_waiting_for_more(data: bytes) -> None:
    with pytest.raises(Malformed):
        AnswerReader().feed(data)
