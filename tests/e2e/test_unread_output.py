"""A standard output that is not read, full, closed or left: the stream goes on, and the worker ends in time."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support.servers import Server, free_port
from tests.support.worker import ROOT, Worker

# Together with those of the start these lines are more than the smallest pipe holds, one page.
REJECTED = 20
PIPE_BYTES = 4096


class Unread(Worker):
    """A worker whose standard output is `stdout` and read by nobody; its health port is chosen beforehand."""

    def __init__(self, source: Server, target: Server, stdout: int | None, **settings: str) -> None:
        self._chosen = free_port()
        super().__init__(
            source, target, SHAKER_HEALTH__PORT=str(self._chosen), SHAKER_DRAIN_TIMEOUT_SECONDS="3", **settings
        )
        self._stdout = stdout

    def start(self) -> Unread:
        command = [sys.executable, "-m", "shaker", "run"]
        if self._stdout is None:
            command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self._stdout,
            stderr=subprocess.DEVNULL,
        )
        return self

    @property
    def port(self) -> int:
        return self._chosen

    def _port(self) -> int | None:
        return self._chosen

    def dropped(self) -> int:
        """The counter of dropped lines."""
        lines = self.get("/metrics")[1].splitlines()
        return int(
            float(next(line for line in lines if line.startswith("shaker_log_lines_dropped_total")).split()[-1])
        )


@pytest.fixture
def stdout(request: pytest.FixtureRequest) -> Iterator[int | None]:
    """A descriptor for standard output that is `stalled`, `full` or `left`; None for `closed`."""
    if request.param == "closed":
        yield None
        return
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    if request.param == "left":
        os.close(reading)
    elif request.param == "full":
        os.close(writing)
        writing = os.open("/dev/full", os.O_WRONLY)
    yield writing
    for end in (reading, writing):
        with suppress(OSError):
            os.close(end)


@pytest.mark.parametrize("stdout", ["stalled", "full", "left", "closed"], indirect=True)
def test_nobody_takes_the_lines(
    source: Server, target: Server, stdout: int | None, request: pytest.FixtureRequest
) -> None:
    """All is applied, SIGTERM ends with 0, and lines that nobody took are counted."""
    stalled = "stalled" in request.node.callspec.id
    with Unread(source, target, stdout) as running:
        running.wait_state("streaming")
        client = target.client(db=3)
        client.set("list", "a string")
        source.client(db=3).set("answer", 42)
        for number in range(REJECTED):
            source.client(db=3).rpush("list", number)
        running.wait_applied(source)
        if not stalled:
            running.wait(running.dropped, "dropped lines to be counted")
        running.terminate()
        assert running.wait_ended(15) == 0

    assert client.get("answer") == b"42"
