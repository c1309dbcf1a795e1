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

from bench.peers import install
from bench.processes import CAN_PIN, Bench
from bench.report import Row, as_dicts, machine, table, write
from bench.scale import FULL, QUICK
from bench.scenarios import COMPARED, SCENARIOS


def main() -> int:
    """Run the benchmark; returns 0 when every scenario ran to its end, whatever it reached."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller numbers, about four minutes")
    parser.add_argument("--only", metavar="NAMES", help=f"some of {','.join(SCENARIOS)}, separated by commas")
    parser.add_argument(
        "--without-peers", action="store_true", help="do not install and measure BullMQ and APScheduler"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there too")
    parser.add_argument("--write", metavar="FILE", type=Path, help="replace the figures in this document")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(SCENARIOS)
    if unknown := set(names) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(measure(names, options))
    except (KeyboardInterrupt, asyncio.CancelledError):  # SIGINT, SIGTERM: everything that was started has ended
        return 130


async def measure(names: list[str], options: argparse.Namespace) -> int:
    """Run scenarios one after the other and print each row as it comes."""
    task = asyncio.current_task()
    assert task is not None, "run by a task"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    began = time.perf_counter()
    rows: list[Row] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="aioscheduler-bench-") as folder:
        peers = await install(Path(folder), not options.without_peers and not COMPARED.isdisjoint(names))
        async with Bench.open(Path(folder)) as bench:
            bench.peers = peers
            about = machine(f"Redis {(await bench.redis.info('server'))['redis_version']}", CAN_PIN)
            compared = [f"{peer.name}: {peer.missing or peer.about}" for peer in peers]
            for name in names:
                try:
                    async for row in SCENARIOS[name](bench, QUICK if options.quick else FULL):
                        print(f"{time.perf_counter() - began:5.0f} s  {row.what}: {row.reached}", file=sys.stderr)
                        rows.append(row)
                except RuntimeError as error:  # the rest can still be measured
                    failed.append(name)
                    rows.append(Row(f"**{name} failed**", "", str(error).replace("\n", " "), False))
                    print(f"{time.perf_counter() - began:5.0f} s  {name} failed: {error}", file=sys.stderr)
    figures = "\n".join((f"{about}.", *(f"{line}." for line in compared), "", table(rows)))
    print(figures)
    if options.json is not None:
        found = {"machine": about, "peers": compared, "quick": options.quick, "rows": as_dicts(rows)}
        options.json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    if options.write is not None:
        write(options.write, figures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
