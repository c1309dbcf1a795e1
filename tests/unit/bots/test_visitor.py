"""The visitor bot: whom it visits, in what order, how patiently."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aioscheduler.bots.base import BotFailed, BotResult, Reply
from aioscheduler.bots.contacts import ContactsError
from aioscheduler.bots.visitor import Visitor, read_profiles
from aioscheduler.errors import InvalidInput
from tests.support.bots import FakeHttp, FakeMemory, bot_run
from tests.support.clock import FakeClock


def url(letter: str) -> str:
    return f"https://example.com/{letter}"


class Stage:
    """A bot with a list of profiles, and what it uses."""

    def __init__(self, folder: Path, letters: str, delay_seconds: float = 0) -> None:
        self.file = folder / "profiles.txt"
        self.list(letters)
        self.bot = Visitor(str(self.file), delay_seconds)
        self.http = FakeHttp(pages={url(letter): Reply(status=200) for letter in "abcdefgh"})
        self.memory, self.clock = FakeMemory(), FakeClock()

    def list(self, letters: str) -> None:
        self.file.write_text("# profiles\n" + "".join(f"{url(letter)}\n" for letter in letters))

    async def run(self, seconds: float = 900, **config: object) -> BotResult:
        self.clock.move(60)
        run = bot_run(
            self.bot, self.http, self.memory, self.clock, config=config, time_limit=timedelta(seconds=seconds)
        )
        return await self.bot.run(run)

    def visited(self) -> str:
        """Return whom it visited since the last call."""
        letters = "".join(visit[-1] for visit in self.http.visits)
        self.http.visits.clear()
        return letters


def figures(result: BotResult) -> Mapping[str, Any]:
    return {name: value for name, value in result.details.items() if value and name != "last_error"}


async def test_those_never_visited_come_first_then_those_not_visited_for_longest(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "abc")
    stage.http.on_visit = lambda _: stage.clock.move(1)
    for config, letters in (({"limit": 2}, "ab"), ({"limit": 2}, "ca"), ({}, "bca")):
        result = await stage.run(**config)
        assert stage.visited() == letters
        assert result.profiles_visited == len(letters)
    stage.list("dcba")
    await stage.run(limit=3)
    assert stage.visited() == "dbc"
    assert result.details == {
        "profiles_visited": 3,
        "found": 3,
        "would_visit": 0,
        "errors": 0,
        "skipped_lines": 0,
    }


async def test_between_two_visits_there_is_the_pause_and_none_before_or_after(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "abc", delay_seconds=2)
    start = stage.clock.monotonic() + 60
    times: list[float] = []
    stage.http.on_visit = lambda _: times.append(stage.clock.monotonic() - start)
    task = asyncio.create_task(stage.run())
    while not times:
        await asyncio.sleep(0.001)
    await stage.clock.advance(1.9)
    assert len(times) == 1
    await stage.clock.advance(2.2)
    assert [round(moment, 1) for moment in times] == [0, 2, 4]
    assert (await task).profiles_visited == 3


async def test_a_dry_run_visits_nothing_and_marks_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "abc")
    stage.memory.texts["gone"] = "1"
    result = await stage.run(dry_run=True, limit=2)
    assert figures(result) == {"found": 3, "would_visit": 2}
    assert result.profiles_visited == 0
    assert (stage.visited(), stage.memory.texts) == ("", {"gone": "1"})


async def test_a_profile_that_is_gone_is_counted_and_does_not_stay_first(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "xab")
    result = await stage.run(limit=2)
    assert stage.visited() == "xa"
    assert figures(result) == {"profiles_visited": 1, "found": 3, "errors": 1}
    assert result.details["last_error"] == "HTTP 404"
    await stage.run(limit=2)
    assert stage.visited() == "bx"


async def test_a_run_fails_when_every_visit_failed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "xy")
    with pytest.raises(BotFailed, match="none of 2 profiles could be visited; the last one: HTTP 404") as caught:
        await stage.run()
    assert figures(caught.value.result) == {"found": 2, "errors": 2}
    stage.http.pages = {url(letter): Reply(status=None, error="refused") for letter in "xy"}
    with pytest.raises(BotFailed, match="the last one: refused"):
        await stage.run()


async def test_a_run_fails_when_the_list_cannot_be_read(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "")
    stage.file.unlink()
    with pytest.raises(BotFailed, match=f"there is no file {stage.file}"):
        await stage.run()
    stage.bot = Visitor(None, 0)
    with pytest.raises(BotFailed, match="VISITOR_PROFILES is not set"):
        await stage.run()


async def test_of_replicas_that_run_at_once_one_visits(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "abc")
    results = await asyncio.gather(stage.run(), stage.run())
    assert sorted(stage.visited()) == ["a", "b", "c"]
    assert sum(result.profiles_visited for result in results) == 3


async def test_what_is_not_in_the_list_any_more_is_forgotten(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "abc")
    await stage.run()
    stage.list("bc")
    await stage.run()
    assert len(stage.memory.texts) == 2


async def test_after_a_stop_the_next_run_goes_on_with_the_others(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "abc")
    stage.http.hangs = True
    stopping = asyncio.create_task(stage.run())
    while not stage.http.visits:
        await asyncio.sleep(0.001)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    stage.http.hangs = False
    await stage.run()
    assert stage.visited() == "abca"


async def test_a_run_ends_before_its_time_is_over(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "abcdefgh")
    stage.http.on_visit = lambda _: stage.clock.move(20)
    result = await stage.run(seconds=90)
    assert figures(result) == {"profiles_visited": 4, "found": 8}


# -- lists


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("p.txt", b"\xef\xbb\xbf# us\n\n  https://example.com/a \r\nhttps://example.com/b\n#https://example.com/c\n"),
        ("p", b"# us\nhttps://example.com/a\nHTTPS://example.com/a\nhttps://example.com/b"),
        ("p.csv", b"name;URL\nAna;https://example.com/a\nJo;https://example.com/b\nEve;\n"),
        ("p", b"url\nhttps://example.com/a\nhttps://example.com/b\n"),
        (
            "p",
            b"BEGIN:VCARD\nFN:Ana\nURL:https://example.com/a\nEND:VCARD\nBEGIN:VCARD\nFN:Eve\nEND:VCARD\n"
            b"BEGIN:VCARD\nFN:Jo\nURL:https://example.com/b\nEND:VCARD\n",
        ),
    ],
)
def test_profiles_are_read_from_texts_tables_and_cards(name: str, data: bytes) -> None:
    if b"HTTPS" in data:
        assert read_profiles(data, name).items == [url("a"), "HTTPS://example.com/a", url("b")]
    else:
        assert read_profiles(data, name) == ([url("a"), url("b")], 0)


def test_a_url_that_stands_there_twice_is_visited_once_and_what_is_none_is_counted() -> None:
    data = f"{url('b')}\n{url('a')}\nftp://example.com/\nnothing\n{url('b')}\nhttp://\n".encode()
    assert read_profiles(data, "p.txt") == ([url("b"), url("a")], 3)


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("p", b"", "p is neither a vCard file nor a table with the usual columns"),
        ("p.csv", b"name\nAna\n", "p.csv is neither a vCard file nor a table with the usual columns"),
        ("p", b"<html>", "p is neither a vCard file nor a table with the usual columns"),
        ("p.txt", b"one\ntwo\n", "p.txt has no entry that can be read"),
        ("p.vcf", b"one\ntwo\n", "p.vcf has no entry that can be read"),
    ],
)
def test_a_list_that_is_none_is_refused_with_one_sentence(name: str, data: bytes, sentence: str) -> None:
    with pytest.raises(ContactsError) as caught:
        read_profiles(data, name)
    assert str(caught.value) == sentence


def test_a_config_has_its_defaults() -> None:
    assert Visitor(None, 0).check({}) == {"limit": 50, "dry_run": False}


@pytest.mark.parametrize("config", [{"limit": 0}, {"limit": 501}, {"dry_run": 1}])
def test_a_config_that_is_not_legal_is_refused(config: Mapping[str, object]) -> None:
    with pytest.raises(InvalidInput) as caught:
        Visitor(None, 0).check(config)
    assert set(caught.value.errors) == set(config)
