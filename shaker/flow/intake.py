"""The reader's intake: jobs pause it and request barriers, the reader obeys before it continues."""

from __future__ import annotations

import anyio

from shaker.model.items import Barrier


class Intake:
    """Whether received bytes may be taken, and the barrier that waits for the reader."""

    def __init__(self) -> None:
        self._open = anyio.Event()
        self._open.set()
        self._requested: Barrier | None = None

    def pause(self) -> None:
        """Let the reader take nothing more of what it receives, until `resume`."""
        self._open = anyio.Event()

    def resume(self) -> None:
        """Let the reader continue."""
        self._open.set()

    async def wait(self) -> None:
        """Return once received bytes may be taken."""
        while not self._open.is_set():
            await self._open.wait()

    def request(self, barrier: Barrier) -> None:
        """Request a barrier; one that still waits is given up."""
        self.give_up()
        self._requested = barrier

    def requested(self) -> Barrier | None:
        """Return, once, the requested barrier."""
        barrier, self._requested = self._requested, None
        return barrier

    def give_up(self) -> None:
        """Give up a barrier that the reader has not taken over."""
        if (barrier := self.requested()) is not None:
            barrier.ended(False)
