"""``aioscheduler verify``: its arguments, its exit code, and who reads what it has to say."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import orjson

from aioscheduler.errors import ConfigError, Sentence
from aioscheduler.logs import configure
from aioscheduler.server import run as run_loop
from aioscheduler.verify.environment import merged, with_store
from aioscheduler.verify.ledger import FaultKind
from aioscheduler.verify.plan import PROCESS_FAULTS, Options, draw, possible
from aioscheduler.verify.promises import check
from aioscheduler.verify.replicas import COMMAND
from aioscheduler.verify.run import run
from aioscheduler.verify.table import as_json, render

_DESCRIPTION = """\
Run replicas of the service with these settings under load, do to them what happens to
services, and check every promise against what clients were told and receivers got.

The store is one of its own, in a temporary folder, unless --db names a database of the
store in the settings. Receivers and replicas use ports of 127.0.0.1 only. Nothing is
left behind.
"""
_EPILOG = """\
faults, drawn from the seed:
  kill             kill -9 of a replica, started again a little later
  suspend          SIGSTOP of a replica for 1 to 6 s
  restart          SIGTERM of a replica, started again after its exit
  store-restart    kill -9 of the store, started again; not with --db
  store-freeze     SIGSTOP of the store for 1 to 5 s; with --db CLIENT PAUSE, which holds
                   up everybody who uses that server
  store-cut        all connections to the store closed; with --db those to that database
  clock-step       the wall clock of a replica stepped by up to 5 s, forward or back
  receiver-outage  nothing listens at a receiver for 1 to 4 s

At least one replica is always well, unless it is the store's turn. With one replica
there is no kill, suspend and restart.

exit codes: 0 every promise was kept; 1 one was not, or the run could not be made;
2 an argument or a setting is wrong
"""
_MOST_SECONDS, _MOST_REPLICAS, _MOST_RATE = 86_400.0, 50, 10_000.0


def main(arguments: Sequence[str]) -> int:
    """Run the command and return the exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        options = _options(parsed)
        environment = merged(os.environ, parsed.env_file or Path(".env"))
        if options.database is not None:
            with_store(environment, options.database)
    except ConfigError as error:
        return _fail(error, 2)
    with open(os.devnull, "wb") as nowhere:
        # What the store's keeper has to say of the faults is said by the run.
        configure("ERROR", "text", nowhere)
        try:
            return run_loop(_until_interrupted(options, environment, as_json_text=parsed.json))
        except ConfigError as error:
            return _fail(error, 1)


async def verify(
    options: Options,
    environment: Mapping[str, str],
    *,
    say: Callable[[str], None],
    show: Callable[[str], None],
    as_json_text: bool = False,
    replica_command: Sequence[str] = COMMAND,
) -> int:
    """Make a run, ``show`` what came of it and return the exit code; ``say`` how it goes.

    The replicas' logs stay in a temporary folder when a promise was not kept.

    :raises ConfigError: the run could not be made
    """
    _announce(options, say)
    folder = Path(tempfile.mkdtemp(prefix="aioscheduler-verify-"))
    try:
        ledger = await run(options, environment, folder, say, replica_command)
        report = check(ledger)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if as_json_text:
        about = {"seed": options.seed, "seconds": options.seconds, "replicas": options.replicas, "rate": options.rate}
        show(orjson.dumps(about | as_json(report), option=orjson.OPT_INDENT_2).decode())
    else:
        show(
            render(
                report,
                seed=options.seed,
                seconds=options.seconds,
                replicas=options.replicas,
                rate=options.rate,
                faults=_names(possible(options)),
            )
        )
    if report.holds:
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    shutil.rmtree(folder / "store", ignore_errors=True)
    say(f"The replicas' logs are in {folder}.")
    return 1


def _announce(options: Options, say: Callable[[str], None]) -> None:
    store = "a store of its own" if options.database is None else f"database {options.database}"
    say(
        f"seed {options.seed}: {options.seconds:g} s, {options.replicas} replicas, {options.rate:g} messages a second, "
        f"{store}, {len(draw(options))} faults ({_names(planned.kind for planned in draw(options))})"
    )
    for kind in sorted(kind.value for kind in options.faults - possible(options)):
        reason = "one replica has always to be well" if FaultKind(kind) in PROCESS_FAULTS else "the store is not ours"
        say(f"without {kind}: {reason}")


def _names(kinds: Iterable[FaultKind]) -> str:
    return ", ".join(sorted({kind.value for kind in kinds})) or "none"


async def _until_interrupted(options: Options, environment: Mapping[str, str], *, as_json_text: bool) -> int:
    """Make a run; SIGINT and SIGTERM end it, and what it started."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await verify(options, environment, say=_say, show=_show, as_json_text=as_json_text)
    except asyncio.CancelledError:
        _say("interrupted")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aioscheduler verify",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long messages come (60)")
    parser.add_argument("--replicas", type=int, default=3, help="how many processes (3)")
    parser.add_argument("--rate", type=float, default=60.0, help="messages a second (60)")
    parser.add_argument("--faults", default="all", help="all, none, or some of those below, separated by commas (all)")
    parser.add_argument("--seed", type=int, help="the same seed draws the same load and faults (random, and printed)")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument(
        "--db",
        type=int,
        metavar="N",
        help="use database N of the store in the settings, which has to be empty, and is again at the end",
    )
    parser.add_argument("--env-file", type=Path, metavar="PATH", help="read this file instead of .env")
    return parser


def _options(parsed: argparse.Namespace) -> Options:
    for name, value, least, most in (
        ("--seconds", parsed.seconds, 1, _MOST_SECONDS),
        ("--replicas", parsed.replicas, 1, _MOST_REPLICAS),
        ("--rate", parsed.rate, 0.1, _MOST_RATE),
    ):
        if not least <= value <= most:
            raise ConfigError(
                Sentence("{name} must be from {least} to {most}.", name=name, least=least, most=f"{most:g}")
            )
    if parsed.env_file and not parsed.env_file.is_file():
        raise ConfigError(Sentence("--env-file {path}: there is no such file.", path=parsed.env_file))
    if parsed.db is not None and parsed.db < 0:
        raise ConfigError(Sentence("{name} must be from {least} to {most}.", name="--db", least=0, most=65_535))
    return Options(
        seconds=parsed.seconds,
        replicas=parsed.replicas,
        rate=parsed.rate,
        faults=_faults(parsed.faults),
        seed=secrets.randbelow(10**6) if parsed.seed is None else parsed.seed,
        database=parsed.db,
    )


def _faults(text: str) -> frozenset[FaultKind]:
    if text in ("all", "none"):
        return frozenset(FaultKind) if text == "all" else frozenset()
    kinds = []
    for name in text.split(","):
        try:
            kinds.append(FaultKind(name.strip()))
        except ValueError:
            known = ", ".join(kind.value for kind in FaultKind)
            raise ConfigError(
                Sentence("--faults {name}: must be all, none, or some of {known}.", name=name, known=known)
            ) from None
    return frozenset(kinds)


def _say(text: str) -> None:
    with suppress(BrokenPipeError):
        print(text, file=sys.stderr, flush=True)


def _show(text: str) -> None:
    with suppress(BrokenPipeError):
        print(text, flush=True)


def _fail(error: ConfigError, code: int) -> int:
    print(f"aioscheduler: {error}", file=sys.stderr)
    return code
