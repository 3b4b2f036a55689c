"""Received bytes on their way through the disk spool: past it while the target keeps up, else in order through it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from shaker.flow.flow import Flow
from shaker.flow.wakeups import Wakeup
from shaker.net.tls import READ_SIZE
from shaker.readers.spool import Spool


class SpoolIntake:
    """Takes received bytes into a flow by `take`, in order."""

    def __init__(self, flow: Flow, spool: Spool, take: Callable[[bytes], Awaitable[None]]) -> None:
        self._flow = flow
        self._spool = spool
        self._take = take
        self._changed = Wakeup()
        self._feeding = False  # bytes from the spool are on their way into the window

    async def room(self) -> None:
        """Return once the spool has room."""
        while self._spool.full:
            await self._changed.wait()

    async def put(self, data: bytes) -> None:
        """Take `data` into the window, or into the spool while the target is behind or an operator slows it down."""
        flow = self._flow
        await flow.intake.wait_for_jobs()
        direct = not self._feeding and not flow.window.full and not flow.intake.restrained
        if self._spool.size == 0 and direct:
            await self._take(data)
        else:
            await self._spool.put(data)
            self._report()

    async def feed(self) -> None:
        """Move bytes from the spool into the window as the target empties it."""
        while True:
            while self._spool.size == 0:
                self._feeding = False
                await self._changed.wait()
            await self._flow.room()
            self._feeding = True
            data = await self._spool.get(READ_SIZE)
            await self._flow.intake.wait()
            await self._take(data)
            self._report()

    def close(self) -> None:
        """Drop all bytes in the spool."""
        self._spool.close()
        self._flow.status.traffic.spool_bytes = 0

    def _report(self) -> None:
        self._flow.status.traffic.spool_bytes = self._spool.size
        self._changed.set()
