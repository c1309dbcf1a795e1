"""Figures, and the tables they are shown in."""

from __future__ import annotations

import math
import os
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

BEGIN, END = "<!-- figures: written by python -m bench --write -->", "<!-- end of figures -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what was asked for and what came of it. ``met`` is ``None`` where nothing was asked for."""

    what: str
    reach: str
    reached: str
    met: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """How late messages arrived after their instants, in ms."""

    expected: int
    missing: int
    doubles: int
    early: int
    first: float
    p50: float
    p99: float
    worst: float

    @classmethod
    def of(cls, arrivals: Iterable[tuple[str, float]], due_ms: Mapping[str, int]) -> Lateness:
        """Compare arrivals, ids and wall clock in ms, with the instants of the messages that were expected."""
        seen: Counter[str] = Counter()
        late: list[float] = []
        for message_id, at in arrivals:
            if message_id in due_ms:
                seen[message_id] += 1
                late.append(at - due_ms[message_id])
        late.sort()
        return cls(
            expected=len(due_ms),
            missing=len(due_ms) - len(seen),
            doubles=seen.total() - len(seen),
            early=sum(ms < 0 for ms in late),
            first=late[0] if late else math.inf,
            p50=quantile(late, 0.5),
            p99=quantile(late, 0.99),
            worst=late[-1] if late else math.inf,
        )

    @property
    def exact(self) -> bool:
        """Whether each message arrived once and none before its instant."""
        return not (self.missing or self.doubles or self.early)

    @property
    def counts(self) -> str:
        """The counts that have to be 0."""
        return f"{self.missing} missing, {self.doubles} double, {self.early} early"

    def __str__(self) -> str:
        return f"p50 {self.p50:.2f}, p99 {self.p99:.1f}, worst {self.worst:.1f} ms; {self.counts}"


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of the ordered values lie; infinity where there are none."""
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else math.inf


def ratios(
    reached: Mapping[str, float], unit: str, asked: Mapping[str, float], *, least: bool = True
) -> tuple[str, bool | None]:
    """Compare the first figure with each of the others; returns that in words, and whether it is as asked.

    ``asked`` is by name how many times the other's figure it should be, at least or at most. Where it should be
    compared with one that is not there, that is not known, unless it falls short of another.
    """
    (_, own), *others = reached.items()
    said = "".join(f"; {own / other:.2f} × {name} ({unit.format(other)})" for name, other in others)
    held = {
        name: own >= asked[name] * other if least else own <= asked[name] * other
        for name, other in others
        if name in asked
    }
    if not all(held.values()):
        return said, False
    return said, True if asked and held.keys() == asked.keys() else None


def table(rows: Iterable[Row]) -> str:
    """Return rows as a Markdown table."""
    marks = {True: "yes", False: "**no**", None: ""}
    lines = ["| | to reach | reached | |", "|---|---|---|---|"]
    lines += (f"| {row.what} | {row.reach} | {row.reached} | {marks[row.met]} |" for row in rows)
    return "\n".join(lines)


def machine(redis: str, pinned: bool) -> str:
    """Return one line that says when and on what the figures were taken."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = models[0] if models else processor
    parts = (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"{os.cpu_count()} cores ({processor})",
        f"CPython {platform.python_version()}",
        f"aiohttp {version('aiohttp')}",
        f"uvloop {version('uvloop')}",
        redis,
        "service pinned to one core, the rest to the other" if pinned else "processes not pinned",
    )
    return ", ".join(parts)


def write(path: Path, figures: str) -> None:
    """Put figures between the two marks in a document.

    :raises ValueError: the document has no such marks
    """
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no place for figures: {BEGIN} … {END}")
    path.write_text(f"{before}{BEGIN}\n\n{figures}\n\n{END}{after}")


def as_dicts(rows: Iterable[Row]) -> list[dict[str, object]]:
    """Return rows for a JSON document."""
    return [asdict(row) for row in rows]
