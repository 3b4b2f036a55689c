"""The interval of a poll, which a caller can cut short to get a fresh poll."""

from __future__ import annotations

import anyio


class PollInterval:
    """The interval of one polling task: the task calls `pause` after each poll, and others call `fresh`."""

    def __init__(self) -> None:
        self._wanted = anyio.Event()
        self._taken = anyio.Event()
        self._pausing = False

    async def pause(self, seconds: float) -> None:
        """Record that a poll has ended, and return when the next one is due."""
        self._taken.set()
        self._taken = anyio.Event()
        self._pausing = True
        with anyio.move_on_after(seconds):
            await self._wanted.wait()
        self._pausing = False

    async def fresh(self) -> None:
        """Return after a poll that began after this call."""
        self._wanted.set()
        for _ in range(1 if self._pausing else 2):  # a poll that is under way began before
            await self._taken.wait()
        self._wanted = anyio.Event()
