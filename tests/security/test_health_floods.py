"""The health server of a worker at work, under clients that mean harm: probes are answered, nothing leaks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.security.floods import bursts, holding, probe_seconds
from tests.servers import Server, wait_until
from tests.worker import Worker, peak_bytes

PROBES = 30
# A probe's own time-out in Kubernetes is 1 s. What the goal of 100 ms needs is measured by tests/bench/health.py:
# here other tests share the processors.
LONGEST_SECONDS = 1.0
SLOWEST_MEDIAN = 0.25

FLOODS: dict[str, Callable[[int], AbstractContextManager[object]]] = {
    "200 clients that hold on": holding,
    "bursts": bursts,
    "headers of 1 MB": lambda port: bursts(port, huge_headers=True),
}


@pytest.fixture
def running(source: Server, target: Server) -> Iterator[Worker]:
    with Worker(source, target) as worker:
        worker.wait_state("streaming")
        yield worker


@pytest.mark.parametrize("name", FLOODS)
def test_probes_are_answered(name: str, running: Worker, source: Server) -> None:
    port, descriptors = running.port, open_files(running)
    with FLOODS[name](port):
        time.sleep(0.5)
        seconds = sorted(probe_seconds(port) for _ in range(PROBES))
        source.client().incr("counter")
        assert seconds[PROBES // 2] < SLOWEST_MEDIAN, seconds
        assert seconds[-1] < LONGEST_SECONDS, seconds
        assert open_files(running) < descriptors + 200
    wait_until(lambda: open_files(running) <= descriptors + 2, "the connections to be closed", 15)
    running.wait_applied(source)
    assert peak_bytes(running.pid) < 150 * 1024 * 1024
    assert "Traceback" not in "\n".join(running.output)
    assert len(running.output) < 100, "anybody can fill the log"


def open_files(worker: Worker) -> int:
    """Return how many files and sockets a worker has open."""
    return len(os.listdir(f"/proc/{worker.pid}/fd"))


def test_ten_thousand_requests(running: Worker) -> None:
    with bursts(running.port) as count:
        wait_until(lambda: count[0] >= 10_000, "10,000 answers", 60)
    assert running.get("/livez")[0] == 200
    assert peak_bytes(running.pid) < 150 * 1024 * 1024
