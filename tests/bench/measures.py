"""What is measured, each for native replication and for the worker alike: by what the target shows."""

from __future__ import annotations

import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from shaker.commands.sample import pack
from tests.bench.loads import LAST, VALUE_BYTES
from tests.support.servers import Server
from tests.support.worker import Worker, peak_bytes, processor_seconds

LIMIT = 600.0  # seconds that one measure may take
LOOK_SECONDS = 0.001  # the least time between two looks
RECORDS = 2  # keys of the worker's own on the target: fence and checkpoint
TICK_SECONDS = 0.001  # between the writes of a steady load

# Name of a figure → its value; the unit is the last word of the name.
Figures = dict[str, float]


def start_worker(source: Server | str, target: Server | str, tree: Path, **settings: str) -> Worker:
    """Return the worker, not started, that runs the code below `tree`."""
    # Without the first, `-m` would put the working directory before the second.
    settings = {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", **settings}
    return Worker(source, target, **settings)


def pipe(server: Server, path: Path) -> None:
    """Send the commands of `path` by `redis-cli --pipe`; returns when all of them are answered."""
    with path.open("rb") as file:
        command = ["redis-cli", "-p", str(server.port), "--pipe"]
        done = subprocess.run(command, stdin=file, capture_output=True, text=True, timeout=LIMIT, check=True)
    assert "errors: 0" in done.stdout, done.stdout


def until(condition: Callable[[], object], what: str, worker: Worker | None = None) -> float:
    """Return the seconds until `condition` is true, to a hundredth; a worker that ends meanwhile is an error.

    Looking takes processors from what is measured: it waits a hundredth of the time that has passed before it looks
    again.
    """
    began = time.monotonic()
    while not condition():
        passed = time.monotonic() - began
        assert passed < LIMIT, f"waited {passed:.0f} s in vain for {what}"
        assert worker is None or worker.returncode is None, worker.describe()
        time.sleep(max(LOOK_SECONDS, passed / 100))
    return time.monotonic() - began


def _keys(client: redis.Redis) -> int:
    """Return the number of keys, 0 while a replica cannot tell because it loads."""
    try:
        return int(client.dbsize())
    except redis.exceptions.BusyLoadingError:
        return 0


def all_keys(source: Server, target: Server, own: int) -> Callable[[], bool]:
    """Return what tells whether the target has as many keys as the source, which has no writes, and its `own`."""
    expected, client = _keys(source.client()) + own, target.client()
    return lambda: _keys(client) >= expected


def native_full_sync(source: Server, target: Server) -> Figures:
    """A replica from nothing to all keys."""
    complete = all_keys(source, target, 0)
    target.client().replicaof("127.0.0.1", str(source.port))
    return {"s": until(complete, "all keys on the replica")}


def piped(server: Server, commands: Path) -> Figures:
    """What one server alone can take at most: the commands of a file."""
    started = time.monotonic()
    pipe(server, commands)
    return {"s": time.monotonic() - started}


def worker_full_sync(source: Server, target: Server, worker: Worker) -> Figures:
    """A worker from the start of its process to the first key and to all keys; then what it took."""
    complete, client = all_keys(source, target, RECORDS), target.client()
    started = time.monotonic()
    with worker:
        until(lambda: _keys(client) > RECORDS, "the first key on the target", worker)
        first = time.monotonic() - started
        until(complete, "all keys on the target", worker)
        return {"s": time.monotonic() - started, "to the first key s": first, **_cost(worker)}


def _cost(worker: Worker) -> Figures:
    return {"memory MiB": peak_bytes(worker.pid) / 2**20, "processor s": processor_seconds(worker.pid)}


def stream_seconds(source: Server, target: Server, commands: Path) -> float:
    """Return the seconds from the start of the load until its last key is on the target."""
    client = target.client()
    started = time.monotonic()
    pipe(source, commands)
    until(lambda: client.exists(LAST), "the last key on the target")
    return time.monotonic() - started


def wait_stream(source: Server, target: Server) -> None:
    """Wait until the stream flows: a source begins it only behind the first acknowledgement of a replica."""
    source.client().set("flows", 1)
    client = target.client()
    until(lambda: client.exists("flows"), "the stream")


def native_stream(commands: Path, source: Server, target: Server) -> Figures:
    """The stream of a file's commands to a native replica."""
    target.replicate(source)
    wait_stream(source, target)
    return {"s": stream_seconds(source, target, commands)}


def worker_stream(commands: Path, source: Server, target: Server, worker: Worker) -> Figures:
    """The stream of a file's commands through a worker; then what it took."""
    with worker:
        worker.wait_state("streaming")
        wait_stream(source, target)
        before = processor_seconds(worker.pid)
        seconds = stream_seconds(source, target, commands)
        cost = _cost(worker)
        return {"s": seconds, **cost, "processor s": cost["processor s"] - before}


@contextmanager
def steady(server: Server, rate: float) -> Iterator[None]:
    """Write `rate` SET commands of 100 bytes a second, in small portions, without reading replies; 0 for none."""
    stopped = threading.Event()
    value = b"x" * VALUE_BYTES
    command = pack([(b"SET", b"steady", value)])

    def write() -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT) as link:
            link.sendall(pack([(b"CLIENT", b"REPLY", b"OFF")]))
            started, sent = time.monotonic(), 0
            while not stopped.wait(TICK_SECONDS):
                due = int((time.monotonic() - started) * rate) - sent
                link.sendall(command * due)
                sent += due

    thread = threading.Thread(target=write, name="steady load", daemon=True)
    if rate:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        if rate:
            thread.join()


def visible_after(source: Server, target: Server, samples: int, *, from_answer: bool) -> list[float]:
    """Return the seconds from each write, or from its answer, until a read of the target sees it, one by one."""
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


def _latency(source: Server, target: Server, samples: int, rate: float) -> Figures:
    """From a write that was answered by the source until a read of the target sees it."""
    with steady(source, rate):
        seconds = visible_after(source, target, samples, from_answer=True)
    return {
        "median ms": statistics.median(seconds) * 1000,
        "p99 ms": statistics.quantiles(seconds, n=100)[98] * 1000,
    }


def native_latency(samples: int, rate: float, source: Server, target: Server) -> Figures:
    """Latency of a native replica while the source gets `rate` more commands a second."""
    target.replicate(source)
    wait_stream(source, target)
    return _latency(source, target, samples, rate)


def worker_latency(samples: int, rate: float, source: Server, target: Server, worker: Worker) -> Figures:
    """Latency of a worker while the source gets `rate` more commands a second; what it took."""
    with worker:
        worker.wait_state("streaming")
        wait_stream(source, target)
        return _latency(source, target, samples, rate) | _cost(worker)
