from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import fakeredis
import pytest

from aioscheduler.store.scripts import script, source

STORE = Path(str(resources.files("aioscheduler.store")))
NAMES = sorted(path.stem for path in (STORE / "lua").glob("*.lua"))
SHARED = sorted(path.stem for path in (STORE / "lua" / "shared").glob("*.lua"))
INCLUDE = re.compile(r"^-- include (.+)$", re.MULTILINE)
#: A local function, on one line or until the ``end`` below its beginning.
FUNCTION = re.compile(
    r"^(?P<indent> *)local function (?P<name>\w+)\((?P<given>[^)]*)\)(?P<body> [^\n]* end$|\n(?s:.*?)^(?P=indent)end$)",
    re.MULTILINE,
)
#: From KEYS: one of them, or several in a row.
FROM_KEYS = re.compile(r"KEYS\[[^\]]+\]|unpack\(KEYS, [^()]+\)")


def raw(name: str) -> str:
    return (STORE / "lua" / f"{name}.lua").read_text()


def shared(name: str) -> str:
    return (STORE / "lua" / "shared" / f"{name}.lua").read_text()


def included(name: str) -> list[str]:
    found: list[str] = [part for names in INCLUDE.findall(raw(name)) for part in names.split(", ")]
    return found


def without_comments(text: str) -> str:
    return "\n".join(re.sub(r"--.*", "", line) for line in text.splitlines())


def split(text: str) -> tuple[str, str]:
    """Return the header, comments at the top, and the code without comments."""
    lines = text.splitlines()
    length = next(i for i, line in enumerate(lines) if not line.startswith("--"))
    return "\n".join(lines[:length]), without_comments("\n".join(lines[length:]))


def arguments(text: str, start: int) -> list[str]:
    """Return the arguments of the call whose opening bracket stands right before ``start``."""
    found, depth, at, quoted = [""], 0, start, ""
    while depth >= 0:
        character = text[at]
        if quoted:
            quoted = "" if character == quoted and text[at - 1] != "\\" else quoted
        elif character in "'\"":
            quoted = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        if character == "," and depth == 0 and not quoted:
            found.append("")
        elif depth >= 0:
            found[-1] += character
        at += 1
    return [argument.strip() for argument in found]


def calls(text: str, function: str) -> Iterator[list[str]]:
    for match in re.finditer(rf"(?<![\w.]){re.escape(function)}\(", text):
        if not text[: match.start()].rstrip().endswith("function"):
            yield arguments(text, match.end())


@dataclass
class Function:
    """A local function, and those of its parameters that it takes for keys."""

    parameters: list[str]
    body: str
    keys: set[str] = field(default_factory=set)


def functions(text: str) -> dict[str, Function]:
    """Return the functions of a text."""
    return {match["name"]: Function(match["given"].split(", "), match["body"]) for match in FUNCTION.finditer(text)}


def locals_from_keys(text: str) -> set[str]:
    """Return the locals that hold nothing but keys of KEYS."""
    found: set[str] = set()
    for match in re.finditer(r"local ([\w, ]+) = (.+)", text):
        names, values = match[1].split(", "), arguments(match[2] + ")", 0)
        if len(values) == 1 and values[0].startswith("unpack(KEYS, ") and FROM_KEYS.fullmatch(values[0]):
            found |= set(names)
        elif len(names) == len(values):
            found |= {name for name, value in zip(names, values, strict=True) if FROM_KEYS.fullmatch(value)}
    # A second assignment could make anything of them.
    return {name for name in found if len(re.findall(rf"(?<![\w.]){name}(?:, \w+)* = ", text)) == 1}


