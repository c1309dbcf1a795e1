"""The birthday bot: whom it greets, when, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest

from aioscheduler.bots.base import BotFailed, BotResult, Reply
from aioscheduler.bots.birthday import Birthday, due
from aioscheduler.bots.contacts import read_contacts
from aioscheduler.errors import ConfigError, InvalidInput, StoreUnavailable
from tests.support.bots import FakeHttp, FakeMemory, Posted, bot_run
from tests.support.clock import FakeClock

T = TypeVar("T")
HOOK = "http://127.0.0.1:9/greetings"
MESSAGE = "Happy birthday, {{ contact.first_name }}!"
NOON = datetime(2026, 4, 15, 12, tzinfo=UTC)


class Stage:
    """A bot with a contacts file, and what it uses."""

    def __init__(self, folder: Path, rows: str, message: str = MESSAGE) -> None:
        self.file = folder / "contacts.csv"
        self.file.write_text("name,birthday,phone\n" + rows)
        self.bot = Birthday(str(self.file), HOOK, message)
        self.http, self.memory, self.clock = FakeHttp(), FakeMemory(), FakeClock(NOON)

    async def run(self, at: datetime = NOON, zone: str = "UTC", seconds: float = 900, **config: object) -> BotResult:
        run = bot_run(
            self.bot,
            self.http,
            self.memory,
            self.clock,
            config=config,
            zone=ZoneInfo(zone),
            scheduled_for=at,
            time_limit=timedelta(seconds=seconds),
        )
        return await self.bot.run(run)

    async def let_pass(self, running: asyncio.Future[T]) -> T:
        """Let time pass until it is done; files are read in threads, which take what they take."""
        while not running.done():
            await asyncio.sleep(0.001)
            await self.clock.advance(1)
        return await running

    @property
    def greeted(self) -> list[str]:
        return [posted.body["contact"]["name"] for posted in self.http.posts]


def figures(result: BotResult) -> Mapping[str, Any]:
    return {name: value for name, value in result.details.items() if value and name != "last_error"}


async def test_a_greeting_has_the_documented_members(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "")
    stage.file.write_text(
        "name,first_name,birthday,phone,email,url\nAna Lima,Ana,1990-04-15,+55 11,a@example.com,https://example.com/a\n"
    )
    result = await stage.run()
    (posted,) = stage.http.posts
    assert posted.url == HOOK
    assert posted.body == {
        "contact": {
            "name": "Ana Lima",
            "first_name": "Ana",
            "birthday": "1990-04-15",
            "phone": "+55 11",
            "email": "a@example.com",
            "url": "https://example.com/a",
        },
        "message": "Happy birthday, Ana!",
        "days_late": 0,
        "job_id": "018f0000-0000-7000-8000-000000000001",
    }
    assert (result.messages_sent, result.profiles_visited) == (1, 0)
    assert result.details == {
        "messages_sent": 1,
        "found": 1,
        "would_send": 0,
        "already_greeted": 0,
        "errors": 0,
        "left": 0,
        "skipped_contacts": 0,
    }


async def test_only_todays_are_greeted_unless_late_ones_are_asked_for(tmp_path: Path) -> None:
    rows = "Ana,--0415,\nTomorrow,--0416,\nYesterday,--0414,\nNobody,,\n"
    stage = Stage(tmp_path, rows)
    await stage.run()
    assert stage.greeted == ["Ana"]


async def test_late_ones_are_greeted_up_to_the_last_day_today_first_then_the_least_late(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "Eight,--0407,\nSeven,--0408,\nOne,--0414,\nAna,--0415,\nTomorrow,--0416,\n")
    await stage.run(process_late=True)
    assert [(posted.body["contact"]["name"], posted.body["days_late"]) for posted in stage.http.posts] == [
        ("Ana", 0),
        ("One", 1),
        ("Seven", 7),
    ]
    await stage.run(process_late=True, max_days_late=8)
    assert stage.greeted[3:] == ["Eight"]


async def test_today_is_the_day_of_the_fire_time_in_the_jobs_time_zone(tmp_path: Path) -> None:
    rows = "Fourteenth,--0414,\nFifteenth,--0415,\n"
    for zone, name in (("UTC", "Fifteenth"), ("America/Sao_Paulo", "Fourteenth")):
        stage = Stage(tmp_path, rows)
        await stage.run(at=datetime(2026, 4, 15, 2, 30, tzinfo=UTC), zone=zone)
        assert stage.greeted == [name]


@pytest.mark.parametrize(
    ("today", "late"), [(date(2027, 2, 28), 0), (date(2028, 2, 29), 0), (date(2028, 3, 1), 1), (date(2027, 3, 1), 1)]
)
def test_the_29th_of_february_counts_on_the_28th_in_other_years(today: date, late: int) -> None:
    people = read_contacts(b"name,birthday\nLeap,1996-02-29\n", "").items
    assert [greeting.days_late for greeting in due(people, today, 365)] == [late]
    assert len(due(people, today, 0)) == (late == 0)


def test_late_ones_may_be_of_last_year_and_are_marked_in_that_year() -> None:
    people = read_contacts(b"name,birthday\nEve,--1231\nAna,--0102\n", "").items
    assert [(item.contact.name, item.days_late, item.key[:5]) for item in due(people, date(2027, 1, 2), 7)] == [
        ("Ana", 0, "2027:"),
        ("Eve", 2, "2026:"),
    ]


def test_with_a_whole_year_everybody_is_found_once() -> None:
    people = read_contacts(b"name,birthday\nToday,--0415\nTomorrow,--0416\nYesterday,--0414\n", "").items
    assert [item.days_late for item in due(people, date(2026, 4, 15), 365)] == [0, 1, 364]


async def test_nobody_is_greeted_twice_in_a_year_by_any_run_or_replica(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "Ana,--0415,\n")
    await stage.run()
    again = await stage.run()
    late = await stage.run(at=NOON + timedelta(days=3), process_late=True)
    assert stage.greeted == ["Ana"]
    assert figures(again) == figures(late) == {"found": 1, "already_greeted": 1}
    next_year = await stage.run(at=NOON.replace(year=2027))
    assert next_year.messages_sent == 1
    assert stage.http.posts[0].identity != stage.http.posts[1].identity


async def test_of_replicas_that_run_at_once_one_greets(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "Ana,--0415,\nJo,--0415,\n")
    runs = asyncio.gather(*(stage.run() for _ in range(3)))
    results = await stage.let_pass(runs)
    assert sorted(stage.greeted) == ["Ana", "Jo"]
    assert sum(result.messages_sent for result in results) == 2
    assert all(result.details["left"] == 0 for result in results)


async def test_an_entry_that_stands_there_twice_is_greeted_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "Ana,--0415,+1 2\nana,--0415,12\nAna,--0415,13\n")
    await stage.run()
    assert stage.greeted == ["Ana", "Ana"]


async def test_a_dry_run_sends_nothing_and_marks_nobody(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "".join(f"P{number},--0415,\n" for number in range(12)))
    await stage.run(max_messages_per_run=1)
    marks = dict(stage.memory.texts)
    result = await stage.run(dry_run=True)
    assert figures(result) == {"found": 12, "would_send": 10, "already_greeted": 1, "left": 1}
    assert result.messages_sent == 0
    assert (len(stage.http.posts), stage.memory.texts) == (1, marks)


async def test_a_dry_run_needs_no_webhook(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "Ana,--0415,\n")
    stage.bot = Birthday(str(stage.file), None, MESSAGE)
    assert (await stage.run(dry_run=True)).details["would_send"] == 1
    with pytest.raises(BotFailed, match="BIRTHDAY_WEBHOOK_URL is not set"):
        await stage.run()


async def test_a_run_stops_at_its_number_of_messages_and_the_next_goes_on(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "".join(f"P{number},--0415,\n" for number in range(5)))
    first = await stage.run(max_messages_per_run=3)
    assert figures(first) == {"found": 5, "messages_sent": 3, "left": 2}
    second = await stage.run(max_messages_per_run=3)
    assert figures(second) == {"found": 5, "messages_sent": 2, "already_greeted": 3}
    assert stage.greeted == ["P0", "P1", "P2", "P3", "P4"]


def refuses(*names: str) -> FakeHttp:
    def answer(posted: Posted) -> Reply:
        return Reply(status=500 if posted.body["contact"]["name"] in names else 204)

    return FakeHttp(answer=answer)


async def test_one_that_fails_is_counted_and_tried_again_by_the_next_run(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "Ana,--0415,\nJo,--0415,\n")
    stage.http = refuses("Ana")
    result = await stage.run()
    assert figures(result) == {"found": 2, "messages_sent": 1, "errors": 1}
    assert result.details["last_error"] == "HTTP 500"
    identity = stage.http.posts[0].identity
    stage.http = FakeHttp()
    assert figures(await stage.run()) == {"found": 2, "messages_sent": 1, "already_greeted": 1}
    assert [posted.identity for posted in stage.http.posts] == [identity]


async def test_those_who_always_fail_do_not_keep_others_from_being_greeted(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "Ana,--0415,\nJo,--0414,\n")
    stage.http = refuses("Ana")
    with pytest.raises(BotFailed):
        await stage.run(max_messages_per_run=1, process_late=True)
    result = await stage.run(max_messages_per_run=1, process_late=True)
    assert figures(result) == {"found": 2, "messages_sent": 1, "left": 1}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [(Reply(status=410), "HTTP 410"), (Reply(status=None, error="connection refused"), "connection refused")],
)
async def test_a_run_fails_when_every_greeting_failed(tmp_path: Path, reply: Reply, reason: str) -> None:
    stage = Stage(tmp_path, "Ana,--0415,\nJo,--0415,\n")
    stage.http = FakeHttp(answer=lambda _: reply)
    with pytest.raises(BotFailed, match=f"none of 2 greetings was accepted; the last one: {reason}") as caught:
        await stage.run()
    assert figures(caught.value.result) == {"found": 2, "errors": 2}


async def test_a_run_without_anybody_to_greet_succeeds(tmp_path: Path) -> None:
    assert figures(await Stage(tmp_path, "Jo,--0101,\n").run()) == {}


async def test_contacts_that_are_none_are_counted(tmp_path: Path) -> None:
    assert figures(await Stage(tmp_path, "Jo,--0101,\n,--0415,\n").run()) == {"skipped_contacts": 1}


async def test_a_run_fails_when_the_contacts_cannot_be_read(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "")
    stage.file.unlink()
    with pytest.raises(BotFailed, match=f"there is no file {stage.file}"):
        await stage.run()
    stage.bot = Birthday(None, HOOK, MESSAGE)
    with pytest.raises(BotFailed, match="BIRTHDAY_CONTACTS is not set"):
        await stage.run()


# -- stopped, killed, cut off


async def test_what_a_dead_replica_was_sending_is_waited_for_and_sent_again_with_the_same_identity(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path, "Ana,--0415,\n")
    stage.http.hangs = True
    dying = asyncio.create_task(stage.run())
    while not stage.http.posts:
        await asyncio.sleep(0.001)
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    stage.http.hangs = False
    read = stage.memory.reads
    again = asyncio.create_task(stage.run())
    while stage.memory.reads == read:  # by then its file is read, in a thread, for which no time is to pass
        await asyncio.sleep(0.001)
    began = stage.clock.now()
    assert (await stage.let_pass(again)).messages_sent == 1
    assert timedelta(seconds=34) < stage.clock.now() - began < timedelta(seconds=40)
    first, second = stage.http.posts
    assert first == second


async def test_what_another_replica_was_sending_meanwhile_is_not_sent_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "Ana,--0415,\n")
    stage.http.hangs = True
    task = asyncio.create_task(stage.run())
    while not stage.http.posts:
        await asyncio.sleep(0.001)
    (key,) = stage.memory.texts
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    waiting = asyncio.create_task(stage.run())
    while stage.memory.reads < 2:
        await asyncio.sleep(0.001)
    stage.memory.texts[key] = "sent 1"
    assert figures(await stage.let_pass(waiting)) == {"found": 1, "already_greeted": 1}
    assert len(stage.http.posts) == 1


async def test_a_mark_far_in_the_future_is_not_waited_for_for_long(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "Ana,--0415,\n")
    (greeting,) = due(read_contacts(stage.file.read_bytes(), "").items, NOON.date(), 0)
    stage.memory.texts[greeting.key] = "sending until 99999999999999"
    waiting = asyncio.create_task(stage.run())
    assert figures(await stage.let_pass(waiting)) == {"found": 1, "left": 1}


async def test_a_store_that_is_away_after_the_greeting_does_not_make_it_forgotten(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "Ana,--0415,\n")

    def answer(_: Posted) -> Reply:
        stage.memory.outage = 3
        return Reply(status=200)

    stage.http = FakeHttp(answer=answer)
    task = asyncio.create_task(stage.run())
    assert (await stage.let_pass(task)).messages_sent == 1
    assert next(iter(stage.memory.texts.values())).startswith("sent ")


async def test_a_store_that_is_away_before_the_greeting_lets_nothing_leave(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "Ana,--0415,\n")
    stage.memory.outage = 1
    with pytest.raises(StoreUnavailable):
        await stage.run()
    assert stage.http.posts == []


async def test_a_run_ends_before_its_time_is_over_and_tells_who_is_left(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "".join(f"P{number},--0415,\n" for number in range(9)))

    def slow(_: Posted) -> Reply:
        stage.clock.move(20)
        return Reply(status=200)

    stage.http = FakeHttp(answer=slow)
    result = await stage.run(seconds=90)
    assert figures(result) == {"found": 9, "messages_sent": 4, "left": 5}
    stage.http.posts.clear()
    await stage.run(seconds=3)
    assert [posted.timeout_seconds for posted in stage.http.posts] == [1]


async def test_marks_of_years_gone_by_are_dropped(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "")
    stage.memory.texts = {"2024:a": "sent 1", "2025:b": "sent 2", "2026:c": "sent 3"}
    await stage.run(dry_run=True)
    assert len(stage.memory.texts) == 3
    await stage.run()
    assert set(stage.memory.texts) == {"2025:b", "2026:c"}


# -- settings


async def test_the_message_may_say_all_that_is_documented(tmp_path: Path) -> None:
    message = (
        "{{ contact.name }} {{ contact.birthday }} {{ contact.phone }}{{ contact.email }}{{ contact.url }} "
        '{{ days_late }} {{ job.id | truncate: 4 }} {{ job.name }} {{ now }} "&<'
    )
    stage = Stage(tmp_path, '"Ana ""A""",--0415,1\n', message)
    await stage.run()
    assert stage.http.posts[0].body["message"] == 'Ana "A" --04-15 1 0 018… Greetings 2026-04-15T12:00:00Z "&<'


