"""Cutovers under a steady load of writes: how long writes are fenced, and whether one that was acknowledged is lost.

`python -m tests.bench.cutover --rounds 20 --rate 20000` prints one line a round, and the median and the worst.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple, Self

import hiredis

from tests.support.servers import Server
from tests.support.worker import ROOT, Worker

KEYS = 100  # counters, one INCR of each in a batch


CLOSE = 0.25  # seconds by which the fenced time of the report and that of the writers may differ
PHASES = ("preparing", "verifying", "fencing", "catching_up", "comparing", "hook", "closing", "done")


class Round(NamedTuple):
    """The result of one cutover: seconds, writes a second before it, and counters whose last write is missing.

    `held_seconds` is how long the writers waited for an answer, `wrong` what the report says that is not so.
    """

    fenced_seconds: float
    held_seconds: float
    rate: float
    lost: int
    outcome: str
    wrong: list[str]


class Writer:
    """Increments counters at a rate, in batches; `acknowledged` has the last answer for each. A context manager.

    It stops at a refusal, or with `persistent` goes on. `last_write` is the time of the last batch that was answered,
    `held` how long the batch waited that was refused.
    """

    def __init__(self, source: Server, rate: float, *, persistent: bool = False) -> None:
        self.acknowledged = [0] * KEYS
        self.writes = 0
        self.last_write = self.held = 0.0
        self.refused = ""
        self._persistent = persistent
        self._rate = rate
        self._socket = socket.create_connection(("127.0.0.1", source.port))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        batch = b"".join(hiredis.pack_command((b"INCR", b"counter:%d" % index)) for index in range(KEYS))  # type: ignore[arg-type]
        reader = hiredis.Reader()
        began = time.monotonic()
        while not self._stopped.is_set() and (self._persistent or not self.refused):
            self._socket.sendall(batch)
            sent, answered, refused = time.monotonic(), 0, ""
            while answered < KEYS:
                reader.feed(self._socket.recv(65536))
                while (reply := reader.gets()) is not False:
                    if isinstance(reply, int):
                        self.acknowledged[answered] = reply
                    else:
                        self.refused = refused = str(reply)
                    answered += 1
            self.writes += KEYS
            if refused:
                self.held = time.monotonic() - sent
            else:
                self.last_write = time.monotonic()
            self._stopped.wait(max(0.0, began + self.writes / self._rate - time.monotonic()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop after the answers to the present batch."""
        self._stopped.set()
        self._thread.join(30)

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._socket.close()


def cut_over(keys: int, rate: float, token: Path) -> Round:
    """Replicate `keys` keys under load and cut over."""
    with Server() as source, Server() as target:
        source.client().mset({f"key:{number}": "x" * 100 for number in range(keys)})
        with (
            Worker(
                source, target, SHAKER_CONTROL__TOKEN_FILE=str(token), SHAKER_VERIFY__CONTINUOUS="true"
            ) as worker,
            Writer(source, rate) as writer,
        ):
            worker.wait_status(lambda found: found["cutover"]["possible"], "a possible cutover", 120)
            before, began = writer.writes, time.monotonic()
            report = _ordered(worker, token)
            writer.stop()
            if report["outcome"] == "done":
                worker.wait_ended()
            reached = (writer.writes - before) / (writer.last_write - began)
            there = [
                int(value or 0) for value in target.client().mget([f"counter:{index}" for index in range(KEYS)])
            ]
            lost = sum(found < wanted for found, wanted in zip(there, writer.acknowledged, strict=True))
            fenced = report.get("fenced_seconds", 0.0)
            wrong = _wrong(report, source, target, writer, keys)
            return Round(fenced, writer.held, reached, lost, report["outcome"], wrong)


def _wrong(report: dict[str, Any], source: Server, target: Server, writer: Writer, keys: int) -> list[str]:
    """Return what in the report is not so, by the servers and the writers themselves."""
    replication = source.info("replication")
    verification, timeline = report.get("verification") or {}, report.get("timeline", [])
    times = [each["at"] for each in timeline]
    # Behind the end offset there are only PINGs of the source.
    right = {
        "source": report.get("source") == f"127.0.0.1:{source.port}",
        "target": report.get("target") == f"127.0.0.1:{target.port}",
        "replid": report.get("replid") == replication["master_replid"],
        "offset": 0 <= replication["master_repl_offset"] - report.get("offset", 0) < 1000,
        "fenced_seconds": abs(report.get("fenced_seconds", 0.0) - writer.held) < CLOSE,
        "keys_compared": verification.get("keys_compared") == 2 * (keys + KEYS),  # on both servers
        "keys_compared_fenced": 0 < verification.get("keys_compared_fenced", 0) <= KEYS,
        "timeline": tuple(each["phase"] for each in timeline) == PHASES and times == sorted(times),
        "source_open": report.get("source_open") is False and "NOREPLICAS" in writer.refused,
    }
    return [name for name, so in right.items() if not so]


def _ordered(worker: Worker, token: Path) -> dict[str, Any]:
    settings = {"SHAKER_CONTROL__TOKEN_FILE": str(token), "SHAKER_HEALTH__PORT": str(worker.port)}
    command = [sys.executable, "-m", "shaker", "cutover", "--json"]
    environment = os.environ | worker.environment | settings
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    report: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"outcome": done.stderr.strip()}
    return report


def main() -> int:
    """Run the rounds; return 1 if a write was lost, a cutover failed, or its report is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--rate", type=float, default=20_000, help="writes per second")
    parser.add_argument("--keys", type=int, default=20_000, help="keys besides the counters")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        token = Path(directory) / "token"
        token.write_text("token\n")
        rounds = []
        for number in range(1, given.rounds + 1):
            one = cut_over(given.keys, given.rate, token)
            rounds.append(one)
            report = f"wrong: {', '.join(one.wrong)}" if one.wrong else "right"
            sys.stdout.write(
                f"{number:3} {one.outcome}: fenced {one.fenced_seconds:.3f} s, "
                f"writers held {one.held_seconds:.3f} s, {one.rate:,.0f}/s, {one.lost} lost, report {report}\n"
            )
            sys.stdout.flush()
    fenced = [one.fenced_seconds for one in rounds]
    sys.stdout.write(f"fenced: median {statistics.median(fenced):.3f} s, worst {max(fenced):.3f} s\n")
    return int(any(one.lost or one.outcome != "done" or one.wrong for one in rounds))


if __name__ == "__main__":
    sys.exit(main())
