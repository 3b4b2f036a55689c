"""Keys per second of the verification, and what its default rate costs the stream.

By hand: `python -m tests.bench.verify` (`--rounds`, `--keys`, `--sets`). Both servers hold the same small keys. A pass
is asked for through the running worker, as fast as possible, and then made by `--static`. `--beside 'COMMAND'` times
another tool on the same servers, with {source} and {target} replaced by their addresses; it may be repeated. Then
workers with and without continuous verification take turns at a stream and at single writes under a steady load.
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.loads import write_load
from tests.bench.measures import Figures, start_worker, worker_latency, worker_stream
from tests.support import compiled
from tests.support.servers import Server
from tests.support.worker import Worker, processor_seconds

LIMIT = 900.0  # seconds for one pass
STEP = 10_000
SAMPLES = 1000  # writes whose latency is measured


def fill(server: Server, keys: int) -> None:
    """Write small keys: strings of 20 to 30 bytes."""
    client = server.client()
    for start in range(0, keys, STEP):
        client.mset(
            {f"key:{number}": f"value of the key {number}" for number in range(start, min(keys, start + STEP))}
        )


def verify(worker: Worker, *arguments: str) -> dict[str, Any]:
    """Run `shaker verify` with the environment of a worker; return the report."""
    command = [sys.executable, "-m", "shaker", "verify", "--json", *arguments]
    done = subprocess.run(
        command, env=worker.environment, capture_output=True, text=True, timeout=LIMIT, check=True
    )
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["equal"], report
    return report


def spent(*pids: int) -> float:
    """Return the processor seconds of processes, and of the ended children of this one."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime + sum(map(processor_seconds, pids))


def rates(keys: int, tree: Path, token: Path, beside: list[str]) -> dict[str, Figures]:
    """Measure each way to compare two servers with the same keys."""
    found: dict[str, Figures] = {}
    with Server() as source, Server() as target:

        def measure(way: str, act: Callable[[], object], *pids: int) -> None:
            pids = (*pids, source.pid, target.pid)
            before, began = spent(*pids), time.monotonic()
            act()
            seconds = time.monotonic() - began
            found[way] = {"keys/s": keys / seconds, "processor us/key": (spent(*pids) - before) / keys * 1e6}

        fill(source, keys)
        with start_worker(source, target, tree, SHAKER_CONTROL__TOKEN_FILE=str(token)) as worker:
            worker.wait_state("streaming", seconds=LIMIT)
            worker.wait_applied(source)
            url = f"http://127.0.0.1:{worker.port}"
            measure("shaker verify", lambda: verify(worker, "--url", url), worker.pid)
        measure("shaker verify --static", lambda: verify(worker, "--static"))
        for command in beside:
            given = shlex.split(
                command.format(source=f"127.0.0.1:{source.port}", target=f"127.0.0.1:{target.port}")
            )
            measure(
                Path(given[0]).name,
                lambda given=given: subprocess.run(given, capture_output=True, timeout=LIMIT, check=True),  # type: ignore[misc]
            )
    return found


def costs(keys: int, sets: Path, rate: float, tree: Path, *, continuous: bool) -> Figures:
    """Return the seconds of a stream and the latency of writes beside `rate` others, while keys are compared or not."""
    settings = {"SHAKER_VERIFY__CONTINUOUS": str(continuous).lower()}
    figures: Figures = {}
    for name, measure in (
        ("stream", partial(worker_stream, sets)),
        ("writes", partial(worker_latency, SAMPLES, rate)),
    ):
        with Server() as source, Server() as target:
            fill(source, keys)
            worker = start_worker(source, target, tree, **settings)
            found = measure(source, target, worker)
            found["keys compared"] = source.info("commandstats").get("cmdstat_dump", {}).get("calls", 0)
        figures |= {f"{name}, {figure}": value for figure, value in found.items()}
    return figures


def printed(rounds: dict[str, list[Figures]], unit: str) -> None:
    """Print the median of each figure, a column for each kind of rounds."""
    sys.stdout.write(f"\n| {unit} | {' | '.join(rounds)} |\n| --- |{' ---: |' * len(rounds)}\n")
    for figure in next(iter(rounds.values()))[0]:
        cells = [statistics.median(one[figure] for one in each) for each in rounds.values()]
        sys.stdout.write(f"| {figure} | {' | '.join(f'{cell:,.2f}' for cell in cells)} |\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print Markdown tables of medians."""
    parser = argparse.ArgumentParser(prog="tests.bench.verify", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--sets", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=20_000, help="writes per second beside the measured ones")
    parser.add_argument("--beside", action="append", default=[], metavar="COMMAND")
    parser.add_argument("--only", choices=("rates", "costs"))
    parser.add_argument("--tree", type=Path, help="a copy of the project with the compiled codec; else one is made")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shaker-bench-") as name:
        directory = Path(name)
        token, sets = directory / "token", directory / "sets"
        token.write_text("a long random token")
        tree = given.tree or compiled.build(directory)
        if given.only != "costs":
            found = [rates(given.keys, tree, token, given.beside) for _ in range(given.rounds)]
            printed({way: [one[way] for one in found] for way in found[0]}, f"{given.keys:,} keys")
        if given.only != "rates":
            write_load(sets, "SET 100 B", given.sets)
            turns: dict[str, list[Figures]] = {"without": [], "with": []}
            for _ in range(given.rounds):
                for kind, figures in turns.items():
                    figures.append(costs(given.keys, sets, given.rate, tree, continuous=kind == "with"))
            printed(turns, "continuous verification")


if __name__ == "__main__":
    main()
