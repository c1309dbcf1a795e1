"""How late what was due left, and what that comes to.

Lateness is counted in lanes, ten for each doubling: wide enough to be few, narrow enough that a percentile is told with
an error of 4.8 % at most, and of 8 µs below 16 µs.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from operator import add
from typing import Final

#: How many lanes there are; the last has all that is 12.7 days late or more.
LANES: Final = 361
#: A breach takes so many deliveries: one late request is no statement about punctuality.
LEAST_DELIVERIES: Final = 10
_FIRST_US: Final = 16
_LAST_US: Final = 1 << 40
#: Counters come as a string of 4 bytes each, of an even number of lanes.
ROW_BYTES: Final = 4 * (LANES + 1)
#: Every second counter of such a string, as a number: of twice the width no sum of a day's overflows.
_HALF: Final = int.from_bytes(b"\0\0\0\0\xff\xff\xff\xff" * (ROW_BYTES // 8))


class Window(Enum):
    """What percentiles are of: the minute that goes on and the one, 60 or 1440 before it."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"

    @property
    def minutes(self) -> int:
        """How many minutes before the one that goes on belong to it."""
        match self:
            case Window.MINUTE:
                return 1
            case Window.HOUR:
                return 60
            case Window.DAY:
                return 1440


def lane(us: int) -> int:
    """Return the lane that counts a lateness in µs; what is early counts as on time."""
    if us < _FIRST_US:
        return 0
    if us >= _LAST_US:
        return LANES - 1
    octave = us.bit_length() - 5
    return 10 * octave - 9 + (10 * us >> octave + 4)


def _middle_us(number: int) -> float:
    """Return what a lane's lateness is told as: as far from its least as from its most, in proportion."""
    if number == 0:
        return _FIRST_US / 2
    octave, step = divmod(number - 1, 10)
    least, most = (10 + step << octave + 4) / 10, (11 + step << octave + 4) / 10
    return 2 * least * most / (least + most)


_MIDDLES: Final = [_middle_us(number) for number in range(LANES)]


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late so many were. ``+`` adds others.

    ``worst_us`` is exact. The counters stand in two numbers of 8 bytes a counter: the lanes 0, 2, 4 … in ``even``, and
    1, 3, 5 … in ``odd``.
    """

    worst_us: int = 0
    even: int = 0
    odd: int = 0

    @classmethod
    def read(cls, worst_us: int, *strings: bytes) -> Lateness:
        """Return what strings of counters say together, each of which may end early."""
        even = odd = 0
        for counters in strings:
            number = int.from_bytes(counters.ljust(ROW_BYTES, b"\0"))
            even += number >> 32 & _HALF
            odd += number & _HALF
        return cls(worst_us, even, odd)

    def __add__(self, other: Lateness) -> Lateness:
        return Lateness(max(self.worst_us, other.worst_us), self.even + other.even, self.odd + other.odd)

    @property
    def counts(self) -> Sequence[int]:
        """How many there are in each lane."""
        found = [0] * (LANES + 1)
        found[::2], found[1::2] = _numbers(self.even), _numbers(self.odd)
        return found

    def figures(self) -> Figures:
        """Return the percentiles."""
        return _figures(self.counts, self.worst_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How punctual so many deliveries were, in milliseconds late; ``None`` where there were none."""

    deliveries: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    worst_ms: float | None = None

    def breaches(self, target_ms: float) -> bool:
        """Say whether one in a hundred was later than the target; 0 is none. Fewer than ten deliveries breach none."""
        return target_ms > 0 and self.deliveries >= LEAST_DELIVERIES and (self.p99_ms or 0.0) > target_ms


def figures_of(worst_us: int, *strings: bytes) -> Figures:
    """Return the percentiles of what strings of counters say together, as :class:`Lateness` would.

    For many times with few strings each, where its long integers do not pay.
    """
    size = max(map(len, strings), default=0)
    counts: Sequence[int] = ()
    for counters in strings:
        more = struct.unpack(f">{size // 4}I", counters.ljust(size, b"\0"))
        counts = list(map(add, counts, more)) if counts else more
    return _figures(counts, worst_us)


def _figures(counts: Sequence[int], worst_us: int) -> Figures:
    passed = list(accumulate(counts))
    if not passed or not passed[-1]:
        return Figures()
    p50, p99, p999 = (
        # Of the first lane by whose end so many have passed.
        min(_MIDDLES[bisect_left(passed, -(-passed[-1] * thousandths // 1000))], worst_us) / 1000
        for thousandths in (500, 990, 999)
    )
    return Figures(deliveries=passed[-1], p50_ms=p50, p99_ms=p99, p999_ms=p999, worst_ms=worst_us / 1000)


def _numbers(packed: int) -> Sequence[int]:
    numbers = array("Q", packed.to_bytes(ROW_BYTES))
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers
