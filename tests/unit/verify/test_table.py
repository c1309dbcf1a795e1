"""The report as people and programs read it."""

from __future__ import annotations

import json

from aioscheduler.verify.figures import lateness_of
from aioscheduler.verify.ledger import FaultKind, Ledger, Temper
from aioscheduler.verify.promises import check
from aioscheduler.verify.report import TITLES, Figures, Promise, Report, Verdict, Violation
from aioscheduler.verify.table import LINES, as_json, render
from tests.support.ledgers import Run


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def report_of(**violations: int) -> Report:
    """Return a report with so many violations of each promise, numbered."""
    verdicts = [
        Verdict(
            promise=promise,
            title=TITLES[promise],
            checked=10,
            violations=[
                Violation(id="m", sentence=f"{promise} number {number}", history=("+0.000 s  create m",))
                for number in range(violations.get(promise, 0))
            ],
        )
        for promise in Promise
    ]
    return Report(verdicts=verdicts, figures=Figures())


def test_the_first_line_says_which_run_it_was() -> None:
    text = render(report_of(), seed=7, seconds=60.0, replicas=3, rate=60.0, faults="all")
    assert text.splitlines()[0] == "seed 7, 60 seconds, 3 replicas, 60 messages a second, faults: all"
    assert render(report_of(), seed=0).splitlines()[0] == "seed 0"
    assert render(report_of()).startswith("| promise")


def test_every_promise_has_its_row_with_what_was_checked_and_what_was_not_kept() -> None:
    lines = render(report_of(P4=1_234)).splitlines()
    assert cells(lines[0]) == ["promise", "", "checked", "", "violations"]
    assert [cells(line)[0] for line in lines[2:10]] == [f"P{number}" for number in range(1, 9)]
    assert cells(lines[5]) == [
        *("P4", "deleted is deleted, replaced is replaced", "10", "deletions and replacements", "1,234"),
    ]
    assert cells(lines[2])[-1] == "0"


def test_a_promise_that_nothing_could_break_is_not_called_kept() -> None:
    rows = [line for line in render(check(Ledger())).splitlines() if line.startswith("| P")]
    assert {cells(row)[-1] for row in rows} == {"–"}


def test_tables_are_aligned() -> None:
    run = Run().create().hit().create("t2", id="n", temper=Temper.SLOW).hit("t2", at=5_300, temper=Temper.SLOW)
    run.ledger.peak_memory = {0: 50 * 2**20, 1: 61 * 2**20}
    tables = [part.splitlines() for part in render(run.report()).split("\n\n") if part.startswith("|")]
    assert len(tables) == 3
    for table in tables:
        assert len({len(line) for line in table}) == 1
        assert len({line.count("|") for line in table}) == 1
        assert set(table[1]) <= set("|-: ")


def test_the_figures_are_told() -> None:
    run = Run().create().hit().create("t2", id="n", due=20_000, temper=Temper.SLOW)
    run.hit("t2", at=20_300, temper=Temper.SLOW).fault(FaultKind.KILL, 4_000, 5_000, replica=1)
    run.ledger.peak_memory = {0: 50 * 2**20, 1: 61 * 2**20}
    run.ledger.audit = {"planned": 2, "delivered": 2, "difference": 0}
    rows = {cells(line)[0]: cells(line)[1:] for line in render(run.report()).splitlines() if line.startswith("|")}
    assert rows["messages accepted"] == ["2", "0 replaced, 0 deleted"]
    assert rows["delivered"] == ["2", "0 dead letters"]
    assert rows["faults"] == ["1", ""]
    assert rows["doubles unannounced"] == ["0", "0 announced"]
    assert rows["audit's difference"] == ["0", "planned 2, delivered 2"]
    assert rows["most memory"] == ["61 MiB", "replica 0: 50 MiB, replica 1: 61 MiB"]
    assert rows["all"] == ["2", "3.0", "300.0", "300.0", "300.0"]
    assert rows["outside of faults"] == ["1", "300.0", "300.0", "300.0", "300.0"]
    assert rows["quick, all"] == ["1", "3.0", "3.0", "3.0", "3.0"]
    assert "quick, outside of faults" not in rows


def test_percentiles_are_values_that_were_measured() -> None:
    lateness = lateness_of([float(value) for value in range(1_000, 0, -1)])
    assert lateness is not None
    assert (lateness.count, lateness.p50, lateness.p99, lateness.p999, lateness.most) == (1_000, 500, 990, 999, 1_000)
    assert lateness_of([]) is None


def test_a_line_says_whether_all_was_kept() -> None:
    assert "Every promise was kept." in render(report_of())
    assert "Not kept: P1, P3; 1,003 violations." in render(report_of(P1=1_000, P3=3))
    assert "Every promise was kept." not in render(report_of(P3=1))


def test_the_first_five_violations_are_told_and_each_promise_has_its_turn() -> None:
    text = render(report_of(P1=9, P3=1, P6=2))
    told = [line for line in text.splitlines() if " number " in line]
    assert told == ["P1: P1 number 0", "P3: P3 number 0", "P6: P6 number 0", "P1: P1 number 1", "P6: P6 number 1"]
    assert "\n\n    +0.000 s  create m\n" in text


def test_a_long_history_loses_its_middle() -> None:
    history = tuple(f"+{number}.000 s" for number in range(100))
    report = report_of(P1=1)
    (violation,) = report.verdict("P1").violations
    longer = Violation(id="m", sentence=violation.sentence, history=history)
    report = Report(verdicts=[Verdict(promise=Promise.P1, title="", checked=1, violations=[longer])], figures=Figures())
    lines = [line.strip() for line in render(report).splitlines() if line.startswith("    ")]
    assert len(lines) == LINES
    assert (lines[0], lines[-1]) == ("+0.000 s", "+99.000 s")
    assert lines[LINES // 2] == "… 41 lines left out …"


def test_as_json_it_is_json_and_complete() -> None:
    run = Run().create().create("t2", id="n", temper=Temper.SLOW).hit("t2", at=5_300, temper=Temper.SLOW)
    run.ledger.peak_memory = {0: 1}
    told = json.loads(json.dumps(as_json(run.report()), allow_nan=False))
    assert told["holds"] is False
    assert [row["promise"] for row in told["promises"]] == [f"P{number}" for number in range(1, 9)]
    (violation,) = told["promises"][0]["violations"]
    assert (violation["id"], violation["history"][0][:8]) == ("m", "+0.000 s")
    assert told["figures"]["accepted"] == 2
    assert told["figures"]["lateness_by_temper"]["slow"]["p50"] == 300
    assert told["figures"]["peak_memory"] == {"0": 1}
    assert as_json(report_of())["holds"] is True


def test_a_report_knows_each_verdict_by_its_promise() -> None:
    report = report_of(P2=1)
    assert report.verdict("P2").violations
    assert report.verdict(Promise.P2) is report.verdict("P2")
    assert not report.holds
