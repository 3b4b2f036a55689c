"""What a user sees of the delay between source and target, by several observers: `python -m tests.bench.latency`.

An observer that polls the target takes a processor away from the servers, and one that writes back to back keeps
everybody awake. So each way of looking gives another figure; this prints them side by side, native replication too:

- `polled`: as `make bench` does, from the answer of the source until a read of the target sees the write.
- `polled, from the write`: the same writes, from the moment at which they are sent.
- `second process`: a process of its own polls the target; each write comes 5 ms behind the one before, on a connection
  of its own.
- `woken`: a client of the target waits in `XREAD BLOCK`, and nobody polls; from the write until it is woken.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from tests.bench.measures import LIMIT, start_worker, steady, visible_after, wait_stream
from tests.support.servers import DEFAULT, Server
from tests.support.worker import ROOT

GAP_SECONDS = 0.005
HALF_LOAD = 200_000.0  # commands a second: about half of what one server takes


def _poll(port: int, samples: int, pipe: Connection) -> None:
    """Send when each number was first seen, by a clock that both processes share."""
    import redis

    reader = redis.Redis(port=port, socket_timeout=LIMIT)
    for number in range(samples):
        expected = b"%d" % number
        while reader.get("second") != expected:
            pass
        pipe.send(time.monotonic())


@contextmanager
def observing(
    function: Callable[[int, int, Connection], None], target: Server, samples: int
) -> Iterator[Connection]:
    """Run `function` in a process of its own; yields the end of the pipe at which its times arrive."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    observer = context.Process(target=function, args=(target.port, samples, theirs))
    observer.start()
    try:
        yield ours
        observer.join(LIMIT)
    finally:
        observer.kill()


def _seen(pipe: Connection) -> float:
    """Return the next time that the observer sends."""
    assert pipe.poll(LIMIT), "a write did not become visible"
    return float(pipe.recv())


def second_process(source: Server, target: Server, samples: int) -> list[float]:
    """Each write by a client of its own, polled by another process."""
    seconds = []
    with observing(_poll, target, samples) as pipe:
        for number in range(samples):
            time.sleep(GAP_SECONDS)
            with source.client() as writer:
                writer.ping()
                began = time.monotonic()
                writer.set("second", number)
                seconds.append(_seen(pipe) - began)
    return seconds


def woken(source: Server, target: Server, samples: int) -> list[float]:
    """A client of the target is woken by the write."""
    writer = source.client()
    writer.xadd("woken", {"n": "first"})
    seconds = []
    with observing(_wait, target, samples) as pipe:
        _seen(pipe)  # it waits from now on
        for number in range(samples):
            time.sleep(GAP_SECONDS)
            began = time.monotonic()
            writer.xadd("woken", {"n": number})
            seconds.append(_seen(pipe) - began)
    return seconds


def _wait(port: int, samples: int, pipe: Connection) -> None:
    import redis

    reader = redis.Redis(port=port, socket_timeout=LIMIT)
    while not reader.xlen("woken"):
        time.sleep(GAP_SECONDS)
    last: Any = reader.xrevrange("woken", count=1)[0][0]
    pipe.send(time.monotonic())
    for _ in range(samples):
        ((_, entries),) = reader.xread({"woken": last}, block=int(LIMIT * 1000), count=1)
        pipe.send(time.monotonic())
        last = entries[0][0]


OBSERVERS: dict[str, Callable[[Server, Server, int], list[float]]] = {
    "polled": lambda source, target, samples: visible_after(source, target, samples, from_answer=True),
    "polled, from the write": lambda source, target, samples: visible_after(
        source, target, samples, from_answer=False
    ),
    "second process": second_process,
    "woken": woken,
}


def observe(kind: str, rate: float, source: Server, target: Server, samples: int) -> None:
    """Print what each observer sees while the source gets `rate` more commands a second."""
    with steady(source, rate):
        for name, observer in OBSERVERS.items():
            found = [seconds * 1000 for seconds in observer(source, target, samples)]
            p99 = statistics.quantiles(found, n=100)[98]
            load = "half load" if rate else "idle"
            sys.stdout.write(f"{kind:8} {load:10} {name:24} {statistics.median(found):8.2f} {p99:8.2f}\n")
            sys.stdout.flush()


def main() -> None:
    """Measure native replication and the worker."""
    parser = argparse.ArgumentParser(prog="tests.bench.latency", description=__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    given = parser.parse_args()
    sys.stdout.write(f"{'':8} {'':10} {'observer':24} {'median':>8} {'p99':>8}  ms\n")
    for rate in (0.0, HALF_LOAD):
        with Server(DEFAULT) as source, Server(DEFAULT) as target:
            target.replicate(source)
            wait_stream(source, target)
            observe("native", rate, source, target, given.samples)
        with Server(DEFAULT) as source, Server(DEFAULT) as target, start_worker(source, target, ROOT) as worker:
            worker.wait_state("streaming")
            wait_stream(source, target)
            observe("shaker", rate, source, target, given.samples)


if __name__ == "__main__":
    main()
