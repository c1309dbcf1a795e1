"""The birthday bot: greets contacts on their birthday, each once a year."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import orjson

from aioscheduler.bots.base import BotFailed, BotResult, BotRun, Reply, check_options, count, flag, pause
from aioscheduler.bots.contacts import Contact, Found, load, read_contacts
from aioscheduler.domain.template import Template, compile_template, escape_none
from aioscheduler.errors import ConfigError, InvalidInput, Sentence, StoreUnavailable

#: What a greeting may say.
KNOWN = frozenset(
    {
        "contact.name",
        "contact.first_name",
        "contact.birthday",
        "contact.phone",
        "contact.email",
        "contact.url",
        "days_late",
        "job.id",
        "job.name",
        "now",
    }
)
#: How long the receiver of a greeting may take, in seconds.
TIMEOUT_SECONDS = 30
#: After this the mark of a greeting on its way belongs to nobody any more: its replica has died.
_SENDING_SECONDS = TIMEOUT_SECONDS + 5
#: Between two tries to remember that a greeting was sent.
_STORE_PAUSE_SECONDS = 1

#: What is remembered of a contact in a year: see :class:`_Marks`.
_MARK = re.compile(r"(sending until|sent|failed) ([0-9]+)", re.ASCII)
_KEY_YEAR = re.compile(r"([0-9]{4}):", re.ASCII)

_OPTIONS = {
    "max_days_late": count(7, 1, 365),
    "max_messages_per_run": count(10, 1),
    "process_late": flag(False),
    "dry_run": flag(False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Greeting:
    """Who is to be greeted, for which of their birthdays."""

    contact: Contact
    days_late: int
    key: str


@dataclass(slots=True, kw_only=True)
class _Tally:
    """What a run did until now."""

    found: int
    skipped: int
    sent: int = 0
    would_send: int = 0
    already_greeted: int = 0
    errors: int = 0
    left: int = 0
    last_error: object = None
    #: Those somebody else is sending, with the mark that says so.
    elsewhere: list[tuple[_Greeting, str]] = field(default_factory=list)

    def result(self) -> BotResult:
        """Return it as it stands in the history."""
        return BotResult(
            messages_sent=self.sent,
            details={
                "messages_sent": self.sent,
                "found": self.found,
                "would_send": self.would_send,
                "already_greeted": self.already_greeted,
                "errors": self.errors,
                "left": self.left,
                "skipped_contacts": self.skipped,
                **({"last_error": str(self.last_error)} if self.errors else {}),
            },
        )


class Birthday:
    """Sends a greeting to ``webhook_url`` for each of the ``contacts`` whose birthday it is.

    What it remembers is, by year and person, one of ``sending until <ms>``, ``sent <ms>`` and ``failed <ms>``. A
    greeting is marked before it leaves. Where the mark is still there after its time, whoever wrote it died in between,
    and nobody knows whether the greeting arrived: it is sent again, with the same ``webhook-id``.
    """

    def __init__(self, contacts: str | None, webhook_url: str | None, message: str) -> None:
        """Take the settings.

        :param contacts: the path or the URL of a vCard or CSV file
        :param message: a template of :data:`KNOWN`
        :raises ConfigError: the message is no template
        """
        self._contacts = contacts
        self._webhook_url = webhook_url
        self._message = _compile(message)

    def check(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        return check_options(config, _OPTIONS)

    async def run(self, run: BotRun) -> BotResult:
        if self._contacts is None:
            raise BotFailed(Sentence("BIRTHDAY_CONTACTS is not set: it says where the contacts are"))
        if self._webhook_url is None and not run.config["dry_run"]:
            raise BotFailed(Sentence("BIRTHDAY_WEBHOOK_URL is not set: it says where greetings are sent to"))
        contacts = await load(self._contacts, run.http, read_contacts)
        return await _Run(run, self._webhook_url or "", self._message, contacts).work()


def _compile(message: str) -> Template:
    try:
        return compile_template(message, KNOWN, "BIRTHDAY_MESSAGE")
    except InvalidInput as error:
        raise ConfigError(Sentence("These settings are wrong:\n  {problem}", problem=error.sentence)) from error


class _Run:
    """One run: whom it finds, and what comes of each."""

    def __init__(self, run: BotRun, webhook_url: str, message: Template, contacts: Found[Contact]) -> None:
        self._run = run
        self._webhook_url = webhook_url
        self._message = message
        self._contacts = contacts
        self._dry = bool(run.config["dry_run"])
        self._most = int(run.config["max_messages_per_run"])
        self._end = run.clock.monotonic() + run.time_limit.total_seconds()
        # A run that may only be short shall end by itself too, and tell what it did.
        self._timeout_seconds = min(TIMEOUT_SECONDS, run.time_limit.total_seconds() / 3)

    async def work(self) -> BotResult:
        """Greet.

        :raises BotFailed: every greeting it tried to send failed
        """
        run = self._run
        # The day the run was due, which may be yesterday by now: nobody is left out for a delay at midnight.
        today = run.scheduled_for.astimezone(run.zone).date()
        marks = await run.memory.read_all()
        max_days_late = run.config["max_days_late"] if run.config["process_late"] else 0
        greetings = await asyncio.to_thread(due, self._contacts.items, today, max_days_late)
        # Who was refused before comes last, so that those who always are do not use up what a run may send.
        greetings.sort(key=lambda greeting: marks.get(greeting.key, "").startswith("failed"))
        tally = _Tally(found=len(greetings), skipped=self._contacts.skipped)
        for greeting in greetings:
            await self._take(greeting, marks.get(greeting.key), tally)
        await self._wait_for_others(tally)
        if not self._dry:
            await self._forget(marks, today)
        if tally.errors and not tally.sent:
            raise BotFailed(
                Sentence(
                    "none of {count} greetings was accepted; the last one: {reason}",
                    count=tally.errors,
                    reason=tally.last_error,
                ),
                tally.result(),
            )
        return tally.result()

    async def _take(self, greeting: _Greeting, mark: str | None, tally: _Tally) -> None:
        kind, until_ms = _parse(mark)
        if kind == "sent":
            tally.already_greeted += 1
        elif kind == "sending until" and until_ms > self._run.clock.now_ms() and not self._dry:
            tally.elsewhere.append((greeting, mark or ""))
        elif self._is_enough(tally):
            tally.left += 1
        elif self._dry:
            tally.would_send += 1
        else:
            await self._greet(greeting, mark, tally)

    def _is_enough(self, tally: _Tally) -> bool:
        done = tally.sent + tally.errors + tally.would_send
        # Rather end with what could not be done yet than be cut off in the middle of a greeting.
        late = done > 0 and self._end - self._run.clock.monotonic() < self._timeout_seconds
        return done >= self._most or late

    async def _greet(self, greeting: _Greeting, mark: str | None, tally: _Tally) -> None:
        run = self._run
        try:
            body = self._body(greeting)
        except InvalidInput as error:
            tally.errors += 1
            tally.last_error = error.sentence
            await self._settle(greeting.key, mark, f"failed {run.clock.now_ms()}")
            return
        sending = f"sending until {run.clock.now_ms() + _SENDING_SECONDS * 1000}"
        if not await run.memory.swap(greeting.key, mark, sending):
            tally.already_greeted += 1
            return
        reply = await run.http.post(
            self._webhook_url, body, identity=f"birthday {greeting.key}", timeout_seconds=self._timeout_seconds
        )
        if reply.ok:
            tally.sent += 1
            await self._settle(greeting.key, sending, f"sent {run.clock.now_ms()}")
        else:
            tally.errors += 1
            tally.last_error = _reason(reply)
            await self._settle(greeting.key, sending, f"failed {run.clock.now_ms()}")

    def _body(self, greeting: _Greeting) -> bytes:
        contact, run = greeting.contact, self._run
        members = {
            "name": contact.name,
            "first_name": contact.first_name,
            "birthday": str(contact.birthday),
            "phone": contact.phone,
            "email": contact.email,
            "url": contact.url,
        }
        values: dict[str, object] = {f"contact.{name}": value for name, value in members.items()}
        values |= {
            "days_late": greeting.days_late,
            "job.id": run.job_id,
            "job.name": run.job_name,
            "now": run.clock.now(),
        }
        message = self._message.render(values, escape_none)
        return orjson.dumps(
            {"contact": members, "message": message, "days_late": greeting.days_late, "job_id": run.job_id}
        )

    async def _settle(self, key: str, old: str | None, new: str) -> None:
        """Change a mark. A store that is away is waited for: to forget this would greet somebody twice."""
        while True:
            try:
                await self._run.memory.swap(key, old, new)
            except StoreUnavailable:
                await pause(self._run.clock, _STORE_PAUSE_SECONDS)
            else:
                return

    async def _wait_for_others(self, tally: _Tally) -> None:
        """See what became of those somebody else was sending: sent, failed, or nobody is sending them any more.

        The latter is what a run finds that takes the place of one whose replica died.
        """
        clock = self._run.clock
        patience = clock.monotonic() + _SENDING_SECONDS
        waiting, tally.elsewhere = tally.elsewhere, []
        for greeting, mark in waiting:
            _, until_ms = _parse(mark)
            # Another replica's clock may be wrong, and our time may be short.
            latest = min(patience, self._end - self._timeout_seconds) - clock.monotonic()
            await pause(clock, min((until_ms - clock.now_ms()) / 1000, latest))
            (now,) = await self._run.memory.read([greeting.key])
            await self._take(greeting, now, tally)
        tally.left += len(tally.elsewhere)

    async def _forget(self, marks: Mapping[str, str], today: date) -> None:
        """Drop the marks of birthdays that no run looks back to."""
        for key, mark in marks.items():
            year = _KEY_YEAR.match(key)
            if year and int(year[1]) < today.year - 1:
                await self._run.memory.swap(key, mark, None)


def due(contacts: Sequence[Contact], today: date, max_days_late: int) -> list[_Greeting]:
    """Return whose latest birthday was today or up to so many days ago, today's first; the same person once."""
    greetings: dict[str, _Greeting] = {}
    for contact in contacts:
        if contact.birthday is None:
            continue
        day = contact.birthday.in_year(today.year)
        if day > today:
            day = contact.birthday.in_year(today.year - 1)
        days_late = (today - day).days
        if days_late <= max_days_late:
            key = f"{day.year:04}:{contact.key}"
            greetings.setdefault(key, _Greeting(contact=contact, days_late=days_late, key=key))
    return sorted(greetings.values(), key=lambda greeting: greeting.days_late)


def _parse(mark: str | None) -> tuple[str, int]:
    match = _MARK.fullmatch(mark or "")
    return (match[1], int(match[2])) if match else ("", 0)


def _reason(reply: Reply) -> object:
    if reply.status is None:
        return reply.error or "-"
    return f"HTTP {reply.status}"
