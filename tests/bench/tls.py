"""What TLS on both links costs the worker, beside what it spends in the ssl library.

By hand: `python -m tests.bench.tls` (`--rounds`, `--keys`, `--sets`). What it spends there is counted in a run of
its own, around each call (tests/bench/library): the clocks, too, take time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from shaker.commands.sample import seed
from tests.bench.loads import write_load
from tests.bench.measures import Figures, start_worker, worker_full_sync, worker_stream
from tests.security.certificates import Authority, tls_server, tls_url
from tests.support import compiled
from tests.support.servers import Server
from tests.support.worker import Worker

LIBRARY = Path(__file__).parent / "library"
KINDS = ("plain", "TLS", "counted")  # of workers
COLUMNS = {
    "plain, s": ("plain", "s"),
    "TLS, s": ("TLS", "s"),
    "plain, processor s": ("plain", "processor s"),
    "TLS, processor s": ("TLS", "processor s"),
    "of it in the ssl library, s": ("counted", "library s"),
}
Measure = Callable[[Server, Server, Worker], Figures]


class Bench:
    """Servers that speak TLS and plain, and the workers between them."""

    def __init__(self, directory: Path, tree: Path) -> None:
        self._authority = Authority(directory / "authority")
        self._certificate = self._authority.issue("server")
        self._tree = tree
        self._noted = directory / "library seconds"

    def server(self) -> Server:
        """Return a server, not started."""
        return tls_server(self._authority, self._certificate)

    def measure(self, kind: str, source: Server, target: Server, measure: Measure) -> Figures:
        """Measure with a worker of one kind; what a counted one has spent in the library is added."""
        worker = self._worker(kind, source, target)
        figures = measure(source, target, worker)
        if kind == "counted":
            figures["library s"] = float(self._noted.read_text().split()[0])
        return figures

    def _worker(self, kind: str, source: Server, target: Server) -> Worker:
        if kind == "plain":
            return start_worker(source, target, self._tree)
        settings = {f"SHAKER_{side}__TLS__CA_FILE": str(self._authority.file) for side in ("SOURCE", "TARGET")}
        if kind == "counted":
            settings |= {
                "PYTHONPATH": os.pathsep.join(map(str, (self._tree, LIBRARY))),
                "LIBRARY_SECONDS": str(self._noted),
            }
        return start_worker(tls_url(source), tls_url(target), self._tree, **settings)


def main() -> None:
    """Measure and print a Markdown table of medians."""
    parser = argparse.ArgumentParser(prog="tests.bench.tls", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--sets", type=int, default=1_000_000)
    given = parser.parse_args()
    figures: dict[tuple[str, str], list[Figures]] = {}
    full_sync, stream = f"full sync of {given.keys:,} keys", f"stream of {given.sets:,} SET"
    with tempfile.TemporaryDirectory(prefix="shaker-bench-") as name:
        bench = Bench(Path(name), compiled.build(Path(name)))
        sets = Path(name) / "sets"
        write_load(sets, "SET 100 B", given.sets)
        with bench.server() as filled:
            seed(filled.client(), given.keys, shortest_expiry=86_400_000)
            for _ in range(given.rounds):
                for kind in KINDS:
                    with bench.server() as target:
                        measured = bench.measure(kind, filled, target, worker_full_sync)
                    figures.setdefault((full_sync, kind), []).append(measured)
                    with bench.server() as source, bench.server() as target:
                        measured = bench.measure(kind, source, target, partial(worker_stream, sets))
                    figures.setdefault((stream, kind), []).append(measured)
    sys.stdout.write(f"| | {' | '.join(COLUMNS)} |\n| --- |{' ---: |' * len(COLUMNS)}\n")
    for what in (full_sync, stream):
        cells = [statistics.median(one[figure] for one in figures[what, kind]) for kind, figure in COLUMNS.values()]
        sys.stdout.write(f"| {what} | {' | '.join(f'{cell:.2f}' for cell in cells)} |\n")


if __name__ == "__main__":
    main()
