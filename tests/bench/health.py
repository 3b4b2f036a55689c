"""How much of the replication's speed, and of a probe's, hostile clients of the health server cost.

By hand, on a machine with nothing else to do: `python -m tests.bench.health`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from tests.bench import measures
from tests.security.floods import bursts, holding, probe_seconds
from tests.servers import Server
from tests.worker import Worker

FLOODS = {
    "none": lambda port: nullcontext(),
    "200 held clients": holding,
    "headers of 1 MB": lambda port: bursts(port, 1, huge_headers=True),
    "10,000 requests/s": lambda port: bursts(port, 1),
}


def main() -> None:
    """Measure each flood in turn, several rounds, and print medians and the ratio to none."""
    parser = argparse.ArgumentParser(prog="tests.bench.health", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sets", type=int, default=300_000)
    given = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in FLOODS}
    probes: dict[str, list[float]] = {name: [] for name in FLOODS}
    with tempfile.TemporaryDirectory(prefix="shaker-bench-") as directory:
        sets = Path(directory) / "sets"
        measures.write_sets(sets, given.sets)
        for _ in range(given.rounds):
            for name, flood in FLOODS.items():
                took, probed = _measure(flood, sets)
                seconds[name].append(took)
                probes[name] += probed
    base = statistics.median(seconds["none"])
    for name, values in seconds.items():
        slowest = sorted(probes[name])[int(len(probes[name]) * 0.99)] * 1000
        ratio = statistics.median(values) / base
        sys.stdout.write(
            f"{name:20} stream {statistics.median(values):6.2f} s  {ratio:5.2f} x  "
            f"probe median {statistics.median(probes[name]) * 1000:6.1f} ms  p99 {slowest:6.1f} ms\n"
        )


def _measure(flood: object, sets: Path) -> tuple[float, list[float]]:
    """Return the seconds that the stream took, and those of the probes sent meanwhile."""
    probes: list[float] = []
    with Server() as source, Server() as target, Worker(source, target) as worker:
        worker.wait_state("streaming")
        port, ended = worker.port, threading.Event()

        def probe() -> None:
            while not ended.wait(0.1):
                try:
                    probes.append(probe_seconds(port))
                except OSError:
                    probes.append(5.0)  # not answered

        thread = threading.Thread(target=probe)
        context: AbstractContextManager[object] = flood(port)  # type: ignore[operator]
        with context:
            time.sleep(0.5)
            thread.start()
            took = measures.stream(source, target, sets)["stream s"]
            ended.set()
            thread.join()
    return took, probes or [0.0]


if __name__ == "__main__":
    main()
