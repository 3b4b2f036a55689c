"""Live load from a process of its own, which does not share the interpreter with the test: full speed stays full.

In the test's own process `shaker.commands.sample.Load` does the same: simpler and slower, with live counters.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from typing import Self

import redis

from shaker.commands.sample import Load
from tests.support.servers import Server, wait_until
from tests.support.worker import ROOT


class LoadProcess:
    """`shaker.commands.sample.Load` against `server` in a process of its own. A context manager.

    `stop` ends it and fills `operations`, `refused` and `lost_connections`.
    """

    def __init__(
        self,
        server: Server,
        *,
        seed: int = 1,
        rate: float | None = None,
        keys: int = 500,
        shortest_expiry: int = 50,
    ) -> None:
        self.operations = 0
        self.refused = 0
        self.lost_connections = 0
        self._command = [sys.executable, "-m", "tests.support.load", server.url, f"--seed={seed}", f"--keys={keys}"]
        self._command.append(f"--shortest-expiry={shortest_expiry}")
        if rate is not None:
            self._command.append(f"--rate={rate:g}")
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        """Start the process and wait until it writes."""
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == "writing\n", f"the load did not start: {line!r}"
        return self

    def stop(self) -> None:
        """Stop after the batch under way; AssertionError if the load failed."""
        process, self._process = self._process, None
        if process is None:
            return
        # The end of its input is the sign to stop: it comes as well when the test run itself is killed.
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 0, f"the load ended with {process.returncode}"
        counts = json.loads(out)
        self.operations, self.refused = counts["operations"], counts["refused"]
        self.lost_connections = counts["lost_connections"]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def main() -> None:
    """Write until the standard input ends, then print the counts as JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keys", type=int, default=500)
    parser.add_argument("--rate", type=float, default=None)
    parser.add_argument("--shortest-expiry", type=int, default=50)
    arguments = parser.parse_args()
    ended = threading.Event()
    threading.Thread(target=lambda: (os.read(0, 1), ended.set()), daemon=True).start()
    with redis.Redis.from_url(arguments.url, socket_timeout=10, protocol=2) as client:
        with Load(
            client,
            seed=arguments.seed,
            rate=arguments.rate,
            keys=arguments.keys,
            shortest_expiry=arguments.shortest_expiry,
        ) as load:
            wait_until(lambda: load.operations or load.failure, "the first operations")
            sys.stdout.write("writing\n")
            sys.stdout.flush()
            ended.wait()
        counts = {name: getattr(load, name) for name in ("operations", "refused", "lost_connections")}
        sys.stdout.write(json.dumps(counts) + "\n")


if __name__ == "__main__":
    main()
