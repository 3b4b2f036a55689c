"""Keys with expiries of 1 to 5 seconds that the source keeps renewing, over a link that lags: none may be lost.

`python -m tests.soak.renewals redis-8.0 --lag stream --kill` runs it once and prints what it saw; exit 1 on any
difference. 40,000 keys, 2,000 of them renewed, a link of 1 MB/s, half a minute.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from tests.support.proxy import Proxy
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker

KEYS = 40_000
RENEWED = 2000
DYING = 1000
SECONDS = 30.0
BANDWIDTH = 1_000_000  # bytes per second
TOLERANCE_MS = 1500


class Renewals:
    """A thread that keeps keys alive in four ways, and one that fills the link."""

    def __init__(self, source: Server) -> None:
        self.rounds = 0
        self._source = source
        self._stopped = threading.Event()
        numbers = random.Random(1)
        self.expiries = {f"renewed:{number}": numbers.choice((1000, 2000, 3000, 5000)) for number in range(RENEWED)}
        self._threads = [threading.Thread(target=self._renew), threading.Thread(target=self._fill)]

    def start(self) -> None:
        """Write all keys and begin."""
        client, numbers = self._source.client(), random.Random(2)
        with client.pipeline(transaction=False) as pipeline:
            for number in range(KEYS):
                pipeline.set(f"key:{number}", numbers.randbytes(500))
            for number in range(DYING):
                pipeline.set(f"dying:{number}", 1, px=3000 + 5 * number)
            for key, expiry in self.expiries.items():
                pipeline.set(key, 1, px=expiry)
            pipeline.execute()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop, with all keys alive for a minute."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        self._round(60_000)

    def _renew(self) -> None:
        while not self._stopped.wait(0.35):
            self._round()

    def _round(self, more: int = 0) -> None:
        with self._source.client().pipeline(transaction=False) as pipeline:
            for number, (key, expiry) in enumerate(self.expiries.items()):
                match number % 4:
                    case 0:
                        pipeline.pexpire(key, expiry + more)
                    case 1:
                        pipeline.incr(key)
                        pipeline.pexpire(key, expiry + more)
                    case 2:
                        pipeline.set(key, self.rounds, px=expiry + more)
                    case _:
                        pipeline.getex(key, px=expiry + more)
            pipeline.execute()
        self.rounds += 1

    def _fill(self) -> None:
        numbers = random.Random(3)
        while not self._stopped.wait(0.3):
            with self._source.client().pipeline(transaction=False) as pipeline:
                for _ in range(60):
                    pipeline.set(f"load:{numbers.randrange(2000)}", bytes(9000))
                pipeline.execute()


def run(name: str, *, lag: str, kill: bool, import_mode: bool) -> dict[str, Any]:
    """Run once; return what was seen."""
    config = {"import-mode": "yes"} if import_mode else {}
    with Server(name) as source, Server(name, config) as target, Proxy(source) as proxy:
        renewals = Renewals(source)
        renewals.start()
        if lag == "snapshot":
            proxy.set("down", bandwidth=BANDWIDTH)
        with Worker(proxy.url, target) as worker:
            if lag == "stream":
                worker.wait_state("streaming")
                proxy.set("down", bandwidth=BANDWIDTH)
            longest = _watch(worker, kill=kill)
            renewals.stop()
            proxy.heal()
            worker.wait_applied(source)
            seconds = time.monotonic()
            worker.wait_status(lambda status: not status["expiries"]["pending"], "true expiries")
            seconds = time.monotonic() - seconds
            status = worker.status()
        return {
            "renewals of each key": renewals.rounds,
            "longest lag, seconds": round(longest, 1),
            "true expiries after the end of the lag, seconds": round(seconds, 1),
            "settled": status["expiries"]["keys_settled"],
            "copied": status["expiries"]["keys_copied"],
            **_compare(source, target, list(renewals.expiries)),
        }


def _watch(worker: Worker, *, kill: bool) -> float:
    """Look on for SECONDS, and kill the worker in the middle if so asked; return the longest lag seen."""
    longest, began = 0.0, time.monotonic()
    while (elapsed := time.monotonic() - began) < SECONDS:
        if kill and elapsed > SECONDS / 2:
            worker.kill()
            worker.start()
            kill = False
        with suppress(AssertionError, OSError):
            longest = max(longest, worker.status()["stream"]["lag_seconds"])
        time.sleep(0.25)
    return longest


def _compare(source: Server, target: Server, keys: list[str]) -> dict[str, int]:
    """Count what differs. The source loses keys by itself where the machine is too busy to renew them."""
    wait_until(lambda: not source.client().exists(*(f"dying:{number}" for number in range(DYING))), "the expiries")
    mine, theirs = source.client(), target.client()
    alive = [key for key in keys if mine.exists(key)]
    lost = [key for key in alive if not theirs.exists(key)]
    return {
        "alive on the source": len(alive),
        "lost": len(lost),
        "other values": sum(mine.get(key) != theirs.get(key) for key in keys),
        "other expiries": sum(abs(mine.pttl(key) - theirs.pttl(key)) > TOLERANCE_MS for key in alive),
        "expired and still there": theirs.exists(*(f"dying:{number}" for number in range(DYING))),
    }


def main() -> int:
    """Run once by the arguments."""
    parser = argparse.ArgumentParser(prog="tests.soak.renewals", description=__doc__)
    parser.add_argument("server", help="redis-7.0, redis-8.0, valkey-8.1, …")
    parser.add_argument("--lag", choices=("snapshot", "stream"), default="snapshot", help="where the worker lags")
    parser.add_argument("--kill", action="store_true", help="SIGKILL the worker in the middle")
    parser.add_argument("--import-mode", action="store_true", help="the target is a Valkey in import mode")
    given = parser.parse_args()
    seen = run(given.server, lag=given.lag, kill=given.kill, import_mode=given.import_mode)
    for what, figure in seen.items():
        sys.stdout.write(f"{what}: {figure}\n")
    wrong = ("lost", "other values", "other expiries", "expired and still there")
    return int(any(seen[what] for what in wrong))


if __name__ == "__main__":
    sys.exit(main())
