"""The pauses of a poll, which somebody who wants a fresh look cuts short."""

from __future__ import annotations

import anyio


class PollInterval:
    """Counts the looks of one poll: `pause` is called by it after each one, `fresh` by whoever wants another."""

    def __init__(self) -> None:
        self._wanted = anyio.Event()
        self._taken = anyio.Event()
        self._pausing = False

    async def pause(self, seconds: float) -> None:
        """Tell that a look was taken, and return when the next one is due."""
        self._taken.set()
        self._taken = anyio.Event()
        self._pausing = True
        with anyio.move_on_after(seconds):
            await self._wanted.wait()
        self._pausing = False

    async def fresh(self) -> None:
        """Return once a look is taken that began after this call."""
        self._wanted.set()
        for _ in range(1 if self._pausing else 2):  # one that is under way began before
            await self._taken.wait()
        self._wanted = anyio.Event()
