"""Read coalescing: at high rates, a short pause makes the next read larger.

Fewer reads, sends and replies cost less. At rates that leave processors idle, where a millisecond counts, no read
waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio

HIGH_RATE: Final = 40 * 1024 * 1024  # bytes a second
RATED_SECONDS: Final = 0.05  # over which the rate is measured
PAUSE_SECONDS: Final = 0.003


class ReadCoalescing:
    """Pauses after reads. After a read of `full` bytes more is there already. `clock` counts seconds."""

    def __init__(
        self,
        full: int,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._sleep = sleep
        self._full = full
        self._clock = clock
        self._since = clock()
        self._size = 0  # bytes received since then
        self._high = False

    async def gather(self, size: int) -> None:
        """Wait after a read of `size` bytes if the present rate is high."""
        now = self._clock()
        self._size += size
        elapsed = now - self._since
        if elapsed >= RATED_SECONDS:
            self._high = self._size >= HIGH_RATE * elapsed
            self._since, self._size = now, 0
        if self._high and size < self._full:
            await self._sleep(PAUSE_SECONDS)
