"""A server whose wall clock differs from the machine's: the clock that it reads itself, not what it says."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Self

SOURCE = Path(__file__).with_suffix(".c")


class SkewedClock:
    """A library that a server preloads; `set` moves the clock of those that run with it. A context manager.

    `environment` is what the server has to be started with. RuntimeError without a C compiler.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.moved = bool(seconds)  # whether it has ever differed
        self._directory = Path(tempfile.mkdtemp(prefix="shaker-clock-"))
        self._difference = self._directory / "difference"
        self._library = self._directory / "clock.so"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that a server with this clock needs."""
        return {"LD_PRELOAD": str(self._library), "SKEWED_CLOCK": str(self._difference)}

    def set(self, seconds: float) -> None:
        """Let the clock be so much later than the machine's, from now on; earlier if negative."""
        self.seconds = seconds
        self.moved |= bool(seconds)
        # Written in place: running servers have this file mapped.
        with self._difference.open("r+b") as file:
            file.write(struct.pack("q", round(seconds * 1e9)))

    def __enter__(self) -> Self:
        command = ["cc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(self._library), str(SOURCE)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise RuntimeError("a clock of its own needs a C compiler, cc") from None
        if done.returncode:
            raise RuntimeError(f"{SOURCE.name} cannot be compiled:\n{done.stderr}")
        self._difference.write_bytes(bytes(8))
        self.set(self.seconds)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
