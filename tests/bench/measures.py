"""What is measured, each for native replication and for the worker alike: by what the target shows."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from shaker.sample import pack
from tests.servers import Server, wait_until
from tests.worker import Worker, peak_bytes, processor_seconds

LIMIT = 600.0  # seconds that one measure may take
VALUE_BYTES = 100

# Name of a figure → its value; the unit is the last word of the name.
Figures = dict[str, float]


def write_restores(source: Server, path: Path) -> None:
    """Write the keys of `source` as RESTORE commands to `path`, for `redis-cli --pipe`."""
    client = source.client(protocol=2)
    with path.open("wb") as file:
        cursor = 0
        while True:
            cursor, keys = client.scan(cursor, count=1000)
            pipeline = client.pipeline(transaction=False)
            for key in keys:
                pipeline.dump(key)
                pipeline.pexpiretime(key)
            replies = pipeline.execute()
            commands = [
                (b"RESTORE", key, max(0, expiry), payload, b"REPLACE", b"ABSTTL")
                for key, payload, expiry in zip(keys, replies[::2], replies[1::2], strict=True)
                if payload is not None
            ]
            file.write(pack(commands))
            if cursor == 0:
                return


def write_sets(path: Path, count: int) -> None:
    """Write `count` SET commands of VALUE_BYTES each to `path`; the last one sets the key `last`."""
    value = b"x" * VALUE_BYTES
    with path.open("wb") as file:
        for start in range(0, count, 10_000):
            file.write(
                pack((b"SET", b"key:%d" % number, value) for number in range(start, min(count, start + 10_000)))
            )
        file.write(pack([(b"SET", b"last", value)]))


def pipe(server: Server, path: Path) -> None:
    """Send the commands of `path` by `redis-cli --pipe`; returns when all of them are answered."""
    with path.open("rb") as file:
        command = ["redis-cli", "-p", str(server.port), "--pipe"]
        done = subprocess.run(command, stdin=file, capture_output=True, text=True, timeout=LIMIT, check=True)
    assert "errors: 0" in done.stdout, done.stdout


def _complete(source: Server, target: Server, own: int) -> Callable[[], bool]:
    """Return what tells whether the target has as many keys as the source and its `own`."""
    one, other = source.client(), target.client()

    def complete() -> bool:
        try:
            return int(other.dbsize()) >= int(one.dbsize()) + own
        except redis.exceptions.BusyLoadingError:
            return False

    return complete


def native_full_sync(source: Server, target: Server) -> Figures:
    """A replica from nothing to all keys."""
    started = time.monotonic()
    target.client().replicaof("127.0.0.1", str(source.port))
    wait_until(_complete(source, target, 0), "all keys on the replica", LIMIT)
    return {"full sync s": time.monotonic() - started}


def piped_full_sync(target: Server, restores: Path) -> Figures:
    """What the target can take at most: the same keys as RESTORE commands from a file."""
    started = time.monotonic()
    pipe(target, restores)
    return {"full sync s": time.monotonic() - started}


def worker_full_sync(source: Server, target: Server) -> Figures:
    """The worker from the start of its process to all keys; then what it took."""
    records = 2  # fence and checkpoint
    started = time.monotonic()
    with Worker(source, target) as worker:
        worker.wait(_complete(source, target, records), "all keys on the target", LIMIT)
        seconds = time.monotonic() - started
        return {"full sync s": seconds, **_cost(worker, "full sync")}


def _cost(worker: Worker, of: str) -> Figures:
    return {f"{of} memory MiB": peak_bytes(worker.pid) / 2**20, f"{of} processor s": processor_seconds(worker.pid)}


@contextmanager
def native(source: Server, target: Server) -> Iterator[None]:
    """Let the target be a native replica."""
    target.replicate(source)
    yield


def stream(source: Server, target: Server, sets: Path) -> Figures:
    """From the start of the load until its last key is on the target."""
    client = target.client()
    started = time.monotonic()
    pipe(source, sets)
    wait_until(lambda: client.exists("last"), "the last key on the target", LIMIT)
    return {"stream s": time.monotonic() - started}


def latency(source: Server, target: Server, samples: int) -> Figures:
    """From a write that was answered by the source until a read of the target sees it."""
    writer, reader = source.client(), target.client()
    seconds = []
    for number in range(samples):
        expected = b"%d" % number
        writer.set("latency", expected)
        answered = time.perf_counter()
        while reader.get("latency") != expected:
            assert time.perf_counter() - answered < 10, "a write did not become visible"
        seconds.append(time.perf_counter() - answered)
    return {
        "latency median ms": statistics.median(seconds) * 1000,
        "latency p99 ms": statistics.quantiles(seconds, n=100)[98] * 1000,
    }


def native_stream(source: Server, target: Server, sets: Path, samples: int) -> Figures:
    """Latency and stream of a native replica."""
    with native(source, target):
        return latency(source, target, samples) | stream(source, target, sets)


def worker_stream(source: Server, target: Server, sets: Path, samples: int) -> Figures:
    """Latency and stream of the worker; then what it took for both."""
    with Worker(source, target) as worker:
        worker.wait_state("streaming")
        figures = latency(source, target, samples)
        before = processor_seconds(worker.pid)
        figures |= stream(source, target, sets)
        cost = _cost(worker, "stream")
        return figures | cost | {"stream processor s": cost["stream processor s"] - before}
