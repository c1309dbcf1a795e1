"""What each request is called in its answer and in the log."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from itertools import count
from typing import Final

from multidict import istr

REQUEST_ID: Final = istr("X-Request-ID")
_SANE = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


class RequestIds:
    """Gives ids, those of one process all different."""

    def __init__(self) -> None:
        # Unique without asking the system for randomness each time.
        self._process = secrets.token_hex(4)
        self._serial = count(1)

    def of(self, headers: Mapping[str, str]) -> str:
        """Return the id that the client gave its request if it is sane, else a new one."""
        return self.given(headers) or self.new()

    def given(self, headers: Mapping[str, str]) -> str | None:
        """Return the id that the client gave its request if it is sane."""
        given = headers.get(REQUEST_ID)
        return given if given is not None and _SANE.fullmatch(given) else None

    def new(self) -> str:
        """Return an id nothing has had."""
        return f"{self._process}-{next(self._serial):x}"
