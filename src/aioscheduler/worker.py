"""One of several workers: the service, on a port, a store and a token it has in common with the others.

``python -m aioscheduler.worker`` reads a :class:`Start` from its standard input, which stays open for as long as the
supervisor lives. On its standard output it says ``READY``, a line, once it listens; else why it does not.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from dataclasses import dataclass
from typing import Final

from aioscheduler.config import Settings
from aioscheduler.errors import ConfigError
from aioscheduler.logs import configure
from aioscheduler.server import Worker, run, serve

READY: Final = "ready"
_STDIN, _STDOUT, _STDERR = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a worker begins with: the settings as the supervisor read them, and its place among the others."""

    settings: Settings
    worker: Worker


def main() -> int:
    """Serve until told to stop and return the exit code."""
    try:
        start: Start = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the supervisor, through a pipe of its own
    except EOFError:  # which is gone already
        return 1
    # A thread, so that a loop that stands still does not outlive the supervisor either.
    threading.Thread(target=_end_with_supervisor, name="supervisor", daemon=True).start()
    configure(start.settings.log_level, start.settings.log_format, worker=start.worker.number)
    try:
        return run(serve(start.settings, lambda _: _report(READY), worker=start.worker))
    except ConfigError as error:
        _report(str(error))
        return 1


def _end_with_supervisor() -> None:
    # Nothing more comes, so this returns when the supervisor is gone. What was on the wire is attempted again by the
    # next start, as after any kill: without the embedded store nothing could be settled any more.
    os.read(_STDIN, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def _report(text: str) -> None:
    os.write(_STDOUT, f"{text}\n".encode())
    # Whatever else is printed belongs to the log.
    os.dup2(_STDERR, _STDOUT)


if __name__ == "__main__":
    sys.exit(main())