def key_positions(text: str, known: set[str]) -> Iterator[tuple[str, str]]:
    """Yield what stands where a key has to, with what it is for."""
    for command, *rest in (*calls(text, "redis.call"), *calls(text, "redis.pcall")):
        assert re.fullmatch(r"'[A-Z]+'", command), "the command is a word"
        if command == "'TIME'":
            continue
        yield command, rest[0]
        # Those of many keys have nothing else.
        assert command not in ("'RENAME'", "'COPY'", "'ZUNIONSTORE'", "'SMOVE'", "'EVAL'"), command
        if command in ("'DEL'", "'EXISTS'", "'MGET'", "'UNLINK'"):
            yield from ((command, other) for other in rest[1:])
    for name in known:
        function = FUNCTIONS[name]
        for given in calls(text, name):
            for parameter, argument in zip(function.parameters, given, strict=False):
                if parameter in function.keys:
                    yield name, argument


FUNCTIONS = {name: function for part in SHARED for name, function in functions(shared(part)).items()}


def _learn() -> None:
    """Find the parameters that are keys, also those that are only handed on."""
    learnt = -1
    while learnt != (learnt := sum(len(function.keys) for function in FUNCTIONS.values())):
        for function in FUNCTIONS.values():
            for _, key in key_positions(function.body, set(FUNCTIONS)):
                if key in function.parameters:
                    function.keys.add(key)


_learn()


def test_each_operation_has_a_file_and_each_file_is_used() -> None:
    used = set()
    for module in STORE.glob("*.py"):
        used |= set(re.findall(r'_run\(\s*"(\w+)"', module.read_text()))
    assert used == set(NAMES)


def test_each_shared_part_has_a_file_and_each_file_is_used() -> None:
    assert {part for name in NAMES for part in included(name)} == set(SHARED)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_is_sent_with_the_parts_it_asks_for_and_asks_for_those_it_uses(name: str) -> None:
    text = source(name)
    assert not INCLUDE.search(text)
    for part in SHARED:
        assert text.count(shared(part)) == included(name).count(part) <= 1
        if part in included(name):
            assert any(re.search(rf"\b{each}\(", raw(name)) for each in functions(shared(part))), f"{part} is not used"
    for each in FUNCTIONS:
        if re.search(rf"(?<![\w.]){each}\(", without_comments(raw(name))):
            assert f"local function {each}(" in text, f"{each} would be a global"


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_part_has_functions_and_empty_tables_only_and_knows_keys_by_its_parameters(name: str) -> None:
    text = shared(name)
    header, body = split(text)
    assert header.startswith(f"-- {name}.lua: ")
    assert "KEYS" not in body
    assert "ARGV" not in body
    assert re.sub(r"^local \w+ = \{\}$", "", FUNCTION.sub("", body), flags=re.MULTILINE).strip() == ""
    for function in functions(without_comments(text)).values():
        for command, key in key_positions(function.body, set(FUNCTIONS)):
            assert key in function.parameters, (command, key)


@pytest.mark.parametrize("name", NAMES)
def test_the_header_names_the_keys_and_arguments_that_the_body_uses(name: str) -> None:
    header, body = split(raw(name))
    assert header.startswith(f"-- {name}.lua: ")
    assert "returns" in header
    for array in ("KEYS", "ARGV"):
        documented = {int(number) for number in re.findall(rf"{array}\[(\d+)\]", header)}
        for first, final in re.findall(rf"{array}\[(\d+)\.\.(\d+)\]", header):
            documented |= set(range(int(first), int(final) + 1))
        open_ended = [int(number) for number in re.findall(rf"{array}\[(\d+)\.\.\]", header)]
        used = {int(number) for number in re.findall(rf"{array}\[(\d+)\]", body)}
        for first, final in re.findall(rf"unpack\({array}, (\d+), (\d+)\)", body):
            used |= set(range(int(first), int(final) + 1))
        # A loop over some of them, on one line.
        looped = rf"for i = (\d+), (\d+) do [^\n]*{array}\[i\]"
        for first, final in re.findall(looped, body):
            used |= set(range(int(first), int(final) + 1))
        rest = re.sub(looped, "", body)
        computed = re.findall(rf"{array}\[([^\]]*[a-z][^\]]*)\]", rest)
        computed += re.findall(rf"unpack\({array}, ([a-z\d][^)]*[a-z][^)]*)\)", rest)
        last = max(documented, default=0)
        beyond = {number for number in used if open_ended and number >= open_ended[0]}
        assert used <= documented | beyond, "used without a word in the header"
        assert documented <= used, "in the header, but not used"
        assert documented == set(range(1, last + 1))
        if computed:
            assert open_ended == [last + 1] or f"{array}, " in header or f"{array}[{last}]" in header
        else:
            assert not open_ended


