"""``python -m bench``."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path

import orjson
import uvloop

from bench.processes import CAN_PIN, Bench
from bench.report import Row, as_dicts, machine, table, write
from bench.scenarios import FULL, QUICK, SCENARIOS


def main() -> int:
    """Run the benchmark; returns 0 when every scenario ran, whatever it reached."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller numbers, about two minutes")
    parser.add_argument("--only", metavar="NAMES", help=f"some of {','.join(SCENARIOS)}, separated by commas")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there too")
    parser.add_argument("--write", metavar="FILE", type=Path, help="replace the figures in this document")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(SCENARIOS)
    if unknown := set(names) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(measure(names, options.quick, options.json, options.write))
    except (KeyboardInterrupt, asyncio.CancelledError):  # SIGINT, SIGTERM: everything that was started has ended
        return 130


async def measure(names: list[str], quick: bool, as_json: Path | None, document: Path | None) -> int:
    """Run scenarios one after the other and print each row as it comes."""
    task = asyncio.current_task()
    assert task is not None, "run by a task"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    began = time.perf_counter()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="aioscheduler-bench-") as folder:
        async with Bench.open(Path(folder)) as bench:
            about = machine(f"Redis {(await bench.redis.info('server'))['redis_version']}", CAN_PIN)
            for name in names:
                async for row in SCENARIOS[name](bench, QUICK if quick else FULL):
                    print(f"{time.perf_counter() - began:5.0f} s  {row.what}: {row.reached}", file=sys.stderr)
                    rows.append(row)
    figures = f"{about}.\n\n{table(rows)}"
    print(figures)
    if as_json is not None:
        as_json.write_bytes(orjson.dumps({"machine": about, "rows": as_dicts(rows)}, option=orjson.OPT_INDENT_2))
    if document is not None:
        write(document, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
