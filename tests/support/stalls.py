"""Tests that failed while the machine stood still are run again: what they prove holds by clocks that went on.

After two seconds without a heartbeat a replica is taken for dead, a store that has not answered for 1.6 s for gone.
On a machine that stops for longer both happen, as they should, to tests in which they must not.
"""

from __future__ import annotations

import threading
import time

import pytest
from _pytest.runner import runtestprotocol

#: A gap of so many seconds is no want of a core, of which there are always some for a thread that hardly needs one.
STALL_SECONDS = 1.0
_TICK_SECONDS = 0.05
_TIMES = 3
_PROPERTY = "the machine stood still"


class Pulse:
    """Says for how long the process stood still at most."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._beat = time.monotonic()
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def take(self) -> float:
        """Return the longest gap, in seconds, since this was asked for the last time."""
        self._look()
        longest, self.longest = self.longest, 0.0
        return longest

    def _look(self) -> None:
        now = time.monotonic()
        self.longest = max(self.longest, now - self._beat - _TICK_SECONDS)
        self._beat = now

    def _run(self) -> None:
        while True:
            time.sleep(_TICK_SECONDS)
            self._look()


_pulse: Pulse | None = None


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run one test, and again when it failed while the machine stood still; the last run counts."""
    global _pulse
    _pulse = _pulse or Pulse()
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for _ in range(_TIMES):
        _pulse.take()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        stalled = _pulse.take()
        if stalled < STALL_SECONDS or not any(report.failed for report in reports):
            break
        item.user_properties.append((_PROPERTY, f"{stalled:.1f} s"))
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell which tests were run again."""
    for kind in ("passed", "failed"):
        for report in terminalreporter.stats.get(kind, ()):
            for name, value in report.user_properties if report.when == "call" else ():
                if name == _PROPERTY:
                    terminalreporter.write_line(f"RUN AGAIN {report.nodeid} - {name} for {value}")