@pytest.mark.parametrize("name", NAMES)
def test_no_script_builds_a_key_parses_json_or_reads_a_clock_unasked(name: str) -> None:
    text = without_comments(source(name))
    assert "aioscheduler:" not in text
    assert "'message:" not in text
    # The server's clock only bounds ours, and only where a caller says so: tests own the time.
    assert ("'TIME'" in text) == ("now" in included(name))
    assert "cjson" not in text
    body = without_comments(raw(name))
    assert redis_calls(body) == body.count("redis.call(") + body.count("redis.pcall(")
    given = locals_from_keys(body)
    own = functions(body)
    for command, key in key_positions(body, set(FUNCTIONS)):
        assert FROM_KEYS.fullmatch(key) or key in given, (command, key)
    for function in own.values():
        assert not given & set(function.parameters), "a parameter that hides a key"


def redis_calls(text: str) -> int:
    return len([*calls(text, "redis.call"), *calls(text, "redis.pcall")])


@pytest.mark.parametrize(
    "body",
    [
        "redis.call('GET', ARGV[1])",
        "redis.call('GET', 'a' .. ARGV[1])",
        "redis.call('GET', KEYS[1] .. ARGV[1])",
        "redis.pcall('GET', key)",
        "local key = ARGV[1]\nredis.call('GET', key)",
        "local key = KEYS[1]\nkey = key .. 'x'\nredis.call('GET', key)",
        "local a, key = KEYS[1], ARGV[1]\nredis.call('GET', key)",
        "local key = unpack(ARGV, 1, 2)\nredis.call('GET', key)",
        "redis.call('DEL', KEYS[1], ARGV[1])",
        "unbury(KEYS[1], ARGV[1], 'id')",
        "write_line('log' .. ARGV[1], 'j', 'id', 'status', 'rest')",
        "trim_history(KEYS[1], history, 5)",
    ],
)
def test_a_script_that_touches_a_key_it_was_not_given_would_be_found(body: str) -> None:
    given = locals_from_keys(body)
    assert not all(FROM_KEYS.fullmatch(key) or key in given for _, key in key_positions(body, set(FUNCTIONS)))


def test_what_the_shared_functions_take_for_keys_is_known() -> None:
    assert {name: sorted(function.keys) for name, function in FUNCTIONS.items()} == {
        "stamp": [],
        "open_execution": ["executions", "history"],
        "forget_executions": ["executions", "history"],
        "trim_history": ["executions", "history"],
        "note": [],
        "plan": [],
        "close": [],
        "write_account": ["minutes", "totals"],
        "write_activity": ["day"],
        "note_late": [],
        "add_lanes": [],
        "used_bytes": [],
        "find_rows": ["ranks", "rows"],
        "write_late": ["all", "ranks", "rows"],
        "write_lateness": ["hour", "hour_ranks", "hour_rows", "minute", "minute_ranks", "minute_rows"],
        "planned_for": ["due", "leased", "state"],
        "move": ["due", "state"],
        "take_lease": ["leased"],
        "version_of": [],
        "is_as_seen": ["due", "leased", "record", "state"],
        "what_is_due": [],
        "tell_gone": ["gone"],
        "unbury": ["index", "letters"],
        "bury": ["index", "letters"],
        "write_line": ["log"],
        "index_lines": ["index"],
        "trim_log": ["index", "log"],
    }


@pytest.mark.parametrize("name", NAMES)
async def test_every_script_is_valid_lua(name: str) -> None:
    redis = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
    assert await redis.script_load(source(name)) == script(name)._digest
    await redis.aclose()
