"""Timers of the kernel on the wall clock: exact to a tenth of a millisecond, and told when the clock is stepped."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import sys
import time
from collections.abc import Callable
from typing import Final

# From Linux's headers; ``os.timerfd_create`` came with Python 3.13 only.
_NONBLOCK, _CLOEXEC = os.O_NONBLOCK, getattr(os, "O_CLOEXEC", 0)
_ABSTIME, _CANCEL_ON_SET = 1, 2
_SECOND_NS: Final = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Alarm:
    """Calls back at an instant of the wall clock, or when that is stepped; belongs to the running loop.

    :raises OSError: this system has no such timers, or no descriptor free
    """

    def __init__(self) -> None:
        self._set = _libc().timerfd_settime
        self.loop = asyncio.get_running_loop()
        self._ring: Callable[[], object] | None = None
        self._spec = _Itimerspec()
        self._fd = _libc().timerfd_create(time.CLOCK_REALTIME, _NONBLOCK | _CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "no timer")
        try:
            self.loop.add_reader(self._fd, self._read)
        except BaseException:
            self.close()
            raise

    def set(self, at_ns: int, ring: Callable[[], object]) -> None:
        """Call ``ring`` once, at ``at_ns`` since 1970 or at the next step of the clock, instead of what was set before.

        :raises OSError: the kernel refuses
        """
        self._spec.value.seconds, self._spec.value.nanoseconds = divmod(max(1, at_ns), _SECOND_NS)
        self._ring = ring
        if self._set(self._fd, _ABSTIME | _CANCEL_ON_SET, ctypes.byref(self._spec), None) < 0:
            if (code := ctypes.get_errno()) != errno.ECANCELED:
                raise OSError(code, os.strerror(code))
            # The clock was stepped while nobody looked.
            self.loop.call_soon(self._call)

    def off(self) -> None:
        """Call nobody. May come twice."""
        self._ring = None

    def close(self) -> None:
        """Give the descriptor back. May come twice."""
        self._ring = None
        fd, self._fd = self._fd, -1
        if fd >= 0:
            if not self.loop.is_closed():
                self.loop.remove_reader(fd)
            os.close(fd)

    def _read(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # set anew since it rang
        except OSError:
            pass  # ECANCELED: a step; whoever waits looks at the clock again
        self._call()

    def _call(self) -> None:
        ring, self._ring = self._ring, None
        if ring is not None:
            ring()


def _libc() -> ctypes.CDLL:
    global _loaded
    if _loaded is None:
        if not sys.platform.startswith("linux") or ctypes.sizeof(ctypes.c_long) < 8:
            raise OSError("no such timers here")
        _loaded = ctypes.CDLL(None, use_errno=True)
    return _loaded


_loaded: ctypes.CDLL | None = None
