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
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from tests.bench.measures import LIMIT, start_worker, steady
from tests.support.servers import DEFAULT, Server
from tests.support.worker import ROOT

GAP_SECONDS = 0.005
HALF_LOAD = 200_000.0  # commands a second: about half of what one server takes


def polled(source: Server, target: Server, samples: int, *, from_answer: bool) -> list[float]:
    """Write and read in turns, back to back."""
    writer, reader = source.client(), target.client()
    seconds = []
    for number in range(samples):
        expected = b"%d" % number
        began = time.perf_counter()
        writer.set("latency", expected)
        began = time.perf_counter() if from_answer else began
        while reader.get("latency") != expected:
            assert time.perf_counter() - began < LIMIT, "a write did not become visible"
        seconds.append(time.perf_counter() - began)
    return seconds


def _poll(port: int, samples: int, pipe: Connection) -> None:
    """Send when each number was first seen, by a clock that both processes share."""
    import redis

    reader = redis.Redis(port=port, socket_timeout=LIMIT)
    for number in range(samples):
        expected = b"%d" % number
        while reader.get("second") != expected:
            pass
        pipe.send(time.monotonic())


def second_process(source: Server, target: Server, samples: int) -> list[float]:
    """Each write by a client of its own, polled by another process."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    observer = multiprocessing.get_context("spawn").Process(target=_poll, args=(target.port, samples, theirs))
    observer.start()
    try:
        seconds = []
        for number in range(samples):
            time.sleep(GAP_SECONDS)
            with source.client() as writer:
                writer.ping()
                began = time.monotonic()
                writer.set("second", number)
                assert ours.poll(LIMIT), "a write did not become visible"
                seconds.append(ours.recv() - began)
        observer.join(LIMIT)
        return seconds
    finally:
        observer.kill()


def woken(source: Server, target: Server, samples: int) -> list[float]:
    """A client of the target is woken by the write."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    observer = multiprocessing.get_context("spawn").Process(target=_wait, args=(target.port, samples, theirs))
    writer = source.client()
    writer.xadd("woken", {"n": "first"})
    observer.start()
    try:
        assert ours.poll(LIMIT)
        ours.recv()
        seconds = []
        for number in range(samples):
            time.sleep(GAP_SECONDS)
            began = time.monotonic()
            writer.xadd("woken", {"n": number})
            assert ours.poll(LIMIT), "a write did not become visible"
            seconds.append(ours.recv() - began)
        observer.join(LIMIT)
        return seconds
    finally:
        observer.kill()


def _wait(port: int, samples: int, pipe: Connection) -> None:
    import redis

    reader = redis.Redis(port=port, socket_timeout=LIMIT)
    while not reader.xlen("woken"):
        time.sleep(GAP_SECONDS)
    last: Any = reader.xrevrange("woken", count=1)[0][0]
    pipe.send(None)
    for _ in range(samples):
        ((_, entries),) = reader.xread({"woken": last}, block=int(LIMIT * 1000), count=1)
        pipe.send(time.monotonic())
        last = entries[0][0]


OBSERVERS: dict[str, Callable[[Server, Server, int], list[float]]] = {
    "polled": lambda source, target, samples: polled(source, target, samples, from_answer=True),
    "polled, from the write": lambda source, target, samples: polled(source, target, samples, from_answer=False),
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
            _wait_stream(source, target)
            observe("native", rate, source, target, given.samples)
        with Server(DEFAULT) as source, Server(DEFAULT) as target, start_worker(source, target, ROOT) as worker:
            worker.wait_state("streaming")
            _wait_stream(source, target)
            observe("shaker", rate, source, target, given.samples)


def _wait_stream(source: Server, target: Server) -> None:
    """Wait until the stream flows: a source begins it only behind the first acknowledgement of a replica."""
    source.client().set("flows", 1)
    deadline = time.monotonic() + LIMIT
    while not target.client().exists("flows"):
        assert time.monotonic() < deadline
        time.sleep(GAP_SECONDS)


if __name__ == "__main__":
    main()
