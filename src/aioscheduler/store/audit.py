"""The account: what was planned, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from aioscheduler.clock import to_ms
from aioscheduler.store import keys
from aioscheduler.store.base import Account, Audit
from aioscheduler.store.calls import Calls

#: How many minutes one call looks at.
_MINUTES: Final = 500
_MINUTE_MS: Final = 60_000
_ACCOUNTS: Final = ((keys.AUDIT, keys.AUDIT_MINUTES), (keys.EXECUTIONS_AUDIT, keys.EXECUTIONS_AUDIT_MINUTES))


class Auditing(Calls):
    """The verbs about the account."""

    async def audit(self, since: datetime | None = None, until: datetime | None = None) -> Audit:
        if since is None and until is None:
            messages, executions = await self._run(
                "audit_all", [keys.AUDIT, keys.INDEX, keys.EXECUTIONS_AUDIT, keys.COUNTERS], []
            )
            return Audit(messages=_account(messages), executions=_account(executions))
        first = "-inf" if since is None else str(to_ms(since) // _MINUTE_MS)
        last = "+inf" if until is None else str((to_ms(until) - 1) // _MINUTE_MS)
        messages, executions = [await self._sums(place, first, last) for place in _ACCOUNTS]
        return Audit(messages=messages, executions=executions)

    async def _sums(self, place: tuple[bytes, bytes], first: str, last: str) -> Account:
        """Add up minutes. Each balances by itself, so it does not matter what happens between the calls."""
        total = Account()
        while True:
            at, *sums = await self._run("audit", list(place), [first, last, _MINUTES])
            total += _account(sums)
            if not at:
                return total
            first = f"({int(at)}"

    async def forget_audit(self, before: datetime) -> None:
        for place in _ACCOUNTS:
            first = "-inf"
            while at := await self._run(
                "forget_audit", list(place), [first, f"({to_ms(before) // _MINUTE_MS}", _MINUTES]
            ):
                first = f"({int(at)}"


def _account(sums: Sequence[int]) -> Account:
    planned, pending, delivered, dead, deleted, replaced, missed = sums
    return Account(
        planned=planned,
        pending=pending,
        delivered=delivered,
        dead=dead,
        deleted=deleted,
        replaced=replaced,
        missed=missed,
    )
