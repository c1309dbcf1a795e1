"""The examples of docs/bots.md: the files are read, the package is installed, found and run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aioscheduler.bots.base import Bot, BotFailed, Reply
from aioscheduler.bots.birthday import Birthday
from aioscheduler.bots.contacts import read_contacts
from aioscheduler.bots.registry import load_bots
from aioscheduler.bots.visitor import Visitor, read_profiles
from aioscheduler.config import load_settings
from aioscheduler.errors import InvalidInput
from tests.support.bots import FakeHttp, FakeMemory, bot_run
from tests.support.docs import examples, write_files

CONFIG = {"page": "http://127.0.0.1:8000/health", "webhook": "http://127.0.0.1:8000/inbox/shop"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documented package, installed as a user would, but into a folder of its own and without a network."""
    folder = tmp_path_factory.mktemp("bots")
    write_files(examples("bots.md", "package"), folder / "package")
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder / "installed")]
    pip = subprocess.run([*command, str(folder / "package")], capture_output=True, text=True, timeout=50, check=False)
    assert pip.returncode == 0, pip.stderr
    return folder / "installed"


@pytest.fixture
def watch(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Bot:
    """The documented bot, as the service finds it."""
    monkeypatch.syspath_prepend(str(installed))
    return load_bots({})["watch"]


async def test_the_documented_bot_tells_when_its_page_goes_away_and_comes_back(watch: Bot) -> None:
    http, memory = FakeHttp(pages={CONFIG["page"]: Reply(status=200)}), FakeMemory()
    results = []
    for status in (200, 200, None, 503, 200):
        http.pages[CONFIG["page"]] = Reply(status=status)
        results.append(await watch.run(bot_run(watch, http, memory, config=CONFIG)))
    assert [result.messages_sent for result in results] == [1, 0, 1, 0, 1]
    assert [posted.body["state"] for posted in http.posts] == ["up", "down", "up"]
    assert {posted.url for posted in http.posts} == {CONFIG["webhook"]}


async def test_the_documented_bot_fails_when_nobody_can_be_told_and_tells_it_later(watch: Bot) -> None:
    http, memory = FakeHttp(answer=lambda _: Reply(status=500)), FakeMemory()
    with pytest.raises(BotFailed, match="the webhook cannot be told: 500"):
        await watch.run(bot_run(watch, http, memory, config=CONFIG))
    http.answer = lambda _: Reply(status=200)
    assert (await watch.run(bot_run(watch, http, memory, config=CONFIG))).messages_sent == 1


def test_the_documented_bot_refuses_a_config_that_is_not_legal(watch: Bot) -> None:
    with pytest.raises(InvalidInput) as caught:
        watch.check({"page": CONFIG["page"]})
    assert set(caught.value.errors) == {"webhook"}


def test_the_documented_files_and_settings_are_what_the_bots_read(tmp_path: Path) -> None:
    birthday, visitor = examples("bots.md", "birthday"), examples("bots.md", "visitor")
    (tmp_path / ".env").write_text(birthday[".env"] + visitor[".env"])
    settings = load_settings({}, tmp_path / ".env")
    Birthday(settings.birthday_contacts, settings.birthday_webhook_url, settings.birthday_message)
    assert settings.birthday_contacts in birthday
    assert settings.visitor_profiles in visitor
    people = read_contacts(birthday["contacts.csv"].encode(), "contacts.csv")
    assert (len(people.items), people.skipped) == (3, 0)
    assert all(contact.birthday for contact in people.items)
    profiles = read_profiles(visitor["profiles.txt"].encode(), "profiles.txt")
    assert (len(profiles.items), profiles.skipped) == (2, 0)


@pytest.mark.parametrize(("example", "bot"), [("birthday", Birthday(None, None, "")), ("visitor", Visitor(None, 0))])
def test_the_documented_jobs_have_a_config_the_bots_take(example: str, bot: Bot) -> None:
    script = examples("bots.md", example)["sh"]
    job = json.loads(script.split("-d '")[1].split("'")[0])
    assert job["bot_type"] == example
    assert bot.check(job["bot_config"]).items() >= job["bot_config"].items()
