"""How much of the replication's speed, and of a probe's, hostile clients of the health server cost.

By hand, on a machine with nothing else to do: `python -m tests.bench.health`. On a busy one the times say little;
what the health server takes of a processor, while the replication needs the interpreter, says it as well.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from tests.bench.loads import LAST, write_load
from tests.bench.measures import LIMIT, pipe
from tests.security.floods import bursts, connecting, holding, probe_seconds
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker

Flood = Callable[[int], AbstractContextManager[object]]
FLOODS: dict[str, Flood] = {
    "none": lambda port: nullcontext(),
    "200 held clients": holding,
    "headers of 1 MB": lambda port: bursts(port, 1, huge_headers=True),
    "10,000 requests/s": lambda port: bursts(port, 1),
    "a connection each": connecting,
}


def main() -> None:
    """Measure each flood in turn, at the worker and at a bystander, and print medians and their ratio."""
    parser = argparse.ArgumentParser(prog="tests.bench.health", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sets", type=int, default=1_000_000)
    given = parser.parse_args()
    figures: dict[tuple[str, bool], list[tuple[float, float, list[float]]]] = {}
    with tempfile.TemporaryDirectory(prefix="shaker-bench-") as directory:
        sets = Path(directory) / "sets"
        write_load(sets, "SET 100 B", given.sets)
        for _ in range(given.rounds):
            for name, flood in FLOODS.items():
                for bystander in (False, True):
                    figures.setdefault((name, bystander), []).append(_measure(flood, sets, bystander=bystander))
    for (name, bystander), found in figures.items():
        took = statistics.median(seconds for seconds, _, _ in found)
        control = statistics.median(seconds for seconds, _, _ in figures[name, True])
        share = statistics.median(share for _, share, _ in found)
        probes = sorted(probe for _, _, each in found for probe in each)
        p50, p99 = (probes[len(probes) * percent // 100] * 1000 for percent in (50, 99))
        place = "a bystander" if bystander else "the worker"
        sys.stdout.write(
            f"{name:18} at {place:11}  stream {took:6.2f} s {took / control:5.2f} x  "
            f"health server {share:4.0%} of a processor  probe median {p50:6.1f} ms, p99 {p99:6.1f} ms\n"
        )


def _measure(flood: Flood, sets: Path, *, bystander: bool) -> tuple[float, float, list[float]]:
    """Return the seconds that the stream took, the part of a processor that the health server of the worker took
    meanwhile, and the seconds of the probes sent to it.

    The clients of a flood need processors themselves: those at a `bystander`, another worker without work, tell how
    much of the loss is theirs.
    """
    probes: list[float] = []
    with (
        Server() as source,
        Server() as target,
        Worker(source, target) as worker,
        # Its source refuses it, so that it has nothing to do but to answer.
        Worker("redis://127.0.0.1:1", target, SHAKER_NAME="bystander") as other,
    ):
        worker.wait_state("streaming")
        port, ended = worker.port, threading.Event()

        def probe() -> None:
            while not ended.wait(0.1):
                try:
                    probes.append(probe_seconds(port))
                except OSError:
                    probes.append(5.0)  # not answered

        thread = threading.Thread(target=probe)
        with flood(other.port if bystander else port):
            time.sleep(0.5)
            thread.start()
            began, client, before = time.monotonic(), target.client(), _health_seconds(worker.pid)
            pipe(source, sets)
            wait_until(lambda: client.exists(LAST), "the last key on the target", LIMIT)
            took = time.monotonic() - began
            share = (_health_seconds(worker.pid) - before) / took
            ended.set()
            thread.join()
    return took, share, probes or [0.0]


def _health_seconds(pid: int) -> float:
    """Return the processor time of the threads of a worker besides its event loop's."""
    seconds = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        if int(task.name) != pid:
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


if __name__ == "__main__":
    main()
