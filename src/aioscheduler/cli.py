"""The command line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from aioscheduler import __version__
from aioscheduler.config import Settings, load_settings
from aioscheduler.errors import ConfigError, Sentence
from aioscheduler.logs import configure

_DESCRIPTION = """\
Send messages to the future: a webhook scheduler on Redis.

commands:
  serve      run the service (what happens without a command)
  check      say whether the settings and the store are right, and what is at risk
  openapi    print the OpenAPI document
  verify     run replicas under load and faults, and check what is promised;
             `aioscheduler verify --help` has its options
"""
_EPILOG = """\
Settings come from the environment and, where it is silent, from the file .env in
this folder. All of them are explained in .env.example; those asked for most:

  API_PORT=8000       where to listen
  WORKERS=1           how many processes listen there, sharing the store
  API_TOKEN           what clients have to show; made at the first start where not set
  REDIS_URL           redis://, rediss:// or unix://; a store of its own where not set
  DATA_DIR=./data     where that store and the token are kept
  TIMEZONE=UTC        of instants without an offset
  LOG_LEVEL=INFO      DEBUG shows every delivery

exit codes: 0 stopped when asked, or all is well; 1 cannot start, or the store cannot
be used, or the draining was cut short; 2 a setting or an argument is wrong
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["verify"]:
        from aioscheduler.verify.command import main as verify  # has options of its own

        return verify(given[1:])
    options = _parser().parse_args(given)
    if options.command == "openapi":
        return _print_openapi()
    try:
        settings = _settings(options)
    except ConfigError as error:
        return _fail(error, 2)
    configure(settings.log_level, settings.log_format)
    try:
        return _run(options.command, settings)
    except ConfigError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return 130


def _run(command: str, settings: Settings) -> int:
    # Imported here, so that a mistake in the settings is told at once.
    from aioscheduler import server

    if command == "serve" and settings.workers > 1:
        from aioscheduler.supervisor import supervise

        return server.run(supervise(settings, _say))
    if command == "serve":
        return server.run(server.serve(settings, _say))
    from aioscheduler.check import check

    return server.run(check(settings, _say))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aioscheduler",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=["serve", "check", "openapi"],
        default="serve",
        metavar="command",
        help="see above",
    )
    parser.add_argument("--host", help="listen on this address instead of API_HOST")
    parser.add_argument("--port", help="listen on this port instead of API_PORT")
    parser.add_argument("--workers", metavar="N", help="run so many processes on the port instead of WORKERS")
    parser.add_argument("--env-file", type=Path, metavar="PATH", help="read this file instead of .env")
    parser.add_argument("--version", action="version", version=f"aioscheduler {__version__}")
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    environ = dict(os.environ)
    overruled = {"API_HOST": options.host, "API_PORT": options.port, "WORKERS": options.workers}
    for variable, value in overruled.items():
        if value is not None:
            environ.pop(f"{variable}_FILE", None)
            environ[variable] = value
    if options.env_file and not options.env_file.is_file():
        raise ConfigError(Sentence("--env-file {path}: there is no such file.", path=options.env_file))
    return load_settings(environ, options.env_file or Path(".env"))


def _print_openapi() -> int:
    from aioscheduler.api.openapi import document

    _say(orjson.dumps(document(), option=orjson.OPT_INDENT_2).decode())
    return 0


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Whoever read has seen enough; nothing may be written when the interpreter ends, either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: ConfigError, code: int) -> int:
    print(f"aioscheduler: {error}", file=sys.stderr)
    return code
