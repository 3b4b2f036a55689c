"""Other work on the machine: processes that keep the processors busy, and end with the one that started them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final, Self

LONGEST: Final = 3600.0  # seconds after which a burner ends, whatever became of its parent

# Looks once in some milliseconds whether its input, which its parent holds open, has ended.
_BURNER: Final = """
import select, sys, time
deadline = time.monotonic() + float(sys.argv[1])
while time.monotonic() < deadline and not select.select([0], [], [], 0)[0]:
    sum(range(100_000))
"""


class Busy:
    """`processes` processes that compute without a pause, by default one per processor. A context manager."""

    def __init__(self, processes: int | None = None) -> None:
        self._wanted = (os.cpu_count() or 1) if processes is None else processes
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        command = [sys.executable, "-c", _BURNER, str(LONGEST)]
        for _ in range(self._wanted):
            # Niceness zero: they compete with the worker as equals, however nice the command itself is.
            self.processes.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
        self.processes.clear()
