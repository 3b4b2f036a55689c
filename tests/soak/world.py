"""What the long run is made of: two servers, a proxy before each, the worker, and what is noted of it."""

from __future__ import annotations

import json
import random
import signal
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from tests.soak.clock import SkewedClock
from tests.support.proxy import Proxy
from tests.support.servers import DEFAULT, OLD, Server
from tests.support.worker import Worker

POLL_SECONDS = 0.2
# A silent link counts as lost after this: the run is to see many losses, not to wait for few.
TIMEOUT_SECONDS = 4
# Seconds that a worker's margin may have grown by when it was killed, after its status was read.
UNSEEN_MARGIN = 5.0
RESIDENT_LIMIT = 250 * 1024 * 1024
LOAD_SECONDS = 120.0  # that a restarted server may take to load its data


class World:
    """Servers, proxies and worker of one run. A context manager.

    `complaints` collects what must never happen: a traceback, an unexpected end, a worker that is not alive.
    """

    def __init__(
        self,
        *,
        full: bool,
        stale_keys: str,
        difference: float = 0.0,
        source: str = DEFAULT,
        target: str = DEFAULT,
    ) -> None:
        self._stack = ExitStack()
        self.difference = difference  # seconds that the target's clock is ahead of the source's
        self.clock = SkewedClock(difference)
        backlog = "256mb"
        # Acknowledged is durable on both sides: what is lost is then the worker's doing.
        durable = {"appendonly": "yes", "appendfsync": "always"}
        self.source = Server(source, repl_backlog_size=backlog, **(durable if full else {}))
        busy = "lua-time-limit" if target in OLD else "busy-reply-threshold"
        self.target = Server(target, {busy: 100}, **durable)
        self.target.environment = self.clock.environment
        self.source_proxy = Proxy(self.source)
        self.target_proxy = Proxy(self.target)
        self._settings = {
            "SHAKER_SOURCE__TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
            "SHAKER_TARGET__TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
            "SHAKER_SOURCE__CONNECT_TIMEOUT_SECONDS": "1",
            "SHAKER_TARGET__CONNECT_TIMEOUT_SECONDS": "1",
            "SHAKER_RETRY__MAX_SECONDS": "1",
            "SHAKER_RETRY__ACCESS_SECONDS": "1",
            "SHAKER_DRAIN_TIMEOUT_SECONDS": "5",
            "SHAKER_TARGET__STALE_KEYS": stale_keys,
            "SHAKER_VERIFY__CONTINUOUS": "true",
            "SHAKER_VERIFY__RATE": "5000",  # many passes
        }
        self.worker: Worker | None = None
        self._workers: list[Worker] = []  # all of the run
        self.complaints: list[str] = []
        self.resident: list[int] = []
        self.paused = False
        self.emptied: list[tuple[float, float]] = []  # Unix times in which the target lacks keys
        self._rejected = False
        self._last: dict[int, dict[str, Any]] = {}
        self._ended = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="poller", daemon=True)

    def __enter__(self) -> Self:
        for each in (self.clock, self.source, self.target, self.source_proxy, self.target_proxy):
            self._stack.enter_context(each)
        self.start_worker()
        self._poller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._poller.is_alive():
            self._poller.join()
        if self.worker is not None:
            self.worker.close()
        self._stack.close()

    def start_worker(self) -> Worker:
        """Start a worker, the newest one of its name from now on."""
        worker = Worker(self.source_proxy.url, self.target_proxy.url, **self._settings)
        self.worker = worker.start()
        self._workers.append(worker)
        return worker

    @property
    def logs(self) -> str:
        """The logs of all workers of the run, in the order of their starts."""
        return "\n".join(f"worker {worker.pid}\n" + "\n".join(worker.output) for worker in self._workers)

    def end_worker(self, number: int, codes: tuple[int, ...]) -> None:
        """End the worker by a signal; its code must be one of `codes`."""
        worker, self.worker = self.worker, None
        assert worker is not None
        self.expect_end(worker, number, codes)

    def expect_end(self, worker: Worker, number: int | None, codes: tuple[int, ...]) -> None:
        """Wait for the end of a worker that is told to, by a signal or by a newer one."""
        assert worker.process is not None
        if number is not None:
            worker.process.send_signal(number)
        try:
            code = worker.wait_ended(30)
        except AssertionError as error:
            self.complain(f"a worker did not end: {error}")
            worker.process.send_signal(signal.SIGKILL)
            code = worker.wait_ended()
        if code not in codes:
            self.complain(f"a worker ended with {code} instead of {codes}:\n" + "\n".join(worker.output[-20:]))
        self.check_log(worker)

    def check_log(self, worker: Worker) -> None:
        """Complain about what no log may hold: a traceback, and a key that the verification found different."""
        if any("Traceback" in line or '"exception"' in line for line in worker.output):
            self.complain("a traceback in the log:\n" + "\n".join(worker.output[-30:]))
        for event in worker.events("key differs"):
            at = datetime.fromisoformat(event["timestamp"]).timestamp()
            if not any(begin <= at <= end for begin, end in self.emptied):
                self.complain(f"the verification found a difference: {event}")

    def complain(self, what: str) -> None:
        """Note what must never happen."""
        self.complaints.append(what)

    def _poll(self) -> None:
        """Read status and memory of the worker until the end."""
        while not self._ended.wait(POLL_SECONDS):
            worker, paused = self.worker, self.paused
            if worker is None or paused:
                continue
            if worker.returncode is not None and self.worker is worker:
                self.worker = None
                self.complain(f"the worker ended by itself with {worker.returncode}:\n" + worker.describe())
                continue
            try:
                status = self._document(worker, "/status")
                self._last[worker.pid] = status
                self.resident.append(resident_bytes(worker.pid))
                if self.resident[-1] > RESIDENT_LIMIT:
                    self.complain(f"the worker has {self.resident[-1] >> 20} MiB")
                self._check_rejected(status)
            except (OSError, ValueError, AssertionError, StopIteration):
                continue  # it starts, or it was just killed
            self._check_alive(worker)

    def _check_rejected(self, status: dict[str, Any]) -> None:
        """Complain once of commands that the target rejects: the source has taken them."""
        if status["rejected_commands"] and not self._rejected:
            self._rejected = True
            self.complain(f"rejected: {status['reasons']}")

    def _document(self, worker: Worker, path: str) -> dict[str, Any]:
        port = next(int(event["port"]) for event in worker.events("health server started"))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            document: dict[str, Any] = json.loads(answer.read())
            return document

    def _check_alive(self, worker: Worker) -> None:
        try:
            code, body = worker.get("/livez", 2)
        except (OSError, AssertionError):
            if worker is self.worker and not self.paused and worker.returncode is None:
                time.sleep(0.5)  # a processor that is busy elsewhere is no fault of the worker
                return
            return
        if code != 200 and worker is self.worker and not self.paused:
            self.complain(f"not alive: {body}")

    @property
    def margin(self) -> float:
        """The most that an expiry may lie later on the target, in seconds."""
        margins = (document["expiries"]["margin_seconds"] for document in list(self._last.values()))
        return max(margins, default=0.0) + UNSEEN_MARGIN

    @property
    def passes(self) -> int:
        """The number of whole passes of the verification; a worker continues the count of the one before it."""
        return max((document["verification"]["passes"] for document in list(self._last.values())), default=0)

    def total(self, *path: str) -> int:
        """Return the sum of a number of the status over all workers of the run, as last seen of each."""
        found = 0
        for document in list(self._last.values()):
            value: Any = document
            for name in path:
                value = value[name]
            found += int(value)
        return found

    def heal(self) -> None:
        """End every fault."""
        self.source_proxy.heal()
        self.target_proxy.heal()
        for server in (self.source, self.target):
            server.wait_loaded(LOAD_SECONDS)  # a restarted one refuses the next fault's writes until then
        if self.worker is None:
            self.start_worker()

    def memory(self) -> tuple[float, float, float]:
        """Return the least, the median and the largest resident set seen, in MiB."""
        seen = self.resident or [0]
        return min(seen) / 2**20, statistics.median(seen) / 2**20, max(seen) / 2**20

    def growth(self) -> tuple[float, float]:
        """Return the medians of the resident set in the second and in the last third of the run, in MiB.

        In the first third the worker sees its first large values.
        """
        third = len(self.resident) // 3
        parts = self.resident[third : 2 * third] or [0], self.resident[2 * third :] or [0]
        before, last = (statistics.median(seen) / 2**20 for seen in parts)
        return before, last

    def settle(self, seconds: float = 180.0, *, prove: bool = True) -> None:
        """Wait until all that the source has is applied, the worker is ready, and has proven both sides equal.

        Rejected commands prevent both. Without `prove`, equality is not waited for.
        """
        worker = self.worker
        assert worker is not None
        status = worker.wait_applied(self.source, seconds)
        self._check_rejected(status)
        if not self._rejected:
            worker.wait(lambda: self._is_ready(worker), "readiness", seconds)
            if prove:
                self._prove_equal(worker)

    def _prove_equal(self, worker: Worker) -> None:
        """Wait for a whole pass of the continuous verification that begins from now on; its differences are logged."""
        found = worker.status()["verification"]
        passes = found["passes"] + (2 if found["running"] else 1)
        worker.wait_status(
            lambda document: document["verification"]["passes"] >= passes, "a whole pass of the verification", 600
        )

    @staticmethod
    def _is_ready(worker: Worker) -> bool:
        try:
            return worker.get("/readyz")[0] == 200
        except OSError:
            return False  # it ends, or has no time to answer


Fault = Callable[[World, random.Random], None]


def hold(draw: random.Random, longest: float) -> None:
    """Let a fault last for a while, `longest` seconds at most."""
    time.sleep(draw.uniform(0.05, longest))


def resident_bytes(pid: int) -> int:
    """Return the resident set of a living process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} tells no VmRSS")
