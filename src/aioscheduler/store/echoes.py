"""Telling our own writes' notifications from everybody else's."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

#: How long a notification of our own write may take, in seconds; after that an expectation would only hide others'.
LIFETIME = 10.0


class Echoes:
    """Expected notifications, counted: as many as we caused are dropped, one more is somebody else's.

    Counting is safe in every order: of two writes to a key, ours and an outsider's, one notification is dropped and
    the other looked up, after both.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.mistaken: Callable[[bytes], None] | None = None
        """Told of a key whose notification was dropped as ours, and turned out to be somebody else's."""
        self._expected: dict[bytes, int] = {}
        self._order: deque[tuple[float, bytes]] = deque()

    def expect(self, *keys: bytes) -> None:
        """Drop the next notification about each of the keys."""
        expected, order, now = self._expected, self._order, self._monotonic()
        for key in keys:
            expected[key] = expected.get(key, 0) + 1
            order.append((now, key))
        self._expire(now)

    def forget(self, key: bytes) -> None:
        """Take an expectation back: the write did not happen, or nobody knows."""
        if not self._drop(key) and self.mistaken is not None:
            self.mistaken(key)

    def is_own(self, key: bytes) -> bool:
        """Say whether a notification about ``key`` was expected, and count it off."""
        self._expire(self._monotonic())
        return self._drop(key)

    def clear(self) -> None:
        """Expect nothing: the connection that brings notifications is a new one."""
        self._expected.clear()
        self._order.clear()

    def _expire(self, now: float) -> None:
        # One that was met takes a younger one of the same key with it: that costs a look, and hides nothing.
        order, expected = self._order, self._expected
        oldest = now - LIFETIME
        while order and (order[0][0] < oldest or order[0][1] not in expected):
            self._drop(order.popleft()[1])

    def _drop(self, key: bytes) -> bool:
        count = self._expected.get(key)
        if count is None:
            return False
        if count == 1:
            del self._expected[key]
        else:
            self._expected[key] = count - 1
        return True
