from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import fakeredis
import pytest

from aioscheduler.store.scripts import script, source

FOLDER = resources.files("aioscheduler.store") / "lua"
NAMES = sorted(entry.name.removesuffix(".lua") for entry in FOLDER.iterdir())
STORE = Path(str(resources.files("aioscheduler.store")))


def split(text: str) -> tuple[str, str]:
    """Return the header, comments at the top, and the code without comments."""
    lines = text.splitlines()
    length = next(i for i, line in enumerate(lines) if not line.startswith("--"))
    return "\n".join(lines[:length]), "\n".join(re.sub(r"--.*", "", line) for line in lines[length:])


def test_each_operation_has_a_file_and_each_file_is_used() -> None:
    used = set()
    for module in STORE.glob("*.py"):
        used |= set(re.findall(r'_run\(\s*"(\w+)"', module.read_text()))
    assert used == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_header_names_the_keys_and_arguments_that_the_body_uses(name: str) -> None:
    header, body = split(source(name))
    assert header.startswith(f"-- {name}.lua: ")
    assert "returns" in header
    for array in ("KEYS", "ARGV"):
        documented = {int(number) for number in re.findall(rf"{array}\[(\d+)\]", header)}
        open_ended = [int(number) for number in re.findall(rf"{array}\[(\d+)\.\.\]", header)]
        used = {int(number) for number in re.findall(rf"{array}\[(\d+)\]", body)}
        computed = re.findall(rf"{array}\[([^\]]*[a-z][^\]]*)\]", body)
        last = max(documented, default=0)
        assert used <= documented | set(open_ended), "used without a word in the header"
        assert documented <= used, "in the header, but not used"
        assert documented == set(range(1, last + 1))
        if computed:
            assert open_ended == [last + 1] or f"{array}, " in header or f"{array}[{last}]" in header
        else:
            assert not open_ended


@pytest.mark.parametrize("name", NAMES)
def test_no_script_builds_a_key_parses_json_or_reads_a_clock(name: str) -> None:
    _, body = split(source(name))
    assert "aioscheduler:" not in body
    assert "'message:" not in body
    assert "'TIME'" not in body
    assert "cjson" not in body
    for command in re.findall(r"redis\.p?call\('(\w+)', ([^,)]+)", body):
        assert command[1].startswith("KEYS[") or command[1] == "key", command


@pytest.mark.parametrize("name", NAMES)
async def test_every_script_is_valid_lua(name: str) -> None:
    redis = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
    assert await redis.script_load(source(name)) == script(name)._digest
    await redis.aclose()
