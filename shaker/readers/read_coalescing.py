"""How reads follow one another: where much comes, a pause lets more come with the next one.

Reads, sends and replies cost less the fewer they are. At a rate that leaves processors idle, where a millisecond
would count, nothing waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio

MUCH: Final = 40 * 1024 * 1024  # bytes a second
RATED_SECONDS: Final = 0.05  # over which the rate is taken
PAUSE_SECONDS: Final = 0.003


class ReadCoalescing:
    """Pauses behind reads; `full` bytes are a read behind which more is there already. `clock` is in seconds."""

    def __init__(self, full: int, clock: Callable[[], float]) -> None:
        self._full = full
        self._clock = clock
        self._since = clock()
        self._size = 0  # bytes that came since then
        self._much = False

    async def gather(self, size: int) -> None:
        """Let more come behind a read of `size` bytes, if much comes at present."""
        now = self._clock()
        self._size += size
        elapsed = now - self._since
        if elapsed >= RATED_SECONDS:
            self._much = self._size >= MUCH * elapsed
            self._since, self._size = now, 0
        if self._much and size < self._full:
            await anyio.sleep(PAUSE_SECONDS)
