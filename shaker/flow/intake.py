"""The reader's intake: an operator or a job pauses it, rates limit it, and jobs request barriers from it."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from shaker.flow.rates import Rates
from shaker.model.items import Barrier


class Intake:
    """Whether received bytes may be taken and how fast, and the barrier that waits for the reader.

    `held`: an operator has paused the worker. A job pauses for milliseconds, to make a barrier.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.rates = Rates(clock)
        self.held = False
        self._open = anyio.Event()
        self._open.set()
        self._released = anyio.Event()
        self._released.set()
        self._requested: Barrier | None = None

    def pause(self) -> None:
        """Let the reader take nothing more of what it receives, until `resume`."""
        self._open = anyio.Event()

    def resume(self) -> None:
        """Let the reader continue."""
        self._open.set()

    def hold(self) -> None:
        """Let the reader take nothing more until `release`, on behalf of an operator."""
        if not self.held:
            self.held = True
            self._released = anyio.Event()

    def release(self) -> None:
        """End what `hold` began."""
        self.held = False
        self._released.set()

    @property
    def restrained(self) -> bool:
        """Whether an operator has paused or limited the intake."""
        return self.held or self.rates.active

    async def wait_for_jobs(self) -> None:
        """Return once no job pauses the intake."""
        while not self._open.is_set():
            await self._open.wait()

    async def wait(self) -> None:
        """Return once received bytes may be taken."""
        while self.held or not self._open.is_set():
            await self._released.wait()
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
