"""How long the sweep of a large target takes under load, and how long each barrier holds the stream.

`python -m tests.bench.sweep` (`--keys`, `--rate`) prints one JSON object; one in a hundred keys is stale.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import hiredis

from shaker.codec.resp import encode
from tests.servers import Server
from tests.worker import ROOT, Worker

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


# Put into the worker's process by the interpreter itself: notes how long each barrier holds the stream.
TIMED = """
import os, time
import shaker.link.barrier as barrier

class Timed(barrier.Hold):
    def __init__(self, replid, offset, reached, ended):
        since = []
        def note_reached():
            since.append(time.perf_counter())
            reached()
        def note_ended(done):
            if since:
                with open(os.environ["PAUSES"], "a") as file:
                    print(time.perf_counter() - since[0], file=file)
            ended(done)
        super().__init__(replid, offset, note_reached, note_ended)

barrier.Hold = Timed
"""


def measure(keys: int, rate: int) -> dict[str, float]:
    """Return the numbers of one sweep: seconds, milliseconds of each barrier's pause, seconds of lag."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (directory / "sitecustomize.py").write_text(TIMED)
        pauses = directory / "pauses"
        source, target = stack.enter_context(Server()), stack.enter_context(Server())
        fill(source, keys)
        environment = {"PYTHONPATH": str(directory), "PAUSES": str(pauses)}
        running = stack.enter_context(Worker(source, target, **environment))
        running.wait_status(lambda document: document["ready"], "the first full sync", 300)
        running.kill()
        stale = [f"stale:{number}" for number in range(keys // 100)]
        source.client().delete(*stale)
        source.client().execute_command("DEBUG", "CHANGE-REPL-ID")
        writes = Writes(source, keys, rate)
        running.start()
        running.wait(lambda: running.events("sweep begins"), "the sweep", 300)
        began, lags = time.monotonic(), []
        while not (ends := running.events("sweep ends")):
            lags.append(running.status()["stream"]["lag_seconds"])
            time.sleep(0.05)
        seconds = time.monotonic() - began
        lags_behind = [running.status()["stream"]["lag_seconds"] for _ in range(100) if not time.sleep(0.02)]
        made = writes.stop()
        running.wait_applied(source)
        assert ends[0]["deleted"] == len(stale)
        held = sorted(float(line) * 1000 for line in pauses.read_text().split())
        return {
            "keys": keys,
            "stale": len(stale),
            "writes_per_second": round(made),
            "sweep_seconds": round(seconds, 1),
            "barriers": len(held),
            "pause_ms_median": round(statistics.median(held), 2),
            "pause_ms_p99": round(held[int(len(held) * 0.99)], 2),
            "pause_ms_max": round(held[-1], 2),
            "lag_seconds_median": round(statistics.median(lags), 3),
            "lag_seconds_max": round(max(lags), 3),
            "lag_seconds_behind_median": round(statistics.median(lags_behind), 3),
            "lag_seconds_behind_max": round(max(lags_behind), 3),
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