@pytest.mark.parametrize("message", ["{{ contact.age }}", "{{ contact.name"])
def test_a_message_that_is_no_template_is_an_error_of_the_settings(message: str) -> None:
    with pytest.raises(ConfigError, match="BIRTHDAY_MESSAGE: "):
        Birthday(None, None, message)


async def test_a_message_that_gets_too_long_is_an_error_of_one_contact(tmp_path: Path) -> None:
    rows = "é" * 300 + ",--0415,\nJo,--0415,\n"
    stage = Stage(tmp_path, rows, "{{ contact.name | urlencode }}" * 200)
    result = await stage.run()
    assert figures(result) == {"found": 2, "messages_sent": 1, "errors": 1}
    assert "gives more than" in result.details["last_error"]


def test_a_config_has_its_defaults() -> None:
    assert Birthday(None, None, MESSAGE).check({"more": 1}) == {
        "max_days_late": 7,
        "max_messages_per_run": 10,
        "process_late": False,
        "dry_run": False,
    }


@pytest.mark.parametrize(
    "config",
    [
        {"max_days_late": 0},
        {"max_days_late": 366},
        {"max_messages_per_run": 0},
        {"process_late": "yes"},
        {"dry_run": 1},
    ],
)
def test_a_config_that_is_not_legal_is_refused(config: Mapping[str, object]) -> None:
    with pytest.raises(InvalidInput) as caught:
        Birthday(None, None, MESSAGE).check(config)
    assert set(caught.value.errors) == set(config)
