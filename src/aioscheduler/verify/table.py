"""A report as text for people, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Final

from aioscheduler.verify.report import Figures, Lateness, Promise, Report, Violation

#: So many violations are told with their history, each in so many lines at most.
TOLD: Final = 5
LINES: Final = 60
_CHECKED = {
    Promise.P1: "acknowledged messages, runs, minutes",
    Promise.P2: "attempts",
    Promise.P3: "attempts",
    Promise.P4: "deletions and replacements",
    Promise.P5: "first attempts at quick receivers",
    Promise.P6: "calls, returns of the store",
    Promise.P7: "first attempts near a step",
    Promise.P8: "stops",
}


def render(
    report: Report,
    *,
    seed: int | None = None,
    seconds: float | None = None,
    replicas: int | None = None,
    rate: float | None = None,
    faults: str | None = None,
) -> str:
    """Return the table, the figures and the first violations: for a terminal, and legal Markdown.

    What is given of the run stands in the first line.
    """
    given = [
        f"seed {seed}" if seed is not None else "",
        f"{seconds:g} seconds" if seconds is not None else "",
        f"{replicas} replicas" if replicas is not None else "",
        f"{rate:g} messages a second" if rate is not None else "",
        f"faults: {faults}" if faults is not None else "",
    ]
    head = ", ".join(part for part in given if part)
    parts = [
        head,
        _aligned([["promise", "", "checked", "", "violations"], *_rows(report)], numbers={2, 4}),
        _aligned([["figure", "", ""], *_counts(report.figures)], numbers={1}),
    ]
    lateness = list(_lateness(report.figures))
    if lateness:
        names = ["lateness of first attempts, ms", "count", "p50", "p99", "p99.9", "max"]
        parts.append(_aligned([names, *lateness], numbers={1, 2, 3, 4, 5}))
    parts.append(_summary(report))
    parts += _told(report)
    return "\n\n".join(part for part in parts if part) + "\n"


def as_json(report: Report) -> dict[str, object]:
    """Return the report as JSON has it; every promise's violations, the first of them with their history."""
    figures = asdict(report.figures)
    for name in ("lateness_by_temper", "calm_by_temper"):
        figures[name] = {temper.value: lateness for temper, lateness in figures[name].items()}
    figures["peak_memory"] = {str(replica): size for replica, size in figures["peak_memory"].items()}
    return {
        "holds": report.holds,
        "promises": [
            {
                "promise": str(verdict.promise),
                "title": verdict.title,
                "checked": verdict.checked,
                "violations": [
                    {"id": item.id, "sentence": item.sentence, "history": list(item.history)}
                    for item in verdict.violations
                ],
            }
            for verdict in report.verdicts
        ],
        "figures": figures,
    }


def _rows(report: Report) -> Iterator[list[str]]:
    for verdict in report.verdicts:
        count = len(verdict.violations)
        yield [
            verdict.promise,
            verdict.title,
            f"{verdict.checked:,}",
            _CHECKED[verdict.promise],
            f"{count:,}" if verdict.checked or count else "–",
        ]


def _counts(figures: Figures) -> Iterator[list[str]]:
    def row(name: str, value: int, note: str = "") -> list[str]:
        return [name, f"{value:,}", note]

    yield row("messages accepted", figures.accepted, f"{figures.replaced:,} replaced, {figures.deleted:,} deleted")
    yield row("delivered", figures.delivered, f"{figures.dead:,} dead letters")
    yield row("runs of jobs", figures.runs, f"{figures.open_executions:,} executions open at the end")
    yield row("attempts", figures.attempts)
    yield row(
        "calls answered",
        figures.calls_answered,
        f"{figures.calls_503:,} with 503, {figures.calls_unanswered:,} not at all",
    )
    yield row("faults", figures.faults)
    yield row("lost", figures.lost)
    yield row("early", figures.early)
    yield row("doubles unannounced", figures.doubles_unannounced, f"{figures.doubles_announced:,} announced")
    if figures.audit_difference is not None:
        numbers = ", ".join(f"{name} {value:,}" for name, value in figures.audit.items() if name != "difference")
        yield row("audit's difference", figures.audit_difference, numbers)
    if figures.peak_memory:
        each = ", ".join(f"replica {replica}: {_mib(size)}" for replica, size in sorted(figures.peak_memory.items()))
        yield ["most memory", _mib(max(figures.peak_memory.values())), each]


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _lateness(figures: Figures) -> Iterator[list[str]]:
    groups: list[tuple[str, Lateness | None]] = [("outside of faults", figures.calm), ("all", figures.lateness)]
    for temper, lateness in figures.lateness_by_temper.items():
        groups.append((f"{temper.value}, outside of faults", figures.calm_by_temper.get(temper)))
        groups.append((f"{temper.value}, all", lateness))
    for name, values in groups:
        if values is not None:
            percentiles = (values.p50, values.p99, values.p999, values.most)
            yield [name, f"{values.count:,}", *(f"{value:,.1f}" for value in percentiles)]


def _aligned(rows: Sequence[Sequence[str]], numbers: set[int]) -> str:
    """Return rows as a Markdown table; the columns in ``numbers`` to the right."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(cells)} |"

    rule = ["-" * (width - 1) + ":" if column in numbers else "-" * width for column, width in enumerate(widths)]
    return "\n".join([line(rows[0]), line(rule), *map(line, rows[1:])])


def _summary(report: Report) -> str:
    broken = [str(verdict.promise) for verdict in report.verdicts if verdict.violations]
    if not broken:
        return "Every promise was kept."
    count = sum(len(verdict.violations) for verdict in report.verdicts)
    return f"Not kept: {', '.join(broken)}; {count:,} violations."


def _told(report: Report) -> Iterator[str]:
    """Return the first violations; one of each broken promise comes before a second of any."""
    queues = [(verdict.promise, verdict.violations) for verdict in report.verdicts if verdict.violations]
    deepest = max((len(violations) for _, violations in queues), default=0)
    told = 0
    for depth in range(min(TOLD, deepest)):
        for promise, violations in queues:
            if depth < len(violations) and told < TOLD:
                told += 1
                yield _one(promise, violations[depth])


def _one(promise: Promise, violation: Violation) -> str:
    lines = list(violation.history)
    if len(lines) > LINES:
        half = LINES // 2
        lines = [*lines[:half], f"… {len(lines) - LINES + 1} lines left out …", *lines[len(lines) - half + 1 :]]
    # Indented by four, Markdown leaves them as they are.
    return "\n".join([f"{promise}: {violation.sentence}", "", *(f"    {line}" for line in lines)]).rstrip()
