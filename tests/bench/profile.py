"""Where the worker with the plain codec spends its time: cProfile of a full sync, and of the stream of a load.

`python -m tests.bench.profile` (`--keys`, `--load`, `--commands`, `--top`). A profile makes calls dearer than they
are: it tells what to look at, `make bench` tells what it brings. Machine code is not seen by it; for the compiled
codec there is `perf record -a`, which sees all processes that share the machine.
"""

from __future__ import annotations

import argparse
import pstats
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shaker.commands.sample import seed
from tests.bench.loads import LOADS, write_load
from tests.bench.measures import LIMIT, RECORDS, all_keys, stream_seconds
from tests.support.servers import Server, wait_until
from tests.support.worker import ROOT, Worker


@contextmanager
def profiled(source: Server, target: Server, path: Path) -> Iterator[None]:
    """Run a worker under cProfile, which writes `path` when it is stopped at the end."""
    command = [sys.executable, "-m", "cProfile", "-o", str(path), "-m", "shaker", "run"]
    environment = Worker(source, target).environment
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def show(title: str, path: Path, top: int) -> None:
    """Print the functions by the time spent in themselves."""
    stats = pstats.Stats(str(path)).stats  # type: ignore[attr-defined]
    rows = [
        (own, calls, f"{Path(file).parent.name}/{Path(file).name}:{name}" if line else name)
        for (file, line, name), (_, calls, own, _, _) in stats.items()
    ]
    total = sum(own for own, _, _ in rows)
    sys.stdout.write(f"{title}: {total:.2f} s\n")
    for own, calls, name in sorted(rows, reverse=True)[:top]:
        sys.stdout.write(f"  {own / total:6.1%}  {calls:9,} calls  {name}\n")


def main() -> None:
    """Profile both and print."""
    parser = argparse.ArgumentParser(prog="tests.bench.profile", description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--load", choices=LOADS, default="SET 100 B")
    parser.add_argument("--commands", type=int, default=1_000_000)
    parser.add_argument("--top", type=int, default=15)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shaker-profile-") as directory:
        path, load = Path(directory) / "profile", Path(directory) / "load"
        with Server() as source, Server() as target:
            seed(source.client(), given.keys, shortest_expiry=86_400_000)
            with profiled(source, target, path):
                wait_until(all_keys(source, target, RECORDS), "all keys on the target", LIMIT)
            show(f"full sync of {given.keys:,} keys", path, given.top)
        write_load(load, given.load, given.commands)
        with Server() as source, Server() as target:
            with profiled(source, target, path):
                wait_until(lambda: source.info()["connected_slaves"] == 1, "the stream")
                stream_seconds(source, target, load)
            show(f"stream of {given.load}", path, given.top)


if __name__ == "__main__":
    main()
