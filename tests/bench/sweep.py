"""How long the sweep of a large target takes under load, what it holds up, and what memory its list takes.

`python -m tests.bench.sweep` (`--keys`, `--rate`) prints one JSON object; one in a hundred keys is stale.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import hiredis

from shaker.codec.resp.replies import encode
from tests.support.servers import Server
from tests.support.worker import ROOT, Worker

CHUNK = 10_000
BATCH = 100  # writes at once


def fill(server: Server, keys: int) -> None:
    """Write `keys` keys that stay, and a hundredth of that number that are to go."""
    client = server.client()
    for start in range(0, keys, CHUNK):
        client.mset({f"key:{number}": b"x" * 32 for number in range(start, start + CHUNK)})
    client.mset({f"stale:{number}": b"x" * 32 for number in range(keys // 100)})


class Writes:
    """A process that sets keys of a server at a fixed rate, in writes a second."""

    def __init__(self, server: Server, keys: int, rate: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.sweep", "--write", str(server.port), str(keys), str(rate)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def stop(self) -> float:
        """End it; return the writes a second that were made."""
        out, _ = self._process.communicate(timeout=20)
        return float(out)


def write(port: int, keys: int, rate: int) -> None:
    """Set keys until the input ends; print how many a second."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    reader, number, began = hiredis.Reader(), 0, time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        while not ended.is_set():
            requests = [encode("SET", f"key:{(number + each) * 7919 % keys}", "y" * 32) for each in range(BATCH)]
            connection.sendall(b"".join(requests))
            for _ in requests:
                while reader.gets() is False:
                    reader.feed(connection.recv(65536))
            number += BATCH
            ended.wait(max(0.0, began + number / rate - time.monotonic()))
    sys.stdout.write(str(number / (time.monotonic() - began)))


class Pings:
    """A thread that asks the target for nothing, again and again: how long its other clients wait, in ms."""

    def __init__(self, server: Server) -> None:
        self.times: list[float] = []
        self._port = server.port
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pings", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port)) as connection:
            while not self._ended.wait(0.002):
                began = time.perf_counter()
                connection.sendall(b"PING\r\n")
                connection.recv(16)
                self.times.append((time.perf_counter() - began) * 1000)

    def taken(self) -> list[float]:
        """Return the times since the last call, sorted."""
        times, self.times = self.times, []
        return sorted(times) or [0.0]

    def stop(self) -> None:
        """End it."""
        self._ended.set()
        self._thread.join()


STAGES = ("keys of the target listed", "snapshot applied", "stale keys removed", "caught up")


def measure(keys: int, rate: int) -> dict[str, float]:
    """Return the numbers of one full resync: seconds of its stages, of the lag, and what other clients wait."""
    with ExitStack() as stack:
        source, target = stack.enter_context(Server()), stack.enter_context(Server())
        fill(source, keys)
        running = stack.enter_context(Worker(source, target))
        running.wait_status(lambda document: document["ready"], "the first full sync", 300)
        running.kill()
        stale = [f"stale:{number}" for number in range(keys // 100)]
        source.client().delete(*stale)
        source.client().execute_command("DEBUG", "CHANGE-REPL-ID")
        writes = Writes(source, keys, rate)
        pings = Pings(target)
        stack.callback(pings.stop)
        running.start()
        running.wait(lambda: running.events("full sync"), "the full sync", 300)
        before, began, memory = target.info("memory")["used_memory"], time.monotonic(), 0.0
        found: dict[str, float] = {}
        lags = []
        pings.taken()
        for stage in STAGES:
            while not (running.events(stage) or (stage == STAGES[-1] and running.status()["ready"])):
                lags.append(running.status()["stream"]["lag_seconds"])
                time.sleep(0.02)
            name = stage.replace(" ", "_")
            if not memory:
                memory = target.info("memory")["used_memory"] - before
            times = pings.taken()
            found |= {
                f"{name}_at_seconds": round(time.monotonic() - began, 2),
                f"{name}_ping_ms_median": round(statistics.median(times), 2),
                f"{name}_ping_ms_p99": round(times[int(len(times) * 0.99)], 2),
                f"{name}_ping_ms_max": round(times[-1], 2),
            }
        made = writes.stop()
        running.wait_applied(source)
        events = {stage: running.events(stage)[0] for stage in (STAGES[0], STAGES[2])}
        assert events[STAGES[2]]["deleted"] == len(stale)
        return {
            "keys": keys,
            "stale": len(stale),
            "writes_per_second": round(made),
            "listing_seconds": events[STAGES[0]]["seconds"],
            "removal_seconds": events[STAGES[2]]["seconds"],
            "list_bytes_per_key": round(memory / keys),
            "lag_seconds_max": round(max(lags), 2),
            **found,
        }


def main() -> None:
    """Measure, or be the process that writes."""
    if sys.argv[1:2] == ["--write"]:
        write(*map(int, sys.argv[2:]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=10_000)
    arguments = parser.parse_args()
    sys.stdout.write(json.dumps(measure(arguments.keys, arguments.rate)) + "\n")


if __name__ == "__main__":
    main()
